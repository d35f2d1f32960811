"""Which atoms are bonded, by their covalent radii."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def natural_bonds(
    symbols: Sequence[str], positions: NDArray[Any], cell: NDArray[Any] | None
) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Pairs of atoms closer than 1.1 times the sum of their covalent radii, each once, with the cell of the second.

    Args:
        symbols: element of each of A atoms.
        positions: (Å) Array with shape (A, 3).
        cell: (Å) Array with shape (3, 3), or None.
    """
    from ase import Atoms
    from ase.neighborlist import natural_cutoffs, neighbor_list

    atoms = Atoms(list(symbols), positions=positions, cell=cell, pbc=cell is not None)
    first, second, shift = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=1.1))
    pairs = zip(first.tolist(), second.tolist(), shift.tolist(), strict=True)
    return [(i, j, (s[0], s[1], s[2])) for i, j, s in pairs if i < j or (i == j and s > [0, 0, 0])]
