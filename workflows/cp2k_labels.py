"""First-principles labels in CP2K: one job per frame, a few at a time, gathered into one dataset."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, calcfunction, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from ase import Atoms
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.dipole_branch import settled_dipole
from vibraloom.calculators.cp2k.input_builder import FIELD, field_followups, linres_followup, single_point
from vibraloom.calculators.cp2k.method_sections import boxed
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.calculators.job import versions, write_arrays
from vibraloom.durable import write_text
from vibraloom.errors import InputError
from vibraloom.files.trajectory import read_trajectory
from vibraloom.nodes.dataset import DatasetData
from vibraloom.nodes.trajectory import TrajectoryFile
from vibraloom.workflows.children import failure_of
from vibraloom.workflows.cp2k import Cp2kBaseWorkChain, in_a_box
from vibraloom.workflows.submission import SubmitsOnce

POLARIZABILITIES = ("field", "linres")
WANTED = {"wannier": False, "stress": False, "polarizability": [], "field": FIELD, "axes": "xyz"}
"""What is computed beside energy, forces and dipole unless ``wanted`` says otherwise."""


@calcfunction
def frames_of(trajectory: TrajectoryFile, stride: orm.Int) -> dict[str, orm.StructureData] | ExitCode:
    """Every ``stride``-th frame of a trajectory, by its step: ``step_000000100``."""
    with trajectory.as_path() as path:
        read = read_trajectory(path)
    if stride.value < 1:
        return ExitCode(210, f"stride is {stride.value}; allowed: 1 or more")
    chosen = range(0, read.frames, stride.value)
    atoms = [Atoms(read.numbers, read.positions[index], masses=read.masses, cell=read.cell, pbc=read.pbc) for index in chosen]
    if read.cell is None:
        # one box and so one grid for all frames: energies on different grids do not compare
        cell = max((boxed(each).cell for each in atoms), key=lambda cell: float(cell.volume))
        for each in atoms:
            each.cell = cell
    return {
        f"step_{int(read.step[index]):09d}": orm.StructureData(ase=boxed(each))
        for index, each in zip(chosen, atoms, strict=True)
    }


@calcfunction
def dataset_of(summary: orm.Dict, **labels: orm.ArrayData) -> DatasetData:
    """One dataset of the labels of all frames, in the order of their names.

    An array is kept if every frame has it in the same shape; numbers are those of the first frame. labels.json says frame by
    frame which remedies its job needed and what a reader must know, and by what the polarizabilities were computed.
    """
    nodes = [labels[name] for name in sorted(labels)]
    shared = set.intersection(*(set(node.get_arraynames()) for node in nodes))
    arrays = {
        name: np.concatenate([node.get_array(name) for node in nodes])
        for name in sorted(shared - {"numbers", "frame"})
        if len({node.get_array(name).shape for node in nodes}) == 1
    }
    arrays |= on_one_branch(arrays)
    if "dipole_modulo" in arrays:
        del arrays["dipole"]
    arrays["numbers"] = nodes[0].get_array("numbers")
    arrays["frame"] = np.arange(len(nodes))
    record = {**summary.get_dict(), "names": sorted(labels), **said_of(labels)}
    by = [kind for kind in POLARIZABILITIES if any(f"polarizability_{kind}" in node.get_arraynames() for node in nodes)]
    record["settings"] = {**record["settings"], "polarizability": by}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(folder / "labels.npz", arrays)
        write_text(folder / "labels.json", json.dumps(record, indent=2))
        return DatasetData.from_labels(folder / "labels.npz", folder / "labels.json")


def said_of(labels: Mapping[str, orm.ArrayData]) -> dict[str, dict[str, list[str]]]:
    """``remedies`` and ``warnings``: name of each frame that has some → its lines."""
    found = {
        key: {name: lines for name in sorted(labels) if (lines := labels[name].base.attributes.get(key, []))}
        for key in ("remedies", "warnings")
    }
    return {key: of_frames for key, of_frames in found.items() if of_frames}


def on_one_branch(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What takes the place of dipoles that are known modulo a quantum: those of one frame and the next must compare.

    Where :func:`.settled_dipole` cannot tell the branch, the dipole is kept as ``dipole_modulo``, which nothing learns from.

    Args:
        arrays: as for :func:`.settled_dipole`.
    """
    if "dipole_quantum" not in arrays:
        return {}
    settled = settled_dipole(arrays)
    return {"dipole_modulo": arrays["dipole"]} if settled is None else {"dipole": settled}


