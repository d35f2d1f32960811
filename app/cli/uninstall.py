"""``vibraloom uninstall``: removes what init made, and nothing else."""

from __future__ import annotations

import click


@click.command("uninstall")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--drop-database", is_flag=True, help="Drop the PostgreSQL database of a full profile, too.")
def command(yes: bool, drop_database: bool) -> None:
    """Remove the project's .vibraloom folder: profile, jobs, logs, and every spectrum in it."""
    from vibraloom.errors import MissingError
    from vibraloom.settings import project_folder
    from vibraloom.workflows.profile import database_of, remove

    home = project_folder()
    if home is None:
        raise MissingError("no .vibraloom here or above; nothing to remove")
    entries = sorted(path.name for path in home.iterdir())
    click.echo(f"{home}: holds {', '.join(entries)}")
    database = database_of(home)
    kept = f"database {database.name} of {database}" if database is not None else ""
    if kept and drop_database:
        click.echo(f"{kept}: will be dropped")
    if not yes and not click.confirm("Remove all of it, deposited spectra included?"):
        click.echo("nothing was removed")
        return
    remove(home, drop_database=drop_database)
    click.echo(f"{home}: removed")
    if kept and not drop_database:
        click.echo(f"{kept}: stays, without the files that lay in the folder; drop it there when you no longer need it")
