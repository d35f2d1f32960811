"""Absolute infrared absorption from a dipole or current series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from vibraloom.spectra.corrections import relative_to_harmonic
from vibraloom.spectra.decomposition import beside, closed_parts, part_pairings
from vibraloom.spectra.estimator import (
    DIFFERENCE,
    as_replicas,
    difference_attenuation,
    differences,
    positive,
)
from vibraloom.spectra.estimator_options import EstimatorOptions, estimator_for, takes
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import (
    AVOGADRO,
    BOLTZMANN_EV_PER_K,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

Array = NDArray[np.float64]

Series = NDArray[Any] | Sequence[NDArray[Any]]

FORM = "n*alpha = beta/(6 eps0 c V) FT<Mdot.Mdot>, base e"
MOLAR_FORM = "N_A V n*alpha = N_A beta/(6 eps0 c) FT<Mdot.Mdot>, base e"


@takes(EstimatorOptions)
def infrared(
    dipole: Series,
    timestep: float,
    *,
    temperature: float,
    volume: float | None = None,
    quantum_correction: str = "harmonic",
    parts: Mapping[str, Series] | None = None,
    **options: Unpack[EstimatorOptions],
) -> Spectrum:
    """Infrared absorption from a dipole series.

    n(w) alpha(w) = beta / (6 eps0 c V) Int exp(-i w t) <Mdot(0).Mdot(t)> dt, which is harmonic-corrected as
    it stands (Ramírez et al., J. Chem. Phys. 121, 3973 (2004)). Mdot is the forward difference; its
    attenuation sinc^2(w dt/2) is divided out at each wavenumber.

    Args:
        dipole: (e·Å) Array with shape (F, 3), unwrapped, of the whole cell or molecule; or a list of
            independent ones.
        timestep: (fs) time between frames.
        temperature: K.
        volume: (Å³) of the cell: gives n·alpha in cm⁻¹ (quantity ``infrared``).
            None: gives N_A·V·n·alpha in km/mol per cm⁻¹ (``infrared_molar``), whose band areas are km/mol.
        quantum_correction: see :func:`vibraloom.spectra.corrections.quantum_correction`.
        parts: label ``decomposition/name`` -> (e·Å) series like ``dipole``; they must sum to it. The
            spectrum of a part holds half of each cross term with the others, so that parts sum to the whole.
        options: of the estimate, see :class:`vibraloom.spectra.estimator_options.EstimatorOptions`.

    Raises:
        InputError: wrong shape, NaN, a value that must be positive, a correlation longer than the run, parts
            that do not sum to the dipole.
    """
    replicas = as_replicas(dipole, 3, "dipole")
    interval = positive(timestep, "timestep", "fs")
    contributions = closed_parts(parts, replicas, "dipole", free_constant=True)
    return _absorption(
        [differences(each, interval) for each in replicas],
        {label: [differences(each, interval) for each in series] for label, series in contributions.items()},
        interval,
        temperature=temperature,
        volume=volume,
        quantum_correction=quantum_correction,
        derivative=DIFFERENCE,
        **options,
    )


@takes(EstimatorOptions)
def infrared_from_current(
    current: Series,
    timestep: float,
    *,
    temperature: float,
    volume: float | None = None,
    quantum_correction: str = "harmonic",
    parts: Mapping[str, Series] | None = None,
    differenced: bool = False,
    **options: Unpack[EstimatorOptions],
) -> Spectrum:
    """Infrared absorption from the time derivative of the dipole, such as the sum of charges times velocities.

    As :func:`infrared`, without a numerical derivative.

    Args:
        current: (e·Å/fs) Array with shape (F, 3), or a list of independent ones.
        parts: label ``decomposition/name`` -> (e·Å/fs) series like ``current``; they must sum to it.
        differenced: the current is a forward difference, whose attenuation is to be divided out.

    Raises:
        InputError: as :func:`infrared`.
    """
    replicas = as_replicas(current, 3, "current")
    return _absorption(
        replicas,
        closed_parts(parts, replicas, "current"),
        timestep,
        temperature=temperature,
        volume=volume,
        quantum_correction=quantum_correction,
        derivative=DIFFERENCE if differenced else "none: the current itself",
        **options,
    )


def _absorption(
    currents: Sequence[NDArray[Any]],
    parts: Mapping[str, Sequence[Array]],
    timestep: float,
    *,
    temperature: float,
    volume: float | None,
    quantum_correction: str,
    derivative: str,
    **options: Unpack[EstimatorOptions],
) -> Spectrum:
    temperature = positive(temperature, "temperature", "K")
    if volume is not None:
        volume = positive(volume, "volume", "angstrom^3")
    plan = estimator_for([len(each) for each in currents], timestep, **options)
    wavenumber = plan.wavenumber
    factor = relative_to_harmonic(quantum_correction, wavenumber, temperature)
    factor = factor * response_factor(temperature, volume)
    if derivative == DIFFERENCE:
        factor = factor / difference_attenuation(wavenumber, plan.timestep)
    found = plan.estimate(beside(currents, parts), part_pairings(range(3), 3, len(parts)))
    curves = found.pooled * factor
    intensity = curves[0]
    error, verdict = plan.judge(intensity, found.blocks[:, 0] * factor, found.error_of(0, factor))
    return Spectrum(
        quantity="infrared_molar" if volume is None else "infrared",
        wavenumber=wavenumber,
        intensity=intensity,
        unit="km/mol/cm^-1" if volume is None else "cm^-1",
        conventions=plan.conventions(
            intensity,
            derivative=derivative,
            quantum=quantum_correction,
            frames=min(plan.frames) + (derivative == DIFFERENCE),
            temperature=temperature,
            volume=volume,
            form=MOLAR_FORM if volume is None else FORM,
            extra=found.remarks,
        ),
        standard_error=error,
        verdict=verdict,
        parts={label: curves[1 + number] for number, label in enumerate(parts)},
    )


def response_factor(temperature: float, volume: float | None) -> float:
    """Turns FT<Mdot.Mdot> in e²·Å²/fs into n·alpha in cm⁻¹, or into km/mol per cm⁻¹ without a volume."""
    light = SPEED_OF_LIGHT_CM_PER_FS * 1e8  # Å/fs
    volumetric = 1 / (6 * EPSILON0_E2_PER_EV_ANGSTROM * light * BOLTZMANN_EV_PER_K * temperature)  # times Å³ per Å
    if volume is not None:
        return volumetric / volume * 1e8
    # n·alpha·V in Å² to cm², times molecules per mole, and cm to km
    return volumetric * 1e-16 * AVOGADRO * 1e-5
