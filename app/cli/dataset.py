"""``vibraloom dataset``: labelled frames in and out of the project, merged, split and looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.files.dataset import Dataset

FORMATS = ("deepmd/npy", "deepmd/mixed", "deepmd/hdf5", "extxyz", "npz")
"""What ``export`` writes; npz is the plain folder that every dataset command reads."""
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_profile = click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name = click.option("-o", "name", help="Name of the dataset in the project; commands take it in place of the ID.")
_to = click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Write a plain folder instead, which needs no profile."
)


@click.group("dataset", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Labelled frames: import, merge, split, info, export.

    DATASET is an ID or a name in the project, or a folder with labels.npz.
    """


@command.command("import")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_name
@_to
@click.option("--dipole-unit", help="Of all dipoles: e*angstrom, debye or e*bohr.")
@click.option("--polarizability-unit", help="Of all polarizabilities: angstrom^3 or bohr^3.")
@click.option("--type-map", help="Elements of the types 0, 1, …, where the files name none, e.g. O,H.")
@click.option("--labelled-types", help="Elements whose atoms carry atomic labels, where that is not clear, e.g. O.")
@click.option("--name", "names", multiple=True, metavar="LABEL=NAME", help="Name of a label in an .extxyz, e.g. energy=E_dft.")
@click.option(
    "--zeros", multiple=True, metavar="LABEL=absent|value", help="What rows mean that are exactly zero, e.g. forces=absent."
)
@click.option("--partial", is_flag=True, help="Keep frames that lack a label which others have.")
@click.option("--method", help="How the frames were labelled, in words; datasets of different methods do not merge by chance.")
@_profile
@_json
def import_(
    paths: tuple[Path, ...],
    name: str | None,
    folder: Path | None,
    dipole_unit: str | None,
    polarizability_unit: str | None,
    type_map: str | None,
    labelled_types: str | None,
    names: tuple[str, ...],
    zeros: tuple[str, ...],
    partial: bool,
    method: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Read labelled frames: deepmd npy, mixed and HDF5, extended XYZ, finished folders of CP2K, datasets.

    Energies are taken as eV, lengths as Å; units of dipoles and polarizabilities must be said. A geometry that is there twice
    is kept once.
    """
    from vibraloom.files.dataset import LABELS
    from vibraloom.files.dataset_options import ReadingOptions

    meanings = _pairs("--zeros", zeros)
    for label, meaning in meanings.items():
        if label not in LABELS or meaning not in ("absent", "value"):
            raise InputError(f"--zeros {label}={meaning}: allowed: one of {', '.join(LABELS)} = absent or value")
    options = ReadingOptions.model_validate(
        {
            "dipole_unit": dipole_unit,
            "polarizability_unit": polarizability_unit,
            "type_map": _words(type_map),
            "labelled_types": _words(labelled_types),
            "names": _pairs("--name", names),
            "zeros": meanings,
            "partial": partial,
            "method": {"stated": method} if method else {},
        }
    )
    if folder is not None:
        _free(folder)
        from vibraloom.workflows.dataset_sources import read_sources

        _write({"dataset": read_sources(paths, options)}, folder, as_json)
        return
    _open_profile(profile)
    from vibraloom.workflows.datasets import run_import

    _made({"dataset": run_import(paths, options)}, name, as_json)


@command.command("merge")
@click.argument("datasets", metavar="DATASET...", nargs=-1, required=True)
@_name
@_to
@click.option("--mix-methods", is_flag=True, help="Take frames of different methods into one dataset all the same.")
@_profile
@_json
def merge(
    datasets: tuple[str, ...], name: str | None, folder: Path | None, mix_methods: bool, profile: str | None, as_json: bool
) -> None:
    """One dataset of several, each geometry once.

    The same geometry with different labels by the same method is kept twice, and told.
    """
    if folder is not None:
        _free(folder)
        from vibraloom.workflows.dataset_sources import merged

        found = merged([_read(each, profile) for each in datasets], mix_methods=mix_methods)
        _write({"dataset": found}, folder, as_json)
        return
    nodes = [_node(each, profile) for each in datasets]
    from vibraloom.workflows.datasets import run_merge

    _made({"dataset": run_merge(nodes, mix_methods=mix_methods)}, name, as_json)


@command.command("split")
@click.argument("dataset", metavar="DATASET")
@_name
@_to
@click.option("--fraction", type=float, default=0.1, show_default=True, help="Of the frames, for validation.")
@click.option(
    "--by",
    type=click.Choice(["frame", "block", "origin"]),
    default="block",
    show_default=True,
    help="What stays together: nothing, neighbouring frames of a source, or whole sources.",
)
@click.option("--block", type=int, default=20, show_default=True, help="Frames in a block.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
@_profile
@_json
def split(
    dataset: str,
    name: str | None,
    folder: Path | None,
    fraction: float,
    by: Any,
    block: int,
    seed: int,
    profile: str | None,
    as_json: bool,
) -> None:
    """Training and validation part: NAME-train and NAME-validation, or folders train and validation."""
    options = {"fraction": fraction, "by": by, "seed": seed, "block": block}
    if folder is not None:
        _free(folder)
        from vibraloom.files.dataset_split import split as parts_of

        train, validation = parts_of(_read(dataset, profile), fraction=fraction, by=by, seed=seed, block=block)
        _write({"train": train, "validation": validation}, folder, as_json)
        return
    node = _node(dataset, profile)
    from vibraloom.workflows.datasets import run_split

    _made(run_split(node, options), name, as_json)


@command.command("info")
@click.argument("dataset", metavar="DATASET")
@_profile
@_json
def info(dataset: str, profile: str | None, as_json: bool) -> None:
    """What a dataset holds: counts, molecules, the spread of every label, frames that stand out, and where it came from."""
    import sys

    from vibraloom.app.dataset_report import dataset_record, show_dataset

    record = dataset_record(_read(dataset, profile))
    if as_json:
        click.echo(json.dumps(record, indent=1))
        return
    show_dataset(record, sys.stdout)


@command.command("export")
@click.argument("dataset", metavar="DATASET")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="npz: a plain folder that `import` reads.")
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="New folder or file.")
@click.option("--type-map", help="Elements of the types 0, 1, … (deepmd), e.g. O,H; default: those of the dataset.")
@_profile
@_json
def export(
    dataset: str, form: str, output: Path, type_map: str | None, profile: str | None, as_json: bool
) -> None:
    """Write a dataset for deepmd-kit, as extended XYZ, or as a plain folder; numbers come back exactly."""
    found = _read(dataset, profile)
    _free(output)
    left_out: list[str] = []
    systems: list[str] = []
    if form == "npz":
        from vibraloom.files.dataset import write_dataset_files

        write_dataset_files(output, found)
    elif form == "extxyz":
        from vibraloom.files.extxyz_labels import write_extxyz_labels

        left_out = write_extxyz_labels(output, found)
    else:
        from vibraloom.calculators.deepmd.dataset_export import export_deepmd

        layout: Any = form.partition("/")[2]
        systems, left_out = export_deepmd(found, output, layout, _words(type_map))
    if as_json:
        record = {"path": str(output), "format": form, "frames": found.frames, "systems": systems, "left_out": left_out}
        click.echo(json.dumps(record, indent=1))
        return
    click.echo(f"{output}: {found.frames} frames{f' in {len(systems)} systems' if systems else ''}")
    if left_out:
        click.echo(f"left out, the format has no place for them: {', '.join(left_out)}")


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word for word in text.replace(",", " ").split())


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        label, equals, value = text.partition("=")
        if not equals or not label or not value:
            raise InputError(f"{option} {text}: allowed: LABEL=VALUE, such as forces=absent")
        found[label] = value
    return found


def _free(path: Path) -> None:
    """Refuse a target that is there already, before anything is computed."""
    if path.exists():
        raise InputError(f"{path}: exists; give another name, or remove it first")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: folder {path.parent} does not exist; make it first")


def _open_profile(profile: str | None) -> None:
    from vibraloom.workflows.profile import load_project_profile

    load_project_profile(profile)


def _is_folder(text: str) -> bool:
    return (Path(text) / "labels.npz").is_file()


def _read(text: str, profile: str | None) -> Dataset:
    """The frames of a folder or of a node of the project."""
    if _is_folder(text):
        from vibraloom.files.dataset import read_dataset

        return read_dataset(text)
    dataset: Dataset = _node(text, profile).to_dataset()
    return dataset


def _node(text: str, profile: str | None) -> Any:
    """The dataset of the project with this name or ID."""
    if _is_folder(text):
        raise InputError(f"{text}: a folder; bring it into the project with vibraloom dataset import, or give --to FOLDER")
    _open_profile(profile)
    from aiida import orm

    from vibraloom.database.graph import find
    from vibraloom.nodes.dataset import DatasetData

    named = orm.QueryBuilder().append(DatasetData, filters={"label": text}).all(flat=True)
    if len(named) > 1:
        listed = ", ".join(each.uuid[:8] for each in named)
        raise InputError(f"{text}: {len(named)} datasets have this name ({listed}); give an ID")
    if named:
        return named[0]
    try:
        node = find(text)
    except InputError as error:
        raise InputError(f"{text}: no folder with labels.npz, and no dataset of this name; {error}") from error
    if not isinstance(node, DatasetData):
        raise InputError(f"ID {text}: no dataset; vibraloom dataset import makes one")
    return node


def _write(parts: dict[str, Dataset], folder: Path, as_json: bool) -> None:
    """Write plain folders and say what they hold."""
    from vibraloom.files.dataset import write_dataset_files

    places = {part: folder if part == "dataset" else folder / part for part in parts}
    for part, dataset in parts.items():
        write_dataset_files(places[part], dataset)
    _say(parts, {part: {"path": str(place)} for part, place in places.items()}, as_json)


def _made(nodes: dict[str, Any], name: str | None, as_json: bool) -> None:
    """Name the new nodes and say what they are."""
    identities = {}
    for part, node in nodes.items():
        if name:
            node.label = name if part == "dataset" else f"{name}-{part}"
        identities[part] = {"id": node.uuid, "name": node.label}
    _say({part: node.to_dataset() for part, node in nodes.items()}, identities, as_json)


def _say(parts: dict[str, Dataset], identities: dict[str, dict[str, str]], as_json: bool) -> None:
    from vibraloom.app.dataset_report import summary_lines, summary_record

    if as_json:
        records = {part: {**identities[part], **summary_record(dataset)} for part, dataset in parts.items()}
        click.echo(json.dumps(records.get("dataset", records), indent=1))
        return
    for part, dataset in parts.items():
        identity = identities[part]
        where = identity.get("path") or f"{identity['id'][:8]} {identity['name']}".strip()
        for line in summary_lines(dataset, where):
            click.echo(line)
