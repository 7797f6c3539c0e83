"""A database of this process as a source: its log, followed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ...connector import Notice
from ...errors import LogLost, Refused
from ...model import (
    Batch,
    Changes,
    Lag,
    Position,
    Problem,
    Schema,
    SchemaChange,
    Segment,
    Sighting,
    TableName,
    Truncate,
    Writer,
)
from ...model.batch import Path
from .cells import UNSENT, Row, rows_of
from .database import Altered, Emptied, Logged, Slot, Written
from .store import MemoryStore


class MemorySource(MemoryStore):
    """A source whose positions are the numbers of its transactions."""

    def attach(self, stream: str, tables: Sequence[Schema], notice: Notice) -> bool:
        """Keep the log for the stream from now on."""
        database = self._database
        with database.changed:
            for fault in self._faults(tables):
                raise fault
            begins = stream not in database.slots
            slot = database.slots.setdefault(stream, Slot(released=database.last))
            for schema in tables:
                slot.tables.setdefault(schema.table, database.last)
            return begins

    def check(
        self, stream: str, tables: Sequence[Schema], *, begun: bool, deep: bool = False
    ) -> Sequence[Problem]:
        """Tables without a key."""
        with self._database.changed:
            return list(map(Problem.of, self._faults(tables)))

    def _faults(self, tables: Sequence[Schema]) -> Iterator[Refused]:
        for schema in tables:
            if not self._database.table(schema.table).schema.key:
                yield Refused("attach", f"table {schema.table}", "it has no primary key", "add one")

    def size(self, tables: Sequence[Schema]) -> int | None:
        """Nobody counts bytes here."""
        return None

    def writers(self, seconds: float) -> Sequence[Writer]:
        """Nobody can be named here."""
        return []

    def detach(self, stream: str) -> None:
        """Keep the log for the stream no longer."""
        with self._database.changed:
            self._database.slots.pop(stream, None)
            self._database.retire()
            self._database.changed.notify_all()

    def narrow(self, stream: str, tables: Sequence[Schema]) -> None:
        """Forget since when other tables are told."""
        with self._database.changed:
            told = self._database.slots[stream].tables if stream in self._database.slots else {}
            for table in set(told) - {schema.table for schema in tables}:
                del told[table]

    def attached(self, stream: str) -> bool:
        """Whether the log is kept for the stream."""
        with self._database.changed:
            return stream in self._database.slots

    def check_log(self, stream: str, after: Position) -> None:
        """Compare the position with both ends of the log (Promise 7)."""
        with self._database.changed:
            self._slot(stream, int(after))

    def floor(self, notice: Notice) -> Position:
        """The last transaction, once readers see it."""
        database = self._database
        with database.changed:
            last = database.last
            if database.shown < last:
                notice(f"waiting for transaction {last} of {self.name} to become visible")
                self._wait(lambda: database.shown >= last, None)
            return Position(str(last))

    def ceiling(self) -> Position:
        """The last transaction in the log."""
        with self._database.changed:
            return Position(str(self._database.last))

    def changes(
        self,
        stream: str,
        tables: Sequence[Schema],
        after: Position,
        *,
        skip: str,
        max_bytes: int,
        max_wait: float,
        until: Position | None = None,
    ) -> Iterator[Batch]:
        """The log after a position; an incomplete piece's `upto` is the position before its transaction."""
        database = self._database
        telling = _Telling(tables, skip, database.identity.id)
        at, end = int(after), None if until is None else int(until)
        while end is None or at < end or at == int(after):
            with database.changed:
                self._slot(stream, at)
                if end is None or at < end:
                    self._wait(lambda: database.last > at, max_wait)  # noqa: B023 (called before `at` moves)
                taken = _take(database.after(at), max_bytes, end)
                telling.since = dict(self._slot(stream, at).tables)
            for batch in telling.batches(at, taken, max_bytes):
                yield batch
                at = int(batch.upto)
            if end is not None and at >= end:
                return

    def inspect(self, tables: Sequence[Schema]) -> Sequence[SchemaChange | Sighting]:
        """Nothing: this log tells everything."""
        return ()

    def compare(self, a: Position, b: Position) -> int:
        """By number."""
        return int(a) - int(b)

    def release(self, stream: str, upto: Position) -> None:
        """Drop the log that no stream needs any more (Promise 1)."""
        with self._database.changed:
            slot = self._database.slots.get(stream)
            if slot is None:
                raise self._lost(stream, "its log was taken away")
            slot.released = max(slot.released, int(upto))
            self._database.retire()

    def canary(self, stream: str, number: int) -> bool:
        """None: the log is read where it is written."""
        return False

    def lag(self, stream: str, at: Position) -> Lag:
        """Bytes of the log after a position, and of all that is retained."""
        with self._database.changed:
            behind = sum(logged.nbytes for logged in self._database.after(int(at)))
            return Lag(behind, sum(logged.nbytes for logged in self._database.log))

    def _slot(self, stream: str, at: int) -> Slot:
        """The stream's slot, when it holds everything after that number."""
        database = self._database
        slot = database.slots.get(stream)
        if slot is None:
            raise self._lost(stream, "its log was taken away")
        if slot.released > at:
            raise self._lost(stream, f"its log was released up to {slot.released}, it stands at {at}")
        if database.pruned > at:
            raise self._lost(stream, f"the log up to {database.pruned} is gone, it stands at {at}")
        if database.last < at:
            raise self._lost(stream, f"the log ends at {database.last}, before it: it stands at {at}")
        return slot

    def _lost(self, stream: str, reason: str) -> LogLost:
        return LogLost("go on with", f"stream {stream} of {self.name}", reason, "copy its tables anew")


