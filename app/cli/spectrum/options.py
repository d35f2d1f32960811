"""Options that every spectrum shares, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeVar

import click

from vibraloom.errors import InputError

if TYPE_CHECKING:
    from vibraloom.app.cli.spectrum.work import Work
    from vibraloom.files.series import Series
    from vibraloom.spectra.spectrum import Spectrum

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
_KINETIC_TOLERANCE = 2.0
"""Kinetic and stated temperature may differ by this factor; beyond it, a unit is wrong."""


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


def trajectory_options(function: Decorated) -> Decorated:
    """Add what a trajectory may not say itself."""
    return _with(
        function,
        click.option(
            "--velocity-unit",
            help="angstrom/fs, angstrom/ps, nm/ps, bohr/au_time, angstrom/akma, where the file does not say.",
        ),
        click.option("--topology", type=FILE, help="A structure with the same atoms, where the file names none (.dcd, .trr)."),
        click.option("--elements", help="Symbols of LAMMPS types 1, 2, …, e.g. O,H, where the dump does not say."),
    )


def symbols_of(elements: str | None) -> list[str] | None:
    """--elements as a list."""
    return None if elements is None else [symbol.strip() for symbol in elements.split(",")]


timestep_option = click.option(
    "--timestep", type=float, help="Time between the frames in the file, in fs (where the file does not carry its own)."
)
cell_option = click.option(
    "--cell",
    help="Cell in angstrom, 'a b c' or nine numbers; of a Berry-phase dipole it undoes jumps by the polarisation quantum.",
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


def read_replicas(
    work: Work,
    paths: Sequence[Path],
    name: str,
    *,
    unit: str | None,
    timestep: float | None,
    components: str | None = None,
    option: str = "--unit",
) -> list[Series]:
    """The series of every file, which must be alike; ``option`` is what the command calls the unit.

    Raises:
        InputError: a file that cannot be read, or intervals or columns that differ.
    """
    from vibraloom.files.series import load_series

    try:
        with work.reading(paths):
            read = [load_series(path, name, unit=unit, timestep=timestep, components=components) for path in paths]
    except InputError as error:
        raise InputError(str(error).replace("--unit", option)) from error
    first = read[0]
    for path, one in zip(paths, read, strict=True):
        if abs(one.timestep - first.timestep) > 1e-6 * first.timestep:
            raise InputError(
                f"{path}: frames are {one.timestep:g} fs apart, in {paths[0]} {first.timestep:g} fs; replicas need one"
            )
        if one.values.shape[1:] != first.values.shape[1:] or one.components != first.components:
            raise InputError(
                f"{path}: rows of shape {one.values.shape[1:]}, in {paths[0]} {first.values.shape[1:]}, or another order"
            )
    return read


def order_of(paths: Sequence[Path], read: Sequence[Series]) -> str | None:
    """Order of the columns of flat polarizabilities, None for tensors.

    Raises:
        InputError: it is neither in the file nor given.
    """
    values, order = read[0].values, read[0].components
    if values.ndim == 2 and order is None:
        raise InputError(
            f"{paths[0]}: {values.shape[1]} columns in an unknown order; name it, e.g. --components xx,yy,zz,xy,yz,zx"
        )
    return order if values.ndim == 2 else None


def moments_of(paths: Sequence[Path], read: Sequence[Series], cell: str | None = None) -> tuple[Any, list[str]]:
    """Dipole series without jumps by the polarisation quantum, for vibraloom.spectra, and what to note.

    Args:
        paths, read: the files and what they hold.
        cell: --cell; None: unwrap what is folded, with the cell that the file names.

    Raises:
        InputError: a folded dipole without a cell, or a cell that is none.
    """
    from vibraloom.spectra.dipole import unwrap_dipole

    notes = notes_of(read)
    vectors = vectors_of(cell)
    moments = []
    for path, one in zip(paths, read, strict=True):
        if vectors is None and not one.folded:
            moments.append(one.values)
            continue
        lattice = vectors if vectors is not None else one.cell
        if lattice is None:
            raise InputError(f"{path}: the dipole is known modulo the cell, which is not in the file; give it with --cell")
        unwrapped, ambiguous = unwrap_dipole(one.values, lattice)
        moments.append(unwrapped)
        if len(ambiguous):
            notes.append(
                f"{path.name}: {len(ambiguous)} steps of nearly half a polarisation quantum, the first to frame"
                f" {int(ambiguous[0])}: a jump there may be missed; store dipoles more often"
            )
    return (moments if len(moments) > 1 else moments[0]), notes


def notes_of(read: Sequence[Series]) -> list[str]:
    """What the readers want said; each names its file."""
    return [note for one in read for note in one.notes]


def check_kinetic(path: Path, kinetic: float, stated: float | None) -> None:
    """Refuse velocities whose kinetic temperature (K) is far from the one stated, if one is: their unit is wrong.

    Raises:
        InputError: they differ by more than a factor of two, or nothing moves.
    """
    if kinetic <= 0.0:
        raise InputError(f"{path}: all velocities are zero; nothing moves in this file")
    if stated is not None and not kinetic / _KINETIC_TOLERANCE < stated < kinetic * _KINETIC_TOLERANCE:
        raise InputError(f"{path}: velocities give {kinetic:.4g} K, not {stated:g} K as stated; check --velocity-unit")


def vectors_of(cell: str | None) -> Any:
    """--cell as lattice vectors (Å) in rows, or None.

    Raises:
        InputError: neither three nor nine numbers.
    """
    if cell is None:
        return None
    import numpy as np

    try:
        numbers = [float(word) for word in cell.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 9):
        raise InputError(f"--cell {cell!r}: allowed: three lengths or nine numbers in angstrom")
    return np.diag(numbers) if len(numbers) == 3 else np.reshape(numbers, (3, 3))


class Sources:
    """Name and sha256 of the files that a spectrum comes from; of a folder, of every file in it.

    The sums are made in the background from the moment of construction: a large file is read for them and for the spectrum
    at the same time.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        from concurrent.futures import Future
        from threading import Thread

        self._entries: Future[list[dict[str, str]]] = Future()
        # a daemon: a command that is refused or stopped does not wait for the sums of a large file
        Thread(target=self._fill, args=(list(paths),), daemon=True).start()

    def _fill(self, paths: Sequence[Path]) -> None:
        try:
            self._entries.set_result(self._digests(paths))
        except BaseException as error:
            self._entries.set_exception(error)

    @staticmethod
    def _digests(paths: Sequence[Path]) -> list[dict[str, str]]:
        import hashlib

        # large pieces: the lock of the interpreter is asked for rarely
        piece = memoryview(bytearray(2**20))
        entries = []
        for path in paths:
            for file in sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]:
                if file.is_file():
                    digest = hashlib.sha256()
                    with file.open("rb", buffering=0) as handle:
                        while count := handle.readinto(piece):
                            digest.update(piece[:count])
                    entries.append({"file": str(file.relative_to(path.parent)), "sha256": digest.hexdigest()})
        return entries

    def entries(self) -> list[dict[str, str]]:
        """One entry per file, for the conventions."""
        return self._entries.result()


