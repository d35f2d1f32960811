"""Distances between what is not bonded: molecules, their images, and the slab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import ComputationError

if TYPE_CHECKING:
    from ase import Atoms


def contacts(atoms: Atoms, reach: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of atoms of different molecules, of a molecule and the slab, or of a molecule and its own image.

    Molecules must be whole (not folded). Each pair is given once.

    Args:
        atoms: with the array ``molecule``, -1 on the slab.
        reach: (Å) largest distance looked at.

    Returns:
        First and second atom, Arrays of int with shape (P,), and their distance, (Å) Array with shape (P,).
    """
    from ase.neighborlist import neighbor_list

    first, second, distance, image = neighbor_list("ijdS", atoms, float(reach))
    member = atoms.arrays["molecule"]
    own_image = image.any(axis=1) & (member[first] >= 0)
    keep = (first <= second) & ((member[first] != member[second]) | own_image)
    return first[keep], second[keep], distance[keep]


def smallest_distances(atoms: Atoms, reach: float = 4.0) -> dict[str, float]:
    """Smallest distance (Å) by pair of species among :func:`contacts`; no entry beyond ``reach``."""
    symbols = np.array(atoms.get_chemical_symbols())
    found: dict[str, float] = {}
    for one, two, distance in zip(*contacts(atoms, reach), strict=True):
        pair = "-".join(sorted((str(symbols[one]), str(symbols[two]))))
        found[pair] = min(found.get(pair, np.inf), float(distance))
    return dict(sorted(found.items()))


def refuse_overlap(atoms: Atoms, smallest: float) -> None:
    """Check that no distance of :func:`contacts` is below ``smallest`` (Å).

    Raises:
        ComputationError: two atoms are closer; the message names the pair and its distance.
    """
    first, second, distance = contacts(atoms, smallest)
    if len(distance) == 0:
        return
    worst = int(np.argmin(distance))
    one, two = (f"{atoms[int(index)].symbol} (atom {int(index)})" for index in (first[worst], second[worst]))
    raise ComputationError(
        f"structure: {one} and {two} are {distance[worst]:.2f} Å apart; allowed: {smallest:.2f} Å or more; "
        "try another seed, a lower density or a larger slab"
    )
