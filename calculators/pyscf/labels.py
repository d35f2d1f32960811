"""Labels for learning: energy, forces, dipole and polarizability of every frame of frames.extxyz.

Run as ``python -m vibraloom.calculators.pyscf.labels job.json``. Keys: functional, basis; optional charge
(0), unpaired (0), field (0.002 a.u.), processes (1), max_failed (0.1), max_asymmetry (0.01), previous (folder
of an earlier attempt). Each finished frame is kept as label-00012.npz; a job that is started again skips
those.
Results: labels.npz, labels.json.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.job import (
    Progress,
    positive,
    required,
    run_job,
    versions,
    whole_number,
    write_arrays,
)
from vibraloom.calculators.pyscf.electronic_structure import ElectronicStructure, LevelOfTheory, check_level
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError, VibraloomError

ARRAYS = ("positions", "energy", "forces", "dipole", "polarizability")


def read_frames(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Atomic numbers (A,) and positions (Å) with shape (F, A, 3) of an extended XYZ file.

    Raises:
        InputError: no such file, not readable, no frame, periodic frames, or frames of different atoms.
    """
    from ase.io import read

    try:
        frames = read(path, index=":", format="extxyz")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; sample frames first") from error
    except Exception as error:
        raise InputError(f"{path}: not an extended XYZ file ({error}); write it again") from error
    if not frames:
        raise InputError(f"{path}: no frame in it; sample frames first")
    numbers = frames[0].numbers
    for index, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, numbers):
            raise InputError(f"{path}: frame {index} has other atoms than frame 0; label one molecule at a time")
        if frame.pbc.any():
            raise InputError(f"{path}: frame {index} is periodic; pyscf labels molecules, set pbc to F F F")
        if not np.isfinite(frame.positions).all():
            raise InputError(f"{path}: frame {index} has a position that is not a number; sample again")
    return numbers.astype(np.int64), np.array([frame.positions for frame in frames])


_worker: ElectronicStructure | None = None


def _start_worker(level: LevelOfTheory, numbers: list[int], reference: NDArray[np.float64]) -> None:
    global _worker
    _worker = ElectronicStructure(level, numbers)
    try:
        _worker.evaluate(reference, forces=False, polarizability=True)  # the densities all frames start from
    except ComputationError:
        _worker = ElectronicStructure(level, numbers)


def _label_frame(index: int, positions: NDArray[np.float64], max_asymmetry: float) -> None:
    """Label one frame and keep it as a file."""
    assert _worker is not None
    label = _worker.evaluate(positions, forces=True, polarizability=True)
    if label.asymmetry > max_asymmetry:
        raise ComputationError(
            f"polarizability asymmetric by {label.asymmetry:.2e}, allowed {max_asymmetry:g}; change the field"
        )
    arrays = {name: getattr(label, name) for name in (*ARRAYS[1:], "asymmetry")}
    write_arrays(_label_path(index), {"positions": positions, **arrays})


def _label_path(index: int) -> Path:
    return Path(f"label-{index:05d}.npz")


def _finished(index: int, positions: NDArray[np.float64]) -> bool:
    """Whether the stored label belongs to exactly these positions."""
    try:
        with np.load(_label_path(index), allow_pickle=False) as stored:
            return np.array_equal(stored["positions"], positions)
    except (OSError, KeyError, ValueError):
        return False


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, VibraloomError) else f"{type(error).__name__}: {text}"


def _label_all(
    todo: list[int],
    positions: NDArray[np.float64],
    settings: tuple[LevelOfTheory, list[int]],
    processes: int,
    max_asymmetry: float,
) -> Iterator[tuple[int, str | None]]:
    """Yield (frame, reason of failure or None) as the frames are finished."""
    level, numbers = settings
    if processes == 1:
        _start_worker(level, numbers, positions[0])
        for index in todo:
            try:
                _label_frame(index, positions[index], max_asymmetry)
            except Exception as error:
                yield index, _reason(error)
            else:
                yield index, None
        return
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_worker, (level, numbers, positions[0])
    )
    with pool:
        futures = {pool.submit(_label_frame, index, positions[index], max_asymmetry): index for index in todo}
        for future in as_completed(futures):
            failure = future.exception()
            if isinstance(failure, BrokenProcessPool):
                raise ComputationError(
                    "a labelling process was ended from outside (memory?); "
                    "start the job again with fewer processes: finished frames are kept"
                )
            yield futures[future], None if failure is None else _reason(failure)


