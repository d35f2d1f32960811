"""The two kinds of profile: embedded (SQLite, ZeroMQ) and full (PostgreSQL, RabbitMQ); all else is the same in both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vibraloom.workflows.servers import Broker, Database, has_consumer_timeout

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile

TIMEOUT_OPTION = "warnings.rabbitmq_version"
"""AiiDA's option that is off once ``consumer_timeout`` is raised, as the server or else the user says."""
LONG_RUN = 60.0 * 24 * 90
"""(min) A ``consumer_timeout`` from here on is longer than any run."""
TIMEOUT_REMEDY = (
    "echo 'consumer_timeout = 31536000000' >> /etc/rabbitmq/rabbitmq.conf, restart RabbitMQ, write "
    "broker.consumer_timeout_raised: true in the YAML, and vibraloom init --full FILE.yaml"
)


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


def timeout_raised(broker: Broker, declared: bool) -> bool:
    """Whether ``consumer_timeout`` is longer than any run: the server's own word, or where it cannot be asked the user's."""
    limit = broker.consumer_timeout()
    return declared if limit is None else limit >= LONG_RUN


def consumer_timeout_left(profile: Profile) -> str | None:
    """What the profile's RabbitMQ does to long runs, if it cuts them off; None if it does not, or is said not to.

    Raises:
        MissingError: the server is not reachable.
        InputError: its user is not let in.
    """
    from aiida.manage.configuration import get_config

    broker = Broker.of(profile)
    if broker is None or timeout_raised(broker, not get_config().get_option(TIMEOUT_OPTION, scope=profile.name)):
        return None
    version = broker.version()
    if not has_consumer_timeout(version):
        return None
    limit = broker.consumer_timeout()
    if limit is None:
        return f"unless it is raised, RabbitMQ {version} cuts off every run that takes longer than 30 minutes"
    return f"RabbitMQ {version} cuts off every run that takes longer than {limit:g} minutes"
