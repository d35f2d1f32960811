"""Molecules and O-H bonds of a surface, from files, for the sum-frequency spectrum of ``vibraloom spectrum sfg``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.app.cli.spectrum.options import check_kinetic
from vibraloom.errors import InputError
from vibraloom.files.elements import SYMBOLS
from vibraloom.files.frames import Recording, kinetic_temperature
from vibraloom.files.numpy_arrays import finite, read_array
from vibraloom.files.series import named_order, unit_of
from vibraloom.files.velocities import WITHOUT_ATOMS, read_positions, read_velocities
from vibraloom.spectra.molecular_pairs import Molecules
from vibraloom.spectra.pair_cutoff import cell_geometry
from vibraloom.spectra.raman import square_tensors
from vibraloom.spectra.sfg import depth_window
from vibraloom.spectra.sfg_bonds import WaterBonds, water_bonds
from vibraloom.structures.molecules import assign_molecules

Array = NDArray[np.float64]

_EVEN = 0.05
"""Molecules whose heights, as angles of the cell, have a mean vector shorter than this fill the cell evenly: no slab."""


def read_molecules(
    path: Path,
    *,
    dipole_unit: str | None,
    polarizability_unit: str | None,
    components: str | None,
    cell: NDArray[Any] | None,
    window: tuple[float, float] | None,
) -> Molecules:
    """Molecules from a NumPy archive.

    Args:
        path: entries ``dipole`` (F, M, 3), ``polarizability`` (F, M, 3, 3), or (F, M, 6 or 9) with ``components``, and
            where there, ``positions`` (Å) (F, M, 3) and ``cell`` (Å) (3, 3) or (F, 3, 3).
        dipole_unit, polarizability_unit: of those entries.
        components: order of six or nine columns.
        cell: (Å) Array with shape (3, 3), where the file holds none.
        window: (Å) inner and outer end of the depth ramp, see :func:`vibraloom.spectra.sfg.depth_window`; None: no weights.

    Raises:
        InputError: an entry or a unit that is missing, shapes that do not fit, NaN, a second cell.
    """
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path}: molecules are read from .npz, with entries dipole, polarizability, positions and cell")
    entries = _entries(path)
    dipole = _moments(path, "dipole", dipole_unit)
    tensors = _moments(path, "polarizability", polarizability_unit)
    positions = finite(read_array(path, "positions"), path, "positions") if "positions" in entries else None
    lattice = _one_cell(path, read_array(path, "cell").astype(np.float64) if "cell" in entries else None, cell)
    if tensors.ndim == 3:
        if tensors.shape[2] not in (6, 9):
            raise InputError(
                f"{path}: polarizability has shape {tensors.shape}; (frames, molecules, 3, 3), or 6 or 9 columns, are needed"
            )
        if components is None:
            raise InputError(
                f"{path}: {tensors.shape[2]} columns in an unknown order; name it, e.g. --components xx,yy,zz,xy,yz,zx"
            )
        tensors = square_tensors(tensors, named_order(path, tensors, components) or components)
    elif components is not None:
        raise InputError(f"{path}: polarizability has shape {tensors.shape}; leave --components out")
    weights = None
    if window is not None:
        if positions is None or positions.ndim != 3 or positions.shape[2] != 3:
            raise InputError(f"{path}: --depth-window needs an entry positions (frames, molecules, 3)")
        weights = depth_weights(path, positions[:, :, 2], lattice, window)
    try:
        return Molecules(
            dipole=dipole, polarizability=tensors, positions=positions, cell=lattice, depth_weights=weights
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_water_bonds(
    positions: Path,
    velocities: Path,
    *,
    timestep: float | None,
    position_unit: str | None,
    velocity_unit: str | None,
    elements: list[str] | None,
    topology: Path | None,
    cell: NDArray[Any] | None,
    window: tuple[float, float] | None,
    derivatives: str,
    temperature: float,
) -> tuple[WaterBonds, float, list[str]]:
    """The O-H bonds of all water molecules of a trajectory.

    Args:
        positions, velocities: trajectories of the same frames, often one file.
        timestep, position_unit, velocity_unit, elements, topology: as in
            :func:`vibraloom.files.velocities.read_positions` and :func:`~vibraloom.files.velocities.read_velocities`.
        cell, window: as in :func:`read_molecules`; the place of a molecule is its oxygen.
        derivatives: as in :func:`vibraloom.spectra.sfg_bonds.water_bonds`.
        temperature: (K) stated, which that of the water's velocities must not contradict.

    Returns:
        The bonds, the time between frames (fs), and what to note.

    Raises:
        InputError: what the readers refuse, frames or atoms that differ, no water, a second cell, velocities of another
            temperature.
    """
    # of two formats, one of which names its atoms, only the other takes them
    mixed = (positions.suffix.lower() in WITHOUT_ATOMS) != (velocities.suffix.lower() in WITHOUT_ATOMS)

    def atoms_for(path: Path) -> dict[str, Any]:
        named = mixed and path.suffix.lower() not in WITHOUT_ATOMS
        return {"topology": None if named else topology, "elements": elements if named or not mixed else None}

    places = read_positions(positions, timestep=timestep, unit=position_unit, **atoms_for(positions))
    moving = read_velocities(velocities, timestep=timestep, unit=velocity_unit, **atoms_for(velocities))
    _check_alike(positions, places, velocities, moving)
    lattice = _one_cell(positions, places.cell, cell)
    frames = np.asarray(places.values)
    first = lattice if lattice is None or lattice.ndim == 2 else lattice[0]
    oxygens, hydrogens, notes = _water(positions, places.species, frames[0], first)
    speeds = np.asarray(moving.velocities)
    atoms = np.concatenate([oxygens, hydrogens.ravel()])
    squares = np.einsum("fax,fax->a", speeds, speeds, dtype=np.float64)[atoms] / len(speeds)
    check_kinetic(velocities, kinetic_temperature(squares, moving.masses[atoms]), temperature)
    weights = None
    if window is not None:
        weights = depth_weights(positions, frames[:, oxygens, 2], lattice, window)
    try:
        bonds = water_bonds(
            frames,
            speeds,
            oxygens,
            hydrogens,
            cell=lattice,
            derivatives=derivatives,
            depth_weights=weights,
        )
    except InputError as error:
        raise InputError(f"{positions}: {error}") from error
    remarks = [(positions, note) for note in (*places.notes, *notes)] + [(velocities, note) for note in moving.notes]
    said = [note if note.startswith(f"{path.name}: ") else f"{path.name}: {note}" for path, note in remarks]
    return bonds, places.timestep, list(dict.fromkeys(said))


def depth_weights(path: Path, heights: NDArray[Any], cell: Array | None, window: tuple[float, float]) -> Array:
    """Depth weights over the middle of the slab in each frame.

    With a cell the middle is the circular mean of the heights, so that a slab may lie across the border of the cell and
    molecules may be wrapped; without, it is their mean.

    Args:
        path: for messages.
        heights: (Å) Array with shape (F, M), along z.
        cell: (Å) Array with shape (3, 3) or (F, 3, 3), its first two vectors in the plane of the surface; or None.
        window: (Å) inner and outer end of the ramp.

    Returns:
        Array with shape (F, M).

    Raises:
        InputError: no cell, a tilted surface, molecules that fill the cell evenly, a window that reaches none of them.
    """
    values = np.asarray(heights, dtype=np.float64)
    if cell is None:
        over = values - values.mean(axis=1, keepdims=True)
    else:
        try:
            cell_geometry(cell, len(values))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        cells = cell.reshape(-1, 3, 3)
        height = cells[:, 2, 2:]
        if np.abs(cells[:, :2, 2]).max() > 1e-6 * np.abs(height).min():
            raise InputError(f"{path}: --depth-window: vectors a and b of the cell leave the plane z = 0; turn the surface")
        turns = np.exp(2j * np.pi * values / height)
        mean = turns.mean(axis=1, keepdims=True)
        if np.abs(mean).min() < _EVEN:
            frame = int(np.abs(mean).argmin())
            raise InputError(f"{path}: frame {frame}: molecules fill the cell along z; --depth-window needs a slab in vacuum")
        over = np.angle(turns / mean) * height / (2 * np.pi)
    try:
        weights = depth_window(over, *window)
    except InputError as error:
        raise InputError(f"--depth-window {window[0]:g} {window[1]:g}: {error}") from error
    if not weights.any():
        raise InputError(
            f"--depth-window {window[0]:g} {window[1]:g}: no molecule of {path} is so far from the middle of the slab;"
            f" the farthest is {np.abs(over).max():.1f} angstrom away"
        )
    return weights


def _entries(path: Path) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(f"{path}: not a NumPy archive, or damaged; save it again with numpy.savez") from error


def _moments(path: Path, quantity: str, unit: str | None) -> NDArray[Any]:
    """An entry in the internal unit, of finite numbers."""
    if unit is None:
        raise InputError(f"{path}: a NumPy file does not say in what unit its {quantity} is; give it with --{quantity}-unit")
    try:
        factor = unit_of(unit, quantity)
    except InputError as error:
        raise InputError(str(error).replace("--unit", f"--{quantity}-unit")) from error
    values = finite(read_array(path, quantity), path, quantity)
    return values if factor == 1.0 else values * factor


def _one_cell(path: Path, own: Array | None, given: Array | None) -> Array | None:
    if own is not None and given is not None:
        raise InputError(f"{path}: holds its cell; leave --cell out")
    return own if given is None else given


def _check_alike(one: Path, places: Recording, other: Path, moving: Recording) -> None:
    if places.values.shape != moving.values.shape or places.species != moving.species:
        raise InputError(
            f"{other}: {moving.values.shape[0]} frames of {moving.values.shape[1]} atoms, {one} has"
            f" {places.values.shape[0]} of {places.values.shape[1]}, or other elements; give the same frames of the same atoms"
        )
    if abs(places.timestep - moving.timestep) > 1e-6 * places.timestep:
        raise InputError(f"{other}: frames are {moving.timestep:g} fs apart, in {one} {places.timestep:g} fs; they need one")
    if places.steps is not None and moving.steps is not None and not np.array_equal(places.steps, moving.steps):
        raise InputError(f"{other}: its steps are not those of {one}; cut both to the steps they share")


def _water(
    path: Path, species: tuple[str, ...], positions: NDArray[Any], cell: Array | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Oxygens (M,) and hydrogens (M, 2) of all molecules that are H2O in the first frame."""
    unknown = [name for name in species if name not in SYMBOLS]
    if unknown:
        raise InputError(f"{path}: {unknown[0]!r} is no chemical symbol; name the types, e.g. --elements O,H")
    numbers = np.array([SYMBOLS.index(name) for name in species])
    try:
        owners = assign_molecules(positions, numbers, cell, (cell is not None,) * 3)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    water = [
        (atoms[numbers[atoms] == 8], atoms[numbers[atoms] == 1])
        for atoms in (np.flatnonzero(owners == owner) for owner in range(owners.max(initial=-1) + 1))
        if sorted(numbers[atoms]) == [1, 1, 8]
    ]
    if not water:
        raise InputError(f"{path}: no H2O in its first frame; the velocity form knows water alone, give --molecules")
    others = int(np.count_nonzero(numbers == 8)) - len(water)
    notes = [f"{len(water)} water molecules"] + ([f"{others} oxygen atoms of other molecules left out"] if others else [])
    return np.array([oxygen[0] for oxygen, _ in water]), np.array([pair for _, pair in water]), notes
