"""The mission as an outline: structure, labels, training, dynamics, response, spectra, deposit. One process per word."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import CalcJob, ExitCode, Process, WorkChain, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from vibraloom.calculators.ase.calcjob import HarmonicCalculation
from vibraloom.calculators.charges.calcjob import ChargeResponseCalculation
from vibraloom.calculators.correlation.calcjob import CorrelationCalculation
from vibraloom.calculators.cp2k.calcjob import Cp2kResponseCalculation
from vibraloom.calculators.deepmd.calcjob import ResponseCalculation
from vibraloom.errors import InputError
from vibraloom.nodes.spectrum import SpectrumData
from vibraloom.workflows import first_principles, parameters
from vibraloom.workflows.bands import found_bands, interface_bands, liquid_bands, molecule_bands
from vibraloom.workflows.build import build_structure
from vibraloom.workflows.children import failure_of
from vibraloom.workflows.context import context_of
from vibraloom.workflows.cp2k_labels import Cp2kLabelWorkChain
from vibraloom.workflows.deposit import add_to_collection, deposit
from vibraloom.workflows.dynamics import AseDynamicsWorkChain, Cp2kDynamicsWorkChain, LammpsDynamicsWorkChain
from vibraloom.workflows.label import LabelWorkChain
from vibraloom.workflows.placement import PlacesJobs
from vibraloom.workflows.spec import Spec
from vibraloom.workflows.training import TrainingWorkChain


class SpectraWorkChain(PlacesJobs, WorkChain):
    """From a spec to deposited spectra."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input("spec", valid_type=orm.Dict, help="The spec, as the YAML holds it.", validator=_spec_is_valid)
        spec.input_namespace("codes", valid_type=orm.AbstractCode, help="python, and lmp or cp2k where that is the engine.")
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
            if_(cls.is_first_principles)(
                cls.equilibrate,
            ),
            cls.dynamics,
            if_(cls.has_labelled_frames)(
                cls.label_frames,
            ),
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
        return self.words.is_learned

    def is_first_principles(self) -> bool:
        """Whether CP2K computes forces and response."""
        return self.words.is_first_principles

    def has_labelled_frames(self) -> bool:
        """Whether dipoles or polarizabilities are computed of single frames of the trajectories."""
        return parameters.label_stride(self.words) is not None

    def _failed(self, message: str) -> ExitCode:
        return self.exit_codes.ERROR_STEP_FAILED.format(message=message)

    def build(self) -> ExitCode | None:
        """Structure."""
        system = orm.Dict(self.inputs.spec["system"])
        results, node = build_structure.run_get_node(system, metadata={"call_link_label": "build"})
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_WRONG_INPUT.format(message=node.exit_message)
        self.ctx.structure, self.ctx.report = results["structure"], results["report"]
        self.ctx.warnings = []
        if self.is_first_principles():
            self.ctx.placed = first_principles.placed_for_cp2k(self.ctx.structure)
            try:
                self.ctx.warnings = first_principles.warnings_of(self.words, self.ctx.placed.get_ase())
            except InputError as error:
                return self.exit_codes.ERROR_WRONG_INPUT.format(message=str(error))
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

    def equilibrate(self) -> None:
        """First-principles dynamics with a thermostat, before each replica's production."""
        run = self.words
        if not run.dynamics.equilibration:
            return
        replicas = range(run.dynamics.replicas)
        ready = {f"equilibration_{replica}": self._cp2k_dynamics(replica, equilibration=True) for replica in replicas}
        self._submit_all(Cp2kDynamicsWorkChain, ready)

    def _submit_all(self, process: type[Process], ready: dict[str, dict[str, Any]]) -> None:
        """Submit children by their labels, whose inputs are all made: one whose inputs fail leaves no other unwatched."""
        for label, inputs in ready.items():
            self.to_context(**{label: self.submit(process, **inputs, metadata={"call_link_label": label})})

    def _cp2k_dynamics(self, replica: int, **more: Any) -> dict[str, Any]:
        molecules = self.ctx.report.get_dict()["molecule"]
        return first_principles.dynamics_inputs(self.words, self.inputs.codes, self.ctx.placed, molecules, replica, **more)

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
        if self.is_first_principles():
            return self._first_principles_dynamics()
        ready = {}
        for replica, label in enumerate(self.ctx.dynamics_labels):
            job = {
                "code": self.inputs.codes["lmp"],
                "converter": self.ctx.python,
                "structure": self.ctx.structure,
                "parameters": orm.Dict(parameters.lammps_dynamics(run, self.ctx.report.get_dict(), replica)),
            }
            ready[label] = {"job": job, "interrupted": orm.Str(run.dynamics.interrupted)}
        self._submit_all(LammpsDynamicsWorkChain, ready)
        return None

    def _first_principles_dynamics(self) -> ExitCode | None:
        ready = {}
        for replica, label in enumerate(self.ctx.dynamics_labels):
            start = None
            if f"equilibration_{replica}" in self.ctx:
                equilibrated = self.ctx[f"equilibration_{replica}"]
                if message := failure_of(equilibrated):
                    return self._failed(message)
                start = equilibrated.outputs.remote_folder
            ready[label] = self._cp2k_dynamics(replica, start=start)
        self._submit_all(Cp2kDynamicsWorkChain, ready)
        return None

    def label_frames(self) -> ExitCode | None:
        """Dipoles, and polarizabilities by ± fields, of frames along each trajectory."""
        if message := self._take_trajectories():
            return self._failed(message)
        found = self.ctx.trajectories.items()
        ready = {self._label_of(name): first_principles.label_inputs(self.words, self.inputs.codes, each) for name, each in found}
        self._submit_all(Cp2kLabelWorkChain, ready)
        return None

    def _label_of(self, name: str) -> str:
        return f"{'dipole' if self.words.response.polarizability_every is None else 'polarizability'}_{name}"

    def _take_trajectories(self) -> str | None:
        """Gather the trajectories of all replicas; returns why one is missing."""
        trajectories: dict[str, Any] = {}
        for label in self.ctx.dynamics_labels:
            if message := failure_of(self.ctx[label]):
                return message
            trajectories |= dict(self.ctx[label].outputs.trajectories)
        self.ctx.trajectories = trajectories
        return None

    def _labelled(self) -> tuple[dict[str, Any], dict[str, Any]] | str:
        """Datasets and failed frames by replica, or why there are none."""
        datasets, failures = {}, {}
        for name in self.ctx.trajectories if self.has_labelled_frames() else ():
            child = self.ctx[self._label_of(name)]
            if message := failure_of(child):
                return message
            datasets[name] = child.outputs.dataset
            if "failures" in child.outputs:
                failures[name] = child.outputs.failures.get_dict()
        return datasets, failures

    def response(self) -> ExitCode | None:
        """Dipole and polarizability, or currents, along each trajectory."""
        if message := self._take_trajectories():
            return self._failed(message)
        process: type[CalcJob]
        inputs: dict[str, Any]
        if self.is_first_principles():
            labelled = self._labelled()
            if isinstance(labelled, str):
                return self._failed(labelled)
            process, inputs = Cp2kResponseCalculation, {"datasets": labelled[0]}
            record = first_principles.response_record(self.words, labelled[1])
        elif self.is_learned():
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
                trajectories=self.ctx.trajectories,
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
        record["context"] = context_of(run, report, self._versions(), self.ctx.warnings)
        if potential := self._potential():
            record["context"]["potential"] = potential
        if self.is_first_principles():
            places = self.ctx.placed.get_ase().positions
            if run.system.kind == "molecule":
                record["reference_positions"] = places.tolist()
            elif "layers" in record:
                lift = float((places - self.ctx.structure.get_ase().positions)[0, 2])
                record["layers"]["edges"] = [edge + lift for edge in record["layers"]["edges"]]
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

    def _potential(self) -> dict[str, Any] | None:
        """Work function and potential of an interface over all replicas, where they were asked for and can be had."""
        if self.words.response.potential_every is None:
            return None
        reports = [self.ctx[label].outputs.report.get_dict() for label in self.ctx.dynamics_labels]
        return first_principles.potential_of(self.words, reports)

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
            system = self.words.system
            if system.kind == "molecule":
                bands = found_bands(orm.Str(self.ctx.report["formula"]), **spectra, metadata=metadata)
            elif system.kind == "liquid":
                bands = liquid_bands(orm.Str(system.molecule), **spectra, metadata=metadata)
            else:
                bands = interface_bands(orm.Str(system.liquid.molecule), **spectra, metadata=metadata)
        self.out("bands", bands)
        self.out("record", self.ctx.record)
        self.out("structure", self.ctx.structure)
        self.out("spectra", spectra)


def _spec_is_valid(value: orm.Dict, _: Any) -> str | None:
    from vibraloom.validation import validated

    try:
        validated(Spec, value.get_dict(), "spec")
    except InputError as error:
        return str(error)
    return None