def finish(
    result: Spectrum | dict[str, Spectrum],
    work: Work,
    sources: Sources,
    output: Output,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Stamp the sources, correct and cut the axis as asked, write, and say in one line what came out."""
    from dataclasses import replace

    from vibraloom.app.cli.outputs import write_outputs
    from vibraloom.spectra.axis import corrected_for_verlet, scaled
    from vibraloom.spectra.spectrum import Spectrum

    def prepared(spectrum: Spectrum) -> Spectrum:
        conventions = spectrum.conventions
        extra = {**conventions.extra, "sources": sources.entries()}
        kept = replace(spectrum, conventions=replace(conventions, extra=extra, notes=(*conventions.notes, *notes)))
        step = output.get("integration_timestep")
        if step is not None:
            if step > conventions.timestep:
                raise InputError(
                    f"--integration-timestep {step:g}: longer than the {conventions.timestep:g} fs between frames; give the time"
                    " step of the dynamics in fs"
                )
            kept = corrected_for_verlet(kept, step)
        if output["frequency_scale"] is not None:
            kept = scaled(kept, output["frequency_scale"])
        return kept if output["limits"] is None else kept.between(*output["limits"])

    work.enter("checksums")
    sources.entries()
    work.enter("writing")
    spectra: Spectrum | dict[str, Spectrum]
    spectra = prepared(result) if isinstance(result, Spectrum) else {name: prepared(one) for name, one in result.items()}
    write_outputs(output["outputs"], spectra, title=output["title"] or title, limits=output["limits"])
    work.end()
    named = {spectra.quantity: spectra} if isinstance(spectra, Spectrum) else spectra
    first = next(iter(named.values()))
    units = dict.fromkeys(one.unit for one in named.values())
    what = f"{', '.join(named)} ({', '.join(units)}), {len(first.wavenumber)} bins"
    for path in output["outputs"]:
        click.echo(f"wrote {path}: {what}")
    for note in first.conventions.notes:
        click.echo(f"note: {note}")
    if first.verdict is not None and not first.verdict.converged:
        click.echo(f"not converged: {first.verdict.reason}")
