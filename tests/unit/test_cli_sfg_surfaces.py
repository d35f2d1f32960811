"""``vibraloom spectrum sfg`` from molecules and from O-H bonds: what the library computes, what contradicts refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write
from click.testing import CliRunner, Result

from vibraloom.app import cli
from vibraloom.app.cli.spectrum.surfaces import depth_weights
from vibraloom.errors import InputError
from vibraloom.files.tables import read_csv_table
from vibraloom.spectra.molecular_pairs import Molecules
from vibraloom.spectra.sfg import depth_window, molecular_sfg
from vibraloom.spectra.sfg_bonds import bond_sfg, water_bonds
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

FRAMES = 2000
CELL = np.diag([12.0, 12.0, 30.0])
COMMON = ("--timestep", "0.5", "--temperature", "300")
UNITS = ("--dipole-unit", "e*angstrom", "--polarizability-unit", "angstrom^3")
MIDDLE = 1.0
"""The slab lies across the border of the cell."""
OXYGENS = np.array([[2.0, 2.0, 5.0], [6.0, 7.0, 4.0], [9.0, 3.0, 5.5]])


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["spectrum", "sfg", *arguments, "-o", "sfg.csv"])


def _refused(*arguments: str) -> str:
    result = _call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert not Path("sfg.csv").exists()
    return result.stderr


def _water() -> tuple[np.ndarray, np.ndarray]:
    """Positions, folded into the cell, and velocities: three molecules of either face, each the mirror image of one."""
    random = np.random.default_rng(5)
    turn = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 3600 * 0.5 * np.arange(FRAMES)
    positions, velocities = [], []
    for oxygen in OXYGENS:
        positions.append(np.tile(oxygen, (FRAMES, 1)))
        velocities.append(np.zeros((FRAMES, 3)))
        for arm in ([0.0, 0.0, 1.0], [0.93, 0.0, -0.36]):
            phase = turn + np.cumsum(random.normal(0, 0.05, FRAMES))
            positions.append(oxygen + (0.97 + 0.07 * np.cos(phase))[:, None] * arm)
            velocities.append(-0.05 * np.sin(phase)[:, None] * arm)
    mirror = np.array([1.0, 1.0, -1.0])
    places = np.stack([*positions, *(each * mirror for each in positions)], axis=1) + np.array([0, 0, MIDDLE])
    return places % np.diag(CELL), np.stack([*velocities, *(each * mirror for each in velocities)], axis=1)


@pytest.fixture
def water(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    positions, velocities = _water()
    frames = [
        Atoms("OHH" * 6, positions=one, velocities=other / units.fs, cell=CELL, pbc=True)
        for one, other in zip(positions, velocities, strict=True)
    ]
    write("run.extxyz", frames, format="extxyz")
    return positions, velocities


@pytest.fixture
def molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Six molecules of a slab, whose moments vibrate."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    turn = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 3700 * 0.5 * np.arange(FRAMES)
    wave = np.cos(turn[:, None] + np.cumsum(random.normal(0, 0.05, (FRAMES, 6)), axis=0))
    up = np.repeat([1.0, -1.0], 3)
    arrays = {
        "dipole": (wave * up)[:, :, None] * [0.0, 0.0, 0.3] + 1e-3 * random.normal(size=(FRAMES, 6, 3)),
        "polarizability": wave[:, :, None] * [0.4, 0.4, 1.5, 0, 0, 0] + 1e-3 * random.normal(size=(FRAMES, 6, 6)),
        "positions": np.tile(np.concatenate([OXYGENS, OXYGENS * [1, 1, -1]]) + np.array([0, 0, MIDDLE]), (FRAMES, 1, 1)),
        "cell": CELL,
    }
    np.savez("molecules.npz", **arrays)
    return arrays


def _square(columns: np.ndarray) -> np.ndarray:
    return columns[..., [0, 3, 5, 3, 1, 4, 5, 4, 2]].reshape(*columns.shape[:-1], 3, 3)


def test_molecules_with_a_cutoff_and_a_depth_window_are_the_library_s(molecules: dict[str, np.ndarray]) -> None:
    options = ("--molecules", "molecules.npz", "--components", "xx,yy,zz,xy,yz,zx", *UNITS, *COMMON, "--area", "144")
    result = _call(*options, "--cutoff", "4", "--depth-window", "1", "4")
    assert result.exit_code == 0, result.output
    moments = {**molecules, "polarizability": _square(molecules["polarizability"])}
    weights = depth_window(molecules["positions"][:, :, 2] - MIDDLE, 1, 4)
    run = Molecules(**moments, depth_weights=weights)
    expected = molecular_sfg(run, 0.5, temperature=300, cutoff=4.0, area=144)
    found = read_csv_table("sfg.csv")
    for name, spectrum in expected.items():
        np.testing.assert_allclose(found[name].intensity, spectrum.intensity, rtol=1e-9, atol=1e-9 * spectrum.intensity.max())
    assert found["real"].conventions.extra["pair_cutoff"] == "4 angstrom"
    assert found["real"].conventions.extra["depth_weights"] is True
    imaginary = found["imaginary"]
    peak = np.abs(imaginary.intensity).argmax()
    assert imaginary.intensity[peak] > 0 and abs(imaginary.wavenumber[peak] - 3700) < 60

    # the same as tensors, in other units, the cell as an option, and as a replica of itself
    np.savez(
        "other.npz",
        dipole=molecules["dipole"] / 0.2081943,
        polarizability=moments["polarizability"] / 0.529177210903**3,
        positions=molecules["positions"],
    )
    units_ = ("--dipole-unit", "debye", "--polarizability-unit", "bohr^3", "--area", "144", "--cell", "12 12 30")
    result = _call(*("--molecules", "other.npz") * 2, *units_, *COMMON, "--cutoff", "4", "--depth-window", "1", "4")
    assert result.exit_code == 0, result.output
    again = read_csv_table("sfg.csv")["imaginary"]
    assert again.conventions.replicas == 2
    twice = molecular_sfg([run, run], 0.5, temperature=300, cutoff=4.0, area=144)["imaginary"].intensity
    np.testing.assert_allclose(again.intensity, twice, atol=1e-5 * twice.max())


def test_the_two_faces_cancel_without_a_depth_window(molecules: dict[str, np.ndarray]) -> None:
    options = ("--molecules", "molecules.npz", "--components", "xx,yy,zz,xy,yz,zx", *UNITS, *COMMON, "--cutoff", "0")
    peaks = []
    for extra in ((), ("--depth-window", "0", "3")):
        assert _call(*options, *extra).exit_code == 0
        peaks.append(np.abs(read_csv_table("sfg.csv")["imaginary"].between(3500, 3900).area(3500, 3900)))
    assert peaks[0] < 0.2 * peaks[1]


def test_bonds_of_a_trajectory_are_the_library_s(water: tuple[np.ndarray, np.ndarray]) -> None:
    result = _call("--trajectory", "run.extxyz", *COMMON, "--area", "144", "--depth-window", "1", "4", "--derivatives", "gas")
    assert result.exit_code == 0, result.output
    assert "6 water molecules" in result.stdout
    oxygens = np.arange(0, 18, 3)
    hydrogens = np.stack([oxygens + 1, oxygens + 2], axis=1)
    heights = np.concatenate([OXYGENS[:, 2], -OXYGENS[:, 2]])
    bonds = water_bonds(
        *water, oxygens, hydrogens, cell=CELL, derivatives="gas", depth_weights=np.tile(depth_window(heights, 1, 4), (FRAMES, 1))
    )
    expected = bond_sfg(bonds, 0.5, temperature=300, area=144)
    found = read_csv_table("sfg.csv")
    for name, spectrum in expected.items():
        scale = np.abs(spectrum.intensity).max()
        np.testing.assert_allclose(found[name].intensity / scale, spectrum.intensity / scale, atol=1e-4)
    assert found["real"].conventions.extra["pair_cutoff"] == "4 angstrom"
    assert found["real"].conventions.extra["bond_derivatives"]["name"] == "gas"
    band = found["squared"].between(2500, 4500)
    assert abs(band.wavenumber[band.intensity.argmax()] - 3600) < 80


def test_velocities_may_stand_in_a_file_of_their_own(water: tuple[np.ndarray, np.ndarray]) -> None:
    positions, velocities = water
    window = ("--depth-window", "1", "4")
    both = _call("--trajectory", "run.extxyz", *COMMON, *window)
    assert both.exit_code == 0
    expected = read_csv_table("sfg.csv")["imaginary"].intensity
    np.savez("pos.npz", positions=positions, masses=np.tile([16.0, 1.0, 1.0], 6), species=list("OHH" * 6))
    np.savez("vel.npz", velocities=velocities, masses=np.tile([16.0, 1.0, 1.0], 6), species=list("OHH" * 6))
    options = ("--trajectory", "pos.npz", "--velocities", "vel.npz", *COMMON, *window)
    assert _call(*options, "--cell", "12 12 30").exit_code == 0
    found = read_csv_table("sfg.csv")["imaginary"].intensity
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    Path("sfg.csv").unlink()
    assert "leave --cell out" in _refused("--trajectory", "run.extxyz", *COMMON, "--cell", "12 12 30")
    np.savez("vel.npz", velocities=velocities[:-1], masses=np.tile([16.0, 1.0, 1.0], 6), species=list("OHH" * 6))
    assert "the same frames" in _refused(*options, "--cell", "12 12 30")


def test_a_bond_beyond_the_cell_asks_for_the_cell(water: tuple[np.ndarray, np.ndarray]) -> None:
    positions, velocities = water
    arrays = {"positions": positions, "velocities": velocities, "masses": np.tile([16.0, 1.0, 1.0], 6)}
    np.savez("run.npz", **arrays, species=list("OHH" * 6))
    assert "give it with --cell" in _refused("--trajectory", "run.npz", *COMMON, "--cutoff", "4")
    np.savez("run.npz", **arrays, species=list("CHH" * 6))
    assert "no H2O in its first frame" in _refused("--trajectory", "run.npz", *COMMON, "--cell", "12 12 30")
    np.savez("run.npz", **arrays)
    assert "--elements O,H" in _refused("--trajectory", "run.npz", *COMMON, "--cell", "12 12 30")


def test_velocities_of_another_temperature_have_another_unit(water: tuple[np.ndarray, np.ndarray]) -> None:
    positions, velocities = water
    masses, species = np.tile([15.999, 1.008, 1.008], 6), list("OHH" * 6)
    np.savez("run.npz", positions=positions, velocities=velocities / 10, masses=masses, species=species)
    for kelvin in ("300", "0", "-300"):
        message = _refused("--trajectory", "run.npz", "--cell", "12 12 30", "--timestep", "0.5", "--temperature", kelvin)
        assert f"not {kelvin} K as stated; check --velocity-unit" in message


MOLECULES = ("--molecules", "molecules.npz")
FULL = (*MOLECULES, *UNITS, "--components", "xx,yy,zz,xy,yz,zx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--molecules or --trajectory: give one of them"),
        ((*FULL, "--trajectory", "run.xyz"), "give one of them"),
        ((*FULL, "--polarizability", "a.npy"), "give them in pairs"),
        ((*FULL, "--derivatives", "gas"), "--derivatives: has no meaning with --molecules; it goes with --trajectory"),
        ((*FULL, "--non-condon"), "--non-condon: has no meaning with --molecules"),
        (("--trajectory", "run.xyz", "--components", "xx"), "--components: has no meaning with --trajectory"),
        (("--trajectory", "run.xyz", "--velocities", "a.xyz", "--velocities", "b.xyz"), "give them in pairs"),
        (("--dipole", "a.npy", "--polarizability", "b.npy", "--cutoff", "4"), "--cutoff: has no meaning with --dipole"),
        (("--dipole", "a.npy", "--polarizability", "b.npy", "--depth-window", "1", "2"), "--depth-window: has no meaning"),
        ((*FULL, "--cutoff", "7"), "cutoff"),
        ((*FULL, "--cutoff", "-1"), "cutoff"),
        ((*FULL, "--cell", "12 12 30"), "molecules.npz: holds its cell; leave --cell out"),
        ((*FULL, "--depth-window", "4", "1"), "--depth-window 4 1"),
        ((*FULL, "--depth-window", "8", "9"), "no molecule of molecules.npz is so far from the middle"),
        ((*MOLECULES, "--components", "xx,yy,zz,xy,yz,zx", *UNITS[:2]), "give it with --polarizability-unit"),
        ((*MOLECULES, *UNITS), "molecules.npz: 6 columns in an unknown order"),
        ((*MOLECULES, *UNITS[2:], "--dipole-unit", "eV"), "--dipole-unit"),
        (("--molecules", "nan.npz", *FULL[2:]), "nan.npz: polarizability of frame 7 is nan"),
        (("--molecules", "bare.npz", *FULL[2:], "--cutoff", "4"), "without positions and cell"),
        (("--molecules", "bare.npz", *FULL[2:], "--depth-window", "1", "4"), "needs an entry positions"),
        (("--molecules", "short.npz", *FULL[2:]), "short.npz: polarizability: shape"),
        (("--molecules", "absent.npz", *FULL[2:]), "absent.npz: no such file"),
        (("--molecules", "words.npz", *FULL[2:]), "words.npz: not a NumPy archive"),
        (("--molecules", "run.xyz", *FULL[2:]), "read from .npz"),
    ],
)
def test_what_contradicts_or_lacks_is_one_line(
    molecules: dict[str, np.ndarray], arguments: tuple[str, ...], message: str
) -> None:
    tensors = molecules["polarizability"].copy()
    tensors[7, 2, 1] = np.nan
    np.savez("nan.npz", **{**molecules, "polarizability": tensors})
    np.savez("bare.npz", dipole=molecules["dipole"], polarizability=molecules["polarizability"])
    np.savez("short.npz", **{**molecules, "polarizability": molecules["polarizability"][:-1]})
    Path("words.npz").write_text("no archive")
    assert message in _refused(*arguments, *COMMON)


@pytest.mark.parametrize("name", ["dipole", "polarizability", "positions", "cell"])
@pytest.mark.parametrize(
    "values",
    [
        np.float64(1.0),
        np.ones(6),
        np.ones((FRAMES, 6)),
        np.ones((2, 6, 3)),
        np.ones((FRAMES, 6, 4)),
        np.zeros((0, 6, 3)),
        np.full((FRAMES, 6, 3), np.inf),
        np.zeros((3, 3)),
        np.array([[1.0, "a"]]),
        np.ones((FRAMES, 6, 3), dtype=complex),
    ],
    ids=["number", "row", "table", "short", "wide", "empty", "infinite", "flat", "words", "complex"],
)
def test_any_entry_that_does_not_fit_is_refused_by_file(molecules: dict[str, np.ndarray], name: str, values: np.ndarray) -> None:
    np.savez("molecules.npz", **{**molecules, name: values})
    assert "molecules.npz" in _refused(*FULL, *COMMON, "--depth-window", "1", "4", "--cutoff", "4")


def test_heights_count_from_the_middle_wherever_the_slab_lies() -> None:
    heights = np.array([-9.0, -5.0, 0.0, 5.0, 9.0])
    expected = depth_window(heights, 2.0, 8.0)
    tilted = np.array([[12.0, 0, 0], [3.0, 12.0, 0], [2.0, 1.0, 30.0]])
    for middle in (0.0, 7.3, 15.0, 29.0, -4.0):
        for places in (heights + middle, (heights + middle) % 30.0):
            np.testing.assert_allclose(depth_weights(Path("x"), places[None], tilted, (2.0, 8.0))[0], expected, atol=1e-9)
    np.testing.assert_allclose(depth_weights(Path("x"), heights[None] + 3, None, (2.0, 8.0))[0], expected, atol=1e-12)
    with pytest.raises(InputError, match="fill the cell"):
        depth_weights(Path("x"), np.arange(0, 30.0, 1.0)[None], CELL, (2.0, 8.0))
    with pytest.raises(InputError, match="turn the surface"):
        depth_weights(Path("x"), heights[None], CELL[[0, 2, 1]], (2.0, 8.0))
