"""JCAMP-DX: valid labels, every digit kept, and read by a program that is not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jcamp
import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files.jcamp import read_jcamp, read_jcamp_table, write_jcamp
from vibraloom.spectra.spectrum import Conventions, Spectrum, Verdict

LABELS = [
    "TITLE",
    "JCAMP-DX",
    "DATA TYPE",
    "ORIGIN",
    "OWNER",
    "XUNITS",
    "YUNITS",
    "FIRSTX",
    "LASTX",
    "MAXX",
    "MINX",
    "MAXY",
    "MINY",
    "FIRSTY",
    "NPOINTS",
    "XFACTOR",
    "YFACTOR",
]


def _spectrum(quantity: str = "infrared", *, even: bool = True) -> Spectrum:
    numbers = np.random.default_rng(3)
    x = np.linspace(0.0, 4003.7, 211) if even else np.cumsum(numbers.uniform(1, 9, size=211))
    y = numbers.normal(size=211) * 10.0 ** numbers.integers(-9, 9, size=211)
    y[[3, 50]] = (0.0, -1.0)
    conventions = Conventions(
        estimator="autocorrelation ## with $$ signs",
        window="hann",
        correlation_time=1000.0,
        derivative="none",
        quantum_correction="harmonic",
        timestep=0.5,
        frames=100,
        replicas=1,
        blocks=8,
        temperature=300.0,
        notes=("Å and µ", "a  b " * 60),
    )
    verdict = Verdict(True, "all ranges below 0.05")
    return Spectrum(quantity, x, y, "cm^-1", conventions, np.abs(y) / 3, verdict, {"species/O": y})


@pytest.mark.parametrize("even", [True, False])
def test_another_program_reads_every_digit(tmp_path: Path, even: bool, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ir.jdx"
    spectrum = _spectrum(even=even)
    write_jcamp(path, spectrum)
    found = jcamp.readfile(str(path))
    np.testing.assert_array_equal(found["x"], spectrum.wavenumber)
    np.testing.assert_array_equal(found["y"], spectrum.intensity)
    assert found["npoints"] == len(spectrum.wavenumber)
    assert ("xydata" in found) == even
    assert capsys.readouterr().out == ""  # that program prints when a wavenumber check fails


@pytest.mark.parametrize("even", [True, False])
def test_our_reader_gives_back_the_spectrum(tmp_path: Path, even: bool) -> None:
    path = tmp_path / "ir.jdx"
    spectrum = _spectrum(even=even)
    write_jcamp(path, spectrum)
    found = read_jcamp(path)
    assert found.conventions == spectrum.conventions
    assert found.verdict == spectrum.verdict
    np.testing.assert_array_equal(found.standard_error, spectrum.standard_error)
    np.testing.assert_array_equal(found.wavenumber, spectrum.wavenumber)
    np.testing.assert_array_equal(found.intensity, spectrum.intensity)
    np.testing.assert_array_equal(found.parts["species/O"], spectrum.intensity)


def test_labels_are_those_of_the_standard(tmp_path: Path) -> None:
    path = tmp_path / "ir.jdx"
    write_jcamp(path, _spectrum())
    lines = path.read_bytes().decode("ascii").splitlines()
    labels = [line[2:].split("=")[0] for line in lines if line.startswith("##")]
    assert lines[0].startswith("##TITLE=")
    assert lines[-1] == "##END="
    assert labels.count("TITLE") == labels.count("END") == 1
    assert set(LABELS) <= set(labels)
    assert "DELTAX" in labels
    assert all(label.startswith("$VIBRALOOM") for label in labels if label.startswith("$"))
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "$$" in line and not line.startswith("##JCAMP-DX=")]


@pytest.mark.parametrize(
    ("quantity", "kind"),
    [
        ("infrared", "INFRARED SPECTRUM"),
        ("infrared_molar", "INFRARED SPECTRUM"),
        ("raman_vv", "RAMAN SPECTRUM"),
        ("vdos", "VDOS"),
    ],
)
def test_the_data_type_follows_the_quantity(tmp_path: Path, quantity: str, kind: str) -> None:
    path = tmp_path / "one.jdx"
    write_jcamp(path, _spectrum(quantity))
    assert jcamp.readfile(str(path))["data type"] == kind


@pytest.mark.parametrize(
    "title",
    [
        "two\nlines",
        "a\n##END=\n##TITLE=b",
        "## $$ ##",
        "Wasser, 300 K: ν in Å⁻¹",
        "x" * 500,
        "\r\n\x00\t",
        "",
    ],
)
def test_no_title_breaks_the_file(tmp_path: Path, title: str) -> None:
    path = tmp_path / "ir.jdx"
    write_jcamp(path, _spectrum(), title=title, owner=title)
    np.testing.assert_array_equal(jcamp.readfile(str(path))["y"], _spectrum().intensity)
    np.testing.assert_array_equal(read_jcamp(path).intensity, _spectrum().intensity)
    text = path.read_bytes().decode("ascii")
    assert text.count("##TITLE=") == text.count("##END=") == 1
    assert max(map(len, text.splitlines())) <= 80


def test_several_spectra_become_one_linked_file(tmp_path: Path) -> None:
    path = tmp_path / "raman.jdx"
    spectra = {"vv": _spectrum("raman_vv"), "vh": replace(_spectrum("raman_vh"), parts={})}
    write_jcamp(path, spectra, title="water")
    children = jcamp.readfile(str(path))["children"]
    assert [child["title"] for child in children] == ["water vv", "water vh"]
    np.testing.assert_array_equal(children[1]["y"], spectra["vh"].intensity)
    found = read_jcamp_table(path)
    assert {name: one.quantity for name, one in found.items()} == {"vv": "raman_vv", "vh": "raman_vh"}
    with pytest.raises(InputError, match="holds 2 spectra"):
        read_jcamp(path)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ir.jdx"
    write_jcamp(path, _spectrum())
    lines = path.read_text().splitlines()
    for cut in range(0, len(lines), 9):
        path.write_text("\n".join(lines[:cut]) + "\n")
        with pytest.raises(InputError, match=r"ir\.jdx") as caught:
            read_jcamp(path)
        assert "\n" not in str(caught.value)
    path.write_text("\n".join(lines[:-3] + lines[-2:]) + "\n")
    with pytest.raises(InputError, match="NPOINTS=211"):
        read_jcamp(path)
