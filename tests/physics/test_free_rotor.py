"""A free molecule turns: band positions come from the Eckart frame, intensities from the laboratory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibraloom.errors import InputError
from vibraloom.spectra import infrared, raman
from vibraloom.spectra.bands import find_bands
from vibraloom.spectra.molecular_frame import eckart_rotation, rotate_dipoles, rotate_polarizabilities
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

WATER = np.array([[0.0, 0.0, 0.0655], [0.0, 0.757, -0.5201], [0.0, -0.757, -0.5201]])
WATER_MASSES = np.array([15.999, 1.008, 1.008])
CO2 = np.array([[0.0, 0.0, -1.16], [0.0, 0.0, 0.0], [0.0, 0.0, 1.16]])
CO2_MASSES = np.array([15.999, 12.011, 15.999])
TWO_PI_C = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS
FRAMES, TIMESTEP = 16000, 0.5


def rotor_water():
    """H2O bending at 1595 cm⁻¹ while it turns at 62 cm⁻¹ about an axis across the dipole."""
    time = np.arange(FRAMES) * TIMESTEP
    bend = np.array([[0.0, 0.0, -2 * 1.008 / 15.999], [0.0, -0.6, 1.0], [0.0, 0.6, 1.0]])  # no momentum, no angular
    amplitude = 0.03 * np.cos(TWO_PI_C * 1595 * time)
    body = WATER + amplitude[:, None, None] * bend
    turn = Rotation.from_rotvec(TWO_PI_C * 62 * time[:, None] * [1.0, 0.0, 0.0]).as_matrix()
    positions = np.einsum("fij,faj->fai", turn, body)
    charges = np.array([-0.66, 0.33, 0.33])
    dipoles = np.einsum("a,fai->fi", charges, positions)
    tensor = np.diag([1.2, 1.5, 1.4]) + amplitude[:, None, None] * np.diag([0.1, -0.3, 0.8])
    return positions, dipoles, np.einsum("fij,fjk,flk->fil", turn, tensor, turn)


def test_a_bend_splits_in_the_laboratory_and_not_in_the_eckart_frame():
    positions, dipoles, _ = rotor_water()
    laboratory = infrared(dipoles, TIMESTEP, temperature=300, blocks=0)
    rotations = eckart_rotation(positions, WATER_MASSES, WATER)
    molecular = infrared(rotate_dipoles(dipoles, rotations), TIMESTEP, temperature=300, blocks=0)
    split = [band.position for band in find_bands(laboratory, 1450, 1750, 0.2)]
    assert split == pytest.approx([1533, 1657], abs=1)
    single = find_bands(molecular, 1450, 1750, 0.2)
    assert [band.position for band in single] == pytest.approx([1595], abs=1)
    # km/mol come from the laboratory: the turning permanent dipole adds to them near nu = 0, not here
    assert laboratory.area(1450, 1750) == pytest.approx(molecular.area(1450, 1750), rel=0.01)


def test_polarizabilities_follow_the_molecule():
    positions, _, tensors = rotor_water()
    rotations = eckart_rotation(positions, WATER_MASSES, WATER)
    turned = rotate_polarizabilities(tensors, rotations)
    assert np.abs(turned[:, [0, 0, 1], [1, 2, 2]]).max() < 1e-9
    result = raman(turned, TIMESTEP, temperature=300, blocks=0)["anisotropic"]
    assert [band.position for band in find_bands(result, 1400, 1800, 0.2)] == pytest.approx([1595], abs=1)
    laboratory = raman(tensors, TIMESTEP, temperature=300, blocks=0)["anisotropic"]
    assert len(find_bands(laboratory, 1400, 1800, 0.2)) > 1


@pytest.mark.parametrize("reference", [WATER, np.array([[0.0, 0, 0], [1, 0, 0], [0, 1.3, 0], [0, 0, 1.7]])])
def test_any_rotation_is_recovered(reference):
    masses = np.arange(1.0, len(reference) + 1)
    turns = Rotation.random(50, rng=np.random.default_rng(1)).as_matrix()
    positions = np.einsum("fij,aj->fai", turns, reference) + np.array([3.0, -2.0, 8.0])
    rotations = eckart_rotation(positions, masses, reference)
    np.testing.assert_allclose(np.einsum("fij,fjk->fik", rotations, turns), np.tile(np.eye(3), (50, 1, 1)), atol=1e-12)


def test_the_eckart_condition_holds_for_a_distorted_molecule():
    rng = np.random.default_rng(2)
    positions = WATER + 0.1 * rng.normal(size=(40, 3, 3))
    rotations = eckart_rotation(positions, WATER_MASSES, WATER)
    centre = WATER_MASSES @ WATER / WATER_MASSES.sum()
    turned = np.einsum("fij,faj->fai", rotations, positions)
    moment = np.einsum("a,fai->fi", WATER_MASSES, np.cross(WATER - centre, turned))
    # moments of the translation vanish since the reference is centred
    assert np.abs(moment).max() < 1e-9
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-12)


def test_a_linear_molecule_keeps_its_bend_in_one_line():
    time = np.arange(FRAMES) * TIMESTEP
    amplitude = 0.02 * np.cos(TWO_PI_C * 667 * time)
    body = CO2 + amplitude[:, None, None] * np.array([[1.0, 0, 0], [-2 * 15.999 / 12.011, 0, 0], [1.0, 0, 0]])
    turn = Rotation.from_rotvec(TWO_PI_C * 40 * time[:, None] * [0.0, 1.0, 0.0]).as_matrix()
    positions = np.einsum("fij,faj->fai", turn, body)
    dipoles = np.einsum("a,fai->fi", [-0.5, 1.0, -0.5], positions)
    rotations = eckart_rotation(positions, CO2_MASSES, CO2)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-12)
    molecular = infrared(rotate_dipoles(dipoles, rotations), TIMESTEP, temperature=300, blocks=0)
    assert [band.position for band in find_bands(molecular, 550, 800, 0.1)] == pytest.approx([667], abs=1)
    laboratory = infrared(dipoles, TIMESTEP, temperature=300, blocks=0)
    assert [band.position for band in find_bands(laboratory, 550, 800, 0.1)] == pytest.approx([627, 707], abs=2)


def test_an_atom_does_not_turn():
    np.testing.assert_array_equal(
        eckart_rotation(np.ones((4, 1, 3)), [1.0], [[0.0, 0, 0]]), np.tile(np.eye(3), (4, 1, 1))
    )


def test_a_frame_that_is_not_finite_is_named():
    positions, _, _ = rotor_water()
    positions[5, 1, 2] = np.nan
    with pytest.raises(InputError, match="frame 5"):
        eckart_rotation(positions, WATER_MASSES, WATER)
    with pytest.raises(InputError, match="virtual sites"):
        eckart_rotation(positions[:5], [16.0, 1.0, 0.0], WATER)
