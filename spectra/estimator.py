"""The one estimator behind every spectrum: correlation pooled over replicas, blocks, transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.correlation import (
    ComplexArray,
    pair_sums,
    partner_transforms,
    segment_length,
    segment_transforms,
    spectral_density,
    wavenumber_axis,
    window_resolution,
    window_values,
)
from vibraloom.spectra.spectrum import Conventions, Verdict
from vibraloom.spectra.uncertainty import block_counts, block_edges, standard_error, verdict
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]

DEFAULT_CORRELATION_TIME = 1000.0
"""Largest default correlation depth in fs: a Hann window of this depth resolves 33 cm⁻¹."""
LARGEST_NEGATIVE = 0.05
"""Negative values beyond this fraction of the maximum are noted on the spectrum."""
DIFFERENCE = "forward difference, divided by sinc^2(w dt/2)"
"""Text of the derivative that :func:`differences` and :func:`difference_attenuation` make."""


def as_replicas(series: Any, width: int | None, name: str) -> list[NDArray[Any]]:
    """A series, or a sequence of independent series, as a list of arrays (frames, ...).

    Args:
        series: Array with shape (frames, ...) or a list of such; with ``width``, shape (frames, width).

    Raises:
        InputError: wrong shape, fewer than two frames, NaN or infinity.
    """
    ndim = 2 if width is not None else 3
    several = isinstance(series, (list, tuple)) and len(series) > 0 and np.ndim(series[0]) == ndim
    several = several or (isinstance(series, np.ndarray) and series.ndim == ndim + 1)
    replicas = [np.asarray(each) for each in series] if several else [np.asarray(series)]
    for number, values in enumerate(replicas):
        label = f"{name}, replica {number}" if several else name
        wanted = f"(frames, {width})" if width is not None else "(frames, 3, 3)"
        if values.ndim != ndim or (width is not None and values.shape[1] != width):
            raise InputError(f"{label}: shape {values.shape}; it must be {wanted}")
        if len(values) < 2:
            raise InputError(f"{label}: {len(values)} frames; at least 2 are needed")
        if values.dtype.kind not in "fiu":
            raise InputError(f"{label}: type {values.dtype}; it must be real numbers")
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            raise InputError(f"{label}: frame {int(np.argmin(finite))} is not finite; mend or cut the series there")
    return replicas


def positive(value: float, name: str, unit: str) -> float:
    """``value`` as a float.

    Raises:
        InputError: it is not finite and positive.
    """
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{name}: {value} {unit}; it must be positive")
    return float(value)


def differences(series: NDArray[Any], timestep: float) -> Array:
    """Forward difference (M[k+1] - M[k]) / dt in float64; shape (frames - 1, ...)."""
    return np.diff(series.astype(np.float64), axis=0) / timestep


def difference_attenuation(wavenumber: Array, timestep: float) -> Array:
    """sinc^2(w dt/2): what the forward difference leaves of a derivative's spectrum (0.405 at the Nyquist
    limit).

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        timestep: fs.
    """
    return np.sinc(SPEED_OF_LIGHT_CM_PER_FS * wavenumber * timestep) ** 2


@dataclass(frozen=True)
class Estimator:
    """Choices of one estimate, and the layout of segments and blocks that follows from them.

    ``max_lag`` and ``segment`` in frames; ``blocks`` per replica (all 0: no error bars).
    """

    timestep: float
    frames: tuple[int, ...]
    max_lag: int
    segment: int
    window: str
    normalization: str
    blocks: tuple[int, ...]

    @classmethod
    def plan(
        cls,
        frames: Sequence[int],
        timestep: float,
        *,
        correlation_time: float | None,
        window: str,
        normalization: str,
        blocks: int | None,
    ) -> Estimator:
        """Lay out the estimate of series with ``frames`` frames each, ``timestep`` fs apart.

        The correlation time is by default a tenth of all time simulated, not more than 1000 fs.

        Raises:
            InputError: a choice that is not allowed, or a correlation time longer than the shortest series.
        """
        timestep = positive(timestep, "timestep", "fs")
        if normalization not in ("unbiased", "biased"):
            raise InputError(f"normalization: {normalization!r}; allowed: unbiased, biased")
        shortest = min(frames)
        if correlation_time is None:
            tenth = sum(frames) * timestep / 10
            correlation_time = min(DEFAULT_CORRELATION_TIME, tenth, (shortest - 1) * timestep)
            correlation_time = max(correlation_time, timestep)
        max_lag = round(positive(correlation_time, "correlation_time", "fs") / timestep)
        if not 1 <= max_lag < shortest:
            raise InputError(
                f"correlation_time: {correlation_time:g} fs; allowed: {timestep:g} to"
                f" {(shortest - 1) * timestep:g} fs for a series of {shortest} frames;"
                " run longer or shorten it"
            )
        window_values(window, max_lag + 1)
        counts = block_counts(frames, max_lag, blocks)
        # whole segments make the blocks, so a segment may not be longer than half a block
        segment = segment_length(max_lag)
        room = [count // (2 * each) for count, each in zip(frames, counts, strict=True) if each > 1]
        if room and min(room) < segment:
            segment = max(max_lag, min(room))
        return cls(timestep, tuple(frames), max_lag, segment, window, normalization, tuple(counts))

    def transforms(self, series: NDArray[Any]) -> ComplexArray:
        """Transforms of the segments of one replica: (frames, components) -> (segments, bins, components)."""
        return segment_transforms(series, self.segment)

    def products(self, replica: int, left: ComplexArray, right: ComplexArray | None = None) -> ComplexArray:
        """conj(left) times the partners of right, symmetrised, components and the segments of a block summed.

        Returns:
            Array with shape (blocks of this replica, or 1, segment + 1), complex.
        """
        products = _summed(left, left if right is None else right)
        if right is not None:
            products = (products + _summed(right, left)) / 2
        return self.by_block(replica, products)

    def by_block(self, replica: int, products: ComplexArray) -> ComplexArray:
        """Sum over the segments of each block: (segments, ...) -> (blocks, ...)."""
        edges = self._edges(replica)
        starts = np.append(0, -(-edges[1:-1] // self.segment))
        return np.add.reduceat(products, starts, axis=0)

    def densities(self, products: Sequence[ComplexArray]) -> tuple[Array, Array]:
        """Spectral density of the pooled correlation, and of each block.

        Args:
            products: for each replica Array with shape (blocks, ..., segment + 1).

        Returns:
            (unit² × fs) Arrays with shape (..., bins) and (all blocks, ..., bins).
        """
        sums = pair_sums(np.concatenate(list(products)), self.max_lag)
        counts = np.concatenate([self._counts(replica) for replica in range(len(self.frames))])
        counts = counts.reshape(len(counts), *([1] * (sums.ndim - 2)), self.max_lag + 1)
        _, pooled = spectral_density(sums.sum(axis=0) / counts.sum(axis=0), self.timestep, self.window)
        if not sum(self.blocks):
            return pooled, np.empty((0, *pooled.shape))
        _, each = spectral_density(sums / counts, self.timestep, self.window)
        return pooled, each

    @property
    def wavenumber(self) -> Array:
        """(cm⁻¹) Array with shape (bins,), from 0 to the Nyquist limit."""
        return wavenumber_axis(self.max_lag + 1, self.timestep)

    @property
    def resolution(self) -> float:
        """Full width in cm⁻¹ that the window gives to a sharp line."""
        return window_resolution(self.window, self.max_lag + 1, self.timestep)

    def judge(self, intensity: Array, blocks: Array) -> tuple[Array | None, Verdict | None]:
        """Standard error and verdict from the spectra of the blocks; None and None without blocks."""
        if len(blocks) < 2:
            return None, None
        error = standard_error(blocks)
        judged = verdict(
            self.wavenumber,
            intensity,
            error,
            blocks=len(blocks),
            depths_per_block=self._block_length / self.max_lag,
            resolution=self.resolution,
        )
        return error, judged

    def conventions(
        self,
        intensity: Array,
        *,
        derivative: str,
        quantum: str | None,
        notes: Sequence[str] = (),
        **entries: Any,
    ) -> Conventions:
        """Conventions of a spectrum made by this estimator; ``entries`` are further fields of Conventions."""
        remarks = list(notes)
        nyquist = float(self.wavenumber[-1])
        if nyquist < 4000:
            remarks.append(f"frames are {self.timestep:g} fs apart: motion above {nyquist:.0f} cm^-1 folds back")
        usable = intensity[self.wavenumber >= self.resolution]
        if usable.size and usable.min() < -LARGEST_NEGATIVE * np.abs(usable).max():
            fraction = 100 * -usable.min() / np.abs(usable).max()
            remarks.append(
                f"negative values down to {fraction:.0f} % of the maximum:"
                f" leakage of the {self.window} window, or noise"
            )
        extra = {
            "resolution": self.resolution,
            "normalization": self.normalization,
            **entries.pop("extra", {}),
        }
        if sum(self.blocks):
            extra["block_length"] = self._block_length * self.timestep
        return Conventions(
            estimator=f"{self.normalization} autocorrelation, pooled over replicas, two-sided transform",
            window=self.window,
            correlation_time=self.max_lag * self.timestep,
            derivative=derivative,
            quantum_correction=quantum,
            timestep=self.timestep,
            frames=entries.pop("frames", min(self.frames)),
            replicas=len(self.frames),
            blocks=sum(self.blocks),
            notes=tuple(remarks),
            extra=extra,
            **entries,
        )

    @property
    def _block_length(self) -> float:
        """Mean length of a block in frames, in the replica with the shortest blocks."""
        return min(count / max(each, 1) for count, each in zip(self.frames, self.blocks, strict=True))

    def _edges(self, replica: int) -> NDArray[np.int64]:
        return block_edges(self.frames[replica], max(self.blocks[replica], 1), self.segment)

    def _counts(self, replica: int) -> Array:
        """Number of pairs of frames behind each lag in each block: (blocks, lags)."""
        edges = self._edges(replica)
        lags = np.arange(self.max_lag + 1)
        if self.normalization == "biased":
            return np.repeat(np.diff(edges)[:, None].astype(float), self.max_lag + 1, axis=1)
        last = np.minimum(edges[1:, None], self.frames[replica] - lags)
        return (last - edges[:-1, None]).astype(float)


def _summed(left: ComplexArray, right: ComplexArray) -> ComplexArray:
    return np.einsum("mkc,mkc->mk", left.conj(), partner_transforms(right))
