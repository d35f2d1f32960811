"""The profile on PostgreSQL and RabbitMQ: made from a YAML, used by the same commands, removed without a trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from services.full_profile import Servers
    from tests.conftest import NewProject, Project

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "full-profile.md"


def findings(project: Project, code: int = 0) -> dict[str, dict[str, Any]]:
    """What doctor found, by its name."""
    process = project.start("doctor", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"{out}\n{err}"
    return {entry["what"]: entry for entry in json.loads(out)["findings"]}


def config_of(project: Project) -> Path:
    return project.folder / ".vibraloom" / ".aiida" / "config.json"


def profile_of(project: Project) -> dict[str, Any]:
    profile: dict[str, Any] = json.loads(config_of(project).read_text(encoding="utf-8"))["profiles"]["vibraloom"]
    return profile


def one_line(error: str) -> str:
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_init_is_safe_to_repeat_and_takes_over_what_is_new_in_the_file(servers: Servers, bare_project: Project) -> None:
    password = servers.make_user("maker")
    servers.file(bare_project.folder, "maker", password, broker__consumer_timeout_raised="false")
    first = bare_project.run("init", "--full", "full.yaml")
    for made in ("database maker", "profile vibraloom (PostgreSQL at", "computer localhost", "code python@", "code lmp@"):
        assert f"made {made}" in first
    second = bare_project.run("init", "--full", "full.yaml")
    assert second.endswith("all there already\n")
    assert second.count("\n") == 1
    profile = profile_of(bare_project)
    assert profile["storage"]["backend"] == "core.psql_dos"
    assert profile["process_control"]["backend"] == "core.rabbitmq"
    assert profile["options"]["caching.enabled_for"] == ["aiida.calculations:vibraloom.*"]

    found = findings(bare_project, code=4)
    release = servers.rabbitmq.control("eval", "rabbit_misc:version().").strip().strip('"')
    assert f"RabbitMQ {release} at 127.0.0.1:{servers.rabbitmq.port}" in found["profile"]["said"]
    (version,) = servers.postgresql.sql("SHOW server_version")[0]
    assert f"full (PostgreSQL {str(version).split()[0]} at 127.0.0.1:{servers.postgresql.port}" in found["profile"]["said"]
    assert [name for name, entry in found.items() if not entry["good"]] == ["RabbitMQ consumer_timeout"]

    servers.file(bare_project.folder, "maker", password, daemon__workers=3)
    third = bare_project.run("init", "--full", "full.yaml")
    assert "brought up to date with full.yaml" in third
    assert "RabbitMQ consumer_timeout" not in (found := findings(bare_project))
    assert profile_of(bare_project)["options"]["daemon.default_workers"] == 3

    for secret in (password, servers.rabbitmq.password):
        assert secret not in first + second + third + json.dumps(found)
    holders = [path for path in config_of(bare_project).parent.iterdir() if path.is_file()]
    assert holders
    assert {path.stat().st_mode & 0o777 for path in holders} == {0o600}
    assert (bare_project.folder / ".vibraloom").stat().st_mode & 0o777 == 0o700

    # a project that goes leaves its database, which is then given to no other project
    said = bare_project.run("uninstall", "--yes")
    assert "database maker of PostgreSQL" in said and "stays" in said
    assert servers.has_database("maker")
    error = one_line(bare_project.run("init", "--full", "full.yaml", code=2))
    assert "postgresql.database: maker: holds an AiiDA profile already" in error
    assert not (bare_project.folder / ".vibraloom").exists()


def test_a_short_consumer_timeout_is_told_whatever_the_file_says(
    servers: Servers, bare_project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path_factory.mktemp("bin")
    servers.rabbitmq.put_control(programs)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    password = servers.make_user("waiter")
    raised = servers.rabbitmq.control("eval", "application:get_env(rabbit, consumer_timeout).").strip()[len("{ok,") : -1]

    def init() -> str:
        process = bare_project.start("init", "--full", "full.yaml")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{out}\n{err}"
        return err

    servers.file(bare_project.folder, "waiter", password, broker__consumer_timeout_raised="true")
    servers.rabbitmq.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
    try:
        warning = init()
        found = findings(bare_project, code=4)["RabbitMQ consumer_timeout"]
    finally:
        servers.rabbitmq.control("eval", f"application:set_env(rabbit, consumer_timeout, {raised}).")
    assert warning.startswith("warning: RabbitMQ ") and "longer than 30 minutes" in warning and "rabbitmq.conf" in warning
    assert not found["good"] and "longer than 30 minutes" in found["said"]

    servers.file(bare_project.folder, "waiter", password, broker__consumer_timeout_raised="false")
    assert init() == "", "the server itself says that it is raised"
    assert "RabbitMQ consumer_timeout" not in findings(bare_project)


def test_the_daemon_runs_a_spec_through_rabbitmq_into_postgresql(full_project: Project, servers: Servers) -> None:
    full_project.write_film("0.1 ps", **{"name: thin-film": "name: through-rabbitmq"})
    assert "submitted as run" in full_project.run("submit", "film.yaml")
    queue = f"aiida-{profile_of(full_project)['PROFILE_UUID']}.process.queue"
    assert servers.queues()[queue] == 1
    (run,) = (entry["id"] for entry in full_project.json("status") if entry["name"] == "through-rabbitmq")
    end = time.monotonic() + 120
    while (state := servers.state(run, "full")) not in ("finished", "excepted", "killed"):
        assert time.monotonic() < end, state
        time.sleep(0.5)
    assert state == "finished"
    entries = full_project.json("list", "--name", "through-rabbitmq")
    assert sorted(entry["quantity"] for entry in entries) == ["slab_response_normal", "slab_response_parallel", "vdos"]
    assert len(full_project.json("list", "--quantity", "Slab", "--name", "through-rabbitmq")) == 2
    shown = " ".join(full_project.run("show", entries[0]["id"][:8]).split())
    for step in ("Correlation", "TrajectoryFile", "Lammps", "build_structure"):
        assert step in shown
    (stored,) = servers.postgresql.sql("SELECT count(*) FROM db_dbnode", database="full")[0]
    assert isinstance(stored, int) and stored > 20
    # a foreground run needs no broker and finds what the daemon did
    process = full_project.start("run", "film.yaml", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and json.loads(out)
    assert f"finished before as run {run[:8]}" in err


def test_uninstall_leaves_no_queue_and_no_daemon_behind(servers: Servers, bare_project: Project) -> None:
    import psutil

    servers.file(bare_project.folder, "leaver", servers.make_user("leaver"))
    bare_project.run("init", "--full", "full.yaml")
    before = servers.queues()
    bare_project.write_film("0.1 ps")
    bare_project.run("submit", "film.yaml")
    assert len(set(servers.queues()) - set(before)) >= 1
    said = bare_project.run("uninstall", "--yes", "--drop-database")
    assert "database leaver of PostgreSQL" in said and "will be dropped" in said
    assert not servers.has_database("leaver")
    assert [name for name in set(servers.queues()) - set(before) if name.startswith("aiida-")] == []
    named = [process for process in psutil.process_iter(["cmdline"]) if str(bare_project.folder) in str(process.info["cmdline"])]
    assert named == []


def test_what_the_user_may_not_do_is_answered_with_the_sql_that_does_it(servers: Servers, bare_project: Project) -> None:
    servers.file(bare_project.folder, "humble", servers.make_user("humble", may_make_databases=False))
    error = one_line(bare_project.run("init", "--full", "full.yaml", code=4))
    servers.postgresql.sql("CREATE" + error.split("CREATE", 1)[1])
    servers.postgresql.sql('ALTER DATABASE "humble" OWNER TO postgres')
    error = one_line(bare_project.run("init", "--full", "full.yaml", code=4))
    assert not (bare_project.folder / ".vibraloom").exists()
    servers.postgresql.sql("ALTER" + error.split("ALTER", 1)[1])
    assert "made database" not in bare_project.run("init", "--full", "full.yaml")
    bare_project.run("uninstall", "--yes", "--drop-database")
    assert not servers.has_database("humble")


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"postgresql__port": 1}, 4, "PostgreSQL at 127.0.0.1:1 is not reachable (Connection refused); start it"),
        ({"postgresql__host": "no-such-machine.invalid"}, 4, "PostgreSQL at no-such-machine.invalid:"),
        ({"broker__port": 1}, 4, "RabbitMQ at 127.0.0.1:1 is not reachable (Connection refused); start it"),
        ({"broker__user": "stranger"}, 2, "user stranger was not let in"),
        ({"broker__virtual_host": "nowhere"}, 2, "vhost nowhere not found); correct user, password and virtual_host"),
        ({"postgresql__user": "stranger"}, 2, "user stranger was not let into database faults"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_server_that_does_not_let_us_in_is_named_before_anything_is_written(
    servers: Servers, bare_project: Project, changes: dict[str, object], code: int, said: str
) -> None:
    if not servers.postgresql.sql("SELECT 1 FROM pg_roles WHERE rolname = 'faults'"):
        servers.make_user("faults")
    servers.file(bare_project.folder, "faults", "faults/@:%#", **changes)
    error = one_line(bare_project.run("init", "--full", "full.yaml", code=code))
    assert said in error
    assert not any(word in error for word in ("faults/@", servers.rabbitmq.password, "Traceback"))
    assert not (bare_project.folder / ".vibraloom").exists()
    assert not servers.has_database("faults")


def test_a_project_stays_where_it_is_kept(servers: Servers, new_project: NewProject) -> None:
    project = new_project()
    servers.file(project.folder, "mover", servers.make_user("mover"))
    error = one_line(project.run("init", "--full", "full.yaml", code=2))
    assert "but this project is kept in SQLite" in error
    assert not servers.has_database("mover")
    assert project.json("list") == []


@pytest.fixture
def broken(full_project: Project) -> Any:
    """Write a changed profile configuration; the old one comes back after the test."""
    path = config_of(full_project)
    before = path.read_text(encoding="utf-8")

    def change(act: Callable[[dict[str, Any]], None]) -> None:
        config = json.loads(before)
        act(config["profiles"]["vibraloom"])
        path.write_text(json.dumps(config), encoding="utf-8")

    yield change
    path.write_text(before, encoding="utf-8")


def test_a_database_server_that_is_down_is_told_in_one_line(full_project: Project, broken: Any) -> None:
    broken(lambda profile: profile["storage"]["config"].update(database_port=1))
    for command in ("list", "init"):
        error = one_line(full_project.run(command, code=4))
        assert "PostgreSQL at 127.0.0.1:1 is not reachable" in error
    assert findings(full_project, code=4)["project"]["good"] is False


def test_a_broker_that_is_down_stops_submit_before_a_run_is_made(full_project: Project, broken: Any) -> None:
    broken(lambda profile: profile["process_control"]["config"].update(broker_port=1))
    full_project.write_film("0.2 ps", "other.yaml", **{"name: thin-film": "name: never-made"})
    error = one_line(full_project.run("submit", "other.yaml", code=4))
    assert "RabbitMQ at 127.0.0.1:1 is not reachable" in error
    assert "never-made" not in full_project.run("status", "--json")
    assert findings(full_project, code=4)["profile"]["good"] is False


def test_the_how_to_runs_as_it_stands_on_these_servers(servers: Servers, bare_project: Project) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"(?<!-->\n)^```bash\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) == 3
    script = "\n".join(["set -euo pipefail", *blocks])
    for told, here in {
        "port: 5432": f"port: {servers.postgresql.port}",
        "port: 5672, user: vibraloom": f"port: {servers.rabbitmq.port}, user: {servers.rabbitmq.user}",
    }.items():
        assert told in script
        script = script.replace(told, here)
    environment = bare_project.environment() | {
        "PATH": f"{Path(sys.executable).parent}:{bare_project.environment()['PATH']}",
        "DATABASE_PASSWORD": servers.make_user("vibraloom"),
        "BROKER_PASSWORD": servers.rabbitmq.password,
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=bare_project.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "made database interface" in done.stdout
    assert "brought up to date with full.yaml" in done.stdout
    assert "full (PostgreSQL" in done.stdout
    assert not servers.has_database("interface")
