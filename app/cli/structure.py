"""``vibraloom structure``: what a spec names, as a file to look at before anything is computed."""

from __future__ import annotations

from pathlib import Path

import click

from vibraloom.errors import InputError, MissingError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Build the structure that a spec names."""


@command.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    required=True,
    help="Structure file, e.g. .extxyz, .cif, .vasp.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def build(spec: Path, output: Path, as_json: bool) -> None:
    """Build the system of SPEC and write it to a file that ASE knows."""
    import json

    from vibraloom.structures.build import build as build_system
    from vibraloom.workflows.spec import load_spec

    try:
        import ase.io
        from ase.io.formats import filetype, ioformats
    except ModuleNotFoundError as error:
        raise MissingError(
            "ASE is needed to build structures; get it with: pip install 'vibraloom[workflows]'"
        ) from error
    from vibraloom.durable import replacing

    if not output.parent.is_dir():
        raise InputError(f"-o {output}: folder {output.parent} does not exist; make it first")
    form = filetype(str(output), read=False)
    if form not in ioformats or not ioformats[form].can_write:
        raise InputError(f"-o {output}: ASE writes no format of this suffix; use .extxyz, .cif or .vasp")
    system = load_spec(spec).system
    if system is None:
        raise InputError(f"{spec}: key 'system' is missing; it says what to build")
    atoms, report = build_system(system)
    with replacing(output) as temporary:
        ase.io.write(str(temporary), atoms, format=form)
    if as_json:
        click.echo(json.dumps(report, sort_keys=True))
        return
    click.echo(f"wrote {output}: {len(atoms)} atoms, {atoms.get_chemical_formula(mode='hill')}")
    for key, value in report.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            text = format(value, ".6g") if isinstance(value, float) else value
            click.echo(f"  {key.replace('_', ' ')}: {text}")
    for pair, distance in report.get("smallest_distance", {}).items():
        click.echo(f"  smallest distance {pair}: {distance:.3f} angstrom")
    for kind in ("notes", "warnings"):
        for line in report.get(kind, ()):
            click.echo(f"  {kind.removesuffix('s')}: {line}")
