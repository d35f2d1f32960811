"""Starting a run: engines checked, earlier runs of the same spec found, one runner at a time."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import time
from collections.abc import Iterator
from typing import Any

from aiida import orm
from aiida.engine import Process
from aiida.engine.runners import Runner
from aiida.manage import get_manager
from plumpy import ProcessState
from plumpy.exceptions import PersistenceError

from vibraloom import __version__
from vibraloom.errors import InputError, MissingError
from vibraloom.settings import setting
from vibraloom.workflows.attempts import BY_DAEMON, SPEC_HASH, lock_of, stop_orphan
from vibraloom.workflows.clusters import profile_of
from vibraloom.workflows.foreground import WAITS_FOR, paused_jobs, require_answer, resume
from vibraloom.workflows.polling import PatientJobManager
from vibraloom.workflows.spec import Spec

_LOGGER = logging.getLogger(__name__)

RELEASE = "vibraloom_version"
"""Extra of a run: the release that ran it."""
SETTLE_SECONDS = 2.0
"""How long a submission that was broken off may still be on its way to the queue."""

_ENGINES = {
    "pyscf": ("pyscf", "dft"),
    "tblite": ("tblite", "dft"),
    "deepmd": ("deepmd", "deepmd"),
}


def missing_engines(spec: Spec) -> list[str]:
    """One line per engine that the spec names and this environment lacks, with the command that gets it."""
    wanted = []
    if spec.labels is not None:
        wanted += [spec.labels.engine, spec.labels.sample.engine]
    if spec.model is not None:
        wanted.append(spec.model.engine)
    lines = []
    for engine in wanted:
        module, extra = _ENGINES[engine]
        if importlib.util.find_spec(module) is None:
            lines.append(f"engine {engine} is not installed; run: pip install 'vibraloom[{extra}]'")
    return lines


def inputs_of(spec: Spec) -> dict[str, Any]:
    """Inputs of the SpectraWorkChain.

    Raises:
        MissingError: an engine or a code is not there; the message holds the command that gets it.
        InputError: the classical model is unknown.
    """
    from aiida.common.exceptions import NotExistent

    if lacking := missing_engines(spec):
        raise MissingError(lacking[0])
    resources = resources_of(spec)
    labels = ["python"]
    engine = {"lammps": "lmp", "cp2k": "cp2k"}.get(spec.dynamics.engine)
    if engine is not None:
        labels.append(engine)
    codes = {}
    for label in labels:
        name = f"{label}@{resources['computer']}"
        try:
            codes[label] = orm.load_code(name)
        except NotExistent as error:
            raise MissingError(f"code {name} is not set up; run: {_remedy(label, resources['computer'])}") from error
    check_level_of(spec)
    check_first_principles(spec)
    content = {**spec.model_dump(mode="json", exclude_none=True), "resources": resources}
    return {"spec": orm.Dict(content), "codes": codes}


def _remedy(label: str, computer: str) -> str:
    """Command that makes the code ``label`` on ``computer``."""
    install = {"lmp": "pip install 'vibraloom[deepmd]' && ", "cp2k": "apt install cp2k && "}.get(label, "")
    if computer == "localhost" and label != "cp2k":
        return f"{install}vibraloom init"
    return f"{install if computer == 'localhost' else ''}vibraloom cluster add {computer}"


def resources_of(spec: Spec) -> dict[str, Any]:
    """Computer and cores: VIBRALOOM_* before the spec, the spec before the settings files, those before the defaults.

    Cores that nobody names are those of the computer's profile, where there is a queue or another machine.

    Raises:
        InputError: cores that are no whole number above 0.
    """
    found: dict[str, Any] = {}
    for name in ("computer", "cores"):
        chosen = setting(name)
        given = getattr(spec.resources, name)
        overruled = chosen.origin.startswith("VIBRALOOM_") or given is None
        found[name] = chosen.value if overruled else given
        if name == "cores" and chosen.origin == "default" and given is None:
            found[name] = _cores_of(str(found["computer"])) or chosen.value
        if name == "cores" and (not str(found[name]).isdigit() or int(found[name]) < 1):
            raise InputError(f"{chosen.origin}: cores: {found[name]}: allowed: a whole number above 0")
    return {"computer": str(found["computer"]), "cores": int(found["cores"])}


def _cores_of(computer: str) -> int | None:
    """Cores that the profile of a computer asks for; None for this machine without a queue, to which the setting belongs."""
    from aiida.common.exceptions import NotExistent

    try:
        profile = profile_of(orm.load_computer(computer))
    except NotExistent:
        return None
    here = profile is None or (profile.transport.kind, profile.scheduler) == ("local", "direct")
    return None if profile is None or here else profile.resources.cores


def check_level_of(spec: Spec) -> None:
    """Refuse a functional or basis that pyscf does not know before anything runs.

    Raises:
        InputError: the key and what is allowed.
    """
    from vibraloom.calculators.pyscf.electronic_structure import LevelOfTheory, check_level
    from vibraloom.structures.build import build

    if spec.labels is None:
        return
    atoms, _ = build(spec.system)
    try:
        check_level(LevelOfTheory(spec.labels.functional, spec.labels.basis, field=spec.labels.field), list(atoms.numbers))
    except InputError as error:
        raise InputError(f"{spec.name}: labels: {error}") from error


def check_first_principles(spec: Spec) -> None:
    """Refuse what CP2K cannot compute, with the physical reason, before anything runs.

    Raises:
        InputError: the reason and what is allowed.
    """
    if not spec.is_first_principles:
        return
    from vibraloom.structures.build import build
    from vibraloom.workflows.first_principles import warnings_of

    atoms, _ = build(spec.system)
    warnings_of(spec, atoms)


def foreground_runner() -> Runner:
    """The runner of a command that waits for its work: no broker, so no server need be there.

    Transports over ssh use its loop, so it is made before anything asks a computer.
    """
    runner = get_manager().get_runner(communicator=None, poll_interval=0.2)
    if not isinstance(runner.job_manager, PatientJobManager):
        runner._job_manager = PatientJobManager(runner.transport)
    return runner


@contextlib.contextmanager
def short_runner() -> Iterator[None]:
    """The runner of :func:`foreground_runner` for a while; afterwards the process may have one with a broker."""
    foreground_runner()
    try:
        yield
    finally:
        get_manager().reset_runner()


def runs_of(spec_hash: str) -> list[orm.WorkChainNode]:
    """Runs of the spec with this content hash, newest first."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={f"extras.{SPEC_HASH}": spec_hash}, tag="run")
    query.order_by({"run": [{"ctime": "desc"}]})
    return query.all(flat=True)


