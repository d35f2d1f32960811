"""``vibraloom schema``: the spec's JSON schema, for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("schema")
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
def command(output: Path | None) -> None:
    """Print the JSON schema of the spec; editors use it to complete and check."""
    from vibraloom.durable import write_text
    from vibraloom.workflows.spec import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
