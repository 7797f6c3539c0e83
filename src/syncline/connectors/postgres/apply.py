"""A target transaction: rows, states, ledger and position, all or nothing (Promise 1).

Rows that cannot be there are copied straight in. All others go to a staging table of the session and from
there, set-wise, to the table: one statement for the rows whose cells were all sent, one for each set of
unsent columns.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import psycopg
import pyarrow.compute as pc
from psycopg import pq, sql

from ...connector import Claim
from ...errors import Corruption, NeedsOperator, Transient, Unfit
from ...model import (
    ARROW,
    Column,
    Identity,
    Key,
    Kind,
    Mark,
    Parked,
    Position,
    Rows,
    SchemaChange,
    Span,
    TableName,
    TableState,
)
from . import ledger, unique
from .catalog import Member
from .codec import copy_text, rows_from_csv
from .connection import Connection
from .types import SYSTEM

if TYPE_CHECKING:
    from .target import PostgresTarget

MARK_PREFIX = "syncline"
TEXT_BYTES = 1 << 20

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows in a staging table: the columns that were sent, of which the key's are some."""

    stage: sql.Identifier
    columns: tuple[str, ...]
    whole: bool


class PostgresApply:
    """An open transaction of a stream; only `PostgresTarget` makes one."""

    def __init__(self, target: PostgresTarget, claim: Claim, mark: Mark, *, moves: bool) -> None:
        self._target, self._claim, self._moves = target, claim, moves
        self._position = claim.position
        self._made: set[str] = set()
        self._used: set[str] = set()
        self._renewed: set[str] = set()
        self._upserted: set[Member] = set()
        self._done = False
        with self._mapped("write for", f"stream {claim.stream}"):
            self._connection = target._session()
            self._connection.execute("BEGIN")
            try:
                self._begin(mark)
            except BaseException:
                self._roll_back()
                raise

    def _begin(self, mark: Mark) -> None:
        position = ledger.hold(self._connection, self._claim, alone=self._moves)
        if self._moves and position != self._claim.position:
            raise ledger.displaced(self._claim.stream, position, self._claim.position)
        # The mark is the transaction's first record in the log, and foreign keys are the source's business.
        role = "SET LOCAL session_replication_role = replica; " if self._target.may_act_as_replica else ""
        # A span's rows may refer to one of another span: that is for the row to wait for, not for the commit.
        checked = "DEFERRED" if self._moves else "IMMEDIATE"
        statement = sql.SQL(
            role + f"SELECT pg_logical_emit_message(true, {{}}, {{}}); SET CONSTRAINTS ALL {checked}"
        )
        self._connection.execute(statement.format(MARK_PREFIX, mark.dumps()))

    def load(self, state: TableState, rows: Rows) -> None:
        """COPY straight into the table."""
        with self._mapped("load", f"table {state.schema.table}"):
            self._copy_in(sql.Identifier(*self._member(state)), state, rows)

    def upsert(self, state: TableState, rows: Rows) -> Rows:
        """Stage, then write by key; unique values that change places are moved out of the way first."""
        with self._mapped("write to", f"table {state.schema.table}"):
            try:
                return self._saved(lambda: self._upsert(state, rows), alone=rows.count == 1)
            except psycopg.errors.UniqueViolation:
                if not self._target.has_new_uniques(self._member(state), state.schema.key):
                    raise
                return self._saved(lambda: self._upsert(state, rows), alone=rows.count == 1)

    def _upsert(self, state: TableState, rows: Rows) -> Rows:
        parts = [self._stage(state, part) for part in rows.by_unsent()]
        missing = [self._missing(state, part) for part in parts if not part.whole]
        uniques = self._target.uniques(self._member(state), state.schema.key)
        if not uniques:
            self._write(state, parts)
        else:
            try:
                with self._connection.transaction():
                    self._write(state, parts)
            except psycopg.errors.UniqueViolation:
                for part in parts:
                    self._vacate(state, part, uniques)
                self._write(state, parts)
        self._upserted.add(self._member(state))
        self._check_now(state, "u")
        return Rows.concat([rows_from_csv(state.schema.key_columns, b""), *missing])

    def delete(self, state: TableState, keys: Rows) -> None:
        """Stage the keys, delete by a join. A key that cannot be staged is no value of its columns' types,
        and so no row's."""
        if not keys.count:
            return
        with self._mapped("delete from", f"table {state.schema.table}"):
            self._saved(lambda: self._delete(state, keys.select(state.schema.key)))

    def _delete(self, state: TableState, keys: Rows) -> None:
        try:
            staged = self._saved(lambda: self._stage(state, keys), alone=keys.count == 1)
        except (psycopg.DataError, Unfit):
            middle = keys.count // 2
            for half in (range(middle), range(middle, keys.count)) if middle else ():
                self._delete(state, keys.take(half))
            return
        condition: sql.Composable = _same_key(state)
        if self._member(state) in self._upserted:
            # Where rows go last, one that was written under another spelling of its key is not meant.
            exact = "{0} AND t.{1}::text IS NOT DISTINCT FROM s.{1}::text"
            for name in _respelt(state):
                condition = sql.SQL(exact).format(condition, sql.Identifier(name))
        self._connection.execute(
            sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE {}").format(
                self._target._only(self._member(state)), staged.stage, condition
            )
        )
        self._check_now(state, "f")

    def _check_now(self, state: TableState, sort: str) -> None:
        """Let the table's unique constraints, or the foreign keys that refer to it, speak now rather than at
        the commit: there nobody could tell which row they mean."""
        if not self._moves or self._target.may_act_as_replica:
            return
        for name in self._target.deferred(self._member(state), sort):
            self._connection.execute(
                sql.SQL("SET CONSTRAINTS {0} IMMEDIATE; SET CONSTRAINTS {0} DEFERRED").format(name)
            )

    def _saved(self, work: Callable[[], _Result], *, alone: bool = False) -> _Result:
        """Do some work; an error leaves the transaction, and what is known of staging tables, as before. When
        a row `alone` does not fit staging tables of earlier transactions, once more with new ones: the table
        may have other types by now, as that is how an operator lets in what did not fit."""
        made, used = set(self._made), set(self._used)
        try:
            with self._connection.transaction():
                return work()
        except BaseException as error:
            old = (self._used & self._target.stages) - used - self._renewed
            self._made, self._used = made, used
            unfit = isinstance(error, psycopg.DataError | psycopg.errors.DatatypeMismatch)
            if not (alone and unfit and old):
                raise
        self._renewed |= old
        self._target.stages -= old
        try:
            return self._saved(work)
        except BaseException:
            self._target.stages |= old
            raise

    def vacate(self, state: TableState, keys: Rows) -> None:
        """Park the unique values of these rows. A value that others refer to stays."""
        uniques = self._target.uniques(self._member(state), state.schema.key)
        if not uniques:
            return
        with self._mapped("write to", f"table {state.schema.table}"):
            staged = self._stage(state, keys.select(state.schema.key))
            for index in uniques:
                movable = next((column for column in index.columns if index.parking(column)), None)
                if movable is None:
                    continue
                with contextlib.suppress(psycopg.errors.IntegrityError), self._connection.transaction():
                    self._park_values(state, staged, index, movable, [])

    def truncate(self, states: Sequence[TableState]) -> None:
        """One TRUNCATE, which is part of the transaction here (Race 14); DELETE where a table outside the
        list refers to one of them, or the role may not truncate."""
        members = [self._member(state) for state in states]
        if not members:
            return
        with self._mapped("truncate", ", ".join(f"table {state.schema.table}" for state in states)):
            tables = [self._target._only(member) for member in members]
            if self._truncatable(members):
                self._connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
                return
            for state in _children_first(states):
                table = self._target._only(self._member(state))
                self._connection.execute(sql.SQL("DELETE FROM {}").format(table))

    def alter(self, state: TableState, change: SchemaChange) -> bool:
        """ALTER TABLE, which is part of the transaction here."""
        with self._mapped("alter", f"table {state.schema.table}"):
            if not self._target.alter(state, change):
                return False
        self._made, self._used = set(), set()
        return True

    def record(self, states: Sequence[TableState]) -> None:
        """Store states."""
        with self._mapped("record", f"tables of stream {self._claim.stream}"):
            ledger.record(self._connection, self._claim.stream, states)

    def park(self, parked: Sequence[Parked]) -> None:
        """Store parked keys."""
        with self._mapped("park", f"keys of stream {self._claim.stream}"):
            ledger.park(self._connection, self._claim.stream, parked)

    def unpark(self, table: TableName, keys: Sequence[Key]) -> None:
        """Delete parked keys."""
        with self._mapped("park", f"keys of table {table}"):
            ledger.change_parked(
                self._connection, "DELETE FROM syncline.parked", self._claim.stream, table, keys
            )

    def answer(self, tables: Sequence[TableName]) -> None:
        """Delete what was asked for."""
        with self._mapped("record", "tables that are copied anew"):
            ledger.answer(self._connection, self._claim.stream, tables)

    def plan_spans(self, state: TableState, spans: Sequence[Span]) -> None:
        """Store a table's spans."""
        with self._mapped("record", f"spans of table {state.schema.table}"):
            ledger.plan_spans(self._connection, self._claim.stream, state.schema.table, spans)

    def record_span(self, state: TableState, number: int, rows: int) -> None:
        """Store that a span is copied."""
        with self._mapped("record", f"a span of table {state.schema.table}"):
            ledger.record_span(self._connection, self._claim.stream, state.schema.table, number, rows)

    def start(self, source: Identity, position: Position) -> None:
        """Store where the stream begins."""
        with self._mapped("start", f"stream {self._claim.stream}"):
            ledger.start(self._connection, self._claim, source, position)
        self._position = position

    def linger(self) -> None:
        """Say something: `idle_in_transaction_session_timeout` counts from the last statement."""
        with self._mapped("write for", f"stream {self._claim.stream}"):
            self._connection.execute("SELECT")

    def commit(self, upto: Position | None = None) -> None:
        """Move the position by compare-and-swap, then commit (Promises 1, 2)."""
        subject = f"stream {self._claim.stream}"
        if upto is not None and not self._moves:
            raise Corruption("commit", f"a copy of {subject}", "it may not move the position")
        with self._mapped("commit", subject):
            if upto is not None:
                ledger.move(self._connection, self._claim, self._position, upto)
            # COMMIT of a failed transaction rolls back and calls it success.
            if self._connection.pgconn.transaction_status != pq.TransactionStatus.INTRANS:
                raise Transient("commit", subject, "its transaction had failed")
            self._connection.execute("COMMIT")
        self._done = True
        self._target.stages |= self._made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._roll_back()

    def _roll_back(self) -> None:
        self._done = True
        if self._connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            self._connection.close()
        with contextlib.suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")

    def _mapped(self, operation: str, subject: str) -> contextlib.AbstractContextManager[Connection]:
        """Errors as ours. The connection is always this transaction's own: a new one that took the place
        of a lost one would write outside of it."""
        return self._target._mapped(operation, subject)

    def _member(self, state: TableState) -> Member:
        return self._target.member_of(state)

    def _copy_in(self, table: sql.Identifier, state: TableState, rows: Rows) -> None:
        columns = [state.schema.column(name) for name in rows.columns]
        if rows.format == ARROW:
            if state.schema.system != SYSTEM:
                _refuse_rounding(columns, rows, f"table {state.schema.table}")
            # A piece is on its way while the next one becomes text, and memory holds the text of one only.
            texts: Iterator[bytes] = map(partial(copy_text, columns), rows.pieces(TEXT_BYTES))
        else:
            texts = iter((rows.raw,))
        names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT text)").format(table, names)
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for text in texts:
                copy.write(text)

    def _stage(self, state: TableState, rows: Rows) -> Staged:
        """Rows in an empty staging table of their columns, made once a session. Its rows go with the
        transaction; a second use within one empties it."""
        member = self._member(state)
        shape = "\0".join((*member, *rows.columns))
        name = f"syncline_{hashlib.blake2b(shape.encode(), digest_size=8).hexdigest()}"
        stage = sql.Identifier("pg_temp", name)
        if name in self._used:
            self._connection.execute(sql.SQL("TRUNCATE {}").format(stage))
        elif name not in self._target.stages:
            self._connection.execute(
                sql.SQL(
                    "DROP TABLE IF EXISTS {};"
                    " CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA"
                ).format(
                    stage,
                    sql.Identifier(name),
                    sql.SQL(", ").join(map(sql.Identifier, rows.columns)),
                    sql.Identifier(*member),
                )
            )
            self._made.add(name)
        self._used.add(name)
        self._copy_in(stage, state, rows)
        return Staged(stage, rows.columns, set(rows.columns) == set(state.schema.names))

    def _missing(self, state: TableState, part: Staged) -> Rows:
        """The staged keys that are not at the target."""
        key = sql.SQL(", ").join(sql.Identifier("s", name) for name in state.schema.key)
        query = sql.SQL(
            "COPY (SELECT {} FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {}))"
            " TO STDOUT (FORMAT csv, FORCE_QUOTE *)"
        ).format(key, part.stage, self._target._only(self._member(state)), _same_key(state))
        with self._connection.cursor() as cursor, cursor.copy(query) as copy:
            return rows_from_csv(state.schema.key_columns, b"".join(map(bytes, copy)))

    def _write(self, state: TableState, parts: Sequence[Staged]) -> None:
        for part in parts:
            self._connection.execute(
                self._insert_or_update(state, part) if part.whole else self._update(state, part)
            )

    def _insert_or_update(self, state: TableState, part: Staged) -> sql.Composed:
        # 0 and -0 are one key and two values, and so are 1.0 and 1.00.
        fixed = set(state.schema.key) - set(_respelt(state))
        rest = [name for name in part.columns if name not in fixed]
        settings = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in rest]
        action = sql.SQL("UPDATE SET {}").format(sql.SQL(", ").join(settings)) if rest else sql.SQL("NOTHING")
        names = sql.SQL(", ").join(map(sql.Identifier, part.columns))
        return sql.SQL(
            # The alias, because the table may be called `excluded` itself.
            "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT ({}) DO {}"
        ).format(
            sql.Identifier(*self._member(state)),
            names,
            names,
            part.stage,
            sql.SQL(", ").join(map(sql.Identifier, state.schema.key)),
            action,
        )

    def _update(self, state: TableState, part: Staged) -> sql.Composed:
        """Set the columns that were sent; a row with nothing but its key has nothing to be set."""
        rest = [name for name in part.columns if name not in state.schema.key]
        if not rest:
            return sql.Composed([sql.SQL("SELECT")])
        return sql.SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE {}").format(
            self._target._only(self._member(state)),
            sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in rest),
            part.stage,
            _same_key(state),
        )

    def _vacate(self, state: TableState, part: Staged, uniques: Sequence[unique.Unique]) -> None:
        """Give rows whose unique values are to change values that nobody has: a value may move from one
        surviving row to another, and none of them is deleted for it (Race 6)."""
        for index in uniques:
            sent = [column for column in index.columns if column.name in part.columns]
            if not sent:
                continue
            movable = next((column for column in sent if index.parking(column)), None)
            if movable is None:
                raise NeedsOperator(
                    "write to",
                    f"table {state.schema.table}",
                    f"rows exchange values of unique index {index.name}, and none of its columns can hold "
                    "another value meanwhile",
                    f"drop index {index.name} at the target until the stream has passed this point",
                )
            self._park_values(state, part, index, movable, sent)

    def _park_values(
        self,
        state: TableState,
        part: Staged,
        index: unique.Unique,
        movable: unique.UniqueColumn,
        sent: Sequence[unique.UniqueColumn],
    ) -> None:
        self._connection.execute(
            unique.vacate(
                index,
                movable,
                sent,
                table=self._target._only(self._member(state)),
                stage=part.stage,
                same_key=_same_key(state),
            )
        )

    def _truncatable(self, members: Sequence[Member]) -> bool:
        query = """WITH listed AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                       WHERE (nspname, relname) IN (SELECT * FROM unnest(%s::text[], %s::text[])))
                   SELECT bool_and(has_table_privilege(oid, 'TRUNCATE'))
                      AND NOT EXISTS (SELECT FROM pg_constraint
                                      WHERE contype = 'f' AND confrelid IN (SELECT oid FROM listed)
                                        AND conrelid NOT IN (SELECT oid FROM listed))
                   FROM listed"""
        spaces, names = [space for space, _ in members], [name for _, name in members]
        return self._connection.execute(query, [spaces, names]).fetchone() == (True,)


