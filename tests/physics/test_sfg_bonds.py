"""Sum-frequency generation from bond velocities: the sign of a free OH, the frame of a bond, the constants."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra.sfg import depth_window, molecular_sfg, sfg
from vibraloom.spectra.sfg_bonds import DERIVATIVES, bond_sfg, non_condon_factor, water_bonds
from vibraloom.units import E_ANGSTROM_PER_DEBYE, SPEED_OF_LIGHT_CM_PER_FS

NU, TIMESTEP, FRAMES = 3700.0, 1.0, 8000
OXYGENS, HYDROGENS = np.array([0]), np.array([[1, 2]])
HALF_ANGLE = np.deg2rad(52.25)


def water(tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of a molecule whose first bond, ``tilt`` radians off z in the xz plane, vibrates."""
    phase = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * NU * TIMESTEP * np.arange(FRAMES)
    length, speed = 0.97 + 0.03 * np.cos(phase), -0.03 * phase[1] * np.sin(phase)
    first = np.array([np.sin(tilt), 0, np.cos(tilt)])
    second = np.array([np.sin(tilt + 2 * HALF_ANGLE), 0, np.cos(tilt + 2 * HALF_ANGLE)])
    positions, velocities = np.zeros((FRAMES, 3, 3)), np.zeros((FRAMES, 3, 3))
    positions[:, 1], positions[:, 2] = length[:, None] * first, 0.97 * second
    velocities[:, 1] = speed[:, None] * first / TIMESTEP
    return positions, velocities


def imaginary(positions, velocities, **choices):
    bonds = water_bonds(positions, velocities, OXYGENS, HYDROGENS, derivatives=choices.pop("derivatives", "condensed"))
    return bond_sfg(bonds, TIMESTEP, temperature=300, cutoff=None, blocks=0, **choices)["imaginary"]


@pytest.mark.parametrize("tilt", [0.0, 0.6])
@pytest.mark.parametrize("derivatives", ["condensed", "gas"])
def test_a_free_oh_that_points_out_of_the_liquid_has_a_positive_imaginary_part(tilt, derivatives):
    up = imaginary(*water(tilt), derivatives=derivatives)
    peak = np.argmax(np.abs(up.intensity))
    assert up.intensity[peak] > 0
    assert up.wavenumber[peak] == pytest.approx(NU, abs=2 * up.wavenumber[1])
    mirror = np.array([1.0, 1, -1])
    down = imaginary(*(values * mirror for values in water(tilt)), derivatives=derivatives)
    np.testing.assert_allclose(down.intensity, -up.intensity, rtol=0, atol=1e-12 * up.intensity[peak])


def test_the_velocity_form_is_that_of_the_moments_which_the_bond_length_makes():
    positions, velocities = water()
    found = imaginary(positions, velocities, area=100.0)
    stretch = positions[:, 1, 2]
    dipole, tensor = np.zeros((FRAMES, 3)), np.zeros((FRAMES, 3, 3))
    dipole[:, 2] = 2.0 * E_ANGSTROM_PER_DEBYE * stretch
    # x, y of the laboratory are x (in the plane) and y (normal) of the bond along z
    tensor[:, 0, 0], tensor[:, 1, 1], tensor[:, 2, 2] = 0.40 * stretch, 0.53 * stretch, 1.56 * stretch
    expected = sfg(dipole, tensor, TIMESTEP, temperature=300, area=100.0, blocks=0)["imaginary"]
    assert found.area(3500, 3900) == pytest.approx(expected.area(3500, 3900), rel=1e-3)
    assert found.unit == expected.unit == "1e-22 m^2/V"


