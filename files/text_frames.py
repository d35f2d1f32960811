"""Frames of numbers in text, one row per atom, unpacked at the speed of the disk.

A format finds the frames and says what each column is; the rows are read here, by compiled loops on the cores at hand.
Nothing is skipped: a word, ``****``, NaN, an infinity, a missing row, an atom that changes its name or place is refused.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.frames import ScratchFrames
from vibraloom.files.read_progress import took
from vibraloom.files.row_loops import (
    ATOM,
    GOOD,
    IDENTIFIER,
    LABEL,
    LARGE,
    NAME,
    PADDING,
    WIDTH,
    after_lines,
    hashed,
    unpack_rows,
)

BLOCK = 8 * 2**20
"""Bytes of text that are read at a time."""


class FrameFormat(Protocol):
    """How the frames of a format are found."""

    def header(self, text: bytearray, at: int, size: int, frame: int) -> int | None:
        """Read what stands before the rows of frame number ``frame``, which begins at ``at`` of ``text[:size]``.

        Returns the offset of its first row; None where that lies beyond ``size``: it is called again with more text.

        Raises:
            InputError: this frame is not like the first.
        """

    def keep(self) -> None:
        """Keep what the last header said: its frame is whole."""

    @property
    def atoms(self) -> int:
        """Rows of a frame."""

    @property
    def roles(self) -> Sequence[int]:
        """What each column is: component 0, 1 or 2, or a role of :mod:`.row_loops`."""

    @property
    def name(self) -> str:
        """Name of the frame whose header was read last, for messages."""

    def factors(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """What the numbers of each atom are multiplied with, from the words of its row in the first frame."""


@dataclass(frozen=True)
class UnpackedText:
    """Frames of a text, and the words of each row of the first, in the order of the atoms."""

    frames: ScratchFrames
    first: tuple[tuple[str, ...], ...]


def unpack(path: str | Path, form: FrameFormat) -> UnpackedText:
    """Read all frames of a text.

    Raises:
        InputError: no frame, or one that is damaged, cut off or of other atoms than the first; it is named.
        ComputationError: no space for the scratch file.
    """
    source = Path(path)
    left = source.stat().st_size
    threads = max(1, min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1))
    text = bytearray(min(BLOCK, left) + PADDING)
    unpacking = _Unpacking(path, form)
    size = 0
    try:
        with source.open("rb", buffering=0) as handle, ThreadPoolExecutor(threads) as pool:
            while True:
                got = handle.readinto(memoryview(text)[size:-PADDING])
                took(got)
                size += got
                left = left - got if got else 0
                used = unpacking.take(text, size, max(left, 0), pool, threads)
                text[: size - used] = text[used:size]
                size -= used
                if not got:
                    break
                if size == len(text) - PADDING:
                    text = text + bytes(len(text))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); give a file") from error
    rest = bytes(text[:size]).strip()
    if rest:
        unpacking.cut_off(rest)
    if unpacking.result is None:
        raise InputError(f"{path}: holds no frame; give the trajectory that was meant")
    return unpacking.result


class _Unpacking:
    """Frames found so far."""

    def __init__(self, path: str | Path, form: FrameFormat) -> None:
        self._path, self._form = path, form
        self._roles: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._factors: NDArray[np.float64] = np.empty(0)
        self._names: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._numbers: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._count = 0
        self._started: str | None = None
        self.result: UnpackedText | None = None

    def take(self, text: bytearray, size: int, left: int, pool: ThreadPoolExecutor, threads: int) -> int:
        """Unpack all whole frames in ``text[:size]``; returns the bytes they take."""
        view = np.frombuffer(text, dtype=np.uint8)
        bodies: list[int] = []
        names: list[str] = []
        at = 0
        while at < size:
            if self._count + len(bodies) and not bytes(text[at : min(at + 64, size)]).strip() and not text[at:size].strip():
                break
            self._started = None
            start = self._form.header(text, at, size, self._count + len(bodies))
            if start is None:
                break
            self._started = self._form.name
            if not self._form.atoms * 2 * len(self._form.roles) <= size - start + left:
                self.cut_off(b"")
            end = int(after_lines(view, start, size, self._form.atoms))
            if end < 0:
                break
            if self.result is None:
                self._first(bytes(text[start:end]).decode("utf-8", errors="replace"))
            bodies.append(start)
            names.append(self._form.name)
            self._form.keep()
            self._started = None
            at = end
        if bodies:
            self._unpack(text, view, bodies, names, pool, threads)
            self._count += len(bodies)
        return at

    def cut_off(self, rest: bytes) -> None:
        """Refuse the frame that the file ends in."""
        frame = self._started or f"frame {self._count}"
        due = f"; {self._form.atoms} rows of {len(self._form.roles)} columns are due" if self._started else ""
        shown = f" ({_shown(rest[:80])})" if rest and not self._started else ""
        raise InputError(f"{self._path}: {frame} is cut off{shown}{due}; remove this frame, or recompute it")

    def _first(self, body: str) -> None:
        """Take names, order and factors of the atoms from the first frame."""
        atoms, roles = self._form.atoms, np.array(self._form.roles, dtype=np.int64)
        rows = [tuple(line.split()) for line in body.split("\n")[:atoms]]
        for row, words in enumerate(rows):
            if len(words) != len(roles):
                raise self._refusal(self._form.name, row, WIDTH, " ".join(words).encode())
        if IDENTIFIER in roles:
            column = int(np.flatnonzero(roles == IDENTIFIER)[0])
            try:
                numbers = np.array([int(words[column]) for words in rows], dtype=np.int64)
            except (ValueError, OverflowError) as error:
                raise InputError(f"{self._path}: {self._form.name} has an atom id that is no number; damaged") from error
            order = np.argsort(numbers, kind="stable")
            rows, self._numbers = [rows[index] for index in order], numbers[order]
            if len(np.unique(numbers)) < atoms:
                raise InputError(f"{self._path}: {self._form.name} has an atom id twice; damaged")
        self._roles = roles
        labels = [column for column, role in enumerate(roles) if role == LABEL]
        codes = [hashed("\x01".join([*(words[column] for column in labels), ""]).encode()) for words in rows]
        self._names = np.array(codes, dtype=np.uint64)
        self._factors = np.ascontiguousarray(self._form.factors(rows), dtype=np.float64)
        self.result = UnpackedText(ScratchFrames(atoms), tuple(rows))

    def _unpack(
        self, text: bytearray, view: NDArray[np.uint8], bodies: list[int], names: list[str], pool: Any, threads: int
    ) -> None:
        assert self.result is not None
        starts = np.array(bodies, dtype=np.int64)
        out = np.empty((len(bodies), self._form.atoms, 3), dtype=np.float32)
        cuts = np.unique(np.linspace(0, len(bodies), threads + 1).astype(int)).tolist()

        def part(bounds: tuple[int, int]) -> tuple[int, ...]:
            piece = slice(*bounds)
            found = unpack_rows(view, starts[piece], self._roles, self._factors, self._names, self._numbers, out[piece])
            return (bounds[0], *found)

        for first, frame, row, trouble, line in pool.map(part, itertools.pairwise(cuts)):
            if trouble != GOOD:
                end = text.find(b"\n", line)
                raise self._refusal(names[first + frame], row, trouble, bytes(text[line:end]))
        self.result.frames.append(out)

    def _refusal(self, frame: str, row: int, trouble: int, line: bytes) -> InputError:
        where = f"{self._path}: {frame}, row {row}"
        lowered = line.lower()
        if trouble == WIDTH:
            found = len(line.split())
            return InputError(
                f"{where} has {found} columns, not {len(self._form.roles)} ({_shown(line)});"
                " cut off or damaged: remove or recompute this frame"
            )
        if trouble == NAME:
            return InputError(
                f"{where} is another atom than in the first frame ({_shown(line)}); keep one system and order per file"
            )
        if trouble == ATOM:
            return InputError(
                f"{where} has an atom id that frame 0 lacks, or that stands twice ({_shown(line)}); dump a fixed group"
            )
        if b"**" in line:
            return InputError(
                f"{where} has a number that did not fit its column ({_shown(line)}); remove or recompute this frame"
            )
        if trouble == LARGE or b"nan" in lowered or b"inf" in lowered:
            return InputError(f"{where} is not finite, or absurd ({_shown(line)}); remove or recompute this frame")
        return InputError(f"{where} holds what is no number ({_shown(line)}); remove or recompute this frame")


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").strip()
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
