"""Engines by name: deepmd, pyscf, tblite, and exact harmonic springs for tests.

An engine is a plain entry of a job: ``{"kind": "deepmd", "model": "model.pb"}``,
``{"kind": "pyscf", "functional": "PBE", "basis": "aug-cc-pVDZ"}``, ``{"kind": "tblite"}`` or
``{"kind": "harmonic", "sites": [[x, y, z], …], "spring": eV/Å² (a number, or one per atom or per atom and
axis)}`` / ``{"kind": "harmonic", "bonds": [{"atoms": [0, 1], "length": Å, "spring": eV/Å²}]}``, both with
optional ``"charges"``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from vibraloom.calculators.ase.verlet import ForceFunction, Forces
from vibraloom.errors import ComputationError, InputError, MissingError

Array = NDArray[np.float64]

KINDS = ("deepmd", "pyscf", "tblite", "harmonic")


def read_structure(path: str | Path) -> Atoms:
    """The one structure of an extended XYZ file.

    Raises:
        InputError: no such file, not readable, or positions that are no numbers.
    """
    from ase.io import read

    try:
        atoms = read(path, format="extxyz")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; put the structure there") from error
    except Exception as error:
        raise InputError(f"{path}: not an extended XYZ file ({error}); write it again") from error
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"{path}: a position is not a number; write it again")
    return atoms


def make_calculator(engine: dict[str, Any], folder: str | Path = ".") -> Calculator:
    """The ASE calculator of an engine entry; a model's path is relative to ``folder``.

    Raises:
        InputError: unknown kind, a missing key, or no such model file.
        MissingError: the engine's package is not installed.
    """
    kind = _kind(engine)
    if kind == "deepmd":
        return DeepmdCalculator(engine, Path(folder))
    if kind == "pyscf":
        return PyscfCalculator(engine)
    if kind == "harmonic":
        return HarmonicCalculator(engine)
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise MissingError("tblite is not installed; pip install 'vibraloom[dft]'") from error
    return TBLite(method=engine.get("method", "GFN2-xTB"), verbosity=0)


def make_forces(engine: dict[str, Any], atoms: Atoms, folder: str | Path = ".") -> ForceFunction:
    """Forces of several replicas of ``atoms`` at once, in one call where the engine can.

    Raises:
        InputError, MissingError: see :func:`make_calculator`.
        ComputationError: (from the returned function) the engine failed.
    """
    kind = _kind(engine)
    if kind == "deepmd":
        return _deepmd_forces(engine, Path(folder), atoms)
    if kind == "harmonic":
        return Springs(engine, len(atoms))
    return _one_by_one(make_calculator(engine, folder), atoms)


def polarizability_function(engine: dict[str, Any], atoms: Atoms) -> Callable[[Array], Array] | None:
    """Positions (Å) (A, 3) to polarizability (Å³) (3, 3), where the engine has one (pyscf), else None."""
    if _kind(engine) != "pyscf":
        return None
    structure = _electronic_structure(engine, atoms.numbers.tolist())

    def evaluate(positions: Array) -> Array:
        label = structure.evaluate(positions, forces=False, polarizability=True)
        assert label.polarizability is not None
        return label.polarizability

    return evaluate


def _kind(engine: dict[str, Any]) -> str:
    kind = engine.get("kind") if isinstance(engine, dict) else None
    if kind not in KINDS:
        raise InputError(f"job.json: engine kind is {kind!r}; allowed: {', '.join(KINDS)}")
    return str(kind)


def _key(engine: dict[str, Any], key: str) -> Any:
    if key not in engine:
        raise InputError(f"job.json: engine {engine['kind']}: key {key!r} is missing; add it")
    return engine[key]


def _one_by_one(calculator: Calculator, atoms: Atoms) -> ForceFunction:
    work = atoms.copy()
    work.calc = calculator
    has_dipole = "dipole" in calculator.implemented_properties

    def evaluate(positions: Array) -> Forces:
        energy, forces, dipole = [], [], []
        for replica in positions:
            work.set_positions(replica)
            try:
                forces.append(work.get_forces())
                energy.append(work.get_potential_energy())
                if has_dipole:
                    dipole.append(work.get_dipole_moment())
            except (ComputationError, InputError):
                raise
            except Exception as error:
                text = " ".join(str(error).split())
                raise ComputationError(f"{type(calculator).__name__}: {text}; check the geometry") from error
        return Forces(np.array(energy), np.array(forces), np.array(dipole) if has_dipole else None)

    return evaluate


def open_deepmd(model: str | Path, numbers: Array | list[int], kind: str = "DeepPot") -> tuple[Any, NDArray[np.int64]]:
    """An evaluator of deepmd-kit (DeepPot, DeepDipole or DeepPolar) and the model's type index per atom.

    Raises:
        MissingError: deepmd-kit is not installed.
        InputError: no such file, not that kind of model, or an element that the model does not know.
    """
    from ase.data import chemical_symbols

    if not Path(model).is_file():
        raise InputError(f"{model}: no such model file; train one or name it")
    try:
        if kind == "DeepPot":
            from deepmd.infer import DeepPot as Evaluator
        elif kind == "DeepDipole":
            from deepmd.infer.deep_dipole import DeepDipole as Evaluator
        else:
            from deepmd.infer.deep_polar import DeepPolar as Evaluator
    except ImportError as error:
        raise MissingError("deepmd-kit is not installed; pip install 'vibraloom[deepmd]'") from error
    try:
        evaluator = Evaluator(str(model))
        type_map = list(evaluator.get_type_map())
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{model}: not a {kind} model that deepmd-kit opens ({text})") from error
    symbols = [chemical_symbols[int(number)] for number in numbers]
    unknown = sorted(set(symbols) - set(type_map))
    if unknown:
        raise InputError(f"{model}: knows {', '.join(type_map)}, not {', '.join(unknown)}; train it with that element")
    return evaluator, np.array([type_map.index(symbol) for symbol in symbols])


def _cells(atoms: Atoms, frames: int) -> Array | None:
    if not atoms.pbc.any():
        return None
    if not atoms.pbc.all():
        raise InputError("structure: periodic along some axes only; deepmd wants all three (a slab keeps its vacuum)")
    return np.tile(atoms.cell.array.reshape(1, 9), (frames, 1))


def _deepmd_forces(engine: dict[str, Any], folder: Path, atoms: Atoms) -> ForceFunction:
    potential, types = open_deepmd(folder / _key(engine, "model"), atoms.numbers)

    def evaluate(positions: Array) -> Forces:
        frames = len(positions)
        energy, forces, _ = potential.eval(positions.reshape(frames, -1), _cells(atoms, frames), types)[:3]
        return Forces(np.asarray(energy, dtype=float).reshape(frames), np.asarray(forces, dtype=float))

    return evaluate


class DeepmdCalculator(Calculator):
    """A deep potential (energy in eV, forces in eV/Å) as an ASE calculator."""

    implemented_properties: tuple[str, ...] = ("energy", "forces")

    def __init__(self, engine: dict[str, Any], folder: Path) -> None:
        """Open the model when the first atoms come."""
        super().__init__()
        self._engine, self._folder = engine, folder
        _key(engine, "model")
        self._function: tuple[list[int], ForceFunction] | None = None

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Evaluate the model."""
        super().calculate(atoms, properties, system_changes)
        numbers = atoms.numbers.tolist()
        if self._function is None or self._function[0] != numbers or atoms.pbc.any():
            self._function = (numbers, _deepmd_forces(self._engine, self._folder, atoms))
        result = self._function[1](atoms.positions[None])
        self.results = {"energy": float(result.energy[0]), "forces": result.forces[0]}


