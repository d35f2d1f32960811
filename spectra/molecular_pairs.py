"""Moments of single molecules, and their correlation over pairs within a cutoff, with parts by label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.decomposition import refuse_missing_parts
from vibraloom.spectra.estimator import DIFFERENCE, Estimator, difference_attenuation, positive
from vibraloom.spectra.estimator_options import CorrelationOptions, estimator_for
from vibraloom.spectra.finite_frames import refuse_not_finite
from vibraloom.spectra.lag_products import Pairing, add_segment
from vibraloom.spectra.pair_cutoff import cell_geometry, check_cutoff, neighbour_sums
from vibraloom.spectra.raman import LARGEST_ANTISYMMETRY

Array = NDArray[np.float64]

TILE_BYTES = 32 * 2**20
"""Memory that the columns of one tile of molecules may take."""
STRETCH_BYTES = 256 * 2**20
"""Memory that the columns of one stretch of frames may take."""


@dataclass(frozen=True, eq=False)
class Molecules:
    """Moments of M molecules, or of any other units such as bonds, in F frames of one run.

    Attributes:
        dipole: (e·Å, or e·Å/fs) Array with shape (F, M, 3), unwrapped, or None.
        polarizability: (Å³, or Å³/fs) Array with shape (F, M, 3, 3), or None.
        positions: (Å) Array with shape (F, M, 3), for a pair cutoff.
        cell: (Å) Array with shape (3, 3), rows the lattice vectors, or (F, 3, 3), for a pair cutoff.
        depth_weights: Array with shape (F, M) that multiplies the derivative of the dipole in sum-frequency spectra, see
            :func:`vibraloom.spectra.sfg.depth_window`; None: 1.
        labels: label ``decomposition/name`` -> Array with shape (F, M), summing to 1 within a decomposition: layer,
            species, hydrogen-bond class, ... They act on derivatives.
        rates: dipole and polarizability are time derivatives already, such as from velocities.

    Raises:
        InputError: shapes that do not fit, NaN, an asymmetric tensor, labels that do not sum to 1 in a frame.
    """

    dipole: NDArray[Any] | None = None
    polarizability: NDArray[Any] | None = None
    positions: NDArray[Any] | None = None
    cell: NDArray[Any] | None = None
    depth_weights: NDArray[Any] | None = None
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    rates: bool = False

    def __post_init__(self) -> None:
        moments = {"dipole": (3,), "polarizability": (3, 3)}
        given = [name for name in moments if getattr(self, name) is not None]
        if not given:
            raise InputError("molecules: neither dipole nor polarizability; give one at least")
        shape = np.shape(getattr(self, given[0]))[:2]
        if len(shape) < 2 or shape[0] < 2 or shape[1] < 1:
            raise InputError(
                f"{given[0]}: shape {np.shape(getattr(self, given[0]))}; at least 2 frames and 1 molecule are needed"
            )
        tails = {**moments, "positions": (3,), "depth_weights": ()}
        for name, tail in tails.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _checked(getattr(self, name), (*shape, *tail), name))
        labels = {name: _checked(values, shape, f"label {name!r}") for name, values in self.labels.items()}
        object.__setattr__(self, "labels", labels)
        if self.polarizability is not None:
            _check_symmetry(self.polarizability)
        refuse_missing_parts(labels, "labels")
        if self.cell is not None:
            cell_geometry(self.cell, shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and molecules."""
        one = self.dipole if self.dipole is not None else self.polarizability
        assert one is not None
        return one.shape[0], one.shape[1]

    @property
    def steps(self) -> int:
        """Number of derivatives in the run."""
        return self.shape[0] - (not self.rates)

    def projected_rates(self, name: str, projection: Array, start: int, stop: int, timestep: float) -> Array:
        """Derivatives ``start`` to ``stop`` of linear combinations of a moment's elements.

        A forward difference stands at the middle of its step, for dipole and polarizability alike: no phase comes between
        the two.

        Args:
            name: ``dipole`` or ``polarizability``.
            projection: Array with shape (3, K) or (9, K).
            timestep: fs.

        Returns:
            (unit/fs) Array with shape (stop - start, M, K).
        """
        moments = getattr(self, name)
        elements = moments.reshape(*self.shape, -1)
        result = np.empty((stop - start, self.shape[1], projection.shape[1]))
        _project(result, elements, np.ascontiguousarray(projection), start, 0 if self.rates else 1, timestep)
        return result

    def weights_at(self, values: NDArray[Any], start: int, stop: int) -> Array:
        """Weights (F, M) at the derivatives ``start`` to ``stop``: the mean over the step of a difference."""
        if self.rates:
            return np.asarray(values[start:stop], dtype=np.float64)
        return (values[start:stop] + np.asarray(values[start + 1 : stop + 1], dtype=np.float64)) / 2


@dataclass(frozen=True)
class Side:
    """One side of a correlation: linear combinations of the elements of a moment.

    Attributes:
        moment: ``dipole`` or ``polarizability``.
        projection: Array with shape (3, K) or (9, K).
        depth: multiplied by the depth weights.
    """

    moment: str
    projection: Array
    depth: bool = False


