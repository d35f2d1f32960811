"""Fourier transforms of long real series, in steps that stay in a core's cache.

One transform of a million points goes through main memory once for each of its factors, and asks the system for new
memory each time. Here it is two sets of about a thousand short transforms (the four steps of D. H. Bailey, J. Supercomput.
4, 23 (1990)), the series being packed two numbers to a complex one. A power spectrum stays in the order that the steps
leave, since the way back takes it so.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

SHORTEST = 2**18
"""Points from which a transform is done in steps."""
_BLOCK = 16
"""Rows and columns that are turned at a time: a few cache lines of each."""


@functools.cache
def step_lengths(points: int) -> tuple[int, int]:
    """Lengths p and q of the two sets of short transforms, p q >= points / 2, both fast and near each other."""
    least = max(1, -(-points // 2))
    p = int(scipy.fft.prev_fast_len(max(1, round(np.sqrt(least)))))
    best = (0, 0)
    for _ in range(12):
        q = int(scipy.fft.next_fast_len(-(-least // p)))
        if not best[0] or p * q < best[0] * best[1]:
            best = (p, q)
        p = int(scipy.fft.prev_fast_len(max(1, p - 1)))
    return best


@dataclass
class LongTransform:
    """Transforms of real series padded with zeros to ``length`` = 2 p q points.

    Attributes:
        p, q: lengths of the short transforms, as :func:`step_lengths` gives them.
    """

    p: int
    q: int

    def __post_init__(self) -> None:
        points = self.p * self.q
        self._fine = np.exp(-2j * np.pi / points * np.outer(np.arange(self.p), np.arange(_BLOCK)))
        # W^(k1 j2) for the j2 that begin a block; the product is taken modulo the length before it becomes an angle
        starts = np.arange(0, self.q, _BLOCK)
        self._coarse = np.exp(-2j * np.pi / points * (np.outer(np.arange(self.p), starts) % points))
        self._rows = np.exp(-1j * np.pi / points * np.arange(self.p))
        self._columns = np.exp(-1j * np.pi / self.q * np.arange(self.q))
        self._first = np.empty((self.q, self.p), dtype=np.complex128)
        self._second = np.empty((self.p, self.q), dtype=np.complex128)

    @property
    def length(self) -> int:
        """Points of the padded series."""
        return 2 * self.p * self.q

    @property
    def bins(self) -> int:
        """Length of a power spectrum, in which k = k1 + p k2 stands at k1 q + k2, and k = p q last."""
        return self.p * self.q + 1

    def transform(self, column: Array) -> None:
        """Transform a series, Array with shape (frames,), at most ``length``, for :meth:`add_power`."""
        _spread(column, self._first)
        np.fft.fft(self._first, axis=1, out=self._first)
        _turn(self._first.T, self._second, self._fine, self._coarse)
        np.fft.fft(self._second, axis=1, out=self._second)

    def add_power(self, power: Array, weight: float) -> None:
        """Add ``weight`` times |X_k|² of the series transformed last to ``power``, Array with shape (bins,)."""
        _add_power(power, self._second, self._rows, self._columns, weight)

    def correlation(self, power: Array, lags: int) -> Array:
        """Circular correlation at lags 0 to ``lags`` - 1 from what :meth:`add_power` summed: Array with shape (lags,)."""
        _pack(power, self._second, self._rows, self._columns)
        np.fft.ifft(self._second, axis=1, out=self._second)
        _turn(self._second, self._first.T, self._fine.conj(), self._coarse.conj())
        np.fft.ifft(self._first, axis=1, out=self._first)
        result = np.empty(lags)
        _gather(self._first.view(np.float64), result)
        return result

    def cosine_transform(self, values: Array, result: Array) -> None:
        """Put Sum_t values_t cos(2 pi k t / length), k in order from 0, into ``result``, Array with shape (bins,)."""
        self.transform(values)
        _real_parts(self._second, self._rows, self._columns, result)


@numba.njit(cache=True, nogil=True)
def _spread(column: Array, packed: ComplexArray) -> None:
    """Numbers 2 (q j1 + j2) and the next one of a series at [j2, j1], zeros behind."""
    q, p = packed.shape
    count = len(column)
    whole = count // (2 * q)  # rows j1 that are all there
    for low in range(0, whole, _BLOCK):
        high = min(low + _BLOCK, whole)
        for left in range(0, q, _BLOCK):
            for j2 in range(left, min(left + _BLOCK, q)):
                for j1 in range(low, high):
                    at = 2 * (q * j1 + j2)
                    packed[j2, j1] = complex(column[at], column[at + 1])
    for j2 in range(q):
        for j1 in range(whole, p):
            at = 2 * (q * j1 + j2)
            real = column[at] if at < count else 0.0
            imaginary = column[at + 1] if at + 1 < count else 0.0
            packed[j2, j1] = complex(real, imaginary)


@numba.njit(cache=True, nogil=True)
def _turn(source: ComplexArray, target: ComplexArray, fine: ComplexArray, coarse: ComplexArray) -> None:
    """target[k1, j2] = source[k1, j2] W^(k1 j2), or W^(-k1 j2) with the factors' conjugates; either may be a transposed view."""
    p, q = source.shape
    for block, low in enumerate(range(0, q, _BLOCK)):
        high = min(low + _BLOCK, q)
        for left in range(0, p, _BLOCK):
            for k1 in range(left, min(left + _BLOCK, p)):
                base = coarse[k1, block]
                for j2 in range(low, high):
                    target[k1, j2] = source[k1, j2] * (base * fine[k1, j2 - low])


