"""The calls of vibraloom that are timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.series import CUTOFF, LAGS, TEMPERATURE, TIMESTEP, VOLUME

Array = NDArray[np.float64]
Call = Callable[[], tuple[Array, Array]]

_COMPONENTS = "xx,yy,zz,xy,yz,zx"


def _infrared(data: Path, options: Callable[[int], dict[str, Any]]) -> Call:
    from vibraloom.spectra import infrared

    dipole = np.load(data / "dipole.npy")

    def call() -> tuple[Array, Array]:
        found = infrared(dipole, TIMESTEP, temperature=TEMPERATURE, volume=VOLUME, **options(len(dipole)))
        return found.wavenumber, found.intensity

    return call


def _raman(data: Path, options: Callable[[int], dict[str, Any]]) -> Call:
    from vibraloom.spectra import raman

    tensors = np.load(data / "polarizability.npy")

    def call() -> tuple[Array, Array]:
        found = raman(
            tensors, TIMESTEP, temperature=TEMPERATURE, components=_COMPONENTS, form="activity", **options(len(tensors))
        )
        return found["unpolarized"].wavenumber, found["unpolarized"].intensity

    return call


def _full(frames: int) -> dict[str, Any]:
    """Every lag of the differences, and the transform that the bare FFTs make: no window, no blocks."""
    return {"correlation_time": (frames - 2) * TIMESTEP, "blocks": 0, "window": "none"}


def _lag_8192(frames: int) -> dict[str, Any]:
    return {"correlation_time": min(8192, frames // 10) * TIMESTEP}


def _default(frames: int) -> dict[str, Any]:
    return {}


def infrared_full(data: Path) -> Call:
    """A, every lag, no error bars."""
    return _infrared(data, _full)


def infrared_8192(data: Path) -> Call:
    """A, 8192 lags, error bars."""
    return _infrared(data, _lag_8192)


def infrared_default(data: Path) -> Call:
    """A as called without options."""
    return _infrared(data, _default)


def raman_full(data: Path) -> Call:
    """C, every lag, no error bars."""
    return _raman(data, _full)


def raman_8192(data: Path) -> Call:
    """C, 8192 lags, error bars."""
    return _raman(data, _lag_8192)


def raman_default(data: Path) -> Call:
    """C as called without options."""
    return _raman(data, _default)


def _vdos(data: Path, **options: Any) -> Call:
    from vibraloom.spectra import vdos

    velocities, masses = np.load(data / "velocities.npy"), np.load(data / "masses.npy")
    groups = {"species/O": np.flatnonzero(masses > 2), "species/H": np.flatnonzero(masses < 2)}

    def call() -> tuple[Array, Array]:
        found = vdos(velocities, masses, 1.0, temperature=TEMPERATURE, groups=groups, **options)
        return found.wavenumber, found.parts["species/H"]

    return call


def vdos_default(data: Path) -> Call:
    """B as called without options."""
    return _vdos(data)


def vdos_without_blocks(data: Path) -> Call:
    """B, no error bars."""
    return _vdos(data, blocks=0)


def vdos_of_file(data: Path) -> Call:
    """B from an H5MD file that is read as it goes."""
    from vibraloom.files.velocities import read_velocities
    from vibraloom.spectra import vdos

    path = next(data.glob("*.h5"))

    def call() -> tuple[Array, Array]:
        found = read_velocities(path, timestep=None)
        spectrum = vdos(found.velocities, found.masses, found.timestep, temperature=TEMPERATURE, groups=found.groups())
        return spectrum.wavenumber, spectrum.parts["species/H"]

    return call


def read_file(data: Path) -> Call:
    """Every velocity of an H5MD file once, a stretch of frames at a time."""
    from vibraloom.files.velocities import read_velocities

    path = next(data.glob("*.h5"))

    def call() -> tuple[Array, Array]:
        frames = read_velocities(path, timestep=None).velocities
        step = max(1, 2**23 // (12 * frames.shape[1]))
        for start in range(0, frames.shape[0], step):
            frames.read(start, min(start + step, frames.shape[0]))
        return np.empty(0), np.empty(0)

    return call


def depth_weights(positions: Array, cell: Array) -> Array:
    """sgn(z - middle) with a cos² ramp of 0.5 Å, as ai2-kit has it."""
    from_middle = positions[..., 2] - cell[2, 2] / 2
    weights: Array = np.sign(from_middle) * np.cos(np.pi * np.clip((np.abs(from_middle) - 0.5) / 0.5, -1, 0) / 2) ** 2
    return weights


def _molecules(data: Path, *names: str) -> Any:
    from vibraloom.spectra.molecular_pairs import Molecules

    positions, cell = np.load(data / "positions.npy"), np.load(data / "cells.npy", mmap_mode="r")[0].copy()
    arrays = {name: np.load(data / f"{name}.npy") for name in names}
    weights = depth_weights(positions, cell) if len(names) > 1 else None
    # checking the arrays is part of the work
    return lambda: Molecules(positions=positions, cell=cell, depth_weights=weights, **arrays)


def pairs_infrared(data: Path) -> Call:
    """IR of molecules within the cutoff."""
    from vibraloom.spectra.molecular import molecular_infrared

    molecules = _molecules(data, "dipole")

    def call() -> tuple[Array, Array]:
        found = molecular_infrared(
            molecules(), TIMESTEP, temperature=TEMPERATURE, cutoff=CUTOFF, correlation_time=LAGS * TIMESTEP
        )
        return found.wavenumber, found.intensity

    return call


def pairs_raman(data: Path) -> Call:
    """Raman spectra of molecules within the cutoff; returns the isotropic one."""
    from vibraloom.spectra.molecular import molecular_raman

    molecules = _molecules(data, "polarizability")

    def call() -> tuple[Array, Array]:
        found = molecular_raman(
            molecules(), TIMESTEP, temperature=TEMPERATURE, cutoff=CUTOFF, correlation_time=LAGS * TIMESTEP, form="activity"
        )["isotropic"]
        return found.wavenumber, found.intensity

    return call


def pairs_sfg(data: Path) -> Call:
    """SFG of molecules within the cutoff; returns the imaginary part."""
    from vibraloom.spectra.sfg import molecular_sfg

    molecules = _molecules(data, "dipole", "polarizability")

    def call() -> tuple[Array, Array]:
        found = molecular_sfg(
            molecules(), TIMESTEP, temperature=TEMPERATURE, cutoff=CUTOFF, correlation_time=LAGS * TIMESTEP
        )["imaginary"]
        return found.wavenumber, found.intensity

    return call
