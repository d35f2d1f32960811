"""Replica molecular dynamics: Langevin equilibration, then energy-conserving velocity Verlet from
structure.extxyz.

Run as ``python -m vibraloom.calculators.ase.dynamics job.json``. Keys: engine, temperature (K), timestep,
length, every (fs), seed; optional replicas (1), equilibration (1000 fs), friction (0.02 / fs), checkpoint
(frames per segment, 1000), processes (1), initial ({"velocities": "thermal" | "zero"}), remove ("translation"
| "none"), previous (folder of an earlier attempt). Result: trajectory-RR.h5 per replica, frames at steps 0,
stride, … below length.

A run that was cut off continues from its last checkpoint when it is started again; a longer ``length``
extends it.
"""

from __future__ import annotations

import json
import multiprocessing
import queue
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from vibraloom.calculators.ase.engines import make_forces, read_structure, tethered
from vibraloom.calculators.ase.replicas import Plan, advance_replicas
from vibraloom.calculators.job import (
    Progress,
    multiple_of_timestep,
    positive,
    required,
    run_job,
    versions,
    whole_number,
)
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import Trajectory, join_segments, read_trajectory, write_trajectory

SETTINGS = Path("dynamics-settings.json")
BATCH_ATOMS = 300
"""Below this many atoms in all, a network or springs advance every replica in one call: start-up and overhead
win."""


def read_plan(job: dict[str, Any]) -> Plan:
    """The numbers of a dynamics job, checked.

    Raises:
        InputError: a key is missing, out of range, or a time is no multiple of the timestep.
    """
    engine = required(job, "engine")
    timestep = positive(job, "timestep")
    stride = multiple_of_timestep(job, "every", timestep)
    steps = multiple_of_timestep(job, "length", timestep)
    if stride == 0 or steps == 0:
        raise InputError("job.json: every and length must be at least one timestep")
    initial = job.get("initial", {}).get("velocities", "thermal")
    if initial not in ("thermal", "zero"):
        raise InputError(f"job.json: initial velocities are {initial!r}; allowed: thermal, zero")
    remove = job.get("remove", "none" if tethered(engine) else "translation")
    if remove not in ("translation", "none"):
        raise InputError(f"job.json: remove is {remove!r}; allowed: translation, none")
    return Plan(
        engine=engine,
        temperature=positive(job, "temperature"),
        timestep=timestep,
        stride=stride,
        steps=steps,
        equilibration=multiple_of_timestep(job, "equilibration", timestep, 1000.0),
        friction=positive(job, "friction", 0.02),
        seed=whole_number(job, "seed", minimum=0),
        replicas=whole_number(job, "replicas", 1),
        checkpoint=whole_number(job, "checkpoint", 1000),
        initial=initial,
        remove=remove,
    )


def replica_groups(plan: Plan, atoms: int, processes: int) -> list[list[int]]:
    """Which replicas advance together in one process."""
    batched = plan.engine.get("kind") in ("deepmd", "harmonic") and atoms * plan.replicas <= BATCH_ATOMS
    count = 1 if batched else min(processes, plan.replicas)
    return [part.tolist() for part in np.array_split(np.arange(plan.replicas), count)]


@dataclass
class _Stored:
    """dynamics-settings.json: what a continued run must agree with."""

    plan: dict[str, Any]
    groups: list[list[int]]
    structure: str
    model: str | None


def _agree(plan: Plan, groups: list[list[int]]) -> list[list[int]]:
    """Groups of the run in this folder: those of the earlier attempt if there was one.

    Raises:
        InputError: the earlier attempt had other settings, another structure or another model.
    """
    model = plan.engine.get("model")
    mine = _Stored(
        plan={key: value for key, value in asdict(plan).items() if key not in ("steps", "engine")}
        | {"engine": {key: value for key, value in plan.engine.items() if key != "model"}},
        groups=groups,
        structure=sha256(Path("structure.extxyz").read_bytes()).hexdigest(),
        model=sha256(Path(model).read_bytes()).hexdigest() if model and Path(model).is_file() else None,
    )
    if not SETTINGS.exists():
        write_text(SETTINGS, json.dumps(asdict(mine), indent=2))
        return groups
    stored = json.loads(SETTINGS.read_text(encoding="utf-8"))
    for key in ("plan", "structure", "model"):
        if stored[key] != json.loads(json.dumps(asdict(mine)))[key]:
            raise InputError(
                f"{SETTINGS}: the earlier attempt in this folder had another {key}; start in an empty folder"
            )
    return [list(group) for group in stored["groups"]]


