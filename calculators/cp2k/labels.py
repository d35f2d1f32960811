"""One labelled frame from a single point and its follow-up runs: energy, forces, stress, dipoles, polarizabilities.

Arrays of ``labels.npz`` have one frame along their first axis. ``dipole`` is always the Berry phase's (a free molecule's is the
plain one); the sum over Wannier centres is another definition at Gamma, and ``wannier_minus_berry`` records by how much.
``polarizability`` is that from the fields where all three axes have both signs, else that of linear response; where both are
there, ``polarizability_difference`` is the largest difference of an element over the mean.

A polarizability or a sum over molecules that cannot be had takes nothing else with it: where the caller keeps the reasons, the
other arrays are those of a partial label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.field_response import field_strength, pairs_of, polarizability_from_fields
from vibraloom.calculators.cp2k.finished_runs import run_folder
from vibraloom.calculators.cp2k.linear_response import RESPONSE_NAME, read_linear_response, trusted
from vibraloom.calculators.cp2k.output_log import Log
from vibraloom.calculators.cp2k.planar_average import dipole_across_vacuum, potential_profile, vacuum_level
from vibraloom.calculators.cp2k.printed_frames import read_dipoles
from vibraloom.calculators.cp2k.sampled import folded
from vibraloom.calculators.cp2k.segments import PROJECT, is_surface, normal_axis, surface_normal
from vibraloom.calculators.cp2k.wannier import MolecularDipoles, molecular_dipoles, read_wannier, valence_charges
from vibraloom.errors import ComputationError, InputError, VibraloomError
from vibraloom.files.elements import SYMBOLS
from vibraloom.units import E_ANGSTROM_PER_DEBYE

UNITS = {
    "positions": "angstrom",
    "cell": "angstrom",
    "energy": "eV",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3, positive under compression",
    "virial": "eV, stress times volume",
    "dipole": "e*angstrom, modulo dipole_quantum where that is there",
    "dipole_normal": "e*angstrom, along the normal of a slab",
    "height": "angstrom, along the normal",
    "hartree_profile": "eV, of an electron",
    "vacuum_level": "eV, below and above the slab",
    "work_function": "eV, below and above the slab",
    "dipole_quantum": "e*angstrom, rows",
    "wannier_centre": "angstrom, two electrons each",
    "molecular_dipole": "e*angstrom",
    "molecular_charge": "e",
    "wannier_minus_berry": "e*angstrom, modulo dipole_quantum",
    "polarizability": "angstrom^3",
    "polarizability_field": "angstrom^3, d mu_i / d E_j, NaN where an axis has no fields",
    "polarizability_linres": "angstrom^3",
    "polarizability_wannier": "angstrom^3, sum over molecules",
    "molecular_polarizability": "angstrom^3, symmetrised",
    "polarizability_difference": "field minus linear response, over the mean polarizability",
    "field_curvature": "second over first difference of the dipoles in the fields",
}
"""Unit of each array; ``molecule`` holds the molecule of each atom, -1 for metals."""

Arrays = dict[str, NDArray[Any]]


def labels_of(
    folder: Path, record: Mapping[str, Any], logs: Mapping[str, Log], missing: dict[str, VibraloomError] | None = None
) -> Arrays:
    """All arrays of the frame.

    Args:
        folder: the job's folder.
        record: the job record (keys in :mod:`.convert`).
        logs: name → log of the runs that ended well, the main one among them.
        missing: takes the name of each quantity but energy and forces that cannot be had, and why; None to raise it.

    Raises:
        ComputationError: forces are missing; without ``missing`` also where a polarizability cannot be one.
        InputError: damaged files, another system's; without ``missing`` also dipoles on an unknown branch.
    """
    numbers = np.asarray(record["numbers"], dtype=np.int64)
    main = logs[PROJECT]
    if main.outcome.energy_ev is None:
        raise ComputationError(f"{PROJECT}.out: no total energy in hartree; run it again")
    if main.forces is not None and len(main.forces) != len(numbers):
        raise ComputationError(f"{PROJECT}.out: forces on {len(main.forces)} atoms of {len(numbers)}; cut off: run it again")
    positions = read_positions(folder / "structure.xyz", len(numbers))
    energy, pbc = np.array(main.outcome.energy_ev), np.array(record["pbc"], dtype=bool)
    frame: Arrays = {"positions": positions, "energy": energy, "pbc": pbc}
    cell = None if record.get("cell") is None else np.asarray(record["cell"], dtype=np.float64)
    periodic = bool(pbc.any())
    if main.forces is not None:
        frame["forces"] = main.forces
    # the box of a free molecule is CP2K's affair
    if cell is not None and periodic:
        frame["cell"] = cell
        if main.stress is not None:
            frame["stress"] = main.stress
            frame["virial"] = main.stress * abs(np.linalg.det(cell))
    names = [PROJECT, *(name for name in logs if name.startswith("field_"))]
    dipoles, has_quantum = _dipoles(folder, record, names, missing)
    quantum = cell if has_quantum else None
    if PROJECT in dipoles:
        if periodic and quantum is None:
            # a plain dipole of a periodic cell means nothing along its periodic directions
            if is_surface(record):
                frame["dipole_normal"] = np.array(dipoles[PROJECT] @ surface_normal(record))
            dipoles = {}
        else:
            frame["dipole"] = dipoles[PROJECT]
            if quantum is not None:
                frame["dipole_quantum"] = quantum
    molecules = _molecules(folder, record, names, cell, missing)
    if PROJECT in molecules:
        rest = molecules[PROJECT]
        centres = read_wannier(run_folder(folder, record, PROJECT) / f"{PROJECT}-wannier.xyz")
        frame |= {
            "wannier_centre": centres.centres[-1] if centres is not None else np.empty((0, 3)),
            "molecule": rest.molecule,
            "molecular_dipole": rest.dipole,
            "molecular_charge": rest.charge,
        }
        if "dipole" in frame:
            frame["wannier_minus_berry"] = folded(rest.dipole.sum(axis=0) - frame["dipole"], quantum)
    frame |= _profiles(folder, record, main, missing)
    frame |= _responses(folder, record, logs, dipoles, molecules, quantum, missing)
    return {"numbers": numbers, "frame": np.array([0]), **{name: np.asarray(values)[None] for name, values in frame.items()}}


def localisation_warnings(logs: Mapping[str, Log]) -> list[str]:
    """What a reader of the label must know of Wannier functions that were not found."""
    return [
        f"{name}: {log.unlocalised} localisation(s) of Wannier functions did not converge: what comes from their centres is off"
        for name, log in logs.items()
        if log.unlocalised
    ]


@contextmanager
def _noting(missing: dict[str, VibraloomError] | None, name: str) -> Iterator[None]:
    """Note why a quantity cannot be had, if reasons are kept."""
    try:
        yield
    except (ComputationError, InputError) as error:
        if missing is None:
            raise
        missing[name] = error


def _profiles(folder: Path, record: Mapping[str, Any], main: Log, missing: dict[str, VibraloomError] | None) -> Arrays:
    """Along the normal of a surface, where the cubes are there: potential, work function, dipole from the density."""
    found: Arrays = {}
    place = run_folder(folder, record, PROJECT)
    potential, density = (place / f"{PROJECT}-{word}-1_0.cube" for word in ("v_hartree", "ELECTRON_DENSITY"))
    if potential.is_file():
        with _noting(missing, "hartree_profile"):
            average = potential_profile(potential, normal_axis(record))
            found |= {"height": average.height, "hartree_profile": average.value}
            level = vacuum_level(average)
            if level is not None:
                found["vacuum_level"] = np.array([level.below, level.above])
                if main.fermi is not None:
                    found["work_function"] = found["vacuum_level"] - main.fermi
    if density.is_file() and is_surface(record):
        with _noting(missing, "dipole_normal"):
            valence = valence_charges(place / f"{PROJECT}.inp", [SYMBOLS[int(number)] for number in record["numbers"]])
            found["dipole_normal"] = np.array(dipole_across_vacuum(density, valence, normal_axis(record)))
    elif main.dipole_normal is not None and is_surface(record):
        found["dipole_normal"] = np.array(main.dipole_normal)
    return found


def _responses(
    folder: Path,
    record: Mapping[str, Any],
    logs: Mapping[str, Log],
    dipoles: Mapping[str, NDArray[np.float64]],
    molecules: Mapping[str, MolecularDipoles],
    quantum: NDArray[np.float64] | None,
    missing: dict[str, VibraloomError] | None,
) -> Arrays:
    atoms = len(record["numbers"])
    found: Arrays = {}
    if PROJECT in dipoles and pairs_of(dipoles):
        with _noting(missing, "polarizability_field"):
            strength = _strength(folder, record, dipoles)
            response = polarizability_from_fields(dipoles, dipoles[PROJECT], strength, quantum)
            if np.isfinite(response.polarizability).all():
                found["polarizability"] = trusted(response.polarizability, atoms, "fields")
            found["polarizability_field"] = response.polarizability
            found["field_curvature"] = np.array(response.curvature)
    if PROJECT in molecules and len(pairs_of(molecules)) == 3:
        with _noting(missing, "molecular_polarizability"):
            rest = molecules[PROJECT]
            for name, one in molecules.items():
                if not np.array_equal(np.bincount(one.owner + 1), np.bincount(rest.owner + 1)):
                    raise InputError(f"{name}-wannier.xyz: a centre moved to another molecule in the field; use a smaller field")
            shifted = {name: one.dipole for name, one in molecules.items() if name != PROJECT}
            tensors = polarizability_from_fields(shifted, rest.dipole, _strength(folder, record, molecules)).polarizability
            found["molecular_polarizability"] = 0.5 * (tensors + tensors.swapaxes(1, 2))
            found["polarizability_wannier"] = found["molecular_polarizability"].sum(axis=0)
    if RESPONSE_NAME in logs:
        with _noting(missing, "polarizability_linres"):
            path = run_folder(folder, record, RESPONSE_NAME) / f"{RESPONSE_NAME}.out"
            found["polarizability_linres"] = read_linear_response(path, atoms)
    if "polarizability_linres" in found:
        if "polarizability" in found:
            mean = float(np.trace(found["polarizability_linres"])) / 3
            difference = np.abs(found["polarizability"] - found["polarizability_linres"]).max() / mean
            found["polarizability_difference"] = np.array(difference)
        else:
            found["polarizability"] = found["polarizability_linres"]
    return found


def _strength(folder: Path, record: Mapping[str, Any], runs: Mapping[str, object]) -> float:
    """(a.u.) The field in which those ``runs`` ran that had one: that of their inputs, or the record's where none is kept."""
    inputs = [run_folder(folder, record, name) / f"{name}.inp" for name in runs if name != PROJECT]
    kept = [path for path in inputs if path.is_file()]
    return field_strength(kept) if kept else float(record.get("field") or 0.0)


