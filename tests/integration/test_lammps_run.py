"""Real LAMMPS runs: exact energies, determinism, restart after a kill, conservation, walls, wall time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.constants as codata
from numpy.typing import NDArray

from vibraloom.calculators.lammps.checkpoints import newest_restart, restart_step
from vibraloom.calculators.lammps.convert import convert
from vibraloom.calculators.lammps.executable import INSTALL, Program, find_lammps
from vibraloom.calculators.lammps.input_writer import write_input, write_restart_input
from vibraloom.calculators.lammps.models import load_model
from vibraloom.calculators.lammps.output_reader import read_dump
from vibraloom.calculators.lammps.settings import Settings
from vibraloom.errors import ComputationError, MissingError
from vibraloom.files.trajectory import Trajectory, read_trajectory
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, KCAL_PER_MOL_IN_EV

WATER = np.array([[0.0, 0.0, 0.0], [1.012, 0.0, 0.0], [-0.399, 0.930, 0.0]])
COULOMB = codata.e**2 / (4 * np.pi * codata.epsilon_0 * codata.angstrom) / codata.e
"""One e²/Å in eV."""
Structure = tuple[Any, ...]


@pytest.fixture(scope="session")
def lmp_path() -> Program:
    try:
        return find_lammps()
    except MissingError:
        pytest.skip(f"LAMMPS is missing; run: {INSTALL}")


def waters(count: int, spacing: float = 3.2) -> NDArray[np.float64]:
    """(count³) waters on a grid, each turned by its own seeded rotation."""
    generator = np.random.default_rng(5)
    places = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    out = []
    for place in places:
        turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        out.append(WATER @ turn + place * spacing)
    return np.concatenate(out)


def bulk() -> Structure:
    positions = waters(2)
    return np.tile([8, 1, 1], 8), positions, np.eye(3) * 6.4, (True, True, True), np.repeat(np.arange(8), 3)


def film() -> Structure:
    a = 4.0782 / np.sqrt(2)
    layer = np.array([[i * a, j * a, 0.0] for i in range(3) for j in range(3)])
    gold = np.concatenate([layer, layer + np.array([a / 2, a / 2, 4.0782 / 2])])
    positions = waters(2) + np.array([0.5, 0.5, 2.04 + 2.6])
    return (
        np.r_[np.full(18, 79), np.tile([8, 1, 1], 8)],
        np.r_[gold, positions],
        np.diag([3 * a, 3 * a, 24.0]),
        (True, True, False),
        np.r_[np.full(18, -1), np.repeat(np.arange(8), 3)],
    )


def dimer() -> Structure:
    positions = np.concatenate([WATER, WATER @ np.diag([-1.0, 1.0, -1.0]) + [0.3, -2.8, 0.4]])
    return np.tile([8, 1, 1], 2), positions, None, (False, False, False), np.repeat([0, 1], 3)


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "temperature": 300.0,
        "timestep": 0.5,
        "equilibration": 100.0,
        "length": 200.0,
        "every": 2.0,
        "seed": 7,
    }
    return Settings(**(values | changes))


def place(folder: Path, files: dict[str, str]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    record: dict[str, Any] = json.loads(files["job.json"])
    return record


def start(folder: Path, program: Program) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(program.path), "-in", "in.lammps", "-log", "none"],
        cwd=folder,
        env=os.environ | program.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run(folder: Path, structure: Structure, program: Program, **changes: Any) -> Trajectory:
    record = place(folder, write_input(*structure, settings(**changes)))
    assert start(folder, program).wait(timeout=120) == 0
    return read_trajectory(convert(folder, record))


def analytic_energy(positions: NDArray[np.float64]) -> float:
    """SPC/Fw energy (eV) of free waters, written out from the published formula."""
    model = load_model("spc/fw")
    molecules = positions.reshape(-1, 3, 3)
    energy = 0.0
    for oxygen, first, second in molecules:
        u, v = first - oxygen, second - oxygen
        for arm in (u, v):
            energy += model.bonds[0].k / 2 * (np.linalg.norm(arm) - model.bonds[0].r0) ** 2
        angle = np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
        energy += model.angles[0].k / 2 * (angle - np.radians(model.angles[0].theta0)) ** 2
    charges = [model.charges["O"], model.charges["H"], model.charges["H"]]
    energy *= KCAL_PER_MOL_IN_EV
    for one, other in combinations(molecules, 2):
        for i in range(3):
            for j in range(3):
                energy += COULOMB * charges[i] * charges[j] / np.linalg.norm(one[i] - other[j])
        ratio = (model.lj["O"].diameter / np.linalg.norm(one[0] - other[0])) ** 6
        energy += 4 * model.lj["O"].epsilon * (ratio**2 - ratio) * KCAL_PER_MOL_IN_EV
    return energy


def test_lammps_energies_are_those_of_the_published_model(tmp_path: Path, lmp_path: Program) -> None:
    trajectory = run(tmp_path, dimer(), lmp_path)
    ours = [analytic_energy(frame.astype(np.float64)) for frame in trajectory.positions]
    assert np.ptp(ours) > 0.05
    assert np.allclose(ours, trajectory.observables["potential_energy"], atol=2e-5)
    assert trajectory.cell is None


def test_velocities_are_in_angstrom_per_fs_and_belong_to_the_positions(tmp_path: Path, lmp_path: Program) -> None:
    trajectory = run(tmp_path, bulk(), lmp_path, every=0.5, length=50.0)
    velocities = np.asarray(trajectory.velocities, dtype=np.float64)
    kinetic = (trajectory.masses[:, None] * velocities**2).sum(axis=(1, 2)) / 2 * AMU_ANGSTROM2_PER_FS2_IN_EV
    assert np.allclose(kinetic, trajectory.observables["kinetic_energy"], rtol=1e-5)
    # Velocity Verlet: x(t+dt) - x(t-dt) = 2 dt v(t), exactly; float32 positions limit the check.
    positions = trajectory.positions.astype(np.float64)
    assert np.allclose((positions[2:] - positions[:-2]) / 1.0, velocities[1:-1], atol=2e-6)
    # Momentum is removed, and three degrees of freedom with it.
    drift = (trajectory.masses[:, None] * velocities).sum(axis=1) / trajectory.masses.sum()
    assert np.abs(drift).max() < 1e-5
    temperature = 2 * kinetic / (3 * 24 - 3) / BOLTZMANN_EV_PER_K
    assert np.allclose(temperature, trajectory.observables["temperature"], rtol=1e-5)


def test_energy_is_conserved_in_production(tmp_path: Path, lmp_path: Program) -> None:
    trajectory = run(tmp_path, bulk(), lmp_path, length=1000.0)
    kinetic = trajectory.observables["kinetic_energy"]
    total = kinetic + trajectory.observables["potential_energy"]
    slope = np.polyfit(trajectory.step * trajectory.timestep, total, 1)[0]
    assert total.std() < 0.05 * kinetic.std()
    assert abs(slope) * 1000 / 24 < 1e-3  # eV per atom and ps


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path, lmp_path: Program) -> None:
    first = run(tmp_path / "a", film(), lmp_path)
    again = run(tmp_path / "b", film(), lmp_path)
    other = run(tmp_path / "c", film(), lmp_path, replica=1)
    assert np.array_equal(first.positions, again.positions)
    assert np.array_equal(np.asarray(first.velocities), np.asarray(again.velocities))
    assert np.abs(first.positions[0] - other.positions[0]).max() > 0.05


def test_the_slab_stays_and_the_film_keeps_all_its_atoms(tmp_path: Path, lmp_path: Program) -> None:
    structure = film()
    trajectory = run(tmp_path, structure, lmp_path, temperature=350.0)
    assert trajectory.step.tolist() == list(range(0, 404, 4))
    assert trajectory.pbc == (True, True, False)
    gold = structure[0] == 79
    assert np.abs(trajectory.positions[:, gold] - structure[1][gold]).max() < 1e-5
    assert np.all(np.asarray(trajectory.velocities)[:, gold] == 0)
    heights = trajectory.positions[:, ~gold, 2]
    assert heights.min() > 2.04
    assert heights.max() < 24.0


def test_molecules_stay_whole_when_they_cross_the_boundary(tmp_path: Path, lmp_path: Program) -> None:
    numbers, positions, cell, pbc, molecules = bulk()
    trajectory = run(tmp_path, (numbers, (positions + 3.1) % 6.4, cell, pbc, molecules), lmp_path)
    arms = trajectory.positions.reshape(trajectory.frames, 8, 3, 3)
    lengths = np.linalg.norm(arms[:, :, 1:] - arms[:, :, :1], axis=-1)
    assert lengths.max() < 1.3
    assert np.abs(np.diff(trajectory.positions, axis=0)).max() < 0.5


def test_a_killed_run_continues_with_the_same_steps(tmp_path: Path, lmp_path: Program) -> None:
    asked = {"length": 10000.0, "every": 5.0, "checkpoint": 300}
    whole = run(tmp_path / "whole", bulk(), lmp_path, **asked)
    folder = tmp_path / "killed"
    record = place(folder, write_input(*bulk(), settings(**asked)))
    process = start(folder, lmp_path)
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint-b.restart").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    report = json.loads(convert(folder, record).read_text())
    assert 0 <= report["restart_step"] <= report["last_step"] + 10 < 20000
    assert not (folder / "trajectory-00.h5").exists()
    place(
        folder,
        write_restart_input(*bulk(), settings(**asked), restart=report["restart"], segment=report["segments"]),
    )
    assert start(folder, lmp_path).wait(timeout=120) == 0
    joined = read_trajectory(convert(folder, record))
    assert not (folder / "incomplete.json").exists()
    assert joined.step.tolist() == whole.step.tolist() == list(range(0, 20010, 10))
    before = joined.step < report["restart_step"]
    assert np.array_equal(joined.positions[before], whole.positions[before])
    after = (joined.step >= report["restart_step"]) & (joined.step <= report["restart_step"] + 100)
    assert after.sum() > 5
    assert np.abs(joined.positions[after] - whole.positions[after]).max() < 1e-3
    total = joined.observables["kinetic_energy"] + joined.observables["potential_energy"]
    assert np.ptp(total) < 0.2 * np.ptp(joined.observables["kinetic_energy"])


def test_a_half_written_restart_file_is_passed_over(tmp_path: Path, lmp_path: Program) -> None:
    run(tmp_path, bulk(), lmp_path, checkpoint=150)
    assert restart_step(tmp_path / "checkpoint-a.restart") == 150
    assert restart_step(tmp_path / "checkpoint-b.restart") == 300
    assert restart_step(tmp_path / "checkpoint-start.restart") == 0
    final = tmp_path / "checkpoint-final.restart"
    assert newest_restart([tmp_path]) == (final, 400)
    data = final.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        final.write_bytes(data[:size])
        assert newest_restart([tmp_path]) == (tmp_path / "checkpoint-b.restart", 300)


def test_a_wall_time_stop_leaves_a_checkpoint_at_the_last_step(tmp_path: Path, lmp_path: Program) -> None:
    record = place(tmp_path, write_input(*bulk(), settings(length=1e7, every=100.0, wall_seconds=1)))
    assert start(tmp_path, lmp_path).wait(timeout=60) == 0
    report = json.loads(convert(tmp_path, record).read_text())
    assert report["restart"] == "checkpoint-final.restart"
    assert 0 <= report["restart_step"] - report["last_step"] < 200
    assert report["restart_step"] > 0


def test_a_wall_time_stop_within_equilibration_leaves_no_production(tmp_path: Path, lmp_path: Program) -> None:
    record = place(tmp_path, write_input(*bulk(), settings(equilibration=1e7, wall_seconds=1)))
    assert start(tmp_path, lmp_path).wait(timeout=60) == 0
    report = json.loads(convert(tmp_path, record).read_text())
    assert (report["restart"], report["last_step"]) == (None, -1)


def test_an_exploding_run_is_told_with_the_line_of_lammps(tmp_path: Path, lmp_path: Program) -> None:
    record = place(
        tmp_path, write_input(*bulk(), settings(timestep=20.0, every=20.0, equilibration=0.0, length=8000.0))
    )
    start(tmp_path, lmp_path).wait(timeout=60)
    with pytest.raises(ComputationError) as caught:
        convert(tmp_path, record)
    assert "log-0000.lammps" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_converter_runs_as_a_silent_job_without_aiida(tmp_path: Path, lmp_path: Program) -> None:
    record = place(tmp_path, write_input(*bulk(), settings()))
    assert start(tmp_path, lmp_path).wait(timeout=60) == 0
    command = [sys.executable, "-m", "vibraloom.calculators.lammps.convert", "job.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_trajectory(tmp_path / "trajectory-00.h5").step[-1] == record["steps"]
    check = f"import sys, {command[2]}; print('aiida' in sys.modules, 'lammps' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == ["False", "False"]


def test_two_processes_give_the_frames_of_one(tmp_path: Path, lmp_path: Program) -> None:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        pytest.skip(f"mpiexec is missing; run: {INSTALL}")
    alone = run(tmp_path / "one", bulk(), lmp_path, equilibration=0.0, length=20.0)
    folder = tmp_path / "two"
    record = place(folder, write_input(*bulk(), settings(equilibration=0.0, length=20.0)))
    command = [str(mpiexec), "-n", "2", str(lmp_path.path), "-in", "in.lammps", "-log", "none"]
    subprocess.run(
        command,
        cwd=folder,
        env=os.environ | lmp_path.environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    step, positions, _, rest = read_dump(folder / "dump-0000.bin", 24)
    assert rest == 0
    assert step.tolist() == alone.step.tolist()
    shared = read_trajectory(convert(folder, record))
    assert np.array_equal(shared.positions, positions)
    assert np.abs(positions - alone.positions).max() < 1e-3
