"""Whether the dipoles of a dataset follow one sign convention.

A dipole points from the negative to the positive charge: in water from the oxygen to the hydrogens. Labels that were written the
other way round have the same size and spread; a surface learned from both is wrong, and nothing else tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.molecule_labels import molecules_of, with_molecules
from vibraloom.errors import InputError
from vibraloom.files.dataset import Dataset, FrameSet

LOOKED_AT = 20
"""Frames of a source that are looked at, spread over it."""
CLEAR = 0.5
"""Mean cosine from which the sense is taken as known; that of water is above 0.95."""
_LABELS = ("dipole", "molecular_dipole", "atomic_dipole")


def dipole_sense(dataset: Dataset) -> dict[int, float]:
    """Source → mean cosine between its dipoles and the direction from the heavy atoms to their hydrogens.

    Sources without dipoles, without X–H bonds of N, O, S or halogens, with ions alone, or whose atoms cannot be told into
    molecules are left out.
    """
    cosines: dict[int, list[float]] = {}
    for system in dataset.systems:
        for name in _LABELS:
            if name not in system.labels:
                continue
            for source in np.unique(system.source):
                frames = np.flatnonzero((system.source == source) & system.present(name))
                if len(frames):
                    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, LOOKED_AT).astype(int))]
                    cosines.setdefault(int(source), []).extend(_cosines(system.take(chosen), name))
    return {source: float(np.mean(found)) for source, found in cosines.items() if found}


def check_dipole_sense(dataset: Dataset) -> Dataset:
    """This dataset, if no two of its sources have dipoles of clearly opposite sign.

    Raises:
        InputError: naming the two sources.
    """
    sense = dipole_sense(dataset)
    if sense:
        low, high = min(sense, key=sense.__getitem__), max(sense, key=sense.__getitem__)
        if sense[low] < -CLEAR and sense[high] > CLEAR:
            names = [dataset.sources[index].get("path") or dataset.sources[index].get("uuid") for index in (low, high)]
            raise InputError(
                f"{names[0]}: dipoles point from hydrogens to heavy atoms (mean cosine {sense[low]:.2f}), those of {names[1]} the"
                f" other way ({sense[high]:.2f}): mixed sign conventions; turn the sign of one"
            )
    return dataset


def _cosines(system: FrameSet, name: str) -> list[float]:
    try:
        known = with_molecules(system)
    except InputError:
        return []  # no molecules in it: a cell narrower than two bonds
    found = []
    for frame in range(known.frames):
        molecules = [molecule for molecule in molecules_of(known, frame) if molecule.charge is not None]
        # the dipole of an ion depends on the origin
        if not molecules or any(molecule.charge for molecule in molecules):
            continue
        cell = None if known.cell is None else known.cell[frame]
        direction = sum((_direction(known, frame, molecule.atoms, cell) for molecule in molecules), np.zeros(3))
        values = known.labels[name][frame].reshape(-1, 3)
        dipole = values[np.isfinite(values).all(axis=1)].sum(axis=0)
        length = float(np.linalg.norm(dipole) * np.linalg.norm(direction))
        if length > 0:
            found.append(float(dipole @ direction) / length)
    return found


def _direction(
    system: FrameSet, frame: int, atoms: tuple[int, ...], cell: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Sum of the vectors (Å) from the heavy atom of a molecule to its hydrogens."""
    heavy = next(atom for atom in atoms if system.numbers[atom] != 1)
    vectors = system.positions[frame, list(atoms)] - system.positions[frame, heavy]
    if cell is not None:
        turns = np.rint(vectors @ np.linalg.inv(cell)) * np.array(system.pbc)
        vectors = vectors - turns @ cell
    return np.asarray(vectors.sum(axis=0))
