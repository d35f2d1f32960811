"""Stratified media against Fresnel, Berreman and closed forms; IRRAS, ATR and transmission of a slab's response."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

from vibraloom.errors import InputError
from vibraloom.spectra import Conventions, Spectrum, slab_response
from vibraloom.spectra.dielectric import Medium, kramers_kronig
from vibraloom.spectra.optics import at_fixed_displacement, atr, irras, irras_thin_film, transmission
from vibraloom.spectra.stratified import IDEAL_MIRROR, VACUUM, Layer, reflectance, stack_amplitudes, transmittance
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

AXIS = np.array([900.0, 1600.0, 3400.0])
GLASS, METAL, DENSE = Medium("glass", 1.5), Medium("metal", 3 + 20j), Medium("dense", 4.0)
WHOLE_AXIS = np.arange(0.0, 20001.0)
BANDS = ((1650.0, 80.0, 9e4), (3450.0, 250.0, 4e5))


def film_permittivity(wavenumber):
    return 1 + sum(f / (c**2 - wavenumber**2 - 1j * w * wavenumber) for c, w, f in BANDS)


def response(direction, values, boundary="fixed D along z", error=None):
    """A slab response (Å) as slab_response gives it."""
    conventions = Conventions(
        estimator="exact", window="none", correlation_time=1000.0, derivative="none", quantum_correction="harmonic",
        timestep=0.5, frames=1000000, replicas=1, blocks=20 if error is not None else 0, temperature=300.0, area=100.0,
        boundary=boundary, extra={"resolution": 33.0, "block_length": 25000.0},
    )  # fmt: skip
    return Spectrum(f"slab_response_{direction}", WHOLE_AXIS, values, "angstrom", conventions, standard_error=error)


def film_response(thickness, error=None):
    permittivity = film_permittivity(WHOLE_AXIS)
    return {
        "parallel": response("parallel", (permittivity.imag) * thickness, error=error),
        "normal": response("normal", (-1 / permittivity).imag * thickness, error=error),
    }


def three_phase(wavenumber, n1, film, metal, thickness, degrees, polarization):
    """R of medium | film | metal by the textbook's formula with cosines, from permittivities."""
    transverse = n1**2 * np.sin(np.deg2rad(degrees)) ** 2
    media = [n1**2 + 0j, film, metal]
    xi = [np.sqrt(each - transverse + 0j) for each in media]  # n cos(theta)

    def fresnel(j, k):
        if polarization == "s":
            return (xi[j] - xi[k]) / (xi[j] + xi[k])
        return (media[k] * xi[j] - media[j] * xi[k]) / (media[k] * xi[j] + media[j] * xi[k])

    phase = np.exp(4j * np.pi * wavenumber * 1e-8 * thickness * xi[1])
    return np.abs((fresnel(0, 1) + fresnel(1, 2) * phase) / (1 + fresnel(0, 1) * fresnel(1, 2) * phase)) ** 2


def berreman(wavenumber, n1, layers, n2, degrees, polarization):
    """R and T by 4 × 4 matrices and a matrix exponential (Berreman 1972); layers: (eps_x, eps_z, thickness in Å)."""
    q = n1 * np.sin(np.deg2rad(degrees))

    def delta(along, normal):
        # d/dz (Ex, Hy, Ey, -Hx) = i k0 delta
        matrix = np.zeros((4, 4), dtype=complex)
        matrix[0, 1] = 1 - q**2 / normal
        matrix[1, 0] = along
        matrix[2, 3] = 1
        matrix[3, 2] = along - q**2
        return matrix

    total = np.eye(4, dtype=complex)
    for along, normal, thickness in layers:
        total = scipy.linalg.expm(2j * np.pi * wavenumber * 1e-8 * thickness * delta(along, normal)) @ total
    rows = slice(0, 2) if polarization == "p" else slice(2, 4)
    block = total[rows, rows]

    def admittance(n):
        cosine = np.sqrt(n**2 - q**2 + 0j)
        return n**2 / cosine if polarization == "p" else cosine

    y1, y2 = admittance(n1), admittance(n2)
    # t (1, y2) = block [(1, y1) + r (1, -y1)]
    r, t = np.linalg.solve(
        np.array([[-block[0, 0] + y1 * block[0, 1], 1], [-block[1, 0] + y1 * block[1, 1], y2]]),
        block @ np.array([1, y1]),
    )
    return abs(r) ** 2, (y2.real / y1.real) * abs(t) ** 2


