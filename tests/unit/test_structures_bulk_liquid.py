"""A bulk liquid: exactly the density asked for, periodic in all directions, whole molecules, the same for the same spec."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.geometry import get_distances

from vibraloom.errors import InputError
from vibraloom.structures.build import build
from vibraloom.structures.molecules import molecule_centres
from vibraloom.structures.spec import BulkLiquidSystem, parse_system
from vibraloom.units import GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

WATER8 = {"kind": "liquid", "molecule": "H2O", "count": 8, "density": "0.997 g/cm^3", "seed": 7}


def built(**changed: Any) -> tuple[Any, dict[str, Any]]:
    return build(parse_system({**WATER8, **changed}))


@pytest.mark.parametrize(("molecule", "count", "density"), [("H2O", 8, 0.997), ("H2O", 32, 1.05), ("CH3OH", 8, 0.79)])
def test_the_cube_has_exactly_the_density_asked_for(molecule: str, count: int, density: float) -> None:
    atoms, report = built(molecule=molecule, count=count, density=f"{density} g/cm^3")
    assert atoms.pbc.all()
    np.testing.assert_allclose(atoms.cell.array, np.eye(3) * atoms.cell[0, 0], atol=1e-12)
    found = atoms.get_masses().sum() / atoms.get_volume() / GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3
    assert found == pytest.approx(density, rel=1e-12)
    assert report["liquid"]["density"] == pytest.approx(density, rel=1e-12)
    assert report["volume"] == pytest.approx(atoms.cell[0, 0] ** 3)
    assert report["counts"]["molecules"] == report["liquid"]["count"] == count


def test_molecules_are_whole_inside_the_cell_and_apart_across_its_faces() -> None:
    atoms, report = built()
    member = atoms.arrays["molecule"]
    centres = molecule_centres(atoms.positions[None], atoms.get_masses(), member)[0]
    assert ((centres >= 0) & (centres < atoms.cell[0, 0])).all()
    for water in range(8):
        one = atoms[member == water]
        assert one.get_distance(0, 1) == pytest.approx(0.969, abs=0.01)
    _, distances = get_distances(atoms.positions, cell=atoms.cell, pbc=True)
    between = distances[member[:, None] != member[None]]
    assert between.min() == pytest.approx(min(report["smallest_distance"].values()), abs=1e-6)
    assert between.min() > 1.95


def test_the_same_spec_gives_the_same_atoms_and_another_seed_others() -> None:
    one, again, other = built()[0], built()[0], built(seed=8)[0]
    np.testing.assert_array_equal(one.positions, again.positions)
    assert np.abs(one.positions - other.positions).max() > 0.1


def test_a_narrow_cell_is_warned_about_and_a_wide_one_is_not() -> None:
    assert "6.21 Å wide: below 9.8 Å, responses computed at the Gamma point are too small" in built()[1]["warnings"][0]
    assert built(count=32)[1]["warnings"] == []
    assert "equilibrate" in built()[1]["notes"][0]


def test_a_cell_in_which_a_molecule_meets_its_image_is_refused_with_the_count_that_fits() -> None:
    with pytest.raises(InputError, match=r"^system.count: 1 H2O .* allowed: 3 or more, which is 4.13 Å$"):
        built(count=1)
    assert built(count=3)[0].cell[0, 0] > 4.13


def test_a_liquid_is_read_hashed_and_told_from_the_other_kinds() -> None:
    system = parse_system(WATER8)
    assert isinstance(system, BulkLiquidSystem)
    assert parse_system(system.model_dump(mode="json")) == system
    assert system.content_hash() != parse_system({**WATER8, "seed": 8}).content_hash()
    with pytest.raises(InputError, match=r"system.thickness: .*unknown key; allowed: kind, molecule, count, density, seed"):
        parse_system({**WATER8, "thickness": "5 angstrom"})
