"""Which basis set and pseudopotential an element gets, and which file of CP2K's data holds them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from vibraloom.errors import InputError

BasisQuality = Literal["DZVP", "TZV2P", "aug-TZV2P"]
Flavour = Literal["PBE", "BLYP", "SCAN"]
"""Functional that the pseudopotentials were made for."""

# electrons that the GTH pseudopotentials leave in the valence, as in GTH_POTENTIALS of CP2K 2023.1
_VALENCE = """
H 1 He 2 Li 3 Be 4 B 3 C 4 N 5 O 6 F 7 Ne 8 Na 9 Mg 10 Al 3 Si 4 P 5 S 6 Cl 7 Ar 8 K 9 Ca 10 Sc 11 Ti 12 V 13
Cr 14 Mn 15 Fe 16 Co 17 Ni 18 Cu 11 Zn 12 Ga 13 Ge 4 As 5 Se 6 Br 7 Kr 8 Rb 9 Sr 10 Y 11 Zr 12 Nb 13 Mo 14 Tc 15
Ru 16 Rh 17 Pd 18 Ag 11 Cd 12 In 13 Sn 4 Sb 5 Te 6 I 7 Xe 8 Cs 9 Ba 10 Hf 12 Ta 13 W 14 Re 15 Os 16 Ir 17 Pt 18
Au 11 Hg 12 Tl 13 Pb 4 Bi 5 Po 6 At 7 Rn 8
"""
VALENCE: dict[str, int] = {symbol: int(count) for symbol, count in re.findall(r"([A-Z][a-z]?) (\d+)", _VALENCE)}
"""Valence electrons of each element that can be computed."""
AUGMENTED = frozenset(("H", "C", "N", "O", "F", "Si", "P", "S", "Cl"))
"""Elements for which the diffuse MOLOPT and the augmented sets exist."""
BASIS_FILES = ("BASIS_MOLOPT", "BASIS_MOLOPT_UZH", "GTH_BASIS_SETS")
POTENTIAL_FILES = {"PBE": "GTH_POTENTIALS", "BLYP": "GTH_POTENTIALS", "SCAN": "POTENTIAL_UZH"}
DATA_VARIABLE = "CP2K_DATA_DIR"
_DATA_FOLDERS = ("/usr/share/cp2k/data", "/usr/share/cp2k", "/usr/local/share/cp2k/data")


def valence(element: str) -> int:
    """Valence electrons of ``element``.

    Raises:
        InputError: there is no pseudopotential that suits our basis sets.
    """
    if element not in VALENCE:
        raise InputError(
            f"element {element}: CP2K's data holds no MOLOPT basis set for its GTH potential; name both in "
            "overrides under FORCE_EVAL/SUBSYS/KIND, or take another element"
        )
    return VALENCE[element]


def basis_set(element: str, quality: BasisQuality, flavour: Flavour) -> str:
    """Name of the basis set of ``element``.

    DZVP is the short-range MOLOPT set (VandeVondele and Hutter, J. Chem. Phys. 127, 114105 (2007)), TZV2P the
    full-range one where it exists and the short-range UZH one elsewhere; with SCAN potentials both are the UZH sets
    made for them. aug-TZV2P (H C N O F Si P S Cl) carries the diffuse functions that a molecule's response needs.

    Raises:
        InputError: no such set for this element; the message names those that exist.
    """
    electrons = valence(element)
    if quality == "aug-TZV2P":
        if element not in AUGMENTED:
            raise InputError(f"basis: aug-TZV2P: not made for {element}; allowed for {element}: TZV2P or DZVP (under elements)")
        return f"aug-TZV2P-GTH-q{electrons}"
    if flavour == "SCAN":
        return f"{quality}-MOLOPT-SCAN-GTH-q{electrons}"
    if quality == "DZVP":
        return f"DZVP-MOLOPT-SR-GTH-q{electrons}"
    if element in AUGMENTED:
        return f"TZV2P-MOLOPT-GTH-q{electrons}"
    return f"TZV2P-MOLOPT-PBE-GTH-q{electrons}"


def potential(element: str, flavour: Flavour) -> str:
    """Name of the Goedecker–Teter–Hutter pseudopotential of ``element``.

    Raises:
        InputError: see :func:`valence`.
    """
    return f"GTH-{flavour}-q{valence(element)}"


def is_diffuse(basis: str) -> bool:
    """Whether a basis set of this name describes the response of a free molecule."""
    return basis.startswith("aug-")


def data_folder(executable: str | Path | None = None) -> Path | None:
    """CP2K's data folder on this machine, or None: CP2K_DATA_DIR, the usual places, or beside the executable."""
    places = [Path(text) for text in (os.environ.get(DATA_VARIABLE), *_DATA_FOLDERS) if text]
    found = str(executable) if executable else shutil.which("cp2k.psmp") or shutil.which("cp2k")
    if found:
        home = Path(found).resolve().parent.parent
        places += [home / "share" / "cp2k" / "data", home / "share" / "cp2k", home / "data", home.parent / "data"]
    return next((place for place in places if (place / POTENTIAL_FILES["PBE"]).is_file()), None)


@lru_cache(maxsize=32)
def _names(path: Path) -> dict[str, frozenset[str]]:
    """Element → names and aliases in one basis or potential file."""
    held: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split("#")[0].split()
        if len(words) > 1 and words[0].isalpha() and len(words[0]) <= 2 and not words[1][0].isdigit():
            held.setdefault(words[0].capitalize(), set()).update(word for word in words[1:] if word[0].isalpha())
    return {element: frozenset(names) for element, names in held.items()}


@dataclass(frozen=True)
class Wish:
    """A basis set or potential that an input names for an element, and the files in which CP2K looks for it."""

    element: str
    name: str
    kind: str
    files: tuple[str, ...]


def check_names(wishes: Iterable[Wish], folder: Path | None) -> None:
    """Refuse a basis set or potential that CP2K would not find.

    Args:
        wishes: what the input names; ``kind`` is "basis" or "potential".
        folder: CP2K's data; None leaves the check to CP2K itself, and so does a file that is not in there.

    Raises:
        InputError: one is missing; the message says which of CP2K's files has one for this element.
    """
    if folder is None:
        return
    for wish in wishes:
        read = [folder / name for name in wish.files]
        if all(path.is_file() for path in read) and not any(wish.name in _held(path, wish.element) for path in read):
            raise InputError(
                f"{wish.kind} {wish.name} of {wish.element}: not in {', '.join(wish.files)} of {folder}; {_remedy(wish, folder)}"
            )


def _held(path: Path, element: str) -> frozenset[str]:
    return _names(path).get(element, frozenset())


def _remedy(wish: Wish, folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if wish.kind.upper() in path.name and path.is_file())
    holders = [path.name for path in files if wish.name in _held(path, wish.element)]
    if holders:
        key = "BASIS_SET_FILE_NAME" if wish.kind == "basis" else "POTENTIAL_FILE_NAME"
        return f"{holders[0]} has it: add that file to FORCE_EVAL/DFT/{key} in overrides"
    # only one for as many valence electrons goes with the other half
    electrons = f"-q{wish.name.rpartition('-q')[2]}"
    for path in files:
        near = sorted(name for name in _held(path, wish.element) if name.endswith(electrons) and "GTH" in name)
        if near:
            return f"{path.name} has {', '.join(near)}: take a functional or basis that goes with one of these"
    return f"no file there has one for {wish.element} that fits; take another element"
