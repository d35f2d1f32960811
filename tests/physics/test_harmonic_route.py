"""The harmonic route: it agrees with trajectories, with phonopy and with ASE, and keeps what must be kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import phonopy
import pytest
import scipy.constants as codata
from ase import Atoms
from ase.build import fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS
from phonopy.file_IO import write_FORCE_SETS
from phonopy.physical_units import get_physical_units
from phonopy.structure.atoms import PhonopyAtoms
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from vibraloom.calculators.ase.engines import HarmonicCalculator
from vibraloom.calculators.ase.harmonic import finite_displacements
from vibraloom.errors import ComputationError, InputError
from vibraloom.files import jcamp, tables
from vibraloom.files.bonds import natural_bonds
from vibraloom.files.phonopy_files import read_phonopy, read_phonopy_mesh
from vibraloom.spectra.harmonic import (
    HarmonicDerivatives,
    dielectric_function,
    infrared_intensities,
    oscillator_strengths,
    raman_invariants,
    raman_tensors,
)
from vibraloom.spectra.harmonic_spectra import SHAPES, broadened, density_of_states, harmonic_spectra
from vibraloom.spectra.infrared import infrared_from_current
from vibraloom.spectra.mode_assignment import mode_table, motion_fractions
from vibraloom.spectra.oriented_raman import Geometry
from vibraloom.spectra.raman import raman_from_derivatives, stokes_factor
from vibraloom.spectra.vdos import vdos
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    ANGSTROM_PER_BOHR,
    BOLTZMANN_EV_PER_K,
    EV_PER_HARTREE,
    SPEED_OF_LIGHT_CM_PER_FS,
)

TEMPERATURE = 300.0
CENTIMETRE_PER_THZ = 1e12 / codata.c / 100


def spring_hessian(positions, bonds, cell=None, across=0.0):
    """Springs (eV/Å²) along bonds, and weaker ones across them."""
    size = len(positions)
    hessian = np.zeros((size, 3, size, 3))
    for number, (i, j, shift) in enumerate(bonds):
        vector = positions[j] - positions[i] + (0 if cell is None else np.array(shift) @ cell)
        unit = vector / np.linalg.norm(vector)
        block = (20.0 + 3.0 * number) * np.outer(unit, unit) + across * np.eye(3)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            hessian[a, :, b] += sign * block
    return hessian.reshape(3 * size, 3 * size)


def angled_molecule(seed=3):
    """Three atoms tied to each other, with derivatives of dipole and polarizability that have no symmetry."""
    rng = np.random.default_rng(seed)
    positions = np.array([[0.0, 0, 0.07], [0.76, 0, -0.52], [-0.8, 0.1, -0.5]])
    bonds = [(0, 1, (0, 0, 0)), (0, 2, (0, 0, 0)), (1, 2, (0, 0, 0))]
    tensors = rng.normal(size=(9, 3, 3))
    return HarmonicDerivatives(
        symbols=["O", "H", "H"],
        masses=np.array([15.999, 1.008, 1.008]),
        positions=positions,
        hessian=spring_hessian(positions, bonds),
        dipole_derivatives=rng.normal(size=(9, 3)),
        polarizability_derivatives=tensors + tensors.transpose(0, 2, 1),
        bonds=bonds[:2],
    )


@pytest.fixture(scope="module")
def exact_runs():
    """Per mode of the molecule: velocities of two runs, a quarter period apart, each with the mean energy kT.

    Their mean correlation is a pure cosine at every lag, so that nothing statistical is left.
    """
    derivatives = angled_molecule()
    modes = derivatives.modes()
    timestep, frames = 1.0, 4000
    time = timestep * np.arange(frames)
    speed = np.sqrt(2 * BOLTZMANN_EV_PER_K * TEMPERATURE / AMU_ANGSTROM2_PER_FS2_IN_EV)
    runs = []
    for wavenumber, displacement in zip(modes.wavenumber, modes.displacements, strict=True):
        phase = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber * time
        runs.append([speed * np.sin(phase + shift)[:, None, None] * displacement for shift in (0.0, np.pi / 2)])
    return derivatives, modes, timestep, runs


def integral(values, wavenumber):
    """Over 0 to the Nyquist wavenumber: the two ends, where a two-sided transform meets itself, count by half."""
    return (values.sum() - (values[0] + values[-1]) / 2) * (wavenumber[1] - wavenumber[0])


def test_infrared_areas_are_those_of_exact_trajectories(exact_runs):
    derivatives, modes, timestep, runs = exact_runs
    areas = infrared_intensities(derivatives.dipole_derivatives, modes)
    for number, velocities in enumerate(runs):
        currents = [v.reshape(len(v), -1) @ derivatives.dipole_derivatives for v in velocities]
        spectrum = infrared_from_current(
            currents, timestep, temperature=TEMPERATURE, correlation_time=1500.0, blocks=0, differenced=False
        )
        total = integral(spectrum.intensity, spectrum.wavenumber)
        assert total == pytest.approx(areas[number], rel=1e-10)
        peak = spectrum.wavenumber[np.argmax(spectrum.intensity)]
        assert abs(peak - modes.wavenumber[number]) <= spectrum.wavenumber[1] - spectrum.wavenumber[0]


def test_raman_activities_are_those_of_exact_trajectories(exact_runs):
    derivatives, modes, timestep, runs = exact_runs
    sticks = harmonic_spectra(derivatives, temperature=TEMPERATURE, form="activity", shape="gaussian", width=2.0)
    for number, velocities in enumerate(runs):
        flat = derivatives.polarizability_derivatives.reshape(9, 9)
        rates = [(v.reshape(len(v), -1) @ flat).reshape(-1, 3, 3) for v in velocities]
        found = raman_from_derivatives(
            rates,
            timestep,
            temperature=TEMPERATURE,
            differenced=False,
            correlation_time=1500.0,
            blocks=0,
            form="activity",
        )
        low, high = modes.wavenumber[number] - 30, modes.wavenumber[number] + 30
        for name, spectrum in found.items():
            total = integral(spectrum.intensity, spectrum.wavenumber)
            assert total == pytest.approx(sticks[f"raman_{name}"].area(low, high), rel=1e-10), name


def test_densities_of_states_by_species_are_those_of_exact_trajectories(exact_runs):
    derivatives, modes, timestep, runs = exact_runs
    groups = {"species/O": np.array([0]), "species/H": np.array([1, 2])}
    sticks = harmonic_spectra(derivatives, temperature=TEMPERATURE, shape="gaussian", width=2.0)["vdos"]
    for number, velocities in enumerate(runs):
        # two runs with the mean kinetic energy kT/2 of one mode
        spectrum = vdos(
            velocities,
            derivatives.masses,
            timestep,
            temperature=TEMPERATURE,
            correlation_time=1500.0,
            blocks=0,
            groups=groups,
        )
        low, high = modes.wavenumber[number] - 30, modes.wavenumber[number] + 30
        assert integral(spectrum.intensity, spectrum.wavenumber) == pytest.approx(1.0, rel=1e-10)
        for name in groups:
            part = replace(sticks, intensity=sticks.parts[name])
            found = integral(spectrum.parts[name], spectrum.wavenumber)
            assert found == pytest.approx(part.area(low, high), rel=1e-10), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("width", "spacing"), [(10.0, 1.0), (0.02, 2.0), (30.0, 0.7)])
def test_lines_keep_their_area_whatever_the_spacing(shape, width, spacing):
    centre = np.array([12.0, 800.0, 3500.3])
    values = broadened(centre, np.eye(3), width=width, shape=shape, bins=int(1e6 / spacing), spacing=spacing)
    # a Lorentzian has w/(pi nu) of its area beyond nu on either side, here at 1e6
    tail = {"lorentzian": 2 * width / (2 * np.pi * 1e6), "gaussian": 0.0, "oscillator": 2 * width / (np.pi * 1e6)}[shape]
    np.testing.assert_allclose(values.sum(axis=1) * spacing, 1 - tail, atol=2e-10)
    assert values.min() >= -1e-12


def test_many_lines_are_laid_on_the_axis_in_turns():
    centre = np.linspace(100.0, 3000.0, 1500)
    whole = broadened(centre, np.ones((2, 1500)), width=5.0, shape="gaussian", bins=4000)  # more than fits at once
    turns = sum(broadened(centre[i::3], np.ones(500), width=5.0, shape="gaussian", bins=4000) for i in range(3))
    np.testing.assert_allclose(whole, [turns, turns], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_width_is_the_full_width_at_half_maximum(shape):
    values = broadened(np.array([2000.0]), np.ones(1), width=20.0, shape=shape, bins=400000, spacing=0.01)
    above = np.flatnonzero(values > values.max() / 2)
    assert (above[-1] - above[0]) * 0.01 == pytest.approx(20.0, abs=0.02)


def test_an_overdamped_line_is_finite():
    values = broadened(np.array([5.0, 0.0]), np.ones(2), width=10.0, shape="oscillator", bins=200000, spacing=0.1)
    assert np.isfinite(values).all() and values.sum() * 0.1 == pytest.approx(2.0, rel=1e-3)


def test_powder_averages_are_those_over_all_orientations():
    derivatives = angled_molecule()
    powder = harmonic_spectra(derivatives, temperature=TEMPERATURE, form="activity")
    sums = {"z(xx)z": 0.0, "z(xy)z": 0.0}
    rotations = Rotation.create_group("I").as_matrix()  # averages products of four direction cosines exactly
    for rotation in rotations:
        turned = np.einsum("ab,cbd->cad", rotation, derivatives.polarizability_derivatives)
        turned = np.einsum("cab,db->cad", turned, rotation)
        sample = replace(derivatives, polarizability_derivatives=turned)
        oriented = harmonic_spectra(sample, temperature=TEMPERATURE, form="activity", geometries=tuple(sums))
        for geometry in sums:
            sums[geometry] = sums[geometry] + oriented[f"raman_{geometry}"].intensity / len(rotations)
    np.testing.assert_allclose(sums["z(xx)z"], powder["raman_vv"].intensity, rtol=1e-10)
    np.testing.assert_allclose(sums["z(xy)z"], powder["raman_vh"].intensity, rtol=1e-10)


def test_a_turned_sample_is_seen_as_its_turned_tensor():
    derivatives = angled_molecule()
    geometry = Geometry.porto("z(xy)z").with_sample_turned([0.3, -0.2, 1.0], 35.0)
    turn = Rotation.from_rotvec(np.deg2rad(35.0) * np.array([0.3, -0.2, 1.0]) / np.linalg.norm([0.3, -0.2, 1.0])).as_matrix()
    turned = np.einsum("ab,cbd,ed->cae", turn, derivatives.polarizability_derivatives, turn)
    by_light = harmonic_spectra(derivatives, temperature=TEMPERATURE, geometries=[geometry])
    sample = replace(derivatives, polarizability_derivatives=turned)
    by_sample = harmonic_spectra(sample, temperature=TEMPERATURE, geometries=["z(xy)z"])["raman_z(xy)z"]
    np.testing.assert_allclose(by_light[f"raman_{geometry.name}"].intensity, by_sample.intensity, rtol=1e-9)


def test_powder_averages_are_those_by_the_invariants_g0_g1_g2():
    derivatives = angled_molecule()
    modes = derivatives.modes()
    tensors = raman_tensors(derivatives.polarizability_derivatives, modes)
    xx, yy, zz = (tensors[:, i, i] for i in range(3))
    xy, yz, zx = tensors[:, 0, 1], tensors[:, 1, 2], tensors[:, 2, 0]
    g0 = (xx + yy + zz) ** 2 / 3
    g2 = 2 * (xy**2 + yz**2 + zx**2) + ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 3
    spectra = harmonic_spectra(derivatives, temperature=TEMPERATURE, shape="gaussian", width=2.0)
    laser = 1e7 / 532.0
    for number, wavenumber in enumerate(modes.wavenumber):
        energy = codata.h * codata.c * 100 * wavenumber
        occupation = 1 / np.expm1(energy / (codata.k * TEMPERATURE))
        # (2 pi)^4 (nu_L - nu)^4 h (n + 1) / (8 pi² c nu), 1 Å⁴/amu = 1e-32 cm⁴ / 1.66e-24 g
        square = codata.h * 1e7 / (8 * np.pi**2 * codata.c * 100 * wavenumber)  # g cm²
        factor = (2 * np.pi * (laser - wavenumber)) ** 4 * square * (occupation + 1)
        factor *= 1e-32 / (codata.atomic_mass * 1e3) / 1e-30
        low, high = wavenumber - 30, wavenumber + 30
        hh, hv = (10 * g0 + 4 * g2)[number] / 30, 3 * g2[number] / 30
        assert spectra["raman_vv"].area(low, high) == pytest.approx(factor * hh, rel=1e-9)
        assert spectra["raman_vh"].area(low, high) == pytest.approx(factor * hv, rel=1e-9)
        assert spectra["raman_unpolarized"].area(low, high) == pytest.approx(factor * (hh + hv), rel=1e-9)


def test_photon_counts_have_their_own_prefactor():
    derivatives = angled_molecule()
    modes = derivatives.modes()
    mean, _ = raman_invariants(raman_tensors(derivatives.polarizability_derivatives, modes))
    counts = harmonic_spectra(derivatives, temperature=TEMPERATURE, shape="gaussian", width=2.0, detector="counts")
    expected = stokes_factor(modes.wavenumber, TEMPERATURE, 532.0, "counts") * mean
    for number, wavenumber in enumerate(modes.wavenumber):
        assert counts["raman_isotropic"].area(wavenumber - 30, wavenumber + 30) == pytest.approx(expected[number], rel=1e-9)


def test_an_isotope_is_another_mass():
    positions = np.array([[0.0, 0, 0], [0, 0, 1.275]])
    bonds = [(0, 1, (0, 0, 0))]
    light = HarmonicDerivatives(["H", "Cl"], np.array([1.008, 34.969]), positions, spring_hessian(positions, bonds))
    heavy = light.with_masses({"H": 2.014})
    reduced = [mass.prod() / mass.sum() for mass in (light.masses, heavy.masses)]
    ratio = heavy.modes().wavenumber[0] / light.modes().wavenumber[0]
    assert ratio == pytest.approx(np.sqrt(reduced[0] / reduced[1]), rel=1e-12)
    spectrum = harmonic_spectra(heavy, temperature=TEMPERATURE)["vdos"]
    assert spectrum.conventions.extra["masses"] == {"H": [2.014], "Cl": [34.969]}
    with pytest.raises(InputError, match=r"masses: D is not there; allowed: H, Cl"):
        light.with_masses({"D": 2.014})


def test_zero_and_imaginary_modes_give_no_infinity_and_are_reported():
    derivatives = replace(angled_molecule(), anchored=True)  # rotations and translations stay, at zero
    assert np.sum(np.abs(derivatives.modes().wavenumber) < 1) == 6
    for sample, converged in ((derivatives, True), (replace(derivatives, hessian=-derivatives.hessian), False)):
        spectra = harmonic_spectra(sample, temperature=TEMPERATURE, geometries=["z(xx)z"])
        for name, spectrum in spectra.items():
            assert np.isfinite(spectrum.intensity).all(), name
            assert spectrum.verdict.converged is converged
            assert "6 modes below 1 cm^-1 left off" in spectrum.conventions.notes
    assert "3 imaginary modes" in spectra["vdos"].conventions.notes[1]
    rows = mode_table(sample)
    assert [row["imaginary"] for row in rows[:3]] == [True] * 3 and not spectra["vdos"].intensity.any()


def test_a_crystal_of_zero_stiffness_has_empty_spectra():
    flat = HarmonicDerivatives(["C", "O"], np.array([12.0, 16.0]), np.eye(3)[:2], np.zeros((6, 6)), cell=4 * np.eye(3),
                               dipole_derivatives=np.ones((6, 3)))
    for spectrum in harmonic_spectra(flat, temperature=TEMPERATURE).values():
        assert np.isfinite(spectrum.intensity).all()


# --- phonopy


class SpringCrystal:
    """Three atoms without symmetry in a triclinic cell, springs between neighbours; forces are linear."""

    def __init__(self, folder: Path) -> None:
        cell = np.array([[3.6, 0.0, 0.0], [0.5, 3.9, 0.0], [0.3, -0.4, 4.2]])
        places = [[0.02, 0.05, 0.01], [0.48, 0.55, 0.1], [0.4, 0.1, 0.56]]
        unit = PhonopyAtoms(symbols=["Mg", "O", "F"], cell=cell, scaled_positions=places)
        self.phonon = phonopy.Phonopy(unit, np.diag([2, 2, 2]), primitive_matrix=np.eye(3))
        self.phonon.generate_displacements(distance=0.01)
        reference = self.phonon.supercell
        rest = Atoms(reference.symbols, positions=reference.positions, cell=reference.cell, pbc=True)
        first, second, vector = neighbor_list("ijD", rest, 3.4)
        length = np.linalg.norm(vector, axis=1)
        unit_vector, stiffness = vector / length[:, None], 40.0 / length**2

        def forces(positions):
            moved = positions - rest.positions
            moved -= np.round(moved @ np.linalg.inv(rest.cell.array)) @ rest.cell.array
            result = np.zeros_like(moved)
            pull = stiffness * np.einsum("ni,ni->n", unit_vector, moved[second] - moved[first])
            np.add.at(result, first, pull[:, None] * unit_vector)
            return result

        self.phonon.forces = [forces(each.positions) for each in self.phonon.supercells_with_displacements]
        self.phonon.produce_force_constants()
        self.phonon.symmetrize_force_constants()
        rng = np.random.default_rng(5)
        born = rng.normal(size=(3, 3, 3)) + 1.5 * np.eye(3) * np.array([1, -0.6, -0.4])[:, None, None]
        born -= born.mean(axis=0)
        self.born, self.dielectric = born, np.array([[2.6, 0.2, 0.1], [0.2, 3.0, -0.3], [0.1, -0.3, 2.2]])
        self.folder = folder
        self.phonon.save(folder / "phonopy_disp.yaml", settings={"force_sets": False, "displacements": True})
        write_FORCE_SETS(self.phonon.dataset, filename=str(folder / "FORCE_SETS"))
        lines = ["14.4", *(" ".join(f"{value:.15f}" for value in np.ravel(m)) for m in (self.dielectric, *born))]
        (folder / "BORN").write_text("\n".join(lines) + "\n")
        rng.normal(size=(3, 3, 3, 3))
        tensors = rng.normal(size=(3, 3, 3, 3))
        np.save(folder / "raman.npy", tensors + tensors.transpose(0, 1, 3, 2))


@pytest.fixture(scope="module")
def crystal(tmp_path_factory: pytest.TempPathFactory) -> SpringCrystal:
    return SpringCrystal(tmp_path_factory.mktemp("phonopy"))


def constants_ratio():
    """What phonopy's older constants make of a wavenumber, relative to ours."""
    units = get_physical_units()
    return np.sqrt(units.EV / units.AMU) / np.sqrt(codata.e / codata.atomic_mass)