@numba.njit(cache=True, nogil=True)
def _add_power(power: Array, packed: ComplexArray, rows: ComplexArray, columns: ComplexArray, weight: float) -> None:
    """|E + w O|² with E and O the transforms of the even and of the odd numbers."""
    p, q = packed.shape
    for k1 in range(p):
        other = packed[p - k1 if k1 else 0]
        reach = q - 1 if k1 else q
        for k2 in range(q):
            here = packed[k1, k2]
            there = np.conj(other[reach - k2 if k1 or k2 else 0])
            even = here + there
            odd = -1j * (here - there) * (rows[k1] * columns[k2])
            value = even + odd
            power[k1 * q + k2] += 0.25 * weight * (value.real * value.real + value.imag * value.imag)
    last = packed[0, 0].real - packed[0, 0].imag
    power[p * q] += weight * last * last


@numba.njit(cache=True, nogil=True)
def _pack(power: Array, packed: ComplexArray, rows: ComplexArray, columns: ComplexArray) -> None:
    """Packed transform of the series whose own transform is the real, even ``power``."""
    p, q = packed.shape
    for k1 in range(p):
        other = p - k1 if k1 else 0
        reach = q - 1 if k1 else q
        for k2 in range(q):
            here = power[k1 * q + k2]
            there = power[other * q + (reach - k2)] if k1 or k2 else power[p * q]
            packed[k1, k2] = 0.5 * (here + there) + 0.5j * (here - there) * np.conj(rows[k1] * columns[k2])


@numba.njit(cache=True, nogil=True)
def _gather(parts: Array, series: Array) -> None:
    """Inverse of :func:`_spread`, as far as ``series`` goes; ``parts`` are real and imaginary parts."""
    q, p = parts.shape[0], parts.shape[1] // 2
    count = len(series)
    for low in range(0, p, _BLOCK):
        high = min(low + _BLOCK, p)
        if 2 * q * low >= count:
            break
        for left in range(0, q, _BLOCK):
            for j1 in range(low, high):
                for j2 in range(left, min(left + _BLOCK, q)):
                    at = 2 * (q * j1 + j2)
                    if at < count:
                        series[at] = parts[j2, 2 * j1]
                    if at + 1 < count:
                        series[at + 1] = parts[j2, 2 * j1 + 1]


@numba.njit(cache=True, nogil=True)
def _real_parts(packed: ComplexArray, rows: ComplexArray, columns: ComplexArray, result: Array) -> None:
    """Real part of E + w O, k in order."""
    p, q = packed.shape
    for low in range(0, p, _BLOCK):
        for left in range(0, q, _BLOCK):
            for k2 in range(left, min(left + _BLOCK, q)):
                for k1 in range(low, min(low + _BLOCK, p)):
                    here = packed[k1, k2]
                    column = (q - 1 - k2) if k1 else (q - k2 if k2 else 0)
                    there = np.conj(packed[p - k1 if k1 else 0, column])
                    value = here + there - 1j * (here - there) * (rows[k1] * columns[k2])
                    result[k1 + p * k2] = 0.5 * value.real
    result[p * q] = packed[0, 0].real - packed[0, 0].imag
