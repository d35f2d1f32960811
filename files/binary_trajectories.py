"""Binary trajectories of fixed records: DCD and TRR, read frame by frame where they are needed.

Sources of the formats:
    DCD: https://www.ks.uiuc.edu/Research/vmd/plugins/molfile/dcdplugin.html (records of Fortran; control integers, titles,
        number of atoms; per frame the unit cell A, gamma, B, beta, alpha, C, then x, y and z); LAMMPS,
        src/EXTRA-DUMP/dump_dcd.cpp and CP2K, src/particle_methods.F, which write the time step in a unit of their own.
    TRR: GROMACS manual, reference-manual/file-formats (XDR, big endian; nm, ps; a header of sizes per frame).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.cells import cell_of_lengths, cells_of
from vibraloom.files.frames import RawFrames, ReaderFrames, single_precision
from vibraloom.files.raw_series import time_per_step
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, KCAL_PER_MOL_IN_EV

AKMA_FS = (AMU_ANGSTROM2_PER_FS2_IN_EV / KCAL_PER_MOL_IN_EV) ** 0.5
"""The unit of time of CHARMM and NAMD in fs."""
_DCD_KINDS = {b"CORD": "position", b"VELD": "velocity", b"VEL ": "velocity"}
_TRR_MAGIC = struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file"
_TRR_FIELDS = struct.Struct(">13i")
_LARGEST_STEP = 10**12


def _exactly(handle: FileIO, count: int, offset: int, where: str) -> bytes:
    """``count`` bytes at ``offset``.

    Raises:
        InputError: the file ends before.
    """
    found = os.pread(handle.fileno(), count, offset)
    if len(found) < count:
        raise InputError(f"{where} is cut off; remove or recompute this frame")
    return found


def read_dcd(path: str | Path, wanted: str, unit: str | None) -> RawFrames:
    """Read ``wanted`` (``velocity`` or ``position``) from a DCD file, which names no atoms and no unit.

    Args:
        path: the file.
        wanted: ``velocity`` or ``position``.
        unit: the unit that the user names, or None; it says of a file that calls itself coordinates, as NAMD does, that it
            holds velocities.

    Raises:
        InputError: a damaged header or record, a frame that is cut off, fixed atoms.
    """
    handle = FileIO(path)
    size = os.fstat(handle.fileno()).st_size
    head = _exactly(handle, 92, 0, f"{path}: the header") if size >= 92 else b""
    order = next((sign for sign in "<>" if head[:4] == struct.pack(f"{sign}i", 84) == head[88:92]), None)
    kind = _DCD_KINDS.get(head[4:8])
    if order is None or kind is None:
        raise InputError(f"{path}: not a DCD file, or its header is damaged; give the trajectory that was meant")
    control = struct.unpack(f"{order}20i", head[8:88])
    if kind == "velocity" != wanted or (kind == "position" != wanted and unit is None):
        held = "velocities" if kind == "velocity" else "coordinates"
        remedy = "" if kind == "velocity" else "; if they are velocities (NAMD), say so with their unit, --velocity-unit"
        raise InputError(f"{path}: this DCD file says that it holds {held}{remedy or '; give the one of the coordinates'}")
    charmm = control[19] != 0
    if control[8]:
        raise InputError(f"{path}: a DCD file with {control[8]} fixed atoms is not read; write all atoms in every frame")
    at = 92
    for record in ("titles", "number of atoms"):
        length = _record(handle, at, order, f"{path}: the record of {record}")
        body, at = at + 4, at + length + 8
    if length != 4:
        raise InputError(f"{path}: the number of atoms stands in a record of {length} bytes; damaged")
    atoms = int(struct.unpack(f"{order}i", _exactly(handle, 4, body, f"{path}: the header"))[0])
    start, has_cell, planes = at, charmm and control[10] == 1, 4 if charmm and control[11] == 1 else 3
    record_bytes = 4 * atoms + 8
    frame_bytes = 56 * has_cell + planes * record_bytes
    frames, rest = divmod(size - start, frame_bytes) if atoms > 0 else (0, 0)
    if atoms < 1 or frames < 1 or rest or frames < control[0]:
        raise InputError(
            f"{path}: {atoms} atoms and {control[0]} frames by the header do not fit {size} bytes:"
            f" frame {max(frames, 0)} is cut off, or the header damaged; remove or recompute this frame"
        )
    real = np.dtype(f"{order}f4")

    def read(first: int, stop: int) -> NDArray[Any]:
        raw = np.empty((max(0, min(stop, frames) - first), 3, atoms + 2), dtype=real)
        for index, rows in enumerate(raw):
            offset = start + (first + index) * frame_bytes + 56 * has_cell
            if os.preadv(handle.fileno(), [rows.view(np.uint8).reshape(-1).data], offset) < rows.nbytes:
                raise InputError(f"{path}: became shorter while it was read; read it when the run has ended")
        marks = raw[:, :, [0, -1]].view(f"{order}i4")
        if (marks != 4 * atoms).any():
            bad = first + int(np.argmax((marks != 4 * atoms).any(axis=(1, 2))))
            raise InputError(f"{path}: frame {bad} has a damaged record; remove or recompute this frame")
        return raw[:, :, 1:-1].transpose(0, 2, 1).astype(np.float32, order="C")

    delta = struct.unpack(f"{order}f", head[44:48])[0] if charmm else struct.unpack(f"{order}d", head[44:52])[0]
    interval = delta * control[2]
    cells = [_dcd_cell(path, handle, start + frame * frame_bytes, order, frame) for frame in range(frames if has_cell else 0)]
    return RawFrames(
        ReaderFrames((frames, atoms, 3), read),
        unit=None,
        interval=interval if 1e-9 < interval < 1e9 else None,
        interval_units=(1.0, AKMA_FS, 1e3),
        cell=cells_of(cells),
        unit_hint="NAMD writes angstrom/akma, CP2K bohr/au_time" if wanted == "velocity" else "most programs write angstrom",
    )


def _record(handle: FileIO, at: int, order: str, where: str) -> int:
    """Length of the Fortran record at ``at``."""
    length = struct.unpack(f"{order}i", _exactly(handle, 4, at, where))[0]
    if not 0 <= length < 1 << 20 or _exactly(handle, 4, at + 4 + length, where) != struct.pack(f"{order}i", length):
        raise InputError(f"{where} is damaged; give the trajectory that was meant")
    return int(length)


def _dcd_cell(path: str | Path, handle: FileIO, at: int, order: str, frame: int) -> NDArray[np.float64] | None:
    """(Å) Cell of a frame, rows are lattice vectors; None for a cell without volume."""
    raw = _exactly(handle, 56, at, f"{path}: frame {frame}")
    mark = struct.pack(f"{order}i", 48)
    if raw[:4] != mark or raw[-4:] != mark:
        raise InputError(f"{path}: frame {frame} has a damaged record; remove or recompute this frame")
    a, gamma, b, beta, alpha, c = struct.unpack(f"{order}6d", raw[4:-4])
    if not all(abs(value) < 1e9 for value in (a, b, c, alpha, beta, gamma)):
        raise InputError(f"{path}: frame {frame} has a damaged cell; remove or recompute this frame")
    # NAMD and LAMMPS write cosines, CHARMM and CP2K degrees
    angles = np.array([alpha, beta, gamma])
    cosines = angles if (np.abs(angles) <= 1).all() else np.cos(np.radians(angles))
    return cell_of_lengths((a, b, c), cosines.tolist())


def read_trr(path: str | Path, wanted: str) -> RawFrames:
    """Read ``wanted`` (``velocity`` or ``position``) from a TRR file of GROMACS: nm and ps; it names no atoms.

    Raises:
        InputError: a damaged or cut-off frame, another number of atoms, or none of what is wanted.
    """
    handle = FileIO(path)
    size = os.fstat(handle.fileno()).st_size
    field = 8 if wanted == "velocity" else 7
    at, frame, atoms, width = 0, 0, 0, 4
    offsets: list[int] = []
    steps: list[int] = []
    times: list[float] = []
    cells: list[NDArray[np.float64] | None] = []
    while at < size:
        where = f"{path}: frame {frame}"
        raw = _exactly(handle, len(_TRR_MAGIC) + 52, at, where)
        if not raw.startswith(_TRR_MAGIC):
            raise InputError(f"{where} does not begin as one of a TRR file; damaged, or not TRR")
        fields = _TRR_FIELDS.unpack(raw[len(_TRR_MAGIC) :])
        count, step = fields[10], fields[11]
        parts = [fields[number] for number in (2, 7, 8, 9) if fields[number]]
        width = 8 if (72 in fields[2:5] or 24 * count in parts) else 4
        due = {2: 9, 3: 9, 4: 9, 7: 3 * count, 8: 3 * count, 9: 3 * count}
        bad = count < 1 or any(fields[number] not in (0, length * width) for number, length in due.items())
        if bad or any(fields[number] for number in (0, 1, 5, 6)) or (atoms and count != atoms):
            raise InputError(f"{where} has a damaged header, or other atoms than frame 0; remove or recompute this frame")
        atoms = count
        body = at + len(raw) + 2 * width
        end = body + sum(fields[2:5]) + sum(fields[7:10])
        if end > size:
            raise InputError(f"{where} is cut off; remove this frame, or recompute it")
        if fields[field]:
            real = "d" if width == 8 else "f"
            times.append(float(struct.unpack(f">{real}", _exactly(handle, width, at + len(raw), where))[0]))
            offsets.append(body + sum(fields[2:5]) + sum(fields[7:field]))
            steps.append(step)
            box = np.frombuffer(_exactly(handle, fields[2], body, where), dtype=f">f{width}").astype(np.float64)
            cells.append(10 * box.reshape(3, 3) if len(box) and np.isfinite(box).all() and box.any() else None)
        at, frame = end, frame + 1
    if len(offsets) < 2:
        plural = "velocities" if wanted == "velocity" else "positions"
        raise InputError(
            f"{path}: {len(offsets)} of {frame} frame(s) have {plural}; at least 2 are needed: set nstvout or nstxout"
        )
    read = _real_frames(path, handle, offsets, atoms, width)
    if not all(abs(time) < 1e15 for time in times):
        raise InputError(f"{path}: frame {int(np.argmin(np.isfinite(times)))} has a damaged time; remove or recompute this frame")
    step_time, error = gromacs_clock(path, np.array(steps, dtype=np.int64), np.array(times), 4 if width == 4 else 8)
    return RawFrames(
        ReaderFrames((len(offsets), atoms, 3), read),
        unit="nm/ps" if wanted == "velocity" else "nm",
        steps=np.array(steps, dtype=np.int64),
        step_time=step_time,
        step_time_error=error,
        cell=cells_of(cells),
    )


def _real_frames(
    path: str | Path, handle: FileIO, offsets: list[int], atoms: int, width: int
) -> Callable[[int, int], NDArray[Any]]:
    def read(first: int, stop: int) -> NDArray[Any]:
        chosen = offsets[first:stop]
        raw = np.empty((len(chosen), atoms, 3), dtype=f">f{width}")
        for rows, offset in zip(raw, chosen, strict=True):
            if os.preadv(handle.fileno(), [rows.view(np.uint8).reshape(-1).data], offset) < rows.nbytes:
                raise InputError(f"{path}: became shorter while it was read; read it when the run has ended")
        return single_precision(raw)

    return read


def gromacs_clock(
    path: str | Path, steps: NDArray[np.int64], times: NDArray[np.float64], width: int
) -> tuple[float | None, float]:
    """Time per step (fs) and its error, from times in ps that are kept in ``width`` bytes.

    Raises:
        InputError: the time does not grow in proportion to the steps.
    """
    if not (steps != steps[0]).any():
        return None, 0.0
    rounding = 1e3 * float(np.abs(times).max()) * (2.0**-24 if width == 4 else 2.0**-53) * 2
    return time_per_step(path, 1e3 * times, steps, rounding)
