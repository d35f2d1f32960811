"""The parts of CP2K's input that ask for properties: dipole, Wannier centres, cubes, linear response, held atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ase import Atoms

from vibraloom.calculators.cp2k.method_sections import Section, boundary
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.errors import InputError

RESPONSE_CONVERGENCE = 1e-5
NEVER_SPLIT = 20
"""COMMON_ITERATION_LEVELS that keeps all frames of a print in one file."""

Dipole = Literal["berry", "molecule", "normal", "none"]


def dipole_operator(atoms: Atoms, settings: Cp2kSettings) -> Dipole:
    """Which dipole can be had: Berry phase modulo a quantum, a molecule's own, a metal slab's normal component only
    (the charge density times z across the vacuum; its other two components mean nothing), or none."""
    if boundary(atoms) == "molecule":
        return "molecule"
    if settings.kpoints is not None:
        return "none"
    if settings.smearing is not None:
        return "normal" if boundary(atoms) == "slab" else "none"
    return "berry"


def linear_response(atoms: Atoms) -> Section:
    """LINRES with the polarizability."""
    # FULL_ALL diverges and ends normally with numbers that mean nothing; this pair converged wherever it was tried
    response: Section = {
        "EPS": RESPONSE_CONVERGENCE,
        "MAX_ITER": 100,
        "PRECONDITIONER": "FULL_SINGLE_INVERSE",
        "ENERGY_GAP": 0.02,
        "POLAR": {"_": "ON", "DO_RAMAN": True, "PERIODIC_DIPOLE_OPERATOR": boundary(atoms) != "molecule"},
    }
    if boundary(atoms) != "molecule":
        response["LOCALIZE"] = {"METHOD": "CRAZY", "EPS_LOCALIZATION": 1e-4, "MAX_ITER": 2000}
    return response


def moments(dipole: Dipole) -> Section:
    """MOMENTS of a dipole that can be had."""
    return {
        "_": "ON",
        "PERIODIC": dipole == "berry",
        "REFERENCE": "ZERO" if dipole == "berry" else "COM",  # about its middle a slab is not cut in two
        "MAX_MOMENT": 1,
    }


def add_prints(
    parameters: Section,
    atoms: Atoms,
    settings: Cp2kSettings,
    name: str,
    every: int,
    wannier: int,
    hartree: int,
    density: int,
) -> None:
    """Ask for dipole, Wannier centres and cubes; the last three count steps between prints, 0 for never."""
    dft = parameters["FORCE_EVAL"]["DFT"]
    prints: Section = {}
    dipole = dipole_operator(atoms, settings)
    # MOMENTS takes each pair of basis functions once, not with its images (CP2K's src/qs_moments.F): across the seams of a
    # metal's cell that is wrong (0.45 for 0.36 e·Å in a cell 6 Å wide). The dipole correction prints the density's own.
    if dipole not in ("none", "normal"):
        prints["MOMENTS"] = {
            **moments(dipole),
            "FILENAME": f"={name}-dipole.dat",
            "COMMON_ITERATION_LEVELS": NEVER_SPLIT,
            "EACH": {"MD": every},
        }
    if hartree:
        prints["V_HARTREE_CUBE"] = {"_": "ON", "STRIDE": "1 1 1", "EACH": {"MD": int(hartree)}}
    if density:
        prints["E_DENSITY_CUBE"] = {"_": "ON", "STRIDE": "1 1 1", "EACH": {"MD": int(density)}}
    if prints:
        dft["PRINT"] = prints
    if wannier:
        centres = {
            "_": "ON",
            "IONS+CENTERS": True,
            "FILENAME": f"={name}-wannier.xyz",
            "COMMON_ITERATION_LEVELS": NEVER_SPLIT,
            "EACH": {"MD": int(wannier)},
        }
        dft["LOCALIZE"] = {
            "_": "ON",
            "METHOD": "CRAZY",
            "EPS_LOCALIZATION": 1e-6,
            "MAX_ITER": 3000,
            "PRINT": {"WANNIER_CENTERS": centres},
        }


def indices(atoms: Atoms, chosen: Sequence[int], key: str) -> list[int]:
    """Sorted indices of atoms, each once.

    Raises:
        InputError: none, or one that is out of range.
    """
    result = sorted({int(index) for index in chosen})
    if not result or result[0] < 0 or result[-1] >= len(atoms):
        raise InputError(f"cp2k: {key}: {list(chosen)}; allowed: indices from 0 to {len(atoms) - 1}, at least one")
    return result


def held_atoms(atoms: Atoms, fixed: Sequence[int]) -> Section:
    """MOTION's CONSTRAINT of atoms (indices from 0) that stay where they are; empty for none."""
    if not len(fixed):
        return {}
    numbers = [index + 1 for index in indices(atoms, fixed, "fixed")]
    return {"CONSTRAINT": {"FIXED_ATOMS": {"LIST": _ranges(numbers)}}}


def _ranges(numbers: list[int]) -> list[str]:
    """CP2K's lists: 1..5 for 1 2 3 4 5; a line of the input must not grow without bound."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return [f"{first}..{last}" if last > first else str(first) for first, last in ranges]