def _take(log: Iterator[Logged], max_bytes: int, end: int | None) -> list[Logged]:
    """Whole transactions of about `max_bytes`, none after `end`."""
    taken: list[Logged] = []
    size = 0
    for logged in log:
        if end is not None and logged.number > end:
            break
        taken.append(logged)
        size += logged.nbytes
        if size >= max_bytes:
            break
    return taken


class _Telling:
    """How one reader is told transactions: which tables, by which path, since when."""

    def __init__(self, tables: Sequence[Schema], skip: str, store: str) -> None:
        self._schemas = {schema.table: schema for schema in tables}
        self._skip, self._store = skip, store
        self._altered: set[TableName] = set()
        self.since: dict[TableName, int] = {}

    def batches(self, at: int, taken: Sequence[Logged], max_bytes: int) -> Iterator[Batch]:
        """The transactions as batches from `at` on: one empty batch when there are none."""
        if not taken:
            yield Batch(Position(str(at)), Position(str(at)))
        run: list[tuple[Logged, list[Segment]]] = []
        paths: dict[TableName, Path] = {}
        for logged in taken:
            if logged.nbytes > max_bytes:
                if run:
                    yield _batch(at, run)
                    at = run[-1][0].number
                yield from self._pieces(at, logged, max_bytes)
                at, run, paths = logged.number, [], {}
                continue
            segments = self._segments(logged, logged.events)
            mine = Batch(Position(""), Position(""), segments).paths()
            if any(paths.get(table, path) != path for table, path in mine.items()):
                yield _batch(at, run)
                at, run, paths = run[-1][0].number, [], {}
            paths |= mine
            run.append((logged, segments))
        if run:
            yield _batch(at, run)

    def _pieces(self, at: int, logged: Logged, max_bytes: int) -> Iterator[Batch]:
        """One transaction in pieces, all to be applied as one."""
        here, end = Position(str(at)), Position(str(logged.number))
        parts: list[list[Written | Emptied | Altered]] = [[]]
        size = 0
        for event in logged.events:
            if size >= max_bytes:
                parts.append([])
                size = 0
            parts[-1].append(event)
            size += event.nbytes
        for part in parts[:-1]:
            yield Batch(here, here, self._segments(logged, part), complete=False)
        yield Batch(here, end, self._segments(logged, parts[-1]), True, 1, logged.nbytes)

    def _segments(self, logged: Logged, events: Sequence[Written | Emptied | Altered]) -> list[Segment]:
        """What of a transaction this reader is told; rows that came by the store it feeds are left out
        when their whole transaction is known (Race 16)."""
        segments: list[Segment] = []
        rows: dict[TableName, list[Written]] = {}
        for event in events:
            if isinstance(event, Written):
                if self._tells(logged, event.table) and self._fits(event, segments):
                    rows.setdefault(event.table, []).append(event)
                continue
            segments += self._changes(logged, rows)
            rows = {}
            if isinstance(event, Emptied):
                tables = tuple(table for table in event.tables if self._tells(logged, table))
                for path in dict.fromkeys(self._path(logged, table) for table in tables):
                    same = tuple(table for table in tables if self._path(logged, table) == path)
                    segments.append(Truncate(same, path))
            elif self._is_asked(logged, event.table):
                self._altered.add(event.table)
                segments.append(SchemaChange(event.table, event.description))
        return segments + self._changes(logged, rows)

    def _is_asked(self, logged: Logged, table: TableName) -> bool:
        asked = table in self._schemas and table not in self._altered
        return asked and self.since.get(table, logged.number) < logged.number

    def _tells(self, logged: Logged, table: TableName) -> bool:
        return self._is_asked(logged, table) and self._skip not in self._path(logged, table)

    def _path(self, logged: Logged, table: TableName) -> Path:
        return logged.mark.path(table, self._store) if logged.mark else (self._store,)

    def _fits(self, event: Written, segments: list[Segment]) -> bool:
        """Whether the row is of the shape the stream knows (Promise 4)."""
        known, told = self._schemas[event.table], event.schema
        shapes = [[(column.name, column.type) for column in schema.stored] for schema in (known, told)]
        if shapes[0] == shapes[1] and known.key == told.key:
            return True
        self._altered.add(event.table)
        segments.append(SchemaChange(event.table, "its columns are not those that the stream knows"))
        return False

    def _changes(self, logged: Logged, rows: dict[TableName, list[Written]]) -> list[Segment]:
        return [self._columns(table, written, self._path(logged, table)) for table, written in rows.items()]

    def _columns(self, table: TableName, written: Sequence[Written], path: Path) -> Changes:
        schema = self._schemas[table]
        nothing: Row = (UNSENT,) * len(schema.names)
        before = [change.before or nothing[: len(schema.key)] for change in written]
        after = [change.after or nothing for change in written]
        kinds = bytes(change.kind for change in written)
        return Changes(table, kinds, rows_of(schema.key_columns, before), rows_of(schema.stored, after), path)


def _batch(at: int, run: Sequence[tuple[Logged, list[Segment]]]) -> Batch:
    """Whole transactions as one batch."""
    return Batch(
        Position(str(at)),
        Position(str(run[-1][0].number)),
        list(itertools.chain.from_iterable(segments for _, segments in run)),
        transactions=len(run),
        log_bytes=sum(logged.nbytes for logged, _ in run),
    )
