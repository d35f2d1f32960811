"""Experiments on a slab for ``vibraloom spectrum ir``: reflection, internal reflection, transmission between given media."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.spectra.dielectric import Medium
    from vibraloom.spectra.spectrum import Spectrum

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_MEDIUM = "a refractive index (1.33 or 3.2,38 for n,k), or a table: .csv with columns wl (µm) or wavenumber, n and k"

TITLES = {"irras": "Reflection absorption", "atr": "Internal reflection", "transmission": "Transmission"}
"""Experiments, and the title of their spectrum."""


class Optics(TypedDict):
    """Options of the experiment, as click hands them over."""

    optics: str | None
    angle: float | None
    polarization: str | None
    medium: str | None
    substrate: str | None
    before: tuple[tuple[str, float], ...]
    behind: tuple[tuple[str, float], ...]
    cell_height: float | None
    electronic_response: float | None


def optics_options(function: Decorated) -> Decorated:
    """Add the options of the experiment."""
    options = (
        click.option(
            "--optics",
            type=click.Choice([*TITLES]),
            help="With --area: what an experiment sees, -dR/R (irras) or an absorbance (atr, transmission).",
        ),
        click.option("--angle", type=float, help="Angle of incidence in degrees, from the normal."),
        click.option("--polarization", type=click.Choice(["p", "s"]), help="Of the light; default: p."),
        click.option("--medium", help=f"Where the light comes from (atr: the prism), default vacuum: {_MEDIUM}."),
        click.option(
            "--substrate",
            help="What is behind the slab: metal of irras (default: ideal mirror), electrolyte of atr; as --medium.",
        ),
        click.option(
            "--before",
            type=(str, float),
            multiple=True,
            metavar="MEDIUM THICKNESS",
            help="Layer between medium and slab, thickness in angstrom (atr: the metal film). Repeat in the direction of light.",
        ),
        click.option(
            "--behind",
            type=(str, float),
            multiple=True,
            metavar="MEDIUM THICKNESS",
            help="Layer between slab and substrate, as --before.",
        ),
        click.option(
            "--cell-height", type=float, help="With --boundary 'fixed E': height of the cell in angstrom; converts to fixed D."
        ),
        click.option(
            "--electronic-response",
            type=float,
            help="With --cell-height: alpha_zz/(eps0 A) of the electrons at fixed E in angstrom; 0 for fixed charges.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def check_optics(options: Optics, area: float | None) -> None:
    """Refuse combinations without meaning, before anything is read.

    Raises:
        InputError: an option of the experiment without one, or one that is missing.
    """
    experiment = options["optics"]
    if area is None and (experiment or options["cell_height"] is not None):
        raise InputError("--optics, --cell-height: are for a slab; give its --area and --boundary")
    if options["electronic_response"] is not None and options["cell_height"] is None:
        raise InputError("--electronic-response: has a meaning with --cell-height alone")
    if experiment is None:
        for name in ("angle", "polarization", "medium", "substrate", "before", "behind"):
            if options[name] not in (None, ()):
                raise InputError(f"--{name}: has a meaning with --optics alone")
        return
    if options["angle"] is None and experiment != "transmission":
        raise InputError(f"--optics {experiment}: needs the angle of incidence, e.g. --angle 80")
    if experiment == "irras" and (options["before"] or options["behind"]):
        raise InputError("--optics irras: the slab lies on the --substrate; --before and --behind are for atr and transmission")
    if experiment == "atr" and (
        len(options["before"]) != 1 or options["behind"] or not options["medium"] or not options["substrate"]
    ):
        raise InputError("--optics atr: needs --medium (prism), one --before (metal film) and --substrate (electrolyte)")


def at_fixed_d(response: dict[str, Spectrum], options: Optics) -> dict[str, Spectrum]:
    """The slab's response with its normal part at fixed D, if --cell-height asks for it."""
    if options["cell_height"] is None:
        return response
    from vibraloom.spectra.optics import at_fixed_displacement

    electronic = options["electronic_response"] or 0.0
    return {**response, "normal": at_fixed_displacement(response["normal"], options["cell_height"], electronic)}


