"""Continuous dipole series from polarisations that are known modulo the polarisation quantum only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.estimator import as_replicas

Array = NDArray[np.float64]


def unwrap_dipole(dipole: NDArray[Any], cell: NDArray[Any], *, margin: float = 0.1) -> tuple[Array, NDArray[np.int64]]:
    """Undo the folding of a Berry-phase dipole by the polarisation quantum e·cell, in any cell.

    Each step is taken to be the shortest in lattice coordinates (King-Smith and Vanderbilt, Phys. Rev. B 47,
    1651 (1993): the polarisation is defined modulo e R). Where spins are paired and the quantum is 2 e R,
    pass twice the cell.

    Args:
        dipole: (e·Å) Array with shape (F, 3).
        cell: (Å) Array with shape (3, 3), or (F, 3, 3) for a cell that changes; rows are lattice vectors.
        margin: a step within this fraction of a quantum of half a quantum is ambiguous.

    Returns:
        unwrapped: (e·Å) Array with shape (F, 3); the first frame is unchanged.
        ambiguous: Array of int, the frames whose step from the frame before is ambiguous.

    Raises:
        InputError: wrong shapes, NaN, or a cell without volume.
    """
    values = as_replicas(dipole, 3, "dipole")[0].astype(np.float64)
    cells = np.asarray(cell, dtype=np.float64)
    if cells.shape not in ((3, 3), (len(values), 3, 3)):
        raise InputError(f"cell: shape {cells.shape}; it must be (3, 3) or ({len(values)}, 3, 3)")
    volumes = np.abs(np.linalg.det(cells)) if np.isfinite(cells).all() else np.zeros(1)
    if not np.all(volumes > 0):
        raise InputError("cell: no volume or not finite; give three independent lattice vectors in angstrom")
    if not 0 <= margin < 0.5:
        raise InputError(f"margin: {margin}; allowed: 0 to below 0.5")
    fractional = (
        np.einsum("fi,...ij->fj", values, np.linalg.inv(cells))
        if cells.ndim == 2
        else np.einsum("fi,fij->fj", values, np.linalg.inv(cells))
    )
    steps = np.diff(fractional, axis=0)
    shortest = steps - np.round(steps)
    ambiguous = np.flatnonzero((np.abs(shortest) > 0.5 - margin).any(axis=1)) + 1
    # whole quanta are subtracted, so that no rounding gathers over the run
    quanta = np.zeros_like(fractional)
    quanta[1:] = np.cumsum(np.round(steps), axis=0)
    fold = quanta @ cells if cells.ndim == 2 else np.einsum("fi,fij->fj", quanta, cells)
    return values - fold, ambiguous
