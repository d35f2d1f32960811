"""A network for a liquid cell learns forces and virials of the committee network, signs included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight waters, shaken and strained, labelled in one run of CP2K; the folder holds labels.npz."""
    if shutil.which("cp2k.psmp") is None:
        pytest.skip("CP2K is missing; run: apt install cp2k")
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
    subprocess.run(["cp2k.psmp", "-i", "cp2k.inp"], cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=120)
    found = read_network_labels(folder, cells, len(water))
    kept = {name: found[name] for name in ("energy", "forces", "virial")}
    np.savez(folder / "labels.npz", numbers=water.numbers, positions=positions, cell=cells, **kept)
    return folder


def test_forces_and_virials_are_learned(labels: Path) -> None:
    (labels / "job.json").write_text(json.dumps(TRAINING))
    subprocess.run(
        [sys.executable, "-m", "vibraloom.calculators.deepmd.training", "job.json"],
        cwd=labels,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        capture_output=True,
    )
    found = json.loads((labels / "validation.json").read_text())["validation"]
    assert found["forces"]["rmse"] < 0.5 * found["forces"]["spread"], found
    with np.load(labels / "validation.npz", allow_pickle=False) as sides:
        model, label = sides["virial_model"].ravel(), sides["virial_label"].ravel()
    # with the other sign of the labels it is negative
    assert np.corrcoef(model, label)[0, 1] > 0.7, found
