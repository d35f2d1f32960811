"""Point-charge response: dipole, current, species and layers, against analytic motion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vibraloom.calculators.charges import response
from vibraloom.calculators.charges.response import Layers, charge_response, read_response
from vibraloom.errors import InputError
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.structures.layers import layer_weights

NUMBERS = np.array([79, 8, 1, 1, 8, 1, 1])
CHARGES = np.array([0.0, -0.82, 0.41, 0.41, -0.82, 0.41, 0.41])
MOLECULES = np.array([-1, 0, 0, 0, 1, 1, 1])
MASSES = np.array([197.0, 16.0, 1.0, 1.0, 16.0, 1.0, 1.0])
INTERVAL = 0.25
FREQUENCY = 0.02


def moving(frames: int = 400) -> Trajectory:
    """A gold atom at rest and two waters, each atom on its own harmonic path about its site."""
    generator = np.random.default_rng(3)
    step = np.arange(frames) * 2
    time = step * INTERVAL / 2
    sites = generator.normal(size=(7, 3)) + np.array([[0, 0, 0]] + [[0, 0, 4.0]] * 3 + [[0, 0, 9.0]] * 3)
    phases, sizes = generator.uniform(0, 6, size=(7, 3)), generator.uniform(0.1, 0.3, size=(7, 3))
    sizes[0] = 0.0
    angle = FREQUENCY * time[:, None, None] + phases
    return Trajectory(
        numbers=NUMBERS,
        masses=MASSES,
        step=step.astype(np.int64),
        timestep=INTERVAL / 2,
        positions=sites + sizes * np.sin(angle),
        velocities=FREQUENCY * sizes * np.cos(angle),
        cell=np.diag([10.0, 10.0, 30.0]),
        pbc=(True, True, False),
    )


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    path = tmp_path / "trajectory-00.h5"
    write_trajectory(path, moving())
    return path


def derivative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Central difference, corrected for its own attenuation at the one frequency present."""
    attenuation = np.sin(FREQUENCY * INTERVAL) / (FREQUENCY * INTERVAL)
    return (values[2:] - values[:-2]) / (2 * INTERVAL) / attenuation


def test_current_is_the_time_derivative_of_the_dipole(trajectory: Path) -> None:
    series = charge_response(trajectory, CHARGES, MOLECULES)
    assert series.dipole.shape == series.current.shape == (400, 3)
    assert np.allclose(derivative(series.dipole), series.current[1:-1], atol=1e-5)
    assert np.abs(series.current).max() > 1e-3


def test_dipole_does_not_depend_on_the_origin(trajectory: Path, tmp_path: Path) -> None:
    moved = moving()
    moved.positions = moved.positions + np.array([3.0, -2.0, 5.0])
    write_trajectory(tmp_path / "moved.h5", moved)
    first = charge_response(trajectory, CHARGES, MOLECULES)
    second = charge_response(tmp_path / "moved.h5", CHARGES, MOLECULES)
    assert np.allclose(first.dipole, second.dipole, atol=1e-5)


def test_species_and_layers_each_sum_to_the_current(trajectory: Path) -> None:
    series = charge_response(trajectory, CHARGES, MOLECULES, Layers((3.8, 9.0), ("contact", "middle", "surface")))
    for kind in ("species/", "layer/"):
        total = sum(values for name, values in series.parts.items() if name.startswith(kind))
        assert np.allclose(total, series.current, atol=1e-14)
    assert sorted(series.parts) == [
        "layer/contact",
        "layer/middle",
        "layer/surface",
        "species/Au",
        "species/H",
        "species/O",
    ]
    assert np.all(series.parts["species/Au"] == 0)


def test_a_layer_holds_the_current_of_the_molecules_in_it(trajectory: Path) -> None:
    series = charge_response(trajectory, CHARGES, MOLECULES, Layers((6.5,), ("low", "high")))
    velocities = np.asarray(moving().velocities)
    low = np.einsum("a,fax->fx", CHARGES[1:4], velocities[:, 1:4])
    assert np.allclose(series.parts["layer/low"], low, atol=1e-8)


