"""What every spectrum here is: numbers on a wavenumber axis, and the conventions that give them meaning."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SCHEMA = 1
"""Schema number of a stored spectrum."""


@dataclass(frozen=True)
class Conventions:
    """How a spectrum was made; without it, a number on a spectrum means nothing.

    Times in fs, temperatures in K, volumes in Å³, areas in Å², wavenumbers in cm⁻¹.
    ``None`` means that the entry does not apply (a VDOS has no quantum correction).
    """

    estimator: str
    """How the spectral density was estimated, e.g. ``autocorrelation``."""
    window: str
    """Name of the window that multiplies the autocorrelation."""
    correlation_time: float
    """Correlation depth in fs."""
    derivative: str
    """How the time derivative was taken, e.g. ``forward difference, divided by sinc^2(w dt/2)``."""
    quantum_correction: str | None
    """``harmonic``, ``standard``, ``schofield``, ``classical`` (none applied); None where it does not apply."""
    timestep: float
    """Time between frames of the analysed series in fs (integration time step times stride)."""
    frames: int
    """Number of frames per series."""
    replicas: int
    """Number of independent series."""
    blocks: int
    """Number of blocks behind the standard error; 0: no error bars."""
    temperature: float | None
    """Temperature in K used in the prefactor."""
    volume: float | None = None
    """Cell volume in Å³ used in the prefactor."""
    area: float | None = None
    """Surface area in Å² used in the prefactor."""
    boundary: str | None = None
    """Electrostatic boundary of a slab response, e.g. ``fixed D along z``."""
    laser_wavelength: float | None = None
    """Laser wavelength in nm of a Raman spectrum."""
    form: str | None = None
    """Named definition of the quantity, with its formula."""
    notes: tuple[str, ...] = ()
    """Warnings and stamps that must travel with the numbers."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further entries, plain JSON types."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Conventions:
        """Rebuild from :meth:`as_dict`."""
        return cls(**{**record, "notes": tuple(record.get("notes", ()))})


@dataclass(frozen=True)
class Verdict:
    """Whether the error bars allow the spectrum to be called converged, and where."""

    converged: bool
    reason: str
    ranges: tuple[dict[str, Any], ...] = ()
    """One dict per wavenumber range: ``low``, ``high`` (cm⁻¹), ``relative_error``, ``share`` (of the area), ``resolved``,
    ``converged``."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Spectrum:
    """A spectrum with its error, its parts and its conventions.

    Attributes:
        quantity: what it is, e.g. ``infrared``, ``raman_isotropic``, ``vdos``, ``slab_response_parallel``.
        wavenumber: (cm⁻¹) Array with shape (B,), increasing, evenly spaced.
        intensity: (``unit``) Array with shape (B,).
        unit: unit of intensity, e.g. ``cm^-1``, ``km/mol/cm^-1``.
        conventions: how it was made.
        standard_error: (``unit``) Array with shape (B,), or None.
        verdict: convergence verdict, or None where there are no error bars.
        parts: named contributions, each (``unit``) Array with shape (B,), that sum to ``intensity``
            within each decomposition; names are ``decomposition/label``, e.g. ``layer/contact``.
        model_error: (``unit``) Array with shape (B,), spread between models of a committee, or None.
    """

    quantity: str
    wavenumber: Array
    intensity: Array
    unit: str
    conventions: Conventions
    standard_error: Array | None = None
    verdict: Verdict | None = None
    parts: dict[str, Array] = field(default_factory=dict)
    model_error: Array | None = None

    def __post_init__(self) -> None:
        bins = self.wavenumber.shape
        for name, values in (
            ("intensity", self.intensity),
            ("standard_error", self.standard_error),
            ("model_error", self.model_error),
            *self.parts.items(),
        ):
            if values is not None and values.shape != bins:
                raise ValueError(f"{self.quantity}: {name} has shape {values.shape}, the wavenumber axis {bins}")

    def between(self, low: float, high: float) -> Spectrum:
        """The same spectrum on ``low`` to ``high`` (cm⁻¹), ends included."""
        keep = (self.wavenumber >= low) & (self.wavenumber <= high)
        return replace(
            self,
            wavenumber=self.wavenumber[keep],
            intensity=self.intensity[keep],
            standard_error=None if self.standard_error is None else self.standard_error[keep],
            parts={name: values[keep] for name, values in self.parts.items()},
            model_error=None if self.model_error is None else self.model_error[keep],
        )

    def area(self, low: float, high: float) -> float:
        """Integral over ``low`` to ``high`` (cm⁻¹): sum of the bins times their spacing, unit times cm⁻¹."""
        part = self.between(low, high)
        spacing = self.wavenumber[1] - self.wavenumber[0]
        return float(part.intensity.sum() * spacing)

    def content_hash(self) -> str:
        """sha256 over numbers (12 significant digits), unit, quantity and conventions; equal content, equal hash."""
        digest = hashlib.sha256()
        record = {
            "quantity": self.quantity,
            "unit": self.unit,
            "conventions": _rounded(self.conventions.as_dict()),
            "schema": SCHEMA,
        }
        digest.update(json.dumps(record, sort_keys=True).encode())
        arrays = {"wavenumber": self.wavenumber, "intensity": self.intensity, **self.parts}
        if self.standard_error is not None:
            arrays["standard_error"] = self.standard_error
        if self.model_error is not None:
            arrays["model_error"] = self.model_error
        for name in sorted(arrays):
            digest.update(name.encode())
            digest.update("\n".join(f"{value:.11e}" for value in arrays[name]).encode())
        return digest.hexdigest()


def _rounded(record: Any) -> Any:
    """Floats to 12 significant digits: a store that keeps 14 then changes no hash."""
    if isinstance(record, float):
        return float(f"{record:.12g}")
    if isinstance(record, dict):
        return {key: _rounded(value) for key, value in record.items()}
    if isinstance(record, list):
        return [_rounded(value) for value in record]
    return record
