"""Runs the calls of a case in fresh processes, one round after the other, and the command on files."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers.cases import BARE, OURS, Case, FileCase, Row, Target, difference
from peers.environments import BENCHMARKS, interpreter
from peers.trajectories import h5md

Array = NDArray[np.float64]

ROUNDS, QUICK_ROUNDS = 5, 3
PATIENCE = 100.0
"""CPU time (s) of a call above which one round must do."""
COMMAND = "vibraloom spectrum vdos"
"""The way of reading a file that includes the start of the command."""
_MODULES = {OURS: "peers.ours", BARE: "peers.baseline"}
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""One thread for everyone: CPU time is what is compared."""
_CORE_TYPES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""A machine's remedies for old libraries, which slow down current ones."""


class CallError(Exception):
    """A call that failed, with the last line that it printed."""


@dataclass
class RowResult:
    """What the rounds of a row gave; CPU time and the part of it in the kernel in s, memory in bytes beyond the input."""

    row: Row
    cpu: list[float] = field(default_factory=list)
    kernel: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    spectrum: tuple[Array, Array] | None = None
    difference: float | None = None
    failure: str | None = None

    @property
    def median(self) -> float:
        """Median CPU time; NaN where nothing was measured."""
        return statistics.median(self.cpu) if self.cpu else float("nan")


@dataclass
class CaseResult:
    """A case and its rows."""

    case: Case
    rows: list[RowResult]

    def row(self, function: str) -> RowResult:
        """The row of a function; "" is the first."""
        return next(each for each in self.rows if each.row.function == function) if function else self.rows[0]

    def ratio(self, target: Target) -> float:
        """CPU time of a row over that of another."""
        return self.row(target.row).median / self.row(target.versus).median


@dataclass(frozen=True)
class FileResult:
    """A file, its size (bytes), and for each way of reading it the wall time (s) and resident memory (bytes) of the rounds."""

    case: FileCase
    size: int
    times: Mapping[str, list[float]]
    memory: Mapping[str, list[float]]
    failures: Mapping[str, str]


def _clean_environment(threads: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _CORE_TYPES} | dict(threads)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def call_once(
    row: Row, data: Path, threads: Mapping[str, str] = _ENVIRONMENT
) -> tuple[dict[str, float], tuple[Array, Array]]:
    """One call in a fresh process: its figures, wavenumbers and spectrum.

    Raises:
        CallError: it failed.
    """
    module = _MODULES.get(row.program, "peers.programs")
    python = sys.executable if row.program in _MODULES else str(interpreter(row.program))
    result = data / "result.npz"
    command = [python, "-m", "peers.measure", module, row.function, str(data), str(result)]
    found = subprocess.run(command, cwd=BENCHMARKS, env=_clean_environment(threads), capture_output=True, text=True)
    if found.returncode:
        raise CallError(_last_line(found.stderr) + (f" (signal {-found.returncode})" if found.returncode < 0 else ""))
    with np.load(result) as archive:
        return json.loads(str(archive["measured"])), (archive["wavenumber"], archive["intensity"])


def run_case(case: Case, data: Path, not_installed: Mapping[str, str], quick: bool) -> CaseResult:
    """Make the data, time all rows in rounds, compare the spectra, remove the data."""
    data.mkdir(parents=True)
    case.make(data)
    results = [RowResult(row, failure=not_installed.get(row.program)) for row in case.rows]
    for number in range(QUICK_ROUNDS if quick else ROUNDS):
        for result in results:
            if result.failure or (number and result.cpu[0] > PATIENCE):
                continue
            try:
                figures, result.spectrum = call_once(result.row, data)
            except CallError as error:
                result.failure = str(error)
                continue
            for name in ("cpu", "kernel", "memory"):
                getattr(result, name).append(figures[name])
    shutil.rmtree(data)
    found = CaseResult(case, results)
    for result in results:
        reference = found.row(result.row.against)
        if result is not reference and result.spectrum and reference.spectrum:
            result.difference = difference(reference.row, reference.spectrum, result.row, result.spectrum, case.timestep)
    return found


def run_files(cases: list[FileCase], folder: Path, quick: bool) -> list[FileResult]:
    """The command on each file in its turn, with all cores, after one reading that warms the page cache."""
    results = []
    for case in cases:
        data = folder / case.name
        (data / "warm").mkdir(parents=True)
        path = data / case.name
        case.make(path)
        results.append(_run_file(case, path, QUICK_ROUNDS if quick else ROUNDS))
        shutil.rmtree(data)
    return results


def _run_file(case: FileCase, path: Path, rounds: int) -> FileResult:
    times: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    failures: dict[str, str] = {}
    arguments = ["spectrum", "vdos", "--trajectory", str(path), *case.options, "--group-by", "species"]
    for number in range(rounds + 1):
        seconds, resident, failure = _command([*arguments, "-o", str(path.with_suffix(".csv"))])
        if failure:
            failures[COMMAND] = failure
            break
        if number:
            times.setdefault(COMMAND, []).append(seconds)
            memory.setdefault(COMMAND, []).append(resident)
    if path.suffix == ".h5":
        h5md(path.parent / "warm" / path.name, 2000, 30)
        for function, what in (("vdos_of_file", "read_velocities, vdos"), ("read_file", "reading alone")):
            try:
                figures = [call_once(Row(OURS, function, what), path.parent, {})[0] for _ in range(rounds)]
            except CallError as error:
                failures[what] = str(error)
                continue
            times[what] = [each["wall"] for each in figures]
            memory[what] = [each["memory"] for each in figures]
    return FileResult(case, path.stat().st_size, times, memory, failures)


def _command(arguments: list[str]) -> tuple[float, float, str | None]:
    """Wall time (s), largest resident memory (bytes) and failure of one ``vibraloom`` command, from start to exit."""
    vibraloom = str(Path(sys.executable).with_name("vibraloom"))
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("launch.py")), vibraloom, *arguments],
        env=_clean_environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(found.stdout)
    return figures["wall"], figures["resident"], _last_line(found.stderr) if figures["exit"] else None
