"""The YAML of a full profile: PostgreSQL for the storage, RabbitMQ for the messages, and how the daemon works.

It differs from the embedded profile in nothing else: folder, computer, codes, caching and every command are the same.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool, StrictInt, model_validator

from vibraloom.errors import InputError
from vibraloom.validation import read_yaml, validated
from vibraloom.workflows.backends import TIMEOUT_OPTION, Backends, timeout_raised
from vibraloom.workflows.servers import BROKER, STORAGE, Broker, Database

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile

# AiiDA puts them into addresses as they stand
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=63)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
_LIKE_A_PASSWORD = re.compile("pas|pwd|secret", re.IGNORECASE)


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Login(_Block):
    """A user and one of three places where the password is."""

    user: Name
    password: SecretStr | None = Field(None, description="the password itself; the file must be readable by its owner alone")
    password_file: str | None = Field(None, description="file with the password on its first line; readable by its owner alone")
    password_variable: str | None = Field(None, description="environment variable that holds the password during init")

    @model_validator(mode="after")
    def _one_password(self) -> _Login:
        if sum(given is not None for given in (self.password, self.password_file, self.password_variable)) != 1:
            raise ValueError("allowed: one of password, password_file, password_variable")
        return self


class PostgresqlSettings(_Login):
    """The database; it is made if it is absent and the user may."""

    host: Host = Field("127.0.0.1", description="machine of the PostgreSQL server")
    port: Port = Field(5432, description="port of the PostgreSQL server")
    database: Name = Field(description="name of the database; one per project")


class BrokerSettings(_Login):
    """The message broker."""

    host: Host = Field("127.0.0.1", description="machine of the RabbitMQ server")
    port: Port = Field(5672, description="port of the RabbitMQ server")
    virtual_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = Field("", description="virtual host; empty: RabbitMQ's /")
    tls: StrictBool = Field(False, description="connect encrypted (amqps)")
    consumer_timeout_raised: StrictBool = Field(
        False, description="true once consumer_timeout of the server is longer than the longest run"
    )


class DaemonSettings(_Block):
    """How the daemon works."""

    workers: StrictInt = Field(2, ge=1, le=64, description="processes that drive workflows")
    poll_interval: StrictInt = Field(1, ge=1, le=3600, description="seconds between two looks at a process that waits")


class FullProfile(_Block):
    """The file that ``vibraloom init --full`` reads."""

    version: Literal[1]
    postgresql: PostgresqlSettings
    broker: BrokerSettings
    daemon: DaemonSettings = Field(default_factory=DaemonSettings)


class _Hidden:
    """Stands for a password that is no text, so that no message shows it."""

    def __repr__(self) -> str:
        return "**********"


@dataclass(frozen=True)
class Full:
    """A checked file with its passwords: the servers of a full profile and the daemon's settings."""

    source: Path
    database: Database
    broker: Broker
    daemon: DaemonSettings
    consumer_timeout_raised: bool

    def check(self, *, fresh: bool) -> bool:
        """Check both servers; ``fresh`` tells that the profile is yet to be made. Nothing is changed.

        Returns:
            Whether the database is there; if not, this user may make it.

        Raises:
            MissingError: a server is not reachable, or the database is absent and the user may not make it.
            InputError: a user is not let in, or the database belongs to another profile.
        """
        there = self.database.exists()
        if there and fresh and self.database.holds_a_profile():
            raise InputError(
                f"{self.source}: postgresql.database: {self.database.name}: holds an AiiDA profile already; "
                "give the name of an empty or a new database"
            )
        self.broker.version()
        return there

    def make_database(self) -> bool:
        """Make the database of a new profile if it is absent; tells whether it was made.

        Raises:
            MissingError, InputError: as ``check``.
        """
        if self.check(fresh=True):
            return False
        self.database.make()
        return True

    def backends(self, repository: Path) -> Backends:
        """What AiiDA is given; ``repository`` is the folder of the files in the nodes."""
        return Backends(
            said=f"{self.database}, database {self.database.name}; {self.broker}",
            storage=STORAGE,
            storage_config=self.database.storage_config(repository),
            broker=BROKER,
            broker_config=self.broker.broker_config(),
            options={
                "runner.poll.interval": self.daemon.poll_interval,
                "daemon.default_workers": self.daemon.workers,
                TIMEOUT_OPTION: not timeout_raised(self.broker, self.consumer_timeout_raised),
            },
        )

    def same_place(self, profile: Profile) -> bool:
        """Whether an existing profile is kept in this database.

        Raises:
            InputError: it is kept elsewhere; what is in it cannot be moved by init.
        """
        there = Database.of(profile)
        wanted = self.database
        if there is None or (there.host, there.port, there.name) != (wanted.host, wanted.port, wanted.name):
            kept = "in SQLite" if there is None else f"in database {there.name} of {there}"
            raise InputError(
                f"{self.source}: postgresql: {wanted}, database {wanted.name}: but this project is kept {kept}; run init in "
                "another folder, and take results there with: vibraloom export ID --format archive"
            )
        return True


def load_full_profile(path: Path) -> Full:
    """Read the file and the passwords that it points to.

    Raises:
        InputError: one line with file, key, value (never a password) and what is allowed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; write one like examples/full-profile.yaml")
    full = validated(FullProfile, _hide_passwords(read_yaml(path)), str(path))
    place, messages = full.postgresql, full.broker
    return Full(
        path,
        Database(place.host, place.port, place.database, place.user, _password(place, path, "postgresql")),
        Broker(
            messages.host,
            messages.port,
            messages.user,
            _password(messages, path, "broker"),
            messages.virtual_host,
            messages.tls,
        ),
        full.daemon,
        messages.consumer_timeout_raised,
    )


def _hide_passwords(content: Any) -> Any:
    """The same content with every value whose key looks like a password's wrapped, misspelt keys too."""
    if not isinstance(content, dict):
        return content
    hidden: dict[Any, Any] = {}
    for key, value in content.items():
        if _LIKE_A_PASSWORD.search(str(key)) and key not in ("password_file", "password_variable"):
            hidden[key] = SecretStr(value) if isinstance(value, str) else _Hidden()
        else:
            hidden[key] = _hide_passwords(value)
    return hidden


def _password(login: _Login, path: Path, block: str) -> str:
    if login.password is not None:
        _only_for_its_owner(path, f"{path}: it holds {block}.password")
        text, source = login.password.get_secret_value(), f"{path}: {block}.password"
    elif login.password_file is not None:
        secret = path.parent / Path(login.password_file).expanduser()
        source = f"{secret}: {block}.password_file"
        try:
            lines = secret.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source}: cannot be read as text ({type(error).__name__}); make it with mode 0600") from error
        _only_for_its_owner(secret, source)
        text = lines[0] if lines else ""
    else:
        source = f"{path}: {block}.password_variable: {login.password_variable}"
        text = os.environ.get(str(login.password_variable), "")
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise InputError(f"{source}: no password there that can be used; allowed: printable characters without blanks")
    return text


def _only_for_its_owner(path: Path, what: str) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise InputError(f"{what}, but others may read it (mode {mode:04o}); run: chmod 600 {path}")
