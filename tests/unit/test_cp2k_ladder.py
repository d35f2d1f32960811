"""What follows each failure of a CP2K job: the ladder's steps, the restart file, the exit code; no CP2K runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cp2k_chains import METAL, OT, RESPONSE, outcome

from vibraloom.calculators.cp2k.remedies import next_input


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
