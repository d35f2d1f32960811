"""What the spectra are made of: one trajectory and its response per replica, aligned by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.trajectory import Trajectory, frame_interval, read_trajectory


@dataclass
class Replica:
    """One trajectory (its positions and velocities stay in the file) and its response, aligned by step."""

    path: Path
    trajectory: Trajectory
    response: dict[str, NDArray[Any]]


def read_replicas(folder: Path) -> list[Replica]:
    """Every replica in ``folder``, response frames matched to trajectory frames by step number.

    Raises:
        InputError: no trajectory, a response is missing, or the steps do not agree.
    """
    replicas = []
    for path in sorted(folder.glob("trajectory-*.h5")):
        trajectory = read_trajectory(path, arrays=False)
        response_path = folder / f"response-{path.stem.split('-')[1]}.npz"
        if not response_path.is_file():
            raise InputError(f"{response_path.name}: no such file beside {path.name}; run the response first")
        with np.load(response_path, allow_pickle=False) as arrays:
            response = {name: arrays[name] for name in arrays.files}
        if not np.array_equal(response["step"], trajectory.step):
            raise InputError(f"{response_path.name}: its steps are not those of {path.name}; run the response again")
        replicas.append(Replica(path, trajectory, response))
    if not replicas:
        raise InputError("trajectory-*.h5: no such file in the job's folder; run the dynamics first")
    return replicas


def polarizabilities(replica: Replica) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Polarizabilities of a replica.

    Returns:
        (Å³) Array with shape (L, 3, 3), the frames of the trajectory that they belong to, with shape (L,), and the time
        from one to the next in fs.

    Raises:
        InputError: there are none, or they belong to no frames or to unevenly spaced ones.
    """
    name = f"response-{replica.path.stem.split('-')[1]}.npz"
    if "polarizability" not in replica.response:
        raise InputError(f"{name}: has no polarizability; compute it along the trajectory, or leave raman out")
    trajectory = replica.trajectory
    step = replica.response.get("polarizability_step", trajectory.step)
    frames = np.searchsorted(trajectory.step, step)
    if not np.array_equal(trajectory.step[np.minimum(frames, trajectory.frames - 1)], step):
        raise InputError(f"{name}: a polarizability belongs to no frame of {replica.path.name}; run the response again")
    return replica.response["polarizability"], frames, frame_interval(step, trajectory.timestep, f"{name}: polarizability")


def dipoles_of(replicas: list[Replica]) -> tuple[list[NDArray[np.float64]], float]:
    """(e·Å) Dipole of each replica, Arrays with shape (L, 3), and the time from one to the next in fs.

    Of a metal slab only the component along its normal is known; the others are 0.

    Raises:
        InputError: one has none, or unevenly spaced ones.
    """
    dipoles, interval = [], replicas[0].trajectory.frame_interval
    for entry in replicas:
        response = entry.response
        if "dipole" not in response and "dipole_normal" not in response:
            raise InputError(f"{entry.path.name}: its response has no dipole; leave ir out")
        if "dipole" in response:
            dipoles.append(response["dipole"])
        else:
            dipoles.append(np.outer(response["dipole_normal"], [0.0, 0.0, 1.0]))
        if "dipole_step" in response:
            interval = frame_interval(response["dipole_step"], entry.trajectory.timestep, f"{entry.path.name}: dipole")
    return dipoles, interval


def mean_temperature(replicas: list[Replica]) -> float | None:
    """Mean temperature (K) of all frames, as the engine wrote it beside them; None where it did not."""
    stored = [entry.trajectory.observables.get("temperature") for entry in replicas]
    found = [values for values in stored if values is not None]
    return float(np.concatenate(found).mean()) if len(found) == len(replicas) else None
