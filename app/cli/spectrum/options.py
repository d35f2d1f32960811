"""Options that every spectrum shares, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeVar

import click

from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.spectra.spectrum import Spectrum

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


class Output(TypedDict):
    """Options of what is written, as click hands them over."""

    outputs: tuple[Path, ...]
    limits: tuple[float, float] | None
    integration_timestep: NotRequired[float | None]
    frequency_scale: float | None
    title: str | None


class Estimate(Output):
    """Those, and the choices of the estimate."""

    correlation_time: float | None
    window: str
    estimator: str
    blocks: int | None


def output_options(function: Decorated) -> Decorated:
    """Add the options of what is written."""
    return _with(
        function,
        click.option(
            "-o",
            "outputs",
            type=FILE,
            multiple=True,
            required=True,
            help="Output; its suffix picks the format (.csv .jdx .json .npz .png). Repeat for several.",
        ),
        click.option("--range", "limits", type=(float, float), help="Keep LOW to HIGH, in cm^-1.", metavar="LOW HIGH"),
        click.option("--frequency-scale", type=float, help="Multiply the axis for display; the output says so."),
        click.option("--title", help="Title in .jdx and .png."),
    )


def shared(function: Decorated) -> Decorated:
    """Add the options that every spectrum from a series shares."""
    return _with(
        output_options(function),
        click.option("--correlation-time", type=float, help="Depth of the correlation function, in ps."),
        click.option("--window", default="hann", show_default=True, help="Window on the correlation function."),
        click.option(
            "--estimator",
            default="correlation",
            show_default=True,
            help="correlation; welch: nowhere negative; cepstral: for runs too short for blocks.",
        ),
        click.option("--blocks", type=int, help="Blocks behind the error bars; 0: no error bars."),
        click.option(
            "--integration-timestep",
            type=float,
            help="Time step of the dynamics in fs: undoes the shift of the bands that velocity Verlet makes.",
        ),
    )


def _with(function: Decorated, *options: Callable[[Decorated], Decorated]) -> Decorated:
    for option in reversed(options):
        function = option(function)
    return function


timestep_option = click.option(
    "--timestep", type=float, help="Time between the frames in the file, in fs (where the file does not carry its own)."
)
temperature_option = click.option("--temperature", type=float, required=True, help="Temperature in K.")
correction_option = click.option(
    "--quantum-correction",
    default="harmonic",
    show_default=True,
    help="harmonic, standard, schofield or classical.",
)


def check(output: Output) -> None:
    """Refuse what cannot be written or read, before any work is done.

    Raises:
        InputError: an output that cannot be written, or a range upside down.
    """
    from vibraloom.app.cli.outputs import check_outputs

    check_outputs(output["outputs"])
    limits = output["limits"]
    if limits is not None and not limits[0] < limits[1]:
        raise InputError(f"--range {limits[0]:g} {limits[1]:g}: LOW must be below HIGH (cm^-1)")


def estimator_of(estimate: Estimate) -> dict[str, Any]:
    """Keyword arguments of the functions in vibraloom.spectra.

    Raises:
        InputError: a correlation time that is not positive.
    """
    depth = estimate["correlation_time"]
    if depth is not None and not 0.0 < depth < float("inf"):
        raise InputError(f"--correlation-time {depth:g}: must be a positive number of ps")
    return {
        "correlation_time": None if depth is None else depth * 1e3,
        "window": estimate["window"],
        "estimator": estimate["estimator"],
        "blocks": estimate["blocks"],
    }


def replicas_of(
    paths: Sequence[Path], read: Sequence[tuple[Any, float]], *, columns: tuple[int, ...]
) -> tuple[list[Any], float]:
    """The series and their common frame interval.

    Raises:
        InputError: columns or intervals that do not fit.
    """
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


def finish(
    result: Spectrum | dict[str, Spectrum],
    paths: Sequence[Path],
    output: Output,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Stamp the sources, correct and cut the axis as asked, write, and say in one line what came out."""
    import hashlib
    from dataclasses import replace

    from vibraloom.app.cli.outputs import write_outputs
    from vibraloom.spectra.axis import corrected_for_verlet, scaled
    from vibraloom.spectra.spectrum import Spectrum

    sources = []
    for path in paths:
        with path.open("rb") as handle:
            sources.append({"file": path.name, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()})

    def prepared(spectrum: Spectrum) -> Spectrum:
        conventions = spectrum.conventions
        extra = {**conventions.extra, "sources": sources}
        kept = replace(spectrum, conventions=replace(conventions, extra=extra, notes=(*conventions.notes, *notes)))
        step = output.get("integration_timestep")
        if step is not None:
            kept = corrected_for_verlet(kept, step)
        if output["frequency_scale"] is not None:
            kept = scaled(kept, output["frequency_scale"])
        return kept if output["limits"] is None else kept.between(*output["limits"])

    spectra: Spectrum | dict[str, Spectrum]
    spectra = prepared(result) if isinstance(result, Spectrum) else {name: prepared(one) for name, one in result.items()}
    write_outputs(output["outputs"], spectra, title=output["title"] or title, limits=output["limits"])
    first = spectra if isinstance(spectra, Spectrum) else next(iter(spectra.values()))
    several = [] if isinstance(spectra, Spectrum) else list(spectra)
    what = f"{', '.join(several) or first.quantity} ({first.unit}), {len(first.wavenumber)} bins"
    for path in output["outputs"]:
        click.echo(f"wrote {path}: {what}")
    for note in first.conventions.notes:
        click.echo(f"note: {note}")
    if first.verdict is not None and not first.verdict.converged:
        click.echo(f"not converged: {first.verdict.reason}")
