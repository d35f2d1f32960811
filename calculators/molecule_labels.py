"""Molecules of labelled frames: who belongs to whom in each frame, what each is, and labels of atoms summed over molecules."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.dataset import NONE, FrameSet, formula_of
from vibraloom.structures.molecules import membership

NEUTRAL_HYDROGENS = {7: 3, 8: 2, 9: 1, 16: 2, 17: 1, 35: 1, 53: 1}
"""Hydrogens of the neutral molecule with one such atom: each more is a charge of +1, each less of -1."""
DEPENDS_ON_MOLECULES = ("atomic_dipole", "atomic_polarizability", "molecular_dipole", "molecular_polarizability")


@dataclass(frozen=True)
class Molecule:
    """One molecule of one frame: its formula, formal charge (e; None where the formula does not tell it), and atoms."""

    formula: str
    charge: int | None
    atoms: tuple[int, ...]

    @property
    def name(self) -> str:
        """Formula with its charge, such as ``H3O+``."""
        if not self.charge:
            return self.formula
        size = "" if abs(self.charge) == 1 else str(abs(self.charge))
        return f"{self.formula}{size}{'+' if self.charge > 0 else '-'}"


def with_molecules(system: FrameSet) -> FrameSet:
    """The frames with the molecule of each atom, frame by frame, so that it follows a proton that hops.

    Raises:
        InputError: see :func:`vibraloom.structures.molecules.membership`.
    """
    if system.molecule is not None:
        return system
    if system.cell is None or (system.cell == system.cell[0]).all():
        cell = None if system.cell is None else system.cell[0]
        found = membership(system.positions, system.numbers, cell, system.pbc)
    else:
        frames = zip(system.positions, system.cell, strict=True)
        found = np.concatenate([membership(one[None], system.numbers, cell, system.pbc) for one, cell in frames])
    return replace(system, molecule=found)


def molecules_of(system: FrameSet, frame: int) -> list[Molecule]:
    """The molecules of a frame, in the order of their numbers.

    The charge is that of the label ``molecular_charge`` where it is there, else the formal one of :data:`NEUTRAL_HYDROGENS`.

    Raises:
        InputError: the frames have no membership.
    """
    if system.molecule is None:
        raise InputError("molecules: the dataset does not say which atom belongs to which; assign molecules first")
    member = system.molecule[frame]
    charges = system.labels.get("molecular_charge")
    found = []
    for index in range(int(member.max(initial=NONE)) + 1):
        atoms = np.flatnonzero(member == index)
        charge = formal_charge(system.numbers[atoms])
        if charges is not None and np.isfinite(charges[frame, index]):
            charge = round(float(charges[frame, index]))
        found.append(Molecule(_formula(system.numbers[atoms]), charge, tuple(int(atom) for atom in atoms)))
    return found


def formal_charge(numbers: NDArray[np.int64]) -> int | None:
    """Charge (e) of one heavy atom with its hydrogens (OH- has -1, H3O+ +1), or None for what is no such molecule."""
    heavy = [int(number) for number in numbers if number != 1]
    hydrogens = len(numbers) - len(heavy)
    if len(heavy) != 1 or heavy[0] not in NEUTRAL_HYDROGENS or hydrogens == 0:
        return None
    return hydrogens - NEUTRAL_HYDROGENS[heavy[0]]


def _formula(numbers: NDArray[np.int64]) -> str:
    """As chemists write the ion: OH, and Hill's order otherwise."""
    formula = formula_of(numbers)
    return "OH" if formula == "HO" else formula


def species(system: FrameSet) -> dict[str, dict[str, int]]:
    """Name of each kind of molecule → in how many frames it is, and the fewest and most in a frame.

    Raises:
        InputError: see :func:`with_molecules`.
    """
    known = with_molecules(system)
    assert known.molecule is not None
    charges = known.labels.get("molecular_charge")
    counted: dict[tuple[bytes, bytes], Counter[str]] = {}
    counts = []
    for frame in range(known.frames):
        # most frames have the molecules of the one before
        key = (known.molecule[frame].tobytes(), b"" if charges is None else np.rint(charges[frame]).tobytes())
        if key not in counted:
            counted[key] = Counter(molecule.name for molecule in molecules_of(known, frame))
        counts.append(counted[key])
    names = sorted({name for count in counts for name in count})
    return {
        name: {
            "frames": sum(name in count for count in counts),
            "fewest": min(count[name] for count in counts),
            "most": max(count[name] for count in counts),
        }
        for name in names
    }


def molecular_sums(values: NDArray[np.float64], molecule: NDArray[np.int64]) -> NDArray[np.float64]:
    """Labels of atoms summed over the molecules of each frame; atoms without a label count as none.

    Args:
        values: Array with shape (F, A, …), NaN where an atom carries no label.
        molecule: Array of int with shape (F, A), -1 for atoms of no molecule, whose labels are left out.

    Returns:
        Array with shape (F, M, …); NaN where no atom of the molecule carries a label, or there is no such molecule.
    """
    frames, atoms = molecule.shape
    flat = values.reshape(frames, atoms, -1)
    there = np.isfinite(flat).all(axis=2) & (molecule >= 0)
    count = int(molecule.max(initial=NONE)) + 1
    sums = np.zeros((frames, count, flat.shape[2]))
    labelled = np.zeros((frames, count), dtype=bool)
    frame, atom = np.nonzero(there)
    np.add.at(sums, (frame, molecule[frame, atom]), flat[frame, atom])
    labelled[frame, molecule[frame, atom]] = True
    sums[~labelled] = np.nan
    return sums.reshape(frames, count, *values.shape[2:])


def on_carriers(system: FrameSet, name: str) -> NDArray[np.float64]:
    """A molecular label as one of atoms: each molecule's on the atom that numbers it, its first that is not hydrogen.

    Args:
        system: frames with membership.
        name: ``molecular_dipole`` or ``molecular_polarizability``.

    Returns:
        Array with shape (F, A, …), NaN on all other atoms; its sum over the atoms is that over the molecules.

    Raises:
        InputError: the frames have no membership.
    """
    if system.molecule is None:
        raise InputError(f"{name}: the dataset does not say which atom belongs to which molecule; assign molecules first")
    values = system.labels[name]
    placed = np.full((system.frames, system.atoms, *values.shape[2:]), np.nan)
    # heavy atoms first: the one found first carries
    order = np.argsort(system.numbers == 1, kind="stable")
    for frame in range(system.frames):
        found, first = np.unique(system.molecule[frame][order], return_index=True)
        for index, place in zip(found, first, strict=True):
            if index >= 0:
                placed[frame, order[place]] = values[frame, index]
    return placed
