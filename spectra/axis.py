"""The wavenumber axis after the fact: the shift by the integration time step undone, a scale for display."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.corrections import verlet_wavenumber, without_verlet_shift
from vibraloom.spectra.spectrum import Conventions, Spectrum
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]


def corrected_for_verlet(spectrum: Spectrum, integration_timestep: float) -> Spectrum:
    """The spectrum with every band moved back from where velocity Verlet of this time step shows it.

    With sin(w dt / 2) as the true w' dt / 2 (:func:`vibraloom.spectra.corrections.without_verlet_shift`); values are
    interpolated to the even axis and multiplied by the axis' slope, so that areas stay.

    Args:
        spectrum: as computed.
        integration_timestep: (fs) of the dynamics, not the time between stored frames.

    Raises:
        InputError: the correction was made before, or the time step is too long for the axis.
    """
    extra = spectrum.conventions.extra
    if "verlet_corrected" in extra:
        raise InputError(f"{spectrum.quantity}: the shift by the time step is corrected already; do it once")
    top = without_verlet_shift(spectrum.wavenumber[-1], integration_timestep)
    axis = spectrum.wavenumber[spectrum.wavenumber < top]
    shown = verlet_wavenumber(axis, integration_timestep)
    # d shown / d true: arcsin' of the half phase
    slope = 1 / np.sqrt(1 - (np.pi * SPEED_OF_LIGHT_CM_PER_FS * integration_timestep * axis) ** 2)

    def moved(values: Array) -> Array:
        return np.interp(shown, spectrum.wavenumber, values) * slope

    made = replace(spectrum.conventions, extra={**extra, "verlet_corrected": integration_timestep})
    return _with(spectrum, axis, moved, made)


def scaled(spectrum: Spectrum, factor: float) -> Spectrum:
    """The spectrum on an axis times ``factor``, for display beside an experiment; areas stay, the record says so.

    Raises:
        InputError: a factor outside 0.8 to 1.2, or a spectrum that is scaled already.
    """
    if not 0.8 <= factor <= 1.2:
        raise InputError(f"frequency scale: {factor}; allowed: 0.8 to 1.2")
    extra = spectrum.conventions.extra
    if "frequency_scale" in extra:
        raise InputError(f"{spectrum.quantity}: the axis is scaled by {extra['frequency_scale']} already; do it once")
    note = f"wavenumbers multiplied by {factor:g} for display: not what the dynamics gave"
    made = replace(
        spectrum.conventions,
        extra={**extra, "frequency_scale": factor},
        notes=(*spectrum.conventions.notes, note),
    )
    return _with(spectrum, spectrum.wavenumber * factor, lambda values: values / factor, made)


def _with(spectrum: Spectrum, axis: Array, change: Callable[[Array], Array], conventions: Conventions) -> Spectrum:
    return replace(
        spectrum,
        wavenumber=axis,
        intensity=change(spectrum.intensity),
        standard_error=None if spectrum.standard_error is None else change(spectrum.standard_error),
        model_error=None if spectrum.model_error is None else change(spectrum.model_error),
        parts={name: change(values) for name, values in spectrum.parts.items()},
        conventions=conventions,
    )
