"""The parts of CP2K's input that say how energies are computed: functional, self-consistency, boundary, atoms."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import numpy as np
from ase import Atoms

from vibraloom.calculators.cp2k.basis_files import BASIS_FILES, POTENTIAL_FILES, basis_set, potential, valence
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.errors import InputError

Section = dict[str, Any]
Boundary = Literal["molecule", "slab", "bulk"]

STRUCTURE_FILE = "structure.xyz"
DISPERSION_RADIUS = 12.0
"""(Å) Pairs within it get D3 dispersion; images are counted, whatever the cell."""
INNER_CYCLES = {"ot": 30, "diagonalisation": 200}
OUTER_CYCLES = 10
FEWEST_EMPTY_LEVELS = 5
SMALLEST_BOX = 8.0
BOX_MARGIN = 3.5
"""(Å) Empty space on each side of a molecule in :func:`boxed`."""
WIDE_VACUUM = 13.0
"""(Å) In the middle of such a vacuum gold's density is small enough for CP2K; in 11 Å it is not."""
LAST_LAYER = 0.3
"""(Å) More than the spacing of any grid."""
_VALENCE_IN_NAME = re.compile(r"-q(\d+)$")

_XC: dict[str, Section] = {
    "PBE": {"PBE": {"_": "T"}},  # Perdew, Burke, Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)
    "BLYP": {"BECKE88": {"_": "T"}, "LYP": {"_": "T"}},  # Becke 1988; Lee, Yang, Parr 1988
    "revPBE": {"PBE": {"_": "T", "PARAMETRIZATION": "REVPBE"}},  # Zhang, Yang, Phys. Rev. Lett. 80, 890 (1998)
    "RPBE": {"GGA_X_RPBE": {"_": "T"}, "GGA_C_PBE": {"_": "T"}},  # Hammer, Hansen, Nørskov 1999, by libxc
    "r2SCAN": {"MGGA_X_R2SCAN": {"_": "T"}, "MGGA_C_R2SCAN": {"_": "T"}},  # Furness et al. 2020, by libxc
}


def boundary(atoms: Atoms) -> Boundary:
    """Which boundary the flags of ``atoms.pbc`` ask for: none, two or three periodic directions.

    Raises:
        InputError: one periodic direction.
    """
    periodic = int(np.sum(atoms.pbc))
    if periodic == 1:
        raise InputError("structure: pbc: one periodic direction; allowed: none (molecule), two (slab) or three (bulk)")
    return "molecule" if periodic == 0 else "slab" if periodic == 2 else "bulk"


def normal_axis(atoms: Atoms) -> int:
    """Index of the lattice vector, and Cartesian axis, along a slab's vacuum.

    Raises:
        InputError: that axis is not normal to the other two vectors.
    """
    axis = int(np.argmin(atoms.pbc))
    cell = np.asarray(atoms.cell)
    others = [k for k in range(3) if k != axis]
    if np.abs(cell[others, axis]).max() > 1e-6 or np.abs(np.delete(cell[axis], axis)).max() > 1e-6:
        raise InputError(
            f"structure: cell: the vacuum is along vector {'abc'[axis]}, which is not parallel to {'xyz'[axis]} and "
            "normal to the other two; turn the cell so that it is"
        )
    return axis


def boxed(atoms: Atoms) -> Atoms:
    """A free molecule in the middle of a cubic box in which the Poisson solver is exact; others as they are.

    The box is twice as wide as the molecule with 3 Å for its density, and at least 3.5 Å wider on each side.

    Args:
        atoms: positions in Å; a cell that is there is kept, and the molecule moved into its middle.
    """
    if boundary(atoms) != "molecule":
        return atoms
    result = atoms.copy()
    if np.abs(np.linalg.det(np.asarray(result.cell))) < 1e-6:
        extent = float(np.ptp(result.positions, axis=0).max())
        edge = max(2 * (extent + 3.0), extent + 2 * BOX_MARGIN, SMALLEST_BOX)
        result.cell = np.eye(3) * float(np.ceil(edge * 2) / 2)
    middle = 0.5 * (result.positions.min(axis=0) + result.positions.max(axis=0))
    result.positions += np.asarray(result.cell).sum(axis=0) / 2 - middle
    return result


