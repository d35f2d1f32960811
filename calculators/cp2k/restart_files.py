"""Which restart file of a CP2K run can be continued from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vibraloom.calculators.cp2k.segments import read_segment
from vibraloom.errors import ComputationError, InputError

RESTART_FILES = ("cp2k-1.restart", *(f"cp2k-1.restart.bak-{copy}" for copy in range(1, 6)))
"""Restart file of the main run and the copies that CP2K keeps of it, newest first."""

_STEP = re.compile(r"^\s*STEP_START_VAL\s+(\d+)\s*$", re.MULTILINE)

_WHOLE = re.compile(r"^ &END FORCE_EVAL\s*$", re.MULTILINE)
_LAST_LINE = re.compile(r"^ &END \w+\s*\Z", re.MULTILINE)


def restart_step(text: str) -> int | None:
    """Step after which a restart file was written, or None if it is cut off or holds no step."""
    # a run that was itself continued writes EXT_RESTART after FORCE_EVAL
    if not _WHOLE.search(text) or not _LAST_LINE.search(text):
        return None
    steps = _STEP.findall(text)
    return int(steps[0]) if steps else None


def newest_restart(names: Iterable[str], read: Callable[[str], str], latest: int | None = None) -> tuple[str, int] | None:
    """Name and step of the whole restart file with the highest step.

    Args:
        names: files that are there.
        read: text of one of them.
        latest: highest step that is allowed, or None: a run that is killed may have written its restart file, but not yet
            the frames up to it.
    """
    present = set(names)
    found = [(name, restart_step(read(name))) for name in RESTART_FILES if name in present]
    whole = [(name, step) for name, step in found if step is not None and (latest is None or step <= latest)]
    return max(whole, key=lambda entry: entry[1]) if whole else None


def latest_start(last_frame: int | None, every: int) -> int:
    """Highest step from which a run can go on so that no frame is missing between."""
    return -1 if last_frame is None else last_frame + every - 1


def newest_restart_in(folder: Path, record: Mapping[str, Any]) -> tuple[str, int] | None:
    """The same for a folder on this machine, of a job with this record."""
    if not folder.is_dir():
        return None
    latest = None
    if record["kind"] == "dynamics":
        try:
            segment = read_segment(folder, dict(record), [])
        except (InputError, ComputationError):
            return None  # its frames are of no use
        latest = latest_start(None if segment is None else int(segment.step[-1]), int(record["every"]))
    names = [path.name for path in folder.iterdir()]
    return newest_restart(names, lambda name: (folder / name).read_text(encoding="utf-8", errors="replace"), latest)
