"""What CP2K itself prints is read: moments with a Berry phase, its log with a restart, linear response."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vibraloom.files.series import load_series
from vibraloom.spectra.dipole import unwrap_dipole
from vibraloom.spectra.raman import symmetric_tensors

INSTALL = "apt-get install cp2k"
CELL = np.array([[5.0, 0.0, 0.0], [5.5 * np.cos(np.radians(80)), 5.5 * np.sin(np.radians(80)), 0.0], [0.0, 0.0, 6.0]])
INPUT = """\
&GLOBAL
  PROJECT water
  RUN_TYPE MD
  PRINT_LEVEL MEDIUM
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NVE
    STEPS {steps}
    TIMESTEP 0.5
    TEMPERATURE 300
  &END MD
  &PRINT
    &POLAR_MATRIX ON
    &END POLAR_MATRIX
  &END PRINT
&END MOTION
&FORCE_EVAL
  METHOD QS
  {properties}
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &MGRID
      CUTOFF 200
    &END MGRID
    &SCF
      SCF_GUESS ATOMIC
      EPS_SCF 1.0E-7
      MAX_SCF 50
      &OT
        PRECONDITIONER FULL_SINGLE_INVERSE
        MINIMIZER DIIS
      &END OT
    &END SCF
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
    &PRINT
      &MOMENTS ON
        PERIODIC T
        FILENAME {moments}
        COMMON_ITERATION_LEVELS 20
      &END MOMENTS
    &END PRINT
  &END DFT
  &SUBSYS
    &CELL
      ABC 5.0 5.5 6.0
      ALPHA_BETA_GAMMA 90 90 80
    &END CELL
    &COORD
      O 0 0 0
      H 0.757 0.586 0
      H -0.757 0.586 0
    &END COORD
    &KIND O
      BASIS_SET SZV-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q6
    &END KIND
    &KIND H
      BASIS_SET SZV-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q1
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""
LINRES = """\
&PROPERTIES
    &LINRES
      PRECONDITIONER FULL_SINGLE_INVERSE
      ENERGY_GAP 0.02
      EPS 1e-6
      &POLAR
        DO_RAMAN T
      &END POLAR
    &END LINRES
  &END PROPERTIES"""
RESTART = "&EXT_RESTART\n  RESTART_FILE_NAME water-1.restart\n&END EXT_RESTART\n"


def run(folder: Path, *, steps: int = 3, properties: str = "", moments: str, more: str = "", output: str = "water.out") -> Path:
    program = shutil.which("cp2k")
    if program is None:
        pytest.skip(f"CP2K is missing; run: {INSTALL}")
    text = INPUT.format(steps=steps, properties=properties, moments=moments) + more
    (folder / "water.inp").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [program, "-i", "water.inp", "-o", output],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (folder / output).read_text()[-3000:]
    return folder / output


def test_moments_and_log_of_cp2k_agree_and_a_restart_is_joined(tmp_path: Path) -> None:
    run(tmp_path, moments="=moments.dat")
    alone = load_series(tmp_path / "moments.dat", "dipole", unit=None, timestep=0.5)
    assert alone.folded
    assert alone.cell is not None
    np.testing.assert_allclose(alone.cell, CELL, atol=1e-7)
    first = run(tmp_path, moments="__STD_OUT__", output="first.out")
    second = run(tmp_path, moments="__STD_OUT__", more=RESTART, output="second.out")
    both = tmp_path / "both.out"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    series = load_series(both, "dipole", unit=None, timestep=None)
    assert series.steps is not None
    assert series.steps.tolist() == list(range(7))
    assert series.timestep == pytest.approx(0.5)
    assert "repeated by a restart" in series.notes[0]
    # the same run twice: convergence to 1e-7 leaves the last digits open
    np.testing.assert_allclose(series.values[:4], alone.values, atol=1e-5)
    unwrapped, ambiguous = unwrap_dipole(series.values, CELL)
    assert len(ambiguous) == 0
    # one molecule of about 2.3 debye, in half a femtosecond a change of a few hundredths
    assert np.linalg.norm(unwrapped, axis=1) == pytest.approx(0.49, abs=0.05)
    assert np.abs(np.diff(unwrapped, axis=0)).max() < 0.02


def test_polarizability_of_log_and_file_is_the_same(tmp_path: Path) -> None:
    output = run(tmp_path, steps=2, properties=LINRES, moments="=moments.dat")
    of_log = load_series(output, "polarizability", unit=None, timestep=None)
    of_file = load_series(tmp_path / "water-1.polar", "polarizability", unit=None, timestep=None)
    assert of_log.timestep == pytest.approx(0.5)
    assert of_file.timestep == pytest.approx(0.5)
    one, other = (symmetric_tensors(each.values, each.components)[0] for each in (of_log, of_file))
    # the file has eight decimals of an atomic unit
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert (one[:, :3].sum(axis=1) > 0.5).all()
