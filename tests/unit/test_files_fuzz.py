"""Damaged trajectories, at random: one line that names the file, or the numbers that stand in it, never others."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from trajectory_samples import CASES, INTERVAL, write_scaled_dump, write_topology

from vibraloom.errors import InputError, MissingError
from vibraloom.files.velocities import read_positions, read_velocities

TEXT = ("extxyz", "extxyz, momenta", "cp2k", "i-pi", "lammps, time")
SCALED = "lammps, scaled positions"
BINARY = ("dcd", "trr")
CONTAINERS = ("h5md", "h5md of others", "ase")
EXAMPLES = settings(
    max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def _numbers(case: str, path: Path, options: dict[str, Any]) -> np.ndarray:
    """Velocities of every frame, or positions."""
    return np.asarray(read_positions(path, **options).values if case == SCALED else read_velocities(path, **options).velocities)


@cache
def _whole(case: str) -> tuple[bytes, np.ndarray, dict[str, Any], str]:
    """Bytes, numbers, options and name of an intact file."""
    folder = Path(_folder().name)
    scaled = ("run.dump", lambda path: write_scaled_dump(path, "xs ys zs", breathing=0.01), {"timestep": INTERVAL})
    name, write, options = scaled if case == SCALED else CASES[case]
    options = dict(options)
    if "topology" in options:
        options["topology"] = write_topology(folder)
    write(folder / name)
    found = _numbers(case, folder / name, options)
    return (folder / name).read_bytes(), found, options, name


def _read(case: str, content: bytes) -> np.ndarray | None:
    """Numbers in ``content``, None where it is refused in one line."""
    _, _, options, name = _whole(case)
    path = Path(_folder().name) / f"damaged-{name}"
    path.write_bytes(content)
    try:
        return _numbers(case, path, options)
    except (InputError, MissingError) as error:
        assert "\n" not in str(error)
        assert "damaged-" in str(error) or "--" in str(error)
        return None


def _differing(found: np.ndarray, whole: np.ndarray) -> int:
    """How many numbers are not those of the intact file, at the same frame and atom."""
    assert found.shape[1:] == whole.shape[1:]
    assert len(found) <= len(whole)
    assert np.isfinite(found).all()
    return int((found != whole[: len(found)]).sum())


@EXAMPLES
@given(case=st.sampled_from((*TEXT, SCALED, *BINARY, *CONTAINERS)), where=st.floats(0, 1))
def test_a_truncated_file_is_refused_or_gives_its_first_frames(case: str, where: float) -> None:
    content, whole, _, _ = _whole(case)
    found = _read(case, content[: int(where * len(content))])
    assert found is None or _differing(found, whole) == 0


@EXAMPLES
@given(case=st.sampled_from(TEXT + BINARY), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_changes_one_number_at_most(case: str, where: float, flip: int) -> None:
    content, whole, _, _ = _whole(case)
    at = int(where * len(content))
    found = _read(case, content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    assert found is None or (_differing(found, whole) <= 1 and len(found) == len(whole))


@EXAMPLES
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_of_scaled_positions_changes_one_frame_at_most(where: float, flip: int) -> None:
    # in a row it moves one atom, in the bounds of the box the atoms of that frame
    content, whole, _, _ = _whole(SCALED)
    at = int(where * len(content))
    found = _read(SCALED, content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    assert found is None or (len(found) == len(whole) and np.isfinite(found).all())
    assert found is None or np.count_nonzero((found != whole).any(axis=(1, 2))) <= 1


@pytest.mark.parametrize("case", CONTAINERS)
def test_a_changed_byte_in_a_container_raises_nothing_else(case: str) -> None:
    # HDF5 and ULM keep addresses and types that no checksum guards: which numbers follow is theirs to say. The bytes are
    # fixed, for a few changes of a heap make libhdf5 itself loop for ever.
    content, _, _, _ = _whole(case)
    generator = np.random.default_rng(1)
    for at, flip in zip(generator.integers(0, len(content), 60), generator.integers(1, 256, 60), strict=True):
        found = _read(case, content[:at] + bytes([content[at] ^ int(flip)]) + content[at + 1 :])
        assert found is None or np.isfinite(found).all()


@EXAMPLES
@given(case=st.sampled_from(TEXT), first=st.floats(0, 1, exclude_max=True), second=st.floats(0, 1, exclude_max=True))
def test_swapped_lines_are_refused_unless_the_atoms_are_named(case: str, first: float, second: float) -> None:
    content, whole, _, _ = _whole(case)
    lines = content.split(b"\n")[:-1]
    one, two = int(first * len(lines)), int(second * len(lines))
    assume(lines[one] != lines[two])
    lines[one], lines[two] = lines[two], lines[one]
    found = _read(case, b"\n".join(lines) + b"\n")
    if found is None:
        return
    # rows of a dump carry their id; two rows of like atoms, or of two frames, trade their numbers and nothing else
    assert _differing(found, whole) <= 6
    np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(whole.ravel()))


@EXAMPLES
@given(case=st.sampled_from((*TEXT, SCALED)), where=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["double", "delete"]))
def test_a_line_that_stands_twice_or_is_missing_is_refused(case: str, where: float, kind: str) -> None:
    content, whole, _, _ = _whole(case)
    lines = content.split(b"\n")[:-1]
    at = int(where * len(lines))
    lines[at : at + 1] = [lines[at]] * (2 if kind == "double" else 0)
    found = _read(case, b"\n".join(lines) + b"\n")
    assert found is None or _differing(found, whole) == 0


@EXAMPLES
@given(
    case=st.sampled_from((*TEXT, SCALED)),
    where=st.floats(0, 1, exclude_max=True),
    word=st.sampled_from([b"NaN", b"-nan", b"inf", b"Infinity", b"*********", b"1e400", b"--", b"0x1p3", b"1_0"]),
)
def test_a_word_in_place_of_a_number_is_refused(case: str, where: float, word: bytes) -> None:
    content, whole, _, _ = _whole(case)
    lines = content.split(b"\n")[:-1]
    rows = [number for number, line in enumerate(lines) if len(line.split()) >= 4 and line.split()[0].isalnum()]
    rows = [number for number in rows if b"=" not in lines[number] and b"ITEM" not in lines[number]]
    at = rows[int(where * len(rows))]
    words = lines[at].split()
    words[-1] = word
    lines[at] = b" ".join(words)
    assert _read(case, b"\n".join(lines) + b"\n") is None
    assert len(whole)


@EXAMPLES
@given(case=st.sampled_from((*TEXT, SCALED, *BINARY, *CONTAINERS)), content=st.binary(max_size=400))
def test_noise_is_refused(case: str, content: bytes) -> None:
    intact, _, _, _ = _whole(case)
    assert _read(case, content) is None
    for beginning in (8, 64, 200):
        assert _read(case, intact[:beginning] + content) is None


@pytest.mark.parametrize("ends", [b"\r\n", b"\n\n"])
def test_line_ends_of_other_systems_do_not_matter_and_blank_lines_at_the_end(ends: bytes) -> None:
    for case in (*TEXT, SCALED):
        content, whole, _, _ = _whole(case)
        damaged = content.replace(b"\n", ends) if ends == b"\r\n" else content + b"\n \n"
        found = _read(case, damaged)
        assert found is not None
        np.testing.assert_array_equal(found, whole)
