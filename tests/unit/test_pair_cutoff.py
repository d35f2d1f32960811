"""Neighbour sums: the cell list finds what the search over all pairs and images finds, in any cell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra.pair_cutoff import neighbour_sums

CELLS = {
    "cubic": np.eye(3) * 12.4,
    "slab": np.diag([9.0, 10.0, 60.0]),
    "triclinic": np.array([[14.0, 0, 0], [5.5, 13, 0], [-4, 3.5, 15]]),
    "left-handed, turned": np.array([[3.0, 14, 1], [13, -2, 4], [1, 3, 13]]),
}


def over_all_images(values: np.ndarray, positions: np.ndarray, cell: np.ndarray, cutoff: float) -> np.ndarray:
    """The sums by the nearest of 125 images of each pair, of any pair at all."""
    folded = np.linalg.solve(cell.T, positions.reshape(-1, 3).T).T.reshape(positions.shape)
    places = (folded - np.floor(folded)) @ cell
    steps = places[:, None, :, :] - places[:, :, None, :]
    nearest = np.full(steps.shape[:3], np.inf)
    for shift in itertools.product(range(-2, 3), repeat=3):
        nearest = np.minimum(nearest, np.square(steps + np.array(shift) @ cell).sum(axis=-1))
    return np.einsum("fij,fjk->fik", (nearest <= cutoff**2).astype(float), values)


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize("cutoff", [0.0, 1.1, 2.5, 4.0])
def test_the_cell_list_is_the_sum_over_all_pairs_and_images(name, cutoff):
    random = np.random.default_rng(3)
    # unwrapped: molecules many cells away from the origin
    positions = random.uniform(-60, 90, (3, 90, 3))
    values = random.normal(size=(3, 90, 2))
    expected = over_all_images(values, positions, CELLS[name], cutoff)
    assert cutoff == 0 or np.abs(expected - values).max() > 0.1  # there are neighbours
    np.testing.assert_allclose(neighbour_sums(values, positions, CELLS[name], cutoff), expected, rtol=0, atol=1e-12)


def test_cells_that_are_split_in_all_three_directions_agree_too():
    random = np.random.default_rng(4)
    cell = np.array([[16.0, 0, 0], [4, 15, 0], [-3, 2, 40]])
    positions, values = random.uniform(0, 40, (2, 600, 3)), random.normal(size=(2, 600, 1))
    expected = over_all_images(values, positions, cell, 2.0)
    np.testing.assert_allclose(neighbour_sums(values, positions, cell, 2.0), expected, rtol=0, atol=1e-12)


def test_a_cell_that_changes_is_taken_frame_by_frame():
    random = np.random.default_rng(5)
    cells = CELLS["triclinic"] * np.array([1.0, 1.1, 1.3])[:, None, None]
    positions, values = random.uniform(0, 20, (3, 80, 3)), random.normal(size=(3, 80, 2))
    found = neighbour_sums(values, positions, cells, 3.0)
    for frame, cell in enumerate(cells):
        one = slice(frame, frame + 1)
        expected = over_all_images(values[one], positions[one], cell, 3.0)
        np.testing.assert_allclose(found[one], expected, rtol=0, atol=1e-12)


def test_float32_positions_find_the_same_neighbours():
    random = np.random.default_rng(6)
    positions = random.uniform(0, 12, (4, 60, 3)).astype(np.float32)
    values = random.normal(size=(4, 60, 1))
    same = neighbour_sums(values, positions.astype(np.float64), CELLS["cubic"], 4.0)
    np.testing.assert_array_equal(neighbour_sums(values, positions, CELLS["cubic"], 4.0), same)


def test_a_molecule_on_the_upper_face_of_the_cell_is_counted_once():
    positions = np.array([[[0.0, 0, 0], [12.4, 12.4, 12.4 - 1e-15], [-1e-17, 6.2, 6.2]]])
    sums = neighbour_sums(np.ones((1, 3, 1)), positions, CELLS["cubic"], 2.0)
    np.testing.assert_array_equal(sums[0, :, 0], [2, 2, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": 6.3}, r"6.3 angstrom; allowed: 0 .* 6.200 angstrom, or None"),
        ({"cutoff": -1.0}, "allowed: 0"),
        ({"cutoff": np.nan}, "allowed: 0"),
        ({"cell": np.diag([1.0, 1.0, 0.0])}, "volume 0"),
        ({"cell": np.eye(2)}, r"must be \(3, 3\)"),
        ({"positions": np.zeros((2, 5, 2))}, "must be"),
        ({"positions": np.full((2, 5, 3), np.nan)}, "frame 0 is not finite"),
    ],
)
def test_what_has_no_meaning_is_refused(change, message):
    given = {"values": np.ones((2, 5, 1)), "positions": np.zeros((2, 5, 3)), "cell": np.eye(3) * 12.4, "cutoff": 4.0}
    with pytest.raises(InputError, match=message):
        neighbour_sums(**{**given, **change})
