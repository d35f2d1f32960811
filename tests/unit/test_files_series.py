"""Dipole and polarizability as other programs leave them: numbers, units, order, steps and time of every format.

The texts follow GPUMD's src/measure/dump_dipole.cu and dump_polarizability.cu, what fix ave/time of LAMMPS 22Jul2025
writes, and deepmd-kit's doc/data/system.md. CP2K has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from series_samples import CELL, DIPOLE, FRAMES, TENSOR, load, refusal

from vibraloom.errors import InputError
from vibraloom.files import number_table
from vibraloom.files.number_table import read_number_table
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.spectra.raman import symmetric_tensors
from vibraloom.units import ANGSTROM3_PER_BOHR3, ANGSTROM_PER_BOHR, E_ANGSTROM_PER_DEBYE

# ---- GPUMD, LAMMPS, plain tables -------------------------------------------------------------------------------------


def gpumd(rows: np.ndarray, quantity: str, every: int = 10, timestep: float = 0.5, runs: int = 1, head: bool = True) -> str:
    """dump_dipole.cu and dump_polarizability.cu; steps are counted from the start of each run."""
    cell = " ".join(f"{value:.10e}" for value in CELL.ravel())
    columns = "dipole_x dipole_y dipole_z" if quantity == "dipole" else "pol_xx pol_yy pol_zz pol_xy pol_yz pol_zx"
    text = ""
    for part in np.array_split(rows, runs):
        if head:
            text += f"# dump_{quantity} {every}\n# format_version 1\n# num_atoms 24\n# cell {cell}\n"
            text += f"# dt_output {every * timestep:.10e} fs\n# columns step {columns}\n"
        for index, row in enumerate(part, start=1):
            text += f"{index * every - 1}" + "".join(f"{value:20.10e}" for value in row) + "\n"
    return text


def test_gpumd_header_gives_cell_steps_and_time(written: Callable[..., Path]) -> None:
    path = written(gpumd(DIPOLE, "dipole"), "dipole.out")
    series = load(path, unit="e*angstrom")
    np.testing.assert_allclose(series.values, DIPOLE, rtol=1e-10)
    np.testing.assert_allclose(series.cell, CELL, rtol=1e-10)
    assert series.steps is not None
    assert series.steps.tolist() == [9, 19, 29, 39, 49, 59]
    assert series.timestep == pytest.approx(5.0, rel=1e-10)
    assert not series.folded
    assert "does not say in what unit its dipole is; give it, e.g. --unit 'e*angstrom'" in refusal(path)
    assert "frames are 5 fs apart" in refusal(path, unit="debye", timestep=0.5)
    assert "GPUMD's dipole, not a polarizability" in refusal(path, "polarizability", unit="angstrom^3")


def test_a_thinned_gpumd_file_is_twice_as_far_apart(written: Callable[..., Path]) -> None:
    lines = gpumd(DIPOLE, "dipole").splitlines(keepends=True)
    path = written("".join([*lines[:6], *lines[6::2]]), "dipole.out")
    assert load(path, unit="debye").timestep == pytest.approx(10.0, rel=1e-10)


def test_gpumd_polarizability_has_its_own_order(written: Callable[..., Path]) -> None:
    rows = np.arange(1.0, 7.0) * (1 + np.arange(4.0)[:, None] / 10)
    for head in (True, False):
        path = written(gpumd(rows, "polarizability", head=head), "polarizability.out")
        series = load(path, "polarizability", unit="bohr^3", timestep=5.0)
        columns = symmetric_tensors(series.values, series.components)[0]
        np.testing.assert_allclose(columns, rows * ANGSTROM3_PER_BOHR3, rtol=1e-10)
        message = refusal(path, "polarizability", unit="bohr^3", timestep=5.0, components="xx,xy,xz,yy,yz,zz")
        assert "GPUMD writes xx,yy,zz,xy,yz,zx" in message
    # under another name the same columns are anybody's: the order is asked for
    other = load(written(gpumd(rows, "polarizability", head=False)), "polarizability", unit="bohr^3", timestep=5.0)
    assert other.components is None


def test_a_second_gpumd_run_in_the_same_file_is_refused(written: Callable[..., Path]) -> None:
    message = refusal(written(gpumd(DIPOLE, "dipole", runs=2), "dipole.out"), unit="debye")
    assert "frame 3 has step 9 after 29: a restart or a second run" in message


def lammps(rows: np.ndarray, vector: bool) -> str:
    """fix ave/time, mode scalar or vector, with the headers of LAMMPS 22Jul2025."""
    text = "# Time-averaged data for fix M\n"
    text += "# TimeStep Number-of-rows\n# Row c_M\n" if vector else "# TimeStep c_M[1] c_M[2] c_M[3]\n"
    for step, row in zip(range(0, 4 * len(rows), 4), rows, strict=True):
        if vector:
            text += f"{step} {len(row)}\n" + "".join(f"{number} {value:.8f}\n" for number, value in enumerate(row, start=1))
        else:
            text += f"{step} " + " ".join(f"{value:.8f}" for value in row) + "\n"
    return text


@pytest.mark.parametrize("vector", [False, True])
def test_lammps_ave_time_is_read_in_both_modes(written: Callable[..., Path], vector: bool) -> None:
    path = written(lammps(DIPOLE, vector))
    series = load(path, unit="e*angstrom", timestep=2.0)
    np.testing.assert_allclose(series.values, DIPOLE, atol=1e-8)
    assert series.steps is not None
    assert series.steps.tolist() == [0, 4, 8, 12, 16, 20]
    assert "Nrepeat must be 1" in series.notes[0]
    assert "LAMMPS ave/time does not say in what unit" in refusal(path, timestep=2.0)
    text = lammps(DIPOLE, vector)
    cut = text[: text.rindex("\n" if vector else " ", 0, -1)] + "\n"
    expected = "frame 5 is not a line 'step 3'" if vector else "row 5 has 3 columns, row 0 has 4"
    assert expected in refusal(written(cut), unit="debye", timestep=2.0)
    jump = text.replace("\n12 ", "\n13 ", 1)
    assert "frame 3 has step 13 after 8, not 4 later" in refusal(written(jump), unit="debye", timestep=2.0)
    wide = lammps(np.hstack([DIPOLE, DIPOLE]), vector)
    assert "6 columns" in refusal(written(wide), unit="debye", timestep=2.0)


def test_lammps_rows_out_of_order_are_refused(written: Callable[..., Path]) -> None:
    text = lammps(DIPOLE, True).replace("\n8 3\n1 ", "\n8 3\n2 ", 1)
    assert "frame 2 does not number its 3 rows 1 to 3" in refusal(written(text), unit="debye", timestep=2.0)


def test_nine_columns_of_travis_need_their_order_and_keep_it(written: Callable[..., Path]) -> None:
    text = "".join(" ".join(f"{value:.6f}" for value in (TENSOR * (1 + f / 100)).ravel()) + "\n" for f in range(4))
    components = "xx,xy,xz,yx,yy,yz,zx,zy,zz"
    series = load(written(text), "polarizability", unit="angstrom^3", timestep=1.0, components=components)
    columns = symmetric_tensors(series.values, series.components)[0]
    np.testing.assert_allclose(columns[0], np.arange(1.0, 7.0), rtol=1e-12)
    unnamed = load(written(text), "polarizability", unit="angstrom^3", timestep=1.0)
    assert unnamed.components is None
    for name in ("travis", " TRAVIS"):
        assert load(written(text), "polarizability", unit="angstrom^3", timestep=1.0, components=name).components == components
    assert "text table does not say in what unit" in refusal(written(text), "polarizability", timestep=1.0, components="travis")
    six = "".join(" ".join(f"{value:.6f}" for value in range(1, 7)) + "\n" for _ in range(4))
    message = refusal(written(six), "polarizability", unit="angstrom^3", timestep=1.0, components="travis")
    assert "travis writes 9 columns, this has 6" in message


def test_units_are_converted_and_asked_for(written: Callable[..., Path], tmp_path: Path) -> None:
    np.save(tmp_path / "dipole.npy", DIPOLE)
    for unit, factor in (("e*angstrom", 1.0), ("debye", E_ANGSTROM_PER_DEBYE), ("e*bohr", ANGSTROM_PER_BOHR)):
        series = load(tmp_path / "dipole.npy", unit=unit, timestep=0.5)
        np.testing.assert_allclose(series.values, DIPOLE * factor, rtol=1e-15)
        assert series.unit_source == f"{unit} (given)"
    assert "does not say in what unit" in refusal(tmp_path / "dipole.npy", timestep=0.5)
    with pytest.raises(InputError, match=r"^--unit: unit 'coulomb' is not a dipole"):
        load(tmp_path / "dipole.npy", unit="coulomb", timestep=0.5)


def test_every_decimal_is_what_float_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    words = [f"{value:.{digits}e}" for digits in range(20) for value in rng.normal(size=300)]
    words += [repr(float(value)) for value in rng.integers(0, 2**63, size=3000).view(np.float64) if np.isfinite(value)]
    words += [f"{value:.{digits}f}" for digits in range(25) for value in rng.normal(scale=1e3, size=50)]
    # a halfway whole number, largest, smallest, subnormal, many digits
    words += ["9007199254740993", "9007199254740992.9999999999999", "1.7976931348623157e308", "5e-324", "2.2250738585072011e-308"]
    words += ["0.1e1", "-0", "+3", ".5", "5.", "00012.50", "1E+2", "123456789012345678901234567890", "1e-400", "0e999"]
    # halfway between two doubles, with a power of ten that is no exact double, and a digit that only shows beyond the 19th
    words += [f"{2**52 + number}.5" for number in range(200)] + [f"{2**51 + number}.75" for number in range(200)]
    words += ["674046912820043.4375", "880639332774503.6875", "838455876731515.4375"]
    just_above = "1.00000000000000011102230246251565404236316680908203126"
    words += [just_above, just_above[:-1] + "5"]
    path = tmp_path / "words.txt"
    path.write_text("\n".join(words) + "\n")
    table = read_number_table(path)
    assert table.numbers.tolist() == [float(word) for word in words]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1.0 nan 2.0", "line 4 is not finite"),
        ("1.0 -inf 2.0", "line 4 is not finite"),
        ("1.0 1e999 2.0", "line 4"),
        ("1.0 ******** 2.0", "line 4 has a number that did not fit its column"),
        ("1.0 2.0", "row 2 has 2 columns, row 0 has 3"),
        ("1.0 2.0 3.0 4.0", "row 2 has 4 columns, row 0 has 3"),
        ("1.0 2_0 3.0", "line 4"),
        ("1.0 2.0 3.0j", "line 4"),
        ("1.0, 2.0, 3.0", "line 4"),
        ("1.0 1e 3.0", "line 4"),
        ("1.0 1.0-200 3.0", "line 4"),
        ("1.0 0x1 3.0", "line 4"),
    ],
)
def test_a_line_that_is_no_row_of_numbers_is_named(written: Callable[..., Path], line: str, said: str) -> None:
    text = f"# x y z\n1 2 3\n4 5 6 # a remark\n{line}\n7 8 9\n"
    assert said in refusal(written(text), unit="debye", timestep=0.5)


def test_a_last_line_without_its_end_is_refused(written: Callable[..., Path]) -> None:
    message = refusal(written("1 2 3\n4 5 6\n7 8 9"), unit="debye", timestep=0.5)
    assert "line 3 has no end ('7 8 9'); the file is cut off" in message


def test_tables_longer_than_a_block_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(9000, 3))
    path = tmp_path / "long.txt"
    np.savetxt(path, values, header="x y z")
    whole = read_number_table(path)
    monkeypatch.setattr(number_table, "_BLOCK", 40_000)
    table = read_number_table(path)
    assert table.comments == whole.comments == ((0, "x y z"),)
    assert np.array_equal(table.rectangle(path), values)
    assert np.array_equal(whole.rectangle(path), values)
    lines = path.read_text().splitlines()
    lines[7777] = "1 2 NaN"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="line 7778 is not finite"):
        read_number_table(path)


# ---- deepmd-kit, NumPy, H5MD -----------------------------------------------------------------------------------------


def deepmd(folder: Path, sets: Sequence[tuple[str, dict[str, np.ndarray]]], types: str = "0 1 1 0 1 1") -> Path:
    folder.mkdir()
    (folder / "type.raw").write_text(types)
    (folder / "type_map.raw").write_text("O H\n")
    for name, arrays in sets:
        (folder / name).mkdir()
        for key, values in arrays.items():
            np.save(folder / name / f"{key}.npy", values)
    return folder


def test_deepmd_sets_follow_their_numbers(tmp_path: Path) -> None:
    box = np.tile(CELL.ravel(), (2, 1))
    parts = [(f"set.{number}", {"dipole": DIPOLE[2 * i : 2 * i + 2], "box": box}) for i, number in enumerate((2, 9, 10))]
    series = load(deepmd(tmp_path / "water", parts), unit="debye", timestep=0.5)
    np.testing.assert_allclose(series.values, DIPOLE * E_ANGSTROM_PER_DEBYE, rtol=1e-15)
    assert np.array_equal(series.cell, CELL)
    (tmp_path / "water" / "nopbc").touch()
    assert load(tmp_path / "water", unit="debye", timestep=0.5).cell is None
    assert "a deepmd system does not say in what unit" in refusal(tmp_path / "water", timestep=0.5)


def test_deepmd_polarizability_is_nine_columns_in_rows(tmp_path: Path) -> None:
    values = np.array([(TENSOR * (1 + f / 100)).ravel() for f in range(3)])
    path = deepmd(tmp_path / "water", [("set.000", {"polarizability": values})])
    series = load(path, "polarizability", unit="angstrom^3", timestep=0.5)
    np.testing.assert_allclose(symmetric_tensors(series.values, series.components)[0][0], np.arange(1.0, 7.0))


def test_deepmd_atomic_labels_are_no_total(tmp_path: Path) -> None:
    atomic = np.random.default_rng(5).normal(size=(4, 2 * 3))
    path = deepmd(tmp_path / "water", [("set.000", {"atomic_dipole": atomic})])
    assert "atomic labels are no total" in refusal_anywhere(path)
    series = load(path, "atomic_dipole", unit="e*angstrom", timestep=0.5)
    assert np.array_equal(series.values, atomic.reshape(4, 2, 3))
    assert "labels of 2 atoms, of 2 O, 4 H" in series.notes[1]
    odd = deepmd(tmp_path / "odd", [("set.000", {"atomic_dipole": np.zeros((4, 5 * 3))})])
    assert "labels of 5 atoms, type.raw has 2 O, 4 H" in refusal(odd, "atomic_dipole", unit="debye", timestep=0.5)


def refusal_anywhere(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(path, unit="debye", timestep=0.5)
    return str(caught.value)


def test_steps_of_an_npz_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "response.npz"
    np.savez(path, dipole=DIPOLE, step=np.arange(0, 12, 2))
    assert load(path, unit="debye", timestep=1.0).steps is not None
    np.savez(path, dipole=DIPOLE, step=np.array([0, 2, 4, 6, 9, 10]))
    assert "frame 4 has step 9 after 6, not 2 later" in refusal(path, unit="debye", timestep=1.0)
    np.savez(path, dipole=DIPOLE, step=np.arange(5))
    assert "one whole number per frame" in refusal(path, unit="debye", timestep=1.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (DIPOLE + 0j, "real numbers are needed"),
        (DIPOLE[:, :2], "3 columns is needed"),
        (DIPOLE[:1], "at least 2 frames"),
        (DIPOLE[:, 0], "one row per frame"),
        (np.where(DIPOLE[4, 1] == DIPOLE, np.nan, DIPOLE), "dipole of frame 4 is nan"),
        (np.where(DIPOLE[4, 1] == DIPOLE, 1e200, DIPOLE), "dipole of frame 4 is beyond 1e100"),
        (np.empty((0, 3)), "holds 0 values"),
    ],
)
def test_arrays_that_are_no_series_are_refused(tmp_path: Path, values: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", values)
    assert said in refusal(tmp_path / "x.npy", unit="debye", timestep=0.5)


def test_our_own_h5md_brings_everything(tmp_path: Path) -> None:
    trajectory = Trajectory(
        numbers=np.array([8]),
        masses=np.array([16.0]),
        step=np.arange(0, 12, 2),
        timestep=0.25,
        positions=np.zeros((FRAMES, 1, 3), dtype=np.float32),
        cell=CELL,
        observables={"dipole": DIPOLE},
    )
    path = tmp_path / "run.h5"
    write_trajectory(path, trajectory)
    series = load(path)
    assert np.array_equal(series.values, DIPOLE)
    assert np.array_equal(series.cell, CELL)
    assert series.timestep == 0.5
    assert series.unit_source == "e*angstrom (H5MD)"
    assert "carries its own unit" in refusal(path, unit="debye")
    assert "--timestep says 0.25 fs" in refusal(path, timestep=0.25)
