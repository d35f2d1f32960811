"""Several datasets into one, each geometry once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.dataset import NONE, Dataset, FrameSet, Labels, joined

SAME_PLACE = 1e-4
"""(Å) Geometries of which no position and no part of a cell differs by more are the same: more than float32 loses, less than a
step of dynamics."""
SAME, SAME_RELATIVE = 1e-5, 3e-7
"""Labels of one geometry are the same when they differ by less than this in their own unit and relative to the largest of them;
the latter is what float32 loses."""

_ABSENT = re.compile(r"([\w, ]+) absent(: .*)")


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


def twins(system: FrameSet) -> Iterator[NDArray[np.int64]]:
    """For each frame those before it whose geometry is the same (:data:`SAME_PLACE`), in order: Arrays of int with shape (T,)."""
    parts = [values.reshape(system.frames, -1) for values in (system.positions, system.cell) if values is not None]
    # a mean with random weights moves less than the coordinates do: near means leave few frames to compare
    means = np.zeros(system.frames)
    random = np.random.default_rng(0)
    for values in parts:
        weights = random.uniform(-1, 1, values.shape[1])
        means += values @ (weights / np.abs(weights).sum())
    order = np.argsort(means, kind="stable")
    reach = len(parts) * SAME_PLACE * (1 + 1e-6)
    low = np.searchsorted(means[order], means - reach, side="left")
    high = np.searchsorted(means[order], means + reach, side="right")
    for frame in range(system.frames):
        near = np.sort(order[low[frame] : high[frame]])
        near = near[near < frame]
        for values in parts:
            near = near[np.abs(values[near] - values[frame]).max(axis=1, initial=0.0) <= SAME_PLACE]
        yield near


def geometries(system: FrameSet) -> NDArray[np.int64]:
    """Number of each frame's geometry, an Array with shape (F,): that of the first frame with the same one."""
    found = np.arange(system.frames)
    for frame, near in enumerate(twins(system)):
        if len(near):
            found[frame] = found[near[0]]
    return found


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
    said: list[str] = []
    for system in whole.systems:
        kept, texts, drops, fills, found = _once(whole, system)
        said += [text for text in texts if text and text not in said]
        remark = np.array([said.index(text) if text else NONE for text in texts], dtype=np.int64)
        systems.append(replace(kept, remark=remark))
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
    return replace(whole, systems=tuple(systems), remarks=tuple(said), history=(*whole.history, entry)).check("merge")


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


def _once(dataset: Dataset, system: FrameSet) -> tuple[FrameSet, list[str], int, int, list[Conflict]]:
    """Frames of one system without those that are there already, their remarks, and how many were dropped and completed."""
    labels = {name: values.copy() for name, values in system.labels.items()}
    keep = np.ones(system.frames, dtype=bool)
    said = [dataset.remarks[index] if index != NONE else "" for index in system.remark]
    completed: set[int] = set()
    conflicts: list[Conflict] = []
    for frame, near in enumerate(twins(system)):
        differences = []
        for twin in near[keep[near] & (system.method[near] == system.method[frame])]:
            differing = _differences(labels, twin, frame)
            if not differing:
                keep[frame] = False
                for values in labels.values():
                    gap = np.isnan(values[twin]) & np.isfinite(values[frame])
                    if gap.any():
                        values[twin] = np.where(gap, values[frame], values[twin])
                        completed.add(int(twin))
                said[twin] = _said_of_both(said[twin], said[frame], labels, twin)
                break
            differences += [(name, twin, size) for name, size in differing.items()]
        if keep[frame]:
            conflicts += [
                Conflict(name, dataset.origin(system, twin), dataset.origin(system, frame), size)
                for name, twin, size in differences
            ]
    kept = replace(system, labels=labels).take(keep)
    texts = [text for text, stays in zip(said, keep, strict=True) if stays]
    return kept, texts, int((~keep).sum()), len(completed), conflicts


def _said_of_both(one: str, other: str, labels: Labels, frame: int) -> str:
    """Remarks of two frames that become one, each once, without those of an absence that the other ended."""
    lines = []
    for line in dict.fromkeys([*one.split("; "), *other.split("; ")]):
        absent = _ABSENT.match(line)
        if absent is None:
            lines.append(line)
            continue
        still = [name for name in absent[1].split(", ") if name not in labels or not np.isfinite(labels[name][frame]).any()]
        if still:
            lines.append(f"{', '.join(still)} absent{absent[2]}")
    return "; ".join(line for line in lines if line)


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
