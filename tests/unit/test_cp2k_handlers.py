"""Which handler takes each failure of a CP2K job, on hand-made jobs, and what it changes; no CP2K runs."""

from __future__ import annotations

import pytest
from cp2k_chains import (
    MD,
    METAL,
    OT,
    RESPONSE,
    Chain,
    broken_off,
    ended,
    goes_on,
    handlers_that_acted,
    outcome,
)

MAIN_FINISHED = {"finished": {"cp2k": "/job"}}
"""What the report of a label says whose main run did all it was asked for."""


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
        ended(process, 320, **MAIN_FINISHED)
        assert goes_on(process) and handlers_that_acted(process) == ["repair_linear_response"]
        response = process.ctx.inputs.followups["linres"]["FORCE_EVAL"]["PROPERTIES"]["LINRES"]
        assert response["PRECONDITIONER"] == expected
    assert process.ctx.inputs.parameters.get_dict() == OT, "the main run was not at fault"
    ended(process, 320, **MAIN_FINISHED)
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
            ended(process, 320, **MAIN_FINISHED)
            assert goes_on(process)
        ended(process, 320, **MAIN_FINISHED)
        assert process.inspect_process().status == 320


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
    from vibraloom.workflows.placement import PlacesJobs

    of_profile = {"queue_name": "long", "resources": {"num_machines": 1, "num_mpiprocs_per_machine": 2}}
    monkeypatch.setattr("vibraloom.workflows.placement.job_options", lambda code, cores: of_profile)
    process = chain(MD)
    assert process.ctx.inputs.metadata.options.queue_name == "long"
    assert process.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 2
    ended(process, 340)
    assert goes_on(process)
    assert process.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 1
    # a submission that placed the job again would take 1, the default, for a choice that nobody made
    assert not isinstance(process, PlacesJobs)


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


def test_a_job_that_ran_out_of_memory_on_unconverged_steps_is_done_again_from_its_start(chain: Chain) -> None:
    process = chain(MD, options={"max_memory_kb": 1000})
    good = ended(process, 410, restart=40)
    assert goes_on(process)
    ended(process, 340, restart=60, scf_unconverged_steps=[55])
    assert goes_on(process) and handlers_that_acted(process) == ["ask_for_more_memory"]
    assert process.ctx.inputs.previous.uuid == good.outputs.remote_folder.uuid
    converged = ended(process, 340, restart=60, scf_unconverged_steps=[])
    assert goes_on(process)
    assert process.ctx.inputs.previous.uuid == converged.outputs.remote_folder.uuid


def test_a_main_run_without_a_number_is_not_blamed_on_the_response_after_it(chain: Chain) -> None:
    process = chain(OT, followups={"linres": RESPONSE})
    ended(process, 320, finished={}, label="a number is no number: total energy NaN")
    exit_code = process.inspect_process()
    assert exit_code.status == 330 and "total energy NaN" in exit_code.message
    assert process.ctx.remedies == []


def test_a_main_run_that_is_the_response_climbs_its_ladder(chain: Chain) -> None:
    process = chain(RESPONSE)
    ended(process, 320, finished={})
    assert goes_on(process)
    assert process.ctx.remedies[0].startswith("response preconditioner:")


NODE = {"max_memory_kb": 1000, "resources": {"num_machines": 1, "num_mpiprocs_per_machine": 4}}


def test_where_no_machine_has_twice_the_memory_fewer_processes_share_what_there_is(chain: Chain) -> None:
    process = chain(MD, options=NODE)
    folder = ended(process, 340, restart=3).outputs.remote_folder
    assert goes_on(process) and process.ctx.inputs.metadata.options.max_memory_kb == 2000
    ended(process, 210, label="Slurm refused the job: Memory specification can not be satisfied")
    assert goes_on(process) and handlers_that_acted(process) == ["refuse_wrong_input"]
    options = process.ctx.inputs.metadata.options
    assert (options.max_memory_kb, options.resources["num_mpiprocs_per_machine"]) == (1000, 2)
    assert process.ctx.inputs.record["remedies"] == ["memory: 4 to 2 processes on each machine"]
    assert process.ctx.inputs.previous.uuid == folder.uuid
    # the refused limit is not asked for again
    ended(process, 340, restart=5)
    assert goes_on(process)
    options = process.ctx.inputs.metadata.options
    assert (options.max_memory_kb, options.resources["num_mpiprocs_per_machine"]) == (1000, 1)


def test_one_process_for_which_no_machine_has_more_memory_is_out_of_memory_and_no_wrong_profile(chain: Chain) -> None:
    process = chain(MD, options={"max_memory_kb": 1000})
    ended(process, 340, restart=3)
    assert goes_on(process)
    ended(process, 210, label="Slurm refused the job: Memory specification can not be satisfied")
    exit_code = process.inspect_process()
    assert exit_code.status == 340
    assert all(words in exit_code.message for words in ("1000 kB", "2000 kB", "Memory specification", "give more machines"))


def test_a_refusal_without_a_raised_limit_is_wrong_input(chain: Chain) -> None:
    process = chain(MD, options=NODE)
    ended(process, 340, restart=3)
    assert goes_on(process)
    ended(process, 410, restart=9)
    assert goes_on(process)
    ended(process, 210, label="Slurm refused the job: invalid partition")
    assert process.inspect_process().status == 210


def test_a_job_that_ends_by_an_exception_says_which(chain: Chain) -> None:
    process = chain(MD)
    job = broken_off(process, "aiida.common.exceptions.InputValidationError: start: holds no whole restart file")
    exit_code = process.inspect_process()
    assert exit_code.status == 301
    assert job.uuid[:8] in exit_code.message and "start: holds no whole restart file" in exit_code.message


@pytest.mark.parametrize(("status", "advice"), [(410, "give more time"), (350, "sinfo"), (420, "cp2k.err")])
def test_what_is_advised_where_nothing_moves_fits_how_the_jobs_ended(chain: Chain, status: int, advice: str) -> None:
    process = chain(MD)
    for _ in range(3):
        ended(process, status, restart=7)
        assert goes_on(process)
    ended(process, status, restart=7)
    message = process.inspect_process().message
    assert advice in message and ("give more time" in message) == (status == 410)


@pytest.mark.parametrize(
    ("said", "problem", "words"),
    [
        ("", "truncated", "cut off before the converter had run"),
        ("/opt/python: No module named vibraloom\n", "converter", "No module named vibraloom; correct the code python@far"),
        ("Traceback\n  File x\nMemoryError: cannot allocate\n", "memory", "the converter ran out of memory"),
    ],
)
def test_a_converter_that_cannot_run_is_told_and_nothing_is_computed_again(said: str, problem: str, words: str) -> None:
    from types import SimpleNamespace

    from vibraloom.calculators.cp2k.parser import _OF_PROBLEM, Cp2kParser

    parser = Cp2kParser.__new__(Cp2kParser)
    parser._node = SimpleNamespace(inputs=SimpleNamespace(converter=SimpleNamespace(full_label="python@far")))
    found = parser._unread(said)
    assert found["problem"] == problem and words in found["message"]
    assert _OF_PROBLEM["converter"] == "ERROR_INPUT", "the ladder stops there"
