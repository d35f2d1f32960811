"""Runs a command from this small process: ``python launch.py COMMAND...`` prints its wall time (s), memory and exit code.

The largest resident memory that Linux reports of a process includes that of the one it was started from; from a
benchmark that has just made a gigabyte of data it would be the benchmark's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main(command: list[str]) -> None:
    """Run it with its errors on ours, and print the figures as JSON."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    print(json.dumps({"wall": seconds, "resident": 1024 * usage.ru_maxrss, "exit": process.returncode}))


if __name__ == "__main__":
    main(sys.argv[1:])
