"""Two virtual sites above and below a planar molecule, for its polarizability.

A polar network builds its tensor from the vectors between atoms, plus a constant. In a planar molecule (every
triatomic) no such vector leaves the plane, so that the component normal to it stays constant, whatever the
network. For water that loses a sixth of the derivative of the mean polarizability along an O–H stretch. Sites
of type X at ±1 Å along the normal, placed from the atoms alone, give the missing direction; the pair keeps
the mirror plane.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARKER = "X"
"""Element name of the sites in a model's type map (atomic number 0)."""
HEIGHT = 1.0
"""(Å) Distance of the sites from the centre of the atoms."""
FLAT = 1e-3
"""(Å) Atoms all nearer to a plane than this make a planar molecule."""
BENT = 0.1
"""(Å) Atoms all nearer to a line than this have no plane of their own."""


def _extents(positions: Array) -> tuple[Array, Array, Array]:
    centre = positions.mean(axis=1)
    _, singular, axes = np.linalg.svd(positions - centre[:, None, :], full_matrices=True)
    return centre, singular, axes


def is_planar(positions: Array) -> bool:
    """Whether a molecule has a plane, the same in every frame.

    Args:
        positions: (Å) Array with shape (F, A, 3).
    """
    if positions.shape[1] < 3:
        return False
    _, singular, _ = _extents(positions)
    return bool((singular[:, 2] < FLAT).all() and (singular[:, 1] > BENT).all())


def with_markers(positions: Array) -> Array:
    """Positions (Å) (F, A, 3) with the two sites behind the atoms: (F, A + 2, 3)."""
    centre, _, axes = _extents(positions)
    normal = HEIGHT * axes[:, 2]
    return np.concatenate([positions, (centre + normal)[:, None], (centre - normal)[:, None]], axis=1)
