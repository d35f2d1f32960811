"""Polarizability from dipoles in fields of both signs: alpha_ij = [mu_i(+E_j) - mu_i(-E_j)] / (2 E).

The pair cancels what is even in the field. CP2K's periodic field acts on the electrons so that the dipole grows along it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.input_lines import real_number, values_of
from vibraloom.errors import ComputationError, InputError
from vibraloom.spectra.dipole import unwrap_dipole
from vibraloom.units import ANGSTROM3_PER_BOHR3, ANGSTROM_PER_BOHR

Array = NDArray[np.float64]

AXES = "xyz"
SIGNS = ("plus", "minus")
_BRANCH_MARGIN = 0.25
"""A difference of dipoles above this fraction of a quantum may lie on another branch: fields change dipoles by far less."""


def field_name(axis: str, sign: str) -> str:
    """Name of the follow-up run with the field of ``sign`` along ``axis``."""
    return f"field_{axis}_{sign}"


@dataclass(frozen=True)
class FieldResponse:
    """What a pair of fields per axis gives.

    Attributes:
        polarizability: Array of the shape of the dipoles and (3): alpha[..., i, j] = d mu_i / d E_j, (Å³); NaN in the columns of
            axes without a pair.
        curvature: largest second difference of the dipoles over the first one: what a single sign would get wrong.
    """

    polarizability: Array
    curvature: float


def pairs_of(names: Mapping[str, object] | list[str]) -> list[str]:
    """Axes along which both signs of the field are there."""
    return [axis for axis in AXES if all(field_name(axis, sign) in names for sign in SIGNS)]


def polarizability_from_fields(
    dipoles: Mapping[str, Array], at_rest: Array, strength: float, quantum: Array | None = None
) -> FieldResponse:
    """Polarizability from dipoles in ± fields.

    Args:
        dipoles: name of the run (:func:`field_name`) → (e·Å) Array with shape (…, 3).
        at_rest: (e·Å) Array with shape (…, 3), without a field.
        strength: (atomic units) intensity of the field.
        quantum: (e·Å) Array with shape (3, 3), rows are the quanta of a Berry-phase dipole; None where there are none.

    Raises:
        InputError: a field of no strength, no pair, or a difference of dipoles too near half a quantum.
        ComputationError: the dipole falls along the field.
    """
    if not strength > 0:
        raise InputError(f"job.json: field is {strength!r}; allowed: an intensity above 0 in atomic units, such as 0.001")
    axes = pairs_of(dict(dipoles))
    if not axes:
        raise InputError("field: no axis with both signs; run field_x_plus and field_x_minus, or drop the fields")
    alpha = np.full((*at_rest.shape, 3), np.nan)
    curvature = 0.0
    for axis in axes:
        plus, minus = (dipoles[field_name(axis, sign)] for sign in SIGNS)
        up, down = _shift(plus, at_rest, quantum, axis), _shift(minus, at_rest, quantum, axis)
        # e·Å per atomic unit of field, to bohr per bohr of the atomic unit of polarizability
        alpha[..., AXES.index(axis)] = (up - down) / (2 * strength * ANGSTROM_PER_BOHR) * ANGSTROM3_PER_BOHR3
        first = float(np.abs(up - down).max())
        curvature = max(curvature, float(np.abs(up + down).max()) / first if first else 0.0)
    total = alpha.reshape(-1, 3, 3).sum(axis=0)
    for axis in axes:
        index = AXES.index(axis)
        if not total[index, index] > 0:
            raise ComputationError(
                f"field along {axis}: the polarizability is {total[index, index]:g} Å³; it must be positive; "
                "check the field's sign"
            )
    return FieldResponse(alpha, curvature)


def field_strength(inputs: Sequence[Path]) -> float:
    """(atomic units) Intensity of the static field in the inputs of all runs.

    Raises:
        InputError: an input without a field, or fields of different strength.
    """
    found: dict[float, Path] = {}
    for path in inputs:
        said = [word for section in ("EFIELD", "PERIODIC_EFIELD") for word in values_of(path, section, "INTENSITY")]
        value = real_number(said[-1]) if said else None
        if value is None:
            raise InputError(f"{path}: {said[-1] if said else 'no'} INTENSITY of a field; allowed: a number in atomic units")
        found[value] = path
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise InputError(f"{second}: a field of {other:g} a.u., {first.name} has {one:g}; allowed: one strength; run these again")
    return next(iter(found))


def _shift(dipole: Array, at_rest: Array, quantum: Array | None, axis: str) -> Array:
    if quantum is None:
        return dipole - at_rest
    series, ambiguous = unwrap_dipole(np.stack([at_rest, dipole]), quantum, margin=_BRANCH_MARGIN)
    if len(ambiguous):
        raise InputError(
            f"field along {axis}: the dipole changes by more than a quarter of a quantum; its branch is not known: "
            "use a smaller field"
        )
    return series[1] - series[0]
