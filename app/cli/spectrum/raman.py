"""``vibraloom spectrum raman``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from vibraloom.app.cli.spectrum.command import SpectrumCommand
from vibraloom.app.cli.spectrum.options import (
    FILE,
    Estimate,
    Sources,
    check,
    correction_option,
    estimator_of,
    finish,
    notes_of,
    order_of,
    read_replicas,
    shared,
    temperature_option,
    timestep_option,
)
from vibraloom.app.cli.spectrum.work import Work


@click.command(cls=SpectrumCommand)
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
    work, sources = Work.begin(), Sources(paths)
    from vibraloom.spectra.raman import raman as raman_spectra

    read = read_replicas(work, paths, "polarizability", unit=unit, timestep=timestep, components=components)
    work.enter("correlating")
    spectra = raman_spectra(
        [one.values for one in read] if len(read) > 1 else read[0].values,
        read[0].timestep,
        temperature=temperature,
        laser_wavelength=laser,
        form=form,
        detector=detector,
        quantum_correction=quantum_correction,
        components=order_of(paths, read),
        **estimator_of(estimate),
    )
    finish(spectra, work, sources, estimate, "Raman spectrum", notes_of(read))