def test_layers_weigh_each_molecule_at_its_centre_of_mass(trajectory: Path) -> None:
    edge = 4.0
    series = charge_response(trajectory, CHARGES, MOLECULES, Layers((edge,), ("low", "high"), width=2.0))
    frames = moving()
    positions, velocities = np.float32(frames.positions), np.float32(np.asarray(frames.velocities))
    expected = np.zeros((400, 3))
    for atoms in ([1, 2, 3], [4, 5, 6]):
        height = np.average(positions[:, atoms, 2], axis=1, weights=MASSES[atoms])
        weight = layer_weights(height, [edge], ["low", "high"], 2.0)["low"]
        expected += weight[:, None] * np.einsum("a,fax->fx", CHARGES[atoms], velocities[:, atoms])
    assert np.allclose(series.parts["layer/low"], expected, atol=1e-8)
    assert 0.1 < np.abs(expected).max() / np.abs(series.current).max() < 1.0


def test_a_molecule_moving_through_an_edge_adds_no_current(tmp_path: Path) -> None:
    # A rigid dipole that drifts along z has no current in any layer: weights act on the derivative.
    drifting = moving(200)
    height = np.linspace(0.0, 8.0, 200)[:, None]
    positions = np.repeat(drifting.positions[:1], 200, axis=0)
    positions[:, 1:, 2] += height
    velocities = np.zeros_like(positions)
    velocities[:, 1:, 2] = 8.0 / 199 / INTERVAL
    drifting.positions, drifting.velocities = positions, velocities
    write_trajectory(tmp_path / "drift.h5", drifting)
    series = charge_response(tmp_path / "drift.h5", CHARGES, MOLECULES, Layers((6.0, 12.0), ("a", "b", "c")))
    for name in ("a", "b", "c"):
        assert np.abs(series.parts[f"layer/{name}"]).max() < 1e-8


def test_the_block_size_changes_nothing(trajectory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers((3.8, 9.0), ("contact", "middle", "surface"))
    whole = charge_response(trajectory, CHARGES, MOLECULES, layers)
    monkeypatch.setattr(response, "BLOCK_BYTES", 7 * 3 * 8 * 13)
    blocks = charge_response(trajectory, CHARGES, MOLECULES, layers)
    assert np.allclose(whole.dipole, blocks.dipole, atol=1e-14)
    for name, values in whole.parts.items():
        assert np.allclose(values, blocks.parts[name], atol=1e-16)


def test_a_charged_molecule_is_refused(trajectory: Path) -> None:
    charges = CHARGES.copy()
    charges[5] += 0.1
    with pytest.raises(InputError, match=r"molecule 1 carries \+0\.1 e; its dipole depends on the origin"):
        charge_response(trajectory, charges, MOLECULES)


def test_values_that_do_not_fit_the_atoms_are_refused(trajectory: Path) -> None:
    with pytest.raises(InputError, match=r"charges: shape \(6,\).*7 atoms"):
        charge_response(trajectory, CHARGES[1:], MOLECULES)


def test_a_trajectory_without_velocities_is_refused(tmp_path: Path) -> None:
    bare = moving(10)
    bare.velocities = None
    write_trajectory(tmp_path / "bare.h5", bare)
    with pytest.raises(InputError, match="has no velocities"):
        charge_response(tmp_path / "bare.h5", CHARGES, MOLECULES)


def test_the_npz_file_keeps_every_series_without_pickle(trajectory: Path, tmp_path: Path) -> None:
    series = charge_response(trajectory, CHARGES, MOLECULES, Layers((6.5,), ("low", "high")))
    series.write(tmp_path / "response-00.npz")
    with np.load(tmp_path / "response-00.npz", allow_pickle=False) as stored:
        assert {"step", "timestep", "dipole", "current", "part:species/O", "part:layer/low"} <= set(stored.files)
    again = read_response(tmp_path / "response-00.npz")
    assert again.timestep == series.timestep
    assert np.array_equal(again.step, series.step)
    assert np.array_equal(again.parts["layer/high"], series.parts["layer/high"])


def test_a_cut_off_npz_file_gives_one_line(tmp_path: Path) -> None:
    path = tmp_path / "response-00.npz"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="not a response file") as caught:
        read_response(path)
    assert "\n" not in str(caught.value)


def test_the_job_answers_for_every_replica(trajectory: Path) -> None:
    folder = trajectory.parent
    write_trajectory(folder / "trajectory-01.h5", moving(20))
    job = {
        "charges": CHARGES.tolist(),
        "molecules": MOLECULES.tolist(),
        "layers": {"edges": [6.5], "names": ["low", "high"], "width": 0.5},
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "vibraloom.calculators.charges.response", "job.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_response(folder / "response-00.npz").dipole.shape == (400, 3)
    assert read_response(folder / "response-01.npz").dipole.shape == (20, 3)
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, {command[2]}; print('aiida' in sys.modules, 'ase' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.split() == ["False", "False"]
