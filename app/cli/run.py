"""``vibraloom run SPEC.yaml``: from the spec to deposited spectra, in the foreground."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click



@click.command("run")
@click.argument("spec_path", metavar="SPEC.yaml", type=click.Path(path_type=Path))
@click.option(
    "--again",
    is_flag=True,
    help="Run the workflow again even if this spec is finished; finished jobs come from the cache.",
)
@click.option("--check", is_flag=True, help="Check the spec and what it needs; run nothing.")
@click.option("-o", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder for pictures, CSV, JCAMP-DX and provenance graph.")
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(spec_path: Path, again: bool, check: bool, folder: Path | None, profile: str | None, as_json: bool) -> None:
    """Run a spec to the end and deposit its spectra.

    Interrupted (Ctrl-C, kill, power), the same command goes on from what is finished. A spec that is finished is
    shown, not run again. Exit codes: 0 done, 2 wrong input, 3 a computation failed, 4 something is missing.
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
    with launch.only_runner(home, spec):
        launch.close_interrupted_runs(spec)
        node = None if again else launch.finished_run(spec)
        if node is not None:
            click.echo(
                f"{spec.name}: finished before as run {node.uuid[:8]}; use --again to run the workflow again",
                err=True,
            )
        else:
            node = _run(spec, inputs)
    _conclude(node, folder, as_json)


def _run(spec: Any, inputs: dict[str, Any]) -> Any:
    from aiida.manage import get_manager
    from rich.console import Console

    from vibraloom.app.progress import RunProgress
    from vibraloom.workflows.launch import label_run
    from vibraloom.workflows.spectra import SpectraWorkChain

    # without the broker: a foreground run needs no server
    manager = get_manager()
    runner = manager.create_runner(communicator=None, poll_interval=0.2)
    manager.set_runner(runner)
    progress = RunProgress(Console(stderr=True))

    async def watch() -> None:
        while not (runs := [process.node for process in started]):
            await asyncio.sleep(0.05)
        await progress.follow(runs[0])

    started: list[Any] = []
    original = runner.instantiate_process

    def instantiate(process: Any, **keywords: Any) -> Any:
        made = original(process, **keywords)
        if not started:
            label_run(made.node, spec, daemon=False)
            started.append(made)
        return made

    runner.instantiate_process = instantiate  # type: ignore[method-assign]
    watcher = runner.loop.create_task(watch())
    try:
        _, node = runner.run_get_node(SpectraWorkChain, inputs)
    finally:
        if not watcher.done():
            watcher.cancel()
    return node


def _conclude(node: Any, folder: Path | None, as_json: bool) -> None:
    from vibraloom.app.presentation import run_summary
    from vibraloom.errors import ComputationError

    if not node.is_finished_ok:
        message = node.exit_message or f"ended as {node.process_state.value}"
        raise ComputationError(
            f"run {node.uuid[:8]}: {message}; look with: vibraloom show {node.uuid[:8]}, then run the same command again"
        )
    run_summary(node, as_json=as_json, stream=sys.stdout)
    if folder is not None:
        from vibraloom.app.report import write_report

        written = write_report(node, folder)
        click.echo(f"{folder}: {len(written)} files: overview.png, provenance.png, and .png .csv .jdx of each spectrum", err=True)
