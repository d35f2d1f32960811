"""Molecular dipoles from Wannier centres, polarizabilities from fields and linear response, and how they must agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.cp2k.convert import convert
from vibraloom.calculators.cp2k.field_response import field_name, polarizability_from_fields
from vibraloom.calculators.cp2k.linear_response import read_linear_response, trusted
from vibraloom.calculators.cp2k.wannier import molecular_dipoles, read_wannier, valence_charges
from vibraloom.errors import ComputationError, InputError
from vibraloom.units import ANGSTROM3_PER_BOHR3, ANGSTROM_PER_BOHR, E_ANGSTROM_PER_DEBYE

DATA = Path(__file__).parents[1] / "data" / "cp2k"
CELL = np.diag([7.0, 7.0, 7.5])
NUMBERS = np.array([8, 1, 1])
VALENCE = np.array([6.0, 1.0, 1.0])
FIELDS = [field_name(axis, sign) for axis in "xyz" for sign in ("plus", "minus")]


def record(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "schema": 1,
        "kind": "label",
        "numbers": NUMBERS.tolist(),
        "masses": [15.999, 1.008, 1.008],
        "cell": CELL.tolist(),
        "pbc": [True, True, True],
        "followups": [*FIELDS, "linres"],
        "field": 0.001,
    }
    return values | changes


@pytest.fixture
def job(tmp_path: Path) -> Path:
    shutil.copytree(DATA / "label", tmp_path / "label")
    return tmp_path / "label"


def labels(folder: Path) -> dict[str, Any]:
    with np.load(folder / "labels.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


# --- one molecule by hand ---


def water(shift: np.ndarray[Any, Any] | None = None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ions and centres of a water molecule whose dipole is (0, 0, 6·0 + 0.6·2 - 2·(2·0.3 - 2·0.2)) e·Å = (0, 0, 0.8)."""
    ions = np.array([[0.0, 0.0, 0.0], [0.8, 0.0, 0.6], [-0.8, 0.0, 0.6]])
    centres = np.array([[0.4, 0.0, 0.3], [-0.4, 0.0, 0.3], [0.0, 0.2, -0.2], [0.0, -0.2, -0.2]])
    return (ions, centres) if shift is None else (ions + shift, centres + shift)


def test_a_molecule_has_the_dipole_of_its_ions_and_centres() -> None:
    ions, centres = water()
    found = molecular_dipoles(ions, NUMBERS, VALENCE, centres, None)
    np.testing.assert_allclose(found.dipole, [[0.0, 0.0, 0.8]], atol=1e-12)
    assert found.charge.tolist() == [0.0]


@pytest.mark.parametrize("cell", [np.diag([9.0, 10.0, 11.0]), np.array([[9.0, 0, 0], [2.5, 9.5, 0], [-1.0, 2.0, 10.0]])])
def test_folding_atoms_and_centres_into_the_cell_changes_nothing(cell: np.ndarray[Any, Any]) -> None:
    for shift in ([0.1, 0.1, 0.1], [8.9, 9.8, 10.9], [4.0, 5.0, 5.5]):
        ions, centres = water(np.array(shift))
        folded_ions, folded_centres = (each - np.floor(each @ np.linalg.inv(cell)) @ cell for each in (ions, centres))
        found = molecular_dipoles(folded_ions, NUMBERS, VALENCE, folded_centres, cell)
        np.testing.assert_allclose(found.dipole, [[0.0, 0.0, 0.8]], atol=1e-9)


def test_each_centre_goes_to_its_own_molecule_across_the_boundary() -> None:
    cell = np.diag([9.0, 9.0, 9.0])
    one, other = water(np.array([0.2, 4.0, 4.0])), water(np.array([7.2, 4.0, 4.0]))
    ions, centres = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.array([4, 0, 6, 2, 1, 5, 3, 7])
    found = molecular_dipoles(ions, np.tile(NUMBERS, 2), np.tile(VALENCE, 2), centres[order], cell)
    np.testing.assert_allclose(found.dipole, [[0.0, 0.0, 0.8]] * 2, atol=1e-9)
    assert found.owner.tolist() == [1, 0, 1, 0, 0, 1, 0, 1]