@pytest.mark.parametrize("angle", [0.0, 30.0, 60.0, 85.0])
@pytest.mark.parametrize("metal", [2.25 + 0j, (3 + 20j) ** 2])
def test_one_interface_reflects_as_fresnel_says(angle, metal):
    theta = np.deg2rad(angle)
    inner = np.sqrt(metal - np.sin(theta) ** 2)
    perpendicular = abs((np.cos(theta) - inner) / (np.cos(theta) + inner)) ** 2
    parallel = abs((metal * np.cos(theta) - inner) / (metal * np.cos(theta) + inner)) ** 2
    medium = Medium("second", np.sqrt(metal))
    np.testing.assert_allclose(reflectance(AXIS, VACUUM, [], medium, angle, "s"), perpendicular, rtol=1e-13)
    np.testing.assert_allclose(reflectance(AXIS, VACUUM, [], medium, angle, "p"), parallel, rtol=1e-13)


def test_at_brewsters_angle_p_is_not_reflected():
    brewster = np.rad2deg(np.arctan(1.5))
    assert reflectance(AXIS, VACUUM, [], GLASS, brewster, "p").max() < 1e-30
    assert reflectance(AXIS, VACUUM, [], GLASS, brewster, "s").min() > 0.1


@pytest.mark.parametrize("polarization", ["s", "p"])
def test_beyond_the_critical_angle_all_is_reflected(polarization):
    critical = np.rad2deg(np.arcsin(1 / 1.5))
    np.testing.assert_allclose(reflectance(AXIS, GLASS, [], VACUUM, critical + 1, polarization), 1, rtol=1e-13)
    np.testing.assert_array_equal(transmittance(AXIS, GLASS, [], VACUUM, critical + 1, polarization), 0)
    assert reflectance(AXIS, GLASS, [], VACUUM, critical - 1, polarization).max() < 0.9


def test_a_quarter_wave_layer_of_the_geometric_mean_does_not_reflect():
    axis = np.array([2000.0])
    for n in (1.5, 2.0, 3.0):
        layer = Layer.of(Medium("coating", n), 1e8 / 2000 / (4 * n), axis)
        expected = ((DENSE.index - n**2) / (DENSE.index + n**2)) ** 2
        for polarization in "sp":
            result = reflectance(axis, VACUUM, [layer], DENSE, 0.0, polarization)
            np.testing.assert_allclose(result, expected, atol=1e-30, rtol=1e-12)


@pytest.mark.parametrize("polarization", ["s", "p"])
@pytest.mark.parametrize("angle", [0.0, 35.0, 80.0])
def test_without_loss_what_is_not_reflected_is_transmitted(polarization, angle):
    ones = np.ones(3, dtype=complex)
    layers = [
        Layer.of(Medium("coating", 2.1), 4000.0, AXIS),
        Layer("uniaxial", 9000.0, 2.2 * ones, ones / 3.1),
        Layer("negative", 30.0, -5.0 * ones, ones / 2.0),
    ]
    sum_of_both = sum(part(AXIS, GLASS, layers, DENSE, angle, polarization) for part in (reflectance, transmittance))
    np.testing.assert_allclose(sum_of_both, 1, rtol=1e-12)


@pytest.mark.parametrize("polarization", ["s", "p"])
@pytest.mark.parametrize("angle", [0.0, 25.0, 50.0, 75.0])
def test_an_absorbing_uniaxial_stack_agrees_with_berremans_matrices(polarization, angle):
    layers = [(-300 + 80j, -300 + 80j, 150.0), (2.0 + 0.4j, 1.6 + 0.9j, 2500.0), (1.77 + 0.1j, 2.9 + 0.01j, 12000.0)]
    ones = np.ones(3, dtype=complex)
    ours = [Layer("layer", d, along * ones, ones / normal) for along, normal, d in layers]
    water = Medium("water", 1.33 + 0.05j)
    for number, wavenumber in enumerate(AXIS):
        expected = berreman(wavenumber, 1.5, layers, 1.33 + 0.05j, angle, polarization)
        assert reflectance(AXIS, GLASS, ours, water, angle, polarization)[number] == pytest.approx(expected[0], rel=1e-11)
        assert transmittance(AXIS, GLASS, ours, water, angle, polarization)[number] == pytest.approx(expected[1], rel=1e-10)


