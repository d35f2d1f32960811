"""Classical models with their parameters and their source, kept as YAML in models/.

Mixing rule between all pairs: sigma arithmetic, epsilon geometric (Lorentz–Berthelot, as in CHARMM and
AMBER). Lengths in Å, energies in kcal/mol, charges in e, masses in amu: the units of the papers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vibraloom.calculators.charges.elements import SYMBOLS
from vibraloom.errors import InputError

FOLDER = Path(__file__).parent / "models"
MIXING = "sigma arithmetic, epsilon geometric"
METAL_MODEL = "heinz/lj"
"""The model of slab atoms when the settings name none."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(_Strict):
    """Where the parameters come from, and how they were verified."""

    citation: str = Field(min_length=1)
    doi: str = Field(pattern=r"^10\.\d{4,}/\S+$")
    verified: str = Field(min_length=1)


class Bond(_Strict):
    """Harmonic bond, E = k/2 (r - r0)²; k in kcal/mol/Å², r0 in Å."""

    atoms: tuple[str, str]
    k: float = Field(gt=0)
    r0: float = Field(gt=0)


class Angle(_Strict):
    """Harmonic angle about the middle atom, E = k/2 (θ - θ0)²; k in kcal/mol/rad², θ0 in degrees."""

    atoms: tuple[str, str, str]
    k: float = Field(gt=0)
    theta0: float = Field(gt=0, le=180)


class LennardJones(_Strict):
    """12-6 potential: depth (kcal/mol), and either sigma or the distance of the minimum r0 (Å)."""

    epsilon: float = Field(ge=0)
    sigma: float | None = Field(default=None, ge=0)
    r0: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_length(self) -> LennardJones:
        if (self.sigma is None) == (self.r0 is None):
            raise ValueError("give sigma or r0, not both")
        return self

    @property
    def diameter(self) -> float:
        """sigma in Å; sigma = r0 / 2^(1/6)."""
        return self.sigma if self.sigma is not None else float(self.r0 or 0.0) / 2 ** (1 / 6)


class ClassicalModel(_Strict):
    """One force field for one kind of matter: a molecular liquid, or rigid metals."""

    model_schema: Literal[1] = Field(alias="schema")
    name: str
    kind: Literal["molecule", "metal"]
    title: str
    source: Source
    charges: dict[str, float]
    masses: dict[str, float]
    lj: dict[str, LennardJones]
    composition: dict[str, int] = {}
    bonds: tuple[Bond, ...] = ()
    angles: tuple[Angle, ...] = ()
    cutoff: float = Field(gt=0)
    note: str = ""

    @model_validator(mode="after")
    def _complete(self) -> ClassicalModel:
        species = set(self.lj)
        if set(self.charges) != species or set(self.masses) != species:
            raise ValueError("charges, masses and lj name different species")
        bonded = {atom for bond in self.bonds for atom in bond.atoms}
        bonded |= {atom for angle in self.angles for atom in angle.atoms}
        unknown = (bonded - species) | (species - set(SYMBOLS))
        if unknown or min(self.masses.values()) <= 0:
            raise ValueError(f"unknown species {sorted(unknown)} or a mass that is not positive")
        if self.kind == "molecule":
            if set(self.composition) != species:
                raise ValueError("composition must name each species of the molecule")
            total = sum(self.charges[name] * count for name, count in self.composition.items())
            if abs(total) > 1e-9:
                raise ValueError(f"the molecule carries {total:g} e; only neutral molecules are allowed")
        return self

    @property
    def formula(self) -> str:
        """The molecule's composition as text, such as ``O1H2``."""
        return "".join(f"{name}{count}" for name, count in self.composition.items())


@cache
def _library() -> dict[str, ClassicalModel]:
    models = [read_model(path) for path in sorted(FOLDER.glob("*.yaml"))]
    return {model.name: model for model in models}


def read_model(path: Path) -> ClassicalModel:
    """Read and validate one model file.

    Raises:
        InputError: no such file, not YAML, or an entry that is missing or not allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ClassicalModel.model_validate(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the model"
        raise InputError(f"{path}: {key}: {first['msg']}") from error


def available_models(kind: Literal["molecule", "metal"] | None = None) -> list[str]:
    """Names of the models that ship with vibraloom, of one kind or of both."""
    return sorted(name for name, model in _library().items() if kind in (None, model.kind))


def load_model(name: str, kind: Literal["molecule", "metal"] | None = None) -> ClassicalModel:
    """The model of that name.

    Raises:
        InputError: no such model, or one of another kind; the message lists those allowed.
    """
    allowed = available_models(kind)
    if name not in allowed:
        what = f"classical {kind} model" if kind else "classical model"
        raise InputError(f"dynamics.model: {name!r} is not a {what}; allowed: {', '.join(allowed)}")
    return _library()[name]


def species_of(numbers: NDArray[np.integer]) -> list[str]:
    """Chemical symbol of each atomic number.

    Raises:
        InputError: a number outside 1…118.
    """
    values = np.asarray(numbers)
    if values.size and (values.min() < 1 or values.max() >= len(SYMBOLS)):
        raise InputError(
            f"numbers: {int(values.min())}…{int(values.max())} are not atomic numbers; allowed: 1 to {len(SYMBOLS) - 1}"
        )
    return [SYMBOLS[int(value)] for value in values]


def assign_models(
    numbers: NDArray[np.integer],
    molecules: NDArray[np.integer],
    liquid: ClassicalModel,
    metal: ClassicalModel,
) -> list[ClassicalModel]:
    """The model of each atom: ``metal`` where the molecule id is -1, ``liquid`` elsewhere.

    Args:
        numbers: Array of int with shape (A,), atomic numbers.
        molecules: Array of int with shape (A,), molecule ids, -1 for the slab.
        liquid, metal: the two models.

    Raises:
        InputError: an atom that its model does not know.
    """
    chosen = []
    for index, (symbol, molecule) in enumerate(zip(species_of(numbers), molecules, strict=True)):
        model = metal if molecule < 0 else liquid
        if symbol not in model.lj:
            place = "slab" if molecule < 0 else f"molecule {int(molecule)}"
            raise InputError(
                f"atom {index} ({place}): model {model.name} does not know {symbol}; allowed: {', '.join(model.lj)}"
            )
        chosen.append(model)
    return chosen


def model_charges(
    numbers: NDArray[np.integer], molecules: NDArray[np.integer], liquid: str, metal: str = METAL_MODEL
) -> NDArray[np.float64]:
    """Charge of each atom (e), shape (A,), from the names of the two models.

    Args:
        numbers: Array of int with shape (A,), atomic numbers.
        molecules: Array of int with shape (A,), molecule ids, -1 for the slab.
        liquid, metal: names of the models.

    Raises:
        InputError: an unknown model, or an atom that its model does not know.
    """
    models = assign_models(numbers, molecules, load_model(liquid, "molecule"), load_model(metal, "metal"))
    return np.array([m.charges[s] for m, s in zip(models, species_of(numbers), strict=True)], dtype=np.float64)
