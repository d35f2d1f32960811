"""How each run of a job ended, and which of them a continuation need not repeat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vibraloom.calculators.cp2k.output_log import Log, Outcome, diagnose, read_log
from vibraloom.calculators.cp2k.segments import PROJECT
from vibraloom.calculators.cp2k.wall_time import NOT_BEGUN
from vibraloom.errors import InputError

_WRONG_PROGRAM = re.compile(
    r"command not found|[Nn]o such file or directory|not found|[Pp]ermission denied|[Ee]xec format error|cannot execute|"
    r"error while loading shared libraries|could not find executable|execve\(\)|invalid option|unrecognized option"
)
_KILLED = re.compile(r"^.*(?:\bKilled\b|SIGKILL|signal 9\b)", re.MULTILINE)
_ERR_TAIL = 1 << 16


def run_folder(folder: Path, record: Mapping[str, Any], name: str) -> Path:
    """Folder that holds the output of the run ``name``: an earlier job's, where ``finished`` in the record says so."""
    return folder / record.get("finished", {}).get(name, ".")


def how_it_ended(folder: Path, name: str) -> Log | Outcome:
    """The log of a run, or how it failed to have one.

    A log that is missing or empty is one of a job that was cut off (killed before the first line, full disk), unless what the
    run said aside tells that the program is wrong or that it was not begun.
    """
    said = _said_aside(folder / f"{name}.err")
    if NOT_BEGUN in said:
        return Outcome(None, "walltime", None, f"stopped at the wall time before it ({said.strip().splitlines()[-1]})")
    path = folder / f"{name}.out"
    if not path.is_file() or path.stat().st_size == 0:
        return without_log(name, said)
    try:
        log = read_log(path)
    except InputError as error:
        return Outcome(None, "aborted", "input", str(error))
    if log.outcome.ended == "cut_off":
        aside = diagnose(said)
        if aside.problem == "memory":
            return replace(log, outcome=replace(log.outcome, problem="memory", message=aside.message))
    return log


def without_log(name: str, said: str) -> Outcome:
    """How a run ended of whose log there is not a line, from what it (or what should have started it) said aside."""
    aside = diagnose(said)
    last = " ".join(said.strip().splitlines()[-1].split())[:200] if said.strip() else ""
    if aside.problem == "memory":
        return Outcome(None, "cut_off", "memory", aside.message)
    # what was killed had begun: a loader's complaints before that did no harm
    wrong = None if _KILLED.search(said) else next((line for line in said.splitlines() if _WRONG_PROGRAM.search(line)), None)
    if wrong is not None:
        told = " ".join(wrong.split())[:200]
        return Outcome(None, "aborted", "input", f"{name}.out is empty: {told}; check that the code's path is CP2K")
    why = f" ({last})" if last else ""
    advice = "if this happens again, check that the code's path is CP2K and that the disk is not full"
    told = f"{name}.out is missing or empty: cut off before its first line{why}; {advice}"
    return Outcome(None, "cut_off", "truncated", told)


def is_whole(ended: Log | Outcome) -> bool:
    """Whether a run did all that it was asked for."""
    return isinstance(ended, Log) and ended.outcome.ended == "normal" and ended.outcome.problem is None


def finished_runs(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """Name of each whole run of a label → absolute folder that holds its output; empty for other kinds of jobs.

    Args:
        folder: the job's folder.
        record: the job record (keys in :mod:`.convert`).
    """
    if record.get("kind") != "label":
        return {}
    names = [PROJECT, *record.get("followups", [])]
    places = {name: run_folder(folder, record, name) for name in names}
    return {name: str(place.absolute()) for name, place in places.items() if is_whole(how_it_ended(place, name))}


def _said_aside(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _ERR_TAIL))
        return handle.read().decode("utf-8", errors="replace")
