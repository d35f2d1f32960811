"""A CP2K job that ends: failures are repaired step by step, stopped jobs go on where they stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import (
    BaseRestartWorkChain,
    ExitCode,
    ProcessBuilder,
    ProcessHandlerReport,
    ToContext,
    calcfunction,
    process_handler,
    while_,
)
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from vibraloom.calculators.cp2k.calcjob import FRESH_ENTRY, MAIN, Cp2kCalculation
from vibraloom.calculators.cp2k.input_builder import geometry_optimisation, single_point, vibrations
from vibraloom.calculators.cp2k.job_record import kind_of
from vibraloom.calculators.cp2k.method_sections import boxed
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.calculators.cp2k.remedies import FRESH, has_linear_response, in_force, next_input
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.errors import InputError
from vibraloom.workflows.attempts import CONTINUED
from vibraloom.workflows.children import excepted
from vibraloom.workflows.cp2k_ladder import LADDER, digest_of, fields_instead, gone_on, remedies_of
from vibraloom.workflows.cp2k_memory import MEMORY, Changed, more_memory, untried, within_memory
from vibraloom.workflows.cp2k_stops import UNITS, fetched_partial, goes_on_from, left_partial, progress_of, report_of
from vibraloom.workflows.placement import chosen_options, placed
from vibraloom.workflows.submission import SubmitsOnce

MOST_JOBS = 200
"""Jobs of one work chain: a long trajectory takes many, and a chain without progress is stopped long before."""
STALLS = 2
"""Continuations without a new step that are allowed; the next one is refused."""
USED_UP = "the jobs that max_iterations allows are used up; what is finished is kept: the same command goes on from there"

TASKS = {"energy": ["forces"], "optimisation": ["forces"], "vibrations": ["forces", "vibrations"]}
"""What a base work chain is built for, and what of it physics may refuse."""


@calcfunction
def boxed_structure(structure: orm.StructureData) -> orm.StructureData:
    """A free molecule in the middle of a box, which CP2K needs."""
    return orm.StructureData(ase=boxed(structure.get_ase()))


def in_a_box(structure: orm.StructureData) -> orm.StructureData:
    """The structure itself if it is periodic, else the molecule in its box."""
    return structure if any(structure.pbc) else boxed_structure(structure)


class Cp2kBaseWorkChain(SubmitsOnce, BaseRestartWorkChain):
    """Runs :class:`Cp2kCalculation` until it is done or nothing is left to try.

    What was changed after each failure is reported and kept in the next job's ``record`` under ``remedies``. When the
    chain gives up, the newest partial result is an output nevertheless.
    """

    _process_class = Cp2kCalculation

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.expose_inputs(Cp2kCalculation, namespace="job")
        spec.inputs["max_iterations"].default = lambda: orm.Int(MOST_JOBS)
        spec.input(
            "interrupted",
            valid_type=orm.Str,
            default=lambda: orm.Str("continue"),
            help="After an interruption: 'continue' from the last restart file, or 'rerun' from the seed.",
        )
        spec.input(
            "field_instead_of_response",
            valid_type=orm.Bool,
            default=lambda: orm.Bool(True),
            help="If linear response cannot be repaired, take the polarizability by ± periodic fields.",
        )
        spec.expose_outputs(Cp2kCalculation)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(
                cls.run_process,
                cls.inspect_process,
            ),
            cls.results,
        )
        spec.exit_code(210, "ERROR_INPUT", message="{message}")
        spec.exit_code(310, "ERROR_SCF", message="The SCF does not converge after {tried}: {message}")
        spec.exit_code(320, "ERROR_LINEAR_RESPONSE", message="Linear response fails after {tried}: {message}")
        spec.exit_code(330, "ERROR_ABORTED", message="CP2K ended unexpectedly: {message}")
        spec.exit_code(340, "ERROR_MEMORY", message="{message}")
        spec.exit_code(401, "ERROR_MAXIMUM_ITERATIONS_EXCEEDED", message=USED_UP)
        spec.exit_code(410, "ERROR_NO_PROGRESS", message="{message}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode,
        structure: orm.StructureData,
        protocol: str = "balanced",
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        functional: str = "PBE-D3",
        task: str = "energy",
        atoms: Sequence[int] | None = None,
        raman: bool = True,
        converter: orm.AbstractCode | None = None,
    ) -> ProcessBuilder:
        """Inputs of one energy with forces, of a relaxation, or of the harmonic modes of a relaxed structure.

        Args:
            code: CP2K.
            structure: atoms and cell, Å.
            protocol: "fast", "balanced" or "stringent".
            overrides: entries of :class:`Cp2kSettings`.
            options: ``metadata.options`` of the job.
            functional: one of those that :class:`Cp2kSettings` knows.
            task: "energy", "optimisation" or "vibrations".
            atoms: indices from 0 of the atoms that move in a relaxation or are displaced for the modes; None for all.
            raman: for the modes, polarizabilities by linear response too; False where physics forbids it, as for a metal. CP2K
                2023.1 gives half the activity to a mode whose polarizability slope is yz alone.
            converter: Python on the same computer; by default the code ``python``.

        Raises:
            InputError: an unknown protocol, functional or task, a value that is not allowed, or what is asked for is
                physically impossible.
        """
        if task not in TASKS:
            raise InputError(f"cp2k: task: {task!r}: allowed: {', '.join(TASKS)}")
        settings = Cp2kSettings.from_protocol(protocol, functional, dict(overrides or {}))
        structure = in_a_box(structure)
        system = structure.get_ase()
        asked = [*TASKS[task], *(["linres"] if task == "vibrations" and raman else [])]
        warnings = refuse(system, settings, asked)
        if task == "optimisation":
            fixed = [] if atoms is None else [index for index in range(len(system)) if index not in atoms]
            parameters = geometry_optimisation(system, settings, fixed)
        else:
            parameters = single_point(system, settings) if task == "energy" else vibrations(
                system, settings, atoms, raman=raman
            )
        return cls.builder_of(code, structure, parameters, settings, options, converter, warnings=warnings)

    @classmethod
    def builder_of(
        cls,
        code: orm.AbstractCode,
        structure: orm.StructureData,
        parameters: Mapping[str, Any],
        settings: Cp2kSettings,
        options: Mapping[str, Any] | None = None,
        converter: orm.AbstractCode | None = None,
        **record: Any,
    ) -> ProcessBuilder:
        """Inputs of a job with these ``parameters``; ``record`` goes into job.json beside the settings."""
        builder = cls.get_builder()
        builder.job.code = code
        builder.job.converter = converter or orm.load_code(f"python@{code.computer.label}")
        builder.job.structure = structure
        builder.job.parameters = orm.Dict(dict(parameters))
        builder.job.record = orm.Dict({"method": settings.record(), **record})
        for name, value in (options or {}).items():
            builder.job.metadata.options[name] = value
        return builder

    def setup(self) -> None:
        """Take the inputs; if the same job was begun before, go on from what it finished."""
        super().setup()
        inputs = dict(self.exposed_inputs(Cp2kCalculation, "job"))
        self.ctx.first = digest_of(inputs)
        inputs, said, done = gone_on(Cp2kCalculation, inputs, rerun=self.inputs.interrupted.value == "rerun")
        self.ctx.remedies = remedies_of(inputs)
        if said:
            self.report(said)
        # once, not at each submission: a handler may have lowered what the computer's profile asks for
        metadata = AttributeDict(inputs.get("metadata") or {})
        options = dict(metadata.get("options") or {})
        metadata.options = AttributeDict(placed(Cp2kCalculation, inputs["code"], None, options, chosen_options(self)))
        if done is not None and any(words.startswith(MEMORY) for words in self.ctx.remedies):
            metadata.options.resources = done.get_option("resources")  # the cache answers for the same processes alone
        self.ctx.inputs = AttributeDict({**inputs, "metadata": metadata})
        self.ctx.reached, self.ctx.stalls = -1, 0
        self.ctx.memory = untried()

    def run_process(self) -> ToContext:
        """Submit the next job, and mark it as one of this chain: run again, the chain finds it by that."""
        waits: ToContext = super().run_process()
        orm.load_node(waits["children"].pk).base.extras.set(LADDER, self.ctx.first)
        return waits

    def inspect_process(self) -> ExitCode | None:
        """Let the handlers act; if the chain ends in failure, hand out the newest partial result first."""
        job = self.ctx.children[self.ctx.iteration - 1]
        broken = self.exit_codes.ERROR_SUB_PROCESS_EXCEPTED
        exit_code = excepted(job, broken) if job.is_excepted else super().inspect_process()
        if exit_code is not None and exit_code.status:
            self._attach_partial()
        return exit_code

    @process_handler(priority=900)
    def refuse_wrong_input(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Wrong input is not tried again; a job that more memory made too large gets fewer processes instead."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_INPUT.status:
            return None
        if self.ctx.memory["raised_for"] == self.ctx.iteration:
            self.ctx.remedies = self.ctx.remedies[:-1]
            options, memory = self.ctx.inputs.metadata.options, self.ctx.memory
            return self._with_memory(job, within_memory(options, memory, str(job.exit_message)))
        return self._stop(self.exit_codes.ERROR_INPUT, job)

    @process_handler(priority=800)
    def repair_scf(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """The SCF did not converge: the next rung of the ladder; what this job computed is not used."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_SCF_NOT_CONVERGED.status:
            return None
        words = self._change("scf", self._runs())
        if words is None:
            return self._stop(self.exit_codes.ERROR_SCF, job)
        if self._kind(job) == "label":
            self.ctx.inputs[CONTINUED] = job.outputs.remote_folder  # for its wavefunction
        # of dynamics the segment is run again from where it began: its frames are those of a wrong density
        return self._again(job, words)

    @process_handler(priority=790)
    def repair_linear_response(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Linear response failed, is asymmetric or out of range: preconditioner, tighter wavefunction, then fields."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_LINEAR_RESPONSE.status:
            return None
        responses = [name for name, parameters in self._runs().items() if has_linear_response(parameters)]
        main_failed = self._kind(job) == "label" and MAIN not in responses and MAIN not in report_of(job).get("finished", {})
        if not responses or main_failed:
            return self._stop(self.exit_codes.ERROR_ABORTED, job)  # numbers too large to print, and no response to blame
        words = self._change("linres", {name: self._runs()[name] for name in responses})
        if words is None and self.inputs.field_instead_of_response.value:
            words = self._take_fields(responses)
        if words is None:
            return self._stop(self.exit_codes.ERROR_LINEAR_RESPONSE, job)
        self.ctx.inputs[CONTINUED] = job.outputs.remote_folder
        return self._again(job, words)

    @process_handler(priority=700)
    def ask_for_more_memory(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Out of memory: twice the memory if a limit was given, else half the processes on each machine."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_OUT_OF_MEMORY.status:
            return None
        options, memory = self.ctx.inputs.metadata.options, self.ctx.memory
        self._go_on_from(job)
        return self._with_memory(job, more_memory(options, memory, self.ctx.iteration, str(job.exit_message)))

    @process_handler(priority=600)
    def go_on_after_walltime(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Stopped at the wall time: the exact continuation from the restart file."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_WALLTIME.status:
            return None
        return self._continue(job, "stopped at the wall time", "give more time")

    @process_handler(priority=590)
    def go_on_after_node_failure(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """The node failed: the same again, from the newest whole restart file."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_NODE_FAILURE.status:
            return None
        return self._continue(job, "the node failed", "ask what is wrong with the nodes (sinfo --list-reasons), or take others")

    @process_handler(priority=580)
    def go_on_after_cut(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Cut off or truncated output: the same again, from the newest whole restart file."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_CUT_OFF.status:
            return None
        advice = "look for the reason at the end of cp2k.out, of cp2k.err and of the scheduler's output, and for a full disk"
        return self._continue(job, "its output is cut off", advice, doubtful=True)

    @process_handler(priority=100)
    def stop_with_reason(self, job: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """What no other handler knows ends the chain with CP2K's own words."""
        if job.exit_status != Cp2kCalculation.exit_codes.ERROR_ABORTED.status or "on_unhandled_failure" in self.inputs:
            return None
        return self._stop(self.exit_codes.ERROR_ABORTED, job)

    # --- what the handlers share ---

    def _runs(self) -> dict[str, dict[str, Any]]:
        """Inputs of the main run (``cp2k``) and of the follow-ups."""
        followups = self.ctx.inputs.get("followups", {})
        return {"cp2k": self.ctx.inputs.parameters.get_dict()} | {name: node.get_dict() for name, node in followups.items()}

    def _set_runs(self, runs: Mapping[str, Mapping[str, Any]]) -> None:
        # stored: what the context holds must survive a checkpoint
        self.ctx.inputs.parameters = orm.Dict(dict(runs["cp2k"])).store()
        self.ctx.inputs.followups = {name: orm.Dict(dict(entry)).store() for name, entry in runs.items() if name != "cp2k"}

    def _change(self, problem: str, runs: Mapping[str, Mapping[str, Any]]) -> str | None:
        """Take the next remedy in these runs; returns its words."""
        changed = {name: found for name, entry in runs.items() if (found := next_input(entry, problem, self.ctx.remedies))}
        if not changed:
            return None
        # a run that has no such rung is left as it is, so that all stay on the same one
        words = next(iter(changed.values()))[1]
        rung = words.split(":")[0]
        self._set_runs(self._runs() | {name: entry for name, (entry, said) in changed.items() if said.split(":")[0] == rung})
        return words

    def _take_fields(self, responses: list[str]) -> str | None:
        """Fields in place of linear response where physics allows them; returns the words of this remedy."""
        try:
            runs, changed, words = fields_instead(self._runs(), responses, self._record(), self.ctx.inputs.structure.get_ase())
        except InputError as error:
            self.report(f"no fields instead of linear response: {error}")
            return None
        if not words:
            return None
        self._set_runs(runs)
        self._set_record(**changed)
        return words

    def _with_memory(self, job: orm.CalcJobNode, changed: Changed | str) -> ProcessHandlerReport:
        if isinstance(changed, str):
            return ProcessHandlerReport(True, self.exit_codes.ERROR_MEMORY.format(message=changed))
        options, self.ctx.memory, words = changed
        self.ctx.inputs.metadata.options = AttributeDict(options)
        return self._again(job, words)

    def _record(self) -> dict[str, Any]:
        return self.ctx.inputs.record.get_dict() if "record" in self.ctx.inputs else {}

    def _set_record(self, **entries: Any) -> None:
        self.ctx.inputs.record = orm.Dict({**self._record(), **entries}).store()

    def _kind(self, job: orm.CalcJobNode) -> str:
        return str(self._record().get("kind") or kind_of(job.inputs.parameters.get_dict()))

    def _again(self, job: orm.CalcJobNode, words: str) -> ProcessHandlerReport:
        """Run once more with what was changed, and say so in the record."""
        self.ctx.remedies = [*self.ctx.remedies, words]
        self._set_record(remedies=in_force(self.ctx.remedies), **{FRESH_ENTRY: words.startswith(FRESH)})
        self.report(f"job {job.uuid[:8]}: {job.exit_message}; next: {words}")
        return ProcessHandlerReport(True)

    def _go_on_from(self, job: orm.CalcJobNode) -> None:
        folder = job.base.links.get_outgoing(link_label_filter="remote_folder").first()
        doubtful = report_of(job).get("scf_unconverged_steps")  # frames of a wrong density: the job is done again from its start
        if folder is not None and not doubtful and self.inputs.interrupted.value == "continue":
            self.ctx.inputs[CONTINUED] = folder.node

    def _continue(self, job: orm.CalcJobNode, why: str, advice: str, *, doubtful: bool = False) -> ProcessHandlerReport:
        """Go on from the newest restart file; stop when nothing moves any more.

        A doubtful end may have left a damaged wavefunction: the last try starts from a new one.
        """
        report = report_of(job)
        progress, kind = progress_of(report), self._kind(job)
        if kind == "optimisation" and report.get("ended") == "normal":  # nothing broke it off: MAX_ITER counts over all jobs
            return self._stop(self.exit_codes.ERROR_NO_PROGRESS, job)
        moved = progress > self.ctx.reached
        self.ctx.stalls = 0 if moved else self.ctx.stalls + 1
        self.ctx.reached = max(progress, self.ctx.reached)
        # the same wall time ends a run without restart in the same place: one more try, from a better wavefunction
        same_end = kind == "vibrations" and job.exit_status == Cp2kCalculation.exit_codes.ERROR_WALLTIME.status
        if self.ctx.stalls > (1 if same_end else STALLS):
            seconds = self.ctx.inputs.metadata.options.get("max_wallclock_seconds")
            limit = "" if seconds is None else f" of {seconds} s"
            unit = UNITS.get(kind, "step")
            message = f"{self.ctx.stalls} jobs{limit} without a new {unit}; the last: {why} ({job.exit_message}); {advice}"
            return ProcessHandlerReport(True, self.exit_codes.ERROR_NO_PROGRESS.format(message=message))
        self._go_on_from(job)
        fresh = doubtful and self.ctx.stalls == STALLS
        if fresh != bool(self._record().get(FRESH_ENTRY)):
            self._set_record(**{FRESH_ENTRY: fresh})
        if fresh:
            self.report("no progress: the wavefunction is made anew, the stored one may be damaged")
        self.report(f"job {job.uuid[:8]}: {why}; continuing {goes_on_from(kind, report, moved=moved)}")
        return ProcessHandlerReport(True)

    def _stop(self, exit_code: ExitCode, job: orm.CalcJobNode) -> ProcessHandlerReport:
        tried = "; ".join(self.ctx.remedies) or "no remedy"
        return ProcessHandlerReport(True, exit_code.format(message=job.exit_message or "no message", tried=tried))

    def _attach_partial(self) -> None:
        """Outputs of the newest job that has a result, or of the last one."""
        jobs = list(reversed(self.ctx.get("children", [])))
        results = ("trajectories", "labels", "structure", "modes")
        chosen = next((job for job in jobs if left_partial(job) or any(name in job.outputs for name in results)), None)
        if chosen is not None:
            self.report(f"the result of job {chosen.uuid[:8]} is partial and is kept")
        if jobs:
            self._attach_outputs(chosen or jobs[0])
        if chosen is not None and left_partial(chosen):
            found, words = fetched_partial(chosen)
            self.report(words)
            if found:
                self.out("trajectories", found)
