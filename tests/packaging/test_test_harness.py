"""The suite's own promises: a skip cannot hide where all is required, nothing reaches the user's home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vibraloom.settings import user_folder

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TESTS = """
import pytest

def test_skipped():
    pytest.skip("the engine is asleep")

@pytest.mark.xfail(reason="known")
def test_expected_failure():
    assert False

@pytest.mark.reference_data
def test_with_data(reference_data):
    assert reference_data.is_dir()
"""
MODULE = 'import pytest\n\npytest.importorskip("no_such_package_here")\n'


def _outcome(folder: Path, **variables: str) -> str:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {CONFTEST.parent}\nmarkers =\n    reference_data: data\n"
    )
    (folder / "test_inside.py").write_text(TESTS)
    (folder / "test_whole_module.py").write_text(MODULE)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VIBRALOOM_", "PYTEST_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-rA",
        "--continue-on-collection-errors",
        str(folder),
    ]
    result = subprocess.run(command, cwd=folder, env=kept | variables, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def test_a_skip_fails_where_all_is_required(tmp_path: Path) -> None:
    text = _outcome(tmp_path, VIBRALOOM_REQUIRE_ALL="1")
    assert "allows no skip, but: the engine is asleep" in text
    assert "allows no skip, but: could not import 'no_such_package_here'" in text
    assert "1 failed, 1 skipped, 1 xfailed, 1 error" in text


def test_a_skip_stays_a_skip_elsewhere(tmp_path: Path) -> None:
    assert "3 skipped, 1 xfailed" in _outcome(tmp_path)


def test_reference_data_is_used_where_it_is_named(tmp_path: Path) -> None:
    assert "1 passed, 2 skipped, 1 xfailed" in _outcome(tmp_path, VIBRALOOM_REFERENCE_DATA=str(tmp_path))


def test_no_test_can_write_the_users_home() -> None:
    home = Path.home()
    assert not Path(os.environ["AIIDA_PATH"]).is_relative_to(home / ".aiida")
    assert not user_folder().is_relative_to(home)


def test_the_project_is_a_real_profile(project: Path) -> None:
    from aiida import orm
    from aiida.manage.configuration import get_config, settings

    assert settings.AiiDAConfigDir.get() == project / ".aiida"
    assert "vibraloom" in get_config().profile_names
    assert orm.load_computer("localhost").is_configured
    assert Path(str(orm.load_code("python@localhost").filepath_executable)).is_file()
    assert project.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("in_project")
def test_a_test_inside_the_project_finds_it(project: Path) -> None:
    from vibraloom.settings import project_folder

    assert project_folder() == project


@pytest.mark.usefixtures("in_project")
def test_the_command_runs_inside_the_project(cli, project: Path) -> None:  # type: ignore[no-untyped-def]
    from aiida import orm

    from vibraloom.workflows.attempts import SPEC_HASH

    run = orm.WorkChainNode().store()
    run.base.extras.set(SPEC_HASH, "b" * 64)
    try:
        result = cli("status", "--json")
    finally:
        run.base.extras.delete(SPEC_HASH)
    assert result.returncode == 0, result.stderr
    assert run.uuid in {each["id"] for each in json.loads(result.stdout)}
    assert cli("env").stdout.count(str(project)) >= 1
