"""Bands: position between bins, height, width, area."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from vibraloom.errors import InputError
from vibraloom.spectra import Conventions, Spectrum
from vibraloom.spectra.bands import find_bands


def spectrum(lines, spacing=3.0, width=20.0):
    """Gaussian lines (position, area) with full width ``width``."""
    wavenumber = np.arange(0, 4000, spacing)
    sigma = width / np.sqrt(8 * np.log(2))
    intensity = sum(
        area * np.exp(-0.5 * ((wavenumber - at) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)) for at, area in lines
    )
    conventions = Conventions("none", "none", 0.0, "none", None, 1.0, 1, 1, 0, None)
    return Spectrum("infrared", wavenumber, intensity, "cm^-1", conventions)


def test_position_height_width_and_area_of_a_line():
    (band,) = find_bands(spectrum([(1601.3, 5.0)]), 1400, 1800)
    assert band.position == pytest.approx(1601.3, abs=0.05)
    assert band.width == pytest.approx(20.0, rel=0.02)
    assert band.area == pytest.approx(5.0, rel=1e-4)
    assert band.height == pytest.approx(5.0 / 20 * np.sqrt(4 * np.log(2) / np.pi), rel=1e-3)


def test_neighbours_are_parted_at_the_minimum_between_them():
    bands = find_bands(spectrum([(1600.0, 5.0), (1700.0, 1.0), (1900.0, 3.0)]), 1400, 2100)
    assert [band.position for band in bands] == pytest.approx([1600, 1700, 1900], abs=0.1)
    assert [band.area for band in bands] == pytest.approx([5, 1, 3], rel=1e-3)


def test_a_maximum_at_the_edge_of_the_window_is_no_band():
    lines = [(1600.0, 5.0), (1700.0, 1.0)]
    assert [band.position for band in find_bands(spectrum(lines), 1605, 1800, 0.01)] == pytest.approx([1700], abs=0.2)
    assert find_bands(spectrum(lines), 1705, 1800) == []


def test_a_weak_line_counts_by_its_prominence():
    lines = [(1600.0, 5.0), (1700.0, 0.2)]
    assert len(find_bands(spectrum(lines), 1400, 1900, 0.05)) == 1
    assert len(find_bands(spectrum(lines), 1400, 1900, 0.03)) == 2


def test_a_shoulder_that_does_not_fall_to_half_has_no_width():
    # 24 apart, 20 wide: a shallow dip between them
    first, second = find_bands(spectrum([(1600.0, 5.0), (1624.0, 5.0)], spacing=1.0), 1500, 1800)
    assert np.isnan(first.width) and np.isnan(second.width)


def test_an_empty_window_is_refused():
    with pytest.raises(InputError, match="at least 3"):
        find_bands(spectrum([(1600.0, 5.0)]), 1600, 1604)
    flat = spectrum([(1600.0, 0.0)])
    assert find_bands(flat, 100, 3000) == []


@pytest.mark.parametrize("seed", range(20))
def test_maxima_are_those_of_scipy(seed):
    # whole numbers make flat tops, and equal heights among the neighbours
    random = np.random.default_rng(seed)
    values = random.integers(0, 9, 200).astype(float) if seed % 2 else random.random(200)
    conventions = Conventions("none", "none", 0.0, "none", None, 1.0, 1, 1, 0, None)
    bands = find_bands(Spectrum("infrared", np.arange(200.0), values, "cm^-1", conventions), 0, 199, 0.3)
    peaks, _ = scipy.signal.find_peaks(values, prominence=0.3 * values.max())
    assert len(peaks) > 5
    assert [band.position for band in bands] == pytest.approx(peaks, abs=1)
