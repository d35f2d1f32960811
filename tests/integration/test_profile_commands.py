"""init, doctor, env, uninstall: what they make, say and remove."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project


@pytest.fixture(scope="module")
def project(new_project: NewProject) -> Project:
    return new_project()


def test_init_is_safe_to_repeat(project: Project) -> None:
    assert "all there already" in project.run("init")
    home = project.folder / ".vibraloom"
    assert home.stat().st_mode & 0o777 == 0o700
    assert {"work", "log", "made-by-init", ".aiida"} <= {path.name for path in home.iterdir()}


def test_commands_find_the_project_from_a_folder_below(project: Project) -> None:
    below = project.folder / "a" / "b"
    below.mkdir(parents=True)
    process = subprocess.run(
        ["vibraloom", "list", "--json"],
        cwd=below,
        env={**project.environment(), "PATH": path_of(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(process.stdout) == []


def path_of(project: Project) -> str:
    lines = dict(line.removeprefix("export ").split("=", 1) for line in project.run("env").splitlines())
    return lines["PATH"]


def test_env_lets_verdi_see_the_profile_and_our_entry_points(project: Project) -> None:
    script = 'eval "$(vibraloom env)" && verdi profile show && verdi computer list -a && verdi plugin list aiida.workflows'
    process = subprocess.run(
        ["bash", "-c", script],
        cwd=project.folder,
        env={**project.environment(), "PATH": path_of(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "vibraloom" in process.stdout
    assert "localhost" in process.stdout
    assert "vibraloom.spectra" in process.stdout


def test_doctor_tells_what_works_and_where_settings_come_from(project: Project) -> None:
    report = json.loads(project.run("doctor", "--json"))
    found = {entry["what"]: entry for entry in report["findings"]}
    assert all(entry["good"] for entry in report["findings"])
    assert "lmp@localhost" in found["project"]["said"]
    assert {entry["name"] for entry in report["settings"]} == {"profile", "computer", "cores"}
    (project.folder / ".vibraloom" / "settings.yaml").write_text("cores: 1\n", encoding="utf-8")
    cores = next(entry for entry in json.loads(project.run("doctor", "--json"))["settings"] if entry["name"] == "cores")
    assert cores["value"] == "1"
    assert cores["origin"].endswith("settings.yaml")


def test_a_profile_of_a_newer_version_is_refused_in_one_line(new_project: NewProject) -> None:
    project = new_project()
    marker = project.folder / ".vibraloom" / "made-by-init"
    marker.write_text("schema: 99\n", encoding="utf-8")
    for command in (("list",), ("init",)):
        error = project.run(*command, code=2)
        assert error.count("\n") == 1
        assert "schema: 99: allowed: 1 to 1" in error


def test_without_a_project_the_command_that_makes_one_is_named(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    process = subprocess.run(
        ["vibraloom", "list"],
        cwd=elsewhere,
        env={**project.environment(), "PATH": path_of(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 4
    assert process.stderr.endswith("run: vibraloom init\n")
    assert list(elsewhere.iterdir()) == []


def test_uninstall_removes_what_init_made_and_nothing_else(new_project: NewProject) -> None:
    project = new_project()
    (project.folder / "mine.txt").write_text("mine", encoding="utf-8")
    project.run("uninstall", "--yes")
    assert {path.name for path in project.folder.iterdir()} == {"mine.txt"}
    project.run("uninstall", "--yes", code=4)


def test_the_daemon_runs_a_submitted_spec_and_goes_with_the_project(new_project: NewProject) -> None:
    import time

    project = new_project()
    project.write_film("0.1 ps")
    said = project.run("submit", "film.yaml")
    assert "submitted as run" in said
    end = time.monotonic() + 180
    while (state := project.json("status")[-1]["state"]) not in ("finished", "excepted", "killed") and time.monotonic() < end:
        time.sleep(1)
    assert state == "finished"
    assert len(project.json("list")) == 3
    project.run("uninstall", "--yes")
    assert not (project.folder / ".vibraloom").exists()
