"""Labelled frames of deepmd-kit: folders of ``npy`` files, also of mixed types, and HDF5 files of the same layout.

Source: deepmd-kit, doc/data/system.md: coord (F, 3A) and box (F, 9) in Å, energy (F,) in eV, force (F, 3A) in eV/Å, virial (F, 9)
in eV, dipole (F, 3), polarizability (F, 9), atomic_dipole (F, 3n), atomic_polarizability (F, 9n) with n all atoms or those of the
labelled types, in units that the user chose; matrices in the order XX XY XZ YX YY YZ ZX ZY ZZ. Mixed types:
``set.*/real_atom_types.npy`` (F, A), -1 is a virtual atom.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.dataset import LABELS, FrameSet, joined
from vibraloom.files.dataset_options import ReadingOptions, scaled, types_of_elements
from vibraloom.files.numpy_arrays import finite, read_array

FILES = {
    "energy": "energy",
    "forces": "force",
    "virial": "virial",
    "dipole": "dipole",
    "polarizability": "polarizability",
    "atomic_dipole": "atomic_dipole",
    "atomic_polarizability": "atomic_polarizability",
}
"""Label → name of its file. deepmd-kit also reads ``atom_dipole`` and the like."""
REAL_TYPES = "real_atom_types"


@dataclass(frozen=True)
class _Store:
    """One system on disk, be it a folder or a group of an HDF5 file."""

    where: str
    sets: tuple[str, ...]
    has: Callable[[str], bool]
    words: Callable[[str], list[str]]
    array: Callable[[str, str], NDArray[Any]]


def is_deepmd(path: Path) -> bool:
    """Whether a folder holds a system of deepmd-kit, or a file is HDF5 by its suffix."""
    if path.is_dir():
        return next(path.rglob("type.raw"), None) is not None
    return path.suffix.lower() in (".hdf5", ".h5") and path.is_file()


def read_deepmd(path: str | Path, options: ReadingOptions) -> list[tuple[str, FrameSet]]:
    """Every system under ``path``: its name (folder or group) and its frames; frames of mixed types by their lists of atoms.

    Raises:
        InputError: no system, types that do not fit the coordinates or the type map, labels without a unit, or what is no number.
    """
    source = Path(path)
    if source.is_dir():
        stores = [_folder(found.parent) for found in sorted(source.rglob("type.raw"))]
        found = [(store.where, system) for store in stores for system in _systems(store, options)]
    else:
        found = list(_of_hdf5(source, options))
    if not found:
        raise InputError(f"{path}: no type.raw in it; give a system of deepmd-kit, or a folder of such")
    return found


def _folder(folder: Path) -> _Store:
    def words(name: str) -> list[str]:
        try:
            return (folder / name).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{folder / name}: cannot be read ({error}); write it again") from error

    return _Store(
        str(folder),
        _in_order(each.name for each in folder.glob("set.*") if each.is_dir()),
        lambda name: (folder / name).exists(),
        words,
        lambda part, name: read_array(folder / part / f"{name}.npy", name),
    )


def _of_hdf5(source: Path, options: ReadingOptions) -> Iterator[tuple[str, FrameSet]]:
    import h5py

    groups: list[str] = []
    try:
        with h5py.File(source, "r") as file:
            file.visit(lambda name: groups.append(name.rpartition("/")[0]) if name.rpartition("/")[2] == "type.raw" else None)
            for name in sorted(groups):
                store = _group(source, name, file[name] if name else file)
                for system in _systems(store, options):
                    yield store.where, system
    except (OSError, RuntimeError) as error:
        raise InputError(f"{source}: not an HDF5 file, or damaged ({' '.join(str(error).split())}); copy it again") from error


def _group(source: Path, name: str, group: Any) -> _Store:
    def words(entry: str) -> list[str]:
        return [each.decode() if isinstance(each, bytes) else str(each) for each in np.ravel(group[entry][()])]

    def array(part: str, entry: str) -> NDArray[Any]:
        values = np.asarray(group[part][f"{entry}.npy"][()])
        if values.dtype.kind not in "fiu" or values.size == 0:
            place = f"{source}#{name}/{part}/{entry}.npy"
            raise InputError(f"{place}: {values.size} values of type {values.dtype}; numbers are needed")
        return values

    return _Store(
        f"{source}#{name}" if name else str(source),
        _in_order(each for each in group if each.startswith("set.")),
        lambda entry: entry in group,
        words,
        array,
    )


def _in_order(names: Iterator[str]) -> tuple[str, ...]:
    """set.10 after set.9, those without a number last."""

    def key(name: str) -> tuple[bool, int, str]:
        ending = name.removeprefix("set.")
        return not ending.isdecimal(), int(ending) if ending.isdecimal() else 0, ending

    return tuple(sorted(names, key=key))


def _systems(store: _Store, options: ReadingOptions) -> list[FrameSet]:
    """Frames of all sets, those of the same atoms together; a label that some sets lack is NaN there."""
    types, elements = _types(store, options)
    if not store.sets:
        raise InputError(f"{store.where}: type.raw, but no set.*; give a system with frames")
    periodic = not store.has("nopbc")
    parts = []
    for part in store.sets:
        parts.append(_frames(store, part, len(types), periodic))
    first = np.cumsum([0, *(len(coordinates) for coordinates, _ in parts)])
    mixed = [store.has(f"{part}/{REAL_TYPES}.npy") for part in store.sets]
    if any(mixed) != all(mixed):
        raise InputError(f"{store.where}/{store.sets[mixed.index(False)]}: no {REAL_TYPES}.npy, other sets have it; complete it")
    found = []
    for part, start, (coordinates, cells) in zip(store.sets, first, parts, strict=False):
        frames = len(coordinates)
        rows = _real_types(store, part, frames, len(types), len(elements)) if all(mixed) else np.tile(types, (frames, 1))
        for row in np.unique(rows, axis=0):
            chosen = np.flatnonzero((rows == row).all(axis=1))
            real = row >= 0
            labels = {}
            for name in FILES:
                values = _label(store, part, name, frames, row, elements, options)
                if values is not None:
                    labels[name] = values[chosen][:, real] if "atom" in LABELS[name].owner else values[chosen]
            found.append(
                FrameSet(
                    numbers=elements[row[real]],
                    pbc=(periodic, periodic, periodic),
                    positions=coordinates[chosen][:, real],
                    cell=cells[chosen] if cells is not None else None,
                    labels=labels,
                    source_frame=start + chosen,
                )
            )
    return list(joined(found))


def _types(store: _Store, options: ReadingOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Type of each atom, and the atomic number of each type."""
    try:
        types = np.array([int(float(word)) for word in store.words("type.raw")], dtype=np.int64)
    except ValueError as error:
        raise InputError(f"{store.where}/type.raw: not whole numbers ({error}); write it again") from error
    names = tuple(store.words("type_map.raw")) if store.has("type_map.raw") else None
    if names is not None and options.type_map is not None and names != options.type_map:
        raise InputError(
            f"{store.where}/type_map.raw: {' '.join(names)}, --type-map says {' '.join(options.type_map)}; leave the option out"
        )
    names = names or options.type_map
    if names is None:
        raise InputError(f"{store.where}: no type_map.raw; name the element of each type: --type-map O,H")
    if len(types) == 0 or types.min() < 0 or types.max() >= len(names):
        largest = int(types.max()) if len(types) else "none"
        raise InputError(f"{store.where}/type.raw: type {largest}, the type map is {' '.join(names)}; correct one of them")
    return types, types_of_elements(names, f"{store.where}: type map")


