"""Pictures: what a reader must find on them, and that they are whole PNG files."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from vibraloom.app.figures import style
from vibraloom.app.figures.layered import folded_bands, layered_layout
from vibraloom.app.figures.provenance_figure import draw_provenance, provenance_figure
from vibraloom.app.figures.spectrum_figure import (
    Panel,
    draw_overview,
    draw_spectrum,
    overview_figure,
    spectrum_figure,
)
from vibraloom.errors import InputError
from vibraloom.spectra.spectrum import Conventions, Spectrum, Verdict


def _spectrum(quantity: str = "infrared", unit: str = "cm^-1", *, converged: bool | None = False) -> Spectrum:
    x = np.linspace(0, 33000, 3301)
    y = np.exp(-(((x - 3400) / 150) ** 2)) + 0.3 * np.exp(-(((x - 1650) / 50) ** 2))
    conventions = Conventions(
        estimator="autocorrelation",
        window="hann",
        correlation_time=1000.0,
        derivative="none",
        quantum_correction="harmonic",
        timestep=0.5,
        frames=20001,
        replicas=4,
        blocks=8,
        temperature=300.0,
        notes=("water-only response",),
    )
    verdict = None if converged is None else Verdict(converged, "relative error 0.11 in 0-500 cm^-1")
    error = None if converged is None else 0.05 * y
    parts = {"layer/contact": 0.4 * y, "layer/bulk": 0.6 * y, "species/O": 1.5 * y, "species/H": -0.5 * y}
    return Spectrum(quantity, x, y, unit, conventions, error, verdict, parts)


def _texts(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def _png(path: Path) -> tuple[int, int, float]:
    """Width, height and dots per inch from the header of a PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    at = data.index(b"pHYs")
    return width, height, struct.unpack(">I", data[at + 4 : at + 8])[0] * 0.0254


def test_the_picture_is_a_png_of_print_resolution(tmp_path: Path) -> None:
    path = tmp_path / "ir.png"
    draw_spectrum(replace(_spectrum(), parts={}), path)
    width, height, dpi = _png(path)
    assert (width, height) == (1440, 880)
    assert dpi == pytest.approx(200, abs=0.5)


@pytest.mark.parametrize(
    ("unit", "label"),
    [
        ("cm^-1", "cm$^{-1}$"),
        ("km/mol/cm^-1", "km mol$^{-1}$ (cm$^{-1}$)$^{-1}$"),
        ("1e-30 cm^2/sr/cm^-1", "10$^{-30}$ cm$^{2}$ sr$^{-1}$ (cm$^{-1}$)$^{-1}$"),
        ("angstrom^4/amu/cm^-1", "Å$^{4}$ amu$^{-1}$ (cm$^{-1}$)$^{-1}$"),
        ("e*angstrom", "e · Å"),
        ("1/cm", "cm$^{-1}$"),
        ("cm", "states per cm$^{-1}$"),
    ],
)
def test_axis_labels_carry_the_unit_of_the_numbers(unit: str, label: str) -> None:
    assert style.unit_label(unit) == label
    axes = spectrum_figure(_spectrum(unit=unit), parts=False).axes
    assert f"({label})" in axes[0].get_ylabel()
    assert "cm$^{-1}$" in axes[0].get_xlabel()


def test_the_conventions_stand_under_the_picture() -> None:
    text = " ".join(_texts(spectrum_figure(_spectrum())).split())
    for piece in (
        "T = 300 K",
        "hann window",
        "correlation depth 1 ps",
        "20001 frames × 4 replicas",
        "0.5 fs apart",
    ):
        assert piece in text
    assert "quantum correction: harmonic" in text
    assert "water-only response" in text


def test_a_spectrum_that_is_not_converged_says_so() -> None:
    assert "not converged\n" in _texts(spectrum_figure(_spectrum(converged=False), parts=False)) + "\n"
    assert "relative error 0.11 in 0-500 cm⁻¹" in _texts(spectrum_figure(_spectrum(converged=False)))
    assert "not converged" not in _texts(spectrum_figure(_spectrum(converged=True)))
    assert "no error bars" in _texts(spectrum_figure(_spectrum(converged=None)))
    pair = {"vv": _spectrum(converged=True), "vh": _spectrum(converged=False)}
    assert "not converged" in _texts(spectrum_figure(pair))


