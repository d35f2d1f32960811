"""The bare FFTs of each task: what no exact estimate of its spectrum can leave out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from peers.series import TIMESTEP

Array = NDArray[np.float64]
Call = Callable[[], tuple[Array, Array]]

_BATCH = 16
"""Columns per FFT call of float32: what stays in a core's cache."""


def _bins(frames: int) -> int:
    """Points of the DCT: as many as there are lags, and the few zeros more that make its length fast.

    A DCT of exactly as many points as lags takes up to ten times longer where that number less one has large prime
    factors, as 999998 has: no floor to measure against.
    """
    return int(scipy.fft.next_fast_len(frames - 1, real=True)) + 1


def _spectrum(power: Array, length: int, frames: int) -> Array:
    """One irfft and one DCT: unbiased autocorrelation to its last lag, and its two-sided transform."""
    correlation = np.zeros(_bins(frames))
    correlation[:frames] = scipy.fft.irfft(power, n=length)[:frames]
    correlation[:frames] /= np.arange(frames, 0, -1)
    spectrum: Array = scipy.fft.dct(correlation, type=1)
    return spectrum


def _power(column: Array, length: int) -> Array:
    transform = scipy.fft.rfft(column, n=length)
    power: Array = transform.real**2
    power += transform.imag**2
    return power


def _axis(frames: int) -> Array:
    return np.linspace(0.0, 0.5 / (2.99792458e-5 * TIMESTEP), _bins(frames))


def infrared(data: Path) -> Call:
    """A: three FFTs, one inverse, one DCT."""
    current = np.load(data / "current.npy")
    frames = len(current)
    length = scipy.fft.next_fast_len(2 * frames - 1, real=True)

    def call() -> tuple[Array, Array]:
        power = sum(_power(current[:, axis], length) for axis in range(3))
        return _axis(frames), _spectrum(np.asarray(power), length, frames)

    return call


def raman(data: Path) -> Call:
    """C: six FFTs, two inverses, two DCTs; returns 45 a'^2 + 7 g'^2."""
    rate = np.load(data / "rate.npy")
    frames = len(rate)
    length = scipy.fft.next_fast_len(2 * frames - 1, real=True)

    def call() -> tuple[Array, Array]:
        transforms = [scipy.fft.rfft(rate[:, column], n=length) for column in range(6)]
        mean = (transforms[0] + transforms[1] + transforms[2]) / 3
        isotropic = mean.real**2 + mean.imag**2
        traceless = np.zeros_like(isotropic)
        for column in range(3):
            transforms[column] -= mean
        for column, transform in enumerate(transforms):
            traceless += (1 if column < 3 else 2) * (transform.real**2 + transform.imag**2)
        # g'^2 = 3/2 Tr b b
        return _axis(frames), 45 * _spectrum(isotropic, length, frames) + 10.5 * _spectrum(traceless, length, frames)

    return call


def _vdos(data: Path, padded: Callable[[int], int]) -> Call:
    """One float32 FFT per column, from a buffer that holds columns already and stays in cache."""
    velocities = np.load(data / "velocities.npy", mmap_mode="r")
    frames, atoms, _ = velocities.shape
    length = scipy.fft.next_fast_len(padded(frames), real=True)
    buffer = np.zeros((_BATCH, length), dtype=np.float32)
    buffer[:, :frames] = velocities[:, :_BATCH].reshape(frames, -1)[:, :_BATCH].T

    def call() -> tuple[Array, Array]:
        for _ in range(0, 3 * atoms, _BATCH):
            scipy.fft.rfft(buffer, axis=-1)
        return np.empty(0), np.empty(0)

    return call


def vdos(data: Path) -> Call:
    """B: padded for every lag, as in A and C."""
    return _vdos(data, lambda frames: 2 * frames - 1)


def vdos_short(data: Path) -> Call:
    """B: padded for a correlation of 1000 frames alone."""
    return _vdos(data, lambda frames: frames + min(1000, frames // 10))
