"""Rows of words and decimals, one row per atom, read by compiled loops that take eight bytes at a time.

Within a word of eight bytes a digit, a blank or the end of a word is found by arithmetic on all bytes at once (D. Lemire,
Softw. Pract. Exper. 51, 1700 (2021)). The bytes must be followed by :data:`PADDING` more, whatever they are. Little endian.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from vibraloom.files.number_table import LARGEST_POWER, POWER_HIGH, POWER_LOW, scaled

PADDING = 8
"""Bytes that must follow the text in its buffer."""
LARGEST = 1e15
"""Numbers beyond this are no positions or velocities in any unit."""
SKIPPED, LABEL, IDENTIFIER = -1, -2, -3
"""Roles of a column that is not a component: not read; must stay the same; the number by which atoms are ordered."""
GOOD, WIDTH, NUMBER, LARGE, NAME, ATOM = range(6)
"""What is wrong with a row: nothing, its columns, a number, its size, the atom's name, the atom's id."""
POWERS: tuple[NDArray[np.float64], NDArray[np.float64]] = (POWER_HIGH, POWER_LOW)
"""Powers of ten as pairs of doubles, the last arguments of the loops."""

_ZERO, _ONE, _THREE, _EIGHT, _TEN = (np.uint64(number) for number in (0, 1, 3, 8, 10))
_DIGITS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x0606060606060606)
_NIBBLES = np.uint64(0xF0F0F0F0F0F0F0F0)
_BLANKS = np.uint64(0x2020202020202020)
_VISIBLE = np.uint64(0x2121212121212121)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
_UPPER, _LOWER = np.uint64(0x000F424000000064), np.uint64(0x0000271000000001)
_TENS = np.array([10**power for power in range(9)], dtype=np.uint64)
_FNV_START, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)


@intrinsic
def _eight(_: Any, text: Any, at: Any) -> Any:
    """The eight bytes at ``at`` as one number."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        word = context.get_value_type(types.uint64).as_pointer()
        return builder.load(builder.bitcast(place, word), align=1)

    return types.uint64(text, at), emit


