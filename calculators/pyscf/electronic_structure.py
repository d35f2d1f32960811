"""Energy, forces, dipole and polarizability of one molecule by density-functional theory in pyscf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import ComputationError, InputError, MissingError
from vibraloom.units import ANGSTROM3_PER_BOHR3, ANGSTROM_PER_BOHR, EV_PER_HARTREE

FIELD = 0.002
"""(a.u.) Default strength of the static field: H2O's polarizability moves by 1e-4 of itself from 0.001 to
0.002."""
GRID_LEVEL = 3
"""pyscf's integration grid for energy, forces and dipole."""
FIELD_GRID_LEVEL = 2
"""Grid under the field: a smaller one; H2O's PBE polarizability differs by 3e-5 of itself from that of level
3."""
CONVERGENCE = 1e-10
"""(hartree) SCF threshold; looser ones leave the field response asymmetric."""


@dataclass(frozen=True)
class LevelOfTheory:
    """What is solved: functional and basis by pyscf's names, total charge (e), unpaired electrons, field
    strength."""

    functional: str
    basis: str
    charge: int = 0
    unpaired: int = 0
    field: float = FIELD


@dataclass
class Label:
    """The answer for one frame.

    Attributes:
        energy: (eV) total energy.
        forces: (eV/Å) Array with shape (A, 3), or None if not asked for.
        dipole: (e·Å) Array with shape (3,), relative to the origin of the coordinates.
        polarizability: (Å³) symmetric Array with shape (3, 3), or None if not asked for.
        asymmetry: largest |alpha_ij - alpha_ji| before symmetrising, relative to the mean polarizability.
    """

    energy: float
    forces: NDArray[np.float64] | None
    dipole: NDArray[np.float64]
    polarizability: NDArray[np.float64] | None = None
    asymmetry: float = 0.0


def check_level(level: LevelOfTheory, numbers: Sequence[int]) -> None:
    """Refuse what pyscf does not know before anything is computed.

    Raises:
        InputError: unknown functional or basis (or no basis for one of the elements), or electrons that do
            not pair.
        MissingError: pyscf is not installed.
    """
    try:
        from pyscf import dft, gto
        from pyscf.data.elements import ELEMENTS
        from pyscf.scf.dispersion import parse_dft
    except ImportError as error:
        raise MissingError("pyscf is not installed; pip install 'vibraloom[dft]'") from error
    try:
        dft.libxc.parse_xc(level.functional)
    except Exception as error:
        raise InputError(
            f"functional {level.functional!r} is unknown to pyscf; allowed: a libxc name such as PBE, BLYP or B3LYP"
        ) from error
    try:
        dispersion = parse_dft(level.functional)[2]
    except NotImplementedError:  # wb97x-d and its like
        dispersion = level.functional
    if dispersion is not None:
        raise InputError(
            f"functional {level.functional!r} asks for a dispersion correction, which is not computed here; allowed: a libxc "
            "name without one, such as PBE or B3LYP"
        )
    for number in sorted({int(n) for n in numbers}):
        try:
            gto.basis.load(level.basis, ELEMENTS[number])
        except Exception as error:
            raise InputError(
                f"basis {level.basis!r} is unknown to pyscf for {ELEMENTS[number]}; "
                "allowed: a basis such as def2-TZVPD or aug-cc-pVDZ"
            ) from error
    electrons = int(sum(numbers)) - level.charge
    if electrons < 1 or level.unpaired < 0 or (electrons - level.unpaired) % 2 or level.unpaired > electrons:
        raise InputError(
            f"charge {level.charge} leaves {electrons} electrons, which cannot have {level.unpaired} "
            "unpaired; change charge or unpaired"
        )


@dataclass
class _Guess:
    """Density matrices of one geometry: without field, and their change per field axis."""

    density: NDArray[Any]
    response: list[NDArray[Any]] = field(default_factory=list)