def test_many_angles_at_once_are_those_one_by_one():
    layers = [Layer.of(METAL, 100.0, AXIS)]
    angles = np.array([0.0, 45.0, 70.0])
    together = reflectance(AXIS, GLASS, layers, DENSE, angles, "p")
    assert together.shape == (3, 3)
    for number, angle in enumerate(angles):
        np.testing.assert_array_equal(together[number], reflectance(AXIS, GLASS, layers, DENSE, angle, "p"))


def test_a_layer_far_thicker_than_its_absorption_depth_is_opaque_and_finite():
    layer = Layer.of(METAL, 1e9, AXIS)
    np.testing.assert_allclose(reflectance(AXIS, VACUUM, [layer], DENSE, 40, "p"), reflectance(AXIS, VACUUM, [], METAL, 40, "p"))
    np.testing.assert_array_equal(transmittance(AXIS, VACUUM, [layer], DENSE, 40, "p"), 0)


@pytest.mark.parametrize("n1", [1.0, 1.33])
@pytest.mark.parametrize("angle", [20.0, 40.0, 60.0])
def test_thin_film_irras_is_within_half_a_percent_of_fresnel_on_a_perfect_metal(angle, n1):
    thickness = 3.0
    axis = WHOLE_AXIS[200:4501]
    film = film_permittivity(axis)
    bare = three_phase(axis, n1, np.ones_like(film), -1e8, thickness, angle, "p")
    exact = 1 - three_phase(axis, n1, film, -1e8, thickness, angle, "p") / bare
    result = irras_thin_film(film_response(thickness)["normal"], angle=angle, incident=n1).between(200, 4500)
    strong = exact > 0.05 * exact.max()
    assert strong.sum() > 300
    np.testing.assert_allclose(result.intensity[strong], exact[strong], rtol=5e-3)


def test_thin_film_irras_at_grazing_incidence_on_a_real_metal_is_within_the_stated_error():
    axis = WHOLE_AXIS[200:4501]
    film = film_permittivity(axis)
    for thickness in (3.0, 10.0):
        exact = 1 - three_phase(axis, 1.0, film, -900 + 300j, thickness, 75, "p") / three_phase(
            axis, 1.0, np.ones_like(film), -900 + 300j, thickness, 75, "p"
        )
        result = irras_thin_film(film_response(thickness)["normal"], angle=75).between(200, 4500)
        peaks = np.array([np.argmax(exact[:2500]), 2500 + np.argmax(exact[2500:])])
        deviation = result.intensity[peaks] / exact[peaks] - 1
        assert np.all(np.abs(deviation) < 0.035)
        assert np.all(np.abs(deviation) > 0.005)  # on a metal that is not perfect the limit is not reached


@pytest.mark.parametrize("polarization", ["s", "p"])
@pytest.mark.parametrize("angle", [0.0, 45.0, 75.0])
def test_irras_by_the_whole_stack_is_the_three_phase_result(polarization, angle):
    thickness = 20.0
    metal = Medium("metal", np.sqrt(-900 + 300j))
    result = irras(film_response(thickness), angle=angle, polarization=polarization, metal=metal, thickness=thickness)
    film = film_permittivity(result.wavenumber)
    bare = three_phase(result.wavenumber, 1.0, np.ones_like(film), -900 + 300j, thickness, angle, polarization)
    exact = 1 - three_phase(result.wavenumber, 1.0, film, -900 + 300j, thickness, angle, polarization) / bare
    # the axis ends at 20000 cm^-1: what lies beyond lacks in the real part
    np.testing.assert_allclose(result.intensity, exact, atol=2e-5 * np.abs(exact).max())
    assert result.conventions.extra["exit"] == "metal"
    assert result.conventions.extra["angle"] == angle
    assert result.quantity == f"irras_{polarization}"


def test_an_ideal_mirror_doubles_the_normal_field_and_cancels_the_parallel_one():
    slab, angle = film_response(2.0), 60.0
    on_mirror = {each: irras(slab, angle=angle, polarization=each, thickness=2.0).between(200, 4500) for each in "sp"}
    theta = np.deg2rad(angle)
    free = slab["normal"].between(200, 4500)
    # share of power that the normal field of one passing wave leaves in the free film
    absorbed = 2 * np.pi * free.wavenumber * 1e-8 * np.sin(theta) ** 2 / np.cos(theta) * free.intensity
    np.testing.assert_allclose(on_mirror["p"].intensity, 4 * absorbed, atol=1e-3 * 4 * absorbed.max())
    assert np.abs(on_mirror["s"].intensity).max() < 1e-4 * absorbed.max()
    thin = irras_thin_film(slab["normal"], angle=angle).between(200, 4500)
    np.testing.assert_allclose(thin.intensity, 4 * absorbed, rtol=1e-12)
    np.testing.assert_array_equal(irras_thin_film(slab["normal"], angle=angle, polarization="s").intensity, 0)


