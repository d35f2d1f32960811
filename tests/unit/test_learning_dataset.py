"""From labels to deepmd-kit's folders, and the numbers of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.deepmd.dataset import read_labels, split_frames, write_dataset
from vibraloom.calculators.deepmd.plane_markers import HEIGHT, is_planar, with_markers
from vibraloom.calculators.deepmd.training import read_learning_curve, training_input
from vibraloom.errors import ComputationError, InputError


def labels(frames: int = 10, numbers: tuple[int, ...] = (1, 8, 1)) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    atoms = len(numbers)
    return {
        "positions": rng.normal(size=(frames, atoms, 3)),
        "numbers": np.array(numbers),
        "energy": rng.normal(size=frames),
        "forces": rng.normal(size=(frames, atoms, 3)),
        "dipole": rng.normal(size=(frames, 3)),
        "polarizability": rng.normal(size=(frames, 3, 3)),
    }


def test_the_split_is_seeded_disjoint_and_complete() -> None:
    train, validation = split_frames(50, 3, 0.1)
    assert len(validation) == 5
    assert sorted([*train, *validation]) == list(range(50))
    np.testing.assert_array_equal(split_frames(50, 3, 0.1)[1], validation)
    assert not np.array_equal(split_frames(50, 4, 0.1)[1], validation)


@pytest.mark.parametrize(("frames", "fraction"), [(2, 0.01), (2, 0.99), (3, 0.5)])
def test_both_parts_have_a_frame(frames: int, fraction: float) -> None:
    assert all(len(part) for part in split_frames(frames, 0, fraction))


@pytest.mark.parametrize(("frames", "fraction"), [(1, 0.5), (10, 0.0), (10, 1.0)])
def test_a_split_that_leaves_nothing_is_refused(frames: int, fraction: float) -> None:
    with pytest.raises(InputError):
        split_frames(frames, 0, fraction)


def test_deepmd_files_hold_the_labels_of_their_frames(tmp_path: Path) -> None:
    pytest.importorskip("dpdata", reason="pip install 'vibraloom[workflows]'")
    arrays = labels()
    np.savez(tmp_path / "labels.npz", **arrays)
    parts = write_dataset(tmp_path / "labels.npz", tmp_path / "data", seed=1, validation_fraction=0.2)
    for name, frames in zip(("train", "validation"), parts, strict=True):
        folder = tmp_path / "data" / name
        assert (folder / "type_map.raw").read_text().split() == ["O", "H"]
        assert (folder / "type.raw").read_text().split() == ["1", "0", "1"]
        assert (folder / "nopbc").exists()
        pairs = {"coord": "positions", "force": "forces", "energy": "energy", "dipole": "dipole"}
        for file, field in {**pairs, "polarizability": "polarizability"}.items():
            stored = np.load(folder / "set.000" / f"{file}.npy")
            np.testing.assert_array_equal(
                stored.reshape(len(frames), -1), arrays[field][frames].reshape(len(frames), -1)
            )


def test_a_label_that_is_not_a_number_names_its_frame(tmp_path: Path) -> None:
    arrays = labels()
    arrays["dipole"][4, 1] = np.nan
    np.savez(tmp_path / "labels.npz", **arrays)
    with pytest.raises(InputError, match=r"labels\.npz: dipole of frame 4 is not a number"):
        read_labels(tmp_path / "labels.npz")


def test_labels_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", **{**labels(), "forces": np.zeros((9, 3, 3))})
    with pytest.raises(InputError, match="forces has shape"):
        read_labels(tmp_path / "labels.npz")
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "nothing.npz")


def test_markers_stand_off_the_plane_and_turn_with_the_molecule() -> None:
    water = np.array([[[0.0, 0.1, 0.0], [0.76, 0.7, 0.0], [-0.76, 0.7, 0.0]]])
    assert is_planar(water)
    marked = with_markers(water)
    np.testing.assert_allclose(np.abs(marked[0, 3:] - water[0].mean(axis=0)), [[0, 0, HEIGHT]] * 2, atol=1e-12)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = with_markers(water @ turn.T)[0, 3:]
    expected = marked[0, 3:] @ turn.T
    # the pair is the same; which of the two comes first is free
    np.testing.assert_allclose(np.sort(turned, axis=0), np.sort(expected, axis=0), atol=1e-12)


def test_only_bent_planar_molecules_are_marked() -> None:
    linear = np.array([[[0.0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]]])
    ammonia = np.array([[[0.0, 0, 0.3], [0.9, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]]])
    assert not is_planar(linear) and not is_planar(ammonia) and not is_planar(linear[:, :2])


def test_training_input_follows_the_target() -> None:
    energy = training_input({"target": "energy", "seed": 3, "steps": 100}, ["O", "H"], [1, 2])
    assert energy["training"]["numb_steps"] == 100 and energy["loss"]["type"] == "ener"
    polar = training_input({"target": "polarizability", "seed": 3}, ["O", "H", "X"], [1, 2, 2])
    assert polar["model"]["fitting_net"]["sel_type"] == [0, 1, 2]
    assert energy["training"]["seed"] != training_input({"target": "energy", "seed": 4}, ["O"], [1])["training"]["seed"]
    with pytest.raises(InputError, match="target is 'charge'; allowed: energy, dipole, polarizability"):
        training_input({"target": "charge", "seed": 1}, ["O"], [1])


def test_a_learning_curve_that_turns_to_nan_names_the_step(tmp_path: Path) -> None:
    path = tmp_path / "lcurve.out"
    path.write_text("#  step  rmse_val  lr\n 0 1.0 1e-3\n 100 0.5 1e-3\n 200 0.")  # the last line is being written
    assert read_learning_curve(path)["step"].tolist() == [0, 100]
    path.write_text("#  step  rmse_val  lr\n 0 1.0 1e-3\n 100 nan 1e-3\n")
    with pytest.raises(ComputationError, match="rmse_val is not a number at step 100"):
        read_learning_curve(path)
