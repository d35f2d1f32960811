"""Interfaces: a slab at the bottom, a liquid film above it, vacuum on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vibraloom.errors import InputError
from vibraloom.structures.distances import refuse_overlap
from vibraloom.structures.liquid import HEAVY_RADIUS, OVERLAP_SLACK, TOLERANCE, film_size, pack_film
from vibraloom.structures.molecule import molecule_by_formula
from vibraloom.structures.report import report
from vibraloom.structures.slab import BOTTOM, build_slab
from vibraloom.structures.spec import InterfaceSystem
from vibraloom.units import GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms

CLEARANCE = 2.2
"""Height (Å) between a metal's top plane and the film's lower face, where the lowest nuclei may lie."""
ANION_CLEARANCE = 2 * HEAVY_RADIUS
"""The same above a compound: its anions keep the film's oxygens as far away as these keep each other."""


def build_interface(spec: InterfaceSystem) -> tuple[Atoms, dict[str, Any]]:
    """Slab, film and vacuum in one cell, periodic in x and y; the same spec gives the same atoms.

    The film's lower face is :data:`CLEARANCE` above the slab's top plane (:data:`ANION_CLEARANCE` above that of a
    compound), its upper face one thickness higher; all nuclei of the liquid start between the two, and the density
    is mass / (area · thickness). The vacuum reaches from the upper face to the next image of the slab's lowest
    plane. Slab atoms come first, then whole molecules; the array ``molecule`` is -1 on the slab and counts the
    molecules from 0.

    Returns:
        The atoms (Å), and the report as plain JSON types (see :func:`vibraloom.structures.report.report`).

    Raises:
        InputError: a cell too narrow for the molecule, a film that is too thin or cannot be packed.
        ComputationError: atoms overlap after packing.
        MissingError: packmol is not installed.
    """
    from ase import Atoms

    atoms = build_slab(spec.slab, vacuum=spec.vacuum)
    molecule = molecule_by_formula(spec.liquid.molecule)
    _refuse_narrow_cell(atoms, molecule, spec)
    area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))
    count, thickness = film_size(spec.liquid, float(molecule.get_masses().sum()), area)
    metal_top = float(atoms.positions[:, 2].max())
    low = metal_top + (CLEARANCE if spec.slab.is_metal else ANION_CLEARANCE)
    high = low + thickness
    atoms.cell[2] = [0.0, 0.0, high - BOTTOM + spec.vacuum]
    packed = pack_film(molecule, count, atoms.cell.array, low, high, spec.seed)
    film = Atoms(numbers=np.tile(molecule.numbers, count), positions=packed.reshape(-1, 3))
    film.set_array("molecule", np.repeat(np.arange(count), len(molecule)), int, ())
    atoms.extend(film)
    atoms.info = {
        "kind": "interface",
        "formula": spec.liquid.molecule,
        "facet": spec.slab.facet,
        "seed": spec.seed,
        "metal_top": metal_top,
        "film_low": low,
        "film_high": high,
    }
    refuse_overlap(atoms, TOLERANCE - OVERLAP_SLACK)
    notes: list[str] = []
    if spec.liquid.thickness is not None and abs(thickness - spec.liquid.thickness) > 1e-6:
        notes.append(
            f"the film is {thickness:.2f} Å thick, not {spec.liquid.thickness:g} Å, so that {count} whole "
            "molecules have the density asked for"
        )
    density = count * float(molecule.get_masses().sum()) / (area * thickness) / GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3
    if density < spec.liquid.density * (1 - 1e-6):
        notes.append(
            f"a film of {count} {spec.liquid.molecule} is made {thickness:g} Å thick, one molecule: its density is {density:.3g} "
            f"g/cm^3, not {spec.liquid.density:g} g/cm^3"
        )
    return atoms, report(atoms, spec, notes)


def _refuse_narrow_cell(slab: Atoms, molecule: Atoms, spec: InterfaceSystem) -> None:
    # a molecule must not touch its own image; packmol does not look at that
    from ase.geometry import cell_to_cellpar

    lengths = cell_to_cellpar(slab.cell)
    widths = lengths[:2] * np.sin(np.radians(lengths[5]))
    spans = molecule.get_all_distances()
    needed = float(spans.max()) + 2 * HEAVY_RADIUS
    if widths.min() < needed:
        raise InputError(
            f"system.slab.size: {list(spec.slab.size)} makes a cell {widths.min():.2f} Å wide; "
            f"allowed: {needed:.2f} Å or more for {spec.liquid.molecule}, so repeat it more often"
        )