def _fetch_previous(folder: Path) -> None:
    """Copy the earlier attempt's segments, then its checkpoints, where this folder has none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; previous names the folder of an earlier attempt")
    if SETTINGS.exists() or not (folder / SETTINGS).exists():
        return
    for pattern in (
        "segment-*.h5",
        "checkpoint-*.npz",
        SETTINGS.name,
    ):  # the settings last: they declare the rest
        for source in sorted(folder.glob(pattern)):
            shutil.copyfile(source, source.name)


_report: Any = None


def _start_worker(reports: Any) -> None:
    global _report
    _report = reports


def _advance_in_worker(plan: Plan, group: list[int]) -> None:
    atoms = read_structure("structure.extxyz")
    advance_replicas(plan, group, atoms, make_forces(plan.engine, atoms), lambda done: _report.put((group[0], done)))


def _advance_all(plan: Plan, groups: list[list[int]], processes: int, progress: Progress) -> None:
    total = (plan.equilibration + plan.steps) * len(groups)
    if len(groups) == 1:
        atoms = read_structure("structure.extxyz")
        show: Callable[[int], None] = lambda done: progress(done, total + 1, "steps")  # noqa: E731
        advance_replicas(plan, groups[0], atoms, make_forces(plan.engine, atoms), show)
        return
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    done: dict[int, int] = {}
    with ProcessPoolExecutor(min(processes, len(groups)), context, _start_worker, (reports,)) as pool:
        pending = {pool.submit(_advance_in_worker, plan, group) for group in groups}
        failures: list[BaseException] = []
        while pending:
            finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            failures += [error for error in (future.exception() for future in finished) if error is not None]
            while True:
                try:
                    first, steps = reports.get_nowait()
                except queue.Empty:
                    break
                done[first] = steps
            progress(sum(done.values()), total + 1, "steps")
    for error in failures:
        if isinstance(error, BrokenProcessPool):
            raise ComputationError(
                "a dynamics process was ended from outside (memory?); start the job again: it continues"
            ) from error
        raise error


def energy_drift(trajectory: Trajectory) -> float:
    """Slope of the total energy (eV per atom per ps) by least squares; 0 for fewer than 3 frames."""
    if trajectory.frames < 3:
        return 0.0
    time = trajectory.step * trajectory.timestep * 1e-3
    energy = trajectory.observables["potential_energy"] + trajectory.observables["kinetic_energy"]
    time = time - time.mean()
    return float(time @ (energy - energy.mean()) / (time @ time)) / len(trajectory.numbers)


def main(job: dict[str, Any], progress: Progress) -> None:
    """Run or continue the dynamics; see the module's text for the keys.

    Raises:
        InputError: bad keys, structure or model, or an earlier attempt with other settings.
        ComputationError: a replica exploded or the engine failed.
    """
    plan = read_plan(job)
    atoms = read_structure("structure.extxyz")
    processes = whole_number(job, "processes", 1)
    if "previous" in job:
        _fetch_previous(Path(job["previous"]))
    groups = _agree(plan, replica_groups(plan, len(atoms), processes))
    _advance_all(plan, groups, processes, progress)
    drifts = []
    for replica in range(plan.replicas):
        paths = sorted(Path().glob(f"segment-{replica:02d}-*.h5"))
        joined = join_segments([read_trajectory(path) for path in paths])
        if joined.step[-1] >= plan.steps:
            raise InputError(
                f"job.json: length is shorter than the {int(joined.step[-1])} steps that are done; give at least those"
            )
        drift = energy_drift(joined)
        joined.attributes |= {"energy_drift": drift, "energy_drift_unit": "eV/atom/ps"}
        write_trajectory(f"trajectory-{replica:02d}.h5", joined)
        drifts.append(drift)
    summary = {
        "plan": asdict(plan),
        "groups": groups,
        "energy_drift": drifts,
        "energy_drift_unit": "eV/atom/ps",
        "versions": versions(("ase", "numpy", "deepmd-kit", "tensorflow-cpu", "pyscf", "tblite")),
    }
    write_text("dynamics.json", json.dumps(summary, indent=2))


if __name__ == "__main__":
    run_job(main)
