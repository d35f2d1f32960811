"""Decimal numbers and words in text, many bytes at a time, for compiled loops.

Within eight bytes digits are found and made a number by arithmetic on all at once (D. Lemire, Softw. Pract. Exper. 51, 1700
(2021)), within 64 the ends of words (G. Langdale and D. Lemire, VLDB J. 28, 941 (2019)). All take the address of a byte in
place of an array, whose uses a loop would count. The text must be followed by :data:`PADDING` bytes more, whatever they are.
Little endian. Numba keeps the loops of :mod:`.row_loops` and :mod:`.number_table` compiled with what stands here: after a change
touch them too.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.cgutils import ir
from numba.extending import intrinsic

PADDING = 64
"""Bytes that must follow the text in its buffer."""
GOOD, UNSURE, FAR, NO_NUMBER = range(4)
"""How a decimal was read: as ``float()`` reads it; within one unit of the last place of it; beyond 1e±270, as 0 or infinity;
not at all."""
LARGEST_POWER = 290
"""Powers of ten up to this size are exact to 2^-106 as a pair of doubles."""
_POWERS = [Fraction(10) ** power for power in range(-LARGEST_POWER, LARGEST_POWER + 1)]
_HIGH = np.array([float(power) for power in _POWERS])
_LOW = np.array([float(power - Fraction(high)) for power, high in zip(_POWERS, _HIGH.tolist(), strict=True)])
_SPLIT = 134217729.0
"""2^27 + 1: splits a double in two halves whose products are exact (Dekker, Numer. Math. 18, 224 (1971))."""
_EXACT = np.uint64(2**53)

ZERO, ONE = np.uint64(0), np.uint64(1)
_THREE, _EIGHT, _TEN = (np.uint64(number) for number in (3, 8, 10))
_DIGITS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x0606060606060606)
_NIBBLES = np.uint64(0xF0F0F0F0F0F0F0F0)
_PAIRS = np.uint64(0x000000FF000000FF)
_UPPER, _LOWER = np.uint64(0x000F424000000064), np.uint64(0x0000271000000001)
_TENS = np.array([10**power for power in range(9)], dtype=np.uint64)


@intrinsic
def letter_at(_: Any, at: Any) -> Any:
    """The byte at address ``at``."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.uint64), emit


@intrinsic
def _eight(_: Any, at: Any) -> Any:
    """The eight bytes at address ``at`` as one number."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=1)

    return types.uint64(types.uint64), emit


@intrinsic
def low_zeros(_: Any, word: Any) -> Any:
    """Number of zero bits below the lowest one, 64 for zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), emit


