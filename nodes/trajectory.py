"""TrajectoryFile: an H5MD trajectory as an AiiDA node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.orm import SinglefileData

from vibraloom.files.trajectory import SCHEMA, read_trajectory


class TrajectoryFile(SinglefileData):
    """One H5MD file; frames, steps, time step, atoms and the run's own entries are attributes."""

    @classmethod
    def from_file(cls, path: Path) -> TrajectoryFile:
        """Make an unstored node from an H5MD file.

        Raises:
            InputError: not an H5MD file of this project.
        """
        trajectory = read_trajectory(path, arrays=False)
        node = cls(file=str(path), filename="trajectory.h5")
        node.base.attributes.set_many(
            {
                "schema": SCHEMA,
                "frames": trajectory.frames,
                "first_step": int(trajectory.step[0]),
                "last_step": int(trajectory.step[-1]),
                "frame_interval_fs": trajectory.frame_interval,
                "timestep_fs": trajectory.timestep,
                "atoms": len(trajectory.numbers),
                "observables": sorted(trajectory.observables),
                "run": {key: _plain(value) for key, value in trajectory.attributes.items()},
            }
        )
        return node


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
