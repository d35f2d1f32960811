"""The choice of the estimator: the same spectrum within its errors, what each is good for, and what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from vibraloom.errors import InputError
from vibraloom.spectra.infrared import infrared, infrared_from_current
from vibraloom.spectra.raman import raman
from vibraloom.spectra.slab import slab_response
from vibraloom.spectra.vdos import vdos


def current(frames: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    """Two broad bands."""
    noise = np.random.default_rng(seed).normal(size=(frames + 1000, columns))
    result = 0.0
    for angle, radius in ((0.12, 0.95), (0.5, 0.97)):
        result = result + scipy.signal.lfilter([1.0], [1, -2 * radius * np.cos(angle), radius**2], noise, axis=0)
    return np.asarray(result)[1000:]


@pytest.mark.parametrize("estimator", ["welch", "cepstral"])
def test_every_estimator_finds_the_same_spectrum_within_its_errors(estimator):
    series = current(40000)
    known = infrared_from_current(current(4_000_000, seed=9), 1.0, temperature=300, correlation_time=400, blocks=0)
    found = infrared_from_current(series, 1.0, temperature=300, correlation_time=400, estimator=estimator)
    inside = (found.wavenumber > 200) & (found.wavenumber < 6000)
    off = np.abs(found.intensity - np.interp(found.wavenumber, known.wavenumber, known.intensity))[inside]
    within = np.mean(off < 2.5 * found.standard_error[inside])
    assert within > 0.9
    assert found.intensity.min() > 0
    assert estimator in found.conventions.estimator.lower()
    assert found.area(0, 16000) == pytest.approx(known.area(0, 16000), rel=0.05)


def test_a_run_too_short_for_blocks_has_error_bars_from_its_cepstrum():
    series = current(900)
    plain = infrared_from_current(series, 1.0, temperature=300, correlation_time=300, blocks=0)
    short = infrared_from_current(series, 1.0, temperature=300, correlation_time=300, estimator="cepstral")
    assert plain.standard_error is None
    assert (short.standard_error > 0).all()
    assert not short.verdict.converged
    assert short.conventions.extra["cepstral_coefficients"][0] < 100
    known = infrared_from_current(current(4_000_000, seed=9), 1.0, temperature=300, correlation_time=300, blocks=0)
    inside = (short.wavenumber > 200) & (short.wavenumber < 6000)
    off = np.abs(short.intensity - known.intensity)[inside]
    assert off.mean() < np.abs(plain.intensity - known.intensity)[inside].mean()
    assert np.mean(off < 2.5 * short.standard_error[inside]) > 0.9


def test_welch_keeps_parts_that_sum_up_and_has_no_negative_intensity():
    series = np.cumsum(current(6000), axis=0)
    part = 0.3 * series + np.cumsum(current(6000, seed=4), axis=0)
    parts = {"half/one": part, "half/other": series - part}
    spectrum = infrared(series, 1.0, temperature=300, volume=1000, parts=parts, estimator="welch")
    total = spectrum.parts["half/one"] + spectrum.parts["half/other"]
    assert np.abs(total - spectrum.intensity).max() < 1e-10 * spectrum.intensity.max()
    assert spectrum.intensity.min() > -1e-12 * spectrum.intensity.max()
    velocities = current(6000, 6).reshape(6000, 2, 3)
    whole = vdos(velocities, np.ones(2), 1.0, temperature=300, groups={"a/1": [0], "a/2": [1]}, estimator="welch")
    assert np.abs(whole.parts["a/1"] + whole.parts["a/2"] - whole.intensity).max() < 1e-10 * whole.intensity.max()
    assert whole.intensity.min() > 0


def test_the_cepstrum_serves_every_whole_spectrum_and_refuses_parts():
    tensor = np.cumsum(current(4000, 6), axis=0)
    spectra = raman(
        tensor, 1.0, temperature=300, components="xx,yy,zz,xy,yz,zx", correlation_time=400, estimator="cepstral"
    )
    long = np.cumsum(current(1_000_000, 6, seed=7), axis=0)
    known = raman(long, 1.0, temperature=300, components="xx,yy,zz,xy,yz,zx", correlation_time=400, blocks=0)
    for name, spectrum in spectra.items():
        inside = (spectrum.wavenumber > 300) & (spectrum.wavenumber < 6000)
        off = np.abs(spectrum.intensity - np.interp(spectrum.wavenumber, known[name].wavenumber, known[name].intensity))
        assert np.mean(off[inside] < 2.5 * spectrum.standard_error[inside]) > 0.9
    slab = slab_response(
        current(4000), 1.0, temperature=300, area=90, boundary="fixed E", source="current", estimator="cepstral"
    )
    assert set(slab) == {"parallel", "normal"}
    series = np.cumsum(current(4000), axis=0)
    with pytest.raises(InputError, match="cross spectrum"):
        infrared(series, 1.0, temperature=300, parts={"a/1": series / 2, "a/2": series / 2}, estimator="cepstral")
    with pytest.raises(InputError, match="cepstral gives whole spectra only"):
        vdos(current(400).reshape(400, 1, 3), np.ones(1), 1.0, temperature=300, estimator="cepstral")
    with pytest.raises(InputError, match="allowed: correlation, welch, cepstral"):
        infrared(series, 1.0, temperature=300, estimator="magic")
