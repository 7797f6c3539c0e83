"""Values that the other end cannot hold: parked or refused by name, by copy and by stream; the rest equal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from syncline.engine.report import Report, Verdict
from syncline.errors import Refused
from tests.oracle import compare
from tests.runs import sync

Databases = Callable[[], str]

# What Django and SQLAlchemy declare, with a value as they write it and what PostgreSQL is to hold.
APPLICATIONS = [
    ("datetime", "2024-01-01 10:00:00.120000", "timestamp without time zone", "2024-01-01 10:00:00.12"),
    ("DATETIME", "2024-01-01T00:00:00.000000", "timestamp without time zone", "2024-01-01 00:00:00"),
    ("date", "2024-02-29", "date", "2024-02-29"),
    ("time", "12:30:00.000000", "time without time zone", "12:30:00"),
    ("decimal", 1.1, "numeric", "1.1"),
    ("DECIMAL(10, 2)", 19.99, "numeric", "19.99"),
    ("NUMERIC(10, 2)", 5, "numeric", "5"),
    ("NUMERIC(38, 10)", 1e22, "numeric", "1" + "0" * 22),
    ("varchar(3)", "longer than three", "text", "longer than three"),
    ("VARCHAR(20)", "12", "text", "12"),
    ("char(32)", "00000000000000000000000000000001", "text", "00000000000000000000000000000001"),
    ("bool", 1, "boolean", "t"),
    ("BOOLEAN", 0, "boolean", "f"),
    ("bigint", (1 << 63) - 1, "bigint", str((1 << 63) - 1)),
    ("integer unsigned", 7, "bigint", "7"),
    ("smallint", -5, "bigint", "-5"),
    ("real", 3, "double precision", "3"),
    ("FLOAT", 5e-324, "double precision", "5e-324"),
    ("REAL", float("inf"), "double precision", "Infinity"),
    ("JSON", '{"a": 1, "a": [1.10]}', "json", '{"a": 1, "a": [1.10]}'),
    ("JSON", 12, "json", "12"),
    ("text", "\ufeff\x01😀e\u0301", "text", "\ufeff\x01😀e\u0301"),
    ("BLOB", b"\x00\xff", "bytea", "\\x00ff"),
]

# A value that is none of its column's type, or that PostgreSQL would refuse or take for another.
UNFIT = [
    ("integer", "many"),
    ("INTEGER", 1.5),
    ("bool", 2),
    ("real", "x"),
    ("text", b"\x01"),
    ("text", "a\x00b"),
    ("BLOB", "text"),
    ("date", "2023-02-30"),
    ("date", "2024-01-01 00:00:00"),
    ("date", "02024-01-01\n"),
    ("time", "23:59:60"),
    ("datetime", "2024-06-30 23:59:60"),
    ("datetime", "2024-06-30 24:00:00"),
    ("datetime", "2024-06-30 00:00:00+02:00"),
    ("datetime", "2024-06-30 00:00:00.1234567"),
    ("datetime", 1700000000),
    ("decimal(10,2)", "1_000"),
    ("decimal(10,2)", "sNaN"),
    ("decimal(10,2)", "dear"),
    ("decimal_text", "1e999999999"),
    ("JSON", "{broken"),
    ("JSON", float("inf")),
    ("uuid", "no"),
]


def write(path: Path, statement: str, rows: list[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as file, file:
        file.executemany(statement, rows)


def parked(report: Report) -> dict[str, str]:
    """What is said of the tables that have parked keys."""
    return {str(table.table): table.detail for table in report.tables if table.verdict is Verdict.PARKED}


def cells(url: str, table: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT id, v::text FROM {table} ORDER BY id".encode()).fetchall()


def test_what_applications_declare_becomes_the_type_that_they_mean(
    postgres_database: Databases, tmp_path: Path
) -> None:
    path, target = tmp_path / "a.db", postgres_database()
    later: list[int] = []
    for number, (declared, value, _, _) in enumerate(APPLICATIONS):
        write(path, f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, v {declared})", [()])
        write(path, f"INSERT INTO t{number} VALUES (1, ?), (2, NULL)", [(value,)])

    def release(schema: Any, *_: Any, **__: Any) -> None:
        number = int(schema.table.name[1:])
        if number not in later:
            later.append(number)
            write(path, f"INSERT INTO t{number} VALUES (3, ?)", [(APPLICATIONS[number][1],)])

    report = sync(f"sqlite:///{path}", target, after={"read": release})
    assert {table.verdict for table in report.tables} == {Verdict.EQUAL}
    with psycopg.connect(target) as connection:
        for number, (declared, _, type, wanted) in enumerate(APPLICATIONS):
            query = f"SELECT id, v::text, pg_typeof(v)::text FROM t{number} ORDER BY id"
            found = connection.execute(query.encode()).fetchall()
            shown = {"t": "true", "f": "false"}.get(wanted, wanted)
            assert found == [(1, shown, type), (2, None, type), (3, shown, type)], declared


@pytest.mark.parametrize("by", ["copy", "stream"])
def test_a_value_that_fits_nowhere_is_parked_by_name(
    by: str, postgres_database: Databases, tmp_path: Path
) -> None:
    path, target = tmp_path / "a.db", postgres_database()
    for number, (declared, value) in enumerate(UNFIT):
        write(path, f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, v {declared})", [()])
        write(path, f"INSERT INTO t{number} VALUES (1, NULL), (9, NULL)", [()])
        if by == "copy":
            write(path, f"INSERT INTO t{number} VALUES (7, ?)", [(value,)])
    seen: set[str] = set()

    def release(schema: Any, *_: Any, **__: Any) -> None:
        table = schema.table.name
        if by == "stream" and table not in seen:
            seen.add(table)
            write(path, f"INSERT INTO {table} VALUES (7, ?)", [(UNFIT[int(table[1:])][1],)])

    said = parked(sync(f"sqlite:///{path}", target, after={"read": release}))
    for number, (declared, value) in enumerate(UNFIT):
        assert "(7)" in said.get(f"t{number}", ""), (declared, value)
        assert cells(target, f"t{number}") == [(1, None), (9, None)], (declared, value)


@pytest.mark.parametrize("type", ["real", "double precision"])
def test_floats_that_sqlite_would_change_are_parked(
    type: str, postgres_database: Databases, tmp_path: Path
) -> None:
    source, path = postgres_database(), tmp_path / "b.db"
    with psycopg.connect(source) as connection:
        connection.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {type})".encode())
        connection.execute("INSERT INTO t VALUES (1, 'NaN'), (2, '-0'), (3, '-Infinity'), (4, 0), (5, 1.5)")
    done: list[bool] = []

    def release(*_: Any, **__: Any) -> None:
        if not done:
            done.append(True)
            with psycopg.connect(source) as connection:
                connection.execute("UPDATE t SET v = 'NaN' WHERE id = 5")
                connection.execute("INSERT INTO t VALUES (6, '-0'), (7, 'Infinity')")

    said = parked(sync(source, f"sqlite:///{path}", after={"read": release}))
    assert [f"({number})" in said["t"] for number in range(1, 8)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    different = {str(found.key[0]) for found in compare(source, f"sqlite:///{path}")}
    assert different == {"1", "2", "5", "6"}


def test_a_label_that_is_added_later_is_parked_by_name(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    with psycopg.connect(source) as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (id int PRIMARY KEY, v mood)")
        connection.execute("INSERT INTO t VALUES (1, 'a')")
    done: list[bool] = []

    def release(*_: Any, **__: Any) -> None:
        if not done:
            done.append(True)
            with psycopg.connect(source, autocommit=True) as connection:
                connection.execute("ALTER TYPE mood ADD VALUE 'b'")
                connection.execute("INSERT INTO t VALUES (2, 'b'), (3, 'a')")

    said = parked(sync(source, target, after={"read": release}))
    assert "(2)" in said["t"]
    assert 'invalid input value for enum mood: "b"' in said["t"]
    assert cells(target, "t") == [(1, "a"), (3, "a")]


@pytest.mark.parametrize(
    ("made", "type"),
    [
        ("CREATE DOMAIN d AS int", "d"),
        ("CREATE DOMAIN d AS int", "d[]"),
        ("CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS e", "d"),
        ("CREATE TYPE d AS (a int)", "d"),
        ("CREATE TYPE d AS RANGE (subtype = text)", "d"),
        ("CREATE EXTENSION hstore", "hstore"),
    ],
)
def test_a_type_that_the_target_lacks_is_refused_before_anything_runs(
    made: str, type: str, postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    with psycopg.connect(source) as connection:
        connection.execute(f"{made}; CREATE TABLE t (id int PRIMARY KEY, v {type})".encode())
    with pytest.raises(Refused, match=rf"column v .* needs the type (public\.)?{type.removesuffix('[]')}"):
        sync(source, target, tables=("t",))
    for url in (source, target):
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT to_regnamespace('syncline')").fetchone() == (None,)


def test_settings_of_the_databases_change_no_value(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    changed = (
        "array_nulls = off",
        "quote_all_identifiers = on",
        "extra_float_digits = -3",
        "xmloption = document",
    )
    changed += "IntervalStyle = sql_standard", "DateStyle = 'SQL, DMY'", "bytea_output = escape"
    changed += "TimeZone = 'Asia/Kathmandu'", "search_path = pg_catalog"
    for url in (source, target):
        name = url.rpartition("/")[2].partition("?")[0]
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in changed:
                connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    with psycopg.connect(source) as connection:
        connection.execute(b"""CREATE TYPE public.mood AS ENUM ('a');
            CREATE TABLE public.t (id int PRIMARY KEY, n text[], f float8, x xml, i interval, d date, b bytea,
                                   m public.mood, z timestamptz, v varchar(3))""")
        connection.execute(INSERT.encode(), {"id": 1})
    done: list[bool] = []

    def release(*_: Any, **__: Any) -> None:
        if not done:
            done.append(True)
            with psycopg.connect(source) as connection:
                connection.execute(INSERT.encode(), {"id": 2})

    report = sync(source, target, after={"read": release})
    assert [table.verdict for table in report.tables] == [Verdict.EQUAL]
    assert compare(source, target) == []
    with psycopg.connect(target, options="-c TimeZone=UTC -c DateStyle=ISO") as connection:
        query = "SELECT n[2] IS NULL, f = 0.1::float8 + 0.2::float8, x::text, d::text, b::text, z::text"
        (found,) = set(connection.execute(f"{query} FROM public.t".encode()).fetchall())
    assert found[:3] == (True, True, "<a/>text")
    assert found[3:] == ("2024-02-01", "\\000\\377", "2024-02-01 10:00:00+00")


INSERT = """INSERT INTO public.t VALUES (%(id)s, ARRAY['NULL', NULL, 'a'], 0.1::float8 + 0.2::float8,
    xmlparse(CONTENT '<a/>text'), '-1 mon +2 days -00:00:00.5', '2024-02-01', '\\x00ff', 'a',
    '2024-02-01 10:00:00+00', 'abc')"""


def test_a_key_that_postgres_cannot_compare_is_refused(postgres_database: Databases, tmp_path: Path) -> None:
    source = postgres_database()
    with psycopg.connect(source) as connection:
        connection.execute("CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS e; CREATE DOMAIN f AS d")
        connection.execute("CREATE TABLE t (id int, v f, PRIMARY KEY (id, v))")
    with pytest.raises(Refused, match=r"of its key .* no =; run ALTER TABLE … ALTER v TYPE public\.e"):
        sync(source, f"sqlite:///{tmp_path}/b.db", tables=("t",))


def test_a_key_of_nan_is_one_key_and_zero_has_a_sign(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    with psycopg.connect(source) as connection:
        connection.execute("CREATE TABLE t (v float8 PRIMARY KEY, n int)")
        connection.execute("INSERT INTO t VALUES ('NaN', 1), (0, 1)")
    done: list[bool] = []

    def release(*_: Any, **__: Any) -> None:
        if not done:
            done.append(True)
            with psycopg.connect(source, autocommit=True) as connection:
                for number in range(2, 5):
                    connection.execute("UPDATE t SET n = %s WHERE v = 'NaN'", [number])
                connection.execute("DELETE FROM t WHERE v = 'NaN'; INSERT INTO t VALUES ('NaN', 5)")
                connection.execute("UPDATE t SET v = '-0' WHERE v = 0")

    assert [table.verdict for table in sync(source, target, after={"read": release}).tables] == [
        Verdict.EQUAL
    ]
    assert compare(source, target) == []