@pytest.fixture(scope="module")
def loaded(crystal):
    """The same files in phonopy itself, with FORCE_SETS rounded as it stands there, and without BORN."""
    source = crystal.folder / "phonopy_disp.yaml"
    return phonopy.load(source, force_sets_filename=crystal.folder / "FORCE_SETS", is_nac=False)


def phonopy_wavenumbers(phonon, **direction):
    phonon.run_qpoints([[0, 0, 0]], with_eigenvectors=True, **direction)
    found = phonon.qpoints
    return found.frequencies[0] * CENTIMETRE_PER_THZ / constants_ratio(), found.eigenvectors[0]


def test_frequencies_and_mode_intensities_are_those_of_phonopys_eigenvectors(crystal, loaded):
    derivatives = HarmonicDerivatives(**read_phonopy(crystal.folder))
    modes = derivatives.modes()
    wavenumber, vectors = phonopy_wavenumbers(loaded)
    np.testing.assert_allclose(wavenumber[:3], 0, atol=1e-3)  # acoustic: projected out here
    np.testing.assert_allclose(modes.wavenumber, wavenumber[3:], rtol=1e-10)
    along = np.einsum("aij,ajm,a->mi", crystal.born, vectors[:, 3:].real.reshape(3, 3, -1), loaded.primitive.masses**-0.5)
    strengths = oscillator_strengths(derivatives.dipole_derivatives, modes)
    np.testing.assert_allclose(np.trace(strengths, axis1=1, axis2=2), np.square(along).sum(axis=1), rtol=1e-10)


