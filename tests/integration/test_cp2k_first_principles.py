"""What CP2K's numbers are worth: one water against another program, and its polarizabilities against one another.

``pytest -m flagship -s tests/integration/test_cp2k_first_principles.py`` computes the figures of
docs/explanation/first-principles.md and prints them; the other tests ask the same of coarser grids and fewer frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.input_builder import committee_network, vibrations
from vibraloom.calculators.cp2k.settings import Cp2kSettings, MdSettings
from vibraloom.structures.bulk_liquid import build_bulk_liquid
from vibraloom.structures.spec import BulkLiquidSystem
from vibraloom.units import E_ANGSTROM_PER_DEBYE

Array = NDArray[np.float64]

REFERENCE = {"kind": "pyscf", "functional": "PBE", "basis": "def2-TZVPD"}
LIQUID = Cp2kSettings.from_protocol("fast", "PBE", {"scf_convergence": 1e-7})
SUM_OVER_MOLECULES = 1e-6
"""(Å³) Between two ways to add up the same Wannier centres, which are printed to 1e-10 Å."""


@pytest.fixture
def cp2k(cp2k_program: str, project: Path, in_project: Path) -> Iterator[Any]:
    """The code ``cp2k@localhost``, and a runner that needs no broker."""
    from aiida import orm

    from vibraloom.workflows.clusters import add
    from vibraloom.workflows.launch import short_runner

    add("localhost", project)
    with short_runner():
        yield orm.load_code("cp2k@localhost")


def run(process: Any, **inputs: Any) -> Any:
    """Run to its end; returns the outputs."""
    from aiida.engine import run_get_node

    results, node = run_get_node(process, **inputs)
    assert node.is_finished_ok, node.exit_message
    return results


def base(builder: Any) -> Any:
    """Run a builder of the base work chain."""
    from aiida.engine import run_get_node

    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return results


def structure(atoms: Atoms) -> Any:
    from aiida import orm

    return orm.StructureData(ase=atoms)


def labels(code: Any, frames: dict[str, Any], settings: Cp2kSettings, **wanted: Any) -> dict[str, Array]:
    """Labels of the frames, one job at a time, as the dataset of the work chain has them."""
    from aiida import orm

    from vibraloom.workflows.cp2k_labels import Cp2kLabelWorkChain

    results = run(
        Cp2kLabelWorkChain,
        code=code,
        converter=orm.load_code("python@localhost"),
        structures=frames,
        settings=orm.Dict(settings.record()),
        wanted=orm.Dict(wanted),
        at_once=orm.Int(1),
    )
    with results["dataset"].as_path() as folder, np.load(folder / "labels.npz", allow_pickle=False) as stored:
        return dict(stored)


def say(what: str, **figures: Any) -> None:
    """Print figures; seen with ``pytest -s``."""
    print(f"\n{what}: " + json.dumps(figures, default=lambda value: np.round(np.asarray(value), 8).tolist()))


def folders_of_labels(project: Path) -> list[Path]:
    """Folders of the label jobs of this project, oldest first."""
    return sorted((path.parent for path in (project / "work").rglob("labels.npz")), key=lambda each: each.stat().st_mtime)


def wannier_total(folder: Path, field: float, edge: float) -> Array:
    """(Å³) Polarizability of all Wannier centres together, read from their files without asking who owns which.

    No ion moves in a field, and no centre by half the cell: what moves is the centres, two electrons each.
    """
    angstrom3 = 14.399645 / 51.4220675  # e²/(4 pi eps0) in eV·Å over a.u. of the field in V/Å

    def centres(name: str) -> Array:
        rows = (folder / f"{name}-wannier.xyz").read_text().splitlines()
        return np.array([row.split()[1:4] for row in rows if row.split()[:1] == ["X"]], dtype=float)

    columns = []
    for axis in "xyz":
        plus, minus = (centres(f"field_{axis}_{word}") for word in ("plus", "minus"))
        # the two runs may number their centres differently
        moved = plus[:, None] - minus[None]
        moved -= edge * np.rint(moved / edge)
        moved = moved[np.arange(len(plus)), np.linalg.norm(moved, axis=-1).argmin(axis=1)]
        columns.append(-2.0 * moved.sum(axis=0) / (2 * field) * angstrom3)
    tensor = np.array(columns).T
    symmetric: Array = 0.5 * (tensor + tensor.T)
    return symmetric


def assert_identities(label: dict[str, Array], folder: Path, field: float) -> dict[str, float]:
    """The identities of one frame's label; returns by how much each is missed."""
    berry = label["polarizability_field"]
    missed = {
        "molecules minus Wannier total, Å³": float(
            np.abs(label["molecular_polarizability"].sum(axis=0) - wannier_total(folder, field, label["cell"][0, 0])).max()
        ),
        "Wannier minus Berry, relative": float(
            np.abs(label["polarizability_wannier"] - 0.5 * (berry + berry.T)).max() / (np.trace(berry) / 3)
        ),
        "Wannier minus Berry dipole, e·Å": float(np.linalg.norm(label["wannier_minus_berry"])),
    }
    assert missed["molecules minus Wannier total, Å³"] < SUM_OVER_MOLECULES, missed
    assert missed["Wannier minus Berry, relative"] < 0.02, missed
    assert missed["Wannier minus Berry dipole, e·Å"] < 0.2, missed
    return missed


