"""Labelled frames of several systems: what one dataset holds, and its two files ``labels.npz`` and ``labels.json``.

A label that a frame does not have is absent: its key is missing where no frame has it, and its rows are NaN where only some
frames (of an atomic label: atoms; of a molecular one: molecules) have it. It is never zero.

Layout, schema 2. ``labels.npz``: the arrays of :class:`FrameSet` under their own names where there is one system, as in schema 1;
with several, under ``system_000.NAME`` and so on. ``labels.json``: schema, unit of each array, and the tables that ``source``,
``method`` and ``remark`` of each frame point into. Schema 1 (one system, arrays alone, settings in ``labels.json``) is read too;
a cell there means periodic throughout, unless ``pbc``, three booleans for each frame, says otherwise.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vibraloom.durable import replacing, write_text
from vibraloom.errors import InputError
from vibraloom.files.elements import SYMBOLS

SCHEMA = 2
LABELS_FILE = "labels.npz"
RECORD_FILE = "labels.json"
NONE = -1
"""Index of no source, no method, no remark, no molecule."""


@dataclass(frozen=True)
class Label:
    """Unit of a label, what it belongs to, and its shape for one of those; ``frame_atom`` has a row for every atom of a frame."""

    unit: str
    owner: Literal["frame", "frame_atom", "atom", "molecule"]
    shape: tuple[int, ...]


LABELS: dict[str, Label] = {
    "energy": Label("eV", "frame", ()),
    "forces": Label("eV/angstrom", "frame_atom", (3,)),
    "virial": Label("eV, stress times volume, positive under compression", "frame", (3, 3)),
    "dipole": Label("e*angstrom", "frame", (3,)),
    "polarizability": Label("angstrom^3", "frame", (3, 3)),
    "atomic_dipole": Label("e*angstrom", "atom", (3,)),
    "atomic_polarizability": Label("angstrom^3", "atom", (3, 3)),
    "molecular_dipole": Label("e*angstrom", "molecule", (3,)),
    "molecular_polarizability": Label("angstrom^3", "molecule", (3, 3)),
    "molecular_charge": Label("e", "molecule", ()),
    "energy_spread": Label("eV, standard deviation of a committee", "frame", ()),
    "force_spread": Label("eV/angstrom, standard deviation of a committee", "frame_atom", (3,)),
}
"""Every label a dataset can hold."""
_INDICES = ("source", "source_frame", "method", "remark")

Labels = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class FrameSet:
    """Frames of one system: the same atoms in the same order, periodic along the same directions.

    Attributes:
        numbers: atomic numbers, Array of int with shape (A,).
        pbc: periodic along each lattice vector.
        positions: (Å) Array with shape (F, A, 3).
        cell: (Å) Array with shape (F, 3, 3), rows are lattice vectors; None where nothing is periodic.
        labels: name (one of :data:`LABELS`) → Array with one row per frame; NaN rows are absent.
        molecule: molecule of each atom in each frame, Array of int with shape (F, A), -1 for none; None where not assigned.
        source, source_frame: what each frame came from (an index into the dataset's ``sources``) and its frame there.
        method: how each frame was labelled, an index into the dataset's ``methods``.
        remark: what is to be known about each frame, an index into the dataset's ``remarks``.
    """

    numbers: NDArray[np.int64]
    pbc: tuple[bool, bool, bool]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] | None
    labels: Labels
    molecule: NDArray[np.int64] | None = None
    source: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    source_frame: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    method: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    remark: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if self.frames == 0:
            return
        for name, default in (("source", 0), ("source_frame", None), ("method", 0), ("remark", NONE)):
            if len(getattr(self, name)) == 0:
                values = np.arange(self.frames) if default is None else np.full(self.frames, default)
                object.__setattr__(self, name, values.astype(np.int64))

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.positions)

    @property
    def atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def formula(self) -> str:
        """Composition in Hill's order."""
        return formula_of(self.numbers)

    def present(self, name: str) -> NDArray[np.bool_]:
        """Whether each frame has the label (of an atomic or molecular one: any of it), Array with shape (F,)."""
        if name not in self.labels:
            return np.zeros(self.frames, dtype=bool)
        return np.asarray(np.isfinite(self.labels[name].reshape(self.frames, -1)).any(axis=1))

    def take(self, frames: NDArray[np.int64] | NDArray[np.bool_]) -> FrameSet:
        """These frames; labels that none of them has are left out."""
        labels = {name: values[frames] for name, values in self.labels.items()}
        return replace(
            self,
            positions=self.positions[frames],
            cell=None if self.cell is None else self.cell[frames],
            labels={name: values for name, values in labels.items() if np.isfinite(values).any()},
            molecule=None if self.molecule is None else self.molecule[frames],
            **{name: getattr(self, name)[frames] for name in _INDICES},
        )

    def check(self, where: str) -> FrameSet:
        """This set, if its arrays fit each other.

        Raises:
            InputError: an unknown label, another shape, a position or cell that is not finite, or a label of which a part only
                is a number; the message names ``where``, the label and the frame.
        """
        expected = {"positions": (self.frames, self.atoms, 3), "numbers": (self.atoms,)}
        expected |= {name: (self.frames,) for name in _INDICES}
        if (self.cell is not None) != any(self.pbc):
            raise InputError(f"{where}: pbc is {self.pbc}, cell is {'absent' if self.cell is None else 'there'}; they must agree")
        if self.cell is not None:
            expected["cell"] = (self.frames, 3, 3)
        if self.molecule is not None:
            expected["molecule"] = (self.frames, self.atoms)
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"{where}: {name} has shape {getattr(self, name).shape}; expected {shape}")
        if not ((self.numbers > 0) & (self.numbers < len(SYMBOLS))).all():
            raise InputError(f"{where}: numbers hold what is no atomic number; the type map must name elements")
        for name in ("positions", "cell"):
            values = getattr(self, name)
            if values is not None and not (good := np.isfinite(values.reshape(self.frames, -1)).all(axis=1)).all():
                raise InputError(f"{where}: {name} of frame {int(np.argmin(good))} are not numbers; drop that frame")
        if self.cell is not None and (flat := np.abs(np.linalg.det(self.cell)) < 1e-6).any():
            raise InputError(f"{where}: cell of frame {int(np.argmax(flat))} has no volume; give three lattice vectors (Å)")
        for name, values in self.labels.items():
            self._check_label(where, name, values)
        return self

    def _check_label(self, where: str, name: str, values: NDArray[np.float64]) -> None:
        if name not in LABELS:
            raise InputError(f"{where}: label {name!r}; allowed: {', '.join(LABELS)}")
        label = LABELS[name]
        owners: tuple[int, ...] = ()
        if label.owner == "molecule":
            owners = (values.shape[1] if values.ndim > 1 else -1,)
        elif label.owner != "frame":
            owners = (self.atoms,)
        if values.shape != (self.frames, *owners, *label.shape):
            raise InputError(f"{where}: {name} has shape {values.shape}; expected {(self.frames, *owners, *label.shape)}")
        # a forces row of one atom alone means nothing; an atomic label may be there for some atoms
        rows = (self.frames, -1) if label.owner in ("frame", "frame_atom") else (self.frames, *owners, -1)
        whole = np.isfinite(values.reshape(rows))
        bad = (~whole.all(axis=-1) & ~np.isnan(values.reshape(rows)).all(axis=-1)).reshape(self.frames, -1).any(axis=1)
        if bad.any():
            raise InputError(f"{where}: {name} of frame {int(np.argmax(bad))} is not a number; drop that frame")


