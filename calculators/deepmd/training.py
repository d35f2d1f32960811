"""Train one deepmd-kit model (TensorFlow backend): energy, dipole or polarizability.

Run as ``python -m vibraloom.calculators.deepmd.training job.json``. Keys: target (energy | dipole | polarizability), seed;
optional steps, validation_fraction (0.1), split_by (frame | block | origin), split_seed (0), owner (total | molecules), type_map,
descriptor, fitting, batch_size, learning_rate, loss, previous (folder of an earlier attempt). Labels come from labels.npz and
labels.json (:mod:`vibraloom.files.dataset`), those to validate on from the same files in validation/, or else from a split. Where
they have virials, these are trained on from the first step. A checkpoint model.ckpt of the same input.json is continued. Results:
input.json, lcurve.out, model.pb, validation.json, validation.npz.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.deepmd.training_input import PERIODIC_NEIGHBOURS, training_input
from vibraloom.calculators.deepmd.training_sets import OWNERS, TARGETS, training_sets, write_training_sets
from vibraloom.calculators.deepmd.validation import validate
from vibraloom.calculators.job import Progress, positive, run_job, versions, whole_number, write_arrays
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError, MissingError
from vibraloom.files.dataset import read_dataset
from vibraloom.files.dataset_split import By


def read_learning_curve(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Columns of lcurve.out by name; a line that is still being written is left out.

    Raises:
        ComputationError: a value is not a number.
    """
    columns: list[str] = []
    rows: dict[int, list[float]] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            columns = columns or line.lstrip("# ").split()
            continue
        try:
            values = [float(text) for text in line.split()]
        except ValueError:
            continue
        if columns and len(values) == len(columns):
            rows[int(values[0])] = values
            if not np.isfinite(values).all():
                name = columns[int(np.argmax(~np.isfinite(values)))]
                raise ComputationError(
                    f"{path}: {name} is not a number at step {int(values[0])}; lower learning_rate or check the labels"
                )
    table = np.array([rows[step] for step in sorted(rows)]).reshape(len(rows), len(columns))
    return {name: table[:, index] for index, name in enumerate(columns)}


def _dp() -> str:
    beside = Path(sys.executable).parent / "dp"
    found = str(beside) if beside.is_file() else shutil.which("dp")
    if not found:
        raise MissingError("deepmd-kit (the command dp) is not installed; pip install 'vibraloom[deepmd]'")
    return found


def _last_step() -> int | None:
    """Step of the checkpoint in this folder, or None."""
    try:
        line = Path("checkpoint").read_text(encoding="utf-8").splitlines()[0]
        name = line.split('"')[1]
        if not Path(f"{Path(name).name}.index").is_file() or not Path("model.ckpt.index").exists():
            return None
        return int(name.rsplit("-", 1)[1])
    except (OSError, IndexError, ValueError):
        return None


def _fetch_previous(folder: Path) -> None:
    """Copy an earlier attempt's checkpoint, where this folder has none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; previous names the folder of an earlier attempt")
    if Path("checkpoint").exists() or not (folder / "checkpoint").exists():
        return
    for pattern in ("model.ckpt*", "lcurve.out", "input.json", "checkpoint"):
        for source in folder.glob(pattern):
            shutil.copyfile(source, source.name)


def _end_with_parent() -> None:
    """Let the kernel end this process when its parent is killed, so that no second training writes here."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def _run_dp(arguments: list[str], log: Path, progress: Progress | None, steps: int) -> None:
    """Run ``dp --tf`` with ``arguments``, following lcurve.out."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [_dp(), "--tf", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            while True:
                try:
                    code = process.wait(0.5)
                    break
                except subprocess.TimeoutExpired:
                    pass
                if progress is not None and Path("lcurve.out").is_file():
                    done = read_learning_curve("lcurve.out").get("step", np.empty(0))
                    progress(float(done[-1]) if len(done) else 0.0, steps + 1, "training steps")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code != 0:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "Error" in line]
        reason = lines[-1].strip()[:300] if lines else "no reason given"
        raise ComputationError(f"dp {arguments[0]} ended with code {code}: {reason}; see {log.name}")


def _train(settings: dict[str, Any], progress: Progress) -> None:
    text = json.dumps(settings, indent=2)
    path = Path("input.json")
    steps = settings["training"]["numb_steps"]
    last = _last_step()
    if last is not None and path.exists() and path.read_text(encoding="utf-8") != text:
        last = None  # a checkpoint of other settings is no start for these
    if last is None:
        for stale in [
            *Path().glob("model.ckpt*"),
            *map(Path, ("checkpoint", "lcurve.out", "train.log", "model.pb")),
        ]:
            stale.unlink(missing_ok=True)
    write_text(path, text)
    log = Path("train.log")
    if last is None or last < steps:
        resume = ["--restart", "model.ckpt"] if last is not None else []
        counted = settings["model"]["descriptor"]["sel"] != PERIODIC_NEIGHBOURS
        skip = ["--skip-neighbor-stat"] if counted else []
        _run_dp(["train", "input.json", *skip, *resume], log, progress, steps)
    curve = read_learning_curve("lcurve.out")
    if not len(curve.get("step", ())):
        raise ComputationError("lcurve.out: empty after training; see train.log")
    _run_dp(["freeze", "-o", "model.pb"], log, None, steps)


def main(job: dict[str, Any], progress: Progress) -> None:
    """Train, freeze and validate one model; see the module's text for the keys.

    Raises:
        InputError: bad keys or labels.
        MissingError: deepmd-kit is not installed.
        ComputationError: training failed or gave a value that is no number.
    """
    _dp()
    target = _choice(job, "target", TARGETS)
    assert target is not None
    if "previous" in job:
        _fetch_previous(Path(job["previous"]))
    sets = training_sets(
        read_dataset("."),
        target,
        validation=read_dataset("validation") if Path("validation").is_dir() else None,
        fraction=positive(job, "validation_fraction", 0.1),
        by=_choice(job, "split_by", get_args(By)),
        seed=whole_number(job, "split_seed", 0, minimum=0),
        owner=_choice(job, "owner", OWNERS),
        type_map=tuple(job["type_map"]) if "type_map" in job else None,
    )
    shutil.rmtree("dataset", ignore_errors=True)
    settings = training_input(job, sets, write_training_sets(sets, "dataset"))
    _train(settings, progress)
    errors, sides = validate("model.pb", target, sets)
    write_arrays("validation.npz", sides)
    summary = {
        "target": target,
        "label": sets.label,
        "plane_markers": sets.marked,
        "steps": settings["training"]["numb_steps"],
        "seed": settings["training"]["seed"],
        "frames": {part: sum(each.frames for each in getattr(sets, part)) for part in ("train", "validation")},
        "validation": errors,
        "warnings": list(sets.warnings),
        "versions": versions(("deepmd-kit", "tensorflow-cpu", "tensorflow", "dpdata", "numpy")),
    }
    write_text("validation.json", json.dumps(summary, indent=2))


def _choice(job: dict[str, Any], key: str, allowed: Sequence[Any]) -> Any:
    """One of ``allowed`` under ``key``; None where the key may be absent and is."""
    value = job.get(key)
    if value not in allowed and (value is not None or key == "target"):
        raise InputError(f"job.json: {key} is {value!r}; allowed: {', '.join(allowed)}")
    return value


if __name__ == "__main__":
    run_job(main)
