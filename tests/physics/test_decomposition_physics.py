"""IR and Raman by label: parts with their cross terms sum to the whole, and a changed label moves no intensity."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra.decomposition import labelled_derivatives
from vibraloom.spectra.infrared import infrared, infrared_from_current
from vibraloom.spectra.raman import raman, raman_from_derivatives
from vibraloom.spectra.slab import slab_response
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

FRAMES, MOLECULES, TIMESTEP = 4000, 6, 1.0


@pytest.fixture(scope="module")
def molecules() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Dipoles and polarizabilities that are correlated between molecules, and labels that change."""
    random = np.random.default_rng(0)
    phase = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 1600 * TIMESTEP * np.arange(FRAMES)
    common = np.cos(phase + np.cumsum(random.normal(0, 0.05, FRAMES)))
    dipole = 0.3 * common[:, None, None] * random.normal(size=(MOLECULES, 3)) + 0.1 * random.normal(size=(FRAMES, MOLECULES, 3))
    tensor = common[:, None, None, None] * random.normal(size=(MOLECULES, 3, 3))
    tensor = tensor + 0.1 * random.normal(size=tensor.shape) + 3 * np.eye(3)
    near = np.clip(0.5 + np.cumsum(random.normal(0, 0.05, (FRAMES, MOLECULES)), axis=0), 0, 1)
    bonded = random.integers(0, 3, (FRAMES, MOLECULES))
    weights = {"layer/near": near, "layer/far": 1 - near}
    weights |= {f"hydrogen bonds/{count}": (bonded == count).astype(float) for count in range(3)}
    return dipole, tensor + tensor.transpose(0, 1, 3, 2), weights


def sums_match(spectrum) -> None:
    for decomposition in ("layer", "hydrogen bonds"):
        parts = [values for label, values in spectrum.parts.items() if label.startswith(f"{decomposition}/")]
        scale = np.abs(spectrum.intensity).max()
        assert np.abs(np.sum(parts, axis=0) - spectrum.intensity).max() < 1e-10 * scale
        assert all(np.abs(part).max() > 1e-3 * scale for part in parts)


def test_parts_sum_to_the_whole_in_every_infrared_spectrum(molecules):
    dipole, _, weights = molecules
    rate, parts = labelled_derivatives(dipole, weights, TIMESTEP)
    whole = infrared_from_current(rate, TIMESTEP, temperature=300, parts=parts, differenced=True)
    sums_match(whole)
    direct = infrared(dipole.sum(axis=1), TIMESTEP, temperature=300)
    np.testing.assert_allclose(whole.intensity, direct.intensity, rtol=0, atol=1e-12 * direct.intensity.max())
    assert whole.conventions.derivative == direct.conventions.derivative
    slab = slab_response(
        rate, TIMESTEP, temperature=300, area=100, boundary="fixed E", source="difference", parts=parts
    )
    for spectrum in slab.values():
        sums_match(spectrum)


@pytest.mark.parametrize("form", ["stokes", "activity", "reduced"])
def test_parts_sum_to_the_whole_in_every_raman_spectrum(molecules, form):
    _, tensor, weights = molecules
    rate, parts = labelled_derivatives(tensor, weights, TIMESTEP)
    whole = raman_from_derivatives(rate, TIMESTEP, temperature=300, differenced=True, parts=parts, form=form)
    direct = raman(tensor.sum(axis=1), TIMESTEP, temperature=300, form=form)
    for name, spectrum in whole.items():
        sums_match(spectrum)
        np.testing.assert_allclose(
            spectrum.intensity, direct[name].intensity, rtol=0, atol=1e-12 * direct[name].intensity.max()
        )


def test_parts_of_a_polarizability_are_taken_as_they_are(molecules):
    _, tensor, _ = molecules
    parts = {"half/one": tensor[:, :3].sum(axis=1), "half/other": tensor[:, 3:].sum(axis=1)}
    whole = raman(tensor.sum(axis=1), TIMESTEP, temperature=300, parts=parts)
    for spectrum in whole.values():
        total = spectrum.parts["half/one"] + spectrum.parts["half/other"]
        assert np.abs(total - spectrum.intensity).max() < 1e-10 * spectrum.intensity.max()
    with pytest.raises(InputError, match="add the missing part"):
        raman(tensor.sum(axis=1), TIMESTEP, temperature=300, parts={"half/one": parts["half/one"]})


def test_a_molecule_that_changes_its_label_leaves_no_trace_of_the_change():
    # a constant dipole whose label flips: the derivative of the weighted dipole would be a series of spikes
    dipole = np.ones((500, 1, 3))
    flips = (np.arange(500) // 10 % 2).astype(float)[:, None]
    rate, parts = labelled_derivatives(dipole, {"layer/near": flips, "layer/far": 1 - flips}, TIMESTEP)
    assert not rate.any() and not any(part.any() for part in parts.values())


def test_weights_that_do_not_fit_are_refused():
    dipole = np.ones((50, 2, 3))
    with pytest.raises(InputError, match="sum to 1 in frame 0"):
        labelled_derivatives(dipole, {"layer/near": np.full((50, 2), 0.4)}, TIMESTEP)
    with pytest.raises(InputError, match=r"must be \(50, 2\)"):
        labelled_derivatives(dipole, {"layer/near": np.ones((50, 3))}, TIMESTEP)
