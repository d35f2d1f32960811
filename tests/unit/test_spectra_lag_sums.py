"""Lag sums by each of the ways that serve different lengths, against sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.spectra import correlation
from vibraloom.spectra.lag_products import Pairing, even_sums, lag_sums
from vibraloom.spectra.long_transforms import LongTransform, step_lengths
from vibraloom.spectra.short_blocks import ShortBlocks
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

PAIRINGS = [Pairing.of(np.arange(2)), Pairing.of(np.arange(3), weights=[0.5, 2.0, 1.0])]


def written_out(series: np.ndarray, max_lag: int, edges: np.ndarray) -> np.ndarray:
    """Sum_c weight_c x_c(t) x_c(t + k); half of a pair in the block of its earlier and half in that of its later frame."""
    block = np.searchsorted(edges, np.arange(len(series)), side="right") - 1
    sums = np.zeros((len(edges) - 1, len(PAIRINGS), max_lag + 1))
    for number, pairing in enumerate(PAIRINGS):
        for lag in range(max_lag + 1):
            products = series[: len(series) - lag, pairing.left] * series[lag:, pairing.left] @ pairing.weights
            np.add.at(sums[:, number, lag], block[: len(series) - lag], products / 2)
            np.add.at(sums[:, number, lag], block[lag:], products / 2)
    return sums


@pytest.mark.parametrize("cuts", [(0, 60, 121, 180, 240), (0, 40, 80, 160, 240), (0, 41, 240)])
def test_short_blocks_give_the_sums_written_out(cuts: tuple[int, ...]) -> None:
    series = np.random.default_rng(1).standard_normal((240, 3))
    blocks = ShortBlocks(np.array(cuts), 40)
    found = blocks.sums(*blocks.spectra(lambda start, stop: series[start:stop], PAIRINGS))
    expected = written_out(series, 40, blocks.edges)
    assert np.abs(found - expected).max() < 1e-13 * np.abs(expected).max()
    assert np.abs(found - lag_sums(series, PAIRINGS, 40, blocks.edges)).max() < 1e-13 * np.abs(expected).max()


def test_short_blocks_are_chosen_only_where_lags_fit_into_a_block() -> None:
    assert ShortBlocks.fit(np.array([0, 100, 200]), 50)
    assert not ShortBlocks.fit(np.array([0, 100, 140]), 50)
    assert not ShortBlocks.fit(np.array([0, 1000, 2000]), 50)
    assert not ShortBlocks.fit(np.array([0, 100]), 50)


@pytest.mark.parametrize("points", [2, 24, 1000, 4097, 2**18, 1_999_997])
def test_step_lengths_hold_the_points_with_little_to_spare(points: int) -> None:
    p, q = step_lengths(points)
    assert points <= 2 * p * q <= 1.02 * points + 2
    assert max(p, q) <= 2 * min(p, q) + 2


@pytest.mark.parametrize(("p", "q", "frames"), [(1, 1, 1), (6, 5, 30), (20, 36, 700), (35, 33, 1001), (48, 50, 4800)])
def test_long_transform_agrees_with_the_plain_one(p: int, q: int, frames: int) -> None:
    values = np.random.default_rng(2).standard_normal((frames, 2))
    transform = LongTransform(p, q)
    plain = np.fft.rfft(values, n=transform.length, axis=0)
    power = np.zeros(transform.bins)
    for column, weight in enumerate((1.0, 0.25)):
        transform.transform(values[:, column])
        transform.add_power(power, weight)
    expected = np.fft.irfft(np.abs(plain) ** 2 @ [1.0, 0.25], n=transform.length)[:frames]
    assert np.abs(transform.correlation(power, frames) - expected).max() < 1e-14 * expected[0]
    cosines = np.empty(transform.bins)
    transform.cosine_transform(values[:, 0], cosines)
    assert np.abs(cosines - plain[:, 0].real).max() < 1e-14 * np.abs(plain).max()


@pytest.mark.parametrize("lags", [32400, 32401, 32767, 32768, 129601, 131071, 131072])
def test_axis_and_density_agree_on_either_side_of_the_switch_to_steps(lags: int) -> None:
    wavenumber, density = correlation.spectral_density(np.exp(-np.arange(lags) / 500.0), 0.5)
    assert wavenumber.shape == density.shape
    assert density[0] == pytest.approx(2 * 500 * 0.5, rel=0.01)


def test_long_series_give_the_same_sums_and_density_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    series = np.random.default_rng(3).standard_normal((5000, 3))
    lags = 4999
    plain = even_sums(series, PAIRINGS, lags)
    for module in ("lag_products", "correlation"):
        monkeypatch.setattr(f"vibraloom.spectra.{module}.SHORTEST", 1)
    steps = even_sums(series, PAIRINGS, lags)
    assert np.abs(steps - plain).max() < 1e-14 * np.abs(plain).max()
    assert np.abs(lag_sums(series, PAIRINGS, lags, np.array([0, 5000]))[0] - plain).max() < 1e-14 * np.abs(plain).max()
    wavenumber, density = correlation.spectral_density(plain, 1.0, "hann")
    weights = correlation.window_values("hann", lags + 1) * np.where(np.arange(lags + 1) > 0, 2.0, 1.0)
    for at in (0, 1, 777, len(wavenumber) - 1):
        cosines = np.cos(2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber[at] * np.arange(lags + 1))
        assert np.abs(density[:, at] - plain @ (weights * cosines)).max() < 1e-10 * np.abs(density).max()
