"""Sums over pairs of frames at every lag, from series of many columns, in memory bounded by a few segments.

A pair belongs to the segment of its earlier frame. The pairs of a segment are those within the segment prolonged by the
largest lag, less those within the prolongation alone: two zero-padded power spectra, subtracted. So every pair within
the largest lag is counted exactly once, nothing wraps around, and no transform is kept. Pairs that reach from one block into
the next count half for each: given to one alone they would leave the blocks unequal, far from a strong band, by terms
that cancel in the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from vibraloom.spectra.long_transforms import SHORTEST, LongTransform, step_lengths

Array = NDArray[np.float64]

SEGMENT_DEPTHS = 8
"""A segment is this many times longer than the largest lag, where its block is long enough."""
GROUP_BYTES = 8 * 2**20
"""Memory that the padded columns transformed at a time may take; one column at least."""
SHORTEST_SEGMENT = 32768
"""Frames of a segment for short lags."""


@dataclass(frozen=True)
class Pairing:
    """Columns that are correlated with each other: Sum_k weight_k <left_k(0) right_k(t)>.

    Attributes:
        left, right: Arrays of int with shape (n,), columns of the series.
        weights: Array with shape (n,).
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    weights: Array

    @classmethod
    def of(cls, left: ArrayLike, right: ArrayLike | None = None, weights: ArrayLike = 1.0) -> Pairing:
        """Each column of ``left`` with itself, or with the same entry of ``right``."""
        first = np.atleast_1d(np.asarray(left, dtype=np.int64))
        second = first if right is None else np.atleast_1d(np.asarray(right, dtype=np.int64))
        # contiguous arrays: one compiled version of the loops serves all
        return cls(first, second, np.array(np.broadcast_to(weights, first.shape), dtype=np.float64))


@dataclass(frozen=True)
class Segment:
    """A stretch of frames from ``start`` to ``end`` in a block, and how far its pairs reach.

    ``last``: another block follows, with which it shares the pairs that reach across.
    """

    block: int
    start: int
    end: int
    reach: int
    last: bool = False


