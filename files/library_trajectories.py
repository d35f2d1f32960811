"""Trajectories that a library reads well: XTC through chemfiles, ASE's own through ASE."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError, MissingError
from vibraloom.files.binary_trajectories import gromacs_clock
from vibraloom.files.cells import cells_of
from vibraloom.files.frames import RawFrames, ScratchFrames, single_precision
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV

_BATCH = 64
_ASE_FS = AMU_ANGSTROM2_PER_FS2_IN_EV**0.5
"""ASE's unit of time, Å (amu/eV)^1/2, in fs."""


def library(name: str, extra: str) -> Any:
    """A module of an optional package.

    Raises:
        MissingError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        raise MissingError(f"{package} is needed for this format; get it with: pip install 'vibraloom[{extra}]'") from error


def read_xtc(path: str | Path, wanted: str) -> RawFrames:
    """Read positions from an XTC file of GROMACS: nm, ps, rounded to about 0.01 Å; it names no atoms.

    Raises:
        InputError: velocities are wanted, or a damaged file.
        MissingError: chemfiles is not installed.
    """
    if wanted == "velocity":
        raise InputError(f"{path}: XTC holds no velocities; write a TRR file (nstvout)")
    chemfiles = library("chemfiles", "trajectories")
    chemfiles.set_warnings_callback(lambda message: None)

    def guarded(call: Callable[..., Any], frame: int, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (chemfiles.ChemfilesError, ValueError, OverflowError, MemoryError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: frame {frame} cannot be read ({reason}); remove or recompute this frame") from error

    trajectory = guarded(chemfiles.Trajectory, 0, str(path), "r", "XTC")
    count = int(trajectory.nsteps)
    atoms = 0
    steps, times = np.empty(count, dtype=np.int64), np.empty(count)
    cells: list[NDArray[np.float64] | None] = []
    scratch: ScratchFrames | None = None
    batch: list[NDArray[np.float32]] = []
    for index in range(count):
        frame = guarded(trajectory.read_step, index, index)
        positions = np.asarray(frame.positions, dtype=np.float32)
        if scratch is None:
            atoms = len(positions)
            scratch = ScratchFrames(atoms)
        if len(positions) != atoms or not atoms:
            raise InputError(f"{path}: frame {index} has {len(positions)} atoms, frame 0 has {atoms}; keep one system per file")
        steps[index] = frame.step
        times[index] = guarded(frame.__getitem__, index, "time")
        matrix = np.asarray(frame.cell.matrix, dtype=np.float64).T
        cells.append(matrix if matrix.any() else None)
        batch.append(positions)
        if len(batch) == _BATCH or index == count - 1:
            scratch.append(np.stack(batch))
            batch.clear()
    trajectory.close()
    if scratch is None:
        raise InputError(f"{path}: holds no frame; give the trajectory that was meant")
    step_time, error = gromacs_clock(path, steps, times, 4)
    notes = (*scratch.notes, "XTC positions are rounded, by default to 0.01 angstrom")
    return RawFrames(
        scratch, unit="angstrom", steps=steps, step_time=step_time, step_time_error=error, cell=cells_of(cells), notes=notes
    )


def read_ase_trajectory(path: str | Path, wanted: str) -> RawFrames:
    """Read ``wanted`` (``velocity`` or ``position``) from ASE's ``.traj``, whose units are ASE's.

    Raises:
        InputError: a damaged file, atoms that change, or no momenta.
        MissingError: ASE is not installed.
    """
    reader = library("ase.io.trajectory", "workflows").TrajectoryReader
    index = 0
    first: Any = None
    cells: list[NDArray[np.float64] | None] = []
    scratch: ScratchFrames | None = None
    batch: list[NDArray[np.float32]] = []
    try:
        trajectory = reader(str(path))
        count = len(trajectory)
        description = getattr(trajectory, "description", None) or {}
        for index in range(count):
            atoms = trajectory[index]
            if scratch is None:
                first, scratch = atoms, ScratchFrames(len(atoms))
                if wanted == "velocity" and not atoms.has("momenta"):
                    raise InputError(f"{path}: frame 0 has no momenta; write the trajectory from molecular dynamics")
            if not np.array_equal(atoms.numbers, first.numbers) or not np.array_equal(atoms.get_masses(), first.get_masses()):
                raise InputError(f"{path}: frame {index} has other atoms than frame 0; keep one system per file")
            if wanted == "velocity" and not atoms.has("momenta"):
                raise InputError(f"{path}: frame {index} has no momenta; remove or recompute this frame")
            values = atoms.get_velocities() / _ASE_FS if wanted == "velocity" else atoms.positions
            batch.append(single_precision(np.asarray(values)).reshape(len(first), 3))
            cell = np.asarray(atoms.cell.array, dtype=np.float64)
            cells.append(cell if cell.any() else None)
            if len(batch) == _BATCH or index == count - 1:
                scratch.append(np.stack(batch))
                batch.clear()
        trajectory.close()
    except InputError:
        raise
    # a damaged file reaches ASE's decoder, which raises whatever its parts do
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: not ASE's .traj, or frame {index} is damaged ({reason}); recompute this frame") from error
    if scratch is None or len(first) == 0:
        raise InputError(f"{path}: holds no frame; give the trajectory that was meant")
    step = description.get("timestep") if isinstance(description, dict) else None
    known = isinstance(step, float) and 0 < step < 1e6
    return RawFrames(
        scratch,
        species=tuple(first.get_chemical_symbols()),
        masses=np.asarray(first.get_masses(), dtype=np.float64),
        unit="angstrom/fs" if wanted == "velocity" else "angstrom",
        multiple_of=step * _ASE_FS if known else None,
        cell=cells_of(cells),
        notes=scratch.notes,
    )


