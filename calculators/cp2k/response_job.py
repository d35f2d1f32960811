"""Response of first-principles dynamics: ``python -m vibraloom.calculators.cp2k.response_job job.json``.

Reads each ``trajectory-RR.h5`` in the job's folder, whose dipole CP2K printed along the run (of a metal slab the component
along its normal), and beside it, where frames were computed by themselves, ``labels-RR.npz`` and ``labels-RR.json`` (the
dataset of :class:`vibraloom.workflows.cp2k_labels.Cp2kLabelWorkChain`). Writes ``response-RR.npz``: ``step``, ``dipole`` or
``dipole_normal`` (e·Å), ``dipole_step`` where the dipole is that of the labels, ``polarizability_step`` and
``polarizability`` (Å³). Keys: ``label_stride`` (frames from one that is labelled to the next, or null), ``labelled_dipole``
(the dipole is that of the labels) and ``failures`` (replica → name of a frame → reason).
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
from vibraloom.spectra.dipole import unwrap_dipole

_NAME = re.compile(r"step_(\d+)")


def response_of(
    trajectory: str | Path,
    labels: str | Path | None = None,
    stride: int | None = None,
    failures: Mapping[str, str] | None = None,
    *,
    labelled_dipole: bool = False,
) -> dict[str, NDArray[Any]]:
    """Arrays of one replica's response.

    Args:
        trajectory: H5MD file with the observable ``dipole`` (e·Å, unwrapped) or ``dipole_normal`` (e·Å), or with neither.
        labels: npz of labelled frames with ``polarizability`` (Å³), shape (L, 3, 3), or ``polarizability_field``, whose
            columns are NaN along axes without a field, and with a dipole; a JSON file of the same stem names them.
        stride: frames of the trajectory from one labelled frame to the next.
        failures: name of a frame without label → reason.
        labelled_dipole: the dipole is that of the labels: the trajectory's engine has none.

    Returns:
        ``step`` (F,); ``dipole`` (e·Å) (F, 3) or ``dipole_normal`` (e·Å) (F,) where the trajectory has one, or
        ``dipole_step`` (L,) and ``dipole`` (L, 3) of the labels; ``polarizability_step`` (L,) and ``polarizability`` (Å³)
        (L, 3, 3), 0 along an axis without a field, where the labels have one.

    Raises:
        InputError: a damaged file, or labelled frames that are not evenly spaced along the trajectory.
    """
    header = read_trajectory(trajectory, arrays=False)
    arrays: dict[str, NDArray[Any]] = {"step": header.step}
    arrays |= {name: header.observables[name] for name in ("dipole", "dipole_normal") if name in header.observables}
    if labels is None:
        return arrays
    steps, found = _labelled(Path(labels))
    wanted = header.step[:: stride or 1]
    if foreign := sorted(set(steps.tolist()) - set(wanted.tolist())):
        raise InputError(f"{labels}: step {foreign[0]} is none of the frames wanted from {trajectory}; label the frames again")
    order = np.argsort(steps)
    steps, found = steps[order], {name: values[order] for name, values in found.items()}
    if len(set(np.diff(steps).tolist())) > 1:
        missing = sorted(set(wanted.tolist()) - set(steps.tolist()))
        reasons = {int(_NAME.fullmatch(name).group(1)): why for name, why in (failures or {}).items()}  # type: ignore[union-attr]
        why = reasons.get(missing[0], "it was not labelled")
        raise InputError(
            f"{labels}: no response of step {', '.join(map(str, missing))}: a spectrum needs evenly spaced frames "
            f"({why}); repair that and run the spec again: what is finished is kept"
        )
    if labelled_dipole:
        arrays |= {"dipole_step": steps, "dipole": _continuous(Path(labels), steps, found)}
    elif "polarizability" not in found:
        raise InputError(f"{labels}: has no polarizability; label the frames with polarizability: [field]")
    if "polarizability" in found:
        arrays |= {"polarizability_step": steps, "polarizability": found["polarizability"]}
    return arrays


def _continuous(path: Path, steps: NDArray[np.int64], found: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(e·Å) Dipoles of the labels, shape (L, 3), without the jumps by a quantum from one frame to the next."""
    dipole = found.get("dipole", found.get("dipole_modulo"))
    if dipole is None:
        raise InputError(f"{path}: has no dipole; label the frames again")
    if "dipole_quantum" not in found:
        return dipole
    series, ambiguous = unwrap_dipole(dipole, found["dipole_quantum"])
    if len(ambiguous):
        frame = int(ambiguous[0])
        raise InputError(
            f"{path}: between steps {steps[frame - 1]} and {steps[frame]} the dipole changes by nearly half a quantum: its "
            "branch is ambiguous; label frames that are closer together (a smaller response.dipole_every)"
        )
    return series


def _labelled(path: Path) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Steps of the labelled frames, (L,), and their dipoles and polarizabilities by name."""
    try:
        names = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["names"]
        with np.load(path, allow_pickle=False) as stored:
            wanted = ("dipole", "dipole_modulo", "dipole_quantum", "polarizability", "polarizability_field")
            arrays = {name: np.asarray(stored[name], dtype=np.float64) for name in wanted if name in stored.files}
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; label the frames first") from error
    except KeyError as error:
        raise InputError(f"{path.with_suffix('.json')}: has no {error.args[0]}; label the frames again") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: not the labels of frames; label them again") from error
    found = [_NAME.fullmatch(str(name)) for name in names]
    by_field = arrays.pop("polarizability_field", None)
    if "polarizability" not in arrays and by_field is not None:
        # an axis without a field is left out; what remains is symmetric but for the noise of its dipoles
        known = np.nan_to_num(np.where(np.isnan(by_field.swapaxes(-1, -2)), np.nan, by_field))
        arrays["polarizability"] = 0.5 * (known + known.swapaxes(-1, -2))
    for name, values in arrays.items():
        shape = (len(names), 3) if name in ("dipole", "dipole_modulo") else (len(names), 3, 3)
        if not all(found) or values.shape != shape:
            raise InputError(f"{path}: {len(names)} frame names for {name} of shape {values.shape}; label them again")
    return np.array([int(match.group(1)) for match in found if match], dtype=np.int64), arrays


def main(job: dict[str, Any], progress: Progress) -> None:
    """Response of every ``trajectory-RR.h5`` in the present folder."""
    paths = sorted(Path().glob("trajectory-*.h5"))
    if not paths:
        raise InputError("trajectory-*.h5: no such file in the job's folder; run the dynamics first")
    stride = job.get("label_stride")
    for count, path in enumerate(paths):
        progress(count, len(paths), f"response of {path.name}")
        replica = path.stem.removeprefix("trajectory-")
        labels = None if stride is None else f"labels-{replica}.npz"
        failures = (job.get("failures") or {}).get(f"replica_{replica}")
        arrays = response_of(path, labels, stride, failures, labelled_dipole=bool(job.get("labelled_dipole")))
        write_arrays(f"response-{replica}.npz", arrays)
    progress(len(paths), len(paths), "response")


if __name__ == "__main__":
    run_job(main)
