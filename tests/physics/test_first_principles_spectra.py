"""Spectra of a bulk, and of a molecule without harmonic modes, through the correlation job: areas against their formulas.

One charged oscillator with the mean energy kT in a cubic cell absorbs (dmu/dQ)^2 by the sum rule; its isotropic Raman
cross-section is Placzek's (D. A. Long, The Raman Effect (2002)); polarizabilities stand at every fourth frame alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.constants as constants
from scipy.spatial.transform import Rotation

from vibraloom.calculators.correlation.job import main
from vibraloom.calculators.job import Progress
from vibraloom.errors import InputError
from vibraloom.files.tables import read_json
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    EPSILON0_E2_PER_EV_ANGSTROM,
    SPEED_OF_LIGHT_CM_PER_FS,
)

SUM_RULE = 974.88  # km/mol per e²/amu
CHARGE, MASS, SLOPE, EDGE, TEMPERATURE, LASER = 0.4, 1.5, 0.7, 8.0, 330.0, 532.0  # SLOPE: Å² of the polarizability
INTERVAL, STRIDE = 0.5, 4


def job(kind: str, requests: list[dict[str, Any]], **entries: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "requests": requests,
        "temperature": TEMPERATURE,
        "integration_timestep": INTERVAL,
        "axis_end": 4500.0,
        "laser_wavelength": LASER,
        "molecules": [0, 0],
        **entries,
    }


def oscillate(folder: Path, wavenumber: float, axis: int = 0, pbc: tuple[bool, bool, bool] = (True, True, True)) -> None:
    """A light charge that oscillates along an axis beside a heavy one at rest, over a whole number of periods."""
    frequency = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber
    reach = np.sqrt(2 * BOLTZMANN_EV_PER_K * TEMPERATURE / (MASS * frequency**2 * AMU_ANGSTROM2_PER_FS2_IN_EV))
    frames = round(round(16_000 * SPEED_OF_LIGHT_CM_PER_FS * wavenumber) / (SPEED_OF_LIGHT_CM_PER_FS * wavenumber) / INTERVAL)
    step = np.arange(frames)
    places, velocities = np.zeros((frames, 2, 3)), np.zeros((frames, 2, 3))
    places[:, 0, axis] = reach * np.cos(frequency * step * INTERVAL)
    velocities[:, 0, axis] = -reach * frequency * np.sin(frequency * step * INTERVAL)
    bulk = Trajectory(
        np.array([1, 8]), np.array([MASS, 16.0]), step, INTERVAL, places, velocities, np.eye(3) * EDGE, pbc
    )
    write_trajectory(folder / "trajectory-00.h5", bulk)
    sampled = step[::STRIDE]
    np.savez(
        folder / "response-00.npz",
        step=step,
        dipole=CHARGE * places[:, 0],
        polarizability_step=sampled,
        polarizability=(1.4 + SLOPE * places[sampled, 0, axis])[:, None, None] * np.eye(3),
    )


@pytest.mark.parametrize("wavenumber", [1650.0, 3400.0])
def test_spectra_of_a_bulk_have_the_areas_of_their_formulas(
    wavenumber: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    oscillate(tmp_path, wavenumber)
    requests = [{"quantity": name, "by": ["species"] if name == "vdos" else []} for name in ("ir", "raman", "vdos")]
    main(job("liquid", requests, volume=EDGE**3, context={"stamps": ["a stamp"]}), Progress(tmp_path))
    found = {path.stem.removeprefix("spectrum-"): read_json(path) for path in tmp_path.glob("spectrum-*.json")}
    low, high = wavenumber - 150, wavenumber + 150

    infrared = found["ir"]
    assert (infrared.quantity, infrared.unit, infrared.conventions.volume) == ("infrared", "cm^-1", EDGE**3)
    assert "a stamp" in infrared.conventions.notes
    moles_per_cm3 = 1 / (constants.N_A * EDGE**3 * 1e-24)
    molar = SUM_RULE * CHARGE**2 / MASS * 1e5  # cm/mol
    assert infrared.area(low, high) == pytest.approx(molar * moles_per_cm3, rel=5e-3)

    isotropic = found["raman_isotropic"]
    assert isotropic.conventions.timestep == STRIDE * INTERVAL
    assert isotropic.area(low, high) == pytest.approx(scattered(wavenumber), rel=1e-2)
    assert found["raman_anisotropic"].area(low, high) == pytest.approx(0, abs=1e-6 * isotropic.area(low, high))

    states = found["vdos"]
    assert states.area(low, high) == pytest.approx(1.0, rel=5e-3)
    assert set(states.parts) == {"species/H", "species/O"}
    np.testing.assert_allclose(states.parts["species/H"], states.intensity, atol=1e-12)


def scattered(wavenumber: float) -> float:
    """(1e-30 cm²/sr) Placzek's cross-section of the oscillator, whose polarizability grows by SLOPE."""
    light, planck = constants.c * 100, constants.h * 1e7  # CGS
    slope = SLOPE**2 / MASS * 1e-32 / (constants.atomic_mass * 1e3)  # cm⁴/g
    stokes = 1 - np.exp(-constants.h * light * wavenumber / (constants.k * TEMPERATURE))
    section = (2 * np.pi) ** 4 * (1e7 / LASER - wavenumber) ** 4 * planck / (8 * np.pi**2 * light * wavenumber * stokes) * slope
    return float(section * 1e30)


AREA = EDGE**2


