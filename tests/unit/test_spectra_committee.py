"""Model error from a committee: what it is, and that it travels with the spectrum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files.jcamp import read_jcamp, write_jcamp
from vibraloom.files.tables import read_csv, read_json, read_npz, write_csv, write_json, write_npz
from vibraloom.spectra import Spectrum, infrared_from_current
from vibraloom.spectra.uncertainty import block_counts, committee_error, student_factor, verdict, with_model_error


def _spectrum(rng: np.random.Generator, scale: float = 1.0) -> Spectrum:
    return infrared_from_current(scale * rng.normal(size=(4000, 3)), 1.0, temperature=300, correlation_time=40, blocks=8)


def test_members_on_one_run_keep_their_whole_spread():
    series = np.random.default_rng(1).normal(size=(4000, 3))
    scales = np.array([0.9, 1.0, 1.2])
    members = [infrared_from_current(scale * series, 1.0, temperature=300, correlation_time=40) for scale in scales]
    expected = members[1].intensity * np.std(scales**2, ddof=1)
    np.testing.assert_allclose(committee_error(members, own_runs=False), expected, rtol=1e-12)


def test_chance_is_taken_out_of_the_spread_of_runs_of_their_own():
    """Members that agree have no model error left; members that differ keep it."""
    rng = np.random.default_rng(2)
    agree = [_spectrum(rng) for _ in range(40)]
    level = agree[0].intensity.mean()
    raw, left = (committee_error(agree, own_runs=own) for own in (False, True))
    plain = np.sqrt(np.mean([np.square(one.standard_error / student_factor(8)) for one in agree], axis=0))
    np.testing.assert_allclose(left**2, np.maximum(raw**2 - plain**2, 0), atol=1e-12 * level**2)
    # the variance of 40 members is known to 23 % of itself: what is left of it is chance on either side of nothing
    assert np.mean(left**2) < 0.2 * np.mean(raw**2)
    differ = [_spectrum(rng, np.sqrt(scale)) for scale in np.repeat([0.8, 1.2], 20)]
    assert np.sqrt(np.mean(committee_error(differ, own_runs=True) ** 2)) == pytest.approx(0.2 * level, rel=0.1)


def test_a_committee_of_unlike_spectra_is_refused():
    rng = np.random.default_rng(3)
    one, other = _spectrum(rng), _spectrum(rng)
    bare = replace(other, standard_error=None)
    with pytest.raises(InputError, match="at least 2"):
        committee_error([one], own_runs=False)
    with pytest.raises(InputError, match="member 1 is raman_vv"):
        committee_error([one, replace(other, quantity="raman_vv")], own_runs=False)
    with pytest.raises(InputError, match="one quantity on one axis"):
        committee_error([one, other.between(0, 1000)], own_runs=False)
    with pytest.raises(InputError, match="member 1 has no standard error"):
        committee_error([one, bare], own_runs=True)
    with pytest.raises(InputError, match="one quantity on one axis"):
        with_model_error(one.between(0, 1000), [one, other], own_runs=False)


def test_the_model_error_travels_with_the_spectrum(tmp_path: Path):
    rng = np.random.default_rng(4)
    members = [_spectrum(rng) for _ in range(3)]
    made = with_model_error(members[0], members, own_runs=False)
    assert made.model_error is not None
    assert made.conventions.extra["committee"] == {"members": 3, "own_runs": False}
    assert made.content_hash() != replace(made, model_error=None).content_hash()
    inside = (made.wavenumber >= 500) & (made.wavenumber <= 900)
    np.testing.assert_array_equal(made.between(500, 900).model_error, made.model_error[inside])
    for write, read, name in (
        (write_csv, read_csv, "a.csv"),
        (write_json, read_json, "a.json"),
        (write_npz, read_npz, "a.npz"),
        (write_jcamp, read_jcamp, "a.jdx"),
    ):
        write(tmp_path / name, made)
        found = read(tmp_path / name)
        np.testing.assert_array_equal(found.model_error, made.model_error)
        assert found.content_hash() == made.content_hash()
        write(tmp_path / name, members[0])
        assert read(tmp_path / name).model_error is None


def test_blocks_of_replicas_of_unequal_length_are_alike():
    assert block_counts([1000, 3000], 100) == [2, 6]
    assert block_counts([300, 3000], 100) == [1, 7]
    assert block_counts([700, 700], 100) == [3, 3]  # no more than two depths and a frame allow
    assert block_counts([2000] * 10, 100) == [2] * 10


def test_the_range_of_a_sharp_line_is_not_resolved_unless_blocks_are_runs_of_their_own():
    wavenumber = np.arange(0.0, 2000, 4)
    resolution = 33.0
    sharp = np.exp(-np.log(2) * ((wavenumber - 740) / (resolution / 2)) ** 2)
    broad = np.exp(-np.log(2) * ((wavenumber - 1640) / resolution) ** 2)
    intensity = sharp + broad
    error = 0.01 * intensity
    given = {"blocks": 8, "depths_per_block": 10.0, "resolution": resolution}
    found = verdict(wavenumber, intensity, error, **given)
    ranges = {entry["low"]: entry for entry in found.ranges}
    assert not found.converged and "740 cm^-1 as narrow as the resolution of 33 cm^-1" in found.reason
    assert "1640" not in found.reason
    assert not ranges[500.0]["resolved"] and not ranges[500.0]["converged"]
    assert ranges[1500.0]["resolved"] and ranges[1500.0]["converged"]
    assert verdict(wavenumber, intensity, error, independent=True, **given).converged
    assert verdict(wavenumber, broad, 0.01 * broad, **given).converged


def test_the_foot_of_a_band_in_the_next_range_is_no_band():
    wavenumber = np.arange(0.0, 2000, 4)
    intensity = 1 / (1 + ((wavenumber - 1010) / 60) ** 2)
    found = verdict(wavenumber, intensity, 0.01 * intensity, blocks=8, depths_per_block=10.0, resolution=33.0)
    assert found.converged, found.reason
    assert found.ranges[1]["share"] > 0.1  # 500 to 1000: half the band, its maximum at the end of the range
