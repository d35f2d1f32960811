"""The command starts light, and every process has its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("numpy", "scipy", "numba", "h5py", "aiida", "ase", "pydantic", "matplotlib", "tensorflow", "pyscf")
BIN = Path(sys.executable).parent
FAMILIES = ("aiida.calculations", "aiida.data", "aiida.groups", "aiida.parsers", "aiida.workflows")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom vibraloom.app.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "heavy: []"


def test_every_entry_point_loads_one_object_under_its_name(pyproject: dict[str, Any]) -> None:
    for family in FAMILIES:
        for name, target in pyproject["project"]["entry-points"][family].items():
            assert name.startswith("vibraloom."), name
            module, _, attribute = target.partition(":")
            loaded = getattr(import_module(module), attribute)
            assert loaded.__module__ == module, (
                f"{name}: defined in {loaded.__module__}, so AiiDA would store another type"
            )


def test_installed_entry_points_are_those_of_pyproject(pyproject: dict[str, Any]) -> None:
    for family in FAMILIES:
        installed = {
            point.name: point.value
            for point in metadata.entry_points(group=family)
            if point.name.startswith("vibraloom")
        }
        assert installed == pyproject["project"]["entry-points"][family], f"{family}: run make again"


@pytest.mark.parametrize("family", ["aiida.workflows", "aiida.calculations", "aiida.data", "aiida.parsers"])
def test_verdi_lists_the_plugins(family: str, pyproject: dict[str, Any], tmp_path: Path) -> None:
    result = subprocess.run(
        [str(BIN / "verdi"), "plugin", "list", family],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"AIIDA_PATH": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    shown = set(result.stdout.replace("*", " ").split())
    missing = set(pyproject["project"]["entry-points"][family]) - shown
    assert not missing, missing


@pytest.mark.soak
def test_the_workflows_extra_alone_brings_every_plugin(wheel: Path, tmp_path: Path, pyproject: dict[str, Any]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CONFIG_HOME", "PYTHONPATH")}
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    programs = tmp_path / "environment" / "bin"
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[workflows]"]
    subprocess.run(install, check=True, env=environment)
    environment |= {"AIIDA_PATH": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
    for family in ("aiida.workflows", "aiida.calculations", "aiida.data", "aiida.parsers"):
        listing = [str(programs / "verdi"), "plugin", "list", family]
        shown = subprocess.run(listing, capture_output=True, text=True, check=True, env=environment).stdout
        assert set(pyproject["project"]["entry-points"][family]) <= set(shown.replace("*", " ").split())
        for name in pyproject["project"]["entry-points"][family]:
            described = subprocess.run([*listing, name], capture_output=True, text=True, check=False, env=environment)
            assert described.returncode == 0, f"{name}: {described.stderr or described.stdout}"
