"""Harmonic modes of CP2K: wavenumbers, displacements, infrared and Raman intensities, and the dipole's slope along each mode.

Sources of the formats, in CP2K's repository: src/motion/vibrational_analysis.F (``VIB|`` blocks of three modes; the
displacements in the log have two decimals), src/motion/molden_utils.F (``-VIBRATIONS-1.mol``: wavenumbers and displacements
with six). Atoms that are fixed take no part in a partial Hessian and have zero displacement.

The infrared intensity is made from the dipoles of the displaced structures and not taken from CP2K, which squares their plain
differences: a Berry dipole may lie a whole quantum away. Of a slab with smeared occupations only the dipole along the normal has
a meaning; it is that of the charge density, as the dipole correction prints it, and its intensity has a name of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.input_lines import real_number, values_of
from vibraloom.calculators.cp2k.linear_response import check_displaced
from vibraloom.calculators.cp2k.printed_frames import read_dipoles
from vibraloom.errors import ComputationError, InputError
from vibraloom.spectra.harmonic import KM_PER_MOL_PER_E2_PER_AMU
from vibraloom.units import ANGSTROM_PER_BOHR, E_ANGSTROM_PER_DEBYE

Array = NDArray[np.float64]
Move = tuple[int, int, int]
"""Index of the atom, index of the axis, sign."""

DISPLACEMENT = 0.01
"""(bohr) VIBRATIONAL_ANALYSIS/DX where the input does not say."""

UNITS = {
    "wavenumber": "cm^-1, imaginary ones negative",
    "displacement": "Cartesian, each mode of norm 1",
    "reduced_mass": "amu",
    "infrared": "km/mol",
    "infrared_normal": "km/mol, the share of d M_z / dQ alone; light polarised along the normal sees three times it",
    "raman": "angstrom^4/amu",
    "depolarisation": "ratio, plane-polarised light",
    "depolarisation_natural": "ratio, natural light",
    "dipole_slope": "e/amu^(1/2), d mu / dQ",
    "dipole_slope_normal": "e/amu^(1/2), d M_z / dQ along the normal of a slab",
}
_LINES = {
    "wavenumber": rb"Frequency \(cm\^-1\)",
    "infrared": rb"IR int \(KM/Mole\)",
    "raman": rb"Raman \(A\^4/amu\)",
    "depolarisation": rb"Depol Ratio \(P\)",
    "depolarisation_natural": rb"Depol Ratio \(U\)",
    "reduced_mass": rb"Red\.Masses \(a\.u\.\)",
}
LARGEST_CHANGE = 0.25
"""Quanta by which a dipole may lie away from that at rest; beyond it the branch is a guess."""
_MOVE = re.compile(rb"Energy and Forces for particle: +(\d+) +coordinate: ([XYZ]) ([-+]) D[XYZ]")
# src/qs_scf_output.F, at the end of each self-consistency
_SURFACE_DIPOLE = re.compile(rb"\n *the slab \[electrons-Angstroem\]: +([-+]?\d+\.\d+)")


@dataclass(frozen=True)
class Modes:
    """Harmonic modes; all Arrays have the modes along their first axis, M of them.

    Attributes:
        wavenumber: (cm^-1) shape (M,), imaginary ones negative.
        displacement: shape (M, A, 3), Cartesian, each mode of norm 1.
        reduced_mass: (amu) shape (M,), of a displacement of norm 1.
        infrared: (km/mol) shape (M,), isotropic: 974.88 km/mol times the square of all three components of d mu / dQ; or None.
        infrared_normal: (km/mol) shape (M,), of a slab with smeared occupations: 974.88 km/mol times (d M_z / dQ)². It is what
            the normal component adds to an isotropic intensity, and a third of what light polarised along the normal sees.
        raman: (Å⁴/amu) shape (M,), or None.
        depolarisation: shape (M,), of light polarised in a plane, or None.
        depolarisation_natural: shape (M,), of natural light, or None.
        dipole_slope: (e/amu^1/2) shape (M, 3), d mu / dQ with Q the mass-weighted displacement, or None.
        dipole_slope_normal: (e/amu^1/2) shape (M,), d M_z / dQ where the other two components mean nothing, or None.
    """

    wavenumber: Array
    displacement: Array
    reduced_mass: Array
    infrared: Array | None = None
    raman: Array | None = None
    depolarisation: Array | None = None
    depolarisation_natural: Array | None = None
    dipole_slope: Array | None = None
    infrared_normal: Array | None = None
    dipole_slope_normal: Array | None = None

    def arrays(self) -> dict[str, Array]:
        """Name → Array of what is there."""
        return {name: values for name, values in vars(self).items() if values is not None}


def read_modes(folder: Path, masses: Array, surface_axis: int | None = None, project: str = "cp2k") -> Modes:
    """Modes of a finished vibrational analysis.

    Args:
        folder: with ``cp2k.out``, ``cp2k-VIBRATIONS-1.mol`` and, for the slope of the dipole, ``cp2k-dipole.dat``.
        masses: (amu) Array with shape (A,).
        surface_axis: lattice vector (0, 1, 2) across the vacuum of a slab, which is Cartesian too; None for all else.
        project: begin of the names.

    Raises:
        InputError: no modes, a damaged file, a log and a file that contradict each other, or a dipole that changed by so much
            that its branch is a guess.
        ComputationError: a value that is no number, or a Raman intensity from a polarizability that cannot be one.
    """
    log = folder / f"{project}.out"
    text = log.read_bytes()
    found = {name: _values(log, text, mark) for name, mark in _LINES.items()}
    wavenumber = found["wavenumber"]
    if wavenumber is None:
        raise InputError(f"{log}: holds no normal modes; the vibrational analysis did not finish")
    for name, values in found.items():
        if values is not None and len(values) != len(wavenumber):
            raise InputError(f"{log}: {len(values)} values of {name} for {len(wavenumber)} modes; damaged: run it again")
    printed, displacement = _molden(folder / f"{project}-VIBRATIONS-1.mol", len(masses))
    if len(printed) != len(wavenumber) or np.abs(printed - wavenumber).max() > 0.01:
        raise InputError(f"{folder / f'{project}-VIBRATIONS-1.mol'}: other modes than in {log.name}; run it again")
    norm = np.linalg.norm(displacement.reshape(len(displacement), -1), axis=1)
    if not (norm > 0).all():
        raise InputError(f"{log.name}: mode {int(np.argmin(norm))} moves no atom; damaged: run it again")
    displacement = displacement / norm[:, None, None]
    modes = Modes(
        wavenumber,
        displacement,
        np.einsum("a,mai,mai->m", masses, displacement, displacement),
        raman=found["raman"],
        depolarisation=found["depolarisation"],
        depolarisation_natural=found["depolarisation_natural"],
    )
    replica = folder / f"{project}-r-0.out"
    series = read_dipoles(folder / f"{project}-dipole.dat") or read_dipoles(replica)
    moves = [(int(atom) - 1, b"XYZ".index(axis), 1 if sign == b"+" else -1) for atom, axis, sign in _MOVE.findall(text)]
    if found["raman"] is not None:
        check_displaced(sorted(folder.glob(f"{project}-r-*.out")), len(masses), len(moves) + 1)
    step = _displacement(folder / f"{project}.inp") * ANGSTROM_PER_BOHR
    if surface_axis is not None and (series is None or not series.folded):
        slope = _slopes(moves, step, _surface_dipoles(replica), displacement, masses)
        if slope is None:
            return modes
        return replace(modes, infrared_normal=infrared_of(slope), dipole_slope_normal=slope[:, 0])
    if series is None:
        return modes
    dipole = series.values * E_ANGSTROM_PER_DEBYE
    if series.folded and series.cell is not None and len(dipole) == len(moves) + 1:
        dipole = _on_one_branch(dipole, series.cell.reshape(-1, 3, 3)[0], moves)
    slope = _slopes(moves, step, dipole, displacement, masses)
    if slope is not None:
        return replace(modes, infrared=infrared_of(slope), dipole_slope=slope)
    # CP2K's own differences are right where no quantum can hide in them
    return modes if series.folded else replace(modes, infrared=found["infrared"])


def infrared_of(slope: Array) -> Array:
    """(km/mol) Array with shape (M,) of the slopes (e/amu^1/2) with shape (M, 3), or (M, 1): 974.88 km/mol per e²/amu."""
    intensity: Array = KM_PER_MOL_PER_E2_PER_AMU * (slope**2).sum(axis=1)
    return intensity


def _values(path: Path, text: bytes, mark: bytes) -> Array | None:
    lines = re.findall(rb"\n *VIB\|" + mark + rb" *([^\n]*)", text)
    if not lines:
        return None
    try:
        values = np.array([float(word) for line in lines for word in line.split()])
    except ValueError as error:
        raise ComputationError(f"{path.name}: a value of a mode did not fit its column or is no number; run it again") from error
    if not np.isfinite(values).all():
        raise ComputationError(f"{path.name}: a value of a mode is not finite; run it again")
    return values


def _molden(path: Path, atoms: int) -> tuple[Array, Array]:
    """Wavenumbers (cm^-1) and displacements."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; print VIBRATIONAL_ANALYSIS/PRINT/MOLDEN_VIB")
    text = path.read_text(encoding="utf-8", errors="replace")
    sections = dict(re.findall(r"\[([A-Z-]+)\][^\n]*\n([^\[]*)", text))
    try:
        wavenumber = np.array([float(word) for word in sections["FREQ"].split()])
        blocks = re.split(r"vibration +\d+", sections["FR-NORM-COORD"])[1:]
        moves = np.array([[float(word) for word in block.split()] for block in blocks]).reshape(-1, atoms, 3)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged, or of other atoms than job.json; run it again") from error
    if len(moves) != len(wavenumber) or not np.isfinite(moves).all():
        raise InputError(f"{path}: {len(wavenumber)} wavenumbers and {len(moves)} displacements; damaged: run it again")
    return wavenumber, moves


