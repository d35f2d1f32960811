"""Time correlation functions by FFT, their windows, and the spectral density that they give.

A series is cut into segments no shorter than the largest lag. Each segment is zero-padded to twice its
length and transformed once; the partner of a segment is itself plus the next one, shifted by a sign. So
every pair of frames within the largest lag is counted exactly once, nothing wraps around, and memory is
bounded by the segment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

WINDOWS = ("hann", "welch", "gaussian", "bartlett", "parzen", "none")
"""Names of the lag windows."""
NORMALIZATIONS = ("unbiased", "biased", "none")
"""Names of the ways to divide a sum over pairs of frames."""


def segment_length(max_lag: int) -> int:
    """Number of frames of a segment for lags 0 to ``max_lag``: a length that transforms fast when doubled."""
    return int(scipy.fft.next_fast_len(max(max_lag, 1), real=True))


def segment_transforms(series: NDArray[Any], segment: int) -> ComplexArray:
    """Zero-padded transforms of consecutive segments.

    Args:
        series: Array with shape (frames, components).
        segment: frames per segment.

    Returns:
        Array with shape (segments, segment + 1, components), complex.
    """
    frames, components = series.shape
    segments = -(-frames // segment)
    padded = np.zeros((segments, 2 * segment, components))
    whole = frames // segment
    padded[:whole, :segment] = series[: whole * segment].reshape(whole, segment, components)
    if whole < segments:
        padded[whole, : frames - whole * segment] = series[whole * segment :]
    return scipy.fft.rfft(padded, axis=1, overwrite_x=True)


def partner_transforms(transforms: ComplexArray) -> ComplexArray:
    """Transforms of each segment together with the one that follows it; shape as ``transforms``."""
    partners = transforms.copy()
    sign = np.ones(transforms.shape[1])
    sign[1::2] = -1  # a shift by half the padded length
    partners[:-1] += sign[:, None] * transforms[1:]
    return partners


def pair_sums(products: ComplexArray, max_lag: int) -> Array:
    """Sums over pairs of frames at lags 0 to ``max_lag`` from products summed over segments.

    Args:
        products: conj(segment) times partner, Array with shape (..., segment + 1).

    Returns:
        Array with shape (..., max_lag + 1).
    """
    segment = products.shape[-1] - 1
    return scipy.fft.irfft(products, n=2 * segment, axis=-1)[..., : max_lag + 1]


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
    segment = segment_length(lags)
    left_transforms = segment_transforms(left, segment)
    right_transforms = left_transforms if same else segment_transforms(right, segment)

    def one_sided(a: ComplexArray, b: ComplexArray) -> Array:
        return pair_sums(np.einsum("mkc,mkc->k", a.conj(), partner_transforms(b)), lags)

    forward = one_sided(left_transforms, right_transforms)
    counts = np.ones(lags + 1)
    if normalization == "unbiased":
        counts = frames - np.arange(lags + 1.0)
    elif normalization == "biased":
        counts = np.full(lags + 1, float(frames))
    forward = forward / counts
    if same and not two_sided:
        return forward
    backward = one_sided(right_transforms, left_transforms) / counts
    if two_sided:
        return np.concatenate([backward[:0:-1], forward])
    return (forward + backward) / 2


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
    weights = window_values(name, lags) * timestep
    weights[1:] *= 2
    times = np.arange(lags) * timestep
    low, high = 0.0, 1.0 / (lags * timestep)  # the half height of every window lies below 1 / depth
    for _ in range(40):
        middle = (low + high) / 2
        if weights @ np.cos(2 * np.pi * middle * times) > weights.sum() / 2:
            low = middle
        else:
            high = middle
    return 2 * low / SPEED_OF_LIGHT_CM_PER_FS


def wavenumber_axis(lags: int, timestep: float, padding: int = 4) -> Array:
    """Evenly spaced wavenumbers (cm⁻¹) from 0 to the Nyquist limit for a correlation of ``lags`` lags."""
    length = _transform_length(lags, padding)
    return np.arange(length // 2 + 1) / (length * timestep * SPEED_OF_LIGHT_CM_PER_FS)


def spectral_density(
    correlation: NDArray[Any], timestep: float, window: str = "hann", *, padding: int = 4
) -> tuple[Array, Array]:
    """Two-sided transform of an even correlation function: dt (C_0 + 2 Sum_k w_k C_k cos(w k dt)).

    Lag 0 is counted once, so that no flat baseline of C(0)/2 is left; zero padding only refines the axis.
    The trapezoidal integral over wavenumber times 2 c gives back C_0.

    Args:
        correlation: (any unit) Array with shape (..., lags), lag 0 first.
        timestep: (fs) time between lags.
        window: name of the window, see :func:`window_values`.
        padding: the axis is at least this many times finer than 1 / (2 × depth).

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
    density = timestep * scipy.fft.rfft(correlation * weights, n=length, axis=-1).real
    return wavenumber_axis(lags, timestep, padding), density


def _transform_length(lags: int, padding: int) -> int:
    return 2 * int(scipy.fft.next_fast_len(lags * max(int(padding), 1), real=True))  # even: the last bin is Nyquist


def _checked(series: NDArray[Any], remove_mean: bool) -> Array:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"series: shape {values.shape}; it must be (frames, components)")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise InputError(f"series: frame {int(np.argmin(finite))} is not finite; mend or cut the series there")
    return values - values.mean(axis=0) if remove_mean else values
