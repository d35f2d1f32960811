"""CalcJob of the point-charge response: dipole and currents from the charges of a classical model."""

from __future__ import annotations

from aiida import orm
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.deepmd.calcjob import trajectory_files
from vibraloom.calculators.script import ScriptCalculation
from vibraloom.nodes.trajectory import TrajectoryFile


class ChargeResponseCalculation(ScriptCalculation):
    """Dipole M = Σ q r and current J = Σ q v, in all, by species and by layer."""

    MODULE = "vibraloom.calculators.charges.response"
    PARSER = "vibraloom.response"
    RETRIEVE = (("response-*.npz", ".", 0),)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace("trajectories", valid_type=TrajectoryFile, help="H5MD trajectories, one per replica.")
        spec.output_namespace(
            "responses", valid_type=orm.SinglefileData, help="npz per replica: step, dipole (e·Å), currents (e·Å/fs)."
        )

    def nodes(self) -> list[tuple[str, str, str]]:
        return trajectory_files(self.inputs.trajectories)
