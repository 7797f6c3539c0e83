"""A target's open transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from ...connector import Claim
from ...errors import Unfit
from ...model import (
    Identity,
    Key,
    Mark,
    Parked,
    Position,
    Rows,
    SchemaChange,
    Span,
    TableName,
    TableState,
    Type,
)
from . import ledger
from .alter import alter
from .catalog import unique_indexes
from .codec import encode
from .connection import Connection, quote
from .declared import affinity, declare
from .store import encode_keys, is_unique_violation, place, storable_keys
from .tables import aside_name
from .triggers import MARK

Cells = tuple[Any, ...]


class SqliteApply:
    """One write transaction with the file's write lock. The mark is set before anything is written, so
    that the triggers of a log in this file copy it into every row they log, and cleared before the commit
    (Race 16)."""

    def __init__(self, db: Connection, claim: Claim, mark: Mark, *, copying: bool) -> None:
        self._db, self._claim, self._after = db, claim, claim.position
        self._done = False
        db.begin()
        try:
            if copying:
                ledger.check_fence(db, claim)
            else:
                ledger.check_position(db, claim)
            self._marked = db.has(MARK)
            if self._marked:
                db.execute(f"UPDATE {MARK} SET mark = ?", (mark.dumps(),))
        except BaseException:
            db.rollback()
            raise

    def load(self, state: TableState, rows: Rows) -> None:
        """Plain inserts; Unfit when a row collides with one that is there."""
        names = ", ".join(map(quote, rows.columns))
        marks = ", ".join("?" * len(rows.columns))
        sql = f"INSERT INTO {quote(_name(state))} ({names}) VALUES ({marks})"
        try:
            self._db.execute_many(sql, zip(*encode(state.schema, rows), strict=True))
        except sqlite3.IntegrityError as error:
            raise self._refused(state, error) from None

    def upsert(self, state: TableState, rows: Rows) -> Rows:
        """Whole rows by INSERT … ON CONFLICT of the key, rows with unsent cells by UPDATE of the sent
        ones. Where rows swap unique values, the values are moved out of the way first (Race 6)."""
        try:
            with self._db.savepoint():
                return self._upsert(state, rows)
        except sqlite3.IntegrityError as error:
            if not is_unique_violation(error):
                raise self._refused(state, error) from None
        with self._db.savepoint():
            return self._upsert_apart(state, rows)

    def delete(self, state: TableState, keys: Rows) -> None:
        """By key; absent ones are no error, nor are those that no row here can have."""
        values = storable_keys(state.schema, keys)
        with self._db.savepoint():
            self._write(state, f"DELETE FROM {quote(_name(state))} WHERE {_key_is(state)}", values)

    def vacate(self, state: TableState, keys: Rows) -> None:
        """Nothing: references are not enforced here, so that rows are deleted first."""

    def truncate(self, states: Sequence[TableState]) -> None:
        """DELETE without a condition: one statement, of this transaction."""
        for state in states:
            self._db.execute(f"DELETE FROM {quote(_name(state))}")

    def alter(self, state: TableState, change: SchemaChange) -> bool:
        """ALTER TABLE, which is part of the transaction here."""
        return alter(self._db, state, change, _name(state))

    def record(self, states: Sequence[TableState]) -> None:
        """Store the states of these tables."""
        ledger.write_states(self._db, self._claim.stream, states)

    def park(self, parked: Sequence[Parked]) -> None:
        """Store parked keys."""
        ledger.park(self._db, self._claim.stream, parked)

    def unpark(self, table: TableName, keys: Sequence[Key]) -> None:
        """Delete parked keys."""
        ledger.change_parked(self._db, f"DELETE FROM {ledger.PARKED}", self._claim.stream, table, keys)

    def answer(self, tables: Sequence[TableName]) -> None:
        """Delete what was asked for."""
        ledger.answer(self._db, self._claim.stream, tables)

    def plan_spans(self, state: TableState, spans: Sequence[Span]) -> None:
        """Put a table's spans into the ledger, in place of any that are there."""
        ledger.plan_spans(self._db, self._claim.stream, state.schema.table, spans)

    def record_span(self, state: TableState, number: int, rows: int) -> None:
        """Record that the span of that number is copied."""
        ledger.record_span(self._db, self._claim.stream, state.schema.table, number, rows)

    def start(self, source: Identity, position: Position) -> None:
        """Store the stream's source and first position."""
        ledger.start_stream(self._db, self._claim, source, position)
        self._after = position

    def linger(self) -> None:
        """Nobody ends this transaction for being idle."""

    def commit(self, upto: Position | None = None) -> None:
        """Commit; with `upto` the position moves in the same transaction (Promise 1)."""
        if upto is not None:
            ledger.move_position(self._db, self._claim, self._after, upto)
        if self._marked:
            self._db.execute(f"UPDATE {MARK} SET mark = NULL")
        self._db.commit()
        self._done = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._db.rollback()

    def _upsert(self, state: TableState, rows: Rows) -> Rows:
        columns = encode(state.schema, rows)
        masks = {at: mask.to_pylist() for at, mask in enumerate(rows.unsent) if mask is not None}
        patterns: dict[tuple[int, ...], list[int]] = defaultdict(list)
        if masks:
            for index in range(rows.count):
                patterns[tuple(at for at, mask in masks.items() if mask[index])].append(index)
        else:
            patterns[()] = list(range(rows.count))
        missing: list[int] = []
        for unsent, indices in patterns.items():
            sent = [at for at in range(len(columns)) if at not in unsent]
            cells = [[columns[at][index] for index in indices] for at in sent] if masks else columns
            names = [rows.columns[at] for at in sent]
            if unsent:
                missing += self._update(state, names, indices, list(zip(*cells, strict=True)))
            else:
                self._db.execute_many(_upsert_sql(state, names), zip(*cells, strict=True))
        missing.sort()
        taken = rows.select(state.schema.key).take(missing)
        return Rows.of(taken.columns, taken.arrays)

    def _update(
        self, state: TableState, names: Sequence[str], indices: Sequence[int], cells: Sequence[Cells]
    ) -> list[int]:
        """Update the sent cells; the indices of rows that are not there."""
        places = [names.index(name) for name in state.schema.key]
        sets = ", ".join(f"{quote(name)} = ?" for name in names)
        sql = f"UPDATE {quote(_name(state))} SET {sets} WHERE {_key_is(state)}"
        missing = []
        for index, row in zip(indices, cells, strict=True):
            if not self._db.execute_many(sql, [(*row, *(row[place] for place in places))]):
                missing.append(index)
        return missing

    def _upsert_apart(self, state: TableState, rows: Rows) -> Rows:
        """As `_upsert`, after the unique cells of the rows have become NULL, or a value that nobody has
        where NULL may not stand."""
        schema = state.schema
        indexes = unique_indexes(self._db, _name(state))
        plain = {column for index in indexes for column in index.columns}
        terms = " ".join(
            term
            for index in indexes
            for term, column in zip(index.terms, index.columns, strict=True)
            if column is None
        )
        # SQLite does not say which columns an expression reads: those that it may be reading.
        unique = {
            name
            for name in schema.names
            if name not in schema.key and (name in plain or name.lower() in terms.lower())
        }
        moved = [column for column in schema.stored if column.name in unique]
        mask_of = {name: rows.mask(name) for name in unique}
        keys = encode_keys(schema, rows)
        for column in moved:
            mask = mask_of[column.name]
            sent = [True] * rows.count if mask is None else [not cell for cell in mask.to_pylist()]
            temporary = "NULL" if column.nullable else _temporary(column.type)
            sql = (
                f"UPDATE {quote(_name(state))} SET {quote(column.name)} = {temporary} WHERE {_key_is(state)}"
            )
            self._write(state, sql, [key for key, cell in zip(keys, sent, strict=True) if cell])
        try:
            return self._upsert(state, rows)
        except sqlite3.IntegrityError as error:
            raise self._refused(state, error) from None

    def _write(self, state: TableState, sql: str, rows: Sequence[Cells]) -> None:
        try:
            self._db.execute_many(sql, rows)
        except sqlite3.IntegrityError as error:
            raise self._refused(state, error) from None

    def _refused(self, state: TableState, error: sqlite3.IntegrityError) -> Unfit:
        remedy = "remove the constraint or the row that stands in the way at the target"
        return Unfit("write to", f"{_name(state)} of {self._db.subject}", str(error), remedy)


def _name(state: TableState) -> str:
    return aside_name(state.schema.table) if state.aside else place(state.schema.table).name


def _key_is(state: TableState) -> str:
    return " AND ".join(f"{quote(name)} = ?" for name in state.schema.key)


def _upsert_sql(state: TableState, names: Sequence[str]) -> str:
    listed = ", ".join(map(quote, names))
    # The key is set as well: 'a' becomes 'A' where an index takes them for one.
    sets = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in names)
    return (  # the alias, because the table may be called `excluded` itself
        f"INSERT INTO {quote(_name(state))} AS t ({listed}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT ({', '.join(map(quote, state.schema.key))}) DO UPDATE SET {sets}"
    )


def _temporary(kind: Type) -> str:
    """A value that nobody has, of the class that the column prefers."""
    match affinity(declare(kind)):
        case "INTEGER":
            return "random()"
        case "BLOB":
            return "randomblob(16)"
    return "lower(hex(randomblob(16)))"
