"""CP2K as jobs of a real Slurm: stopped at the wall time, its worker and slurmd killed, again from the cache; both profiles.

One water in a small cell on a coarse grid: what counts is the flow of data, which is the same for a good basis.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from reliability.test_slurm_jobs import Worker
from services.loopback import wait_until
from services.slurm import Slurm

from vibraloom.files.trajectory import Trajectory, read_trajectory

if TYPE_CHECKING:
    from services.full_profile import Servers
    from tests.conftest import NewProject, Project

STEPS = 30
WALLTIME = 24
"""(s) Limit of a stopped job; CP2K itself is told half of it."""
POSITION_NOISE = 2e-6
"""(Å) What an SCF converged to 1e-7 and a wavefunction history that is begun anew leave in the positions after 15 fs."""
DIPOLE_NOISE = 5e-6
"""(e·Å) The same in the dipole."""

LABEL_WALLTIME = 200
"""(s) Limit of a label's job; its runs have half of it together."""
RUNS = ["cp2k", *(f"field_{axis}_{sign}" for axis in "xyz" for sign in ("plus", "minus"))]
CLOCK = """\
#!/bin/sh
# by the clock of the job's script each run takes 30 s, however slow this machine is: three runs fit into one job
echo $((1000000 + 30 * $(cat ./*.out 2> /dev/null | grep -c "PROGRAM ENDED AT")))
"""

STOPPED = """\
#!{python}
# CP2K that makes some steps and then none until its own wall time is over
import signal, subprocess, sys, time
from pathlib import Path

child = subprocess.Popen([{cp2k!r}, *sys.argv[1:]])
began = time.monotonic()
energies = Path("cp2k-1.ener")
while child.poll() is None and not (energies.exists() and energies.read_text().count("\\n") > 8):
    time.sleep(0.005)
if child.poll() is None:
    child.send_signal(signal.SIGSTOP)
    with Path({notes!r}).open("a") as notes:
        notes.write(str(Path.cwd()) + "\\n")
    time.sleep(max(0.0, began + {seconds} - time.monotonic()))
    child.send_signal(signal.SIGCONT)
sys.exit(child.wait())
"""

RUN = """\
import json, pathlib, shutil, sys, time

from vibraloom.workflows.profile import load_project_profile

load_project_profile()
from aiida import orm
from aiida.engine import submit
from ase.build import molecule

from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.workflows.clusters import job_options
from vibraloom.workflows.cp2k_labels import Cp2kLabelWorkChain
from vibraloom.workflows.dynamics import Cp2kDynamicsWorkChain

request = json.loads(sys.argv[1])
plain, python = orm.load_code("cp2k@localhost-slurm"), orm.load_code("python@localhost-slurm")
water = molecule("H2O", cell=[6.0] * 3, pbc=True)
water.rotate(20, (1, 2, 3))
coarse = {"cutoff": 150, "relative_cutoff": 30, "scf_convergence": 1e-7}


def dynamics(code, **options):
    md = {"temperature": 300.0, "steps": request["steps"], "seed": 3}
    options = {**job_options(plain), **options}
    return Cp2kDynamicsWorkChain.get_builder_from_protocol(
        code, orm.StructureData(ase=water), "fast", coarse, options, md=md, functional="PBE", converter=python
    )


builders = {}
if "whole" in request["runs"]:
    builders["whole"] = dynamics(plain)
if "stopped" in request["runs"]:
    stopped = orm.InstalledCode(
        label="stopped", computer=plain.computer, filepath_executable=request["program"],
        prepend_text=plain.prepend_text, with_mpi=plain.with_mpi,
    ).store()
    builders["stopped"] = dynamics(stopped, max_wallclock_seconds=request["walltime"])
if "fields" in request["runs"]:
    clocked = orm.InstalledCode(
        label="clocked", computer=plain.computer, filepath_executable=str(plain.filepath_executable),
        prepend_text=f"{plain.prepend_text}\\nexport PATH={request['program']}:$PATH", with_mpi=plain.with_mpi,
    ).store()
    box = orm.StructureData(ase=molecule("H2O", cell=[7.0] * 3, pbc=True))
    builders["fields"] = Cp2kLabelWorkChain.get_builder_from_protocol(
        clocked, {"a": box}, "fast", {**coarse, "cutoff": 200},
        {**job_options(plain), "max_wallclock_seconds": request["label_walltime"]}, functional="PBE",
        wanted={"polarizability": ["field"]}, converter=python,
    )
if "label" in request["runs"]:
    builders["label"] = Cp2kLabelWorkChain.get_builder_from_protocol(
        plain, {"a": orm.StructureData(ase=water)}, "fast", coarse, job_options(plain), functional="PBE",
        wanted={"polarizability": ["field", "linres"], "axes": "z"}, converter=python,
    )
runs = {name: submit(builder) for name, builder in builders.items()}
end = time.monotonic() + request["patience"]
while not all(run.is_terminated for run in runs.values()) and time.monotonic() < end:
    time.sleep(0.3)
told = {}
for name, run in runs.items():
    jobs = sorted((node for node in run.called_descendants if isinstance(node, orm.CalcJobNode)), key=lambda node: node.ctime)
    told[name] = {
        "ok": run.is_finished_ok,
        "message": run.exit_message or str(run.process_state),
        "jobs": [
            {"uuid": job.uuid, "id": job.get_job_id(), "status": job.exit_status, "folder": job.get_remote_workdir(),
             "cached": job.base.caching.is_created_from_cache}
            for job in jobs
        ],
    }
    into = pathlib.Path(request["into"])
    if run.is_finished_ok and name in ("whole", "stopped"):
        with run.outputs.trajectories.replica_00.as_path() as path:
            shutil.copy(path, into / f"{name}.h5")
    if run.is_finished_ok and name in ("label", "fields"):
        with run.outputs.dataset.as_path() as path:
            shutil.copy(path / "labels.npz", into / "labels.npz")
print(json.dumps(told))
"""


