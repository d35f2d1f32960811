"""Foreign trajectories: the same numbers from every format, units asked for, damage named by its frame."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trajectory_samples import (
    AKMA_FS,
    ATOMS,
    CASES,
    CELL,
    FRAMES,
    INTERVAL,
    MASSES,
    POSITIONS,
    STRIDE,
    VELOCITIES,
    write_cp2k,
    write_dcd,
    write_dump,
    write_extxyz,
    write_h5md_of_others,
    write_topology,
)

from vibraloom.errors import InputError, MissingError
from vibraloom.files import frames as frames_module
from vibraloom.files import text_frames
from vibraloom.files.velocities import UNITS, read_positions, read_velocities
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_topology(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_every_format_gives_the_same_velocities(folder: Path, case: str) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    found = read_velocities(name, **options)
    # float32, and half of the last digit that is printed: the tenth decimal, of ASE the eighth of a momentum
    printed = {"cp2k": 0.5e-10 * UNITS["bohr/au_time"], "extxyz by ASE": 0.5e-8 / (10.18 * MASSES.min())}.get(case, 0.5e-10)
    # of i-PI six digits
    relative = 5e-6 if case == "i-pi" else 2e-7
    np.testing.assert_allclose(np.asarray(found.velocities), VELOCITIES, rtol=relative, atol=printed)
    np.testing.assert_allclose(found.masses, MASSES, rtol=1e-12)
    assert found.timestep == pytest.approx(INTERVAL, rel=1e-6)
    assert len(set(found.species)) == 4 or case.startswith("h5md of") or case == "h5md, compressed"
    if case == "cp2k":
        assert found.cell is None
    else:
        np.testing.assert_allclose(found.cell, CELL, atol=1e-5 if case == "i-pi" else 2e-6)
    np.testing.assert_array_equal(found.velocities.read(3, 5), np.asarray(found.velocities)[3:5])
    assert found.velocities.shape == (FRAMES, ATOMS, 3)
    squares = MASSES @ (VELOCITIES**2).sum(axis=2).mean(axis=0) * AMU_ANGSTROM2_PER_FS2_IN_EV
    assert found.kinetic_temperature == pytest.approx(squares / (3 * ATOMS * BOLTZMANN_EV_PER_K), rel=1e-5)
    if found.steps is not None:
        np.testing.assert_array_equal(found.steps, np.arange(FRAMES) * STRIDE)


@pytest.mark.parametrize("case", ["extxyz", "lammps, real", "h5md", "ase", "cp2k", "dcd", "trr"])
def test_positions_come_from_the_same_files(folder: Path, case: str) -> None:
    name, write, options = CASES[case]
    chosen = slice(None)
    options = {key: value for key, value in options.items() if key != "unit"}
    if case == "cp2k":
        name, options["unit"] = "run-pos-1.xyz", "angstrom"
        write_cp2k(folder / name, POSITIONS)
    elif case == "dcd":
        options["unit"] = "angstrom"
        write_dcd(folder / name, POSITIONS, kind=b"CORD")
    else:
        write(folder / name)
    if case == "trr":
        chosen = slice(None, None, 2)
    found = read_positions(name, **options)
    np.testing.assert_allclose(np.asarray(found.values), POSITIONS[chosen], rtol=2e-7, atol=1e-6)


@pytest.mark.parametrize("case", ["extxyz", "cp2k", "lammps, real"])
@pytest.mark.parametrize("block", [64, 777, 5000])
def test_where_the_text_is_cut_into_blocks_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, case: str, block: int
) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    whole = np.asarray(read_velocities(name, **options).velocities)
    monkeypatch.setattr(text_frames, "BLOCK", block)
    np.testing.assert_array_equal(np.asarray(read_velocities(name, **options).velocities), whole)


def test_many_frames_go_to_a_scratch_file_that_vanishes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_extxyz(folder / "run.extxyz")
    kept = read_velocities("run.extxyz", timestep=1.0)
    (folder / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "scratch"))
    monkeypatch.setattr(frames_module, "IN_MEMORY", 100)
    found = read_velocities("run.extxyz", timestep=1.0)
    np.testing.assert_array_equal(np.asarray(found.velocities), np.asarray(kept.velocities))
    np.testing.assert_array_equal(found.velocities.read(7, 9), np.asarray(kept.velocities)[7:9])
    assert any("scratch" in note for note in found.notes)
    assert not any("TMPDIR" in note for note in kept.notes)
    assert list((folder / "scratch").iterdir()) == []


def test_a_unit_that_the_file_does_not_state_is_asked_for(folder: Path) -> None:
    write_cp2k(folder / "run-vel-1.xyz", VELOCITIES / UNITS["bohr/au_time"])
    write_cp2k(folder / "run-pos-1.xyz", POSITIONS)
    write_cp2k(folder / "run.xyz", VELOCITIES)
    write_dcd(folder / "run.dcd", VELOCITIES)
    write_dcd(folder / "pos.dcd", POSITIONS, kind=b"CORD")
    write_h5md_of_others(folder / "run.h5", unit=None)
    write_dump(folder / "lj.dump", units="lj")
    for call, message in (
        (lambda: read_velocities("run-vel-1.xyz", timestep=None), "CP2K writes bohr/au_time"),
        (lambda: read_positions("run-pos-1.xyz", timestep=None), "--position-unit"),
        (lambda: read_velocities("run-pos-1.xyz", timestep=None, unit="angstrom/fs"), "may be positions"),
        (lambda: read_velocities("run.dcd", timestep=INTERVAL, topology="start.xyz"), "--velocity-unit"),
        (lambda: read_velocities("pos.dcd", timestep=INTERVAL, topology="start.xyz"), "holds coordinates"),
        (lambda: read_positions("run.dcd", timestep=INTERVAL, topology="start.xyz"), "holds velocities"),
        (lambda: read_velocities("run.h5", timestep=None), "no attribute 'unit'"),
        (lambda: read_velocities("lj.dump", timestep=1.0), "'lj' are not read"),
        (lambda: read_velocities("run.xyz", timestep=None, unit="furlong"), "allowed: angstrom/fs"),
        (lambda: read_velocities("run.dcd", timestep=INTERVAL, unit="angstrom/fs"), "--topology"),
    ):
        with pytest.raises(InputError, match=message.replace("(", r"\(")):
            call()


def test_a_unit_is_inferred_only_where_the_temperature_leaves_no_choice(folder: Path) -> None:
    def written(factor: float) -> str:
        write_dump(folder / "run.dump", factor=factor)
        return "run.dump"

    for factor, unit in ((1.0, "angstrom/fs"), (1e3, "angstrom/ps")):
        found = read_velocities(written(factor), timestep=1.0)
        assert f"{unit} inferred" in found.notes[0]
        np.testing.assert_allclose(np.asarray(found.velocities), VELOCITIES, rtol=1e-6, atol=1e-9)
    for factor in (1 / UNITS["bohr/au_time"], 1e2, 20.0, 1e5):
        with pytest.raises(InputError, match="--velocity-unit"):
            read_velocities(written(factor), timestep=1.0)


@pytest.mark.parametrize(
    ("case", "wrong"),
    [("cp2k", 0.5), ("lammps, time", 0.5), ("dcd", 0.5), ("trr", 0.5), ("h5md", 0.5), ("h5md of others", 2.001)],
)
def test_a_time_step_at_odds_with_the_file_is_refused(folder: Path, case: str, wrong: float) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    with pytest.raises(InputError, match="fs apart"):
        read_velocities(name, **(options | {"timestep": wrong}))
    assert read_velocities(name, **(options | {"timestep": INTERVAL})).timestep == pytest.approx(INTERVAL, rel=1e-6)


def test_a_time_in_the_title_of_extended_xyz_must_fit_in_some_unit(folder: Path) -> None:
    write_extxyz(folder / "run.extxyz", extra=" Time={time}")
    for timestep in (INTERVAL, INTERVAL * 1e3):
        assert read_velocities("run.extxyz", timestep=timestep).timestep == timestep
    with pytest.raises(InputError, match=r"2000 or 0\.002 fs apart"):
        read_velocities("run.extxyz", timestep=0.5)


def test_a_time_between_frames_is_a_multiple_of_the_integration_step_of_ase(folder: Path) -> None:
    from ase import Atoms, units
    from ase.calculators.lj import LennardJones
    from ase.io.trajectory import Trajectory as AseTrajectory
    from ase.md.verlet import VelocityVerlet

    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1.2]], velocities=[[0, 0, 0.01], [0, 0, -0.01]])
    atoms.calc = LennardJones()
    dynamics = VelocityVerlet(atoms, timestep=0.8 * units.fs)
    with AseTrajectory("run.traj", "w", atoms) as trajectory:
        dynamics.attach(trajectory.write, interval=2)
        trajectory.set_description(dynamics.todict())
        dynamics.run(6)
    assert read_velocities("run.traj", timestep=1.6).timestep == 1.6
    with pytest.raises(InputError, match="no multiple"):
        read_velocities("run.traj", timestep=1.0)


def test_a_restart_that_repeats_its_first_step_is_joined_by_step(folder: Path) -> None:
    steps = [0, 4, 8, 12, 12, 16, 20, 24, 24, 28, 32]
    write_cp2k(folder / "run-vel-1.xyz", VELOCITIES, steps)
    found = read_velocities("run-vel-1.xyz", timestep=None, unit="angstrom/fs")
    np.testing.assert_allclose(np.asarray(found.velocities), VELOCITIES, atol=1e-9)
    np.testing.assert_allclose(found.velocities.read(2, 7), VELOCITIES[2:7], atol=1e-9)
    np.testing.assert_array_equal(found.steps, np.arange(FRAMES) * STRIDE)
    assert any("12, 24" in note for note in found.notes)
    text = Path("run-vel-1.xyz").read_text().split("\n")
    at = 4 * (ATOMS + 2) + 2
    text[at : at + ATOMS] = [
        line[:3] + "".join(f"{-float(word):20.10f}" for word in line.split()[1:]) for line in text[at : at + ATOMS]
    ]
    Path("run-vel-1.xyz").write_text("\n".join(text))
    with pytest.raises(InputError, match="repeats step 12 with other values"):
        read_velocities("run-vel-1.xyz", timestep=None, unit="angstrom/fs")


@pytest.mark.parametrize(
    ("steps", "message"), [([0, 4, 8, 16, 20], "step 16 after 8"), ([0, 4, 8, 4, 8, 12], "step 4 after 8"), ([0, 4], "")]
)
def test_steps_that_jump_or_run_back_are_refused(folder: Path, steps: list[int], message: str) -> None:
    write_cp2k(folder / "run-vel-1.xyz", VELOCITIES, steps)
    if not message:
        assert len(read_velocities("run-vel-1.xyz", timestep=2.0, unit="angstrom/fs").velocities) == 2
        return
    with pytest.raises(InputError, match=message):
        read_velocities("run-vel-1.xyz", timestep=2.0, unit="angstrom/fs")


def _edited(path: Path, row: int, edit: Callable[[list[str]], None]) -> None:
    """Change the words of line ``row`` of a text."""
    lines = path.read_text().split("\n")
    words = lines[row].split()
    edit(words)
    lines[row] = " ".join(words)
    path.write_text("\n".join(lines))


DAMAGE: list[tuple[Callable[[list[str]], Any], str]] = [
    (lambda words: words.__setitem__(-1, "nan"), "not finite"),
    (lambda words: words.__setitem__(-2, "-inf"), "not finite"),
    (lambda words: words.__setitem__(-1, "*" * 18), "did not fit its column"),
    (lambda words: words.__setitem__(-1, "1e40"), "not finite, or absurd"),
    (lambda words: words.__setitem__(-1, "0.1O"), "no number"),
    (lambda words: words.pop(), "columns, not"),
    (lambda words: words.append("0.0"), "columns, not"),
]


@pytest.mark.parametrize("case", ["extxyz", "lammps, real", "cp2k"])
@pytest.mark.parametrize("damage", range(len(DAMAGE)))
def test_a_bad_row_is_named_with_its_frame(folder: Path, case: str, damage: int) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    edit, message = DAMAGE[damage]
    lines = Path(name).read_text().split("\n")
    per_frame = (len(lines) - 1) // FRAMES
    _edited(folder / name, len(lines) - 2 - 2 * per_frame, edit)
    with pytest.raises(InputError, match=message) as refused:
        read_velocities(name, **options)
    assert f"frame {FRAMES - 3}" in str(refused.value)
    assert f"row {ATOMS - 1}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_atoms_that_change_their_number_name_or_id_are_refused(folder: Path) -> None:
    write_extxyz(folder / "run.extxyz")
    good = Path("run.extxyz").read_text()
    per_frame = ATOMS + 2
    _edited(folder / "run.extxyz", 3 * per_frame + 2, lambda words: words.__setitem__(0, "F"))
    with pytest.raises(InputError, match="frame 3, row 0 is another atom"):
        read_velocities("run.extxyz", timestep=1.0)
    Path("run.extxyz").write_text(good.replace("\n5\n", "\n4\n", 1))
    with pytest.raises(InputError, match="frame 1 has 4 atoms, frame 0 has 5"):
        read_velocities("run.extxyz", timestep=1.0)
    Path("run.extxyz").write_text(good[: -len(good) // 3])
    with pytest.raises(InputError, match="frame 6 is cut off"):
        read_velocities("run.extxyz", timestep=1.0)
    write_dump(folder / "run.dump", units="real")
    lines = Path("run.dump").read_text().split("\n")
    _edited(folder / "run.dump", len(lines) - 2, lambda words: words.__setitem__(0, "4"))
    with pytest.raises(InputError, match="frame 8, step 32, row 4 has an atom id"):
        read_velocities("run.dump", timestep=2.0)


@pytest.mark.parametrize("case", ["dcd", "trr", "ase", "h5md"])
def test_a_binary_file_that_is_cut_off_or_holds_nan_is_refused(folder: Path, case: str) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    whole = Path(name).read_bytes()
    for cut in (len(whole) - 5, len(whole) // 2, 100, 3, 0):
        Path(name).write_bytes(whole[:cut])
        with pytest.raises(InputError) as refused:
            read_velocities(name, **options)
        assert "\n" not in str(refused.value)
    if case in ("dcd", "trr"):
        number = np.float32(VELOCITIES[4, 2, 1] * (AKMA_FS if case == "dcd" else 100))
        order = "<f4" if case == "dcd" else ">f4"
        at = whole.index(np.array(number, dtype=order).tobytes())
        Path(name).write_bytes(whole[:at] + np.array(np.nan, dtype=order).tobytes() + whole[at + 4 :])
        with pytest.raises(InputError, match="frame 4, atom 2 is nan"):
            np.asarray(read_velocities(name, **options).velocities)


def test_xtc_holds_positions_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "run.xtc").write_bytes(bytes(100))
    with pytest.raises(InputError, match="no velocities"):
        read_velocities("run.xtc", timestep=None)
    monkeypatch.setitem(__import__("sys").modules, "chemfiles", None)
    with pytest.raises(MissingError, match="pip install"):
        read_positions("run.xtc", timestep=None, topology="start.xyz")


def test_xtc_and_trr_agree_with_chemfiles(folder: Path) -> None:
    chemfiles = pytest.importorskip("chemfiles")
    for suffix in ("xtc", "trr"):
        with chemfiles.Trajectory(f"run.{suffix}", "w") as trajectory:
            for frame in range(FRAMES):
                one = chemfiles.Frame()
                one.resize(ATOMS)
                one.positions[:] = POSITIONS[frame]
                one.add_velocities()
                one.velocities[:] = VELOCITIES[frame] * 1e3
                one.step = frame * STRIDE
                one["time"] = frame * INTERVAL * 1e-3
                one.cell = chemfiles.UnitCell(CELL.T)
                trajectory.write(one)
    xtc = read_positions("run.xtc", timestep=None, topology="start.xyz")
    np.testing.assert_allclose(np.asarray(xtc.values), POSITIONS, atol=0.0051)
    assert xtc.timestep == pytest.approx(INTERVAL, rel=1e-6)
    np.testing.assert_allclose(xtc.cell, CELL, atol=1e-5)
    trr = read_velocities("run.trr", timestep=None, topology="start.xyz")
    np.testing.assert_allclose(np.asarray(trr.velocities), VELOCITIES, rtol=1e-6, atol=1e-9)
    assert trr.timestep == pytest.approx(INTERVAL, rel=1e-6)
