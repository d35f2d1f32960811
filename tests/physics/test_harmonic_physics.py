"""Normal modes and their intensities, and that trajectories agree with them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.constants as codata

from vibraloom.errors import InputError
from vibraloom.spectra.harmonic import infrared_intensities, normal_modes, raman_activities

MASSES = np.array([1.008, 34.969])
STIFFNESS = 32.0  # eV/Å²
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.275]])


def diatomic():
    hessian = np.zeros((6, 6))
    hessian[2, 2] = hessian[5, 5] = STIFFNESS
    hessian[2, 5] = hessian[5, 2] = -STIFFNESS
    return hessian


def springs(positions, seed=0):
    """Hessian of springs between all pairs at rest: invariant to translation and rotation."""
    rng = np.random.default_rng(seed)
    atoms = len(positions)
    hessian = np.zeros((atoms, 3, atoms, 3))
    for a in range(atoms):
        for b in range(a):
            unit = (positions[a] - positions[b]) / np.linalg.norm(positions[a] - positions[b])
            block = rng.uniform(5, 30) * np.outer(unit, unit)
            hessian[a, :, a] += block
            hessian[b, :, b] += block
            hessian[a, :, b] -= block
            hessian[b, :, a] -= block
    return hessian.reshape(3 * atoms, 3 * atoms)


def test_a_diatomic_vibrates_at_the_root_of_stiffness_over_reduced_mass():
    modes = normal_modes(diatomic(), MASSES, POSITIONS)
    reduced = MASSES.prod() / MASSES.sum()
    newton_per_metre = STIFFNESS * codata.e / codata.angstrom**2
    expected = np.sqrt(newton_per_metre / (reduced * codata.atomic_mass)) / (2 * np.pi * codata.c) / 100
    assert len(modes.wavenumber) == 1
    assert modes.wavenumber[0] == pytest.approx(expected, rel=1e-9)


def test_infrared_intensity_of_a_diatomic_is_the_sum_rule():
    modes = normal_modes(diatomic(), MASSES, POSITIONS)
    charge = 0.18
    derivatives = np.zeros((6, 3))
    derivatives[2, 2], derivatives[5, 2] = charge, -charge
    reduced = MASSES.prod() / MASSES.sum()
    assert infrared_intensities(derivatives, modes)[0] == pytest.approx(974.88 * charge**2 / reduced, rel=1e-6)
    # 42.256 km/mol per (D/Å)²/amu
    debye = charge / 0.20819434
    assert infrared_intensities(derivatives, modes)[0] == pytest.approx(42.256 * debye**2 / reduced, rel=1e-5)


def test_raman_activity_and_depolarisation_of_a_diatomic():
    modes = normal_modes(diatomic(), MASSES, POSITIONS)
    parallel, across = 2.4, 0.5  # Å²
    derivatives = np.zeros((6, 3, 3))
    derivatives[5] = np.diag([across, across, parallel])
    derivatives[2] = -derivatives[5]
    reduced = MASSES.prod() / MASSES.sum()
    mean, anisotropy = (parallel + 2 * across) / 3, parallel - across
    activity, ratio = raman_activities(derivatives, modes)
    assert activity[0] == pytest.approx((45 * mean**2 + 7 * anisotropy**2) / reduced, rel=1e-9)
    assert ratio[0] == pytest.approx(3 * anisotropy**2 / (45 * mean**2 + 4 * anisotropy**2), rel=1e-9)


@pytest.mark.parametrize(
    ("positions", "vibrations"),
    [
        (np.array([[0.0, 0, 0.06], [0, 0.76, -0.52], [0, -0.76, -0.52]]), 3),
        (np.array([[0.0, 0, -1.16], [0, 0, 0], [0, 0, 1.16]]), 4),
        (np.array([[0.0, 0, 0], [1, 0, 0], [0, 1.3, 0], [0, 0, 1.7]]), 6),
    ],
    ids=["bent", "linear", "pyramid"],
)
def test_translations_and_rotations_are_projected_out(positions, vibrations):
    masses = np.arange(1.0, len(positions) + 1)
    # a gradient left over shows as spurious rotation: projection must keep it out of the modes
    hessian = springs(positions)
    modes = normal_modes(hessian, masses, positions)
    assert len(modes.wavenumber) == vibrations
    momentum = np.einsum("a,max->mx", masses, modes.displacements)
    centred = positions - masses @ positions / masses.sum()
    turning = np.einsum("a,max->mx", masses, np.cross(centred, modes.displacements))
    assert np.abs(momentum).max() < 1e-9 and np.abs(turning).max() < 1e-9
    everything = normal_modes(hessian, masses).wavenumber
    assert len(everything) == 3 * len(positions)
    np.testing.assert_allclose(np.sort(np.abs(everything))[-1], modes.wavenumber[-1], rtol=1e-9)


def test_eigenvectors_are_orthonormal_and_a_crystal_loses_its_translations_only():
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1.3, 0], [0, 0, 1.7]])
    modes = normal_modes(springs(positions), np.arange(1.0, 5), periodic=True)
    assert len(modes.wavenumber) == 9
    flat = modes.eigenvectors.reshape(9, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(9), atol=1e-12)


def test_an_imaginary_mode_is_a_negative_number():
    hessian = -diatomic()
    assert normal_modes(hessian, MASSES, POSITIONS).wavenumber[0] < -1000
    assert np.isfinite(normal_modes(np.zeros((6, 6)), MASSES).wavenumber).all()


@pytest.mark.parametrize(
    ("hessian", "masses", "message"),
    [
        (np.zeros((5, 5)), MASSES, r"must be \(6, 6\)"),
        (np.full((6, 6), np.nan), MASSES, "not finite"),
        (diatomic(), [1.0, 0.0], "positive"),
        (np.triu(np.ones((6, 6))), MASSES, "transpose"),
    ],
)
def test_a_hessian_that_cannot_be_used_is_refused(hessian, masses, message):
    with pytest.raises(InputError, match=message):
        normal_modes(hessian, masses)
