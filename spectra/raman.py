"""Raman spectra from a polarizability series: absolute Stokes cross-sections, activities, reduced spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.corrections import reduced_wavenumber, relative_to_harmonic
from vibraloom.spectra.decomposition import beside, closed_parts, part_pairings
from vibraloom.spectra.estimator import (
    DIFFERENCE,
    as_replicas,
    difference_attenuation,
    positive,
)
from vibraloom.spectra.estimator_options import EstimatorOptions, estimator_for, takes
from vibraloom.spectra.lag_products import Pairing
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    PLANCK_C_EV_CM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

Array = NDArray[np.float64]
Series = NDArray[Any] | Sequence[NDArray[Any]]

LARGEST_ANTISYMMETRY = 0.01
"""Largest antisymmetric part of a tensor, relative to the largest element of the series."""

UNITS = {
    "stokes": "1e-30 cm^2/sr/cm^-1",
    "activity": "angstrom^4/amu/cm^-1",
    "reduced": "angstrom^6/cm^-1",
}
"""Unit of each form."""

_ACTIVITY = (
    "2c/kT FT<.>, per harmonic mode of area a'^2 (isotropic), 4/45 g'^2 (anisotropic),"
    " a'^2+4/45 g'^2 (VV), g'^2/15 (VH)"
)
_FORMS = {
    "activity": f"activity: {_ACTIVITY}, 45a'^2+7g'^2 (unpolarized = 45 (VV+VH))",
    "reduced": f"Bose-reduced (1-e^-x) I = h/(8 pi^2 c nu) times the activity [{_ACTIVITY}]; unpolarized = VV+VH",
    "stokes": "differential cross-section (2 pi)^4 L h/(8 pi^2 c nu (1-e^-x)) times the activity"
    f" [{_ACTIVITY}]; unpolarized = VV+VH; L = {{laser}}",
}


@takes(EstimatorOptions)
def raman(
    polarizability: Series,
    timestep: float,
    *,
    temperature: float,
    components: str | None = None,
    laser_wavelength: float = 532.0,
    form: str = "stokes",
    detector: str = "energy",
    quantum_correction: str = "harmonic",
    parts: Mapping[str, Series] | None = None,
    **options: Unpack[EstimatorOptions],
) -> dict[str, Spectrum]:
    """Raman spectra from a polarizability series, averaged over orientations.

    With a = Tr(alpha)/3 and b = alpha - a 1: isotropic FT<adot adot>, anisotropic (2/15) FT<Tr bdot bdot>,
    VV = isotropic + anisotropic, VH = 3/4 anisotropic. Derivatives are forward differences, their
    attenuation divided out. Cross-section by Placzek (D. A. Long, The Raman Effect (2002)): for a fundamental
    (2 pi)^4 (nu_L - nu)^4 h / (8 pi^2 c nu (1 - e^-x)) (a'^2 + 4/45 g'^2 ...), per steradian.

    Args:
        polarizability: (Å³) Array with shape (F, 3, 3), or (F, 6) or (F, 9) with ``components``; or a list of
            independent ones. Of the whole cell or molecule.
        timestep: (fs) time between frames.
        temperature: K.
        components: order of the columns of a flat series, e.g. ``xx,yy,zz,xy,yz,zx``.
        laser_wavelength: nm.
        form: ``stokes`` (cross-section per cell or molecule), ``activity`` (band areas in Å⁴/amu, as a
            quantum chemistry program prints) or ``reduced``. In ``stokes`` and ``reduced`` the bin at 0,
            where they diverge, is set to 0.
        detector: ``energy``: (nu_L - nu)^4; ``counts``: nu_L (nu_L - nu)^3, for detectors that count photons.
        parts: label ``decomposition/name`` -> (Å³) series like ``polarizability``; they must sum to it. Each part holds
            half of its cross terms, so that parts sum to the whole in every spectrum.
        quantum_correction: see :func:`vibraloom.spectra.corrections.quantum_correction`.
        options: of the estimate, see :class:`vibraloom.spectra.estimator_options.EstimatorOptions`.

    Returns:
        ``isotropic``, ``anisotropic``, ``vv``, ``vh``, ``unpolarized``.

    Raises:
        InputError: wrong shape or column order, NaN, an asymmetric tensor, parts that do not sum to the whole, a
            correlation longer than the run.
    """
    interval = positive(timestep, "timestep", "fs")
    tensors = symmetric_tensors(polarizability, components)
    contributions = closed_parts(
        {label: symmetric_tensors(each, components) for label, each in (parts or {}).items()},
        tensors,
        "polarizability",
        free_constant=True,
    )
    return _spectra(
        [_invariant_derivatives(each, interval) for each in tensors],
        {label: [_invariant_derivatives(each, interval) for each in runs] for label, runs in contributions.items()},
        interval,
        options,
        Detection(temperature, laser_wavelength, form, detector, quantum_correction),
        differenced=True,
    )


@takes(EstimatorOptions)
def raman_from_derivatives(
    derivatives: Series,
    timestep: float,
    *,
    temperature: float,
    differenced: bool,
    laser_wavelength: float = 532.0,
    form: str = "stokes",
    detector: str = "energy",
    quantum_correction: str = "harmonic",
    parts: Mapping[str, Series] | None = None,
    **options: Unpack[EstimatorOptions],
) -> dict[str, Spectrum]:
    """As :func:`raman`, from the time derivative of the polarizability.

    Args:
        derivatives: (Å³/fs) Array with shape (F, 3, 3), or a list of independent ones.
        differenced: they are forward differences, whose attenuation is to be divided out.
        parts: label ``decomposition/name`` -> series like ``derivatives``, which they must sum to, as from
            :func:`vibraloom.spectra.decomposition.labelled_derivatives`.
    """
    tensors = symmetric_tensors(derivatives, None)
    contributions = closed_parts(
        {label: symmetric_tensors(each, None) for label, each in (parts or {}).items()}, tensors, "derivative"
    )
    return _spectra(
        [_invariants(each) for each in tensors],
        {label: [_invariants(each) for each in runs] for label, runs in contributions.items()},
        positive(timestep, "timestep", "fs"),
        options,
        Detection(temperature, laser_wavelength, form, detector, quantum_correction),
        differenced=differenced,
    )


@dataclass(frozen=True)
class Detection:
    """How Raman scattering is measured, and what is given.

    Attributes:
        temperature: K.
        laser_wavelength: nm.
        form: ``stokes``, ``activity`` or ``reduced``.
        detector: ``energy`` or ``counts``.
        quantum_correction: its name.

    Raises:
        InputError: a value that is not allowed.
    """

    temperature: float
    laser_wavelength: float = 532.0
    form: str = "stokes"
    detector: str = "energy"
    quantum_correction: str = "harmonic"

    def __post_init__(self) -> None:
        positive(self.temperature, "temperature", "K")
        positive(self.laser_wavelength, "laser_wavelength", "nm")
        if self.form not in UNITS:
            raise InputError(f"form: {self.form!r}; allowed: {', '.join(UNITS)}")
        if self.detector not in ("energy", "counts"):
            raise InputError(f"detector: {self.detector!r}; allowed: energy, counts")

    def factor(self, wavenumber: Array) -> Array:
        """What turns FT<adot adot> in Å⁶/fs into the form: Array with shape (B,)."""
        activity = 2 * SPEED_OF_LIGHT_CM_PER_FS * AMU_ANGSTROM2_PER_FS2_IN_EV / (BOLTZMANN_EV_PER_K * self.temperature)
        factor = activity * relative_to_harmonic(self.quantum_correction, wavenumber, self.temperature)
        if self.form == "stokes":
            return factor * stokes_factor(wavenumber, self.temperature, self.laser_wavelength, self.detector)
        return factor * _squared_amplitude(wavenumber) if self.form == "reduced" else factor

    @property
    def mixtures(self) -> dict[str, tuple[float, float]]:
        """Weights of FT<adot adot> and of (2/15) FT<Tr bdot bdot> in each of the five averages."""
        scale = 45.0 if self.form == "activity" else 1.0
        return {
            "isotropic": (1.0, 0.0),
            "anisotropic": (0.0, 1.0),
            "vv": (1.0, 1.0),
            "vh": (0.0, 0.75),
            "unpolarized": (scale, 1.75 * scale),
        }

    @property
    def entries(self) -> dict[str, Any]:
        """Entries of the conventions that say all this."""
        power = "(nu_L-nu)^4" if self.detector == "energy" else "nu_L (nu_L-nu)^3 (photon counts)"
        stokes = self.form == "stokes"
        return {
            "quantum": self.quantum_correction,
            "temperature": self.temperature,
            "notes": [] if self.form == "activity" else ["the bin at zero wavenumber is set to 0"],
            "laser_wavelength": self.laser_wavelength if stokes else None,
            "form": _FORMS[self.form].format(laser=power),
            "extra": {"detector": self.detector} if stokes else {},
        }


def _spectra(
    derivatives: Sequence[Array],
    parts: Mapping[str, Sequence[Array]],
    timestep: float,
    options: EstimatorOptions,
    detection: Detection,
    *,
    differenced: bool,
) -> dict[str, Spectrum]:
    """The five averages from columns whose squares are the invariants, see :func:`_invariants`."""
    plan = estimator_for([len(each) for each in derivatives], timestep, **options)
    # squares of column 0 are isotropic, those of the other five anisotropic
    mixtures = detection.mixtures
    wavenumber = plan.wavenumber
    factor = detection.factor(wavenumber)
    if differenced:
        factor = factor / difference_attenuation(wavenumber, timestep)
    columns = beside(derivatives, parts)
    if plan.method == "cepstral":  # a logarithm does not mix: each spectrum by itself
        found = plan.estimate(columns, [Pairing.of(range(6), weights=_weights(*mix)) for mix in mixtures.values()])
    else:
        both = [one for some in ((0,), range(1, 6)) for one in part_pairings(some, 6, len(parts))]
        found = plan.estimate(columns, both)
    count = 1 + len(parts)
    result = {}
    for number, (name, (isotropic, anisotropic)) in enumerate(mixtures.items()):
        if plan.method == "cepstral":
            curves, blocks = found.pooled[[number]] * factor, found.blocks[:, number]
        else:
            curves = (isotropic * found.pooled[:count] + anisotropic * 2 / 15 * found.pooled[count:]) * factor
            blocks = isotropic * found.blocks[:, 0] + anisotropic * 2 / 15 * found.blocks[:, count]
        error, verdict = plan.judge(curves[0], blocks * factor, found.error_of(number, factor))
        entries = detection.entries
        entries["extra"] |= found.remarks
        result[name] = Spectrum(
            quantity=f"raman_{name}",
            wavenumber=wavenumber,
            intensity=curves[0],
            unit=UNITS[detection.form],
            conventions=plan.conventions(
                curves[0],
                derivative=DIFFERENCE if differenced else "none: the derivative itself",
                frames=min(plan.frames) + differenced,
                **entries,
            ),
            standard_error=error,
            verdict=verdict,
            parts={label: curves[1 + part] for part, label in enumerate(parts)},
        )
    return result


def _weights(isotropic: float, anisotropic: float) -> Array:
    """Weights of the squares of the six columns in a mixture."""
    return np.array([isotropic, *[anisotropic * 2 / 15] * 5])


def stokes_factor(wavenumber: Array, temperature: float, laser_wavelength: float, detector: str = "energy") -> Array:
    """Differential Stokes cross-section of a fundamental over its activity a'^2 + ..., by Placzek.

    (2 pi)^4 L h / (8 pi^2 c nu (1 - e^-x)) with L = (nu_L - nu)^4, or nu_L (nu_L - nu)^3 for photon counts.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        temperature: K.
        laser_wavelength: nm.
        detector: ``energy`` or ``counts``.

    Returns:
        (1e-30 cm²/sr per Å⁴/amu) Array with shape (B,); 0 at zero and from the laser's wavenumber on.
    """
    laser = 1e7 / laser_wavelength
    scattered = np.maximum(laser - wavenumber, 0.0)
    power = scattered**4 if detector == "energy" else laser * scattered**3
    occupied = -np.expm1(-reduced_wavenumber(wavenumber, temperature))  # 1 - e^-x
    amplitude = _squared_amplitude(wavenumber)
    result = np.zeros_like(amplitude)
    # amu Å² (Å⁴/amu) = Å⁶ = 1e-48 cm⁶
    result[occupied > 0] = (2 * np.pi) ** 4 * (power * amplitude)[occupied > 0] / occupied[occupied > 0] * 1e-48 / 1e-30
    return result


def symmetric_tensors(polarizability: Series, components: str | None) -> list[Array]:
    """Series of tensors as (F, 6) in the order xx yy zz xy yz zx, float64, one per replica.

    Raises:
        InputError: wrong shape, unknown or missing column order, NaN, or an antisymmetric part above 1 %.
    """
    if components is None:
        shape = np.shape(polarizability[0] if isinstance(polarizability, (list, tuple)) else polarizability)
        if len(shape) < 3:
            raise InputError(f"polarizability: shape {shape} without an order of columns; give components: xx,yy,zz,xy,yz,zx")
        tensors = as_replicas(polarizability, None, "polarizability")
    else:
        width, order = _columns(components)
        series = as_replicas(polarizability, width, "polarizability")
        if width == 6:
            return [each[:, [order[place] for place in (0, 4, 8, 1, 5, 2)]].astype(np.float64, copy=False) for each in series]
        tensors = [each[:, order].reshape(-1, 3, 3) for each in series]
    result = []
    for replica, each in enumerate(tensors):
        label = f"polarizability, replica {replica}" if len(tensors) > 1 else "polarizability"
        if each.shape[1:] != (3, 3):
            raise InputError(f"{label}: shape {each.shape}; it must be (frames, 3, 3)")
        values = each.astype(np.float64)
        skew = np.abs(values - values.transpose(0, 2, 1)).max(axis=(1, 2)) / 2
        if skew.max() > LARGEST_ANTISYMMETRY * np.abs(values).max():
            frame = int(np.argmax(skew))
            raise InputError(
                f"{label}: frame {frame} has an antisymmetric part of {skew[frame]:.3g} angstrom^3, above"
                f" {100 * LARGEST_ANTISYMMETRY:.0f} %; check the order of components or the response calculation"
            )
        values = (values + values.transpose(0, 2, 1)) / 2
        result.append(values[:, [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]])
    return result


def square_tensors(polarizability: NDArray[Any], components: str) -> NDArray[Any]:
    """Tensors from their columns.

    Args:
        polarizability: (Å³) Array with shape (..., 6) or (..., 9).
        components: order of the columns, e.g. ``xx,yy,zz,xy,yz,zx``.

    Returns:
        (Å³) Array with shape (..., 3, 3).

    Raises:
        InputError: unknown or missing columns, or another number of them.
    """
    width, order = _columns(components)
    if polarizability.shape[-1] != width:
        raise InputError(f"components: {components!r} names {width} columns; polarizability has {polarizability.shape[-1]}")
    return polarizability[..., order].reshape(*polarizability.shape[:-1], 3, 3)


def _columns(components: str) -> tuple[int, list[int]]:
    """Number of the columns that are named, and the column of each element, row by row."""
    names = [name.strip() for name in components.lower().split(",")]
    pairs = ["".join(sorted(name)) for name in names]
    full = [first + second for first in "xyz" for second in "xyz"]
    if set(names) - set(full) or len(set(pairs)) != 6 or len(names) not in (6, 9) or len(set(names)) != len(names):
        raise InputError(f"components: {components!r}; allowed: six or nine names, each element once, e.g. xx,yy,zz,xy,yz,zx")
    found = pairs if len(names) == 6 else names
    return len(names), [found.index("".join(sorted(each)) if found is pairs else each) for each in full]


@numba.njit(cache=True, nogil=True)
def _invariant_derivatives(tensors: Array, timestep: float) -> Array:
    """:func:`_invariants` of the forward differences over dt, in one pass."""
    result = np.empty((len(tensors) - 1, 6))
    for frame in range(len(result)):
        xx, yy, zz = (
            (tensors[frame + 1, 0] - tensors[frame, 0]) / timestep,
            (tensors[frame + 1, 1] - tensors[frame, 1]) / timestep,
            (tensors[frame + 1, 2] - tensors[frame, 2]) / timestep,
        )
        result[frame, 0] = (xx + yy + zz) / 3
        result[frame, 1] = (xx - yy) / np.sqrt(2.0)
        result[frame, 2] = (2 * zz - xx - yy) / np.sqrt(6.0)
        result[frame, 3] = np.sqrt(2.0) * (tensors[frame + 1, 3] - tensors[frame, 3]) / timestep
        result[frame, 4] = np.sqrt(2.0) * (tensors[frame + 1, 4] - tensors[frame, 4]) / timestep
        result[frame, 5] = np.sqrt(2.0) * (tensors[frame + 1, 5] - tensors[frame, 5]) / timestep
    return result


def _invariants(tensors: Array) -> Array:
    """Tensors xx yy zz xy yz zx as the mean and five columns whose squares sum to Tr(b b)."""
    xx, yy, zz, xy, yz, zx = tensors.T
    columns = ((xx + yy + zz) / 3, (xx - yy) / np.sqrt(2), (2 * zz - xx - yy) / np.sqrt(6))
    # each off-diagonal element stands twice in the trace
    return np.stack([*columns, np.sqrt(2) * xy, np.sqrt(2) * yz, np.sqrt(2) * zx], axis=1)


def _squared_amplitude(wavenumber: Array) -> Array:
    """h / (8 pi^2 c nu), the zero-point mean square of a normal coordinate, in amu·Å²; 0 at nu = 0."""
    result = np.zeros_like(wavenumber)
    above = wavenumber > 0
    frequency = SPEED_OF_LIGHT_CM_PER_FS * wavenumber[above]
    quantum = PLANCK_C_EV_CM / SPEED_OF_LIGHT_CM_PER_FS  # h in eV fs
    result[above] = quantum / (8 * np.pi**2 * frequency) / AMU_ANGSTROM2_PER_FS2_IN_EV
    return result
