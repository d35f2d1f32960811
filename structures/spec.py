"""What to simulate, as a user writes it under ``system:``; frozen, hashable, with unknown keys refused."""

from __future__ import annotations

import difflib
import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from vibraloom.structures.crystals import CRYSTALS, EVEN_SECOND_SIZE, FACETS, Crystal
from vibraloom.structures.molecule import LIQUIDS, MOLECULES

from vibraloom.errors import InputError
from vibraloom.units import quantity

LARGEST_SEED = 2**31 - 2
"""Engines and packmol keep seeds as signed 32-bit numbers."""
THINNEST_FILM = 3.0
"""Thinnest film in Å: about the diameter of one water molecule."""


def _whole_number(minimum: int, maximum: int, what: str = "a whole number") -> Any:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise ValueError(f"allowed: {what} from {minimum} to {maximum}, not {value!r}")
        return value

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Annotated[int, BeforeValidator(check), WithJsonSchema(schema)]


def _one_of(allowed: tuple[str, ...]) -> Any:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"allowed: {', '.join(allowed)}; not {value!r}")
        return value

    return Annotated[str, BeforeValidator(check), WithJsonSchema({"type": "string", "enum": list(allowed)})]


def _facet(value: object) -> str:
    allowed = sorted({facet for facets in FACETS.values() for facet in facets})
    # YAML 1.1 reads 0001 as an octal number
    text = (
        {1: "0001"}.get(value, str(value))
        if isinstance(value, int) and not isinstance(value, bool)
        else value
    )
    if not isinstance(text, str) or text.strip("()") not in allowed:
        raise ValueError(f"allowed: 100, 110, 111 (fcc and bcc metals), 0001 (hcp metals); not {value!r}")
    return text.strip("()")


def _two_repeats(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"allowed: two whole numbers from 1 to 20, such as [4, 4]; not {value!r}")
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

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, record: Any) -> Any:
        if isinstance(record, cls):
            return record
        keys = ", ".join(cls.model_fields)
        if not isinstance(record, dict):
            raise ValueError(f"allowed: a mapping with the keys {keys}; not {record!r}")
        for key in record:
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                meant = f" (did you mean {near[0]!r}?)" if near else ""
                raise ValueError(f"unknown key {key!r}{meant}; allowed: {keys}")
        missing = [
            name for name, entry in cls.model_fields.items() if entry.is_required() and name not in record
        ]
        if missing:
            raise ValueError(f"missing key {', '.join(map(repr, missing))}; allowed: {keys}")
        return record

    def content_hash(self) -> str:
        """sha256 of the canonical JSON of all entries, quantities in internal units."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class MoleculeSystem(SystemRecord):
    """One molecule in the gas phase."""

    kind: Literal["molecule"]
    formula: _one_of(tuple(MOLECULES))  # type: ignore[valid-type]


class SlabSpec(SystemRecord):
    """A metal slab: ``layers`` atomic planes, ``size`` surface atoms along x and y."""

    element: _one_of(tuple(CRYSTALS))  # type: ignore[valid-type]
    facet: Facet
    layers: _whole_number(1, 20)  # type: ignore[valid-type]
    size: Annotated[tuple[Repeat, Repeat], BeforeValidator(_two_repeats)]  # type: ignore[valid-type]
    fixed_layers: Annotated[
        _whole_number(0, 20) | None,  # type: ignore[valid-type]
        Field(description="planes held in place, counted from the bottom; left out: all of them"),
    ] = None
    orthogonal: bool = True

    @property
    def crystal(self) -> Crystal:
        """Lattice type and constants of the element."""
        return CRYSTALS[self.element]

    @model_validator(mode="after")
    def _fits_together(self) -> SlabSpec:
        allowed = FACETS[self.crystal.lattice]
        if self.facet not in allowed:
            raise ValueError(
                f"facet {self.facet} is not offered for {self.element} ({self.crystal.lattice}); "
                f"allowed: {', '.join(allowed)}"
            )
        if self.orthogonal and (self.crystal.lattice, self.facet) in EVEN_SECOND_SIZE and self.size[1] % 2:
            raise ValueError(
                f"size {list(self.size)} makes no orthogonal {self.element}({self.facet}) cell; "
                "allowed: an even second number, or orthogonal: false"
            )
        if self.fixed_layers is not None and self.fixed_layers > self.layers:
            raise ValueError(f"fixed_layers {self.fixed_layers} exceeds layers; allowed: 0 to {self.layers}")
        return self


class LiquidSpec(SystemRecord):
    """A liquid film, by its thickness or by its number of molecules, at a given density."""

    molecule: _one_of(LIQUIDS)  # type: ignore[valid-type]
    thickness: Length | None = None  # type: ignore[valid-type]
    count: _whole_number(1, 20000) | None = None  # type: ignore[valid-type]
    density: quantity("density", minimum=0.1, maximum=1.5)  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _one_measure(self) -> LiquidSpec:
        if (self.thickness is None) == (self.count is None):
            raise ValueError(
                "allowed: exactly one of thickness (such as '16 angstrom') and count (number of molecules)"
            )
        return self


class InterfaceSystem(SystemRecord):
    """A liquid film on a metal slab, with vacuum above."""

    kind: Literal["interface"]
    slab: SlabSpec
    liquid: LiquidSpec
    vacuum: Annotated[
        quantity("length", minimum=5.0, maximum=200.0),  # type: ignore[valid-type]
        Field(
            validate_default=True, description="empty height between the film and the next image of the slab"
        ),
    ] = "15 angstrom"
    seed: _whole_number(0, LARGEST_SEED)  # type: ignore[valid-type]


System = Annotated[MoleculeSystem | InterfaceSystem, Field(discriminator="kind")]
"""Every system that can be built, told apart by ``kind``."""

KINDS = ("molecule", "interface")
_ADAPTER: TypeAdapter[MoleculeSystem | InterfaceSystem] = TypeAdapter(System)


def parse_system(record: object, source: str = "system") -> MoleculeSystem | InterfaceSystem:
    """Turn the mapping under ``system:`` into a checked system.

    Args:
        record: what YAML gave.
        source: name before each key in the message, e.g. ``spec.yaml: system``.

    Raises:
        InputError: one line with key, value and what is allowed.
    """
    if not isinstance(record, dict) or record.get("kind") not in KINDS:
        given = record.get("kind") if isinstance(record, dict) else record
        raise InputError(f"{source}.kind: {given!r}; allowed: {', '.join(KINDS)}")
    try:
        return _ADAPTER.validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        # the first entry is the kind that told the systems apart, not a key
        place = ".".join([source, *map(str, first["loc"][1:])])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{place}: {message}") from error