def test_the_dipole_changes_in_the_plane_of_the_molecule_and_away_from_the_other_hydrogen():
    positions, velocities = water()
    bonds = water_bonds(positions, velocities, OXYGENS, HYDROGENS)
    speed = velocities[:, 1, 2]
    # the other H lies at +x
    expected = np.array([-0.15, 0, 2.0]) * E_ANGSTROM_PER_DEBYE
    np.testing.assert_allclose(bonds.dipole[:, 0], speed[:, None] * expected, rtol=1e-12, atol=1e-17)
    tensor = np.diag([0.40, 0.53, 1.56])
    np.testing.assert_allclose(bonds.polarizability[:, 0], speed[:, None, None] * tensor, rtol=1e-12, atol=1e-17)
    assert not bonds.dipole[:, 1].any()  # the other bond is still


def test_the_gas_derivatives_make_the_symmetric_stretch_absorb_less_as_measured():
    # 3.0 and 43 km/mol; on the side away from the other H, the same numbers would give 4 times more
    half = np.array([np.sin(HALF_ANGLE), 0, np.cos(HALF_ANGLE)])
    positions = np.array([[[0.0, 0, 0], half, half * [-1, 1, 1]]] * 2)
    squares = []
    for sign in (1, -1):
        velocities = np.zeros_like(positions)
        velocities[:, 1], velocities[:, 2] = half, sign * half * [-1, 1, 1]
        bonds = water_bonds(positions, velocities, OXYGENS, HYDROGENS, derivatives="gas")
        squares.append(np.square(bonds.dipole[0].sum(axis=0)).sum())
    assert squares[0] / squares[1] == pytest.approx(3.0 / 43, abs=0.04)


def test_turning_the_laboratory_turns_the_moments():
    random = np.random.default_rng(2)
    positions = random.normal(0, 0.05, (3, 3, 3)) + water()[0][0]
    velocities = random.normal(size=(3, 3, 3))
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    still = water_bonds(positions, velocities, OXYGENS, HYDROGENS)
    turned = water_bonds(positions @ turn.T, velocities @ turn.T, OXYGENS, HYDROGENS)
    np.testing.assert_allclose(turned.dipole, still.dipole @ turn.T, atol=1e-14)
    np.testing.assert_allclose(turned.polarizability, turn @ still.polarizability @ turn.T, atol=1e-14)


def test_bonds_across_the_faces_of_a_triclinic_cell_are_whole():
    random = np.random.default_rng(3)
    cell = np.array([[8.0, 0, 0], [3, 7, 0], [-2, 2, 9]])
    positions, velocities = random.normal(0, 0.05, (4, 3, 3)) + water()[0][0], random.normal(size=(4, 3, 3))
    whole = water_bonds(positions, velocities, OXYGENS, HYDROGENS)
    broken = positions + random.integers(-3, 4, (4, 3, 3)) @ cell
    for lattice in (cell, np.repeat(cell[None], 4, axis=0)):
        found = water_bonds(broken, velocities, OXYGENS, HYDROGENS, cell=lattice)
        np.testing.assert_allclose(found.polarizability, whole.polarizability, atol=1e-13)


def test_a_small_cutoff_adds_the_other_bond_of_the_molecule_to_each():
    positions, velocities = water()
    velocities[:, 2] = velocities[:, 1, 2][:, None] * positions[0, 2] / 0.97  # both bonds in step
    cell = np.eye(3) * 20
    bonds = water_bonds(positions, velocities, OXYGENS, HYDROGENS, cell=cell)
    alone, both, all_pairs = (
        bond_sfg(bonds, TIMESTEP, temperature=300, cutoff=cutoff, blocks=0)["imaginary"].intensity for cutoff in (0.0, 0.1, None)
    )
    np.testing.assert_allclose(both, all_pairs, rtol=0, atol=1e-10 * np.abs(all_pairs).max())
    assert np.abs(alone - both).max() > 0.1 * np.abs(both).max()


