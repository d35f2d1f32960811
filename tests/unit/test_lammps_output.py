"""Dump segments and logs: byte layout, truncation, joining by step, LAMMPS' own errors."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vibraloom.calculators.lammps.convert import convert
from vibraloom.calculators.lammps.output_reader import COLUMNS, read_dump, read_output, read_thermo
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import read_trajectory
from vibraloom.units import KCAL_PER_MOL_IN_EV

ATOMS = 5


def frame(step: int, rows: NDArray[np.float64], processes: int = 1, columns: str = COLUMNS) -> bytes:
    """One frame as dump_custom.cpp writes it."""
    head = struct.pack("<q10sii", -10, b"DUMPCUSTOM", 1, 2)
    head += struct.pack("<qqi6i6d", step, len(rows), 0, *[0] * 6, *[0.0, 9.0] * 3)
    head += struct.pack("<ii", rows.shape[1], 0) + struct.pack("<b", 0)
    head += struct.pack("<i", len(columns)) + columns.encode() + struct.pack("<i", processes)
    # Uneven shares, and other ones in each frame, as after a migration of atoms.
    cuts = np.linspace(0, len(rows), processes + 1).astype(int)
    cuts[1:-1] += step % 2
    shares = [rows[a:b] for a, b in pairwise(cuts)]
    return head + b"".join(struct.pack("<i", share.size) + share.tobytes() for share in shares)


def rows_of(step: int, offset: float = 0.0) -> NDArray[np.float64]:
    generator = np.random.default_rng(step)
    rows = np.empty((ATOMS, 7))
    rows[:, 0] = np.arange(1, ATOMS + 1)
    rows[:, 1:] = np.arange(6) + 10 * rows[:, :1] + 100 * step + offset
    return rows[generator.permutation(ATOMS)]


def segment(folder: Path, number: int, steps: range, offset: float = 0.0, processes: int = 1) -> Path:
    path = folder / f"dump-{number:04d}.bin"
    path.write_bytes(b"".join(frame(step, rows_of(step, offset), processes) for step in steps))
    lines = ["vibraloom: LAMMPS version 20250722", 'print "vibraloom: production"', "vibraloom: production"]
    lines += [
        "run 40 upto",
        "   Step          Temp          PotEng         KinEng         TotEng         Press",
    ]
    lines += [f"  {step}  {300 + step}  {-step - offset}  1.5  {1.5 - step - offset}  0.25" for step in steps]
    (folder / f"log-{number:04d}.lammps").write_text("\n".join([*lines, "Loop time of 0.1 on 1 procs", ""]))
    return path


def record(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "schema": 1,
        "timestep": 0.5,
        "every": 4,
        "steps": 40,
        "numbers": [79, 79, 8, 1, 1],
        "masses": [197.0, 197.0, 16.0, 1.0, 1.0],
        "cell": np.diag([9.0, 9.0, 9.0]).tolist(),
        "pbc": [True, True, False],
        "models": ["spc/fw", "heinz/lj"],
        "seed": 7,
        "replica": 2,
        "trajectory": "trajectory-00.h5",
    }
    return values | changes


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_atoms_come_back_in_the_order_of_their_ids(tmp_path: Path, processes: int) -> None:
    path = segment(tmp_path, 0, range(0, 44, 4), processes=processes)
    step, positions, velocities, rest = read_dump(path, ATOMS)
    assert step.tolist() == list(range(0, 44, 4))
    assert rest == 0
    expected = np.arange(3) + 10 * np.arange(1, ATOMS + 1)[:, None] + 100 * step[:, None, None]
    assert np.array_equal(positions, expected.astype(np.float32))
    assert np.array_equal(velocities, (expected + 3).astype(np.float32))


def test_a_finished_run_becomes_a_trajectory_with_energies_in_ev(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 44, 4))
    trajectory = read_trajectory(convert(tmp_path, record()))
    assert trajectory.frames == 11
    assert trajectory.frame_interval == 2.0
    assert np.allclose(trajectory.observables["potential_energy"], -trajectory.step * KCAL_PER_MOL_IN_EV)
    assert np.allclose(trajectory.observables["temperature"], 300 + trajectory.step)
    assert trajectory.attributes["engine_version"] == "20250722"
    assert trajectory.attributes["model"] == "spc/fw + heinz/lj"
    assert (
        trajectory.attributes["seed"],
        trajectory.attributes["replica"],
        trajectory.attributes["bead"],
    ) == (7, 2, 0)
    assert not (tmp_path / "incomplete.json").exists()


@pytest.mark.parametrize("cut", [1, 100, 300])
def test_a_truncated_last_frame_is_dropped_and_reported(tmp_path: Path, cut: int) -> None:
    path = segment(tmp_path, 0, range(0, 44, 4))
    path.write_bytes(path.read_bytes()[:-cut])
    output = read_output([tmp_path], record())
    assert output.last_step == 36
    assert not output.complete
    assert any("truncated last frame" in note for note in output.notes)
    written = convert(tmp_path, record())
    assert written.name == "incomplete.json"
    assert json.loads(written.read_text())["last_step"] == 36
    assert not (tmp_path / "trajectory-00.h5").exists()


@pytest.mark.parametrize("size", [0, 3, 20, 150])
def test_a_dump_cut_within_its_first_frame_holds_nothing(tmp_path: Path, size: int) -> None:
    path = segment(tmp_path, 0, range(0, 4, 4))
    path.write_bytes(path.read_bytes()[:size])
    report = json.loads(convert(tmp_path, record()).read_text())
    assert report["last_step"] == -1
    assert report["restart"] is None
    assert report["segments"] == 1


def test_a_later_segment_replaces_frames_beyond_the_checkpoint(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 32, 4))
    segment(tmp_path, 1, range(20, 44, 4), offset=0.25)
    output = read_output([tmp_path], record())
    assert output.trajectory is not None
    assert output.trajectory.step.tolist() == list(range(0, 44, 4))
    offsets = output.trajectory.positions[:, 0, 0] - 10 - 100 * output.trajectory.step
    assert offsets.tolist() == [0.0] * 5 + [0.25] * 6
    assert np.allclose(
        output.trajectory.observables["potential_energy"][4:6], np.array([-16.0, -20.25]) * KCAL_PER_MOL_IN_EV
    )
    assert output.notes == ["dump-0001.bin: replaces 3 earlier frame(s) from step 20 on"]


def test_segments_may_lie_in_the_folders_of_earlier_jobs(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    segment(tmp_path / "first", 0, range(0, 24, 4))
    segment(tmp_path / "second", 1, range(20, 44, 4))
    path = convert(tmp_path / "second", record(folders=["../first", "."]))
    assert read_trajectory(path).frames == 11


def test_a_gap_between_segments_is_refused(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 12, 4))
    segment(tmp_path, 1, range(20, 44, 4))
    with pytest.raises(InputError, match="frame 3 has step 20 after 8"):
        read_output([tmp_path], record())


def test_the_last_frame_without_an_energy_is_left_out(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 44, 4))
    log = tmp_path / "log-0000.lammps"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:-2]) + "\n  40  340  -4")
    assert read_output([tmp_path], record()).last_step == 36


def test_missing_energies_inside_a_run_are_refused(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 44, 4))
    log = tmp_path / "log-0000.lammps"
    log.write_text("\n".join(line for line in log.read_text().splitlines() if not line.startswith("  12 ")))
    with pytest.raises(ComputationError, match="no energies for step 12"):
        read_output([tmp_path], record())


def test_warnings_between_the_energies_do_no_harm(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 44, 4))
    log = tmp_path / "log-0000.lammps"
    log.write_text(log.read_text().replace("  12  ", "WARNING: a b c d e (src/x.cpp:1)\n  12  "))
    assert len(read_thermo(log)) == 11


@pytest.mark.parametrize(
    "line",
    ["ERROR: Lost atoms: original 24 current 23 (src/thermo.cpp:494)", "ERROR on proc 0: Out of range atoms"],
)
def test_an_error_of_lammps_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    segment(tmp_path, 0, range(0, 24, 4))
    with (tmp_path / "log-0000.lammps").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(ComputationError) as caught:
        convert(tmp_path, record())
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_energy_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    segment(tmp_path, 0, range(0, 44, 4))
    log = tmp_path / "log-0000.lammps"
    log.write_text(log.read_text().replace("  12  312  -12.0", "  12  312  nan"))
    with pytest.raises(ComputationError, match="12 312 nan"):
        read_output([tmp_path], record())


def test_a_coordinate_that_is_not_a_number_names_its_step(tmp_path: Path) -> None:
    path = segment(tmp_path, 0, range(0, 44, 4))
    rows = rows_of(8)
    path.write_bytes(path.read_bytes().replace(rows.tobytes(), np.where(rows == rows[2, 3], np.nan, rows).tobytes()))
    with pytest.raises(ComputationError, match="step 8: a coordinate is not a number"):
        read_dump(path, ATOMS)


def test_a_foreign_dump_is_refused(tmp_path: Path) -> None:
    path = segment(tmp_path, 0, range(0, 8, 4))
    with pytest.raises(InputError, match=r"5 atoms in a frame, 6 in job\.json"):
        read_dump(path, 6)
    path.write_bytes(frame(0, rows_of(0), columns="id x y z vx vy vz"))
    with pytest.raises(InputError, match="allowed: 'id xu yu zu vx vy vz'"):
        read_dump(path, ATOMS)
    path.write_text("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n5\n")
    with pytest.raises(InputError, match="not a binary LAMMPS dump"):
        read_dump(path, ATOMS)


def test_a_missing_key_of_the_record_is_named(tmp_path: Path) -> None:
    incomplete = record()
    del incomplete["steps"]
    with pytest.raises(InputError, match=r"job.json: key 'steps' is missing"):
        convert(tmp_path, incomplete)
