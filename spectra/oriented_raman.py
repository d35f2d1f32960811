"""Raman spectra of oriented samples: scattering geometries, rotation series, depolarisation, the surface-selected zz."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.estimator import (
    DIFFERENCE,
    difference_attenuation,
    differences,
    positive,
)
from vibraloom.spectra.estimator_options import CorrelationOptions, EstimatorOptions, estimator_for, takes
from vibraloom.spectra.finite_frames import refuse_not_finite
from vibraloom.spectra.lag_products import Pairing
from vibraloom.spectra.raman import UNITS, Detection, symmetric_tensors
from vibraloom.spectra.spectrum import Spectrum

Array = NDArray[np.float64]
Series = NDArray[Any] | Sequence[NDArray[Any]]

_PORTO = re.compile(r"^(-?[xyz])\(([xyz])([xyz])\)(-?[xyz])$")
_RANKS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))  # xx yy zz xy yz zx
# over orientations VV = (2 Tr alpha^2 + (Tr alpha)^2) / 15, VH = (3 Tr alpha^2 - (Tr alpha)^2) / 30: six columns, the trace
_WITH_TRACE = np.hstack([np.eye(6), np.array([[1.0], [1], [1], [0], [0], [0]])])
_VV = Pairing.of(range(7), weights=np.array([2, 2, 2, 4, 4, 4, 1]) / 15)
_VH = Pairing.of(range(7), weights=np.array([3, 3, 3, 6, 6, 6, -1]) / 30)


@dataclass(frozen=True)
class Geometry:
    """Polarisations of the incident and the scattered light in the frame of the sample.

    Attributes:
        name: recorded, e.g. ``z(xy)z``.
        incident, scattered: unit vectors e_i, e_s; what is seen is e_s·alpha·e_i.
    """

    name: str
    incident: tuple[float, float, float]
    scattered: tuple[float, float, float]

    @classmethod
    def porto(cls, notation: str) -> Geometry:
        """From Porto's notation k_i(e_i e_s)k_s, e.g. ``z(xy)z`` or ``z(xy)-z`` (T. C. Damen et al., Phys. Rev. 142, 570).

        Raises:
            InputError: another form, or a polarisation along its own beam.
        """
        match = _PORTO.match(notation.replace(" ", "").replace(",", "").lower())
        if match is None:
            raise InputError(f"geometry: {notation!r}; allowed: Porto's notation such as z(xy)z or x(zz)-x")
        beam, incident, scattered, exit_beam = match.groups()
        if beam[-1] == incident or exit_beam[-1] == scattered:
            raise InputError(f"geometry: {notation!r} has light polarised along its own beam; turn one of them")
        return cls(notation, _axis(incident), _axis(scattered))

    @classmethod
    def along(cls, name: str, incident: ArrayLike, scattered: ArrayLike) -> Geometry:
        """From two polarisation vectors of any length, each with shape (3,).

        Raises:
            InputError: a vector of another shape, or without length.
        """
        return cls(name, _unit(incident, f"{name}: incident"), _unit(scattered, f"{name}: scattered"))

    def with_sample_turned(self, axis: ArrayLike, angle: float) -> Geometry:
        """What this geometry sees once the sample is turned by ``angle`` degrees about ``axis`` (right-handed)."""
        first, second, third = _unit(axis, "axis")
        cross = np.array([[0, -third, second], [third, 0, -first], [-second, first, 0]])
        theta = np.deg2rad(angle)
        turn = np.eye(3) + np.sin(theta) * cross + (1 - np.cos(theta)) * cross @ cross  # Rodrigues
        # e·(R alpha R^T)·e = (R^T e)·alpha·(R^T e)
        name = f"{self.name}, sample turned by {float(angle)!r} deg about ({first:g}, {second:g}, {third:g})"
        return Geometry.along(name, turn.T @ self.incident, turn.T @ self.scattered)

    @property
    def column(self) -> Array:
        """Weights of xx yy zz xy yz zx in e_s·alpha·e_i: Array with shape (6,)."""
        both = np.outer(self.scattered, self.incident)
        return np.array([both[i, j] if i == j else both[i, j] + both[j, i] for i, j in _RANKS])


@takes(EstimatorOptions)
def oriented_raman(
    polarizability: Series,
    timestep: float,
    *,
    geometries: Sequence[str | Geometry],
    temperature: float,
    components: str | None = None,
    laser_wavelength: float = 532.0,
    form: str = "stokes",
    detector: str = "energy",
    quantum_correction: str = "harmonic",
    **options: Unpack[EstimatorOptions],
) -> dict[str, Spectrum]:
    """Raman spectra of an oriented sample in given scattering geometries: FT<adot adot> with a = e_s·alpha·e_i.

    The factor in front is that of :func:`vibraloom.spectra.raman.raman`, with a'^2 in place of its orientational
    averages: no averaging at all.

    Args:
        polarizability: (Å³) Array with shape (F, 3, 3), or (F, 6) or (F, 9) with ``components``; or a list of
            independent ones. Of the whole cell.
        timestep: (fs) time between frames.
        geometries: in Porto's notation, or as :class:`Geometry`.
        temperature, components, laser_wavelength, form, detector, quantum_correction, options: as in
            :func:`vibraloom.spectra.raman.raman`.

    Returns:
        name of the geometry -> spectrum.

    Raises:
        InputError: a geometry that is not possible, or as :func:`vibraloom.spectra.raman.raman`.
    """
    seen = [Geometry.porto(each) if isinstance(each, str) else each for each in geometries]
    if not seen:
        raise InputError("geometries: none given; name one, e.g. z(xy)z")
    if len({each.name for each in seen}) != len(seen):
        raise InputError(f"geometries: {', '.join(each.name for each in seen)}; give each another name")
    projection = np.stack([each.column for each in seen], axis=1)
    detection = Detection(temperature, laser_wavelength, form, detector, quantum_correction)
    interval = positive(timestep, "timestep", "fs")
    spectra = _spectra(
        [differences(each, interval) @ projection for each in symmetric_tensors(polarizability, components)],
        interval,
        detection,
        options,
    )
    return {
        each.name: _stamped(
            spectrum,
            quantity="raman_oriented",
            form="<.> of e_s.alpha.e_i, area a'^2 per harmonic mode, no orientational average",
            geometry=each.name,
            incident=list(each.incident),
            scattered=list(each.scattered),
        )
        for each, spectrum in zip(seen, spectra, strict=True)
    }


def rotation_series(
    polarizability: Series,
    timestep: float,
    *,
    geometry: str | Geometry,
    axis: ArrayLike,
    angles: Sequence[float],
    temperature: float,
    **choices: Any,
) -> dict[float, Spectrum]:
    """Raman spectra in one geometry while the sample is turned about an axis.

    Args:
        polarizability, timestep, temperature: as in :func:`oriented_raman`.
        geometry: fixed in the laboratory, whose axes are those of the sample at 0 degrees.
        axis: Array with shape (3,), of any length.
        angles: degrees, right-handed about the axis.
        choices: further choices of :func:`oriented_raman`.

    Returns:
        angle -> spectrum.

    Raises:
        InputError: as :func:`oriented_raman`, or an axis without length.
    """
    fixed = Geometry.porto(geometry) if isinstance(geometry, str) else geometry
    turned = [fixed.with_sample_turned(axis, angle) for angle in angles]
    spectra = oriented_raman(polarizability, timestep, geometries=turned, temperature=temperature, **choices)
    direction = list(_unit(axis, "axis"))
    return {
        float(angle): _stamped(spectra[each.name], geometry=fixed.name, rotation_axis=direction, rotation_angle=float(angle))
        for angle, each in zip(angles, turned, strict=True)
    }


@takes(CorrelationOptions)
def depolarization_ratio(
    polarizability: Series,
    timestep: float,
    *,
    geometries: tuple[str | Geometry, str | Geometry] | None = None,
    components: str | None = None,
    smallest: float = 0.01,
    **options: Unpack[CorrelationOptions],
) -> Spectrum:
    """Depolarisation ratio by wavenumber: crossed over parallel intensity, without any temperature or laser.

    Averaged over orientations rho = VH / VV = 3 g'^2 / (45 a'^2 + 4 g'^2) (D. A. Long, The Raman Effect (2002)), or of two
    geometries of an oriented sample. Its error is taken of the ratio, to first order, block by block: what both intensities
    share cancels.

    Args:
        polarizability, timestep, components: as in :func:`vibraloom.spectra.raman.raman`.
        geometries: crossed and parallel, e.g. ``("z(xy)z", "z(xx)z")``; None: the average over orientations.
        smallest: where the denominator is below this fraction of its maximum, the ratio is set to 0 and means nothing.
        options: of the correlation, see :class:`vibraloom.spectra.estimator_options.CorrelationOptions`.

    Raises:
        InputError: as :func:`vibraloom.spectra.raman.raman`, or ``smallest`` outside 0 to 1.
    """
    if not 0 < smallest < 1:
        raise InputError(f"smallest: {smallest}; allowed: between 0 and 1")
    interval = positive(timestep, "timestep", "fs")
    tensors = symmetric_tensors(polarizability, components)
    if geometries is None:
        projection, crossed, parallel = _WITH_TRACE, _VH, _VV
        names = {"crossed": "VH", "parallel": "VV"}
    else:
        pair = [Geometry.porto(each) if isinstance(each, str) else each for each in geometries]
        projection = np.stack([each.column for each in pair], axis=1)
        crossed, parallel = Pairing.of(0), Pairing.of(1)
        names = {"crossed": pair[0].name, "parallel": pair[1].name}
    series = [differences(each, interval) @ projection for each in tensors]
    estimator = estimator_for([len(each) for each in series], interval, **options)
    found = estimator.estimate(series, [crossed, parallel])
    attenuation = difference_attenuation(estimator.wavenumber, interval)
    above, below = found.pooled / attenuation
    kept = below > smallest * below.max()
    denominator = np.where(kept, below, 1.0)
    ratio = np.where(kept, above / denominator, 0.0)
    # d(a/b) = (da - (a/b) db) / b
    deviation = (found.blocks[:, 0] - ratio * found.blocks[:, 1]) / attenuation / denominator
    error, verdict = estimator.judge(ratio, np.where(kept, deviation, 0.0))
    return Spectrum(
        quantity="raman_depolarization_ratio",
        wavenumber=estimator.wavenumber,
        intensity=ratio,
        unit="1",
        conventions=estimator.conventions(
            ratio,
            derivative=DIFFERENCE,
            quantum=None,
            frames=min(estimator.frames) + 1,
            temperature=None,
            notes=[f"set to 0 where the parallel intensity (before laser and occupation) is below {smallest:g} of its maximum"],
            form="crossed over parallel FT<alphadot alphadot>; over orientations VH/VV = 3g'^2/(45a'^2+4g'^2)",
            extra={**names, "smallest_denominator": float(smallest)},
        ),
        standard_error=error,
        verdict=verdict,
    )


def depth_weight(depth: NDArray[Any], decay_length: float) -> Array:
    """Weight exp(-depth / decay_length) of what lies ``depth`` Å from the surface: the product of both local fields.

    It multiplies the polarizability, so that the intensity falls with its square. At or behind the surface it is 1.

    Raises:
        InputError: a decay length that is not positive.
    """
    length = positive(decay_length, "decay_length", "angstrom")
    return np.exp(-np.maximum(np.asarray(depth, dtype=np.float64), 0.0) / length)


@takes(EstimatorOptions)
def surface_raman(
    polarizability: Series,
    weights: Series,
    timestep: float,
    *,
    temperature: float,
    laser_wavelength: float = 532.0,
    form: str = "stokes",
    detector: str = "energy",
    quantum_correction: str = "harmonic",
    **options: Unpack[EstimatorOptions],
) -> Spectrum:
    """Surface-selected zz Raman spectrum, as SERS and SHINERS enhance it: FT<adot adot>, adot = Sum_m w_m d(alpha_zz,m)/dt.

    The field of a metal surface stands along its normal z and falls with depth. Cross terms between molecules are
    kept. A weight acts on the derivative: d(w alpha)/dt would hold a spurious dw/dt alpha. Only the
    electromagnetic field selects here; the spectrum is stamped "no chemical enhancement".

    Args:
        polarizability: (Å³) of each molecule, Array with shape (F, M, 3, 3), or (F, M): its zz component; or a list of
            independent ones.
        weights: of each molecule in each frame, Array with shape (F, M), e.g. of :func:`depth_weight`; or a list.
        timestep: (fs) time between frames.
        temperature, laser_wavelength, form, detector, quantum_correction, options: as in
            :func:`vibraloom.spectra.raman.raman`.

    Raises:
        InputError: shapes that do not match, values that are not finite, or a choice that is not allowed.
    """
    interval = positive(timestep, "timestep", "fs")
    detection = Detection(temperature, laser_wavelength, form, detector, quantum_correction)
    moments = list(polarizability) if isinstance(polarizability, (list, tuple)) else [polarizability]
    shares = list(weights) if isinstance(weights, (list, tuple)) else [weights]
    if len(moments) != len(shares):
        raise InputError(f"weights: {len(shares)} series for {len(moments)} of polarizabilities; give one for each")
    rates = [_weighted_rate(*pair, interval, number) for number, pair in enumerate(zip(moments, shares, strict=True))]
    (spectrum,) = _spectra(rates, interval, detection, options)
    stamped = _stamped(
        spectrum,
        quantity="raman_surface_zz",
        form="<.> of Sum_m w_m d(alpha_zz,m)/dt, area (Sum_m w_m a_zz,m')^2 per harmonic mode",
    )
    stamps = ("no chemical enhancement", "intensities are those of a weight of 1: no electromagnetic enhancement factor")
    notes = (*stamped.conventions.notes, *stamps)
    return replace(stamped, conventions=replace(stamped.conventions, notes=notes))


def _weighted_rate(polarizability: Any, weights: Any, timestep: float, replica: int) -> Array:
    """Sum_m w_m d(alpha_zz,m)/dt at half steps: Array with shape (F - 1, 1)."""
    values = np.asarray(polarizability)
    if values.ndim == 4 and values.shape[2:] == (3, 3):
        values = values[:, :, 2, 2]
    share = np.asarray(weights)
    if values.ndim != 2 or len(values) < 2 or share.shape != values.shape:
        raise InputError(
            f"replica {replica}: polarizability has shape {np.shape(polarizability)}, weights {share.shape};"
            " they must be (frames, molecules, 3, 3) or (frames, molecules), and (frames, molecules)"
        )
    for name, series in (("polarizability", values), ("weights", share)):
        refuse_not_finite(series, f"{name}, replica {replica}")
    middle = (share[1:].astype(np.float64) + share[:-1]) / 2
    return np.einsum("fm,fm->f", middle, differences(values, timestep))[:, None]


def _spectra(
    rates: Sequence[Array], timestep: float, detection: Detection, options: EstimatorOptions
) -> list[Spectrum]:
    """A spectrum of each column of forward differences (frames, columns)."""
    estimator = estimator_for([len(each) for each in rates], timestep, **options)
    found = estimator.estimate(rates, [Pairing.of(column) for column in range(rates[0].shape[1])])
    wavenumber = estimator.wavenumber
    factor = detection.factor(wavenumber) / difference_attenuation(wavenumber, timestep)
    result = []
    entries = detection.entries
    for column, density in enumerate(found.pooled):
        intensity = density * factor
        error, verdict = estimator.judge(intensity, found.blocks[:, column] * factor, found.error_of(column, factor))
        conventions = estimator.conventions(
            intensity,
            derivative=DIFFERENCE,
            frames=min(estimator.frames) + 1,
            **{**entries, "extra": {**entries["extra"], **found.remarks}},
        )
        result.append(
            Spectrum("raman", wavenumber, intensity, UNITS[detection.form], conventions, standard_error=error, verdict=verdict)
        )
    return result


def _stamped(spectrum: Spectrum, *, quantity: str | None = None, form: str | None = None, **extra: Any) -> Spectrum:
    """The spectrum with its own quantity and entries; ``form`` says which correlation stands in the shared form."""
    conventions = spectrum.conventions
    if form is not None:
        conventions = replace(conventions, form=f"{form}; {conventions.form}")
    conventions = replace(conventions, extra={**conventions.extra, **extra})
    return replace(spectrum, quantity=quantity or spectrum.quantity, conventions=conventions)


def _axis(name: str) -> tuple[float, float, float]:
    return (float(name == "x"), float(name == "y"), float(name == "z"))


def _unit(vector: ArrayLike, name: str) -> tuple[float, float, float]:
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if values.shape != (3,) or not np.isfinite(length) or length == 0:
        raise InputError(f"{name}: {vector!r} is no direction; give three numbers that are not all 0")
    first, second, third = (values / length).tolist()
    return (first, second, third)
