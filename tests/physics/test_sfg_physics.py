"""Sum-frequency generation: phase, sign and size of chi2, what vanishes in a bulk, pairs, windows and parts."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.constants as codata

from vibraloom.errors import InputError
from vibraloom.spectra.correlation import spectral_density
from vibraloom.spectra.infrared import infrared
from vibraloom.spectra.molecular import molecular_infrared, molecular_raman
from vibraloom.spectra.molecular_pairs import Molecules
from vibraloom.spectra.raman import raman
from vibraloom.spectra.sfg import depth_window, molecular_sfg, sfg
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    SPEED_OF_LIGHT_CM_PER_FS,
)

TEMPERATURE = 300.0
THERMAL = BOLTZMANN_EV_PER_K * TEMPERATURE
NU = 3000.0
ANGULAR = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * NU
CHARGE, SLOPE, MASS, AREA = 0.5, 1.2, 1.0, 100.0  # e, Å², amu, Å²


def at(spectrum, nu: float) -> float:
    return float(np.interp(nu, spectrum.wavenumber, spectrum.intensity))


def moments(coordinate: np.ndarray, slope: float = SLOPE) -> tuple[np.ndarray, np.ndarray]:
    """Dipole along z and polarizability in x and y of a coordinate (Å) with shape (F,)."""
    dipole, tensor = np.zeros((len(coordinate), 3)), np.zeros((len(coordinate), 3, 3))
    dipole[:, 2] = CHARGE * coordinate
    tensor[:, 0, 0] = tensor[:, 1, 1] = slope * coordinate + 5
    return dipole, tensor


def thermal(angular: float, timestep: float, frames: int, phase: float = 0.3) -> np.ndarray:
    """A harmonic coordinate (Å) with the mean energy of the temperature."""
    size = np.sqrt(2 * THERMAL / (MASS * AMU_ANGSTROM2_PER_FS2_IN_EV)) / angular
    return size * np.cos(angular * timestep * np.arange(frames) + phase)


def analytic(nu: np.ndarray) -> np.ndarray:
    """Real part of chi2 in 1e-22 m²/V of an undamped oscillator, all in SI: alpha' mu' / (eps0 A m (w0² - w²))."""
    slope = 4 * np.pi * codata.epsilon_0 * SLOPE * codata.angstrom**2
    strength = slope * CHARGE * codata.e / (codata.epsilon_0 * AREA * codata.angstrom**2 * MASS * codata.atomic_mass)
    per_wavenumber = 2 * np.pi * codata.c * 100
    return strength / (per_wavenumber**2 * (NU**2 - nu**2)) / 1e-22


@pytest.mark.parametrize("timestep", [0.5, 2.0])
def test_the_real_part_of_an_oscillator_is_exact_from_zero_to_beyond_its_resonance(timestep):
    found = sfg(*moments(thermal(ANGULAR, timestep, 20000)), timestep, temperature=TEMPERATURE, area=AREA, blocks=0)["real"]
    nu = found.wavenumber
    # the window's line is 33 cm^-1 wide: (33/700)^2; below 33 cm^-1 what leaks from it is divided by w^2
    away = (np.abs(nu - NU) > 700) & (nu < 6000) & (nu > found.conventions.extra["resolution"])
    np.testing.assert_allclose(found.intensity[away], analytic(nu[away]), rtol=2e-3)
    assert found.unit == "1e-22 m^2/V" and found.quantity == "sfg_real"


@pytest.mark.parametrize("slope", [SLOPE, -SLOPE])
@pytest.mark.parametrize("timestep", [0.5, 2.0])
def test_the_imaginary_area_of_an_oscillator_is_pi_over_2_times_its_strength(slope, timestep):
    found = sfg(*moments(thermal(ANGULAR, timestep, 20000), slope), timestep, temperature=TEMPERATURE, area=AREA, blocks=0)[
        "imaginary"
    ]
    # Im chi2 = S pi/(2 nu0) delta(nu - nu0) where Re chi2 = S/(nu0² - nu²)
    expected = np.sign(slope) * analytic(np.zeros(1))[0] * NU**2 * np.pi / (2 * NU)
    assert found.area(NU - 500, NU + 500) == pytest.approx(expected, rel=1e-3)
    assert np.sign(at(found, NU)) == np.sign(slope)


def test_the_real_part_of_a_damped_resonance_vanishes_at_its_centre():
    # frequencies spread as w Im chi2 of a damped oscillator: their mean is that oscillator, without noise
    damping, timestep = 0.2 * ANGULAR, 0.5
    grid = np.linspace(0, np.pi / timestep, 200001)[1:]
    density = grid**2 / ((ANGULAR**2 - grid**2) ** 2 + damping**2 * grid**2)
    quantiles = np.interp((np.arange(300) + 0.5) / 300, np.cumsum(density) / density.sum(), grid)
    runs = [moments(thermal(each, timestep, 4000, phase=number)) for number, each in enumerate(quantiles)]
    found = sfg(
        [run[0] for run in runs],
        [run[1] for run in runs],
        timestep,
        temperature=TEMPERATURE,
        area=AREA,
        correlation_time=300,
        blocks=0,
    )
    static = analytic(np.zeros(1))[0]
    assert at(found["imaginary"], NU) == pytest.approx(static * ANGULAR / damping, rel=0.02)
    # without the static term it would be -static
    assert abs(at(found["real"], NU)) < 0.03 * static
    assert at(found["real"], 0) == pytest.approx(static, rel=0.02)


def test_the_static_limit_is_the_fluctuation_of_dipole_and_polarizability():
    dipole, tensor = moments(thermal(ANGULAR, 1.0, 20000))
    found = sfg(dipole, tensor, 1.0, temperature=TEMPERATURE, blocks=0)["real"]
    expected = 4 * np.pi * np.mean(dipole[:, 2] * (tensor[:, 0, 0] - 5)) / THERMAL
    assert at(found, 50) == pytest.approx(expected, rel=1e-3)
    assert found.unit == "angstrom^4/V" and found.quantity == "sfg_real_times_area"


def test_another_quantum_correction_multiplies_the_whole():
    series = moments(thermal(ANGULAR, 1.0, 8000))
    harmonic = sfg(*series, 1.0, temperature=TEMPERATURE, blocks=0)
    classical = sfg(*series, 1.0, temperature=TEMPERATURE, blocks=0, quantum_correction="classical")
    x = codata.h * codata.c * 100 * NU / (codata.k * TEMPERATURE)
    expected = -np.expm1(-x) / x
    for name, power in (("real", 1), ("imaginary", 1), ("squared", 2)):
        near = np.argmin(np.abs(harmonic[name].wavenumber - NU + 30))
        ratio = classical[name].intensity[near] / harmonic[name].intensity[near]
        assert ratio == pytest.approx(expected**power, rel=0.03)
    np.testing.assert_allclose(
        harmonic["squared"].intensity, harmonic["real"].intensity ** 2 + harmonic["imaginary"].intensity ** 2, rtol=1e-12
    )


def test_elements_and_polarizations_take_the_tensor_elements_of_their_letters():
    random = np.random.default_rng(1)
    drive = thermal(ANGULAR, 1.0, 4000)
    charges, slopes = random.normal(size=3), random.normal(size=(3, 3))
    slopes = slopes + slopes.T
    dipole, tensor = drive[:, None] * charges, drive[:, None, None] * slopes
    unit = sfg(*moments(drive), 1.0, temperature=TEMPERATURE, blocks=0)["real"].intensity[0] / (CHARGE * SLOPE)

    def strength(element, **choices):
        values = choices.pop("tensor", tensor)
        return sfg(dipole, values, 1.0, temperature=TEMPERATURE, element=element, blocks=0, **choices)["real"].intensity[0]

    for element in ("xxz", "xyz", "zyx", "zzz"):
        p, q, r = ("xyz".index(letter) for letter in element)
        assert strength(element) == pytest.approx(unit * slopes[p, q] * charges[r], rel=1e-9)
    assert strength("ssp") == pytest.approx((strength("xxz") + strength("yyz")) / 2, rel=1e-9)
    assert strength("sps") == pytest.approx((strength("xzx") + strength("yzy")) / 2, rel=1e-9)
    assert strength("pss") == pytest.approx(strength("sps"), rel=1e-9)
    flat = tensor[:, [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
    assert strength("xyz", tensor=flat, components="xx,yy,zz,xy,yz,zx") == pytest.approx(strength("xyz"), rel=1e-12)
    with pytest.raises(InputError, match="angles of incidence"):
        strength("ppp")
    with pytest.raises(InputError, match="such as xxz"):
        strength("xz")


@functools.cache
def moving_molecules() -> dict[str, np.ndarray]:
    """Correlated moments of 12 molecules that move about in a triclinic cell, windows and labels that change."""
    random = np.random.default_rng(0)
    frames, count = 1500, 12
    phase = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 1600 * np.arange(frames)
    common = np.cos(phase + np.cumsum(random.normal(0, 0.05, frames)))
    dipole = 0.3 * common[:, None, None] * random.normal(size=(count, 3)) + 0.1 * random.normal(size=(frames, count, 3))
    tensor = common[:, None, None, None] * random.normal(size=(count, 3, 3)) + 0.1 * random.normal(size=(frames, count, 3, 3))
    positions = random.uniform(0, 12, (count, 3)) + np.cumsum(random.normal(0, 0.1, (frames, count, 3)), axis=0)
    near = np.clip(0.5 + np.cumsum(random.normal(0, 0.05, (frames, count)), axis=0), 0, 1)
    bonded = random.integers(0, 3, (frames, count))
    labels = {"layer/near": near, "layer/far": 1 - near}
    labels |= {f"hydrogen bonds/{number}": (bonded == number).astype(float) for number in range(3)}
    return {
        "dipole": dipole,
        "polarizability": tensor + tensor.transpose(0, 1, 3, 2),
        "positions": positions,
        "cell": np.array([[12.0, 0, 0], [3, 11, 0], [-2, 4, 13]]),
        "depth_weights": depth_window(positions[:, :, 2] - 6, 1, 4),
        "labels": labels,
    }


CHOICES = {"temperature": TEMPERATURE, "correlation_time": 60.0}


def test_all_pairs_are_the_series_of_the_whole():
    liquid = moving_molecules()
    plain = Molecules(dipole=liquid["dipole"], polarizability=liquid["polarizability"])
    totals = liquid["dipole"].sum(axis=1), liquid["polarizability"].sum(axis=1)
    whole = sfg(*totals, 1.0, element="xyz", **CHOICES)
    wide = Molecules(
        dipole=liquid["dipole"], polarizability=liquid["polarizability"], positions=liquid["positions"], cell=np.eye(3) * 500
    )
    for found in (
        molecular_sfg(plain, 1.0, element="xyz", **CHOICES),
        molecular_sfg(plain, 1.0, element="xyz", cutoff=np.inf, **CHOICES),
        molecular_sfg(wide, 1.0, element="xyz", cutoff=200.0, **CHOICES),
    ):
        for name, spectrum in whole.items():
            scale = np.abs(spectrum.intensity).max()
            np.testing.assert_allclose(found[name].intensity, spectrum.intensity, rtol=0, atol=1e-10 * scale)
            np.testing.assert_allclose(found[name].standard_error, spectrum.standard_error, rtol=0, atol=1e-10 * scale)
    scale = infrared(totals[0], 1.0, **CHOICES)
    np.testing.assert_allclose(
        molecular_infrared(plain, 1.0, **CHOICES).intensity, scale.intensity, rtol=0, atol=1e-10 * scale.intensity.max()
    )
    for name, spectrum in raman(totals[1], 1.0, **CHOICES).items():
        found = molecular_raman(wide, 1.0, cutoff=200.0, **CHOICES)[name]
        np.testing.assert_allclose(found.intensity, spectrum.intensity, rtol=0, atol=1e-10 * spectrum.intensity.max())
        assert found.conventions.form == spectrum.conventions.form


def test_a_cutoff_of_zero_is_each_molecule_with_itself():
    liquid = moving_molecules()
    molecules = Molecules(dipole=liquid["dipole"], polarizability=liquid["polarizability"])
    single = [
        sfg(liquid["dipole"][:, one], liquid["polarizability"][:, one], 1.0, blocks=0, **CHOICES)["imaginary"].intensity
        for one in range(molecules.shape[1])
    ]
    found = molecular_sfg(molecules, 1.0, cutoff=0.0, blocks=0, **CHOICES)["imaginary"].intensity
    np.testing.assert_allclose(found, np.sum(single, axis=0), rtol=0, atol=1e-10 * np.abs(found).max())


def test_pairs_within_a_cutoff_are_the_sum_over_pairs_and_times_written_out():
    liquid = moving_molecules()
    cutoff, depth = 4.0, 60
    molecules = Molecules(**{**liquid, "labels": {}})
    found = molecular_sfg(molecules, 1.0, element="xxz", cutoff=cutoff, blocks=0, **CHOICES)["imaginary"]

    rate_a = np.diff(liquid["polarizability"][:, :, 0, 0], axis=0)
    window = (liquid["depth_weights"][1:] + liquid["depth_weights"][:-1]) / 2
    rate_m = window * np.diff(liquid["dipole"][:, :, 2], axis=0)
    steps = liquid["positions"][:-1, None] - liquid["positions"][:-1, :, None]
    steps = steps - np.rint(steps @ np.linalg.inv(liquid["cell"])) @ liquid["cell"]
    close = np.square(steps).sum(axis=-1) <= cutoff**2  # [t, i, j]
    frames = len(rate_a)
    correlation = np.zeros(depth + 1)
    for lag in range(depth + 1):
        for shift in (lag, -lag):
            origins = np.arange(max(0, -shift), frames - max(0, shift))
            pairs = np.einsum("ti,tij,tj->", rate_a[origins + shift], close[origins], rate_m[origins])
            correlation[lag] += pairs / len(origins) / 2
    nu, density = spectral_density(correlation, 1.0)
    factor = np.sinc(SPEED_OF_LIGHT_CM_PER_FS * nu) ** 2 * 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * nu
    expected = 4 * np.pi / THERMAL * density[1:] / 2 / factor[1:]
    np.testing.assert_allclose(found.intensity[1:], expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("cutoff", [None, 0.0, 4.0])
def test_parts_sum_to_the_whole(cutoff):
    liquid = moving_molecules()
    molecules = Molecules(**liquid)
    spectra = {f"sfg {name}": each for name, each in molecular_sfg(molecules, 1.0, cutoff=cutoff, **CHOICES).items()}
    spectra |= {f"raman {name}": each for name, each in molecular_raman(molecules, 1.0, cutoff=cutoff, **CHOICES).items()}
    spectra["infrared"] = molecular_infrared(molecules, 1.0, cutoff=cutoff, **CHOICES)
    plain = molecular_sfg(Molecules(**{**liquid, "labels": {}}), 1.0, cutoff=cutoff, **CHOICES)
    for name, spectrum in spectra.items():
        scale = np.abs(spectrum.intensity).max()
        for decomposition in ("layer", "hydrogen bonds"):
            parts = [values for label, values in spectrum.parts.items() if label.startswith(f"{decomposition}/")]
            assert np.abs(np.sum(parts, axis=0) - spectrum.intensity).max() < 1e-10 * scale, name
            assert all(np.abs(part).max() > 1e-3 * scale for part in parts), name
    for name, spectrum in plain.items():
        scale = np.abs(spectrum.intensity).max()
        np.testing.assert_allclose(spectra[f"sfg {name}"].intensity, spectrum.intensity, rtol=0, atol=1e-12 * scale)


def test_moments_in_float32_give_the_spectrum_to_their_precision():
    liquid = moving_molecules()
    exact = molecular_sfg(Molecules(**{**liquid, "labels": {}}), 1.0, cutoff=4.0, **CHOICES)
    single = {name: liquid[name].astype(np.float32) for name in ("dipole", "polarizability")}
    found = molecular_sfg(Molecules(**{**liquid, **single, "labels": {}}), 1.0, cutoff=4.0, **CHOICES)
    for name, spectrum in exact.items():
        resolved = spectrum.wavenumber > 2 * spectrum.conventions.extra["resolution"]
        scale = np.abs(spectrum.intensity[resolved]).max()
        difference = (found[name].intensity - spectrum.intensity)[resolved]
        assert np.abs(difference).max() < 1e-5 * scale


def test_a_molecule_that_crosses_the_window_leaves_no_trace_of_the_window():
    # a constant dipole beside one that vibrates: d(w mu)/dt would hold the motion of the window
    frames = 4000
    sway = 3 * np.sin(2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 200 * np.arange(frames))
    drive = thermal(2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 200, 1.0, frames)
    _, tensor = moments(drive)
    dipole = np.broadcast_to([0.0, 0, 0.4], (frames, 1, 3))
    molecules = Molecules(dipole=dipole, polarizability=tensor[:, None], depth_weights=depth_window(sway[:, None], 0.5, 2.5))
    for spectrum in molecular_sfg(molecules, 1.0, temperature=TEMPERATURE).values():
        assert not spectrum.intensity.any()


def test_the_window_is_odd_and_rises_from_the_middle_to_the_surfaces():
    heights = np.array([[-9.0, -4, -2.5, -1, 0, 1, 2.5, 4, 9]])
    np.testing.assert_allclose(depth_window(heights, 1, 4), [[-1, -1, -0.5, 0, 0, 0, 0.5, 1, 1]], atol=1e-15)
    with pytest.raises(InputError, match="inner < outer"):
        depth_window(heights, 4, 1)


def slab_of_oscillators(seed: int, bulk: int = 60, surface: int = 12) -> dict[str, np.ndarray]:
    """Bonds with axial moments: at random in the bulk, pointing out of the film at both its faces."""
    random = np.random.default_rng(seed)
    frames, count = 1500, bulk + 2 * surface
    axes = random.normal(size=(count, 3)) * np.r_[np.ones(bulk), 0.3 * np.ones(2 * surface)][:, None]
    axes[bulk:, 2] += np.repeat([1.0, -1.0], surface)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    heights = np.r_[random.uniform(-6, 6, bulk), np.repeat([9.0, -9.0], surface)]
    nu = random.normal(3500, 60, count)
    drive = np.stack([thermal(2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * each, 1.0, frames, random.uniform(0, 7)) for each in nu], 1)
    tensors = 0.5 * np.eye(3) + np.einsum("mi,mj->mij", axes, axes)
    return {
        "dipole": drive[:, :, None] * axes,
        "polarizability": drive[:, :, None, None] * tensors,
        "depth_weights": np.broadcast_to(depth_window(heights, 2, 8), (frames, count)).copy(),
    }


def test_a_bulk_window_averages_to_zero_within_its_error_and_far_below_the_surface():
    runs = [slab_of_oscillators(seed) for seed in range(24)]
    choices = {"temperature": TEMPERATURE, "correlation_time": 250.0, "blocks": len(runs), "cutoff": 0.0}
    surface = molecular_sfg([Molecules(**run) for run in runs], 1.0, **choices)["imaginary"]
    flat = [Molecules(**{**run, "depth_weights": None}) for run in runs]  # +1 everywhere
    bulk = molecular_sfg(flat, 1.0, **choices)["imaginary"]
    band = (bulk.wavenumber > 3300) & (bulk.wavenumber < 3700)
    peak = surface.intensity[band].max()
    assert peak > 10 * surface.standard_error[band].max()
    assert surface.intensity[band].min() > 0
    assert np.abs(bulk.intensity[band]).max() < 0.05 * peak
    # Student's t of 24 runs: 3 errors are passed in 0.6 % of bins
    assert (np.abs(bulk.intensity[band]) / bulk.standard_error[band]).max() < 3
    # the two faces cancel in the series of the whole, each by itself does not
    upper = [{name: values[:, -24:-12] for name, values in run.items() if name != "depth_weights"} for run in runs]
    face = molecular_sfg([Molecules(**run) for run in upper], 1.0, **choices)["imaginary"]
    assert face.intensity[band].max() > 0.4 * peak


def test_the_error_of_each_part_of_chi2_is_that_of_independent_runs():
    estimates: dict[str, list[np.ndarray]] = {}
    stated: dict[str, list[np.ndarray]] = {}
    for seed in range(30):
        random = np.random.default_rng(seed)
        noise = np.cumsum(random.normal(size=(6000, 2)), axis=0)
        dipole, tensor = moments(noise[:, 0])
        tensor[:, 0, 0] = tensor[:, 1, 1] = noise[:, 1] + noise[:, 0]
        found = sfg(dipole, tensor, 1.0, temperature=TEMPERATURE, correlation_time=60)
        for name, spectrum in found.items():
            keep = (spectrum.wavenumber > 2000) & (spectrum.wavenumber < 12000)
            estimates.setdefault(name, []).append(spectrum.intensity[keep])
            stated.setdefault(name, []).append(spectrum.standard_error[keep])
    for name, values in estimates.items():
        spread = np.sqrt(np.mean(np.var(values, axis=0, ddof=1)))
        assert np.sqrt(np.mean(np.square(stated[name]))) == pytest.approx(spread, rel=0.15), name


def test_runs_that_do_not_fit_are_refused():
    liquid = moving_molecules()
    with pytest.raises(InputError, match="align both by step"):
        sfg(liquid["dipole"][:-1, 0], liquid["polarizability"][:, 0], 1.0, temperature=300)
    with pytest.raises(InputError, match="polarizability: missing"):
        molecular_sfg(Molecules(dipole=liquid["dipole"]), 1.0, temperature=300)
    with pytest.raises(InputError, match="without positions and cell"):
        molecular_infrared(Molecules(dipole=liquid["dipole"]), 1.0, temperature=300, cutoff=4.0)
    with pytest.raises(InputError, match="half the smallest width"):
        molecular_sfg(Molecules(**liquid), 1.0, temperature=300, cutoff=6.0)
    with pytest.raises(InputError, match="differ from those of run 0"):
        molecular_infrared([Molecules(**liquid), Molecules(dipole=liquid["dipole"])], 1.0, temperature=300)
    for change, message in (
        ({"dipole": None, "polarizability": None}, "give one at least"),
        ({"positions": liquid["positions"][:, :-1]}, "positions: shape"),
        ({"depth_weights": np.full((1500, 12), np.nan)}, "depth_weights: frame 0 is not finite"),
        ({"labels": {"layer/near": np.full((1500, 12), 0.4)}}, "sum to 1 in frame 0"),
        ({"polarizability": liquid["polarizability"] + np.triu(np.ones((3, 3)), 1)}, "molecule [0-9]+: antisymmetric"),
        ({"cell": np.zeros((3, 3))}, "volume 0"),
    ):
        with pytest.raises(InputError, match=message):
            Molecules(**{**liquid, **change})
