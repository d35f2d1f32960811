"""Merging, splitting and looking at datasets, and the molecules of their frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vibraloom.calculators.deepmd.dataset_export import export_deepmd
from vibraloom.calculators.dipole_sense import check_dipole_sense, dipole_sense
from vibraloom.calculators.molecule_labels import molecular_sums, molecules_of, on_carriers, species, with_molecules
from vibraloom.errors import InputError
from vibraloom.files.dataset import Dataset, FrameSet, read_dataset, write_dataset_files
from vibraloom.files.dataset_merge import SAME_PLACE, merge
from vibraloom.files.dataset_options import ReadingOptions
from vibraloom.files.dataset_split import split
from vibraloom.files.dataset_statistics import OUTLIER, statistics
from vibraloom.files.deepmd_systems import read_deepmd
from vibraloom.workflows.dataset_sources import read_sources

WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
PBE = {"functional": "PBE"}


def waters(frames: int, seed: int = 1, **labels: NDArray[np.float64]) -> FrameSet:
    rng = np.random.default_rng(seed)
    return FrameSet(
        numbers=np.array([8, 1, 1]),
        pbc=(False, False, False),
        positions=WATER + 0.03 * rng.normal(size=(frames, 3, 3)),
        cell=None,
        labels={"energy": rng.normal(size=frames) - 470, **labels},
    )


def one(system: FrameSet, path: str = "a", method: dict[str, Any] | None = None) -> Dataset:
    return Dataset((system,), ({"path": path},), (PBE if method is None else method,))


def test_each_geometry_stays_once_with_the_labels_of_both() -> None:
    energies = waters(6)
    dipoles = replace(energies.take(np.arange(2, 6)), labels={"dipole": np.ones((4, 3))})
    found = merge([one(energies, "a"), one(replace(dipoles, source_frame=np.arange(4)), "b")])
    (system,) = found.systems
    assert system.frames == 6
    assert system.present("dipole").tolist() == [False, False, True, True, True, True]
    np.testing.assert_array_equal(system.labels["energy"], energies.labels["energy"])
    last = found.history[-1]
    assert (last["duplicates_dropped"], last["frames_completed"], last["conflicts"]) == (4, 4, [])
    assert [found.origin(system, frame) for frame in (0, 5)] == ["a frame 0", "a frame 5"]


def test_geometries_that_differ_by_what_single_precision_loses_are_the_same() -> None:
    first = waters(5)
    second = replace(
        first,
        positions=first.positions.astype(np.float32).astype(np.float64),
        labels={"energy": first.labels["energy"].astype(np.float32).astype(np.float64)},
    )
    assert merge([one(first), one(second, "b")]).frames == 5
    moved = replace(first, positions=first.positions + 0.001 * np.eye(3))
    assert merge([one(first), one(moved, "b")]).frames == 10


def test_one_geometry_with_two_values_is_kept_twice_and_told() -> None:
    first = waters(3)
    second = replace(first, labels={"energy": first.labels["energy"] + np.array([0, 0, 0.01])})
    found = merge([one(first), one(second, "b")])
    assert found.frames == 4
    (conflict,) = found.history[-1]["conflicts"]
    assert conflict["label"] == "energy" and conflict["frames"] == ["a frame 2", "b frame 2"]
    assert conflict["largest_difference"] == pytest.approx(0.01, rel=1e-6)


def test_a_label_that_came_from_a_twin_is_compared_with_the_next_twin() -> None:
    first = waters(1)
    dipole = {"dipole": np.array([[0.1, 0.2, 0.3]])}
    other = {"dipole": np.array([[0.1, 0.2, 0.4]])}
    found = merge([one(first), one(replace(first, labels=dipole), "b"), one(replace(first, labels=other), "c")])
    assert found.frames == 2 and len(found.history[-1]["conflicts"]) == 1


def test_methods_do_not_mix_by_chance_and_their_frames_are_never_the_same() -> None:
    first, second = one(waters(3)), one(waters(3), "b", {"functional": "BLYP"})
    with pytest.raises(InputError, match=r"frames of 2 methods .functional PBE; functional BLYP.; --mix-methods"):
        merge([first, second])
    mixed = merge([first, second], mix_methods=True)
    assert mixed.frames == 6 and mixed.systems[0].method.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(InputError, match="not stated"):
        merge([first, one(waters(3), "c", {})])


@pytest.mark.parametrize("by", ["frame", "block", "origin"])
def test_a_split_is_seeded_disjoint_and_complete(by: Any) -> None:
    whole = merge([one(waters(40, 1), "a"), one(waters(30, 2), "b"), one(waters(30, 3), "c")])
    train, validation = split(whole, fraction=0.2, by=by, seed=5)
    again = split(whole, fraction=0.2, by=by, seed=5)[1]
    energies = [set(part.systems[0].labels["energy"]) for part in (train, validation)]
    assert not energies[0] & energies[1]
    assert energies[0] | energies[1] == set(whole.systems[0].labels["energy"])
    assert set(again.systems[0].labels["energy"]) == energies[1]
    assert 20 <= validation.frames <= 40
    assert validation.history[-1] == {**train.history[-1], "part": "validation", "frames": validation.frames}


def test_neighbours_stay_on_one_side() -> None:
    whole = one(waters(100))
    _, validation = split(whole, fraction=0.25, by="block", seed=1, block=10)
    places = validation.systems[0].source_frame
    blocks, counts = np.unique(places // 10, return_counts=True)
    assert counts.tolist() == [10] * len(blocks), "blocks are whole"
    _, validation = split(merge([whole, one(waters(50, 2), "b")]), fraction=0.25, by="origin", seed=1)
    assert len(np.unique(validation.systems[0].source)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0, "by": "frame"}, "fraction is 0"),
        ({"fraction": 0.5, "by": "origin"}, "3 frames are 1 origin; at least 2 are needed: take --by frame"),
        ({"fraction": 0.5, "by": "block"}, "3 frames are 1 block"),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(one(waters(3)), seed=0, **options)


def test_statistics_name_outliers_and_tensors_that_cannot_be_with_their_origin() -> None:
    rng = np.random.default_rng(2)
    tensors = 1.4 * np.eye(3) + 0.02 * rng.normal(size=(50, 3, 3))
    tensors[7] = np.diag([1.5, 1.5, -0.2])
    system = waters(50, 3, polarizability=tensors)
    system.labels["energy"][31] += 40.0
    told = statistics(one(system, "run.extxyz"))
    (outlier,) = [entry for entry in told["outliers"] if entry["label"] == "energy"]
    assert outlier["origin"] == "run.extxyz frame 31" and outlier["score"] > OUTLIER
    (tensor,) = told["not_positive_definite"]
    assert tensor["origin"] == "run.extxyz frame 7" and tensor["smallest_eigenvalue"] == pytest.approx(-0.2)
    energy = told["systems"][0]["labels"]["energy"]
    assert energy["mean"] == pytest.approx(system.labels["energy"].mean() / 3) and energy["unit"] == "eV"
    assert "density" not in told["systems"][0]


def test_absent_frames_are_no_part_of_the_statistics() -> None:
    energy = np.array([1.0, np.nan, 3.0])
    told = statistics(one(replace(waters(3), labels={"energy": energy})))["systems"][0]["labels"]["energy"]
    assert (told["frames"], told["mean"], told["min"], told["max"]) == (2, 2 / 3, 1 / 3, 1.0)


def test_the_density_of_a_cell_is_told() -> None:
    system = replace(waters(2), pbc=(True, True, True), cell=np.tile(10 * np.eye(3), (2, 1, 1)))
    assert statistics(one(system))["systems"][0]["density"]["mean"] == pytest.approx(18.015 * 1.66053907e-24 / 1e-21, rel=1e-6)


def hopping(steps: int = 21) -> FrameSet:
    """H3O+ and H2O, 2.5 Å apart; the proton between them moves from the first oxygen to the second."""
    away = np.array([[0.0, 0.0, 0.0], [-0.3, 0.9, 0.0], [-0.3, -0.9, 0.0]])
    near = np.array([[2.5, 0.0, 0.0], [2.8, 0.9, 0.0], [2.8, -0.9, 0.0]])
    proton = np.array([[x, 0.0, 0.0] for x in np.linspace(1.0, 1.5, steps)])
    positions = np.array([np.vstack([away, near, each]) for each in proton])
    numbers = np.array([8, 1, 1, 8, 1, 1, 1])
    # what stands on the oxygens: charges of -1 on O and +0.5 on H about the origin, the proton +1, so that the sum is continuous
    charge = np.array([-1.0, 0.5, 0.5, -1.0, 0.5, 0.5, 1.0])
    atomic = charge[None, :, None] * positions
    labels = {"energy": np.zeros(steps) - 1, "atomic_dipole": atomic, "dipole": atomic.sum(axis=1)}
    return FrameSet(numbers, (True, True, True), positions, np.tile(12 * np.eye(3), (steps, 1, 1)), labels)


def test_the_molecule_of_a_hopping_proton_is_right_in_every_frame() -> None:
    """Left of the middle it belongs to the first oxygen, right of it to the second, and the total dipole has no jump."""
    system = with_molecules(hopping())
    assert system.molecule is not None
    middle = np.isclose(system.positions[:, 6, 0], 1.25)
    right = system.positions[:, 6, 0] > 1.25
    assert (system.molecule[~middle, 6] == right[~middle]).all()
    assert (system.molecule[:, :6] == [0, 0, 0, 1, 1, 1]).all(), "no other atom changes"
    names = [[molecule.name for molecule in molecules_of(system, frame)] for frame in (0, -1)]
    assert names == [["H3O+", "H2O"], ["H2O", "H3O+"]]
    sums = molecular_sums(system.labels["atomic_dipole"], system.molecule)
    np.testing.assert_allclose(sums.sum(axis=1), system.labels["dipole"], atol=1e-12)
    steps = np.abs(np.diff(sums.sum(axis=1), axis=0)).max(axis=1)
    np.testing.assert_allclose(steps, 0.025, rtol=1e-9, err_msg="e·Å: what the proton moves in a frame")


def test_ions_have_their_own_record() -> None:
    hydroxide = np.array([[6.0, 0.0, 0.0], [6.9, 0.3, 0.0]])
    base = hopping(3)
    system = replace(
        base,
        numbers=np.append(base.numbers, [8, 1]),
        positions=np.concatenate([base.positions, np.tile(hydroxide, (3, 1, 1))], axis=1),
        labels={"energy": base.labels["energy"]},
    )
    once = {"frames": 3, "fewest": 1, "most": 1}
    assert species(system) == {"H2O": once, "H3O+": once, "OH-": once}
    charged = replace(with_molecules(system), labels={"molecular_charge": np.tile([0.98, 0.0, -1.02], (3, 1))})
    assert [molecule.charge for molecule in molecules_of(charged, 0)] == [1, 0, -1]


def test_membership_follows_a_cell_that_changes() -> None:
    base = hopping(2)
    cells = np.array([12 * np.eye(3), np.diag([5.0, 12.0, 12.0])])
    apart = base.positions.copy()
    apart[1, 1:3] += np.array([5.0, 0.0, 0.0])  # the hydrogens of the first oxygen, in the next image
    system = with_molecules(replace(base, positions=apart, cell=cells))
    assert system.molecule is not None and (system.molecule[1, :3] == 0).all()


def test_molecular_labels_stand_on_the_oxygens_of_an_exported_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(4, 2, 3))
    base = hopping(4)
    labels = {"energy": base.labels["energy"], "molecular_dipole": values}
    system = with_molecules(replace(base, labels=labels))
    placed = on_carriers(system, "molecular_dipole")
    np.testing.assert_array_equal(placed[:, [0, 3]], values)
    np.testing.assert_allclose(np.nansum(placed, axis=1), values.sum(axis=1))
    export_deepmd(one(system), tmp_path / "set", "npy")
    ((_, found),) = read_deepmd(tmp_path / "set", ReadingOptions(dipole_unit="e*angstrom"))
    np.testing.assert_array_equal(found.labels["atomic_dipole"][:, [0, 3]], values)


def test_dipoles_of_opposite_sign_do_not_meet() -> None:
    first, second = waters(5, 1), waters(5, 2)
    up = np.array([[0.0, 0.38, 0.0]]) * np.ones((5, 1))
    right = one(replace(first, labels={"dipole": up}), "right")
    wrong = one(replace(second, labels={"dipole": -up}), "wrong")
    assert dipole_sense(right)[0] > 0.95 and dipole_sense(wrong)[0] < -0.95
    check_dipole_sense(right)
    check_dipole_sense(wrong)
    with pytest.raises(InputError, match=r"wrong: dipoles point from hydrogens to heavy atoms .* mixed sign conventions"):
        check_dipole_sense(merge([right, wrong]))


def test_the_sense_of_a_dipole_is_seen_across_the_boundary() -> None:
    up = np.array([[0.0, 0.38, 0.0]]) * np.ones((5, 1))
    folded = (waters(5).positions + np.array([0.2, -0.3, 0.0])) % 6.0
    cell = np.tile(6 * np.eye(3), (5, 1, 1))
    system = replace(waters(5), positions=folded, cell=cell, pbc=(True, True, True), labels={"dipole": up})
    assert dipole_sense(one(system))[0] > 0.95


def test_files_of_a_label_job_are_read_as_one_system(tmp_path: Path) -> None:
    """Schema 1: arrays alone, and the settings in a record without a schema number."""
    labels = {"energy": np.array([-1.0, -2.0]), "dipole": np.ones((2, 3)), "asymmetry": np.zeros(2)}
    np.savez(tmp_path / "labels.npz", numbers=[8, 1, 1], positions=waters(2).positions, frame=[3, 5], **labels)
    (tmp_path / "labels.json").write_text('{"settings": {"functional": "PBE", "numbers": [8, 1, 1]}}')
    found = read_dataset(tmp_path)
    assert found.methods == (PBE,), "the atoms are no part of the method"
    assert found.systems[0].source_frame.tolist() == [3, 5]
    assert sorted(found.systems[0].labels) == ["dipole", "energy"]
    write_dataset_files(tmp_path / "new", found)
    assert read_dataset(tmp_path / "new").origin(found.systems[0], 1) == f"{tmp_path} frame 5"


def test_remedies_and_warnings_of_a_label_job_stay_with_their_frames(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", numbers=[8, 1, 1], positions=waters(2).positions, energy=[-1.0, -2.0])
    record = {
        "settings": PBE,
        "names": ["frame_0", "frame_1"],
        "remedies": {"frame_1": ["wider smearing: 300 to 500 K"]},
        "warnings": {"frame_1": ["energy and forces are those of warmer electrons"]},
    }
    (tmp_path / "labels.json").write_text(json.dumps(record))
    found = merge([read_dataset(tmp_path)])
    said = [found.remarks[index] if index >= 0 else "" for index in found.systems[0].remark]
    assert said == ["", "wider smearing: 300 to 500 K; energy and forces are those of warmer electrons"]


def large(frames: int, seed: int = 1) -> FrameSet:
    """A cell of 64 waters in each frame."""
    rng = np.random.default_rng(seed)
    return FrameSet(
        numbers=np.tile([8, 1, 1], 64),
        pbc=(True, True, True),
        positions=rng.uniform(0, 12.4, (1, 192, 3)) + 0.05 * rng.normal(size=(frames, 192, 3)),
        cell=np.tile(12.4 * np.eye(3), (frames, 1, 1)),
        labels={"energy": rng.normal(size=frames) - 470},
    )


def test_single_precision_copies_of_a_large_cell_are_the_same() -> None:
    first = large(200)
    copy = replace(first, positions=first.positions.astype(np.float32).astype(np.float64))
    assert merge([one(first), one(copy, "b")]).frames == 200
    moved = first.positions.copy()
    moved[:, 17, 2] += 2 * SAME_PLACE
    assert merge([one(first), one(replace(first, positions=moved), "b")]).frames == 400


@pytest.mark.parametrize("by", ["frame", "block", "origin"])
def test_a_geometry_with_two_values_is_on_one_side_of_a_split(by: Any) -> None:
    first = waters(40)
    other = replace(first, labels={"energy": first.labels["energy"] + 0.1})
    extra = waters(40, 9)
    whole = merge([one(first, "a"), one(other, "b"), one(extra, "c")])
    assert whole.frames == 120
    train, validation = split(whole, fraction=0.3, by=by, seed=3)
    held = {train.systems[0].positions[frame].tobytes() for frame in range(train.frames)}
    tested = {validation.systems[0].positions[frame].tobytes() for frame in range(validation.frames)}
    assert not held & tested
    assert train.frames + validation.frames == 120


def test_what_was_said_of_both_twins_is_said_of_the_frame_that_stays() -> None:
    without = replace(waters(1), remark=np.array([0]))
    fuller = replace(without, labels={**without.labels, "dipole": np.ones((1, 3))}, remark=np.array([0]))
    first = replace(one(without, "a"), remarks=("warm electrons; dipole, virial absent: not in the source",))
    second = replace(one(fuller, "b"), remarks=("basis too small",))
    found = merge([first, second])
    assert found.remarks == ("warm electrons; virial absent: not in the source; basis too small",)
    assert found.systems[0].remark.tolist() == [0]


def test_membership_stays_where_labels_of_molecules_need_it() -> None:
    known = replace(
        waters(2), molecule=np.zeros((2, 3), dtype=np.int64), labels={"molecular_dipole": np.ones((2, 1, 3))}
    )
    (system,) = merge([one(known, "a"), one(waters(2, 5), "b")]).systems
    assert system.molecule is not None
    assert system.molecule.tolist() == [[0, 0, 0]] * 2 + [[-1, -1, -1]] * 2


@pytest.mark.parametrize("record", ["[]", '{"schema": 1, "settings": null}'])
def test_a_damaged_record_is_one_line(tmp_path: Path, record: str) -> None:
    np.savez(tmp_path / "labels.npz", numbers=[8, 1, 1], positions=waters(2).positions, energy=[-1.0, -2.0])
    (tmp_path / "labels.json").write_text(record)
    with pytest.raises(InputError, match=r"labels.json: not the record of a dataset"):
        read_dataset(tmp_path)


def test_a_dataset_that_lost_its_record_is_not_taken_for_another(tmp_path: Path) -> None:
    write_dataset_files(tmp_path, one(large(2)))
    (tmp_path / "labels.json").unlink()
    with pytest.raises(InputError, match=r"labels.json: missing, or of another dataset"):
        read_dataset(tmp_path)


def test_periodic_directions_of_a_label_job_are_kept(tmp_path: Path) -> None:
    system = large(2)
    assert system.cell is not None
    arrays = {"numbers": system.numbers, "positions": system.positions, "cell": system.cell, "energy": system.labels["energy"]}
    np.savez(tmp_path / "labels.npz", pbc=[[True, True, False]] * 2, **arrays)
    assert read_dataset(tmp_path).systems[0].pbc == (True, True, False)


def test_the_method_is_taken_where_a_dataset_states_none(tmp_path: Path) -> None:
    write_dataset_files(tmp_path / "none", one(waters(2), method={}))
    write_dataset_files(tmp_path / "pbe", one(waters(2, 4)))
    told = ReadingOptions(method={"functional": "BLYP"})
    assert read_sources([tmp_path / "none"], told).methods == ({"functional": "BLYP"},)
    with pytest.raises(InputError, match=r"its record states the method .*PBE.*; leave out --method"):
        read_sources([tmp_path / "pbe"], told)
