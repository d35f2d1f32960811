"""Labelled frames in extended XYZ files.

Source of the format: ASE, ase/io/extxyz.py: ``Properties=species:S:1:pos:R:3:forces:R:3``, ``energy=`` (eV), forces (eV/Å),
``stress=`` (eV/Å³, positive under tension), ``virial=`` (eV), 3×3 matrices column by column.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.durable import replacing
from vibraloom.errors import InputError, MissingError
from vibraloom.files.dataset import LABELS, Dataset, FrameSet
from vibraloom.files.dataset_options import ReadingOptions, scaled
from vibraloom.files.elements import SYMBOLS

IN_TITLE = ("energy", "virial", "dipole", "polarizability")
IN_COLUMNS = ("forces", "atomic_dipole", "atomic_polarizability")


def read_extxyz_labels(path: str | Path, options: ReadingOptions) -> list[FrameSet]:
    """Frames of an extended XYZ file, those of the same atoms together; names of labels as ours unless ``options.names`` says.

    Raises:
        InputError: not readable, a name that no frame has, a label without a unit, or of a wrong shape.
        MissingError: ASE is not installed.
    """
    try:
        from ase.io import read
    except ImportError as error:
        raise MissingError("ASE is not installed; pip install 'vibraloom[workflows]'") from error
    for label in options.names:
        if label not in (*IN_TITLE, *IN_COLUMNS):
            raise InputError(f"--name {label}: allowed: {', '.join((*IN_TITLE, *IN_COLUMNS))}")
    try:
        images = read(path, index=":", format="extxyz")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:  # ASE's reader raises whatever a damaged line leads to
        raise InputError(f"{path}: not an extended XYZ file ({' '.join(str(error).split())}); write it again") from error
    if not images:
        raise InputError(f"{path}: no frame in it; write it again")
    held = [_labels_of(image, options, f"{path}: frame {index}") for index, image in enumerate(images)]
    for label, name in options.names.items():
        if not any(label in each for each in held):
            raise InputError(f"{path}: no frame has {name!r} for {label}; correct --name")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault((image.numbers.tobytes(), tuple(image.pbc)), []).append(index)
    return [_system([images[at] for at in group], [held[at] for at in group], group) for group in groups.values()]


def _labels_of(image: Any, options: ReadingOptions, where: str) -> dict[str, NDArray[np.float64]]:
    # the reader moves what it knows of a calculator there
    results = image.calc.results if image.calc is not None else {}
    named = {**image.arrays, **image.info, **results}
    found: dict[str, NDArray[np.float64]] = {}
    for label in (*IN_TITLE, *IN_COLUMNS):
        name = options.names.get(label, label)
        if name not in named:
            continue
        shape = (len(image), *LABELS[label].shape) if label in IN_COLUMNS else LABELS[label].shape
        try:
            values = np.asarray(named[name], dtype=np.float64)
            found[label] = scaled(values.reshape(shape), options.factor(label, where))
        except (ValueError, TypeError) as error:
            raise InputError(f"{where}: {name} is no array of numbers of shape {shape}; write it again") from error
        if label == "virial" and name != "virial":
            # only keys of this very name are column by column for the reader
            found[label] = found[label].T if values.ndim == 1 else found[label]
        if label not in ("atomic_dipole", "atomic_polarizability") and not np.isfinite(found[label]).all():
            raise InputError(f"{where}: {name} is not a number; drop that frame")
    if "virial" not in found and "stress" in results:
        if image.cell.rank < 3:
            raise InputError(f"{where}: stress without three lattice vectors; give Lattice, or leave the stress out")
        found["virial"] = -image.get_stress(voigt=False) * image.get_volume()
    return found


def _system(images: list[Any], held: list[dict[str, NDArray[np.float64]]], index: list[int]) -> FrameSet:
    periodic = [bool(flag) for flag in images[0].pbc]
    labels = {}
    for label in LABELS:
        there = [each[label] for each in held if label in each]
        if there:
            absent = np.full_like(there[0], np.nan)
            labels[label] = np.array([each.get(label, absent) for each in held])
    molecules = [image.arrays["molecule"] for image in images if image.arrays.get("molecule", np.empty(0)).dtype.kind == "i"]
    return FrameSet(
        numbers=images[0].numbers.astype(np.int64),
        pbc=(periodic[0], periodic[1], periodic[2]),
        positions=np.array([image.positions for image in images], dtype=np.float64),
        cell=np.array([image.cell.array for image in images], dtype=np.float64) if any(periodic) else None,
        labels=labels,
        molecule=np.array(molecules, dtype=np.int64) if len(molecules) == len(images) else None,
        source_frame=np.array(index, dtype=np.int64),
    )


def write_extxyz_labels(path: str | Path, dataset: Dataset) -> list[str]:
    """Write every frame with 17 digits, which give each number back exactly.

    Returns:
        Labels that the format has no place for and that were left out.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for system in dataset.systems:
            for frame in range(system.frames):
                handle.writelines(_lines(dataset, system, frame))
    names = {name for system in dataset.systems for name in system.labels}
    return [name for name in LABELS if name in names and name not in (*IN_TITLE, *IN_COLUMNS)]


def _lines(dataset: Dataset, system: FrameSet, frame: int) -> Iterable[str]:
    there = {name: values[frame] for name, values in system.labels.items() if system.present(name)[frame]}
    columns = [name for name in IN_COLUMNS if name in there]
    widths = {name: int(np.prod(LABELS[name].shape)) for name in columns}
    listed = "".join(f":{name}:R:{widths[name]}" for name in columns)
    molecule = None if system.molecule is None else system.molecule[frame]
    title = [f"Properties=species:S:1:pos:R:3{listed}{'' if molecule is None else ':molecule:I:1'}"]
    if system.cell is not None:
        title.append(f'Lattice="{_numbers(system.cell[frame])}"')
    title.append(f'pbc="{" ".join("FT"[flag] for flag in system.pbc)}"')
    for name in IN_TITLE:
        if name in there:
            # the format has this matrix column by column
            values = there[name].T if name == "virial" else there[name]
            title.append(f"{name}={_numbers(values)}" if values.size == 1 else f'{name}="{_numbers(values)}"')
    title.append(f'origin="{dataset.origin(system, frame).translate({34: None, 92: None})}"')
    yield f"{system.atoms}\n{' '.join(title)}\n"
    for atom in range(system.atoms):
        row = [SYMBOLS[int(system.numbers[atom])], _numbers(system.positions[frame, atom])]
        row += [_numbers(there[name][atom]) for name in columns]
        yield " ".join(row if molecule is None else [*row, str(int(molecule[atom]))]) + "\n"


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in np.ravel(values))
