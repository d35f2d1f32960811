"""Time correlation functions by FFT, their windows, and the spectral density that they give."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.finite_frames import refuse_not_finite
from vibraloom.spectra.lag_products import Pairing, lag_sums
from vibraloom.spectra.long_transforms import SHORTEST, LongTransform, step_lengths
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

WINDOWS = ("hann", "welch", "gaussian", "bartlett", "parzen", "none")
"""Names of the lag windows."""
NORMALIZATIONS = ("unbiased", "biased", "none")
"""Names of the ways to divide a sum over pairs of frames."""
FINE_LAGS = 32768
"""Up to so many lags the wavenumber axis is padded to be finer than the depth asks for."""


def autocorrelation(
    series: NDArray[Any],
    max_lag: int | None = None,
    normalization: str = "unbiased",
    *,
    remove_mean: bool = False,
) -> Array:
    """Autocorrelation of a vector series, its components summed (never normalised one by one).

    Args:
        series: any unit, Array with shape (frames, components) or (frames,).
        max_lag: largest lag in frames; None: all, frames - 1.
        normalization: ``unbiased`` divides the sum at lag k by frames - k, ``biased`` by frames, ``none`` by
            nothing.
        remove_mean: subtract the mean of each component first; kept by default.

    Returns:
        (unit squared) Array with shape (max_lag + 1,).

    Raises:
        InputError: wrong shape, NaN or infinity, a lag beyond the series, or an unknown normalization.
    """
    return cross_correlation(series, series, max_lag, normalization, remove_mean=remove_mean)


def cross_correlation(
    first: NDArray[Any],
    second: NDArray[Any],
    max_lag: int | None = None,
    normalization: str = "unbiased",
    *,
    remove_mean: bool = False,
    two_sided: bool = False,
) -> Array:
    """Cross correlation of two vector series, symmetrised in time: (<a(0).b(t)> + <b(0).a(t)>) / 2.

    Args:
        first, second: any unit, Array with shape (frames, components) or (frames,).
        max_lag, normalization, remove_mean: as in :func:`autocorrelation`.
        two_sided: return <a(0).b(t)> for t from -max_lag to max_lag instead, not symmetrised.

    Returns:
        Array with shape (max_lag + 1,), or (2 max_lag + 1,) if ``two_sided``.

    Raises:
        InputError: as in :func:`autocorrelation`, or series of different shapes.
    """
    left = _checked(first, remove_mean)
    same = second is first
    right = left if same else _checked(second, remove_mean)
    if left.shape != right.shape:
        raise InputError(f"series: shapes {left.shape} and {right.shape} differ; give two of the same shape")
    frames = len(left)
    lags = frames - 1 if max_lag is None else int(max_lag)
    if not 0 <= lags < frames:
        raise InputError(f"max_lag: {max_lag} for {frames} frames; allowed: 0 to {frames - 1}")
    if normalization not in NORMALIZATIONS:
        raise InputError(f"normalization: {normalization!r}; allowed: {', '.join(NORMALIZATIONS)}")
    columns = np.arange(left.shape[1])
    joint, partner = (left, columns) if same else (np.hstack([left, right]), columns + left.shape[1])
    sums = lag_sums(joint, [Pairing.of(columns, partner)], lags, np.array([0, frames]), two_sided=True)[0, 0]
    if normalization == "unbiased":
        sums = sums / (frames - np.arange(lags + 1.0))
    elif normalization == "biased":
        sums = sums / frames
    if two_sided:
        return np.concatenate([sums[1, :0:-1], sums[0]])
    return sums.mean(axis=0)


def window_values(name: str, lags: int) -> Array:
    """Window that multiplies a correlation function; 1 at lag 0, falling towards the last lag.

    Args:
        name: one of :data:`WINDOWS`; ``gaussian`` has a standard deviation of a third of the depth;
            ``bartlett`` and ``parzen`` have transforms that are nowhere negative.
        lags: number of lags, lag 0 included.

    Returns:
        Array with shape (lags,).

    Raises:
        InputError: an unknown name.
    """
    fraction = np.arange(lags) / lags
    if name == "hann":
        return np.cos(np.pi * fraction / 2) ** 2
    if name == "welch":
        return 1 - fraction**2
    if name == "gaussian":
        return np.exp(-4.5 * fraction**2)
    if name == "bartlett":
        return 1 - fraction
    if name == "parzen":
        return np.where(fraction < 0.5, 1 - 6 * fraction**2 * (1 - fraction), 2 * (1 - fraction) ** 3)
    if name == "none":
        return np.ones(lags)
    raise InputError(f"window: {name!r}; allowed: {', '.join(WINDOWS)}")


def window_resolution(name: str, lags: int, timestep: float) -> float:
    """Full width at half height (cm⁻¹) that the window gives to an infinitely sharp line."""
    return _lag_resolution(name, min(lags, 1000)) * min(lags, 1000) / lags / (timestep * SPEED_OF_LIGHT_CM_PER_FS)


@functools.cache
def _lag_resolution(name: str, lags: int) -> float:
    """Full width at half height in units of 1 / time between lags; beyond 1000 lags it falls as 1 / lags."""
    weights = window_values(name, lags)
    weights[1:] *= 2
    times = np.arange(lags)
    low, high = 0.0, 1.0 / lags  # the half height of every window lies below 1 / depth
    for _ in range(40):
        middle = (low + high) / 2
        if weights @ np.cos(2 * np.pi * middle * times) > weights.sum() / 2:
            low = middle
        else:
            high = middle
    return 2 * low


def wavenumber_axis(lags: int, timestep: float, padding: int | None = None) -> Array:
    """Evenly spaced wavenumbers (cm⁻¹) from 0 to the Nyquist limit for a correlation of ``lags`` lags."""
    length = _transform_length(lags, padding)
    return np.arange(length // 2 + 1) / (length * timestep * SPEED_OF_LIGHT_CM_PER_FS)


def spectral_density(
    correlation: NDArray[Any], timestep: float, window: str = "hann", *, padding: int | None = None
) -> tuple[Array, Array]:
    """Two-sided transform of an even correlation function: dt (C_0 + 2 Sum_k w_k C_k cos(w k dt)).

    Lag 0 is counted once, so that no flat baseline of C(0)/2 is left; zero padding only refines the axis.
    The trapezoidal integral over wavenumber times 2 c gives back C_0.

    Args:
        correlation: (any unit) Array with shape (..., lags), lag 0 first.
        timestep: (fs) time between lags.
        window: name of the window, see :func:`window_values`.
        padding: the axis is at least this many times finer than 1 / (2 × depth); None: 4 times, or once beyond
            32768 lags.

    Returns:
        wavenumber: (cm⁻¹) Array with shape (bins,), from 0 to the Nyquist limit.
        density: (unit × fs) Array with shape (..., bins).

    Raises:
        InputError: a time step that is not positive, or an unknown window.
    """
    if not (np.isfinite(timestep) and timestep > 0):
        raise InputError(f"timestep: {timestep} fs; it must be positive")
    correlation = np.asarray(correlation, dtype=np.float64)
    lags = correlation.shape[-1]
    weights = window_values(window, lags)
    weights[1:] *= 2
    length = _transform_length(lags, padding)
    weights *= timestep
    steps = _steps(lags, padding)
    if steps is None:
        density = scipy.fft.rfft(correlation * weights, n=length, axis=-1).real
    else:
        transform = LongTransform(*steps)
        density = np.empty((*correlation.shape[:-1], transform.bins))
        for curve in np.ndindex(correlation.shape[:-1]):
            transform.cosine_transform(correlation[curve] * weights, density[curve])
    return wavenumber_axis(lags, timestep, padding), density


def half_transform(correlation: NDArray[Any], timestep: float, window: str = "hann") -> ComplexArray:
    """One-sided transform Int_0^inf exp(+i w t) C(t) dt by the trapezoidal rule, on the axis of :func:`spectral_density`.

    Args:
        correlation: (any unit) Array with shape (..., lags), lag 0 first; it need not be even in time.
        timestep: (fs) time between lags.
        window: name of the window, see :func:`window_values`.

    Returns:
        (unit × fs) complex Array with shape (..., bins).
    """
    values = np.asarray(correlation, dtype=np.float64)
    weights = window_values(window, values.shape[-1])
    weights[0] /= 2
    length = _transform_length(values.shape[-1], None)
    return timestep * scipy.fft.rfft(values * weights, n=length, axis=-1).conj()


def _transform_length(lags: int, padding: int | None) -> int:
    steps = _steps(lags, padding)
    # even: the last bin is Nyquist
    return 2 * (int(scipy.fft.next_fast_len(_points(lags, padding) // 2, real=True)) if steps is None else math.prod(steps))


def _points(lags: int, padding: int | None) -> int:
    return 2 * lags * ((4 if lags <= FINE_LAGS else 1) if padding is None else max(int(padding), 1))


def _steps(lags: int, padding: int | None) -> tuple[int, int] | None:
    """Lengths of the steps of a long transform, or None for one in a piece."""
    points = _points(lags, padding)
    return step_lengths(points) if points >= SHORTEST else None


def _checked(series: NDArray[Any], remove_mean: bool) -> Array:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"series: shape {values.shape}; it must be (frames, components)")
    refuse_not_finite(values, "series")
    return values - values.mean(axis=0) if remove_mean else values
