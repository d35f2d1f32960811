"""A disk that fills while something is written: one line, exit code 3, nothing half-written.

The limit is the kernel's own on the size of a file (RLIMIT_FSIZE), which makes a write fail half-way as a full disk does.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.conftest import Project

LIMIT = 20_000
"""Bytes; less than any of the files below."""


def limited() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


@pytest.mark.parametrize("suffix", ["csv", "json", "jdx", "npz", "png"])
def test_a_plain_spectrum_is_whole_or_absent(suffix: str, tmp_path: Path) -> None:
    np.save(tmp_path / "dipole.npy", np.random.default_rng(1).normal(size=(8000, 3)).cumsum(axis=0))
    target = tmp_path / f"ir.{suffix}"
    target.write_text("an earlier result", encoding="utf-8")
    command = [Path(sys.executable).with_name("vibraloom"), "spectrum", "ir", "--dipole", "dipole.npy", "--unit", "e*angstrom"]
    options = ["--timestep", "0.5", "--temperature", "300", "--volume", "970.3", "-o", target.name]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, preexec_fn=limited, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert target.name in done.stderr
    assert "free space" in done.stderr
    assert target.read_text(encoding="utf-8") == "an earlier result"
    assert {path.name for path in tmp_path.iterdir()} == {"dipole.npy", target.name}


WRITER = """
import numpy as np
from vibraloom.errors import ComputationError
from vibraloom.files.trajectory import Trajectory, write_trajectory
frames = 2000
numbers, masses, positions = np.array([1]), np.array([1.0]), np.zeros((frames, 1, 3))
try:
    write_trajectory("t.h5", Trajectory(numbers, masses, np.arange(frames), 0.5, positions))
except ComputationError as error:
    print(error)
"""


def test_a_trajectory_is_whole_or_absent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=limited,
        timeout=60,
        check=False,
    )
    assert "t.h5: cannot be written" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_on_a_full_disk_leaves_the_database_as_it_was(film_project: Project) -> None:
    entries = film_project.json("list")
    done = subprocess.run(
        [Path(sys.executable).with_name("vibraloom"), "export", entries[0]["id"][:8], "--format", "csv", "-o", "full.csv"],
        cwd=film_project.folder,
        env=film_project.environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited,
        check=False,
    )
    assert done.returncode in (2, 3), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(film_project.folder.glob("*full*"))
    assert film_project.json("list") == entries
