"""Velocities with masses and species, as others leave them: H5MD, extended XYZ, LAMMPS dumps, NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError, MissingError
from vibraloom.files.series import agreed_interval, finite, given_timestep, own_trajectory, read_array
from vibraloom.files.trajectory import frame_interval
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

UNITS = {"angstrom/fs": 1.0, "angstrom/ps": 1e-3}
"""Velocity units by name, and their factor to Å/fs."""
_LAMMPS_UNITS = {"real": "angstrom/fs", "metal": "angstrom/ps"}
_XYZ_COLUMNS = ("velocities", "velocity", "velo", "vel")
_HOTTEST = 3e4
"""Kinetic temperature (K) above which velocities read as Å/fs must be Å/ps (1e6 times colder)."""
_FORMATS = ".h5, .extxyz, .xyz, .lammpstrj, .dump, .npz (entries velocities, masses and optionally species)"


@dataclass(frozen=True)
class Velocities:
    """Velocities of one trajectory.

    Attributes:
        velocities: (Å/fs) Array with shape (F, A, 3).
        masses: (amu) Array with shape (A,).
        species: chemical symbol of each atom.
        timestep: (fs) time between frames.
        notes: what was inferred on reading.
    """

    velocities: NDArray[Any]
    masses: NDArray[np.float64]
    species: tuple[str, ...]
    timestep: float
    notes: tuple[str, ...] = ()

    @property
    def kinetic_temperature(self) -> float:
        """Temperature (K) from the mean kinetic energy: 3/2 k T per atom with mass."""
        return _temperature(self.velocities, self.masses)

    def groups(self) -> dict[str, NDArray[np.int64]]:
        """``species/symbol`` → atom indices, in order of first appearance."""
        names = np.array(self.species)
        return {f"species/{name}": np.flatnonzero(names == name) for name in dict.fromkeys(self.species)}


def read_velocities(
    path: str | Path,
    *,
    timestep: float | None,
    unit: str | None = None,
    elements: Sequence[str] | None = None,
) -> Velocities:
    """Read velocities, masses and species.

    Args:
        path: H5MD (``.h5``), extended XYZ, a LAMMPS text dump, or ``.npz`` with velocities and masses.
        timestep: (fs) time between the frames; None takes it from an H5MD file.
        unit: unit of the velocities in the file, a key of :data:`UNITS`. Without it, H5MD and momenta of
            extended XYZ are read in their own unit and ``.npz`` in Å/fs; for others it is inferred from the
            kinetic temperature, and a note says so (Å/fs and Å/ps differ by 1e6 in temperature).
        elements: symbol of LAMMPS type 1, 2, …; needed where a dump names neither element nor mass.

    Raises:
        InputError: no such file, no velocities, NaN, changing atoms, or a time step at odds with the file's.
        MissingError: a format that needs ASE, which is not installed.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{path}: no such file")
    if unit is not None and unit not in UNITS:
        raise InputError(f"--velocity-unit {unit!r}: allowed: {', '.join(UNITS)}")
    suffix = source.suffix.lower()
    if suffix in (".h5", ".h5md", ".hdf5"):
        found = _from_h5md(path, timestep)
    elif suffix in (".extxyz", ".xyz"):
        found = _from_extxyz(path, given_timestep(path, timestep), unit)
    elif suffix in (".lammpstrj", ".dump"):
        found = _from_dump(path, given_timestep(path, timestep), unit, elements)
    elif suffix == ".npz":
        found = _from_npz(path, given_timestep(path, timestep), unit)
    else:
        raise InputError(
            f"{path}: velocities cannot be read from {suffix or 'a file without suffix'}; allowed: {_FORMATS}"
        )
    shape = found.velocities.shape
    if len(shape) != 3 or shape[2] != 3 or shape[0] < 2 or found.masses.shape != shape[1:2]:
        raise InputError(
            f"{path}: velocities {shape} and masses {found.masses.shape}; (frames ≥ 2, atoms, 3) is needed"
        )
    finite(found.velocities, path, "velocities")
    finite(found.masses, path, "masses")
    return found


