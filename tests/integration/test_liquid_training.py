"""Networks for a liquid cell learn forces and virials of CP2K's committee network, and LAMMPS runs on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

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
from vibraloom.calculators.lammps.executable import find_lammps
from vibraloom.calculators.lammps.learned_input import LearnedSettings, Wall, write_learned_input
from vibraloom.files.trajectory import read_trajectory
from vibraloom.structures.bulk_liquid import build_bulk_liquid
from vibraloom.structures.spec import BulkLiquidSystem

FRAMES = 60
TRAINING = {
    "target": "energy",
    "seed": 1,
    "split_by": "frame",
    "steps": 1000,
    "descriptor": {"neuron": [8, 16], "axis_neuron": 4, "rcut": 3.8, "rcut_smth": 0.5},
    "fitting": [24, 24],
    "batch_size": 1,
    "learning_rate": [5e-3, 1e-4],
    "loss": {"start_pref_v": 1.0, "limit_pref_v": 1.0},
}


@pytest.fixture(scope="module")
def labels(cp2k_program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight waters, shaken and strained, labelled in one run of CP2K; the folder holds labels.npz."""
    system = BulkLiquidSystem(kind="liquid", molecule="H2O", count=8, density="0.997 g/cm^3", seed=3)
    water, _ = build_bulk_liquid(system)
    random = np.random.default_rng(4)
    strains = 1 + random.uniform(-0.04, 0.04, FRAMES)[:, None, None]
    cells = strains * water.cell.array
    positions = (water.positions + random.normal(0, 0.03, (FRAMES, len(water), 3))) * strains
    folder = tmp_path_factory.mktemp("liquid")
    water.write(folder / STRUCTURE_FILE, format="xyz")
    (folder / FRAMES_FILE).write_text(frames_text(water.get_chemical_symbols(), positions))
    (folder / CELLS_FILE).write_text(cells_text(cells))
    (folder / "cp2k.inp").write_text(render(network_labels_input(water, FRAMES)))
    subprocess.run([cp2k_program, "-i", "cp2k.inp"], cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=120)
    found = read_network_labels(folder, cells, len(water))
    kept = {name: found[name] for name in ("energy", "forces", "virial")}
    np.savez(folder / "labels.npz", numbers=water.numbers, positions=positions, cell=cells, **kept)
    return folder


def trained(labels: Path, folder: Path, **changes: object) -> Path:
    """A model of the labels in ``folder``."""
    folder.mkdir()
    shutil.copyfile(labels / "labels.npz", folder / "labels.npz")
    (folder / "job.json").write_text(json.dumps(TRAINING | changes))
    subprocess.run(
        [sys.executable, "-m", "vibraloom.calculators.deepmd.training", "job.json"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def committee(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of the labels by two seeds; the second is trained less."""
    pytest.importorskip("deepmd", reason="pip install 'vibraloom[deepmd]'")
    folder = tmp_path_factory.mktemp("committee")
    return trained(labels, folder / "first"), trained(labels, folder / "second", seed=2, steps=200)


def test_forces_and_virials_are_learned(committee: tuple[Path, Path]) -> None:
    found = json.loads((committee[0] / "validation.json").read_text())["validation"]
    assert found["forces"]["rmse"] < 0.5 * found["forces"]["spread"], found
    assert set(found["forces"]["by_element"]) == {"O", "H"} and "frame" in found["forces"]["worst"][0]["frame"]
    with np.load(committee[0] / "validation.npz", allow_pickle=False) as sides:
        model, label = sides["virial_model"].ravel(), sides["virial_label"].ravel()
    # with the other sign of the labels it is negative
    assert np.corrcoef(model, label)[0, 1] > 0.7, found


def run_lammps(folder: Path, committee: tuple[Path, Path], code: int = 0, **changes: object) -> Path:
    """Dynamics of eight waters in ``folder``; the exit code of the converter is ``code``."""
    water, _ = build_bulk_liquid(BulkLiquidSystem(kind="liquid", molecule="H2O", count=8, density="0.997 g/cm^3", seed=3))
    for index, place in enumerate(committee):
        shutil.copyfile(place / "model.pb", folder / f"model-{index}.pb")
    settings = {"temperature": 300, "timestep": 0.25, "equilibration": 5, "length": 50, "every": 0.5, "seed": 1} | changes
    files = write_learned_input(
        water.numbers,
        water.positions,
        water.get_masses(),
        water.cell.array,
        (True, True, True),
        ("model-0.pb", "model-1.pb"),
        LearnedSettings(**settings, wall=Wall("O", 2.35, 0.1)),
    )
    for name, text in files.items():
        (folder / name).write_text(text)
    program = find_lammps()
    command = [str(program.path), "-in", "in.lammps", "-nocite"]
    subprocess.run(command, cwd=folder, env=os.environ | program.environment, check=True, capture_output=True, timeout=120)
    converter = [sys.executable, "-m", "vibraloom.calculators.lammps.convert", "job.json"]
    assert subprocess.run(converter, cwd=folder, capture_output=True, timeout=60).returncode == code
    return folder / "trajectory-00.h5"


def test_lammps_moves_the_atoms_on_the_first_model_and_tells_how_far_the_committee_disagrees(
    committee: tuple[Path, Path], tmp_path: Path
) -> None:
    from vibraloom.calculators.ase.engines import open_deepmd

    trajectory = read_trajectory(run_lammps(tmp_path, committee))
    assert trajectory.step.tolist() == list(range(0, 201, 2))
    places = trajectory.positions.astype(float)
    boxes = np.tile(trajectory.cell.ravel(), (trajectory.frames, 1))
    found = []
    for place in committee:
        model, types = open_deepmd(place / "model.pb", trajectory.numbers.tolist())
        found.append(model.eval(places.reshape(trajectory.frames, -1), boxes, types)[:2])
    oxygen = places[:, trajectory.numbers == 8]
    gaps = oxygen[:, :, None] - oxygen[:, None]
    gaps -= np.rint(gaps / trajectory.cell[0, 0]) * trajectory.cell[0, 0]
    far = np.sqrt((gaps**2).sum(axis=-1))[:, *np.triu_indices(8, 1)].min(axis=1) > 2.35
    energy = found[0][0].ravel()
    assert far.sum() > 20, "the wall gives nothing there"
    np.testing.assert_allclose(trajectory.observables["potential_energy"][far], energy[far], atol=2e-4)
    forces = np.array([forces for _, forces in found])
    spread = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0)).max(axis=1)
    # deepmd-kit writes six decimals, in kcal/mol/Å; positions are float32
    np.testing.assert_allclose(trajectory.observables["force_deviation"], spread, rtol=2e-3)
    total = trajectory.observables["potential_energy"] + trajectory.observables["kinetic_energy"]
    assert np.ptp(total) < 0.02, "eV: NVE"


def test_a_run_that_explodes_is_stopped_with_its_last_frame(committee: tuple[Path, Path], tmp_path: Path) -> None:
    run_lammps(tmp_path, committee, code=3, timestep=4.0, equilibration=0, length=4000, every=8.0, temperature=900)
    message = json.loads((tmp_path / "error.json").read_text())["message"]
    assert "the run exploded at step" in message and "its last frame is in exploded.extxyz" in message
    assert len(read(tmp_path / "exploded.extxyz")) == 24
