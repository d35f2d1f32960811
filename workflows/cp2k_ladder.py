"""How a chain of CP2K jobs that was begun before goes on with its remedies, and the fields in place of linear response."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import CalcJob
from ase import Atoms

from vibraloom.calculators.cp2k.input_builder import FIELD, field_followups
from vibraloom.calculators.cp2k.parser import UNREAD
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.calculators.cp2k.remedies import allows_field
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.workflows.attempts import CONTINUED, continued, folder_of, input_hashes, is_driven, stop_or_refuse
from vibraloom.workflows.cp2k_memory import MEMORY
from vibraloom.workflows.cp2k_stops import report_of

LADDER = "vibraloom_ladder"
"""Extra of each job of a chain: digest of the inputs that the chain began with, which handlers may have changed since."""
_CHANGED = ("parameters", "followups", "record", CONTINUED)
"""Inputs that handlers change."""
_WHOLE_SO_FAR = (340, 350, 410, 420)
"""Exit codes of jobs whose frames are good as far as they go."""

Runs = dict[str, dict[str, Any]]


def digest_of(inputs: Mapping[str, Any]) -> str:
    """Digest of what a job computes: of its inputs but options, the folder that is gone on from and the converter."""
    hashes = {key: digest for key, digest in input_hashes(dict(inputs)).items() if key not in (CONTINUED, "converter")}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def whole_so_far(job: orm.CalcJobNode) -> bool:
    """Whether what a failed job computed is gone on from: frames of a density that did not converge are not."""
    report = report_of(job)
    good = job.exit_status in _WHOLE_SO_FAR or report.get("problem") == UNREAD
    return good and not report.get("scf_unconverged_steps")


def gone_on(
    process_class: type[CalcJob], inputs: dict[str, Any], *, rerun: bool
) -> tuple[dict[str, Any], str | None, orm.CalcJobNode | None]:
    """The inputs of a chain that may have been begun before, going on from where it stood.

    Of a chain that ended well its last job's inputs, so that the cache answers. Else those of its newest job, with the remedies
    taken until then: from its folder where what it computed is good, or from the folder that it went on from itself. What
    another run is at work on is left to it.

    Args:
        process_class: of the jobs.
        inputs: of the chain's first job.
        rerun: unfinished jobs are stopped and left alone.

    Returns:
        The inputs, a line for the log or None, and the job that ended well or None.

    Raises:
        ComputationError: the orphaned process of an earlier job could not be stopped.
    """
    jobs = _jobs_of(process_class, digest_of(inputs))
    done = next((job for job in jobs if job.is_finished_ok), None)
    if done is not None:
        taken = _inputs_of(done, inputs)
        return taken, _remedies_taken(taken), done
    left = [job for job in jobs if not is_driven(job)]
    if not left:  # also what an earlier release left, whose failed jobs do not say which chain they were of
        return *_gone_on_unmarked(process_class, inputs, rerun=rerun), None
    for job in left:
        stop_or_refuse(job)
    if rerun:
        return inputs, None, None
    newest = left[0]
    taken = _inputs_of(newest, inputs)
    folder = folder_of(newest) if not newest.is_finished or whole_so_far(newest) else None
    if folder is not None:
        taken[CONTINUED] = folder
    elif _is_purged(taken.get(CONTINUED)):
        taken = {name: value for name, value in taken.items() if name != CONTINUED}
        taken |= {name: value for name, value in inputs.items() if name == CONTINUED}
    _forget_memory(taken)
    where = "beginning again where job {} began" if folder is None else "going on from what job {} finished"
    said = [where.format(newest.uuid[:8]), _remedies_taken(taken)]
    return taken, "; ".join(words for words in said if words), None


def _is_purged(folder: orm.RemoteData | None) -> bool:
    return folder is not None and isinstance(folder.creator, orm.CalcJobNode) and folder_of(folder.creator) is None


def _jobs_of(process_class: type[CalcJob], digest: str) -> list[orm.CalcJobNode]:
    """Jobs of all chains that began with the inputs of this digest, newest first."""
    query = orm.QueryBuilder()
    filters = {"process_type": process_class.build_process_type(), f"extras.{LADDER}": digest}
    query.append(orm.CalcJobNode, filters=filters, project="*")
    query.order_by({orm.CalcJobNode: [{"ctime": "desc"}]})
    return query.all(flat=True)


def _inputs_of(job: orm.CalcJobNode, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with everything that handlers may have changed taken from ``job``."""
    given = job.inputs
    taken = {name: value for name, value in inputs.items() if name not in _CHANGED}
    for name in _CHANGED:
        if name in given:
            taken[name] = dict(given[name]) if name == "followups" else given[name]
    return taken


def remedies_of(inputs: Mapping[str, Any]) -> list[str]:
    """Words of the remedies that the job's record holds."""
    return list(inputs["record"].get_dict().get("remedies", [])) if "record" in inputs else []


def _remedies_taken(inputs: Mapping[str, Any]) -> str | None:
    words = remedies_of(inputs)
    return f"the remedies of an earlier run are taken: {'; '.join(words)}" if words else None


def _forget_memory(inputs: dict[str, Any]) -> None:
    """Take the remedies for memory out of the record: processes and limits are those that the computer's profile has now."""
    words = remedies_of(inputs)
    kept = [each for each in words if not each.startswith(MEMORY)]
    if kept != words:
        inputs["record"] = orm.Dict({**inputs["record"].get_dict(), "remedies": kept}).store()


def _gone_on_unmarked(process_class: type[CalcJob], inputs: dict[str, Any], *, rerun: bool) -> tuple[dict[str, Any], str | None]:
    found, said = continued(process_class, inputs, rerun=rerun)
    job = None if said is None else found[CONTINUED].creator
    if isinstance(job, orm.CalcJobNode) and job.is_failed and not whole_so_far(job):
        return inputs, None  # that attempt failed: what it computed is not gone on from
    return found, said


def fields_instead(
    runs: Mapping[str, Mapping[str, Any]], responses: Sequence[str], record: Mapping[str, Any], atoms: Atoms
) -> tuple[Runs, dict[str, Any], str]:
    """Six ± fields in place of linear response in a follow-up, where a periodic field is defined.

    Args:
        runs: name → input of every run.
        responses: names of those that ask for linear response.
        record: of the job; ``method`` holds the settings, ``field`` the intensity if fields were asked for (atomic units).
        atoms: positions and cell, Å.

    Returns:
        The runs without linear response, changed entries of the record, and the words of the remedy; no words where nothing
        can take its place.

    Raises:
        InputError: physics forbids the fields.
    """
    if list(responses) == ["cp2k"] or not allows_field(runs["cp2k"]):
        return {}, {}, ""
    kept = {name: dict(entry) for name, entry in runs.items() if name not in responses}
    if any(name.startswith("field_") for name in kept):
        return kept, {}, "fields alone: linear response is left out, the fields were asked for anyway"
    if not record.get("method"):
        return {}, {}, ""
    strength = float(record.get("field", FIELD))
    settings = Cp2kSettings(**record["method"])
    warnings = refuse(atoms, settings, ["field_x", "field_y", "field_z"])
    changed = {"field": strength, "warnings": list(dict.fromkeys([*record.get("warnings", []), *warnings]))}
    words = f"fields instead: polarizability by ± {strength:g} a.u. along three axes"
    return kept | field_followups(atoms, settings, strength=strength), changed, words
