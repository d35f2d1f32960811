"""Tables of spectra: what is written is what is read, and what is damaged is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vibraloom.errors import ComputationError, InputError
from vibraloom.files import tables
from vibraloom.spectra.spectrum import Conventions, Spectrum, Verdict


def _spectrum(quantity: str = "infrared") -> Spectrum:
    numbers = np.random.default_rng(5)
    x = np.arange(41) * 8.339102379953801
    y = numbers.normal(size=41) * 10.0 ** numbers.integers(-12, 12, size=41)
    conventions = Conventions(
        estimator="autocorrelation",
        window="hann",
        correlation_time=1000.0,
        derivative="forward difference",
        quantum_correction="harmonic",
        timestep=0.5,
        frames=20001,
        replicas=4,
        blocks=8,
        temperature=300.0,
        notes=("water-only response, no image charge", "two\nlines"),
        extra={"sources": [{"file": "µ, dipole #1.npy"}]},
    )
    verdict = Verdict(False, "0.11 in 0-500 cm^-1", ({"low": 0.0, "high": 500.0, "converged": False},))
    parts = {"layer/contact, left": y / 3, 'layer/"bulk"': y - y / 3}
    return Spectrum(quantity, x, y, "cm^-1", conventions, np.abs(y) / 7, verdict, parts)


def _assert_same(found: Spectrum, expected: Spectrum) -> None:
    assert found.conventions == expected.conventions
    assert found.verdict == expected.verdict
    assert (found.quantity, found.unit) == (expected.quantity, expected.unit)
    assert list(found.parts) == list(expected.parts)
    for name, values in {**expected.parts, "": expected.intensity}.items():
        np.testing.assert_array_equal(found.parts[name] if name else found.intensity, values)
    np.testing.assert_array_equal(found.wavenumber, expected.wavenumber)
    assert (found.standard_error is None) == (expected.standard_error is None)
    if expected.standard_error is not None:
        np.testing.assert_array_equal(found.standard_error, expected.standard_error)
    assert found.content_hash() == expected.content_hash()


FORMATS = [
    (".csv", tables.write_csv, tables.read_csv, tables.read_csv_table),
    (".json", tables.write_json, tables.read_json, tables.read_json_table),
    (".npz", tables.write_npz, tables.read_npz, tables.read_npz_table),
]


@pytest.mark.parametrize(("suffix", "write", "read", "table"), FORMATS)
def test_a_spectrum_is_read_back_to_the_last_bit(tmp_path: Path, suffix, write, read, table) -> None:
    path = tmp_path / f"ir{suffix}"
    for spectrum in (_spectrum(), replace(_spectrum(), standard_error=None, verdict=None, parts={})):
        write(path, spectrum)
        _assert_same(read(path), spectrum)


@pytest.mark.parametrize(("suffix", "write", "read", "table"), FORMATS)
def test_several_spectra_are_read_back_by_name(tmp_path: Path, suffix, write, read, table) -> None:
    path = tmp_path / f"raman{suffix}"
    spectra = {"vv": _spectrum("raman_vv"), "vh": replace(_spectrum("raman_vh"), standard_error=None)}
    write(path, spectra)
    found = table(path)
    assert list(found) == ["vv", "vh"]
    for name, spectrum in spectra.items():
        _assert_same(found[name], spectrum)
    with pytest.raises(InputError, match="holds 2 spectra"):
        read(path)


def test_csv_opens_in_a_plain_table_reader(tmp_path: Path) -> None:
    path = tmp_path / "ir.csv"
    spectrum = replace(_spectrum(), parts={"species/O": _spectrum().intensity})
    tables.write_csv(path, spectrum)
    table = np.genfromtxt(path, delimiter=",", comments="#", skip_header=0, names=None)[1:]
    np.testing.assert_array_equal(table[:, 0], spectrum.wavenumber)
    np.testing.assert_array_equal(table[:, 1], spectrum.intensity)
    heading = next(line for line in path.read_text().splitlines() if not line.startswith("#"))
    assert heading == "wavenumber_cm-1,intensity,standard_error,part:species/O"


@pytest.mark.parametrize(("suffix", "write", "read", "table"), FORMATS)
def test_a_file_cut_off_at_any_place_is_refused(tmp_path: Path, suffix, write, read, table) -> None:
    path = tmp_path / f"ir{suffix}"
    write(path, _spectrum())
    whole = path.read_bytes()
    last = len(whole) - 2
    for length in [*np.linspace(0, last - 40, 25).astype(int), *range(last - 40, last + 1)]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"ir{suffix}") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "write", "read", "table"), FORMATS)
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(
    tmp_path: Path, suffix, write, read, table
) -> None:
    path = tmp_path / f"ir{suffix}"
    intensity = _spectrum().intensity.copy()
    intensity[7] = np.nan
    with pytest.raises(InputError, match="intensity is nan at bin 7"):
        write(path, replace(_spectrum(), intensity=intensity, parts={}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "write", "read", "table"), FORMATS)
def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path, suffix, write, read, table) -> None:
    with pytest.raises(ComputationError, match="cannot be written"):
        write(tmp_path / "absent" / f"ir{suffix}", _spectrum())
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / f"absent{suffix}")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ir.json"
    path.write_text(json.dumps({**tables.spectrum_record(_spectrum()), "schema": 99}))
    with pytest.raises(InputError, match="schema 99"):
        tables.read_json(path)


def test_spectra_on_different_axes_do_not_share_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="axis differs"):
        tables.write_csv(tmp_path / "x.csv", {"a": _spectrum(), "b": _spectrum().between(0, 200)})
