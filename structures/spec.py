"""What to simulate, as a user writes it under ``system:``; frozen, hashable, with unknown keys refused."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from vibraloom.structures.compounds import COMPOUNDS, Compound
from vibraloom.structures.crystals import CRYSTALS, EVEN_SECOND_SIZE, FACETS, Crystal
from vibraloom.structures.molecule import LIQUIDS, MOLECULES
from vibraloom.units import quantity
from vibraloom.validation import validated

LARGEST_SEED = 2**31 - 2
"""Engines and packmol keep seeds as signed 32-bit numbers."""
THINNEST_FILM = 3.0
"""Thinnest film in Å, about the diameter of one water molecule; one of a few molecules is made as thick as this."""


def _whole_number(minimum: int, maximum: int, what: str = "a whole number") -> Any:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise ValueError(f"allowed: {what} from {minimum} to {maximum}")
        return value

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Annotated[int, BeforeValidator(check), WithJsonSchema(schema)]


def _one_of(allowed: tuple[str, ...]) -> Any:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"allowed: {', '.join(allowed)}")
        return value

    return Annotated[str, BeforeValidator(check), WithJsonSchema({"type": "string", "enum": list(allowed)})]


def _facet(value: object) -> str:
    allowed = sorted({facet for facets in FACETS.values() for facet in facets})
    # YAML 1.1 reads 0001 as an octal number
    text = {1: "0001"}.get(value, str(value)) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or text.strip("()") not in allowed:
        raise ValueError("allowed: 100, 110, 111 (fcc and bcc metals), 0001 (hcp metals), 100 (rock salt)")
    return text.strip("()")


def _is_cubic(slab: dict[str, Any]) -> bool:
    element, material = slab.get("element"), slab.get("material")
    if isinstance(element, str) and element in CRYSTALS:
        return CRYSTALS[element].lattice != "hcp"
    return isinstance(material, str) and material in COMPOUNDS and COMPOUNDS[material].structure == "rock salt"


def _two_repeats(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("allowed: two whole numbers from 1 to 20, such as [4, 4]")
    return tuple(value)


Facet = Annotated[
    str,
    BeforeValidator(_facet),
    WithJsonSchema({"enum": [100, 110, 111, "100", "110", "111", "0001"], "description": "Miller indices"}),
]
Repeat = _whole_number(1, 20)
Length = quantity("length", minimum=THINNEST_FILM, maximum=200.0)


class SystemRecord(BaseModel):
    """Base of the parts of a system: frozen, hashable, closed; equal content gives an equal hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def content_hash(self) -> str:
        """sha256 of the canonical JSON of all entries, quantities in internal units."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class MoleculeSystem(SystemRecord):
    """One molecule in the gas phase."""

    kind: Literal["molecule"] = Field(description="molecule: one, in the gas phase")
    formula: Annotated[_one_of(tuple(MOLECULES)), Field(description="a molecule, such as H2O")]  # type: ignore[valid-type]


class SlabSpec(SystemRecord):
    """A slab of a metal (``element``) or of a compound (``material``): ``layers`` atomic planes, ``size`` repeats in the plane.

    The surface's unit cell is the smallest one: one atom of a metal, one formula unit of rock salt.
    """

    element: Annotated[_one_of(tuple(CRYSTALS)) | None, Field(description="a metal, such as Au")] = None  # type: ignore[valid-type]
    material: Annotated[
        _one_of(tuple(COMPOUNDS)) | None,  # type: ignore[valid-type]
        Field(description="a compound, such as MgO; in place of element"),
    ] = None
    facet: Annotated[
        Facet, Field(description="Miller indices: 100, 110, 111 (fcc, bcc), 0001 (hcp); of a compound 100 (rock salt)")
    ]
    layers: Annotated[_whole_number(1, 20), Field(description="atomic planes, 1 to 20")]  # type: ignore[valid-type]
    size: Annotated[
        tuple[Repeat, Repeat],  # type: ignore[valid-type]
        BeforeValidator(_two_repeats),
        Field(description="surface atoms of a metal, formula units of a compound, along x and y, such as [4, 4]"),
    ]
    fixed_layers: Annotated[
        _whole_number(0, 20) | None,  # type: ignore[valid-type]
        Field(description="planes held in place, counted from the bottom; left out: all of them"),
    ] = None
    orthogonal: StrictBool = Field(True, description="true: a right-angled cell; false: the primitive one")

    @model_validator(mode="before")
    @classmethod
    def _equal_faces_of_a_cube(cls, content: Any) -> Any:
        """(001) and (010) of a cubic crystal are its (100)."""
        if not isinstance(content, dict) or not _is_cubic(content):
            return content
        facet = content.get("facet")
        text = facet.strip("()") if isinstance(facet, str) else facet
        # YAML 1.1 reads 001 and 010 as octal numbers, true and false are no numbers
        return {**content, "facet": "100"} if text in ("001", "010", 1, 8) and not isinstance(text, bool) else content

    @property
    def is_metal(self) -> bool:
        """Whether the slab has no gap: its levels are then partly filled."""
        return self.element is not None

    @property
    def crystal(self) -> Crystal:
        """Lattice type and constants of the element.

        Raises:
            KeyError: the slab is one of a compound.
        """
        return CRYSTALS[self.element or ""]

    @property
    def compound(self) -> Compound:
        """Structure and constants of the material.

        Raises:
            KeyError: the slab is one of a metal.
        """
        return COMPOUNDS[self.material or ""]

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # a metal's record is that of releases which knew metals alone: its hash stays
        absent = "element" if self.element is None else "material"
        return {key: value for key, value in handler(self).items() if key != absent}

    @model_validator(mode="after")
    def _fits_together(self) -> SlabSpec:
        if (self.element is None) == (self.material is None):
            raise ValueError("@element allowed: exactly one of element (a metal, such as Au) and material (such as MgO)")
        if self.is_metal:
            self._metal_facet()
        else:
            self._compound_facet()
        if self.fixed_layers is not None and self.fixed_layers > self.layers:
            raise ValueError(f"@fixed_layers allowed: 0 to {self.layers}, the number of layers")
        return self

    def _metal_facet(self) -> None:
        allowed = FACETS[self.crystal.lattice]
        if self.facet not in allowed:
            raise ValueError(f"@facet allowed for {self.element} ({self.crystal.lattice}): {', '.join(allowed)}")
        if self.orthogonal and (self.crystal.lattice, self.facet) in EVEN_SECOND_SIZE and self.size[1] % 2:
            raise ValueError(
                f"@size allowed for an orthogonal {self.element}({self.facet}) cell: an even second number "
                "(or orthogonal: false, for engine cp2k)"
            )

    def _compound_facet(self) -> None:
        allowed = f"allowed for {self.material} ({self.compound.structure}): {', '.join(self.compound.facets)}"
        if self.facet in self.compound.polar:
            raise ValueError(f"@facet {allowed}; ({self.facet}) is polar: {self.compound.polar[self.facet]}")
        if self.facet not in self.compound.facets:
            raise ValueError(f"@facet {allowed}")


class LiquidSpec(SystemRecord):
    """A liquid film, by its thickness or by its number of molecules, at a given density."""

    molecule: Annotated[_one_of(LIQUIDS), Field(description="molecule of the liquid, such as H2O")]  # type: ignore[valid-type]
    thickness: Annotated[Length | None, Field(description="height of the film, such as '16 angstrom'")] = None  # type: ignore[valid-type]
    count: Annotated[_whole_number(1, 20000) | None, Field(description="number of molecules")] = None  # type: ignore[valid-type]
    density: Annotated[
        quantity("density", minimum=0.1, maximum=1.5),  # type: ignore[valid-type]
        Field(description="density of the film, such as '0.997 g/cm^3'"),
    ]

    @model_validator(mode="after")
    def _one_measure(self) -> LiquidSpec:
        if (self.thickness is None) == (self.count is None):
            raise ValueError(
                "@thickness allowed: exactly one of thickness (such as '16 angstrom') and count (number of molecules)"
            )
        return self


class InterfaceSystem(SystemRecord):
    """A liquid film on a slab, with vacuum above."""

    kind: Literal["interface"] = Field(description="interface: a liquid film on a slab")
    slab: SlabSpec = Field(description="the slab")
    liquid: LiquidSpec = Field(description="the film")
    vacuum: Annotated[
        quantity("length", minimum=5.0, maximum=200.0),  # type: ignore[valid-type]
        Field(validate_default=True, description="empty height between the film and the next image of the slab"),
    ] = "15 angstrom"
    seed: Annotated[_whole_number(0, LARGEST_SEED), Field(description="seed of the packing, 0 or more")]  # type: ignore[valid-type]


class BulkLiquidSystem(SystemRecord):
    """A liquid that fills a cubic cell, periodic in all directions."""

    kind: Literal["liquid"] = Field(description="liquid: a cubic cell full of it, periodic in x, y and z")
    molecule: Annotated[_one_of(LIQUIDS), Field(description="molecule of the liquid, such as H2O")]  # type: ignore[valid-type]
    count: Annotated[_whole_number(1, 20000), Field(description="number of molecules")]  # type: ignore[valid-type]
    density: Annotated[
        quantity("density", minimum=0.1, maximum=1.5),  # type: ignore[valid-type]
        Field(description="density of the liquid, such as '0.997 g/cm^3'"),
    ]
    seed: Annotated[_whole_number(0, LARGEST_SEED), Field(description="seed of the packing, 0 or more")]  # type: ignore[valid-type]


AnySystem = MoleculeSystem | InterfaceSystem | BulkLiquidSystem
System = Annotated[AnySystem, Field(discriminator="kind")]
"""Every system that can be built, told apart by ``kind``."""


class _Holder(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    system: System


def parse_system(record: object, source: str = "spec") -> AnySystem:
    """Turn the mapping under ``system:`` into a checked system.

    Args:
        record: what YAML gave.
        source: name of the file, for the message.

    Raises:
        InputError: one line with file, dotted key, value and what is allowed.
    """
    return validated(_Holder, {"system": record}, source).system
