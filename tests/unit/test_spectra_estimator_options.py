"""Options of the estimate: the same names and defaults in every function that makes a spectrum of a series."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vibraloom.spectra import dielectric, infrared, infrared_from_current, raman, sfg, slab_response, vdos
from vibraloom.spectra.estimator import Estimator
from vibraloom.spectra.estimator_options import DEFAULTS, CorrelationOptions, EstimatorOptions
from vibraloom.spectra.molecular import molecular_infrared, molecular_raman
from vibraloom.spectra.oriented_raman import depolarization_ratio, oriented_raman, surface_raman
from vibraloom.spectra.raman import raman_from_derivatives
from vibraloom.spectra.sfg import molecular_sfg
from vibraloom.spectra.sfg_bonds import bond_sfg

WITH_ESTIMATOR = [
    infrared, infrared_from_current, oriented_raman, raman, raman_from_derivatives, slab_response, surface_raman, vdos,
]  # fmt: skip
CORRELATION_ALONE = [
    bond_sfg, depolarization_ratio, dielectric, molecular_infrared, molecular_raman, molecular_sfg, sfg,
]  # fmt: skip
NOISE = np.random.default_rng(2).normal(size=(400, 3))


def test_every_option_has_a_default_and_is_one_of_the_estimators() -> None:
    planned = inspect.signature(Estimator.plan).parameters.values()
    names = {one.name for one in planned if one.kind is one.KEYWORD_ONLY}
    assert set(EstimatorOptions.__annotations__) == set(DEFAULTS) == names
    assert set(CorrelationOptions.__annotations__) == names - {"estimator"}


@pytest.mark.parametrize("function", [*WITH_ESTIMATOR, *CORRELATION_ALONE], ids=lambda function: function.__name__)
def test_a_signature_shows_the_options_and_their_defaults(function: Callable[..., Any]) -> None:
    shown = inspect.signature(function).parameters
    names = set(DEFAULTS) - (set() if function in WITH_ESTIMATOR else {"estimator"})
    assert {name: shown[name].default for name in shown if name in DEFAULTS} == {
        name: value for name, value in DEFAULTS.items() if name in names
    }
    assert all(one.kind is one.KEYWORD_ONLY for one in shown.values() if one.name in DEFAULTS)
    assert not [one.name for one in shown.values() if one.kind is one.VAR_KEYWORD]


@pytest.mark.parametrize("function", [*WITH_ESTIMATOR, *CORRELATION_ALONE], ids=lambda function: function.__name__)
def test_a_keyword_that_a_function_does_not_have_is_a_type_error_that_names_both(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=rf"{function.__name__}\(\) got an unexpected keyword argument 'windows'"):
        function(windows="hann")


@pytest.mark.parametrize("function", CORRELATION_ALONE, ids=lambda function: function.__name__)
def test_what_knows_the_correlation_alone_takes_no_other_estimator(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=rf"{function.__name__}\(\) got an unexpected keyword argument 'estimator'"):
        function(estimator="welch")


def test_an_option_that_is_left_out_is_its_default() -> None:
    plain = infrared(NOISE, 1.0, temperature=300)
    named = infrared(NOISE, 1.0, temperature=300, **DEFAULTS)
    assert named.content_hash() == plain.content_hash()
    for name, value in (("window", "parzen"), ("blocks", 0), ("correlation_time", 20.0), ("normalization", "biased")):
        other = infrared(NOISE, 1.0, temperature=300, **{name: value})
        assert other.content_hash() != plain.content_hash(), name
