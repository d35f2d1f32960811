"""Read what a LAMMPS run left behind: binary dump segments, thermo logs, restart files.

Dumps are `dump custom` in LAMMPS' binary layout (revision 2, columns id xu yu zu vx vy vz, float64): exact,
and read at memory speed. A segment that a killed run left longer than its checkpoint is cut where the next
segment begins, so that no frame is doubled.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.lammps.script_lines import PRODUCTION_MARK
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import Trajectory, join_segments
from vibraloom.units import KCAL_PER_MOL_IN_EV

COLUMNS = "id xu yu zu vx vy vz"
DUMP_MAGIC = b"DUMPCUSTOM"
BLOCK_BYTES = 64 * 1024 * 1024
THERMO_COLUMNS = 6
DEVIATION_COLUMNS = 7
"""Of deepmd-kit's file: step; largest, smallest and mean deviation of the virial; the same of the forces."""

_TROUBLE = re.compile(r"^(ERROR\b.*|.*\bLost atoms\b.*)$", re.MULTILINE)
_HALTED = re.compile(r"^(?:WARNING: )?Fix halt condition for fix-id runaway met on step (\d+) with value (\S+)", re.MULTILINE)
_VERSION = re.compile(r"^vibraloom: LAMMPS version (\d+)", re.MULTILINE)


@dataclass
class LammpsOutput:
    """Frames of a run, and how far it came.

    Attributes:
        trajectory: all whole frames, or None when there is none.
        last_step: step of the last whole frame, -1 when there is none.
        complete: the last frame is that of the last step asked for.
        notes: what was left out, one line each (a truncated frame, frames beyond a checkpoint).
        exploded: step and temperature in words where the run was stopped for it, else "".
    """

    trajectory: Trajectory | None
    last_step: int
    complete: bool
    notes: list[str] = field(default_factory=list)
    exploded: str = ""


@dataclass(frozen=True)
class _Layout:
    """Bytes of one dump frame: they are the same for all frames of a segment."""

    step_offset: int
    data_offset: int
    frame_bytes: int
    atoms: int
    processes: int


def read_output(folders: Sequence[Path], record: dict[str, Any]) -> LammpsOutput:
    """Read all segments in ``folders`` (in the order of their numbers) as one trajectory.

    Args:
        folders: folders that hold ``dump-NNNN.bin`` and ``log-NNNN.lammps``; a number in a later folder
            replaces one in an earlier.
        record: the job record (keys in :mod:`.convert`).

    Raises:
        ComputationError: LAMMPS reported an error or lost atoms, an energy is not a number, or energies are
        missing.
        InputError: a dump that this reader does not know, or of another number of atoms.
    """
    dumps: dict[int, Path] = {}
    logs: dict[int, Path] = {}
    for folder in folders:
        dumps |= {int(path.stem.removeprefix("dump-")): path for path in folder.glob("dump-*.bin")}
        logs |= {int(path.stem.removeprefix("log-")): path for path in folder.glob("log-*.lammps")}
    exploded = ""
    if logs:
        # Earlier segments were continued on purpose; only the last one tells how the run ended.
        check_log(logs[max(logs)])
        halted = _HALTED.search(logs[max(logs)].read_text(encoding="utf-8", errors="replace"))
        exploded = f"at step {halted.group(1)} with {float(halted.group(2)):.0f} K" if halted else ""
    notes: list[str] = []
    segments: list[Trajectory] = []
    for number in sorted(dumps):
        segment = _read_segment(dumps[number], record, notes)
        if segment.frames == 0:
            continue
        while segments and segments[-1].step[0] >= segment.step[0]:
            segments.pop()
        if segments:
            kept = int(np.searchsorted(segments[-1].step, segment.step[0]))
            if kept < segments[-1].frames:
                notes.append(
                    f"{dumps[number].name}: replaces {segments[-1].frames - kept} earlier frame(s) from "
                    f"step {segment.step[0]} on"
                )
                segments[-1] = _first_frames(segments[-1], kept)
        segments.append(segment)
    if not segments:
        return LammpsOutput(None, -1, False, notes, exploded)
    joined = join_segments(segments)
    last = int(joined.step[-1])
    return LammpsOutput(joined, last, last == int(record["steps"]), notes, exploded)


