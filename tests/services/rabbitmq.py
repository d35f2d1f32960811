"""A private RabbitMQ on the loopback interface: ``python -m services.rabbitmq start|stop FOLDER`` in tests/.

Everything lies in one folder: the data, the logs, the Erlang cookie and ``server.json`` with host, port, user and
password. Its port mapper (epmd) has a port of its own, so that nothing outlives the server or meets another one.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from services.loopback import HOST, answers, find_program, folder_for, free_port, run_by_hand, running, skip_without, wait_until

PACKAGE = "rabbitmq-server"
CONSUMER_TIMEOUT = 31_536_000_000
"""Milliseconds, a year: AiiDA acknowledges a process only when it has ended."""


@dataclass(frozen=True)
class Rabbitmq:
    """A server that runs: where it is and how its user gets in."""

    folder: str
    port: int
    mapper_port: int
    distribution_port: int
    password: str
    pids: tuple[int, ...] = ()
    host: str = HOST
    user: str = "vibraloom"

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl ARGUMENTS`` prints for this server."""
        command = [str(_scripts() / "rabbitmqctl"), "-q", "-n", _node(self), *arguments]
        return subprocess.run(command, env=_environment(self), check=True, capture_output=True, text=True).stdout

    def put_control(self, folder: Path) -> None:
        """Write the ``rabbitmqctl`` that an administrator of this server has into ``folder``."""
        words = [f"{key}={value}" for key, value in _environment(self).items()]
        command = ["env", *words, str(_scripts() / "rabbitmqctl"), "-n", _node(self)]
        program = folder / "rabbitmqctl"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)


def program() -> str | None:
    """Path of the server, or None."""
    scripts = _scripts()
    return str(scripts / "rabbitmq-server") if scripts else None


def _scripts() -> Path | None:
    # not the commands on PATH: those change to the account of the system's own server
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    return found[-1] if found else None


def _node(server: Rabbitmq) -> str:
    return f"vibraloom{server.port}@localhost"


def _environment(server: Rabbitmq) -> dict[str, str]:
    folder = server.folder
    return {
        "PATH": os.environ.get("PATH", ""),
        "LC_ALL": "C.UTF-8",
        "HOME": folder,
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(server.mapper_port),
        "RABBITMQ_NODENAME": _node(server),
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(server.port),
        "RABBITMQ_DIST_PORT": str(server.distribution_port),
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        # one scheduler and no busy waiting: the test machine computes beside it
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
    }


def start(folder: Path, port: int | None = None) -> Rabbitmq:
    """Start a server in an empty folder; returns when it takes connections."""
    scripts, mapper = _scripts(), find_program("epmd")
    if scripts is None or mapper is None:
        raise FileNotFoundError(f"RabbitMQ is not installed; run: apt-get install {PACKAGE}")
    server = Rabbitmq(str(folder), port or free_port(), free_port(), free_port(), secrets.token_urlsafe(12))
    folder.chmod(0o700)
    configuration = {
        "default_user": server.user,
        "default_pass": server.password,
        "consumer_timeout": CONSUMER_TIMEOUT,
        "disk_free_limit.absolute": "50MB",
        "log.file.level": "warning",
    }
    for name, text in {
        "rabbitmq.conf": "\n".join(f"{key} = {value}" for key, value in configuration.items()),
        "rabbitmq-env.conf": "",
        "enabled_plugins": "[].",
    }.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    commands = ([mapper, "-port", str(server.mapper_port), "-address", HOST], [str(scripts / "rabbitmq-server")])
    pids: list[int] = []
    try:
        for command, own_port in zip(commands, (server.mapper_port, server.port), strict=True):
            with (folder / "setup.log").open("a") as log:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=_environment(server),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            pids.append(process.pid)
            _wait_for(process, own_port, folder)
    except BaseException:
        _end(pids)
        raise
    server = Rabbitmq(**{**asdict(server), "pids": tuple(pids)})
    record = folder / "server.json"
    record.touch(mode=0o600)
    record.write_text(json.dumps(asdict(server)) + "\n", encoding="utf-8")
    return server


def _wait_for(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    def ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args}: exit {process.returncode}\n{(folder / 'setup.log').read_text()}")
        return answers(port)

    wait_until(ready, 90, f"{process.args}: port {port}")


def _end(pids: list[int]) -> None:
    """End the sessions that these processes lead, the newest first; politely, then for good."""
    for pid in reversed(pids):
        for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
            if not _alive(pid):
                break
            os.killpg(pid, number)
            try:
                wait_until(lambda pid=pid: not _alive(pid), seconds, f"end of {pid}")
            except TimeoutError:
                continue


def _alive(leader: int) -> bool:
    """Whether any process of the group that ``leader`` began is alive."""
    members = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return any(_group(pid) == leader and running(pid) for pid in members)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def stop(folder: Path) -> None:
    """Stop the server of this folder and remove the folder."""
    record = folder / "server.json"
    if record.exists():
        _end(list(json.loads(record.read_text(encoding="utf-8"))["pids"]))
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Rabbitmq]:
    """A RabbitMQ server for the session; skips where none is installed."""
    skip_without(program(), "RabbitMQ", PACKAGE)
    folder = folder_for("rabbitmq")
    try:
        yield start(folder)
    finally:
        stop(folder)


def _start_by_hand(folder: Path, _: list[str]) -> list[str]:
    server = start(folder)
    return [f"{server.host}:{server.port}; user and password in {folder / 'server.json'}"]


if __name__ == "__main__":
    run_by_hand(_start_by_hand, stop)