class Cp2kLabelWorkChain(SubmitsOnce, WorkChain):
    """Frames, labels a few at a time, one dataset; a frame that fails does not stop the others."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input("code", valid_type=orm.AbstractCode, help="CP2K.")
        spec.input("converter", valid_type=orm.AbstractCode, help="Python on the same computer.")
        spec.input_namespace(
            "structures", valid_type=orm.StructureData, required=False, help="Frames by name, all of the same atoms."
        )
        spec.input("trajectory", valid_type=TrajectoryFile, required=False, help="Frames instead of structures.")
        spec.input("stride", valid_type=orm.Int, default=lambda: orm.Int(1), help="Take every how many-th frame of it.")
        spec.input("settings", valid_type=orm.Dict, help="Record of Cp2kSettings.")
        spec.input(
            "wanted",
            valid_type=orm.Dict,
            default=lambda: orm.Dict(WANTED),
            help="wannier, stress (true or false), polarizability (list of field, linres), field (a.u.), its axes (xyz).",
        )
        spec.input("options", valid_type=orm.Dict, required=False, help="metadata.options of each job.")
        spec.input("at_once", valid_type=orm.Int, default=lambda: orm.Int(4), help="Jobs at the same time.")
        spec.input("max_failed", valid_type=orm.Float, default=lambda: orm.Float(0.1), help="Fraction that may fail.")
        spec.output("dataset", valid_type=DatasetData)
        spec.output_namespace(
            "partial_labels",
            valid_type=orm.ArrayData,
            required=False,
            help="What a frame that failed has nevertheless; its attribute missing says what is not there and why.",
        )
        spec.output("failures", valid_type=orm.Dict, required=False, help="Frame to reason, where one failed.")
        spec.outline(
            cls.take_frames,
            while_(cls.frames_are_left)(
                cls.label_some,
                cls.note_failures,
            ),
            cls.gather,
        )
        spec.exit_code(210, "ERROR_INPUT", message="{message}")
        spec.exit_code(310, "ERROR_LABELS_FAILED", message="{message}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode,
        structures: Mapping[str, orm.StructureData] | TrajectoryFile,
        protocol: str = "balanced",
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        functional: str = "PBE-D3",
        wanted: Mapping[str, Any] | None = None,
        stride: int = 1,
        converter: orm.AbstractCode | None = None,
    ) -> ProcessBuilder:
        """Inputs of the labels of these frames.

        Args:
            code, protocol, overrides, options, functional, converter: as for the base work chain.
            structures: frames by name, or a trajectory of which every ``stride``-th frame is taken.
            wanted: what is computed beside energy, forces and dipole; :data:`WANTED` has the defaults.

        Raises:
            InputError: an unknown protocol or functional, or a value that is not allowed.
        """
        builder = cls.get_builder()
        builder.code = code
        builder.converter = converter or orm.load_code(f"python@{code.computer.label}")
        if isinstance(structures, TrajectoryFile):
            builder.trajectory = structures
            builder.stride = orm.Int(stride)
        else:
            builder.structures = dict(structures)
        builder.settings = orm.Dict(Cp2kSettings.from_protocol(protocol, functional, dict(overrides or {})).record())
        if wanted is not None:
            builder.wanted = orm.Dict(dict(wanted))
        if options is not None:
            builder.options = orm.Dict(dict(options))
        return builder

    def take_frames(self) -> ExitCode | None:
        """The frames, and a check of what is asked for."""
        if ("trajectory" in self.inputs) == bool(self.inputs.get("structures")):
            return self.exit_codes.ERROR_INPUT.format(message="give either structures or a trajectory")
        if "trajectory" in self.inputs:
            frames, node = frames_of.run_get_node(self.inputs.trajectory, self.inputs.stride)
            if not node.is_finished_ok:
                return self.exit_codes.ERROR_INPUT.format(message=node.exit_message)
        else:
            frames = {name: in_a_box(structure) for name, structure in self.inputs.structures.items()}
        self.ctx.frames = dict(frames)
        self.ctx.left = sorted(self.ctx.frames)
        self.ctx.failures = {}
        self.ctx.labelled = []
        try:
            wanted = self._wanted()
            Cp2kSettings(**self.inputs.settings.get_dict())
            kinds = {tuple(structure.get_ase().numbers) for structure in self.ctx.frames.values()}
            if len(kinds) != 1:
                raise InputError(f"structures: {len(kinds)} different lists of atoms; label one system at a time")
            self.report(f"{len(self.ctx.left)} frames; beside energy, forces and dipole: {wanted}")
        except (InputError, ValueError) as error:
            return self.exit_codes.ERROR_INPUT.format(message=" ".join(str(error).split()))
        return None

    def frames_are_left(self) -> bool:
        """Whether a frame was not begun yet."""
        return bool(self.ctx.left)

    def label_some(self) -> ToContext:
        """Submit the next frames: the first alone, for the others start from its wavefunction."""
        first = next((name for name in self.ctx.labelled), None)
        count = self.inputs.at_once.value if self.ctx.labelled or self.ctx.failures else 1
        frames, self.ctx.left = self.ctx.left[:count], self.ctx.left[count:]
        ready: dict[str, dict[str, Any]] = {}
        for name in frames:
            try:
                ready[name] = self._inputs_of(self.ctx.frames[name])
            except InputError as error:
                self._note(name, str(error))
                continue
            if first is not None:
                ready[name]["job"]["previous"] = self.ctx[f"label_{first}"].outputs.remote_folder
            ready[name]["metadata"] = {"call_link_label": f"label_{name}"}
        self.ctx.now = list(ready)
        return ToContext(**{f"label_{name}": self.submit(Cp2kBaseWorkChain, **inputs) for name, inputs in ready.items()})

    def note_failures(self) -> None:
        """Keep the reason of each frame that failed."""
        for name in self.ctx.now:
            message = failure_of(self.ctx[f"label_{name}"])
            if message is None:
                self.ctx.labelled = [*self.ctx.labelled, name]
            else:
                self._note(name, message)

    def _note(self, name: str, message: str) -> None:
        self.ctx.failures = {**self.ctx.failures, name: message}
        self.report(f"frame {name}: {message}")

    def gather(self) -> ExitCode | None:
        """One dataset of what was labelled."""
        frames, failures = len(self.ctx.frames), self.ctx.failures
        if failures:
            self.out("failures", orm.Dict(failures).store())
            ended = {name: self.ctx[f"label_{name}"] for name in failures if f"label_{name}" in self.ctx}
            if not ended and len(failures) == frames:
                return self.exit_codes.ERROR_INPUT.format(message=failures[min(failures)])  # refused, every one
            if partial := {name: chain.outputs.labels for name, chain in ended.items() if "labels" in chain.outputs}:
                self.out("partial_labels", partial)
        if len(failures) > self.inputs.max_failed.value * frames or not self.ctx.labelled:
            name = min(failures)
            allowed = f"allowed is a fraction of {self.inputs.max_failed.value:g}"
            message = f"{len(failures)} of {frames} frames failed, {allowed}; {name}: {failures[name]}"
            return self.exit_codes.ERROR_LABELS_FAILED.format(message=message)
        summary = {
            "settings": {"engine": "cp2k", **self.inputs.settings.get_dict(), **self._wanted()},
            "versions": versions(),
            "frames": frames,
            "labelled": len(self.ctx.labelled),
            "failed": len(failures),
        }
        labels = {name: self.ctx[f"label_{name}"].outputs.labels for name in self.ctx.labelled}
        self.out("dataset", dataset_of(orm.Dict(summary), **labels))
        return None

    def _wanted(self) -> dict[str, Any]:
        given = self.inputs.wanted.get_dict()
        if unknown := sorted(set(given) - set(WANTED)):
            raise InputError(f"wanted: {unknown[0]}: allowed: {', '.join(WANTED)}")
        wanted = {**WANTED, **given}
        if other := [kind for kind in wanted["polarizability"] if kind not in POLARIZABILITIES]:
            raise InputError(f"wanted: polarizability: {other[0]}: allowed: {', '.join(POLARIZABILITIES)}")
        return wanted

    def _inputs_of(self, structure: orm.StructureData) -> dict[str, Any]:
        """Inputs of the job of one frame."""
        wanted = self._wanted()
        settings = Cp2kSettings(**self.inputs.settings.get_dict())
        atoms = structure.get_ase()
        by_field = "field" in wanted["polarizability"]
        followups: dict[str, dict[str, Any]] = {}
        if by_field:
            followups |= field_followups(atoms, settings, wanted["field"], wanted["axes"], wannier=wanted["wannier"])
        if "linres" in wanted["polarizability"]:
            followups |= linres_followup(atoms, settings)
        asked = {"forces", "dipole"} | {name for name in ("wannier", "stress") if wanted[name]}
        asked |= {f"field_{axis}" for axis in wanted["axes"] if by_field} | {"linres"} & set(wanted["polarizability"])
        record = {"method": settings.record(), "warnings": refuse(atoms, settings, asked)}
        record |= {"field": wanted["field"]} if by_field else {}
        parameters = single_point(atoms, settings, wannier=wanted["wannier"], stress=wanted["stress"])
        job: dict[str, Any] = {
            "code": self.inputs.code,
            "converter": self.inputs.converter,
            "structure": structure,
            "parameters": orm.Dict(parameters),
            "followups": {name: orm.Dict(entry) for name, entry in followups.items()},
            "record": orm.Dict(record),
        }
        if "options" in self.inputs:
            job["metadata"] = {"options": self.inputs.options.get_dict()}
        return {"job": job}
