"""A database of this process as a target: streams, fences, ledgers and transactions with the position."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from ...connector import Claim
from ...errors import Corruption, NeedsOperator, Superseded, Transient, Unfit
from ...model import (
    Identity,
    Mark,
    Parked,
    Position,
    Problem,
    Rows,
    Schema,
    SchemaChange,
    Span,
    SpanRecord,
    TableName,
    TableState,
)
from .cells import UNSENT, Key, Row, rows_of, tuples_of
from .database import StreamRow, Table, Writing, default_of
from .store import MemoryStore


class MemoryTarget(MemoryStore):
    """A target that holds every canonical type as it is."""

    def place(self, table: TableName) -> TableName:
        """The same name."""
        return table

    def refusals(self, schema: Schema) -> Sequence[str]:
        """None: a cell stays the Python object it is."""
        return ()

    def omissions(self, schema: Schema, planned: Collection[TableName] | None = None) -> Sequence[str]:
        """None: the schema is kept whole."""
        return ()

    def alteration(self, schema: Schema) -> str:
        """None."""
        return ""

    def mismatch(self, schema: Schema) -> str:
        """The first column or the key that differs."""
        with self._database.changed:
            existing = self._database.tables.get(schema.table)
        if existing is None:
            return ""
        there = {column.name: column for column in existing.schema.stored}
        for column in schema.stored:
            if column.name not in there:
                return f"it has no column {column.name}"
            if there[column.name].type.kind != column.type.kind:
                return f"column {column.name} is {there[column.name].type}, not {column.type}"
        for name, column in there.items():
            if name not in schema.names and not column.nullable and column.default is None:
                return f"column {name} needs a value"
        if existing.schema.key != schema.key:
            return f"its key is ({', '.join(existing.schema.key)}), not ({', '.join(schema.key)})"
        return ""

    def holds_rows(self, schema: Schema) -> bool:
        """Whether the table has a row."""
        with self._database.changed:
            table = self._database.tables.get(schema.table)
            return table is not None and bool(table.rows)

    def replaceable(self, schema: Schema) -> str:
        """Always: nothing hangs on a table here."""
        return ""

    def check(self, stream: str, tables: Sequence[Schema], *, nbytes: int | None) -> Sequence[Problem]:
        """None: everything is allowed here."""
        return []

    def claim(self, stream: str, holding: int | None = None) -> Claim:
        """Take the stream; older claims can begin and commit nothing any more (Race 12)."""
        with self._database.changed:
            row = self._database.streams.get(stream, StreamRow())
            if holding is not None and row.fence != holding:
                raise _superseded(stream, row.fence, holding)
            self._database.streams[stream] = replace(row, fence=row.fence + 1)
            return _claim(stream, self._database.streams[stream])

    def peek(self, stream: str) -> Claim | None:
        """The stream as it is."""
        with self._database.changed:
            row = self._database.streams.get(stream)
            return None if row is None else _claim(stream, row)

    def streams(self) -> Sequence[str]:
        """Every stream of this database."""
        with self._database.changed:
            return sorted(self._database.streams)

    def spans(self, claim: Claim, table: TableName) -> Sequence[SpanRecord]:
        """The ledger of a table."""
        with self._database.changed:
            return self.held(claim).spans.get(table, ())

    def prepare(self, schema: Schema, *, aside: bool) -> bool:
        """Make the table bare: its indexes come with `finish`."""
        database = self._database
        bare = replace(schema, system="memory", indexes=(), foreign_keys=(), problem="", estimated_rows=None)
        with database.changed:
            if aside:
                database.aside[schema.table] = Table(bare)
            elif schema.table in database.tables:
                return False
            else:
                database.tables[schema.table] = Table(bare)
            return True

    def begin(self, claim: Claim, mark: Mark) -> MemoryApply:
        """The transaction that may move the position (Promise 2)."""
        return MemoryApply(self, claim, mark, moves=True)

    def begin_copy(self, claim: Claim, mark: Mark) -> MemoryApply:
        """A transaction that leaves the position alone (Race 5)."""
        return MemoryApply(self, claim, mark, moves=False)

    def finish(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Give the tables that were made here their indexes, and the foreign keys with both ends here."""
        database = self._database
        with database.changed:
            self.held(claim)
            for state in states:
                if not state.created:
                    continue
                table = self.table(state)
                references = [key for key in state.schema.foreign_keys if key.parent in database.tables]
                indexes = state.schema.indexes or table.schema.indexes
                schema = replace(table.schema, indexes=indexes, foreign_keys=tuple(references))
                finished = table.remade(schema)
                if finished.clashes:
                    name, values = min(finished.clashes, key=repr)
                    why = f"two rows have the values {values!r}"
                    raise NeedsOperator("make", f"unique index {name} of table {state.schema.table}", why)
                (database.aside if state.aside else database.tables)[state.schema.table] = finished

    def advance_sequences(self, schema: Schema, numbers: Mapping[str, int]) -> None:
        """Go on after these numbers."""
        with self._database.changed:
            sequences = self._database.sequences
            for column, number in numbers.items():
                place = schema.table, column
                sequences[place] = max(number, sequences.get(place, 0))

    def join(self, side: Claim, main: Claim, states: Sequence[TableState]) -> None:
        """Move the side stream's tables and ledger into the main stream (Race 4)."""
        streams = self._database.streams
        with self._database.changed:
            joining, staying = self.held(side), self.held(main)
            if joining.position != staying.position:
                raise Corruption(
                    "join",
                    f"stream {side.stream} to {main.stream}",
                    f"one stands at {joining.position}, the other at {staying.position}",
                )
            streams[main.stream] = replace(
                staying,
                tables={**staying.tables, **{state.schema.table: state for state in states}},
                spans={**staying.spans, **joining.spans},
                parked={
                    **{
                        at: entry for at, entry in staying.parked.items() if entry.table not in joining.tables
                    },
                    **joining.parked,
                },
            )
            del streams[side.stream]

    def swap(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Put the tables built aside in the place of the old ones; their readers are told."""
        database = self._database
        with database.writing() as writing:
            row = self.held(claim)
            for state in states:
                table = state.schema.table
                database.tables[table] = database.aside.pop(table)
                writing.alter(table, "another table was put in its place")
            recorded = {state.schema.table: state for state in states}
            writing.keep(claim.stream, replace(row, tables={**row.tables, **recorded}))

    def leave(self, claim: Claim, tables: Sequence[TableName]) -> None:
        """Keep the rest of the stream's row."""
        with self._database.changed:
            row = self.held(claim)
            for table in tables:
                if table in row.tables and row.tables[table].aside:
                    self._database.aside.pop(table, None)
            self._database.streams[claim.stream] = replace(
                row,
                tables={table: state for table, state in row.tables.items() if table not in tables},
                spans={table: spans for table, spans in row.spans.items() if table not in tables},
                parked={at: entry for at, entry in row.parked.items() if entry.table not in tables},
                asked=row.asked - set(tables),
            )

    def mark_removing(self, claim: Claim) -> None:
        """Record it under the fence."""
        with self._database.changed:
            self._database.streams[claim.stream] = replace(self.held(claim), removing=True)

    def parked(self, stream: str) -> Sequence[Parked]:
        """The stream's parked keys."""
        with self._database.changed:
            row = self._database.streams.get(stream, StreamRow())
            return sorted(row.parked.values(), key=lambda entry: (entry.table, repr(entry.key)))

    def ask_retry(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Mark them."""
        with self._database.changed:
            meant = self._meant(stream, table, keys)
            self._set_parked(stream, {place: replace(entry, asked=True) for place, entry in meant.items()})
            return len(meant)

    def drop_parked(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Forget them."""
        with self._database.changed:
            meant = self._meant(stream, table, keys)
            self._set_parked(stream, {}, without=meant)
            return len(meant)

    def _meant(
        self, stream: str, table: TableName | None, keys: Sequence[Key] | None
    ) -> dict[tuple[TableName, Key], Parked]:
        row = self._database.streams.get(stream, StreamRow())
        return {
            place: entry
            for place, entry in row.parked.items()
            if table in (None, entry.table) and (table is None or keys is None or entry.key in keys)
        }

    def _set_parked(
        self,
        stream: str,
        changed: Mapping[tuple[TableName, Key], Parked],
        without: Mapping[tuple[TableName, Key], Parked] | None = None,
    ) -> None:
        row = self._database.streams.get(stream)
        if row is not None:
            kept = {place: entry for place, entry in row.parked.items() if place not in (without or {})}
            self._database.streams[stream] = replace(row, parked={**kept, **changed})

    def ask_anew(self, stream: str, tables: Sequence[TableName]) -> None:
        """Store it; the stream's owner looks there."""
        with self._database.changed:
            row = self._database.streams.get(stream, StreamRow())
            self._database.streams[stream] = replace(row, asked=row.asked | set(tables))

    def asked_anew(self, stream: str) -> Sequence[TableName]:
        """What is stored."""
        with self._database.changed:
            return sorted(self._database.streams.get(stream, StreamRow()).asked)

    def forget(self, stream: str) -> None:
        """Take the stream's row away, and what it had half-built aside."""
        with self._database.changed:
            row = self._database.streams.pop(stream, StreamRow())
            for table, state in row.tables.items():
                if state.aside:
                    self._database.aside.pop(table, None)

    def held(self, claim: Claim) -> StreamRow:
        """The stream's row, while the claim holds its fence; under the lock."""
        row = self._database.streams.get(claim.stream)
        if row is None or row.fence != claim.fence:
            raise _superseded(claim.stream, row.fence if row else None, claim.fence)
        return row

    def table(self, state: TableState) -> Table:
        """Where the rows of a table go; under the lock."""
        if not state.aside:
            return self._database.table(state.schema.table)
        if state.schema.table not in self._database.aside:
            raise Corruption("write to", f"table {state.schema.table}", "what was built aside is gone")
        return self._database.aside[state.schema.table]


Step = Callable[[Writing], None]


class MemoryApply:
    """A transaction that gathers its statements and runs them at commit.

    Every write is given by its outcome, so that what `upsert` returns holds at commit too, or the commit is
    Transient.
    """

    def __init__(self, target: MemoryTarget, claim: Claim, mark: Mark, *, moves: bool) -> None:
        self._target, self._claim, self._mark, self._moves = target, claim, mark, moves
        self._steps: list[Step] = []
        self._present: dict[TableName, dict[Key, bool]] = {}
        self._emptied: set[TableName] = set()
        with target._database.changed:
            self._row = self._check()

    def _check(self) -> StreamRow:
        """The stream's row, unless fence or position have moved (Promise 2)."""
        row = self._target.held(self._claim)
        if self._moves and row.position != self._claim.position:
            raise Corruption(
                "apply",
                f"stream {self._claim.stream} to {self._target.name}",
                f"its position is {row.position}, not {self._claim.position}",
            )
        return row

    def load(self, state: TableState, rows: Rows) -> None:
        """Add rows."""
        names = state.schema.names
        tuples = tuples_of(rows, names)
        self._refuse_nulls(state, tuples)

        def run(writing: Writing) -> None:
            table = self._target.table(state)
            for row in tuples:
                writing.insert(table, _new_row(table, names, row))

        self._steps.append(run)
        self._remember(state, tuples)

    def upsert(self, state: TableState, rows: Rows) -> Rows:
        """Write rows by key."""
        schema = state.schema
        tuples = tuples_of(rows, schema.names)
        self._refuse_nulls(state, tuples)
        written: list[Row] = []
        missing: list[Key] = []
        for row in tuples:
            if UNSENT in row and not self._is_there(state, _key(schema, row)):
                missing.append(_key(schema, row))
            else:
                written.append(row)

        def run(writing: Writing) -> None:
            table = self._target.table(state)
            for row in written:
                _upsert(writing, table, schema, row)

        self._steps.append(run)
        self._remember(state, written)
        return rows_of(schema.key_columns, missing)

    def delete(self, state: TableState, keys: Rows) -> None:
        """Delete by key."""
        gone = tuples_of(keys, state.schema.key)

        def run(writing: Writing) -> None:
            table = self._target.table(state)
            for key in gone:
                writing.delete(table, key)

        self._steps.append(run)
        self._present.setdefault(state.schema.table, {}).update(dict.fromkeys(gone, False))

    def vacate(self, state: TableState, keys: Rows) -> None:
        """Nothing: references are not enforced here, so that rows are deleted first."""

    def truncate(self, states: Sequence[TableState]) -> None:
        """Delete all rows, told by this store's log as one truncate."""
        self._steps.append(lambda writing: writing.truncate([self._target.table(state) for state in states]))
        for state in states:
            self._emptied.add(state.schema.table)
            self._present[state.schema.table] = {}

    def alter(self, state: TableState, change: SchemaChange) -> bool:
        """False: a table is made once."""
        return False

    def record(self, states: Sequence[TableState]) -> None:
        """Store states."""
        recorded = {state.schema.table: state for state in states}
        self._change(lambda row: replace(row, tables={**row.tables, **recorded}))

    def park(self, parked: Sequence[Parked]) -> None:
        """Store parked keys; one that is there keeps its age."""

        def change(row: StreamRow) -> StreamRow:
            entries = dict(row.parked)
            for entry in parked:
                place = entry.table, entry.key
                entries[place] = replace(entries.get(place, entry), reason=entry.reason, asked=False)
            return replace(row, parked=entries)

        self._change(change)

    def unpark(self, table: TableName, keys: Sequence[Key]) -> None:
        """Forget parked keys."""
        places = {(table, key) for key in keys}
        self._change(
            lambda row: replace(
                row, parked={place: entry for place, entry in row.parked.items() if place not in places}
            )
        )

    def answer(self, tables: Sequence[TableName]) -> None:
        """Forget that they were asked for."""
        self._change(lambda row: replace(row, asked=row.asked - set(tables)))

    def plan_spans(self, state: TableState, spans: Sequence[Span]) -> None:
        """Store a ledger without rows."""
        planned = {state.schema.table: tuple(SpanRecord(span) for span in spans)}
        self._change(lambda row: replace(row, spans={**row.spans, **planned}))

    def record_span(self, state: TableState, number: int, rows: int) -> None:
        """Store one span's rows."""
        table = state.schema.table

        def change(row: StreamRow) -> StreamRow:
            records = list(row.spans.get(table, ()))
            if not 0 <= number < len(records):
                raise Corruption("record", f"span {number} of table {table}", "the ledger has no such span")
            records[number] = replace(records[number], rows=rows)
            return replace(row, spans={**row.spans, table: tuple(records)})

        self._change(change)

    def start(self, source: Identity, position: Position) -> None:
        """Store where the stream begins."""
        self._change(lambda row: replace(row, source=source, position=position))

    def linger(self) -> None:
        """Nobody ends this transaction for being idle."""

    def commit(self, upto: Position | None = None) -> None:
        """Run everything under the lock."""
        database, stream = self._target._database, self._claim.stream
        if upto is not None and not self._moves:
            raise Corruption("commit", f"a copy of stream {stream}", "it may not move the position")
        with database.writing(self._mark) as writing:
            self._row = self._check()
            for step in self._steps:
                step(writing)
            writing.keep(stream, self._row if upto is None else replace(self._row, position=upto))
        self._steps = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps = []

    def _refuse_nulls(self, state: TableState, rows: Sequence[Row]) -> None:
        with self._target._database.changed:
            columns = {column.name: column for column in self._target.table(state).schema.stored}
        for at, name in enumerate(state.schema.names):
            if not columns[name].nullable and any(row[at] is None for row in rows):
                raise Unfit("write to", f"table {state.schema.table}", f"column {name} holds no NULL")

    def _change(self, change: Callable[[StreamRow], StreamRow]) -> None:
        def run(_: Writing) -> None:
            self._row = change(self._row)

        self._steps.append(run)

    def _is_there(self, state: TableState, key: Key) -> bool:
        """Whether this transaction sees a row."""
        known = self._present.get(state.schema.table, {}).get(key)
        if known is None and state.schema.table not in self._emptied:
            with self._target._database.changed:
                known = key in self._target.table(state).rows
        return bool(known)

    def _remember(self, state: TableState, rows: Sequence[Row]) -> None:
        present = self._present.setdefault(state.schema.table, {})
        present.update((_key(state.schema, row), True) for row in rows)


def _upsert(writing: Writing, table: Table, schema: Schema, row: Row) -> None:
    key = _key(schema, row)
    if key in table.rows:
        cells = dict(zip(schema.names, row, strict=True))
        arranged = tuple(cells.get(name, UNSENT) for name in table.schema.names)
        writing.update(table, key, arranged, (None,) * len(arranged))
    elif UNSENT in row:
        why = "a row that was there was deleted meanwhile"
        raise Transient("write to", f"table {table.schema.table}, row {key!r}", why)
    else:
        writing.insert(table, _new_row(table, schema.names, row))


def _new_row(table: Table, names: Sequence[str], row: Row) -> Row:
    """A row of the source's columns in the order of the target's, whose further columns get defaults."""
    cells = dict(zip(names, row, strict=True))
    return tuple(
        cells[column.name] if column.name in cells else default_of(column) for column in table.schema.stored
    )


def _key(schema: Schema, row: Row) -> Key:
    return tuple(row[schema.names.index(name)] for name in schema.key)


def _claim(stream: str, row: StreamRow) -> Claim:
    return Claim(stream, row.fence, row.position, row.source, row.removing, dict(row.tables))


def _superseded(stream: str, fence: int | None, mine: int) -> Superseded:
    who = "the stream is gone" if fence is None else f"another worker holds fence {fence}"
    return Superseded("write for", f"stream {stream}", f"{who}, this one had {mine}")
