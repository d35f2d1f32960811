"""Raman spectra: orientation, tensor order, absolute activities and cross-sections."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.constants as codata
from scipy.spatial.transform import Rotation

from vibraloom.errors import InputError
from vibraloom.spectra import raman
from vibraloom.spectra.raman import stokes_factor
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

TENSOR = np.array([[2.0, 0.3, -0.5], [0.3, 1.2, 0.7], [-0.5, 0.7, 0.4]])


def invariants(tensor):
    """a' and g'², by the textbook's sum over elements (not the trace form that the code uses)."""
    mean = np.trace(tensor) / 3
    xx, yy, zz = np.diag(tensor)
    off = tensor[0, 1] ** 2 + tensor[1, 2] ** 2 + tensor[2, 0] ** 2
    return mean, ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * off


def mode(tensor, wavenumber=1600.0, temperature=300.0, *, timestep=0.5, frames=20000):
    """Polarizabilities (Å³) of a classical normal mode with derivative ``tensor``, two runs in quadrature."""
    periods = round(wavenumber * SPEED_OF_LIGHT_CM_PER_FS * timestep * frames)
    angular = 2 * np.pi * periods / (frames * timestep)
    amplitude = np.sqrt(2 * BOLTZMANN_EV_PER_K * temperature / AMU_ANGSTROM2_PER_FS2_IN_EV) / angular
    time = np.arange(frames + 1) * timestep
    runs = [amplitude * np.cos(angular * time + phase)[:, None, None] * tensor for phase in (0.3, 0.3 + np.pi / 2)]
    return angular / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS), [run + 5 * np.eye(3) for run in runs]


@pytest.mark.parametrize("temperature", [100.0, 300.0])
def test_activity_areas_are_those_of_the_mode_at_any_temperature(temperature):
    _, runs = mode(TENSOR, temperature=temperature)
    mean, anisotropy = invariants(TENSOR)
    result = raman(runs, 0.5, temperature=temperature, form="activity", blocks=0)
    areas = {name: spectrum.area(0, 40000) for name, spectrum in result.items()}
    assert areas["isotropic"] == pytest.approx(mean**2, rel=1e-6)
    assert areas["anisotropic"] == pytest.approx(4 / 45 * anisotropy, rel=1e-6)
    assert areas["vv"] == pytest.approx(mean**2 + 4 / 45 * anisotropy, rel=1e-6)
    assert areas["vh"] == pytest.approx(anisotropy / 15, rel=1e-6)
    assert areas["unpolarized"] == pytest.approx(45 * mean**2 + 7 * anisotropy, rel=1e-6)
    ratio = 3 * anisotropy / (45 * mean**2 + 4 * anisotropy)
    assert areas["vh"] / areas["vv"] == pytest.approx(ratio, rel=1e-9)


def test_vv_and_vh_are_averages_over_orientations():
    # independent of the invariants: turn the derivative every way, and average zz and zx squared
    turns = Rotation.random(200000, rng=np.random.default_rng(5)).as_matrix()
    lab_z = np.einsum("nj,jk->nk", turns[:, 2], TENSOR)
    parallel = np.mean(np.einsum("nk,nk->n", lab_z, turns[:, 2]) ** 2)
    crossed = np.mean(np.einsum("nk,nk->n", lab_z, turns[:, 0]) ** 2)
    _, runs = mode(TENSOR)
    result = raman(runs, 0.5, temperature=300, form="activity", blocks=0)
    assert result["vv"].area(0, 40000) == pytest.approx(parallel, rel=0.01)
    assert result["vh"].area(0, 40000) == pytest.approx(crossed, rel=0.01)


def test_rotating_the_frame_changes_nothing():
    series = np.random.default_rng(1).normal(size=(3000, 3, 3))
    series = series + series.transpose(0, 2, 1)
    turn = Rotation.from_euler("xyz", [0.4, 1.1, -0.8]).as_matrix()
    turned = np.einsum("ij,fjk,lk->fil", turn, series, turn)
    one, other = (raman(each, 1.0, temperature=300) for each in (series, turned))
    for name in one:
        np.testing.assert_allclose(
            other[name].intensity, one[name].intensity, atol=1e-11 * np.abs(one[name].intensity).max()
        )


def test_a_traceless_tensor_has_depolarisation_three_quarters():
    _, runs = mode(TENSOR - np.trace(TENSOR) / 3 * np.eye(3))
    result = raman(runs, 0.5, temperature=300, blocks=0)
    assert result["vh"].area(1500, 1700) / result["vv"].area(1500, 1700) == pytest.approx(0.75, rel=1e-9)
    assert np.abs(result["isotropic"].intensity).max() < 1e-12 * result["vv"].intensity.max()


@pytest.mark.parametrize(
    "order",
    ["xx,yy,zz,xy,yz,zx", "xx,xy,xz,yy,yz,zz", "xx,xy,xz,yx,yy,yz,zx,zy,zz"],
    ids=["gpumd", "rows", "nine"],
)
def test_column_order_is_followed(order):
    tensor = np.array([[1.0, 2.0, 3.0], [2.0, 5.0, 7.0], [3.0, 7.0, 11.0]])  # distinct numbers
    _, runs = mode(tensor)
    flat = [
        np.stack([run[:, "xyz".index(name[0]), "xyz".index(name[1])] for name in order.split(",")], axis=1)
        for run in runs
    ]
    expected = raman(runs, 0.5, temperature=300, blocks=0)
    result = raman(flat, 0.5, temperature=300, components=order, blocks=0)
    for name in expected:
        np.testing.assert_array_equal(result[name].intensity, expected[name].intensity)


