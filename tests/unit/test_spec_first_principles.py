"""The words of a run by CP2K: what goes together, what is refused with which line, and hashes that stay."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from vibraloom.errors import InputError
from vibraloom.validation import validated
from vibraloom.workflows.spec import Spec, load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
WATER8 = yaml.safe_load((EXAMPLES / "water8-aimd.yaml").read_text(encoding="utf-8"))
SLAB = yaml.safe_load((EXAMPLES / "au111-water.yaml").read_text(encoding="utf-8"))["system"]
LEARNED = yaml.safe_load((EXAMPLES / "h2o.yaml").read_text(encoding="utf-8"))


def spec(content: dict[str, Any]) -> Spec:
    return validated(Spec, content, "run.yaml")


def changed(content: dict[str, Any] = WATER8, **replaced: Any) -> dict[str, Any]:
    """``dynamics__every=…`` replaces an entry, None removes it."""
    result = copy.deepcopy(content)
    for place, value in replaced.items():
        *path, last = place.split("__")
        here = result
        for name in path:
            here = here.setdefault(name, {})
        here[last] = value
        if value is None:
            del here[last]
    return result


def test_specs_written_before_cp2k_keep_their_hash() -> None:
    known = {
        "h2o": "28aaf100586217567873beec9dd180e8847e0f4a19acedcf08e8b61ff95c0755",
        "au111-water": "cddff4b55fd4d643275c89e178f8c6b9c8bbc61ecc596772ac6bdb0daaf2e7ca",
    }
    for name, digest in known.items():
        assert load_spec(EXAMPLES / f"{name}.yaml").content_hash() == digest


def test_what_is_left_out_is_filled_in_for_cp2k_alone() -> None:
    run = spec(changed(dynamics__functional=None, dynamics__protocol=None, response__model=None))
    assert (run.dynamics.functional, run.dynamics.protocol, run.response.model) == ("PBE-D3", "balanced", "dft")
    assert run.is_first_principles and not run.is_learned
    word_left_out = spec(changed(response=None, spectra=["ir", "vdos"]))
    assert word_left_out.response.model == "dft" and word_left_out.response.polarizability_every is None
    learned = spec(LEARNED)
    assert (learned.dynamics.functional, learned.dynamics.protocol, learned.response.model) == (None, None, "learned")
    assert not {"functional", "protocol"} & set(learned.model_dump()["dynamics"])
    assert run.content_hash() == spec(changed(dynamics__protocol="balanced")).content_hash()


def test_method_and_stride_are_part_of_the_hash() -> None:
    runs = [
        changed(),
        changed(dynamics__functional="BLYP-D3"),
        changed(dynamics__protocol="stringent"),
        changed(response__polarizability_every="4 fs"),
        changed(response__polarizability_every=None, spectra=["ir"]),
    ]
    assert len({spec(content).content_hash() for content in runs}) == len(runs)


REFUSED = [
    (changed(labels=LEARNED["labels"]), "labels: ", "with dynamics.engine ase only"),
    (changed(model=LEARNED["model"]), "model: ", "with dynamics.engine ase only"),
    (changed(dynamics__model="spc/fw"), "dynamics.model: 'spc/fw'", "no model with ase and cp2k"),
    (changed(dynamics__functional="LDA"), "dynamics.functional: 'LDA'", "'PBE-D3'"),
    (changed(dynamics__protocol="best"), "dynamics.protocol: 'best'", "'fast', 'balanced' or 'stringent'"),
    (changed(response__model="learned"), "response.model: 'learned'", "dft with dynamics.engine cp2k"),
    (changed(response__polarizability_every=None), "response.polarizability_every: None", "without it no polarizability"),
    (changed(response__polarizability_every="0.7 fs"), "response.polarizability_every: '0.7 fs'", "a multiple of dynamics.every"),
    (changed(response__polarizability_every="400 fs"), "response.polarizability_every: '400 fs'", "at most 333 fs in 2000 fs"),
    (changed(spectra=["ir"]), "response.polarizability_every: '2 fs'", "with raman among the spectra"),
    (changed(dynamics__every="1.5 fs"), "dynamics.length: '2 ps'", "a multiple of every (1.5 fs)"),
    (changed(spectra=[{"vdos": {"by": ["layer"]}}], response=None), "spectra: ", "layers need an interface"),
    (changed(system=SLAB), "spectra: ", "neither a Berry-phase dipole nor a polarizability"),
    (changed(system=SLAB, response=None, spectra=["ir"]), "spectra: ", "without a gap a metal"),
    (changed(LEARNED, system=WATER8["system"]), "dynamics.engine: 'ase'", "cp2k for a liquid in a periodic cell"),
    (changed(LEARNED, dynamics__functional="PBE-D3"), "dynamics.functional: 'PBE-D3'", "with engine cp2k only"),
    (changed(LEARNED, dynamics__protocol="fast"), "dynamics.protocol: 'fast'", "with engine cp2k only"),
    (changed(LEARNED, response={"polarizability_every": "2 fs"}), "response.polarizability_every: ", "engine cp2k only"),
    (changed(LEARNED, response={"model": "dft"}), "response.model: 'dft'", "learned with a learned model"),
]


@pytest.mark.parametrize(("content", "place", "said"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_does_not_go_together_gives_one_line(content: dict[str, Any], place: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        spec(content)
    message = str(caught.value)
    assert message.startswith(f"run.yaml: {place}"), message
    assert said in message and "\n" not in message


def test_a_metal_interface_may_have_its_density_of_states() -> None:
    run = spec(changed(system=SLAB, response=None, spectra=[{"vdos": {"by": ["species", "layer"]}}]))
    assert run.system.kind == "interface"


def test_a_molecule_may_run_in_cp2k() -> None:
    run = load_spec(EXAMPLES / "h2o-aimd.yaml")
    assert run.system.kind == "molecule" and run.is_first_principles
