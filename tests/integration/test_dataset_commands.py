"""``vibraloom dataset``: into the project with provenance, out of it, and without a project."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from vibraloom.app.cli import main

WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
UNITS = ("--dipole-unit", "e*angstrom", "--polarizability-unit", "angstrom^3")
Command = Callable[..., Any]


def deep_wannier(folder: Path, frames: int = 40, seed: int = 1) -> Path:
    """Two waters with atomic dipoles and polarizabilities on the oxygens, in deepmd-kit's own layout."""
    rng = np.random.default_rng(seed)
    place = folder / "set.000"
    place.mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    positions = np.vstack([WATER, WATER + np.array([3.0, 0.0, 0.5])]) + 0.03 * rng.normal(size=(frames, 6, 3))
    arrays = {
        "coord": positions,
        "box": np.tile(8 * np.eye(3), (frames, 1, 1)),
        "energy": rng.normal(size=frames) - 940,
        "force": rng.normal(size=(frames, 6, 3)),
        "atomic_dipole": np.array([0.0, 0.39, 0.0]) + 0.02 * rng.normal(size=(frames, 2, 3)),
        "atomic_polarizability": 1.4 * np.eye(3) + 0.02 * rng.normal(size=(frames, 2, 3, 3)),
    }
    for name, values in arrays.items():
        np.save(place / f"{name}.npy", values.reshape(frames, -1) if values.ndim > 1 else values)
    return folder


