"""``vibraloom env``: what verdi needs to see the project's profile."""

from __future__ import annotations

import shlex

import click


@click.command("env")
def command() -> None:
    """Print the exports that let verdi use the project's profile: eval "$(vibraloom env)"."""
    from vibraloom.errors import MissingError
    from vibraloom.settings import project_folder
    from vibraloom.workflows.profile import MARKER, environment

    home = project_folder()
    if home is None or not (home / MARKER).is_file():
        raise MissingError("no vibraloom project here or above; run: vibraloom init")
    for name, value in environment(home).items():
        click.echo(f"export {name}={shlex.quote(value)}")
