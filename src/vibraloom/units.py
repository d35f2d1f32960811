"""Units and constants: the only place where a conversion factor is made.

Internal units: Å, fs, eV, e, amu, K, cm⁻¹. All constants derive from CODATA through :mod:`scipy.constants`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import scipy.constants as codata
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

SPEED_OF_LIGHT_CM_PER_FS = codata.c * 100 * 1e-15
"""Speed of light in cm/fs: a wavenumber (cm⁻¹) times this is a frequency (1/fs)."""
BOLTZMANN_EV_PER_K = codata.k / codata.e
"""Boltzmann constant in eV/K."""
PLANCK_C_EV_CM = codata.h * codata.c * 100 / codata.e
"""h·c in eV·cm: a wavenumber (cm⁻¹) times this is an energy (eV)."""
AMU_ANGSTROM2_PER_FS2_IN_EV = codata.atomic_mass * (codata.angstrom / 1e-15) ** 2 / codata.e
"""One amu·Å²/fs² in eV."""
EPSILON0_E2_PER_EV_ANGSTROM = codata.epsilon_0 * codata.angstrom / codata.e
"""Vacuum permittivity in e²/(eV·Å)."""
AVOGADRO = codata.N_A
"""Avogadro constant in 1/mol."""
ANGSTROM_PER_BOHR = codata.physical_constants["Bohr radius"][0] / codata.angstrom
"""One bohr in Å."""
EV_PER_HARTREE = codata.physical_constants["Hartree energy in eV"][0]
"""One hartree in eV."""
ATOMIC_TIME_IN_FS = codata.physical_constants["atomic unit of time"][0] / codata.femto
"""One atomic unit of time in fs."""
E_ANGSTROM_PER_DEBYE = 1e-21 / codata.c / codata.e / codata.angstrom
"""One debye in e·Å."""
ANGSTROM3_PER_BOHR3 = ANGSTROM_PER_BOHR**3
"""One atomic unit of polarizability (volume) in Å³."""
KCAL_PER_MOL_IN_EV = codata.calorie * 1e3 / codata.N_A / codata.e
"""One kcal/mol in eV."""
GIGAPASCAL_IN_EV_PER_ANGSTROM3 = codata.giga * codata.angstrom**3 / codata.e
"""One gigapascal in eV/Å³."""
GRAM_PER_CM3_IN_AMU_PER_ANGSTROM3 = 1e-3 / codata.atomic_mass * 1e-24
"""One g/cm³ in amu/Å³."""

# dimension -> (internal unit, {unit text: factor to internal}, example)
DIMENSIONS: dict[str, tuple[str, dict[str, float], str]] = {
    "temperature": ("K", {"K": 1.0}, "300 K"),
    "time": ("fs", {"fs": 1.0, "ps": 1e3, "ns": 1e6}, "4 ps"),
    "length": ("angstrom", {"angstrom": 1.0, "Å": 1.0, "nm": 10.0, "bohr": ANGSTROM_PER_BOHR}, "16 angstrom"),
    "density": ("g/cm^3", {"g/cm^3": 1.0, "g/cm3": 1.0, "kg/m^3": 1e-3}, "0.997 g/cm^3"),
    "energy": ("eV", {"eV": 1.0, "meV": 1e-3, "kcal/mol": KCAL_PER_MOL_IN_EV, "hartree": EV_PER_HARTREE}, "0.1 eV"),
    "force": ("eV/angstrom", {"eV/angstrom": 1.0, "meV/angstrom": 1e-3}, "0.1 eV/angstrom"),
    "dipole": (
        "e*angstrom",
        {"e*angstrom": 1.0, "debye": E_ANGSTROM_PER_DEBYE, "e*bohr": ANGSTROM_PER_BOHR},
        "0.385 e*angstrom",
    ),
    "polarizability": ("angstrom^3", {"angstrom^3": 1.0, "bohr^3": ANGSTROM3_PER_BOHR3}, "1.45 angstrom^3"),
    "wavenumber": ("cm^-1", {"cm^-1": 1.0}, "3400 cm^-1"),
    "wavelength": ("nm", {"nm": 1.0}, "532 nm"),
    "electric_field": ("au", {"au": 1.0}, "0.002 au"),
    "potential": ("V", {"V": 1.0, "mV": 1e-3}, "4.44 V"),
}

_QUANTITY = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d].*?)\s*$")


def parse_quantity(text: object, dimension: str) -> float:
    """Turn text such as ``"4 ps"`` into a float in the internal unit of ``dimension``.

    Args:
        text: number and unit, separated by a blank or nothing.
        dimension: a key of :data:`DIMENSIONS`.

    Raises:
        ValueError: no text, no unit, or a unit of another dimension; the message says what is allowed.
    """
    _, factors, example = DIMENSIONS[dimension]
    allowed = (
        f"allowed: a {dimension.replace('_', ' ')} as text with its unit ({', '.join(factors)}), such as '{example}'"
    )
    if not isinstance(text, str):
        raise ValueError(allowed)
    match = _QUANTITY.match(text)
    if match is None or match.group(2) not in factors:
        raise ValueError(allowed)
    return float(match.group(1)) * factors[match.group(2)]


def unit_factor(unit: str, dimension: str) -> float:
    """Factor that turns a number in ``unit`` into the internal unit of ``dimension``.

    Raises:
        ValueError: the unit is not one of that dimension; the message lists those that are.
    """
    factors = DIMENSIONS[dimension][1]
    if unit not in factors:
        raise ValueError(f"unit {unit!r} is not a {dimension}; allowed: {', '.join(factors)}")
    return factors[unit]


def format_quantity(value: float, dimension: str) -> str:
    """Text of ``value`` (internal unit of ``dimension``) that :func:`parse_quantity` reads back."""
    return f"{value:.12g} {DIMENSIONS[dimension][0]}"


def quantity(
    dimension: str, *, minimum: float | None = None, above: float | None = None, maximum: float | None = None
) -> Any:
    """A pydantic type: written as text with a unit, held as float in the internal unit.

    Args:
        dimension: a key of :data:`DIMENSIONS`.
        minimum, above, maximum: bounds in the internal unit (``above`` is exclusive).
    """
    unit = DIMENSIONS[dimension][0]
    bounds = []
    if minimum is not None:
        bounds.append(f"at least {minimum:g} {unit}")
    if above is not None:
        bounds.append(f"above {above:g} {unit}")
    if maximum is not None:
        bounds.append(f"at most {maximum:g} {unit}")

    def check(text: object) -> float:
        value = parse_quantity(text, dimension)
        below = (minimum is not None and value < minimum) or (above is not None and value <= above)
        if below or (maximum is not None and value > maximum) or value != value:
            raise ValueError(f"allowed: {' and '.join(bounds)}")
        return value

    _, factors, example = DIMENSIONS[dimension]
    units = "|".join(re.escape(name) for name in factors)
    return Annotated[
        float,
        BeforeValidator(check),
        PlainSerializer(lambda value: format_quantity(value, dimension), return_type=str),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": rf"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*({units})\s*$",
                "examples": [example],
                "description": f"{dimension.replace('_', ' ')} with its unit"
                + (f", {' and '.join(bounds)}" if bounds else ""),
            }
        ),
        Field(),
    ]