def response_area(wavenumber: float) -> float:
    """(Å/cm) Area of Im alpha/(eps0 A) of the oscillator: pi q² / (2 m w0 eps0 A), over 2 pi c."""
    frequency = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber
    momentum = MASS * frequency * AMU_ANGSTROM2_PER_FS2_IN_EV
    return float(CHARGE**2 / (4 * SPEED_OF_LIGHT_CM_PER_FS * momentum * EPSILON0_E2_PER_EV_ANGSTROM * AREA))


def slab_job(*quantities: str) -> dict[str, Any]:
    requests = [{"quantity": name, "by": []} for name in quantities]
    return job("interface", requests, area=AREA, molecules=[0, -1])


def test_an_insulating_slab_has_its_response_in_the_plane_and_along_the_normal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wavenumber = 1650.0
    oscillate(tmp_path, wavenumber, pbc=(True, True, False))
    with np.load("response-00.npz") as stored:
        arrays = dict(stored)
    arrays["polarizability"][:, 1:, 1:] = 0  # a field along x alone
    np.savez("response-00.npz", **arrays)
    main(slab_job("ir", "raman", "vdos"), Progress(tmp_path))
    found = {path.stem.removeprefix("spectrum-"): read_json(path) for path in tmp_path.glob("spectrum-*.json")}
    assert set(found) == {"ir_parallel", "ir_normal", "raman_xx", "raman_yy", "raman_xy", "vdos"}
    low, high = wavenumber - 150, wavenumber + 150
    # it moves along x, one of the two directions in the plane
    assert found["ir_parallel"].area(low, high) == pytest.approx(response_area(wavenumber) / 2, rel=5e-3)
    assert found["ir_normal"].area(low, high) == pytest.approx(0, abs=1e-9)
    assert "fixed D along z" in str(found["ir_normal"].conventions.boundary)
    assert found["raman_xx"].quantity == "raman_oriented_xx"
    assert found["raman_xx"].area(low, high) == pytest.approx(scattered(wavenumber), rel=1e-2)
    assert found["raman_yy"].area(low, high) == pytest.approx(0, abs=1e-9)


def test_a_metal_slab_has_its_response_along_the_normal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wavenumber = 1650.0
    oscillate(tmp_path, wavenumber, axis=2, pbc=(True, True, False))
    with np.load("response-00.npz") as stored:
        np.savez("response-00.npz", step=stored["step"], dipole_normal=stored["dipole"][:, 2])
    main(slab_job("ir"), Progress(tmp_path))
    assert [path.name for path in tmp_path.glob("spectrum-*.json")] == ["spectrum-ir_normal.json"]
    normal = read_json("spectrum-ir_normal.json")
    assert normal.area(wavenumber - 150, wavenumber + 150) == pytest.approx(response_area(wavenumber), rel=5e-3)


def test_dipoles_at_a_stride_have_the_area_of_those_of_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    oscillate(tmp_path, 1650.0)
    with np.load("response-00.npz") as stored:
        arrays = dict(stored)
    found = {}
    for stride in (1, STRIDE):
        step = arrays["step"][::stride]
        entries = {"dipole": arrays["dipole"][::stride]} | ({} if stride == 1 else {"dipole_step": step})
        np.savez("response-00.npz", step=arrays["step"], **entries)
        main(job("liquid", [{"quantity": "ir", "by": []}], volume=EDGE**3), Progress(tmp_path))
        found[stride] = read_json("spectrum-ir.json")
    assert found[STRIDE].conventions.timestep == STRIDE * INTERVAL
    assert found[STRIDE].area(1500, 1800) == pytest.approx(found[1].area(1500, 1800), rel=5e-3)


def test_a_rotating_polarizability_at_a_stride_stands_still_in_the_eckart_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reference = np.array([[0.0, 0.0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]])
    step = np.arange(4000)
    turns = Rotation.from_rotvec(np.outer(step * 0.004, [0.3, 0.5, np.sqrt(0.66)])).as_matrix()
    places = np.einsum("fij,aj->fai", turns, reference)
    water = Trajectory(np.array([8, 1, 1]), np.array([16.0, 1.0, 1.0]), step, INTERVAL, places, np.zeros_like(places))
    write_trajectory(tmp_path / "trajectory-00.h5", water)
    sampled = step[::STRIDE]
    tensors = turns[sampled] @ np.diag([1.2, 1.6, 1.4]) @ turns[sampled].swapaxes(1, 2)
    np.savez(tmp_path / "response-00.npz", step=step, polarizability_step=sampled, polarizability=tensors)
    entries = {"molecules": [0, 0, 0], "reference_positions": reference.tolist()}
    main(job("molecule", [{"quantity": "raman", "by": []}], **entries), Progress(tmp_path))
    laboratory, fixed = (read_json(f"spectrum-raman_anisotropic{end}.json") for end in ("", "_eckart"))
    assert np.abs(fixed.intensity).max() < 1e-5 * laboratory.intensity.max()
    assert fixed.conventions.timestep == STRIDE * INTERVAL


def test_what_the_response_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    oscillate(tmp_path, 3400.0)
    with np.load("response-00.npz") as stored:
        arrays = dict(stored)
    for missing, quantity, said in (("dipole", "ir", "has no dipole"), ("polarizability", "raman", "has no polarizability")):
        np.savez("response-00.npz", **{name: values for name, values in arrays.items() if name != missing})
        with pytest.raises(InputError, match=said):
            main(job("liquid", [{"quantity": quantity, "by": []}], volume=EDGE**3), Progress(tmp_path))
    np.savez("response-00.npz", **{**arrays, "polarizability_step": arrays["polarizability_step"] + 10**6})
    with pytest.raises(InputError, match="belongs to no frame"):
        main(job("liquid", [{"quantity": "raman", "by": []}], volume=EDGE**3), Progress(tmp_path))
