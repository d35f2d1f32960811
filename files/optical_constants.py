"""Tables of optical constants n and k over wavelength or wavenumber, as refractiveindex.info hands them out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError

Array = NDArray[np.float64]

_MICROMETRE = {"wl", "wavelength_um", "wavelength (um)", "wavelength, um", "wavelength, µm", "wavelength (µm)"}
_WAVENUMBER = {"wavenumber", "wavenumber_cm-1", "wavenumber (cm-1)", "wavenumber, cm-1"}
HEADINGS = "wl,n,k (wavelength in µm) or wavenumber,n,k (cm^-1)"
"""First line that a table needs, for messages."""
_LARGEST = 1e7
"""A megabyte of text is a hundred times the longest table; beyond, the file is something else."""


def read_optical_constants(path: str | Path) -> tuple[Array, Array, Array]:
    """n and k from a CSV table whose first line names its columns.

    Columns: ``wl`` or ``wavelength_um`` (µm), or ``wavenumber`` or ``wavenumber_cm-1`` (cm⁻¹); ``n``; ``k``, without which k
    is 0. A file of refractiveindex.info holds n and k in two blocks, each with its own heading, at the same wavelengths.
    Lines that begin with ``#`` are comments.

    Returns:
        Wavenumber (cm⁻¹, increasing), n and k: Arrays with shape (T,).

    Raises:
        InputError: no such file, no heading, a value that is no finite number, blocks at different wavelengths, a wavelength
            that stands twice or is not positive, fewer than two rows. Signs of n and k are not judged here.
    """
    source = Path(path)
    try:
        if source.stat().st_size > _LARGEST:
            raise InputError(f"{path}: {source.stat().st_size} bytes are no table of n and k; its first line must be {HEADINGS}")
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text table; its first line must be {HEADINGS}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give a table of n and k") from error
    columns: dict[str, dict[float, float]] = {}
    axis = ""
    heading: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = [word.strip() for word in next(csv.reader([line]), [])]
        if not any(words) or words[0].startswith("#"):
            continue
        lowered = [word.lower() for word in words]
        if lowered[0] in _MICROMETRE | _WAVENUMBER:
            heading = _heading(path, number, lowered, axis)
            axis = heading[0]
            if any(columns.get(name) for name in heading[1:]):
                raise InputError(f"{path}: line {number}: {', '.join(heading[1:])} stands twice; keep one table per file")
            continue
        if not heading:
            raise InputError(f"{path}: line {number} ({line[:40]!r}): the first line must name the columns: {HEADINGS}")
        place, values = _row(path, number, words, heading)
        for name, value in zip(heading[1:], values, strict=True):
            column = columns.setdefault(name, {})
            if place in column:
                raise InputError(f"{path}: line {number}: {words[0]} stands twice; keep one of them")
            column[place] = value
    n, k = columns.get("n", {}), columns.get("k", {})
    if len(n) < 2:
        raise InputError(f"{path}: holds {len(n)} values of n; at least two rows under a heading are needed: {HEADINGS}")
    if k and n.keys() != k.keys():
        other = next(iter(n.keys() ^ k.keys()))
        raise InputError(f"{path}: n and k stand at different places, such as {other:g}; give both at each")
    places = np.array(list(n))
    wavenumber = 1e4 / places if axis in _MICROMETRE else places
    order = np.argsort(wavenumber)
    index = np.array(list(n.values()))
    extinction = np.array([k[place] for place in n]) if k else np.zeros(len(n))
    return wavenumber[order], index[order], extinction[order]


def _heading(path: str | Path, number: int, words: list[str], axis: str) -> list[str]:
    names = words[1:]
    if not names or set(names) - {"n", "k"} or len(set(names)) < len(names) or (axis and words[0] != axis):
        raise InputError(f"{path}: line {number} ({','.join(words)[:40]!r}): allowed: {HEADINGS}")
    return words


def _row(path: str | Path, number: int, words: list[str], heading: list[str]) -> tuple[float, list[float]]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != len(heading) or not np.isfinite(numbers).all():
        raise InputError(f"{path}: line {number} ({','.join(words)[:40]!r}): {len(heading)} finite numbers are needed")
    if not 1e-6 < numbers[0] < 1e9:
        raise InputError(f"{path}: line {number}: {heading[0]} is {words[0]}; it must be positive")
    return numbers[0], numbers[1:]
