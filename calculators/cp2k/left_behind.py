"""What a job of CP2K left in its folder for the one that goes on from it.

``python -m vibraloom.calculators.cp2k.left_behind FOLDER`` prints it as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vibraloom.calculators.cp2k.finished_runs import finished_runs
from vibraloom.calculators.cp2k.restart_files import newest_restart_in


def left_behind(folder: Path) -> dict[str, Any]:
    """What the parser's report says under the same keys.

    Args:
        folder: the job's folder; one that is gone holds nothing.

    Returns:
        ``restart``: {"file", "step"} of the restart file to go on from, or None; ``finished``: name of each whole run of a
        label → folder with its output.
    """
    path = folder / "job.json"
    if not path.is_file():
        return {"restart": None, "finished": {}}
    record = json.loads(path.read_text(encoding="utf-8"))
    restart = newest_restart_in(folder, record)
    told = None if restart is None else {"file": restart[0], "step": restart[1]}
    return {"restart": told, "finished": finished_runs(folder, record)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(left_behind(Path(sys.argv[1]))) + "\n")
