"""Times one call in this fresh process: ``python measure.py MODULE FUNCTION DATA RESULT``.

FUNCTION of MODULE (a file beside this one) takes a folder of data and returns the call to be timed, with its input in
memory. The same on the few frames of DATA/warm goes before: compiled code is loaded, and libraries are imported. Needs
NumPy and the program alone, for it runs in the environment of each peer.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np


def cpu_seconds() -> tuple[float, float]:
    """CPU time of this process, its threads and its children: in all, and in the kernel, which gives out memory."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    kernel = sum(each.ru_stime for each in used)
    return sum(each.ru_utime for each in used) + kernel, kernel


def resident(field: str) -> int:
    """Resident memory (bytes) of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def main(module: str, function: str, data: str, result: str) -> None:
    """Measure, and write CPU and wall time (s), memory beyond the input (bytes) and the spectrum."""
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        prepare = getattr(importlib.import_module(module), function)
        prepare(Path(data) / "warm")()
        call = prepare(Path(data))
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
        before = resident("VmRSS")
        (cpu, kernel), wall = cpu_seconds(), time.perf_counter()
        wavenumber, intensity = call()
        end, wall = cpu_seconds(), time.perf_counter() - wall
    found = {"cpu": end[0] - cpu, "kernel": end[1] - kernel, "wall": wall, "memory": resident("VmHWM") - before}
    np.savez(result, wavenumber=wavenumber, intensity=intensity, measured=np.array(json.dumps(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
