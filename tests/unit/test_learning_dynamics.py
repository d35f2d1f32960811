"""Replica dynamics on springs, where every answer is known on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from vibraloom.calculators.ase import dynamics
from vibraloom.calculators.ase.dynamics import energy_drift, main, read_plan, replica_groups
from vibraloom.calculators.ase.engines import HarmonicCalculator, Springs
from vibraloom.calculators.ase.verlet import Forces, State, langevin_step
from vibraloom.calculators.job import Progress
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import Trajectory, read_trajectory
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

SPRING, MASS = 40.0, 1.008


def springs(atoms: Atoms, **more: Any) -> dict[str, Any]:
    return {"kind": "harmonic", "sites": atoms.positions.tolist(), "spring": SPRING, "charges": 0.5, **more}


def job_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, atoms: Atoms, **keys: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    write("structure.extxyz", atoms, format="extxyz")
    job = {
        "engine": springs(atoms),
        "temperature": 300,
        "timestep": 0.5,
        "length": 100,
        "every": 1,
        "equilibration": 50,
        "seed": 7,
        "checkpoint": 20,
    }
    return {**job, **keys}


def oscillators() -> Atoms:
    return Atoms("H2", positions=[[0, 0, 0], [5, 0, 0]])


def run(job: dict[str, Any]) -> list[Trajectory]:
    main(job, Progress(Path()))
    return [read_trajectory(path) for path in sorted(Path().glob("trajectory-*.h5"))]


def test_an_oscillator_follows_the_discrete_cosine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = Atoms("H", positions=[[0.1, 0, 0]])
    engine = {"kind": "harmonic", "sites": [[0, 0, 0]], "spring": SPRING, "charges": 0.5}
    job = job_folder(
        tmp_path,
        monkeypatch,
        atoms,
        engine=engine,
        equilibration=0,
        initial={"velocities": "zero"},
        every=0.5,
    )
    (trajectory,) = run(job)
    # velocity Verlet solves x(n) = A cos(n arccos(1 - (w dt)^2 / 2)) exactly
    phase = np.arccos(1 - SPRING / (MASS * AMU_ANGSTROM2_PER_FS2_IN_EV) * 0.5**2 / 2)
    expected = 0.1 * np.cos(phase * trajectory.step)
    np.testing.assert_allclose(trajectory.observables["dipole"][:, 0], 0.5 * expected, atol=1e-11)
    np.testing.assert_allclose(trajectory.positions[:, 0, 0], expected, atol=1e-7)
    assert trajectory.frames == 200 and trajectory.step[0] == 0


def test_frames_carry_steps_energies_and_the_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run(job_folder(tmp_path, monkeypatch, oscillators(), replicas=2))
    np.testing.assert_array_equal(first.step, 2 * np.arange(100))
    total = first.observables["potential_energy"] + first.observables["kinetic_energy"]
    assert np.ptp(total) < 0.02 * total.mean() and total.mean() > 0
    assert first.attributes["energy_drift"] == energy_drift(first)
    assert first.attributes["removed_motion"] == "none"  # springs to sites hold the whole in place
    assert not np.allclose(first.positions, second.positions)
    kinetic = 0.5 * AMU_ANGSTROM2_PER_FS2_IN_EV * MASS * (first.velocities.astype(float) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(kinetic, first.observables["kinetic_energy"], rtol=1e-5)


def test_the_drift_is_the_slope_per_atom_and_picosecond() -> None:
    step = np.arange(50)
    trajectory = Trajectory(
        numbers=np.array([1, 1]),
        masses=np.ones(2),
        step=step,
        timestep=2.0,
        positions=np.zeros((50, 2, 3)),
        observables={"potential_energy": 3.0 + 0.004 * step, "kinetic_energy": np.ones(50)},
    )
    assert energy_drift(trajectory) == pytest.approx(0.004 / 2e-3 / 2)  # eV per 2 fs, two atoms


def test_a_replica_does_not_depend_on_how_many_others_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(job_folder(tmp_path / "one", monkeypatch, oscillators()))[0]
    among = run(job_folder(tmp_path / "three", monkeypatch, oscillators(), replicas=3))[0]
    np.testing.assert_array_equal(alone.positions, among.positions)


class Cut(Exception):
    """The power went off."""


@pytest.mark.parametrize("cut_at", [40, 130, 199, 260])
def test_a_run_that_was_cut_off_continues_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    whole = run(job_folder(tmp_path / "whole", monkeypatch, oscillators(), replicas=2))
    job = job_folder(tmp_path / "cut", monkeypatch, oscillators(), replicas=2)
    calls = 0
    plain = Springs.__call__

    def failing(self: Springs, positions: Any) -> Forces:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise Cut
        return plain(self, positions)

    monkeypatch.setattr(Springs, "__call__", failing)
    with pytest.raises(Cut):
        main(job, Progress(Path()))
    assert not list(Path().glob("trajectory-*.h5"))
    monkeypatch.setattr(Springs, "__call__", plain)
    continued = run(job)
    for one, other in zip(whole, continued, strict=True):
        np.testing.assert_array_equal(one.step, other.step)
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.velocities, other.velocities)
        np.testing.assert_array_equal(one.observables["dipole"], other.observables["dipole"])


def test_another_folder_continues_and_lengthens_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(job_folder(tmp_path / "whole", monkeypatch, oscillators(), length=150))[0]
    run(job_folder(tmp_path / "first", monkeypatch, oscillators()))
    job = job_folder(tmp_path / "second", monkeypatch, oscillators(), length=150, previous=str(tmp_path / "first"))
    longer = run(job)[0]
    np.testing.assert_array_equal(whole.step, longer.step)
    np.testing.assert_array_equal(whole.positions, longer.positions)


def test_other_settings_are_not_mixed_into_an_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_folder(tmp_path, monkeypatch, oscillators())
    run(job)
    with pytest.raises(InputError, match="another plan; start in an empty folder"):
        main({**job, "temperature": 310}, Progress(Path()))
    with pytest.raises(InputError, match="length is shorter"):
        main({**job, "length": 50}, Progress(Path()))


def test_replicas_in_two_processes_give_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run(job_folder(tmp_path / "one", monkeypatch, oscillators(), replicas=2))
    monkeypatch.setattr(dynamics, "BATCH_ATOMS", 0)
    two = run(job_folder(tmp_path / "two", monkeypatch, oscillators(), replicas=2, processes=2))
    assert json.loads(Path("dynamics.json").read_text())["groups"] == [[0], [1]]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)


def test_a_free_diatomic_keeps_no_drift_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = Atoms("HCl", positions=[[0, 0, 0], [0, 0, 1.3]])
    engine = {
        "kind": "harmonic",
        "bonds": [{"atoms": [0, 1], "length": 1.3, "spring": 30.0}],
        "charges": [0.2, -0.2],
    }
    (trajectory,) = run(job_folder(tmp_path, monkeypatch, atoms, engine=engine))
    momentum = np.einsum("a,fai->fi", trajectory.masses, trajectory.velocities.astype(float))
    assert np.abs(momentum).max() < 1e-6
    assert trajectory.attributes["removed_motion"] == "translation"


def test_an_explosion_names_replica_and_step_and_keeps_the_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]])
    engine = {"kind": "harmonic", "bonds": [{"atoms": [0, 1], "length": 5.0, "spring": 30.0}]}
    job = job_folder(tmp_path, monkeypatch, atoms, engine=engine, equilibration=0)
    with pytest.raises(ComputationError, match=r"replica 0, step \d+: .*exploded.extxyz"):
        main(job, Progress(Path()))
    assert "H " in Path("exploded.extxyz").read_text()
    assert not list(Path().glob("trajectory-*.h5"))


def test_forces_that_are_not_numbers_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_folder(tmp_path, monkeypatch, oscillators())
    plain = Springs.__call__
    calls = 0

    def broken(self: Springs, positions: Any) -> Forces:
        nonlocal calls
        calls += 1
        result = plain(self, positions)
        if calls == 30:
            result.forces[0, 1, 2] = np.nan
        return result

    monkeypatch.setattr(Springs, "__call__", broken)
    with pytest.raises(ComputationError, match=r"replica 0, step -\d+: a position or force is not a number"):
        main(job, Progress(Path()))
    assert "nan" not in Path("exploded.extxyz").read_text().lower()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("every", 0.7, "no multiple"),
        ("length", 10.2, "no multiple"),
        ("every", 0, "at least one timestep"),
        ("initial", {"velocities": "hot"}, "allowed: thermal, zero"),
        ("engine", {"kind": "magic"}, "engine kind is 'magic'; allowed: deepmd"),
        ("temperature", -3, "temperature"),
    ],
)
def test_bad_keys_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, text: str
) -> None:
    job = job_folder(tmp_path, monkeypatch, oscillators(), **{key: value})
    with pytest.raises(InputError, match=text):
        main(job, Progress(Path()))
    assert [path.name for path in Path().iterdir() if path.suffix in (".h5", ".npz")] == []


def test_a_small_network_advances_all_replicas_in_one_call() -> None:
    job = {"timestep": 1, "every": 1, "length": 1, "temperature": 1, "seed": 1, "replicas": 4}
    plan = read_plan({**job, "engine": {"kind": "deepmd", "model": "m"}})
    assert replica_groups(plan, 3, 2) == [[0, 1, 2, 3]]
    assert replica_groups(plan, 192, 2) == [[0, 1], [2, 3]]
    assert replica_groups(read_plan({**job, "engine": {"kind": "tblite"}}), 3, 2) == [[0, 1], [2, 3]]


def test_langevin_steps_reach_the_temperature() -> None:
    engine = Springs({"kind": "harmonic", "sites": np.zeros((50, 3)).tolist(), "spring": SPRING}, 50)
    masses = np.full(50, MASS)
    generators = [np.random.default_rng(3)]
    start = np.zeros((1, 50, 3))
    state = State(start, start.copy(), engine(start))
    squares = []
    for step in range(4000):
        langevin_step(state, masses, 0.5, engine, temperature=300, friction=0.05, generators=generators)
        if step >= 400:
            squares.append((state.positions**2).mean())
    # BAOAB samples harmonic positions exactly; 150 oscillators for 90 relaxation times: 1 % error
    assert np.mean(squares) == pytest.approx(BOLTZMANN_EV_PER_K * 300 / SPRING, rel=0.04)


def test_springs_give_forces_that_are_the_slope_of_the_energy() -> None:
    engine = {
        "kind": "harmonic",
        "sites": [[0, 0, 0], [0, 0, 1]],
        "spring": [[1, 2, 3], [4, 5, 6]],
        "bonds": [{"atoms": [0, 1], "length": 0.9, "spring": 7.0}],
    }
    atoms = Atoms("H2", positions=[[0.1, -0.2, 0.05], [0.15, 0.1, 1.1]])
    atoms.calc = HarmonicCalculator(engine)
    numerical = np.zeros((2, 3))
    for index in range(6):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = HarmonicCalculator(engine)
            moved.positions.flat[index] += sign * 1e-4
            numerical.flat[index] -= sign * moved.get_potential_energy() / 2e-4
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-6)