def segments(edges: NDArray[np.int64], max_lag: int, longest: int | None = None) -> Iterator[Segment]:
    """Cut blocks into segments that together hold every pair of frames up to ``max_lag`` once.

    Args:
        edges: Array of int with shape (blocks + 1,), frames from 0 to the end.
        max_lag: largest lag in frames.
        longest: frames that a segment with its reach may have at most; at least twice the largest lag is taken.
    """
    length = max(SEGMENT_DEPTHS * max_lag, SHORTEST_SEGMENT)
    if longest is not None:
        length = min(length, max(longest - max_lag, max_lag, 1))
    for block, (low, high) in enumerate(pairwise(edges.tolist())):
        # equal parts, none so short that the one before it reaches into the next block
        count = min(-(-(high - low) // length), max(1, (high - low) // max(max_lag, 1)))
        cuts = [low + (high - low) * part // count for part in range(count + 1)]
        for start, end in pairwise(cuts):
            yield Segment(block, start, end, min(end + max_lag, int(edges[-1])), end == high < int(edges[-1]))


def add_segment(sums: Array, one: Segment, found: Array) -> None:
    """Add what :func:`segment_sums` found in a segment to the sums of the blocks (blocks, pairings, ...)."""
    within, across = found
    sums[one.block] += within
    if one.last:
        sums[one.block : one.block + 2] += across / 2


def segment_sums(
    frames: NDArray[Any], length: int, pairings: Sequence[Pairing], max_lag: int, *, last: bool = False
) -> Array:
    """Sums over pairs of frames whose earlier one is among the first ``length``.

    Args:
        frames: Array with shape (length or more, columns); up to ``max_lag`` more frames are the segment's reach.
        length: frames of the segment.
        pairings: what is correlated.
        max_lag: largest lag in frames.
        last: of its block: the pairs that reach across its end are kept apart.

    Returns:
        Array with shape (2, pairings, 2, max_lag + 1): Sum left(t) right(t + k), and Sum left(t + k) right(t); of pairs
        within the segment (and across its end, unless kept apart), and of those kept apart.
    """
    reaching = len(frames) > length and max_lag > 0
    within = _pair_sums(frames[:length] if last else frames, pairings, max_lag)
    across = np.zeros_like(within)
    if reaching and last:
        across[:, :, 1:] = _sums_across(frames[max(length - max_lag, 0) :], min(length, max_lag), pairings, max_lag)
    elif reaching:
        within -= _pair_sums(frames[length:], pairings, max_lag)
    return np.stack([within, across])


def _sums_across(frames: NDArray[Any], length: int, pairings: Sequence[Pairing], max_lag: int) -> Array:
    """Sums over pairs of one frame among the first ``length`` and one of the others: (pairings, 2, max_lag), from lag 1."""
    columns = frames.shape[1]
    beside = np.zeros((max_lag, 2 * columns), dtype=frames.dtype)
    beside[max_lag - length :, :columns] = frames[:length]
    beside[: len(frames) - length, columns:] = frames[length:]
    # two frames k apart, one before the end and one after it, stand max_lag - k apart in their rows
    pairs = [Pairing(one.left, one.right + columns, one.weights) for one in pairings]
    if any(np.any(one.left != one.right) for one in pairings):
        pairs += [Pairing(one.right, one.left + columns, one.weights) for one in pairings]
    sums = _pair_sums(beside, pairs, max_lag)[:, 1, max_lag - 1 :: -1]
    return np.stack([sums[: len(pairings)], sums[-len(pairings) :]], axis=1)


def lag_sums(
    series: NDArray[Any],
    pairings: Sequence[Pairing],
    max_lag: int,
    edges: NDArray[np.int64],
    *,
    two_sided: bool = False,
) -> Array:
    """Sums over pairs of frames at lags 0 to ``max_lag``, by block; of a pair in two blocks, half in each.

    Args:
        series: Array with shape (frames, columns); float32 is transformed in float32, all else in float64; sums are
            float64.
        pairings: what is correlated.
        max_lag: largest lag in frames.
        edges: Array of int with shape (blocks + 1,), frames from 0 to the end.
        two_sided: keep the two directions of time apart.

    Returns:
        Array with shape (blocks, pairings, max_lag + 1): Sum (left(t) right(t + k) + left(t + k) right(t)) / 2; or
        with shape (blocks, pairings, 2, max_lag + 1), the two terms by themselves without the half.
    """
    sums = np.zeros((len(edges) - 1, len(pairings), 2, max_lag + 1))
    for one in segments(edges, max_lag):
        found = segment_sums(series[one.start : one.reach], one.end - one.start, pairings, max_lag, last=one.last)
        add_segment(sums, one, found)
    return sums if two_sided else sums.mean(axis=2)


def even_sums(series: NDArray[Any], pairings: Sequence[Pairing], max_lag: int) -> Array:
    """As :func:`lag_sums` of one block in one piece: (pairings, max_lag + 1), with less copying for lags as long as the run."""
    if _is_long(series, pairings, max_lag):
        return _long_sums(series, pairings, max_lag)
    sums = _circular_sums(series, pairings, max_lag)
    forward = sums[:, : max_lag + 1]
    if _crossed(pairings):
        forward[:, 1:] += sums[:, : -max_lag - 1 : -1]
        forward[:, 1:] /= 2
    return forward


def _pair_sums(frames: NDArray[Any], pairings: Sequence[Pairing], max_lag: int) -> Array:
    """Sums over the pairs within ``frames``, both directions: (pairings, 2, max_lag + 1)."""
    if _is_long(frames, pairings, max_lag):
        return np.repeat(_long_sums(frames, pairings, max_lag)[:, None], 2, axis=1)
    sums = _circular_sums(frames, pairings, max_lag)
    result = np.empty((len(pairings), 2, max_lag + 1))
    result[:, 0] = sums[:, : max_lag + 1]
    result[:, 1, 0] = sums[:, 0]
    result[:, 1, 1:] = sums[:, : -max_lag - 1 : -1]
    return result


def _crossed(pairings: Sequence[Pairing]) -> bool:
    return any(bool(np.any(pairing.left != pairing.right)) for pairing in pairings)


def _is_long(frames: NDArray[Any], pairings: Sequence[Pairing], max_lag: int) -> bool:
    return len(frames) + max_lag >= SHORTEST and frames.dtype != np.float32 and not _crossed(pairings)


def _long_sums(frames: NDArray[Any], pairings: Sequence[Pairing], max_lag: int) -> Array:
    """Sums over the pairs of columns with themselves, (pairings, max_lag + 1)."""
    transform = LongTransform(*step_lengths(len(frames) + max_lag))
    power = np.zeros((len(pairings), transform.bins))
    for column in range(frames.shape[1]):
        shares = [float(one.weights[one.left == column].sum()) for one in pairings]
        if any(shares):
            transform.transform(frames[:, column])
        for number, weight in enumerate(shares):
            if weight:
                transform.add_power(power[number], weight)
    return np.stack([transform.correlation(each, max_lag + 1) for each in power])


def _circular_sums(frames: NDArray[Any], pairings: Sequence[Pairing], max_lag: int) -> Array:
    """Sums over the pairs within ``frames`` at lags 0, 1, ... and, from the end, -1, -2, ...: (pairings, length)."""
    length = int(scipy.fft.next_fast_len(len(frames) + max_lag, real=True))
    dtype = np.dtype(np.float32 if frames.dtype == np.float32 else np.float64)
    columns = frames.shape[1]
    bins = length // 2 + 1
    power = np.zeros((len(pairings), bins))
    crossed = _crossed(pairings)
    cross = np.zeros((len(pairings), bins if crossed else 0), dtype=np.complex128)
    # columns that meet no other are transformed a few at a time, in memory that is used again
    group = columns if crossed else max(1, min(columns, GROUP_BYTES // (length * dtype.itemsize)))
    padded = np.empty((group, length), dtype=dtype)
    for first in range(0, columns, group):
        some = padded[: min(group, columns - first)]
        lay_out(some, frames[:, first : first + group])
        transforms = scipy.fft.rfft(some, axis=-1)
        for number, pairing in enumerate(pairings):
            here = slice(None) if group == columns else (pairing.left >= first) & (pairing.left < first + group)
            entries = (pairing.left[here] - first, pairing.right[here] - first, pairing.weights[here])
            _accumulate(power[number], cross[number], transforms, transforms.view(dtype), *entries)
    sums: Array = scipy.fft.irfft(power + cross if crossed else power, n=length, axis=-1)
    return sums


@numba.njit(cache=True, nogil=True)
def lay_out(padded: NDArray[Any], frames: NDArray[Any]) -> None:
    """Columns as rows, zeros behind."""
    columns, length = padded.shape
    count = len(frames)
    for low in range(0, count, 32):
        high = min(low + 32, count)
        for left in range(0, columns, 16):
            for column in range(left, min(left + 16, columns)):
                for frame in range(low, high):
                    padded[column, frame] = frames[frame, column]
    for column in range(columns):
        for frame in range(count, length):
            padded[column, frame] = 0.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _accumulate(
    power: Array,
    cross: NDArray[np.complex128],
    transforms: NDArray[Any],
    parts: NDArray[Any],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    weights: Array,
) -> None:
    """Add weight conj(left) right; ``parts`` are the real and imaginary parts of the transforms."""
    bins = transforms.shape[1]
    for entry in range(len(left)):
        one, other, weight = left[entry], right[entry], weights[entry]
        if one == other:
            values = parts[one]
            for k in range(bins):
                power[k] += weight * (values[2 * k] * values[2 * k] + values[2 * k + 1] * values[2 * k + 1])
        else:
            first, second = transforms[one], transforms[other]
            for k in range(bins):
                cross[k] += weight * np.conj(first[k]) * second[k]
