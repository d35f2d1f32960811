"""What phonopy knows of a crystal: FORCE_SETS or force constants, BORN, and Raman tensors beside them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError, MissingError
from vibraloom.files.bonds import natural_bonds
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]

_RECORDS = ("phonopy_params.yaml", "phonopy.yaml", "phonopy_disp.yaml")
_FORCES = ("FORCE_SETS",)
_CONSTANTS = ("FORCE_CONSTANTS", "force_constants.hdf5")
RAMAN_UNITS = ("angstrom^2", "1/angstrom")
"""Derivative of the cell's polarizability volume (Å³) or of its susceptibility (no unit) by a displacement in Å."""


def read_phonopy(
    path: str | Path,
    *,
    born: str | Path | None = None,
    raman: str | Path | None = None,
    raman_unit: str | None = None,
) -> dict[str, Any]:
    """The primitive cell at Gamma, as the keyword arguments of ``HarmonicDerivatives``.

    Args:
        path: a file such as ``phonopy_params.yaml`` or ``phonopy.yaml``, or the folder that holds it; FORCE_SETS,
            FORCE_CONSTANTS (or force_constants.hdf5) and BORN are looked for beside it, nowhere else.
        born: a BORN file elsewhere.
        raman: .npy file with shape (A, 3, 3, 3): atom of the primitive cell, direction of its displacement, tensor.
        raman_unit: a name in :data:`RAMAN_UNITS`; needed with ``raman``.

    Returns:
        ``symbols``, ``masses`` (amu), ``positions`` (Å), ``cell`` (Å), ``hessian`` (eV/Å²), ``bonds``; with BORN
        ``dipole_derivatives`` (e) and ``dielectric``; with Raman tensors ``polarizability_derivatives`` (Å²).

    Raises:
        InputError: a file is missing, cannot be read, or does not fit.
        MissingError: phonopy is not installed.
    """
    phonon, source = _load(Path(path), None if born is None else Path(born))
    from phonopy.physical_units import get_calculator_physical_units

    units = get_calculator_physical_units(phonon.calculator)
    primitive = phonon.primitive
    masses = np.array(primitive.masses, dtype=np.float64)
    charges = phonon.nac_params
    phonon.nac_params = None  # the analytic part alone: what is common to all directions at Gamma
    phonon.dynamical_matrix.run([0.0, 0.0, 0.0])
    matrix = np.asarray(phonon.dynamical_matrix.dynamical_matrix)
    if np.abs(matrix.imag).max(initial=0.0) > 1e-8 * np.abs(matrix).max():
        raise InputError(f"{source}: the dynamical matrix at Gamma is complex; make the force constants again")
    root = np.repeat(np.sqrt(masses), 3)
    symbols = list(primitive.symbols)
    result: dict[str, Any] = {
        "symbols": symbols,
        "masses": masses,
        "positions": np.array(primitive.positions) * units.distance_to_A,
        "cell": np.array(primitive.cell) * units.distance_to_A,
        "hessian": matrix.real * np.outer(root, root) * units.force_to_eVperA / units.distance_to_A,
    }
    result["bonds"] = natural_bonds(symbols, result["positions"], result["cell"])
    if charges is not None:
        # phonopy: first index the field, second the displacement
        born_charges = np.asarray(charges["born"], dtype=np.float64)
        result["dipole_derivatives"] = born_charges.transpose(0, 2, 1).reshape(-1, 3)
        result["dielectric"] = np.array(charges["dielectric"], dtype=np.float64)
    if raman is not None:
        volume = float(abs(np.linalg.det(result["cell"])))
        result["polarizability_derivatives"] = _raman_tensors(Path(raman), len(symbols), raman_unit, volume)
    return result


