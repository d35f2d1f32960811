"""How each peer is called, by the fastest way that its documentation gives for the task.

What a program's own reader would return (a table, an array in its order) is made before the clock starts. Runs in the
environment of each peer: imports stand in the functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Call = Callable[[], tuple[Array, Array]]

# the constants of peers.series, which needs SciPy
TIMESTEP, TEMPERATURE, VOLUME, CUTOFF, LAGS = 0.5, 300.0, 12.42**3, 4.0, 2000
WAVENUMBER = 1 / 2.99792458e-5
"""cm⁻¹ of 1/fs."""


def _calorine_infrared(data: Path, **options: Any) -> Call:
    from calorine.tools.spectra import get_ir_spectrum
    from pandas import DataFrame

    table = DataFrame(np.load(data / "dipole.npy"), columns=["mu_x", "mu_y", "mu_z"])

    def call() -> tuple[Array, Array]:
        found = get_ir_spectrum(
            table, volume=VOLUME, temperature=TEMPERATURE, column="mu", dt=TIMESTEP / 1000, **options
        )
        return found["wavenumber_invcm"].to_numpy(), found["conductivity"].to_numpy()

    return call


def calorine_infrared(data: Path) -> Call:
    """get_ir_spectrum with its defaults: every lag, no window."""
    return _calorine_infrared(data)


def calorine_infrared_8192(data: Path) -> Call:
    """get_ir_spectrum with window_size of 8192 lags."""
    frames = len(np.load(data / "dipole.npy", mmap_mode="r"))
    return _calorine_infrared(data, window_size=min(8192, frames // 10) * TIMESTEP / 1000)


def calorine_raman(data: Path) -> Call:
    """get_raman_spectrum with its defaults: every lag, no window; returns 45 iso + 10.5 aniso, of the tensor itself."""
    from calorine.tools.spectra import get_raman_spectrum
    from pandas import DataFrame

    table = DataFrame(np.load(data / "polarizability.npy"), columns=["xx", "yy", "zz", "xy", "yz", "xz"])

    def call() -> tuple[Array, Array]:
        found = get_raman_spectrum(table, dt=TIMESTEP / 1000)
        mixed = 45 * found["raman_isotropic"] + 10.5 * found["raman_anisotropic"]
        return found["wavenumber_invcm"].to_numpy(), mixed.to_numpy()

    return call


def ramannoodle_raman(data: Path) -> Call:
    """MDRamanSpectrum.measure, which has every lag."""
    from ramannoodle.spectrum import MDRamanSpectrum

    tensors = np.load(data / "polarizability.npy")[:, [0, 3, 5, 3, 1, 4, 5, 4, 2]].reshape(-1, 3, 3)

    def call() -> tuple[Array, Array]:
        found: tuple[Array, Array] = MDRamanSpectrum(tensors, TIMESTEP).measure()
        return found

    return call


def tidynamics_infrared(data: Path) -> Call:
    """acf of the current, and one FFT of it as NumPy has it."""
    import tidynamics

    current = np.load(data / "current.npy")

    def call() -> tuple[Array, Array]:
        correlation = tidynamics.acf(current)
        spectrum = np.fft.rfft(np.concatenate([correlation, correlation[-2:0:-1]])).real
        return np.linspace(0, WAVENUMBER * 0.5 / TIMESTEP, len(spectrum)), spectrum

    return call


def dynasor_infrared(data: Path) -> Call:
    """compute_acf and psd_from_acf of each component of the current."""
    from dynasor.tools.acfs import compute_acf, psd_from_acf

    current = np.load(data / "current.npy")

    def call() -> tuple[Array, Array]:
        total: Any = 0.0
        for axis in range(3):
            _, correlation = compute_acf(current[:, axis], TIMESTEP)
            angular, spectrum = psd_from_acf(correlation, TIMESTEP)
            total = total + spectrum
        return WAVENUMBER * angular / (2 * np.pi), total

    return call


def stacie_infrared(data: Path) -> Call:
    """compute_spectrum of the current: one periodogram per component."""
    from stacie import compute_spectrum

    current = np.load(data / "current.npy")

    def call() -> tuple[Array, Array]:
        found = compute_spectrum(current.T, prefactors=1.0, timestep=TIMESTEP)
        return WAVENUMBER * found.freqs, found.amplitudes

    return call


def ai2kit_infrared_8192(data: Path) -> Call:
    """calculate_corr of the current to 8192 lags, and calculate_ir."""
    from ai2_kit.feat.spectrum.algorithm import calculate_corr, calculate_ir

    current = np.load(data / "current.npy")
    lags = min(8192, len(current) // 10)

    def call() -> tuple[Array, Array]:
        correlation = calculate_corr(current, current, lags).sum(axis=1)
        # by default its axis is too coarse to hold the resolution of the correlation
        found: tuple[Array, Array] = calculate_ir(
            correlation, width=10, dt_ps=TIMESTEP / 1000, temperature=TEMPERATURE, M=4 * lags
        )
        return found

    return call


def _species(masses: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.flatnonzero(masses > 2), np.flatnonzero(masses < 2)


def stacie_vdos(data: Path) -> Call:
    """compute_spectrum of the velocities of each species: a periodogram per component, added up."""
    from stacie import compute_spectrum

    velocities, masses = np.load(data / "velocities.npy"), np.load(data / "masses.npy")
    frames = len(velocities)

    def call() -> tuple[Array, Array]:
        for members in _species(masses):
            sequences = velocities[:, members].reshape(frames, -1).T
            found = compute_spectrum(sequences, prefactors=masses[members[0]], timestep=1.0)
        return WAVENUMBER * found.freqs, found.amplitudes

    return call


def _pwtools_vdos(data: Path, padding: int | None) -> Call:
    # the Fortran extension serves other routes; the package imports it everywhere
    sys.modules.setdefault("pwtools._flib", ModuleType("pwtools._flib"))
    from pwtools.pydos import pdos

    velocities, masses = np.load(data / "velocities.npy"), np.load(data / "masses.npy")

    def call() -> tuple[Array, Array]:
        for members in _species(masses):
            frequency, density = pdos(velocities[:, members], dt=1.0, m=masses[members], method="direct", npad=padding)
        return WAVENUMBER * frequency, density

    return call


def pwtools_vdos(data: Path) -> Call:
    """Direct pdos of each species, zero-padded as its documentation recommends (npad=1)."""
    return _pwtools_vdos(data, 1)


def pwtools_vdos_unpadded(data: Path) -> Call:
    """Direct pdos of each species without padding: a periodogram."""
    return _pwtools_vdos(data, None)


def _ai2kit_pairs(data: Path, function: str, *names: str, **options: Any) -> Call:
    from ai2_kit.feat.spectrum import algorithm

    positions, cells = np.load(data / "positions.npy"), np.load(data / "cells.npy")
    arrays = [np.load(data / f"{name}.npy") for name in names]
    edge = cells[0, 2, 2]

    def call() -> tuple[Array, Array]:
        found = getattr(algorithm, function)(
            positions,
            cells,
            *arrays,
            dt=TIMESTEP / 1000,
            window=LAGS,
            z0=edge / 2,
            rc=CUTOFF,
            width=1,
            temperature=TEMPERATURE,
            filter_type="gaussian",
            **options,
        )
        return found[0], found[1]

    return call


def ai2kit_pairs_infrared(data: Path) -> Call:
    """compute_bulk_ir_h2o with every molecule in the bulk."""
    return _ai2kit_pairs(data, "compute_bulk_ir_h2o", "dipole", zc=1000.0)


def ai2kit_pairs_raman(data: Path) -> Call:
    """compute_bulk_raman_h2o with every molecule in the bulk; returns the isotropic spectrum."""
    return _ai2kit_pairs(data, "compute_bulk_raman_h2o", "polarizability", zc=1000.0)


def ai2kit_pairs_sfg(data: Path) -> Call:
    """compute_surface_sfg_h2o with both halves of the cell weighted by the side that they are on."""
    return _ai2kit_pairs(data, "compute_surface_sfg_h2o", "dipole", "polarizability", zc=0.0)
