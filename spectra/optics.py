"""Optics of stratified media: what a reflection, ATR or transmission experiment sees of a slab's area response.

The infrared response of a slab is a length, chi = alpha_rr / (eps0 A): along the surface (eps - 1) d, normal to it, at
fixed D, (1 - 1/eps) d. A layer of thickness d that holds it goes between given media, and Maxwell's equations do the
rest. Signs are those of exp(-i w t): Im eps > 0 and k > 0 mean absorption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.dielectric import Medium, kramers_kronig
from vibraloom.spectra.estimator import positive
from vibraloom.spectra.slab import ZERO_BIN, fixed_e_to_fixed_d
from vibraloom.spectra.spectrum import Spectrum, Verdict
from vibraloom.spectra.stratified import IDEAL_MIRROR, VACUUM, Layer, reflectance, transmittance
from vibraloom.spectra.uncertainty import verdict

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

RANGE = (200.0, 4500.0)
"""Default range in cm⁻¹ of optical spectra."""
THICKNESS = 1.0
"""Default thickness in Å that an adsorbed layer is given: of no consequence while it is far below the wavelength."""


def at_fixed_displacement(normal: Spectrum, height: float, electronic: float = 0.0) -> Spectrum:
    """Normal response at fixed D from one that fluctuations at fixed E gave: exactly independent of vacuum.

    chi_D = chi_E / (1 + chi_E / L) with L the height of the cell, see :func:`vibraloom.spectra.slab.fixed_e_to_fixed_d`;
    the real part of chi_E is the Kramers–Kronig transform of the imaginary one, plus ``electronic``.

    Args:
        normal: Im alpha_zz / (eps0 A) of the whole axis, from zero wavenumber on.
        height: (Å) of the periodic cell, vacuum included.
        electronic: (Å) alpha_zz / (eps0 A) of the electrons at fixed E, which the dipole series does not hold; 0 for
            fixed charges.

    Returns:
        The same at fixed D. Its error takes the real part to be as uncertain as the imaginary one; parts are dropped,
        since the relation is not linear.

    Raises:
        InputError: not a normal response, an axis that is cut, a response at fixed D already, a height that is not positive.
    """
    _normal_response(normal)
    if normal.conventions.boundary is None or not normal.conventions.boundary.lower().startswith("fixed e"):
        raise InputError(f"normal response: its boundary is {normal.conventions.boundary!r}; only 'fixed E' is converted")
    if not np.isfinite(electronic):
        raise InputError(f"electronic: {electronic} angstrom; it must be finite")
    length = positive(height, "height", "angstrom")
    at_fixed_field = _complex_response(normal) + electronic
    # a volume: 4 pi alpha / V is chi_E / L
    converted = fixed_e_to_fixed_d(at_fixed_field / (4 * np.pi), length) * 4 * np.pi
    slope = 1 / np.abs(1 + at_fixed_field / length) ** 2
    error, model_error = (None if each is None else each * slope for each in (normal.standard_error, normal.model_error))
    conventions = normal.conventions
    return replace(
        normal,
        intensity=converted.imag,
        standard_error=error,
        verdict=_judged(normal, normal.wavenumber, converted.imag, error),
        parts={},
        model_error=model_error,
        conventions=replace(
            conventions,
            boundary=f"fixed D along z, by chi_E/(1 + chi_E/L) from {conventions.boundary}",
            extra={**conventions.extra, "cell_height": length, "electronic_response": electronic},
        ),
    )


def irras_thin_film(normal: Spectrum, *, angle: float, polarization: str = "p", incident: float = 1.0) -> Spectrum:
    """Reflection-absorption -dR/R of an adsorbed layer on a good metal, in the limit of a thin film.

    p: 8 pi n1^3 nu sin^2(theta) / cos(theta) Im alpha_zz / (eps0 A) at fixed D; s: 0 (J. D. E. McIntyre and D. E. Aspnes,
    Surf. Sci. 24, 417 (1971), for |eps| of the metal without bound). This is the ideal mirror: it holds the doubled
    normal field, so that image charges must not be counted in the dipole again. At eps = -900+300i and 75 degrees it is off
    by about 2 % in vacuum and 4 % in water: :func:`irras` is not.

    Args:
        normal: ``normal`` of :func:`vibraloom.spectra.slab.slab_response`, at fixed D.
        angle: (degrees) of incidence, from the normal.
        polarization: ``p`` or ``s``.
        incident: refractive index of the medium before the metal.

    Returns:
        -dR/R, without unit, as ``irras_p`` or ``irras_s``; parts are kept: the formula is linear.

    Raises:
        InputError: a response that is not normal and at fixed D, an angle outside 0 to below 90, another polarisation.
    """
    _normal_response(normal)
    _fixed_displacement(normal)
    if polarization not in ("s", "p"):
        raise InputError(f"polarization: {polarization!r}; allowed: s, p")
    if not 0 <= angle < 90:
        raise InputError(f"angle: {angle} degrees; allowed: 0 to below 90")
    index = positive(incident, "incident", "(refractive index)")
    theta = np.deg2rad(angle)
    # Å to cm
    factor = 8 * np.pi * index**3 * np.sin(theta) ** 2 / np.cos(theta) * normal.wavenumber * 1e-8
    if polarization == "s":
        factor = np.zeros_like(factor)
    intensity = normal.intensity * factor
    error, model_error = (None if each is None else each * factor for each in (normal.standard_error, normal.model_error))
    return _optical(
        normal,
        quantity=f"irras_{polarization}",
        wavenumber=normal.wavenumber,
        intensity=intensity,
        error=error,
        model_error=model_error,
        parts={label: values * factor for label, values in normal.parts.items()},
        form="-dR/R = 8 pi n1^3 nu sin^2(theta)/cos(theta) Im alpha_zz/(eps0 A) for p, 0 for s (thin film on a good metal)",
        extra={"angle": float(angle), "polarization": polarization, "incident_index": index},
    )


def irras(
    response: Mapping[str, Spectrum],
    *,
    angle: float,
    polarization: str,
    metal: Medium = IDEAL_MIRROR,
    incident: Medium = VACUUM,
    thickness: float = THICKNESS,
    background: float = 1.0,
    between: tuple[float, float] = RANGE,
) -> Spectrum:
    """Reflection-absorption -dR/R of a layer on a metal, by the whole stack: incident medium, layer, metal.

    dR is against the same layer without its infrared response.

    Args:
        response: ``parallel`` and ``normal`` (at fixed D) of :func:`vibraloom.spectra.slab.slab_response`, all bins.
        angle: (degrees) of incidence, from the normal.
        polarization: ``p`` or ``s``.
        metal: with its n and k; by default an ideal mirror.
        incident: medium before the layer.
        thickness: (Å) of the layer.
        background: electronic permittivity of the layer.
        between: (cm⁻¹) range.

    Returns:
        -dR/R, without unit, as ``irras_p`` or ``irras_s``, its error propagated to first order. Parts are dropped: only
        the thin-film formula is linear.

    Raises:
        InputError: responses that are cut or not at fixed D, a medium that is not tabulated in the range.
    """
    return _stack_spectrum(
        response, "irras", "-dR/R = 1 - R/R0, layer between the incident medium and the metal",
        incident=incident, before=(), after=(), exit=metal,
        angle=angle, polarization=polarization, thickness=thickness, background=background, between=between,
    )  # fmt: skip


def atr(
    response: Mapping[str, Spectrum],
    *,
    angle: float,
    polarization: str,
    prism: Medium,
    metal: tuple[Medium, float],
    electrolyte: Medium,
    thickness: float = THICKNESS,
    background: float = 1.0,
    between: tuple[float, float] = RANGE,
) -> Spectrum:
    """Internal reflection through a metal film, as in ATR-SEIRAS: absorbance -log10(R/R0) of prism, metal, layer, electrolyte.

    R0 is the same stack without the infrared response of the layer. The metal is a smooth film: the enhancement by
    the roughness of a real one, ten to a hundred times, is not in it, and the record says so.

    Args:
        response: ``parallel`` and ``normal`` (at fixed D) of :func:`vibraloom.spectra.slab.slab_response`, all bins.
        angle: (degrees) of incidence in the prism, from the normal.
        polarization: ``p`` or ``s``.
        prism, electrolyte: the outer media.
        metal: the film's medium and its thickness in Å.
        thickness, background, between: as in :func:`irras`.

    Returns:
        absorbance, base 10, as ``atr_p`` or ``atr_s``.

    Raises:
        InputError: as :func:`irras`.
    """
    return _stack_spectrum(
        response, "atr", "-log10(R/R0), layer between a metal film on a prism and the electrolyte",
        incident=prism, before=(metal,), after=(), exit=electrolyte,
        angle=angle, polarization=polarization, thickness=thickness, background=background, between=between,
        notes=("smooth metal film: no enhancement by roughness",),
    )  # fmt: skip


def transmission(
    response: Mapping[str, Spectrum],
    *,
    angle: float = 0.0,
    polarization: str = "s",
    incident: Medium = VACUUM,
    before: Sequence[tuple[Medium, float]] = (),
    after: Sequence[tuple[Medium, float]] = (),
    exit: Medium = VACUUM,
    thickness: float = THICKNESS,
    background: float = 1.0,
    between: tuple[float, float] = RANGE,
) -> Spectrum:
    """Absorbance -log10(T/T0) of a layer within a stack; T0 is the stack without the layer's infrared response.

    Args:
        response: ``parallel`` and ``normal`` (at fixed D) of :func:`vibraloom.spectra.slab.slab_response`, all bins.
        angle: (degrees) of incidence in the first medium, from the normal.
        polarization: ``s`` or ``p``; the same at normal incidence.
        incident, exit: the outer media.
        before, after: media and thicknesses in Å between the outer media and the layer, in the direction of light.
        thickness, background, between: as in :func:`irras`.

    Returns:
        absorbance, base 10, as ``transmission_s`` or ``transmission_p``.

    Raises:
        InputError: as :func:`irras`.
    """
    return _stack_spectrum(
        response, "transmission", "-log10(T/T0), layer within a stack",
        incident=incident, before=before, after=after, exit=exit,
        angle=angle, polarization=polarization, thickness=thickness, background=background, between=between,
    )  # fmt: skip


def _stack_spectrum(
    response: Mapping[str, Spectrum],
    experiment: str,
    form: str,
    *,
    incident: Medium,
    before: Sequence[tuple[Medium, float]],
    after: Sequence[tuple[Medium, float]],
    exit: Medium,
    angle: float,
    polarization: str,
    thickness: float,
    background: float,
    between: tuple[float, float],
    notes: tuple[str, ...] = (),
) -> Spectrum:
    """The signal of a stack that holds the slab's response, with its error."""
    parallel, normal = _both(response)
    depth = positive(thickness, "thickness", "angstrom")
    electronic = positive(background, "background", "")
    keep = (normal.wavenumber >= between[0]) & (normal.wavenumber <= between[1])
    if keep.sum() < 2:
        raise InputError(f"between: {between[0]:g} to {between[1]:g} cm^-1 holds fewer than two bins; widen it")
    axis = normal.wavenumber[keep]
    front = [Layer.of(medium, extent, axis) for medium, extent in before]
    back = [Layer.of(medium, extent, axis) for medium, extent in after]
    measured = transmittance if experiment == "transmission" else reflectance

    def power(along: ComplexArray | float, across: ComplexArray | float) -> Array:
        shape = np.zeros(len(axis), dtype=np.complex128)
        layer = Layer("slab", depth, electronic + along / depth + shape, 1 / electronic - across / depth + shape)
        return measured(axis, incident, [*front, layer, *back], exit, angle, polarization)

    bare = power(0.0, 0.0)
    if not (bare > 0).all():
        raise InputError(f"{experiment}: without the slab the stack sends no light back or on; take thinner layers around it")

    def signal(along: ComplexArray, across: ComplexArray) -> Array:
        ratio = power(along, across) / bare
        return 1 - ratio if experiment == "irras" else -np.log10(ratio)

    along, across = _complex_response(parallel)[keep], _complex_response(normal)[keep]
    intensity = signal(along, across)

    def propagated(of_parallel: Array | None, of_normal: Array | None) -> Array | None:
        """The signal is close to linear; real and imaginary part are taken as equally uncertain, and independent."""
        if of_parallel is None or of_normal is None:
            return None
        variance = np.zeros_like(intensity)
        for unit in (1.0, 1j):
            variance += (signal(along + unit * of_parallel[keep], across) - intensity) ** 2
            variance += (signal(along, across + unit * of_normal[keep]) - intensity) ** 2
        return np.sqrt(variance)

    def listed(layers: Sequence[tuple[Medium, float]]) -> list[dict[str, Any]]:
        return [{"medium": medium.name, "thickness": float(extent)} for medium, extent in layers]

    return _optical(
        normal,
        quantity=f"{experiment}_{polarization}",
        wavenumber=axis,
        intensity=intensity,
        error=propagated(parallel.standard_error, normal.standard_error),
        model_error=propagated(parallel.model_error, normal.model_error),
        parts={},
        form=form,
        notes=notes,
        extra={
            "angle": float(angle),
            "polarization": polarization,
            "incident": incident.name,
            "layers": [*listed(before), {"medium": "slab", "thickness": depth, "background": electronic}, *listed(after)],
            "exit": exit.name,
        },
    )


