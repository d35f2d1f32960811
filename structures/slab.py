"""Slabs of metals and compounds: atomic planes normal to z, cut from the experimental bulk crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibraloom.structures.spec import SlabSpec

if TYPE_CHECKING:
    from ase import Atoms

BOTTOM = 1.0
"""Height (Å) of the lowest plane above the cell's floor: no atom lies on a cell face."""


def build_slab(spec: SlabSpec, vacuum: float = 15.0) -> Atoms:
    """Unrelaxed slab with its planes normal to z, periodic in x and y.

    The lowest plane is at z = :data:`BOTTOM`; the cell is ``vacuum`` (Å) higher than the slab.
    Arrays: ``molecule`` is -1 for all atoms, ``tags`` counts the planes from the top (1) down.
    Planes to be held in place carry an ``FixAtoms`` constraint.

    Args:
        spec: element or material, facet, layers and size.
        vacuum: (Å) empty height between the top plane and the next image of the bottom plane.
    """
    from ase.constraints import FixAtoms

    atoms = _metal(spec) if spec.is_metal else _compound(spec)
    atoms.set_initial_magnetic_moments(None)
    atoms.info = {}
    for name in [name for name in atoms.arrays if name not in ("numbers", "positions", "tags")]:
        del atoms.arrays[name]
    heights = atoms.positions[:, 2]
    heights += BOTTOM - heights.min()
    atoms.cell[2] = [0.0, 0.0, heights.max() - BOTTOM + vacuum]
    atoms.pbc = (True, True, False)
    atoms.set_array("molecule", [-1] * len(atoms), int, ())
    fixed_layers = spec.layers if spec.fixed_layers is None else spec.fixed_layers
    fixed = [index for index, tag in enumerate(atoms.get_tags()) if tag > spec.layers - fixed_layers]
    if fixed:
        atoms.set_constraint(FixAtoms(indices=fixed))
    return atoms


def _metal(spec: SlabSpec) -> Atoms:
    from ase import build

    crystal = spec.crystal
    maker = getattr(build, f"{crystal.lattice}{spec.facet}")
    size = (*spec.size, spec.layers)
    options = {"a": crystal.a, "vacuum": None, "orthogonal": spec.orthogonal}
    if crystal.c is not None:
        options["c"] = crystal.c
    if (crystal.lattice, spec.facet) in {("fcc", "100"), ("fcc", "110"), ("bcc", "100")}:
        options.pop("orthogonal")
    return maker(spec.element, size, **options)


def _compound(spec: SlabSpec) -> Atoms:
    """Planes of a compound from the bottom up, with the first vector of the surface's cell along x."""
    import numpy as np
    from ase.build import cut

    first, second = spec.compound.facets[spec.facet]
    atoms = cut(spec.compound.conventional_cell(), a=first, b=second, nlayers=spec.layers)
    atoms.set_cell(atoms.cell.cellpar(), scale_atoms=True)
    atoms = atoms.repeat((*spec.size, 1))
    atoms.wrap(pbc=(True, True, False), eps=1e-6)
    heights = np.round(atoms.positions[:, 2], 6)
    planes = np.unique(heights)
    atoms.set_tags(len(planes) - np.searchsorted(planes, heights))
    return atoms[np.argsort(heights, kind="stable")]
