"""What is physically impossible or known to mislead: refused with the reason and the alternative, or warned about."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from vibraloom.calculators.cp2k.basis_files import Wish, check_names, data_folder, is_diffuse
from vibraloom.calculators.cp2k.input_builder import single_point
from vibraloom.calculators.cp2k.linear_response import RESPONSE_CUTOFF
from vibraloom.calculators.cp2k.method_sections import boundary, electrons, normal_axis
from vibraloom.calculators.cp2k.property_sections import dipole_operator
from vibraloom.calculators.cp2k.remedies import allows_field
from vibraloom.calculators.cp2k.settings import MAGNETIC, Cp2kSettings
from vibraloom.errors import InputError

Wanted = Literal["forces", "stress", "dipole", "wannier", "field_x", "field_y", "field_z", "linres", "vibrations"]
"""What a calculation is asked for; ``field_x`` is a field along x."""
FIELDS = ("field_x", "field_y", "field_z")

NARROWEST_CELL = 5.0
"""(Å) Below it an atom's valence orbitals (radius about 2.5 Å) reach their own image, which the Gamma point alone
does not describe; with k-points it is the cell times the mesh."""
RESPONSE_CELL = 9.8
"""(Å) Narrower liquid cells give too small polarizabilities at the Gamma point: water -23 % at 6.2 Å, -9 % at 9.9 Å."""
DENSITY_MARGIN = 2.5
"""(Å) Reach of the density beyond the outermost nuclei."""
VACUUM = 6.0
"""(Å) A wider gap between atoms along a lattice vector is vacuum …"""
FILLED = 4.0
"""(Å) … if the gaps along the other two are narrower than this."""
METAL_NEIGHBOURS = 4
_BOND = 1.2
_NONMETALS = frozenset((1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54))


class Unfit(InputError):
    """A cell that is too small along one of its vectors; whoever made it has words of his own for the remedy.

    Attributes:
        reason: what is wrong, without the remedy.
        axis: index of the lattice vector.
        have: (Å) width of the cell, or of the vacuum on one side of a slab.
        need: (Å) least such width.
        vacuum: whether it is the vacuum that is too narrow.
    """

    def __init__(self, reason: str, remedy: str, axis: int, have: float, need: float, *, vacuum: bool) -> None:
        super().__init__(f"{reason}; allowed: {remedy}")
        self.reason, self.axis, self.have, self.need, self.vacuum = reason, axis, have, need, vacuum


_INSTEAD = (
    "instead: the dipole along the normal from the charge density times z across the vacuum (a slab's dipole is "
    "computed so), a response learned for the water alone, or the ideal mirror of a metal (perpendicular doubled, "
    "parallel cancelled)"
)


def refuse(atoms: Atoms, settings: Cp2kSettings, wanted: Collection[str]) -> list[str]:
    """Check a calculation before it is made.

    Names of basis sets and potentials are looked up in CP2K's data on this machine. Where there is none, as on a workstation
    that sends its jobs away, the look-up is left to CP2K, whose message the job then carries.

    Args:
        atoms: positions and cell in Å.
        settings: the method.
        wanted: entries of :data:`Wanted`.

    Returns:
        Warnings that are kept in the record.

    Raises:
        InputError: what is asked for cannot be had; the message says why, and what can.
    """
    asked = set(wanted)
    unknown = asked - set(Wanted.__args__)  # type: ignore[attr-defined]
    if unknown:
        raise InputError(f"cp2k: wanted: {sorted(unknown)[0]!r}; allowed: {', '.join(Wanted.__args__)}")  # type: ignore[attr-defined]
    warnings = _check_cell(atoms, settings, asked)
    metal = _metal_atoms(atoms)
    _check_metal(settings, asked, metal)
    if asked & {"wannier", "linres", *FIELDS} and not allows_field(single_point(atoms, settings)):
        raise InputError(
            "cp2k: overrides: Wannier centres, fields and linear response with DFT/SCF/SMEAR or DFT/KPOINTS: they need a gap and"
            f" the Gamma point; allowed: neither of the two; {_INSTEAD}"
        )
    _check_response(atoms, settings, asked)
    warnings += _check_spin(atoms, settings, metal)
    check_names(_names_of(single_point(atoms, settings)), data_folder())
    warnings += _metal_warnings(atoms, settings, metal)
    if "linres" in asked and settings.cutoff < RESPONSE_CUTOFF:
        warnings.append(f"linear response diverges on coarse grids: take cutoff: {RESPONSE_CUTOFF} or more")
    return warnings + _basis_warnings(atoms, settings, asked)


def vacuum_axis(atoms: Atoms) -> int | None:
    """Index of the lattice vector along which a slab has its vacuum: the one that is not periodic, or the one with
    the widest gap, above :data:`VACUUM`; None in a bulk and for a molecule."""
    kind = boundary(atoms)
    if kind == "molecule":
        return None
    if kind == "slab":
        return normal_axis(atoms)
    widths = _widths(atoms)
    gaps = []
    for axis in range(3):
        heights = np.sort(np.mod(atoms.get_scaled_positions(wrap=False)[:, axis], 1.0))
        gaps.append(float(np.diff(np.append(heights, heights[0] + 1.0)).max()) * widths[axis])
    widest = int(np.argmax(gaps))
    # one molecule in a periodic box has wide gaps all around: that is no slab
    filled = all(gap < FILLED for axis, gap in enumerate(gaps) if axis != widest)
    return widest if gaps[widest] > VACUUM and filled else None


def _widths(atoms: Atoms) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(Å) Distances between opposite faces of the cell, shape (3,)."""
    cell = np.asarray(atoms.cell)
    volume = abs(float(np.linalg.det(cell)))
    if volume < 1e-6:
        raise InputError("structure: cell: no volume; give three lattice vectors (method_sections.boxed for a molecule)")
    faces = np.array([np.linalg.norm(np.cross(cell[(k + 1) % 3], cell[(k + 2) % 3])) for k in range(3)])
    return np.asarray(volume / faces)


