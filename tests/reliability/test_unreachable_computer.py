"""A computer that stops answering in the middle of a run: the command ends with one line, and the run goes on later.

Over a real sshd in front of a real Slurm; the program notes each time it runs, and Slurm's own log names each job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from services.loopback import wait_until
from services.slurm import Slurm
from services.sshd import Sshd

from vibraloom.calculators.lammps.executable import find_lammps

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project

PROFILE = """\
version: 1
transport: {{kind: ssh, host: mycluster, poll_seconds: 1, connection_seconds: 0}}
scheduler: slurm
work: {work}
codes:
  python: {{executable: {python}}}
  lmp: {{executable: {program}, environment: {{LD_LIBRARY_PATH: "{libraries}"}}}}
"""
PROGRAM = """\
#!/bin/sh
echo "$SLURM_JOB_ID" >> {notes}
sleep 4
exec {lammps} "$@"
"""


class Away:
    """A project with the computer ``away``, which is this machine behind sshd."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.notes = folder / "notes"
        lammps = find_lammps()
        program = folder / "lmp"
        program.write_text(PROGRAM.format(notes=self.notes, lammps=lammps.path), encoding="utf-8")
        program.chmod(0o755)
        profile = project.folder / "away" / "profile.yaml"
        profile.parent.mkdir()
        libraries = lammps.environment.get("LD_LIBRARY_PATH", "/usr/lib")
        text = PROFILE.format(work=folder / "scratch", python=sys.executable, program=program, libraries=libraries)
        profile.write_text(text, encoding="utf-8")
        project.run("cluster", "add", "./away")
        # AiiDA tries five times in five minutes; here three times in three seconds
        project.set_options(transport__task_retry_initial_interval=1, transport__task_maximum_attempts=3)

    def write(self, name: str, length: str = "0.1 ps", *, computer: str = "away", replicas: int = 1) -> None:
        more = f"response: {{model: point-charges}}\nresources: {{computer: {computer}}}\n"
        changes = {"name: thin-film": f"name: {name}", "response: {model: point-charges}\n": more}
        self.project.write_film(length, **changes, **{"every: 2 fs": f"every: 2 fs, replicas: {replicas}"})

    def row(self, name: str) -> dict[str, Any]:
        """What ``vibraloom status`` tells of the one run of this name."""
        (row,) = (row for row in self.project.json("status") if row["name"] == name)
        return dict(row)

    def began(self) -> list[str]:
        """Slurm's numbers of the jobs in which the program began."""
        return self.notes.read_text(encoding="utf-8").split() if self.notes.exists() else []


@pytest.fixture(scope="module")
def computer(new_project: NewProject, sshd: Sshd, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Away]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sshd.environment.items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        made = Away(new_project(), tmp_path_factory.mktemp("away"))
        yield made
        made.project.run("uninstall", "--yes")


@pytest.fixture
def away(computer: Away, sshd: Sshd) -> Iterator[Away]:
    """The project with an sshd that runs, and runs again after the test."""
    computer.notes.unlink(missing_ok=True)
    yield computer
    if not (sshd.folder / "sshd.started").exists():
        sshd.start()


def last_line(process: subprocess.Popen[str], code: int) -> str:
    out, err = process.communicate(timeout=180)
    assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err
    return err.splitlines()[-1]


def test_a_run_that_was_given_up_goes_on_with_the_same_jobs(away: Away, sshd: Sshd, slurm: Slurm) -> None:
    away.write("given-up")
    before = len(slurm.finished())
    process = away.project.start("run", "film.yaml")
    wait_until(lambda: bool(away.began()) or process.poll() is not None, 120, "a job that runs")
    sshd.stop()
    said = last_line(process, 4)
    assert said.startswith("error: given-up: computer away does not answer: asking for the jobs failed 3 times (")
    assert "vibraloom cluster test away; then the same vibraloom run goes on" in said
    row = away.row("given-up")
    assert row["state"] == "paused" and row["message"].startswith("computer away does not answer")

    start = time.monotonic()
    said = last_line(away.project.start("run", "film.yaml"), 4)
    assert "computer away: mycluster cannot be used" in said and time.monotonic() - start < 20, "told before a run begins"

    sshd.start()
    away.project.run("run", "film.yaml")
    row = away.row("given-up")
    assert row["state"] == "finished" and row["exit_status"] == 0
    assert len(away.began()) == 1, "the program ran once"
    jobs = slurm.finished()[before:]
    assert len(jobs) == len({job.name for job in jobs}) == 3 and {job.state for job in jobs} == {"COMPLETED"}, jobs


def test_ctrl_c_leaves_no_job_in_the_queue_and_submits_none(away: Away, slurm: Slurm) -> None:
    away.write("ctrl-c", "20 ps", replicas=6)
    process = away.project.start("run", "film.yaml")
    wait_until(lambda: bool(slurm.queue()) or process.poll() is not None, 120, "a job in the queue")
    process.send_signal(signal.SIGINT)
    said = last_line(process, 130)
    assert said.startswith("interrupted: run ")
    time.sleep(3)  # what was on its way would have come by now
    assert slurm.queue() == []


def test_after_kill_9_the_same_command_cancels_the_far_job_and_goes_on_from_its_checkpoint(away: Away, slurm: Slurm) -> None:
    away.write("killed", "12 ps")  # long enough that it is still at work when the command is run again
    process = away.project.start("run", "film.yaml")
    scratch = away.notes.parent / "scratch"
    wait_until(lambda: bool(list(scratch.rglob("checkpoint-[ab].restart"))), 120, "a checkpoint")
    first = next(scratch.rglob("checkpoint-[ab].restart")).parent
    process.kill()
    process.communicate(timeout=60)
    before = len(slurm.finished())
    away.project.run("run", "film.yaml")
    (second,) = (path.parent for path in scratch.rglob("log-0001.lammps"))
    assert f'read_restart "{first}/checkpoint-' in (second / "in.lammps").read_text(encoding="utf-8")
    assert [job.state for job in slurm.finished()[before:]] == ["CANCELLED", *["COMPLETED"] * 3]
    assert len(away.began()) == 2


@pytest.mark.soak
def test_a_submitted_run_is_told_as_paused_and_goes_on_when_it_is_submitted_again(away: Away, sshd: Sshd, slurm: Slurm) -> None:
    away.write("in-the-daemon")
    before = len(slurm.finished())
    away.project.run("submit", "film.yaml")
    wait_until(lambda: bool(away.began()), 120, "a job that runs")
    sshd.stop()

    def row() -> dict[str, Any]:
        return away.row("in-the-daemon")

    wait_until(lambda: row()["state"] == "paused", 120, "a run that is told as paused")
    assert "computer away does not answer" in row()["message"]
    assert "vibraloom cluster test away; then the same vibraloom submit goes on" in row()["message"]
    sshd.start()
    assert "goes on" in away.project.run("submit", "film.yaml")
    wait_until(lambda: row()["state"] not in ("paused", "waiting", "running", "created"), 180, "the end of the run")
    assert row()["state"] == "finished", row()
    assert len(away.began()) == 1, "the program ran once"
    jobs = slurm.finished()[before:]
    assert len(jobs) == len({job.name for job in jobs}) == 3 and {job.state for job in jobs} == {"COMPLETED"}, jobs
