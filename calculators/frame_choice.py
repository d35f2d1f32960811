"""Which frames of an exploration are worth a label: those a committee disagrees on, as different from each other as can be.

Frames are compared by their distances: for each pair of elements a smeared count of the distances up to a cutoff, which is the
same whatever the order of equal atoms and wherever the cell's origin lies. Farthest-point sampling then takes, one by one, the
frame that is farthest from all that are taken or labelled (Gonzalez, Theor. Comput. Sci. 38, 293 (1985)).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CUTOFF = 5.0
"""(Å) Distances up to here tell frames apart."""
BIN = 0.1
"""(Å)"""
SMEARING = 2.0
"""Bins: standard deviation of the Gaussian over which a distance is counted."""


@dataclass(frozen=True)
class Choice:
    """Chosen frames, and how many there were of each kind.

    Attributes:
        chosen: Array of int, indices into the candidates, in the order in which they were taken.
        calm: candidates below the window, whose labels would teach little.
        window: candidates in it.
        wild: candidates beyond it, which may be unphysical.
    """

    chosen: NDArray[np.int64]
    calm: int
    window: int
    wild: int


def fingerprints(positions: Array, numbers: NDArray[np.integer], cell: Array | None, pbc: tuple[bool, bool, bool]) -> Array:
    """Smeared counts of distances, (F, D), for each pair of elements, per atom.

    Args:
        positions: (Å) Array with shape (F, A, 3).
        numbers: Array of int with shape (A,), atomic numbers.
        cell: (Å) rows are lattice vectors, (3, 3) or (F, 3, 3); None where nothing is periodic. Minimum images are taken, so that
            cells narrower than twice the cutoff count each pair once.
        pbc: periodic along each lattice vector.
    """
    frames, atoms = positions.shape[:2]
    edges = np.arange(0.0, CUTOFF + BIN / 2, BIN)
    centres = 0.5 * (edges[1:] + edges[:-1])
    kernel = np.exp(-0.5 * ((centres[:, None] - centres) / (SMEARING * BIN)) ** 2)
    first, second = np.triu_indices(atoms, 1)
    elements = [int(number) for number in np.unique(numbers)]
    pairs = list(combinations_with_replacement(elements, 2))
    of_pair = np.array([pairs.index((min(a, b), max(a, b))) for a, b in zip(numbers[first], numbers[second], strict=True)])
    cells = None if cell is None else np.broadcast_to(cell, (frames, 3, 3))
    found = np.empty((frames, len(pairs) * len(centres)))
    for frame in range(frames):
        vectors = positions[frame, second] - positions[frame, first]
        if cells is not None:
            turns = np.rint(vectors @ np.linalg.inv(cells[frame])) * np.array(pbc)
            vectors = vectors - turns @ cells[frame]
        distance = np.linalg.norm(vectors, axis=1)
        counts = np.stack([np.histogram(distance[of_pair == index], bins=edges)[0] for index in range(len(pairs))])
        found[frame] = (counts @ kernel).ravel() / atoms
    return found


def farthest(candidates: Array, count: int, taken: Array | None = None) -> NDArray[np.int64]:
    """Indices of up to ``count`` candidates (F, D), each the farthest from ``taken`` (T, D) and from those before it."""
    if count < 1 or len(candidates) == 0:
        return np.empty(0, dtype=np.int64)
    if taken is None or len(taken) == 0:
        away = np.linalg.norm(candidates - candidates.mean(axis=0), axis=1)
    else:
        away = np.full(len(candidates), np.inf)
        for row in taken:
            away = np.minimum(away, np.linalg.norm(candidates - row, axis=1))
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        index = int(np.argmax(away))
        if chosen and away[index] <= 0:
            break  # the rest are copies
        chosen.append(index)
        away = np.minimum(away, np.linalg.norm(candidates - candidates[index], axis=1))
    return np.array(chosen, dtype=np.int64)


def choose(
    candidates: Array,
    count: int,
    *,
    deviation: NDArray[np.floating] | None = None,
    window: tuple[float, float] = (0.0, np.inf),
    taken: Array | None = None,
) -> Choice:
    """Choose up to ``count`` frames within the window.

    Args:
        candidates: fingerprints, Array with shape (F, D).
        count: how many at most.
        deviation: (eV/Å) Array with shape (F,), largest disagreement of a committee; None: every frame is in the window. NaN
            counts as beyond it.
        window: (eV/Å) lowest and highest deviation of a frame that is taken.
        taken: fingerprints of frames that are labelled already.
    """
    if deviation is None:
        inside = np.ones(len(candidates), dtype=bool)
        calm = np.zeros(len(candidates), dtype=bool)
    else:
        calm = np.asarray(deviation < window[0])
        inside = np.asarray((deviation >= window[0]) & (deviation <= window[1]))
    where = np.flatnonzero(inside)
    chosen = where[farthest(candidates[where], count, taken)]
    return Choice(chosen, int(calm.sum()), int(inside.sum()), int((~calm & ~inside).sum()))
