"""What the oracle reads: tables, columns and rows of one snapshot of a store."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pymysql
from psycopg import sql
from psycopg.types.string import TextLoader
from pymysql.cursors import SSCursor


class UnknownStore(Exception):
    """A URL that the oracle has no driver for."""


@dataclass(frozen=True)
class Column:
    """A column; `type` is the declared one, in the system's own words."""

    name: str
    type: str
    generated: bool


@dataclass(frozen=True)
class Table:
    """A table; `where` is how its system finds it, `key` is empty when it has none."""

    name: str
    where: tuple[str, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...]


class Store(Protocol):
    """One snapshot of a store."""

    system: str

    def tables(self) -> list[Table]: ...

    def rows(self, table: Table, columns: list[str]) -> Iterator[tuple[Any, ...]]: ...


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """The store behind a URL, in a snapshot of its own that stays the same inside the `with`."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.partition("+")[0]
    if scheme in ("postgresql", "postgres"):
        with psycopg.connect(f"postgresql://{rest}") as connection:
            yield PostgresSnapshot(connection)
    elif scheme == "sqlite":
        with closing(sqlite3.connect(f"file:{quote(rest.removeprefix('/'))}?mode=ro", uri=True)) as file:
            file.isolation_level = None
            yield SqliteSnapshot(file)
    elif scheme in ("mysql", "mariadb"):
        parts = urlsplit(url)
        with closing(
            pymysql.connect(
                host=parts.hostname or "",
                port=parts.port or 3306,
                user=unquote(parts.username or ""),
                password=unquote(parts.password or ""),
                database=parts.path.lstrip("/"),
                charset="utf8mb4",
                conv=dict(pymysql.converters.encoders),
                init_command="SET time_zone = '+00:00'",
            )
        ) as connection:
            yield MysqlSnapshot(connection)
    else:
        raise UnknownStore(f"no driver for {scheme or url}")


_TABLES = """
SELECT c.oid, n.nspname, c.relname, n.nspname = current_schema()
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
  AND n.nspname !~ '^(pg_|information_schema$|syncline$)'
ORDER BY 2, 3
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attgenerated <> '' FROM pg_attribute
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_KEY = """
SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indexrelid = (
  SELECT indexrelid FROM pg_index WHERE indrelid = i.indrelid AND (indisprimary OR indisreplident)
  ORDER BY indisprimary DESC LIMIT 1)
ORDER BY k.place
"""


class PostgresSnapshot:
    """A PostgreSQL database; cells are the text that PostgreSQL itself writes, or None."""

    system = "postgresql"

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        for setting in (
            *("TimeZone = 'UTC'", "DateStyle = 'ISO, YMD'", "IntervalStyle = 'iso_8601'"),
            *("bytea_output = 'hex'", "extra_float_digits = 3"),
        ):
            connection.execute(f"SET {setting}")
        connection.commit()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True

    def tables(self) -> list[Table]:
        """All ordinary and partitioned tables; the name of one in the default schema stands alone."""
        found = []
        for oid, schema, name, default in self._connection.execute(_TABLES).fetchall():
            columns = tuple(Column(*row) for row in self._connection.execute(_COLUMNS, [oid]))
            key = tuple(row[0] for row in self._connection.execute(_KEY, [oid]))
            found.append(Table(name if default else f"{schema}.{name}", (schema, name), columns, key))
        return found

    def rows(self, table: Table, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """All rows, in no order."""
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("NULL"),
            sql.Identifier(*table.where),
        )
        with self._connection.cursor(name="oracle") as cursor:
            cursor.itersize = 20_000
            for info in psycopg.adapters.types:
                cursor.adapters.register_loader(info.oid, TextLoader)
                if info.array_oid:
                    cursor.adapters.register_loader(info.array_oid, TextLoader)
            cursor.execute(query)
            yield from cursor


