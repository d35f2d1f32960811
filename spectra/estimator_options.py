"""Options of an estimate: named, explained and given a default here, for every function that makes a spectrum of a series."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, cast, get_type_hints

from vibraloom.spectra.estimator import Estimator

Function = TypeVar("Function", bound=Callable[..., Any])


class CorrelationOptions(TypedDict, total=False):
    """Keywords of a spectrum that is the transform of a correlation function."""

    correlation_time: float | None
    """(fs) depth of the correlation; None: a tenth of all time simulated, at most 1000 fs."""
    window: str
    """Window of the correlation: hann, welch, gaussian, bartlett, parzen or none, see
    :func:`vibraloom.spectra.correlation.window_values`; of ``estimator="welch"`` the shape of its tapers."""
    blocks: int | None
    """Number of blocks in all for the standard error; None: chosen by :func:`vibraloom.spectra.uncertainty.block_counts`;
    0: no error bars."""
    normalization: str
    """Of the correlation, ``unbiased`` (sum at lag k over frames - k) or ``biased`` (over frames)."""


class EstimatorOptions(CorrelationOptions, total=False):
    """Those of :class:`CorrelationOptions`, and the estimator itself."""

    estimator: str
    """``correlation`` (exact correlation function up to the correlation time), ``welch`` (averaged periodograms of segments
    that long, nowhere negative) or ``cepstral`` (for runs too short for blocks; whole spectra only, no parts)."""


DEFAULTS: EstimatorOptions = {
    "correlation_time": None,
    "window": "hann",
    "blocks": None,
    "normalization": "unbiased",
    "estimator": "correlation",
}
"""What stands for an option that is not given."""


def estimator_for(frames: Sequence[int], timestep: float, **options: Unpack[EstimatorOptions]) -> Estimator:
    """:meth:`vibraloom.spectra.estimator.Estimator.plan` of series with ``frames`` frames each, ``timestep`` fs apart.

    Raises:
        InputError: an option that is not allowed, or a correlation time longer than the shortest series.
    """
    complete: EstimatorOptions = {**DEFAULTS, **options}
    return Estimator.plan(frames, timestep, **complete)


def takes(options: type) -> Callable[[Function], Function]:
    """Let a function with ``**options`` show the keywords of ``options`` in its signature, and refuse all others.

    So ``help``, notebooks and the reference show what a caller may write, and a keyword that is misspelled, or that this
    function does not have, is a TypeError that names the function, before anything is computed.
    """
    hints = get_type_hints(options)
    defaults = cast(dict[str, Any], DEFAULTS)

    def taking(function: Function) -> Function:
        own = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
        given = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hint)
            for name, hint in hints.items()
        ]
        known = {one.name for one in (*own, *given)}

        @functools.wraps(function)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name not in known:
                    raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}")
            return function(*arguments, **keywords)

        checked.__signature__ = inspect.signature(function).replace(parameters=[*own, *given])  # type: ignore[attr-defined]
        return cast(Function, checked)

    return taking