def check_log(path: Path) -> None:
    """Refuse a log in which LAMMPS reported an error.

    Raises:
        ComputationError: with the line of the log.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    trouble = _TROUBLE.search(text)
    if trouble:
        raise ComputationError(
            f"{path.name}: {trouble.group(1).strip()}; check the structure for overlaps, or use a smaller timestep"
        )


def read_thermo(path: Path) -> NDArray[np.float64]:
    """Thermo lines of production: Array with shape (rows, 6): step, temperature (K), potential, kinetic,
    total (kcal/mol), pressure (atm).

    Raises:
        ComputationError: a value is not a number.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        # The command is echoed before it prints: the mark stands alone on its line.
        start = lines.index(PRODUCTION_MARK)
    except ValueError:
        return np.empty((0, THERMO_COLUMNS))
    rows = []
    header = False
    for line in lines[start + 1 :]:
        words = line.split()
        if words[:1] == ["Step"]:
            header = True
        elif words[:2] == ["Loop", "time"]:
            break
        elif header and len(words) == THERMO_COLUMNS and words[0].isdigit():
            try:
                rows.append([float(word) for word in words])
            except ValueError:
                continue  # A line cut off by a kill, or a warning.
            if not np.isfinite(rows[-1]).all():
                raise ComputationError(
                    f"{path.name}: {' '.join(words)}: not a number; use a smaller timestep or check the structure"
                )
    return np.array(rows, dtype=np.float64).reshape(-1, THERMO_COLUMNS)


