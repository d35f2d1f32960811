"""Slabs with smeared occupations: the dipole along the normal against the step of the potential, its slope along a mode against
the density times z."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.convert import convert
from vibraloom.calculators.cp2k.input_builder import single_point, vibrations
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.job_record import completed, record_of
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.units import EPSILON0_E2_PER_EV_ANGSTROM

PROGRAM = shutil.which("cp2k.psmp")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no cp2k.psmp; apt-get install cp2k")
SETTINGS = Cp2kSettings.from_protocol("fast", "PBE", {"cutoff": 150.0, "scf": "diagonalisation", "smearing": {}})
LENGTH = 0.03


def arrays(folder: Path, atoms: Atoms, parameters: dict[str, Any], name: str) -> dict[str, NDArray[Any]]:
    """Arrays that a run leaves."""
    folder.mkdir()
    whole = completed(parameters, "cp2k", atoms.cell.tolist(), atoms.pbc.tolist(), "structure.xyz")
    rows = zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)
    text = "\n".join([str(len(atoms)), "", *(f"{symbol} {x} {y} {z}" for symbol, (x, y, z) in rows)])
    (folder / "structure.xyz").write_text(text + "\n", encoding="utf-8")
    (folder / "cp2k.inp").write_text(render(whole), encoding="utf-8")
    command = [str(PROGRAM), "-i", "cp2k.inp", "-o", "cp2k.out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=300)
    outcome = convert(folder, record_of(whole, atoms, {}))
    assert outcome.ended == "normal" and outcome.problem is None, outcome.message
    with np.load(folder / name, allow_pickle=False) as stored:
        return dict(stored)


def test_the_two_work_functions_differ_by_the_dipole(tmp_path: Path) -> None:
    places = [[2.6, 2.6, 6.0], [2.6, 3.357, 6.586], [2.6, 1.843, 6.586]]
    atoms = Atoms("OH2", positions=places, cell=[5.2, 5.2, 13.0], pbc=(True, True, False))
    label = arrays(tmp_path / "job", atoms, single_point(atoms, SETTINGS, density=True, hartree=True), "labels.npz")
    below, above = label["work_function"][0]
    step = -label["dipole_normal"][0] / (EPSILON0_E2_PER_EV_ANGSTROM * 5.2**2)
    assert step < -2, "eV: hydrogen above makes it easier for an electron to leave upwards"
    np.testing.assert_allclose(above - below, step, rtol=0.02)


@pytest.mark.flagship
def test_the_slope_along_the_normal_is_that_of_the_density(tmp_path: Path) -> None:
    # the grid's charge times a distance goes into the printed dipole: 7e-5 e for H2O at this cutoff, where chlorine has less
    atoms = Atoms("ClH", [[2.6, 2.6, 6.0], [2.6, 2.6, 7.29]], cell=[5.2, 5.2, 13.0], pbc=(True, True, False))
    modes = arrays(tmp_path / "modes", atoms, vibrations(atoms, SETTINGS, [1], raman=False), "modes.npz")
    assert not {"infrared", "dipole_slope"} & set(modes)
    assert not modes["displacement"][:, 0].any()
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * LENGTH * modes["displacement"][2]
        label = arrays(tmp_path / f"at{sign}", moved, single_point(moved, SETTINGS, density=True), "labels.npz")
        ends.append(label["dipole_normal"][0])
    slope = (ends[0] - ends[1]) / (2 * LENGTH * np.sqrt(modes["reduced_mass"][2]))
    assert abs(slope) > 0.05, "e/amu^1/2"
    np.testing.assert_allclose(modes["dipole_slope_normal"][2], slope, rtol=0.05)
    # no wavenumber is asked: on a grid this coarse hydrogen's energy follows the grid points, not the bond
    # bent, it turns in the plane
    assert (modes["infrared_normal"][:2] < 0.01 * modes["infrared_normal"][2]).all()
