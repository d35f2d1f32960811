"""The two kinds of profile: embedded (SQLite, ZeroMQ) and full (PostgreSQL, RabbitMQ); all else is the same in both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vibraloom.workflows.servers import Broker, Database, has_consumer_timeout

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile

TIMEOUT_OPTION = "warnings.rabbitmq_version"
"""AiiDA's option that is off once the user has said that ``consumer_timeout`` is raised."""


@dataclass(frozen=True)
class Backends:
    """What AiiDA is given for one kind of profile: entry points, their settings, and options."""

    said: str
    storage: str
    storage_config: dict[str, Any]
    broker: str
    broker_config: dict[str, Any]
    options: dict[str, Any]


def embedded() -> Backends:
    """SQLite and ZeroMQ in the project's own folder."""
    from aiida.plugins import BrokerFactory

    return Backends(
        said="SQLite, ZeroMQ broker",
        storage="core.sqlite_dos",
        storage_config={},
        broker="core.zeromq",
        broker_config=BrokerFactory("core.zeromq").get_default_config(),
        options={"runner.poll.interval": 1, "daemon.default_workers": 2},
    )


def told(profile: Profile) -> str:
    """Kind of a profile, with the releases of its servers.

    Raises:
        MissingError: a server is not reachable.
        InputError: its user is not let in.
    """
    database, broker = Database.of(profile), Broker.of(profile)
    if database is None:
        return "embedded (SQLite, ZeroMQ broker)"
    messages = f", RabbitMQ {broker.version()} at {broker.host}:{broker.port}" if broker else ""
    place = f"{database.host}:{database.port}, database {database.name}"
    return f"full (PostgreSQL {database.version()} at {place}{messages})"


def consumer_timeout_left(profile: Profile) -> str | None:
    """Release of the profile's RabbitMQ if it cuts off long runs and nobody has said that this was changed.

    The limit itself cannot be asked for over the connection.
    """
    from aiida.manage.configuration import get_config

    broker = Broker.of(profile)
    if broker is None or not get_config().get_option(TIMEOUT_OPTION, scope=profile.name):
        return None
    version = broker.version()
    return version if has_consumer_timeout(version) else None
