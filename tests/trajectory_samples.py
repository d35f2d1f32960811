"""One short trajectory that tests of readers write in every format."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.files.velocities import UNITS
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, ANGSTROM_PER_BOHR, BOLTZMANN_EV_PER_K

FRAMES, ATOMS = 9, 5
SPECIES = ("O", "H", "H", "Cl", "Na")
MASSES = np.array([15.999, 1.008, 1.008, 35.45, 22.98976928])
CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-0.5, 0.75, 7.0]])
_RANDOM = np.random.default_rng(7)
POSITIONS = _RANDOM.uniform(-3, 12, (FRAMES, ATOMS, 3))
VELOCITIES = _RANDOM.normal(size=(FRAMES, ATOMS, 3)) * np.sqrt(
    BOLTZMANN_EV_PER_K * 300 / MASSES / AMU_ANGSTROM2_PER_FS2_IN_EV
).reshape(1, -1, 1)
AKMA_FS = 48.88821291
STEP_FS = 0.5
STRIDE = 4
INTERVAL = STEP_FS * STRIDE


def write_extxyz(path: Path, *, momenta: bool = False, extra: str = "") -> None:
    """Extended XYZ with positions and velocities (Å/fs) or momenta (ASE's unit); ``extra`` ends each title."""
    lattice = " ".join(map(repr, CELL.ravel().tolist()))
    name = "momenta" if momenta else "vel"
    text = []
    for frame in range(FRAMES):
        title = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:{name}:R:3 pbc="T T T" energy={-3.5 - frame}'
        text += [str(ATOMS), title + extra.format(step=frame * STRIDE, time=frame * INTERVAL)]
        scale = MASSES * math.sqrt(AMU_ANGSTROM2_PER_FS2_IN_EV) if momenta else np.ones(ATOMS)
        for atom in range(ATOMS):
            numbers = [*POSITIONS[frame, atom], *(VELOCITIES[frame, atom] * scale[atom])]
            text.append(SPECIES[atom] + "".join(f" {number:18.10f}" for number in numbers))
    path.write_text("\n".join(text) + "\n")


def write_cp2k(path: Path, values: np.ndarray, steps: list[int] | None = None) -> None:
    """What CP2K prints of ``values``, at ``steps``."""
    text = []
    for frame, step in enumerate(steps or [frame * STRIDE for frame in range(FRAMES)]):
        text += [f"{ATOMS:8d}", f" i = {step:8d}, time = {step * STEP_FS:12.3f}, E = {-17.1641447:20.10f}"]
        which = min(frame, FRAMES - 1) if steps is None else step // STRIDE
        text += [f"{SPECIES[atom]:>3s}" + "".join(f"{x:20.10f}" for x in values[which, atom]) for atom in range(ATOMS)]
    path.write_text("\n".join(text) + "\n")


def write_ipi(path: Path, values: np.ndarray, quantity: str, unit: str, *, bead: int = 0, cell_unit: str = "atomic_unit") -> None:
    """What i-PI prints of ``values``, which are in ``unit``."""
    lengths = np.linalg.norm(CELL, axis=1)
    a, b, c = CELL / lengths[:, None]
    angles = np.degrees(np.arccos([b @ c, a @ c, a @ b]))
    lengths = lengths / (ANGSTROM_PER_BOHR if cell_unit == "atomic_unit" else 1.0)
    cell = "  ".join(f"{number:10.5f}" for number in (*lengths, *angles))
    text = []
    for frame, rows in enumerate(values):
        title = f"# CELL(abcABC): {cell}  Step:  {frame * STRIDE:10d}  Bead:   {bead:5d} "
        text += [str(ATOMS), f"{title}{quantity}{{{unit}}}  cell{{{cell_unit}}}"]
        text += [f"{SPECIES[atom]:>8s} " + " ".join(f"{x:12.5e}" for x in rows[atom]) for atom in range(ATOMS)]
    path.write_text("\n".join(text) + "\n")


def write_scaled_dump(path: Path, columns: str, *, kind: str = "triclinic", breathing: float = 0.0) -> list[np.ndarray]:
    """Positions in edges of the box from its corner; the lattice vectors of each frame are returned."""
    cells, text = [], []
    corner = np.array([-1.5, 0.25, 2.0])
    for frame in range(FRAMES):
        cell = (np.diag(np.diag(CELL)) if kind == "orthogonal" else CELL) * (1 + breathing * frame)
        if kind == "general":
            cell = cell @ np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        cells.append(cell)
        text += ["ITEM: UNITS", "metal", "ITEM: TIMESTEP", str(frame * STRIDE), "ITEM: NUMBER OF ATOMS", str(ATOMS)]
        if kind == "orthogonal":
            title, rows = "pp pp pp", [(corner[axis], corner[axis] + cell[axis, axis]) for axis in range(3)]
        elif kind == "general":
            title, rows = "abc origin pp pp pp", [(*cell[axis], corner[axis]) for axis in range(3)]
        else:
            xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
            low = corner + np.array([min(0, xy, xz, xy + xz), min(0, yz), 0])
            high = corner + np.diag(cell) + np.array([max(0, xy, xz, xy + xz), max(0, yz), 0])
            title, rows = "xy xz yz pp pp pp", list(zip(low, high, (xy, xz, yz), strict=True))
        text += [f"ITEM: BOX BOUNDS {title}", *(" ".join(f"{x:.16e}" for x in row) for row in rows)]
        text += [f"ITEM: ATOMS id element {columns}"]
        scaled = (POSITIONS[frame] - corner) @ np.linalg.inv(cell)
        text += [f"{atom + 1} {SPECIES[atom]} " + " ".join(f"{x:.12g}" for x in scaled[atom]) for atom in range(ATOMS)]
    path.write_text("\n".join(text) + "\n")
    return cells


def write_dump(path: Path, *, units: str | None = None, time: bool = False, factor: float = 1.0) -> None:
    """A text dump of LAMMPS; velocities in Å/fs times ``factor``."""
    # the bounding box of CELL, as LAMMPS prints it
    xy, xz, yz = CELL[1, 0], CELL[2, 0], CELL[2, 1]
    bounds = [
        (min(0, xy, xz, xy + xz), CELL[0, 0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), CELL[1, 1] + max(0, yz), xz),
        (0, CELL[2, 2], yz),
    ]
    text = []
    for frame in range(FRAMES):
        if units and frame == 0:
            text += ["ITEM: UNITS", units]
        if time:
            text += ["ITEM: TIME", f"{frame * INTERVAL:g}"]
        text += ["ITEM: TIMESTEP", str(frame * STRIDE), "ITEM: NUMBER OF ATOMS", str(ATOMS)]
        text += ["ITEM: BOX BOUNDS xy xz yz pp pp pp", *(" ".join(f"{x:.16e}" for x in row) for row in bounds)]
        text += ["ITEM: ATOMS id type element xu yu zu vx vy vz"]
        for atom in np.random.default_rng(frame).permutation(ATOMS):
            numbers = [*POSITIONS[frame, atom], *(VELOCITIES[frame, atom] * factor)]
            text.append(f"{(atom + 1) * 3} {atom + 1} {SPECIES[atom]} " + " ".join(f"{x:.10g}" for x in numbers) + " ")
    path.write_text("\n".join(text) + "\n")


def write_dcd(
    path: Path, values: np.ndarray, *, kind: bytes = b"VELD", order: str = "<", delta: float = STEP_FS / AKMA_FS
) -> None:
    """A DCD file of ``values``, by default as CHARMM writes it."""

    def record(body: bytes) -> bytes:
        return struct.pack(f"{order}i", len(body)) + body + struct.pack(f"{order}i", len(body))

    control = [len(values), 0, STRIDE, 0, 0, 0, 0, 0, 0]
    head = kind + struct.pack(f"{order}9i", *control) + struct.pack(f"{order}f", delta)
    head += struct.pack(f"{order}10i", 1, 0, 0, 0, 0, 0, 0, 0, 0, 24)
    lengths = np.linalg.norm(CELL, axis=1)
    a, b, c = CELL / lengths[:, None]
    cell = (lengths[0], math.degrees(math.acos(a @ b)), lengths[1], math.degrees(math.acos(a @ c)))
    cell += (math.degrees(math.acos(b @ c)), lengths[2])
    text = record(head) + record(struct.pack(f"{order}i", 1) + b"made for a test".ljust(80))
    text += record(struct.pack(f"{order}i", ATOMS))
    for frame in values:
        text += record(struct.pack(f"{order}6d", *cell))
        text += b"".join(record(frame[:, axis].astype(f"{order}f4").tobytes()) for axis in range(3))
    path.write_bytes(text)


def write_trr(path: Path, *, width: int = 4) -> None:
    """Positions in every second frame only, as nstxout = 2 nstvout."""
    text = b""
    real = f">f{width}"
    for frame in range(FRAMES):
        with_positions = frame % 2 == 0
        sizes = [0, 0, 9 * width, 0, 0, 0, 0, 3 * ATOMS * width * with_positions, 3 * ATOMS * width, 0]
        text += struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file" + struct.pack(">13i", *sizes, ATOMS, frame * STRIDE, 0)
        text += np.array([frame * INTERVAL * 1e-3, 0.0], dtype=real).tobytes() + (CELL / 10).astype(real).tobytes()
        if with_positions:
            text += (POSITIONS[frame] / 10).astype(real).tobytes()
        text += (VELOCITIES[frame] * 100).astype(real).tobytes()
    path.write_bytes(text)


def write_h5md_of_others(path: Path, *, unit: str | None = "nm ps-1", chunks: bool = False) -> None:
    """H5MD with velocities in nm/ps."""
    with h5py.File(path, "w") as handle:
        handle.create_group("h5md").attrs["version"] = [1, 1]
        group = handle.create_group("particles/trajectory")
        group["species"] = np.arange(ATOMS)
        group["mass"] = MASSES
        group["mass"].attrs["unit"] = "u"
        edges = group.create_dataset("box/edges", data=CELL / 10)
        edges.attrs["unit"] = "nm"
        options = {"chunks": (2, 3, 3), "compression": "gzip"} if chunks else {}
        value = group.create_dataset("velocity/value", data=VELOCITIES * 100, dtype="f4", **options)
        if unit:
            value.attrs["unit"] = unit
        group["velocity/step"] = np.arange(FRAMES) * STRIDE
        group["velocity/time"] = np.arange(FRAMES) * INTERVAL * 1e-3
        group["velocity/time"].attrs["unit"] = "ps"


def write_ours(path: Path) -> None:
    """Our own H5MD."""
    numbers = np.array([8, 1, 1, 17, 11])
    step = np.arange(FRAMES, dtype=np.int64) * STRIDE
    write_trajectory(path, Trajectory(numbers, MASSES, step, STEP_FS, POSITIONS, VELOCITIES, CELL, (True,) * 3))


def write_ase(path: Path) -> None:
    """What ASE writes, by the suffix."""
    from ase import Atoms, units
    from ase.io import write

    frames = [
        Atoms(SPECIES, positions=POSITIONS[frame], cell=CELL, pbc=True, velocities=VELOCITIES[frame] / units.fs)
        for frame in range(FRAMES)
    ]
    write(path, frames)


def write_topology(folder: Path) -> Path:
    """A structure with the same atoms, in ``folder``."""
    path = folder / "start.xyz"
    path.write_text(f"{ATOMS}\n\n" + "".join(f"{name} 0 0 0\n" for name in SPECIES))
    return path


CASES: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "extxyz": ("run.extxyz", write_extxyz, {"timestep": INTERVAL, "unit": "angstrom/fs"}),
    "extxyz, unit inferred": ("run.xyz", write_extxyz, {"timestep": INTERVAL}),
    "extxyz, momenta": ("run.extxyz", lambda path: write_extxyz(path, momenta=True), {"timestep": INTERVAL}),
    "extxyz by ASE": ("run.extxyz", write_ase, {"timestep": INTERVAL}),
    "cp2k": (
        "run-vel-1.xyz",
        lambda path: write_cp2k(path, VELOCITIES / UNITS["bohr/au_time"]),
        {"timestep": None, "unit": "bohr/au_time"},
    ),
    "i-pi": (
        "run.vel_0.xyz",
        lambda path: write_ipi(path, VELOCITIES / UNITS["bohr/au_time"], "velocities", "atomic_unit"),
        {"timestep": INTERVAL},
    ),
    "lammps, real": ("run.lammpstrj", lambda path: write_dump(path, units="real"), {"timestep": INTERVAL}),
    "lammps, metal": ("run.dump", lambda path: write_dump(path, units="metal", factor=1e3), {"timestep": INTERVAL}),
    "lammps, time": ("run.dump", lambda path: write_dump(path, units="real", time=True), {"timestep": None}),
    "dcd": (
        "run.dcd",
        lambda path: write_dcd(path, VELOCITIES * AKMA_FS),
        {"timestep": INTERVAL, "unit": "angstrom/akma", "topology": "start.xyz"},
    ),
    "dcd, big endian": (
        "run.dcd",
        lambda path: write_dcd(path, VELOCITIES, order=">", kind=b"CORD", delta=STEP_FS),
        {"timestep": INTERVAL, "unit": "angstrom/fs", "topology": "start.xyz"},
    ),
    "trr": ("run.trr", write_trr, {"timestep": None, "topology": "start.xyz"}),
    "trr, double": ("run.trr", lambda path: write_trr(path, width=8), {"timestep": INTERVAL, "topology": "start.xyz"}),
    "h5md": ("run.h5", write_ours, {"timestep": None}),
    "h5md of others": ("run.h5md", write_h5md_of_others, {"timestep": None}),
    "h5md, compressed": ("run.h5md", lambda path: write_h5md_of_others(path, chunks=True), {"timestep": INTERVAL}),
    "ase": ("run.traj", write_ase, {"timestep": INTERVAL}),
}
"""What reads well → name of the file, what writes it, options of the reader."""
