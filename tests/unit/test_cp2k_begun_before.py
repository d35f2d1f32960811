"""A chain of CP2K jobs that was begun before goes on from where it stood, on hand-made jobs; no CP2K runs."""

from __future__ import annotations

import shutil

import pytest
from cp2k_chains import MD, METAL, OT, Chain, begun, broken_off, ended, finished_well, goes_on, reports_of


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
    assert any("the remedies of an earlier run are taken: longer:" in line for line in reports_of(again))
    other = chain(METAL, followups={"field_x_plus": OT})
    assert other.ctx.remedies == [] and other.ctx.inputs.parameters.get_dict() == METAL


def test_a_chain_whose_wavefunction_was_made_anew_is_found_again_too(chain: Chain) -> None:
    first = chain(MD)
    for _ in range(3):
        ended(first, 420, restart=7)
        assert goes_on(first)
    job = finished_well(first)
    assert chain(MD).ctx.inputs.record.uuid == job.inputs.record.uuid


def test_fewer_processes_are_remembered_with_their_resources(chain: Chain) -> None:
    spread = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 8}}
    first = chain(OT, options=spread)
    ended(first, 340)
    assert goes_on(first)
    finished_well(first)
    again = chain(OT, options=spread)
    assert again.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 4



def test_a_chain_that_was_stopped_after_a_remedy_goes_on_from_its_newest_segment(chain: Chain) -> None:
    first = chain(MD)
    ended(first, 410, restart=10)
    assert goes_on(first)
    ended(first, 310)
    assert goes_on(first)
    ended(first, 410, restart=40)
    assert goes_on(first)
    newest = broken_off(first)
    again = chain(MD)
    assert again.ctx.inputs.previous.uuid == newest.outputs.remote_folder.uuid
    assert again.ctx.inputs.parameters.uuid == newest.inputs.parameters.uuid
    assert again.ctx.remedies == first.ctx.remedies and len(again.ctx.remedies) == 1
    said = [line for line in reports_of(again) if "going on from what job" in line]
    assert len(said) == 1 and newest.uuid[:8] in said[0] and "longer:" in said[0]


@pytest.mark.parametrize("status", [310, 320, 330])
def test_a_failed_segment_is_begun_again_where_it_began_and_the_segments_before_it_are_kept(chain: Chain, status: int) -> None:
    first = chain(MD)
    good = ended(first, 410, restart=40)
    assert goes_on(first)
    ended(first, status, restart=60)
    again = chain(MD)
    assert again.ctx.inputs.previous.uuid == good.outputs.remote_folder.uuid


@pytest.mark.parametrize(("unconverged", "gone_on_from"), [([], "last"), ([55], "first")])
def test_a_job_out_of_memory_is_gone_on_from_where_its_steps_converged(
    chain: Chain, unconverged: list[int], gone_on_from: str
) -> None:
    chain_before = chain(MD)
    jobs = {"first": ended(chain_before, 410, restart=40)}
    assert goes_on(chain_before)
    jobs["last"] = ended(chain_before, 340, restart=60, scf_unconverged_steps=unconverged)
    assert chain(MD).ctx.inputs.previous.uuid == jobs[gone_on_from].outputs.remote_folder.uuid


def test_a_job_whose_output_nothing_could_read_is_gone_on_from(chain: Chain) -> None:
    job = ended(chain(MD), 210, restart=100, problem="converter")
    assert chain(MD).ctx.inputs.previous.uuid == job.outputs.remote_folder.uuid
    assert "previous" not in chain(OT).ctx.inputs


def test_a_label_that_failed_at_first_begins_again_from_the_folder_that_was_given(chain: Chain) -> None:
    given = finished_well(chain(METAL)).outputs.remote_folder
    ended(chain(OT, previous=given), 310)
    assert chain(OT, previous=given).ctx.inputs.previous.uuid == given.uuid


def test_a_failed_attempt_of_an_earlier_release_is_not_gone_on_from(chain: Chain) -> None:
    from vibraloom.workflows.cp2k_ladder import LADDER

    given = finished_well(chain(METAL)).outputs.remote_folder
    for status, gone_on_from_it in ((310, False), (410, True)):
        job = ended(chain(OT, previous=given), status)
        job.base.extras.delete(LADDER)
        wanted = job.outputs.remote_folder if gone_on_from_it else given
        assert chain(OT, previous=given).ctx.inputs.previous.uuid == wanted.uuid


def test_a_rerun_from_the_seed_takes_nothing_of_what_was_begun(chain: Chain) -> None:
    from aiida import orm

    first = chain(MD)
    ended(first, 310)
    assert goes_on(first)
    broken_off(first)
    again = chain(MD, interrupted=orm.Str("rerun"))
    assert "previous" not in again.ctx.inputs and again.ctx.remedies == []


def test_a_folder_that_was_purged_is_not_gone_on_from(chain: Chain) -> None:
    first = chain(MD)
    good = ended(first, 410, restart=40)
    assert goes_on(first)
    failed = ended(first, 330, restart=60)
    shutil.rmtree(good.outputs.remote_folder.get_remote_path())
    assert failed.inputs.previous.uuid == good.outputs.remote_folder.uuid
    assert "previous" not in chain(MD).ctx.inputs


def test_remedies_for_memory_are_those_of_the_profile_that_was_and_are_forgotten(chain: Chain) -> None:
    spread = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 8}}
    first = chain(MD, options=spread)
    ended(first, 310)
    assert goes_on(first)
    ended(first, 340, restart=3)
    assert goes_on(first)
    broken_off(first)
    again = chain(MD, options=spread)
    assert [words.split(":")[0] for words in again.ctx.remedies] == ["longer"]
    assert again.ctx.inputs.record["remedies"] == again.ctx.remedies
    assert again.ctx.inputs.metadata.options.resources["num_mpiprocs_per_machine"] == 8


def test_every_job_of_a_chain_is_marked_with_what_the_chain_began_with(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    from vibraloom.workflows.cp2k_ladder import LADDER, digest_of

    process = chain(MD)
    before = digest_of(process.ctx.inputs)
    ended(process, 310)
    assert goes_on(process) and digest_of(process.ctx.inputs) != before
    job = begun(process)
    job.base.extras.delete(LADDER)
    monkeypatch.setattr(type(process), "submit", lambda *arguments, **inputs: job)
    process.run_process()
    assert job.base.extras.get(LADDER) == before
