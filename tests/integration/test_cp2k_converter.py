"""What CP2K really writes, for the inputs that are built here, becomes labels and one seamless trajectory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from vibraloom.calculators.cp2k.input_builder import (
    dynamics,
    field_followups,
    linres_followup,
    single_point,
    with_restart,
)
from vibraloom.calculators.cp2k.input_text import merged, render
from vibraloom.calculators.cp2k.method_sections import Section
from vibraloom.calculators.cp2k.restart_files import newest_restart_in
from vibraloom.calculators.cp2k.settings import Cp2kSettings, MdSettings
from vibraloom.files.trajectory import read_trajectory

PROGRAM = shutil.which("cp2k.psmp")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no cp2k.psmp; apt-get install cp2k")
COARSE: dict[str, Any] = {"cutoff": 200.0, "scf_convergence": 1e-7}


def water() -> Atoms:
    atoms = molecule("H2O", cell=[5.5, 5.5, 6.0], pbc=True)
    atoms.rotate(25, (1, 2, 3))
    atoms.center()
    return atoms


def settings() -> Cp2kSettings:
    return Cp2kSettings.from_protocol("fast", "PBE", COARSE)


def run(folder: Path, inputs: dict[str, Section], atoms: Atoms, record: dict[str, Any], steps: int = 0) -> dict[str, Any]:
    """Run CP2K for each input and our converter as a job does; returns outcome.json.

    With ``steps`` CP2K is killed once it has written as many rows of energies.
    """
    folder.mkdir()
    rows = zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
    lines = [str(len(atoms)), "", *(f"{symbol} {r[0]:.15g} {r[1]:.15g} {r[2]:.15g}" for symbol, r in rows)]
    (folder / "structure.xyz").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, parameters in inputs.items():
        (folder / f"{name}.inp").write_text(render(parameters))
        command = [str(PROGRAM), "-i", f"{name}.inp", "-o", f"{name}.out"]
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as cp2k:
            _wait(cp2k, folder / "cp2k-1.ener", steps)
    common = {
        "schema": 1,
        "threads": 1,
        "numbers": atoms.numbers.tolist(),
        "masses": atoms.get_masses().tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": [True, True, True],
    }
    (folder / "job.json").write_text(json.dumps({**common, **record}))
    command = [sys.executable, "-m", "vibraloom.calculators.cp2k.convert", "job.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "done.json").is_file()
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return outcome


def _wait(cp2k: subprocess.Popen[bytes], energies: Path, steps: int) -> None:
    deadline = time.monotonic() + 300
    while cp2k.poll() is None and time.monotonic() < deadline:
        if steps and energies.is_file() and energies.read_text().count("\n") > steps:
            cp2k.kill()
        time.sleep(0.02)
    cp2k.kill()


def test_one_molecule_gives_a_label_whose_polarizabilities_agree(tmp_path: Path) -> None:
    atoms = water()
    followups = {
        **field_followups(atoms, settings(), wannier=True),
        **linres_followup(atoms, settings()),
    }
    inputs = {"cp2k": single_point(atoms, settings(), wannier=True, stress=True), **followups}
    outcome = run(tmp_path / "job", inputs, atoms, {"kind": "label", "followups": list(followups), "field": 0.001})
    assert (outcome["ended"], outcome["problem"]) == ("normal", None), outcome["message"]
    assert outcome["engine_version"].startswith("CP2K ")
    with np.load(tmp_path / "job" / "labels.npz", allow_pickle=False) as labels:
        mean = np.trace(labels["polarizability"][0]) / 3
        assert mean > 0
        assert labels["polarizability_difference"][0] < 3e-3
        np.testing.assert_allclose(
            labels["molecular_polarizability"].sum(axis=1), labels["polarizability_wannier"], atol=1e-6
        )
        assert np.abs(labels["wannier_minus_berry"]).max() < 0.2
        np.testing.assert_allclose(labels["positions"][0], atoms.positions, atol=1e-12)
        assert labels["molecular_charge"].tolist() == [[0.0]]


def test_kills_leave_no_seam(tmp_path: Path) -> None:
    atoms = water()
    steps = 10
    md = MdSettings.checked({"ensemble": "NVT", "temperature": 330.0, "steps": steps, "seed": 5, "wannier_every": 5})
    parameters = dynamics(atoms, settings(), md)
    record = {
        "kind": "dynamics",
        "timestep": md.timestep,
        "steps": steps,
        "every": 1,
        "seed": 5,
        "trajectory": "trajectory-00.h5",
        "method": settings().record(),
    }
    whole = run(tmp_path / "whole", {"cp2k": parameters}, atoms, record)
    assert (whole["ended"], whole["last_step"], whole["partial"]) == ("normal", steps, False), whole["message"]
    places = [tmp_path / "part-0"]
    outcome = run(places[0], {"cp2k": parameters}, atoms, record, steps=4)
    for kill_after in (3, 0):
        assert (outcome["ended"], outcome["problem"], outcome["partial"]) == ("cut_off", "truncated", True)
        found = newest_restart_in(places[-1], json.loads((places[-1] / "job.json").read_text()))
        assert found is not None
        before = f"../{places[-1].name}"
        going_on = with_restart(parameters, f"{before}/{found[0]}", found[1], wavefunction=f"{before}/cp2k-RESTART.wfn")
        folders = [f"../{earlier.name}" for earlier in places]
        places.append(tmp_path / f"part-{len(places)}")
        outcome = run(places[-1], {"cp2k": going_on}, atoms, {**record, "folders": [*folders, "."]}, steps=kill_after)
    assert (outcome["ended"], outcome["last_step"], outcome["partial"]) == ("normal", steps, False), outcome["message"]
    one, other = (read_trajectory(place / "trajectory-00.h5") for place in (tmp_path / "whole", places[-1]))
    assert other.step.tolist() == one.step.tolist() == list(range(steps + 1))
    # an SCF converged to 1e-7 leaves this much open after ten steps
    np.testing.assert_allclose(other.positions, one.positions, atol=2e-6)
    assert one.velocities is not None
    np.testing.assert_allclose(other.velocities, one.velocities, atol=2e-6)
    np.testing.assert_allclose(other.observables["dipole"], one.observables["dipole"], atol=5e-5)
    assert one.attributes == other.attributes
    assert set(one.observables) == set(other.observables)


def test_a_method_that_does_not_announce_its_moments_is_aligned_or_left_out(tmp_path: Path) -> None:
    atoms = water()
    md = MdSettings.checked({"temperature": 300.0, "steps": 3, "seed": 5})
    cheap = {"FORCE_EVAL": {"DFT": {"QS": {"METHOD": "xTB", "XTB": {"DO_EWALD": True}, "EXTRAPOLATION": "ASPC"}}}}
    record = {"kind": "dynamics", "timestep": 0.5, "steps": 3, "every": 1, "seed": 5, "trajectory": "trajectory-00.h5"}
    outcome = run(tmp_path / "job", {"cp2k": merged(dynamics(atoms, settings(), md), cheap)}, atoms, record)
    assert (outcome["ended"], outcome["last_step"]) == ("normal", 3), outcome["message"]
    trajectory = read_trajectory(tmp_path / "job" / "trajectory-00.h5")
    assert "dipole" not in trajectory.observables
    assert any("dipole is left out" in warning for warning in outcome["warnings"])
