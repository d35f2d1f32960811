"""What a reader of labelled frames must be told, and the checks that every source of labels goes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vibraloom.errors import InputError
from vibraloom.files.dataset import LABELS, NONE, FrameSet
from vibraloom.units import DIMENSIONS

UNIT_OPTIONS = {
    name: "polarizability" if "polarizability" in name else "dipole" for name in LABELS if "polar" in name or "dipole" in name
}
"""Label whose unit formats leave to the user → the dimension."""


class ReadingOptions(BaseModel):
    """What a file does not say; kept with the dataset.

    Attributes:
        dipole_unit, polarizability_unit: of all labels of that kind.
        type_map: elements of the types 0, 1, …, where the files name none.
        labelled_types: elements whose atoms carry atomic labels, where their number leaves a choice.
        names: label → its name in an extended XYZ file.
        zeros: label → whether rows that are exactly zero are values or absent labels.
        partial: a label may be there in some frames only.
        method: how the frames were labelled, in the user's words or as a record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dipole_unit: str | None = None
    polarizability_unit: str | None = None
    type_map: tuple[str, ...] | None = None
    labelled_types: tuple[str, ...] | None = None
    names: dict[str, str] = {}
    zeros: dict[str, Literal["value", "absent"]] = {}
    partial: bool = False
    method: dict[str, Any] = {}

    def factor(self, label: str, where: str) -> float:
        """Factor from the file's unit of ``label`` to the internal one; 1 for labels whose unit the formats fix.

        Raises:
            InputError: the unit is not stated, or none that is known.
        """
        if label not in UNIT_OPTIONS:
            return 1.0
        dimension = UNIT_OPTIONS[label]
        unit = self.dipole_unit if dimension == "dipole" else self.polarizability_unit
        known = DIMENSIONS[dimension][1]
        if unit is None:
            raise InputError(f"{where}: {label} without a unit; say it: --{dimension}-unit {'|'.join(known)}")
        if unit not in known:
            raise InputError(f"--{dimension}-unit {unit}: allowed: {', '.join(known)}")
        return known[unit]


def scaled(values: NDArray[Any], factor: float) -> NDArray[np.float64]:
    """``values`` as float64 times ``factor``; a factor of one changes no bit."""
    plain = np.asarray(values, dtype=np.float64)
    return plain if factor == 1.0 else plain * factor


def settled(system: FrameSet, options: ReadingOptions, where: str) -> tuple[FrameSet, tuple[str, ...]]:
    """The frames of one source after the checks that no format makes, and remarks that the frames' ``remark`` point into.

    Raises:
        InputError: a label that is exactly zero without a word on what that means, a label that some frames lack without
            ``partial``, or polarizabilities whose trace is negative.
    """
    for name in LABELS:
        # a neutral molecule is no absent label
        if name in system.labels and name != "molecular_charge":
            system = _zeros(system, name, options.zeros, where)
    remarks: dict[str, int] = {}
    index = np.full(system.frames, NONE, dtype=np.int64)
    lacking: list[list[str]] = [[] for _ in range(system.frames)]
    for name in system.labels:
        present = system.present(name)
        if present.all():
            continue
        first = int(np.argmin(present))
        if not options.partial:
            raise InputError(
                f"{where}: {name} is absent from frame {first} and {int((~present).sum())} of {system.frames} frames in all;"
                " --partial keeps them without it"
            )
        for frame in np.flatnonzero(~present):
            lacking[frame].append(name)
    for at, names in enumerate(lacking):
        if names:
            index[at] = remarks.setdefault(f"{', '.join(names)} absent: not in the source", len(remarks))
    _signs(system, where)
    return replace(system, remark=index), tuple(remarks)


def _zeros(system: FrameSet, name: str, words: Mapping[str, str], where: str) -> FrameSet:
    values = system.labels[name]
    if LABELS[name].owner in ("atom", "molecule"):
        # an atom that carries no label is written as zero in every frame
        zero = (values.reshape(*values.shape[:2], -1) == 0).all(axis=(0, 2))
        told = f"of {LABELS[name].owner} {int(np.argmax(zero))} is exactly zero in every frame"
        rows: Any = (slice(None), zero)
    else:
        zero = (values.reshape(system.frames, -1) == 0).all(axis=1)
        told = f"of frame {int(np.argmax(zero))} is exactly zero"
        rows = zero
    if not zero.any() or words.get(name) == "value" or (name == "forces" and system.atoms == 1):
        return system
    if words.get(name) != "absent":
        raise InputError(f"{where}: {name} {told}: absent, or zero? say it: --zeros {name}=absent or --zeros {name}=value")
    held = values.copy()
    held[rows] = np.nan
    labels = {key: held if key == name else each for key, each in system.labels.items()}
    return replace(system, labels={key: each for key, each in labels.items() if np.isfinite(each).any()})


def _signs(system: FrameSet, where: str) -> None:
    """Refuse a polarizability whose trace is negative: the ground state of a closed shell has a positive definite one."""
    if "polarizability" not in system.labels:
        return
    trace = np.trace(system.labels["polarizability"], axis1=1, axis2=2)
    negative = trace < 0
    if negative.any():
        convention = "mixed signs" if (trace > 0).any() else "the other sign"
        frame = int(np.argmax(negative))
        raise InputError(
            f"{where}: polarizability of frame {frame} has the trace {trace[frame]:.4g} Å³ ({convention}); it must be positive:"
            " correct the file"
        )


def types_of_elements(names: Sequence[str], where: str) -> NDArray[np.int64]:
    """Atomic number of each type.

    Raises:
        InputError: a name that is no element.
    """
    from vibraloom.files.elements import SYMBOLS

    for name in names:
        if name not in SYMBOLS[1:]:
            raise InputError(f"{where}: type {name!r} is no element; name them: --type-map O,H")
    return np.array([SYMBOLS.index(name) for name in names], dtype=np.int64)