def force_eval(atoms: Atoms, settings: Cp2kSettings) -> Section:
    """FORCE_EVAL of the method, without any property or print."""
    functional: Section = {"XC_FUNCTIONAL": dict(_XC[settings.functional.removesuffix("-D3")])}
    if settings.dispersion is not None:
        functional["VDW_POTENTIAL"] = {
            "POTENTIAL_TYPE": "PAIR_POTENTIAL",
            "PAIR_POTENTIAL": {
                "TYPE": "DFTD3",
                "PARAMETER_FILE_NAME": "dftd3.dat",
                "REFERENCE_FUNCTIONAL": settings.dispersion,
                "R_CUTOFF": DISPERSION_RADIUS,
            },
        }
    dft: Section = {
        "BASIS_SET_FILE_NAME": list(BASIS_FILES),
        "POTENTIAL_FILE_NAME": POTENTIAL_FILES[settings.flavour],
        "CHARGE": settings.charge,
        "MULTIPLICITY": settings.multiplicity,
        "UKS": settings.multiplicity > 1,
        "MGRID": {"CUTOFF": settings.cutoff, "REL_CUTOFF": settings.relative_cutoff},
        "QS": {"METHOD": "GPW", "EPS_DEFAULT": settings.default_precision},
        "SCF": _self_consistency(atoms, settings),
        "XC": functional,
        **_electrostatics(atoms, settings),
    }
    if settings.kpoints is not None:
        dft["KPOINTS"] = {"SCHEME": "MONKHORST-PACK " + " ".join(map(str, settings.kpoints))}
    return {"METHOD": "QS", "DFT": dft, "SUBSYS": {**subsystem(atoms, settings), "KIND": _kinds(atoms, settings)}}


def subsystem(atoms: Atoms, settings: Cp2kSettings | None = None) -> Section:
    """Cell and coordinate file; without ``settings`` the cell is periodic throughout."""
    periodic = "XYZ"
    if settings is not None and boundary(atoms) == "molecule":
        periodic = "NONE"
    elif settings is not None and boundary(atoms) == "slab" and settings.slab == "in_plane":
        periodic = "XYZ".replace("XYZ"[normal_axis(atoms)], "")
    vectors = {"ABC"[k]: " ".join(f"{x:.12f}" for x in vector) for k, vector in enumerate(np.asarray(atoms.cell))}
    return {
        "CELL": {**vectors, "PERIODIC": periodic},
        "TOPOLOGY": {"COORD_FILE_NAME": STRUCTURE_FILE, "COORD_FILE_FORMAT": "XYZ"},
    }


def masses(atoms: Atoms) -> dict[str, float]:
    """Element → mass in amu.

    Raises:
        InputError: two isotopes of one element.
    """
    found: dict[str, float] = {}
    for symbol, mass in zip(atoms.get_chemical_symbols(), atoms.get_masses(), strict=True):
        if abs(found.setdefault(symbol, float(mass)) - mass) > 1e-6:
            raise InputError(
                f"structure: masses of {symbol}: {found[symbol]:g} and {mass:g} amu; allowed: one isotope per element"
            )
    return found


def _kinds(atoms: Atoms, settings: Cp2kSettings) -> list[Section]:
    own = _named_kinds(settings)
    kinds = []
    for symbol, mass in sorted(masses(atoms).items()):
        kind: Section = {"_": symbol, "MASS": mass}
        if not {"BASIS_SET", "POTENTIAL"} <= set(own.get(symbol, {})):
            kind["BASIS_SET"] = basis_set(symbol, settings.quality(symbol), settings.flavour)
            kind["POTENTIAL"] = potential(symbol, settings.flavour)
        kinds.append(kind)
    return kinds


