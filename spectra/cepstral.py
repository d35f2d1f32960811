"""Cepstral estimator for short runs: the logarithm of the periodogram, smoothed as far as the data ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.special
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.correlation import wavenumber_axis
from vibraloom.spectra.lag_products import Pairing

Array = NDArray[np.float64]

COLUMN_BYTES = 64 * 2**20
"""Memory that the columns transformed at a time may take."""
SHORTEST_RUN = 64
"""Frames below which the scatter of the periodogram cannot be measured."""
TAPERED = 0.1
"""Share of the frames, half of it at each end, over which a run fades in and out (Tukey's taper).

Cut off sharply, a strong band leaks into weak ones far away, and the logarithm shows it: of a resonance over 80 of its memory
times the error then covers 53 % of the bins below a thousandth of the maximum; with the taper 71 %."""
KEPT_OVER_AKAIKE = 2
"""Coefficients kept over those that Akaike's criterion keeps.

The criterion stops where a coefficient falls below its noise, but at a band the next ones all have one sign. Without them the
error holds in 58 % of the bins of a resonance, with as many again in 69 %, at an error larger by 1.4."""


@dataclass(frozen=True)
class CepstralDensities:
    """Spectral densities with the error that the theory of the estimator gives; no blocks are needed.

    Attributes:
        wavenumber: (cm⁻¹) Array with shape (bins,), that of the correlation estimator.
        density: (unit² × fs) Array with shape (pairings, bins), positive.
        standard_error: (unit² × fs) Array with shape (pairings, bins).
        coefficients: how many cepstral coefficients are kept for each pairing.
        degrees: independent periodograms behind each pairing, as measured: 3 for a current of three like components.
        limited: whether the largest lag, not Akaike's criterion, set the number of coefficients.
    """

    wavenumber: Array
    density: Array
    standard_error: Array
    coefficients: tuple[int, ...]
    degrees: tuple[float, ...]
    limited: tuple[bool, ...]


def cepstral_densities(
    replicas: Sequence[NDArray[Any]], pairings: Sequence[Pairing], timestep: float, max_lag: int
) -> CepstralDensities:
    """Spectral density from the cepstrum, for runs too short for blocks.

    Log P = log S + psi(l) - log l + noise of variance psi'(l), independent between the frequencies of the run, where l
    periodograms are averaged. Fourier coefficients of log P (the cepstrum) from P* on are noise and are dropped; P* minimises
    Akaike's criterion N / psi'(l) Sum_{n >= P} C_n^2 + 2 P, and log S then has the variance
    psi'(l) / N (2 + 4 Sum_{0 < n < P*} cos^2(n w dt)) (L. Ercole, A. Marcolongo, S. Baroni, Sci. Rep. 7, 15835 (2017)). Here the
    ends are tapered (:data:`TAPERED`), which multiplies the variance by 1.05, and twice as many coefficients are kept
    (:data:`KEPT_OVER_AKAIKE`). psi'(l) is taken from the scatter of the higher half of the
    coefficients, so that columns may be correlated. They should be alike, such as directions in a liquid: where few of
    many columns make a band, its l is smaller than that of the whole, and the density too low by up to 1 / (2 l).

    Args:
        replicas: (any unit) Arrays with shape (frames, columns). All are cut into stretches as long as the shortest; what
            remains is left out.
        pairings: autospectra, with weights that are not negative.
        timestep: (fs) between frames.
        max_lag: at most max_lag + 1 coefficients are kept, and at most a quarter of the frames; it also sets the axis.

    Raises:
        InputError: a cross spectrum, a run of fewer than 64 frames, or a series without noise, such as a sharp line alone.
    """
    length = min(len(series) for series in replicas)
    if length < SHORTEST_RUN:
        raise InputError(f"series: {length} frames; the cepstral estimator needs {SHORTEST_RUN}; run longer")
    for pairing in pairings:
        if np.any(pairing.left != pairing.right) or np.any(pairing.weights < 0):
            raise InputError("pairings: a cross spectrum has no logarithm; use the correlation estimator for parts")
    periodograms = np.zeros((len(pairings), length // 2 + 1))
    for series in replicas:
        for start in range(0, len(series) - length + 1, length):
            periodograms += _periodograms(series[start : start + length], pairings, timestep)
    periodograms /= sum(len(series) // length for series in replicas)
    found = [_smoothed(each, length, max_lag) for each in periodograms]
    return CepstralDensities(
        wavenumber_axis(max_lag + 1, timestep),
        np.stack([density for density, *_ in found]),
        np.stack([error for _, error, *_ in found]),
        tuple(kept for _, _, kept, *_ in found),
        tuple(degrees for *_, degrees, _ in found),
        tuple(limited for *_, limited in found),
    )


def _periodograms(series: NDArray[Any], pairings: Sequence[Pairing], timestep: float) -> Array:
    """dt / N Sum_k weight_k |X_k|^2 of one stretch: (pairings, frequencies)."""
    weights = np.zeros((len(pairings), series.shape[1]))
    for number, pairing in enumerate(pairings):
        np.add.at(weights[number], pairing.left, pairing.weights)
    result = np.zeros((len(pairings), len(series) // 2 + 1))
    fade = _fade(len(series))
    width = max(1, COLUMN_BYTES // (16 * len(series)))
    for low in range(0, series.shape[1], width):
        transforms = scipy.fft.rfft(series[:, low : low + width].T * fade, axis=-1)
        result += weights[:, low : low + width] @ (transforms.real**2 + transforms.imag**2)
    return result * (timestep / len(series))


def _fade(frames: int) -> Array:
    """Weights of the frames, mean square 1."""
    import scipy.signal  # slow to import

    weights = scipy.signal.windows.tukey(frames + 2, TAPERED)[1:-1]
    return weights / np.sqrt(np.mean(weights**2))


def _smoothed(periodogram: Array, length: int, max_lag: int) -> tuple[Array, Array, int, float, bool]:
    """Density and its error on the axis of ``max_lag``, coefficients kept, degrees, and whether the largest lag cut them."""
    points = 2 * (len(wavenumber_axis(max_lag + 1, 1.0)) - 1)  # an even number, twice the bins less one
    if not periodogram.any():
        return np.zeros(points // 2 + 1), np.zeros(points // 2 + 1), 0, 0.0, False
    # the ends of the axis scatter more, and a bounded moment leaves nothing at zero: their neighbours stand for them
    ends = periodogram.copy()
    ends[0] = ends[1]
    if length % 2 == 0:
        ends[-1] = ends[-2]
    if not (ends > 0).all():
        raise InputError("series: no intensity at some frequency of the run; the cepstral estimator needs noise; use another")
    cepstrum = scipy.fft.irfft(np.log(ends), n=length)[: length // 2 + 1]
    scatter = length * float(np.mean(cepstrum[length // 4 : (length + 1) // 2] ** 2))
    degrees = _degrees(scatter)
    largest = min(max_lag + 1, length // 4)
    tails = np.cumsum(cepstrum[::-1] ** 2)[::-1][1 : largest + 1]
    criterion = length / scatter * tails + 2 * np.arange(1, largest + 1)
    wanted = KEPT_OVER_AKAIKE * (int(np.argmin(criterion)) + 1)
    kept = min(wanted, largest)
    cepstrum[0] -= scipy.special.digamma(degrees) - np.log(degrees)
    logarithm = 2 * scipy.fft.rfft(cepstrum[:kept], n=points).real - cepstrum[0]
    # cos^2 = (1 + cos 2 n w) / 2
    doubled = np.zeros(2 * kept - 1)
    doubled[2::2] = 0.5
    squares = (kept - 1) / 2 + scipy.fft.rfft(doubled, n=points).real
    density = np.exp(logarithm)
    spread = float(np.mean(_fade(length) ** 4))  # of the cepstrum at low order: neighbouring frequencies move together
    error = density * np.sqrt(spread * scatter / length * (2 + 4 * squares))
    return density, error, kept, degrees, wanted > largest


def _degrees(scatter: float) -> float:
    """l with psi'(l) = ``scatter``."""
    from scipy.optimize import brentq  # slow to import

    return float(np.exp(brentq(lambda x: scipy.special.polygamma(1, np.exp(x)) - scatter, -12.0, 30.0)))
