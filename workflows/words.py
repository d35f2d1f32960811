"""The words of a spec, each by itself: keys, units as text, defaults, and what does not go together within a word.

Numbers with a unit are text ("300 K"); inside the program they are floats in Å, fs, K.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, StrictInt, model_serializer, model_validator

from vibraloom.calculators.cp2k.basis_files import BasisQuality
from vibraloom.calculators.cp2k.settings import Functional
from vibraloom.calculators.lammps.models import available_models
from vibraloom.units import quantity

COMMITTEE_WATER = "committee-water"
"""Model of the CP2K engine: the committee of neural networks for bulk water that ships with CP2K's data."""


def _is_multiple(value: float, unit: float) -> bool:
    """Whether ``value`` is ``unit`` once or several times."""
    ratio = value / unit
    return round(ratio) >= 1 and abs(ratio - round(ratio)) <= 1e-6


class Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


SAMPLING_TIMESTEP = 0.5
"""(fs) Time step of the sampling run, which takes its own."""


class Sampling(Word):
    """Where the geometries that are labelled come from: a hot, cheap trajectory."""

    engine: Literal["tblite"] = Field("tblite", description="engine of the sampling run: tblite (GFN2-xTB)")
    temperature: quantity("temperature", above=0, maximum=5000) = Field("900 K", description="temperature of the sampling run")  # type: ignore[valid-type]
    stride: quantity("time", above=0) = Field("20 fs", description="time between the frames that are labelled")  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _stride_fits(self) -> Sampling:
        if not _is_multiple(self.stride, SAMPLING_TIMESTEP):
            raise ValueError(f"@stride allowed: a whole multiple of {SAMPLING_TIMESTEP:g} fs, the time step of the sampling run")
        return self


class Labels(Word):
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


class Steps(Word):
    """Training steps of each network."""

    energy: StrictInt = Field(8000, ge=10, le=10_000_000, description="steps of the energy network")
    dipole: StrictInt = Field(12000, ge=10, le=10_000_000, description="steps of the dipole network")
    polarizability: StrictInt = Field(8000, ge=10, le=10_000_000, description="steps of the polarizability network")


class Model(Word):
    """The learned surfaces."""

    engine: Literal["deepmd"] = Field("deepmd", description="learning engine (deepmd-kit, TensorFlow backend)")
    targets: tuple[Target, ...] = Field(("energy", "dipole", "polarizability"), description="what is learned")
    steps: Steps = Field(default_factory=lambda: Steps(), description="training steps")
    seed: StrictInt = Field(1, ge=0, le=2**31 - 1, description="seed of weights and of the train/validation split")


class Dynamics(Word):
    """Molecular dynamics: thermostatted equilibration, then NVE replicas."""

    engine: Literal["ase", "lammps", "cp2k"] = Field(
        description="dynamics engine: ase (learned), lammps (classical), cp2k (first principles)"
    )
    model: str | None = Field(
        None,
        description="classical model of the LAMMPS engine, such as spc/fw; with CP2K committee-water, networks for bulk water; "
        "left out: the learned model, or density functional theory",
    )
    functional: Functional | None = Field(
        None, description="density functional of the CP2K engine; left out there: PBE-D3"
    )
    protocol: Literal["fast", "balanced", "stringent"] | None = Field(
        None, description="basis, grid and convergence of the CP2K engine; left out there: balanced"
    )
    basis: BasisQuality | None = Field(None, description="basis set of the CP2K engine; left out: that of the protocol")
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
        if isinstance(content, dict) and content.get("engine") == "cp2k" and content.get("model") is None:
            left_out = {"functional": "PBE-D3", "protocol": "balanced"}
            return {**content, **{key: value for key, value in left_out.items() if content.get(key) is None}}
        return content

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _dropped(handler(self), "functional", "protocol", "basis")

    @model_validator(mode="after")
    def _steps_fit(self) -> Dynamics:
        for key in ("every", "length", "equilibration"):
            value = getattr(self, key)
            if not (value == 0 or _is_multiple(value, self.timestep)):
                raise ValueError(f"@{key} allowed: a whole multiple of timestep ({self.timestep:g} fs)")
        if self.length < 20 * self.every:
            raise ValueError(f"@length allowed: at least 20 stored frames ({20 * self.every:g} fs)")
        if self.engine != "ase" and not _is_multiple(self.length, self.every):
            raise ValueError(f"@length allowed: a multiple of every ({self.every:g} fs) with engine {self.engine}")
        models = {"lammps": available_models("molecule"), "cp2k": [COMMITTEE_WATER]}.get(self.engine, [])
        if (self.engine == "lammps" or self.model is not None) and self.model not in models:
            raise ValueError(
                f"@model allowed: {', '.join(available_models('molecule'))} with engine lammps; {COMMITTEE_WATER} or no model "
                "with cp2k; no model with ase"
            )
        for key in ("functional", "protocol", "basis"):
            if self.engine != "cp2k" and getattr(self, key) is not None:
                raise ValueError(f"@{key} allowed: with engine cp2k only")
        return self