@pytest.mark.parametrize("direction", [[1, 0, 0], [0, 1, 0], [0.3, -0.5, 0.8]])
def test_longitudinal_modes_of_phonopys_own_correction_are_zeros_of_our_dielectric_function(crystal, loaded, direction):
    derivatives = HarmonicDerivatives(**read_phonopy(crystal.folder))
    modes = derivatives.modes()
    strengths = oscillator_strengths(derivatives.dipole_derivatives, modes)
    # e²/(4 pi eps0) in eV Å by the constants used here
    loaded.nac_params = {"born": crystal.born, "dielectric": crystal.dielectric, "method": "wang",
                                 "factor": EV_PER_HARTREE * ANGSTROM_PER_BOHR}
    reduced = np.asarray(loaded.primitive.cell) @ np.array(direction)  # phonopy wants reduced coordinates
    longitudinal, _ = phonopy_wavenumbers(loaded, nac_q_direction=reduced)
    loaded.nac_params = None
    unit = np.array(direction) / np.linalg.norm(direction)

    def along(wavenumber):
        epsilon = dielectric_function(
            np.array([wavenumber]), strengths, modes.wavenumber,
            volume=derivatives.volume, width=1e-12, electronic=derivatives.dielectric,
        )
        return float(unit @ epsilon[0].real @ unit)

    poles = [*modes.wavenumber, 4000.0]
    zeros = [brentq(along, low + 1e-7, high - 1e-7, xtol=1e-11) for low, high in pairwise(poles)]
    assert np.max(zeros - modes.wavenumber) > 10  # the splitting is no small correction
    np.testing.assert_allclose(zeros, longitudinal[3:], rtol=1e-9)


