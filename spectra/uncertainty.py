"""Error bars from blocks, the verdict that they allow, and the model error from a committee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.spectrum import Spectrum, Verdict

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
LEAST_WIDTH = 1.1
"""A band narrower than this many resolutions is not resolved.

A Lorentzian that a Hann window makes so wide has a width of a fifth of the resolution, and its energy is forgotten within a
correlation depth. That of a narrower one may live longer than a block, and then blocks vary less than the run does."""


def block_counts(frames: Sequence[int], max_lag: int, blocks: int | None = None) -> list[int]:
    """Number of blocks for each series.

    By default as many as possible with 10 correlation depths each; where those are fewer than 8 in all, 8
    shorter ones, each of at least 2 depths, or as many of those as fit; where not even two fit in all, none.

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
        if sum(counts) >= MINIMUM_BLOCKS:
            return counts
        blocks = min(max(MINIMUM_BLOCKS, len(frames)), sum(largest))
        if blocks < 2:
            return [0] * len(frames)
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
    blocks: int | None,
    depths_per_block: float,
    resolution: float = 0.0,
    independent: bool = False,
    limited: bool = False,
) -> Verdict:
    """Whether a spectrum is converged, by wavenumber range.

    The relative error of a range is Sum |I| SE / Sum I^2. Ranges with less than 1 % of the area are listed
    but do not decide; bins below ``resolution`` are left out. A range whose strongest band is narrower than 1.1 resolutions
    is not resolved: blocks of one series may then share a fluctuation, and the error is a lower bound.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        intensity, error: (same unit) Array with shape (B,).
        blocks: number of blocks behind ``error``; None: it follows from the theory of the estimator, which measures the
            scatter of a run over more values than 8 blocks are, and no rule for blocks applies.
        depths_per_block: length of the shortest block in correlation depths.
        resolution: cm⁻¹.
        independent: each block is a series of its own, so that the error holds for bands of any width.
        limited: the largest lag, not the data, set how far the spectrum is smoothed: what that hides is not in the error.
    """
    usable = wavenumber >= resolution
    limit = min(RANGE_LIMIT, float(wavenumber[-1]))
    total = float(np.abs(intensity[usable & (wavenumber <= limit)]).sum())
    ranges: list[dict[str, Any]] = []
    failing: list[str] = []
    narrow: list[str] = []
    for low in np.arange(0.0, limit, RANGE_WIDTH):
        high = min(low + RANGE_WIDTH, limit)
        inside = usable & (wavenumber >= low) & (wavenumber < high)
        square = float(np.square(intensity[inside]).sum())
        if square == 0:
            continue
        relative = float((np.abs(intensity[inside]) * error[inside]).sum()) / square
        share = float(np.abs(intensity[inside]).sum()) / total
        fine = relative <= LARGEST_RELATIVE_ERROR
        strongest = int(np.flatnonzero(inside)[np.argmax(intensity[inside])])
        resolved = band_width(wavenumber, intensity, strongest) >= LEAST_WIDTH * resolution
        ranges.append(
            {
                "low": float(low),
                "high": float(high),
                "relative_error": relative,
                "share": share,
                "resolved": resolved,
                "converged": fine and (resolved or independent),
            }
        )
        if share >= SMALLEST_SHARE and not fine:
            failing.append(f"{low:.0f}-{high:.0f} cm^-1 ({100 * relative:.1f} %)")
        if share >= SMALLEST_SHARE and not resolved and not independent:
            narrow.append(f"{wavenumber[strongest]:.0f} cm^-1")
    if limited:
        reason = (
            "the correlation time, not the data, set how far the spectrum is smoothed, so that its error may miss"
            " bands; raise the correlation time, or run longer"
        )
    elif blocks is not None and blocks < MINIMUM_BLOCKS:
        reason = f"only {blocks} blocks, {MINIMUM_BLOCKS} are needed; run longer or shorten the correlation time"
    elif blocks is not None and depths_per_block < MINIMUM_DEPTHS:
        reason = (
            f"blocks of {depths_per_block:.1f} correlation depths, {MINIMUM_DEPTHS} are needed;"
            " run longer or shorten the correlation time"
        )
    elif failing:
        reason = f"relative error above {100 * LARGEST_RELATIVE_ERROR:.0f} % in {', '.join(failing)}; run longer"
    elif narrow:
        reason = (
            f"band at {', '.join(narrow)} as narrow as the resolution of {resolution:.3g} cm^-1, so that its error is a"
            " lower bound; raise the correlation time, or run independent replicas"
        )
    elif not ranges:
        reason = "no intensity"
    else:
        reason = f"relative error at most {100 * LARGEST_RELATIVE_ERROR:.0f} % wherever there is intensity"
        return Verdict(True, reason, tuple(ranges))
    return Verdict(False, reason, tuple(ranges))


