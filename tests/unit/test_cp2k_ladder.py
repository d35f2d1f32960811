"""What follows each failure of a CP2K job: the ladder's steps, the exit code, the handler, its changes; no CP2K runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.cp2k.remedies import next_input

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


def climb(parameters: dict[str, Any], problem: str) -> list[tuple[str, dict[str, Any]]]:
    """All rungs of a ladder: name and input."""
    rungs: list[tuple[str, dict[str, Any]]] = []
    tried: list[str] = []
    while step := next_input(parameters, problem, tried):
        parameters, words = step
        tried.append(words)
        rungs.append((words.split(":")[0], parameters))
        assert len(rungs) < 10, "the ladder has no end"
    return rungs


def test_the_ladder_of_ot_goes_from_patience_to_another_minimiser_to_a_new_start() -> None:
    rungs = climb(OT, "scf")
    assert [name for name, _ in rungs] == ["longer", "conjugate gradients", "fresh wavefunction"]
    first, second, third = (parameters["FORCE_EVAL"]["DFT"]["SCF"] for _, parameters in rungs)
    assert (first["SCF_GUESS"], first["OUTER_SCF"]["MAX_SCF"], first["OT"]["MINIMIZER"]) == ("RESTART", 20, "DIIS")
    assert (second["OT"]["MINIMIZER"], second["OT"]["PRECONDITIONER"]) == ("CG", "FULL_ALL")
    assert third["SCF_GUESS"] == "ATOMIC"
    assert third["EPS_SCF"] == 1e-6, "convergence is never loosened"


def test_the_ladder_of_a_metal_mixes_gently_and_then_widens_the_smearing() -> None:
    rungs = climb(METAL, "scf")
    assert [name for name, _ in rungs] == ["longer", "gentler mixing", "wider smearing"]
    scf = rungs[-1][1]["FORCE_EVAL"]["DFT"]["SCF"]
    assert (scf["MAX_SCF"], scf["MIXING"]["ALPHA"], scf["SMEAR"]["ELECTRONIC_TEMPERATURE"]) == (400, 0.1, 600.0)


def test_what_changes_the_physics_is_not_taken_within_a_trajectory() -> None:
    rungs = climb({**METAL, "GLOBAL": {"RUN_TYPE": "MD"}}, "scf")
    assert [name for name, _ in rungs] == ["longer", "gentler mixing"]
    rungs = climb({**RESPONSE, "GLOBAL": {"RUN_TYPE": "MD"}}, "linres")
    assert [name for name, _ in rungs] == ["response preconditioner", "tighter wavefunction"]


@pytest.mark.parametrize("problem", ["linres", "stars"])
def test_the_ladder_of_linear_response_takes_the_preconditioner_that_converges(problem: str) -> None:
    rungs = climb(RESPONSE, problem)
    assert [name for name, _ in rungs] == ["response preconditioner", "tighter wavefunction", "finer grid"]
    response = rungs[0][1]["FORCE_EVAL"]["PROPERTIES"]["LINRES"]
    assert (response["PRECONDITIONER"], response["ENERGY_GAP"]) == ("FULL_SINGLE_INVERSE", 0.02)
    dft = rungs[1][1]["FORCE_EVAL"]["DFT"]
    assert (dft["SCF"]["EPS_SCF"], dft["SCF"]["OUTER_SCF"]["EPS_SCF"], dft["QS"]["EPS_DEFAULT"]) == (1e-8, 1e-8, 1e-14)
    assert rungs[2][1]["FORCE_EVAL"]["DFT"]["MGRID"]["CUTOFF"] == 300


def test_a_grid_that_is_fine_enough_is_left_alone() -> None:
    fine = {"FORCE_EVAL": {**RESPONSE["FORCE_EVAL"], "DFT": {**RESPONSE["FORCE_EVAL"]["DFT"], "MGRID": {"CUTOFF": 400}}}}
    assert "finer grid" not in [name for name, _ in climb(fine, "linres")]


def test_a_remedy_leaves_the_failed_input_as_it_was() -> None:
    import copy

    before = copy.deepcopy(OT)
    climb(OT, "scf")
    assert before == OT


def test_no_remedy_is_made_up_for_what_none_is_known() -> None:
    assert next_input(OT, "basis", []) is None
    assert next_input(OT, "linres", []) is None, "no linear response in this input"


# --- the restart file that is gone on from ---


def restart_text(step: int, after: str = "") -> str:
    md = f" &MOTION\n   &MD\n     STEP_START_VAL  {step}\n   &END MD\n &END MOTION\n"
    return f"{md} &FORCE_EVAL\n   &SUBSYS\n   &END SUBSYS\n &END FORCE_EVAL\n{after}"


LABEL = {"kind": "optimisation"}


@pytest.mark.parametrize("after", ["", " &EXT_RESTART\n   RESTART_POS  T\n &END EXT_RESTART\n"])
def test_a_restart_file_that_is_cut_off_is_passed_over_for_the_copy_before_it(tmp_path: Path, after: str) -> None:
    from vibraloom.calculators.cp2k.restart_files import newest_restart_in

    (tmp_path / "cp2k-1.restart.bak-1").write_text(restart_text(9, after))
    newest = tmp_path / "cp2k-1.restart"
    text = restart_text(10, after)
    newest.write_text(text)
    assert newest_restart_in(tmp_path, LABEL) == ("cp2k-1.restart", 10)
    for size in (0, 20, text.index("&SUBSYS"), len(text) - 15):
        newest.write_text(text[:size])
        assert newest_restart_in(tmp_path, LABEL) == ("cp2k-1.restart.bak-1", 9)
    assert newest_restart_in(tmp_path / "gone", LABEL) is None


@pytest.mark.parametrize(
    ("last_frame", "every", "chosen"), [(10, 1, 10), (9, 1, 9), (5, 1, None), (5, 5, 9), (10, 5, 10), (None, 1, None)]
)
def test_a_restart_file_beyond_the_last_frame_is_not_gone_on_from(
    last_frame: int | None, every: int, chosen: int | None
) -> None:
    from vibraloom.calculators.cp2k.restart_files import latest_start, newest_restart

    files = {"cp2k-1.restart": restart_text(10), "cp2k-1.restart.bak-1": restart_text(9)}
    found = newest_restart(files, files.__getitem__, latest_start(last_frame, every))
    assert (None if found is None else found[1]) == chosen


# --- the exit code of a job ---


def outcome(**changes: Any) -> dict[str, Any]:
    return {"ended": "normal", "problem": None, "message": "said", "partial": False, **changes}


@pytest.mark.parametrize(
    ("said", "scheduler", "problem"),
    [
        (outcome(), "", None),
        (outcome(), "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***", None),
        (outcome(ended="cut_off", problem="truncated"), "*** JOB 7 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***", "walltime"),
        (outcome(ended="cut_off", problem="scf"), "*** JOB 7 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***", "scf"),
        (outcome(ended="cut_off", problem="truncated"), "srun: error: Detected 1 oom_kill event in StepId=7.0", "memory"),
        (outcome(ended="cut_off", problem="truncated"), "*** JOB 7 CANCELLED AT x DUE TO NODE FAILURE ***", "node"),
        (outcome(ended="cut_off", problem="truncated"), "", "truncated"),
        (outcome(ended="walltime", partial=True), "", "walltime"),
        (outcome(ended="walltime", problem="truncated", partial=True), "", "walltime"),
        (outcome(ended="walltime", problem="scf", partial=True), "", "scf"),
        (outcome(problem="scf"), "", "scf"),
        (outcome(ended="aborted"), "", "other"),
        (outcome(ended="aborted", problem="basis"), "", "basis"),
        (outcome(partial=True), "", "truncated"),
    ],
)
def test_the_scheduler_goes_first_except_over_a_job_that_is_complete(
    said: dict[str, Any], scheduler: str, problem: str | None
) -> None:
    parser = pytest.importorskip("vibraloom.calculators.cp2k.parser", reason="pip install 'vibraloom[workflows]'")
    assert parser.problem_of(said, parser.scheduler_verdict(scheduler)) == problem


@pytest.mark.parametrize(
    ("offset", "molecule", "charge", "kept"),
    [(0.05, 0, 0.0, "dipole"), (0.5, 0, 0.0, "dipole_modulo"), (0.05, -1, 0.0, "dipole_modulo"), (0.05, 0, 1.0, "dipole_modulo")],
)
def test_a_branch_is_chosen_only_where_the_wannier_sum_tells_it(offset: float, molecule: int, charge: float, kept: str) -> None:
    labels = pytest.importorskip("vibraloom.workflows.cp2k_labels", reason="pip install 'vibraloom[workflows]'")
    quantum = np.tile(6.2 * np.eye(3), (2, 1, 1))
    of_molecules = np.array([[[0.3, 0.1, -0.2]], [[0.2, 0.4, 0.1]]])
    arrays = {
        "dipole": of_molecules[:, 0] + 6.2 * np.array([[1.0 + offset, 0, 0], [offset, 0, 0]]),
        "dipole_quantum": quantum,
        "molecular_dipole": of_molecules,
        "molecular_charge": np.full((2, 1), charge),
        "molecule": np.array([[0, 0, molecule]] * 2),
    }
    found = labels.on_one_branch(arrays)
    assert list(found) == [kept]
    if kept == "dipole":
        assert found["dipole"] == pytest.approx(of_molecules[:, 0] + [6.2 * offset, 0, 0])


# --- the handlers, on hand-made jobs ---

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
        **inputs: Any,
    ) -> Any:
        job = {
            "code": code,
            "converter": code,
            "structure": orm.StructureData(ase=water),
            "parameters": orm.Dict(parameters),
            "followups": {name: orm.Dict(entry) for name, entry in (followups or {}).items()},
            "record": orm.Dict({"of": tmp_path.name, **inputs.pop("record", {})}),
            "metadata": {"options": options or {}},
        }
        process = runner.instantiate_process(Cp2kBaseWorkChain, job=job, **inputs)
        process.setup()
        process.ctx.children = []
        return process

    yield make


def ended(process: Any, status: int, *, restart: int | None = None, label: str = "said", **told: Any) -> Any:
    """A job of the chain with this exit status, as if it had just ended; returns it."""
    from aiida import orm
    from aiida.common.links import LinkType
    from plumpy import ProcessState

    computer = orm.load_computer("localhost")
    job = orm.CalcJobNode(computer=computer, process_type="aiida.calculations:vibraloom.cp2k")
    job.set_option("resources", {"num_machines": 1, "num_mpiprocs_per_machine": 1})
    job.base.links.add_incoming(process.ctx.inputs.parameters.store(), LinkType.INPUT_CALC, "parameters")
    job.store()
    report = orm.Dict({"restart": None if restart is None else {"file": "cp2k-1.restart", "step": restart}, **told})
    folder = orm.RemoteData(computer=computer, remote_path=f"/job/{job.pk}")
    for name, node in {"remote_folder": folder, "report": report}.items():
        node.base.links.add_incoming(job, LinkType.CREATE, name)
        node.store()
    job.set_process_state(ProcessState.FINISHED)
    job.set_exit_status(status)
    job.set_exit_message(label)
    process.ctx.iteration += 1
    process.ctx.children.append(job)
    # what run_process notes of each job
    considered = process.node.base.extras.get(process._considered_handlers_extra, [])
    process.node.base.extras.set(process._considered_handlers_extra, [*considered, []])
    return job


def handlers_that_acted(process: Any) -> list[str]:
    """Names of the handlers that took the last job."""
    considered = process.node.base.extras.get(process._considered_handlers_extra)[-1]
    return [name for name, report in considered if report is not None]


MD: dict[str, Any] = {**OT, "GLOBAL": {"RUN_TYPE": "MD"}, "MOTION": {"MD": {"STEPS": 100, "TIMESTEP": 0.5}}}


def goes_on(process: Any) -> bool:
    """Let the handlers look at the last job; whether another one follows."""
    exit_code = process.inspect_process()
    return exit_code is None or exit_code.status == 0


def test_a_label_that_did_not_converge_is_run_again_from_its_wavefunction_with_the_next_rung(chain: Chain) -> None:
    process = chain(OT)
    job = ended(process, 310)
    assert goes_on(process) and handlers_that_acted(process) == ["repair_scf"]
    assert process.ctx.inputs.parameters["FORCE_EVAL"]["DFT"]["SCF"]["OUTER_SCF"]["MAX_SCF"] == 20
    assert process.ctx.inputs.previous.uuid == job.outputs.remote_folder.uuid
    assert process.ctx.inputs.record["remedies"] == ["longer: outer SCF cycles 5 to 20, from the last wavefunction"]
    assert process.ctx.inputs.record["of"], "what the record held is still there"


def test_the_followups_take_the_same_rung_as_the_main_run(chain: Chain) -> None:
    process = chain(OT, followups={"field_x_plus": OT})
    ended(process, 310)
    assert goes_on(process)
    assert process.ctx.inputs.followups["field_x_plus"]["FORCE_EVAL"]["DFT"]["SCF"]["OUTER_SCF"]["MAX_SCF"] == 20


def test_a_trajectory_that_did_not_converge_runs_that_segment_again_and_not_on_from_it(chain: Chain) -> None:
    process = chain(MD)
    good = ended(process, 410, restart=40)
    assert goes_on(process)
    ended(process, 310, restart=80)
    assert goes_on(process) and handlers_that_acted(process) == ["repair_scf"]
    assert process.ctx.inputs.previous.uuid == good.outputs.remote_folder.uuid


def test_the_end_of_the_ladder_says_what_was_tried(chain: Chain) -> None:
    process = chain(OT)
    for _ in range(3):
        ended(process, 310)
        assert goes_on(process)
    ended(process, 310, label="1 SCF run(s) did not converge")
    exit_code = process.inspect_process()
    assert exit_code.status == 310
    said = ("longer:", "conjugate gradients:", "fresh wavefunction:", "did not converge")
    assert all(words in exit_code.message for words in said)


def test_linear_response_climbs_its_ladder_and_ends_in_fields(chain: Chain) -> None:
    from vibraloom.calculators.cp2k.settings import Cp2kSettings

    settings = Cp2kSettings.from_protocol("fast", "PBE")
    process = chain(OT, followups={"linres": RESPONSE}, record={"method": settings.record()})
    for expected in ("FULL_SINGLE_INVERSE",) * 3:
        ended(process, 320)
        assert goes_on(process) and handlers_that_acted(process) == ["repair_linear_response"]
        response = process.ctx.inputs.followups["linres"]["FORCE_EVAL"]["PROPERTIES"]["LINRES"]
        assert response["PRECONDITIONER"] == expected
    assert process.ctx.inputs.parameters.get_dict() == OT, "the main run was not at fault"
    ended(process, 320)
    assert goes_on(process)
    assert sorted(process.ctx.inputs.followups) == [f"field_{axis}_{sign}" for axis in "xyz" for sign in ("minus", "plus")]
    assert process.ctx.inputs.record["field"] == 0.001
    assert process.ctx.remedies[-1].startswith("fields instead")


def test_fields_are_not_taken_where_the_user_or_physics_forbids_them(chain: Chain) -> None:
    from aiida import orm

    forbidden = chain(OT, followups={"linres": RESPONSE}, field_instead_of_response=orm.Bool(False))
    smeared = {"FORCE_EVAL": {"DFT": {**METAL["FORCE_EVAL"]["DFT"], "QS": {"EPS_DEFAULT": 1e-14}}}}
    metal = chain(smeared, followups={"linres": {"FORCE_EVAL": {**smeared["FORCE_EVAL"], "PROPERTIES": {"LINRES": {}}}}})
    for process in (forbidden, metal):
        for _ in range(3):
            ended(process, 320)
            assert goes_on(process)
        ended(process, 320)
        assert process.inspect_process().status == 320


def finished_well(process: Any) -> Any:
    """The chain's last job, with all its inputs, as if it had ended well; returns it."""
    from aiida import orm
    from aiida.common.links import LinkType
    from plumpy import ProcessState

    job = orm.CalcJobNode(computer=orm.load_computer("localhost"), process_type="aiida.calculations:vibraloom.cp2k")
    job.set_option("resources", dict(process.ctx.inputs.metadata.options.resources))
    nodes = dict(process.ctx.inputs)
    nodes |= {f"followups__{name}": node for name, node in nodes.pop("followups", {}).items()}
    for label, node in nodes.items():
        if isinstance(node, orm.Data):
            job.base.links.add_incoming(node.store(), LinkType.INPUT_CALC, label)
    job.store()
    job.set_process_state(ProcessState.FINISHED)
    job.set_exit_status(0)
    process.ctx.iteration += 1
    process.ctx.children.append(job)
    process.inspect_process()
    return job