def _electronic_structure(engine: dict[str, Any], numbers: list[int]) -> Any:
    from vibraloom.calculators.pyscf.electronic_structure import ElectronicStructure, LevelOfTheory

    level = LevelOfTheory(
        functional=str(_key(engine, "functional")),
        basis=str(_key(engine, "basis")),
        charge=int(engine.get("charge", 0)),
        unpaired=int(engine.get("unpaired", 0)),
        field=float(engine.get("field", LevelOfTheory.field)),
    )
    return ElectronicStructure(level, numbers)


class PyscfCalculator(Calculator):
    """Density-functional theory of one molecule (energy in eV, forces in eV/Å, dipole in e·Å) as an ASE
    calculator."""

    implemented_properties: tuple[str, ...] = ("energy", "forces", "dipole")

    def __init__(self, engine: dict[str, Any]) -> None:
        """Set up pyscf when the first atoms come."""
        super().__init__()
        _key(engine, "functional"), _key(engine, "basis")
        self._engine = engine
        self._structure: Any = None

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Solve the molecule."""
        super().calculate(atoms, properties, system_changes)
        if atoms.pbc.any():
            raise InputError("structure: periodic; the pyscf engine is for molecules, set pbc to F F F")
        numbers = atoms.numbers.tolist()
        if self._structure is None or self._structure.numbers != numbers:
            self._structure = _electronic_structure(self._engine, numbers)
        label = self._structure.evaluate(atoms.positions, forces=True)
        self.results = {"energy": label.energy, "forces": label.forces, "dipole": label.dipole}


class Springs:
    """Springs to fixed sites and between pairs, with fixed charges: every answer is known on paper."""

    def __init__(self, engine: dict[str, Any], atoms: int) -> None:
        """Read sites, bonds and charges of the entry for this number of atoms.

        Raises:
            InputError: neither sites nor bonds, or shapes that do not fit.
        """
        if "sites" not in engine and "bonds" not in engine:
            raise InputError("job.json: engine harmonic: neither 'sites' nor 'bonds'; give one")
        self.sites = self.spring = None
        try:
            if "sites" in engine:
                self.sites = np.asarray(engine["sites"], dtype=float).reshape(atoms, 3)
                spring = np.asarray(_key(engine, "spring"), dtype=float)
                self.spring = np.broadcast_to(spring[:, None] if spring.ndim == 1 else spring, (atoms, 3))
            bonds = engine.get("bonds", [])
            self.bonds: list[tuple[int, int, float, float]] = [
                (int(b["atoms"][0]), int(b["atoms"][1]), float(b["length"]), float(b["spring"])) for b in bonds
            ]
            self.charges = np.broadcast_to(np.asarray(engine.get("charges", 0.0), dtype=float), (atoms,))
            if any(not 0 <= index < atoms for bond in self.bonds for index in bond[:2]):
                raise ValueError("a bond names an atom that is not there")
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"job.json: engine harmonic: {error}; give one entry per atom ({atoms} atoms)") from error

    def __call__(self, positions: Array) -> Forces:
        """Energy, forces and dipole of R replicas, positions (Å) with shape (R, A, 3)."""
        energy = np.zeros(len(positions))
        forces = np.zeros_like(positions)
        if self.sites is not None and self.spring is not None:
            displacement = positions - self.sites
            forces -= self.spring * displacement
            energy += 0.5 * np.einsum("ai,rai,rai->r", self.spring, displacement, displacement)
        for i, j, length, spring in self.bonds:
            vector = positions[:, j] - positions[:, i]
            distance = np.linalg.norm(vector, axis=1)
            energy += 0.5 * spring * (distance - length) ** 2
            pull = (spring * (distance - length) / distance)[:, None] * vector
            forces[:, i] += pull
            forces[:, j] -= pull
        return Forces(energy, forces, np.einsum("a,rai->ri", self.charges, positions))


class HarmonicCalculator(Calculator):
    """:class:`Springs` as an ASE calculator."""

    implemented_properties: tuple[str, ...] = ("energy", "forces", "dipole")

    def __init__(self, engine: dict[str, Any]) -> None:
        """Keep the entry; its shapes are checked against the first atoms."""
        super().__init__()
        self._engine = engine

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Evaluate the springs."""
        super().calculate(atoms, properties, system_changes)
        result = Springs(self._engine, len(atoms))(atoms.positions[None])
        assert result.dipole is not None
        self.results = {
            "energy": float(result.energy[0]),
            "forces": result.forces[0],
            "dipole": result.dipole[0],
        }


def tethered(engine: dict[str, Any]) -> bool:
    """Whether the engine ties atoms to fixed sites, so that momentum is not conserved."""
    return engine.get("kind") == "harmonic" and "sites" in engine
