"""The segments of one molecular dynamics run of CP2K as one trajectory, joined by step number.

What CP2K 2023.1 does at a restart (seen in its files): positions, velocities, forces, energies and cells begin one step after
the restart file's; moments begin at the restart file's own step, which is evaluated again, and carry no step number. Each
print of moments is announced in the log between two steps, which gives its step. CP2K does not fold positions into the cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.output_log import Log, read_log
from vibraloom.calculators.cp2k.printed_frames import (
    FORCE_FACTOR,
    POSITION_FACTOR,
    VELOCITY_FACTOR,
    PrintedEnergies,
    PrintedFrames,
    read_cells,
    read_dipoles,
    read_energies,
    read_printed_frames,
)
from vibraloom.calculators.cp2k.printed_units import check_units_of_input
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import frame_interval
from vibraloom.spectra.dipole import unwrap_dipole
from vibraloom.units import E_ANGSTROM_PER_DEBYE

PROJECT = "cp2k"
REPEAT_TOLERANCE = 1e-3
"""(e·Å) Largest difference of the dipole of a step that a restart evaluates again, modulo the quantum; above it the segments are
not one run. A wavefunction converged to 1e-6 leaves 1e-5."""
_CELL_TOLERANCE = 1e-5
_STRETCH = 1 << 23


@dataclass(frozen=True)
class Dipoles:
    """Dipoles by step.

    Attributes:
        step: Array of int with shape (D,).
        value: (e·Å) Array with shape (D, 3), as printed.
        cell: (Å) Array with shape (D, 3, 3), whose rows are the quanta; None for a dipole without a quantum.
    """

    step: NDArray[np.int64]
    value: NDArray[np.float64]
    cell: NDArray[np.float64] | None


@dataclass(frozen=True)
class Segment:
    """What one folder holds, up to its last frame that is whole in every file.

    Attributes:
        folder: where it lies.
        log: its log.
        start: the step it starts from; earlier segments count up to here.
        step: Array of int with shape (F,), steps of the frames.
        positions, velocities, forces: printed frames; ``velocities`` and ``forces`` may be missing.
        energies: rows of the ``.ener`` file.
        cells: (step, cell in Å), or None where it is not printed.
        dipoles: or None.
        undated: why the dipoles cannot be read or given to steps, or None.
    """

    folder: Path
    log: Log
    start: int
    step: NDArray[np.int64]
    positions: PrintedFrames
    velocities: PrintedFrames | None
    forces: PrintedFrames | None
    energies: PrintedEnergies
    cells: tuple[NDArray[np.int64], NDArray[np.float64]] | None
    dipoles: Dipoles | None
    undated: str | None = None


@dataclass(frozen=True)
class JoinedFolder:
    """A folder of the run, whose frames count after the step ``start`` and up to the step ``end``."""

    folder: Path
    log: Log
    start: int
    end: int


@dataclass
class Joined:
    """All segments as one run; Arrays over its F frames.

    Attributes:
        step: Array of int with shape (F,), evenly spaced from the first frame.
        positions: (Å) float32 Array with shape (F, A, 3), unwrapped.
        velocities: (Å/fs) float32 Array with shape (F, A, 3), or None.
        observables: name → Array with shape (F, …): energies (eV), temperature (K), dipole (e·Å, continuous), forces (eV/Å),
            cell (Å) where it changes.
        folders: where they come from, oldest first.
        notes: what was left out, one line each.
        missing: quantity that was computed and cannot be used → why.
    """

    step: NDArray[np.int64]
    positions: NDArray[np.float32]
    velocities: NDArray[np.float32] | None
    observables: dict[str, NDArray[Any]]
    folders: list[JoinedFolder]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


class AmbiguousDipole(InputError):
    """Dipoles whose steps or branches are not known; everything else of the run is good."""


def read_segment(folder: Path, record: dict[str, Any], notes: list[str]) -> Segment | None:
    """One folder of the run; None where it holds no whole frame.

    Raises:
        InputError: not CP2K's output, damaged files (but for the dipoles'), or files in another unit.
        ComputationError: a frame in the middle lacks its energy, velocity, force or dipole.
    """
    atoms = len(record["numbers"])
    check_units_of_input(folder / f"{PROJECT}.inp")
    positions = read_printed_frames(folder / f"{PROJECT}-pos-1.xyz", atoms)
    energies = read_energies(folder / f"{PROJECT}-1.ener")
    if positions is None or energies is None:
        return None
    log = read_log(folder / f"{PROJECT}.out")
    velocities = read_printed_frames(folder / f"{PROJECT}-vel-1.xyz", atoms)
    forces = read_printed_frames(folder / f"{PROJECT}-frc-1.xyz", atoms)
    cells = read_cells(folder / f"{PROJECT}-1.cell")
    if cells is None and record.get("changing_cell"):
        raise InputError(f"{folder / f'{PROJECT}-1.cell'}: missing or empty, and the cell changes; print it: MOTION/PRINT/CELL")
    dipoles, undated = None, None
    try:
        dipoles = _dipoles(folder, log, record)
    except InputError as error:
        # ambiguous or damaged: everything else of the run is good
        undated = str(error)
    # the last step of a segment is printed whatever the stride
    step = positions.step[positions.step % int(record["every"]) == 0]
    others = {
        "energy": energies.step,
        "velocities": None if velocities is None else velocities.step,
        "forces": None if forces is None else forces.step,
        "cell": None if cells is None else cells[0],
        "dipole": None if dipoles is None else dipoles.step,
    }
    kept = len(step)
    for name, known in others.items():
        if known is None:
            continue
        missing = np.flatnonzero(~np.isin(step[:kept], known))
        if len(missing) == 0:
            continue
        first = int(missing[0])
        if first < kept - len(missing):
            raise ComputationError(
                f"{folder.name or '.'}: step {int(step[first])} has no {name}, later steps do; print everything at the same"
                " stride, or run this segment again"
            )
        notes.append(f"{folder.name or '.'}: {kept - first} frame(s) from step {int(step[first])} on have no {name}: left out")
        kept = first
    if kept == 0:
        return None
    start = -1 if positions.step[0] == 0 else log.first_step if log.first_step is not None else int(positions.step[0]) - 1
    return Segment(folder, log, start, step[:kept], positions, velocities, forces, energies, cells, dipoles, undated)


def _dipoles(folder: Path, log: Log, record: dict[str, Any]) -> Dipoles | None:
    path = folder / f"{PROJECT}-dipole.dat"
    series = read_dipoles(path)
    if series is None:
        return _of_density(log, record)
    steps: list[int | None] = list(log.moment_steps)
    if not steps and log.first_step is not None:
        # methods that are not announced (xTB) print at every step, the start among them
        steps = [log.first_step, *log.steps.tolist()]
    count = len(series.values)
    # the log and the file are flushed one after the other: where a run is killed, one may be ahead by a print
    if count > len(steps) + 1 or (log.outcome.ended == "normal" and count != len(steps)):
        raise AmbiguousDipole(
            f"{path}: {count} dipoles, {len(steps)} announced in {PROJECT}.out; which step each belongs to is ambiguous:"
            " print them at every step into a folder of their own"
        )
    known = [index for index, step in enumerate(steps[:count]) if step is not None]
    step = np.array([steps[index] for index in known], dtype=np.int64)
    values = series.values[known] * E_ANGSTROM_PER_DEBYE
    if not series.folded or series.cell is None:
        return Dipoles(step, values, None)
    cell = np.broadcast_to(series.cell, (count, 3, 3))[known]
    # stopped within its first step, a run has dipoles of which none can be given to a step
    if record.get("cell") is not None and known and not (cell != cell[0]).any():
        # the printed matrix has seven digits; where it is the record's cell, that one is exact
        exact = np.asarray(record["cell"], dtype=np.float64)
        if np.allclose(cell[0], exact, rtol=_CELL_TOLERANCE, atol=_CELL_TOLERANCE):
            cell = np.broadcast_to(exact, cell.shape)
    return Dipoles(step, values, cell)


def _of_density(log: Log, record: dict[str, Any]) -> Dipoles | None:
    """The dipole along a slab's normal, from the density at every step, by the dipole correction; None where there is none."""
    if not log.dipole_normal_of_step or not is_surface(record):
        return None
    step = np.array(sorted(log.dipole_normal_of_step), dtype=np.int64)
    values = np.array([log.dipole_normal_of_step[each] for each in step.tolist()])
    return Dipoles(step, np.outer(values, surface_normal(record)), None)


