"""What is compared: rows of each case, the numbers to meet, and how a peer's result becomes ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers import series, trajectories

Array = NDArray[np.float64]
Conversion = Callable[[Array, Array], Array]
OURS, BARE = "vibraloom", "bare FFTs"


@dataclass(frozen=True)
class Row:
    """One timed call.

    Attributes:
        program: :data:`OURS`, :data:`BARE` or the name of a peer.
        function: in ``peers.ours``, ``peers.baseline`` or ``peers.programs``.
        what: how it is called.
        convert: turns wavenumbers and the program's spectrum into a multiple of our quantity; None: not comparable.
        absolute: the multiple is 1.
        against: our function that does the same task; "" is the case's first row.
        lags: of our correlation function, with a Hann window; None: every lag, without a window.
    """

    program: str
    function: str
    what: str
    convert: Conversion | None = None
    absolute: bool = False
    against: str = ""
    lags: int | None = None


@dataclass(frozen=True)
class Target:
    """CPU time of ``row`` over that of ``versus``: ``at least`` or ``at most`` a value."""

    row: str
    versus: str
    sense: str
    value: float


@dataclass(frozen=True)
class Case:
    """Calls on the same data.

    Attributes:
        title: for the table.
        make: writes the data into a folder; sizes are bound.
        rows: what is timed; our first row is what the others' spectra are compared with.
        targets: ratios of CPU times.
        memory: (bytes) most that rows of ours may take beyond their input.
        timestep: (fs) between frames.
    """

    title: str
    make: Callable[[Path], None]
    rows: tuple[Row, ...]
    targets: tuple[Target, ...] = ()
    memory: int | None = None
    timestep: float = series.TIMESTEP


def same(wavenumber: Array, values: Array) -> Array:
    """The spectrum as it is."""
    return values


def _angular(wavenumber: Array) -> Array:
    return 2 * np.pi * 2.99792458e-5 * wavenumber  # rad/fs


def from_conductivity(wavenumber: Array, values: Array) -> Array:
    """n·alpha (cm⁻¹) = sigma/(eps0 c) of S/m."""
    return values / (8.8541878128e-12 * 2.99792458e8) / 100


def of_rate(wavenumber: Array, values: Array) -> Array:
    """A spectrum of a quantity as that of its time derivative."""
    return values * _angular(wavenumber) ** 2


def of_difference(wavenumber: Array, values: Array) -> Array:
    """A spectrum of the forward difference as that of the derivative."""
    return values / np.sinc(_angular(wavenumber) * series.TIMESTEP / (2 * np.pi)) ** 2


def of_one_sided_difference(wavenumber: Array, values: Array) -> Array:
    """As :func:`of_difference`, from the real part R of a one-sided transform of lags 0 and up.

    R is half the two-sided spectrum and half of C(0), which is the mean of R over all frequencies: a flat background.
    """
    return of_difference(wavenumber, 2 * values - values.mean())


def of_central_difference(wavenumber: Array, values: Array) -> Array:
    """A spectrum of the central difference as that of the derivative."""
    return values / np.sinc(_angular(wavenumber) * series.TIMESTEP / np.pi) ** 2


def of_bose_corrected(wavenumber: Array, values: Array) -> Array:
    """A spectrum of a quantity times 1 - e^-x as that of its derivative."""
    reduced = 1.438776877 * wavenumber / series.TEMPERATURE
    with np.errstate(divide="ignore", invalid="ignore"):
        return of_rate(wavenumber, values) / -np.expm1(-reduced)


def through_window(wavenumber: Array, values: Array, lags: int, timestep: float) -> tuple[Array, Array]:
    """A spectrum on an even axis as a Hann window of ``lags`` lags would have given it."""
    nyquist = 0.5 / (2.99792458e-5 * timestep)
    # even axes that start at a bin above 0, or go on beyond the Nyquist limit, are brought to 0 ... Nyquist
    step = wavenumber[1] - wavenumber[0]
    axis = np.linspace(0.0, nyquist, max(round(nyquist / step), 4 * lags) + 1)
    correlation = np.fft.irfft(np.interp(axis, wavenumber, np.nan_to_num(values)))
    distance = np.minimum(np.arange(len(correlation)), len(correlation) - np.arange(len(correlation)))
    window = np.where(distance <= lags, np.cos(0.5 * np.pi * distance / lags) ** 2, 0.0)
    return axis, np.fft.rfft(correlation * window).real


def difference(
    ours: Row, reference: tuple[Array, Array], row: Row, spectrum: tuple[Array, Array], timestep: float
) -> float | None:
    """Mean deviation of two spectra, of 1, over bins of 100 cm⁻¹ from 100 to 4000 cm⁻¹, at the coarser resolution of both.

    Scaled to the same area unless ``row`` is absolute. None where there is nothing to compare.
    """
    if row.convert is None or not len(spectrum[0]):
        return None
    other = (spectrum[0], np.where(spectrum[0] < 5000.0, row.convert(*spectrum), 0.0))  # a conversion may diverge far above
    if ours.lags and not row.lags:
        other = through_window(*other, ours.lags, timestep)
    elif row.lags and not ours.lags:
        reference = through_window(*reference, row.lags, timestep)
    edges = np.arange(100.0, 4001.0, 100.0)
    binned = []
    for wavenumber, intensity in (reference, other):
        inside = (wavenumber >= edges[0]) & (wavenumber < edges[-1])
        place = np.digitize(wavenumber[inside], edges) - 1
        counts = np.bincount(place, minlength=len(edges) - 1)
        binned.append(np.bincount(place, intensity[inside], minlength=len(edges) - 1) / counts)
    left, right = binned
    if not row.absolute:
        right = right * (left.sum() / right.sum())
    return float(np.abs(right - left).sum() / left.sum())


def cases(quick: bool) -> list[Case]:
    """All cases of calls in memory, at sizes of seconds each or, ``quick``, much smaller."""
    long, frames, atoms = (100_000, 4000, 300) if quick else (1_000_000, 20_000, 3000)
    pairs = ((64, 12_000), (100, 12_000)) if quick else ((64, 20_000), (512, 20_000))
    return [
        _infrared(long),
        _raman(long),
        _vdos(frames, atoms),
        *(_pairs(molecules, count, least) for (molecules, count), least in zip(pairs, (10.0, 50.0), strict=True)),
    ]


def _infrared(frames: int) -> Case:
    rows = (
        Row(OURS, "infrared_full", "every lag, no error bars", same, True),
        Row(OURS, "infrared_default", "default: 1 ps, error bars", same, True, lags=2000),
        Row(OURS, "infrared_8192", "8192 lags, error bars", same, True, lags=8192),
        Row(BARE, "infrared", "3 rfft, 1 irfft, 1 DCT", of_difference),
        Row("calorine", "calorine_infrared", "get_ir_spectrum", from_conductivity, True),
        Row("calorine", "calorine_infrared_8192", "window_size 8192 lags", from_conductivity, True, "infrared_8192"),
        Row("dynasor", "dynasor_infrared", "compute_acf, psd_from_acf of the current", of_difference),
        Row("tidynamics", "tidynamics_infrared", "acf of the current, FFT", of_difference),
        Row("ai2-kit", "ai2kit_infrared_8192", "calculate_corr 8192 lags, calculate_ir", of_difference, against="infrared_8192"),
        Row("stacie", "stacie_infrared", "compute_spectrum of the current (periodogram)", of_difference),
    )
    targets = (
        Target("infrared_full", "infrared", "at most", 1.2),
        Target("infrared_default", "infrared", "at most", 2.3),
        Target("calorine_infrared", "infrared_full", "at least", 7.0),
        Target("calorine_infrared", "infrared_8192", "at least", 12.0),
    )
    return Case(f"A: dipole {frames:,} × 3 → IR", partial(series.dipole_series, frames=frames), rows, targets)


def _raman(frames: int) -> Case:
    rows = (
        Row(OURS, "raman_full", "every lag, no error bars", same, True),
        Row(OURS, "raman_default", "default: 1 ps, error bars", same, True, lags=2000),
        Row(OURS, "raman_8192", "8192 lags, error bars", same, True, lags=8192),
        Row(BARE, "raman", "6 rfft, 2 irfft, 2 DCT", of_difference),
        Row("calorine", "calorine_raman", "get_raman_spectrum", of_rate),
        Row("ramannoodle", "ramannoodle_raman", "MDRamanSpectrum.measure", of_one_sided_difference),
    )
    targets = (
        Target("raman_full", "raman", "at most", 1.2),
        Target("raman_default", "raman", "at most", 2.3),
        Target("calorine_raman", "raman_full", "at least", 2.3),
        Target("ramannoodle_raman", "raman_full", "at least", 2.3),
    )
    return Case(f"C: polarizability {frames:,} × 6 → Raman", partial(series.polarizability_series, frames=frames), rows, targets)


def _vdos(frames: int, atoms: int) -> Case:
    rows = (
        Row(OURS, "vdos_default", "default: 1 ps, error bars", same, True, lags=min(1000, frames // 10)),
        Row(OURS, "vdos_without_blocks", "1 ps, no error bars", same, True, lags=min(1000, frames // 10)),
        Row(BARE, "vdos", "one float32 rfft per column, for every lag"),
        Row(BARE, "vdos_short", "one float32 rfft per column, for 1 ps"),
        Row("stacie", "stacie_vdos", "compute_spectrum (periodogram)", same),
        Row("pwtools", "pwtools_vdos", "pdos direct, npad=1", same),
        Row("pwtools", "pwtools_vdos_unpadded", "pdos direct, no padding (periodogram)", same),
    )
    targets = (
        Target("vdos_without_blocks", "vdos", "at most", 1.2),
        Target("vdos_without_blocks", "vdos_short", "at most", 1.2),
        Target("stacie_vdos", "vdos_without_blocks", "at least", 8.0),
        Target("pwtools_vdos", "vdos_without_blocks", "at least", 25.0),
    )
    make = partial(series.velocity_series, frames=frames, atoms=atoms)
    return Case(f"B: velocities {frames:,} × {atoms:,} atoms, float32 → VDOS per species", make, rows, targets, 200_000_000, 1.0)


def _pairs(molecules: int, frames: int, least: float) -> Case:
    rows = tuple(
        row
        for name, function, convert in (
            ("IR", "infrared", of_central_difference),
            ("Raman", "raman", of_bose_corrected),
            ("SFG", "sfg", None),
        )
        for row in (
            Row(OURS, f"pairs_{function}", f"{name}, error bars", same, True, f"pairs_{function}", series.LAGS),
            Row("ai2-kit", f"ai2kit_pairs_{function}", name, convert, against=f"pairs_{function}"),
        )
    )
    targets = tuple(
        Target(f"ai2kit_pairs_{name}", f"pairs_{name}", "at least", least) for name in ("infrared", "raman", "sfg")
    )
    make = partial(series.molecule_series, frames=frames, molecules=molecules)
    return Case(f"Pairs within 4 Å: {molecules} molecules, {frames:,} frames", make, rows, targets)


@dataclass(frozen=True)
class FileCase:
    """A trajectory file that the command turns into a spectrum.

    Attributes:
        name: of the file.
        make: writes it; sizes are bound.
        options: of ``vibraloom spectrum vdos``.
        rate: (bytes/s) to reach.
        memory: (bytes) of resident memory at most, or None.
    """

    name: str
    make: Callable[[Path], None]
    options: tuple[str, ...]
    rate: float
    memory: int | None = None


def file_cases(quick: bool) -> list[FileCase]:
    """Files of about a gigabyte or, ``quick``, a few percent of that."""
    text, stored, atoms = (300, 2000, 3000) if quick else (5000, 28_000, 3000)
    long = 4000 if quick else 200_000
    return [
        FileCase(
            "text.lammpstrj",
            partial(trajectories.lammps_dump, frames=text, atoms=atoms),
            ("--timestep", "1", "--velocity-unit", "angstrom/ps"),
            300e6,
        ),
        FileCase(
            "text.extxyz",
            partial(trajectories.extended_xyz, frames=text, atoms=atoms),
            ("--timestep", "1", "--velocity-unit", "angstrom/fs"),
            300e6,
        ),
        FileCase("stored.h5", partial(trajectories.h5md, frames=stored, atoms=atoms), (), 1e9, 300_000_000),
        FileCase("long.h5", partial(trajectories.h5md, frames=long, atoms=atoms), (), 1e9, 300_000_000),
    ]
