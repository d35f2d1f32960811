"""From a system of a spec to atoms and a report: the one door to this room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vibraloom.structures.bulk_liquid import build_bulk_liquid
from vibraloom.structures.interface import build_interface
from vibraloom.structures.molecule import build_molecule
from vibraloom.structures.report import report
from vibraloom.structures.spec import AnySystem, BulkLiquidSystem, InterfaceSystem

if TYPE_CHECKING:
    from ase import Atoms


def build(system: AnySystem) -> tuple[Atoms, dict[str, Any]]:
    """Atoms (Å) of ``system``, with the array ``molecule``, and the report on them as plain JSON types.

    Raises:
        InputError: the system cannot be built as asked.
        ComputationError: atoms overlap, or a program failed.
        MissingError: a program is not installed.
    """
    if isinstance(system, InterfaceSystem):
        return build_interface(system)
    if isinstance(system, BulkLiquidSystem):
        return build_bulk_liquid(system)
    atoms = build_molecule(system)
    return atoms, report(atoms, system)
