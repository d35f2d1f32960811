"""A dataset as deepmd-kit reads it: through dpdata, in float64, energies absolute.

Frames that lack a label go into a folder of their own, for deepmd-kit knows an absent label by its missing file alone. Atomic
labels are written for the atoms that carry them, which must be all atoms of some elements. A molecular label stands on the atom
that numbers its molecule (:func:`vibraloom.calculators.molecule_labels.on_carriers`) where no atomic one of its kind is there and
these atoms are all of some elements: a model of atomic dipoles then sums to the dipole of the whole.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.deepmd.dataset import register_response_types
from vibraloom.calculators.molecule_labels import on_carriers, with_molecules
from vibraloom.errors import InputError, MissingError
from vibraloom.files.dataset import LABELS, Dataset, FrameSet
from vibraloom.files.elements import SYMBOLS

Layout = Literal["npy", "mixed", "hdf5"]
WRITTEN = {
    "energy": "energies",
    "forces": "forces",
    "virial": "virials",
    "dipole": "dipole",
    "polarizability": "polarizability",
    "atomic_dipole": "atomic_dipole",
    "atomic_polarizability": "atomic_polarizability",
}
"""Label → its name in dpdata."""
_ATOMIC = {"atomic_dipole": "molecular_dipole", "atomic_polarizability": "molecular_polarizability"}


def export_deepmd(
    dataset: Dataset, target: str | Path, layout: Layout, type_map: tuple[str, ...] | None = None
) -> tuple[list[str], list[str]]:
    """Write all frames; ``target`` is whole or absent.

    Args:
        dataset: what is written.
        target: a folder that does not exist (npy: a folder per system in it; mixed: one per number of atoms), or an HDF5 file.
        layout: npy, mixed or hdf5.
        type_map: elements of the types 0, 1, …; by default all of the dataset, heavy ones first.

    Returns:
        Names of the systems: folders, or groups of the file; and the labels that the format has no place for.

    Raises:
        InputError: the target exists, a type map without an element of the dataset, forces without energies, or atomic labels on
            a part of an element's atoms (mixed: on a part of the atoms).
        MissingError: dpdata is not installed.
    """
    try:
        import dpdata
    except ImportError as error:
        raise MissingError("dpdata is not installed; pip install 'vibraloom[workflows]'") from error
    register_response_types()
    place = Path(target)
    if place.exists():
        raise InputError(f"{place}: exists; give another name, or remove it first")
    if not place.absolute().parent.is_dir():
        raise InputError(f"{place}: folder {place.parent} does not exist; make it first")
    elements = _elements(dataset, type_map)
    partly = layout != "mixed"
    chunks = _named([chunk for system in dataset.systems for chunk in _chunks(_carried(system, partly))])
    systems = {name: _data(chunk, elements, partly=partly) for name, chunk in chunks.items()}
    placed = {label for chunk in chunks.values() for label in chunk.labels}
    placed |= {molecular for atomic, molecular in _ATOMIC.items() if atomic in placed}
    held = {label for system in dataset.systems for label in system.labels}
    left_out = [label for label in LABELS if label in held - placed]
    kinds = {name: dpdata.LabeledSystem if "energies" in data else dpdata.System for name, data in systems.items()}
    # beside the target, so that the last step is a rename
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.absolute().parent) as scratch:
        written = Path(scratch) / place.name
        if layout == "npy":
            written.mkdir()
            for name, data in systems.items():
                kinds[name](data=data).to_deepmd_npy(str(written / name), set_size=5000, prec=np.float64)
        elif layout == "hdf5":
            with h5py.File(written, "w") as file:
                for name, data in systems.items():
                    kinds[name](data=data).to_deepmd_hdf5(file.create_group(name), set_size=5000, comp_prec=np.float64)
        else:
            written.mkdir()
            _write_mixed(written, systems, kinds, elements)
        names = sorted(systems) if layout != "mixed" else sorted(each.name for each in written.iterdir())
        shutil.move(written, place)
    return names, left_out


def _write_mixed(
    written: Path, systems: dict[str, dict[str, Any]], kinds: dict[str, Any], elements: tuple[str, ...]
) -> None:
    """Systems of one number of atoms and the same labels share a folder."""
    import dpdata.formats.deepmd.mixed as mixed

    groups: dict[tuple[int, tuple[str, ...], bool], list[str]] = {}
    for name, data in systems.items():
        labels = tuple(label for label in WRITTEN.values() if label in data)
        groups.setdefault((len(data["atom_types"]), labels, "nopbc" in data), []).append(name)
    for number, ((atoms, _, _), names) in enumerate(groups.items()):
        together = [kinds[name](data=systems[name]) for name in names]
        (whole,) = mixed.mix_system(*together, type_map=list(elements)).values()
        mixed.dump(str(written / f"{number:03d}-{atoms}"), whole.data, set_size=5000, comp_prec=np.float64)


def _elements(dataset: Dataset, type_map: tuple[str, ...] | None) -> tuple[str, ...]:
    held = sorted({int(number) for system in dataset.systems for number in system.numbers}, reverse=True)
    needed = tuple(SYMBOLS[number] for number in held)
    if type_map is None:
        return needed
    if absent := [symbol for symbol in needed if symbol not in type_map]:
        raise InputError(f"--type-map {','.join(type_map)}: {absent[0]} is in the dataset; name every element")
    return type_map


def _carried(system: FrameSet, partly: bool) -> FrameSet:
    """The labels that deepmd-kit has a place for, molecular ones on the atoms that carry them, where these can."""
    labels = dict(system.labels)
    for name, molecular in _ATOMIC.items():
        if name in labels or molecular not in labels:
            continue
        values = on_carriers(with_molecules(system), molecular)
        carried = replace(system, labels={name: values})
        if not any(_misplaced(chunk, chunk.labels[name], partly) for chunk in _chunks(carried) if name in chunk.labels):
            labels[name] = values
    return replace(system, labels={name: values for name, values in labels.items() if name in WRITTEN})


def _chunks(system: FrameSet) -> list[FrameSet]:
    """Frames with the same labels on the same atoms, each kind together."""
    marks = [np.zeros((system.frames, 1), dtype=bool)]
    for name, values in system.labels.items():
        owners = system.atoms if LABELS[name].owner == "atom" else 1
        marks.append(np.asarray(np.isfinite(values.reshape(system.frames, owners, -1)).all(axis=2)))
    pattern = np.concatenate(marks, axis=1)
    kinds, kind = np.unique(pattern, axis=0, return_inverse=True)
    first = [int(np.argmax(kind.ravel() == index)) for index in range(len(kinds))]
    return [system.take(np.flatnonzero(kind.ravel() == index)) for index in np.argsort(first)]


def _named(chunks: list[FrameSet]) -> dict[str, FrameSet]:
    return {f"{index:03d}-{chunk.formula}": chunk for index, chunk in enumerate(chunks)}


def _data(system: FrameSet, elements: tuple[str, ...], *, partly: bool) -> dict[str, Any]:
    """Entries of a dpdata system."""
    if "energy" not in system.labels and {"forces", "virial"} & set(system.labels):
        raise InputError(f"{system.formula}: forces or virial without an energy; deepmd-kit's tools take them with one only")
    types = np.array([elements.index(SYMBOLS[int(number)]) for number in system.numbers])
    data: dict[str, Any] = {
        "atom_names": list(elements),
        "atom_numbs": [int((types == index).sum()) for index in range(len(elements))],
        "atom_types": types,
        "orig": np.zeros(3),
        "coords": system.positions,
    }
    if system.cell is None:
        data |= {"cells": np.tile(100.0 * np.eye(3), (system.frames, 1, 1)), "nopbc": True}  # the cells are not used
    elif not all(system.pbc):
        raise InputError(f"{system.formula}: periodic along {sum(system.pbc)} directions; deepmd-kit knows three or none")
    else:
        data["cells"] = system.cell
    for name, values in system.labels.items():
        width = int(np.prod(LABELS[name].shape))
        if LABELS[name].owner == "atom":
            values = values[:, _carriers(system, name, values, partly)]
            values = values.reshape(system.frames, -1, width)
        elif name in ("dipole", "polarizability"):
            values = values.reshape(system.frames, width)
        data[WRITTEN[name]] = values
    return data


def _carriers(system: FrameSet, name: str, values: NDArray[np.float64], partly: bool) -> NDArray[np.bool_]:
    """Atoms with an atomic label, which are the same in all frames of a chunk."""
    if fault := _misplaced(system, values, partly):
        raise InputError(f"{system.formula}: {name} on {fault}")
    return _with_label(system, values)


def _with_label(system: FrameSet, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values[0].reshape(system.atoms, -1)).all(axis=1))


def _misplaced(system: FrameSet, values: NDArray[np.float64], partly: bool) -> str:
    """Why deepmd-kit cannot take an atomic label of a chunk on the atoms that it is on, or ""."""
    carrying = _with_label(system, values)
    if not partly and not carrying.all():
        return f"{int(carrying.sum())} of {system.atoms} atoms; mixed takes all: use npy"
    for number in np.unique(system.numbers):
        of_kind = carrying[system.numbers == number]
        if of_kind.any() and not of_kind.all():
            symbol = SYMBOLS[int(number)]
            return f"{int(of_kind.sum())} of {len(of_kind)} {symbol}; deepmd-kit takes all atoms of an element or none"
    return ""
