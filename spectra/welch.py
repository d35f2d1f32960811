"""Welch's estimator: periodograms of tapered, half overlapping segments, averaged; nowhere negative.

P. D. Welch, IEEE Trans. Audio 15, 70 (1967); means are not removed. :class:`vibraloom.spectra.estimator.Estimator` averages.

A segment has ``max_lag + 1`` frames, so that the longest lag is that of the correlation estimator. The sums are given as lag
products of the tapered segments: their transform is the mean periodogram on an axis as fine as one likes, and they add up over
sets of columns and stretches of frames exactly as those of :mod:`vibraloom.spectra.lag_products`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.spectra.correlation import spectral_density, window_values
from vibraloom.spectra.lag_products import Pairing, Segment, lag_sums

Array = NDArray[np.float64]


def taper(window: str, frames: int) -> Array:
    """Weights of the frames of a segment: the shape of a lag window on both sides of the middle, mean square 1.

    Mean square 1 keeps the level of white noise. Hann tapers at half overlap weigh all inner frames equally.

    Args:
        window: one of :data:`vibraloom.spectra.correlation.WINDOWS`; ``welch`` is the parabola that Welch used.
        frames: length of the segment.

    Returns:
        Array with shape (frames,).

    Raises:
        InputError: an unknown name.
    """
    from_middle = np.abs(2 * np.arange(frames) + 1 - frames)
    values = window_values(window, frames)[from_middle]
    return values / np.sqrt(np.mean(values**2))


def taper_lags(window: str, frames: int) -> Array:
    """Lag window that a taper amounts to: the expected density is the transform of this times the exact correlation.

    Returns:
        Array with shape (frames,), 1 at lag 0.
    """
    return lag_sums(taper(window, frames)[:, None], [Pairing.of(0)], frames - 1, np.array([0, frames]))[0, 0] / frames


def taper_resolution(window: str, frames: int, timestep: float) -> float:
    """Full width at half height (cm⁻¹) that the taper gives to an infinitely sharp line."""
    axis, line = spectral_density(taper_lags(window, frames), timestep, "none", padding=16)
    above = int(np.argmin(line > line[0] / 2))  # the first bin below half
    return 2 * float(np.interp(line[0] / 2, line[[above, above - 1]], axis[[above, above - 1]]))


def welch_segments(edges: NDArray[np.int64], max_lag: int) -> Iterator[Segment]:
    """Segments of ``max_lag + 1`` frames, each half a segment after the last, in the block of their middle.

    Fewer than half a segment of frames may be left over at the end.

    Args:
        edges: Array of int with shape (blocks + 1,), frames from 0 to the end.
        max_lag: largest lag in frames.
    """
    length = max_lag + 1
    for start in range(0, int(edges[-1]) - max_lag, max(length // 2, 1)):
        block = int(np.searchsorted(edges, start + length // 2, side="right")) - 1
        yield Segment(block, start, start + length, start + length)


def tapered_sums(frames: NDArray[Any], pairings: Sequence[Pairing], window: str) -> Array:
    """Lag products of one tapered segment.

    Args:
        frames: Array with shape (length, columns); float32 is transformed in float32, sums are float64.
        pairings: what is correlated.
        window: see :func:`taper`.

    Returns:
        Array with shape (pairings, 2, length), both directions of time, divided by the length.
    """
    length = len(frames)
    weights = taper(window, length).astype(np.float32 if frames.dtype == np.float32 else np.float64)[:, None]
    return lag_sums(frames * weights, pairings, length - 1, np.array([0, length]), two_sided=True)[0] / length
