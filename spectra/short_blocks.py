"""Sums over pairs of frames in blocks that are not much longer than the largest lag, each block transformed once.

A block is padded to the length of two. Its power spectrum holds the pairs within it, the product with the next block's
transform the pairs that reach across, at offsets that do not overlap. Both are sums over columns, so they are turned back
once for all columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibraloom.spectra.lag_products import Pairing, lay_out

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

LONGEST_DEPTHS = 5
"""Blocks up to so many times the largest lag cost less this way than block and crossing pairs apart."""
GROUP_BYTES = 2**21
"""Memory of the padded columns that are transformed at a time."""


@dataclass(frozen=True)
class ShortBlocks:
    """Blocks of a series, and the largest lag.

    Attributes:
        edges: Array of int with shape (blocks + 1,), frames from 0 to the end.
        max_lag: largest lag in frames, not longer than a block.
    """

    edges: NDArray[np.int64]
    max_lag: int

    @classmethod
    def fit(cls, edges: NDArray[np.int64], max_lag: int) -> bool:
        """Whether several blocks are so short that this way is the better one."""
        lengths = np.diff(edges)
        return len(lengths) > 1 and bool(max_lag <= lengths.min() and lengths.max() <= LONGEST_DEPTHS * max_lag)

    @property
    def length(self) -> int:
        """Points of a padded block."""
        return int(scipy.fft.next_fast_len(2 * int(np.diff(self.edges).max()), real=True))

    def spectra(self, read: Callable[[int, int], NDArray[Any]], pairings: Sequence[Pairing]) -> tuple[Array, ComplexArray]:
        """Power spectra of the blocks and of each with the next, to be added over sets of columns.

        Args:
            read: frames from one to another as an Array (frames, columns); float32 is transformed in float32.
            pairings: columns with themselves.

        Returns:
            Arrays with shape (blocks, pairings, bins), and (blocks - 1, pairings, bins) complex.
        """
        blocks, bins = len(self.edges) - 1, self.length // 2 + 1
        power = np.zeros((blocks, len(pairings), bins))
        cross = np.zeros((blocks - 1, len(pairings), bins), dtype=np.complex128)
        before: list[NDArray[Any]] = []
        padded = np.empty((0, self.length))
        for block, (start, end) in enumerate(pairwise(self.edges.tolist())):
            frames = read(start, end)
            dtype = np.dtype(np.float32 if frames.dtype == np.float32 else np.float64)
            columns = frames.shape[1]
            width = max(4, min(columns, GROUP_BYTES // (self.length * dtype.itemsize)))
            if not len(padded):
                padded = np.empty((width, self.length), dtype=dtype)
            for group, first in enumerate(range(0, columns, width)):
                some = padded[: min(width, columns - first)]
                lay_out(some, frames[:, first : first + width])
                transforms = scipy.fft.rfft(some, axis=-1)
                for number, pairing in enumerate(pairings):
                    inside = (pairing.left >= first) & (pairing.left < first + width)
                    entries = pairing.left[inside] - first, pairing.weights[inside]
                    _add_power(power[block, number], transforms.view(dtype), *entries)
                    if block:
                        _add_cross(cross[block - 1, number], before[group], transforms, *entries)
                before[group : group + 1] = [transforms]  # what it takes the place of is not needed any more
        return power, cross

    def sums(self, power: Array, cross: ComplexArray) -> Array:
        """Sums over pairs of frames at lags 0 to the largest, half of a pair in two blocks in each: (blocks, pairings, lags)."""
        lags = np.arange(self.max_lag + 1)
        result: Array = scipy.fft.irfft(power, n=self.length, axis=-1)[..., lags]
        for block, spectrum in enumerate(cross):
            # a frame and one k later in the next block stand k - (frames of the block) apart in their rows
            offsets = (lags[1:] - (self.edges[block + 1] - self.edges[block])) % self.length
            result[block : block + 2, :, 1:] += scipy.fft.irfft(spectrum, n=self.length, axis=-1)[:, offsets] / 2
        return result


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_power(power: Array, parts: NDArray[Any], columns: NDArray[np.int64], weights: Array) -> None:
    """Add weight |column|²; ``parts`` are real and imaginary parts."""
    for entry in range(len(columns)):
        values, weight = parts[columns[entry]], weights[entry]
        for k in range(len(power)):
            power[k] += weight * (values[2 * k] * values[2 * k] + values[2 * k + 1] * values[2 * k + 1])


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_cross(
    cross: ComplexArray, earlier: NDArray[Any], later: NDArray[Any], columns: NDArray[np.int64], weights: Array
) -> None:
    """Add weight conj(earlier) later."""
    for entry in range(len(columns)):
        one, other, weight = earlier[columns[entry]], later[columns[entry]], weights[entry]
        for k in range(len(cross)):
            cross[k] += weight * (np.conj(one[k]) * other[k])
