"""LAMMPS input: types, topology, boundaries, settings, refusals."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vibraloom.calculators.lammps.input_writer import write_input, write_restart_input
from vibraloom.calculators.lammps.models import load_model
from vibraloom.calculators.lammps.settings import Settings
from vibraloom.calculators.lammps.topology import build_topology
from vibraloom.errors import InputError

WATER = np.array([[0.0, 0.0, 0.0], [1.012, 0.0, 0.0], [-0.399, 0.930, 0.0]])


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


def bulk() -> tuple[Any, ...]:
    positions = np.concatenate([WATER + np.array([x, y, 3.0]) for x in (2.0, 6.0) for y in (2.0, 6.0)])
    return np.tile([8, 1, 1], 4), positions, np.eye(3) * 8.0, (True, True, True), np.repeat(np.arange(4), 3)


def film() -> tuple[Any, ...]:
    numbers, positions, _, _, molecules = bulk()
    gold = np.array([[x, y, 0.0] for x in (0.0, 4.0) for y in (0.0, 4.0)])
    return (
        np.r_[np.full(4, 79), numbers],
        np.r_[gold, positions],
        np.diag([8.0, 8.0, 25.0]),
        (True, True, False),
        np.r_[np.full(4, -1), molecules],
    )


def section(data: str, title: str) -> list[list[str]]:
    body = re.split(r"\n(?=[A-Z][a-z]+)", data)
    rows = next(part for part in body if part.startswith(title)).splitlines()[1:]
    return [row.split("#")[0].split() for row in rows if row.strip()]


def test_force_constants_are_halved_for_lammps() -> None:
    script = write_input(*bulk(), settings())["in.lammps"]
    assert "bond_coeff 1 529.581 1.012\n" in script
    assert "angle_coeff 1 37.95 113.24\n" in script


def test_gold_water_mixing_is_arithmetic_sigma_geometric_epsilon() -> None:
    script = write_input(*film(), settings())["in.lammps"]
    row = re.search(r"pair_coeff 1 2 (\S+) (\S+)  # Au O", script)
    assert row is not None
    assert float(row.group(1)) == pytest.approx((5.29 * 0.1554253) ** 0.5, rel=1e-9)
    assert float(row.group(2)) == pytest.approx((2.951 / 2 ** (1 / 6) + 3.165492) / 2, abs=1e-8)


def test_each_water_gets_two_bonds_and_one_angle_about_oxygen() -> None:
    numbers, positions, _, pbc, molecules = bulk()
    shuffled = np.random.default_rng(1).permutation(len(numbers))
    top = build_topology(
        numbers[shuffled],
        positions[shuffled],
        np.full(3, 8.0),
        pbc,
        molecules[shuffled],
        load_model("spc/fw"),
        load_model("heinz/lj"),
    )
    assert len(top.bonds) == 8
    assert len(top.angles) == 4
    for _, a, b in top.bonds:
        assert sorted(numbers[shuffled][[a, b]]) == [1, 8]
        assert np.linalg.norm(top.positions[a] - top.positions[b]) == pytest.approx(1.012, abs=2e-3)
    for _, a, centre, b in top.angles:
        assert numbers[shuffled][[a, centre, b]].tolist() == [1, 8, 1]


def test_a_molecule_folded_across_the_boundary_is_made_whole() -> None:
    numbers, positions, cell, pbc, molecules = bulk()
    moved = positions + np.array([5.5, 1.2, 0.0])
    whole = section(write_input(numbers, moved, cell, pbc, molecules, settings())["data.lammps"], "Atoms")
    folded = section(write_input(numbers, moved % 8.0, cell, pbc, molecules, settings())["data.lammps"], "Atoms")
    first, second = (np.array([[float(v) for v in row[4:7]] for row in rows]) for rows in (whole, folded))
    shift = (first - second) / 8.0
    assert np.allclose(shift, np.round(shift), atol=1e-9)
    for molecule in range(4):
        assert np.ptp(shift[molecules == molecule], axis=0).max() == pytest.approx(0.0, abs=1e-9)
    assert np.abs(second[1::3] - second[::3]).max() < 1.1


def test_slab_has_fixed_displacement_field_wall_and_frozen_metal() -> None:
    script = write_input(*film(), settings())["in.lammps"]
    for line in (
        "boundary p p f",
        "kspace_modify slab 3",
        "group frozen type 1",
        "neigh_modify exclude group frozen frozen",
        "fix wall mobile wall/reflect zlo EDGE zhi EDGE",
    ):
        assert f"{line}\n" in script
    assert not re.search(r"^fix \w+ (all|frozen) (nve|langevin)", script, re.MULTILINE)


def test_bulk_has_no_slab_correction_and_a_free_molecule_no_kspace() -> None:
    periodic = write_input(*bulk(), settings())["in.lammps"]
    assert "boundary p p p\n" in periodic
    assert "slab" not in periodic
    numbers, positions, _, _, molecules = bulk()
    free = write_input(numbers[:3], positions[:3], None, (False, False, False), molecules[:3], settings())
    assert "kspace" not in free["in.lammps"]
    assert json.loads(free["job.json"])["cell"] is None


def test_isotopes_get_their_own_type() -> None:
    numbers, positions, cell, pbc, molecules = bulk()
    masses = np.where(numbers == 8, 15.9994, 1.008)
    masses[1] = 2.014
    files = write_input(numbers, positions, cell, pbc, molecules, settings(), masses)
    assert [float(row[1]) for row in section(files["data.lammps"], "Masses")] == [15.9994, 2.014, 1.008]
    assert json.loads(files["job.json"])["masses"][1] == 2.014


def test_same_seed_same_text_and_another_replica_other_velocities() -> None:
    first, again = write_input(*bulk(), settings()), write_input(*bulk(), settings())
    assert first == again
    other = write_input(*bulk(), settings(replica=1))["in.lammps"]
    seed = re.compile(r"velocity mobile create 300 (\d+)")
    assert seed.search(other).group(1) != seed.search(first["in.lammps"]).group(1)  # type: ignore[union-attr]


def test_seed_zero_gives_seeds_that_lammps_accepts() -> None:
    assert all(0 < value < 900_000_000 for value in settings(seed=0).engine_seeds)


def test_a_continued_run_goes_on_to_the_same_last_step() -> None:
    files = write_restart_input(*bulk(), settings(), restart="checkpoint-a.restart", segment=3)
    assert set(files) == {"in.lammps", "job.json"}
    script = files["in.lammps"]
    assert 'read_restart "checkpoint-a.restart"\n' in script
    assert "dump-0003.bin" in script
    assert "run 400 upto\n" in script
    assert "velocity" not in script
    assert "reset_timestep" not in script


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"every": 1.7},
            r"dynamics\.every: 1\.7 fs is not a multiple of timestep \(0\.5 fs\); allowed: 1\.5 fs",
        ),
        ({"every": 0.2}, r"dynamics\.every.*allowed: 0\.5 fs"),
        ({"length": 201.0}, r"dynamics\.length: 201 fs is not a multiple of every"),
        ({"temperature": 0.0}, r"dynamics\.temperature: 0; allowed: above 0"),
        ({"temperature": float("nan")}, r"dynamics\.temperature: nan; allowed"),
        ({"equilibration": -1.0}, r"dynamics\.equilibration"),
        ({"seed": -1}, r"dynamics\.seed: -1; allowed: 0 or more"),
        ({"model": "tip3p"}, r"'tip3p'.*allowed: spc/fw"),
        ({"metal": "spc/fw"}, r"'spc/fw'.*allowed: heinz/lj"),
        ({"checkpoint": 0}, r"dynamics\.checkpoint"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        settings(**change)
    assert "\n" not in str(caught.value)


def refused(index: int, value: object, source: tuple[Any, ...]) -> str:
    arguments = list(source)
    arguments[index] = value
    with pytest.raises(InputError) as caught:
        write_input(*arguments, settings())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_structure_that_does_not_fit_is_refused() -> None:
    skew = np.array([[8.0, 0, 0], [4.0, 7.0, 0], [0, 0, 25.0]])
    assert "orthogonal: true" in refused(2, skew, film())
    assert "needs a cell" in refused(2, None, bulk())
    assert "pbc" in refused(3, (True, False, False), bulk())
    assert "vacuum" in refused(2, np.diag([8.0, 8.0, 3.9]), film())
    assert "no molecule" in refused(4, np.full(12, -1), (*bulk()[:4], None))


def test_wrong_molecule_ids_are_refused() -> None:
    ids = bulk()[4].copy()
    ids[[2, 5]] = ids[[5, 2]]
    assert "check the structure's molecule ids" in refused(4, ids, bulk())
    ids = bulk()[4].copy()
    ids[2] = 3
    assert "molecule 0: H1O1, but model spc/fw is for O1H2" in refused(4, ids, bulk())


def test_positions_that_are_not_numbers_are_refused() -> None:
    positions: NDArray[np.float64] = bulk()[1].copy()
    positions[3, 1] = np.nan
    assert "positions" in refused(1, positions, bulk())
