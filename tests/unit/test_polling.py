"""A waiting command looks often at a young job and seldom at an old one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from vibraloom.workflows import polling


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    told = SimpleNamespace(now=100.0)
    monkeypatch.setattr(polling.time, "monotonic", lambda: told.now)
    return told


async def interval(jobs: polling.PatientJobsList, computer: Any, asked: dict[str, float], clock: SimpleNamespace) -> float:
    """Interval at 1000 s, after jobs were asked for at these times (s)."""
    for job, began in asked.items():
        clock.now = began
        with jobs.request_job_info_update(computer, job):
            pass
    clock.now = 1000.0
    return jobs.get_minimum_update_interval()


@pytest.mark.parametrize(("least", "asked", "expected"), [
    (0.2, {"a": 999.0}, 0.2),
    (0.2, {"a": 950.0}, 1.0),
    (0.2, {"a": 100.0, "b": 950.0}, 1.0),
    (0.2, {"a": 100.0}, 10.0),
    (30.0, {"a": 100.0}, 30.0),
])  # fmt: skip
def test_the_pause_grows_with_the_youngest_job(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, least: float, asked: dict[str, float], expected: float
) -> None:
    computer: Any = SimpleNamespace(pk=1, computer=SimpleNamespace(get_minimum_job_poll_interval=lambda: least))

    async def ask() -> float:
        queue: Any = SimpleNamespace(loop=asyncio.get_running_loop())
        jobs = polling.PatientJobManager(queue).get_jobs_list(computer)
        assert isinstance(jobs, polling.PatientJobsList)
        monkeypatch.setattr(jobs, "_ensure_updating", lambda: None)  # no look of its own while we ask
        return await interval(jobs, computer, asked, clock)

    assert asyncio.run(ask()) == pytest.approx(expected)