def test_the_band_is_one_standard_error_wide() -> None:
    spectrum = _spectrum()
    axes = spectrum_figure(spectrum, parts=False).axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    near = band[np.abs(band[:, 0] - 3400) < 1e-6]
    at = int(np.argmin(np.abs(spectrum.wavenumber - 3400)))
    assert spectrum.standard_error is not None
    low, high = near[:, 1].min(), near[:, 1].max()
    assert high - low == pytest.approx(2 * spectrum.standard_error[at])


def test_the_axis_ends_where_vibrations_end_unless_a_range_is_given() -> None:
    assert spectrum_figure(_spectrum()).axes[0].get_xlim()[1] <= 4500
    assert spectrum_figure(_spectrum(), limits=(1000, 2000)).axes[0].get_xlim() == (1000, 2000)
    with pytest.raises(InputError, match="no bins in this range"):
        spectrum_figure(_spectrum(), limits=(40000, 50000))


def test_parts_are_stacked_if_positive_and_lines_if_not() -> None:
    figure = spectrum_figure(_spectrum())
    assert len(figure.axes) == 3
    layer, species = figure.axes[1], figure.axes[2]
    assert "layer" in layer.get_ylabel()
    assert len(layer.collections) == 2  # two filled areas
    assert not species.collections
    assert [text.get_text() for text in species.get_legend().get_texts()][::-1] == ["O", "H", "total"]


def test_spectra_of_different_units_do_not_share_an_axis() -> None:
    figure = spectrum_figure([_spectrum(), _spectrum("vdos", "cm")])
    assert [axes.get_ylabel().split(" (")[0] for axes in figure.axes] == ["n(ν) α(ν)", "Density of states"]
    with pytest.raises(InputError, match="units differ"):
        overview_figure([Panel([_spectrum(), _spectrum("vdos", "cm")], "Both")])


@pytest.mark.parametrize("title", ["$\\frac{", "a\nb", "%$#_^{}\\", "x" * 300])
def test_no_title_breaks_the_picture(tmp_path: Path, title: str) -> None:
    draw_spectrum(_spectrum(), tmp_path / "ir.png", title=title)
    assert _png(tmp_path / "ir.png")[0] == 1440


def test_no_label_lies_over_another() -> None:
    panels = [Panel(_spectrum(), "Infrared"), Panel(_spectrum("vdos", "cm"), "VDOS")]
    for figure in (spectrum_figure(_spectrum(), title="Gold-water"), overview_figure(panels, title="Run")):
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        boxes = []
        for axes in figure.axes:
            boxes += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        boxes += [figure._supxlabel] + ([figure._suptitle] if figure._suptitle else [])
        extents = [text.get_window_extent(renderer) for text in boxes if text.get_text()]
        for number, one in enumerate(extents):
            assert not [other for other in extents[number + 1 :] if one.overlaps(other)]
            assert one.x0 >= 0 and one.x1 <= figure.bbox.width


def test_an_overview_has_a_panel_each_with_sticks_and_measured_bands(tmp_path: Path) -> None:
    panels = [
        Panel(
            _spectrum("infrared_molar", "km/mol/cm^-1"),
            "Infrared",
            sticks=((1600, 64), (3756, 43)),
            bands=(1595,),
        ),
        Panel({"vv": _spectrum("raman_vv"), "vh": _spectrum("raman_vh")}, "Raman", bands=(9000,)),
        Panel(_spectrum("vdos", "cm"), "VDOS", limits=(0, 2000)),
    ]
    figure = overview_figure(panels, title="water")
    first, second, third = figure.axes
    legends = [{text.get_text() for text in axes.get_legend().get_texts()} for axes in (first, second)]
    assert {"harmonic (scaled)", "measured band"} <= legends[0]
    assert legends[1] == {"vv", "vh"}  # the band outside the axis is not announced
    assert third.get_xlim() == (0, 2000)
    assert "km mol" in first.get_ylabel()
    draw_overview(panels, tmp_path / "overview.png")
    assert _png(tmp_path / "overview.png")[0] > 2000
    with pytest.raises(InputError, match="no panel"):
        overview_figure([])


