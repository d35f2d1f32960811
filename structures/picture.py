"""Picture of a built structure: side view and view from above, for a quick look before computing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.durable import replacing
from vibraloom.structures.layers import CONTACT_DEPTH, film_layers

if TYPE_CHECKING:
    from ase import Atoms

SPHERE = 0.72
"""Drawn radius in units of the covalent radius: bonds stay visible, planes stay apart."""
STICK = 0.13
"""Radius (Å) of the sticks between bonded atoms."""
SHADES = 9
"""Discs per atom, from the rim to the highlight."""


def draw(atoms: Atoms, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Write a PNG of ``atoms``: a side view along y, and for an interface the contact layer from above.

    Args:
        atoms: as built, with the array ``molecule``; positions in Å.
        path: the file, whole or not at all.
        title: short title; by default the composition.

    Raises:
        ComputationError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    interface = atoms.info.get("kind") == "interface"
    figure = Figure(figsize=(9.0, 7.2) if interface else (8.0, 4.4), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 2, left=0.03, right=0.97, top=0.88, bottom=0.05, wspace=0.04, width_ratios=(1.0, 1.0))
    figure.suptitle(title or _title(atoms), fontsize=14, y=0.965)
    side, above = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    _draw_view(side, atoms, np.ones(len(atoms), dtype=bool), (0, 2, 1))
    if interface:
        _draw_side_marks(side, atoms)
        near = _contact_atoms(atoms)
        _draw_view(above, atoms, near, (0, 1, 2))
        above.set_title(f"from above: the slab's top planes, liquid within {CONTACT_DEPTH:g} Å", fontsize=10, color="0.25")
        side.set_title("from the side", fontsize=10, color="0.25")
    else:
        _draw_view(above, atoms, np.ones(len(atoms), dtype=bool), (1, 2, 0))
        side.set_title("x right, z up", fontsize=10, color="0.25")
        above.set_title("y right, z up", fontsize=10, color="0.25")
    for axes in (side, above):
        _draw_scale_bar(axes)
    _draw_legend(figure, atoms)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")


def _title(atoms: Atoms) -> str:
    member = atoms.arrays["molecule"]
    formula = atoms.info.get("formula") or atoms[member == 0].get_chemical_formula()
    digits = "".join(f"$_{letter}$" if letter.isdigit() else letter for letter in formula)
    if atoms.info.get("kind") != "interface":
        return digits
    count = int(member.max()) + 1
    slab = atoms[member < 0]
    planes = len(set(slab.get_tags()))
    facet = atoms.info.get("facet", "")
    name = slab.get_chemical_formula(mode="metal", empirical=True) + (f"({facet})" if facet else "")
    return f"{name}, {planes} planes, {len(slab)} atoms  +  {count} {digits}"


def _contact_atoms(atoms: Atoms) -> NDArray[np.bool_]:
    from vibraloom.structures.molecules import molecule_centres

    member = atoms.arrays["molecule"]
    heights = molecule_centres(atoms.positions, atoms.get_masses(), member)[:, 2]
    close = heights < atoms.info["metal_top"] + CONTACT_DEPTH
    return np.where(member < 0, atoms.get_tags() <= 3, close[member])


def _draw_view(axes: Any, atoms: Atoms, shown: NDArray[np.bool_], order: tuple[int, int, int]) -> None:
    """Draw the atoms seen along ``order[2]``, nearest last: from +z, +x or -y."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors
    from matplotlib.collections import EllipseCollection

    right, up, depth = order
    positions = atoms.positions
    towards = -positions[:, depth] if depth == 1 else positions[:, depth]
    chosen = np.flatnonzero(shown)
    chosen = chosen[np.argsort(towards[chosen], kind="stable")]
    span = max(float(np.ptp(towards[chosen])), 1.0)
    radii = covalent_radii[atoms.numbers] * SPHERE
    half_bonds = _half_bonds(atoms)
    offsets, sizes, faces, rims, lines = [], [], [], [], []
    for index in chosen:
        # what lies far back is paler
        haze = 0.38 * float(towards[chosen[-1]] - towards[index]) / span if len(chosen) > 8 else 0.0
        colour = np.array(jmol_colors[atoms.numbers[index]])
        place, radius = positions[index, [right, up]], float(radii[index])
        for end in half_bonds.get(int(index), ()):
            # a stick is a row of small discs behind its atom, so that depth order holds for it, too
            for part in np.linspace(0.0, 1.0, 24):
                offsets.append(place + part * (end[[right, up]] - place))
                sizes.append(2 * STICK)
                faces.append(np.clip(0.8 * colour + (1.0 - 0.8 * colour) * haze, 0.0, 1.0))
                rims.append(faces[-1])
                lines.append(0.0)
        for shade in range(SHADES):
            part = shade / (SHADES - 1)
            tone = colour * (0.72 + 0.28 * min(1.0, 1.6 * part))
            tone = tone + (1.0 - tone) * 0.75 * max(0.0, part - 0.45) ** 1.5
            offsets.append(place + radius * 0.30 * part * np.array([-1.0, 1.0]))
            sizes.append(2 * radius * (1.0 - 0.86 * part))
            faces.append(np.clip(tone + (1.0 - tone) * haze, 0.0, 1.0))
            rims.append(0.35 + 0.65 * haze * np.ones(3) if shade == 0 else faces[-1])
            lines.append(0.5 if shade == 0 else 0.0)
    axes.add_collection(
        EllipseCollection(
            sizes,
            sizes,
            np.zeros(len(sizes)),
            units="xy",
            offsets=np.array(offsets),
            offset_transform=axes.transData,
            facecolors=faces,
            edgecolors=rims,
            linewidths=lines,
            zorder=2,
        )
    )
    margin = 1.4
    corners = [positions[chosen][:, [right, up]]]
    if atoms.cell.rank == 3:
        outline = _cell_outline(atoms, right, up)
        axes.plot(*outline.T, color="0.55", linewidth=0.9, zorder=1)
        corners.append(outline)
    points = np.concatenate(corners)
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    axes.set(xlim=(low[0], high[0]), ylim=(low[1] - 1.2, high[1]), aspect="equal", anchor="C")
    axes.set_axis_off()


