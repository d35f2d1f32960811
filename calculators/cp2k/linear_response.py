"""Polarizability by CP2K's linear response, taken only where it can be trusted.

LINRES can diverge and still end normally, so that converged equations, a symmetric tensor and a physical size are demanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.output_log import read_log
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.cp2k_moments import read_cp2k
from vibraloom.units import ANGSTROM3_PER_BOHR3

RESPONSE_NAME = "linres"
"""Name of the follow-up run."""
RESPONSE_CUTOFF = 300
"""(Ry) Below it CP2K's linear response diverged on one H2O, at 300 Ry it converged in five cycles."""
MOST_ASYMMETRIC = 0.02
"""Largest difference of a tensor and its transpose, as a fraction of a third of its trace."""
LARGEST_PER_ATOM = 10.0
SMALLEST_PER_ATOM = 0.01
"""(Å³) Between these a third of the trace over the number of atoms must lie: He 0.2, H2O 0.5; garbage is far outside."""
EQUATIONS = 3
"""One response equation per direction of the field."""


def read_linear_response(path: Path, atoms: int) -> NDArray[np.float64]:
    """Polarizability (Å³) with shape (3, 3), symmetrised, from the log of a run of linear response.

    Args:
        path: the log.
        atoms: number of atoms, for the range.

    Raises:
        ComputationError: an equation that did not converge, ``****``, an asymmetric tensor, or an unphysical one.
        InputError: not a log of CP2K.
    """
    log = read_log(path)
    if log.unsolved or log.solved < EQUATIONS:
        raise ComputationError(
            f"{path.name}: linear response: {log.solved} of {EQUATIONS} equations converged; use more iterations or another"
            " preconditioner"
        )
    return trusted(_tensors(path)[-1], atoms, f"{path.name}: linear response")


def check_displaced(paths: Sequence[Path], atoms: int, evaluations: int) -> None:
    """Demand a polarizability that can be one of every displaced structure; logs that print none say nothing.

    Args:
        paths: logs of the replicas of a vibrational analysis.
        atoms: number of atoms, for the range.
        evaluations: structures that were computed, the one at rest among them.

    Raises:
        ComputationError: see :func:`read_linear_response`.
    """
    printing = [path for path in paths if b"POLAR|" in path.read_bytes()]
    if not printing:
        return
    logs = [read_log(path) for path in printing]
    solved, wanted = sum(log.solved for log in logs), EQUATIONS * evaluations
    if solved < wanted or any(log.unsolved for log in logs):
        raise ComputationError(
            f"{printing[0].name}: linear response: {solved} of {wanted} equations of the displaced structures converged; use more"
            " iterations or another preconditioner"
        )
    for path in printing:
        for place, tensor in enumerate(_tensors(path)):
            trusted(tensor, atoms, f"{path.name}: linear response of displaced structure {place + 1}")


def _tensors(path: Path) -> NDArray[np.float64]:
    """(Å³) Array with shape (F, 3, 3), every polarizability that a log prints."""
    try:
        values = read_cp2k(path, "polarizability").values
    except InputError as error:
        raise ComputationError(f"linear response: {error}") from error
    # xx, yy, zz, xy, xz, yz, yx, zx, zy
    return np.asarray(values)[:, [0, 3, 4, 6, 1, 5, 7, 8, 2]].reshape(-1, 3, 3) * ANGSTROM3_PER_BOHR3


def trusted(tensor: NDArray[np.float64], atoms: int, source: str) -> NDArray[np.float64]:
    """The symmetric part of a polarizability (Å³) with shape (3, 3), if it can be one.

    Raises:
        ComputationError: not symmetric, not positive, or of an unphysical size.
    """
    mean = float(np.trace(tensor)) / 3.0
    symmetric = 0.5 * (tensor + tensor.T)
    if not np.isfinite(tensor).all() or not SMALLEST_PER_ATOM <= mean / atoms <= LARGEST_PER_ATOM:
        raise ComputationError(
            f"{source}: mean polarizability {mean:g} Å³ for {atoms} atom(s) is out of range; allowed: {SMALLEST_PER_ATOM} to "
            f"{LARGEST_PER_ATOM} Å³ per atom; recompute it"
        )
    asymmetry = float(np.abs(tensor - tensor.T).max()) / mean
    if asymmetry > MOST_ASYMMETRIC:
        raise ComputationError(
            f"{source}: the tensor is asymmetric by {100 * asymmetry:.2g} % of its mean; allowed: {100 * MOST_ASYMMETRIC:g} %; "
            "converge it more tightly"
        )
    smallest = float(np.linalg.eigvalsh(symmetric)[0])
    if smallest <= 0:
        raise ComputationError(f"{source}: a principal polarizability is {smallest:g} Å³; it must be positive; recompute it")
    return symmetric
