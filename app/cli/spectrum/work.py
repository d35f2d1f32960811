"""What a spectrum command is doing, on the terminal, when it takes longer than a moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUICK = 1.0
"""Seconds that a command may take without a word."""
_LOOK = 0.25
"""Seconds between two looks at what was done."""


class Work:
    """The phase a command is in, drawn on standard error by a thread of its own; silent where that is no terminal.

    The command only says what it begins; what is done is looked at a few times per second, so that nothing waits for it.
    """

    def __init__(self) -> None:
        self._phase = _Phase("starting")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True) if sys.stderr.isatty() else None

    @classmethod
    def begin(cls) -> Work:
        """Work that ends with the running command, however that ends."""
        return click.get_current_context().with_resource(cls())

    def __enter__(self) -> Work:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def enter(self, name: str, total: int = 0, done: Callable[[], int] | None = None, unit: str = "") -> None:
        """Begin a phase.

        Args:
            name: what is done.
            total: how much there is to do; 0: not known.
            done: says how much is done, called from another thread.
            unit: of both: ``bytes``, shown in MB or GB, or any word.
        """
        self._phase = _Phase(name, total, done, unit)

    @contextmanager
    def reading(self, paths: Sequence[Path]) -> Iterator[None]:
        """The phase in which files are read; bytes are counted where the reader tells them."""
        from vibraloom.files.read_progress import watching

        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            taken += size

        total = sum(path.stat().st_size for path in paths if path.is_file())
        self.enter(f"reading {paths[0].name}" + (" …" if len(paths) > 1 else ""), total, lambda: taken, "bytes")
        with watching(take):
            yield

    def end(self) -> None:
        """Clear the line; nothing is drawn from here on."""
        self._ended.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _show(self) -> None:
        if self._ended.wait(_QUICK):
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bars:
            shown = None
            while not self._ended.is_set():
                phase = self._phase
                if phase is not shown:
                    for task in bars.task_ids:
                        bars.remove_task(task)
                    line = bars.add_task(phase.name, total=None, said="")
                    shown = phase
                bars.update(line, **phase.state())
                bars.refresh()
                self._ended.wait(_LOOK)


class _Phase:
    def __init__(self, name: str, total: int = 0, done: Callable[[], int] | None = None, unit: str = "") -> None:
        self.name, self._total, self._done, self._unit = name, total, done, unit

    def state(self) -> dict[str, Any]:
        """Arguments of rich's ``Progress.update``: a bar that only pulses where nothing is counted."""
        done = self._done() if self._done is not None and self._total else 0
        if not done:
            return {"completed": 0, "total": None, "said": ""}
        if self._unit == "bytes":
            size, unit = (1e9, "GB") if self._total >= 1e9 else (1e6, "MB")
            said = f"{done / size:.1f} of {self._total / size:.1f} {unit}"
        else:
            said = f"{done} of {self._total} {self._unit}"
        return {"completed": min(done, self._total), "total": self._total, "said": said}


class WatchedFrames:
    """Frames of others (``shape`` and ``read``, as :class:`vibraloom.spectra.vdos.Frames`), with a count of those taken."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames
        self.shape: tuple[int, ...] = frames.shape
        self._reached: dict[int, tuple[int, int]] = {}

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        """As the frames themselves."""
        rows: NDArray[Any] = self._frames.read(start, stop, atoms)
        # stretches of frames overlap, and tiles of atoms come from several threads, each tile from one at a time
        first, last, _ = (slice(None) if atoms is None else atoms).indices(self.shape[1])
        self._reached[first] = (last - first, max(stop, self._reached.get(first, (0, 0))[1]))
        return rows

    def taken(self) -> int:
        """Frames that were read, with those in part by their part."""
        return sum(width * reached for width, reached in list(self._reached.values())) // max(self.shape[1], 1)
