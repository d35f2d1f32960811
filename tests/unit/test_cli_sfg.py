"""``vibraloom spectrum sfg``: what the library computes, from two files, and pairs that do not fit refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from vibraloom.app import cli
from vibraloom.files.tables import read_csv_table
from vibraloom.spectra.sfg import sfg
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

FRAMES = 3000
OPTIONS = ("--dipole", "mu.npy", "--polarizability", "alpha.npy", "--components", "xx,yy,zz,xy,yz,zx")
UNITS = ("--dipole-unit", "e*angstrom", "--polarizability-unit", "angstrom^3", "--timestep", "0.5", "--temperature", "300")


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """A free OH that points out of the liquid: dipole and polarizability grow together."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    phase = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 3700 * 0.5 * np.arange(FRAMES)
    wave = np.cos(phase + np.cumsum(random.normal(0, 0.05, FRAMES)))
    dipole = np.stack([0 * wave, 0 * wave, 0.3 * wave], axis=1) + 1e-3 * random.normal(size=(FRAMES, 3))
    tensor = wave[:, None] * np.array([0.4, 0.4, 1.5, 0, 0, 0]) + 1e-3 * random.normal(size=(FRAMES, 6))
    np.save("mu.npy", dipole)
    np.save("alpha.npy", tensor)
    return dipole, tensor


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["spectrum", "sfg", *arguments])


def test_the_library_s_numbers_are_written_and_free_oh_is_positive(series: tuple[np.ndarray, np.ndarray]) -> None:
    result = _call(*OPTIONS, *UNITS, "--area", "120", "-o", "sfg.csv", "-o", "sfg.png")
    assert result.exit_code == 0, result.output
    expected = sfg(*series, 0.5, temperature=300, area=120, components="xx,yy,zz,xy,yz,zx")
    found = read_csv_table("sfg.csv")
    assert set(found) == {"real", "imaginary", "squared"} == set(expected)
    for name, spectrum in found.items():
        np.testing.assert_array_equal(spectrum.intensity, expected[name].intensity)
    imaginary = found["imaginary"]
    peak = np.abs(imaginary.intensity).argmax()
    assert imaginary.intensity[peak] > 0
    assert imaginary.wavenumber[peak] == pytest.approx(3700, abs=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dipole", "mu.npy"), "give them in pairs"),
        (("--element", "xyw"), "xyw"),
        (("--estimator", "welch"), "only correlation serves"),
        (("--area", "-1"), "area"),
    ],
)
def test_bad_input_is_one_line(series: tuple[np.ndarray, np.ndarray], arguments: tuple[str, ...], message: str) -> None:
    result = _call(*OPTIONS, *UNITS, *arguments, "-o", "x.csv")
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not Path("x.csv").exists()


def test_a_unit_that_the_file_does_not_state_is_asked_for_by_its_option(series: tuple[np.ndarray, np.ndarray]) -> None:
    result = _call(*OPTIONS, "--dipole-unit", "debye", *UNITS[4:], "-o", "x.csv")
    assert result.exit_code == 2 and "--polarizability-unit 'angstrom^3'" in result.stderr


def test_files_of_other_lengths_are_refused(series: tuple[np.ndarray, np.ndarray]) -> None:
    np.save("alpha.npy", series[1][:-1])
    result = _call(*OPTIONS, *UNITS, "-o", "x.csv")
    assert result.exit_code == 2 and "align both by step" in result.stderr
