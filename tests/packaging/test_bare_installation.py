"""What the wheel alone can do: everything on plain files, and one clear line where an extra is needed."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vibraloom import __version__

Bare = Callable[..., "subprocess.CompletedProcess[str]"]
SPEED_OF_LIGHT = 2.99792458e-5
"""cm/fs"""


def test_aiida_ase_and_matplotlib_are_absent(bare: Bare) -> None:
    for package in ("aiida", "ase", "matplotlib", "pymatgen"):
        assert bare("python", "-c", f"import {package}").returncode == 1, package


def test_version_and_help(bare: Bare) -> None:
    assert bare("vibraloom", "--version").stdout.split() == ["vibraloom", __version__]
    text = bare("vibraloom", "--help")
    assert text.returncode == 0
    assert "spectrum" in text.stdout


def test_an_infrared_spectrum_from_plain_files(bare: Bare, tmp_path: Path) -> None:
    time = np.arange(8000) * 0.5
    dipole = np.zeros((8000, 3))
    dipole[:, 0] = 0.1 * np.cos(2 * np.pi * SPEED_OF_LIGHT * 1600.0 * time)
    np.save(tmp_path / "dipole.npy", dipole)
    result = bare(
        "vibraloom", "spectrum", "ir", "--dipole", "dipole.npy", "--unit", "e*angstrom", "--timestep", "0.5",
        "--temperature", "300", "--volume", "1000", "-o", "ir.csv",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with (tmp_path / "ir.csv").open() as file:
        rows = [row for row in csv.reader(line for line in file if not line.startswith("#"))]
    table = np.array([[float(value or "nan") for value in row[:2]] for row in rows[1:]])
    assert table[np.nanargmax(table[:, 1]), 0] == pytest.approx(1600.0, abs=5.0)


@pytest.mark.parametrize("command", [("run", "spec.yaml"), ("init",)])
def test_what_needs_aiida_says_what_to_install(
    bare: Bare, tmp_path: Path, root: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "spec.yaml").write_text((root / "examples" / "h2o.yaml").read_text())
    result = bare("vibraloom", *command)
    assert result.returncode == 4, result.stderr
    assert "pip install 'vibraloom[workflows]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / ".vibraloom").exists(), "half a project was left behind"


def test_doctor_says_what_to_install(bare: Bare) -> None:
    result = bare("vibraloom", "doctor")
    assert result.returncode == 4
    for line in (
        "aiida-core: not installed; run: pip install 'vibraloom[workflows]'",
        "vibraloom[deepmd]",
        "vibraloom[dft]",
    ):
        assert line in result.stdout


def test_scripts_without_an_engine_start_on_the_light_installation(bare: Bare) -> None:
    for name in ("charges.response", "correlation.job", "lammps.convert"):
        result = bare("python", "-c", f"import vibraloom.calculators.{name}")
        assert result.returncode == 0, f"{name}: {result.stderr}"