def test_a_chain_that_is_run_again_begins_with_the_inputs_that_did_it_and_climbs_no_ladder(chain: Chain) -> None:
    first = chain(OT, followups={"field_x_plus": OT})
    for _ in range(2):
        ended(first, 310)
        assert goes_on(first)
    remedies = first.ctx.remedies
    job = finished_well(first)
    again = chain(OT, followups={"field_x_plus": OT})
    for name in ("parameters", "record", "previous"):
        assert again.ctx.inputs[name].uuid == job.inputs[name].uuid, name
    assert dict(again.ctx.inputs.followups)["field_x_plus"].uuid == job.inputs.followups["field_x_plus"].uuid
    assert again.ctx.remedies == remedies and len(remedies) == 2
    assert any("the remedies of an earlier run are taken: longer:" in entry.message for entry in logs_of(again))
    other = chain(METAL, followups={"field_x_plus": OT})
    assert other.ctx.remedies == [] and other.ctx.inputs.parameters.get_dict() == METAL


def test_a_chain_whose_wavefunction_was_made_anew_is_found_again_too(chain: Chain) -> None:
    first = chain(MD)
    for _ in range(3):
        ended(first, 420, restart=7)
        assert goes_on(first)
    job = finished_well(first)
    assert chain(MD).ctx.inputs.record.uuid == job.inputs.record.uuid


