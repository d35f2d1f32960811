"""The table of bands: what the dynamics gave, beside the model's harmonic modes, the same-level DFT ones, and experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from aiida import orm
from aiida.engine import calcfunction

from vibraloom.nodes.spectrum import SpectrumData
from vibraloom.spectra.bands import Band, find_bands
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.workflows.word_rules import HIGHEST_BAND, highest_wavenumber

REACH = 120.0
"""A band belongs to a harmonic mode if it lies within this many cm⁻¹ of it."""
WATER_RANGES = {"libration": (300.0, 1000.0), "bend": (1250.0, 1850.0), "stretch": (3000.0, 4000.0)}
"""Where the bands of liquid water are looked for, cm⁻¹."""
_LOWEST_MODE = 200.0
_HIGHEST_MODE = 4500.0


def reference_bands() -> dict[str, Any]:
    """Measured band positions with their sources."""
    return yaml.safe_load(Path(__file__).with_name("reference_bands.yaml").read_text(encoding="utf-8"))


def _nearest(spectrum: Spectrum | None, wavenumber: float, modes: list[float]) -> float | None:
    """Position of the band within :data:`REACH` of ``wavenumber`` that no other mode is nearer to, or None."""
    if spectrum is None:
        return None
    bands = [
        band
        for band in _bands_of(spectrum, wavenumber - REACH, wavenumber + REACH)
        if min(modes, key=lambda mode: abs(mode - band.position)) == wavenumber
    ]
    return float(max(bands, key=lambda band: band.height).position) if bands else None


@calcfunction
def molecule_bands(formula: orm.Str, model_modes: orm.Dict, dft_modes: orm.Dict, **spectra: SpectrumData) -> orm.Dict:
    """Bands of a free molecule: positions from the Eckart frame, km/mol from the laboratory frame.

    Modes closer than twice :data:`REACH` share one range of the laboratory spectrum, since a free rotor's branches overlap.
    """
    found = _unfolded(spectra)
    model = model_modes.get_dict()
    dft = dft_modes.get_dict()
    measured = reference_bands()["molecules"]
    fundamentals = measured["fundamentals"].get(formula.value, [])
    harmonic = [value for value in model["wavenumbers"] if value > _LOWEST_MODE]
    dft_harmonic = [value for value in dft["wavenumbers"] if value > _LOWEST_MODE]
    intensities = model["infrared_intensities"][-len(harmonic) :]
    dft_intensities = dft["infrared_intensities"][-len(dft_harmonic) :]
    # from the highest mode down: a soft one may lie below the lowest wavenumber in one of the two alone
    missing = len(harmonic) - len(dft_harmonic)
    rows = []
    for number, wavenumber in enumerate(harmonic):
        same = number - missing
        there = 0 <= same < len(dft_harmonic)
        rows.append(
            {
                "mode": number + 1,
                "infrared": _nearest(found.get("ir_eckart"), wavenumber, harmonic),
                "raman_isotropic": _nearest(found.get("raman_isotropic"), wavenumber, harmonic),
                "raman_anisotropic": _nearest(found.get("raman_anisotropic_eckart"), wavenumber, harmonic),
                "vdos": _nearest(found.get("vdos_eckart"), wavenumber, harmonic),
                "model_harmonic": wavenumber,
                "model_km_mol": intensities[number],
                "dft_harmonic": dft_harmonic[same] if there else None,
                "dft_km_mol": dft_intensities[same] if there else None,
                "experiment": fundamentals[number] if number < len(fundamentals) else None,
            }
        )
    areas = [] if "ir" not in found else [_area(found["ir"], group, rows) for group in _grouped(harmonic)]
    return orm.Dict(
        {
            "kind": "molecule",
            "formula": formula.value,
            "rows": rows,
            "areas": areas,
            "experiment_source": measured["source"],
        }
    )


@calcfunction
def found_bands(formula: orm.Str, **spectra: SpectrumData) -> orm.Dict:
    """Bands of a free molecule whose harmonic modes are not known: what each spectrum shows, beside the measured fundamentals.

    Positions come from the Eckart frame, and from isotropic Raman scattering, in which rotation does not show.
    """
    found = _unfolded(spectra)
    fixed = [label for label in sorted(found) if label.endswith("_eckart") or label == "raman_isotropic"]
    rows = _positions({label: found[label] for label in fixed})
    measured = reference_bands()["molecules"]
    fundamentals = measured["fundamentals"].get(formula.value, [])
    return orm.Dict(
        {
            "kind": "found",
            "formula": formula.value,
            "rows": rows,
            "experiment": fundamentals,
            "experiment_source": measured["source"] if fundamentals else None,
        }
    )


def _grouped(harmonic: list[float]) -> list[list[int]]:
    groups: list[list[int]] = []
    for number, wavenumber in enumerate(harmonic):
        if groups and wavenumber - harmonic[groups[-1][-1]] < 2 * REACH:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _area(spectrum: Spectrum, group: list[int], rows: list[dict[str, Any]]) -> dict[str, Any]:
    margin = 2 * REACH
    low = rows[group[0]]["model_harmonic"] - margin
    high = rows[group[-1]]["model_harmonic"] + margin
    error = spectrum.between(low, high).standard_error
    spacing = float(spectrum.wavenumber[1] - spectrum.wavenumber[0])
    return {
        "modes": [rows[number]["mode"] for number in group],
        "low": low,
        "high": high,
        "km_mol": spectrum.area(low, high),
        # neighbouring bins move together, so their errors are added as they are: an upper bound
        "km_mol_error": None if error is None else float(error.sum() * spacing),
        "model_km_mol": sum(rows[number]["model_km_mol"] for number in group),
        "dft_km_mol": sum(rows[number]["dft_km_mol"] or 0.0 for number in group),
    }


@calcfunction
def interface_bands(liquid: orm.Str, **spectra: SpectrumData) -> orm.Dict:
    """Bands of the liquid at an interface, in all and by layer, from the VDOS and the slab response."""
    return orm.Dict(_bands_of_liquid("interface", liquid.value, spectra))


@calcfunction
def liquid_bands(liquid: orm.Str, **spectra: SpectrumData) -> orm.Dict:
    """Bands of a bulk liquid from each of its spectra."""
    return orm.Dict(_bands_of_liquid("liquid", liquid.value, spectra))


def _bands_of_liquid(kind: str, liquid: str, spectra: dict[str, SpectrumData]) -> dict[str, Any]:
    """Rows by band of water; of another liquid, whose bands have no names here, the positions found in each spectrum."""
    found: dict[str, Spectrum] = {}
    for label, spectrum in _unfolded(spectra).items():
        found[label] = spectrum
        for part, values in spectrum.parts.items():
            if part.startswith("layer/"):
                single = Spectrum(spectrum.quantity, spectrum.wavenumber, values, spectrum.unit, spectrum.conventions)
                found[f"{label} {part.removeprefix('layer/')}"] = single
    if liquid != "H2O":
        return {"kind": "found", "formula": liquid, "rows": _positions(found), "experiment": [], "experiment_source": None}
    measured = reference_bands()["liquids"][liquid]
    rows = []
    for band, (low, high) in WATER_RANGES.items():
        row: dict[str, Any] = {"band": band, "experiment_bulk": measured["bands"].get(band)}
        rows.append(row | {label: _strongest(spectrum, low, high) for label, spectrum in found.items()})
    return {"kind": kind, "liquid": liquid, "rows": rows, "experiment_source": measured["source"]}


def _unfolded(spectra: dict[str, SpectrumData]) -> dict[str, Spectrum]:
    """The spectra whose frames are close enough that no band is folded down from above their Nyquist limit."""
    found = {label: node.to_spectrum() for label, node in spectra.items()}
    return {label: one for label, one in found.items() if highest_wavenumber(one.conventions.timestep) >= HIGHEST_BAND}


def _positions(spectra: dict[str, Spectrum]) -> list[dict[str, Any]]:
    """Rows with the bands of each spectrum."""
    return [
        {"spectrum": label, "positions": [band.position for band in _bands_of(spectrum, _LOWEST_MODE, _HIGHEST_MODE)]}
        for label, spectrum in spectra.items()
    ]


def _strongest(spectrum: Spectrum, low: float, high: float) -> float | None:
    bands = _bands_of(spectrum, low, high)
    return float(max(bands, key=lambda band: band.height).position) if bands else None


def _bands_of(spectrum: Spectrum, low: float, high: float) -> list[Band]:
    """Bands in a window; none where a run is so short that the window holds fewer than three bins."""
    inside = (spectrum.wavenumber >= low) & (spectrum.wavenumber <= high)
    return find_bands(spectrum, low, high) if inside.sum() >= 3 else []