@dataclass(frozen=True)
class Dataset:
    """Labelled frames with where each came from.

    Attributes:
        systems: one per list of atoms.
        sources: files or nodes: format, and path with sha256 or uuid.
        methods: how frames were labelled; ``{}`` where the source does not say.
        remarks: texts, such as which label is absent and why.
        history: what was done to make this dataset, oldest first; plain JSON types.
    """

    systems: tuple[FrameSet, ...]
    sources: tuple[dict[str, Any], ...]
    methods: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...] = ()
    history: tuple[dict[str, Any], ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames in all systems."""
        return sum(system.frames for system in self.systems)

    def check(self, where: str) -> Dataset:
        """This dataset, if its systems are sound and its tables hold what the frames point to.

        Raises:
            InputError: no frame, see :meth:`FrameSet.check`, or an index without an entry.
        """
        if self.frames == 0:
            raise InputError(f"{where}: no frame in it; give a set with frames")
        for system in self.systems:
            system.check(f"{where}: {system.formula}" if len(self.systems) > 1 else where)
            for name, table in (("source", self.sources), ("method", self.methods), ("remark", self.remarks)):
                indices = getattr(system, name)
                if indices.min() < (NONE if name == "remark" else 0) or indices.max() >= len(table):
                    raise InputError(f"{where}: {name} {int(indices.max())} of {len(table)}; damaged: make the dataset again")
        return self

    def origin(self, system: FrameSet, frame: int) -> str:
        """Where a frame came from, in words."""
        return origin_of(self.sources, system, frame)


def origin_of(sources: Sequence[Mapping[str, Any]], system: FrameSet, frame: int) -> str:
    """Where a frame came from, in words, by the table that its ``source`` points into."""
    source = sources[int(system.source[frame])]
    return f"{source.get('path') or source.get('uuid') or 'unknown'} frame {int(system.source_frame[frame])}"


def formula_of(numbers: NDArray[np.int64]) -> str:
    """Composition in Hill's order (C, H, then by alphabet), such as ``H4O2``."""
    counts = {SYMBOLS[int(number)]: int((numbers == number).sum()) for number in np.unique(numbers)}
    first = [symbol for symbol in ("C", "H") if symbol in counts] if "C" in counts else []
    order = first + sorted(set(counts) - set(first))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order)


