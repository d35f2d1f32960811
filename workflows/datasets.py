"""Datasets of labelled frames: read from files, merged, split; each a process, so that a dataset knows what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from vibraloom.errors import InputError, VibraloomError
from vibraloom.files.dataset_options import ReadingOptions
from vibraloom.files.dataset_split import split
from vibraloom.nodes.dataset import DatasetData
from vibraloom.workflows.dataset_sources import digest, merged, read_sources

ERROR_INPUT = 210


def _refused(error: VibraloomError) -> ExitCode:
    return ExitCode(ERROR_INPUT, " ".join(str(error).split()), invalidates_cache=True)


@calcfunction
def import_dataset(sources: orm.Dict, options: orm.Dict) -> DatasetData | ExitCode:
    """The frames of files and folders, each once.

    Args:
        sources: ``paths``, list of path and sha256; what no longer has this sum is refused.
        options: fields of :class:`vibraloom.files.dataset_options.ReadingOptions`.
    """
    try:
        for entry in sources.get_dict()["paths"]:
            if digest(Path(entry["path"])) != entry["sha256"]:
                raise InputError(f"{entry['path']}: changed since the import began; import it again")
        paths = [Path(entry["path"]) for entry in sources.get_dict()["paths"]]
        return DatasetData.from_dataset(read_sources(paths, ReadingOptions(**options.get_dict())))
    except VibraloomError as error:
        return _refused(error)


@calcfunction
def merge_datasets(options: orm.Dict, **datasets: DatasetData) -> DatasetData | ExitCode:
    """One dataset of all, in the order of the names; ``options``: mix_methods."""
    try:
        found = [datasets[name].to_dataset() for name in sorted(datasets)]
        return DatasetData.from_dataset(merged(found, **options.get_dict()))
    except VibraloomError as error:
        return _refused(error)


@calcfunction
def split_dataset(dataset: DatasetData, options: orm.Dict) -> dict[str, DatasetData] | ExitCode:
    """``train`` and ``validation``; ``options``: fraction, by, seed, block."""
    try:
        train, validation = split(dataset.to_dataset(), **options.get_dict())
        return {"train": DatasetData.from_dataset(train), "validation": DatasetData.from_dataset(validation)}
    except VibraloomError as error:
        return _refused(error)


def run_import(paths: Sequence[Path], options: ReadingOptions) -> DatasetData:
    """Import into the project.

    Raises:
        InputError: what :func:`vibraloom.workflows.dataset_sources.read_sources` refuses.
    """
    entries = [{"path": str(path.absolute()), "sha256": digest(path)} for path in paths]
    return cast(
        DatasetData,
        _result(import_dataset, sources=orm.Dict({"paths": entries}), options=orm.Dict(options.model_dump(mode="json"))),
    )


def run_merge(nodes: Sequence[DatasetData], *, mix_methods: bool) -> DatasetData:
    """Merge datasets of the project.

    Raises:
        InputError: see :func:`vibraloom.workflows.dataset_sources.merged`.
    """
    named = {f"dataset_{index:03d}": node for index, node in enumerate(nodes)}
    return cast(DatasetData, _result(merge_datasets, options=orm.Dict({"mix_methods": mix_methods}), **named))


def run_split(node: DatasetData, options: Mapping[str, Any]) -> dict[str, DatasetData]:
    """Split a dataset of the project into ``train`` and ``validation``.

    Raises:
        InputError: see :func:`vibraloom.files.dataset_split.split`.
    """
    return cast(dict[str, DatasetData], _result(split_dataset, dataset=node, options=orm.Dict(dict(options))))


def _result(process: Callable[..., Any], **inputs: Any) -> Any:
    result, node = process.run_get_node(**inputs)  # type: ignore[attr-defined]
    if not node.is_finished_ok:
        raise InputError(node.exit_message)
    return result