def without_rigid_part(forces: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forces without net force and torque, which a free molecule cannot have.

    The integration grid, which does not move with the electrons, leaves about 1e-3 eV/Å of both: an optimiser
    follows them for ever along a direction without curvature.

    Args:
        forces: (eV/Å) Array with shape (A, 3).
        positions: (Å) Array with shape (A, 3).
    """
    centred = np.asarray(positions) - np.mean(positions, axis=0)
    motions = [np.tile(axis, (len(centred), 1)).ravel() for axis in np.eye(3)]
    motions += [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    rigid = np.array(motions).T
    share = np.linalg.lstsq(rigid, forces.ravel(), rcond=1e-6)[0]
    return forces - (rigid @ share).reshape(forces.shape)


class ElectronicStructure:
    """Solves one molecule again and again; the first geometry's densities start the later ones.

    All later geometries start from the same first one, so that a label does not depend on the order of the
    work.
    """

    def __init__(self, level: LevelOfTheory, numbers: Sequence[int]) -> None:
        """Prepare for atoms with these atomic numbers.

        Raises:
            InputError, MissingError: see :func:`check_level`.
        """
        check_level(level, numbers)
        self.level = level
        self.numbers = [int(number) for number in numbers]
        self._guess: _Guess | None = None

    def evaluate(self, positions: NDArray[np.float64], *, forces: bool = True, polarizability: bool = False) -> Label:
        """Solve the molecule at ``positions``.

        The polarizability is the central difference of the dipole between fields ±F along each axis. With
        H = H0 + F·r on the electrons (charge -1) the energy gains +F·r, so mu = -<r> and alpha = d mu/dF > 0.

        Args:
            positions: (Å) Array with shape (A, 3).
            forces: compute the forces too.
            polarizability: compute the polarizability too.

        Raises:
            ComputationError: the SCF did not converge, or the polarizability is not positive definite.
        """
        from pyscf import gto

        molecule = gto.M(
            atom=[(number, tuple(r)) for number, r in zip(self.numbers, np.asarray(positions), strict=True)],
            unit="Angstrom",
            basis=self.level.basis,
            charge=self.level.charge,
            spin=self.level.unpaired,
            verbose=0,
        )
        solver = self._solver(molecule)
        solver.grids.level = GRID_LEVEL
        energy, density = self._solve(solver, self._guess.density if self._guess else None, "without field")
        dipole = np.asarray(solver.dip_moment(unit="AU", verbose=0)) * ANGSTROM_PER_BOHR
        label = Label(energy=energy * EV_PER_HARTREE, forces=None, dipole=dipole)
        if forces:
            gradient = np.asarray(solver.nuc_grad_method().kernel())
            label.forces = without_rigid_part(-gradient * EV_PER_HARTREE / ANGSTROM_PER_BOHR, positions)
        response: list[NDArray[Any]] = []
        if polarizability:
            tensor, response = self._polarizability(molecule, solver, density)
            mean = float(np.trace(tensor)) / 3
            label.asymmetry = float(np.abs(tensor - tensor.T).max()) / abs(mean)
            symmetric = 0.5 * (tensor + tensor.T)
            if not np.all(np.linalg.eigvalsh(symmetric) > 0):
                raise ComputationError(
                    f"polarizability is not positive (mean {mean * ANGSTROM3_PER_BOHR3:.4g} Å³); "
                    "check the geometry and the field"
                )
            label.polarizability = symmetric * ANGSTROM3_PER_BOHR3
        if self._guess is None or (polarizability and not self._guess.response):
            self._guess = _Guess(density, response)
        return label

    def _solver(self, molecule: Any) -> Any:
        from pyscf import dft

        kind = dft.UKS if self.level.unpaired else dft.RKS
        solver = kind(molecule, xc=self.level.functional)
        solver.conv_tol = CONVERGENCE
        solver.chkfile = None
        return solver

    def _solve(self, solver: Any, guess: NDArray[Any] | None, what: str) -> tuple[float, NDArray[Any]]:
        energy = solver.kernel(dm0=guess)
        if not solver.converged and guess is not None:
            energy = solver.kernel(dm0=None)  # a far geometry can be misled by the reference density
        if not solver.converged or not np.isfinite(energy):
            raise ComputationError(
                f"SCF {what} not converged in {solver.max_cycle} iterations (energy {energy:.6f} hartree); "
                "drop the frame or change functional or basis"
            )
        return float(energy), np.asarray(solver.make_rdm1())

    def _polarizability(
        self, molecule: Any, solver: Any, density: NDArray[Any]
    ) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
        from pyscf import dft

        strength = self.level.field
        core = solver.get_hcore()
        position = molecule.intor("int1e_r")
        grid = dft.gen_grid.Grids(molecule)
        grid.level = FIELD_GRID_LEVEL
        grid.build()
        tensor = np.zeros((3, 3))
        responses: list[NDArray[Any]] = []
        for axis in range(3):
            solved: list[NDArray[Any]] = []
            for sign in (1, -1):
                perturbed = self._solver(molecule)
                perturbed.grids = grid
                perturbed._eri = solver._eri  # the two-electron integrals know nothing of the field
                hamiltonian = core + sign * strength * position[axis]
                perturbed.get_hcore = lambda *_, matrix=hamiltonian: matrix
                if sign == -1:
                    guess = 2 * density - solved[0]  # right to first order in the field
                elif self._guess is not None and self._guess.response:
                    guess = density + self._guess.response[axis]
                else:
                    guess = density
                solved.append(self._solve(perturbed, guess, f"in the field along {'xyz'[axis]}")[1])
            change = 0.5 * (solved[0] - solved[1])
            responses.append(change)
            total = change.sum(axis=0) if change.ndim == 3 else change
            tensor[axis] = -np.einsum("kij,ji->k", position, total) / strength
        return tensor, responses
