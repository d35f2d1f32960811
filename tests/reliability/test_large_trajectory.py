"""A trajectory much larger than the memory that the command may take."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from vibraloom.files.tables import read_csv
from vibraloom.files.trajectory import Trajectory, write_trajectory

ATOMS = 3000
LARGEST = 300e6
"""Bytes that may be resident."""


def _write(path: Path, gigabytes: float) -> int:
    """An H5MD file of water with velocities of a known temperature; returns its frames."""
    frames = int(gigabytes * 1e9 / (24 * ATOMS))
    masses = np.tile([15.999, 1.008, 1.008], ATOMS // 3)
    few = np.zeros((2, ATOMS, 3), dtype=np.float32)
    step = np.arange(frames, dtype=np.int64) * 4
    write_trajectory(path, Trajectory(np.tile([8, 1, 1], ATOMS // 3), masses, step[:2], 0.5, few, few))
    random = np.random.default_rng(0)
    with h5py.File(path, "r+") as handle:
        particles = handle["particles/all"]
        del particles["step"], particles["time"]
        particles["step"], particles["time"] = step, step * 0.5
        for name in ("position", "velocity"):
            del particles[f"{name}/value"]
            values = particles.create_dataset(f"{name}/value", (frames, ATOMS, 3), dtype=np.float32)
            block = random.standard_normal((500, ATOMS, 3), dtype=np.float32) * np.float32(0.01)
            for start in range(0, frames, 500):
                values[start : start + 500] = block[: min(500, frames - start)]
    return frames


@pytest.mark.parametrize("gigabytes", [1.0, pytest.param(10.0, marks=pytest.mark.soak)])
def test_memory_does_not_grow_with_the_trajectory(tmp_path: Path, gigabytes: float) -> None:
    path = tmp_path / "run.h5"
    frames = _write(path, gigabytes)
    assert path.stat().st_size > 0.95 * gigabytes * 1e9
    output = tmp_path / "vdos.csv"
    command = ["spectrum", "vdos", "--trajectory", str(path), "--group-by", "species", "-o", str(output)]
    # the largest resident size of this process's children is only known for all of them: ask in a process of its own
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
    )
    run = [sys.executable, "-c", code, str(Path(sys.executable).with_name("vibraloom")), *command]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(run, env=environment, check=True, capture_output=True, text=True)
    resident = float(done.stdout.splitlines()[-1])
    print(f"{gigabytes:g} GB: {resident / 1e6:.0f} MB resident")
    assert resident < LARGEST
    found = read_csv(output)
    assert found.conventions.frames == frames
    assert found.conventions.extra["modes"] == pytest.approx(3 * ATOMS, rel=1e-6)