class Response(Word):
    """How dipole and polarizability follow from the trajectory."""

    model: Literal["learned", "point-charges", "dft"] = Field(
        "learned", description="learned surfaces, the charges of the model, or (left out with engine cp2k) dft"
    )
    polarizability_every: quantity("time", above=0) | None = Field(  # type: ignore[valid-type]
        None, description="time between the frames whose polarizability is computed (dft); left out: none is"
    )
    dipole_every: quantity("time", above=0) | None = Field(  # type: ignore[valid-type]
        None,
        description="with committee-water, time between the frames whose dipole is computed (dft); left out: none is",
    )
    wannier_every: quantity("time", above=0) | None = Field(  # type: ignore[valid-type]
        None, description="time between the frames whose Wannier centres are kept (dft); left out: none are"
    )
    potential_every: quantity("time", above=0) | None = Field(  # type: ignore[valid-type]
        None,
        description="time between the frames of an interface whose potential along the normal is kept, and with it the work "
        "function of a metal (dft); left out: none is",
    )
    hydrogen_reference: quantity("potential", above=0, maximum=20) | None = Field(  # type: ignore[valid-type]
        None,
        description="level of the computational hydrogen electrode below the vacuum, such as '4.44 V'; puts the potential on "
        "its scale",
    )
    hydrogen_reference_error: quantity("potential", minimum=0, maximum=5) | None = Field(  # type: ignore[valid-type]
        None, description="standard error of hydrogen_reference; left out: none is known"
    )

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _dropped(
            handler(self),
            "polarizability_every",
            "dipole_every",
            "wannier_every",
            "potential_every",
            "hydrogen_reference",
            "hydrogen_reference_error",
        )


def _dropped(record: dict[str, Any], *later: str) -> dict[str, Any]:
    """Without keys of a later release that are not set, so that what was hashed before keeps its hash."""
    return {key: value for key, value in record.items() if value is not None or key not in later}


By = Literal["species", "layer"]
Quantity = Literal["ir", "raman", "vdos"]


class Requested(Word):
    """One spectrum and how it is resolved."""

    quantity: Quantity
    by: tuple[By, ...] = ()


def requested(value: object) -> object:
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


class Resources(Word):
    """What a job may use; what is left out comes from the settings (``vibraloom doctor`` prints them)."""

    cores: Annotated[StrictInt, Field(ge=1, le=4096)] | None = Field(
        None, description="cores of one job; left out: the setting cores"
    )
    computer: str | None = Field(None, description="AiiDA computer that runs the jobs; left out: the setting computer")


class Deposit(Word):
    """Where the spectra go."""

    collection: str = Field("default", min_length=1, max_length=100, description="collection that receives the spectra")