def _optical(
    source: Spectrum,
    *,
    quantity: str,
    wavenumber: Array,
    intensity: Array,
    error: Array | None,
    model_error: Array | None,
    parts: dict[str, Array],
    form: str,
    extra: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> Spectrum:
    conventions = source.conventions
    return Spectrum(
        quantity=quantity,
        wavenumber=wavenumber,
        intensity=intensity,
        unit="1",
        conventions=replace(
            conventions,
            form=form,
            notes=(*(note for note in conventions.notes if note != ZERO_BIN), *notes),
            extra={**conventions.extra, **extra},
        ),
        standard_error=error,
        verdict=_judged(source, wavenumber, intensity, error),
        parts=parts,
        model_error=model_error,
    )


def _judged(source: Spectrum, wavenumber: Array, intensity: Array, error: Array | None) -> Verdict | None:
    """Verdict on what was made from a spectrum; None where that has no error bars."""
    conventions = source.conventions
    if error is None:
        return None
    extra = conventions.extra
    return verdict(
        wavenumber,
        intensity,
        error,
        blocks=conventions.blocks or None,  # an estimator with a theory of its own error has none
        depths_per_block=extra.get("block_length", 0.0) / conventions.correlation_time,
        resolution=extra["resolution"],
        independent=conventions.blocks == conventions.replicas,
        limited=any(extra.get("coefficients_limited", ())),
    )


def _complex_response(spectrum: Spectrum) -> ComplexArray:
    return kramers_kronig(spectrum.wavenumber, spectrum.intensity) + 1j * spectrum.intensity


def _both(response: Mapping[str, Spectrum]) -> tuple[Spectrum, Spectrum]:
    if not {"parallel", "normal"} <= set(response):
        raise InputError(f"response: holds {', '.join(response) or 'nothing'}; give parallel and normal of slab_response")
    parallel, normal = response["parallel"], response["normal"]
    _normal_response(normal)
    _fixed_displacement(normal)
    if parallel.quantity != "slab_response_parallel" or parallel.wavenumber[0] != 0:
        raise InputError(f"parallel response: got {parallel.quantity}; give that of slab_response, uncut: KK needs all bins")
    if not np.array_equal(parallel.wavenumber, normal.wavenumber):
        raise InputError("response: parallel and normal have different axes; make both with the same correlation time")
    return parallel, normal


def _normal_response(spectrum: Spectrum) -> None:
    if spectrum.quantity != "slab_response_normal":
        raise InputError(f"normal response: got {spectrum.quantity}; give 'normal' of slab_response")
    if spectrum.wavenumber[0] != 0:
        raise InputError(
            f"normal response: begins at {spectrum.wavenumber[0]:g} cm^-1; give it uncut, cut the result: KK needs all bins"
        )


def _fixed_displacement(spectrum: Spectrum) -> None:
    boundary = spectrum.conventions.boundary or ""
    if not boundary.lower().startswith("fixed d"):
        raise InputError(f"normal response: boundary {boundary!r}; optics need 'fixed D': convert with at_fixed_displacement")
