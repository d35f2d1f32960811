"""The base of the CalcJobs that run one of our own scripts: ``python -m vibraloom.calculators.X.Y job.json``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from aiida import orm
from aiida.common import datastructures
from aiida.common.escaping import escape_for_bash
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec, ExitCode
from aiida.parsers import Parser

from vibraloom.errors import ComputationError, VibraloomError

JOB_FILE = "job.json"
DONE_FILE = "done.json"
ERROR_FILE = "error.json"
Look = Callable[[Path], dict[str, Any]]
"""Looks at a job's folder. Its module prints the same, as one line of JSON, for the folder that is its one argument: the files
may be large and stay where they are."""


EXIT_CODES = (
    (210, "ERROR_INPUT", "{message}"),
    (310, "ERROR_COMPUTATION", "{message}"),
    (320, "ERROR_UNEXPECTED", "{message}"),
    (330, "ERROR_MISSING", "{message}"),
    (410, "ERROR_INTERRUPTED", "The job was cut off before it was done; its folder holds what is finished."),
)
"""Status, label and message: 2xx input, 3xx failure, 4xx partial."""


class ScriptCalculation(CalcJob):
    """Writes ``job.json`` from ``parameters``, runs one module of ours, retrieves its results.

    Subclasses name the module and the files, and add inputs and outputs. The script writes ``done.json`` last, or
    ``error.json`` with a one-line message, so that a job that was cut off is told from one that failed.
    """

    MODULE: ClassVar[str]
    RETRIEVE: ClassVar[tuple[str | tuple[str, str, int], ...]] = ()
    PARSER: ClassVar[str]
    CACHE_VERSION = 1

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input(
            "parameters",
            valid_type=orm.Dict,
            help="Entries of job.json: plain JSON types, units in the keys or our internal ones.",
        )
        spec.input(
            "previous",
            valid_type=orm.RemoteData,
            required=False,
            help="Folder of an earlier attempt that is continued from its checkpoint.",
        )
        spec.input("metadata.options.parser_name", valid_type=str, default=cls.PARSER)
        spec.inputs["metadata"]["options"]["resources"].default = lambda: {
            "num_machines": 1,
            "num_mpiprocs_per_machine": 1,
        }
        spec.inputs["metadata"]["options"]["withmpi"].default = False
        spec.input("metadata.options.output_filename", valid_type=str, default="job.log")
        spec.output(
            "report",
            valid_type=orm.Dict,
            required=False,
            help="What the script says about its run: settings, counts, versions, seconds.",
        )
        # a failure is no answer: without this AiiDA's cache would serve it again
        for status, label, message in EXIT_CODES:
            spec.exit_code(status, label, message=message, invalidates_cache=True)

    def files(self) -> dict[str, bytes]:
        """File name → content of what is written into the job's folder besides ``job.json``."""
        return {}

    def nodes(self) -> list[tuple[str, str, str]]:
        """(node UUID, file in the node, file in the job's folder) of what is copied from nodes."""
        return []

    def entries(self) -> dict[str, Any]:
        """Entries of ``job.json`` beyond the ``parameters`` input."""
        return {}

    def prepare_for_submission(self, folder: Folder) -> datastructures.CalcInfo:
        """Write the job's folder and say what to run and retrieve."""
        record = {**self.inputs.parameters.get_dict(), **self.entries()}
        if "previous" in self.inputs:
            record["previous"] = self.inputs.previous.get_remote_path()
        contents = {JOB_FILE: json.dumps(record, indent=1, sort_keys=True).encode(), **self.files()}
        for name, data in contents.items():
            folder.create_file_from_filelike(io.BytesIO(data), name, mode="wb")
        run = datastructures.CodeInfo()
        run.code_uuid = self.inputs.code.uuid
        run.cmdline_params = ["-m", self.MODULE, JOB_FILE]
        run.stdout_name = self.options.output_filename
        run.stderr_name = "job.err"
        info = datastructures.CalcInfo()
        info.codes_info = [run]
        info.local_copy_list = self.nodes()
        info.retrieve_list = [self.options.output_filename, "job.err", DONE_FILE, ERROR_FILE, *self.RETRIEVE]
        return info


