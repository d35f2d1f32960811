"""Trajectory files for the readers, larger than what is in memory while they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from peers.series import vibrations

DISTINCT = 64
"""Frames that are written out; a text file repeats them with other step numbers."""


def _frames(frames: int, atoms: int) -> NDArray[np.float64]:
    return 0.01 * vibrations(np.random.default_rng(6), frames, 3 * atoms, timestep=1.0).reshape(frames, atoms, 3)


def _symbols(atoms: int) -> list[str]:
    return ["O" if atom % 3 == 0 else "H" for atom in range(atoms)]


def lammps_dump(path: Path, frames: int, atoms: int) -> None:
    """A dump of id, element, positions and velocities (metal units: Å/ps), as LAMMPS prints them by default."""
    head = f"ITEM: NUMBER OF ATOMS\n{atoms}\nITEM: BOX BOUNDS pp pp pp\n" + 3 * "0.0 31.0\n"
    head += "ITEM: ATOMS id element xu yu zu vx vy vz\n"
    names = [f"{atom + 1} {symbol}" for atom, symbol in enumerate(_symbols(atoms))]

    def frame(step: int, body: str) -> str:
        return f"ITEM: UNITS\nmetal\nITEM: TIMESTEP\n{step}\n{head}{body}"

    _write_text(path, frames, atoms, lambda row, name: f"{name} " + " ".join(f"{x:.6g}" for x in row) + "\n", names, frame, 1e3)


def extended_xyz(path: Path, frames: int, atoms: int) -> None:
    """Positions and velocities (Å/fs) in the columns that ASE writes."""
    head = f'{atoms}\nLattice="31 0 0 0 31 0 0 0 31" Properties=species:S:1:pos:R:3:velocities:R:3 pbc="T T T"\n'
    _write_text(
        path,
        frames,
        atoms,
        lambda row, name: f"{name:8}" + "".join(f"{x:17.8f}" for x in row) + "\n",
        _symbols(atoms),
        lambda step, body: head + body,
        1.0,
    )


def _write_text(
    path: Path,
    frames: int,
    atoms: int,
    line: Callable[[NDArray[np.float64], str], str],
    names: list[str],
    frame: Callable[[int, str], str],
    factor: float,
) -> None:
    velocities = factor * _frames(DISTINCT, atoms)
    places = 31 * np.random.default_rng(7).random((atoms, 3))
    rows = np.concatenate([np.broadcast_to(places, velocities.shape), velocities], axis=2)
    bodies = ["".join(line(row, name) for row, name in zip(each, names, strict=True)) for each in rows]
    with path.open("w") as handle:
        for step in range(frames):
            handle.write(frame(step, bodies[step % DISTINCT]))


def h5md(path: Path, frames: int, atoms: int) -> None:
    """Velocities (Å/fs) as float32, uncompressed, 1 fs apart."""
    symbols = _symbols(atoms)
    with h5py.File(path, "w") as handle:
        header = handle.create_group("h5md")
        header.attrs["version"] = np.array([1, 1], dtype=np.int32)
        header.create_group("author").attrs["name"] = "benchmark"
        creator = header.create_group("creator")
        creator.attrs["name"], creator.attrs["version"] = "benchmark", "1"
        own = handle.create_group("vibraloom")
        own.attrs["schema"], own.attrs["timestep"], own.attrs["timestep_unit"] = 1, 1.0, "fs"
        handle.create_group("observables")
        particles = handle.create_group("particles/all")
        particles.create_dataset("species", data=np.array([{"O": 8, "H": 1}[each] for each in symbols], dtype=np.int32))
        masses = particles.create_dataset("mass", data=np.array([{"O": 15.999, "H": 1.008}[each] for each in symbols]))
        masses.attrs["unit"] = "amu"
        box = particles.create_group("box")
        box.attrs["dimension"], box.attrs["boundary"] = 3, ["periodic"] * 3
        box.create_dataset("edges", data=31 * np.eye(3)).attrs["unit"] = "angstrom"
        step = particles.create_dataset("step", data=np.arange(frames, dtype=np.int64))
        time = particles.create_dataset("time", data=np.arange(frames, dtype=np.float64))
        time.attrs["unit"] = "fs"
        for name, unit in (("position", "angstrom"), ("velocity", "angstrom/fs")):
            group = particles.create_group(name)
            group["step"], group["time"] = step, time
            # positions are declared and take no space: HDF5 gives zeros for what was never written
            value = group.create_dataset("value", shape=(frames, atoms, 3), dtype=np.float32)
            value.attrs["unit"] = unit
            if name == "velocity":
                stretch = _frames(min(frames, 4096), atoms).astype(np.float32)
                for start in range(0, frames, len(stretch)):
                    value[start : start + len(stretch)] = stretch[: frames - start]
