"""LAMMPS input of a run on learned potentials (``pair_style deepmd``): one model, or a committee whose deviation is written.

Units real, as for the classical runs. The first model moves the atoms; the others only tell how far they disagree. A wall that a
model needs keeps pairs of one element apart: purely repulsive (Weeks, Chandler and Andersen, J. Chem. Phys. 54, 5237 (1971)).
Atoms that are held never move. Seeded velocities, Langevin equilibration, then NVE or Langevin production from step 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vibraloom import __version__
from vibraloom.calculators.lammps.script_lines import equilibration, header, production, thermometer, timer
from vibraloom.calculators.lammps.settings import RunSettings
from vibraloom.errors import InputError
from vibraloom.files.elements import SYMBOLS
from vibraloom.units import KCAL_PER_MOL_IN_EV

Pbc = tuple[bool, bool, bool]
FREE_MARGIN = 20.0
"""Å between a free molecule and the faces of its box, which follow the atoms."""
RUNAWAY = 5.0
"""Times the temperature asked for at which a run is stopped: it has exploded."""
MINIMUM_RUNAWAY = 3000.0
"""(K) Lowest temperature taken as an explosion; a few atoms fluctuate widely."""


@dataclass(frozen=True)
class Wall:
    """Repulsion between the atoms of one element: WCA with this depth (eV), zero from ``distance`` (Å) on."""

    element: str
    distance: float
    depth: float

    def __post_init__(self) -> None:
        if not (0 < self.distance < 10 and 0 < self.depth < 100):
            raise InputError(f"wall: distance {self.distance:g} Å, depth {self.depth:g} eV; allowed: above 0")


@dataclass(frozen=True)
class LearnedSettings(RunSettings):
    """What a run on learned potentials is asked to do.

    Attributes:
        ensemble: of the production.
        wall: between pairs of one element, or None.
        minimise: relax the structure first, as a packed one needs.
    """

    ensemble: str = "NVE"
    wall: Wall | None = None
    minimise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ensemble not in ("NVE", "NVT"):
            raise InputError(f"dynamics.ensemble: {self.ensemble!r}; allowed: NVE, NVT")


@dataclass(frozen=True)
class _Run:
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    masses: NDArray[np.float64]
    cell: NDArray[np.float64] | None
    pbc: Pbc
    held: NDArray[np.bool_]
    models: tuple[str, ...]
    settings: LearnedSettings
    kinds: tuple[tuple[int, float, bool], ...]
    """Atomic number, mass (amu) and held of each LAMMPS type."""
    kind: NDArray[np.int64]

    @property
    def takes_momentum(self) -> bool:
        return bool(self.held.any()) or self.pbc == (True, True, False)


def write_learned_input(
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    masses: NDArray[np.floating],
    cell: NDArray[np.floating] | None,
    pbc: Pbc,
    models: Sequence[str],
    settings: LearnedSettings,
    *,
    held: Sequence[int] = (),
    restart: tuple[str, int] | None = None,
) -> dict[str, str]:
    """Files of a run, new or from a restart file.

    Args:
        numbers: Array of int with shape (A,), atomic numbers.
        positions: (Å) Array with shape (A, 3).
        masses: (amu) Array with shape (A,).
        cell: (Å) Array with shape (3, 3), orthogonal, rows along x, y, z; None for a free molecule.
        pbc: all true, all false, or true, true, false.
        models: model files in the job's folder; the first moves the atoms.
        settings: what to run.
        held: indices of the atoms that never move.
        restart: restart file and number of the segment it begins; None for a new run.

    Returns:
        File name to text: ``in.lammps``, ``job.json``, and ``data.lammps`` of a new run.

    Raises:
        InputError: no model, shapes or a cell that do not fit, or a wall between atoms that are not there.
    """
    run = _prepared(numbers, positions, masses, cell, pbc, models, settings, held)
    segment = 0 if restart is None else restart[1]
    boundary = {(True, True, True): "p p p", (True, True, False): "p p f"}.get(run.pbc, "m m m")
    name = "learned potential" if len(run.models) == 1 else f"committee of {len(run.models)} learned potentials"
    lines = header(settings, name, segment, boundary, "atomic")
    lines.append("read_data data.lammps" if restart is None else f'read_restart "{restart[0]}"')
    lines += [*_forces(run, segment), *_groups(run), *timer(settings)]
    if restart is None:
        lines += [*_minimise(run), *_walls(run), *equilibration(settings, takes_momentum=run.takes_momentum)]
        lines += [line.replace("fix wall", "unfix wall").split(" mobile")[0] for line in _walls(run)]
    moves = ["fix move mobile nve", *_walls(run), *_halt(run)]
    if settings.ensemble == "NVT":
        _, noise_seed = settings.engine_seeds
        push = "no" if run.takes_momentum else "yes"
        temperature = f"{settings.temperature:.10g}"
        moves.append(f"fix bath mobile langevin {temperature} {temperature} 100.0 {noise_seed + segment} zero {push}")
    lines += production(settings, segment, moves)
    files = {"in.lammps": "\n".join(lines) + "\n", "job.json": _record(run)}
    return files if restart is not None else {**files, "data.lammps": _data_file(run)}


def deviation_file(segment: int) -> str:
    """File of a segment into which the committee's deviation is written."""
    return f"deviation-{segment:04d}.out"


