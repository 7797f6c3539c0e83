"""Databases inside this process: tables, atomic transactions, and a log that streams hold on to.

One lock guards a database; a transaction gathers its statements and runs them under it at commit, so that
transactions are serial and the order of the log is the order of commits. A position is the number of a
committed transaction. `hold` and `show` pull log and visibility apart, as on real servers, where a commit
can be in the log before any reader sees it (Race 1).
"""

from __future__ import annotations

import ast
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from ...errors import NeedsOperator, Refused
from ...model import Column, Identity, Mark, Parked, Position, Schema, SpanRecord, TableName, TableState
from ...model.batch import DELETE, INSERT, UPDATE
from .cells import UNSENT, Key, Row, size_of


@dataclass(frozen=True, slots=True)
class Written:
    """One row's change in the log. `before` is the old key of a delete or of an update that changed it."""

    table: TableName
    schema: Schema
    kind: int
    before: Key | None
    after: Row | None

    @property
    def nbytes(self) -> int:
        """About the bytes it takes."""
        return 8 + size_of(self.before or ()) + size_of(self.after or ())


@dataclass(frozen=True, slots=True)
class Emptied:
    """A truncate in the log."""

    tables: tuple[TableName, ...]
    nbytes = 64


@dataclass(frozen=True, slots=True)
class Altered:
    """A table that has another shape, or quite other rows, from here on."""

    table: TableName
    description: str
    nbytes = 64


Event = Written | Emptied | Altered


@dataclass(frozen=True, slots=True)
class Logged:
    """A committed transaction; its `number` is its position."""

    number: int
    events: tuple[Event, ...]
    mark: Mark | None
    nbytes: int


