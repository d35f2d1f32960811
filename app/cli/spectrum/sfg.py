"""``vibraloom spectrum sfg``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

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
    notes_of,
    order_of,
    read_replicas,
    shared,
    temperature_option,
    timestep_option,
)
from vibraloom.errors import InputError


@click.command()
@click.option(
    "--dipole", "dipoles", type=FILE, multiple=True, required=True, help="Dipole per frame: 3 columns; z out of the liquid."
)
@click.option(
    "--polarizability", "tensors", type=FILE, multiple=True, required=True, help="Polarizability per frame: 6 or 9 columns."
)
@click.option("--components", help="Order of 6 or 9 columns, e.g. xx,yy,zz,xy,yz,zx.")
@click.option("--dipole-unit", help="e*angstrom, debye, e*bohr (where the file does not carry its own).")
@click.option("--polarizability-unit", help="angstrom^3 or bohr^3 (where the file does not carry its own).")
@click.option("--element", default="ssp", show_default=True, help="ssp, sps, pss, or one element such as xxz.")
@click.option("--area", type=float, help="Area of the surface in angstrom^2; without it the result is chi2 times the area.")
@timestep_option
@temperature_option
@correction_option
@shared
def sfg(
    dipoles: tuple[Path, ...],
    tensors: tuple[Path, ...],
    components: str | None,
    dipole_unit: str | None,
    polarizability_unit: str | None,
    element: str,
    area: float | None,
    timestep: float | None,
    temperature: float,
    quantum_correction: str,
    **estimate: Unpack[Estimate],
) -> None:
    """Sum-frequency generation: real, imaginary and |chi2|^2 of one surface.

    Both files hold the same frames of one surface: a slab with two like faces gives zero.
    """
    check(estimate)
    sources = Sources([*dipoles, *tensors])
    if len(dipoles) != len(tensors):
        raise InputError(f"--dipole: {len(dipoles)} file(s) for {len(tensors)} of --polarizability; give them in pairs")
    import numpy as np

    from vibraloom.spectra.sfg import sfg as sfg_spectra

    moments = read_replicas(dipoles, "dipole", unit=dipole_unit, timestep=timestep, option="--dipole-unit")
    read = read_replicas(
        tensors,
        "polarizability",
        unit=polarizability_unit,
        timestep=timestep,
        components=components,
        option="--polarizability-unit",
    )
    interval, other = moments[0].timestep, read[0].timestep
    if abs(other - interval) > 1e-6 * interval:
        raise InputError(f"{tensors[0]}: frames are {other:g} fs apart, in {dipoles[0]} {interval:g} fs; they need one")
    for path, one, another in zip(tensors, moments, read, strict=True):
        if one.steps is not None and another.steps is not None and not np.array_equal(one.steps, another.steps):
            raise InputError(f"{path}: its steps are not those of the dipole; cut both to the steps they share")
    dipole, notes = moments_of(dipoles, moments)
    options = estimator_of(estimate)
    if options.pop("estimator") != "correlation":
        raise InputError("--estimator: SFG is a cross correlation; only correlation serves")
    spectra = sfg_spectra(
        dipole,
        [one.values for one in read] if len(read) > 1 else read[0].values,
        interval,
        temperature=temperature,
        element=element,
        components=order_of(tensors, read),
        area=area,
        quantum_correction=quantum_correction,
        **options,
    )
    finish(spectra, sources, estimate, "Sum-frequency generation", [*notes, *notes_of(tensors, read)])