def test_a_chain_that_needed_no_remedy_or_failed_is_not_remembered(chain: Chain) -> None:
    from vibraloom.workflows.cp2k_ladder import LADDER

    process = chain(OT)
    assert LADDER not in finished_well(process).base.extras.all
    failing = chain(METAL)
    job = ended(failing, 310)
    assert goes_on(failing)
    assert LADDER not in job.base.extras.all
    assert chain(METAL).ctx.remedies == []


def test_fewer_processes_are_remembered_with_their_resources(chain: Chain) -> None:
    spread = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 8}}
    first = chain(OT, options=spread)
    ended(first, 340)
    assert goes_on(first)
    finished_well(first)
    again = chain(OT, options=spread)
    assert again.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 4


def logs_of(process: Any) -> list[Any]:
    from aiida import orm

    return list(orm.Log.collection.get_logs_for(process.node))


@pytest.mark.parametrize(
    ("status", "handler"), [(410, "go_on_after_walltime"), (350, "go_on_after_node_failure"), (420, "go_on_after_cut")]
)
def test_a_stopped_job_is_continued_with_the_same_input(chain: Chain, status: int, handler: str) -> None:
    process = chain(MD)
    before = process.ctx.inputs.parameters.uuid
    for step in (10, 40, 70):
        job = ended(process, status, restart=step)
        assert goes_on(process) and handlers_that_acted(process) == [handler]
        assert process.ctx.inputs.previous.uuid == job.outputs.remote_folder.uuid
    assert process.ctx.inputs.parameters.uuid == before
    assert process.ctx.remedies == []


