"""The scheduler plugin: nothing is submitted twice, no name reaches a script unchecked, ends are told apart.

Submissions run in a real bash; sbatch, squeue, sacct and scontrol are small programs that note how they were called.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiida.engine import CalcJob, ExitCode
from aiida.schedulers import SchedulerError
from aiida.schedulers.datastructures import JobTemplate

from vibraloom.calculators.slurm import scheduler as plugin
from vibraloom.calculators.slurm.scheduler import VibraloomSlurmScheduler, check_names, job_name
from vibraloom.cluster_profiles import schema

UUID = "0f5b2c1e-7f5d-4b53-9f0e-3a6b1f2c4d5e"


class Bash:
    """What the scheduler needs of a transport: commands in a bash on this machine."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs

    def exec_command_wait(self, command: str, workdir: str | None = None) -> tuple[int, str, str]:
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=workdir, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr


class Site:
    """A job's folder, and programs that stand for a site's Slurm; ``queue`` is what squeue knows."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.queue, self.calls = folder / "queue", folder / "calls"
        self.queue.touch()
        self.folder = folder / UUID[:2] / UUID[2:4] / UUID[4:]
        self.folder.mkdir(parents=True)
        self.program("squeue", f"cat {self.queue}")
        self.program("sbatch", f'echo "$@" >> {self.calls}; sleep 0.3; echo 41 >> {self.queue}; echo Submitted batch job 41')
        self.scheduler = VibraloomSlurmScheduler()
        self.scheduler.set_transport(Bash(self.bin))

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)

    def submit(self) -> str | ExitCode:
        return self.scheduler.submit_job(str(self.folder), "_aiidasubmit.sh")

    def submissions(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_new_job_is_submitted_under_its_nodes_uuid(site: Site) -> None:
    assert site.submit() == "41"
    assert site.submissions() == [f"--job-name=vibraloom-{UUID} _aiidasubmit.sh"]


def test_a_job_that_wrote_its_id_is_not_submitted_again(site: Site) -> None:
    (site.folder / "slurm-job-id").write_text("17\n", encoding="utf-8")
    assert site.submit() == "17"
    assert site.submissions() == []


def test_a_job_that_waits_in_the_queue_is_not_submitted_again(site: Site) -> None:
    site.queue.write_text("19\n23\n", encoding="utf-8")
    assert site.submit() == "19"
    assert site.submissions() == []


def test_nothing_is_submitted_while_the_queue_cannot_be_read(site: Site) -> None:
    site.program("squeue", "echo slurm_load_jobs error >&2; exit 1")
    with pytest.raises(SchedulerError):
        site.submit()
    assert site.submissions() == []


def test_submissions_at_the_same_time_lead_to_one_job(site: Site) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert {job.result() for job in [pool.submit(site.submit) for _ in range(4)]} == {"41"}
    assert len(site.submissions()) == 1


def test_an_sbatch_that_timed_out_after_the_controller_took_the_job_leads_to_that_job(site: Site) -> None:
    site.program("sbatch", f"echo 57 >> {site.queue}; echo 'sbatch: error: Socket timed out on send/recv' >&2; exit 1")
    with pytest.raises(SchedulerError):
        site.submit()
    assert site.submit() == "57"


def test_a_lock_that_is_held_too_long_is_told_as_passing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_SUBMIT", plugin._SUBMIT.replace(f"-w {plugin.LOCK_SECONDS}", "-w 0"))
    with subprocess.Popen(["flock", str(site.folder / plugin.LOCK_FILE), "sleep", "5"]) as holder:
        try:
            while subprocess.run(["flock", "-n", str(site.folder / plugin.LOCK_FILE), "true"]).returncode == 0:
                pass
            with pytest.raises(SchedulerError, match="under way"):
                site.submit()
        finally:
            holder.kill()
    assert site.submissions() == []


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: invalid partition specified: nope\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: error: Batch job submission failed: Invalid qos specification",
        "sbatch: error: Batch job submission failed: Invalid feature specification",
        "sbatch: error: Invalid generic resource (gres) specification",
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
    ],
)
def test_what_sbatch_refuses_for_good_ends_the_job_with_slurms_reason(site: Site, said: str) -> None:
    site.program("sbatch", f"cat >&2 <<'END'\n{said}\nEND\nexit 1")
    refused = site.submit()
    assert isinstance(refused, ExitCode)
    assert refused.status == 210 and refused.invalidates_cache
    assert said.splitlines()[-1].split(": ")[-1] in (refused.message or "")


def test_a_full_queue_is_no_refusal(site: Site) -> None:
    limit = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    site.program("sbatch", f'echo "sbatch: error: Batch job submission failed: {limit}" >&2; exit 1')
    with pytest.raises(SchedulerError):
        site.submit()


def test_a_folder_without_a_uuid_is_refused() -> None:
    assert job_name(f"/scratch/{UUID[:2]}/{UUID[2:4]}/{UUID[4:]}") == f"vibraloom-{UUID}"
    with pytest.raises(SchedulerError, match="ends in no UUID"):
        job_name("/scratch/me/run-1")


def _template(**options: object) -> JobTemplate:
    template = JobTemplate()
    template.job_resource = VibraloomSlurmScheduler.create_job_resource(num_machines=1, num_mpiprocs_per_machine=1)
    template.codes_info, template.codes_run_mode = [], None
    for name, value in options.items():
        setattr(template, name, value)
    return template


@pytest.mark.parametrize("option", ["queue_name", "account", "qos"])
@pytest.mark.parametrize(
    "value", ["a b", "a\n#SBATCH --wrap=x", "a;rm -rf ~", "$(id)", "`id`", "-x", "--wrap=id", "a'b", 'a"b', "", "ä", "a\n"]
)
def test_names_that_would_add_to_the_script_are_refused(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: .*allowed"):
        check_names(_template(**{option: value}))


@pytest.mark.parametrize("value", ["debug", "gpu-a100", "cpu,gpu", "m1234_g", "proj.sub", "chem/ab:x", "user@site"])
def test_names_that_sites_use_are_taken(value: str) -> None:
    header = VibraloomSlurmScheduler()._get_submit_script_header(_template(queue_name=value, account=value, qos=value))
    for option in ("partition", "account", "qos"):
        assert f"#SBATCH --{option}={value}\n" in header


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("#SBATCH --gres=gpu:a100:2", True),
        ("#SBATCH --gpus=1\n#SBATCH --constraint=[rack1|rack2]&ib", True),
        ("#SBATCH --exclusive", True),
        ("#SBATCH --wrap=id", False),
        ("#SBATCH --gres=gpu:1 --uid=0", False),
        ("#SBATCH --constraint=$(id)", False),
        ("#SBATCH --output=/etc/passwd", False),
        ("module load x", False),
        ("#SBATCH --gpus=1\n\nrm -rf ~", False),
    ],
)
def test_only_directives_of_a_list_are_taken(line: str, good: bool) -> None:
    if good:
        assert line in VibraloomSlurmScheduler()._get_submit_script_header(_template(custom_scheduler_commands=line))
    else:
        with pytest.raises(ValueError, match="custom_scheduler_commands"):
            check_names(_template(custom_scheduler_commands=line))


def test_variable_names_cannot_carry_a_command() -> None:
    with pytest.raises(ValueError, match="environment_variables"):
        check_names(_template(job_environment={"A=1; id; B": "1"}))


def test_profile_and_script_are_held_against_the_same_pattern() -> None:
    assert schema.NAME == plugin.NAME


def test_of_two_jobs_in_one_folder_only_the_first_works(tmp_path: Path) -> None:
    script = VibraloomSlurmScheduler()._get_submit_script_header(_template()) + "\necho worked >> work\n"

    def start(job: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "SLURM_JOB_ID": job}, capture_output=True, text=True
        )

    assert [start(job).returncode for job in ("7", "8", "7")] == [0, 1, 0], "a requeued job keeps its id and works again"
    assert (tmp_path / "work").read_text(encoding="utf-8").split() == ["worked", "worked"]
    assert "Slurm job 7 works in this folder" in start("9").stderr


EXIT_CODES = CalcJob.exit_codes


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("OUT_OF_MEMORY", EXIT_CODES.ERROR_SCHEDULER_OUT_OF_MEMORY),
        ("TIMEOUT", EXIT_CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME),
        ("NODE_FAIL", EXIT_CODES.ERROR_SCHEDULER_NODE_FAILURE),
        ("BOOT_FAIL", EXIT_CODES.ERROR_SCHEDULER_NODE_FAILURE),
        ("PREEMPTED", EXIT_CODES.ERROR_SCHEDULER_NODE_FAILURE),
        ("COMPLETED", None),
        ("CANCELLED by 0", None),
        ("FAILED", None),
    ],
)
@pytest.mark.parametrize("accounting", [True, False])
def test_ends_are_told_apart_with_and_without_accounting(site: Site, state: str, code: ExitCode | None, accounting: bool) -> None:
    refusal = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
    site.program("sacct", f"printf 'JobID|State|ExitCode\\n5|{state}|0:0\\n'" if accounting else refusal)
    word = state.split(" ")[0]
    site.program("scontrol", f"echo 'JobId=5 JobName=x UserId=me(1) JobState={word} Reason=None ExitCode=0:0 Command=/a b'")
    info = site.scheduler.get_detailed_job_info("5")
    assert info["retval"] == 0
    assert site.scheduler.parse_output(info, "", "") == code


def test_a_job_that_slurm_has_forgotten_is_told_as_unknown_and_still_parsed(site: Site) -> None:
    for name in ("sacct", "scontrol"):
        site.program(name, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    info = site.scheduler.get_detailed_job_info("5")
    assert info["retval"] != 0 and "Invalid job id" in str(info["stderr"])
    assert site.scheduler.parse_output(None, "", "") is None


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("slurmstepd-vm: error: *** JOB 20 ON vm CANCELLED AT 2026-11-24T13:07:30 DUE TO TIME LIMIT ***", "OUT_OF_WALLTIME"),
        (
            "slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2024-01-02T03:04:05 DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***",
            "NODE_FAILURE",
        ),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=9.batch. Some of your processes may", "OUT_OF_MEMORY"),
        ("slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2024-01-02T03:04:05 ***", None),
        ("my program says: DUE TO TIME LIMIT", None),
    ],
)
def test_slurms_last_words_in_the_jobs_stderr_are_read(said: str, code: str | None) -> None:
    found = VibraloomSlurmScheduler().parse_output(None, "", f"some text\n{said}\n")
    assert found == (None if code is None else getattr(EXIT_CODES, f"ERROR_SCHEDULER_{code}"))


def test_one_squeue_asks_for_every_job() -> None:
    jobs = [str(number) for number in range(1, 201)]
    command = VibraloomSlurmScheduler()._get_joblist_command(jobs=jobs)
    assert command.count("squeue") == 1 and f"--jobs={','.join(jobs)}" in command
