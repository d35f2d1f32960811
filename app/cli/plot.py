"""``vibraloom plot ID``: a PNG of a spectrum, of a run, or of a provenance graph."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("plot")
@click.argument("identifier", metavar="ID")
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="PNG to write; default: ./ID.png")
@click.option("--range", "limits", nargs=2, type=float, metavar="LOW HIGH", help="Wavenumber range in cm⁻¹.")
@click.option("--provenance", is_flag=True, help="Draw what it was made from instead.")
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
def command(
    identifier: str, output: Path | None, limits: tuple[float, float] | None, provenance: bool, profile: str | None
) -> None:
    """Draw a spectrum with its error band and parts, or a finished run as one overview."""
    from vibraloom.errors import InputError
    from vibraloom.workflows.profile import load_project_profile

    path = output or Path(f"{identifier}.png")
    if path.suffix.lower() != ".png":
        raise InputError(f"-o {path}: allowed: a name that ends in .png")
    if limits and not limits[0] < limits[1]:
        raise InputError(f"--range {limits[0]:g} {limits[1]:g}: allowed: LOW below HIGH, in cm^-1")
    load_project_profile(profile)
    from vibraloom.app import report
    from vibraloom.app.figures.spectrum_figure import draw_overview, draw_spectrum
    from vibraloom.database.graph import find
    from vibraloom.nodes.spectrum import SpectrumData

    node = find(identifier)
    if provenance:
        report.write_provenance_picture(node, path)
    elif isinstance(node, SpectrumData):
        context = node.base.attributes.get("context")
        draw_spectrum(
            node.to_spectrum(), path, title=f"{context['name']}: {context['system']['formula']}", limits=limits or None
        )
    elif "bands" in getattr(node, "outputs", ()):
        draw_overview(report.panels(node, node.outputs.bands.get_dict()), path, title=report.title_of(node))
    else:
        raise InputError(f"ID {identifier}: neither a spectrum nor a finished run; vibraloom list shows the spectra")
    click.echo(str(path))
