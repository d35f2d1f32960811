"""The spec of a training: a dataset that is there, or a system that is explored and labelled round by round (version 1).

``vibraloom train SPEC.yaml`` reads it. The words ``system``, ``labels`` and ``model`` mean what they mean in the spec of a run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictFloat, StrictInt, model_validator

from vibraloom.calculators.cp2k.basis_files import BasisQuality
from vibraloom.calculators.cp2k.settings import Functional
from vibraloom.calculators.deepmd.training_sets import Owner, Target
from vibraloom.calculators.lammps.models import available_models
from vibraloom.files.dataset_split import By
from vibraloom.structures.spec import System
from vibraloom.units import quantity
from vibraloom.workflows.words import COMMITTEE_WATER, Resources, Word

Count = Annotated[StrictInt, Field(ge=1, le=10_000)]
Rate = Annotated[StrictFloat, Field(gt=0, lt=1)]
Widths = Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)]


class Source(Word):
    """Labelled frames from files, where their format leaves something to say."""

    path: str = Field(min_length=1, description="file or folder that vibraloom dataset import reads")
    dipole_unit: str | None = Field(None, description="unit of its dipoles, such as e*angstrom")
    polarizability_unit: str | None = Field(None, description="unit of its polarizabilities, such as angstrom^3")
    type_map: tuple[str, ...] | None = Field(None, description="elements of the types 0, 1, …, where the files name none")
    labelled_types: tuple[str, ...] | None = Field(None, description="elements whose atoms carry atomic labels, where unclear")


class Network(Word):
    """One network and its training; what is left out has a default made for one small molecule."""

    steps: Annotated[StrictInt, Field(ge=10, le=100_000_000)] | None = Field(None, description="training steps")
    cutoff: quantity("length", above=0, maximum=20) | None = Field(None, description="cutoff of the neighbours")  # type: ignore[valid-type]
    smooth_from: quantity("length", above=0, maximum=20) | None = Field(  # type: ignore[valid-type]
        None, description="distance from which neighbours fade out"
    )
    embedding: Widths | None = Field(None, description="widths of the embedding network")
    axis: Count | None = Field(None, description="axis neurons of the descriptor")
    fitting: Widths | None = Field(None, description="widths of the fitting network")
    batch: Count | None = Field(None, description="frames of a batch")
    rate: Annotated[tuple[Rate, Rate], Field()] | None = Field(None, description="first and last learning rate")
    precision: Literal["float32", "float64"] | None = Field(None, description="of the network's arithmetic; left out: float64")
    virial: Annotated[tuple[StrictFloat, StrictFloat], Field()] | None = Field(
        None, description="first and last weight of the virials in the loss (energy)"
    )


class Validation(Word):
    """What the errors are told on: a dataset of its own, or a part that is not trained on."""

    dataset: str | Source | None = Field(None, description="dataset that is not trained on")
    fraction: Annotated[StrictFloat, Field(gt=0, lt=1)] = Field(0.1, description="part of the frames kept from training")
    by: By | None = Field(None, description="what stays together; left out: blocks of frames of a cell, frames of a molecule")
    seed: StrictInt = Field(0, ge=0, le=2**31 - 1, description="seed of the split")


class TrainedModel(Word):
    """The learned surfaces."""

    engine: Literal["deepmd"] = Field("deepmd", description="learning engine (deepmd-kit, TensorFlow backend)")
    targets: tuple[Target, ...] = Field(("energy",), min_length=1, description="what is learned")
    committee: StrictInt = Field(1, ge=1, le=16, description="networks of each target, which differ by their seeds")
    seed: StrictInt = Field(1, ge=0, le=2**31 - 1, description="seed of the weights of the first network")
    owner: Owner | None = Field(None, description="dipoles and polarizabilities of whole frames (total) or of molecules")
    type_map: tuple[str, ...] | None = Field(None, description="elements in their order; left out: those of the dataset")
    energy: Network = Field(default_factory=lambda: Network(), description="energy network")
    dipole: Network = Field(default_factory=lambda: Network(), description="dipole network")
    polarizability: Network = Field(default_factory=lambda: Network(), description="polarizability network")


class FrameLabels(Word):
    """Reference calculations of chosen frames."""

    engine: Literal["pyscf", "cp2k", "committee-water"] = Field(
        description="pyscf (molecules), cp2k, or committee-water: the networks for bulk water that ship with CP2K's data"
    )
    functional: str | None = Field(None, description="density functional; left out: PBE, with cp2k PBE-D3")
    basis: str | None = Field(None, description="basis set; left out: aug-cc-pVDZ, with cp2k that of the protocol")
    protocol: Literal["fast", "balanced", "stringent"] | None = Field(None, description="of the cp2k engine; left out: balanced")
    polarizability: bool = Field(False, description="also dipoles and polarizabilities, of molecules where there are several")
    field: quantity("electric_field", above=0, maximum=0.02) | None = Field(  # type: ignore[valid-type]
        None, description="field of the finite difference behind the polarizability; left out: the engine's own"
    )


class Exploration(Word):
    """Dynamics whose frames are looked at: at first on a simple model, then on the learned one."""

    first: str = Field(description="model of the first frames: a classical one such as spc/fw, or tblite for a molecule")
    temperatures: tuple[quantity("temperature", above=0, maximum=5000), ...] = Field(  # type: ignore[valid-type]
        ("300 K",), min_length=1, max_length=20, description="temperatures, one run each"
    )
    timestep: quantity("time", above=0, maximum=5) = Field("0.5 fs", description="integration time step")  # type: ignore[valid-type]
    length: quantity("time", above=0) = Field("2 ps", description="length of each run")  # type: ignore[valid-type]
    every: quantity("time", above=0) = Field("20 fs", description="time between the frames that are looked at")  # type: ignore[valid-type]
    seed: StrictInt = Field(21, ge=0, le=2**31 - 1, description="seed of velocities and thermostat")
    wall: str | None = Field(None, description="element whose atoms a repulsive wall keeps apart, such as O")
    wall_distance: quantity("length", above=0, maximum=10) = Field("2.35 angstrom", description="where the wall begins")  # type: ignore[valid-type]
    wall_depth: quantity("energy", above=0, maximum=100) = Field("0.1 eV", description="depth of the wall's potential")  # type: ignore[valid-type]


class Selection(Word):
    """Which explored frames are labelled."""

    first: StrictInt = Field(60, ge=4, le=100_000, description="frames labelled before the first training")
    frames: StrictInt = Field(30, ge=1, le=100_000, description="frames labelled in each round, at most")
    lowest: quantity("force", above=0) = Field("0.05 eV/angstrom", description="deviation from which a frame is worth a label")  # type: ignore[valid-type]
    highest: quantity("force", above=0) = Field("0.5 eV/angstrom", description="deviation beyond which it may be unphysical")  # type: ignore[valid-type]
    enough: Annotated[StrictFloat, Field(ge=0, lt=1)] = Field(
        0.01, description="part of the frames above the lowest deviation at which no further round is made"
    )


class TrainingSpec(Word):
    """A training, from labelled frames or from a system."""

    version: Literal[1] = Field(description="version of this file's format: 1")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$", description="short name: letters, digits, . _ -")
    dataset: str | Source | None = Field(None, description="labelled frames: name or ID of a dataset, or a path")
    system: System | None = Field(None, description="what is explored")
    labels: FrameLabels | None = Field(None, description="how explored frames are labelled")
    explore: Exploration | None = Field(None, description="how the system is explored")
    select: Selection = Field(default_factory=lambda: Selection(), description="which explored frames are labelled")
    rounds: StrictInt = Field(0, ge=0, le=100, description="rounds of exploration on the learned model, at most")
    model: TrainedModel = Field(description="learned surfaces")
    last: Network = Field(
        default_factory=lambda: Network(), description="energy network of the last training, where it differs from the rounds'"
    )
    validation: Validation = Field(default_factory=lambda: Validation(), description="what the errors are told on")
    resources: Resources = Field(default_factory=lambda: Resources(), description="what a job may use")

    @property
    def explores(self) -> bool:
        """Whether frames are sampled and labelled; else the dataset is all there is."""
        return self.explore is not None

    @model_validator(mode="after")
    def _words_fit(self) -> TrainingSpec:
        if not self.explores:
            for word in ("system", "labels"):
                if getattr(self, word) is not None:
                    raise ValueError(f"@{word} allowed: with explore, which says how frames are sampled")
            if self.dataset is None:
                raise ValueError("@dataset allowed: a dataset, or the words system, labels and explore")
            if self.rounds:
                raise ValueError("@rounds allowed: with explore")
            return self
        for word in ("system", "labels"):
            if getattr(self, word) is None:
                raise ValueError(f"@{word} allowed: needed with explore")
        self._exploration_fits()
        self._labels_fit()
        return self

    def _exploration_fits(self) -> None:
        assert self.explore is not None and self.system is not None
        explore, system = self.explore, self.system
        if system.kind == "interface":
            raise ValueError("@system.kind allowed: molecule or liquid; interfaces are not explored in this release")
        models = ["tblite"] if system.kind == "molecule" else available_models("molecule")
        if explore.first not in models:
            raise ValueError(f"@explore.first allowed: {', '.join(models)} for a {system.kind}")
        for key in ("every", "length"):
            ratio = getattr(explore, key) / explore.timestep
            if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6:
                raise ValueError(f"@explore.{key} allowed: a whole multiple of timestep ({explore.timestep:g} fs)")
        frames = explore.length / explore.every
        if frames < 2 or abs(frames - round(frames)) > 1e-6:
            raise ValueError(f"@explore.length allowed: a multiple of every ({explore.every:g} fs), at least two of it")
        if "energy" not in self.model.targets:
            raise ValueError("@model.targets allowed: targets with energy, on which the exploration runs")
        if self.rounds and self.model.committee < 2:
            raise ValueError("@model.committee allowed: 2 or more with rounds; the frames are chosen by what they disagree on")
        if self.select.lowest >= self.select.highest:
            raise ValueError(f"@select.lowest allowed: below highest ({self.select.highest:g} eV/angstrom)")

    def _labels_fit(self) -> None:
        assert self.labels is not None and self.system is not None
        labels, kind = self.labels, self.system.kind
        response = {"dipole", "polarizability"} & set(self.model.targets)
        if labels.engine == COMMITTEE_WATER:
            if kind != "liquid" or self.system.molecule != "H2O":
                raise ValueError(f"@labels.engine allowed: pyscf or cp2k here; {COMMITTEE_WATER} knows bulk water alone")
            for key in ("functional", "basis", "protocol", "field"):
                if getattr(labels, key) is not None:
                    raise ValueError(f"@labels.{key} allowed: with density functional theory; {COMMITTEE_WATER} has none")
            if labels.polarizability or response:
                raise ValueError(f"@model.targets allowed: energy; {COMMITTEE_WATER} has no electrons and so no dipole")
        if labels.engine == "pyscf":
            if kind != "molecule":
                raise ValueError("@labels.engine allowed: cp2k or committee-water for a liquid; pyscf has no cells here")
            if labels.protocol is not None:
                raise ValueError("@labels.protocol allowed: with engine cp2k")
        if labels.engine == "cp2k" and labels.functional is not None and labels.functional not in Functional.__args__:
            raise ValueError(f"@labels.functional allowed: {', '.join(Functional.__args__)} with engine cp2k")
        if labels.engine == "cp2k" and labels.basis is not None and labels.basis not in BasisQuality.__args__:
            raise ValueError(f"@labels.basis allowed: {', '.join(BasisQuality.__args__)} with engine cp2k")
        if "polarizability" in self.model.targets and labels.engine == "cp2k" and not labels.polarizability:
            raise ValueError("@labels.polarizability allowed: true, for the target polarizability")

    def content_hash(self) -> str:
        """sha256 of the canonical content; the resources do not count: they change no number."""
        record = self.model_dump(mode="json", exclude={"resources"})
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON schema of the spec, for editors."""
    schema = TrainingSpec.model_json_schema(mode="validation")
    title = "vibraloom spec of a training, version 1"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def load_training_spec(path: str | Path) -> TrainingSpec:
    """Read and check a spec file.

    Raises:
        InputError: one line with file, dotted key, value and what is allowed.
    """
    from vibraloom.validation import read_yaml, validated

    return validated(TrainingSpec, read_yaml(path), str(path))
