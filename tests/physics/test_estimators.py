"""Welch's and the cepstral estimator against definitions, known spectra, and their own error bars."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.signal
import scipy.special

from vibraloom.errors import InputError
from vibraloom.spectra.cepstral import cepstral_densities
from vibraloom.spectra.correlation import WINDOWS, spectral_density, window_resolution
from vibraloom.spectra.estimator import Densities, Estimator
from vibraloom.spectra.estimator_options import estimator_for
from vibraloom.spectra.lag_products import Pairing
from vibraloom.spectra.welch import taper, taper_lags, taper_resolution
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

ALL = [Pairing.of([0, 1, 2])]


def _study() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "error_bar_coverage.py"
    spec = importlib.util.spec_from_file_location("error_bar_coverage", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


study = _study()
RESONANCE = study.resonance()


def welch(
    series: list[np.ndarray], pairings: list[Pairing], timestep: float, depth: int, blocks: tuple[int, ...] = (0,), window="hann"
) -> tuple[np.ndarray, Densities]:
    """Axis and densities of Welch's estimator with segments of ``depth + 1`` frames."""
    frames = tuple(len(each) for each in series)
    estimator = Estimator(timestep, frames, depth, window, "unbiased", blocks, "welch")
    return estimator.wavenumber, estimator.estimate(series, pairings)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("depth", [63, 100])
def test_welch_is_scipys_average_of_periodograms(window, depth):
    series = np.random.default_rng(1).normal(size=(2000, 3)).cumsum(axis=0)
    wavenumber, found = welch([series], ALL, 0.7, depth, window=window)
    points = 2 * (len(wavenumber) - 1)
    length = depth + 1
    frequency, expected = scipy.signal.welch(
        series,
        fs=1 / 0.7,
        window=taper(window, length),
        noverlap=length - length // 2,
        nfft=points,
        detrend=False,
        return_onesided=False,
        axis=0,
    )
    expected = expected.sum(axis=1)[: len(wavenumber)]
    np.testing.assert_allclose(found.pooled[0], expected, atol=1e-12 * expected.max(), rtol=0)
    np.testing.assert_allclose(wavenumber[:-1], frequency[: len(wavenumber) - 1] / SPEED_OF_LIGHT_CM_PER_FS, rtol=1e-12)


def test_welch_of_a_cross_pairing_is_the_real_cross_spectrum():
    rng = np.random.default_rng(2)
    series = rng.normal(size=(900, 2))
    series[3:, 1] += series[:-3, 0]
    wavenumber, found = welch([series], [Pairing.of([0], [1], 2.0)], 1.0, 63)
    _, expected = scipy.signal.csd(
        *series.T, window=taper("hann", 64), noverlap=32, nfft=2 * (len(wavenumber) - 1), detrend=False, return_onesided=False
    )
    np.testing.assert_allclose(found.pooled[0], 2 * expected.real[: len(wavenumber)], atol=1e-12 * np.abs(expected).max())