def joined(parts: Sequence[FrameSet]) -> tuple[FrameSet, ...]:
    """Sets of the same atoms and periodic directions become one, in the order of their first appearance."""
    groups: dict[tuple[Any, ...], list[FrameSet]] = {}
    for part in parts:
        if part.frames:
            groups.setdefault((part.numbers.tobytes(), part.pbc), []).append(part)
    return tuple(group[0] if len(group) == 1 else _concatenated(group) for group in groups.values())


def _concatenated(group: list[FrameSet]) -> FrameSet:
    names = [name for name in LABELS if any(name in part.labels for part in group)]
    indices: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in group]) for name in _INDICES}
    return replace(
        group[0],
        positions=np.concatenate([part.positions for part in group]),
        cell=None if group[0].cell is None else np.concatenate([part.cell for part in group if part.cell is not None]),
        labels={name: _label_of_all(name, group) for name in names},
        molecule=_membership_of_all(group, needed=any(LABELS[name].owner == "molecule" for name in names)),
        **indices,
    )


def _membership_of_all(group: list[FrameSet], *, needed: bool) -> NDArray[np.int64] | None:
    """Molecule of each atom; where a part's is not known, none at all unless labels of molecules need it, then -1 there."""
    if not needed and any(part.molecule is None for part in group):
        return None
    unknown = [np.full((part.frames, part.atoms), NONE, dtype=np.int64) for part in group]
    return np.concatenate([none if part.molecule is None else part.molecule for part, none in zip(group, unknown, strict=True)])


def _label_of_all(name: str, group: list[FrameSet]) -> NDArray[np.float64]:
    rows = max(part.labels[name].shape[1] if name in part.labels and LABELS[name].owner != "frame" else 0 for part in group)
    owners = () if LABELS[name].owner == "frame" else (rows,)
    found = []
    for part in group:
        values = np.full((part.frames, *owners, *LABELS[name].shape), np.nan)
        if name in part.labels:
            held = part.labels[name]
            values[(slice(None), slice(held.shape[1])) if owners else slice(None)] = held
        found.append(values)
    return np.concatenate(found)


def units_of(dataset: Dataset) -> dict[str, str]:
    """Unit of every array that has one."""
    names = {name for system in dataset.systems for name in system.labels}
    return {"positions": "angstrom", "cell": "angstrom", **{name: LABELS[name].unit for name in LABELS if name in names}}


def write_dataset_files(folder: str | Path, dataset: Dataset) -> None:
    """Write ``labels.npz`` and ``labels.json`` into ``folder``, which is made if absent.

    Raises:
        InputError: the dataset is not sound.
        ComputationError: the folder cannot be written.
    """
    place = Path(folder)
    dataset.check(str(place))
    place.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for index, system in enumerate(dataset.systems):
        prefix = f"system_{index:03d}." if len(dataset.systems) > 1 else ""
        held = {"numbers": system.numbers, "pbc": np.array(system.pbc), "positions": system.positions, **system.labels}
        held |= {name: getattr(system, name) for name in (*_INDICES, "cell", "molecule") if getattr(system, name) is not None}
        arrays |= {prefix + name: values for name, values in held.items()}
    record = {
        "schema": SCHEMA,
        "units": units_of(dataset),
        "sources": list(dataset.sources),
        "methods": list(dataset.methods),
        "remarks": list(dataset.remarks),
        "history": list(dataset.history),
    }
    with replacing(place / LABELS_FILE) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)
    write_text(place / RECORD_FILE, json.dumps(record, indent=1) + "\n")


