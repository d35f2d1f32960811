"""What one training sees: frames that have its label, one part to train on and one to validate on, as deepmd-kit's folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.deepmd.plane_markers import is_planar, with_markers
from vibraloom.calculators.deepmd.systems import (
    ON_MOLECULES,
    carried,
    carriers,
    chunks,
    entries,
    named,
    register_response_types,
    type_map_of,
)
from vibraloom.calculators.dipole_sense import check_dipole_sense
from vibraloom.errors import InputError, MissingError
from vibraloom.files.dataset import LABELS, Dataset, FrameSet, origin_of
from vibraloom.files.dataset_split import By, split
from vibraloom.files.elements import SYMBOLS

Target = Literal["energy", "dipole", "polarizability"]
TARGETS: tuple[Target, ...] = get_args(Target)
Owner = Literal["total", "molecules"]
OWNERS: tuple[Owner, ...] = get_args(Owner)


@dataclass(frozen=True)
class TrainingSets:
    """Two parts of a dataset with the labels of one target alone.

    Attributes:
        label: the label that is learned: energy, dipole, atomic_dipole, polarizability or atomic_polarizability.
        type_map: elements of the types 0, 1, …
        train, validation: sets of frames that have the same labels on the same atoms.
        sources: what the validation frames came from.
        marked: polarizability of a free planar molecule, to which virtual sites are added.
        warnings: what is to be known about the labels.
    """

    label: str
    type_map: tuple[str, ...]
    train: tuple[FrameSet, ...]
    validation: tuple[FrameSet, ...]
    sources: tuple[dict[str, Any], ...]
    marked: bool
    warnings: tuple[str, ...]

    @property
    def is_atomic(self) -> bool:
        """Whether the tensor is learned atom by atom, not as the sum over a frame."""
        return LABELS[self.label].owner == "atom"

    @property
    def carriers(self) -> tuple[str, ...]:
        """Elements whose atoms have the label, in the order of the type map."""
        found = {
            SYMBOLS[int(number)]
            for each in self.train
            for number in each.numbers[carriers(each, each.labels[self.label])]
        }
        return tuple(symbol for symbol in self.type_map if symbol in found)

    def origin(self, frame: int) -> str:
        """Where a validation frame came from, in words; they are counted through all sets."""
        for each in self.validation:
            if frame < each.frames:
                return origin_of(self.sources, each, frame)
            frame -= each.frames
        raise IndexError(frame)

    def most_of_each(self) -> list[int] | None:
        """Most atoms of each type in one frame, which bound the neighbours of free molecules; None: some set is periodic."""
        sets = self.train + self.validation
        if any(each.cell is not None for each in sets):
            return None
        types = [np.array([SYMBOLS[int(number)] for number in each.numbers]) for each in sets]
        return [max(int((names == symbol).sum()) for names in types) for symbol in self.type_map]


def training_sets(
    dataset: Dataset,
    target: Target,
    *,
    validation: Dataset | None = None,
    fraction: float = 0.1,
    by: By | None = None,
    seed: int = 0,
    owner: Owner | None = None,
    type_map: tuple[str, ...] | None = None,
) -> TrainingSets:
    """Choose the frames and labels of one target, and part them.

    Args:
        dataset: labelled frames of one or several systems.
        target: energy (with forces and virials where they are), dipole or polarizability.
        validation: a dataset of its own to validate on; else a part of ``dataset``.
        fraction, seed: of the split.
        by: what stays together in the split; left out: blocks of neighbouring frames of a cell, single frames of molecules.
        owner: whether a dipole or polarizability is that of whole frames or of molecules; left out: of molecules where every
            labelled frame has them.
        type_map: elements of the types; left out: all of the dataset, heavy ones first.

    Raises:
        InputError: no frame has the label, labels of frames and of molecules are mixed, they are all zero, dipoles of opposite
            sign conventions, a polarizability that is not positive definite, a type map that lacks an element, or labels of
            molecules on a part of an element's atoms.
    """
    label = _label_of(dataset if validation is None else _both(dataset, validation), target, owner)
    chosen = _with_label(dataset, target, label, "labels.npz")
    elements = type_map_of(dataset if validation is None else _both(dataset, validation), type_map, "type_map")
    if validation is None:
        periodic = any(each.cell is not None for each in chosen.systems)
        train, kept = split(chosen, fraction=fraction, by=by or ("block" if periodic else "frame"), seed=seed)
    else:
        train, kept = chosen, _with_label(validation, target, label, "validation/labels.npz")
    marked = label == "polarizability" and all(
        each.cell is None and is_planar(each.positions) for part in (train, kept) for each in part.systems
    )
    if marked:
        elements = (*elements, SYMBOLS[0])
    parts = [
        tuple(chunk for each in part.systems for chunk in chunks(_marked(each) if marked else each)) for part in (train, kept)
    ]
    warnings = []
    if label == "dipole" and any(each.cell is not None for each in chosen.systems):
        warnings.append("dipoles of periodic cells are defined up to a quantum; these must be on one branch")
    return TrainingSets(label, elements, parts[0], parts[1], kept.sources, marked, tuple(warnings))


def write_training_sets(sets: TrainingSets, folder: str | Path) -> dict[str, list[str]]:
    """Write ``folder``/train and ``folder``/validation, a system in each of their folders; energies stay absolute.

    Returns:
        The folders of ``train`` and of ``validation``.

    Raises:
        InputError: see :func:`vibraloom.calculators.deepmd.systems.entries`.
        MissingError: dpdata is not installed.
    """
    try:
        import dpdata
    except ImportError as error:
        raise MissingError("dpdata is not installed; pip install 'vibraloom[workflows]'") from error
    register_response_types()
    written: dict[str, list[str]] = {}
    for part, members in (("train", sets.train), ("validation", sets.validation)):
        written[part] = []
        for name, each in named(list(members)).items():
            place = Path(folder) / part / name
            kind = dpdata.LabeledSystem if "energy" in each.labels else dpdata.System
            data = entries(each, sets.type_map, partly=True)
            kind(data=data).to_deepmd_npy(str(place), set_size=each.frames, prec=np.float64)
            written[part].append(str(place))
    return written


def _both(dataset: Dataset, validation: Dataset) -> Dataset:
    return replace(dataset, systems=dataset.systems + validation.systems)


def _label_of(dataset: Dataset, target: Target, owner: Owner | None) -> str:
    """The label that stands for a target, which all frames with any of its kind must have."""
    if target == "energy":
        return target
    atomic = f"atomic_{target}"
    with_atomic = with_total = with_any = 0
    for system in dataset.systems:
        of_molecules = system.present(atomic) | system.present(ON_MOLECULES[atomic])
        with_atomic += int(of_molecules.sum())
        with_total += int(system.present(target).sum())
        with_any += int((of_molecules | system.present(target)).sum())
    counts = {"molecules": with_atomic, "total": with_total}
    if owner is None:
        owner = "molecules" if with_atomic == with_any and with_atomic else "total"
        if counts[owner] < with_any:
            raise InputError(
                f"labels.npz: {target}: {with_total} frames have that of the whole, {with_atomic} those of molecules, {with_any} "
                "any; say owner: total or molecules, whose frames are then taken alone"
            )
    if counts[owner] == 0:
        raise InputError(f"labels.npz: {target} of {owner} is in no frame; label frames with it")
    return atomic if owner == "molecules" else target


def _with_label(dataset: Dataset, target: Target, label: str, where: str) -> Dataset:
    """Frames that have the label, and nothing but what is learned with it."""
    kept = ("energy", "forces", "virial") if target == "energy" else (label,)
    systems = []
    for system in dataset.systems:
        if label in ON_MOLECULES:
            placed = carried(system, partly=True)
            if (system.present(ON_MOLECULES[label]) & ~placed.present(label)).any():
                raise InputError(
                    f"{where}: {system.formula}: {ON_MOLECULES[label]}: molecules are carried by a part of an element's atoms; "
                    "deepmd-kit takes all atoms of an element or none"
                )
            system = placed
        frames = system.present(label)
        if frames.any():
            labels = {name: system.labels[name] for name in kept if name in system.labels}
            if target == "polarizability":
                # the part that a static field cannot have: noise of the fields, or of the division into molecules
                labels[label] = 0.5 * (labels[label] + labels[label].swapaxes(-1, -2))
            systems.append(replace(system, labels=labels).take(frames))
    if not systems:
        raise InputError(f"{where}: {label} is in no frame; label frames with it")
    values = np.concatenate([system.labels[label].ravel() for system in systems])
    if not values[np.isfinite(values)].any():
        raise InputError(f"{where}: {label} is zero in every frame; leave an absent label out (vibraloom dataset import --zeros)")
    found = replace(dataset, systems=tuple(systems))
    if target == "dipole":
        check_dipole_sense(found)
    if target == "polarizability":
        _check_positive(found, label, where)
    return found


def _check_positive(dataset: Dataset, label: str, where: str) -> None:
    """Molecules without open shells are polarised along the field, whatever its direction."""
    for system in dataset.systems:
        tensors = system.labels[label].reshape(system.frames, -1, 3, 3)
        # a share of a molecule may have any sign: the sum over a frame does not
        total = np.nansum(tensors, axis=1)
        lowest = np.linalg.eigvalsh(total)[:, 0]
        if (lowest <= 0).any():
            bad = int(np.argmax(lowest <= 0))
            raise InputError(
                f"{where}: {label} of {dataset.origin(system, bad)} has the eigenvalue {lowest[bad]:.3g} Å³; a polarizability is "
                "positive: turn the sign of all, or drop that frame"
            )


def _marked(system: FrameSet) -> FrameSet:
    positions: NDArray[np.float64] = with_markers(system.positions)
    return replace(system, positions=positions, numbers=np.append(system.numbers, [0, 0]), molecule=None)
