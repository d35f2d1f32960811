"""CalcJobs of CP2K: a main run, follow-up runs that start from its wavefunction, and our converter, in one job; and the
response along a trajectory from what such jobs computed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import datastructures
from aiida.common.escaping import escape_for_bash
from aiida.common.exceptions import InputValidationError
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec

from vibraloom.calculators.cp2k.checked_inputs import inputs_of_runs, output_name_refusal, refusal
from vibraloom.calculators.cp2k.input_builder import WAVEFUNCTION_FILE, starting_from, with_walltime
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.job_record import going_on, record_of
from vibraloom.calculators.cp2k.left_behind import left_behind
from vibraloom.calculators.cp2k.method_sections import STRUCTURE_FILE
from vibraloom.calculators.cp2k.remedies import sections
from vibraloom.calculators.cp2k.segments import PROJECT as MAIN
from vibraloom.calculators.cp2k.wall_time import if_in_time, seconds_of, shared_wall_time
from vibraloom.calculators.deepmd.calcjob import trajectory_files
from vibraloom.calculators.script import ScriptCalculation, left_in
from vibraloom.errors import ComputationError, InputError
from vibraloom.nodes.dataset import DatasetData
from vibraloom.nodes.trajectory import TrajectoryFile

CONVERTER = "vibraloom.calculators.cp2k.convert"
JOB_FILE = "job.json"
OUTCOME_FILE = "outcome.json"
PREVIOUS = "previous"
"""Link in the job's folder to the folder whose restart file and wavefunction it goes on from."""

START = "start"
"""Link in the job's folder to the folder of the run at whose end it begins."""
FRESH_ENTRY = "fresh_wavefunction"
"""Entry of ``record``: true where the wavefunction of ``previous`` is not read."""
EXIT_CODES = (
    (210, "ERROR_INPUT", "{message}"),
    (310, "ERROR_SCF_NOT_CONVERGED", "{message}"),
    (320, "ERROR_LINEAR_RESPONSE", "{message}"),
    (330, "ERROR_ABORTED", "{message}"),
    (340, "ERROR_OUT_OF_MEMORY", "{message}"),
    (350, "ERROR_NODE_FAILURE", "{message}"),
    (410, "ERROR_WALLTIME", "{message}"),
    (420, "ERROR_CUT_OFF", "{message}"),
)
"""Status, label and message: 2xx input, 3xx failure, 4xx partial and to be continued."""


