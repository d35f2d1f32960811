"""``vibraloom init``: the profile in the project's own folder, embedded or on servers."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("init")
@click.option(
    "--full",
    "full_profile",
    metavar="FILE.yaml",
    type=click.Path(path_type=Path),
    help="Keep the profile on the PostgreSQL and RabbitMQ servers that this file names.",
)
def command(full_profile: Path | None) -> None:
    """Make an AiiDA profile in ./.vibraloom, the local computer and its codes; safe to repeat.

    The profile needs no server and no root. With --full it is kept on PostgreSQL and RabbitMQ instead; everything else is
    the same. See docs/how-to/full-profile.md and examples/full-profile.yaml.
    """
    from vibraloom.workflows.backends import TIMEOUT_REMEDY, consumer_timeout_left
    from vibraloom.workflows.profile import initialise

    home, made = initialise(full_profile=full_profile)
    for line in made:
        click.echo(f"made {line}")
    if full_profile is not None:
        from aiida.manage.configuration import get_profile

        profile = get_profile()
        if profile is not None and (said := consumer_timeout_left(profile)):
            click.echo(f"warning: {said}; remedy: {TIMEOUT_REMEDY}", err=True)
    click.echo(f"{home}: ready" if made else f"{home}: all there already")