def test_a_wrong_column_order_changes_the_spectrum():
    _, runs = mode(np.array([[1.0, 2.0, 3.0], [2.0, 5.0, 7.0], [3.0, 7.0, 11.0]]))
    flat = [run[:, [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]] for run in runs]
    right = raman(flat, 0.5, temperature=300, components="xx,yy,zz,xy,yz,zx", blocks=0)
    wrong = raman(flat, 0.5, temperature=300, components="xx,xy,xz,yy,yz,zz", blocks=0)
    assert wrong["isotropic"].area(1500, 1700) < 0.9 * right["isotropic"].area(1500, 1700)


@pytest.mark.parametrize("order", [None, "xx,yy,zz,xy,yz", "xx,yy,zz,xy,yx,zx", "xx,yy,zz,xy,yz,zw"])
def test_an_order_that_is_missing_or_incomplete_is_refused(order):
    with pytest.raises(InputError, match="xx,yy,zz,xy,yz,zx"):
        raman(np.ones((100, 6)), 1.0, temperature=300, components=order)


def test_an_asymmetric_tensor_is_refused_and_a_nearly_symmetric_one_is_symmetrised():
    series = np.random.default_rng(2).normal(size=(500, 3, 3))
    series = series + series.transpose(0, 2, 1)
    skew = np.zeros((500, 3, 3))
    skew[7, 0, 1], skew[7, 1, 0] = 1.0, -1.0
    with pytest.raises(InputError, match="frame 7"):
        raman(series + skew, 1.0, temperature=300)
    nearly = raman(series + 1e-3 * skew, 1.0, temperature=300)
    np.testing.assert_allclose(nearly["vv"].intensity, raman(series, 1.0, temperature=300)["vv"].intensity, rtol=1e-9)


def test_stokes_cross_section_of_a_mode_is_placzeks():
    wavenumber, runs = mode(TENSOR)
    mean, anisotropy = invariants(TENSOR)
    result = raman(runs, 0.5, temperature=300, laser_wavelength=488.0, blocks=0, correlation_time=8000)
    # Placzek in SI: nu in 1/m; the polarizability volume squared per normal coordinate squared is m^4/kg
    nu, laser = wavenumber * 100, 1 / 488e-9
    occupied = 1 - np.exp(-codata.h * codata.c * nu / (codata.k * 300))
    amplitude = codata.h / (8 * np.pi**2 * codata.c * nu * occupied)
    per_activity = (2 * np.pi) ** 4 * (laser - nu) ** 4 * amplitude * 1e-40 / codata.atomic_mass  # m²/sr
    expected = per_activity * (mean**2 + 4 / 45 * anisotropy) * 1e4 / 1e-30
    assert result["vv"].area(wavenumber - 80, wavenumber + 80) == pytest.approx(expected, rel=1e-4)
    whole = per_activity * (45 * mean**2 + 7 * anisotropy) / 45 * 1e4 / 1e-30
    assert result["unpolarized"].area(wavenumber - 80, wavenumber + 80) == pytest.approx(whole, rel=1e-4)


def test_photon_counting_moves_the_ratio_of_stretch_to_hydrogen_bond_band():
    at = np.array([200.0, 3400.0])
    energy, counts = (stokes_factor(at, 300.0, 532.0, each) for each in ("energy", "counts"))
    assert (counts[1] / counts[0]) / (energy[1] / energy[0]) == pytest.approx(1.21, abs=0.01)


def test_reduced_is_the_stokes_spectrum_without_occupation_and_laser():
    _, runs = mode(TENSOR)
    stokes = raman(runs, 0.5, temperature=300, blocks=0)["vv"].between(1500, 1700)
    reduced = raman(runs, 0.5, temperature=300, form="reduced", blocks=0)["vv"].between(1500, 1700)
    x = codata.h * codata.c * 100 * stokes.wavenumber / (codata.k * 300)
    laser = (2 * np.pi) ** 4 * (1e7 / 532 - stokes.wavenumber) ** 4 * 1e-48 / 1e-30
    np.testing.assert_allclose(reduced.intensity, stokes.intensity * (1 - np.exp(-x)) / laser, rtol=1e-9)


@pytest.mark.parametrize("form", ["stokes", "activity", "reduced"])
def test_no_bin_is_infinite_and_the_form_is_named(form):
    result = raman(
        np.random.default_rng(3).normal(size=(2000, 6)),
        0.5,
        temperature=300,
        form=form,
        components="xx,yy,zz,xy,yz,zx",
    )
    for spectrum in result.values():
        assert np.isfinite(spectrum.intensity).all() and np.isfinite(spectrum.standard_error).all()
        named = {"stokes": "cross-section", "activity": "activity:", "reduced": "Bose-reduced"}[form]
        assert spectrum.conventions.form.find(named) >= 0
        if form != "activity":
            assert spectrum.intensity[0] == 0 and "zero wavenumber" in spectrum.conventions.notes[0]


def test_a_large_constant_on_a_float32_series_changes_nothing():
    grid = 2.0**-10
    series = np.round(np.random.default_rng(4).normal(size=(2000, 6)) * 20 / grid) * grid
    series = series.astype(np.float32)
    choices = {"temperature": 300, "components": "xx,yy,zz,xy,yz,zx"}
    one = raman(series, 1.0, **choices)
    other = raman(series + np.float32(1e4), 1.0, **choices)
    np.testing.assert_allclose(
        other["vv"].intensity, one["vv"].intensity, rtol=1e-9, atol=1e-9 * one["vv"].intensity.max()
    )
