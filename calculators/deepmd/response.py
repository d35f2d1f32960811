"""Dipole and polarizability along trajectories by deepmd-kit's tensor models.

Run as ``python -m vibraloom.calculators.deepmd.response job.json``. Keys: dipole, polarizability (model
files, at least one of them); optional batch (frames per call, 1000), previous (folder of an earlier attempt).
Each trajectory-RR.h5 of the folder becomes response-RR.npz: step, timestep (fs), dipole (e·Å) (F, 3),
polarizability (Å³) (F, 3, 3), both summed over the molecule or cell. Finished replicas are not computed
again.
"""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.ase.engines import open_deepmd
from vibraloom.calculators.deepmd.plane_markers import MARKER, with_markers
from vibraloom.calculators.job import Progress, run_job, whole_number, write_arrays
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.trajectory import read_trajectory

Array = NDArray[np.float64]

EVALUATORS = {"dipole": "DeepDipole", "polarizability": "DeepPolar"}
SHAPES = {"dipole": (3,), "polarizability": (3, 3)}


class TensorModel:
    """A trained dipole (e·Å) or polarizability (Å³) of a fixed list of atoms."""

    def __init__(self, path: str | Path, target: str, numbers: list[int]) -> None:
        """Open the model.

        Args:
            path: frozen model.
            target: dipole or polarizability.
            numbers: atomic numbers.

        Raises:
            InputError, MissingError: see :func:`vibraloom.calculators.ase.engines.open_deepmd`.
        """
        self._path, self._target = path, target
        self._model, types = open_deepmd(path, numbers, EVALUATORS[target])
        names = list(self._model.get_type_map())
        self._marked = MARKER in names
        self._types = np.append(types, [names.index(MARKER)] * 2) if self._marked else types

    def __call__(self, positions: Array, cell: Array | None = None) -> Array:
        """Sum over the atoms, (F, 3) or symmetric (F, 3, 3), at positions (Å) (F, A, 3) in a cell (Å), (3, 3) or (F, 3, 3).

        Raises:
            ComputationError: the model gives a value that is not a number.
        """
        return self._evaluated(positions, cell, atomic=False)

    def atomic(self, positions: Array, cell: Array | None = None) -> Array:
        """Share of each atom, (F, A, 3) or (F, A, 3, 3); zero on those that the model gives none. Virtual sites have theirs, too.

        Raises:
            ComputationError: the model gives a value that is not a number.
        """
        return self._evaluated(positions, cell, atomic=True)

    def _evaluated(self, positions: Array, cell: Array | None, *, atomic: bool) -> Array:
        frames = len(positions)
        places = np.asarray(positions, dtype=np.float64)
        if self._marked:
            places = with_markers(places)
        cells = None if cell is None else np.broadcast_to(cell, (frames, 3, 3)).reshape(frames, 9)
        values = np.asarray(self._model.eval(places.reshape(frames, -1), cells, self._types, atomic=atomic), dtype=np.float64)
        if not (good := np.isfinite(values.reshape(frames, -1)).all(axis=1)).all():
            bad = int(np.argmin(good))
            raise ComputationError(f"{self._path}: {self._target} of frame {bad} is not a number; train it again")
        tensor = values.reshape(*values.shape[:-1], *SHAPES[self._target])
        return tensor if self._target == "dipole" else 0.5 * (tensor + tensor.swapaxes(-1, -2))


def respond(
    path: str | Path,
    models: dict[str, str],
    batch: int,
    opened: dict[tuple[str, tuple[int, ...]], TensorModel],
) -> dict[str, NDArray[Any]]:
    """Evaluate ``models`` (target to file) on every frame of one trajectory.

    Args:
        path: H5MD file.
        models: dipole and/or polarizability to a model file.
        batch: frames per call.
        opened: models that are open already, kept between trajectories of the same atoms.
    """
    trajectory = read_trajectory(path)
    positions = trajectory.positions.astype(np.float64)
    if not np.isfinite(positions).all():
        bad = int(np.argmin(np.isfinite(positions).all(axis=(1, 2))))
        raise InputError(f"{path}: frame {bad} has a position that is not a number; run the dynamics again")
    numbers = tuple(int(number) for number in trajectory.numbers)
    cell = trajectory.cell if any(trajectory.pbc) else None
    arrays: dict[str, NDArray[Any]] = {
        "step": trajectory.step,
        "timestep": np.float64(trajectory.timestep),  # type: ignore[dict-item]
    }
    for target, model in models.items():
        key = (target, numbers)
        if key not in opened:
            opened[key] = TensorModel(model, target, list(numbers))
        parts = [opened[key](positions[start : start + batch], cell) for start in range(0, len(positions), batch)]
        arrays[target] = np.concatenate(parts)
    return arrays


def _fingerprint(path: Path, models: dict[str, str]) -> str:
    """sha256 of trajectory and models: what a finished response must have been made from."""
    digest = sha256()
    for file in (path, *map(Path, sorted(models.values()))):
        if not file.is_file():
            raise InputError(f"{file}: no such model file; train one or name it")
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _finished(path: Path, fingerprint: str) -> bool:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["source_sha256"]) == fingerprint
    except (OSError, KeyError, ValueError):
        return False


def main(job: dict[str, Any], progress: Progress) -> None:
    """Response of every trajectory-RR.h5; see the module's text for the keys.

    Raises:
        InputError: no trajectory, no model, or frames that are not numbers.
    """
    models = {target: str(job[target]) for target in EVALUATORS if target in job}
    if not models:
        raise InputError("job.json: neither dipole nor polarizability names a model file; give one or both")
    batch = whole_number(job, "batch", 1000)
    paths = sorted(Path().glob("trajectory-*.h5"))
    if not paths:
        raise InputError("trajectory-*.h5: no such file in the job's folder; run the dynamics first")
    if "previous" in job:
        for source in sorted(Path(job["previous"]).glob("response-*.npz")):
            if not Path(source.name).exists():
                shutil.copyfile(source, source.name)
    opened: dict[tuple[str, tuple[int, ...]], TensorModel] = {}
    for count, path in enumerate(paths):
        progress(count, len(paths), "trajectories")
        target = Path(f"response-{path.stem.removeprefix('trajectory-')}.npz")
        fingerprint = _fingerprint(path, models)
        if _finished(target, fingerprint):
            continue
        arrays = respond(path, models, batch, opened)
        write_arrays(target, {"source_sha256": np.array(fingerprint), **arrays})
    progress(len(paths), len(paths), "trajectories")


if __name__ == "__main__":
    run_job(main)