def _surface_dipoles(path: Path) -> Array:
    """(e·Å) Array with shape (F, 1), dipole along the normal after each self-consistency, by the dipole correction."""
    values = _SURFACE_DIPOLE.findall(path.read_bytes()) if path.is_file() else []
    # of the electrons as they are counted: the dipole is the opposite
    return -np.array([float(value) for value in values]).reshape(-1, 1)


def _slopes(moves: list[Move], step: float, dipole: Array, displacement: Array, masses: Array) -> Array | None:
    """d mu / dQ, shape (M, C), from dipoles with C components; None where there is not one for each displaced structure.

    CP2K moves every coordinate by +DX, then every one by -DX, and ends at rest; all dipoles go into one file.
    """
    if len(dipole) != len(moves) + 1 or len(set(moves)) != len(moves):
        return None
    slope = np.zeros((*displacement.shape[1:], dipole.shape[1]))
    for (atom, axis, sign), value in zip(moves, dipole, strict=False):
        slope[atom, axis] += sign * value / (2 * step)
    # a displacement u of norm 1 by the length s has Q = s (sum of m u²)^1/2
    weight = np.sqrt(np.einsum("a,mai,mai->m", masses, displacement, displacement))
    result: Array = np.einsum("mai,aij->mj", displacement, slope) / weight[:, None]
    return result


