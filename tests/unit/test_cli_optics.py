"""``vibraloom spectrum ir`` of slabs between media and of bulks with a refractive index: the numbers of the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from vibraloom.app import cli
from vibraloom.files.tables import read_csv, read_csv_table, write_csv
from vibraloom.spectra.dielectric import Medium, absorption, dielectric
from vibraloom.spectra.infrared import infrared
from vibraloom.spectra.optics import at_fixed_displacement, atr, irras, irras_thin_film, transmission
from vibraloom.spectra.slab import slab_response
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS

FRAMES = 6000
BASE = ("--dipole", "dipole.npy", "--unit", "e*angstrom", "--timestep", "0.5", "--temperature", "300")
SLAB = (*BASE, "--area", "99.5", "--boundary", "fixed D along z")
TABLE = np.array([[2.0, 0.9, 13.0], [3.0, 1.6, 20.0], [5.0, 3.1, 33.5], [10.0, 11.9, 65.0], [60.0, 120.0, 190.0]])
"""Wavelength (µm), n and k of something like gold."""


@pytest.fixture
def dipole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(7)
    turn = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * 1650 * 0.5 * np.arange(FRAMES)
    wave = np.cos(turn[:, None] + np.cumsum(random.normal(0, 0.05, (FRAMES, 3)), axis=0)) * [0.02, 0.02, 0.03]
    np.save("dipole.npy", wave)
    np.savetxt("gold.csv", TABLE, delimiter=",", header="wl,n,k", comments="")
    return wave


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["spectrum", "ir", *arguments, "-o", "ir.csv"])


def _written(*arguments: str) -> Spectrum:
    result = _call(*arguments)
    assert result.exit_code == 0, result.output
    return read_csv("ir.csv")


def _refused(*arguments: str) -> str:
    result = _call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert not Path("ir.csv").exists()
    return result.stderr


def _same(found: Spectrum, expected: Spectrum) -> None:
    np.testing.assert_allclose(found.wavenumber, expected.wavenumber, rtol=1e-12)
    np.testing.assert_allclose(found.intensity, expected.intensity, rtol=1e-9, atol=1e-12 * np.abs(expected.intensity).max())
    assert expected.standard_error is not None and found.standard_error is not None
    np.testing.assert_allclose(found.standard_error, expected.standard_error, rtol=1e-9)
    assert (found.quantity, found.unit) == (expected.quantity, expected.unit)


@pytest.fixture
def response(dipole: np.ndarray) -> dict[str, Spectrum]:
    return slab_response(dipole, 0.5, temperature=300, area=99.5, boundary="fixed D along z")


def _gold() -> Medium:
    return Medium.from_wavelength("gold.csv", TABLE[:, 0], TABLE[:, 1], TABLE[:, 2])


def test_irras_on_a_tabulated_metal(response: dict[str, Spectrum]) -> None:
    asked = ("--optics", "irras", "--angle", "80", "--substrate", "gold.csv", "--range", "1000", "3000")
    found = _written(*SLAB, *asked, "--polarization", "p", "--medium", "1.33")
    expected = irras(
        response, angle=80, polarization="p", metal=_gold(), incident=Medium("1.33", 1.33), between=(1000, 3000)
    )
    _same(found, expected)
    assert found.conventions.extra["exit"] == "gold.csv"
    assert [each["file"] for each in found.conventions.extra["sources"]] == ["dipole.npy", "gold.csv"]
    # s light hardly sees a layer on a metal
    across = _written(*SLAB, *asked, "--polarization", "s", "--medium", "1.33")
    assert np.abs(across.intensity).max() < 0.01 * found.intensity.max()
    # the table over wavenumbers is the same table
    rows = np.column_stack([1e4 / TABLE[::-1, 0], TABLE[::-1, 1:]])
    np.savetxt("gold.csv", rows, delimiter=",", header="wavenumber,n,k", comments="", fmt="%.17g")
    _same(_written(*SLAB, *asked, "--medium", "1.33"), expected)


def test_irras_defaults_to_an_ideal_mirror_and_p_light(response: dict[str, Spectrum]) -> None:
    found = _written(*SLAB, "--optics", "irras", "--angle", "60")
    thin = irras_thin_film(response["normal"], angle=60)
    inside = (thin.wavenumber >= 200) & (thin.wavenumber <= 4500)
    np.testing.assert_allclose(found.intensity, thin.intensity[inside], atol=5e-3 * thin.intensity.max())


def test_internal_reflection_through_a_film(response: dict[str, Spectrum]) -> None:
    media = ("--medium", "3.42", "--before", "gold.csv", "200", "--substrate", "1.31,0.02")
    found = _written(*SLAB, "--optics", "atr", "--angle", "65", *media, "--range", "1000", "3000")
    expected = atr(
        response,
        angle=65,
        polarization="p",
        prism=Medium("3.42", 3.42),
        metal=(_gold(), 200.0),
        electrolyte=Medium("1.31,0.02", 1.31 + 0.02j),
        between=(1000, 3000),
    )
    _same(found, expected)
    assert "smooth metal film" in " ".join(found.conventions.notes)


def test_transmission_of_a_stack(response: dict[str, Spectrum]) -> None:
    found = _written(*SLAB, "--optics", "transmission")
    _same(found, transmission(response, polarization="p"))
    stack = ("--before", "2.4", "500", "--before", "1.5", "300", "--behind", "1.4", "700", "--substrate", "3.4")
    found = _written(*SLAB, "--optics", "transmission", "--angle", "30", "--polarization", "s", *stack)
    expected = transmission(
        response,
        angle=30,
        before=[(Medium("2.4", 2.4), 500.0), (Medium("1.5", 1.5), 300.0)],
        after=[(Medium("1.4", 1.4), 700.0)],
        exit=Medium("3.4", 3.4),
    )
    _same(found, expected)
    assert [layer["medium"] for layer in found.conventions.extra["layers"]] == ["2.4", "1.5", "slab", "1.4"]


def test_a_response_at_fixed_e_is_converted_with_the_height_of_the_cell(dipole: np.ndarray) -> None:
    free = (*BASE, "--area", "99.5", "--boundary", "fixed E")
    assert "convert with --cell-height" in _refused(*free, "--optics", "irras", "--angle", "80")
    asked = ("--cell-height", "40", "--electronic-response", "5")
    at_e = slab_response(dipole, 0.5, temperature=300, area=99.5, boundary="fixed E")
    at_d = {**at_e, "normal": at_fixed_displacement(at_e["normal"], 40.0, 5.0)}
    _same(_written(*free, *asked, "--optics", "irras", "--angle", "80"), irras(at_d, angle=80, polarization="p"))
    assert _call(*free, *asked).exit_code == 0
    found = read_csv_table("ir.csv")
    np.testing.assert_allclose(found["normal"].intensity, at_d["normal"].intensity, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found["parallel"].intensity, at_e["parallel"].intensity)
    Path("ir.csv").unlink()
    assert "only 'fixed E'" in _refused(*SLAB, "--cell-height", "40")


def test_the_dielectric_function_of_a_bulk_and_its_use_as_a_medium(dipole: np.ndarray) -> None:
    bulk = (*BASE, "--volume", "970", "--eps-infinity", "1.77")
    outputs = [piece for suffix in ("csv", "png", "jdx", "npz", "json") for piece in ("-o", f"water.{suffix}")]
    result = CliRunner().invoke(cli.main, ["spectrum", "ir", *bulk, *outputs])
    assert result.exit_code == 0, result.output
    expected = dielectric(dipole, 0.5, temperature=300, volume=970, eps_infinity=1.77)
    found = read_csv_table("water.csv")
    assert list(found) == ["real", "imaginary", "n", "k", "absorption"]
    for name, spectrum in expected.items():
        _same(found[name], spectrum)
    asked = ("--optics", "transmission", "--substrate", "water.csv", "--range", "1000", "3000")
    seen = _written(*SLAB, *asked)
    slab = slab_response(dipole, 0.5, temperature=300, area=99.5, boundary="fixed D along z")
    medium = Medium.from_spectra("water.csv", expected["n"], expected["k"])
    _same(seen, transmission(slab, polarization="p", exit=medium, between=(1000, 3000)))


def test_alpha_with_a_given_refractive_index(dipole: np.ndarray) -> None:
    found = _written(*BASE, "--volume", "970", "--refractive-index", "gold.csv", "--range", "1000", "3000")
    expected = infrared(dipole, 0.5, temperature=300, volume=970).between(1000, 3000)
    _same(found, absorption(expected, _gold()))
    Path("ir.csv").unlink()
    message = _refused(*BASE, "--volume", "970", "--refractive-index", "gold.csv", "--range", "100", "3000")
    assert "the table holds 166.667 to 5000; give a narrower --range" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*BASE, "--optics", "irras", "--angle", "80"), "give its --area and --boundary"),
        ((*BASE, "--volume", "970", "--cell-height", "40"), "give its --area"),
        ((*SLAB, "--optics", "irras"), "--angle 80"),
        ((*SLAB, "--optics", "irras", "--angle", "90"), "0 to below 90"),
        ((*SLAB, "--angle", "80"), "--angle: has a meaning with --optics alone"),
        ((*SLAB, "--behind", "1.4", "10"), "--behind: has a meaning with --optics alone"),
        ((*SLAB, "--electronic-response", "3"), "with --cell-height alone"),
        ((*SLAB, "--optics", "irras", "--angle", "80", "--before", "1.4", "10"), "the slab lies on the --substrate"),
        ((*SLAB, "--optics", "atr", "--angle", "60", "--medium", "3.42"), "needs --medium (prism)"),
        ((*SLAB, "--optics", "transmission", "--before", "1.4", "-10"), "thickness"),
        ((*SLAB, "--optics", "transmission", "--substrate", "glass"), "--substrate glass: allowed"),
        ((*SLAB, "--optics", "transmission", "--substrate", "absent.csv"), "--substrate absent.csv: no such file"),
        ((*SLAB, "--optics", "transmission", "--substrate", "1,2,3"), "--substrate 1,2,3: allowed"),
        ((*SLAB, "--optics", "transmission", "--substrate", "-1"), "not negative"),
        ((*SLAB, "--optics", "transmission", "--substrate", "nan"), "must be finite"),
        ((*SLAB, "--optics", "transmission", "--substrate", "slab.csv"), "slab.csv: holds no n and k"),
        ((*SLAB, "--optics", "transmission", "--medium", "1.5,0.1"), "the first medium absorbs"),
        ((*SLAB, "--optics", "transmission", "--substrate", "gold.csv", "--range", "100", "900"), "narrower --range"),
        ((*SLAB, "--optics", "transmission", "--range", "1000", "1000.1"), "--range: 1000 to 1000.1"),
        ((*SLAB, "--optics", "transmission", "--integration-timestep", "0.5"), "--integration-timestep"),
        ((*BASE, "--eps-infinity", "1.77"), "give its --volume"),
        ((*BASE, "--volume", "970", "--eps-infinity", "1.77", "--refractive-index", "1.3"), "leave --refractive-index out"),
        ((*BASE, "--volume", "970", "--eps-infinity", "1.77", "--estimator", "welch"), "only --estimator correlation"),
        ((*BASE, "--volume", "970", "--eps-infinity", "0"), "eps_infinity"),
        ((*BASE, "--volume", "970", "--refractive-index", "0"), "n and k must be finite"),
    ],
)
def test_what_contradicts_or_lacks_is_one_line(
    response: dict[str, Spectrum], arguments: tuple[str, ...], message: str
) -> None:
    write_csv("slab.csv", response)
    assert message in _refused(*arguments)
