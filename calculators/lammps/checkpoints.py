"""Restart files of LAMMPS: which one is whole, and at which step it was written.

``python -m vibraloom.calculators.lammps.checkpoints FOLDER`` prints what :func:`left_behind` says as one line of JSON.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESTART_MAGIC = b"LammpS RestartT\0"
"""LAMMPS writes these bytes at both ends of a restart file; a file without the second was cut off."""
# Flags of the header fields (lmprestart.h) that LAMMPS writes up to the step.
_VERSION, _SMALLINT, _TAGINT, _BIGINT, _UNITS, _NTIMESTEP, _IMAGEINT = 0, 1, 2, 3, 4, 5, 48


def restart_step(path: Path) -> int | None:
    """Step of a restart file, or None when the file is cut off or not a restart file.

    LAMMPS writes in place, so a run that is killed while it writes leaves a file without its end.
    """
    with path.open("rb") as handle:
        head = handle.read(4096)
        handle.seek(0, 2)
        size = handle.tell()
        handle.seek(max(0, size - len(RESTART_MAGIC)))
        tail = handle.read()
    if size < 2 * len(RESTART_MAGIC) or not head.startswith(RESTART_MAGIC) or tail != RESTART_MAGIC:
        return None
    at = len(RESTART_MAGIC) + 8  # byte order and revision
    try:
        while True:
            (flag,) = struct.unpack_from("<i", head, at)
            at += 4
            if flag in (_VERSION, _UNITS):
                (length,) = struct.unpack_from("<i", head, at)
                at += 4 + length
            elif flag in (_SMALLINT, _TAGINT, _BIGINT, _IMAGEINT):
                at += 4
            elif flag == _NTIMESTEP:
                return int(struct.unpack_from("<q", head, at)[0])
            else:
                return None
    except struct.error:
        return None


def newest_restart(folders: Sequence[Path]) -> tuple[Path, int] | None:
    """The whole restart file with the highest step in ``folders``, and that step; None when there is none."""
    paths = [path for folder in folders for path in sorted(folder.glob("checkpoint-*.restart"))]
    found = [(step, path) for path in paths if (step := restart_step(path)) is not None]
    if not found:
        return None
    step, path = max(found, key=lambda entry: entry[0])
    return path, step


def left_behind(folder: Path) -> dict[str, Any]:
    """What a job left in its folder, and those before it in theirs, for the one that goes on from it.

    Args:
        folder: the job's folder; one that is gone holds nothing.

    Returns:
        ``restart``: path of the newest whole restart file, or None; ``folders`` with segments, oldest first; ``segment``: number
        of the next one.
    """
    path = folder / "job.json"
    names = json.loads(path.read_text(encoding="utf-8")).get("folders", ["."]) if path.is_file() else []
    folders = [folder if name == "." else Path(name) for name in names]
    newest = newest_restart(folders)
    logs = [int(log.stem.removeprefix("log-")) for place in folders for log in place.glob("log-*.lammps")]
    return {
        "restart": None if newest is None else str(newest[0]),
        "folders": [str(place) for place in folders],
        "segment": 1 + max(logs, default=0),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(left_behind(Path(sys.argv[1]))) + "\n")
