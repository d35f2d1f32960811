"""What a LAMMPS run is asked to do, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vibraloom.calculators.lammps.models import METAL_MODEL, load_model
from vibraloom.errors import InputError


@dataclass(frozen=True)
class RunSettings:
    """What every run is asked to do.

    Attributes:
        temperature: (K) of velocities and equilibration.
        timestep: (fs) integration step.
        equilibration: (fs) Langevin time before production.
        length: (fs) production time, a multiple of ``every``.
        every: (fs) time between frames, a multiple of ``timestep``.
        seed: random seed, 0 or more.
        replica: index of the replica; another index gives other velocities.
        checkpoint: steps between restart files.
        wall_seconds: stop cleanly, with a checkpoint, after this wall time; None for no limit.
    """

    temperature: float
    timestep: float
    equilibration: float
    length: float
    every: float
    seed: int
    replica: int = 0
    checkpoint: int = 10_000
    wall_seconds: int | None = None

    def __post_init__(self) -> None:
        for key in ("temperature", "timestep", "length", "every"):
            if not 0 < getattr(self, key) < float("inf"):
                raise InputError(f"dynamics.{key}: {getattr(self, key):g}; allowed: above 0")
        if not 0 <= self.equilibration < float("inf"):
            raise InputError(f"dynamics.equilibration: {self.equilibration:g} fs; allowed: 0 or more")
        for key in ("seed", "replica"):
            if getattr(self, key) < 0:
                raise InputError(f"dynamics.{key}: {getattr(self, key)}; allowed: 0 or more")
        if self.checkpoint < 1:
            raise InputError(f"dynamics.checkpoint: {self.checkpoint} steps; allowed: 1 or more")
        if self.wall_seconds is not None and self.wall_seconds < 1:
            raise InputError(f"dynamics.wall_seconds: {self.wall_seconds}; allowed: 1 or more")
        _multiple("every", self.every, "timestep", self.timestep)
        _multiple("length", self.length, "every", self.every)

    @property
    def stride(self) -> int:
        """Steps between frames."""
        return _multiple("every", self.every, "timestep", self.timestep)

    @property
    def steps(self) -> int:
        """Steps of production."""
        return self.stride * _multiple("length", self.length, "every", self.every)

    @property
    def equilibration_steps(self) -> int:
        """Steps of equilibration."""
        return round(self.equilibration / self.timestep)

    @property
    def engine_seeds(self) -> tuple[int, int]:
        """Seeds of velocities and Langevin noise: positive, and different for each seed and replica."""
        first, second = np.random.SeedSequence([self.seed, self.replica]).generate_state(2)
        return int(first % 899_999_999) + 1, int(second % 899_999_999) + 1


@dataclass(frozen=True)
class Settings(RunSettings):
    """What a classical run is asked to do.

    Attributes:
        model: name of the molecules' model.
        metal: name of the slab atoms' model.
    """

    model: str = "spc/fw"
    metal: str = METAL_MODEL

    def __post_init__(self) -> None:
        super().__post_init__()
        load_model(self.model, "molecule")
        load_model(self.metal, "metal")


def _multiple(key: str, value: float, unit_key: str, unit: float) -> int:
    count = round(value / unit)
    if count < 1 or abs(value - count * unit) > 1e-6 * unit:
        raise InputError(
            f"dynamics.{key}: {value:g} fs is not a multiple of {unit_key} ({unit:g} fs); allowed: "
            f"{max(count, 1) * unit:g} fs"
        )
    return count
