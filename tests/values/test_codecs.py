"""Values through the codecs alone, found and shrunk by hypothesis: PostgreSQL's text to Arrow, to a SQLite
table, to Arrow by what that table declares, and back to PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from random import Random
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services import Server
from syncline.connectors.postgres import catalog
from syncline.connectors.postgres import codec as postgres
from syncline.connectors.postgres.connection import SETTINGS
from syncline.connectors.sqlite import codec as sqlite
from syncline.connectors.sqlite.declared import canonical, declare, spell
from syncline.model import Column, Kind, Rows, Schema, TableName, Type

from .makers import array, composite
from .sorts import ALL, SETUP, Sort

Connection = psycopg.Connection[Any]
ID = Column("id", Type(Kind.INT32), nullable=False)
AT_ONCE = 40

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
numbers = st.decimals(allow_nan=True, allow_infinity=True).map(str).filter(lambda text: "sNaN" not in text)
STRATEGIES: dict[str, st.SearchStrategy[str]] = {
    "text": texts,
    "citext": texts,
    "int8": st.integers(-(1 << 63), (1 << 63) - 1).map(str),
    "float4": st.floats(width=32, allow_nan=False).filter(lambda value: str(value) != "-0.0").map(repr),
    "float8": st.floats(allow_nan=False).filter(lambda value: str(value) != "-0.0").map(repr),
    "numeric": numbers.map(lambda text: text.replace("-NaN", "NaN")),
    "bytes": st.binary().map(lambda cell: "\\x" + cell.hex()),
    "day": st.dates().map(str),
    "moment": st.datetimes().map(str),
    "interval": st.timedeltas().map(
        lambda value: f"{value.days} days {value.seconds}.{value.microseconds:06}"
    ),
    "uuid": st.uuids().map(str),
    "texts": st.builds(lambda seed, text: array(lambda _: text)(Random(seed)), st.integers(0, 99), texts),
    "pair": texts.map(lambda text: composite(lambda _: "7", lambda _: text)(Random(0))),
}


@pytest.fixture(scope="module")
def database(postgres_server: Server) -> Iterator[str]:
    """A database for all tests of this file."""
    postgres_server.start()
    name = f"codecs{os.getpid()}"
    with psycopg.connect(postgres_server.url, autocommit=True) as maintenance:
        maintenance.execute(f"CREATE DATABASE {name}".encode())
        yield urlunsplit(urlsplit(postgres_server.url)._replace(path=f"/{name}"))
        maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def session(database: str) -> Iterator[Connection]:
    """A session with the connector's settings, and for each sort a table and one for what comes back."""
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    with psycopg.connect(database, options=options, autocommit=True) as connection:
        connection.execute(SETUP.encode())
        for sort in ALL:
            connection.execute(f"CREATE TABLE v_{sort.name} (id int PRIMARY KEY, v {sort.type})".encode())
            connection.execute(f"CREATE TABLE v_{sort.name}_back (LIKE v_{sort.name})".encode())
        yield connection


@pytest.fixture(scope="module")
def columns(session: Connection) -> dict[str, Column]:
    """The column `v` of each table as the catalog says it."""
    return {
        schema.table.name.removeprefix("v_"): schema.column("v")
        for schema in catalog.discover(session, "public")
    }


def through_postgres(session: Connection, column: Column, table: str, cells: Sequence[str | None]) -> Rows:
    """The cells as the copy reads them, which is what the stream reads of them."""
    session.execute(f"TRUNCATE {table}, {table}_back".encode())
    with session.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for number, cell in enumerate(cells):
            copy.write_row((number, cell))
    query = f"COPY (SELECT id, v FROM {table} ORDER BY id) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"
    with session.cursor().copy(query.encode()) as copy:
        rows = postgres.rows_from_csv((ID, column), b"".join(map(bytes, copy)))
    with session.cursor().copy(f"COPY (SELECT v FROM {table} ORDER BY id) TO STDOUT".encode()) as copy:
        told = [None if cell is None else cell.encode() for (cell,) in copy.rows()]
    streamed = postgres.column_from_text(pa.array(told, pa.binary()), column.type)
    assert repr(streamed.to_pylist()) == repr(rows.array("v").to_pylist())
    return rows


def through_sqlite(column: Column, rows: Rows) -> Rows:
    """The rows as a SQLite table gives them back by what it declares itself."""
    schema = Schema(TableName("t"), (ID, column), ("id",), "postgres")
    with closing(sqlite3.connect(":memory:")) as file:
        file.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {spell(declare(column.type))})")
        cells = sqlite.encode(schema, rows)
        file.executemany("INSERT INTO t VALUES (?, ?)", list(zip(*cells, strict=True)))
        declared = file.execute("PRAGMA table_xinfo(t)").fetchall()[1][2]
        stored = list(zip(*file.execute("SELECT id, v FROM t ORDER BY id").fetchall(), strict=True))
    by_source = sqlite.decode(schema, (ID, column), stored, stored[:1])
    assert repr(by_source.array("v").to_pylist()) == repr(rows.array("v").to_pylist())
    back = Column("v", canonical(declared))
    return sqlite.decode(
        Schema(TableName("t"), (ID, back), ("id",), "sqlite"), (ID, back), stored, stored[:1]
    )


def check(session: Connection, column: Column, table: str, cells: Sequence[str | None]) -> None:
    """What comes out of the last step is in PostgreSQL what went into the first."""
    rows = through_sqlite(column, through_postgres(session, column, table, cells))
    written = postgres.copy_text((ID, Column("v", canonical(declare(column.type)))), rows)
    with session.cursor().copy(f"COPY {table}_back FROM STDIN".encode()) as copy:
        copy.write(written)
    differing = f"SELECT a.v::text, b.v::text FROM {table} a FULL JOIN {table}_back b USING (id)"
    differing += " WHERE a.v::text IS DISTINCT FROM b.v::text"
    assert session.execute(differing.encode()).fetchall() == []


quick = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def fit(session: Connection, sort: Sort, cells: Sequence[str]) -> list[str]:
    """Those that the type takes; its limits are the server's to know."""
    found = []
    for cell in cells:
        try:
            session.execute(f"SELECT %s::{sort.type}::text::{sort.type}".encode(), [cell])
        except psycopg.errors.DataError:
            continue
        found.append(cell)
    return found


@pytest.mark.parametrize("sort", ALL, ids=[sort.name for sort in ALL])
def test_made_values(sort: Sort, session: Connection, columns: dict[str, Column]) -> None:
    @settings(quick, max_examples=4)
    @given(st.integers(0, 1 << 32))
    def run(seed: int) -> None:
        rng = Random(seed)
        made = fit(session, sort, [(sort.plain or sort.make)(rng) for _ in range(AT_ONCE)])
        check(session, columns[sort.name], f"v_{sort.name}", [*made, None])

    run()


@pytest.mark.parametrize("name", STRATEGIES)
def test_any_values(name: str, session: Connection, columns: dict[str, Column]) -> None:
    (sort,) = [sort for sort in ALL if sort.name == name]

    @settings(quick, max_examples=25)
    @given(st.lists(STRATEGIES[name], max_size=AT_ONCE))
    def run(cells: list[str]) -> None:
        check(session, columns[name], f"v_{name}", [*fit(session, sort, cells), None])

    run()