def _prepared(
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    masses: NDArray[np.floating],
    cell: NDArray[np.floating] | None,
    pbc: Pbc,
    models: Sequence[str],
    settings: LearnedSettings,
    held: Sequence[int],
) -> _Run:
    atoms = len(numbers)
    if not models:
        raise InputError("dynamics: no learned potential; name a model")
    if np.shape(positions) != (atoms, 3) or np.shape(masses) != (atoms,) or not np.isfinite(positions).all():
        raise InputError(f"structure: {atoms} atoms, positions {np.shape(positions)}; finite numbers of shape (A, 3) are needed")
    if pbc not in ((True, True, True), (True, True, False), (False, False, False)):
        raise InputError(f"structure: pbc {pbc}; allowed: all true, all false, or true, true, false (a slab normal to z)")
    if any(pbc) and (cell is None or np.shape(cell) != (3, 3) or np.abs(cell - np.diag(np.diag(cell))).max() > 1e-6):
        raise InputError("structure: the cell is not orthogonal along x, y, z; build it so (orthogonal: true)")
    fixed = np.zeros(atoms, dtype=bool)
    fixed[list(held)] = True
    if fixed.all():
        raise InputError("structure: every atom is held; leave some free")
    each = list(zip((int(number) for number in numbers), (float(mass) for mass in masses), fixed.tolist(), strict=True))
    kinds = tuple(sorted(set(each), key=lambda kind: (-kind[0], kind[1], kind[2])))
    if settings.wall is not None and settings.wall.element not in {SYMBOLS[number] for number, _, _ in kinds}:
        raise InputError(f"wall: {settings.wall.element} is not in the structure; leave the wall out")
    return _Run(
        np.asarray(numbers, dtype=np.int64),
        np.asarray(positions, dtype=np.float64),
        np.asarray(masses, dtype=np.float64),
        np.asarray(cell, dtype=np.float64) if any(pbc) else None,
        pbc,
        fixed,
        tuple(models),
        settings,
        kinds,
        np.array([kinds.index(kind) for kind in each]),
    )


def _forces(run: _Run, segment: int) -> list[str]:
    committee = f" out_freq {run.settings.stride} out_file {deviation_file(segment)}" if len(run.models) > 1 else ""
    deepmd = f"deepmd {' '.join(run.models)}{committee}"
    elements = " ".join(SYMBOLS[number] for number, _, _ in run.kinds)
    wall = run.settings.wall
    if wall is None:
        lines = [f"pair_style {deepmd}", f"pair_coeff * * {elements}"]
    else:
        lines = [f"pair_style hybrid/overlay {deepmd} lj/cut {wall.distance:.10g}", f"pair_coeff * * deepmd {elements}"]
        lines += ["pair_modify shift yes"]
        walled = [index for index, (number, _, _) in enumerate(run.kinds, start=1) if SYMBOLS[number] == wall.element]
        sigma, depth = wall.distance / 2 ** (1 / 6), wall.depth / KCAL_PER_MOL_IN_EV
        lines += [f"pair_coeff {i} {j} lj/cut {depth:.10g} {sigma:.10g}" for i in walled for j in walled if i <= j]
    return [*lines, "neighbor 1.0 bin", "neigh_modify delay 0 every 1 check yes"]


def _groups(run: _Run) -> list[str]:
    mobile = [str(index) for index, (_, _, held) in enumerate(run.kinds, start=1) if not held]
    return [f"group mobile type {' '.join(mobile)}", *thermometer(takes_momentum=run.takes_momentum)]


def _minimise(run: _Run) -> list[str]:
    if not run.settings.minimise:
        return []
    lines = ["thermo 500", "min_style cg", "minimize 1.0e-4 1.0e-4 200 2000"]
    if run.held.any():
        lines = ["group held subtract all mobile", "fix hold held setforce 0.0 0.0 0.0", *lines, "unfix hold"]
    return lines


def _walls(run: _Run) -> list[str]:
    return ["fix wall mobile wall/reflect zlo EDGE zhi EDGE"] if run.pbc == (True, True, False) else []


def _halt(run: _Run) -> list[str]:
    limit = max(MINIMUM_RUNAWAY, RUNAWAY * run.settings.temperature)
    return ["variable heat equal c_warmth", f"fix runaway all halt 20 v_heat > {limit:.10g} error soft message yes"]


def _data_file(run: _Run) -> str:
    if run.cell is None:
        low, high = run.positions.min(axis=0) - FREE_MARGIN, run.positions.max(axis=0) + FREE_MARGIN
    else:
        low, high = np.zeros(3), np.diag(run.cell).copy()
        if not run.pbc[2]:
            low[2], high[2] = min(0.0, run.positions[:, 2].min() - 1.0), max(high[2], run.positions[:, 2].max() + 1.0)
    text = [f"vibraloom {__version__}", "", f"{len(run.numbers)} atoms", f"{len(run.kinds)} atom types", ""]
    text += [f"{low[i]:.10f} {high[i]:.10f} {name}lo {name}hi" for i, name in enumerate("xyz")]
    text += ["", "Masses", ""]
    text += [f"{i} {mass:.10g}  # {SYMBOLS[number]}" for i, (number, mass, _) in enumerate(run.kinds, start=1)]
    text += ["", "Atoms # atomic", ""]
    text += [f"{i + 1} {run.kind[i] + 1} {x:.12f} {y:.12f} {z:.12f}" for i, (x, y, z) in enumerate(run.positions)]
    return "\n".join(text) + "\n"


def _record(run: _Run) -> str:
    record = {
        "schema": 1,
        "timestep": run.settings.timestep,
        "every": run.settings.stride,
        "steps": run.settings.steps,
        "numbers": run.numbers.tolist(),
        "masses": run.masses.tolist(),
        "cell": None if run.cell is None else run.cell.tolist(),
        "pbc": list(run.pbc),
        "models": list(run.models),
        "seed": run.settings.seed,
        "replica": run.settings.replica,
        "trajectory": "trajectory-00.h5",
        "folders": ["."],
        "settings": asdict(run.settings),
    }
    return json.dumps(record, indent=1) + "\n"
