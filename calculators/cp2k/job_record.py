"""What a job of CP2K tells its converter, read from the nested input; and what every input of ours must name."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms

from vibraloom.calculators.cp2k.input_builder import CP2K_STEPS, WAVEFUNCTION_FILE, with_restart
from vibraloom.calculators.cp2k.input_lines import real_number
from vibraloom.calculators.cp2k.input_text import merged
from vibraloom.calculators.cp2k.printed_frames import FIXED_CELL
from vibraloom.calculators.cp2k.printed_units import refuse_units
from vibraloom.calculators.cp2k.remedies import Section, made, sections
from vibraloom.calculators.job import whole_number
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
    "ENERGY": "label",
    "ENERGY_FORCE": "label",
    "WFN_OPT": "label",
    "WAVEFUNCTION_OPTIMIZATION": "label",
    "LR": "label",
    "LINEAR_RESPONSE": "label",
}
"""GLOBAL/RUN_TYPE to the kind of a job; results of other runs are not read."""
DEFAULT_RUN = "ENERGY_FORCE"
_TRAJECTORY = re.compile(r"trajectory-\d+\.h5")


def completed(
    parameters: Mapping[str, Any],
    project: str,
    cell: Sequence[Sequence[float]],
    pbc: Sequence[bool],
    coordinates: str,
) -> Section:
    """The input with the project's name, cell and coordinates where it names none, and the cell printed where it changes.

    Args:
        parameters: nested CP2K input; it is not changed.
        project: name of the run; the files of its prints begin with it.
        cell: (Å) Array with shape (3, 3), rows are lattice vectors.
        pbc: periodic along each lattice vector.
        coordinates: name of the file with the coordinates.

    Raises:
        InputError: neither the input nor the structure has a cell, the input has no FORCE_EVAL, or a run that is not known here.
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
    if changes_cell(whole):
        # by default printed at level HIGH alone
        made(made(made(whole, "MOTION"), "PRINT"), "CELL")["_"] = "ON"
    return whole


def kind_of(parameters: Mapping[str, Any]) -> str:
    """``dynamics``, ``optimisation``, ``vibrations`` or ``label``.

    Raises:
        InputError: a run whose results are not read here.
    """
    kind = KINDS.get(_run_type(parameters))
    if kind is None:
        run_type, allowed = _run_type(parameters), ", ".join(KINDS)
        raise InputError(f"parameters: GLOBAL/RUN_TYPE: {run_type}: results of such a run are not read; allowed: {allowed}")
    return kind


def changes_cell(parameters: Mapping[str, Any]) -> bool:
    """Whether the run moves its cell: an optimisation of the cell, or dynamics at constant pressure and the like."""
    if _run_type(parameters) == "CELL_OPT":
        return True
    runs = sections(parameters, "MOTION", "MD") if KINDS.get(_run_type(parameters)) == "dynamics" else ()
    return any(str(run.get("ENSEMBLE") or "NVE").upper() not in FIXED_CELL for run in runs)


def _run_type(parameters: Mapping[str, Any]) -> str:
    return str(next(sections(parameters, "GLOBAL"), {}).get("RUN_TYPE") or DEFAULT_RUN).strip().upper()


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
        InputError: a number is none, a cell that is not understood, a unit of its own for a printed file, or a run that is not
            known here.
    """
    kind = kind_of(parameters)
    refuse_units(parameters, "parameters")
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
        record["steps"] = int(_number(run, "STEPS", CP2K_STEPS))
        stride = next(sections(motion, "PRINT", "TRAJECTORY", "EACH"), {})
        record["every"] = int(_number(stride, "MD", 1))
        record["seed"] = next(sections(parameters, "GLOBAL"), {}).get("SEED")
    if changes_cell(parameters):
        record["changing_cell"] = True
    for functional in sections(parameters, "FORCE_EVAL", "DFT"):
        record["charge"] = int(_number(functional, "CHARGE", 0))
    if atoms.pbc.sum() == 2:
        # the input may be periodic along the vacuum too, with a dipole correction
        record["surface_axis"] = int(atoms.pbc.argmin())
    record |= given
    # both go into a script or a file's name
    whole_number(record, "threads")
    record.setdefault("trajectory", f"trajectory-{whole_number(record, 'replica', minimum=0):02d}.h5")
    if not _TRAJECTORY.fullmatch(str(record["trajectory"])):
        raise InputError(f"record: trajectory is {record['trajectory']!r}; allowed: a name such as trajectory-00.h5")
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
    runs = [run for run in sections(parameters, "MOTION", "MD") if int(_number(run, "STEPS", CP2K_STEPS)) <= step]
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
    """Three numbers in Å; None for anything else, such as another unit."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple):
        return None
    numbers = [real_number(str(word)) for word in words if str(word).lower() != "[angstrom]"]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(numbers) == 3 else None


def _cell(parameters: Mapping[str, Any], atoms: Atoms) -> list[list[float]] | None:
    """Rows in Å of the cell that CP2K uses; the structure's own where the input has none.

    Raises:
        InputError: the input says it in another way than by vectors or by the edges of a rectangular cell, in Å.
    """
    for cell in sections(parameters, "FORCE_EVAL", "SUBSYS", "CELL"):
        rows = [row for name in "ABC" if (row := _vector(cell.get(name))) is not None]
        edges = _vector(cell.get("ABC"))
        angles = cell.get("ALPHA_BETA_GAMMA", cell.get("ANGLES", "90 90 90"))
        odd = [name for name in ("CELL_FILE_NAME", "MULTIPLE_UNIT_CELL") if cell.get(name) is not None]
        if not odd and len(rows) == 3 and cell.get("ABC") is None:
            return rows
        if not odd and edges is not None and _vector(angles) == [90.0] * 3 and not any(name in cell for name in "ABC"):
            return [[edge if row == column else 0.0 for column in range(3)] for row, edge in enumerate(edges)]
        said = ", ".join(f"{name} {cell[name]}" for name in (*odd, *"ABC", "ABC", "ALPHA_BETA_GAMMA", "ANGLES") if name in cell)
        raise InputError(
            f"parameters: FORCE_EVAL/SUBSYS/CELL: {said or 'no vectors'}: not understood; allowed: A, B and C, or ABC of a"
            " rectangular cell, in angstrom; or leave CELL out for the structure's own"
        )
    return atoms.cell.array.tolist() if atoms.pbc.any() else None


def _periodic(parameters: Mapping[str, Any], atoms: Atoms) -> list[bool]:
    for cell in sections(parameters, "FORCE_EVAL", "SUBSYS", "CELL"):
        named = str(cell.get("PERIODIC") or "XYZ").upper()
        return [axis in named for axis in "XYZ"] if named != "NONE" else [False] * 3
    return [bool(flag) for flag in atoms.pbc]
