"""The temperature that a run had, against the one that its intensities are computed with."""

from __future__ import annotations

MARGIN = 0.05
"""A mean temperature that is off by more than this share is told."""


def temperature_stamp(mean: float | None, asked: float) -> str | None:
    """What is to be known of a run whose own temperature is not the one that its intensities are computed with.

    Classical intensities carry 1/kT, or a mean square that grows with T: they are off by as much as the temperature.

    Args:
        mean: (K) over all frames; None: not known.
        asked: (K) of the spec.
    """
    if mean is None or abs(mean / asked - 1) <= MARGIN:
        return None
    change, side = abs(mean / asked - 1), "high" if mean > asked else "low"
    return f"the trajectories had {mean:.0f} K on average, not {asked:g} K: intensities are {change:.0%} too {side}"
