"""The one estimator behind every spectrum: correlation pooled over replicas, blocks, transform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.cepstral import CepstralDensities, cepstral_densities
from vibraloom.spectra.correlation import (
    ComplexArray,
    half_transform,
    spectral_density,
    wavenumber_axis,
    window_resolution,
    window_values,
)
from vibraloom.spectra.finite_frames import refuse_not_finite
from vibraloom.spectra.lag_products import Pairing, Segment, add_segment, even_sums, segment_sums, segments
from vibraloom.spectra.short_blocks import ShortBlocks
from vibraloom.spectra.spectrum import Conventions, Verdict
from vibraloom.spectra.uncertainty import block_counts, block_edges, standard_error, verdict
from vibraloom.spectra.welch import taper_resolution, tapered_sums, welch_segments
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
        refuse_not_finite(values, label)
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
    result = np.diff(series.astype(np.float64, copy=False), axis=0)
    result /= timestep
    return result


def difference_attenuation(wavenumber: Array, timestep: float) -> Array:
    """sinc^2(w dt/2): what the forward difference leaves of a derivative's spectrum (0.405 at the Nyquist
    limit).

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        timestep: fs.
    """
    phase = wavenumber * (np.pi * SPEED_OF_LIGHT_CM_PER_FS * timestep)
    # in place: the axis may be as long as the run
    result = np.sin(phase)
    np.divide(result, phase, out=result, where=phase != 0)
    result[phase == 0] = 1.0
    result *= result
    return result


METHODS = ("correlation", "welch", "cepstral")
"""Names of the estimators."""
_NAMES = {
    "correlation": "{} autocorrelation, pooled over replicas, two-sided transform",
    "welch": "Welch: tapered periodograms of half overlapping segments, averaged",
    "cepstral": "cepstral: log-periodogram smoothed to Akaike's criterion",
}


@dataclass(frozen=True)
class Densities:
    """What an estimate found.

    Attributes:
        pooled: (unit² × fs) Array with shape (pairings, bins).
        blocks: (unit² × fs) Array with shape (all blocks, pairings, bins); no blocks, no entry.
        cepstrum: what the cepstral estimator says of itself: its error, without blocks, among it.
    """

    pooled: Array
    blocks: Array
    cepstrum: CepstralDensities | None = None

    def error_of(self, pairing: int, factor: Array) -> tuple[Array, bool] | None:
        """Error of one pairing times ``factor`` and whether the largest lag limits it, where it needs no blocks."""
        own = self.cepstrum
        return None if own is None else (own.standard_error[pairing] * factor, own.limited[pairing])

    @property
    def remarks(self) -> dict[str, Any]:
        """Entries for ``conventions.extra``."""
        if self.cepstrum is None:
            return {}
        found = self.cepstrum
        return {"cepstral_coefficients": list(found.coefficients), "coefficients_limited": list(found.limited)}


@dataclass(frozen=True)
class Estimator:
    """Choices of one estimate, and the layout of blocks that follows from them.

    ``max_lag`` in frames; ``blocks`` per replica (all 0: no error bars); ``method`` is one of :data:`METHODS`.
    """

    timestep: float
    frames: tuple[int, ...]
    max_lag: int
    window: str
    normalization: str
    blocks: tuple[int, ...]
    method: str = "correlation"

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
        estimator: str = "correlation",
    ) -> Estimator:
        """Lay out the estimate of series with ``frames`` frames each, ``timestep`` fs apart.

        The correlation time is by default a tenth of all time simulated, not more than 1000 fs.

        Raises:
            InputError: a choice that is not allowed, or a correlation time longer than the shortest series.
        """
        timestep = positive(timestep, "timestep", "fs")
        if estimator not in METHODS:
            raise InputError(f"estimator: {estimator!r}; allowed: {', '.join(METHODS)}")
        if normalization not in ("unbiased", "biased"):
            raise InputError(f"normalization: {normalization!r}; allowed: unbiased, biased")
        shortest = min(frames)
        if correlation_time is None:
            tenth = sum(frames) * timestep / 10
            correlation_time = min(DEFAULT_CORRELATION_TIME, tenth, (shortest - 1) * timestep)
            correlation_time = max(correlation_time, timestep)
        max_lag = round(positive(correlation_time, "correlation_time", "fs") / timestep)
        if not 1 <= max_lag < shortest:
            longest = (shortest - 1) * timestep
            raise InputError(
                f"correlation_time: {correlation_time:g} fs ({correlation_time / 1e3:g} ps); allowed: {timestep:g} to"
                f" {longest:g} fs ({timestep / 1e3:g} to {longest / 1e3:g} ps) for a series of {shortest} frames;"
                " run longer or shorten it"
            )
        window_values(window, 1)  # is the name known?
        if estimator == "cepstral":  # its error bars come from its own theory
            window, counts = "none", [0] * len(frames)
        else:
            counts = block_counts(frames, max_lag, blocks)
        return cls(timestep, tuple(frames), max_lag, window, normalization, tuple(counts), estimator)

    def lag_sums(
        self, replica: int, series: NDArray[Any], pairings: Sequence[Pairing], *, two_sided: bool = False
    ) -> Array:
        """Sums over pairs of frames of one replica, (blocks of the replica, or 1, pairings, max_lag + 1).

        See :func:`vibraloom.spectra.lag_products.lag_sums`. Sums of sets of columns may be added.

        Raises:
            InputError: the estimator makes no such sums of two columns.
        """
        whole = next(iter(self.segments(replica)))
        if not two_sided and self.method == "correlation" and whole.start == 0 and whole.end == len(series):
            return even_sums(series, pairings, self.max_lag)[None]
        sums = np.zeros((max(self.blocks[replica], 1), len(pairings), 2, self.max_lag + 1))
        for stretch in self.segments(replica):
            add_segment(sums, stretch, self.stretch_sums(series[stretch.start : stretch.reach], stretch, pairings))
        return sums if two_sided else sums.mean(axis=2)

    def segments(self, replica: int, longest: int | None = None) -> Iterator[Segment]:
        """Stretches of a replica whose sums add up to :meth:`lag_sums`, at most ``longest`` frames each with their reach."""
        if self.method == "welch":
            return welch_segments(self._edges(replica), self.max_lag)
        return segments(self._edges(replica), self.max_lag, longest)

    def short_blocks(self, replica: int) -> ShortBlocks | None:
        """The blocks of a replica where each of them is best transformed once: several, and not much longer than the lags."""
        edges = self._edges(replica)
        short = self.method == "correlation" and ShortBlocks.fit(edges, self.max_lag)
        return ShortBlocks(edges, self.max_lag) if short else None

    def stretch_sums(self, frames: NDArray[Any], stretch: Segment, pairings: Sequence[Pairing]) -> Array:
        """Sums of one stretch, (2, pairings, 2, max_lag + 1): within it and from it to what follows, both directions of time.

        Args:
            frames: Array with shape (reach - start, columns), the frames of the stretch.
            stretch: one of :meth:`segments`.
            pairings: what is correlated.
        """
        if self.method == "cepstral":
            raise InputError("estimator: cepstral gives whole spectra only, no parts and no densities of states; use welch")
        if self.method == "welch":
            within = tapered_sums(frames, pairings, self.window)
            return np.stack([within, np.zeros_like(within)])
        return segment_sums(frames, stretch.end - stretch.start, pairings, self.max_lag, last=stretch.last)

    def densities(self, sums: Sequence[Array]) -> tuple[Array, Array]:
        """Spectral density of the pooled correlation, and of each block.

        Args:
            sums: for each replica what :meth:`lag_sums` returns.

        Returns:
            (unit² × fs) Arrays with shape (pairings, bins) and (all blocks, pairings, bins).
        """
        pooled, each = self._correlations(sums)
        _, density = spectral_density(pooled, self.timestep, self._lag_window)
        if not sum(self.blocks):
            return density, np.empty((0, *density.shape))
        return density, spectral_density(each, self.timestep, self._lag_window)[1]

    def half_transforms(self, sums: Sequence[Array]) -> tuple[ComplexArray, ComplexArray]:
        """One-sided transform Int_0^inf exp(+i w t) <left(0) right(t)> dt of the pooled correlation, and of each block.

        Args:
            sums: for each replica what :meth:`lag_sums` returns with ``two_sided``.

        Returns:
            (unit² × fs) complex Arrays with shape (pairings, bins) and (all blocks, pairings, bins).
        """
        pooled, each = self._correlations([one[:, :, 0] for one in sums])
        density = half_transform(pooled, self.timestep, self._lag_window)
        if not sum(self.blocks):
            return density, np.empty((0, *density.shape), dtype=np.complex128)
        return density, half_transform(each, self.timestep, self._lag_window)

    def estimate(self, replicas: Sequence[NDArray[Any]], pairings: Sequence[Pairing]) -> Densities:
        """Spectral densities of series (frames, columns), one per replica."""
        if self.method == "cepstral":
            found = cepstral_densities(replicas, pairings, self.timestep, self.max_lag)
            return Densities(found.density, np.empty((0, *found.density.shape)), found)
        sums = [self.lag_sums(number, series, pairings) for number, series in enumerate(replicas)]
        return Densities(*self.densities(sums))

    def _correlations(self, sums: Sequence[Array]) -> tuple[Array, Array]:
        """Correlation functions: pooled (pairings, lags), and of each block (blocks, pairings, lags), if there are any."""
        counts = np.concatenate([self._counts(replica) for replica in range(len(self.frames))])[:, None]
        if not sum(self.blocks):
            total = sums[0].sum(axis=0) if len(sums) == 1 else np.sum([each.sum(axis=0) for each in sums], axis=0)
            return total / counts.sum(axis=0), np.empty((0, *total.shape))
        each = np.concatenate(list(sums))
        return each.sum(axis=0) / counts.sum(axis=0), each / counts

    @cached_property
    def wavenumber(self) -> Array:
        """(cm⁻¹) Array with shape (bins,), from 0 to the Nyquist limit."""
        return wavenumber_axis(self.max_lag + 1, self.timestep)

    @property
    def resolution(self) -> float:
        """Full width in cm⁻¹ that the window gives to a sharp line."""
        if self.method == "welch":
            return taper_resolution(self.window, self.max_lag + 1, self.timestep)
        return window_resolution(self.window, self.max_lag + 1, self.timestep)

    def judge(
        self, intensity: Array, blocks: Array, own: tuple[Array, bool] | None = None
    ) -> tuple[Array | None, Verdict | None]:
        """Standard error and verdict from the spectra of the blocks, or from the estimator's ``own``: :meth:`Densities.error_of`.

        None and None without either.
        """
        if own is None and len(blocks) < 2:
            return None, None
        error, limited = own or (standard_error(blocks), False)
        judged = verdict(
            self.wavenumber,
            intensity,
            error,
            blocks=None if own else len(blocks),
            depths_per_block=self._block_length / self.max_lag,
            resolution=self.resolution,
            independent=max(self.blocks) == 1,
            limited=limited,
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
            estimator=_NAMES[self.method].format(self.normalization),
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

    @property
    def _lag_window(self) -> str:
        """Window on the correlation function; Welch's tapers stand in the sums already."""
        return self.window if self.method == "correlation" else "none"

    def _edges(self, replica: int) -> NDArray[np.int64]:
        return block_edges(self.frames[replica], max(self.blocks[replica], 1))

    def _counts(self, replica: int) -> Array:
        """Number of pairs of frames behind each lag in each block, half for a pair in two of them: (blocks, lags)."""
        edges = self._edges(replica)
        lags = np.arange(self.max_lag + 1)
        if self.method == "welch":
            count = np.bincount([one.block for one in self.segments(replica)], minlength=len(edges) - 1)
            if not count.all():
                raise InputError(f"blocks: {len(count)} in {self.frames[replica]} frames leave one without a segment; take fewer")
            return np.repeat(count[:, None].astype(float), self.max_lag + 1, axis=1)
        if self.normalization == "biased":
            return np.repeat(np.diff(edges)[:, None].astype(float), self.max_lag + 1, axis=1)
        earlier = np.minimum(edges[1:, None], self.frames[replica] - lags) - edges[:-1, None]
        later = edges[1:, None] - np.maximum(edges[:-1, None], lags)
        return (earlier + later) / 2