def test_blocks_of_welch_pool_to_the_whole_and_replicas_add():
    series = [RESONANCE.series(np.random.default_rng(3), frames) for frames in (1000, 1700)]
    _, found = welch(series, ALL, 1.0, 49, blocks=(3, 5))
    density, each = found.pooled, found.blocks
    starts = [np.arange(0, frames - 49, 25) + 25 for frames in (1000, 1700)]
    counts = [np.histogram(start, np.arange(n + 1) * len(y) // n)[0] for start, n, y in zip(starts, (3, 5), series, strict=True)]
    weights = np.concatenate(counts)
    np.testing.assert_allclose(np.einsum("b,bpk->pk", weights / weights.sum(), each), density, rtol=1e-12)
    assert (density > 0).all() and (each > -1e-12 * each.max()).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_white_noise_keeps_its_level_under_every_taper(window):
    assert np.mean(taper(window, 51) ** 2) == pytest.approx(1.0, rel=1e-14)
    lags = taper_lags(window, 51)
    assert lags[0] == pytest.approx(1.0, rel=1e-12)
    white = np.zeros(51)
    white[0] = 3.0
    np.testing.assert_allclose(spectral_density(white * lags, 2.0, "none")[1], 6.0, rtol=1e-12)
    noise = np.random.default_rng(4).normal(size=(200_000, 3))
    _, found = welch([noise], ALL, 2.0, 50, window=window)
    # 2.4e7 products behind the mean of all bins
    assert found.pooled.mean() == pytest.approx(6.0, rel=5e-3)


@pytest.mark.parametrize("window", ["hann", "parzen", "none"])
def test_the_area_of_a_peak_does_not_depend_on_taper_or_padding(window):
    timestep, length = 1.0, 400
    series = np.sqrt(2) * np.cos(2 * np.pi * 0.07 * np.arange(40000))[:, None]
    wavenumber, found = welch([series], [Pairing.of(0)], timestep, length - 1, window=window)
    area = np.trapezoid(found.pooled[0], wavenumber) * 2 * SPEED_OF_LIGHT_CM_PER_FS
    # the mean square, up to the phase of the cosine in a segment
    assert area == pytest.approx(1.0, abs=2 / length)
    finer, same = spectral_density(taper_lags(window, length), timestep, "none", padding=16)
    coarse, coarser = spectral_density(taper_lags(window, length), timestep, "none", padding=2)
    areas = [np.trapezoid(values, axis) for axis, values in ((finer, same), (coarse, coarser))]
    assert areas[0] == pytest.approx(areas[1], rel=1e-12)


def test_welch_resolution_is_the_width_of_a_sharp_line():
    for window in WINDOWS:
        series = np.cos(2 * np.pi * 0.1 * np.arange(4000))[:, None]
        wavenumber, found = welch([series], [Pairing.of(0)], 1.0, 499, window=window)
        above = wavenumber[found.pooled[0] > found.pooled[0].max() / 2]
        width = above[-1] - above[0] + wavenumber[1]
        assert width == pytest.approx(taper_resolution(window, 500, 1.0), abs=2 * wavenumber[1])
    # textbook: 1.44 bins of a Hann taper, 0.886 of none
    bins = 1 / (500 * SPEED_OF_LIGHT_CM_PER_FS)
    assert taper_resolution("hann", 500, 1.0) == pytest.approx(1.44 * bins, rel=5e-3)
    assert taper_resolution("none", 500, 1.0) == pytest.approx(0.886 * bins, rel=5e-3)
    assert window_resolution("hann", 500, 1.0) < taper_resolution("hann", 500, 1.0)


def test_a_block_without_a_segment_is_refused():
    with pytest.raises(InputError, match="leave one without a segment"):
        welch([np.ones((100, 1))], [Pairing.of(0)], 1.0, 59, blocks=(8,))
    with pytest.raises(InputError, match=r"200 fs \(0.2 ps\); allowed: 1 to 99 fs \(0.001 to 0.099 ps\) for .* 100 frames"):
        estimator_for([100], 1.0, correlation_time=200, estimator="welch")


def test_welch_error_bars_cover_two_thirds_down_to_the_wings():
    case = study.cases()[0]
    found = study.coverage(case, 2000, 400, correlation_time=40.0, blocks=8, estimator="welch")
    assert 0.65 < found.whole < 0.72, found
    assert 0.65 < found.wings < 0.72, found


@pytest.mark.parametrize("frames", [500, 501, 1500])
def test_cepstral_error_bars_cover_two_thirds_of_a_short_run(frames):
    """Against the spectrum itself: no window stands between."""
    case = study.cases()[0]
    found = study.coverage(case, frames, 400, correlation_time=60.0, estimator="cepstral")
    assert found.blocks == 0
    assert 0.63 < found.whole < 0.73, found
    assert 0.63 < found.bands < 0.73, found
    assert 0.63 < found.wings < 0.73, found  # without a taper of the ends 0.59 at 500 frames


def test_a_spectrum_smoothed_by_the_correlation_time_is_not_called_converged():
    """Its error misses the band: it holds in half of the bins there (200 runs: 0.51), whatever its size."""
    case = study.cases()[0]
    assert study.coverage(case, 20_000, 40, correlation_time=15.0, estimator="cepstral").bands < 0.6
    series = case.process.series(np.random.default_rng(12), 20_000)
    short, long = (case.analyse(series, correlation_time=depth, estimator="cepstral") for depth in (15.0, 60.0))
    assert short.conventions.extra["coefficients_limited"] == [True]
    assert not short.verdict.converged and "the correlation time, not the data" in short.verdict.reason
    assert all(each["relative_error"] < 0.05 for each in short.verdict.ranges)
    assert long.conventions.extra["coefficients_limited"] == [False]
    assert long.verdict.converged, long.verdict.reason


@pytest.mark.parametrize(("columns", "replicas"), [(1, 1), (3, 1), (3, 4), (6, 2)])
def test_cepstral_degrees_are_the_number_of_like_columns_and_replicas(columns, replicas):
    rng = np.random.default_rng(7)
    series = [rng.normal(size=(4000, columns)) for _ in range(replicas)]
    found = cepstral_densities(series, [Pairing.of(np.arange(columns), weights=1.0)], 2.0, 100)
    # 1000 coefficients measure the variance to 4.5 %, and the degrees to about as much
    assert found.degrees[0] == pytest.approx(columns * replicas, rel=0.15)
    assert found.coefficients[0] <= 20  # white: Akaike keeps few
    np.testing.assert_allclose(found.density[0], 2.0 * columns, rtol=0.2)
    assert not found.limited[0]


def test_one_column_three_times_is_one_degree():
    """Columns that move together are no independent periodograms: counting them would make the error too small."""
    noise = np.random.default_rng(9).normal(size=(4000, 1))
    found = cepstral_densities([np.repeat(noise, 3, axis=1)], ALL, 1.0, 100)
    assert found.degrees[0] == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(found.density[0], 3.0, rtol=0.3)


def test_cepstral_follows_the_definition_with_every_coefficient_kept():
    """Kept to the end, the coefficients give back the log-periodogram, its offset and nothing else."""
    rng = np.random.default_rng(10)
    series = rng.normal(size=(256, 3))
    found = cepstral_densities([series], ALL, 1.0, 255)
    kept = found.coefficients[0]
    fade = scipy.signal.windows.tukey(258, 0.1)[1:-1, None]
    power = np.sum(np.abs(np.fft.fft(fade * series, axis=0)) ** 2, axis=1) / np.sum(fade**2)
    power[0], power[128] = power[1], power[127]
    cepstrum = np.fft.ifft(np.log(power)).real
    angle = np.pi * found.wavenumber / found.wavenumber[-1]
    order = np.arange(1, kept)
    degrees = found.degrees[0]
    offset = scipy.special.digamma(degrees) - np.log(degrees)
    expected = np.exp(cepstrum[0] - offset + 2 * np.cos(np.outer(angle, order)) @ cepstrum[1:kept])
    np.testing.assert_allclose(found.density[0], expected, rtol=1e-10)
    scatter = scipy.special.polygamma(1, degrees) * np.mean(fade**4) / np.mean(fade**2) ** 2
    relative = np.sqrt(scatter / 256 * (2 + 4 * np.sum(np.cos(np.outer(angle, order)) ** 2, axis=1)))
    np.testing.assert_allclose(found.standard_error[0] / found.density[0], relative, rtol=1e-8)


@pytest.mark.parametrize(
    ("series", "pairing", "said"),
    [
        (np.ones((40, 2)), Pairing.of(0), "needs 64"),
        (np.ones((400, 2)), Pairing.of([0], [1]), "cross spectrum"),
        (np.ones((400, 2)), Pairing.of([0], weights=-1.0), "cross spectrum"),
    ],
)
def test_what_the_cepstral_estimator_cannot_do_is_said(series, pairing, said):
    with pytest.raises(InputError, match=said):
        cepstral_densities([series], [pairing], 1.0, 30)


def test_a_column_at_rest_has_no_density_and_no_error():
    series = np.zeros((400, 2))
    series[:, 0] = np.random.default_rng(11).normal(size=400)
    found = cepstral_densities([series], [Pairing.of(0), Pairing.of(1)], 1.0, 30)
    assert found.density[0].min() > 0
    assert not found.density[1].any() and not found.standard_error[1].any()