def test_density_of_states_on_a_mesh_holds_three_states_per_atom(crystal):
    mesh = read_phonopy_mesh(crystal.folder, (3, 3, 3))
    own = phonopy.load(
        crystal.folder / "phonopy_disp.yaml",
        force_sets_filename=crystal.folder / "FORCE_SETS",
        born_filename=crystal.folder / "BORN",
    )
    own.run_mesh([3, 3, 3], is_gamma_center=True)
    np.testing.assert_allclose(mesh["wavenumber"], own.mesh.frequencies * CENTIMETRE_PER_THZ, rtol=1e-9, atol=1e-3)
    spectrum = density_of_states(**mesh, width=5.0)
    assert spectrum.intensity.sum() == pytest.approx(9.0, rel=1e-9)
    np.testing.assert_allclose(sum(spectrum.parts.values()), spectrum.intensity, rtol=1e-10, atol=1e-14)
    for part in spectrum.parts.values():
        assert part.sum() == pytest.approx(3.0, rel=1e-9)


def test_absorption_of_a_crystal_is_w_over_c_times_the_imaginary_part(crystal):
    derivatives = HarmonicDerivatives(**read_phonopy(crystal.folder))
    spectra = harmonic_spectra(derivatives, temperature=TEMPERATURE, shape="oscillator", width=8.0, spacing=0.05)
    imaginary = spectra["dielectric_imaginary"]
    expected = 2 * np.pi * imaginary.wavenumber * imaginary.intensity
    assert spectra["infrared"].unit == "cm^-1"
    np.testing.assert_allclose(spectra["infrared"].intensity, expected, atol=2e-5 * expected.max())
    molar = harmonic_spectra(derivatives, temperature=TEMPERATURE, shape="oscillator", width=8.0, absorption=False)
    assert molar["infrared"].conventions.volume is None
    # km/mol: one mole of cells
    ratio = molar["infrared"].intensity.sum() / (spectra["infrared"].intensity.sum() * 0.05)
    assert ratio == pytest.approx(derivatives.volume * 1e-24 * codata.N_A * 1e-5, rel=1e-4)
    real = harmonic_spectra(derivatives, temperature=TEMPERATURE, highest=6000.0)["dielectric_real"].intensity
    assert real[0] > real[-1] and real[-1] == pytest.approx(np.trace(crystal.dielectric) / 3, rel=0.02)


