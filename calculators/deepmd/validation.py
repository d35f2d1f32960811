"""A trained model against the labels that it was not trained on: errors with units, by element, the worst frames, both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.ase.engines import open_deepmd
from vibraloom.calculators.deepmd.response import TensorModel
from vibraloom.calculators.deepmd.systems import carriers
from vibraloom.calculators.deepmd.training_sets import TrainingSets
from vibraloom.files.dataset import FrameSet
from vibraloom.files.elements import SYMBOLS

UNITS = {
    "energy": "eV/atom",
    "forces": "eV/angstrom",
    "virial": "eV/atom",
    "dipole": "e*angstrom",
    "atomic_dipole": "e*angstrom",
    "polarizability": "angstrom^3",
    "atomic_polarizability": "angstrom^3",
}
"""Unit of each error; energies and virials are divided by the number of atoms."""
WORST = 5
"""Frames named with their error."""

Array = NDArray[np.float64]


class _Sides:
    """Rows of model and label of one quantity, with the frame and the atomic number (0: of a frame) that each belongs to."""

    def __init__(self) -> None:
        self.model: list[Array] = []
        self.label: list[Array] = []
        self.frame: list[NDArray[np.int64]] = []
        self.number: list[NDArray[np.int64]] = []

    def add(self, model: Array, label: Array, frames: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Rows (F, N, …) of N atoms, or N = 1 of whole frames."""
        shape = label.shape[2:]
        self.model.append(np.asarray(model, dtype=np.float64).reshape(-1, *shape))
        self.label.append(label.reshape(-1, *shape))
        self.frame.append(np.repeat(frames, len(numbers)))
        self.number.append(np.tile(numbers, len(frames)))


def validate(path: str | Path, target: str, sets: TrainingSets) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Compare a frozen model with the validation sets.

    Args:
        path: frozen model.
        target: energy, dipole or polarizability.
        sets: of which the validation part is taken.

    Returns:
        For each quantity rmse, spread (root mean square of the labels about their mean), unit, frames, rmse by element and the
        worst frames; and the arrays of both sides: NAME_model and NAME_label, row by row, with NAME_frame, an index into
        ``source`` and ``source_frame``, which say where each frame came from.

    Raises:
        InputError: the model does not know an element.
        ComputationError: the model gives what is no number.
    """
    sides: dict[str, _Sides] = {}
    start = 0
    for each in sets.validation:
        frames = np.arange(start, start + each.frames)
        start += each.frames
        for name, (model, label, numbers) in _evaluated(path, target, each).items():
            sides.setdefault(name, _Sides()).add(model, label, frames, numbers)
    arrays: dict[str, NDArray[Any]] = {
        "source": np.concatenate([each.source for each in sets.validation]),
        "source_frame": np.concatenate([each.source_frame for each in sets.validation]),
    }
    errors = {}
    for name, rows in sides.items():
        model, label = np.concatenate(rows.model), np.concatenate(rows.label)
        frame, number = np.concatenate(rows.frame), np.concatenate(rows.number)
        arrays |= {f"{name}_model": model, f"{name}_label": label, f"{name}_frame": frame, f"{name}_number": number}
        errors[name] = {"unit": UNITS[name], **_errors(model, label, frame, number, [sets.origin(each) for each in range(start)])}
    return errors, arrays


def _evaluated(path: str | Path, target: str, each: FrameSet) -> dict[str, tuple[Array, Array, NDArray[np.int64]]]:
    """Quantity → model and label, both (F, N, …), and the atomic numbers of the N rows of a frame (0: the frame itself)."""
    frames, atoms = each.frames, each.atoms
    whole = np.zeros(1, dtype=np.int64)
    found: dict[str, tuple[Array, Array, NDArray[np.int64]]] = {}
    if target == "energy":
        evaluator, types = open_deepmd(path, each.numbers.tolist())
        boxes = None if each.cell is None else each.cell.reshape(frames, 9)
        energy, forces, virial = evaluator.eval(each.positions.reshape(frames, -1), boxes, types)[:3]
        found["energy"] = energy.reshape(frames, 1) / atoms, each.labels["energy"][:, None] / atoms, whole
        if "forces" in each.labels:
            found["forces"] = forces.reshape(frames, atoms, 3), each.labels["forces"], each.numbers
        if "virial" in each.labels:
            found["virial"] = virial.reshape(frames, 1, 3, 3) / atoms, each.labels["virial"][:, None] / atoms, whole
        return found
    (name, label), = each.labels.items()
    real = each.numbers > 0
    model = TensorModel(path, target, each.numbers[real].tolist())
    if name == target:
        found[name] = model(each.positions[:, real], each.cell)[:, None], label[:, None], whole
    else:
        with_label = carriers(each, label)
        found[name] = model.atomic(each.positions, each.cell)[:, with_label], label[:, with_label], each.numbers[with_label]
    return found


def _errors(
    model: Array, label: Array, frame: NDArray[np.int64], number: NDArray[np.int64], origins: list[str]
) -> dict[str, Any]:
    squared = ((model - label) ** 2).reshape(len(model), -1).mean(axis=1)
    record: dict[str, Any] = {
        "rmse": float(np.sqrt(squared.mean())),
        "spread": float(np.sqrt(np.mean((label - label.mean(axis=0)) ** 2))),
        "frames": len(np.unique(frame)),
    }
    kinds = [int(kind) for kind in np.unique(number) if kind > 0]
    if kinds:
        record["by_element"] = {SYMBOLS[kind]: float(np.sqrt(squared[number == kind].mean())) for kind in kinds}
    rows = np.bincount(frame)
    of_frame = np.sqrt(np.bincount(frame, squared)[rows > 0] / rows[rows > 0])
    there = np.flatnonzero(rows)
    order = np.argsort(-of_frame)[:WORST]
    record["worst"] = [{"frame": origins[there[index]], "rmse": float(of_frame[index])} for index in order]
    return record
