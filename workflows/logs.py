"""Logs of a run: rotating JSON lines in .vibraloom/log/, each with the process it speaks of."""

from __future__ import annotations

import json
import logging
import logging.handlers
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida import orm

_TIME = "%Y-%m-%dT%H:%M:%S%z"
FILE = "vibraloom.jsonl"
_BYTES = 5_000_000
_KEPT = 5


class _JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, process (UUID, where there is one), message."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, _TIME),
            "level": record.levelname,
            "logger": record.name,
            "process": _uuid_of(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _uuid_of(record: logging.LogRecord) -> str | None:
    key = getattr(record, "dbnode_id", None)
    if key is None:
        return None
    from aiida import orm
    from aiida.common.exceptions import NotExistent

    try:
        return str(orm.load_node(key).uuid)
    except NotExistent:
        return None


def lines_of(nodes: Sequence[orm.ProcessNode], home: Path) -> list[str]:
    """What the log files and, for what a daemon ran, the database hold about processes, oldest first."""
    from aiida import orm

    uuids = {node.uuid for node in nodes}
    found: dict[tuple[datetime, str, str], str] = {}
    for path in sorted((home / "log").glob(f"{FILE}*"), reverse=True):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = _entry_of(line)
            if entry is not None and entry["process"] in uuids:
                found[datetime.strptime(entry["time"], _TIME), entry["process"], entry["message"]] = entry["level"]
    for node in nodes:
        for kept in orm.Log.collection.get_logs_for(node, order_by=[{"time": "asc"}]):
            # the same second as in the file, where the same record is there too
            found.setdefault((kept.time.replace(microsecond=0), node.uuid, kept.message), kept.levelname)
    return [
        f"{time.astimezone().strftime(_TIME)} {level:<8} {process[:8]} {message}"
        for (time, process, message), level in sorted(found.items(), key=lambda each: each[0][0])
    ]


def _entry_of(line: str) -> dict[str, Any] | None:
    """One line of the log file; None where it is torn: a full disk, or a process that was killed while it wrote."""
    try:
        entry = json.loads(line)
        datetime.strptime(entry["time"], _TIME)
        return {key: entry[key] for key in ("time", "level", "process", "message")}
    except (ValueError, TypeError, KeyError):
        return None


def log_to(home: Path) -> Path:
    """Send what AiiDA and the engine say to the log file instead of the screen.

    Returns:
        The log file.
    """
    from aiida.common.log import configure_logging

    configure_logging(with_orm=True)
    path = home / "log" / FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_KEPT, encoding="utf-8")
    handler.setFormatter(_JsonLines())
    for name in ("aiida", "plumpy", "kiwipy"):
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            # the database keeps its own record; only the screen goes quiet
            if type(old) is logging.StreamHandler or old.get_name() in ("console", "cli"):
                logger.removeHandler(old)
        logger.addHandler(handler)
    return path
