"""Harmonic modes: optimise structure.extxyz, then central differences of forces, dipole and polarizability.

Run as ``python -m vibraloom.calculators.ase.harmonic job.json``. Keys: engine (a deepmd engine may name the
models "dipole" and "polarizability" too); optional displacement (0.01 Å), fmax (1e-4 eV/Å), max_steps (200),
polarizability (false; for pyscf), processes (1). Results: harmonic.npz (arrays) and harmonic.json
(wavenumbers, intensities and the table of modes).

:func:`finite_displacements` does the same in a script of one's own, with any ASE calculator.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from vibraloom.calculators.ase.engines import (
    make_calculator,
    make_forces,
    polarizability_function,
    read_structure,
    tethered,
)
from vibraloom.calculators.job import (
    Progress,
    positive,
    required,
    run_job,
    versions,
    whole_number,
    write_arrays,
)
from vibraloom.durable import write_text
from vibraloom.errors import ComputationError, InputError
from vibraloom.files.bonds import natural_bonds
from vibraloom.spectra.harmonic import HarmonicDerivatives, infrared_intensities, raman_activities
from vibraloom.spectra.mode_assignment import mode_table

Array = NDArray[np.float64]


@dataclass
class Answer:
    """Forces (eV/Å) (A, 3), dipole (e·Å) (3,) and polarizability (Å³) (3, 3) at one geometry, where known."""

    forces: Array
    dipole: Array | None
    polarizability: Array | None


def make_answer(engine: dict[str, Any], atoms: Atoms, polarizability: bool) -> Callable[[Array], Answer]:
    """Positions (Å) (A, 3) to :class:`Answer` for an engine entry.

    Raises:
        InputError, MissingError: see :func:`vibraloom.calculators.ase.engines.make_forces`.
    """
    forces = make_forces(engine, atoms)
    tensors: dict[str, Callable[[Array], Array]] = {}
    if engine["kind"] == "deepmd":
        from vibraloom.calculators.deepmd.response import EVALUATORS, TensorModel

        cell = atoms.cell.array if atoms.pbc.any() else None
        for target in EVALUATORS:
            if target in engine:
                model = TensorModel(engine[target], target, atoms.numbers.tolist())
                tensors[target] = _single(model, cell)
    elif polarizability:
        function = polarizability_function(engine, atoms)
        if function is None:
            raise InputError(f"job.json: polarizability: engine {engine['kind']} has none; set it to false")
        tensors["polarizability"] = function

    def answer(positions: Array) -> Answer:
        result = forces(positions[None])
        dipole = tensors["dipole"](positions) if "dipole" in tensors else None
        if dipole is None and result.dipole is not None:
            dipole = result.dipole[0]
        alpha = tensors["polarizability"](positions) if "polarizability" in tensors else None
        return Answer(result.forces[0], dipole, alpha)

    return answer


def _single(model: Callable[..., Array], cell: Array | None) -> Callable[[Array], Array]:
    return lambda positions: model(positions[None], cell)[0]


_answer: Callable[[Array], Answer] | None = None


def _start_worker(engine: dict[str, Any], polarizability: bool) -> None:
    global _answer
    _answer = make_answer(engine, read_structure("structure.extxyz"), polarizability)


def _answer_in_worker(positions: Array) -> Answer:
    assert _answer is not None
    return _answer(positions)


def optimise(atoms: Atoms, engine: dict[str, Any], fmax: float, max_steps: int) -> tuple[Atoms, float]:
    """Relax ``atoms`` (BFGS) until the largest force is below ``fmax`` (eV/Å); also returns that force.

    Raises:
        ComputationError: not converged in ``max_steps``, or positions that are not numbers.
    """
    from ase.optimize import BFGS

    relaxed = atoms.copy()
    relaxed.calc = make_calculator(engine)
    with BFGS(relaxed, logfile=None, maxstep=0.1) as optimiser:
        converged = optimiser.run(fmax=fmax, steps=max_steps)
    largest = float(np.linalg.norm(relaxed.get_forces(), axis=1).max())
    if not converged or not np.isfinite(largest):
        raise ComputationError(
            f"optimisation: largest force {largest:.2e} eV/Å after {max_steps} steps, wanted {fmax:g}; "
            "give more max_steps or a better structure"
        )
    return relaxed, largest


def derivatives(
    positions: Array, displacement: float, answers: list[Answer]
) -> tuple[Array, Array | None, Array | None]:
    """Central differences from the answers at + and - ``displacement`` (Å) of each coordinate in turn.

    Returns:
        Hessian (eV/Å²) (3A, 3A), symmetrised; dipole derivatives (e) (3A, 3) or None; polarizability
        derivatives (Å²) (3A, 3, 3) or None.
    """
    width = 2 * displacement
    pairs = list(zip(answers[::2], answers[1::2], strict=True))
    hessian = np.array([-(plus.forces - minus.forces).ravel() / width for plus, minus in pairs])
    dipole = polarizability = None
    if all(a.dipole is not None for a in answers):
        dipole = np.array([(np.asarray(plus.dipole) - np.asarray(minus.dipole)) / width for plus, minus in pairs])
    if all(a.polarizability is not None for a in answers):
        polarizability = np.array(
            [(np.asarray(plus.polarizability) - np.asarray(minus.polarizability)) / width for plus, minus in pairs]
        )
    return 0.5 * (hessian + hessian.T), dipole, polarizability


def displaced(positions: Array, displacement: float) -> list[Array]:
    """Positions (Å) (A, 3) with each coordinate moved by + and - ``displacement``: 6A geometries."""
    geometries = []
    for index in range(positions.size):
        for sign in (1, -1):
            moved = positions.copy()
            moved.flat[index] += sign * displacement
            geometries.append(moved)
    return geometries


def finite_displacements(
    atoms: Atoms,
    calculator: Calculator,
    delta: float = 0.01,
    *,
    polarizability: Callable[[Atoms], Array] | None = None,
) -> HarmonicDerivatives:
    """Derivatives at a relaxed geometry by central differences, with any ASE calculator: 6 evaluations per atom.

    Atoms held by ``FixAtoms`` are not displaced, and what is returned is of the others alone. Of a periodic cell the
    modes are those at Gamma, and dipole derivatives are taken if the calculator gives a dipole.

    Args:
        atoms: the geometry (Å), with the masses (amu) that are meant; left as it is.
        calculator: gives forces (eV/Å), and dipoles (e·Å) if it can.
        delta: (Å) displacement.
        polarizability: atoms to polarizability (Å³), Array with shape (3, 3).

    Raises:
        InputError: delta is not positive, no atom may move, or a constraint other than ``FixAtoms``.
        ComputationError: the calculator failed, or gave something that is not a number.
    """
    from ase.constraints import FixAtoms

    if not 0 < delta < float("inf"):
        raise InputError(f"delta: {delta} Å; it must be positive")
    for each in atoms.constraints:
        if not isinstance(each, FixAtoms):
            raise InputError(f"atoms: constraint {type(each).__name__}; allowed: FixAtoms, remove the others")
    held = {int(index) for each in atoms.constraints for index in each.get_indices()}
    moved = [index for index in range(len(atoms)) if index not in held]
    if not moved:
        raise InputError("atoms: all of them are fixed; free those that vibrate")
    work = atoms.copy()
    work.calc = calculator
    has_dipole = "dipole" in calculator.implemented_properties
    geometry = atoms.get_positions()
    answers: list[Answer] = []
    for places in displaced(geometry[moved], delta):
        geometry[moved] = places
        work.set_positions(geometry)
        try:
            answer = Answer(
                work.get_forces()[moved],
                np.array(work.get_dipole_moment()) if has_dipole else None,
                None if polarizability is None else np.array(polarizability(work)),
            )
        except (ComputationError, InputError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            number = len(answers) // 6
            raise ComputationError(
                f"atom {moved[number]} displaced: {type(calculator).__name__}: {text}; check the geometry"
            ) from error
        given = (answer.forces, answer.dipole, answer.polarizability)
        if not all(np.isfinite(each).all() for each in given if each is not None):
            raise ComputationError(f"atom {moved[len(answers) // 6]} displaced: {type(calculator).__name__}: not a number")
        answers.append(answer)
    return _gathered(atoms[moved], delta, answers, anchored=bool(held))


def _gathered(atoms: Atoms, displacement: float, answers: list[Answer], *, anchored: bool) -> HarmonicDerivatives:
    """The answers at :func:`displaced` of ``atoms`` as derivatives."""
    hessian, dipole, polarizability = derivatives(atoms.get_positions(), displacement, answers)
    symbols, cell = atoms.get_chemical_symbols(), atoms.cell.array if atoms.pbc.any() else None
    # the mean over + and - is the force at the geometry, to second order
    force = np.mean([answer.forces for answer in answers], axis=0)
    return HarmonicDerivatives(
        symbols=symbols,
        masses=atoms.get_masses(),
        positions=atoms.get_positions(),
        hessian=hessian,
        cell=cell,
        dipole_derivatives=dipole,
        polarizability_derivatives=polarizability,
        bonds=natural_bonds(symbols, atoms.get_positions(), cell),
        anchored=anchored,
        largest_force=float(np.linalg.norm(force, axis=1).max()),
    )


def _answers(
    geometries: list[Array], job: dict[str, Any], atoms: Atoms, processes: int, progress: Progress
) -> list[Answer]:
    engine, polarizability = job["engine"], bool(job.get("polarizability", False))
    answers: list[Answer] = []
    if processes == 1 or engine["kind"] in ("deepmd", "harmonic", "tblite"):  # their start-up costs more
        answer = make_answer(engine, atoms, polarizability)
        for geometry in geometries:
            answers.append(answer(geometry))
            progress(len(answers), len(geometries) + 1, "displacements")
        return answers
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, _start_worker, (engine, polarizability)) as pool:
            for result in pool.map(_answer_in_worker, geometries):
                answers.append(result)
                progress(len(answers), len(geometries) + 1, "displacements")
    except BrokenProcessPool as error:
        raise ComputationError("a process was ended from outside (memory?); take fewer processes") from error
    return answers


def main(job: dict[str, Any], progress: Progress) -> None:
    """Optimise and differentiate; see the module's text for the keys.

    Raises:
        InputError: bad keys or structure.
        ComputationError: the optimisation or an engine failed.
    """
    engine = required(job, "engine")
    displacement = positive(job, "displacement", 0.01)
    fmax = positive(job, "fmax", 1e-4)
    max_steps = whole_number(job, "max_steps", 200)
    processes = whole_number(job, "processes", 1)
    atoms = read_structure("structure.extxyz")
    progress(0, 1, "optimisation")
    relaxed, largest = optimise(atoms, engine, fmax, max_steps)
    positions = relaxed.get_positions()
    answers = _answers(displaced(positions, displacement), job, relaxed, processes, progress)
    found = replace(_gathered(relaxed, displacement, answers, anchored=tethered(engine)), largest_force=largest)
    modes, dipole, polarizability = found.modes(), found.dipole_derivatives, found.polarizability_derivatives
    arrays: dict[str, Array] = {
        "numbers": relaxed.numbers,
        "wavenumbers": modes.wavenumber,
        "eigenvectors": modes.eigenvectors,
        **found.as_arrays(),
    }
    summary: dict[str, Any] = {
        "wavenumbers": modes.wavenumber.tolist(),
        "modes": mode_table(found),
        "symbols": relaxed.get_chemical_symbols(),
        "positions": positions.tolist(),
        "largest_force": largest,
        "displacement": displacement,
        "engine": engine,
        "units": {"wavenumbers": "cm^-1", "positions": "angstrom", "largest_force": "eV/angstrom"},
        "versions": versions(("ase", "numpy", "pyscf", "tblite", "deepmd-kit", "tensorflow-cpu")),
    }
    if dipole is not None:
        summary["infrared_intensities"] = infrared_intensities(dipole, modes).tolist()
        summary["units"]["infrared_intensities"] = "km/mol"
    if polarizability is not None:
        activities, ratios = raman_activities(polarizability, modes)
        summary |= {"raman_activities": activities.tolist(), "depolarisation_ratios": ratios.tolist()}
        summary["units"]["raman_activities"] = "angstrom^4/amu"
    write_arrays("harmonic.npz", arrays)
    write_text("harmonic.json", json.dumps(summary, indent=2))
    progress(1, 1, "displacements")


if __name__ == "__main__":
    run_job(main)
