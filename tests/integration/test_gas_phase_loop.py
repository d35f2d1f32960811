"""The first-principles loop on one water molecule with the real engines, as small as shows the point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write

from vibraloom.files.trajectory import read_trajectory


def job(folder: Path, module: str, keys: dict[str, Any], code: int = 0) -> dict[str, Any]:
    """Run a script in ``folder`` as a job and return done.json or error.json."""
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps(keys))
    command = [sys.executable, "-m", f"vibraloom.calculators.{module}", "job.json"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == code, result.stderr[-2000:]
    answer: dict[str, Any] = json.loads((folder / ("error.json" if code else "done.json")).read_text())
    return answer


def water(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write(folder / "structure.extxyz", molecule("H2O"), format="extxyz")
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames with labels in a small basis."""
    pytest.importorskip("tblite", reason="pip install 'vibraloom[dft]'")
    pytest.importorskip("pyscf", reason="pip install 'vibraloom[dft]'")
    folder = water(tmp_path_factory.mktemp("labels"))
    job(folder, "ase.sampling", {"temperature": 600, "frames": 3, "seed": 1, "every": 10, "equilibration": 50})
    job(folder, "pyscf.labels", {"functional": "PBE", "basis": "6-31G*", "processes": 1})
    return folder


def test_sampling_is_seeded(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="pip install 'vibraloom[dft]'")
    keys = {"temperature": 600, "frames": 2, "every": 5, "equilibration": 5}
    frames = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        job(water(tmp_path / name), "ase.sampling", {**keys, "seed": seed})
        frames[name] = np.array([frame.positions for frame in read(tmp_path / name / "frames.extxyz", index=":")])
    np.testing.assert_array_equal(frames["a"], frames["b"])
    assert np.abs(frames["a"] - frames["c"]).max() > 1e-3


def test_labels_are_physical_and_carry_their_settings(labelled: Path) -> None:
    with np.load(labelled / "labels.npz", allow_pickle=False) as labels:
        assert labels["positions"].shape == (3, 3, 3) and labels["frame"].tolist() == [0, 1, 2]
        forces, dipole, alpha = labels["forces"], labels["dipole"], labels["polarizability"]
        energy, positions = labels["energy"], labels["positions"]
    assert np.abs(forces.sum(axis=1)).max() < 1e-9
    assert np.abs(np.cross(positions, forces).sum(axis=1)).max() < 1e-9  # no net force, no torque
    np.testing.assert_allclose(np.linalg.norm(dipole, axis=1), 0.44, atol=0.08)  # 2.1 D in this basis
    bisector = positions[:, 1:].mean(axis=1) - positions[:, 0]
    assert (np.einsum("fi,fi->f", dipole, bisector) > 0).all()  # from O to H, by the sign of the charges
    assert (np.linalg.eigvalsh(alpha) > 0).all()
    np.testing.assert_array_equal(alpha, alpha.transpose(0, 2, 1))
    assert np.ptp(energy) < 2 and (energy < -2000).all()
    summary = json.loads((labelled / "labels.json").read_text())
    assert summary["settings"]["basis"] == "6-31G*" and summary["labelled"] == 3
    assert summary["asymmetry"]["max"] < 0.01 and summary["versions"]["pyscf"]


def test_interrupted_labels_skip_what_is_finished(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "frames.extxyz").write_bytes((labelled / "frames.extxyz").read_bytes())
    job(tmp_path, "pyscf.labels", {"functional": "PBE", "basis": "6-31G*", "previous": str(labelled)})
    with np.load(tmp_path / "labels.npz") as again, np.load(labelled / "labels.npz") as first:
        np.testing.assert_array_equal(again["polarizability"], first["polarizability"])
    before = (tmp_path / "label-00001.npz").stat().st_mtime_ns
    (tmp_path / "label-00000.npz").unlink()
    job(tmp_path, "pyscf.labels", {"functional": "PBE", "basis": "6-31G*"})
    assert (tmp_path / "label-00001.npz").stat().st_mtime_ns == before
    with np.load(tmp_path / "labels.npz") as again, np.load(labelled / "labels.npz") as first:
        np.testing.assert_array_equal(again["dipole"], first["dipole"])  # a frame's label is its own


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"functional": "PBEE", "basis": "6-31G*"}, "functional 'PBEE' is unknown"),
        ({"functional": "PBE", "basis": "cc-pVXX"}, "basis 'cc-pVXX' is unknown"),
        ({"functional": "PBE", "basis": "6-31G*", "charge": 1}, "charge 1 leaves 9 electrons"),
    ],
)
def test_an_unknown_level_of_theory_is_wrong_input(tmp_path: Path, keys: dict[str, Any], text: str) -> None:
    pytest.importorskip("pyscf", reason="pip install 'vibraloom[dft]'")
    write(tmp_path / "frames.extxyz", molecule("H2O"), format="extxyz")
    assert text in job(tmp_path, "pyscf.labels", keys, code=2)["message"]


