"""Polarizability labels: the pair of fields ±F leaves no error that is odd in the field (trap 17)."""

from __future__ import annotations

import numpy as np

from vibraloom.calculators.pyscf.electronic_structure import ElectronicStructure, LevelOfTheory

WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.470], [0.0, -0.757, -0.470]])


def test_the_error_of_the_field_pair_is_quadratic_in_the_field():
    tensors = {}
    for strength in (0.001, 0.004, 0.008):
        solver = ElectronicStructure(LevelOfTheory("HF", "6-31g", field=strength), [8, 1, 1])
        tensors[strength] = solver.evaluate(WATER, forces=False, polarizability=True).polarizability
    small = np.abs(tensors[0.004] - tensors[0.001]).max()
    large = np.abs(tensors[0.008] - tensors[0.001]).max()
    # (0.008² - 0.001²) / (0.004² - 0.001²); an odd error would give 2.3
    assert 3.8 < large / small < 4.8
    assert large < 1e-3 * np.trace(tensors[0.001]) / 3
