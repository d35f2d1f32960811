"""What a dataset holds, in numbers, and which frames stand out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.files.dataset import LABELS, Dataset, FrameSet
from vibraloom.files.elements import MASSES, SYMBOLS
from vibraloom.units import GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

OUTLIER = 6.0
"""Robust z-score from which a frame is named: (x - median) / (1.4826 median |x - median|), P. J. Rousseeuw and C. Croux, J. Am.
Stat. Assoc. 88, 1273 (1993). Of normal numbers one in 5e8 is beyond."""
FEWEST = 8
"""Frames from which outliers are looked for."""
MOST_NAMED = 20
"""Frames that one list names; the rest are counted."""


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Counts, compositions, densities, the spread of every label, outliers, and polarizabilities that are not positive definite.

    Returns:
        Plain JSON types: frames, systems (formula, atoms, frames, density in g/cm^3), labels (per system and quantity: unit,
        frames, mean, standard_deviation, min, max), outliers, not_positive_definite, remarks, sources, methods, history.
    """
    outliers: list[dict[str, Any]] = []
    indefinite: list[dict[str, Any]] = []
    systems = []
    for system in dataset.systems:
        quantities = {name: spread for name in LABELS if (spread := _quantity(system, name)) is not None}
        entry: dict[str, Any] = {
            "formula": system.formula,
            "atoms": system.atoms,
            "frames": system.frames,
            "pbc": list(system.pbc),
            "labels": {},
        }
        if (density := _density(system)) is not None:
            entry["density"] = {"unit": "g/cm^3", **_spread(density)}
        for name, (said, unit, values) in quantities.items():
            frames = np.flatnonzero(np.isfinite(values))
            entry["labels"][name] = {"quantity": said, "unit": unit, "frames": len(frames), **_spread(values[frames])}
            for place, score in _outliers(values[frames]):
                frame = int(frames[place])
                found = {"label": name, "system": system.formula, "frame": frame, "origin": dataset.origin(system, frame)}
                outliers.append({**found, "value": float(values[frame]), "unit": unit, "score": score})
        indefinite += _not_positive_definite(dataset, system)
        systems.append(entry)
    remarks = {
        text: sum(int((system.remark == index).sum()) for system in dataset.systems)
        for index, text in enumerate(dataset.remarks)
    }
    outliers.sort(key=lambda entry: -abs(entry["score"]))
    return {
        "frames": dataset.frames,
        "systems": systems,
        "outliers": outliers[:MOST_NAMED],
        "outliers_in_all": len(outliers),
        "not_positive_definite": indefinite[:MOST_NAMED],
        "not_positive_definite_in_all": len(indefinite),
        "remarks": {text: count for text, count in remarks.items() if count},
        "sources": list(dataset.sources),
        "methods": list(dataset.methods),
        "history": list(dataset.history),
    }


def _quantity(system: FrameSet, name: str) -> tuple[str, str, NDArray[np.float64]] | None:
    """What is told of a label: its name, unit and one number per frame, NaN where the label is absent."""
    if name not in system.labels or name == "molecular_charge":
        return None
    values, unit = system.labels[name], LABELS[name].unit
    if name == "energy":
        return "energy per atom", "eV", values / system.atoms
    if name == "forces":
        return "root mean square force", unit, np.sqrt((values**2).sum(axis=2).mean(axis=1))
    if name == "virial":
        return "a third of the trace per atom", "eV", np.trace(values, axis1=1, axis2=2) / 3 / system.atoms
    size = np.linalg.norm(values, axis=-1) if "dipole" in name else np.trace(values, axis1=-2, axis2=-1) / 3
    said = "norm" if "dipole" in name else "mean polarizability"
    if LABELS[name].owner == "frame":
        return said, unit, size
    # the mean over the atoms or molecules that have it
    there = np.isfinite(size)
    total = np.where(there, size, 0.0).sum(axis=1)
    count = there.sum(axis=1)
    return f"{said}, mean over those labelled", unit, np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "standard_deviation": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _density(system: FrameSet) -> NDArray[np.float64] | None:
    if system.cell is None or not all(system.pbc):
        return None
    mass = sum(MASSES[SYMBOLS[int(number)]] for number in system.numbers)
    return np.asarray(mass / np.abs(np.linalg.det(system.cell)) / GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3)


def _outliers(values: NDArray[np.float64]) -> list[tuple[int, float]]:
    if len(values) < FEWEST:
        return []
    away = values - np.median(values)
    width = 1.4826 * float(np.median(np.abs(away)))
    if width == 0:
        return []
    score = away / width
    return [(int(place), float(score[place])) for place in np.flatnonzero(np.abs(score) > OUTLIER)]


def _not_positive_definite(dataset: Dataset, system: FrameSet) -> list[dict[str, Any]]:
    """Frames whose polarizability has an eigenvalue of zero or less, which no closed-shell system has."""
    found = []
    for name in ("polarizability", "molecular_polarizability"):
        if name not in system.labels:
            continue
        values = system.labels[name]
        tensors = values.reshape(system.frames, -1, 3, 3)
        there = np.asarray(np.isfinite(tensors).all(axis=(2, 3)))
        symmetric = 0.5 * (tensors + tensors.swapaxes(2, 3))
        smallest = np.linalg.eigvalsh(np.where(there[..., None, None], symmetric, np.eye(3)))[..., 0]
        for frame in np.flatnonzero((smallest <= 0).any(axis=1)):
            entry = {"label": name, "system": system.formula, "frame": int(frame), "origin": dataset.origin(system, int(frame))}
            found.append({**entry, "smallest_eigenvalue": float(smallest[frame].min()), "unit": LABELS[name].unit})
    return found
