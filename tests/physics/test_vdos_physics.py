"""Vibrational density of states: its integral, its parts, and what must not enter it."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra import vdos
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

MASSES = np.array([16.0, 1.0, 1.0, 12.0, 14.0])


def harmonic_atoms(*, frames=8000, timestep=1.0, temperature=300.0, seed=0):
    """Each coordinate of each atom its own mode at kT exactly; whole periods: velocities, wavenumbers."""
    rng = np.random.default_rng(seed)
    periods = rng.integers(400, 800, size=(len(MASSES), 3))
    angular = 2 * np.pi * periods / (frames * timestep)
    amplitude = np.sqrt(2 * BOLTZMANN_EV_PER_K * temperature / (MASSES * AMU_ANGSTROM2_PER_FS2_IN_EV))
    time = np.arange(frames) * timestep
    phases = rng.uniform(0, 2 * np.pi, size=(len(MASSES), 3))
    velocities = amplitude[None, :, None] * np.cos(angular * time[:, None, None] + phases)
    return velocities, angular / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS)


def random_velocities(frames=3000, atoms=5, seed=1):
    return np.random.default_rng(seed).normal(size=(frames, atoms, 3))


@pytest.mark.parametrize("temperature", [100.0, 300.0])
def test_the_integral_is_three_per_atom(temperature):
    velocities, _ = harmonic_atoms(temperature=temperature)
    spectrum = vdos(velocities, MASSES, 1.0, temperature=temperature)
    assert spectrum.conventions.extra["modes"] == pytest.approx(15, rel=1e-9)
    assert spectrum.area(0, 20000) == pytest.approx(15, rel=1e-4)
    assert spectrum.unit == "cm"


def test_each_atom_weighs_three_whatever_its_mass():
    velocities, wavenumbers = harmonic_atoms()
    spectrum = vdos(velocities, MASSES, 1.0, temperature=300, groups={f"atom/{k}": [k] for k in range(5)}, blocks=0)
    spacing = spectrum.wavenumber[1]
    for atom in range(5):
        part = spectrum.parts[f"atom/{atom}"]
        assert part.sum() * spacing == pytest.approx(3, rel=1e-4)
        mean = (part * spectrum.wavenumber).sum() / part.sum()
        assert mean == pytest.approx(wavenumbers[atom].mean(), rel=1e-3)


def test_parts_sum_to_the_total():
    rng = np.random.default_rng(7)
    layer = rng.random((3000, 5))
    groups = {"species/H": [1, 2], "species/rest": [0, 3, 4], "site/a": [0, 1, 2], "site/b": [3, 4]}
    weights = {"layer/contact": layer, "layer/rest": 1 - layer}
    spectrum = vdos(random_velocities(), MASSES, 1.0, temperature=300, groups=groups, weights=weights)
    for first, second in (
        ("species/H", "species/rest"),
        ("site/a", "site/b"),
        ("layer/contact", "layer/rest"),
    ):
        residue = spectrum.parts[first] + spectrum.parts[second] - spectrum.intensity
        assert np.abs(residue).max() < 1e-10 * spectrum.intensity.max()


def test_weights_that_never_change_are_groups():
    constant = np.zeros((3000, 5))
    constant[:, [1, 2]] = 1
    spectrum = vdos(
        random_velocities(),
        MASSES,
        1.0,
        temperature=300,
        groups={"species/H": [1, 2], "species/rest": [0, 3, 4]},
        weights={"layer/H": constant, "layer/rest": 1 - constant},
    )
    np.testing.assert_allclose(
        spectrum.parts["layer/H"], spectrum.parts["species/H"], atol=1e-11 * spectrum.intensity.max()
    )


def test_an_atom_that_changes_layer_counts_where_it_is():
    # half of the time in each layer: each gets half of the modes
    velocities, _ = harmonic_atoms()
    here = np.zeros((8000, 5))
    here[:4000] = 1
    spectrum = vdos(velocities, MASSES, 1.0, temperature=300, weights={"layer/1": here, "layer/2": 1 - here}, blocks=0)
    assert spectrum.parts["layer/1"].sum() * spectrum.wavenumber[1] == pytest.approx(7.5, rel=1e-3)


def test_drift_of_the_centre_of_mass_is_removed_on_request():
    velocities, _ = harmonic_atoms()
    drift = np.array([0.05, -0.03, 0.02])
    still = vdos(velocities, MASSES, 1.0, temperature=300, remove_drift=True)
    moving = vdos(velocities + drift, MASSES, 1.0, temperature=300, remove_drift=True)
    np.testing.assert_allclose(moving.intensity, still.intensity, atol=1e-11 * still.intensity.max())
    # kT/2 in each direction sits in the centre of mass of independent atoms
    assert still.conventions.extra["modes"] == pytest.approx(12, rel=0.05)
    kept = vdos(velocities + drift, MASSES, 1.0, temperature=300)
    assert kept.intensity[0] > 10 * still.intensity.max()


def test_massless_sites_add_nothing():
    velocities, _ = harmonic_atoms()
    one = vdos(velocities, MASSES, 1.0, temperature=300)
    sites = 100 * random_velocities(8000, 2)
    other = vdos(np.concatenate([velocities, sites], axis=1), np.append(MASSES, [0.0, 0.0]), 1.0, temperature=300)
    np.testing.assert_allclose(other.intensity, one.intensity, rtol=1e-12, atol=1e-14)
    assert other.conventions.extra["degrees_of_freedom"] == 15


def test_without_a_temperature_the_velocities_give_it_whatever_their_unit():
    velocities = random_velocities()
    stated = vdos(velocities, MASSES, 1.0, temperature=300)
    for unit in (1.0, 1e3):
        own = vdos(velocities * unit, MASSES, 1.0, temperature=None)
        assert own.conventions.extra["modes"] == pytest.approx(15, rel=1e-9)
        kinetic = stated.conventions.extra["kinetic_temperature"]
        assert own.conventions.temperature == pytest.approx(kinetic * unit**2, rel=1e-9)
        np.testing.assert_allclose(own.intensity, stated.intensity * 300 / kinetic, rtol=1e-9, atol=1e-12)
    with pytest.raises(InputError, match="kinetic temperature"):
        vdos(0 * velocities, MASSES, 1.0, temperature=None)


class Stored:
    """Values that are handed out on demand, as from a file."""

    def __init__(self, values):
        self.values, self.shape, self.longest = values, values.shape, 0

    def read(self, start, stop, atoms=None):
        self.longest = max(self.longest, stop - start)
        return self.values[start:stop] if atoms is None else self.values[start:stop, atoms]


def test_frames_read_a_stretch_at_a_time_give_what_the_whole_array_gives(monkeypatch):
    velocities = random_velocities().astype(np.float32)
    layer = np.random.default_rng(8).random((3000, 5))
    groups = {"s/H": [1, 2], "s/rest": [0, 3, 4]}
    monkeypatch.setitem(vdos.__globals__, "READ_BYTES", 12 * 5 * 250)  # 250 frames at a time
    stored = Stored(velocities)
    weights = {"l/1": Stored(layer), "l/2": Stored(1 - layer)}
    read = vdos(
        stored, MASSES, 1.0, temperature=300, groups=groups, weights=weights, remove_drift=True, correlation_time=300
    )
    assert stored.longest < 3000
    whole = vdos(
        velocities,
        MASSES,
        1.0,
        temperature=300,
        groups=groups,
        weights={label: each.values for label, each in weights.items()},
        remove_drift=True,
        correlation_time=300,
    )
    scale = whole.intensity.max()
    np.testing.assert_allclose(read.intensity, whole.intensity, atol=1e-5 * scale)
    np.testing.assert_allclose(read.standard_error, whole.standard_error, atol=1e-5 * scale)
    for label, part in whole.parts.items():
        np.testing.assert_allclose(read.parts[label], part, atol=1e-5 * scale)


def test_tiles_of_atoms_read_by_themselves_give_what_the_whole_array_gives(monkeypatch):
    velocities = random_velocities().astype(np.float32)
    groups = {"s/H": [1, 2], "s/rest": [0, 3, 4]}
    whole = vdos(velocities, MASSES, 1.0, temperature=300, groups=groups)
    monkeypatch.setitem(vdos.__globals__, "TILE_ATOMS", 2)
    read = vdos(Stored(velocities), MASSES, 1.0, temperature=300, groups=groups)
    for one, other in ((read.intensity, whole.intensity), (read.parts["s/H"], whole.parts["s/H"])):
        np.testing.assert_allclose(one, other, atol=1e-5 * whole.intensity.max())
    velocities[1234, 4, 1] = np.nan
    with pytest.raises(InputError, match="frame 1234"):
        vdos(Stored(velocities), MASSES, 1.0, temperature=300)


def test_small_tiles_of_a_large_array_change_nothing(monkeypatch):
    one = vdos(random_velocities(), MASSES, 1.0, temperature=300, remove_drift=True)
    monkeypatch.setitem(vdos.__globals__, "TILE_BYTES", 1)  # one atom at a time
    other = vdos(random_velocities(), MASSES, 1.0, temperature=300, remove_drift=True)
    np.testing.assert_allclose(other.intensity, one.intensity, rtol=1e-11)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"groups": {"s/a": [0, 1], "s/b": [1, 2, 3, 4]}}, "atom 1 stands 2 times"),
        ({"groups": {"s/a": [0, 1]}}, "atom 2 stands 0 times"),
        ({"groups": {"s/a": [0, 9]}}, "allowed: 0 to 4"),
        ({"weights": {"l/a": np.full((3000, 5), 0.4)}}, "sum to 1 in frame 0"),
        ({"weights": {"l/a": np.ones((10, 5))}}, r"\(frames, 5\)"),
        ({"correlation_time": 4000.0}, "run longer"),
        ({"temperature": 0.0}, "positive"),
    ],
)
def test_what_does_not_fit_is_refused(choices, message):
    with pytest.raises(InputError, match=message):
        vdos(random_velocities(), MASSES, 1.0, **{"temperature": 300, **choices})


def test_a_frame_that_is_not_finite_is_named():
    velocities = random_velocities()
    velocities[17, 3, 1] = np.nan
    with pytest.raises(InputError, match="frame 17"):
        vdos(velocities, MASSES, 1.0, temperature=300)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "i4"])
def test_velocities_of_any_real_type_give_the_same_density(dtype: str) -> None:
    whole = np.round(8 * np.random.default_rng(5).standard_normal((400, 3, 3)))
    plain = vdos(whole, np.ones(3), 1.0, temperature=None)
    other = vdos(whole.astype(dtype), np.ones(3), 1.0, temperature=None)
    assert np.abs(other.intensity - plain.intensity).max() < 1e-5 * plain.intensity.max()


def test_what_has_no_density_of_states_is_refused() -> None:
    moving = np.random.default_rng(6).standard_normal((400, 1, 3))
    with pytest.raises(InputError, match="remove_drift: one atom"):
        vdos(moving, np.ones(1), 1.0, temperature=None, remove_drift=True)
    with pytest.raises(InputError, match="velocities: an empty list"):
        vdos([], np.ones(1), 1.0, temperature=None)
    with pytest.raises(InputError, match="velocities: type complex128"):
        vdos(moving * 1j, np.ones(1), 1.0, temperature=None)
