"""Turn what CP2K left in its folder into results: ``python -m vibraloom.calculators.cp2k.convert job.json``, in that folder.

Writes ``outcome.json`` always, also after a failed or cut-off run (fields of :class:`.output_log.Outcome` and ``schema``), and by
kind of job:

=============  ===================================================================================
dynamics       the trajectory (H5MD), what has a stride of its own in ``/sampled``; as long as steps are missing under a
               name with :data:`PARTIAL` before it, and an earlier segment's partial one goes
label          ``labels.npz`` (:mod:`.labels`), also a partial one; as lists of text ``missing`` (quantity: why), ``remedies``
               and ``warnings``
optimisation   ``structure.json``: numbers, positions and cell (Å), energy (eV), converged, ``remedies`` and ``warnings``
vibrations     ``modes.npz`` (:class:`.vibrations_output.Modes`), with ``remedies`` and ``warnings`` as lists of text
=============  ===================================================================================

A run that failed is told in ``outcome.json``; the exit code is then 0. Keys of job.json:

=============  ===================================================================================
schema         1
kind           one of the above
numbers        atomic numbers, one per atom
masses         amu, one per atom
cell           three rows in Å, or null
pbc            three booleans
charge         e, of the whole cell (default 0)
surface_axis   0, 1 or 2: the lattice vector across a slab's vacuum, where pbc does not say (optional)
followups      names of the runs after the main one (default [])
finished       name of a run → folder of an earlier job in which it ended well; it is read there (label, optional)
field          intensity of the fields, atomic units
folders        folders of the segments, oldest first (default ["."])
changing_cell  true where the run moves its cell (optional)
timestep       integration step in fs (dynamics, as all below)
steps          steps in all, from step 0 and over all segments
every          steps between stored frames
seed, replica  integers
trajectory     name of the file to write
method         what the settings say, kept in the record
remedies       what was changed in the input after failures, kept with the result (optional)
warnings       what a reader of the result must know, kept with it (optional)
=============  ===================================================================================
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vibraloom.calculators.cp2k.finished_runs import how_it_ended, is_whole, run_folder
from vibraloom.calculators.cp2k.labels import UNITS as LABEL_UNITS
from vibraloom.calculators.cp2k.labels import labels_of, localisation_warnings, read_positions
from vibraloom.calculators.cp2k.linear_response import RESPONSE_NAME
from vibraloom.calculators.cp2k.output_log import Log, Outcome, Problem
from vibraloom.calculators.cp2k.printed_frames import read_cells
from vibraloom.calculators.cp2k.remedies import in_force, physics_warnings
from vibraloom.calculators.cp2k.sampled import read_sampled, write_with_sampled
from vibraloom.calculators.cp2k.segments import PROJECT, Joined, join
from vibraloom.calculators.cp2k.vibrations_output import UNITS as MODE_UNITS
from vibraloom.calculators.cp2k.vibrations_output import read_modes
from vibraloom.calculators.job import Progress, required, run_job, whole_number, write_arrays
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError, VibraloomError
from vibraloom.files.trajectory import Trajectory

SCHEMA = 1
OUTCOME = "outcome.json"
REPLICAS = f"{PROJECT}-r-"
"""Begin of the names of the logs in which a vibrational analysis computes its displaced structures."""
PARTIAL = "partial-"
"""Begin of the name of a trajectory whose last steps are missing: it stays in the job's folder, where the chain fetches it if it
gives up. Stored with each segment it would take the square of their number."""
MOST_NOTES = 50
"""Notes and warnings that are kept in ``outcome.json``."""


def convert(folder: Path, record: dict[str, Any]) -> Outcome:
    """Write ``outcome.json`` and the results of the run in ``folder``.

    Args:
        folder: the job's folder.
        record: the job record (keys above).

    Returns:
        What was written into ``outcome.json``.

    Raises:
        InputError: a key of the record is missing or wrong.
        ComputationError: the disk is full.
    """
    if record.get("schema", SCHEMA) != SCHEMA:
        raise InputError(f"job.json: schema {record['schema']}; this release reads {SCHEMA}; update vibraloom")
    kind = required(record, "kind")
    if kind not in _KINDS:
        raise InputError(f"job.json: kind is {kind!r}; allowed: {', '.join(_KINDS)}")
    for key in ("numbers", "masses", "pbc", *(("timestep", "trajectory") if kind == "dynamics" else ())):
        required(record, key)
    if kind == "dynamics":
        for key in ("steps", "every"):
            whole_number(record, key)
    logs = _logs(folder, kind, record)
    outcome = combined(logs)
    extra: dict[str, Any] = {}
    whole = [name for name, log in logs.items() if is_whole(log)] if kind == "label" else []
    finished = {name: str(run_folder(folder, record, name).absolute()) for name in whole}
    try:
        outcome, extra = _KINDS[kind](folder, record, {name: log for name, log in logs.items() if isinstance(log, Log)}, outcome)
    except (InputError, ComputationError) as error:
        outcome = _refused(outcome, error)
    outcome = replace(outcome, warnings=outcome.warnings[:MOST_NOTES])
    write_text(folder / OUTCOME, json.dumps({**outcome.as_json(), **extra, "finished": finished}, indent=1) + "\n")
    return outcome


def combined(logs: Mapping[str, Log | Outcome]) -> Outcome:
    """How a job ended whose runs are ``logs``, the main one first: the first trouble counts."""
    outcomes = {name: log.outcome if isinstance(log, Log) else log for name, log in logs.items()}
    main = outcomes[PROJECT]
    # replicas are parts of the main run
    alone = [outcome for name, outcome in outcomes.items() if not name.startswith(REPLICAS)]
    seconds = [outcome.wall_seconds for outcome in alone if outcome.wall_seconds is not None]
    warnings = dict.fromkeys(warning for outcome in outcomes.values() for warning in outcome.warnings)
    versions = [outcome.engine_version for outcome in outcomes.values() if outcome.engine_version]
    whole = replace(
        main,
        engine_version=versions[0] if versions else None,
        warnings=tuple(warnings),
        wall_seconds=round(sum(seconds), 3) if seconds else None,
    )
    # the main log of a vibrational analysis is cut off when one of its replicas aborts: the cause goes first
    for name, outcome in sorted(outcomes.items(), key=lambda entry: _severity(entry[1])):
        if outcome.ended != "normal" or outcome.problem is not None:
            told = outcome.message if name == PROJECT else f"{name}: {outcome.message}"
            return replace(whole, ended=outcome.ended, problem=outcome.problem, message=told)
    return whole


def _severity(outcome: Outcome) -> int:
    order: tuple[Problem | None, ...] = ("memory", "basis", "input", "other", "stars", "linres", "scf", "truncated", None)
    return order.index(outcome.problem)


def _logs(folder: Path, kind: str, record: Mapping[str, Any]) -> dict[str, Log | Outcome]:
    """Name of each run → its log, or how it failed to have one."""
    names = [PROJECT, *record.get("followups", [])]
    if kind == "vibrations":
        names += sorted(path.stem for path in folder.glob(f"{REPLICAS}*.out"))
    found: dict[str, Log | Outcome] = {}
    for name in names:
        ended = how_it_ended(run_folder(folder, record, name), name)
        main = found.get(PROJECT)
        if main is not None and not isinstance(ended, Log) and not is_whole(main):
            # the main run's own trouble says it all
            ended = main.outcome if isinstance(main, Log) else main
        found[name] = ended
    return found


def _refused(outcome: Outcome, error: VibraloomError, problem: Problem | None = None) -> Outcome:
    """The outcome of a run whose files were refused; trouble that the log tells goes first.

    Args:
        outcome: what the log tells.
        error: why they were refused.
        problem: what a handler acts on; None to tell it from the words.
    """
    text = str(error)
    if outcome.problem is not None or outcome.ended not in ("normal", "walltime"):
        return replace(outcome, warnings=(text, *outcome.warnings))
    if problem is not None:
        return replace(outcome, problem=problem, message=text)
    problem = "other"
    if "did not fit" in text or "**" in text:
        problem = "stars"
    elif isinstance(error, ComputationError) and ("linear response" in text or "polarizability" in text):
        problem = "linres"
    elif "cut off" in text:
        problem = "truncated"
    return replace(outcome, problem=problem, message=text)


def _dynamics(
    folder: Path, record: dict[str, Any], logs: Mapping[str, Log], outcome: Outcome
) -> tuple[Outcome, dict[str, Any]]:
    wanted = int(record["steps"])
    outcome = replace(outcome, steps_wanted=wanted, partial=False)
    joined = join([folder / name for name in record.get("folders", ["."])], record)
    if joined is None:
        return replace(outcome, last_step=None), {}
    last = int(joined.step[-1])
    # a run whose last step is there is whole, however its process ended
    whole = last == wanted and outcome.ended in ("walltime", "cut_off")
    if whole:
        problem = None if outcome.problem == "truncated" else outcome.problem
        outcome = replace(outcome, ended="normal", problem=problem, message=f"all {wanted} steps are there")
    sampled = read_sampled(joined, record)
    extra: dict[str, Any] = {"missing": joined.missing} if joined.missing else {}
    outcome = replace(
        outcome, last_step=last, partial=last < wanted, warnings=(*joined.notes, *sampled.notes, *outcome.warnings)
    )
    if len(joined.step) > 1:
        name = record["trajectory"] if last >= wanted else f"{PARTIAL}{record['trajectory']}"
        write_with_sampled(folder / name, _trajectory(joined, record, outcome), sampled)
        extra["trajectory"] = name
        for earlier in record.get("folders", ["."])[:-1]:
            # this one holds all its frames; the segments' own files stay
            with contextlib.suppress(OSError):
                (folder / earlier / f"{PARTIAL}{record['trajectory']}").unlink(missing_ok=True)
    for why in joined.missing.values():
        outcome = _refused(outcome, InputError(why), "other")
    return outcome, {"sampled": sorted(sampled.series), **sampled.summary, **extra}


def _trajectory(joined: Joined, record: dict[str, Any], outcome: Outcome) -> Trajectory:
    cell = record.get("cell")
    doubtful = sorted(
        step
        for place in joined.folders
        for step in place.log.outcome.scf_unconverged_steps
        if place.start < step <= place.end
    )
    method = record.get("method") or {}
    attributes: dict[str, Any] = {
        "engine": "CP2K",
        "engine_version": (outcome.engine_version or "CP2K unknown").removeprefix("CP2K "),
        "model": str(method.get("functional", "CP2K")),
        "method": json.dumps(method, sort_keys=True),
        "replica": int(record.get("replica") or 0),
        "bead": 0,
        "partial": outcome.partial,
    }
    if record.get("seed") is not None:
        attributes["seed"] = int(record["seed"])
    # text that HDF5 keeps as attributes
    attributes |= {name: lines for name, lines in told(record).items() if lines}
    if joined.missing:
        attributes["missing"] = [f"{name}: {why}" for name, why in joined.missing.items()]
    if doubtful:
        attributes["scf_unconverged_steps"] = np.array(doubtful, dtype=np.int64)
    periodic = [bool(flag) and axis != record.get("surface_axis") for axis, flag in enumerate(record["pbc"])]
    return Trajectory(
        numbers=np.asarray(record["numbers"], dtype=np.int64),
        masses=np.asarray(record["masses"], dtype=np.float64),
        step=joined.step,
        timestep=float(record["timestep"]),
        positions=joined.positions,
        velocities=joined.velocities,
        cell=None if cell is None or not any(record["pbc"]) else np.asarray(cell, dtype=np.float64),
        pbc=(periodic[0], periodic[1], periodic[2]),
        observables=joined.observables,
        attributes=attributes,
    )


def _label(folder: Path, record: dict[str, Any], logs: Mapping[str, Log], outcome: Outcome) -> tuple[Outcome, dict[str, Any]]:
    usable = {name: log for name, log in logs.items() if is_whole(log)}
    if PROJECT not in usable:
        return outcome, {}
    refused: dict[str, VibraloomError] = {}
    arrays = labels_of(folder, record, usable, refused)
    missing = {name: str(error) for name, error in refused.items()}
    for name in record.get("followups", []):
        if name not in usable:
            why = f"{name}: {logs[name].outcome.message}" if name in logs else f"{name} was not run to its end"
            missing.setdefault("polarizability_linres" if name == RESPONSE_NAME else "polarizability_field", why)
    said = {"missing": [f"{name}: {why}" for name, why in missing.items()], **told(record)}
    said["warnings"] = [*said["warnings"], *localisation_warnings(usable)]
    said["units"] = [f"{name}: {LABEL_UNITS[name]}" for name in arrays if name in LABEL_UNITS]
    write_arrays(folder / "labels.npz", {**arrays, **{name: np.array(lines) for name, lines in said.items() if lines}})
    for error in refused.values():
        outcome = _refused(outcome, error)
    difference = arrays.get("polarizability_difference")
    extra: dict[str, Any] = {} if difference is None else {"polarizability_difference": float(difference[0])}
    return replace(outcome, partial=bool(missing)), {**extra, "missing": missing}


def told(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Remedies that a result rests on, and what a reader of it must know."""
    remedies = in_force(record.get("remedies") or [])
    return {"remedies": remedies, "warnings": [*(record.get("warnings") or []), *physics_warnings(remedies)]}


