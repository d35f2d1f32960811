"""What CP2K prints of dipole and polarizability: every release, steps and time of its log, restarts, damage.

The texts follow the print statements of CP2K, in the releases named below: src/qs_moments.F, src/qs_scf_post_tb.F,
src/fist_efield_methods.F, src/qs_loc_dipole.F, src/qs_linres_polar_utils.F and src/motion/md_energies.F.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from series_samples import CELL, DIPOLE, TENSOR, load, refusal

from vibraloom.spectra.dipole import unwrap_dipole
from vibraloom.spectra.raman import symmetric_tensors
from vibraloom.units import ANGSTROM3_PER_BOHR3, ANGSTROM_PER_BOHR, E_ANGSTROM_PER_DEBYE

DEBYE_PER_AU = ANGSTROM_PER_BOHR / E_ANGSTROM_PER_DEBYE


def moment(dipole: Sequence[float], version: str = "2023.1", cell: np.ndarray | None = None) -> str:
    """One block of qs_moments.F, print_moments; ``cell`` makes it a Berry phase."""
    total = float(np.linalg.norm(dipole))
    number, last = {"6.1": ("14.8f", "14.8f"), "2023.1": ("16.8E", "14.8f"), "2024.1": ("15.7E", "13.7f")}[version]
    lines = [
        "  Reference Point [Bohr]" + "      0.00000000" * 3,
        "  Charges",
        "    Electronic=      8.00000000    Core=    -8.00000000    Total=    -0.00000000",
    ]
    if cell is None:
        lines.append("  Dipoles are based on the traditional operator.")
    else:
        rows = ["".join(f"{value:14.8f} " for value in row) for row in cell.T / E_ANGSTROM_PER_DEBYE]
        lines += [
            "  Dipole vectors are based on the periodic (Berry phase) operator.",
            "  They are defined modulo integer multiples of the cell matrix [Debye].",
            f"  [X] [{rows[0]}] [i]",
            f"  [Y]=[{rows[1]}]*[j]",
            f"  [Z] [{rows[2]}] [k]",
        ]
    x, y, z = (f"{value:{number}}" for value in dipole)
    lines += ["  Dipole moment [Debye]", f"    X={x} Y={y} Z={z}   Total={total:{last}}"]
    return "\n".join(lines) + "\n"


def log(values: Sequence[str], first: int = 0, stride: int = 1, timestep: float = 0.5, old: bool = False) -> str:
    """A CP2K log: the values of step ``first`` before the start, later ones before their step (md_energies.F)."""
    text = "  **** **** ******  **  PROGRAM STARTED AT               2026-01-01 00:00:00.000\n CP2K| version string\n"
    for index, value in enumerate(values):
        step = first + index * stride
        text += value
        if index == 0:
            text += " ********** GO CP2K GO! **********\n" if old else " MD_INI| MD initialization\n"
        elif old:
            text += f"\n {'*' * 79}\n ENSEMBLE TYPE                =                    NVE\n"
            text += f" STEP NUMBER                  =    {step:10d}\n"
            text += f" TIME [fs]                    =  {step * timestep:20.6f}\n"
        else:
            text += f"\n MD| {'*' * 75}\n MD| Step number {step:63d}\n MD| Time [fs] {step * timestep:65.6f}\n"
    return text


def polar(tensor: np.ndarray = TENSOR, spelling: str = "8.1", converged: bool = True) -> str:
    """One tensor (atomic units) of qs_linres_polar_utils.F, polar_print, after the solver's verdict."""
    verdict = "converged in   12 iterations." if converged else "didn't converge! Maximum number of iterations reached."
    text = f"  The linear solver {verdict}\n"
    for scale, new, old in ((1.0, "[a.u.]", "(atomic units):"), (ANGSTROM3_PER_BOHR3, "[ang^3]", "(Angstrom^3):")):
        (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = tensor * scale
        rows = {"xx,yy,zz": (xx, yy, zz), "xy,xz,yz": (xy, xz, yz), "yx,zx,zy": (yx, zx, zy)}
        if spelling == "8.1":
            text += f"\n POLAR| Polarizability tensor {new}\n"
            text += "".join(f" POLAR| {key}      {a:19.12f}{b:19.12f}{c:19.12f}\n" for key, (a, b, c) in rows.items())
        else:
            mark = "POLAR| " if spelling == "7.1" else ""
            indent = " " if mark else " " * 9
            text += f"{indent}{mark}POLARIZABILITY TENSOR {old}\n"
            text += "".join(f"{indent}{mark}{key}{a:15.5f}{b:15.5f}{c:15.5f}\n" for key, (a, b, c) in rows.items())
    return text


@pytest.mark.parametrize("version", ["6.1", "2023.1", "2024.1"])
def test_cp2k_moments_of_every_release_are_debye(written: Callable[..., Path], version: str) -> None:
    series = load(written("".join(moment(row, version) for row in DIPOLE)), timestep=0.5)
    # seven digits are printed since 2024.1, eight decimals or digits before
    np.testing.assert_allclose(series.values, DIPOLE * E_ANGSTROM_PER_DEBYE, rtol=5.1e-7 if version == "2024.1" else 6e-8)
    assert series.unit_source == "debye (CP2K)"
    assert (series.timestep, series.steps, series.cell, series.folded) == (0.5, None, None, False)
    assert "no step numbers" in series.notes[0]


def test_a_folded_berry_dipole_is_recovered_with_the_cell_that_cp2k_prints(written: Callable[..., Path]) -> None:
    true = np.cumsum(np.random.default_rng(0).normal(scale=0.4, size=(200, 3)), axis=0)
    fractional = true @ np.linalg.inv(CELL)
    folded = (fractional - np.round(fractional)) @ CELL
    assert np.abs(folded - true).max() > 4.0  # it is folded, more than once
    series = load(written("".join(moment(row, cell=CELL) for row in folded / E_ANGSTROM_PER_DEBYE)), timestep=0.5)
    assert series.folded
    assert series.cell is not None
    np.testing.assert_allclose(series.cell, CELL, atol=2e-9)
    unwrapped, ambiguous = unwrap_dipole(series.values, series.cell)
    assert len(ambiguous) == 0
    # some quanta gather the rounding of eight printed digits
    np.testing.assert_allclose(unwrapped - unwrapped[0], true - true[0], atol=1e-7)


def test_a_changing_cell_is_kept_per_frame(written: Callable[..., Path]) -> None:
    cells = [CELL * (1 + 0.01 * frame) for frame in range(3)]
    series = load(written("".join(moment(DIPOLE[f], cell=cell) for f, cell in enumerate(cells))), timestep=0.5)
    assert series.cell is not None
    np.testing.assert_allclose(series.cell, cells, atol=2e-9)


@pytest.mark.parametrize("old", [False, True])
def test_a_cp2k_log_brings_its_steps_and_its_time(written: Callable[..., Path], old: bool) -> None:
    path = written(log([moment(row) for row in DIPOLE], first=40, stride=1, timestep=0.25, old=old), "run.out")
    series = load(path)
    assert series.steps is not None
    assert series.steps.tolist() == list(range(40, 46))
    assert series.timestep == pytest.approx(0.25, rel=1e-6)
    assert load(path, timestep=0.25).timestep == 0.25
    assert "--timestep says 0.5 fs" in refusal(path, timestep=0.5)
    assert "carries its own unit, debye" in refusal(path, unit="e*angstrom")
    assert load(path, unit="debye").values == pytest.approx(series.values)


def test_a_restart_that_repeats_its_first_step_is_joined(written: Callable[..., Path]) -> None:
    again = DIPOLE[3] * (1 + 1e-7)  # a converged SCF differs in its last digits
    first, second = [moment(row) for row in DIPOLE[:4]], [moment(row) for row in (again, *DIPOLE[4:])]
    series = load(written(log(first) + log(second, first=3)))
    assert series.steps is not None
    assert series.steps.tolist() == list(range(6))
    np.testing.assert_allclose(series.values, DIPOLE * E_ANGSTROM_PER_DEBYE, rtol=1e-7)
    assert "1 step(s) repeated by a restart were dropped (3)" in series.notes[0]


def test_steps_that_run_back_jump_or_repeat_with_other_values_are_refused(written: Callable[..., Path]) -> None:
    blocks = [moment(row) for row in DIPOLE]
    back = refusal(written(log(blocks) + log(blocks[3:], first=3)))
    assert "frame 6 has step 3 after 5" in back
    assert "remove the frames of the first that come after step 3" in back
    jump = refusal(written(log(blocks[:3]) + log(blocks[3:], first=4)))
    assert "frame 3 has step 4 after 2, not 1 later" in jump
    other = refusal(written(log(blocks[:4]) + log(blocks[4:], first=3)))
    assert "frame 4 repeats step 3 with other values" in other


def test_a_moment_lost_from_a_log_is_noticed(written: Callable[..., Path]) -> None:
    text = log([moment(row) for row in DIPOLE])
    assert "2 values before" in refusal(written(text.replace("Step number", "Step nunber", 1)))
    assert "5 complete values but 6 prints" in refusal(written(text.replace("Dipole moment", "Dipole mom", 1)))
    assert "no time on the line after it" in refusal(written(text.replace("MD| Time [fs]", "MD| Time step [fs]", 1)))


def test_a_log_cut_off_before_the_last_step_loses_that_frame_and_says_so(written: Callable[..., Path]) -> None:
    text = log([moment(row) for row in DIPOLE])
    series = load(written(text[: text.rindex(" MD| Step number")]))
    assert series.steps is not None
    assert series.steps.tolist() == list(range(5))
    assert "the last value has no step number" in series.notes[0]


def test_damaged_moments_are_refused_with_their_frame(written: Callable[..., Path]) -> None:
    blocks = [moment(row, "6.1") for row in DIPOLE]
    wide = blocks[2].replace(f"{DIPOLE[2, 0]:14.8f}", "*" * 14)
    assert "frame 2: a number did not fit its column" in refusal(written("".join((*blocks[:2], wide))), timestep=0.5)
    wrong = blocks[1].replace(f"{DIPOLE[1, 2]:14.8f}", f"{DIPOLE[1, 2] + 1:14.8f}")
    assert "frame 1: the components do not give the printed total" in refusal(written(blocks[0] + wrong), timestep=0.5)
    cut = "".join(blocks)[:-9]
    assert "frame 5: not readable" in refusal(written(cut), timestep=0.5)
    nan = blocks[0] + blocks[1].replace(f"{DIPOLE[1, 1]:14.8f}", "           NaN")
    assert "frame 1: not readable" in refusal(written(nan), timestep=0.5)


def test_a_step_repeated_in_a_file_without_steps_is_refused(written: Callable[..., Path]) -> None:
    blocks = [moment(row) for row in DIPOLE]
    assert "frame 3 is equal to frame 2" in refusal(written("".join([*blocks[:3], *blocks[2:]])), timestep=0.5)
    near = DIPOLE[2] * (1 + 1e-7)
    series = load(written("".join([*blocks[:3], moment(near), *blocks[3:]])), timestep=0.5)
    assert "frame 3 hardly differs from the one before" in series.notes[1]


def test_a_moments_file_has_no_time_in_it(written: Callable[..., Path]) -> None:
    assert "give the time between frames" in refusal(written("".join(map(moment, DIPOLE))))


@pytest.mark.parametrize("program", ["TB", "MM", "SE"])
def test_cp2k_model_dipoles_are_read_in_both_spellings(written: Callable[..., Path], program: str) -> None:
    new, old = "", ""
    for row in DIPOLE:
        new += f"\n {program}_DIPOLE| Dipole type                                               non-periodic\n"
        new += f" {program}_DIPOLE| Reference Point [Boh" + "      0.00000000" * 3 + "\n"
        head = "MM DIPOLE" if program == "MM" else "DIPOLE"
        for unit, other, scale in (("[a.u.]", "A.U.", 1 / DEBYE_PER_AU), ("[Debye]", "Debye", 1.0)):
            x, y, z = row * scale
            new += f" {program}_DIPOLE| Moment {unit:<8}  {x:17.8f}{y:17.8f}{z:17.8f}\n"
            old += f" {head} [Non Periodic]({other})|".ljust(47) + f"{x:11.6f}{y:11.6f}{z:11.6f}\n"
        new += f" {program}_DIPOLE| Derivative [a.u.]" + "       0.00000000" * 3 + "\n"
        old += f" {head} [Non Periodic] DERIVATIVE(A.U.)|".ljust(47) + "   0.000000" * 3 + "\n"
    for text, tolerance in ((new, 1e-8), (old, 1e-6)):
        series = load(written(text), timestep=0.5)
        np.testing.assert_allclose(series.values, DIPOLE * E_ANGSTROM_PER_DEBYE, atol=tolerance)
    damaged = new.replace(f"{DIPOLE[1, 0]:17.8f}", f"{DIPOLE[1, 0] + 0.1:17.8f}")
    assert "frame 1: its values in two units contradict each other" in refusal(written(damaged), timestep=0.5)
    berry = new.replace("             non-periodic", "   periodic (Berry phase)")
    assert "fractional charges" in load(written(berry), timestep=0.5).notes[1]


def test_cp2k_total_dipole_is_aligned_by_its_steps(written: Callable[..., Path]) -> None:
    head = "# iter_level                  dipole(x,y,z)[atomic units]            dipole(x,y,z)[debye]     delta_dipole\n"
    rows = [
        f"{f'1_{step}':<15}" + "".join(f"{value:18.8E}" for value in (*row / DEBYE_PER_AU, *row, *row)) + "\n"
        for step, row in zip(range(0, 12, 2), DIPOLE, strict=True)
    ]
    # CP2K repeats the header; a restart repeats a row
    series = load(written(head + rows[0] + head + "".join(rows[1:4]) + head + "".join(rows[3:])), timestep=1.0)
    assert series.steps is not None
    assert series.steps.tolist() == [0, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(series.values, DIPOLE * E_ANGSTROM_PER_DEBYE, rtol=6e-9)
    assert "PERIODIC F" in series.notes[0]
    assert "frame 3 has step 8 after 4, not 2 later" in refusal(written(head + "".join(rows[:3] + rows[4:])), timestep=1.0)
    assert "cut off" in refusal(written(head + "".join(rows)[:-20]), timestep=1.0)


@pytest.mark.parametrize("spelling", ["6.1", "7.1", "8.1"])
def test_cp2k_polarizability_keeps_every_element_in_its_place(written: Callable[..., Path], spelling: str) -> None:
    tensors = [TENSOR * (1 + 0.01 * frame) for frame in range(4)]
    series = load(written(log([polar(tensor, spelling) for tensor in tensors])), "polarizability")
    assert series.unit_source == "bohr^3 (CP2K)"
    assert series.timestep == pytest.approx(0.5)
    columns = symmetric_tensors(series.values, series.components)[0]
    expected = np.array([[t[0, 0], t[1, 1], t[2, 2], t[0, 1], t[1, 2], t[2, 0]] for t in tensors]) * ANGSTROM3_PER_BOHR3
    np.testing.assert_allclose(columns, expected, atol=1e-12 if spelling == "8.1" else 1e-6)


@pytest.mark.parametrize(
    "verdict",
    [
        "  The linear solver didn't converge! Maximum number of iterations reached.",
        "  The linear solver didnt converge! Maximum number of iterations reached.",
        "  The linear solver did NOT converge! External stop",
        " *** WARNING in qs_linres_methods.F:1166 :: The linear solver didn't ***\n *** converge!    ***",
    ],
)
def test_a_linear_solver_that_did_not_converge_is_refused(written: Callable[..., Path], verdict: str) -> None:
    good, bad = polar(), polar(converged=False)
    bad = bad.replace(bad.splitlines()[0], verdict)
    message = refusal(written(log([good, polar(TENSOR * 1.1), bad])), "polarizability")
    assert "frame 2: the linear solver did not converge" in message


def test_cp2k_polarizability_that_contradicts_itself_is_refused(written: Callable[..., Path]) -> None:
    text = log([polar(), polar(TENSOR * 1.01)])
    one = f"{2.0:19.12f}"
    assert "frame 0: its values in two units" in refusal(written(text.replace(one, f"{7.0:19.12f}", 1)), "polarizability")
    assert "must be positive" in refusal(written(log([polar(-TENSOR)] * 2)), "polarizability")
    assert "frame 1: not readable" in refusal(written(text[: text.rindex("MD| Step")].rstrip()[:-90]), "polarizability")


def test_cp2k_polar_file_has_time_order_and_unit(written: Callable[..., Path]) -> None:
    names = ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")
    head = "#   Step   Time [fs]" + "".join(f"           {name} [a.u.]" for name in names) + "\n"
    rows = [
        f"{step:8d}{step * 0.5:12.3f}" + "".join(f" {value:19.8f}" for value in (TENSOR * (1 + step / 100)).ravel()) + "\n"
        for step in range(0, 20, 4)
    ]
    series = load(written(head + "".join(rows), "w-1.polar"), "polarizability")
    assert series.timestep == pytest.approx(2.0)
    columns = symmetric_tensors(series.values, series.components)[0]
    np.testing.assert_allclose(columns[0], np.arange(1.0, 7.0) * ANGSTROM3_PER_BOHR3, rtol=1e-8)
    assert "does not say whether the linear solver converged" in series.notes[0]
    late = rows[3].replace(f"{6.0:12.3f}", f"{6.5:12.3f}")
    message = refusal(written(head + "".join([*rows[:3], late, *rows[4:]]), "w-1.polar"), "polarizability")
    assert "step 12 is at 6.5 fs" in message
    assert "not a dipole" in refusal(written(head + "".join(rows), "w-1.polar"))


def test_a_cp2k_log_without_the_print_names_what_to_switch_on(written: Callable[..., Path]) -> None:
    assert "DFT/PRINT/MOMENTS" in refusal(written(log(["", "", ""])), timestep=0.5)
