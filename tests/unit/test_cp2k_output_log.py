"""CP2K's log: how a run ended, what did not converge, energies, forces and stress in old and new print styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vibraloom.calculators.cp2k.output_log import diagnose, read_log
from vibraloom.errors import InputError
from vibraloom.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE, GIGAPASCAL_IN_EV_PER_ANGSTROM3

DATA = Path(__file__).parents[1] / "data" / "cp2k"
HEAD = "  **** PROGRAM STARTED AT               2026-11-24 12:33:16.753\n CP2K| version string:          CP2K version 2023.1\n"
END = "  **** PROGRAM ENDED AT                 2026-11-24 12:33:20.003\n"


@pytest.mark.parametrize(
    ("name", "ended", "problem", "words"),
    [
        ("bad_basis", "aborted", "basis", "basis set <NOSUCH> for element <O> was not found in the basis set files"),
        ("bad_pot", "aborted", "basis", "atomic potential <GTH-PBE-q60> for element <O> was not found in the potential file"),
        ("bad_key", "aborted", "input", "found an unknown keyword REL_CUTOF in section MGRID (input/input_parsing.F:246)"),
        ("bad_scf", "normal", "scf", "1 SCF run(s) did not converge"),
        ("wall", "walltime", None, "continue from the restart file"),
    ],
)
def test_each_end_of_a_real_run_is_told_apart(name: str, ended: str, problem: str | None, words: str) -> None:
    outcome = read_log(DATA / "logs" / f"{name}.out").outcome
    assert (outcome.ended, outcome.problem) == (ended, problem)
    assert words in outcome.message
    assert "\n" not in outcome.message
    assert outcome == diagnose((DATA / "logs" / f"{name}.out").read_text())


def test_energy_forces_and_stress_of_a_single_point() -> None:
    log = read_log(DATA / "label" / "cp2k.out")
    assert log.outcome.engine_version == "CP2K 2023.1"
    assert log.outcome.energy_ev == pytest.approx(-17.219566034549171 * EV_PER_HARTREE, abs=1e-9)
    assert log.forces is not None
    assert log.forces[0] / (EV_PER_HARTREE / ANGSTROM_PER_BOHR) == pytest.approx([0.00404661, -0.00019020, -0.00773882])
    assert log.stress is not None
    assert log.stress[2] / GIGAPASCAL_IN_EV_PER_ANGSTROM3 == pytest.approx([-0.0533994728535, 0.00232603539368, 0.120442174180])
    assert log.outcome.wall_seconds == pytest.approx(4.713)


def test_moments_get_the_step_that_the_log_announces_also_after_a_restart() -> None:
    assert read_log(DATA / "md_a" / "cp2k.out").moment_steps == (0, 1, 2, 3)
    assert read_log(DATA / "md_b" / "cp2k.out").moment_steps == (3, 4, 5, 6)
    assert read_log(DATA / "logs" / "wall.out").moment_steps == (0, 1, 2, 3, 4, 5)


def test_a_fermi_energy_belongs_to_the_step_that_printed_it() -> None:
    log = read_log(DATA / "md_one" / "cp2k.out")
    assert sorted(log.fermi_of_step) == [0, 2, 4, 6, 8, 10]
    assert log.fermi_of_step[10] == log.fermi


def test_a_slabs_dipole_belongs_to_its_step_and_points_from_electrons_to_nuclei(tmp_path: Path) -> None:
    printed = "  Total dipole moment perpendicular to \n  the slab [electrons-Angstroem]:              {:.10f}\n"
    start = " MD_INI| MD initialization\n"
    steps = [f" MD| Step number                                                 {step}\n" for step in (7, 8)]
    # step 7 is evaluated twice: the last one counts
    body = [printed.format(-0.25), start, printed.format(9.0), printed.format(-0.5), steps[0], printed.format(0.75), steps[1]]
    path = tmp_path / "cp2k.out"
    path.write_text(HEAD + "".join(body) + END, encoding="utf-8")
    log = read_log(path)
    assert log.dipole_normal_of_step == {6: 0.25, 7: 0.5, 8: -0.75}
    assert log.dipole_normal == -0.75
    assert read_log(DATA / "md_one" / "cp2k.out").dipole_normal_of_step == {}


def test_the_scf_that_a_walltime_broke_off_is_no_failure() -> None:
    text = (DATA / "logs" / "wall.out").read_text()
    assert "SCF run NOT converged" in text
    outcome = diagnose(text)
    assert outcome.scf_unconverged_steps == ()
    assert outcome.last_step == 5


def test_an_unconverged_step_of_dynamics_is_named() -> None:
    text = (DATA / "md_b" / "cp2k.out").read_text()
    mark = " *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n"
    energies = [at for at in range(len(text)) if text.startswith(" ENERGY|", at)]
    outcome = diagnose(text[: energies[2]] + mark + text[energies[2] :])
    assert (outcome.problem, outcome.scf_unconverged_steps) == ("scf", (5,))
    outcome = diagnose(text[: energies[0]] + mark + text[energies[0] :])
    assert outcome.scf_unconverged_steps == (3,)


def test_linear_response_that_did_not_converge_is_told_though_the_run_ended_normally() -> None:
    log = read_log(DATA / "label" / "linbad.out")
    assert (log.solved, log.unsolved) == (0, 3)
    assert (log.outcome.ended, log.outcome.problem) == ("normal", "linres")
    assert read_log(DATA / "label" / "linres.out").outcome.problem is None


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_log_without_its_end_is_cut_off(fraction: float) -> None:
    text = (DATA / "md_one" / "cp2k.out").read_text()
    outcome = diagnose(text[: int(fraction * len(text))])
    assert (outcome.ended, outcome.problem) == ("cut_off", "truncated")


@pytest.mark.parametrize(
    "line",
    [
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=3.batch. Some of your processes may have been killed",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "[n1:2201] *** Process received signal: Cannot allocate memory",
    ],
)
def test_out_of_memory_is_found_in_what_the_system_says(line: str) -> None:
    outcome = diagnose(HEAD + " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:   -17.2\n" + line)
    assert (outcome.ended, outcome.problem) == ("cut_off", "memory")
    assert outcome.message == line


def test_an_energy_that_did_not_fit_its_column_is_stars() -> None:
    outcome = diagnose(HEAD + " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:      *********************\n" + END)
    assert (outcome.problem, outcome.energy_ev) == ("stars", None)


def test_a_polarizability_of_stars_is_found() -> None:
    polar = " POLAR| Polarizability tensor [a.u.]\n POLAR| xx,yy,zz    **************  7.1   6.0\n"
    assert diagnose(HEAD + polar + END).problem == "stars"


def test_another_program_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "cp2k.out"
    path.write_text("LAMMPS (29 Aug 2024)\n")
    with pytest.raises(InputError, match=r"not written by CP2K .*LAMMPS.*check that the code's path is CP2K"):
        read_log(path)
    path.write_text("")
    with pytest.raises(InputError, match="wrote nothing"):
        read_log(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "absent.out")


def synthetic(version: str, energy: str, forces: str, stress: str) -> str:
    """A log in a print style that no program was run for: written after the sources named in the reader."""
    return HEAD.replace("2023.1", version) + energy + forces + stress + END


def test_newer_print_styles_give_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "cp2k.out"
    path.write_text(
        synthetic(
            "2025.1",
            " ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]            -17.219566034549171\n",
            "\n FORCES| Atomic forces [hartree/bohr]\n FORCES|   Atom     x        y        z       |f|\n"
            " FORCES|      1  1.00000000E-02 -2.0E-02  3.0E-02  3.7E-02\n"
            " FORCES|      2  0.0  0.0  1.0E-01  1.0E-01\n FORCES| Sum  0.01 -0.02 0.13 0.2\n",
            "\n STRESS| Analytical stress tensor [bar]\n STRESS|      x       y       z\n STRESS|  x  1.0E+04 0.0 0.0\n"
            " STRESS|  y  0.0 2.0E+04 0.0\n STRESS|  z  0.0 0.0 3.0E+04\n STRESS| 1/3 Trace   2.0E+04\n",
        )
    )
    log = read_log(path)
    assert log.outcome.energy_ev == pytest.approx(-17.219566034549171 * EV_PER_HARTREE)
    assert log.forces is not None
    np.testing.assert_allclose(
        log.forces / (EV_PER_HARTREE / ANGSTROM_PER_BOHR), [[0.01, -0.02, 0.03], [0.0, 0.0, 0.1]], rtol=1e-12
    )
    assert log.stress is not None
    np.testing.assert_allclose(log.stress / GIGAPASCAL_IN_EV_PER_ANGSTROM3, np.diag([1.0, 2.0, 3.0]), rtol=1e-12)
    assert "CP2K 2025.1: read by its print styles" in log.outcome.warnings[0]


def test_the_older_stress_print_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cp2k.out"
    stress = "\n STRESS TENSOR [GPa]\n\n            X               Y               Z\n  X       1.0   0.5   0.0\n"
    stress += "  Y       0.5   2.0   0.0\n  Z       0.0   0.0   3.0\n\n 1/3 TRACE(STRESS TENSOR [GPa]):   2.0\n"
    path.write_text(synthetic("7.1", " ENERGY| Total FORCE_EVAL ( QS ) energy (a.u.):     -1.5\n", "", stress))
    log = read_log(path)
    assert log.stress is not None
    np.testing.assert_allclose(log.stress / GIGAPASCAL_IN_EV_PER_ANGSTROM3, [[1, 0.5, 0], [0.5, 2, 0], [0, 0, 3]], rtol=1e-12)
    assert log.outcome.energy_ev == pytest.approx(-1.5 * EV_PER_HARTREE)


def test_a_newer_cp2k_that_aborts_without_convergence_has_the_problem_scf() -> None:
    box = (
        " *  ___                                                                        *\n * [ABORT]"
        "                                                                     *\n"
        " *  \\___/    SCF run NOT converged. To continue the calculation regardless,    *\n"
        " *    |      please set the keyword IGNORE_CONVERGENCE_FAILURE.                *\n"
        " * / \\                                                            qs_scf.F:611 *\n"
        " *******************************************************************************\n"
    )
    outcome = diagnose(HEAD.replace("2023.1", "2024.3") + box)
    assert (outcome.ended, outcome.problem) == ("aborted", "scf")
    assert "IGNORE_CONVERGENCE_FAILURE" in outcome.message


def test_a_force_of_stars_is_no_force(tmp_path: Path) -> None:
    path = tmp_path / "cp2k.out"
    text = (DATA / "label" / "cp2k.out").read_text()
    path.write_text(text.replace("0.00404661", "**********"))
    log = read_log(path)
    assert log.forces is None
    assert log.outcome.problem == "stars"
    assert "did not fit its column" in log.outcome.message


def test_no_step_is_lost_among_the_lines_of_the_scf(tmp_path: Path) -> None:
    text = (DATA / "md_one" / "cp2k.out").read_text()
    filling = "     1 OT DIIS     0.80E-01    0.1     0.00194970       -17.2193627785 -1.72E+01\n" * 20
    steps = "".join(f"{filling} MD| Step number          {step}\n MD| Time [fs]     {step / 2:.6f}\n" for step in range(11, 900))
    path = tmp_path / "cp2k.out"
    end = text.index("  **** **** ******  **  PROGRAM ENDED")
    path.write_text(text[:end] + steps + text[end:])
    log = read_log(path)
    assert log.steps.tolist() == list(range(1, 900))
    assert log.first_step == 0
    assert log.outcome.last_step == 899
