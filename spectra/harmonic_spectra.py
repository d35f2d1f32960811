"""Spectra of normal modes: infrared, Raman (powder and oriented), dielectric function and density of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, xlogy

from vibraloom.errors import InputError
from vibraloom.spectra.estimator import positive
from vibraloom.spectra.harmonic import (
    KM_PER_MOL_PER_E2_PER_AMU,
    HarmonicDerivatives,
    NormalModes,
    dielectric_function,
    oscillator_strengths,
    raman_invariants,
    raman_tensors,
)
from vibraloom.spectra.mode_assignment import species_fractions
from vibraloom.spectra.oriented_raman import Geometry
from vibraloom.spectra.raman import UNITS, Detection
from vibraloom.spectra.spectrum import Conventions, Spectrum, Verdict
from vibraloom.units import AVOGADRO

Array = NDArray[np.float64]

SHAPES = {
    "lorentzian": "(w/2)/pi [1/((nu-nu_m)^2+(w/2)^2) + 1/((nu+nu_m)^2+(w/2)^2)]",
    "gaussian": "normal distributions of full width w at half maximum at nu_m and -nu_m",
    "oscillator": "(2/pi) w nu^2/((nu_m^2-nu^2)^2+w^2 nu^2), the damped oscillator",
}
"""Line shapes by name, of full width w at half maximum; each has area 1 over 0 to infinity."""

LOWEST = 1.0
"""(cm⁻¹) Modes below it, imaginary ones among them, are left off a spectrum: their Raman lines would diverge."""

_DEFAULT_REACH = 20.0  # widths that the axis goes on above the highest mode
_LARGEST = 2**22  # numbers held at once while lines are laid on the axis
_RAMAN = {
    "isotropic": (1.0, 0.0),
    "anisotropic": (0.0, 4 / 45),
    "vv": (1.0, 4 / 45),
    "vh": (0.0, 1 / 15),
    "unpolarized": (1.0, 7 / 45),
}
_RAMAN_FORM = "harmonic fundamentals, a'^2 (isotropic), 4/45 g'^2 (anisotropic), a'^2+4/45 g'^2 = (10 G0+4 G2)/30 (VV),"
_RAMAN_FORM += " g'^2/15 = (5 G1+3 G2)/30 (VH)"
_FACTORS = {
    "activity": "45a'^2+7g'^2 (unpolarized = 45 (VV+VH))",
    "reduced": "times h/(8 pi^2 c nu_m); unpolarized = VV+VH",
    "stokes": "times (2 pi)^4 L h (n+1)/(8 pi^2 c nu_m), L = {laser} at nu_m; unpolarized = VV+VH",
}


def harmonic_spectra(
    derivatives: HarmonicDerivatives,
    *,
    temperature: float,
    width: float = 10.0,
    shape: str = "lorentzian",
    highest: float | None = None,
    spacing: float = 1.0,
    absorption: bool | None = None,
    laser_wavelength: float = 532.0,
    form: str = "stokes",
    detector: str = "energy",
    geometries: Sequence[str | Geometry] = (),
) -> dict[str, Spectrum]:
    """Every spectrum that the derivatives allow, with a named line shape that keeps each band's area.

    Values are averages over bins, so that the sum over bins times their spacing is the area whatever the spacing.
    Raman factors are taken at each mode's wavenumber: (nu_L - nu_m)^4 (n + 1) / nu_m.

    Args:
        derivatives: Hessian, masses, and what is known of dipole and polarizability.
        temperature: K.
        width: (cm⁻¹) full width at half maximum.
        shape: name in :data:`SHAPES`.
        highest: (cm⁻¹) end of the axis; None: 20 widths above the highest mode.
        spacing: (cm⁻¹) between bins.
        absorption: infrared as n·alpha of a bulk crystal, area N_A^-1 V^-1 times that in km/mol; False: km/mol, right for
            molecules and slabs. None: n·alpha if there is a cell.
        laser_wavelength: nm.
        form: ``stokes``, ``activity`` or ``reduced``, as in :func:`vibraloom.spectra.raman.raman`.
        detector: ``energy`` or ``counts``.
        geometries: scattering geometries of an oriented sample, in Porto's notation, e.g. ``z(xy)z``, or of any
            directions: the activity is (e_s · dalpha/dQ · e_i)². The axes are those of the derivatives.

    Returns:
        ``vdos`` (parts ``species/X``); with dipole derivatives ``infrared`` (parts ``polarization/x``, ``/y``, ``/z``) and
        for a crystal ``dielectric_real``, ``dielectric_imaginary`` (mean of the diagonal, parts its three thirds);
        with polarizability derivatives ``raman_isotropic``, ``raman_anisotropic``, ``raman_vv``, ``raman_vh``,
        ``raman_unpolarized`` and ``raman_z(xy)z`` for each geometry.

    Raises:
        InputError: a value that is not allowed, or derivatives that cannot be used.
    """
    detection = Detection(temperature, laser_wavelength, form, detector)
    modes = derivatives.modes()
    lines = _Lines(derivatives, modes, temperature, width, shape, highest, spacing)
    shares = species_fractions(modes, derivatives.symbols)
    count = np.ones(len(modes.wavenumber))
    parts = {f"species/{name}": share for name, share in shares.items()}
    result = {"vdos": lines.spectrum("vdos", "cm", "Sum_m delta(nu-nu_m), parts |e_m|^2 of a species", count, parts)}
    if derivatives.dipole_derivatives is not None:
        result |= _infrared(derivatives, modes, lines, absorption)
    if derivatives.polarizability_derivatives is not None:
        result |= _raman(derivatives, modes, lines, detection, geometries)
    elif geometries:
        raise InputError(f"geometries: {geometries[0]!r} without polarizability derivatives; give Raman tensors")
    return result


def density_of_states(
    wavenumber: NDArray[Any],
    weights: NDArray[Any],
    shares: Mapping[str, NDArray[Any]],
    *,
    width: float = 10.0,
    shape: str = "gaussian",
    highest: float | None = None,
    spacing: float = 1.0,
) -> Spectrum:
    """Phonon density of states from a mesh of wave vectors, per cell: its integral is 3A.

    Args:
        wavenumber: (cm⁻¹) Array with shape (Q, M), imaginary ones as negative numbers.
        weights: Array with shape (Q,), multiplicity of the wave vectors.
        shares: label -> Array with shape (Q, M), which sum to 1, e.g. |e|² by species.
        width, shape, highest, spacing: as in :func:`harmonic_spectra`.

    Returns:
        Spectrum (cm), parts ``species/X``.

    Raises:
        InputError: shapes that do not fit, or a value that is not allowed.
    """
    nu, weight = np.asarray(wavenumber, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if nu.ndim != 2 or weight.shape != nu.shape[:1]:
        raise InputError(f"weights: shape {weight.shape} for wavenumbers {nu.shape}; one weight per wave vector")
    for name, share in shares.items():
        if np.shape(share) != nu.shape:
            raise InputError(f"shares: {name} has shape {np.shape(share)}; it must be {nu.shape}")
    states = (weight / weight.sum())[:, None] * np.ones_like(nu)
    kept = nu >= -LOWEST  # acoustic modes at Gamma are states at zero
    centre = np.maximum(nu[kept], 0.0)
    axis = _axis(centre, width, shape, highest, spacing)
    areas = np.stack([states[kept], *((states * np.asarray(share))[kept] for share in shares.values())])
    total, *parts = broadened(centre, areas, width=width, shape=shape, bins=len(axis), spacing=spacing)
    notes, verdict = _judged(nu[~kept], "over the mesh")
    return Spectrum(
        quantity="vdos",
        wavenumber=axis,
        intensity=total,
        unit="cm",
        conventions=_conventions(
            width, shape, notes, "Sum_qm delta(nu-nu_qm) / N_q, parts |e_qm|^2 of a species", wave_vectors=int(weight.sum())
        ),
        verdict=verdict,
        parts={f"species/{name}": part for name, part in zip(shares, parts, strict=True)},
    )


def broadened(
    centre: NDArray[Any], area: NDArray[Any], *, width: float, shape: str, bins: int, spacing: float = 1.0
) -> Array:
    """Lines as averages over bins 0, 1, … of the axis; the bin at 0 holds what lies between 0 and half a spacing.

    Args:
        centre: (cm⁻¹) Array with shape (M,), not negative.
        area: Array with shape (…, M).
        width: (cm⁻¹) full width at half maximum.
        shape: name in :data:`SHAPES`.
        bins: number of bins.
        spacing: (cm⁻¹) between them.

    Returns:
        (area per cm⁻¹) Array with shape (…, bins).
    """
    edges = np.concatenate([[0.0], (np.arange(bins) + 0.5) * spacing])
    centres, areas = np.asarray(centre, dtype=np.float64)[:, None], np.asarray(area, dtype=np.float64)
    result = np.zeros((*areas.shape[:-1], bins))
    together = max(1, _LARGEST // len(edges))
    for start in range(0, len(centres), together):
        some = slice(start, start + together)
        result += areas[..., some] @ np.diff(_cumulative(shape, edges, centres[some], width), axis=1)
    return result / spacing


def _cumulative(shape: str, edge: Array, centre: Array, width: float) -> Array:
    """Area of a line between 0 and the edges; 1 at infinity. What a line would lose below 0 is folded back."""
    if shape == "lorentzian":
        return (np.arctan(2 * (edge - centre) / width) + np.arctan(2 * (edge + centre) / width)) / np.pi
    if shape == "gaussian":
        scale = 2 * np.sqrt(np.log(2.0)) / width
        return (erf(scale * (edge - centre)) + erf(scale * (edge + centre))) / 2
    # poles of 1/(nu_m² - nu² - i w nu); both lie below the axis, where the logarithm is smooth
    root = np.sqrt(4 * centre.astype(np.complex128) ** 2 - width**2)
    root = np.where(np.abs(root) < 1e-4 * width, 1e-4 * width, root)  # critically damped: a double pole
    first, second = (-1j * width + root) / 2, (-1j * width - root) / 2
    primitive = -(xlogy(first, edge - first) - xlogy(second, edge - second)) / (first - second)
    at_zero = -(xlogy(first, -first) - xlogy(second, -second)) / (first - second)
    return 2 / np.pi * np.imag(primitive - at_zero)


def _axis(centre: Array, width: float, shape: str, highest: float | None, spacing: float) -> Array:
    positive(width, "width", "cm^-1")
    step = positive(spacing, "spacing", "cm^-1")
    if shape not in SHAPES:
        raise InputError(f"shape: {shape!r}; allowed: {', '.join(SHAPES)}")
    top = centre.max(initial=0.0) + _DEFAULT_REACH * width if highest is None else positive(highest, "highest", "cm^-1")
    return step * np.arange(int(np.floor(top / step + 1e-9)) + 1, dtype=np.float64)


class _Lines:
    """Modes on an axis."""

    def __init__(
        self,
        derivatives: HarmonicDerivatives,
        modes: NormalModes,
        temperature: float,
        width: float,
        shape: str,
        highest: float | None,
        spacing: float,
    ) -> None:
        self.kept = modes.wavenumber >= LOWEST
        self.centre = modes.wavenumber[self.kept]
        self.axis = _axis(self.centre, width, shape, highest, spacing)
        self._spacing = spacing
        self.temperature, self.width, self.shape, self.volume = temperature, width, shape, derivatives.volume
        self.notes, self.verdict = _judged(modes.wavenumber[~self.kept], "at Gamma" if derivatives.cell is not None else "")
        if derivatives.largest_force is not None and derivatives.largest_force > 0.05:
            self.notes += (f"not a minimum: a force of {derivatives.largest_force:.2g} eV/angstrom is left",)
        self.masses = {
            str(symbol): sorted({round(float(mass), 6) for name, mass in zip(derivatives.symbols, derivatives.masses, strict=True)
                                 if name == symbol})
            for symbol in dict.fromkeys(derivatives.symbols)
        }

    def spectrum(
        self,
        quantity: str,
        unit: str,
        form: str,
        areas: Array,
        parts: Mapping[str, Array] | None = None,
        **fields: Any,
    ) -> Spectrum:
        """Lines with ``areas`` (M,) and those of their parts."""
        stacked = np.stack([areas, *(parts or {}).values()])[:, self.kept]
        total, *rest = broadened(
            self.centre, stacked, width=self.width, shape=self.shape, bins=len(self.axis), spacing=self._spacing
        )
        return self.given(quantity, unit, form, total, dict(zip(parts or {}, rest, strict=True)), **fields)

    def given(
        self,
        quantity: str,
        unit: str,
        form: str,
        intensity: Array,
        parts: dict[str, Array],
        *,
        line: str | None = None,
        **fields: Any,
    ) -> Spectrum:
        """A spectrum on the axis, with the conventions of all; ``line``: its shape where it is its own."""
        return Spectrum(
            quantity=quantity,
            wavenumber=self.axis,
            intensity=intensity,
            unit=unit,
            conventions=_conventions(
                self.width, line or self.shape, self.notes, form, self.temperature, masses=self.masses, **fields
            ),
            verdict=self.verdict,
            parts=parts,
        )


def _judged(left_off: Array, where: str) -> tuple[tuple[str, ...], Verdict]:
    imaginary = left_off[left_off < -LOWEST]
    notes: tuple[str, ...] = ()
    if len(left_off) > len(imaginary):
        notes += (f"{len(left_off) - len(imaginary)} modes below {LOWEST:g} cm^-1 left off",)
    if len(imaginary):
        text = f"{len(imaginary)} imaginary modes {where}".rstrip() + f", down to {-imaginary.min():.1f}i cm^-1, left off"
        return (*notes, text), Verdict(False, f"{text}: the geometry is no minimum, relax it further")
    return notes, Verdict(True, "harmonic modes: no sampling, no statistical error")


def _conventions(
    width: float,
    shape: str,
    notes: tuple[str, ...],
    form: str,
    temperature: float | None = None,
    *,
    volume: float | None = None,
    laser_wavelength: float | None = None,
    **extra: Any,
) -> Conventions:
    return Conventions(
        estimator="harmonic modes",
        window=f"none: {shape} lines of {width:g} cm^-1 full width at half maximum, area kept",
        correlation_time=0.0,  # no series: no depth, no time step, no frames
        derivative="derivatives along normal coordinates",
        quantum_correction=None if temperature is None else "harmonic",
        timestep=0.0,
        frames=0,
        replicas=1,
        blocks=0,
        temperature=temperature,
        volume=volume,
        laser_wavelength=laser_wavelength,
        form=form,
        notes=notes,
        extra={"line_shape": shape, "line_width": width, "line": SHAPES[shape], **extra},
    )


def _infrared(
    derivatives: HarmonicDerivatives, modes: NormalModes, lines: _Lines, absorption: bool | None
) -> dict[str, Spectrum]:
    strengths = oscillator_strengths(derivatives.dipole_derivatives, modes)  # type: ignore[arg-type]
    areas = KM_PER_MOL_PER_E2_PER_AMU * np.diagonal(strengths, axis1=1, axis2=2)
    volume = lines.volume
    bulk = volume is not None if absorption is None else absorption
    quantity, unit, form = "infrared_molar", "km/mol/cm^-1", "area N_A |dmu/dQ|^2/(12 eps0 c^2), base e"
    if bulk:
        if volume is None:
            raise InputError("absorption: n*alpha of a molecule is not defined; leave it out, or give a cell")
        # km/mol over N_A V: 1e5 cm over Å³ of 1e-24 cm³, hence cm⁻²
        areas = areas * 1e5 / (AVOGADRO * volume * 1e-24)
        quantity, unit = "infrared", "cm^-1"
        form = "n*alpha, area |dmu/dQ|^2/(12 eps0 c^2 V), mean over directions, base e"
    parts = {f"polarization/{axis}": areas[:, number] for number, axis in enumerate("xyz")}
    result = {
        "infrared": lines.spectrum(quantity, unit, form, areas.sum(axis=1), parts, volume=volume if bulk else None)
    }
    if bulk and volume is not None:
        epsilon = dielectric_function(
            lines.axis,
            strengths[lines.kept],
            lines.centre,
            volume=volume,
            width=lines.width,
            electronic=derivatives.dielectric,
        )
        form = "eps_inf + Sum_m S_m/(eps0 V (w_m^2-w^2-i w gamma)), a third of the trace"
        form += "" if derivatives.dielectric is not None else "; eps_inf = 1: not given"
        for name, values in (("real", epsilon.real), ("imaginary", epsilon.imag)):
            diagonal = np.diagonal(values, axis1=1, axis2=2) / 3
            thirds = {f"polarization/{axis}": diagonal[:, number] for number, axis in enumerate("xyz")}
            result[f"dielectric_{name}"] = lines.given(
                f"dielectric_{name}", "1", form, diagonal.sum(axis=1), thirds, line="oscillator", volume=volume
            )
    return result


def _raman(
    derivatives: HarmonicDerivatives,
    modes: NormalModes,
    lines: _Lines,
    detection: Detection,
    geometries: Sequence[str | Geometry],
) -> dict[str, Spectrum]:
    tensors = raman_tensors(derivatives.polarizability_derivatives, modes)  # type: ignore[arg-type]
    mean, anisotropy = raman_invariants(tensors)
    # both factors hold the same 1/kT; their ratio is that of one fundamental over its activity
    activity = Detection(detection.temperature, form="activity").factor(lines.centre)
    factor = np.zeros(len(modes.wavenumber))
    factor[lines.kept] = detection.factor(lines.centre) / activity
    power = "(nu_L-nu)^4" if detection.detector == "energy" else "nu_L (nu_L-nu)^3 (photon counts)"
    form = f"{_RAMAN_FORM}; {_FACTORS[detection.form].format(laser=power)}"
    entries: dict[str, Any] = {"detector": detection.detector} if detection.form == "stokes" else {}
    entries["laser_wavelength"] = detection.laser_wavelength if detection.form == "stokes" else None
    result = {}
    for name, (isotropic, anisotropic) in _RAMAN.items():
        scale = 45.0 if name == "unpolarized" and detection.form == "activity" else 1.0
        areas = scale * factor * (isotropic * mean + anisotropic * anisotropy)
        result[f"raman_{name}"] = lines.spectrum(f"raman_{name}", UNITS[detection.form], form, areas, **entries)
    for geometry in geometries:
        chosen = geometry if isinstance(geometry, Geometry) else Geometry.porto(geometry)
        areas = factor * np.einsum("mij,i,j->m", tensors, chosen.scattered, chosen.incident) ** 2
        label = f"raman_{chosen.name}"
        form_oriented = f"oriented {chosen.name}: (e_s.dalpha/dQ.e_i)^2; {_FACTORS[detection.form].format(laser=power)}"
        result[label] = lines.spectrum(label, UNITS[detection.form], form_oriented, areas, **entries)
    return result
