"""Tables of n and k: both layouts and both axes give the same numbers, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibraloom.errors import InputError
from vibraloom.files.optical_constants import read_optical_constants

# gold between 2.5 and 10 µm, rounded
WAVELENGTH = [2.5, 4.0, 5.0, 10.0]
N = [1.1, 2.0, 3.1, 11.9]
K = [17.0, 27.0, 33.5, 65.0]


def _columns(heading: str, *columns: list[float]) -> str:
    return "\n".join([heading, *(",".join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"


WAVENUMBERS = [1e4 / each for each in WAVELENGTH]


@pytest.mark.parametrize(
    "text",
    [
        _columns("wl,n,k", WAVELENGTH, N, K),
        _columns("wl,n", WAVELENGTH, N) + "\n" + _columns("wl,k", WAVELENGTH, K),  # as refractiveindex.info
        "\ufeff# gold\n" + _columns("Wavelength_um, k, n", WAVELENGTH, K, N).replace("\n", "\r\n"),
        _columns("wavenumber,n,k", WAVENUMBERS, N, K),
        _columns("wavenumber_cm-1,n,k", WAVENUMBERS[::-1], N[::-1], K[::-1]),
        _columns('"wavelength, um",n,k', WAVELENGTH, N, K),
    ],
)
def test_every_layout_gives_the_same_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gold.csv"
    path.write_text(text, encoding="utf-8", newline="")
    wavenumber, n, k = read_optical_constants(path)
    np.testing.assert_allclose(wavenumber, [1000, 2000, 2500, 4000], rtol=1e-14)
    assert n.tolist() == N[::-1] and k.tolist() == K[::-1]


def test_without_k_nothing_is_absorbed(tmp_path: Path) -> None:
    path = tmp_path / "caf2.csv"
    path.write_text(_columns("wl,n", WAVELENGTH, [1.42, 1.41, 1.40, 1.30]))
    assert read_optical_constants(path)[2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least two rows"),
        ("2.5,1.1,17\n4,2,27\n", "line 1 ('2.5,1.1,17'): the first line must name the columns"),
        ("wavelength,n,k\n2500,1.1,17\n", "must name the columns"),  # in what unit?
        ("wl,n,k\n2.5,1.1,17\n", "holds 1 values of n"),
        ("wl,n,k\n2.5,1.1\n", "line 2 ('2.5,1.1'): 3 finite numbers"),
        ("wl,n,k\n2.5,1.1,nan\n", "finite"),
        ("wl,n,k\n2.5;1.1;17\n", "finite numbers"),
        ("wl,n,k\n2.5,1.1,17\n2.5,1.2,18\n", "line 3: 2.5 stands twice"),
        ("wl,n,k\n0,1.1,17\n1,1,1\n", "wl is 0; it must be positive"),
        ("wl,n,k\n-2,1.1,17\n1,1,1\n", "must be positive"),
        ("wl,eps\n2.5,1.1\n", "line 1 ('wl,eps')"),
        ("wl,n,n\n2.5,1.1,1\n", "line 1"),
        ("wl\n2.5\n", "line 1"),
        ("wl,n\n2.5,1.1\n4,2\nwavenumber,k\n2500,1\n4000,2\n", "line 4"),
        ("wl,n\n2.5,1.1\n4,2\nwl,k\n2.5,1\n5,2\n", "n and k stand at different places, such as"),
        ("wl,n\n2.5,1.1\n4,2\nwl,n\n2.5,1\n5,2\n", "line 4: n stands twice"),
        ("wl,k\n2.5,1.1\n4,2\n", "holds 0 values of n"),
    ],
)
def test_what_is_not_clear_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_optical_constants(path)
    assert message in str(refused.value) and "x.csv" in str(refused.value) and "\n" not in str(refused.value)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_optical_constants(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_optical_constants(tmp_path)
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not a text table"):
        read_optical_constants(tmp_path / "binary.csv")
    with (tmp_path / "huge.csv").open("wb") as handle:
        handle.truncate(20_000_000)
    with pytest.raises(InputError, match="no table of n and k"):
        read_optical_constants(tmp_path / "huge.csv")


LINES = ["wl,n,k", "wl,n", "wl,k", "wavenumber,n,k", "2.5,1.1,17", "4,2,27", "4,2", "5,3", "#", '"', "1e400,1,1", "\r", "\0"]


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(LINES)).map("\n".join)))
def test_no_text_crashes_or_gives_numbers_that_are_none(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.csv"
    path.write_text(text, encoding="utf-8", newline="", errors="surrogatepass")
    try:
        wavenumber, n, k = read_optical_constants(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert len(wavenumber) == len(n) == len(k) >= 2
        assert (np.diff(wavenumber) > 0).all() and np.isfinite([wavenumber, n, k]).all()
