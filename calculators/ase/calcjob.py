"""CalcJobs that run ASE-driven scripts: sampling, replica dynamics, harmonic modes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.script import ScriptCalculation, ScriptParser, existing, structure_file
from vibraloom.errors import ComputationError
from vibraloom.nodes.model import ModelData
from vibraloom.nodes.trajectory import TrajectoryFile


class SamplingCalculation(ScriptCalculation):
    """Hot, cheap dynamics (GFN2-xTB) whose frames are labelled afterwards."""

    MODULE = "vibraloom.calculators.ase.sampling"
    PARSER = "vibraloom.ase.sampling"
    RETRIEVE = ("frames.extxyz",)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Molecule to start from.")
        spec.output("frames", valid_type=orm.SinglefileData, help="Sampled geometries, extxyz, Å.")

    def files(self) -> dict[str, bytes]:
        return {"structure.extxyz": structure_file(self.inputs.structure)}


class SamplingParser(ScriptParser):
    """Keeps the sampled frames."""

    def collect(self, folder: Path) -> dict[str, Any]:
        self.out("frames", orm.SinglefileData(file=str(existing(folder, "frames.extxyz"))))
        return {}


class AseDynamicsCalculation(ScriptCalculation):
    """Replica molecular dynamics on a learned surface, NVE after a thermostatted start."""

    MODULE = "vibraloom.calculators.ase.dynamics"
    PARSER = "vibraloom.ase.dynamics"
    RETRIEVE = (("trajectory-*.h5", ".", 0), "exploded.extxyz")

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Structure to start from.")
        spec.input(
            "model",
            valid_type=ModelData,
            required=False,
            help="Energy surface; without it the engine is in the parameters.",
        )
        spec.output_namespace("trajectories", valid_type=TrajectoryFile, help="One H5MD trajectory per replica.")

    def files(self) -> dict[str, bytes]:
        return {"structure.extxyz": structure_file(self.inputs.structure)}

    def entries(self) -> dict[str, Any]:
        return {"engine": {"kind": "deepmd", "model": "model.pb"}} if "model" in self.inputs else {}

    def nodes(self) -> list[tuple[str, str, str]]:
        return [(self.inputs.model.uuid, self.inputs.model.filename, "model.pb")] if "model" in self.inputs else []


class DynamicsParser(ScriptParser):
    """Turns ``trajectory-RR.h5`` into nodes ``trajectories.replica_RR``."""

    def collect(self, folder: Path) -> dict[str, Any]:
        paths = sorted(folder.glob("trajectory-*.h5"))
        if not paths:
            raise ComputationError("dynamics: no trajectory-*.h5 was written; look at job.err of this job")
        for path in paths:
            self.out(f"trajectories.replica_{path.stem.split('-')[1]}", TrajectoryFile.from_file(path))
        return {"replicas": len(paths)}


class HarmonicCalculation(ScriptCalculation):
    """Optimised geometry and harmonic modes by finite displacements, with IR and Raman intensities."""

    MODULE = "vibraloom.calculators.ase.harmonic"
    PARSER = "vibraloom.ase.harmonic"
    RETRIEVE = ("harmonic.json", "harmonic.npz")

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Structure to start from.")
        spec.input_namespace(
            "models", valid_type=ModelData, required=False, help="Surfaces by target: energy, dipole, polarizability."
        )
        spec.output(
            "modes",
            valid_type=orm.Dict,
            help="Wavenumbers (cm⁻¹), intensities (km/mol), activities (Å⁴/amu), geometry (Å).",
        )
        spec.output("arrays", valid_type=orm.SinglefileData, help="Hessian and derivatives (npz).")

    def files(self) -> dict[str, bytes]:
        return {"structure.extxyz": structure_file(self.inputs.structure)}

    def entries(self) -> dict[str, Any]:
        models = self.inputs.get("models", {})
        if not models:
            return {}
        engine = {"kind": "deepmd", "model": "model-energy.pb"}
        engine |= {target: f"model-{target}.pb" for target in models if target != "energy"}
        return {"engine": engine}

    def nodes(self) -> list[tuple[str, str, str]]:
        models = self.inputs.get("models", {})
        return [(model.uuid, model.filename, f"model-{target}.pb") for target, model in models.items()]


class HarmonicParser(ScriptParser):
    """Keeps the modes as a Dict and the arrays as a file."""

    def collect(self, folder: Path) -> dict[str, Any]:
        self.out("modes", orm.Dict(json.loads(existing(folder, "harmonic.json").read_text(encoding="utf-8"))))
        self.out("arrays", orm.SinglefileData(file=str(existing(folder, "harmonic.npz"))))
        return {}