def measured(response: dict[str, Spectrum], options: Optics, limits: tuple[float, float] | None) -> Spectrum:
    """What the experiment sees of a slab's response, within ``limits`` (cm⁻¹; default: those of the library).

    Raises:
        InputError: a medium that cannot be read or does not cover the range, a response at fixed E.
    """
    from vibraloom.spectra import optics
    from vibraloom.spectra.stratified import IDEAL_MIRROR, VACUUM

    common: dict[str, Any] = {
        "angle": options["angle"] or 0.0,
        "polarization": options["polarization"] or "p",
        "between": limits or optics.RANGE,
    }
    first = VACUUM if options["medium"] is None else medium_of(options["medium"], "--medium")
    last = None if options["substrate"] is None else medium_of(options["substrate"], "--substrate")
    before = [(medium_of(name, "--before"), thickness) for name, thickness in options["before"]]
    behind = [(medium_of(name, "--behind"), thickness) for name, thickness in options["behind"]]
    try:
        if options["optics"] == "irras":
            return optics.irras(response, incident=first, metal=last or IDEAL_MIRROR, **common)
        if options["optics"] == "atr":
            assert last is not None
            return optics.atr(response, prism=first, metal=before[0], electrolyte=last, **common)
        return optics.transmission(response, incident=first, before=before, after=behind, exit=last or VACUUM, **common)
    except InputError as error:
        raise _in_options(error) from error


def absorption_of(infrared: Spectrum, medium: Medium, limits: tuple[float, float] | None) -> Spectrum:
    """alpha of a bulk from its n·alpha and a given n, within ``limits`` (cm⁻¹).

    Raises:
        InputError: a medium that does not cover the range.
    """
    from vibraloom.spectra.dielectric import absorption
    from vibraloom.spectra.optics import RANGE

    try:
        return absorption(infrared.between(*(limits or RANGE)), medium)
    except InputError as error:
        raise _in_options(error) from error


def _in_options(error: InputError) -> InputError:
    """The error with the names of options for those of arguments."""
    said = {
        "convert with at_fixed_displacement": "convert with --cell-height",
        "give a narrower range": "give a narrower --range",
        "between: ": "--range: ",
    }
    text = str(error)
    for argument, option in said.items():
        text = text.replace(argument, option)
    return InputError(text)


def medium_of(text: str, option: str) -> Medium:
    """A medium from a number, a pair ``n,k`` or a file.

    Args:
        text: what was given.
        option: its name, for messages.

    Raises:
        InputError: neither numbers nor a table that can be read.
    """
    from vibraloom.spectra.dielectric import Medium

    words = text.split(",")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if 1 <= len(numbers) <= 2:
        return Medium(text, complex(*numbers))
    path = Path(text)
    if path.suffix.lower() != ".csv":
        raise InputError(f"{option} {text}: allowed: {_MEDIUM}")
    if not path.is_file():
        raise InputError(f"{option} {text}: no such file")
    with path.open("rb") as handle:
        ours = handle.read(19) == b"# vibraloom spectru"
    if ours:
        from vibraloom.files.tables import read_csv_table

        table = read_csv_table(path)
        if not {"n", "k"} <= set(table):
            raise InputError(f"{option} {text}: holds no n and k; make it with --eps-infinity")
        return Medium.from_spectra(path.name, table["n"], table["k"])
    from vibraloom.files.optical_constants import read_optical_constants

    wavenumber, n, k = read_optical_constants(path)
    return Medium(path.name, n + 1j * k, wavenumber)


def media_files(options: Optics) -> list[Path]:
    """Files among the media, for the record."""
    named = [options["medium"], options["substrate"], *(name for name, _ in (*options["before"], *options["behind"]))]
    return [Path(name) for name in named if name is not None and Path(name).is_file()]
