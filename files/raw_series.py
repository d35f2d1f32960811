"""What a reader of foreign series found in a file, before units and times are settled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError

COLUMNS = {"dipole": (3,), "polarizability": (6, 9)}
"""Numbers per frame of each quantity."""
LARGEST_VALUE = 1e15
"""Numbers beyond this are no positions or velocities in any unit."""


@dataclass(frozen=True)
class RawSeries:
    """Numbers per frame as the file has them.

    Attributes:
        values: Array with shape (F, …), in ``unit``.
        origin: program and format, for messages.
        unit: the unit that the format fixes, or None.
        step_time: (fs) time per step number that the file states, or None.
        step_time_error: (fs) how far ``step_time`` may be off because the file rounds it.
        steps: Array of int with shape (F,), or None where the format has no step numbers.
        cell: (Å) Array with shape (3, 3), or (F, 3, 3) where it changes; rows are lattice vectors.
        folded: the dipole is known modulo e·cell only.
        components: order of the columns of a polarizability that the format fixes, e.g. ``xx,yy,zz,xy,yz,zx``.
        notes: what a reader of the spectrum should know.
    """

    values: NDArray[Any]
    origin: str
    unit: str | None = None
    step_time: float | None = None
    step_time_error: float = 0.0
    steps: NDArray[np.int64] | None = None
    cell: NDArray[np.float64] | None = None
    folded: bool = False
    components: str | None = None
    notes: tuple[str, ...] = ()


def time_per_step(
    path: str | Path, time: NDArray[np.float64], steps: NDArray[np.int64], rounding: float
) -> tuple[float, float]:
    """Time (fs) per step number, and its error, if the printed times grow in proportion to the steps.

    Args:
        path: for the message.
        time: (fs) Array with shape (F,).
        steps: Array of int with shape (F,), not all equal.
        rounding: (fs) largest rounding of a printed time.

    Raises:
        InputError: naming the first frame whose time does not fit.
    """
    first, last = int(np.argmin(steps)), int(np.argmax(steps))
    slope = float((time[last] - time[first]) / (steps[last] - steps[first]))
    off = np.abs(time - time[first] - slope * (steps - steps[first])) > 2.1 * rounding + 1e-12 * np.abs(time).max()
    if off.any():
        frame = int(np.argmax(off))
        raise InputError(
            f"{path}: step {int(steps[frame])} is at {time[frame]:g} fs, not in proportion to the steps;"
            " give a run of one time step"
        )
    if not slope > 0:
        raise InputError(f"{path}: the time does not grow with the steps; damaged")
    return slope, 2.0 * rounding / float(steps[last] - steps[first])


def joined_steps(
    path: str | Path, values: NDArray[Any], steps: NDArray[np.int64]
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """The frames to keep so that steps are even: a restart repeats the step it starts from, which is dropped.

    A repeated step must hold the same values, nearer to each other than frames usually are; every other
    irregularity is ambiguous and refused.

    Args:
        path: for the message.
        values: Array with shape (F, …).
        steps: Array of int with shape (F,).

    Returns:
        frames: Array of int, the frames kept.
        notes: what was dropped.

    Raises:
        InputError: fewer than 2 frames, or steps that run back, jump, or repeat with other values.
    """
    gaps = np.diff(steps)
    repeats = np.flatnonzero(gaps == 0) + 1
    flat = values.reshape(len(values), -1)
    changes = np.linalg.norm(np.diff(flat, axis=0), axis=1)
    usual = float(np.median(changes[gaps != 0])) if (gaps != 0).any() else 0.0
    for frame in repeats.tolist():
        if changes[frame - 1] > 0.5 * usual:
            raise InputError(
                f"{path}: frame {frame} repeats step {int(steps[frame])} with other values; keep one run per file"
            )
    frames = np.delete(np.arange(len(steps)), repeats)
    kept = steps[frames]
    gaps = np.diff(kept)
    if len(gaps) == 0:
        raise InputError(f"{path}: {len(frames)} frame(s); at least 2 are needed")
    back = np.flatnonzero(gaps < 0)
    if len(back):
        frame = int(frames[back[0] + 1])
        raise InputError(
            f"{path}: frame {frame} has step {int(steps[frame])} after {int(kept[back[0]])}: a restart or a second run;"
            f" remove the frames of the first that come after step {int(steps[frame])}, or split the file there"
        )
    # the stride is the gap that most frames have: a single odd one is then the frame to name
    sizes, counts = np.unique(gaps, return_counts=True)
    stride = int(sizes[np.argmax(counts)])
    odd = np.flatnonzero(gaps != stride)
    if len(odd):
        frame = int(frames[odd[0] + 1])
        raise InputError(
            f"{path}: frame {frame} has step {int(steps[frame])} after {int(kept[odd[0]])}, not {stride} later;"
            " recompute the missing frames or cut the file there"
        )
    notes: tuple[str, ...] = ()
    if len(repeats):
        shown = ", ".join(str(step) for step in steps[repeats][:5].tolist())
        notes = (f"{Path(path).name}: {len(repeats)} step(s) repeated by a restart were dropped ({shown})",)
    return frames, notes
