"""CalcJob from trajectories and responses to spectra; it runs next to the data, only spectra come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.correlation.temperature import temperature_stamp
from vibraloom.calculators.deepmd.calcjob import trajectory_files
from vibraloom.calculators.script import ScriptCalculation, ScriptParser
from vibraloom.errors import ComputationError
from vibraloom.files.tables import read_json
from vibraloom.nodes.spectrum import SpectrumData
from vibraloom.nodes.trajectory import TrajectoryFile


class CorrelationCalculation(ScriptCalculation):
    """Spectra by autocorrelation, with block errors, verdict and conventions."""

    MODULE = "vibraloom.calculators.correlation.job"
    PARSER = "vibraloom.correlation"
    RETRIEVE = (("spectrum-*.json", ".", 0),)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace("trajectories", valid_type=TrajectoryFile, help="H5MD trajectories, one per replica.")
        spec.input_namespace(
            "responses", valid_type=orm.SinglefileData, help="Dipole, polarizability or currents, one per replica."
        )
        spec.input(
            "modes", valid_type=orm.Dict, required=False, help="Harmonic modes whose geometry defines the Eckart frame."
        )
        spec.output_namespace("spectra", valid_type=SpectrumData, help="One node per spectrum.")

    def entries(self) -> dict[str, Any]:
        if "modes" not in self.inputs:
            return {}
        return {"reference_positions": self.inputs.modes.get_dict()["positions"]}

    def nodes(self) -> list[tuple[str, str, str]]:
        responses = [
            (node.uuid, node.filename, f"response-{label.removeprefix('replica_')}.npz")
            for label, node in sorted(self.inputs.responses.items())
        ]
        return trajectory_files(self.inputs.trajectories) + responses


class CorrelationParser(ScriptParser):
    """Turns ``spectrum-<label>.json`` into SpectrumData nodes ``spectra.<label>``."""

    def collect(self, folder: Path) -> dict[str, Any]:
        paths = sorted(folder.glob("spectrum-*.json"))
        if not paths:
            raise ComputationError("spectra: no spectrum-*.json was written; look at job.err in the job's folder")
        job = self.node.inputs.parameters.get_dict()
        context = job["context"]
        for path in paths:
            label = path.stem.removeprefix("spectrum-")
            spectrum = read_json(path)
            stamp = temperature_stamp(spectrum.conventions.extra.get("mean_temperature"), job["temperature"])
            stamped = context if stamp is None else {**context, "stamps": [*context["stamps"], stamp]}
            self.out(f"spectra.{label}", SpectrumData.from_spectrum(spectrum, stamped))
        return {"spectra": len(paths)}
