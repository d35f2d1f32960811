"""Frames to be labelled: Langevin dynamics of structure.extxyz with a fast engine.

Run as ``python -m vibraloom.calculators.ase.sampling job.json``. Keys: temperature (K), frames, seed;
optional timestep (0.5 fs), every (20 fs between frames), equilibration (200 fs), friction (0.02 / fs), engine
(tblite GFN2).
Result: frames.extxyz with positions alone.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from vibraloom.calculators.ase.engines import make_forces, read_structure
from vibraloom.calculators.ase.verlet import State, langevin_step, thermal_velocities
from vibraloom.calculators.job import (
    Progress,
    multiple_of_timestep,
    positive,
    run_job,
    versions,
    whole_number,
)
from vibraloom.durable import replacing, write_text
from vibraloom.errors import ComputationError, InputError


def main(job: dict[str, Any], progress: Progress) -> None:
    """Sample frames; see the module's text for the keys.

    Raises:
        InputError: bad structure or numbers.
        ComputationError: the engine failed or the molecule fell apart.
    """
    temperature = positive(job, "temperature")
    frames = whole_number(job, "frames")
    timestep = positive(job, "timestep", 0.5)
    stride = multiple_of_timestep(job, "every", timestep, 20.0)
    if stride == 0:
        raise InputError("job.json: every is 0 fs; allowed: at least one timestep between frames")
    equilibration = multiple_of_timestep(job, "equilibration", timestep, 200.0)
    friction = positive(job, "friction", 0.02)
    seed = whole_number(job, "seed", minimum=0)
    engine = job.get("engine", {"kind": "tblite"})
    atoms = read_structure("structure.extxyz")
    forces = make_forces(engine, atoms)
    generators = [np.random.default_rng(seed)]
    masses = atoms.get_masses()
    origin = atoms.get_positions()
    state = State(
        positions=origin[None],
        velocities=thermal_velocities(masses, temperature, generators),
        current=forces(origin[None]),
    )
    kept = []
    total = equilibration + frames * stride
    for step in range(1, total + 1):
        langevin_step(
            state, masses, timestep, forces, temperature=temperature, friction=friction, generators=generators
        )
        if not np.isfinite(state.positions).all():
            raise ComputationError(f"sampling: positions are not finite at step {step}; lower timestep or temperature")
        if step > equilibration and (step - equilibration) % stride == 0:
            frame = atoms.copy()
            frame.calc = None
            drift = np.average(state.positions[0] - origin, axis=0, weights=masses)
            frame.set_positions(state.positions[0] - drift)
            frame.info = {}
            kept.append(frame)
            progress(len(kept), frames, "frames")
    _refuse_fragments(kept, atoms)
    from ase.io import write

    with replacing("frames.extxyz") as temporary:
        write(temporary, kept, format="extxyz", columns=["symbols", "positions"])
    write_text(
        "sampling.json",
        json.dumps(
            {
                "engine": engine,
                "temperature": temperature,
                "timestep": timestep,
                "stride": stride,
                "friction": friction,
                "seed": seed,
                "frames": frames,
                "versions": versions(("tblite", "numpy", "ase")),
            },
            indent=2,
        ),
    )


def _refuse_fragments(frames: list[Any], atoms: Any) -> None:
    from ase.neighborlist import natural_cutoffs, neighbor_list

    pairs = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.1))
    for index, frame in enumerate(frames):
        for i, j in zip(*pairs, strict=True):
            if i < j and frame.get_distance(i, j, mic=True) > 2 * atoms.get_distance(i, j, mic=True):
                raise ComputationError(
                    f"sampling: frame {index}: bond {i}-{j} is {frame.get_distance(i, j, mic=True):.2f} Å, "
                    "more than twice its start; lower the temperature"
                )


if __name__ == "__main__":
    run_job(main)
