"""Frames of an H5MD file: of all atoms or some, packed or not, the same numbers however they are asked for."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files.frames import FlatFrames
from vibraloom.files.h5md_frames import stored_frames
from vibraloom.files.trajectory import Trajectory, read_trajectory, write_trajectory

FRAMES, ATOMS = 40, 9
POSITIONS = np.random.default_rng(1).normal(size=(FRAMES, ATOMS, 3))


def written(path: Path, *, compress: bool = False, velocities: bool = True) -> Path:
    step = np.arange(FRAMES, dtype=np.int64)
    moving = -POSITIONS if velocities else None
    write_trajectory(path, Trajectory(np.full(ATOMS, 8), np.full(ATOMS, 16.0), step, 0.5, POSITIONS, moving), compress=compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("atoms", [None, [0, 1, 2], [2, 3, 4, 5], [8, 0, 5], []])
def test_any_frames_of_any_atoms_are_those_of_the_trajectory(tmp_path: Path, compress: bool, atoms: list[int] | None) -> None:
    path = written(tmp_path / "run.h5", compress=compress)
    chosen = None if atoms is None else np.array(atoms, dtype=np.int64)
    for element in ("position", "velocity"):
        frames = stored_frames(path, element, atoms=chosen)
        whole = read_trajectory(path)
        wanted = whole.positions if element == "position" else whole.velocities
        assert wanted is not None
        wanted = wanted if chosen is None else wanted[:, chosen]
        assert frames.shape == wanted.shape
        assert np.asarray(frames).dtype == np.float32
        np.testing.assert_array_equal(np.asarray(frames), wanted)
        for start, stop in ((0, 1), (7, 23), (39, 40), (40, 40)):
            np.testing.assert_array_equal(frames.read(start, stop), wanted[start:stop])
            for inside in (slice(0, 2), slice(1, 3), slice(2, 2)):
                np.testing.assert_array_equal(frames.read(start, stop, inside), wanted[start:stop, inside])


def test_what_lies_in_one_piece_is_read_past_hdf5(tmp_path: Path) -> None:
    assert isinstance(stored_frames(written(tmp_path / "run.h5"), "position"), FlatFrames)
    assert not isinstance(stored_frames(written(tmp_path / "packed.h5", compress=True), "position"), FlatFrames)


def test_what_is_not_there_or_has_another_shape_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "run.h5", velocities=False)
    with pytest.raises(InputError, match=r"run\.h5: holds no velocity; write it with the trajectory"):
        stored_frames(path, "velocity")
    with h5py.File(path, "r+") as handle:
        handle["particles/all/velocity/value"] = np.zeros((FRAMES, 3))
    with pytest.raises(InputError, match=r"run\.h5: velocity has shape \(40, 3\) and type float64; \(frames, atoms, 3\)"):
        stored_frames(path, "velocity")
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"run\.h5: not an H5MD file, or damaged"):
        stored_frames(path, "velocity")


def test_a_packed_frame_that_is_damaged_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "run.h5", compress=True)
    frames = stored_frames(path, "velocity")
    with h5py.File(path, "r") as handle:
        chunk = handle["particles/all/velocity/value"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.h5: not an H5MD file, or damaged") as refused:
        frames.read(0, FRAMES)
    assert "\n" not in str(refused.value)
