"""What moves in a normal mode: species, and stretches, bends, librations and translations of molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.spectra.harmonic import (
    HarmonicDerivatives,
    NormalModes,
    infrared_intensities,
    oscillator_strengths,
    raman_activities,
    rigid_motions,
)

Array = NDArray[np.float64]

MOTIONS = ("stretch", "bend", "other", "libration", "translation")
"""Kinds of motion; ``other`` is what bonds and angles leave: torsions and out-of-plane motions."""

_STRAIGHT = 0.1  # sine of an angle below which its derivative is replaced by two linear bends
_SMALLEST = 1e-6  # singular value, relative to the largest, below which a direction is none


def species_fractions(modes: NormalModes, symbols: Sequence[str]) -> dict[str, Array]:
    """Share of each species in the kinetic energy of the modes: |e_m|² summed over its atoms.

    Args:
        modes: M modes of A atoms.
        symbols: element of each atom.

    Returns:
        symbol -> Array with shape (M,); they sum to 1.
    """
    per_atom = np.square(modes.eigenvectors).sum(axis=2)
    names = np.array([str(symbol) for symbol in symbols])
    return {name: per_atom[:, names == name].sum(axis=1) for name in dict.fromkeys(names.tolist())}


def motion_fractions(modes: NormalModes, derivatives: HarmonicDerivatives) -> dict[str, Array]:
    """Share of each kind of motion in the kinetic energy of the modes, by orthogonal projection.

    In mass-weighted coordinates the rows of Wilson's B matrix (E. B. Wilson, J. C. Decius, P. C. Cross, Molecular
    Vibrations (1955)) over sqrt(m) span the stretches; those of the angles, made orthogonal to the stretches, span the
    bends. Translation and rotation of each molecule, its bonded atoms, are orthogonal to both; the rest is ``other``.
    A network of bonds without end has no libration.

    Args:
        modes: M modes of A atoms.
        derivatives: positions, masses, cell and bonds of the same atoms.

    Returns:
        name of :data:`MOTIONS` -> Array with shape (M,); they sum to 1.
    """
    frame = _Frame.of(derivatives)
    vectors = modes.eigenvectors.reshape(len(modes.wavenumber), -1)
    stretch = _span(frame.stretches)
    bend = _span(frame.bends - frame.bends @ stretch.T @ stretch, np.linalg.norm(frame.bends, axis=1).max(initial=0.0))
    translation, rotation = _rigid_spaces(derivatives, frame.molecules)
    spaces = {"stretch": stretch, "bend": bend, "libration": rotation, "translation": translation}
    shares = {name: np.square(vectors @ space.T).sum(axis=1) for name, space in spaces.items()}
    shares["other"] = np.clip(1 - sum(shares.values()), 0.0, 1.0)
    return {name: shares[name] for name in MOTIONS}


def mode_table(derivatives: HarmonicDerivatives) -> list[dict[str, Any]]:
    """One row per mode, by ascending wavenumber, imaginary ones as negative numbers first; plain JSON types.

    Keys: ``mode`` (from 1), ``wavenumber`` (cm⁻¹), ``imaginary``, ``assignment``, ``motion`` and ``species`` (name ->
    fraction); where the derivatives are known ``infrared_intensity`` (km/mol), ``oscillator_strength`` (e²/amu, xx yy
    zz), ``raman_activity`` (Å⁴/amu), ``depolarisation_ratio``.

    Raises:
        InputError: a Hessian or derivatives that cannot be used.
    """
    modes = derivatives.modes()
    motion = motion_fractions(modes, derivatives)
    species = species_fractions(modes, derivatives.symbols)
    names = _names(modes, derivatives, motion)
    columns: dict[str, Any] = {}
    if derivatives.dipole_derivatives is not None:
        strengths = oscillator_strengths(derivatives.dipole_derivatives, modes)
        columns["infrared_intensity"] = infrared_intensities(derivatives.dipole_derivatives, modes)
        columns["oscillator_strength"] = np.diagonal(strengths, axis1=1, axis2=2)
    if derivatives.polarizability_derivatives is not None:
        activity, ratio = raman_activities(derivatives.polarizability_derivatives, modes)
        columns |= {"raman_activity": activity, "depolarisation_ratio": ratio}
    return [
        {
            "mode": number + 1,
            "wavenumber": float(wavenumber),
            "imaginary": bool(wavenumber < 0),
            "assignment": names[number],
            "motion": {name: float(values[number]) for name, values in motion.items()},
            "species": {name: float(values[number]) for name, values in species.items()},
            **{name: values[number].tolist() for name, values in columns.items()},
        }
        for number, wavenumber in enumerate(modes.wavenumber)
    ]


@dataclass(frozen=True)
class _Frame:
    """Rows of the B matrix over sqrt(m), their names, and molecules as atoms with unwrapped positions."""

    stretches: Array
    stretch_names: list[str]
    bends: Array
    bend_names: list[str]
    molecules: list[tuple[list[int], Array | None]]

    @classmethod
    def of(cls, derivatives: HarmonicDerivatives) -> _Frame:
        positions = np.asarray(derivatives.positions, dtype=np.float64)
        cell = np.zeros((3, 3)) if derivatives.cell is None else np.asarray(derivatives.cell)
        symbols = [str(symbol) for symbol in derivatives.symbols]
        root = np.sqrt(np.asarray(derivatives.masses, dtype=np.float64))
        neighbours: list[list[tuple[int, Array]]] = [[] for _ in symbols]
        rows: list[Array] = []
        names: list[str] = []
        for i, j, shift in derivatives.bonds:
            vector = positions[j] + np.array(shift) @ cell - positions[i]
            neighbours[i].append((j, vector))
            neighbours[j].append((i, -vector))
            unit = vector / np.linalg.norm(vector)
            rows.append(_row(root, (i, -unit), (j, unit)))
            # O-H, not H-O
            names.append("-".join(sorted((symbols[i], symbols[j]), key=lambda symbol: (symbol == "H", symbol))))
        bends: list[Array] = []
        bend_names: list[str] = []
        for centre, around in enumerate(neighbours):
            for first in range(len(around)):
                for second in range(first):
                    found = _bends(root, centre, around[first], around[second])
                    ends = sorted(symbols[around[each][0]] for each in (first, second))
                    bends += found
                    bend_names += [f"{ends[0]}-{symbols[centre]}-{ends[1]}"] * len(found)
        size = 3 * len(symbols)
        return cls(
            np.array(rows).reshape(-1, size), names, np.array(bends).reshape(-1, size), bend_names,
            _molecules(positions, neighbours),
        )


def _row(root: Array, *terms: tuple[int, Array]) -> Array:
    row = np.zeros((len(root), 3))
    for atom, gradient in terms:
        row[atom] += gradient / root[atom]
    return row.ravel()


def _bends(root: Array, centre: int, first: tuple[int, Array], second: tuple[int, Array]) -> list[Array]:
    """The derivative of an angle; of a straight one, its two linear bends."""
    (i, v), (k, w) = first, second
    near, far = float(np.linalg.norm(v)), float(np.linalg.norm(w))
    u, t = v / near, w / far
    cosine, sine = float(u @ t), float(np.linalg.norm(np.cross(u, t)))
    if sine > _STRAIGHT:
        left, right = (cosine * u - t) / (near * sine), (cosine * t - u) / (far * sine)
        return [_row(root, (i, left), (k, right), (centre, -left - right))]
    if cosine > 0:
        return []  # two images in one direction: no angle
    across = np.linalg.svd(u[None])[2][1:]
    return [_row(root, (i, p / near), (k, p / far), (centre, -p / near - p / far)) for p in across]


def _molecules(positions: Array, neighbours: list[list[tuple[int, Array]]]) -> list[tuple[list[int], Array | None]]:
    """Bonded atoms and where they are when followed along bonds; None in place of that for an endless network."""
    place: dict[int, Array] = {}
    found: list[tuple[list[int], Array | None]] = []
    for start in range(len(positions)):
        if start in place:
            continue
        place[start] = positions[start]
        members, endless = [start], False
        for atom in members:  # grows as it is walked through
            for other, vector in neighbours[atom]:
                there = place[atom] + vector
                if other not in place:
                    place[other] = there
                    members.append(other)
                elif np.abs(place[other] - there).max() > 1e-3:
                    endless = True
        found.append((members, None if endless else np.array([place[atom] for atom in members])))
    return found


def _rigid_spaces(
    derivatives: HarmonicDerivatives, molecules: list[tuple[list[int], Array | None]]
) -> tuple[Array, Array]:
    """Orthonormal rows of the molecules' translations, and of their rotations."""
    mass = np.asarray(derivatives.masses, dtype=np.float64)
    spaces: tuple[list[Array], list[Array]] = ([], [])
    for members, places in molecules:
        inside = mass[members]
        shift = rigid_motions(inside, None, periodic=True)
        turn = np.empty((3 * len(members), 0))
        if places is not None and len(members) > 1:
            both = rigid_motions(inside, places, periodic=False)
            turn = _span((both - shift @ (shift.T @ both)).T, 1.0).T
        for rows, columns in zip(spaces, (shift, turn), strict=True):
            full = np.zeros((columns.shape[1], len(mass), 3))
            full[:, members] = columns.T.reshape(-1, len(members), 3)
            rows += list(full.reshape(len(full), 3 * len(mass)))
    size = 3 * len(mass)
    return np.array(spaces[0]).reshape(-1, size), np.array(spaces[1]).reshape(-1, size)


def _span(rows: Array, scale: float | None = None) -> Array:
    """Orthonormal rows that span ``rows``; ``scale``: size of what was given before a projection."""
    if not len(rows):
        return rows
    _, singular, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[singular > _SMALLEST * (singular[0] if scale is None else scale)]


def _names(modes: NormalModes, derivatives: HarmonicDerivatives, motion: dict[str, Array]) -> list[str]:
    """The kind with the largest share; a stretch or bend with the bond or angle that changes most."""
    frame = _Frame.of(derivatives)
    vectors = modes.eigenvectors.reshape(len(modes.wavenumber), -1)
    names = []
    for number, vector in enumerate(vectors):
        kind = max(motion, key=lambda name: motion[name][number])
        if kind in ("stretch", "bend"):
            rows, labels = (
                (frame.stretches, frame.stretch_names) if kind == "stretch" else (frame.bends, frame.bend_names)
            )
            change = np.square(rows @ vector)
            amounts = {label: float(change[[each == label for each in labels]].sum()) for label in dict.fromkeys(labels)}
            kind = f"{max(amounts, key=lambda label: amounts[label])} {kind}"
        names.append("torsion or out-of-plane" if kind == "other" and derivatives.bonds else kind)
    return names
