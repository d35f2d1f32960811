"""What a run is doing, on the screen: one line per job at work, updated while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LIVE_SECONDS = 0.5
LINES_SECONDS = 1.0
"""Time between two looks at the jobs: where bars move, and where only a line per ended job is printed."""


class RunProgress:
    """Follows the jobs under a run; on a terminal as live bars, elsewhere as one line per job that ended."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.fields[step]:<24}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[int] = set()
        self._start = time.monotonic()

    async def follow(self, run: Any) -> None:
        """Look at the jobs under ``run`` until it ends or this coroutine is cancelled."""
        live = (
            Live(self.bars, console=self.console, refresh_per_second=4)
            if self.console.is_terminal
            else contextlib.nullcontext()
        )
        with live:
            while not run.is_terminated:
                self.look(run)
                await asyncio.sleep(LIVE_SECONDS if self.console.is_terminal else LINES_SECONDS)
            self.look(run)

    def look(self, run: Any) -> None:
        """Take in the state of every job under ``run``."""
        for job in self._jobs(run):
            if job.uuid not in self._tasks:
                self._tasks[job.uuid] = self.bars.add_task("", total=1.0, step=step_name(job), said="")
            task = self._tasks[job.uuid]
            if job.pk in self._ended:
                said = "from cache" if job.base.caching.is_created_from_cache else "done"
                if not job.is_finished_ok:
                    said = f"stopped: {job.exit_message or job.process_state.value}"
                self.bars.update(task, completed=1.0, said=said)
                self.bars.stop_task(task)
                if not self.console.is_terminal:
                    step = self.bars.tasks[task].fields["step"]
                    self.console.print(f"{time.monotonic() - self._start:7.1f} s  {step}: {said}")
                continue
            told = told_progress(job)
            if told is not None:
                self.bars.update(task, completed=told["done"], total=told["total"], said=told["text"])

    def _jobs(self, process: Any) -> list[Any]:
        """Jobs under ``process`` whose end was not seen before; what has ended is not read again."""
        from aiida import orm

        if process.pk in self._ended:
            return []
        if process.is_terminated:
            self._ended.add(process.pk)
        if isinstance(process, orm.CalcJobNode):
            return [process]
        if not isinstance(process, orm.WorkflowNode):
            return []
        return [job for child in process.called for job in self._jobs(child)]


def step_name(job: Any) -> str:
    """Call labels from the run down to the job, such as ``label/sample``; restarts keep their step's name."""
    names = []
    node = job
    while node is not None and node.caller is not None:
        link = node.base.attributes.get("metadata_inputs", {}).get("metadata", {}).get("call_link_label")
        if link and not link.startswith("iteration_"):
            names.append(link)
        node = node.caller
    return "/".join(reversed(names)) or job.process_label


def told_progress(job: Any) -> dict[str, Any] | None:
    """What the job's ``progress.json`` says, if the job runs on this machine."""
    workdir = job.get_remote_workdir()
    if workdir is None:
        return None
    try:
        told = json.loads((Path(workdir) / "progress.json").read_text(encoding="utf-8"))
        return {
            "done": float(told["done"]),
            "total": max(float(told["total"]), 1e-9),
            "text": str(told["text"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
