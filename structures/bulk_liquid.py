"""Bulk liquids: whole molecules in a cubic cell that is periodic in x, y and z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vibraloom.errors import InputError
from vibraloom.structures.distances import refuse_overlap
from vibraloom.structures.liquid import HEAVY_RADIUS, OVERLAP_SLACK, TOLERANCE, pack_cell
from vibraloom.structures.molecule import molecule_by_formula
from vibraloom.structures.report import report
from vibraloom.structures.spec import BulkLiquidSystem
from vibraloom.units import GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms


def build_bulk_liquid(spec: BulkLiquidSystem) -> tuple[Atoms, dict[str, Any]]:
    """A cube with exactly the density asked for; the same spec gives the same atoms.

    The volume is count · mass / density. Molecules are whole, with their centres of mass inside the cell; the array
    ``molecule`` counts them from 0.

    Returns:
        The atoms (Å), and the report as plain JSON types (see :func:`vibraloom.structures.report.report`).

    Raises:
        InputError: a cell too narrow for the molecule, or a density at which it cannot be packed.
        ComputationError: atoms overlap after packing.
        MissingError: packmol is not installed.
    """
    from ase import Atoms

    molecule = molecule_by_formula(spec.molecule)
    mass = spec.count * float(molecule.get_masses().sum())
    edge = float(np.cbrt(mass / (spec.density * GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3)))
    # a molecule must not touch its own image; packmol does not look at that
    needed = float(molecule.get_all_distances().max()) + 2 * HEAVY_RADIUS
    if edge < needed:
        fewest = int(np.ceil(spec.count * (needed / edge) ** 3))
        raise InputError(
            f"system.count: {spec.count} {spec.molecule} at {spec.density:g} g/cm^3 make a cell {edge:.2f} Å wide; "
            f"allowed: {fewest} or more, which is {needed:.2f} Å"
        )
    packed = pack_cell(molecule, spec.count, edge, spec.seed)
    atoms = Atoms(np.tile(molecule.numbers, spec.count), packed.reshape(-1, 3), cell=[edge] * 3, pbc=True)
    atoms.set_array("molecule", np.repeat(np.arange(spec.count), len(molecule)), int, ())
    atoms.info = {"kind": "liquid", "formula": spec.molecule, "seed": spec.seed}
    refuse_overlap(atoms, TOLERANCE - OVERLAP_SLACK)
    return atoms, report(atoms, spec)
