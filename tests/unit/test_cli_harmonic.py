"""``vibraloom spectrum harmonic``: the table and the spectra of a phonopy folder and of a harmonic job's archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from vibraloom.app import cli
from vibraloom.files.tables import read_csv, read_csv_table
from vibraloom.spectra.harmonic import HarmonicDerivatives
from vibraloom.spectra.harmonic_spectra import harmonic_spectra


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HarmonicDerivatives:
    """A stiff diatomic with a dipole and a polarizability along its axis, as ``modes.npz`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    spring = np.zeros((6, 6))
    for atom, sign in ((0, 1.0), (3, -1.0)):
        spring[0, atom] = 60.0 * sign
        spring[3, atom] = -60.0 * sign
    dipole = np.zeros((6, 3))
    dipole[[0, 3], 0] = -0.3, 0.3
    tensor = np.zeros((6, 3, 3))
    tensor[0] -= np.diag([1.0, 0.2, 0.2])
    tensor[3] += np.diag([1.0, 0.2, 0.2])
    found = HarmonicDerivatives(
        symbols=["C", "O"],
        masses=np.array([12.011, 15.999]),
        positions=np.array([[0.0, 0.0, 0.0], [1.13, 0.0, 0.0]]),
        hessian=spring,
        dipole_derivatives=dipole,
        polarizability_derivatives=tensor,
        bonds=[(0, 1, (0, 0, 0))],
    )
    np.savez("modes.npz", **found.as_arrays())
    return found


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["spectrum", "harmonic", *arguments])


def test_the_table_of_modes_is_printed_and_the_spectrum_written(archive: HarmonicDerivatives) -> None:
    result = _call("--derivatives", "modes.npz", "--temperature", "300", "--width", "8", "-o", "ir.csv", "-o", "ir.png")
    assert result.exit_code == 0, result.output
    line = next(row for row in result.stdout.splitlines() if "stretch" in row)
    wavenumber = archive.modes().wavenumber[-1]
    assert f"{wavenumber:.1f}" in line
    expected = harmonic_spectra(archive, temperature=300, width=8)["infrared"]
    np.testing.assert_array_equal(read_csv("ir.csv").intensity, expected.intensity)
    assert Path("ir.png").read_bytes().startswith(b"\x89PNG")


def test_raman_of_all_geometries_and_of_an_oriented_sample_is_in_one_file(archive: HarmonicDerivatives) -> None:
    options = ("--derivatives", "modes.npz", "--quantity", "raman", "--temperature", "300", "--laser", "785")
    result = _call(*options, "--geometry", "z(xx)z", "-o", "raman.csv")
    assert result.exit_code == 0, result.output
    expected = harmonic_spectra(archive, temperature=300, laser_wavelength=785, geometries=["z(xx)z"])
    found = read_csv_table("raman.csv")
    assert set(found) == {name for name in expected if name.startswith("raman")}
    for name, spectrum in found.items():
        np.testing.assert_array_equal(spectrum.intensity, expected[name].intensity)
        assert spectrum.conventions.laser_wavelength == 785


def test_an_isotope_moves_the_band(archive: HarmonicDerivatives) -> None:
    result = _call("--derivatives", "modes.npz", "--temperature", "300", "--isotope", "C=13.003", "-o", "ir.csv")
    assert result.exit_code == 0, result.output
    found = read_csv("ir.csv")
    expected = archive.with_masses({"C": 13.003}).modes().wavenumber[-1]
    assert found.wavenumber[found.intensity.argmax()] == pytest.approx(expected, abs=1)
    assert expected < archive.modes().wavenumber[-1] - 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of them"),
        (("--derivatives", "absent.npz"), "absent.npz: no such file"),
        (("--derivatives", "words.npz"), "words.npz: not a NumPy archive"),
        (("--derivatives", "modes.npz", "--isotope", "H"), "H=2.014"),
        (("--derivatives", "modes.npz", "--isotope", "H=2.0"), "H is not there"),
        (("--derivatives", "modes.npz", "--quantity", "dielectric"), "no dielectric spectrum"),
        (("--derivatives", "modes.npz", "--shape", "box"), "box"),
        (("--phonopy", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line(archive: HarmonicDerivatives, arguments: tuple[str, ...], message: str) -> None:
    Path("words.npz").write_text("no archive")
    result = _call(*arguments, "--temperature", "300", "-o", "x.csv")
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not Path("x.csv").exists()
