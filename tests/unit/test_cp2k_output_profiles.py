"""Cubes to profiles and work functions, vibrational analyses to modes, optimisations to structures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.convert import convert
from vibraloom.calculators.cp2k.planar_average import (
    dipole_across_vacuum,
    hydrogen_scale,
    mean_and_error,
    potential_profile,
    read_planar_average,
    vacuum_level,
)
from vibraloom.calculators.cp2k.sampled import load_sampled
from vibraloom.calculators.cp2k.vibrations_output import infrared_of, read_modes
from vibraloom.errors import InputError
from vibraloom.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

DATA = Path(__file__).parents[1] / "data" / "cp2k"
MASSES = np.array([15.999, 1.008, 1.008])
Array = NDArray[np.float64]


def write_cube(path: Path, values: Array, cell: Array, atoms: Array) -> None:
    """A cube as CP2K writes it: bohr, z innermost, 6E13.5 a line; ``cell`` and ``atoms`` in Å."""
    lines = ["-Quickstep-", " SYNTHETIC", f"{len(atoms):5d}    0.000000    0.000000    0.000000"]
    for count, vector in zip(values.shape, cell / ANGSTROM_PER_BOHR, strict=True):
        lines.append(f"{count:5d}" + "".join(f"{component / count:12.6f}" for component in vector))
    for atom in atoms / ANGSTROM_PER_BOHR:
        lines.append("    8    0.000000" + "".join(f"{component:12.6f}" for component in atom))
    for column in values.reshape(-1, values.shape[2]):
        words = [fortran(value) for value in column]
        lines += ["".join(words[at : at + 6]) for at in range(0, len(words), 6)]
    path.write_text("\n".join(lines) + "\n")


def fortran(value: float) -> str:
    """``value`` in E13.5 with a leading zero."""
    if value == 0:
        return "  0.00000E+00"
    exponent = int(np.floor(np.log10(abs(value)))) + 1
    mantissa = round(value / 10.0**exponent, 5)
    if abs(mantissa) >= 1:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:9.5f}" + f"E{exponent:+03d}" if abs(exponent) < 100 else f"{mantissa:9.5f}{exponent:+04d}"


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4, 5, 7), (6, 6, 12), (3, 2, 1)])
def test_the_average_over_planes_is_that_of_the_grid(tmp_path: Path, axis: int, shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(1).normal(size=shape) * 10.0 ** np.random.default_rng(2).integers(-8, 3, size=shape)
    cell = np.array([[6.0, 0, 0], [1.0, 7.0, 0], [0, 0, 9.0]])
    write_cube(tmp_path / "a.cube", values, cell, np.array([[0.1, 0.2, 0.3]]))
    found = read_planar_average(tmp_path / "a.cube", axis)
    others = tuple(other for other in range(3) if other != axis)
    np.testing.assert_allclose(found.value, values.mean(axis=others), atol=2e-5 * np.abs(values).max())
    assert found.length * found.area == pytest.approx(np.linalg.det(cell), rel=1e-5)


def test_an_exponent_of_three_digits_is_read(tmp_path: Path) -> None:
    values = np.full((2, 2, 6), 0.25)
    values[0, 0, 0] = 1.5e-130
    write_cube(tmp_path / "a.cube", values, 5 * np.eye(3), np.zeros((1, 3)))
    assert "0.15000-129" in (tmp_path / "a.cube").read_text()
    assert read_planar_average(tmp_path / "a.cube").value[0] == pytest.approx(0.25 * 3 / 4)


def test_a_cube_that_is_cut_off_or_overflowed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.cube"
    write_cube(path, np.ones((3, 3, 8)), 5 * np.eye(3), np.zeros((1, 3)))
    text = path.read_text()
    path.write_text(text[:-40])
    with pytest.raises(InputError, match=r"cut off or damaged|no number"):
        read_planar_average(path)
    path.write_text(text.replace("  0.10000E+01", "*************", 1))
    with pytest.raises(InputError, match="did not fit its column"):
        read_planar_average(path)
    path.write_text("nothing of the sort\n")
    with pytest.raises(InputError, match="not a cube file"):
        read_planar_average(path)


def slab_potential(height: float, points: int, upper: float, lower: float) -> Array:
    """(eV) A well of -8 between 4 and 10 Å and vacuum levels that step in the middle of the vacuum."""
    z = np.arange(points) * height / points
    middle = (10.0 + 4.0 + height) / 2
    return np.where((z > 4) & (z < 10), -8.0, np.where((z >= 10) & (z < middle), upper, lower))


def test_each_side_of_a_slab_has_its_vacuum_level(tmp_path: Path) -> None:
    profile = slab_potential(30.0, 150, 1.5, 0.5)
    values = np.broadcast_to(profile / EV_PER_HARTREE, (3, 3, 150)).copy()
    atoms = np.array([[1.0, 1.0, 5.0], [1.0, 1.0, 9.0]])
    write_cube(tmp_path / "a.cube", values, np.diag([6.0, 6.0, 30.0]), atoms)
    average = potential_profile(tmp_path / "a.cube")
    level = vacuum_level(average)
    assert level is not None
    assert (level.above, level.below) == pytest.approx((1.5, 0.5), abs=1e-4)
    assert hydrogen_scale(level.above, -3.2, 4.44) == pytest.approx(0.26, abs=1e-4)


def test_there_is_no_vacuum_level_in_a_filled_or_a_sloping_cell(tmp_path: Path) -> None:
    filled = np.array([[1.0, 1.0, z] for z in range(0, 30, 3)])
    write_cube(tmp_path / "a.cube", np.zeros((2, 2, 60)), np.diag([6.0, 6.0, 30.0]), filled)
    assert vacuum_level(potential_profile(tmp_path / "a.cube")) is None
    slope = np.broadcast_to(np.linspace(0, 0.5, 60), (2, 2, 60)).copy()
    write_cube(tmp_path / "a.cube", slope, np.diag([6.0, 6.0, 30.0]), np.array([[1.0, 1.0, 5.0]]))
    assert vacuum_level(potential_profile(tmp_path / "a.cube")) is None


def test_the_dipole_across_the_vacuum_is_charges_minus_electrons(tmp_path: Path) -> None:
    cell, points = np.diag([5.0, 5.0, 24.0]), 240
    z = np.arange(points) * 24.0 / points
    # eight electrons 0.3 Å below their ion, which lies across the cell's boundary
    for ion in (12.0, 23.9):
        centre = ion - 0.3
        offset = (z - centre + 12.0) % 24.0 - 12.0
        line = np.exp(-(offset**2) / 0.5)
        density = np.broadcast_to(line, (4, 4, points)).copy()
        density *= 8.0 / (density.sum() * 5.0 * 5.0 * 24.0 / density.size / ANGSTROM_PER_BOHR**3)
        write_cube(tmp_path / "a.cube", density, cell, np.array([[1.0, 1.0, ion]]))
        assert dipole_across_vacuum(tmp_path / "a.cube", np.array([8.0])) == pytest.approx(8 * 0.3, abs=2e-3)
    with pytest.raises(InputError, match="electrons for valence charges of 6"):
        dipole_across_vacuum(tmp_path / "a.cube", np.array([6.0]))


def test_the_error_of_a_mean_covers_it_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        mean, error = mean_and_error(generator.normal(size=64))
        inside += abs(float(mean)) < float(error)
    # 68.27 % of 400 with three standard deviations of the count
    assert abs(inside / 400 - 0.6827) < 3 * np.sqrt(0.6827 * 0.3173 / 400)
    assert np.isnan(mean_and_error(np.ones(1))[1])


def test_cubes_along_a_trajectory_give_the_work_function_with_its_error(tmp_path: Path) -> None:
    shutil.copytree(DATA / "md_one", tmp_path / "run")
    cell = np.diag([7.0, 7.0, 30.0])
    for step in (0, 4, 8):
        profile = slab_potential(30.0, 150, 1.0 + 0.1 * step, 0.0)
        values = np.broadcast_to(profile / EV_PER_HARTREE, (2, 2, 150)).copy()
        write_cube(tmp_path / "run" / f"cp2k-v_hartree-1_{step}.cube", values, cell, np.array([[1.0, 1.0, 5.0], [1.0, 1.0, 9.0]]))
    record: dict[str, Any] = {
        "kind": "dynamics",
        "numbers": [8, 1, 1],
        "masses": MASSES.tolist(),
        "cell": np.diag([7.0, 7.0, 7.5]).tolist(),
        "pbc": [True, True, True],
        "surface_axis": 2,
        "timestep": 0.5,
        "steps": 10,
        "every": 1,
        "trajectory": "trajectory-00.h5",
    }
    convert(tmp_path / "run", record)
    steps, work = load_sampled(tmp_path / "run" / "trajectory-00.h5", "work_function")
    _, fermi = load_sampled(tmp_path / "run" / "trajectory-00.h5", "fermi_energy")
    assert steps.tolist() == [0, 4, 8]
    np.testing.assert_allclose(work + fermi, [1.0, 1.4, 1.8], atol=1e-4)
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert outcome["work_function_ev"] == pytest.approx(work.mean())
    assert outcome["work_function_standard_error_ev"] > 0
    _, profiles = load_sampled(tmp_path / "run" / "trajectory-00.h5", "hartree_profile")
    assert profiles.shape == (3, 150)


def test_the_cubes_of_a_label_give_its_work_functions_and_its_normal_dipole(tmp_path: Path) -> None:
    shutil.copytree(DATA / "label", tmp_path / "job")
    cell, atoms = np.diag([7.0, 7.0, 30.0]), np.array([[3.0, 3.0, 6.0], [3.0, 3.0, 7.0], [3.0, 3.0, 8.0]])
    profile = np.broadcast_to(slab_potential(30.0, 150, 1.5, 0.5) / EV_PER_HARTREE, (2, 2, 150)).copy()
    write_cube(tmp_path / "job" / "cp2k-v_hartree-1_0.cube", profile, cell, atoms)
    z = np.arange(150) * 0.2
    density = np.broadcast_to(np.exp(-((z - 6.5) ** 2)), (2, 2, 150)).copy()
    density *= 8.0 / (density.sum() * 7.0 * 7.0 * 30.0 / density.size / ANGSTROM_PER_BOHR**3)
    write_cube(tmp_path / "job" / "cp2k-ELECTRON_DENSITY-1_0.cube", density, cell, atoms)
    record = {
        "kind": "label",
        "numbers": [8, 1, 1],
        "masses": MASSES.tolist(),
        "cell": np.diag([7.0, 7.0, 7.5]).tolist(),
        "pbc": [True, True, True],
        "surface_axis": 2,
    }
    assert convert(tmp_path / "job", record).problem is None
    with np.load(tmp_path / "job" / "labels.npz", allow_pickle=False) as labels:
        assert labels["work_function"][0] == pytest.approx([0.5 + 6.879041, 1.5 + 6.879041], abs=1e-4)
        # charges 6, 1, 1 at 6, 7 and 8 Å, eight electrons about 6.5 Å
        assert labels["dipole_normal"][0] == pytest.approx(6 * 6 + 7 + 8 - 8 * 6.5, abs=2e-3)


# --- vibrations ---


def test_modes_with_intensities_and_the_slope_of_the_dipole() -> None:
    modes = read_modes(DATA / "vib", MASSES)
    assert modes.wavenumber.tolist() == [1545.467026, 3759.463591, 3901.190296]
    assert modes.infrared is not None
    assert modes.raman is not None
    assert modes.depolarisation is not None
    assert modes.raman.tolist() == [5.950416, 45.851149, 15.939485]
    assert modes.depolarisation.tolist() == [0.539646, 0.124754, 0.550034]
    # the dipoles of the displaced structures give CP2K's own intensities again
    assert modes.dipole_slope is not None
    np.testing.assert_allclose(modes.infrared, [73.133421, 25.615714, 97.218713], rtol=1e-3)
    np.testing.assert_allclose(infrared_of(modes.dipole_slope), modes.infrared)
    np.testing.assert_allclose(modes.reduced_mass, [1.084674, 1.046391, 1.080416], rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(modes.displacement.reshape(3, -1), axis=1), 1.0)


def test_a_partial_hessian_moves_the_free_atoms_alone() -> None:
    modes = read_modes(DATA / "vibfix", MASSES)
    assert len(modes.wavenumber) == 6
    assert (modes.wavenumber[:2] < 0).all()
    assert not modes.displacement[:, 0].any()
    assert modes.raman is None
    assert modes.infrared is not None
    printed = [139.432505, 71.172587, 54.666580, 68.324434, 33.316131, 67.929604]
    np.testing.assert_allclose(modes.infrared, printed, rtol=1e-3)


BERRY_INTENSITIES = [99.436574, 118.553680, 74.674361]
"""(km/mol) As the log of ``vibberry`` has them."""


def with_another_dipole(folder: Path, print_of: int, change: float) -> None:
    """The modes of ``vibberry`` with the x component of one printed dipole changed by so many quanta."""
    shutil.copytree(DATA / "vibberry", folder)
    path = folder / "cp2k-r-0.out"
    text = path.read_text()
    found = list(re.finditer(r"X= +(\S+) Y= +(\S+) Z= +(\S+) +Total= +\S+", text))[print_of]
    x, y, z = (float(word) for word in found.groups())
    x += change * 28.81922563
    line = f"X= {x:.8E} Y= {y:.8E} Z= {z:.8E} Total= {np.hypot(np.hypot(x, y), z):.8f}"
    path.write_text(text[: found.start()] + line + text[found.end() :])


def test_two_processes_print_every_dipole() -> None:
    modes = read_modes(DATA / "vibberry", MASSES)
    assert modes.infrared is not None
    np.testing.assert_allclose(modes.infrared, BERRY_INTENSITIES, rtol=1e-3)


@pytest.mark.parametrize("print_of", [0, 3, 6])
@pytest.mark.parametrize("quanta", [1, -2])
def test_a_quantum_between_two_displacements_changes_no_intensity(tmp_path: Path, print_of: int, quanta: int) -> None:
    with_another_dipole(tmp_path / "job", print_of, quanta)
    modes = read_modes(tmp_path / "job", MASSES)
    assert modes.infrared is not None
    np.testing.assert_allclose(modes.infrared, BERRY_INTENSITIES, rtol=1e-3)


def test_a_dipole_between_two_branches_is_refused(tmp_path: Path) -> None:
    with_another_dipole(tmp_path / "job", 3, 0.4)
    with pytest.raises(InputError, match=r"x of atom 2 moved by -DX changes the dipole by 0\.40 quanta"):
        read_modes(tmp_path / "job", MASSES)


METAL_MASSES = np.array([26.981539] * 8 + [1.008])


def test_a_smeared_slab_has_an_intensity_along_its_normal_alone() -> None:
    modes = read_modes(DATA / "vibmetal", METAL_MASSES, surface_axis=2)
    assert modes.infrared is None and modes.dipole_slope is None
    assert modes.dipole_slope_normal is not None
    assert modes.infrared_normal is not None
    # the dipole correction counts electrons: third and sixth of its prints are those of +DX and -DX along z
    charge = -(0.0464105294 - 0.0463213931) / (0.02 * ANGSTROM_PER_BOHR)
    assert modes.dipole_slope_normal[2] == pytest.approx(charge / np.sqrt(1.008), rel=1e-3)
    np.testing.assert_allclose(modes.infrared_normal, 974.88 * modes.dipole_slope_normal**2, rtol=1e-5)
    assert {"infrared_normal", "dipole_slope_normal"} <= set(modes.arrays())


def test_without_one_dipole_per_displacement_a_smeared_slab_has_no_intensity(tmp_path: Path) -> None:
    shutil.copytree(DATA / "vibmetal", tmp_path / "job")
    log = tmp_path / "job" / "cp2k-r-0.out"
    log.write_text(log.read_text().replace("the slab [electrons-Angstroem]", "the slab", 1))
    modes = read_modes(tmp_path / "job", METAL_MASSES, surface_axis=2)
    assert modes.infrared_normal is None and modes.infrared is None


def test_a_plain_dipole_printed_beside_changes_nothing_on_a_slab(tmp_path: Path) -> None:
    shutil.copytree(DATA / "vibmetal", tmp_path / "job")
    # without a Berry phase it is cut by the cell's seams
    shutil.copy(DATA / "vib" / "cp2k-dipole.dat", tmp_path / "job")
    modes = read_modes(tmp_path / "job", METAL_MASSES, surface_axis=2)
    assert modes.infrared is None and modes.infrared_normal is not None


def vibrations(folder: Path) -> dict[str, Any]:
    shutil.copytree(DATA / "vib", folder)
    return {"kind": "vibrations", "numbers": [8, 1, 1], "masses": MASSES.tolist(), "cell": None, "pbc": [False] * 3}


def test_a_vibrational_job_keeps_its_modes(tmp_path: Path) -> None:
    record = vibrations(tmp_path / "job") | {"remedies": ["finer grid"]}
    outcome = convert(tmp_path / "job", record)
    assert (outcome.ended, outcome.problem) == ("normal", None)
    with np.load(tmp_path / "job" / "modes.npz", allow_pickle=False) as stored:
        assert {"wavenumber", "displacement", "infrared", "raman", "dipole_slope", "units"} <= set(stored.files)
        assert stored["remedies"].tolist() == ["finer grid"]


def test_an_unconverged_response_of_one_displacement_is_found_in_its_own_log(tmp_path: Path) -> None:
    record = vibrations(tmp_path / "job")
    log = tmp_path / "job" / "cp2k-r-0.out"
    converged = "  The linear solver converged in "
    text = log.read_text()
    at = text.index(converged, len(text) // 2)
    failed = "  The linear solver didn't converge! Maximum number of iterations reached.\n"
    log.write_text(text[:at] + failed + text[at:])
    outcome = convert(tmp_path / "job", record)
    assert outcome.problem == "linres"
    assert outcome.message.startswith("cp2k-r-0: the linear solver did not converge (1 equation(s))")


def test_modes_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    shutil.copytree(DATA / "vib", tmp_path / "job")
    shutil.copy(DATA / "vibfix" / "cp2k-VIBRATIONS-1.mol", tmp_path / "job")
    with pytest.raises(InputError, match=r"other modes than in cp2k\.out"):
        read_modes(tmp_path / "job", MASSES)


# --- optimisation ---


def test_an_optimisation_ends_in_its_last_structure(tmp_path: Path) -> None:
    shutil.copytree(DATA / "opt", tmp_path / "job")
    record = {"kind": "optimisation", "numbers": [8, 1, 1], "masses": MASSES.tolist(), "cell": None, "pbc": [True] * 3}
    record |= {"remedies": ["mixing: 0.4 to 0.1"], "warnings": ["warmer electrons"]}
    outcome = convert(tmp_path / "job", record)
    final = json.loads((tmp_path / "job" / "structure.json").read_text())
    assert final["converged"] is True
    assert final["remedies"] == ["mixing: 0.4 to 0.1"] and "warmer electrons" in final["warnings"]
    assert not outcome.partial
    assert final["positions"][0] == pytest.approx([3.5014808777, 3.4997639943, 3.5916394929])
    assert final["energy"] == outcome.energy_ev == pytest.approx(-468.57224, abs=1e-4)
    log = tmp_path / "job" / "cp2k.out"
    log.write_text(log.read_text().replace("GEOMETRY OPTIMIZATION COMPLETED", "MAXIMUM NUMBER OF OPTIMIZATION STEPS REACHED"))
    outcome = convert(tmp_path / "job", record)
    assert outcome.partial
    assert json.loads((tmp_path / "job" / "structure.json").read_text())["converged"] is False
