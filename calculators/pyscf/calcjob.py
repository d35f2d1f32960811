"""CalcJob of the labels: energy, forces, dipole and ± field polarizability by pyscf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.script import ScriptCalculation, ScriptParser, existing
from vibraloom.nodes.dataset import DatasetData


class LabelCalculation(ScriptCalculation):
    """Labels every frame; a failed frame is recorded and does not stop the others."""

    MODULE = "vibraloom.calculators.pyscf.labels"
    PARSER = "vibraloom.pyscf.labels"
    RETRIEVE = ("labels.npz", "labels.json", "failures.json")

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("frames", valid_type=orm.SinglefileData, help="Geometries, extxyz, Å.")
        spec.output("dataset", valid_type=DatasetData, help="Labelled frames.")

    def nodes(self) -> list[tuple[str, str, str]]:
        return [(self.inputs.frames.uuid, self.inputs.frames.filename, "frames.extxyz")]


class LabelParser(ScriptParser):
    """Turns ``labels.npz`` into a DatasetData."""

    def collect(self, folder: Path) -> dict[str, Any]:
        self.out("dataset", DatasetData.from_labels(existing(folder, "labels.npz"), existing(folder, "labels.json")))
        return {}
