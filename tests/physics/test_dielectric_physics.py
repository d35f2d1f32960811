"""Dielectric function: Kramers–Kronig against closed forms, a Debye relaxator, a mode's sum rule, optical constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from vibraloom.errors import InputError
from vibraloom.spectra import infrared
from vibraloom.spectra.dielectric import (
    Medium,
    absorption,
    complex_index,
    dielectric,
    kramers_kronig,
    kramers_kronig_residual,
)
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    AVOGADRO,
    BOLTZMANN_EV_PER_K,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

TEMPERATURE, VOLUME = 300.0, 1000.0


def lorentz(wavenumber, centre=1600.0, width=60.0, strength=2e5):
    return strength / (centre**2 - wavenumber**2 - 1j * width * wavenumber)


def mode(wavenumber=1600.0, timestep=0.5, frames=20000, offset=0.0):
    """Dipoles (e·Å) of a classical mode of unit charge and mass, in quadrature: whole periods."""
    periods = round(wavenumber * SPEED_OF_LIGHT_CM_PER_FS * timestep * frames)
    angular = 2 * np.pi * periods / (frames * timestep)
    amplitude = np.sqrt(2 * BOLTZMANN_EV_PER_K * TEMPERATURE / AMU_ANGSTROM2_PER_FS2_IN_EV) / angular
    time = np.arange(frames + 1) * timestep
    return [
        offset + amplitude * np.cos(angular * time + phase)[:, None] * [0.6, 0.0, 0.8] for phase in (0.3, 0.3 + np.pi / 2)
    ]


def relaxator(rng, frames, tau, timestep, variance=1.0):
    """A vector whose correlation is exactly 3 variance exp(-t/tau): an Ornstein–Uhlenbeck process in equilibrium."""
    keep = np.exp(-timestep / tau)
    noise = rng.normal(size=(frames, 3)) * np.sqrt(variance)
    noise[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], noise, axis=0)


def test_kramers_kronig_of_a_lorentz_oscillator_is_its_real_part():
    axis = np.arange(0.0, 20001.0)
    exact = lorentz(axis)
    result = kramers_kronig(axis, exact.imag)
    # what lies beyond 20000 cm^-1 lacks: strength * width * 2 / (3 pi axis_end^3), 1e-6 of the peak
    assert np.abs(result - exact.real)[:10000].max() < 1e-6 * np.abs(exact).max()


def test_kramers_kronig_of_a_debye_relaxator_lacks_exactly_its_tail():
    end, rate = 2000.0, 25.0
    axis = np.linspace(0.0, end, 20001)
    exact = 1 / (1 - 1j * axis / rate)
    inner = axis < end / 2
    nu = axis[inner]
    with np.errstate(invalid="ignore"):
        pole = np.where(nu > 0, nu / 2 * np.log((end + nu) / (end - nu)), 0.0)
    tail = 2 / np.pi * rate / (rate**2 + nu**2) * (rate * (np.pi / 2 - np.arctan(end / rate)) + pole)
    result = kramers_kronig(axis, exact.imag)
    np.testing.assert_allclose(result[inner] + tail, exact.real[inner], atol=1e-6)


def test_kramers_kronig_on_an_axis_that_begins_above_zero_counts_the_rest_as_empty():
    axis = np.arange(0.0, 8001.0)
    imaginary = np.where((axis > 1000) & (axis < 3000), np.sin((axis - 1000) / 2000 * np.pi) ** 4, 0.0)
    whole = kramers_kronig(axis, imaginary)
    np.testing.assert_allclose(kramers_kronig(axis[700:] + 0.0, imaginary[700:]), whole[700:], atol=1e-12)
    # bins that are no multiple of the spacing
    finer = np.arange(700.5, 8000.0)
    values = np.where((finer > 1000) & (finer < 3000), np.sin((finer - 1000) / 2000 * np.pi) ** 4, 0.0)
    np.testing.assert_allclose(kramers_kronig(finer, values), np.interp(finer, axis, whole), atol=1e-5)


def test_kramers_kronig_takes_stacks_and_refuses_uneven_axes():
    axis = np.arange(0.0, 5001.0)
    stack = np.stack([lorentz(axis).imag, lorentz(axis, 2500.0).imag])
    np.testing.assert_allclose(kramers_kronig(axis, stack)[1], kramers_kronig(axis, stack[1]), rtol=1e-9, atol=1e-12)
    with pytest.raises(InputError, match="evenly"):
        kramers_kronig(axis**1.01, stack[0])
    with pytest.raises(InputError, match="one value per bin"):
        kramers_kronig(axis, stack[0][:-1])


def test_the_residual_tells_a_causal_response_from_others():
    axis = np.arange(0.0, 20001.0)
    causal = 2.0 + lorentz(axis)
    assert kramers_kronig_residual(axis, causal) < 1e-6
    assert kramers_kronig_residual(axis, causal.conj()) > 1
    assert kramers_kronig_residual(axis, causal.real + 0.9j * causal.imag) > 0.05


def test_the_area_of_n_alpha_from_the_dielectric_function_is_the_oscillator_sum_rule():
    result = dielectric(mode(), 0.5, temperature=TEMPERATURE, volume=VOLUME, eps_infinity=1.0, blocks=0)["imaginary"]
    n_alpha = 2 * np.pi * result.wavenumber * result.intensity
    area = n_alpha.sum() * result.wavenumber[1] * VOLUME * 1e-24 * AVOGADRO * 1e-5  # km/mol
    assert area == pytest.approx(974.88, rel=1e-5)


def test_a_constant_in_the_dipole_changes_nothing():
    plain, shifted = (
        dielectric(mode(offset=each), 0.5, temperature=TEMPERATURE, volume=VOLUME, eps_infinity=1.8) for each in (0.0, 1e4)
    )
    for name, spectrum in plain.items():
        size = np.abs(spectrum.intensity).max()
        np.testing.assert_allclose(shifted[name].intensity, spectrum.intensity, atol=1e-6 * size)


@pytest.mark.parametrize("timestep", [0.5, 2.0])
def test_both_parts_belong_to_one_causal_response_at_any_stride(timestep):
    runs = mode(timestep=timestep, frames=round(10000 / timestep))
    result = dielectric(runs, timestep, temperature=TEMPERATURE, volume=VOLUME, eps_infinity=1.8, blocks=0)
    imaginary = result["imaginary"]
    expected = 1.8 + kramers_kronig(imaginary.wavenumber, imaginary.intensity)
    size = np.abs(result["real"].intensity).max()
    # the midpoint rule is off by the fourth power of w dt / 2, and only in the tail of modes far below w
    resolved = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * imaginary.wavenumber * timestep < 1
    np.testing.assert_allclose(result["real"].intensity[resolved], expected[resolved], atol=1e-5 * size)
    assert imaginary.conventions.extra["kramers_kronig_residual"] < (1e-5 if timestep == 0.5 else 1e-3)
    # a static field sees S / w0^2, a mode far away sees nothing
    strength = AMU_ANGSTROM2_PER_FS2_IN_EV**-1 / (3 * EPSILON0_E2_PER_EV_ANGSTROM * VOLUME)
    angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 1600
    assert result["real"].intensity[0] == pytest.approx(1.8 + strength / angular**2, abs=2e-3 * strength / angular**2)


def test_a_debye_relaxator_is_found_within_its_error_bars():
    tau, timestep, depth = 1000.0, 50.0, 12000.0
    rng = np.random.default_rng(11)
    strength = 3 / (3 * EPSILON0_E2_PER_EV_ANGSTROM * VOLUME * BOLTZMANN_EV_PER_K * TEMPERATURE)
    fine = (np.arange(120000) + 0.5) * depth / 120000
    response = strength / tau * np.exp(-fine / tau) * np.cos(np.pi * fine / depth / 2) ** 2
    inside = total = 0
    for _ in range(16):
        dipole = relaxator(rng, 60000, tau, timestep)
        found = dielectric(
            dipole, timestep, temperature=TEMPERATURE, volume=VOLUME, eps_infinity=2.0, correlation_time=depth
        )
        axis = found["imaginary"].wavenumber
        step = round(found["imaginary"].conventions.extra["resolution"] / axis[1]) + 1
        bins = np.arange(step, np.searchsorted(axis, 25.0), step)
        angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * axis[bins]
        expected = 2.0 + (response * np.exp(1j * angular[:, None] * fine)).sum(axis=1) * depth / 120000
        for name, truth in (("real", expected.real), ("imaginary", expected.imag)):
            spectrum = found[name]
            inside += int((np.abs(spectrum.intensity[bins] - truth) < spectrum.standard_error[bins]).sum())
            total += len(bins)
        # Debye's own formula, where the window's broadening is small beside the band
        debye = strength * angular * tau / (1 + (angular * tau) ** 2)
        spectrum = found["imaginary"]
        assert np.all(np.abs(spectrum.intensity[bins] - debye) < 4.5 * spectrum.standard_error[bins] + 0.01 * debye.max())
        static = found["real"].conventions.extra["static_permittivity"]
        assert static == pytest.approx(2.0 + strength, rel=0.1)
    assert total > 200
    assert 0.6 < inside / total < 0.77


def test_index_and_absorption_are_those_of_the_permittivity():
    result = dielectric(mode(), 0.5, temperature=TEMPERATURE, volume=VOLUME, eps_infinity=1.8, blocks=0)
    index = result["n"].intensity + 1j * result["k"].intensity
    permittivity = result["real"].intensity + 1j * result["imaginary"].intensity
    np.testing.assert_allclose(index**2, permittivity, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        result["absorption"].intensity, 4 * np.pi * result["k"].wavenumber * result["k"].intensity, rtol=1e-12
    )
    assert result["absorption"].unit == "cm^-1"


def test_in_a_dilute_medium_absorption_is_n_alpha_and_so_is_its_error():
    rng = np.random.default_rng(4)
    noise = lfilter([1.0], [1.0, -1.6, 0.9], rng.normal(size=(20000, 3)), axis=0) * 1e-3
    wanted = dielectric(noise, 1.0, temperature=TEMPERATURE, volume=1e9, eps_infinity=1.0)["absorption"].between(1000, 4000)
    known = infrared(noise, 1.0, temperature=TEMPERATURE, volume=1e9).between(1000, 4000)
    # the window multiplies <M.Mdot> in one and <Mdot.Mdot> in the other: equal to the square of resolution over wavenumber
    size = known.intensity.max()
    np.testing.assert_allclose(wanted.intensity, known.intensity, atol=0.02 * size)
    np.testing.assert_allclose(wanted.standard_error, known.standard_error, atol=0.02 * size)
    assert wanted.area(1000, 4000) == pytest.approx(known.area(1000, 4000), rel=2e-3)


def test_noise_below_zero_does_not_turn_the_wave_around():
    index = complex_index(np.array([-4.0 + 0.1j, -4.0 - 1e-3j, 2.0 - 1e-3j, 4.0]))
    assert np.all(index[:2].imag > 1.9)
    assert index[2].real > 1.4
    np.testing.assert_allclose(index**2, [-4.0 + 0.1j, -4.0 - 1e-3j, 2.0 - 1e-3j, 4.0], rtol=1e-14)


def test_a_table_over_wavelength_gives_n_alpha_at_its_wavenumbers():
    medium = Medium.from_wavelength("film", [2.5, 5.0, 10.0], [1.3, 1.4, 1.2], [0.01, 0.02, 0.05])
    at = np.array([1000.0, 1500.0, 4000.0])
    np.testing.assert_allclose(medium.index_at(at), [1.2 + 0.05j, 1.3 + 0.035j, 1.3 + 0.01j])
    np.testing.assert_allclose(medium.n_alpha(at), 4 * np.pi * at * [1.2 * 0.05, 1.3 * 0.035, 1.3 * 0.01])
    with pytest.raises(InputError, match="1000 to 4000"):
        medium.index_at(np.array([999.0]))


@pytest.mark.parametrize(
    ("index", "axis"),
    [(1.3 - 0.1j, None), (np.array([1.3, 1.4]), None), (np.array([1.3, 1.4]), np.array([2.0, 1.0])), (np.nan, None)],
)
def test_optical_constants_that_cannot_be_are_refused(index, axis):
    with pytest.raises(InputError, match="medium 'odd'"):
        Medium("odd", index, axis)


def test_absorption_with_a_given_index_divides_n_alpha_and_its_error():
    noise = np.random.default_rng(2).normal(size=(4000, 3))
    spectrum = infrared(noise, 1.0, temperature=TEMPERATURE, volume=VOLUME)
    table = Medium("table", np.array([1.2, 1.4]), np.array([0.0, spectrum.wavenumber[-1]]))
    result = absorption(spectrum, table)
    n = 1.2 + 0.2 * spectrum.wavenumber / spectrum.wavenumber[-1]
    np.testing.assert_allclose(result.intensity * n, spectrum.intensity, rtol=1e-12)
    np.testing.assert_allclose(result.standard_error * n, spectrum.standard_error, rtol=1e-12)
    assert result.conventions.extra["refractive_index"] == "table"
    with pytest.raises(InputError, match="infrared_molar"):
        absorption(replace(spectrum, quantity="infrared_molar"), table)


def test_a_medium_from_our_own_spectra_holds_their_constants():
    result = dielectric(mode(), 0.5, temperature=TEMPERATURE, volume=VOLUME, eps_infinity=1.8, blocks=0)
    medium = Medium.from_spectra("own", result["n"], result["k"])
    at = result["n"].wavenumber[10:20]
    np.testing.assert_allclose(medium.index_at(at).real, result["n"].intensity[10:20])
