"""What the state database holds, as values, and the questions that it answers; `state` opens and writes it.

Light to import, for who only looks (`inquiry`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import orjson

from ..observe.alarms import Raised
from ..observe.figures import Figures, Trouble
from .project import Project
from .stores import resolve

VERSION = "0003"
BUSY_SECONDS = 2.0
STALE_SECONDS = 15.0
"""A beat that is older is of a supervisor that is gone."""

Select = Callable[[str], Iterable[Sequence[Any]]]
"""Gives the rows of a SELECT."""
Answer = TypeVar("Answer")


class Phase(StrEnum):
    """Where a pipeline stands in the eyes of its supervisor."""

    RUNNING = "running"
    WAITING = "waiting"  # to be started again, at `retry_at`
    SCHEDULED = "scheduled"
    PAUSED = "paused"
    HALTED = "halted"  # until somebody resumes it
    ENDED = "ended"  # of a run with --once
    STOPPED = "stopped"  # the supervisor ended cleanly


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked of a pipeline last, and when."""

    paused: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """How the supervisor of a pipeline saw it last. Processes are keys of `processes.key_of`; `beat` is when
    it was looked at, `retry_at` when it is started again, all in seconds since 1970. `remark` says what of
    the configuration is not what runs."""

    phase: str
    host: str
    supervisor: str
    worker: str | None
    since: float
    beat: float
    retry_at: float | None = None
    exit_code: int | None = None
    trouble: Trouble | None = None
    alarms: tuple[Raised, ...] = ()
    remark: str = ""

    def says_the_same(self, other: WorkerRow) -> bool:
        """Whether nothing lies between the two that somebody who looks should see at once."""
        return self._news() == other._news()

    def _news(self) -> tuple[object, ...]:
        alarms = [(one.condition.kind, one.condition.table, one.since) for one in self.alarms]
        return self.phase, self.worker, alarms, self.remark

    def to_columns(self) -> dict[str, Any]:
        """The columns of its row."""
        columns = {name: getattr(self, name) for name in PROCESSES}
        if self.trouble is not None:
            members = {name: getattr(self.trouble, name) for name in Trouble.__slots__}
            columns["trouble"] = orjson.dumps(members).decode()
        alarms = [alarm.to_json() for alarm in self.alarms]
        columns["alarms"] = orjson.dumps(alarms).decode() if alarms else None
        return columns


PROCESSES = [field.name for field in fields(WorkerRow)]


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A run that ended: the document of `--json`."""

    pipeline: str
    ended: float
    exit_code: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stock:
    """All that is stored of pipelines as they are now, by their names."""

    wishes: Mapping[str, Wish]
    workers: Mapping[str, WorkerRow]
    figures: Mapping[str, Figures]
    next_runs: Mapping[str, float]


def wishes(select: Select) -> dict[str, Wish]:
    """What was asked of which pipeline; one that is not there is to run."""
    rows = select("SELECT pipeline, paused, since FROM wishes")
    return {name: Wish(bool(paused), since) for name, paused, since in rows}


def workers(select: Select) -> dict[str, WorkerRow]:
    """How supervisors saw their pipelines last."""
    rows = select(f"SELECT pipeline, {', '.join(PROCESSES)} FROM workers")
    return {name: _worker(dict(zip(PROCESSES, cells, strict=True))) for name, *cells in rows}


def figures(select: Select) -> dict[str, Figures]:
    """What workers told last."""
    rows = select("SELECT pipeline, document FROM figures")
    return {name: Figures.from_json(orjson.loads(document)) for name, document in rows}


def next_runs(select: Select) -> dict[str, float]:
    """When the schedule starts which pipeline next, in seconds since 1970."""
    rows = select("SELECT id, next_run_time FROM apscheduler_jobs")
    return {name: moment for name, moment in rows if moment}


def stock(select: Select) -> Stock:
    """All that is known of pipelines."""
    return Stock(wishes(select), workers(select), figures(select), next_runs(select))


def reports(select: Select, pipelines: Collection[str], most: int) -> list[ReportRow]:
    """The last reports of these pipelines, the newest first."""
    rows = select("SELECT pipeline, ended, exit_code, document FROM reports ORDER BY id DESC")
    wanted = (row for row in rows if row[0] in pipelines)
    return [
        ReportRow(name, ended, exit_code, orjson.loads(document))
        for name, ended, exit_code, document in islice(wanted, most)
    ]


def state_file(project: Project) -> Path | None:
    """The SQLite file that is the state database; None where it is something else."""
    given = project.configuration.state.url
    if given is None:
        return project.room / "state.db"
    scheme, _, path = resolve(given).partition(":///")
    return project.folder / Path(path).expanduser() if scheme == "sqlite" and "?" not in path else None


def _worker(columns: dict[str, Any]) -> WorkerRow:
    trouble = orjson.loads(columns["trouble"]) if columns["trouble"] else None
    alarms = tuple(map(Raised.from_json, orjson.loads(columns["alarms"] or "[]")))
    more = {"trouble": Trouble(**trouble) if trouble else None, "alarms": alarms}
    return WorkerRow(**columns | more | {"remark": columns["remark"] or ""})
