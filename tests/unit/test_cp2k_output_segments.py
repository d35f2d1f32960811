"""Segments of one run joined by step number: nothing missing, doubled or shifted, dipoles continuous, or else refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.cp2k.convert import convert
from vibraloom.calculators.cp2k.printed_frames import read_dipoles, read_energies, read_printed_frames
from vibraloom.calculators.cp2k.sampled import load_sampled
from vibraloom.calculators.cp2k.segments import join
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.series import load_series
from vibraloom.files.trajectory import read_trajectory
from vibraloom.units import E_ANGSTROM_PER_DEBYE, EV_PER_HARTREE

DATA = Path(__file__).parents[1] / "data" / "cp2k"
SEGMENTS = ("md_a", "md_b", "md_c")
CELL = np.diag([7.0, 7.0, 7.5])


def record(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "schema": 1,
        "kind": "dynamics",
        "numbers": [8, 1, 1],
        "masses": [15.999, 1.008, 1.008],
        "cell": CELL.tolist(),
        "pbc": [True, True, True],
        "timestep": 0.5,
        "steps": 10,
        "every": 1,
        "seed": 7,
        "replica": 0,
        "trajectory": "trajectory-00.h5",
        "method": {"functional": "PBE"},
    }
    return values | changes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("md_one", *SEGMENTS):
        shutil.copytree(DATA / name, tmp_path / name)
    return tmp_path


def paths(run: Path) -> list[Path]:
    return [run / name for name in SEGMENTS]


def cut(path: Path, keep: str) -> None:
    """Remove what follows the last occurrence of ``keep``, as a kill does."""
    text = path.read_text()
    path.write_text(text[: text.rindex(keep) + len(keep)])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_three_segments_are_the_uninterrupted_run(run: Path) -> None:
    whole, parts = join([run / "md_one"], record()), join(paths(run), record())
    assert whole is not None
    assert parts is not None
    assert whole.step.tolist() == parts.step.tolist() == list(range(11))
    np.testing.assert_allclose(parts.positions, whole.positions, atol=1e-6)
    np.testing.assert_allclose(parts.velocities, whole.velocities, atol=1e-6)
    assert parts.observables.keys() == whole.observables.keys()
    assert {"dipole", "forces", "potential_energy", "kinetic_energy", "temperature"} == parts.observables.keys()
    # an SCF converged to 1e-7 leaves this much open
    np.testing.assert_allclose(parts.observables["dipole"], whole.observables["dipole"], atol=1e-6)
    np.testing.assert_allclose(parts.observables["forces"], whole.observables["forces"], atol=1e-4)
    np.testing.assert_allclose(parts.observables["potential_energy"], whole.observables["potential_energy"], atol=1e-6)
    assert parts.notes == []


def test_dipoles_stand_at_the_step_of_their_positions(run: Path) -> None:
    joined = join(paths(run), record())
    assert joined is not None
    moments = read_dipoles(run / "md_b" / "cp2k-dipole.dat")
    assert moments is not None
    assert len(moments.values) == 4  # of steps 3 to 6, beside positions of 4 to 6
    np.testing.assert_allclose(joined.observables["dipole"][4:7], moments.values[1:] * E_ANGSTROM_PER_DEBYE, atol=1e-12)


def test_values_are_in_our_units(run: Path) -> None:
    joined = join([run / "md_one"], record())
    assert joined is not None
    assert joined.velocities is not None
    # kinetic energy from velocities in Å/fs and masses in amu against CP2K's own
    kinetic = 0.5 * np.einsum("a,fai,fai->f", [15.999, 1.008, 1.008], joined.velocities, joined.velocities) * 103.642697
    np.testing.assert_allclose(joined.observables["kinetic_energy"], kinetic, rtol=1e-4)
    assert joined.observables["potential_energy"][0] == pytest.approx(-17.219566035 * EV_PER_HARTREE, abs=1e-7)
    assert joined.observables["temperature"][0] == pytest.approx(330.0)


def test_frames_beyond_the_restart_file_are_computed_again(run: Path) -> None:
    # the first segment went on to step 10 before it was killed; its restart file was of step 3
    joined = join([run / "md_one", run / "md_b", run / "md_c"], record())
    assert joined is not None
    assert joined.step.tolist() == list(range(11))
    again = join(paths(run), record())
    assert again is not None
    np.testing.assert_array_equal(joined.positions[4:], again.positions[4:])
    assert joined.notes == ["md_one: 7 frame(s) after step 3 were computed again by a restart"]


def test_an_attempt_from_the_start_replaces_everything_before(run: Path) -> None:
    joined = join([run / "md_a", run / "md_b", run / "md_one"], record())
    alone = join([run / "md_one"], record())
    assert joined is not None
    assert alone is not None
    np.testing.assert_array_equal(joined.observables["dipole"], alone.observables["dipole"])


def test_a_missing_segment_is_refused(run: Path) -> None:
    with pytest.raises(InputError, match="step 7 after 3"):
        join([run / "md_a", run / "md_c"], record())


def test_a_segment_that_goes_on_from_another_state_is_refused(run: Path) -> None:
    text = (run / "md_b" / "cp2k-dipole.dat").read_text()
    first = text.index("    X=")
    line = "    X=  0.50000000E+00 Y=  0.00000000E+00 Z=  0.00000000E+00   Total=     0.50000000"
    (run / "md_b" / "cp2k-dipole.dat").write_text(text[:first] + line + text[text.index("\n", first) :])
    with pytest.raises(InputError, match=r"md_b: the dipole of step 3 differs by .* not a continuation"):
        join(paths(run), record())


def folded(path: Path, frames: set[int], vector: np.ndarray[Any, Any]) -> None:
    """Shift the dipoles of ``frames`` by a vector in e·Å, as another branch of the Berry phase does."""
    lines = path.read_text().split("\n")
    places = [index for index, line in enumerate(lines) if line.startswith("    X=")]
    for frame, index in enumerate(places):
        if frame in frames:
            words = lines[index].split()
            x, y, z = np.array([float(words[at]) for at in (1, 3, 5)]) + vector / E_ANGSTROM_PER_DEBYE
            total = np.sqrt(x * x + y * y + z * z)
            lines[index] = f"    X= {x:.8E} Y= {y:.8E} Z= {z:.8E}   Total= {total:14.8f}"
    path.write_text("\n".join(lines))


def test_quanta_between_frames_and_segments_are_undone(run: Path) -> None:
    expected = join(paths(run), record())
    folded(run / "md_a" / "cp2k-dipole.dat", {2}, CELL[2] - CELL[0])
    folded(run / "md_b" / "cp2k-dipole.dat", {0, 1, 3}, -CELL[1])
    joined = join(paths(run), record())
    assert joined is not None
    assert expected is not None
    np.testing.assert_allclose(joined.observables["dipole"], expected.observables["dipole"], atol=1e-6)


def test_a_jump_of_half_a_quantum_is_ambiguous(run: Path) -> None:
    folded(run / "md_one" / "cp2k-dipole.dat", {5}, 0.48 * CELL[2])
    joined = join([run / "md_one"], record())
    assert joined is not None
    assert re.search(r"between steps 4 and 5 .* ambiguous", joined.missing["dipole"])
    assert "dipole" not in joined.observables and joined.velocities is not None and len(joined.step) == 11


def test_more_dipoles_than_the_log_announces_are_ambiguous(run: Path) -> None:
    path = run / "md_one" / "cp2k-dipole.dat"
    path.write_text(path.read_text() + (run / "md_b" / "cp2k-dipole.dat").read_text())
    joined = join([run / "md_one"], record())
    assert joined is not None
    assert re.search(r"15 dipoles, 11 announced .* ambiguous", joined.missing["dipole"])
    assert "dipole" not in joined.observables


def test_a_trajectory_whose_dipole_is_ambiguous_keeps_the_rest_and_says_what_is_missing(run: Path) -> None:
    folded(run / "md_one" / "cp2k-dipole.dat", {5}, 0.48 * CELL[2])
    outcome = convert(run / "md_one", record(remedies=["longer: more"]))
    assert outcome.problem == "other" and "ambiguous" in outcome.message
    stored = read_trajectory(run / "md_one" / "trajectory-00.h5")
    assert stored.velocities is not None and "dipole" not in stored.observables
    assert [str(line) for line in stored.attributes["remedies"]] == ["longer: more"]
    assert str(stored.attributes["missing"][0]).startswith("dipole: ")
    with pytest.raises(InputError, match=r"its dipole was left out .* between steps 4 and 5 .* ambiguous"):
        load_series(run / "md_one" / "trajectory-00.h5", "dipole", unit=None, timestep=None)


@pytest.mark.parametrize(
    ("name", "keep", "last"),
    [
        ("cp2k-pos-1.xyz", "i =        9", 8),
        ("cp2k-vel-1.xyz", "  O ", 9),
        ("cp2k-frc-1.xyz", "       3\n", 9),
        ("cp2k-1.ener", "         8            4.0000", 7),
        ("cp2k-1.cell", "       9       4.500", 8),
        ("cp2k-dipole.dat", "    X=", 9),
        ("cp2k-dipole.dat", "  Reference Point [Bohr]", 9),
    ],
)
def test_what_a_kill_cut_off_is_left_out_to_the_last_whole_frame(run: Path, name: str, keep: str, last: int) -> None:
    cut(run / "md_one" / name, keep)
    cut(run / "md_one" / "cp2k.out", " MD| Step number                                                              10\n")
    outcome = convert(run / "md_one", record())
    assert outcome.last_step == last
    assert outcome.partial
    assert (outcome.ended, outcome.problem) == ("cut_off", "truncated")
    assert not (run / "md_one" / "trajectory-00.h5").exists(), "what is retrieved is whole"
    trajectory = read_trajectory(run / "md_one" / "partial-trajectory-00.h5")
    assert trajectory.step.tolist() == list(range(last + 1))
    assert bool(trajectory.attributes["partial"])
    whole = join([DATA / "md_one"], record())
    assert whole is not None
    np.testing.assert_array_equal(trajectory.observables["dipole"], whole.observables["dipole"][: last + 1])


def test_a_hole_in_the_middle_is_refused(run: Path) -> None:
    path = run / "md_one" / "cp2k-1.ener"
    path.write_text("\n".join(line for line in path.read_text().split("\n") if not line.startswith("         4 ")))
    with pytest.raises(ComputationError, match="step 4 has no energy, later steps do"):
        join([run / "md_one"], record())


def test_a_run_killed_after_its_last_step_is_whole(run: Path) -> None:
    cut(run / "md_one" / "cp2k.out", " MD| Step number                                                              10\n")
    outcome = convert(run / "md_one", record())
    assert (outcome.ended, outcome.problem, outcome.partial) == ("normal", None, False)


def test_a_run_stopped_within_its_first_step_holds_no_frame_and_says_why_it_ended(run: Path) -> None:
    folder = run / "md_one"
    log = (folder / "cp2k.out").read_text()
    announced = log[: log.index(" MD| Step number")]
    assert announced.count("moments are written") == 2, "of the start, and of a step that was not ended"
    stop = " *** MD run terminated - exceeded requested execution time:       8.000 seconds.\n"
    ended = "  **** **** ******  **  PROGRAM ENDED AT                 2026-11-24 14:06:52.099\n"
    (folder / "cp2k.out").write_text(announced + stop + ended)
    for name, keep in (("pos-1.xyz", 5), ("vel-1.xyz", 5), ("frc-1.xyz", 5), ("1.ener", 2), ("1.cell", 2)):
        path = folder / f"cp2k-{name}"
        if path.is_file():
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:keep]))
    path = folder / "cp2k-dipole.dat"
    lines = path.read_text().splitlines(keepends=True)
    third = [number for number, line in enumerate(lines) if "Reference Point" in line][2]
    path.write_text("".join(lines[:third]))
    outcome = convert(folder, record())
    assert (outcome.ended, outcome.problem, outcome.last_step) == ("walltime", None, None), outcome
    assert not (folder / "trajectory-00.h5").exists()


def test_a_stride_keeps_its_steps_through_all_segments(run: Path) -> None:
    joined = join(paths(run), record(every=2))
    assert joined is not None
    assert joined.step.tolist() == [0, 2, 4, 6, 8, 10]
    every = join(paths(run), record())
    assert every is not None
    np.testing.assert_array_equal(joined.observables["dipole"], every.observables["dipole"][::2])


def test_two_runs_in_one_folder_are_refused(run: Path) -> None:
    path = run / "md_a" / "cp2k-pos-1.xyz"
    path.write_text(path.read_text() * 2)
    with pytest.raises(InputError, match="frame 4 has step 0 after 3: two runs wrote into this file"):
        read_printed_frames(path, 3)


def test_another_system_is_refused(run: Path) -> None:
    numbers = {"numbers": [8, 1, 1, 1], "masses": [16.0, 1.0, 1.0, 1.0]}
    outcome = convert(run / "md_a", record(**numbers))
    assert outcome.problem == "other"
    assert "3 atoms in a frame, 4 in job.json" in outcome.message


def test_stars_in_the_energies_are_named_as_such(run: Path) -> None:
    edit(run / "md_one" / "cp2k-1.ener", "-17.216430599", "*************")
    outcome = convert(run / "md_one", record())
    assert outcome.problem == "stars"
    assert not (run / "md_one" / "trajectory-00.h5").exists()


def test_the_written_trajectory_says_what_it_is(run: Path) -> None:
    (run / "md_c" / "job.json").write_text(json.dumps(record(folders=["../md_a", "../md_b", "."])))
    outcome = convert(run / "md_c", json.loads((run / "md_c" / "job.json").read_text()))
    trajectory = read_trajectory(run / "md_c" / "trajectory-00.h5")
    assert trajectory.frame_interval == 0.5
    assert trajectory.attributes["engine_version"] == "2023.1"
    assert trajectory.attributes["model"] == "PBE"
    assert trajectory.attributes["seed"] == 7
    assert not bool(trajectory.attributes["partial"])
    written = json.loads((run / "md_c" / "outcome.json").read_text())
    assert written["schema"] == 1
    assert written["last_step"] == written["steps_wanted"] == 10
    assert written["ended"] == outcome.ended == "normal"


def test_wannier_dipoles_are_sampled_at_their_stride_and_a_missing_one_is_told(run: Path) -> None:
    convert(run / "md_one", record())
    outcome = convert(run / "md_c", record(folders=["../md_a", "../md_b", "."]))
    steps, dipole = load_sampled(run / "md_one" / "trajectory-00.h5", "molecular_dipole")
    assert steps.tolist() == [0, 2, 4, 6, 8, 10]
    assert dipole.shape == (6, 1, 3)
    joined_steps, joined_dipole = load_sampled(run / "md_c" / "trajectory-00.h5", "molecular_dipole")
    # CP2K 2023.1 does not print the first centres after a restart
    assert joined_steps.tolist() == [0, 2, 6, 8, 10]
    assert "Wannier centres of 1 step(s) are missing: 4" in outcome.warnings
    np.testing.assert_allclose(joined_dipole, dipole[[0, 1, 3, 4, 5]], atol=1e-5)
    _, difference = load_sampled(run / "md_one" / "trajectory-00.h5", "wannier_minus_berry")
    total = read_trajectory(run / "md_one" / "trajectory-00.h5").observables["dipole"][::2]
    np.testing.assert_allclose(dipole.sum(axis=1), total + difference, atol=1e-12)
    assert 0 < np.abs(difference).max() < 0.01


def test_energies_of_a_file_without_rows_are_none(tmp_path: Path) -> None:
    path = tmp_path / "cp2k-1.ener"
    path.write_text("#     Step Nr.          Time[fs]\n")
    assert read_energies(path) is None
    path.write_text("")
    assert read_energies(path) is None


def test_stored_segments_take_the_bytes_of_one_trajectory_and_scratch_holds_one_partial_at_a_time(run: Path) -> None:
    folders = paths(run)
    retrieved, partial = [], []
    for count in range(1, len(folders) + 1):
        here = folders[count - 1]
        convert(here, record(folders=[f"../{folder.name}" for folder in folders[: count - 1]] + ["."]))
        retrieved.append(sum(path.stat().st_size for path in here.glob("trajectory-*.h5")))
        partial.append([folder.name for folder in folders if list(folder.glob("partial-*.h5"))])
    assert retrieved[:-1] == [0] * (len(folders) - 1) and retrieved[-1] > 0
    assert partial == [[folder.name] for folder in folders[:-1]] + [[]]