def test_a_hydrogen_molecule_owns_the_centre_of_its_bond() -> None:
    ions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]])
    found = molecular_dipoles(ions, np.array([1, 1]), np.array([1.0, 1.0]), np.array([[0.0, 0.0, 0.40]]), None)
    np.testing.assert_allclose(found.dipole, [[0.0, 0.0, 0.74 - 0.80]], atol=1e-12)


def test_a_hydroxide_has_its_charge() -> None:
    ions, centres = water()
    found = molecular_dipoles(ions[:2], NUMBERS[:2], VALENCE[:2], centres, None, charge=-1.0)
    assert found.charge.tolist() == [-1.0]


def test_a_centre_near_no_atom_is_refused() -> None:
    ions, centres = water()
    centres[2] += [0.0, 0.0, -1.5]
    with pytest.raises(InputError, match=r"centre 2 is 1\.71 Å from the nearest atom"):
        molecular_dipoles(ions, NUMBERS, VALENCE, centres, None)


def test_unpaired_electrons_are_refused() -> None:
    ions, centres = water()
    with pytest.raises(InputError, match="3 centres for 8 electrons"):
        molecular_dipoles(ions, NUMBERS, VALENCE, centres[:3], None)


def test_a_damaged_file_of_centres_is_refused_and_a_cut_off_frame_left_out(tmp_path: Path) -> None:
    text = (DATA / "md_one" / "cp2k-wannier.xyz").read_text()
    path = tmp_path / "cp2k-wannier.xyz"
    path.write_text(text[:-30])
    found = read_wannier(path)
    assert found is not None
    assert found.step.tolist() == [0, 2, 4, 6, 8]
    path.write_text(text.replace("-3.0877899090", "*************"))
    with pytest.raises(InputError, match="frame 0: a number did not fit its column"):
        read_wannier(path)
    path.write_text(text.replace("  X ", "  H "))
    with pytest.raises(InputError, match="holds no centres X"):
        read_wannier(path)


def test_valence_charges_come_from_the_potentials_of_the_input(tmp_path: Path) -> None:
    assert valence_charges(DATA / "label" / "cp2k.inp", ["O", "H", "H"]).tolist() == [6.0, 1.0, 1.0]
    with pytest.raises(InputError, match=r"no POTENTIAL with its valence charge .* for Au"):
        valence_charges(DATA / "label" / "cp2k.inp", ["Au"])
    path = tmp_path / "cp2k.inp"
    path.write_text("&KIND heavy\n  ELEMENT H\n  BASIS_SET DZVP\n  POTENTIAL GTH GTH-PBE-q1\n&END KIND\n")
    assert valence_charges(path, ["H"]).tolist() == [1.0]


# --- fields ---


def shifted(alpha: np.ndarray[Any, Any], strength: float, even: float = 0.0) -> dict[str, np.ndarray[Any, Any]]:
    """Dipoles (e·Å) of a polarizability (Å³) in ± fields, with a part that is even in the field."""
    moved = {}
    for index, axis in enumerate("xyz"):
        change = alpha[:, index] / ANGSTROM3_PER_BOHR3 * strength * ANGSTROM_PER_BOHR
        for sign, name in ((1, "plus"), (-1, "minus")):
            moved[field_name(axis, name)] = np.array([0.1, -0.2, 0.4]) + sign * change + even
    return moved


ALPHA = np.array([[1.4, 0.1, -0.2], [0.1, 1.2, 0.05], [-0.2, 0.05, 1.6]])


def test_a_pair_of_fields_gives_the_tensor_and_cancels_what_is_even() -> None:
    found = polarizability_from_fields(shifted(ALPHA, 0.002, even=1e-3), np.array([0.1, -0.2, 0.4]), 0.002)
    np.testing.assert_allclose(found.polarizability, ALPHA, rtol=1e-12)
    assert found.curvature > 0.1