class EngineCalculation(ScriptCalculation):
    """An engine, and after it in the same job our module, which turns what the engine wrote into our files."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("converter", valid_type=orm.AbstractCode, help="Python that reads what the engine wrote.")

    def engine_info(
        self, arguments: list[str], errors: str, retrieve: list[str | tuple[str, str, int]]
    ) -> datastructures.CalcInfo:
        """What runs, and what comes back.

        Args:
            arguments: of the engine.
            errors: file of the engine's standard error.
            retrieve: files beside those that tell how the module ended.
        """
        engine = datastructures.CodeInfo()
        engine.code_uuid = self.inputs.code.uuid
        engine.cmdline_params = arguments
        engine.stdout_name = self.options.output_filename
        engine.stderr_name = errors
        converter = datastructures.CodeInfo()
        converter.code_uuid = self.inputs.converter.uuid
        converter.cmdline_params = ["-m", self.MODULE, JOB_FILE]
        converter.stderr_name = "convert.err"
        converter.withmpi = False
        info = datastructures.CalcInfo()
        info.codes_info = [engine, converter]
        info.codes_run_mode = datastructures.CodeRunMode.SERIAL
        info.retrieve_list = [errors, "convert.err", DONE_FILE, ERROR_FILE, *retrieve]
        return info


class ScriptParser(Parser):
    """Reads ``done.json`` or ``error.json``; subclasses turn result files into nodes in :meth:`collect`."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Turn the retrieved files into outputs or an exit code."""
        names = self.retrieved.base.repository.list_object_names()
        if ERROR_FILE in names:
            error = json.loads(self.retrieved.base.repository.get_object_content(ERROR_FILE))
            kinds = {
                "InputError": self.exit_codes.ERROR_INPUT,
                "ComputationError": self.exit_codes.ERROR_COMPUTATION,
                "MissingError": self.exit_codes.ERROR_MISSING,
            }
            return kinds.get(error["kind"], self.exit_codes.ERROR_UNEXPECTED).format(message=error["message"])
        if DONE_FILE not in names:
            return self.exit_codes.ERROR_INTERRUPTED
        done = json.loads(self.retrieved.base.repository.get_object_content(DONE_FILE))
        try:
            with self.retrieved.base.repository.as_path() as folder:
                report = self.collect(folder)
        except VibraloomError as error:
            return self.exit_codes.ERROR_COMPUTATION.format(message=str(error))
        self.out("report", orm.Dict({**done, **report}))
        return None

    def collect(self, folder: Path) -> dict[str, Any]:
        """Make output nodes from the files in ``folder``; returns entries for the report.

        Raises:
            VibraloomError: a result is missing or wrong.
        """
        raise NotImplementedError


def structure_file(structure: orm.StructureData) -> bytes:
    """``structure.extxyz`` of a structure node."""
    from ase.io import write

    buffer = io.StringIO()
    write(buffer, structure.get_ase(), format="extxyz")
    return buffer.getvalue().encode()


def existing(folder: Path, name: str) -> Path:
    """Path of a result file.

    Raises:
        ComputationError: the job wrote no such file.
    """
    if not (folder / name).is_file():
        raise ComputationError(f"{name}: the job wrote no such file; look at job.err in its folder")
    return folder / name


def left_in(remote: orm.RemoteData, look: Look, python: orm.AbstractCode) -> dict[str, Any]:
    """What ``look`` says of a job's folder, here or on the folder's computer by ``python``.

    Raises:
        ComputationError: the module could not be run there.
    """
    if remote.computer.transport_type == "core.local":
        return look(Path(remote.get_remote_path()))
    words = python.get_executable_cmdline_params(["-m", look.__module__, remote.get_remote_path()])
    line = " ".join(escape_for_bash(word) for word in words)
    command = "\n".join(part for part in (remote.computer.get_prepend_text(), python.prepend_text, line) if part)
    with remote.get_authinfo().get_transport() as transport:
        status, out, err = transport.exec_command_wait(command)
    try:
        if status == 0:
            return dict(json.loads(out.splitlines()[-1]))  # before it a login shell may have its say
    except (ValueError, IndexError):
        pass
    said = " ".join((err or out).split())[-300:]
    raise ComputationError(f"{remote.get_remote_path()} on {remote.computer.label} could not be looked at: {said}")
