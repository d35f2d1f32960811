"""Train one deepmd-kit model (TensorFlow backend): energy, dipole or polarizability.

Run as ``python -m vibraloom.calculators.deepmd.training job.json``. Keys: target (energy | dipole |
polarizability), seed; optional steps, validation_fraction (0.1), split_seed (0), descriptor, fitting,
batch_size, learning_rate, loss, previous (folder of an earlier attempt). Labels come from labels.npz; where
they have virials, these are trained on from the first step. A checkpoint model.ckpt of the same input.json is
continued. Results: input.json, lcurve.out, model.pb, validation.json, validation.npz.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.deepmd.dataset import read_labels, write_dataset
from vibraloom.calculators.deepmd.plane_markers import MARKER, is_planar
from vibraloom.calculators.job import (
    Progress,
    positive,
    required,
    run_job,
    versions,
    whole_number,
    write_arrays,
)
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError, MissingError

TARGETS = ("energy", "dipole", "polarizability")
STEPS = {"energy": 8000, "dipole": 12000, "polarizability": 8000}
"""Enough for one small molecule: 0.01 eV/Å in the forces of water with 80 frames."""
CUTOFF = {"energy": 6.0, "dipole": 4.0, "polarizability": 4.0}
"""(Å)"""
SMOOTH_FROM = {"energy": 3.0, "dipole": 2.5, "polarizability": 2.5}
"""(Å) From here to the cutoff the neighbours fade out."""
RATE = {"energy": [1e-2, 1e-6], "dipole": [1e-2, 1e-6], "polarizability": [2e-2, 1e-5]}
"""First and last rate. Measured with 81 frames of water against the harmonic answer of the labels' own level: infrared bands of
60 and 45 or 56 km/mol (two seeds) against 63 and 48; a rate that starts at 5e-3, or fading from 0.5 Å, gives 100."""
DEFAULT_DESCRIPTOR: dict[str, Any] = {"neuron": [8, 16], "axis_neuron": 4}
DEFAULT_FITTING = [24, 24]
PERIODIC_NEIGHBOURS = "auto:1.2"
"""deepmd-kit counts the neighbours in the labels of a cell, and leaves room for a fifth more in dynamics."""
VIRIAL_PREFACTORS = {"start_pref_v": 0.02, "limit_pref_v": 1.0}
"""Without virials in the loss the pressure of a liquid is off by gigapascals."""


def training_input(
    job: dict[str, Any], elements: list[str], counts: list[int] | None, *, virial: bool = False
) -> dict[str, Any]:
    """The input.json of ``dp train``.

    Args:
        job: see the module's text.
        elements: the type map.
        counts: atoms of each type, which bound the neighbours of a free molecule; None for periodic cells.
        virial: the labels hold virials.

    Raises:
        InputError: unknown target or bad numbers.
    """
    target = required(job, "target")
    if target not in TARGETS:
        raise InputError(f"job.json: target is {target!r}; allowed: {', '.join(TARGETS)}")
    seed = whole_number(job, "seed", minimum=0)
    steps = whole_number(job, "steps", STEPS[target])
    descriptor = {
        "type": "se_e2_a",
        "sel": PERIODIC_NEIGHBOURS if counts is None else counts,
        "rcut": CUTOFF[target],
        "rcut_smth": SMOOTH_FROM[target],
        "resnet_dt": False,
        "seed": seed + 1,
        **DEFAULT_DESCRIPTOR,
        **job.get("descriptor", {}),
    }
    fitting: dict[str, Any] = {
        "neuron": job.get("fitting", DEFAULT_FITTING),
        "resnet_dt": True,
        "seed": seed + 2,
    }
    if target == "energy":
        loss: dict[str, Any] = {
            "type": "ener",
            "start_pref_e": 0.02,
            "limit_pref_e": 1,
            "start_pref_f": 1000,
            "limit_pref_f": 10,
            **(VIRIAL_PREFACTORS if virial else {"start_pref_v": 0, "limit_pref_v": 0}),
            **job.get("loss", {}),
        }
    else:
        kind = "dipole" if target == "dipole" else "polar"
        fitting |= {"type": kind, "sel_type": answering_types(target, elements)}
        loss = {"type": "tensor", "pref": 1.0, "pref_atomic": 0.0}
    rate = job.get("learning_rate", RATE[target])
    batch = whole_number(job, "batch_size", 8)
    return {
        "model": {"type_map": elements, "descriptor": descriptor, "fitting_net": fitting},
        "learning_rate": {
            "type": "exp",
            "start_lr": rate[0],
            "stop_lr": rate[1],
            "decay_steps": max(1, min(5000, steps // 80)),
        },
        "loss": loss,
        "training": {
            "training_data": {"systems": ["dataset/train"], "batch_size": batch},
            "validation_data": {"systems": ["dataset/validation"], "batch_size": batch},
            "numb_steps": steps,
            "seed": seed,
            "disp_file": "lcurve.out",
            "disp_freq": max(1, min(200, steps // 10)),
            "save_freq": max(1, min(2000, steps // 4)),
            "save_ckpt": "model.ckpt",
            "max_ckpt_keep": 2,
        },
    }


def answering_types(target: str, elements: list[str]) -> list[int]:
    """Indices of the types whose atoms carry the tensor.

    A dipole sits on the heavy atoms, which see every bond: with few frames that generalises better than a share on each
    atom. On the heavy atom alone water's polarizability error is forty times larger, so there every type answers.
    """
    heavy = [index for index, element in enumerate(elements) if element not in ("H", MARKER)]
    return heavy if target == "dipole" and heavy else list(range(len(elements)))


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


def _validate(target: str, labels: dict[str, NDArray[Any]], frames: NDArray[np.int64]) -> dict[str, Any]:
    """RMSE on the validation frames; both sides go to validation.npz."""
    from vibraloom.calculators.ase.engines import open_deepmd
    from vibraloom.calculators.deepmd.response import TensorModel

    positions, numbers = labels["positions"][frames], labels["numbers"].tolist()
    count = len(frames)
    pairs: dict[str, tuple[NDArray[np.float64], NDArray[np.float64], str]] = {}
    cells = labels["cell"][frames] if "cell" in labels else None
    if target == "energy":
        model, types = open_deepmd("model.pb", numbers)
        boxes = None if cells is None else cells.reshape(count, 9)
        energy, forces, virial = model.eval(positions.reshape(count, -1), boxes, types)[:3]
        per_atom = labels["energy"][frames] / len(numbers)
        pairs["energy"] = (np.asarray(energy, float).reshape(count) / len(numbers), per_atom, "eV/atom")
        if "forces" in labels:
            pairs["forces"] = (np.asarray(forces, float), labels["forces"][frames], "eV/angstrom")
        if "virial" in labels:
            given = labels["virial"][frames] / len(numbers)
            pairs["virial"] = (np.asarray(virial, float).reshape(count, 3, 3) / len(numbers), given, "eV/atom")
    else:
        unit = "e*angstrom" if target == "dipole" else "angstrom^3"
        pairs[target] = (TensorModel("model.pb", target, numbers)(positions, cells), labels[target][frames], unit)
    sides = {f"{name}_model": pair[0] for name, pair in pairs.items()}
    sides |= {f"{name}_label": pair[1] for name, pair in pairs.items()}
    write_arrays("validation.npz", {"frame": frames, **sides})
    return {
        name: {
            "rmse": float(np.sqrt(np.mean((model_side - label_side) ** 2))),
            "spread": float(np.sqrt(np.mean((label_side - label_side.mean(axis=0)) ** 2))),
            "unit": unit,
        }
        for name, (model_side, label_side, unit) in pairs.items()
    }


def main(job: dict[str, Any], progress: Progress) -> None:
    """Train, freeze and validate one model; see the module's text for the keys.

    Raises:
        InputError: bad keys or labels.
        MissingError: deepmd-kit is not installed.
        ComputationError: training failed or gave a value that is no number.
    """
    _dp()
    target = required(job, "target")
    labels = read_labels("labels.npz")
    if target in TARGETS and target not in labels:
        raise InputError(f"labels.npz: array {target} is missing; label frames with it")
    if "previous" in job:
        _fetch_previous(Path(job["previous"]))
    marked = target == "polarizability" and is_planar(labels["positions"])
    shutil.rmtree("dataset", ignore_errors=True)
    _, validation = write_dataset(
        "labels.npz",
        "dataset",
        whole_number(job, "split_seed", 0, minimum=0),
        positive(job, "validation_fraction", 0.1),
        plane_markers=marked,
    )
    elements = Path("dataset/train/type_map.raw").read_text(encoding="utf-8").split()
    kinds = np.loadtxt("dataset/train/type.raw", dtype=int, ndmin=1)
    counts = None if "cell" in labels else [int((kinds == index).sum()) for index in range(len(elements))]
    settings = training_input(job, elements, counts, virial="virial" in labels)
    _train(settings, progress)
    errors = _validate(target, labels, validation)
    summary = {
        "target": target,
        "plane_markers": marked,
        "steps": settings["training"]["numb_steps"],
        "seed": settings["training"]["seed"],
        "validation": errors,
        "versions": versions(("deepmd-kit", "tensorflow-cpu", "tensorflow", "dpdata", "numpy")),
    }
    write_text("validation.json", json.dumps(summary, indent=2))


if __name__ == "__main__":
    run_job(main)
