"""A job that another run is at work on is neither stopped nor taken over; one whose run died is an orphan."""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path
from typing import Any

import pytest

from vibraloom.errors import ComputationError


def job_of(run: Any, parameters: Any = None, *, status: int | None = None, **inputs: Any) -> Any:
    """A job under ``run`` with a folder, and with those ``inputs`` that are not None; ended with ``status`` or at work."""
    from aiida import orm
    from aiida.common.links import LinkType
    from plumpy import ProcessState

    from vibraloom.calculators.ase.calcjob import AseDynamicsCalculation

    computer = orm.load_computer("localhost")
    job = orm.CalcJobNode(computer=computer, process_type=AseDynamicsCalculation.build_process_type())
    job.base.links.add_incoming(run, LinkType.CALL_CALC, f"dynamics_{uuid.uuid4().hex[:8]}")
    for label, node in {"parameters": parameters, **inputs}.items():
        if node is not None:
            job.base.links.add_incoming(node.store(), LinkType.INPUT_CALC, label)
    job.store()
    folder = orm.RemoteData(computer=computer, remote_path=computer.get_workdir())
    folder.base.links.add_incoming(job, LinkType.CREATE, "remote_folder")
    folder.store()
    job.set_process_state(ProcessState.WAITING if status is None else ProcessState.FINISHED)
    if status is not None:
        job.set_exit_status(status)
    return job


def run_with(*, ended: bool = False, **extras: Any) -> Any:
    from aiida import orm
    from plumpy import ProcessState

    run = orm.WorkChainNode()
    run.set_process_state(ProcessState.FINISHED if ended else ProcessState.WAITING)
    run.store()
    run.base.extras.set_many(extras)
    return run


def new_parameters() -> Any:
    from aiida import orm

    return orm.Dict({"of": uuid.uuid4().hex}).store()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Jobs that were stopped as orphans."""
    found: list[Any] = []
    monkeypatch.setattr("vibraloom.workflows.attempts.stop_orphan", found.append)
    return found


@pytest.mark.parametrize(("daemon", "locked", "ended", "driven"), [
    (False, True, False, True),
    (True, False, False, True),
    (False, False, False, False),
    (True, True, True, False),
])  # fmt: skip
@pytest.mark.parametrize("inside", [True, False])
def test_an_attempt_belongs_to_the_run_that_holds_its_lock_wherever_it_is_asked_from(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool, daemon: bool, locked: bool, ended: bool,
    driven: bool,
) -> None:  # fmt: skip
    from vibraloom.workflows.attempts import BY_DAEMON, SPEC_HASH, is_driven, lock_of

    monkeypatch.chdir(project.parent if inside else tmp_path)
    digest = f"{inside:d}{daemon:d}{locked:d}{ended:d}" + "a" * 60
    run = run_with(ended=ended, **{SPEC_HASH: digest, BY_DAEMON: daemon})
    job = job_of(run)
    path = lock_of(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        if locked:
            fcntl.flock(handle, fcntl.LOCK_EX)
        assert is_driven(job) is driven
    run.base.extras.delete(SPEC_HASH)  # no run of this project to those who list them


def test_a_job_of_a_process_that_is_no_run_of_a_spec_is_left_alone_until_that_process_ends(
    in_project: Path, stopped: list[Any]
) -> None:
    from plumpy import ProcessState

    from vibraloom.calculators.ase.calcjob import AseDynamicsCalculation
    from vibraloom.workflows.attempts import continued

    parameters, submitted_by_hand = new_parameters(), run_with()
    job = job_of(submitted_by_hand, parameters)
    assert continued(AseDynamicsCalculation, {"parameters": parameters}) == ({"parameters": parameters}, None)
    assert stopped == []
    submitted_by_hand.set_process_state(ProcessState.EXCEPTED)
    inputs, said = continued(AseDynamicsCalculation, {"parameters": parameters})
    assert [each.uuid for each in stopped] == [job.uuid]
    assert inputs["previous"].creator.uuid == job.uuid and said is not None and job.uuid[:8] in said


def test_a_finished_job_is_answered_by_the_cache_with_the_very_previous_that_it_had(in_project: Path) -> None:
    from vibraloom.calculators.ase.calcjob import AseDynamicsCalculation
    from vibraloom.workflows.attempts import continued

    run = run_with(ended=True)
    earlier = job_of(run, new_parameters(), status=410)
    now = earlier.outputs.remote_folder
    for had in (None, job_of(run, new_parameters(), status=410).outputs.remote_folder):
        parameters = new_parameters()
        job_of(run, parameters, previous=had, status=0)
        inputs, _ = continued(AseDynamicsCalculation, {"parameters": parameters, "previous": now})
        found = inputs.get("previous")
        assert (None if found is None else found.uuid) == (None if had is None else had.uuid)


def test_an_orphan_that_cannot_be_cancelled_ends_the_chain_with_one_line_and_the_remedy(
    in_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiida import orm
    from aiida.manage import get_manager
    from ase.build import molecule

    from vibraloom.calculators.ase.calcjob import AseDynamicsCalculation
    from vibraloom.workflows.attempts import continued
    from vibraloom.workflows.children import failure_of
    from vibraloom.workflows.dynamics import AseDynamicsWorkChain

    def refuse(job: Any) -> bool:
        raise OSError("slurm_load_jobs error:\nUnable to contact slurm controller")

    monkeypatch.setattr("vibraloom.workflows.attempts.stop_orphan", refuse)
    parameters, code = new_parameters(), orm.load_code("python@localhost")
    structure = orm.StructureData(ase=molecule("H2O", vacuum=3.0)).store()
    inputs = {"code": code, "parameters": parameters, "structure": structure}
    job_of(run_with(ended=True), status=410, **inputs)
    remedy = r"computer localhost: job \w+.*Unable to contact slurm controller\); try: vibraloom cluster test localhost"
    with pytest.raises(ComputationError, match=remedy):
        continued(AseDynamicsCalculation, inputs)
    runner = get_manager().create_runner(communicator=None)
    chain = runner.instantiate_process(AseDynamicsWorkChain, job=inputs)
    with pytest.raises(ComputationError, match=remedy):
        chain.execute()
    assert chain.node.is_excepted
    said = failure_of(chain.node)
    assert said is not None and "\n" not in said and "; try: vibraloom cluster test localhost; then the same command" in said