class Queue(Worker):
    """A project whose daemon sends CP2K to the computer that ``cluster add localhost-slurm`` makes."""

    def prepare(self) -> None:
        self.project.run("cluster", "add", "localhost-slurm")
        self._verdi("daemon", "start", "1")

    def ask(self, *runs: str, into: Path, program: str = "") -> subprocess.Popen[str]:
        """Hand runs to the daemon; the process prints what became of them, and leaves their results in ``into``."""
        into.mkdir(exist_ok=True)
        request = {
            "runs": runs,
            "steps": STEPS,
            "walltime": WALLTIME,
            "label_walltime": LABEL_WALLTIME,
            "program": program,
            "into": str(into),
            "patience": 240,
        }
        return subprocess.Popen(
            [sys.executable, "-c", RUN, json.dumps(request)],
            cwd=self.project.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told


@pytest.fixture(scope="module")
def queue(cp2k_program: str, new_project: NewProject, slurm: Slurm) -> Iterator[Queue]:
    made = Queue(new_project(), slurm)
    made.prepare()
    yield made
    made.stop()


@pytest.fixture
def full_queue(cp2k_program: str, servers: Servers, slurm: Slurm, bare_project: Project) -> Iterator[Queue]:
    """The same on a full profile; its daemon must know this Slurm, as one that was started earlier does not."""
    servers.file(bare_project.folder, "queue", servers.make_user("queue"))
    bare_project.run("init", "--full", "full.yaml")
    made = Queue(bare_project, slurm)
    made.prepare()
    yield made
    made.stop()
    bare_project.run("uninstall", "--yes", "--drop-database")


def assert_one_job_per_step(queue: Queue, told: dict[str, Any]) -> None:
    """CP2K ran once in each folder, and Slurm knows of one job for each: the one that AiiDA recorded."""
    wait_until(lambda: queue.slurm.queue() == [], 30, "an empty queue")
    finished = queue.slurm.finished()
    for job in told["jobs"]:
        log = (Path(job["folder"]) / "cp2k.out").read_text(encoding="utf-8", errors="replace")
        assert log.count("PROGRAM STARTED AT") == 1, job
        known = [(str(each.job_id), each.state) for each in finished if job["uuid"] in each.name]
        assert known == [(job["id"], "COMPLETED")], job


def assert_same(one: Trajectory, other: Trajectory) -> None:
    assert one.step.tolist() == other.step.tolist() == list(range(STEPS + 1))
    moved = np.abs(one.positions - other.positions).max()
    turned = np.abs(one.observables["dipole"] - other.observables["dipole"]).max()
    assert (moved < POSITION_NOISE, turned < DIPOLE_NOISE) == (True, True), (moved, turned)
    assert np.abs(one.positions[-1] - one.positions[0]).max() > 1e-2, "Å: the water moves"


def assert_label(path: Path) -> None:
    with np.load(path, allow_pickle=False) as stored:
        labels = dict(stored)
    assert labels["forces"].shape == (1, 3, 3)
    by_field, by_response = labels["polarizability_field"][0, 2, 2], labels["polarizability_linres"][0, 2, 2]
    assert 0.4 < by_response < 1.6, "Å³"
    assert abs(by_field / by_response - 1) < 0.02, (by_field, by_response)


def test_killed_and_stopped_on_slurm_a_trajectory_is_the_uninterrupted_one(
    queue: Queue, cp2k_program: str, tmp_path: Path
) -> None:
    program, notes = tmp_path / "cp2k-stopped", tmp_path / "notes"
    text = STOPPED.format(python=sys.executable, cp2k=cp2k_program, notes=str(notes), seconds=WALLTIME / 2 + 0.5)
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)

    def stops() -> int:
        return len(notes.read_text(encoding="utf-8").splitlines()) if notes.exists() else 0

    results = tmp_path / "results"
    process = queue.ask("stopped", "whole", "label", into=results, program=str(program))
    wait_until(lambda: stops() >= 1 or process.poll() is not None, 120, "a first stop")
    assert process.poll() is None, process.communicate()
    victims = queue.workers()
    assert len(victims) == 1
    victims[0].kill()
    wait_until(lambda: stops() >= 2, 120, "a second stop")
    queue.slurm.kill("slurmd")
    time.sleep(1)
    queue.slurm.start_node()
    told = queue.told(process)
    for name, run in told.items():
        assert run["ok"], f"{name}: {run['message']}"
        assert_one_job_per_step(queue, run)
    statuses = [job["status"] for job in told["stopped"]["jobs"]]
    # a job around which something was killed may count as cut off; it is continued like the others
    assert statuses[-1] == 0 and set(statuses[:-1]) <= {410, 420}, statuses
    assert statuses.count(410) >= 3, "at least three stops at the wall time"
    assert len(told["whole"]["jobs"]) == len(told["label"]["jobs"]) == 1
    assert_same(read_trajectory(results / "stopped.h5"), read_trajectory(results / "whole.h5"))
    assert_label(results / "labels.npz")

    before = len(queue.slurm.finished())
    again = queue.told(queue.ask("whole", "label", into=tmp_path / "again"))
    assert all(run["ok"] and all(job["cached"] for job in run["jobs"]) for run in again.values()), again
    assert queue.slurm.queue() == [] and len(queue.slurm.finished()) == before, "nothing was submitted"
    assert_label(tmp_path / "again" / "labels.npz")


