"""Velocities and positions with masses and species, as others leave them: one door to every format.

A unit, a time or an element that the file states is taken, and a contradicting option refused; one that it does not state
is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError, MissingError
from vibraloom.files.elements import MASSES, SYMBOLS, masses_of
from vibraloom.files.frames import (
    CheckedFrames,
    Frames,
    MemoryFrames,
    RawFrames,
    Recording,
    ScaledFrames,
    Velocities,
    kinetic_temperature,
    mean_squares,
    without_repeats,
)
from vibraloom.files.numpy_arrays import read_array
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    ANGSTROM_PER_BOHR,
    EV_PER_HARTREE,
    KCAL_PER_MOL_IN_EV,
    PLANCK_C_EV_CM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

__all__ = [
    "FORMATS",
    "POSITION_UNITS",
    "UNITS",
    "WITHOUT_ATOMS",
    "Recording",
    "Velocities",
    "read_positions",
    "read_velocities",
]

_HBAR_EV_FS = PLANCK_C_EV_CM / SPEED_OF_LIGHT_CM_PER_FS / (2 * math.pi)
UNITS = {
    "angstrom/fs": 1.0,
    "angstrom/ps": 1e-3,
    "nm/ps": 1e-2,
    "bohr/au_time": ANGSTROM_PER_BOHR * EV_PER_HARTREE / _HBAR_EV_FS,
    "angstrom/akma": (KCAL_PER_MOL_IN_EV / AMU_ANGSTROM2_PER_FS2_IN_EV) ** 0.5,
}
"""Velocity units by name, and their factor to Å/fs; akma is the unit of time of CHARMM and NAMD, 48.888 fs."""
POSITION_UNITS = {"angstrom": 1.0, "nm": 10.0, "bohr": ANGSTROM_PER_BOHR}
"""Position units by name, and their factor to Å."""
FORMATS = (
    ".h5 (H5MD), .extxyz, .xyz (also CP2K's and i-PI's), .lammpstrj or .dump (LAMMPS text), .dcd, .trr, .xtc (positions),"
    " .traj (ASE), .npz (entries velocities or positions, masses and optionally species)"
)
WITHOUT_ATOMS = (".dcd", ".trr", ".xtc")
"""Suffixes of formats that name no atoms, whose ``topology`` is asked for."""
_H5MD = (".h5", ".h5md", ".hdf5")
_LAMMPS = (".lammpstrj", ".dump")
_COLDEST, _HOTTEST = 30.0, 3e4
"""Kinetic temperatures (K) between which a unit is inferred: Å/fs and Å/ps differ by 1e6."""
_PLURAL = {"velocity": "velocities", "position": "positions"}
_OPTION = {"velocity": "--velocity-unit", "position": "--position-unit"}
_INTERVAL_TOLERANCE = 1e-4
"""Relative error of a time between frames that a file states without a unit."""


def read_velocities(
    path: str | Path,
    *,
    timestep: float | None,
    unit: str | None = None,
    elements: Sequence[str] | None = None,
    topology: str | Path | None = None,
) -> Velocities:
    """Velocities, masses and species of a trajectory, whose frames are read as they are needed.

    Args:
        path: one of :data:`FORMATS`.
        timestep: (fs) time between the frames; None takes it from a file that states it.
        unit: unit of the velocities in the file, a key of :data:`UNITS`, where the file does not state it. Without it,
            for LAMMPS dumps and columns of extended XYZ it is inferred where the kinetic temperature leaves no choice
            (Å/fs and Å/ps differ by 1e6 in temperature), and a note says so; for the others it is asked for.
        elements: symbol of LAMMPS type (or species of H5MD) 1, 2, …; needed where the file names neither element nor mass.
        topology: a structure with the same atoms, for formats that name none (:data:`WITHOUT_ATOMS`); refused by the others.

    Raises:
        InputError: no such file, no velocities, elements or a topology that the format has no use for, damaged or changing
            frames, steps that repeat with other values, run back or jump, a unit or a time step that is missing or at odds
            with the file's. Of NaN, infinities and damage inside a frame of a binary file when its frame is read.
        MissingError: a format that needs a package which is not installed.
        ComputationError: no space for a scratch file.
    """
    _check_option(unit, "velocity", UNITS)
    raw = _raw(path, "velocity", unit, elements)
    settled = _settled(path, "velocity", raw, timestep, unit, topology)
    return Velocities(*settled)


def read_positions(
    path: str | Path,
    *,
    timestep: float | None,
    unit: str | None = None,
    elements: Sequence[str] | None = None,
    topology: str | Path | None = None,
) -> Recording:
    """Positions (Å), masses and species of a trajectory, whose frames are read as they are needed.

    Args:
        path, timestep, elements, topology: as in :func:`read_velocities`.
        unit: unit of the positions in the file, a key of :data:`POSITION_UNITS`, where the file does not state it.

    Raises:
        InputError, MissingError, ComputationError: as :func:`read_velocities`.
    """
    _check_option(unit, "position", POSITION_UNITS)
    return Recording(*_settled(path, "position", _raw(path, "position", unit, elements), timestep, unit, topology))


def _check_option(unit: str | None, wanted: str, allowed: dict[str, float]) -> None:
    if unit is not None and unit not in allowed:
        raise InputError(f"{_OPTION[wanted]} {unit!r}: allowed: {', '.join(allowed)}")


def _raw(path: str | Path, wanted: str, unit: str | None, elements: Sequence[str] | None) -> RawFrames:
    """What the file holds, by its suffix."""
    source = Path(path)
    suffix = source.suffix.lower()
    if not source.is_file():
        raise InputError(f"{path}: no such file")
    if source.stat().st_size == 0:
        raise InputError(f"{path}: an empty file; give the trajectory that was meant")
    if elements is not None and suffix not in (*_H5MD, *_LAMMPS):
        raise InputError(f"{path}: --elements {','.join(elements)} has no meaning for {suffix or 'this file'}; leave it out")
    if suffix in _H5MD:
        return _h5md(path, wanted, elements)
    if suffix in (".extxyz", ".xyz"):
        from vibraloom.files.xyz import read_xyz

        return read_xyz(path, wanted, unit)
    if suffix in _LAMMPS:
        from vibraloom.files.lammps_dump import read_lammps_dump

        return read_lammps_dump(path, wanted, elements)
    if suffix == ".dcd":
        from vibraloom.files.binary_trajectories import read_dcd

        return read_dcd(path, wanted, unit)
    if suffix == ".trr":
        from vibraloom.files.binary_trajectories import read_trr

        return read_trr(path, wanted)
    if suffix == ".xtc":
        from vibraloom.files.library_trajectories import read_xtc

        return read_xtc(path, wanted)
    if suffix == ".traj":
        from vibraloom.files.library_trajectories import read_ase_trajectory

        return read_ase_trajectory(path, wanted)
    if suffix == ".npz":
        return _npz(path, wanted)
    raise InputError(
        f"{path}: {_PLURAL[wanted]} cannot be read from {suffix or 'a file without suffix'}; allowed: {FORMATS}"
    )


def _h5md(path: str | Path, wanted: str, elements: Sequence[str] | None) -> RawFrames:
    import h5py

    from vibraloom.files.h5md_frames import damage_named, stored_frames
    from vibraloom.files.h5md_of_others import read_h5md_of_others
    from vibraloom.files.series import own_trajectory

    with damage_named(path):
        with h5py.File(path, "r") as handle:
            ours = "vibraloom" in handle
        if not ours:
            return read_h5md_of_others(path, wanted, elements)
        if elements is not None:
            raise InputError(f"{path}: names its elements; leave --elements {','.join(elements)} out")
        trajectory = own_trajectory(path, arrays=False)
    frames = stored_frames(path, wanted)
    if frames.shape[:1] != trajectory.step.shape or frames.shape[1:2] != trajectory.numbers.shape:
        raise InputError(
            f"{path}: {wanted} has shape {frames.shape} for {len(trajectory.step)} steps and"
            f" {len(trajectory.numbers)} atoms; damaged"
        )
    if (trajectory.numbers < 1).any() or (trajectory.numbers >= len(SYMBOLS)).any():
        raise InputError(f"{path}: species holds what is no atomic number; damaged")
    return RawFrames(
        frames,
        species=tuple(SYMBOLS[number] for number in trajectory.numbers.tolist()),
        masses=trajectory.masses,
        unit="angstrom/fs" if wanted == "velocity" else "angstrom",
        steps=trajectory.step,
        step_time=trajectory.timestep,
        cell=trajectory.cell,
    )


def _npz(path: str | Path, wanted: str) -> RawFrames:
    values, masses = read_array(path, _PLURAL[wanted]), read_array(path, "masses").astype(np.float64)
    with np.load(path, allow_pickle=False) as archive:
        has_species = "species" in archive.files
        try:
            names = archive["species"].astype(str).tolist() if has_species else ["all"] * len(masses)
        except (ValueError, OSError, EOFError, KeyError) as error:
            raise InputError(f"{path}: entry 'species' cannot be read; save the symbols as text") from error
    if values.ndim != 3 or values.shape[2] != 3:
        raise InputError(
            f"{path}: {_PLURAL[wanted]} {values.shape} and masses {masses.shape}; (frames ≥ 2, atoms, 3) is needed"
        )
    assumed = "angstrom/fs" if wanted == "velocity" else "angstrom"
    return RawFrames(MemoryFrames(values), species=tuple(map(str, names)), masses=masses, assumed_unit=assumed)


def _settled(
    path: str | Path, wanted: str, raw: RawFrames, timestep: float | None, unit: str | None, topology: str | Path | None
) -> tuple[Any, ...]:
    """Fields of a :class:`Recording`."""
    count, atoms, _ = raw.values.shape
    if count < 2:
        raise InputError(f"{path}: {count} frame(s); at least 2 are needed")
    if raw.species is None or raw.masses is None:
        species, masses = _of_topology(path, topology)
    elif topology is not None:
        raise InputError(f"{path}: names its atoms; leave --topology {topology} out")
    else:
        species, masses = raw.species, raw.masses
    if not len(species) == len(masses) == atoms:
        raise InputError(
            f"{path}: {len(species)} species and {len(masses)} masses for {atoms} atoms; one of each per atom is needed"
        )
    sound = np.isfinite(masses) & (masses >= 0)
    if not sound.all():
        atom = int(np.argmin(sound))
        raise InputError(f"{path}: mass of atom {atom} is {masses[atom]} amu; a number of amu, 0 for virtual sites, is needed")
    frames, steps, cell, notes = raw.values, raw.steps, raw.cell, list(raw.notes)
    if steps is not None:
        frames, kept, dropped = without_repeats(path, frames, steps)
        steps, notes = steps[kept], [*notes, *dropped]
        cell = cell[kept] if cell is not None and cell.ndim == 3 else cell
    interval = _interval(path, replace(raw, steps=steps), timestep)
    checked = CheckedFrames(frames, path, _PLURAL[wanted])
    name, remark = _unit(path, wanted, raw, unit, checked, masses)
    factor = (UNITS if wanted == "velocity" else POSITION_UNITS)[name]
    scaled = checked if factor == 1.0 else ScaledFrames(checked, factor)
    if cell is not None and raw.unit is None and raw.cell_like_positions and wanted == "position":
        cell = cell * factor
    return scaled, masses, species, interval, steps, cell, (*notes, *remark), raw.bead


def _unit(
    path: str | Path,
    wanted: str,
    raw: RawFrames,
    unit: str | None,
    frames: Frames,
    masses: NDArray[np.float64],
) -> tuple[str, tuple[str, ...]]:
    """The unit of the numbers, and a note where it was inferred."""
    factors = UNITS if wanted == "velocity" else POSITION_UNITS
    if raw.unit is not None:
        if unit is not None and factors[unit] != factors[raw.unit]:
            raise InputError(f"{path}: holds {raw.unit}, {_OPTION[wanted]} says {unit}; leave {_OPTION[wanted]} out")
        return raw.unit, ()
    if unit is not None:
        return unit, ()
    if raw.assumed_unit is not None:
        return raw.assumed_unit, ()
    kelvin = kinetic_temperature(mean_squares(frames), masses) if raw.inferable else 0.0
    for name in ("angstrom/fs", "angstrom/ps"):
        found = kelvin * UNITS[name] ** 2
        if _COLDEST <= found <= _HOTTEST:
            return name, (f"velocity unit {name} inferred: the velocities then give {found:.0f} K",)
    hint = f"; {raw.unit_hint}" if raw.unit_hint else ""
    raise InputError(
        f"{path}: does not state the unit of its {_PLURAL[wanted]}: give {_OPTION[wanted]} ({', '.join(factors)}){hint}"
    )


def _interval(path: str | Path, raw: RawFrames, timestep: float | None) -> float:
    """Time between frames (fs): the file's own, unless one is given that agrees with it."""
    from vibraloom.files.series import agreed_interval, given_timestep

    if raw.step_time is not None and raw.steps is not None:
        stride = float(raw.steps[1] - raw.steps[0])
        own = raw.step_time * stride
        if timestep is None or abs(own - timestep) <= raw.step_time_error * stride:
            return given_timestep(path, own if timestep is None else timestep)
        return agreed_interval(path, own, given_timestep(path, timestep))
    given = given_timestep(path, timestep)
    if raw.interval is not None:
        readings = [raw.interval * each for each in raw.interval_units]
        if not any(abs(given - each) <= _INTERVAL_TOLERANCE * given for each in readings):
            shown = " or ".join(f"{each:.6g}" for each in readings)
            raise InputError(
                f"{path}: frames are {shown} fs apart, by the unit of its time, --timestep says {given:g} fs; correct it"
            )
    if raw.multiple_of is not None:
        ratio = given / raw.multiple_of
        if abs(ratio - max(round(ratio), 1)) > _INTERVAL_TOLERANCE * ratio:
            raise InputError(
                f"{path}: was made with time steps of {raw.multiple_of:.6g} fs, of which --timestep {given:g} fs is no"
                " multiple; correct it"
            )
    return given


def _of_topology(path: str | Path, topology: str | Path | None) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Species and masses from a structure file."""
    if topology is None:
        raise InputError(f"{path}: this format names no atoms; give a structure with the same atoms, e.g. --topology start.xyz")
    if not Path(topology).is_file():
        raise InputError(f"{topology}: no such file")
    from vibraloom.files.library_trajectories import library

    try:
        atoms = library("ase.io", "workflows").read(topology, index=0)
        symbols, masses = atoms.get_chemical_symbols(), np.asarray(atoms.get_masses(), dtype=np.float64)
    # ASE's readers raise whatever their parts do
    except Exception as error:
        if isinstance(error, MissingError):
            raise
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{topology}: no structure that ASE reads ({reason}); give e.g. an .xyz, .pdb or .gro file") from error
    if any(symbol not in MASSES for symbol in symbols):
        masses_of(topology, symbols)
    return tuple(symbols), masses
