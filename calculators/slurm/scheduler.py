"""AiiDA's Slurm plugin with the hole between sbatch and the recorded job id closed, and names checked.

A job's name carries its node's UUID, and the script first writes its job id into its own folder. Both are looked up
under a lock before anything is submitted, so that a worker that died after sbatch, or an sbatch that timed out after the
controller took the job, leads to that job and not to a second one (aiida-core #3671).
"""

from __future__ import annotations

import re
import uuid
from pathlib import PurePosixPath
from typing import Any, cast

from aiida.engine import CalcJob, ExitCode
from aiida.schedulers import SchedulerError
from aiida.schedulers.datastructures import JobTemplate
from aiida.schedulers.plugins.slurm import SlurmScheduler

JOB_ID_FILE = "slurm-job-id"
"""File in a job's folder that holds the id of the one Slurm job that may work there."""
LOCK_FILE = "slurm-submission.lock"
LOCK_SECONDS = 60
"""How long a submission waits for one of the same folder that is still under way."""
LOCKED = 75
"""Exit status of a submission that waited in vain (EX_TEMPFAIL of sysexits.h)."""
JOB_NAME = "vibraloom-{uuid}"

NAME = r"[A-Za-z0-9][A-Za-z0-9_.,:@+/-]{0,99}"
"""Partition, account, QOS: no blank, quote, line end or leading dash can reach a #SBATCH line."""
DIRECTIVE = (
    r"#SBATCH --(gpus|gpus-per-node|gres|constraint|reservation|mem-per-cpu|exclusive)"
    r"(=[A-Za-z0-9\[(][A-Za-z0-9_.,:@+/|&*()\[\]-]{0,99})?"
)
"""What may stand on a line of the option custom_scheduler_commands."""
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,99}"

REFUSALS = (
    "invalid partition",
    "invalid account",
    "invalid qos",
    "invalid feature specification",
    "invalid generic resource",
    "invalid constraint",
    "requested reservation is invalid",
    "requested node configuration is not available",
    "requested time limit is invalid",
    "more processors requested than permitted",
    "node count specification invalid",
    "memory specification can not be satisfied",
    "user's group not permitted to use this partition",
)
"""What sbatch says where asking again cannot help (slurm_strerror, Slurm 22.05)."""
ERROR_REFUSED = 210
"""Exit status of a job that sbatch refused for good; wrong input in the bands of this project."""

_ONE_JOB = f"""\
# the first job that starts in this folder has it
if ! (set -o noclobber; echo "$SLURM_JOB_ID" > {JOB_ID_FILE}) 2> /dev/null \\
    && [ "$(cat {JOB_ID_FILE})" != "$SLURM_JOB_ID" ]; then
  echo "Slurm job $(cat {JOB_ID_FILE}) works in this folder; job $SLURM_JOB_ID ends" >&2
  exit 1
fi"""

# a lock that the file system does not support is passed over: the script's own check stands behind it
_SUBMIT = f"""\
exec 9> {LOCK_FILE}
if command -v flock > /dev/null; then flock -E {LOCKED} -w {LOCK_SECONDS} 9; [ $? -ne {LOCKED} ] || exit {LOCKED}; fi
id=$(cat {JOB_ID_FILE} 2> /dev/null)
[ -n "$id" ] || id=$(squeue --noheader --states=all --user="$(id -un)" --name={{name}} --format=%i) || exit 1
if [ -n "$id" ]; then echo "Submitted batch job $(echo "$id" | sort -n | head -n 1)"; exit 0; fi
{{sbatch}}"""

_STATES = {
    "OUT_OF_MEMORY": "ERROR_SCHEDULER_OUT_OF_MEMORY",
    "TIMEOUT": "ERROR_SCHEDULER_OUT_OF_WALLTIME",
    "DEADLINE": "ERROR_SCHEDULER_OUT_OF_WALLTIME",
    "NODE_FAIL": "ERROR_SCHEDULER_NODE_FAILURE",
    "BOOT_FAIL": "ERROR_SCHEDULER_NODE_FAILURE",
    "PREEMPTED": "ERROR_SCHEDULER_NODE_FAILURE",
}
"""JOB STATE CODES of squeue's manual → AiiDA's exit codes; what was preempted is run again as after a node's failure."""
_LAST_WORDS = (
    (r"oom-kill event|out-of-memory handler|oom_kill", "ERROR_SCHEDULER_OUT_OF_MEMORY"),
    (r"DUE TO TIME LIMIT", "ERROR_SCHEDULER_OUT_OF_WALLTIME"),
    (r"DUE TO (NODE FAILURE|PREEMPTION)", "ERROR_SCHEDULER_NODE_FAILURE"),
)
"""What slurmstepd writes into a job's stderr when Slurm ends it, for sites without accounting."""


