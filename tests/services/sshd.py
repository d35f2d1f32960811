"""A real sshd on loopback with keys of its own, and the client's side of it: a home folder with .ssh/.

In tests: the session fixture ``sshd``. By hand: ``python -m services.sshd start FOLDER [NAME=VALUE …]`` and ``stop FOLDER``
in tests/; the named variables are what sessions see, such as SLURM_CONF.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.loopback import exports, find_program, folder_for, free_port, run_by_hand, skip_without, wait_until
from services.slurm import Slurm

PACKAGES = "openssh-server openssh-client"
PATIENCE = 20.0
HOST = "mycluster"
"""Name of the host in the client's configuration."""

SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
{variables}
"""
SSH_CONFIG = """\
Host {host}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/client_key
  UserKnownHostsFile {folder}/known_hosts
"""


class Sshd:
    """sshd in ``folder``; ``home`` is what the client's HOME must be."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        self.home = folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs: a HOME with ``.ssh/``, and an ``ssh`` that reads it (OpenSSH asks passwd for the home)."""
        return {"HOME": str(self.home), "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def start(self) -> None:
        """Make keys and configuration, start sshd, wait until a client gets in."""
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "bin").mkdir(exist_ok=True)
        for name in ("host_key", "client_key"):
            if not (self.folder / name).exists():
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
                subprocess.run(command, check=True, timeout=PATIENCE)
        port = free_port()
        shutil.copy(self.folder / "client_key.pub", self.folder / "authorized_keys")
        public = (self.folder / "host_key.pub").read_text(encoding="utf-8")
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}", encoding="utf-8")
        words = " ".join(f"{name}={value}" for name, value in self.variables.items())
        config = self.folder / "sshd_config"
        variables = f"SetEnv {words}" if words else ""
        config.write_text(SSHD_CONFIG.format(folder=self.folder, port=port, variables=variables), encoding="utf-8")
        text = SSH_CONFIG.format(host=HOST, folder=self.folder, port=port, user=getpass.getuser())
        (ssh / "config").write_text(text, encoding="utf-8")
        client = self.folder / "bin" / "ssh"
        if not client.exists():  # started again, it may itself be the ssh on PATH
            client.write_text(f'#!/bin/sh\nexec {find_program("ssh")} -F {ssh}/config "$@"\n', encoding="utf-8")
            client.chmod(0o755)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's fixed privilege-separation folder
        program = find_program("sshd")
        assert program is not None, f"sshd is not installed; run: apt-get install {PACKAGES}"
        with (self.folder / "sshd.log").open("ab") as log:
            process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.folder / "sshd.started").write_text(f"{process.pid}\n", encoding="utf-8")
        command = [str(client), HOST, "true"]
        wait_until(
            lambda: subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode == 0,
            PATIENCE,
            f"a way in over ssh, see {self.folder}/sshd.log",
        )

    def stop(self) -> None:
        """End sshd and its sessions."""
        try:
            process = psutil.Process(int((self.folder / "sshd.started").read_text(encoding="utf-8")))
        except (OSError, ValueError, psutil.NoSuchProcess):
            return
        if process.name() != "sshd":
            return
        family = [process, *process.children(recursive=True)]
        for each in family:
            if each.name() == "sshd":
                each.terminate()
        psutil.wait_procs(family, timeout=5)
        (self.folder / "sshd.started").unlink()


@pytest.fixture(scope="session")
def sshd(slurm: Slurm) -> Iterator[Sshd]:
    """A running sshd whose sessions see the Slurm of the fixture ``slurm``."""
    for program in ("sshd", "ssh", "ssh-keygen"):
        skip_without(find_program(program), program, PACKAGES)
    service = Sshd(folder_for("sshd"), slurm.environment)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        shutil.rmtree(service.folder, ignore_errors=True)


def _start_by_hand(folder: Path, words: list[str]) -> list[str]:
    service = Sshd(folder, dict(word.split("=", 1) for word in words))
    service.start()
    return exports(service.environment)


if __name__ == "__main__":
    run_by_hand(_start_by_hand, lambda folder: Sshd(folder, {}).stop())
