"""LAMMPS input of a classical run: data file, input script, job record; and the script that continues a run.

Units real (Å, fs, kcal/mol, e, amu). Boundaries: periodic bulk (pbc all true), a slab or film (true, true,
false) with the Yeh–Berkowitz correction (J. Chem. Phys. 111, 3155 (1999): fixed displacement field along z),
or a free cluster (all false). Slab atoms never move. Minimisation, seeded velocities, Langevin equilibration,
then NVE production from step 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vibraloom import __version__
from vibraloom.calculators.lammps.models import ClassicalModel, load_model
from vibraloom.calculators.lammps.script_lines import equilibration, header, production, thermometer, timer
from vibraloom.calculators.lammps.settings import Settings
from vibraloom.calculators.lammps.topology import Topology, build_topology
from vibraloom.errors import InputError

SLAB_FACTOR = 3.0
"""Height of the periodic cell of the electrostatics over the height of the box."""
FREE_MARGIN = 10.0
"""Å between a free cluster and its first box; the box then follows the atoms."""
WALL_MARGIN = 1.0
"""Å that must remain between a film's atoms and the reflecting wall at the top of the cell."""
FREE_COULOMB_CUTOFF = 200.0
"""Å; a free cluster's Coulomb sum is complete up to this size."""


@dataclass(frozen=True)
class _Prepared:
    """Arrays after checking, with the box: low and high corner in Å."""

    topology: Topology
    settings: Settings
    liquid: ClassicalModel
    numbers: NDArray[np.int64]
    pbc: tuple[bool, bool, bool]
    cell: NDArray[np.float64] | None
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def slab(self) -> bool:
        return self.pbc == (True, True, False)

    @property
    def free(self) -> bool:
        return self.pbc == (False, False, False)

    @property
    def has_frozen(self) -> bool:
        return bool(self.topology.frozen.any())


def write_input(
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    cell: NDArray[np.floating] | None,
    pbc: tuple[bool, bool, bool],
    molecules: NDArray[np.integer],
    settings: Settings,
    masses: NDArray[np.floating] | None = None,
) -> dict[str, str]:
    """Files of a new run: ``in.lammps``, ``data.lammps`` and ``job.json`` (see :mod:`.convert`).

    Args:
        numbers: Array of int with shape (A,), atomic numbers.
        positions: (Å) Array with shape (A, 3), folded into the cell or not.
        cell: (Å) Array with shape (3, 3), orthogonal, rows along x, y, z; None for a free cluster.
        pbc: (true, true, true), (true, true, false) or (false, false, false).
        molecules: Array of int with shape (A,), molecule ids, -1 for slab atoms.
        settings: what to run.
        masses: (amu) Array with shape (A,), for isotopes; None for the model's own.

    Returns:
        File name to text.

    Raises:
        InputError: shapes, cell, species, molecules or heights that do not fit.
    """
    run = _prepare(numbers, positions, cell, pbc, molecules, settings, masses)
    return {"in.lammps": _first_script(run), "data.lammps": _data_file(run), "job.json": _record(run)}


def write_restart_input(
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    cell: NDArray[np.floating] | None,
    pbc: tuple[bool, bool, bool],
    molecules: NDArray[np.integer],
    settings: Settings,
    masses: NDArray[np.floating] | None = None,
    *,
    restart: str,
    segment: int,
) -> dict[str, str]:
    """Files that continue a run from the restart file ``restart``: ``in.lammps`` and ``job.json``.

    The arrays and settings are those of :func:`write_input` (only ``wall_seconds``, ``checkpoint`` and a
    longer ``length`` may differ).
    Frames go to ``dump-<segment>.bin``; steps go on counting from the checkpoint.

    Raises:
        InputError: as in :func:`write_input`, or a segment below 1.
    """
    if segment < 1:
        raise InputError(f"segment: {segment}; allowed: 1 or more (0 is the run's beginning)")
    run = _prepare(numbers, positions, cell, pbc, molecules, settings, masses)
    lines = [
        *_header(run, segment),
        f'read_restart "{restart}"',
        *_force_field(run),
        *timer(run.settings),
        *_groups(run),
        *_production(run, segment),
    ]
    return {"in.lammps": "\n".join(lines) + "\n", "job.json": _record(run)}