def _on_one_branch(dipole: Array, cell: Array, moves: list[Move]) -> Array:
    """Dipoles (e·Å, the last of them at rest) moved by whole quanta e·cell to lie next to that at rest.

    Raises:
        InputError: one is too far from it for its branch to be known.
    """
    quanta = (dipole - dipole[-1]) @ np.linalg.inv(cell)
    left = np.abs(quanta - np.round(quanta)).max(axis=1)
    worst = int(left.argmax())
    if left[worst] > LARGEST_CHANGE:
        atom, axis, sign = moves[worst]
        raise InputError(
            f"dipoles: {'xyz'[axis]} of atom {atom + 1} moved by {'+' if sign > 0 else '-'}DX changes the dipole by "
            f"{left[worst]:.2f} quanta: its branch is a guess; without a gap take scf: diagonalisation with smearing"
        )
    return dipole - np.round(quanta) @ cell


def _displacement(path: Path) -> float:
    """(bohr) DX of the input.

    Raises:
        InputError: it is no number in bohr.
    """
    said = values_of(path, "VIBRATIONAL_ANALYSIS", "DX") if path.is_file() else []
    if not said:
        return DISPLACEMENT
    value = real_number(re.sub(r"^\[bohr\]\s*", "", said[-1], flags=re.IGNORECASE))
    if value is None or not 0 < value < np.inf:
        raise InputError(f"{path}: VIBRATIONAL_ANALYSIS/DX: {said[-1]!r}; allowed: a number above 0, in bohr; run it again")
    return value
