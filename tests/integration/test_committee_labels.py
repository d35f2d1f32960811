"""The committee network's labels of many frames in one run of real CP2K, against differences of its own energies."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from numpy.typing import NDArray

from vibraloom.calculators.committee.input_writer import (
    CELLS_FILE,
    FRAMES_FILE,
    cells_text,
    frames_text,
    network_labels_input,
)
from vibraloom.calculators.committee.labels import read_network_labels
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.method_sections import STRUCTURE_FILE
from vibraloom.errors import InputError
from vibraloom.structures.bulk_liquid import build_bulk_liquid
from vibraloom.structures.spec import BulkLiquidSystem

Array = NDArray[np.float64]
MOVED = 2e-3
"""Å, and the same number as a strain."""


@pytest.fixture(scope="module")
def water() -> Atoms:
    system = BulkLiquidSystem(kind="liquid", molecule="H2O", count=16, density="0.997 g/cm^3", seed=2)
    return build_bulk_liquid(system)[0]


@pytest.fixture(scope="module")
def run(water: Atoms, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Array]:
    """A run over the frame itself, six with one atom moved, and four strained ones; its folder and the cells."""
    if shutil.which("cp2k.psmp") is None:
        pytest.skip("CP2K is missing; run: apt install cp2k")
    cell, places = water.cell.array, water.positions
    positions, cells = [places], [cell]
    for axis in range(3):
        for sign in (1, -1):
            moved = places.copy()
            moved[4, axis] += sign * MOVED
            positions.append(moved)
            cells.append(cell)
    for strain in (np.diag([1.0, 0, 0]), np.array([[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]])):
        for sign in (1, -1):
            matrix = np.eye(3) + sign * MOVED * strain
            positions.append(places @ matrix)
            cells.append(cell @ matrix)
    folder = tmp_path_factory.mktemp("network")
    water.write(folder / STRUCTURE_FILE, format="xyz")
    (folder / FRAMES_FILE).write_text(frames_text(water.get_chemical_symbols(), np.array(positions)))
    (folder / CELLS_FILE).write_text(cells_text(np.array(cells)))
    (folder / "cp2k.inp").write_text(render(network_labels_input(water, len(positions))))
    with (folder / "cp2k.out").open("w") as output:
        command = ["cp2k.psmp", "-i", "cp2k.inp"]
        subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=True, timeout=120)
    return folder, np.array(cells)


def test_forces_and_virial_are_derivatives_of_the_energy(run: tuple[Path, Array], water: Atoms) -> None:
    folder, cells = run
    found = read_network_labels(folder, cells, len(water))
    energy = found["energy"]
    slope = (energy[1:7:2] - energy[2:7:2]) / (2 * MOVED)
    np.testing.assert_allclose(found["forces"][0, 4], -slope, atol=2e-4)
    stretched, sheared = (energy[7] - energy[8]) / (2 * MOVED), (energy[9] - energy[10]) / (2 * MOVED)
    virial = found["virial"][0]
    np.testing.assert_allclose([virial[0, 0], virial[1, 2]], [-stretched, -sheared], rtol=1e-3, atol=1e-3)


def test_the_committee_disagrees_a_little(run: tuple[Path, Array], water: Atoms) -> None:
    found = read_network_labels(*run, len(water))
    spread = np.linalg.norm(found["force_spread"], axis=-1)
    assert 1e-3 < spread.mean() < 0.5 * np.linalg.norm(found["forces"], axis=-1).mean()
    assert (found["energy_spread"] > 0).all()


def test_another_number_of_frames_is_refused(run: tuple[Path, Array], water: Atoms) -> None:
    folder, cells = run
    with pytest.raises(InputError, match=r"11 frames, 10 were asked for"):
        read_network_labels(folder, cells[:-1], len(water))


def test_only_periodic_water_is_taken(water: Atoms) -> None:
    salty = water.copy()
    salty.numbers[0] = 11
    with pytest.raises(InputError, match="Na: the committee network was trained on liquid water"):
        network_labels_input(salty, 1)
    with pytest.raises(InputError, match="allowed: 1 or more"):
        network_labels_input(water, 0)


def test_a_job_makes_a_dataset(water: Atoms, project: Path, in_project: Path, tmp_path: Path) -> None:
    if shutil.which("cp2k.psmp") is None:
        pytest.skip("CP2K is missing; run: apt install cp2k")
    from aiida import orm
    from aiida.engine import run_get_node

    from vibraloom.calculators.committee.calcjob import CommitteeLabelCalculation
    from vibraloom.workflows.clusters import add
    from vibraloom.workflows.launch import short_runner

    add("localhost", project)
    shaken = water.copy()
    shaken.rattle(0.02, seed=1)
    write(tmp_path / "frames.extxyz", [water, shaken], format="extxyz", columns=["symbols", "positions"])
    with short_runner():
        results, node = run_get_node(
            CommitteeLabelCalculation,
            code=orm.load_code("cp2k@localhost"),
            converter=orm.load_code("python@localhost"),
            parameters=orm.Dict({"temperature": 300}),
            frames=orm.SinglefileData(tmp_path / "frames.extxyz"),
        )
    assert node.is_finished_ok, node.exit_message
    dataset = results["dataset"]
    assert dataset.base.attributes.get("frames") == 2
    with dataset.as_path() as folder, np.load(folder / "labels.npz", allow_pickle=False) as labels:
        np.testing.assert_allclose(labels["positions"][1], shaken.positions, atol=1e-8)
        assert labels["virial"].shape == (2, 3, 3)
    settings = dataset.base.attributes.get("settings")
    assert settings["versions"] == {"cp2k": "CP2K 2023.1"}
    assert settings["settings"]["temperature"] == 300
