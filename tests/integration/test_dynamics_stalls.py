"""Dynamics go on through as many stops as they take, and end with a reason when nothing moves any more."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def chain(in_project: Path) -> Any:
    """A chain of ASE dynamics before its first job."""
    from aiida import orm
    from aiida.manage import get_manager
    from ase.build import molecule

    from vibraloom.workflows.dynamics import AseDynamicsWorkChain

    job = {
        "code": orm.load_code("python@localhost"),
        "structure": orm.StructureData(ase=molecule("H2O", vacuum=3.0)),
        "parameters": orm.Dict({"of": "stalls"}),
    }
    chain = get_manager().create_runner(communicator=None).instantiate_process(AseDynamicsWorkChain, job=job)
    chain.setup()
    return chain


def cut_off() -> Any:
    """A job that was cut off, with a folder."""
    from aiida import orm
    from aiida.common.links import LinkType
    from plumpy import ProcessState

    computer = orm.load_computer("localhost")
    job = orm.CalcJobNode(computer=computer, process_type="aiida.calculations:vibraloom.ase.dynamics").store()
    folder = orm.RemoteData(computer=computer, remote_path=computer.get_workdir())
    folder.base.links.add_incoming(job, LinkType.CREATE, "remote_folder")
    folder.store()
    job.set_process_state(ProcessState.FINISHED)
    job.set_exit_status(410)
    job.set_exit_message("The job was cut off.")
    return job


def after(chain: Any, monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> list[int]:
    """Status of the handler's exit code after each of the jobs, which came that far."""
    found = []
    for step in steps:
        monkeypatch.setattr(type(chain), "steps_of", staticmethod(lambda job, step=step: step))
        found.append(chain.go_on_after_interruption(cut_off()).exit_code.status)
    return found


def test_many_stops_that_each_come_further_end_nothing(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert after(chain, monkeypatch, list(range(0, 3000, 100))) == [0] * 30
    assert chain.inputs.max_iterations.value >= 100


def test_jobs_that_do_not_come_further_end_the_chain_with_a_reason(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert after(chain, monkeypatch, [100, 200, 200, 200, 200]) == [0, 0, 0, 0, 410]
    message = chain.go_on_after_interruption(cut_off()).exit_code.message
    assert "jobs without a new step; the last: The job was cut off." in message and "more time or memory" in message


def test_how_far_lammps_came_is_what_its_converter_or_its_log_says(in_project: Path) -> None:
    from aiida import orm
    from aiida.common.links import LinkType

    from vibraloom.calculators.lammps.script_lines import PRODUCTION_MARK
    from vibraloom.workflows.dynamics import LammpsDynamicsWorkChain

    def steps(**files: str) -> int:
        job = cut_off()
        kept = orm.FolderData()
        for name, text in files.items():
            kept.base.repository.put_object_from_filelike(io.BytesIO(text.encode()), name)
        kept.base.links.add_incoming(job, LinkType.CREATE, "retrieved")
        kept.store()
        return LammpsDynamicsWorkChain.steps_of(job)

    rows = "\n".join(f"{step} 300 -1 1 0 1" for step in (0, 50, 150))
    log = f"{PRODUCTION_MARK}\nStep Temp PotEng KinEng TotEng Press\n{rows}\n"
    assert steps(**{"incomplete.json": json.dumps({"restart_step": 4000}), "log-0000.lammps": log}) == 4000
    assert steps(**{"incomplete.json": json.dumps({"restart_step": None}), "log-0000.lammps": log}) == 150
    assert steps(**{"log-0000.lammps": log.replace("150 300", "950 300"), "log-0001.lammps": log}) == 150
    assert steps(**{"job.err": "killed"}) == -1