def _read(store: _Store, part: str, name: str) -> NDArray[np.float64] | None:
    if not store.has(f"{part}/{name}.npy"):
        return None
    place = f"{store.where}/{part}/{name}.npy"
    values = finite(store.array(part, name), place, name)
    return values.astype(np.float64)


def _frames(
    store: _Store, part: str, atoms: int, periodic: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    coordinates = _read(store, part, "coord")
    place = f"{store.where}/{part}"
    if coordinates is None:
        raise InputError(f"{place}/coord.npy: no such file; every set needs it")
    flat = coordinates.reshape(len(coordinates), -1) if coordinates.ndim > 1 else coordinates[None]
    if flat.shape[1] != 3 * atoms:
        raise InputError(
            f"{place}/coord.npy: {flat.shape[1]} numbers per frame, type.raw has {atoms} atoms ({3 * atoms} numbers);"
            " keep one system per folder"
        )
    cells = _read(store, part, "box") if periodic else None
    if periodic and cells is None:
        raise InputError(f"{place}/box.npy: no such file; a free molecule has the empty file nopbc beside type.raw")
    if cells is not None and cells.size != 9 * len(flat):
        raise InputError(f"{place}/box.npy: shape {cells.shape}; ({len(flat)}, 9) is needed")
    return flat.reshape(len(flat), atoms, 3), None if cells is None else cells.reshape(-1, 3, 3)


def _real_types(store: _Store, part: str, frames: int, atoms: int, elements: int) -> NDArray[np.int64]:
    values = store.array(part, REAL_TYPES)
    place = f"{store.where}/{part}/{REAL_TYPES}.npy"
    if values.shape != (frames, atoms):
        raise InputError(f"{place}: shape {values.shape}; ({frames}, {atoms}) is needed")
    types = values.astype(np.int64)
    if types.min() < -1 or types.max() >= elements:
        raise InputError(f"{place}: type {int(types.max())}, the type map has {elements}; correct one")
    return types


def _label(
    store: _Store,
    part: str,
    name: str,
    frames: int,
    types: NDArray[np.int64],
    elements: NDArray[np.int64],
    options: ReadingOptions,
) -> NDArray[np.float64] | None:
    """Values of a label with all atoms of ``types``, NaN for atoms that carry none."""
    file = FILES[name]
    values = _read(store, part, file)
    if values is None and file.startswith("atomic_"):
        file = file.replace("atomic_", "atom_")
        values = _read(store, part, file)
    if values is None:
        return None
    place = f"{store.where}/{part}/{file}.npy"
    label = LABELS[name]
    width = int(np.prod(label.shape))
    if values.size % frames:
        raise InputError(f"{place}: {values.shape[0]} frames, coord.npy has {frames}; they must be of one set")
    values = scaled(values.reshape(frames, -1), options.factor(name, place))
    atoms = len(types)
    if label.owner == "frame":
        if values.shape[1] != width:
            hint = f"; labels of atoms belong into atomic_{file}.npy" if values.shape[1] % width == 0 else ""
            raise InputError(f"{place}: {values.shape[1]} numbers per frame; {width} are needed{hint}")
        return values.reshape(frames, *label.shape)
    if values.shape[1] == width * atoms:
        return values.reshape(frames, atoms, *label.shape)
    if label.owner == "frame_atom" or values.shape[1] % width:
        raise InputError(f"{place}: {values.shape[1]} numbers per frame, {width * atoms} are needed; keep one system per folder")
    carriers = _carriers(place, values.shape[1] // width, types, elements, options)
    whole = np.full((frames, atoms, *label.shape), np.nan)
    whole[:, carriers] = values.reshape(frames, -1, *label.shape)
    return whole


def _carriers(
    place: str, count: int, types: NDArray[np.int64], elements: NDArray[np.int64], options: ReadingOptions
) -> NDArray[np.bool_]:
    """Atoms that carry ``count`` atomic labels: all atoms of some types."""
    from vibraloom.files.elements import SYMBOLS

    there = np.unique(types[types >= 0])
    names = {int(kind): SYMBOLS[int(elements[kind])] for kind in there}
    if options.labelled_types is not None:
        chosen = [kind for kind in there if names[int(kind)] in options.labelled_types]
        carriers = np.isin(types, chosen)
        if carriers.sum() == count:
            return carriers
        raise InputError(
            f"{place}: labels of {count} atoms, {int(carriers.sum())} atoms are {' or '.join(options.labelled_types)};"
            " correct --labelled-types"
        )
    fitting = [
        each
        for size in range(1, len(there) + 1)
        for each in itertools.combinations(there, size)
        if np.isin(types, each).sum() == count
    ]
    if len(fitting) == 1:
        return np.isin(types, fitting[0])
    listed = ", ".join(f"{int((types == kind).sum())} {names[int(kind)]}" for kind in there)
    if not fitting:
        raise InputError(f"{place}: labels of {count} atoms, the system has {listed}; labels and type.raw do not fit")
    raise InputError(f"{place}: labels of {count} atoms fit several types of {listed}; say which: --labelled-types O")