def test_an_ideal_mirror_is_the_limit_of_a_perfect_conductor():
    layers = [Layer.of(Medium("film", 1.4 + 0.2j), 3000.0, AXIS)]
    conductor = Medium("conductor", np.sqrt(-1e18 + 0j))
    for polarization in "sp":
        ideal, limit = (
            stack_amplitudes(AXIS, VACUUM, layers, each, 50, polarization)[0] for each in (IDEAL_MIRROR, conductor)
        )
        np.testing.assert_allclose(ideal, limit, rtol=1e-7)


def test_transmission_of_a_free_film_at_normal_incidence_is_its_absorbance():
    slab = film_response(1.0)
    result = transmission(slab)
    expected = 2 * np.pi * result.wavenumber * 1e-8 * slab["parallel"].between(200, 4500).intensity / np.log(10)
    np.testing.assert_allclose(result.intensity, expected, atol=1e-3 * expected.max())
    other = transmission(slab, polarization="p")
    np.testing.assert_allclose(other.intensity, result.intensity, atol=1e-12)


def test_transmission_through_a_stack_agrees_with_berremans_matrices():
    thickness, angle = 25.0, 40.0
    window = (Medium("window", 1.4), 5000.0)
    result = transmission(
        film_response(thickness), angle=angle, polarization="p", incident=VACUUM, before=[window], after=[(METAL, 50.0)],
        exit=GLASS, thickness=thickness, between=(1640, 1660),
    )  # fmt: skip
    for wavenumber, value in zip(result.wavenumber, result.intensity, strict=True):
        film = film_permittivity(wavenumber)
        with_film, without = (
            berreman(
                wavenumber, 1.0, [(1.96, 1.96, 5000.0), (each, each, thickness), ((3 + 20j) ** 2, (3 + 20j) ** 2, 50.0)],
                1.5, angle, "p",
            )[1]
            for each in (film, 1.0)
        )  # fmt: skip
        assert value == pytest.approx(-np.log10(with_film / without), rel=1e-5)


@pytest.mark.parametrize("polarization", ["s", "p"])
def test_atr_through_a_metal_film_agrees_with_berremans_matrices(polarization):
    thickness = 15.0
    gold, silicon, water = Medium("Au", 3 + 25j), Medium("Si", 3.42), Medium("water", 1.32 + 0.1j)
    result = atr(
        film_response(thickness), angle=60, polarization=polarization, prism=silicon, metal=(gold, 200.0), electrolyte=water,
        thickness=thickness, background=1.0, between=(1600, 1700),
    )  # fmt: skip
    for number in (0, 50, 100):
        wavenumber = result.wavenumber[number]
        film = film_permittivity(wavenumber)
        with_film, without = (
            berreman(
                wavenumber, 3.42, [((3 + 25j) ** 2,) * 2 + (200.0,), (each, each, thickness)], 1.32 + 0.1j, 60, polarization
            )[0]
            for each in (film, 1.0)
        )
        # the axis ends at 20000 cm^-1: what lies beyond lacks in the real part
        assert result.intensity[number] == pytest.approx(-np.log10(with_film / without), rel=3e-5)
    assert "smooth metal film: no enhancement by roughness" in result.conventions.notes
    assert [each["medium"] for each in result.conventions.extra["layers"]] == ["Au", "slab"]


@pytest.mark.parametrize("height", [25.0, 50.0, 100.0, 1000.0])
def test_a_film_at_fixed_d_does_not_change_with_its_vacuum(height):
    thickness = 20.0
    permittivity = 0.8 + film_permittivity(WHOLE_AXIS)
    at_fixed_d = (1 - 1 / permittivity) * thickness
    # E is fixed over the cell: D = E L / (L - (1 - 1/eps) d), and the moment per area is (1 - 1/eps) d D
    at_fixed_e = at_fixed_d * height / (height - at_fixed_d)
    electronic = (1 - 1 / 1.8) * thickness
    electronic *= height / (height - electronic)
    result = at_fixed_displacement(response("normal", at_fixed_e.imag, "fixed E"), height, electronic)
    np.testing.assert_allclose(result.intensity, at_fixed_d.imag, atol=1e-5 * at_fixed_d.imag.max())
    if height == 25.0:  # while the one at fixed field is another spectrum
        assert np.abs(at_fixed_e.imag - at_fixed_d.imag).max() > 0.3 * at_fixed_d.imag.max()
    assert result.conventions.boundary.startswith("fixed D along z")