def _check_spin(atoms: Atoms, settings: Cp2kSettings, metal: int) -> list[str]:
    count, unpaired = electrons(atoms, settings), settings.multiplicity - 1
    magnetic = sorted(MAGNETIC & set(atoms.symbols))
    if magnetic and metal and not unpaired:
        raise InputError(
            f"cp2k: multiplicity: 1 pairs the electrons of {magnetic[0]}, whose metal has magnetic moments; allowed: above 1, "
            "which treats the spins apart"
        )
    paired = [f"computed without spin polarisation, though {magnetic[0]} may have magnetic moments"] if magnetic else []
    if settings.smearing is not None and count > 0 and not unpaired:
        return paired  # half of an odd electron in each spin
    if count < 1:
        raise InputError(f"cp2k: charge: {settings.charge} leaves {count} valence electrons; allowed: a smaller charge")
    if (count - unpaired) % 2 or unpaired > count:
        near = 2 if count % 2 else 1
        raise InputError(
            f"cp2k: multiplicity: {settings.multiplicity} with {count} valence electrons (charge {settings.charge}): "
            f"they do not pair that way; allowed: an {'even' if count % 2 else 'odd'} multiplicity such as {near}, or "
            "another charge"
        )
    return [] if unpaired else paired


def _check_cell(atoms: Atoms, settings: Cp2kSettings, asked: set[str]) -> list[str]:
    warnings: list[str] = []
    kind, widths = boundary(atoms), _widths(atoms)
    if kind == "molecule":
        return _check_box(atoms, widths)
    if kind == "slab":
        axis = normal_axis(atoms)
        _check_slab(atoms, settings, axis, float(widths[axis]))
    elif (hidden := vacuum_axis(atoms)) is not None:
        warnings.append(
            f"vacuum along {'abc'[hidden]} in a cell that is periodic in three directions: no dipole correction; "
            f"set pbc[{hidden}] to false to have it"
        )
    if kind == "bulk" and settings.charge:
        warnings.append(f"charge {settings.charge} e in a periodic cell: a uniform background; no dipole is defined")
    mesh = np.array(settings.kpoints or (1, 1, 1))
    for axis in range(3):
        if not atoms.pbc[axis]:
            continue
        reach = float(widths[axis] * mesh[axis])
        if reach < NARROWEST_CELL - 1e-6:
            raise Unfit(
                f"structure: cell: {widths[axis]:.2f} Å wide along {'abc'[axis]}, below twice the {NARROWEST_CELL / 2:g} Å "
                "radius of a valence orbital, which would meet its own image",
                f"{NARROWEST_CELL:g} Å or more (repeat the cell), or kpoints with scf: diagonalisation",
                axis,
                reach,
                NARROWEST_CELL,
                vacuum=False,
            )
    periodic = [float(widths[k]) for k in range(3) if atoms.pbc[k] and k != vacuum_axis(atoms)]
    if asked & {*FIELDS, "linres"} and min(periodic) < RESPONSE_CELL:
        warnings.append(
            f"response at the Gamma point in a cell {min(periodic):.1f} Å wide is too small (liquid water: -23 % at "
            f"6.2 Å, -9 % at 9.9 Å); take {RESPONSE_CELL:g} Å or more for production"
        )
    return warnings


