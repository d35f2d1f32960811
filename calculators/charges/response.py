"""Response of fixed point charges along a trajectory: dipole M = Σ q r, current J = Σ q v, in all, by species
and by layer.

As a job, ``python -m vibraloom.calculators.charges.response job.json`` reads each ``trajectory-RR.h5`` in the
job's folder and writes ``response-RR.npz``. Keys of job.json: ``charges`` (e, one per atom), ``molecules``
(ids, one per atom, -1 for the slab), and optionally ``layers`` ({"edges": [Å], "names": [...], "width": Å}).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import h5py
import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.charges.elements import SYMBOLS
from vibraloom.calculators.job import Progress, required, run_job
from vibraloom.durable import replacing
from vibraloom.errors import InputError
from vibraloom.files.trajectory import read_trajectory
from vibraloom.structures.layers import WIDTH, layer_weights

NEUTRAL = 1e-6
"""(e) A molecule with more charge than this has a dipole that depends on the origin."""
BLOCK_BYTES = 32 * 1024 * 1024
"""Memory of one block of positions in float64."""
PART = "part:"
"""Prefix of the parts' names in the npz file."""


@dataclass(frozen=True)
class Layers:
    """Layers along z, as :func:`vibraloom.structures.layers.layer_weights` takes them: edges and width in
    Å."""

    edges: tuple[float, ...]
    names: tuple[str, ...]
    width: float = WIDTH


@dataclass
class ResponseSeries:
    """Dipole and currents along a trajectory.

    Attributes:
        step: Array of int64 with shape (F,), integration steps.
        timestep: (fs) integration time step.
        dipole: (e·Å) Array with shape (F, 3).
        current: (e·Å/fs) Array with shape (F, 3), the dipole's time derivative.
        parts: ``species/O``, ``layer/contact``, … → (e·Å/fs) Array with shape (F, 3); the species, and the
            layers, sum to the current.
    """

    step: NDArray[np.int64]
    timestep: float
    dipole: NDArray[np.float64]
    current: NDArray[np.float64]
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write an npz file, whole or not at all: step, timestep, dipole, current, ``part:species/O``, …

        Raises:
            ComputationError: the disk is full or the folder cannot be written.
        """
        arrays: dict[str, Any] = {PART + name: values for name, values in self.parts.items()}
        arrays |= {
            "step": self.step,
            "timestep": np.float64(self.timestep),
            "dipole": self.dipole,
            "current": self.current,
        }
        with replacing(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **arrays)


def read_response(path: str | Path) -> ResponseSeries:
    """Read what :meth:`ResponseSeries.write` wrote.

    Raises:
        InputError: no such file, no npz file, or an array is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return ResponseSeries(
                step=stored["step"],
                timestep=float(stored["timestep"]),
                dipole=stored["dipole"],
                current=stored["current"],
                parts={name.removeprefix(PART): stored[name] for name in stored.files if name.startswith(PART)},
            )
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path}: not a response file with step, timestep, dipole and current; make it again"
        ) from error