def _dipoles(
    folder: Path, record: Mapping[str, Any], names: list[str], missing: dict[str, VibraloomError] | None
) -> tuple[dict[str, NDArray[np.float64]], bool]:
    """Name of the run → its last dipole (e·Å), and whether they are known modulo a quantum only."""
    found, quantum = {}, False
    for name in names:
        with _noting(missing, "dipole" if name == PROJECT else "polarizability_field"):
            series = read_dipoles(run_folder(folder, record, name) / f"{name}-dipole.dat")
            if series is not None:
                found[name] = series.values[-1] * E_ANGSTROM_PER_DEBYE
                quantum |= series.folded
    return found, quantum


def _molecules(
    folder: Path,
    record: Mapping[str, Any],
    names: list[str],
    cell: NDArray[np.float64] | None,
    missing: dict[str, VibraloomError] | None,
) -> dict[str, MolecularDipoles]:
    numbers = np.asarray(record["numbers"], dtype=np.int64)
    symbols = [SYMBOLS[int(number)] for number in numbers]
    found: dict[str, MolecularDipoles] = {}
    for name in names:
        with _noting(missing, "molecular_dipole" if name == PROJECT else "molecular_polarizability"):
            printed = read_wannier(run_folder(folder, record, name) / f"{name}-wannier.xyz")
            if printed is None:
                continue
            valence = valence_charges(run_folder(folder, record, PROJECT) / f"{PROJECT}.inp", symbols)
            found[name] = molecular_dipoles(
                printed.ions[-1],
                numbers,
                valence,
                printed.centres[-1],
                cell,
                charge=float(record.get("charge", 0)),
                # no atom moves in a field
                molecule=found[PROJECT].molecule if PROJECT in found else None,
            )
    return found


def read_positions(path: Path, atoms: int) -> NDArray[np.float64]:
    """(Å) Array with shape (A, 3) of the last whole frame of an XYZ file.

    Raises:
        InputError: no such file, another number of atoms, or what is no number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); write it with the job") from error
    # a last line without its end may be cut off within a number
    lines = text[: text.rfind("\n") + 1].splitlines()
    frames = len(lines) // (atoms + 2)
    rows = [line.split()[1:4] for line in lines[(frames - 1) * (atoms + 2) + 2 : frames * (atoms + 2)]]
    try:
        values = np.array(rows, dtype=np.float64).reshape(atoms, 3)
    except ValueError as error:
        raise InputError(f"{path}: not {atoms} rows of a symbol and three numbers; damaged, or another system") from error
    if frames == 0 or lines[(frames - 1) * (atoms + 2)].strip() != str(atoms) or not np.isfinite(values).all():
        raise InputError(f"{path}: no frame of {atoms} atoms; damaged, or another system")
    return values
