"""Cells as trajectories have them: one for all frames or one per frame, vectors or lengths and angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cells_of(cells: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """(Å) One cell for all frames, one per frame where it changes, or None where a frame has none."""
    known = [cell for cell in cells if cell is not None]
    if not known or len(known) < len(cells):
        return None
    first = known[0]
    if all(cell is first or np.array_equal(cell, first) for cell in known):
        return first
    return np.stack(known)


def cell_of_lengths(lengths: Sequence[float], cosines: Sequence[float]) -> NDArray[np.float64] | None:
    """Lattice vectors as rows, shape (3, 3), a along x and b in the plane of x and y; None where they span no volume.

    Args:
        lengths: of a, b and c, in any unit.
        cosines: of the angles alpha (between b and c), beta (a, c) and gamma (a, b).
    """
    (a, b, c), (x, y, z) = lengths, cosines
    height = 1 - x * x - y * y - z * z + 2 * x * y * z
    if min(a, b, c) <= 0 or height <= 0 or abs(z) >= 1:
        return None
    s = (1 - z * z) ** 0.5
    return np.array([[a, 0, 0], [b * z, b * s, 0], [c * y, c * (x - y * z) / s, c * height**0.5 / s]])
