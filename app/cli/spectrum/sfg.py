"""``vibraloom spectrum sfg``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

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
    if len(dipoles) != len(tensors):
        raise InputError(f"--dipole: {len(dipoles)} file(s) for {len(tensors)} of --polarizability; give them in pairs")
    from vibraloom.files.series import read_series
    from vibraloom.spectra.sfg import sfg as sfg_spectra

    moments, interval = replicas_of(
        dipoles, [read_series(path, "dipole", unit=dipole_unit, timestep=timestep) for path in dipoles], columns=(3,)
    )
    read = [read_series(path, "polarizability", unit=polarizability_unit, timestep=timestep) for path in tensors]
    series, other = replicas_of(tensors, read, columns=(6, 9))
    if abs(other - interval) > 1e-6 * interval:
        raise InputError(f"{tensors[0]}: frames are {other:g} fs apart, in {dipoles[0]} {interval:g} fs; they need one")
    if series[0].ndim == 2 and components is None:
        width = series[0].shape[1]
        raise InputError(f"{tensors[0]}: {width} columns in an unknown order; name it, e.g. --components xx,yy,zz,xy,yz,zx")
    options = estimator_of(estimate)
    if options.pop("estimator") != "correlation":
        raise InputError("--estimator: SFG is a cross correlation; only correlation serves")
    spectra = sfg_spectra(
        moments if len(moments) > 1 else moments[0],
        series if len(series) > 1 else series[0],
        interval,
        temperature=temperature,
        element=element,
        components=components,
        area=area,
        quantum_correction=quantum_correction,
        **options,
    )
    finish(spectra, (*dipoles, *tensors), estimate, "Sum-frequency generation")
