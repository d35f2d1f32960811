"""From labels to deepmd-kit's folders, and the numbers of a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.deepmd.plane_markers import HEIGHT, is_planar, with_markers
from vibraloom.calculators.deepmd.training import read_learning_curve
from vibraloom.calculators.deepmd.training_input import training_input
from vibraloom.calculators.deepmd.training_sets import training_sets, write_training_sets
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.dataset import Dataset, FrameSet

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
FREE = (False, False, False)
PERIODIC = (True, True, True)


def positive(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Symmetric positive definite matrices."""
    square = random.normal(size=(*shape, 3, 3))
    return np.asarray(square @ square.swapaxes(-1, -2) + np.eye(3))


def molecules(frames: int = 10, count: int = 1, *, cell: float | None = None, seed: int = 5) -> FrameSet:
    """Waters in a row, with every label of the whole; dipoles point from O to H."""
    random = np.random.default_rng(seed)
    one = WATER + random.normal(0, 0.03, (frames, count, 3, 3))
    positions = (one + 4.0 * np.arange(count)[:, None, None] * np.eye(3)[0]).reshape(frames, -1, 3)
    atoms = 3 * count
    return FrameSet(
        numbers=np.tile([8, 1, 1], count),
        pbc=FREE if cell is None else PERIODIC,
        positions=positions,
        cell=None if cell is None else np.tile(cell * np.eye(3), (frames, 1, 1)),
        labels={
            "energy": random.normal(size=frames),
            "forces": random.normal(size=(frames, atoms, 3)),
            "dipole": 0.2 * (one[:, :, 1] + one[:, :, 2] - 2 * one[:, :, 0]).sum(axis=1),
            "polarizability": positive(random, frames),
        },
    )


def per_molecule(system: FrameSet, *, of_whole: bool = False) -> FrameSet:
    """The same frames with dipoles and polarizabilities of molecules, in the place of those of the whole."""
    frames, count = system.frames, system.atoms // 3
    one = system.positions.reshape(frames, count, 3, 3)
    labels = {
        "molecular_dipole": 0.2 * (one[:, :, 1] + one[:, :, 2] - 2 * one[:, :, 0]),
        "molecular_polarizability": positive(np.random.default_rng(8), frames, count),
    }
    return replace(system, labels={**(system.labels if of_whole else {}), **labels})


def dataset(*systems: FrameSet) -> Dataset:
    return Dataset(tuple(systems), ({"path": "waters.extxyz", "format": "extxyz"},), ({},))


def test_deepmd_files_hold_the_labels_of_their_frames(tmp_path: Path) -> None:
    pytest.importorskip("dpdata", reason="pip install 'vibraloom[workflows]'")
    one, two = molecules(), molecules(6, 2, cell=9.0)
    two = replace(two, labels={name: two.labels[name] for name in ("energy", "forces")})
    sets = training_sets(dataset(one, two), "energy", fraction=0.25, by="frame", seed=1)
    assert sum(each.frames for each in sets.train) == 12 and sum(each.frames for each in sets.validation) == 4
    written = write_training_sets(sets, tmp_path)
    assert [Path(place).name for place in written["train"]] == ["000-H2O", "001-H4O2"]
    for place, each in zip(written["train"], sets.train, strict=True):
        folder = Path(place)
        assert (folder / "type_map.raw").read_text().split() == ["O", "H"]
        assert (folder / "nopbc").exists() == (each.cell is None)
        for file, field in {"coord": "positions", "force": "forces", "energy": "energy"}.items():
            expected = each.positions if field == "positions" else each.labels[field]
            stored = np.load(folder / "set.000" / f"{file}.npy")
            np.testing.assert_array_equal(stored.reshape(each.frames, -1), expected.reshape(each.frames, -1))
        assert not (folder / "set.000" / "dipole.npy").exists(), "the labels of the target alone"


def test_labels_of_molecules_are_learned_on_the_atoms_that_carry_them(tmp_path: Path) -> None:
    pytest.importorskip("dpdata", reason="pip install 'vibraloom[workflows]'")
    waters = per_molecule(molecules(8, 3, cell=13.0))
    sets = training_sets(dataset(waters), "dipole", fraction=0.25, by="frame")
    assert sets.label == "atomic_dipole" and sets.carriers == ("O",)
    (place,) = write_training_sets(sets, tmp_path)["train"]
    stored = np.load(Path(place) / "set.000" / "atomic_dipole.npy").reshape(6, 3, 3)
    (train,) = sets.train
    expected = waters.labels["molecular_dipole"][train.source_frame]
    # the molecules are numbered by their atoms, in any order
    np.testing.assert_allclose(np.sort(stored, axis=1), np.sort(expected, axis=1), atol=1e-12)
    settings = training_input({"target": "dipole", "seed": 1}, sets, {"train": [place], "validation": [place]})
    assert settings["model"]["fitting_net"]["sel_type"] == [0]
    assert (settings["loss"]["pref"], settings["loss"]["pref_atomic"]) == (0.0, 1.0)
    assert settings["training"]["training_data"]["batch_size"] == [6], "not more than there are"


