"""What molecular dynamics prints at a stride of its own: Wannier centres, Hartree potential, electron density.

In the trajectory's file they stand beside the frames, in ``/sampled/NAME/{value,step,time}`` with units in attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.planar_average import (
    dipole_across_vacuum,
    mean_and_error,
    potential_profile,
    vacuum_level,
)
from vibraloom.calculators.cp2k.segments import PROJECT, Joined, JoinedFolder, normal_axis
from vibraloom.calculators.cp2k.wannier import molecular_dipoles, read_wannier, valence_charges
from vibraloom.durable import replacing
from vibraloom.errors import InputError
from vibraloom.files.elements import SYMBOLS
from vibraloom.files.trajectory import Trajectory
from vibraloom.files.trajectory import write_trajectory as write_frames

UNITS = {
    "wannier_centre": "angstrom",
    "molecular_dipole": "e*angstrom",
    "molecular_charge": "e",
    "wannier_minus_berry": "e*angstrom",
    "hartree_profile": "eV",
    "height": "angstrom",
    "fermi_energy": "eV",
    "vacuum_level_above": "eV",
    "vacuum_level_below": "eV",
    "work_function": "eV",
    "dipole_normal": "e*angstrom",
}
_CUBE_STEP = re.compile(r"-1_(\d+)\.cube$")


@dataclass
class Sampled:
    """Series that have steps of their own.

    Attributes:
        series: name → (Array of int with shape (S,), Array with shape (S, …)); units in :data:`UNITS`.
        summary: means and standard errors, for ``outcome.json``.
        notes: what was left out, one line each.
    """

    series: dict[str, tuple[NDArray[np.int64], NDArray[Any]]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_sampled(joined: Joined, record: dict[str, Any]) -> Sampled:
    """Everything that the segments print at a stride, joined by step.

    What is damaged or cannot be evaluated is left out with a note.
    """
    sampled = Sampled()
    _wannier(joined, record, sampled)
    _potential(joined, record, sampled)
    _density(joined, record, sampled)
    return sampled


def _owned(joined: Joined, steps_of: Sequence[NDArray[np.int64] | None]) -> Iterator[tuple[int, int, int]]:
    """(folder, place in its print, step) of each printed step that is in the trajectory, once: the earlier print counts."""
    taken: set[int] = set()
    frames = set(joined.step.tolist())
    for number, (folder, steps) in enumerate(zip(joined.folders, steps_of, strict=True)):
        for place, step in enumerate(() if steps is None else steps.tolist()):
            if step in frames and step not in taken and step <= folder.end:
                taken.add(step)
                yield number, place, step


def _wannier(joined: Joined, record: dict[str, Any], sampled: Sampled) -> None:
    printed = []
    for folder in joined.folders:
        try:
            printed.append(read_wannier(folder.folder / f"{PROJECT}-wannier.xyz"))
        except InputError as error:
            sampled.notes.append(str(error))
            printed.append(None)
    if all(frames is None for frames in printed):
        return
    symbols = [SYMBOLS[int(number)] for number in record["numbers"]]
    first = joined.folders[0].folder
    try:
        valence = valence_charges(first / f"{PROJECT}.inp", symbols)
    except InputError as error:
        sampled.notes.append(str(error))
        return
    stride = _wannier_stride(first / f"{PROJECT}.inp")
    steps: list[int] = []
    rows: list[dict[str, NDArray[Any]]] = []
    place_of = {step: index for index, step in enumerate(joined.step.tolist())}
    for number, place, step in _owned(joined, [None if frames is None else frames.step for frames in printed]):
        frames = printed[number]
        # CP2K prints the last step of a segment whatever the stride
        if step % stride or frames is None:
            continue
        cell = cell_of(joined, record, place_of[step])
        try:
            one = molecular_dipoles(
                frames.ions[place],
                np.asarray(record["numbers"], dtype=np.int64),
                valence,
                frames.centres[place],
                cell,
                charge=float(record.get("charge", 0)),
            )
        except InputError as error:
            sampled.notes.append(f"step {step}: {error}")
            continue
        row: dict[str, NDArray[Any]] = {
            "wannier_centre": frames.centres[place],
            "molecule": one.molecule,
            "molecular_dipole": one.dipole,
            "molecular_charge": one.charge,
        }
        if "dipole" in joined.observables:
            row["wannier_minus_berry"] = folded(
                one.dipole.sum(axis=0) - joined.observables["dipole"][place_of[step]], cell if any(record["pbc"]) else None
            )
        steps.append(step)
        rows.append(row)
    absent = sorted(set(joined.step[joined.step % stride == 0].tolist()) - set(steps))
    if absent:
        # 2023.1 does not print the first centres that it localises after a restart
        shown = ", ".join(str(step) for step in absent[:5])
        sampled.notes.append(f"Wannier centres of {len(absent)} step(s) are missing: {shown}")
    for name in rows[0] if rows else ():
        sampled.series[name] = (np.array(steps, dtype=np.int64), _stacked([row[name] for row in rows]))


def _wannier_stride(path: Path) -> int:
    """Steps between prints of the centres, from the input."""
    text = path.read_text(encoding="utf-8", errors="replace")
    section = re.search(r"&WANNIER_CENTERS\b(.*?)&END WANNIER_CENTERS", text, re.DOTALL | re.IGNORECASE)
    stride = re.search(r"^\s*MD\s+(\d+)\s*$", section[1], re.MULTILINE | re.IGNORECASE) if section else None
    return max(1, int(stride[1])) if stride else 1


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    """Rows as one Array; where a proton hop changes the number of molecules, missing ones are NaN."""
    longest = max(len(row) for row in rows)
    if all(len(row) == longest for row in rows):
        return np.stack(rows)
    filled = np.full((len(rows), longest, *rows[0].shape[1:]), np.nan)
    for row, values in zip(filled, rows, strict=True):
        row[: len(values)] = values
    return filled


def folded(difference: NDArray[np.float64], cell: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """A difference of two dipoles (e·Å) modulo the quantum e·cell."""
    if cell is None:
        return difference
    result: NDArray[np.float64] = difference - np.round(difference @ np.linalg.inv(cell)) @ cell
    return result


def cell_of(joined: Joined, record: dict[str, Any], frame: int) -> NDArray[np.float64] | None:
    """(Å) Cell of a frame, rows are lattice vectors; None where the record has none."""
    if record.get("cell") is None:
        return None
    return np.asarray(joined.observables["cell"][frame] if "cell" in joined.observables else record["cell"], dtype=np.float64)


def _cubes(joined: Joined, word: str) -> Iterator[tuple[JoinedFolder, int, Path]]:
    named: list[list[tuple[int, Path]]] = []
    for place in joined.folders:
        found = {path: _CUBE_STEP.search(path.name) for path in place.folder.glob(f"{PROJECT}-{word}-1_*.cube")}
        named.append(sorted((int(match[1]), path) for path, match in found.items() if match))
    steps = [np.array([step for step, _ in one], dtype=np.int64) for one in named]
    for number, place_in, step in _owned(joined, steps):
        yield joined.folders[number], step, named[number][place_in][1]


def _potential(joined: Joined, record: dict[str, Any], sampled: Sampled) -> None:
    axis = normal_axis(record)
    steps: list[int] = []
    profiles: list[NDArray[np.float64]] = []
    levels: list[tuple[float, float, float]] = []
    heights: NDArray[np.float64] | None = None
    for place, step, path in _cubes(joined, "v_hartree"):
        try:
            average = potential_profile(path, axis)
        except InputError as damaged:
            sampled.notes.append(str(damaged))
            continue
        if heights is not None and len(average.height) != len(heights):
            sampled.notes.append(f"{path}: {len(average.height)} planes, {len(heights)} before: another grid, left out")
            continue
        level = vacuum_level(average)
        steps.append(step)
        profiles.append(average.value)
        heights = average.height
        fermi = place.log.fermi_of_step.get(step, np.nan)
        levels.append((level.above, level.below, fermi) if level is not None else (np.nan, np.nan, fermi))
    if heights is None:
        return
    at = np.array(steps, dtype=np.int64)
    above, below, fermi = np.array(levels).T
    sampled.series["hartree_profile"] = (at, np.stack(profiles))
    sampled.series["height"] = (at[:1], heights[None])
    for name, values in (("fermi_energy", fermi), ("vacuum_level_above", above), ("vacuum_level_below", below)):
        if np.isfinite(values).any():
            sampled.series[name] = (at, values)
    work = above - fermi
    known = np.isfinite(work)
    if not known.any():
        sampled.notes.append("no work function: no flat vacuum level, or no Fermi energy in the log")
        return
    sampled.series["work_function"] = (at[known], work[known])
    mean, error = mean_and_error(work[known])
    sampled.summary["work_function_ev"] = float(mean)
    sampled.summary["work_function_standard_error_ev"] = None if np.isnan(error) else float(error)


def _density(joined: Joined, record: dict[str, Any], sampled: Sampled) -> None:
    symbols = [SYMBOLS[int(number)] for number in record["numbers"]]
    steps: list[int] = []
    values: list[float] = []
    for place, step, path in _cubes(joined, "ELECTRON_DENSITY"):
        try:
            valence = valence_charges(place.folder / f"{PROJECT}.inp", symbols)
            values.append(dipole_across_vacuum(path, valence, normal_axis(record)))
        except InputError as error:
            if str(error) not in sampled.notes:
                sampled.notes.append(str(error))
            continue
        steps.append(step)
    if steps:
        sampled.series["dipole_normal"] = (np.array(steps, dtype=np.int64), np.array(values))


def write_with_sampled(path: Path, trajectory: Trajectory, sampled: Sampled) -> None:
    """Write a trajectory and what was sampled beside its frames into one H5MD file, whole or not at all.

    Raises:
        ComputationError: the disk is full or the folder cannot be written.
    """
    with replacing(path) as temporary:
        write_frames(temporary, trajectory)
        with h5py.File(temporary, "r+") as handle:
            if "observables/forces" in handle:
                handle["observables/forces/value"].attrs["unit"] = "eV/angstrom"
            for name, (step, values) in sampled.series.items():
                group = handle.create_group(f"sampled/{name}")
                data = group.create_dataset("value", data=values)
                if name in UNITS:
                    data.attrs["unit"] = UNITS[name]
                group.create_dataset("step", data=step)
                group.create_dataset("time", data=step * trajectory.timestep).attrs["unit"] = "fs"


def load_sampled(path: Path, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Steps, (S,), and values, (S, …), of one series in a trajectory's file; units in :data:`UNITS`.

    Raises:
        InputError: no such file or series.
    """
    try:
        with h5py.File(path, "r") as handle:
            if f"sampled/{name}" not in handle:
                raise InputError(f"{path}: holds no sampled {name}; print it during the dynamics")
            return handle[f"sampled/{name}/step"][()], handle[f"sampled/{name}/value"][()]
    except OSError as error:
        raise InputError(f"{path}: not an H5MD file, or cut off; make it again") from error
