"""Velocities of molecules split into translation, rotation and internal motion."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError

Array = NDArray[np.float64]

MOTIONS = ("motion/translation", "motion/rotation", "motion/internal")
"""Labels of the parts, as a decomposition of a density of states."""
LINEAR = 1e-6
"""A molecule whose inertia determinant is below this fraction of the cubed mean is linear."""


def split_motion(
    positions: NDArray[Any], velocities: NDArray[Any], masses: NDArray[Any], molecule: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Velocities of each atom as those of its molecule's centre of mass, of its rigid rotation, and the rest.

    The rotation is omega × r with omega = I⁻¹ L in each frame (about the axes that exist where a molecule is linear); it
    carries the whole angular momentum, the rest carries none. They sum to the velocities.

    Args:
        positions: (Å) Array with shape (F, A, 3), each molecule whole (not folded into the cell).
        velocities: (Å/fs) Array with shape (F, A, 3).
        masses: (amu) Array with shape (A,).
        molecule: Array of int with shape (A,) or (F, A); an atom with -1 is a molecule by itself.

    Returns:
        One (Å/fs) Array with shape (F, A, 3) for each of :data:`MOTIONS`, of the type of ``velocities``.

    Raises:
        InputError: shapes that do not match.
    """
    places, speeds = np.asarray(positions), np.asarray(velocities)
    weights = np.asarray(masses, dtype=np.float64)
    members = np.asarray(molecule, dtype=np.int64)
    if speeds.ndim != 3 or speeds.shape[1:] != (len(weights), 3) or places.shape != speeds.shape:
        raise InputError(
            f"positions {places.shape}, velocities {speeds.shape}, masses {weights.shape}: "
            "they must be (frames, atoms, 3), the same, and (atoms,)"
        )
    if members.shape not in {speeds.shape[:1], speeds.shape[:2], (len(weights),)}:
        raise InputError(f"molecule: shape {members.shape}; it must be (atoms,) or (frames, atoms)")
    members = np.broadcast_to(members, speeds.shape[:2])
    parts = np.zeros((2, *speeds.shape), dtype=speeds.dtype)
    _rigid(parts, places, speeds, weights, members, int(members.max(initial=-1)) + 1)
    return dict(zip(MOTIONS, (parts[0], parts[1], speeds - parts[0] - parts[1]), strict=True))


@numba.njit(cache=True, nogil=True)
def _rigid(
    parts: NDArray[Any], positions: NDArray[Any], velocities: NDArray[Any], masses: Array, members: Any, count: int
) -> None:
    """Velocity of the centre of mass, and of the rigid rotation, of every atom."""
    for frame in range(len(velocities)):
        mass = np.zeros(count)
        centre, speed = np.zeros((count, 3)), np.zeros((count, 3))
        for atom in range(len(masses)):
            owner = members[frame, atom]
            if owner < 0:
                parts[0, frame, atom] = velocities[frame, atom]
                continue
            mass[owner] += masses[atom]
            for axis in range(3):
                centre[owner, axis] += masses[atom] * positions[frame, atom, axis]
                speed[owner, axis] += masses[atom] * velocities[frame, atom, axis]
        momentum, inertia = np.zeros((count, 3)), np.zeros((count, 3, 3))
        for atom in range(len(masses)):
            owner = members[frame, atom]
            if owner < 0 or mass[owner] == 0:
                continue
            x, y, z = _relative(positions[frame, atom], centre[owner], mass[owner])
            u, v, w = _relative(velocities[frame, atom], speed[owner], mass[owner])
            own = masses[atom]
            momentum[owner, 0] += own * (y * w - z * v)
            momentum[owner, 1] += own * (z * u - x * w)
            momentum[owner, 2] += own * (x * v - y * u)
            square = x * x + y * y + z * z
            place = (x, y, z)
            for i in range(3):
                inertia[owner, i, i] += own * square
                for j in range(3):
                    inertia[owner, i, j] -= own * place[i] * place[j]
        omega = np.zeros((count, 3))
        for owner in range(count):
            omega[owner] = _turning(inertia[owner], momentum[owner])
        for atom in range(len(masses)):
            owner = members[frame, atom]
            if owner < 0 or mass[owner] == 0:
                continue
            x, y, z = _relative(positions[frame, atom], centre[owner], mass[owner])
            a, b, c = omega[owner]
            for axis in range(3):
                parts[0, frame, atom, axis] = speed[owner, axis] / mass[owner]
            parts[1, frame, atom, 0] = b * z - c * y
            parts[1, frame, atom, 1] = c * x - a * z
            parts[1, frame, atom, 2] = a * y - b * x


@numba.njit(cache=True, nogil=True)
def _relative(vector: NDArray[Any], total: Array, mass: float) -> tuple[float, float, float]:
    return vector[0] - total[0] / mass, vector[1] - total[1] / mass, vector[2] - total[2] / mass


@numba.njit(cache=True, nogil=True)
def _turning(inertia: Array, momentum: Array) -> NDArray[Any]:
    """Angular velocity omega with I omega = L, without the turn about the axis of a linear molecule."""
    mean = (inertia[0, 0] + inertia[1, 1] + inertia[2, 2]) / 3
    if mean <= 0.0:
        return np.zeros(3)
    if np.linalg.det(inertia) > LINEAR * mean**3:
        return np.linalg.solve(inertia, momentum)
    values, axes = np.linalg.eigh(inertia)
    result = np.zeros(3)
    for mode in range(3):
        if values[mode] > 1e-3 * mean:
            result += axes[:, mode] * (np.dot(axes[:, mode].copy(), momentum) / values[mode])
    return result
