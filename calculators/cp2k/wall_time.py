"""The wall time that the runs of one job share: shell lines of the job's script.

The script's first line notes when the job's time is over. Before each run after the first one, the seconds that are left are
written into its input (GLOBAL/WALLTIME), which so always says what CP2K was told. A run for which less is left than the longest
run of this job took is not begun: its ``NAME.err`` says so, and there is no ``NAME.out``.
"""

from __future__ import annotations

import re

from vibraloom.errors import InputError

NOT_BEGUN = "not begun at the wall time"
"""How the one line in the ``.err`` of such a run begins."""

_FUNCTION = """\
vibraloom_began=$(date +%s)
vibraloom_end=$((vibraloom_began + {seconds}))
vibraloom_longest=0
# whether the run NAME can begin; its input is then told the seconds that are left, at most LIMIT
vibraloom_in_time() {{
  now=$(date +%s)
  took=$((now - vibraloom_began))
  left=$((vibraloom_end - now))
  vibraloom_began=$now
  if [ "$took" -gt "$vibraloom_longest" ]; then vibraloom_longest=$took; fi
  if [ "$left" -le "$vibraloom_longest" ]; then
    echo "{mark}: $left s are left, the longest run of this job took $vibraloom_longest s" > "$1.err"
    return 1
  fi
  if [ "$left" -gt "$2" ]; then left=$2; fi
  sed "s/^\\( *WALLTIME \\).*/\\1$left/" "$1.inp" > "$1.timed" && mv "$1.timed" "$1.inp"
}}"""


def shared_wall_time(seconds: int) -> str:
    """Shell lines for the begin of the script: all runs together have ``seconds`` (s)."""
    return _FUNCTION.format(seconds=seconds, mark=NOT_BEGUN)


def if_in_time(name: str, limit: int, line: str) -> str:
    """Shell lines that start a run if enough time is left.

    Args:
        name: of the run, a plain word; its input is ``NAME.inp``.
        limit: (s) GLOBAL/WALLTIME that its input has.
        line: what starts it.
    """
    return f"if vibraloom_in_time {name} {limit}; then\n{line}\nfi"


def seconds_of(limit: object) -> int:
    """GLOBAL/WALLTIME (s), which CP2K takes in seconds or as HH:MM:SS.

    Raises:
        InputError: neither.
    """
    found = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)|(\d+)(?:\.0*)?", str(limit).strip())
    if found is None:
        raise InputError(f"parameters: GLOBAL/WALLTIME: {limit!r}; allowed: whole seconds, or HH:MM:SS")
    hours, minutes, seconds, whole = found.groups(default="0")
    return int(whole) + 3600 * int(hours) + 60 * int(minutes) + int(seconds)
