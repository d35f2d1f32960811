"""What the workflow costs beyond its engines: wall time of ``vibraloom run`` against the time an engine ran.

Each spec (default: both examples) runs in a fresh project. An engine's time runs from the start of its command to
its last file, as if typed by hand. Jobs that run side by side are counted once: *engines* is the time in which at
least one ran, *sum* adds all up. Overhead is the rest of the wall time: AiiDA's engine, polling, transfers, parsing.

Run it on a quiet machine: ``make bench`` or ``.venv/bin/python benchmarks/overhead.py [SPEC.yaml ...]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = (ROOT / "examples" / "h2o.yaml", ROOT / "examples" / "au111-water.yaml")
Interval = tuple[float, float]
"""Start and end of a job's engine, s since 1970."""


def engine_intervals(work: Path) -> list[Interval]:
    """When engine commands ran, from the files in the jobs' folders below ``work``.

    The scheduler's empty output file is made when the command starts, ``done.json`` when it ends; so the start and
    imports of a process count as the engine's, as they do when the command is typed by hand.
    """
    starts = {path.parent: path.stat().st_mtime for path in work.rglob("_scheduler-stdout.txt")}
    return [(starts[path.parent], path.stat().st_mtime) for path in work.rglob("done.json") if path.parent in starts]


def covered(intervals: list[Interval]) -> float:
    """Length (s) of the union of the intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def measure(spec: Path) -> tuple[float, list[Interval]]:
    """Wall time (s) of the run of ``spec`` in a fresh project, and when its engines ran."""
    command = str(Path(sys.executable).with_name("vibraloom"))
    with tempfile.TemporaryDirectory(prefix="vibraloom-bench-") as folder:
        home = Path(folder) / ".vibraloom"
        environment = os.environ | {"VIBRALOOM_HOME": str(home)}
        subprocess.run(
            [command, "init"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        start = time.perf_counter()
        subprocess.run(
            [command, "run", str(spec)],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start, engine_intervals(home / "work")


def main(specs: list[Path]) -> None:
    """Measure each spec and print one row."""
    print(f"{'spec':24} {'jobs':>5} {'total s':>9} {'engines s':>10} {'sum s':>8} {'overhead s':>11} {'%':>6}")
    for spec in specs:
        total, intervals = measure(spec.absolute())
        engines = covered(intervals)
        overhead = total - engines
        added = sum(end - start for start, end in intervals)
        times = f"{total:9.1f} {engines:10.1f} {added:8.1f} {overhead:11.1f}"
        print(f"{spec.stem:24} {len(intervals):5d} {times} {100 * overhead / engines:6.1f}", flush=True)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or list(EXAMPLES))
