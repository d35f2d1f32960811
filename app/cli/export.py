"""``vibraloom export ID``: a spectrum, or all of a run, in a format that others read."""

from __future__ import annotations

from pathlib import Path

import click

SUFFIXES = {"jcamp": ".jdx", "csv": ".csv", "json": ".json", "archive": ".aiida"}


@click.command("export")
@click.argument("identifier", metavar="ID")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(SUFFIXES)),
    required=True,
    help="archive: an .aiida file with all provenance.",
)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    help="File; for a run and a table format, a folder. Default: made from the ID.",
)
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
def command(identifier: str, form: str, output: Path | None, profile: str | None) -> None:
    """Export a spectrum or a run."""
    from vibraloom.workflows.profile import load_project_profile

    load_project_profile(profile)
    from vibraloom.database.graph import find, write_archive
    from vibraloom.errors import InputError
    from vibraloom.nodes.spectrum import SpectrumData

    node = find(identifier)
    suffix = SUFFIXES[form]
    if form == "archive":
        path = output or Path(f"{identifier}{suffix}")
        _parent_exists(path)
        write_archive([node], path)
        click.echo(str(path))
        return
    if isinstance(node, SpectrumData):
        chosen = {output or Path(f"{identifier}{suffix}"): node}
    elif "spectra" in getattr(node, "outputs", ()):
        folder = output or Path(identifier)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = {folder / f"{label}{suffix}": each for label, each in sorted(node.outputs.spectra.items())}
    else:
        raise InputError(f"ID {identifier}: neither a spectrum nor a finished run; vibraloom list shows the spectra")
    from vibraloom.files.jcamp import write_jcamp
    from vibraloom.files.tables import write_csv, write_json

    for path, each in chosen.items():
        _parent_exists(path)
        spectrum = each.to_spectrum()
        if form == "jcamp":
            write_jcamp(path, spectrum, title=each.label)
        elif form == "csv":
            write_csv(path, spectrum)
        else:
            write_json(path, spectrum)
        click.echo(str(path))


def _parent_exists(path: Path) -> None:
    from vibraloom.errors import InputError

    if not path.parent.is_dir():
        raise InputError(f"-o {path}: folder {path.parent} does not exist; make it first")
