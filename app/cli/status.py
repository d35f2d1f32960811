"""``vibraloom status [ID]``: what runs, what ended, and why."""

from __future__ import annotations

import json
import sys
from typing import Any

import click


@click.command("status")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--log", "show_log", is_flag=True, help="Print the log lines of this run.")
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(identifier: str | None, show_log: bool, profile: str | None, as_json: bool) -> None:
    """Show the runs of this project, or the steps of one.

    Of a run that waits it says what for: a computer that does not answer, a daemon that is stopped.
    """
    from vibraloom.workflows.profile import load_project_profile

    home = load_project_profile(profile)
    if identifier is None:
        _all_runs(as_json)
        return
    from aiida import orm

    from vibraloom.database.graph import find, jobs_under
    from vibraloom.errors import InputError

    node = find(identifier)
    if not isinstance(node, orm.ProcessNode):
        raise InputError(f"ID {identifier}: not a run; vibraloom status without an ID lists the runs")
    if show_log:
        from vibraloom.workflows.logs import lines_of

        for line in lines_of([node, *node.called_descendants], home):
            click.echo(line)
        return
    records = [_record(each) for each in [node, *jobs_under(node)]]
    if as_json:
        click.echo(json.dumps(records, indent=1))
        return
    _table(records)


def _record(node: Any) -> dict[str, Any]:
    from vibraloom.app.progress import step_name, told_progress
    from vibraloom.workflows.attempts import BY_DAEMON
    from vibraloom.workflows.foreground import paused_jobs, remedy_of, told_pause
    from vibraloom.workflows.profile import daemon_runs

    state = node.process_state.value if node.process_state else "created"
    job = hasattr(node, "get_remote_workdir")
    told = told_progress(node) if job and not node.is_terminated else None
    paused = None if node.is_terminated else next(iter(paused_jobs(node)), None)
    if paused is not None:
        state, told = "paused", {"text": f"{told_pause(paused)}; {remedy_of(paused)}"}
    if not node.is_terminated and node.base.extras.get(BY_DAEMON, False) and not daemon_runs():
        told = {"text": "the daemon, which has this run, is stopped; the same vibraloom submit starts it, and the run goes on"}
    return {
        "id": node.uuid,
        "name": node.label or step_name(node),
        "created": node.ctime.isoformat(timespec="seconds"),
        "state": state,
        "exit_status": node.exit_status,
        "message": node.exit_message or (told or {}).get("text") or "",
        "cached": node.base.caching.is_created_from_cache,
    }


def _all_runs(as_json: bool) -> None:
    from aiida import orm

    from vibraloom.workflows.launch import SPEC_HASH

    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"extras": {"has_key": SPEC_HASH}}, tag="run")
    query.order_by({"run": "ctime"})
    records = [_record(node) for node in query.all(flat=True)]
    if as_json:
        click.echo(json.dumps(records, indent=1))
    elif not records:
        click.echo("no runs here yet; start one with: vibraloom run SPEC.yaml")
    else:
        _table(records)


def _table(records: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from vibraloom.app.presentation import SHORT, console

    table = Table()
    for heading in ("ID", "name", "created", "state", "message"):
        table.add_column(heading, no_wrap=heading in ("ID", "created"))
    for entry in records:
        state = entry["state"] if not entry["exit_status"] else f"failed [{entry['exit_status']}]"
        if entry["cached"]:
            state += " (cache)"
        table.add_row(entry["id"][:SHORT], entry["name"], entry["created"][:19], state, entry["message"])
    console(sys.stdout).print(table, markup=False)