@pytest.mark.parametrize("status", [410, 350, 420])
def test_a_chain_without_progress_is_stopped_with_its_reason(chain: Chain, status: int) -> None:
    process = chain(MD, options={"max_wallclock_seconds": 600})
    ended(process, status, restart=7)
    assert goes_on(process)
    for _ in range(2):
        ended(process, status, restart=7)
        assert goes_on(process)
    ended(process, status, restart=7, label="stopped")
    exit_code = process.inspect_process()
    assert exit_code.status == 410
    assert "3 jobs of 600 s without a new step" in exit_code.message and "\n" not in exit_code.message


def test_a_label_moves_on_while_runs_are_finished_and_stops_when_none_is(chain: Chain) -> None:
    process = chain(OT, followups={"field_x_plus": OT, "field_x_minus": OT}, options={"max_wallclock_seconds": 600})
    names = ["cp2k", "field_x_plus", "field_x_minus"]
    for count in (1, 2, 2, 2):
        ended(process, 410, finished=dict.fromkeys(names[:count], "/job"), progress=count)
        assert goes_on(process)
    ended(process, 410, finished=dict.fromkeys(names[:2], "/job"), progress=2)
    exit_code = process.inspect_process()
    assert exit_code.status == 410 and "3 jobs of 600 s without a new finished run" in exit_code.message