class SqliteSnapshot:
    """A SQLite file; cells are int, float, str, bytes or None, as they are stored."""

    system = "sqlite"

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file
        file.execute("BEGIN")

    def tables(self) -> list[Table]:
        """All tables but SQLite's own and Syncline's."""
        names = self._file.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' "
            "AND name NOT LIKE '~_syncline~_%' ESCAPE '~' ORDER BY name"
        ).fetchall()
        return [self._table(name) for (name,) in names]

    def _table(self, name: str) -> Table:
        quoted = _quote(name)
        info = self._file.execute(f"PRAGMA table_xinfo({quoted})").fetchall()
        key = tuple(row[1] for row in sorted(info, key=lambda row: row[5]) if row[5])
        if not key:
            for _, index, unique, _, partial in self._file.execute(f"PRAGMA index_list({quoted})").fetchall():
                parts = self._file.execute(f"PRAGMA index_info({_quote(index)})").fetchall()
                needed = {row[1] for row in info if row[3]}
                if unique and not partial and all(part[2] in needed for part in parts):
                    key = tuple(part[2] for part in parts)
                    break
        columns = tuple(Column(row[1], row[2], row[6] in (2, 3)) for row in info)
        return Table(name, (name,), columns, key)

    def rows(self, table: Table, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """All rows, in no order."""
        listed = ", ".join(map(_quote, columns)) if columns else "NULL"
        yield from self._file.execute(f"SELECT {listed} FROM {_quote(table.name)}")


_PLAIN_TYPES = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), "bigint"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "bytea"),
    "decimal": "numeric",
    "double": "double precision",
    "float": "real",
    "date": "date",
    "time": "time without time zone",
    "datetime": "timestamp without time zone",
    "timestamp": "timestamp with time zone",
    "json": "jsonb",
}
_KINDS = {"timestamptz": "timestamp with time zone", "decimal": "numeric", "uuid": "uuid", "json": "json"}


class MysqlSnapshot:
    """A database of MariaDB or MySQL; cells are the text that the server writes, bytes or None, and types
    are PostgreSQL's names of what is declared, or of what a column's comment says."""

    system = "mysql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._ask("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._ask("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def tables(self) -> list[Table]:
        """All tables but Syncline's."""
        names = self._ask(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
            " AND table_type = 'BASE TABLE' AND left(table_name, 10) <> '_syncline_' ORDER BY table_name"
        )
        return [self._table(name) for (name,) in names]

    def _table(self, name: str) -> Table:
        told = self._connection.escape(name)
        columns = tuple(
            Column(column, _plain_type(base, text, comment), "GENERATED" in extra and "DEFAULT" not in extra)
            for column, base, text, comment, extra in self._ask(
                "SELECT column_name, data_type, column_type, column_comment, extra"
                f" FROM information_schema.columns WHERE table_schema = database() AND table_name = {told}"
                " ORDER BY ordinal_position"
            )
        )
        key = self._ask(
            "SELECT column_name FROM information_schema.statistics WHERE table_schema = database()"
            f" AND table_name = {told} AND index_name = 'PRIMARY' ORDER BY seq_in_index"
        )
        return Table(name, (name,), columns, tuple(column for (column,) in key))

    def rows(self, table: Table, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """All rows, in no order."""
        types = {column.name: column.type for column in table.columns}
        floats = {name for name in columns if types[name] == "real"}  # whose text has six digits only
        listed = ", ".join(f"{_ticked(name)}{' * 1e0' if name in floats else ''}" for name in columns)
        flags = [types[name] == "boolean" for name in columns]
        with self._connection.cursor(SSCursor) as cursor:
            cursor.execute(f"SELECT {listed or 'NULL'} FROM {_ticked(table.name)}")
            for row in cursor:
                yield tuple(
                    int(cell) if flag and cell is not None else cell
                    for flag, cell in zip(flags, row, strict=True)
                )


def _plain_type(base: str, text: str, comment: str) -> str:
    if comment.startswith("syncline:"):
        kind = json.loads(comment.removeprefix("syncline:"))["kind"]
        return _KINDS.get(kind, "bytea" if kind == "bytes" else "text")
    if re.match(r"tinyint\(1\)$", text):
        return "boolean"
    return _PLAIN_TYPES.get(base, "text")


def _ticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
