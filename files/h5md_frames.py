"""Positions or velocities in an H5MD file, whoever wrote it, read a stretch of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError, VibraloomError
from vibraloom.files.frames import FlatFrames, Frames, ReaderFrames, single_precision


def stored_frames(
    path: str | Path, element: str, *, group: str = "particles/all", atoms: NDArray[np.int64] | None = None
) -> Frames:
    """Frames of ``element`` (``position``, ``velocity``), which are read when they are asked for, as float32.

    What lies in one piece in its file is read past HDF5, compressed or chunked values through it.

    Args:
        path: the file.
        element: its name in the group.
        group: path of the particles in the file.
        atoms: indices of the atoms that are wanted, Array with shape (A,); None: all.

    Raises:
        InputError: not HDF5, damaged, or without this element. A damaged frame when it is read.
    """
    with damage_named(path):
        handle = h5py.File(path, "r")
        name = f"{group}/{element}/value"
        if name not in handle:
            raise InputError(f"{path}: holds no {element}; write it with the trajectory")
        data = handle[name]
        if data.ndim != 3 or data.shape[2] != 3 or data.dtype.kind != "f" or min(data.shape) < 1:
            raise InputError(f"{path}: {element} has shape {data.shape} and type {data.dtype}; (frames, atoms, 3) is needed")

        def read(start: int, stop: int) -> NDArray[Any]:
            with damage_named(path):
                return single_precision(data[start:stop])

        frames: Frames = _flat(path, data) or ReaderFrames(data.shape, read)
    return frames if atoms is None else AtomFrames(frames, atoms)


class AtomFrames(Frames):
    """Frames of some atoms of others."""

    def __init__(self, frames: Frames, atoms: NDArray[np.int64]) -> None:
        self._frames, self._atoms = frames, atoms
        self.shape = (frames.shape[0], len(atoms), 3)

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        wanted = self._atoms if atoms is None else self._atoms[atoms]
        if not len(wanted):
            return self._frames.read(start, stop, slice(0, 0))
        # atoms of a kind mostly stand together: what lies between the first and the last is read
        first = int(wanted.min())
        return self._frames.read(start, stop, slice(first, int(wanted.max()) + 1))[:, wanted - first]


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Errors of HDF5, which a damaged file raises anywhere and of any type, as one line that names the file."""
    try:
        yield
    except VibraloomError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: not an H5MD file, or damaged ({reason}); make it again") from error


def _flat(path: str | Path, data: h5py.Dataset) -> FlatFrames | None:
    """Frames of a dataset that lies in one piece in its file, as unpacked ones do; None of another."""
    offset = data.id.get_offset()
    if offset is None or data.chunks is not None or data.dtype.itemsize > 8:
        return None
    if data.external or data.is_virtual or offset + data.nbytes > Path(path).stat().st_size:
        return None
    return FlatFrames(FileIO(path), path, data.dtype, data.shape, offset)
