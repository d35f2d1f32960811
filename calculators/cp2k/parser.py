"""Parser of CP2K jobs: nodes from what the converter wrote, and an exit code that says what to do next."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from aiida import orm
from aiida.engine import ExitCode
from aiida.parsers import Parser

from vibraloom.calculators.cp2k.calcjob import JOB_FILE, MAIN, OUTCOME_FILE, Cp2kCalculation
from vibraloom.calculators.cp2k.finished_runs import how_it_ended, is_whole, without_log
from vibraloom.calculators.cp2k.job_record import kind_of, record_of
from vibraloom.calculators.cp2k.output_log import diagnose
from vibraloom.calculators.cp2k.restart_files import latest_start, newest_restart
from vibraloom.errors import VibraloomError
from vibraloom.nodes.trajectory import TrajectoryFile

_LOG_HEAD = 1 << 16
_LOG_TAIL = 1 << 20
"""Bytes of the log that are read when the converter did not run."""

UNREAD = "converter"
"""Problem of a job whose CP2K ended normally and whose converter cannot run: nothing is to be computed again."""

_VERDICTS = (
    ("memory", re.compile(r"oom[-_ ]kill|out[ _]of[ _]memory|exceeded.{0,40}memory limit", re.IGNORECASE)),
    ("node", re.compile(r"due to node[ _]failure|node_fail|node failure", re.IGNORECASE)),
    ("node", re.compile(r"due to preemption", re.IGNORECASE)),
    ("walltime", re.compile(r"due to time limit", re.IGNORECASE)),
)
_SCHEDULER_EXITS = {
    "ERROR_SCHEDULER_OUT_OF_MEMORY": "memory",
    "ERROR_SCHEDULER_NODE_FAILURE": "node",
    "ERROR_SCHEDULER_OUT_OF_WALLTIME": "walltime",
}
_OF_PROBLEM = {
    "scf": "ERROR_SCF_NOT_CONVERGED",
    "linres": "ERROR_LINEAR_RESPONSE",
    "stars": "ERROR_LINEAR_RESPONSE",
    "truncated": "ERROR_CUT_OFF",
    UNREAD: "ERROR_INPUT",
    "input": "ERROR_INPUT",
    "basis": "ERROR_INPUT",
    "memory": "ERROR_OUT_OF_MEMORY",
    "node": "ERROR_NODE_FAILURE",
    "walltime": "ERROR_WALLTIME",
    "other": "ERROR_ABORTED",
}
"""Problem of a job to the label of its exit code."""


def scheduler_verdict(text: str) -> str | None:
    """``memory``, ``node`` or ``walltime`` if the scheduler's own words say that it ended the job so."""
    return next((name for name, pattern in _VERDICTS if pattern.search(text)), None)


def problem_of(outcome: Mapping[str, Any], verdict: str | None) -> str | None:
    """What a handler acts on; None for a job that did all it was asked for.

    The scheduler's verdict goes first, except over a job whose converter found it complete.
    """
    complete = outcome["ended"] == "normal" and not outcome.get("partial")
    if verdict is not None and not complete:
        # frames of a density that did not converge are not gone on from, however the job ended
        return "scf" if verdict in ("node", "walltime") and outcome.get("problem") == "scf" else verdict
    if outcome["ended"] == "walltime" and outcome.get("problem") in (None, "truncated"):
        return "walltime"  # a step that was broken off leaves files that end within it
    if outcome.get("problem"):
        return str(outcome["problem"])
    if outcome["ended"] == "cut_off" or outcome.get("partial"):
        return "truncated"
    return "other" if outcome["ended"] == "aborted" else None


