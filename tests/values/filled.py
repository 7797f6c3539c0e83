"""Databases full of values, one table a type, with as many rows held back for the stream.

`v_<sort>` has the value beside a numbered key; `k_<sort>` has it as its key. The schema `held` has the rows
that are to travel by the log: `release` writes them, changes others and deletes some.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from random import Random
from typing import Any

import psycopg
from psycopg import sql

from .sorts import SETUP, Sort

HELD = "held"
_KEY_LENGTH = 500  # an index holds no longer ones

# Makers may make what a type refuses now and then: only the server knows all of its types' limits. And a
# few values it writes in a text that it cannot read itself (a timestamp(0) that was rounded to 294277).
_FITS = """
CREATE FUNCTION held.fits(value text, type text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('SELECT %1$L::%2$s::text::%2$s', value, type); RETURN true;
EXCEPTION WHEN others THEN RETURN false; END $$
"""


class FilledPostgres:
    """A PostgreSQL database with `rows` values of each sort, half of them in the tables."""

    def __init__(
        self, url: str, sorts: Sequence[Sort], rows: int, rng: Random, *, keyed: bool, plain: bool
    ) -> None:
        self.url = url
        self._keyed, self._half = keyed, rows // 2
        self._released: set[str] = set()
        self._lock = threading.Lock()
        with psycopg.connect(url) as connection:
            connection.execute(SETUP.encode())
            connection.execute(b"CREATE SCHEMA held")
            connection.execute(_FITS.encode())
            connection.execute(b"CREATE TEMP TABLE staged (n bigint, value text)")
            for sort in sorts:
                self._fill(connection, sort, rows, rng, (plain and sort.plain) or sort.make)

    def _fill(self, connection: Any, sort: Sort, rows: int, rng: Random, make: Any) -> None:
        table, type = self.table(sort), sql.SQL(sort.type)
        shape = "v {} PRIMARY KEY, n bigint" if self._keyed else "n bigint PRIMARY KEY, v {}"
        for place in (sql.Identifier(table), sql.Identifier(HELD, table)):
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(place, sql.SQL(shape).format(type)))
        connection.execute("TRUNCATE staged")
        with connection.cursor().copy("COPY staged FROM STDIN") as copy:
            for number in range(rows):
                empty = not self._keyed and rng.random() < 0.05
                copy.write_row((number, None if empty else make(rng)))
        condition = sql.SQL("(value IS NULL OR held.fits(value, {}))").format(sort.type)
        if self._keyed:
            condition += sql.SQL(" AND length(value) < {}").format(_KEY_LENGTH)
        put = sql.SQL("INSERT INTO {} (n, v) SELECT n, value::{} FROM staged WHERE {} ON CONFLICT DO NOTHING")
        kept = connection.execute(put.format(sql.Identifier(HELD, table), type, condition)).rowcount
        assert kept > (1 if self._keyed else 0.9 * rows), f"{sort.name}: {kept} of {rows} values are any"
        move = sql.SQL(
            "WITH moved AS (DELETE FROM {held} WHERE {which} RETURNING n, v)"
            " INSERT INTO {table} (n, v) SELECT n, v FROM moved"
        )
        which = sql.SQL("n % 2 = 0") if self._keyed else sql.SQL("n < {}").format(self._half)
        connection.execute(
            move.format(held=sql.Identifier(HELD, table), table=sql.Identifier(table), which=which)
        )

    def table(self, sort: Sort) -> str:
        """The name of a sort's table."""
        return f"{'k' if self._keyed else 'v'}_{sort.name}"

    def release(self, schema: Any, *_: Any, **__: Any) -> None:
        """Once a table: its held rows come in, and others change, in three transactions."""
        table = schema.table.name
        with self._lock:
            if table in self._released:
                return
            self._released.add(table)
        names = {"table": sql.Identifier(table), "held": sql.Identifier(HELD, table)}
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in _KEYED if self._keyed else _VALUED:
                connection.execute(sql.SQL(statement).format(**names, half=self._half))
            if table == "k_numeric":  # the same value in other digits, which is another text of the key
                connection.execute("UPDATE k_numeric SET v = v + 0.000 WHERE v < 'Infinity' AND n % 3 = 0")


_VALUED = (
    "INSERT INTO {table} (n, v) SELECT n, v FROM {held}",
    "UPDATE {table} AS t SET v = h.v FROM {held} AS h WHERE t.n = h.n - {half} AND t.n % 5 = 0",
    "DELETE FROM {table} WHERE n % 17 = 3",
)
_KEYED = (
    "INSERT INTO {table} (n, v) SELECT n, v FROM {held} WHERE n % 4 = 1",
    "UPDATE {table} SET n = -n WHERE n % 3 = 1",
    "UPDATE {table} AS t SET v = h.v FROM {held} AS h WHERE h.n = t.n + 1 AND h.n % 4 = 3",
    "DELETE FROM {table} WHERE n % 7 = 3",
)


class FilledSqlite:
    """A file that Syncline has filled, every second row of it held back for the stream again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: dict[str, list[tuple[Any, ...]]] = {}
        self._lock = threading.Lock()
        with closing(sqlite3.connect(path)) as file, file:
            names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '~_%' ESCAPE '~'"
            for (table,) in file.execute(names).fetchall():
                self._held[table] = file.execute(f'SELECT n, v FROM "{table}" WHERE n % 2').fetchall()
                file.execute(f'DELETE FROM "{table}" WHERE n % 2')

    def release(self, schema: Any, *_: Any, **__: Any) -> None:
        """Once a table: its held rows come back."""
        table = schema.table.name
        with self._lock:
            rows = self._held.pop(table, [])
        with closing(sqlite3.connect(self._path, timeout=30)) as file, file:
            file.executemany(f'INSERT INTO "{table}" (n, v) VALUES (?, ?)', rows)
