"""The dipole of a smeared slab along its normal: at every step from the dipole correction, against the density times z."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from vibraloom.calculators.cp2k.convert import convert
from vibraloom.calculators.cp2k.input_builder import dynamics
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.job_record import completed, record_of
from vibraloom.calculators.cp2k.sampled import load_sampled
from vibraloom.calculators.cp2k.settings import Cp2kSettings, MdSettings
from vibraloom.files.trajectory import read_trajectory

PROGRAM = shutil.which("cp2k.psmp")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no cp2k.psmp; apt-get install cp2k")
PLACES = [[2.6, 2.6, 6.0], [2.6, 3.357, 6.586], [2.6, 1.843, 6.586]]


def test_the_dipole_correction_prints_the_dipole_of_the_density_at_every_step(tmp_path: Path) -> None:
    atoms = Atoms("OH2", positions=PLACES, cell=[5.2, 5.2, 13.0], pbc=(True, True, False))
    settings = Cp2kSettings.from_protocol("fast", "PBE", {"cutoff": 150.0, "scf": "diagonalisation", "smearing": {}})
    md = MdSettings(temperature=300, steps=2, seed=1, density_every=2)
    parameters = completed(dynamics(atoms, settings, md), "cp2k", atoms.cell.tolist(), atoms.pbc.tolist(), "structure.xyz")
    rows = zip(atoms.get_chemical_symbols(), PLACES, strict=True)
    text = "\n".join(["3", "", *(f"{symbol} {x} {y} {z}" for symbol, (x, y, z) in rows)])
    (tmp_path / "structure.xyz").write_text(text + "\n", encoding="utf-8")
    (tmp_path / "cp2k.inp").write_text(render(parameters), encoding="utf-8")
    command = [str(PROGRAM), "-i", "cp2k.inp", "-o", "cp2k.out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)
    outcome = convert(tmp_path, record_of(parameters, atoms, {"seed": 1}))
    assert outcome.ended == "normal" and outcome.problem is None
    trajectory = read_trajectory(tmp_path / "trajectory-00.h5")
    along = trajectory.observables["dipole_normal"]
    assert along.shape == (3,) and "dipole" not in trajectory.observables
    steps, of_density = load_sampled(tmp_path / "trajectory-00.h5", "dipole_normal")
    assert steps.tolist() == [0, 2]
    # the grid's own 7e-5 e, half a cell away from the plane that it is counted from, make 5e-4 e·Å
    np.testing.assert_allclose(along[steps], of_density, atol=1e-3)
    # hydrogen lies above the oxygen, and the molecule keeps most of its 0.385 e·Å
    assert 0.3 < along[0] < 0.385
