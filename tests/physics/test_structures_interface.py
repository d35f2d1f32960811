"""Interfaces as built: the metal's planes, the film's density and distances, the same every time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from vibraloom.errors import ComputationError, InputError, MissingError
from vibraloom.structures import liquid
from vibraloom.structures.build import build
from vibraloom.structures.crystals import CRYSTALS, FACETS
from vibraloom.structures.distances import contacts, refuse_overlap
from vibraloom.structures.molecules import assign_molecules, molecule_centres
from vibraloom.structures.report import draw
from vibraloom.structures.slab import build_slab
from vibraloom.structures.spec import SlabSpec, parse_system
from vibraloom.units import AVOGADRO


def interface(*, seed: int = 7, vacuum: str = "15 angstrom", slab: Any = None, film: Any = None) -> Any:
    """Au(111) 4×4 with 16 Å of water, with changes."""
    metal = {"element": "Au", "facet": 111, "layers": 4, "size": [4, 4], **(slab or {})}
    water = {"molecule": "H2O", "thickness": "16 angstrom", "density": "0.997 g/cm^3", **(film or {})}
    record = {"kind": "interface", "slab": metal, "liquid": water, "vacuum": vacuum, "seed": seed}
    return parse_system(record)


@pytest.fixture(scope="module")
def gold_water() -> tuple[Atoms, dict[str, Any]]:
    return build(interface())


def test_the_same_spec_gives_the_same_atoms(gold_water: tuple[Atoms, dict[str, Any]]) -> None:
    again, record = build(interface())
    assert np.array_equal(again.positions, gold_water[0].positions)
    assert record == gold_water[1]


def test_another_seed_gives_another_film_of_the_same_size(gold_water: tuple[Atoms, dict[str, Any]]) -> None:
    other, _ = build(interface(seed=8))
    assert len(other) == len(gold_water[0])
    moved = np.linalg.norm(other.positions - gold_water[0].positions, axis=1)
    assert moved[:64].max() == 0.0
    assert np.median(moved[64:]) > 1.0


def test_the_film_has_the_density_asked_for(gold_water: tuple[Atoms, dict[str, Any]]) -> None:
    atoms, record = gold_water
    film = atoms[atoms.arrays["molecule"] >= 0]
    area = atoms.cell[0, 0] * atoms.cell[1, 1]
    volume = area * (record["liquid"]["high"] - record["liquid"]["low"]) * 1e-24
    assert film.get_masses().sum() / AVOGADRO / volume == pytest.approx(0.997, rel=1e-5)
    assert record["liquid"]["density"] == pytest.approx(0.997, rel=1e-9)
    # the nuclei fill the film: their extent alone gives the density within 2 %
    extent = np.ptp(film.positions[:, 2])
    assert film.get_masses().sum() / AVOGADRO / (area * extent * 1e-24) == pytest.approx(0.997, rel=0.02)
    assert record["liquid"]["thickness"] == pytest.approx(16.0, abs=0.5 * 16.0 / 61)


def test_nothing_overlaps_and_nothing_is_bonded_to_the_wrong_neighbour(
    gold_water: tuple[Atoms, dict[str, Any]],
) -> None:
    atoms, record = gold_water
    member = atoms.arrays["molecule"]
    distances = atoms.get_all_distances(mic=True)
    apart = member[:, None] != member[None, :]
    assert distances[apart].min() > 1.95
    assert record["smallest_distance"]["O-O"] > 2.55
    assert min(record["smallest_distance"].values()) == pytest.approx(distances[apart].min(), abs=1e-9)
    found = assign_molecules(atoms.positions, atoms.numbers, atoms.cell.array, tuple(atoms.pbc))
    assert np.array_equal(found, member)


def test_slab_first_then_whole_molecules(gold_water: tuple[Atoms, dict[str, Any]]) -> None:
    atoms, record = gold_water
    member = atoms.arrays["molecule"]
    assert np.all(member[:64] == -1)
    assert atoms.get_chemical_symbols()[64:] == ["O", "H", "H"] * record["liquid"]["count"]
    assert np.array_equal(member[64:], np.repeat(np.arange(61), 3))
    oxygen = atoms.positions[64::3]
    for hydrogen in (atoms.positions[65::3], atoms.positions[66::3]):
        assert np.allclose(np.linalg.norm(hydrogen - oxygen, axis=1), 0.969, atol=1e-3)
    centres = molecule_centres(atoms.positions, atoms.get_masses(), member)
    fractional = centres @ np.linalg.inv(atoms.cell.array)
    assert fractional.min() >= 0.0 and fractional.max() < 1.0


def test_the_film_keeps_its_distance_to_metal_and_to_the_next_image(
    gold_water: tuple[Atoms, dict[str, Any]],
) -> None:
    atoms, record = gold_water
    height = atoms.positions[64:, 2]
    top = atoms.positions[:64, 2].max()
    assert 2.0 <= height.min() - top <= 2.5
    assert tuple(atoms.pbc) == (True, True, False)
    assert atoms.positions[:, 2].min() > 0.5
    gap = atoms.cell[2, 2] + atoms.positions[:64, 2].min() - record["liquid"]["high"]
    assert gap == pytest.approx(15.0, abs=1e-9)
    assert height.max() <= record["liquid"]["high"] + 0.05


def test_the_layers_hold_every_molecule_once(gold_water: tuple[Atoms, dict[str, Any]]) -> None:
    record = gold_water[1]
    layers = record["layers"]
    assert layers["names"] == ["contact", "middle", "surface"]
    assert layers["edges"][0] == pytest.approx(record["slab"]["top"] + 4.5)
    assert layers["edges"][1] == pytest.approx(record["liquid"]["high"] - 3.5)
    assert sum(layer["molecules"] for layer in layers["start"]) == 61
    assert sum(bin["molecules"] for bin in record["liquid"]["profile"]) == 61


def test_the_report_is_plain_json_and_the_atoms_carry_plain_entries(
    gold_water: tuple[Atoms, dict[str, Any]],
) -> None:
    atoms, record = gold_water
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["counts"]["species"] == {"Au": 64, "H": 122, "O": 61}
    assert record["net_charge"] == 0 and record["seed"] == 7
    assert record["slab"]["a"] == 4.0782 and "CRC" in record["sources"]["lattice"]
    assert all(isinstance(value, str | int | float) for value in atoms.info.values())
    json.dumps(atoms.info)


FACES = [(element, facet) for element, crystal in CRYSTALS.items() for facet in FACETS[crystal.lattice]]


@pytest.mark.parametrize(("element", "facet"), FACES)
@pytest.mark.parametrize("orthogonal", [True, False])
def test_a_slab_has_its_planes_spacing_and_bulk_neighbours(element: str, facet: str, orthogonal: bool) -> None:
    spec = SlabSpec(element=element, facet=facet, layers=5, size=(3, 4), orthogonal=orthogonal)
    atoms = build_slab(spec)
    planes = np.unique(np.round(atoms.positions[:, 2], 6))
    assert len(atoms) == 60 and len(planes) == 5
    assert np.allclose(np.diff(planes), spec.crystal.interlayer_spacing(facet), atol=1e-5)
    # the crystal is right when volume per atom and nearest neighbours are those of the bulk
    crystal = spec.crystal
    bulk = {
        "fcc": (crystal.a**3 / 4, crystal.a / 2**0.5),
        "bcc": (crystal.a**3 / 2, crystal.a * 3**0.5 / 2),
    }
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    volume = area * crystal.interlayer_spacing(facet) / 12
    nearest = atoms.get_all_distances(mic=True)[np.triu_indices(60, 1)].min()
    if crystal.lattice == "hcp":
        assert crystal.c is not None
        expected = 3**0.5 / 4 * crystal.a**2 * crystal.c
        between = (crystal.a**2 / 3 + crystal.c**2 / 4) ** 0.5
        assert volume == pytest.approx(expected, rel=1e-9)
        assert nearest == pytest.approx(min(crystal.a, between), rel=1e-6)
    else:
        assert volume == pytest.approx(bulk[crystal.lattice][0], rel=1e-9)
        assert nearest == pytest.approx(bulk[crystal.lattice][1], rel=1e-6)


def test_lattice_constants_agree_with_an_independent_table() -> None:
    from ase.data import atomic_numbers, reference_states

    for element, crystal in CRYSTALS.items():
        other = reference_states[atomic_numbers[element]]
        assert other["symmetry"] == crystal.lattice
        assert crystal.a == pytest.approx(other["a"], rel=0.005)
        if crystal.c is not None:
            assert crystal.c / crystal.a == pytest.approx(other["c/a"], rel=0.005)


def test_planes_are_held_from_the_bottom_up() -> None:
    atoms = build_slab(SlabSpec(element="Pt", facet=111, layers=4, size=(2, 2), fixed_layers=2))
    held = atoms.constraints[0].get_indices()
    assert len(held) == 8
    assert atoms.positions[held, 2].max() < np.delete(atoms.positions[:, 2], held).min()
    assert not build_slab(SlabSpec(element="Pt", facet=111, layers=4, size=(2, 2), fixed_layers=0)).constraints


@pytest.mark.parametrize(
    ("slab", "film"),
    [
        ({"orthogonal": False, "size": [5, 5]}, {}),
        ({"element": "Pt", "facet": 100}, {"molecule": "CH3OH", "density": "0.787 g/cm^3"}),
        ({"element": "Cu", "facet": 110}, {"thickness": "3 angstrom"}),
        ({}, {"thickness": None, "count": 48}),
        ({}, {"density": "1.5 g/cm^3"}),
    ],
)
def test_other_slabs_and_films_can_be_built(slab: dict[str, Any], film: dict[str, Any]) -> None:
    atoms, record = build(interface(slab=slab, film=film))
    assert len(contacts(atoms, 1.95)[0]) == 0
    asked = float(film.get("density", "0.997 g/cm^3").split()[0])
    assert record["liquid"]["density"] == pytest.approx(asked, rel=1e-9)
    heights = atoms.positions[atoms.arrays["molecule"] >= 0, 2]
    assert heights.min() >= record["liquid"]["low"] - 0.05 and heights.max() <= record["liquid"]["high"] + 0.05


def test_overlapping_atoms_are_named_with_their_distance() -> None:
    atoms = Atoms("OHHOHH", positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]] * 2)
    atoms.positions[3:, 2] += 1.25
    atoms.set_array("molecule", np.array([0, 0, 0, 1, 1, 1]))
    with pytest.raises(ComputationError, match=r"O \(atom 0\) and O \(atom 3\) are 1\.25 Å apart") as caught:
        refuse_overlap(atoms, 1.95)
    assert "\n" not in str(caught.value)


def test_a_molecule_that_touches_its_own_image_is_an_overlap() -> None:
    atoms = Atoms("CO", positions=[[0, 0, 0], [1.13, 0, 0]], cell=[2.8, 20, 20], pbc=(True, False, False))
    atoms.set_array("molecule", np.array([0, 0]))
    with pytest.raises(ComputationError, match=r"1\.67 Å apart"):
        refuse_overlap(atoms, 1.95)


@pytest.mark.parametrize(
    ("slab", "film", "said"),
    [
        ({"size": [1, 2]}, {}, r"system\.slab\.size: \[1, 2\].*allowed: 4\.13 Å or more"),
        (
            {"size": [2, 2]},
            {"thickness": "3 angstrom", "density": "0.1 g/cm^3"},
            r"allowed: .* angstrom or more",
        ),
    ],
)
def test_a_film_that_cannot_be_is_refused_in_one_line(slab: Any, film: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build(interface(slab=slab, film=film))
    assert "\n" not in str(caught.value)


def test_a_density_that_cannot_be_packed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liquid, "PATIENCE", 2.0)
    dense = {"molecule": "CH3CH2OH", "density": "1.5 g/cm^3"}
    with pytest.raises(InputError, match=r"cannot be packed.*lower the density") as caught:
        build(interface(film=dense))
    assert "\n" not in str(caught.value)


def test_without_packmol_the_message_holds_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="-m pip install packmol"):
        build(interface())


def test_a_molecule_is_centred_without_a_cell() -> None:
    atoms, record = build(parse_system({"kind": "molecule", "formula": "H2O"}))
    assert atoms.get_chemical_symbols() == ["O", "H", "H"]
    assert np.allclose(atoms.get_center_of_mass(), 0.0, atol=1e-12)
    assert atoms.cell.rank == 0 and not atoms.pbc.any()
    assert record["bonds"] == {"H-O": [pytest.approx(0.969, abs=1e-3)]}
    assert record["cell"] is None
    assert record["counts"] == {"atoms": 3, "molecules": 1, "species": {"H": 2, "O": 1}}


def test_a_picture_is_written_whole(gold_water: tuple[Atoms, dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "interface.png"
    draw(gold_water[0], target)
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [path.name for path in tmp_path.iterdir()] == ["interface.png"]
    with pytest.raises(ComputationError, match="cannot be written"):
        draw(gold_water[0], tmp_path / "absent" / "interface.png")
