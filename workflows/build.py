"""From the word ``system`` to a structure and its report, as a process."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction
from pydantic import TypeAdapter

from vibraloom.errors import VibraloomError
from vibraloom.structures.build import build
from vibraloom.structures.spec import System

ERROR_STRUCTURE = 210


@calcfunction
def build_structure(system: orm.Dict) -> dict[str, Any] | ExitCode:
    """Build the structure that ``system`` names.

    Returns:
        ``structure`` (StructureData, Å) and ``report`` (Dict: molecule of each atom, layers, distances, densities, seed).
    """
    try:
        atoms, report = build(TypeAdapter(System).validate_python(system.get_dict()))
    except VibraloomError as error:
        return ExitCode(ERROR_STRUCTURE, str(error), invalidates_cache=True)
    molecule = [int(index) for index in atoms.arrays["molecule"]]
    return {"structure": orm.StructureData(ase=atoms), "report": orm.Dict({**report, "molecule": molecule})}