def test_the_branch_of_each_dipole_does_not_matter() -> None:
    cell = np.array([[6.0, 0.0, 0.0], [1.5, 6.5, 0.0], [0.0, -1.0, 7.0]])
    moved = shifted(ALPHA, 0.001)
    moved["field_x_plus"] = moved["field_x_plus"] + cell[0] - 2 * cell[2]
    moved["field_z_minus"] = moved["field_z_minus"] - cell[1]
    found = polarizability_from_fields(moved, np.array([0.1, -0.2, 0.4]), 0.001, cell)
    np.testing.assert_allclose(found.polarizability, ALPHA, rtol=1e-9)


def test_a_change_near_half_a_quantum_is_refused() -> None:
    cell = np.diag([6.0, 6.0, 6.0])
    moved = shifted(ALPHA, 0.001)
    moved["field_y_plus"] = moved["field_y_plus"] + [0.0, 2.0, 0.0]
    with pytest.raises(InputError, match="field along y: the dipole changes by more than a quarter of a quantum"):
        polarizability_from_fields(moved, np.array([0.1, -0.2, 0.4]), 0.001, cell)


def test_a_dipole_that_falls_along_the_field_is_refused() -> None:
    with pytest.raises(ComputationError, match=r"field along x: the polarizability is -1\.4 Å³; it must be positive"):
        polarizability_from_fields(shifted(-ALPHA, 0.001), np.array([0.1, -0.2, 0.4]), 0.001)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (ALPHA + 0.05 * np.eye(3, k=1) * np.eye(3)[0][:, None], "asymmetric by 3.6 %"),
        (np.diag([4.0, 3.0, -1.0]), "a principal polarizability is -1"),
        (1e4 * ALPHA, "out of range"),
        (1e-3 * ALPHA, "out of range"),
        (np.full((3, 3), np.nan), "out of range"),
    ],
)
def test_a_tensor_that_cannot_be_a_polarizability_is_refused(tensor: np.ndarray[Any, Any], words: str) -> None:
    with pytest.raises(ComputationError, match=words):
        trusted(tensor, 3, "test")


# --- the whole label ---


def test_field_and_linear_response_agree_on_what_cp2k_computed(job: Path) -> None:
    outcome = convert(job, record())
    assert (outcome.ended, outcome.problem, outcome.partial) == ("normal", None, False)
    found = labels(job)
    assert found["polarizability_difference"][0] < 3e-3
    np.testing.assert_allclose(found["polarizability"], found["polarizability_linres"], atol=3e-3)
    assert (np.linalg.eigvalsh(found["polarizability"][0]) > 0).all()
    # sums of one molecule; two definitions of the total at Gamma
    np.testing.assert_allclose(found["molecular_polarizability"].sum(axis=1), found["polarizability_wannier"], atol=1e-12)
    ratio = np.trace(found["polarizability_wannier"][0]) / np.trace(found["polarizability"][0])
    assert ratio == pytest.approx(1.0, abs=0.02)
    assert np.abs(found["wannier_minus_berry"]).max() < 0.2
    np.testing.assert_allclose(
        found["molecular_dipole"].sum(axis=1), found["dipole"] + found["wannier_minus_berry"], atol=1e-12
    )
    assert json.loads((job / "outcome.json").read_text())["polarizability_difference"] < 3e-3
    assert "polarizability: angstrom^3" in found["units"].tolist()


def test_every_array_of_a_label_has_its_frame_first(job: Path) -> None:
    convert(job, record())
    found = labels(job)
    assert found["energy"].shape == (1,)
    assert found["forces"].shape == found["positions"].shape == (1, 3, 3)
    assert found["virial"].shape == found["polarizability"].shape == (1, 3, 3)
    np.testing.assert_allclose(found["virial"], found["stress"] * 7.0 * 7.0 * 7.5)
    assert found["wannier_centre"].shape == (1, 4, 3)
    assert found["molecular_polarizability"].shape == (1, 1, 3, 3)


