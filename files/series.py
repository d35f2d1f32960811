"""Series per frame (dipole, polarizability) as others leave them, in our units and with their time.

Read: NumPy files, our own H5MD, text tables (plain, TRAVIS, GPUMD, LAMMPS ave/time), text outputs of CP2K, folders
of deepmd-kit. A unit or a time that the file states is taken, and a contradicting option refused; one that it does
not state is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.numpy_arrays import finite, read_array
from vibraloom.files.raw_series import COLUMNS, RawSeries, joined_steps
from vibraloom.files.trajectory import Trajectory, frame_interval, read_trajectory
from vibraloom.units import DIMENSIONS, unit_factor

__all__ = [
    "SUFFIXES",
    "Series",
    "agreed_interval",
    "finite",
    "given_timestep",
    "load_series",
    "named_order",
    "own_trajectory",
    "read_array",
    "unit_of",
]

_H5_SUFFIXES = (".h5", ".h5md", ".hdf5")
SUFFIXES = ".npy, .npz, .h5, a CP2K output, a deepmd folder, or a text table with '#' comments"
"""What :func:`load_series` reads, for messages."""
_NUMPY = "a NumPy file"
_LARGEST = 1e100
"""Numbers beyond this are no dipoles or polarizabilities: their squares would overflow."""


@dataclass(frozen=True)
class Series:
    """A dipole or polarizability per frame.

    Attributes:
        values: (e·Å or Å³) Array of float64 with shape (F, 3), (F, 6), (F, 9) or (F, 3, 3); atomic labels
            (F, atoms, 3 or 9).
        timestep: (fs) time between frames.
        unit_source: the unit of the numbers in the file and who named it.
        steps: Array of int with shape (F,), evenly spaced, or None where the file has no step numbers.
        cell: (Å) Array with shape (3, 3), or (F, 3, 3) where it changes; rows are lattice vectors. None: not in the file.
        folded: the dipole is known modulo e·``cell`` only: unwrap it before use.
        components: order of the columns of a flat polarizability, where the file fixes it.
        notes: what a reader of the spectrum should know.
    """

    values: NDArray[np.float64]
    timestep: float
    unit_source: str
    steps: NDArray[np.int64] | None = None
    cell: NDArray[np.float64] | None = None
    folded: bool = False
    components: str | None = None
    notes: tuple[str, ...] = ()


def load_series(
    path: str | Path, name: str, *, unit: str | None, timestep: float | None, components: str | None = None
) -> Series:
    """Read a series of ``name``, one row per frame.

    Args:
        path: ``.npy``; ``.npz`` (entry ``name``, and ``step`` if there); H5MD (observable ``name``); a folder of
            deepmd-kit; else text: an output of CP2K, or a table.
        name: ``dipole`` or ``polarizability``; of a deepmd folder also ``atomic_dipole`` or ``atomic_polarizability``.
        unit: unit of the numbers in the file; needed where the format fixes none.
        timestep: (fs) time between the frames; needed where the file does not state it.
        components: order of the columns of a polarizability, or the name of the program whose order it is (``travis``);
            must be that of the file where its format fixes one.

    Raises:
        InputError: no such file, no or damaged numbers, NaN, a wrong shape, a unit, a time or an order that is
            missing or at odds with the file's own, steps that repeat, run back or jump.
    """
    return _settled(path, name, _raw(path, name), unit, timestep, components)


def _settled(
    path: str | Path, name: str, raw: RawSeries, unit: str | None, timestep: float | None, components: str | None
) -> Series:
    raw = replace(raw, values=_plausible(path, name, raw.values))
    if raw.steps is not None:
        frames, notes = joined_steps(path, raw.values, raw.steps)
        raw = _kept(raw, frames, notes)
    values, source = _in_own_unit(path, name.removeprefix("atomic_"), raw, unit)
    _check_shape(path, name, values)
    components = named_order(path, values, components)
    if components is not None and raw.components is not None and _order(components) != _order(raw.components):
        raise InputError(
            f"{path}: {raw.origin} writes {raw.components}, --components says {components}; leave --components out"
        )
    return Series(
        values,
        _interval(path, raw, timestep),
        source,
        raw.steps,
        raw.cell,
        raw.folded,
        raw.components or components,
        raw.notes,
    )


def _raw(path: str | Path, name: str) -> RawSeries:
    """What the file holds, by its kind."""
    source = Path(path)
    suffix = source.suffix.lower()
    quantity = name.removeprefix("atomic_")
    if quantity not in COLUMNS or (quantity != name and not source.is_dir()):
        raise InputError(f"{path}: series {name!r}; allowed: {', '.join(COLUMNS)}, and atomic ones of a deepmd folder")
    if source.is_dir():
        from vibraloom.files.deepmd_sets import read_sets

        return read_sets(path, name)
    if not source.exists():
        raise InputError(f"{path}: no such file")
    if suffix in _H5_SUFFIXES:
        return _own(path, name)
    if suffix == ".npy":
        return RawSeries(read_array(path, name), _NUMPY)
    if suffix == ".npz":
        return _from_npz(path, name)
    from vibraloom.files.cp2k_moments import looks_like_cp2k, read_cp2k

    if looks_like_cp2k(path):
        return read_cp2k(path, name)
    from vibraloom.files.tensor_tables import read_tensor_table

    return read_tensor_table(path, name)


def _from_npz(path: str | Path, name: str) -> RawSeries:
    values = read_array(path, name)
    with np.load(path, allow_pickle=False) as archive:
        has_steps = "step" in archive.files
    if not has_steps:
        return RawSeries(values, _NUMPY)
    steps = read_array(path, "step")
    if steps.dtype.kind not in "iu" or steps.shape != values.shape[:1]:
        raise InputError(f"{path}: step has shape {steps.shape} and type {steps.dtype}; one whole number per frame is needed")
    return RawSeries(values, _NUMPY, steps=steps.astype(np.int64))


def _own(path: str | Path, name: str) -> RawSeries:
    trajectory = own_trajectory(path, arrays=False)
    if name not in trajectory.observables:
        for line in trajectory.attributes.get("missing", ()):
            if str(line).startswith(f"{name}: "):
                raise InputError(f"{path}: its {name} was left out when it was made: {str(line).removeprefix(f'{name}: ')}")
        found = ", ".join(sorted(trajectory.observables)) or "none"
        raise InputError(f"{path}: no observable {name!r} (found: {found}); compute the response first")
    frame_interval(trajectory.step, trajectory.timestep, str(path))
    return RawSeries(
        np.asarray(trajectory.observables[name]),
        "H5MD",
        unit=DIMENSIONS[name][0],
        step_time=trajectory.timestep,
        steps=trajectory.step,
        cell=trajectory.cell,
    )


def _kept(raw: RawSeries, frames: NDArray[np.intp], notes: tuple[str, ...]) -> RawSeries:
    if raw.steps is None or len(frames) == len(raw.values):
        return raw
    cell = raw.cell[frames] if raw.cell is not None and raw.cell.ndim == 3 else raw.cell
    return replace(raw, values=raw.values[frames], steps=raw.steps[frames], cell=cell, notes=(*raw.notes, *notes))


def _plausible(path: str | Path, name: str, found: NDArray[Any]) -> NDArray[np.float64]:
    """The values in float64, if none is NaN, infinite or absurd."""
    values = np.asarray(found, dtype=np.float64)
    if values.size and not (values.min() >= -_LARGEST and values.max() <= _LARGEST):
        finite(values, path, name)
        frame = int(np.argwhere(np.abs(values) > _LARGEST)[0][0])
        raise InputError(f"{path}: {name} of frame {frame} is beyond 1e100; damaged: remove or recompute this frame")
    return values


def _in_own_unit(
    path: str | Path, quantity: str, raw: RawSeries, unit: str | None
) -> tuple[NDArray[np.float64], str]:
    """The values in the internal unit, and where the unit came from."""
    allowed = ", ".join(DIMENSIONS[quantity][1])
    if unit is None and raw.unit is None:
        raise InputError(
            f"{path}: {raw.origin} does not say in what unit its {quantity} is;"
            f" give it, e.g. --unit '{DIMENSIONS[quantity][0]}' (allowed: {allowed})"
        )
    factor = unit_of(unit or raw.unit or "", quantity)
    if raw.unit is not None and factor != unit_of(raw.unit, quantity):
        raise InputError(f"{path}: {raw.origin} carries its own unit, {raw.unit}; leave --unit {unit} out")
    values = raw.values
    named = f"{raw.unit} ({raw.origin})" if raw.unit is not None else f"{unit} (given)"
    return (values if factor == 1.0 else np.multiply(values, factor, out=values)), named


def _check_shape(path: str | Path, name: str, values: NDArray[np.float64]) -> None:
    quantity = name.removeprefix("atomic_")
    if len(values) < 2 or values.ndim < 2:
        raise InputError(
            f"{path}: {name} has shape {values.shape}; one row per frame and at least 2 frames are needed"
        )
    tensor = quantity == "polarizability" and values.shape[1:] == (3, 3)
    atomic = name != quantity and values.ndim == 3
    if not tensor and not atomic and (values.ndim != 2 or values.shape[1] not in COLUMNS[quantity]):
        allowed = " or ".join(map(str, COLUMNS[quantity]))
        raise InputError(f"{path}: shape {values.shape}; one row per frame with {allowed} columns is needed")


def _interval(path: str | Path, raw: RawSeries, timestep: float | None) -> float:
    """Time between frames (fs): the file's own, unless one is given that agrees with it."""
    if raw.step_time is None or raw.steps is None:
        return given_timestep(path, timestep)
    stride = float(raw.steps[1] - raw.steps[0])
    own = raw.step_time * stride
    if timestep is None:
        return own
    if timestep == own or abs(own - timestep) <= raw.step_time_error * stride:
        return timestep
    return agreed_interval(path, own, timestep)


def named_order(path: str | Path, values: NDArray[Any], components: str | None) -> str | None:
    """``components``, with the order of a program in place of its name.

    Args:
        path: for the message.
        values: (any unit) Array with shape (F, ..., columns).
        components: as in :func:`load_series`.

    Raises:
        InputError: a program that writes another number of columns.
    """
    from vibraloom.files.tensor_tables import ORDERS

    program = (components or "").strip().lower()
    if program not in ORDERS:
        return components
    count = ORDERS[program].count(",") + 1
    if values.shape[-1] != count or values.shape[-2:] == (3, 3):
        found = "3x3" if values.shape[-2:] == (3, 3) else values.shape[-1]
        raise InputError(f"{path}: {program} writes {count} columns, this has {found}; name their order, e.g. xx,yy,zz,xy,yz,zx")
    return ORDERS[program]


def _order(components: str) -> list[str]:
    return [name.strip().lower() for name in components.split(",")]


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
    if timestep is not None and not abs(own - timestep) <= 1e-6 * own:
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
