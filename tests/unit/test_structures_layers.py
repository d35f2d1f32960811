"""Layers along z: weights that always sum to one."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.structures.layers import film_layers, layer_weights

NAMES = ["contact", "middle", "surface"]


def test_the_weights_sum_to_one_to_the_last_bit() -> None:
    z = np.random.default_rng(3).uniform(-5, 30, size=(200, 61))
    weights = layer_weights(z, [12.56, 22.65], NAMES)
    assert list(weights) == NAMES
    for values in weights.values():
        assert values.shape == z.shape
        assert values.min() >= 0 and values.max() <= 1
    assert np.all(sum(weights.values()) == 1.0)


def test_the_weights_sum_to_one_where_edges_nearly_touch() -> None:
    z = np.linspace(0, 5, 20001)
    weights = layer_weights(z, [2.0, 2.5], NAMES, width=0.5)
    assert np.all(sum(weights.values()) == 1.0)
    assert weights["middle"].max() == 1.0


def test_a_molecule_deep_in_a_layer_belongs_to_it_alone() -> None:
    weights = layer_weights([2.0, 9.0, 15.0], [4.5, 12.0], NAMES)
    assert np.array_equal(np.array(list(weights.values())), np.eye(3))


def test_the_weight_is_a_half_at_the_edge_and_passes_smoothly() -> None:
    z = np.linspace(4.2, 4.8, 601)
    upper = layer_weights(z, [4.5], ["low", "high"], width=0.5)["high"]
    assert upper[300] == pytest.approx(0.5, abs=1e-12)
    assert np.all(np.diff(upper) >= 0)
    # the steepest slope of the quintic step is 15/8 divided by the width
    assert np.diff(upper).max() / 1e-3 == pytest.approx(1.875 / 0.5, rel=1e-3)
    assert upper[49] == 0.0 and upper[551] == 1.0


def test_one_layer_takes_all() -> None:
    assert np.all(layer_weights([1.0, 50.0], [], ["contact"])["contact"] == 1.0)


@pytest.mark.parametrize(
    ("z", "edges", "names", "width"),
    [
        ([1.0], [2.0], ["one"], 0.5),
        ([1.0], [2.0], ["same", "same"], 0.5),
        ([1.0], [2.0, 2.4], ["a", "b", "c"], 0.5),
        ([1.0], [3.0, 2.0], ["a", "b", "c"], 0.5),
        ([1.0], [2.0], ["a", "b"], 0.0),
        ([1.0, np.nan], [2.0], ["a", "b"], 0.5),
    ],
)
def test_bad_layers_are_refused_in_one_line(z: list[float], edges: list[float], names: list[str], width: float) -> None:
    with pytest.raises(InputError) as caught:
        layer_weights(z, edges, names, width)
    assert "\n" not in str(caught.value)


def test_a_film_has_three_layers_and_a_thin_one_fewer() -> None:
    assert film_layers(8.0, 26.0) == ([12.5, 22.5], NAMES)
    assert film_layers(8.0, 15.0) == ([12.5], ["contact", "surface"])
    assert film_layers(8.0, 13.5) == ([], ["contact"])
