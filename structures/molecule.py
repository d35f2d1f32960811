"""Single molecules from the G2 set: gas-phase geometry, centred, without a cell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vibraloom.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from vibraloom.structures.spec import MoleculeSystem

GEOMETRY_SOURCE = (
    "MP2(full)/6-31G(d), G2 set: Curtiss, Raghavachari, Redfern, Pople, J. Chem. Phys. 106, 1063 (1997), as kept in ASE"
)
"""Where the starting geometries come from; kept in every report."""

# formula as written in a spec -> name in ase.collections.g2
MOLECULES: dict[str, str] = {
    "H2O": "H2O",
    "CO2": "CO2",
    "CO": "CO",
    "NH3": "NH3",
    "CH4": "CH4",
    "H2": "H2",
    "N2": "N2",
    "HF": "HF",
    "HCl": "HCl",
    "HCN": "HCN",
    "H2S": "SH2",
    "SO2": "SO2",
    "N2O": "N2O",
    "OCS": "OCS",
    "CS2": "CS2",
    "O3": "O3",
    "H2O2": "H2O2",
    "H2CO": "H2CO",
    "C2H2": "C2H2",
    "C2H4": "C2H4",
    "C2H6": "C2H6",
    "C6H6": "C6H6",
    "CH3OH": "CH3OH",
    "CH3CH2OH": "CH3CH2OH",
    "CH3CN": "CH3CN",
    "HCOOH": "HCOOH",
    "CH3COOH": "CH3COOH",
    "CHCl3": "HCCl3",
}
"""Neutral closed-shell molecules that can be built, by formula."""

LIQUIDS: tuple[str, ...] = ("H2O", "CH3OH", "CH3CH2OH", "CH3CN", "C6H6", "CHCl3")
"""Molecules, liquid at room temperature, that a film can be made of."""


def composition(formula: str) -> dict[str, int]:
    """Atoms of each element in a formula such as ``CH3CH2OH``."""
    found: dict[str, int] = {}
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        found[symbol] = found.get(symbol, 0) + int(count or 1)
    return found


def molecule_by_formula(formula: str) -> Atoms:
    """Molecule with its centre of mass at the origin (positions in Å), no cell, not periodic.

    Raises:
        InputError: the formula is not in :data:`MOLECULES`; the message lists those that are.
    """
    from ase.build import molecule

    if formula not in MOLECULES:
        raise InputError(f"system.formula: {formula!r} is unknown; allowed: {', '.join(MOLECULES)}")
    atoms = molecule(MOLECULES[formula])
    atoms.set_initial_magnetic_moments(None)
    atoms.positions -= atoms.get_center_of_mass()
    return atoms


def build_molecule(spec: MoleculeSystem) -> Atoms:
    """The molecule that ``spec`` names, one molecule with index 0 in the array ``molecule``.

    Raises:
        InputError: the formula is unknown.
    """
    atoms = molecule_by_formula(spec.formula)
    atoms.set_array("molecule", [0] * len(atoms), int, ())
    atoms.info = {"kind": "molecule", "formula": spec.formula}
    return atoms
