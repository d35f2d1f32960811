"""The spec of a run: one page of YAML, checked key by key, units as text (version 1).

The eight words are ``system``, ``labels``, ``model``, ``dynamics``, ``response``, ``spectra``, ``resources``, ``deposit``:
:mod:`.words` has each by itself, :mod:`.word_rules` what goes together between them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vibraloom.structures.spec import System
from vibraloom.workflows.word_rules import any_system_fits, first_principles_fit, models_fit
from vibraloom.workflows.words import Deposit, Dynamics, Labels, Model, Requested, Resources, Response, Word, requested

VERSION = 1
"""Version of the spec that this release writes; it reads all up to it."""


class Spec(Word):
    """A run, from the system to the deposit."""

    version: Literal[1] = Field(description="version of this file's format: 1")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$", description="short name: letters, digits, . _ -")
    system: System = Field(description="what is simulated")
    labels: Labels | None = Field(None, description="reference calculations for the learned model")
    model: Model | None = Field(None, description="learned model")
    dynamics: Dynamics = Field(description="molecular dynamics")
    response: Response = Field(default_factory=lambda: Response(), description="dipole and polarizability along the trajectory")
    spectra: tuple[Annotated[Requested, BeforeValidator(requested)], ...] = Field(
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
        """Whether CP2K computes forces and response along the run."""
        return self.dynamics.engine == "cp2k"

    @property
    def has_electrons(self) -> bool:
        """Whether the forces come from density functional theory, so that each frame has a dipole."""
        return self.is_first_principles and self.dynamics.model is None

    @property
    def is_metal_interface(self) -> bool:
        """Whether there is a metal in it, so that levels are partly filled."""
        return self.system.kind == "interface" and self.system.slab.is_metal

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
        any_system_fits(self)
        if self.is_first_principles:
            first_principles_fit(self, wanted)
        else:
            models_fit(self, wanted)
        return self

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
