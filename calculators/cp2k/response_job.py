"""Response of first-principles dynamics: ``python -m vibraloom.calculators.cp2k.response_job job.json``.

Reads each ``trajectory-RR.h5`` in the job's folder, whose dipole CP2K printed along the run, and beside it, where
polarizabilities were computed of some frames, ``labels-RR.npz`` and ``labels-RR.json`` (the dataset of
:class:`vibraloom.workflows.cp2k_labels.Cp2kLabelWorkChain`). Writes ``response-RR.npz``: ``step``, ``dipole`` (e·Å) where
the trajectory has one, ``polarizability_step`` and ``polarizability`` (Å³). Keys: ``polarizability_stride`` (frames from one
whose polarizability is wanted to the next, or null) and ``failures`` (replica → name of a frame → reason).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.job import Progress, run_job, write_arrays
from vibraloom.errors import InputError
from vibraloom.files.trajectory import read_trajectory

_NAME = re.compile(r"step_(\d+)")


def response_of(
    trajectory: str | Path,
    labels: str | Path | None = None,
    stride: int | None = None,
    failures: Mapping[str, str] | None = None,
) -> dict[str, NDArray[Any]]:
    """Arrays of one replica's response.

    Args:
        trajectory: H5MD file with the observable ``dipole`` (e·Å, unwrapped).
        labels: npz of labelled frames with ``polarizability`` (Å³), shape (L, 3, 3); a JSON file of the same stem names them.
        stride: frames of the trajectory from one labelled frame to the next.
        failures: name of a frame without label → reason.

    Returns:
        ``step`` (F,), ``dipole`` (e·Å) (F, 3) where it is known, and ``polarizability_step`` (L,), ``polarizability``
        (Å³) (L, 3, 3) where labels are given.

    Raises:
        InputError: a damaged file, or labelled frames that are not evenly spaced along the trajectory.
    """
    header = read_trajectory(trajectory, arrays=False)
    arrays: dict[str, NDArray[Any]] = {"step": header.step}
    if "dipole" in header.observables:
        arrays["dipole"] = header.observables["dipole"]
    if labels is None:
        return arrays
    steps, tensors = _labelled(Path(labels))
    wanted = header.step[:: stride or 1]
    if foreign := sorted(set(steps.tolist()) - set(wanted.tolist())):
        raise InputError(f"{labels}: step {foreign[0]} is none of the frames wanted from {trajectory}; label the frames again")
    order = np.argsort(steps)
    steps, tensors = steps[order], tensors[order]
    if len(set(np.diff(steps).tolist())) > 1:
        missing = sorted(set(wanted.tolist()) - set(steps.tolist()))
        reasons = {int(_NAME.fullmatch(name).group(1)): why for name, why in (failures or {}).items()}  # type: ignore[union-attr]
        why = reasons.get(missing[0], "it was not labelled")
        raise InputError(
            f"{labels}: no polarizability of step {', '.join(map(str, missing))}: a Raman spectrum needs evenly spaced ones "
            f"({why}); repair that and run the spec again: what is finished is kept"
        )
    return {**arrays, "polarizability_step": steps, "polarizability": tensors}


def _labelled(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    try:
        names = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["names"]
        with np.load(path, allow_pickle=False) as stored:
            tensors = np.asarray(stored["polarizability"], dtype=np.float64)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; label the frames first") from error
    except KeyError as error:
        raise InputError(f"{path}: has no {error.args[0]}; label the frames with polarizability: [field]") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: not the labels of frames; label them again") from error
    found = [_NAME.fullmatch(str(name)) for name in names]
    if not all(found) or tensors.shape != (len(names), 3, 3):
        raise InputError(f"{path}: {len(names)} frame names for polarizabilities of shape {tensors.shape}; label them again")
    return np.array([int(match.group(1)) for match in found if match], dtype=np.int64), tensors


def main(job: dict[str, Any], progress: Progress) -> None:
    """Response of every ``trajectory-RR.h5`` in the present folder."""
    paths = sorted(Path().glob("trajectory-*.h5"))
    if not paths:
        raise InputError("trajectory-*.h5: no such file in the job's folder; run the dynamics first")
    stride = job.get("polarizability_stride")
    for count, path in enumerate(paths):
        progress(count, len(paths), f"response of {path.name}")
        replica = path.stem.removeprefix("trajectory-")
        labels = None if stride is None else f"labels-{replica}.npz"
        failures = (job.get("failures") or {}).get(f"replica_{replica}")
        write_arrays(f"response-{replica}.npz", response_of(path, labels, stride, failures))
    progress(len(paths), len(paths), "response")


if __name__ == "__main__":
    run_job(main)
