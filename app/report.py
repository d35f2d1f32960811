"""What a finished run leaves on disk: pictures, tables, JCAMP-DX and its provenance graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vibraloom.spectra.spectrum import Spectrum

INTERFACE_LIMITS = (50.0, 4200.0)
"""Range (cm⁻¹) of the overview of an interface: below it the response of a film diverges as 1/ω times its diffusion."""
HIGHEST = 4500.0
"""Wavenumber (cm⁻¹) above which nothing vibrates."""
_FEWEST_SIBLINGS = 3
"""From this many on, like steps and data are drawn as one box."""
_MERGED = ("data", "calculation", "calcfunction")
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
    written = [folder / "provenance.png"]
    write_provenance_picture(run, written[0])
    if found := panels(run, bands):
        written.append(folder / "overview.png")
        draw_overview(found, written[-1], title=title_of(run))
    for label, node in sorted(run.outputs.spectra.items()):
        spectrum = node.to_spectrum()
        title = f"{run.label}: {label.replace('_', ' ')}"
        paths = {suffix: folder / f"{label}.{suffix}" for suffix in ("png", "csv", "jdx")}
        write_csv(paths["csv"], spectrum)
        write_jcamp(paths["jdx"], spectrum, title=title)
        if _is_a_curve(spectrum):
            draw_spectrum(spectrum, paths["png"], title=title)
        else:
            del paths["png"]
        written += paths.values()
    return written


def _is_a_curve(spectrum: Spectrum, limits: tuple[float, float] | None = None) -> bool:
    """Whether there is anything to draw; a run of a few fs has one bin where vibrations are."""
    return len(spectrum.between(*(limits or (0.0, HIGHEST))).wavenumber) > 1


def title_of(run: Any) -> str:
    """Title of a run's pictures: its name, system and fidelity."""
    context = next(iter(run.outputs.spectra.values())).base.attributes.get("context")
    return f"{context['name']}: {context['system']['formula']}, fidelity {context['fidelity']}"


def panels(run: Any, bands: dict[str, Any]) -> list[Any]:
    """Panels of the overview: IR, Raman and VDOS beside each other, with harmonic sticks and measured bands."""
    from vibraloom.app.figures.spectrum_figure import Panel

    spectra = {label: node.to_spectrum() for label, node in run.outputs.spectra.items()}
    if bands["kind"] in ("liquid", "found"):
        return _first_principles_panels(spectra, bands)
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


def _first_principles_panels(spectra: dict[str, Spectrum], bands: dict[str, Any]) -> list[Any]:
    """Panels of a bulk liquid, or of a molecule whose harmonic modes are not known; what is no curve is left out."""
    from vibraloom.app.figures.spectrum_figure import Panel

    liquid = bands["kind"] == "liquid"
    limits = INTERFACE_LIMITS if liquid else None
    measured = [row["experiment_bulk"] for row in bands["rows"] if row["experiment_bulk"]] if liquid else bands["experiment"]
    drawn = {label: one for label, one in spectra.items() if _is_a_curve(one, limits)}
    raman = {name: drawn[f"raman_{name}"] for name in ("isotropic", "anisotropic") if f"raman_{name}" in drawn}

    def one_or_both(label: str) -> Any:
        return drawn.get(label) if liquid else _pair(drawn, label, f"{label}_eckart")

    chosen = (("Infrared", one_or_both("ir")), ("Raman, Stokes", raman), ("Density of states", one_or_both("vdos")))
    return [Panel(content, title, bands=measured, limits=limits) for title, content in chosen if content]


def _pair(spectra: dict[str, Spectrum], laboratory: str, eckart: str) -> dict[str, Spectrum]:
    named = {"laboratory frame": laboratory, "Eckart frame": eckart}
    return {name: spectra[label] for name, label in named.items() if label in spectra}


def write_provenance_picture(node: Any, path: Path) -> None:
    """Draw everything that ``node`` was made from."""
    from vibraloom.app.figures.provenance_figure import draw_provenance
    from vibraloom.database.graph import description

    draw_provenance(provenance_graph(node), path, title=f"{' '.join(description(node))}: made from")


def provenance_graph(node: Any) -> Any:
    """The graph behind ``node`` for drawing: folders of jobs are left out, like strands are one."""
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
    """Draw what stands at the same place in like strands, such as those of replicas or of labelled frames, as one box."""
    import networkx as nx

    place: dict[str, Any] = {node: (entry["kind"], entry["label"].split("\n")[0]) for node, entry in drawn.nodes(data=True)}
    while True:  # places are told apart by what comes before and after, until no more are found
        finer = {
            node: (
                place[node],
                frozenset(place[other] for other in drawn.predecessors(node)),
                frozenset(place[other] for other in drawn.successors(node)),
            )
            for node in drawn
        }
        numbers = {found: number for number, found in enumerate(dict.fromkeys(finer.values()))}
        if len(numbers) == len(set(place.values())):
            break
        place = {node: numbers[found] for node, found in finer.items()}
    families: dict[Any, list[str]] = {}
    for node, entry in drawn.nodes(data=True):
        if entry["kind"] in _MERGED:
            families.setdefault(place[node], []).append(node)
    for members in families.values():
        if len(members) >= _FEWEST_SIBLINGS:
            what = drawn.nodes[members[0]]["label"].split("\n")[0]
            drawn.nodes[members[0]]["label"] = f"{len(members)} × {what}"
            for other in members[1:]:
                nx.contracted_nodes(drawn, members[0], other, self_loops=False, copy=False)
