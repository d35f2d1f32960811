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


NETWORK = changed(
    dynamics__model="committee-water", dynamics__functional=None, dynamics__protocol=None, response=None, spectra=["vdos"]
)
METAL = changed(system=SLAB, response={}, spectra=["ir", "vdos"])
CLASSICAL = yaml.safe_load((EXAMPLES / "au111-water.yaml").read_text(encoding="utf-8"))
INSULATOR = changed(METAL, system={**SLAB, "slab": {"material": "MgO", "facet": 100, "layers": 2, "size": [2, 2]}})


def test_specs_written_before_cp2k_keep_their_hash() -> None:
    known = {
        "h2o": "28aaf100586217567873beec9dd180e8847e0f4a19acedcf08e8b61ff95c0755",
        "au111-water": "cddff4b55fd4d643275c89e178f8c6b9c8bbc61ecc596772ac6bdb0daaf2e7ca",
        "h2o-aimd": "a33b8a49981a2af5260dac237d1fc287231ad985a96b28a592151f112b9870c6",
        "water8-aimd": "d97c88e0f6e7f007a6934eb2f10f37b27132cdc09243fbb8413309111de9ab19",
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
        changed(dynamics__basis="TZV2P"),
        changed(response__wannier_every="2 fs"),
        NETWORK,
        METAL,
        changed(METAL, response__potential_every="50 fs"),
        changed(METAL, response__potential_every="50 fs", response__hydrogen_reference="4.44 V"),
    ]
    assert len({spec(content).content_hash() for content in runs}) == len(runs)


