"""Picture of a provenance graph: what was made from what, by which process and code, left to right."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibraloom.app.figures import style
from vibraloom.errors import InputError, MissingError

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.figure import Figure

    from vibraloom.app.figures.layered import Layout

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
_LANE = 0.06
"""Inches between the lines that lead from one row to the next."""
_WIDEST = 15.0
"""Inches that a row may be wide before the graph goes on in a row below, like text."""


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
        from vibraloom.app.figures.layered import folded_bands, layered_layout
    except ModuleNotFoundError as error:
        raise MissingError("networkx is needed for this picture; get it with: pip install 'vibraloom[plot]'") from error
    probe = style.new_figure(4, 4)
    widths = {node: _text_width(probe, label) + 2 * _PAD for node, label in labels.items()}
    heights = {node: _LINE * (label.count("\n") + 1) + 2 * _PAD for node, label in labels.items()}
    layout = layered_layout(graph, heights, gap=_GAP, way=0.04)

    columns = max(layout.column.values()) + 1
    wide = [max((widths[n] for n in graph if layout.column[n] == c), default=0.0) for c in range(columns)]
    spans = {edge: (layout.column[edge[0]], layout.column[edge[1]]) for edge in layout.routes}
    bands = folded_bands([width + _CORRIDOR for width in wide], list(spans.values()), _WIDEST)
    chains = {
        (start, end): [
            (layout.column[start], layout.height[start]),
            *layout.routes.get((start, end), []),
            (layout.column[end], layout.height[end]),
        ]
        for start, end in graph.edges
    }
    place = _Places(layout, wide, bands, heights, chains.values())
    kinds = [kind for kind in KINDS if any(_kind(graph, node) == kind for node in graph)]
    width = max(place.width, 1.25 * len(kinds)) + 2 * place.margin
    head, foot = (0.5 if title else 0.15), 0.5

    figure = style.new_figure(width, place.depth + head + foot)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-place.margin, width - place.margin)
    axes.set_ylim(-place.depth - foot, head)
    boxes = {
        node: (*place.middle(layout.column[node], y), widths[node], heights[node]) for node, y in layout.height.items()
    }
    for (first, last), chain in chains.items():
        stops = []
        for column, height in chain:
            x, y = place.middle(column, height)
            stops.append((column, x - wide[column] / 2, x + wide[column] / 2, y))
        start, end = boxes[first], boxes[last]
        # Level inside its own column, so that the line to a narrow box does not pass behind a wide neighbour.
        stops[0] = (stops[0][0], start[0] + start[2] / 2, stops[0][2], start[1])
        stops[-1] = (stops[-1][0], stops[-1][1], end[0] - end[2] / 2, end[1])
        _draw_arrow(axes, stops, place, dashed=_kind(graph, first) == "code")
    for node, box in boxes.items():
        _draw_box(axes, box, labels[node], _kind(graph, node))
    for number, kind in enumerate(kinds):
        _draw_box(axes, (0.55 + 1.25 * number, -place.depth - 0.31, 1.1, 0.26), KINDS[kind][0], kind)
    if title:
        short = " ".join(title.split())
        axes.text(0, head - 0.1, short, fontsize=13, color=style.INK, ha="left", va="top", parse_math=False)
    return figure


class _Places:
    """Where columns and rows stand on the page, in inches from the top left; up is positive."""

    def __init__(
        self,
        layout: Layout,
        wide: Sequence[float],
        bands: Sequence[range],
        heights: Mapping[Hashable, float],
        chains: Iterable[Sequence[tuple[int, float]]],
    ) -> None:
        self.row = {column: number for number, band in enumerate(bands) for column in band}
        self._x: dict[int, float] = {}
        self.width = 0.0
        for band in bands:
            x = 0.0
            for column in band:
                self._x[column] = x + wide[column] / 2
                x += wide[column] + _CORRIDOR
            self.width = max(self.width, x - _CORRIDOR)
        extents: list[list[float]] = [[] for _ in bands]
        leaving: list[set[float]] = [set() for _ in bands]
        for node, height in layout.height.items():
            half = heights[node] / 2
            extents[self.row[layout.column[node]]] += [height - half, height + half]
        for chain in chains:
            for (column, height), (next_column, _) in itertools.pairwise(chain):
                extents[self.row[column]].append(height)
                if self.row[next_column] > self.row[column]:
                    leaving[self.row[column]].add(height)
        # The lowest line to leave a row takes the highest lane: so the lines nest and do not cross.
        self._lanes = [{height: lane for lane, height in enumerate(sorted(heights))} for heights in leaving]
        self.margin = 0.15 + _LANE * max(map(len, self._lanes))
        self._shift: list[float] = []
        self._floor: list[float] = []
        top = 0.0
        for extent, lanes in zip(extents, self._lanes, strict=True):
            self._shift.append(top - max(extent))
            self._floor.append(top - max(extent) + min(extent))
            top = self._floor[-1] - 0.45 - _LANE * len(lanes)
        self.depth = -self._floor[-1]

    def middle(self, column: int, height: float) -> tuple[float, float]:
        """Position on the page of the middle of a column at a height of the layout."""
        return self._x[column], height + self._shift[self.row[column]]

    def lane(self, column: int, height: float) -> tuple[float, float, float]:
        """Right edge, height and left edge of the lane that leads from a row to the next one.

        Args:
            column: last column of the row.
            height: page height at which the line leaves.
        """
        row = self.row[column]
        lanes = self._lanes[row]
        number = lanes[min(lanes, key=lambda own: abs(own + self._shift[row] - height))]
        right = self.width + 0.05 + _LANE * number
        left = -0.05 - _LANE * (len(lanes) - 1 - number)
        return right, self._floor[row] - 0.2 - _LANE * number, left


def _kind(graph: nx.DiGraph, node: Hashable) -> str:
    return str(graph.nodes[node].get("kind", "data"))


def _labels(graph: nx.DiGraph) -> dict[Hashable, str]:
    if len(graph) == 0:
        raise InputError("provenance picture: the graph has no node")
    labels = {}
    for node, attributes in graph.nodes(data=True):
        if _kind(graph, node) not in KINDS:
            raise InputError(f"provenance: node {node} has kind {_kind(graph, node)!r}; allowed: {', '.join(KINDS)}")
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


def _draw_arrow(axes: Any, stops: list[tuple[int, float, float, float]], place: _Places, *, dashed: bool) -> None:
    """A smooth line through ``stops`` (column, left, right, height), on to the next row at its end."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    column, x, end, y = stops[0]
    points, codes = [(x, y), (end, y)], [Curve.MOVETO, Curve.LINETO]

    def bend(to_x: float, to_y: float) -> None:
        half = (to_x - points[-1][0]) / 2
        points.extend([(points[-1][0] + half, points[-1][1]), (to_x - half, to_y), (to_x, to_y)])
        codes.extend([Curve.CURVE4] * 3)

    def line(*corners: tuple[float, float]) -> None:
        points.extend(corners)
        codes.extend([Curve.LINETO] * len(corners))

    for next_column, left, right, height in stops[1:]:
        if place.row[next_column] > place.row[column]:
            edge, low, start = place.lane(column, points[-1][1])
            line((edge, points[-1][1]), (edge, low), (start, low), (start, height), (left, height))
        else:
            bend(left, height)
        if right > left:
            line((right, height))
        column = next_column
    look: dict[str, Any] = {
        "color": "#8A8A8A",
        "linewidth": 0.9,
        "zorder": 2,
        "linestyle": ":" if dashed else "-",
    }
    look["joinstyle"] = "round"
    axes.add_patch(FancyArrowPatch(path=Curve(points, codes), arrowstyle="-|>", mutation_scale=9, **look))
