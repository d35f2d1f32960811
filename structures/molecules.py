"""Which molecule each atom belongs to, frame by frame; numpy and numba alone, for compute nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vibraloom.errors import InputError

# Å; B. Cordero et al., Dalton Trans. 2008, 2832-2838, Table 2 (C: sp3). Elements not here are metals.
COVALENT_RADII: dict[int, float] = {
    1: 0.31, 2: 0.28, 5: 0.84, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57, 10: 0.58, 14: 1.11, 15: 1.07, 16: 1.05,
    17: 1.02, 18: 1.06, 32: 1.20, 33: 1.19, 34: 1.20, 35: 1.20, 36: 1.16, 51: 1.39, 52: 1.38, 53: 1.39,
    54: 1.40,
}  # fmt: skip
"""Covalent radius in Å of every non-metal, by atomic number."""

BOND_FACTOR = 1.25
"""Two atoms other than hydrogen are bonded when closer than this times the sum of their covalent radii."""
HYDROGEN_FACTOR = 1.6
"""A hydrogen belongs to its nearest atom within this times the sum of radii: O-H up to 1.55 Å."""

_EXCLUDED, _HYDROGEN, _HEAVY = 0, 1, 2


def assign_molecules(
    positions: ArrayLike,
    numbers: ArrayLike,
    cell: ArrayLike | None = None,
    pbc: Sequence[bool] = (False, False, False),
    *,
    bond_factor: float = BOND_FACTOR,
    hydrogen_factor: float = HYDROGEN_FACTOR,
    exclude: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Molecule of each atom in one frame, from distances alone, under periodic boundaries.

    Each hydrogen goes to the atom that is nearest in units of the sum of covalent radii (in water: the
    nearest oxygen); other atoms are joined by the bond criterion. Molecules are numbered by their first atom
    that is not a hydrogen, so that a proton that hops changes its own entry and no other.

    Args:
        positions: (Å) Array with shape (A, 3), folded or not.
        numbers: Array of int with shape (A,), atomic numbers.
        cell: (Å) Array with shape (3, 3), rows are lattice vectors; None for a free molecule.
        pbc: periodic along each lattice vector.
        bond_factor, hydrogen_factor: reach in units of the sum of covalent radii.
        exclude: Array of bool with shape (A,), atoms of no molecule; by default all metals.

    Returns:
        Array of int with shape (A,): 0, 1, …; -1 for excluded atoms.

    Raises:
        InputError: shapes that do not match, no cell for a periodic direction, a cell narrower than two
            bonds, or positions that are not finite.
    """
    frame = np.asarray(positions)
    if frame.ndim != 2:
        raise InputError(f"molecules: positions have shape {frame.shape}; allowed: (atoms, 3)")
    return membership(
        frame[None],
        numbers,
        cell,
        pbc,
        bond_factor=bond_factor,
        hydrogen_factor=hydrogen_factor,
        exclude=exclude,
    )[0]