def test_a_frame_that_fails_does_not_stop_the_others(labelled: Path, tmp_path: Path) -> None:
    frames = read(labelled / "frames.extxyz", index=":")
    frames[1].positions[1] = frames[1].positions[0]  # two nuclei in one place
    write(tmp_path / "frames.extxyz", frames, format="extxyz")
    keys = {"functional": "PBE", "basis": "6-31G*", "max_failed": 0.4}
    job(tmp_path, "pyscf.labels", keys)
    assert list(json.loads((tmp_path / "failures.json").read_text())) == ["1"]
    with np.load(tmp_path / "labels.npz") as labels:
        assert labels["frame"].tolist() == [0, 2]
    error = job(tmp_path, "pyscf.labels", {**keys, "max_failed": 0.1}, code=3)
    assert error["message"].startswith("1 of 3 frames failed") and "frame 1" in error["message"]


def test_a_short_training_runs_dynamics_and_response(labelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepmd", reason="pip install 'vibraloom[deepmd]'")
    for target in ("energy", "polarizability"):
        folder = tmp_path / target
        folder.mkdir()
        (folder / "labels.npz").write_bytes((labelled / "labels.npz").read_bytes())
        job(
            folder,
            "deepmd.training",
            {"target": target, "seed": 1, "steps": 100, "validation_fraction": 0.34},
        )
        validation = json.loads((folder / "validation.json").read_text())
        assert validation["plane_markers"] == (target == "polarizability")
        assert (folder / "lcurve.out").exists() and (folder / "model.pb").stat().st_size > 1000
    assert validation["validation"]["polarizability"]["unit"] == "angstrom^3"
    run = water(tmp_path / "dynamics")
    (run / "model.pb").write_bytes((tmp_path / "energy" / "model.pb").read_bytes())
    # a hundred steps on two frames teach no chemistry: a few femtoseconds show that data flow, not that it is stable
    keys = {
        "engine": {"kind": "deepmd", "model": "model.pb"},
        "temperature": 300,
        "timestep": 0.25,
        "length": 2.5,
        "every": 0.25,
        "equilibration": 0,
        "seed": 1,
        "replicas": 2,
        "initial": {"velocities": "zero"},
    }
    job(run, "ase.dynamics", keys)
    trajectory = read_trajectory(run / "trajectory-01.h5")
    assert trajectory.frames == 10 and trajectory.attributes["replica"] == 1
    (run / "polar.pb").write_bytes((tmp_path / "polarizability" / "model.pb").read_bytes())
    job(run, "deepmd.response", {"polarizability": "polar.pb"})
    with np.load(run / "response-01.npz", allow_pickle=False) as response:
        np.testing.assert_array_equal(response["step"], trajectory.step)
        assert response["timestep"] == 0.25 and response["polarizability"].shape == (10, 3, 3)
        assert np.isfinite(response["polarizability"]).all()


def test_harmonic_water_by_pyscf_has_its_three_modes(tmp_path: Path) -> None:
    pytest.importorskip("pyscf", reason="pip install 'vibraloom[dft]'")
    engine = {"kind": "pyscf", "functional": "PBE", "basis": "6-31G*"}
    job(water(tmp_path), "ase.harmonic", {"engine": engine, "processes": 2})
    result = json.loads((tmp_path / "harmonic.json").read_text())
    bend, symmetric, antisymmetric = result["wavenumbers"]
    assert 1550 < bend < 1750 and 3500 < symmetric < antisymmetric < 3900
    assert len(result["infrared_intensities"]) == 3 and result["largest_force"] < 1e-4
    with np.load(tmp_path / "harmonic.npz", allow_pickle=False) as arrays:
        derivatives = arrays["dipole_derivatives"].reshape(3, 3, 3)
    assert np.abs(derivatives.sum(axis=0)).max() < 2e-3  # moving the whole neutral molecule changes no dipole
