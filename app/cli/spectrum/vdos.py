"""``vibraloom spectrum vdos``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from vibraloom.app.cli.spectrum.options import FILE, Estimate, Sources, check, estimator_of, finish, shared, timestep_option
from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.files.velocities import Velocities

_KINETIC_TOLERANCE = 2.0
"""Kinetic and stated temperature may differ by this factor; beyond it, a unit is wrong."""


@click.command()
@click.option(
    "--trajectory",
    "path",
    type=FILE,
    required=True,
    help="Velocities: .h5, .extxyz, .xyz (CP2K), .lammpstrj, .dump, .dcd, .trr, .traj, .npz.",
)
@click.option(
    "--velocity-unit", help="angstrom/fs, angstrom/ps, nm/ps, bohr/au_time, angstrom/akma, where the file does not say."
)
@click.option("--topology", type=FILE, help="A structure with the same atoms, where the file names none (.dcd, .trr).")
@click.option("--elements", help="Symbols of LAMMPS types 1, 2, …, e.g. O,H, where the dump does not say.")
@timestep_option
@click.option("--temperature", type=float, help="Temperature in K; by default that of the velocities.")
@click.option("--group-by", type=click.Choice(["species"]), help="Split the spectrum; the parts sum to the total.")
@shared
def vdos(
    path: Path,
    velocity_unit: str | None,
    topology: Path | None,
    elements: str | None,
    timestep: float | None,
    temperature: float | None,
    group_by: str | None,
    **estimate: Unpack[Estimate],
) -> None:
    """Vibrational density of states from the velocities of every frame."""
    check(estimate)
    sources = Sources([path])
    from vibraloom.files.velocities import read_velocities
    from vibraloom.spectra.vdos import vdos as density_of_states

    symbols = None if elements is None else [symbol.strip() for symbol in elements.split(",")]
    found = read_velocities(path, timestep=timestep, unit=velocity_unit, elements=symbols, topology=topology)
    spectrum = density_of_states(
        found.velocities,
        found.masses,
        found.timestep,
        temperature=_stated_or_kinetic(path, found, temperature),
        groups=found.groups() if group_by == "species" else None,
        **estimator_of(estimate),
    )
    notes = list(found.notes)
    if temperature is None:
        notes.append("temperature taken from the mean kinetic energy of the velocities")
    finish(spectrum, sources, estimate, "Vibrational density of states", notes)


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