def bent(degrees: float) -> Atoms:
    """A water whose angle is ``degrees`` wide, its axis along z."""
    atoms = molecule("H2O")
    length, half = 0.97, np.radians(degrees) / 2
    across, along = length * np.sin(half), length * np.cos(half)
    atoms.positions[:] = [[0, 0, 0], [0, across, along], [0, -across, along]]
    return atoms


def test_the_dipole_of_a_bending_water_changes_as_pyscf_says(cp2k: Any) -> None:
    from vibraloom.calculators.pyscf.electronic_structure import ElectronicStructure, LevelOfTheory
    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    reference = ElectronicStructure(LevelOfTheory("PBE", "def2-TZVPD"), [8, 1, 1])
    dipole, expected = [], []
    for degrees in (100.0, 109.0):
        atoms = bent(degrees)
        atoms.cell = [8.0] * 3
        builder = Cp2kBaseWorkChain.get_builder_from_protocol(
            cp2k, structure(atoms), "balanced", {"cutoff": 240, "scf_convergence": 1e-6}, functional="PBE"
        )
        found = base(builder)["labels"]
        dipole.append(np.linalg.norm(found.get_array("dipole")[0]))
        expected.append(np.linalg.norm(reference.evaluate(atoms.positions, forces=False).dipole))
    # the intensity is the square of the change: 15 % of it are 7 % of the change
    change, wanted = dipole[1] - dipole[0], expected[1] - expected[0]
    assert wanted < -0.02, "e·Å: a wider angle has less dipole"
    assert abs(change / wanted - 1) < 0.07, (change, wanted)


def test_one_molecule_keeps_the_identities_of_its_label(cp2k: Any, project: Path) -> None:
    atoms = molecule("H2O", cell=[7.0] * 3, pbc=True)
    atoms.rotate(35, (1, 2, 3))
    settings = Cp2kSettings.from_protocol("fast", "PBE", {"cutoff": 200})
    found = labels(cp2k, {"a": structure(atoms)}, settings, wannier=True, polarizability=["field"])
    assert_identities({name: values[0] for name, values in found.items()}, folders_of_labels(project)[-1], 0.001)


