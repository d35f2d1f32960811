"""On which branch the dipole of a periodic cell lies: a Berry phase tells it modulo its quantum alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_BRANCH_DOUBT = 0.25
"""Quanta by which the Wannier sum and the Berry dipole may differ beyond whole ones."""


def settled_dipole(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """The dipoles on the branch nearest to the sum of the molecules' Wannier dipoles, or None where that tells none.

    Without Wannier centres, with ions, with atoms that belong to no molecule, or where the two definitions differ by more than
    :data:`LARGEST_BRANCH_DOUBT`, no branch can be told from another.

    Args:
        arrays: of F frames: dipole (e·Å) (F, 3), dipole_quantum (e·Å, rows) (F, 3, 3), and, as far as they are there,
            molecular_dipole (e·Å) (F, M, 3), molecular_charge (e) (F, M), molecule (F, A).

    Returns:
        (e·Å) Array with shape (F, 3), or None.
    """
    if "molecular_dipole" not in arrays:
        return None
    # atoms of no molecule and ions are not in the sum, which then says nothing about the branch
    if np.any(arrays.get("molecule", np.zeros(1)) < 0) or np.any(np.abs(arrays.get("molecular_charge", np.zeros(1))) > 0.5):
        return None
    dipole, quantum = arrays["dipole"], arrays["dipole_quantum"]
    missed = arrays["molecular_dipole"].sum(axis=1) - dipole
    branches = np.einsum("fi,fij->fj", missed, np.linalg.inv(quantum))
    quanta = np.rint(branches)
    if np.abs(branches - quanta).max() > LARGEST_BRANCH_DOUBT:
        return None
    return np.asarray(dipole + np.einsum("fi,fij->fj", quanta, quantum), dtype=np.float64)
