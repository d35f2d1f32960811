"""What labels.json says of each frame: remedies, warnings, and by what its polarizability was computed; no CP2K runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiida", reason="pip install 'vibraloom[workflows]'")

WIDER = "wider smearing: electronic temperature 300 to 600 K; compare energies at one temperature only"
FIELDS = "fields instead: polarizability by ± 0.001 a.u. along three axes"


def label(kind: str, **said: list[str]) -> Any:
    """Labels of one frame whose polarizability comes from fields or from linear response."""
    from aiida import orm

    node = orm.ArrayData()
    arrays = {
        "numbers": np.array([8, 1, 1]),
        "frame": np.array([0]),
        "positions": np.zeros((1, 3, 3)),
        "energy": np.array([-1.0]),
        "polarizability": np.eye(3)[None],
        f"polarizability_{kind}": np.eye(3)[None],
    }
    for name, values in arrays.items():
        node.set_array(name, values)
    for name, lines in said.items():
        node.base.attributes.set(name, lines)
    return node


def record_of(labels: dict[str, Any]) -> dict[str, Any]:
    from aiida import orm

    from vibraloom.workflows.cp2k_labels import dataset_of

    summary = orm.Dict({"settings": {"engine": "cp2k", "polarizability": ["linres"]}, "frames": len(labels)})
    with dataset_of(summary, **labels).as_path() as folder:
        found: dict[str, Any] = json.loads((Path(folder) / "labels.json").read_text(encoding="utf-8"))
        with np.load(Path(folder) / "labels.npz", allow_pickle=False) as stored:
            found["arrays"] = sorted(stored.files)
    return found


def test_each_frame_keeps_its_own_remedies_and_warnings(project: Path) -> None:
    labels = {"b": label("linres", remedies=[WIDER], warnings=["warmer"]), "a": label("linres")}
    found = record_of(labels)
    assert found["names"] == ["a", "b"]
    assert (found["remedies"], found["warnings"]) == ({"b": [WIDER]}, {"b": ["warmer"]})
    plain = record_of({"a": label("linres")})
    assert "remedies" not in plain and "warnings" not in plain


def test_where_fields_were_taken_the_record_says_so_and_not_linear_response(project: Path) -> None:
    found = record_of({"a": label("field", remedies=[FIELDS])})
    assert found["settings"]["polarizability"] == ["field"]
    assert "polarizability_field" in found["arrays"] and "linres" not in json.dumps(found)
    mixed = record_of({"a": label("field", remedies=[FIELDS]), "b": label("linres")})
    assert mixed["settings"]["polarizability"] == ["field", "linres"]
    assert list(mixed["remedies"]) == ["a"], "the frame of the other origin is named"
    assert "polarizability" in mixed["arrays"] and "polarizability_linres" not in mixed["arrays"]


def test_what_a_failed_frame_has_nevertheless_is_handed_out(project: Path) -> None:
    from aiida import orm
    from aiida.common import AttributeDict
    from aiida.manage import get_manager

    from vibraloom.workflows.cp2k_labels import Cp2kLabelWorkChain

    code = orm.InstalledCode(
        label="none", computer=orm.load_computer("localhost"), filepath_executable="/bin/false"
    ).store()
    inputs = {"code": code, "converter": code, "settings": orm.Dict({})}
    process = get_manager().create_runner(communicator=None).instantiate_process(Cp2kLabelWorkChain, **inputs)
    partial = label("field", missing=["polarizability_linres: asymmetric"]).store()
    process.ctx.frames = dict.fromkeys("ab")
    process.ctx.labelled = []
    process.ctx.failures = {"a": "asymmetric", "b": "no label at all"}
    process.ctx.label_a = AttributeDict({"outputs": AttributeDict({"labels": partial})})
    process.ctx.label_b = AttributeDict({"outputs": AttributeDict({})})
    exit_code = process.gather()
    assert exit_code is not None and exit_code.status == 310
    handed_out = process.outputs["partial_labels"]
    assert {name: node.uuid for name, node in handed_out.items()} == {"a": partial.uuid}
