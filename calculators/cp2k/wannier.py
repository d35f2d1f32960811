"""Wannier centres to molecular dipoles.

Each centre of a spin-paired calculation carries two electrons; a molecule's dipole is the sum of its ions' valence charges and
of its centres, each at the image nearest to its own atom (Silvestrelli and Parrinello, Phys. Rev. Lett. 82, 3308 (1999)).
Source of the format: src/qs_loc_utils.F, print_wannier_centers (title ``Particles+Wannier centers. Iteration:1_10``, the step
last; centres are named X; all positions folded into the cell).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.structures.molecules import assign_molecules

Array = NDArray[np.float64]

FARTHEST_CENTRE = 1.2
"""(Å) A centre farther than this from every atom belongs to no molecule: bond centres lie within 0.8, lone pairs within 0.4."""
ELECTRONS_PER_CENTRE = 2

_STEP = re.compile(rb"Iteration: *(?:\d+_)*(\d+)")
_NUMBERS = 60
"""Bytes of three numbers in a row: 3F20.10."""


@dataclass(frozen=True)
class WannierFrames:
    """Ions and centres per printed step.

    Attributes:
        step: Array of int with shape (F,).
        ions: (Å) Array with shape (F, A, 3), folded.
        centres: (Å) Array with shape (F, W, 3), folded.
    """

    step: NDArray[np.int64]
    ions: Array
    centres: Array


@dataclass(frozen=True)
class MolecularDipoles:
    """One frame's molecules.

    Attributes:
        molecule: Array of int with shape (A,): molecule of each atom, -1 for metals.
        owner: Array of int with shape (W,): molecule of each centre, -1 for those at metals.
        dipole: (e·Å) Array with shape (M, 3); of a charged molecule, about its heaviest atom.
        charge: (e) Array with shape (M,).
        nearest: (Å) Array with shape (W,): distance of each centre from its atom.
    """

    molecule: NDArray[np.int64]
    owner: NDArray[np.int64]
    dipole: Array
    charge: Array
    nearest: Array


def read_wannier(path: Path) -> WannierFrames | None:
    """Whole frames of a file of Wannier centres with ions; None where there is none.

    Raises:
        InputError: damaged, without ions or centres, or of changing size.
    """
    if not path.is_file():
        return None
    text = path.read_bytes()
    steps: list[int] = []
    frames: list[Array] = []
    names: list[bytes] = []
    at = 0
    while at < len(text):
        title = text.find(b"\n", at) + 1
        rows = text.find(b"\n", title) + 1 if title else 0
        first = text.find(b"\n", rows) if rows else -1
        if first < 0:
            break
        count = _count(path, len(frames), text[at : title - 1])
        width = first + 1 - rows
        end = rows + count * width
        if end > len(text):
            break
        names, values = _rows(path, len(frames), text[rows:end], count, width)
        if frames and values.shape != frames[0].shape:
            raise InputError(f"{path}: frame {len(frames)} has {count} rows, frame 0 {len(frames[0])}; keep one run per file")
        matched = _STEP.search(text[title:rows])
        steps.append(int(matched[1]) if matched else len(frames))
        frames.append(values)
        at = end
    if not frames:
        return None
    centre = np.array([name == b"X" for name in names])
    if centre.all() or not centre.any():
        raise InputError(f"{path}: holds no {'ions' if centre.all() else 'centres X'}; print it with IONS+CENTERS")
    everything = np.stack(frames)
    return WannierFrames(np.array(steps, dtype=np.int64), everything[:, ~centre], everything[:, centre])


def _count(path: Path, frame: int, line: bytes) -> int:
    word = line.strip()
    if not word.isdigit() or not 0 < len(word) < 10:
        raise InputError(f"{path}: frame {frame} begins with {word[:40]!r}, not with its number of rows; damaged")
    return int(word)


def _rows(path: Path, frame: int, body: bytes, count: int, width: int) -> tuple[list[bytes], Array]:
    """Names and numbers of rows that all have the same bytes: nothing is searched."""
    table = np.frombuffer(body, dtype=f"S{width}")
    letters = np.frombuffer(body, dtype=np.uint8).reshape(count, width)
    if width <= _NUMBERS + 1 or not (letters[:, -1] == 10).all():
        raise InputError(f"{path}: frame {frame}: rows of unequal length; damaged, or not printed by CP2K")
    start = width - 1 - _NUMBERS
    cells = np.ascontiguousarray(letters[:, start:-1]).view("S20").reshape(count, 3)
    try:
        values = cells.astype(np.float64)
    except ValueError as error:
        reason = "a number did not fit its column" if b"**" in body else "no number"
        raise InputError(f"{path}: frame {frame}: {reason}; remove or recompute it") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path}: frame {frame}: a position is not finite; recompute it")
    return [row[:start].strip() for row in table.tolist()], values


def valence_charges(path: Path, symbols: Sequence[str]) -> Array:
    """(e) Valence charge of each atom, from the names of the pseudopotentials (``GTH-PBE-q6``) in a CP2K input.

    Returns:
        Array with shape (A,).

    Raises:
        InputError: an element without a section KIND, or a potential whose name does not end in its charge.
    """
    charges: dict[str, float] = {}
    kinds: dict[str, str] = {}
    kind = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0].upper() == "&KIND" and len(words) > 1:
            kind = words[1]
            kinds[kind] = kind
        elif words[0].upper() in ("&END", "&POTENTIAL"):
            kind = kind if words[1:2] != ["KIND"] else ""
        elif kind and words[0].upper() == "ELEMENT" and len(words) > 1:
            kinds[kind] = words[1]
        elif kind and words[0].upper() == "POTENTIAL":
            ending = re.search(r"-q(\d+)$", words[-1], re.IGNORECASE)
            if ending:
                charges[kind] = float(ending[1])
    by_element = {kinds[kind]: charge for kind, charge in charges.items()}
    missing = [symbol for symbol in symbols if symbol not in by_element]
    if missing:
        raise InputError(
            f"{path}: no POTENTIAL with its valence charge (such as GTH-PBE-q6) for {missing[0]}; "
            "molecular dipoles need one in its section KIND"
        )
    return np.array([by_element[symbol] for symbol in symbols])


def molecular_dipoles(
    ions: Array,
    numbers: NDArray[np.int64],
    valence: Array,
    centres: Array,
    cell: Array | None,
    *,
    charge: float = 0.0,
    molecule: NDArray[np.int64] | None = None,
) -> MolecularDipoles:
    """Dipole of each molecule from its ions and Wannier centres, under the minimum image.

    Args:
        ions: (Å) Array with shape (A, 3).
        numbers: Array of int with shape (A,), atomic numbers.
        valence: (e) Array with shape (A,), as from :func:`valence_charges`.
        centres: (Å) Array with shape (W, 3).
        cell: (Å) Array with shape (3, 3), rows are lattice vectors; also that of the box of a free molecule, for CP2K folds
            centres into it all the same. None: nothing is folded.
        charge: (e) of the whole cell.
        molecule: Array of int with shape (A,), membership that is known already; by default from distances.

    Raises:
        InputError: electrons and centres that do not match, or a centre that is near no atom.
    """
    electrons = float(valence.sum()) - charge
    if len(ions) != len(numbers):
        raise InputError(f"Wannier centres: printed with {len(ions)} ions; {len(numbers)} in job.json; another run's file")
    if electrons != ELECTRONS_PER_CENTRE * len(centres):
        raise InputError(
            f"Wannier centres: {len(centres)} centres for {electrons:g} electrons; each carries two: no unpaired spins, all "
            "occupied states localised"
        )
    members = assign_molecules(ions, numbers, cell, (cell is not None,) * 3) if molecule is None else molecule
    count = int(members.max(initial=-1)) + 1
    # centres sit at heavy atoms; at hydrogens only where a molecule has nothing else
    heavy = numbers > 1
    bare = np.isin(members, np.setdiff1d(members, members[heavy])) & (members >= 0)
    sites = np.flatnonzero(heavy | bare)
    offsets = _nearest(centres[:, None] - ions[None, sites], cell)
    distance = np.linalg.norm(offsets, axis=2)
    own = distance.argmin(axis=1)
    nearest = distance[np.arange(len(centres)), own]
    if nearest.max(initial=0.0) > FARTHEST_CENTRE:
        far = int(nearest.argmax())
        raise InputError(
            f"Wannier centres: centre {far} is {nearest[far]:.2f} Å from the nearest atom; allowed: {FARTHEST_CENTRE} Å; "
            "localise more tightly, or the state is shared between molecules"
        )
    owner = members[sites[own]]
    anchors = np.full(count, -1)
    for index in np.argsort(-numbers, kind="stable").tolist():
        if members[index] >= 0 and anchors[members[index]] < 0:
            anchors[members[index]] = index
    dipole, total = np.zeros((count, 3)), np.zeros(count)
    inside = np.flatnonzero(members >= 0)
    arms = np.zeros_like(ions)
    arms[inside] = _nearest(ions[inside] - ions[anchors[members[inside]]], cell)
    np.add.at(dipole, members[inside], valence[inside, None] * arms[inside])
    np.add.at(total, members[inside], valence[inside])
    belonging = np.flatnonzero(owner >= 0)
    reach = arms[sites[own]] + offsets[np.arange(len(centres)), own]
    np.add.at(dipole, owner[belonging], -ELECTRONS_PER_CENTRE * reach[belonging])
    np.add.at(total, owner[belonging], -float(ELECTRONS_PER_CENTRE))
    return MolecularDipoles(members, owner, dipole, total, nearest)


def _nearest(offsets: Array, cell: Array | None) -> Array:
    """Offsets to the nearest image: exact below half the cell's smallest width, which is what is asked for here."""
    if cell is None:
        return offsets
    return offsets - np.round(offsets @ np.linalg.inv(cell)) @ cell
