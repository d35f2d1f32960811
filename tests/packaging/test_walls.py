"""The walls stand: every module is seen, breaches are caught, compute nodes need only their extra."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOMS = (
    "app",
    "calculators",
    "cluster_profiles",
    "database",
    "files",
    "nodes",
    "spectra",
    "structures",
    "workflows",
)
BIN = Path(sys.executable).parent
LIGHT = {"numpy", "scipy", "numba", "h5py", "pydantic", "yaml"}
DFT = {"ase", "pyscf", "tblite"}
DEEPMD = {"ase", "deepmd", "dpdata"}
NEEDS = {
    "ase.dynamics": DFT | DEEPMD,
    "ase.harmonic": DFT | DEEPMD,
    "ase.sampling": DFT | DEEPMD,
    "charges.response": set(),
    "committee.labels": set(),
    "correlation.job": set(),
    "cp2k.convert": set(),
    "cp2k.left_behind": set(),
    "cp2k.response_job": set(),
    "deepmd.response": DFT | DEEPMD,
    "deepmd.training": DFT | DEEPMD,
    "lammps.checkpoints": set(),
    "lammps.convert": set(),
    "pyscf.labels": DFT,
}
"""Script that runs on a compute node → packages that it may reach beyond the light installation."""


@pytest.fixture(scope="module")
def tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the rooms, the ground, .typing and pyproject.toml, to breach walls in."""
    copy = tmp_path_factory.mktemp("tree")
    for name in (*ROOMS, "src", ".typing"):
        shutil.copytree(
            root / name,
            copy / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
    shutil.copy(root / "pyproject.toml", copy)
    return copy


def _lint(tree: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree / ".typing"), "COLUMNS": "400", "NO_COLOR": "1"}
    command = [str(BIN / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_every_wall_stands(tree: Path) -> None:
    result = _lint(tree)
    assert result.returncode == 0, result.stdout
    assert ", 0 broken" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/vibraloom/units.py", "import vibraloom.spectra.spectrum"),
        ("src/vibraloom/errors.py", "import numba"),
        ("spectra/correlation.py", "import h5py"),
        ("spectra/correlation.py", "import vibraloom.files.trajectory"),
        ("structures/slab.py", "import vibraloom.spectra.spectrum"),
        ("structures/slab.py", "import aiida"),
        ("structures/molecules.py", "import ase"),
        ("structures/layers.py", "import pymatgen"),
        ("cluster_profiles/__init__.py", "import numba"),
        ("files/tables.py", "import aiida"),
        ("files/tables.py", "import vibraloom.spectra.infrared"),
        ("nodes/spectrum.py", "import vibraloom.structures.slab"),
        ("calculators/charges/response.py", "import aiida"),
        ("calculators/charges/response.py", "import vibraloom.nodes.spectrum"),
        ("calculators/charges/response.py", "import vibraloom.calculators.charges.calcjob"),
        ("calculators/charges/response.py", "import vibraloom.structures.slab"),
        ("calculators/lammps/calcjob.py", "import vibraloom.workflows.build"),
        ("calculators/job.py", "import vibraloom.database.graph"),
        ("database/__init__.py", "import aiida"),
        ("database/__init__.py", "import vibraloom.database.graph"),
        ("database/graph.py", "import vibraloom.calculators.job"),
        ("workflows/build.py", "import vibraloom.app.report"),
        ("workflows/build.py", "import matplotlib"),
    ],
)
def test_a_breach_is_caught(tree: Path, path: str, line: str) -> None:
    source = tree / path
    text = source.read_text()
    try:
        source.write_text(f"{text}\n\ndef _breach():\n    {line}\n")
        result = _lint(tree)
    finally:
        source.write_text(text)
    assert result.returncode == 1, f"{line} in {path} went unseen"
    assert " BROKEN" in result.stdout, result.stdout


def test_a_room_that_stands_in_no_list_is_caught(tree: Path) -> None:
    room = tree / ".typing" / "vibraloom" / "attic"
    try:
        room.mkdir()
        (room / "__init__.py").write_text("")
        result = _lint(tree)
        assert result.returncode == 1
        assert "attic" in result.stdout + result.stderr
    finally:
        shutil.rmtree(room)


@pytest.fixture(scope="module")
def graph(root: Path) -> grimp.ImportGraph:
    """Imports between all modules and to outside packages, as the symlinks in .typing show them."""
    program = (
        "import grimp, json;"
        "g = grimp.build_graph('vibraloom', include_external_packages=True, cache_dir=None);"
        "print(json.dumps({m: sorted(g.find_modules_directly_imported_by(m)) for m in g.modules}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(root / ".typing")},
        capture_output=True,
        text=True,
        check=True,
    )
    graph = grimp.ImportGraph()
    imports: dict[str, list[str]] = json.loads(result.stdout)
    for module in imports:
        graph.add_module(module)
    for module, imported in imports.items():
        for name in imported:
            graph.add_import(importer=module, imported=name)
    return graph


def test_the_graph_holds_every_module_of_every_room(graph: grimp.ImportGraph, root: Path) -> None:
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            name = ".".join(("vibraloom", room, *path.relative_to(root / room).with_suffix("").parts))
            assert name.removesuffix(".__init__") in graph.modules


def test_scripts_on_compute_nodes_reach_only_their_engines_packages(graph: grimp.ImportGraph, root: Path) -> None:
    scripts = {
        ".".join(path.relative_to(root / "calculators").with_suffix("").parts)
        for path in (root / "calculators").rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert scripts == set(NEEDS), "say in NEEDS which packages a new script may reach"
    for script, packages in NEEDS.items():
        reached = graph.find_upstream_modules(f"vibraloom.calculators.{script}")
        outside = {name for name in reached if not name.startswith("vibraloom")} - sys.stdlib_module_names
        assert outside <= LIGHT | packages, f"{script}: {sorted(outside - LIGHT - packages)}"


def test_extras_bring_what_their_scripts_import(pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    for extra, packages in (("dft", DFT), ("deepmd", {"ase", "deepmd-kit", "dpdata"})):
        named = {line.split("[")[0].split(">")[0].split("=")[0] for line in extras[extra]}
        assert packages <= named, extra


def test_symlinks_for_the_type_checkers_are_complete(root: Path, pyproject: dict[str, Any]) -> None:
    links = {path.name: path.resolve() for path in (root / ".typing" / "vibraloom").iterdir()}
    expected = {
        folder: (root / folder).resolve()
        for name, folder in pyproject["tool"]["setuptools"]["package-dir"].items()
        if name
    }
    for path in (root / "src" / "vibraloom").iterdir():
        if path.name != "__pycache__":
            expected[path.name] = path.resolve()
    assert links == expected, "ln -s the missing ones into .typing/vibraloom"
    assert all(path.is_symlink() for path in (root / ".typing" / "vibraloom").iterdir())


def test_bare_names_of_the_rooms_are_banned(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "bare.py"
    for room in ROOMS:
        for line in (f"import {room}", f"from {room} import x"):
            source.write_text(f"{line}\n")
            command = [
                str(BIN / "ruff"),
                "check",
                "--no-cache",
                "--select",
                "TID251",
                "--config",
                str(root / "pyproject.toml"),
                str(source),
            ]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            assert result.returncode == 1, line
            assert "TID251" in result.stdout, line