def test_raman_tensors_in_both_units_are_the_same(crystal):
    by_volume = read_phonopy(crystal.folder, raman=crystal.folder / "raman.npy", raman_unit="angstrom^2")
    volume = abs(np.linalg.det(by_volume["cell"]))
    np.save(crystal.folder / "susceptibility.npy", np.load(crystal.folder / "raman.npy") * 4 * np.pi / volume)
    by_chi = read_phonopy(crystal.folder, raman=crystal.folder / "susceptibility.npy", raman_unit="1/angstrom")
    np.testing.assert_allclose(
        by_chi["polarizability_derivatives"], by_volume["polarizability_derivatives"], rtol=1e-12
    )
    spectra = harmonic_spectra(HarmonicDerivatives(**by_volume), temperature=TEMPERATURE, geometries=["z(xy)-z"])
    assert spectra["raman_z(xy)-z"].intensity.max() > 0


def test_nothing_is_taken_from_the_current_folder(crystal, tmp_path, monkeypatch):
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "phonopy_disp.yaml").write_bytes((crystal.folder / "phonopy_disp.yaml").read_bytes())
    monkeypatch.chdir(crystal.folder)
    with pytest.raises(InputError, match="neither FORCE_SETS nor FORCE_CONSTANTS beside it"):
        read_phonopy(lonely)
    (lonely / "FORCE_SETS").write_bytes((crystal.folder / "FORCE_SETS").read_bytes())
    assert "dipole_derivatives" not in read_phonopy(lonely)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("FORCE_SETS", "24\n1\n\nrubbish\n", "phonopy cannot load it"),
        ("BORN", "14.4\n1 2 3\n", "phonopy cannot load it"),
        ("phonopy_disp.yaml", "a: [1\n", "phonopy cannot load it"),
        ("raman.npy", "no array", "raman.npy: not a .npy file of numbers"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_name(crystal, tmp_path, name, content, message):
    for source in crystal.folder.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        read_phonopy(tmp_path, raman=tmp_path / "raman.npy", raman_unit="angstrom^2")
    assert "\n" not in str(raised.value)


def test_raman_tensors_need_a_unit_and_a_shape(crystal, tmp_path):
    with pytest.raises(InputError, match=r"raman_unit is None; allowed: angstrom\^2, 1/angstrom"):
        read_phonopy(crystal.folder, raman=crystal.folder / "raman.npy")
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3, 3, 3)))
    with pytest.raises(InputError, match=r"wrong.npy: shape \(2, 3, 3, 3\); it must be \(3, 3, 3, 3\)"):
        read_phonopy(crystal.folder, raman=tmp_path / "wrong.npy", raman_unit="angstrom^2")
    with pytest.raises(InputError, match="a phonopy yaml file is missing"):
        read_phonopy(tmp_path)
    with pytest.raises(InputError, match="mesh"):
        read_phonopy_mesh(crystal.folder, (2, 0, 1))