def band_width(wavenumber: NDArray[Any], intensity: NDArray[Any], top: int) -> float:
    """Full width at half height (cm⁻¹) of the band with its maximum at bin ``top``.

    Infinite where that bin is no maximum, or where the band does not fall to half before the end of the axis.
    """
    height = intensity[top]
    if height <= 0 or height < intensity[max(top - 1, 0) : top + 2].max():
        return float("inf")
    ends = []
    for side in (intensity[top:], intensity[top::-1]):
        below = np.flatnonzero(side < height / 2)
        if not below.size:
            return float("inf")
        after = int(below[0])
        ends.append(after - (height / 2 - side[after]) / (side[after - 1] - side[after]))
    return float(sum(ends) * (wavenumber[1] - wavenumber[0]))


def committee_error(members: Sequence[Spectrum], *, own_runs: bool) -> Array:
    """Standard deviation between the spectra of a committee of models, without the part that is statistical.

    Members with runs of their own differ by chance as well: the mean square of their standard errors (Student's factor taken
    out) is subtracted from the variance, and where that leaves nothing the model error is 0, not known to be smaller
    than chance. Members evaluated on one run share its fluctuations, and nothing is subtracted. An error that all
    members have in common is not seen.

    Args:
        members: at least two spectra of one quantity on one axis, of equal conventions but for the model.
        own_runs: each member drove its own dynamics; they must then have standard errors.

    Returns:
        (unit of the spectra) Array with shape (B,).

    Raises:
        InputError: fewer than two members, another quantity, unit or axis, or a standard error that is missing.
    """
    if len(members) < 2:
        raise InputError(f"committee: {len(members)} member; at least 2 are needed")
    first = members[0]
    for number, one in enumerate(members):
        if (one.quantity, one.unit) != (first.quantity, first.unit) or not np.array_equal(one.wavenumber, first.wavenumber):
            raise InputError(
                f"committee: member {number} is {one.quantity} in {one.unit} on {len(one.wavenumber)} bins, the first"
                f" {first.quantity} in {first.unit} on {len(first.wavenumber)}; give one quantity on one axis"
            )
    variance = np.var([one.intensity for one in members], axis=0, ddof=1)
    if not own_runs:
        return np.sqrt(variance)
    chance = np.zeros_like(variance)
    for number, one in enumerate(members):
        if one.standard_error is None:
            raise InputError(f"committee: member {number} has no standard error; make its spectrum with blocks")
        chance += np.square(one.standard_error / student_factor(one.conventions.blocks)) / len(members)
    return np.sqrt(np.maximum(variance - chance, 0.0))


def with_model_error(spectrum: Spectrum, members: Sequence[Spectrum], *, own_runs: bool) -> Spectrum:
    """``spectrum`` with the :func:`committee_error` beside its standard error, and its origin in the conventions.

    Raises:
        InputError: as :func:`committee_error`, or a spectrum of another quantity, unit or axis than the members'.
    """
    error = committee_error(members, own_runs=own_runs)
    committee_error([spectrum, members[0]], own_runs=False)  # of one kind
    origin = {"members": len(members), "own_runs": own_runs}
    conventions = replace(spectrum.conventions, extra={**spectrum.conventions.extra, "committee": origin})
    return replace(spectrum, model_error=error, conventions=conventions)
