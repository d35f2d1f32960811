"""Infrared and Raman spectra of single molecules: pairs within a cutoff, parts by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from vibraloom.spectra.corrections import relative_to_harmonic
from vibraloom.spectra.estimator import positive
from vibraloom.spectra.estimator_options import CorrelationOptions, takes
from vibraloom.spectra.infrared import FORM, MOLAR_FORM, response_factor
from vibraloom.spectra.molecular_pairs import (
    Molecules,
    Side,
    derivative_entries,
    labels_of,
    pair_entries,
    pair_spectra,
)
from vibraloom.spectra.raman import UNITS, Detection
from vibraloom.spectra.spectrum import Spectrum

Array = NDArray[np.float64]


@takes(CorrelationOptions)
def molecular_infrared(
    molecules: Molecules | Sequence[Molecules],
    timestep: float,
    *,
    temperature: float,
    cutoff: float | None = None,
    volume: float | None = None,
    quantum_correction: str = "harmonic",
    **options: Unpack[CorrelationOptions],
) -> Spectrum:
    """Infrared absorption of molecules that are correlated within a cutoff, with parts by label.

    As :func:`vibraloom.spectra.infrared.infrared`, with Sum_i Sum_j <mudot_i(t).mudot_j(0)> over the pairs of
    :func:`pair_spectra`.

    Args:
        molecules: with dipoles; positions and cell for a cutoff.
        timestep: (fs) time between frames.
        temperature: K.
        cutoff: (Å) 0: each molecule with itself; None: all pairs, the whole cell.
        volume, quantum_correction: as in :func:`vibraloom.spectra.infrared.infrared`.
        options: of the correlation, see :class:`vibraloom.spectra.estimator_options.CorrelationOptions`.

    Raises:
        InputError: as :func:`pair_spectra`, or a value that must be positive.
    """
    kelvin = positive(temperature, "temperature", "K")
    if volume is not None:
        volume = positive(volume, "volume", "angstrom^3")
    side = Side("dipole", np.eye(3))
    estimator, pooled, each_block = pair_spectra(
        molecules,
        timestep,
        side,
        side,
        [range(3)],
        cutoff=cutoff,
        **options,
    )
    wavenumber = estimator.wavenumber
    factor = relative_to_harmonic(quantum_correction, wavenumber, kelvin) * response_factor(kelvin, volume)
    curves = pooled * factor
    error, verdict = estimator.judge(curves[0], each_block[:, 0] * factor)
    return Spectrum(
        quantity="infrared_molar" if volume is None else "infrared",
        wavenumber=wavenumber,
        intensity=curves[0],
        unit="km/mol/cm^-1" if volume is None else "cm^-1",
        conventions=estimator.conventions(
            curves[0],
            quantum=quantum_correction,
            temperature=kelvin,
            volume=volume,
            form=(MOLAR_FORM if volume is None else FORM) + "; pairs of molecules",
            extra=pair_entries(molecules, cutoff),
            **derivative_entries(molecules, estimator),
        ),
        standard_error=error,
        verdict=verdict,
        parts=dict(zip(labels_of(molecules), curves[1:], strict=True)),
    )


@takes(CorrelationOptions)
def molecular_raman(
    molecules: Molecules | Sequence[Molecules],
    timestep: float,
    *,
    temperature: float,
    cutoff: float | None = None,
    laser_wavelength: float = 532.0,
    form: str = "stokes",
    detector: str = "energy",
    quantum_correction: str = "harmonic",
    **options: Unpack[CorrelationOptions],
) -> dict[str, Spectrum]:
    """Raman spectra of molecules that are correlated within a cutoff, with parts by label.

    As :func:`vibraloom.spectra.raman.raman`, over the pairs of :func:`pair_spectra`.

    Args:
        molecules: with polarizabilities; positions and cell for a cutoff.
        timestep: (fs) time between frames.
        temperature: K.
        cutoff: (Å) 0: each molecule with itself; None: all pairs, the whole cell.
        laser_wavelength, form, detector, quantum_correction: as in :func:`vibraloom.spectra.raman.raman`.
        options: of the correlation, see :class:`vibraloom.spectra.estimator_options.CorrelationOptions`.

    Returns:
        ``isotropic``, ``anisotropic``, ``vv``, ``vh``, ``unpolarized``.

    Raises:
        InputError: as :func:`pair_spectra` and :func:`vibraloom.spectra.raman.raman`.
    """
    detection = Detection(temperature, laser_wavelength, form, detector, quantum_correction)
    side = Side("polarizability", _INVARIANTS)
    estimator, pooled, each_block = pair_spectra(
        molecules,
        timestep,
        side,
        side,
        [(0,), range(1, 6)],
        cutoff=cutoff,
        **options,
    )
    factor = detection.factor(estimator.wavenumber)
    count = len(pooled) // 2
    entries = detection.entries
    extra = {**entries.pop("extra"), **pair_entries(molecules, cutoff)}
    result = {}
    for name, (isotropic, anisotropic) in detection.mixtures.items():
        curves = (isotropic * pooled[:count] + anisotropic * 2 / 15 * pooled[count:]) * factor
        each = (isotropic * each_block[:, 0] + anisotropic * 2 / 15 * each_block[:, count]) * factor
        error, verdict = estimator.judge(curves[0], each)
        result[name] = Spectrum(
            quantity=f"raman_{name}",
            wavenumber=estimator.wavenumber,
            intensity=curves[0],
            unit=UNITS[form],
            conventions=estimator.conventions(curves[0], extra=extra, **derivative_entries(molecules, estimator), **entries),
            standard_error=error,
            verdict=verdict,
            parts=dict(zip(labels_of(molecules), curves[1:], strict=True)),
        )
    return result


def _invariant_projection() -> Array:
    """Mean of a tensor, and five columns whose squares sum to Tr(b b) of its traceless part; nine elements each."""
    columns = [np.eye(3) / 3, np.diag([1.0, -1, 0]) / np.sqrt(2), np.diag([-1.0, -1, 2]) / np.sqrt(6)]
    for row, column in ((0, 1), (1, 2), (2, 0)):
        pair = np.zeros((3, 3))
        pair[row, column] = pair[column, row] = 1 / np.sqrt(2)
        columns.append(pair)
    return np.stack([each.ravel() for each in columns], axis=1)


_INVARIANTS = _invariant_projection()
