"""From paths to a dataset: which reader a path is for, what it is told, and the checks that all go through. Needs no AiiDA."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vibraloom.calculators.cp2k.finished_folder import is_cp2k, read_cp2k
from vibraloom.calculators.dipole_sense import check_dipole_sense
from vibraloom.calculators.molecule_labels import DEPENDS_ON_MOLECULES, with_molecules
from vibraloom.errors import InputError
from vibraloom.files.dataset import LABELS, LABELS_FILE, NONE, RECORD_FILE, Dataset, FrameSet, joined
from vibraloom.files.dataset_merge import merge
from vibraloom.files.dataset_options import ReadingOptions, settled
from vibraloom.files.deepmd_systems import is_deepmd, read_deepmd
from vibraloom.files.extxyz_labels import read_extxyz_labels

_CHUNK = 1 << 22
_XYZ = (".xyz", ".extxyz")


def read_sources(paths: Sequence[Path], options: ReadingOptions) -> Dataset:
    """Every frame of files and folders, each geometry once; formats are told by what lies there.

    Raises:
        InputError: a path of no known format, and what the readers, the checks and the merge refuse.
    """
    if not paths:
        raise InputError("import: no path; give files or folders")
    return merged([_read(path, options) for path in paths])


def merged(datasets: Sequence[Dataset], *, mix_methods: bool = False) -> Dataset:
    """One dataset of several, each geometry once, with dipoles of one sign convention.

    Raises:
        InputError: see :func:`vibraloom.files.dataset_merge.merge` and
            :func:`vibraloom.calculators.dipole_sense.check_dipole_sense`.
    """
    return check_dipole_sense(merge(datasets, mix_methods=mix_methods))


def digest(path: Path) -> str:
    """sha256 of a file, or of names and contents of all files under a folder.

    Raises:
        InputError: no such path, or a file that cannot be read.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    try:
        for each in files:
            part = hashlib.sha256()
            with each.open("rb") as handle:
                while block := handle.read(_CHUNK):
                    part.update(block)
            if each == path:
                return part.hexdigest()
            whole.update(f"{each.relative_to(path).as_posix()}\0{part.hexdigest()}\n".encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    return whole.hexdigest()


def _read(path: Path, options: ReadingOptions) -> Dataset:
    source: dict[str, Any] = {"path": str(path.absolute()), "sha256": digest(path)}
    entry = {"operation": "import", **source, "options": options.model_dump(mode="json", exclude_defaults=True)}
    if path.is_dir() and (path / LABELS_FILE).is_file() and (path / RECORD_FILE).is_file():
        return _of_dataset(path, options, source, entry)
    if is_deepmd(path):
        form, named = "deepmd", read_deepmd(path, options)
    elif path.suffix.lower() in _XYZ:
        form, named = "extxyz", [(str(path), system) for system in read_extxyz_labels(path, options)]
    elif is_cp2k(path) or (path / LABELS_FILE).is_file():
        return _of_cp2k(path, options, source, entry)
    else:
        raise InputError(
            f"{path}: no known format; give folders or HDF5 files of deepmd-kit, .extxyz files, folders of CP2K, or datasets"
        )
    sources = [{**source, "format": form, "path": str(Path(name).absolute())} for name, _ in named]
    parts: list[FrameSet] = []
    remarks: list[str] = []
    for index, (name, system) in enumerate(named):
        part, said = _checked(system, options, name, index, len(remarks))
        parts.append(part)
        remarks += said
    return Dataset(joined(parts), tuple(sources), (options.method,), tuple(remarks), (entry,)).check(str(path))


def _checked(
    system: FrameSet, options: ReadingOptions, where: str, source: int, first_remark: int
) -> tuple[FrameSet, tuple[str, ...]]:
    """The frames after all checks, with the membership that their labels need."""
    checked, remarks = settled(system.check(where), options, where)
    if checked.molecule is None and any(name in checked.labels for name in DEPENDS_ON_MOLECULES):
        checked = with_molecules(checked)
    shifted = np.where(checked.remark == NONE, NONE, checked.remark + first_remark)
    return replace(checked, source=np.full(checked.frames, source), remark=shifted), remarks


def _of_dataset(path: Path, options: ReadingOptions, source: dict[str, Any], entry: dict[str, Any]) -> Dataset:
    """A dataset that was written before keeps its own sources; frames of a label job without sources come from this folder."""
    found = read_cp2k(path)
    assert isinstance(found, Dataset)
    if options.method:
        if stated := next((method for method in found.methods if method and method != options.method), None):
            raise InputError(f"{path}: its record states the method {stated}; leave out --method")
        found = replace(found, methods=tuple(options.method for _ in found.methods))
    if found.sources == ({"format": "labels", "path": str(path)},):
        found = replace(found, sources=({"format": "labels", **source},))
    return replace(found, history=(*found.history, entry))


def _of_cp2k(path: Path, options: ReadingOptions, source: dict[str, Any], entry: dict[str, Any]) -> Dataset:
    found = read_cp2k(path)
    assert not isinstance(found, Dataset)
    # what CP2K did not print is no array: a zero is what it printed
    told = options.model_copy(update={"zeros": dict.fromkeys(LABELS, "value")})
    system, remarks = _checked(found.system, told, str(path), 0, 0)
    if found.notes:
        # a note of the folder holds for all of its frames, before what single frames lack
        texts = ["; ".join(found.notes), *(f"{'; '.join(found.notes)}; {remark}" for remark in remarks)]
        system = replace(system, remark=system.remark + 1)
        remarks = tuple(texts)
    method = options.method or found.method
    return Dataset((system,), ({"format": "cp2k", **source},), (method,), remarks, (entry,)).check(str(path))
