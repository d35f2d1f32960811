"""The wheel, built once from a copy of the tree, and a bare environment that holds nothing but it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    """pyproject.toml as a dictionary."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pip_environment() -> dict[str, str]:
    """Environment for pip: the user's own pip settings, which the other tests do not see."""
    return {name: value for name, value in os.environ.items() if name not in ("XDG_CONFIG_HOME", "PYTHONPATH")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a release; built from a copy, for setuptools leaves build/ behind and reads it again."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "tree"
    unwanted = shutil.ignore_patterns(
        ".git",
        ".venv",
        ".vibraloom",
        "build",
        "dist",
        "demo-output",
        "*.egg-info",
        "__pycache__",
        ".*_cache",
        ".hypothesis",
    )
    shutil.copytree(ROOT, copy, symlinks=True, ignore=unwanted)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def bare_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs (bin/) of a new environment with the wheel and its light dependencies."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    venv.create(folder, with_pip=True)
    command = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary=:all:",
        str(wheel),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=pip_environment())
    assert result.returncode == 0, result.stderr
    return folder / "bin"


@pytest.fixture
def bare(bare_environment: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``bare("vibraloom", "--version")`` runs a program of the bare environment in a new folder."""

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(bare_environment / program), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=pip_environment()
            | {"VIRTUAL_ENV": str(bare_environment.parent), "PATH": f"{bare_environment}:/usr/bin:/bin"},
        )

    return run