REFUSED = [
    (changed(labels=LEARNED["labels"]), "labels: ", "with dynamics.engine ase only"),
    (changed(model=LEARNED["model"]), "model: ", "with dynamics.engine ase only"),
    (changed(dynamics__model="spc/fw"), "dynamics.model: 'spc/fw'", "committee-water or no model with cp2k"),
    (changed(dynamics__functional="LDA"), "dynamics.functional: 'LDA'", "'PBE-D3'"),
    (changed(dynamics__protocol="best"), "dynamics.protocol: 'best'", "'fast', 'balanced' or 'stringent'"),
    (changed(response__model="learned"), "response.model: 'learned'", "dft with dynamics.engine cp2k"),
    (changed(response__polarizability_every=None), "response.polarizability_every: None", "without it no polarizability"),
    (changed(response__polarizability_every="0.7 fs"), "response.polarizability_every: '0.7 fs'", "a multiple of dynamics.every"),
    (changed(response__polarizability_every="400 fs"), "response.polarizability_every: '400 fs'", "at most 333 fs in 2000 fs"),
    (changed(spectra=["ir"]), "response.polarizability_every: '2 fs'", "with raman among the spectra"),
    (changed(dynamics__every="1.5 fs"), "dynamics.length: '2 ps'", "a multiple of every (1.5 fs)"),
    (changed(spectra=[{"vdos": {"by": ["layer"]}}], response=None), "spectra: ", "layers need an interface"),
    (changed(system=SLAB), "spectra: ", "without a gap a metal has no polarizability"),
    (changed(NETWORK, spectra=["ir"]), "spectra: ", "committee-water has no electrons and so no dipole"),
    (changed(NETWORK, spectra=["raman"]), "response.polarizability_every: ", "without it no polarizability"),
    (changed(NETWORK, system=SLAB), "dynamics.model: 'committee-water'", "knows bulk water alone"),
    (changed(NETWORK, system=LEARNED["system"]), "dynamics.model: 'committee-water'", "knows bulk water alone"),
    (changed(NETWORK, dynamics__basis="DZVP"), "dynamics.basis: 'DZVP'", "the network itself has none"),
    (changed(NETWORK, response__dipole_every="2 fs"), "response.dipole_every: '2 fs'", "with ir among the spectra"),
    (changed(NETWORK, response__wannier_every="2 fs"), "response.wannier_every: '2 fs'", "committee-water has no electrons"),
    (changed(NETWORK, response__model="point-charges"), "response.model: 'point-charges'", "dft with dynamics.engine cp2k"),
    (changed(NETWORK, response={"dipole_every": "400 fs"}, spectra=["ir"]), "response.dipole_every: ", "needs 7 dipoles"),
    (
        changed(NETWORK, response={"dipole_every": "2 fs", "polarizability_every": "2 fs"}, spectra=["ir", "raman"]),
        "response.dipole_every: '2 fs'",
        "whose frames have their dipole, too",
    ),
    (changed(response__dipole_every="2 fs"), "response.dipole_every: '2 fs'", "here every frame has a dipole"),
    (changed(response__wannier_every="0.7 fs"), "response.wannier_every: '0.7 fs'", "a multiple of dynamics.every"),
    (changed(response__wannier_every="3 ps"), "response.wannier_every: '3 ps'", "at most the length of the run (2000 fs)"),
    (changed(response__potential_every="50 fs"), "response.potential_every: '50 fs'", "for an interface"),
    (changed(response__hydrogen_reference="4.44 V"), "response.hydrogen_reference: '4.44 V'", "for an interface"),
    (changed(METAL, response__hydrogen_reference="4.44 V"), "response.hydrogen_reference: ", "with potential_every"),
    (changed(METAL, response__hydrogen_reference="4.44 eV"), "response.hydrogen_reference: '4.44 eV'", "such as '4.44 V'"),
    (changed(METAL, response__hydrogen_reference_error="1 mV"), "response.hydrogen_reference_error: ", "with hydrogen_reference"),
    (changed(METAL, response__wannier_every="50 fs"), "response.wannier_every: '50 fs'", "no localised orbitals"),
    (changed(METAL, spectra=[{"ir": {"by": ["layer"]}}]), "spectra: ", "ir without 'by'; only vdos has parts"),
    (
        changed(INSULATOR, response={"potential_every": "50 fs", "hydrogen_reference": "4.44 V"}),
        "response.hydrogen_reference: '4.44 V'",
        "an insulator has no Fermi level",
    ),
    (changed(INSULATOR, spectra=["raman"]), "response.polarizability_every: ", "without it no polarizability"),
    (changed(INSULATOR, spectra=[{"ir": {"by": ["species"]}}]), "spectra: ", "ir without 'by'; only vdos has parts"),
    (
        changed(INSULATOR, dynamics=CLASSICAL["dynamics"], response={"model": "point-charges"}),
        "dynamics.engine: 'lammps'",
        "cp2k for a slab of a compound",
    ),
    (changed(LEARNED, dynamics__basis="DZVP"), "dynamics.basis: 'DZVP'", "with engine cp2k only"),
    (changed(LEARNED, response={"potential_every": "2 fs"}), "response.potential_every: ", "engine cp2k only"),
    (changed(LEARNED, dynamics__model="committee-water"), "dynamics.model: 'committee-water'", "no model with ase"),
    (changed(dynamics__basis="6-31G"), "dynamics.basis: '6-31G'", "'aug-TZV2P'"),
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


def test_a_metal_interface_may_have_its_density_of_states_and_its_response_along_the_normal() -> None:
    run = spec(changed(METAL, spectra=["ir", {"vdos": {"by": ["species", "layer"]}}]))
    assert run.is_metal_interface and run.has_electrons
    words = {"potential_every": "50 fs", "hydrogen_reference": "4440 mV", "hydrogen_reference_error": "0.02 V"}
    response = spec(changed(METAL, response=words)).response
    assert (response.potential_every, response.hydrogen_reference, response.hydrogen_reference_error) == (50.0, 4.44, 0.02)


def test_an_insulating_interface_has_its_whole_response() -> None:
    words = {"polarizability_every": "2 fs", "wannier_every": "10 fs", "potential_every": "50 fs"}
    run = spec(changed(INSULATOR, response=words, spectra=["ir", "raman", {"vdos": {"by": ["species", "layer"]}}]))
    assert not run.is_metal_interface and run.has_electrons


def test_the_network_for_water_has_no_functional_unless_frames_are_computed_by_it() -> None:
    run = spec(NETWORK)
    assert run.is_first_principles and not run.has_electrons
    assert (run.dynamics.functional, run.dynamics.protocol, run.response.model) == (None, None, "dft")
    frames = spec(changed(NETWORK, response={"dipole_every": "2 fs"}, dynamics__basis="TZV2P", spectra=["ir", "vdos"]))
    assert frames.dynamics.basis == "TZV2P"
    spec(changed(NETWORK, response={"polarizability_every": "2 fs"}, spectra=["ir", "raman"]))


def test_a_molecule_may_run_in_cp2k() -> None:
    run = load_spec(EXAMPLES / "h2o-aimd.yaml")
    assert run.system.kind == "molecule" and run.is_first_principles
