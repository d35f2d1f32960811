"""Several datasets into one, each geometry once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vibraloom.errors import InputError
from vibraloom.files.dataset import NONE, Dataset, FrameSet, Labels, joined

ROUNDED_TO = 1e-4
"""(Å) Positions and cells are rounded to this before they are compared: more than float32 loses, less than a step of dynamics."""
SAME, SAME_RELATIVE = 1e-5, 3e-7
"""Labels of one geometry are the same when they differ by less than this in their own unit and relative to the largest of them;
the latter is what float32 loses."""


@dataclass(frozen=True)
class Conflict:
    """The same geometry with two values of a label by the same method; both frames are kept."""

    label: str
    first: str
    second: str
    difference: float

    def as_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {"label": self.label, "frames": [self.first, self.second], "largest_difference": self.difference}


def content_hash(system: FrameSet, frame: int) -> str:
    """sha256 of atoms, periodic directions, and of positions and cell rounded to :data:`ROUNDED_TO`."""
    digest = hashlib.sha256(system.numbers.tobytes() + bytes(system.pbc))
    for values in (system.positions, system.cell):
        if values is not None:
            digest.update(np.rint(values[frame] / ROUNDED_TO).astype(np.int64).tobytes())
    return digest.hexdigest()


def merge(datasets: Sequence[Dataset], *, mix_methods: bool = False) -> Dataset:
    """One dataset of all frames; a geometry that is there twice by the same method is kept once, with the labels of both.

    Where two such frames disagree in a label, both are kept and ``history`` names them. Frames of different methods are never
    taken for the same.

    Raises:
        InputError: nothing to merge, or frames of different methods without ``mix_methods``.
    """
    if not datasets:
        raise InputError("merge: no dataset; give one or more")
    sources: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    remarks: list[str] = []
    parts: list[FrameSet] = []
    for dataset in datasets:
        tables = [
            (_places(dataset.sources, sources), "source"),
            (_places(dataset.methods, methods), "method"),
            (_places(dataset.remarks, remarks), "remark"),
        ]
        for system in dataset.systems:
            indices: dict[str, Any] = {
                name: np.array([places[index] if index != NONE else NONE for index in getattr(system, name)], dtype=np.int64)
                for places, name in tables
            }
            parts.append(replace(system, **indices))
    used = sorted({int(index) for part in parts for index in part.method})
    if len(used) > 1 and not mix_methods:
        told = "; ".join(_brief(methods[index]) for index in used[:3])
        raise InputError(f"merge: frames of {len(used)} methods ({told}); --mix-methods puts them into one dataset all the same")
    history = [entry for dataset in datasets for entry in dataset.history]
    whole = Dataset(joined(parts), tuple(sources), tuple(methods), tuple(remarks), tuple(history))
    systems, dropped, completed, conflicts = [], 0, 0, []
    for system in whole.systems:
        kept, drops, fills, found = _once(whole, system)
        systems.append(kept)
        dropped, completed = dropped + drops, completed + fills
        conflicts += found
    entry = {
        "operation": "merge",
        "datasets": len(datasets),
        "frames": whole.frames - dropped,
        "duplicates_dropped": dropped,
        "frames_completed": completed,
        "mix_methods": mix_methods,
        "conflicts": [conflict.as_json() for conflict in conflicts],
    }
    return replace(whole, systems=tuple(systems), history=(*whole.history, entry)).check("merge")


def _places(entries: Sequence[Any], table: list[Any]) -> list[int]:
    """Place of each entry in ``table``, to which those that it lacks are added."""
    for entry in entries:
        if entry not in table:
            table.append(entry)
    return [table.index(entry) for entry in entries]


def _brief(method: dict[str, Any]) -> str:
    if not method:
        return "not stated"
    text = ", ".join(f"{key} {value}" for key, value in method.items() if isinstance(value, str | int | float))
    return f"{text[:60]}…" if len(text) > 60 else text


def _once(dataset: Dataset, system: FrameSet) -> tuple[FrameSet, int, int, list[Conflict]]:
    first_of: dict[tuple[str, int], list[int]] = {}
    labels = {name: values.copy() for name, values in system.labels.items()}
    keep = np.ones(system.frames, dtype=bool)
    completed: set[int] = set()
    conflicts: list[Conflict] = []
    for frame in range(system.frames):
        twins = first_of.setdefault((content_hash(system, frame), int(system.method[frame])), [])
        differences = []
        for twin in twins:
            differing = _differences(labels, twin, frame)
            if not differing:
                keep[frame] = False
                for values in labels.values():
                    gap = np.isnan(values[twin]) & np.isfinite(values[frame])
                    if gap.any():
                        values[twin] = np.where(gap, values[frame], values[twin])
                        completed.add(twin)
                break
            differences += [(name, twin, size) for name, size in differing.items()]
        if keep[frame]:
            twins.append(frame)
            conflicts += [
                Conflict(name, dataset.origin(system, twin), dataset.origin(system, frame), size)
                for name, twin, size in differences
            ]
    remark = system.remark.copy()
    remark[sorted(completed)] = NONE
    return replace(system, labels=labels, remark=remark).take(keep), int((~keep).sum()), len(completed), conflicts


def _differences(labels: Labels, first: int, second: int) -> dict[str, float]:
    """Label → largest difference, of those that both frames have and that are not the same."""
    found = {}
    for name, values in labels.items():
        one, other = values[first], values[second]
        both = np.isfinite(one) & np.isfinite(other)
        if not both.any():
            continue
        difference = float(np.abs(one - other)[both].max())
        if difference > SAME + SAME_RELATIVE * float(np.abs(one[both]).max()):
            found[name] = difference
    return found