def read_phonopy_mesh(path: str | Path, mesh: Sequence[int], *, born: str | Path | None = None) -> dict[str, Any]:
    """Modes on a mesh of wave vectors, as the arguments of ``density_of_states``.

    Args:
        path, born: as in :func:`read_phonopy`.
        mesh: number of wave vectors along the three reciprocal vectors; Gamma is among them.

    Returns:
        ``wavenumber`` (cm⁻¹) (Q, M), ``weights`` (Q,), ``shares``: symbol -> (Q, M).

    Raises:
        InputError, MissingError: as in :func:`read_phonopy`; a mesh that is not three whole numbers above zero.
    """
    numbers = [int(number) for number in mesh]
    if len(numbers) != 3 or min(numbers) < 1:
        raise InputError(f"mesh: {list(mesh)}; allowed: three whole numbers above 0")
    phonon, _ = _load(Path(path), None if born is None else Path(born))
    phonon.run_mesh(numbers, with_eigenvectors=True, is_gamma_center=True)
    found = phonon.mesh
    vectors = np.asarray(found.eigenvectors)  # (Q, 3A, M)
    per_atom = np.square(np.abs(vectors)).reshape(len(vectors), -1, 3, vectors.shape[2]).sum(axis=2)
    symbols = np.array(phonon.primitive.symbols)
    return {
        "wavenumber": np.asarray(found.frequencies) / (1e3 * SPEED_OF_LIGHT_CM_PER_FS),  # THz
        "weights": np.asarray(found.weights, dtype=np.float64),
        "shares": {name: per_atom[:, symbols == name].sum(axis=1) for name in dict.fromkeys(symbols.tolist())},
    }


def _load(path: Path, born: Path | None) -> tuple[Any, Path]:
    """A Phonopy object with force constants, and the file that it came from."""
    try:
        import phonopy
        from phonopy.interface.phonopy_yaml import PhonopyYaml
    except ImportError as error:
        raise MissingError("phonopy is not installed; pip install 'vibraloom[workflows]'") from error
    source = _existing(path, _RECORDS, "a phonopy yaml file") if path.is_dir() else path
    for needed in (source, *([] if born is None else [born])):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; name the phonopy yaml file or its folder")
    folder = source.parent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = PhonopyYaml()
            record.read(source)
            # phonopy itself would go on to look in the current folder, where another crystal may lie
            inside = record.force_constants is not None or _has_forces(record.dataset)
            constants = next((folder / name for name in _CONSTANTS if (folder / name).is_file()), None)
            forces = next((folder / name for name in _FORCES if (folder / name).is_file()), None)
            if inside:
                constants = forces = None
            elif constants is None and forces is None:
                raise InputError(f"{source}: no forces in it and neither FORCE_SETS nor FORCE_CONSTANTS beside it; add one")
            charges = born or (folder / "BORN" if (folder / "BORN").is_file() else None)
            phonon = phonopy.load(
                source,
                is_nac=charges is not None or record.nac_params is not None,
                born_filename=charges,
                force_constants_filename=constants,
                force_sets_filename=None if constants is not None else forces,
                log_level=0,
            )
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{source}: phonopy cannot load it ({type(error).__name__}: {text}); write it again") from error
    if phonon.force_constants is None:
        raise InputError(f"{source}: no force constants came of it; add FORCE_SETS or FORCE_CONSTANTS beside it")
    if not np.isfinite(phonon.force_constants).all():
        raise InputError(f"{source}: a force constant is not a number; make the force calculations again")
    return phonon, source


def _has_forces(dataset: Any) -> bool:
    if not dataset:
        return False
    return "forces" in dataset or any("forces" in entry for entry in dataset.get("first_atoms", ()))


def _existing(folder: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: {what} is missing; allowed names: {', '.join(names)}")


def _raman_tensors(path: Path, atoms: int, unit: str | None, volume: float) -> Array:
    if unit not in RAMAN_UNITS:
        raise InputError(f"{path}: raman_unit is {unit!r}; allowed: {', '.join(RAMAN_UNITS)}")
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a .npy file of numbers ({error}); write it with numpy.save") from error
    if not isinstance(values, np.ndarray) or values.shape != (atoms, 3, 3, 3):
        raise InputError(f"{path}: shape {getattr(values, 'shape', None)}; it must be ({atoms}, 3, 3, 3)")
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"{path}: a Raman tensor is not a real number; repeat that calculation")
    # chi = 4 pi alpha / V for a polarizability volume
    factor = volume / (4 * np.pi) if unit == "1/angstrom" else 1.0
    return values.astype(np.float64).reshape(3 * atoms, 3, 3) * factor
