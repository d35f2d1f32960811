"""Logs of a run: rotating JSON lines in .vibraloom/log/, each with the process it speaks of."""

from __future__ import annotations

import json
import logging
import logging.handlers
from pathlib import Path

FILE = "vibraloom.jsonl"
_BYTES = 5_000_000
_KEPT = 5


class _JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, process (UUID, where there is one), message."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
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