def _with_told(outcome: Outcome, record: Mapping[str, Any]) -> Outcome:
    """The outcome with what a reader must know before CP2K's own warnings."""
    return replace(outcome, warnings=tuple(dict.fromkeys((*told(record)["warnings"], *outcome.warnings))))


def _optimisation(
    folder: Path, record: dict[str, Any], logs: Mapping[str, Log], outcome: Outcome
) -> tuple[Outcome, dict[str, Any]]:
    places = [folder / name for name in reversed(record.get("folders", ["."]))]
    place = next((where for where in places if (where / f"{PROJECT}-pos-1.xyz").is_file()), None)
    log = logs.get(PROJECT)
    if place is None or log is None or outcome.problem in ("basis", "input"):
        return outcome, {}
    cells = read_cells(place / f"{PROJECT}-1.cell")
    if cells is None and record.get("changing_cell"):
        raise InputError(f"{place / f'{PROJECT}-1.cell'}: missing or empty; print the cell that was optimised: MOTION/PRINT/CELL")
    converged = log.optimised is True and outcome.problem is None
    content = {
        "numbers": [int(number) for number in record["numbers"]],
        "positions": read_positions(place / f"{PROJECT}-pos-1.xyz", len(record["numbers"])).tolist(),
        "cell": record.get("cell") if cells is None else cells[1][-1].tolist(),
        "energy": outcome.energy_ev,
        "converged": converged,
        "unit": {"positions": "angstrom", "cell": "angstrom", "energy": "eV"},
        **told(record),
    }
    write_text(folder / "structure.json", json.dumps(content, indent=1) + "\n")
    if not converged and outcome.ended == "normal" and outcome.problem is None:
        outcome = replace(outcome, message="the optimisation used up its steps before it converged; go on from its structure")
    remedies = told(record)["remedies"]
    return _with_told(replace(outcome, partial=not converged), record), {"converged": converged, "remedies": remedies}


