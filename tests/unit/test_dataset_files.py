"""Labelled frames on disk: what goes out comes back bit by bit, and what is wrong is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.deepmd.dataset_export import export_deepmd
from vibraloom.errors import InputError
from vibraloom.files.dataset import Dataset, FrameSet, joined, read_dataset, write_dataset_files
from vibraloom.files.dataset_options import ReadingOptions
from vibraloom.files.deepmd_systems import read_deepmd
from vibraloom.files.extxyz_labels import read_extxyz_labels, write_extxyz_labels
from vibraloom.units import ANGSTROM3_PER_BOHR3, E_ANGSTROM_PER_DEBYE
from vibraloom.workflows.dataset_sources import read_sources

UNITS = ReadingOptions(dipole_unit="e*angstrom", polarizability_unit="angstrom^3", labelled_types=("O",))


def system(numbers: tuple[int, ...] = (8, 1, 1, 8, 1, 1), frames: int = 4, periodic: bool = True, seed: int = 1) -> FrameSet:
    """Frames with every label a set of deepmd-kit can have, atomic dipoles on oxygen alone."""
    rng = np.random.default_rng(seed)
    atoms = len(numbers)
    atomic_dipole = rng.normal(size=(frames, atoms, 3))
    atomic_dipole[:, np.array(numbers) != 8] = np.nan
    return FrameSet(
        numbers=np.array(numbers),
        pbc=(periodic, periodic, periodic),
        positions=rng.normal(size=(frames, atoms, 3)) * 3,
        cell=9 * np.eye(3) + rng.normal(size=(frames, 3, 3)) * 0.1 if periodic else None,
        labels={
            "energy": rng.normal(size=frames) - 468,
            "forces": rng.normal(size=(frames, atoms, 3)),
            "virial": rng.normal(size=(frames, 3, 3)),
            "dipole": rng.normal(size=(frames, 3)),
            "polarizability": rng.normal(size=(frames, 3, 3)) + 5 * np.eye(3),
            "atomic_dipole": atomic_dipole,
            "atomic_polarizability": rng.normal(size=(frames, atoms, 3, 3)),
        },
    )


def dataset(*systems: FrameSet) -> Dataset:
    held = systems or (system(), system((1, 8, 1), 3, False, 2))
    return Dataset(held, ({"path": "origin"},), ({"functional": "PBE"},)).check("x")


def assert_same(first: tuple[FrameSet, ...], second: tuple[FrameSet, ...]) -> None:
    """Bit by bit, with frames in the order of the first."""
    assert len(first) == len(second)
    for one in first:
        other = next(each for each in second if np.array_equal(each.numbers, one.numbers) and each.pbc == one.pbc)
        place = [int(np.flatnonzero((other.positions == frame).all(axis=(1, 2)))[0]) for frame in one.positions]
        other = other.take(np.array(place))
        assert set(one.labels) == set(other.labels)
        for name, values in one.labels.items():
            np.testing.assert_array_equal(values, other.labels[name], err_msg=name)
        if one.cell is None:
            assert other.cell is None
        else:
            np.testing.assert_array_equal(one.cell, other.cell)


def sets(folder: Path, labels: dict[str, Any] | None = None, **kept: Any) -> Path:
    """A system of two waters as deepmd-kit's own examples lay it out, three frames."""
    rng = np.random.default_rng(4)
    place = folder / "set.000"
    place.mkdir(parents=True)
    (folder / "type.raw").write_text(kept.get("types", "0\n1\n1\n0\n1\n1\n"))
    if kept.get("type_map", "O\nH\n"):
        (folder / "type_map.raw").write_text(kept.get("type_map", "O\nH\n"))
    arrays = {"coord": rng.normal(size=(3, 18)) * 3, "box": np.tile(9 * np.eye(3).ravel(), (3, 1)), **(labels or {})}
    for name, values in arrays.items():
        np.save(place / f"{name}.npy", values)
    return folder


@pytest.mark.parametrize(("layout", "name"), [("npy", "set"), ("hdf5", "set.hdf5")])
def test_deepmd_files_give_back_every_bit(tmp_path: Path, layout: Any, name: str) -> None:
    whole = dataset()
    names, _ = export_deepmd(whole, tmp_path / name, layout)
    assert names == ["000-H4O2", "001-H2O"]
    assert_same(whole.systems, joined([each for _, each in read_deepmd(tmp_path / name, UNITS)]))


