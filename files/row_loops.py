"""Rows of words and decimals, one row per atom, read by compiled loops."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.files.decimals import NO_NUMBER, ONE, PADDING, ZERO, blanks_and_ends, decimal, digits, letter_at, low_zeros
from vibraloom.files.raw_series import LARGEST_VALUE

__all__ = ["PADDING", "after_lines", "hashed", "unpack_rows"]

SKIPPED, LABEL, IDENTIFIER = -1, -2, -3
"""Roles of a column that is not a component: not read; must stay the same; the number by which atoms are ordered."""
GOOD, WIDTH, NUMBER, LARGE, NAME, ATOM = range(6)
"""What is wrong with a row: nothing, its columns, a number, its size, the atom's name, the atom's id."""
_FNV_START, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)


def hashed(name: bytes) -> int:
    """FNV-1a, as :func:`unpack_rows` takes it over the labels of a row, each followed by byte 1."""
    value = int(_FNV_START)
    for letter in name:
        value = ((value ^ letter) * int(_FNV_PRIME)) & 0xFFFFFFFFFFFFFFFF
    return value


@numba.njit(cache=True, nogil=True)
def after_lines(text: NDArray[np.uint8], at: int, size: int, lines: int) -> int:
    """Offset behind ``lines`` line ends from ``at`` on, or -1 where ``text[:size]`` has fewer."""
    # whole stretches are counted first; an unsigned index needs no check for its sign, and so becomes vector instructions
    while lines > 256 and at + 256 <= size:
        ends: Any = 0
        for offset in range(256):
            ends += text[np.uint64(at) + np.uint64(offset)] == 10
        lines -= ends
        at += 256
    while lines > 0 and at < size:
        lines -= text[at] == 10
        at += 1
    return at if lines == 0 else -1


@numba.njit(cache=True, nogil=True)
def _find_words(at: np.uint64, words: NDArray[np.uint64], most: int) -> tuple[int, np.uint64]:
    """Put the addresses of the words of the line at ``at`` into ``words``; how many, or more than ``most``, and the next line.

    All bits of 64 letters first: what follows does not wait for the end of each word to look at the next.
    """
    count: Any = 0
    before = ZERO
    while True:
        blanks, ends = blanks_and_ends(at)
        letters = ~blanks
        starts = letters & ~((letters << ONE) | before)
        if ends != ZERO:
            starts &= ends ^ (ends - ONE)
        while starts != ZERO:
            words[count] = at + low_zeros(starts)
            starts &= starts - ONE
            count += 1
        if ends != ZERO:
            return count, at + low_zeros(ends) + ONE
        if count > most:
            return count, at
        before = letters >> np.uint64(63)
        at += np.uint64(64)


@numba.njit(cache=True, nogil=True)
def unpack_rows(
    text: NDArray[np.uint8],
    bodies: NDArray[np.int64],
    roles: NDArray[np.int64],
    factors: NDArray[np.float64],
    names: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    out: NDArray[np.float32],
) -> tuple[Any, ...]:
    """Fill ``out`` with the components of each atom; returns frame, row, trouble and offset of the first bad row.

    Args:
        text: bytes of whole frames, and :data:`PADDING` more.
        bodies: Array with shape (F,), offset of the first row of each frame.
        roles: Array with shape (columns,): 0, 1, 2 for the components, else one of the roles above.
        factors: Array with shape (A,), multiplies the numbers of each atom.
        names: Array with shape (A,), :func:`hashed` labels of each atom.
        numbers: Array with shape (A,), ascending ids of the atoms; empty where they stand in order.
        out: Array of float32 with shape (F, A, 3).
    """
    base = np.uint64(text.ctypes.data)
    atoms, columns = len(factors), len(roles)
    seen = np.full(len(numbers), -1, dtype=np.int64)
    found = np.zeros(3)
    words = np.zeros(columns + 64, dtype=np.uint64)
    for frame in range(len(bodies)):
        at = base + np.uint64(bodies[frame])
        for row in range(atoms):
            line = np.int64(at - base)
            count, at = _find_words(at, words, columns)
            if count != columns:
                return frame, row, WIDTH, line
            place: Any = row
            name = _FNV_START
            for column in range(columns):
                role = roles[column]
                word = words[column]
                if role >= 0:
                    value, _, state = decimal(word)
                    if state == NO_NUMBER:
                        return frame, row, NUMBER, line
                    if not abs(value) < LARGEST_VALUE:
                        return frame, row, LARGE, line
                    found[role] = value
                elif role == LABEL:
                    letter = letter_at(word)
                    while not (letter == 32 or letter == 9 or letter == 13 or letter == 10):
                        name = (name ^ np.uint64(letter)) * _FNV_PRIME
                        word += ONE
                        letter = letter_at(word)
                    name = (name ^ ONE) * _FNV_PRIME
                elif role == IDENTIFIER:
                    number, end = digits(word, ZERO)
                    if end == word or end > word + np.uint64(18) or letter_at(end) > 32:
                        return frame, row, ATOM, line
                    identifier = np.int64(number)
                    # ids mostly count the atoms
                    place = max(0, min(identifier - numbers[0], atoms - 1))
                    if numbers[place] != identifier:
                        place = np.searchsorted(numbers, identifier)
                        if place == atoms or numbers[place] != identifier:
                            return frame, row, ATOM, line
                    if seen[place] == frame:
                        return frame, row, ATOM, line
                    seen[place] = frame
            if name != names[place]:
                return frame, row, NAME, line
            factor = factors[place]
            for component in range(3):
                value = found[component] * factor
                if not abs(value) < 1e30:
                    return frame, row, LARGE, line
                out[frame, place, component] = value
    return 0, 0, GOOD, 0
