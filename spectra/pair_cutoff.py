"""Sums over the neighbours within a cutoff in every frame, by a cell list in any periodic cell."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.finite_frames import refuse_not_finite

Array = NDArray[np.float64]


def neighbour_sums(values: NDArray[Any], positions: NDArray[Any], cell: NDArray[Any], cutoff: float) -> Array:
    """Sum_j values_j over all j within ``cutoff`` of i, i itself included, in every frame.

    Distances are to the nearest periodic image, in cells of any shape; the time is linear in the number of molecules.

    Args:
        values: (any unit) Array with shape (F, M, K).
        positions: (Å) Array with shape (F, M, 3), wrapped or not.
        cell: (Å) Array with shape (3, 3), rows the lattice vectors, or (F, 3, 3).
        cutoff: (Å) at most half the smallest width of the cell, so that no molecule meets two images of another.

    Returns:
        (unit of values) Array with shape (F, M, K).

    Raises:
        InputError: shapes that do not fit, a cell without volume, positions that are not finite, a cutoff that is too long.
    """
    columns = np.ascontiguousarray(values, dtype=np.float64)
    if columns.ndim != 3 or np.shape(positions) != (*columns.shape[:2], 3):
        raise InputError(
            f"positions: shape {np.shape(positions)} for values of shape {columns.shape}; it must be (frames, molecules, 3)"
        )
    inverse, metric, widths = cell_geometry(cell, len(columns))
    check_cutoff(cutoff, widths)
    places = np.ascontiguousarray(positions)
    refuse_not_finite(places, "positions")
    # cells finer than this would mostly be empty
    finest = max(4, int(2 * columns.shape[1] ** (1 / 3)))
    counts = np.clip(np.floor(widths / max(cutoff, 1e-9)), 1, finest).astype(np.int64)
    counts[:, 2] //= 4  # long runs are fast: a split along the third vector pays in tall cells only
    counts[counts <= 3] = 1  # up to three cells are all neighbours of each other
    result = np.empty_like(columns)
    _sum_neighbours(result, columns, places, inverse, metric, counts, float(cutoff) ** 2)
    return result


def cell_geometry(cell: NDArray[Any], frames: int) -> tuple[Array, Array, Array]:
    """Inverse cells (1/Å), metric tensors (Å²) and widths (Å) between opposite faces, for one cell or one per frame.

    Args:
        cell: (Å) Array with shape (3, 3) or (F, 3, 3).
        frames: F.

    Returns:
        Arrays with shape (C, 3, 3), (C, 3, 3) and (C, 3), where C is 1 or F.

    Raises:
        InputError: another shape, or a cell that is not finite or has no volume.
    """
    cells = np.asarray(cell, dtype=np.float64)
    if cells.shape not in ((3, 3), (frames, 3, 3)):
        raise InputError(f"cell: shape {cells.shape}; it must be (3, 3) or ({frames}, 3, 3)")
    cells = cells.reshape(-1, 3, 3)
    volumes = np.abs(np.linalg.det(cells))
    wrong = ~(np.isfinite(volumes) & (volumes > 0))
    if wrong.any():
        frame = int(np.argmax(wrong))
        raise InputError(f"cell: volume {volumes[frame]:g} angstrom^3 in frame {frame}; give three independent lattice vectors")
    inverse = np.asarray(np.linalg.inv(cells), dtype=np.float64)
    return inverse, cells @ cells.transpose(0, 2, 1), 1 / np.linalg.norm(inverse, axis=1)


def check_cutoff(cutoff: float, widths: Array) -> None:
    """Refuse a cutoff (Å) that is negative or longer than half the smallest of ``widths`` (Å).

    Raises:
        InputError: it is.
    """
    longest = float(widths.min()) / 2
    if not 0 <= cutoff <= longest:
        raise InputError(
            f"cutoff: {cutoff:g} angstrom; allowed: 0 (each with itself) to half the smallest width of the cell,"
            f" {longest:.3f} angstrom, or None for all pairs"
        )


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sum_neighbours(
    result: Array,
    values: Array,
    positions: NDArray[Any],
    inverse: Array,
    metric: Array,
    counts: NDArray[np.int64],
    square: float,
) -> None:
    frames, molecules, columns = values.shape
    place = np.empty((3, molecules))
    home = np.empty(molecules, dtype=np.int64)
    order = np.empty(molecules, dtype=np.int64)
    near = np.empty((3, molecules))
    weights = np.empty((columns, molecules))
    inside = np.empty(molecules)
    starts = np.empty(counts[:, 0].max() * counts[:, 1].max() * counts[:, 2].max() + 1, dtype=np.int64)
    for frame in range(frames):
        one = frame if len(inverse) > 1 else 0
        first, second, third = counts[one]
        cells = first * second * third
        # fractional places in [0, 1), and molecules sorted by their cell
        starts[: cells + 1] = 0
        for molecule in range(molecules):
            for axis in range(3):
                fraction = (
                    positions[frame, molecule, 0] * inverse[one, 0, axis]
                    + positions[frame, molecule, 1] * inverse[one, 1, axis]
                    + positions[frame, molecule, 2] * inverse[one, 2, axis]
                )
                place[axis, molecule] = fraction - np.floor(fraction)
            # rounding may give 1.0
            i = min(int(place[0, molecule] * first), first - 1)
            j = min(int(place[1, molecule] * second), second - 1)
            k = min(int(place[2, molecule] * third), third - 1)
            home[molecule] = (i * second + j) * third + k
            starts[home[molecule] + 1] += 1
        for number in range(cells):
            starts[number + 1] += starts[number]
        for molecule in range(molecules - 1, -1, -1):
            starts[home[molecule] + 1] -= 1
            order[starts[home[molecule] + 1]] = molecule
        # now starts[c + 1] is where cell c begins
        xx, yy, zz = metric[one, 0, 0], metric[one, 1, 1], metric[one, 2, 2]
        xy, yz, zx = 2 * metric[one, 0, 1], 2 * metric[one, 1, 2], 2 * metric[one, 2, 0]
        for i in range(first):
            for j in range(second):
                for k in range(third):
                    number = (i * second + j) * third + k
                    low = starts[number + 1]
                    high = starts[number + 2] if number + 1 < cells else molecules
                    if low == high:
                        continue
                    # candidates side by side: the loops over them below run in vector registers
                    count = 0
                    for di in range(-1 if first > 1 else 0, 2 if first > 1 else 1):
                        for dj in range(-1 if second > 1 else 0, 2 if second > 1 else 1):
                            for dk in range(-1 if third > 1 else 0, 2 if third > 1 else 1):
                                other = (((i + di) % first) * second + (j + dj) % second) * third + (k + dk) % third
                                end = starts[other + 2] if other + 1 < cells else molecules
                                for entry in range(starts[other + 1], end):
                                    molecule = order[entry]
                                    near[0, count] = place[0, molecule]
                                    near[1, count] = place[1, molecule]
                                    near[2, count] = place[2, molecule]
                                    for column in range(columns):
                                        weights[column, count] = values[frame, molecule, column]
                                    count += 1
                    for entry in range(low, high):
                        molecule = order[entry]
                        x, y, z = place[0, molecule], place[1, molecule], place[2, molecule]
                        for candidate in range(count):
                            a = near[0, candidate] - x
                            b = near[1, candidate] - y
                            c = near[2, candidate] - z
                            a -= np.rint(a)
                            b -= np.rint(b)
                            c -= np.rint(c)
                            distance = xx * a * a + yy * b * b + zz * c * c + xy * a * b + yz * b * c + zx * c * a
                            inside[candidate] = 1.0 if distance <= square else 0.0
                        for column in range(columns):
                            total = 0.0
                            for candidate in range(count):
                                total += inside[candidate] * weights[column, candidate]
                            result[frame, molecule, column] = total
