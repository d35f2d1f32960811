"""What a chain of CP2K jobs says where one stopped, and the partial trajectory that it hands out when it gives up."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from vibraloom.calculators.cp2k.convert import PARTIAL
from vibraloom.calculators.cp2k.parser import trajectory_node
from vibraloom.nodes.trajectory import TrajectoryFile

UNITS = {"label": "finished run", "vibrations": "result"}
"""What a continuation of each kind of job must add to be progress; a step for all others."""


def report_of(job: orm.CalcJobNode) -> dict[str, Any]:
    """How a job ended, as its parser told it; empty where there was nothing to parse."""
    found = job.base.links.get_outgoing(link_label_filter="report").first()
    return {} if found is None else dict(found.node.get_dict())


def progress_of(report: Mapping[str, Any]) -> int:
    """Steps, or whole runs of a label, that a job and those before it leave behind; -1 for none."""
    return int(report.get("progress", (report.get("restart") or {}).get("step", -1)))


def goes_on_from(kind: str, report: Mapping[str, Any], *, moved: bool) -> str:
    """Words for where the next job of this kind begins, after one with this report."""
    finished, step = report.get("finished") or {}, (report.get("restart") or {}).get("step", -1)
    if kind == "vibrations":
        return "from the start, as CP2K has no restart of a vibrational analysis, with the wavefunction that is there"
    if finished:
        return f"after {len(finished)} finished run(s): {', '.join(finished)}"
    return f"from step {step}" if moved and step > 0 else "from the wavefunction and restart file that are there"


@calcfunction
def partial_trajectory(folder: orm.RemoteData, report: orm.Dict) -> TrajectoryFile:
    """The trajectory whose last steps are missing, as a job with this report left it in its folder."""
    with tempfile.TemporaryDirectory(prefix="vibraloom-") as place:
        path = Path(place) / report["trajectory"]
        folder.getfile(path.name, str(path))
        return trajectory_node(path, str(report["message"]))


def left_partial(job: orm.CalcJobNode) -> bool:
    """Whether a job left a partial trajectory in its folder."""
    return str(report_of(job).get("trajectory") or "").startswith(PARTIAL)


def fetched_partial(job: orm.CalcJobNode) -> tuple[dict[str, TrajectoryFile], str]:
    """The partial trajectory of a job by its label, or none and a line that says where it lies."""
    folder, report = job.outputs.remote_folder, job.outputs.report
    try:
        found = partial_trajectory(folder, report)
    except Exception as error:  # whatever a transport raises: the chain's own reason is what must be told
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return {}, f"the partial trajectory stays in {folder.get_remote_path()}/{report['trajectory']} ({why})"
    return {f"replica_{int(Path(report['trajectory']).stem.split('-')[-1]):02d}": found}, "the partial trajectory was fetched"
