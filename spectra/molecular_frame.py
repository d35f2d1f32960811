"""The Eckart frame of a free molecule: moments without its overall rotation (J = 0)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.finite_frames import refuse_not_finite

Array = NDArray[np.float64]

LINEAR = 1e-3
"""A reference is linear if its second largest spread (length) is below this fraction of the largest."""


def eckart_rotation(positions: NDArray[Any], masses: NDArray[Any], reference: NDArray[Any]) -> Array:
    """Rotations from the laboratory into the Eckart frame of a reference geometry.

    Each rotation R (proper) minimises Sum m |R r - r_ref|², which is the Eckart condition (Kudin and
    Dymarsky, J. Chem. Phys. 122, 224105 (2005)). Planar molecules have a unique one. For a linear reference
    the turn about the axis is undefined: the frame is carried along without twist from frame to frame. An
    atom alone gives the identity.

    Args:
        positions: (Å) Array with shape (F, A, 3), unwrapped.
        masses: (amu) Array with shape (A,).
        reference: (Å) Array with shape (A, 3).

    Returns:
        Array with shape (F, 3, 3); R @ vector (laboratory) is the vector in the molecule's frame.

    Raises:
        InputError: shapes that do not fit, NaN, masses that are not positive.
    """
    mass = np.asarray(masses, dtype=np.float64)
    target = np.asarray(reference, dtype=np.float64)
    frames = np.asarray(positions, dtype=np.float64)
    if mass.ndim != 1 or target.shape != (len(mass), 3) or frames.ndim != 3 or frames.shape[1:] != target.shape:
        raise InputError(
            f"positions: shape {frames.shape}, reference {target.shape}, masses {mass.shape};"
            " they must be (frames, atoms, 3), (atoms, 3) and (atoms,)"
        )
    if not (np.isfinite(mass).all() and (mass > 0).all()):
        raise InputError("masses: not all positive; leave out virtual sites")
    if not np.isfinite(target).all():
        raise InputError("reference: not finite; give the equilibrium geometry")
    refuse_not_finite(frames, "positions")
    target = target - mass @ target / mass.sum()
    frames = frames - np.einsum("a,fax->fx", mass, frames)[:, None] / mass.sum()
    spread, axes = np.linalg.eigh(np.einsum("a,ai,aj->ij", mass, target, target))
    if spread[2] <= 0 or len(mass) == 1:
        return np.tile(np.eye(3), (len(frames), 1, 1))
    if spread[1] < LINEAR**2 * spread[2]:
        axis = axes[:, 2]
        return _carried(np.einsum("a,fax,a->fx", mass, frames, target @ axis), axis)
    covariance = np.einsum("a,fai,aj->fij", mass, frames, target)
    left, _, right = np.linalg.svd(covariance)
    # a reflection would fit as well or better where the molecule is planar: turn the weakest axis
    handed = np.ones((len(frames), 3))
    handed[:, 2] = np.linalg.det(left @ right)
    return np.einsum("fji,fj,fkj->fik", right, handed, left)


def rotate_dipoles(dipole: NDArray[Any], rotations: Array) -> Array:
    """Dipoles (any unit, shape (F, 3)) in the frame of ``rotations``, shape (F, 3, 3)."""
    return np.einsum("fij,fj->fi", rotations, np.asarray(dipole, dtype=np.float64))


def rotate_polarizabilities(polarizability: NDArray[Any], rotations: Array) -> Array:
    """Tensors (any unit, shape (F, 3, 3)) in the frame of ``rotations``, shape (F, 3, 3)."""
    tensors = np.asarray(polarizability, dtype=np.float64)
    return np.einsum("fij,fjk,flk->fil", rotations, tensors, rotations)


def _carried(directions: Array, axis: Array) -> Array:
    """Rotations that bring each direction onto ``axis``, without a turn about it from frame to frame."""
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    result = np.empty((len(units), 3, 3))
    rotation = _shortest(units[0], axis)
    result[0] = rotation
    for frame in range(1, len(units)):
        rotation = rotation @ _shortest(units[frame], units[frame - 1])
        rotation = _shortest(rotation @ units[frame], axis) @ rotation  # keeps rounding from gathering
        result[frame] = rotation
    return result


def _shortest(start: Array, end: Array) -> Array:
    """The rotation by the smallest angle that takes unit vector ``start`` to ``end``."""
    cosine = float(start @ end)
    if cosine < -1 + 1e-12:  # opposite: half a turn about any normal
        normal = np.eye(3)[np.argmin(np.abs(start))]
        normal = normal - (normal @ start) * start
        normal /= np.linalg.norm(normal)
        return 2 * np.outer(normal, normal) - np.eye(3)
    cross = np.cross(start, end)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
