"""Titles of the XYZ files that i-PI writes.

Source of the format: i-PI, ipi/utils/io/backends/io_xyz.py and ipi/utils/io/__init__.py: ``# CELL(abcABC): a b c alpha beta
gamma  Step: 10  Bead: 0 positions{angstrom}  cell{atomic_unit}``; angles in degrees, a along x and b in the plane of x and y.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.cells import cell_of_lengths
from vibraloom.units import ANGSTROM_PER_BOHR

_CELL = re.compile(r"CELL\((\w+)\):((?:\s+[-+0-9.eE]+(?=\s|$))*)")
_STEP = re.compile(r"\sStep:\s*(\d{1,18})(?=\s|$)")
_BEAD = re.compile(r"\sBead:\s*(\d{1,9})(?=\s|$)")
_UNIT = re.compile(r"(?:^|\s)(\w+)\{([^{}\s]*)\}")
_LENGTHS = {"atomic_unit": ("bohr", ANGSTROM_PER_BOHR), "angstrom": ("angstrom", 1.0)}
_KINDS = {"positions": "position", "x_centroid": "position", "velocities": "velocity", "v_centroid": "velocity"}
_UNITS = {
    "position": {name: own for name, (own, _) in _LENGTHS.items()},
    "velocity": {"atomic_unit": "bohr/au_time"},
}


@dataclass(frozen=True)
class IpiTitle:
    """What the title of a frame says.

    Attributes:
        quantity: i-PI's name of it.
        kind: ``position`` or ``velocity``.
        unit: its unit, by our name.
        step: number of the step.
        bead: number of the bead, 0 for classical nuclei and centroids.
        cell: (Å) Array with shape (3, 3), rows are lattice vectors; None for one without volume.
    """

    quantity: str
    kind: str
    unit: str
    step: int
    bead: int
    cell: NDArray[np.float64] | None


def is_ipi(title: str) -> bool:
    """Whether a title is one of i-PI's."""
    return title.lstrip().startswith("#") and "CELL(" in title and _STEP.search(title) is not None


def read_ipi_title(where: str, title: str) -> IpiTitle:
    """Read a title of i-PI.

    Args:
        where: file and frame, for messages.
        title: the second line of the frame.

    Raises:
        InputError: another quantity than positions and velocities, a unit that is missing or not read, a damaged cell.
    """
    units = dict(_UNIT.findall(title))
    quantities = [name for name in units if name != "cell"]
    quantity = quantities[0] if len(quantities) == 1 else ""
    kind = _KINDS.get(quantity)
    if kind is None:
        found = ", ".join(quantities)[:60] or "no quantity with its unit"
        raise InputError(f"{where} names {found}; allowed of i-PI: {', '.join(_KINDS)}, each with its unit in braces")
    if units[quantity] not in _UNITS[kind]:
        raise InputError(
            f"{where} has {quantity} in {units[quantity][:40]!r}; allowed of i-PI: {', '.join(_UNITS[kind])}"
        )
    step, bead = _STEP.search(title), _BEAD.search(title)
    if step is None or bead is None:
        raise InputError(f"{where} has no number of its step or bead in the title; damaged: remove or recompute this frame")
    return IpiTitle(quantity, kind, _UNITS[kind][units[quantity]], int(step[1]), int(bead[1]), _cell(where, title, units))


def _cell(where: str, title: str, units: dict[str, str]) -> NDArray[np.float64] | None:
    found = _CELL.search(title)
    try:
        numbers = [float(word) for word in found[2].split()] if found is not None else []
    except ValueError:
        numbers = []
    if found is None or found[1] != "abcABC" or len(numbers) != 6 or not all(abs(number) < 1e9 for number in numbers):
        raise InputError(f"{where} has no cell of three lengths and three angles (abcABC) in its title; damaged, or not by i-PI")
    if units.get("cell") not in _LENGTHS:
        raise InputError(f"{where} has its cell in {units.get('cell', 'no unit')[:40]!r}; allowed of i-PI: {', '.join(_LENGTHS)}")
    cell = cell_of_lengths(numbers[:3], np.cos(np.radians(numbers[3:])).tolist())
    return None if cell is None else cell * _LENGTHS[units["cell"]][1]
