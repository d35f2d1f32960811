"""Output of CP2K that is damaged, unconverged or in another unit: what is sound is kept, what is not is left out and told."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.cp2k.convert import convert
from vibraloom.calculators.cp2k.finished_folder import Finished, read_cp2k
from vibraloom.calculators.cp2k.finished_runs import without_log
from vibraloom.calculators.cp2k.labels import read_positions
from vibraloom.calculators.cp2k.output_log import read_log
from vibraloom.calculators.cp2k.vibrations_output import read_modes
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import read_trajectory
from vibraloom.units import EV_PER_HARTREE

DATA = Path(__file__).parents[1] / "data" / "cp2k"
MASSES = np.array([15.999, 1.008, 1.008])
AXES = [f"field_{axis}_{sign}" for axis in "xyz" for sign in ("plus", "minus")]
HEAD = " **** PROGRAM STARTED AT 2026-01-01 00:00:00.000\n CP2K| version string: CP2K version 2023.1\n"
END = " **** PROGRAM ENDED AT 2026-01-01 00:01:00.000\n"
ENERGY = " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]: {}\n"


def record(kind: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "kind": kind,
        "numbers": [8, 1, 1],
        "masses": MASSES.tolist(),
        "cell": np.diag([7.0, 7.0, 7.5]).tolist(),
        "pbc": [True] * 3,
    }
    return values | changes


def label(**changes: Any) -> dict[str, Any]:
    return record("label", followups=[*AXES, "linres"], field=0.001, **changes)


def dynamics(**changes: Any) -> dict[str, Any]:
    return record("dynamics", timestep=0.5, steps=10, every=1, trajectory="trajectory-00.h5", **changes)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "label", tmp_path / "label"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "md_one", tmp_path / "run"))


def labels(folder: Path) -> dict[str, Any]:
    with np.load(folder / "labels.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def reread(folder: Path) -> Finished:
    found = read_cp2k(folder)
    assert isinstance(found, Finished)
    return found


def spoiled(path: Path) -> None:
    """The first number of the last line becomes stars."""
    lines = path.read_text().splitlines()
    at = max(index for index, line in enumerate(lines) if re.search(r"\d\.\d", line))
    lines[at] = re.sub(r"-?\d+\.\d+(?:E[-+]\d+)?", lambda number: "*" * len(number[0]), lines[at], count=1)
    path.write_text("\n".join(lines) + "\n")


# --- units and the energy of the log ---


@pytest.mark.parametrize(
    "line",
    [
        " ENERGY| Total FORCE_EVAL ( QS ) energy [eV]: -468.0\n",
        " ENERGY| Total FORCE_EVAL ( SIRIUS ) gap [hartree]: 0.31\n",
        " ENERGY| Total FORCE_EVAL ( SIRIUS ) free energy [hartree]: -18.0\n",
    ],
)
def test_only_the_total_energy_in_hartree_is_the_energy(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cp2k.out"
    path.write_text(HEAD + line + END)
    assert read_log(path).outcome.energy_ev is None
    path.write_text(HEAD + ENERGY.format("-17.0") + line + END)
    assert read_log(path).outcome.energy_ev == pytest.approx(-17.0 * EV_PER_HARTREE)


@pytest.mark.parametrize(("unit", "known"), [("hartree/bohr", True), ("eV/angstrom", False)])
def test_forces_in_another_unit_are_no_forces(tmp_path: Path, unit: str, known: bool) -> None:
    path = tmp_path / "cp2k.out"
    path.write_text(f"{HEAD} FORCES| Atomic forces [{unit}]\n FORCES|      1  0.1 0.2 0.3 0.4\n FORCES| Sum 0.1 0.2 0.3\n{END}")
    assert (read_log(path).forces is not None) is known


def test_dynamics_printed_in_another_unit_are_refused_by_their_input(run: Path) -> None:
    text = (run / "cp2k.inp").read_text()
    printed = "&MOTION\n &PRINT\n  &velocities on\n   Unit angstrom*fs^-1 # mine\n  &END\n &END\n&END\n"
    (run / "cp2k.inp").write_text(printed + text)
    outcome = convert(run, dynamics())
    assert "cp2k.inp: MOTION/PRINT/VELOCITIES/UNIT: 'angstrom*fs^-1'; allowed" in outcome.message
    assert not (run / "trajectory-00.h5").exists()
    with pytest.raises(InputError, match="MOTION/PRINT/VELOCITIES/UNIT"):
        read_cp2k(run)


def test_an_scf_that_failed_on_the_way_of_a_converged_optimisation_is_a_warning(tmp_path: Path) -> None:
    failed = " *** WARNING in qs_scf.F:598 :: SCF run NOT converged ***\n"
    done = " *** GEOMETRY OPTIMIZATION COMPLETED ***\n"
    path = tmp_path / "cp2k.out"
    path.write_text(HEAD + failed + ENERGY.format("-16.9") + ENERGY.format("-17.0") + done + ENERGY.format("-17.0") + END)
    outcome = read_log(path).outcome
    assert (outcome.problem, outcome.scf_unconverged_steps) == (None, ())
    assert "1 SCF run(s) on the way of the optimisation did not converge" in outcome.warnings
    # the evaluation whose forces decided is a result
    path.write_text(HEAD + ENERGY.format("-16.9") + failed + ENERGY.format("-17.0") + done + ENERGY.format("-17.0") + END)
    assert read_log(path).outcome.scf_unconverged_steps == (1,)
    # a run that was stopped on its way is told by its head
    path.write_text(f"{HEAD} GLOBAL| Run type   CELL_OPT\n{failed}{ENERGY.format('-16.9')}{ENERGY.format('-17.0')}")
    assert read_log(path).outcome.scf_unconverged_steps == ()


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        ("mca_btl_openib: libibverbs.so: cannot open: No such file or directory (ignored)\nKilled\n", "cut_off"),
        ("line 9: /opt/cp2k.psmp: No such file or directory\n", "aborted"),
    ],
)
def test_a_run_that_was_killed_is_no_wrong_program(said: str, ended: str) -> None:
    assert without_log("cp2k", said).ended == ended


# --- cells that move ---


def test_an_optimised_cell_is_never_the_one_it_began_with(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DATA / "opt", tmp_path / "opt"))
    cell = record("optimisation", changing_cell=True)
    assert "cp2k-1.cell: missing or empty; print the cell that was optimised" in convert(folder, cell).message
    assert not (folder / "structure.json").exists()
    (folder / "cp2k-1.cell").write_text("# Step Time Ax Ay Az Bx By Bz Cx Cy Cz V\n 1 0.0 6.9 0 0 0 6.8 0 0 0 7.4 347.2\n")
    convert(folder, cell)
    assert json.loads((folder / "structure.json").read_text())["cell"] == np.diag([6.9, 6.8, 7.4]).tolist()


def test_dynamics_whose_cell_moves_unseen_are_refused(run: Path) -> None:
    (run / "cp2k-1.cell").unlink()
    assert "cp2k-1.cell: missing or empty, and the cell changes" in convert(run, dynamics(changing_cell=True)).message


@pytest.mark.parametrize("told", ["log", "input", "record"])
def test_a_folder_whose_cell_moves_unseen_is_refused(run: Path, told: str) -> None:
    (run / "cp2k-1.cell").unlink()
    (run / "job.json").write_text(json.dumps(dynamics() | ({"changing_cell": True} if told == "record" else {})))
    assert len(reread(run).system.positions) if told != "record" else True
    if told == "log":
        text = (run / "cp2k.out").read_text()
        (run / "cp2k.out").write_text(HEAD + " MD_PAR| Ensemble type      NPT_F\n" + text)
    if told == "input":
        (run / "cp2k.inp").write_text("&MOTION\n &MD\n  ENSEMBLE NPT_I ! barostat\n &END\n&END\n")
    with pytest.raises(InputError, match=r"cp2k-1\.cell: missing or empty, and the cell changes"):
        read_cp2k(run)


@pytest.mark.parametrize(("line", "pbc"), [("PERIODIC NONE ! gas", (False,) * 3), ("periodic xy # slab", (True, True, False))])
def test_a_comment_does_not_make_a_cell_periodic(run: Path, line: str, pbc: tuple[bool, ...]) -> None:
    (run / "cp2k.out").write_text(HEAD)
    (run / "cp2k.inp").write_text(f"&FORCE_EVAL\n &SUBSYS\n  &CELL\n   {line}\n  &END\n &END\n&END\n")
    assert reread(run).system.pbc == pbc
    (run / "cp2k.inp").write_text("&SUBSYS\n &CELL\n  PERIODIC ${AXES}\n &END\n&END\n")
    with pytest.raises(InputError, match=r"cp2k\.inp: CELL/PERIODIC: .*not understood"):
        read_cp2k(run)


# --- dynamics ---


def test_steps_whose_scf_did_not_converge_do_not_become_frames(run: Path) -> None:
    whole = reread(run).system.source_frame
    assert whole is not None
    text = (run / "cp2k.out").read_text()
    at = re.search(r"\n *MD\| Step number +3\b", text)
    assert at is not None
    warned = "\n *** WARNING in qs_scf.F:598 :: SCF run NOT converged ***"
    (run / "cp2k.out").write_text(text[: at.start()] + warned + text[at.start() :])
    found = reread(run)
    assert found.system.source_frame is not None
    assert sorted(set(whole.tolist()) - set(found.system.source_frame.tolist())) == [3]
    assert "1 step(s) left out whose SCF did not converge: 3" in found.notes


def test_damaged_dipoles_and_centres_cost_themselves_alone(run: Path) -> None:
    spoiled(run / "cp2k-dipole.dat")
    spoiled(run / "cp2k-wannier.xyz")
    outcome = convert(run, dynamics())
    assert outcome.problem == "other" and "dipole" in outcome.message
    trajectory = read_trajectory(run / "trajectory-00.h5")
    assert trajectory.step.tolist() == list(range(11)) and "dipole" not in trajectory.observables
    assert any("cp2k-wannier.xyz" in note for note in outcome.warnings)


def test_a_damaged_cube_costs_its_step_alone(run: Path) -> None:
    (run / "cp2k-v_hartree-1_2.cube").write_text("not a cube\n")
    (run / "cp2k-ELECTRON_DENSITY-1_2.cube").write_text("not a cube\n")
    (run / "cp2k-ELECTRON_DENSITY-1_4.cube").write_text("not a cube\n")
    outcome = convert(run, dynamics())
    assert outcome.problem is None and (run / "trajectory-00.h5").exists()
    for name in ("v_hartree-1_2", "ELECTRON_DENSITY-1_2", "ELECTRON_DENSITY-1_4"):
        assert any(f"cp2k-{name}.cube: not a cube file" in note for note in outcome.warnings)


# --- labels ---


def test_a_damaged_cube_leaves_a_label_its_energy_and_forces(job: Path) -> None:
    for word in ("v_hartree", "ELECTRON_DENSITY"):
        (job / f"cp2k-{word}-1_0.cube").write_text("not a cube\n")
    outcome = convert(job, label(surface_axis=2))
    found = labels(job)
    assert outcome.partial and found["forces"].shape == (1, 3, 3)
    assert [str(line).split(":")[0] for line in found["missing"]] == ["hartree_profile", "dipole_normal"]


def test_one_damaged_field_leaves_a_label_all_but_its_own(job: Path) -> None:
    spoiled(job / "field_x_plus-dipole.dat")
    spoiled(job / "field_y_plus-wannier.xyz")
    outcome = convert(job, label())
    found = labels(job)
    assert outcome.partial and {"energy", "forces", "dipole", "molecular_dipole", "polarizability_linres"} <= set(found)
    assert np.isnan(found["polarizability_field"][0][:, 0]).all() and np.isfinite(found["polarizability_field"][0][:, 1:]).all()
    assert {str(line).split(":")[0] for line in found["missing"]} == {"polarizability_field", "molecular_polarizability"}


def test_the_strength_of_a_field_is_that_of_the_input_that_ran(job: Path) -> None:
    convert(job, label())
    told = labels(job)["polarizability_field"]
    for name in AXES:
        (job / f"{name}.inp").write_text("&FORCE_EVAL\n&DFT\n&PERIODIC_EFIELD\nINTENSITY 2.0E-3\n&END\n&END\n&END\n")
    convert(job, label())
    np.testing.assert_allclose(labels(job)["polarizability_field"], told / 2)


def test_a_label_warns_of_centres_that_were_not_localised(job: Path) -> None:
    text = (job / "field_z_plus.out").read_text()
    at = text.rindex("\n", 0, text.index("PROGRAM ENDED AT"))
    warned = "\n *** WARNING in qs_loc.F:1 :: Crazy Wannier localization not converged ***"
    (job / "field_z_plus.out").write_text(text[:at] + warned + text[at:])
    convert(job, label())
    assert [str(line).split(":")[0] for line in labels(job)["warnings"]] == ["field_z_plus"]


def test_a_last_line_that_was_cut_off_within_a_number_is_not_read(tmp_path: Path) -> None:
    frame = "2\n\nH 0 0 {}\nH 0 0 {}"
    path = tmp_path / "cp2k-pos-1.xyz"
    path.write_text(frame.format("0.0", "0.74") + "\n" + frame.format("0.1", "0.8"))
    assert read_positions(path, 2)[:, 2].tolist() == [0.0, 0.74]


def test_what_a_label_says_of_itself_becomes_notes_of_the_dataset(job: Path) -> None:
    shutil.copy(job / "linbad.out", job / "linres.out")
    said = label(remedies=["wider smearing: electronic temperature 300 to 600 K"], warnings=["basis: small"])
    (job / "job.json").write_text(json.dumps(said))
    before = reread(job)
    convert(job, said)
    for notes in (before.notes, reread(job).notes):
        assert any(note.startswith("partial: ") and "the linear solver did not converge" in note for note in notes)
        assert "warning: basis: small" in notes and "remedy: wider smearing: electronic temperature 300 to 600 K" in notes


def test_runs_that_an_earlier_folder_holds_are_found_by_a_dataset(job: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for path in job.glob("field_x_plus*"):
        path.rename(earlier / path.name)
    (job / "job.json").write_text(json.dumps(label(finished={"field_x_plus": str(earlier)})))
    found = reread(job)
    assert "polarizability" in found.system.labels and not any("partial" in note for note in found.notes)


# --- modes ---


@pytest.mark.parametrize("line", ["DX [angstrom] 0.01", "DX small", "DX 0"])
def test_a_displacement_that_is_not_understood_is_refused(tmp_path: Path, line: str) -> None:
    folder = Path(shutil.copytree(DATA / "vib", tmp_path / "vib"))
    (folder / "cp2k.inp").write_text(f"&VIBRATIONAL_ANALYSIS\n {line}\n&END\n")
    with pytest.raises(InputError, match=r"cp2k\.inp: VIBRATIONAL_ANALYSIS/DX: .*allowed: a number above 0, in bohr"):
        read_modes(folder, MASSES)


@pytest.mark.parametrize("line", ["DX 0.02 ! comment", "DX 2.0D-2", "dx [bohr] 0.02"])
def test_a_displacement_is_read_as_cp2k_reads_it(tmp_path: Path, line: str) -> None:
    folder = Path(shutil.copytree(DATA / "vib", tmp_path / "vib"))
    default = read_modes(folder, MASSES).dipole_slope
    (folder / "cp2k.inp").write_text(f"&VIBRATIONAL_ANALYSIS\n {line}\n&END\n")
    twice = read_modes(folder, MASSES).dipole_slope
    assert default is not None and twice is not None
    np.testing.assert_allclose(twice, default / 2)


def with_tensors(folder: Path, tensors: list[str]) -> Path:
    """The modes of ``vib`` with a printed polarizability for each displaced structure."""
    shutil.copytree(DATA / "vib", folder)
    log = folder / "cp2k-r-0.out"
    log.write_text(log.read_text() + "\n" + "\n".join(tensors) + "\n")
    return folder


def printed() -> list[str]:
    """Polarizabilities of 19 structures as a log of CP2K 2023.1 has them, each another in its tenth digit."""
    lines = (DATA / "label" / "linres.out").read_text().splitlines()
    one = "\n".join(line for line in lines if "POLAR|" in line)
    return [one.replace("7.304981468182", f"7.3049814681{place:02d}") for place in range(19)]


def test_the_polarizabilities_behind_a_raman_intensity_are_checked(tmp_path: Path) -> None:
    good = printed()
    assert read_modes(with_tensors(tmp_path / "good", good), MASSES).raman is not None
    bad = good[2].replace("0.125784982557", "0.925784982557").replace("0.018639411103", "0.137187205")
    assert bad != good[2]
    with pytest.raises(ComputationError, match="linear response of displaced structure 3: the tensor is asymmetric"):
        read_modes(with_tensors(tmp_path / "bad", [*good[:2], bad, *good[3:]]), MASSES)


def test_an_equation_that_is_missing_costs_the_raman_intensities(tmp_path: Path) -> None:
    folder = with_tensors(tmp_path / "few", printed())
    log = folder / "cp2k-r-0.out"
    log.write_text(log.read_text().replace("The linear solver converged in", "The linear solver stopped after", 1))
    with pytest.raises(ComputationError, match="56 of 57 equations of the displaced structures converged"):
        read_modes(folder, MASSES)
