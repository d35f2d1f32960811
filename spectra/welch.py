"""Welch's estimator: periodograms of tapered, half overlapping segments, averaged; nowhere negative.

A segment has ``max_lag + 1`` frames, so that the longest lag is that of the correlation estimator. The sums are given as lag
products of the tapered segments: their transform is the mean periodogram on an axis as fine as one likes, and they add up over
sets of columns and stretches of frames exactly as those of :mod:`vibraloom.spectra.lag_products`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.correlation import spectral_density, window_values
from vibraloom.spectra.lag_products import Pairing, Segment, lag_sums
from vibraloom.spectra.uncertainty import block_edges

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


def welch_sums(
    series: NDArray[Any], pairings: Sequence[Pairing], max_lag: int, edges: NDArray[np.int64], window: str = "hann"
) -> tuple[Array, Array]:
    """Lag products of tapered segments, summed by block; divided by the number of segments they are a correlation
    function times :func:`taper_lags`.

    Args:
        series: Array with shape (frames, columns).
        pairings: what is correlated.
        max_lag: largest lag in frames.
        edges: Array of int with shape (blocks + 1,), frames from 0 to the end.
        window: see :func:`taper`.

    Returns:
        sums: Array with shape (blocks, pairings, max_lag + 1), the two directions of time averaged.
        segments: Array with shape (blocks,), how many there are in each block.

    Raises:
        InputError: a series shorter than a segment, a block with none, or an unknown window.
    """
    if len(series) <= max_lag:
        raise InputError(f"series: {len(series)} frames; a segment of {max_lag + 1} frames is longer; shorten it")
    sums = np.zeros((len(edges) - 1, len(pairings), max_lag + 1))
    count = np.zeros(len(edges) - 1)
    for one in welch_segments(edges, max_lag):
        sums[one.block] += tapered_sums(series[one.start : one.end], pairings, window).mean(axis=1)
        count[one.block] += 1
    if not count.all():
        raise InputError(f"blocks: {len(count)} for {len(series)} frames leave one without a segment; ask for fewer")
    return sums, count


def welch_densities(
    replicas: Sequence[NDArray[Any]],
    pairings: Sequence[Pairing],
    timestep: float,
    max_lag: int,
    *,
    blocks: Sequence[int],
    window: str = "hann",
) -> tuple[Array, Array, Array]:
    """Spectral density by the average of tapered periodograms (P. D. Welch, IEEE Trans. Audio 15, 70 (1967)).

    Two-sided, as :func:`vibraloom.spectra.correlation.spectral_density`; means are not removed. Autospectra are nowhere
    negative.

    Args:
        replicas: (any unit) Arrays with shape (frames, columns).
        pairings: what is correlated.
        timestep: (fs) between frames.
        max_lag: a segment has max_lag + 1 frames.
        blocks: number of blocks of each replica; 0: none.
        window: see :func:`taper`.

    Returns:
        wavenumber: (cm⁻¹) Array with shape (bins,), that of the correlation estimator.
        density: (unit² × fs) Array with shape (pairings, bins).
        each: (unit² × fs) Array with shape (all blocks, pairings, bins).

    Raises:
        InputError: as :func:`welch_sums`, or a time step that is not positive.
    """
    found = [
        welch_sums(series, pairings, max_lag, block_edges(len(series), max(count, 1)), window)
        for series, count in zip(replicas, blocks, strict=True)
    ]
    sums = np.concatenate([each for each, _ in found])
    segments = np.concatenate([count for _, count in found])
    wavenumber, density = spectral_density(sums.sum(axis=0) / segments.sum(), timestep, "none")
    if not sum(blocks):
        return wavenumber, density, np.empty((0, *density.shape))
    return wavenumber, density, spectral_density(sums / segments[:, None, None], timestep, "none")[1]