def test_the_antisymmetric_part_of_a_polarizability_is_not_learned() -> None:
    one = molecules()
    one.labels["polarizability"][:, 0, 1] += 0.1
    (train,) = training_sets(dataset(one), "polarizability").train
    learned = train.labels["polarizability"]
    np.testing.assert_array_equal(learned, learned.swapaxes(1, 2))
    given = one.labels["polarizability"][train.source_frame]
    np.testing.assert_allclose(np.einsum("fii->f", learned), np.einsum("fii->f", given))


def test_labels_of_the_whole_and_of_molecules_are_not_mixed_by_chance() -> None:
    mixed = dataset(molecules(seed=1), per_molecule(molecules(6, 2, seed=2)))
    with pytest.raises(InputError, match="dipole: 10 frames have that of the whole, 6 those of molecules, 16 any; say owner"):
        training_sets(mixed, "dipole")
    assert training_sets(mixed, "dipole", owner="molecules").label == "atomic_dipole"
    both = dataset(per_molecule(molecules(6, 2), of_whole=True))
    assert training_sets(both, "dipole").label == "atomic_dipole"
    assert training_sets(both, "dipole", owner="total").label == "dipole"


@pytest.mark.parametrize(
    ("change", "target", "text"),
    [
        (lambda labels: labels.pop("dipole"), "dipole", "dipole of total is in no frame"),
        (lambda labels: labels.update(dipole=np.zeros((10, 3))), "dipole", "dipole is zero in every frame"),
        (
            lambda labels: labels.update(polarizability=-labels["polarizability"]),
            "polarizability",
            r"polarizability of waters.extxyz frame 0 has the eigenvalue -\d",
        ),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(change: Any, target: Any, text: str) -> None:
    one = molecules()
    change(one.labels)
    with pytest.raises(InputError, match=text):
        training_sets(dataset(one), target)


def test_dipoles_of_opposite_sign_conventions_are_refused() -> None:
    one, other = molecules(seed=1), molecules(seed=2)
    other.labels["dipole"] *= -1
    other = replace(other, source=np.ones(10, dtype=int))
    both = Dataset((one, other), ({"path": "a"}, {"path": "b"}), ({},))
    with pytest.raises(InputError, match="mixed sign conventions"):
        training_sets(both, "dipole")


def test_a_type_map_names_every_element() -> None:
    with pytest.raises(InputError, match="type_map O: H is in the dataset; name every element"):
        training_sets(dataset(molecules()), "energy", type_map=("O",))
    assert training_sets(dataset(molecules()), "energy", type_map=("H", "O", "Na")).type_map == ("H", "O", "Na")


def test_a_dataset_of_its_own_validates() -> None:
    sets = training_sets(dataset(molecules(10)), "energy", validation=dataset(molecules(4, seed=9)))
    assert sets.train[0].frames == 10 and sets.validation[0].frames == 4
    assert sets.origin(3) == "waters.extxyz frame 3"


def test_frames_with_other_labels_have_a_set_of_their_own(tmp_path: Path) -> None:
    one = molecules(6, 1, cell=9.0)
    virial = np.ones((6, 3, 3))
    virial[4:] = np.nan
    one.labels["virial"] = virial
    sets = training_sets(dataset(one), "energy", validation=dataset(one))
    assert [(each.frames, sorted(each.labels)) for each in sets.train] == [
        (4, ["energy", "forces", "virial"]),
        (2, ["energy", "forces"]),
    ]


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
    whole = dataset(molecules())
    folders = {"train": ["t"], "validation": ["v"]}
    energy = training_input({"target": "energy", "seed": 3, "steps": 100}, training_sets(whole, "energy"), folders)
    assert energy["training"]["numb_steps"] == 100 and energy["loss"]["type"] == "ener"
    assert energy["model"]["descriptor"]["sel"] == [1, 2]
    flat = replace(molecules(), positions=molecules().positions * [1, 1, 0])
    polar = training_input({"target": "polarizability", "seed": 3}, training_sets(dataset(flat), "polarizability"), folders)
    assert polar["model"]["type_map"] == ["O", "H", "X"] and polar["model"]["fitting_net"]["sel_type"] == [0, 1, 2]
    dipole = training_input({"target": "dipole", "seed": 4}, training_sets(whole, "dipole"), folders)
    assert dipole["model"]["fitting_net"]["sel_type"] == [0] and dipole["training"]["seed"] == 4
    cells = training_sets(dataset(molecules(6, 2, cell=9.0)), "energy", by="frame")
    liquid = training_input({"target": "energy", "seed": 1}, cells, folders)
    assert liquid["model"]["descriptor"]["sel"] == "auto:1.2"


def test_a_learning_curve_that_turns_to_nan_names_the_step(tmp_path: Path) -> None:
    path = tmp_path / "lcurve.out"
    path.write_text("#  step  rmse_val  lr\n 0 1.0 1e-3\n 100 0.5 1e-3\n 200 0.")  # the last line is being written
    assert read_learning_curve(path)["step"].tolist() == [0, 100]
    path.write_text("#  step  rmse_val  lr\n 0 1.0 1e-3\n 100 nan 1e-3\n")
    with pytest.raises(ComputationError, match="rmse_val is not a number at step 100"):
        read_learning_curve(path)
