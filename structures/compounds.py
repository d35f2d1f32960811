"""Compounds that a slab can be cut from: space group, basis, lattice constants, surface cells. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Compound:
    """A crystal of several elements at room temperature.

    Attributes:
        structure: name of the structure type.
        spacegroup: number in the International Tables.
        basis: element and fractional coordinates of each inequivalent atom.
        cell: (Å) a, b, c of the conventional cell, whose angles are right ones.
        source: where the lattice constants come from.
        facets: for each facet, the two vectors of the surface's unit cell as fractions of the conventional one.
        polar: for each facet that is refused, why.
    """

    structure: str
    spacegroup: int
    basis: tuple[tuple[str, Vector], ...]
    cell: Vector
    source: str
    facets: dict[str, tuple[Vector, Vector]]
    polar: dict[str, str]

    def conventional_cell(self) -> Atoms:
        """The bulk crystal, one conventional cell (Å)."""
        from ase.spacegroup import crystal

        symbols, places = zip(*self.basis, strict=True)
        return crystal(symbols, places, spacegroup=self.spacegroup, cellpar=[*self.cell, 90, 90, 90])


def _rock_salt(cation: str, anion: str, a: float, source: str) -> Compound:
    # P. W. Tasker, J. Phys. C 12, 4977 (1979): planes of (100) hold both ions (type 1), those of (111) one each (type 3)
    return Compound(
        structure="rock salt",
        spacegroup=225,
        basis=((cation, (0.0, 0.0, 0.0)), (anion, (0.5, 0.5, 0.5))),
        cell=(a, a, a),
        source=source,
        facets={"100": ((0.5, 0.5, 0.0), (-0.5, 0.5, 0.0))},
        polar={
            "111": f"planes of {cation} alone and of {anion} alone follow each other, so that the dipole of an unreconstructed "
            "slab grows with its thickness"
        },
    )


COMPOUNDS: dict[str, Compound] = {
    "MgO": _rock_salt("Mg", "O", 4.211, "R. M. Hazen, Am. Mineral. 61, 266 (1976); AMCSD 0000501"),
    "CaO": _rock_salt("Ca", "O", 4.8107, "M. C. Verbraeken et al. (2009), doi:10.1039/b820173k; COD 7200686"),
    "NaCl": _rock_salt("Na", "Cl", 5.6401, "D. Walker et al., Halite-sylvite thermoelasticity (2004), 298 K; COD 9003308"),
}
"""Compounds by formula, with measured lattice constants. All are insulators without unpaired electrons."""
