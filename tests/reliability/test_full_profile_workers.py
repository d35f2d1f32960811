"""kill -9 of the daemon on PostgreSQL and RabbitMQ: the run goes on where it was, and every step is one job."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from services.full_profile import Servers
    from tests.conftest import Project

PATIENCE = 120.0
"""Seconds to wait for a state."""


def until(ready: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def daemons(project: Project, word: str = "") -> list[psutil.Process]:
    """Processes of this project's daemon; with ``worker`` those that drive workflows."""
    home, found = str(project.folder / ".vibraloom"), []
    for process in psutil.process_iter(["cmdline"]):
        try:
            line = process.info["cmdline"] or []
            # circus: the daemon's own watchers
            ours = "daemon" in line or any("circus" in part for part in line)
            if ours and (not word or word in line) and process.environ().get("AIIDA_PATH", "").startswith(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def folder_at_work(project: Project) -> Path | None:
    """Folder of the LAMMPS that runs in this project and has left a checkpoint."""
    for process in psutil.process_iter(["name"]):
        try:
            folder = Path(process.cwd()) if process.info["name"] == "lmp" else Path()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if folder.is_relative_to(project.folder) and list(folder.glob("checkpoint-[ab].restart")):
            return folder
    return None


def logs(project: Project) -> list[Path]:
    """What LAMMPS wrote about each of its runs."""
    return list((project.folder / ".vibraloom" / "work").rglob("log-*.lammps"))


def start_daemon(project: Project) -> None:
    environment = project.environment() | {"PATH": f"{Path(sys.executable).parent}:{project.environment()['PATH']}"}
    script = 'eval "$(vibraloom env)" && verdi daemon start 1'
    subprocess.run(["bash", "-c", script], cwd=project.folder, env=environment, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("killed", ["the worker", pytest.param("the whole daemon", marks=pytest.mark.soak)])
def test_a_run_outlives_a_killed_daemon(killed: str, full_project: Project, servers: Servers) -> None:
    name = killed.replace(" ", "-")
    full_project.write_film("3 ps", f"{name}.yaml", **{"name: thin-film": f"name: {name}", "seed: 3": f"seed: {len(name)}"})
    before = set(logs(full_project))
    full_project.run("submit", f"{name}.yaml")
    until(lambda: folder_at_work(full_project), "no LAMMPS with a checkpoint")
    folder, workers = folder_at_work(full_project), daemons(full_project, "worker")
    assert folder and workers
    for process in workers if killed == "the worker" else daemons(full_project):
        process.send_signal(signal.SIGKILL)
    if killed == "the whole daemon":
        until(lambda: not daemons(full_project), "the daemon is alive")
        start_daemon(full_project)
    run = next(entry["id"] for entry in full_project.json("status") if entry["name"] == name)
    until(lambda: servers.state(run, "full") in ("finished", "excepted", "killed"), "the run did not end")
    assert {(step["state"], step["exit_status"]) for step in full_project.json("status", run)} == {("finished", 0)}
    (log,) = set(logs(full_project)) - before
    assert log.parent == folder
    assert log.read_text(encoding="utf-8").count("Total wall time") == 1
    assert len(full_project.json("list", "--name", name)) == 3
    now = daemons(full_project, "worker")
    assert now and {worker.pid for worker in now}.isdisjoint(worker.pid for worker in workers)
