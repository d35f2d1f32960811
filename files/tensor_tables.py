"""Dipole and polarizability tables of other programs: plain columns, TRAVIS, GPUMD, LAMMPS ave/time, CP2K ``.polar``.

Sources of the formats:
    GPUMD: src/measure/dump_dipole.cu, dump_polarizability.cu: step, then x y z or xx yy zz xy yz zx; since format
        version 1 with a header that holds the cell (rows are lattice vectors, Å) and the time between frames.
    LAMMPS: doc of fix ave/time: one row per step in scalar mode; ``step rows`` and numbered rows in vector mode.
    CP2K: src/qs_linres_polar_utils.F, write_polarisability_tensor: step, time, nine elements in atomic units.
    TRAVIS: nine columns, the rows of the tensor, without a header; by itself it looks like any plain table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.files.number_table import NumberTable, read_number_table
from vibraloom.files.raw_series import COLUMNS, RawSeries, time_per_step

GPUMD_COMPONENTS = "xx,yy,zz,xy,yz,zx"
"""Order of GPUMD's polarizability."""
ORDERS = {"travis": "xx,xy,xz,yx,yy,yz,zx,zy,zz"}
"""Order of the columns of programs that do not state it, by name."""
_CP2K_POLAR = re.compile(r"Step\s+Time \[fs\]((?:\s+[xyz]{2} \[a\.u\.\]){9})$")
_LARGEST_STEP = 2.0**53


def read_tensor_table(path: str | Path, name: str) -> RawSeries:
    """Read a text table of ``name`` (``dipole`` or ``polarizability``), one row or block per frame.

    Raises:
        InputError: no table of finite numbers, a number of columns that does not fit, another quantity, or no whole steps.
    """
    table = read_number_table(path)
    heads = [text for _, text in table.comments]
    if "TimeStep Number-of-rows" in heads:
        return _lammps_vector(path, name, table)
    rows = table.rectangle(path)
    polar = next((found for found in map(_CP2K_POLAR.match, heads) if found), None)
    if polar is not None:
        return _cp2k_polar(path, name, rows, polar[1])
    dumped = [text.split() for text in heads if text.startswith(("dump_dipole", "dump_polarizability"))]
    if dumped:
        return _gpumd(path, name, rows, heads, dumped[0])
    if any(text.startswith("TimeStep ") for text in heads):
        columns = next(text for text in heads if text.startswith("TimeStep ")).split()[1:]
        steps, values = _with_steps(path, name, rows, f" ({', '.join(columns)})")
        return RawSeries(values, "LAMMPS ave/time", steps=steps, notes=(_averaged(path),))
    if rows.shape[1] in COLUMNS[name]:
        return RawSeries(rows, "a text table")
    if rows.shape[1] - 1 in COLUMNS[name] and _whole(rows[:, 0]):
        steps, values = _with_steps(path, name, rows, "")
        if Path(path).name == "polarizability.out" and values.shape[1] == 6:
            notes = (f"{Path(path).name}: read as GPUMD's: step, then {GPUMD_COMPONENTS}",)
            return RawSeries(values, "GPUMD", steps=steps, components=GPUMD_COMPONENTS, notes=notes)
        return RawSeries(values, "a text table with steps", steps=steps)
    raise InputError(_wrong_columns(path, name, rows.shape[1], ""))


def _gpumd(
    path: str | Path, name: str, rows: NDArray[np.float64], heads: Sequence[str], dumped: Sequence[str]
) -> RawSeries:
    quantity = dumped[0].removeprefix("dump_")
    if quantity != name:
        raise InputError(f"{path}: GPUMD's {quantity}, not a {name}; give the other file")
    steps, values = _with_steps(path, name, rows, "")
    if name == "polarizability" and values.shape[1] != 6:
        raise InputError(_wrong_columns(path, name, rows.shape[1], ""))
    every = _numbers(path, " ".join(dumped[1:]), "dump interval", 1)[0]
    step_time: float | None = None
    cell: NDArray[np.float64] | None = None
    for text in heads:
        if text.startswith("dt_output"):
            if not text.endswith(" fs"):
                raise InputError(f"{path}: header '{text[:60]}' gives no time in fs; only that unit is known from GPUMD")
            own = _numbers(path, text.removeprefix("dt_output").removesuffix("fs"), "dt_output", 1)[0] / every
            if step_time is not None and abs(step_time - own) > 1e-9 * own:
                raise InputError(f"{path}: two headers with different dt_output; split the file into its runs")
            step_time = own
        elif text.startswith("cell"):
            cell = np.reshape(_numbers(path, text.removeprefix("cell"), "cell", 9), (3, 3))
    return RawSeries(
        values,
        "GPUMD",
        step_time=step_time,
        # printed with eleven digits
        step_time_error=0.0 if step_time is None else 1e-10 * step_time,
        steps=steps,
        cell=cell,
        components=GPUMD_COMPONENTS if name == "polarizability" else None,
    )


