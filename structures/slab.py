"""Metal slabs: atomic planes normal to z, cut from the experimental bulk crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibraloom.structures.spec import SlabSpec

if TYPE_CHECKING:
    from ase import Atoms

BOTTOM = 1.0
"""Height (Å) of the lowest metal plane above the cell's floor: no atom lies on a cell face."""


def build_slab(spec: SlabSpec, vacuum: float = 15.0) -> Atoms:
    """Unrelaxed slab with its planes normal to z, periodic in x and y.

    The lowest plane is at z = :data:`BOTTOM`; the cell is ``vacuum`` (Å) higher than the slab.
    Arrays: ``molecule`` is -1 for all atoms, ``tags`` counts the planes from the top (1) down.
    Planes to be held in place carry an ``FixAtoms`` constraint.

    Args:
        spec: element, facet, layers and size.
        vacuum: (Å) empty height between the top plane and the next image of the bottom plane.
    """
    from ase import build
    from ase.constraints import FixAtoms

    crystal = spec.crystal
    maker = getattr(build, f"{crystal.lattice}{spec.facet}")
    size = (*spec.size, spec.layers)
    options = {"a": crystal.a, "vacuum": None, "orthogonal": spec.orthogonal}
    if crystal.c is not None:
        options["c"] = crystal.c
    if (crystal.lattice, spec.facet) in {("fcc", "100"), ("fcc", "110"), ("bcc", "100")}:
        options.pop("orthogonal")
    atoms = maker(spec.element, size, **options)
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
