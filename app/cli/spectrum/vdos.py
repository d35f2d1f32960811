"""``vibraloom spectrum vdos``."""

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
    check_kinetic,
    estimator_of,
    finish,
    shared,
    symbols_of,
    timestep_option,
    trajectory_options,
)
from vibraloom.app.cli.spectrum.work import WatchedFrames, Work


@click.command(cls=SpectrumCommand)
@click.option(
    "--trajectory",
    "path",
    type=FILE,
    required=True,
    help="Velocities: .h5, .extxyz, .xyz (CP2K), .lammpstrj, .dump, .dcd, .trr, .traj, .npz.",
)
@trajectory_options
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
    work, sources = Work.begin(), Sources([path])
    from vibraloom.files.velocities import read_velocities
    from vibraloom.spectra.vdos import vdos as density_of_states

    with work.reading([path]):
        found = read_velocities(
            path, timestep=timestep, unit=velocity_unit, elements=symbols_of(elements), topology=topology
        )
    frames = WatchedFrames(found.velocities)
    work.enter("correlating", frames.shape[0], frames.taken, "frames")
    spectrum = density_of_states(
        frames,
        found.masses,
        found.timestep,
        temperature=temperature,
        groups=found.groups() if group_by == "species" else None,
        **estimator_of(estimate),
    )
    kinetic = spectrum.conventions.extra["kinetic_temperature"]
    check_kinetic(path, kinetic, temperature)
    notes = list(found.notes)
    if temperature is None:
        notes.append(f"temperature taken from the mean kinetic energy of the velocities: {kinetic:.4g} K")
    finish(spectrum, work, sources, estimate, "Vibrational density of states", notes)