def _provenance() -> nx.DiGraph:
    graph = nx.DiGraph()
    nx.add_path(graph, ["spec", "build", "structure", "sampling", "frames", "labels", "set"])
    for target in ("energy", "dipole", "polarizability"):
        nx.add_path(graph, ["set", f"train {target}", f"model {target}", "response" if target != "energy" else "md"])
    nx.add_path(graph, ["structure", "md"])
    for number in range(4):
        nx.add_path(graph, ["md", f"trajectory {number}", "response"])
    nx.add_path(graph, ["response", "series", "spectra"])
    for number in range(8):
        nx.add_path(graph, ["spectra", f"spectrum {number}", "deposit"])
    nx.add_path(graph, ["lammps@cluster", "md"])
    graph.add_edge("spec", "spectra")
    kinds = {"code": ["lammps@cluster"], "calculation": ["sampling", "labels", "md", "response", "spectra"]}
    for kind, nodes in kinds.items():
        for node in nodes:
            graph.nodes[node]["kind"] = kind
    return graph


def test_every_arrow_of_the_provenance_points_to_the_right() -> None:
    graph = _provenance()
    layout = layered_layout(graph, dict.fromkeys(graph, 0.4), gap=0.1, way=0.05)
    assert all(layout.column[start] < layout.column[end] for start, end in graph.edges)
    assert layout.column["lammps@cluster"] == layout.column["md"] - 1


def test_boxes_of_the_provenance_do_not_overlap() -> None:
    graph = _provenance()
    layout = layered_layout(graph, dict.fromkeys(graph, 0.4), gap=0.1, way=0.05)
    for column in set(layout.column.values()):
        heights = sorted(layout.height[node] for node in graph if layout.column[node] == column)
        assert np.all(np.diff(heights) >= 0.5 - 1e-9)


def test_a_tree_is_drawn_without_crossings() -> None:
    tree = nx.balanced_tree(3, 3, create_using=nx.DiGraph)
    layout = layered_layout(tree, dict.fromkeys(tree, 0.4), gap=0.1, way=0.05)
    for start, end in tree.edges:
        for other, last in tree.edges:
            if layout.column[start] == layout.column[other]:
                side = layout.height[start] - layout.height[other]
                assert side == 0 or side * (layout.height[end] - layout.height[last]) > 0


def test_a_cycle_does_not_hang_the_layout(tmp_path: Path) -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a"), ("c", "c")])
    draw_provenance(graph, tmp_path / "cycle.png")
    assert _png(tmp_path / "cycle.png")[0] > 100


def test_the_provenance_picture_names_each_node_and_kind(tmp_path: Path) -> None:
    graph = _provenance()
    graph.nodes["md"]["label"] = "dynamics\nNVE, 300 K\n4 replicas\nnot shown"
    text = _texts(provenance_figure(graph, title="Provenance of $water"))
    assert "dynamics\nNVE, 300 K\n4 replicas" in text
    assert "not shown" not in text
    assert all(node in text for node in graph if node != "md")
    assert {"engine job", "data", "code"} <= set(text.split("\n"))
    assert "workflow" not in text.split("\n")  # a kind that does not occur is not in the legend
    draw_provenance(graph, tmp_path / "p.png")
    assert _png(tmp_path / "p.png")[0] > 1500


def test_an_unknown_kind_or_an_empty_graph_is_refused() -> None:
    graph = nx.DiGraph()
    with pytest.raises(InputError, match="no node"):
        provenance_figure(graph)
    graph.add_node("x", kind="banana")
    with pytest.raises(InputError, match="banana"):
        provenance_figure(graph)


def test_a_long_chain_goes_on_in_a_new_row_where_few_edges_are_cut(tmp_path: Path) -> None:
    graph = nx.path_graph(40, create_using=nx.DiGraph)
    draw_provenance(graph, tmp_path / "chain.png")
    draw_provenance(nx.path_graph(5, create_using=nx.DiGraph), tmp_path / "short.png")
    width, height, dpi = _png(tmp_path / "chain.png")
    assert width / dpi < 17
    assert height > _png(tmp_path / "short.png")[1] + 100
    spans = [(column, column + 1) for column in range(9)] + [(3, 6), (4, 6), (4, 7)]
    assert folded_bands([2.0] * 10, spans, 30.0) == [range(10)]
    first, second = folded_bands([2.0] * 10, spans, 10.0)
    assert list(first) + list(second) == list(range(10))
    busy = [(4, 5)] * 20
    assert folded_bands([2.0] * 10, busy, 10.0)[0] != range(5)
