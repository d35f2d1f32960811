"""Series per frame (dipole, polarizability) as others leave them: NumPy files, text tables, our own H5MD."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.trajectory import Trajectory, read_trajectory
from vibraloom.units import unit_factor

_H5_SUFFIXES = (".h5", ".h5md", ".hdf5")
SUFFIXES = ".npy, .npz, .h5, or a text table with '#' comments"
"""What :func:`read_series` reads, for messages."""


def read_series(
    path: str | Path, name: str, *, unit: str | None, timestep: float | None
) -> tuple[NDArray[np.float64], float]:
    """Read a series of ``name`` (``dipole`` or ``polarizability``), one row per frame.

    Args:
        path: ``.npy``; ``.npz`` (entry ``name``); H5MD (observable ``name``); else a text table.
        name: what the numbers are; also the dimension that ``unit`` must have.
        unit: unit of the numbers in the file; None: the internal unit (e·Å, Å³). H5MD carries its own.
        timestep: (fs) time between the frames; None takes it from an H5MD file.

    Returns:
        (e·Å or Å³) Array with shape (F, …), and the time between frames in fs.

    Raises:
        InputError: no such file, no numbers, NaN, unknown unit, or a time step at odds with the file's own.
    """
    source = Path(path)
    if source.suffix.lower() in _H5_SUFFIXES:
        if unit is not None and unit_of(unit, name) != 1.0:
            raise InputError(f"{path}: H5MD carries its own unit; leave --unit {unit} out")
        trajectory = own_trajectory(path, arrays=False)
        if name not in trajectory.observables:
            found = ", ".join(sorted(trajectory.observables)) or "none"
            raise InputError(f"{path}: no observable {name!r} (found: {found}); compute the response first")
        values = trajectory.observables[name]
        interval = agreed_interval(path, trajectory.frame_interval, timestep)
    else:
        values = read_array(path, name)
        interval = given_timestep(path, timestep)
    checked = finite(np.asarray(values, dtype=np.float64), path, name)
    if len(checked) < 2 or checked.ndim < 2:
        raise InputError(
            f"{path}: {name} has shape {checked.shape}; one row per frame and at least 2 frames are needed"
        )
    return checked * (1.0 if unit is None else unit_of(unit, name)), interval


def read_array(path: str | Path, name: str) -> NDArray[Any]:
    """The array in a ``.npy``, in entry ``name`` of a ``.npz``, or in a text table.

    Raises:
        InputError: no such file, no such entry, objects instead of numbers, or text that is no table.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    try:
        if suffix == ".npy":
            values = np.load(source, allow_pickle=False)
        elif suffix == ".npz":
            with np.load(source, allow_pickle=False) as archive:
                if name not in archive.files:
                    found = ", ".join(archive.files) or "none"
                    raise InputError(f"{path}: no entry {name!r} (found: {found}); save it under that name")
                values = archive[name]
        else:
            values = np.loadtxt(source, comments="#", ndmin=2)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; allowed: {SUFFIXES}") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not an array of numbers ({reason}); allowed: {SUFFIXES}") from error
    if values.dtype.kind not in "fiu" or values.size == 0:
        raise InputError(f"{path}: {name} holds {values.size} values of type {values.dtype}; real numbers are needed")
    return values


def finite(values: NDArray[Any], path: str | Path, name: str) -> NDArray[Any]:
    """``values`` if every number is finite.

    Raises:
        InputError: naming the first frame that is not.
    """
    # A sum is finite only if all terms are: one cheap pass for large arrays before the exact search.
    if not np.isfinite(values.sum(dtype=np.float64)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            frame = int(bad[0][0])
            raise InputError(
                f"{path}: {name} of frame {frame} is {values[tuple(bad[0])]}; remove or recompute this frame"
            )
    return values


def own_trajectory(path: str | Path, *, arrays: bool) -> Trajectory:
    """An H5MD file written by vibraloom.

    Raises:
        InputError: not H5MD, or H5MD of another program.
    """
    try:
        return read_trajectory(path, arrays=arrays)
    except KeyError as error:
        raise InputError(f"{path}: H5MD that vibraloom did not write ({' '.join(str(error).split())})") from error


def agreed_interval(path: str | Path, own: float, timestep: float | None) -> float:
    """The file's own time between frames (fs), if the one given does not contradict it.

    Raises:
        InputError: they differ by more than one part in a million; the message says both.
    """
    if timestep is not None and abs(own - timestep) > 1e-6 * own:
        raise InputError(f"{path}: frames are {own:g} fs apart, --timestep says {timestep:g} fs; leave --timestep out")
    return own


def given_timestep(path: str | Path, timestep: float | None) -> float:
    """``timestep`` (fs), which a file without its own needs.

    Raises:
        InputError: none was given, or it is not positive.
    """
    if timestep is None:
        raise InputError(
            f"{path}: this format has no time in it; give the time between frames, e.g. --timestep 0.5 (fs)"
        )
    if not (0.0 < timestep < float("inf")):
        raise InputError(f"--timestep {timestep:g}: must be a positive number of fs")
    return timestep


def unit_of(unit: str, dimension: str) -> float:
    """Factor from ``unit`` to the internal unit of ``dimension``.

    Raises:
        InputError: the unit is not one of that dimension; the message lists those that are.
    """
    try:
        return unit_factor(unit, dimension)
    except ValueError as error:
        raise InputError(f"--unit: {error}") from error
