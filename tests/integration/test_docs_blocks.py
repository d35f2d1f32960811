"""The code blocks of the documentation run, in order, as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from vibraloom.validation import validated
from vibraloom.workflows.spec import Spec

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
FIRST = "docs/tutorial/first-light.md"
SHARED = (
    FIRST,
    "docs/how-to/interrupted-runs.md",
    "docs/how-to/export-archive.md",
    "docs/how-to/use-verdi.md",
)
"""Pages that need a project with spectra in it; they run in this order in the tutorial's folder."""
SERVED = {"docs/how-to/full-profile.md", "docs/how-to/from-laptop-to-your-cluster.md"}
"""Pages that need servers: the tests that start those run them."""
REASONS = {"make target", "installs software", "changes the folder", "needs an editor"}
"""Why a block may stand without being run."""
MOST_UNRUN = 8
"""Blocks that may stand without being run, in all pages together."""
LANGUAGES = ("bash", "python")

BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, found.start("code")), found["language"], found["code"], found["reason"])
        for found in BLOCK.finditer(text)
    ]


def script_of(page: Path) -> str:
    """One bash script that runs the blocks of a page in one shell and says on stderr where it is."""
    lines = ["set -euo pipefail"]
    for block in blocks_of(page):
        if block.language not in LANGUAGES or block.reason:
            continue
        lines.append(f"echo '== {block.page}:{block.line}' >&2")
        if block.language == "bash":
            lines.append(block.code)
        else:
            lines.append(f"python - <<'END_OF_PYTHON_BLOCK'\n{block.code}\nEND_OF_PYTHON_BLOCK")
    return "\n".join(lines)


def run_page(name: str, folder: Path) -> str:
    """Run the blocks of a page in ``folder``; its standard output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VIBRALOOM_", "AIIDA_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script_of(ROOT / name)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def runnable(page: Path) -> bool:
    """Whether a page has a block to run."""
    return any(block.language in LANGUAGES and not block.reason for block in blocks_of(page))


ALONE = [
    name
    for page in PAGES
    if runnable(page) and (name := page.relative_to(ROOT).as_posix()) not in SHARED and name not in SERVED
]
"""Pages that need nothing from another one."""


@pytest.fixture(scope="module")
def pages_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str]]]:
    """The pages that stand alone, each run in a folder of its own beside those that share a project."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield {name: pool.submit(run_page, name, tmp_path_factory.mktemp("alone")) for name in ALONE}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, pages_alone: dict[str, Future[str]]) -> tuple[Path, str]:
    """The folder in which the tutorial was run, and what it printed."""
    folder = tmp_path_factory.mktemp("first-light")
    return folder, run_page(FIRST, folder)


def test_the_tutorial_leads_to_spectra_with_a_verdict(project: tuple[Path, str]) -> None:
    folder, said = project
    assert {"overview.png", "provenance.png", "vdos.csv", "ir_normal.jdx"} <= {
        path.name for path in (folder / "spectra").iterdir()
    }
    assert "only 4 blocks, 8 are needed" in said
    assert "water-only response, no image charge; the trajectories had" in " ".join(said.split())
    for name in ("vdos.png", "where-from.png", "vdos.jdx"):
        assert (folder / name).stat().st_size > 1000


def test_the_tutorials_killed_run_is_finished_by_the_same_command(project: tuple[Path, str]) -> None:
    _, said = project
    status = said[said.rindex("message") :]
    assert re.search(r"interrupted.*(excepted|failed)", status)
    assert re.search(r"interrupted.*finished", status)


@pytest.mark.parametrize("name", SHARED[1:])
def test_pages_that_need_a_project_run_in_the_tutorials(name: str, project: tuple[Path, str]) -> None:
    run_page(name, project[0])


@pytest.mark.parametrize("name", ALONE)
def test_pages_run_as_they_stand(name: str, pages_alone: dict[str, Future[str]]) -> None:
    assert pages_alone[name].result(timeout=600) is not None


def test_blocks_that_are_not_run_are_few_and_say_why() -> None:
    unrun = [block for page in PAGES for block in blocks_of(page) if block.reason is not None]
    assert {block.reason for block in unrun} <= REASONS
    assert len(unrun) <= MOST_UNRUN, [f"{block.page}:{block.line}" for block in unrun]


def test_every_fence_is_seen_and_names_its_language() -> None:
    for page in PAGES:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.M)
        blocks = blocks_of(page)
        assert len(fences) == 2 * len(blocks), page
        assert all(block.language in (*LANGUAGES, "yaml", "text", "json") for block in blocks), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_specs_in_the_pages_are_valid(page: Path) -> None:
    import yaml

    for block in blocks_of(page):
        if block.language == "yaml" and "version: 1" in block.code:
            validated(Spec, yaml.safe_load(block.code), f"{block.page}:{block.line}")
