"""Velocity Verlet and Langevin steps for several replicas of one system at once.

The replicas advance together, so that an engine which evaluates many frames in one call (a network) is called
once a step. Velocities are in Å/fs and the integrators are those of every textbook; the random numbers of
each replica come from its own generator, so that a replica does not depend on how many others there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

Array = NDArray[np.float64]


@dataclass
class Forces:
    """What an engine says of R replicas: energy (eV) (R,), forces (eV/Å) (R, A, 3), dipole (e·Å) (R, 3) or
    None."""

    energy: Array
    forces: Array
    dipole: Array | None = None


ForceFunction = Callable[[Array], Forces]
"""Positions (Å) with shape (R, A, 3) to :class:`Forces`."""


@dataclass
class State:
    """Positions (Å) and velocities (Å/fs), each with shape (R, A, 3), and the forces there."""

    positions: Array
    velocities: Array
    current: Forces


def kinetic_energy(velocities: Array, masses: Array) -> Array:
    """Kinetic energy (eV) of each replica, shape (R,), from velocities (Å/fs) (R, A, 3) and masses (amu)
    (A,)."""
    return 0.5 * AMU_ANGSTROM2_PER_FS2_IN_EV * np.einsum("a,rai,rai->r", masses, velocities, velocities)


def thermal_velocities(masses: Array, temperature: float, generators: Sequence[np.random.Generator]) -> Array:
    """Maxwell–Boltzmann velocities (Å/fs), shape (R, A, 3), at ``temperature`` (K) for masses (amu) (A,)."""
    width = np.sqrt(BOLTZMANN_EV_PER_K * temperature / (masses * AMU_ANGSTROM2_PER_FS2_IN_EV))
    return np.array([generator.standard_normal((len(masses), 3)) for generator in generators]) * width[:, None]


def remove_drift(velocities: Array, masses: Array) -> Array:
    """Velocities (R, A, 3) without the motion of the centre of mass (masses (A,)); rotation is kept."""
    return velocities - (np.einsum("a,rai->ri", masses, velocities) / masses.sum())[:, None, :]


def verlet_step(state: State, masses: Array, timestep: float, forces: ForceFunction) -> None:
    """One velocity Verlet step of ``timestep`` fs, in place (Swope et al., J. Chem. Phys. 76, 637 (1982))."""
    half = 0.5 * timestep / (masses[:, None] * AMU_ANGSTROM2_PER_FS2_IN_EV)
    state.velocities = state.velocities + half * state.current.forces
    state.positions = state.positions + timestep * state.velocities
    state.current = forces(state.positions)
    state.velocities = state.velocities + half * state.current.forces


def langevin_step(
    state: State,
    masses: Array,
    timestep: float,
    forces: ForceFunction,
    *,
    temperature: float,
    friction: float,
    generators: Sequence[np.random.Generator],
) -> None:
    """One BAOAB Langevin step of ``timestep`` fs, in place (Leimkuhler and Matthews, Appl. Math. Res. Express
    2013, 34).

    Args:
        state: positions, velocities and forces of R replicas.
        masses: (amu) Array with shape (A,).
        timestep: (fs).
        forces: the engine.
        temperature: (K).
        friction: (1/fs).
        generators: one random generator per replica.
    """
    half = 0.5 * timestep / (masses[:, None] * AMU_ANGSTROM2_PER_FS2_IN_EV)
    kept = np.exp(-friction * timestep)
    state.velocities = state.velocities + half * state.current.forces
    state.positions = state.positions + 0.5 * timestep * state.velocities
    kick = thermal_velocities(masses, temperature, generators)
    state.velocities = kept * state.velocities + np.sqrt(1 - kept**2) * kick
    state.positions = state.positions + 0.5 * timestep * state.velocities
    state.current = forces(state.positions)
    state.velocities = state.velocities + half * state.current.forces