class VibraloomSlurmScheduler(SlurmScheduler):
    """Slurm by sbatch, squeue and scancel; never two jobs for one calculation."""

    def submit_job(self, working_directory: str, filename: str) -> str | ExitCode:
        """Submit the script in its folder, or find the job that was submitted for this folder before.

        Raises:
            SchedulerError: the folder carries no UUID, squeue or sbatch failed, or another submission holds the lock.
        """
        name = job_name(working_directory)
        sbatch = f"sbatch --job-name={name} {_quoted(filename)}"
        command = _SUBMIT.format(name=name, sbatch=sbatch)
        return self._parse_submit_output(*self.transport.exec_command_wait(command, workdir=working_directory))

    def cancel_job_in(self, working_directory: str) -> bool:
        """Cancel the job that was submitted for this folder, recorded or not; returns whether there was one.

        Raises:
            SchedulerError: squeue or scancel failed.
        """
        user = '--user="$(id -un)"'
        name = job_name(working_directory)
        listing = f"squeue --noheader {user} --name={name} --format=%i"
        retval, stdout, stderr = self.transport.exec_command_wait(listing)
        if retval == 0 and stdout.strip():
            retval, _, stderr = self.transport.exec_command_wait(f"scancel {user} --name={name}")
        if retval != 0:
            raise SchedulerError(f"the job in {working_directory} cannot be cancelled: {' '.join(stderr.split())}")
        return bool(stdout.strip())

    def get_detailed_job_info(self, job_id: str) -> dict[str, str | int]:
        """State and exit code of a job, by sacct or, where there is no accounting, by scontrol.

        Returns:
            ``retval``, ``stderr`` and, in ``stdout``, a header line and a line of values separated by ``|``.
        """
        fields = "JobID,JobName,Partition,Account,State,ExitCode,NodeList,Submit,Start,End,Elapsed,MaxRSS"
        retval, stdout, stderr = self.transport.exec_command_wait(
            f"sacct --parsable2 --allocations --jobs={int(job_id)} --format={fields}"
        )
        if retval == 0 and len(stdout.splitlines()) > 1:
            return {"retval": 0, "stdout": stdout, "stderr": stderr}
        retval, stdout, stderr = self.transport.exec_command_wait(f"scontrol --oneliner show job {int(job_id)}")
        words = dict(word.split("=", 1) for word in stdout.split() if "=" in word)
        if retval != 0 or "JobState" not in words:
            return {"retval": 1, "stdout": "", "stderr": stderr or "neither sacct nor scontrol knows the job"}
        record = {"State": words.pop("JobState"), **words}
        return {"retval": 0, "stdout": "|".join(record) + "\n" + "|".join(record.values()) + "\n", "stderr": ""}

    def parse_output(
        self,
        detailed_job_info: dict[str, str | int] | None = None,
        stdout: str | None = None,
        stderr: str | None = None,
    ) -> ExitCode | None:
        """AiiDA's exit code for a job that Slurm ended: out of memory, out of time, node lost; None for any other."""
        lines = str((detailed_job_info or {}).get("stdout", "")).splitlines()
        if len(lines) > 1:
            state = dict(zip(lines[0].split("|"), lines[1].split("|"), strict=False)).get("State", "")
            if label := _STATES.get(state.split(" ")[0]):
                return cast(ExitCode, getattr(CalcJob.exit_codes, label))
        said = "\n".join(line for line in (stderr or "").splitlines() if re.match(r"(slurmstepd|srun)\S*: error:", line))
        for pattern, label in _LAST_WORDS:
            if re.search(pattern, said):
                return cast(ExitCode, getattr(CalcJob.exit_codes, label))
        return None

    def _get_submit_script_header(self, job_tmpl: JobTemplate) -> str:
        check_names(job_tmpl)
        return f"{super()._get_submit_script_header(job_tmpl)}\n\n{_ONE_JOB}"

    def _parse_submit_output(self, retval: int, stdout: str, stderr: str) -> str | ExitCode:
        if retval == LOCKED:
            raise SchedulerError("another submission of this job is still under way; it is looked for again later")
        reasons = [line for line in stderr.splitlines() if any(word in line.lower() for word in REFUSALS)]
        if retval != 0 and reasons:
            reason = reasons[-1].removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")
            message = f"Slurm refused the job: {reason}; correct the computer's profile, see: sinfo"
            return ExitCode(ERROR_REFUSED, message, invalidates_cache=True)
        return cast("str | ExitCode", super()._parse_submit_output(retval, stdout, stderr))


def job_name(working_directory: str) -> str:
    """Name of the Slurm job that works in this folder; AiiDA's folders end in their node's UUID, cut in three.

    Raises:
        SchedulerError: the folder's path ends in no UUID.
    """
    text = "".join(PurePosixPath(working_directory).parts[-3:])
    try:
        return JOB_NAME.format(uuid=uuid.UUID(text))
    except ValueError as error:
        raise SchedulerError(f"{working_directory}: ends in no UUID, so the job could not be found again") from error


def check_names(job_tmpl: JobTemplate) -> None:
    """Refuse names that would add something else to the script than what they name.

    Raises:
        ValueError: one line with the option, its value and what is allowed.
    """
    for option in ("queue_name", "account", "qos", "email"):
        _check(option, job_tmpl.get(option), NAME)
    _check("priority", job_tmpl.get("priority"), r"-?\d{1,10}")
    for line in (job_tmpl.get("custom_scheduler_commands") or "").splitlines():
        _check("custom_scheduler_commands", line, DIRECTIVE)
    for name in job_tmpl.get("job_environment") or {}:
        _check("environment_variables", name, VARIABLE)


def _check(option: str, value: Any, pattern: str) -> None:
    if value is not None and not re.fullmatch(pattern, str(value)):
        raise ValueError(f"{option}: {value!r}: allowed: text that matches {pattern}")


def _quoted(filename: str) -> str:
    from aiida.common.escaping import escape_for_bash

    return cast(str, escape_for_bash(filename))