def test_weights_and_labels_of_a_molecule_are_those_of_both_its_bonds():
    positions, velocities = water()
    two = np.concatenate([positions, positions * [1, 1, -1] - [0, 0, 8]], axis=1)
    moving = np.concatenate([velocities, velocities * [1, 1, -1]], axis=1)
    heights = two[:, [0, 3], 2] + 4
    labels = {"face/upper": (heights > 0).astype(float), "face/lower": (heights < 0).astype(float)}
    bonds = water_bonds(
        two,
        moving,
        np.array([0, 3]),
        np.array([[1, 2], [4, 5]]),
        depth_weights=depth_window(heights, 0, 2),
        labels=labels,
    )
    found = bond_sfg(bonds, TIMESTEP, temperature=300, cutoff=None, blocks=0)["imaginary"]
    # the faces mirror each other: the window makes them add, and their cross terms cancel in pairs of parts
    peak = np.argmax(found.intensity)
    assert found.parts["face/upper"][peak] == pytest.approx(found.parts["face/lower"][peak], rel=1e-9)
    assert found.parts["face/upper"][peak] > 0


def test_the_constants_and_factors_are_those_of_their_sources():
    assert DERIVATIVES["condensed"].dipole == (-0.15, 0.0, 2.0)
    assert DERIVATIVES["condensed"].polarizability == (0.40, 0.53, 1.56)
    assert DERIVATIVES["gas"].dipole == (-0.31, 0.0, 0.63)
    assert DERIVATIVES["gas"].polarizability == (0.44, 0.49, 2.06)
    assert non_condon_factor(np.array([3737.0]))[0] == pytest.approx(1.377 * 1.271, rel=1e-12)
    slope = (53.03 * 1.271 + 6.287 * 1.377) / 6932.2
    step = non_condon_factor(np.array([3736.5, 3737.5]))
    assert step[0] - step[1] == pytest.approx(slope, rel=1e-9)


def test_non_condon_factors_multiply_the_gas_alone():
    series = water()
    plain = imaginary(*series, derivatives="gas")
    enhanced = imaginary(*series, derivatives="gas", non_condon=True)
    np.testing.assert_allclose(enhanced.intensity, plain.intensity * non_condon_factor(plain.wavenumber), rtol=1e-12)
    assert "53.03" in enhanced.conventions.extra["non_condon"] and "non_condon" not in plain.conventions.extra
    with pytest.raises(InputError, match="enhanced twice; use derivatives='gas'"):
        imaginary(*series, non_condon=True)


def test_a_window_of_plus_one_leaves_nothing_of_a_molecule_and_its_inverse():
    positions, velocities = water(0.4)
    two, moving = np.concatenate([positions, -positions], axis=1), np.concatenate([velocities, -velocities], axis=1)
    bonds = water_bonds(two, moving, np.array([0, 3]), np.array([[1, 2], [4, 5]]))
    one = imaginary(positions, velocities)
    found = molecular_sfg(bonds, TIMESTEP, temperature=300, cutoff=0.0, blocks=0)["imaginary"]
    assert np.abs(found.intensity).max() < 1e-12 * np.abs(one.intensity).max()


def test_what_is_no_water_is_refused():
    positions, velocities = (values[:20] for values in water())
    far = positions.copy()
    far[7, 2] *= 3
    straight = positions.copy()
    straight[:, 2] = -straight[:, 1]
    for values, choices, message in (
        (far, {}, "frame 7: hydrogen 2 is 2.91 angstrom from oxygen 0"),
        (straight, {}, "one line"),
        (positions[:, :, :2], {}, "must be"),
        (np.full_like(positions, np.nan), {}, "frame 0 is not finite"),
        (positions, {"hydrogens": np.array([[1, 3]])}, "index 3; allowed: 0 to 2"),
        (positions, {"hydrogens": np.array([1, 2])}, "they must be"),
        (positions, {"derivatives": "ice"}, "allowed: condensed, gas"),
    ):
        given = {"oxygens": OXYGENS, "hydrogens": HYDROGENS, **choices}
        with pytest.raises(InputError, match=message):
            water_bonds(values, velocities, **given)
    both = [water_bonds(positions, velocities, OXYGENS, HYDROGENS, derivatives=name) for name in ("gas", "condensed")]
    with pytest.raises(InputError, match="use the same for all runs"):
        bond_sfg(both, 1.0, temperature=300, cutoff=None)
