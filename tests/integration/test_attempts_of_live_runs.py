"""A job that another run is at work on is neither stopped nor taken over; one whose run died is an orphan."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest


@pytest.mark.parametrize(("daemon", "locked", "ended", "driven"), [
    (False, True, False, True),
    (True, False, False, True),
    (False, False, False, False),
    (True, True, True, False),
])  # fmt: skip
def test_an_attempt_belongs_to_the_run_that_holds_its_lock(
    in_project: Path, daemon: bool, locked: bool, ended: bool, driven: bool
) -> None:
    from aiida import orm
    from aiida.common.links import LinkType
    from plumpy import ProcessState

    from vibraloom.settings import project_folder
    from vibraloom.workflows.attempts import BY_DAEMON, SPEC_HASH, is_driven, lock_of

    home = project_folder()
    assert home is not None
    digest = f"{daemon:d}{locked:d}{ended:d}" + "a" * 61
    run = orm.WorkChainNode()
    run.set_process_state(ProcessState.FINISHED if ended else ProcessState.WAITING)
    run.store()
    run.base.extras.set_many({SPEC_HASH: digest, BY_DAEMON: daemon})
    job = orm.CalcJobNode(computer=orm.load_computer("localhost"))
    job.base.links.add_incoming(run, LinkType.CALL_CALC, "dynamics")
    job.store()
    path = lock_of(home, digest)
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as handle:
        if locked:
            fcntl.flock(handle, fcntl.LOCK_EX)
        assert is_driven(job) is driven
    run.base.extras.delete(SPEC_HASH)  # no run of this project to those who list them
