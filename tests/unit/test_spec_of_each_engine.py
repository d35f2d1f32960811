"""What an engine could not run, or would pass over, is refused when the spec is read; what is doubtful is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from vibraloom.calculators.cp2k.settings import MAGNETIC
from vibraloom.calculators.lammps.models import METAL_MODEL, load_model
from vibraloom.errors import InputError
from vibraloom.structures.molecule import MOLECULES, composition, molecule_by_formula
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS
from vibraloom.validation import validated
from vibraloom.workflows.context import context_of
from vibraloom.workflows.spec import Spec
from vibraloom.workflows.word_rules import HIGHEST_BAND, doubts_about, highest_wavenumber

EXAMPLES = Path(__file__).parents[2] / "examples"


def loaded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


CLASSICAL, LEARNED, OXIDE, WATERS = (loaded(name) for name in ("au111-water", "h2o", "mgo-water", "water8-aimd"))
FREE = loaded("h2o-aimd")


def changed(content: dict[str, Any], **replaced: Any) -> dict[str, Any]:
    """``dynamics__every=…`` replaces an entry."""
    result = copy.deepcopy(content)
    for place, value in replaced.items():
        *path, last = place.split("__")
        here = result
        for name in path:
            here = here.setdefault(name, {})
        here[last] = value
    return result


def by_cp2k(element: str, facet: Any) -> dict[str, Any]:
    """A metal interface by first principles."""
    slab = {"element": element, "facet": facet, "layers": 3, "size": [4, 4]}
    return changed(OXIDE, system__slab=slab, spectra=["ir", "vdos"])


REFUSED = {
    "a metal without classical model": (
        changed(CLASSICAL, system__slab__element="Fe", system__slab__facet=110),
        "system.slab.element: 'Fe'",
        "Ag, Al, Au, Cu, Ni, Pb, Pd, Pt",
    ),
    "a hexagonal metal without classical model": (
        changed(CLASSICAL, system__slab__element="Ru", system__slab__facet="0001"),
        "system.slab.element: 'Ru'",
        "heinz/lj knows",
    ),
    "a liquid that the model is not made for": (
        changed(CLASSICAL, system__liquid__molecule="CH3OH"),
        "system.liquid.molecule: 'CH3OH'",
        "H2O with dynamics.model spc/fw",
    ),
    "a skewed cell": (
        changed(CLASSICAL, system__slab__orthogonal=False),
        "system.slab.orthogonal: False",
        "true with engine lammps",
    ),
    "a slab that should move": (changed(CLASSICAL, system__slab__fixed_layers=2), "system.slab.fixed_layers: 2", "never move"),
    "labels that nobody makes": (changed(CLASSICAL, labels=LEARNED["labels"]), "labels: ", "with dynamics.engine ase only"),
    "a model that nobody trains": (changed(CLASSICAL, model=LEARNED["model"]), "model: ", "with dynamics.engine ase only"),
    "a length between two frames": (
        changed(CLASSICAL, dynamics__every="3 fs"),
        "dynamics.length: '10 ps'",
        "multiple of every (3 fs)",
    ),
    "a stride of the sampling between two steps": (
        changed(LEARNED, labels__sample={"engine": "tblite", "stride": "20.3 fs"}),
        "labels.sample.stride: '20.3 fs'",
        "multiple of 0.5 fs",
    ),
    "frames closer than a step": (changed(CLASSICAL, dynamics__every="0.0000001 fs"), "dynamics.every: ", "multiple of timestep"),
    "a length below a step": (changed(CLASSICAL, dynamics__length="0.0000001 fs"), "dynamics.length: ", "multiple of timestep"),
    "an equilibration below a step": (
        changed(CLASSICAL, dynamics__equilibration="0.0000001 fs"),
        "dynamics.equilibration: ",
        "multiple of timestep",
    ),
    "polarizabilities closer than a frame": (
        changed(WATERS, response__polarizability_every="0.0000001 fs"),
        "response.polarizability_every: ",
        "a multiple of dynamics.every",
    ),
    "a step too long for hydrogen": (
        changed(WATERS, dynamics__timestep="2.5 fs", dynamics__every="2.5 fs", response__polarizability_every="2.5 fs"),
        "dynamics.timestep: '2.5 fs'",
        "at most 2 fs with hydrogen",
    ),
    "a quantity twice": (changed(CLASSICAL, spectra=["vdos", {"vdos": {"by": ["layer"]}}]), "spectra: ", "each once"),
    "parts of a molecule's ir": (changed(LEARNED, spectra=[{"ir": {"by": ["species"]}}]), "spectra: ", "ir without 'by'"),
    "parts of a molecule's raman": (
        changed(LEARNED, spectra=[{"raman": {"by": ["species"]}}]),
        "spectra: ",
        "raman without 'by'",
    ),
    "parts of a liquid's ir": (changed(WATERS, spectra=["raman", {"ir": {"by": ["species"]}}]), "spectra: ", "ir without 'by'"),
    **{
        f"magnetic {element}": (by_cp2k(element, facet), f"system.slab.element: '{element}'", "magnetic moments")
        for element, facet in (("Fe", 110), ("Ni", 111), ("Co", "0001"), ("Cr", 100))
    },
}


@pytest.mark.parametrize(("content", "place", "said"), REFUSED.values(), ids=REFUSED)
def test_what_could_not_run_or_would_be_passed_over_is_refused(content: dict[str, Any], place: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(Spec, content, "run.yaml")
    message = str(caught.value)
    assert message.startswith(f"run.yaml: {place}") and "\n" not in message, message
    assert said in message


@pytest.mark.parametrize(
    "content",
    [
        *(changed(CLASSICAL, system__slab__element=element) for element in load_model(METAL_MODEL).lj),
        changed(CLASSICAL, system__slab__facet=100, system__slab__orthogonal=False),  # right-angled all the same
        changed(CLASSICAL, system__slab__fixed_layers=4),
        changed(CLASSICAL, spectra=[{"ir": {"by": ["layer"]}}, {"vdos": {"by": ["species", "layer"]}}]),
        changed(CLASSICAL, dynamics__timestep="2 fs"),
        changed(CLASSICAL, dynamics__equilibration="0 fs"),
        changed(LEARNED, dynamics__length="4001 fs", dynamics__every="2 fs"),
        changed(FREE, system__formula="CO2", dynamics__timestep="4 fs", dynamics__every="4 fs", dynamics__length="400 fs",
                dynamics__equilibration="40 fs", response__polarizability_every="4 fs"),
        by_cp2k("Ru", "0001"),
    ],
)  # fmt: skip
def test_what_can_run_is_accepted(content: dict[str, Any]) -> None:
    validated(Spec, content, "run.yaml")


def test_a_formula_has_the_atoms_of_its_molecule() -> None:
    for formula in MOLECULES:
        symbols = molecule_by_formula(formula).get_chemical_symbols()
        assert composition(formula) == {symbol: symbols.count(symbol) for symbol in set(symbols)}
    assert "Ni" in MAGNETIC and "Au" not in MAGNETIC


def doubts(content: dict[str, Any]) -> list[str]:
    return doubts_about(validated(Spec, content, "run.yaml"))


def test_a_start_at_the_minimum_and_frames_far_apart_are_told() -> None:
    assert doubts(CLASSICAL) == doubts(WATERS) == doubts(LEARNED) == []
    for content in (CLASSICAL, WATERS):
        (line,) = doubts(changed(content, dynamics__equilibration="0 fs"))
        assert line.startswith("no equilibration") and "intensities come out too low" in line
    (line,) = doubts(changed(CLASSICAL, dynamics__every="5 fs"))
    assert line.startswith("dynamics.every 5 fs: bands above 3336 cm^-1 are folded")
    (line,) = doubts(changed(WATERS, response__polarizability_every="5 fs"))
    assert line.startswith("response.polarizability_every 5 fs: ")
    assert highest_wavenumber(4.0) > HIGHEST_BAND > highest_wavenumber(4.5)
    assert highest_wavenumber(2.0) == pytest.approx(1 / (4 * SPEED_OF_LIGHT_CM_PER_FS))


def test_doubts_about_structure_words_and_method_are_stamped_on_the_spectra() -> None:
    run = validated(Spec, changed(CLASSICAL, dynamics__equilibration="0 fs"), "run.yaml")
    stamps = context_of(run, {"formula": "Au64O48H96", "warnings": ["the film is too thin"]}, {}, ["the method"])["stamps"]
    said = ["the film is too thin", *doubts_about(run), "the method"]
    assert stamps == ["classical nuclei", *said, "water-only response, no image charge"]
