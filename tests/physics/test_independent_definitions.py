"""The same quantities by definitions written out here, from other programs and textbooks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from vibraloom.spectra import autocorrelation, infrared, raman
from vibraloom.spectra.correlation import spectral_density
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    AVOGADRO,
    BOLTZMANN_EV_PER_K,
    EPSILON0_E2_PER_EV_ANGSTROM,
    PLANCK_C_EV_CM,
    SPEED_OF_LIGHT_CM_PER_FS,
)


def coloured_noise(frames: int, columns: int, seed: int) -> np.ndarray:
    """Broad bands: white noise through two resonances, one column differently from the next."""
    random = np.random.default_rng(seed)
    result = np.empty((frames, columns))
    for column in range(columns):
        angle, radius = 0.15 + 0.06 * column, 0.9
        numerator, denominator = [1.0], [1, -2 * radius * np.cos(angle), radius**2]
        result[:, column] = scipy.signal.lfilter(numerator, denominator, random.normal(size=frames + 500))[500:]
    return result


def travis_raman(tensors: np.ndarray, timestep: float, temperature: float, laser: float, depth: int) -> tuple:
    """Unpolarised Raman as TRAVIS computes it, up to a constant: wavenumber (cm⁻¹) and intensity.

    Central differences, unbiased autocorrelation, cos² window over the depth, zero padding by 4, 45 a² + 7 g², division
    by the attenuation of the central difference, (nu_L - nu)^4 / nu / (1 - exp(-h c nu / kT)) (M. Thomas et al., Phys.
    Chem. Chem. Phys. 15, 6608 (2013), with the intensity prefactor of its equation 4).
    """
    rate = (tensors[2:] - tensors[:-2]) / (2 * timestep)
    mean = np.trace(rate, axis1=1, axis2=2) / 3

    def correlation(one: np.ndarray) -> np.ndarray:
        return np.array([np.mean(one[: len(one) - lag] * one[lag:]) for lag in range(depth)])

    isotropic = correlation(mean)
    xx, yy, zz = (rate[:, i, i] for i in range(3))
    gamma = sum(correlation(pair) for pair in (xx - yy, yy - zz, zz - xx)) / 2
    gamma = gamma + 3 * sum(correlation(rate[:, i, j]) for i, j in ((0, 1), (1, 2), (0, 2)))
    function = (45 * isotropic + 7 * gamma) * np.cos(np.pi * np.arange(depth) / (2 * depth)) ** 2
    padded = np.zeros(8 * depth)
    padded[:depth] = function
    padded[-depth + 1 :] = function[:0:-1]
    spectrum = np.fft.rfft(padded).real
    phase = np.pi * np.arange(len(spectrum)) / (len(spectrum) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spectrum *= (phase / np.sin(phase)) ** 2
        wavenumber = phase / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * timestep)
        occupied = 1 - np.exp(-PLANCK_C_EV_CM * wavenumber / (BOLTZMANN_EV_PER_K * temperature))
        # beta hbar w <..> = beta/w <derivatives>: with 1 / (1 - e^-x) the quantum amplitude
        return wavenumber, spectrum * (1e7 / laser - wavenumber) ** 4 / wavenumber / occupied


def test_raman_is_that_of_travis_up_to_a_constant():
    depth, timestep = 400, 1.0
    tensors = coloured_noise(60000, 9, 3).reshape(-1, 3, 3)
    tensors = tensors + tensors.transpose(0, 2, 1)
    wavenumber, expected = travis_raman(tensors, timestep, 300.0, 532.0, depth)
    ours = raman(tensors, timestep, temperature=300, correlation_time=(depth - 1) * timestep, blocks=0)["unpolarized"]
    inside = (wavenumber > 300) & (wavenumber < 4000)
    ratio = np.interp(wavenumber[inside], ours.wavenumber, ours.intensity) / expected[inside]
    assert np.abs(ratio / ratio.mean() - 1).max() < 1e-3


def test_the_biased_correlation_of_all_lags_gives_the_periodogram():
    series = coloured_noise(3000, 1, 1)[:, 0]
    wavenumber, density = spectral_density(autocorrelation(series, normalization="biased"), 0.5, "none", padding=1)
    length = 2 * (len(wavenumber) - 1)
    frequency, power = scipy.signal.periodogram(
        series, fs=1 / 0.5, nfft=length, detrend=False, return_onesided=False, window="boxcar"
    )
    half = slice(0, length // 2)
    np.testing.assert_allclose(wavenumber[half] * SPEED_OF_LIGHT_CM_PER_FS, frequency[half], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(density[half], power[half], rtol=1e-9, atol=1e-12 * power.max())


def test_a_rotating_rigid_dipole_absorbs_at_its_frequency_with_its_kinetic_strength():
    timestep, dipole, temperature, wavenumber = 2.0, 0.4, 300.0, 210.0
    angle = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber * timestep * np.arange(100001)
    series = dipole * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    spectrum = infrared(series, timestep, temperature=temperature, blocks=0, correlation_time=8000)
    assert spectrum.wavenumber[spectrum.intensity.argmax()] == pytest.approx(wavenumber, abs=1)
    # N_A beta / (6 eps0 c) times <Mdot²> / (2 c), Mdot² = dipole² Omega²
    light = SPEED_OF_LIGHT_CM_PER_FS * 1e8
    rate = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber * dipole
    area = AVOGADRO * rate**2 / (12 * EPSILON0_E2_PER_EV_ANGSTROM * light**2 * BOLTZMANN_EV_PER_K * temperature) * 1e-13
    assert spectrum.area(0, 8000) == pytest.approx(area, rel=1e-6)


def test_free_linear_rotors_absorb_the_square_of_the_dipole_over_the_inertia():
    # classical rotors in thermal equilibrium: <Mdot²> = 2 kT dipole² / inertia
    random = np.random.default_rng(4)
    dipole, inertia, temperature, timestep = 0.23, 1.6, 300.0, 1.0
    spread = np.sqrt(BOLTZMANN_EV_PER_K * temperature / inertia / AMU_ANGSTROM2_PER_FS2_IN_EV)
    rates = np.linalg.norm(random.normal(size=(2000, 2)) * spread, axis=1)
    time = timestep * np.arange(1500)
    runs = [dipole * np.stack([np.cos(rate * time), np.sin(rate * time), 0 * time], axis=1) for rate in rates]
    spectrum = infrared(runs, timestep, temperature=temperature, correlation_time=1000)
    light = SPEED_OF_LIGHT_CM_PER_FS * 1e8
    expected = 2 * dipole**2 / inertia / AMU_ANGSTROM2_PER_FS2_IN_EV * AVOGADRO * 1e-13
    expected /= 12 * EPSILON0_E2_PER_EV_ANGSTROM * light**2
    assert spectrum.area(0, 16000) == pytest.approx(expected, rel=4 / np.sqrt(len(rates)))
