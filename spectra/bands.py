"""Bands of a spectrum: positions between the bins, heights, widths and areas."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from vibraloom.errors import InputError
from vibraloom.spectra.spectrum import Spectrum


@dataclass(frozen=True)
class Band:
    """A maximum of a spectrum.

    Attributes:
        position: cm⁻¹.
        height: in the unit of the spectrum.
        area: unit times cm⁻¹, between the minima that part it from its neighbours.
        width: (cm⁻¹) full width at half height; NaN where the band does not fall that far on both sides.
    """

    position: float
    height: float
    area: float
    width: float


def find_bands(spectrum: Spectrum, low: float, high: float, minimum_prominence: float = 0.05) -> list[Band]:
    """Bands between ``low`` and ``high`` (cm⁻¹), by position.

    Position and height are those of the parabola through the highest bin and its neighbours. A maximum at
    the edge of the window is no band.

    Args:
        spectrum: what to search.
        low, high: cm⁻¹.
        minimum_prominence: how far a band must rise above its surroundings, relative to the highest value in
            the window.

    Raises:
        InputError: a window with fewer than three bins.
    """
    part = spectrum.between(low, high)
    wavenumber, intensity = part.wavenumber, part.intensity
    if len(wavenumber) < 3:
        raise InputError(f"window: {low:g} to {high:g} cm^-1 holds {len(wavenumber)} bins; at least 3 are needed")
    spacing = float(wavenumber[1] - wavenumber[0])
    top = float(intensity.max())
    if top <= 0:
        return []
    peaks = [peak for peak in _maxima(intensity) if _prominence(intensity, peak) >= minimum_prominence * top]
    minima = [int(np.argmin(intensity[a : b + 1])) + int(a) for a, b in itertools.pairwise(peaks)]
    edges = [0, *minima, len(intensity) - 1]
    bands = []
    for number, peak in enumerate(peaks):
        before, at, after = intensity[peak - 1 : peak + 2]
        curvature = before - 2 * at + after
        shift = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
        height = float(at - 0.25 * (before - after) * shift)
        left, right = edges[number], edges[number + 1]
        inside = intensity[left : right + 1]
        area = float(inside.sum() - (inside[0] + inside[-1]) / 2) * spacing
        width = (_fall(intensity, peak, right, height / 2) + _fall(intensity, peak, left, height / 2)) * spacing
        bands.append(Band(float(wavenumber[peak] + shift * spacing), height, area, float(width)))
    return bands


def _maxima(intensity: np.ndarray) -> list[int]:
    """Bins higher than both neighbours, edges left out; of a flat top its middle bin."""
    starts = np.flatnonzero(np.diff(intensity, prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(intensity)) - 1
    heights = intensity[starts]
    high = np.flatnonzero((heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])) + 1
    return [int(starts[step] + ends[step]) // 2 for step in high]


def _prominence(intensity: np.ndarray, peak: int) -> float:
    """Height of a maximum above the higher of the two lowest points between it and higher ground (or the edge)."""
    higher = np.flatnonzero(intensity > intensity[peak])
    before, after = higher[higher < peak], higher[higher > peak]
    left = intensity[before[-1] if len(before) else 0 : peak + 1].min()
    right = intensity[peak : after[0] if len(after) else len(intensity)].min()
    return float(intensity[peak] - max(left, right))


def _fall(intensity: np.ndarray, peak: int, end: int, level: float) -> float:
    """Bins from ``peak`` towards ``end`` until the intensity falls to ``level``; NaN if it does not."""
    step = 1 if end > peak else -1
    for bin_ in range(peak, end, step):
        here, there = intensity[bin_], intensity[bin_ + step]
        if there <= level < here:
            return abs(bin_ - peak) + float((here - level) / (here - there))
    return float("nan")
