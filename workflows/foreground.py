"""Work that a command waits for: driven to its end, to an interruption, or to a computer that does not answer.

AiiDA tries each step on a computer some times, waits longer each time (options transport.task_*), and then pauses the job
for ever. A command that waits gives up then: the run stays as it is, and the next command goes on with its very processes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.engine import Process, get_object_loader
from aiida.engine.runners import Runner
from plumpy.persistence import LoadSaveContext

from vibraloom.errors import MissingError
from vibraloom.workflows.attempts import BY_DAEMON

WAITS_FOR = "vibraloom_waits_for"
"""Extra of a run that a command gave up: label of the computer that did not answer."""
LOOK_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""How long connections that are in use may take to close."""

_TASKS = {
    "upload": "sending a job's files",
    "submit": "handing a job to the queue",
    "update": "asking for the jobs",
    "retrieve": "fetching a job's results",
    "kill": "cancelling a job",
    "stash": "stashing a job's files",
    "monitor": "watching a job",
}


@dataclass(frozen=True)
class Stop:
    """Why driving ended before the process did; without ``job`` the user interrupted it."""

    job: orm.CalcJobNode | None = None


def drive(runner: Runner, process: Process, beside: Coroutine[Any, Any, None] | None = None) -> Stop | None:
    """Step a process until it ends, the user interrupts, or AiiDA pauses one of its jobs.

    Unless it ended, nothing of it is left in the loop: it would go on, and submit jobs, whenever the loop is used again.

    Args:
        runner: the runner that made ``process``.
        process: the process; its node is stored.
        beside: runs meanwhile and is cancelled at the end, such as the display of progress.

    Returns:
        None if the process ended, else why not.
    """
    loop = runner.loop
    stops: list[Stop] = []

    def stop(job: orm.CalcJobNode | None = None) -> None:
        stops.append(Stop(job))
        loop.stop()

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if jobs := paused_jobs(process.node):
                stop(jobs[0])
                return

    # the loop takes a signal between two steps, never within a database transaction
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop)
    tasks = [loop.create_task(each) for each in (watch(), beside) if each is not None]
    # AiiDA leaves a connection's failure, which it logs itself, in a task that nobody asks
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        runner.run_until_complete(process.step_until_terminated())
    except RuntimeError:
        if not stops:
            raise
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        _cancel(loop, set(tasks) if process.node.is_terminated else asyncio.all_tasks(loop))
    return None if process.node.is_terminated else stops[0]


def _cancel(loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks; the nodes of processes stay in the state in which the database has them."""
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVE_SECONDS))


def paused_jobs(run: orm.ProcessNode) -> list[orm.CalcJobNode]:
    """Jobs under ``run`` that AiiDA has paused, oldest first."""
    query = orm.QueryBuilder()
    filters = {"attributes.paused": True, "ctime": {">=": run.ctime}}
    query.append(orm.CalcJobNode, filters=filters, tag="job").order_by({"job": "ctime"})
    return [job for job in query.all(flat=True) if not job.is_terminated and _belongs(job, run)]


def _belongs(job: orm.ProcessNode, run: orm.ProcessNode) -> bool:
    node: orm.ProcessNode | None = job
    while node is not None and node.pk != run.pk:
        node = node.caller
    return node is not None


def told_pause(job: orm.CalcJobNode) -> str:
    """What AiiDA tried in vain on the computer of a paused job, and the error it met last."""
    said = job.process_status or ""
    found = re.search(r"(\w+?)_calculation failed (\d+) times", said)
    errors = [entry for entry in orm.Log.collection.get_logs_for(job) if entry.levelname == "ERROR"]
    lines = [line.strip() for line in errors[-1].message.splitlines() if line.strip()] if errors else []
    reason = f" ({lines[-1][:200]})" if lines else ""
    # else it let us in, and what was asked of it failed
    silent = " does not answer" if errors and "open_async" in errors[-1].message else ""
    tried = f"{_TASKS.get(found[1], found[1])} failed {found[2]} times" if found else said
    return f"computer {job.computer.label}{silent}: {tried}{reason}"


def remedy_of(job: orm.CalcJobNode) -> str:
    """What the user does about a paused job."""
    run: orm.ProcessNode = job
    while run.caller is not None:
        run = run.caller
    again = "submit" if run.base.extras.get(BY_DAEMON, False) else "run"
    return f"try: vibraloom cluster test {job.computer.label}; then the same vibraloom {again} goes on where it stopped"


def resume(runner: Runner, run: orm.WorkChainNode) -> Process:
    """The process of a run that was given up, and those of its unfinished children at work in ``runner``'s loop.

    Raises:
        plumpy.exceptions.PersistenceError: one of them left no checkpoint.
    """
    context = LoadSaveContext(loader=get_object_loader(), runner=runner)
    assert runner.persister is not None
    nodes = [node for node in (*run.called_descendants, run) if isinstance(node, orm.CalcJobNode | orm.WorkChainNode)]
    bundles = [runner.persister.load_checkpoint(node.pk) for node in nodes if not node.is_terminated]
    processes = [bundle.unbundle(context) for bundle in bundles]
    for process in processes:
        if process.paused:
            process.play()
    for child in processes[:-1]:
        runner.loop.create_task(child.step_until_terminated())
    run.base.extras.delete(WAITS_FOR)
    whole: Process = processes[-1]
    return whole


def require_answer(computer: orm.Computer) -> None:
    """Open a connection and make the work folder, so that an unreachable computer is told at once.

    Raises:
        MissingError: the computer cannot be reached or its work folder not be made.
    """
    local = computer.transport_type == "core.local"
    try:
        with computer.get_transport() as transport:
            folder = computer.get_workdir().format(username=transport.whoami())
            transport.makedirs(folder, ignore_existing=True)
    except Exception as error:  # each transport and ssh library has errors of its own
        where = "this machine" if local else computer.hostname
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = f"ls -ld {computer.get_workdir()}" if local else f"ssh {computer.hostname} true"
        raise MissingError(f"computer {computer.label}: {where} cannot be used ({reason}); try: {remedy}") from error
