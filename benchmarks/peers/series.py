"""Synthetic series with bands like water's, as .npy files in a folder; the first frames again in its subfolder warm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

TIMESTEP = 0.5
"""fs between frames."""
TEMPERATURE = 300.0
"""K."""
VOLUME = 12.42**3
"""Å³; of the cell of A and C, which is that of 64 molecules of water."""
BANDS = ((600.0, 150.0, 1.0), (1650.0, 40.0, 0.3), (3400.0, 120.0, 0.2))
"""Wavenumber (cm⁻¹), width (cm⁻¹) and amplitude of each band."""
CUTOFF = 4.0
"""Å, of the pairs."""
LAGS = 2000
"""Lags of the molecular correlation functions: 1 ps."""
WARM = 512
"""Frames in the subfolder warm."""


def vibrations(generator: np.random.Generator, frames: int, columns: int, timestep: float = TIMESTEP) -> NDArray[np.float64]:
    """Noise-driven damped oscillators, (frames, columns)."""
    result = np.zeros((columns, frames))
    light = 2.99792458e-5  # cm/fs
    for wavenumber, width, amplitude in BANDS:
        decay = np.exp(-np.pi * light * width * timestep)
        turn = np.cos(2 * np.pi * light * wavenumber * timestep)
        noise = generator.standard_normal((columns, frames))
        band = lfilter([1.0], [1.0, -2 * decay * turn, decay**2], noise)
        result += amplitude * band / band.std()
    return np.ascontiguousarray(result.T)


def _keep(folder: Path, name: str, values: NDArray[np.generic], warm: int = WARM) -> None:
    (folder / "warm").mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", values)
    np.save(folder / "warm" / f"{name}.npy", values[:warm])


def dipole_series(folder: Path, frames: int) -> None:
    """``dipole`` (e·Å), (F, 3), and its forward difference ``current`` (e·Å/fs)."""
    dipole = vibrations(np.random.default_rng(1), frames, 3)
    _keep(folder, "dipole", dipole)
    _keep(folder, "current", np.diff(dipole, axis=0) / TIMESTEP)


def polarizability_series(folder: Path, frames: int) -> None:
    """``polarizability`` (Å³), (F, 6): xx yy zz xy yz zx, and its forward difference ``rate``."""
    tensors = vibrations(np.random.default_rng(2), frames, 6)
    tensors[:, :3] += 2 * vibrations(np.random.default_rng(3), frames, 1) + 90.0
    _keep(folder, "polarizability", tensors)
    _keep(folder, "rate", np.diff(tensors, axis=0) / TIMESTEP)


def velocity_series(folder: Path, frames: int, atoms: int) -> None:
    """``velocities`` (Å/fs) float32, (F, A, 3), and ``masses`` (amu): a third oxygen, two thirds hydrogen."""
    generator = np.random.default_rng(4)
    velocities = np.empty((frames, atoms, 3), dtype=np.float32)
    for first in range(0, atoms, 250):
        last = min(first + 250, atoms)
        columns = vibrations(generator, frames, 3 * (last - first), timestep=1.0)
        velocities[:, first:last] = 0.01 * columns.reshape(frames, -1, 3)
    _keep(folder, "velocities", velocities, 2048)
    masses = np.where(np.arange(atoms) % 3 == 0, 15.999, 1.008)
    for place in (folder, folder / "warm"):
        np.save(place / "masses.npy", masses)


def molecule_series(folder: Path, frames: int, molecules: int) -> None:
    """Dipoles (F, M, 3), polarizabilities (F, M, 3, 3) and wandering positions (Å) in a cube at the density of water."""
    generator = np.random.default_rng(5)
    edge = 12.42 * (molecules / 64) ** (1 / 3)
    # neighbours share a part of their motion, so that pairs count
    common = vibrations(generator, frames, 9)
    dipole = vibrations(generator, frames, 3 * molecules).reshape(frames, molecules, 3) + 0.3 * common[:, None, :3]
    upper = vibrations(generator, frames, 6 * molecules).reshape(frames, molecules, 6) + 0.3 * common[:, None, 3:]
    order = [0, 3, 5, 3, 1, 4, 5, 4, 2]
    start = edge * generator.random((molecules, 3))
    steps = 0.01 * generator.standard_normal((frames, molecules, 3))
    warm = 2 * LAGS + 500
    _keep(folder, "dipole", dipole, warm)
    _keep(folder, "polarizability", upper[:, :, order].reshape(frames, molecules, 3, 3), warm)
    _keep(folder, "positions", (start + np.cumsum(steps, axis=0)) % edge, warm)
    _keep(folder, "cells", np.broadcast_to(edge * np.eye(3), (frames, 3, 3)), warm)
