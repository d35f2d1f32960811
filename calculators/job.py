"""How a script behaves as a job: it reads job.json, tells its progress, ends with done.json or error.json."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from vibraloom import __version__
from vibraloom.durable import replacing, write_text
from vibraloom.errors import InputError, VibraloomError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "DP_INTRA_OP_PARALLELISM_THREADS",
    "DP_INTER_OP_PARALLELISM_THREADS",
)
"""Environment variables that bound the threads of numpy, pyscf, tblite, TensorFlow and deepmd-kit."""

PROGRESS_INTERVAL = 0.5
"""(s) Shortest time between two writes of progress.json."""


class Progress:
    """Writes how far a job has come into progress.json, at most every :data:`PROGRESS_INTERVAL` seconds."""

    def __init__(self, folder: Path) -> None:
        """Report into ``folder``/progress.json."""
        self._path = folder / "progress.json"
        self._last = -float("inf")

    def __call__(self, done: float, total: float, text: str) -> None:
        """Say that ``done`` of ``total`` is finished; the last report (done = total) is always written."""
        now = time.monotonic()
        if now - self._last < PROGRESS_INTERVAL and done < total:
            return
        self._last = now
        write_text(self._path, json.dumps({"done": done, "total": total, "text": text}))


def set_threads(threads: int) -> None:
    """Bound the threads of every numerical library; call it before the first heavy import."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def required(job: dict[str, Any], key: str) -> Any:
    """Value of ``key`` in the job.

    Raises:
        InputError: the key is absent.
    """
    if key not in job:
        raise InputError(f"job.json: key {key!r} is missing; add it")
    return job[key]


def positive(job: dict[str, Any], key: str, default: float | None = None) -> float:
    """Positive number under ``key`` in the job (or the default).

    Raises:
        InputError: absent without a default, no number, or not above zero.
    """
    value = required(job, key) if default is None else job.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"job.json: {key} is {value!r}; allowed: a number above 0")
    return value


def whole_number(job: dict[str, Any], key: str, default: int | None = None, *, minimum: int = 1) -> int:
    """Integer of at least ``minimum`` under ``key`` in the job (or the default).

    Raises:
        InputError: absent without a default, no integer, or too small.
    """
    value = required(job, key) if default is None else job.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(f"job.json: {key} is {value!r}; allowed: an integer of at least {minimum}")
    return value


def multiple_of_timestep(job: dict[str, Any], key: str, timestep: float, default: float | None = None) -> int:
    """Number of time steps in the time (fs) under ``key``.

    Raises:
        InputError: absent without a default, negative, or no multiple of the time step.
    """
    value = required(job, key) if default is None else job.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"job.json: {key} is {value!r}; allowed: a time in fs of at least 0")
    steps = round(value / timestep)
    if abs(steps * timestep - value) > 1e-6 * timestep:
        raise InputError(
            f"job.json: {key} is {value:g} fs, no multiple of the timestep {timestep:g} fs; "
            f"take {max(steps, 1) * timestep:g} fs"
        )
    return steps


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as an npz file that is read without pickle, whole or not at all.

    Raises:
        ComputationError: the disk is full or the folder cannot be written.
    """
    import numpy as np  # after the thread variables are set

    entries: dict[str, Any] = dict(arrays)
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **entries)


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions of Python, vibraloom and of those ``packages`` (distribution names) that are installed."""
    found = {"python": sys.version.split()[0], "vibraloom": __version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


ENGINE_MODULES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "h5py": "h5py",
    "ase": "ase",
    "pyscf": "pyscf",
    "tblite": "tblite",
    "deepmd": "deepmd-kit",
    "tensorflow": "tensorflow-cpu",
    "dpdata": "dpdata",
}
"""Module to distribution; done.json records the versions of those that the job loaded."""


def loaded_versions() -> dict[str, str]:
    """Versions of Python, vibraloom and the engines that this process has imported."""
    return versions([distribution for module, distribution in ENGINE_MODULES.items() if module in sys.modules])


@contextmanager
def _failures_recorded(folder: Path) -> Iterator[None]:
    try:
        yield
    except VibraloomError as error:
        _record(folder, type(error).__name__, error.exit_code, str(error))
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error
    except Exception as error:
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _record(folder, "Unexpected", 1, text)
        raise SystemExit(1) from error


def _record(folder: Path, kind: str, exit_code: int, message: str) -> None:
    line = " ".join(message.split())
    write_text(folder / "error.json", json.dumps({"kind": kind, "exit_code": exit_code, "message": line}))


def run_job(main: Callable[[dict[str, Any], Progress], None]) -> None:
    """Run ``main(job, progress)`` with the job file named on the command line, inside that file's folder.

    On success done.json (versions, wall seconds) is written last. A :class:`VibraloomError` becomes
    error.json and the process ends with its exit code; any other exception becomes error.json of kind
    "Unexpected", with a traceback on stderr and exit code 1. error.json and done.json of an earlier attempt
    are removed first.
    """
    start = time.monotonic()
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "job.json").absolute()
    folder = path.parent
    if not folder.is_dir():
        sys.stderr.write(f"{folder}: no such folder; name the job file\n")
        raise SystemExit(InputError.exit_code)
    os.chdir(folder)
    for stale in ("error.json", "done.json"):
        (folder / stale).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that child processes end too
    with _failures_recorded(folder):
        job = _read_job(path)
        set_threads(whole_number(job, "threads", 1))
        main(job, Progress(folder))
        seconds = round(time.monotonic() - start, 3)
        done = {"versions": loaded_versions(), "wall_seconds": seconds}
        write_text(folder / "done.json", json.dumps(done, indent=2))


def _read_job(path: Path) -> dict[str, Any]:
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; write the job file first") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); write it again") from error
    if not isinstance(job, dict):
        raise InputError(f"{path}: holds a {type(job).__name__}; allowed: an object of keys")
    return job
