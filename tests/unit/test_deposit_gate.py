"""The gate refuses a spectrum without its conventions, key by key."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from vibraloom.spectra import infrared
from vibraloom.workflows.deposit import _CONTEXT, _CONVENTIONS, refusals

CONTEXT: dict[str, Any] = {
    "name": "x",
    "system": {"kind": "molecule", "formula": "H2O"},
    "method": {"dynamics": {}},
    "fidelity": "test",
    "seed": {"dynamics": 1},
    "versions": {"vibraloom": "0"},
    "isotopes": "natural",
}


@pytest.fixture(scope="module")
def attributes() -> dict[str, Any]:
    """Attributes of a node as SpectrumData makes them, from a real spectrum with error bars."""
    dipole = np.random.default_rng(1).normal(size=(4000, 3)).cumsum(axis=0) * 1e-3
    spectrum = infrared(dipole, 1.0, temperature=300.0, correlation_time=100.0)
    assert spectrum.verdict is not None
    return {
        "quantity": spectrum.quantity,
        "unit": spectrum.unit,
        "conventions": spectrum.conventions.as_dict(),
        "verdict": spectrum.verdict.as_dict(),
        "context": CONTEXT,
    }


def test_a_complete_spectrum_passes_converged_or_not(attributes: dict[str, Any]) -> None:
    assert refusals(attributes) == []
    other = copy.deepcopy(attributes)
    other["verdict"]["converged"] = not other["verdict"]["converged"]
    assert refusals(other) == []


@pytest.mark.parametrize("key", [*_CONVENTIONS, "quantum_correction", "temperature"])
def test_a_missing_convention_is_refused_by_name(attributes: dict[str, Any], key: str) -> None:
    broken = copy.deepcopy(attributes)
    del broken["conventions"][key]
    assert refusals(broken) == [f"infrared_molar: conventions.{key} is missing"]


@pytest.mark.parametrize("key", _CONTEXT)
def test_a_missing_context_is_refused_by_name(attributes: dict[str, Any], key: str) -> None:
    broken = copy.deepcopy(attributes)
    del broken["context"][key]
    assert refusals(broken) == [f"infrared_molar: context.{key} is missing"]


def test_a_spectrum_without_unit_verdict_or_known_fidelity_is_refused(attributes: dict[str, Any]) -> None:
    for change, said in (
        ({"unit": ""}, "unit is missing"),
        ({"verdict": None}, "verdict is missing"),
        ({"conventions": None}, "conventions.estimator is missing"),
        ({"context": {**CONTEXT, "fidelity": "great"}}, "allowed: test, classical, ML, DFT, measured"),
    ):
        assert any(said in reason for reason in refusals({**attributes, **change}))
