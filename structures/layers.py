"""Layers of a film along z as a smooth partition of unity."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vibraloom.errors import InputError

CONTACT_DEPTH = 4.5
"""The contact layer reaches this far (Å) above the slab's top plane: past the first water peak near 3 Å."""
SURFACE_DEPTH = 3.5
"""The surface layer is the top of the film, this deep (Å): about one molecular layer."""
WIDTH = 0.5
"""Full width (Å) over which the weight passes from one layer to the next."""


def film_layers(metal_top: float, film_top: float) -> tuple[list[float], list[str]]:
    """Edges (Å) and names of the layers of a film, from the slab up.

    ``contact`` lies within 4.5 Å of the slab's top plane, ``surface`` is the top 3.5 Å of the film, ``middle``
    is what is between. A film too thin for a middle of 1 Å has no middle; one that ends within 2 Å of the
    contact layer's edge is all contact.

    Args:
        metal_top: (Å) height of the slab's top plane.
        film_top: (Å) height of the film's upper face.
    """
    contact, surface = metal_top + CONTACT_DEPTH, film_top - SURFACE_DEPTH
    if surface - contact >= 1.0:
        return [contact, surface], ["contact", "middle", "surface"]
    if film_top - contact >= 2.0:
        return [contact], ["contact", "surface"]
    return [], ["contact"]


def layer_weights(
    z: ArrayLike, edges: Sequence[float], names: Sequence[str], width: float = WIDTH
) -> dict[str, NDArray[Any]]:
    """Weight of each layer at each height: 1 inside, 0 outside, smooth at the edges; the sum is exactly 1.

    The step at an edge e is 6 t⁵ - 15 t⁴ + 10 t³ with t from 0 at e - width/2 to 1 at e + width/2 (two
    continuous derivatives); since steps do not overlap, at most two layers share a point, with weights s and
    1 - s.

    Args:
        z: (Å) Array with shape (…,), heights, such as those of molecules' centres of mass in each frame.
        edges: (Å) heights between neighbouring layers, increasing, N - 1 of them.
        names: N layer names, from low to high z.
        width: (Å) full width of a step, above 0.

    Returns:
        name → Array with the shape of z.

    Raises:
        InputError: names and edges do not match, edges closer than ``width``, or a height that is not finite.
    """
    heights = np.asarray(z, dtype=np.float64)
    if len(names) != len(edges) + 1 or len(set(names)) != len(names):
        given = ", ".join(names) or "none"
        raise InputError(f"layers: {len(edges)} edge(s) need {len(edges) + 1} different names, not {given}")
    if not width > 0:
        raise InputError(f"layers: width {width:g} Å; allowed: above 0")
    for low, high in itertools.pairwise(edges):
        if not high - low >= width:
            raise InputError(f"layers: edges {low:g}, {high:g} Å must increase by the width, {width:g} Å, or more")
    if not np.all(np.isfinite(heights)):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(heights))[0])
        raise InputError(f"layers: height {first} is not a finite number; check the trajectory's positions")
    steps = [_smooth_step((heights - edge) / width + 0.5) for edge in edges]
    weights: dict[str, NDArray[Any]] = {}
    for number, name in enumerate(names):
        below = steps[number - 1] if number > 0 else np.ones_like(heights)
        above = steps[number] if number < len(steps) else np.zeros_like(heights)
        # not below - above: where one step is 0 or 1 the product is exact, so the sum is exactly 1
        weights[name] = below * (1.0 - above)
    return weights


def _smooth_step(t: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip(t, 0.0, 1.0)
    return np.clip(t * t * t * (t * (t * 6.0 - 15.0) + 10.0), 0.0, 1.0)
