"""The embedded AiiDA profile: SQLite storage and ZeroMQ broker in the project's own folder, no server, no root."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

from vibraloom.calculators.lammps.executable import find_lammps
from vibraloom.durable import write_text
from vibraloom.errors import InputError, MissingError
from vibraloom.settings import project_folder, project_folder_to_make, setting

SCHEMA = 1
"""Layout of ``.vibraloom/``; a newer one is refused."""
HOST = "host"
"""File in ``.vibraloom/work/`` that names the machine on which init ran; the embedded broker lives there."""
MARKER = "made-by-init"
"""File in ``.vibraloom/`` that names the layout and what init made."""


def initialise(start: Path | None = None) -> tuple[Path, list[str]]:
    """Make the profile, the computer, the codes and the caching rules; what is there already is kept.

    Returns:
        The project's folder, and one line per thing that was made (none if all was there).

    Raises:
        InputError: the folder was made by a newer release.
        MissingError: AiiDA is not installed.
    """
    _require_aiida()
    home = project_folder_to_make(start)
    _check_layout(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    made: list[str] = []
    for name in ("log", "work"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    _point_aiida_at(home)
    from aiida.common.exceptions import NotExistent
    from aiida.manage.configuration import create_profile, get_config, load_profile

    config = get_config(create=True)
    name = setting("profile").value
    if name not in config.profile_names:
        from aiida.plugins import BrokerFactory

        create_profile(
            config,
            name=name,
            email="vibraloom@localhost",
            storage_backend="core.sqlite_dos",
            storage_config={},
            broker_backend="core.zeromq",
            broker_config=BrokerFactory("core.zeromq").get_default_config(),
        )
        config.set_option("runner.poll.interval", 1, scope=name)
        config.set_option("daemon.default_workers", 2, scope=name)
        config.set_option("caching.enabled_for", ["aiida.calculations:vibraloom.*"], scope=name)
        config.set_option("warnings.development_version", False, scope=name)
        config.set_default_profile(name, overwrite=True)
        config.store()
        made.append(f"profile {name} (SQLite, ZeroMQ broker) in {home}")
    load_profile(name, allow_switch=True)
    from aiida import orm

    try:
        computer = orm.load_computer("localhost")
    except NotExistent:
        computer = orm.Computer(
            label="localhost",
            hostname="localhost",
            description="This machine, jobs as direct processes",
            transport_type="core.local",
            scheduler_type="core.direct",
            workdir=str(home / "work"),
        ).store()
        computer.configure(safe_interval=0.0, use_login_shell=False)
        computer.set_minimum_job_poll_interval(0.2)
        computer.set_default_mpiprocs_per_machine(1)
        made.append("computer localhost (direct)")
    for label, description, path, prepend in _codes():
        if _has_code(label, path, prepend):
            continue
        code = orm.InstalledCode(label=label, computer=computer, filepath_executable=path, prepend_text=prepend)
        code.description = description
        code.store()
        made.append(f"code {label}@localhost: {path}")
    write_text(home / "work" / HOST, socket.gethostname() + "\n")
    write_text(home / MARKER, f"schema: {SCHEMA}\nprofile: {name}\n")
    return home, made


def _codes() -> list[tuple[str, str, str, str]]:
    """Label, description, executable and prepended shell lines of the codes on this machine that are installed."""
    codes = [
        (
            "python",
            "Python of this environment: samples, labels, trainings, responses, correlations",
            str(_interpreter()),
            "",
        )
    ]
    with contextlib.suppress(MissingError):
        program = find_lammps()
        lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(program.environment.items())]
        codes.append(("lmp", "LAMMPS for classical models", str(program.path), "\n".join(lines)))
    return codes


def _interpreter() -> Path:
    """The environment's interpreter under one name, whatever name it was started by."""
    plain = Path(sys.executable).with_name("python")
    return plain if plain.exists() else Path(sys.executable)


def _has_code(label: str, path: str, prepend: str) -> bool:
    from aiida import orm

    query = orm.QueryBuilder().append(orm.InstalledCode, filters={"label": label})
    for code in query.all(flat=True):
        if str(code.filepath_executable) == path and code.prepend_text == prepend:
            return True
        # another environment's executable: its results stay, the label moves on to the new one
        code.label = f"{label}-before-{code.pk}"
        code.is_hidden = True
    return False


