"""Plane waves in stratified media: reflectance and transmittance of isotropic and uniaxial layers.

Signs are those of exp(-i w t): Im eps > 0 and k > 0 mean absorption. Kept libraries were weighed: tmm knows isotropic
layers alone, the others that know uniaxial ones are GPL or compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.dielectric import Medium
from vibraloom.spectra.estimator import positive

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

VACUUM = Medium("vacuum", 1.0)
IDEAL_MIRROR = Medium("ideal mirror", 1.0)
"""A perfect conductor as the last medium: the field normal to it doubled, the field along it cancelled."""


@dataclass(frozen=True)
class Layer:
    """A plane layer, uniaxial about the normal, on a wavenumber axis.

    Attributes:
        name: recorded.
        thickness: Å.
        along: complex permittivity along the layer, Array with shape (B,).
        inverse_normal: 1 / permittivity along the normal, complex Array with shape (B,).
    """

    name: str
    thickness: float
    along: ComplexArray
    inverse_normal: ComplexArray

    @classmethod
    def of(cls, medium: Medium, thickness: float, wavenumber: Array) -> Layer:
        """An isotropic layer of a medium, ``thickness`` in Å."""
        permittivity = medium.index_at(wavenumber) ** 2
        return cls(medium.name, positive(thickness, f"thickness of {medium.name}", "angstrom"), permittivity, 1 / permittivity)


def stack_amplitudes(
    wavenumber: Array,
    incident: Medium,
    layers: Sequence[Layer],
    exit: Medium,
    angle: ArrayLike,
    polarization: str,
) -> tuple[ComplexArray, ComplexArray, ComplexArray, ComplexArray]:
    """Reflected and transmitted amplitude of the field along the layers, and the admittances of the outer media.

    Each interface contributes its Fresnel coefficient, layers are added from the exit side by Airy's summation, the
    two by two transfer matrix without its growing exponentials (M. Born and E. Wolf, Principles of Optics, 1.6; uniaxial
    layers: J. Lekner, J. Phys.: Condens. Matter 3, 6121 (1991)). s: kz^2 = eps_x k0^2 - q^2, admittance kz / k0;
    p: kz^2 = eps_x (k0^2 - q^2 / eps_z), admittance eps_x k0 / kz.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        incident, exit: the outer media; incident without absorption.
        layers: from the incident side on.
        angle: (degrees) of incidence in the first medium, a number or Array with shape (A,).
        polarization: ``s`` or ``p``.

    Returns:
        r, t, admittance of incident and of exit: complex Arrays with shape (B,), or (A, B).

    Raises:
        InputError: an angle outside 0 to below 90 degrees, another polarisation, an absorbing first medium.
    """
    if polarization not in ("s", "p"):
        raise InputError(f"polarization: {polarization!r}; allowed: s, p")
    degrees = np.asarray(angle, dtype=np.float64)
    if not np.all((degrees >= 0) & (degrees < 90)):
        raise InputError(f"angle: {degrees} degrees; allowed: 0 to below 90")
    index = incident.index_at(wavenumber)
    if np.any(index.imag > 0):
        raise InputError(f"medium {incident.name!r}: the first medium absorbs, so that no angle is defined; give k = 0")
    transverse = (index * np.sin(np.deg2rad(degrees))[..., None]) ** 2  # (q / k0)^2

    def normal(along: ComplexArray, inverse_normal: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
        """kz / k0 and the admittance."""
        anisotropy = along * inverse_normal if polarization == "p" else 1.0
        root = np.sqrt(along - transverse * anisotropy + 0j)
        root = np.where(root.imag < 0, -root, root)
        return root, (along / root if polarization == "p" else root)

    outer = [medium.index_at(wavenumber) ** 2 for medium in (incident, exit)]
    (_, first), (_, last) = (normal(each, 1 / each) for each in outer)
    inside = [normal(layer.along, layer.inverse_normal) for layer in layers]
    admittances = [first, *(each for _, each in inside), last]
    mirror = exit is IDEAL_MIRROR
    # r and t of the last interface: no field along a perfect conductor
    reflected = np.full_like(first, -1.0) if mirror else (admittances[-2] - last) / (admittances[-2] + last)
    transmitted = np.zeros_like(first) if mirror else 2 * admittances[-2] / (admittances[-2] + last)
    for number in range(len(layers) - 1, -1, -1):
        # Å to cm
        phase = np.exp(2j * np.pi * wavenumber * layers[number].thickness * 1e-8 * inside[number][0])
        above, here = admittances[number], admittances[number + 1]
        interface = (above - here) / (above + here)
        echoes = 1 + interface * reflected * phase**2
        transmitted = 2 * above / (above + here) * transmitted * phase / echoes
        reflected = (interface + reflected * phase**2) / echoes
    return reflected, transmitted, first, last


def reflectance(
    wavenumber: Array, incident: Medium, layers: Sequence[Layer], exit: Medium, angle: ArrayLike, polarization: str
) -> Array:
    """Reflected share of the incident power: Array with shape (B,), or (A, B). Arguments: :func:`stack_amplitudes`."""
    return np.abs(stack_amplitudes(wavenumber, incident, layers, exit, angle, polarization)[0]) ** 2


def transmittance(
    wavenumber: Array, incident: Medium, layers: Sequence[Layer], exit: Medium, angle: ArrayLike, polarization: str
) -> Array:
    """Transmitted share of the incident power: Array with shape (B,), or (A, B). Arguments: :func:`stack_amplitudes`."""
    _, amplitude, first, last = stack_amplitudes(wavenumber, incident, layers, exit, angle, polarization)
    return last.real / first.real * np.abs(amplitude) ** 2
