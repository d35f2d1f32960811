"""XYZ trajectories: extended XYZ, and the plain ones of CP2K, i-PI and others.

Sources of the formats: extended XYZ, https://github.com/libAtoms/extxyz (``Properties=species:S:1:pos:R:3:…``,
``Lattice="…"`` with the lattice vectors one after the other); ASE, ase/io/extxyz.py (column ``momenta``); CP2K,
src/motion_utils.F and src/particle_methods.F (title `` i = 10, time = 5.000, E = -17.1``, time in fs with three decimals);
i-PI, see :mod:`.ipi_titles`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.cells import cells_of
from vibraloom.files.elements import SYMBOLS, masses_of
from vibraloom.files.frames import RawFrames
from vibraloom.files.ipi_titles import IpiTitle, is_ipi, read_ipi_title
from vibraloom.files.raw_series import time_per_step
from vibraloom.files.row_loops import LABEL, SKIPPED
from vibraloom.files.text_frames import unpack
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV

VELOCITY_COLUMNS = ("velocities", "velocity", "velo", "vel")
"""Names of a column of velocities; ``momenta`` is read too, in ASE's unit."""
_POSITION_COLUMNS = ("pos", "positions")
_LONGEST_LINE = 1 << 20
_PROPERTIES = re.compile(r'(?:^|\s)properties=(?:"([^"]*)"|(\S+))', re.IGNORECASE)
_LATTICE = re.compile(r'(?:^|\s)lattice=(?:"([^"]*)"|\{([^}]*)\}|\[([^\]]*)\])', re.IGNORECASE)
_STEP = re.compile(r"(?:^|\s)step=(-?\d{1,18})(?=\s|$)", re.IGNORECASE)
_TIME = re.compile(r"(?:^|\s)time=([-+0-9.eE]+)(?=\s|$)", re.IGNORECASE)
_CP2K = re.compile(r"\s*i =\s*(\d{1,18}), time =\s*(-?\d+\.\d+), E =")
_CP2K_ROUNDING = 5.0000001e-4
_ANY_UNIT = (1.0, 1e3, 1e-3)


