"""kill -9 around jobs in a real Slurm: between sbatch and the recorded job id, of the AiiDA worker, of slurmd.

And what Slurm itself does to jobs: lost nodes, the time limit, an administrator's scancel, a closed partition, requeue.

The proof is kept by others: the program notes each time it runs, and Slurm's own log names each job that ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiida.engine import CalcJob
from services.loopback import wait_until
from services.slurm import Slurm

from vibraloom.calculators.probe.calcjob import ProbeCalculation

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project

SECONDS = 3
"""How long a job runs; long enough to be killed around."""

PROGRAM = f"""\
#!/bin/sh
echo "$SLURM_JOB_ID" >> runs
sleep "$(cat "${{0%/*}}/seconds" 2> /dev/null || echo {SECONDS})"
echo "CP2K version 0 (a program that sleeps)"
"""

PROFILE = """\
version: 1
transport: {{kind: local}}
scheduler: slurm
work: "{{project}}/slurm"
resources: {{partition: debug, walltime_minutes: 5}}
codes: {{cp2k: {{executable: {program}}}}}
"""

SBATCH = """\
#!{python}
# sbatch in which the worker that called it dies: "after" the job was handed over, or "before" it, which then comes late
import os, pathlib, signal, subprocess, sys, time

import psutil

plan = pathlib.Path(__file__).with_name("plan")
when = plan.read_text().strip() if plan.exists() else ""


def kill_worker():
    worker = next(each for each in psutil.Process().parents() if "worker" in each.cmdline())
    os.kill(worker.pid, signal.SIGKILL)
    plan.rename(plan.with_name("done"))


if when == "before":
    kill_worker()
    time.sleep(3)
result = subprocess.run(["{sbatch}", *sys.argv[1:]], capture_output=True, text=True)
if when == "after":
    kill_worker()
sys.stdout.write(result.stdout)
sys.stderr.write(result.stderr)
sys.exit(result.returncode)
"""

SUBMIT = """\
import json, sys, time

from vibraloom.workflows.profile import load_project_profile

load_project_profile()
from aiida import orm
from aiida.engine import submit

from vibraloom.workflows.cluster_test import ClusterTestWorkChain

run = submit(ClusterTestWorkChain, codes={"cp2k": orm.load_code("cp2k@sleeper")})
end = time.monotonic() + 180
while not run.is_terminated and time.monotonic() < end:
    time.sleep(0.2)
(job,) = run.called
print(json.dumps({"ok": run.is_finished_ok and job.is_finished_ok, "state": run.process_state.value,
                  "exit_status": job.exit_status, "uuid": job.uuid, "job_id": job.get_job_id(),
                  "folder": job.get_remote_workdir()}))
"""


class Worker:
    """A project whose daemon works on the computer ``sleeper``; its sbatch can be told to kill the worker."""

    def __init__(self, project: Project, slurm: Slurm) -> None:
        self.project = project
        self.slurm = slurm
        self.bin = project.folder / "bin"

    def prepare(self) -> None:
        self.bin.mkdir()
        program = self.bin / "sleeper"
        for path, text in (
            (program, PROGRAM),
            (self.bin / "sbatch", SBATCH.format(python=sys.executable, sbatch="/usr/bin/sbatch")),
        ):
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755)
        profile = self.project.folder / "sleeper" / "profile.yaml"
        profile.parent.mkdir()
        profile.write_text(PROFILE.format(program=program), encoding="utf-8")
        self.project.set_options(daemon__timeout=30)  # (s) a machine that computes beside it stops a daemon slowly
        self.project.run("cluster", "add", "./sleeper")
        self._verdi("daemon", "start", "1")

    def stop(self) -> None:
        self._verdi("daemon", "stop")

    def environment(self) -> dict[str, str]:
        here = Path(sys.executable).parent
        path = os.pathsep.join([str(self.bin), str(here), os.environ["PATH"]])
        return {**self.project.environment(), "PATH": path, "AIIDA_PATH": str(self.project.folder / ".vibraloom")}

    def submit(self) -> subprocess.Popen[str]:
        """Hand one job to the daemon; the process prints what became of it."""
        return subprocess.Popen(
            [sys.executable, "-c", SUBMIT],
            cwd=self.project.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def plan(self, when: str) -> Path:
        """Let the next sbatch kill its worker; the file that tells that it did."""
        done = self.bin / "done"
        done.unlink(missing_ok=True)
        (self.bin / "plan").write_text(when, encoding="utf-8")
        return done

    def workers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                mine = process.environ().get("AIIDA_PATH", "").startswith(self.environment()["AIIDA_PATH"])
            except psutil.Error:
                continue
            if mine and "worker" in (process.info["cmdline"] or []):
                found.append(process)
        return found

    def running_jobs(self) -> set[str]:
        """Jobs whose program has begun; to Slurm a job runs before slurmd was told to start it."""
        begun = (self.project.folder / ".vibraloom" / "slurm").rglob("runs")
        return set(self.slurm.queue()) & {path.read_text(encoding="utf-8").strip() for path in begun}

    def wait_for_running_job(self, count: int = 1) -> None:
        """Until the programs of so many jobs have begun."""
        wait_until(lambda: len(self.running_jobs()) >= count, 120, f"{count} jobs that run")

    def _verdi(self, *arguments: str) -> None:
        command = [str(Path(sys.executable).with_name("verdi")), *arguments]
        subprocess.run(command, env=self.environment(), check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def worker(new_project: NewProject, slurm: Slurm) -> Iterator[Worker]:
    made = Worker(new_project(), slurm)
    made.prepare()
    yield made
    made.stop()


def assert_one_job(worker: Worker, told: dict[str, Any]) -> None:
    """The run ended well, its program ran once, and Slurm knows of one job for it: the one that AiiDA recorded."""
    assert told["ok"], told
    (run,) = (Path(told["folder"]) / "runs").read_text(encoding="utf-8").split()
    assert run == told["job_id"]
    wait_until(lambda: worker.slurm.queue() == [], 30, "an empty queue")
    jobs = [job for job in worker.slurm.finished() if told["uuid"] in job.name]
    assert [(str(job.job_id), job.state) for job in jobs] == [(run, "COMPLETED")]


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_worker_that_dies_between_sbatch_and_the_recorded_id_leads_to_one_job(worker: Worker, when: str) -> None:
    done = worker.plan(when)
    told = worker.result(worker.submit())
    assert done.exists(), "the plan was not carried out"
    assert_one_job(worker, told)


def test_a_worker_that_dies_while_its_job_runs_is_followed_by_another(worker: Worker) -> None:
    process = worker.submit()
    worker.wait_for_running_job()
    victims = worker.workers()
    assert len(victims) == 1
    victims[0].kill()
    assert_one_job(worker, worker.result(process))
    assert worker.workers() != victims


def test_a_slurmd_that_dies_while_a_job_runs_does_not_take_it_along(worker: Worker) -> None:
    process = worker.submit()
    worker.wait_for_running_job()
    worker.slurm.kill("slurmd")
    time.sleep(1)
    worker.slurm.start_node()
    assert_one_job(worker, worker.result(process))


def test_a_job_whose_node_is_lost_is_told_so_without_accounting(worker: Worker) -> None:
    process = worker.submit()
    worker.wait_for_running_job()
    node = f"NodeName={worker.slurm.host}"
    assert worker.slurm.call("scontrol", "update", node, "State=down", "Reason=test").returncode == 0
    told = worker.result(process)
    assert told["exit_status"] == CalcJob.exit_codes.ERROR_SCHEDULER_NODE_FAILURE.status
    (job,) = [job for job in worker.slurm.finished() if told["uuid"] in job.name]
    assert job.state == "NODE_FAIL"
    # the node comes back by itself when slurmd next reports
    worker.slurm.kill("slurmd")
    worker.slurm.start_node()


def test_what_the_time_limit_or_an_administrator_ends_is_told_apart(worker: Worker) -> None:
    seconds = worker.bin / "seconds"
    seconds.write_text("200", encoding="utf-8")
    processes = [worker.submit(), worker.submit()]
    worker.wait_for_running_job(2)
    seconds.unlink()
    late, unwanted = sorted(worker.running_jobs())
    # slurmctld looks at the limits twice a minute
    assert worker.slurm.call("scontrol", "update", f"JobId={late}", "EndTime=now+1second").returncode == 0
    assert worker.slurm.call("scancel", unwanted).returncode == 0
    told = {each["job_id"]: each for each in (worker.result(process) for process in processes)}
    states = {str(job.job_id): job.state for job in worker.slurm.finished()}
    assert (states[late], states[unwanted]) == ("TIMEOUT", "CANCELLED")
    assert told[late]["exit_status"] == CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME.status
    # to Slurm it is no failure: the parser says what the job left undone
    assert told[unwanted]["exit_status"] == ProbeCalculation.exit_codes.ERROR_DID_NOT_RUN.status


def test_a_job_waits_for_a_closed_partition_and_is_never_begun_twice_in_its_folder(worker: Worker) -> None:
    assert worker.slurm.call("scontrol", "update", "PartitionName=debug", "State=DOWN").returncode == 0
    try:
        process = worker.submit()
        wait_until(lambda: len(worker.slurm.queue()) == 1, 120, "a job in the queue")
        time.sleep(2)
        assert worker.running_jobs() == set() and process.poll() is None
    finally:
        assert worker.slurm.call("scontrol", "update", "PartitionName=debug", "State=UP").returncode == 0
    worker.wait_for_running_job()
    requeued = worker.slurm.call("scontrol", "requeue", *worker.running_jobs())
    assert requeued.returncode != 0 and "disabled" in requeued.stderr
    assert_one_job(worker, worker.result(process))
