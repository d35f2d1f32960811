"""``vibraloom spectrum ir``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import click

from vibraloom.app.cli.spectrum.command import SpectrumCommand
from vibraloom.app.cli.spectrum.optics import (
    TITLES,
    Optics,
    absorption_of,
    at_fixed_d,
    check_optics,
    measured,
    media_files,
    medium_of,
    optics_options,
)
from vibraloom.app.cli.spectrum.options import (
    FILE,
    Estimate,
    Sources,
    cell_option,
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
from vibraloom.app.cli.spectrum.work import Work
from vibraloom.errors import InputError


class Infrared(Estimate, Optics):
    """Options of the experiment and those that every spectrum shares."""


@click.command(cls=SpectrumCommand)
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
@click.option(
    "--refractive-index",
    help="With --volume: n of the medium, a number or a table as --medium; the result is alpha, not n*alpha.",
)
@click.option(
    "--eps-infinity",
    type=float,
    help="With --volume: electronic permittivity; the result is eps (real, imaginary), n, k and alpha. 1 for fixed charges.",
)
@click.option("--area", type=float, help="For a slab with its normal along z: area in angstrom^2, instead of a volume.")
@click.option(
    "--boundary",
    help="With --area: electrostatics behind the dipole, e.g. 'fixed E' (periodic) or 'fixed D along z' (slab-corrected).",
)
@optics_options
@cell_option
@correction_option
@shared
def ir(
    paths: tuple[Path, ...],
    unit: str | None,
    timestep: float | None,
    temperature: float,
    volume: float | None,
    refractive_index: str | None,
    eps_infinity: float | None,
    area: float | None,
    boundary: str | None,
    cell: str | None,
    quantum_correction: str,
    **options: Unpack[Infrared],
) -> None:
    """Infrared absorption from the dipole of every frame.

    With --volume: n(ν)·α(ν) in cm^-1. With --area: the response of a slab, parallel and normal, in angstrom, or
    with --optics what an experiment sees of it. Without: molar absorption, whose band areas are in km/mol.
    """
    check(options)
    check_optics(options, area)
    if area is not None and (volume is not None or boundary is None):
        raise InputError("--area: a slab has no volume, and its electrostatics must be named with --boundary")
    if area is None and boundary is not None:
        raise InputError("--boundary: belongs to a slab; give its --area too, or leave it out")
    _check_bulk(options, volume, refractive_index, eps_infinity)
    named = [refractive_index] if refractive_index is not None and Path(refractive_index).is_file() else []
    work, sources = Work.begin(), Sources([*paths, *map(Path, named), *media_files(options)])
    medium = None if refractive_index is None else medium_of(refractive_index, "--refractive-index")
    chosen: dict[str, Any] = {"temperature": temperature, **estimator_of(options)}
    if eps_infinity is None:
        chosen["quantum_correction"] = quantum_correction
    elif chosen.pop("estimator") != "correlation" or quantum_correction != "harmonic":
        raise InputError("--eps-infinity: only --estimator correlation and --quantum-correction harmonic serve")
    read = read_replicas(work, paths, "dipole", unit=unit, timestep=timestep)
    dipole, notes = moments_of(paths, read, cell)
    work.enter("correlating")
    series = (dipole, read[0].timestep)

    result: Any
    if area is not None and boundary is not None:
        from vibraloom.spectra.slab import slab_response

        title = "Slab response"
        result = at_fixed_d(slab_response(*series, area=area, boundary=boundary, **chosen), options)
        if options["optics"] is not None:
            title = TITLES[options["optics"]]
            result = measured(result, options, options["limits"])
    elif volume is not None and eps_infinity is not None:
        from vibraloom.spectra.dielectric import dielectric

        title = "Dielectric function"
        result = dielectric(*series, volume=volume, eps_infinity=eps_infinity, **chosen)
    else:
        from vibraloom.spectra.infrared import infrared

        title = "Infrared spectrum"
        result = infrared(*series, volume=volume, **chosen)
        if medium is not None:
            result = absorption_of(result, medium, options["limits"])
    finish(result, work, sources, options, title, notes)


def _check_bulk(options: Infrared, volume: float | None, refractive_index: str | None, eps_infinity: float | None) -> None:
    if volume is None and (refractive_index is not None or eps_infinity is not None):
        raise InputError("--refractive-index, --eps-infinity: are for a bulk; give its --volume")
    if refractive_index is not None and eps_infinity is not None:
        raise InputError("--eps-infinity: makes its own refractive index; leave --refractive-index out")
    with_index = options["optics"] is not None or refractive_index is not None or eps_infinity is not None
    if with_index and (options["integration_timestep"] is not None or options["frequency_scale"] is not None):
        raise InputError("--integration-timestep, --frequency-scale: move the axis under n and k; leave them out")
