"""Labels to the folders that deepmd-kit trains on: train/ and validation/, each with one system in npy
files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.deepmd.plane_markers import with_markers
from vibraloom.errors import InputError, MissingError

FIELDS = ("positions", "numbers", "energy", "forces", "dipole", "polarizability")
PERIODIC_FIELDS = ("cell", "virial")
"""Read where they are there: without ``cell`` a frame is a free molecule."""


def read_labels(path: str | Path) -> dict[str, NDArray[Any]]:
    """Labels of one molecule or cell: positions (Å) (F, A, 3), numbers (A,), energy (eV) (F,), forces (eV/Å)
    (F, A, 3), dipole (e·Å) (F, 3), polarizability (Å³) (F, 3, 3); of a cell also its rows (Å) (F, 3, 3) and the
    virial (eV) (F, 3, 3).

    Raises:
        InputError: no such file, an array is missing or has another shape, or holds a value that is no
            number.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            labels = {name: stored[name] for name in (*FIELDS, *PERIODIC_FIELDS) if name in stored}
            several = any(name.startswith("system_") for name in stored.files)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; label frames first") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not an npz file of plain arrays; label frames again") from error
    if several:
        raise InputError(f"{path}: several systems; a training takes one; vibraloom dataset export writes all for dp train")
    missing = [name for name in ("positions", "numbers") if name not in labels]
    if missing or not any(name in labels for name in FIELDS[2:]):
        raise InputError(f"{path}: array {', '.join(missing or FIELDS[2:])} is missing; label frames again")
    frames, atoms = labels["positions"].shape[:2]
    shapes = {
        "positions": (frames, atoms, 3),
        "numbers": (atoms,),
        "energy": (frames,),
        "forces": (frames, atoms, 3),
        "dipole": (frames, 3),
        "polarizability": (frames, 3, 3),
        "cell": (frames, 3, 3),
        "virial": (frames, 3, 3),
    }
    for name, values in labels.items():
        if values.shape != shapes[name]:
            raise InputError(f"{path}: {name} has shape {values.shape}, expected {shapes[name]}; label frames again")
        if not np.isfinite(values).all():
            bad = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(f"{path}: {name} of frame {bad} is not a number; drop that frame")
    return labels


def split_frames(frames: int, seed: int, validation_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frame indices for training and validation, disjoint, drawn with ``seed``, at least one in each.

    Raises:
        InputError: fewer than two frames, or a fraction outside 0 to 1.
    """
    if not 0 < validation_fraction < 1:
        raise InputError(f"validation_fraction is {validation_fraction!r}; allowed: between 0 and 1, such as 0.1")
    if frames < 2:
        raise InputError(f"labels: {frames} frame(s); at least 2 are needed, one to train and one to validate")
    validation = min(max(round(frames * validation_fraction), 1), frames - 1)
    order = np.random.default_rng(seed).permutation(frames)
    return np.sort(order[validation:]), np.sort(order[:validation])


def register_response_types() -> None:
    """Teach dpdata dipole (e·Å) and polarizability (Å³), of the frame and of its atoms (all, or all of some types)."""
    from dpdata.data_type import Axis, DataError, DataType
    from dpdata.system import LabeledSystem, System

    kinds = (
        DataType("dipole", np.ndarray, shape=(Axis.NFRAMES, 3), required=False, deepmd_name="dipole"),
        DataType(
            "polarizability",
            np.ndarray,
            shape=(Axis.NFRAMES, 9),
            required=False,
            deepmd_name="polarizability",
        ),
        # -1: deepmd-kit writes atomic labels for the labelled types alone
        DataType("atomic_dipole", np.ndarray, shape=(Axis.NFRAMES, -1, 3), required=False, deepmd_name="atomic_dipole"),
        DataType(
            "atomic_polarizability",
            np.ndarray,
            shape=(Axis.NFRAMES, -1, 9),
            required=False,
            deepmd_name="atomic_polarizability",
        ),
    )
    for system in (System, LabeledSystem):
        known = {kind.name for kind in system.DTYPES}
        fresh = [kind for kind in kinds if kind.name not in known]
        if fresh:
            try:
                system.register_data_type(*fresh)
            except DataError as error:  # pragma: no cover - another package took the name with another shape
                raise InputError(f"dpdata: {error}; another package took the name") from error


def write_dataset(
    labels: str | Path,
    folder: str | Path,
    seed: int,
    validation_fraction: float = 0.1,
    *,
    plane_markers: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write labels.npz as ``folder``/train and ``folder``/validation for deepmd-kit.

    Energies stay absolute: deepmd-kit subtracts mean atom energies by its own bias.

    Args:
        labels: the npz file of pyscf labels.
        folder: made if absent.
        seed: of the split.
        validation_fraction: part of the frames kept from training.
        plane_markers: add the virtual sites of a planar molecule (polarizability alone is written then).

    Returns:
        the frame indices of the two parts.

    Raises:
        InputError: see :func:`read_labels` and :func:`split_frames`.
        MissingError: dpdata is not installed.
    """
    try:
        import dpdata
    except ImportError as error:
        raise MissingError("dpdata is not installed; pip install 'vibraloom[workflows]'") from error
    register_response_types()
    arrays = read_labels(labels)
    parts = split_frames(len(arrays["positions"]), seed, validation_fraction)
    if plane_markers:
        arrays = {
            "positions": with_markers(arrays["positions"]),
            "numbers": np.append(arrays["numbers"], [0, 0]),
            "polarizability": arrays["polarizability"],
        }
    for name, frames in zip(("train", "validation"), parts, strict=True):
        kind = dpdata.LabeledSystem if "energy" in arrays else dpdata.System
        system = kind(data=_data(arrays, frames))
        system.to_deepmd_npy(str(Path(folder) / name), set_size=len(frames), prec=np.float64)
    return parts


def _data(labels: dict[str, NDArray[Any]], frames: NDArray[np.int64]) -> dict[str, Any]:
    from ase.data import chemical_symbols

    numbers = labels["numbers"]
    elements = sorted({int(number) for number in numbers}, reverse=True)  # heavy atoms first: O, H
    count = len(frames)
    data: dict[str, Any] = {
        "atom_names": [chemical_symbols[number] for number in elements],
        "atom_numbs": [int((numbers == number).sum()) for number in elements],
        "atom_types": np.array([elements.index(int(number)) for number in numbers]),
        "orig": np.zeros(3),
        "coords": labels["positions"][frames],
    }
    if "cell" in labels:
        data["cells"] = labels["cell"][frames]
    else:
        data |= {"cells": np.tile(100.0 * np.eye(3), (count, 1, 1)), "nopbc": True}  # the cells are not used
    if "virial" in labels:
        data["virials"] = labels["virial"][frames]
    if "energy" in labels:
        data["energies"] = labels["energy"][frames]
    if "forces" in labels:
        data["forces"] = labels["forces"][frames]
    if "dipole" in labels:
        data["dipole"] = labels["dipole"][frames]
    if "polarizability" in labels:
        data["polarizability"] = labels["polarizability"][frames].reshape(count, 9)
    return data
