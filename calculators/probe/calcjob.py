"""CalcJob that asks a program who it is: runs it once, and says its version, host and times."""

from __future__ import annotations

import re
from typing import Any

from aiida import orm
from aiida.common import datastructures
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec, ExitCode
from aiida.parsers import Parser

from vibraloom.calculators.probe.programs import PROGRAMS

OUTPUT, ERRORS, TIMES = "probe.out", "probe.err", "probe.times"


class ProbeCalculation(CalcJob):
    """Runs one program with the arguments that make it say its version."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("program", valid_type=orm.Str, validator=_is_known, help="Key of PROGRAMS: what the code should be.")
        spec.input("metadata.options.parser_name", valid_type=str, default="vibraloom.probe")
        spec.inputs["metadata"]["options"]["resources"].default = lambda: {"num_machines": 1, "num_mpiprocs_per_machine": 1}
        spec.inputs["metadata"]["options"]["withmpi"].default = False
        spec.output("report", valid_type=orm.Dict, help="version, host, seconds of queue and run.")
        spec.exit_code(210, "ERROR_OTHER_PROGRAM", message="{message}", invalidates_cache=True)
        spec.exit_code(310, "ERROR_DID_NOT_RUN", message="{message}", invalidates_cache=True)

    def prepare_for_submission(self, folder: Folder) -> datastructures.CalcInfo:
        """Run the program between two looks at the clock of the machine that runs it."""
        run = datastructures.CodeInfo()
        run.code_uuid = self.inputs.code.uuid
        run.cmdline_params = list(PROGRAMS[self.inputs.program.value].arguments)
        run.stdout_name, run.stderr_name = OUTPUT, ERRORS
        info = datastructures.CalcInfo()
        info.codes_info = [run]
        script = self.options.submit_script_filename
        # the script was written when the job was submitted: the queue's wait needs one clock, that of the cluster
        info.prepend_text = f'{{ hostname; stat -c %Y "{script}"; date +%s.%N; }} > {TIMES}'
        info.append_text = f"date +%s.%N >> {TIMES}"
        info.retrieve_list = [OUTPUT, ERRORS, TIMES]
        return info


class ProbeParser(Parser):
    """Finds the version in what the program said."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """The report, or what the program said instead."""
        if self.node.exit_status:
            return None  # the scheduler ended the job: its exit code says why
        said, complaint, times = (self._text(name) for name in (OUTPUT, ERRORS, TIMES))
        program = PROGRAMS[self.node.inputs.program.value]
        code = self.node.inputs.code
        found = re.search(program.version, said)
        clock = times.split()
        # before what it said: a job that was ended has said nothing yet, but its script may have looked at the clock
        if len(clock) != 4 or "CANCELLED" in (self.node.get_scheduler_stderr() or ""):
            message = f"{code.full_label}: the job was cut off; look at its folder: verdi calcjob gotocomputer {self.node.pk}"
            return self.exit_codes.ERROR_DID_NOT_RUN.format(message=message)
        if not found:
            last = next((line for line in reversed((complaint or said).splitlines()) if line.strip()), "nothing")
            message = f"{code.full_label}: {code.filepath_executable} is not {program.name}: it said: {last.strip()[:160]}"
            return self.exit_codes.ERROR_OTHER_PROGRAM.format(message=f"{message}; correct executable or modules")
        host, submitted, started, ended = clock[0], *map(float, clock[1:])
        report = {"version": found[1], "host": host, "run_seconds": round(ended - started, 3)}
        self.out("report", orm.Dict({**report, "queue_seconds": round(max(0.0, started - submitted), 1)}))
        return None

    def _text(self, name: str) -> str:
        if name not in self.retrieved.base.repository.list_object_names():
            return ""
        return str(self.retrieved.base.repository.get_object_content(name, mode="rb").decode(errors="replace"))


def _is_known(value: orm.Str, _: Any) -> str | None:
    return None if value.value in PROGRAMS else f"{value.value}: allowed: {', '.join(PROGRAMS)}"
