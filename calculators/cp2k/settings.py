"""What a CP2K calculation is asked to do, checked when it is made: method, protocol, dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vibraloom.calculators.cp2k.basis_files import BasisQuality, Flavour
from vibraloom.calculators.cp2k.input_text import check_form
from vibraloom.calculators.cp2k.printed_units import refuse_units
from vibraloom.errors import InputError
from vibraloom.validation import read_yaml, validated

Functional = Literal["PBE", "PBE-D3", "BLYP-D3", "revPBE-D3", "RPBE-D3", "r2SCAN"]
FUNCTIONALS: tuple[str, ...] = get_args(Functional)
PROTOCOLS = ("fast", "balanced", "stringent")
MAGNETIC = frozenset(("Cr", "Mn", "Fe", "Co", "Ni"))
"""Elements whose crystals and oxides have magnetic moments, so that their electrons do not all pair."""
_SECTIONS = (("GLOBAL",), ("FORCE_EVAL", "DFT"), ("FORCE_EVAL", "SUBSYS"), ("MOTION", "MD"), ("MOTION", "PRINT"))
"""Sections that our inputs have once."""
_FLAVOURS: dict[str, Flavour] = {"BLYP-D3": "BLYP", "r2SCAN": "SCAN"}


class Cp2kRecord(BaseModel):
    """Base of the settings: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Smearing(Cp2kRecord):
    """Fermi–Dirac occupation of the levels around the Fermi energy, for metals."""

    electronic_temperature: float = Field(300.0, gt=0, le=5000, description="K; the entropy goes into the energy")
    empty_levels: float = Field(0.2, gt=0, le=2, description="empty levels, as a fraction of the occupied ones")
    mixing: float = Field(0.2, gt=0, le=1, description="share of the new density in each Broyden step")


