"""CP2K takes every kind of input that is built, and names what it does not know."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule

from vibraloom.calculators.cp2k.input_builder import (
    committee_network,
    dynamics,
    field_followups,
    geometry_optimisation,
    linres_followup,
    single_point,
    starting_from,
    vibrations,
    with_restart,
    with_walltime,
)
from vibraloom.calculators.cp2k.input_text import merged, render
from vibraloom.calculators.cp2k.method_sections import Section, boxed
from vibraloom.calculators.cp2k.output_log import read_log
from vibraloom.calculators.cp2k.settings import FUNCTIONALS, Cp2kSettings, MdSettings
from vibraloom.units import ANGSTROM_PER_BOHR, E_ANGSTROM_PER_DEBYE

PROGRAM = shutil.which("cp2k.psmp")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no cp2k.psmp; apt-get install cp2k")

ONE_CYCLE: Section = {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 1, "OUTER_SCF": None}, "MGRID": {"CUTOFF": 150}}}}
"""Laid over an input of which only the acceptance is asked."""


def settings(functional: str = "PBE-D3", **entries: Any) -> Cp2kSettings:
    return Cp2kSettings.from_protocol("fast", functional, entries)


def water(edge: float = 5.5) -> Atoms:
    atoms = molecule("H2O", cell=[edge] * 3, pbc=True)
    atoms.center()
    return atoms


def gold() -> Atoms:
    slab = fcc111("Au", (1, 1, 2), vacuum=4.0)
    slab.pbc = (True, True, False)
    return slab


def md(**entries: Any) -> MdSettings:
    return MdSettings.checked({"temperature": 300.0, "steps": 4, "seed": 3, **entries})


def run(folder: Path, parameters: Section, atoms: Atoms, name: str = "cp2k", *options: str) -> subprocess.CompletedProcess[str]:
    assert PROGRAM is not None
    folder.mkdir(exist_ok=True)
    rows = zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
    lines = [str(len(atoms)), "", *(f"{symbol} {r[0]:.15g} {r[1]:.15g} {r[2]:.15g}" for symbol, r in rows)]
    (folder / "structure.xyz").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.inp").write_text(render(parameters))
    command = [PROGRAM, *(options or ("-o", f"{name}.out")), "-i", f"{name}.inp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def log_of(folder: Path, name: str = "cp2k") -> str:
    return (folder / f"{name}.out").read_text()


def dipole(folder: Path, name: str) -> np.ndarray[Any, Any]:
    """(e·Å) Last dipole that a run printed, shape (3,)."""
    line = [text for text in (folder / f"{name}-dipole.dat").read_text().splitlines() if text.strip().startswith("X=")][-1]
    return np.array([float(line.split()[k]) for k in (1, 3, 5)]) * E_ANGSTROM_PER_DEBYE


def series(path: Path) -> dict[int, np.ndarray[Any, Any]]:
    """Step → coordinates of a trajectory file of CP2K's."""
    lines, frames = path.read_text().splitlines(), {}
    size = int(lines[0]) + 2
    for start in range(0, len(lines), size):
        step = int(lines[start + 1].split("i =")[1].split(",")[0])
        rows = lines[start + 2 : start + size]
        frames[step] = np.array([[float(word) for word in row.split()[1:4]] for row in rows])
    return frames


