"""``vibraloom spectrum ir``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import click

from vibraloom.app.cli.spectrum.options import (
    FILE,
    Estimate,
    Sources,
    check,
    correction_option,
    estimator_of,
    finish,
    moments_of,
    read_replicas,
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
    sources = Sources(paths)
    if area is not None and (volume is not None or boundary is None):
        raise InputError("--area: a slab has no volume, and its electrostatics must be named with --boundary")
    from vibraloom.spectra.infrared import infrared
    from vibraloom.spectra.slab import slab_response

    read = read_replicas(paths, "dipole", unit=unit, timestep=timestep)
    interval = read[0].timestep
    dipole, notes = moments_of(paths, read, cell)
    options: dict[str, Any] = {
        "temperature": temperature,
        "quantum_correction": quantum_correction,
        **estimator_of(estimate),
    }
    if area is not None and boundary is not None:
        finish(
            slab_response(dipole, interval, area=area, boundary=boundary, **options), sources, estimate, "Slab response", notes
        )
    else:
        finish(infrared(dipole, interval, volume=volume, **options), sources, estimate, "Infrared spectrum", notes)