class Cp2kSettings(Cp2kRecord):
    """The method of a calculation: functional, basis, grid, self-consistency, boundary.

    ``scf: ot`` is the orbital transformation and needs a gap; ``scf: diagonalisation`` takes ``smearing`` and
    ``kpoints``. A cell that is periodic along two vectors (a slab) is computed as a three-dimensional one with the
    dipole correction along its normal (``slab: dipole_correction``), or with a Poisson solver that is periodic in
    the plane only (``slab: in_plane``).
    """

    protocol: Literal["fast", "balanced", "stringent"] | None = None
    functional: Functional = "PBE-D3"
    basis: BasisQuality
    elements: dict[str, BasisQuality] = Field(default_factory=dict, description="basis of single elements, such as {Au: DZVP}")
    cutoff: float = Field(ge=100, le=3000, description="Ry, of the plane-wave grid")
    relative_cutoff: float = Field(ge=20, le=300, description="Ry, grid level that a Gaussian is put on")
    scf_convergence: float = Field(ge=1e-12, le=1e-4)
    default_precision: float = Field(ge=1e-18, le=1e-8, description="EPS_DEFAULT")
    force_convergence: float = Field(ge=1e-7, le=1e-2, description="hartree/bohr, largest force after optimisation")
    scf: Literal["ot", "diagonalisation"] = "ot"
    preconditioner: Literal["FULL_SINGLE_INVERSE", "FULL_ALL", "FULL_KINETIC"] = "FULL_SINGLE_INVERSE"
    minimizer: Literal["DIIS", "CG"] = "DIIS"
    smearing: Smearing | None = None
    kpoints: tuple[int, int, int] | None = Field(None, description="Monkhorst–Pack mesh; left out: Gamma point")
    charge: int = Field(0, ge=-20, le=20, description="e, of the whole cell")
    multiplicity: int = Field(1, ge=1, le=100, description="2S + 1; above 1 the spins are treated apart")
    slab: Literal["dipole_correction", "in_plane"] = "dipole_correction"
    field_across_vacuum: bool = Field(False, description="true: a response along the vacuum of a slab is wanted")
    overrides: dict[str, Any] = Field(default_factory=dict, description="nested CP2K input laid over ours")

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, value: dict[str, str]) -> dict[str, str]:
        from ase.data import chemical_symbols  # the spec is read where ASE is not installed

        for element in value:
            if element not in chemical_symbols[1:]:
                raise ValueError(f"allowed: chemical symbols such as O; not {element!r}")
        return value

    @field_validator("kpoints")
    @classmethod
    def _mesh(cls, value: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if value is not None and not all(1 <= count <= 64 for count in value):
            raise ValueError("allowed: three whole numbers from 1 to 64")
        return None if value == (1, 1, 1) else value

    @field_validator("overrides")
    @classmethod
    def _well_formed(cls, value: dict[str, Any]) -> dict[str, Any]:
        upper = _upper_case(value)
        try:
            _check_sections(upper)
            check_form(_without_removals(upper), "overrides")
            refuse_units(upper, "overrides")
        except InputError as error:
            raise ValueError(str(error)) from None
        if "EXT_RESTART" in upper:
            raise ValueError("allowed: everything but EXT_RESTART, which continuation sets itself")
        if isinstance(upper.get("GLOBAL"), dict) and {"PROJECT", "PROJECT_NAME", "RUN_TYPE"} & set(upper["GLOBAL"]):
            raise ValueError("allowed: everything but GLOBAL/PROJECT and GLOBAL/RUN_TYPE, by which results are found")
        return upper

    @model_validator(mode="after")
    def _fits_together(self) -> Cp2kSettings:
        if self.scf == "ot" and self.kpoints is not None:
            raise ValueError(
                "@kpoints the orbital transformation knows the Gamma point only; allowed: no kpoints (and a larger "
                "cell), or scf: diagonalisation"
            )
        if self.scf == "ot" and self.smearing is not None:
            raise ValueError(
                "@smearing the orbital transformation keeps every level full or empty; allowed: no smearing, or "
                "scf: diagonalisation"
            )
        return self

    @property
    def flavour(self) -> Flavour:
        """Functional that the pseudopotentials were made for: BLYP, SCAN (for r2SCAN) or PBE."""
        return _FLAVOURS.get(self.functional, "PBE")

    @property
    def dispersion(self) -> str | None:
        """CP2K's name of the D3 parameters (zero damping), or None."""
        return self.functional.removesuffix("-D3") if self.functional.endswith("-D3") else None

    def quality(self, element: str) -> BasisQuality:
        """Basis quality of ``element``."""
        return self.elements.get(element, self.basis)

    def record(self) -> dict[str, Any]:
        """Plain JSON types of all entries, for job.json and the provenance."""
        return self.model_dump(mode="json")

    @classmethod
    def from_protocol(cls, protocol: str, functional: str = "PBE-D3", overrides: Mapping[str, Any] | None = None) -> Cp2kSettings:
        """Settings of a protocol.

        Args:
            protocol: "fast", "balanced" or "stringent".
            functional: one of :data:`FUNCTIONALS`.
            overrides: entries of these settings, by their names; ``overrides: {FORCE_EVAL: …}`` among them is laid
                over the CP2K input itself.

        Raises:
            InputError: an unknown protocol, functional or entry, or a value that is not allowed.
        """
        content = {**read_protocol(protocol), "protocol": protocol, "functional": functional, **(overrides or {})}
        content.pop("description", None)
        return validated(cls, content, "cp2k")


class MdSettings(Cp2kRecord):
    """Molecular dynamics: what is integrated, and which step is printed.

    Attributes with ``every`` in their name count steps; 0 means never.
    """

    ensemble: Literal["NVE", "NVT"] = "NVE"
    temperature: float = Field(gt=0, le=5000, description="K, of the first velocities and of the thermostat")
    timestep: float = Field(0.5, gt=0, le=5, description="fs")
    steps: int = Field(ge=1, description="steps in all")
    seed: int = Field(ge=0, le=2**31 - 2)
    replica: int = Field(0, ge=0, description="another index gives other velocities")
    every: int = Field(1, ge=1, description="steps between frames")
    thermostat_time: float = Field(50.0, gt=0, description="fs, time constant of the velocity-rescaling thermostat")
    wannier_every: int = Field(0, ge=0)
    hartree_every: int = Field(0, ge=0)
    density_every: int = Field(0, ge=0)
    restart_every: int = Field(1, ge=1, description="steps between restart files")

    @model_validator(mode="after")
    def _strides_fit(self) -> MdSettings:
        for key in ("wannier_every", "hartree_every", "density_every"):
            if getattr(self, key) % self.every:
                raise ValueError(f"@{key} allowed: 0 or a multiple of every ({self.every}), so that each has its frame")
        if self.steps % self.every:
            raise ValueError(f"@steps allowed: a multiple of every ({self.every})")
        return self

    @classmethod
    def checked(cls, content: Mapping[str, Any]) -> MdSettings:
        """The same from plain JSON types.

        Raises:
            InputError: one line with key, value and what is allowed.
        """
        return validated(cls, dict(content), "dynamics")


def read_protocol(name: str) -> dict[str, Any]:
    """Entries of a protocol, its ``description`` among them.

    Raises:
        InputError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"cp2k: protocol: {name!r}: allowed: {', '.join(PROTOCOLS)}")
    with resources.as_file(resources.files(__package__) / "protocols" / f"{name}.yaml") as path:
        content: dict[str, Any] = read_yaml(Path(path))
    return content


def _upper_case(content: Any) -> Any:
    """Keys in upper case, as CP2K's reader takes them."""
    if isinstance(content, dict):
        return {key.upper() if isinstance(key, str) else key: _upper_case(value) for key, value in content.items()}
    return [_upper_case(entry) for entry in content] if isinstance(content, list | tuple) else content


def _without_removals(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_removals(value) for key, value in content.items() if value is not None}
    return [_without_removals(entry) for entry in content] if isinstance(content, list) else content


def _check_sections(overrides: dict[str, Any]) -> None:
    """Refuse what would take the place of a section that every input has, or a KIND without its name."""
    for path in _SECTIONS:
        here: Any = overrides
        for depth, name in enumerate(path, start=1):
            if name not in here:
                break
            here = here[name]
            if not isinstance(here, dict):
                raise InputError(f"overrides: {'/'.join(path[:depth])}: {here!r}; allowed: a section, as a mapping")
        else:
            kinds = here.get("KIND", [])
            for kind in kinds if isinstance(kinds, list) else [kinds]:
                if path[-1] == "SUBSYS" and not (isinstance(kind, dict) and isinstance(kind.get("_"), str)):
                    raise InputError(f"overrides: {'/'.join(path)}/KIND: {kind!r}; allowed: a mapping with its name under _")
