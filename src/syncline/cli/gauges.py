"""What a run has told so far, counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import SynclineError
from ..model import Lag, Position, State, TableName
from ..observe.rate import Rate

Clock = Callable[[], float]

WAITING, COMPARING = "waiting", "comparing"
_AT_WORK = (State.COPYING, COMPARING, State.GAP, State.CATCHING_UP)


@dataclass(slots=True)
class TableGauge:
    """One table as far as it was told; `expected` is how many rows it is thought to have."""

    name: TableName
    expected: int | None = None
    phase: str = WAITING
    detail: str = ""
    rows: int = 0
    nbytes: int = 0
    changes: int = 0
    row_rate: Rate = field(default_factory=Rate)
    byte_rate: Rate = field(default_factory=Rate)

    def seconds_left(self, now: float) -> float | None:
        """How long the copy will still take; None when that cannot be told."""
        rate = self.row_rate.value(now)
        if self.phase != State.COPYING or not self.expected or not rate:
            return None
        return max(0, self.expected - self.rows) / rate

    @property
    def share(self) -> float:
        """How much of the table is copied, from 0 to 1."""
        if self.phase not in (WAITING, State.COPYING):
            return 1.0
        return min(1.0, self.rows / self.expected) if self.expected else 0.0

    @property
    def busy(self) -> tuple[int, int]:
        """Sorts tables with the busiest first."""
        rank = _AT_WORK.index(self.phase) if self.phase in _AT_WORK else len(_AT_WORK)
        return rank + (self.phase == State.LIVE), -(self.expected or self.rows)


class Gauges:
    """An observer that counts, and tells its heirs through `told` and `said` what is new.

    Safe to call from several threads; heirs read under `lock`."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.tables: dict[TableName, TableGauge] = {}
        self.lag = Lag(0, 0)
        self.position: Position | None = None
        self.change_rate = Rate()

    def told(self, table: TableGauge | None = None) -> None:
        """Figures have changed; with `table` it is in another phase."""

    def said(self, text: str) -> None:
        """A sentence for the user."""

    # What the engine calls: engine.report.Observer.

    def planned(self, tables: Sequence[tuple[TableName, int | None]]) -> None:
        with self.lock:
            for name, rows in tables:
                self._of(name).expected = rows
            self.told()

    def notice(self, text: str) -> None:
        with self.lock:
            self.said(text)

    def failed(self, error: SynclineError) -> None: ...

    def state(self, table: TableName, state: State, detail: str) -> None:
        with self.lock:
            self._enter(table, state, detail)

    def comparing(self, table: TableName) -> None:
        with self.lock:
            self._enter(table, COMPARING, "")

    def resumed(self, table: TableName, rows: int) -> None:
        with self.lock:
            self._of(table).rows = rows
            self.told()

    def copied(self, table: TableName, rows: int, nbytes: int) -> None:
        with self.lock:
            gauge, now = self._of(table), self.clock()
            gauge.rows += rows
            gauge.nbytes += nbytes
            gauge.row_rate.add(now, rows)
            gauge.byte_rate.add(now, nbytes)
            self.told()

    def applied(self, table: TableName, changes: int) -> None:
        with self.lock:
            self._of(table).changes += changes
            self.change_rate.add(self.clock(), changes)
            self.told()

    def reached(self, position: Position) -> None:
        self.position = position

    def parked(self, keys: int) -> None: ...

    def behind(self, lag: Lag) -> None:
        with self.lock:
            self.lag = lag
            self.told()

    # What heirs read.

    @property
    def rows(self) -> int:
        """All rows copied."""
        return sum(table.rows for table in self.tables.values())

    @property
    def changes(self) -> int:
        """All changes applied."""
        return sum(table.changes for table in self.tables.values())

    @property
    def expected(self) -> int | None:
        """The rows of all tables; None when that of one is not known."""
        known = [table.expected for table in self.tables.values() if table.expected is not None]
        return sum(known) if len(known) == len(self.tables) else None

    @property
    def copying(self) -> bool:
        """Whether a table is being copied."""
        return any(table.phase == State.COPYING for table in self.tables.values())

    @property
    def following(self) -> bool:
        """Whether every table that can be is live."""
        phases = {table.phase for table in self.tables.values()} - {State.FAILED}
        return phases == {State.LIVE}

    def row_rate(self, now: float) -> float:
        """Rows copied a second, of all tables."""
        return sum(table.row_rate.value(now) for table in self.tables.values())

    def byte_rate(self, now: float) -> float:
        """Bytes copied a second, of all tables."""
        return sum(table.byte_rate.value(now) for table in self.tables.values())

    def seconds_left(self, now: float) -> float | None:
        """How long the copy of all tables will still take; None when that cannot be told."""
        rate, open_rows = self.row_rate(now), 0
        for table in self.tables.values():
            if table.phase in (WAITING, State.COPYING):
                if table.expected is None:
                    return None
                open_rows += max(0, table.expected - table.rows)
        return open_rows / rate if rate and open_rows else None

    def _of(self, name: TableName) -> TableGauge:
        return self.tables.setdefault(name, TableGauge(name))

    def _enter(self, name: TableName, phase: str, detail: str) -> None:
        table = self._of(name)
        if (table.phase, table.detail) == (phase, detail):
            return
        table.phase, table.detail = phase, detail
        if phase == State.COPYING:
            table.row_rate.start(self.clock())
            table.byte_rate.start(self.clock())
        self.told(table)
