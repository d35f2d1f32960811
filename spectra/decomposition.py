"""Named contributions to a moment: checked to sum to the total, so that their spectra do too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.estimator import as_replicas
from vibraloom.spectra.lag_products import Pairing

Array = NDArray[np.float64]

LARGEST_RESIDUE = 1e-5
"""Largest rms difference between a moment and the sum of its parts, relative to the rms of the moment."""
LARGEST_GAP = 1e-6
"""Largest difference from 1 of the sum of weights within a decomposition."""


def decomposition_of(label: str) -> str:
    """The decomposition of a part: ``layer`` for ``layer/contact``, empty for a name without slash."""
    return label.rpartition("/")[0]


def closed_parts(
    parts: Mapping[str, Any] | None, totals: Sequence[NDArray[Any]], name: str, *, free_constant: bool = False
) -> dict[str, list[Array]]:
    """The series of each part, float64, summing exactly to the total within each decomposition.

    What storage rounds away (up to a relative 1e-5) is shared equally among the parts of a decomposition.

    Args:
        parts: label -> series like the total, or a list of such, one per replica.
        totals: (any unit) one Array per replica, with shape (frames, 3).
        name: what the total is, for messages.
        free_constant: a constant difference does not matter (only the derivative is used).

    Raises:
        InputError: parts of another shape, or parts that do not sum to the total.
    """
    series: dict[str, list[Array]] = {}
    for label, values in (parts or {}).items():
        replicas = as_replicas(values, totals[0].shape[1], f"part {label!r}")
        if [len(each) for each in replicas] != [len(each) for each in totals]:
            raise InputError(f"part {label!r}: frames or replicas differ from those of the {name}; give the same")
        series[label] = [each.astype(np.float64) for each in replicas]
    for decomposition in {decomposition_of(label) for label in series}:
        labels = [label for label in series if decomposition_of(label) == decomposition]
        for replica, total in enumerate(totals):
            whole = total.astype(np.float64)
            residue = whole - np.sum([series[label][replica] for label in labels], axis=0)
            origin = float(free_constant)
            size = _rms(whole - origin * whole.mean(axis=0))
            excess = _rms(residue - origin * residue.mean(axis=0))
            rounding = 2 * len(labels) * float(np.finfo(np.float32).eps) * float(np.abs(whole).max())
            if excess > LARGEST_RESIDUE * size + rounding:
                raise InputError(
                    f"parts {', '.join(labels)}: their sum differs from the {name} by {excess:.3g}"
                    f" (rms, the {name} has {size:.3g}); add the missing part"
                )
            for label in labels:
                series[label][replica] = series[label][replica] + residue / len(labels)
    return series


def refuse_missing_parts(weights: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse weights that do not sum to 1 in every frame, within each decomposition.

    Args:
        weights: label ``decomposition/name`` -> Array with shape (F, M).
        name: what they are, for the message.

    Raises:
        InputError: naming the labels and the first frame that is wrong.
    """
    for decomposition in {decomposition_of(label) for label in weights}:
        labels = [label for label in weights if decomposition_of(label) == decomposition]
        total = np.zeros(np.shape(weights[labels[0]]))
        for label in labels:
            total += weights[label]
        # NaN makes the comparison false
        wrong = ~(np.abs(total - 1).max(axis=1) <= LARGEST_GAP)
        if wrong.any():
            frame = int(np.argmax(wrong))
            raise InputError(f"{name}: {', '.join(labels)} do not sum to 1 in frame {frame}; add the missing part")


def labelled_derivatives(
    moments: NDArray[Any], weights: Mapping[str, NDArray[Any]], timestep: float
) -> tuple[Array, dict[str, Array]]:
    """Time derivative of a total moment, and of its share by any label of the molecules in each frame.

    A weight acts on the derivative: d(w mu)/dt would hold a spurious dw/dt mu when a molecule changes its label. The
    derivative is the forward difference of each molecule, its weight the mean of the two frames.

    Args:
        moments: (unit) Array with shape (F, M, ...), of each molecule: dipoles or polarizabilities.
        weights: label ``decomposition/name`` -> Array with shape (F, M), summing to 1 within each decomposition: layer,
            species, hydrogen-bond class, ...
        timestep: (fs) time between frames.

    Returns:
        (unit/fs) Array with shape (F - 1, ...), and the same for each label; the latter sum to the former. Give them to
        ``infrared_from_current``, ``slab_response`` or ``raman_from_derivatives`` as differenced series.

    Raises:
        InputError: shapes that do not match, or weights that do not sum to 1 in a frame.
    """
    values = np.asarray(moments, dtype=np.float64)
    for label, weight in weights.items():
        if np.shape(weight) != values.shape[:2]:
            raise InputError(f"weights: {label!r} has shape {np.shape(weight)}; it must be {values.shape[:2]}")
    refuse_missing_parts(weights, "weights")
    rates = np.diff(values, axis=0) / timestep
    parts = {}
    for label, weight in weights.items():
        middle = (np.asarray(weight[1:], dtype=np.float64) + weight[:-1]) / 2
        parts[label] = np.einsum("fm,fm...->f...", middle, rates)
    return rates.sum(axis=1), parts


def beside(totals: Sequence[NDArray[Any]], parts: Mapping[str, Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Total and parts of each replica side by side: Arrays with shape (frames, columns × (1 + parts))."""
    if not parts:
        return list(totals)
    return [np.hstack([total, *(series[number] for series in parts.values())]) for number, total in enumerate(totals)]


def part_pairings(columns: Sequence[int], width: int, parts: int, weight: float = 1.0) -> list[Pairing]:
    """The total with itself, then each part with the total: half of each cross term goes to either part.

    Args:
        columns: components of the total that are correlated.
        width: components of the total.
        parts: how many parts stand behind the total, see :func:`beside`.
        weight: of every product.
    """
    total = np.asarray(columns)
    return [Pairing.of(total + number * width, total, weight) for number in range(1 + parts)]


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
