"""Earlier attempts at the same job: found by their inputs, stopped if orphaned, continued from their folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import CalcJob
from aiida.manage.configuration.settings import AiiDAConfigDir

from vibraloom.errors import ComputationError

SPEC_HASH = "vibraloom_spec_hash"
BY_DAEMON = "vibraloom_daemon"
"""Extras of a run: content hash of its spec, whether the daemon has it."""
CONTINUED = "previous"
"""Link label of the folder that a job continues; it does not change what the job computes."""


def input_hashes(inputs: dict[str, Any]) -> dict[str, str]:
    """Link label of each input, ``metadata`` aside → its content hash."""
    flat: dict[str, str] = {}
    for key, value in inputs.items():
        if isinstance(value, orm.Node):
            flat[key] = value.base.caching.compute_hash()
        elif isinstance(value, dict) and key != "metadata":
            flat |= {f"{key}__{inner}": digest for inner, digest in input_hashes(value).items()}
    return flat


def earlier_attempts(process_class: type[CalcJob], inputs: dict[str, Any]) -> list[orm.CalcJobNode]:
    """Jobs of ``process_class`` with the same inputs (``previous`` aside), newest first."""
    wanted = {key: digest for key, digest in input_hashes(inputs).items() if key != CONTINUED}
    parameters = inputs["parameters"]
    query = orm.QueryBuilder()
    query.append(
        orm.Dict,
        filters={"extras._aiida_hash": parameters.base.caching.compute_hash()},
        tag="parameters",
    )
    query.append(
        orm.CalcJobNode,
        filters={"process_type": process_class.build_process_type()},
        with_incoming="parameters",
        edge_filters={"label": "parameters"},
        tag="job",
        project="*",
    )
    query.order_by({"job": [{"ctime": "desc"}]})
    found = []
    for node in query.all(flat=True):
        links = node.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all()
        given = {link.link_label: link.node.base.caching.get_hash() for link in links if link.link_label != CONTINUED}
        if given == wanted:
            found.append(node)
    return found


def folder_of(node: orm.CalcJobNode) -> orm.RemoteData | None:
    """The attempt's folder if it is still there (only looked up on this machine)."""
    folder = node.base.links.get_outgoing(link_label_filter="remote_folder").first()
    if folder is None:
        return None
    remote = folder.node
    local = remote.computer.transport_type == "core.local"
    return remote if not local or Path(remote.get_remote_path()).is_dir() else None


def stop_orphan(node: orm.CalcJobNode) -> bool:
    """Stop the job of an attempt whose watcher died, so that no two processes write into one folder.

    Without a queue only a process that runs in the attempt's own folder is stopped: a number alone may belong to
    someone else. In a queue, what carries the attempt's UUID as its name is cancelled.
    """
    job_id, workdir = node.get_job_id(), node.get_remote_workdir()
    if node.is_finished or workdir is None:
        return False
    if node.computer.scheduler_type == "vibraloom.slurm":
        return _cancel(node, workdir)
    if job_id is None or node.computer.scheduler_type != "core.direct":
        return False
    import psutil

    try:
        leader = psutil.Process(int(job_id))
        if os.path.realpath(leader.cwd()) != os.path.realpath(workdir):
            return False
        family = [leader, *leader.children(recursive=True)]
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return False
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return True


def _cancel(node: orm.CalcJobNode, workdir: str) -> bool:
    from vibraloom.calculators.slurm.scheduler import VibraloomSlurmScheduler

    scheduler = node.computer.get_scheduler()
    assert isinstance(scheduler, VibraloomSlurmScheduler)
    with node.get_authinfo().get_transport() as transport:
        scheduler.set_transport(transport)
        return bool(scheduler.cancel_job_in(workdir))


def lock_of(spec_hash: str) -> Path:
    """File that is locked while somebody runs a spec; beside AiiDA's settings, where a daemon started anywhere finds it."""
    return AiiDAConfigDir.get() / "vibraloom" / f"run-{spec_hash[:16]}.lock"


def is_driven(attempt: orm.CalcJobNode) -> bool:
    """Whether a run that is at work owns the attempt: the daemon has it, or somebody holds the lock of its spec.

    Of a process that is no run of a spec nobody here can tell whether it is at work: until it ends, it is taken to be.
    """
    run: orm.ProcessNode = attempt
    while run.caller is not None:
        run = run.caller
    if run.is_terminated:
        return False
    spec_hash = run.base.extras.get(SPEC_HASH, None)
    if spec_hash is None or run.base.extras.get(BY_DAEMON, False):
        return True
    try:
        with lock_of(spec_hash).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def continued(process_class: type[CalcJob], inputs: dict[str, Any], *, rerun: bool = False) -> tuple[dict[str, Any], str | None]:
    """Inputs that go on from an earlier attempt at the same job, if there is one.

    A finished attempt gives its own ``previous``, or none if it had none, so that the cache answers; an unfinished one gives
    its folder, after its orphaned process was stopped. With ``rerun`` unfinished attempts are stopped and left alone. What
    another run is at work on is left to it.

    Returns:
        The inputs, and one line for the log or None.

    Raises:
        ComputationError: the orphaned process of an attempt could not be stopped.
    """
    attempts = earlier_attempts(process_class, {key: value for key, value in inputs.items() if key != "metadata"})
    for attempt in attempts:
        if attempt.is_finished_ok:
            earlier = attempt.base.links.get_incoming(link_label_filter=CONTINUED).first()
            others = {key: value for key, value in inputs.items() if key != CONTINUED}
            return (others if earlier is None else {**others, CONTINUED: earlier.node}), None
    attempts = [attempt for attempt in attempts if not is_driven(attempt)]
    for attempt in attempts:
        stop_or_refuse(attempt)
    for attempt in [] if rerun else attempts:
        folder = folder_of(attempt)
        if folder is not None:
            return {**inputs, CONTINUED: folder}, f"going on from what attempt {attempt.uuid[:8]} finished"
    return inputs, None


def stop_or_refuse(attempt: orm.CalcJobNode) -> None:
    """Stop the job of an attempt that nobody watches any more.

    Raises:
        ComputationError: it could not be stopped.
    """
    try:
        stop_orphan(attempt)
    except Exception as error:  # each transport and ssh library has errors of its own
        said = " ".join(str(error).split()) or type(error).__name__
        raise ComputationError(
            f"computer {attempt.computer.label}: job {attempt.uuid[:8]}, which nobody watches any more, cannot be cancelled"
            f" ({said}); try: vibraloom cluster test {attempt.computer.label}; then the same command goes on"
        ) from error
