"""Tables of numbers as text, read at the speed of the disk: rows of blanks and decimals, comments after ``#``.

Every number comes out as ``float()`` would give it. Nothing is skipped: a word, ``****``, NaN, an infinity or a last
line without its end is refused with its line number.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError

_BLOCK = 1 << 20
"""Bytes of text that are in memory at a time, per thread."""
_LONGEST_LINE = 1 << 24
"""Bytes of a line beyond which a file is no table."""
LARGEST_POWER = 290
"""Powers of ten up to this size are exact to 2^-106 as a pair of doubles; beyond, ``float()`` does the work."""
_POWERS = [Fraction(10) ** power for power in range(-LARGEST_POWER, LARGEST_POWER + 1)]
POWER_HIGH = np.array([float(power) for power in _POWERS])
POWER_LOW = np.array([float(power - Fraction(high)) for power, high in zip(_POWERS, POWER_HIGH.tolist(), strict=True)])
_SPLIT = 134217729.0
"""2^27 + 1: splits a double in two halves whose products are exact (Dekker, Numer. Math. 18, 224 (1971))."""


@dataclass(frozen=True)
class NumberTable:
    """The rows of a text table.

    Attributes:
        numbers: Array with all numbers, row after row.
        widths: Array of int, how many numbers each row has.
        comments: (rows before it, text without ``#``) of each comment that has a line of its own.
    """

    numbers: NDArray[np.float64]
    widths: NDArray[np.int32]
    comments: tuple[tuple[int, str], ...]

    def rectangle(self, path: str | Path) -> NDArray[np.float64]:
        """The rows as an Array with shape (R, C).

        Raises:
            InputError: no row, or rows of different width.
        """
        if len(self.widths) == 0:
            raise InputError(f"{path}: holds no numbers; give the table that was meant")
        uneven = np.flatnonzero(self.widths != self.widths[0])
        if len(uneven):
            row = int(uneven[0])
            raise InputError(
                f"{path}: row {row} has {int(self.widths[row])} columns, row 0 has {int(self.widths[0])};"
                " cut off or damaged: remove or recompute this frame"
            )
        return self.numbers.reshape(len(self.widths), int(self.widths[0]))


def read_number_table(path: str | Path) -> NumberTable:
    """Read a whitespace-separated table of decimal numbers.

    Raises:
        InputError: no such file, or a line that is not made of finite decimal numbers, or one that is cut off.
    """
    numbers: list[NDArray[np.float64]] = []
    widths: list[NDArray[np.int32]] = []
    comments: list[tuple[int, str]] = []
    rows, lines = 0, 0
    threads = max(1, min(2, os.cpu_count() or 1))
    try:
        with Path(path).open("rb") as handle, ThreadPoolExecutor(threads) as pool:
            rest = b""
            while True:
                block = handle.read(_BLOCK * threads)
                text = rest + block
                if not block:
                    break
                end = text.rfind(b"\n") + 1
                text, rest = text[:end], text[end:]
                if len(rest) > _LONGEST_LINE:
                    raise InputError(f"{path}: line {lines + 1} has more than {_LONGEST_LINE} bytes; give a text table")
                pieces = _split(text, threads)
                for piece, parsed in zip(pieces, pool.map(_parse, pieces), strict=True):
                    values, row_widths, marks, bad, count = parsed
                    if bad >= 0:
                        raise _refusal(path, piece, bad, lines)
                    comments += [(rows + before, _comment(piece, start)) for before, start in marks]
                    numbers.append(values)
                    widths.append(row_widths)
                    rows += len(row_widths)
                    lines += count
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give a text table") from error
    if rest.strip():
        raise InputError(
            f"{path}: line {lines + 1} has no end ({_shown(rest)}); the file is cut off: remove this line or end it"
        )
    return NumberTable(
        np.concatenate(numbers) if numbers else np.empty(0),
        np.concatenate(widths) if widths else np.empty(0, dtype=np.int32),
        tuple(comments),
    )


def _split(text: bytes, parts: int) -> list[bytes]:
    """``text`` cut into at most ``parts`` pieces, each of whole lines."""
    if len(text) < 1 << 16:
        return [text] if text else []
    cuts = [0, *(text.find(b"\n", len(text) * part // parts) + 1 for part in range(1, parts)), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(cuts) if stop > start]


_Parsed = tuple[NDArray[np.float64], NDArray[np.int32], list[tuple[int, int]], int, int]


def _parse(text: bytes) -> _Parsed:
    """Numbers, row widths, (rows before, offset) of comments, and the offset of the first bad line or -1."""
    buffer = np.frombuffer(text, dtype=np.uint8)
    lines = text.count(b"\n")
    values = np.empty(len(text) // 2 + 1)
    widths = np.empty(lines, dtype=np.int32)
    marks = np.empty((text.count(b"#"), 2), dtype=np.int64)
    # places of the numbers whose rounding two doubles do not decide: (index, start, stop)
    unsure = np.empty((1024, 3), dtype=np.int64)
    count, rows, marked, doubtful, bad = _tokens(buffer, values, widths, marks, unsure, POWER_HIGH, POWER_LOW)
    if doubtful > len(unsure):
        unsure = np.empty((doubtful, 3), dtype=np.int64)
        count, rows, marked, doubtful, bad = _tokens(buffer, values, widths, marks, unsure, POWER_HIGH, POWER_LOW)
    for index, start, stop in unsure[:doubtful].tolist():
        values[index] = float(text[start:stop])
        if not np.isfinite(values[index]):
            bad = text.rfind(b"\n", 0, start) + 1
            break
    return values[:count].copy(), widths[:rows].copy(), [(int(row), int(at)) for row, at in marks[:marked]], bad, lines


def _comment(text: bytes, start: int) -> str:
    return _printable(text[start : text.index(b"\n", start)]).lstrip("#").strip()


def _refusal(path: str | Path, text: bytes, start: int, lines: int) -> InputError:
    line = text[start : text.index(b"\n", start)]
    number = lines + text.count(b"\n", 0, start) + 1
    if b"**" in line:
        return InputError(
            f"{path}: line {number} has a number that did not fit its column ({_shown(line)}); remove or recompute this frame"
        )
    lowered = line.lower()
    if b"nan" in lowered or b"inf" in lowered:
        return InputError(f"{path}: line {number} is not finite ({_shown(line)}); remove or recompute this frame")
    return InputError(
        f"{path}: not an array of numbers: line {number} is {_shown(line)}; allowed: .npy, .npz, .h5, a CP2K output,"
        " a deepmd folder, or a text table with '#' comments"
    )


def _printable(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").replace("\t", " ").strip()
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _shown(line: bytes) -> str:
    text = _printable(line)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


@numba.njit(cache=True, nogil=True)
def scaled(mantissa: np.uint64, power: int, high: NDArray[np.float64], low: NDArray[np.float64]) -> tuple[float, bool]:
    """mantissa · 10^power, and whether its rounding is certain."""
    if mantissa < np.uint64(9007199254740992) and -22 <= power <= 22:
        # both are exact doubles, so that one operation rounds once
        exact = float(mantissa)
        return (exact * high[power + LARGEST_POWER], True) if power >= 0 else (exact / high[LARGEST_POWER - power], True)
    if power < -LARGEST_POWER or power > LARGEST_POWER - 20:
        return 0.0, False
    upper = mantissa >> np.uint64(32)
    lower = mantissa & np.uint64(0xFFFFFFFF)
    # the mantissa as a sum of two doubles, exactly
    first = float(upper) * 4294967296.0
    second = float(lower)
    head = first + second
    tail = second - (head - first)
    ten, rest = high[power + LARGEST_POWER], low[power + LARGEST_POWER]
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
    return result, result == product + (error - margin)


@numba.njit(cache=True, nogil=True)
def _tokens(
    text: NDArray[np.uint8],
    values: NDArray[np.float64],
    widths: NDArray[np.int32],
    marks: NDArray[np.int64],
    unsure: NDArray[np.int64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
) -> tuple[int, int, int, int, int]:
    """Fill the arrays; returns how many numbers, rows, comments, unsure numbers, and where the first bad line is."""
    count, rows, marked, doubtful = 0, 0, 0, 0
    at, size = 0, len(text)
    while at < size:
        line, width = at, 0
        while True:
            letter = text[at]
            while letter == 32 or letter == 9 or letter == 13:
                at += 1
                letter = text[at]
            if letter == 10:
                at += 1
                break
            if letter == 35:  # '#'
                if width == 0:
                    marks[marked, 0], marks[marked, 1] = rows, at
                    marked += 1
                while text[at] != 10:
                    at += 1
                at += 1
                break
            start = at
            negative = letter == 45
            if negative or letter == 43:
                at += 1
                letter = text[at]
            mantissa = np.uint64(0)
            digits, kept, power = 0, 0, 0
            while 48 <= letter <= 57:
                if kept < 19:
                    mantissa = mantissa * np.uint64(10) + np.uint64(letter - 48)
                    kept += 1 if mantissa > 0 else 0
                else:
                    kept += 1
                    power += 1
                digits += 1
                at += 1
                letter = text[at]
            if letter == 46:
                at += 1
                letter = text[at]
                while 48 <= letter <= 57:
                    if kept < 19:
                        mantissa = mantissa * np.uint64(10) + np.uint64(letter - 48)
                        kept += 1 if mantissa > 0 else 0
                        power -= 1
                    else:
                        kept += 1
                    digits += 1
                    at += 1
                    letter = text[at]
            if digits == 0:
                return count, rows, marked, doubtful, line
            if letter == 101 or letter == 69:
                at += 1
                letter = text[at]
                minus = letter == 45
                if minus or letter == 43:
                    at += 1
                    letter = text[at]
                exponent, figures = 0, 0
                while 48 <= letter <= 57:
                    exponent = min(exponent * 10 + (letter - 48), 100000)
                    figures += 1
                    at += 1
                    letter = text[at]
                if figures == 0:
                    return count, rows, marked, doubtful, line
                power += -exponent if minus else exponent
            if not (letter == 32 or letter == 9 or letter == 13 or letter == 10):
                return count, rows, marked, doubtful, line
            if mantissa == 0:
                value, certain = 0.0, True
            else:
                value, certain = scaled(mantissa, power, high, low)
                certain = certain and kept <= 19
            values[count] = -value if negative else value
            if not certain:
                if doubtful < len(unsure):
                    unsure[doubtful, 0], unsure[doubtful, 1], unsure[doubtful, 2] = count, start, at
                doubtful += 1
            count += 1
            width += 1
        if width:
            widths[rows] = width
            rows += 1
    return count, rows, marked, doubtful, -1
