"""An observer that keeps the figures of one pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..engine.report import Report, Verdict
from ..errors import SynclineError
from ..model import Lag, Position, State, TableName
from .figures import COMPARING, SKIPPED, Figures, TableFigures, Trouble
from .rate import Rate


class Recorder:
    """Keeps what a run tells (`engine.report.Observer`), and gives it as one immutable snapshot.

    Safe to call from several threads. `tell` is given the sentences of a log: what the run says, and each
    new state of a table; with `event`, and where it is about one `table` and `state`.
    """

    def __init__(
        self, tell: Callable[..., None] = lambda text, **members: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._tell, self._clock = tell, clock
        self._lock = threading.Lock()
        self._tables: dict[TableName, TableFigures] = {}
        self._figures = Figures()
        self._rows, self._changes = Rate(), Rate()
        self._report = Report("", "", "")
        self._place: Position | None = None

    def snapshot(self) -> Figures:
        """The figures of this moment."""
        with self._lock:
            now = self._clock()
            left_out = {
                table.table: TableFigures(str(table.table), SKIPPED, table.detail)
                for table in self._report.tables
                if table.verdict is Verdict.SKIPPED
            }
            tables = sorted((self._tables | left_out).values(), key=lambda table: table.table)
            return replace(
                self._figures,
                at=now,
                stream=self._report.stream,
                source=self._report.source,
                target=self._report.target,
                tables=tuple(tables),
                rows_per_second=round(self._rows.value(now), 1),
                changes_per_second=round(self._changes.value(now), 1),
            )

    def follow(self, report: Report) -> None:
        """Take stream, source and target from this report, as soon as its run has them."""
        self._report = report

    def ended(self, report: Report) -> None:
        """The run is over, and this is its report: verdicts stand in place of states."""
        with self._lock:
            for table in report.tables:
                self._change(table.table, state=table.verdict.name.lower(), detail=table.detail)

    def failed(self, error: SynclineError) -> None:
        """The run ended with this error, or tries again after it."""
        with self._lock:
            now = self._clock()
            still = self._figures.still_since or now  # nobody looks at the log now: it may well grow
            self._figures = replace(self._figures, trouble=Trouble.of(error, now), still_since=still)

    # What the engine calls: engine.report.Observer.

    def planned(self, tables: Sequence[tuple[TableName, int | None]]) -> None:
        with self._lock:
            for name, rows in tables:
                self._change(name, expected_rows=rows)

    def notice(self, text: str) -> None:
        with self._lock:
            self._figures = replace(self._figures, notice=text)
        self._tell(text, event="notice")

    def state(self, table: TableName, state: State, detail: str) -> None:
        self._enter(table, str(state), detail)

    def comparing(self, table: TableName) -> None:
        self._enter(table, COMPARING, "")

    def resumed(self, table: TableName, rows: int) -> None:
        with self._lock:
            self._change(table, rows_copied=rows)

    def copied(self, table: TableName, rows: int, nbytes: int) -> None:
        with self._lock:
            self._change(table, rows_copied=self._of(table).rows_copied + rows)
            self._rows.add(self._clock(), rows)
            self._progress()
            if not any(figures.state == State.LIVE for figures in self._tables.values()):
                self._figures = replace(self._figures, still_since=None)  # a copy moves by rows

    def applied(self, table: TableName, changes: int) -> None:
        with self._lock:
            self._change(table, changes_applied=self._of(table).changes_applied + changes)
            self._changes.add(self._clock(), changes)

    def reached(self, position: Position) -> None:
        with self._lock:
            if position != self._figures.position:
                self._figures = replace(self._figures, position=position)
                self._progress()

    def behind(self, lag: Lag) -> None:
        with self._lock:
            now, old = self._clock(), self._figures
            moved = lag.amount == 0 or self._place not in (None, lag.at)
            self._place = lag.at
            self._figures = replace(
                old,
                lag=lag.amount,
                lag_unit=lag.unit,
                lag_seconds=None if lag.seconds is None else round(lag.seconds, 1),
                end_to_end_seconds=None if lag.end_to_end is None else round(lag.end_to_end, 2),
                lag_at=now,
                lag_since=old.lag_since or now,
                synced_at=old.synced_at if lag.seconds is None else now - lag.seconds,
                still_since=None if moved else old.still_since or now,
                retained=lag.retained,
                trouble=None if moved else old.trouble,  # else it may be what keeps it from moving
            )

    def parked(self, keys: int) -> None:
        with self._lock:
            self._figures = replace(self._figures, parked=keys)

    def _of(self, table: TableName) -> TableFigures:
        return self._tables.get(table, TableFigures(str(table)))

    def _change(self, table: TableName, **members: object) -> None:
        self._tables[table] = replace(self._of(table), **members)  # type: ignore[arg-type]

    def _progress(self) -> None:
        self._figures = replace(self._figures, progress_at=self._clock(), trouble=None)

    def _enter(self, table: TableName, state: str, detail: str) -> None:
        with self._lock:
            old = self._of(table)
            self._change(table, state=state, detail=detail)
        if (old.state, old.detail) != (state, detail):
            text = ": ".join([str(table), ", ".join(filter(None, [state, detail]))])
            self._tell(text, event="state", table=str(table), state=str(state), detail=detail)
