"""``vibraloom run SPEC.yaml``: from the spec to deposited spectra, in the foreground."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import click

from vibraloom.app.cli.errors import INTERRUPTED


@click.command("run")
@click.argument("spec_path", metavar="SPEC.yaml", type=click.Path(path_type=Path))
@click.option(
    "--again",
    is_flag=True,
    help="Run the workflow again even if this spec is finished; finished jobs come from the cache.",
)
@click.option("--check", is_flag=True, help="Check the spec and what it needs; run nothing.")
@click.option(
    "-o",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for pictures, CSV, JCAMP-DX and provenance graph.",
)
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(spec_path: Path, again: bool, check: bool, folder: Path | None, profile: str | None, as_json: bool) -> None:
    """Run a spec to the end and deposit its spectra.

    Interrupted (Ctrl-C, kill, power), the same command goes on from what is finished. A spec that is finished is
    shown, not run again. A computer that stops answering ends the command; the same command goes on with its very jobs.

    Exit codes: 0 done, 2 wrong input, 3 a computation failed, 4 something is missing.
    """
    from vibraloom.workflows.spec import load_spec

    spec = load_spec(spec_path)
    from vibraloom.workflows.profile import load_project_profile

    home = load_project_profile(profile)
    from vibraloom.workflows import launch
    from vibraloom.workflows.logs import log_to

    inputs = launch.inputs_of(spec)
    log_to(home)
    if check:
        click.echo(f"{spec_path}: good; everything it needs is here")
        return
    with launch.only_runner(spec):
        runner = launch.foreground_runner()  # before anything asks a computer over ssh
        finished = launch.finished_run(spec)
        node = None if again else finished
        if finished is None:  # else every job comes from the cache, and the computer need not be there
            launch.require_computer(spec)
        process = None if node is not None else launch.resumed_run(spec, runner)
        launch.close_interrupted_runs(spec, but=None if process is None else process.pid)
        if node is not None:
            click.echo(
                f"{spec.name}: finished before as run {node.uuid[:8]}; use --again to run the workflow again",
                err=True,
            )
        else:
            node = _run(spec, inputs, process)
    _conclude(node, spec_path, folder, as_json)


def _run(spec: Any, inputs: dict[str, Any], process: Any) -> Any:
    """Drive ``process``, or a new one where there is none, to its end."""
    from rich.console import Console

    from vibraloom.app.progress import RunProgress
    from vibraloom.errors import MissingError
    from vibraloom.workflows.foreground import WAITS_FOR, drive, remedy_of, told_pause
    from vibraloom.workflows.launch import close_run, foreground_runner, label_run
    from vibraloom.workflows.spectra import SpectraWorkChain

    runner = foreground_runner()
    if process is None:
        process = runner.instantiate_process(SpectraWorkChain, **inputs)
        label_run(process.node, spec, daemon=False)
    gc.freeze()
    stop = drive(runner, process, RunProgress(Console(stderr=True)).follow(process.node))
    if stop is not None and stop.job is not None:
        process.node.base.extras.set(WAITS_FOR, stop.job.computer.label)
        raise MissingError(f"{spec.name}: {told_pause(stop.job)}; {remedy_of(stop.job)}")
    if stop is not None:
        close_run(process.node, killed=True)
    return process.node


def _conclude(node: Any, spec_path: Path, folder: Path | None, as_json: bool) -> None:
    from vibraloom.app.presentation import run_summary
    from vibraloom.errors import ComputationError, InputError

    if node.is_killed:
        click.echo(
            f"interrupted: run {node.uuid[:8]} stopped; the same command goes on from what is finished", err=True
        )
        sys.exit(INTERRUPTED)
    if node.exit_status is not None and 200 <= node.exit_status < 300:
        raise InputError(f"{spec_path}: {node.exit_message}")
    if not node.is_finished_ok:
        message = node.exit_message or f"ended as {node.process_state.value}"
        raise ComputationError(
            f"run {node.uuid[:8]}: {message}; look with: vibraloom show {node.uuid[:8]}, then run the same command again"
        )
    run_summary(node, as_json=as_json, stream=sys.stdout)
    if folder is not None:
        from vibraloom.app.report import write_report

        written = write_report(node, folder)
        click.echo(
            f"{folder}: {len(written)} files: provenance.png, .csv and .jdx of each spectrum, overview.png and .png of curves",
            err=True,
        )
