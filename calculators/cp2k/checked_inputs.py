"""Inputs of a CP2K job, looked at before it is submitted: what cannot be written is told in one line, and no process is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.job_record import completed, record_of
from vibraloom.calculators.cp2k.method_sections import STRUCTURE_FILE
from vibraloom.calculators.cp2k.remedies import sections
from vibraloom.calculators.cp2k.segments import PROJECT
from vibraloom.calculators.cp2k.wall_time import seconds_of
from vibraloom.errors import InputError


def inputs_of_runs(inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of each run of a job → its input, complete; the main run first.

    Args:
        inputs: nodes of a job (:class:`.calcjob.Cp2kCalculation`).

    Raises:
        InputError: see :func:`.job_record.completed`.
    """
    structure = inputs["structure"]
    given = {PROJECT: inputs["parameters"], **inputs.get("followups", {})}
    return {
        name: completed(parameters.get_dict(), name, structure.cell, structure.pbc, STRUCTURE_FILE)
        for name, parameters in given.items()
    }


def refusal(inputs: Mapping[str, Any]) -> str | None:
    """Why the input of a run, or what the converter is told, cannot be written; None where it can, or is not there yet."""
    if not {"structure", "parameters"} <= set(inputs):
        return None
    try:
        runs = inputs_of_runs(inputs)
        given = inputs["record"].get_dict() if "record" in inputs else {}
        record_of(inputs["parameters"].get_dict(), inputs["structure"].get_ase(), given)
        for run in runs.values():
            render(run)
            for section in sections(run, "GLOBAL"):
                seconds_of(section.get("WALLTIME", 1))
    except InputError as error:
        return str(error)
    return None


def output_name_refusal(name: str, _: Any) -> str | None:
    """Why the log cannot have this name: it is found by it."""
    file = f"{PROJECT}.out"
    return None if name == file else f"options.output_filename: {name!r}; allowed: {file}, by which the log is found"