def _from_h5md(path: str | Path, timestep: float | None) -> Velocities:
    trajectory = own_trajectory(path, arrays=True)
    if trajectory.velocities is None:
        raise InputError(f"{path}: holds no velocities; write them with the trajectory")
    interval = agreed_interval(path, trajectory.frame_interval, timestep)
    symbols = _ase("data").chemical_symbols
    species = tuple(str(symbols[number]) for number in trajectory.numbers)
    return Velocities(trajectory.velocities, trajectory.masses, species, interval)


def _from_npz(path: str | Path, timestep: float, unit: str | None) -> Velocities:
    velocities, masses = read_array(path, "velocities"), read_array(path, "masses").astype(np.float64)
    with np.load(path, allow_pickle=False) as archive:
        names = archive["species"].astype(str).tolist() if "species" in archive.files else ["all"] * len(masses)
    if len(names) != len(masses):
        raise InputError(f"{path}: {len(names)} species for {len(masses)} masses; one of each per atom is needed")
    factor = UNITS[unit or "angstrom/fs"]
    return Velocities(velocities if factor == 1.0 else velocities * factor, masses, tuple(names), timestep)


def _from_extxyz(path: str | Path, timestep: float, unit: str | None) -> Velocities:
    femtosecond = float(_ase("units").fs)
    frames: list[NDArray[np.float32]] = []
    first: Any = None
    column: str | None = None
    try:
        for number, atoms in enumerate(_ase("io").iread(path, index=":", format="extxyz")):
            if first is None:
                first = atoms
                column = next((name for name in ("momenta", *_XYZ_COLUMNS) if atoms.has(name)), None)
                if column is None:
                    allowed = ", ".join(("momenta", *_XYZ_COLUMNS))
                    raise InputError(f"{path}: frame 0 has no velocities (columns allowed: {allowed})")
            if len(atoms) != len(first) or not np.array_equal(atoms.numbers, first.numbers) or not atoms.has(column):
                raise InputError(f"{path}: frame {number} has other atoms or columns than frame 0; one system per file")
            values = atoms.get_velocities() * femtosecond if column == "momenta" else atoms.get_array(column)
            frames.append(np.asarray(values, dtype=np.float32))
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise InputError(f"{path}: not extended XYZ after frame {len(frames) - 1} ({_line(error)})") from error
    if first is None:
        raise InputError(f"{path}: holds no frame")
    masses = np.asarray(first.get_masses(), dtype=np.float64)
    species = tuple(first.get_chemical_symbols())
    velocities: NDArray[Any] = np.stack(frames)
    notes: tuple[str, ...] = ()
    if column != "momenta":
        velocities, notes = _in_angstrom_per_fs(path, velocities, masses, unit)
    return Velocities(velocities, masses, species, timestep, notes)


def _from_dump(path: str | Path, timestep: float, unit: str | None, elements: Sequence[str] | None) -> Velocities:
    steps: list[int] = []
    frames: list[NDArray[np.float32]] = []
    identity: dict[str, list[str]] = {}
    declared: str | None = None
    with Path(path).open(encoding="utf-8", errors="replace") as handle:
        for step, units, columns, rows in _dump_frames(handle, path):
            declared = units or declared
            missing = [name for name in ("vx", "vy", "vz") if name not in columns]
            if missing:
                raise InputError(
                    f"{path}: frame {len(steps)} has no column {', '.join(missing)}; dump id element vx vy vz"
                )
            where = [columns.index(name) for name in ("vx", "vy", "vz")]
            values = np.array([[row[index] for index in where] for row in rows], dtype=np.float32)
            if "id" in columns:
                order = np.argsort([int(row[columns.index("id")]) for row in rows], kind="stable")
                values, rows = values[order], [rows[index] for index in order]
            if not steps:
                identity = {name: [row[index] for row in rows] for index, name in enumerate(columns)}
            elif len(rows) != len(frames[0]):
                raise InputError(f"{path}: frame {len(steps)} has {len(rows)} atoms, frame 0 has {len(frames[0])}")
            elif "id" in columns and identity.get("id") != [row[columns.index("id")] for row in rows]:
                raise InputError(f"{path}: frame {len(steps)} has other atom ids than frame 0; dump a fixed group")
            steps.append(step)
            frames.append(values)
    if not steps:
        raise InputError(f"{path}: no 'ITEM: TIMESTEP'; not a LAMMPS text dump")
    frame_interval(np.array(steps, dtype=np.int64), 1.0, str(path))
    masses, species = _dump_masses(path, identity, elements)
    if unit is None and declared is not None:
        if declared not in _LAMMPS_UNITS:
            raise InputError(f"{path}: LAMMPS units {declared!r} are not read; allowed: {', '.join(_LAMMPS_UNITS)}")
        unit = _LAMMPS_UNITS[declared]
    velocities, notes = _in_angstrom_per_fs(path, np.stack(frames), masses, unit)
    return Velocities(velocities, masses, species, timestep, notes)


