"""Positions or velocities of every frame, read a stretch of frames at a time, so that they need not fit in memory."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import ComputationError, InputError
from vibraloom.files.raw_series import LARGEST_VALUE, joined_steps
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

Float32 = NDArray[np.float32]

IN_MEMORY = 32 * 2**20
"""Bytes of unpacked frames that are kept in memory; more go to a scratch file."""
STRETCH_BYTES = 8 * 2**20
"""Bytes of frames that are read at a time where each is looked at once."""
_FIRST_ATOMS = 32
"""Atoms by which repeated frames are compared."""


class Frames(ABC):
    """Values per frame and atom, with ``shape`` (F, A, 3)."""

    shape: tuple[int, int, int]

    @abstractmethod
    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        """Frames ``start`` to ``stop``, of ``atoms`` (a slice of step 1) or of all: an Array with shape (stop - start, a, 3)."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All frames in memory."""
        return np.asarray(self.read(0, self.shape[0]), dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def stretches(self, limit: int = STRETCH_BYTES) -> Iterator[tuple[int, NDArray[Any]]]:
        """First frame and values of stretches of at most ``limit`` bytes of float32."""
        step = max(1, limit // (12 * max(self.shape[1], 1)))
        for start in range(0, self.shape[0], step):
            yield start, self.read(start, min(start + step, self.shape[0]))


class MemoryFrames(Frames):
    """Frames of an Array with shape (F, A, 3)."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values
        self.shape = values.shape

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        return self._values[start:stop] if atoms is None else self._values[start:stop, atoms]


class ReaderFrames(Frames):
    """Frames that a function reads from a file, always of all atoms."""

    def __init__(self, shape: tuple[int, int, int], read: Callable[[int, int], NDArray[Any]]) -> None:
        self.shape, self._read = shape, read

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        if atoms is None:
            return self._read(start, stop)
        # a stretch at a time, for all atoms of many frames may not fit in memory
        stop = min(stop, self.shape[0])
        step = max(1, STRETCH_BYTES // (12 * max(self.shape[1], 1)))
        pieces = [self._read(at, min(at + step, stop))[:, atoms].copy() for at in range(start, stop, step)]
        return np.concatenate(pieces) if pieces else self._read(0, 0)[:, atoms]


class FlatFrames(Frames):
    """Frames that lie one after the other in an open file, from ``offset`` on."""

    def __init__(self, handle: Any, path: str | Path, dtype: Any, shape: tuple[int, int, int], offset: int = 0) -> None:
        self._handle, self._path, self._dtype, self._offset = handle, path, np.dtype(dtype), offset
        self.shape = shape

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        count, number = max(0, min(stop, self.shape[0]) - start), self.shape[1]
        first, last, _ = (slice(None) if atoms is None else atoms).indices(number)
        values = np.empty((count, max(0, last - first), 3), dtype=self._dtype)
        atom = 3 * self._dtype.itemsize
        # whole frames in one piece, else a piece per frame
        pieces = 1 if values.shape[1] == number else count
        size = values.nbytes // max(pieces, 1)
        view = values.reshape(-1).view(np.uint8).data
        begin, every = self._offset + atom * (number * start + first), atom * number
        descriptor = self._handle.fileno()
        try:
            for piece in range(pieces if size else 0):
                at, end, offset = piece * size, (piece + 1) * size, begin + piece * every
                while at < end:
                    # one call reads at most 2 GiB
                    got = os.preadv(descriptor, (view[at:end],), offset)
                    if not got:
                        raise InputError(f"{self._path}: became shorter while it was read; read it when the run has ended")
                    at, offset = at + got, offset + got
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error}); check the disk") from error
        return single_precision(values)


def single_precision(values: NDArray[Any]) -> Float32:
    """``values`` as float32 in the byte order of this machine; what is too large becomes infinite, and is refused later."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


class KeptFrames(Frames):
    """Some frames of others."""

    def __init__(self, frames: Frames, kept: NDArray[np.intp]) -> None:
        self._frames, self._kept = frames, kept
        self.shape = (len(kept), *frames.shape[1:])

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        kept = self._kept[start:stop]
        if len(kept) == 0:
            return self._frames.read(0, 0, atoms)
        rows = self._frames.read(int(kept[0]), int(kept[-1]) + 1, atoms)
        return rows if len(rows) == len(kept) else rows[kept - kept[0]]


class ScaledFrames(Frames):
    """Frames of others, times a factor."""

    def __init__(self, frames: Frames, factor: float) -> None:
        self._frames, self._factor = frames, factor
        self.shape = frames.shape

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        rows = self._frames.read(start, stop, atoms)
        return rows * (np.float32(self._factor) if rows.dtype == np.float32 else self._factor)


class CheckedFrames(Frames):
    """Frames of others, in which a number that is not finite, or absurd, is refused as soon as it is read."""

    def __init__(self, frames: Frames, path: str | Path, name: str) -> None:
        self._frames, self._path, self._name = frames, path, name
        self.shape = frames.shape

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        rows = self._frames.read(start, stop, atoms)
        # NaN makes both comparisons false
        if rows.size and not (rows.min() >= -LARGEST_VALUE and rows.max() <= LARGEST_VALUE):
            frame, atom, axis = np.argwhere(~(np.abs(rows) <= LARGEST_VALUE))[0].tolist()
            first = 0 if atoms is None else atoms.indices(self.shape[1])[0]
            raise InputError(
                f"{self._path}: {self._name} of frame {start + frame}, atom {first + atom} is {rows[frame, atom, axis]};"
                " remove or recompute this frame"
            )
        return rows


class ScratchFrames(Frames):
    """Frames unpacked from a format that cannot be read out of order: in memory, or in a file that vanishes with this."""

    def __init__(self, atoms: int) -> None:
        self.shape = (0, atoms, 3)
        self._memory = bytearray()
        self._file: Any = None

    def append(self, frames: Float32) -> None:
        """Add frames: an Array with shape (f, A, 3).

        Raises:
            ComputationError: the disk is full.
        """
        self._memory += np.ascontiguousarray(frames, dtype=np.float32).reshape(-1).view(np.uint8).data
        self.shape = (self.shape[0] + len(frames), *self.shape[1:])
        if self._file is None and len(self._memory) <= IN_MEMORY:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="vibraloom-", buffering=0)  # noqa: SIM115
            left = memoryview(self._memory)
            while left.nbytes:
                left = left[self._file.write(left) :]
            left.release()
            self._memory = bytearray()
        except OSError as error:
            size = 12e-9 * self.shape[0] * self.shape[1]
            raise ComputationError(
                f"{tempfile.gettempdir()}: unpacked frames cannot be written beyond {size:.1f} GB"
                f" ({error.strerror or error}); free space, or set TMPDIR to a larger disk"
            ) from error

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        if self._file is None:
            return MemoryFrames(np.frombuffer(self._memory, dtype=np.float32).reshape(self.shape)).read(start, stop, atoms)
        return FlatFrames(self._file, tempfile.gettempdir(), np.float32, self.shape).read(start, stop, atoms)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: where space was taken, and how much."""
        if self._file is None:
            return ()
        size = 12e-9 * self.shape[0] * self.shape[1]
        return (f"{size:.2g} GB of unpacked frames in a scratch file in {tempfile.gettempdir()} (TMPDIR)",)


@dataclass(frozen=True)
class RawFrames:
    """What a reader found in a file, before units and times are settled.

    Attributes:
        values: in the unit of the file.
        species: chemical symbol, or name, of each atom; None where the file does not say.
        masses: (amu) Array with shape (A,); None where the file does not say.
        unit: the unit that the file states, or None.
        steps: Array of int with shape (F,), or None where the file has no step numbers.
        step_time: (fs) time per step number that the file states, or None.
        step_time_error: (fs) how far ``step_time`` may be off because the file rounds it.
        interval: time between frames in a unit that the file does not state, or None.
        interval_units: (fs) what the unit of ``interval`` may be.
        multiple_of: (fs) integration time step, of which the time between frames is a whole multiple, or None.
        cell: (Å) Array with shape (3, 3), or (F, 3, 3) where it changes; rows are lattice vectors; None: not in the file.
        cell_like_positions: where no unit is stated, the cell is in that of the positions.
        inferable: without a unit, the kinetic temperature may tell Å/fs from Å/ps.
        unit_hint: what to say when a unit is asked for.
        bead: of a path integral, or None where the file does not say.
        notes: what a reader of the spectrum should know.
    """

    values: Frames
    species: tuple[str, ...] | None = None
    masses: NDArray[np.float64] | None = None
    unit: str | None = None
    assumed_unit: str | None = None
    steps: NDArray[np.int64] | None = None
    step_time: float | None = None
    step_time_error: float = 0.0
    interval: float | None = None
    interval_units: tuple[float, ...] = ()
    multiple_of: float | None = None
    cell: NDArray[np.float64] | None = None
    cell_like_positions: bool = False
    inferable: bool = False
    unit_hint: str = ""
    bead: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """Positions or velocities of one run.

    Attributes:
        values: (Å or Å/fs) frames with shape (F, A, 3); ``np.asarray`` reads them all. To read a number that is not finite
            raises :class:`vibraloom.errors.InputError`, which names its frame.
        masses: (amu) Array with shape (A,).
        species: chemical symbol, or name, of each atom.
        timestep: (fs) time between frames.
        steps: Array of int with shape (F,), evenly spaced, or None where the file has no step numbers.
        cell: (Å) Array with shape (3, 3), or (F, 3, 3) where it changes; rows are lattice vectors; None: not in the file.
        notes: what was inferred or dropped on reading.
        bead: of a path integral, or None where the file does not say.
    """

    values: Frames
    masses: NDArray[np.float64]
    species: tuple[str, ...]
    timestep: float
    steps: NDArray[np.int64] | None
    cell: NDArray[np.float64] | None
    notes: tuple[str, ...]
    bead: int | None = None

    @cached_property
    def mean_squares(self) -> NDArray[np.float64]:
        """(values²) Array with shape (A,), mean over frames of the sum of squares of each atom; reads every frame.

        Raises:
            InputError: a number that is not finite, as reading it.
        """
        return mean_squares(self.values)

    def groups(self) -> dict[str, NDArray[np.int64]]:
        """``species/symbol`` → atom indices, in order of first appearance."""
        names = np.array(self.species)
        return {f"species/{name}": np.flatnonzero(names == name) for name in dict.fromkeys(self.species)}


@dataclass(frozen=True)
class Velocities(Recording):
    """Velocities of one run, in Å/fs."""

    @property
    def velocities(self) -> Frames:
        """(Å/fs) The velocities, shape (F, A, 3)."""
        return self.values

    @cached_property
    def kinetic_temperature(self) -> float:
        """Temperature (K) from the mean kinetic energy: 3/2 k T per atom with mass; reads every frame."""
        return kinetic_temperature(self.mean_squares, self.masses)


def kinetic_temperature(mean_squares: NDArray[np.float64], masses: NDArray[np.float64]) -> float:
    """Temperature (K) from the mean kinetic energy: 3/2 k T per atom with mass.

    Args:
        mean_squares: (Å²/fs²) Array with shape (A,), mean v² of each atom.
        masses: (amu) Array with shape (A,).
    """
    massive = int(np.count_nonzero(masses > 0.0))
    energy = float(masses @ mean_squares) * AMU_ANGSTROM2_PER_FS2_IN_EV
    return energy / (3 * max(massive, 1) * BOLTZMANN_EV_PER_K)


def mean_squares(frames: Frames) -> NDArray[np.float64]:
    """Mean over frames of the sum of squares of each atom, shape (A,), in one pass."""
    total = np.zeros(frames.shape[1])
    for _, values in frames.stretches():
        _add_squares(np.ascontiguousarray(values), total)
    return total / max(frames.shape[0], 1)


@numba.njit(cache=True, nogil=True, fastmath=False)
def _add_squares(values: NDArray[Any], total: NDArray[np.float64]) -> None:
    frames, atoms, _ = values.shape
    for frame in range(frames):
        for atom in range(atoms):
            x, y, z = np.float64(values[frame, atom, 0]), np.float64(values[frame, atom, 1]), np.float64(values[frame, atom, 2])
            total[atom] += x * x + y * y + z * z


def without_repeats(
    path: str | Path, frames: Frames, steps: NDArray[np.int64]
) -> tuple[Frames, NDArray[np.intp], tuple[str, ...]]:
    """Frames at even steps: one that a restart repeats is dropped, every other irregularity is refused.

    Returns:
        frames, the indices of those kept, and what was dropped.

    Raises:
        InputError: as :func:`vibraloom.files.raw_series.joined_steps`.
    """
    few = min(_FIRST_ATOMS, frames.shape[1])
    if (np.diff(steps) == 0).any():
        probe = np.concatenate([values[:, :few].reshape(len(values), -1) for _, values in frames.stretches()])
    else:
        probe = np.zeros((len(steps), 1), dtype=np.float32)
    kept, notes = joined_steps(path, probe, steps)
    return (frames if len(kept) == len(steps) else KeptFrames(frames, kept)), kept, notes
