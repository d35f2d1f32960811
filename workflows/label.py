"""Labels: sampled geometries with energy, forces, dipole and polarizability from first principles."""

from __future__ import annotations

from aiida.engine import ExitCode, ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from vibraloom.calculators.ase.calcjob import SamplingCalculation
from vibraloom.calculators.pyscf.calcjob import LabelCalculation
from vibraloom.nodes.dataset import DatasetData
from vibraloom.workflows.attempts import continued
from vibraloom.workflows.children import failure_of
from vibraloom.workflows.placement import PlacesJobs


class LabelWorkChain(PlacesJobs, WorkChain):
    """Sample, then label."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.expose_inputs(SamplingCalculation, namespace="sampling")
        spec.expose_inputs(LabelCalculation, namespace="labels", exclude=("frames",))
        spec.output("dataset", valid_type=DatasetData)
        spec.outline(
            cls.sample,
            cls.label,
            cls.results,
        )
        spec.exit_code(310, "ERROR_STEP_FAILED", message="{message}")

    def sample(self) -> ToContext:
        """Run the sampling dynamics."""
        inputs = self.exposed_inputs(SamplingCalculation, "sampling")
        inputs["metadata"]["call_link_label"] = "sample"
        return ToContext(sampling=self.submit(SamplingCalculation, **inputs))

    def label(self) -> ToContext | ExitCode:
        """Label the sampled frames."""
        if message := failure_of(self.ctx.sampling):
            return self.exit_codes.ERROR_STEP_FAILED.format(message=message)
        inputs = dict(self.exposed_inputs(LabelCalculation, "labels"), frames=self.ctx.sampling.outputs.frames)
        inputs["metadata"]["call_link_label"] = "label"
        inputs, said = continued(LabelCalculation, inputs)
        if said:
            self.report(said)
        return ToContext(labels=self.submit(LabelCalculation, **inputs))

    def results(self) -> ExitCode | None:
        """Hand the dataset on."""
        if message := failure_of(self.ctx.labels):
            return self.exit_codes.ERROR_STEP_FAILED.format(message=message)
        self.out("dataset", self.ctx.labels.outputs.dataset)
        return None
