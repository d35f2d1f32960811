"""Damaged series files: each is refused in one line or read as what it visibly says, never otherwise.

The samples are outputs of CP2K 2023.1 (one H2O, PBE; and eight with GFN1-xTB), LAMMPS 22Jul2025 and GPUMD's format.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vibraloom.errors import InputError
from vibraloom.files.number_table import read_number_table
from vibraloom.files.series import Series, load_series
from vibraloom.units import DIMENSIONS

MOMENTS = [(-0.34039792e-01, 2.4210507, -0.21083730e-08), (-0.51164923e-01, 2.4066712, -0.38734485e-01)]
MOMENTS += [(-0.68571899e-01, 2.3940922, -0.76848551e-01), (-0.85378775e-01, 2.3824242, -0.11377278)]
BLOCK = """\
  Reference Point [Bohr]              0.00000000      0.00000000      0.00000000
  Charges
    Electronic=      8.00000000    Core=    -8.00000000    Total=    -0.00000000
  Dipole vectors are based on the periodic (Berry phase) operator.
  They are defined modulo integer multiples of the cell matrix [Debye].
  [X] [   24.01602136     4.58737218     0.00000000 ] [i]
  [Y]=[    0.00000000    26.01628043     0.00000000 ]*[j]
  [Z] [    0.00000000     0.00000000    28.81922563 ] [k]
  Dipole moment [Debye]
    X={:16.8E} Y={:16.8E} Z={:16.8E}   Total={:16.8f}
