"""Layered drawing of a directed graph: column, order and height of each node (K. Sugiyama et al., 1981).

An edge that spans several columns passes through way points: it runs between the boxes, not behind them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

_SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """Where everything stands.

    Attributes:
        column: node → column, from 0 at the left.
        height: node → vertical position of its middle, in the unit of the node heights; up is positive.
        routes: edge → positions (column, height) of its way points between the two boxes.
    """

    column: dict[Hashable, int]
    height: dict[Hashable, float]
    routes: dict[tuple[Hashable, Hashable], list[tuple[int, float]]]


def layered_layout(graph: nx.DiGraph, heights: Mapping[Hashable, float], *, gap: float, way: float) -> Layout:
    """Place the nodes of ``graph`` in columns, few crossings, neighbours level with each other.

    Args:
        graph: any directed graph; edges that close a cycle do not count in the placing.
        heights: node → height of its box, any unit.
        gap: vertical room between boxes, same unit.
        way: height of a way point, same unit.
    """
    acyclic = _without_cycles(graph)
    column = _columns(acyclic)
    chained, routes = _with_way_points(acyclic, column)
    order = _ordered(chained, column)
    sizes = {node: heights.get(node, way) for node in chained}
    height = _levelled(chained, order, sizes, gap)
    positions = {edge: [(column[point], height[point]) for point in points] for edge, points in routes.items()}
    return Layout({node: column[node] for node in graph}, {node: height[node] for node in graph}, positions)


def folded_bands(widths: Sequence[float], spans: Sequence[tuple[int, int]], widest: float) -> list[range]:
    """Split the columns into rows about as wide as ``widest`` or less, alike in width, cutting few edges.

    Args:
        widths: width of each column.
        spans: first and last column of each edge.
        widest: width of a row, same unit as ``widths``.

    Returns:
        Columns of each row, from the top.
    """
    total = sum(widths)
    rows = max(1, -(-total // widest))
    bands: list[range] = []
    first, used = 0, 0.0
    while first < len(widths):
        left_over = rows - len(bands)
        if left_over <= 1:
            bands.append(range(first, len(widths)))
            break
        share = (total - used) / left_over
        choices = []
        for end in range(first + 1, len(widths)):
            width = sum(widths[first:end])
            cut = sum(start < end <= stop for start, stop in spans)
            choices.append((abs(width - share) / share * 10 + cut, end))
        end = min(choices)[1] if choices else len(widths)
        bands.append(range(first, end))
        used += sum(widths[first:end])
        first = end
    return bands


def _without_cycles(graph: nx.DiGraph) -> nx.DiGraph:
    acyclic = nx.DiGraph()
    acyclic.add_nodes_from(graph)
    acyclic.add_edges_from((a, b) for a, b in graph.edges if a != b)
    while not nx.is_directed_acyclic_graph(acyclic):
        acyclic.remove_edge(*nx.find_cycle(acyclic)[-1])
    return acyclic


def _columns(graph: nx.DiGraph) -> dict[Hashable, int]:
    """Longest path from a source; a node without predecessors stands just before its first use."""
    column = {node: number for number, layer in enumerate(nx.topological_generations(graph)) for node in layer}
    for node in graph:
        if graph.in_degree(node) == 0 and graph.out_degree(node) > 0:
            column[node] = min(column[other] for other in graph.successors(node)) - 1
    return column


def _with_way_points(
    graph: nx.DiGraph, column: dict[Hashable, int]
) -> tuple[nx.DiGraph, dict[tuple[Hashable, Hashable], list[Hashable]]]:
    """Each long edge as a chain of way points, which all edges from one node share."""
    chained = nx.DiGraph()
    chained.add_nodes_from(graph)
    routes: dict[tuple[Hashable, Hashable], list[Hashable]] = {}
    for start, end in graph.edges:
        points: list[Hashable] = [("way", start, number) for number in range(column[start] + 1, column[end])]
        for point, number in zip(points, range(column[start] + 1, column[end]), strict=True):
            column[point] = number
        nx.add_path(chained, [start, *points, end])
        routes[start, end] = points
    return chained, routes


def _ordered(graph: nx.DiGraph, column: Mapping[Hashable, int]) -> list[list[Hashable]]:
    """Order within each column by barycentre sweeps; the order with the fewest crossings is kept."""
    layers: list[list[Hashable]] = [[] for _ in range(max((column[node] for node in graph), default=-1) + 1)]
    for node in graph:
        layers[column[node]].append(node)
    best, fewest = [list(layer) for layer in layers], _crossings(graph, layers)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            rank = {node: place for other in layers for place, node in enumerate(other)}
            centre = {}
            for place, node in enumerate(layer):
                near = list(graph.predecessors(node) if forward else graph.successors(node))
                centre[node] = sum(rank[other] for other in near) / len(near) if near else float(place)
            layer.sort(key=centre.__getitem__)
        crossings = _crossings(graph, layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(graph: nx.DiGraph, layers: list[list[Hashable]]) -> int:
    rank = {node: place for layer in layers for place, node in enumerate(layer)}
    total = 0
    for layer in layers:
        ends = [(rank[node], rank[other]) for node in layer for other in graph.successors(node)]
        starts, stops = np.array(ends, dtype=np.int64).reshape(-1, 2).T
        total += int(np.count_nonzero((starts[:, None] < starts) & (stops[:, None] > stops)))
    return total


def _levelled(
    graph: nx.DiGraph, layers: list[list[Hashable]], sizes: Mapping[Hashable, float], gap: float
) -> dict[Hashable, float]:
    """Heights that bring neighbours level, at least ``gap`` apart (least squares, order kept)."""
    height: dict[Hashable, float] = {}
    offsets: list[Any] = []
    for layer in layers:
        room = np.array([sizes[node] + gap for node in layer])
        offset = np.cumsum(room) - room / 2
        offsets.append(offset)
        height.update(zip(layer, offset - room.sum() / 2, strict=True))
    for sweep in range(_SWEEPS):
        turn = list(zip(layers, offsets, strict=True))
        for layer, offset in turn if sweep % 2 == 0 else reversed(turn):
            wanted = [_mean_height(graph, node, height) for node in layer]
            placed = isotonic_regression(np.array(wanted) - offset).x + offset
            height.update(zip(layer, placed.tolist(), strict=True))
    return {node: -value for node, value in height.items()}


def _mean_height(graph: nx.DiGraph, node: Hashable, height: Mapping[Hashable, float]) -> float:
    near = [*graph.predecessors(node), *graph.successors(node)]
    return float(np.mean([height[other] for other in near])) if near else height[node]