def test_the_error_at_fixed_d_follows_the_slope_of_the_conversion():
    at_fixed_e = (1 - 1 / film_permittivity(WHOLE_AXIS)) * 20.0
    given = response("normal", at_fixed_e.imag, "fixed E", error=np.full(len(WHOLE_AXIS), 1e-3))
    converted = at_fixed_displacement(given, 30.0)
    step = 1e-7
    slope = np.abs(((at_fixed_e + step) / (1 + (at_fixed_e + step) / 30) - at_fixed_e / (1 + at_fixed_e / 30)) / step)
    assert slope.max() / slope.min() > 2
    # the axis ends at 20000 cm^-1, where the real part lacks what lies beyond
    np.testing.assert_allclose(converted.standard_error[:10000], 1e-3 * slope[:10000], rtol=1e-4)


def thermal_slab(height, rng, *, area=100.0, charge=5.0, frames=20000, runs=48, timestep=1.0):
    """M_z of damped modes in cells of one film and more or less vacuum at fixed E, by the exact propagator.

    The uniform depolarising field of the cell hardens the mode at fixed D, w_D^2 = w_E^2 + Q^2 / (m eps0 A L).
    """
    hardening = charge**2 / (AMU_ANGSTROM2_PER_FS2_IN_EV * EPSILON0_E2_PER_EV_ANGSTROM * area * height)
    squared = (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 1600) ** 2 - hardening
    damping = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 80
    heat = BOLTZMANN_EV_PER_K * 300 / AMU_ANGSTROM2_PER_FS2_IN_EV
    propagator = scipy.linalg.expm(timestep * np.array([[0, 1], [-squared, -damping]]))
    equilibrium = np.diag([heat / squared, heat])
    kick = np.linalg.cholesky(equilibrium - propagator @ equilibrium @ propagator.T)
    state = np.linalg.cholesky(equilibrium) @ rng.normal(size=(2, runs))
    position = np.empty((frames, runs))
    for frame in range(frames):
        position[frame] = state[0]
        state = propagator @ state + kick @ rng.normal(size=(2, runs))
    dipole = np.zeros((runs, frames, 3))
    dipole[:, :, 2] = charge * position.T
    return list(dipole)


def test_fluctuations_at_fixed_e_in_different_cells_give_one_response_at_fixed_d():
    rng = np.random.default_rng(8)
    centre = {}
    area = {}
    for height in (30.0, 90.0):
        normal = slab_response(
            thermal_slab(height, rng), 1.0, temperature=300, area=100.0, boundary="fixed E", correlation_time=2000
        )["normal"]
        converted = at_fixed_displacement(normal, height)
        for name, spectrum in (("E", normal), ("D", converted)):
            part = spectrum.between(1000, 2200)
            centre[name, height] = float(part.intensity @ part.wavenumber / part.intensity.sum())
            area[name, height] = float(part.intensity @ part.wavenumber)
        peak = int(np.argmax(converted.intensity))
        assert 0 < converted.standard_error[peak] < 0.1 * converted.intensity[peak]
        assert converted.verdict is not None
    assert centre["E", 90.0] - centre["E", 30.0] > 60
    assert centre["D", 90.0] == pytest.approx(centre["D", 30.0], abs=3)
    assert centre["D", 30.0] == pytest.approx(1600, abs=5)
    assert area["D", 90.0] == pytest.approx(area["D", 30.0], rel=0.03)


def test_errors_are_carried_through_the_stack_to_first_order():
    error = np.full(len(WHOLE_AXIS), 1e-3)
    slab = film_response(2.0, error)
    thin = irras_thin_film(slab["normal"], angle=60)
    factor = 8 * np.pi * WHOLE_AXIS * 1e-8 * 0.75 / 0.5
    np.testing.assert_allclose(thin.standard_error, factor * 1e-3, rtol=1e-12)
    assert thin.verdict is not None
    full = irras(slab, angle=60, polarization="p", thickness=2.0)
    np.testing.assert_allclose(full.standard_error, thin.between(200, 4500).standard_error, rtol=1e-2)
    assert irras(film_response(2.0), angle=60, polarization="p").standard_error is None


