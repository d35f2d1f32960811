"""``vibraloom spectrum harmonic``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from vibraloom.app.cli.spectrum.command import SpectrumCommand
from vibraloom.app.cli.spectrum.options import FILE, Output, Sources, check, finish, output_options, temperature_option
from vibraloom.app.cli.spectrum.work import Work
from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.spectra.harmonic import HarmonicDerivatives

_QUANTITIES = ("infrared", "raman", "vdos", "dielectric")


@click.command(cls=SpectrumCommand)
@click.option("--phonopy", "phonopy", type=FILE, help="phonopy.yaml or its folder; FORCE_SETS and BORN are taken from beside it.")
@click.option("--derivatives", type=FILE, help=".npz of a harmonic job, instead of --phonopy.")
@click.option("--born", type=FILE, help="BORN file elsewhere.")
@click.option("--raman-tensors", type=FILE, help=".npy, (atoms, 3, 3, 3): polarizability per displacement.")
@click.option("--raman-unit", help="Unit of --raman-tensors: angstrom^2 or 1/angstrom.")
@click.option("--quantity", type=click.Choice(_QUANTITIES), default="infrared", show_default=True, help="What to write.")
@temperature_option
@click.option("--width", type=float, default=10.0, show_default=True, help="Full width at half maximum, in cm^-1.")
@click.option("--shape", default="lorentzian", show_default=True, help="lorentzian, gaussian or oscillator.")
@click.option("--molecule/--bulk", default=None, help="Infrared in km/mol, right for molecules and slabs, or as n*alpha.")
@click.option("--isotope", "isotopes", multiple=True, help="Mass of an element in amu, e.g. H=2.014. Repeat for several.")
@click.option("--geometry", "geometries", multiple=True, help="Raman of an oriented sample, e.g. 'z(xy)z'. Repeat for several.")
@click.option("--laser", type=float, default=532.0, show_default=True, help="Laser wavelength in nm.")
@click.option("--form", default="stokes", show_default=True, help="Raman: stokes, activity or reduced.")
@click.option("--detector", default="energy", show_default=True, help="Raman: energy or counts.")
@output_options
def harmonic(
    phonopy: Path | None,
    derivatives: Path | None,
    born: Path | None,
    raman_tensors: Path | None,
    raman_unit: str | None,
    quantity: str,
    temperature: float,
    width: float,
    shape: str,
    molecule: bool | None,
    isotopes: tuple[str, ...],
    geometries: tuple[str, ...],
    laser: float,
    form: str,
    detector: str,
    **output: Unpack[Output],
) -> None:
    """Spectra of normal modes, from force constants, Born charges and Raman tensors.

    Prints the table of modes: wavenumber, assignment, km/mol, activity.
    """
    check(output)
    work = Work.begin()
    if (phonopy is None) == (derivatives is None):
        raise InputError("--phonopy or --derivatives: give one of them")
    from vibraloom.spectra.harmonic_spectra import harmonic_spectra
    from vibraloom.spectra.mode_assignment import mode_table

    source = phonopy if phonopy is not None else derivatives
    assert source is not None
    found = _read(source, phonopy is not None, born, raman_tensors, raman_unit).with_masses(_masses(isotopes))
    spectra = harmonic_spectra(
        found,
        temperature=temperature,
        width=width,
        shape=shape,
        absorption=None if molecule is None else not molecule,
        laser_wavelength=laser,
        form=form,
        detector=detector,
        geometries=geometries,
    )
    chosen = {name: one for name, one in spectra.items() if name.split("_")[0] == quantity}
    if not chosen:
        wanted = "Raman tensors (--raman-tensors)" if quantity == "raman" else "Born charges (BORN)"
        raise InputError(f"{source}: no {quantity} spectrum without {wanted}")
    _print_modes(mode_table(found))
    files = [each for each in (born, raman_tensors) if each is not None]
    if source.is_file():
        files.insert(0, source)
    else:
        files[:0] = sorted(each for each in source.iterdir() if each.is_file())
    result: Any = next(iter(chosen.values())) if len(chosen) == 1 else chosen
    finish(result, work, Sources(files), output, "Harmonic spectrum")


def _read(
    source: Path, from_phonopy: bool, born: Path | None, raman: Path | None, raman_unit: str | None
) -> HarmonicDerivatives:
    import numpy as np

    from vibraloom.spectra.harmonic import HarmonicDerivatives

    if from_phonopy:
        from vibraloom.files.phonopy_files import read_phonopy

        return HarmonicDerivatives(**read_phonopy(source, born=born, raman=raman, raman_unit=raman_unit))
    try:
        with np.load(source, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file") from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: not a NumPy archive of a harmonic job; give its .npz, or --phonopy") from error
    try:
        return HarmonicDerivatives.from_arrays(found)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _masses(isotopes: tuple[str, ...]) -> dict[str, float]:
    masses = {}
    for text in isotopes:
        symbol, _, mass = text.partition("=")
        try:
            masses[symbol] = float(mass)
        except ValueError as error:
            raise InputError(f"--isotope {text}: allowed: an element and its mass in amu, e.g. H=2.014") from error
        if not masses[symbol] > 0:
            raise InputError(f"--isotope {text}: the mass must be positive")
    return masses


def _print_modes(rows: list[dict[str, Any]]) -> None:
    """One line per mode, on standard output."""
    click.echo(f"{'mode':>5} {'cm^-1':>9} {'km/mol':>9} {'A^4/amu':>9}  assignment")
    for row in rows:
        numbers = [row.get(name) for name in ("infrared_intensity", "raman_activity")]
        shown = " ".join(f"{'–' if value is None else f'{value:.2f}':>9}" for value in numbers)
        click.echo(f"{row['mode']:5d} {row['wavenumber']:9.1f} {shown}  {row['assignment']}")
