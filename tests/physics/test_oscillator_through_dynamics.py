"""The oscillator sum rule through molecular dynamics: trajectory file, dipole along it, infrared intensity."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from vibraloom.calculators.ase.dynamics import main
from vibraloom.calculators.job import Progress
from vibraloom.files.trajectory import read_trajectory
from vibraloom.spectra import infrared
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

SUM_RULE = 974.88  # km/mol per e²/amu
CHARGE, MASS, TIMESTEP = 0.4, 1.5, 0.2


@pytest.mark.parametrize("temperature", [150.0, 600.0])
@pytest.mark.parametrize("wavenumber", [500.0, 1000.0, 1650.0])
def test_an_oscillator_at_the_mean_energy_absorbs_the_sum_rule(
    wavenumber: float, temperature: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frequency = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber
    spring = MASS * frequency**2 * AMU_ANGSTROM2_PER_FS2_IN_EV
    # all of the mean energy kT as displacement: one trajectory then has the mean square of the canonical ensemble
    reach = np.sqrt(2 * BOLTZMANN_EV_PER_K * temperature / spring)
    atoms = Atoms("H", positions=[[reach, 0, 0]], masses=[MASS])
    write("structure.extxyz", atoms, format="extxyz", columns=["symbols", "positions", "masses"])
    periods = round(8000 * SPEED_OF_LIGHT_CM_PER_FS * wavenumber)
    length = round(periods / (SPEED_OF_LIGHT_CM_PER_FS * wavenumber) / TIMESTEP) * TIMESTEP
    job = {
        "engine": {"kind": "harmonic", "sites": [[0, 0, 0]], "spring": spring, "charges": CHARGE},
        "temperature": temperature,
        "timestep": TIMESTEP,
        "length": length,
        "every": TIMESTEP,
        "equilibration": 0,
        "initial": {"velocities": "zero"},
        "seed": 1,
        "checkpoint": 100_000,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    main(job, Progress(tmp_path))
    trajectory = read_trajectory(tmp_path / "trajectory-00.h5")
    assert trajectory.masses[0] == pytest.approx(MASS)
    spectrum = infrared(
        trajectory.observables["dipole"], trajectory.frame_interval, temperature=temperature, correlation_time=1000.0, blocks=0
    )
    assert spectrum.unit == "km/mol/cm^-1"
    area = spectrum.area(0, spectrum.wavenumber[-1])
    assert area == pytest.approx(SUM_RULE * CHARGE**2 / MASS, rel=1e-3)
    assert spectrum.wavenumber[np.argmax(spectrum.intensity)] == pytest.approx(wavenumber, abs=5)
