"""``vibraloom submit SPEC.yaml``: hand a spec to the daemon and return."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("submit")
@click.argument("spec_path", metavar="SPEC.yaml", type=click.Path(path_type=Path))
@click.option("--again", is_flag=True, help="Submit even if this spec is finished; finished jobs come from the cache.")
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
def command(spec_path: Path, again: bool, profile: str | None) -> None:
    """Submit a spec to the daemon, which is started if it does not run; follow it with vibraloom status."""
    from vibraloom.workflows.spec import load_spec

    spec = load_spec(spec_path)
    from vibraloom.workflows.profile import load_project_profile, start_daemon

    home = load_project_profile(profile)
    from vibraloom.workflows import launch

    inputs = launch.inputs_of(spec)
    with launch.only_runner(home, spec):
        paused = launch.paused_run(spec)
        if paused is not None:
            start_daemon()
            launch.play(paused)
            click.echo(f"{spec.name}: run {paused.uuid[:8]} goes on; follow it with: vibraloom status {paused.uuid[:8]}")
            return
        with launch.short_runner():
            launch.close_interrupted_runs(spec)
        node = None if again else launch.finished_run(spec)
        if node is not None:
            click.echo(f"{spec.name}: finished before as run {node.uuid[:8]}; use --again to run the workflow again")
            return
        start_daemon()
        node = launch.submit(spec, inputs)
    click.echo(f"{spec.name}: submitted as run {node.uuid[:8]}; follow it with: vibraloom status {node.uuid[:8]}")
