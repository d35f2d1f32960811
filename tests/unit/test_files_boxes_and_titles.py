"""Boxes and titles that carry what the rows do not: scaled positions of LAMMPS, units and beads of i-PI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trajectory_samples import CELL, FRAMES, INTERVAL, POSITIONS, STRIDE, VELOCITIES, write_dump, write_ipi, write_scaled_dump

from vibraloom.errors import InputError
from vibraloom.files.velocities import read_positions, read_velocities
from vibraloom.units import ANGSTROM_PER_BOHR


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["orthogonal", "triclinic", "general"])
@pytest.mark.parametrize("columns", ["xs ys zs", "xsu ysu zsu"])
@pytest.mark.parametrize("breathing", [0.0, 0.01])
def test_scaled_positions_of_lammps_count_edges_of_the_box_of_their_frame(
    folder: Path, kind: str, columns: str, breathing: float
) -> None:
    cells = write_scaled_dump(folder / "run.dump", columns, kind=kind, breathing=breathing)
    found = read_positions("run.dump", timestep=INTERVAL)
    np.testing.assert_allclose(np.asarray(found.values), POSITIONS, rtol=3e-7, atol=2e-6)
    np.testing.assert_allclose(found.values.read(2, 5, slice(1, 3)), POSITIONS[2:5, 1:3], rtol=3e-7, atol=2e-6)
    np.testing.assert_allclose(found.cell, cells if breathing else cells[0], atol=1e-9)
    assert any("folded" in note for note in found.notes) == (columns == "xs ys zs")


def test_unwrapped_positions_of_lammps_come_before_folded_ones(folder: Path) -> None:
    write_dump(folder / "run.dump", units="real")
    text = (folder / "run.dump").read_text()
    for columns, kept in (("xs ys zs xu yu zu", True), ("x y z xsu ysu zsu", False)):
        (folder / "two.dump").write_text(text.replace("xu yu zu vx vy vz", columns))
        found = read_positions("two.dump", timestep=INTERVAL)
        expected = VELOCITIES if kept else VELOCITIES @ CELL
        np.testing.assert_allclose(np.asarray(found.values), expected, rtol=1e-6, atol=1e-8)
        assert not any("folded" in note for note in found.notes)


def test_a_box_has_the_unit_of_its_positions(folder: Path) -> None:
    write_dump(folder / "run.dump")
    for unit, factor in (("angstrom", 1.0), ("nm", 10.0)):
        found = read_positions("run.dump", timestep=INTERVAL, unit=unit)
        np.testing.assert_allclose(found.cell, CELL * factor, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(found.values), POSITIONS * factor, rtol=3e-7)


@pytest.mark.parametrize("cell_unit", ["angstrom", "atomic_unit"])
@pytest.mark.parametrize(("quantity", "unit"), [("positions", "angstrom"), ("x_centroid", "atomic_unit")])
def test_positions_of_ipi_have_the_units_and_the_bead_of_their_title(
    folder: Path, quantity: str, unit: str, cell_unit: str
) -> None:
    scale = ANGSTROM_PER_BOHR if unit == "atomic_unit" else 1.0
    write_ipi(folder / "run.pos_3.xyz", POSITIONS / scale, quantity, unit, bead=3, cell_unit=cell_unit)
    found = read_positions("run.pos_3.xyz", timestep=INTERVAL)
    np.testing.assert_allclose(np.asarray(found.values), POSITIONS, rtol=5e-6)
    np.testing.assert_allclose(found.cell, CELL, atol=1e-5)
    assert (found.bead, found.timestep) == (3, INTERVAL)
    assert f"{quantity} of bead 3 by i-PI" in found.notes
    assert found.steps is not None
    assert found.steps.tolist() == [frame * STRIDE for frame in range(FRAMES)]
    with pytest.raises(InputError, match="--position-unit says nm"):
        read_positions("run.pos_3.xyz", timestep=INTERVAL, unit="nm")
    with pytest.raises(InputError, match=f"holds {quantity} by its title"):
        read_velocities("run.pos_3.xyz", timestep=INTERVAL)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("velocities{atomic_unit}", "velocities{m/s}", "velocities in 'm/s'"),
        ("velocities{atomic_unit}", "velocities{}", "velocities in ''"),
        ("velocities{atomic_unit}", "velocities", "names no quantity with its unit"),
        ("velocities{atomic_unit}", "forces{atomic_unit}", "names forces"),
        ("velocities{atomic_unit}", "velocities{atomic_unit} positions{angstrom}", "names velocities, positions"),
        ("cell{atomic_unit}", "cell{furlong}", "cell in 'furlong'"),
        ("cell{atomic_unit}", "", "cell in 'no unit'"),
        ("CELL(abcABC)", "CELL(GENH)", "three lengths and three angles"),
        ("Bead:", "Beak:", "no number of its step or bead"),
    ],
)
def test_a_title_of_ipi_that_is_not_understood_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    write_ipi(folder / "run.xyz", VELOCITIES, "velocities", "atomic_unit")
    text = (folder / "run.xyz").read_text()
    assert old in text
    (folder / "run.xyz").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as refused:
        read_velocities("run.xyz", timestep=INTERVAL, unit="bohr/au_time")
    assert "run.xyz: frame 0" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_beads_of_ipi_are_not_mixed(folder: Path) -> None:
    for bead in (0, 1):
        write_ipi(folder / f"{bead}.xyz", VELOCITIES, "velocities", "atomic_unit", bead=bead)
    (folder / "both.xyz").write_text((folder / "0.xyz").read_text() + (folder / "1.xyz").read_text())
    with pytest.raises(InputError, match=f"both.xyz: frame {FRAMES} has another title than frame 0"):
        read_velocities("both.xyz", timestep=INTERVAL)
    text = (folder / "0.xyz").read_text().replace(f"Step:  {2 * STRIDE:10d}", f"Step:  {2 * STRIDE + 1:10d}")
    (folder / "jump.xyz").write_text(text)
    with pytest.raises(InputError, match="frame 2 has step 9 after 4, not 4 later"):
        read_velocities("jump.xyz", timestep=INTERVAL)