def test_mixed_types_give_back_every_bit_and_keep_lists_of_atoms_apart(tmp_path: Path) -> None:
    bare = [
        replace(each, labels={name: values for name, values in each.labels.items() if name != "atomic_dipole"})
        for each in (system((8, 1, 1), 4, True, 3), system((1, 8, 1), 3, True, 4))
    ]
    assert export_deepmd(dataset(*bare), tmp_path / "mixed", "mixed") == (["000-3"], [])
    assert_same(tuple(bare), joined([each for _, each in read_deepmd(tmp_path / "mixed", UNITS)]))
    with pytest.raises(InputError, match="atomic_dipole on 2 of 6 atoms; mixed takes all: use npy"):
        export_deepmd(dataset(), tmp_path / "refused", "mixed")
    assert not (tmp_path / "refused").exists()


def test_virtual_atoms_of_mixed_types_are_no_atoms(tmp_path: Path) -> None:
    folder = sets(tmp_path / "padded", {"energy": np.arange(1.0, 4.0)}, types="0\n0\n0\n0\n0\n0\n")
    real = np.array([[0, 1, 1, -1, -1, -1]] * 2 + [[0, 1, 1, 0, 1, 1]])
    np.save(folder / "set.000" / "real_atom_types.npy", real)
    found = {each.formula: each for _, each in read_deepmd(folder, UNITS)}
    assert found["H2O"].labels["energy"].tolist() == [1.0, 2.0]
    assert found["H4O2"].source_frame.tolist() == [2]
    coordinates = np.load(folder / "set.000" / "coord.npy").reshape(3, 6, 3)
    np.testing.assert_array_equal(found["H2O"].positions, coordinates[:2, :3])


def test_extended_xyz_and_plain_folders_give_back_every_bit(tmp_path: Path) -> None:
    whole = dataset()
    assert write_extxyz_labels(tmp_path / "frames.extxyz", whole) == []
    assert_same(whole.systems, tuple(read_extxyz_labels(tmp_path / "frames.extxyz", UNITS)))
    write_dataset_files(tmp_path / "plain", whole)
    again = read_dataset(tmp_path / "plain")
    assert_same(whole.systems, again.systems)
    assert again.methods == whole.methods and again.sources == whole.sources


def test_dpdata_and_deepmd_kit_read_what_is_written(tmp_path: Path) -> None:
    """Both readers, and the data loader that deepmd-kit trains with, see the labels of the oxygens."""
    dpdata = pytest.importorskip("dpdata", reason="pip install 'vibraloom[workflows]'")
    loading = pytest.importorskip("deepmd.utils.data", reason="pip install 'vibraloom[deepmd]'")
    whole = dataset(system())
    (name,), _ = export_deepmd(whole, tmp_path / "set", "npy")
    read = dpdata.LabeledSystem(str(tmp_path / "set" / name), fmt="deepmd/npy").data
    held = whole.systems[0].labels
    oxygen = [0, 3]
    np.testing.assert_array_equal(read["virials"], held["virial"])
    np.testing.assert_array_equal(read["polarizability"].reshape(-1, 3, 3), held["polarizability"])
    np.testing.assert_array_equal(read["atomic_dipole"], held["atomic_dipole"][:, oxygen])
    loader = loading.DeepmdData(str(tmp_path / "set" / name), type_map=["O", "H"], shuffle_test=False)
    loader.add("atomic_dipole", 3, atomic=True, must=True, type_sel=[0], high_prec=True)
    loader.add("polarizability", 9, atomic=False, must=True, high_prec=True)
    batch = loader.get_test()
    np.testing.assert_array_equal(batch["atom_dipole"], held["atomic_dipole"][:, oxygen].reshape(4, -1))
    np.testing.assert_array_equal(batch["polarizability"], held["polarizability"].reshape(4, -1))


def test_an_absent_label_has_no_file_in_the_set_and_comes_back_absent(tmp_path: Path) -> None:
    one = system()
    one.labels["virial"][2] = np.nan
    export_deepmd(dataset(one), tmp_path / "set", "npy")
    there = sorted(each.parent.parent.name for each in (tmp_path / "set").rglob("virial.npy"))
    assert there == ["000-H4O2"], "the frame without a virial has a folder of its own"
    assert_same((one,), joined([each for _, each in read_deepmd(tmp_path / "set", UNITS)]))


def test_units_of_the_file_become_ours(tmp_path: Path) -> None:
    labels = {"dipole": np.ones((3, 3)), "polarizability": np.tile(np.eye(3).ravel(), (3, 1))}
    folder = sets(tmp_path / "set", labels)
    options = ReadingOptions(dipole_unit="debye", polarizability_unit="bohr^3")
    ((_, found),) = read_deepmd(folder, options)
    np.testing.assert_allclose(found.labels["dipole"], E_ANGSTROM_PER_DEBYE, rtol=1e-15)
    np.testing.assert_allclose(found.labels["polarizability"][0], ANGSTROM3_PER_BOHR3 * np.eye(3), rtol=1e-15)