def join(folders: Sequence[Path], record: dict[str, Any]) -> Joined | None:
    """Read all folders, oldest first, as one run; None where there is no frame.

    A later segment replaces what an earlier one has after the step that the later one starts from.

    Raises:
        InputError: segments with a gap between them, or a repeated step with another dipole. Dipoles whose steps or branches are
            ambiguous are left out alone, and :attr:`Joined.missing` says why.
        ComputationError: see :func:`read_segment`.
    """
    notes: list[str] = []
    found = [segment for folder in folders if (segment := read_segment(folder, record, notes)) is not None]
    if not found:
        return None
    # up to which step each counts: no later segment starts before it
    last = [min([later.start for later in found[index + 1 :]], default=2**62) for index in range(len(found))]
    parts = [(segment, end) for segment, end in zip(found, last, strict=True) if segment.step[0] <= end]
    # where a killed segment went on beyond the restart file of the next, its frames are given up
    takes = [(segment, segment.step[segment.step <= end]) for segment, end in parts]
    step = np.concatenate([taken for _, taken in takes])
    if len(step) > 1:
        frame_interval(step, float(record["timestep"]), "segments")
        if int(step[1] - step[0]) != int(record["every"]):
            raise InputError(f"segments: frames every {int(step[1] - step[0])} steps; job.json says every {record['every']}")
    for segment, taken in takes:
        if (given_up := len(segment.step) - len(taken)) > 0:
            notes.append(
                f"{segment.folder.name or '.'}: {given_up} frame(s) after step {int(taken[-1])} were computed again by a restart"
            )
    atoms = len(record["numbers"])
    # the frames themselves are not kept: they are as large as the result
    places = [JoinedFolder(segment.folder, segment.log, segment.start, end) for segment, end in parts]
    joined = Joined(step, _frames([(s.positions, t) for s, t in takes], atoms, POSITION_FACTOR), None, {}, places, notes)
    _unwrap(joined.positions, record)
    velocities = [(s.velocities, t) for s, t in takes if s.velocities is not None]
    if len(velocities) == len(takes):
        joined.velocities = _frames(velocities, atoms, VELOCITY_FACTOR)
    forces = [(s.forces, t) for s, t in takes if s.forces is not None]
    for name in ("potential", "kinetic", "temperature"):
        rows = [getattr(s.energies, name)[np.searchsorted(s.energies.step, t)] for s, t in takes]
        joined.observables[name if name == "temperature" else f"{name}_energy"] = np.concatenate(rows)
    if undated := [segment.undated for segment, _ in parts if segment.undated is not None]:
        joined.missing["dipole"] = undated[0]
    elif all(segment.dipoles is not None for segment, _ in takes):
        try:
            dipoles = _joined_dipoles(parts, step, record)
        except AmbiguousDipole as error:
            joined.missing["dipole"] = str(error)
            dipoles = {}
        joined.observables |= dipoles
        if not dipoles and not joined.missing:
            notes.append("the dipole is left out: in a periodic cell it is one of fractional charges, or without a Berry phase")
    cells = [s.cells[1][np.searchsorted(s.cells[0], t)] for s, t in takes if s.cells is not None]
    if len(cells) == len(takes) and (changing := np.concatenate(cells)).size and (changing != changing[0]).any():
        joined.observables["cell"] = changing
    if len(forces) == len(takes):
        joined.observables["forces"] = _frames(forces, atoms, FORCE_FACTOR)
    return joined


