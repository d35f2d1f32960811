"""A system as users write it: accepted, refused with one line, hashed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from vibraloom.errors import InputError
from vibraloom.structures.spec import InterfaceSystem, MoleculeSystem, System, parse_system

INTERFACE = yaml.safe_load(
    "{kind: interface, slab: {element: Au, facet: 111, layers: 4, size: [4, 4]}, "
    "liquid: {molecule: H2O, thickness: 16 angstrom, density: 0.997 g/cm^3}, seed: 7}"
)


def changed(place: str, value: Any) -> dict[str, Any]:
    """The interface with one entry replaced; ``place`` is dotted."""
    record = copy.deepcopy(INTERFACE)
    *path, last = place.split(".")
    part = record
    for name in path:
        part = part[name]
    part[last] = value
    return record


def test_the_published_examples_are_read() -> None:
    system = parse_system(INTERFACE)
    assert isinstance(system, InterfaceSystem)
    assert (system.slab.element, system.slab.facet, system.slab.size) == ("Au", "111", (4, 4))
    assert (system.liquid.thickness, system.liquid.density) == (16.0, 0.997)
    assert (system.vacuum, system.seed) == (15.0, 7)
    molecule = parse_system({"kind": "molecule", "formula": "H2O"})
    assert isinstance(molecule, MoleculeSystem)
    assert molecule.formula == "H2O"


def test_a_facet_may_be_a_number_or_text() -> None:
    assert parse_system(changed("slab.facet", "111")) == parse_system(changed("slab.facet", 111))
    record = changed("slab.element", "Ru")
    record["slab"]["facet"] = yaml.safe_load("0001")
    assert parse_system(record).slab.facet == "0001"


def test_a_system_cannot_be_changed() -> None:
    system = parse_system(INTERFACE)
    with pytest.raises(ValueError, match="frozen"):
        system.seed = 8
    assert len({system, parse_system(INTERFACE)}) == 1


def test_the_hash_is_that_of_the_content_not_of_the_writing() -> None:
    one = parse_system(INTERFACE)
    assert one.content_hash() == parse_system(changed("liquid.thickness", "1.6 nm")).content_hash()
    assert one.content_hash() == parse_system(changed("vacuum", "15 Å")).content_hash()
    assert one.content_hash() == parse_system(dict(reversed(INTERFACE.items()))).content_hash()
    others = [changed("seed", 8), changed("liquid.thickness", "16.1 angstrom"), changed("slab.element", "Ag")]
    assert len({one.content_hash(), *(parse_system(other).content_hash() for other in others)}) == 4


def test_a_system_survives_its_own_json() -> None:
    system = parse_system(INTERFACE)
    assert parse_system(system.model_dump(mode="json")) == system


def test_the_json_schema_gives_quantities_as_text() -> None:
    schema = TypeAdapter(System).json_schema()["$defs"]
    assert schema["InterfaceSystem"]["properties"]["vacuum"]["default"] == "15 angstrom"
    assert schema["SlabSpec"]["additionalProperties"] is False
    assert schema["SlabSpec"]["properties"]["layers"]["maximum"] == 20


BAD = [
    ("kind", "surface", "system.kind", "allowed: 'molecule', 'interface'"),
    ("slab.element", "Xx", "system.slab.element", "Au, Ag, Cu"),
    ("slab.element", "Ru", "system.slab.facet", "(hcp): 0001"),
    ("slab.facet", 211, "system.slab.facet", "100, 110, 111"),
    ("slab.facet", True, "system.slab.facet", "100, 110, 111"),
    ("slab.layers", 0, "system.slab.layers", "from 1 to 20"),
    ("slab.layers", 21, "system.slab.layers", "from 1 to 20"),
    ("slab.layers", "4", "system.slab.layers", "from 1 to 20"),
    ("slab.layers", True, "system.slab.layers", "from 1 to 20"),
    ("slab.size", [4], "system.slab.size", "two whole numbers"),
    ("slab.size", [4, 21], "system.slab.size[1]", "from 1 to 20"),
    ("slab.size", [4, 3], "system.slab.size", "an even second number (or orthogonal: false, for engine cp2k)"),
    ("slab.fixed_layers", 5, "system.slab.fixed_layers", "allowed: 0 to 4"),
    ("slab", [1], "system.slab", "a block of keys"),
    ("liquid.molecule", "Hg", "system.liquid.molecule", "allowed: H2O"),
    ("liquid.thickness", 16, "system.liquid.thickness", "such as '16 angstrom'"),
    ("liquid.thickness", "2.9 angstrom", "system.liquid.thickness", "at least 3 angstrom"),
    ("liquid.thickness", None, "system.liquid.thickness", "exactly one of thickness"),
    ("liquid.count", 48, "system.liquid.thickness", "exactly one of thickness"),
    ("liquid.density", "1.6 g/cm^3", "system.liquid.density", "at most 1.5"),
    ("liquid.density", "0.05 g/cm^3", "system.liquid.density", "at least 0.1"),
    ("vacuum", "1 angstrom", "system.vacuum", "at least 5"),
    ("seed", -1, "system.seed", "from 0 to 2147483646"),
    ("seed", 1.5, "system.seed", "from 0 to 2147483646"),
    ("slab.facett", 111, "system.slab.facett", "did you mean 'facet'?"),
]


@pytest.mark.parametrize(("place", "value", "named", "allowed"), BAD)
def test_a_bad_entry_gives_one_line_that_says_what_is_allowed(place: str, value: Any, named: str, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_system(changed(place, value))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"spec: {named}:")
    assert allowed in message
    assert "allowed" in message


def test_a_missing_key_is_named() -> None:
    record = copy.deepcopy(INTERFACE)
    del record["seed"]
    with pytest.raises(InputError, match=r"^spec: system\.seed: missing; allowed: seed of the packing, 0 or more$"):
        parse_system(record)


def test_an_unknown_molecule_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^a\.yaml: system\.formula: 'H3O': allowed: H2O, CO2"):
        parse_system({"kind": "molecule", "formula": "H3O"}, source="a.yaml")