class Cp2kParser(Parser):
    """Makes the nodes of a job; a partial trajectory is kept also when the exit code is a failure."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Turn the retrieved files into outputs and an exit code."""
        names = set(self.retrieved.base.repository.list_object_names())
        outcome = self._outcome(names)
        verdict = self._verdict(names)
        problem = problem_of(outcome, verdict)
        temporary = kwargs.get("retrieved_temporary_folder")
        try:
            with self.retrieved.base.repository.as_path() as folder:
                kept = self._collect(folder, None if temporary is None else Path(temporary), outcome, problem)
        except (VibraloomError, OSError, ValueError, KeyError, BadZipFile) as error:
            kept = []
            if problem is None:
                problem, outcome = "other", {**outcome, "message": " ".join(f"{type(error).__name__}: {error}".split())}
        if problem is None and (missing := self._missing(kept)):
            problem, outcome = "other", {**outcome, "message": f"CP2K ended normally but {missing}; look at convert.err"}
        restart = newest_restart(names, self._text, self._latest_start(outcome))
        finished = outcome["finished"] if "finished" in outcome else self._finished(names)
        report = {
            **outcome,
            "problem": problem,
            "scheduler": verdict,
            "restart": None if restart is None else {"file": restart[0], "step": restart[1]},
            "finished": finished,
            "progress": len(finished) if finished else -1 if restart is None else restart[1],
            "engine_versions": {"cp2k": outcome.get("engine_version")},
        }
        self.out("report", orm.Dict(report))
        if problem is None:
            return ExitCode(0)  # said aloud, or the scheduler's verdict over a finished job would stand
        exit_code = getattr(self.exit_codes, _OF_PROBLEM[problem])
        return exit_code.format(message=self._message(outcome, verdict))

    def _outcome(self, names: set[str]) -> dict[str, Any]:
        """What the converter said; where it did not run, what the end of the log says."""
        if OUTCOME_FILE in names:
            return dict(json.loads(self._text(OUTCOME_FILE)))
        said = [self._ends_of(name) for name in (self.node.get_option("output_filename"), "cp2k.err") if name in names]
        if "error.json" in names:
            # the converter refused: the log alone would look fine
            refused = json.loads(self._text("error.json"))
            return {**diagnose("\n".join(said)).as_json(), "ended": "aborted", "problem": "other", "message": refused["message"]}
        if said and not said[0].strip():
            return without_log(MAIN, "\n".join(said)).as_json()
        outcome = diagnose("\n".join(said)).as_json()
        if outcome["ended"] == "normal" and outcome["problem"] is None:
            outcome |= {"ended": "cut_off", **self._unread(self._ends_of("convert.err") if "convert.err" in names else "")}
        return outcome

    def _unread(self, said: str) -> dict[str, str]:
        """Why nothing read the output of a run that ended normally, from what the converter said aside."""
        lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
        if not lines:
            return {"problem": "truncated", "message": "cut off before the converter had run"}
        if "MemoryError" in lines[-1]:
            return {"problem": "memory", "message": f"the converter ran out of memory: {lines[-1][:200]}"}
        code = self.node.inputs.converter.full_label
        told = f"CP2K ended normally, but its output was not read: {lines[-1][:200]}; correct the code {code}"
        return {"problem": UNREAD, "message": f"{told}, then the same command goes on from there"}

    def _verdict(self, names: set[str]) -> str | None:
        for label, verdict in _SCHEDULER_EXITS.items():
            if self.node.exit_status == getattr(Cp2kCalculation.exit_codes, label).status:
                return verdict
        streams = (self.node.get_option("scheduler_stderr"), self.node.get_option("scheduler_stdout"))
        return scheduler_verdict("\n".join(self._ends_of(name) for name in streams if name in names))

    @staticmethod
    def _message(outcome: Mapping[str, Any], verdict: str | None) -> str:
        said = str(outcome.get("message") or "no message")
        words = {"memory": "out of memory", "node": "the node failed", "walltime": "stopped at the wall time"}
        return said if verdict is None else f"{words[verdict]}, says the scheduler; {said}"

    def _collect(self, folder: Path, temporary: Path | None, outcome: dict[str, Any], problem: str | None) -> list[str]:
        """Make the nodes that the files allow; returns their labels."""
        kept = []
        for path in sorted(temporary.glob("trajectory-*.h5")) if temporary is not None else []:
            trajectory = trajectory_node(path, str(outcome.get("message") or "") if problem is not None else None)
            self.out(f"trajectories.replica_{int(path.stem.split('-')[1]):02d}", trajectory)
            kept.append("trajectories")
        if (folder / "labels.npz").is_file():
            labels = label_node(folder / "labels.npz")
            labels.label = "" if problem is None else "partial"
            self.out("labels", labels)
            kept.append("labels")
        if (folder / "structure.json").is_file():
            self.out("structure", self._structure(json.loads((folder / "structure.json").read_text(encoding="utf-8"))))
            kept.append("structure")
        if (folder / "modes.npz").is_file() and problem is None:
            self.out("arrays", orm.SinglefileData(file=str(folder / "modes.npz")))
            self.out("modes", orm.Dict(_plain_arrays(folder / "modes.npz")))
            kept.append("modes")
        return kept

    def _latest_start(self, outcome: Mapping[str, Any]) -> int | None:
        inputs = self.node.inputs
        given = inputs.record.get_dict() if "record" in inputs else {}
        record = record_of(inputs.parameters.get_dict(), inputs.structure.get_ase(), given)
        return latest_start(outcome.get("last_step"), record["every"]) if record["kind"] == "dynamics" else None

    def _finished(self, names: set[str]) -> dict[str, str]:
        """What the converter would have said: name of each whole run of a label → folder with its output."""
        stored = self.node.base.repository
        place = self.node.get_remote_workdir()
        if JOB_FILE not in stored.list_object_names() or place is None:
            return {}
        record = json.loads(stored.get_object_content(JOB_FILE))
        if record.get("kind") != "label":
            return {}
        with self.retrieved.base.repository.as_path() as folder:
            own = [name for name in (MAIN, *record["followups"]) if f"{name}.out" in names]
            return {**record.get("finished", {}), **{name: place for name in own if is_whole(how_it_ended(folder, name))}}

    def _missing(self, kept: list[str]) -> str | None:
        wanted = {"dynamics": "trajectories", "label": "labels", "optimisation": "structure", "vibrations": "modes"}
        record = self.node.inputs.record.get_dict() if "record" in self.node.inputs else {}
        kind = record.get("kind") or kind_of(self.node.inputs.parameters.get_dict())
        return None if wanted[kind] in kept else f"its converter wrote no {wanted[kind]}"

    def _structure(self, final: dict[str, Any]) -> orm.StructureData:
        """The input structure at the optimised positions and cell."""
        start = self.node.inputs.structure
        atoms = start.get_ase()
        if final.get("cell") is not None and any(start.pbc):
            atoms.set_cell(final["cell"])
        atoms.set_positions(final["positions"])
        structure = orm.StructureData(ase=atoms)
        if not final.get("converged", True):
            structure.label = "partial"
        return structure

    def _text(self, name: str) -> str:
        with self.retrieved.base.repository.open(name, "rb") as handle:
            content: bytes = handle.read()
        return content.decode("utf-8", errors="replace")

    def _ends_of(self, name: str) -> str:
        """Head and tail of a file that may be long."""
        with self.retrieved.base.repository.open(name, "rb") as handle:
            head = handle.read(_LOG_HEAD)
            handle.seek(0, 2)
            end = handle.tell()
            handle.seek(max(len(head), end - _LOG_TAIL))
            tail = handle.read()
        content: bytes = head + tail
        return content.decode("utf-8", errors="replace")


def trajectory_node(path: Path, partial: str | None) -> TrajectoryFile:
    """A trajectory as a node; ``partial`` says why it is not all that was asked for, None if it is."""
    trajectory = TrajectoryFile.from_file(path)
    if partial is not None:
        trajectory.label, trajectory.description = "partial", partial
    trajectory.base.attributes.set("partial", partial is not None)
    return trajectory


def label_node(path: Path) -> orm.ArrayData:
    """Arrays of ``labels.npz`` as a node, frames along their first axis; entries that are text (units) become attributes."""
    node = orm.ArrayData()
    with np.load(path, allow_pickle=False) as stored:
        for name in stored.files:
            values = stored[name]
            if values.dtype.kind in "US":
                node.base.attributes.set(name, values.tolist())
            else:
                node.set_array(name, values)
    return node


def _plain_arrays(path: Path) -> dict[str, Any]:
    """One number per mode and less as plain lists; larger arrays stay in the file."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name].tolist() for name in stored.files if stored[name].ndim <= 1}
