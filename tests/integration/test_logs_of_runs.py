"""What a run said is found in the log files and in the database, torn lines or not; a run belongs to the computer it began on."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def line(process: str, message: str, second: int) -> str:
    entry = {"time": f"2026-01-02T03:04:{second:02d}+0000", "level": "REPORT", "process": process, "message": message}
    return json.dumps(entry) + "\n"


def test_the_log_is_whole_where_a_line_is_torn_and_where_a_daemon_wrote_into_the_database(
    in_project: Path, tmp_path: Path
) -> None:
    from aiida import orm

    from vibraloom.workflows.logs import FILE, lines_of

    node = orm.WorkChainNode().store()
    (tmp_path / "log").mkdir()
    torn = line(node.uuid, "torn", 3)[:40] + "\n"
    foreign = line("another", "not asked for", 4)
    (tmp_path / "log" / FILE).write_text(line(node.uuid, "first", 1) + torn + "null\n" + foreign + line(node.uuid, "third", 5))
    for second, message in ((1, "first"), (2, "by the daemon")):
        time = datetime(2026, 1, 2, 3, 4, second, 700, tzinfo=timezone.utc)  # noqa: UP017
        orm.Log(time=time, loggername="aiida.x", levelname="REPORT", dbnode_id=node.pk, message=message)
    found = [each.split(maxsplit=3)[3] for each in lines_of([node], tmp_path)]
    assert found == ["first", "by the daemon", "third"]


@pytest.mark.parametrize(("now", "moved"), [("localhost", False), ("elsewhere", True)])
def test_a_run_is_moved_where_its_spec_names_another_computer(
    in_project: Path, monkeypatch: pytest.MonkeyPatch, now: str, moved: bool
) -> None:
    from vibraloom.workflows import launch

    monkeypatch.setattr(launch, "resources_of", lambda spec: {"computer": now, "cores": 1})
    content = SimpleNamespace(get_dict=lambda: {"resources": {"computer": "localhost", "cores": 2}})
    run: Any = SimpleNamespace(inputs=SimpleNamespace(spec=content))
    spec: Any = None
    assert launch.moved(run, spec) is moved
