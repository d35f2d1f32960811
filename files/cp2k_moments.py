"""Dipole and polarizability that CP2K prints as text, from its log or from the file of the print section.

Sources of the formats, in CP2K's repository, versions 2.6 to 2025.1:
    src/qs_moments.F, print_moments: ``Dipole moment [Debye]`` with ``X= Y= Z= Total=``, before 2023.1 with F14.8, since
        with E16.8 or E15.7; for a Berry phase the cell matrix in Debye, its columns are lattice vectors.
    src/qs_scf_post_tb.F, src/fist_efield_methods.F, src/qs_scf_post_se.F: ``TB_DIPOLE| Moment [Debye]`` since 8.1,
        ``DIPOLE [BERRY PHASE](Debye)|`` before.
    src/qs_loc_dipole.F: TOTAL_DIPOLE, one line per step: ``1_0`` with the step last, atomic units, Debye, change.
    src/qs_linres_polar_utils.F, polar_print: ``POLAR| Polarizability tensor [a.u.]`` and its older spellings.
    src/motion/md_energies.F: step and time, which follow the moments of the same step in a log.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.raw_series import RawSeries, time_per_step
from vibraloom.units import ANGSTROM3_PER_BOHR3, ANGSTROM_PER_BOHR, E_ANGSTROM_PER_DEBYE

COMPONENTS = "xx,yy,zz,xy,xz,yz,yx,zx,zy"
"""Order of CP2K's three rows of a polarizability."""
_MARKS = re.compile(
    rb"PROGRAM STARTED AT|CP2K\||Reference Point \[Boh|Dipole moment \[Debye\]|_DIPOLE\| |DIPOLE \[|# iter_level"
    rb"|POLARIZABILITY TENSOR|Polarizability tensor \[|POLAR\| "
)
_HEAD = 1 << 16
_TENSOR = rb"xx,yy,zz[^\n]*\n[^\n]*xy,xz,yz[^\n]*\n[^\n]*yx,zx,zy[^\n]*\n?"
_EVENT = re.compile(
    rb"^[ *]*+(?:"
    rb"(?P<moment>Dipole moment \[Debye\][^\n]*(?:\n[^\n]*\n?)?)"
    rb"|(?P<matrix>\[X\] \[[^\n]*\n[^\n]*\n[^\n]*\n?)"
    rb"|(?P<model>(?:(?:TB|MM|SE)_DIPOLE\| Moment \[a\.u\.\]|(?:MM )?DIPOLE \[[^\]\n]*\]\(A\.U\.\)\|)[^\n]*(?:\n[^\n]*\n?)?)"
    rb"|(?P<kind>(?:TB|MM|SE)_DIPOLE\| Dipole type[^\n]*)"
    rb"|(?P<tensor>(?:POLAR\| +)?(?:Polarizability tensor \[a\.u\.\]|POLARIZABILITY TENSOR \(atomic units\):)"
    rb"[^\n]*\n[^\n]*" + _TENSOR + rb"[^\n]*\n?(?:[^\n]*\n)?[^\n]*" + _TENSOR + rb")"
    rb"|(?P<unsolved>(?:WARNING in [^\n]*:: )?The linear solver did[^\n]*)"
    rb"|(?P<unconverged>(?:WARNING in [^\n]*:: )?SCF run NOT converged[^\n]*)"
    rb"|(?P<every>(?:MD_PAR|MD)\| Print MD information every[^\n]*)"
    rb"|(?P<start>MD_INI\| MD initialization|GO CP2K GO!)"
    rb"|(?P<step>(?:MD\| Step number|STEP NUMBER +=)[^\n]*(?:\n[^\n]*)?)"
    rb")",
    re.MULTILINE,
)
_DECIMAL = rb"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?"
_MOMENT = re.compile(
    rb"Dipole moment \[Debye\] *\r?\n +X= *(" + _DECIMAL + rb") +Y= *(" + _DECIMAL + rb") +Z= *(" + _DECIMAL
    + rb") +Total= *(" + _DECIMAL + rb") *\r?\n"
)
_ATOMIC = re.compile(rb" *(?:(?:TB|MM|SE)_DIPOLE\| Moment \[a\.u\.\]|(?:MM )?DIPOLE \[[^\]\n]*\]\(A\.U\.\)\|)")
_DEBYE = re.compile(rb" *(?:(?:TB|MM|SE)_DIPOLE\| Moment \[Debye\]|(?:MM )?DIPOLE \[[^\]\n]*\]\(Debye\)\|)")
_STEP = re.compile(
    rb"(?:MD\| Step number|STEP NUMBER +=) +(\d+)(?: *\r?\n *(?:MD\| Time \[fs\]|TIME \[fs\] +=) +(\d+\.\d+))?"
)
_TOTAL_DIPOLE = re.compile(rb" *(?:\d+_)*(\d+)((?: +[-+]?\d\.\d+E[-+]\d+){6}(?:(?: +[-+]?\d\.\d+E[-+]\d+){3})?) *\r?")


