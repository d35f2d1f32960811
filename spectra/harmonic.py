"""Normal modes, and their infrared and Raman intensities, from derivatives at a minimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    AVOGADRO,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

Array = NDArray[np.float64]

KM_PER_MOL_PER_E2_PER_AMU = (
    AVOGADRO
    / (12 * EPSILON0_E2_PER_EV_ANGSTROM * (SPEED_OF_LIGHT_CM_PER_FS * 1e8) ** 2 * AMU_ANGSTROM2_PER_FS2_IN_EV)
    * 1e-8
    * 1e-5
)
"""Band area N_A q²/(12 eps0 c² m) in km/mol of a mode with (q/e)² / (m/amu) = 1: 974.88."""


Bond = tuple[int, int, tuple[int, int, int]]
"""Two atoms, and the cell of the second: its vector is x[j] + shift @ cell - x[i]."""


@dataclass(frozen=True)
class NormalModes:
    """Normal modes of a molecule or cell, by ascending wavenumber.

    Attributes:
        wavenumber: (cm⁻¹) Array with shape (M,); imaginary ones as negative numbers.
        eigenvectors: Array with shape (M, A, 3), mass-weighted and orthonormal.
        displacements: (amu^-1/2) Array with shape (M, A, 3): Cartesian displacement per unit of normal
            coordinate.
    """

    wavenumber: Array
    eigenvectors: Array
    displacements: Array


def normal_modes(
    hessian: NDArray[Any],
    masses: NDArray[Any],
    positions: NDArray[Any] | None = None,
    *,
    periodic: bool = False,
) -> NormalModes:
    """Normal modes of a Hessian, without translations and rotations if positions are given.

    Args:
        hessian: (eV/Å²) Array with shape (3A, 3A), symmetrised here.
        masses: (amu) Array with shape (A,).
        positions: (Å) Array with shape (A, 3): translations and rotations (2 of them for a linear molecule)
            are projected out and their modes left off. None: all 3A modes.
        periodic: project out translations only.

    Raises:
        InputError: wrong shapes, NaN, masses that are not positive, or a Hessian that is not symmetric.
    """
    mass = np.asarray(masses, dtype=np.float64)
    size = 3 * len(mass)
    matrix = np.asarray(hessian, dtype=np.float64)
    if matrix.shape != (size, size):
        raise InputError(f"hessian: shape {matrix.shape}; it must be ({size}, {size}) for {len(mass)} atoms")
    if not (np.isfinite(mass).all() and (mass > 0).all()):
        raise InputError("masses: not all positive; give amu, one per atom")
    if not np.isfinite(matrix).all():
        raise InputError("hessian: not finite; repeat the force calculations")
    skew = float(np.abs(matrix - matrix.T).max())
    if skew > 0.05 * float(np.abs(matrix).max()):
        raise InputError(
            f"hessian: differs from its transpose by {skew:.3g} eV/angstrom^2; repeat it with tighter forces"
        )
    root = np.repeat(np.sqrt(mass), 3)
    weighted = (matrix + matrix.T) / 2 / np.outer(root, root)
    rigid = np.empty((size, 0))
    if positions is not None or periodic:
        rigid = rigid_motions(mass, positions, periodic)
    # complete the rigid motions to a basis; what is left spans the vibrations
    basis = np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :] if rigid.size else np.eye(size)
    values, vectors = np.linalg.eigh(basis.T @ weighted @ basis)
    angular = np.sign(values) * np.sqrt(np.abs(values) / AMU_ANGSTROM2_PER_FS2_IN_EV)
    eigenvectors = (basis @ vectors).T
    shape = (len(values), len(mass), 3)
    return NormalModes(
        wavenumber=angular / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS),
        eigenvectors=eigenvectors.reshape(shape),
        displacements=(eigenvectors / root).reshape(shape),
    )


@dataclass(frozen=True)
class HarmonicDerivatives:
    """What a harmonic calculation gives: derivatives at a minimum, of a molecule or of a cell at Gamma.

    Attributes:
        symbols: element of each of the A atoms that move.
        masses: (amu) Array with shape (A,); another isotope is another mass.
        positions: (Å) Array with shape (A, 3).
        hessian: (eV/Å²) Array with shape (3A, 3A).
        cell: (Å) Array with shape (3, 3), rows are lattice vectors; None: a molecule.
        dipole_derivatives: (e) Array with shape (3A, 3): displaced coordinate, then dipole.
        polarizability_derivatives: (Å²) Array with shape (3A, 3, 3): displaced coordinate, then tensor.
        dielectric: electronic dielectric tensor, Array with shape (3, 3).
        bonds: pairs of bonded atoms, for the assignment of modes.
        anchored: the atoms are tied to others that do not move, so that no rigid motion is free.
        largest_force: (eV/Å) left at the geometry, where known.

    Raises:
        InputError: arrays whose shapes do not fit.
    """

    symbols: Sequence[str]
    masses: Array
    positions: Array
    hessian: Array
    cell: Array | None = None
    dipole_derivatives: Array | None = None
    polarizability_derivatives: Array | None = None
    dielectric: Array | None = None
    bonds: Sequence[Bond] = ()
    anchored: bool = False
    largest_force: float | None = None

    def __post_init__(self) -> None:
        atoms = len(self.symbols)
        shapes = {
            "masses": (atoms,),
            "positions": (atoms, 3),
            "hessian": (3 * atoms, 3 * atoms),
            "cell": (3, 3),
            "dipole_derivatives": (3 * atoms, 3),
            "polarizability_derivatives": (3 * atoms, 3, 3),
            "dielectric": (3, 3),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise InputError(f"{name}: shape {np.shape(value)}; it must be {shape} for {atoms} atoms")
        if any(not 0 <= index < atoms for bond in self.bonds for index in bond[:2]):
            raise InputError(f"bonds: an atom that is not there; allowed: 0 to {atoms - 1}")

    @property
    def volume(self) -> float | None:
        """(Å³) of the cell."""
        return None if self.cell is None else float(abs(np.linalg.det(self.cell)))

    def modes(self) -> NormalModes:
        """Normal modes without the rigid motions that are free: none, translations, or rotations too."""
        periodic = self.cell is not None
        free = not (periodic or self.anchored)
        return normal_modes(
            self.hessian, self.masses, self.positions if free else None, periodic=periodic and not self.anchored
        )

    def with_masses(self, masses: Mapping[str, float]) -> HarmonicDerivatives:
        """The same derivatives for other isotopes: symbol -> mass (amu), e.g. ``{"H": 2.014}``.

        Raises:
            InputError: an element that is not there.
        """
        unknown = sorted(set(masses) - {str(symbol) for symbol in self.symbols})
        if unknown:
            raise InputError(f"masses: {unknown[0]} is not there; allowed: {', '.join(dict.fromkeys(self.symbols))}")
        pairs = zip(self.symbols, self.masses, strict=True)
        return replace(self, masses=np.array([masses.get(str(symbol), mass) for symbol, mass in pairs], dtype=np.float64))

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays by name, without those that are None; for an npz file."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["symbols"] = np.array([str(symbol) for symbol in self.symbols])
        values["bonds"] = np.array([(i, j, *shift) for i, j, shift in self.bonds], dtype=np.int64).reshape(-1, 5)
        return {name: np.asarray(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> HarmonicDerivatives:
        """Rebuild from :meth:`as_arrays`; other names are passed over.

        Raises:
            InputError: an array is missing, or shapes that do not fit.
        """
        missing = [name for name in ("symbols", "masses", "positions", "hessian") if name not in arrays]
        if missing:
            raise InputError(f"harmonic arrays: {missing[0]} is missing; calculate the modes again")
        known = {each.name for each in fields(cls)}
        values: dict[str, Any] = {name: arrays[name] for name in known if name in arrays}
        values["symbols"] = [str(symbol) for symbol in values["symbols"]]
        values["bonds"] = [(int(i), int(j), (int(a), int(b), int(c))) for i, j, a, b, c in values.get("bonds", ())]
        values["anchored"] = bool(values.get("anchored", False))
        if "largest_force" in values:
            values["largest_force"] = float(values["largest_force"])
        return cls(**values)


def infrared_intensities(dipole_derivatives: NDArray[Any], modes: NormalModes) -> Array:
    """Infrared band areas N_A |dmu/dQ|² / (12 eps0 c²) in km/mol.

    Args:
        dipole_derivatives: (e) Array with shape (3A, 3) or (A, 3, 3): first the displaced coordinate, then
            the dipole. Born effective charges are the same, transposed if they come as (A, dipole,
            displacement).
        modes: from :func:`normal_modes`.

    Returns:
        (km/mol) Array with shape (M,).

    Raises:
        InputError: wrong shape or NaN.
    """
    return KM_PER_MOL_PER_E2_PER_AMU * np.trace(oscillator_strengths(dipole_derivatives, modes), axis1=1, axis2=2)


def oscillator_strengths(dipole_derivatives: NDArray[Any], modes: NormalModes) -> Array:
    """Oscillator-strength tensors S = (dmu/dQ)(dmu/dQ), as in Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eq. 53.

    Their trace times :data:`KM_PER_MOL_PER_E2_PER_AMU` is the infrared band area.

    Args:
        dipole_derivatives, modes: as in :func:`infrared_intensities`.

    Returns:
        (e²/amu) Array with shape (M, 3, 3).

    Raises:
        InputError: wrong shape or NaN.
    """
    along = _along_modes(dipole_derivatives, modes, (3,), "dipole_derivatives")
    return along[:, :, None] * along[:, None, :]


def dielectric_function(
    wavenumber: NDArray[Any],
    strengths: NDArray[Any],
    mode_wavenumber: NDArray[Any],
    *,
    volume: float,
    width: float,
    electronic: NDArray[Any] | None = None,
) -> NDArray[np.complex128]:
    """eps(w) = eps_inf + Sum_m S_m / (eps0 V (w_m² - w² - i w gamma)), time factor exp(-i w t).

    Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eq. 52, with the damping gamma; modes that are not above zero are
    left off.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).
        strengths: (e²/amu) Array with shape (M, 3, 3), from :func:`oscillator_strengths`.
        mode_wavenumber: (cm⁻¹) Array with shape (M,).
        volume: (Å³) of the cell.
        width: (cm⁻¹) damping gamma, the full width at half maximum of Im eps times w.
        electronic: eps_inf, Array with shape (3, 3); None: 1.

    Returns:
        Array with shape (B, 3, 3), complex.

    Raises:
        InputError: volume or width not positive.
    """
    for name, value in (("volume", volume), ("width", width)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name}: {value}; it must be positive")
    modes = np.asarray(mode_wavenumber, dtype=np.float64)
    real = modes > 0
    nu = np.asarray(wavenumber, dtype=np.float64)[:, None]
    # 1/(w_m² - w² - i w gamma) in fs²; strength over eps0 V and mass in 1/fs²
    response = 1 / (modes[real] ** 2 - nu**2 - 1j * width * nu) / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS) ** 2
    strength = np.asarray(strengths)[real] / (EPSILON0_E2_PER_EV_ANGSTROM * volume * AMU_ANGSTROM2_PER_FS2_IN_EV)
    background = np.eye(3) if electronic is None else np.asarray(electronic, dtype=np.float64)
    return background + np.einsum("bm,mij->bij", response, strength)


def raman_tensors(polarizability_derivatives: NDArray[Any], modes: NormalModes) -> Array:
    """Symmetric derivatives dalpha/dQ of the polarizability along the normal coordinates.

    Args:
        polarizability_derivatives, modes: as in :func:`raman_activities`.

    Returns:
        (Å²/amu^1/2) Array with shape (M, 3, 3).

    Raises:
        InputError: wrong shape or NaN.
    """
    along = _along_modes(polarizability_derivatives, modes, (3, 3), "polarizability_derivatives")
    return (along + along.transpose(0, 2, 1)) / 2


def raman_invariants(tensors: Array) -> tuple[Array, Array]:
    """Invariants a'² and g'² of symmetric tensors (M, 3, 3), each Array with shape (M,).

    In the powder averages HH = (10 G0 + 4 G2)/30 = a'² + 4/45 g'² and HV = (5 G1 + 3 G2)/30 = g'²/15, for G0 = 3 a'²,
    G1 = 0, G2 = 2/3 g'² (D. A. Long, The Raman Effect (2002)).
    """
    mean = np.trace(tensors, axis1=1, axis2=2) / 3
    deviator = tensors - mean[:, None, None] * np.eye(3)
    return mean**2, 1.5 * np.square(deviator).sum(axis=(1, 2))


def raman_activities(polarizability_derivatives: NDArray[Any], modes: NormalModes) -> tuple[Array, Array]:
    """Raman activities 45 a'² + 7 g'² and depolarisation ratios 3 g'² / (45 a'² + 4 g'²).

    a' and g' are the derivatives of mean and anisotropy (g² = 3/2 Tr b b, b the deviator) along the normal
    coordinate (D. A. Long, The Raman Effect (2002)).

    Args:
        polarizability_derivatives: (Å²) Array with shape (3A, 3, 3): displaced coordinate, then the tensor.
        modes: from :func:`normal_modes`.

    Returns:
        activities: (Å⁴/amu) Array with shape (M,).
        depolarisation: Array with shape (M,); 0 for a mode without activity.

    Raises:
        InputError: wrong shape or NaN.
    """
    mean, anisotropy = raman_invariants(raman_tensors(polarizability_derivatives, modes))
    polarised = 45 * mean + 4 * anisotropy
    ratio = np.divide(3 * anisotropy, polarised, out=np.zeros_like(polarised), where=polarised > 0)
    return 45 * mean + 7 * anisotropy, ratio


def _along_modes(derivatives: NDArray[Any], modes: NormalModes, tail: tuple[int, ...], name: str) -> Array:
    count, atoms, _ = modes.displacements.shape
    values = np.asarray(derivatives, dtype=np.float64)
    if values.size != 3 * atoms * int(np.prod(tail)) or values.shape[-len(tail) :] != tail:
        raise InputError(f"{name}: shape {values.shape}; it must be {(3 * atoms, *tail)}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: not finite; repeat the field or displacement calculations")
    flat = values.reshape(3 * atoms, -1)
    return (modes.displacements.reshape(count, -1) @ flat).reshape(count, *tail)


def rigid_motions(mass: Array, positions: NDArray[Any] | None, periodic: bool) -> Array:
    """Orthonormal mass-weighted translations and rotations: (3A, 3 to 6)."""
    root = np.sqrt(mass)
    motions = [np.outer(root, direction).ravel() for direction in np.eye(3)]
    if positions is not None and not periodic:
        geometry = np.asarray(positions, dtype=np.float64)
        if geometry.shape != (len(mass), 3) or not np.isfinite(geometry).all():
            raise InputError(f"positions: shape {geometry.shape}; they must be ({len(mass)}, 3) and finite")
        centred = geometry - mass @ geometry / mass.sum()
        motions += [(root[:, None] * np.cross(axis, centred)).ravel() for axis in np.eye(3)]
    stacked = np.array(motions).T
    scale = np.linalg.norm(stacked, axis=0)
    scale = np.concatenate([scale[:3], np.full(len(motions) - 3, max(scale[3:].max(initial=0.0), 1e-300))])
    vectors, singular, _ = np.linalg.svd(stacked / scale, full_matrices=False)
    return vectors[:, singular > 1e-3]
