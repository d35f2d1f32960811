"""Infrared response of a slab: a length, for the directions along and normal to the surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
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
    BOLTZMANN_EV_PER_K,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

ZERO_BIN = "the bin at zero wavenumber is set to 0"
"""Note on a response, whose form is 0/0 there."""
Array = NDArray[np.float64]
Series = NDArray[Any] | Sequence[NDArray[Any]]

DIRECTIONS: dict[str, tuple[int, ...]] = {"parallel": (0, 1), "normal": (2,)}
"""Cartesian components that each direction averages; the surface normal is z."""


@takes(EstimatorOptions)
def slab_response(
    series: Series,
    timestep: float,
    *,
    temperature: float,
    area: float,
    boundary: str,
    source: str = "dipole",
    quantum_correction: str = "harmonic",
    parts: Mapping[str, Series] | None = None,
    **options: Unpack[EstimatorOptions],
) -> dict[str, Spectrum]:
    """Im alpha_rr(w) / (eps0 A) of a slab in Å: beta / (2 eps0 A w) FT<Mdot_r Mdot_r>, harmonic-corrected.

    It replaces n·alpha, which has no meaning without a volume. ``parallel`` is the mean of x and y,
    ``normal`` is z. The bin at zero wavenumber, where the form is 0/0, is set to 0.

    Args:
        series: (e·Å, or e·Å/fs) Array with shape (F, 3), z along the surface normal, or a list of
            independent ones.
        timestep: (fs) time between frames.
        temperature: K.
        area: (Å²) of the surface cell (of one face).
        boundary: electrostatic boundary that made the moments, e.g. ``fixed E`` (plain periodic) or
            ``fixed D along z`` (slab-corrected); it is recorded, and decides what ``normal`` means.
        source: ``dipole``, ``current`` (its time derivative) or ``difference`` (forward differences of the dipole).
        parts: label ``decomposition/name`` -> series like ``series``, which they must sum to. Layers want
            currents: the derivative of a dipole weighted by layer holds a spurious dw/dt term.
        quantum_correction: see :func:`vibraloom.spectra.corrections.quantum_correction`.
        options: of the estimate, see :class:`vibraloom.spectra.estimator_options.EstimatorOptions`.

    Returns:
        ``parallel`` and ``normal``.

    Raises:
        InputError: as in :func:`vibraloom.spectra.infrared.infrared`, or no boundary named.
    """
    if source not in ("dipole", "current", "difference"):
        raise InputError(f"source: {source!r}; allowed: dipole, current, difference")
    if not boundary.strip():
        raise InputError("boundary: empty; name it, e.g. 'fixed E' or 'fixed D along z'")
    temperature = positive(temperature, "temperature", "K")
    area = positive(area, "area", "angstrom^2")
    interval = positive(timestep, "timestep", "fs")
    currents = as_replicas(series, 3, source)
    contributions = closed_parts(parts, currents, source, free_constant=source == "dipole")
    derivative = "none: the current itself" if source == "current" else DIFFERENCE
    if source == "dipole":
        currents = [differences(each, interval) for each in currents]
        contributions = {
            label: [differences(each, interval) for each in replicas] for label, replicas in contributions.items()
        }
    plan = estimator_for([len(each) for each in currents], interval, **options)
    wavenumber = plan.wavenumber
    angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber
    factor = np.zeros_like(angular)
    factor[1:] = 1 / (2 * EPSILON0_E2_PER_EV_ANGSTROM * BOLTZMANN_EV_PER_K * temperature * area * angular[1:])
    factor *= relative_to_harmonic(quantum_correction, wavenumber, temperature)
    if source != "current":
        factor /= difference_attenuation(wavenumber, interval)

    columns = beside(currents, contributions)
    result = {}
    for direction, components in DIRECTIONS.items():
        pairings = part_pairings(components, 3, len(contributions), 1 / len(components))
        found = plan.estimate(columns, pairings)
        curves = found.pooled * factor
        intensity = curves[0]
        error, verdict = plan.judge(intensity, found.blocks[:, 0] * factor, found.error_of(0, factor))
        result[direction] = Spectrum(
            quantity=f"slab_response_{direction}",
            wavenumber=wavenumber,
            intensity=intensity,
            unit="angstrom",
            conventions=plan.conventions(
                intensity,
                derivative=derivative,
                quantum=quantum_correction,
                notes=[ZERO_BIN],
                frames=min(plan.frames) + (source != "current"),
                temperature=temperature,
                area=area,
                boundary=boundary,
                form="Im alpha_rr/(eps0 A) = beta/(2 eps0 A w) FT<Mdot_r Mdot_r>",
                extra=found.remarks,
            ),
            standard_error=error,
            verdict=verdict,
            parts={label: curves[1 + number] for number, label in enumerate(contributions)},
        )
    return result


def fixed_e_to_fixed_d(polarizability: NDArray[Any], volume: float) -> NDArray[np.complex128]:
    """Polarizability normal to a slab at fixed displacement from that at fixed field: a / (1 + 4 pi a / V).

    The result does not depend on the vacuum in the cell; the form alpha / (1 + alpha / (eps0 V)) in SI is
    the same.

    Args:
        polarizability: (Å³, polarizability volume alpha / (4 pi eps0)) complex Array of any shape, zz
            component.
        volume: (Å³) of the periodic cell, vacuum included.

    Returns:
        (Å³) complex Array of the same shape.

    Raises:
        InputError: a volume that is not positive.
    """
    cell = positive(volume, "volume", "angstrom^3")
    values = np.asarray(polarizability, dtype=np.complex128)
    return values / (1 + 4 * np.pi * values / cell)