def looks_like_cp2k(path: str | Path) -> bool:
    """Whether the head of a text file is that of a CP2K log or of one of its print sections."""
    try:
        with Path(path).open("rb") as handle:
            return _MARKS.search(handle.read(_HEAD)) is not None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give a file") from error


def read_cp2k(path: str | Path, name: str) -> RawSeries:
    """Read ``name`` (``dipole`` or ``polarizability``) from a text output of CP2K.

    Steps and the time between frames come with a log; a file of moments alone has neither.

    Raises:
        InputError: no such print, a damaged or cut-off one, an overflow ``****``, numbers that contradict each
            other, a linear solver that did not converge, or several moments for one step.
    """
    with Path(path).open("rb") as handle:
        if Path(path).stat().st_size == 0:
            raise InputError(f"{path}: an empty file; give CP2K's output")
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if name == "dipole" and text[:_HEAD].lstrip().startswith(b"# iter_level"):
                return _total_dipole(path, text)
            return _collected(path, name, text)


@dataclass
class _Print:
    """What was printed, in order; steps are known once CP2K prints them."""

    values: list[tuple[float, ...]] = field(default_factory=list)
    steps: list[int | None] = field(default_factory=list)
    cells: list[NDArray[np.float64]] = field(default_factory=list)
    clock: list[tuple[int, float]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    initial: int | None = None
    every: int = 1
    folded: bool = False
    fractional: bool = False
    unsolved: bool = False
    unconverged: int = 0


def _collected(path: str | Path, name: str, text: mmap.mmap) -> RawSeries:
    found = _Print()
    matrix, cell = b"", np.empty((3, 3))
    wanted = ("moment", "model") if name == "dipole" else ("tensor",)
    for event in _EVENT.finditer(text):
        kind, block = str(event.lastgroup), event[event.lastgroup or 0]
        if kind in wanted:
            frame = len(found.values)
            if kind == "tensor":
                if found.unsolved:
                    raise InputError(
                        f"{path}: frame {frame}: the linear solver did not converge; recompute it with a larger MAX_ITER"
                    )
                found.values.append(_tensor(path, frame, block))
            else:
                found.values.append((_moment if kind == "moment" else _model)(path, frame, block))
            found.waiting.append(frame)
            found.steps.append(None)
        elif kind == "matrix":
            # the cell seldom changes, and to read it again takes most of the time
            if block != matrix:
                cell, matrix = _matrix(path, len(found.values), block), block
            found.cells.append(cell)
        elif kind == "kind":
            found.fractional |= b"Berry" in block
        elif kind == "unsolved":
            found.unsolved = True
        elif kind == "unconverged":
            found.unconverged += 1
        elif kind == "every":
            found.every = _printed_every(path, block)
        elif kind == "start":
            found.initial = _only(path, found, "the start of a run")
        elif kind == "step":
            _take_step(path, found, block)
        if kind == "tensor":
            found.unsolved = False
    _check_marks(path, name, text, len(found.values))
    return _finished(path, name, found)


def _only(path: str | Path, found: _Print, where: str) -> int | None:
    """The one frame that waits for its step, if any."""
    if len(found.waiting) > 1:
        raise InputError(f"{path}: {len(found.waiting)} values before {where}; print one per step (no second reference point)")
    return found.waiting.pop() if found.waiting else None


def _take_step(path: str | Path, found: _Print, block: bytes) -> None:
    matched = _STEP.match(block)
    if matched is None:
        raise InputError(f"{path}: after frame {len(found.values) - 1}: no step number in {_shown(block)}; damaged")
    step = int(matched[1])
    if step > 2**53:
        raise InputError(f"{path}: step {step} after frame {len(found.values) - 1} cannot be; damaged")
    if matched[2] is None:
        raise InputError(f"{path}: step {step} has no time on the line after it (a variable time step, or damaged)")
    found.clock.append((step, float(matched[2])))
    if found.initial is not None:
        # the values of the start belong to the step before the first one that is printed
        found.steps[found.initial], found.initial = step - found.every, None
    frame = _only(path, found, f"step {step}")
    if frame is not None:
        found.steps[frame] = step


def _finished(path: str | Path, name: str, found: _Print) -> RawSeries:
    notes = []
    values = np.array(found.values, dtype=np.float64)
    steps: NDArray[np.int64] | None = None
    cells = np.array(found.cells) if found.cells and len(found.cells) == len(values) else None
    if found.cells and cells is None and name == "dipole":
        raise InputError(f"{path}: {len(values)} dipoles and {len(found.cells)} cell matrices; the file is damaged")
    if found.clock:
        known = [frame for frame, step in enumerate(found.steps) if step is not None]
        lost = [frame for frame, step in enumerate(found.steps) if step is None]
        if any(frame < len(values) - 1 for frame in lost):
            raise InputError(f"{path}: frame {lost[0]} has no step number; keep one molecular dynamics run per file")
        if lost:
            notes.append(f"{Path(path).name}: the last value has no step number and was left out; the run was cut off")
        values = values[known]
        cells = None if cells is None else cells[known]
        steps = np.array([found.steps[frame] for frame in known], dtype=np.int64)
    else:
        notes += _without_steps(path, values)
    if found.unconverged:
        notes.append(f"{Path(path).name}: {found.unconverged} SCF run(s) did not converge; their values are doubtful")
    if found.fractional and name == "dipole":
        notes.append(
            f"{Path(path).name}: a Berry phase of fractional charges jumps when an atom crosses the cell,"
            " and not by whole quanta; print it with PERIODIC F"
        )
    step_time, error = None, 0.0
    if len({step for step, _ in found.clock}) > 1:
        printed, times = np.array(found.clock).T
        # times are printed with six decimals
        step_time, error = time_per_step(path, times, printed.astype(np.int64), 5e-7)
    return RawSeries(
        values,
        "CP2K",
        unit="debye" if name == "dipole" else "bohr^3",
        step_time=step_time,
        step_time_error=error,
        steps=steps,
        cell=None if cells is None else cells[0] if (cells == cells[0]).all() else cells,
        folded=cells is not None,
        components=None if name == "dipole" else COMPONENTS,
        notes=tuple(notes),
    )


def _without_steps(path: str | Path, values: NDArray[np.float64]) -> list[str]:
    """Refuse a frame equal to the one before (a restart repeats a step), note one that hardly differs."""
    if len(values) < 2:
        return []
    changes = np.linalg.norm(np.diff(values, axis=0), axis=1)
    if (changes == 0.0).any():
        frame = int(np.argmax(changes == 0.0)) + 1
        raise InputError(
            f"{path}: frame {frame} is equal to frame {frame - 1}: a restart repeated this step; remove one of them"
        )
    notes = [f"{Path(path).name}: has no step numbers; that frames are evenly spaced is taken on trust"]
    close = np.flatnonzero(changes < 1e-3 * np.median(changes)) + 1
    if len(close):
        notes.append(
            f"{Path(path).name}: frame {int(close[0])} hardly differs from the one before: if the run was restarted"
            " there, the step is in the file twice and one must go"
        )
    return notes


def _check_marks(path: str | Path, name: str, text: mmap.mmap, frames: int) -> None:
    """Every print has a second mark: where the numbers differ, one of them is damaged and a frame would be lost."""
    if name == "dipole":
        points, of_models, types, derivatives, debyes = (
            len(re.findall(mark, text))
            for mark in (
                rb"Reference Point \[Boh",
                rb"_DIPOLE\| Reference Point",
                rb"_DIPOLE\| Dipole type",
                rb"DERIVATIVE\(A\.U\.\)\|",
                rb"Dipole moment \[Debye\]|_DIPOLE\| Moment \[Debye\]|\]\(Debye\)\|",
            )
        )
        counted = max(points - of_models + types + derivatives, debyes)
        what, remedy = "prints", "DFT/PRINT/MOMENTS"
    else:
        counted, odd = divmod(len(re.findall(rb"xx,yy,zz", text)), 2)
        counted += odd
        what, remedy = "tensors", "PROPERTIES/LINRES/POLAR"
    if frames == 0 and counted == 0:
        raise InputError(f"{path}: CP2K printed no {name} here; switch {remedy} on, or give the file it writes to")
    if frames != counted:
        raise InputError(
            f"{path}: {frames} complete values but {counted} {what}: a frame is damaged or cut off near frame {frames}; remove it"
        )


def _moment(path: str | Path, frame: int, block: bytes) -> tuple[float, ...]:
    matched = _MOMENT.fullmatch(block)
    if matched is None:
        raise _unreadable(path, frame, block)
    x, y, z, total = map(float, matched.groups())
    # printed with at least seven digits, or eight decimals
    if not abs((x * x + y * y + z * z) ** 0.5 - total) <= 1e-6 * abs(total) + 2e-7:
        raise InputError(f"{path}: frame {frame}: the components do not give the printed total {total:g}; damaged: remove it")
    return x, y, z


def _model(path: str | Path, frame: int, block: bytes) -> tuple[float, ...]:
    lines = block.removesuffix(b"\n").split(b"\n")
    heads = [pattern.match(line) for pattern, line in zip((_ATOMIC, _DEBYE), lines, strict=False)]
    if len(heads) != 2 or not heads[0] or not heads[1] or not block.endswith(b"\n"):
        raise _unreadable(path, frame, block)
    atomic = _decimals(path, frame, lines[0][heads[0].end() :])
    debye = _decimals(path, frame, lines[1][heads[1].end() :])
    _agree(path, frame, atomic, debye, ANGSTROM_PER_BOHR / E_ANGSTROM_PER_DEBYE, 3e-6 if b"(Debye)" in lines[1] else 3e-8)
    return debye


def _tensor(path: str | Path, frame: int, block: bytes) -> tuple[float, ...]:
    lines = [line for line in block.split(b"\n") if re.search(rb"xx,yy,zz|xy,xz,yz|yx,zx,zy", line)]
    if len(lines) != 6 or not block.endswith(b"\n"):
        raise _unreadable(path, frame, block)
    rows = [_decimals(path, frame, re.split(rb"xx,yy,zz|xy,xz,yz|yx,zx,zy", line)[1]) for line in lines]
    atomic = tuple(number for row in rows[:3] for number in row)
    angstrom = tuple(number for row in rows[3:] for number in row)
    _agree(path, frame, atomic, angstrom, ANGSTROM3_PER_BOHR3, 1e-5 if b"atomic units" in block else 1e-11)
    if not sum(atomic[:3]) > 0:
        raise InputError(
            f"{path}: frame {frame}: the polarizability has the trace {sum(atomic[:3]):g}; it must be positive: recompute it"
        )
    return atomic


def _agree(
    path: str | Path, frame: int, first: tuple[float, ...], second: tuple[float, ...], factor: float, rounding: float
) -> None:
    """The same numbers in two units, as both are printed: a damaged digit shows."""
    size = max(map(abs, second))
    if any(not abs(one * factor - other) <= rounding + 1e-6 * size for one, other in zip(first, second, strict=True)):
        raise InputError(f"{path}: frame {frame}: its values in two units contradict each other; damaged: remove it")


def _decimals(path: str | Path, frame: int, words: bytes) -> tuple[float, ...]:
    parts = words.split()
    if len(parts) != 3 or not all(re.fullmatch(rb"[-+]?\d*\.\d+", part) for part in parts):
        raise _unreadable(path, frame, words)
    return tuple(map(float, parts))


def _matrix(path: str | Path, frame: int, block: bytes) -> NDArray[np.float64]:
    """Cell (Å), rows are lattice vectors; CP2K prints its matrix with lattice vectors as columns, times e in Debye."""
    lines = block.removesuffix(b"\n").split(b"\n")
    pattern = re.compile(rb" *\[[XYZ]\][ =]\[ *(\S+) +(\S+) +(\S+) +\][ *]\[[ijk]\] *\r?")
    found = [pattern.fullmatch(line) for line in lines]
    words = [word for each in found if each for word in each.groups()]
    if len(words) != 9 or not all(re.fullmatch(rb"[-+]?\d*\.\d+", word) for word in words):
        raise _unreadable(path, frame, block)
    return np.reshape([float(word) for word in words], (3, 3)).T * E_ANGSTROM_PER_DEBYE


def _printed_every(path: str | Path, block: bytes) -> int:
    every = re.search(rb"every +(\d{1,9}) step", block)
    if every is None or int(every[1]) < 1:
        raise InputError(f"{path}: {_shown(block)} has no number of steps; damaged")
    return int(every[1])


def _total_dipole(path: str | Path, text: mmap.mmap) -> RawSeries:
    if text[-1:] != b"\n":
        raise InputError(f"{path}: the last line has no end; the file is cut off: remove this line or end it")
    steps: list[int] = []
    values: list[tuple[float, ...]] = []
    widths: set[int] = set()
    for line in text[:].split(b"\n")[:-1]:
        if line.lstrip().startswith(b"#") or not line.strip():
            continue
        matched = _TOTAL_DIPOLE.fullmatch(line)
        if matched is None or int(matched[1]) > 2**53:
            raise _unreadable(path, len(values), line)
        numbers = tuple(map(float, matched[2].split()))
        widths.add(len(numbers))
        if len(widths) > 1:
            raise _unreadable(path, len(values), line)
        _agree(path, len(values), numbers[:3], numbers[3:6], ANGSTROM_PER_BOHR / E_ANGSTROM_PER_DEBYE, 0.0)
        steps.append(int(matched[1]))
        values.append(numbers[3:6])
    if not values:
        raise InputError(f"{path}: a header without rows; CP2K printed no dipole here")
    note = f"{Path(path).name}: CP2K folds this dipole into the cell unless it was printed with PERIODIC F"
    return RawSeries(np.array(values), "CP2K", unit="debye", steps=np.array(steps, dtype=np.int64), notes=(note,))


def _unreadable(path: str | Path, frame: int, block: bytes) -> InputError:
    reason = "a number did not fit its column" if b"**" in block else "not readable"
    return InputError(f"{path}: frame {frame}: {reason} ({_shown(block)}); damaged or cut off: remove or recompute it")


def _shown(block: bytes) -> str:
    lines = [line for line in block.decode("utf-8", errors="replace").splitlines() if line.strip()]
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join((lines or [""])[-1].split()))
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
