"""Tables of numbers as text, read at the speed of the disk: rows of blanks and decimals, comments after ``#``.

Every number comes out as ``float()`` would give it. Nothing is skipped: a word, ``****``, NaN, an infinity or a last
line without its end is refused with its line number.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.decimals import GOOD, NO_NUMBER, ONE, PADDING, decimal, letter_at
from vibraloom.files.read_progress import took

_BLOCK = 1 << 20
"""Bytes of text that are in memory at a time, per thread."""
_LONGEST_LINE = 1 << 24
"""Bytes of a line beyond which a file is no table."""


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
                took(len(block))
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
    buffer = np.frombuffer(text + bytes(PADDING), dtype=np.uint8)
    lines = text.count(b"\n")
    values = np.empty(len(text) // 2 + 1)
    widths = np.empty(lines, dtype=np.int32)
    marks = np.empty((text.count(b"#"), 2), dtype=np.int64)
    # places of the numbers whose rounding two doubles do not decide: (index, start, stop)
    unsure = np.empty((1024, 3), dtype=np.int64)
    count, rows, marked, doubtful, bad = _tokens(buffer, values, widths, marks, unsure)
    if doubtful > len(unsure):
        unsure = np.empty((doubtful, 3), dtype=np.int64)
        count, rows, marked, doubtful, bad = _tokens(buffer, values, widths, marks, unsure)
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
def _tokens(
    text: NDArray[np.uint8],
    values: NDArray[np.float64],
    widths: NDArray[np.int32],
    marks: NDArray[np.int64],
    unsure: NDArray[np.int64],
) -> tuple[Any, ...]:
    """Fill the arrays; returns how many numbers, rows, comments, unsure numbers, and where the first bad line is, or -1.

    ``text`` is whole lines, and :data:`PADDING` bytes more.
    """
    count, rows, marked, doubtful = 0, 0, 0, 0
    base = np.uint64(text.ctypes.data)
    at, end_of_text = base, base + np.uint64(len(text) - PADDING)
    while at < end_of_text:
        line = at
        first = count
        while True:
            letter = letter_at(at)
            while letter == 32 or letter == 9 or letter == 13:
                at += ONE
                letter = letter_at(at)
            if letter == 10:
                at += ONE
                break
            if letter == 35:  # '#'
                if count == first:
                    marks[marked, 0], marks[marked, 1] = rows, np.int64(at - base)
                    marked += 1
                while letter_at(at) != 10:
                    at += ONE
                at += ONE
                break
            value, end, state = decimal(at)
            if state == NO_NUMBER:
                return count, rows, marked, doubtful, np.int64(line - base)
            values[count] = value
            if state != GOOD:
                if doubtful < len(unsure):
                    unsure[doubtful, 0], unsure[doubtful, 1], unsure[doubtful, 2] = count, at - base, end - base
                doubtful += 1
            at = end
            count += 1
        if count > first:
            widths[rows] = count - first
            rows += 1
    return count, rows, marked, doubtful, -1