@pytest.mark.flagship
def test_modes_of_water_are_those_of_pyscf(cp2k: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vibraloom.calculators.ase.harmonic import main
    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    builder = Cp2kBaseWorkChain.get_builder_from_protocol(
        cp2k, structure(molecule("H2O")), "stringent", functional="PBE", task="optimisation"
    )
    relaxed = base(builder)["structure"]
    settings = Cp2kSettings.from_protocol("stringent", "PBE")
    parameters = vibrations(relaxed.get_ase(), settings, raman=False)
    found = base(Cp2kBaseWorkChain.builder_of(cp2k, relaxed, parameters, settings))["modes"].get_dict()
    monkeypatch.chdir(tmp_path)
    molecule("H2O").write("structure.extxyz")
    main({"engine": REFERENCE}, lambda done, total, words: None)
    reference = json.loads((tmp_path / "harmonic.json").read_text(encoding="utf-8"))
    wavenumber, expected = np.array(found["wavenumber"])[-3:], np.array(reference["wavenumbers"])[-3:]
    intensity, wanted = np.array(found["infrared"])[-3:], np.array(reference["infrared_intensities"])[-3:]
    say("modes", cp2k=wavenumber, pyscf=expected, cp2k_km_mol=intensity, pyscf_km_mol=wanted)
    assert np.abs(wavenumber - expected).max() < 25.0
    assert (np.abs(intensity - wanted) < np.maximum(0.15 * wanted, 3.0)).all()


@pytest.mark.flagship
@pytest.mark.parametrize("basis", ["TZV2P", "aug-TZV2P"])
def test_field_and_linear_response_of_water_agree(cp2k: Any, basis: str) -> None:
    from vibraloom.calculators.pyscf.electronic_structure import ElectronicStructure, LevelOfTheory

    settings = Cp2kSettings.from_protocol("stringent", "PBE", {"basis": basis, "cutoff": 400})
    found = labels(cp2k, {"a": structure(bent(104.0))}, settings, polarizability=["field", "linres"])
    level = LevelOfTheory("PBE", "def2-TZVPD")
    answer = ElectronicStructure(level, [8, 1, 1]).evaluate(bent(104.0).positions, forces=False, polarizability=True)
    field, response = found["polarizability_field"][0], found["polarizability_linres"][0]
    say(
        f"polarizability, {basis}",
        field=np.diag(field),
        linres=np.diag(response),
        difference=found["polarizability_difference"][0],
        pyscf=np.diag(answer.polarizability),
    )
    assert np.abs(field - response).max() < 0.003 * np.trace(response) / 3


def sampled_liquid(code: Any, count: int, last: int) -> dict[str, Any]:
    """The last frames of 300 fs of this many waters on the committee network."""
    from aiida import orm

    from vibraloom.workflows.cp2k_labels import frames_of
    from vibraloom.workflows.dynamics import Cp2kDynamicsWorkChain

    system = BulkLiquidSystem(kind="liquid", molecule="H2O", count=count, density="0.997 g/cm^3", seed=5)
    packed, _ = build_bulk_liquid(system)
    md = MdSettings(ensemble="NVT", temperature=300, steps=600, every=200, seed=5, thermostat_time=20, restart_every=200)
    builder = Cp2kDynamicsWorkChain.builder_of(code, structure(packed), committee_network(packed, md), LIQUID, seed=5)
    frames = frames_of(base(builder)["trajectories"]["replica_00"], orm.Int(1))
    return {name: frames[name] for name in sorted(frames)[-last:]}


@pytest.mark.flagship
def test_eight_waters_keep_the_identities_on_three_frames(cp2k: Any, project: Path) -> None:
    found = labels(cp2k, sampled_liquid(cp2k, 8, 3), LIQUID, wannier=True, polarizability=["field"])
    assert len(found["energy"]) == 3
    for index, folder in enumerate(folders_of_labels(project)[-3:]):
        label = {name: values[index] for name, values in found.items() if name not in ("numbers", "frame")}
        missed = assert_identities(label, folder, 0.001)
        say(
            f"8 waters, frame {index}",
            **missed,
            mean_berry=np.trace(label["polarizability_field"]) / 3,
            molecular=np.trace(label["molecular_polarizability"], axis1=1, axis2=2) / 3,
            dipoles_debye=np.linalg.norm(label["molecular_dipole"], axis=-1) / E_ANGSTROM_PER_DEBYE,
        )


@pytest.mark.flagship
def test_the_two_definitions_of_the_dipole_come_closer_in_a_larger_cell(cp2k: Any) -> None:
    missed = {
        count: np.linalg.norm(
            labels(cp2k, sampled_liquid(cp2k, count, last), LIQUID, wannier=True)["wannier_minus_berry"], axis=-1
        )
        for count, last in ((8, 3), (32, 2))
    }
    say("Wannier less Berry dipole, e·Å", **{f"{count} waters": values for count, values in missed.items()})
    assert missed[32].mean() < 0.7 * missed[8].mean()