class _Xyz:
    """Frames of an XYZ file."""

    def __init__(self, path: str | Path, wanted: str) -> None:
        self._path, self._wanted = path, wanted
        self.atoms = 0
        self.roles: list[int] = []
        self.name = ""
        self.column = ""
        self.cp2k = False
        self.ipi: IpiTitle | None = None
        self.steps: list[int] = []
        self.times: list[float] = []
        self.cells: list[NDArray[np.float64] | None] = []
        self._columns: list[str] = []
        self._listing: list[str] | None = None
        self._title = ""
        self._step: int | None = None
        self._time: float | None = None
        self._cell: NDArray[np.float64] | None = None

    def header(self, text: bytearray, at: int, size: int, frame: int) -> int | None:
        self.name = f"frame {frame}"
        count_end = text.find(b"\n", at, min(size, at + _LONGEST_LINE))
        title_end = text.find(b"\n", count_end + 1, min(size, count_end + 1 + _LONGEST_LINE)) if count_end >= 0 else -1
        if title_end < 0:
            if size - at > 2 * _LONGEST_LINE:
                raise InputError(f"{self._path}: {self.name} has no line ends; not XYZ, or damaged")
            return None
        word = bytes(text[at:count_end]).strip()
        if not word.isdigit() or len(word) > 9 or int(word) < 1:
            raise InputError(
                f"{self._path}: {self.name} begins with {_shown(word)}, not with its number of atoms; not XYZ, or damaged"
            )
        if frame and int(word) != self.atoms:
            raise InputError(
                f"{self._path}: {self.name} has {int(word)} atoms, frame 0 has {self.atoms}; keep one system per file"
            )
        title = bytes(text[count_end + 1 : title_end]).decode("utf-8", errors="replace")
        if not frame:
            self.atoms = int(word)
            row_end = text.find(b"\n", title_end + 1, size)
            if row_end < 0:
                return None
            self._describe(title, bytes(text[title_end + 1 : row_end]).decode("utf-8", errors="replace"))
        if title != self._title or not frame:
            self._read_title(title, frame)
        return title_end + 1

    @property
    def listed(self) -> bool:
        """Whether the title lists the columns: extended XYZ."""
        return self._listing is not None

    def keep(self) -> None:
        if self._step is not None:
            self.steps.append(self._step)
        if self._time is not None:
            self.times.append(self._time)
        self.cells.append(self._cell)

    def factors(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        if self.column != "momenta":
            return np.ones(len(rows))
        # ASE's unit of momentum is (amu eV)^1/2: over the mass, (eV/amu)^1/2
        masses = self.masses(rows)
        if not (masses > 0).all():
            raise InputError(f"{self._path}: an atom with momentum has mass 0; write velocities in place of momenta")
        return 1.0 / (masses * AMU_ANGSTROM2_PER_FS2_IN_EV**0.5)

    def species(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """Symbol of each atom, from the first frame."""
        if "species" in self._columns:
            return [words[self._columns.index("species")] for words in rows]
        column = self._columns.index("Z")
        try:
            return [SYMBOLS[int(words[column])] for words in rows]
        except (ValueError, IndexError) as error:
            raise InputError(f"{self._path}: column Z holds what is no atomic number; damaged") from error

    def masses(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Masses (amu) of the first frame: its column, or those of the elements."""
        column = next((name for name in ("masses", "mass") if name in self._columns), None)
        if column is None:
            return masses_of(self._path, self.species(rows))
        try:
            found = np.array([float(words[self._columns.index(column)]) for words in rows])
        except ValueError as error:
            raise InputError(f"{self._path}: column {column} holds what is no number; damaged") from error
        if not np.isfinite(found).all() or (found < 0).any():
            raise InputError(f"{self._path}: column {column} holds what is no mass in amu; damaged")
        return found

    def _describe(self, title: str, row: str) -> None:
        """Columns, from the title or the first row of the first frame."""
        self.cp2k = _CP2K.match(title) is not None
        self._listing = self._listed(title)
        if is_ipi(title):
            self.ipi = read_ipi_title(f"{self._path}: {self.name}", title)
            self._columns = ["species", *["pos" if self.ipi.kind == "position" else "vel"] * 3]
        elif self._listing is not None:
            self._columns = self._listing
        else:
            width = len(row.split())
            if width not in (4, 7) or (self.cp2k and width != 4):
                raise InputError(
                    f"{self._path}: {width} columns without 'Properties=' in the title; allowed: symbol and 3 or 6 numbers"
                )
            first = "pos" if width == 7 or self._wanted == "position" else "vel"
            self._columns = ["species", *[first] * 3, *["vel"] * (width - 4)]
        known = _POSITION_COLUMNS if self._wanted == "position" else ("momenta", *VELOCITY_COLUMNS)
        if self.ipi is not None and self.ipi.kind != self._wanted:
            raise InputError(f"{self._path}: holds {self.ipi.quantity} by its title; give the file that was meant")
        self.column = next((name for name in known if name in self._columns), "")
        if not self.column or self._columns.count(self.column) != 3:
            plural = "positions" if self._wanted == "position" else "velocities"
            raise InputError(f"{self._path}: frame 0 has no {plural} (columns of three allowed: {', '.join(known)})")
        if "species" not in self._columns and "Z" not in self._columns:
            raise InputError(f"{self._path}: frame 0 has no column 'species'; write the elements with the frames")
        component = iter(range(3))
        fixed = ("species", "Z", "masses", "mass")
        self.roles = [
            next(component) if name == self.column else LABEL if name in fixed else SKIPPED for name in self._columns
        ]

    def _listed(self, title: str) -> list[str] | None:
        """Name of each column, as the title has them."""
        found = _PROPERTIES.search(title)
        if found is None:
            return None
        properties = found.group(1) or found.group(2) or ""
        words = properties.split(":")
        names: list[str] = []
        for name, kind, count in zip(words[::3], words[1::3], words[2::3], strict=False):
            if kind not in ("S", "R", "I", "L") or not count.isdigit() or not 0 < int(count) < 1000:
                raise InputError(f"{self._path}: Properties={properties[:60]!r} is damaged; allowed: name:type:columns, …")
            names += [name] * int(count)
        if len(words) % 3:
            raise InputError(f"{self._path}: Properties={properties[:60]!r} is cut off; allowed: name:type:columns, …")
        return names

    def _read_title(self, title: str, frame: int) -> None:
        """Step, time and cell of a frame; columns must be those of the first."""
        if self.ipi is not None or is_ipi(title):
            return self._read_ipi(title)
        cp2k = _CP2K.match(title)
        step = cp2k or _STEP.search(title)
        time = _TIME.search(title) if cp2k is None else None
        step_before, time_before = self._step is not None, self._time is not None
        if frame and (
            self._listed(title) != self._listing
            or (cp2k is not None) != self.cp2k
            or (step is not None) != step_before
            or (time is not None or cp2k is not None) != time_before
        ):
            raise InputError(
                f"{self._path}: {self.name} has another title than frame 0 ({_shown(title.encode())}); keep one run per file"
            )
        self._title = title
        self._step = int(step.group(1)) if step is not None else None
        self._time = float(cp2k.group(2)) if cp2k is not None else self._number(time.group(1)) if time is not None else None
        lattice = _LATTICE.search(title)
        if lattice is None:
            self._cell = None
            return
        words = (lattice.group(1) or lattice.group(2) or lattice.group(3) or "").replace(",", " ").split()
        values = np.array([self._number(word) for word in words])
        if len(values) not in (3, 9):
            raise InputError(f"{self._path}: {self.name} has a Lattice of {len(values)} numbers; nine are needed")
        self._cell = values.reshape(3, 3) if len(values) == 9 else np.diag(values)

    def _read_ipi(self, title: str) -> None:
        found = read_ipi_title(f"{self._path}: {self.name}", title)
        first = self.ipi
        if first is None or (found.quantity, found.unit, found.bead) != (first.quantity, first.unit, first.bead):
            raise InputError(
                f"{self._path}: {self.name} has another title than frame 0 ({_shown(title.encode())}); keep one bead of one run"
                " per file"
            )
        self._title, self._step, self._cell = title, found.step, found.cell

    def _number(self, word: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not abs(value) < 1e100:
            raise InputError(f"{self._path}: {self.name} has {_shown(word.encode())} in its title; recompute this frame")
        return value


def read_xyz(path: str | Path, wanted: str, unit: str | None) -> RawFrames:
    """Read ``wanted`` (``velocity`` or ``position``) from extended XYZ, or from plain XYZ, as CP2K and i-PI write it.

    Args:
        path: the file.
        wanted: ``velocity`` or ``position``.
        unit: the unit that the user names, or None; it says of a file with four columns that they are velocities.

    Raises:
        InputError: a damaged frame, other atoms or columns than in the first, or none of what is wanted.
    """
    form = _Xyz(path, wanted)
    found = unpack(path, form)
    hint = ""
    own = form.listed or form.ipi is not None
    if wanted == "velocity" and not own and len(form.roles) == 4:
        name = Path(path).name.lower()
        if "-pos" in name or (unit is None and not form.cp2k):
            raise InputError(
                f"{path}: three numbers per atom, which may be positions; if they are velocities, say so with their unit, "
                "--velocity-unit"
            )
        hint = "CP2K writes bohr/au_time unless its input sets UNIT"
    if wanted == "position" and not own:
        hint = "CP2K and most other programs write angstrom unless told otherwise"
    rows = found.first
    steps = np.array(form.steps, dtype=np.int64) if len(form.steps) == len(form.cells) else None
    times = np.array(form.times) if len(form.times) == len(form.cells) else None
    step_time, error, interval = None, 0.0, None
    if form.cp2k and steps is not None and times is not None and (steps != steps[0]).any():
        step_time, error = time_per_step(path, times, steps, _CP2K_ROUNDING)
    elif times is not None and len(times) > 1 and not form.cp2k:
        interval = _even(path, times)
    own_unit = "angstrom/fs" if form.column == "momenta" else "angstrom" if wanted == "position" and not hint else None
    notes = found.frames.notes
    if form.ipi is not None:
        own_unit, notes = form.ipi.unit, (*notes, f"{form.ipi.quantity} of bead {form.ipi.bead} by i-PI")
    return RawFrames(
        found.frames,
        species=tuple(form.species(rows)),
        masses=form.masses(rows),
        unit=own_unit,
        steps=steps,
        step_time=step_time,
        step_time_error=error,
        interval=interval,
        interval_units=_ANY_UNIT,
        cell=cells_of(form.cells),
        inferable=wanted == "velocity" and not form.cp2k,
        unit_hint=hint,
        bead=None if form.ipi is None else form.ipi.bead,
        notes=notes,
    )


def _even(path: str | Path, times: NDArray[np.float64]) -> float | None:
    """Time between frames in the file's unit, if frames are evenly spaced in time.

    Raises:
        InputError: the time runs back or jumps.
    """
    gaps = np.diff(times)
    usual = float(np.median(gaps))
    if not (gaps != 0).any():
        return None
    # times are rounded in print: a step that is lost or repeated is off by a whole interval
    off = np.abs(gaps - usual) > 0.4 * abs(usual)
    if off.any() or usual <= 0:
        frame = int(np.argmax(off)) + 1
        raise InputError(
            f"{path}: frame {frame} is at time {times[frame]:g} after {times[frame - 1]:g}, not {usual:g} later;"
            " join segments by their steps first"
        )
    return float((times[-1] - times[0]) / (len(times) - 1))


def _shown(word: bytes) -> str:
    text = word.decode("utf-8", errors="replace")[:40]
    return repr("".join(letter if letter.isprintable() else "?" for letter in text))
