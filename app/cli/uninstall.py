"""``vibraloom uninstall``: removes what init made, and nothing else."""

from __future__ import annotations

import click


@click.command("uninstall")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(yes: bool) -> None:
    """Remove the project's .vibraloom folder: profile, jobs, logs, and every spectrum in it."""
    from vibraloom.errors import MissingError
    from vibraloom.settings import project_folder
    from vibraloom.workflows.profile import remove

    home = project_folder()
    if home is None:
        raise MissingError("no .vibraloom here or above; nothing to remove")
    entries = sorted(path.name for path in home.iterdir())
    click.echo(f"{home}: holds {', '.join(entries)}")
    if not yes and not click.confirm("Remove all of it, deposited spectra included?"):
        click.echo("nothing was removed")
        return
    remove(home)
    click.echo(f"{home}: removed")
