"""How far a long read has come: readers of text say how much they took, whoever watches adds it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_watcher: ContextVar[Callable[[int], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(tell: Callable[[int], None]) -> Iterator[None]:
    """Call ``tell`` with the bytes of each piece that a reader takes from a file within the block."""
    token = _watcher.set(tell)
    try:
        yield
    finally:
        _watcher.reset(token)


def took(size: int) -> None:
    """Said by a reader, in the thread that called it, once per piece of ``size`` bytes: megabytes, not lines."""
    tell = _watcher.get()
    if tell is not None:
        tell(size)
