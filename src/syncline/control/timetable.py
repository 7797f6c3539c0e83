"""Schedules that survive a restart: APScheduler over the state database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from ..errors import SynclineError
from .schedule import trigger
from .state import StateDatabase

AGAIN_SECONDS = 2.0
MOST_AT_ONCE = 1000
"""Scheduled runs at the same time; each has a thread that waits for its end."""

_due: Callable[[str], None] = lambda name: None  # noqa: E731


def run_due(name: str) -> None:
    """What the stored jobs name; runs the pipeline in the supervisor of this process, to the run's end."""
    _due(name)


class Timetable:
    """Calls `due` with a pipeline's name when its time has come, from a thread of its own, and not again
    before that call has returned. A time that passed while nobody was there counts once."""

    def __init__(
        self, state: StateDatabase, schedules: Mapping[str, str], due: Callable[[str], None]
    ) -> None:
        global _due
        _due = due
        self._state, self._schedules = state, schedules
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # a skipped run is no fault
        self._store = _OwnJobs(state.engine, schedules)
        self._scheduler = BackgroundScheduler(
            jobstores={"default": self._store},
            executors={"default": ThreadPoolExecutor(MOST_AT_ONCE)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            jobstore_retry_interval=AGAIN_SECONDS,
        )

    def start(self) -> None:
        """Begin. SynclineError when the state database cannot be used."""
        with self._state.told("read"):
            self._scheduler.start()
        self.mend()

    def keep(self, schedules: Mapping[str, str]) -> None:
        """Keep to these schedules from now on. SynclineError when the state database cannot be used; `mend`
        does the rest later."""
        gone = self._schedules.keys() - schedules.keys()
        self._schedules, self._store.names = schedules, list(schedules)
        with self._state.told("write"):
            for name in gone:
                with suppress(JobLookupError):
                    self._scheduler.remove_job(name)
        self.mend()

    def mend(self) -> None:
        """See that every schedule is stored as it is configured: the state database may have been lost."""
        with self._state.told("write"):
            for name, text in self._schedules.items():
                job = self._scheduler.get_job(name)
                if job is None or job.name != text:
                    self._add(name, text)

    def _add(self, name: str, text: str) -> None:
        first = {"next_run_time": datetime.now().astimezone()} if text.startswith("every") else {}
        self._scheduler.add_job(
            run_due, trigger(text), [name], id=name, name=text, replace_existing=True, **first
        )

    def close(self) -> None:
        """No more calls; one that is under way is not waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)


class _OwnJobs(SQLAlchemyJobStore):  # type: ignore[misc]
    """The jobs of these pipelines only: other supervisors keep theirs in the same table. What goes wrong in
    the database while the scheduler looks for due jobs must not end its thread; `mend` comes by again."""

    def __init__(self, engine: sa.Engine, names: Collection[str]) -> None:
        super().__init__(engine=engine)
        self.names = list(names)

    def _get_jobs(self, *conditions: Any) -> Any:
        return super()._get_jobs(*conditions, self.jobs_t.c.id.in_(self.names))

    def get_next_run_time(self) -> Any:
        query = sa.select(sa.func.min(self.jobs_t.c.next_run_time)).where(self.jobs_t.c.id.in_(self.names))
        try:
            with self.engine.begin() as connection:
                found = connection.execute(query).scalar()
        except (sa.exc.SQLAlchemyError, SynclineError):
            return datetime.now().astimezone() + timedelta(seconds=AGAIN_SECONDS)
        return None if found is None else datetime.fromtimestamp(found).astimezone()

    def update_job(self, job: Any) -> None:
        try:
            super().update_job(job)
        except (sa.exc.SQLAlchemyError, SynclineError, JobLookupError):
            return
