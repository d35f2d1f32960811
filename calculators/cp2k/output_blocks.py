"""Blocks of CP2K's log: forces, stress, and the box of an ABORT; the formats' sources are named in :mod:`.output_log`."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vibraloom.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE, GIGAPASCAL_IN_EV_PER_ANGSTROM3

PRESSURE_UNITS = {"gpa": 1.0, "bar": 1e-4, "kbar": 0.1, "mpa": 1e-3, "pa": 1e-9}
"""Units in which CP2K prints a stress, and their factor to GPa."""

_BASIS = re.compile(r"basis set|atomic potential|potential file|pseudopotential", re.IGNORECASE)
_INPUT = re.compile(
    r"keyword|section|\bparse|unknown|input file|does not exist|multiplicity|number of electrons|k-?points|cutoff|not found",
    re.IGNORECASE,
)

Text = bytes | mmap.mmap


def read_forces(text: Text, start: int) -> tuple[NDArray[np.float64] | None, str]:
    """Forces of the block whose title begins behind ``start``.

    Returns:
        (eV/Å) Array with shape (A, 3), or None where a row is cut off; and the first row whose numbers did not fit, or "".
    """
    fault = ""
    rows: list[list[float] | None] = []
    for line in _lines_from(text, start):
        words = line.removeprefix("FORCES|").split()
        if rows and (not words or not words[0].isdigit()):
            break
        if words and words[0].isdigit():
            row, wrong = _three(line, words[1:4] if line.startswith("FORCES|") else words[3:6])
            rows.append(row)
            fault = fault or wrong
    known = [row for row in rows if row is not None]
    if not known or len(known) < len(rows):
        return None, fault
    return np.array(known) * (EV_PER_HARTREE / ANGSTROM_PER_BOHR), fault


def read_stress(text: Text, start: int, unit: str) -> tuple[NDArray[np.float64] | None, str]:
    """Stress of the block whose title begins behind ``start``.

    Returns:
        (eV/Å³) Array with shape (3, 3), positive under compression, or None where it is cut off or in an unknown unit; and the
        row whose numbers did not fit, or "".
    """
    if unit.lower() not in PRESSURE_UNITS:
        return None, ""
    rows: list[list[float]] = []
    for line in _lines_from(text, start):
        words = line.removeprefix("STRESS|").split()
        if len(words) == 4 and words[0].lower() == "xyz"[len(rows)]:
            row, fault = _three(line, words[1:])
            if row is None:
                return None, fault
            rows.append(row)
        if len(rows) == 3:
            return np.array(rows) * (PRESSURE_UNITS[unit.lower()] * GIGAPASCAL_IN_EV_PER_ANGSTROM3), ""
    return None, ""


def _lines_from(text: Text, start: int) -> Iterator[str]:
    """The lines after the one that begins behind ``start``, up to the one that sums up the block."""
    at = text.find(b"\n", start + 1)
    while at >= 0:
        end = text.find(b"\n", at + 1)
        line = text[at + 1 : end if end >= 0 else None].decode("utf-8", errors="replace").strip()
        if "SUM OF" in line or line.startswith(("FORCES| Sum", "STRESS| 1/3", "1/3 TRACE")):
            return
        yield line
        at = end


def _three(line: str, words: list[str]) -> tuple[list[float] | None, str]:
    """Three numbers, or None where they are cut off; and the line where they did not fit their columns."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) == 3 and np.isfinite(values).all():
        return values, ""
    return None, shown(line.encode()) if "**" in line or len(values) == 3 else ""


def read_abort(text: Text, start: int) -> tuple[str, str]:
    """Message and place in CP2K's source of the last ABORT box."""
    words: list[str] = []
    place = "no place given"
    for line in text[start + 1 : start + 8192].decode("utf-8", errors="replace").split("\n"):
        inside = line.strip()
        if inside.startswith("****") or not inside.startswith("*"):
            break
        # the picture takes the first columns of the box
        part = line[11:].rstrip().removesuffix("*").strip()
        if re.fullmatch(r"\S+\.F:\d+", part):
            place = part
        elif part:
            words.append(part)
    return " ".join(" ".join(words).split()) or "aborted without a message", place


def problem_of_abort(message: str, place: str) -> Literal["memory", "scf", "linres", "basis", "input", "other"]:
    """What a handler acts on, from message and place of an ABORT."""
    if "alloc" in message.lower():
        return "memory"
    if "SCF run NOT converged" in message:
        return "scf"
    if "linear solver" in message:
        return "linres"
    if _BASIS.search(message):
        return "basis"
    return "input" if place.startswith("input") or "parser" in place or _INPUT.search(message) else "other"


def shown(text: bytes) -> str:
    """The first line of a text that is not empty, short enough for a message."""
    lines = [line for line in text.decode("utf-8", errors="replace").splitlines() if line.strip()]
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join((lines or [""])[0].split()))
    return repr(line if len(line) <= 60 else f"{line[:57]}...")


def seconds_between(began: bytes | None, over: bytes | None) -> float | None:
    """Seconds from one of CP2K's time stamps to another; None where one is missing or is none."""
    if began is None or over is None:
        return None
    try:
        first, last = (datetime.fromisoformat(stamp.decode()) for stamp in (began, over))
    except ValueError:
        return None
    return round((last - first).total_seconds(), 3)
