"""The wheel holds every room whole, under one import name, and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

SHIPPED = (".py", ".yaml", ".yml", ".json", ".typed")
FOLDERS = ("templates", "static", "models", "migrations")


def _rooms(root: Path, pyproject: dict[str, Any]) -> dict[str, Path]:
    """Import name → folder of each top-level room and of the ground."""
    mapping = pyproject["tool"]["setuptools"]["package-dir"]
    return {"vibraloom": root / mapping[""] / "vibraloom"} | {
        name: root / folder for name, folder in mapping.items() if name
    }


def _tree(root: Path, pyproject: dict[str, Any]) -> set[str]:
    """Paths in the wheel that the tree's files must have."""
    found = set()
    for name, folder in _rooms(root, pyproject).items():
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if not path.is_file() or "__pycache__" in inside.parts:
                continue
            if path.suffix in SHIPPED or path.name == "py.typed" or set(inside.parts[:-1]) & set(FOLDERS):
                found.add(f"{name.replace('.', '/')}/{inside.as_posix()}")
    return found


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_equals_the_tree(wheel: Path, root: Path, pyproject: dict[str, Any]) -> None:
    packed = {name for name in _names(wheel) if ".dist-info/" not in name}
    tree = _tree(root, pyproject)
    assert len(tree) > 100
    assert tree - packed == set(), "in the tree but not in the wheel: add the package to pyproject.toml"
    assert packed - tree == set(), "in the wheel but not in the tree"


def test_every_room_at_the_top_is_mapped_and_packaged(root: Path, pyproject: dict[str, Any]) -> None:
    at_the_top = {path.parent.name for path in root.glob("*/__init__.py")}
    mapped = {folder for name, folder in pyproject["tool"]["setuptools"]["package-dir"].items() if name}
    assert at_the_top == mapped
    listed = set(pyproject["tool"]["setuptools"]["packages"])
    folders = {
        ".".join([name, *path.parent.relative_to(folder).parts])
        for name, folder in _rooms(root, pyproject).items()
        for path in folder.rglob("__init__.py")
    }
    assert folders == listed


def test_the_wheel_has_one_top_level_module_and_no_tests_or_docs(wheel: Path) -> None:
    names = _names(wheel)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"vibraloom"}
    for unwanted in ("tests", "docs", "benchmarks", "examples", ".typing"):
        assert not any(unwanted in name.split("/") for name in names), unwanted


def test_the_wheel_carries_licence_types_and_a_command(wheel: Path) -> None:
    names = _names(wheel)
    assert "vibraloom/py.typed" in names
    (licence,) = (name for name in names if name.endswith("licenses/LICENSE"))
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "MIT License" in archive.read(licence).decode()
        assert "vibraloom = vibraloom.app.cli:main" in archive.read(entry_points).decode()
