"""The axis after the fact: bands go back to where they belong, areas stay, and the record says what was done."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra import Conventions, Spectrum
from vibraloom.spectra.axis import corrected_for_verlet, scaled
from vibraloom.spectra.corrections import verlet_wavenumber


def line(at: float) -> Spectrum:
    wavenumber = np.arange(0, 6000, 2.0)
    intensity = 3 * np.exp(-0.5 * ((wavenumber - at) / 20) ** 2)
    conventions = Conventions("none", "none", 0.0, "none", None, 1.0, 1, 1, 0, None)
    return Spectrum(
        "infrared", wavenumber, intensity, "cm^-1", conventions, 0.1 * intensity, parts={"species/H": intensity / 2}
    )


@pytest.mark.parametrize("timestep", [0.25, 0.5, 1.0])
def test_a_band_returns_to_its_true_wavenumber_with_its_area(timestep):
    shown = line(float(verlet_wavenumber(3400.0, timestep)))
    mended = corrected_for_verlet(shown, timestep)
    assert mended.wavenumber[np.argmax(mended.intensity)] == pytest.approx(3400, abs=2)
    assert mended.area(3000, 3800) == pytest.approx(shown.area(3000, 3800), rel=1e-3)
    assert mended.conventions.extra["verlet_corrected"] == timestep
    np.testing.assert_allclose(mended.parts["species/H"], mended.intensity / 2, atol=1e-12)
    np.testing.assert_allclose(mended.standard_error, 0.1 * mended.intensity, atol=1e-12)
    with pytest.raises(InputError, match="already"):
        corrected_for_verlet(mended, timestep)


def test_a_display_scale_moves_the_axis_keeps_the_area_and_is_said():
    drawn = scaled(line(3400.0), 0.96)
    assert drawn.wavenumber[np.argmax(drawn.intensity)] == pytest.approx(3264, abs=2)
    assert drawn.area(3000, 3600) == pytest.approx(line(3400.0).area(3125, 3750), rel=1e-9)
    assert drawn.conventions.extra["frequency_scale"] == 0.96
    assert "0.96" in drawn.conventions.notes[-1]
    with pytest.raises(InputError, match="already"):
        scaled(drawn, 0.96)
    with pytest.raises(InputError, match=r"0\.8 to 1\.2"):
        scaled(line(3400.0), 2.0)
