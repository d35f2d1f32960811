"""Training: one surface per target, side by side."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ExitCode, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from vibraloom.calculators.deepmd.calcjob import TrainingCalculation
from vibraloom.nodes.dataset import DatasetData
from vibraloom.nodes.model import ModelData
from vibraloom.workflows.attempts import continued
from vibraloom.workflows.children import failure_of
from vibraloom.workflows.placement import PlacesJobs


class TrainingWorkChain(PlacesJobs, WorkChain):
    """Trains energy, dipole and polarizability from one dataset."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input("code", valid_type=orm.AbstractCode, help="Python that runs the trainings.")
        spec.input("dataset", valid_type=DatasetData, help="Labelled frames.")
        spec.input_namespace("parameters", valid_type=orm.Dict, help="Parameters of the training of each target.")
        spec.output_namespace("models", valid_type=ModelData)
        spec.output_namespace("validations", valid_type=orm.Dict)
        spec.outline(
            cls.train,
            cls.results,
        )
        spec.exit_code(310, "ERROR_STEP_FAILED", message="{message}")

    def train(self) -> None:
        """Submit every training at once."""
        for target, parameters in self.inputs.parameters.items():
            inputs = {"code": self.inputs.code, "dataset": self.inputs.dataset, "parameters": parameters}
            inputs, said = continued(TrainingCalculation, inputs)
            if said:
                self.report(f"{target}: {said}")
            training = self.submit(TrainingCalculation, **inputs, metadata={"call_link_label": target})
            self.to_context(**{target: training})

    def results(self) -> ExitCode | None:
        """Hand the models on."""
        for target in self.inputs.parameters:
            training = self.ctx[target]
            if message := failure_of(training):
                return self.exit_codes.ERROR_STEP_FAILED.format(message=message)
            self.out(f"models.{target}", training.outputs.model)
            self.out(f"validations.{target}", training.outputs.validation)
        return None
