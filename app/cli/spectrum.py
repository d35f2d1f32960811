"""``vibraloom spectrum``: plain files in, plain files out; needs no profile and no AiiDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import click

from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.files.velocities import Velocities
    from vibraloom.spectra.spectrum import Spectrum

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_KINETIC_TOLERANCE = 2.0
"""Kinetic and stated temperature may differ by this factor; beyond it, a unit is wrong."""


class Estimate(TypedDict):
    """The common options, as click hands them over."""

    outputs: tuple[Path, ...]
    correlation_time: float | None
    window: str
    blocks: int | None
    limits: tuple[float, float] | None
    title: str | None


def _common(function: Decorated) -> Decorated:
    """Options that every spectrum shares."""
    options = (
        click.option(
            "-o",
            "outputs",
            type=_FILE,
            multiple=True,
            required=True,
            help="Output; its suffix picks the format (.csv .jdx .json .npz .png). Repeat for several.",
        ),
        click.option("--correlation-time", type=float, help="Depth of the correlation function, in ps."),
        click.option("--window", default="hann", show_default=True, help="Window on the correlation function."),
        click.option("--blocks", type=int, help="Blocks behind the error bars; 0: no error bars."),
        click.option("--range", "limits", type=(float, float), help="Keep LOW to HIGH, in cm^-1.", metavar="LOW HIGH"),
        click.option("--title", help="Title in .jdx and .png."),
    )
    for option in reversed(options):
        function = option(function)
    return function


_timestep = click.option(
    "--timestep", type=float, help="Time between the frames in the file, in fs (an .h5 file carries its own)."
)
_temperature = click.option("--temperature", type=float, required=True, help="Temperature in K.")
_correction = click.option(
    "--quantum-correction",
    default="harmonic",
    show_default=True,
    help="harmonic, standard, schofield or classical.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """IR, Raman and VDOS from plain files; needs no profile.

    Several files of one kind are independent replicas of the same system.
    """


@command.command()
@click.option(
    "--dipole",
    "paths",
    type=_FILE,
    multiple=True,
    required=True,
    help="Cell dipole per frame, unwrapped: 3 columns.",
)
@click.option("--unit", help="Unit of the file: e*angstrom (default), debye, e*bohr.")
@_timestep
@_temperature
@click.option("--volume", type=float, help="Cell volume in angstrom^3; without it the result is km/mol per cm^-1.")
@_correction
@_common
def ir(
    paths: tuple[Path, ...],
    unit: str | None,
    timestep: float | None,
    temperature: float,
    volume: float | None,
    quantum_correction: str,
    **estimate: Unpack[Estimate],
) -> None:
    """Infrared absorption from the dipole of every frame.

    With --volume: n(ν)·α(ν) in cm^-1. Without: molar absorption, whose band areas are in km/mol.
    """
    _start(estimate)
    from vibraloom.files.series import read_series
    from vibraloom.spectra.infrared import infrared

    series, interval = _replicas(
        paths, [read_series(path, "dipole", unit=unit, timestep=timestep) for path in paths], columns=(3,)
    )
    spectrum = infrared(
        series if len(series) > 1 else series[0],
        interval,
        temperature=temperature,
        volume=volume,
        quantum_correction=quantum_correction,
        **_estimator(estimate),
    )
    _finish(spectrum, paths, estimate, "Infrared spectrum")


@command.command()
@click.option(
    "--polarizability",
    "paths",
    type=_FILE,
    multiple=True,
    required=True,
    help="Polarizability per frame: 6 or 9 columns.",
)
@click.option("--components", help="Order of 6 or 9 columns, e.g. xx,yy,zz,xy,yz,zx.")
@click.option("--unit", help="Unit of the file: angstrom^3 (default) or bohr^3.")
@_timestep
@_temperature
@click.option("--laser", type=float, default=532.0, show_default=True, help="Laser wavelength in nm.")
@click.option("--form", default="stokes", show_default=True, help="stokes, activity or reduced.")
@_correction
@_common
def raman(
    paths: tuple[Path, ...],
    components: str | None,
    unit: str | None,
    timestep: float | None,
    temperature: float,
    laser: float,
    form: str,
    quantum_correction: str,
    **estimate: Unpack[Estimate],
) -> None:
    """Raman spectra from the polarizability of every frame.

    One file holds all geometries: isotropic, anisotropic, vv, vh, unpolarized.
    """
    _start(estimate)
    from vibraloom.files.series import read_series
    from vibraloom.spectra.raman import raman as raman_spectra

    read = [read_series(path, "polarizability", unit=unit, timestep=timestep) for path in paths]
    series, interval = _replicas(paths, read, columns=(6, 9))
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
        quantum_correction=quantum_correction,
        components=components,
        **_estimator(estimate),
    )
    _finish(spectra, paths, estimate, "Raman spectrum")


@command.command()
@click.option(
    "--trajectory",
    "path",
    type=_FILE,
    required=True,
    help="Velocities: .h5, .extxyz, LAMMPS text dump, .npz.",
)
@click.option("--velocity-unit", help="angstrom/fs or angstrom/ps, where the file does not say.")
@click.option("--elements", help="Symbols of LAMMPS types 1, 2, …, e.g. O,H, where the dump does not say.")
@_timestep
@click.option("--temperature", type=float, help="Temperature in K; by default that of the velocities.")
@click.option("--group-by", type=click.Choice(["species"]), help="Split the spectrum; the parts sum to the total.")
@_common
def vdos(
    path: Path,
    velocity_unit: str | None,
    elements: str | None,
    timestep: float | None,
    temperature: float | None,
    group_by: str | None,
    **estimate: Unpack[Estimate],
) -> None:
    """Vibrational density of states from the velocities of every frame."""
    _start(estimate)
    from vibraloom.files.velocities import read_velocities
    from vibraloom.spectra.vdos import vdos as density_of_states

    symbols = None if elements is None else [symbol.strip() for symbol in elements.split(",")]
    found = read_velocities(path, timestep=timestep, unit=velocity_unit, elements=symbols)
    spectrum = density_of_states(
        found.velocities,
        found.masses,
        found.timestep,
        temperature=_stated_or_kinetic(path, found, temperature),
        groups=found.groups() if group_by == "species" else None,
        **_estimator(estimate),
    )
    notes = found.notes
    if temperature is None:
        notes += ("temperature taken from the mean kinetic energy of the velocities",)
    _finish(spectrum, (path,), estimate, "Vibrational density of states", notes)


def _start(estimate: Estimate) -> None:
    from vibraloom.app.cli.outputs import check_outputs

    check_outputs(estimate["outputs"])
    limits = estimate["limits"]
    if limits is not None and not limits[0] < limits[1]:
        raise InputError(f"--range {limits[0]:g} {limits[1]:g}: LOW must be below HIGH (cm^-1)")


def _estimator(estimate: Estimate) -> dict[str, Any]:
    depth = estimate["correlation_time"]
    if depth is not None and not 0.0 < depth < float("inf"):
        raise InputError(f"--correlation-time {depth:g}: must be a positive number of ps")
    return {
        "correlation_time": None if depth is None else depth * 1e3,
        "window": estimate["window"],
        "blocks": estimate["blocks"],
    }


def _replicas(
    paths: Sequence[Path], read: Sequence[tuple[Any, float]], *, columns: tuple[int, ...]
) -> tuple[list[Any], float]:
    """The series and their common frame interval; refuses columns or intervals that do not fit."""
    interval = read[0][1]
    for path, (values, own) in zip(paths, read, strict=True):
        if abs(own - interval) > 1e-6 * interval:
            raise InputError(f"{path}: frames are {own:g} fs apart, in {paths[0]} {interval:g} fs; replicas need one")
        tensor = values.shape[1:] == (3, 3) and 9 in columns
        if not tensor and (values.ndim != 2 or values.shape[1] not in columns):
            allowed = " or ".join(map(str, columns))
            raise InputError(f"{path}: shape {values.shape}; one row per frame with {allowed} columns is needed")
        if values.shape[1:] != read[0][0].shape[1:]:
            raise InputError(f"{path}: rows of shape {values.shape[1:]}, in {paths[0]} {read[0][0].shape[1:]}")
    return [values for values, _ in read], interval


def _stated_or_kinetic(path: Path, found: Velocities, temperature: float | None) -> float:
    kinetic = found.kinetic_temperature
    if kinetic <= 0.0:
        raise InputError(f"{path}: all velocities are zero; nothing moves in this file")
    if temperature is None:
        return kinetic
    if temperature > 0.0 and not 1 / _KINETIC_TOLERANCE < kinetic / temperature < _KINETIC_TOLERANCE:
        raise InputError(
            f"{path}: velocities give {kinetic:.4g} K, not {temperature:g} K as stated; check --velocity-unit"
        )
    return temperature


def _finish(
    result: Spectrum | dict[str, Spectrum],
    paths: Sequence[Path],
    estimate: Estimate,
    title: str,
    notes: tuple[str, ...] = (),
) -> None:
    """Stamp the sources, cut to the range, write, and say in one line what came out."""
    import hashlib
    from dataclasses import replace

    from vibraloom.app.cli.outputs import write_outputs
    from vibraloom.spectra.spectrum import Spectrum

    sources = []
    for path in paths:
        with path.open("rb") as handle:
            sources.append({"file": path.name, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()})

    def stamped(spectrum: Spectrum) -> Spectrum:
        conventions = spectrum.conventions
        extra = {**conventions.extra, "sources": sources}
        kept = replace(spectrum, conventions=replace(conventions, extra=extra, notes=conventions.notes + notes))
        return kept if estimate["limits"] is None else kept.between(*estimate["limits"])

    spectra: Spectrum | dict[str, Spectrum]
    spectra = stamped(result) if isinstance(result, Spectrum) else {name: stamped(one) for name, one in result.items()}
    write_outputs(estimate["outputs"], spectra, title=estimate["title"] or title, limits=estimate["limits"])
    first = spectra if isinstance(spectra, Spectrum) else next(iter(spectra.values()))
    several = [] if isinstance(spectra, Spectrum) else list(spectra)
    what = f"{', '.join(several) or first.quantity} ({first.unit}), {len(first.wavenumber)} bins"
    for path in estimate["outputs"]:
        click.echo(f"wrote {path}: {what}")
    for note in first.conventions.notes:
        click.echo(f"note: {note}")
    if first.verdict is not None and not first.verdict.converged:
        click.echo(f"not converged: {first.verdict.reason}")
