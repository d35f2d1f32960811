"""Dielectric function of a bulk from its dipole fluctuations, optical constants, and the Kramers–Kronig relation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.estimator import as_replicas, positive
from vibraloom.spectra.estimator_options import CorrelationOptions, estimator_for, takes
from vibraloom.spectra.lag_products import Pairing
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import BOLTZMANN_EV_PER_K, EPSILON0_E2_PER_EV_ANGSTROM, SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Series = NDArray[Any] | Sequence[NDArray[Any]]

_FORM = "eps = eps_infinity - beta/(3 eps0 V) Int_0^inf exp(i w t) <M(0).Mdot(t)> dt, conducting boundary"
_FORMS = {
    "permittivity_real": f"Re eps; {_FORM}",
    "permittivity_imaginary": f"Im eps; {_FORM}",
    "refractive_index": f"n = Re sqrt(eps); {_FORM}",
    "extinction_coefficient": f"k = Im sqrt(eps); {_FORM}",
    "absorption": f"alpha = 4 pi nu k, base e; {_FORM}",
}


@takes(CorrelationOptions)
def dielectric(
    dipole: Series,
    timestep: float,
    *,
    temperature: float,
    volume: float,
    eps_infinity: float,
    **options: Unpack[CorrelationOptions],
) -> dict[str, Spectrum]:
    """Complex dielectric function of an isotropic bulk, its refractive index and its absorption coefficient.

    eps(w) = eps_infinity - beta / (3 eps0 V) Int_0^inf exp(i w t) <M(0).Mdot(t)> dt for conducting (tin-foil) boundary:
    Kubo's response with the signs of exp(-i w t), Im eps positive (Neumann and Steinhauser, Chem. Phys. Lett. 102, 508
    (1983)). It is the harmonic-corrected response as it stands. The window multiplies the response function
    <M(0).Mdot(t)>, so that both parts belong to one causal function; what relaxes more slowly than the
    correlation time is missing at low wavenumber, and the static value of the fluctuation formula stands in ``extra``.
    A constant in the dipole changes nothing.

    Mdot is the exact mean of a step, the forward difference: its attenuation sinc(w dt/2) is divided out. Errors of n,
    k and alpha are those of eps, propagated to first order block by block.

    Args:
        dipole: (e·Å) Array with shape (F, 3), unwrapped, of the whole cell, or a list of independent ones.
        timestep: (fs) time between frames.
        temperature: K.
        volume: (Å³) of the cell.
        eps_infinity: electronic permittivity, which the dipole series does not hold: the square of the refractive
            index in the visible; 1 for fixed charges.
        options: of the correlation, see :class:`vibraloom.spectra.estimator_options.CorrelationOptions`.

    Returns:
        ``real`` and ``imaginary`` (of eps), ``n``, ``k`` (no unit) and ``absorption`` (cm⁻¹).

    Raises:
        InputError: wrong shape, NaN, a value that must be positive, a correlation longer than the run.
    """
    replicas = as_replicas(dipole, 3, "dipole")
    interval = positive(timestep, "timestep", "fs")
    temperature = positive(temperature, "temperature", "K")
    volume = positive(volume, "volume", "angstrom^3")
    electronic = positive(eps_infinity, "eps_infinity", "")
    estimator = estimator_for([len(each) - 1 for each in replicas], interval, **options)
    strength = 1 / (3 * EPSILON0_E2_PER_EV_ANGSTROM * volume * BOLTZMANN_EV_PER_K * temperature)
    pairings = [Pairing.of(np.arange(3), np.arange(3, 6))]
    sums, squares = [], 0.0
    for number, each in enumerate(replicas):
        moment = each.astype(np.float64)
        moment -= moment.mean(axis=0)
        squares += float(np.square(moment).sum())
        columns = np.hstack([moment[:-1], np.diff(moment, axis=0) / interval])
        sums.append(estimator.lag_sums(number, columns, pairings, two_sided=True))
    pooled, each_block = estimator.half_transforms(sums)
    permittivity = electronic - strength * _from_half_steps(pooled[0], estimator.wavenumber, interval)
    in_blocks = electronic - strength * _from_half_steps(each_block[:, 0], estimator.wavenumber, interval)
    extra = {
        "eps_infinity": electronic,
        "static_permittivity": electronic + strength * squares / sum(len(each) for each in replicas),
        "kramers_kronig_residual": kramers_kronig_residual(estimator.wavenumber, permittivity),
    }

    index = complex_index(permittivity)
    # d sqrt(eps) = d eps / (2 sqrt(eps))
    index_in_blocks = index + (in_blocks - permittivity) / (2 * index)
    per_index = 4 * np.pi * estimator.wavenumber

    def made(quantity: str, values: Array, values_in_blocks: Array, unit: str = "1") -> Spectrum:
        error, verdict = estimator.judge(values, values_in_blocks)
        return Spectrum(
            quantity=quantity,
            wavenumber=estimator.wavenumber,
            intensity=values,
            unit=unit,
            conventions=estimator.conventions(
                np.abs(values) if quantity == "permittivity_real" else values,  # negative between resonances, no fault
                derivative="forward difference, divided by sinc(w dt/2)",
                quantum="harmonic",
                frames=min(estimator.frames) + 1,
                temperature=temperature,
                volume=volume,
                boundary="conducting",
                form=_FORMS[quantity],
                extra=extra,
            ),
            standard_error=error,
            verdict=verdict,
        )

    return {
        "real": made("permittivity_real", permittivity.real, in_blocks.real),
        "imaginary": made("permittivity_imaginary", permittivity.imag, in_blocks.imag),
        "n": made("refractive_index", index.real, index_in_blocks.real),
        "k": made("extinction_coefficient", index.imag, index_in_blocks.imag),
        "absorption": made("absorption", per_index * index.imag, per_index * index_in_blocks.imag, "cm^-1"),
    }


def _from_half_steps(transform: ComplexArray, wavenumber: Array, timestep: float) -> ComplexArray:
    """One-sided transform of a correlation whose lag k stands for the time (k + 1/2) dt, by the midpoint rule.

    Args:
        transform: what the trapezoidal rule makes of the lags as if they began at 0.
    """
    # the trapezoidal rule halves the first value; the mean over all frequencies gives the half that lacks
    bins = transform.shape[-1]
    first = (2 * transform.real.sum(axis=-1) - transform[..., 0].real - transform[..., -1].real) / (2 * (bins - 1))
    half_step = np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber * timestep
    return (transform + first[..., None]) * np.exp(1j * half_step) / np.sinc(half_step / np.pi)


def kramers_kronig(wavenumber: NDArray[Any], imaginary: NDArray[Any]) -> Array:
    """Real part, less its value at infinity, from the imaginary part of a response.

    Re(nu) = (2/pi) P Int_0^inf nu' Im(nu') / (nu'^2 - nu^2) dnu' by Maclaurin's formula, which sums every other bin and
    so never meets the pole (Ohta and Ishida, Appl. Spectrosc. 42, 952 (1988)); as convolutions, by FFT. Outside the axis
    the imaginary part counts as 0.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,), evenly spaced, not negative.
        imaginary: (any unit) Array with shape (..., B).

    Returns:
        (same unit) Array with shape (..., B).

    Raises:
        InputError: an axis that is not even or goes below 0, or shapes that do not match.
    """
    axis = np.asarray(wavenumber, dtype=np.float64)
    values = np.asarray(imaginary, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 3 or values.shape[-1:] != axis.shape:
        raise InputError(f"imaginary part: shape {values.shape} on an axis of shape {axis.shape}; give one value per bin")
    spacing = (axis[-1] - axis[0]) / (len(axis) - 1)
    if spacing <= 0 or axis[0] < 0 or np.abs(np.diff(axis) - spacing).max() > 1e-6 * spacing:
        raise InputError("wavenumber: the axis must rise evenly from 0 or above; interpolate to an even one first")
    # nu' / (nu'^2 - nu^2) = [1 / (nu' - nu) + 1 / (nu' + nu)] / 2
    steps = np.arange(-(len(axis) - 1), len(axis))
    odd = steps % 2 != 0
    difference = np.zeros(len(steps))
    difference[odd] = -1 / (spacing * steps[odd])  # kernel of nu - nu', hence the sign
    totals = np.arange(2 * len(axis) - 1)
    odd = totals % 2 != 0
    total = np.zeros(len(totals))
    total[odd] = 1 / (2 * axis[0] + spacing * totals[odd])
    shape = (1,) * (values.ndim - 1) + (-1,)
    first, last = len(axis) - 1, 2 * len(axis) - 1
    import scipy.signal  # slow to import

    direct = scipy.signal.fftconvolve(values, difference.reshape(shape), axes=-1)[..., first:last]
    mirrored = scipy.signal.fftconvolve(values[..., ::-1], total.reshape(shape), axes=-1)[..., first:last]
    return 2 * spacing / np.pi * (direct + mirrored)


def kramers_kronig_residual(
    wavenumber: NDArray[Any], response: NDArray[Any], low: float = 0.0, high: float = 4500.0
) -> float:
    """How far a complex response is from obeying Kramers–Kronig between ``low`` and ``high``.

    The root mean square of Re - KK(Im), each less its mean in the range (the value at infinity is free), over that of
    the complex response.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,), evenly spaced: all of the axis, not the range alone.
        response: (any unit) complex Array with shape (B,).
        low, high: (cm⁻¹) range that is judged.

    Raises:
        InputError: as :func:`kramers_kronig`, or a range without bins.
    """
    axis = np.asarray(wavenumber, dtype=np.float64)
    values = np.asarray(response, dtype=np.complex128)
    expected = kramers_kronig(axis, values.imag) + 1j * values.imag
    inside = (axis >= low) & (axis <= high)
    if not inside.any():
        raise InputError(f"range: {low:g} to {high:g} cm^-1 holds no bin; the axis ends at {axis[-1]:g}")
    values, expected = values[inside], expected[inside]
    varying, misfit = values - values.mean(), values - expected
    misfit = misfit - misfit.mean()
    size = float(np.sqrt(np.mean(np.abs(varying) ** 2)))
    return float(np.sqrt(np.mean(np.abs(misfit) ** 2))) / size if size > 0 else 0.0


def complex_index(permittivity: ArrayLike) -> ComplexArray:
    """n + i k = sqrt(eps) of a passive medium: n is not negative, and where eps' < 0 neither is k.

    Args:
        permittivity: complex Array of any shape, Im positive for absorption.

    Returns:
        complex Array of the same shape.
    """
    values = np.asarray(permittivity, dtype=np.complex128)
    root = np.sqrt(values)
    # noise can push eps'' of a metal-like range below 0: the wave must still decay
    return np.where((root.imag < 0) & (values.real < 0), -root, root)


@dataclass(frozen=True)
class Medium:
    """A homogeneous isotropic medium by its optical constants, as tabulated on refractiveindex.info.

    Attributes:
        name: recorded with every spectrum that it enters.
        index: n + i k: a number, or Array with shape (T,).
        wavenumber: (cm⁻¹) Array with shape (T,), increasing; None for a number.

    Raises:
        InputError: a table that is not increasing or not finite, n + i k = 0, or k below 0.
    """

    name: str
    index: complex | ComplexArray
    wavenumber: Array | None = None

    def __post_init__(self) -> None:
        index = np.asarray(self.index, dtype=np.complex128)
        if self.wavenumber is None and index.ndim:
            raise InputError(f"medium {self.name!r}: a table of n and k needs its wavenumbers")
        if self.wavenumber is not None:
            axis = np.asarray(self.wavenumber, dtype=np.float64)
            if axis.ndim != 1 or axis.shape != index.shape or len(axis) < 2 or not np.all(np.diff(axis) > 0):
                raise InputError(f"medium {self.name!r}: wavenumbers must increase, one for each n and k; sort the table")
        if not np.isfinite(index).all() or (index == 0).any() or (index.real < 0).any() or (index.imag < 0).any():
            raise InputError(f"medium {self.name!r}: n and k must be finite and not negative; k > 0 means absorption")

    @classmethod
    def from_wavelength(cls, name: str, wavelength: ArrayLike, n: ArrayLike, k: ArrayLike = 0.0) -> Medium:
        """From a table over wavelength in µm, in any order: Arrays with shape (T,)."""
        lengths = np.asarray(wavelength, dtype=np.float64)
        if lengths.ndim != 1 or not np.all(lengths > 0):
            raise InputError(f"medium {name!r}: wavelengths must be a list of positive numbers in micrometres")
        order = np.argsort(-lengths)
        index = np.asarray(n, dtype=np.float64) + 1j * np.asarray(k, dtype=np.float64)
        if index.shape != lengths.shape:
            raise InputError(f"medium {name!r}: n and k have shape {index.shape}, the wavelengths {lengths.shape}")
        return cls(name, index[order], 1e4 / lengths[order])

    @classmethod
    def from_spectra(cls, name: str, n: Spectrum, k: Spectrum) -> Medium:
        """From ``n`` and ``k`` of :func:`dielectric`; what noise makes of k below 0 is set to 0."""
        return cls(name, n.intensity + 1j * np.maximum(k.intensity, 0.0), n.wavenumber)

    def index_at(self, wavenumber: NDArray[Any]) -> ComplexArray:
        """n + i k at given wavenumbers (cm⁻¹), interpolated linearly: complex Array of the same shape.

        Raises:
            InputError: a wavenumber outside the table.
        """
        axis = np.asarray(wavenumber, dtype=np.float64)
        if self.wavenumber is None:
            return np.full(axis.shape, self.index, dtype=np.complex128)
        low, high = float(self.wavenumber[0]), float(self.wavenumber[-1])
        if axis.size and (axis.min() < low * (1 - 1e-9) or axis.max() > high * (1 + 1e-9)):
            raise InputError(
                f"medium {self.name!r}: {axis.min():g} to {axis.max():g} cm^-1 asked, the table holds {low:g} to {high:g};"
                " give a narrower range"
            )
        index = np.asarray(self.index)
        return np.interp(axis, self.wavenumber, index.real) + 1j * np.interp(axis, self.wavenumber, index.imag)

    def n_alpha(self, wavenumber: NDArray[Any]) -> Array:
        """n·alpha = 4 pi nu n k (cm⁻¹, base e), to compare a measured table with ``infrared``: Array with shape (B,)."""
        index = self.index_at(wavenumber)
        return 4 * np.pi * np.asarray(wavenumber, dtype=np.float64) * index.real * index.imag


def absorption(infrared: Spectrum, medium: Medium) -> Spectrum:
    """Absorption coefficient alpha = (n·alpha) / n, with a refractive index that is given.

    Args:
        infrared: n·alpha of a bulk in cm⁻¹ (quantity ``infrared``), within the range of the medium's table.
        medium: whose n is taken.

    Raises:
        InputError: not an n·alpha, or bins outside the table.
    """
    if infrared.quantity != "infrared":
        raise InputError(f"{infrared.quantity}: not n*alpha of a bulk; give the spectrum 'infrared', made with a volume")
    n = medium.index_at(infrared.wavenumber).real
    if (n == 0).any():
        raise InputError(f"medium {medium.name!r}: n = 0 in the range; alpha = n*alpha / n is not defined there")
    return replace(
        infrared,
        quantity="absorption",
        intensity=infrared.intensity / n,
        standard_error=None if infrared.standard_error is None else infrared.standard_error / n,
        parts={label: values / n for label, values in infrared.parts.items()},
        model_error=None if infrared.model_error is None else infrared.model_error / n,
        conventions=replace(
            infrared.conventions,
            form=f"alpha = (n*alpha) / n with given n; {infrared.conventions.form}",
            extra={**infrared.conventions.extra, "refractive_index": medium.name},
        ),
    )
