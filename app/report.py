"""What a finished run leaves on disk: pictures, tables, JCAMP-DX and its provenance graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vibraloom.spectra.spectrum import Spectrum

INTERFACE_LIMITS = (50.0, 4200.0)
"""Range (cm⁻¹) of the overview of an interface: below it the response of a film diverges as 1/ω times its diffusion."""
_FEWEST_SIBLINGS = 3
"""From this many on, like data are drawn as one box."""
_STRETCH_MARGIN = 700.0
"""Room (cm⁻¹) on either side of the harmonic modes in the pictures of a molecule."""


def write_report(run: Any, folder: Path) -> list[Path]:
    """Write overview, one picture, one CSV and one JCAMP-DX file per spectrum, and the provenance graph.

    Args:
        run: a finished SpectraWorkChain node.
        folder: made if it is not there.

    Returns:
        The files.
    """
    from vibraloom.app.figures.spectrum_figure import draw_overview, draw_spectrum
    from vibraloom.files.jcamp import write_jcamp
    from vibraloom.files.tables import write_csv

    folder.mkdir(parents=True, exist_ok=True)
    bands = run.outputs.bands.get_dict()
    written = [folder / "overview.png", folder / "provenance.png"]
    draw_overview(panels(run, bands), written[0], title=title_of(run))
    write_provenance_picture(run, written[1])
    for label, node in sorted(run.outputs.spectra.items()):
        spectrum = node.to_spectrum()
        title = f"{run.label}: {label.replace('_', ' ')}"
        paths = [folder / f"{label}{suffix}" for suffix in (".png", ".csv", ".jdx")]
        draw_spectrum(spectrum, paths[0], title=title)
        write_csv(paths[1], spectrum)
        write_jcamp(paths[2], spectrum, title=title)
        written += paths
    return written


def title_of(run: Any) -> str:
    """Title of a run's pictures: its name, system and fidelity."""
    context = next(iter(run.outputs.spectra.values())).base.attributes.get("context")
    return f"{context['name']}: {context['system']['formula']}, fidelity {context['fidelity']}"


def panels(run: Any, bands: dict[str, Any]) -> list[Any]:
    """Panels of the overview: IR, Raman and VDOS beside each other, with harmonic sticks and measured bands."""
    from vibraloom.app.figures.spectrum_figure import Panel

    spectra = {label: node.to_spectrum() for label, node in run.outputs.spectra.items()}
    if bands["kind"] == "interface":
        measured = [row["experiment_bulk"] for row in bands["rows"] if row["experiment_bulk"]]
        chosen = {
            "ir_parallel": "Response in the plane",
            "ir_normal": "Response along the normal",
            "vdos": "Density of states",
        }
        return [
            Panel(spectra[label], title, bands=measured, limits=INTERFACE_LIMITS)
            for label, title in chosen.items()
            if label in spectra
        ]
    rows = bands["rows"]
    measured = [row["experiment"] for row in rows if row["experiment"]]
    limits = (max(0.0, rows[0]["model_harmonic"] - _STRETCH_MARGIN), rows[-1]["model_harmonic"] + _STRETCH_MARGIN)
    sticks = [(row["model_harmonic"], row["model_km_mol"]) for row in rows]
    found = []
    infrared = _pair(spectra, "ir", "ir_eckart")
    if infrared:
        found.append(Panel(infrared, "Infrared", sticks=sticks, bands=measured, limits=limits))
    raman = {name: spectra[f"raman_{name}"] for name in ("isotropic", "anisotropic") if f"raman_{name}" in spectra}
    if raman:
        found.append(Panel(raman, "Raman, Stokes", bands=measured, limits=limits))
    states = _pair(spectra, "vdos", "vdos_eckart")
    if states:
        found.append(Panel(states, "Density of states", bands=measured, limits=limits))
    return found


def _pair(spectra: dict[str, Spectrum], laboratory: str, eckart: str) -> dict[str, Spectrum]:
    named = {"laboratory frame": laboratory, "Eckart frame": eckart}
    return {name: spectra[label] for name, label in named.items() if label in spectra}


def write_provenance_picture(node: Any, path: Path) -> None:
    """Draw everything that ``node`` was made from."""
    from vibraloom.app.figures.provenance_figure import draw_provenance
    from vibraloom.database.graph import description

    draw_provenance(provenance_graph(node), path, title=f"{' '.join(description(node))}: made from")


def provenance_graph(node: Any) -> Any:
    """The graph behind ``node`` for drawing: folders of jobs are left out, like data of replicas are one box."""
    import networkx as nx
    from aiida import orm

    from vibraloom.database.graph import description, provenance
    from vibraloom.nodes.spectrum import SpectrumData

    graph = provenance(node)
    drawn = nx.DiGraph()
    for uuid, each in graph.nodes.items():
        if isinstance(each, orm.RemoteData):
            continue
        if isinstance(each, SpectrumData):
            kind = "result"
        elif isinstance(each, orm.AbstractCode):
            kind = "code"
        elif isinstance(each, orm.CalcJobNode):
            kind = "calculation"
        elif isinstance(each, orm.ProcessNode):
            kind = "calcfunction"
        else:
            kind = "data"
        drawn.add_node(uuid, label="\n".join(description(each)), kind=kind)
    drawn.add_edges_from((source, target) for source, target, _ in graph.edges if source in drawn and target in drawn)
    _merge_siblings(drawn)
    return drawn


def _merge_siblings(drawn: Any) -> None:
    """Draw data of one kind with the same makers and users, such as the trajectories of replicas, as one box."""
    families: dict[Any, list[str]] = {}
    for uuid, entry in drawn.nodes(data=True):
        if entry["kind"] == "data":
            kin = (entry["label"].split("\n")[0], frozenset(drawn.predecessors(uuid)), frozenset(drawn.successors(uuid)))
            families.setdefault(kin, []).append(uuid)
    for (what, _, _), members in families.items():
        if len(members) >= _FEWEST_SIBLINGS:
            drawn.nodes[members[0]]["label"] = f"{len(members)} × {what}"
            drawn.remove_nodes_from(members[1:])
