"""Reading the change log that triggers write (see `triggers` for its tables)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ...errors import Transient, Unfit
from ...model import (
    Batch,
    Changes,
    Mark,
    Position,
    Refusal,
    Rows,
    Schema,
    SchemaChange,
    Segment,
    TableName,
)
from ...model.batch import DELETE, INSERT, UPDATE, Path
from .catalog import describe
from .codec import decode
from .connection import Connection
from .declared import declare
from .position import number_of, position_at, proves, read_end
from .store import close_cursor, decode_rows, refuse_null_keys
from .triggers import LOG, SHAPES, find_shape, is_dropped, triggers_missing

_FETCH_ROWS = 64
_MOST_ROWS = 50_000
_POLL_SECONDS = (0.01, 0.2)

Cells = tuple[Any, ...]
Told = tuple[str, Cells, Cells]
"""A log row: op, the old key, the row."""


@dataclass(slots=True)
class _Followed:
    """A table, the shape its log rows are to have, why the log has stopped telling it, and whether that
    was told."""

    schema: Schema
    shape: int | None
    changed: str = ""
    told: bool = False


@dataclass(slots=True)
class _Page:
    """Log rows up to `upto`, those kept by table; `cut`: a transaction ends here."""

    upto: Position
    rows: dict[TableName, list[Told]] = field(default_factory=dict)
    paths: dict[TableName, Path] = field(default_factory=dict)
    cut: bool = False


class LogReader:
    """Reads the log of a file for some tables, leaving out what came by the store `skip`.

    It holds no transaction open between two calls: rows up to an end of the log that was seen once never
    change, so pieces of one run may be read one after the other.
    """

    def __init__(self, db: Connection, tables: Sequence[Schema], store: str, skip: str) -> None:
        self._db, self._store, self._skip = db, store, skip
        self._tables = [_Followed(schema, None) for schema in tables]
        self._shapes: dict[int, tuple[_Followed, bool]] = {}
        self._seen: int | None = None
        self._version: int | None = None
        self._marks: dict[str, Mark] = {}
        self._open_mark: str | None = None
        self._open = False  # rows were yielded whose transaction may go on

    def wait(self, at: Position, max_wait: float) -> Position:
        """The end of the log once it is past `at` or a table has changed its shape; `at` when neither
        happened in `max_wait` seconds. Idle, it asks for `data_version`, which touches no page, and whether
        the file is still the one under its path, at most a hundred and at least five times a second.
        Transient when another file or another history is there by now: whoever opens the file again and
        asks `check_log` knows what that means (Promise 7)."""
        with self._db.running():
            return self._wait(at, time.monotonic() + max_wait)

    def _wait(self, at: Position, deadline: float) -> Position:
        delay, slowest = _POLL_SECONDS
        while True:
            self._db.raise_if_replaced()
            data = int(self._db.value("PRAGMA data_version"))
            if data != self._seen:
                # Taken before the log is looked at: a commit in between is seen by the next look.
                self._seen = data
                self._look_at_shapes()
                with self._db.snapshot():
                    self._prove(at)
                    top = read_end(self._db)
                if number_of(top) > number_of(at):
                    return top
                if self._untold():
                    return at
            left = deadline - time.monotonic()
            if left <= 0:
                return at
            self._db.pause(min(delay, left))
            delay = min(delay * 2, slowest)

    def next_batch(self, at: Position, top: Position, max_bytes: int) -> Batch:
        """The batch after `at`; both `at` and `top` are ends of transactions, or `at` the end of a batch
        that was not complete. An empty one when they are the same."""
        with self._db.running():
            page = self._read(at, top, max_bytes) if number_of(at) < number_of(top) else _Page(at)
            segments: list[Segment] = [self._changes(table, page) for table in page.rows]
        self._open = self._open or bool(segments)
        passed = number_of(page.upto) - number_of(at)
        if number_of(page.upto) == number_of(top):
            page.cut = True
            segments += self._tell_changed()
        complete = page.cut or not self._open
        if complete:
            self._open = False
        return Batch(
            after=at,
            upto=page.upto,
            segments=segments,
            complete=complete,
            transactions=int(complete and passed > 0),
            log_bytes=passed,
        )

    def _prove(self, at: Position) -> None:
        if not proves(self._db, at):
            raise Transient("follow", self._db.subject, "another history stands in the file by now")

    def _look_at_shapes(self) -> None:
        version = int(self._db.value("PRAGMA schema_version"))
        if version == self._version:
            return
        with self._db.snapshot():
            for followed in self._tables:
                followed.shape = find_shape(self._db, followed.schema)
                followed.changed = followed.changed or shape_changed(self._db, followed.schema)
                if not followed.changed:
                    followed.changed = triggers_missing(self._db, followed.schema)
            by_name = {followed.schema.table.name: followed for followed in self._tables}
            self._shapes = {
                number: (by_name[table], number == by_name[table].shape)
                for number, table in self._db.rows(f"SELECT id, tbl FROM {SHAPES}")
                if table in by_name
            }
        self._version = version

    def _untold(self) -> bool:
        return any(followed.changed and not followed.told for followed in self._tables)

    def _tell_changed(self) -> list[Segment]:
        segments: list[Segment] = []
        for followed in self._tables:
            if followed.changed and not followed.told:
                followed.told = True
                gone = is_dropped(self._db, followed.schema)
                segments.append(SchemaChange(followed.schema.table, followed.changed, dropped=gone))
        return segments

    def _read(self, at: Position, top: Position, max_bytes: int) -> _Page:
        """The rows after `at`, until `max_bytes`, the end of the run, or a row of another mark; in the
        snapshot that shows them to come after `at`."""
        with self._db.snapshot():
            self._prove(at)
            return self._fetch(at, top, max_bytes)

    def _fetch(self, at: Position, top: Position, max_bytes: int) -> _Page:
        sql = f"SELECT * FROM {LOG} WHERE seq > ? AND seq <= ? ORDER BY seq"
        cursor = self._db.execute(sql, (number_of(at), number_of(top)))
        places = {name[0]: place for place, name in enumerate(cursor.description)}
        page, size, looked = _Page(at), 0, 0
        try:
            while found := self._db.fetch(cursor, _FETCH_ROWS):
                for row in found:
                    if not self._keep(row, places, page):
                        page.cut = True
                        return page
                    page.upto = position_at(row[0], row[4])
                    size += sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
                    looked += 1
                    if size >= max_bytes or looked >= _MOST_ROWS:
                        return page
        finally:
            close_cursor(cursor)
        page.upto = top
        return page

    def _keep(self, row: Cells, places: dict[str, int], page: _Page) -> bool:
        """Put a log row into the page unless it is none of ours; False when it begins a new batch.

        Our own applies set the mark for a whole transaction and nobody else sets it, so that rows of two
        marks are never rows of one transaction."""
        _, shape, op, mark = row[:4]
        followed, fits = self._shapes.get(shape, (None, False))
        if followed is None or followed.told:
            return True
        table = followed.schema.table
        path = self._path(table, mark)
        if self._skip in path:
            return True
        if (page.rows or self._open) and mark != self._open_mark:
            return False
        self._open_mark = mark
        if not fits:
            followed.changed = followed.changed or "its columns or its key have changed"
            return True
        width, keys = len(followed.schema.stored), len(followed.schema.key)
        key = tuple(row[places[f"k{place}"]] for place in range(keys))
        cells = tuple(row[places[f"c{place}"]] for place in range(width)) if op in "IU" else ()
        page.rows.setdefault(table, []).append((op, key, cells))
        page.paths[table] = path
        return True

    def _path(self, table: TableName, mark: str | None) -> Path:
        if mark is None:
            return (self._store,)
        if mark not in self._marks:
            self._marks[mark] = Mark.loads(mark)
        return self._marks[mark].path(table, self._store)

    def _changes(self, table: TableName, page: _Page) -> Changes:
        """The changes of one table as columns."""
        schema = next(followed.schema for followed in self._tables if followed.schema.table == table)
        try:
            return _tell(schema, page.rows[table], page.paths[table])
        except Unfit:
            fit, refused = _part_unfit(schema, page.rows[table])
            changes = _tell(schema, fit, page.paths[table])
            return replace(changes, after=replace(changes.after, refused=refused))


def _tell(schema: Schema, rows: Sequence[Told], path: Path) -> Changes:
    none_before, none_after = (None,) * len(schema.key), (None,) * len(schema.stored)
    kinds, before, after, keys = bytearray(), list[Cells](), list[Cells](), list[Cells]()
    for op, old, row in rows:
        key = _key_of(schema, row) if row else old
        moved = op == "U" and not _same(old, key)
        kinds.append({"I": INSERT, "U": UPDATE, "D": DELETE}[op])
        before.append(old if op == "D" or moved else none_before)
        after.append(row or none_after)
        keys.append(key)
    key_cells = list(zip(*keys, strict=True)) if keys else [()] * len(schema.key)
    refuse_null_keys(schema, schema.key_columns, key_cells)
    gone = pa.array([kind == DELETE for kind in kinds], pa.bool_())
    kept = pa.array([cells is none_before for cells in before], pa.bool_())
    return Changes(
        table=schema.table,
        kinds=bytes(kinds),
        before=_rows(schema, schema.key, before, kept, key_cells),
        after=_rows(schema, schema.names, after, gone, key_cells),
        path=path,
    )


def _part_unfit(schema: Schema, rows: Sequence[Told]) -> tuple[list[Told], tuple[Refusal, ...]]:
    """The rows that can be told, and the others by their keys: these are read again by whoever applies the
    log. Of one that came from another key the leaving is told."""
    fit: list[Told] = []
    refused: list[Refusal] = []
    for op, old, row in rows:
        unfit = decode_rows(schema, [(*row, *_key_of(schema, row))]).refused if row else ()
        if not unfit:
            fit.append((op, old, row))
            continue
        refused += unfit
        if op == "U" and not _same(old, _key_of(schema, row)):
            fit.append(("D", old, ()))
    return fit, tuple(refused)


def _key_of(schema: Schema, row: Cells) -> Cells:
    return tuple(row[at] for at in map(schema.names.index, schema.key))


def shape_changed(db: Connection, schema: Schema) -> str:
    """How a table in the file differs from its schema in what the log carries; '' when it does not."""
    name = schema.table.name
    if db.value("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)) is None:
        return "the table is gone"
    found = describe(db, name, count=False)
    if found.key != schema.key:
        return f"its key is ({', '.join(found.key)}) and was ({', '.join(schema.key)})"
    now = {column.name: declare(column.type) for column in found.stored}
    known = {column.name: declare(column.type) for column in schema.stored}
    if now == known:
        return ""
    parts = [f"column {name} is new" for name in now if name not in known]
    parts += [f"column {name} is gone" for name in known if name not in now]
    parts += [
        f"column {name} is {now[name]} and was {known[name]}"
        for name in known
        if name in now and now[name] != known[name]
    ]
    return ", ".join(parts)


def _same(old: Cells, new: Cells) -> bool:
    """Whether two stored keys are the same to the byte."""
    return old == new and all(type(a) is type(b) for a, b in zip(old, new, strict=True))


def _rows(
    schema: Schema, names: Sequence[str], rows: list[Cells], unsent: pa.Array, keys: Sequence[Sequence[Any]]
) -> Rows:
    columns = [schema.column(name) for name in names]
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    sent = decode(schema, columns, cells, keys)
    return Rows.of(sent.columns, sent.arrays, [unsent] * len(columns))