def membership(
    positions: ArrayLike,
    numbers: ArrayLike,
    cell: ArrayLike | None = None,
    pbc: Sequence[bool] = (False, False, False),
    *,
    bond_factor: float = BOND_FACTOR,
    hydrogen_factor: float = HYDROGEN_FACTOR,
    exclude: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Molecule of each atom in each frame; see :func:`assign_molecules`.

    Args:
        positions: (Å) Array with shape (F, A, 3).
        numbers, cell, pbc, bond_factor, hydrogen_factor, exclude: as in :func:`assign_molecules`.

    Returns:
        Array of int with shape (F, A).

    Raises:
        InputError: as :func:`assign_molecules`; the message names the frame.
    """
    frames = np.asarray(positions)
    species = np.asarray(numbers, dtype=np.int64)
    if frames.ndim != 3 or frames.shape[1:] != (len(species), 3):
        raise InputError(f"molecules: positions have shape {frames.shape}; allowed: (frames, {len(species)}, 3)")
    _finite(frames)
    radii = np.array([COVALENT_RADII.get(int(number), 0.0) for number in species])
    kind = np.where(species == 1, _HYDROGEN, np.where(radii > 0, _HEAVY, _EXCLUDED))
    if exclude is not None:
        left_out = np.asarray(exclude, dtype=bool)
        if left_out.shape != species.shape:
            raise InputError(f"molecules: exclude has shape {left_out.shape}; allowed: {species.shape}")
        unknown = sorted({int(number) for number in species[~left_out & (radii == 0)]})
        if unknown:
            raise InputError(
                f"molecules: atomic number {unknown[0]} has no covalent radius here; exclude it as a metal"
            )
        kind[left_out] = _EXCLUDED
    lattice, inverse, periodic = _periodic_cell(cell, pbc)
    widest = radii[kind != _EXCLUDED].max(initial=0.0)
    reach = max(bond_factor * 2 * widest, hydrogen_factor * (widest + COVALENT_RADII[1]))
    for axis in np.flatnonzero(periodic):
        width = 1.0 / float(np.linalg.norm(inverse[:, axis]))
        # within half the width, rounding fractional coordinates gives the nearest image in any cell
        if width < 2 * reach:
            raise InputError(
                f"molecules: the cell is {width:.3g} Å wide along vector {axis + 1}; allowed: {2 * reach:.3g} Å or more"
            )
    return _assign(frames, lattice, inverse, periodic, radii, kind, float(bond_factor), float(hydrogen_factor))


def molecule_centres(
    positions: ArrayLike,
    masses: ArrayLike,
    molecule: ArrayLike,
    cell: ArrayLike | None = None,
    pbc: Sequence[bool] = (False, False, False),
) -> NDArray[np.float64]:
    """Centre of mass of each molecule, put together across the periodic boundary around its heaviest atom.

    With unwrapped positions the centre moves without jumps as long as the heaviest atom stays the same. A
    molecule must be smaller than half the cell.

    Args:
        positions: (Å) Array with shape (A, 3) or (F, A, 3).
        masses: (amu) Array with shape (A,).
        molecule: Array of int with shape (A,) or (F, A), as from :func:`membership`; -1 belongs to none.
        cell: (Å) Array with shape (3, 3) or None.
        pbc: periodic along each lattice vector.

    Returns:
        (Å) Array with shape (M, 3) or (F, M, 3), M the highest molecule number + 1; NaN where a molecule is
        absent from a frame.

    Raises:
        InputError: shapes that do not match, or no cell for a periodic direction.
    """
    frames = np.asarray(positions)
    single = frames.ndim == 2
    if single:
        frames = frames[None]
    weights = np.asarray(masses, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[1:] != (len(weights), 3):
        raise InputError(f"molecules: positions have shape {frames.shape}; allowed: (frames, {len(weights)}, 3)")
    members = np.asarray(molecule, dtype=np.int64)
    if members.shape not in {(len(weights),), frames.shape[:2]}:
        raise InputError(
            f"molecules: membership has shape {members.shape}; allowed: {frames.shape[:2]} or ({len(weights)},)"
        )
    members = np.ascontiguousarray(np.broadcast_to(members, frames.shape[:2]))
    lattice, inverse, periodic = _periodic_cell(cell, pbc)
    count = int(members.max(initial=-1)) + 1
    centres = _centres(frames, weights, members, count, lattice, inverse, periodic)
    return centres[0] if single else centres


def _finite(frames: NDArray[Any]) -> None:
    sums = frames.sum(axis=(1, 2), dtype=np.float64)
    if not np.all(np.isfinite(sums)):
        bad = int(np.flatnonzero(~np.isfinite(sums))[0])
        raise InputError(f"molecules: frame {bad} has positions that are not finite; cut the trajectory there")


def _periodic_cell(
    cell: ArrayLike | None, pbc: Sequence[bool]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    periodic = np.array([bool(flag) for flag in pbc])
    if periodic.shape != (3,):
        raise InputError(f"molecules: pbc has {len(periodic)} entries; allowed: three, one for each lattice vector")
    if cell is None:
        if periodic.any():
            raise InputError("molecules: periodic boundaries without a cell; give the cell or set pbc to false")
        return np.eye(3), np.eye(3), periodic
    lattice = np.array(cell, dtype=np.float64)
    if lattice.shape != (3, 3) or not np.all(np.isfinite(lattice)):
        raise InputError(f"molecules: the cell has shape {lattice.shape}; allowed: (3, 3), finite, rows are vectors")
    for axis in np.flatnonzero(~periodic):
        # an open direction may have no length; any vector out of the plane serves
        if not lattice[axis].any():
            normal = np.cross(lattice[axis - 2], lattice[axis - 1])
            lattice[axis] = normal / np.linalg.norm(normal) if normal.any() else np.eye(3)[axis]
    if abs(np.linalg.det(lattice)) < 1e-6:
        raise InputError("molecules: the cell has no volume; give three independent lattice vectors")
    return lattice, np.ascontiguousarray(np.linalg.inv(lattice)), periodic


@numba.njit(cache=True)
def _image_offset(
    frame: NDArray[Any],
    first: int,
    second: int,
    cell: NDArray[np.float64],
    inverse: NDArray[np.float64],
    periodic: NDArray[np.bool_],
) -> tuple[float, float, float]:
    """Vector (Å) from atom ``first`` to the nearest image of atom ``second``."""
    dx = float(frame[second, 0]) - float(frame[first, 0])
    dy = float(frame[second, 1]) - float(frame[first, 1])
    dz = float(frame[second, 2]) - float(frame[first, 2])
    fractional_x = dx * inverse[0, 0] + dy * inverse[1, 0] + dz * inverse[2, 0]
    fractional_y = dx * inverse[0, 1] + dy * inverse[1, 1] + dz * inverse[2, 1]
    fractional_z = dx * inverse[0, 2] + dy * inverse[1, 2] + dz * inverse[2, 2]
    shift_x = np.round(fractional_x) if periodic[0] else 0.0
    shift_y = np.round(fractional_y) if periodic[1] else 0.0
    shift_z = np.round(fractional_z) if periodic[2] else 0.0
    dx -= shift_x * cell[0, 0] + shift_y * cell[1, 0] + shift_z * cell[2, 0]
    dy -= shift_x * cell[0, 1] + shift_y * cell[1, 1] + shift_z * cell[2, 1]
    dz -= shift_x * cell[0, 2] + shift_y * cell[1, 2] + shift_z * cell[2, 2]
    return dx, dy, dz


@numba.njit(cache=True)
def _root(parent: NDArray[np.int64], atom: int) -> int:
    while parent[atom] != atom:
        parent[atom] = parent[parent[atom]]
        atom = parent[atom]
    return atom


@numba.njit(cache=True)
def _assign(
    frames: NDArray[Any],
    cell: NDArray[np.float64],
    inverse: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    radii: NDArray[np.float64],
    kind: NDArray[np.int64],
    bond_factor: float,
    hydrogen_factor: float,
) -> NDArray[np.int64]:
    count = frames.shape[1]
    heavy = np.flatnonzero(kind == 2)
    hydrogen = np.flatnonzero(kind == 1)
    result = np.full((frames.shape[0], count), -1, dtype=np.int64)
    for number in range(frames.shape[0]):
        frame = frames[number]
        parent = np.arange(count)
        for place, first in enumerate(heavy):
            for second in heavy[place + 1 :]:
                dx, dy, dz = _image_offset(frame, first, second, cell, inverse, periodic)
                reach = bond_factor * (radii[first] + radii[second])
                if dx * dx + dy * dy + dz * dz < reach * reach:
                    parent[_root(parent, second)] = _root(parent, first)
        for atom in hydrogen:
            nearest, smallest = -1, hydrogen_factor * hydrogen_factor
            for other in heavy:
                dx, dy, dz = _image_offset(frame, atom, other, cell, inverse, periodic)
                bond = radii[atom] + radii[other]
                ratio = (dx * dx + dy * dy + dz * dz) / (bond * bond)
                if ratio < smallest:
                    nearest, smallest = int(other), ratio
            if nearest >= 0:
                parent[atom] = _root(parent, nearest)
        for place, first in enumerate(hydrogen):
            if parent[first] != first:
                continue
            for second in hydrogen[place + 1 :]:
                if kind[_root(parent, second)] == 2:
                    continue
                dx, dy, dz = _image_offset(frame, first, second, cell, inverse, periodic)
                reach = hydrogen_factor * (radii[first] + radii[second])
                if dx * dx + dy * dy + dz * dz < reach * reach:
                    parent[_root(parent, second)] = _root(parent, first)
        # number the molecules by their first heavy atom, those of hydrogen alone by their first atom
        name = np.full(count, -1, dtype=np.int64)
        anchor = np.full(count, -1, dtype=np.int64)
        for atom in heavy:
            root = _root(parent, atom)
            if anchor[root] < 0:
                anchor[root] = atom
        for atom in hydrogen:
            root = _root(parent, atom)
            if anchor[root] < 0:
                anchor[root] = atom
        found = 0
        for index in range(count):
            if kind[index] != 0 and anchor[_root(parent, index)] == index:
                name[_root(parent, index)] = found
                found += 1
        for index in range(count):
            if kind[index] != 0:
                result[number, index] = name[_root(parent, index)]
    return result


@numba.njit(cache=True)
def _centres(
    frames: NDArray[Any],
    masses: NDArray[np.float64],
    members: NDArray[np.int64],
    count: int,
    cell: NDArray[np.float64],
    inverse: NDArray[np.float64],
    periodic: NDArray[np.bool_],
) -> NDArray[np.float64]:
    centres = np.full((frames.shape[0], count, 3), np.nan)
    for number in range(frames.shape[0]):
        frame = frames[number]
        anchor = np.full(count, -1, dtype=np.int64)
        for atom in range(frames.shape[1]):
            molecule = members[number, atom]
            if molecule >= 0 and (anchor[molecule] < 0 or masses[atom] > masses[anchor[molecule]]):
                anchor[molecule] = atom
        moment = np.zeros((count, 3))
        total = np.zeros(count)
        for atom in range(frames.shape[1]):
            molecule = members[number, atom]
            if molecule >= 0:
                dx, dy, dz = _image_offset(frame, anchor[molecule], atom, cell, inverse, periodic)
                moment[molecule, 0] += masses[atom] * dx
                moment[molecule, 1] += masses[atom] * dy
                moment[molecule, 2] += masses[atom] * dz
                total[molecule] += masses[atom]
        for molecule in range(count):
            if anchor[molecule] >= 0:
                for axis in range(3):
                    centres[number, molecule, axis] = (
                        frame[anchor[molecule], axis] + moment[molecule, axis] / total[molecule]
                    )
    return centres
