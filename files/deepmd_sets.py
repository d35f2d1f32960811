"""Labels of a deepmd-kit system: a folder with ``type.raw`` and ``set.*/dipole.npy``, ``polarizability.npy``, …

Source: deepmd-kit, doc/data/system.md: dipole (F, 3), polarizability (F, 9) in the order XX XY XZ YX YY YZ ZX ZY ZZ,
atomic ones for every labelled atom, box (F, 9) in Å with lattice vectors as rows, units of labels free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.numpy_arrays import finite, read_array
from vibraloom.files.raw_series import RawSeries

COMPONENTS = "xx,xy,xz,yx,yy,yz,zx,zy,zz"
"""Order of deepmd-kit's polarizability."""


def read_sets(path: str | Path, name: str) -> RawSeries:
    """Read ``name`` (dipole, polarizability, atomic_dipole, atomic_polarizability) from all sets, in their order.

    Returns:
        values (F, 3) or (F, 9); for atomic labels (F, atoms with a label, 3 or 9).

    Raises:
        InputError: no set, a set without the label, or arrays that do not fit each other.
    """
    folder = Path(path)
    sets = sorted((each for each in folder.glob("set.*") if each.is_dir()), key=_set_number)
    if not sets:
        raise InputError(f"{path}: a folder without set.*; give the folder of a deepmd system, with type.raw in it")
    parts = [_label(each, name) for each in sets]
    if len({part.shape[1:] for part in parts}) > 1:
        raise InputError(f"{path}: {name} has other shapes from set to set; keep one system per folder")
    values = np.concatenate(parts)
    width = 3 if name.endswith("dipole") else 9
    notes = [f"{folder.name}: frames in the order of {len(sets)} set(s); they must be those of one trajectory"]
    if name.startswith("atomic_"):
        values, note = _by_atom(path, values, width)
        notes.append(note)
    elif values.shape[1:] not in ((width,), (3, width // 3)):
        raise InputError(f"{path}: {name} has shape {values.shape}; deepmd-kit writes (frames, {width})")
    else:
        values = values.reshape(len(values), width)
    return RawSeries(
        values,
        "a deepmd system",
        cell=None if (folder / "nopbc").exists() else _cell(path, sets, [len(part) for part in parts]),
        components=None if name.endswith("dipole") else COMPONENTS,
        notes=tuple(notes),
    )


def _set_number(folder: Path) -> tuple[int, int, str]:
    """Sets by number where they have one (set.10 after set.9), then by name."""
    ending = folder.name.removeprefix("set.")
    return (0, int(ending), "") if ending.isdecimal() else (1, 0, ending)


def _label(folder: Path, name: str) -> NDArray[Any]:
    source = folder / f"{name}.npy"
    if not source.exists():
        found = ", ".join(sorted(each.stem for each in folder.glob("*.npy"))) or "none"
        hint = f" (atomic labels are no total: name 'atomic_{name}' reads them)" if f"atomic_{name}" in found else ""
        raise InputError(f"{source}: no such file, labels found: {found}; give a system with this label{hint}")
    values = read_array(source, name)
    if values.ndim < 2:
        raise InputError(f"{source}: {name} has shape {values.shape}; one row per frame is needed")
    return values


def _by_atom(path: str | Path, values: NDArray[Any], width: int) -> tuple[NDArray[Any], str]:
    per_frame = int(np.prod(values.shape[1:]))
    if per_frame == 0 or per_frame % width:
        raise InputError(f"{path}: {per_frame} numbers per frame; {width} per atom are needed")
    atoms = per_frame // width
    types = _types(path)
    counts = {name: types.count(name) for name in dict.fromkeys(types)}
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    if atoms > len(types) or (atoms < len(types) and atoms not in _sums(list(counts.values()))):
        raise InputError(f"{path}: labels of {atoms} atoms, type.raw has {listed}; labels and types do not fit")
    return values.reshape(len(values), atoms, width), f"{Path(path).name}: labels of {atoms} atoms, of {listed}"


def _sums(counts: list[int]) -> set[int]:
    """All sums of some of the counts: labels may be there for some types only."""
    sums = {0}
    for count in counts:
        sums |= {each + count for each in sums}
    return sums


def _types(path: str | Path) -> list[str]:
    try:
        numbers = [int(word) for word in (Path(path) / "type.raw").read_text(encoding="utf-8").split()]
        named = Path(path) / "type_map.raw"
        names = named.read_text(encoding="utf-8").split() if named.exists() else []
    except FileNotFoundError as error:
        raise InputError(f"{path}: no type.raw; atomic labels need the types of the atoms") from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: type.raw holds no whole numbers ({reason}); write it again") from error
    if not numbers or min(numbers) < 0 or (names and max(numbers) >= len(names)):
        raise InputError(f"{path}: type.raw has types that type_map.raw does not name; they must belong together")
    return [names[number] if names else f"type {number}" for number in numbers]


def _cell(path: str | Path, sets: list[Path], frames: list[int]) -> NDArray[np.float64] | None:
    """Cell (Å): (3, 3) if it never changes, else (F, 3, 3); None without box.npy."""
    if not all((each / "box.npy").exists() for each in sets):
        return None
    parts = [finite(read_array(each / "box.npy", "box"), each / "box.npy", "box") for each in sets]
    for each, part, count in zip(sets, parts, frames, strict=True):
        if part.shape not in ((count, 9), (count, 3, 3)):
            raise InputError(f"{each}/box.npy: shape {part.shape}; ({count}, 9) is needed")
    cells = np.concatenate([part.reshape(-1, 3, 3) for part in parts]).astype(np.float64)
    return cells[0] if (cells == cells[0]).all() else cells
