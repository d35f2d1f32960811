"""What a parent process needs to know of a child that ended."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ExitCode

from vibraloom.errors import VibraloomError


def failure_of(child: orm.ProcessNode) -> str | None:
    """None if the child finished well, else one line: which step, what it says."""
    if child.is_finished_ok:
        return None
    name = (child.process_label or "process").removesuffix("Calculation").removesuffix("WorkChain")
    said = child.exit_message or _own_words(child) or (
        f"exit code {child.exit_status}" if child.exit_status else f"ended as {child.process_state.value}"
    )
    return f"{name} {child.uuid[:8]}: {said}"


def _own_words(child: orm.ProcessNode) -> str | None:
    """The line of an error of ours that ended the child; None where it ended otherwise."""
    last = (child.exception or "").strip().rpartition("\n")[2]
    kind, _, said = last.partition(": ")
    return said if kind.startswith(f"{VibraloomError.__module__}.") else None


def excepted(job: orm.ProcessNode, exit_code: ExitCode) -> ExitCode:
    """The exit code of a parent whose job ended by an exception, with the last line of it."""
    last = (job.exception or "no reason is known").strip().rpartition("\n")[2]
    return ExitCode(exit_code.status, f"job {job.uuid[:8]}: {_own_words(job) or last}")