@intrinsic
def _low_zeros(_: Any, word: Any) -> Any:
    """Number of zero bits below the lowest one, 64 for zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), emit


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
def _after_blanks(text: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    letter = text[at]
    while letter == 32 or letter == 9 or letter == 13:
        at += _low_zeros(_eight(text, at) ^ _BLANKS) >> _THREE if letter == 32 else _ONE
        letter = text[at]
    return at


@numba.njit(cache=True, nogil=True)
def _after_word(text: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    """Behind the word at ``at``: at a blank, a line end or a control character."""
    while True:
        word = _eight(text, at)
        ends = (word - _VISIBLE) & ~word & _HIGH_BITS
        if ends != _ZERO:
            return at + (_low_zeros(ends) >> _THREE)
        at += _EIGHT


@numba.njit(cache=True, nogil=True)
def _digits(text: NDArray[np.uint8], at: np.uint64, mantissa: np.uint64) -> tuple[np.uint64, np.uint64]:
    """``mantissa`` with the digits at ``at`` behind it, and the offset behind them."""
    while True:
        word = _eight(text, at) ^ _DIGITS
        count = _low_zeros(((word + _SIXES) | word) & _NIBBLES) >> _THREE
        if count == _ZERO:
            return mantissa, at
        word <<= (_EIGHT - count) << _THREE
        word = word * _TEN + (word >> _EIGHT)
        upper = (word & _PAIRS) * _UPPER
        lower = ((word >> np.uint64(16)) & _PAIRS) * _LOWER
        mantissa = mantissa * _TENS[count] + ((upper + lower) >> np.uint64(32))
        at += count
        if count < _EIGHT:
            return mantissa, at


@numba.njit(cache=True, nogil=True)
def decimal(
    text: NDArray[np.uint8], at: np.uint64, high: NDArray[np.float64], low: NDArray[np.float64]
) -> tuple[float, np.uint64, int]:
    """The decimal number at ``at``: its value within 1 ulp (exact up to 15 digits), the offset behind it, trouble."""
    letter = text[at]
    negative = letter == 45
    # signs are as random as motion: no branch on them
    at += np.uint64(negative | (letter == 43))
    start = at
    mantissa, at = _digits(text, at, _ZERO)
    figures = np.int64(at - start)
    power: Any = 0
    letter = text[at]
    if letter == 46:
        point = at + _ONE
        mantissa, at = _digits(text, point, mantissa)
        power = -np.int64(at - point)
        figures -= power
        letter = text[at]
    if figures == 0:
        return 0.0, at, NUMBER
    if figures > 19:
        # rare: read again, for beyond 19 digits the mantissa ran over
        mantissa, power = _long_mantissa(text, start, at)
    if letter == 101 or letter == 69:
        at += _ONE
        letter = text[at]
        minus = letter == 45
        if minus or letter == 43:
            at += _ONE
        first = at
        exponent, at = _digits(text, at, _ZERO)
        if at == first:
            return 0.0, at, NUMBER
        if at > first + np.uint64(15) or exponent > np.uint64(99999):
            exponent = np.uint64(99999)
        power += -np.int64(exponent) if minus else np.int64(exponent)
        letter = text[at]
    if not (letter == 32 or letter == 10 or letter == 9 or letter == 13):
        return 0.0, at, NUMBER
    if mantissa == _ZERO:
        value = 0.0
    elif -22 <= power <= 0:
        value = float(mantissa) / high[LARGEST_POWER - power]
    elif power > 40:
        return 0.0, at, LARGE
    elif power < -LARGEST_POWER:
        value = 0.0  # below 1e-270
    else:
        value, _ = scaled(mantissa, power, high, low)
    if not value < LARGEST:
        return 0.0, at, LARGE
    return value * (1.0 - 2.0 * negative), at, GOOD


@numba.njit(cache=True, nogil=True)
def _long_mantissa(text: NDArray[np.uint8], at: np.uint64, end: np.uint64) -> tuple[np.uint64, int]:
    """The first 19 digits that count, and the power of ten."""
    mantissa = _ZERO
    kept: Any = 0
    power = 0
    behind = False
    while at < end:
        letter = text[at]
        at += _ONE
        if letter == 46:
            behind = True
        elif kept < 19:
            mantissa = mantissa * _TEN + np.uint64(letter - 48)
            kept += mantissa > _ZERO
            power -= behind
        else:
            power += not behind
    return mantissa, power


@numba.njit(cache=True, nogil=True)
def unpack_rows(
    text: NDArray[np.uint8],
    bodies: NDArray[np.int64],
    roles: NDArray[np.int64],
    factors: NDArray[np.float64],
    names: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    out: NDArray[np.float32],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
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
        high, low: :data:`POWERS`.
    """
    atoms, columns = len(factors), len(roles)
    seen = np.full(len(numbers), -1, dtype=np.int64)
    found = np.zeros(3)
    for frame in range(len(bodies)):
        at = np.uint64(bodies[frame])
        for row in range(atoms):
            line = np.int64(at)
            place: Any = row
            name = _FNV_START
            for column in range(columns):
                at = _after_blanks(text, at)
                if text[at] == 10:
                    return frame, row, WIDTH, line
                role = roles[column]
                if role >= 0:
                    value, at, trouble = decimal(text, at, high, low)
                    if trouble != GOOD:
                        return frame, row, trouble, line
                    found[role] = value
                elif role == SKIPPED:
                    at = _after_word(text, at)
                elif role == LABEL:
                    end = _after_word(text, at)
                    while at < end:
                        name = (name ^ np.uint64(text[at])) * _FNV_PRIME
                        at += _ONE
                    name = (name ^ _ONE) * _FNV_PRIME
                else:
                    first = at
                    number, at = _digits(text, at, _ZERO)
                    if at == first or at > first + np.uint64(18) or text[at] > 32:
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
            at = _after_blanks(text, at)
            if text[at] != 10:
                return frame, row, WIDTH, line
            at += _ONE
            if name != names[place]:
                return frame, row, NAME, line
            factor = factors[place]
            for component in range(3):
                value = found[component] * factor
                if not abs(value) < 1e30:
                    return frame, row, LARGE, line
                out[frame, place, component] = value
    return 0, 0, GOOD, 0
