"""CP2K work chains before their first job, and hand-made jobs in them; no CP2K runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

OT: dict[str, Any] = {
    "GLOBAL": {"RUN_TYPE": "ENERGY_FORCE"},
    "FORCE_EVAL": {
        "DFT": {
            "QS": {"EPS_DEFAULT": 1e-11},
            "SCF": {
                "SCF_GUESS": "ATOMIC",
                "EPS_SCF": 1e-6,
                "MAX_SCF": 30,
                "OT": {"PRECONDITIONER": "FULL_SINGLE_INVERSE", "MINIMIZER": "DIIS"},
                "OUTER_SCF": {"MAX_SCF": 5, "EPS_SCF": 1e-6},
            },
        }
    },
}
METAL: dict[str, Any] = {
    "GLOBAL": {"RUN_TYPE": "ENERGY_FORCE"},
    "FORCE_EVAL": {
        "DFT": {
            "SCF": {"MAX_SCF": 100, "DIAGONALIZATION": {}, "MIXING": {"ALPHA": 0.4}, "SMEAR": {"ELECTRONIC_TEMPERATURE": 300.0}}
        }
    },
}
RESPONSE: dict[str, Any] = {
    **OT,
    "FORCE_EVAL": {**OT["FORCE_EVAL"], "PROPERTIES": {"LINRES": {"PRECONDITIONER": "FULL_ALL", "MAX_ITER": 50}}},
}


def outcome(**changes: Any) -> dict[str, Any]:
    return {"ended": "normal", "problem": None, "message": "said", "partial": False, **changes}


MD: dict[str, Any] = {**OT, "GLOBAL": {"RUN_TYPE": "MD"}, "MOTION": {"MD": {"STEPS": 100, "TIMESTEP": 0.5}}}

Chain = Callable[..., Any]


@pytest.fixture
def chain(project: Path, tmp_path: Path) -> Iterator[Chain]:
    """Make the work chain of these runs as it stands before its first job."""
    from aiida import orm
    from aiida.manage import get_manager
    from ase.build import molecule

    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    computer = orm.load_computer("localhost")
    code = orm.InstalledCode(label=f"cp2k-{tmp_path.name}", computer=computer, filepath_executable="/bin/false").store()
    water = molecule("H2O", vacuum=3.0, pbc=True)
    runner = get_manager().create_runner(communicator=None)  # no broker runs here

    def make(
        parameters: dict[str, Any],
        *,
        followups: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        previous: Any = None,
        **inputs: Any,
    ) -> Any:
        job = {
            "code": code,
            "converter": code,
            "structure": orm.StructureData(ase=water),
            "parameters": orm.Dict(parameters),
            "followups": {name: orm.Dict(entry) for name, entry in (followups or {}).items()},
            "record": orm.Dict({"of": str(tmp_path), **inputs.pop("record", {})}),
            "metadata": {"options": options or {}},
            **({} if previous is None else {"previous": previous}),
        }
        process = runner.instantiate_process(Cp2kBaseWorkChain, job=job, **inputs)
        process.setup()
        process.ctx.children = []
        return process

    yield make


def begun(process: Any, *, resources: dict[str, Any] | None = None) -> Any:
    """A job of the chain with all its inputs and a folder, at work; returns it."""
    from aiida import orm
    from aiida.common.links import LinkType

    from vibraloom.workflows.cp2k_ladder import LADDER

    computer = orm.load_computer("localhost")
    job = orm.CalcJobNode(computer=computer, process_type="aiida.calculations:vibraloom.cp2k")
    job.set_option("resources", resources or {"num_machines": 1, "num_mpiprocs_per_machine": 1})
    nodes = dict(process.ctx.inputs)
    nodes |= {f"followups__{name}": node for name, node in nodes.pop("followups", {}).items()}
    for label, node in nodes.items():
        if isinstance(node, orm.Data):
            job.base.links.add_incoming(node.store(), LinkType.INPUT_CALC, label)
    job.store()
    place = Path(process.ctx.inputs.record["of"]) / str(job.pk)
    place.mkdir()
    folder = orm.RemoteData(computer=computer, remote_path=str(place))
    folder.base.links.add_incoming(job, LinkType.CREATE, "remote_folder")
    folder.store()
    process.ctx.iteration += 1
    process.ctx.children.append(job)
    # what run_process notes of each job
    job.base.extras.set(LADDER, process.ctx.first)
    considered = process.node.base.extras.get(process._considered_handlers_extra, [])
    process.node.base.extras.set(process._considered_handlers_extra, [*considered, []])
    return job


def ended(process: Any, status: int, *, restart: int | None = None, label: str = "said", **told: Any) -> Any:
    """A job of the chain with this exit status, as if it had just ended; returns it."""
    from aiida import orm
    from aiida.common.links import LinkType
    from plumpy import ProcessState

    job = begun(process)
    report = orm.Dict({"restart": None if restart is None else {"file": "cp2k-1.restart", "step": restart}, **told})
    report.base.links.add_incoming(job, LinkType.CREATE, "report")
    report.store()
    job.set_process_state(ProcessState.FINISHED)
    job.set_exit_status(status)
    job.set_exit_message(label)
    return job


def broken_off(process: Any, words: str | None = None) -> Any:
    """A job of the chain that was at work when its run was ended; with ``words``, by an exception that ends in them."""
    from plumpy import ProcessState

    job = begun(process)
    job.set_process_state(ProcessState.KILLED if words is None else ProcessState.EXCEPTED)
    if words is not None:
        job.set_exception(f"Traceback (most recent call last):\n  File x\n{words}\n")
    return job


def finished_well(process: Any) -> Any:
    """The chain's last job as if it had ended well; returns it."""
    from plumpy import ProcessState

    job = begun(process, resources=dict(process.ctx.inputs.metadata.options.resources))
    job.set_process_state(ProcessState.FINISHED)
    job.set_exit_status(0)
    process.inspect_process()
    return job


def handlers_that_acted(process: Any) -> list[str]:
    """Names of the handlers that took the last job."""
    considered = process.node.base.extras.get(process._considered_handlers_extra)[-1]
    return [name for name, report in considered if report is not None]


def goes_on(process: Any) -> bool:
    """Let the handlers look at the last job; whether another one follows."""
    exit_code = process.inspect_process()
    return exit_code is None or exit_code.status == 0


def reports_of(process: Any) -> list[str]:
    """Lines that the chain reported."""
    from aiida import orm

    return [entry.message for entry in orm.Log.collection.get_logs_for(process.node)]
