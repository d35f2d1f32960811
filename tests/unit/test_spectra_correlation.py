"""Correlation functions, windows and spectral densities against direct sums."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra import autocorrelation, infrared, infrared_from_current
from vibraloom.spectra.correlation import (
    WINDOWS,
    cross_correlation,
    spectral_density,
    window_resolution,
    window_values,
)
from vibraloom.spectra.lag_products import Pairing, add_segment, lag_sums, segment_sums, segments
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS


def direct(first, second, max_lag):
    return np.array([np.sum(first[: len(first) - k] * second[k:]) for k in range(max_lag + 1)])


@pytest.mark.parametrize(
    ("frames", "max_lag"), [(50, None), (50, 0), (50, 7), (101, 33), (7, 6), (2, 1), (64, 32), (100_000, 30), (20000, 2000)]
)
def test_autocorrelation_is_the_direct_sum_over_pairs(frames, max_lag):
    series = np.random.default_rng(frames).normal(size=(frames, 3)) + 2
    lags = frames - 1 if max_lag is None else max_lag
    sums = direct(series, series, lags)
    counts = frames - np.arange(lags + 1)
    np.testing.assert_allclose(autocorrelation(series, max_lag), sums / counts, rtol=1e-11)
    np.testing.assert_allclose(autocorrelation(series, max_lag, "biased"), sums / frames, rtol=1e-11)
    np.testing.assert_allclose(autocorrelation(series, max_lag, "none"), sums, rtol=1e-11)


def test_the_mean_is_kept_unless_removal_is_asked():
    series = np.random.default_rng(0).normal(size=(400, 2)) + 5
    assert autocorrelation(series, 10)[10] == pytest.approx(50, rel=0.05)
    centred = series - series.mean(axis=0)
    np.testing.assert_allclose(autocorrelation(series, 10, remove_mean=True), autocorrelation(centred, 10), rtol=1e-12)


def test_cross_correlation_is_symmetrised_and_two_sided_on_request():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    counts = 60 - np.arange(11)
    forward, backward = direct(first, second, 10) / counts, direct(second, first, 10) / counts
    np.testing.assert_allclose(cross_correlation(first, second, 10), (forward + backward) / 2, atol=1e-12)
    both = cross_correlation(first, second, 10, two_sided=True)
    np.testing.assert_allclose(both, np.concatenate([backward[:0:-1], forward]), atol=1e-12)


def test_a_known_decay_is_not_bent_by_wrapping_around():
    # AR(1) with decay a: a circular sum of b frames would give (1 - k/b) a^k + (k/b) a^(b-k)
    decay, frames, runs = 0.9, 64, 20000
    rng = np.random.default_rng(2)
    state = rng.normal(size=runs) / np.sqrt(1 - decay**2)
    series = np.empty((frames, runs))
    for frame in range(frames):
        series[frame] = state
        state = decay * state + rng.normal(size=runs)
    # runs as components: the sum over components is the mean over runs
    measured = autocorrelation(series, 16) * (1 - decay**2) / runs
    expected = decay ** np.arange(17)
    assert np.abs(measured - expected).max() < 0.02
    assert abs(measured[16] - 0.75 * expected[16]) > 0.02  # what wrapping would give


def test_components_are_summed_before_anything_is_normalised():
    rng = np.random.default_rng(3)
    series = rng.normal(size=(100, 2)) * [10, 1]
    expected = autocorrelation(series[:, 0], 5) + autocorrelation(series[:, 1], 5)
    np.testing.assert_allclose(autocorrelation(series, 5), expected, rtol=1e-12)


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_one_at_lag_zero_and_leaves_a_white_level(name):
    values = window_values(name, 100)
    assert values[0] == 1 and (np.diff(values) <= 0).all() and (values >= 0).all()
    white = np.zeros(100)
    white[0] = 3.0
    np.testing.assert_allclose(spectral_density(white, 0.5, name)[1], 1.5, rtol=1e-12)


@pytest.mark.parametrize("padding", [1, 3, 8])
@pytest.mark.parametrize("name", WINDOWS)
def test_zero_padding_and_window_keep_the_area(name, padding):
    correlation = np.cos(0.3 * np.arange(200)) * np.exp(-np.arange(200) / 60)
    wavenumber, density = spectral_density(correlation, 2.0, name, padding=padding)
    area = (density.sum() - (density[0] + density[-1]) / 2) * wavenumber[1]
    assert 2 * SPEED_OF_LIGHT_CM_PER_FS * area == pytest.approx(1.0, rel=1e-12)


def test_the_axis_ends_at_the_nyquist_limit():
    wavenumber, _ = spectral_density(np.ones(37), 0.5)
    assert wavenumber[0] == 0
    assert wavenumber[-1] == pytest.approx(1 / (2 * 0.5 * SPEED_OF_LIGHT_CM_PER_FS))
    np.testing.assert_allclose(np.diff(wavenumber), wavenumber[1], rtol=1e-10)


def test_spectral_density_is_the_direct_cosine_sum():
    correlation = np.random.default_rng(4).normal(size=30)
    wavenumber, density = spectral_density(correlation, 0.7, "welch")
    phase = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber[:, None] * 0.7 * np.arange(30)
    weights = window_values("welch", 30) * np.where(np.arange(30) > 0, 2, 1)
    np.testing.assert_allclose(density, 0.7 * (np.cos(phase) @ (weights * correlation)), atol=1e-12)


def test_resolution_of_a_hann_window_is_one_over_its_depth():
    assert window_resolution("hann", 2000, 0.5) == pytest.approx(33.36, abs=0.05)  # 1 / (c 1 ps)


def test_unwindowed_negative_values_are_flagged_and_a_positive_estimator_has_none():
    current = np.zeros((2000, 3))
    current[:, 0] = np.cos(0.2 * np.arange(2000))
    sharp = infrared_from_current(current, 1.0, temperature=300, window="none", correlation_time=1900, blocks=0)
    assert sharp.intensity.min() < -0.1 * sharp.intensity.max()
    assert any("negative values" in note for note in sharp.conventions.notes)
    positive = infrared_from_current(
        current,
        1.0,
        temperature=300,
        window="bartlett",
        normalization="biased",
        correlation_time=1900,
        blocks=0,
    )
    assert positive.intensity.min() > -1e-12 * positive.intensity.max()
    assert not positive.conventions.notes


@pytest.mark.parametrize("window", ["hann", "parzen"])
def test_blocks_change_the_error_bar_but_not_the_spectrum(window):
    current = np.random.default_rng(5).normal(size=(9973, 3))
    spectra = [
        infrared_from_current(current, 1.0, temperature=300, correlation_time=97, window=window, blocks=blocks)
        for blocks in (0, 2, 8, 50)
    ]
    for spectrum in spectra[1:]:
        np.testing.assert_allclose(spectrum.intensity, spectra[0].intensity, rtol=1e-9)
        assert spectrum.standard_error is not None
    assert spectra[0].standard_error is None and spectra[0].verdict is None


def test_replicas_are_pooled_by_their_pairs():
    rng = np.random.default_rng(6)
    runs = [rng.normal(size=(frames, 3)) for frames in (400, 300)]
    spectrum = infrared_from_current(runs, 1.0, temperature=300, correlation_time=50, blocks=0)
    sums = sum(autocorrelation(run, 50, "none") for run in runs)
    counts = 700 - 2 * np.arange(51)
    density = spectral_density(sums / counts, 1.0)[1]
    np.testing.assert_allclose(spectrum.intensity / spectrum.intensity[0], density / density[0], rtol=1e-10)
    stacked = infrared_from_current(np.stack([runs[0], runs[0]]), 1.0, temperature=300, correlation_time=50)
    assert stacked.conventions.replicas == 2


GOOD = np.random.default_rng(7).normal(size=(500, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dipole": GOOD[:, :2]}, r"must be \(frames, 3\)"),
        ({"dipole": GOOD[:1]}, "at least 2"),
        ({"dipole": np.where(np.arange(1500).reshape(500, 3) == 99, np.nan, GOOD)}, "frame 33"),
        ({"dipole": GOOD + 1j}, "real numbers"),
        ({"timestep": 0.0}, "timestep.*positive"),
        ({"temperature": -1.0}, "temperature.*positive"),
        ({"volume": 0.0}, "volume.*positive"),
        ({"correlation_time": 900.0}, "correlation_time.*shorten"),
        ({"correlation_time": 0.1}, "correlation_time"),
        ({"window": "hamming"}, "allowed: hann"),
        ({"quantum_correction": "both"}, "allowed: harmonic"),
        ({"normalization": "half"}, "allowed: unbiased"),
        ({"blocks": 1}, "blocks: 1; allowed: 0"),
        ({"blocks": 400}, "blocks: 400; allowed"),
    ],
)
def test_wrong_input_gives_one_line_with_the_remedy(change, message):
    choices = {"dipole": GOOD, "timestep": 1.0, "temperature": 300.0, **change}
    with pytest.raises(InputError, match=message) as caught:
        infrared(choices.pop("dipole"), choices.pop("timestep"), **choices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("series", "lag", "normalization", "message"),
    [
        (GOOD, 500, "unbiased", "allowed: 0 to 499"),
        (GOOD, 5, "whole", "allowed: unbiased"),
        (np.array([[1.0], [np.inf]]), 1, "unbiased", "frame 1"),
        (np.ones((2, 2, 2)), 1, "unbiased", "frames, components"),
    ],
)
def test_a_wrong_correlation_is_refused(series, lag, normalization, message):
    with pytest.raises(InputError, match=message):
        autocorrelation(series, lag, normalization)


def test_conventions_say_how_the_spectrum_was_made():
    made = infrared(GOOD, 2.0, temperature=310.0, volume=900.0, correlation_time=50.0).conventions
    assert (made.timestep, made.frames, made.replicas, made.temperature, made.volume) == (
        2.0,
        500,
        1,
        310.0,
        900.0,
    )
    assert (made.window, made.correlation_time, made.quantum_correction) == ("hann", 50.0, "harmonic")
    assert made.derivative == "forward difference, divided by sinc^2(w dt/2)"
    assert made.blocks == 8 and "autocorrelation" in made.estimator and "6 eps0" in made.form
    assert type(made).from_dict(made.as_dict()) == made
    coarse = infrared(GOOD, 5.0, temperature=310.0).conventions
    assert any("folds back" in note for note in coarse.notes)


@pytest.mark.parametrize(("frames", "max_lag", "edges"), [(300, 7, (0, 60, 200, 300)), (130, 30, (0, 62, 130))])
def test_a_pair_in_two_blocks_counts_half_in_each(frames, max_lag, edges):
    series = np.random.default_rng(6).normal(size=(frames, 3))
    pairings = [Pairing.of([0, 1]), Pairing.of([0, 2], [1, 1], [0.5, 2.0])]
    expected = np.zeros((len(edges) - 1, 2, 2, max_lag + 1))
    block = np.searchsorted(edges, np.arange(frames), side="right") - 1
    for lag in range(max_lag + 1):
        early, late = series[: frames - lag], series[lag:]
        for number, one in enumerate(pairings):
            for direction, (left, right) in enumerate(((early, late), (late, early))):
                products = (left[:, one.left] * right[:, one.right]) @ one.weights
                np.add.at(expected[:, number, direction, lag], block[: frames - lag], products / 2)
                np.add.at(expected[:, number, direction, lag], block[lag:], products / 2)
    for kept in (pairings, pairings[:1]):
        found = lag_sums(series, kept, max_lag, np.array(edges), two_sided=True)
        np.testing.assert_allclose(found, expected[:, : len(kept)], atol=1e-12 * np.abs(expected).max())
    found = np.zeros_like(expected)
    for one in segments(np.array(edges), max_lag, longest=max_lag + 5):
        sums = segment_sums(series[one.start : one.reach], one.end - one.start, pairings, max_lag, last=one.last)
        add_segment(found, one, sums)
    np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())
