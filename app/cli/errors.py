"""What a user sees when something goes wrong: one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from vibraloom.errors import ComputationError, InputError, VibraloomError

INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""


@contextmanager
def reporting() -> Iterator[None]:
    """Turn errors into ``error: …`` on stderr and an exit code; also a decorator: ``@reporting()``.

    Codes: 2 wrong input, 3 failed computation, 4 something missing, 130 interrupted, 1 a fault in vibraloom.
    ``VIBRALOOM_TRACEBACK=1`` prints the traceback of the latter too.
    """
    try:
        yield
    except VibraloomError as error:
        _leave(str(error), error.exit_code)
    except KeyboardInterrupt:
        _leave("interrupted; nothing half-written was left behind", INTERRUPTED)
    except MemoryError:
        _leave("not enough memory; use fewer frames or atoms, or a larger machine", ComputationError.exit_code)
    except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise
    except OSError as error:
        if error.filename is None:
            _fault(error)
        _leave(
            f"{error.filename}: {error.strerror or error}; check the path and its permissions",
            InputError.exit_code,
        )
    except Exception as error:
        if type(error).__module__.startswith("sqlalchemy") and type(error).__name__ == "OperationalError":
            reason = str(getattr(error, "orig", error)) or "no reason given"
            _leave(
                f"the project's database cannot be used ({reason}); free space, then run the same command again",
                ComputationError.exit_code,
            )
        _fault(error)


def _fault(error: Exception) -> None:
    if os.environ.get("VIBRALOOM_TRACEBACK") == "1":
        traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    hint = "this is a fault in vibraloom; VIBRALOOM_TRACEBACK=1 shows where, please report it"
    _leave(f"{type(error).__name__} at {where}: {error}; {hint}", 1)


def _leave(message: str, code: int) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)
