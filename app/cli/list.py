"""``vibraloom list``: the deposited spectra."""

from __future__ import annotations

import json
import sys

import click


@click.command("list")
@click.option("--collection", help="Only this collection.")
@click.option("--quantity", help="Only quantities that begin so, e.g. raman.")
@click.option("--name", help="Only runs of this name.")
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(collection: str | None, quantity: str | None, name: str | None, profile: str | None, as_json: bool) -> None:
    """List the spectra in the database, oldest first."""
    from vibraloom.workflows.profile import load_project_profile

    load_project_profile(profile)
    from vibraloom.database.graph import entries

    found = entries(collection=collection, quantity=quantity, name=name)
    if as_json:
        click.echo(json.dumps([entry.as_dict() for entry in found], indent=1))
        return
    if not found:
        click.echo("no spectra here yet; make some with: vibraloom run SPEC.yaml")
        return
    from rich.table import Table

    from vibraloom.app.presentation import SHORT, console

    table = Table()
    for heading in (
        "ID",
        "name",
        "system",
        "quantity",
        "unit",
        "range cm⁻¹",
        "T K",
        "verdict",
        "fidelity",
        "collection",
    ):
        table.add_column(heading, no_wrap=True)
    for entry in found:
        attributes, context = entry.attributes, entry.attributes["context"]
        temperature = attributes["conventions"]["temperature"]
        table.add_row(
            entry.uuid[:SHORT],
            context["name"],
            context["system"]["formula"],
            attributes["quantity"].replace("_", " "),
            attributes["unit"],
            f"{attributes['low']:.0f}–{attributes['high']:.0f}",
            "–" if temperature is None else f"{temperature:g}",
            "converged" if attributes["verdict"]["converged"] else "not converged",
            context["fidelity"],
            ", ".join(entry.collections),
        )
    console(sys.stdout).print(table)