def _refuse_rounding(columns: Sequence[Column], rows: Rows, subject: str) -> None:
    """PostgreSQL rounds times to microseconds without a word (Promise 3)."""
    timed = (Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.INTERVAL)
    for column in columns:
        if column.type.kind not in timed:
            continue
        cells = rows.array(column.name)
        longer = pc.fill_null(pc.match_substring_regex(cells, r"\.[0-9]{7}"), False)
        if pc.any(longer).as_py():
            cell = pc.filter(cells, longer)[0].as_py()
            raise Unfit(
                "write to",
                subject,
                f"column {column.name} has {cell!r}, and PostgreSQL keeps microseconds",
                "shorten the value at the source, or keep the column as text",
            )


def _same_key(state: TableState) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in state.schema.key
    )


def _respelt(state: TableState) -> list[str]:
    """The key's columns in which equal values may be different ones: -0, 1.00, another case in citext."""
    sorts = {Kind.FLOAT32, Kind.FLOAT64, Kind.DECIMAL, Kind.TEXT, Kind.ARRAY, Kind.OPAQUE}
    return [column.name for column in state.schema.key_columns if column.type.kind in sorts]


def _children_first(states: Sequence[TableState]) -> Iterator[TableState]:
    """The states so that a table comes before those it refers to; in a circle as they stand."""
    left = list(states)
    while left:
        parents = {
            foreign.parent
            for state in left
            for foreign in state.schema.foreign_keys
            if foreign.parent != state.schema.table
        }
        free = next((state for state in left if state.schema.table not in parents), left[0])
        left.remove(free)
        yield free
