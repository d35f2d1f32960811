"""What was built, in numbers that can be checked: counts, cell, distances, densities, layers, sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.structures.crystals import LATTICE_SOURCE
from vibraloom.structures.distances import smallest_distances
from vibraloom.structures.layers import WIDTH, film_layers
from vibraloom.structures.liquid import HEAVY_RADIUS, PACKMOL_CITATION, TOLERANCE
from vibraloom.structures.molecule import GEOMETRY_SOURCE
from vibraloom.structures.picture import draw
from vibraloom.structures.spec import AnySystem, BulkLiquidSystem, InterfaceSystem, SlabSpec
from vibraloom.units import GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["draw", "report"]

SCHEMA = 1
"""Schema number of the report."""
BIN_HEIGHT = 2.0
"""Height (Å) of the bins of the density profile, about; the film holds a whole number of them."""
LIQUID_NOTE = "the liquid is packed at random: equilibrate"
"""What every liquid still needs."""
START_NOTE = "the slab is cut from the bulk and not relaxed, the film is packed at random: minimise, then equilibrate"
"""What every interface still needs."""
PACKING_RADIUS = {"H": TOLERANCE / 2, "other": HEAVY_RADIUS}
"""Radii (Å) that packmol gives to the atoms."""
NARROW = 9.8
"""Lateral width (Å) below which responses computed at the Gamma point are too small by more than a tenth."""


def report(atoms: Atoms, system: AnySystem, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Report on built atoms, plain JSON types; lengths in Å, densities in g/cm³, charge in e.

    Keys: ``schema kind content_hash formula counts cell pbc net_charge notes warnings sources``; a molecule
    adds ``bonds``; an interface adds ``smallest_distance``, ``slab`` (planes, lattice constants), ``liquid``
    (count, faces, thickness, density, profile), ``layers`` (edges, names and width for the analysis, with
    count and density at the start), ``area`` (Å²), ``vacuum`` and ``seed``; a liquid adds ``smallest_distance``,
    ``liquid`` (count, density, packing), ``width`` (Å), ``volume`` (Å³) and ``seed``.

    Args:
        atoms: as built, with the array ``molecule``.
        system: what was asked for.
        notes: remarks of the builder, one line each.
    """
    symbols = atoms.get_chemical_symbols()
    member = atoms.arrays["molecule"]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": system.kind,
        "content_hash": system.content_hash(),
        "formula": atoms.get_chemical_formula(mode="metal"),
        "counts": {
            "atoms": len(atoms),
            "molecules": int(member.max()) + 1,
            "species": {name: symbols.count(name) for name in sorted(set(symbols))},
        },
        "cell": atoms.cell.array.tolist() if atoms.cell.rank else None,
        "pbc": [bool(flag) for flag in atoms.pbc],
        "net_charge": 0,
        "notes": list(notes),
        "warnings": [],
        "sources": {"molecule": GEOMETRY_SOURCE},
    }
    if isinstance(system, InterfaceSystem):
        record |= _interface_entries(atoms, system)
        record["notes"].append(START_NOTE)
        record["warnings"] += _interface_warnings(atoms, system, record)
        lattice = LATTICE_SOURCE if system.slab.is_metal else system.slab.compound.source
        record["sources"] |= {"lattice": lattice, "packing": PACKMOL_CITATION}
    elif isinstance(system, BulkLiquidSystem):
        record |= _bulk_entries(atoms, system)
        record["notes"].append(LIQUID_NOTE)
        if record["width"] < NARROW:
            record["warnings"].append(_narrow(record["width"]))
        record["sources"]["packing"] = PACKMOL_CITATION
    else:
        record["bonds"] = _bonds(atoms)
    return record


def _narrow(width: float) -> str:
    return f"the cell is {width:.2f} Å wide: below {NARROW} Å, responses computed at the Gamma point are too small"


def _bulk_entries(atoms: Atoms, system: BulkLiquidSystem) -> dict[str, Any]:
    volume = float(atoms.get_volume())
    return {
        "smallest_distance": smallest_distances(atoms),
        "liquid": {
            "molecule": system.molecule,
            "count": system.count,
            "density": float(atoms.get_masses().sum()) / volume / GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3,
            "convention": "density = mass / volume of the cell",
            "packing_radius": PACKING_RADIUS,
        },
        "width": float(min(atoms.cell.lengths())),
        "volume": volume,
        "seed": system.seed,
    }


