"""How long ``vibraloom --help`` takes: the median of seven starts, against 0.3 s.

Run it on a quiet machine: ``make bench`` or ``.venv/bin/python benchmarks/cli_start.py``.
Exits with 1 above the limit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

STARTS = 7
LIMIT = 0.3
"""s"""


def seconds(*arguments: str) -> float:
    """Wall time (s) of one start of the command."""
    start = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name("vibraloom"), *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure and print; returns the exit code."""
    times = [seconds("--help") for _ in range(STARTS)]
    median = statistics.median(times)
    spread = f"fastest {min(times):.3f}, slowest {max(times):.3f}"
    print(f"vibraloom --help: median {median:.3f} s of {STARTS} ({spread}); limit {LIMIT} s")
    return int(median > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
