"""``vibraloom spectrum raman``."""

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
    "--polarizability",
    "paths",
    type=FILE,
    multiple=True,
    required=True,
    help="Polarizability per frame: 6 or 9 columns.",
)
@click.option("--components", help="Order of 6 or 9 columns, e.g. xx,yy,zz,xy,yz,zx.")
@click.option("--unit", help="Unit of the file: angstrom^3 or bohr^3 (where the file does not carry its own).")
@timestep_option
@temperature_option
@click.option("--laser", type=float, default=532.0, show_default=True, help="Laser wavelength in nm.")
@click.option("--form", default="stokes", show_default=True, help="stokes, activity or reduced.")
@click.option(
    "--detector", default="energy", show_default=True, help="energy: (nu_L-nu)^4; counts: nu_L (nu_L-nu)^3."
)
@correction_option
@shared
def raman(
    paths: tuple[Path, ...],
    components: str | None,
    unit: str | None,
    timestep: float | None,
    temperature: float,
    laser: float,
    form: str,
    detector: str,
    quantum_correction: str,
    **estimate: Unpack[Estimate],
) -> None:
    """Raman spectra from the polarizability of every frame.

    One file holds all geometries: isotropic, anisotropic, vv, vh, unpolarized.
    """
    check(estimate)
    from vibraloom.files.series import read_series
    from vibraloom.spectra.raman import raman as raman_spectra

    read = [read_series(path, "polarizability", unit=unit, timestep=timestep) for path in paths]
    series, interval = replicas_of(paths, read, columns=(6, 9))
    if series[0].ndim == 2 and components is None:
        width = series[0].shape[1]
        raise InputError(
            f"{paths[0]}: {width} columns in an unknown order; name it, e.g. --components xx,yy,zz,xy,yz,zx"
        )
    spectra = raman_spectra(
        series if len(series) > 1 else series[0],
        interval,
        temperature=temperature,
        laser_wavelength=laser,
        form=form,
        detector=detector,
        quantum_correction=quantum_correction,
        components=components,
        **estimator_of(estimate),
    )
    finish(spectra, paths, estimate, "Raman spectrum")