def load_project_profile(option: str | None = None) -> Path:
    """Load the profile of the nearest ``.vibraloom/``; with ``option``, an existing AiiDA profile of that name.

    Returns:
        The project's folder.

    Raises:
        MissingError: no profile here; the message holds the command that makes it.
        InputError: a profile of another version, or an unknown name.
    """
    _require_aiida()
    home = project_folder()
    if option is None:
        if home is None or not (home / MARKER).is_file():
            raise MissingError(f"{Path.cwd()}: no vibraloom project here or above; run: vibraloom init")
        _check_layout(home)
        _point_aiida_at(home)
    from aiida.common.exceptions import ConfigurationError
    from aiida.manage.configuration import get_config, load_profile

    name = option or setting("profile").value
    try:
        get_config()
        load_profile(name, allow_switch=True)
        _touch_storage()
    except ConfigurationError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"profile {name}: {reason}; run: vibraloom init, or give an existing profile with --profile") from error
    return home or project_folder_to_make()


def _touch_storage() -> None:
    from aiida.common.exceptions import ConfigurationError, CorruptStorage, IncompatibleStorageSchema
    from aiida.manage import get_manager

    try:
        get_manager().get_profile_storage()
    except IncompatibleStorageSchema as error:
        raise InputError(
            "the profile's storage was made by another AiiDA version; run: eval $(vibraloom env) && verdi storage migrate"
        ) from error
    except (CorruptStorage, ConfigurationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the profile's storage cannot be read ({reason}); restore .vibraloom from a backup") from error


def start_daemon() -> None:
    """Start the daemon of the loaded profile if it does not run.

    Raises:
        MissingError: it cannot be started.
    """
    from aiida.engine.daemon.client import DaemonException, get_daemon_client

    client = get_daemon_client()
    if client.is_daemon_running:
        return
    try:
        client.start_daemon()
    except DaemonException as error:
        raise MissingError(
            f"the daemon cannot be started ({' '.join(str(error).split())}); look at: verdi daemon logshow"
        ) from error


def remove(home: Path) -> None:
    """Remove what ``initialise`` made: the folder ``.vibraloom/`` with profile, jobs and logs."""
    if not (home / MARKER).is_file():
        raise InputError(f"{home}: not made by vibraloom init; nothing was removed")
    _point_aiida_at(home)
    from aiida.engine.daemon.client import DaemonException, get_daemon_client

    try:
        client = get_daemon_client(setting("profile").value)
        if client.is_daemon_running:
            client.stop_daemon(wait=True)
    except DaemonException:
        pass
    shutil.rmtree(home)


def environment(home: Path) -> dict[str, str]:
    """Variables that let verdi use the project's profile."""
    return {
        "AIIDA_PATH": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _check_layout(home: Path) -> None:
    import yaml

    marker = home / MARKER
    if not marker.is_file():
        return
    content: Any = yaml.safe_load(marker.read_text(encoding="utf-8"))
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int):
        raise InputError(f"{marker}: schema: {schema}: allowed: 1 to {SCHEMA}; restore the file or run: vibraloom uninstall")
    if schema > SCHEMA:
        raise InputError(
            f"{marker}: schema: {schema}: allowed: 1 to {SCHEMA}; this project was made by a newer vibraloom, update it"
        )


def _require_aiida() -> None:
    # looked up, not imported: its import makes ~/.aiida unless AIIDA_PATH is set before
    if importlib.util.find_spec("aiida") is None:
        raise MissingError("aiida-core is not installed; run: pip install 'vibraloom[workflows]'")
    # AiiDA looks for verdi on PATH when it is imported; the daemon is started by it
    here = str(Path(sys.executable).parent)
    if here not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = f"{here}{os.pathsep}{os.environ.get('PATH', '')}"


def _point_aiida_at(home: Path) -> None:
    """AiiDA reads AIIDA_PATH once, when it is imported; so this comes before its first import."""
    os.environ["AIIDA_PATH"] = str(home)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Creating AiiDA configuration folder")
        _set_aiida_folder(home)


def _set_aiida_folder(home: Path) -> None:
    _require_aiida()
    from aiida.manage.configuration import settings as aiida_settings

    folder = home / ".aiida"
    if aiida_settings.AiiDAConfigDir.get() != folder:
        aiida_settings.AiiDAConfigDir.set(folder)
