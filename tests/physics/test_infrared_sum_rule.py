"""Absolute infrared intensities: the oscillator sum rule, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.spectra import infrared, infrared_from_current, slab_response
from vibraloom.spectra.corrections import quantum_correction, verlet_wavenumber, without_verlet_shift
from vibraloom.spectra.slab import fixed_e_to_fixed_d
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    AVOGADRO,
    BOLTZMANN_EV_PER_K,
    E_ANGSTROM_PER_DEBYE,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

SUM_RULE = 974.88  # km/mol per e²/amu, from the analytic integral


def oscillator(wavenumber, temperature, *, timestep=0.5, frames=20000, charge=0.4, mass=1.5, axis=0):
    """Dipoles (e·Å) of a classical mode at kT, two runs in quadrature, whole periods."""
    periods = round(wavenumber * SPEED_OF_LIGHT_CM_PER_FS * timestep * frames)
    angular = 2 * np.pi * periods / (frames * timestep)
    variance = BOLTZMANN_EV_PER_K * temperature / (mass * AMU_ANGSTROM2_PER_FS2_IN_EV) / angular**2
    time = np.arange(frames + 1) * timestep
    runs = []
    for phase in (0.3, 0.3 + np.pi / 2):
        run = np.zeros((frames + 1, 3))
        run[:, axis] = charge * np.sqrt(2 * variance) * np.cos(angular * time + phase)
        runs.append(run)
    return angular / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS), runs


@pytest.mark.parametrize("temperature", [100.0, 300.0])
@pytest.mark.parametrize("wavenumber", [400.0, 1600.0, 3400.0])
def test_oscillator_area_is_the_transition_charge_squared_over_mass(wavenumber, temperature):
    _, runs = oscillator(wavenumber, temperature)
    expected = SUM_RULE * 0.4**2 / 1.5
    low, high = 0.0, 40000.0  # all of it: the wings of a windowed line reach far
    molar = infrared(runs, 0.5, temperature=temperature, blocks=0).area(low, high)
    assert molar == pytest.approx(expected, rel=1e-6)
    exact = AVOGADRO * 0.4**2 / 1.5 / AMU_ANGSTROM2_PER_FS2_IN_EV
    exact /= 12 * EPSILON0_E2_PER_EV_ANGSTROM * (SPEED_OF_LIGHT_CM_PER_FS * 1e8) ** 2
    assert molar == pytest.approx(exact * 1e-13, rel=1e-6)
    bulk = infrared(runs, 0.5, temperature=temperature, volume=970.3, blocks=0).area(low, high)
    assert bulk * 970.3e-24 * AVOGADRO * 1e-5 == pytest.approx(exact * 1e-13, rel=1e-6)


@pytest.mark.parametrize("timestep", [0.25, 2.0, 4.0])
def test_area_does_not_depend_on_the_frame_interval(timestep):
    # an undivided central difference keeps 0.56 at 2 fs and 0.046 at 4 fs
    _, runs = oscillator(3400.0, 300.0, timestep=timestep, frames=40000)
    area = infrared(runs, timestep, temperature=300, blocks=0, correlation_time=4000).area(3300, 3500)
    assert area == pytest.approx(SUM_RULE * 0.4**2 / 1.5, rel=3e-5)


def test_current_and_dipole_give_the_same_absorption():
    wavenumber, runs = oscillator(1600.0, 300.0)
    angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber
    # a quarter period apart, so the second run is the derivative of the first over w
    current = [angular * runs[1][:-1], -angular * runs[0][:-1]]
    one = infrared(runs, 0.5, temperature=300, blocks=0)
    other = infrared_from_current(current, 0.5, temperature=300, blocks=0)
    # sinc^2 is divided at the bin, not at the line: 2 (x²/3) (17/1600) = 4e-5 at half height, x = w dt/2
    np.testing.assert_allclose(other.intensity, one.intensity, rtol=0, atol=5e-5 * one.intensity.max())
    assert other.area(0, 40000) == pytest.approx(SUM_RULE * 0.4**2 / 1.5, rel=1e-6)


def test_doubling_the_stride_leaves_the_peak_where_it_is():
    wavenumber, runs = oscillator(1600.0, 300.0)
    fine = infrared(runs, 0.5, temperature=300, blocks=0)
    coarse = infrared([run[::2] for run in runs], 1.0, temperature=300, blocks=0)
    for spectrum in (fine, coarse):
        peak = spectrum.wavenumber[np.argmax(spectrum.intensity)]
        assert abs(peak - wavenumber) <= spectrum.wavenumber[1]
    assert coarse.area(1250, 1950) == pytest.approx(fine.area(1250, 1950), rel=1e-5)


def test_debye_times_its_factor_leaves_the_absorption_unchanged():
    _, runs = oscillator(1600.0, 300.0)
    debye = [run / 0.20819434 for run in runs]
    one = infrared(runs, 0.5, temperature=300, volume=500.0, blocks=0)
    other = infrared([run * E_ANGSTROM_PER_DEBYE for run in debye], 0.5, temperature=300, volume=500.0, blocks=0)
    np.testing.assert_allclose(other.intensity, one.intensity, rtol=1e-7, atol=1e-7 * one.intensity.max())


def test_twice_the_cell_with_two_oscillators_has_the_same_absorption_per_length():
    _, runs = oscillator(1600.0, 300.0)
    pair = [np.roll(run, 1, axis=1) + run for run in runs]  # the second along another axis
    one = infrared(runs, 0.5, temperature=300, volume=500.0, blocks=0)
    two = infrared(pair, 0.5, temperature=300, volume=1000.0, blocks=0)
    np.testing.assert_allclose(two.intensity, one.intensity, atol=1e-9 * one.intensity.max())


def test_dipole_components_keep_their_relative_weight():
    # amplitudes 10 : 1 of the velocity must give peaks 100 : 1
    first, strong = oscillator(1600.0, 300.0, charge=1.0)
    second, weak = oscillator(2800.0, 300.0, charge=0.1, axis=1)
    spectrum = infrared([a + b for a, b in zip(strong, weak, strict=True)], 0.5, temperature=300, blocks=0)
    heights = [spectrum.between(at - 60, at + 60).intensity.max() for at in (first, second)]
    assert heights[0] / heights[1] == pytest.approx(100, rel=0.02)


def test_a_pure_cosine_has_no_baseline():
    _, runs = oscillator(1600.0, 300.0)
    spectrum = infrared(runs, 0.5, temperature=300, blocks=0)
    away = spectrum.between(6000, 12000).intensity
    # counting lag 0 as half or twice would leave 1/(2 depth) of the height, about 5e-4
    assert np.abs(away).max() < 5e-6 * spectrum.intensity.max()


def test_a_constant_of_ten_thousand_on_a_float32_series_changes_nothing():
    _, runs = oscillator(1600.0, 300.0, frames=4000)
    grid = 2.0**-10  # spacing of float32 at 1e4, so that adding the constant loses nothing
    series = (np.round(runs[0] * 50 / grid) * grid).astype(np.float32)
    shifted = series + np.float32(1e4)
    one = infrared(series, 0.5, temperature=300)
    other = infrared(shifted, 0.5, temperature=300)
    np.testing.assert_array_equal(one.intensity, other.intensity)


@pytest.mark.parametrize("name", ["harmonic", "standard", "schofield", "classical"])
def test_every_quantum_correction_is_finite_at_zero_and_at_the_end(name):
    _, runs = oscillator(1600.0, 5.0, frames=4000)
    spectrum = infrared(runs, 0.5, temperature=5.0, quantum_correction=name)
    assert np.isfinite(spectrum.intensity).all() and np.isfinite(spectrum.standard_error).all()
    assert quantum_correction(name, np.array([0.0]), 5.0)[0] == 1.0
    assert spectrum.conventions.quantum_correction == name


def test_quantum_factors_use_hbar_w():
    at = np.array([3400.0])
    assert quantum_correction("standard", at, 300)[0] == pytest.approx(2.0, abs=1e-4)
    assert quantum_correction("harmonic", at, 300)[0] == pytest.approx(16.3, abs=0.05)  # 2.80 with hbar nu
    assert quantum_correction("schofield", at, 300)[0] == pytest.approx(3474, abs=2)
    assert quantum_correction("classical", at, 300)[0] == 1.0


def test_another_correction_replaces_the_harmonic_one_once():
    _, runs = oscillator(3400.0, 300.0)
    harmonic = infrared(runs, 0.5, temperature=300, blocks=0)
    classical = infrared(runs, 0.5, temperature=300, blocks=0, quantum_correction="classical")
    bins = (harmonic.wavenumber > 3300) & (harmonic.wavenumber < 3500)
    ratio = harmonic.intensity[bins] / classical.intensity[bins]
    np.testing.assert_allclose(ratio, quantum_correction("harmonic", harmonic.wavenumber[bins], 300), rtol=1e-12)


def noise(frames=6000, seed=3):
    return np.random.default_rng(seed).normal(size=(frames, 3))


@pytest.mark.parametrize("route", ["dipole", "current"])
def test_parts_sum_to_the_whole(route):
    first, second, third = noise(seed=1), noise(seed=2), noise(seed=3)
    second = second - 0.5 * first  # correlated, so that cross terms matter
    total = first + second + third
    parts = {
        "layer/contact": first,
        "layer/rest": second + third,
        "species/O": first + second,
        "species/H": third,
    }
    make = infrared if route == "dipole" else infrared_from_current
    spectrum = make(total, 1.0, temperature=300, volume=1000.0, parts=parts)
    for labels in (("layer/contact", "layer/rest"), ("species/O", "species/H")):
        residue = sum(spectrum.parts[label] for label in labels) - spectrum.intensity
        assert np.abs(residue).max() < 1e-10 * np.abs(spectrum.intensity).max()


def test_cross_terms_stay_with_the_parts():
    motion = noise()
    # y answers x with the opposite sign: the total vanishes, and so does each part's share
    total = 1e-3 * noise(seed=8)
    spectrum = infrared_from_current(
        total, 1.0, temperature=300, parts={"ion/a": motion, "ion/b": total - motion}, blocks=0
    )
    alone = infrared_from_current(motion, 1.0, temperature=300, blocks=0)
    assert np.abs(spectrum.parts["ion/a"]).max() < 2e-3 * alone.intensity.max()


def test_parts_that_miss_something_are_refused():
    total = noise()
    with pytest.raises(InputError, match=r"layer/a.*add the missing part"):
        infrared(total, 1.0, temperature=300, parts={"layer/a": 0.9 * total})


def test_slab_response_of_an_oscillator_is_its_polarizability_per_area():
    _, runs = oscillator(1600.0, 300.0, axis=2)
    result = slab_response(runs, 0.5, temperature=300, area=80.0, boundary="fixed D along z", blocks=0)
    angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * result["normal"].wavenumber
    # Int w Im alpha dw = pi q²/(2 m): Kramers-Kronig sum rule of the Lorentz oscillator
    response = result["normal"].intensity * angular
    area = response.sum() * (angular[1] - angular[0]) * 80.0 * EPSILON0_E2_PER_EV_ANGSTROM
    assert area == pytest.approx(np.pi * 0.4**2 / (2 * 1.5 * AMU_ANGSTROM2_PER_FS2_IN_EV), rel=1e-5)
    assert np.abs(result["parallel"].intensity).max() == 0
    assert result["normal"].intensity[0] == 0 and "zero wavenumber" in result["normal"].conventions.notes[0]
    assert result["normal"].conventions.boundary == "fixed D along z"


def test_parallel_slab_response_is_the_mean_of_x_and_y():
    first, second = noise(seed=4), noise(seed=5)
    total = first + second
    choices = {"temperature": 300, "area": 50.0, "boundary": "fixed E", "blocks": 0}
    both = slab_response(total, 1.0, parts={"layer/1": first, "layer/2": second}, **choices)
    single = [slab_response(total[:, [axis, axis, 2]], 1.0, **choices)["parallel"] for axis in (0, 1)]
    np.testing.assert_allclose(both["parallel"].intensity, (single[0].intensity + single[1].intensity) / 2, atol=1e-9)
    for spectrum in both.values():
        residue = spectrum.parts["layer/1"] + spectrum.parts["layer/2"] - spectrum.intensity
        assert np.abs(residue).max() < 1e-10 * np.abs(spectrum.intensity).max()


def test_fixed_d_polarizability_does_not_depend_on_the_vacuum():
    # a film of thickness d and permittivity eps: alpha^D = eps0 A d (eps - 1)/eps, whatever the cell's height
    eps, area, thickness = 1.8 + 0.2j, 30.0, 20.0
    intrinsic = area * thickness * (eps - 1) / eps / (4 * np.pi)
    for height in (25.0, 50.0, 100.0):
        volume = area * height
        # periodic layers in series, 1/eps_z = 1 + (d/L)(1/eps - 1), and alpha^E = eps0 V (eps_z - 1)
        permittivity = 1 / (1 + thickness / height * (1 / eps - 1))
        fixed_e = volume * (permittivity - 1) / (4 * np.pi)
        assert fixed_e_to_fixed_d(fixed_e, volume) == pytest.approx(intrinsic, rel=1e-12)
    # eps 1.8: fixed-E falls from 0.86 to 0.61 of bulk as the cell grows from 25 to 100 Å
    ratio = [height * (1 / (1 + 20 / height * (1 / 1.8 - 1)) - 1) / (20 * 0.8) for height in (25.0, 100.0)]
    assert ratio == pytest.approx([0.86, 0.61], abs=0.01)


@pytest.mark.parametrize(("timestep", "shift"), [(0.25, 3.6), (0.5, 14.7), (1.0, 61.0)])
def test_verlet_shift_is_that_of_the_integrator(timestep, shift):
    assert float(verlet_wavenumber(3400.0, timestep)) - 3400 == pytest.approx(shift, abs=0.1)
    assert float(without_verlet_shift(verlet_wavenumber(3400.0, timestep), timestep)) == pytest.approx(3400, abs=1e-9)
    # integrate one, and look
    angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 3400
    position, velocity, dipole = 1.0, 0.0, []
    for _ in range(20000):
        velocity -= timestep / 2 * angular**2 * position
        position += timestep * velocity
        velocity -= timestep / 2 * angular**2 * position
        dipole.append([position, 0.0, 0.0])
    spectrum = infrared(np.array(dipole), timestep, temperature=300, correlation_time=1500.0, blocks=0)
    window = spectrum.between(3300, 3600)
    peak = window.wavenumber[np.argmax(window.intensity)]
    assert peak == pytest.approx(3400 + shift, abs=1.5 + spectrum.wavenumber[1] / 2)