def test_modes_that_do_not_fit_into_the_wall_time_are_begun_once_more_and_then_refused(chain: Chain) -> None:
    process = chain({**OT, "GLOBAL": {"RUN_TYPE": "VIBRATIONAL_ANALYSIS"}}, options={"max_wallclock_seconds": 600})
    ended(process, 410)
    assert goes_on(process)
    ended(process, 410)
    exit_code = process.inspect_process()
    assert exit_code.status == 410 and "2 jobs of 600 s without a new result" in exit_code.message


def test_an_optimisation_whose_steps_are_used_up_is_not_submitted_again(chain: Chain) -> None:
    process = chain({**OT, "GLOBAL": {"RUN_TYPE": "GEO_OPT"}})
    ended(process, 420, restart=200, ended="normal", label="the optimisation used up its steps")
    exit_code = process.inspect_process()
    assert exit_code.status == 410 and "used up its steps" in exit_code.message


def test_after_two_cut_off_jobs_the_wavefunction_is_made_anew_until_there_is_progress(chain: Chain) -> None:
    process = chain(MD)
    for step, fresh in ((7, False), (7, False), (7, True), (9, False)):
        ended(process, 420, restart=step)
        assert goes_on(process)
        assert bool(process.ctx.inputs.record.get_dict().get("fresh_wavefunction")) is fresh


