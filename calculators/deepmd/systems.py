"""Frames as deepmd-kit takes them: sets that have the same labels on the same atoms, as entries of a dpdata system.

deepmd-kit knows an absent label by its missing file alone, and atomic labels on all atoms of some elements alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.molecule_labels import on_carriers, with_molecules
from vibraloom.errors import InputError
from vibraloom.files.dataset import LABELS, Dataset, FrameSet
from vibraloom.files.elements import SYMBOLS

WRITTEN = {
    "energy": "energies",
    "forces": "forces",
    "virial": "virials",
    "dipole": "dipole",
    "polarizability": "polarizability",
    "atomic_dipole": "atomic_dipole",
    "atomic_polarizability": "atomic_polarizability",
}
"""Label → its name in dpdata."""
ON_MOLECULES = {"atomic_dipole": "molecular_dipole", "atomic_polarizability": "molecular_polarizability"}
"""Atomic label → the molecular one that stands in for it, on the atom that carries each molecule."""


def register_response_types() -> None:
    """Teach dpdata dipole (e·Å) and polarizability (Å³), of the frame and of its atoms (all, or all of some types)."""
    from dpdata.data_type import Axis, DataError, DataType
    from dpdata.system import LabeledSystem, System

    # -1: deepmd-kit writes atomic labels for the labelled types alone
    shapes: dict[str, tuple[Any, ...]] = {
        "dipole": (Axis.NFRAMES, 3),
        "polarizability": (Axis.NFRAMES, 9),
        "atomic_dipole": (Axis.NFRAMES, -1, 3),
        "atomic_polarizability": (Axis.NFRAMES, -1, 9),
    }
    kinds = [DataType(name, np.ndarray, shape=shape, required=False, deepmd_name=name) for name, shape in shapes.items()]
    for system in (System, LabeledSystem):
        known = {kind.name for kind in system.DTYPES}
        fresh = [kind for kind in kinds if kind.name not in known]
        if fresh:
            try:
                system.register_data_type(*fresh)
            except DataError as error:  # pragma: no cover - another package took the name with another shape
                raise InputError(f"dpdata: {error}; another package took the name") from error


def type_map_of(dataset: Dataset, wanted: tuple[str, ...] | None, name: str) -> tuple[str, ...]:
    """Elements of the types 0, 1, …: ``wanted``, or all of the dataset, heavy ones first.

    Raises:
        InputError: ``wanted`` lacks an element of the dataset; the message begins with ``name``, the option or key it came from.
    """
    held = sorted({int(number) for system in dataset.systems for number in system.numbers}, reverse=True)
    needed = tuple(SYMBOLS[number] for number in held)
    if wanted is None:
        return needed
    if absent := [symbol for symbol in needed if symbol not in wanted]:
        raise InputError(f"{name} {','.join(wanted)}: {absent[0]} is in the dataset; name every element")
    return wanted


def carried(system: FrameSet, *, partly: bool) -> FrameSet:
    """The labels that deepmd-kit has a place for, molecular ones on the atoms that carry them, where these can.

    Args:
        system: the frames.
        partly: atomic labels may be on the atoms of some elements only (mixed types: not).
    """
    labels = dict(system.labels)
    for name, molecular in ON_MOLECULES.items():
        if name in labels or molecular not in labels:
            continue
        values = on_carriers(with_molecules(system), molecular)
        placed = replace(system, labels={name: values})
        if not any(misplaced(chunk, chunk.labels[name], partly) for chunk in chunks(placed) if name in chunk.labels):
            labels[name] = values
    return replace(system, labels={name: values for name, values in labels.items() if name in WRITTEN})


def chunks(system: FrameSet) -> list[FrameSet]:
    """Frames with the same labels on the same atoms, each kind together."""
    marks = [np.zeros((system.frames, 1), dtype=bool)]
    for name, values in system.labels.items():
        owners = system.atoms if LABELS[name].owner == "atom" else 1
        marks.append(np.asarray(np.isfinite(values.reshape(system.frames, owners, -1)).all(axis=2)))
    pattern = np.concatenate(marks, axis=1)
    kinds, kind = np.unique(pattern, axis=0, return_inverse=True)
    first = [int(np.argmax(kind.ravel() == index)) for index in range(len(kinds))]
    return [system.take(np.flatnonzero(kind.ravel() == index)) for index in np.argsort(first)]


def named(sets: list[FrameSet]) -> dict[str, FrameSet]:
    """Folder name of each set: its place in the list and its formula."""
    return {f"{index:03d}-{each.formula}": each for index, each in enumerate(sets)}


def entries(system: FrameSet, elements: tuple[str, ...], *, partly: bool) -> dict[str, Any]:
    """Entries of a dpdata system.

    Args:
        system: frames of one chunk.
        elements: the type map.
        partly: see :func:`carried`.

    Raises:
        InputError: forces without energies, atomic labels on a part of an element's atoms, or a slab's two periodic directions.
    """
    if "energy" not in system.labels and {"forces", "virial"} & set(system.labels):
        raise InputError(f"{system.formula}: forces or virial without an energy; deepmd-kit's tools take them with one only")
    types = np.array([elements.index(SYMBOLS[int(number)]) for number in system.numbers])
    data: dict[str, Any] = {
        "atom_names": list(elements),
        "atom_numbs": [int((types == index).sum()) for index in range(len(elements))],
        "atom_types": types,
        "orig": np.zeros(3),
        "coords": system.positions,
    }
    if system.cell is None:
        data |= {"cells": np.tile(100.0 * np.eye(3), (system.frames, 1, 1)), "nopbc": True}  # the cells are not used
    elif not all(system.pbc):
        raise InputError(f"{system.formula}: periodic along {sum(system.pbc)} directions; deepmd-kit knows three or none")
    else:
        data["cells"] = system.cell
    for name, values in system.labels.items():
        width = int(np.prod(LABELS[name].shape))
        if LABELS[name].owner == "atom":
            if fault := misplaced(system, values, partly):
                raise InputError(f"{system.formula}: {name} on {fault}")
            values = values[:, carriers(system, values)].reshape(system.frames, -1, width)
        elif name in ("dipole", "polarizability"):
            values = values.reshape(system.frames, width)
        data[WRITTEN[name]] = values
    return data


def carriers(system: FrameSet, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Atoms with an atomic label, which are the same in all frames of a chunk: Array of bool with shape (A,)."""
    return np.asarray(np.isfinite(values[0].reshape(system.atoms, -1)).all(axis=1))


def misplaced(system: FrameSet, values: NDArray[np.float64], partly: bool) -> str:
    """Why deepmd-kit cannot take an atomic label of a chunk on the atoms that it is on, or ""."""
    carrying = carriers(system, values)
    if not partly and not carrying.all():
        return f"{int(carrying.sum())} of {system.atoms} atoms; mixed takes all: use npy"
    for number in np.unique(system.numbers):
        of_kind = carrying[system.numbers == number]
        if of_kind.any() and not of_kind.all():
            symbol = SYMBOLS[int(number)]
            return f"{int(of_kind.sum())} of {len(of_kind)} {symbol}; deepmd-kit takes all atoms of an element or none"
    return ""
