"""``vibraloom cluster`` on a real Slurm, here and over ssh: what a user is told, and what jobs ask the queue for."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from integration.test_docs_blocks import script_of
from services.slurm import Slurm
from services.sshd import Sshd

from vibraloom.calculators.lammps.executable import find_lammps
from vibraloom.errors import InputError

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-laptop-to-your-cluster.md"

LOCAL = """\
version: 1
transport: {kind: local}
scheduler: slurm
work: "{project}/slurm"
resources: RESOURCES
codes: CODES
"""


@pytest.fixture(scope="module")
def cluster_project(new_project: NewProject, slurm: Slurm) -> Project:
    return new_project()


def write_profile(folder: Path, name: str, resources: str = "{}", codes: str = "{python: {executable: auto}}") -> str:
    """Write a profile of this machine's Slurm; returns its folder."""
    path = folder / name / "profile.yaml"
    path.parent.mkdir()
    path.write_text(LOCAL.replace("RESOURCES", resources).replace("CODES", codes), encoding="utf-8")
    return str(path.parent)


@pytest.fixture
def counted_squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one line per call of squeue."""
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {shutil.which("squeue")} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return calls


def test_localhost_slurm_is_green_and_asks_once_per_look_for_all_jobs(cluster_project: Project, counted_squeue: Path) -> None:
    said = cluster_project.run("cluster", "add", "localhost-slurm")
    assert "made computer localhost-slurm" in said
    again = cluster_project.run("cluster", "add", "localhost-slurm")
    assert "made" not in again and "changed" not in again
    start = time.monotonic()
    told = cluster_project.json("cluster", "test", "localhost-slurm")
    seconds = time.monotonic() - start
    versions = {entry["code"].split("@")[0]: entry["version"] for entry in told["codes"]}
    assert set(versions) == {"python", "lmp", "cp2k", "dp"} and all(entry["ok"] for entry in told["codes"]), told
    assert versions["cp2k"].startswith("CP2K version ") and versions["python"].startswith("vibraloom ")
    assert re.search(r"\d{4}", versions["lmp"]) and versions["dp"].startswith("DeePMD-kit")
    assert told["partition"]["name"] == "debug"
    assert all(0 <= entry["queue_seconds"] < 60 and entry["run_seconds"] > 0 for entry in told["codes"])
    looks = [line for line in counted_squeue.read_text(encoding="utf-8").splitlines() if "--jobs=" in line]
    assert len(looks) <= seconds / 1.0 + 1, "more looks than one per second, the computer's interval"
    assert max(len(set(look.split("--jobs=")[1].split(","))) for look in looks) == 4, "no look asked for all four jobs"


@pytest.mark.parametrize(
    ("name", "resources", "codes", "reason"),
    [
        (
            "absent",
            "{partition: nope}",
            "{python: {executable: auto}}",
            "resources.partition: nope: there is none; allowed: debug",
        ),
        ("other-program", "{}", "{cp2k: {executable: /bin/ls}}", "cp2k@other-program: /bin/ls is not CP2K: it said:"),
    ],
)
def test_a_wrong_profile_is_told_in_one_line(
    cluster_project: Project, name: str, resources: str, codes: str, reason: str
) -> None:
    cluster_project.run("cluster", "add", write_profile(cluster_project.folder, name, resources, codes))
    said = cluster_project.run("cluster", "test", name, code=2)
    assert said.startswith("error: ") and said.count("\n") == 1 and reason in said


def test_a_time_limit_above_the_partitions_is_refused_before_it_waits_for_ever(
    in_project: Path, slurm: Slurm, tmp_path: Path
) -> None:
    from vibraloom.workflows import cluster_test, clusters

    clusters.add(write_profile(tmp_path, "too-long", "{partition: short, walltime_minutes: 60}"), in_project)
    with pytest.raises(InputError, match=r"resources\.walltime_minutes: 60: partition short allows at most 10"):
        cluster_test.test("too-long")
    assert slurm.queue() == []


def test_a_job_that_slurm_refuses_ends_with_slurms_reason(in_project: Path, slurm: Slurm, tmp_path: Path) -> None:
    from vibraloom.workflows import cluster_test, clusters

    clusters.add(write_profile(tmp_path, "no-feature", "{constraint: quantum}"), in_project)
    (entry,) = cluster_test.test("no-feature")["codes"]
    assert entry["status"] == 210 and entry["message"].startswith("Slurm refused the job: Invalid feature specification;")


def test_the_same_test_again_runs_the_programs_again(in_project: Path, slurm: Slurm, tmp_path: Path) -> None:
    from vibraloom.workflows import cluster_test, clusters

    clusters.add(write_profile(tmp_path, "again"), in_project)
    before = len(slurm.finished())
    for _ in range(2):
        assert cluster_test.test("again")["codes"][0]["ok"]
    assert len(slurm.finished()) == before + 2, "an answer came from the cache"


def test_a_computer_that_cannot_be_reached_is_told_in_one_line(cluster_project: Project) -> None:
    folder = cluster_project.folder / "away"
    folder.mkdir()
    text = LOCAL.replace("{kind: local}", "{kind: ssh, host: no-such-host.invalid}").replace("{project}", "/scratch")
    text = text.replace("RESOURCES", "{}").replace("CODES", "{python: {executable: python3}}")
    (folder / "profile.yaml").write_text(text, encoding="utf-8")
    cluster_project.run("cluster", "add", "./away")
    said = cluster_project.run("cluster", "test", "away", code=4)
    assert said.count("\n") == 1 and "no-such-host.invalid cannot be used" in said and "ssh no-such-host.invalid true" in said


def test_a_computer_of_the_same_name_elsewhere_is_not_taken_over(cluster_project: Project) -> None:
    cluster_project.run("cluster", "add", write_profile(cluster_project.folder, "first"))
    said = cluster_project.run("cluster", "add", "localhost", "--name", "first", code=2)
    assert "computer first: scheduler_type: vibraloom.slurm, in the profile core.direct" in said


def test_a_new_program_on_one_computer_leaves_the_codes_of_another_alone(
    cluster_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster_project.run("cluster", "add", write_profile(cluster_project.folder, "other", codes="{lmp: {executable: lmp_there}}"))
    monkeypatch.setenv("VIBRALOOM_LMP", "/bin/true")
    assert "made code lmp@localhost: /bin/true" in cluster_project.run("init")
    monkeypatch.delenv("VIBRALOOM_LMP")
    codes = {row["name"]: row["codes"] for row in cluster_project.json("cluster", "list")["computers"]}
    assert codes["other"] == ["lmp"] and "lmp" in codes["localhost"]


def test_a_job_asks_for_what_its_profile_says(in_project: Path, slurm: Slurm, tmp_path: Path) -> None:
    from vibraloom.calculators.correlation.calcjob import CorrelationCalculation
    from vibraloom.workflows import clusters
    from vibraloom.workflows.placement import placed

    resources = (
        "{nodes: 2, cores: 8, memory_gb: 4, walltime_minutes: 90, partition: p, account: a, qos: q, gpus: 'x:2', constraint: c}"
    )
    profile = write_profile(
        tmp_path, "asks", resources, "{python: {executable: python3}, cp2k: {executable: cp2k.psmp, mpi: true}}"
    )
    computer, _ = clusters.add(profile, in_project)
    python, cp2k = (clusters.orm.load_code(f"{label}@{computer.label}") for label in ("python", "cp2k"))
    asked: dict[str, Any] = {
        "queue_name": "p",
        "account": "a",
        "qos": "q",
        "max_wallclock_seconds": 5400,
        "max_memory_kb": 4 * 1024**2,
        "custom_scheduler_commands": "#SBATCH --gres=gpu:x:2\n#SBATCH --constraint=c",
    }
    wide = {"num_machines": 2, "num_mpiprocs_per_machine": 8}
    assert clusters.job_options(cp2k) == {**asked, "resources": wide}
    one = {"num_machines": 1, "num_mpiprocs_per_machine": 1, "num_cores_per_mpiproc": 3}
    assert clusters.job_options(python, cores=3) == {**asked, "resources": one}
    assert clusters.job_options(clusters.orm.load_code("python@localhost")) == {}
    default = {"num_machines": 1, "num_mpiprocs_per_machine": 1}
    given = placed(CorrelationCalculation, python, None, {"resources": default, "account": "mine"})
    assert given["account"] == "mine", "what the work chain says stands"
    assert given["resources"] == {**default, "num_cores_per_mpiproc": 1} and given["queue_name"] == "p"


def the_sites_words(folder: Path) -> dict[str, str]:
    """What a reader puts in for the page's example: this machine's paths, and no pause of 30 s between looks."""
    lammps = find_lammps()
    root = 'OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1", OMPI_MCA_btl: "self,vader"'
    return {
        "/scratch/{username}": f"{folder}/{{username}}",
        "/home/me/vibraloom/bin/python": sys.executable,
        "/opt/lammps/bin/lmp": str(lammps.path),
        "/opt/lammps/lib": lammps.environment.get("LD_LIBRARY_PATH", "/usr/lib"),
        "poll_seconds: 30, connection_seconds: 30": "poll_seconds: 1, connection_seconds: 0",
        "cp2k.psmp, mpi: true": f"cp2k.psmp, mpi: true, environment: {{{root}}}",
    }


def test_the_page_leads_from_a_laptop_to_a_spectrum_from_the_cluster(
    new_project: NewProject, sshd: Sshd, slurm: Slurm, tmp_path: Path
) -> None:
    project = new_project()
    script = script_of(PAGE)
    for theirs, ours in the_sites_words(tmp_path / "scratch").items():
        assert theirs in script, theirs
        script = script.replace(theirs, ours)
    environment = {**project.environment(), **sshd.environment}
    del environment["SLURM_CONF"]  # a laptop has no Slurm of its own
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    before = len(slurm.finished())
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "CP2K version" in done.stdout and "22 Jul 2025" in done.stdout
    assert {path.name for path in (project.folder / "film").iterdir()} >= {"overview.png", "vdos.csv", "ir_normal.jdx"}
    assert project.json("list")[0]["context"]["name"] == "film-on-mycluster"
    jobs = slurm.finished()[before:]
    assert len(jobs) == 3 + 3 and {job.state for job in jobs} == {"COMPLETED"}
    assert len(list((tmp_path / "scratch" / getpass.getuser() / "vibraloom").rglob("slurm-job-id"))) == 6