def test_the_fields_of_a_label_are_spread_over_jobs_and_each_is_run_once(queue: Queue, cp2k_program: str, tmp_path: Path) -> None:
    clock = tmp_path / "bin" / "date"
    clock.parent.mkdir()
    clock.write_text(CLOCK, encoding="utf-8")
    clock.chmod(0o755)
    told = queue.told(queue.ask("fields", into=tmp_path, program=str(clock.parent)))["fields"]
    assert told["ok"], told["message"]
    assert [job["status"] for job in told["jobs"]] == [410, 410, 0]
    folders = [Path(job["folder"]) for job in told["jobs"]]
    logs = {name: [log for folder in folders if (log := folder / f"{name}.out").is_file()] for name in RUNS}
    assert {name: len(found) for name, found in logs.items()} == dict.fromkeys(RUNS, 1)
    for (log,) in logs.values():
        assert log.read_text(encoding="utf-8", errors="replace").count("PROGRAM ENDED AT") == 1, log
    last = json.loads((folders[-1] / "job.json").read_text(encoding="utf-8"))
    assert last["finished"]["cp2k"] == str(folders[0]), "the record says where the others are read"
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as stored:
        tensor = stored["polarizability"][0]
    assert np.all((np.linalg.eigvalsh(tensor) > 0.4) & (np.linalg.eigvalsh(tensor) < 1.8)), "Å³"


def test_on_postgresql_and_rabbitmq_a_water_goes_through_slurm_to_its_label(
    full_queue: Queue, servers: Servers, tmp_path: Path
) -> None:
    told = full_queue.told(full_queue.ask("label", into=tmp_path))["label"]
    assert told["ok"], told["message"]
    assert_one_job_per_step(full_queue, told)
    assert_label(tmp_path / "labels.npz")
    (uuid,) = (job["uuid"] for job in told["jobs"])
    assert servers.state(uuid, "queue") == "finished"