def finished_run(spec: Spec) -> orm.WorkChainNode | None:
    """The newest finished run of this spec by this release into the same collection, if there is one."""
    for node in runs_of(spec.content_hash()):
        same = node.base.extras.get(RELEASE, None) == __version__
        if same and node.is_finished_ok and node.inputs.spec.get_dict().get("deposit") == spec.deposit.model_dump(mode="json"):
            return node
    return None


def label_run(node: orm.WorkChainNode, spec: Spec, *, daemon: bool) -> None:
    """Mark a run so that the next one of the same spec finds it."""
    node.label = spec.name
    node.base.extras.set_many({SPEC_HASH: spec.content_hash(), RELEASE: __version__, BY_DAEMON: daemon})


def require_computer(spec: Spec) -> None:
    """Connect once to the computer of a spec, so that one that does not answer is told before a run begins.

    Raises:
        MissingError: it does not answer; the message holds what to try.
    """
    require_answer(orm.load_computer(resources_of(spec)["computer"]))


def close_interrupted_runs(spec: Spec, but: int | None = None) -> int:
    """Mark runs of this spec whose process died as interrupted, ``but`` one; call it with the lock held.

    Returns:
        How many there were.

    Raises:
        InputError: a run of this spec is in the daemon's hands.
    """
    open_runs = [node for node in runs_of(spec.content_hash()) if not node.is_terminated and node.pk != but]
    for run in open_runs:
        if run.base.extras.get(BY_DAEMON, False):
            raise InputError(
                f"{spec.name}: run {run.uuid[:8]} is in the daemon's hands; follow it with: vibraloom status {run.uuid[:8]}"
            )
        close_run(run)
    return len(open_runs)


def resumed_run(spec: Spec, runner: Runner) -> Process | None:
    """The process of a run of this spec that was given up because a computer did not answer; call it with the lock held.

    Its jobs are the same ones, in the queue or ended meanwhile; nothing is submitted again. One whose computer the spec no
    longer names is not gone on with.
    """
    for run in runs_of(spec.content_hash()):
        same = run.base.extras.get(RELEASE, None) == __version__ and not moved(run, spec)
        if not same or run.is_terminated or run.base.extras.get(WAITS_FOR, None) is None:
            continue
        try:
            return resume(runner, run)
        except PersistenceError as error:  # it is closed like one whose process died
            _LOGGER.warning("run %s cannot be gone on with: %s", run.uuid[:8], " ".join(str(error).split()))
    return None


