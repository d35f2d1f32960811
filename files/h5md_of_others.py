"""H5MD that other programs wrote, with the units that it states.

Source of the format: https://h5md.nongnu.org/h5md.html (``/particles/<group>/<element>/{value,step,time}``, attribute
``unit``, a fixed interval as a number in place of an array).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.elements import masses_of
from vibraloom.files.frames import RawFrames, ScaledFrames
from vibraloom.files.h5md_frames import damage_named, stored_frames
from vibraloom.files.raw_series import time_per_step
from vibraloom.units import ANGSTROM_PER_BOHR

_LENGTHS = {
    "angstrom": 1.0, "ångström": 1.0, "ang": 1.0, "å": 1.0, "a": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10, "bohr": ANGSTROM_PER_BOHR
}  # fmt: skip
_TIMES = {"fs": 1.0, "ps": 1e3, "ns": 1e6, "s": 1e15}
_MASSES = ("u", "amu", "da", "g/mol", "g mol-1", "dalton")
_FACTOR = re.compile(r"([a-zåö]+)\^?([+-]?\d+)?")


def read_h5md_of_others(path: str | Path, wanted: str, elements: Sequence[str] | None) -> RawFrames:
    """Read ``wanted`` (``velocity`` or ``position``) from any H5MD file with one group of particles.

    Args:
        path: the file.
        wanted: ``velocity`` or ``position``.
        elements: symbols of the species in ascending order of their numbers; needed where the file has no masses.

    Raises:
        InputError: not H5MD, damaged, several groups of particles, or none of what is wanted.
    """
    with damage_named(path), h5py.File(path, "r") as handle:
        return _read(path, handle, wanted, elements)


def _read(path: str | Path, handle: h5py.File, wanted: str, elements: Sequence[str] | None) -> RawFrames:
    particles = handle.get("particles", {})
    groups = [name for name in particles if isinstance(particles[name], h5py.Group) and f"{wanted}/value" in particles[name]]
    if len(groups) != 1:
        found = f"{len(groups)} groups of particles with {wanted} ({', '.join(groups)})" if groups else f"no {wanted}"
        raise InputError(f"{path}: holds {found}; write one group with {wanted} in it")
    group = particles[groups[0]]
    value = group[f"{wanted}/value"]
    stored = stored_frames(path, wanted, group=group.name)
    frames, atoms, _ = stored.shape
    factor = _unit(path, value, wanted)
    own = {"velocity": "angstrom/fs", "position": "angstrom"}[wanted] if factor is not None else None
    species, masses = _atoms(path, group, atoms, elements)
    steps, step_time, error = _clock(path, group[wanted], frames)
    cell = None
    edges = group.get("box/edges")
    if isinstance(edges, h5py.Dataset):
        length = _unit(path, edges, "position")
        lengths = np.asarray(edges[()], dtype=np.float64)
        if length is not None and lengths.shape in ((3,), (3, 3)):
            cell = length * (np.diag(lengths) if lengths.ndim == 1 else lengths)
    return RawFrames(
        ScaledFrames(stored, factor or 1.0),
        species=species,
        masses=masses,
        unit=own,
        steps=steps,
        step_time=step_time,
        step_time_error=error,
        cell=cell,
        unit_hint="this H5MD file has no attribute 'unit'",
    )


def _unit(path: str | Path, data: h5py.Dataset, wanted: str) -> float | None:
    """Factor to Å or Å/fs, None where no unit is stated.

    Raises:
        InputError: a unit that is not read.
    """
    if "unit" not in data.attrs:
        return None
    text = data.attrs["unit"]
    text = text.decode() if isinstance(text, bytes) else str(text)
    before, slash, behind = text.lower().partition("/")
    factors = [(name, int(power or 1)) for name, power in _FACTOR.findall(before)]
    factors += [(name, -int(power or 1)) for name, power in _FACTOR.findall(behind)] if slash else []
    lengths = [_LENGTHS[name] for name, power in factors if name in _LENGTHS and power == 1]
    times = [_TIMES[name] for name, power in factors if name in _TIMES and power == -1]
    due = {"velocity": (1, 1), "position": (1, 0)}[wanted]
    if (len(lengths), len(times)) != due or len(factors) != sum(due):
        raise InputError(
            f"{path}: unit {text[:40]!r} of {wanted} is not read; allowed: lengths in angstrom or nm, times in fs or ps"
        )
    return lengths[0] / (times[0] if times else 1.0)


def _atoms(
    path: str | Path, group: h5py.Group, atoms: int, elements: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    species = group["species"] if isinstance(group.get("species"), h5py.Dataset) else None
    numbers = np.zeros(atoms, dtype=np.int64)
    names: dict[int, str] = {}
    if species is not None:
        named = h5py.check_enum_dtype(species.dtype)
        names = {int(number): name for name, number in named.items()} if named else {}
        numbers = np.asarray(species[()], dtype=np.int64)
    if numbers.shape != (atoms,):
        raise InputError(f"{path}: species has shape {numbers.shape}; one per atom, the same in all frames, is needed")
    if elements is not None:
        kinds = np.unique(numbers)
        if len(kinds) != len(elements):
            raise InputError(f"{path}: {len(kinds)} species in the file, {len(elements)} symbol(s) in --elements")
        names = dict(zip(kinds.tolist(), elements, strict=True))
    symbols = tuple(names.get(number, f"type {number}") for number in numbers.tolist())
    mass = group.get("mass")
    if isinstance(mass, h5py.Dataset) and elements is None:
        unit = str(mass.attrs.get("unit", "")).lower()
        values = np.asarray(mass[()], dtype=np.float64)
        if unit not in _MASSES:
            raise InputError(
                f"{path}: masses in unit {unit[:40]!r} are not read; allowed: amu; or give the symbols, e.g. --elements O,H"
            )
        if values.shape != (atoms,) or not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"{path}: mass has shape {values.shape} or what is no mass; one per atom, in amu, is needed")
        return symbols, values
    if not names:
        raise InputError(f"{path}: names neither element nor mass; give the symbols of the species, e.g. --elements O,H")
    return symbols, masses_of(path, symbols)


def _clock(path: str | Path, element: h5py.Group, frames: int) -> tuple[NDArray[np.int64] | None, float | None, float]:
    """Steps, time per step (fs) and its error, as far as the file states them."""
    if not isinstance(element.get("step"), h5py.Dataset):
        return None, None, 0.0
    step = np.asarray(element["step"][()])
    if step.dtype.kind not in "iu" or step.shape not in ((), (frames,)):
        raise InputError(f"{path}: step has shape {step.shape} and type {step.dtype}; one whole number per frame is needed")
    steps = np.arange(frames, dtype=np.int64) * int(step) if step.ndim == 0 else step.astype(np.int64)
    time = element.get("time")
    unit = str(time.attrs.get("unit", "")).lower() if isinstance(time, h5py.Dataset) else ""
    if unit not in _TIMES or not (steps != steps[0]).any():
        return steps, None, 0.0
    times = np.asarray(time[()], dtype=np.float64) * _TIMES[unit]
    if times.ndim == 0:
        return steps, float(times) / int(steps[1] - steps[0]), 0.0
    if times.shape != (frames,) or not np.isfinite(times).all():
        raise InputError(f"{path}: time has shape {times.shape} or is not finite; one number per frame is needed")
    precision = 2.0**-24 if time.dtype.itemsize <= 4 else 2.0**-52
    return steps, *time_per_step(path, times, steps, precision * float(np.abs(times).max()) + 1e-300)
