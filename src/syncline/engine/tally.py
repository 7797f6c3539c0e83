"""Counts what an observer is told, for the final report."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ..errors import SynclineError
from ..model import Lag, Position, State, TableName
from .report import Observer, Report


class Tally:
    """Passes everything on to an observer, one call at a time, and keeps each table's figures."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._lock = threading.Lock()
        self._rows: dict[TableName, int] = {}
        self._before: dict[TableName, int] = {}
        self._changes: dict[TableName, int] = {}
        self._begun: dict[TableName, float] = {}
        self._ended: dict[TableName, float] = {}

    def fill(self, report: Report) -> None:
        """Put the figures into the tables of the report."""
        now = time.monotonic()
        for table in report.tables:
            table.rows_copied = self._rows.get(table.table, 0)
            table.rows_before = self._before.get(table.table, 0)
            table.changes_applied = self._changes.get(table.table, 0)
            if table.table in self._begun:
                table.seconds = self._ended.get(table.table, now) - self._begun[table.table]

    def planned(self, tables: Sequence[tuple[TableName, int | None]]) -> None:
        """See Observer."""
        with self._lock:
            self._observer.planned(tables)

    def notice(self, text: str) -> None:
        """See Observer."""
        with self._lock:
            self._observer.notice(text)

    def failed(self, error: SynclineError) -> None:
        """See Observer."""
        with self._lock:
            self._observer.failed(error)

    def state(self, table: TableName, state: State, detail: str) -> None:
        """See Observer."""
        with self._lock:
            if state is State.CATCHING_UP:
                self._ended.setdefault(table, time.monotonic())
            self._observer.state(table, state, detail)

    def resumed(self, table: TableName, rows: int) -> None:
        """See Observer."""
        with self._lock:
            self._rows[table] = rows
            self._before[table] = rows
            self._observer.resumed(table, rows)

    def copied(self, table: TableName, rows: int, nbytes: int) -> None:
        """See Observer."""
        with self._lock:
            self._begun.setdefault(table, time.monotonic())
            self._rows[table] = self._rows.get(table, 0) + rows
            self._observer.copied(table, rows, nbytes)

    def applied(self, table: TableName, changes: int) -> None:
        """See Observer."""
        with self._lock:
            self._changes[table] = self._changes.get(table, 0) + changes
            self._observer.applied(table, changes)

    def reached(self, position: Position) -> None:
        """See Observer."""
        with self._lock:
            self._observer.reached(position)

    def behind(self, lag: Lag) -> None:
        """See Observer."""
        with self._lock:
            self._observer.behind(lag)

    def parked(self, keys: int) -> None:
        """See Observer."""
        with self._lock:
            self._observer.parked(keys)

    def comparing(self, table: TableName) -> None:
        """See Observer."""
        with self._lock:
            self._observer.comparing(table)


class Beside:
    """Passes on what a side stream tells, but for where it is: its pipeline is where the main stream is."""

    def __init__(self, observer: Observer) -> None:
        self.planned, self.notice, self.failed = observer.planned, observer.notice, observer.failed
        self.state, self.comparing, self.resumed = observer.state, observer.comparing, observer.resumed
        self.copied, self.applied = observer.copied, observer.applied

    def reached(self, position: Position) -> None:
        """Of no consequence to others."""

    def behind(self, lag: Lag) -> None:
        """Of no consequence to others."""

    def parked(self, keys: int) -> None:
        """Counted once its tables are the main stream's."""