METAL = {"scf": "diagonalisation", "smearing": {}}
KINDS: dict[str, Callable[[], tuple[Section, Atoms]]] = {
    "label": lambda: (single_point(water(), settings(), wannier=True, stress=True, hartree=True, density=True), water()),
    "molecule": lambda: (single_point(boxed(molecule("H2O")), settings()), boxed(molecule("H2O"))),
    "augmented": lambda: (single_point(water(), settings(basis="aug-TZV2P")), water()),
    "open shell": lambda: (single_point(water(), settings(multiplicity=3)), water()),
    "slab in its plane": lambda: (single_point(gold(), settings(slab="in_plane", **METAL)), gold()),
    "k-points": lambda: (single_point(gold(), settings(kpoints=[2, 2, 1], **METAL)), gold()),
    "field": lambda: (field_followups(water(), settings(), wannier=True)["field_y_minus"], water()),
    "linear response": lambda: (linres_followup(water(), settings())["linres"], water()),
    "optimisation": lambda: (geometry_optimisation(water(), settings(), fixed=[0]), water()),
    "vibrations": lambda: (vibrations(water(), settings(), subset=[1, 2]), water()),
    "dynamics": lambda: (
        dynamics(water(), settings(), md(ensemble="NVT", wannier_every=2, hartree_every=2, density_every=2)),
        water(),
    ),
    "network": lambda: (committee_network(water(), md(ensemble="NVT")), water()),
    "continuation": lambda: (with_walltime(with_restart(dynamics(water(), settings(), md()), "x", 2, "y"), 60), water()),
    "new start": lambda: (starting_from(dynamics(water(), settings(), md()), "x", "y"), water()),
    **{name: lambda name=name: (single_point(water(), settings(name)), water()) for name in FUNCTIONALS},  # type: ignore[misc]
}


@pytest.mark.parametrize("kind", KINDS)
def test_cp2k_knows_every_section_and_keyword(kind: str, tmp_path: Path) -> None:
    parameters, atoms = KINDS[kind]()
    if "EXT_RESTART" in parameters:  # a syntax check would read the files that these two name
        parameters = merged(parameters, {"EXT_RESTART": {"RESTART_FILE_NAME": "cp2k.inp"}})
    done = run(tmp_path, parameters, atoms, "cp2k", "--check")
    assert "SUCCESS, the input could be parsed correctly" in done.stdout, done.stdout[-1500:]


def test_cp2k_refuses_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    chosen = settings(overrides={"FORCE_EVAL": {"DFT": {"MGRID": {"CUTOF": 200}}}})
    done = run(tmp_path, single_point(water(), chosen), water(), "cp2k", "--check")
    assert "SUCCESS" not in done.stdout and "unknown keyword CUTOF" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("functional", "names"),
    [
        ("PBE-D3", ["PBE:", "Dispersion energy"]),
        ("BLYP-D3", ["BECKE88:", "LYP:", "Dispersion energy"]),
        ("revPBE-D3", ["revPBE", "Dispersion energy"]),
        ("RPBE-D3", ["GGA_X_RPBE:", "GGA_C_PBE:", "Dispersion energy"]),
        ("r2SCAN", ["MGGA_X_R2SCAN:", "MGGA_C_R2SCAN:"]),
    ],
)
def test_cp2k_computes_with_every_functional(functional: str, names: list[str], tmp_path: Path) -> None:
    atoms = water()
    assert run(tmp_path, merged(single_point(atoms, settings(functional)), ONE_CYCLE), atoms).returncode == 0
    log = log_of(tmp_path)
    assert all(name in log for name in names) and "ENERGY| Total FORCE_EVAL" in log


def test_a_metal_slab_gives_its_fermi_level_and_its_normal_dipole(tmp_path: Path) -> None:
    atoms = gold()
    chosen = settings(**METAL)
    one = {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 2}, "MGRID": {"CUTOFF": 150}}}}
    assert run(tmp_path, merged(single_point(atoms, chosen, hartree=True), one), atoms).returncode == 0
    log = log_of(tmp_path)
    assert "Fermi energy" in log and list(tmp_path.glob("cp2k-v_hartree-1_*.cube"))
    along = read_log(tmp_path / "cp2k.out").dipole_normal
    assert along is not None and abs(along) < 1.0  # two like layers, each other's mirror image


