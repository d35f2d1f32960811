"""Sum-frequency generation: the complex chi2 of a surface from its dipole and polarizability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.corrections import relative_to_harmonic
from vibraloom.spectra.dielectric import kramers_kronig
from vibraloom.spectra.estimator import as_replicas, positive
from vibraloom.spectra.estimator_options import CorrelationOptions, takes
from vibraloom.spectra.molecular_pairs import (
    Molecules,
    Side,
    derivative_entries,
    labels_of,
    pair_entries,
    pair_spectra,
    runs_of,
)
from vibraloom.spectra.raman import symmetric_tensors
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]
Series = NDArray[Any] | Sequence[NDArray[Any]]

POLARIZATIONS = {"ssp": ("xxz", "yyz"), "sps": ("xzx", "yzy"), "pss": ("zxx", "zyy")}
"""Elements pqr that each polarization (sum frequency, visible, infrared) averages; the surface normal is z."""

_FORM = (
    "chi2_pqr = (4 pi i/(kT{area} w)) Int_0^inf e^(iwt) <alphadot_pq(t) mudot_r(0)> dt, alpha as polarizability volume;"
    " P(w_sf) = eps0 chi2 E(w_vis) E(w_ir), fields ~ e^(-iwt); static term <alpha mu>/kT included; no Fresnel factors"
)
_UNITS = {True: ("1e-22 m^2/V", "1e-44 m^4/V^2"), False: ("angstrom^4/V", "angstrom^8/V^2")}


@takes(CorrelationOptions)
def sfg(
    dipole: Series,
    polarizability: Series,
    timestep: float,
    *,
    temperature: float,
    element: str = "ssp",
    components: str | None = None,
    area: float | None = None,
    quantum_correction: str = "harmonic",
    **options: Unpack[CorrelationOptions],
) -> dict[str, Spectrum]:
    """chi2_pqr(w) of a surface from the dipole and the polarizability of its whole.

    chi2 = <alpha_pq mu_r>/kT + (i w/kT) Int_0^inf e^(iwt) <alpha_pq(t) mu_r(0)> dt, times 4 pi, evaluated as
    (i/(kT w)) Int_0^inf e^(iwt) <alphadot_pq(t) mudot_r(0)> dt, which holds the static term (A. Morita and J. T. Hynes,
    J. Phys. Chem. B 106, 673 (2002)). It is harmonic-corrected as it stands. z points out of the liquid: Im chi2 (ssp)
    of free OH is then positive. A symmetric slab whose two faces are both in the series gives zero: see
    :func:`molecular_sfg` for the weights that tell them apart.

    Both series are differenced over the same steps, so that no phase comes between them. The correlation is even in time:
    its directions are averaged, the attenuation sinc^2(w dt/2) is divided out of its transform, the imaginary part, and
    the real part follows by Kramers-Kronig. (The sine transform of a correlation known at frames only would give it near
    resonances only: its kernel is periodic in the sampling rate.) Below the resolution of the window, what leaks from
    the bands is divided by w^2 and has no meaning.

    Args:
        dipole: (e·Å) Array with shape (F, 3), unwrapped; or a list of independent ones.
        polarizability: (Å³) Array with shape (F, 3, 3), or (F, 6) or (F, 9) with ``components``; or a list of such.
        timestep: (fs) time between frames.
        temperature: K.
        element: ``ssp``, ``sps`` or ``pss`` (a surface isotropic in x and y, see :data:`POLARIZATIONS`), or one element
            pqr such as ``xxz`` or ``zzz``.
        components: order of the columns of a flat polarizability, e.g. ``xx,yy,zz,xy,yz,zx``.
        area: (Å²) of the surface cell: gives chi2 in 1e-22 m²/V (Å²/V is 100 of them), quantities ``sfg_...``.
            None: gives chi2 times the area in Å⁴/V, quantities ``sfg_..._times_area``.
        quantum_correction: see :func:`vibraloom.spectra.corrections.quantum_correction`.
        options: of the correlation, see :class:`vibraloom.spectra.estimator_options.CorrelationOptions`.

    Returns:
        ``real``, ``imaginary`` and ``squared`` (their squares added). The error of ``squared`` is propagated from the
        blocks, and holds the squares of the errors of both parts, which noise adds to it.

    Raises:
        InputError: wrong shape, NaN, series that differ in length, an unknown element, a value that must be positive, a
            correlation longer than the run.
    """
    dipoles = as_replicas(dipole, 3, "dipole")
    tensors = symmetric_tensors(polarizability, components)
    if [len(each) for each in dipoles] != [len(each) for each in tensors]:
        raise InputError(
            f"polarizability: {[len(each) for each in tensors]} frames, the dipole has {[len(each) for each in dipoles]};"
            " align both by step"
        )
    square = [0, 3, 5, 3, 1, 4, 5, 4, 2]
    runs = [
        Molecules(dipole=moment[:, None], polarizability=each[:, square].reshape(-1, 1, 3, 3))
        for moment, each in zip(dipoles, tensors, strict=True)
    ]
    return molecular_sfg(
        runs,
        timestep,
        temperature=temperature,
        element=element,
        area=area,
        quantum_correction=quantum_correction,
        **options,
    )


@takes(CorrelationOptions)
def molecular_sfg(
    molecules: Molecules | Sequence[Molecules],
    timestep: float,
    *,
    temperature: float,
    element: str = "ssp",
    cutoff: float | None = None,
    area: float | None = None,
    quantum_correction: str = "harmonic",
    factor: Callable[[Array], Array] | None = None,
    notes: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    **options: Unpack[CorrelationOptions],
) -> dict[str, Spectrum]:
    """chi2_pqr(w) as in :func:`sfg`, from Sum_i Sum_j <alphadot_i(t) w_j mudot_j(0)> over j within a cutoff of i.

    The depth weight w belongs to the molecule whose dipole is taken, and multiplies mudot, never mu; the neighbours are
    those at the time of the dipole. Parts by label hold half of their cross terms, see
    :func:`vibraloom.spectra.molecular_pairs.pair_spectra`; those of ``squared`` are Re chi2* chi2_part.

    Args:
        molecules: with dipoles and polarizabilities; positions and cell for a cutoff; depth weights where both faces of a
            slab are in it.
        timestep: (fs) time between frames.
        temperature, element, area, quantum_correction, options: as in :func:`sfg`.
        cutoff: (Å) 0: each molecule with itself; None: all pairs.
        factor: turns wavenumbers (cm⁻¹) into a factor of chi2, for moments that depend on the wavenumber.
        notes, extra: added to the conventions.

    Returns:
        ``real``, ``imaginary`` and ``squared``.

    Raises:
        InputError: as :func:`sfg` and :func:`vibraloom.spectra.molecular_pairs.pair_spectra`.
    """
    kelvin = positive(temperature, "temperature", "K")
    surface = None if area is None else positive(area, "area", "angstrom^2")
    names = _elements(element)
    far, near = _projections(names)
    estimator, pooled, each_block = pair_spectra(
        molecules,
        timestep,
        Side("polarizability", far),
        Side("dipole", near, depth=True),
        [range(near.shape[1])],
        cutoff=cutoff,
        **options,
    )
    wavenumber = estimator.wavenumber
    scale = 4 * np.pi / (BOLTZMANN_EV_PER_K * kelvin) * relative_to_harmonic(quantum_correction, wavenumber, kelvin)
    if surface is not None:
        scale = scale / surface * 100  # Å²/V in 1e-22 m²/V
    if factor is not None:
        scale = scale * factor(wavenumber)
    chi = _susceptibility(pooled / 2, wavenumber) * scale
    each = _susceptibility(each_block[:, 0] / 2, wavenumber) * scale

    entries = {
        "element": element if len(names) == 1 else f"{element} = ({' + '.join(names)})/{len(names)}",
        "depth_weights": any(run.depth_weights is not None for run in runs_of(molecules)),
        **pair_entries(molecules, cutoff),
        **(extra or {}),
    }
    total = chi[0]
    # the mean of the linear change over blocks is |chi2|^2 itself
    curves = {
        "real": (chi.real, each.real),
        "imaginary": (chi.imag, each.imag),
        "squared": ((total.conj() * chi).real, 2 * (total.conj() * each).real - np.abs(total) ** 2),
    }
    noise = np.zeros_like(wavenumber)
    result = {}
    for name, (values, block_values) in curves.items():
        error, verdict = estimator.judge(values[0], block_values)
        if error is not None and name == "squared":
            error = np.hypot(error, noise)
        elif error is not None:
            noise += error**2
        result[name] = Spectrum(
            quantity=f"sfg_{name}" if surface is not None else f"sfg_{name}_times_area",
            wavenumber=wavenumber,
            intensity=values[0],
            unit=_UNITS[surface is not None][name == "squared"],
            conventions=estimator.conventions(
                np.abs(values[0]),  # a negative chi2 is no fault
                quantum=quantum_correction,
                temperature=kelvin,
                area=surface,
                form=_FORM.format(area=" A" if surface is not None else "") + ("" if surface is not None else ", times the area"),
                notes=notes,
                extra=entries,
                **derivative_entries(molecules, estimator),
            ),
            standard_error=error,
            verdict=verdict,
            parts=dict(zip(labels_of(molecules), values[1:], strict=True)),
        )
    return result


def depth_window(heights: NDArray[Any], inner: float, outer: float) -> Array:
    """Depth weights of a slab with two faces: sign(z) times a ramp from 0 in the middle to 1 at the surfaces.

    The ramp is sin^2(pi/2 (|z| - inner)/(outer - inner)).

    Args:
        heights: (Å) of each molecule over the middle of the slab, not wrapped; Array with shape (F, M).
        inner, outer: (Å) where the ramp begins and ends.

    Returns:
        Array with shape (F, M), from -1 to 1.

    Raises:
        InputError: not 0 <= inner < outer, or heights that are not finite.
    """
    if not 0 <= inner < outer:
        raise InputError(f"inner: {inner}, outer: {outer} angstrom; the ramp needs 0 <= inner < outer")
    values = np.asarray(heights, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("heights: not finite; mend or cut the series there")
    depth = np.clip((np.abs(values) - inner) / (outer - inner), 0, 1)
    return np.sign(values) * np.sin(np.pi / 2 * depth) ** 2


def _elements(element: str) -> tuple[str, ...]:
    text = element.lower()
    if text in POLARIZATIONS:
        return POLARIZATIONS[text]
    if len(text) == 3 and set(text) <= set("xyz"):
        return (text,)
    reason = " (ppp mixes elements by the angles of incidence)" if text == "ppp" else ""
    raise InputError(f"element: {element!r}{reason}; allowed: {', '.join(POLARIZATIONS)}, or three of x, y, z such as xxz")


def _projections(names: Sequence[str]) -> tuple[Array, Array]:
    """Combinations of the nine elements of alpha, and the components of mu that go with them: (9, K) and (3, K)."""
    directions = sorted({name[2] for name in names})
    far = np.zeros((3, 3, len(directions)))
    near = np.zeros((3, len(directions)))
    for column, direction in enumerate(directions):
        near["xyz".index(direction), column] = 1
        for name in names:
            if name[2] == direction:
                row, other = "xyz".index(name[0]), "xyz".index(name[1])
                far[row, other, column] += 0.5 / len(names)
                far[other, row, column] += 0.5 / len(names)
    return far.reshape(9, -1), near


def _susceptibility(transform: Array, wavenumber: Array) -> NDArray[np.complex128]:
    """chi2 kT from F = Int_0^inf cos(wt) C(t) dt in (..., B): the imaginary part is F/w, odd, so 0 at w = 0."""
    imaginary = np.zeros_like(transform)
    imaginary[..., 1:] = transform[..., 1:] / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber[1:])
    if not imaginary.size:  # no blocks
        return imaginary.astype(np.complex128)
    return kramers_kronig(wavenumber, imaginary) + 1j * imaginary
