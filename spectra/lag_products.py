"""Sums over pairs of frames at every lag, from series of many columns, in memory bounded by a few segments.

A pair belongs to the segment of its earlier frame. The pairs of a segment are those within the segment prolonged by the
largest lag, less those within the prolongation alone: two zero-padded power spectra, subtracted. So every pair within
the largest lag is counted exactly once, nothing wraps around, and no transform is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Piece = tuple[int, int, int]
"""Block, first frame, end frame of a stretch of the series."""

CHUNK_BYTES = 4 * 2**20
"""Memory that the padded stretches of one pass may take; one stretch of all columns is the least."""
SEGMENT_DEPTHS = 8
"""A segment is this many times longer than the largest lag, where its block is long enough."""
SHORTEST_SEGMENT = 1024
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
        return cls(first, second, np.broadcast_to(np.asarray(weights, dtype=np.float64), first.shape))


def lag_sums(
    series: NDArray[Any],
    pairings: Sequence[Pairing],
    max_lag: int,
    edges: NDArray[np.int64],
    *,
    two_sided: bool = False,
) -> Array:
    """Sums over pairs of frames at lags 0 to ``max_lag``, by block of the earlier frame.

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
    frames = len(series)
    segment = max(SEGMENT_DEPTHS * max_lag, SHORTEST_SEGMENT)
    segments: list[Piece] = []
    prolongations: list[Piece] = []
    for block, (low, high) in enumerate(pairwise(edges)):
        for start in range(int(low), int(high), segment):
            end = min(start + segment, int(high))
            reach = min(end + max_lag, frames)
            segments.append((block, start, reach))
            if reach > end:
                prolongations.append((block, end, reach))
    blocks = len(edges) - 1
    sums = _pair_sums(series, pairings, segments, max_lag, blocks)
    if prolongations:
        sums -= _pair_sums(series, pairings, prolongations, max_lag, blocks)
    return sums if two_sided else sums.mean(axis=2)


def _pair_sums(
    series: NDArray[Any], pairings: Sequence[Pairing], pieces: Sequence[Piece], max_lag: int, blocks: int
) -> Array:
    """Sums over the pairs of frames within each piece, both directions: (blocks, pairings, 2, max_lag + 1)."""
    longest = max(end - start for _, start, end in pieces)
    length = int(scipy.fft.next_fast_len(longest + max_lag, real=True))
    dtype = np.dtype(np.float32 if series.dtype == np.float32 else np.float64)
    columns = series.shape[1]
    count = max(1, min(len(pieces), CHUNK_BYTES // (columns * length * dtype.itemsize)))
    padded = np.zeros((columns, count, length), dtype=dtype)
    entries = _entries(pairings)
    bins = length // 2 + 1
    power = np.zeros((blocks, len(pairings), bins))
    crossed = any(np.any(pairing.left != pairing.right) for pairing in pairings)
    cross = np.zeros((blocks, len(pairings), bins if crossed else 0), dtype=np.complex128)
    for first in range(0, len(pieces), count):
        some = np.array(pieces[first : first + count], dtype=np.int64)
        chunk = padded[:, : len(some)]
        _lay_out(chunk, series, some)
        transforms = scipy.fft.rfft(chunk, axis=-1)
        _accumulate(power, cross, transforms, transforms.view(dtype), some[:, 0], *entries)
    products = power + cross if crossed else power
    sums = scipy.fft.irfft(products, n=length, axis=-1)
    result = np.empty((blocks, len(pairings), 2, max_lag + 1))
    result[:, :, 0] = sums[..., : max_lag + 1]
    result[:, :, 1, 0] = sums[..., 0]
    result[:, :, 1, 1:] = sums[..., : -max_lag - 1 : -1]
    return result


def _entries(pairings: Sequence[Pairing]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Array]:
    """Pairing, left column, right column and weight of every product."""
    number = np.repeat(np.arange(len(pairings)), [len(pairing.left) for pairing in pairings])
    left = np.concatenate([pairing.left for pairing in pairings])
    right = np.concatenate([pairing.right for pairing in pairings])
    return number, left, right, np.concatenate([pairing.weights for pairing in pairings])


@numba.njit(cache=True, nogil=True)
def _lay_out(padded: NDArray[Any], series: NDArray[Any], pieces: NDArray[np.int64]) -> None:
    """Columns of each piece as rows, zeros behind."""
    columns, _, length = padded.shape
    for number in range(len(pieces)):
        start, frames = pieces[number, 1], pieces[number, 2] - pieces[number, 1]
        for low in range(0, frames, 32):
            high = min(low + 32, frames)
            for left in range(0, columns, 16):
                for column in range(left, min(left + 16, columns)):
                    for frame in range(low, high):
                        padded[column, number, frame] = series[start + frame, column]
        for column in range(columns):
            for frame in range(frames, length):
                padded[column, number, frame] = 0.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _accumulate(
    power: Array,
    cross: NDArray[np.complex128],
    transforms: NDArray[Any],
    parts: NDArray[Any],
    block: NDArray[np.int64],
    pairing: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    weights: Array,
) -> None:
    """Add weight conj(left) right over the pieces; ``parts`` are the real and imaginary parts of the transforms."""
    bins = transforms.shape[2]
    for entry in range(len(pairing)):
        one, other, weight = left[entry], right[entry], weights[entry]
        for number in range(len(block)):
            if one == other:
                row, values = power[block[number], pairing[entry]], parts[one, number]
                for k in range(bins):
                    row[k] += weight * (values[2 * k] * values[2 * k] + values[2 * k + 1] * values[2 * k + 1])
            else:
                target = cross[block[number], pairing[entry]]
                first, second = transforms[one, number], transforms[other, number]
                for k in range(bins):
                    target[k] += weight * np.conj(first[k]) * second[k]
