"""What a parent process needs to know of a child that ended."""

from __future__ import annotations

from aiida import orm


def failure_of(child: orm.ProcessNode) -> str | None:
    """None if the child finished well, else one line: which step, what it says."""
    if child.is_finished_ok:
        return None
    name = (child.process_label or "process").removesuffix("Calculation").removesuffix("WorkChain")
    said = child.exit_message or (
        f"exit code {child.exit_status}" if child.exit_status else f"ended as {child.process_state.value}"
    )
    return f"{name} {child.uuid[:8]}: {said}"