def test_names_and_signs_of_foreign_extended_xyz(tmp_path: Path) -> None:
    """ASE's stress is positive under tension, our virial under compression; other names are said."""
    text = (
        '1\nLattice="2 0 0 0 3 0 0 0 4" Properties=species:S:1:pos:R:3:F:R:3 E_dft=-5.5 pbc="T T T"'
        ' stress="0.1 0 0 0 0.2 0 0 0 0.3" my_virial="1 2 3 4 5 6 7 8 9"\nHe 0 0 0 1 2 3\n'
    )
    path = tmp_path / "foreign.extxyz"
    path.write_text(text)
    (found,) = read_extxyz_labels(path, ReadingOptions(names={"energy": "E_dft", "forces": "F"}))
    assert found.labels["energy"].tolist() == [-5.5]
    assert found.labels["forces"].tolist() == [[[1, 2, 3]]]
    np.testing.assert_allclose(found.labels["virial"][0], -24 * np.diag([0.1, 0.2, 0.3]), rtol=1e-14)
    (found,) = read_extxyz_labels(path, ReadingOptions(names={"virial": "my_virial"}))
    np.testing.assert_array_equal(found.labels["virial"][0], np.arange(1, 10).reshape(3, 3).T)
    with pytest.raises(InputError, match="no frame has 'E_hf' for energy; correct --name"):
        read_extxyz_labels(path, ReadingOptions(names={"energy": "E_hf"}))


def _later_set(folder: Path) -> None:
    (folder / "set.001").mkdir()
    for name in ("coord", "box"):
        np.save(folder / "set.001" / f"{name}.npy", np.load(folder / "set.000" / f"{name}.npy") + 0.5)


