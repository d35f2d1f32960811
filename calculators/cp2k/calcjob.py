"""CalcJobs of CP2K: a main run, follow-up runs that start from its wavefunction, and our converter, in one job; and the
response along a trajectory from what such jobs computed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common import datastructures
from aiida.common.escaping import escape_for_bash
from aiida.common.exceptions import InputValidationError
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec

from vibraloom.calculators.cp2k.input_builder import WAVEFUNCTION_FILE, starting_from, with_walltime
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.job_record import completed, going_on, record_of
from vibraloom.calculators.cp2k.remedies import sections
from vibraloom.calculators.cp2k.restart_files import newest_restart_in
from vibraloom.calculators.deepmd.calcjob import trajectory_files
from vibraloom.calculators.script import ScriptCalculation
from vibraloom.errors import InputError
from vibraloom.nodes.dataset import DatasetData
from vibraloom.nodes.trajectory import TrajectoryFile

CONVERTER = "vibraloom.calculators.cp2k.convert"
JOB_FILE = "job.json"
OUTCOME_FILE = "outcome.json"
STRUCTURE_FILE = "structure.xyz"
PREVIOUS = "previous"
"""Link in the job's folder to the folder whose restart file and wavefunction it goes on from."""

START = "start"
"""Link in the job's folder to the folder of the run at whose end it begins."""
MAIN = "cp2k"
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
        spec.input("metadata.options.output_filename", valid_type=str, default=f"{MAIN}.out")
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
        inputs = self._inputs_of_runs()
        structure = self.inputs.structure
        given = self.inputs.record.get_dict() if "record" in self.inputs else {}
        atoms = structure.get_ase()
        record = record_of(self.inputs.parameters.get_dict(), atoms, given, followups=[name for name in inputs if name != MAIN])
        chain = self._chain()
        record["folders"] = [*(remote.get_remote_path() for remote in reversed(chain)), "."]
        restart = self._restart_of(chain)
        fresh = bool(record.get(FRESH_ENTRY))
        links = {} if restart is None else {PREVIOUS: restart[0]}
        try:
            if "start" in self.inputs and (restart is None or restart[1] is None):
                inputs[MAIN] = self._started(inputs[MAIN], fresh=fresh)
                links[START] = self.inputs.start
            if restart is not None:
                _, file, step = restart
                inputs[MAIN] = going_on(inputs[MAIN], PREVIOUS, file, step, fresh=fresh)
            seconds = self._wall_seconds()
            if seconds is not None:
                inputs = {
                    name: entry if "WALLTIME" in entry["GLOBAL"] else with_walltime(entry, seconds)
                    for name, entry in inputs.items()
                }
            texts = {f"{name}.inp": render(parameters) for name, parameters in inputs.items()}
        except InputError as error:
            raise InputValidationError(str(error)) from error
        texts[JOB_FILE] = json.dumps(record, indent=1, sort_keys=True)
        texts[STRUCTURE_FILE] = structure_text(structure, inputs[MAIN])
        for name, text in texts.items():
            folder.create_file_from_filelike(io.BytesIO(text.encode()), name, mode="wb")
        info = datastructures.CalcInfo()
        info.codes_info = [self._run(name) for name in inputs]
        info.codes_run_mode = datastructures.CodeRunMode.SERIAL
        # not one of the codes: these would share its MPI; it runs whatever became of CP2K
        info.append_text = self._converter_line()
        info.prepend_text = f"export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{record['threads']}}}"
        info.local_copy_list = [(node.uuid, node.filename, node.filename) for node in self.inputs.get("files", {}).values()]
        info.remote_symlink_list = [(remote.computer.uuid, remote.get_remote_path(), name) for name, remote in links.items()]
        info.retrieve_list = [
            self.options.output_filename,
            *(f"{name}.out" for name in inputs if name != MAIN),
            *((f"{name}.err", ".", 0) for name in (*inputs, "convert")),
            *((pattern, ".", 0) for pattern in (OUTCOME_FILE, "error.json", "labels.npz", "structure.json", "modes.npz")),
            ("cp2k-1.restart*", ".", 0),
        ]
        # kept once, as a node of its own
        info.retrieve_temporary_list = [("trajectory-*.h5", ".", 0)]
        return info

    def _inputs_of_runs(self) -> dict[str, dict[str, Any]]:
        """Name of the run → its input, complete; the main run first."""
        structure = self.inputs.structure
        given = {MAIN: self.inputs.parameters, **self.inputs.get("followups", {})}
        return {
            name: completed(parameters.get_dict(), name, structure.cell, structure.pbc, STRUCTURE_FILE)
            for name, parameters in given.items()
        }

    def _started(self, parameters: dict[str, Any], *, fresh: bool) -> dict[str, Any]:
        """The main run's input, from where the run in ``start`` ended.

        Raises:
            InputError: that run left no whole restart file.
        """
        found = restart_in(self.inputs.start)
        if found is None:
            raise InputError(f"start: {self.inputs.start.get_remote_path()}: holds no whole restart file; run that one again")
        return starting_from(parameters, f"{START}/{found[0]}", None if fresh else f"{START}/{WAVEFUNCTION_FILE}")

    def _run(self, name: str) -> datastructures.CodeInfo:
        run = datastructures.CodeInfo()
        run.code_uuid = self.inputs.code.uuid
        run.cmdline_params = ["-i", f"{name}.inp"]
        run.stdout_name = self.options.output_filename if name == MAIN else f"{name}.out"
        run.stderr_name = f"{name}.err"
        if self.options.get("withmpi") is None and self.inputs.code.with_mpi is None:
            run.withmpi = self._processes() > 1
        return run

    def _processes(self) -> int:
        computer = self.inputs.code.computer if self.inputs.code.computer is not None else self.node.computer
        scheduler = computer.get_scheduler()
        resources = dict(self.options.resources)
        scheduler.preprocess_resources(resources, computer.get_default_mpiprocs_per_machine())
        return int(scheduler.create_job_resource(**resources).get_tot_num_mpiprocs())

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

    @staticmethod
    def _restart_of(chain: list[orm.RemoteData]) -> tuple[orm.RemoteData, str | None, int] | None:
        """Folder, name and step of the newest whole restart file; without one the newest folder, for its wavefunction."""
        for remote in chain:
            found = restart_in(remote)
            if found is not None:
                return remote, found[0], found[1]
        return (chain[0], None, 0) if chain else None


def restart_in(remote: orm.RemoteData) -> tuple[str, int] | None:
    """Name and step of the restart file in a job's folder that is gone on from: the parser's choice, or by looking here."""
    creator = remote.creator
    report = None if creator is None else creator.base.links.get_outgoing(link_label_filter="report").first()
    if report is not None:
        found = report.node.get_dict()["restart"]
        return None if found is None else (found["file"], found["step"])
    folder = Path(remote.get_remote_path())
    if remote.computer.transport_type != "core.local" or not (folder / JOB_FILE).is_file():
        return None
    return newest_restart_in(folder, json.loads((folder / JOB_FILE).read_text(encoding="utf-8")))


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