def test_a_job_out_of_memory_gets_more_of_it_or_fewer_processes(chain: Chain) -> None:
    limited = chain(MD, options={"max_memory_kb": 1000})
    for limit in (2000, 4000):
        ended(limited, 340, restart=3)
        assert goes_on(limited) and handlers_that_acted(limited) == ["ask_for_more_memory"]
        assert limited.ctx.inputs.metadata.options.max_memory_kb == limit
    ended(limited, 340, restart=3)
    exit_code = limited.inspect_process()
    assert exit_code.status == 340 and "max_memory_kb" in exit_code.message
    spread = chain(MD, options={"resources": {"num_machines": 2, "num_mpiprocs_per_machine": 8}})
    ended(spread, 340)
    assert goes_on(spread)
    assert spread.ctx.inputs.metadata.options.resources == {"num_machines": 2, "num_mpiprocs_per_machine": 4}


def test_a_chain_takes_the_options_of_its_computer_once_and_keeps_what_a_handler_lowered(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_profile = {"queue_name": "long", "resources": {"num_machines": 1, "num_mpiprocs_per_machine": 2}}
    monkeypatch.setattr("vibraloom.workflows.placement.job_options", lambda code, cores: of_profile)
    process = chain(MD)
    assert process.ctx.inputs.metadata.options.queue_name == "long"
    assert process.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 2
    ended(process, 340)
    assert goes_on(process)
    assert process.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 1
    # a submission that placed the job again would take 1, the default, for a choice that nobody made
    assert "submit" not in {name for one in type(process).__mro__ if one.__module__.startswith("vibraloom") for name in vars(one)}


@pytest.mark.parametrize(
    ("state", "handler"),
    [
        ("OUT_OF_MEMORY", "ask_for_more_memory"),
        ("TIMEOUT", "go_on_after_walltime"),
        ("NODE_FAIL", "go_on_after_node_failure"),
        ("BOOT_FAIL", "go_on_after_node_failure"),
        ("PREEMPTED", "go_on_after_node_failure"),
    ],
)
def test_the_state_in_which_slurm_ended_a_job_takes_its_handler(chain: Chain, state: str, handler: str) -> None:
    from vibraloom.calculators.cp2k import parser
    from vibraloom.calculators.cp2k.calcjob import Cp2kCalculation
    from vibraloom.calculators.slurm.scheduler import VibraloomSlurmScheduler

    info = {"retval": 0, "stdout": f"JobID|State|ExitCode\n5|{state}|0:0\n", "stderr": ""}
    verdict = VibraloomSlurmScheduler().parse_output(info, "", "")
    label = next(name for name, code in Cp2kCalculation.exit_codes.items() if code.status == verdict.status)
    cut_off = outcome(ended="cut_off", problem="truncated")
    problem = parser.problem_of(cut_off, parser._SCHEDULER_EXITS[label])
    process = chain(MD, options={"max_memory_kb": 1000})
    ended(process, Cp2kCalculation.exit_codes[parser._OF_PROBLEM[str(problem)]].status, restart=3)
    assert goes_on(process) and handlers_that_acted(process) == [handler]


@pytest.mark.parametrize(("status", "handler"), [(210, "refuse_wrong_input"), (330, "stop_with_reason")])
def test_what_cannot_be_repaired_ends_the_chain_with_cp2ks_own_words(chain: Chain, status: int, handler: str) -> None:
    process = chain(OT)
    ended(process, status, label="CP2K: basis set not found")
    exit_code = process.inspect_process()
    assert exit_code.status == status and "basis set not found" in exit_code.message
    assert handlers_that_acted(process) == [handler]


def test_every_failing_exit_code_of_a_job_has_one_handler_that_is_on(chain: Chain) -> None:
    from vibraloom.calculators.cp2k.calcjob import EXIT_CODES, Cp2kCalculation
    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    assert all(handler.enabled for handler in Cp2kBaseWorkChain.get_process_handlers())
    for status, label, _ in EXIT_CODES:
        process = chain(MD)
        ended(process, status, restart=1)
        process.inspect_process()
        assert len(handlers_that_acted(process)) == 1, label
        assert Cp2kCalculation.exit_codes[label].invalidates_cache, label


def test_a_chain_that_ran_out_of_jobs_hands_out_what_is_finished(chain: Chain) -> None:
    from aiida import orm
    from aiida.common.links import LinkType

    process = chain(MD, max_iterations=orm.Int(1))
    job = ended(process, 410, restart=4)
    partial = orm.StructureData(cell=[[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    partial.base.links.add_incoming(job, LinkType.CREATE, "structure")
    partial.store()
    assert process.inspect_process().status == 401
    assert process.outputs["structure"].uuid == partial.uuid
