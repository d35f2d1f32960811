"""A private PostgreSQL on the loopback interface: ``python -m services.postgresql start|stop FOLDER`` in tests/.

Everything lies in one folder: the data, the log and ``server.json`` with host, port, user and password. Root starts it
under the account ``postgres``, for the server refuses root.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from services.loopback import HOST, find_program, folder_for, free_port, run_by_hand, skip_without

PACKAGE = "postgresql"
SUPERUSER = "postgres"


@dataclass(frozen=True)
class Postgresql:
    """A server that runs: where it is and how its superuser gets in."""

    folder: str
    port: int
    password: str
    host: str = HOST
    user: str = SUPERUSER

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as superuser; rows, if it gives any."""
        import psycopg

        with psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def program(name: str = "initdb") -> str | None:
    """Path of a PostgreSQL program of the newest release here, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return find_program(name, *folders)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        # the server inherits them: a pipe would stay open as long as it runs
        stdout=(folder / "setup.log").open("a"),
        stderr=subprocess.STDOUT,
        **({"user": SUPERUSER, "group": SUPERUSER, "extra_groups": []} if os.geteuid() == 0 else {}),
        check=False,
    )
    if done.returncode:
        logs = [path.read_text(errors="replace") for path in (folder / "setup.log", folder / "log") if path.exists()]
        raise RuntimeError(f"{command[0]}: exit {done.returncode}\n" + "\n".join(logs))


def start(folder: Path, port: int | None = None) -> Postgresql:
    """Make a cluster in an empty folder and start its server; returns when it takes connections."""
    initdb, control = program("initdb"), program("pg_ctl")
    if initdb is None or control is None:
        raise FileNotFoundError(f"PostgreSQL is not installed; run: apt-get install {PACKAGE}")
    server = Postgresql(str(folder), port or free_port(), secrets.token_urlsafe(12))
    secret = folder / "password"
    for path, text in ((secret, server.password), (folder / "server.json", json.dumps(asdict(server)))):
        path.touch(mode=0o600)
        path.write_text(text + "\n", encoding="utf-8")
    if os.geteuid() == 0:
        shutil.chown(folder, SUPERUSER)
        shutil.chown(secret, SUPERUSER)
    data = str(folder / "data")
    _run(
        folder,
        *(initdb, "-D", data, "-U", SUPERUSER, "--pwfile", str(secret), "-A", "scram-sha-256"),
        *("-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
    )
    settings = {
        "port": server.port,
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "fsync": "off",
        "shared_buffers": "32MB",
    }
    options = " ".join(f"-c {key}={value}" for key, value in settings.items())
    _run(folder, control, "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "-t", "60", "start")
    return server


def stop(folder: Path) -> None:
    """Stop the server of this folder and remove the folder."""
    control = program("pg_ctl")
    if control is not None and (folder / "data" / "postmaster.pid").exists():
        _run(folder, control, "-D", str(folder / "data"), "-m", "fast", "-w", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server for the session; skips where none is installed."""
    skip_without(program(), "PostgreSQL", PACKAGE)
    folder = folder_for("postgresql")
    try:
        yield start(folder)
    finally:
        stop(folder)


def _start_by_hand(folder: Path, _: list[str]) -> list[str]:
    server = start(folder)
    return [f"{server.host}:{server.port}; user and password in {folder / 'server.json'}"]


if __name__ == "__main__":
    run_by_hand(_start_by_hand, stop)