def main(job: dict[str, Any], progress: Progress) -> None:
    """Label every frame of frames.extxyz; see the module's text for the keys.

    Raises:
        InputError: bad frames, functional, basis or numbers.
        ComputationError: more than the allowed fraction of frames failed.
    """
    level = LevelOfTheory(
        functional=str(required(job, "functional")),
        basis=str(required(job, "basis")),
        charge=int(job.get("charge", 0)),
        unpaired=whole_number(job, "unpaired", 0, minimum=0),
        field=positive(job, "field", LevelOfTheory.field),
    )
    max_failed = float(job.get("max_failed", 0.1))
    max_asymmetry = positive(job, "max_asymmetry", 0.01)
    numbers, positions = read_frames("frames.extxyz")
    check_level(level, numbers.tolist())
    # a label made with other settings must not be taken for a finished one
    settings = {**vars(level), "numbers": numbers.tolist()}
    if "previous" in job:
        _fetch_previous(Path(job["previous"]))
    _forget_other_settings(settings)
    frames = len(positions)
    todo = [index for index in range(frames) if not _finished(index, positions[index])]
    processes = min(whole_number(job, "processes", 1), max(len(todo), 1))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failures: dict[str, str] = {}
    progress(frames - len(todo), frames, "labels")
    results = _label_all(todo, positions, (level, numbers.tolist()), processes, max_asymmetry) if todo else ()
    for count, (index, reason) in enumerate(results, start=frames - len(todo) + 1):
        if reason is not None:
            failures[str(index)] = reason
            write_text("failures.json", json.dumps(failures, indent=2))
        progress(count, frames, "labels")
    if not failures:
        Path("failures.json").unlink(missing_ok=True)
    if len(failures) > max_failed * frames or len(failures) == frames:
        first = min(failures, key=int)
        raise ComputationError(
            f"{len(failures)} of {frames} frames failed, allowed is a fraction of {max_failed:g}; "
            f"frame {first}: {failures[first]}"
        )
    _collect(numbers, [index for index in range(frames) if str(index) not in failures], settings, frames)


def _fetch_previous(folder: Path) -> None:
    """Copy an earlier attempt's finished labels, where this folder has none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; previous names the folder of an earlier attempt")
    if not Path("labels-settings.json").exists():
        for pattern in ("label-*.npz", "labels-settings.json"):
            for source in sorted(folder.glob(pattern)):
                shutil.copyfile(source, source.name)


def _forget_other_settings(settings: dict[str, Any]) -> None:
    path = Path("labels-settings.json")
    text = json.dumps(settings)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        for stale in Path().glob("label-*.npz"):
            stale.unlink()
        write_text(path, text)


def _collect(numbers: NDArray[np.int64], finished: list[int], settings: dict[str, Any], frames: int) -> None:
    collected: dict[str, list[Any]] = {name: [] for name in (*ARRAYS, "asymmetry")}
    for index in finished:
        with np.load(_label_path(index), allow_pickle=False) as stored:
            for name, values in collected.items():
                values.append(stored[name])
    asymmetry = np.array(collected.pop("asymmetry"))
    arrays = {name: np.array(values) for name, values in collected.items()}
    write_arrays("labels.npz", {"numbers": numbers, "frame": np.array(finished), **arrays})
    summary = {
        "settings": settings,
        "versions": versions(("pyscf", "numpy", "ase")),
        "frames": frames,
        "labelled": len(finished),
        "failed": frames - len(finished),
        "asymmetry": {"mean": float(asymmetry.mean()), "max": float(asymmetry.max())},
        "units": {
            "positions": "angstrom",
            "energy": "eV",
            "forces": "eV/angstrom",
            "dipole": "e*angstrom",
            "polarizability": "angstrom^3",
        },
    }
    write_text("labels.json", json.dumps(summary, indent=2))


if __name__ == "__main__":
    run_job(main)