def pair_spectra(
    molecules: Molecules | Sequence[Molecules],
    timestep: float,
    far: Side,
    near: Side,
    groups: Sequence[Sequence[int]],
    *,
    cutoff: float | None,
    **options: Unpack[CorrelationOptions],
) -> tuple[Estimator, Array, Array]:
    """Spectral densities of Sum_i Sum_j <far_i(t) near_j(0)> over j within a cutoff of i at time 0.

    The neighbours are those of the frame (of the first of the two frames of a difference) at which ``near`` is taken: the
    sums n_i = Sum_j near_j of each frame cost linear time, and are then correlated with far_i by FFT. Both directions of
    time are averaged: the ensemble has none, as both sides are derivatives. A part is
    (<L far_i(t) n_i(0)> + <far_i(t) Sum_j (L near_j)(0)>) / 2, so that half of each cross term goes to either part.

    Args:
        molecules: one run, or a list of independent ones.
        timestep: (fs) time between frames.
        far, near: with K columns each.
        groups: columns that are summed into one spectrum each, column k of ``far`` with column k of ``near``.
        cutoff: (Å) 0: each molecule with itself; None or infinite: all pairs.
        options: of the correlation, see :class:`vibraloom.spectra.estimator_options.CorrelationOptions`.

    Returns:
        The estimator; (product of units × fs) Arrays with shape (groups × (1 + parts), bins), the total before its parts in
        each group, and (blocks, groups × (1 + parts), bins). The attenuation of differences is divided out.

    Raises:
        InputError: a moment, positions or cell that are missing, runs that do not fit together, a cutoff beyond half the cell.
    """
    runs = runs_of(molecules)
    reach = None if cutoff is None or cutoff == np.inf else float(cutoff)
    _check_runs(runs, (far.moment, near.moment), reach)
    interval = positive(timestep, "timestep", "fs")
    estimator = estimator_for([run.steps for run in runs], interval, **options)
    count = len(groups) * (1 + len(runs[0].labels))
    sums = []
    for replica, run in enumerate(runs):
        moments = {getattr(run, side.moment).dtype for side in (far, near)}
        # what is stored in float32 is transformed in float32; but parts must sum to the total
        kind = np.float32 if moments == {np.dtype(np.float32)} and not run.labels else np.float64
        found = np.zeros((max(1, estimator.blocks[replica]), count, estimator.max_lag + 1))
        width = far.projection.shape[1] * (1 + len(run.labels))
        longest = STRETCH_BYTES // (16 * width * run.shape[1])
        for stretch in estimator.segments(replica, longest):
            sides = _sides(run, far, near, reach, stretch.start, stretch.reach, interval)
            for series, pairings in _tiles(*sides, groups, 1 + len(run.labels), kind):
                add_segment(found, stretch, estimator.stretch_sums(series, stretch, pairings).mean(axis=2))
        sums.append(found)
    pooled, each_block = estimator.densities(sums)
    if not runs[0].rates:
        attenuation = difference_attenuation(estimator.wavenumber, interval)
        pooled, each_block = pooled / attenuation, each_block / attenuation
    return estimator, pooled, each_block


def runs_of(molecules: Molecules | Sequence[Molecules]) -> list[Molecules]:
    """One run, or several, as a list."""
    return [molecules] if isinstance(molecules, Molecules) else list(molecules)


def pair_entries(molecules: Molecules | Sequence[Molecules], cutoff: float | None) -> dict[str, Any]:
    """Entries of the conventions' ``extra`` that say which pairs were taken."""
    every = cutoff is None or cutoff == np.inf
    return {"pair_cutoff": "all pairs" if every else f"{cutoff:g} angstrom", "molecules": runs_of(molecules)[0].shape[1]}


def labels_of(molecules: Molecules | Sequence[Molecules]) -> list[str]:
    """Labels of the parts, in their order."""
    return list(runs_of(molecules)[0].labels)


def derivative_entries(molecules: Molecules | Sequence[Molecules], estimator: Estimator) -> dict[str, Any]:
    """Entries of the conventions that say how the derivatives were taken, of how many frames."""
    rates = runs_of(molecules)[0].rates
    return {
        "derivative": "none: the derivatives themselves" if rates else DIFFERENCE,
        "frames": min(estimator.frames) + (not rates),
    }


def _check_runs(runs: Sequence[Molecules], moments: Sequence[str], cutoff: float | None) -> None:
    if not runs:
        raise InputError("molecules: no runs; give one at least")
    for number, run in enumerate(runs):
        where = f"run {number}: " if len(runs) > 1 else ""
        for moment in moments:
            if getattr(run, moment) is None:
                raise InputError(f"{where}{moment}: missing; give it for each molecule")
        if run.rates != runs[0].rates or list(run.labels) != list(runs[0].labels) or run.shape[1] != runs[0].shape[1]:
            raise InputError(f"{where}rates, labels or molecules differ from those of run 0; give the same")
        if cutoff is None or cutoff == 0:
            continue
        if run.positions is None or run.cell is None:
            raise InputError(f"{where}cutoff: {cutoff:g} angstrom without positions and cell; give both, or None for all pairs")
        check_cutoff(cutoff, cell_geometry(run.cell, run.shape[0])[2])


