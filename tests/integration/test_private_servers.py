"""The scripts that start PostgreSQL and RabbitMQ for tests: they listen on loopback alone and leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from services import loopback, postgresql, rabbitmq

TESTS = Path(__file__).parents[1]


def script(name: str, verb: str, folder: Path) -> str:
    command = [sys.executable, "-m", f"services.{name}", verb, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    # to a file: a server that inherits a pipe would keep it open
    with (folder.parent / f"{verb}.out").open("w+") as out:
        subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT, check=True, timeout=120)
        out.seek(0)
        return out.read()


def of_folder(folder: Path) -> list[psutil.Process]:
    """Processes that work in the folder or name it on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        told = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(folder) in part for part in told):
            found.append(process)
    return found


@pytest.mark.parametrize("name", ["postgresql", "rabbitmq"])
def test_a_server_listens_on_loopback_and_leaves_nothing_behind(name: str) -> None:
    service: Any = {"postgresql": postgresql, "rabbitmq": rabbitmq}[name]
    loopback.skip_without(service.program(), name, service.PACKAGE)
    outer = loopback.folder_for("script")
    folder = outer / "server"
    try:
        script(name, "start", folder)
        record = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        assert (folder / "server.json").stat().st_mode & 0o777 == 0o600
        assert loopback.answers(record["port"])
        ours = of_folder(folder)
        assert ours
        heard = {
            connection.laddr.ip
            for process in ours
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert heard <= {"127.0.0.1", "::1"} and heard
        script(name, "stop", folder)
        assert of_folder(folder) == []
        assert not folder.exists()
        assert not loopback.answers(record["port"])
    finally:
        if folder.exists():
            service.stop(folder)
        shutil.rmtree(outer)
