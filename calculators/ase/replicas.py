"""A group of replicas carried through equilibration and production, with segments and exact checkpoints on
disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

from vibraloom.calculators.ase.verlet import (
    Array,
    ForceFunction,
    State,
    kinetic_energy,
    langevin_step,
    remove_drift,
    thermal_velocities,
    verlet_step,
)
from vibraloom.calculators.job import write_arrays
from vibraloom.durable import replacing
from vibraloom.errors import ComputationError
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.units import BOLTZMANN_EV_PER_K

HOTTEST = 20.0
"""A replica hotter than this many times its target has exploded."""
LONGEST_BOND = 3.0
"""A bond longer than this many times its length in structure.extxyz has exploded."""


@dataclass(frozen=True)
class Plan:
    """The numbers of one dynamics run; steps count time steps (fs), production starts at step 0."""

    engine: dict[str, Any]
    temperature: float
    timestep: float
    stride: int
    steps: int
    equilibration: int
    friction: float
    seed: int
    replicas: int
    checkpoint: int
    initial: str
    remove: str


@dataclass
class _Run:
    """Where a group stands: at ``step`` (negative while equilibrating), with ``segments`` on disk."""

    step: int
    segments: int
    positions: Array
    velocities: Array
    generators: list[np.random.Generator]


def advance_replicas(
    plan: Plan, group: Sequence[int], atoms: Atoms, forces: ForceFunction, report: Callable[[int], None]
) -> None:
    """Carry the replicas of ``group`` to the end of ``plan``, from their checkpoint if there is one.

    A segment file per replica is complete and on disk before the checkpoint that names it; frames after the
    last checkpoint are computed again.

    Args:
        plan: the run.
        group: replica numbers that advance together.
        atoms: the structure all start from.
        forces: the engine.
        report: told the steps done, equilibration included.

    Raises:
        ComputationError: a replica exploded; the message names replica and step, exploded.extxyz holds the
            frame.
    """
    run = _load(group) or _fresh(plan, group, atoms)
    masses = atoms.get_masses()
    watch = _Watch(plan, group, atoms)
    state = State(run.positions, run.velocities, forces(run.positions))
    while run.step < plan.steps:
        if run.step < 0:
            _equilibrate(plan, run, state, masses, forces, watch, report)
        else:
            recorded = _produce(plan, run, state, masses, forces, watch, report)
            for index, replica in enumerate(group):
                segment = recorded.trajectory(plan, atoms, replica, index)
                write_trajectory(f"segment-{replica:02d}-{run.segments:04d}.h5", segment)
            run.segments += 1
        run.positions, run.velocities = state.positions, state.velocities
        _save(group, run)


def _fresh(plan: Plan, group: Sequence[int], atoms: Atoms) -> _Run:
    sources = np.random.SeedSequence(plan.seed).spawn(plan.replicas)
    generators = [np.random.default_rng(sources[replica]) for replica in group]
    masses = atoms.get_masses()
    velocities = thermal_velocities(masses, plan.temperature, generators)
    if plan.initial == "zero":
        velocities = np.zeros_like(velocities)
    if plan.remove == "translation":
        velocities = remove_drift(velocities, masses)
    positions = np.repeat(atoms.get_positions()[None], len(group), axis=0)
    return _Run(-plan.equilibration, 0, positions, velocities, generators)


def _equilibrate(
    plan: Plan,
    run: _Run,
    state: State,
    masses: Array,
    forces: ForceFunction,
    watch: _Watch,
    report: Callable[[int], None],
) -> None:
    """Langevin steps up to the next checkpoint or to step 0, where the drift of the whole is taken out."""
    until = min(0, run.step + plan.checkpoint * plan.stride)
    while run.step < until:
        langevin_step(
            state,
            masses,
            plan.timestep,
            forces,
            temperature=plan.temperature,
            friction=plan.friction,
            generators=run.generators,
        )
        run.step += 1
        watch.positions(state, run.step)
        if run.step % plan.stride == 0:
            watch.frame(state, run.step)
            report(run.step + plan.equilibration)
    if run.step == 0 and plan.remove == "translation":
        state.velocities = remove_drift(state.velocities, masses)


class _Recorded:
    """Frames of one segment of a group."""

    def __init__(self) -> None:
        self.step: list[int] = []
        self.positions: list[Array] = []
        self.velocities: list[Array] = []
        self.observables: dict[str, list[Array]] = {}

    def trajectory(self, plan: Plan, atoms: Atoms, replica: int, index: int) -> Trajectory:
        """The frames of one replica."""
        pbc = atoms.pbc
        return Trajectory(
            numbers=atoms.numbers.astype(np.int64),
            masses=atoms.get_masses(),
            step=np.array(self.step, dtype=np.int64),
            timestep=plan.timestep,
            positions=np.array([frame[index] for frame in self.positions]),
            velocities=np.array([frame[index] for frame in self.velocities]),
            cell=atoms.cell.array if pbc.any() else None,
            pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
            observables={name: np.array([v[index] for v in values]) for name, values in self.observables.items()},
            attributes={
                "replica": replica,
                "seed": plan.seed,
                "target_temperature": plan.temperature,
                "ensemble": "NVE",
                "removed_motion": plan.remove,
                "engine": json.dumps(plan.engine),
            },
        )


def _produce(
    plan: Plan,
    run: _Run,
    state: State,
    masses: Array,
    forces: ForceFunction,
    watch: _Watch,
    report: Callable[[int], None],
) -> _Recorded:
    """Velocity Verlet steps up to the next checkpoint or the end; frames are taken at multiples of the
    stride."""
    recorded = _Recorded()
    until = min(plan.steps, (run.step // plan.stride + plan.checkpoint) * plan.stride)
    while run.step < until:
        if run.step % plan.stride == 0:
            kinetic, temperature = watch.frame(state, run.step)
            recorded.step.append(run.step)
            recorded.positions.append(state.positions)
            recorded.velocities.append(state.velocities)
            values = {
                "potential_energy": state.current.energy,
                "kinetic_energy": kinetic,
                "temperature": temperature,
            }
            if state.current.dipole is not None:
                values["dipole"] = state.current.dipole
            for name, value in values.items():
                recorded.observables.setdefault(name, []).append(value)
            report(run.step + plan.equilibration)
        verlet_step(state, masses, plan.timestep, forces)
        run.step += 1
        watch.positions(state, run.step)
    report(run.step + plan.equilibration)
    return recorded


class _Watch:
    """Sees a replica explode: not finite, too hot, or a bond torn far apart."""

    def __init__(self, plan: Plan, group: Sequence[int], atoms: Atoms) -> None:
        self._plan, self._group, self._atoms = plan, list(group), atoms
        self._masses = atoms.get_masses()
        removed = 3 if plan.remove == "translation" and len(atoms) > 1 else 0
        self._freedom = 3 * len(atoms) - removed
        first, second, shift = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=1.1))
        once = first < second
        self._first, self._second = first[once], second[once]
        self._offset = shift[once] @ atoms.cell.array
        self._length = self._distances(atoms.get_positions()[None])[0]
        self._good = np.repeat(atoms.get_positions()[None], len(self._group), axis=0)

    def _distances(self, positions: Array) -> Array:
        return np.linalg.norm(positions[:, self._second] - positions[:, self._first] + self._offset, axis=-1)

    def positions(self, state: State, step: int) -> None:
        """Refuse positions or forces that are not finite."""
        if np.isfinite(state.positions.sum() + state.current.forces.sum()):
            return
        finite = np.isfinite(state.positions).all(axis=(1, 2)) & np.isfinite(state.current.forces).all(axis=(1, 2))
        self._stop(int(np.argmin(finite)), step, "a position or force is not a number", self._good)

    def frame(self, state: State, step: int) -> tuple[Array, Array]:
        """Kinetic energies (eV) and temperatures (K) of the replicas, refused where they exploded."""
        kinetic = kinetic_energy(state.velocities, self._masses)
        temperature = 2 * kinetic / (self._freedom * BOLTZMANN_EV_PER_K)
        limit = HOTTEST * self._plan.temperature
        if temperature.max() > limit:
            index = int(temperature.argmax())
            text = f"temperature {temperature[index]:.0f} K, more than {HOTTEST:g} times the target"
            self._stop(index, step, text, state.positions)
        if len(self._length):
            stretch = self._distances(state.positions) / self._length
            if stretch.max() > LONGEST_BOND:
                torn, bond = np.unravel_index(int(stretch.argmax()), stretch.shape)
                pair = f"{self._first[bond]}-{self._second[bond]}"
                text = f"bond {pair} is {stretch[torn, bond]:.1f} times its length at the start"
                self._stop(int(torn), step, text, state.positions)
        self._good = state.positions
        return kinetic, temperature

    def _stop(self, index: int, step: int, reason: str, positions: NDArray[np.float64]) -> None:
        frame = self._atoms.copy()
        frame.calc = None
        frame.set_positions(positions[index])
        with replacing("exploded.extxyz") as temporary:
            write(temporary, frame, format="extxyz")
        raise ComputationError(
            f"dynamics: replica {self._group[index]}, step {step}: {reason}; see exploded.extxyz, "
            "lower the timestep or give the model labels like that frame"
        )


def _checkpoint_path(group: Sequence[int]) -> Path:
    return Path(f"checkpoint-{group[0]:02d}-{group[-1]:02d}.npz")


def _save(group: Sequence[int], run: _Run) -> None:
    states = [json.dumps(generator.bit_generator.state) for generator in run.generators]
    arrays = {
        "step": run.step,
        "segments": run.segments,
        "positions": run.positions,
        "velocities": run.velocities,
        "generators": np.array(states),
    }
    write_arrays(_checkpoint_path(group), arrays)


def _load(group: Sequence[int]) -> _Run | None:
    path = _checkpoint_path(group)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            generators = []
            for text in stored["generators"]:
                generator = np.random.default_rng(0)
                generator.bit_generator.state = json.loads(str(text))
                generators.append(generator)
            return _Run(
                step=int(stored["step"]),
                segments=int(stored["segments"]),
                positions=stored["positions"],
                velocities=stored["velocities"],
                generators=generators,
            )
    except (OSError, KeyError, ValueError) as error:
        raise ComputationError(f"{path}: damaged ({error}); remove it and start the job again") from error