def _half_bonds(atoms: Atoms) -> dict[int, list[NDArray[np.float64]]]:
    """Middle of each bond (Å) of each atom, within molecules."""
    from ase.neighborlist import natural_cutoffs, neighbor_list

    member = atoms.arrays["molecule"]
    found: dict[int, list[NDArray[np.float64]]] = {}
    pairs = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=1.2))
    for one, two, image in zip(*pairs, strict=True):
        if member[one] >= 0 and member[one] == member[two] and not image.any():
            found.setdefault(int(one), []).append((atoms.positions[one] + atoms.positions[two]) / 2)
    return found


def _cell_outline(atoms: Atoms, right: int, up: int) -> NDArray[np.float64]:
    cell = atoms.cell.array
    # from the side, a slanted base spans both of its vectors
    one, two = (cell[0], cell[1]) if up == 1 else (np.maximum(cell[0], cell[0] + cell[1]), cell[2])
    corners = np.array([np.zeros(3), one, one + two, two, np.zeros(3)])
    return corners[:, [right, up]]


def _draw_side_marks(axes: Any, atoms: Atoms) -> None:
    edges, names = film_layers(atoms.info["metal_top"], atoms.info["film_high"])
    low, high = atoms.info["film_low"], atoms.info["film_high"]
    left, right = axes.get_xlim()
    axes.set_xlim(left, right + 5.6)
    for height in (low, *edges, high):
        axes.plot(
            [left + 0.6, right + 0.2],
            [height] * 2,
            color="#0072B2",
            linewidth=0.9,
            linestyle=(0, (5, 3)),
            zorder=3,
        )
    bounds = [low, *edges, high]
    for name, bottom, top in zip(names, bounds[:-1], bounds[1:], strict=True):
        axes.text(
            right + 0.5,
            (bottom + top) / 2,
            f"{name}\n{top - bottom:.1f} Å",
            fontsize=9.5,
            color="#0072B2",
            va="center",
        )
    ceiling = float(atoms.cell[2, 2])
    axes.text(
        (left + right) / 2,
        (high + ceiling) / 2 + 0.5,
        "vacuum",
        fontsize=9.5,
        color="0.45",
        ha="center",
        va="center",
    )


def _draw_scale_bar(axes: Any) -> None:
    left, right = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    length = next((size for size in (50, 20, 10, 5, 2, 1) if size <= 0.4 * (right - left)), 1)
    start, height = left + 1.4, bottom + 0.45
    axes.plot([start, start + length], [height] * 2, color="black", linewidth=2.5, solid_capstyle="butt", zorder=4)
    axes.text(start + length + 0.3, height, f"{length} Å", fontsize=9.5, va="center", zorder=4)


def _draw_legend(figure: Any, atoms: Atoms) -> None:
    from ase.data import atomic_numbers
    from ase.data.colors import jmol_colors
    from matplotlib.lines import Line2D

    symbols = list(dict.fromkeys(atoms.get_chemical_symbols()))
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=9, markeredgecolor="0.35", markeredgewidth=0.6,
               markerfacecolor=jmol_colors[atomic_numbers[symbol]])
        for symbol in symbols
    ]  # fmt: skip
    figure.legend(marks, symbols, loc="lower right", ncols=len(symbols), frameon=False, fontsize=10, handletextpad=0.2)
