"""Restart files of LAMMPS: which one is whole, and at which step it was written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

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
