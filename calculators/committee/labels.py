"""Labels of many frames of water from one run of the committee network: energies, forces, virials, and their spreads.

Run as ``python -m vibraloom.calculators.committee.labels job.json`` after CP2K, in its folder. Key: record, kept with the labels.
The frames are those of frames.npz: numbers (A,), positions (Å) (F, A, 3), cell (Å) (F, 3, 3). Results: labels.npz, labels.json.
Formats of the files: CP2K's src/nnp_force.F and src/motion_utils.F.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.output_blocks import read_stress
from vibraloom.calculators.cp2k.output_log import read_log
from vibraloom.calculators.cp2k.printed_frames import FORCE_FACTOR, read_printed_frames
from vibraloom.calculators.job import Progress, run_job, write_arrays
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.number_table import read_number_table
from vibraloom.units import EV_PER_HARTREE

STRESSES_FILE = "cp2k-stress.log"
_FORCES = "cp2k-frc-1.xyz"
_ENERGIES = "cp2k-nnp-energies-1.data"
_SPREADS = "cp2k-nnp-forces-std-1.xyz"
_STRESS_TITLE = b"STRESS| Analytical stress tensor ["
UNITS = {
    "positions": "angstrom",
    "cell": "angstrom",
    "energy": "eV",
    "energy_spread": "eV, standard deviation of the committee",
    "forces": "eV/angstrom",
    "force_spread": "eV/angstrom, standard deviation of the committee",
    "virial": "eV, stress times volume, positive under compression",
}


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
        raise InputError(f"{folder / _FORCES}: no such file; CP2K made no step: look at cp2k.out beside it")
    energies = read_number_table(_existing(folder / _ENERGIES)).rectangle(folder / _ENERGIES)
    spread = _spreads(_existing(folder / _SPREADS), atoms)
    stress = _stresses(_existing(folder / STRESSES_FILE))
    counts = {_FORCES: len(printed.step), _ENERGIES: len(energies), _SPREADS: len(spread), STRESSES_FILE: len(stress)}
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


def main(job: dict[str, Any], progress: Progress) -> None:
    """Gather the labels in the present folder; see the module's text.

    Raises:
        InputError: a file is missing, or holds another number of frames.
        ComputationError: CP2K did not reach its end.
    """
    outcome = read_log("cp2k.out").outcome
    if outcome.ended != "normal":
        raise ComputationError(f"cp2k.out: {outcome.message}")
    with np.load(_existing(Path("frames.npz")), allow_pickle=False) as stored:
        frames = {name: stored[name] for name in ("numbers", "positions", "cell")}
    found = read_network_labels(Path(), frames["cell"], len(frames["numbers"]))
    write_arrays("labels.npz", {**frames, **found})
    spread = np.linalg.norm(found["force_spread"], axis=-1)
    summary = {
        "settings": {"engine": "cp2k", "model": "committee network, bulkH2O-jcp2020-cnnp, 8 members", **job.get("record", {})},
        "versions": {"cp2k": outcome.engine_version},
        "frames": len(frames["cell"]),
        "labelled": len(frames["cell"]),
        "failed": 0,
        "force_spread_ev_per_angstrom": {"mean": float(spread.mean()), "max": float(spread.max())},
        "units": UNITS,
    }
    write_text("labels.json", json.dumps(summary, indent=2))
    progress(len(frames["cell"]), len(frames["cell"]), "frames")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; CP2K ended before it: look at cp2k.out beside it")
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


if __name__ == "__main__":
    run_job(main)