@dataclass(slots=True)
class Slot:
    """Who needs the log: the tables it is told, each from the transaction after the number on, and the
    number up to which it needs nothing any more."""

    released: int
    tables: dict[TableName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamRow:
    """What a target keeps of a stream (Promise 1)."""

    fence: int = 0
    position: Position | None = None
    source: Identity | None = None
    removing: bool = False
    tables: Mapping[TableName, TableState] = field(default_factory=dict)
    spans: Mapping[TableName, tuple[SpanRecord, ...]] = field(default_factory=dict)
    parked: Mapping[tuple[TableName, Key], Parked] = field(default_factory=dict)
    asked: frozenset[TableName] = frozenset()


class Table:
    """A table's rows by key, and its unique indexes. One without a key is a set of rows."""

    def __init__(self, schema: Schema, rows: Mapping[Key, Row] | None = None) -> None:
        self.rows: dict[Key, Row] = {}
        self.clashes: set[tuple[str, Row]] = set()
        self._uniques: dict[str, dict[Row, set[Key]]] = {}
        self._adopt(schema)
        for key, row in (rows or {}).items():
            self.put(key, row)

    def _adopt(self, schema: Schema) -> None:
        self.schema = schema
        self._key_at = [schema.names.index(name) for name in schema.key or schema.names]
        self._unique_at = {
            index.name: [schema.names.index(name) for name in index.columns]
            for index in schema.indexes
            if index.unique
        }

    def key(self, row: Row) -> Key:
        """The key of a row."""
        return tuple(row[at] for at in self._key_at)

    def ordered(self) -> list[Key]:
        """The keys in order."""
        return sorted(self.rows) if self.schema.key else sorted(self.rows, key=repr)

    def put(self, key: Key, row: Row | None) -> Row | None:
        """Set or, with None, take away the row of a key; returns what was there."""
        old = self.rows.pop(key, None) if row is None else self.rows.get(key)
        if row is not None:
            self.rows[key] = row
        for name, at in self._unique_at.items():
            keys = self._uniques.setdefault(name, {})
            for written, each in ((old, set.discard), (row, set.add)):
                values = () if written is None else tuple(written[place] for place in at)
                if written is None or None in values:
                    continue
                each(keys.setdefault(values, set()), key)
                note = set.add if len(keys[values]) > 1 else set.discard
                note(self.clashes, (name, values))
        return old

    def remade(self, schema: Schema, rows: Mapping[Key, Row] | None = None) -> Table:
        """The same rows, or those given, under another schema."""
        return Table(schema, self.rows if rows is None else rows)


class Writing:
    """A transaction while it runs under the database's lock; nothing of it stays when it fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.events: list[Event] = []
        self._undo: list[Callable[[], object]] = []
        self._touched: set[TableName] = set()

    def insert(self, table: Table, row: Row) -> None:
        """Add a row whose key must be new."""
        key = table.key(row)
        if key in table.rows:
            raise _refuse(table, key, "a row with this key is there already")
        self._put(table, key, row)
        self._log(table, INSERT, None, row)

    def update(self, table: Table, key: Key, cells: Row, told: Row) -> None:
        """Change the cells of a row that must be there, UNSENT ones excepted; `told` goes into the log."""
        old = table.rows.get(key)
        if old is None:
            raise _refuse(table, key, "there is no row with this key")
        row = tuple(was if cell is UNSENT else cell for was, cell in zip(old, cells, strict=True))
        moved = table.key(row)
        if moved != key:
            if moved in table.rows:
                raise _refuse(table, moved, "a row with this key is there already")
            self._put(table, key, None)
        self._put(table, moved, row)
        told = tuple(cell if tell is not UNSENT else UNSENT for cell, tell in zip(row, told, strict=True))
        self._log(table, UPDATE, key if moved != key else None, told)

    def delete(self, table: Table, key: Key) -> bool:
        """Take a row away; False when there is none."""
        if key not in table.rows:
            return False
        self._put(table, key, None)
        self._log(table, DELETE, key, None)
        return True

    def truncate(self, tables: Sequence[Table]) -> None:
        """Take all rows away."""
        for table in tables:
            for key in list(table.rows):
                self._put(table, key, None)
        shown = tuple(table.schema.table for table in tables if self._shown(table))
        if shown:
            self.events.append(Emptied(shown))

    def alter(self, table: TableName, description: str) -> None:
        """Tell readers that a table is not what it was."""
        self.events.append(Altered(table, description))

    def keep(self, stream: str, row: StreamRow) -> None:
        """Store what is kept of a stream."""
        streams = self._database.streams
        old = streams[stream]
        streams[stream] = row
        self._undo.append(lambda: streams.update({stream: old}))

    def check(self) -> None:
        """Refuse what no table may hold once the transaction is done."""
        for table in (*self._database.tables.values(), *self._database.aside.values()):
            if table.clashes:
                name, values = min(table.clashes, key=repr)
                raise _refuse(table, values, f"unique index {name} has these values already")

    def undo(self) -> None:
        """Put everything back."""
        for step in reversed(self._undo):
            step()

    def _put(self, table: Table, key: Key, row: Row | None) -> None:
        if row is not None:
            for column, cell in zip(table.schema.stored, row, strict=True):
                if cell is None and not column.nullable:
                    raise _refuse(table, key, f"column {column.name} holds no NULL")
        old = table.put(key, row)
        self._undo.append(lambda: table.put(key, old))

    def _shown(self, table: Table) -> bool:
        """Whether the log tells the table; one built aside is nobody's yet."""
        return self._database.tables.get(table.schema.table) is table

    def _log(self, table: Table, kind: int, before: Key | None, after: Row | None) -> None:
        if self._shown(table):
            self.events.append(Written(table.schema.table, table.schema, kind, before, after))


class Database:
    """A named database. Thread-safe; `changed` is its lock and tells waiters that something happened."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity = Identity("memory", name, "", uuid.uuid4().hex)
        self.changed = threading.Condition(threading.RLock())
        self.tables: dict[TableName, Table] = {}
        self.aside: dict[TableName, Table] = {}
        self.streams: dict[str, StreamRow] = {}
        self.slots: dict[str, Slot] = {}
        self.sequences: dict[tuple[TableName, str], int] = {}
        self.log: deque[Logged] = deque()
        self.last = 0
        self.pruned = 0
        self._held: tuple[int, dict[TableName, Table]] | None = None

    def create(self, schema: Schema) -> Schema:
        """Make an empty table; returns its schema as `discover` tells it."""
        with self.changed:
            if schema.table in self.tables:
                raise Refused("create", f"table {schema.table}", "it exists")
            made = replace(schema, system="memory")
            self.tables[schema.table] = Table(made)
            return made

    def add_column(self, table: str | TableName, column: Column) -> None:
        """Add a column; the rows that are there get its default."""
        with self.writing() as writing:
            old = self.table(table)
            schema = replace(old.schema, columns=(*old.schema.columns, column))
            filled = {key: (*row, default_of(column)) for key, row in old.rows.items()}
            self.tables[schema.table] = old.remade(schema, filled)
            writing.alter(schema.table, f"column {column.name} was added")

    def transaction(self) -> Transaction:
        """A transaction of an application."""
        return Transaction(self)

    def rows(self, table: str | TableName) -> list[Row]:
        """The rows that a reader sees, in the order of their keys."""
        with self.changed:
            shown = self.visible(table)
            return [shown.rows[key] for key in shown.ordered()]

    def table(self, table: str | TableName) -> Table:
        """A table as the last commit left it."""
        return _find(self.tables, table, self.name)

    def visible(self, table: str | TableName) -> Table:
        """A table as a reader sees it."""
        return _find(self._held[1] if self._held else self.tables, table, self.name)

    def hold(self) -> None:
        """From now on commits reach the log, and readers see none of them until `show`."""
        with self.changed:
            self._held = self.last, {name: table.remade(table.schema) for name, table in self.tables.items()}

    def show(self) -> None:
        """Let readers see everything again."""
        with self.changed:
            self._held = None
            self.changed.notify_all()

    @property
    def shown(self) -> int:
        """The last transaction that readers see."""
        return self._held[0] if self._held else self.last

    def prune(self, upto: int | None = None) -> None:
        """Lose the log up to a transaction, whoever needs it; all of it without one."""
        with self.changed:
            self._drop_log(self.last if upto is None else upto)

    def retire(self) -> None:
        """Drop the log that no slot needs."""
        self._drop_log(min((slot.released for slot in self.slots.values()), default=self.last))

    def _drop_log(self, upto: int) -> None:
        while self.log and self.log[0].number <= upto:
            self.log.popleft()
        self.pruned = max(self.pruned, upto)

    def after(self, number: int) -> Iterator[Logged]:
        """The retained log after a transaction."""
        skipped = max(0, number - self.log[0].number + 1) if self.log else 0
        return (self.log[at] for at in range(skipped, len(self.log)))

    @contextmanager
    def writing(self, mark: Mark | None = None) -> Iterator[Writing]:
        """Run a transaction under the lock: all of it, its place in the log included, or nothing."""
        with self.changed:
            writing = Writing(self)
            try:
                yield writing
                writing.check()
            except BaseException:
                writing.undo()
                raise
            if not writing.events:
                return
            self.last += 1
            size = sum(event.nbytes for event in writing.events)
            if self.slots:
                self.log.append(Logged(self.last, tuple(writing.events), mark, size))
            self.retire()
            self.changed.notify_all()


class Transaction:
    """An application's writes, committed together when the `with` ends without an error.

    Rows and keys are given by column name and in the key's order. A constraint that fails raises
    NeedsOperator at commit, and nothing is written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps: list[Callable[[Writing], object]] = []

    def insert(self, table: str | TableName, cells: Mapping[str, Any]) -> None:
        """Add a row; cells that are not given get the column's number or default, or NULL."""
        self._steps.append(lambda writing: self._insert(writing, self._database.table(table), dict(cells)))

    def update(
        self, table: str | TableName, key: Key, cells: Mapping[str, Any], unsent: Iterable[str] = ()
    ) -> None:
        """Change cells of a row; the log does not tell the cells of `unsent`, which do not change."""
        hidden = set(unsent) - set(cells)

        def run(writing: Writing) -> None:
            at = self._database.table(table)
            wanted = tuple(cells.get(name, UNSENT) for name in at.schema.names)
            told = tuple(UNSENT if name in hidden else None for name in at.schema.names)
            writing.update(at, key, wanted, told)

        self._steps.append(run)

    def delete(self, table: str | TableName, key: Key) -> None:
        """Take a row away; one that is not there is no error."""
        self._steps.append(lambda writing: writing.delete(self._database.table(table), key))

    def truncate(self, *tables: str | TableName) -> None:
        """Take all rows of these tables away, told by the log as one truncate."""
        self._steps.append(
            lambda writing: writing.truncate([self._database.table(table) for table in tables])
        )

    def commit(self) -> None:
        """Run everything."""
        with self._database.writing() as writing:
            for step in self._steps:
                step(writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()

    def _insert(self, writing: Writing, table: Table, cells: dict[str, Any]) -> None:
        numbers = self._database.sequences
        for column in table.schema.stored:
            if column.name in cells:
                continue
            cells[column.name] = default_of(column)
            if column.identity:
                place = table.schema.table, column.name
                numbers[place] = cells[column.name] = numbers.get(place, 0) + 1
        writing.insert(table, tuple(cells[name] for name in table.schema.names))


def default_of(column: Column) -> Any:
    """The cell of a column that nothing was given for; defaults are Python literals here."""
    return None if column.default is None else ast.literal_eval(column.default)


def _find(tables: Mapping[TableName, Table], table: str | TableName, name: str) -> Table:
    wanted = TableName(table) if isinstance(table, str) else table
    if wanted not in tables:
        raise NeedsOperator("read", f"table {wanted}", f"memory://{name} has no such table")
    return tables[wanted]


def _refuse(table: Table, key: Key, reason: str) -> NeedsOperator:
    return NeedsOperator("write to", f"table {table.schema.table}, row {key!r}", reason)


_databases: dict[str, Database] = {}
_guard = threading.Lock()


def database(name: str) -> Database:
    """The database of that name, made when it does not exist."""
    with _guard:
        if name not in _databases:
            _databases[name] = Database(name)
        return _databases[name]


def find(name: str) -> Database:
    """The database of that name; Refused when nobody made it."""
    with _guard:
        if name not in _databases:
            raise Refused("open", f"memory://{name}", "there is no such database", "make it with database()")
        return _databases[name]


def drop(name: str) -> None:
    """Forget a database and all that is in it."""
    with _guard:
        _databases.pop(name, None)
