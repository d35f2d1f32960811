"""``vibraloom spectrum sfg``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from vibraloom.app.cli.spectrum.command import SpectrumCommand
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
    notes_of,
    order_of,
    read_replicas,
    shared,
    symbols_of,
    temperature_option,
    timestep_option,
    trajectory_options,
    vectors_of,
)
from vibraloom.app.cli.spectrum.work import Work
from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.spectra.sfg_bonds import WaterBonds
    from vibraloom.spectra.spectrum import Spectrum

_OF_BONDS = 4.0
"""Default cutoff (Å) between O-H bonds: it holds the first shell."""
_SERVES = {
    "components": ("dipole", "molecules"),
    "dipole_unit": ("dipole", "molecules"),
    "polarizability_unit": ("dipole", "molecules"),
    "cutoff": ("molecules", "trajectory"),
    "depth_window": ("molecules", "trajectory"),
    "velocities": ("trajectory",),
    "position_unit": ("trajectory",),
    "velocity_unit": ("trajectory",),
    "topology": ("trajectory",),
    "elements": ("trajectory",),
    "derivatives": ("trajectory",),
    "non_condon": ("trajectory",),
}
"""Option → the kinds of input that it has a meaning for."""


class Surface(Estimate):
    """Options of what is read, and those that every spectrum shares."""

    dipole: tuple[Path, ...]
    polarizability: tuple[Path, ...]
    molecules: tuple[Path, ...]
    trajectory: tuple[Path, ...]
    velocities: tuple[Path, ...]
    components: str | None
    dipole_unit: str | None
    polarizability_unit: str | None
    position_unit: str | None
    velocity_unit: str | None
    topology: Path | None
    elements: str | None
    cell: str | None
    cutoff: float | None
    depth_window: tuple[float, float] | None
    derivatives: str | None
    non_condon: bool
    timestep: float | None


@click.command(cls=SpectrumCommand)
@click.option("--dipole", type=FILE, multiple=True, help="Dipole per frame: 3 columns; z out of the liquid.")
@click.option("--polarizability", type=FILE, multiple=True, help="With --dipole: polarizability per frame, 6 or 9 columns.")
@click.option(
    "--molecules",
    type=FILE,
    multiple=True,
    help="Instead: .npz with dipole (frames, molecules, 3), polarizability (frames, molecules, 3, 3) or 6 or 9 columns,"
    " positions and cell in angstrom.",
)
@click.option(
    "--trajectory",
    type=FILE,
    multiple=True,
    help="Instead: positions and velocities of water; its O-H bonds make both moments.",
)
@click.option("--velocities", type=FILE, multiple=True, help="Velocities, where --trajectory holds positions alone (CP2K).")
@click.option("--components", help="Order of 6 or 9 columns, e.g. xx,yy,zz,xy,yz,zx.")
@click.option("--dipole-unit", help="e*angstrom, debye, e*bohr (where the file does not carry its own).")
@click.option("--polarizability-unit", help="angstrom^3 or bohr^3 (where the file does not carry its own).")
@click.option("--position-unit", help="angstrom, nm or bohr, where the trajectory does not say.")
@trajectory_options
@cell_option
@click.option(
    "--cutoff",
    type=float,
    help="Pairs of molecules or bonds this close, in angstrom; 0: each by itself. Default: all molecules, 4 for bonds.",
)
@click.option(
    "--depth-window",
    type=(float, float),
    metavar="INNER OUTER",
    help="Slab with two faces: weights from 0 at INNER angstrom off its middle to 1 at OUTER, opposite on the lower side.",
)
@click.option("--derivatives", help="With --trajectory, moments of a bond: condensed (default) or gas.")
@click.option("--non-condon", is_flag=True, help="With --derivatives gas: moments that depend on the wavenumber.")
@click.option("--element", default="ssp", show_default=True, help="ssp, sps, pss, or one element such as xxz.")
@click.option("--area", type=float, help="Area of the surface in angstrom^2; without it the result is chi2 times the area.")
@timestep_option
@temperature_option
@correction_option
@shared
def sfg(
    element: str, area: float | None, temperature: float, quantum_correction: str, **options: Unpack[Surface]
) -> None:
    """Sum-frequency generation: real, imaginary and |chi2|^2 of one surface.

    From the dipole and polarizability of the whole, of single molecules, or from the velocities of O-H bonds.
    A slab whose two like faces are both in it gives zero; --depth-window tells them apart.
    """
    check(options)
    kind = _kind(options)
    estimate = estimator_of(options)
    if estimate.pop("estimator") != "correlation":
        raise InputError("--estimator: SFG is a cross correlation; only correlation serves")
    names = ("dipole", "polarizability", "molecules", "trajectory", "velocities")
    work, sources = Work.begin(), Sources([path for name in names for path in options[name]])  # type: ignore[literal-required]
    shared_by_all = {
        "temperature": temperature,
        "element": element,
        "area": area,
        "quantum_correction": quantum_correction,
        **estimate,
    }
    compute = {"dipole": _of_series, "molecules": _of_molecules, "trajectory": _of_bonds}[kind]
    spectra, notes = compute(work, options, shared_by_all)
    finish(spectra, work, sources, options, "Sum-frequency generation", notes)


def _kind(options: Surface) -> str:
    """What the moments are made from; what does not belong to it is refused."""
    given = [name for name in ("dipole", "molecules", "trajectory") if options[name]]
    if len(given) != 1:
        raise InputError("--dipole with --polarizability, --molecules or --trajectory: give one of them")
    kind = given[0]
    if len(options["polarizability"]) != len(options["dipole"]):
        raise InputError(
            f"--dipole: {len(options['dipole'])} file(s) for {len(options['polarizability'])} of --polarizability;"
            " give them in pairs"
        )
    if options["velocities"] and len(options["velocities"]) != len(options["trajectory"]):
        raise InputError(
            f"--velocities: {len(options['velocities'])} file(s) for {len(options['trajectory'])} of --trajectory;"
            " give them in pairs"
        )
    for name, kinds in _SERVES.items():
        if options[name] not in (None, (), False) and kind not in kinds:  # type: ignore[literal-required]
            raise InputError(f"--{name.replace('_', '-')}: has no meaning with --{kind}; it goes with --{' or --'.join(kinds)}")
    return kind


def _of_series(work: Work, options: Surface, asked: dict[str, Any]) -> tuple[dict[str, Spectrum], list[str]]:
    """From the moments of the whole."""
    import numpy as np

    from vibraloom.spectra.sfg import sfg as sfg_spectra

    dipoles, tensors = options["dipole"], options["polarizability"]
    moments = read_replicas(
        work, dipoles, "dipole", unit=options["dipole_unit"], timestep=options["timestep"], option="--dipole-unit"
    )
    read = read_replicas(
        work,
        tensors,
        "polarizability",
        unit=options["polarizability_unit"],
        timestep=options["timestep"],
        components=options["components"],
        option="--polarizability-unit",
    )
    interval, other = moments[0].timestep, read[0].timestep
    if abs(other - interval) > 1e-6 * interval:
        raise InputError(f"{tensors[0]}: frames are {other:g} fs apart, in {dipoles[0]} {interval:g} fs; they need one")
    for path, one, another in zip(tensors, moments, read, strict=True):
        if one.steps is not None and another.steps is not None and not np.array_equal(one.steps, another.steps):
            raise InputError(f"{path}: its steps are not those of the dipole; cut both to the steps they share")
    dipole, notes = moments_of(dipoles, moments, options["cell"])
    work.enter("correlating")
    values = [one.values for one in read] if len(read) > 1 else read[0].values
    spectra = sfg_spectra(dipole, values, interval, components=order_of(tensors, read), **asked)
    return spectra, [*notes, *notes_of(read)]


def _of_molecules(work: Work, options: Surface, asked: dict[str, Any]) -> tuple[dict[str, Spectrum], list[str]]:
    """From the moments of molecules."""
    from vibraloom.app.cli.spectrum.surfaces import read_molecules
    from vibraloom.files.series import given_timestep
    from vibraloom.spectra.sfg import molecular_sfg

    paths = options["molecules"]
    interval = given_timestep(paths[0], options["timestep"])
    with work.reading(paths):
        runs = [
            read_molecules(
                path,
                dipole_unit=options["dipole_unit"],
                polarizability_unit=options["polarizability_unit"],
                components=options["components"],
                cell=vectors_of(options["cell"]),
                window=options["depth_window"],
            )
            for path in paths
        ]
    work.enter("correlating")
    return molecular_sfg(runs, interval, cutoff=options["cutoff"], **asked), []


def _of_bonds(work: Work, options: Surface, asked: dict[str, Any]) -> tuple[dict[str, Spectrum], list[str]]:
    """From the velocities of O-H bonds."""
    from vibraloom.app.cli.spectrum.surfaces import read_water_bonds
    from vibraloom.spectra.sfg_bonds import bond_sfg

    paths = options["trajectory"]
    moving = options["velocities"] or paths
    cutoff = _OF_BONDS if options["cutoff"] is None else options["cutoff"]
    runs: list[WaterBonds] = []
    notes: list[str] = []
    interval = 0.0
    # a file with both is read for either
    with work.reading([*paths, *moving]):
        for positions, velocities in zip(paths, moving, strict=True):
            bonds, own, remarks = read_water_bonds(
                positions,
                velocities,
                timestep=options["timestep"],
                position_unit=options["position_unit"],
                velocity_unit=options["velocity_unit"],
                elements=symbols_of(options["elements"]),
                topology=options["topology"],
                cell=vectors_of(options["cell"]),
                window=options["depth_window"],
                derivatives=options["derivatives"] or "condensed",
                temperature=asked["temperature"],
            )
            if runs and abs(own - interval) > 1e-6 * interval:
                raise InputError(f"{positions}: frames are {own:g} fs apart, in {paths[0]} {interval:g} fs; replicas need one")
            interval = own
            runs.append(bonds)
            notes += remarks
    if cutoff > 0 and any(run.cell is None for run in runs):
        raise InputError(f"{paths[0]}: --cutoff {cutoff:g} needs the cell, which is not in the file; give it with --cell")
    work.enter("correlating")
    return bond_sfg(runs, interval, cutoff=cutoff, non_condon=options["non_condon"], **asked), notes
