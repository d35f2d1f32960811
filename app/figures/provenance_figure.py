"""Picture of a provenance graph: what was made from what, by which process and code, left to right."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibraloom.app.figures import style

from vibraloom.errors import InputError, MissingError

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.figure import Figure

# kind -> (legend, fill, edge, corner radius in inches, line style): shape and line tell apart without colour
KINDS: dict[str, tuple[str, str, str, float, str]] = {
    "workchain": ("workflow", "#FBE3C4", "#B06A00", 0.0, "-"),
    "calculation": ("engine job", "#D4E6F4", "#0072B2", 0.0, "-"),
    "calcfunction": ("function", "#EAF3FA", "#0072B2", 0.0, "--"),
    "data": ("data", "#F4F4F4", "#5A5A5A", 0.08, "-"),
    "code": ("code", "#FFFFFF", "#5A5A5A", 0.08, ":"),
    "result": ("result", "#CDEBE0", "#007A59", 0.08, "-"),
}
"""Kinds of nodes and how each is drawn."""

_FONT = 9.0
_LINE = 0.165
"""Inches per line of text."""
_PAD = 0.09
_GAP = 0.16
_CORRIDOR = 0.42
"""Inches between columns, where the arrows run."""


def draw_provenance(graph: nx.DiGraph, path: str | Path, *, title: str | None = None) -> None:
    """Draw a provenance graph as a PNG, whole or not at all.

    Args:
        graph: edges run from input to process and from process to output. Node attributes: ``label`` (one to
            three lines) and ``kind`` (a key of :data:`KINDS`; ``data`` if absent).
        path: the PNG.
        title: one short line.

    Raises:
        InputError: no node, or a kind that is not known.
        MissingError: matplotlib or networkx is not installed.
    """
    style.save(provenance_figure(graph, title=title), path)


def provenance_figure(graph: nx.DiGraph, *, title: str | None = None) -> Figure:
    """The figure of :func:`draw_provenance`, for notebooks."""
    labels = _labels(graph)
    try:
        from vibraloom.app.figures.layered import layered_layout
    except ModuleNotFoundError as error:
        raise MissingError(
            "networkx is needed for this picture; get it with: pip install 'vibraloom[plot]'"
        ) from error
    probe = style.new_figure(4, 4)
    widths = {node: _text_width(probe, label) + 2 * _PAD for node, label in labels.items()}
    heights = {node: _LINE * (label.count("\n") + 1) + 2 * _PAD for node, label in labels.items()}
    layout = layered_layout(graph, heights, gap=_GAP, way=0.04)

    columns = max(layout.column.values()) + 1
    wide = [max((widths[n] for n in graph if layout.column[n] == c), default=0.2) for c in range(columns)]
    left = [sum(wide[:c]) + _CORRIDOR * c for c in range(columns)]
    ways = [height for route in layout.routes.values() for _, height in route]
    top = max([layout.height[n] + heights[n] / 2 for n in graph] + ways)
    bottom = min([layout.height[n] - heights[n] / 2 for n in graph] + ways)
    kinds = [kind for kind in KINDS if any(_kind(graph, node) == kind for node in graph)]
    width = max(left[-1] + wide[-1] + 0.3, 0.4 + 1.25 * len(kinds))
    head, foot = (0.5 if title else 0.15), 0.5

    figure = style.new_figure(width, top - bottom + head + foot)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.15, width - 0.15)
    axes.set_ylim(bottom - foot, top + head)
    boxes = {
        node: (
            left[layout.column[node]] + wide[layout.column[node]] / 2,
            layout.height[node],
            widths[node],
            heights[node],
        )
        for node in graph
    }
    for start, end in graph.edges:
        route = [(left[c], left[c] + wide[c], y) for c, y in layout.routes.get((start, end), [])]
        _draw_arrow(axes, boxes[start], boxes[end], route, dashed=_kind(graph, start) == "code")
    for node, box in boxes.items():
        _draw_box(axes, box, labels[node], _kind(graph, node))
    for number, kind in enumerate(kinds):
        _draw_box(axes, (0.55 + 1.25 * number, bottom - 0.31, 1.1, 0.26), KINDS[kind][0], kind)
    if title:
        short = " ".join(title.split())
        axes.text(
            0, top + head - 0.1, short, fontsize=13, color=style.INK, ha="left", va="top", parse_math=False
        )
    return figure


def _kind(graph: nx.DiGraph, node: Hashable) -> str:
    return str(graph.nodes[node].get("kind", "data"))


def _labels(graph: nx.DiGraph) -> dict[Hashable, str]:
    if len(graph) == 0:
        raise InputError("provenance picture: the graph has no node")
    labels = {}
    for node, attributes in graph.nodes(data=True):
        if _kind(graph, node) not in KINDS:
            raise InputError(
                f"provenance: node {node} has kind {_kind(graph, node)!r}; allowed: {', '.join(KINDS)}"
            )
        lines = [line.strip() for line in str(attributes.get("label", node)).split("\n")][:3]
        labels[node] = "\n".join(line if len(line) <= 24 else line[:23] + "…" for line in lines)
    return labels


def _text_width(figure: Figure, label: str) -> float:
    """Width of a label in inches, measured by the renderer."""
    text = figure.text(0, 0, label, fontsize=_FONT, parse_math=False)
    extent = text.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    text.remove()
    return float(extent.width / figure.dpi)


def _draw_box(axes: Any, box: tuple[float, float, float, float], label: str, kind: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y, width, height = box
    _, fill, edge, radius, line = KINDS[kind]
    shape = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
    look: dict[str, Any] = {
        "facecolor": fill,
        "edgecolor": edge,
        "linestyle": line,
        "linewidth": 1.1,
        "zorder": 3,
    }
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=shape, **look))
    options = {"fontsize": _FONT, "color": style.INK, "ha": "center", "va": "center", "linespacing": 1.2}
    axes.text(x, y, label, zorder=4, parse_math=False, **options)


def _draw_arrow(
    axes: Any,
    start: tuple[float, float, float, float],
    end: tuple[float, float, float, float],
    route: list[tuple[float, float, float]],
    *,
    dashed: bool,
) -> None:
    """A smooth line from the right side of one box to the left side of another, level at every way point."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    here = (start[0] + start[2] / 2, start[1])
    points, codes = [here], [Curve.MOVETO]
    for enter, leave, y in [*route, (end[0] - end[2] / 2, 0.0, end[1])]:
        bend = (enter - here[0]) / 2
        points += [(here[0] + bend, here[1]), (enter - bend, y), (enter, y)]
        codes += [Curve.CURVE4] * 3
        here = (enter, y)
        if leave > enter:
            here = (leave, y)
            points.append(here)
            codes.append(Curve.LINETO)
    look: dict[str, Any] = {
        "color": "#8A8A8A",
        "linewidth": 0.9,
        "zorder": 2,
        "linestyle": ":" if dashed else "-",
    }
    axes.add_patch(FancyArrowPatch(path=Curve(points, codes), arrowstyle="-|>", mutation_scale=9, **look))
