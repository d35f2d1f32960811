"""Liquids: how many molecules a film holds, and where packmol puts those of a film or of a bulk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import ComputationError, InputError, MissingError
from vibraloom.structures.spec import THINNEST_FILM, LiquidSpec
from vibraloom.units import GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms

TOLERANCE = 2.0
"""Smallest distance (Å) between atoms of different molecules that packmol is asked for."""
OVERLAP_SLACK = 0.05
"""How much (Å) below packmol's tolerance a distance may lie before it counts as an overlap."""
HEAVY_RADIUS = 1.3
"""Packing radius (Å) of atoms other than hydrogen: two oxygens start at least 2.6 Å apart."""
PATIENCE = 60.0
"""Seconds, and a tenth per molecule, after which a packing that does not converge is given up."""
PACKED = "packed.xyz"
PACKMOL_CITATION = "Martínez, Andrade, Birgin, Martínez, J. Comput. Chem. 30, 2157 (2009), doi:10.1002/jcc.21224"


def find_packmol() -> Path:
    """The packmol program: beside the running Python, else on PATH.

    Raises:
        MissingError: none is there; the message holds the command that installs it.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("packmol", path=str(beside)) or shutil.which("packmol")
    if found is None:
        raise MissingError(
            f"packmol: not found in {beside} or on PATH; get it with: {sys.executable} -m pip install packmol"
        )
    return Path(found)


def film_size(spec: LiquidSpec, molecular_mass: float, area: float) -> tuple[int, float]:
    """Number of molecules and exact thickness (Å) of a film: density = count · mass / (area · thickness).

    A thickness given by the user is met to within half a molecule, so that the density is exact. A few molecules that would
    make a film thinner than a molecule get one of :data:`THINNEST_FILM`; the density is then lower than asked for.

    Args:
        spec: density (g/cm³) with thickness (Å) or count.
        molecular_mass: (amu) mass of one molecule.
        area: (Å²) area of the cell's base.

    Raises:
        InputError: no molecule fits.
    """
    per_angstrom = spec.density * GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3 * area / molecular_mass
    count = spec.count if spec.count is not None else round(spec.thickness * per_angstrom)
    if count < 1:
        raise InputError(
            f"system.liquid.thickness: {spec.thickness:g} Å holds no {spec.molecule} on {area:.3g} Å²; "
            f"allowed: {1 / per_angstrom:.3g} angstrom or more, or a larger slab size"
        )
    thickness = count / per_angstrom
    return count, thickness if spec.count is None else max(thickness, THINNEST_FILM)


def pack_film(molecule: Atoms, count: int, cell: Any, low: float, high: float, seed: int) -> NDArray[np.float64]:
    """Positions of ``count`` molecules between two planes; all nuclei lie between ``low`` and ``high``.

    Molecules are whole, not folded, with their centres of mass inside the cell. Over an orthogonal base the
    packing is periodic in x and y; over another base it keeps half the tolerance away from the cell's faces.

    Args:
        molecule: one molecule.
        cell: (Å) Array with shape (3, 3), the third vector along z.
        low, high: (Å) heights of the film's faces.
        seed: seed of packmol's random numbers; the same seed gives the same film.

    Returns:
        (Å) Array with shape (count, atoms per molecule, 3).

    Raises:
        InputError: the film cannot be packed at this density.
        MissingError: packmol is not installed.
        ComputationError: packmol ended without a result.
    """
    lattice = np.asarray(cell, dtype=np.float64)
    try:
        positions = _packed(molecule, count, _film_input(molecule, count, lattice, low, high, seed))
    except _Unpackable as error:
        raise InputError(
            f"system.liquid: {count} molecules cannot be packed {TOLERANCE:g} Å apart in this film; "
            "lower the density, or make the film thicker or the slab larger"
        ) from error
    return _centres_inside(positions, molecule.get_masses(), lattice, (True, True, False))


def pack_cell(molecule: Atoms, count: int, edge: float, seed: int) -> NDArray[np.float64]:
    """Positions of ``count`` molecules in a cube that is periodic in x, y and z.

    Molecules are whole, not folded, with their centres of mass inside the cell.

    Args:
        molecule: one molecule.
        count: number of molecules.
        edge: (Å) edge of the cube.
        seed: seed of packmol's random numbers; the same seed gives the same liquid.

    Returns:
        (Å) Array with shape (count, atoms per molecule, 3).

    Raises:
        InputError: the molecules cannot be packed at this density.
        MissingError: packmol is not installed.
        ComputationError: packmol ended without a result.
    """
    whole = f"0.0 0.0 0.0 {edge:.8f} {edge:.8f} {edge:.8f}"
    lines = [*_head(seed), f"pbc {whole}", *_structure(molecule, count, f"inside box {whole}")]
    try:
        positions = _packed(molecule, count, "\n".join(lines) + "\n")
    except _Unpackable as error:
        raise InputError(
            f"system.density: {count} molecules cannot be packed {TOLERANCE:g} Å apart in a cube of {edge:.2f} Å; "
            "lower the density, or try another seed or more molecules"
        ) from error
    return _centres_inside(positions, molecule.get_masses(), edge * np.eye(3), (True, True, True))


class _Unpackable(Exception):
    """Packmol found no packing in its time."""


def _packed(molecule: Atoms, count: int, text: str) -> NDArray[np.float64]:
    """Run packmol with this input; positions in Å, Array with shape (count, atoms per molecule, 3).

    Raises:
        _Unpackable: no packing was found.
        MissingError: packmol is not installed.
        ComputationError: packmol ended without a result.
    """
    with tempfile.TemporaryDirectory(prefix="vibraloom-packmol-") as folder:
        work = Path(folder)
        lines = [str(len(molecule)), "one molecule"]
        lines += [f"{atom.symbol} {atom.x:.8f} {atom.y:.8f} {atom.z:.8f}" for atom in molecule]
        (work / "molecule.xyz").write_text("\n".join(lines) + "\n", encoding="utf-8")
        request = work / "packmol.inp"
        request.write_text(text, encoding="utf-8")
        try:
            # packmol rewinds its input: a file, not a pipe
            with request.open("rb") as handle:
                done = subprocess.run(
                    [str(find_packmol())],
                    stdin=handle,
                    cwd=work,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=PATIENCE + 0.1 * count,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise _Unpackable from error
        if "ENDED WITHOUT PERFECT PACKING" in done.stdout or (work / f"{PACKED}_FORCED").exists():
            raise _Unpackable
        if done.returncode != 0 or not (work / PACKED).exists():
            last = next(
                (line.strip() for line in reversed(done.stdout.splitlines()) if "ERROR" in line),
                "no output file",
            )
            raise ComputationError(
                f"packmol: {last} (exit code {done.returncode}); check the installation with: packmol < input"
            )
        table = (work / PACKED).read_text(encoding="utf-8").splitlines()[2:]
    positions = np.array([[float(word) for word in line.split()[1:4]] for line in table if line.strip()])
    if len(positions) != count * len(molecule):
        raise ComputationError(
            f"packmol: gave {len(positions)} atoms, not {count * len(molecule)}; use version 21 or later"
        )
    return positions.reshape(count, len(molecule), 3)


def _head(seed: int) -> list[str]:
    return [f"tolerance {TOLERANCE}", f"seed {seed}", "precision 0.001", "nloop 200", "filetype xyz", f"output {PACKED}"]


def _structure(molecule: Atoms, count: int, *constraints: str) -> list[str]:
    heavy = " ".join(str(index + 1) for index, number in enumerate(molecule.numbers) if number != 1)
    lines = ["structure molecule.xyz", f"  number {count}", *(f"  {line}" for line in constraints)]
    return [*lines, f"  atoms {heavy}", f"    radius {HEAVY_RADIUS}", "  end atoms", "end structure"]


def _film_input(molecule: Atoms, count: int, cell: NDArray[np.float64], low: float, high: float, seed: int) -> str:
    orthogonal = abs(cell[0, 1]) < 1e-8 and abs(cell[1, 0]) < 1e-8
    lines = _head(seed)
    if orthogonal:
        lines.append(f"pbc 0.0 0.0 {low - 20:.6f} {cell[0, 0]:.8f} {cell[1, 1]:.8f} {high + 20:.6f}")
    constraints = [f"over plane 0.0 0.0 1.0 {low:.8f}", f"below plane 0.0 0.0 1.0 {high:.8f}"]
    if not orthogonal:
        for along, across in ((0, 1), (1, 0)):
            normal = np.cross(cell[across], [0.0, 0.0, 1.0])
            normal /= np.linalg.norm(normal)
            width = float(normal @ cell[along])
            if width < 0:
                normal, width = -normal, -width
            plane = f"{normal[0]:.10f} {normal[1]:.10f} 0.0"
            constraints.append(f"over plane {plane} {HEAVY_RADIUS:.6f}")
            constraints.append(f"below plane {plane} {width - HEAVY_RADIUS:.6f}")
    lines += _structure(molecule, count, *constraints)
    return "\n".join(lines) + "\n"


def _centres_inside(
    positions: NDArray[np.float64], masses: NDArray[np.float64], cell: NDArray[np.float64], periodic: tuple[bool, bool, bool]
) -> NDArray[np.float64]:
    centres = np.einsum("mai,a->mi", positions, masses) / masses.sum()
    shift = np.floor(centres @ np.linalg.inv(cell)) * np.array(periodic)
    return positions - (shift @ cell)[:, None, :]
