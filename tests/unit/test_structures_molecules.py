"""Molecules by distance: across boundaries, through proton hops, under rotation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ase.build import molecule
from ase.data import covalent_radii

from vibraloom.errors import InputError
from vibraloom.structures.molecules import (
    COVALENT_RADII,
    assign_molecules,
    membership,
    molecule_centres,
)

WATER = np.array([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]])


def water_at(*place: float) -> np.ndarray:
    """Positions (Å) of one water molecule."""
    return WATER + np.array(place)


MASSES = np.array([15.999, 1.008, 1.008])


def test_a_molecule_across_the_periodic_boundary_is_one() -> None:
    cell = np.diag([10.0, 10.0, 10.0])
    positions = np.concatenate([water_at(9.9, 9.8, 0.1), water_at(4.0, 4.0, 4.0)]) % 10.0
    numbers = [8, 1, 1, 8, 1, 1]
    assert assign_molecules(positions, numbers, cell, (True, True, True)).tolist() == [0, 0, 0, 1, 1, 1]
    open_boundary = assign_molecules(positions, numbers, cell, (False, False, False))
    assert len(set(open_boundary.tolist())) > 2


def test_a_molecule_across_the_boundary_of_a_slanted_cell_is_one() -> None:
    cell = np.array([[8.0, 0.0, 0.0], [4.0, 6.9, 0.0], [1.0, 2.0, 9.0]])
    whole = np.concatenate([water_at(0.1, 0.1, 0.1), water_at(3.0, 3.5, 4.0)])
    fractional = whole @ np.linalg.inv(cell)
    folded = (fractional - np.floor(fractional)) @ cell
    assert not np.allclose(folded, whole)
    found = assign_molecules(folded, [8, 1, 1, 8, 1, 1], cell, (True, True, True))
    assert found.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_hop_of_a_proton_changes_its_membership_alone() -> None:
    donor, acceptor = np.array([0.0, 0.0, 0.0]), np.array([2.5, 0.0, 0.0])
    others = [[-0.3, 0.9, 0.0], [2.8, 0.9, 0.0], [2.8, -0.9, 0.0]]
    frames = np.array([[donor, acceptor, [1.0 + 0.1 * n, 0.0, 0.0], *others] for n in range(6)])
    found = membership(frames, [8, 8, 1, 1, 1, 1])
    assert found[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
    assert np.all(np.delete(found, 2, axis=1) == [0, 1, 0, 1, 1])


def test_a_proton_that_leads_the_atom_list_does_not_renumber_molecules() -> None:
    frames = np.array([[[x, 0, 0], [0, 0, 0], [2.5, 0, 0]] for x in (1.0, 1.5)])
    assert membership(frames, [1, 8, 8]).tolist() == [[0, 0, 1], [1, 0, 1]]


@pytest.mark.parametrize("name", ["H2O", "CH3CH2OH", "CH3CN", "C6H6", "H2", "CO2", "HCCl3", "SH2", "NH3"])
def test_two_molecules_apart_are_two(name: str) -> None:
    one = molecule(name)
    positions = np.concatenate([one.positions, one.positions + np.array([7.0, 0.0, 0.0])])
    found = assign_molecules(positions, np.tile(one.numbers, 2))
    assert found.tolist() == [0] * len(one) + [1] * len(one)


def test_metal_atoms_belong_to_no_molecule() -> None:
    positions = np.concatenate([[[0.0, 0.0, -2.3], [2.0, 0.0, -2.3]], WATER])
    assert assign_molecules(positions, [79, 47, 8, 1, 1]).tolist() == [-1, -1, 0, 0, 0]


def test_hydrogen_on_a_metal_is_its_own_molecule() -> None:
    positions = np.concatenate([[[0.0, 0.0, -4.0], [0.0, 0.0, -2.4]], WATER])
    assert assign_molecules(positions, [78, 1, 8, 1, 1]).tolist() == [-1, 0, 1, 1, 1]


def test_excluded_atoms_stay_out() -> None:
    positions = np.concatenate([WATER, water_at(5.0, 0.0, 0.0)])
    out = [False] * 3 + [True] * 3
    assert assign_molecules(positions, [8, 1, 1] * 2, exclude=out).tolist() == [0, 0, 0, -1, -1, -1]


def test_the_radii_are_those_of_the_published_table() -> None:
    for number, radius in COVALENT_RADII.items():
        assert radius == pytest.approx(covalent_radii[number], abs=1e-9)


def test_single_precision_gives_the_same_molecules() -> None:
    generator = np.random.default_rng(0)
    frames = np.concatenate([WATER + shift for shift in generator.uniform(0, 12, (20, 3))])[None]
    frames = frames + generator.normal(0, 0.05, (30, *frames.shape[1:]))
    cell = np.diag([12.0] * 3)
    numbers = [8, 1, 1] * 20
    whole = membership(frames, numbers, cell, (True,) * 3)
    assert np.array_equal(whole, membership(frames.astype(np.float32), numbers, cell, (True,) * 3))
    assert np.array_equal(whole[3], assign_molecules(frames[3], numbers, cell, (True,) * 3))


def test_the_centre_of_mass_is_whole_across_the_boundary() -> None:
    cell = np.diag([10.0, 10.0, 30.0])
    whole = water_at(9.9, 0.05, 3.0)
    centre = MASSES @ whole / MASSES.sum()
    folded = whole.copy()
    folded[:, :2] %= 10.0
    found = molecule_centres(folded, MASSES, [0, 0, 0], cell, (True, True, False))
    images = (found[0] - centre) @ np.linalg.inv(cell)
    assert np.allclose(images, np.round(images), atol=1e-9)


def test_centres_follow_membership_frame_by_frame() -> None:
    frames = np.array([[[0.0, 0, 0], [6.0, 0, 0], [1.0, 0, 0]], [[0.0, 0, 0], [6.0, 0, 0], [5.0, 0, 0]]])
    masses = np.array([16.0, 16.0, 1.0])
    centres = molecule_centres(frames, masses, [[0, 1, 0], [0, 1, 1]])
    assert np.allclose(centres[:, :, 0], [[1 / 17, 6.0], [0.0, (96 + 5) / 17]])


def test_the_centre_of_an_absent_molecule_is_not_a_number() -> None:
    frames = np.zeros((2, 2, 3))
    frames[:, 1, 0] = 0.7
    centres = molecule_centres(frames, [1.0, 1.0], [[0, 0], [0, 1]])
    assert np.isnan(centres[0, 1]).all() and np.isfinite(centres[1]).all()


@pytest.mark.parametrize(
    ("positions", "numbers", "cell", "pbc", "said"),
    [
        (WATER[:2], [8, 1, 1], None, (False,) * 3, "shape"),
        (WATER, [8, 1, 1], None, (True,) * 3, "without a cell"),
        (WATER, [8, 1, 1], np.diag([10.0, 10.0, 2.0]), (True,) * 3, "allowed: 3.3 Å or more"),
        (WATER, [8, 1, 1], np.zeros((3, 3)), (True,) * 3, "no volume"),
        (WATER * [[np.nan], [1], [1]], [8, 1, 1], None, (False,) * 3, "frame 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(positions, numbers, cell, pbc, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as caught:
        assign_molecules(positions, numbers, cell, pbc)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_slab_cell_without_height_is_accepted() -> None:
    cell = np.diag([10.0, 10.0, 0.0])
    folded = water_at(9.9, 9.9, 0.0) % 10.0
    assert assign_molecules(folded, [8, 1, 1], cell, (True, True, False)).tolist() == [0] * 3


def test_a_compute_node_needs_no_ase() -> None:
    code = (
        "import sys, vibraloom.structures.molecules, vibraloom.structures.layers; "
        "bad = {'ase', 'pymatgen', 'pydantic', 'matplotlib', 'aiida'} & set(sys.modules); print(sorted(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
