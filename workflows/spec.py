"""The spec of a run: one page of YAML, checked key by key, units as text (version 1).

The eight words are ``system``, ``labels``, ``model``, ``dynamics``, ``response``, ``spectra``, ``resources``, ``deposit``.
Numbers with a unit are text ("300 K"); inside the program they are floats in Å, fs, K.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictInt,
    model_serializer,
    model_validator,
)

from vibraloom.calculators.cp2k.settings import Functional
from vibraloom.calculators.lammps.models import available_models
from vibraloom.structures.spec import System
from vibraloom.units import quantity

VERSION = 1
"""Version of the spec that this release writes; it reads all up to it."""
FEWEST_SAMPLES = 7
"""Polarizabilities along a run that leave room for an error bar of the Raman spectrum."""


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Sampling(_Word):
    """Where the geometries that are labelled come from: a hot, cheap trajectory."""

    engine: Literal["tblite"] = Field("tblite", description="engine of the sampling run: tblite (GFN2-xTB)")
    temperature: quantity("temperature", above=0, maximum=5000) = Field("900 K", description="temperature of the sampling run")  # type: ignore[valid-type]
    stride: quantity("time", above=0) = Field("20 fs", description="time between the frames that are labelled")  # type: ignore[valid-type]


class Labels(_Word):
    """Reference calculations: energy, forces, dipole, and polarizability by a pair of opposite fields."""

    engine: Literal["pyscf"] = Field("pyscf", description="electronic-structure engine")
    functional: str = Field("PBE", description="density functional, by its libxc name")
    basis: str = Field("aug-cc-pVDZ", description="basis set, by its name in pyscf; diffuse functions are needed for Raman")
    frames: StrictInt = Field(90, ge=4, le=100_000, description="number of labelled frames")
    sample: Sampling = Field(default_factory=lambda: Sampling(), description="how the frames are sampled")
    field: quantity("electric_field", above=0, maximum=0.02) = Field(  # type: ignore[valid-type]
        "0.002 au", description="field of the finite difference behind the polarizability"
    )
    seed: StrictInt = Field(11, ge=0, le=2**31 - 1, description="seed of the sampling run")


Target = Literal["energy", "dipole", "polarizability"]


class Steps(_Word):
    """Training steps of each network."""

    energy: StrictInt = Field(8000, ge=10, le=10_000_000, description="steps of the energy network")
    dipole: StrictInt = Field(12000, ge=10, le=10_000_000, description="steps of the dipole network")
    polarizability: StrictInt = Field(8000, ge=10, le=10_000_000, description="steps of the polarizability network")


class Model(_Word):
    """The learned surfaces."""

    engine: Literal["deepmd"] = Field("deepmd", description="learning engine (deepmd-kit, TensorFlow backend)")
    targets: tuple[Target, ...] = Field(("energy", "dipole", "polarizability"), description="what is learned")
    steps: Steps = Field(default_factory=lambda: Steps(), description="training steps")
    seed: StrictInt = Field(1, ge=0, le=2**31 - 1, description="seed of weights and of the train/validation split")


class Dynamics(_Word):
    """Molecular dynamics: thermostatted equilibration, then NVE replicas."""

    engine: Literal["ase", "lammps", "cp2k"] = Field(
        description="dynamics engine: ase (learned), lammps (classical), cp2k (first principles)"
    )
    model: str | None = Field(None, description="classical model of the LAMMPS engine, such as spc/fw; absent: the learned model")
    functional: Functional | None = Field(
        None, description="density functional of the CP2K engine; left out there: PBE-D3"
    )
    protocol: Literal["fast", "balanced", "stringent"] | None = Field(
        None, description="basis, grid and convergence of the CP2K engine; left out there: balanced"
    )
    temperature: quantity("temperature", above=0, maximum=5000) = Field("300 K", description="temperature")  # type: ignore[valid-type]
    timestep: quantity("time", above=0, maximum=5) = Field("0.5 fs", description="integration time step")  # type: ignore[valid-type]
    equilibration: quantity("time", minimum=0) = Field("1 ps", description="thermostatted run before the production")  # type: ignore[valid-type]
    length: quantity("time", above=0) = Field(description="length of the production run of each replica")  # type: ignore[valid-type]
    every: quantity("time", above=0) = Field("1 fs", description="time between stored frames; a multiple of the time step")  # type: ignore[valid-type]
    replicas: StrictInt = Field(1, ge=1, le=1000, description="number of independent runs")
    seed: StrictInt = Field(7, ge=0, le=2**31 - 1, description="seed of velocities and thermostat")
    interrupted: Literal["continue", "rerun"] = Field(
        "continue", description="after an interruption: continue from the last checkpoint, or rerun from the seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _method_of_cp2k(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("engine") == "cp2k":
            return {"functional": "PBE-D3", "protocol": "balanced", **{k: v for k, v in content.items() if v is not None}}
        return content

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _dropped(handler(self), "functional", "protocol")

    @model_validator(mode="after")
    def _steps_fit(self) -> Dynamics:
        for key in ("every", "length", "equilibration"):
            ratio = getattr(self, key) / self.timestep
            if abs(ratio - round(ratio)) > 1e-6:
                raise ValueError(f"@{key} allowed: a whole multiple of timestep ({self.timestep:g} fs)")
        if self.length < 20 * self.every:
            raise ValueError(f"@length allowed: at least 20 stored frames ({20 * self.every:g} fs)")
        if (self.engine == "lammps") != (self.model is not None):
            raise ValueError("@model allowed: a classical model such as spc/fw with engine lammps; no model with ase and cp2k")
        for key in ("functional", "protocol"):
            if self.engine != "cp2k" and getattr(self, key) is not None:
                raise ValueError(f"@{key} allowed: with engine cp2k only")
        if self.model is not None and self.model not in available_models("molecule"):
            raise ValueError(f"@model allowed: {', '.join(available_models('molecule'))}")
        return self


class Response(_Word):
    """How dipole and polarizability follow from the trajectory."""

    model: Literal["learned", "point-charges", "dft"] = Field(
        "learned", description="learned surfaces, the charges of the model, or (left out with engine cp2k) dft"
    )
    polarizability_every: quantity("time", above=0) | None = Field(  # type: ignore[valid-type]
        None, description="time between the frames whose polarizability is computed (dft); left out: none is"
    )

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _dropped(handler(self), "polarizability_every")


def _dropped(record: dict[str, Any], *later: str) -> dict[str, Any]:
    """Without keys of a later release that are not set, so that what was hashed before keeps its hash."""
    return {key: value for key, value in record.items() if value is not None or key not in later}


By = Literal["species", "layer"]
Quantity = Literal["ir", "raman", "vdos"]


class Requested(_Word):
    """One spectrum and how it is resolved."""

    quantity: Quantity
    by: tuple[By, ...] = ()


def _requested(value: object) -> object:
    allowed = "allowed: ir, raman or vdos, or one of them with 'by', such as {vdos: {by: [species, layer]}}"
    if isinstance(value, Requested):
        return value
    if isinstance(value, str) and value in ("ir", "raman", "vdos"):
        return {"quantity": value}
    if isinstance(value, dict) and set(value) == {"quantity", "by"}:
        return value
    if isinstance(value, dict) and len(value) == 1:
        name, options = next(iter(value.items()))
        by = options.get("by") if isinstance(options, dict) and set(options) <= {"by"} else None
        known = isinstance(by, list) and by and all(entry in ("species", "layer") for entry in by)
        if name in ("ir", "raman", "vdos") and (known or options == {}):
            return {"quantity": name, "by": tuple(by or ())}
    raise ValueError(allowed)


class Resources(_Word):
    """What a job may use; what is left out comes from the settings (``vibraloom doctor`` prints them)."""

    cores: Annotated[StrictInt, Field(ge=1, le=4096)] | None = Field(
        None, description="cores of one job; left out: the setting cores"
    )
    computer: str | None = Field(None, description="AiiDA computer that runs the jobs; left out: the setting computer")


class Deposit(_Word):
    """Where the spectra go."""

    collection: str = Field("default", min_length=1, max_length=100, description="collection that receives the spectra")


class Spec(_Word):
    """A run, from the system to the deposit."""

    version: Literal[1] = Field(description="version of this file's format: 1")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$", description="short name: letters, digits, . _ -")
    system: System = Field(description="what is simulated")
    labels: Labels | None = Field(None, description="reference calculations for the learned model")
    model: Model | None = Field(None, description="learned model")
    dynamics: Dynamics = Field(description="molecular dynamics")
    response: Response = Field(default_factory=lambda: Response(), description="dipole and polarizability along the trajectory")
    spectra: tuple[Annotated[Requested, BeforeValidator(_requested)], ...] = Field(
        min_length=1,
        description="spectra to compute",
        json_schema_extra={
            "items": {
                "anyOf": [
                    {"enum": ["ir", "raman", "vdos"]},
                    {
                        "type": "object",
                        "propertyNames": {"enum": ["ir", "raman", "vdos"]},
                        "minProperties": 1,
                        "maxProperties": 1,
                        "additionalProperties": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"by": {"type": "array", "items": {"enum": ["species", "layer"]}}},
                        },
                    },
                ]
            }
        },
    )
    resources: Resources = Field(default_factory=lambda: Resources(), description="what a job may use")
    deposit: Deposit = Field(default_factory=lambda: Deposit(), description="where the spectra go")

    @property
    def is_learned(self) -> bool:
        """Whether the dynamics run on a learned surface."""
        return self.dynamics.engine == "ase"

    @property
    def is_first_principles(self) -> bool:
        """Whether forces and response are computed by density functional theory along the run."""
        return self.dynamics.engine == "cp2k"

    @model_validator(mode="before")
    @classmethod
    def _response_of_cp2k(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        dynamics, response = content.get("dynamics"), content.get("response")
        engine = dynamics.get("engine") if isinstance(dynamics, dict) else getattr(dynamics, "engine", None)
        if engine == "cp2k" and (response is None or isinstance(response, dict)):
            return {**content, "response": {"model": "dft", **(response or {})}}
        return content

    @model_validator(mode="after")
    def _words_fit(self) -> Spec:
        wanted = {request.quantity for request in self.spectra}
        if self.is_first_principles:
            self._first_principles_fit(wanted)
        else:
            self._models_fit(wanted)
        if self.system.kind != "interface" and any("layer" in request.by for request in self.spectra):
            raise ValueError(f"@spectra allowed: 'by: [species]' for a {self.system.kind}; layers need an interface")
        return self

    def _first_principles_fit(self, wanted: set[Quantity]) -> None:
        for word in ("labels", "model"):
            if getattr(self, word) is not None:
                raise ValueError(f"@{word} allowed: with dynamics.engine ase only; cp2k computes forces and response itself")
        whole = self.dynamics.length / self.dynamics.every
        if abs(whole - round(whole)) > 1e-6:
            raise ValueError(f"@dynamics.length allowed: a multiple of every ({self.dynamics.every:g} fs) with engine cp2k")
        if self.response.model != "dft":
            raise ValueError("@response.model allowed: dft with dynamics.engine cp2k")
        every = self.response.polarizability_every
        if self.system.kind == "interface" and wanted != {"vdos"}:
            raise ValueError(
                "@spectra allowed: vdos; without a gap a metal has neither a Berry-phase dipole nor a polarizability in a "
                "periodic field. For the response of this interface take the charges of a classical model (engine lammps), "
                "or the dipole along the normal from the charge density times z across the vacuum"
            )
        if every is None and "raman" in wanted:
            raise ValueError(
                "@response.polarizability_every allowed: a time such as '2 fs', a multiple of dynamics.every; without it no "
                "polarizability is computed for raman"
            )
        if every is None:
            return
        if "raman" not in wanted:
            raise ValueError("@response.polarizability_every allowed: with raman among the spectra")
        ratio = every / self.dynamics.every
        if abs(ratio - round(ratio)) > 1e-6:
            raise ValueError(f"@response.polarizability_every allowed: a multiple of dynamics.every ({self.dynamics.every:g} fs)")
        longest = self.dynamics.length / (FEWEST_SAMPLES - 1)
        if every > longest * (1 + 1e-9):
            raise ValueError(
                f"@response.polarizability_every allowed: at most {longest:.3g} fs in {self.dynamics.length:g} fs; an error bar "
                f"needs {FEWEST_SAMPLES} polarizabilities"
            )

    def _models_fit(self, wanted: set[Quantity]) -> None:
        learned = self.is_learned
        if learned and (self.labels is None or self.model is None):
            missing = "labels" if self.labels is None else "model"
            raise ValueError(f"@{missing} allowed: the words labels and model, or dynamics with a classical model")
        if self.response.model != "point-charges" and not learned:
            raise ValueError("@response.model allowed: point-charges with a classical model")
        if self.response.model != "learned" and learned:
            raise ValueError("@response.model allowed: learned with a learned model")
        if self.response.polarizability_every is not None:
            raise ValueError("@response.polarizability_every allowed: with dynamics.engine cp2k only")
        if "raman" in wanted and self.response.model == "point-charges":
            raise ValueError("@spectra allowed: ir and vdos; point charges have no polarizability")
        if learned and self.model is not None:
            needed: dict[str, Target] = {"ir": "dipole", "raman": "polarizability", "vdos": "energy"}
            for target in ("energy", *(needed[name] for name in sorted(wanted))):
                if target not in self.model.targets:
                    raise ValueError(f"@model.targets allowed: targets that include {target}, which these spectra need")
        if self.system.kind == "liquid":
            raise ValueError("@dynamics.engine allowed: cp2k for a liquid in a periodic cell")
        if self.system.kind == "interface" and learned:
            raise ValueError(
                "@dynamics.model allowed: a classical model such as spc/fw; interfaces are not learned in this release"
            )
        if self.system.kind == "molecule" and not learned:
            raise ValueError("@dynamics.engine allowed: ase with a learned model, or cp2k, for a molecule")

    def content_hash(self) -> str:
        """sha256 of the canonical content; ``deposit`` and the resources do not count: they change no number."""
        record = self.model_dump(mode="json", exclude={"deposit", "resources"})
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON schema of the spec, for editors."""
    schema = Spec.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "vibraloom spec, version 1"}


def load_spec(path: str | Path) -> Spec:
    """Read and check a spec file.

    Raises:
        InputError: one line with file, dotted key, value and what is allowed.
    """
    from vibraloom.validation import read_yaml, validated

    return validated(Spec, read_yaml(path), str(path))