"""
BLOCKS = [BLOCK.format(*row, float(np.linalg.norm(row))) for row in MOMENTS]
TB = """
 TB_DIPOLE| Dipole type                                   periodic (Berry phase)
 TB_DIPOLE| Reference Point [Boh      0.00000000      0.00000000      0.00000000
 TB_DIPOLE| Moment [a.u.]          -2.66960903      -0.99837398       1.53717316
 TB_DIPOLE| Moment [Debye]         -6.78546870      -2.53761329       3.90710409
 TB_DIPOLE| Derivative [a.u.]       0.00026317       0.00027588      -0.00137992

 TB_DIPOLE| Dipole type                                   periodic (Berry phase)
 TB_DIPOLE| Reference Point [Boh      0.00000000      0.00000000      0.00000000
 TB_DIPOLE| Moment [a.u.]          -2.70781610      -0.98901951       1.56464656
 TB_DIPOLE| Moment [Debye]         -6.88258136      -2.51383662       3.97693449
 TB_DIPOLE| Derivative [a.u.]       0.00027525       0.00028249      -0.00138708
"""
STEP = "\n MD| {stars}\n MD| Step number {step:63d}\n MD| Time [fs] {time:65.6f}\n"
LOG = f" CP2K| version string:   CP2K version 2023.1\n{BLOCKS[0]} MD_INI| MD initialization\n" + "".join(
    block + STEP.format(stars="*" * 75, step=step, time=step / 2) for step, block in enumerate(BLOCKS[1:], start=1)
)
POLAR_LOG = """\
 CP2K| version string:   CP2K version 2023.1
  The linear solver converged in    5 iterations.

 POLAR| Polarizability tensor [a.u.]
 POLAR| xx,yy,zz            4.883869916970     2.159239066112     0.000796828307
 POLAR| xy,xz,yz            0.009617221084     0.024731837686    -0.035534812545
 POLAR| yx,zx,zy            0.008848811701     0.026018457023    -0.035698536288

 POLAR| Polarizability tensor [ang^3]
 POLAR| xx,yy,zz            0.723714845024     0.319966213816     0.000118077771
 POLAR| xy,xz,yz            0.001425125113     0.003664880184    -0.005265715875
 POLAR| yx,zx,zy            0.001311258592     0.003855537496    -0.005289977230
 MD_INI| MD initialization
  The linear solver converged in    5 iterations.

 POLAR| Polarizability tensor [a.u.]
 POLAR| xx,yy,zz            5.214987777261     2.218903521840     0.003017538104
 POLAR| xy,xz,yz            0.007080021422     0.052389844455    -0.072813160102
 POLAR| yx,zx,zy            0.006912911575     0.054047156612    -0.072343114266

 POLAR| Polarizability tensor [ang^3]
 POLAR| xx,yy,zz            0.772781448971     0.328807573857     0.000447153007
 POLAR| xy,xz,yz            0.001049150918     0.007763373883    -0.010789796980
 POLAR| yx,zx,zy            0.001024387794     0.008008962203    -0.010720143374
 MD| Step number                                                               1
 MD| Time [fs]                                                          0.500000
"""
POLAR = """\
#   Step   Time [fs]           xx [a.u.]           xy [a.u.]           xz [a.u.]           yx [a.u.]           yy [a.u.]\
           yz [a.u.]           zx [a.u.]           zy [a.u.]           zz [a.u.]
       0       0.000          4.71291772          0.01571810          0.00000000          0.01443588          2.15772393\
         -0.00000003          0.00000000          0.00000000          0.00000000
       1       0.500          4.88386992          0.00961722          0.02473184          0.00884881          2.15923907\
         -0.03553481          0.02601846         -0.03569854          0.00079683
       2       1.000          5.21498778          0.00708002          0.05238984          0.00691291          2.21890352\
         -0.07281316          0.05404716         -0.07234311          0.00301754
"""
WANNIER = """\
# iter_level                  dipole(x,y,z)[atomic units]     dipole(x,y,z)[debye]     delta_dipole(x,y,z)[atomic units]
1_0                3.19942132E-02    9.32567769E-01    4.77702864E-07    8.13211707E-02    2.37035061E+00    1.21419945E-06\
    3.19942132E-02    9.32567769E-01    4.77702864E-07
1_1                2.72096749E-02    9.26808965E-01   -1.77243211E-02    6.91600886E-02    2.35571319E+00   -4.50507262E-02\
   -4.78453825E-03   -5.75880415E-03   -1.77247988E-02
1_2                2.26165300E-02    9.21134967E-01   -3.51322382E-02    5.74854799E-02    2.34129133E+00   -8.92972340E-02\
   -4.59314489E-03   -5.67399730E-03   -1.74079172E-02
"""
GPUMD = """\
# dump_dipole 10
# format_version 1
# num_atoms 3
# cell 1.0e+01 0.0e+00 0.0e+00 0.0e+00 1.0e+01 0.0e+00 0.0e+00 0.0e+00 1.0e+01
# dt_output 5.0000000000e+00 fs
# columns step dipole_x dipole_y dipole_z
9    1.2345678901e-01   -2.0000000001e-01    3.1000000001e+00
19    1.3345678901e-01   -2.1000000001e-01    3.2000000001e+00
29    1.4345678901e-01   -2.2000000001e-01    3.3000000001e+00
"""
SCALAR = """\
# Time-averaged data for fix M
# TimeStep c_M[1] c_M[2] c_M[3]
0 10.33930122 11.63562522 10.95313851
4 10.33930134 11.63562524 10.95313861
8 10.33930156 11.63562526 10.95313871
"""
VECTOR = """\
# Time-averaged data for fix V
# TimeStep Number-of-rows
# Row c_M
0 3
1 10.3393
2 11.6356
3 10.9531
4 3
1 10.3395
2 11.6357
3 10.9533
8 3
1 10.3396
2 11.6358
3 10.9534
"""
TRAVIS = """\
1.50000000 0.01000000 -0.02000000 0.01000000 1.25000000 0.03000000 -0.02000000 0.03000000 1.75000000
1.51000000 0.01100000 -0.02100000 0.01100000 1.26000000 0.03100000 -0.02100000 0.03100000 1.76000000
1.52000000 0.01200000 -0.02200000 0.01200000 1.27000000 0.03200000 -0.02200000 0.03200000 1.77000000
"""
PLAIN = "# x y z\n1.25 -2.5e-1 3\n1.5 -2.75e-1 4\n1.75 -3.5e-1 5\n"
SAMPLES = {
    "moments": ("dipole", "".join(BLOCKS)),
    "log": ("dipole", LOG),
    "tight binding": ("dipole", TB),
    "wannier": ("dipole", WANNIER),
    "polarizability log": ("polarizability", POLAR_LOG),
    "polarizability file": ("polarizability", POLAR),
    "gpumd": ("dipole", GPUMD),
    "lammps scalar": ("dipole", SCALAR),
    "lammps vector": ("dipole", VECTOR),
    "plain": ("dipole", PLAIN),
    "polarizability of travis": ("polarizability", TRAVIS),
}
_FRAME = {
    "moments": r"Dipole moment \[Debye\] *\n +X= *(\S+) *Y= *(\S+) *Z= *(\S+) +Total",
    "log": r"Dipole moment \[Debye\] *\n +X= *(\S+) *Y= *(\S+) *Z= *(\S+) +Total",
    "tight binding": r"Moment \[Debye\] *(\S+) +(\S+) +(\S+)",
    "wannier": r"(?m)^ *(?:\d+_)*\d+(?: +\S+){3} +(\S+) +(\S+) +(\S+)",
    "polarizability log": (
        r"\[a\.u\.\].*\n.*?xx,yy,zz *(\S+) +(\S+) +(\S+) *\n.*?xy,xz,yz *(\S+) +(\S+) +(\S+) *\n"
        r".*?yx,zx,zy *(\S+) +(\S+) +(\S+) *\n"
    ),
}
"""What a reader's eye sees as the numbers of a frame in the prints of CP2K."""

_TIMED = ("log", "polarizability file", "gpumd")
"""Samples that state their time."""


def visible_frames(kind: str, text: str) -> list[list[float]]:
    """The numbers of every frame, by the plainest reading of the text."""
    if kind in _FRAME:
        return [[float(word) for word in found.groups()] for found in re.finditer(_FRAME[kind], text)]
    rows = [line.partition("#")[0].split() for line in text.split("\n")]
    numbers = [[float(word) for word in row] for row in rows if row]
    if kind == "lammps vector" and "Number-of-rows" in text:
        flat = [number for row in numbers for number in (row[1:] if len(row) == 2 else [np.nan])]
        return [[flat[at + 1], flat[at + 2], flat[at + 3]] for at in range(0, len(flat) - 3, 4)]
    width = 9 if "polarizability" in kind else 3
    return [row[-width:] for row in numbers]


def check(kind: str, data: bytes) -> Series | None:
    """Read damaged bytes: refused in one line that names the file, or exactly what they say; None where refused."""
    quantity, _ = SAMPLES[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.dat"
        path.write_bytes(data)
        try:
            series = load_series(
                path,
                quantity,
                unit=None if kind in _FRAME or kind == "polarizability file" else DIMENSIONS[quantity][0],
                timestep=None if kind in _TIMED else 0.5,
                components="travis" if "travis" in kind else None,
            )
        except InputError as error:
            assert str(error).isprintable()
            assert "damaged.dat" in str(error)
            return None
    # blanks other than the blank itself: the readers take them as such
    text = re.sub(r"[\r\t\x0b\x0c]", " ", data.decode("utf-8", errors="replace"))
    factor = DIMENSIONS[quantity][1][series.unit_source.split(" ")[0]]
    seen = np.array(visible_frames(kind, text)) * factor
    assert np.isfinite(series.values).all()
    assert 0 < series.timestep < np.inf
    if series.steps is not None:
        assert len(set(np.diff(series.steps).tolist())) == 1
        assert series.steps[1] > series.steps[0]
    dropped = sum("dropped" in note or "left out" in note for note in series.notes)
    # frames may only go with a note, and every number that is left stands in the text
    assert len(seen) - len(series.values) <= dropped * len(seen)
    if not dropped:
        assert len(seen) == len(series.values)
        np.testing.assert_allclose(series.values.reshape(seen.shape), seen, rtol=1e-15)
    else:
        for row in series.values:
            assert np.isclose(seen, row, rtol=1e-15, atol=0).all(axis=1).any()
    return series


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_are_read_whole(kind: str) -> None:
    series = check(kind, SAMPLES[kind][1].encode())
    assert series is not None
    assert len(series.values) == len(visible_frames(kind, SAMPLES[kind][1]))


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=60)
@given(data=st.data())
def test_cut_off_files_are_refused_or_shorter(kind: str, data: st.DataObject) -> None:
    text = SAMPLES[kind][1].encode()
    check(kind, text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=150)
@given(data=st.data())
def test_changed_bytes_are_refused_or_read_as_they_stand(kind: str, data: st.DataObject) -> None:
    text = bytearray(SAMPLES[kind][1].encode())
    letters = st.one_of(st.sampled_from(b"0123456789+-.eE*# \n|[]="), st.integers(0, 255))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(letters)
    check(kind, bytes(text))


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=60)
@given(data=st.data())
def test_lost_doubled_and_swapped_lines_are_refused_or_read_as_they_stand(kind: str, data: st.DataObject) -> None:
    lines = SAMPLES[kind][1].splitlines(keepends=True)
    first, second = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    change = data.draw(st.sampled_from(("lose", "double", "swap")))
    if change == "lose":
        del lines[first]
    elif change == "double":
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    check(kind, "".join(lines).encode())


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=40)
@given(data=st.data())
def test_words_that_are_no_numbers_are_refused(kind: str, data: st.DataObject) -> None:
    text = SAMPLES[kind][1]
    numbers = re.finditer(r"[-+]?\d+\.\d+(?:[eE][-+]?\d+)?", text)
    frames = {tuple(row) for row in visible_frames(kind, text)}
    used = [found for found in numbers if any(float(found[0]) in row for row in frames)]
    hit = data.draw(st.sampled_from(used))
    word = data.draw(st.sampled_from(("NaN", "Infinity", "-inf", "********", "1.0j", "1,5", "1_0.5", "--1.0", "0x1p3", "")))
    damaged = text[: hit.start()] + word + text[hit.end() :]
    # what was hit may be a number that only looks like one of a frame: a charge, a time, a cell
    if any(tuple(row) not in frames for row in _visible(kind, damaged)) or len(_visible(kind, damaged)) != len(frames):
        assert check(kind, damaged.encode()) is None


