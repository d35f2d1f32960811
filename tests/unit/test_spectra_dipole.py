"""Unfolding of Berry-phase dipoles."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra.dipole import unwrap_dipole

CELLS = {
    "cubic": np.eye(3) * 9.0,
    "slab": np.diag([5.0, 6.0, 30.0]),
    "triclinic": np.array([[8.0, 0.0, 0.0], [3.5, 7.0, 0.0], [-2.0, 3.0, 9.0]]),
}


def walk(frames=400, step=0.6, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(scale=step, size=(frames, 3)), axis=0)


def fold(dipole, cell):
    fractional = (
        np.einsum("fi,...ij->fj", dipole, np.linalg.inv(cell))
        if cell.ndim == 2
        else np.einsum("fi,fij->fj", dipole, np.linalg.inv(cell))
    )
    fractional = fractional - np.floor(fractional)
    return fractional @ cell if cell.ndim == 2 else np.einsum("fi,fij->fj", fractional, cell)


@pytest.mark.parametrize("name", CELLS)
def test_a_folded_series_is_recovered(name):
    series, cell = walk(), CELLS[name]
    folded = fold(series, cell)
    assert np.abs(np.diff(folded, axis=0)).max() > 3  # it did jump
    unwrapped, _ = unwrap_dipole(folded, cell)
    np.testing.assert_allclose(np.diff(unwrapped, axis=0), np.diff(series, axis=0), atol=1e-11)
    np.testing.assert_array_equal(unwrapped[0], folded[0])


def test_a_cell_that_changes_is_followed():
    series = walk(200, 0.2)
    scale = 1 + 0.01 * np.sin(np.arange(200) / 15)
    cells = scale[:, None, None] * CELLS["triclinic"]
    fractional = np.einsum("fi,fij->fj", series, np.linalg.inv(cells))
    folded = np.einsum("fi,fij->fj", fractional - np.floor(fractional), cells)
    unwrapped, ambiguous = unwrap_dipole(folded, cells)
    back = np.einsum("fi,fij->fj", unwrapped - series, np.linalg.inv(cells))
    np.testing.assert_allclose(back, np.tile(back[0], (200, 1)), atol=1e-11)  # the same whole quanta throughout
    assert len(ambiguous) == 0


def test_steps_near_half_a_quantum_are_reported():
    series = np.zeros((10, 3))
    series[4:, 0] = 0.45 * 9  # 0.45 of a quantum
    series[7:, 1] = 0.3 * 9
    _, ambiguous = unwrap_dipole(series, CELLS["cubic"])
    assert ambiguous.tolist() == [4]
    _, wider = unwrap_dipole(series, CELLS["cubic"], margin=0.25)
    assert wider.tolist() == [4, 7]


@pytest.mark.parametrize(
    ("cell", "message"),
    [(np.zeros((3, 3)), "no volume"), (np.ones((2, 3)), r"\(3, 3\)"), (np.full((3, 3), np.nan), "finite")],
)
def test_a_cell_that_cannot_be_used_is_refused(cell, message):
    with pytest.raises(InputError, match=message):
        unwrap_dipole(walk(), cell)
