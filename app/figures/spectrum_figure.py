"""Pictures of spectra: the line, its one-sigma band, its parts, and the conventions that it was made with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vibraloom.app.figures import style
from vibraloom.errors import InputError
from vibraloom.spectra.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Spectra = Spectrum | Mapping[str, Spectrum] | Sequence[Spectrum]


_HIGHEST = 4500.0
"""End of the axis (cm⁻¹) where no range is given; the bins up to the Nyquist wavenumber hold no vibration."""


@dataclass(frozen=True)
class Panel:
    """One panel of an overview.

    Attributes:
        spectra: one spectrum, or several of one unit.
        title: short title above the panel.
        sticks: (cm⁻¹, any) harmonic modes as pairs of wavenumber and intensity; scaled to the panel.
        bands: (cm⁻¹) measured band positions, drawn as vertical marks.
        limits: (cm⁻¹) range of the axis; by default up to 4500 cm⁻¹.
    """

    spectra: Spectra
    title: str
    sticks: Sequence[tuple[float, float]] = ()
    bands: Sequence[float] = ()
    limits: tuple[float, float] | None = None


def draw_spectrum(
    spectra: Spectra,
    path: str | Path,
    *,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
    parts: bool = True,
) -> None:
    """Draw one spectrum, or several (a panel for each unit), as a PNG, whole or not at all.

    Args:
        spectra: a spectrum, several by name, or a sequence (named by quantity).
        path: the PNG.
        title: one short line; by default the quantity.
        limits: (cm⁻¹) range of the axis; by default up to 4500 cm⁻¹, above which nothing vibrates.
        parts: add a panel for each decomposition of a single spectrum.

    Raises:
        InputError: nothing to draw in the range.
        MissingError: matplotlib is not installed.
    """
    style.save(spectrum_figure(spectra, title=title, limits=limits, parts=parts), path)


def spectrum_figure(
    spectra: Spectra,
    *,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
    parts: bool = True,
) -> Figure:
    """The figure of :func:`draw_spectrum`, for notebooks."""
    named = _named(spectra, limits)
    first = next(iter(named.values()))
    decompositions = _decompositions(first) if parts and len(named) == 1 else {}
    units = list(dict.fromkeys(one.unit for one in named.values()))
    rows = len(units) + len(decompositions)
    figure = style.new_figure(7.2, 4.4 + 2.4 * (rows - 1))
    ratios = [3.0, *[2.0] * (rows - 1)]
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, unit in zip(grid, units, strict=False):
        _draw_lines(axes, {name: one for name, one in named.items() if one.unit == unit})
    for axes, (decomposition, members) in zip(grid[len(units) :], decompositions.items(), strict=True):
        _draw_parts(axes, first, decomposition, members)
    grid[-1].set_xlabel(style.WAVENUMBER_LABEL, fontsize=11)
    if limits is not None:
        grid[-1].set_xlim(*limits)
    heading = title or " / ".join(dict.fromkeys(style.quantity_label(one.quantity) for one in named.values()))
    grid[0].set_title(_short(heading, 60), loc="left", fontsize=12, color=style.INK, parse_math=False, pad=12)
    _draw_verdict(grid[0], named)
    _draw_footer(figure, _footer(first), width=112)
    return figure


def draw_overview(panels: Sequence[Panel], path: str | Path, *, title: str | None = None) -> None:
    """Draw several panels beside each other (IR, Raman, VDOS of one run) as a PNG, whole or not at all.

    Raises:
        InputError: no panel, nothing to draw in a range, or units that differ within a panel.
        MissingError: matplotlib is not installed.
    """
    style.save(overview_figure(panels, title=title), path)


def overview_figure(panels: Sequence[Panel], *, title: str | None = None) -> Figure:
    """The figure of :func:`draw_overview`, for notebooks."""
    if not panels:
        raise InputError("overview: no panel to draw; give at least one spectrum")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = style.new_figure(0.6 + 4.4 * columns, 0.9 + 3.9 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid, panels, strict=False):
        named = _named(panel.spectra, panel.limits)
        units = list(dict.fromkeys(one.unit for one in named.values()))
        if len(units) > 1:
            raise InputError(f"picture: units differ ({', '.join(units)}); draw them in panels of their own")
        _draw_lines(axes, named)
        _draw_sticks(axes, panel)
        axes.set_xlabel(style.WAVENUMBER_LABEL, fontsize=11)
        axes.set_xlim(*(panel.limits or _span(named)))
        axes.set_title(_short(panel.title, 28), loc="left", fontsize=12, color=style.INK, parse_math=False, pad=12)
        _draw_verdict(axes, named)
        if len(named) > 1 or panel.sticks or panel.bands:
            axes.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="best")
    if title:
        figure.suptitle(_short(title, 40 * columns), fontsize=13, color=style.INK, x=0.01, ha="left", parse_math=False)
    first = next(iter(_named(panels[0].spectra, None).values()))
    _draw_footer(figure, _footer(first), width=62 * columns)
    return figure


def _named(spectra: Spectra, limits: tuple[float, float] | None) -> dict[str, Spectrum]:
    if isinstance(spectra, Spectrum):
        named = {"": spectra}
    elif isinstance(spectra, Mapping):
        named = dict(spectra)
    else:
        named = {}
        for one in spectra:
            label = style.quantity_label(one.quantity)
            named[label if label not in named else f"{label} ({len(named) + 1})"] = one
    if not named:
        raise InputError("picture: no spectrum to draw")
    if limits is None:
        limits = (-np.inf, _HIGHEST)
    named = {name: one.between(*limits) for name, one in named.items()}
    for name, one in named.items():
        if len(one.wavenumber) < 2:
            raise InputError(f"picture: {name or one.quantity} has no bins in this range; choose a wider one")
    return named


def _span(named: Mapping[str, Spectrum]) -> tuple[float, float]:
    return (
        float(min(one.wavenumber[0] for one in named.values())),
        float(max(one.wavenumber[-1] for one in named.values())),
    )


def _decompositions(spectrum: Spectrum) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, values in spectrum.parts.items():
        decomposition, _, label = name.partition("/")
        found.setdefault(decomposition, {})[label or decomposition] = values
    return found


def _draw_lines(axes: Any, named: Mapping[str, Spectrum]) -> None:
    banded = False
    for number, (name, one) in enumerate(named.items()):
        colour = style.COLOURS[number % len(style.COLOURS)]
        dashes = "-" if number < len(style.COLOURS) else "--"
        if one.standard_error is not None:
            low, high = one.intensity - one.standard_error, one.intensity + one.standard_error
            label = "± 1 standard error" if len(named) == 1 else None
            axes.fill_between(one.wavenumber, low, high, color=colour, alpha=0.25, linewidth=0, label=label)
            banded = True
        label = name or ("total" if one.parts else "mean")
        axes.plot(one.wavenumber, one.intensity, dashes, color=colour, linewidth=1.2, label=label)
    first = next(iter(named.values()))
    quantity = style.quantity_label(first.quantity)
    if len({style.quantity_label(one.quantity) for one in named.values()}) > 1:
        families = {"raman": "Raman", "sfg": "χ$^{(2)}$", "permittivity": "ε", "dielectric": "ε", "irras": "−ΔR/R"}
        kinds = {one.quantity.split("_")[0] for one in named.values()}
        mixed = "ε, n, k" if kinds <= {"permittivity", "refractive", "extinction"} else "Intensity"
        quantity = families.get(first.quantity.split("_")[0], "Intensity") if len(kinds) == 1 else mixed
    axes.set_ylabel(f"{quantity} ({style.unit_label(first.unit)})", fontsize=11)
    style.tidy(axes)
    if min(float(one.intensity.min()) for one in named.values()) < 0:
        axes.axhline(0.0, color=style.FAINT, linewidth=0.6)
    else:
        axes.set_ylim(bottom=0.0)
    if banded or any(named):
        axes.legend(fontsize=9, frameon=False, loc="best")


def _draw_parts(axes: Any, spectrum: Spectrum, decomposition: str, members: Mapping[str, Any]) -> None:
    """Stacked where all parts are positive within 2 %; lines where cross terms make some negative."""
    x = spectrum.wavenumber
    colours = [style.COLOURS[number % len(style.COLOURS)] for number in range(len(members))]
    floor = -0.02 * float(np.abs(spectrum.intensity).max())
    if all(float(values.min()) >= floor for values in members.values()):
        axes.stackplot(x, *members.values(), labels=list(members), colors=colours, alpha=0.75, linewidth=0)
        axes.set_ylim(bottom=0.0)
    else:
        for colour, (label, values) in zip(colours, members.items(), strict=True):
            axes.plot(x, values, color=colour, linewidth=1.0, label=label)
        axes.axhline(0.0, color=style.FAINT, linewidth=0.6)
    axes.plot(x, spectrum.intensity, color=style.INK, linewidth=0.7, label="total")
    axes.set_ylabel(f"By {decomposition}\n({style.unit_label(spectrum.unit)})", fontsize=11)
    style.tidy(axes)
    columns = 1 if len(members) < 6 else 2
    axes.legend(fontsize=9, frameon=False, loc="best", ncols=columns, reverse=columns == 1)


def _draw_sticks(axes: Any, panel: Panel) -> None:
    low, high = panel.limits or _span(_named(panel.spectra, None))
    bottom, top = axes.get_ylim()
    sticks = [(x, y) for x, y in panel.sticks if low <= x <= high]
    if sticks:
        tallest = max(y for _, y in sticks) or 1.0
        heads = [0.9 * top * y / tallest for _, y in sticks]
        colour = style.COLOURS[2]
        axes.vlines([x for x, _ in sticks], 0.0, heads, color=colour, linewidth=1.6, label="harmonic (scaled)")
    bands = [x for x in panel.bands if low <= x <= high]
    if bands:
        axes.vlines(bands, bottom, top, color=style.FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        heads = [top] * len(bands)
        axes.plot(bands, heads, "v", color=style.INK, markersize=6, clip_on=False, label="measured band")
    axes.set_ylim(bottom, top)


def _draw_verdict(axes: Any, named: Mapping[str, Spectrum]) -> None:
    verdicts = [one.verdict for one in named.values()]
    if any(verdict is not None and not verdict.converged for verdict in verdicts):
        text, colour = "not converged", style.ALARM
    elif any(verdict is None for verdict in verdicts):
        text, colour = "no error bars", style.FAINT
    else:
        return
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": colour, "linewidth": 1.0}
    options = {"ha": "right", "va": "bottom", "fontsize": 9, "color": colour, "bbox": box}
    axes.annotate(text, (1.0, 1.0), (0, 9), xycoords="axes fraction", textcoords="offset points", **options)


def _draw_footer(figure: Figure, pieces: Sequence[str], *, width: int) -> None:
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 3 + len(piece) <= width:
            lines[-1] += f" · {piece}"
        else:
            lines += textwrap.wrap(piece, width)
    text = "\n".join(lines)
    figure.supxlabel(text, fontsize=7.5, color=style.FAINT, x=0.01, ha="left", parse_math=False)


def _footer(spectrum: Spectrum) -> list[str]:
    """The conventions as short pieces of text."""
    made = spectrum.conventions
    pieces = [f"T = {made.temperature:.5g} K"] if made.temperature is not None else []
    replicas = f"{made.replicas} replica" + ("s" if made.replicas != 1 else "")
    pieces += [f"{made.window} window", f"correlation depth {made.correlation_time / 1e3:.4g} ps"]
    pieces += [f"{made.frames} frames × {replicas}, {made.timestep:.4g} fs apart"]
    if made.quantum_correction is not None:
        pieces.append(f"quantum correction: {made.quantum_correction}")
    if made.laser_wavelength is not None:
        pieces.append(f"laser {made.laser_wavelength:g} nm")
    if made.volume is not None:
        pieces.append(f"V = {made.volume:.5g} Å³")
    pieces.append(f"error from {made.blocks} blocks" if made.blocks else "no error bars")
    if spectrum.verdict is not None and not spectrum.verdict.converged:
        pieces.append(f"not converged: {spectrum.verdict.reason}")
    return [" ".join(piece.split()).replace("cm^-1", "cm⁻¹") for piece in (*pieces, *made.notes)]


def _short(text: str, length: int) -> str:
    return textwrap.shorten(" ".join(text.split()), length, placeholder=" …")
