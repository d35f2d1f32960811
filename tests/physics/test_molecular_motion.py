"""Translation, rotation and internal motion: momenta where they belong, degrees of freedom counted, parts that sum up."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra.molecular_motion import MOTIONS, split_motion
from vibraloom.spectra.vdos import vdos
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.470], [0.0, -0.757, -0.470]])
DIOXIDE = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.16], [0.0, 0.0, -1.16]])
MASSES = {"water": np.array([15.999, 1.008, 1.008]), "dioxide": np.array([12.011, 15.999, 15.999])}


def thermal(body: np.ndarray, masses: np.ndarray, frames: int, molecules: int, seed: int = 0) -> tuple:
    """Molecules in random places and turns with thermal velocities of all atoms, new in every frame."""
    random = np.random.default_rng(seed)
    turns = np.linalg.qr(random.normal(size=(frames, molecules, 3, 3)))[0]
    places = np.einsum("fmij,aj->fmai", turns, body) + 20 * random.random((frames, molecules, 1, 3))
    spread = np.sqrt(BOLTZMANN_EV_PER_K * 300 / masses / AMU_ANGSTROM2_PER_FS2_IN_EV)
    speeds = random.normal(size=places.shape) * spread[:, None]
    shape = (frames, molecules * len(masses), 3)
    return places.reshape(shape), speeds.reshape(shape), np.tile(masses, molecules), np.repeat(np.arange(molecules), len(masses))


@pytest.mark.parametrize(("name", "body", "expected"), [("water", WATER, (3, 3, 3)), ("dioxide", DIOXIDE, (3, 2, 4))])
def test_each_motion_has_its_degrees_of_freedom(name, body, expected):
    places, speeds, masses, molecule = thermal(body, MASSES[name], 4000, 4)
    parts = split_motion(places, speeds, masses, molecule)
    spectrum = vdos(speeds, masses, 1.0, temperature=300, contributions=parts, correlation_time=20, blocks=0)
    found = [spectrum.parts[label].sum() * spectrum.wavenumber[1] / 4 for label in MOTIONS]
    assert found == pytest.approx(expected, rel=0.03)
    np.testing.assert_allclose(sum(spectrum.parts.values()), spectrum.intensity, rtol=0, atol=1e-10 * spectrum.intensity.max())


def test_momentum_goes_with_translation_and_angular_momentum_with_rotation():
    places, speeds, masses, molecule = thermal(WATER, MASSES["water"], 50, 3)
    parts = split_motion(places, speeds, masses, molecule)
    np.testing.assert_allclose(sum(parts.values()), speeds, atol=1e-15)
    translation, rotation, internal = (parts[label] for label in MOTIONS)
    for owner in range(3):
        inside = molecule == owner
        weight = masses[inside]
        centre = np.einsum("a,fai->fi", weight, places[:, inside])[:, None] / weight.sum()
        arm = places[:, inside] - centre
        for part, moving in ((translation, False), (rotation, True), (internal, False)):
            spin = np.einsum("a,fai->fi", weight, np.cross(arm, part[:, inside]))
            assert (np.abs(spin).max() > 1e-3) == moving
        for part in (rotation, internal):
            assert np.abs(np.einsum("a,fai->fi", weight, part[:, inside])).max() < 1e-14


def test_a_rigid_turn_is_all_rotation_and_a_lone_atom_all_translation():
    omega = np.array([0.01, -0.02, 0.005])
    places = np.concatenate([WATER, [[5.0, 5.0, 5.0]]])[None]
    masses = np.append(MASSES["water"], 39.9)
    centre = MASSES["water"] @ WATER / MASSES["water"].sum()
    speeds = np.concatenate([np.cross(omega, WATER - centre), [[0.1, 0.2, 0.3]]])[None]
    parts = split_motion(places, speeds, masses, np.array([0, 0, 0, -1]))
    np.testing.assert_allclose(parts["motion/rotation"][0, :3], speeds[0, :3], atol=1e-15)
    np.testing.assert_allclose(parts["motion/translation"][0, 3], speeds[0, 3])
    assert np.abs(parts["motion/internal"]).max() < 1e-15


def test_contributions_that_miss_something_are_refused():
    places, speeds, masses, molecule = thermal(WATER, MASSES["water"], 60, 2)
    parts = split_motion(places, speeds, masses, molecule)
    del parts["motion/internal"]
    with pytest.raises(InputError, match="do not sum to the velocities in frame 0"):
        vdos(speeds, masses, 1.0, temperature=300, contributions=parts)
    with pytest.raises(InputError, match="must be"):
        split_motion(places[:, :3], speeds, masses, molecule)