def _prepare(
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    cell: NDArray[np.floating] | None,
    pbc: tuple[bool, bool, bool],
    molecules: NDArray[np.integer],
    settings: Settings,
    masses: NDArray[np.floating] | None,
) -> _Prepared:
    atomic_numbers = np.asarray(numbers, dtype=np.int64)
    molecules = np.asarray(molecules, dtype=np.int64)
    positions = np.asarray(positions, dtype=np.float64)
    flags = (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))
    atoms = len(atomic_numbers)
    if atoms == 0 or positions.shape != (atoms, 3) or molecules.shape != (atoms,) or not np.isfinite(positions).all():
        raise InputError(
            f"structure: {atoms} atoms, positions {positions.shape}, molecules {molecules.shape}; allowed: "
            "finite numbers of shapes (A,), (A, 3), (A,)"
        )
    if not (molecules >= 0).any():
        raise InputError("structure: no molecule, only slab atoms, which never move; add a liquid")
    if flags not in ((True, True, True), (True, True, False), (False, False, False)):
        raise InputError(
            f"structure: pbc {flags}; allowed: all true, all false, or true, true, false (a slab normal to z)"
        )
    lengths = np.ones(3) if flags == (False, False, False) else _orthogonal(cell)
    topology = build_topology(
        atomic_numbers,
        positions,
        lengths,
        flags,
        molecules,
        load_model(settings.model),
        load_model(settings.metal),
        masses,
    )
    low, high = np.zeros(3), lengths.copy()
    if flags == (False, False, False):
        low, high = topology.positions.min(axis=0) - FREE_MARGIN, topology.positions.max(axis=0) + FREE_MARGIN
    elif not flags[2]:
        bottom, top = float(topology.positions[:, 2].min()), float(topology.positions[:, 2].max())
        low[2] = min(0.0, bottom - WALL_MARGIN)
        if top > high[2] - WALL_MARGIN:
            raise InputError(
                f"structure: highest atom at z = {top:.2f} Å under a cell of {high[2]:.2f} Å; leave at "
                f"least {WALL_MARGIN:g} Å of vacuum"
            )
    box = None if cell is None or flags == (False, False, False) else np.asarray(cell, dtype=np.float64)
    return _Prepared(topology, settings, load_model(settings.model), atomic_numbers, flags, box, low, high)


def _orthogonal(cell: NDArray[np.floating] | None) -> NDArray[np.float64]:
    if cell is None or np.shape(cell) != (3, 3):
        raise InputError("structure: a periodic run needs a cell of shape (3, 3) in angstrom")
    matrix = np.asarray(cell, dtype=np.float64)
    lengths = np.diag(matrix).copy()
    if not np.all(lengths > 0):
        raise InputError(f"structure: cell lengths {lengths.tolist()}; allowed: above 0")
    if np.abs(matrix - np.diag(lengths)).max() > 1e-6:
        raise InputError(
            "structure: the cell is not orthogonal along x, y, z, and LAMMPS has no slab correction for "
            "such cells; "
            "build the slab with orthogonal: true"
        )
    return lengths


def _first_script(run: _Prepared) -> str:
    lines = [*_header(run, 0), "read_data data.lammps", *_force_field(run), *_groups(run), *timer(run.settings), *_walls(run)]
    if run.has_frozen:
        lines.append("fix hold frozen setforce 0.0 0.0 0.0")
    lines += ["thermo 500", "min_style cg", "minimize 1.0e-4 1.0e-4 500 5000"]
    if run.has_frozen:
        lines += ["unfix hold", "velocity frozen set 0.0 0.0 0.0"]
    lines += equilibration(run.settings, takes_momentum=run.slab)
    lines += _unfix_walls(run)
    return "\n".join([*lines, *_production(run, 0)]) + "\n"


def _header(run: _Prepared, segment: int) -> list[str]:
    boundary = "p p f" if run.slab else "m m m" if run.free else "p p p"
    return header(run.settings, run.settings.model, segment, boundary, "full")


