"""In which layer of a film each atom is, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.correlation.replicas import Replica
from vibraloom.calculators.job import required
from vibraloom.files.frames import Frames
from vibraloom.files.h5md_frames import stored_frames
from vibraloom.files.trajectory import Trajectory
from vibraloom.structures.layers import layer_weights
from vibraloom.structures.molecules import membership, molecule_centres


@dataclass
class LayerWeights:
    """Weight of each liquid atom in one layer, by its molecule's centre of mass in each frame; read as it is needed.

    Attributes:
        positions: of the liquid, in the trajectory's file.
        trajectory: what else is known of it: cell and periodicity.
        atoms: Array of int with shape (A,), the liquid's atoms.
        member: Array of int with shape (A,), molecule of each atom; None where bonds break: it is then found in each frame.
        layers: edges (Å), names and width (Å).
        name: the layer.
    """

    positions: Frames
    trajectory: Trajectory
    atoms: NDArray[np.int64]
    member: NDArray[np.int64] | None
    layers: dict[str, Any]
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """(F, A)."""
        return self.positions.shape[:2]

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Weights in frames ``start`` to ``stop``: Array with shape (stop - start, A)."""
        places, masses = self.positions.read(start, stop), self.trajectory.masses[self.atoms]
        if self.member is not None:
            heights = molecule_centres(places, masses, self.member)[:, self.member, 2]
        else:
            cell, pbc = self.trajectory.cell, self.trajectory.pbc
            # without the slab's atoms: a hydrogen that went to one of them is a molecule by itself
            member = membership(places, self.trajectory.numbers[self.atoms], cell, pbc)
            centres = molecule_centres(places, masses, member, cell, pbc)[..., 2]
            heights = np.take_along_axis(centres, member, axis=1)
        weights = layer_weights(heights, self.layers["edges"], self.layers["names"], self.layers["width"])
        return weights[self.name]


def layer_memberships(
    job: dict[str, Any], replicas: Sequence[Replica], liquid: NDArray[np.int64]
) -> dict[str, list[LayerWeights]]:
    """Layer weights of the liquid: label → one per replica."""
    layers = required(job, "layers")
    member = None if job.get("bonds_break") else np.asarray(job["molecules"])[liquid]
    return {
        f"layer/{name}": [
            LayerWeights(stored_frames(entry.path, "position", atoms=liquid), entry.trajectory, liquid, member, layers, name)
            for entry in replicas
        ]
        for name in layers["names"]
    }