def test_the_model_error_is_carried_like_the_statistical_one():
    error = np.full(len(WHOLE_AXIS), 1e-3)
    slab = {name: replace(each, model_error=3 * error) for name, each in film_response(2.0, error).items()}
    for result in (irras_thin_film(slab["normal"], angle=60), irras(slab, angle=60, polarization="p", thickness=2.0)):
        np.testing.assert_allclose(result.model_error, 3 * result.standard_error, rtol=1e-3)
    fixed_e = replace(slab["normal"], conventions=replace(slab["normal"].conventions, boundary="fixed E"))
    converted = at_fixed_displacement(fixed_e, 30.0)
    np.testing.assert_allclose(converted.model_error, 3 * converted.standard_error, rtol=1e-12)


def test_a_response_without_blocks_but_with_an_error_keeps_its_verdict():
    noise = np.random.default_rng(3).normal(size=(3000, 3)).cumsum(axis=0)
    slab = slab_response(noise, 1.0, temperature=300, area=100.0, boundary="fixed D along z", estimator="cepstral")
    assert irras_thin_film(slab["normal"], angle=60).verdict is not None


def test_runs_that_are_independent_resolve_a_narrow_band_in_optics_too():
    """One block to each run: its error holds for a band of any width, in -dR/R as in the response it is made of."""
    phases = 2 * np.pi * np.random.default_rng(6).random(40)
    lines = [np.cos(0.3 * np.arange(2000.0) + phase)[:, None] * [0, 0, 1] for phase in phases]
    long = np.cos(0.3 * np.arange(16000.0))[:, None] * [0, 0, 1]
    slab = {"temperature": 300.0, "area": 100.0, "boundary": "fixed D along z", "correlation_time": 150.0}
    apart = slab_response(lines, 1.0, blocks=40, **slab)["normal"]
    one_run = slab_response(long, 1.0, blocks=8, **slab)["normal"]
    seen = []
    for response in (apart, one_run):
        thin = irras_thin_film(response, angle=60)
        assert response.verdict is not None and thin.verdict is not None
        band = next(each for each in thin.verdict.ranges if each["low"] == 1500.0)
        assert not band["resolved"] and band["relative_error"] < 0.05
        seen.append(band["converged"])
        assert thin.verdict.converged == response.verdict.converged
    assert seen == [True, False]


def test_parts_of_the_thin_film_signal_sum_to_it():
    normal = film_response(2.0)["normal"]
    split = Spectrum(
        normal.quantity, WHOLE_AXIS, normal.intensity, normal.unit, normal.conventions,
        parts={"layer/contact": normal.intensity * 0.3, "layer/rest": normal.intensity * 0.7},
    )  # fmt: skip
    result = irras_thin_film(split, angle=70)
    np.testing.assert_allclose(sum(result.parts.values()), result.intensity, rtol=1e-12)


def test_what_optics_cannot_use_is_refused_with_the_remedy():
    slab = film_response(2.0)
    fixed_e = {**slab, "normal": response("normal", slab["normal"].intensity, "fixed E")}
    with pytest.raises(InputError, match="at_fixed_displacement"):
        irras(fixed_e, angle=60, polarization="p")
    with pytest.raises(InputError, match="only 'fixed E'"):
        at_fixed_displacement(slab["normal"], 30.0)
    with pytest.raises(InputError, match="uncut"):
        irras({**slab, "normal": slab["normal"].between(1000, 2000)}, angle=60, polarization="p")
    with pytest.raises(InputError, match="0 to below 90"):
        irras(slab, angle=90, polarization="p")
    with pytest.raises(InputError, match="allowed: s, p"):
        irras_thin_film(slab["normal"], angle=60, polarization="x")
    with pytest.raises(InputError, match="absorbs"):
        irras(slab, angle=60, polarization="p", incident=METAL)
    with pytest.raises(InputError, match="parallel and normal"):
        transmission({"normal": slab["normal"]})
    with pytest.raises(InputError, match="the table holds 1000 to 2000"):
        irras(slab, angle=60, polarization="p", metal=Medium("Pt", np.array([5 + 20j, 6 + 25j]), np.array([1000.0, 2000.0])))


def test_kramers_kronig_gives_the_real_part_that_the_stack_needs():
    slab = film_response(1.0)
    real = kramers_kronig(WHOLE_AXIS, slab["normal"].intensity)
    exact = (1 - 1 / film_permittivity(WHOLE_AXIS)).real
    np.testing.assert_allclose(real[:4500], exact[:4500], atol=1e-5 * np.abs(exact).max())
