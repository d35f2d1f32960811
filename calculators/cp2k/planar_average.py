"""Profiles along a lattice direction from CP2K's cube files: Hartree potential, work function, dipole across the vacuum.

Sources: src/realspace_grid_cube.F (header of four lines, voxel vectors in bohr, atoms with their valence charge, then values
with z innermost, 6E13.5 a line); the potential is that of an electron (hartree), so that a work function is vacuum level minus
Fermi energy. Potential on the scale of the computational hydrogen electrode: J. Cheng and M. Sprik, Phys. Chem. Chem. Phys.
14, 11245 (2012).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.uncertainty import block_edges, standard_error
from vibraloom.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

Array = NDArray[np.float64]

SMALLEST_VACUUM = 6.0
"""(Å) Narrowest gap between atoms in which a vacuum level is looked for."""
DENSITY_TAIL = 3.0
"""(Å) Distance from the outermost atom at which the electron density has decayed."""
FLAT = 0.05
"""(eV) Largest standard deviation of the potential on a plateau that is taken as a vacuum level."""
ELECTRONS_TOLERANCE = 1e-2
"""(e) Largest difference of the electrons in a density cube from the valence charges."""
_WIDTH = 13
_BLOCK = 1 << 20
_POWERS = np.array([float(f"1e{power - 5}") for power in (*range(100), *range(-99, 0))])
"""10^(n - 5) for the exponents n = 0 … 99, -99 … -1, which index it as they are."""


@dataclass(frozen=True)
class PlanarAverage:
    """Average of a cube over planes that two lattice vectors span.

    Attributes:
        height: (Å) Array with shape (N,), distance of each plane from the origin along the normal.
        value: Array with shape (N,), in the unit of the cube (hartree, or electrons/bohr³).
        length: (Å) height of the cell along the normal.
        area: (Å²) of the plane.
        atoms: (Å) Array with shape (A,), heights of the atoms, within the cell.
    """

    height: Array
    value: Array
    length: float
    area: float
    atoms: Array


@dataclass(frozen=True)
class VacuumLevel:
    """Potential (eV) on both sides of a slab: ``above`` its highest atom, ``below`` its lowest; each flat within ``spread``."""

    above: float
    below: float
    spread: float


def read_planar_average(path: Path, axis: int = 2) -> PlanarAverage:
    """Average a cube over the planes along lattice vector ``axis`` (0, 1 or 2), a block of text at a time.

    Raises:
        InputError: no cube, one that is cut off, or values that are no numbers.
    """
    try:
        with path.open("rb") as handle:
            return _read(path, handle, axis)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); print the cube again") from error


def _read(path: Path, handle: BinaryIO, axis: int) -> PlanarAverage:
    head = [handle.readline() for _ in range(6)]
    try:
        count = int(head[2].split()[0])
        shape = [int(line.split()[0]) for line in head[3:]]
        voxels = np.array([[float(word) for word in line.split()[1:4]] for line in head[3:]])
        atoms = np.array([[float(word) for word in handle.readline().split()] for _ in range(count)]).reshape(count, 5)
        origin = np.array([float(word) for word in head[2].split()[1:4]])
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not a cube file, or its head is cut off; print the cube again") from error
    if min(shape) < 1 or voxels.shape != (3, 3):
        raise InputError(f"{path}: a grid of {shape} points; damaged: print the cube again")
    cell = voxels * np.array(shape)[:, None] * ANGSTROM_PER_BOHR
    sums, rows = np.zeros(shape[axis]), 0
    rest, spare = b"", np.empty(0)
    while True:
        block = handle.read(_BLOCK)
        values, rest = _numbers(path, rest + (block or b"\n"))
        values = np.concatenate([spare, values])
        lines = values[: len(values) // shape[2] * shape[2]].reshape(-1, shape[2])
        spare = values[lines.size :]
        if axis == 2:
            sums += lines.sum(axis=0)
        else:
            place = rows + np.arange(len(lines))
            place = place % shape[1] if axis == 1 else np.minimum(place // shape[1], shape[0] - 1)
            sums += np.bincount(place, weights=lines.sum(axis=1), minlength=shape[axis])
        rows += len(lines)
        if not block:
            break
    filled = rows * shape[2] + len(spare)
    if filled != np.prod(shape) or not np.isfinite(sums).all():
        raise InputError(f"{path}: {filled} values for a grid of {shape}; cut off or damaged: print the cube again")
    across = np.cross(cell[axis - 2], cell[axis - 1])
    area = float(np.linalg.norm(across))
    normal = across / area
    length = float(abs(cell[axis] @ normal))
    heights = ((atoms[:, 2:] - origin) * ANGSTROM_PER_BOHR) @ np.linalg.inv(cell)[:, axis] % 1.0 * length
    return PlanarAverage(
        length * np.arange(shape[axis]) / shape[axis],
        sums * shape[axis] / np.prod(shape),
        length,
        area,
        heights,
    )


def _numbers(path: Path, text: bytes) -> tuple[Array, bytes]:
    """Values of the whole lines of a text, and what follows them."""
    end = text.rfind(b"\n") + 1
    digits = text[:end].replace(b"\r", b"").replace(b"\n", b"")
    values = _fixed(np.frombuffer(digits, dtype=np.uint8).reshape(-1, _WIDTH)) if len(digits) % _WIDTH == 0 else None
    if values is None:
        try:
            # an exponent of three digits takes the place of its letter
            words = re.sub(rb"(\d)([-+]\d{3})\b", rb"\1E\2", text[:end]).split()
            values = np.array(words, dtype=np.bytes_).astype(np.float64)
        except ValueError as error:
            reason = "a number did not fit its column" if b"**" in digits else "a value is no number"
            raise InputError(f"{path}: {reason}; print the cube again") from error
    return values, text[end:]


def _fixed(letters: NDArray[np.uint8]) -> Array | None:
    """Numbers as E13.5 prints them, ``  0.10785E-01``, one per row of letters; None where a row is not so."""
    sign, exponent_sign = letters[:, 1], letters[:, 10]
    figures = letters[:, [4, 5, 6, 7, 8, 11, 12]] - np.uint8(ord("0"))
    plain = (
        (letters[:, 0] == ord(" "))
        & ((sign == ord(" ")) | (sign == ord("-")))
        & (letters[:, 2] == ord("0"))
        & (letters[:, 3] == ord("."))
        & (letters[:, 9] == ord("E"))
        & ((exponent_sign == ord("+")) | (exponent_sign == ord("-")))
    )
    if not plain.all() or (figures > 9).any():
        return None
    mantissa = figures[:, 4].astype(np.int32)
    for place in range(4):
        mantissa += figures[:, place] * np.int32(10 ** (4 - place))
    exponent = figures[:, 5] * np.int16(10) + figures[:, 6]
    values: Array = mantissa * _POWERS[np.where(exponent_sign == ord("-"), -exponent, exponent)]
    return np.negative(values, out=values, where=sign == ord("-"))


def potential_profile(path: Path, axis: int = 2) -> PlanarAverage:
    """Hartree potential of an electron (eV) along ``axis``; see :func:`read_planar_average`."""
    average = read_planar_average(path, axis)
    return replace(average, value=average.value * EV_PER_HARTREE)


def vacuum(average: PlanarAverage) -> tuple[float, float] | None:
    """Lower and upper height (Å) of the widest gap between atoms, the upper one maybe above the cell; None below 6 Å."""
    heights = np.sort(average.atoms)
    if len(heights) == 0:
        return None
    gaps = np.diff(np.append(heights, heights[0] + average.length))
    widest = int(np.argmax(gaps))
    return (float(heights[widest]), float(heights[widest] + gaps[widest])) if gaps[widest] >= SMALLEST_VACUUM else None


def vacuum_level(average: PlanarAverage) -> VacuumLevel | None:
    """Vacuum level on both sides of a slab, from the flat parts of its potential (eV); None where there is none.

    The gap is halved: with a dipole correction the potential steps in its middle.
    """
    gap = vacuum(average)
    if gap is None:
        return None
    low, high = gap
    middle = 0.5 * (low + high)
    margin = min(DENSITY_TAIL, 0.3 * (high - low))
    step = 0.1 * (high - low)
    levels, spreads = [], []
    for start, stop in ((low + margin, middle - step), (middle + step, high - margin)):
        inside = (average.height - start) % average.length <= stop - start
        if not inside.any():
            return None
        levels.append(float(average.value[inside].mean()))
        spreads.append(float(average.value[inside].std()))
    return VacuumLevel(levels[0], levels[1], max(spreads)) if max(spreads) <= FLAT else None


def hydrogen_scale(level: float, fermi: float, reference: float) -> float:
    """Potential (V) of an electrode on the scale of a hydrogen electrode.

    Args:
        level: (eV) potential of an electron in the vacuum, or in the middle of the liquid.
        fermi: (eV) Fermi energy on the same scale.
        reference: (eV) the hydrogen electrode below that level: 4.44 for the vacuum (S. Trasatti, Pure Appl. Chem. 58, 955
            (1986)); the liquid's own one has to be computed for its functional.
    """
    return level - fermi - reference


def dipole_across_vacuum(path: Path, valence: Array, axis: int = 2) -> float:
    """Dipole (e·Å) along the normal, from the electron density and the valence charges, cut in the middle of the vacuum.

    Args:
        path: cube of the electron density (electrons/bohr³).
        valence: (e) Array with shape (A,), valence charge of each atom; the cube of 2023.1 has zeros in their place.
        axis: lattice vector across the vacuum.

    Raises:
        InputError: no vacuum, other atoms, or a density whose electrons do not balance the charges.
    """
    average = read_planar_average(path, axis)
    if len(valence) != len(average.atoms):
        raise InputError(f"{path}: {len(average.atoms)} atoms, {len(valence)} in job.json; it belongs to another run")
    gap = vacuum(average)
    if gap is None:
        raise InputError(
            f"{path}: no vacuum of {SMALLEST_VACUUM:g} Å along vector {axis + 1}; "
            "a dipole from the density needs a slab in vacuum"
        )
    middle = 0.5 * (gap[0] + gap[1])
    volume_element = average.length * average.area / len(average.value) / ANGSTROM_PER_BOHR**3
    electrons = average.value * volume_element
    total = float(valence.sum())
    if abs(electrons.sum() - total) > ELECTRONS_TOLERANCE * max(1.0, 0.01 * total):
        raise InputError(
            f"{path}: {electrons.sum():.4f} electrons for valence charges of {total:g}; a charged cell, or too coarse a grid"
        )
    # what the grid lost is spread evenly, so that the origin does not matter
    electrons = electrons * (total / electrons.sum())
    heights = [(heights - middle) % average.length for heights in (average.height, average.atoms)]
    return float(valence @ heights[1] - electrons @ heights[0])


def mean_and_error(values: Array, blocks: int = 8) -> tuple[Array, Array]:
    """Mean over frames and its standard error over contiguous blocks; NaN for the error below two blocks.

    Args:
        values: Array with shape (F, …).
        blocks: as many, or as there are frames.
    """
    count = min(blocks, len(values))
    if count < 2:
        return values.mean(axis=0), np.full(values.shape[1:], np.nan)
    edges = block_edges(len(values), count)
    means = np.array([values[start:stop].mean(axis=0) for start, stop in itertools.pairwise(edges.tolist())])
    return values.mean(axis=0), standard_error(means)
