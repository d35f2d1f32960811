"""Slabs of compounds: the crystal, its surfaces, the film on them, what is refused; slabs of metals as before."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms

from vibraloom.errors import InputError
from vibraloom.structures.build import build
from vibraloom.structures.compounds import COMPOUNDS
from vibraloom.structures.slab import build_slab
from vibraloom.structures.spec import THINNEST_FILM, InterfaceSystem, SlabSpec, parse_system
from vibraloom.workflows.parameters import cp2k_settings, held_atoms
from vibraloom.workflows.spec import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
CHARGES = {"Mg": 2, "Ca": 2, "Na": 1, "O": -2, "Cl": -1}
"""Formal charges, e."""
GOLD_SYSTEM = "498d4cf7dc45b59f32821993871c91c83efcf90bb56eb5a6f25c95446d50b142"
GOLD_RUN = "cddff4b55fd4d643275c89e178f8c6b9c8bbc61ecc596772ac6bdb0daaf2e7ca"
"""Hashes of examples/au111-water.yaml, computed by the release that knew metals alone."""
INTERFACE = yaml.safe_load(
    "{kind: interface, slab: {material: MgO, facet: 100, layers: 3, size: [3, 3]}, "
    "liquid: {molecule: H2O, count: 9, density: 0.9 g/cm^3}, seed: 7}"
)


def slab(material: str = "MgO", layers: int = 4, size: tuple[int, int] = (3, 2), fixed_layers: int | None = None) -> Atoms:
    return build_slab(SlabSpec(material=material, facet=100, layers=layers, size=size, fixed_layers=fixed_layers))


def changed(**entries: Any) -> dict[str, Any]:
    """The interface with entries of its slab replaced, or removed where None."""
    record = copy.deepcopy(INTERFACE)
    record["slab"] = {key: value for key, value in {**record["slab"], **entries}.items() if value is not None}
    return record


@pytest.mark.parametrize("material", sorted(COMPOUNDS))
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_slab_is_stoichiometric_plane_by_plane_and_has_no_dipole(material: str, layers: int) -> None:
    atoms = slab(material, layers)
    charges = np.array([CHARGES[symbol] for symbol in atoms.symbols])
    tags = atoms.get_tags()
    assert len(atoms) == 2 * 6 * layers and set(tags) == set(range(1, layers + 1))
    for plane in range(1, layers + 1):
        assert charges[tags == plane].sum() == 0
        assert np.ptp(atoms.positions[tags == plane, 2]) < 1e-9
    assert abs(charges @ atoms.positions[:, 2]) < 1e-9
    assert atoms.positions[tags == 1, 2].min() == atoms.positions[:, 2].max()


@pytest.mark.parametrize("material", sorted(COMPOUNDS))
def test_ions_have_the_neighbours_of_rock_salt(material: str) -> None:
    atoms, half = slab(material, layers=4, size=(4, 4)), COMPOUNDS[material].cell[0] / 2
    distances = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() == pytest.approx(half, abs=1e-6)
    charges = np.array([CHARGES[symbol] for symbol in atoms.symbols])
    near = np.abs(distances - half) < 1e-3
    assert np.all(charges[np.nonzero(near)[0]] * charges[np.nonzero(near)[1]] < 0)
    inner = np.isin(atoms.get_tags(), (2, 3))
    assert set(near.sum(axis=1)[inner]) == {6} and set(near.sum(axis=1)[~inner]) == {5}


def test_the_two_sides_are_the_same_surface() -> None:
    import spglib

    for layers in (2, 3):
        atoms = slab(layers=layers, size=(1, 1))
        found = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)
        assert any(rotation[2, 2] == -1 for rotation in found["rotations"]), layers


def test_size_counts_the_smallest_surface_cell() -> None:
    atoms, edge = slab(size=(3, 2)), COMPOUNDS["MgO"].cell[0] / 2**0.5
    assert np.allclose(atoms.cell[:2], [[3 * edge, 0, 0], [0, 2 * edge, 0]], atol=1e-9)
    fractional = atoms.get_scaled_positions(wrap=False)[:, :2]
    assert fractional.min() > -1e-6 and fractional.max() < 1


def test_planes_are_held_from_the_bottom_up() -> None:
    atoms = slab(layers=3, size=(2, 2), fixed_layers=1)
    held = atoms.constraints[0].get_indices()
    assert len(held) == 8 and set(atoms.get_tags()[held]) == {3}
    assert len(slab(layers=3, size=(2, 2)).constraints[0].get_indices()) == 24


def test_a_film_lies_on_the_slab_with_the_density_asked_for() -> None:
    atoms, report = build(parse_system(INTERFACE))
    assert report["counts"]["species"] == {"H": 18, "Mg": 27, "O": 36} and report["liquid"]["count"] == 9
    assert report["liquid"]["density"] == pytest.approx(0.9, rel=1e-9)
    member = atoms.arrays["molecule"]
    apart = atoms.get_all_distances(mic=True)[np.ix_(member >= 0, member < 0)]
    assert apart.min() > 2.5
    again, other = build(parse_system(INTERFACE))
    assert np.array_equal(again.positions, atoms.positions) and other == report


def test_the_report_names_the_compound_and_where_its_constants_come_from() -> None:
    _, report = build(parse_system(INTERFACE))
    assert report["slab"]["material"] == "MgO" and "element" not in report["slab"]
    assert (report["slab"]["lattice"], report["slab"]["a"]) == ("rock salt", 4.211)
    assert report["slab"]["interlayer_spacing"] == pytest.approx(4.211 / 2, abs=1e-6)
    assert "Hazen" in report["sources"]["lattice"]


def test_a_single_plane_has_no_spacing() -> None:
    _, report = build(parse_system(changed(layers=1)))
    assert report["slab"]["interlayer_spacing"] is None


def test_the_picture_names_the_compound() -> None:
    from vibraloom.structures.picture import _title

    atoms, _ = build(parse_system(INTERFACE))
    assert _title(atoms).startswith("MgO(100), 3 planes, 54 atoms")
    gold, _ = build(load_spec(EXAMPLES / "au111-water.yaml").system)
    assert _title(gold).startswith("Au(111), 4 planes, 64 atoms")


def test_what_was_hashed_when_there_were_metals_alone_keeps_its_hash() -> None:
    run = load_spec(EXAMPLES / "au111-water.yaml")
    assert run.system.content_hash() == GOLD_SYSTEM
    assert run.content_hash() == GOLD_RUN
    assert list(run.system.model_dump(mode="json")["slab"])[:2] == ["element", "facet"]


def test_a_compound_survives_its_own_json_and_has_a_hash_of_its_own() -> None:
    system = parse_system(INTERFACE)
    assert isinstance(system, InterfaceSystem)
    assert "element" not in system.model_dump(mode="json")["slab"]
    assert parse_system(system.model_dump(mode="json")) == system
    assert system.content_hash() != parse_system(changed(material="CaO")).content_hash()
    assert not system.slab.is_metal and load_spec(EXAMPLES / "au111-water.yaml").system.slab.is_metal


BAD = [
    ({"element": "Au", "facet": 111}, "system.slab.element", "exactly one of element"),
    ({"material": None}, "system.slab.element", "exactly one of element"),
    ({"material": "MgO2"}, "system.slab.material", "allowed: MgO, CaO, NaCl"),
    ({"facet": 110}, "system.slab.facet", "allowed for MgO (rock salt): 100"),
    ({"facet": "0001"}, "system.slab.facet", "allowed for MgO (rock salt): 100"),
    ({"facet": 111}, "system.slab.facet", "(111) is polar: planes of Mg alone and of O alone"),
    ({"facet": 211}, "system.slab.facet", "100 (rock salt)"),
    ({"fixed_layers": 4}, "system.slab.fixed_layers", "allowed: 0 to 3"),
    ({"layers": 0}, "system.slab.layers", "from 1 to 20"),
]


@pytest.mark.parametrize(("entries", "named", "allowed"), BAD)
def test_a_bad_entry_gives_one_line_that_says_what_is_allowed(entries: dict[str, Any], named: str, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_system(changed(**entries))
    message = str(caught.value)
    assert message.startswith(f"spec: {named}:") and "\n" not in message
    assert allowed in message


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_molecule_lies_in_a_film_of_its_own_thickness(count: int) -> None:
    record = copy.deepcopy(changed(size=[4, 4]))
    record["liquid"] = {"molecule": "H2O", "count": count, "density": "0.9 g/cm^3"}
    atoms, report = build(parse_system(record))
    liquid = report["liquid"]
    assert (liquid["count"], liquid["thickness"]) == (count, pytest.approx(THINNEST_FILM))
    area_mass = count * 18.015 / (report["area"] * THINNEST_FILM) / 0.602214
    assert liquid["density"] == pytest.approx(area_mass, rel=1e-3) and liquid["density"] < 0.2
    assert any(f"{liquid['density']:.3g} g/cm^3, not 0.9 g/cm^3" in note for note in report["notes"])
    waters = atoms.positions[atoms.arrays["molecule"] >= 0, 2]
    assert liquid["low"] - 1e-3 <= waters.min() and waters.max() <= liquid["high"] + 1e-3


@pytest.mark.parametrize("facet", ["001", "(001)", "010", 1, 8])
def test_equal_faces_of_a_cubic_crystal_are_one(facet: Any) -> None:
    one, other = parse_system(changed(facet=facet)), parse_system(changed(facet=100))
    assert one == other and one.content_hash() == other.content_hash()
    gold = {"element": "Au", "layers": 3, "size": [4, 4]}
    metal = {**INTERFACE, "slab": {**gold, "facet": facet}}
    assert parse_system(metal) == parse_system({**INTERFACE, "slab": {**gold, "facet": 100}})


def test_the_basal_plane_of_a_hexagonal_crystal_stays_what_it_is() -> None:
    hexagonal = {"element": "Ru", "layers": 3, "size": [4, 4]}
    system = parse_system({**INTERFACE, "slab": {**hexagonal, "facet": 1}})
    assert isinstance(system, InterfaceSystem) and system.slab.facet == "0001"
    with pytest.raises(InputError, match=r"system\.slab\.facet: '001'"):
        parse_system({**INTERFACE, "slab": {**hexagonal, "facet": "001"}})


def test_a_cell_narrower_than_a_molecule_is_refused() -> None:
    with pytest.raises(InputError, match=r"system\.slab\.size: \[1, 3\] makes a cell 2\.98 Å wide; allowed: "):
        build(parse_system(changed(size=[1, 3])))


def test_the_example_is_a_small_insulating_interface() -> None:
    run = load_spec(EXAMPLES / "mgo-water.yaml")
    atoms, report = build(run.system)
    assert not run.is_metal_interface and cp2k_settings(run).scf == "ot"
    assert len(atoms) == 28 and report["liquid"]["count"] == 4
    held = held_atoms(run, atoms.positions[:, 2], atoms.arrays["molecule"].tolist())
    assert held == sorted(int(index) for index in atoms.constraints[0].get_indices()) and len(held) == 8


def test_a_classical_model_is_refused_for_a_compound(tmp_path: Path) -> None:
    run = yaml.safe_load((EXAMPLES / "au111-water.yaml").read_text(encoding="utf-8"))
    run["system"]["slab"] = changed()["slab"]
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(run), encoding="utf-8")
    with pytest.raises(InputError, match=r"dynamics\.engine: .*allowed: cp2k for a slab of a compound") as caught:
        load_spec(file)
    assert "\n" not in str(caught.value)
