"""Keywords of a CP2K input file as it lies beside the output, with the sections that they stand in.

Rules of CP2K's reader (src/input/cp_parser_methods.F): ``!`` and ``#`` begin a comment, a backslash at the end of a line goes on
in the next one, names know no case. ``@INCLUDE`` and variables are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vibraloom.errors import InputError


@dataclass(frozen=True)
class Keyword:
    """One keyword: names of the sections around it, outermost first, its own name, and its value; names in upper case."""

    sections: tuple[str, ...]
    name: str
    value: str


def read_keywords(path: Path) -> Iterator[Keyword]:
    """All keywords of an input file in their order.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); keep the input beside the output") from error
    inside: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        words = line.partition("!")[0].partition("#")[0].split(None, 1)
        if not words:
            continue
        name = words[0].upper()
        if name == "&END":
            inside = inside[:-1]
        elif name.startswith("&"):
            inside.append(name[1:])
        else:
            yield Keyword(tuple(inside), name, words[1].strip() if len(words) > 1 else "")


def values_of(path: Path, section: str, name: str) -> list[str]:
    """Values of the keyword ``name`` in every section ``section``, whatever stands around it.

    Raises:
        InputError: see :func:`read_keywords`.
    """
    return [one.value for one in read_keywords(path) if one.name == name and one.sections[-1:] == (section,)]


def real_number(text: str) -> float | None:
    """A number as CP2K reads it, ``1.0D-2`` too; None for anything else, such as one with a unit."""
    try:
        return float(text.upper().replace("D", "E"))
    except ValueError:
        return None