def _visible(kind: str, text: str) -> list[list[float]]:
    try:
        return visible_frames(kind, text)
    except (ValueError, IndexError):
        return []


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_numpy_files_are_refused_or_read_as_numpy_reads_them(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".npy", ".npz"):
            path = Path(folder) / f"damaged{suffix}"
            values = np.array(MOMENTS)
            if suffix == ".npy":
                np.save(path, values)
            else:
                np.savez(path, dipole=values, step=np.arange(4))
            text = bytearray(path.read_bytes())
            for _ in range(data.draw(st.integers(1, 3))):
                text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
            path.write_bytes(bytes(text[: data.draw(st.sampled_from((len(text), len(text) // 2, len(text) - 3)))]))
            try:
                series = load_series(path, "dipole", unit="e*angstrom", timestep=0.5)
            except InputError as error:
                assert "\n" not in str(error)
                continue
            with np.load(path, allow_pickle=False) if suffix == ".npz" else _Plain(path) as archive:
                np.testing.assert_array_equal(series.values, np.asarray(archive["dipole"], dtype=np.float64))


class _Plain(dict[str, np.ndarray]):
    """A ``.npy`` file where the test expects NumPy's archive."""

    def __init__(self, path: Path) -> None:
        super().__init__(dipole=np.load(path, allow_pickle=False))

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@settings(max_examples=300)
@given(
    words=st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.decimals(allow_nan=False, allow_infinity=False, places=12).map(str),
            st.from_regex(r"[-+]?[0-9]{1,25}(\.[0-9]{0,25})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_decimal_is_what_float_gives(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text(" ".join(words) + "\n", encoding="ascii")
        expected = [float(word) for word in words]
        if not np.isfinite(expected).all():
            with pytest.raises(InputError):
                read_number_table(path)
        else:
            assert read_number_table(path).numbers.tolist() == expected
