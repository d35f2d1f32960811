"""Finished folders of CP2K as sources of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files.dataset_options import ReadingOptions
from vibraloom.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from vibraloom.workflows.dataset_sources import read_sources

CELL = np.diag([8.0, 8.0, 8.0])
ENERGIES = (-17.1, -17.2, -17.3)
"""Hartree, of steps 0, 2 and 4."""


def frames(steps: tuple[int, ...], values: float) -> str:
    text = ""
    for step in steps:
        text += f"3\n i = {step:8d}, time = {0.5 * step:12.3f}, E = {-17.0:20.10f}\n"
        text += "".join(f"{symbol} {values + atom:.10f} {0.1 * step:.10f} 0.5\n" for atom, symbol in enumerate("OHH"))
    return text


def dynamics(folder: Path, *, cell: bool = True) -> Path:
    """What CP2K leaves of a run that printed positions at every second step and forces at every fourth."""
    folder.mkdir()
    (folder / "water-pos-1.xyz").write_text(frames((0, 2, 4), 1.0))
    (folder / "water-frc-1.xyz").write_text(frames((0, 4), 0.01))
    rows = [f"{step} {0.5 * step} 0.01 300.0 {energy} -17.0 0.1\n" for step, energy in zip((0, 2, 4), ENERGIES, strict=True)]
    title = "# Step Nr. Time[fs] Kin.[a.u.] Temp[K] Pot.[a.u.] Cons Qty[a.u.] UsedTime[s]\n"
    (folder / "water-1.ener").write_text(title + "".join(rows))
    if cell:
        vectors = " ".join(f"{value:.10f}" for value in CELL.ravel())
        rows = [f"{step} {0.5 * step} {vectors} 512.0\n" for step in (0, 2, 4)]
        (folder / "water-1.cell").write_text("# Step Time [fs] Ax Ay Az Bx By Bz Cx Cy Cz Volume\n" + "".join(rows))
    lines = " CP2K| version string: CP2K version 2023.1\n"
    for axis, row in zip("abc", CELL, strict=True):
        lines += f" CELL| Vector {axis} [angstrom]: {row[0]:14.3f} {row[1]:9.3f} {row[2]:9.3f}    |{axis}| = {8.0:11.6f}\n"
    (folder / "water.out").write_text(lines + " POISSON| Periodicity                                              XYZ\n")
    return folder


@pytest.mark.parametrize("cell", [True, False])
def test_steps_that_positions_and_forces_share_become_frames(tmp_path: Path, cell: bool) -> None:
    found = read_sources([dynamics(tmp_path / "run", cell=cell)], ReadingOptions())
    (system,) = found.systems
    assert system.source_frame.tolist() == [0, 4]
    np.testing.assert_allclose(system.labels["energy"], np.array([-17.1, -17.3]) * EV_PER_HARTREE, rtol=1e-12)
    # trajectories are read in single precision
    np.testing.assert_allclose(system.labels["forces"][1, 2, 0], 2.01 * EV_PER_HARTREE / ANGSTROM_PER_BOHR, rtol=6e-8)
    np.testing.assert_allclose(system.positions[:, 0], [[1.0, 0.0, 0.5], [1.0, 0.4, 0.5]], rtol=6e-8)
    assert system.cell is not None
    np.testing.assert_array_equal(system.cell, [CELL, CELL])


def test_a_free_molecule_has_no_cell(tmp_path: Path) -> None:
    folder = dynamics(tmp_path / "run")
    (folder / "water.out").write_text(" CP2K| version string: CP2K version 2023.1\n")
    (folder / "water.inp").write_text("&FORCE_EVAL\n  &SUBSYS\n    &CELL\n      PERIODIC NONE\n")
    (system,) = read_sources([folder], ReadingOptions()).systems
    assert system.cell is None and system.pbc == (False, False, False)


def test_periodic_moments_do_not_make_a_molecule_of_a_cell(tmp_path: Path) -> None:
    folder = dynamics(tmp_path / "run")
    (folder / "water.out").write_text(" CP2K| version string: CP2K version 2023.1\n")
    moments = "&FORCE_EVAL\n &DFT\n  &PRINT\n   &MOMENTS\n    PERIODIC T\n   &END\n  &END\n &END\n"
    (folder / "water.inp").write_text(moments + " &SUBSYS\n  &CELL\n   ABC 8 8 8\n  &END CELL\n &END\n&END\n")
    (system,) = read_sources([folder], ReadingOptions()).systems
    assert system.pbc == (True, True, True)
    (folder / "other.inp").write_text("&CELL\n PERIODIC XY\n&END\n")
    with pytest.raises(InputError, match=r"inputs of different periodicity, and water.out does not tell"):
        read_sources([folder], ReadingOptions())


def test_a_folder_without_forces_says_what_to_print(tmp_path: Path) -> None:
    folder = dynamics(tmp_path / "run")
    (folder / "water-1.ener").unlink()
    with pytest.raises(InputError, match=r"water-1.ener: missing or empty; positions, forces and energies"):
        read_sources([folder], ReadingOptions())
    (folder / "cp2k.out").write_text(" CP2K| version string: CP2K version 2023.1\n")
    (folder / "water-frc-1.xyz").unlink()
    with pytest.raises(InputError, match=r"neither labels.npz nor \*-frc-1.xyz; CP2K must print forces"):
        read_sources([folder], ReadingOptions())


def label_job(folder: Path, shift: float, **changed: Any) -> Path:
    """A job of one frame in a cell; the Berry dipole is one quantum away from the sum over the molecules."""
    folder.mkdir()
    molecular = np.array([[[0.1, 0.2, 0.3]]])
    arrays: dict[str, Any] = {
        "numbers": np.array([8, 1, 1]),
        "positions": np.array([[[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]]]),
        "cell": CELL[None],
        "energy": np.array([-470.0]),
        "dipole": molecular[0] - [[8.0, 0.0, 0.0]] - shift,
        "dipole_quantum": CELL[None],
        "molecule": np.array([[0, 0, 0]]),
        "molecular_dipole": molecular,
        "molecular_charge": np.array([[0.0]]),
        "wannier_minus_berry": np.full((1, 3), shift),
        **changed,
    }
    np.savez(folder / "labels.npz", **{name: values for name, values in arrays.items() if values is not None})
    record = {"kind": "label", "pbc": [True] * 3, "followups": ["linres"], "method": {"functional": "PBE"}}
    (folder / "job.json").write_text(json.dumps(record))
    return folder


def test_the_dipole_of_a_job_is_put_on_the_branch_of_its_molecules(tmp_path: Path) -> None:
    found = read_sources([label_job(tmp_path / "job", 0.02)], ReadingOptions())
    np.testing.assert_allclose(found.systems[0].labels["dipole"], [[0.08, 0.18, 0.28]], atol=1e-12)
    assert found.methods == ({"engine": "cp2k", "functional": "PBE"},)
    assert found.remarks[found.systems[0].remark[0]] == "partial: linres did not run"


@pytest.mark.parametrize(
    ("shift", "changed"),
    [
        (2.5, {}),
        (0.02, {"molecular_charge": np.array([[1.0]])}),
        (0.02, {"molecule": np.array([[0, 0, -1]])}),
        (0.02, {"wannier_minus_berry": None, "molecular_dipole": None, "molecule": None, "molecular_charge": None}),
    ],
)
def test_a_dipole_of_an_unknown_branch_is_absent_and_told(tmp_path: Path, shift: float, changed: dict[str, Any]) -> None:
    found = read_sources([label_job(tmp_path / "job", shift, **changed)], ReadingOptions())
    system = found.systems[0]
    assert "dipole" not in system.labels and system.present("energy").all()
    assert found.remarks[system.remark[0]].startswith("dipole absent: known modulo its quantum alone")


def test_several_folders_become_one_system(tmp_path: Path) -> None:
    jobs = [label_job(tmp_path / name, 0.02, energy=np.array([energy])) for name, energy in (("a", -470.0), ("b", -471.0))]
    found = read_sources(jobs, ReadingOptions())
    assert found.frames == 2, "one geometry, two energies: both are kept"
    assert found.history[-1]["conflicts"][0]["frames"] == [f"{tmp_path}/a frame 0", f"{tmp_path}/b frame 0"]
