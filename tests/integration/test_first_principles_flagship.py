"""First-principles runs of the length that shows the physics; hours together, kept out of CI.

``pytest -m flagship -s tests/integration/test_first_principles_flagship.py`` prints the figures of
docs/explanation/first-principles.md.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from services.slurm import Slurm

from vibraloom.files.trajectory import read_trajectory
from vibraloom.spectra import infrared, vdos
from vibraloom.spectra.axis import corrected_for_verlet
from vibraloom.spectra.bands import find_bands
from vibraloom.spectra.molecular_frame import eckart_rotation, rotate_dipoles
from vibraloom.spectra.spectrum import Spectrum

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project

pytestmark = pytest.mark.flagship

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMESTEP = 0.7
LENGTH = 651.0
RESOLUTION = 1 / (LENGTH * 2.99792458e-5)
"""(cm⁻¹) One over the length of the run."""
WATER = f"""\
version: 1
name: water-bands
system: {{kind: molecule, formula: H2O}}
dynamics: {{engine: cp2k, functional: PBE-D3, protocol: fast, temperature: 300 K, timestep: {TIMESTEP} fs, equilibration: 21 fs,
  length: {LENGTH:g} fs, every: {TIMESTEP} fs, seed: 3}}
spectra: [ir, vdos]
resources: {{cores: 1}}
"""
HARMONIC = """\
import json

from vibraloom.workflows.profile import load_project_profile

load_project_profile()
from aiida import orm
from aiida.engine import run_get_node
from ase.build import molecule

from vibraloom.workflows.cp2k import Cp2kBaseWorkChain
from vibraloom.workflows.launch import short_runner


def base(structure, task):
    builder = Cp2kBaseWorkChain.get_builder_from_protocol(
        orm.load_code("cp2k@localhost"), structure, "fast", functional="PBE-D3", task=task, raman=False
    )
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return results


with short_runner():
    relaxed = base(orm.StructureData(ase=molecule("H2O")), "optimisation")["structure"]
    print(json.dumps(base(relaxed, "vibrations")["modes"].get_dict()))
"""


@pytest.fixture
def calculations(new_project: NewProject) -> Project:
    """A project that knows CP2K on this machine."""
    if shutil.which("cp2k.psmp") is None:
        pytest.skip("CP2K is missing; run: apt install cp2k")
    return new_project()


def say(what: str, **figures: Any) -> None:
    """Print figures; seen with ``pytest -s``."""
    print(f"\n{what}: " + json.dumps(figures, default=lambda value: np.round(np.asarray(value), 3).tolist()))


def entries(project: Project) -> dict[str, dict[str, Any]]:
    """What was deposited, by quantity."""
    return {entry["quantity"]: entry for entry in project.json("list")}


def strongest(spectrum: Spectrum, near: list[float]) -> list[float]:
    """(cm⁻¹) The strongest band within 60 cm⁻¹ of each of these wavenumbers, without the shift by the time step."""
    shown = corrected_for_verlet(spectrum, TIMESTEP)
    return [max(find_bands(shown, mode - 60, mode + 60), key=lambda band: band.height).position for mode in near]


def bands_of(path: Path, modes: list[float]) -> tuple[list[float], list[float]]:
    """(cm⁻¹) Infrared bands at bend and antisymmetric stretch, in the Eckart frame, and VDOS bands at all three modes.

    The whole run is correlated: the spectra of the run itself show error bars instead, on a tenth of its length.
    """
    run = read_trajectory(path)
    assert run.velocities is not None
    masses = np.array([15.999, 1.008, 1.008])
    rotations = eckart_rotation(run.positions, masses, run.positions[0])
    whole: dict[str, Any] = {"temperature": 300.0, "correlation_time": LENGTH - TIMESTEP, "blocks": 0}
    dipole = infrared(rotate_dipoles(run.observables["dipole"], rotations), run.timestep, **whole)
    states = vdos(run.velocities, masses, run.timestep, **whole)
    return strongest(dipole, [modes[0], modes[2]]), strongest(states, modes)


def test_the_bands_of_dynamics_lie_at_the_harmonic_wavenumbers(calculations: Project) -> None:
    (calculations.folder / "water.yaml").write_text(WATER, encoding="utf-8")
    calculations.run("run", "water.yaml", timeout=4 * 3600)
    found = sorted((calculations.folder / ".vibraloom" / "work").rglob("trajectory-00.h5"), key=lambda path: path.stat().st_size)
    told = subprocess.run(
        [sys.executable, "-c", HARMONIC],
        cwd=calculations.folder,
        env=calculations.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=3600,
    )
    modes = json.loads(told.stdout.splitlines()[-1])
    harmonic = modes["wavenumber"][-3:]
    absorbed, vibrations = bands_of(found[-1], harmonic)
    say("water", harmonic=harmonic, km_mol=modes["infrared"][-3:], infrared=absorbed, vdos=vibrations)
    assert np.abs(np.array(absorbed) - [harmonic[0], harmonic[2]]).max() < RESOLUTION
    assert np.abs(np.array(vibrations) - harmonic).max() < RESOLUTION


def test_eight_waters_go_through_slurm_to_the_database(calculations: Project, slurm: Slurm) -> None:
    spec = yaml.safe_load((EXAMPLES / "water8-aimd.yaml").read_text(encoding="utf-8"))
    # the example's two picoseconds take a night
    spec["dynamics"] |= {"equilibration": "5 fs", "length": "40 fs"}
    spec["response"]["polarizability_every"] = "6 fs"
    spec["resources"] = {"computer": "localhost-slurm", "cores": 1}
    (calculations.folder / "waters.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    calculations.run("cluster", "add", "localhost-slurm")
    calculations.run("run", "waters.yaml", timeout=4 * 3600)
    found = entries(calculations)
    assert {"infrared", "raman_vv", "vdos"} <= set(found), sorted(found)
    assert not any(entry["verdict"]["converged"] for entry in found.values())
    assert all(entry["context"]["fidelity"] == "DFT" for entry in found.values())
    jobs = len(slurm.finished())
    say("8 waters", spectra=sorted(found), slurm_jobs=jobs)
    before = jobs
    calculations.run("run", "waters.yaml", timeout=600)
    assert len(slurm.finished()) == before


def test_water_on_an_oxide_goes_from_its_structure_to_spectra_by_density_functional_theory(calculations: Project) -> None:
    shutil.copy(EXAMPLES / "mgo-water.yaml", calculations.folder / "oxide.yaml")
    calculations.run("run", "oxide.yaml", timeout=6 * 3600)
    found = entries(calculations)
    assert set(found) == {"slab_response_parallel", "slab_response_normal", "vdos"}, sorted(found)
    for entry in found.values():
        assert entry["context"]["fidelity"] == "DFT" and entry["verdict"]["converged"] is False