def _frames(parts: Sequence[tuple[PrintedFrames, NDArray[np.int64]]], atoms: int, factor: float) -> NDArray[np.float32]:
    """The wanted frames of all segments in one Array, copied a stretch at a time."""
    values = np.empty((sum(len(taken) for _, taken in parts), atoms, 3), dtype=np.float32)
    at = 0
    for printed, taken in parts:
        places = np.searchsorted(printed.step, taken)
        stretch = max(1, _STRETCH // (12 * atoms))
        for first in range(0, len(places), stretch):
            chosen = places[first : first + stretch]
            rows = printed.frames.read(int(chosen[0]), int(chosen[-1]) + 1)[chosen - chosen[0]]
            np.multiply(rows, np.float32(factor), out=values[at : at + len(chosen)])
            at += len(chosen)
    return values


def _unwrap(positions: NDArray[np.float32], record: dict[str, Any]) -> None:
    """Undo jumps by lattice vectors between frames, in place; CP2K makes none unless its input asks for it."""
    if record.get("cell") is None or not any(record["pbc"]):
        return
    cell = np.asarray(record["cell"], dtype=np.float64)
    inverse = np.linalg.inv(cell) * np.array(record["pbc"], dtype=float)
    for frame in range(1, len(positions)):
        whole = np.round((positions[frame] - positions[frame - 1]) @ inverse)
        if whole.any():
            positions[frame] -= (whole @ cell).astype(np.float32)


def _joined_dipoles(
    parts: Sequence[tuple[Segment, int]], wanted: NDArray[np.int64], record: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """The dipole of every wanted step, continuous; of a slab with a plain dipole the component along its normal alone."""
    steps: list[int] = []
    place: dict[int, int] = {}
    values: list[NDArray[np.float64]] = []
    cells: list[NDArray[np.float64]] = []
    folded = all(segment.dipoles is not None and segment.dipoles.cell is not None for segment, _ in parts)
    if not folded and any(segment.dipoles is not None and segment.dipoles.cell is not None for segment, _ in parts):
        return {}  # a segment that was cut off before its first Berry-phase dipole has another kind
    for segment, end in parts:
        dipoles = segment.dipoles
        assert dipoles is not None
        for index, step in enumerate(dipoles.step.tolist()):
            if step > end:
                break
            cell = dipoles.cell[index] if folded and dipoles.cell is not None else np.zeros((3, 3))
            if step in place:
                _check_repeat(segment.folder, step, dipoles.value[index], values[place[step]], cell if folded else None)
                continue
            place[step] = len(steps)
            steps.append(step)
            values.append(dipoles.value[index])
            cells.append(cell)
    series = np.array(values)
    if folded:
        series, ambiguous = unwrap_dipole(series, np.array(cells))
        if len(ambiguous):
            frame = int(ambiguous[0])
            raise AmbiguousDipole(
                f"dipole: between steps {steps[frame - 1]} and {steps[frame]} it changes by nearly half a quantum: its branch is"
                " ambiguous; print it at every step"
            )
    chosen = series[np.searchsorted(np.array(steps), wanted)]
    if folded or not any(record["pbc"]):
        return {"dipole": chosen}
    if is_surface(record):
        # the plain position operator means nothing along periodic directions
        return {"dipole_normal": chosen @ surface_normal(record)}
    return {}


def normal_axis(record: Mapping[str, Any]) -> int:
    """The lattice vector across the surface: ``surface_axis``, or the one that is not periodic, or the third."""
    if record.get("surface_axis") is not None:
        return int(record["surface_axis"])
    periodic = [bool(flag) for flag in record["pbc"]]
    return periodic.index(False) if periodic.count(False) == 1 else 2


def is_surface(record: Mapping[str, Any]) -> bool:
    """Whether the record says that there is a vacuum, across which a plain dipole has a meaning."""
    return record.get("surface_axis") is not None or sum(bool(flag) for flag in record["pbc"]) == 2


def surface_normal(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Unit vector with shape (3,) across the surface, along its lattice vector."""
    cell = np.asarray(record["cell"], dtype=np.float64)
    axis = normal_axis(record)
    across = np.cross(cell[axis - 2], cell[axis - 1])
    normal: NDArray[np.float64] = across / np.linalg.norm(across)
    return normal * np.sign(normal @ cell[axis])


def _check_repeat(
    folder: Path, step: int, again: NDArray[np.float64], before: NDArray[np.float64], cell: NDArray[np.float64] | None
) -> None:
    difference = again - before
    if cell is not None:
        difference = difference - np.round(difference @ np.linalg.inv(cell)) @ cell
    if np.abs(difference).max() > REPEAT_TOLERANCE:
        raise InputError(
            f"{folder.name or '.'}: the dipole of step {step} differs by {np.abs(difference).max():.2g} e·Å from that of the"
            " earlier segment: not a continuation of the same run, or another electronic state; run this segment again"
        )
