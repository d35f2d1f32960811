"""H5MD larger than the memory at hand: frames are read as they are needed, and the process does not grow with the file."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files import frames as frames_module
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.files.velocities import read_velocities

ATOMS = 1500


def _large(path: Path, frames: int) -> None:
    """Velocities of ``frames`` frames, whose numbers are those of frame mod 100, times 1 + frame // 100."""
    few = np.random.default_rng(0).normal(size=(100, ATOMS, 3)).astype(np.float32) * np.float32(0.01)
    numbers = np.array([8, 1, 1] * (ATOMS // 3))
    masses = np.where(numbers == 8, 15.999, 1.008)
    start = Trajectory(numbers, masses, np.arange(2), 0.5, np.zeros((2, ATOMS, 3)), np.zeros((2, ATOMS, 3)))
    write_trajectory(path, start)
    with h5py.File(path, "r+") as handle:
        particles = handle["particles/all"]
        for name in ("step", "time", "position", "velocity"):
            del particles[name]
        particles["step"] = np.arange(frames, dtype=np.int64)
        particles["time"] = np.arange(frames) * 0.5
        group = particles.create_group("velocity")
        group["step"], group["time"] = particles["step"], particles["time"]
        value = group.create_dataset("value", shape=(frames, ATOMS, 3), dtype="f4")
        value.attrs["unit"] = "angstrom/fs"
        for first in range(0, frames, 100):
            value[first : first + 100] = few[: min(100, frames - first)] * np.float32(1 + first // 100)


_GROWTH = """
import resource, sys
from vibraloom.files.velocities import read_velocities
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_velocities(sys.argv[1], timestep=None)
before = peak()
found = read_velocities(sys.argv[2], timestep=None)
total = sum(float(values.sum(dtype=float)) for _, values in found.velocities.stretches())
print(peak() - before, total, found.velocities.shape[0])
"""


def test_reading_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    _large(tmp_path / "small.h5", 600)
    _large(tmp_path / "large.h5", 12_000)
    size = (tmp_path / "large.h5").stat().st_size
    assert size > 200e6
    command = [sys.executable, "-c", _GROWTH, str(tmp_path / "small.h5"), str(tmp_path / "large.h5")]
    grown, total, frames = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    few = np.random.default_rng(0).normal(size=(100, ATOMS, 3)).astype(np.float32) * np.float32(0.01)
    blocks = np.arange(1, 121)
    expected = sum(float((few * np.float32(block)).sum(dtype=float)) for block in blocks)
    assert frames == 12_000
    assert total == pytest.approx(expected, rel=1e-9)
    # kilobytes: a few stretches of 8 MiB, not 216 MB
    assert grown < 20_000


def test_any_stretch_is_that_of_the_whole(tmp_path: Path) -> None:
    _large(tmp_path / "run.h5", 250)
    found = read_velocities(tmp_path / "run.h5", timestep=0.5)
    whole = np.asarray(found.velocities)
    for start, stop in ((0, 1), (99, 101), (17, 203), (249, 250), (250, 250)):
        np.testing.assert_array_equal(found.velocities.read(start, stop), whole[start:stop])
    joined = np.concatenate([values for _, values in found.velocities.stretches(100_000)])
    np.testing.assert_array_equal(joined, whole)
    squares = (whole.astype(float) ** 2).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(found.mean_squares, squares, rtol=1e-12)


def test_a_number_that_is_not_finite_is_found_where_it_stands(tmp_path: Path) -> None:
    _large(tmp_path / "run.h5", 1500)
    with h5py.File(tmp_path / "run.h5", "r+") as handle:
        handle["particles/all/velocity/value"][1234, 77, 2] = np.inf
    frames = read_velocities(tmp_path / "run.h5", timestep=None).velocities
    for atoms in (None, slice(64, 128)):
        with pytest.raises(InputError, match=r"run\.h5: velocities of frame 1234, atom 77 is inf"):
            frames.read(1000, 1300, atoms)
    assert np.isfinite(frames.read(1000, 1300, slice(0, 77))).all()


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nm ps-1", 1e-2), ("Angstrom fs-1", 1.0), ("angstrom/ps", 1e-3), ("nm/ps", 1e-2), ("Å ps^-1", 1e-3), ("m s-1", 1e-5)],
)
def test_the_unit_of_another_program_is_taken_from_its_file(tmp_path: Path, unit: str, factor: float) -> None:
    values = np.random.default_rng(0).normal(size=(4, 2, 3))
    with h5py.File(tmp_path / "run.h5", "w") as handle:
        handle["particles/water/species"] = [0, 1]
        handle["particles/water/velocity/value"] = values
        handle["particles/water/velocity/value"].attrs["unit"] = unit
        handle["particles/water/velocity/step"] = 10
        handle["particles/water/velocity/time"] = 0.02
        handle["particles/water/velocity/time"].attrs["unit"] = "ps"
    found = read_velocities(tmp_path / "run.h5", timestep=None, elements=["O", "H"])
    np.testing.assert_allclose(np.asarray(found.velocities), values * factor, rtol=2e-7)
    assert (found.timestep, found.species) == (20.0, ("O", "H"))
    np.testing.assert_array_equal(found.steps, [0, 10, 20, 30])
    with pytest.raises(InputError, match="--velocity-unit says"):
        read_velocities(tmp_path / "run.h5", timestep=None, elements=["O", "H"], unit="bohr/au_time")


@pytest.mark.parametrize("unit", ["furlong/fs", "nm", "nm ps", "nm2 ps-1", "", "kg nm ps-1"])
def test_a_unit_that_is_none_is_refused(tmp_path: Path, unit: str) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as handle:
        handle["particles/water/velocity/value"] = np.zeros((4, 2, 3))
        handle["particles/water/velocity/value"].attrs["unit"] = unit
    with pytest.raises(InputError, match="is not read"):
        read_velocities(tmp_path / "run.h5", timestep=1.0, elements=["O"])


def test_two_groups_of_particles_are_not_chosen_between(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as handle:
        for name in ("water", "gold"):
            handle[f"particles/{name}/velocity/value"] = np.zeros((4, 2, 3))
    with pytest.raises(InputError, match=r"2 groups of particles with velocity \(gold, water\)"):
        read_velocities(tmp_path / "run.h5", timestep=1.0, elements=["O"])


@pytest.mark.parametrize("source", ["ours", "compressed", "chunked", "text", "text in a scratch file", "trr"])
def test_a_tile_of_atoms_is_that_of_the_whole(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(40, 12, 3)).astype(np.float32) * np.float32(0.01)
    numbers = np.array([8, 1, 1] * 4)
    trajectory = Trajectory(numbers, np.ones(12), np.arange(40), 0.5, values, values)
    path = tmp_path / "run.h5"
    options: dict[str, Any] = {"timestep": 0.5}
    if source in ("ours", "compressed"):
        write_trajectory(path, trajectory, compress=source == "compressed")
    elif source == "chunked":
        with h5py.File(path, "w") as handle:
            data = handle.create_dataset("particles/a/velocity/value", data=values, chunks=(7, 5, 3))
            data.attrs["unit"] = "angstrom fs-1"
            handle["particles/a/species"] = numbers
        options["elements"] = ["H", "O"]
    elif source == "trr":
        path = tmp_path / "run.trr"
        header = struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file"
        with path.open("wb") as handle:
            for frame, rows in enumerate(values):
                sizes = [0, 0, 36, 0, 0, 0, 0, 0, 3 * 12 * 4, 0, 12, frame, 0]
                handle.write(header + struct.pack(">13i", *sizes) + struct.pack(">2f", frame * 5e-4, 0) + bytes(36))
                handle.write((rows * 100).astype(">f4").tobytes())
        (tmp_path / "start.xyz").write_text("12\n\n" + "H 0 0 0\n" * 12)
        options["topology"] = tmp_path / "start.xyz"
    else:
        path = tmp_path / "run.extxyz"
        title = "Properties=species:S:1:vel:R:3"
        text = "".join(f"12\n{title}\n" + "".join(f"H {x:.12g} {y:.12g} {z:.12g}\n" for x, y, z in rows) for rows in values)
        path.write_text(text)
        options["unit"] = "angstrom/fs"
        if "scratch" in source:
            monkeypatch.setattr(frames_module, "IN_MEMORY", 1000)
    monkeypatch.setattr(frames_module, "STRETCH_BYTES", 2000)
    found = read_velocities(path, **options)
    whole = np.asarray(found.velocities)
    np.testing.assert_allclose(whole, values, rtol=3e-7)
    for atoms in (slice(0, 5), slice(5, 12), slice(3, 4), slice(8, 99), slice(12, 12)):
        for start, stop in ((0, 40), (7, 31), (39, 40), (40, 40)):
            np.testing.assert_array_equal(found.velocities.read(start, stop, atoms), whole[start:stop, atoms])