class Cp2kCalculation(CalcJob):
    """One job of CP2K; its folder holds ``cp2k.inp``, an input per follow-up, ``structure.xyz`` and ``job.json``.

    ``parameters`` is the nested input that users of aiida-cp2k know: sections are dicts, ``_`` is a section's parameter,
    a list of dicts is a repeated section. The project's name, the cell, the coordinates and a wall time below the
    scheduler's are added where they are absent. CP2K runs under MPI when more than one process is asked for, unless
    ``metadata.options.withmpi`` or the code says otherwise; the converter never does.

    The runs of a job share its wall time (:mod:`.wall_time`). A continuation (``previous``) goes on from the restart file of
    molecular dynamics or of an optimisation, whose counters go on too: STEPS and MAX_ITER count over all jobs. The runs of a
    label that an earlier folder holds whole, from the same input, are not repeated but read from there. A vibrational
    analysis begins again: CP2K reads back none of its displaced structures (src/motion/vibrational_analysis.F), so it must
    fit into one wall time.
    """

    CACHE_VERSION = 1

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("converter", valid_type=orm.AbstractCode, help="Python that reads CP2K's output, in the same job.")
        spec.input("structure", valid_type=orm.StructureData, help="Structure to start from, Å.")
        spec.input("parameters", valid_type=orm.Dict, help="CP2K input of the main run, nested.")
        spec.input_namespace(
            "followups",
            valid_type=orm.Dict,
            required=False,
            help="CP2K inputs of runs in the same folder after the main run, by name: field_x_plus, …, linres.",
        )
        spec.input(
            "record",
            valid_type=orm.Dict,
            required=False,
            help="Entries of job.json: method, seed, replica, field, remedies; what the input says need not be repeated.",
        )
        spec.input("previous", valid_type=orm.RemoteData, required=False, help="Folder of the job that is continued.")
        spec.input(
            "start",
            valid_type=orm.RemoteData,
            required=False,
            help="Folder of another run: this one begins, at step 0, with the positions and velocities at which that one ended.",
        )
        spec.input_namespace(
            "files", valid_type=orm.SinglefileData, required=False, help="Basis sets or potentials beside CP2K's own."
        )
        spec.input("metadata.options.parser_name", valid_type=str, default="vibraloom.cp2k")
        spec.inputs["metadata"]["options"]["resources"].default = lambda: {
            "num_machines": 1,
            "num_mpiprocs_per_machine": 1,
        }
        spec.input(
            "metadata.options.output_filename", valid_type=str, default=f"{MAIN}.out", validator=output_name_refusal
        )
        inherited = spec.inputs.validator
        assert inherited is not None
        spec.inputs.validator = lambda inputs, port: inherited(inputs, port) or refusal(inputs)
        spec.output(
            "report", valid_type=orm.Dict, required=False, help="How the run ended, versions, energy, restart file, warnings."
        )
        spec.output_namespace(
            "trajectories",
            valid_type=TrajectoryFile,
            required=False,
            help="Dynamics: one H5MD trajectory over all segments, also a partial one.",
        )
        spec.output("labels", valid_type=orm.ArrayData, required=False, help="Labels of one frame; units in its attributes.")
        spec.output("structure", valid_type=orm.StructureData, required=False, help="Optimised structure, Å.")
        spec.output("modes", valid_type=orm.Dict, required=False, help="Wavenumbers (cm⁻¹) and intensities.")
        spec.output("arrays", valid_type=orm.SinglefileData, required=False, help="Modes with displacements (npz).")
        # a failure is no answer: without this AiiDA's cache would serve it again
        for status, label, message in EXIT_CODES:
            spec.exit_code(status, label, message=message, invalidates_cache=True)

    def prepare_for_submission(self, folder: Folder) -> datastructures.CalcInfo:
        """Write the job's folder and say what to run and retrieve."""
        inputs = inputs_of_runs(self.inputs)
        structure = self.inputs.structure
        given = self.inputs.record.get_dict() if "record" in self.inputs else {}
        atoms = structure.get_ase()
        record = record_of(self.inputs.parameters.get_dict(), atoms, given, followups=[name for name in inputs if name != MAIN])
        chain = self._chain()
        record["folders"] = [*(remote.get_remote_path() for remote in reversed(chain)), "."]
        restart = self._restart_of(chain)
        fresh = bool(record.get(FRESH_ENTRY))
        finished = {} if fresh or record["kind"] != "label" else self._finished(chain, list(inputs))
        if finished:
            record["finished"] = finished
        wavefunction = self._wavefunction(chain, finished)
        links = {} if restart is None else {PREVIOUS: restart[0]}
        try:
            if "start" in self.inputs and (restart is None or restart[1] is None):
                inputs[MAIN] = self._started(inputs[MAIN], fresh=fresh)
                links[START] = self.inputs.start
            if restart is not None and MAIN not in finished:
                _, file, step = restart
                inputs[MAIN] = going_on(inputs[MAIN], PREVIOUS, file, step, fresh=fresh)
            inputs = {name: entry for name, entry in inputs.items() if name not in finished}
            seconds = self._wall_seconds()
            if seconds is not None:
                inputs = {
                    name: entry if "WALLTIME" in entry["GLOBAL"] else with_walltime(entry, seconds)
                    for name, entry in inputs.items()
                }
            texts = {f"{name}.inp": render(parameters) for name, parameters in inputs.items()}
            limits = {} if seconds is None else {name: seconds_of(entry["GLOBAL"]["WALLTIME"]) for name, entry in inputs.items()}
        except InputError as error:
            raise InputValidationError(str(error)) from error
        texts[JOB_FILE] = json.dumps(record, indent=1, sort_keys=True)
        texts[STRUCTURE_FILE] = structure_text(structure, self.inputs.parameters.get_dict())
        for name, text in texts.items():
            folder.create_file_from_filelike(io.BytesIO(text.encode()), name, mode="wb")
        info = datastructures.CalcInfo()
        info.codes_run_mode = datastructures.CodeRunMode.SERIAL
        info.prepend_text = f"export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{record['threads']}}}"
        if seconds is None or len(inputs) == 1:
            info.codes_info, lines = [self._run(name) for name in inputs], []
        else:
            first, *others = inputs
            info.codes_info = [self._run(first)]
            lines = [if_in_time(name, limits[name], self._line(self._run(name))) for name in others]
            info.prepend_text += "\n" + shared_wall_time(seconds)
        # not one of the codes: these would share its MPI; it runs whatever became of CP2K
        info.append_text = "\n\n".join([*lines, self._converter_line()])
        info.local_copy_list = [(node.uuid, node.filename, node.filename) for node in self.inputs.get("files", {}).values()]
        info.remote_symlink_list = [(remote.computer.uuid, remote.get_remote_path(), name) for name, remote in links.items()]
        if wavefunction is not None:
            info.remote_symlink_list.append(wavefunction)
        info.retrieve_list = [
            *([self.options.output_filename] if MAIN in inputs else []),
            # one that is not begun has none
            *((f"{name}.out", ".", 0) if seconds is not None else f"{name}.out" for name in inputs if name != MAIN),
            *((f"{name}.err", ".", 0) for name in (*inputs, "convert")),
            *((pattern, ".", 0) for pattern in (OUTCOME_FILE, "error.json", "labels.npz", "structure.json", "modes.npz")),
            ("cp2k-1.restart*", ".", 0),
        ]
        # kept once, as a node of its own
        info.retrieve_temporary_list = [("trajectory-*.h5", ".", 0)]
        return info

    def _started(self, parameters: dict[str, Any], *, fresh: bool) -> dict[str, Any]:
        """The main run's input, from where the run in ``start`` ended.

        Raises:
            InputError: that run left no whole restart file.
        """
        found = self._left(self.inputs.start)["restart"]
        if found is None:
            raise InputError(f"start: {self.inputs.start.get_remote_path()}: holds no whole restart file; run that one again")
        return starting_from(parameters, f"{START}/{found['file']}", None if fresh else f"{START}/{WAVEFUNCTION_FILE}")

    def _run(self, name: str) -> datastructures.CodeInfo:
        run = datastructures.CodeInfo()
        run.code_uuid = self.inputs.code.uuid
        run.cmdline_params = ["-i", f"{name}.inp"]
        run.stdout_name = self.options.output_filename if name == MAIN else f"{name}.out"
        run.stderr_name = f"{name}.err"
        if self.options.get("withmpi") is None and self.inputs.code.with_mpi is None:
            run.withmpi = self._processes() > 1
        return run

    def _line(self, run: datastructures.CodeInfo) -> str:
        """The line that starts a run, as AiiDA writes it for those that it starts itself."""
        code, computer = self.inputs.code, self._computer()
        asked = (self.options.get("withmpi"), run.withmpi, code.with_mpi)
        launcher = []
        if any(asked):
            known = {**self._resource(), "tot_num_mpiprocs": self._processes()}
            launcher = [word.format(**known) for word in computer.get_mpirun_command()]
        double = computer.get_use_double_quotes(), code.use_double_quotes
        before = code.get_prepend_cmdline_params(launcher, self.options.get("mpirun_extra_params") if any(asked) else None)
        words = code.get_executable_cmdline_params(run.cmdline_params)
        command = [escape_for_bash(word, use_double_quotes=double[1]) for word in words]
        streams = [escape_for_bash(name, use_double_quotes=double[0]) for name in (run.stdout_name, run.stderr_name)]
        text = " ".join([*command, f"> {streams[0]}", f"2> {streams[1]}"])
        if code.wrap_cmdline_params:
            text = escape_for_bash(text, use_double_quotes=True)
        return " ".join([*(escape_for_bash(word, use_double_quotes=double[0]) for word in before), text])

    def _computer(self) -> orm.Computer:
        return self.inputs.code.computer if self.inputs.code.computer is not None else self.node.computer

    def _resource(self) -> Any:
        computer = self._computer()
        scheduler = computer.get_scheduler()
        resources = dict(self.options.resources)
        scheduler.preprocess_resources(resources, computer.get_default_mpiprocs_per_machine())
        return scheduler.create_job_resource(**resources)

    def _processes(self) -> int:
        return int(self._resource().get_tot_num_mpiprocs())

    def _converter_line(self) -> str:
        words = self.inputs.converter.get_executable_cmdline_params(["-m", CONVERTER, JOB_FILE])
        line = " ".join(escape_for_bash(word) for word in words) + " 2> convert.err"
        # a shell of its own: its modules are not those of CP2K
        return f"(\n{self.inputs.converter.prepend_text}\n{line}\n)" if self.inputs.converter.prepend_text else line

    def _wall_seconds(self) -> int | None:
        """Wall time of CP2K: below the scheduler's by the time that the last step, the restart file and the converter need."""
        limit = self.options.get("max_wallclock_seconds")
        return None if limit is None else int(max(limit - max(120, 0.05 * limit), 0.5 * limit))

    def _chain(self) -> list[orm.RemoteData]:
        """Folders of the earlier segments, newest first, by the provenance of ``previous``."""
        chain: list[orm.RemoteData] = []
        remote = self.inputs.get("previous")
        while remote is not None and remote.uuid not in {known.uuid for known in chain}:
            chain.append(remote)
            creator = remote.creator
            link = None if creator is None else creator.base.links.get_incoming(link_label_filter="previous").first()
            remote = None if link is None else link.node
        return chain

    def _left(self, remote: orm.RemoteData) -> dict[str, Any]:
        """What a job left for those that go on from it: the parser's word, or, where none has read it, by looking there."""
        creator = remote.creator
        report = None if creator is None else creator.base.links.get_outgoing(link_label_filter="report").first()
        if report is not None:
            told = report.node.get_dict()
            return {"restart": told["restart"], "finished": told.get("finished") or {}}
        try:
            return left_in(remote, left_behind, self.inputs.converter)
        except ComputationError as error:
            self.report(f"nothing of it is used: {error}")
            return {"restart": None, "finished": {}}

    def _finished(self, chain: list[orm.RemoteData], names: list[str]) -> dict[str, str]:
        """Name of each run that an earlier folder holds whole, from the same input → that folder.

        Without the main run there is none: the others begin with its wavefunction. The last one is left over if all are
        whole, for AiiDA has no job without a run.
        """
        found: dict[str, str] = {}
        for remote in reversed(chain):
            whole = self._left(remote)["finished"]
            creator = remote.creator
            same = [] if creator is None else [name for name in whole if self._same_input(creator, name)]
            found |= {name: whole[name] for name in same}
        found = {name: found[name] for name in names if name in found}
        if MAIN not in found:
            return {}
        if len(found) == len(names):
            del found[names[-1]]
        return found

    def _same_input(self, job: orm.CalcJobNode, name: str) -> bool:
        """Whether a job's run had the input that this one's has."""
        earlier, followups = job.inputs, self.inputs.get("followups", {})
        if earlier.structure.base.caching.compute_hash() != self.inputs.structure.base.caching.compute_hash():
            return False
        if name == MAIN:
            return bool(earlier.parameters.get_dict() == self.inputs.parameters.get_dict())
        mine, others = followups.get(name), getattr(earlier, "followups", {})
        return mine is not None and name in others and others[name].get_dict() == mine.get_dict()

    @staticmethod
    def _wavefunction(chain: list[orm.RemoteData], finished: Mapping[str, str]) -> tuple[str, str, str] | None:
        """Computer, file and link of the wavefunction of a main run that is not repeated."""
        if MAIN not in finished:
            return None
        return chain[0].computer.uuid, f"{finished[MAIN]}/{WAVEFUNCTION_FILE}", WAVEFUNCTION_FILE

    def _restart_of(self, chain: list[orm.RemoteData]) -> tuple[orm.RemoteData, str | None, int] | None:
        """Folder, name and step of the newest whole restart file; without one the newest folder, for its wavefunction."""
        for remote in chain:
            found = self._left(remote)["restart"]
            if found is not None:
                return remote, found["file"], found["step"]
        return (chain[0], None, 0) if chain else None


