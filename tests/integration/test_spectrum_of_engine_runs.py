"""The plain-file commands on what engines write: runs of ASE, LAMMPS and CP2K, made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vibraloom.app import cli
from vibraloom.calculators.lammps.executable import find_lammps
from vibraloom.files.tables import read_csv

LAMMPS = """\
units real
atom_style full
boundary p p p
region box block 0 20 0 20 0 20
create_box 2 box bond/types 1 angle/types 1 extra/bond/per/atom 2 extra/angle/per/atom 1 extra/special/per/atom 3
create_atoms 1 single 10 10 10
create_atoms 2 single 10.8 10.6 10
create_atoms 2 single 9.2 10.6 10
mass 1 15.9994
mass 2 1.008
set type 1 charge -0.82
set type 2 charge 0.41
pair_style zero 8.0
pair_coeff * *
bond_style harmonic
bond_coeff 1 529.581 1.012
angle_style harmonic
angle_coeff 1 37.95 113.24
create_bonds single/bond 1 1 2
create_bonds single/bond 1 1 3
create_bonds single/angle 1 2 1 3
velocity all create 300 4711 mom yes rot yes
timestep 0.5
fix 1 all nve
compute u all property/atom xu yu zu
variable mx atom q*c_u[1]
variable my atom q*c_u[2]
variable mz atom q*c_u[3]
compute M all reduce sum v_mx v_my v_mz
fix M all ave/time 1 1 4 c_M[1] c_M[2] c_M[3] file dipole.dat
dump d all custom 4 run.lammpstrj id element vx vy vz
dump_modify d element O H units yes sort id format float %.8f
run 16000
"""
CP2K = """\
&GLOBAL
  PROJECT water
  RUN_TYPE MD
  PRINT_LEVEL LOW
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NVE
    STEPS 60
    TIMESTEP 0.5
    TEMPERATURE 300
  &END MD
  &PRINT
    &VELOCITIES ON
    &END VELOCITIES
  &END PRINT
&END MOTION
&FORCE_EVAL
  METHOD QS
  &DFT
    &QS
      METHOD XTB
      &XTB
        DO_EWALD T
        CHECK_ATOMIC_CHARGES F
      &END XTB
    &END QS
    &SCF
      SCF_GUESS MOPAC
      EPS_SCF 1.0E-6
    &END SCF
  &END DFT
  &SUBSYS
    &CELL
      ABC 8 8 8
    &END CELL
    &COORD
      O 4.0 4.0 4.117
      H 4.0 4.757 3.53
      H 4.0 3.243 3.53
    &END COORD
  &END SUBSYS
&END FORCE_EVAL
"""


def _call(*arguments: str) -> str:
    result = CliRunner().invoke(cli.main, ["spectrum", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_lammps_run_gives_infrared_and_density_of_states_at_the_same_bands(folder: Path) -> None:
    Path("in.water").write_text(LAMMPS)
    program = find_lammps()
    run = [str(program.path), "-in", "in.water", "-log", "none", "-screen", "none"]
    subprocess.run(run, env=os.environ | program.environment, check=True, stdout=subprocess.DEVNULL)
    depth = ("--correlation-time", "1.5")
    _call("vdos", "--trajectory", "run.lammpstrj", "--timestep", "2", "--group-by", "species", *depth, "-o", "vdos.csv")
    dipole = ("--dipole", "dipole.dat", "--unit", "e*angstrom", "--timestep", "2", "--temperature", "300")
    _call("ir", *dipole, *depth, "-o", "ir.csv")
    vdos, infrared = read_csv("vdos.csv"), read_csv("ir.csv")
    assert vdos.area(0, 8000) == pytest.approx(9, rel=0.01)
    assert set(vdos.parts) == {"species/O", "species/H"}
    # a free molecule turns, which splits its bend: the middle of the band stays
    bends = (vdos.between(1200, 1700), infrared.between(1200, 1700))
    middles = [bend.wavenumber @ bend.intensity / bend.intensity.sum() for bend in bends]
    assert middles[0] == pytest.approx(middles[1], abs=15)
    for spectrum in (vdos, infrared):
        stretch = spectrum.between(3000, 4500)
        assert 3500 < stretch.wavenumber[stretch.intensity.argmax()] < 3850


def test_an_ase_run_gives_the_same_density_of_states_from_either_of_its_files(folder: Path) -> None:
    from ase import units
    from ase.build import molecule
    from ase.calculators.emt import EMT
    from ase.io import read, write
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
    from ase.md.verlet import VelocityVerlet

    atoms = molecule("CO", calculator=EMT())
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    Stationary(atoms)
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs, trajectory="run.traj")
    dynamics.run(2000)
    write("run.extxyz", read("run.traj", ":"), format="extxyz")
    for name in ("run.traj", "run.extxyz"):
        _call("vdos", "--trajectory", name, "--timestep", "0.5", "-o", f"{name}.csv")
    one, other = read_csv("run.traj.csv"), read_csv("run.extxyz.csv")
    np.testing.assert_allclose(one.intensity, other.intensity, rtol=0, atol=1e-4 * one.intensity.max())
    high = one.between(800, 6000)
    assert high.intensity.max() > 10 * np.median(high.intensity)


@pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="no cp2k.psmp; apt-get install cp2k")
def test_a_cp2k_run_gives_its_density_of_states(folder: Path) -> None:
    Path("water.inp").write_text(CP2K)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(["cp2k.psmp", "-i", "water.inp", "-o", "water.out"], env=environment, check=True, capture_output=True)
    shown = _call("vdos", "--trajectory", "water-vel-1.xyz", "--velocity-unit", "bohr/au_time", "-o", "vdos.csv")
    vdos = read_csv("vdos.csv")
    assert vdos.conventions.timestep == pytest.approx(0.5)
    assert vdos.conventions.extra["modes"] == pytest.approx(9, rel=1e-6)
    printed = [float(line.split()[3]) for line in Path("water-1.ener").read_text().splitlines()[1:]]
    # CP2K counts 3N - 3 moving degrees of freedom
    assert vdos.conventions.temperature == pytest.approx(np.mean(printed) * 6 / 9, rel=0.02)
    assert "wrote vdos.csv" in shown
