"""Atom types, bonds and angles of a classical LAMMPS run, from plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.lammps.models import ClassicalModel, LennardJones, assign_models, species_of
from vibraloom.errors import InputError

STRETCH_LIMIT = 1.6
"""A bond longer than this times its r0 means that the molecule ids do not fit the positions."""


@dataclass(frozen=True)
class AtomType:
    """One LAMMPS atom type: a species of one model with one mass (amu)."""

    species: str
    mass: float
    charge: float
    lj: LennardJones
    frozen: bool


@dataclass(frozen=True)
class Topology:
    """What the data file and the force-field lines are made of.

    Attributes:
        types: the atom types; LAMMPS counts them from 1.
        type_of: Array of int with shape (A,), index into ``types``.
        charges: (e) Array with shape (A,).
        masses: (amu) Array with shape (A,).
        positions: (Å) Array with shape (A, 3), each molecule whole.
        molecules: Array of int with shape (A,), LAMMPS molecule ids: 0 for the slab, then 1, 2, …
        bonds: Array of int with shape (B, 3): index into ``model.bonds``, two atoms.
        angles: Array of int with shape (C, 4): index into ``model.angles``, three atoms, the middle one
            second.
        frozen: Array of bool with shape (A,), atoms that never move.
    """

    types: tuple[AtomType, ...]
    type_of: NDArray[np.int64]
    charges: NDArray[np.float64]
    masses: NDArray[np.float64]
    positions: NDArray[np.float64]
    molecules: NDArray[np.int64]
    bonds: NDArray[np.int64]
    angles: NDArray[np.int64]
    frozen: NDArray[np.bool_]


def build_topology(
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    lengths: NDArray[np.floating],
    pbc: tuple[bool, bool, bool],
    molecules: NDArray[np.integer],
    liquid: ClassicalModel,
    metal: ClassicalModel,
    masses: NDArray[np.floating] | None = None,
) -> Topology:
    """Find types, bonds and angles, and make each molecule whole.

    Args:
        numbers: Array of int with shape (A,), atomic numbers.
        positions: (Å) Array with shape (A, 3), folded into the cell or not.
        lengths: (Å) Array with shape (3,), box lengths; used along periodic directions only.
        pbc: periodic along x, y, z.
        molecules: Array of int with shape (A,), molecule ids, -1 for the slab.
        liquid, metal: the models of molecules and slab.
        masses: (amu) Array with shape (A,), or None for the models' own.

    Raises:
        InputError: a species that its model does not know, a molecule of another composition, or a stretched
        bond.
    """
    species = species_of(numbers)
    models = assign_models(numbers, molecules, liquid, metal)
    mass = (
        np.array([m.masses[s] for m, s in zip(models, species, strict=True)])
        if masses is None
        else np.asarray(masses, float)
    )
    if mass.shape != (len(species),) or not np.all(mass > 0):
        raise InputError(f"masses: {mass.shape} values; allowed: {len(species)} positive numbers in amu")
    types: dict[tuple[str, float, bool], AtomType] = {}
    index = []
    for symbol, model, weight in zip(species, models, mass, strict=True):
        key = (symbol, round(float(weight), 6), model is metal)
        types.setdefault(key, AtomType(symbol, key[1], model.charges[symbol], model.lj[symbol], key[2]))
        index.append(list(types).index(key))
    whole = np.array(positions, dtype=np.float64)
    ids = np.zeros(len(species), dtype=np.int64)
    bonds: list[tuple[int, int, int]] = []
    angles: list[tuple[int, int, int, int]] = []
    period = np.where(pbc, lengths, np.inf)
    for number, members in enumerate(_members(molecules), start=1):
        ids[members] = number
        label = int(molecules[members[0]])
        _check_composition([species[atom] for atom in members], label, liquid)
        shift = whole[members] - whole[members[0]]
        whole[members] -= np.where(np.isfinite(period), np.round(shift / period) * np.where(pbc, lengths, 0.0), 0.0)
        found = _bonds_within(members, species, liquid)
        _check_lengths(found, whole, label, liquid)
        bonds += found
        angles += _angles_within(members, species, liquid)
    chosen = tuple(types.values())
    type_of = np.array(index, dtype=np.int64)
    return Topology(
        types=chosen,
        type_of=type_of,
        charges=np.array([chosen[i].charge for i in type_of]),
        masses=mass,
        positions=whole,
        molecules=ids,
        bonds=np.array(bonds, dtype=np.int64).reshape(-1, 3),
        angles=np.array(angles, dtype=np.int64).reshape(-1, 4),
        frozen=np.asarray(molecules) < 0,
    )


def _members(molecules: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    order = np.argsort(molecules, kind="stable")
    order = order[np.asarray(molecules)[order] >= 0]
    if order.size == 0:
        return []
    cuts = np.flatnonzero(np.diff(np.asarray(molecules)[order])) + 1
    return list(np.split(order, cuts))


def _check_composition(species: list[str], label: int, model: ClassicalModel) -> None:
    counts = {symbol: species.count(symbol) for symbol in species}
    if counts != model.composition:
        found = "".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))
        raise InputError(
            f"molecule {label}: {found}, but model {model.name} is for {model.formula}; choose another model or liquid"
        )


def _bonds_within(members: NDArray[np.int64], species: list[str], model: ClassicalModel) -> list[tuple[int, int, int]]:
    # Every pair of the bond's species inside a molecule is bonded: true for the small molecules of these
    # models.
    return [
        (kind, int(a), int(b))
        for a, b in combinations(members, 2)
        for kind, bond in enumerate(model.bonds)
        if sorted((species[a], species[b])) == sorted(bond.atoms)
    ]


def _angles_within(
    members: NDArray[np.int64], species: list[str], model: ClassicalModel
) -> list[tuple[int, int, int, int]]:
    return [
        (kind, int(a), int(centre), int(b))
        for kind, angle in enumerate(model.angles)
        for centre in members
        if species[centre] == angle.atoms[1]
        for a, b in combinations([atom for atom in members if atom != centre], 2)
        if sorted((species[a], species[b])) == sorted((angle.atoms[0], angle.atoms[2]))
    ]


def _check_lengths(
    bonds: list[tuple[int, int, int]], positions: NDArray[np.float64], label: int, model: ClassicalModel
) -> None:
    for kind, a, b in bonds:
        distance = float(np.linalg.norm(positions[a] - positions[b]))
        bond = model.bonds[kind]
        if not distance < STRETCH_LIMIT * bond.r0:
            raise InputError(
                f"molecule {label}: atoms {a} and {b} are {distance:.2f} Å apart, a "
                f"{bond.atoms[0]}–{bond.atoms[1]} bond has "
                f"{bond.r0:.2f}; check the structure's molecule ids"
            )
