"""``vibraloom init``: the embedded profile in the project's own folder."""

from __future__ import annotations

import click


@click.command("init")
def command() -> None:
    """Make an AiiDA profile in ./.vibraloom (no server, no root), the local computer and its codes; safe to repeat."""
    from vibraloom.workflows.profile import initialise

    home, made = initialise()
    for line in made:
        click.echo(f"made {line}")
    click.echo(f"{home}: ready" if made else f"{home}: all there already")
