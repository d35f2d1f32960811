"""What a cluster profile may say: computer, transport, scheduler, modules, resources, codes (version 1).

Everything that ends in a script or on a command line is checked against a pattern here, before AiiDA sees it.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints, field_validator, model_validator

NAME = r"[A-Za-z0-9][A-Za-z0-9_.,:@+/-]{0,99}"
"""Partition, account, QOS: the same pattern that the scheduler plugin holds against a script."""

LABEL = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Name of a profile, and of the computer made from it."""

REMOTE_POLL_SECONDS = 30
LOCAL_POLL_SECONDS = 1


Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Constraint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\[(][A-Za-z0-9_.,|&*()\[\]-]{0,99}$")]
Gpus = Annotated[str, StringConstraints(pattern=r"^([A-Za-z][A-Za-z0-9_.-]{0,49}:)?[1-9][0-9]{0,2}$")]
Folder = Annotated[str, StringConstraints(pattern=r"^(/|\{project\}/)([A-Za-z0-9_.+-]|/|\{username\})+$")]
Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+/-]{0,99}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
Value = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.,:@%+=/ -]{0,400}$")]
Executable = Annotated[str, StringConstraints(pattern=r"^/?[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*$")]
MpiWord = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9_.,:=+/-]|\{(tot_num_mpiprocs|num_machines|num_mpiprocs_per_machine)\})+$")
]
Environment = dict[Variable, Value]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Transport(_Block):
    """How this machine reaches the computer."""

    kind: Literal["local", "ssh"] = Field(
        description="local: this machine; ssh: a host that `ssh HOST` reaches without a password"
    )
    host: Host | None = Field(None, description="name of the host in ~/.ssh/config")
    backend: Literal["asyncssh", "openssh"] = Field("asyncssh", description="openssh where the site asks for it (multiplexing)")
    poll_seconds: Annotated[StrictInt, Field(ge=1, le=86400)] | None = Field(
        None, description="least time between two looks at the queue, s; 30 over ssh, 1 here"
    )
    connection_seconds: Annotated[StrictInt, Field(ge=0, le=3600)] | None = Field(
        None, description="least time between two connections, s; 30 over ssh, 0 here"
    )

    @model_validator(mode="after")
    def _host_with_ssh(self) -> Transport:
        if (self.kind == "ssh") != (self.host is not None):
            raise ValueError("@host allowed: a name from ~/.ssh/config with kind ssh, nothing with kind local")
        return self

    @property
    def seconds(self) -> tuple[int, int]:
        """Seconds between looks at the queue, and between connections."""
        poll = REMOTE_POLL_SECONDS if self.kind == "ssh" else LOCAL_POLL_SECONDS
        pause = REMOTE_POLL_SECONDS if self.kind == "ssh" else 0
        return (
            poll if self.poll_seconds is None else self.poll_seconds,
            pause if self.connection_seconds is None else self.connection_seconds,
        )


class Resources(_Block):
    """What a job asks for unless its spec says otherwise."""

    nodes: StrictInt = Field(1, ge=1, le=10_000, description="nodes")
    cores: StrictInt = Field(1, ge=1, le=4096, description="cores per node: MPI processes of a code with mpi, else threads")
    memory_gb: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = Field(None, description="memory per node, GB")
    walltime_minutes: Annotated[StrictInt, Field(ge=1, le=525_600)] | None = Field(
        None, description="time limit of a job, minutes"
    )
    partition: Name | None = Field(None, description="Slurm partition; left out: the site's default")
    account: Name | None = Field(None, description="Slurm account")
    qos: Name | None = Field(None, description="Slurm quality of service")
    gpus: Gpus | None = Field(None, description='GPUs per node as Slurm writes them: "1" or "a100:2"')
    constraint: Constraint | None = Field(None, description="Slurm node features")

    @property
    def slurm_only(self) -> list[str]:
        """Keys that are given and mean something to Slurm only."""
        return [key for key in ("partition", "account", "qos", "gpus", "constraint") if getattr(self, key) is not None]


class Code(_Block):
    """One program."""

    executable: Executable = Field(
        description="auto: as found on this machine; else a path there, or a name that is found after the modules are loaded"
    )
    mpi: StrictBool = Field(False, description="run by the mpi command, one process per core")
    modules: tuple[Module, ...] = Field((), description="modules to load for this program, after those of the computer")
    environment: Environment = Field(default_factory=dict, description="variables to set for this program")


class ClusterProfile(_Block):
    """One site and partition."""

    version: Literal[1] = Field(description="layout of this file")
    description: str = Field("", max_length=200, description="one line for people")
    transport: Transport
    scheduler: Literal["direct", "slurm"] = Field(description="direct: processes on that machine; slurm: sbatch and squeue")
    work: Folder = Field(description="folder of the jobs there; {username} and, on this machine, {project} are filled in")
    modules: tuple[Module, ...] = Field((), description="modules to load in every job")
    environment: Environment = Field(default_factory=dict, description="variables to set in every job")
    mpi: tuple[MpiWord, ...] = Field(
        ("mpirun", "-np", "{tot_num_mpiprocs}"), min_length=1, description="command before a program with mpi: true"
    )
    resources: Resources = Field(default_factory=lambda: Resources())
    codes: dict[Literal["python", "lmp", "cp2k", "dp"], Code] = Field(min_length=1, description="programs of this computer")

    @field_validator("environment")
    @classmethod
    def _sorted(cls, value: dict[str, str]) -> dict[str, str]:
        return dict(sorted(value.items()))

    @model_validator(mode="after")
    def _fits_together(self) -> ClusterProfile:
        if self.scheduler == "direct" and self.resources.slurm_only:
            raise ValueError(f"@resources.{self.resources.slurm_only[0]} allowed: with scheduler slurm only")
        if self.transport.kind == "ssh" and "{project}" in self.work:
            raise ValueError("@work allowed: an absolute path on that machine, such as /scratch/{username}/vibraloom")
        for label, code in self.codes.items():
            if self.transport.kind == "ssh" and code.executable == "auto":
                raise ValueError(f"@codes.{label}.executable allowed: a path or a name on that machine")
        return self


def script_lines(modules: tuple[str, ...], environment: dict[str, str]) -> str:
    """Shell lines that load modules and set variables."""
    loads = [f"module load {name}" for name in modules]
    return "\n".join([*loads, *(f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items()))])
