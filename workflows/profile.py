"""The project's AiiDA profile in its own folder: embedded (no server, no root), or full (PostgreSQL and RabbitMQ)."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibraloom.cluster_profiles.schema import script_lines
from vibraloom.durable import write_text
from vibraloom.errors import InputError, MissingError
from vibraloom.settings import project_folder, project_folder_to_make, setting
from vibraloom.workflows.backends import Backends, embedded
from vibraloom.workflows.full_profile import load_full_profile
from vibraloom.workflows.servers import Broker, Database, require_broker, require_database

if TYPE_CHECKING:
    from aiida.manage.configuration import Config, Profile

SCHEMA = 1
"""Layout of ``.vibraloom/``; a newer one is refused."""
HOST = "host"
"""File in ``.vibraloom/work/`` that names the machine on which init ran; the embedded broker lives there."""
MARKER = "made-by-init"
"""File in ``.vibraloom/`` that names the layout and what init made."""


def initialise(start: Path | None = None, full_profile: Path | None = None) -> tuple[Path, list[str]]:
    """Make the profile, the computer, the codes and the caching rules; what is there already is kept.

    Args:
        start: folder of the project, by default the current one.
        full_profile: YAML that names PostgreSQL and RabbitMQ servers; without it the profile is embedded.

    Returns:
        The project's folder, and one line per thing that was made (none if all was there).

    Raises:
        InputError: the folder was made by a newer release, or the YAML is wrong.
        MissingError: AiiDA is not installed, or a server is not reachable.
    """
    _require_aiida()
    home = project_folder_to_make(start)
    _check_layout(home)
    full = None
    if full_profile is not None:
        # before anything is written
        full = load_full_profile(full_profile)
        full.check(fresh=not (home / ".aiida" / "config.json").is_file())
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    made: list[str] = []
    for name in ("log", "work"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    _point_aiida_at(home)
    from aiida.common.exceptions import NotExistent
    from aiida.manage.configuration import get_config, load_profile

    config = get_config(create=True)
    name = setting("profile").value
    backends = full.backends(home / ".aiida" / "repository" / name) if full else embedded()
    if name not in config.profile_names:
        if full is not None and full.make_database():
            made.append(f"database {full.database.name} at {full.database.host}:{full.database.port}")
        _make_profile(config, name, backends)
        made.append(f"profile {name} ({backends.said}) in {home}")
    elif full is not None and full.same_place(config.get_profile(name)) and _renew_profile(config, name, backends):
        made.append(f"profile {name}: brought up to date with {full.source}")
    load_profile(name, allow_switch=True)
    _touch_storage()
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
    from vibraloom.workflows.codes import program_here, store_code

    for label in ("python", "lmp", "cp2k"):
        program = program_here(label)
        if program is not None and store_code(computer, label, program.path, script_lines((), program.environment)):
            made.append(f"code {label}@localhost: {program.path}")
    write_text(home / "work" / HOST, socket.gethostname() + "\n")
    write_text(home / MARKER, f"schema: {SCHEMA}\nprofile: {name}\n")
    return home, made


def _make_profile(config: Config, name: str, backends: Backends) -> None:
    from aiida.manage.configuration import create_profile

    create_profile(
        config,
        name=name,
        email="vibraloom@localhost",
        storage_backend=backends.storage,
        storage_config=backends.storage_config,
        broker_backend=backends.broker,
        broker_config=backends.broker_config,
    )
    _set_options(config, name, backends)
    config.set_option("caching.enabled_for", ["aiida.calculations:vibraloom.*"], scope=name)
    config.set_option("warnings.development_version", False, scope=name)
    config.set_default_profile(name, overwrite=True)
    config.store()


def _renew_profile(config: Config, name: str, backends: Backends) -> bool:
    """Take over users, passwords, the broker's address and the daemon's settings; tells whether any was new."""
    before = json.dumps(config.dictionary, sort_keys=True)
    profile = config.get_profile(name)
    profile.set_storage(backends.storage, {**profile.storage_config, **backends.storage_config})
    profile.set_process_controller(backends.broker, backends.broker_config)
    _set_options(config, name, backends)
    changed = json.dumps(config.dictionary, sort_keys=True) != before
    if changed:
        config.update_profile(profile)
        config.store()
    return changed


def _set_options(config: Config, name: str, backends: Backends) -> None:
    for option, value in backends.options.items():
        config.set_option(option, value, scope=name)


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
    from aiida.common.exceptions import ConfigurationError, CorruptStorage, IncompatibleStorageSchema, UnreachableStorage
    from aiida.manage import get_manager

    manager = get_manager()
    try:
        manager.get_profile_storage()
    except UnreachableStorage:
        profile = manager.get_profile()
        assert profile is not None
        require_database(profile)
        raise
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
        MissingError: it cannot be started, or its RabbitMQ is not reachable.
        InputError: RabbitMQ does not let the profile's user in.
    """
    from aiida.engine.daemon.client import DaemonException, get_daemon_client
    from aiida.manage.configuration import get_config_option, get_profile

    profile = get_profile()
    assert profile is not None
    require_broker(profile)
    if daemon_runs():
        return
    try:
        get_daemon_client().start_daemon(number_workers=get_config_option("daemon.default_workers"))
    except DaemonException as error:
        raise MissingError(
            f"the daemon cannot be started ({' '.join(str(error).split())}); look at: verdi daemon logshow"
        ) from error


def daemon_runs() -> bool:
    """Whether the daemon of the loaded profile is at work; a PID file that a crash or a reboot left behind is no daemon."""
    from aiida.engine.daemon.client import get_daemon_client

    client = get_daemon_client()
    return client.is_daemon_running and not client._is_pid_file_stale


def database_of(home: Path) -> Database | None:
    """The PostgreSQL database that keeps this project; None for an embedded profile."""
    profile = _profile_of(home)
    return Database.of(profile) if profile is not None else None


def _profile_of(home: Path) -> Profile | None:
    _point_aiida_at(home)
    from aiida.manage.configuration import get_config

    config, name = get_config(create=True), setting("profile").value
    return config.get_profile(name) if name in config.profile_names else None


def remove(home: Path, *, drop_database: bool = False) -> None:
    """Remove what ``initialise`` made: the folder ``.vibraloom/`` with profile, jobs and logs, and the queue in RabbitMQ.

    The PostgreSQL database of a full profile stays, unless ``drop_database``.

    Raises:
        InputError: the folder was not made by init, or the database cannot be dropped; nothing was removed.
        MissingError: the database is to be dropped and its server is not reachable; nothing was removed.
    """
    if not (home / MARKER).is_file():
        raise InputError(f"{home}: not made by vibraloom init; nothing was removed")
    profile = _profile_of(home)
    from aiida.engine.daemon.client import DaemonException, get_daemon_client

    try:
        client = get_daemon_client(setting("profile").value)
        if client.is_daemon_running:
            client.stop_daemon(wait=True)
    except DaemonException:
        pass
    if profile is not None:
        database, broker = Database.of(profile), Broker.of(profile)
        if database is not None and drop_database:
            database.drop()
        if broker is not None:
            # a server that is gone keeps a queue of no use to anybody; it is no reason to keep the project
            with contextlib.suppress(MissingError, InputError):
                broker.forget(profile.uuid)
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