def called(*arguments: str | Path, code: int = 0) -> Any:
    """What ``vibraloom ARGUMENTS --json`` prints, or its error if it is to end with another ``code``; in this process."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert done.exit_code == code, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout) if code == 0 else done.stderr


@pytest.fixture
def dataset(in_project: Path) -> Command:
    """Runs ``vibraloom dataset ARGUMENTS`` in the project."""
    return functools.partial(called, "dataset")


def test_a_set_goes_through_the_project_with_its_provenance(dataset: Command, tmp_path: Path) -> None:
    source = deep_wannier(tmp_path / "water")
    made = dataset("import", source, "-o", "wannier", *UNITS, "--method", "PBE, MLWF")
    assert made["frames"] == 40 and made["systems"][0]["labels"]["atomic_dipole"] == 40
    parts = dataset("split", "wannier", "-o", "wannier", "--fraction", "0.25", "--block", "5", "--seed", "3")
    assert (parts["train"]["frames"], parts["validation"]["frames"]) == (30, 10)
    again = dataset("merge", "wannier-train", parts["validation"]["id"][:12])
    assert again["frames"] == 40 and again["last"]["duplicates_dropped"] == 0

    told = dataset("info", again["id"][:12])
    assert told["systems"][0]["molecules"] == {"H2O": {"frames": 40, "fewest": 2, "most": 2}}
    assert told["dipole_sense"][0]["mean_cosine"] > 0.9
    assert told["methods"] == [{"stated": "PBE, MLWF"}]
    assert told["history"][0]["operation"] == "import"

    dataset("export", again["id"][:12], "--format", "deepmd/npy", "-o", tmp_path / "out")
    back = tmp_path / "out" / "000-H4O2" / "set.000"
    coordinates = np.load(source / "set.000" / "coord.npy")
    order = [np.flatnonzero((coordinates == row).all(axis=1))[0] for row in np.load(back / "coord.npy")]
    for name in ("energy", "force", "box", "atomic_dipole", "atomic_polarizability"):
        original = np.load(source / "set.000" / f"{name}.npy").reshape(40, -1)[order]
        np.testing.assert_array_equal(np.load(back / f"{name}.npy").reshape(40, -1), original, err_msg=name)

    shown = called("show", again["id"][:12])["provenance"]["nodes"].values()
    inputs = [node["inputs"] for node in shown if node["inputs"]]
    sums = [entry["sha256"] for each in inputs for entry in each.get("paths", [])]
    assert len(sums) == 1 and len(sums[0]) == 64
    assert any(each.get("dipole_unit") == "e*angstrom" for each in inputs)


def test_a_node_of_a_label_job_merges_and_exports(dataset: Command, in_project: Path, tmp_path: Path) -> None:
    """Schema 1, as label jobs write it."""
    from vibraloom.nodes.dataset import DatasetData

    rng = np.random.default_rng(7)
    dipole = np.tile([0.0, 0.38, 0.0], (5, 1))
    labels = {"energy": rng.normal(size=5) - 470, "forces": rng.normal(size=(5, 3, 3)), "dipole": dipole}
    positions = WATER + 0.03 * rng.normal(size=(5, 3, 3))
    np.savez(tmp_path / "labels.npz", numbers=[8, 1, 1], positions=positions, **labels)
    (tmp_path / "labels.json").write_text('{"settings": {"functional": "PBE", "numbers": [8, 1, 1]}}')
    node = DatasetData.from_labels(tmp_path / "labels.npz", tmp_path / "labels.json").store()
    merged = dataset("merge", node.uuid, "-o", "one-water")
    told = dataset("info", "one-water")
    assert merged["frames"] == 5 and told["sources"] == [{"format": "node", "uuid": node.uuid}]
    assert told["methods"] == [{"functional": "PBE"}]
    dataset("export", "one-water", "--format", "extxyz", "-o", tmp_path / "water.extxyz")
    dataset("import", tmp_path / "water.extxyz", "--to", tmp_path / "plain", *UNITS)
    with np.load(tmp_path / "plain" / "labels.npz") as stored:
        np.testing.assert_array_equal(stored["forces"], labels["forces"])
        np.testing.assert_array_equal(stored["dipole"], labels["dipole"])


def test_what_is_wrong_is_one_line_and_leaves_nothing(dataset: Command, tmp_path: Path) -> None:
    source = deep_wannier(tmp_path / "water", frames=3)
    for arguments, said in (
        (("import", source), "atomic_dipole without a unit; say it: --dipole-unit"),
        (("import", source, *UNITS, "--type-map", "H,O"), "type_map.raw: O H, --type-map says H O; leave the option out"),
        (("import", source, "--dipole-unit", "esu", *UNITS[2:]), "--dipole-unit esu: allowed: e*angstrom"),
        (("import", tmp_path / "nothing"), "nothing: no such file or folder; check the path"),
        (("import", source, *UNITS, "--zeros", "force=absent"), "--zeros force=absent: allowed: one of energy, forces"),
        (("info", "no-such-name"), "no folder with labels.npz, and no dataset of this name"),
        (("export", source, "--format", "extxyz", "-o", source), "no folder with labels.npz"),
    ):
        error = dataset(*arguments, code=2)
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error, error
    dataset("import", source, *UNITS, "--to", tmp_path / "plain")
    error = dataset("export", tmp_path / "plain", "--format", "deepmd/npy", "-o", tmp_path / "out", "--type-map", "O", code=2)
    assert "--type-map O: H is in the dataset; name every element" in error
    assert not (tmp_path / "out").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plain", "water"]


def test_plain_folders_need_no_project(tmp_path: Path) -> None:
    """Import, merge, split, info and export of folders; no profile is looked for, and AiiDA is not imported."""
    deep_wannier(tmp_path / "a", seed=1)
    deep_wannier(tmp_path / "b", seed=2)
    program = (
        "import sys\n"
        "from vibraloom.app.cli import main\n"
        "for line in sys.stdin:\n"
        "    main(line.split(), standalone_mode=False)\n"
        "assert 'aiida' not in sys.modules\n"
    )
    units = " ".join(UNITS)
    lines = [
        f"dataset import a {units} --to first",
        f"dataset import b {units} --to second",
        "dataset merge first second --to whole",
        "dataset split whole --by origin --fraction 0.5 --to parts",
        "dataset info parts/train --json",
        "dataset export parts/validation --format deepmd/hdf5 -o set.hdf5",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program], input="\n".join(lines), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "whole: 80 frames (80 of H4O2)" in done.stdout and "set.hdf5: 40 frames in 1 systems" in done.stdout
    assert not (tmp_path / ".vibraloom").exists()


def test_a_file_that_changes_during_the_import_is_refused(in_project: Path, tmp_path: Path) -> None:
    from aiida import orm

    from vibraloom.workflows.datasets import import_dataset

    source = deep_wannier(tmp_path / "water", frames=3)
    entries = {"paths": [{"path": str(source), "sha256": "0" * 64}]}
    _, node = import_dataset.run_get_node(orm.Dict(entries), orm.Dict({}))
    assert node.exit_status == 210 and "changed since the import began" in node.exit_message
