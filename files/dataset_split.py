"""One dataset into two, so that what is trained on does not leak into what tests it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.dataset import Dataset
from vibraloom.files.dataset_merge import geometries

By = Literal["frame", "block", "origin"]


def split(dataset: Dataset, *, fraction: float, by: By, seed: int, block: int = 20) -> tuple[Dataset, Dataset]:
    """Training and validation part; whole units go to one part or the other, drawn with ``seed`` until the fraction is reached.

    Units that share a geometry, as a frame with two values of a label or labelled by two methods, are one.

    Args:
        dataset: what is split.
        fraction: of the frames that the validation part gets, at least; above 0, below 1.
        by: ``frame``, each frame on its own; ``block``, up to ``block`` frames that follow each other in their source, so that
            neighbours in a trajectory stay together; ``origin``, whole sources.
        seed: of the draw.
        block: frames in a block.

    Raises:
        InputError: a fraction, seed or block outside what is allowed, or too few units for two parts.
    """
    if not 0 < fraction < 1:
        raise InputError(f"split: fraction is {fraction:g}; allowed: between 0 and 1, such as 0.1")
    if seed < 0 or block < 1:
        raise InputError(f"split: seed {seed}, block {block}; allowed: a seed of 0 or more, blocks of 1 or more frames")
    unit = _together(_units(dataset, by, block), dataset)
    count = int(unit.max()) + 1
    if count < 2:
        remedy = "--by frame or smaller blocks" if by != "frame" else "more frames"
        raise InputError(f"split: {dataset.frames} frames are {count} {by}; at least 2 are needed: take {remedy}")
    sizes = np.bincount(unit, minlength=count)
    drawn = np.random.default_rng(seed).permutation(count)
    # as many units as reach the fraction, but never all of them
    needed = int(np.searchsorted(np.cumsum(sizes[drawn]), fraction * dataset.frames - 1e-9)) + 1
    validation = np.isin(unit, drawn[: min(needed, count - 1)])
    record = {"operation": "split", "fraction": fraction, "by": by, "seed": seed, "units": count}
    if by == "block":
        record["block"] = block
    return _part(dataset, ~validation, record | {"part": "train"}), _part(dataset, validation, record | {"part": "validation"})


def _units(dataset: Dataset, by: By, block: int) -> NDArray[np.int64]:
    """Unit of each frame, in the order of the systems."""
    source = np.concatenate([system.source for system in dataset.systems])
    if by == "frame":
        return np.arange(len(source))
    if by == "origin":
        return np.unique(source, return_inverse=True)[1].astype(np.int64)
    place = np.concatenate([system.source_frame for system in dataset.systems])
    unit = np.empty(len(source), dtype=np.int64)
    used = 0
    for each in np.unique(source):
        members = np.flatnonzero(source == each)
        # frames of other systems of the same source lie between: neighbours by their place in the source
        ordered = members[np.argsort(place[members], kind="stable")]
        unit[ordered] = used + np.arange(len(ordered)) // block
        used = int(unit[ordered].max()) + 1
    return unit


def _together(unit: NDArray[np.int64], dataset: Dataset) -> NDArray[np.int64]:
    """Units in which those that share a geometry are one, numbered from 0."""
    geometry = np.empty(len(unit), dtype=np.int64)
    start = 0
    for system in dataset.systems:
        geometry[start : start + system.frames] = start + geometries(system)
        start += system.frames
    while True:
        joined = _lowest(unit, geometry)
        joined = _lowest(joined, unit)
        if (joined == unit).all():
            return np.unique(unit, return_inverse=True)[1].astype(np.int64)
        unit = joined


def _lowest(values: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lowest value in each element's group."""
    lowest = np.full(int(group.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, group, values)
    return np.asarray(lowest[group])


def _part(dataset: Dataset, chosen: NDArray[np.bool_], record: dict[str, Any]) -> Dataset:
    systems, start = [], 0
    for system in dataset.systems:
        part = chosen[start : start + system.frames]
        start += system.frames
        if part.any():
            systems.append(system.take(part))
    entry = record | {"frames": int(chosen.sum())}
    return replace(dataset, systems=tuple(systems), history=(*dataset.history, entry)).check("split")
