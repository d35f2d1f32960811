"""The reference pages cover the code, and every link in the documentation leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from vibraloom.app.cli import COMMANDS, main
from vibraloom.settings import DEFAULTS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LARGEST_PICTURE = 200_000


def commands(name: str = "vibraloom", command: click.Command = main) -> Iterator[tuple[str, click.Command]]:
    """Every command of the program with its full name."""
    yield name, command
    if isinstance(command, click.Group):
        names = [*COMMANDS] if command is main else command.list_commands(click.Context(command))
        for child in names:
            found = command.get_command(click.Context(command), child)
            assert found is not None
            yield from commands(f"{name} {child}", found)


def test_the_reference_pages_are_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, str(REFERENCE / "generate.py"), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "reference"
    folder.mkdir(parents=True)
    for path in REFERENCE.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    page = folder / "settings.md"
    page.write_text(page.read_text(encoding="utf-8").replace("VIBRALOOM_CORES", "VIBRALOOM_KERNELS"), encoding="utf-8")
    command = [sys.executable, str(folder / "generate.py")]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 1
    assert checked.stderr.splitlines() == ["settings.md: stale; run: python docs/reference/generate.py"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert page.read_text(encoding="utf-8") == (REFERENCE / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_option_of_every_command_is_in_the_reference(name: str, command: click.Command) -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
    for parameter in command.params:
        words = parameter.opts if isinstance(parameter, click.Option) else [parameter.make_metavar(click.Context(command))]
        for word in words:
            assert word in section, f"{name}: {word}"


def keys(block: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of the keys of a spec, read from its JSON schema."""
    for key, entry in block["properties"].items():
        yield f"{prefix}{key}"
        for option in [entry, *entry.get("anyOf", ()), *entry.get("oneOf", ())]:
            if "$ref" in option:
                inner = definitions[option["$ref"].rsplit("/", 1)[1]]
                kind = inner["properties"].get("kind", {}).get("const")
                yield from keys(inner, definitions, f"{prefix}{key}({kind})." if kind else f"{prefix}{key}.")


def test_every_key_of_a_spec_is_in_the_reference() -> None:
    from vibraloom.workflows.spec import json_schema

    schema = json_schema()
    text = (REFERENCE / "spec.md").read_text(encoding="utf-8")
    names = list(keys(schema, schema["$defs"]))
    assert {"name", "dynamics.length", "system(interface).slab.facet", "labels.sample.temperature"} <= set(names)
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_every_setting_is_in_the_reference() -> None:
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    for name in DEFAULTS:
        assert f"| `{name}` | `VIBRALOOM_{name.upper()}` |" in text


def test_every_environment_variable_that_the_code_reads_is_in_the_reference() -> None:
    rooms = ("app", "calculators", "database", "files", "nodes", "spectra", "src", "structures", "workflows")
    sources = [path.read_text(encoding="utf-8") for room in rooms for path in (ROOT / room).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r"environ[^\n]*?[\"'](VIBRALOOM_[A-Z_]+)[\"']", text)}
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    assert "VIBRALOOM_HOME" in read
    assert [name for name in sorted(read) if name not in text] == []


def test_every_entry_point_is_in_the_reference() -> None:
    import tomllib

    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    text = (REFERENCE / "processes.md").read_text(encoding="utf-8")
    names = [f"| `{name}` | `{target}` |" for group in points.values() for name, target in group.items()]
    assert [name for name in names if name not in text] == []


def test_every_public_name_of_spectra_is_in_the_reference() -> None:
    from vibraloom import spectra

    text = (REFERENCE / "python-api.md").read_text(encoding="utf-8")
    assert [name for name in spectra.__all__ if f"\n## {name}\n" not in text] == []


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert path.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(path), target


def test_files_and_tests_that_pages_name_are_there() -> None:
    # `spectra/raman.py`, `tests/physics/x.py`: a path with a folder and a suffix, from the root
    for page in PAGES:
        for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|yaml|md))`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file(), f"{page.name}: {name}"


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target).resolve()
        for target in re.findall(r"\]\(([^)#\s]+)\)", index.read_text(encoding="utf-8"))
        if not target.startswith("http")
    }
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - linked == {index.resolve()}


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs").rglob("*.png"))
    assert pictures
    assert all(picture.stat().st_size <= LARGEST_PICTURE for picture in pictures)


def test_the_changelog_speaks_of_this_version() -> None:
    from vibraloom import __version__

    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
