"""Labelled frames from a folder in which CP2K ran: a label job of this project, or any molecular dynamics that printed forces.

Of a label job: ``labels.npz``, or what :func:`.labels.labels_of` reads from its files. Of molecular dynamics: energies and forces
of the steps that ``NAME-pos-1.xyz``, ``NAME-frc-1.xyz`` and ``NAME-1.ener`` all hold; of a periodic cell also ``NAME-1.cell``, or
the cell that the log ``NAME.out`` prints. Dipoles of dynamics are left out: they are known modulo a quantum, and their files
carry no step numbers. Positions and forces of dynamics have single precision, 6e-8 of their size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.convert import told
from vibraloom.calculators.cp2k.dipole_branch import settled_dipole
from vibraloom.calculators.cp2k.finished_runs import how_it_ended, is_whole, run_folder
from vibraloom.calculators.cp2k.input_lines import values_of
from vibraloom.calculators.cp2k.labels import labels_of, localisation_warnings
from vibraloom.calculators.cp2k.output_log import Log, read_log
from vibraloom.calculators.cp2k.printed_frames import FIXED_CELL, FORCE_FACTOR, read_cells, read_energies, read_printed_frames
from vibraloom.calculators.cp2k.printed_units import check_units_of_input
from vibraloom.calculators.cp2k.segments import PROJECT
from vibraloom.errors import InputError, VibraloomError
from vibraloom.files.dataset import LABELS, LABELS_FILE, RECORD_FILE, Dataset, FrameSet, read_dataset, read_label_arrays
from vibraloom.files.elements import SYMBOLS

_CELL = re.compile(rb"CELL(?:_TOP)?\| Vector ([abc]) \[angstrom\]:?\s+([-\d.]+)\s+([-\d.]+)\s+([-\d.]+)")
_PERIODIC = re.compile(rb"POISSON\| Periodicity\s+(\w+)")
_PERIODIC_WORD = re.compile(r"NONE|(?!$)X?Y?Z?")
_ENSEMBLE = re.compile(rb"MD(?:_PAR)?\| Ensemble [Tt]ype +(\w+)")
_SAID = (("warnings", "warning"), ("remedies", "remedy"))
"""What a label or a job record says of its result, and the word for one of it."""
_MARKS = (f"{PROJECT}.out", "*-frc-1.xyz")


@dataclass(frozen=True)
class Finished:
    """What a folder gave: frames, how they were computed, and what is to be known about them."""

    system: FrameSet
    method: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_cp2k(folder: Path) -> bool:
    """Whether CP2K ran in this folder, as far as its files tell."""
    return folder.is_dir() and any(next(folder.glob(mark), None) for mark in _MARKS)


def read_cp2k(folder: str | Path) -> Finished | Dataset:
    """The frames of a finished folder; a Dataset where a whole one lies in it.

    Raises:
        InputError: neither labels nor printed forces, files of another run, or what is damaged.
        ComputationError: the run of a label job gave no forces or a polarizability that cannot be one.
    """
    place = Path(folder)
    if (place / LABELS_FILE).is_file() and (place / RECORD_FILE).is_file():
        return read_dataset(place)
    record = _json(place / "job.json")
    if (place / LABELS_FILE).is_file():
        return _label_job(place, read_label_arrays(place / LABELS_FILE), record)
    if record.get("kind") == "label" and (run_folder(place, record, PROJECT) / f"{PROJECT}.out").is_file():
        return _unconverted(place, record)
    return _dynamics(place, record)


def _unconverted(place: Path, record: Mapping[str, Any]) -> Finished:
    """A label whose runs ended before the converter had run."""
    names = [PROJECT, *record.get("followups", [])]
    ended = {name: how_it_ended(run_folder(place, record, name), name) for name in names}
    good = {name: log for name, log in ended.items() if isinstance(log, Log) and is_whole(log)}
    if PROJECT not in good:
        main = ended[PROJECT]
        raise InputError(f"{place}/{PROJECT}.out: {(main.outcome if isinstance(main, Log) else main).message}; run it again")
    refused: dict[str, VibraloomError] = {}
    arrays = labels_of(place, record, good, refused)
    failed = {name: log.outcome if isinstance(log, Log) else log for name, log in ended.items() if name not in good}
    missing = [f"{name}: {error}" for name, error in refused.items()]
    missing += [f"{name}: {outcome.message}" for name, outcome in failed.items()]
    said = {**told(record), "missing": missing}
    said["warnings"] = [*said["warnings"], *localisation_warnings(good)]
    return _label_job(place, {**arrays, **{name: np.array(lines) for name, lines in said.items() if lines}}, record)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); damaged") from error
    return found if isinstance(found, dict) else {}


def _label_job(place: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Finished:
    """Frames of the arrays that :mod:`.labels` describes."""
    missing = [name for name in ("numbers", "positions", "energy") if name not in arrays]
    if missing:
        raise InputError(f"{place / LABELS_FILE}: array {missing[0]} is missing; not labels of this project, or damaged")
    flags = [bool(flag) for flag in record.get("pbc", [True] * 3 if "cell" in arrays else [False] * 3)]
    labels = {name: np.asarray(arrays[name], dtype=np.float64) for name in LABELS if name in arrays}
    notes = []
    if "dipole" in labels and "dipole_quantum" in arrays:
        settled = settled_dipole({**arrays, "dipole": labels["dipole"]})
        if settled is None:
            del labels["dipole"]
            notes.append("dipole absent: known modulo its quantum alone, and the Wannier centres do not tell the branch")
        else:
            labels["dipole"] = settled
    if "missing" in arrays:
        notes += [f"partial: {line}" for line in np.atleast_1d(arrays["missing"])]
    elif absent := [
        name for name in record.get("followups", []) if not (run_folder(place, record, name) / f"{name}.out").is_file()
    ]:
        notes.append(f"partial: {', '.join(absent)} did not run")
    for name, word in _SAID:
        notes += [f"{word}: {line}" for line in np.atleast_1d(arrays.get(name, []))]
    system = FrameSet(
        numbers=np.asarray(arrays["numbers"], dtype=np.int64),
        pbc=(flags[0], flags[1], flags[2]),
        positions=np.asarray(arrays["positions"], dtype=np.float64),
        cell=np.asarray(arrays["cell"], dtype=np.float64) if any(flags) else None,
        labels=labels,
        molecule=np.asarray(arrays["molecule"], dtype=np.int64) if "molecule" in arrays else None,
    )
    method = record.get("method") or {}
    return Finished(system, {"engine": "cp2k", **method} if method else {}, tuple(notes))


def _dynamics(place: Path, record: Mapping[str, Any]) -> Finished:
    printed = sorted(place.glob("*-frc-1.xyz"))
    if not printed:
        raise InputError(f"{place}: neither {LABELS_FILE} nor *-frc-1.xyz; CP2K must print forces: MOTION/PRINT/FORCES")
    if len(printed) > 1:
        raise InputError(f"{place}: {printed[0].name} and {printed[1].name}: forces of several runs; keep one run per folder")
    name = printed[0].name.removesuffix("-frc-1.xyz")
    for path in sorted(place.glob("*.inp")):
        check_units_of_input(path)
    positions_file = place / f"{name}-pos-1.xyz"
    numbers = _numbers(positions_file)
    positions = read_printed_frames(positions_file, len(numbers))
    forces = read_printed_frames(printed[0], len(numbers))
    energies = read_energies(place / f"{name}-1.ener")
    if positions is None or forces is None or energies is None:
        absent = positions_file if positions is None else printed[0] if forces is None else place / f"{name}-1.ener"
        raise InputError(f"{absent}: missing or empty; positions, forces and energies of the same steps are needed")
    cells = read_cells(place / f"{name}-1.cell")
    kept = np.intersect1d(np.intersect1d(positions.step, forces.step), energies.step)
    if cells is not None:
        kept = np.intersect1d(kept, cells[0])
    if len(kept) == 0:
        raise InputError(f"{place}: no step of which positions, forces and energy were all printed; print them at the same steps")
    kept, notes = _converged(place / f"{name}.out", kept)
    cell, pbc = _cell_and_pbc(place / f"{name}.out", record, fixed=cells is None)
    if cells is None and any(pbc):
        _check_fixed_cell(place / f"{name}.out", record)
    if cells is not None and any(pbc):
        cell = cells[1][np.searchsorted(cells[0], kept)]
    at = {"positions": np.searchsorted(positions.step, kept), "forces": np.searchsorted(forces.step, kept)}
    system = FrameSet(
        numbers=numbers,
        pbc=pbc,
        positions=np.array(positions.frames, dtype=np.float64)[at["positions"]],
        cell=None if cell is None else np.broadcast_to(cell, (len(kept), 3, 3)).copy(),
        labels={
            "energy": energies.potential[np.searchsorted(energies.step, kept)],
            "forces": np.array(forces.frames, dtype=np.float64)[at["forces"]] * FORCE_FACTOR,
        },
        source_frame=kept,
    )
    method = record.get("method") or {}
    notes += [f"{word}: {line}" for name, word in _SAID for line in told(record)[name]]
    return Finished(system, {"engine": "cp2k", **method} if method else {}, tuple(notes))


def _converged(log: Path, steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """The steps whose self-consistency converged, as far as the log tells, and a note on the others."""
    if not log.is_file() or log.stat().st_size == 0:
        return steps, []
    doubtful = np.isin(steps, np.array(read_log(log).outcome.scf_unconverged_steps, dtype=np.int64))
    if not doubtful.any():
        return steps, []
    if doubtful.all():
        raise InputError(f"{log}: the SCF converged at none of the printed steps; run it again with a tighter or longer SCF")
    shown = ", ".join(str(step) for step in steps[doubtful][:5])
    return steps[~doubtful], [f"{int(doubtful.sum())} step(s) left out whose SCF did not converge: {shown}"]


def _check_fixed_cell(log: Path, record: Mapping[str, Any]) -> None:
    """Refuse a run whose cell moves and was not printed."""
    told_by_log = _ENSEMBLE.search(log.read_bytes()[: 1 << 20]) if log.is_file() else None
    if told_by_log is not None:
        said = [told_by_log[1].decode()]
    else:
        said = [word for path in sorted(log.parent.glob("*.inp")) for word in values_of(path, "MD", "ENSEMBLE")]
    moving = [word for word in said if word.upper() not in FIXED_CELL]
    if moving or record.get("changing_cell"):
        name = log.name.removesuffix(".out")
        why = ", ".join(moving) or "says job.json"
        file = log.parent / f"{name}-1.cell"
        raise InputError(f"{file}: missing or empty, and the cell changes ({why}); print it: MOTION/PRINT/CELL")


def _numbers(path: Path) -> NDArray[np.int64]:
    try:
        with path.open(encoding="utf-8") as handle:
            count = int(handle.readline())
            handle.readline()
            symbols = [handle.readline().split()[0] for _ in range(count)]
        return np.array([SYMBOLS.index(symbol.capitalize()) for symbol in symbols], dtype=np.int64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); print the trajectory in XYZ format") from error
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: no frame with symbols of elements ({error}); print the trajectory in XYZ format") from error


def _cell_and_pbc(
    log: Path, record: Mapping[str, Any], *, fixed: bool
) -> tuple[NDArray[np.float64] | None, tuple[bool, bool, bool]]:
    """Cell (Å) (3, 3) and periodic directions, from the job's record or the log."""
    if record.get("pbc") is not None:
        flags = [bool(flag) for flag in record["pbc"]]
        cell = None if record.get("cell") is None or not any(flags) else np.array(record["cell"], dtype=np.float64)
        return cell, (flags[0], flags[1], flags[2])
    try:
        head = log.read_bytes()[: 1 << 20]
    except OSError as error:
        raise InputError(f"{log}: cannot be read ({error.strerror or error}); the log tells the cell") from error
    vectors = {found[1]: [float(found[axis]) for axis in (2, 3, 4)] for found in reversed(list(_CELL.finditer(head)))}
    told = _PERIODIC.search(head)
    letters = told[1].upper() if told is not None else _periodic_of_inputs(log)
    pbc = (b"X" in letters, b"Y" in letters, b"Z" in letters)
    if not any(pbc):
        return None, pbc
    if fixed and set(vectors) != {b"a", b"b", b"c"}:
        raise InputError(f"{log}: no cell in it; print it: MOTION/PRINT/CELL")
    return (np.array([vectors[name] for name in (b"a", b"b", b"c")]) if fixed else None), pbc


def _periodic_of_inputs(log: Path) -> bytes:
    """Periodic directions that the input beside a short log says, such as ``XYZ``, which is CP2K's own default."""
    said = set()
    for path in sorted(log.parent.glob("*.inp")):
        found = (values_of(path, "CELL", "PERIODIC") or ["XYZ"])[-1].upper()
        if not _PERIODIC_WORD.fullmatch(found):
            raise InputError(f"{path}: CELL/PERIODIC: {found!r}: not understood; allowed: NONE, or letters of XYZ in this order")
        said.add(found.encode())
    if len(said) > 1:
        raise InputError(f"{log.parent}: inputs of different periodicity, and {log.name} does not tell; keep that of this run")
    return said.pop() if said else b"XYZ"
