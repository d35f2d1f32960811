"""Text dumps of LAMMPS: ``dump custom``, atoms in any order.

Source of the format: LAMMPS, src/dump_custom.cpp and doc/src/dump.rst (``ITEM: UNITS`` and ``ITEM: TIME`` by dump_modify;
bounds of a triclinic box are those of its bounding box, doc/src/Howto_triclinic.rst; scaled coordinates count edges of the box
from its lower corner).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.cells import cells_of
from vibraloom.files.elements import masses_of
from vibraloom.files.frames import Frames, RawFrames, single_precision
from vibraloom.files.raw_series import time_per_step
from vibraloom.files.row_loops import IDENTIFIER, LABEL, SKIPPED
from vibraloom.files.text_frames import unpack

_STYLES = {"real": ("angstrom/fs", 1.0), "metal": ("angstrom/ps", 1e3)}
"""Unit style → unit of velocities, fs per unit of time; lengths are in Å."""
_LONGEST_HEADER = 1 << 16
_POSITIONS = ("xu", "xsu", "x", "xs")
"""First column of each kind of coordinates: unwrapped, those scaled by the box, folded into the box, those scaled."""
_FIXED = ("type", "element", "mass")
_ITEMS = ("UNITS", "TIME", "TIMESTEP", "NUMBER OF ATOMS", "BOX BOUNDS", "ATOMS")


class _Dump:
    """Frames of a dump."""

    def __init__(self, path: str | Path, wanted: str) -> None:
        self._path, self._wanted = path, wanted
        self.atoms = 0
        self.roles: list[int] = []
        self.name = ""
        self.columns: list[str] = []
        self.style: str | None = None
        self.steps: list[int] = []
        self.times: list[float] = []
        self.digits = 0
        self.boxes: list[NDArray[np.float64] | None] = []
        self.first = ""
        self._step = 0
        self._time: float | None = None
        self._lattice: NDArray[np.float64] | None = None
        self._box = ""

    def header(self, text: bytearray, at: int, size: int, frame: int) -> int | None:
        self.name = f"frame {frame}"
        mark = text.find(b"ITEM: ATOMS", at, min(size, at + _LONGEST_HEADER))
        end = text.find(b"\n", mark, size) + 1 if mark >= 0 else 0
        if end <= 0:
            if size - at >= _LONGEST_HEADER:
                raise InputError(f"{self._path}: {self.name} has no 'ITEM: ATOMS'; not a LAMMPS text dump, or damaged")
            return None
        lines = bytes(text[at : end - 1]).decode("utf-8", errors="replace").replace("\r", "").split("\n")
        items = self._items(lines)
        self._step = self._whole(items["TIMESTEP"], "TIMESTEP")
        self.name = f"frame {frame}, step {self._step}"
        atoms = self._whole(items["NUMBER OF ATOMS"], "NUMBER OF ATOMS")
        columns = lines[-1].split()[2:]
        if not frame:
            if not 0 < atoms < 10**9:
                raise InputError(f"{self._path}: {self.name} has {atoms} atoms; dump a group that is not empty")
            self.atoms, self.columns = atoms, columns
            self._describe()
        elif atoms != self.atoms:
            raise InputError(f"{self._path}: {self.name} has {atoms} atoms, frame 0 has {self.atoms}; dump a fixed group")
        elif columns != self.columns:
            raise InputError(
                f"{self._path}: {self.name} has columns {' '.join(columns)[:60]!r}, not those of frame 0; one dump per file"
            )
        if "UNITS" in items:
            style = items["UNITS"][0].strip() if items["UNITS"] else ""
            if self.style is not None and style != self.style:
                raise InputError(f"{self._path}: {self.name} has units {style!r} after {self.style!r}; one run per file")
            self.style = style
        self._time = self._decimal(items["TIME"][0], items["TIME"][0]) if items.get("TIME") else None
        self._take_box(items["BOX BOUNDS"])
        return end

    def keep(self) -> None:
        self.steps.append(self._step)
        self.boxes.append(self._lattice)
        if self._time is not None:
            self.times.append(self._time)

    def factors(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        return np.ones(len(rows))

    def column(self, name: str, rows: Sequence[Sequence[str]]) -> list[str]:
        """Words of a column in the first frame."""
        return [words[self.columns.index(name)] for words in rows]

    def _items(self, lines: list[str]) -> dict[str, list[str]]:
        items: dict[str, list[str]] = {}
        for line in lines:
            if line.startswith("ITEM: "):
                title = line[6:]
                name = next((name for name in sorted(_ITEMS, key=len, reverse=True) if title.startswith(name)), None)
                if name is None or name in items:
                    raise InputError(f"{self._path}: {self.name} has an item {title[:40]!r} out of place; damaged")
                items[name] = [title] if name == "BOX BOUNDS" else []
                held = items[name]
            elif items:
                held.append(line)
            elif line.strip():
                raise InputError(
                    f"{self._path}: {self.name} begins with {line.strip()[:40]!r}, not with 'ITEM: TIMESTEP'; not a LAMMPS"
                    " text dump, or damaged"
                )
        for name, count in (("TIMESTEP", 1), ("NUMBER OF ATOMS", 1), ("BOX BOUNDS", 4), ("UNITS", 1), ("TIME", 1)):
            if len(items.get(name, [])) != count and (name in items or name not in ("UNITS", "TIME")):
                raise InputError(
                    f"{self._path}: {self.name} lacks 'ITEM: {name}' or a line of it; not a LAMMPS text dump, or damaged"
                )
        return items

    def _describe(self) -> None:
        kinds = ("vx",) if self._wanted == "velocity" else _POSITIONS
        self.first = next((name for name in kinds if name in self.columns), kinds[0])
        found = [axis + self.first[1:] for axis in "xyz"] if self._wanted == "position" else ["vx", "vy", "vz"]
        missing = [name for name in found if self.columns.count(name) != 1]
        if missing:
            raise InputError(
                f"{self._path}: {self.name} has no column {', '.join(missing)} (found: {' '.join(self.columns)});"
                f" dump id element {' '.join(found)}"
            )
        if "id" not in self.columns:
            raise InputError(
                f"{self._path}: {self.name} has no column id, without which atoms of one frame and the next cannot be told"
                f" apart; dump id element {' '.join(found)}"
            )
        roles = {name: component for component, name in enumerate(found)}
        roles |= {name: LABEL for name in _FIXED} | {"id": IDENTIFIER}
        self.roles = [roles.get(name, SKIPPED) for name in self.columns]
        if len(set(self.columns)) < len(self.columns):
            raise InputError(f"{self._path}: {self.name} names a column twice; damaged")

    def _take_box(self, lines: list[str]) -> None:
        """Cell and corner from the bounds; they are read again only where their text changes."""
        box = "\n".join(lines)
        if box == self._box:
            return
        self._box = box
        values = [[self._decimal(word, line) for word in line.split()] for line in lines[1:]]
        title = lines[0].split()
        widths = {len(row) for row in values}
        if "abc" in title and widths == {4}:
            rows = np.array(values)
            cell, corner = rows[:, :3], rows[:, 3]
        elif "xy" in title and widths == {3}:
            (xlo, xhi, xy), (ylo, yhi, xz), (zlo, zhi, yz) = values
            xlo, xhi = xlo - min(0.0, xy, xz, xy + xz), xhi - max(0.0, xy, xz, xy + xz)
            ylo, yhi = ylo - min(0.0, yz), yhi - max(0.0, yz)
            cell, corner = np.array([[xhi - xlo, 0.0, 0.0], [xy, yhi - ylo, 0.0], [xz, yz, zhi - zlo]]), np.array([xlo, ylo, zlo])
        elif widths == {2}:
            rows = np.array(values)
            cell, corner = np.diag(rows[:, 1] - rows[:, 0]), rows[:, 0]
        else:
            raise InputError(f"{self._path}: {self.name} has damaged box bounds; recompute this frame")
        if not (np.linalg.det(cell) > 0 if "abc" in title else (np.diag(cell) > 0).all()):
            raise InputError(f"{self._path}: {self.name} has a box without volume; recompute this frame")
        self._lattice = np.vstack([cell, corner])

    def _decimal(self, word: str, line: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not abs(value) < 1e100:
            raise InputError(f"{self._path}: {self.name} has {line.strip()[:40]!r} in its header; recompute this frame")
        return value

    def _whole(self, lines: list[str], item: str) -> int:
        word = lines[0].strip()
        if not word.removeprefix("-").isdigit() or len(word) > 18:
            raise InputError(f"{self._path}: {self.name} has {item} {word[:40]!r}, no whole number; damaged")
        return int(word)


class _BoxFrames(Frames):
    """Positions that count the edges of a box from its corner; boxes with shape (4, 3) or (F, 4, 3), the corner last."""

    def __init__(self, frames: Frames, boxes: NDArray[np.float64]) -> None:
        self._frames, self._boxes = frames, boxes
        self.shape = frames.shape

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        boxes = self._boxes if self._boxes.ndim == 2 else self._boxes[start:stop]
        rows = self._frames.read(start, stop, atoms).astype(np.float64)
        return single_precision(rows @ boxes[..., :3, :] + boxes[..., 3:, :])


def read_lammps_dump(path: str | Path, wanted: str, elements: Sequence[str] | None) -> RawFrames:
    """Read ``wanted`` (``velocity`` or ``position``) from a text dump, atoms in the order of their ids.

    Args:
        path: the dump.
        wanted: ``velocity`` or ``position``.
        elements: symbol of type 1, 2, …; needed where the dump names neither element nor mass.

    Raises:
        InputError: a damaged frame, other atoms or columns than in the first, or none of what is wanted.
    """
    form = _Dump(path, wanted)
    found = unpack(path, form)
    if form.style is not None and form.style not in _STYLES:
        raise InputError(f"{path}: LAMMPS units {form.style!r} are not read; allowed: {', '.join(_STYLES)}")
    unit, femtoseconds = (None, None) if form.style is None else _STYLES[form.style]
    masses, species = _atoms(path, form, found.first, elements)
    steps = np.array(form.steps, dtype=np.int64)
    step_time, error, interval = None, 0.0, None
    if form.times and len(form.times) == len(steps) and (steps != steps[0]).any():
        times = np.array(form.times)
        # printed with six significant digits (%g)
        rounding = 5.1e-6 * float(np.abs(times).max())
        slope, error = time_per_step(path, times, steps, rounding)
        if femtoseconds is None:
            interval = slope * float(np.median(np.diff(steps)))
        else:
            step_time, error = slope * femtoseconds, error * femtoseconds
    notes = list(found.frames.notes)
    if form.first in ("x", "xs"):
        notes.append(
            f"positions are folded into the cell, as the dump has them ({' '.join(axis + form.first[1:] for axis in 'xyz')});"
            " dump xu yu zu to have them unwrapped"
        )
    boxes = cells_of(form.boxes)
    assert boxes is not None  # every frame has bounds
    frames: Frames = found.frames
    if form.first in ("xs", "xsu"):
        frames = _BoxFrames(frames, boxes)
    return RawFrames(
        frames,
        species=species,
        masses=masses,
        unit="angstrom" if wanted == "position" and unit is not None else unit,
        steps=steps,
        step_time=step_time,
        step_time_error=error,
        interval=interval,
        interval_units=(1.0, 1e3),
        cell=boxes[..., :3, :],
        cell_like_positions=True,
        inferable=wanted == "velocity",
        unit_hint="LAMMPS units real and metal have angstrom",
        notes=tuple(notes),
    )


def _atoms(
    path: str | Path, form: _Dump, rows: Sequence[Sequence[str]], elements: Sequence[str] | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Masses and species from ``elements``, or the columns of the first frame."""
    if elements is not None:
        if "type" not in form.columns:
            raise InputError(f"{path}: --elements needs the column 'type', which this dump lacks")
        words = form.column("type", rows)
        types = [int(word) if word.isdigit() and len(word) < 9 else 0 for word in words]
        if min(types) < 1 or max(types) > len(elements):
            wrong = words[next(row for row, number in enumerate(types) if not 1 <= number <= len(elements))]
            raise InputError(f"{path}: atom type {wrong} in the dump, {len(elements)} symbol(s) in --elements")
        symbols = [elements[number - 1] for number in types]
    elif "element" in form.columns:
        symbols = form.column("element", rows)
    elif "mass" in form.columns:
        names = form.column("type", rows) if "type" in form.columns else ["all"] * len(rows)
        symbols = [f"type {name}" for name in names]
    else:
        raise InputError(f"{path}: names neither element nor mass; give the symbols of type 1, 2, …, e.g. --elements O,H")
    if "mass" not in form.columns:
        return masses_of(path, symbols), tuple(symbols)
    try:
        masses = np.array([float(word) for word in form.column("mass", rows)])
    except ValueError as error:
        raise InputError(f"{path}: column mass holds what is no number; damaged") from error
    if not np.isfinite(masses).all() or (masses < 0).any():
        raise InputError(f"{path}: column mass holds what is no mass; damaged")
    return masses, tuple(symbols)
