"""Sum-frequency generation of water from the velocities of its O-H bonds: the surface-specific velocity form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numba
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.estimator_options import CorrelationOptions, takes
from vibraloom.spectra.finite_frames import refuse_not_finite
from vibraloom.spectra.molecular_pairs import Molecules
from vibraloom.spectra.pair_cutoff import cell_geometry
from vibraloom.spectra.sfg import molecular_sfg
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import E_ANGSTROM_PER_DEBYE

Array = NDArray[np.float64]

LONGEST_BOND = 1.5
"""An O-H distance in Å beyond which the hydrogen is no longer taken for bonded."""


@dataclass(frozen=True)
class BondDerivatives:
    """How the moments of water change as one O-H bond grows, in the frame of that bond.

    z runs from O to H, x lies in the plane of the molecule on the side of the other H, y is normal to the plane, where
    symmetry allows no dipole. (On the side of the other H the dipole derivative is negative: in the gas phase this makes
    the symmetric stretch absorb less than the asymmetric one, as measured. A. Morita and J. T. Hynes, Chem. Phys. 258,
    371 (2000), use this frame.)

    Attributes:
        name: recorded.
        dipole: (D/Å) along x, y and z.
        polarizability: (Å²) xx, yy and zz.
        source: recorded.
    """

    name: str
    dipole: tuple[float, float, float]
    polarizability: tuple[float, float, float]
    source: str


DERIVATIVES = {
    "condensed": BondDerivatives(
        "condensed",
        (-0.15, 0.0, 2.0),
        (0.40, 0.53, 1.56),
        "condensed phase, as attributed to R. Khatib et al., Sci. Rep. 6, 24287 (2016)",
    ),
    "gas": BondDerivatives(
        "gas", (-0.31, 0.0, 0.63), (0.44, 0.49, 2.06), "isolated molecule, PBE/aug-cc-pVDZ finite differences"
    ),
}
"""Sets of derivatives by name."""


@dataclass(frozen=True, eq=False)
class WaterBonds(Molecules):
    """O-H bonds as :class:`Molecules`: rates of dipole and polarizability, bonds 2 m and 2 m + 1 of molecule m.

    Attributes:
        derivatives: that made them.
    """

    derivatives: BondDerivatives = DERIVATIVES["condensed"]


def water_bonds(
    positions: NDArray[Any],
    velocities: NDArray[Any],
    oxygens: NDArray[Any],
    hydrogens: NDArray[Any],
    *,
    cell: NDArray[Any] | None = None,
    derivatives: str | BondDerivatives = "condensed",
    depth_weights: NDArray[Any] | None = None,
    labels: Mapping[str, NDArray[Any]] | None = None,
) -> WaterBonds:
    """Rates of change of the moments of every O-H bond of water, in the laboratory frame, from its stretching velocity.

    With u the velocity of H relative to O along the bond: mudot = u (mu'_x x + mu'_z z) and
    alphadot = u (a'_xx xx + a'_yy yy + a'_zz zz) (T. Ohto et al., J. Chem. Phys. 143, 124702 (2015)). Turning bonds add
    nothing: only the O-H stretch has a meaning. A bond stands where its oxygen is, so that any cutoff above 0 holds both
    bonds of a molecule, and 0 each bond by itself.

    Args:
        positions: (Å) Array with shape (F, A, 3), wrapped or not.
        velocities: (Å/fs) Array with shape (F, A, 3).
        oxygens: indices, Array with shape (M,).
        hydrogens: indices of the two hydrogens of each, Array with shape (M, 2).
        cell: (Å) Array with shape (3, 3) or (F, 3, 3), rows the lattice vectors; None: positions are of whole molecules.
        derivatives: a name in :data:`DERIVATIVES`, or others.
        depth_weights: of the molecules, Array with shape (F, M), see :func:`vibraloom.spectra.sfg.depth_window`.
        labels: of the molecules, as in :class:`vibraloom.spectra.molecular_pairs.Molecules`, each with shape (F, M).

    Raises:
        InputError: shapes or indices that do not fit, NaN, a hydrogen further than 1.5 Å from its oxygen, a molecule that is
            straight.
    """
    if isinstance(derivatives, str):
        if derivatives not in DERIVATIVES:
            raise InputError(f"derivatives: {derivatives!r}; allowed: {', '.join(DERIVATIVES)}")
        derivatives = DERIVATIVES[derivatives]
    places, moving = np.asarray(positions), np.asarray(velocities)
    if places.ndim != 3 or places.shape[2] != 3 or moving.shape != places.shape:
        raise InputError(f"positions: shape {places.shape}, velocities {moving.shape}; both must be (frames, atoms, 3)")
    centres, ends = np.asarray(oxygens, dtype=np.int64), np.asarray(hydrogens, dtype=np.int64)
    if centres.ndim != 1 or not len(centres) or ends.shape != (len(centres), 2):
        raise InputError(f"hydrogens: shape {ends.shape} for oxygens of shape {centres.shape}; they must be (M, 2) and (M,)")
    atoms = places.shape[1]
    outside = [int(index) for index in (*centres, *ends.ravel()) if not 0 <= index < atoms]
    if outside:
        raise InputError(f"oxygens, hydrogens: index {outside[0]}; allowed: 0 to {atoms - 1}")
    for name, values in (("positions", places), ("velocities", moving)):
        refuse_not_finite(values, name)

    frames, bonds = len(places), 2 * len(centres)
    # without a cell no vector is folded: one longer than any bond does that
    lattice = np.eye(3) * 1e9 if cell is None else np.asarray(cell, dtype=np.float64)
    inverse = cell_geometry(lattice, frames)[0]
    kind = np.float32 if places.dtype == np.float32 and moving.dtype == np.float32 else np.float64
    dipole = np.empty((frames, bonds, 3), dtype=kind)
    polarizability = np.empty((frames, bonds, 3, 3), dtype=kind)
    frame, bond, length = _bond_rates(
        dipole,
        polarizability,
        np.ascontiguousarray(places),
        np.ascontiguousarray(moving),
        centres,
        ends,
        lattice.reshape(-1, 3, 3),
        inverse,
        np.array(derivatives.dipole) * E_ANGSTROM_PER_DEBYE,
        np.array(derivatives.polarizability),
        LONGEST_BOND,
    )
    if frame >= 0:
        oxygen, hydrogen = centres[bond // 2], ends[bond // 2, bond % 2]
        if length <= LONGEST_BOND:
            raise InputError(f"frame {frame}: both hydrogens of oxygen {oxygen} in one line with it; leave this molecule out")
        raise InputError(
            f"frame {frame}: hydrogen {hydrogen} is {length:.2f} angstrom from oxygen {oxygen}, above {LONGEST_BOND} angstrom;"
            " cut the run before the proton moves, leave this molecule out, or give the cell"
        )
    return WaterBonds(
        dipole=dipole,
        polarizability=polarizability,
        positions=np.repeat(places[:, centres], 2, axis=1),
        cell=None if cell is None else lattice,
        depth_weights=None if depth_weights is None else np.repeat(depth_weights, 2, axis=1),
        labels={label: np.repeat(weights, 2, axis=1) for label, weights in (labels or {}).items()},
        rates=True,
        derivatives=derivatives,
    )


@takes(CorrelationOptions)
def bond_sfg(
    bonds: WaterBonds | Sequence[WaterBonds],
    timestep: float,
    *,
    temperature: float,
    element: str = "ssp",
    cutoff: float | None = 4.0,
    area: float | None = None,
    non_condon: bool = False,
    quantum_correction: str = "harmonic",
    **options: Unpack[CorrelationOptions],
) -> dict[str, Spectrum]:
    """chi2 of water from its O-H bonds: :func:`vibraloom.spectra.sfg.molecular_sfg` of :func:`water_bonds`.

    Args:
        bonds: one run, or a list of independent ones.
        timestep: (fs) time between frames.
        cutoff: (Å) between oxygens; 4 holds the first shell; near 0 both bonds of a molecule; 0 each bond by itself.
        non_condon: multiply chi2 by mu'(nu) alpha'(nu) over their values in the gas, see :func:`non_condon_factor`; with the
            ``gas`` derivatives alone, as those of the condensed phase hold the same enhancement.
        temperature, element, area, quantum_correction, options: as in :func:`vibraloom.spectra.sfg.sfg`.

    Returns:
        ``real``, ``imaginary`` and ``squared``.

    Raises:
        InputError: as :func:`vibraloom.spectra.sfg.molecular_sfg`, runs of different derivatives, or factors on top of
            derivatives that are not those of the gas.
    """
    runs = [bonds] if isinstance(bonds, WaterBonds) else list(bonds)
    if not runs:
        raise InputError("bonds: no runs; give one at least")
    kinds = {run.derivatives for run in runs}
    if len(kinds) > 1:
        raise InputError(f"derivatives: {', '.join(kind.name for kind in kinds)} in one spectrum; use the same for all runs")
    if non_condon and kinds != {DERIVATIVES["gas"]}:
        raise InputError(
            "non_condon: the factors are relative to the gas, the derivatives are"
            f" '{runs[0].derivatives.name}' and would be enhanced twice; use derivatives='gas'"
        )
    used = runs[0].derivatives
    extra: dict[str, Any] = {
        "bond_derivatives": {
            "name": used.name,
            "dipole_debye_per_angstrom": list(used.dipole),
            "polarizability_angstrom2": list(used.polarizability),
            "source": used.source,
        }
    }
    notes = ["bond model: the O-H stretch alone, no other band has a meaning"]
    if non_condon:
        extra["non_condon"] = _NON_CONDON
        notes.append("non-Condon factors hold for the O-H stretch, about 3000 to 3737 cm^-1")
    return molecular_sfg(
        runs,
        timestep,
        temperature=temperature,
        element=element,
        cutoff=cutoff,
        area=area,
        quantum_correction=quantum_correction,
        factor=non_condon_factor if non_condon else None,
        notes=notes,
        extra=extra,
        **options,
    )


# The slope 6.287 of alpha' is that of public codes; 5.287 is also met, 4 % less at 3300 cm^-1.
_NON_CONDON = "(1.377 + 53.03 y) (1.271 + 6.287 y), y = (3737 - nu)/6932.2, relative to the gas"


def non_condon_factor(wavenumber: NDArray[Any]) -> Array:
    """mu'(nu) alpha'(nu) of an O-H stretch over those of the gas, by its wavenumber: weaker hydrogen bonds, smaller moments.

    (1.377 + 53.03 y) (1.271 + 6.287 y) with y = (3737 - nu)/6932.2, as T. Ohto et al., J. Chem. Phys. 143, 124702 (2015),
    apply spectroscopic maps of liquid water.

    Args:
        wavenumber: (cm⁻¹) Array with shape (B,).

    Returns:
        Array with shape (B,).
    """
    field = (3737.0 - np.asarray(wavenumber, dtype=np.float64)) / 6932.2
    return (1.377 + 53.03 * field) * (1.271 + 6.287 * field)


@numba.njit(cache=True, nogil=True)
def _bond_rates(
    dipole: NDArray[Any],
    polarizability: NDArray[Any],
    positions: NDArray[Any],
    velocities: NDArray[Any],
    oxygens: NDArray[np.int64],
    hydrogens: NDArray[np.int64],
    cells: Array,
    inverse: Array,
    dipole_derivative: Array,
    polarizability_derivative: Array,
    longest: float,
) -> tuple[int, int, float]:
    """Fill the rates; returns frame, bond and length of the first bond without a frame of its own, or -1, -1, 0."""
    arms = np.empty((2, 3))
    lengths = np.empty(2)
    fraction = np.empty(3)
    axes = np.empty((3, 3))
    for frame in range(len(positions)):
        one = frame if len(cells) > 1 else 0
        for molecule in range(len(oxygens)):
            oxygen = oxygens[molecule]
            for arm in range(2):
                hydrogen = hydrogens[molecule, arm]
                for axis in range(3):
                    fraction[axis] = 0.0
                    for k in range(3):
                        step = np.float64(positions[frame, hydrogen, k]) - np.float64(positions[frame, oxygen, k])
                        fraction[axis] += step * inverse[one, k, axis]
                        if axis == 0:
                            arms[arm, k] = step
                for axis in range(3):
                    turns = np.rint(fraction[axis])
                    for k in range(3):
                        arms[arm, k] -= turns * cells[one, axis, k]
                lengths[arm] = np.sqrt(arms[arm, 0] ** 2 + arms[arm, 1] ** 2 + arms[arm, 2] ** 2)
                if not 0 < lengths[arm] <= longest:
                    return frame, 2 * molecule + arm, lengths[arm]
            for arm in range(2):
                along = 0.0
                for k in range(3):
                    axes[2, k] = arms[arm, k] / lengths[arm]
                    along += axes[2, k] * arms[1 - arm, k]
                norm = 0.0
                for k in range(3):
                    axes[0, k] = arms[1 - arm, k] - along * axes[2, k]
                    norm += axes[0, k] ** 2
                norm = np.sqrt(norm)
                if norm < 1e-6:
                    return frame, 2 * molecule + arm, lengths[arm]
                stretch = 0.0
                for k in range(3):
                    axes[0, k] /= norm
                    hydrogen_speed = np.float64(velocities[frame, hydrogens[molecule, arm], k])
                    stretch += axes[2, k] * (hydrogen_speed - np.float64(velocities[frame, oxygen, k]))
                axes[1, 0] = axes[2, 1] * axes[0, 2] - axes[2, 2] * axes[0, 1]
                axes[1, 1] = axes[2, 2] * axes[0, 0] - axes[2, 0] * axes[0, 2]
                axes[1, 2] = axes[2, 0] * axes[0, 1] - axes[2, 1] * axes[0, 0]
                bond = 2 * molecule + arm
                for row in range(3):
                    total = 0.0
                    for axis in range(3):
                        total += dipole_derivative[axis] * axes[axis, row]
                    dipole[frame, bond, row] = stretch * total
                    for column in range(3):
                        total = 0.0
                        for axis in range(3):
                            total += polarizability_derivative[axis] * axes[axis, row] * axes[axis, column]
                        polarizability[frame, bond, row, column] = stretch * total
    return -1, -1, 0.0