def charge_response(
    trajectory: str | Path,
    charges: NDArray[np.floating],
    molecules: NDArray[np.integer],
    layers: Layers | None = None,
) -> ResponseSeries:
    """Dipole and currents of fixed charges along an H5MD trajectory, block by block of frames.

    A layer's current is Σ w(z) Σ q v with z the molecule's centre of mass in each frame: the weight acts on
    the time derivative, since
    d/dt of Σ w(z) μ would add the spurious (dw/dt) μ.

    Args:
        trajectory: file with unwrapped positions and velocities.
        charges: (e) Array with shape (A,).
        molecules: Array of int with shape (A,), molecule ids, -1 for the slab.
        layers: layers along z, or None.

    Raises:
        InputError: lengths that do not fit, no velocities, or a molecule or a slab that is not neutral.
    """
    header = read_trajectory(trajectory, arrays=False)
    q = np.asarray(charges, dtype=np.float64)
    owners = np.asarray(molecules, dtype=np.int64)
    atoms = len(header.numbers)
    for key, shape in (("charges", q.shape), ("molecules", owners.shape)):
        if shape != (atoms,):
            raise InputError(f"{key}: shape {shape}, but {trajectory} has {atoms} atoms; give one value per atom")
    if not np.isfinite(q).all():
        raise InputError(f"charges: atom {int(np.argmin(np.isfinite(q)))} has a charge that is not a number")
    _check_neutral(q, owners, layers is not None)
    frames = header.frames
    dipole, current = np.empty((frames, 3)), np.empty((frames, 3))
    species = {f"species/{SYMBOLS[number]}": header.numbers == number for number in np.unique(header.numbers)}
    names = [*species, *(f"layer/{name}" for name in (layers.names if layers else ()))]
    parts = {name: np.zeros((frames, 3)) for name in names}
    # Atoms sorted by molecule: a sum over each molecule is one reduceat. Slab atoms (id -1) belong to none.
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] >= 0]
    starts = np.flatnonzero(np.diff(owners[order], prepend=-1))
    masses = header.masses[order]
    weights = np.add.reduceat(masses, starts) if len(starts) else np.empty(0)
    for chunk, positions, velocities in _blocks(trajectory, frames, atoms):
        dipole[chunk] = np.einsum("a,fax->fx", q, positions)
        flow = q[None, :, None] * velocities
        current[chunk] = flow.sum(axis=1)
        for name, selected in species.items():
            parts[name][chunk] = flow[:, selected].sum(axis=1)
        if layers is not None and len(starts):
            heights = np.add.reduceat(masses * positions[:, order, 2], starts, axis=1) / weights
            molecular = np.add.reduceat(flow[:, order], starts, axis=1)
            for name, weight in layer_weights(heights, layers.edges, layers.names, layers.width).items():
                parts[f"layer/{name}"][chunk] = np.einsum("fm,fmx->fx", weight, molecular)
    return ResponseSeries(header.step, header.timestep, dipole, current, parts)


def _check_neutral(q: NDArray[np.float64], owners: NDArray[np.int64], layered: bool) -> None:
    ids, member = np.unique(owners, return_inverse=True)
    totals = np.bincount(member, weights=q)
    if np.abs(totals).max(initial=0.0) > NEUTRAL:
        worst = int(np.argmax(np.abs(totals)))
        owner = "the slab" if ids[worst] < 0 else f"molecule {int(ids[worst])}"
        raise InputError(
            f"charges: {owner} carries {totals[worst]:+.6g} e; its dipole depends on the origin, "
            "so only neutral ones are allowed"
        )
    if layered and np.abs(q[owners < 0]).max(initial=0.0) > NEUTRAL:
        raise InputError("charges: slab atoms carry charges, which belong to no layer; leave the layers out")


def _blocks(
    trajectory: str | Path, frames: int, atoms: int
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    size = max(1, BLOCK_BYTES // (atoms * 3 * 8))
    with h5py.File(trajectory, "r") as handle:
        particles = handle["particles/all"]
        if "velocity" not in particles:
            raise InputError(f"{trajectory}: has no velocities; run the dynamics with velocities written")
        for first in range(0, frames, size):
            chunk = slice(first, min(first + size, frames))
            positions = particles["position/value"][chunk].astype(np.float64)
            velocities = particles["velocity/value"][chunk].astype(np.float64)
            for name, values in (("position", positions), ("velocity", velocities)):
                if not np.isfinite(values).all():
                    bad = first + int(np.argmin(np.isfinite(values).all(axis=(1, 2))))
                    raise InputError(
                        f"{trajectory}: frame {bad} has a {name} that is not a number; run the dynamics again"
                    )
            yield chunk, positions, velocities


def main(job: dict[str, Any], progress: Progress) -> None:
    """Response of every ``trajectory-RR.h5`` in the present folder."""
    paths = sorted(Path().glob("trajectory-*.h5"))
    if not paths:
        raise InputError("trajectory-*.h5: no such file in the job's folder; run the dynamics first")
    charges, molecules = np.asarray(required(job, "charges")), np.asarray(required(job, "molecules"))
    layers = None
    if job.get("layers"):
        entry = job["layers"]
        layers = Layers(
            tuple(float(edge) for edge in required(entry, "edges")),
            tuple(required(entry, "names")),
            float(entry.get("width", WIDTH)),
        )
    for count, path in enumerate(paths):
        progress(count, len(paths), f"response of {path.name}")
        series = charge_response(path, charges, molecules, layers)
        series.write(f"response-{path.stem.removeprefix('trajectory-')}.npz")
    progress(len(paths), len(paths), "response")


if __name__ == "__main__":
    run_job(main)