def _bonds(atoms: Atoms) -> dict[str, list[float]]:
    from ase.neighborlist import natural_cutoffs, neighbor_list

    symbols = atoms.get_chemical_symbols()
    found: dict[str, set[float]] = {}
    for one, two, distance in zip(*neighbor_list("ijd", atoms, natural_cutoffs(atoms, mult=1.2)), strict=True):
        found.setdefault("-".join(sorted((symbols[one], symbols[two]))), set()).add(round(float(distance), 4))
    return {pair: sorted(lengths) for pair, lengths in sorted(found.items())}


def _interface_entries(atoms: Atoms, system: InterfaceSystem) -> dict[str, Any]:
    member = atoms.arrays["molecule"]
    masses = atoms.get_masses()
    area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))
    metal_top, low, high = (float(atoms.info[name]) for name in ("metal_top", "film_low", "film_high"))
    count = int(member.max()) + 1
    liquid_mass = float(masses[member >= 0].sum())
    liquid = member >= 0
    # centres of mass; molecules are whole as built
    weighted = np.bincount(member[liquid], masses[liquid] * atoms.positions[liquid, 2])
    heights = weighted / np.bincount(member[liquid], masses[liquid])

    def density(mass: float, height: float) -> float:
        return mass / (area * height) / GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3

    bins = max(1, round((high - low) / BIN_HEIGHT))
    filled, faces = np.histogram(heights, bins=bins, range=(low, high))
    profile = [
        {
            "low": float(faces[i]),
            "high": float(faces[i + 1]),
            "molecules": int(filled[i]),
            "density": density(liquid_mass / count * int(filled[i]), float(faces[i + 1] - faces[i])),
        }
        for i in range(bins)
    ]
    edges, names = film_layers(metal_top, high)
    bounds = [low, *edges, high]
    inside = np.searchsorted(edges, heights)
    start = [
        {
            "name": name,
            "low": bounds[i],
            "high": bounds[i + 1],
            "molecules": int((inside == i).sum()),
            "density": density(liquid_mass / count * int((inside == i).sum()), bounds[i + 1] - bounds[i]),
        }
        for i, name in enumerate(names)
    ]
    planes = np.unique(np.round(atoms.positions[member < 0, 2], 6))
    fixed = sorted({int(i) for constraint in atoms.constraints for i in constraint.get_indices()})
    return {
        "smallest_distance": smallest_distances(atoms),
        "slab": {
            **_lattice(system.slab, planes),
            "layers": len(planes),
            "top": metal_top,
            "atoms": int((member < 0).sum()),
            "fixed_atoms": len(fixed),
        },
        "liquid": {
            "molecule": system.liquid.molecule,
            "count": count,
            "low": low,
            "high": high,
            "thickness": high - low,
            "density": density(liquid_mass, high - low),
            "convention": "all nuclei start between low and high; density = mass / (area * thickness)",
            "packing_radius": PACKING_RADIUS,
            "profile": profile,
        },
        "layers": {
            "edges": edges,
            "names": names,
            "width": WIDTH,
            "weight_by": "centre of mass",
            "start": start,
        },
        "area": area,
        "vacuum": system.vacuum,
        "seed": system.seed,
    }


def _lattice(slab: SlabSpec, planes: NDArray[np.float64]) -> dict[str, Any]:
    """Entries on the crystal; ``planes`` are the heights (Å) of the slab's planes, shape (planes,)."""
    if slab.is_metal:
        crystal = slab.crystal
        return {
            "element": slab.element,
            "facet": slab.facet,
            "lattice": crystal.lattice,
            "a": crystal.a,
            "c": crystal.c,
            "interlayer_spacing": crystal.interlayer_spacing(slab.facet),
        }
    a, b, c = slab.compound.cell
    return {
        "material": slab.material,
        "facet": slab.facet,
        "lattice": slab.compound.structure,
        "a": a,
        "b": b,
        "c": c,
        "interlayer_spacing": float(np.diff(planes).mean()) if len(planes) > 1 else None,
    }


def _interface_warnings(atoms: Atoms, system: InterfaceSystem, record: dict[str, Any]) -> list[str]:
    warnings = []
    lengths = atoms.cell.cellpar()
    width = float(min(lengths[:2]) * np.sin(np.radians(lengths[5])))
    if width < NARROW:
        warnings.append(_narrow(width))
    if system.vacuum < 10.0:
        warnings.append(f"vacuum of {system.vacuum:g} Å: a film this close to its image needs a slab correction")
    if "middle" not in record["layers"]["names"]:
        warnings.append("the film is too thin for a middle layer: it has no bulk-like part")
    return warnings
