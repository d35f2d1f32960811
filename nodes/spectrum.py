"""SpectrumData: a spectrum as an AiiDA node, with the conventions that give its numbers meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.common.exceptions import ValidationError
from aiida.orm import ArrayData

from vibraloom.spectra.spectrum import SCHEMA, Conventions, Spectrum, Verdict

FINGERPRINT_RANGE = (0.0, 4000.0)
"""Range of the similarity fingerprint in cm⁻¹."""
FINGERPRINT_POINTS = 256
"""Number of evenly spaced points of the similarity fingerprint."""


class SpectrumData(ArrayData):
    """Arrays ``wavenumber``, ``intensity``, ``standard_error``, ``model_error``, ``parts`` (a row each); the rest: attributes.

    The attributes hold all that a catalogue needs, so that a rebuild reads no array.
    """

    @classmethod
    def from_spectrum(cls, spectrum: Spectrum, context: dict[str, Any]) -> SpectrumData:
        """Make an unstored node.

        Args:
            spectrum: the numbers and their conventions.
            context: what the spectrum is of: ``name``, ``system``, ``method``, ``fidelity``, ``seed``, ``versions``,
                ``isotopes``, ``stamps``; plain JSON types.
        """
        node = cls()
        node.set_array("wavenumber", spectrum.wavenumber)
        node.set_array("intensity", spectrum.intensity)
        if spectrum.standard_error is not None:
            node.set_array("standard_error", spectrum.standard_error)
        if spectrum.model_error is not None:
            node.set_array("model_error", spectrum.model_error)
        if spectrum.parts:
            node.set_array("parts", np.stack(list(spectrum.parts.values())))
        node.base.attributes.set_many(
            {
                "schema": SCHEMA,
                "quantity": spectrum.quantity,
                "unit": spectrum.unit,
                "low": float(spectrum.wavenumber[0]),
                "high": float(spectrum.wavenumber[-1]),
                "points": len(spectrum.wavenumber),
                "conventions": spectrum.conventions.as_dict(),
                "verdict": None if spectrum.verdict is None else spectrum.verdict.as_dict(),
                "parts": list(spectrum.parts),
                "content_hash": spectrum.content_hash(),
                "fingerprint": fingerprint(spectrum),
                "context": context,
            }
        )
        node.label = f"{context.get('name', '')} {spectrum.quantity}".strip()
        return node

    def to_spectrum(self) -> Spectrum:
        """The spectrum as numbers, as it was stored."""
        attributes = self.base.attributes.all
        names = self.get_arraynames()
        verdict = attributes["verdict"]
        if "parts" in names:
            rows = list(self.get_array("parts"))
        else:  # as the first nodes were stored, an array each
            rows = [self.get_array(f"part_{number}") for number in range(len(attributes["parts"]))]
        return Spectrum(
            quantity=attributes["quantity"],
            wavenumber=self.get_array("wavenumber"),
            intensity=self.get_array("intensity"),
            unit=attributes["unit"],
            conventions=Conventions.from_dict(attributes["conventions"]),
            standard_error=self.get_array("standard_error") if "standard_error" in names else None,
            verdict=None if verdict is None else Verdict(**{**verdict, "ranges": tuple(verdict["ranges"])}),
            parts=dict(zip(attributes["parts"], rows, strict=True)),
            model_error=self.get_array("model_error") if "model_error" in names else None,
        )

    def _validate(self) -> bool:
        super()._validate()
        for key in ("quantity", "unit", "conventions", "context", "content_hash"):
            if not self.base.attributes.get(key, None):
                raise ValidationError(f"SpectrumData without {key}: make it with SpectrumData.from_spectrum")
        return True


def fingerprint(spectrum: Spectrum) -> list[float]:
    """Evenly resampled intensities of unit length, for a first look at similarity.

    Zero outside the spectrum's own range; :data:`FINGERPRINT_POINTS` values over :data:`FINGERPRINT_RANGE`.
    """
    grid = np.linspace(*FINGERPRINT_RANGE, FINGERPRINT_POINTS)
    values = np.interp(grid, spectrum.wavenumber, np.nan_to_num(spectrum.intensity), left=0.0, right=0.0)
    norm = float(np.linalg.norm(values))
    return [round(float(value), 6) for value in (values / norm if norm > 0 else values)]
