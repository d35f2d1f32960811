"""What a chain of CP2K jobs remembers of its ladder, and the fields that take the place of linear response."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import CalcJob
from ase import Atoms

from vibraloom.calculators.cp2k.input_builder import FIELD, field_followups
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.calculators.cp2k.remedies import allows_field
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.workflows.attempts import CONTINUED, continued, input_hashes

LADDER = "vibraloom_ladder"
"""Extra of the job that ended a chain well after its inputs were changed: digest of the inputs that the chain began with."""
_CHANGED = ("parameters", "followups", "record", CONTINUED)
"""Inputs that handlers change."""

_WHOLE_SO_FAR = (350, 410, 420)
"""Exit codes of jobs whose frames are good as far as they go."""

Runs = dict[str, dict[str, Any]]


def digest_of(inputs: Mapping[str, Any]) -> str:
    """Digest of a job's inputs by their content; neither options nor the folder that is gone on from are in it."""
    hashes = {key: digest for key, digest in input_hashes(dict(inputs)).items() if key != CONTINUED}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def repaired_before(process_class: type[CalcJob], digest: str) -> orm.CalcJobNode | None:
    """The newest job that ended well in a chain that began with the inputs of this digest and had to change them."""
    query = orm.QueryBuilder()
    query.append(
        orm.CalcJobNode,
        filters={
            "process_type": process_class.build_process_type(),
            f"extras.{LADDER}": digest,
            "attributes.exit_status": 0,
        },
        project="*",
    )
    query.order_by({orm.CalcJobNode: [{"ctime": "desc"}]})
    return next((job for job in query.all(flat=True) if job.is_finished_ok), None)


def inputs_of_repaired(job: orm.CalcJobNode, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with everything that handlers may have changed taken from ``job``, so that the cache answers for it."""
    given = job.inputs
    taken = {name: value for name, value in inputs.items() if name not in _CHANGED}
    for name in _CHANGED:
        if name in given:
            taken[name] = dict(given[name]) if name == "followups" else given[name]
    return taken


def gone_on(process_class: type[CalcJob], inputs: dict[str, Any], *, rerun: bool) -> tuple[dict[str, Any], str | None]:
    """The inputs, going on from the folder of an earlier attempt if there is one of use, and a line that says so."""
    found, said = continued(process_class, inputs, rerun=rerun)
    earlier = found.get(CONTINUED)
    ended = None if earlier is None or earlier.creator is None else earlier.creator.exit_status
    if ended and ended not in _WHOLE_SO_FAR and CONTINUED not in inputs:
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