def _sides(
    run: Molecules, far: Side, near: Side, cutoff: float | None, start: int, stop: int, timestep: float
) -> tuple[Array, Array]:
    """Columns of either side, of the total and then of each part, (frames, molecules, K (1 + parts)), ``near`` summed."""
    weights = [run.weights_at(label, start, stop)[:, :, None] for label in run.labels.values()]
    both: list[Array] = []
    for side in (far, near):
        if both and side is far:
            both.append(both[0])
            continue
        columns = run.projected_rates(side.moment, side.projection, start, stop, timestep)
        if side.depth and run.depth_weights is not None:
            columns *= run.weights_at(run.depth_weights, start, stop)[:, :, None]
        both.append(np.concatenate([columns, *(columns * weight for weight in weights)], axis=2) if weights else columns)
    if cutoff is None:
        return both[0].sum(axis=1, keepdims=True), both[1].sum(axis=1, keepdims=True)
    if cutoff > 0:
        assert run.positions is not None and run.cell is not None
        cell = np.asarray(run.cell)
        both[1] = neighbour_sums(both[1], run.positions[start:stop], cell if cell.ndim == 2 else cell[start:stop], cutoff)
    return both[0], both[1]


def _tiles(
    far: Array, near: Array, groups: Sequence[Sequence[int]], shares: int, kind: type
) -> Iterator[tuple[NDArray[Any], list[Pairing]]]:
    """Series (frames, columns) of a few molecules at a time, and what is correlated in them."""
    frames, molecules, width = far.shape
    columns = width // shares
    tile = max(1, TILE_BYTES // (32 * width * frames))
    for first in range(0, molecules, tile):
        inside = slice(first, first + tile)
        series: NDArray[Any] = np.concatenate([far[:, inside], near[:, inside]], axis=2, dtype=kind)
        starts = np.arange(series.shape[1])[:, None] * 2 * width
        pairings = []
        for group in groups:
            one = (starts + np.asarray(group)).ravel()
            other = one + width
            pairings.append(Pairing.of(one, other))
            for share in range(columns, width, columns):
                pairings.append(Pairing.of(np.concatenate([one + share, one]), np.concatenate([other, other + share]), 0.5))
        yield series.reshape(frames, -1), pairings


def _checked(values: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    array = np.ascontiguousarray(values)
    if array.shape != shape:
        raise InputError(f"{name}: shape {array.shape}; it must be {shape}")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: type {array.dtype}; it must be real numbers")
    refuse_not_finite(array, name)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _check_symmetry(tensors: NDArray[Any]) -> None:
    largest, skew, frame, molecule = _largest_skew(tensors)
    if skew > LARGEST_ANTISYMMETRY * largest:
        raise InputError(
            f"polarizability: frame {frame}, molecule {molecule}: antisymmetric part of {skew:.3g} angstrom^3,"
            f" above {100 * LARGEST_ANTISYMMETRY:.0f} %; check the order of components or the response calculation"
        )


@numba.njit(cache=True, nogil=True)
def _largest_skew(tensors: NDArray[Any]) -> tuple[float, float, int, int]:
    """Largest element, largest antisymmetric part, and the frame and molecule of the latter."""
    largest, skew = 0.0, 0.0
    where = (0, 0)
    for frame in range(tensors.shape[0]):
        for molecule in range(tensors.shape[1]):
            for row in range(3):
                largest = max(largest, abs(tensors[frame, molecule, row, row]))
                for column in range(row):
                    upper, lower = tensors[frame, molecule, column, row], tensors[frame, molecule, row, column]
                    largest = max(largest, abs(upper), abs(lower))
                    if abs(upper - lower) / 2 > skew:
                        skew = abs(upper - lower) / 2
                        where = (frame, molecule)
    return largest, skew, where[0], where[1]


@numba.njit(cache=True, nogil=True)
def _project(result: Array, moments: NDArray[Any], projection: Array, start: int, difference: int, timestep: float) -> None:
    """Combinations of elements, of the moments or of their forward differences over the time step."""
    frames, molecules, columns = result.shape
    elements = projection.shape[0]
    rate = np.empty(elements)
    for step in range(frames):
        frame = start + step
        for molecule in range(molecules):
            for element in range(elements):
                if difference:
                    later, earlier = moments[frame + 1, molecule, element], moments[frame, molecule, element]
                    rate[element] = (np.float64(later) - np.float64(earlier)) / timestep
                else:
                    rate[element] = moments[frame, molecule, element]
            for column in range(columns):
                total = 0.0
                for element in range(elements):
                    total += projection[element, column] * rate[element]
                result[step, molecule, column] = total