def test_a_label_prints_all_that_it_was_asked(tmp_path: Path) -> None:
    atoms = water()
    asked = single_point(atoms, settings(), wannier=True, stress=True, hartree=True, density=True)
    assert run(tmp_path, merged(asked, ONE_CYCLE), atoms).returncode == 0
    log = log_of(tmp_path)
    assert "ATOMIC FORCES in [a.u.]" in log and "STRESS| Analytical stress tensor" in log
    assert "Berry" in (tmp_path / "cp2k-dipole.dat").read_text()
    symbols = [line.split()[0] for line in (tmp_path / "cp2k-wannier.xyz").read_text().splitlines()[2:]]
    assert sorted(symbols) == ["H", "H", "O", "X", "X", "X", "X"]
    assert list(tmp_path.glob("cp2k-v_hartree-1_*.cube")) and list(tmp_path.glob("cp2k-ELECTRON_DENSITY-1_*.cube"))


def test_field_and_linear_response_of_a_molecule_agree(tmp_path: Path) -> None:
    """The polarizability along one axis, from ± fields and from LINRES, within 0.3 %."""
    atoms = molecule("H2O", cell=[8.0] * 3)
    atoms.center()
    chosen, strength = settings("PBE"), 0.002
    runs = {**field_followups(atoms, chosen, strength, "y"), **linres_followup(atoms, chosen)}
    assert run(tmp_path, single_point(atoms, chosen), atoms).returncode == 0
    for name, parameters in runs.items():
        assert run(tmp_path, parameters, atoms, name).returncode == 0
    difference = dipole(tmp_path, "field_y_plus") - dipole(tmp_path, "field_y_minus")
    by_field = float(difference[1]) / ANGSTROM_PER_BOHR / (2 * strength)
    line = next(text for text in log_of(tmp_path, "linres").splitlines() if "POLAR| xx,yy,zz" in text)
    assert by_field == pytest.approx(float(line.split()[3]), rel=3e-3)
    assert 7 < by_field < 9  # a.u.


def test_dynamics_stopped_and_continued_give_the_uninterrupted_steps(tmp_path: Path) -> None:
    atoms = water()
    whole = dynamics(atoms, settings("PBE", cutoff=150), md(ensemble="NVT", wannier_every=2, hartree_every=4))
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(tmp_path / "whole", whole, atoms).returncode == 0
    assert run(first, merged(whole, {"MOTION": {"MD": {"STEPS": 2}}}), atoms).returncode == 0
    second.mkdir()
    shutil.copy(first / "cp2k-1.restart", second / "previous.restart")
    shutil.copy(first / "cp2k-RESTART.wfn", second / "previous.wfn")
    assert run(second, with_restart(whole, "previous.restart", 2, "previous.wfn"), atoms).returncode == 0
    # noise of an SCF converged to 1e-6; velocities are in bohr per atomic unit of time
    for name, noise in (("pos", 1e-6), ("vel", 1e-8)):
        expected = series(tmp_path / "whole" / f"cp2k-{name}-1.xyz")
        found = {**series(first / f"cp2k-{name}-1.xyz"), **series(second / f"cp2k-{name}-1.xyz")}
        assert sorted(found) == sorted(expected) == [0, 1, 2, 3, 4]
        assert max(float(np.abs(found[step] - expected[step]).max()) for step in found) < noise
    moved = series(tmp_path / "whole" / "cp2k-pos-1.xyz")
    assert np.abs(moved[4] - moved[0]).max() > 1e-3
    cubes = sorted(path.name for path in (tmp_path / "whole").glob("*.cube"))
    assert cubes == ["cp2k-v_hartree-1_0.cube", "cp2k-v_hartree-1_4.cube"]
    assert (tmp_path / "whole" / "cp2k-wannier.xyz").read_text().count(" X ") == 3 * 4
    assert np.allclose(dipole(second, "cp2k"), dipole(tmp_path / "whole", "cp2k"), atol=1e-5)


def test_the_committee_network_runs(tmp_path: Path) -> None:
    atoms = water(12.0)
    assert run(tmp_path, committee_network(atoms, md(every=2)), atoms).returncode == 0
    assert sorted(series(tmp_path / "cp2k-pos-1.xyz")) == [0, 2, 4]