def test_a_planted_divergence_is_the_problem_linres(job: Path) -> None:
    shutil.copy(job / "linbad.out", job / "linres.out")
    outcome = convert(job, record())
    assert outcome.problem == "linres"
    assert outcome.message.startswith("linres: the linear solver did not converge")
    # what is sound is kept, and labelled
    assert outcome.partial
    assert "polarizability_linres" not in labels(job)
    with pytest.raises(ComputationError, match="0 of 3 equations converged"):
        read_linear_response(job / "linres.out", 3)


def test_an_asymmetric_response_is_the_problem_linres(job: Path) -> None:
    text = (job / "linres.out").read_text()
    text = text.replace("0.125784982557", "0.925784982557").replace("0.018639411103", "0.137187205")
    (job / "linres.out").write_text(text)
    outcome = convert(job, record())
    assert outcome.problem == "linres"
    # only what cannot be trusted is missing, and the label says so
    found = labels(job)
    assert "polarizability_linres" not in found and "polarizability_difference" not in found
    np.testing.assert_array_equal(found["polarizability"][0], trusted(found["polarizability_field"][0], 3, "fields"))
    assert np.isfinite(found["energy"]).all() and found["forces"].shape == (1, 3, 3)
    assert outcome.partial
    assert len(found["missing"]) == 1
    assert str(found["missing"][0]).startswith("polarizability_linres: linres.out: linear response: the tensor is asymmetric by")


def test_a_field_on_an_unknown_branch_costs_its_polarizability_alone(job: Path) -> None:
    path = job / "field_x_plus-dipole.dat"
    lines = path.read_text().splitlines()
    at = max(index for index, line in enumerate(lines) if line.startswith("    X="))
    x, y, z = (float(lines[at].split()[place]) for place in (1, 3, 5))
    x += 0.4 * CELL[0, 0] / E_ANGSTROM_PER_DEBYE
    lines[at] = f"    X= {x:.8E} Y= {y:.8E} Z= {z:.8E}   Total= {np.linalg.norm([x, y, z]):14.8f}"
    path.write_text("\n".join(lines) + "\n")
    outcome = convert(job, record())
    found = labels(job)
    assert outcome.problem == "other" and "quarter of a quantum" in outcome.message
    assert "polarizability_field" not in found
    np.testing.assert_array_equal(found["polarizability"], found["polarizability_linres"])
    assert [str(line).split(":")[0] for line in found["missing"]] == ["polarizability_field"]
    assert found["forces"].shape == (1, 3, 3)


def test_a_label_carries_its_remedies_and_warns_of_those_that_change_the_physics(job: Path) -> None:
    taken = [
        "longer: SCF cycles 50 to 300",
        "finer grid: cutoff 200 to 300 Ry",
        "wider smearing: electronic temperature 300 to 600 K",
    ]
    outcome = convert(job, record(remedies=taken, warnings=["basis: small"]))
    assert outcome.problem is None
    found = labels(job)
    assert found["remedies"].tolist() == taken
    warned = found["warnings"].tolist()
    assert warned[0] == "basis: small" and len(warned) == 3
    assert "300 to 600 K" in warned[2] and not any("longer" in line for line in warned)
    assert "missing" not in found


def test_where_fields_took_the_place_of_linear_response_nothing_in_the_label_says_otherwise(job: Path) -> None:
    taken = ["finer grid: cutoff 200 to 300 Ry", "fields instead: polarizability by ± 0.001 a.u. along three axes"]
    convert(job, record(followups=FIELDS, remedies=taken))
    found = labels(job)
    assert "polarizability_field" in found and not any("linres" in name for name in found)
    assert found["remedies"].tolist() == taken[1:]
    assert len(found["warnings"]) == 1 and "that of finite fields" in str(found["warnings"][0])


