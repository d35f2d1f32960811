"""Tables, panels and provenance of runs by CP2K: bands that were found, a bulk liquid, like strands as one box."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import networkx as nx
import numpy as np
import pytest

from vibraloom.app.presentation import bands_table, console
from vibraloom.app.report import _first_principles_panels, _merge_siblings
from vibraloom.spectra import infrared, vdos
from vibraloom.spectra.spectrum import Spectrum

FOUND = {
    "kind": "found",
    "formula": "H2O",
    "rows": [{"spectrum": "ir_eckart", "positions": [1592.4, 3688.0]}, {"spectrum": "vdos_eckart", "positions": []}],
    "experiment": [1595, 3657, 3756],
    "experiment_source": "a book",
}
LIQUID = {
    "kind": "liquid",
    "liquid": "H2O",
    "rows": [{"band": "bend", "experiment_bulk": 1641, "ir": 1650.2}, {"band": "stretch", "experiment_bulk": 3381, "ir": None}],
    "experiment_source": "a thesis",
}


def shown(bands: dict[str, Any]) -> str:
    stream = StringIO()
    console(stream).print(bands_table(bands, "run"))
    return stream.getvalue()


def test_bands_found_stand_above_the_measured_ones() -> None:
    lines = [" ".join(line.split()) for line in shown(FOUND).splitlines()]
    assert "run: bands of H2O found in each spectrum, cm⁻¹" in " ".join(lines)
    assert any("ir eckart │ 1592, 3688" in line for line in lines)
    assert any("vdos eckart │ –" in line for line in lines)
    assert any("experiment │ 1595, 3657, 3756" in line for line in lines)


def test_the_table_of_a_liquid_names_no_interface() -> None:
    text = shown(LIQUID)
    assert "bands of H2O, cm⁻¹" in text and "interface" not in text
    assert "1650" in text and "3381" in text


@pytest.fixture
def spectra() -> dict[str, Spectrum]:
    series = np.random.default_rng(1).normal(size=(4000, 3))
    ir = infrared(series, 0.5, temperature=300, volume=240.0)
    states = vdos(series[:, None], np.array([1.0]), 0.5, temperature=300)
    short = ir.between(0.0, 5.0)
    return {"ir": ir, "vdos": states, "vdos_eckart": replace(states, quantity="vdos_eckart"), "ir_eckart": short}


def test_panels_show_what_is_a_curve_beside_the_measured_bands(spectra: dict[str, Spectrum]) -> None:
    liquid = _first_principles_panels(spectra, LIQUID)
    assert [(panel.title, list(panel.bands)) for panel in liquid] == [
        ("Infrared", [1641, 3381]),
        ("Density of states", [1641, 3381]),
    ]
    assert liquid[0].limits == (50.0, 4200.0)
    molecule = _first_principles_panels(spectra, FOUND)
    assert [list(panel.spectra) for panel in molecule] == [["laboratory frame"], ["laboratory frame", "Eckart frame"]]
    assert _first_principles_panels({"ir": spectra["ir_eckart"]}, LIQUID) == []


def test_like_strands_are_drawn_as_one_and_others_are_not() -> None:
    graph = nx.DiGraph()

    def add(node: str, label: str, kind: str, *before: str) -> None:
        graph.add_node(node, label=f"{label}\n{node}", kind=kind)
        graph.add_edges_from((one, node) for one in before)

    add("trajectory", "TrajectoryFile", "data")
    add("code", "cp2k", "code")
    add("lonely", "Cp2k", "calculation", "code")
    for frame in range(5):
        add(f"frame{frame}", "H2O", "data", "trajectory")
        add(f"setting{frame}", "parameters", "data")
        add(f"job{frame}", "Cp2k", "calculation", f"frame{frame}", f"setting{frame}", "code")
        add(f"label{frame}", "ArrayData", "data", f"job{frame}")
    add("dataset", "dataset_of", "calcfunction", *(f"label{frame}" for frame in range(5)))
    _merge_siblings(graph)
    labels = {entry["label"].split("\n")[0] for _, entry in graph.nodes(data=True)}
    assert labels == {"TrajectoryFile", "cp2k", "Cp2k", "5 × H2O", "5 × parameters", "5 × Cp2k", "5 × ArrayData", "dataset_of"}
    assert nx.has_path(graph, "trajectory", "dataset")
    assert graph.number_of_nodes() == 8 and graph.number_of_edges() == 7
