"""A target transaction: rows, states, ledger and position, all or nothing (Promise 1)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pymysql

from ...connector import Claim
from ...errors import Corruption, SynclineError, Transient
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
)
from . import ledger, writing
from .session import IDLE_SECONDS
from .text import quote

if TYPE_CHECKING:
    from .target import MysqlTarget


class MysqlApply:
    """An open transaction of a stream; only `MysqlTarget` makes one. No statement in it commits by itself
    (Race 14)."""

    def __init__(self, target: MysqlTarget, claim: Claim, mark: Mark, *, moves: bool) -> None:
        self._target, self._claim, self._moves = target, claim, moves
        self._position = claim.position
        self._done = False
        with target._mapped("write for", f"stream {claim.stream}") as session:
            self._session = session
            target._enter(session, claim)
            session.run(f"SET wait_timeout = {IDLE_SECONDS}")
            session.run("START TRANSACTION")
            try:
                self._begin(mark)
            except BaseException:
                self._roll_back()
                raise

    def _begin(self, mark: Mark) -> None:
        position = ledger.hold(self._session, self._claim, alone=self._moves)
        if self._moves and position != self._claim.position:
            raise ledger.displaced(self._claim.stream, position, self._claim.position)
        ledger.write_mark(self._session, mark)

    def load(self, state: TableState, rows: Rows) -> None:
        """LOAD DATA LOCAL from memory, or literals where the server does not take it."""
        with self._mapped("load", f"table {state.schema.table}"):
            writing.load(self._session, self._table(state), rows)

    def upsert(self, state: TableState, rows: Rows) -> Rows:
        """Literals or a staging table; unique values that change places are moved out of the way first."""
        with self._mapped("write to", f"table {state.schema.table}"), self._saved():
            return writing.upsert(self._session, self._table(state), rows)

    def delete(self, state: TableState, keys: Rows) -> None:
        """By lists of keys; absent ones are no error."""
        with self._mapped("delete from", f"table {state.schema.table}"), self._saved():
            writing.delete(self._session, self._table(state), keys)

    def vacate(self, state: TableState, keys: Rows) -> None:
        """Nothing: references are not enforced here, so that rows are deleted first."""

    def truncate(self, states: Sequence[TableState]) -> None:
        """DELETE without a condition: TRUNCATE commits (Race 14)."""
        for state in states:
            with self._mapped("truncate", f"table {state.schema.table}"):
                self._session.run(f"DELETE FROM {quote(self._table(state).name)}")

    def alter(self, state: TableState, change: SchemaChange) -> bool:
        """False: ALTER TABLE commits here (Race 14)."""
        return False

    def record(self, states: Sequence[TableState]) -> None:
        """Store states."""
        with self._mapped("record", f"tables of stream {self._claim.stream}"):
            ledger.record(self._session, self._claim.stream, states)

    def park(self, parked: Sequence[Parked]) -> None:
        """Store parked keys."""
        with self._mapped("park", f"keys of stream {self._claim.stream}"):
            ledger.park(self._session, self._claim.stream, parked)

    def unpark(self, table: TableName, keys: Sequence[Key]) -> None:
        """Delete parked keys."""
        with self._mapped("park", f"keys of table {table}"):
            change = f"DELETE FROM {ledger.PARKED}"
            ledger.change_parked(self._session, change, self._claim.stream, table, keys)

    def answer(self, tables: Sequence[TableName]) -> None:
        """Delete what was asked for."""
        with self._mapped("record", "tables that are copied anew"):
            ledger.answer(self._session, self._claim.stream, tables)

    def plan_spans(self, state: TableState, spans: Sequence[Span]) -> None:
        """Store a table's spans."""
        with self._mapped("record", f"spans of table {state.schema.table}"):
            ledger.plan_spans(self._session, self._claim.stream, state.schema.table, spans)

    def record_span(self, state: TableState, number: int, rows: int) -> None:
        """Store that a span is copied."""
        with self._mapped("record", f"a span of table {state.schema.table}"):
            ledger.record_span(self._session, self._claim.stream, state.schema.table, number, rows)

    def start(self, source: Identity, position: Position) -> None:
        """Store where the stream begins."""
        with self._mapped("start", f"stream {self._claim.stream}"):
            ledger.start(self._session, self._claim, source, position)
        self._position = position

    def linger(self) -> None:
        """Say something: `wait_timeout` counts from the last statement."""
        with self._mapped("write for", f"stream {self._claim.stream}"):
            self._session.run("DO 0")

    def commit(self, upto: Position | None = None) -> None:
        """Move the position by compare-and-swap, then commit (Promises 1, 2)."""
        subject = f"stream {self._claim.stream}"
        if upto is not None and not self._moves:
            raise Corruption("commit", f"a copy of {subject}", "it may not move the position")
        with self._mapped("commit", subject):
            if upto is not None:
                ledger.move(self._session, self._claim, self._position, upto)
            self._session.run("COMMIT")
            self._done = True
            self._session.run("SET wait_timeout = 28800")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._roll_back()

    def _roll_back(self) -> None:
        self._done = True
        if self._session.busy:
            self._session.close()
        with contextlib.suppress(pymysql.err.Error, OSError):
            self._session.run("ROLLBACK")
            self._session.run("SET wait_timeout = 28800")

    @contextlib.contextmanager
    def _mapped(self, operation: str, subject: str) -> Iterator[None]:
        """Errors as ours. The session is always this transaction's own: a new one that took the place of a
        lost one would write outside of it."""
        with self._target._mapped(operation, subject) as session:
            if session is not self._session:
                raise Transient(operation, subject, "the session of its transaction was lost")
            yield

    @contextlib.contextmanager
    def _saved(self) -> Iterator[None]:
        """Some work; an error leaves the transaction as before."""
        self._session.run("SAVEPOINT work")
        try:
            yield
        except (pymysql.err.Error, SynclineError):
            with contextlib.suppress(pymysql.err.Error, OSError):
                self._session.run("ROLLBACK TO SAVEPOINT work")
            raise

    def _table(self, state: TableState) -> writing.Table:
        return self._target._table_of(self._session, state)
