"""Computers and codes made from cluster profiles, and what a job on them asks the scheduler for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from vibraloom.cluster_profiles.loader import find
from vibraloom.cluster_profiles.schema import LABEL, ClusterProfile, script_lines
from vibraloom.errors import InputError
from vibraloom.workflows.codes import program_here, store_code

PROFILE = "vibraloom_profile"
"""Property of a computer that holds the profile it was made from, as JSON."""
TRANSPORTS = {"local": "core.local", "ssh": "core.ssh_async"}
SCHEDULERS = {"direct": "core.direct", "slurm": "vibraloom.slurm"}
LOGIN_SHELL = "#!/bin/bash -l"
"""First line of the scripts where modules are loaded: their command is defined by the login shell."""


def add(profile: str, home: Path, name: str | None = None) -> tuple[orm.Computer, list[str]]:
    """Make the computer and the codes of a profile; what is there already is kept or brought up to date.

    Args:
        profile: name of a profile, or path of its folder.
        home: the project's folder, for ``{project}`` in the profile.
        name: label of the computer; default: the profile's name.

    Returns:
        The computer, and one line per thing that was made, changed or left out.

    Raises:
        InputError: no such profile, a fault in it, or another computer of that name.
    """
    found = find(profile)
    content = found.load()
    label = name or found.name
    if not re.fullmatch(LABEL, label):
        raise InputError(f"--name {label!r}: allowed: letters, digits, '_', '.', '-'")
    computer, said = _computer(label, content, home)
    for code, wanted in content.codes.items():
        path, environment = wanted.executable, wanted.environment
        if path == "auto":
            program = program_here(code)
            if program is None:
                said.append(f"left out code {code}@{label}: not installed here")
                continue
            path, environment = program.path, {**program.environment, **environment}
        prepend = script_lines(wanted.modules, environment)
        if store_code(computer, code, path, prepend, mpi=wanted.mpi or None):
            said.append(f"made code {code}@{label}: {path}")
    return computer, said


def _computer(label: str, content: ClusterProfile, home: Path) -> tuple[orm.Computer, list[str]]:
    fixed = {
        "hostname": content.transport.host or "localhost",
        "transport_type": TRANSPORTS[content.transport.kind],
        "scheduler_type": SCHEDULERS[content.scheduler],
        "workdir": content.work.replace("{project}", str(home)),
    }
    said = []
    try:
        computer = orm.load_computer(label)
    except NotExistent:
        computer = orm.Computer(label=label, description=content.description, **fixed)
        said.append(f"made computer {label} ({content.scheduler} on {fixed['hostname']})")
    for key, value in fixed.items():
        there = computer.get_workdir() if key == "workdir" else getattr(computer, key)
        if there != value:
            raise InputError(
                f"computer {label}: {key}: {there}, in the profile {value}; jobs may run there: give the new one a name: --name"
            )
    record = content.model_dump(mode="json")
    if computer.is_stored and computer.get_property(PROFILE, None) not in (None, record):
        said.append(f"changed computer {label}: its profile")
    poll, pause = content.transport.seconds
    computer.description = content.description
    computer.set_property(PROFILE, record)
    computer.set_prepend_text(script_lines(content.modules, content.environment))
    computer.set_mpirun_command(list(content.mpi))
    computer.set_default_mpiprocs_per_machine(1)
    if content.modules or any(code.modules for code in content.codes.values()):
        computer.set_shebang(LOGIN_SHELL)
    # jobs on this machine without a queue cost nothing to look at
    computer.set_minimum_job_poll_interval(0.2 if content.scheduler == "direct" and poll == 1 else float(poll))
    computer.store()
    settings: dict[str, Any] = {"safe_interval": float(pause), "use_login_shell": content.transport.kind == "ssh"}
    if content.transport.kind == "ssh":
        settings |= {"host": content.transport.host, "backend": content.transport.backend}
    computer.configure(**settings)
    return computer, said


def profile_of(computer: orm.Computer) -> ClusterProfile | None:
    """The profile that a computer was made from; None for one that was made otherwise."""
    record = computer.get_property(PROFILE, None)
    return None if record is None else ClusterProfile.model_validate(record)


def listed() -> list[dict[str, Any]]:
    """Every computer of the AiiDA profile with its codes; plain JSON types."""
    rows = []
    for computer in sorted(orm.Computer.collection.all(), key=lambda each: each.label):
        query = orm.QueryBuilder().append(orm.Computer, filters={"id": computer.pk}, tag="computer")
        codes = query.append(orm.InstalledCode, with_computer="computer").all(flat=True)
        rows.append(
            {
                "name": computer.label,
                "description": computer.description,
                "host": computer.hostname,
                "transport": computer.transport_type,
                "scheduler": computer.scheduler_type,
                "work": computer.get_workdir(),
                "poll_seconds": computer.get_minimum_job_poll_interval(),
                "codes": sorted(code.label for code in codes if not code.is_hidden),
                "from_profile": profile_of(computer) is not None,
            }
        )
    return rows


def load_computer(name: str) -> orm.Computer:
    """The computer of this name.

    Raises:
        InputError: there is none; the message says which there are.
    """
    try:
        return orm.load_computer(name)
    except NotExistent as error:
        names = ", ".join(row["name"] for row in listed()) or "none"
        raise InputError(f"computer {name}: unknown; there are: {names}; make one with: vibraloom cluster add PROFILE") from error


def job_options(code: orm.AbstractCode, cores: int | None = None) -> dict[str, Any]:
    """``metadata.options`` of a job of this code: what its computer's profile asks for.

    Args:
        code: the code that the job runs.
        cores: cores of the job; default: those of the profile.

    Returns:
        The options; none for a computer that was not made from a profile.
    """
    profile = profile_of(code.computer)
    if profile is None:
        return {}
    asked = profile.resources
    cores = cores or asked.cores
    mpi = code.with_mpi is True
    resources = {"num_machines": asked.nodes if mpi else 1, "num_mpiprocs_per_machine": cores if mpi else 1}
    options: dict[str, Any] = {"resources": resources}
    if profile.scheduler == "direct":
        return options
    if not mpi:
        resources["num_cores_per_mpiproc"] = cores
    for option, value in (("queue_name", asked.partition), ("account", asked.account), ("qos", asked.qos)):
        if value is not None:
            options[option] = value
    if asked.walltime_minutes is not None:
        options["max_wallclock_seconds"] = 60 * asked.walltime_minutes
    if asked.memory_gb is not None:
        options["max_memory_kb"] = asked.memory_gb * 1024**2
    more = (("gres=gpu:", asked.gpus), ("constraint=", asked.constraint))
    if lines := [f"#SBATCH --{word}{value}" for word, value in more if value is not None]:
        options["custom_scheduler_commands"] = "\n".join(lines)
    return options
