"""What all pictures share: colours that colour-blind people tell apart, unit labels, how a PNG is saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibraloom.durable import replacing
from vibraloom.errors import MissingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5A5A5A")
"""Palette of M. Okabe and K. Ito (2008), without its yellow, which is too pale for a line on white."""
INK = "#222222"
FAINT = "#666666"
ALARM = "#A03000"
DPI = 200
"""Resolution of every PNG."""

WAVENUMBER_LABEL = "Wavenumber (cm$^{-1}$)"
_QUANTITIES = {
    "infrared": "n(ν) α(ν)",
    "infrared_molar": "Molar absorption",
    "vdos": "Density of states",
    "slab_response_parallel": "Im α∥ / (ε₀A)",
    "slab_response_normal": "Im α⊥ / (ε₀A)",
    "permittivity_real": "Re ε",
    "permittivity_imaginary": "Im ε",
    "dielectric_real": "Re ε",
    "dielectric_imaginary": "Im ε",
    "refractive_index": "n",
    "extinction_coefficient": "k",
    "absorption": "α(ν)",
    "irras_p": "−ΔR/R, p",
    "irras_s": "−ΔR/R, s",
    "atr_p": "Absorbance (ATR), p",
    "atr_s": "Absorbance (ATR), s",
    "transmission_p": "Absorbance, p",
    "transmission_s": "Absorbance, s",
    "sfg_real": "Re χ$^{(2)}$",
    "sfg_imaginary": "Im χ$^{(2)}$",
    "sfg_squared": "|χ$^{(2)}$|²",
}
_UNITS = {"cm": "states per cm$^{-1}$"}


def unit_label(unit: str) -> str:
    """Unit text as a label: ``km/mol/cm^-1`` becomes km mol⁻¹ (cm⁻¹)⁻¹, set as mathtext."""
    if unit in _UNITS:
        return _UNITS[unit]
    first, *divisors = (piece.strip() for piece in unit.split("/"))
    pieces = [] if first == "1" and divisors else [_factor(first)]
    for divisor in divisors:
        power = re.fullmatch(r"([A-Za-z]+)(?:\^(\d+))?", divisor)
        if power:
            pieces.append(_factor(f"{power.group(1)}^-{power.group(2) or 1}"))
        else:
            pieces.append(f"({_factor(divisor)})$^{{-1}}$")
    return " ".join(pieces)


def quantity_label(quantity: str) -> str:
    """Name of a quantity for an axis; the frame it was taken in belongs to the legend."""
    quantity = quantity.removesuffix("_eckart")
    if quantity.startswith("raman_"):
        return f"Raman, {quantity.removeprefix('raman_').replace('_', ' ')}"
    text = _QUANTITIES.get(quantity, quantity.replace("_", " "))
    return text[:1].upper() + text[1:] if quantity not in _QUANTITIES else text


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` by ``height`` inches, drawn without a screen.

    Raises:
        MissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingError("matplotlib is needed for pictures; get it with: pip install 'vibraloom[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Software": "vibraloom"})


def tidy(axes: Any) -> None:
    """Fonts, ticks and frame of one panel."""
    axes.tick_params(labelsize=9, colors=INK, direction="out")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(x=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize(9)


def _factor(text: str) -> str:
    text = text.replace("angstrom", "Å").replace("*", " · ")
    text = re.sub(r"\b1e([+-]?\d+)\b", lambda match: f"10$^{{{int(match.group(1))}}}$", text)
    return re.sub(r"\^([+-]?\d+)", r"$^{\1}$", text)