# --- finite displacements


@pytest.fixture(scope="module")
def water():
    tblite = pytest.importorskip("tblite.ase", reason="pip install 'vibraloom[dft]'")
    atoms = molecule("H2O")
    atoms.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0, accuracy=1e-4)
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return atoms


def test_water_agrees_with_ases_own_infrared(water, tmp_path):
    from ase.vibrations import Infrared

    own = Infrared(water, name=str(tmp_path / "ir"), delta=0.01)
    own.run()
    theirs = np.real(own.get_frequencies(method="standard"))[-3:]
    derivatives = finite_displacements(water, water.calc, 0.01)
    # ASE leaves rotations and translations in; so does this for anchored atoms
    everything = replace(derivatives, anchored=True)
    np.testing.assert_allclose(everything.modes().wavenumber[-3:], theirs, rtol=1e-7)
    areas = infrared_intensities(derivatives.dipole_derivatives, everything.modes())[-3:]
    np.testing.assert_allclose(areas, own.intensities[-3:] * 42.2561, rtol=1e-5)  # (D/Å)²/amu to km/mol
    rows = mode_table(derivatives)
    np.testing.assert_allclose([row["wavenumber"] for row in rows], theirs, atol=0.1)
    assert [row["assignment"] for row in rows] == ["H-O-H bend", "O-H stretch", "O-H stretch"]
    assert all(max(row["motion"].values()) > 0.98 for row in rows)
    assert derivatives.largest_force < 0.01


