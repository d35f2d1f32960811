"""More memory for a CP2K job that ran out of it: a higher limit, or fewer processes on each machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEMORY = "memory: "
"""Begin of the words of these remedies. A chain that is run again forgets them: the computer's profile may say more by then."""
MEMORY_CHANGES = 2
"""Remedies that a chain takes; the next job that runs out of memory ends it."""

Changed = tuple[dict[str, Any], dict[str, Any], str]
"""Options of the next job, what is known of the memory, and the words of the remedy."""


def untried() -> dict[str, Any]:
    """What a chain knows of the memory when it begins: remedies taken, number of the job for which the limit was raised last,
    and (kB) the most that the scheduler grants, where it refused more."""
    return {"changes": 0, "raised_for": 0, "most": None}


def more_memory(options: Mapping[str, Any], memory: Mapping[str, Any], iteration: int, said: str) -> Changed | str:
    """Twice the memory if a limit was given, else half the processes on each machine.

    Args:
        options: ``metadata.options`` of the job that ran out of memory.
        memory: what is known of it, as :func:`untried` has it.
        iteration: number of that job in its chain.
        said: its exit message.

    Returns:
        What is changed, or why nothing is left to change.
    """
    limit, most = options.get("max_memory_kb"), memory["most"]
    if memory["changes"] < MEMORY_CHANGES:
        told = {**memory, "changes": memory["changes"] + 1}
        if limit is not None and (most is None or 2 * limit <= most):
            words = f"{MEMORY}{limit} to {2 * limit} kB"
            return {**options, "max_memory_kb": 2 * limit}, {**told, "raised_for": iteration + 1}, words
        if halved := _half_the_processes(options):
            return halved[0], told, halved[1]
    return f"out of memory ({said}); give more machines, or a larger metadata.options.max_memory_kb"


def within_memory(options: Mapping[str, Any], memory: Mapping[str, Any], said: str) -> Changed | str:
    """Where the scheduler refused the raised limit with the words ``said``: the one before it, with half the processes.

    Returns:
        What is changed, or why nothing is left to change.
    """
    refused = options["max_memory_kb"]
    granted = refused // 2
    if halved := _half_the_processes({**options, "max_memory_kb": granted}):
        return halved[0], {**memory, "most": granted}, halved[1]
    return f"out of memory with {granted} kB, and {refused} kB were refused ({said}); give more machines, or one with more memory"


def _half_the_processes(options: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    resources = dict(options["resources"])
    processes = resources.get("num_mpiprocs_per_machine", 1)
    if processes == 1:
        return None
    resources["num_mpiprocs_per_machine"] = processes // 2
    return {**options, "resources": resources}, f"{MEMORY}{processes} to {processes // 2} processes on each machine"
