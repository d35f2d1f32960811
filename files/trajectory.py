"""Trajectories on disk: H5MD files with units, step numbers and a schema number.

Layout (H5MD 1.1): ``/particles/all/{position,velocity,species,mass,box}``, ``/observables/{dipole,polarizability,…}``.
Positions and velocities are float32, observables and the cell float64, steps int64. Positions are unwrapped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vibraloom import __version__
from vibraloom.durable import replacing
from vibraloom.errors import ComputationError, InputError

SCHEMA = 1
"""Schema number of the H5MD layout."""

UNITS = {
    "position": "angstrom",
    "velocity": "angstrom/fs",
    "mass": "amu",
    "charge": "e",
    "time": "fs",
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "temperature": "K",
    "forces": "eV/angstrom",
    "force_deviation": "eV/angstrom",
    "dipole": "e*angstrom",
    "polarizability": "angstrom^3",
    "current": "e*angstrom/fs",
}


@dataclass
class Trajectory:
    """A trajectory, or a part of one, in memory.

    Attributes:
        numbers: Array of int with shape (A,), atomic numbers.
        masses: (amu) Array with shape (A,).
        step: Array of int64 with shape (F,), integration steps.
        timestep: (fs) integration time step: time = step × timestep.
        positions: (Å) Array with shape (F, A, 3), unwrapped.
        velocities: (Å/fs) Array with shape (F, A, 3), or None.
        cell: (Å) Array with shape (3, 3), rows are lattice vectors, or None for a free molecule.
        pbc: periodic along each lattice vector.
        observables: name → Array with shape (F, …), units as in :data:`UNITS`.
        attributes: plain entries (seed, replica, bead, model, …) kept as JSON-able values.
    """

    numbers: NDArray[np.int64]
    masses: NDArray[np.float64]
    step: NDArray[np.int64]
    timestep: float
    positions: NDArray[Any]
    velocities: NDArray[Any] | None = None
    cell: NDArray[np.float64] | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    observables: dict[str, NDArray[Any]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.step)

    @property
    def frame_interval(self) -> float:
        """Time between frames in fs.

        Raises:
            InputError: fewer than two frames, or steps that are not evenly spaced.
        """
        return frame_interval(self.step, self.timestep)


def frame_interval(step: NDArray[np.int64], timestep: float, source: str = "trajectory") -> float:
    """Time between frames (fs) of evenly spaced integer steps.

    Args:
        step: Array of int with shape (F,).
        timestep: (fs) integration time step.
        source: name for the error message.

    Raises:
        InputError: fewer than two frames, or steps that repeat or jump.
    """
    if len(step) < 2:
        raise InputError(f"{source}: {len(step)} frame(s); at least 2 are needed")
    gaps = np.diff(step)
    if not np.all(gaps == gaps[0]) or gaps[0] <= 0:
        bad = int(np.argmax(gaps != gaps[0])) + 1
        raise InputError(
            f"{source}: frame {bad} has step {int(step[bad])} after {int(step[bad - 1])}, not {int(gaps[0])} later; "
            "join segments by step number first"
        )
    return float(gaps[0]) * timestep


def write_trajectory(path: str | Path, trajectory: Trajectory, *, compress: bool = False) -> None:
    """Write ``trajectory`` as H5MD, whole or not at all.

    Raises:
        ComputationError: the disk is full or the folder cannot be written.
    """
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if compress else {}
    try:
        with replacing(path) as temporary, h5py.File(temporary, "w") as handle:
            _write_content(handle, trajectory, options)
    except RuntimeError as error:
        # HDF5 reports a full disk so, when it closes the file
        raise ComputationError(f"{path}: cannot be written ({_reason(error)}); free space or choose another folder") from error


def _reason(error: RuntimeError) -> str:
    found = re.search(r"error message = '([^']*)'", str(error))
    return found.group(1) if found else str(error).splitlines()[0]


def _write_content(handle: h5py.File, trajectory: Trajectory, options: dict[str, Any]) -> None:
    header = handle.create_group("h5md")
    header.attrs["version"] = np.array([1, 1], dtype=np.int32)
    header.create_group("author").attrs["name"] = "vibraloom"
    creator = header.create_group("creator")
    creator.attrs["name"] = "vibraloom"
    creator.attrs["version"] = __version__
    own = handle.create_group("vibraloom")
    own.attrs["schema"] = SCHEMA
    own.attrs["timestep"] = trajectory.timestep
    own.attrs["timestep_unit"] = "fs"
    for name, value in trajectory.attributes.items():
        own.attrs[name] = value
    particles = handle.create_group("particles/all")
    particles.create_dataset("species", data=np.asarray(trajectory.numbers, dtype=np.int32))
    masses = particles.create_dataset("mass", data=np.asarray(trajectory.masses, dtype=np.float64))
    masses.attrs["unit"] = UNITS["mass"]
    box = particles.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["periodic" if flag else "none" for flag in trajectory.pbc]
    if trajectory.cell is not None:
        edges = box.create_dataset("edges", data=np.asarray(trajectory.cell, dtype=np.float64))
        edges.attrs["unit"] = UNITS["position"]
    step = particles.create_dataset("step", data=np.asarray(trajectory.step, dtype=np.int64))
    time = particles.create_dataset(
        "time", data=np.asarray(trajectory.step, dtype=np.float64) * trajectory.timestep
    )
    time.attrs["unit"] = UNITS["time"]
    for name, values in (("position", trajectory.positions), ("velocity", trajectory.velocities)):
        if values is not None:
            _write_element(particles, name, np.asarray(values, dtype=np.float32), step, time, options)
    observables = handle.create_group("observables")
    for name, values in trajectory.observables.items():
        _write_element(observables, name, np.asarray(values, dtype=np.float64), step, time, options)


def _write_element(
    parent: h5py.Group, name: str, values: NDArray[Any], step: h5py.Dataset, time: h5py.Dataset, options: dict[str, Any]
) -> None:
    group = parent.create_group(name)
    data = group.create_dataset("value", data=values, **options)
    if name in UNITS:
        data.attrs["unit"] = UNITS[name]
    group["step"] = step
    group["time"] = time


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    try:
        handle = h5py.File(path, "r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: not an H5MD file, or cut off while it was written; make it again") from error
    with handle:
        if "h5md" not in handle or "particles" not in handle:
            raise InputError(f"{path}: an HDF5 file without the H5MD groups /h5md and /particles")
        schema = int(handle["vibraloom"].attrs["schema"]) if "vibraloom" in handle else 0
        if schema > SCHEMA:
            raise InputError(
                f"{path}: written with schema {schema}, this release reads up to {SCHEMA}; update vibraloom"
            )
        yield handle


def read_trajectory(path: str | Path, *, atoms: Sequence[int] | slice | None = None, arrays: bool = True) -> Trajectory:
    """Read an H5MD file written by :func:`write_trajectory`.

    Args:
        path: the file.
        atoms: read positions and velocities of these atoms alone (all by default).
        arrays: False leaves positions and velocities out (shape (F, 0, 3) and None), for a quick look at steps and observables.

    Raises:
        InputError: not an H5MD file, cut off, or of a newer schema.
    """
    with _opened(path) as handle:
        particles = handle["particles/all"]
        own = dict(handle["vibraloom"].attrs)
        step = particles["step"][()]
        selection = slice(None) if atoms is None else atoms
        box = particles["box"]
        numbers = particles["species"][()].astype(np.int64)
        masses = particles["mass"][()]
        if arrays:
            positions = particles["position/value"][:, selection, :]
            velocities = particles["velocity/value"][:, selection, :] if "velocity" in particles else None
            numbers, masses = numbers[selection], masses[selection]
        else:
            positions, velocities = np.empty((len(step), 0, 3), dtype=np.float32), None
        attributes = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in own.items()
            if key not in ("schema", "timestep", "timestep_unit")
        }
        periodic = [flag == "periodic" for flag in np.asarray(box.attrs["boundary"]).astype(str)]
        return Trajectory(
            numbers=numbers,
            masses=masses,
            step=step,
            timestep=float(own["timestep"]),
            positions=positions,
            velocities=velocities,
            cell=box["edges"][()] if "edges" in box else None,
            pbc=(periodic[0], periodic[1], periodic[2]),
            observables={name: group["value"][()] for name, group in handle["observables"].items()},
            attributes=attributes,
        )


def join_segments(segments: Sequence[Trajectory]) -> Trajectory:
    """Join segments of one run by step number: frames that repeat are dropped, gaps are refused.

    Raises:
        InputError: no segment, another time step or atoms, or steps that do not fit together.
    """
    if not segments:
        raise InputError("trajectory: no segment to join")
    first = segments[0]
    for number, segment in enumerate(segments[1:], start=1):
        if segment.timestep != first.timestep or not np.array_equal(segment.numbers, first.numbers):
            raise InputError(f"trajectory: segment {number} has another time step or other atoms than segment 0")
    steps = np.concatenate([segment.step for segment in segments])
    _, keep = np.unique(steps, return_index=True)
    joined = Trajectory(
        numbers=first.numbers,
        masses=first.masses,
        step=steps[keep],
        timestep=first.timestep,
        positions=np.concatenate([segment.positions for segment in segments])[keep],
        velocities=None
        if first.velocities is None
        else np.concatenate([segment.velocities for segment in segments if segment.velocities is not None])[keep],
        cell=first.cell,
        pbc=first.pbc,
        observables={
            name: np.concatenate([segment.observables[name] for segment in segments])[keep]
            for name in first.observables
        },
        attributes=dict(first.attributes),
    )
    if joined.frames > 1:
        frame_interval(joined.step, joined.timestep)
    return joined
