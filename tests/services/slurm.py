"""A real one-node Slurm on loopback, in one folder: munged, slurmctld and slurmd, ports of its own, no cgroups.

In tests: the session fixture ``slurm``. By hand: ``python -m services.slurm start|stop FOLDER`` in tests/; start prints
what to export, stop ends every process; the folder with the logs stays.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from services.loopback import exports, find_program, folder_for, free_port, run_by_hand, skip_without, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd")
PACKAGES = "slurm-wlm munge"
PATIENCE = 30.0
"""Seconds to wait for a daemon, a node or the end of a job."""

SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished-jobs.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Feature=loopback Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=standard Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=00:10:00 State=UP
"""


@dataclass(frozen=True)
class FinishedJob:
    """A line of Slurm's own log of finished jobs."""

    job_id: int
    name: str
    state: str


class Slurm:
    """Slurm in ``folder`` (an absolute path of at most 80 characters: it holds a socket)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().split(".")[0]

    @property
    def environment(self) -> dict[str, str]:
        """What a process that calls sbatch, squeue or scancel needs."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Write the configuration, start the daemons, wait until the node is idle."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # munge refuses a folder that others may write, and its socket must be reachable for job owners
        self.folder.chmod(0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        if not key.exists():
            key.write_bytes(secrets.token_bytes(128))
            key.chmod(0o400)
        text = SLURM_CONF.format(
            folder=self.folder,
            host=self.host,
            controller_port=free_port(),
            node_port=free_port(),
            cpus=os.cpu_count(),
            memory=int(psutil.virtual_memory().total / 2**20 * 0.9),
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        (self.folder / "gres.conf").write_text("Name=gpu Type=loopback File=/dev/null\n", encoding="utf-8")
        files = [f"--{name}={self.folder}/munge.{suffix}" for name, suffix in _MUNGE_FILES]
        self._launch("munged", "--foreground", "--force", *files)
        wait_until((self.folder / "munge.sock").exists, PATIENCE, f"munged's socket, see {self.folder}")
        self.start_controller()
        self.start_node()

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers."""
        self._launch("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_until(lambda: self.call("sinfo").returncode == 0, PATIENCE, f"an answer of slurmctld, see {self.folder}")

    def start_node(self) -> None:
        """Start slurmd and wait until its node takes jobs."""
        self._launch("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        ready = ("idle", "mixed", "allocated")
        wait_until(lambda: self.node_state() in ready, PATIENCE, f"a node that takes jobs, see {self.folder}")

    def kill(self, program: str) -> None:
        """``kill -9`` one daemon; what runs under it lives on."""
        process = self._process(program)
        assert process is not None, f"{program} does not run"
        process.kill()
        process.wait(PATIENCE)

    def stop(self) -> None:
        """Cancel the jobs, end the daemons and whatever job processes are left."""
        if self._process("slurmctld") is not None and self.call("scancel", "--user=root").returncode == 0:
            end = time.monotonic() + 10
            while self.queue() and time.monotonic() < end:
                time.sleep(0.1)
        for program in reversed(PROGRAMS):
            process = self._process(program)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(10)
            except psutil.TimeoutExpired:
                process.kill()
            (self.folder / f"{program}.started").unlink()
        for process in psutil.process_iter(["pid"]):
            try:
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"] and process.name() == "slurmstepd":
                    process.kill()
            except psutil.Error:
                continue

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands."""
        return subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def node_state(self) -> str:
        """State of the node as sinfo names it."""
        return self.call("sinfo", "--noheader", "--format=%T", "--partition=debug").stdout.strip()

    def queue(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        return self.call("squeue", "--noheader", "--format=%i").stdout.split()

    def finished(self) -> list[FinishedJob]:
        """What Slurm's own log says about the jobs that ended, oldest first."""
        log = self.folder / "finished-jobs.log"
        jobs = []
        for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
            words = dict(word.split("=", 1) for word in line.split() if "=" in word)
            jobs.append(FinishedJob(int(words["JobId"]), words["Name"], words["JobState"]))
        return jobs

    def _launch(self, program: str, *arguments: str) -> None:
        path = find_program(program)
        assert path is not None, f"{program} is not installed; run: apt-get install {PACKAGES}"
        with (self.folder / f"{program}.log").open("ab") as log:
            # a session of its own: Ctrl-C in the tests is no order to the daemons
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
                start_new_session=True,
            )
        (self.folder / f"{program}.started").write_text(f"{process.pid}\n", encoding="utf-8")

    def _process(self, program: str) -> psutil.Process | None:
        try:
            process = psutil.Process(int((self.folder / f"{program}.started").read_text(encoding="utf-8")))
            alive = process.name() == program and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        return process if alive else None


_MUNGE_FILES = (
    ("key-file", "key"),
    ("socket", "sock"),
    ("pid-file", "pid"),
    ("log-file", "log"),
    ("seed-file", "seed"),
)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A running Slurm, its SLURM_CONF exported to this process and its children."""
    for program in PROGRAMS:
        skip_without(find_program(program), program, PACKAGES)
    if os.geteuid() != 0:
        pytest.skip("Slurm starts jobs as their owners and needs root; run the tests as root")
    service = Slurm(folder_for("slurm"))
    os.environ.update(service.environment)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        del os.environ["SLURM_CONF"]
        shutil.rmtree(service.folder, ignore_errors=True)


def _start_by_hand(folder: Path, _: list[str]) -> list[str]:
    service = Slurm(folder)
    service.start()
    return exports(service.environment)


if __name__ == "__main__":
    run_by_hand(_start_by_hand, lambda folder: Slurm(folder).stop())
