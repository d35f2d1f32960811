"""CalcJob of dynamics on learned potentials in LAMMPS."""

from __future__ import annotations

import json
from typing import Any

from aiida.common import datastructures
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.lammps.calcjob import LammpsCalculation
from vibraloom.calculators.lammps.convert import EXPLODED
from vibraloom.calculators.lammps.learned_input import LearnedSettings, Wall, write_learned_input
from vibraloom.calculators.script import JOB_FILE
from vibraloom.nodes.model import ModelData


class LearnedLammpsCalculation(LammpsCalculation):
    """One replica on a learned potential, or on the first of a committee whose deviation is written at every frame."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace("models", valid_type=ModelData, help="Potentials by label; the first of their order moves the atoms.")

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
            tuple(bool(flag) for flag in atoms.pbc),
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
