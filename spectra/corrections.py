"""Quantum correction factors of classical spectra, and the frequency shift of velocity Verlet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.units import BOLTZMANN_EV_PER_K, PLANCK_C_EV_CM, SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]

QUANTUM_CORRECTIONS = ("harmonic", "standard", "schofield", "classical")
"""Names of the quantum corrections; ``classical`` applies none."""

_LARGEST_EXPONENT = 300.0  # keeps e^x, and its square, finite at any wavenumber and temperature


def reduced_wavenumber(wavenumber: NDArray[Any], temperature: float) -> Array:
    """x = h c nu / (k T), that is hbar w / kT, without unit.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        temperature: K.

    Raises:
        InputError: a temperature that is not positive.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature: {temperature} K; it must be positive")
    return np.asarray(wavenumber, dtype=np.float64) * PLANCK_C_EV_CM / (BOLTZMANN_EV_PER_K * temperature)


def quantum_correction(name: str, wavenumber: NDArray[Any], temperature: float) -> Array:
    """Factor between a classical and a quantum correlation spectrum; 1 at zero wavenumber, finite everywhere.

    ``harmonic`` x / (1 - e^-x), the only one that keeps the fluctuation-dissipation theorem
    (Ramírez et al., J. Chem. Phys. 121, 3973 (2004)); ``standard`` 2 / (1 + e^-x); ``schofield`` e^(x/2);
    ``classical`` 1; with x = h c nu / kT.

    Args:
        name: one of :data:`QUANTUM_CORRECTIONS`.
        wavenumber: (cm⁻¹) Array with shape (B,).
        temperature: K.

    Returns:
        Array with shape (B,).

    Raises:
        InputError: an unknown name or a temperature that is not positive.
    """
    x = reduced_wavenumber(wavenumber, temperature)
    if name == "harmonic":
        safe = np.where(x == 0, 1.0, x)
        return np.where(x == 0, 1.0, safe / -np.expm1(-np.minimum(safe, _LARGEST_EXPONENT)))
    if name == "standard":
        return 2 / (1 + np.exp(-np.minimum(x, _LARGEST_EXPONENT)))
    if name == "schofield":
        return np.exp(np.minimum(x / 2, _LARGEST_EXPONENT))
    if name == "classical":
        return np.ones_like(x)
    raise InputError(f"quantum_correction: {name!r}; allowed: {', '.join(QUANTUM_CORRECTIONS)}")


def relative_to_harmonic(name: str, wavenumber: NDArray[Any], temperature: float) -> Array:
    """Factor Q (1 - e^-x) / x that turns a harmonic-corrected response into one with correction ``name``.

    The response formulas (beta times a correlation of time derivatives) are already harmonic-corrected.
    Arguments and errors as in :func:`quantum_correction`.
    """
    if name == "harmonic":
        return np.ones_like(reduced_wavenumber(wavenumber, temperature))
    return quantum_correction(name, wavenumber, temperature) / quantum_correction("harmonic", wavenumber, temperature)


def verlet_wavenumber(wavenumber: NDArray[Any] | float, integration_timestep: float) -> Array:
    """Wavenumber at which velocity Verlet makes a harmonic mode oscillate: sin(w' dt / 2) = w dt / 2.

    Args:
        wavenumber: (cm⁻¹) true wavenumbers, Array with shape (B,) or a number.
        integration_timestep: (fs) time step of the integrator (not the time between stored frames).

    Returns:
        (cm⁻¹) Array with shape (B,).

    Raises:
        InputError: the time step is not positive, or too long for a stable oscillation (w dt >= 2).
    """
    phase = _half_phase(wavenumber, integration_timestep)
    if np.any(np.abs(phase) >= 1):
        raise InputError(
            f"integration_timestep: {integration_timestep} fs is too long for {np.max(wavenumber):g} cm^-1; shorten it"
        )
    return np.arcsin(phase) / (np.pi * SPEED_OF_LIGHT_CM_PER_FS * integration_timestep)


def without_verlet_shift(wavenumber: NDArray[Any] | float, integration_timestep: float) -> Array:
    """True wavenumber of a mode that velocity Verlet shows at ``wavenumber``: the inverse of :func:`verlet_wavenumber`.

    Args:
        wavenumber: (cm⁻¹) wavenumbers in the simulated spectrum, Array with shape (B,) or a number.
        integration_timestep: (fs) time step of the integrator.

    Returns:
        (cm⁻¹) Array with shape (B,).

    Raises:
        InputError: the time step is not positive, or a wavenumber lies above the integrator's Nyquist limit.
    """
    phase = _half_phase(wavenumber, integration_timestep)
    if np.any(np.abs(phase) > np.pi / 2 + 1e-12):
        raise InputError(
            f"wavenumber: {np.max(wavenumber):g} cm^-1 lies above the Nyquist limit of"
            f" {integration_timestep} fs; cut it"
        )
    return np.sin(phase) / (np.pi * SPEED_OF_LIGHT_CM_PER_FS * integration_timestep)


def _half_phase(wavenumber: NDArray[Any] | float, integration_timestep: float) -> Array:
    if not (np.isfinite(integration_timestep) and integration_timestep > 0):
        raise InputError(f"integration_timestep: {integration_timestep} fs; it must be positive")
    values = np.asarray(wavenumber, dtype=np.float64)
    return np.pi * SPEED_OF_LIGHT_CM_PER_FS * integration_timestep * values