def _check_box(atoms: Atoms, widths: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    positions = atoms.get_scaled_positions(wrap=False)
    extent = np.ptp(positions, axis=0) * widths
    room = np.minimum(positions.min(axis=0), 1 - positions.max(axis=0)) * widths
    if room.min() < DENSITY_MARGIN:
        raise InputError(
            f"structure: cell: an atom is {room.min():.2f} Å from a face of the molecule's box, below the "
            f"{DENSITY_MARGIN:g} Å radius of its density; allowed: a wider box with the molecule in its middle "
            "(method_sections.boxed)"
        )
    need = 2 * extent
    if (widths < need).any():
        axis = int(np.argmax(need - widths))
        raise InputError(
            f"structure: cell: box {widths[axis]:.2f} Å along {'abc'[axis]} for a molecule of {extent[axis]:.2f} Å; "
            f"allowed: twice the molecule, {need[axis]:.2f} Å or more, or its images would be felt"
        )
    if (widths < need + 2 * DENSITY_MARGIN).any():
        return ["molecule's box is below twice its density: the Poisson solver is approximate; widen it for production"]
    return []


def _check_slab(atoms: Atoms, settings: Cp2kSettings, axis: int, width: float) -> None:
    heights = atoms.get_scaled_positions(wrap=False)[:, axis]
    below, above = float(heights.min()) * width, float(1 - heights.max()) * width
    if min(below, above) < DENSITY_MARGIN:
        raise Unfit(
            f"structure: cell: an atom is {min(below, above):.2f} Å from the cell's face along {'abc'[axis]}",
            f"{DENSITY_MARGIN:g} Å or more on both sides, so that the slab is whole (centre it along {'xyz'[axis]})",
            axis,
            min(below, above),
            DENSITY_MARGIN,
            vacuum=True,
        )
    if settings.slab == "in_plane" and width < 2 * (width - below - above):
        raise InputError(
            f"cp2k: slab: in_plane: the cell is {width:.1f} Å high for {width - below - above:.1f} Å of atoms; allowed: "
            "twice that or more, or slab: dipole_correction"
        )


def _metal_atoms(atoms: Atoms) -> int:
    """Atoms of a metal: metallic elements with four or more metallic neighbours and no bond to a nonmetal."""
    metallic = np.array([number not in _NONMETALS for number in atoms.numbers])
    if metallic.sum() < 2:
        return 0
    first, second = neighbor_list("ij", atoms, cutoff=[_BOND * covalent_radii[number] for number in atoms.numbers])
    like = np.bincount(first[metallic[second]], minlength=len(atoms))
    # a hydrogen that touches a metal makes no oxide; O, N, halogens, chalcogens do
    binding = ~metallic & (atoms.numbers != 1) & (atoms.numbers != 6)
    bound = np.bincount(first[binding[second]], minlength=len(atoms))
    return int(np.sum(metallic & (like >= METAL_NEIGHBOURS) & (bound == 0)))


def _check_metal(settings: Cp2kSettings, asked: set[str], metal: int) -> None:
    response = sorted(asked & {"wannier", "linres", *FIELDS})
    if not response:
        return
    what = {"wannier": "Wannier centres", "linres": "linear response"}.get(response[0], "a periodic field")
    if settings.smearing is not None:
        raise InputError(
            f"cp2k: {what} with smearing: partly filled levels cannot be localised and carry current in a field; {_INSTEAD}"
        )
    if metal:
        raise InputError(
            f"cp2k: {what} on a metal ({metal} atoms of it): without a gap neither Wannier functions nor a polarisation "
            f"in a field exist; {_INSTEAD}"
        )
    if settings.kpoints is not None:
        raise InputError(f"cp2k: {what} with kpoints: CP2K has them at the Gamma point only; allowed: no kpoints")
    if settings.scf != "ot" and "linres" in response:
        raise InputError("cp2k: linear response with scf: diagonalisation: CP2K's solver stands on scf: ot; take that")
    if settings.multiplicity > 1:
        raise InputError(
            f"cp2k: {what} with multiplicity {settings.multiplicity}: made here for paired electrons only; allowed: "
            "multiplicity 1"
        )


def _check_response(atoms: Atoms, settings: Cp2kSettings, asked: set[str]) -> None:
    if "linres" in asked and settings.functional == "r2SCAN":
        raise InputError(
            "cp2k: linear response with r2SCAN: CP2K 2023.1 ends normally with a wrong tensor (5.68 where the field gives "
            "6.69 a.u.); allowed: the field (field_x, field_y, field_z), or a GGA such as PBE-D3"
        )
    axis = vacuum_axis(atoms)
    along = set() if axis is None else {FIELDS[axis]}
    if asked & {*along, "linres"} and axis is not None and not settings.field_across_vacuum:
        raise InputError(
            f"cp2k: a field along {'xyz'[axis]}, across the vacuum of a slab: the polarizability depends on the vacuum's "
            "width; allowed: fields in the plane, or field_across_vacuum: true (then convert to fixed displacement with "
            "the cell's volume)"
        )
    if asked & along and boundary(atoms) == "slab" and settings.slab == "dipole_correction":
        raise InputError(
            f"cp2k: a field along {'xyz'[axis or 0]} with the dipole correction, which cancels it; allowed: a cell that "
            "is periodic in three directions (pbc all true), which takes the field as fixed E"
        )
    if "stress" in asked and boundary(atoms) != "bulk":
        raise InputError("cp2k: stress of a cell with vacuum has no meaning; allowed: three periodic directions")
    if asked & {"dipole"} and dipole_operator(atoms, settings) == "none":
        raise InputError(
            "cp2k: dipole of a metal without vacuum, or with kpoints: not defined or not in CP2K; allowed: a slab "
            "(pbc with one false) with smearing at the Gamma point, which has its normal component"
        )


def _names_of(parameters: dict[str, Any]) -> list[Wish]:
    dft, wishes = parameters["FORCE_EVAL"]["DFT"], []
    for kind in parameters["FORCE_EVAL"]["SUBSYS"]["KIND"]:
        for key, what in (("BASIS_SET", "basis"), ("POTENTIAL", "potential")):
            files = dft[f"{key}_FILE_NAME"]
            name = kind.get(key)
            if isinstance(name, str) and len(name.split()) == 1:  # several, or of a type of their own: left to CP2K
                wishes.append(Wish(str(kind["_"]), name, what, (files,) if isinstance(files, str) else tuple(files)))
    return wishes


def _metal_warnings(atoms: Atoms, settings: Cp2kSettings, metal: int) -> list[str]:
    sampled = []
    if metal and settings.kpoints is None:
        sampled.append("metal sampled at the Gamma point alone: its levels and its work function depend on the cell's size")
    if metal and settings.scf == "ot":
        return [
            *sampled,
            f"{metal} atoms of a metal with scf: ot, which needs a gap: it may not converge, or to a wrong state; take "
            "scf: diagonalisation with smearing",
        ]
    if settings.smearing is not None and dipole_operator(atoms, settings) == "normal":
        if settings.slab == "in_plane":
            return [
                *sampled,
                "smeared occupations with slab: in_plane: no dipole is printed; take slab: dipole_correction to have it",
            ]
        return [*sampled, "smeared occupations: only the dipole's component along the slab's normal has a meaning"]
    return sampled


def _basis_warnings(atoms: Atoms, settings: Cp2kSettings, asked: set[str]) -> list[str]:
    if not asked & {*FIELDS, "linres"}:
        return []
    kinds = single_point(atoms, settings)["FORCE_EVAL"]["SUBSYS"]["KIND"]
    poor = [f"{kind['_']} {kind['BASIS_SET']}" for kind in kinds if not is_diffuse(str(kind["BASIS_SET"]))]
    if boundary(atoms) == "molecule" and poor:
        return [
            f"basis too small for a free molecule's response ({', '.join(poor)}): one H2O (PBE) gets 6.4 a.u. with DZVP, "
            "7.7 with TZV2P, 10.1 with aug-TZV2P; take basis: aug-TZV2P (H C N O F Si P S Cl)"
        ]
    small = [text for text in poor if "DZVP" in text]
    if small:
        return [f"basis small for a response ({', '.join(small)}): take basis: TZV2P for production"]
    return []
