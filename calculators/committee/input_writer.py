"""Input of one run of CP2K that evaluates many frames of water with the committee network that ships with its data.

CP2K reads the frames as a reference trajectory (``ENSEMBLE REFTRAJ``). Measured with CP2K 2023.1: without ``EVAL_ENERGY_FORCES``
and ``EVAL_FORCES`` it prints zeros; the stress of ``MOTION/PRINT`` is always zero, the one of ``FORCE_EVAL/PRINT`` is right; the
cell file must have the columns that CP2K itself writes. Formats: CP2K's src/motion/integrator.F (reftraj).
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from vibraloom.calculators.committee.labels import STRESSES_FILE
from vibraloom.calculators.cp2k.input_builder import PROJECT, network_section
from vibraloom.calculators.cp2k.method_sections import Section, masses, subsystem
from vibraloom.errors import InputError

FRAMES_FILE = "frames.xyz"
CELLS_FILE = "frames.cell"


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
            "PRINT": {"STRESS_TENSOR": {"_": "ON", "FILENAME": f"={STRESSES_FILE}", **each}},
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