def _force_field(run: _Prepared) -> list[str]:
    cutoff = run.liquid.cutoff
    pair = f"lj/cut/coul/cut {cutoff:g} {FREE_COULOMB_CUTOFF:g}" if run.free else f"lj/cut/coul/long {cutoff:g}"
    lines = [f"pair_style {pair}"]
    types = run.topology.types
    for i, first in enumerate(types):
        for j, second in enumerate(types[i:], start=i):
            depth = float(np.sqrt(first.lj.epsilon * second.lj.epsilon))
            sigma = (first.lj.diameter + second.lj.diameter) / 2 if depth else 0.0
            lines.append(f"pair_coeff {i + 1} {j + 1} {depth:.10g} {sigma:.10g}  # {first.species} {second.species}")
    if run.pbc[2]:
        lines.append("pair_modify tail yes")
    if run.liquid.bonds:
        lines.append("bond_style harmonic")
        lines += [
            f"bond_coeff {i} {bond.k / 2:.10g} {bond.r0:.10g}" for i, bond in enumerate(run.liquid.bonds, start=1)
        ]
    if run.liquid.angles:
        lines.append("angle_style harmonic")
        lines += [f"angle_coeff {i} {a.k / 2:.10g} {a.theta0:.10g}" for i, a in enumerate(run.liquid.angles, start=1)]
    lines.append("special_bonds lj/coul 0.0 0.0 0.0")
    if not run.free:
        lines.append("kspace_style pppm 1.0e-5")
    if run.slab:
        lines.append(f"kspace_modify slab {SLAB_FACTOR:g}")
    lines.append("neighbor 1.0 bin")
    return [*lines, "neigh_modify delay 0 every 1 check yes"]


def _groups(run: _Prepared) -> list[str]:
    frozen = [str(i + 1) for i, kind in enumerate(run.topology.types) if kind.frozen]
    mobile = [str(i + 1) for i, kind in enumerate(run.topology.types) if not kind.frozen]
    lines = [f"group mobile type {' '.join(mobile)}"]
    if frozen:
        lines += [f"group frozen type {' '.join(frozen)}", "neigh_modify exclude group frozen frozen"]
    return [*lines, *thermometer(takes_momentum=run.slab or bool(frozen))]


def _walls(run: _Prepared) -> list[str]:
    return ["fix wall mobile wall/reflect zlo EDGE zhi EDGE"] if run.slab else []


def _unfix_walls(run: _Prepared) -> list[str]:
    return ["unfix wall"] if run.slab else []


def _production(run: _Prepared, segment: int) -> list[str]:
    return production(run.settings, segment, ["fix move mobile nve", *_walls(run)])


def _data_file(run: _Prepared) -> str:
    top = run.topology
    text = [f"vibraloom {__version__}", "", f"{len(run.numbers)} atoms", f"{len(top.types)} atom types"]
    text += [f"{len(top.bonds)} bonds", f"{len(run.liquid.bonds)} bond types"]
    text += [f"{len(top.angles)} angles", f"{len(run.liquid.angles)} angle types", ""]
    text += [f"{run.low[i]:.10f} {run.high[i]:.10f} {name}lo {name}hi" for i, name in enumerate("xyz")]
    text += ["", "Masses", ""] + [
        f"{i} {kind.mass:.10g}  # {kind.species}" for i, kind in enumerate(top.types, start=1)
    ]
    text += ["", "Atoms # full", ""]
    for i, (x, y, z) in enumerate(top.positions):
        text.append(f"{i + 1} {top.molecules[i]} {top.type_of[i] + 1} {top.charges[i]:.10g} {x:.12f} {y:.12f} {z:.12f}")
    for title, rows in (("Bonds", top.bonds), ("Angles", top.angles)):
        if len(rows):
            text += ["", title, ""]
            text += [
                f"{i} {row[0] + 1} {' '.join(str(atom + 1) for atom in row[1:])}" for i, row in enumerate(rows, start=1)
            ]
    return "\n".join(text) + "\n"


def _record(run: _Prepared) -> str:
    models = [run.settings.model] + ([run.settings.metal] if run.has_frozen else [])
    record = {
        "schema": 1,
        "timestep": run.settings.timestep,
        "every": run.settings.stride,
        "steps": run.settings.steps,
        "numbers": run.numbers.tolist(),
        "masses": run.topology.masses.tolist(),
        "cell": None if run.cell is None else run.cell.tolist(),
        "pbc": list(run.pbc),
        "models": models,
        "seed": run.settings.seed,
        "replica": run.settings.replica,
        "trajectory": "trajectory-00.h5",
        "folders": ["."],
        "settings": asdict(run.settings),
    }
    return json.dumps(record, indent=1) + "\n"