def structure_text(structure: orm.StructureData, parameters: Mapping[str, Any]) -> str:
    """``structure.xyz``: positions in Å with all their digits, labelled by element, or by kind where the input has it."""
    kinds = {str(kind.get("_")) for kind in sections(parameters, "FORCE_EVAL", "SUBSYS", "KIND")}
    symbols = structure.get_ase().get_chemical_symbols()
    lines = [str(len(symbols)), "Å"]
    for site, symbol in zip(structure.sites, symbols, strict=True):
        x, y, z = site.position
        lines.append(f"{site.kind_name if site.kind_name in kinds else symbol} {x:.16g} {y:.16g} {z:.16g}")
    return "\n".join(lines) + "\n"


class Cp2kResponseCalculation(ScriptCalculation):
    """Gathers what CP2K computed along each trajectory, aligned by step; a gap between polarizabilities is refused."""

    MODULE = "vibraloom.calculators.cp2k.response_job"
    PARSER = "vibraloom.response"
    RETRIEVE = (("response-*.npz", ".", 0),)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace("trajectories", valid_type=TrajectoryFile, help="H5MD trajectories, one per replica.")
        spec.input_namespace(
            "datasets", valid_type=DatasetData, required=False, help="Frames with polarizabilities, one dataset per replica."
        )
        spec.output_namespace(
            "responses",
            valid_type=orm.SinglefileData,
            help="npz per replica: step, dipole (e·Å), polarizability_step, polarizability (Å³).",
        )

    def nodes(self) -> list[tuple[str, str, str]]:
        labels = [
            (node.uuid, f"labels.{suffix}", f"labels-{label.removeprefix('replica_')}.{suffix}")
            for label, node in sorted(self.inputs.get("datasets", {}).items())
            for suffix in ("npz", "json")
        ]
        return trajectory_files(self.inputs.trajectories) + labels
