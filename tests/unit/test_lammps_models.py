"""Classical models: parameters, validation, and messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vibraloom.calculators.lammps.models import (
    FOLDER,
    available_models,
    load_model,
    model_charges,
    read_model,
    species_of,
)
from vibraloom.errors import InputError

# Nearest-neighbour distances in Å from room-temperature lattice constants (a / sqrt 2).
NEIGHBOURS = {
    "Ag": 2.889,
    "Al": 2.863,
    "Au": 2.884,
    "Cu": 2.556,
    "Ni": 2.492,
    "Pb": 3.500,
    "Pd": 2.751,
    "Pt": 2.775,
}


def test_every_model_file_loads_and_names_its_source() -> None:
    names = available_models()
    assert {"spc/fw", "heinz/lj"} <= set(names)
    assert len(names) == len(list(FOLDER.glob("*.yaml")))
    for name in names:
        assert load_model(name).source.doi.startswith("10.")


def test_spcfw_holds_the_published_numbers() -> None:
    model = load_model("spc/fw")
    assert (model.bonds[0].k, model.bonds[0].r0) == (1059.162, 1.012)
    assert (model.angles[0].k, model.angles[0].theta0) == (75.90, 113.24)
    assert (model.lj["O"].epsilon, model.lj["O"].diameter) == (0.1554253, 3.165492)
    assert model.charges == {"O": -0.82, "H": 0.41}


def test_gold_minimum_lies_at_r0() -> None:
    gold = load_model("heinz/lj").lj["Au"]
    distance = np.linspace(2.5, 3.5, 100001)
    energy = 4 * gold.epsilon * ((gold.diameter / distance) ** 12 - (gold.diameter / distance) ** 6)
    assert distance[np.argmin(energy)] == pytest.approx(2.951, abs=1e-4)
    assert energy.min() == pytest.approx(-5.29, abs=1e-6)


@pytest.mark.parametrize("metal", sorted(NEIGHBOURS))
def test_metal_r0_fits_the_crystal(metal: str) -> None:
    # A Lennard-Jones fcc crystal is compressed by 1-3 % against r0; a mistyped metal falls outside.
    r0 = load_model("heinz/lj").lj[metal].r0
    assert r0 is not None
    assert 1.01 < r0 / NEIGHBOURS[metal] < 1.03


def test_an_unknown_model_lists_those_allowed() -> None:
    with pytest.raises(InputError, match=r"'tip9p'.*allowed: spc/fw$") as caught:
        load_model("tip9p", "molecule")
    assert "\n" not in str(caught.value)


def test_a_metal_is_not_a_liquid() -> None:
    with pytest.raises(InputError, match="'heinz/lj' is not a classical molecule model"):
        load_model("heinz/lj", "molecule")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charges": {"O": -0.82, "H": 0.42}}, "only neutral molecules"),
        (
            {"lj": {"O": {"epsilon": 0.1, "sigma": 3.0, "r0": 3.0}, "H": {"epsilon": 0, "sigma": 0}}},
            "not both",
        ),
        ({"masses": {"O": 16.0}}, "different species"),
        ({"source": {"citation": "x", "doi": "none", "verified": "no"}}, "source.doi"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_model_file_gives_one_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = yaml.safe_load((FOLDER / "spc-fw.yaml").read_text())
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(content | change))
    with pytest.raises(InputError, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_charges_follow_molecule_membership() -> None:
    numbers, molecules = np.array([79, 8, 1, 1]), np.array([-1, 0, 0, 0])
    assert model_charges(numbers, molecules, "spc/fw").tolist() == [0.0, -0.82, 0.41, 0.41]


def test_a_species_outside_its_model_is_named() -> None:
    with pytest.raises(InputError, match=r"atom 1 \(molecule 0\): model spc/fw does not know N; allowed: O, H"):
        model_charges(np.array([79, 7]), np.array([-1, 0]), "spc/fw")


def test_symbols_match_atomic_numbers() -> None:
    assert species_of(np.array([1, 8, 26, 79, 92, 118])) == ["H", "O", "Fe", "Au", "U", "Og"]
    with pytest.raises(InputError, match="not atomic numbers"):
        species_of(np.array([0]))