@intrinsic
def blanks_and_ends(_: Any, at: Any) -> Any:
    """One bit for each of the 64 bytes at address ``at``: a blank, tab, carriage return or line end; a line end."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bytes_64 = ir.VectorType(ir.IntType(8), 64)
        letters = builder.load(builder.inttoptr(arguments[0], bytes_64.as_pointer()), align=1)

        def equal(letter: int) -> Any:
            return builder.icmp_unsigned("==", letters, ir.Constant(bytes_64, [letter] * 64))

        ends = equal(10)
        blanks = builder.or_(builder.or_(equal(32), equal(9)), builder.or_(equal(13), ends))
        masks = [builder.bitcast(each, ir.IntType(64)) for each in (blanks, ends)]
        return context.make_tuple(builder, signature.return_type, masks)

    return types.UniTuple(types.uint64, 2)(types.uint64), emit  # type: ignore[attr-defined]  # numba's stubs lack it


@numba.njit(cache=True, nogil=True)
def _leading_digits(word: np.uint64) -> np.uint64:
    """How many of the eight bytes are digits before one that is not."""
    word ^= _DIGITS
    return low_zeros(((word + _SIXES) | word) & _NIBBLES) >> _THREE


@numba.njit(cache=True, nogil=True)
def _number_of(word: np.uint64, count: np.uint64) -> np.uint64:
    """The number that the first ``count`` (1 to 8) bytes of ``word`` spell."""
    word = (word ^ _DIGITS) << ((_EIGHT - count) << _THREE)
    word = word * _TEN + (word >> _EIGHT)
    upper = (word & _PAIRS) * _UPPER
    lower = ((word >> np.uint64(16)) & _PAIRS) * _LOWER
    return (upper + lower) >> np.uint64(32)


@numba.njit(cache=True, nogil=True)
def digits(at: np.uint64, mantissa: np.uint64) -> tuple[np.uint64, np.uint64]:
    """``mantissa`` with the digits at ``at`` behind it, and the address behind them."""
    while True:
        word = _eight(at)
        count = _leading_digits(word)
        if count == ZERO:
            return mantissa, at
        mantissa = mantissa * _TENS[count] + _number_of(word, count)
        at += count
        if count < _EIGHT:
            return mantissa, at


@numba.njit(cache=True, nogil=True)
def decimal(at: np.uint64) -> tuple[float, np.uint64, int]:
    """The decimal number at ``at``: its value, the address behind it, and how it was read."""
    letter = letter_at(at)
    negative = letter == 45
    # signs are as random as motion: no branch on them
    at += np.uint64(negative | (letter == 43))
    start = at
    word = _eight(at)
    whole = _leading_digits(word)
    power: Any = 0
    if whole < _EIGHT and letter_at(at + whole) == 46:
        # eight digits at once, wherever the point stands among them
        mask = (ONE << (whole << _THREE)) - ONE
        word = (word & mask) | (_eight(at + ONE) & ~mask)
        count = _leading_digits(word)
        if count == ZERO:
            return 0.0, at, NO_NUMBER
        mantissa = _number_of(word, count)
        at += ONE + count
        if count == _EIGHT:
            mantissa, at = digits(at, mantissa)
        figures = np.int64(at - start) - 1
        power = np.int64(whole) - figures
    else:
        mantissa, at = digits(at, ZERO)
        figures = np.int64(at - start)
        if figures == 0:
            return 0.0, at, NO_NUMBER
        if letter_at(at) == 46:
            point = at + ONE
            mantissa, at = digits(point, mantissa)
            power = -np.int64(at - point)
            figures -= power
    if figures > 19:
        # rare: read again, for beyond 19 digits the mantissa ran over
        mantissa, power = _long_mantissa(start, at)
    letter = letter_at(at)
    if letter == 101 or letter == 69:
        at += ONE
        letter = letter_at(at)
        minus = letter == 45
        if minus or letter == 43:
            at += ONE
        first = at
        exponent, at = digits(at, ZERO)
        if at == first:
            return 0.0, at, NO_NUMBER
        if at > first + np.uint64(15) or exponent > np.uint64(99999):
            exponent = np.uint64(99999)
        power += -np.int64(exponent) if minus else np.int64(exponent)
        letter = letter_at(at)
    if not (letter == 32 or letter == 10 or letter == 9 or letter == 13):
        return 0.0, at, NO_NUMBER
    sign = 1.0 - 2.0 * negative
    if mantissa < _EXACT and -22 <= power <= 0:
        # both are exact doubles, so that one operation rounds once
        return sign * (float(mantissa) / _HIGH[LARGEST_POWER - power]), at, GOOD
    value, state = _scaled(mantissa, power)
    return sign * value, at, UNSURE if state == GOOD and figures > 19 else state


@numba.njit(cache=True, nogil=True)
def _long_mantissa(at: np.uint64, end: np.uint64) -> tuple[np.uint64, int]:
    """The first 19 digits that count, and the power of ten."""
    mantissa = ZERO
    kept: Any = 0
    power = 0
    behind = False
    while at < end:
        letter = letter_at(at)
        at += ONE
        if letter == 46:
            behind = True
        elif kept < 19:
            mantissa = mantissa * _TEN + np.uint64(letter - 48)
            kept += mantissa > ZERO
            power -= behind
        else:
            power += not behind
    return mantissa, power


@numba.njit(cache=True, nogil=True)
def _scaled(mantissa: np.uint64, power: int) -> tuple[float, int]:
    """mantissa · 10^power, and how far it is to be trusted."""
    if mantissa == ZERO:
        return 0.0, GOOD
    if mantissa < _EXACT and 0 < power <= 22:
        return float(mantissa) * _HIGH[power + LARGEST_POWER], GOOD
    if power < -LARGEST_POWER:
        return 0.0, FAR
    if power > LARGEST_POWER - 20:
        return np.inf, FAR
    upper = mantissa >> np.uint64(32)
    lower = mantissa & np.uint64(0xFFFFFFFF)
    # the mantissa as a sum of two doubles, exactly
    first = float(upper) * 4294967296.0
    second = float(lower)
    head = first + second
    tail = second - (head - first)
    ten, rest = _HIGH[power + LARGEST_POWER], _LOW[power + LARGEST_POWER]
    product = head * ten
    split = _SPLIT * head
    head_high = split - (split - head)
    head_low = head - head_high
    split = _SPLIT * ten
    ten_high = split - (split - ten)
    ten_low = ten - ten_high
    error = ((head_high * ten_high - product) + head_high * ten_low + head_low * ten_high) + head_low * ten_low
    error += head * rest + tail * ten
    # the correction is good to 2^-100 of the product: certain where that does not move the rounded sum
    margin = abs(product) * 2.0**-98
    result = product + (error + margin)
    return result, GOOD if result == product + (error - margin) else UNSURE
