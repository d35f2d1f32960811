"""Jobs of a work chain ask for what their computer's profile says: partition, account, time, GPUs, cores."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import CalcJob, Process

from vibraloom.workflows.clusters import job_options


class PlacesJobs:
    """Mixin of work chains; stands before the work chain's own base class."""

    def submit(self, process: type[Process], inputs: dict[str, Any] | None = None, **kwargs: Any) -> orm.ProcessNode:
        """Submit a child; a job whose options are the defaults gets those of its code's computer."""
        given = {**(inputs or {}), **kwargs}
        if issubclass(process, CalcJob) and isinstance(given.get("code"), orm.AbstractCode):
            metadata = dict(given.get("metadata") or {})
            metadata["options"] = placed(process, given["code"], given.get("parameters"), dict(metadata.get("options") or {}))
            given["metadata"] = metadata
        node: orm.ProcessNode = super().submit(process, given)  # type: ignore[misc]
        return node


def placed(
    process: type[CalcJob], code: orm.AbstractCode, parameters: orm.Dict | None, options: dict[str, Any]
) -> dict[str, Any]:
    """The options of a job, with those of its computer's profile where it has the default or none."""
    cores = None if parameters is None else parameters.get_dict().get("processes")
    if cores is None and code.with_mpi is not True:
        cores = 1
    ports = process.spec().inputs["metadata"]["options"]
    for name, value in job_options(code, cores).items():
        default = ports[name].default if ports[name].has_default() else None
        if options.get(name) in (None, default() if callable(default) else default):
            options[name] = value
    return options
