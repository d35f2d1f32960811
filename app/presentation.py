"""How runs and spectra look on a terminal."""

from __future__ import annotations

import json
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

SHORT = 8
"""Length of the UUID prefix that is shown as ID."""
WIDTH = 160
"""Columns of a table where the output is no terminal."""


def console(stream: TextIO) -> Console:
    """A console on ``stream``; wide enough for tables where it is no terminal."""
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=WIDTH)


def run_record(node: Any) -> dict[str, Any]:
    """What a finished run gave: ids, bands, spectra; plain JSON types."""
    record = node.outputs.record.get_dict()
    verdicts = {entry["label"]: entry for entry in record["entries"]}
    return {
        "run": node.uuid,
        "name": node.label,
        "collection": record["collection"],
        "spectra": [
            {"label": label, "id": spectrum.uuid, **verdicts[label]}
            for label, spectrum in sorted(node.outputs.spectra.items())
        ],
        "bands": node.outputs.bands.get_dict(),
    }


def run_summary(node: Any, *, as_json: bool, stream: TextIO) -> None:
    """Print the table of bands and the deposited spectra of a run."""
    record = run_record(node)
    if as_json:
        stream.write(json.dumps(record, indent=1) + "\n")
        return
    screen = console(stream)
    screen.print(bands_table(record["bands"], record["name"]))
    for line in band_notes(record["bands"]):
        screen.print(line, highlight=False)
    table = Table(title=f"deposited in collection {record['collection']} (run {record['run'][:SHORT]})")
    for heading in ("ID", "spectrum", "verdict", "fidelity"):
        table.add_column(heading, no_wrap=True)
    for entry in record["spectra"]:
        table.add_row(
            entry["id"][:SHORT],
            entry["label"],
            "converged" if entry["converged"] else "not converged",
            entry["fidelity"],
        )
    screen.print(table)


def _cell(value: Any, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def bands_table(bands: dict[str, Any], name: str) -> Table:
    """The table of bands of a run, wavenumbers in cm⁻¹."""
    if bands["kind"] == "molecule":
        table = Table(title=f"{name}: bands of {bands['formula']}, cm⁻¹ (MD positions from the Eckart frame)")
        headings = {
            "mode": "mode",
            "infrared": "MD IR",
            "raman_isotropic": "MD Raman iso",
            "raman_anisotropic": "MD Raman aniso",
            "vdos": "MD VDOS",
            "model_harmonic": "model harmonic",
            "dft_harmonic": "DFT harmonic",
            "experiment": "experiment",
        }
        for heading in headings.values():
            table.add_column(heading, justify="right")
        for row in bands["rows"]:
            table.add_row(*(_cell(row[key]) for key in headings))
        return table
    if bands["kind"] == "found":
        table = Table(title=f"{name}: bands of {bands['formula']} found in each spectrum, cm⁻¹")
        table.add_column("spectrum", no_wrap=True)
        table.add_column("positions")
        for row in [*bands["rows"], {"spectrum": "experiment", "positions": bands["experiment"]}]:
            table.add_row(row["spectrum"].replace("_", " "), ", ".join(map(_cell, row["positions"])) or _cell(None))
        return table
    place = " at the interface" if bands["kind"] == "interface" else ""
    table = Table(title=f"{name}: bands of {bands['liquid']}{place}, cm⁻¹")
    table.add_column("spectrum", no_wrap=True)
    for row in bands["rows"]:
        table.add_column(row["band"], justify="right")
    keys = [key for key in bands["rows"][0] if key not in ("band", "experiment_bulk")]
    for key in [*keys, "experiment_bulk"]:
        shown = "experiment, bulk" if key == "experiment_bulk" else key.replace("_", " ")
        table.add_row(shown, *(_cell(row.get(key)) for row in bands["rows"]))
    return table


def band_notes(bands: dict[str, Any]) -> list[str]:
    """Lines under the table: intensities with errors, source of the experiment."""
    lines = []
    for area in bands.get("areas", []):
        modes = "+".join(str(mode) for mode in area["modes"])
        error = "" if area["km_mol_error"] is None else f" ± {area['km_mol_error']:.1f}"
        place = f"laboratory frame, {area['low']:.0f}–{area['high']:.0f} cm⁻¹"
        harmonic = f"harmonic: model {area['model_km_mol']:.1f}, DFT {area['dft_km_mol']:.1f}"
        lines.append(f"  IR intensity of mode {modes}, {place}: {area['km_mol']:.1f}{error} km/mol ({harmonic})")
    if bands.get("experiment_source"):
        lines.append(f"  experiment: {bands['experiment_source']}")
    return lines
