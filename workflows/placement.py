"""Jobs of a work chain ask for what their computer's profile says: partition, account, time, GPUs, cores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from aiida import orm
from aiida.engine import CalcJob, Process

from vibraloom.workflows.clusters import job_options
from vibraloom.workflows.submission import SubmitsOnce


class PlacesJobs(SubmitsOnce):
    """Mixin of work chains; stands before the work chain's own base class."""

    def submit(self, process: type[Process], inputs: dict[str, Any] | None = None, **kwargs: Any) -> orm.ProcessNode:
        """Submit a child; a job whose options nobody chose gets those of its code's computer."""
        given = {**(inputs or {}), **kwargs}
        if issubclass(process, CalcJob) and isinstance(given.get("code"), orm.AbstractCode):
            metadata = dict(given.get("metadata") or {})
            options = dict(metadata.get("options") or {})
            metadata["options"] = placed(process, given["code"], given.get("parameters"), options, chosen_options(self))
            given["metadata"] = metadata
        return super().submit(process, given)


def chosen_options(process: Process) -> frozenset[str]:
    """Names of the options of jobs that were given to a work chain, before its defaults were filled in."""
    return frozenset(_names(process.raw_inputs or {}))


def _names(inputs: Mapping[str, Any]) -> Iterator[str]:
    for key, value in inputs.items():
        if key == "options" and isinstance(value, Mapping):
            yield from value
        elif isinstance(value, Mapping):
            yield from _names(value)


def placed(
    process: type[CalcJob],
    code: orm.AbstractCode,
    parameters: orm.Dict | None,
    options: dict[str, Any],
    chosen: Collection[str] = (),
) -> dict[str, Any]:
    """The options of a job, with those of its computer's profile where it has the default or none.

    Args:
        process: the job.
        code: what it runs.
        parameters: its parameters, whose ``processes`` are its cores.
        options: as they are.
        chosen: names of those that stand although they are the defaults.
    """
    cores = None if parameters is None else parameters.get_dict().get("processes")
    if cores is None and code.with_mpi is not True:
        cores = 1
    ports = process.spec().inputs["metadata"]["options"]
    for name, value in job_options(code, cores).items():
        default = ports[name].default if ports[name].has_default() else None
        if name not in chosen and options.get(name) in (None, default() if callable(default) else default):
            options[name] = value
    return options
