"""What CP2K prints per step into files of their own, each value with its step number; what a killed run cut off is left out.

Sources of the formats, in CP2K's repository: src/motion_utils.F (``i = 10, time = 5.000, E = …``; positions in Å, velocities
in bohr/au_t, forces in hartree/bohr unless the input sets UNIT), src/motion/md_energies.F (``.ener``),
src/motion_utils.F, write_simulation_cell (``.cell``).
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.cp2k_moments import read_cp2k
from vibraloom.files.frames import Frames
from vibraloom.files.number_table import read_number_table
from vibraloom.files.raw_series import RawSeries
from vibraloom.files.xyz import read_xyz
from vibraloom.units import ANGSTROM_PER_BOHR, ATOMIC_TIME_IN_FS, EV_PER_HARTREE

POSITION_FACTOR = 1.0
VELOCITY_FACTOR = ANGSTROM_PER_BOHR / ATOMIC_TIME_IN_FS
"""Å/fs in one bohr per atomic unit of time."""
FORCE_FACTOR = EV_PER_HARTREE / ANGSTROM_PER_BOHR
"""eV/Å in one hartree/bohr."""

FIXED_CELL = ("NVE", "NVT", "NVT_ADIABATIC", "ISOKIN", "LANGEVIN")
"""Ensembles of molecular dynamics in which the cell stays as it is; in others its print is needed."""

_COPY_BYTES = 1 << 24
_ENERGY_COLUMNS = 7
_CELL_COLUMNS = 12
_DIPOLE_MARKS = (b"Dipole moment [Debye]", b"_DIPOLE| Moment [Debye]")


@dataclass(frozen=True)
class PrintedFrames:
    """Values per step and atom.

    Attributes:
        step: Array of int with shape (F,), strictly increasing.
        frames: F frames of shape (A, 3), in the unit of the file.
    """

    step: NDArray[np.int64]
    frames: Frames


@dataclass(frozen=True)
class PrintedEnergies:
    """The ``.ener`` file: Arrays with shape (F,); step, kinetic and potential (eV), temperature (K)."""

    step: NDArray[np.int64]
    kinetic: NDArray[np.float64]
    temperature: NDArray[np.float64]
    potential: NDArray[np.float64]


def read_printed_frames(path: Path, atoms: int) -> PrintedFrames | None:
    """Whole frames of a ``-pos-1.xyz``, ``-vel-1.xyz`` or ``-frc-1.xyz``; None where there is none.

    Raises:
        InputError: damaged, another number of atoms, without step numbers, or steps that run back.
    """
    with _whole(path, atoms + 2) as whole:
        if whole is None:
            return None
        with whole.open("rb") as handle:
            count = handle.readline(64).strip().decode("ascii", errors="replace")
        if count.isdigit() and int(count) != atoms:
            raise InputError(f"{path}: {count} atoms in a frame, {atoms} in job.json; it belongs to another run")
        found = read_xyz(whole, "position", None)
    if found.steps is None:
        raise InputError(f"{path}: frames without step numbers; print the trajectory of molecular dynamics in XYZ format")
    return PrintedFrames(_increasing(path, found.steps), found.values)


def read_energies(path: Path) -> PrintedEnergies | None:
    """Whole rows of a ``.ener`` file; None where there is none.

    Raises:
        InputError: a row that is damaged, or steps that run back.
    """
    table = _table(path, _ENERGY_COLUMNS)
    if table is None:
        return None
    return PrintedEnergies(
        _increasing(path, table[:, 0].astype(np.int64)), table[:, 2] * EV_PER_HARTREE, table[:, 3], table[:, 4] * EV_PER_HARTREE
    )


def read_cells(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Steps, (F,), and cells, (Å) (F, 3, 3), rows are lattice vectors, of a ``.cell`` file; None where there is none.

    Raises:
        InputError: a row that is damaged, or steps that run back.
    """
    table = _table(path, _CELL_COLUMNS)
    if table is None:
        return None
    return _increasing(path, table[:, 0].astype(np.int64)), table[:, 2:11].reshape(-1, 3, 3)


def read_dipoles(path: Path) -> RawSeries | None:
    """Whole prints of moments in a file of their own, in debye, without step numbers; None where there is none.

    Raises:
        InputError: a print that is damaged, or equal to the one before.
    """
    if not path.is_file():
        return None
    with path.open("rb") as handle:
        if path.stat().st_size == 0:
            return None
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text:
            end = max(_end_of_last(text, mark) for mark in _DIPOLE_MARKS)
            rest = bytes(text[end:]).strip()
    if end == 0:
        return None
    # what follows the last dipole belongs to its print (higher moments, a derivative), unless the next one begins
    if b"Reference Point" not in rest and b"Dipole type" not in rest:
        return read_cp2k(path, "dipole")
    with _beginning(path, end) as whole:
        return read_cp2k(whole, "dipole")


def _end_of_last(text: mmap.mmap, mark: bytes) -> int:
    """Offset behind the last dipole whose line has an end; 0 where there is none."""
    at = text.rfind(mark)
    while at >= 0:
        end = text.find(b"\n", at)
        if not mark.startswith(b"_"):
            end = text.find(b"\n", end + 1) if end >= 0 else -1
        if end >= 0:
            return end + 1
        at = text.rfind(mark, 0, at)
    return 0


def _table(path: Path, columns: int) -> NDArray[np.float64] | None:
    with _whole(path, 1) as whole:
        if whole is None:
            return None
        table = read_number_table(whole)
    if len(table.widths) == 0:
        return None
    rows = table.rectangle(path)
    if rows.shape[1] != columns:
        raise InputError(f"{path}: {rows.shape[1]} columns; {columns} are written by the versions of CP2K that are known here")
    return rows


def _increasing(path: Path, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    back = np.flatnonzero(np.diff(steps) <= 0)
    if len(back):
        at = int(back[0]) + 1
        raise InputError(
            f"{path}: frame {at} has step {int(steps[at])} after {int(steps[at - 1])}: two runs wrote into this file;"
            " keep one folder per run"
        )
    return steps


@contextmanager
def _whole(path: Path, lines: int) -> Iterator[Path | None]:
    """The file without what follows its last whole record of ``lines`` lines; None where no record is whole."""
    if not path.is_file() or path.stat().st_size == 0:
        yield None
        return
    # read and not mapped: pages of a mapped file would count as memory
    with path.open("rb") as handle:
        count = sum(block.count(b"\n") for block in iter(lambda: handle.read(_COPY_BYTES), b""))
        end = _end_of_line(handle, path.stat().st_size, count % lines)
    if end == 0:
        yield None
        return
    with _beginning(path, end) as whole:
        yield whole


def _end_of_line(handle: BinaryIO, size: int, spare: int) -> int:
    """Offset behind the last line end but ``spare``; 0 where there are fewer."""
    window = 1 << 16
    while True:
        start = max(0, size - window)
        handle.seek(start)
        tail = handle.read(size - start)
        end = len(tail)
        for _ in range(spare + 1):
            end = tail.rfind(b"\n", 0, end)
            if end < 0:
                break
        if end >= 0:
            return start + end + 1
        if start == 0:
            return 0
        window *= 8


@contextmanager
def _beginning(path: Path, size: int) -> Iterator[Path]:
    """The first ``size`` bytes of a file as a file of the same name; the file itself where that is all."""
    if size == path.stat().st_size:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vibraloom-") as folder:
        copy = Path(folder) / path.name
        with path.open("rb") as source, copy.open("wb") as target:
            left = size
            while left:
                block = source.read(min(left, _COPY_BYTES))
                target.write(block)
                left -= len(block)
        yield copy