def _vibrations(
    folder: Path, record: dict[str, Any], logs: Mapping[str, Log], outcome: Outcome
) -> tuple[Outcome, dict[str, Any]]:
    if outcome.ended != "normal":
        return outcome, {}
    modes = read_modes(folder, np.asarray(record["masses"], dtype=np.float64), record.get("surface_axis"))
    arrays = modes.arrays()
    units = np.array([f"{name}: {MODE_UNITS[name]}" for name in arrays])
    numbers = np.asarray(record["numbers"], dtype=np.int64)
    said = {name: np.array(lines) for name, lines in told(record).items() if lines}
    write_arrays(folder / "modes.npz", {**arrays, "numbers": numbers, "units": units, **said})
    return _with_told(outcome, record), {"imaginary": int((modes.wavenumber < 0).sum()), "remedies": told(record)["remedies"]}


_Converter = Callable[[Path, dict[str, Any], Mapping[str, Log], Outcome], tuple[Outcome, dict[str, Any]]]
_KINDS: dict[str, _Converter] = {
    "dynamics": _dynamics,
    "label": _label,
    "optimisation": _optimisation,
    "vibrations": _vibrations,
}


def main(job: dict[str, Any], progress: Progress) -> None:
    """Convert the run in the present folder; the work of ``python -m vibraloom.calculators.cp2k.convert``."""
    progress(0, 1, "reading CP2K's output")
    convert(Path(), job)
    progress(1, 1, "done")


if __name__ == "__main__":
    run_job(main)
