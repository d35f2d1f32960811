"""Units of the files that molecular dynamics prints: CP2K's own are read, another ``UNIT`` is refused.

A file of velocities or forces does not tell its unit; that of positions neither. Defaults: src/motion_utils.F and
src/input_cp2k_motion_print.F in CP2K's repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vibraloom.calculators.cp2k.input_lines import read_keywords
from vibraloom.errors import InputError

PRINTED_UNITS = {"TRAJECTORY": "angstrom", "VELOCITIES": "bohr*au_t^-1", "FORCES": "hartree*bohr^-1"}
"""Section of MOTION/PRINT to the unit in which its file is read."""


def refuse_units(parameters: Mapping[str, Any], source: str) -> None:
    """Refuse a nested input whose trajectory, velocities or forces are printed in another unit than CP2K's own.

    Raises:
        InputError: the message begins with ``source``.
    """
    for motion in _each(parameters, "MOTION"):
        for prints in _each(motion, "PRINT"):
            for section in PRINTED_UNITS:
                for one in _each(prints, section):
                    if one.get("UNIT") is not None:
                        _check(source, section, str(one["UNIT"]))


def check_units_of_input(path: Path) -> None:
    """The same for an input file; one that is not there says nothing.

    Raises:
        InputError: see :func:`refuse_units`; the message names the file.
    """
    for keyword in read_keywords(path) if path.is_file() else ():
        if keyword.name == "UNIT" and keyword.sections[:2] == ("MOTION", "PRINT") and keyword.sections[-1] in PRINTED_UNITS:
            _check(str(path), keyword.sections[-1], keyword.value)


def _check(source: str, section: str, unit: str) -> None:
    if unit.strip().strip("[]").lower() != PRINTED_UNITS[section]:
        raise InputError(
            f"{source}: MOTION/PRINT/{section}/UNIT: {unit!r}; allowed: {PRINTED_UNITS[section]}, CP2K's own, for the printed"
            " file does not tell its unit; leave UNIT out and run again"
        )


def _each(section: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    value = section.get(name)
    return (one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, Mapping))