def read_dump(path: Path, atoms: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], int]:
    """Read one binary dump segment, atoms in the order of their ids.

    Args:
        path: the dump.
        atoms: number of atoms expected.

    Returns:
        step (F,), positions (Å) and velocities (Å/fs) (F, atoms, 3), and the bytes of a truncated last frame
        (0: none).

    Raises:
        InputError: another layout, columns or number of atoms.
        ComputationError: a coordinate is not a number.
    """
    empty = np.empty((0, atoms, 3), dtype=np.float32)
    size = path.stat().st_size
    with path.open("rb") as handle:
        layout = _layout(path, handle.read(4096))
    if layout is None or size < layout.frame_bytes:
        return np.empty(0, dtype=np.int64), empty, empty.copy(), size
    if layout.atoms != atoms:
        raise InputError(
            f"{path}: {layout.atoms} atoms in a frame, {atoms} in job.json; the dump belongs to another run"
        )
    frames, rest = divmod(size, layout.frame_bytes)
    raw = np.memmap(path, dtype=np.uint8, mode="r", shape=(frames, layout.frame_bytes))
    step = np.ascontiguousarray(raw[:, layout.step_offset : layout.step_offset + 8]).view(np.int64)[:, 0]
    positions = np.empty((frames, atoms, 3), dtype=np.float32)
    velocities = np.empty((frames, atoms, 3), dtype=np.float32)
    block = max(1, BLOCK_BYTES // layout.frame_bytes)
    for first in range(0, frames, block):
        chunk = slice(first, min(first + block, frames))
        rows = _rows(raw[chunk], layout)
        index = rows[:, :, 0].astype(np.int64) - 1
        if index.min() < 0 or index.max() >= atoms:
            raise InputError(
                f"{path}: atom ids outside 1…{atoms} in frames {chunk.start} to {chunk.stop - 1}; the dump is damaged"
            )
        if not np.isfinite(rows).all():
            bad = first + int(np.argmin(np.isfinite(rows).all(axis=(1, 2))))
            raise ComputationError(
                f"{path.name}: step {int(step[bad])}: a coordinate is not a number; use a smaller timestep"
            )
        np.put_along_axis(positions[chunk], index[:, :, None], rows[:, :, 1:4].astype(np.float32), axis=1)
        np.put_along_axis(velocities[chunk], index[:, :, None], rows[:, :, 4:7].astype(np.float32), axis=1)
    return step, positions, velocities, int(rest)


def _layout(path: Path, head: bytes) -> _Layout | None:
    """Layout from the first bytes (dump_custom.cpp, header_binary); None when the first header itself is cut
    off."""
    try:
        (marker,) = struct.unpack_from("<q", head, 0)
        if marker != -len(DUMP_MAGIC) or head[8 : 8 + len(DUMP_MAGIC)] != DUMP_MAGIC:
            raise InputError(
                f"{path}: not a binary LAMMPS dump of this layout; use LAMMPS of 2021 or later on a "
                "little-endian machine"
            )
        at = 8 + len(DUMP_MAGIC) + 8  # endian and revision
        step_offset = at
        atoms, triclinic = struct.unpack_from("<qi", head, at + 8)
        at += 8 + 8 + 4 + 6 * 4 + (9 if triclinic else 6) * 8
        (columns,) = struct.unpack_from("<i", head, at)
        at += 4
        (length,) = struct.unpack_from("<i", head, at)
        at += 4 + length  # unit style
        (has_time,) = struct.unpack_from("<b", head, at)
        at += 1 + (8 if has_time else 0)
        (length,) = struct.unpack_from("<i", head, at)
        names = head[at + 4 : at + 4 + length].decode("ascii", errors="replace").strip()
        at += 4 + length
        (processes,) = struct.unpack_from("<i", head, at)
        at += 4
    except struct.error:
        return None
    if names != COLUMNS or columns != len(COLUMNS.split()):
        raise InputError(f"{path}: columns {names!r}; allowed: {COLUMNS!r}")
    return _Layout(step_offset, at, at + 4 * processes + 8 * columns * atoms, atoms, processes)


def _rows(raw: NDArray[np.uint8], layout: _Layout) -> NDArray[np.float64]:
    """Values of a block of frames, (frames, atoms, columns)."""
    columns = len(COLUMNS.split())
    if layout.processes == 1:
        data = np.ascontiguousarray(raw[:, layout.data_offset + 4 :])
        return data.view(np.float64).reshape(len(raw), layout.atoms, columns)
    out = np.empty((len(raw), layout.atoms * columns))
    for frame, row in enumerate(raw):
        at, filled = layout.data_offset, 0
        for _ in range(layout.processes):
            count = int(np.frombuffer(row[at : at + 4].tobytes(), dtype=np.int32)[0])
            out[frame, filled : filled + count] = np.frombuffer(
                row[at + 4 : at + 4 + 8 * count].tobytes(), dtype=np.float64
            )
            at, filled = at + 4 + 8 * count, filled + count
    return out.reshape(len(raw), layout.atoms, columns)


def _read_segment(path: Path, record: dict[str, Any], notes: list[str]) -> Trajectory:
    numbers = np.asarray(record["numbers"], dtype=np.int64)
    step, positions, velocities, rest = read_dump(path, len(numbers))
    if rest:
        notes.append(f"{path.name}: a truncated last frame ({rest} bytes) was left out")
    log = path.with_name(path.name.replace("dump-", "log-")).with_suffix(".lammps")
    if not log.is_file():
        raise InputError(f"{log}: no such file; {path.name} needs its log for the energies")
    thermo = read_thermo(log)
    at = np.searchsorted(thermo[:, 0], step)
    found = (
        (at < len(thermo)) & (thermo[np.minimum(at, max(len(thermo) - 1, 0)), 0] == step)
        if len(thermo)
        else np.zeros(len(step), bool)
    )
    kept = len(step)
    if kept and not found[-1]:
        # A kill between the dump and the log: the frame is whole but its energy is not.
        kept -= 1
        notes.append(f"{path.name}: the last frame, step {int(step[-1])}, has no energy in {log.name} and was left out")
    if not found[:kept].all():
        raise ComputationError(
            f"{log.name}: no energies for step {int(step[:kept][~found[:kept]][0])}; the log is damaged, run again"
        )
    thermo = thermo[at[:kept]]
    version = _VERSION.search(log.read_text(encoding="utf-8", errors="replace"))
    cell = record.get("cell")
    return Trajectory(
        numbers=numbers,
        masses=np.asarray(record["masses"], dtype=np.float64),
        step=step[:kept],
        timestep=float(record["timestep"]),
        positions=positions[:kept],
        velocities=velocities[:kept],
        cell=None if cell is None else np.asarray(cell, dtype=np.float64),
        pbc=(bool(record["pbc"][0]), bool(record["pbc"][1]), bool(record["pbc"][2])),
        observables={
            **_deviation(path.with_name(path.name.replace("dump-", "deviation-")).with_suffix(".out"), step[:kept]),
            "temperature": thermo[:, 1],
            "potential_energy": thermo[:, 2] * KCAL_PER_MOL_IN_EV,
            "kinetic_energy": thermo[:, 3] * KCAL_PER_MOL_IN_EV,
        },
        attributes={
            "engine": "LAMMPS",
            "engine_version": version.group(1) if version else "unknown",
            "model": " + ".join(record["models"]),
            "seed": int(record["seed"]),
            "replica": int(record["replica"]),
            "bead": 0,
        },
    )


def _first_frames(trajectory: Trajectory, count: int) -> Trajectory:
    return Trajectory(
        numbers=trajectory.numbers,
        masses=trajectory.masses,
        step=trajectory.step[:count],
        timestep=trajectory.timestep,
        positions=trajectory.positions[:count],
        velocities=None if trajectory.velocities is None else trajectory.velocities[:count],
        cell=trajectory.cell,
        pbc=trajectory.pbc,
        observables={name: values[:count] for name, values in trajectory.observables.items()},
        attributes=trajectory.attributes,
    )


def _deviation(path: Path, step: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Largest deviation of a committee's forces on one atom (eV/Å) at each step, NaN where none was written; {} without file."""
    if not path.is_file():
        return {}
    rows: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        # steps of the equilibration come first; those of the production, counted from 0 again, replace them
        if len(words) >= DEVIATION_COLUMNS and words[0].isdigit():
            rows[int(words[0])] = float(words[4]) * KCAL_PER_MOL_IN_EV
    return {"force_deviation": np.array([rows.get(int(each), np.nan) for each in step])}