def test_a_polarizability_function_is_differentiated(water):
    slopes = np.random.default_rng(2).normal(size=(9, 6))

    def polarizability(atoms):
        xx, yy, zz, xy, yz, zx = atoms.positions.ravel() @ slopes
        return np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])

    derivatives = finite_displacements(water, water.calc, polarizability=polarizability)
    np.testing.assert_allclose(derivatives.polarizability_derivatives[:, 0, 1], slopes[:, 3], rtol=1e-9)
    assert "raman_vv" in harmonic_spectra(derivatives, temperature=TEMPERATURE)


def test_springs_with_charges_give_the_sum_rule():
    atoms = Atoms("HCl", positions=[[0, 0, 0], [0, 0, 1.275]])
    engine = {"kind": "harmonic", "bonds": [{"atoms": [0, 1], "length": 1.275, "spring": 32.0}], "charges": [0.18, -0.18]}
    derivatives = finite_displacements(atoms, HarmonicCalculator(engine), 1e-3)
    mass = atoms.get_masses()
    spectrum = harmonic_spectra(derivatives, temperature=TEMPERATURE, shape="gaussian")["infrared"]
    expected = 974.88 * 0.18**2 * mass.sum() / mass.prod()
    assert spectrum.intensity.sum() == pytest.approx(expected, rel=1e-5)


def test_fixed_atoms_stay_and_an_adsorbate_keeps_its_hindered_motions():
    slab = fcc111("Cu", (1, 1, 2), vacuum=8.0)
    surface = slab.positions[:, 2].max()
    atoms = slab + Atoms("N2", positions=[[*slab.positions[-1, :2], surface + 2.0], [*slab.positions[-1, :2], surface + 3.1]])
    atoms.set_constraint(FixAtoms(indices=range(2)))
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=300)
    before = atoms.positions.copy()
    derivatives = finite_displacements(atoms, EMT())
    np.testing.assert_array_equal(atoms.positions, before)
    assert derivatives.symbols == ["N", "N"] and derivatives.anchored and derivatives.dipole_derivatives is None
    rows = mode_table(derivatives)
    assert len(rows) == 6 and rows[-1]["assignment"] == "N-N stretch"
    kinds = [row["assignment"] for row in rows]
    assert kinds.count("translation") == 3 and kinds.count("libration") == 2
    assert set(harmonic_spectra(derivatives, temperature=TEMPERATURE)) == {"vdos"}


def test_a_calculator_that_fails_is_one_line_with_the_atom(water):
    class Broken(EMT):
        def calculate(self, *arguments, **keywords):
            raise RuntimeError("no\nconvergence")

    with pytest.raises(ComputationError, match="atom 0 displaced: Broken: no convergence"):
        finite_displacements(water, Broken())
    with pytest.raises(InputError, match="delta"):
        finite_displacements(water, EMT(), 0.0)
    held = water.copy()
    held.set_constraint(FixBondLength(0, 1))
    with pytest.raises(InputError, match="constraint FixBondLengths; allowed: FixAtoms"):
        finite_displacements(held, EMT())
    held.set_constraint(FixAtoms(indices=range(3)))
    with pytest.raises(InputError, match="all of them are fixed"):
        finite_displacements(held, EMT())


# --- assignment


def two_waters():
    first = molecule("H2O").positions
    turn = Rotation.from_euler("xyz", [0.4, 1.0, 0.3]).as_matrix()
    positions = np.concatenate([first + 2.0, first @ turn.T + np.array([2.2, 5.8, 2.4])])
    return ["O", "H", "H"] * 2, np.array([15.999, 1.008, 1.008] * 2), positions


