"""CalcJobs of dynamics in LAMMPS, on classical models and on learned potentials, and their parser."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common import datastructures
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec, ExitCode

from vibraloom.calculators.ase.calcjob import DynamicsParser
from vibraloom.calculators.lammps.checkpoints import left_behind
from vibraloom.calculators.lammps.convert import EXPLODED, INCOMPLETE
from vibraloom.calculators.lammps.input_writer import Settings, write_input, write_restart_input
from vibraloom.calculators.lammps.learned_input import LearnedSettings, Wall, write_learned_input
from vibraloom.calculators.script import ERROR_FILE, JOB_FILE, EngineCalculation, left_in
from vibraloom.errors import ComputationError
from vibraloom.files.trajectory import read_trajectory
from vibraloom.nodes.model import ModelData
from vibraloom.nodes.trajectory import TrajectoryFile


class LammpsCalculation(EngineCalculation):
    """One replica: LAMMPS writes its dump, then our converter turns it into an H5MD trajectory beside it."""

    MODULE = "vibraloom.calculators.lammps.convert"
    PARSER = "vibraloom.lammps"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Structure to start from, Å.")
        spec.output_namespace("trajectories", valid_type=TrajectoryFile, help="One H5MD trajectory per replica.")

    def prepare_for_submission(self, folder: Folder) -> datastructures.CalcInfo:
        """Write the LAMMPS input, new or from the last checkpoint of ``previous``."""
        for name, text in self._input_files().items():
            folder.create_file_from_filelike(io.BytesIO(text.encode()), name, mode="wb")
        kept: list[str | tuple[str, str, int]] = [
            self.options.output_filename,
            INCOMPLETE,
            ("log-*.lammps", ".", 0),
            ("trajectory-*.h5", ".", 0),
        ]
        return self.engine_info(["-in", "in.lammps", "-nocite"], "job.err", kept)

    def _input_files(self) -> dict[str, str]:
        parameters = self.inputs.parameters.get_dict()
        atoms = self.inputs.structure.get_ase()
        arrays = {
            "numbers": atoms.numbers,
            "positions": atoms.positions,
            "cell": atoms.cell.array if atoms.pbc.any() else None,
            "pbc": tuple(bool(flag) for flag in atoms.pbc),
            "molecules": parameters["molecules"],
            "settings": Settings(**parameters["settings"]),
        }
        earlier = self._earlier()
        if earlier is None or earlier["restart"] is None:
            return write_input(**arrays)
        files = write_restart_input(**arrays, restart=earlier["restart"], segment=earlier["segment"])
        record = json.loads(files[JOB_FILE])
        record["folders"] = [*earlier["folders"], "."]
        return {**files, JOB_FILE: json.dumps(record, indent=1)}

    def _earlier(self) -> dict[str, Any] | None:
        """What the earlier segments left behind; None where there are none, or where they cannot be looked at."""
        if "previous" not in self.inputs:
            return None
        try:
            return left_in(self.inputs.previous, left_behind, self.inputs.converter)
        except ComputationError as error:
            self.report(f"beginning anew: {error}")
            return None


class LearnedLammpsCalculation(LammpsCalculation):
    """One replica on a learned potential, or on the first of a committee whose deviation is written at every frame."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace("models", valid_type=ModelData, help="Potentials; the first by label moves the atoms.")

    def prepare_for_submission(self, folder: Folder) -> datastructures.CalcInfo:
        """Write the LAMMPS input, new or from the last checkpoint of ``previous``."""
        info = super().prepare_for_submission(folder)
        info.local_copy_list = [(node.uuid, node.filename, name) for name, node in self._models().items()]
        info.retrieve_list = [*info.retrieve_list, EXPLODED]
        return info

    def _models(self) -> dict[str, ModelData]:
        """File in the job's folder → model."""
        return {f"model-{index}.pb": self.inputs.models[label] for index, label in enumerate(sorted(self.inputs.models))}

    def _input_files(self) -> dict[str, str]:
        parameters = self.inputs.parameters.get_dict()
        atoms = self.inputs.structure.get_ase()
        words = dict(parameters["settings"])
        wall = words.pop("wall", None)
        settings = LearnedSettings(**words, wall=None if wall is None else Wall(**wall))
        earlier = self._earlier()
        restart = None if earlier is None or earlier["restart"] is None else (earlier["restart"], earlier["segment"])
        files = write_learned_input(
            atoms.numbers,
            atoms.positions,
            atoms.get_masses(),
            atoms.cell.array if atoms.pbc.any() else None,
            (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
            tuple(self._models()),
            settings,
            held=parameters.get("held", ()),
            restart=restart,
        )
        record: dict[str, Any] = json.loads(files[JOB_FILE])
        record["models"] = [f"deepmd {node.base.attributes.get('sha256')[:12]}" for node in self._models().values()]
        if earlier is not None and restart is not None:
            record["folders"] = [*earlier["folders"], "."]
        return {**files, JOB_FILE: json.dumps(record, indent=1)}


class LammpsParser(DynamicsParser):
    """Keeps the trajectory; a run that did not reach its last step is interrupted, not failed."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Turn the retrieved files into outputs or an exit code."""
        names = self.retrieved.base.repository.list_object_names()
        if INCOMPLETE in names and ERROR_FILE not in names:
            return self.exit_codes.ERROR_INTERRUPTED
        return super().parse(**kwargs)

    def collect(self, folder: Path) -> dict[str, Any]:
        """The trajectories, and the version that LAMMPS itself gave."""
        report = super().collect(folder)
        first = read_trajectory(next(folder.glob("trajectory-*.h5")), arrays=False)
        return {**report, "engine_versions": {"lammps": first.attributes["engine_version"]}}
