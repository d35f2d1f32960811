"""The servers of a full profile: is PostgreSQL there, may this user use it, is RabbitMQ there, and what each says of itself.

AiiDA is not imported here before a profile exists: its import makes a folder.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vibraloom.errors import InputError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiida.manage.configuration import Profile
    from psycopg import Connection

STORAGE = "core.psql_dos"
BROKER = "core.rabbitmq"
"""AiiDA's names of the storage and the broker of a full profile."""

_Result = TypeVar("_Result")
_PATIENCE = 5
"""Seconds until a server that does not answer counts as unreachable."""
_MAINTENANCE = "postgres"
"""The database that every PostgreSQL server has; from there others are made and dropped."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ASK_TIMEOUT = (
    "{application:get_env(rabbit, consumer_timeout), [element(6, L) || L <- rabbit_networking:node_listeners(node())]}."
)
"""Erlang for ``rabbitmqctl eval``: the limit in milliseconds, and the ports of the server that answers."""
_FIRST_WITH_TIMEOUT = (3, 8, 15)
"""From this RabbitMQ on a message that is not acknowledged within consumer_timeout ends its consumer."""


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database and the user that enters it."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"PostgreSQL at {self.host}:{self.port}"

    @classmethod
    def of(cls, profile: Profile) -> Database | None:
        """The database of an AiiDA profile; None if it is none on PostgreSQL."""
        if profile.storage_backend != STORAGE:
            return None
        keys = ("hostname", "port", "name", "username", "password")
        return cls(*(profile.storage_config[f"database_{key}"] for key in keys))

    def storage_config(self, repository: Path) -> dict[str, Any]:
        """What AiiDA stores of it, with the folder of the file repository."""
        return {
            "database_engine": "postgresql_psycopg",
            "database_hostname": self.host,
            "database_port": self.port,
            "database_name": self.name,
            "database_username": self.user,
            "database_password": self.password,
            "repository_uri": repository.as_uri(),
        }

    def exists(self) -> bool:
        """Whether the database is there and this user may make tables in it; False if it is absent and the user may make it.

        Raises:
            MissingError: no server there, or no database and no right to make it; the message holds the SQL.
            InputError: the user is not let in.
        """
        _require_listener("PostgreSQL", self.host, self.port, "start it, or correct postgresql.host and postgresql.port")
        from psycopg import OperationalError

        try:
            with self._connect(self.name) as connection:
                allowed = connection.execute("SELECT has_schema_privilege('public', 'CREATE')").fetchone()
        except OperationalError as error:
            return self._may_be_made(_first_line(error))
        if not (allowed and allowed[0]):
            raise MissingError(
                f"{self}: user {self.user} may not make tables in database {self.name}; run there as superuser: "
                f'ALTER DATABASE "{self.name}" OWNER TO "{self.user}";'
            )
        return True

    def _may_be_made(self, reason: str) -> bool:
        """The database did not open: False if that is because it is absent and this user may make it."""
        from psycopg import OperationalError

        # asked in another database, not read from the message: that is written in the server's language
        try:
            with self._connect(_MAINTENANCE) as connection:
                there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.name,)).fetchone()
                may = connection.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        except OperationalError:
            there, may = (1,), None
        if there:
            raise InputError(
                f"{self}: user {self.user} was not let into database {self.name} ({reason}); correct user and password, or "
                f"make the user there as superuser: CREATE ROLE \"{self.user}\" LOGIN PASSWORD '...';"
            )
        if not (may and may[0]):
            raise MissingError(
                f"{self}: no database {self.name}, and user {self.user} may not make one; run there as superuser: "
                f'CREATE DATABASE "{self.name}" OWNER "{self.user}" ENCODING \'UTF8\' TEMPLATE template0;'
            )
        return False

    def make(self) -> None:
        """Make the database, owned by this user."""
        from psycopg import sql

        statement = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0")
        with self._connect(_MAINTENANCE) as connection:
            connection.execute(statement.format(sql.Identifier(self.name), sql.Identifier(self.user)))

    def drop(self) -> None:
        """Drop the database and end the connections to it.

        Raises:
            MissingError: no server there.
            InputError: the user may not drop it.
        """
        from psycopg import Error, sql

        _require_listener("PostgreSQL", self.host, self.port, "start it, or uninstall without --drop-database")
        try:
            with self._connect(_MAINTENANCE) as connection:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))
        except Error as error:
            raise InputError(
                f"{self}: database {self.name} cannot be dropped ({_first_line(error)}); run there as superuser: "
                f'DROP DATABASE "{self.name}" WITH (FORCE);'
            ) from error

    def holds_a_profile(self) -> bool:
        """Whether AiiDA's tables are in it already."""
        with self._connect(self.name) as connection:
            found = connection.execute("SELECT to_regclass('db_dbnode') IS NOT NULL").fetchone()
        return bool(found and found[0])

    def version(self) -> str:
        """Release of the server, such as 15.18."""
        with self._connect(self.name) as connection:
            return str(connection.info.parameter_status("server_version")).split()[0]

    def _connect(self, name: str) -> Connection[Any]:
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=name,
            connect_timeout=_PATIENCE,
            autocommit=True,
        )


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ server and the user that enters it; ``virtual_host`` "" is RabbitMQ's "/"."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    virtual_host: str = ""
    tls: bool = False

    def __str__(self) -> str:
        return f"RabbitMQ at {self.host}:{self.port}"

    @classmethod
    def of(cls, profile: Profile) -> Broker | None:
        """The broker of an AiiDA profile; None if it is no RabbitMQ."""
        if profile.process_control_backend != BROKER:
            return None
        # a profile that was not made here may lack keys; these are AiiDA's defaults
        config = {key.removeprefix("broker_"): value for key, value in profile.process_control_config.items()}
        return cls(
            config.get("host") or "127.0.0.1",
            config.get("port") or 5672,
            config.get("username") or "guest",
            config.get("password") or "guest",
            (config.get("virtual_host") or "").removeprefix("/"),
            tls=config.get("protocol") == "amqps",
        )

    def broker_config(self) -> dict[str, Any]:
        """What AiiDA stores of it."""
        return {
            "broker_protocol": "amqps" if self.tls else "amqp",
            "broker_username": self.user,
            "broker_password": self.password,
            "broker_host": self.host,
            "broker_port": self.port,
            "broker_virtual_host": self.virtual_host,
        }

    def version(self) -> str:
        """Release of the server, such as 3.10.8.

        Raises:
            MissingError: no server there.
            InputError: the user is not let in.
        """

        async def ask(connection: Any) -> str:
            return str(connection.transport.connection.server_properties["version"])

        return self._with_connection(ask)

    @lru_cache(maxsize=8)  # noqa: B019  (frozen, and a command lives for one or two brokers)
    def consumer_timeout(self) -> float | None:
        """Minutes after which the server ends the consumer of a message that is not acknowledged; inf: never.

        No client can ask for it; ``rabbitmqctl`` can, on the server's own machine and for those who may use it.

        Returns:
            None where it cannot be asked.
        """
        program = shutil.which("rabbitmqctl", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
        if program is None or self.host not in _LOOPBACK:
            return None
        try:
            done = subprocess.run(
                [program, "-q", "eval", _ASK_TIMEOUT], capture_output=True, text=True, timeout=4 * _PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r"\{\{ok,(\d+|undefined)\},\[([\d,]*)\]\}", done.stdout)
        if done.returncode != 0 or found is None or str(self.port) not in found[2].split(","):
            return None  # not allowed, or another server of this machine
        return float("inf") if found[1] == "undefined" else int(found[1]) / 60_000

    def forget(self, profile_uuid: str) -> None:
        """Delete the queue and the exchanges that AiiDA made for a profile.

        Raises:
            MissingError: no server there.
            InputError: the user is not let in.
        """
        from aiida.brokers.rabbitmq import utils as names

        prefix = f"aiida-{profile_uuid}"

        async def delete(connection: Any) -> None:
            channel = await connection.channel()
            await channel.queue_delete(names.get_launch_queue_name(prefix))
            for exchange in (names.get_message_exchange_name(prefix), names.get_task_exchange_name(prefix)):
                await channel.exchange_delete(exchange)

        self._with_connection(delete)

    def _with_connection(self, act: Callable[[Any], Awaitable[_Result]]) -> _Result:
        _require_listener("RabbitMQ", self.host, self.port, "start it, or correct broker.host and broker.port")
        import aio_pika

        async def connected() -> _Result:
            connection = await aio_pika.connect(
                host=self.host,
                port=self.port,
                login=self.user,
                password=self.password,
                virtualhost=self.virtual_host or "/",
                ssl=self.tls,
                timeout=_PATIENCE,
            )
            try:
                return await act(connection)
            finally:
                await connection.close()

        # a loop of its own: asyncio.run() would leave the thread without the one that AiiDA's runner takes
        loop = asyncio.new_event_loop()
        try:
            with _quiet("aio_pika", "aiormq"):
                return loop.run_until_complete(connected())
        except aio_pika.exceptions.CONNECTION_EXCEPTIONS as error:
            # for a virtual host that is not there the reason lies in the frame
            reason = next((part.reply_text for part in error.args if hasattr(part, "reply_text")), _first_line(error))
            raise InputError(
                f"{self}: user {self.user} was not let in ({reason}); correct user, password and virtual_host, or "
                f"make the user there: rabbitmqctl add_user {self.user} && rabbitmqctl set_permissions {self.user} '.*' '.*' '.*'"
            ) from error
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def has_consumer_timeout(version: str) -> bool:
    """Whether a RabbitMQ of this release cuts off a process that runs longer than its ``consumer_timeout``."""
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    return numbers >= _FIRST_WITH_TIMEOUT


def require_database(profile: Profile) -> None:
    """Check that the PostgreSQL server of a profile lets us in; a profile without one is always good.

    Raises:
        MissingError: the server is not reachable, or the database is not there.
        InputError: the user is not let in.
    """
    database = Database.of(profile)
    if database is not None and not database.exists():
        raise MissingError(f"{database}: database {database.name} is gone; restore it from a backup")


def require_broker(profile: Profile) -> None:
    """Check that the RabbitMQ of a profile lets us in; a profile without one is always good.

    Raises:
        MissingError: the server is not reachable.
        InputError: the user is not let in.
    """
    broker = Broker.of(profile)
    if broker is not None:
        broker.version()


def _require_listener(name: str, host: str, port: int, remedy: str) -> None:
    try:
        socket.create_connection((host, port), timeout=_PATIENCE).close()
    except OSError as error:
        raise MissingError(f"{name} at {host}:{port} is not reachable ({error.strerror or error}); {remedy}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """A failure is told once, by us."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