def moved(run: orm.WorkChainNode, spec: Spec) -> bool:
    """Whether the spec now names another computer than the one that a run of it was begun on."""
    begun = run.inputs.spec.get_dict().get("resources") or {}
    return bool(begun.get("computer") != resources_of(spec)["computer"])


def run_of_daemon(spec: Spec) -> orm.WorkChainNode | None:
    """The open run of this spec that is in the daemon's hands, if there is one."""
    runs = (run for run in runs_of(spec.content_hash()) if not run.is_terminated)
    return next((run for run in runs if run.base.extras.get(BY_DAEMON, False)), None)


def play(run: orm.WorkChainNode) -> None:
    """Let the daemon, which runs, go on with the paused jobs of a run."""
    from aiida.engine.processes.control import play_processes

    if jobs := paused_jobs(run):
        play_processes(list(jobs))


def take_from_daemon(run: orm.WorkChainNode) -> None:
    """End a run in the hands of the daemon, which runs, at once, whether or not the run's computer answers."""
    from aiida.engine.processes.control import kill_processes

    kill_processes([node for node in (run, *run.called_descendants) if not node.is_terminated], force=True)
    close_run(run, killed=True)


def close_run(run: orm.WorkChainNode, *, killed: bool = False) -> None:
    """Stop the jobs of a run that nobody drives any more and mark its processes as ended.

    Jobs keep their state and their folders: the next run of the same spec continues what they finished.
    """
    stop_jobs(run)
    if any(_may_be_on_its_way(job) for job in run.called_descendants):
        time.sleep(SETTLE_SECONDS)  # a submission that was under way may have come through meanwhile
        stop_jobs(run)
    for node in [run, *run.called_descendants]:
        if isinstance(node, orm.WorkChainNode) and not node.is_terminated:
            node.set_process_state(ProcessState.KILLED if killed else ProcessState.EXCEPTED)
            node.set_exception("interrupted by the user" if killed else "interrupted: the process that ran it ended")
            node.seal()


def _may_be_on_its_way(node: orm.ProcessNode) -> bool:
    """Whether a job has a folder and no number yet on a computer that works on while our side is cut off."""
    if not isinstance(node, orm.CalcJobNode) or node.is_terminated or node.computer.transport_type == "core.local":
        return False
    return node.get_job_id() is None and node.get_remote_workdir() is not None


def stop_jobs(run: orm.WorkChainNode) -> int:
    """Stop the processes of jobs under a run that nobody watches any more; their folders keep what is finished.

    Returns:
        How many were stopped.
    """
    stopped = 0
    for job in run.called_descendants:
        if not isinstance(job, orm.CalcJobNode):
            continue
        try:
            stopped += stop_orphan(job)
        except Exception as error:  # each transport and ssh library has errors of its own
            said = " ".join(str(error).split())
            _LOGGER.warning("job %s on computer %s was not stopped: %s", job.uuid[:8], job.computer.label, said)
    return stopped


@contextlib.contextmanager
def only_runner(spec: Spec) -> Iterator[None]:
    """Hold the lock of this spec; the system drops it if the process dies.

    Raises:
        InputError: another process runs this spec.
    """
    path = lock_of(spec.content_hash())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{spec.name}: another vibraloom run of this spec is at work; wait for it or stop it") from error
        yield


def submit(spec: Spec, inputs: dict[str, Any]) -> orm.WorkChainNode:
    """Hand a run to the daemon, which runs; it is labelled before, so that a run that a crash left behind is found.

    The steps are those of aiida.engine.submit.
    """
    from vibraloom.workflows.spectra import SpectraWorkChain

    runner = get_manager().get_runner()
    assert runner.persister is not None and runner.controller is not None
    process = runner.instantiate_process(SpectraWorkChain, **inputs)
    label_run(process.node, spec, daemon=False)
    runner.persister.save_checkpoint(process)
    process.close()
    runner.controller.continue_process(process.pid, nowait=False, no_reply=True)
    process.node.base.extras.set(BY_DAEMON, True)
    return process.node
