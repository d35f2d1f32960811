"""Every molecule on offer is whole, centred, and the one that its formula says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vibraloom.structures.molecule import LIQUIDS, MOLECULES, molecule_by_formula
from vibraloom.structures.molecules import assign_molecules


@pytest.mark.parametrize("formula", MOLECULES)
def test_the_atoms_are_those_of_the_formula(formula: str) -> None:
    atoms = molecule_by_formula(formula)
    expected: dict[str, int] = {}
    for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        expected[symbol] = expected.get(symbol, 0) + int(number or 1)
    symbols = atoms.get_chemical_symbols()
    assert {symbol: symbols.count(symbol) for symbol in set(symbols)} == expected
    assert sum(atoms.numbers) % 2 == 0
    assert np.allclose(atoms.get_center_of_mass(), 0.0, atol=1e-12)
    assert set(assign_molecules(atoms.positions, atoms.numbers)) == {0}


def test_every_liquid_can_be_built() -> None:
    assert set(LIQUIDS) <= set(MOLECULES)
