"""Reading rows, for Source and Target alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pymysql

from ...connector import Capabilities
from ...errors import Refused, Unfit
from ...model import (
    ARROW,
    CANONICAL,
    Digest,
    Identity,
    Kind,
    Rows,
    Schema,
    Span,
    TableName,
    digest_rows,
)
from . import catalog
from .catalog import Described
from .cells import decode, encode, selected
from .session import Address, Row, Session, Sessions
from .text import literal, literals, pieces, quote, quoted
from .types import SYSTEM, as_stored, is_bits

WRITERS = 4
_FIRST_AT_ONCE = 8
_MOST_AT_ONCE = 2048
_KEYS_AT_ONCE = 500


def place(table: TableName) -> TableName:
    """The database's name of a source's table: `sales.orders` is `sales_orders`, as it has no schemas."""
    return TableName(f"{table.schema}_{table.name}" if table.schema else table.name)


class MysqlStore:
    """A database that is read; its first use connects."""

    def __init__(self, url: str) -> None:
        self._address = Address(url)
        self._sessions = Sessions(self._address)
        self._described: dict[str, Described] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def name(self) -> str:
        """The database's URL without a password."""
        return self._address.name

    @property
    def capabilities(self) -> Capabilities:
        """Arrow columns, hashed here."""
        return Capabilities(formats=(ARROW,), digests=(CANONICAL,), writers=WRITERS)

    def identity(self) -> Identity:
        """The server by the id that it made for itself, and the database in it."""
        with self._mapped("look at", self.name) as session:
            variable = "server_uid" if session.server.mariadb else "server_uuid"
            found = session.rows(f"SHOW GLOBAL VARIABLES LIKE '{variable}'")
            own = found[0][1] if found else ""
            if not own:  # MariaDB before 10.6.17 has no such id
                own = session.value("SELECT concat_ws(':', @@hostname, @@port, @@datadir)") or ""
            database = session.value("SELECT database()") or ""
        return Identity(SYSTEM, own, database)

    def discover(self) -> Sequence[Schema]:
        """Every table of the database; views and tables without a key by `problem`."""
        with self._mapped("look at", self.name) as session:
            return catalog.discover(session)

    def native(self, schema: Schema) -> Schema:
        """All but the key as it is stored: zero dates, hours beyond 24, a 2 among booleans."""
        columns = (
            column if column.name in schema.key else replace(column, type=as_stored(column.type))
            for column in schema.columns
        )
        return replace(schema, columns=tuple(columns))

    def split(self, schema: Schema, rows: int) -> Sequence[Span]:
        """Spans by the key in the order of its collations, cut from one pass over the key's index."""
        if any(column.type.kind is Kind.ENUM for column in schema.key_columns):
            return [Span()]  # in an order of its own, which no literal is compared in
        key = quoted(schema.key)
        names = ", ".join(selected(column) for column in schema.key_columns)
        number = quote(catalog.PREFIX)
        query = (
            f"SELECT {names} FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS {number}"
            f" FROM {self._table(schema)}) AS numbered WHERE {number} > 1"
            f" AND ({number} - 1) % {max(rows, 1)} = 0 ORDER BY {number}"
        )
        with self._mapped("split", f"table {schema.table}") as session:
            cuts = decode(schema, schema.key_columns, session.raw(query))
        bounds = [None, *self._key_literals(schema, cuts), None]
        return [Span(lower, upper) for lower, upper in pairwise(bounds)]

    def read(
        self, schema: Schema, span: Span, *, format: str = ARROW, max_bytes: int = 8 << 20
    ) -> Iterator[Rows]:
        """The rows of a span, in no order, from one statement."""
        if format != ARROW:
            raise Refused("read", f"{schema.table} as {format}", f"{self.name} gives only {ARROW}")
        names = ", ".join(selected(column) for column in schema.stored)
        query = f"SELECT {names} FROM {self._table(schema)} WHERE {_within(schema, span)}"
        subject = f"table {schema.table}"
        with self._mapped("read", subject) as session:
            cursor = session.stream(query)
        ended = False
        try:
            step = _FIRST_AT_ONCE
            found: list[Row] = []
            size = 0
            while not ended:
                with self._mapped("read", subject):
                    more = cursor.fetchmany(step)
                ended = len(more) < step
                found += more
                fetched = sum(len(cell or b"") + 8 for row in more for cell in row)
                size += fetched
                step = max(1, min(_MOST_AT_ONCE, max_bytes * len(more) // (2 * fetched or 1)))
                if found and (size >= max_bytes or ended):
                    yield decode(schema, schema.stored, found)
                    found, size = [], 0
        finally:
            if not ended:
                self._sessions.drop()  # the server would send the rest first
            else:
                with contextlib.suppress(pymysql.err.Error):
                    cursor.close()

    def read_keys(self, schema: Schema, keys: Rows) -> Rows:
        """The rows with these keys, as the key's collation compares them."""
        names = ", ".join(selected(column) for column in schema.stored)
        found: list[Row] = []
        with self._mapped("read", f"table {schema.table}") as session:
            described = self._describe(session, place(schema.table).name)
            for condition in key_conditions(described, schema, keys):
                found += session.raw(f"SELECT {names} FROM {self._table(schema)} WHERE {condition}")
        return decode(schema, schema.stored, found)

    def digest(self, schema: Schema, span: Span, scheme: str) -> Digest:
        """The digest of a span, its values read as what `schema` says they are."""
        if scheme != CANONICAL:
            raise Refused("digest", f"{schema.table} by {scheme}", f"{self.name} knows only {CANONICAL}")
        return digest_rows(schema, self.read(schema, span))

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """The number before the one that AUTO_INCREMENT gives out next."""
        name = place(schema.table).name
        with self._mapped("look at", f"table {schema.table}") as session:
            described = catalog.describe(session, name)
            if described is None or not described.numbered:
                return {}
            return {described.numbered: next_number(session, name) - 1}

    def mends(self, statement: str) -> bool:
        """None: what mends a server of this family is for its administrator."""
        return False

    def mend(self, statement: str) -> None:
        """Refused."""
        raise Refused("mend", self.name, "the statement is none of the safe ones", f"run {statement}")

    def interrupt(self) -> None:
        """From any thread: what runs is killed on the server, and raises Transient."""
        self._sessions.interrupt()

    def close(self) -> None:
        """End the session."""
        self._sessions.close()

    def _mapped(self, operation: str, subject: str) -> contextlib.AbstractContextManager[Session]:
        return self._sessions.mapped(operation, subject)

    def _table(self, schema: Schema) -> str:
        """The quoted name of a schema's table."""
        return quote(place(schema.table).name)

    def _describe(self, session: Session, name: str) -> Described:
        """A table that is there, looked at once; Refused when it is gone."""
        found = self._described.get(name) or catalog.describe(session, name)
        if found is None:
            raise Refused(
                "use", f"table {name}", f"{self.name} has no such table", "make it, or name another"
            )
        self._described[name] = found
        return found

    def _key_literals(self, schema: Schema, keys: Rows) -> list[tuple[str, ...]]:
        cells = [
            [cell.decode() for cell in literals(array, column.type, _is_decimal(column.type)).to_pylist()]
            for array, column in zip(encode(schema, keys, {}), schema.key_columns, strict=True)
        ]
        return list(zip(*cells, strict=True))


def key_conditions(described: Described, schema: Schema, keys: Rows) -> Iterator[str]:
    """The conditions that together mean these keys in a table: lists of values, or of comparisons where the
    key has several columns. A key that no row here can have is left out."""
    if not keys.count:
        return
    try:
        arrays = encode(schema, keys.select(schema.key), described.declared)
    except Unfit:
        middle = keys.count // 2
        for half in (range(middle), range(middle, keys.count)) if middle else ():
            yield from key_conditions(described, schema, keys.take(half))
        return
    cells = [
        literals(array, column.type, described.declared[column.name].base == "decimal").to_pylist()
        for array, column in zip(arrays, schema.key_columns, strict=True)
    ]
    names = [_compared(schema, name) for name in schema.key]
    if len(names) == 1:
        for piece in pieces(cells[0], 1 << 20, _KEYS_AT_ONCE * 2):
            yield f"{names[0]} IN ({b', '.join(piece).decode()})"
        return
    rows = [
        b"(%s)" % b" AND ".join(b"%s = %s" % pair for pair in zip(map(str.encode, names), row, strict=True))
        for row in zip(*cells, strict=True)
    ]
    for piece in pieces(rows, 1 << 20, _KEYS_AT_ONCE):
        yield b" OR ".join(piece).decode()


def next_number(session: Session, table: str) -> int:
    """What AUTO_INCREMENT gives out next."""
    found = session.value(
        "SELECT auto_increment FROM information_schema.tables WHERE table_schema = database()"
        f" AND table_name = {literal(table)}"
    )
    return int(found or 1)


def _compared(schema: Schema, name: str) -> str:
    return f"{quote(name)} + 0" if is_bits(schema.column(name).type) else quote(name)


def _is_decimal(type: Any) -> bool:
    return bool(type.kind is Kind.DECIMAL and type.precision is not None)


def _within(schema: Schema, span: Span) -> str:
    """The condition of a span: a lexicographic comparison, spelt out so that the key's index is used."""
    conditions = ["1"]
    if span.lower is not None:
        conditions.append(_beyond(schema, span.lower, ">", ">="))
    if span.upper is not None:
        conditions.append(_beyond(schema, span.upper, "<", "<"))
    return " AND ".join(conditions)


def _beyond(schema: Schema, bound: tuple[str, ...], strict: str, last: str) -> str:
    names = [_compared(schema, name) for name in schema.key]
    condition = f"{names[-1]} {last} {bound[-1]}"
    for name, cell in zip(reversed(names[:-1]), reversed(bound[:-1]), strict=True):
        condition = f"{name} {strict}= {cell} AND ({name} {strict} {cell} OR ({condition}))"
    return f"({condition})"
