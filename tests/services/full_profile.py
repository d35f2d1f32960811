"""The YAML of a full profile on the private servers, as a user would write it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.postgresql import Postgresql
from services.rabbitmq import Rabbitmq


@dataclass(frozen=True)
class Servers:
    """Both servers; ``file`` writes the YAML for one database of theirs."""

    postgresql: Postgresql
    rabbitmq: Rabbitmq

    def make_user(self, name: str, *, may_make_databases: bool = True) -> str:
        """Make a user of the database server; returns its password, which holds what addresses must quote."""
        password = f"{name}/@:%#"
        right = "CREATEDB" if may_make_databases else "NOCREATEDB"
        self.postgresql.sql(f"CREATE ROLE \"{name}\" LOGIN {right} PASSWORD '{password}'")
        return password

    def file(self, folder: Path, user: str, password: str, *, name: str = "full.yaml", **changes: object) -> Path:
        """Write the YAML and its password files; ``changes`` are keys such as ``broker__port=1``."""
        content: dict[str, dict[str, object]] = {
            "postgresql": {
                "host": self.postgresql.host,
                "port": self.postgresql.port,
                "database": user,
                "user": user,
                "password_file": secret(folder / "database-password", password),
            },
            "broker": {
                "host": self.rabbitmq.host,
                "port": self.rabbitmq.port,
                "user": self.rabbitmq.user,
                "password_file": secret(folder / "broker-password", self.rabbitmq.password),
                "consumer_timeout_raised": "true",
            },
            "daemon": {"workers": 1},
        }
        for key, value in changes.items():
            block, _, word = key.partition("__")
            content[block][word] = value
        lines = [f"{block}: {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}" for block, keys in content.items()]
        path = folder / name
        path.write_text("\n".join(["version: 1", *lines]) + "\n", encoding="utf-8")
        return path

    def has_database(self, name: str) -> bool:
        """Whether the database server has a database of this name."""
        return bool(self.postgresql.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def state(self, uuid: str, database: str) -> str:
        """State of a process, read in the database itself: a command would take a second of computing each time."""
        rows = self.postgresql.sql(f"SELECT attributes->>'process_state' FROM db_dbnode WHERE uuid = '{uuid}'", database)
        return str(rows[0][0])

    def queues(self) -> dict[str, int]:
        """Consumers of each queue of the broker."""
        lines = self.rabbitmq.control("list_queues", "--no-table-headers", "name", "consumers").splitlines()
        return {name: int(consumers) for name, consumers in (line.split("\t") for line in lines)}


def secret(path: Path, text: str) -> str:
    """Write a file for its owner alone; returns its name."""
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return path.name
