"""``vibraloom cluster``: computers from profiles, and whether they work."""

from __future__ import annotations

import json
import sys
from typing import Any

import click


@click.group("cluster")
def command() -> None:
    """Computers: add one from a profile, list them, test one with a tiny job of each code."""


@command.command("add")
@click.argument("profile", metavar="PROFILE")
@click.option("--name", help="Name of the computer; default: the profile's.")
@click.option("--profile", "aiida_profile", help="Use this existing AiiDA profile instead of the project's own.")
def add(profile: str, name: str | None, aiida_profile: str | None) -> None:
    """Make the computer and codes of PROFILE: a name that `list` shows, or the path of a folder; safe to repeat."""
    from vibraloom.cluster_profiles.loader import find
    from vibraloom.workflows.profile import load_project_profile

    find(profile).load()
    home = load_project_profile(aiida_profile)
    from vibraloom.workflows import clusters

    computer, said = clusters.add(profile, home, name)
    for line in said:
        click.echo(line)
    click.echo(f"computer {computer.label}: ready; next: vibraloom cluster test {computer.label}")


@command.command("list")
@click.option("--show", "shown", metavar="PROFILE", help="Print the file of this profile, to copy and edit it.")
@click.option("--profile", "aiida_profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(shown: str | None, aiida_profile: str | None, as_json: bool) -> None:
    """List the computers of this project, and the profiles that can be added."""
    from vibraloom.cluster_profiles.loader import available, find

    if shown is not None:
        click.echo(find(shown).path.read_text(encoding="utf-8"), nl=False)
        return
    from vibraloom.workflows.profile import load_project_profile

    load_project_profile(aiida_profile)
    from vibraloom.workflows.clusters import listed

    computers = listed()
    profiles = [{"name": each.name, "origin": each.origin, "file": str(each.path)} for each in available()]
    if as_json:
        click.echo(json.dumps({"computers": computers, "profiles": profiles}, indent=1))
        return
    from rich.table import Table

    from vibraloom.app.presentation import console

    table = Table(title="computers")
    for heading in ("name", "host", "scheduler", "codes", "look every", "work folder"):
        table.add_column(heading)
    for row in computers:
        seconds = f"{row['poll_seconds']:g} s"
        table.add_row(row["name"], row["host"], row["scheduler"], ", ".join(row["codes"]), seconds, row["work"])
    screen = console(sys.stdout)
    screen.print(table)
    screen.print(f"profiles: {', '.join(each['name'] for each in profiles)}", highlight=False)


@command.command("test")
@click.argument("name", metavar="COMPUTER")
@click.option("--profile", "aiida_profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(name: str, aiida_profile: str | None, as_json: bool) -> None:
    """Run a tiny job of each code on COMPUTER and tell versions, waits and faults.

    Exit codes: 0 all good, 2 a wrong profile, 3 a job failed, 4 the computer cannot be reached.
    """
    from vibraloom.workflows.profile import load_project_profile

    home = load_project_profile(aiida_profile)
    from vibraloom.workflows.cluster_test import test as test_computer
    from vibraloom.workflows.logs import log_to

    log_to(home)
    told = test_computer(name)
    if as_json:
        click.echo(json.dumps(told, indent=1))
    else:
        _show(told)
    bad = [entry for entry in told["codes"] if not entry["ok"]]
    if bad:
        from vibraloom.errors import ComputationError, InputError

        wrong = bad[0]["status"] is not None and 200 <= bad[0]["status"] < 300
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise (InputError if wrong else ComputationError)(f"{bad[0]['message']}{more}")


def _show(told: dict[str, Any]) -> None:
    from rich.table import Table

    from vibraloom.app.presentation import console

    title = f"computer {told['computer']}"
    if partition := told["partition"]:
        limit = "no time limit" if partition["limit_minutes"] is None else f"at most {partition['limit_minutes']:g} min"
        title += f": partition {partition['name']}, {partition['nodes']} nodes of {partition['cores_per_node']} cores, {limit}"
    table = Table(title=title)
    for heading in ("code", "says", "host", "queue s", "run s", "through AiiDA s"):
        table.add_column(heading)
    for entry in told["codes"]:
        numbers = [entry[key] for key in ("queue_seconds", "run_seconds", "wall_seconds")]
        cells = ["–" if number is None else f"{number:.1f}" for number in numbers]
        table.add_row(entry["code"], entry["version"] or "failed", entry["host"] or "–", *cells)
    console(sys.stdout).print(table)