def _named_kinds(settings: Cp2kSettings) -> dict[str, Section]:
    """Element → KIND among the overrides."""
    content = settings.overrides.get("FORCE_EVAL", {}).get("SUBSYS", {}).get("KIND", [])
    return {str(entry.get("_")): entry for entry in (content if isinstance(content, list) else [content])}


def electrons(atoms: Atoms, settings: Cp2kSettings) -> int:
    """Valence electrons of the whole cell."""
    own = _named_kinds(settings)
    total = -settings.charge
    for symbol in atoms.get_chemical_symbols():
        named = _VALENCE_IN_NAME.search(str(own.get(symbol, {}).get("POTENTIAL", "")))
        total += int(named.group(1)) if named else valence(symbol)
    return total


def _self_consistency(atoms: Atoms, settings: Cp2kSettings) -> Section:
    scf: Section = {
        "SCF_GUESS": "ATOMIC",
        "EPS_SCF": settings.scf_convergence,
        "MAX_SCF": INNER_CYCLES[settings.scf],
        "PRINT": {"RESTART_HISTORY": {"_": "OFF"}},
    }
    if settings.scf == "ot":
        scf["OT"] = {"_": "ON", "PRECONDITIONER": settings.preconditioner, "MINIMIZER": settings.minimizer}
        scf["OUTER_SCF"] = {"_": "ON", "EPS_SCF": settings.scf_convergence, "MAX_SCF": OUTER_CYCLES}
        return scf
    scf["DIAGONALIZATION"] = {"_": "ON", "ALGORITHM": "STANDARD"}
    scf["MIXING"] = {"_": "ON", "METHOD": "BROYDEN_MIXING", "ALPHA": 0.4, "BETA": 1.5, "NBROYDEN": 8}
    if settings.smearing is not None:
        occupied = math.ceil(electrons(atoms, settings) / 2)
        scf["MIXING"]["ALPHA"] = settings.smearing.mixing
        scf["ADDED_MOS"] = max(math.ceil(settings.smearing.empty_levels * occupied), FEWEST_EMPTY_LEVELS)
        scf["SMEAR"] = {
            "_": "ON",
            "METHOD": "FERMI_DIRAC",
            "ELECTRONIC_TEMPERATURE": settings.smearing.electronic_temperature,
        }
    return scf


def _electrostatics(atoms: Atoms, settings: Cp2kSettings) -> Section:
    kind = boundary(atoms)
    if kind == "molecule":
        # Martyna, Tuckerman, J. Chem. Phys. 110, 2810 (1999): exact if the cell is twice as wide as the density
        return {"POISSON": {"PERIODIC": "NONE", "POISSON_SOLVER": "MT"}}
    if kind == "slab" and settings.slab == "in_plane":
        return {"POISSON": {"PERIODIC": "XYZ".replace("XYZ"[normal_axis(atoms)], ""), "POISSON_SOLVER": "ANALYTIC"}}
    poisson: Section = {"POISSON": {"PERIODIC": "XYZ", "POISSON_SOLVER": "PERIODIC"}}
    if kind == "slab":
        # Bengtsson, Phys. Rev. B 59, 12301 (1999)
        axis = normal_axis(atoms)
        poisson |= {"SURFACE_DIPOLE_CORRECTION": True, "SURF_DIP_DIR": "XYZ"[axis]}
        height, heights = float(atoms.cell[axis, axis]), atoms.positions[:, axis]
        # left to itself CP2K lets the potential step where it finds the least density: anywhere in the vacuum, and from frame to
        # frame elsewhere; told where, it demands a density below 1e-5 e/bohr³ there
        if height - np.ptp(heights) >= WIDE_VACUUM:
            middle = (0.5 * (heights.min() + heights.max()) + 0.5 * height) % height
            # a place in the last layer of the grid would lie behind it
            poisson["SURF_DIP_POS"] = 0.0 if height - middle < LAST_LAYER else round(float(middle), 6)
    return poisson
