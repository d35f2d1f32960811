"""Error bars and verdicts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from vibraloom.errors import InputError
from vibraloom.spectra import infrared_from_current
from vibraloom.spectra.correlation import spectral_density
from vibraloom.spectra.uncertainty import block_counts, block_edges, standard_error, student_factor

DAMPING, LINE = 0.85, 0.35  # poles of the AR(2) process: radius and angle per frame


def resonance(rng, frames, components=3):
    """A damped resonance driven by noise: AR(2), started in its stationary state by a long run-in."""
    noise = rng.normal(size=(frames + 500, components))
    return scipy.signal.lfilter([1.0], [1.0, -2 * DAMPING * np.cos(LINE), DAMPING**2], noise, axis=0)[500:]


def exact_autocorrelation(lags):
    """Of one component of :func:`resonance`, from its impulse response."""
    impulse = np.zeros(3000)
    impulse[0] = 1.0
    response = scipy.signal.lfilter([1.0], [1.0, -2 * DAMPING * np.cos(LINE), DAMPING**2], impulse)
    return np.array([response[: 3000 - k] @ response[k:] for k in range(lags + 1)])


def test_error_bars_cover_two_thirds():
    rng = np.random.default_rng(11)
    expected = spectral_density(3 * exact_autocorrelation(60), 1.0)[1] * _factor()
    apart = np.arange(2, len(expected), 12)  # bins a resolution apart
    runs = 250
    hits = np.zeros(len(apart))
    for _ in range(runs):
        spectrum = infrared_from_current(resonance(rng, 4800), 1.0, temperature=300, correlation_time=60, blocks=8)
        hits += (np.abs(spectrum.intensity - expected) <= spectrum.standard_error)[apart]
    strong = expected[apart] > 0.01 * expected.max()
    assert hits[strong].mean() / runs == pytest.approx(0.683, abs=0.03)
    assert hits[~strong].mean() / runs == pytest.approx(0.683, abs=0.03)


def _factor():
    """e²·Å²/fs to km/mol per cm⁻¹ at 300 K, from a current whose spectrum is flat and known."""
    current = np.zeros((100, 3))
    current[0] = 1.0  # biased autocorrelation: 3/100 at lag 0, nothing else
    flat = infrared_from_current(current, 1.0, temperature=300, normalization="biased", blocks=0)
    return flat.intensity[0] / 0.03


def test_student_factor_of_eight_blocks():
    assert student_factor(8) == pytest.approx(1.077, abs=5e-4)
    values = np.array([[1.0], [2.0], [3.0], [4.0]])
    assert standard_error(values)[0] == pytest.approx(np.std(values, ddof=1) / 2 * student_factor(4))
    with pytest.raises(InputError, match="at least 2"):
        standard_error(values[:1])


def test_a_long_run_of_a_broad_line_is_converged():
    spectrum = infrared_from_current(
        resonance(np.random.default_rng(1), 120000), 1.0, temperature=300, correlation_time=40
    )
    assert spectrum.conventions.blocks == 300
    assert spectrum.verdict.converged, spectrum.verdict.reason
    assert all(entry["converged"] for entry in spectrum.verdict.ranges if entry["share"] > 0.01)


@pytest.mark.parametrize(
    ("frames", "depth", "blocks", "reason"),
    [
        (6000, 300, None, "blocks of 2.5 correlation depths"),
        (3000, 40, 4, "only 4 blocks"),
        (3000, 30, None, "relative error above 5 %"),
    ],
)
def test_a_short_run_is_not_converged_and_says_why(frames, depth, blocks, reason):
    series = resonance(np.random.default_rng(2), frames)
    spectrum = infrared_from_current(series, 1.0, temperature=300, correlation_time=depth, blocks=blocks)
    assert not spectrum.verdict.converged
    assert reason in spectrum.verdict.reason and "run longer" in spectrum.verdict.reason


def test_default_blocks_are_as_many_as_ten_depths_allow():
    assert block_counts([10000], 50) == [20]
    assert block_counts([10000], 200) == [8]  # only five of ten depths: eight shorter ones
    assert block_counts([500, 500, 500, 500], 100) == [2, 2, 2, 2]
    assert block_counts([150, 150], 100) == [1, 1]  # each replica is a block
    assert block_counts([150], 100) == [0]  # no error bar from one
    assert block_counts([1000, 3000], 10, 8) == [2, 6]


@pytest.mark.parametrize(("frames", "blocks"), [(1000, 8), (1003, 7), (99, 3), (10, 1)])
def test_blocks_are_equal_to_within_a_frame_and_cover_the_run(frames, blocks):
    edges = block_edges(frames, blocks)
    assert edges[0] == 0 and edges[-1] == frames and len(edges) == blocks + 1
    assert set(np.diff(edges)) <= {frames // blocks, -(-frames // blocks)}
