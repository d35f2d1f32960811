"""Normal modes, and their infrared and Raman intensities, from derivatives at a minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    AVOGADRO,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

Array = NDArray[np.float64]

KM_PER_MOL_PER_E2_PER_AMU = (
    AVOGADRO
    / (12 * EPSILON0_E2_PER_EV_ANGSTROM * (SPEED_OF_LIGHT_CM_PER_FS * 1e8) ** 2 * AMU_ANGSTROM2_PER_FS2_IN_EV)
    * 1e-8
    * 1e-5
)
"""Band area N_A q²/(12 eps0 c² m) in km/mol of a mode with (q/e)² / (m/amu) = 1: 974.88."""


@dataclass(frozen=True)
class NormalModes:
    """Normal modes of a molecule or cell, by ascending wavenumber.

    Attributes:
        wavenumber: (cm⁻¹) Array with shape (M,); imaginary ones as negative numbers.
        eigenvectors: Array with shape (M, A, 3), mass-weighted and orthonormal.
        displacements: (amu^-1/2) Array with shape (M, A, 3): Cartesian displacement per unit of normal
            coordinate.
    """

    wavenumber: Array
    eigenvectors: Array
    displacements: Array


def normal_modes(
    hessian: NDArray[Any],
    masses: NDArray[Any],
    positions: NDArray[Any] | None = None,
    *,
    periodic: bool = False,
) -> NormalModes:
    """Normal modes of a Hessian, without translations and rotations if positions are given.

    Args:
        hessian: (eV/Å²) Array with shape (3A, 3A), symmetrised here.
        masses: (amu) Array with shape (A,).
        positions: (Å) Array with shape (A, 3): translations and rotations (2 of them for a linear molecule)
            are projected out and their modes left off. None: all 3A modes.
        periodic: project out translations only.

    Raises:
        InputError: wrong shapes, NaN, masses that are not positive, or a Hessian that is not symmetric.
    """
    mass = np.asarray(masses, dtype=np.float64)
    size = 3 * len(mass)
    matrix = np.asarray(hessian, dtype=np.float64)
    if matrix.shape != (size, size):
        raise InputError(f"hessian: shape {matrix.shape}; it must be ({size}, {size}) for {len(mass)} atoms")
    if not (np.isfinite(mass).all() and (mass > 0).all()):
        raise InputError("masses: not all positive; give amu, one per atom")
    if not np.isfinite(matrix).all():
        raise InputError("hessian: not finite; repeat the force calculations")
    skew = float(np.abs(matrix - matrix.T).max())
    if skew > 0.05 * float(np.abs(matrix).max()):
        raise InputError(
            f"hessian: differs from its transpose by {skew:.3g} eV/angstrom^2; repeat it with tighter forces"
        )
    root = np.repeat(np.sqrt(mass), 3)
    weighted = (matrix + matrix.T) / 2 / np.outer(root, root)
    rigid = np.empty((size, 0))
    if positions is not None or periodic:
        rigid = _rigid_motions(mass, positions, periodic)
    # complete the rigid motions to a basis; what is left spans the vibrations
    basis = np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :] if rigid.size else np.eye(size)
    values, vectors = np.linalg.eigh(basis.T @ weighted @ basis)
    angular = np.sign(values) * np.sqrt(np.abs(values) / AMU_ANGSTROM2_PER_FS2_IN_EV)
    eigenvectors = (basis @ vectors).T
    shape = (len(values), len(mass), 3)
    return NormalModes(
        wavenumber=angular / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS),
        eigenvectors=eigenvectors.reshape(shape),
        displacements=(eigenvectors / root).reshape(shape),
    )


def infrared_intensities(dipole_derivatives: NDArray[Any], modes: NormalModes) -> Array:
    """Infrared band areas N_A |dmu/dQ|² / (12 eps0 c²) in km/mol.

    Args:
        dipole_derivatives: (e) Array with shape (3A, 3) or (A, 3, 3): first the displaced coordinate, then
            the dipole. Born effective charges are the same, transposed if they come as (A, dipole,
            displacement).
        modes: from :func:`normal_modes`.

    Returns:
        (km/mol) Array with shape (M,).

    Raises:
        InputError: wrong shape or NaN.
    """
    along = _along_modes(dipole_derivatives, modes, (3,), "dipole_derivatives")
    return KM_PER_MOL_PER_E2_PER_AMU * np.square(along).sum(axis=1)


def raman_activities(polarizability_derivatives: NDArray[Any], modes: NormalModes) -> tuple[Array, Array]:
    """Raman activities 45 a'² + 7 g'² and depolarisation ratios 3 g'² / (45 a'² + 4 g'²).

    a' and g' are the derivatives of mean and anisotropy (g² = 3/2 Tr b b, b the deviator) along the normal
    coordinate (D. A. Long, The Raman Effect (2002)).

    Args:
        polarizability_derivatives: (Å²) Array with shape (3A, 3, 3): displaced coordinate, then the tensor.
        modes: from :func:`normal_modes`.

    Returns:
        activities: (Å⁴/amu) Array with shape (M,).
        depolarisation: Array with shape (M,); 0 for a mode without activity.

    Raises:
        InputError: wrong shape or NaN.
    """
    along = _along_modes(polarizability_derivatives, modes, (3, 3), "polarizability_derivatives")
    tensor = (along + along.transpose(0, 2, 1)) / 2
    mean = np.trace(tensor, axis1=1, axis2=2) / 3
    deviator = tensor - mean[:, None, None] * np.eye(3)
    anisotropy = 1.5 * np.square(deviator).sum(axis=(1, 2))
    polarised = 45 * mean**2 + 4 * anisotropy
    ratio = np.divide(3 * anisotropy, polarised, out=np.zeros_like(polarised), where=polarised > 0)
    return 45 * mean**2 + 7 * anisotropy, ratio


def _along_modes(derivatives: NDArray[Any], modes: NormalModes, tail: tuple[int, ...], name: str) -> Array:
    count, atoms, _ = modes.displacements.shape
    values = np.asarray(derivatives, dtype=np.float64)
    if values.size != 3 * atoms * int(np.prod(tail)) or values.shape[-len(tail) :] != tail:
        raise InputError(f"{name}: shape {values.shape}; it must be {(3 * atoms, *tail)}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: not finite; repeat the field or displacement calculations")
    flat = values.reshape(3 * atoms, -1)
    return (modes.displacements.reshape(count, -1) @ flat).reshape(count, *tail)


def _rigid_motions(mass: Array, positions: NDArray[Any] | None, periodic: bool) -> Array:
    """Orthonormal mass-weighted translations and rotations: (3A, 3 to 6)."""
    root = np.sqrt(mass)
    motions = [np.outer(root, direction).ravel() for direction in np.eye(3)]
    if positions is not None and not periodic:
        geometry = np.asarray(positions, dtype=np.float64)
        if geometry.shape != (len(mass), 3) or not np.isfinite(geometry).all():
            raise InputError(f"positions: shape {geometry.shape}; they must be ({len(mass)}, 3) and finite")
        centred = geometry - mass @ geometry / mass.sum()
        motions += [(root[:, None] * np.cross(axis, centred)).ravel() for axis in np.eye(3)]
    stacked = np.array(motions).T
    scale = np.linalg.norm(stacked, axis=0)
    scale = np.concatenate([scale[:3], np.full(len(motions) - 3, max(scale[3:].max(initial=0.0), 1e-300))])
    vectors, singular, _ = np.linalg.svd(stacked / scale, full_matrices=False)
    return vectors[:, singular > 1e-3]
