"""Foreign trajectories: the same numbers from every format, units asked for, damage named by its frame."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vibraloom.errors import InputError, MissingError
from vibraloom.files import frames as frames_module
from vibraloom.files import row_loops, text_frames
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.files.velocities import UNITS, read_positions, read_velocities
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

FRAMES, ATOMS = 9, 5
SPECIES = ("O", "H", "H", "Cl", "Na")
MASSES = np.array([15.999, 1.008, 1.008, 35.45, 22.98976928])
CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-0.5, 0.75, 7.0]])
_RANDOM = np.random.default_rng(7)
POSITIONS = _RANDOM.uniform(-3, 12, (FRAMES, ATOMS, 3))
VELOCITIES = _RANDOM.normal(size=(FRAMES, ATOMS, 3)) * np.sqrt(
    BOLTZMANN_EV_PER_K * 300 / MASSES / AMU_ANGSTROM2_PER_FS2_IN_EV
).reshape(1, -1, 1)
AKMA_FS = 48.88821291
STEP_FS = 0.5
STRIDE = 4
INTERVAL = STEP_FS * STRIDE
Writer = Callable[..., dict[str, Any]]


def _extxyz(path: Path, *, momenta: bool = False, extra: str = "") -> None:
    lattice = " ".join(map(repr, CELL.ravel().tolist()))
    name = "momenta" if momenta else "vel"
    text = []
    for frame in range(FRAMES):
        title = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:{name}:R:3 pbc="T T T" energy={-3.5 - frame}'
        text += [str(ATOMS), title + extra.format(step=frame * STRIDE, time=frame * INTERVAL)]
        scale = MASSES * math.sqrt(AMU_ANGSTROM2_PER_FS2_IN_EV) if momenta else np.ones(ATOMS)
        for atom in range(ATOMS):
            numbers = [*POSITIONS[frame, atom], *(VELOCITIES[frame, atom] * scale[atom])]
            text.append(SPECIES[atom] + "".join(f" {number:18.10f}" for number in numbers))
    path.write_text("\n".join(text) + "\n")


def _cp2k(path: Path, values: np.ndarray, steps: list[int] | None = None) -> None:
    text = []
    for frame, step in enumerate(steps or [frame * STRIDE for frame in range(FRAMES)]):
        text += [f"{ATOMS:8d}", f" i = {step:8d}, time = {step * STEP_FS:12.3f}, E = {-17.1641447:20.10f}"]
        which = min(frame, FRAMES - 1) if steps is None else step // STRIDE
        text += [f"{SPECIES[atom]:>3s}" + "".join(f"{x:20.10f}" for x in values[which, atom]) for atom in range(ATOMS)]
    path.write_text("\n".join(text) + "\n")


def _dump(path: Path, *, units: str | None = None, time: bool = False, factor: float = 1.0) -> None:
    # the bounding box of CELL, as LAMMPS prints it
    xy, xz, yz = CELL[1, 0], CELL[2, 0], CELL[2, 1]
    bounds = [
        (min(0, xy, xz, xy + xz), CELL[0, 0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), CELL[1, 1] + max(0, yz), xz),
        (0, CELL[2, 2], yz),
    ]
    text = []
    for frame in range(FRAMES):
        if units and frame == 0:
            text += ["ITEM: UNITS", units]
        if time:
            text += ["ITEM: TIME", f"{frame * INTERVAL:g}"]
        text += ["ITEM: TIMESTEP", str(frame * STRIDE), "ITEM: NUMBER OF ATOMS", str(ATOMS)]
        text += ["ITEM: BOX BOUNDS xy xz yz pp pp pp", *(" ".join(f"{x:.16e}" for x in row) for row in bounds)]
        text += ["ITEM: ATOMS id type element xu yu zu vx vy vz"]
        for atom in np.random.default_rng(frame).permutation(ATOMS):
            numbers = [*POSITIONS[frame, atom], *(VELOCITIES[frame, atom] * factor)]
            text.append(f"{(atom + 1) * 3} {atom + 1} {SPECIES[atom]} " + " ".join(f"{x:.10g}" for x in numbers) + " ")
    path.write_text("\n".join(text) + "\n")


def _dcd(path: Path, values: np.ndarray, *, kind: bytes = b"VELD", order: str = "<", delta: float = STEP_FS / AKMA_FS) -> None:
    def record(body: bytes) -> bytes:
        return struct.pack(f"{order}i", len(body)) + body + struct.pack(f"{order}i", len(body))

    control = [len(values), 0, STRIDE, 0, 0, 0, 0, 0, 0]
    head = kind + struct.pack(f"{order}9i", *control) + struct.pack(f"{order}f", delta)
    head += struct.pack(f"{order}10i", 1, 0, 0, 0, 0, 0, 0, 0, 0, 24)
    lengths = np.linalg.norm(CELL, axis=1)
    a, b, c = CELL / lengths[:, None]
    cell = (lengths[0], math.degrees(math.acos(a @ b)), lengths[1], math.degrees(math.acos(a @ c)))
    cell += (math.degrees(math.acos(b @ c)), lengths[2])
    text = record(head) + record(struct.pack(f"{order}i", 1) + b"made for a test".ljust(80))
    text += record(struct.pack(f"{order}i", ATOMS))
    for frame in values:
        text += record(struct.pack(f"{order}6d", *cell))
        text += b"".join(record(frame[:, axis].astype(f"{order}f4").tobytes()) for axis in range(3))
    path.write_bytes(text)


def _trr(path: Path, *, width: int = 4) -> None:
    """Positions in every second frame only, as nstxout = 2 nstvout."""
    text = b""
    real = f">f{width}"
    for frame in range(FRAMES):
        with_positions = frame % 2 == 0
        sizes = [0, 0, 9 * width, 0, 0, 0, 0, 3 * ATOMS * width * with_positions, 3 * ATOMS * width, 0]
        text += struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file" + struct.pack(">13i", *sizes, ATOMS, frame * STRIDE, 0)
        text += np.array([frame * INTERVAL * 1e-3, 0.0], dtype=real).tobytes() + (CELL / 10).astype(real).tobytes()
        if with_positions:
            text += (POSITIONS[frame] / 10).astype(real).tobytes()
        text += (VELOCITIES[frame] * 100).astype(real).tobytes()
    path.write_bytes(text)


def _h5md_of_others(path: Path, *, unit: str | None = "nm ps-1", chunks: bool = False) -> None:
    with h5py.File(path, "w") as handle:
        handle.create_group("h5md").attrs["version"] = [1, 1]
        group = handle.create_group("particles/trajectory")
        group["species"] = np.arange(ATOMS)
        group["mass"] = MASSES
        group["mass"].attrs["unit"] = "u"
        edges = group.create_dataset("box/edges", data=CELL / 10)
        edges.attrs["unit"] = "nm"
        options = {"chunks": (2, 3, 3), "compression": "gzip"} if chunks else {}
        value = group.create_dataset("velocity/value", data=VELOCITIES * 100, dtype="f4", **options)
        if unit:
            value.attrs["unit"] = unit
        group["velocity/step"] = np.arange(FRAMES) * STRIDE
        group["velocity/time"] = np.arange(FRAMES) * INTERVAL * 1e-3
        group["velocity/time"].attrs["unit"] = "ps"


def _ours(path: Path) -> None:
    numbers = np.array([8, 1, 1, 17, 11])
    step = np.arange(FRAMES, dtype=np.int64) * STRIDE
    write_trajectory(path, Trajectory(numbers, MASSES, step, STEP_FS, POSITIONS, VELOCITIES, CELL, (True,) * 3))


def _ase(path: Path) -> None:
    from ase import Atoms, units
    from ase.io import write

    frames = [
        Atoms(SPECIES, positions=POSITIONS[frame], cell=CELL, pbc=True, velocities=VELOCITIES[frame] / units.fs)
        for frame in range(FRAMES)
    ]
    write(path, frames)


def _topology(folder: Path) -> Path:
    path = folder / "start.xyz"
    path.write_text(f"{ATOMS}\n\n" + "".join(f"{name} 0 0 0\n" for name in SPECIES))
    return path


CASES: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "extxyz": ("run.extxyz", _extxyz, {"timestep": INTERVAL, "unit": "angstrom/fs"}),
    "extxyz, unit inferred": ("run.xyz", _extxyz, {"timestep": INTERVAL}),
    "extxyz, momenta": ("run.extxyz", lambda path: _extxyz(path, momenta=True), {"timestep": INTERVAL}),
    "extxyz by ASE": ("run.extxyz", _ase, {"timestep": INTERVAL}),
    "cp2k": (
        "run-vel-1.xyz",
        lambda path: _cp2k(path, VELOCITIES / UNITS["bohr/au_time"]),
        {"timestep": None, "unit": "bohr/au_time"},
    ),
    "lammps, real": ("run.lammpstrj", lambda path: _dump(path, units="real"), {"timestep": INTERVAL}),
    "lammps, metal": ("run.dump", lambda path: _dump(path, units="metal", factor=1e3), {"timestep": INTERVAL}),
    "lammps, time": ("run.dump", lambda path: _dump(path, units="real", time=True), {"timestep": None}),
    "dcd": (
        "run.dcd",
        lambda path: _dcd(path, VELOCITIES * AKMA_FS),
        {"timestep": INTERVAL, "unit": "angstrom/akma", "topology": "start.xyz"},
    ),
    "dcd, big endian": (
        "run.dcd",
        lambda path: _dcd(path, VELOCITIES, order=">", kind=b"CORD", delta=STEP_FS),
        {"timestep": INTERVAL, "unit": "angstrom/fs", "topology": "start.xyz"},
    ),
    "trr": ("run.trr", _trr, {"timestep": None, "topology": "start.xyz"}),
    "trr, double": ("run.trr", lambda path: _trr(path, width=8), {"timestep": INTERVAL, "topology": "start.xyz"}),
    "h5md": ("run.h5", _ours, {"timestep": None}),
    "h5md of others": ("run.h5md", _h5md_of_others, {"timestep": None}),
    "h5md, compressed": ("run.h5md", lambda path: _h5md_of_others(path, chunks=True), {"timestep": INTERVAL}),
    "ase": ("run.traj", _ase, {"timestep": INTERVAL}),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _topology(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_every_format_gives_the_same_velocities(folder: Path, case: str) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    found = read_velocities(name, **options)
    # float32, and half of the last digit that is printed: the tenth decimal, of ASE the eighth of a momentum
    printed = {"cp2k": 0.5e-10 * UNITS["bohr/au_time"], "extxyz by ASE": 0.5e-8 / (10.18 * MASSES.min())}.get(case, 0.5e-10)
    np.testing.assert_allclose(np.asarray(found.velocities), VELOCITIES, rtol=2e-7, atol=printed)
    np.testing.assert_allclose(found.masses, MASSES, rtol=1e-12)
    assert found.timestep == pytest.approx(INTERVAL, rel=1e-6)
    assert len(set(found.species)) == 4 or case.startswith("h5md of") or case == "h5md, compressed"
    if case == "cp2k":
        assert found.cell is None
    else:
        np.testing.assert_allclose(found.cell, CELL, atol=2e-6)
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
        _cp2k(folder / name, POSITIONS)
    elif case == "dcd":
        options["unit"] = "angstrom"
        _dcd(folder / name, POSITIONS, kind=b"CORD")
    else:
        write(folder / name)
    if case == "trr":
        chosen = slice(None, None, 2)
    found = read_positions(name, **options)
    np.testing.assert_allclose(np.asarray(found.values), POSITIONS[chosen], rtol=2e-7, atol=1e-6)


def test_decimals_are_read_as_python_reads_them() -> None:
    generator = np.random.default_rng(3)
    texts = [format(value, form) for form in (".6g", ".8f", ".10f", ".15g") for value in generator.normal(size=400) * 1e3]
    texts += ["0", "-0", "+1.5", ".5", "5.", "1e5", "1E-5", "-2.5e+03", "000123.4500", "123456789012345", "1e-22", "9.5e14"]
    for text in texts:
        assert row_loops_value(text) == float(text), text
    assert math.copysign(1.0, row_loops_value("-0.0")) == -1.0
    long = list(map(repr, (generator.normal(size=1000) * 10.0 ** generator.integers(-250, 14, 1000)).tolist()))
    long += [f"{value:.25f}" for value in generator.normal(size=300)]
    long += ["0." + "0" * 30 + "1234567890123456789012345", "123456789012345.678901234567890123"]
    for text in long:
        assert abs(row_loops_value(text) - float(text)) <= math.ulp(float(text)), text
    assert row_loops_value("1e-400") == row_loops_value("0e999") == 0.0


def row_loops_value(text: str) -> float:
    value, end, trouble = row_loops.decimal(
        np.frombuffer(text.encode() + b"\n" + bytes(row_loops.PADDING), dtype=np.uint8), np.uint64(0), *row_loops.POWERS
    )
    assert (trouble, end) == (row_loops.GOOD, len(text.encode())), text
    return float(value)


NO_NUMBERS = ["", "-", ".", "e5", "1e", "1e+", "nan", "inf", "-inf", "****", "1.2.3", "1,5", "1d5", "0x10", "1_0", "１", "1-2"]


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1e16", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    buffer = np.frombuffer(text.encode() + b"\n" + bytes(row_loops.PADDING), dtype=np.uint8)
    assert row_loops.decimal(buffer, np.uint64(0), *row_loops.POWERS)[2] != row_loops.GOOD


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
    _extxyz(folder / "run.extxyz")
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
    _cp2k(folder / "run-vel-1.xyz", VELOCITIES / UNITS["bohr/au_time"])
    _cp2k(folder / "run-pos-1.xyz", POSITIONS)
    _cp2k(folder / "run.xyz", VELOCITIES)
    _dcd(folder / "run.dcd", VELOCITIES)
    _dcd(folder / "pos.dcd", POSITIONS, kind=b"CORD")
    _h5md_of_others(folder / "run.h5", unit=None)
    _dump(folder / "lj.dump", units="lj")
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
        _dump(folder / "run.dump", factor=factor)
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
    _extxyz(folder / "run.extxyz", extra=" Time={time}")
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
    _cp2k(folder / "run-vel-1.xyz", VELOCITIES, steps)
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
    _cp2k(folder / "run-vel-1.xyz", VELOCITIES, steps)
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
    _extxyz(folder / "run.extxyz")
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
    _dump(folder / "run.dump", units="real")
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
            read_velocities(name, **options)


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
