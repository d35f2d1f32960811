"""Energies, forces and virials of many frames of water by the committee network that ships with CP2K's data, in one run.

CP2K reads the frames as a reference trajectory (``ENSEMBLE REFTRAJ``). Measured with CP2K 2023.1: without ``EVAL_ENERGY_FORCES``
and ``EVAL_FORCES`` it prints zeros; the stress of ``MOTION/PRINT`` is always zero, the one of ``FORCE_EVAL/PRINT`` is right; the
cell file must have the columns that CP2K itself writes. Formats: CP2K's src/motion/integrator.F (reftraj), src/nnp_force.F.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.input_builder import PROJECT, network_section
from vibraloom.calculators.cp2k.method_sections import Section, masses, subsystem
from vibraloom.calculators.cp2k.output_blocks import read_stress
from vibraloom.calculators.cp2k.printed_frames import FORCE_FACTOR, read_printed_frames
from vibraloom.errors import InputError
from vibraloom.files.number_table import read_number_table
from vibraloom.units import EV_PER_HARTREE

FRAMES_FILE = "frames.xyz"
CELLS_FILE = "frames.cell"
_FORCES = f"{PROJECT}-frc-1.xyz"
_STRESSES = f"{PROJECT}-stress.log"
_ENERGIES = f"{PROJECT}-nnp-energies-1.data"
_SPREADS = f"{PROJECT}-nnp-forces-std-1.xyz"
_STRESS_TITLE = b"STRESS| Analytical stress tensor ["


def network_labels_input(atoms: Atoms, frames: int) -> Section:
    """The run that evaluates ``frames`` frames of :data:`FRAMES_FILE` and :data:`CELLS_FILE`.

    Args:
        atoms: elements in the order of the frames; periodic in three directions.
        frames: how many.

    Raises:
        InputError: an element other than H and O, a cell that is not periodic, or no frame.
    """
    if frames < 1:
        raise InputError(f"frames: {frames}: allowed: 1 or more")
    network = network_section(atoms)
    each = {"EACH": {"MD": 1}}
    network["PRINT"] = {"FORCES_SIGMA": {"_": "ON", **each}, "ENERGIES": {"_": "ON", **each}}
    kinds = [{"_": symbol, "MASS": mass} for symbol, mass in sorted(masses(atoms).items())]
    off = {"_": "OFF"}
    return {
        "GLOBAL": {"PROJECT": PROJECT, "RUN_TYPE": "MD", "PRINT_LEVEL": "LOW"},
        "MOTION": {
            "MD": {
                "ENSEMBLE": "REFTRAJ",
                "STEPS": frames,
                "TIMESTEP": 1.0,
                "REFTRAJ": {
                    "TRAJ_FILE_NAME": FRAMES_FILE,
                    "CELL_FILE_NAME": CELLS_FILE,
                    "VARIABLE_VOLUME": True,
                    "EVAL_ENERGY_FORCES": True,
                    "EVAL_FORCES": True,
                    "FIRST_SNAPSHOT": 1,
                    "LAST_SNAPSHOT": frames,
                },
            },
            "PRINT": {"FORCES": each, "TRAJECTORY": off, "VELOCITIES": off, "RESTART": off, "RESTART_HISTORY": off},
        },
        "FORCE_EVAL": {
            "METHOD": "NNP",
            "STRESS_TENSOR": "ANALYTICAL",
            "NNP": network,
            "PRINT": {"STRESS_TENSOR": {"_": "ON", "FILENAME": f"={_STRESSES}", **each}},
            "SUBSYS": {**subsystem(atoms), "KIND": kinds},
        },
    }


def frames_text(symbols: list[str], positions: NDArray[np.floating]) -> str:
    """:data:`FRAMES_FILE`: positions (Å), shape (F, A, 3), of these elements, numbered from 1 (CP2K takes a 0 for a 1)."""
    lines = []
    for number, frame in enumerate(positions, start=1):
        lines.append(f"{len(symbols):8d}")
        lines.append(f" i = {number:8d}, time = {float(number):12.3f}, E = {0.0:20.10f}")
        lines += [f"{symbol} {x:.10f} {y:.10f} {z:.10f}" for symbol, (x, y, z) in zip(symbols, frame, strict=True)]
    return "\n".join(lines) + "\n"


def cells_text(cells: NDArray[np.floating]) -> str:
    """:data:`CELLS_FILE`: lattice vectors (Å), shape (F, 3, 3), as rows, numbered from 1."""
    names = [f"{axis}{part}" for axis in "ABC" for part in "xyz"]
    lines = ["#   Step   Time [fs]" + "".join(f" {name} [Angstrom]" for name in names) + " Volume [Angstrom^3]"]
    for number, cell in enumerate(cells, start=1):
        vectors = "".join(f"{value:20.10f}" for value in np.asarray(cell).ravel())
        lines.append(f"{number:8d}{float(number):15.3f}{vectors}{abs(np.linalg.det(cell)):25.10f}")
    return "\n".join(lines) + "\n"


def read_network_labels(folder: Path, cells: NDArray[np.floating], atoms: int) -> dict[str, NDArray[np.float64]]:
    """What the run printed for each frame.

    Args:
        folder: where CP2K ran.
        cells: (Å) Array with shape (F, 3, 3), as they were asked for.
        atoms: atoms of a frame.

    Returns:
        energy (eV) (F,), energy_spread (eV) (F,), forces (eV/Å) (F, A, 3), force_spread (eV/Å) (F, A, 3), virial (eV)
        (F, 3, 3), stress times volume, positive under compression. The spreads are standard deviations of the committee.

    Raises:
        InputError: a file is missing, cut off, or holds another number of frames.
    """
    frames = len(cells)
    printed = read_printed_frames(folder / _FORCES, atoms)
    if printed is None:
        raise InputError(f"{folder / _FORCES}: no such file; CP2K made no step: look at {PROJECT}.out beside it")
    energies = read_number_table(_existing(folder / _ENERGIES)).rectangle(folder / _ENERGIES)
    spread = _spreads(_existing(folder / _SPREADS), atoms)
    stress = _stresses(_existing(folder / _STRESSES))
    counts = {_FORCES: len(printed.step), _ENERGIES: len(energies), _SPREADS: len(spread), _STRESSES: len(stress)}
    for name, count in counts.items():
        if count != frames:
            raise InputError(f"{folder / name}: {count} frames, {frames} were asked for; run it again")
    volume = np.abs(np.linalg.det(np.asarray(cells, dtype=np.float64)))
    return {
        "energy": energies[:, 0] * EV_PER_HARTREE,
        "energy_spread": energies[:, 1] * EV_PER_HARTREE,
        "forces": np.asarray(printed.frames, dtype=np.float64) * FORCE_FACTOR,
        "force_spread": spread * FORCE_FACTOR,
        "virial": stress * volume[:, None, None],
    }


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; CP2K ended before it: look at {PROJECT}.out beside it")
    return path


def _spreads(path: Path, atoms: int) -> NDArray[np.float64]:
    """(hartree/bohr) Array with shape (F, A, 3); frames without step numbers, a cut one left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    frames: list[Any] = []
    for start in range(0, len(lines) - atoms - 1, atoms + 2):
        rows = [line.split()[1:4] for line in lines[start + 2 : start + 2 + atoms]]
        try:
            frames.append(np.array(rows, dtype=np.float64).reshape(atoms, 3))
        except ValueError as error:
            raise InputError(f"{path}: frame {len(frames)}: {error}; run it again") from error
    return np.array(frames).reshape(-1, atoms, 3)


def _stresses(path: Path) -> NDArray[np.float64]:
    """(eV/Å³) Array with shape (F, 3, 3), positive under compression."""
    found = []
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text:
        start = text.find(_STRESS_TITLE)
        while start >= 0:
            opened = start + len(_STRESS_TITLE)
            unit = text[opened : text.find(b"]", opened)].decode("ascii", errors="replace")
            stress, _ = read_stress(text, start, unit)
            if stress is None:
                break  # the last one was cut off
            found.append(stress)
            start = text.find(_STRESS_TITLE, opened)
    return np.array(found).reshape(-1, 3, 3)
