"""What the private servers of the tests share: free ports, waiting, where to put files, how a skip is worded."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HOST = "127.0.0.1"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens on the port of the loopback interface."""
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex((HOST, port)) == 0


def wait_until(ready: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask ``ready`` five times a second.

    Raises:
        TimeoutError: it said no for ``seconds``.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds:g} s")
        time.sleep(0.2)


def running(pid: int) -> bool:
    """Whether a process of this number is alive (one that ended but was not waited for is not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def folder_for(name: str) -> Path:
    """A new folder for a server's files, in a place that a server under another account can reach."""
    folder = Path(tempfile.mkdtemp(prefix=f"vibraloom-{name}-"))
    folder.chmod(0o755)
    return folder


def run_by_hand(start: Callable[[Path, list[str]], list[str]], stop: Callable[[Path], None]) -> None:
    """``start FOLDER [WORD …]`` or ``stop FOLDER`` on the command line of a server's module; start's lines are printed.

    Args:
        start: takes the folder, which is there, and the further words; returns what the user must know.
        stop: takes the folder.
    """
    if len(sys.argv) < 3 or sys.argv[1] not in ("start", "stop"):
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} start FOLDER [WORD …] | stop FOLDER")
    folder = Path(sys.argv[2]).absolute()
    if sys.argv[1] == "stop":
        stop(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.writelines(f"{line}\n" for line in start(folder, sys.argv[3:]))


def exports(variables: dict[str, str]) -> list[str]:
    """Lines for a shell that set these variables."""
    return [f"export {name}={value}" for name, value in variables.items()]


def skip_without(program: str | None, name: str, package: str) -> None:
    """Skip the test, with the command that installs the server, where ``program`` is None."""
    if program is None:
        pytest.skip(f"{name} is not installed; run: apt-get install {package}")


def find_program(name: str, *folders: Path) -> str | None:
    """Path of a program on PATH or in one of the folders where distributions put what is no user's command."""
    places = [os.environ.get("PATH", ""), *map(str, folders), "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))
