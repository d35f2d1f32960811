"""The deposit as a process in a real profile: all or nothing, one entry per content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida.common.exceptions import ValidationError

from vibraloom.spectra import infrared
from vibraloom.spectra.spectrum import Spectrum


def made(seed: int) -> Spectrum:
    dipole = np.random.default_rng(seed).normal(size=(4000, 3)).cumsum(axis=0) * 1e-3
    return infrared(dipole, 1.0, temperature=300.0, correlation_time=100.0).between(0, 4000)


CONTEXT: dict[str, Any] = {
    "name": "gate",
    "system": {"kind": "molecule", "formula": "H2O"},
    "method": {"dynamics": {"engine": "none"}},
    "fidelity": "test",
    "seed": {"dynamics": 1},
    "versions": {"vibraloom": "0"},
    "isotopes": "natural",
    "stamps": [],
}


def test_one_bad_spectrum_keeps_all_of_them_out(in_project: Path) -> None:
    from aiida import orm

    from vibraloom.nodes.spectrum import SpectrumData
    from vibraloom.workflows.deposit import deposit

    good = SpectrumData.from_spectrum(made(1), CONTEXT)
    no_verdict = SpectrumData.from_spectrum(replace(made(2), verdict=None), CONTEXT)
    _, node = deposit.run_get_node(orm.Str("gate"), good=good, bad=no_verdict)
    assert node.exit_status == 220
    assert "verdict is missing" in node.exit_message
    record, node = deposit.run_get_node(orm.Str("gate"), good=good)
    assert node.is_finished_ok
    assert record["entries"][0]["content_hash"] == good.base.attributes.get("content_hash")


def test_equal_content_is_one_entry_owned_by_the_earliest(in_project: Path) -> None:
    from vibraloom.database.graph import entries
    from vibraloom.nodes.spectrum import SpectrumData
    from vibraloom.workflows.deposit import add_to_collection

    first = SpectrumData.from_spectrum(made(3), CONTEXT).store()
    again = SpectrumData.from_spectrum(made(3), {**CONTEXT, "name": "again"}).store()
    assert first.uuid != again.uuid
    assert add_to_collection("twice", [first]) == 1
    assert add_to_collection("twice", [again]) == 0
    found = entries(collection="twice")
    assert [entry.uuid for entry in found] == [first.uuid]


def test_a_spectrum_comes_back_from_its_node_as_it_was(in_project: Path) -> None:
    from aiida import orm

    from vibraloom.nodes.spectrum import SpectrumData

    spectrum = made(4)
    node = SpectrumData.from_spectrum(spectrum, CONTEXT).store()
    back = orm.load_node(node.uuid).to_spectrum()
    np.testing.assert_array_equal(back.intensity, spectrum.intensity)
    np.testing.assert_array_equal(back.standard_error, spectrum.standard_error)
    # AiiDA keeps 14 digits of a number among the attributes
    assert back.conventions.extra["resolution"] == pytest.approx(spectrum.conventions.extra["resolution"], rel=1e-13)
    assert replace(back.conventions, extra={}) == replace(spectrum.conventions, extra={})
    assert back.verdict is not None and spectrum.verdict is not None
    assert back.verdict.reason == spectrum.verdict.reason
    assert back.content_hash() == spectrum.content_hash() == node.base.attributes.get("content_hash")


def test_parts_and_model_error_come_back_and_parts_as_the_first_nodes_had_them(in_project: Path) -> None:
    from aiida import orm

    from vibraloom.nodes.spectrum import SpectrumData

    whole = made(5)
    parts = {"layer/near": whole.intensity * 0.25, "layer/far": whole.intensity * 0.75}
    spectrum = replace(whole, parts=parts, model_error=whole.intensity * 0.1)
    early = SpectrumData.from_spectrum(spectrum, CONTEXT)
    early.delete_array("parts")
    for number, values in enumerate(parts.values()):
        early.set_array(f"part_{number}", values)
    for node in (SpectrumData.from_spectrum(spectrum, CONTEXT).store(), early.store()):
        back = orm.load_node(node.uuid).to_spectrum()
        assert list(back.parts) == list(parts)
        for label, values in parts.items():
            np.testing.assert_array_equal(back.parts[label], values)
        np.testing.assert_array_equal(back.model_error, spectrum.model_error)


def test_a_node_without_conventions_cannot_be_stored(in_project: Path) -> None:
    from vibraloom.nodes.spectrum import SpectrumData

    bare = SpectrumData()
    bare.set_array("wavenumber", np.arange(3.0))
    with pytest.raises(ValidationError, match="SpectrumData without quantity"):
        bare.store()


def test_a_file_that_is_no_model_is_refused(in_project: Path, tmp_path: Path) -> None:
    from vibraloom.errors import InputError
    from vibraloom.nodes.model import ModelData

    path = tmp_path / "model.pb"
    path.write_bytes(b"not a graph")
    with pytest.raises(InputError, match="not a frozen DeePMD model"):
        ModelData.from_file(path, target="energy", record={})
