"""Error bars from blocks, and the verdict that they allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.spectrum import Verdict

Array = NDArray[np.float64]

MINIMUM_BLOCKS = 8
"""Fewer blocks than this give no verdict of convergence."""
MINIMUM_DEPTHS = 10
"""A block shorter than this many correlation depths gives no verdict of convergence."""
LARGEST_RELATIVE_ERROR = 0.05
"""Largest relative standard error (weighted by intensity) of a converged range."""
RANGE_WIDTH = 500.0
"""Width in cm⁻¹ of the ranges of a verdict."""
RANGE_LIMIT = 4500.0
"""Upper end in cm⁻¹ of the ranges of a verdict."""
SMALLEST_SHARE = 0.01
"""A range with less than this share of the total area does not decide the verdict."""


def block_counts(frames: Sequence[int], max_lag: int, blocks: int | None = None) -> list[int]:
    """Number of blocks for each series.

    By default as many as possible with 10 correlation depths each; where those are fewer than 8 in all, 8
    shorter ones, each of at least 2 depths; where not even two fit in all, none.

    Args:
        frames: number of frames of each series.
        max_lag: correlation depth in frames.
        blocks: number of blocks in all; 0: none; None: the default.

    Returns:
        One number per series, all at least 1, or all 0: no error bars.

    Raises:
        InputError: one block, fewer blocks than series, or more than the series can hold.
    """
    largest = [max(1, count // (2 * max(max_lag, 1) + 1)) for count in frames]
    if blocks is None:
        counts = [max(1, count // (MINIMUM_DEPTHS * max(max_lag, 1))) for count in frames]
        if sum(counts) < MINIMUM_BLOCKS:
            wanted = -(-MINIMUM_BLOCKS // len(frames))
            counts = [min(wanted, limit) for limit in largest]
        return counts if sum(counts) >= 2 else [0] * len(frames)
    if blocks == 0:
        return [0] * len(frames)
    if blocks < max(2, len(frames)) or blocks > sum(largest):
        raise InputError(
            f"blocks: {blocks}; allowed: 0 (no error bars), or {max(2, len(frames))} to {sum(largest)}"
            " for this length and correlation time"
        )
    counts = [1] * len(frames)
    while sum(counts) < blocks:  # the next block goes to the series with the longest blocks
        room = [
            count / have if have < limit else 0.0 for count, have, limit in zip(frames, counts, largest, strict=True)
        ]
        counts[int(np.argmax(room))] += 1
    return counts


def block_edges(frames: int, blocks: int) -> NDArray[np.int64]:
    """Edges (in frames) of contiguous blocks of equal length, to within a frame.

    Args:
        frames: frames of the series.
        blocks: number of blocks.

    Returns:
        Array of int with shape (blocks + 1,), from 0 to ``frames``.
    """
    return np.arange(blocks + 1, dtype=np.int64) * frames // blocks


def student_factor(blocks: int) -> float:
    """Factor that widens a standard error from ``blocks`` values so that it covers 68.27 % (1.077 for 8)."""
    return float(scipy.special.stdtrit(blocks - 1, (1 + 0.6826894921370859) / 2))


def standard_error(blocks: NDArray[Any]) -> Array:
    """Standard error of the mean over blocks, widened by Student's t with blocks - 1 degrees of freedom.

    In far wings, below a thousandth of the maximum, the cut ends of the blocks leak intensity that cancels in
    the whole run: the error is too large there, by up to a fifth for blocks of 10 depths.

    Args:
        blocks: (any unit) Array with shape (blocks, bins).

    Returns:
        (same unit) Array with shape (bins,).

    Raises:
        InputError: fewer than two blocks.
    """
    count = len(blocks)
    if count < 2:
        raise InputError(f"blocks: {count}; a standard error needs at least 2")
    return np.std(blocks, axis=0, ddof=1) / np.sqrt(count) * student_factor(count)


def verdict(
    wavenumber: NDArray[Any],
    intensity: NDArray[Any],
    error: NDArray[Any],
    *,
    blocks: int,
    depths_per_block: float,
    resolution: float = 0.0,
) -> Verdict:
    """Whether a spectrum is converged, by wavenumber range.

    The relative error of a range is Sum |I| SE / Sum I^2. Ranges with less than 1 % of the area are listed
    but do not decide; bins below ``resolution`` are left out.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        intensity, error: (same unit) Array with shape (B,).
        blocks: number of blocks behind ``error``.
        depths_per_block: length of the shortest block in correlation depths.
        resolution: cm⁻¹.
    """
    usable = wavenumber >= resolution
    limit = min(RANGE_LIMIT, float(wavenumber[-1]))
    total = float(np.abs(intensity[usable & (wavenumber <= limit)]).sum())
    ranges: list[dict[str, Any]] = []
    failing: list[str] = []
    for low in np.arange(0.0, limit, RANGE_WIDTH):
        high = min(low + RANGE_WIDTH, limit)
        inside = usable & (wavenumber >= low) & (wavenumber < high)
        square = float(np.square(intensity[inside]).sum())
        if square == 0:
            continue
        relative = float((np.abs(intensity[inside]) * error[inside]).sum()) / square
        share = float(np.abs(intensity[inside]).sum()) / total
        fine = relative <= LARGEST_RELATIVE_ERROR
        ranges.append(
            {
                "low": float(low),
                "high": float(high),
                "relative_error": relative,
                "share": share,
                "converged": fine,
            }
        )
        if share >= SMALLEST_SHARE and not fine:
            failing.append(f"{low:.0f}-{high:.0f} cm^-1 ({100 * relative:.1f} %)")
    if blocks < MINIMUM_BLOCKS:
        reason = f"only {blocks} blocks, {MINIMUM_BLOCKS} are needed; run longer or shorten the correlation time"
    elif depths_per_block < MINIMUM_DEPTHS:
        reason = (
            f"blocks of {depths_per_block:.1f} correlation depths, {MINIMUM_DEPTHS} are needed;"
            " run longer or shorten the correlation time"
        )
    elif failing:
        reason = f"relative error above {100 * LARGEST_RELATIVE_ERROR:.0f} % in {', '.join(failing)}; run longer"
    elif not ranges:
        reason = "no intensity"
    else:
        reason = f"relative error at most {100 * LARGEST_RELATIVE_ERROR:.0f} % wherever there is intensity"
        return Verdict(True, reason, tuple(ranges))
    return Verdict(False, reason, tuple(ranges))
