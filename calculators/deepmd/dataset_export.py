"""A dataset as deepmd-kit reads it: through dpdata, in float64, energies absolute.

Frames that lack a label go into a folder of their own, for deepmd-kit knows an absent label by its missing file alone. Atomic
labels are written for the atoms that carry them, which must be all atoms of some elements. A molecular label stands on the atom
that numbers its molecule (:func:`vibraloom.calculators.molecule_labels.on_carriers`) where no atomic one of its kind is there and
these atoms are all of some elements: a model of atomic dipoles then sums to the dipole of the whole.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from vibraloom.calculators.deepmd.systems import (
    ON_MOLECULES,
    WRITTEN,
    carried,
    chunks,
    entries,
    named,
    register_response_types,
    type_map_of,
)
from vibraloom.errors import InputError, MissingError
from vibraloom.files.dataset import LABELS, Dataset

Layout = Literal["npy", "mixed", "hdf5"]


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
    elements = type_map_of(dataset, type_map, "--type-map")
    partly = layout != "mixed"
    sets = named([chunk for system in dataset.systems for chunk in chunks(carried(system, partly=partly))])
    systems = {name: entries(each, elements, partly=partly) for name, each in sets.items()}
    placed = {label for each in sets.values() for label in each.labels}
    placed |= {molecular for atomic, molecular in ON_MOLECULES.items() if atomic in placed}
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
