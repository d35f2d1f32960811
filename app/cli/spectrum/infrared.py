"""``vibraloom spectrum ir``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import click

from vibraloom.app.cli.spectrum.options import (
    FILE,
    Estimate,
    check,
    correction_option,
    estimator_of,
    finish,
    replicas_of,
    shared,
    temperature_option,
    timestep_option,
)
from vibraloom.errors import InputError


@click.command()
@click.option(
    "--dipole",
    "paths",
    type=FILE,
    multiple=True,
    required=True,
    help="Dipole of the cell per frame: 3 columns.",
)
@click.option("--unit", help="Unit of the file: e*angstrom, debye, e*bohr (where the file does not carry its own).")
@timestep_option
@temperature_option
@click.option("--volume", type=float, help="Cell volume in angstrom^3; without it the result is km/mol per cm^-1.")
@click.option("--area", type=float, help="For a slab with its normal along z: area in angstrom^2, instead of a volume.")
@click.option(
    "--boundary",
    help="With --area: electrostatics behind the dipole, e.g. 'fixed E' (periodic) or 'fixed D along z' (slab-corrected).",
)
@click.option(
    "--cell",
    help="Cell in angstrom, 'a b c' or nine numbers: undoes jumps of a Berry-phase dipole by the polarisation quantum.",
)
@correction_option
@shared
def ir(
    paths: tuple[Path, ...],
    unit: str | None,
    timestep: float | None,
    temperature: float,
    volume: float | None,
    area: float | None,
    boundary: str | None,
    cell: str | None,
    quantum_correction: str,
    **estimate: Unpack[Estimate],
) -> None:
    """Infrared absorption from the dipole of every frame.

    With --volume: n(ν)·α(ν) in cm^-1. With --area: the response of a slab, parallel and normal, in angstrom.
    Without: molar absorption, whose band areas are in km/mol.
    """
    check(estimate)
    if area is not None and (volume is not None or boundary is None):
        raise InputError("--area: a slab has no volume, and its electrostatics must be named with --boundary")
    from vibraloom.files.series import read_series
    from vibraloom.spectra.infrared import infrared
    from vibraloom.spectra.slab import slab_response

    series, interval = replicas_of(
        paths, [read_series(path, "dipole", unit=unit, timestep=timestep) for path in paths], columns=(3,)
    )
    notes: list[str] = []
    if cell is not None:
        series, notes = _unwrapped(paths, series, cell)
    options: dict[str, Any] = {
        "temperature": temperature,
        "quantum_correction": quantum_correction,
        **estimator_of(estimate),
    }
    dipole = series if len(series) > 1 else series[0]
    if area is not None and boundary is not None:
        finish(
            slab_response(dipole, interval, area=area, boundary=boundary, **options), paths, estimate, "Slab response", notes
        )
    else:
        finish(infrared(dipole, interval, volume=volume, **options), paths, estimate, "Infrared spectrum", notes)


def _unwrapped(paths: tuple[Path, ...], series: list[Any], cell: str) -> tuple[list[Any], list[str]]:
    """Series without jumps by the polarisation quantum, and a note for each file with ambiguous steps."""
    import numpy as np

    from vibraloom.spectra.dipole import unwrap_dipole

    try:
        numbers = [float(word) for word in cell.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 9):
        raise InputError(f"--cell {cell!r}: allowed: three lengths or nine numbers in angstrom")
    vectors = np.diag(numbers) if len(numbers) == 3 else np.reshape(numbers, (3, 3))
    result, notes = [], []
    for path, values in zip(paths, series, strict=True):
        unwrapped, ambiguous = unwrap_dipole(values, vectors)
        result.append(unwrapped)
        if len(ambiguous):
            first = int(ambiguous[0])
            notes.append(
                f"{path.name}: {len(ambiguous)} steps of nearly half a polarisation quantum, the first to frame {first}: "
                "a jump there may be missed; store dipoles more often"
            )
    return result, notes
