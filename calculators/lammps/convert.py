"""Turn a finished LAMMPS run into a trajectory: ``python -m vibraloom.calculators.lammps.convert job.json``,
in the job's folder.

Writes the trajectory when production is complete, or ``incomplete.json`` ({"last_step", "restart",
"restart_step", "segments", "notes"}) when it is not; either way the exit code is 0, nothing is printed, and
done.json is written last (see :mod:`vibraloom.calculators.job`; a failure leaves error.json and one line on
stderr). ``restart`` is the newest whole restart file, relative to the job's folder, or null: then the run
must begin again, in an empty folder. ``segments`` is the number for the next segment.

Keys of job.json (written by :mod:`.input_writer`):

=============  ===================================================================================
schema         1
timestep       integration step in fs
every          steps between frames
steps          steps of production; the last frame has this step
numbers        atomic numbers, one per atom
masses         amu, one per atom
cell           three rows in Å, or null for a free cluster
pbc            three booleans
models         names of the models
seed, replica  integers
trajectory     name of the file to write
folders        folders with segments, earlier ones first, relative to the job's folder (default ["."])
settings       all settings of the run, for the reader (not used here)
=============  ===================================================================================
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vibraloom.calculators.job import Progress, run_job
from vibraloom.calculators.lammps.checkpoints import newest_restart
from vibraloom.calculators.lammps.output_reader import read_output
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.elements import SYMBOLS
from vibraloom.files.trajectory import Trajectory, write_trajectory

REQUIRED = (
    "timestep",
    "every",
    "steps",
    "numbers",
    "masses",
    "pbc",
    "models",
    "seed",
    "replica",
    "trajectory",
)
INCOMPLETE = "incomplete.json"
EXPLODED = "exploded.extxyz"
"""The last frame of a run that exploded."""


def convert(folder: Path, record: dict[str, Any]) -> Path:
    """Write the trajectory of the run in ``folder``, or ``incomplete.json`` when frames are missing.

    Args:
        folder: the job's folder.
        record: the job record (keys above).

    Returns:
        The file that was written.

    Raises:
        InputError: a key is missing, or a file does not belong to this run.
        ComputationError: LAMMPS reported an error, a value is not a number, or the run exploded.
    """
    missing = [key for key in REQUIRED if key not in record]
    if missing:
        raise InputError(f"job.json: key {missing[0]!r} is missing; write the record with write_input")
    if record.get("schema", 1) != 1:
        raise InputError(f"job.json: schema {record['schema']}; this release reads 1; update vibraloom")
    folders = [folder / name for name in record.get("folders", ["."])]
    output = read_output(folders, record)
    trajectory_path, incomplete_path = folder / record["trajectory"], folder / INCOMPLETE
    if output.exploded:
        last = _keep_last_frame(folder / EXPLODED, output.trajectory)
        raise ComputationError(
            f"dynamics: the run exploded {output.exploded}{last}; train on frames like it, take a smaller timestep or a wall"
        )
    expected = int(record["steps"]) // int(record["every"]) + 1
    if output.complete and output.trajectory is not None and output.trajectory.frames == expected:
        write_trajectory(trajectory_path, output.trajectory)
        incomplete_path.unlink(missing_ok=True)
        return trajectory_path
    newest = newest_restart(folders)
    numbers = [int(p.stem.removeprefix("log-")) for place in folders for p in place.glob("log-*.lammps")]
    report = {
        "last_step": output.last_step,
        "restart": None if newest is None else os.path.relpath(newest[0], folder),
        "restart_step": None if newest is None else newest[1],
        "segments": max(numbers, default=-1) + 1,
        "notes": output.notes,
    }
    write_text(incomplete_path, json.dumps(report, indent=1) + "\n")
    return incomplete_path


def _keep_last_frame(path: Path, trajectory: Trajectory | None) -> str:
    """Write the last frame (Å); returns words that name the file, "" where there is no frame."""
    if trajectory is None:
        return ""
    cell = "" if trajectory.cell is None else f'Lattice="{" ".join(f"{value:.10g}" for value in trajectory.cell.ravel())}" '
    flags = " ".join("T" if flag else "F" for flag in trajectory.pbc)
    lines = [str(len(trajectory.numbers)), f'{cell}Properties=species:S:1:pos:R:3 pbc="{flags}" step={int(trajectory.step[-1])}']
    for number, (x, y, z) in zip(trajectory.numbers, trajectory.positions[-1], strict=True):
        lines.append(f"{SYMBOLS[int(number)]} {x:.8f} {y:.8f} {z:.8f}")
    write_text(path, "\n".join(lines) + "\n")
    return f"; its last frame is in {path.name}"


def main(job: dict[str, Any], progress: Progress) -> None:
    """Convert the run in the present folder; the work of ``python -m
    vibraloom.calculators.lammps.convert``."""
    convert(Path(), job)


if __name__ == "__main__":
    run_job(main)
