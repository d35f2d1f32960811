"""Crystals of the metals that a slab can be cut from: lattice type, lattice constants, facets. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LATTICE_SOURCE = (
    "experimental, 298 K: H. W. King, Crystal Structures and Lattice Parameters of Allotropes of the "
    "Elements, CRC Handbook of Chemistry and Physics"
)
"""Where the lattice constants come from; kept in every report."""


@dataclass(frozen=True)
class Crystal:
    """Lattice type and constants (Å) of a metal at room temperature."""

    lattice: Literal["fcc", "bcc", "hcp"]
    a: float
    c: float | None = None

    def interlayer_spacing(self, facet: str) -> float:
        """Distance (Å) between neighbouring atomic planes of ``facet``.

        Source: d = a / sqrt(h² + k² + l²), halved where the Bravais centring puts a plane in between.
        """
        factors = {
            ("fcc", "111"): 3**-0.5,
            ("fcc", "100"): 0.5,
            ("fcc", "110"): 8**-0.5,
            ("bcc", "100"): 0.5,
            ("bcc", "110"): 2**-0.5,
            ("bcc", "111"): 12**-0.5,
        }
        if self.lattice == "hcp":
            assert self.c is not None
            return self.c / 2
        return self.a * factors[self.lattice, facet]


CRYSTALS: dict[str, Crystal] = {
    "Au": Crystal("fcc", 4.0782),
    "Ag": Crystal("fcc", 4.0857),
    "Cu": Crystal("fcc", 3.6146),
    "Pt": Crystal("fcc", 3.9236),
    "Pd": Crystal("fcc", 3.8903),
    "Ni": Crystal("fcc", 3.5240),
    "Al": Crystal("fcc", 4.0496),
    "Rh": Crystal("fcc", 3.8032),
    "Ir": Crystal("fcc", 3.8392),
    "Pb": Crystal("fcc", 4.9502),
    "Fe": Crystal("bcc", 2.8665),
    "Cr": Crystal("bcc", 2.8848),
    "Mo": Crystal("bcc", 3.1470),
    "W": Crystal("bcc", 3.1652),
    "Ta": Crystal("bcc", 3.3030),
    "Nb": Crystal("bcc", 3.3004),
    "Ru": Crystal("hcp", 2.7058, 4.2816),
    "Co": Crystal("hcp", 2.5071, 4.0686),
    "Ti": Crystal("hcp", 2.9506, 4.6835),
    "Zn": Crystal("hcp", 2.6650, 4.9470),
    "Mg": Crystal("hcp", 3.2094, 5.2107),
}
"""Metals by element symbol."""

FACETS: dict[str, tuple[str, ...]] = {
    "fcc": ("100", "110", "111"),
    "bcc": ("100", "110", "111"),
    "hcp": ("0001",),
}
"""Facets by lattice type, as text."""

EVEN_SECOND_SIZE = {("fcc", "111"), ("bcc", "110"), ("bcc", "111"), ("hcp", "0001")}
"""Facets whose orthogonal cell holds two rows, so that the second repeat must be even."""
