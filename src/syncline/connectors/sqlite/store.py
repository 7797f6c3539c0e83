"""Reading a file's rows, for Source and Target alike."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa

from ...connector import Capabilities
from ...errors import NeedsOperator, Refused, Unfit
from ...model import (
    ARROW,
    CANONICAL,
    Column,
    Digest,
    Identity,
    Refusal,
    Rows,
    Schema,
    Span,
    TableName,
    digest_rows,
)
from . import problems
from .catalog import PREFIX, discover, rowid_alias
from .codec import decode, encode, read_literal, write_literal
from .connection import Connection, quote
from .declared import SYSTEM, as_stored
from .meta import read_uuid

_FIRST_AT_ONCE = 8
_MOST_AT_ONCE = 256
_KEYS_AT_ONCE = 500
_FIXED = (pa.bool_(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())


def place(table: TableName) -> TableName:
    """The file's name of a source's table: `sales.orders` is `sales_orders`, as a file has no schemas."""
    return TableName(f"{table.schema}_{table.name}" if table.schema else table.name)


def local(schema: Schema) -> str:
    """The quoted name of a schema's table in the file."""
    return quote(place(schema.table).name)


class SqliteStore:
    """A file that is read. Missing or no SQLite database: Refused at the first use."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: Connection | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def name(self) -> str:
        """The file's URL."""
        return f"sqlite:///{self._path}"

    @property
    def capabilities(self) -> Capabilities:
        """Arrow columns only, hashed here, one writer at a time, and names without regard to case."""
        return Capabilities(formats=(ARROW,), digests=(CANONICAL,), writers=1, folds_case=True)

    @property
    def _db(self) -> Connection:
        if self._opened is None:
            self._opened = Connection(self._path, self.name)
        return self._opened

    def identity(self) -> Identity:
        """The file by its real path; its incarnation is the uuid that Syncline wrote into it, '' before."""
        return Identity(SYSTEM, os.path.realpath(self._path), "main", read_uuid(self._db))

    def discover(self) -> Sequence[Schema]:
        """Every table; views, virtual tables and tables without a key by `problem`."""
        with self._db.snapshot():
            return discover(self._db)

    def native(self, schema: Schema) -> Schema:
        """All but the key as it is stored: '2024-01-01 00:00:00.000000' keeps its zeros, a number among
        texts stays a number."""
        columns = (
            column if column.name in schema.key else replace(column, type=as_stored(column.type))
            for column in schema.columns
        )
        return replace(schema, columns=tuple(columns))

    def split(self, schema: Schema, rows: int) -> Sequence[Span]:
        """Spans by the key in the order of its own collations, cut from one pass over the key's index."""
        key = ", ".join(map(quote, schema.key))
        cuts = self._db.rows(
            f"SELECT {key} FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS {quote(PREFIX)}"
            f" FROM {local(schema)}) WHERE {quote(PREFIX)} > 1 AND ({quote(PREFIX)} - 1) % ? = 0",
            (max(rows, 1),),
        )
        bounds = [None, *(tuple(map(write_literal, cut)) for cut in cuts), None]
        return [Span(lower, upper) for lower, upper in pairwise(bounds)]

    def read(
        self, schema: Schema, span: Span, *, format: str = ARROW, max_bytes: int = 8 << 20
    ) -> Iterator[Rows]:
        """The rows of a span, in no order, from one statement; NeedsOperator for NULL in a key."""
        if format != ARROW:
            raise Refused("read", f"{schema.table} as {format}", f"{self.name} gives only {ARROW}")
        condition, values = _within(schema, span)
        names = ", ".join(map(quote, (*schema.names, *schema.key)))
        cursor = self._db.execute(f"SELECT {names} FROM {local(schema)} WHERE {condition}", values)
        step = _FIRST_AT_ONCE
        found: list[tuple[Any, ...]] = []
        size = 0
        try:
            while more := self._db.fetch(cursor, step):
                found += more
                fetched = _size(schema, more)
                size += fetched
                step = max(1, min(_MOST_AT_ONCE, max_bytes * len(more) // (2 * fetched)))
                if size >= max_bytes:
                    yield decode_rows(schema, found)
                    found, size = [], 0
        finally:
            close_cursor(cursor)
        if found:
            yield decode_rows(schema, found)

    def read_keys(self, schema: Schema, keys: Rows) -> Rows:
        """The rows with these keys, compared byte by byte whatever the column's collation."""
        found: list[tuple[Any, ...]] = []
        wanted = storable_keys(schema, keys)
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            found += select_keys(self._db, schema, wanted[start : start + _KEYS_AT_ONCE])
        return decode_rows(schema, found)

    def digest(self, schema: Schema, span: Span, scheme: str) -> Digest:
        """The digest of a span, its values read as what `schema` says they are."""
        if scheme != CANONICAL:
            raise Refused("digest", f"{schema.table} by {scheme}", f"{self.name} knows only {CANONICAL}")
        return digest_rows(schema, self.read(schema, span))

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """The last number of the rowid alias: from sqlite_sequence where it is AUTOINCREMENT, else the
        largest that is there."""
        table = place(schema.table).name
        column = rowid_alias(self._db, table)
        if column is None:
            return {}
        last = self._db.value(f"SELECT max({quote(column)}) FROM {quote(table)}")
        if self._db.has("sqlite_sequence"):
            given = self._db.value("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
            last = max(filter(lambda number: number is not None, (last, given)), default=None)
        return {} if last is None else {column: int(last)}

    def mends(self, statement: str) -> bool:
        """WAL mode only, where the file can be written."""
        return statement == problems.WAL and not problems.read_only_fault(self._path, self.name, "mend")

    def mend(self, statement: str) -> None:
        """Run it; Transient while another connection stands in its way."""
        if not self.mends(statement):
            raise Refused("mend", self.name, "the statement is none of the safe ones", f"run {statement}")
        self._db.value(statement)

    def interrupt(self) -> None:
        """From any thread: whatever runs or waits raises Transient."""
        if self._opened is not None:
            self._opened.interrupt()

    def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def encode_keys(schema: Schema, keys: Rows) -> list[tuple[Any, ...]]:
    """Keys as stored values, in the key's order."""
    return list(zip(*encode(schema, keys.select(schema.key)), strict=True))


def storable_keys(schema: Schema, keys: Rows) -> list[tuple[Any, ...]]:
    """The same without keys that no row here can have, as their columns do not hold such values."""
    try:
        return encode_keys(schema, keys)
    except Unfit:
        middle = keys.count // 2
        halves = (range(middle), range(middle, keys.count)) if middle else ()
        return [key for half in halves for key in storable_keys(schema, keys.take(half))]


def select_keys(db: Connection, schema: Schema, keys: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The stored values of the rows with these stored keys: the carried columns, then the key's."""
    if not keys:
        return []
    row = "(" + ", ".join("?" * len(schema.key)) + ")"
    names = ", ".join(f"t.{quote(name)}" for name in (*schema.names, *schema.key))
    # The first comparison finds by the index, the second tells 'a' from 'A' where the column does not.
    match = " AND ".join(
        f"t.{quote(name)} = k.column{at} AND t.{quote(name)} COLLATE BINARY = k.column{at}"
        for at, name in enumerate(schema.key, 1)
    )
    return db.rows(
        f"SELECT {names} FROM (VALUES {', '.join([row] * len(keys))}) AS k CROSS JOIN {local(schema)} AS t"
        f" ON {match}",
        [cell for key in keys for cell in key],
    )


def decode_rows(schema: Schema, found: Sequence[tuple[Any, ...]]) -> Rows:
    """Rows from what was selected as the carried columns and then the key's. A row with a value that is
    none of its column's type is refused by its key; Unfit when that cannot be told either."""
    width = len(schema.stored)
    cells = list(zip(*found, strict=True)) if found else [()] * (width + len(schema.key))
    keys = cells[width:]
    refuse_null_keys(schema, schema.key_columns, keys)
    try:
        return decode(schema, schema.stored, cells[:width], keys)
    except Unfit as error:
        if len(found) == 1:
            (key,) = decode(schema, schema.key_columns, keys, keys).tuples()
            return replace(decode_rows(schema, []), refused=(Refusal(key, error.reason),))
        middle = len(found) // 2
        return Rows.concat([decode_rows(schema, found[:middle]), decode_rows(schema, found[middle:])])


def refuse_null_keys(schema: Schema, columns: Sequence[Column], keys: Sequence[Sequence[Any]]) -> None:
    """SQLite lets NULLs into most primary keys; no other system can hold such a row."""
    for column, cells in zip(columns, keys, strict=True):
        if None in cells:
            raise NeedsOperator(
                "read",
                f"{schema.table}.{column.name}",
                "a row has NULL in its key",
                f"delete it or fill it: SELECT * FROM {local(schema)} WHERE {quote(column.name)} IS NULL",
            )


def close_cursor(cursor: sqlite3.Cursor) -> None:
    """Close a cursor, also of a connection that was closed before it."""
    with suppress(sqlite3.ProgrammingError):
        cursor.close()


def _size(schema: Schema, found: Sequence[tuple[Any, ...]]) -> int:
    """About the bytes of selected rows: eight a cell, and the lengths of what has one."""
    total = 8 * len(found) * len(schema.stored)
    for column, cells in zip(schema.stored, zip(*found, strict=True), strict=False):
        if column.type.arrow not in _FIXED:
            total += sum(len(cell) for cell in cells if isinstance(cell, str | bytes))
    return total


def _within(schema: Schema, span: Span) -> tuple[str, list[Any]]:
    """The condition of a span and its values."""
    key = ", ".join(map(quote, schema.key))
    marks = ", ".join("?" * len(schema.key))
    conditions, values = ["1"], list[Any]()
    for bound, sign in ((span.lower, ">="), (span.upper, "<")):
        if bound is not None:
            conditions.append(f"({key}) {sign} ({marks})")
            values += map(read_literal, bound)
    return " AND ".join(conditions), values


def is_unique_violation(error: sqlite3.IntegrityError) -> bool:
    """Whether two rows wanted one unique value or one key."""
    return error.sqlite_errorcode in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
