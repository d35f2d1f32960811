"""How often a waiting command looks at its jobs: often while they are young, seldom while they are long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, cast

from aiida.engine.processes.calcjobs.manager import JobManager, JobsList

if TYPE_CHECKING:
    import asyncio

    from aiida.engine.transports import TransportQueue
    from aiida.orm import AuthInfo
    from aiida.schedulers.datastructures import JobInfo

SHARE = 0.02
"""Between two looks passes at least this share of the time that the youngest job has run."""
LONGEST = 10.0
"""(s) The longest pause that comes of it; a computer may ask for longer ones."""


class PatientJobsList(JobsList):
    """The jobs of one computer, looked at less often the longer they last: each look costs four commits per job."""

    def __init__(self, authinfo: AuthInfo, transport_queue: TransportQueue) -> None:
        super().__init__(authinfo, transport_queue)
        self._began: dict[str, float] = {}

    def get_minimum_update_interval(self) -> float:
        """The computer's own interval (s), or the share of the youngest job's age where that is longer."""
        asked = float(super().get_minimum_update_interval())
        began = [self._began[job] for job in self._job_update_requests]
        age = time.monotonic() - max(began) if began else 0.0
        return max(asked, min(SHARE * age, LONGEST))

    @contextlib.contextmanager
    def request_job_info_update(self, authinfo: AuthInfo, job_id: Hashable) -> Iterator[asyncio.Future[JobInfo]]:
        """As AiiDA's; remembers when a job was asked for first."""
        self._began.setdefault(str(job_id), time.monotonic())
        with super().request_job_info_update(authinfo, job_id) as request:
            yield request


class PatientJobManager(JobManager):
    """Gives every computer a :class:`PatientJobsList`."""

    def get_jobs_list(self, authinfo: AuthInfo) -> JobsList:
        """The list of a computer, made once."""
        key = cast(int, authinfo.pk)
        return self._job_lists.setdefault(key, PatientJobsList(authinfo, self._transport_queue))
