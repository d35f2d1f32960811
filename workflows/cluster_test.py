"""A tiny job of each code of a computer, through AiiDA and the queue, and what is learned from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.engine.runners import Runner

from vibraloom.calculators.probe.calcjob import ProbeCalculation
from vibraloom.calculators.probe.programs import PROGRAMS
from vibraloom.errors import ComputationError, InputError, MissingError
from vibraloom.workflows.clusters import job_options, load_computer, profile_of
from vibraloom.workflows.foreground import drive, require_answer, told_pause
from vibraloom.workflows.launch import close_run, foreground_runner


class ClusterTestWorkChain(WorkChain):
    """One probe per code, all in the queue at once."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input_namespace("codes", valid_type=orm.AbstractCode, help="Codes to run; each key is a key of PROGRAMS.")
        spec.output_namespace("reports", valid_type=orm.Dict, required=False, help="Version, host and times of each code.")
        spec.outline(cls.probe, cls.results)

    def probe(self) -> ToContext:
        """Submit every probe."""
        return ToContext(
            **{
                label: self.submit(
                    ProbeCalculation,
                    code=code,
                    program=orm.Str(label),
                    # an answer from the cache would say nothing about today
                    metadata={"call_link_label": label, "options": job_options(code), "disable_cache": True},
                )
                for label, code in self.inputs.codes.items()
            }
        )

    def results(self) -> None:
        """Hand on what the programs said; a program that failed hands on nothing."""
        for label in self.inputs.codes:
            if self.ctx[label].is_finished_ok:
                self.out(f"reports.{label}", self.ctx[label].outputs.report)


@dataclass(frozen=True)
class Partition:
    """A Slurm partition as sinfo describes it."""

    name: str
    default: bool
    up: bool
    limit_minutes: float | None
    nodes: int
    cores_per_node: str


def test(name: str) -> dict[str, Any]:
    """Reach the computer, look at its queue, run a probe of each of its codes, and say what was learned.

    Returns:
        ``computer``, ``partition`` (or None) and ``codes``: one entry per code with ``ok``, ``version``, ``host``,
        ``queue_seconds``, ``run_seconds``, ``wall_seconds``, ``message``, ``status``; plain JSON types.

    Raises:
        InputError: no such computer, none of its codes can be probed, or a partition that it does not have.
        MissingError: the computer or its Slurm cannot be reached.
        ComputationError: interrupted, or the jobs could not be handed over.
    """
    computer = load_computer(name)
    query = orm.QueryBuilder().append(orm.Computer, filters={"id": computer.pk}, tag="computer")
    query.append(orm.InstalledCode, filters={"label": {"in": list(PROGRAMS)}}, with_computer="computer")
    codes = {code.label: code for code in query.all(flat=True) if not code.is_hidden}
    if not codes:
        raise InputError(f"computer {name}: has none of the codes {', '.join(PROGRAMS)}; run: vibraloom cluster add {name}")
    runner = foreground_runner()
    require_answer(computer)
    partition = _look(computer)
    node = _run(runner, {"codes": dict(sorted(codes.items()))})
    entries = []
    for job in sorted(node.called, key=lambda each: str(each.inputs.program.value)):
        told = job.outputs.report.get_dict() if job.is_finished_ok else {}
        entry: dict[str, Any] = {"code": job.inputs.code.full_label, "ok": job.is_finished_ok}
        for key in ("version", "host", "queue_seconds", "run_seconds"):
            entry[key] = told.get(key)
        entry["wall_seconds"] = round((job.mtime - job.ctime).total_seconds(), 1)
        entry["message"] = None if job.is_finished_ok else job.exit_message or f"the job ended as {job.process_state.value}"
        entry["status"] = job.exit_status
        entries.append(entry)
    return {"computer": name, "partition": None if partition is None else vars(partition), "codes": entries}


def _look(computer: orm.Computer) -> Partition | None:
    """Find the partition of the computer's profile; the computer has answered."""
    if computer.scheduler_type == "core.direct":
        return None
    with computer.get_transport() as transport:
        retval, stdout, stderr = transport.exec_command_wait("sinfo --noheader --format='%P|%a|%l|%D|%c'")
    if retval != 0:
        said = " ".join(stderr.split()) or f"sinfo ended with {retval}"
        raise MissingError(f"computer {computer.label}: Slurm on {computer.hostname} does not answer ({said}); try there: sinfo")
    return _partition(computer, stdout)


def _partition(computer: orm.Computer, text: str) -> Partition | None:
    """The partition that jobs go to; refuses one that is not there, and a time limit above its own."""
    partitions = partitions_of(text)
    profile = profile_of(computer)
    asked = None if profile is None else profile.resources
    wanted = None if asked is None else asked.partition
    names = ", ".join(each.name for each in partitions) or "none"
    if wanted is None:
        chosen = next((each for each in partitions if each.default), None)
    else:
        found = [each for each in partitions if each.name in wanted.split(",")]
        if not found:
            raise InputError(f"computer {computer.label}: resources.partition: {wanted}: there is none; allowed: {names}")
        chosen = found[0]
        if not chosen.up:
            raise InputError(f"computer {computer.label}: resources.partition: {chosen.name}: is down; ask the site, see: sinfo")
    limit = None if asked is None else asked.walltime_minutes
    if chosen is not None and limit is not None and chosen.limit_minutes is not None and limit > chosen.limit_minutes:
        raise InputError(
            f"computer {computer.label}: resources.walltime_minutes: {limit}: partition {chosen.name} allows at most "
            f"{chosen.limit_minutes:g}; jobs would wait for ever"
        )
    return chosen


def partitions_of(text: str) -> list[Partition]:
    """Partitions in the output of ``sinfo --noheader --format='%P|%a|%l|%D|%c'``; nodes of several kinds have a line each."""
    partitions: dict[str, Partition] = {}
    for line in text.splitlines():
        words = line.strip().split("|")
        if len(words) != 5 or not words[3].isdigit():
            continue  # a banner of the login shell
        name, state, limit, nodes, cores = words
        plain = name.rstrip("*")
        before = partitions[plain].nodes if plain in partitions else 0
        cores = partitions[plain].cores_per_node if before else cores
        partitions[plain] = Partition(plain, name.endswith("*"), state == "up", _minutes(limit), before + int(nodes), cores)
    return list(partitions.values())


def _minutes(limit: str) -> float | None:
    """Minutes of a time limit such as 30:00, 12:00:00 or 2-00:00:00 (sinfo's manual, %l); None if there is none."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def _run(runner: Runner, inputs: dict[str, Any]) -> orm.WorkChainNode:
    """Run the workchain in this process; ends early where a job could not be handed over."""
    process = runner.instantiate_process(ClusterTestWorkChain, **inputs)
    stop = drive(runner, process)
    if stop is None:
        return process.node
    close_run(process.node, killed=True)
    if stop.job is None:
        raise ComputationError("interrupted; run the same command again")
    raise MissingError(f"{told_pause(stop.job)}; look at the log in .vibraloom/log, then run the same command again")
