"""What a job of CP2K tells its converter, read from the nested input; and what every input of ours must name."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms

from vibraloom.calculators.cp2k.input_builder import WAVEFUNCTION_FILE, with_restart
from vibraloom.calculators.cp2k.input_text import merged
from vibraloom.calculators.cp2k.remedies import Section, made, sections
from vibraloom.errors import InputError

SCHEMA = 1
KINDS = {
    "MD": "dynamics",
    "MOLECULAR_DYNAMICS": "dynamics",
    "GEO_OPT": "optimisation",
    "GEOMETRY_OPTIMIZATION": "optimisation",
    "CELL_OPT": "optimisation",
    "VIBRATIONAL_ANALYSIS": "vibrations",
    "NORMAL_MODES": "vibrations",
}
"""GLOBAL/RUN_TYPE to the kind of a job; every other run is a label."""


def completed(
    parameters: Mapping[str, Any],
    project: str,
    cell: Sequence[Sequence[float]],
    pbc: Sequence[bool],
    coordinates: str,
) -> Section:
    """The input with the project's name, and with cell and coordinates where it names none.

    Args:
        parameters: nested CP2K input; it is not changed.
        project: name of the run; the files of its prints begin with it.
        cell: (Å) Array with shape (3, 3), rows are lattice vectors.
        pbc: periodic along each lattice vector.
        coordinates: name of the file with the coordinates.

    Raises:
        InputError: neither the input nor the structure has a cell, or the input has no FORCE_EVAL.
    """
    whole = copy.deepcopy(dict(parameters))
    made(whole, "GLOBAL")["PROJECT"] = project
    found = list(sections(whole, "FORCE_EVAL"))
    if not found:
        raise InputError("parameters: section FORCE_EVAL is missing; say how energies are computed")
    for evaluation in found:
        subsystem = made(evaluation, "SUBSYS")
        if subsystem.get("CELL") is None:
            if not any(pbc):
                raise InputError("structure: no cell; give FORCE_EVAL/SUBSYS/CELL, with room around the molecule")
            rows = {name: " ".join(f"{value:.16g}" for value in row) for name, row in zip("ABC", cell, strict=True)}
            periodic = "".join(axis for axis, flag in zip("XYZ", pbc, strict=True) if flag)
            subsystem["CELL"] = {**rows, "PERIODIC": periodic}
        if subsystem.get("COORD") is None:
            topology = made(subsystem, "TOPOLOGY")
            if topology.get("COORD_FILE_NAME") is None:
                topology["COORD_FILE_NAME"] = coordinates
                topology["COORD_FILE_FORMAT"] = "XYZ"
    return whole


def kind_of(parameters: Mapping[str, Any]) -> str:
    """``dynamics``, ``optimisation``, ``vibrations`` or ``label``."""
    return KINDS.get(str(parameters.get("GLOBAL", {}).get("RUN_TYPE") or "").upper(), "label")


def record_of(
    parameters: Mapping[str, Any], atoms: Atoms, given: Mapping[str, Any], followups: Sequence[str] = ()
) -> dict[str, Any]:
    """Entries of ``job.json``: what the input and the structure say, and over it what is given.

    Args:
        parameters: nested input of the main run, complete.
        atoms: the structure (Å, amu).
        given: entries that the main run's input does not hold: method, seed, replica, field, remedies.
        followups: names of the follow-up runs.

    Raises:
        InputError: a number of the dynamics is none.
    """
    kind = kind_of(parameters)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "threads": 1,
        "kind": kind,
        "followups": list(followups),
        "numbers": [int(number) for number in atoms.numbers],
        "masses": [float(mass) for mass in atoms.get_masses()],
        "cell": _cell(parameters, atoms),
        "pbc": _periodic(parameters, atoms),
        "seed": None,
        "replica": 0,
        "method": {},
    }
    if kind == "dynamics":
        motion = next(sections(parameters, "MOTION"), {})
        run = next(sections(motion, "MD"), {})
        record["timestep"] = _number(run, "TIMESTEP", 0.5)
        record["steps"] = int(_number(run, "STEPS", 3))
        stride = next(sections(motion, "PRINT", "TRAJECTORY", "EACH"), {})
        record["every"] = int(_number(stride, "MD", 1))
        record["seed"] = parameters.get("GLOBAL", {}).get("SEED")
    for functional in sections(parameters, "FORCE_EVAL", "DFT"):
        record["charge"] = int(_number(functional, "CHARGE", 0))
    if atoms.pbc.sum() == 2:
        # the input may be periodic along the vacuum too, with a dipole correction
        record["surface_axis"] = int(atoms.pbc.argmin())
    record |= given
    record.setdefault("trajectory", f"trajectory-{int(record['replica']):02d}.h5")
    return record


def going_on(
    parameters: Mapping[str, Any], folder: str, file: str | None, step: int, *, fresh: bool = False
) -> Section:
    """The input of a run that continues an earlier one.

    Args:
        parameters: input of the uninterrupted run.
        folder: name under which the earlier run's folder is reached.
        file: its restart file, or None to take its wavefunction alone.
        step: step that the restart file holds.
        fresh: the wavefunction is made anew from atoms, for the earlier one may be damaged.
    """
    wavefunction = None if fresh else f"{folder}/{WAVEFUNCTION_FILE}"
    if file is None or kind_of(parameters) not in ("dynamics", "optimisation"):
        return copy.deepcopy(dict(parameters)) if wavefunction is None else with_wavefunction(parameters, wavefunction)
    runs = [run for run in sections(parameters, "MOTION", "MD") if int(_number(run, "STEPS", 3)) <= step]
    if runs:
        # nothing is left but to read the output: one evaluation, no step
        last = with_restart(merged(parameters, {"MOTION": {"MD": {"STEPS": step + 1}}}), f"{folder}/{file}", step, wavefunction)
        return merged(last, {"MOTION": {"MD": {"STEPS": 0}}})
    return with_restart(parameters, f"{folder}/{file}", step, wavefunction)


def with_wavefunction(parameters: Mapping[str, Any], file: str) -> Section:
    """The input with its SCF started from the wavefunction in ``file``, where it has electrons."""
    changed = copy.deepcopy(dict(parameters))
    for functional in sections(changed, "FORCE_EVAL", "DFT"):
        functional["WFN_RESTART_FILE_NAME"] = file
        made(functional, "SCF")["SCF_GUESS"] = "RESTART"
    return changed


def _number(section: Mapping[str, Any], name: str, default: float) -> float:
    value = section.get(name)
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"parameters: {name} is {value!r}; allowed: a number without a unit") from error


def _vector(value: Any) -> list[float] | None:
    try:
        numbers = [float(word) for word in (value.split() if isinstance(value, str) else value)]
    except (TypeError, ValueError, AttributeError):
        return None
    return numbers if len(numbers) == 3 else None


def _cell(parameters: Mapping[str, Any], atoms: Atoms) -> list[list[float]] | None:
    """Rows in Å of the cell that CP2K uses; the structure's own where the input does not say it in plain Å."""
    for cell in sections(parameters, "FORCE_EVAL", "SUBSYS", "CELL"):
        rows = [_vector(cell.get(name)) for name in "ABC"]
        edges = _vector(cell.get("ABC"))
        angles = _vector(cell.get("ALPHA_BETA_GAMMA")) or [90.0, 90.0, 90.0]
        if all(row is not None for row in rows):
            return [row for row in rows if row is not None]
        if edges is not None and angles == [90.0, 90.0, 90.0]:
            return [[edge if row == column else 0.0 for column in range(3)] for row, edge in enumerate(edges)]
    return atoms.cell.array.tolist() if atoms.pbc.any() else None


def _periodic(parameters: Mapping[str, Any], atoms: Atoms) -> list[bool]:
    for cell in sections(parameters, "FORCE_EVAL", "SUBSYS", "CELL"):
        named = str(cell.get("PERIODIC") or "XYZ").upper()
        return [axis in named for axis in "XYZ"] if named != "NONE" else [False] * 3
    return [bool(flag) for flag in atoms.pbc]
