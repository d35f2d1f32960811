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

    load_project_profile(profile)
    from vibraloom.errors import InputError
    from vibraloom.workflows import launch

    inputs = launch.inputs_of(spec)
    follow = "follow it with: vibraloom status"
    with launch.only_runner(spec):
        run = launch.run_of_daemon(spec)
        if run is not None:
            start_daemon()
            if not launch.moved(run, spec):
                launch.play(run)
                click.echo(f"{spec.name}: run {run.uuid[:8]} goes on; {follow} {run.uuid[:8]}")
                return
            if not launch.paused_jobs(run):
                computer = inputs["spec"]["resources"]["computer"]
                raise InputError(
                    f"{spec.name}: run {run.uuid[:8]} is at work on another computer than {computer};"
                    f" to begin it there, end it first: eval $(vibraloom env) && verdi process kill {run.pk}"
                )
            with launch.short_runner():
                launch.take_from_daemon(run)
        with launch.short_runner():
            launch.close_interrupted_runs(spec)
        node = None if again else launch.finished_run(spec)
        if node is not None:
            click.echo(f"{spec.name}: finished before as run {node.uuid[:8]}; use --again to run the workflow again")
            return
        start_daemon()
        node = launch.submit(spec, inputs)
    click.echo(f"{spec.name}: submitted as run {node.uuid[:8]}; {follow} {node.uuid[:8]}")