def _dump_frames(handle: TextIO, path: str | Path) -> Iterator[tuple[int, str | None, list[str], list[list[str]]]]:
    """Frames of a LAMMPS text dump: step, unit style where given, column names, one row of text per atom."""
    step, atoms, units = -1, -1, None
    try:
        for line in handle:
            if line.startswith("ITEM: UNITS"):
                units = next(handle).strip()
            elif line.startswith("ITEM: TIMESTEP"):
                step = int(next(handle))
            elif line.startswith("ITEM: NUMBER OF ATOMS"):
                atoms = int(next(handle))
            elif line.startswith("ITEM: ATOMS"):
                columns = line.split()[2:]
                rows = [row.split() for row in islice(handle, atoms)]
                if len(rows) != atoms or any(len(row) != len(columns) for row in rows):
                    raise InputError(f"{path}: step {step} is cut off; {atoms} rows of {len(columns)} columns are due")
                yield step, units, columns, rows
    except (ValueError, StopIteration, RuntimeError) as error:
        raise InputError(f"{path}: damaged after step {step} ({_line(error) or 'end of file'})") from error


def _dump_masses(
    path: str | Path, identity: dict[str, list[str]], elements: Sequence[str] | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if elements is not None:
        if "type" not in identity:
            raise InputError(f"{path}: --elements needs the column 'type', which this dump lacks")
        types = [int(value) for value in identity["type"]]
        if max(types) > len(elements):
            raise InputError(f"{path}: atom type {max(types)} in the dump, {len(elements)} symbol(s) in --elements")
        symbols = [elements[number - 1] for number in types]
    elif "element" in identity:
        symbols = identity["element"]
    elif "mass" in identity:
        symbols = [f"type {value}" for value in identity.get("type", ["all"] * len(identity["mass"]))]
    else:
        raise InputError(
            f"{path}: names neither element nor mass; give the symbols of type 1, 2, …, e.g. --elements O,H"
        )
    if "mass" in identity:
        return np.array(identity["mass"], dtype=np.float64), tuple(symbols)
    return _element_masses(path, symbols), tuple(symbols)


def _element_masses(path: str | Path, symbols: Iterable[str]) -> NDArray[np.float64]:
    data = _ase("data")
    try:
        return np.array([float(data.atomic_masses[data.atomic_numbers[symbol]]) for symbol in symbols])
    except KeyError as error:
        raise InputError(
            f"{path}: {error.args[0]!r} is no chemical symbol; name the types, e.g. --elements O,H"
        ) from error


def _in_angstrom_per_fs(
    path: str | Path, velocities: NDArray[np.float32], masses: NDArray[np.float64], unit: str | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Convert to Å/fs; without ``unit`` the kinetic temperature decides, and a note says so."""
    notes: tuple[str, ...] = ()
    if unit is None:
        finite(velocities, path, "velocities")
        raw = _temperature(velocities, masses)
        unit = "angstrom/fs" if raw < _HOTTEST else "angstrom/ps"
        kelvin = raw * UNITS[unit] ** 2
        notes = (f"velocity unit {unit} inferred: the velocities then give {kelvin:.0f} K",)
    factor = UNITS[unit]
    return (velocities if factor == 1.0 else velocities * np.float32(factor)), notes


def _temperature(velocities: NDArray[Any], masses: NDArray[np.float64]) -> float:
    squares = np.einsum("fac,fac->a", velocities, velocities, dtype=np.float64) / len(velocities)
    massive = int(np.count_nonzero(masses > 0.0))
    return float(masses @ squares * AMU_ANGSTROM2_PER_FS2_IN_EV / (3 * max(massive, 1) * BOLTZMANN_EV_PER_K))


def _ase(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"ase.{module}")
    except ModuleNotFoundError as error:
        raise MissingError("ASE is needed for this format; get it with: pip install 'vibraloom[workflows]'") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