Damage = Callable[[Path], Any]
FORCES = np.arange(1.0, 55.0).reshape(3, 18)
POLAR = np.tile(np.eye(3).ravel(), (3, 1))
CASES: dict[str, tuple[Damage, str]] = {
    "a type map that names no element": (lambda at: sets(at, type_map="OW\nHW\n"), "'OW' is no element"),
    "a type that the map does not have": (lambda at: sets(at, types="0\n1\n2\n0\n1\n1\n"), "type 2, the type map is O H"),
    "no type map": (lambda at: sets(at, type_map=""), "no type_map.raw; name the element of each type"),
    "two systems in a folder": (
        lambda at: sets(at, types="0\n1\n1\n"),
        r"coord.npy: 18 numbers per frame, type.raw has 3 atoms \(9 numbers\); keep one system per folder",
    ),
    "a label without a unit": (lambda at: sets(at, {"dipole": np.ones((3, 3))}), "dipole without a unit; say it: --dipole-unit"),
    "forces that are zero": (
        lambda at: sets(at, {"force": np.vstack([FORCES[:2], np.zeros(18)])}),
        "forces of frame 2 is exactly zero: absent, or zero",
    ),
    "a number that is none": (
        lambda at: sets(at, {"energy": np.array([1.0, np.nan, 2.0])}),
        "energy.npy: energy of frame 1 is nan",
    ),
    "a coordinate that is infinite": (
        lambda at: sets(at, {"coord": np.where(np.eye(3, 18) == 1, np.inf, 1.0)}),
        "coord of frame 0 is inf",
    ),
    "a virial in one set only": (
        lambda at: _later_set(sets(at, {"virial": POLAR})),
        "virial is absent from frame 3 and 3 of 6 frames in all; --partial keeps them without it",
    ),
    "no frames": (lambda at: [sets(at).joinpath("set.000", "coord.npy").unlink()], "coord.npy: no such file; every set needs it"),
    "no cell": (lambda at: [sets(at).joinpath("set.000", "box.npy").unlink()], "a free molecule has the empty file nopbc"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_sets_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    damage, message = CASES[case]
    damage(tmp_path / "set")
    with pytest.raises(InputError, match=message) as error:
        read_sources([tmp_path / "set"], ReadingOptions())
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_zero_rows_are_what_the_user_says(tmp_path: Path) -> None:
    folder = sets(tmp_path / "set", {"force": np.vstack([FORCES[:2], np.zeros(18)])})
    told = ReadingOptions(zeros={"forces": "absent"}, partial=True)
    found = read_sources([folder], told)
    assert found.systems[0].present("forces").tolist() == [True, True, False]
    assert found.remarks[found.systems[0].remark[2]] == "forces absent: not in the source"
    kept = read_sources([folder], ReadingOptions(zeros={"forces": "value"}))
    assert kept.systems[0].present("forces").all() and (kept.systems[0].labels["forces"][2] == 0).all()


def test_zeros_on_atoms_without_an_atomic_label_are_asked_about(tmp_path: Path) -> None:
    whole = np.zeros((3, 6, 3))
    whole[:, [0, 3]] = 0.4
    # coordinates of random atoms are no molecules: membership comes from distances all the same
    folder = sets(tmp_path / "set", {"atomic_dipole": whole.reshape(3, -1)})
    options = ReadingOptions(dipole_unit="e*angstrom")
    with pytest.raises(InputError, match="atomic_dipole of atom 1 is exactly zero in every frame"):
        read_sources([folder], options)
    found = read_sources([folder], options.model_copy(update={"zeros": {"atomic_dipole": "absent"}}))
    assert np.isfinite(found.systems[0].labels["atomic_dipole"]).all(axis=(0, 2)).tolist() == [True, False, False] * 2


def test_a_choice_of_labelled_types_is_asked_for(tmp_path: Path) -> None:
    folder = sets(tmp_path / "set", {"atomic_dipole": np.ones((3, 9))}, types="0\n0\n0\n1\n1\n1\n")
    options = ReadingOptions(dipole_unit="e*angstrom")
    with pytest.raises(InputError, match="labels of 3 atoms fit several types of 3 O, 3 H; say which: --labelled-types O"):
        read_deepmd(folder, options)
    ((_, found),) = read_deepmd(folder, options.model_copy(update={"labelled_types": ("H",)}))
    assert np.isfinite(found.labels["atomic_dipole"][0, :, 0]).tolist() == [False] * 3 + [True] * 3
    with pytest.raises(InputError, match="labels of 3 atoms, 6 atoms are O or H; correct --labelled-types"):
        read_deepmd(folder, options.model_copy(update={"labelled_types": ("O", "H")}))
    with pytest.raises(InputError, match="labels of 3 atoms, the system has 2 O, 4 H; labels and"):
        read_deepmd(sets(tmp_path / "other", {"atomic_dipole": np.ones((3, 9))}), options)


@pytest.mark.parametrize(("factors", "said"), [((1, -1, 1), "mixed signs"), ((-1, -1, -1), "the other sign")])
def test_a_polarizability_of_negative_sign_is_refused(tmp_path: Path, factors: tuple[int, ...], said: str) -> None:
    folder = sets(tmp_path / "set", {"polarizability": POLAR * np.array(factors)[:, None]})
    with pytest.raises(InputError, match=rf"polarizability of frame \d has the trace -3 Å³ \({said}\)"):
        read_sources([folder], ReadingOptions(polarizability_unit="angstrom^3"))


def test_a_dataset_of_a_newer_schema_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    write_dataset_files(tmp_path / "set", dataset())
    record = (tmp_path / "set" / "labels.json").read_text()
    (tmp_path / "set" / "labels.json").write_text(record.replace('"schema": 2', '"schema": 3'))
    with pytest.raises(InputError, match="schema 3; this release reads 1 and 2; update vibraloom"):
        read_dataset(tmp_path / "set")
    (tmp_path / "set" / "labels.json").write_text(record)
    whole = (tmp_path / "set" / "labels.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not a zip", b"", whole.replace(whole[200:220], bytes(20))):
        (tmp_path / "set" / "labels.npz").write_bytes(damaged)
        with pytest.raises(InputError, match="or damaged; write it again"):
            read_dataset(tmp_path / "set")


def test_molecular_labels_that_no_element_can_carry_are_left_out_and_named(tmp_path: Path) -> None:
    ethanol = FrameSet(
        numbers=np.array([6, 6, 8, 1, 1, 1, 1, 1, 1]),
        pbc=(False, False, False),
        positions=np.arange(27.0).reshape(1, 9, 3),
        cell=None,
        labels={"energy": np.array([-1.0]), "molecular_dipole": np.ones((1, 1, 3))},
        molecule=np.zeros((1, 9), dtype=np.int64),
    )
    names, left_out = export_deepmd(dataset(ethanol), tmp_path / "set", "npy")
    assert left_out == ["molecular_dipole"]
    assert (tmp_path / "set" / names[0] / "set.000" / "energy.npy").is_file()
    assert not list((tmp_path / "set").rglob("atomic_dipole.npy"))


@pytest.mark.parametrize("lattice", ["", 'Lattice="5 0 0 0 5 0 0 0 0" pbc="T T F" '])
def test_a_stress_without_a_volume_is_refused(tmp_path: Path, lattice: str) -> None:
    title = f'{lattice}Properties=species:S:1:pos:R:3 energy=-1.0 stress="0 0 0 0 0 0 0 0 0"'
    (tmp_path / "a.extxyz").write_text(f"1\n{title}\nO 0 0 0\n")
    with pytest.raises(InputError, match=r"frame 0: stress without three lattice vectors"):
        read_sources([tmp_path / "a.extxyz"], ReadingOptions())