def _lammps_vector(path: str | Path, name: str, table: NumberTable) -> RawSeries:
    numbers, widths = table.numbers, table.widths
    if len(widths) < 2 or widths[0] != 2 or not _whole(numbers[:2]) or not 1 <= numbers[1] <= len(widths):
        raise InputError(f"{path}: no block 'step rows' after the header; LAMMPS ave/time in vector mode is damaged")
    count, width = int(numbers[1]), int(widths[1])
    blocks = len(widths) // (count + 1)
    expected = np.tile(np.array([2] + [width] * count), blocks)
    misfit = np.flatnonzero(widths[: len(expected)] != expected)
    if len(misfit) or len(widths) % (count + 1):
        frame = int(misfit[0]) // (count + 1) if len(misfit) else blocks
        raise InputError(
            f"{path}: frame {frame} is not a line 'step {count}' and {count} rows of {width} columns;"
            " cut off or damaged: remove it"
        )
    rows = numbers.reshape(blocks, 2 + count * width)
    body = rows[:, 2:].reshape(blocks, count, width)
    wrong = (rows[:, 1] != count) | (body[:, :, 0] != np.arange(1, count + 1)).any(axis=1)
    if wrong.any():
        raise InputError(
            f"{path}: frame {int(np.argmax(wrong))} does not number its {count} rows 1 to {count}; remove or recompute it"
        )
    if count * (width - 1) not in COLUMNS[name]:
        raise InputError(_wrong_columns(path, name, count * (width - 1), f" ({count} rows of {width - 1})"))
    values = body[:, :, 1:].reshape(blocks, -1)
    return RawSeries(values, "LAMMPS ave/time", steps=_steps(path, rows[:, 0]), notes=(_averaged(path),))


def _cp2k_polar(path: str | Path, name: str, rows: NDArray[np.float64], header: str) -> RawSeries:
    if name != "polarizability":
        raise InputError(f"{path}: CP2K's polarizability, not a {name}; give the other file")
    if rows.shape[1] != 11:
        raise InputError(_wrong_columns(path, name, rows.shape[1], " (step, time and nine elements are CP2K's)"))
    steps = _steps(path, rows[:, 0])
    # the time is printed with three decimals
    moving = bool((steps != steps[0]).any())
    step_time, error = time_per_step(path, rows[:, 1], steps, 5e-4) if moving else (None, 0.0)
    return RawSeries(
        rows[:, 2:],
        "CP2K",
        unit="bohr^3",
        step_time=step_time,
        step_time_error=error,
        steps=steps,
        components=",".join(re.findall(r"([xyz]{2}) \[", header)),
        notes=(f"{Path(path).name}: does not say whether the linear solver converged; look for it in CP2K's log",),
    )


def _with_steps(
    path: str | Path, name: str, rows: NDArray[np.float64], named: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if rows.shape[1] - 1 not in COLUMNS[name]:
        raise InputError(_wrong_columns(path, name, rows.shape[1] - 1, f" after the step{named}"))
    return _steps(path, rows[:, 0]), rows[:, 1:]


def _steps(path: str | Path, column: NDArray[np.float64]) -> NDArray[np.int64]:
    off = (column != np.floor(column)) | (np.abs(column) > _LARGEST_STEP)
    if off.any():
        frame = int(np.argmax(off))
        raise InputError(f"{path}: frame {frame} has step {column[frame]:g}; a step is a whole number: damaged")
    return column.astype(np.int64)


def _whole(column: NDArray[np.float64]) -> bool:
    return bool(((column == np.floor(column)) & (np.abs(column) <= _LARGEST_STEP)).all())


def _numbers(path: str | Path, text: str, key: str, count: int) -> list[float]:
    words = text.split()
    plain = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
    numbers = [float(word) for word in words if plain.fullmatch(word)]
    if len(numbers) != count or len(words) != count or not np.isfinite(numbers).all():
        raise InputError(f"{path}: header '{key} {text.strip()[:60]}' is not {count} number(s); damaged: make the file again")
    if count == 1 and not numbers[0] > 0:
        raise InputError(f"{path}: header '{key} {text.strip()[:60]}' must be positive; make the file again")
    return numbers


def _averaged(path: str | Path) -> str:
    return (
        f"{Path(path).name}: each row is LAMMPS' average over Nrepeat steps; for a spectrum Nrepeat must be 1"
        " (fix ave/time Nevery 1 Nfreq)"
    )


def _wrong_columns(path: str | Path, name: str, found: int, named: str) -> str:
    allowed = " or ".join(map(str, COLUMNS[name]))
    return f"{path}: {found} columns{named}; one row per frame with {allowed} columns is needed for a {name}"