def read_label_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a ``labels.npz``.

    Raises:
        InputError: no such file, or no npz file of plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give the folder of a dataset") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not an npz file of plain arrays, or damaged; write it again") from error


def read_dataset(folder: str | Path) -> Dataset:
    """The dataset whose ``labels.npz`` and ``labels.json`` lie in ``folder``, of any schema.

    Raises:
        InputError: a file is missing, damaged, of a newer schema, or its arrays do not fit each other.
    """
    place = Path(folder)
    arrays = read_label_arrays(place / LABELS_FILE)
    record: dict[str, Any] = {}
    if (place / RECORD_FILE).is_file():
        try:
            record = json.loads((place / RECORD_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{place / RECORD_FILE}: not JSON ({error}); export the dataset again") from error
        if not isinstance(record, dict) or not isinstance(record.get("settings", {}), dict):
            raise InputError(f"{place / RECORD_FILE}: not the record of a dataset; damaged: export it again")
    schema = record.get("schema", 1)
    if schema == 1:
        return _of_schema_1(place, arrays, record).check(str(place))
    if schema != SCHEMA:
        raise InputError(f"{place / RECORD_FILE}: schema {schema!r}; this release reads 1 and {SCHEMA}; update vibraloom")
    prefixes = sorted({name.partition(".")[0] + "." for name in arrays if "." in name}) or [""]
    try:
        systems = tuple(_system(arrays, prefix) for prefix in prefixes)
        tables = {name: tuple(record[name]) for name in ("sources", "methods", "remarks", "history")}
    except KeyError as error:
        raise InputError(f"{place}: {error.args[0]} is missing; damaged: export the dataset again") from error
    return Dataset(systems, **tables).check(str(place))


def _system(arrays: Mapping[str, NDArray[Any]], prefix: str) -> FrameSet:
    periodic = [bool(flag) for flag in arrays[f"{prefix}pbc"]]
    return FrameSet(
        numbers=arrays[f"{prefix}numbers"].astype(np.int64),
        pbc=(periodic[0], periodic[1], periodic[2]),
        positions=arrays[f"{prefix}positions"],
        cell=arrays.get(f"{prefix}cell"),
        labels={name: arrays[prefix + name] for name in LABELS if prefix + name in arrays},
        molecule=arrays.get(f"{prefix}molecule"),
        **{name: arrays[prefix + name] for name in _INDICES},
    )


def _of_schema_1(place: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Dataset:
    for name in ("positions", "numbers"):
        if name not in arrays:
            raise InputError(f"{place / LABELS_FILE}: array {name} is missing; label frames again")
    if "source_frame" in arrays:
        raise InputError(f"{place / RECORD_FILE}: missing, or of another dataset; export it again")
    frames = len(arrays["positions"])
    flags = [bool(flag) for flag in np.reshape(arrays.get("pbc", ["cell" in arrays] * 3), (-1, 3))[0]]
    frame = arrays.get("frame", np.arange(frames))
    said = _said_of(record, frames)
    remarks = tuple(dict.fromkeys(text for text in said if text))
    system = FrameSet(
        numbers=arrays["numbers"].astype(np.int64),
        pbc=(flags[0], flags[1], flags[2]),
        positions=arrays["positions"].astype(np.float64),
        cell=arrays["cell"].astype(np.float64) if any(flags) else None,
        labels={name: arrays[name].astype(np.float64) for name in LABELS if name in arrays},
        molecule=arrays["molecule"].astype(np.int64) if "molecule" in arrays else None,
        source_frame=frame.astype(np.int64) if frame.shape == (frames,) else np.arange(frames),
        remark=np.array([remarks.index(text) if text else NONE for text in said], dtype=np.int64),
    )
    # the atoms are no part of the method
    method = {key: value for key, value in record.get("settings", {}).items() if key != "numbers"}
    return Dataset((system,), ({"format": "labels", "path": str(place)},), (method,), remarks)


def _said_of(record: Mapping[str, Any], frames: int) -> list[str]:
    """Remedies and warnings of each frame's job in one text, "" for none; CP2K's labels have them by the frames' names."""
    names = record.get("names", [])
    lines = [record.get(key, {}) for key in ("remedies", "warnings")]
    if len(names) != frames:
        return [""] * frames
    return ["; ".join(line for of_frames in lines for line in of_frames.get(name, [])) for name in names]
