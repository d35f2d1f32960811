"""Dynamics that end: interrupted jobs are continued from their checkpoint, or rerun from their seed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, CalcJob, ExitCode, ProcessBuilder, ProcessHandlerReport, process_handler, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from vibraloom.calculators.ase.calcjob import AseDynamicsCalculation
from vibraloom.calculators.cp2k.input_builder import dynamics
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.calculators.cp2k.settings import Cp2kSettings, MdSettings
from vibraloom.calculators.lammps.calcjob import LammpsCalculation
from vibraloom.calculators.lammps.convert import INCOMPLETE
from vibraloom.calculators.lammps.output_reader import read_thermo
from vibraloom.errors import ComputationError
from vibraloom.workflows.attempts import CONTINUED, continued
from vibraloom.workflows.children import excepted
from vibraloom.workflows.cp2k import MOST_JOBS, STALLS, USED_UP, Cp2kBaseWorkChain, in_a_box
from vibraloom.workflows.placement import PlacesJobs


class DynamicsWorkChain(PlacesJobs, BaseRestartWorkChain):
    """Contract of every engine: structure in, one H5MD trajectory per replica out."""

    _process_class: ClassVar[type[CalcJob]]

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace="job")
        spec.inputs["max_iterations"].default = lambda: orm.Int(MOST_JOBS)
        spec.input(
            "interrupted",
            valid_type=orm.Str,
            default=lambda: orm.Str("continue"),
            help="After an interruption: 'continue' from the last checkpoint, or 'rerun' from the seed.",
        )
        spec.expose_outputs(cls._process_class)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(
                cls.run_process,
                cls.inspect_process,
            ),
            cls.results,
        )
        spec.exit_code(310, "ERROR_DYNAMICS_FAILED", message="The dynamics failed: {message}")
        spec.exit_code(401, "ERROR_MAXIMUM_ITERATIONS_EXCEEDED", message=USED_UP)
        spec.exit_code(410, "ERROR_NO_PROGRESS", message="{message}")

    def setup(self) -> None:
        """Take the inputs; if the same job was begun before, go on from what it finished."""
        super().setup()
        inputs = dict(self.exposed_inputs(self._process_class, "job"))
        inputs, said = continued(self._process_class, inputs, rerun=self.inputs.interrupted.value == "rerun")
        if said:
            self.report(said)
        self.ctx.inputs = AttributeDict(inputs)
        self.ctx.reached, self.ctx.stalls = -1, 0

    def inspect_process(self) -> ExitCode | None:
        """Let the handlers act; a job that ended by an error of its own is told with its reason."""
        job = self.ctx.children[self.ctx.iteration - 1]
        broken = self.exit_codes.ERROR_SUB_PROCESS_EXCEPTED
        return excepted(job, broken) if job.is_excepted else super().inspect_process()

    @staticmethod
    def steps_of(calculation: orm.CalcJobNode) -> int:
        """Steps that a job which was cut off and those before it have done; -1 where nothing tells."""
        raise NotImplementedError

    @process_handler(priority=500)
    def fail_with_reason(self, calculation: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """A run that exploded, or wrong input, is not tried again: its message is the result."""
        if calculation.exit_status not in (210, 310, 320, 330):
            return None
        message = calculation.exit_message or "no message"
        return ProcessHandlerReport(True, self.exit_codes.ERROR_DYNAMICS_FAILED.format(message=message))

    @process_handler(priority=400)
    def go_on_after_interruption(self, calculation: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """A job that was cut off is continued from its folder, or begun again from its seed."""
        if calculation.exit_status != 410:
            return None
        steps = self.steps_of(calculation)
        self.ctx.stalls = 0 if steps > self.ctx.reached else self.ctx.stalls + 1
        self.ctx.reached = max(steps, self.ctx.reached)
        if self.ctx.stalls > STALLS:
            told = f"{self.ctx.stalls} jobs without a new step; the last: {calculation.exit_message}"
            message = f"{told} Give more time or memory, and look at job.err in its folder"
            return ProcessHandlerReport(True, self.exit_codes.ERROR_NO_PROGRESS.format(message=message))
        if self.inputs.interrupted.value == "continue":
            self.ctx.inputs[CONTINUED] = calculation.outputs.remote_folder
            self.report(f"job {calculation.uuid[:8]} was cut off; continuing from its last checkpoint")
        else:
            self.report(f"job {calculation.uuid[:8]} was cut off; rerunning it from its seed")
        return ProcessHandlerReport(True)


class AseDynamicsWorkChain(DynamicsWorkChain):
    """Dynamics on a learned surface through ASE."""

    _process_class = AseDynamicsCalculation

    @staticmethod
    def steps_of(calculation: orm.CalcJobNode) -> int:
        """Steps that the script told in ``progress.json`` in its folder, over all groups of replicas."""
        with tempfile.TemporaryDirectory(prefix="vibraloom-") as place:
            path = Path(place) / "progress.json"
            try:
                calculation.outputs.remote_folder.getfile(path.name, str(path))
                return int(json.loads(path.read_text(encoding="utf-8"))["done"])
            except Exception:  # whatever a transport raises; a few jobs whose steps are unknown are allowed
                return -1


class LammpsDynamicsWorkChain(DynamicsWorkChain):
    """Dynamics with a classical model in LAMMPS."""

    _process_class = LammpsCalculation

    @staticmethod
    def steps_of(calculation: orm.CalcJobNode) -> int:
        """Step of the newest restart file, where the converter told it, else the last one in the newest log."""
        retrieved = calculation.outputs.retrieved.base.repository
        names = retrieved.list_object_names()
        if INCOMPLETE in names and (step := json.loads(retrieved.get_object_content(INCOMPLETE))["restart_step"]) is not None:
            return int(step)
        logs = sorted(name for name in names if name.startswith("log-"))
        if not logs:
            return -1
        with retrieved.as_path() as folder:
            try:
                steps = read_thermo(folder / logs[-1])[:, 0]
            except ComputationError:
                return -1
        return int(steps[-1]) if len(steps) else -1


class Cp2kDynamicsWorkChain(Cp2kBaseWorkChain):
    """First-principles dynamics in CP2K: one trajectory over all segments, with the dipole of every frame."""

    @classmethod
    def get_builder_from_protocol(  # type: ignore[override]
        cls,
        code: orm.AbstractCode,
        structure: orm.StructureData,
        protocol: str = "balanced",
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        md: Mapping[str, Any],
        functional: str = "PBE-D3",
        converter: orm.AbstractCode | None = None,
    ) -> ProcessBuilder:
        """Inputs of a trajectory.

        Args:
            code, structure, protocol, overrides, options, functional, converter: as for the base work chain.
            md: entries of :class:`MdSettings`: temperature (K), steps, seed, timestep (fs), every, ….

        Raises:
            InputError: a setting is not allowed, or what is asked for is physically impossible.
        """
        settings = Cp2kSettings.from_protocol(protocol, functional, dict(overrides or {}))
        asked = MdSettings.checked(md)
        structure = in_a_box(structure)
        atoms = structure.get_ase()
        wanted = {"wannier"} if asked.wannier_every else set()
        warnings = refuse(atoms, settings, wanted)
        parameters = dynamics(atoms, settings, asked)
        record = {"seed": asked.seed, "replica": asked.replica, "dynamics": asked.model_dump(mode="json"), "warnings": warnings}
        return cls.builder_of(code, structure, parameters, settings, options, converter, **record)