def test_motions_of_two_molecules_are_told_apart():
    symbols, masses, positions = two_waters()
    cell = 8.0 * np.eye(3)
    bonds = natural_bonds(symbols, positions, cell)
    assert len(bonds) == 4
    every = [(i, j, (0, 0, 0)) for i in range(6) for j in range(i)]
    inner = [pair for pair in every if pair[0] // 3 == pair[1] // 3]
    hessian = spring_hessian(positions, inner) + 1e-3 * spring_hessian(positions, every, across=5.0)
    whole = HarmonicDerivatives(symbols, masses, positions, hessian, cell=cell, bonds=bonds)
    modes = whole.modes()
    motion = motion_fractions(modes, whole)
    np.testing.assert_allclose(sum(motion.values()), 1.0, atol=1e-12)
    counts = {name: float(share.sum()) for name, share in motion.items()}
    # 4 stretches, 2 bends, 3 rotations of each, 6 translations less 3 of the cell
    expected = {"stretch": 4, "bend": 2, "other": 0, "libration": 6, "translation": 3}
    assert counts == pytest.approx(expected, abs=1e-9)
    assert (motion["stretch"] + motion["bend"])[9:].min() > 0.99
    assert (motion["libration"] + motion["translation"])[:9].min() > 0.99
    # a molecule that the cell's boundary cuts is the same molecule
    cut = positions.copy()
    cut[1] += cell[0]
    wrapped = replace(whole, positions=cut, bonds=natural_bonds(symbols, cut, cell))
    for name, share in motion_fractions(modes, wrapped).items():
        np.testing.assert_allclose(share, motion[name], atol=1e-9)


def test_rotating_the_molecule_changes_no_assignment_and_no_intensity():
    sample = angled_molecule()
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    big = np.kron(np.eye(3), turn)
    turned = replace(
        sample,
        positions=sample.positions @ turn.T,
        hessian=big @ sample.hessian @ big.T,
        dipole_derivatives=big @ sample.dipole_derivatives @ turn.T,
        polarizability_derivatives=np.einsum("ab,bcd,ec,fd->aef", big, sample.polarizability_derivatives, turn, turn),
    )
    for before, after in zip(mode_table(sample), mode_table(turned), strict=True):
        for key in ("wavenumber", "infrared_intensity", "raman_activity", "depolarisation_ratio"):
            assert after[key] == pytest.approx(before[key], rel=1e-9)
        assert after["motion"] == pytest.approx(before["motion"], abs=1e-9)


def test_a_straight_molecule_has_two_bends_and_a_staggered_one_a_torsion():
    for name, expected in (("CO2", {"stretch": 2, "bend": 2, "other": 0}), ("C2H6", {"stretch": 7, "bend": 10, "other": 1})):
        atoms = molecule(name)
        pairs = [(i, j, (0, 0, 0)) for i in range(len(atoms)) for j in range(i)]
        symbols = atoms.get_chemical_symbols()
        sample = HarmonicDerivatives(
            symbols, atoms.get_masses(), atoms.positions, spring_hessian(atoms.positions, pairs),
            bonds=natural_bonds(symbols, atoms.positions, None),
        )
        motion = motion_fractions(sample.modes(), sample)
        counts = {kind: float(motion[kind].sum()) for kind in expected}
        assert counts == pytest.approx(expected, abs=1e-9), name
        assert motion["libration"].max() < 1e-12 and motion["translation"].max() < 1e-12


def test_arrays_in_a_file_are_the_same_derivatives(tmp_path):
    sample = replace(angled_molecule(), largest_force=0.01)
    np.savez(tmp_path / "harmonic.npz", **sample.as_arrays())
    with np.load(tmp_path / "harmonic.npz", allow_pickle=False) as arrays:
        again = HarmonicDerivatives.from_arrays(dict(arrays))
    assert again.symbols == sample.symbols and again.bonds == sample.bonds and again.largest_force == 0.01
    np.testing.assert_array_equal(again.hessian, sample.hessian)
    with pytest.raises(InputError, match="hessian is missing"):
        HarmonicDerivatives.from_arrays({"symbols": np.array(["H"]), "masses": np.ones(1), "positions": np.ones((1, 3))})


@pytest.mark.parametrize(
    ("write", "read", "name"),
    [
        (tables.write_csv, tables.read_csv_table, "a.csv"),
        (tables.write_json, tables.read_json_table, "a.json"),
        (tables.write_npz, tables.read_npz_table, "a.npz"),
        (jcamp.write_jcamp, jcamp.read_jcamp_table, "a.jdx"),
    ],
)
def test_harmonic_spectra_survive_every_file_format(tmp_path, write, read, name):
    spectra = harmonic_spectra(angled_molecule(), temperature=TEMPERATURE, geometries=["z(xy)z"])
    write(tmp_path / name, spectra)
    again = read(tmp_path / name)
    assert set(again) == set(spectra)
    for label, spectrum in spectra.items():
        np.testing.assert_allclose(again[label].intensity, spectrum.intensity, rtol=1e-9, atol=1e-9 * spectrum.intensity.max())
        assert again[label].conventions == spectrum.conventions and again[label].verdict == spectrum.verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, "width"),
        ({"shape": "voigt"}, "shape: 'voigt'; allowed: lorentzian, gaussian, oscillator"),
        ({"spacing": -1.0}, "spacing"),
        ({"temperature": 0.0}, "temperature"),
        ({"geometries": ["z(xw)z"]}, "Porto's notation"),
        ({"absorption": True}, "n\\*alpha of a molecule"),
        ({"form": "absolute"}, "form"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed(options, message):
    with pytest.raises(InputError, match=message):
        harmonic_spectra(angled_molecule(), **{"temperature": TEMPERATURE, **options})
