"""CalcJobs of the learned surfaces: training, and response along a trajectory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.script import ScriptCalculation, ScriptParser, existing
from vibraloom.errors import ComputationError
from vibraloom.files.dataset import LABELS_FILE, RECORD_FILE
from vibraloom.nodes.dataset import DatasetData
from vibraloom.nodes.model import ModelData
from vibraloom.nodes.trajectory import TrajectoryFile


class TrainingCalculation(ScriptCalculation):
    """Trains and freezes one surface (energy, dipole or polarizability)."""

    MODULE = "vibraloom.calculators.deepmd.training"
    PARSER = "vibraloom.deepmd.training"
    RETRIEVE = ("model.pb", "validation.json", "validation.npz", "lcurve.out", "input.json")

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("dataset", valid_type=DatasetData, help="Labelled frames.")
        spec.input(
            "validation", valid_type=DatasetData, required=False, help="Frames to validate on; left out: a part of the dataset."
        )
        spec.output("model", valid_type=ModelData, help="Frozen surface.")
        spec.output("validation", valid_type=orm.Dict, help="Errors on frames that were not trained on, with units.")

    def nodes(self) -> list[tuple[str, str, str]]:
        datasets = {"": self.inputs.dataset, **({"validation/": self.inputs.validation} if "validation" in self.inputs else {})}
        return [(node.uuid, name, place + name) for place, node in datasets.items() for name in (LABELS_FILE, RECORD_FILE)]


class TrainingParser(ScriptParser):
    """Turns ``model.pb`` into a ModelData and keeps the validation."""

    def collect(self, folder: Path) -> dict[str, Any]:
        parameters = self.node.inputs.parameters.get_dict()
        validation = json.loads(existing(folder, "validation.json").read_text(encoding="utf-8"))
        record = {
            "training": parameters,
            "validation": validation,
            "input": json.loads(existing(folder, "input.json").read_text(encoding="utf-8")),
        }
        self.out("model", ModelData.from_file(existing(folder, "model.pb"), target=parameters["target"], record=record))
        self.out("validation", orm.Dict(validation))
        return {}


class ResponseCalculation(ScriptCalculation):
    """Dipole and polarizability along each trajectory."""

    MODULE = "vibraloom.calculators.deepmd.response"
    PARSER = "vibraloom.response"
    RETRIEVE = (("response-*.npz", ".", 0),)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace("trajectories", valid_type=TrajectoryFile, help="H5MD trajectories, one per replica.")
        spec.input_namespace("models", valid_type=ModelData, help="Surfaces by target: dipole, polarizability.")
        spec.output_namespace(
            "responses", valid_type=orm.SinglefileData, help="npz per replica: step, dipole (e·Å), polarizability (Å³)."
        )

    def entries(self) -> dict[str, Any]:
        return {target: f"model-{target}.pb" for target in self.inputs.models}

    def nodes(self) -> list[tuple[str, str, str]]:
        models = [(model.uuid, model.filename, f"model-{target}.pb") for target, model in self.inputs.models.items()]
        return models + trajectory_files(self.inputs.trajectories)


class ResponseParser(ScriptParser):
    """Turns ``response-RR.npz`` into nodes ``responses.replica_RR``."""

    def collect(self, folder: Path) -> dict[str, Any]:
        paths = sorted(folder.glob("response-*.npz"))
        if not paths:
            raise ComputationError("response: no response-*.npz was written; look at job.err in the job's folder")
        for path in paths:
            self.out(f"responses.replica_{path.stem.split('-')[1]}", orm.SinglefileData(file=str(path)))
        return {"replicas": len(paths)}


def trajectory_files(trajectories: Any) -> list[tuple[str, str, str]]:
    """Copy list of the replicas' trajectories: ``replica_RR`` becomes ``trajectory-RR.h5``."""
    return [
        (node.uuid, node.filename, f"trajectory-{label.removeprefix('replica_')}.h5")
        for label, node in sorted(trajectories.items())
    ]
