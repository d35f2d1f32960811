"""The mission as an outline: structure, labels, training, dynamics, response, spectra, deposit. One process per word."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, WorkChain, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from vibraloom.calculators.ase.calcjob import HarmonicCalculation
from vibraloom.calculators.charges.calcjob import ChargeResponseCalculation
from vibraloom.calculators.correlation.calcjob import CorrelationCalculation
from vibraloom.calculators.deepmd.calcjob import ResponseCalculation
from vibraloom.nodes.spectrum import SpectrumData
from vibraloom.workflows import parameters
from vibraloom.workflows.bands import interface_bands, molecule_bands
from vibraloom.workflows.build import build_structure
from vibraloom.workflows.children import failure_of
from vibraloom.workflows.context import context_of
from vibraloom.workflows.deposit import add_to_collection, deposit
from vibraloom.workflows.dynamics import AseDynamicsWorkChain, LammpsDynamicsWorkChain
from vibraloom.workflows.label import LabelWorkChain
from vibraloom.workflows.spec import Spec
from vibraloom.workflows.training import TrainingWorkChain


class SpectraWorkChain(WorkChain):
    """From a spec to deposited spectra."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input("spec", valid_type=orm.Dict, help="The spec, as the YAML holds it.", validator=_spec_is_valid)
        spec.input_namespace("codes", valid_type=orm.AbstractCode, help="python, and lmp where LAMMPS is the engine.")
        spec.output_namespace("spectra", valid_type=SpectrumData, help="Deposited spectra.")
        spec.output("bands", valid_type=orm.Dict, help="Table of bands.")
        spec.output("record", valid_type=orm.Dict, help="What was deposited, with hashes and verdicts.")
        spec.output("structure", valid_type=orm.StructureData)
        spec.outline(
            cls.setup,
            cls.build,
            if_(cls.is_learned)(
                cls.label,
                cls.train,
            ),
            cls.dynamics,
            cls.response,
            cls.spectra,
            cls.deposit,
            cls.results,
        )
        spec.exit_code(210, "ERROR_WRONG_INPUT", message="{message}")
        spec.exit_code(310, "ERROR_STEP_FAILED", message="{message}")

    def setup(self) -> None:
        """Read the spec."""
        self.ctx.python = self.inputs.codes["python"]

    @property
    def words(self) -> Spec:
        """The checked spec."""
        return Spec.model_validate(self.inputs.spec.get_dict())

    def is_learned(self) -> bool:
        """Whether the dynamics run on a learned surface."""
        return self.words.dynamics.model is None

    def _failed(self, message: str) -> ExitCode:
        return self.exit_codes.ERROR_STEP_FAILED.format(message=message)

    def build(self) -> ExitCode | None:
        """Structure."""
        system = orm.Dict(self.inputs.spec["system"])
        results, node = build_structure.run_get_node(system, metadata={"call_link_label": "build"})
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_WRONG_INPUT.format(message=node.exit_message)
        self.ctx.structure, self.ctx.report = results["structure"], results["report"]
        return None

    def label(self) -> None:
        """Labels for the learned surfaces; beside them the harmonic modes at the same level."""
        run = self.words
        self.to_context(
            labels=self.submit(
                LabelWorkChain,
                sampling={
                    "code": self.ctx.python,
                    "structure": self.ctx.structure,
                    "parameters": orm.Dict(parameters.sampling(run)),
                },
                labels={"code": self.ctx.python, "parameters": orm.Dict(parameters.labels(run))},
                metadata={"call_link_label": "label"},
            )
        )
        self.to_context(
            dft_modes=self.submit(
                HarmonicCalculation,
                code=self.ctx.python,
                structure=self.ctx.structure,
                parameters=orm.Dict(parameters.dft_modes(run)),
                metadata={"call_link_label": "harmonic_dft"},
            )
        )

    def train(self) -> ExitCode | None:
        """Learned surfaces."""
        for child in (self.ctx.labels, self.ctx.dft_modes):
            if message := failure_of(child):
                return self._failed(message)
        self.to_context(
            training=self.submit(
                TrainingWorkChain,
                code=self.ctx.python,
                dataset=self.ctx.labels.outputs.dataset,
                parameters={target: orm.Dict(entry) for target, entry in parameters.trainings(self.words).items()},
                metadata={"call_link_label": "train"},
            )
        )
        return None

    def dynamics(self) -> ExitCode | None:
        """Trajectories; on a learned surface also its harmonic modes."""
        run = self.words
        if self.is_learned():
            if message := failure_of(self.ctx.training):
                return self._failed(message)
            models = self.ctx.training.outputs.models
            self.to_context(
                dynamics_0=self.submit(
                    AseDynamicsWorkChain,
                    job={
                        "code": self.ctx.python,
                        "structure": self.ctx.structure,
                        "model": models["energy"],
                        "parameters": orm.Dict(parameters.ase_dynamics(run)),
                    },
                    interrupted=orm.Str(run.dynamics.interrupted),
                    metadata={"call_link_label": "dynamics"},
                )
            )
            self.to_context(
                model_modes=self.submit(
                    HarmonicCalculation,
                    code=self.ctx.python,
                    structure=self.ctx.structure,
                    models=dict(models),
                    parameters=orm.Dict(parameters.model_modes(run)),
                    metadata={"call_link_label": "harmonic_model"},
                )
            )
            self.ctx.dynamics_labels = ["dynamics_0"]
            return None
        self.ctx.dynamics_labels = [f"dynamics_{replica}" for replica in range(run.dynamics.replicas)]
        for replica, label in enumerate(self.ctx.dynamics_labels):
            child = self.submit(
                LammpsDynamicsWorkChain,
                job={
                    "code": self.inputs.codes["lmp"],
                    "converter": self.ctx.python,
                    "structure": self.ctx.structure,
                    "parameters": orm.Dict(parameters.lammps_dynamics(run, self.ctx.report.get_dict(), replica)),
                },
                interrupted=orm.Str(run.dynamics.interrupted),
                metadata={"call_link_label": label},
            )
            self.to_context(**{label: child})
        return None

    def response(self) -> ExitCode | None:
        """Dipole and polarizability, or currents, along each trajectory."""
        trajectories: dict[str, Any] = {}
        for label in self.ctx.dynamics_labels:
            if message := failure_of(self.ctx[label]):
                return self._failed(message)
            trajectories |= dict(self.ctx[label].outputs.trajectories)
        self.ctx.trajectories = trajectories
        if self.is_learned():
            models = {key: node for key, node in self.ctx.training.outputs.models.items() if key != "energy"}
            process, inputs, record = ResponseCalculation, {"models": models}, {}
        else:
            process, inputs = ChargeResponseCalculation, {}
            numbers = self.ctx.structure.get_ase().numbers
            record = parameters.charge_response(self.words, self.ctx.report.get_dict(), numbers)
        self.to_context(
            response=self.submit(
                process,
                code=self.ctx.python,
                trajectories=trajectories,
                parameters=orm.Dict(record),
                metadata={"call_link_label": "response"},
                **inputs,
            )
        )
        return None

    def spectra(self) -> ExitCode | None:
        """Spectra from the autocorrelations."""
        steps = [self.ctx.response] + ([self.ctx.model_modes] if self.is_learned() else [])
        for child in steps:
            if message := failure_of(child):
                return self._failed(message)
        run, report = self.words, self.ctx.report.get_dict()
        record = parameters.correlation(run, report)
        record["context"] = context_of(run, report, self._versions())
        inputs = {"modes": self.ctx.model_modes.outputs.modes} if self.is_learned() else {}
        self.to_context(
            correlation=self.submit(
                CorrelationCalculation,
                code=self.ctx.python,
                trajectories=self.ctx.trajectories,
                responses=dict(self.ctx.response.outputs.responses),
                parameters=orm.Dict(record),
                metadata={"call_link_label": "spectra"},
                **inputs,
            )
        )
        return None

    def _versions(self) -> dict[str, str]:
        """Versions of every package that the jobs of this run reported."""
        found: dict[str, str] = {}
        for descendant in self.node.called_descendants:
            if "report" in descendant.outputs and isinstance(descendant.outputs.report, orm.Dict):
                report = descendant.outputs.report.get_dict()
                found |= {**report.get("versions", {}), **report.get("engine_versions", {})}
        return dict(sorted(found.items()))

    def deposit(self) -> ExitCode | None:
        """The gate, then the collection."""
        if message := failure_of(self.ctx.correlation):
            return self._failed(message)
        spectra = dict(self.ctx.correlation.outputs.spectra)
        collection = self.words.deposit.collection
        record, node = deposit.run_get_node(orm.Str(collection), **spectra, metadata={"call_link_label": "deposit"})
        if not node.is_finished_ok:
            return self._failed(node.exit_message or "deposit refused")
        self.ctx.record = record
        new = add_to_collection(collection, list(spectra.values()))
        self.report(f"{new} of {len(spectra)} spectra are new in collection {collection}")
        return None

    def results(self) -> None:
        """The table of bands, and everything handed out."""
        spectra = dict(self.ctx.correlation.outputs.spectra)
        metadata = {"call_link_label": "bands"}
        if self.is_learned():
            bands = molecule_bands(
                orm.Str(self.ctx.report["formula"]),
                self.ctx.model_modes.outputs.modes,
                self.ctx.dft_modes.outputs.modes,
                **spectra,
                metadata=metadata,
            )
        else:
            liquid = self.inputs.spec["system"]["liquid"]["molecule"]
            bands = interface_bands(orm.Str(liquid), **spectra, metadata=metadata)
        self.out("bands", bands)
        self.out("record", self.ctx.record)
        self.out("structure", self.ctx.structure)
        self.out("spectra", spectra)


def _spec_is_valid(value: orm.Dict, _: Any) -> str | None:
    from vibraloom.errors import InputError
    from vibraloom.validation import validated

    try:
        validated(Spec, value.get_dict(), "spec")
    except InputError as error:
        return str(error)
    return None
