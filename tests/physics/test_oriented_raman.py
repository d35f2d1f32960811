"""Raman of oriented samples: selection by geometry, averages over orientations, depolarisation, surface selection."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibraloom.errors import InputError
from vibraloom.spectra import raman
from vibraloom.spectra.oriented_raman import (
    Geometry,
    depolarization_ratio,
    depth_weight,
    oriented_raman,
    rotation_series,
    surface_raman,
)
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

TENSOR = np.array([[2.0, 0.3, -0.5], [0.3, 1.2, 0.7], [-0.5, 0.7, 0.4]])


def mode(tensor, wavenumber=1600.0, timestep=0.5, frames=20000):
    """Polarizabilities (Å³) of a classical normal mode with derivative ``tensor`` at 300 K, two runs in quadrature."""
    periods = round(wavenumber * SPEED_OF_LIGHT_CM_PER_FS * timestep * frames)
    angular = 2 * np.pi * periods / (frames * timestep)
    amplitude = np.sqrt(2 * BOLTZMANN_EV_PER_K * 300 / AMU_ANGSTROM2_PER_FS2_IN_EV) / angular
    time = np.arange(frames + 1) * timestep
    return [amplitude * np.cos(angular * time + phase)[:, None, None] * tensor for phase in (0.3, 0.3 + np.pi / 2)]


def random_tensors(seed, frames=3000):
    series = np.random.default_rng(seed).normal(size=(frames, 3, 3))
    return series + series.transpose(0, 2, 1) + 0.7 * np.trace(series, axis1=1, axis2=2)[:, None, None] * np.eye(3)


@pytest.mark.parametrize("geometry", ["z(xx)z", "z(xy)z", "y(zx)-y", "x(zz)x"])
def test_the_area_of_a_mode_is_its_tensor_element_squared(geometry):
    result = oriented_raman(mode(TENSOR), 0.5, geometries=[geometry], temperature=300, form="activity", blocks=0)[geometry]
    first, second = ("xyz".index(letter) for letter in geometry.partition("(")[2][:2])
    assert result.area(0, 40000) == pytest.approx(TENSOR[first, second] ** 2, rel=1e-6)
    assert result.conventions.extra["geometry"] == geometry


@pytest.mark.parametrize("form", ["stokes", "reduced", "activity"])
def test_the_average_over_orientations_is_the_powder_spectrum(form):
    # the 60 turns of an icosahedron average tensors up to rank 5 exactly; squares of alpha have rank 4
    series = random_tensors(3)
    parallel, crossed = (Geometry.porto(each) for each in ("z(xx)z", "z(xy)z"))
    turned = {"vv": [], "vh": []}
    for number, turn in enumerate(Rotation.create_group("I")):
        vector = turn.as_rotvec(degrees=True)
        angle = float(np.linalg.norm(vector))
        axis = vector if angle > 1e-6 else np.array([0.0, 0.0, 1.0])
        for name, geometry in (("vv", parallel), ("vh", crossed)):
            seen = geometry.with_sample_turned(axis, angle)
            turned[name].append(Geometry(f"{name} {number}", seen.incident, seen.scattered))
    powder = raman(series, 1.0, temperature=300, form=form, blocks=0)
    for name, geometries in turned.items():
        spectra = oriented_raman(series, 1.0, geometries=geometries, temperature=300, form=form, blocks=0)
        mean = np.mean([each.intensity for each in spectra.values()], axis=0)
        np.testing.assert_allclose(mean, powder[name].intensity, atol=1e-11 * np.abs(mean).max())


def test_a_tensor_that_stays_diagonal_gives_no_crossed_signal():
    spectra = oriented_raman(
        mode(np.diag([1.0, 2.0, 3.0])), 0.5, geometries=["z(xx)z", "z(xy)z", "x(yz)x"], temperature=300, blocks=0
    )
    assert spectra["z(xx)z"].intensity.max() > 0
    for crossed in ("z(xy)z", "x(yz)x"):
        np.testing.assert_array_equal(spectra[crossed].intensity, 0)


def test_turning_the_sample_by_a_right_angle_maps_one_axis_to_the_other():
    series = random_tensors(5)
    turned = rotation_series(series, 1.0, geometry="z(xx)z", axis=[0, 0, 2], angles=[0, 90, 180], temperature=300)
    still = oriented_raman(series, 1.0, geometries=["z(xx)z", "z(yy)z"], temperature=300)
    for angle, name in ((0.0, "z(xx)z"), (90.0, "z(yy)z"), (180.0, "z(xx)z")):
        size = still[name].intensity.max()
        np.testing.assert_allclose(turned[angle].intensity, still[name].intensity, atol=1e-12 * size)
        assert turned[angle].conventions.extra["rotation_angle"] == angle


@pytest.mark.parametrize("angle", [30.0, -65.0])
def test_turning_the_sample_is_turning_its_tensors_in_the_same_sense(angle):
    series, axis = random_tensors(6), np.array([1.0, -2.0, 0.5])
    turn = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis)).as_matrix()
    moved = np.einsum("ij,fjk,lk->fil", turn, series, turn)
    expected = oriented_raman(moved, 1.0, geometries=["z(xy)z"], temperature=300, blocks=0)["z(xy)z"]
    result = rotation_series(series, 1.0, geometry="z(xy)z", axis=axis, angles=[angle], temperature=300, blocks=0)[angle]
    np.testing.assert_allclose(result.intensity, expected.intensity, atol=1e-12 * expected.intensity.max())


def test_exchanging_incident_and_scattered_light_changes_nothing():
    spectra = oriented_raman(random_tensors(7), 1.0, geometries=["x(yz)x", "x(zy)x"], temperature=300)
    np.testing.assert_array_equal(spectra["x(yz)x"].intensity, spectra["x(zy)x"].intensity)


def test_polarisations_off_the_axes_select_the_projected_tensor():
    diagonal = Geometry.along("p45", [1, 1, 0], [2, 2, 0])
    result = oriented_raman(mode(TENSOR), 0.5, geometries=[diagonal], temperature=300, form="activity", blocks=0)["p45"]
    assert result.area(0, 40000) == pytest.approx(((TENSOR[0, 0] + TENSOR[1, 1]) / 2 + TENSOR[0, 1]) ** 2, rel=1e-6)


@pytest.mark.parametrize("notation", ["z(zx)z", "z(xz)z", "z(x)z", "a(xy)z", "zxyz", "z(xyz)z"])
def test_geometries_that_cannot_be_are_refused(notation):
    with pytest.raises(InputError, match="geometry"):
        Geometry.porto(notation)


def test_a_direction_without_length_is_refused():
    with pytest.raises(InputError, match="no direction"):
        Geometry.along("none", [0, 0, 0], [1, 0, 0])


def test_the_depolarisation_ratio_of_a_mode_is_long_s_formula():
    mean = np.trace(TENSOR) / 3
    xx, yy, zz = np.diag(TENSOR)
    off = TENSOR[0, 1] ** 2 + TENSOR[1, 2] ** 2 + TENSOR[2, 0] ** 2
    anisotropy = ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * off
    result = depolarization_ratio(mode(TENSOR), 0.5, blocks=0)
    at = int(np.argmin(np.abs(result.wavenumber - 1600)))
    assert result.intensity[at] == pytest.approx(3 * anisotropy / (45 * mean**2 + 4 * anisotropy), rel=1e-9)


@pytest.mark.parametrize(("tensor", "ratio"), [(TENSOR - np.trace(TENSOR) / 3 * np.eye(3), 0.75), (np.eye(3), 0.0)])
def test_traceless_and_isotropic_tensors_have_their_limits(tensor, ratio):
    result = depolarization_ratio(mode(tensor), 0.5, blocks=0)
    at = np.abs(result.wavenumber - 1600) < 15
    np.testing.assert_allclose(result.intensity[at], ratio, atol=1e-9)


def test_the_ratio_is_vh_over_vv_and_zero_where_nothing_scatters():
    series = mode(TENSOR)
    powder = raman(series, 0.5, temperature=300, form="activity", blocks=0)
    result = depolarization_ratio(series, 0.5, blocks=0, smallest=0.02)
    kept = powder["vv"].intensity > 0.02 * powder["vv"].intensity.max()
    np.testing.assert_allclose(
        result.intensity[kept], powder["vh"].intensity[kept] / powder["vv"].intensity[kept], rtol=1e-9
    )
    assert kept.sum() < 0.1 * len(kept)
    np.testing.assert_array_equal(result.intensity[~kept], 0)
    assert np.isfinite(result.intensity).all()
    assert any("below 0.02" in note for note in result.conventions.notes)


def test_the_ratio_of_two_geometries_is_that_of_their_spectra():
    series = random_tensors(9)
    pair = ("z(xy)z", "z(xx)z")
    spectra = oriented_raman(series, 1.0, geometries=pair, temperature=300, form="activity", blocks=0)
    result = depolarization_ratio(series, 1.0, geometries=pair, blocks=0)
    kept = result.intensity > 0
    assert kept.mean() > 0.8
    expected = spectra[pair[0]].intensity[kept] / spectra[pair[1]].intensity[kept]
    np.testing.assert_allclose(result.intensity[kept], expected, rtol=1e-9)


def test_what_both_intensities_share_leaves_no_error_in_the_ratio():
    # one fluctuating amplitude: each spectrum is uncertain, their ratio is exact
    noise = np.random.default_rng(10).normal(size=20000)
    result = depolarization_ratio(noise[:, None, None] * TENSOR, 1.0)
    alone = oriented_raman(noise[:, None, None] * TENSOR, 1.0, geometries=["z(xx)z"], temperature=300)["z(xx)z"]
    inner = slice(20, -20)
    assert np.median(alone.standard_error[inner] / alone.intensity[inner]) > 0.05
    assert result.standard_error[inner].max() < 1e-9


def test_the_error_of_the_ratio_covers_its_truth():
    rng = np.random.default_rng(12)
    inside = total = 0
    for _ in range(24):
        xx, xy = rng.normal(size=(2, 20000))
        tensors = np.zeros((20000, 3, 3))
        tensors[:, 0, 0] = xx
        tensors[:, 0, 1] = tensors[:, 1, 0] = 0.5 * xy
        result = depolarization_ratio(tensors, 1.0, geometries=("z(xy)z", "z(xx)z"), correlation_time=200)
        step = round(result.conventions.extra["resolution"] / result.wavenumber[1]) + 1
        bins = np.arange(step, len(result.wavenumber) - step, step)
        bins = bins[result.intensity[bins] > 0]  # below the limit of the denominator there is no ratio
        inside += int((np.abs(result.intensity[bins] - 0.25) < result.standard_error[bins]).sum())
        total += len(bins)
    assert total > 1500
    assert inside / total == pytest.approx(0.68, abs=0.04)


def test_the_field_weight_falls_with_depth_and_stays_one_at_the_surface():
    np.testing.assert_allclose(depth_weight(np.array([-1.0, 0.0, 2.0, 4.0]), 2.0), [1, 1, np.exp(-1), np.exp(-2)])
    with pytest.raises(InputError, match="decay_length"):
        depth_weight(np.zeros(2), 0.0)


def surface(tensors, weights, **choices):
    return surface_raman(tensors, weights, 1.0, temperature=300, blocks=0, **choices).intensity


def test_one_molecule_of_weight_one_shows_its_zz_spectrum():
    series = random_tensors(13)
    expected = oriented_raman(series, 1.0, geometries=["x(zz)x"], temperature=300, blocks=0)["x(zz)x"].intensity
    ones = np.ones((len(series), 1))
    np.testing.assert_allclose(surface(series[:, None], ones), expected, rtol=1e-12)
    np.testing.assert_allclose(surface(series[:, None, 2, 2], ones), expected, rtol=1e-12)
    np.testing.assert_allclose(surface(series[:, None], 0.5 * ones), expected / 4, rtol=1e-12)


def test_molecules_that_move_together_add_their_amplitudes():
    series = random_tensors(14)
    single = surface(series[:, None], np.ones((len(series), 1)))
    both = np.ones((len(series), 2))
    np.testing.assert_allclose(surface(np.stack([series, series], axis=1), both), 4 * single, rtol=1e-12)
    assert surface(np.stack([series, -series], axis=1), both).max() < 1e-25 * single.max()


def test_a_weight_that_moves_over_a_still_polarizability_makes_no_spectrum():
    depth = 3 + np.sin(np.arange(3000)[:, None] * 0.3)
    still = np.full((3000, 1), 1.4)
    assert np.abs(surface(still, depth_weight(depth, 2.0))).max() == 0


def test_the_surface_spectrum_is_stamped():
    notes = surface_raman(np.ones((300, 2)), np.ones((300, 2)), 1.0, temperature=300).conventions.notes
    assert "no chemical enhancement" in notes


def test_weights_that_do_not_match_are_refused():
    with pytest.raises(InputError, match="replica 0"):
        surface(np.ones((300, 2)), np.ones((300, 3)))
    with pytest.raises(InputError, match="frame 7"):
        weights = np.ones((300, 2))
        weights[7, 1] = np.nan
        surface(np.ones((300, 2)), weights)


def test_welch_and_correlation_agree_on_an_oriented_sample_within_their_errors():
    series = random_tensors(15, frames=40000)
    spectra = [
        oriented_raman(
            series, 1.0, geometries=["z(xy)z"], temperature=300, form="activity", correlation_time=200, estimator=each
        )["z(xy)z"].between(3000, 15000)
        for each in ("correlation", "welch")
    ]
    assert spectra[1].intensity.min() > 0
    difference = spectra[1].intensity.mean() / spectra[0].intensity.mean() - 1
    assert abs(difference) < 0.02
    assert spectra[1].conventions.estimator.startswith("Welch")