def test_stars_in_the_response_are_the_problem_stars(job: Path) -> None:
    text = (job / "linres.out").read_text()
    (job / "linres.out").write_text(text.replace("   7.304981468182", "****************"))
    outcome = convert(job, record())
    assert outcome.problem == "stars"


def test_a_followup_that_never_ran_is_told(job: Path) -> None:
    (job / "field_z_minus.out").unlink()
    outcome = convert(job, record())
    assert (outcome.ended, outcome.problem) == ("cut_off", "truncated")
    assert "field_z_minus.out is missing" in outcome.message


def test_a_main_run_that_failed_gives_no_label(job: Path) -> None:
    shutil.copy(DATA / "logs" / "bad_scf.out", job / "cp2k.out")
    outcome = convert(job, record())
    assert outcome.problem == "scf"
    assert not (job / "labels.npz").exists()
    assert json.loads((job / "outcome.json").read_text())["scf_unconverged_steps"] == [0]


def test_an_executable_that_is_not_cp2k_is_told_with_the_remedy(job: Path) -> None:
    (job / "cp2k.out").write_text("usage: something else\n")
    outcome = convert(job, record())
    assert (outcome.ended, outcome.problem) == ("aborted", "input")
    assert "check that the code's path is CP2K" in outcome.message


@pytest.mark.parametrize(
    ("said", "ended", "problem"),
    [
        ("", "cut_off", "truncated"),
        ("forrtl: No space left on device\n", "cut_off", "truncated"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0\n", "cut_off", "memory"),
        ("_aiidasubmit.sh: line 9: /opt/cp2k.psmp: No such file or directory\n", "aborted", "input"),
        ("cp2k.psmp: error while loading shared libraries: libfftw3.so.3: cannot open\n", "aborted", "input"),
    ],
)
def test_an_empty_log_is_one_that_was_cut_off_unless_the_program_could_not_start(
    job: Path, said: str, ended: str, problem: str
) -> None:
    (job / "cp2k.out").write_text("")
    (job / "cp2k.err").write_text(said)
    outcome = convert(job, record())
    assert (outcome.ended, outcome.problem) == (ended, problem)
    assert problem == "memory" or "check that the code's path is CP2K" in outcome.message


def test_a_field_that_was_not_begun_stops_the_label_at_the_wall_time(job: Path) -> None:
    (job / "field_x_plus.out").unlink()
    (job / "field_x_plus.err").write_text("not begun at the wall time: 3 s are left, the longest run of this job took 9 s\n")
    outcome = convert(job, record())
    assert (outcome.ended, outcome.problem, outcome.partial) == ("walltime", None, True)
    finished = json.loads((job / "outcome.json").read_text())["finished"]
    assert "field_x_plus" not in finished and finished["cp2k"] == str(job)


def test_runs_of_an_earlier_job_are_read_where_they_lie(job: Path, tmp_path: Path) -> None:
    convert(job, record())
    whole = dict(np.load(job / "labels.npz"))
    here = tmp_path / "continued"
    here.mkdir()
    (here / "structure.xyz").write_bytes((job / "structure.xyz").read_bytes())
    moved = "field_z_minus"
    for path in job.glob(f"{moved}*"):
        path.rename(here / path.name)
    names = ["cp2k", *record()["followups"]]
    outcome = convert(here, record(finished={name: str(job) for name in names if name != moved}))
    assert (outcome.ended, outcome.problem, outcome.partial) == ("normal", None, False)
    again = dict(np.load(here / "labels.npz"))
    assert again.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    assert json.loads((here / "outcome.json").read_text())["finished"][moved] == str(here)


def test_a_wrong_record_is_refused(job: Path) -> None:
    with pytest.raises(InputError, match=r"job\.json: kind is 'bands'; allowed: dynamics, label"):
        convert(job, record(kind="bands"))
    with pytest.raises(InputError, match=r"job\.json: schema 2"):
        convert(job, record(schema=2))
    incomplete = record()
    del incomplete["numbers"]
    with pytest.raises(InputError, match=r"job\.json: key 'numbers' is missing"):
        convert(job, incomplete)
