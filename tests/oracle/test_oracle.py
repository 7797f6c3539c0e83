"""The oracle finds what it must find, and nothing else."""

from __future__ import annotations

import ast
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.oracle import compare
from tests.oracle.values import plain

POSTGRES = """
CREATE TABLE kinds (
  id bigint PRIMARY KEY, flag boolean, amount numeric, exact numeric(12,2), ratio double precision,
  ratio4 real, note text, code char(5), raw bytea, day date, at time, moment timestamp,
  instant timestamptz, token uuid, doc jsonb, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO kinds VALUES
  (1, true, '1.10', '3.00', 0.1, 1.1, E'a\\tb''c', 'ab', '\\x00ff', '2024-02-29', '23:59:59.5',
   '2024-02-29 01:02:03.25', '2024-02-29 01:02:03+02', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
   '{"b": [1, 2.50], "a": null}'),
  (2, false, '-123456789012345678901234567890.5', '-0.01', '-Infinity', 3e38, '', '', '', 'infinity',
   '00:00', '0044-03-15 12:00:00 BC', 'infinity', NULL, '"x"'),
  (-3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE pairs (a text, b uuid, n int, PRIMARY KEY (b, a));
INSERT INTO pairs VALUES
  ('x', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1), ('', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2);
CREATE SCHEMA sales;
CREATE TABLE sales.orders (id int PRIMARY KEY, note text);
INSERT INTO sales.orders SELECT n, 'order ' || n FROM generate_series(1, 500) n;
"""

SQLITE = """
CREATE TABLE kinds (
  id INTEGER PRIMARY KEY, flag BOOLEAN, amount TEXT, exact TEXT, ratio REAL, ratio4 REAL, note TEXT,
  code TEXT, raw BLOB, day TEXT, at TEXT, moment TEXT, instant TEXT, token TEXT, doc TEXT);
INSERT INTO kinds VALUES
  (1, 1, '1.10', '3.00', 0.1, 1.100000023841858, 'a' || char(9) || 'b''c', 'ab   ', x'00ff', '2024-02-29',
   '23:59:59.5', '2024-02-29T01:02:03.250000', '2024-02-28 23:02:03+00',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a":null,"b":[1,2.5]}'),
  (2, 0, '-123456789012345678901234567890.5', '-0.01', -9e999, 3.0000000054977558e38, '', '     ', x'',
   'infinity', '00:00:00', '0044-03-15 12:00:00 BC', 'infinity', NULL, '"x"'),
  (-3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE pairs (a TEXT, b TEXT, n INTEGER, PRIMARY KEY (b, a));
INSERT INTO pairs VALUES
  ('x', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1), ('', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2);
CREATE TABLE sales_orders (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE _syncline_streams (stream TEXT);
"""

ALTERATIONS = [
    ("UPDATE kinds SET flag = false WHERE id = 1", "cell"),
    ("UPDATE kinds SET flag = false WHERE id = -3", "cell"),
    ("UPDATE kinds SET amount = '1.1' WHERE id = 1", "cell"),
    ("UPDATE kinds SET ratio = 0.10000000000000002 WHERE id = 1", "cell"),
    ("UPDATE kinds SET ratio4 = 1.2 WHERE id = 1", "cell"),
    ("UPDATE kinds SET note = NULL WHERE id = 2", "cell"),
    ("UPDATE kinds SET moment = '2024-02-29 01:02:03.251' WHERE id = 1", "cell"),
    ("UPDATE kinds SET instant = '2024-02-29 01:02:03+00' WHERE id = 1", "cell"),
    ('UPDATE kinds SET doc = \'{"b": [2.5, 1], "a": null}\' WHERE id = 1', "cell"),
    ("DELETE FROM kinds WHERE id = -3", "row missing"),
    ("INSERT INTO kinds (id) VALUES (4)", "row added"),
    ("UPDATE pairs SET a = 'y' WHERE a = 'x'", "row added"),
    ("DELETE FROM pairs", "row missing"),
    ("ALTER TABLE pairs DROP COLUMN n", "columns"),
    ("ALTER TABLE pairs ADD COLUMN extra int", "columns"),
    ("DROP TABLE pairs", "table"),
    ("CREATE TABLE another (id int PRIMARY KEY)", "table"),
]


def fill_postgres(url: str) -> str:
    with psycopg.connect(url) as connection:
        connection.execute(POSTGRES)
    return url


def fill_sqlite(path: Path) -> str:
    file = sqlite3.connect(path)
    file.executescript(SQLITE)
    file.executemany("INSERT INTO sales_orders VALUES (?, ?)", ((n, f"order {n}") for n in range(1, 501)))
    file.commit()
    file.close()
    return f"sqlite:///{path}"


def alter(url: str, statement: str) -> None:
    if url.startswith("sqlite"):
        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        file.execute(statement)
        file.commit()
        file.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute(statement)


CASES = [
    (pair, *alteration)
    for pair in ("postgres-sqlite", "sqlite-sqlite", "postgres-postgres", "sqlite-postgres")
    for alteration in (ALTERATIONS if pair.endswith("sqlite") else ALTERATIONS[2::3])
]


@pytest.mark.parametrize(("pair", "statement", "what"), CASES)
def test_every_alteration_is_found(
    pair: str, statement: str, what: str, postgres_database: Callable[[], str], tmp_path: Path
) -> None:
    urls = [
        fill_postgres(postgres_database()) if system == "postgres" else fill_sqlite(tmp_path / f"{side}.db")
        for side, system in zip("ab", pair.split("-"), strict=True)
    ]
    assert compare(*urls) == []
    alter(urls[1], statement)
    found = compare(*urls)
    assert what in {difference.what for difference in found}, found
    assert "orders" not in " ".join(difference.table for difference in found)


def test_globs_choose_the_tables(postgres_database: Callable[[], str]) -> None:
    a, b = fill_postgres(postgres_database()), fill_postgres(postgres_database())
    alter(b, "UPDATE sales.orders SET note = 'other' WHERE id = 7")
    assert [str(found) for found in compare(a, b)] == [
        "sales.orders key '7': cell: note is 'order 7' and 'other'"
    ]
    assert compare(a, b, ["kinds", "pairs"]) == []
    assert compare(a, b, exclude=["sales.*"]) == []


def test_many_differences_are_counted_and_rows_without_a_key_compared(
    postgres_database: Callable[[], str],
) -> None:
    a, b = fill_postgres(postgres_database()), fill_postgres(postgres_database())
    alter(b, "DELETE FROM sales.orders")
    assert str(compare(a, b)[-1]) == "sales.orders: more: and 480 more differences"
    for url in (a, b):
        alter(
            url,
            "CREATE TABLE keyless AS SELECT n / 2 AS half, NULL::text AS no FROM generate_series(1, 9) n",
        )
    assert compare(a, b, ["keyless"]) == []
    alter(b, "DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE half = 2)")
    assert [found.what for found in compare(a, b, ["keyless"])] == ["row missing"]


def test_the_command_line_tells_by_its_exit_code(
    postgres_database: Callable[[], str], tmp_path: Path
) -> None:
    a, b = fill_postgres(postgres_database()), fill_sqlite(tmp_path / "b.db")

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.oracle", *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    assert run(a, b) == (0, "equal: 3 tables, 505 rows")
    alter(b, "DELETE FROM kinds")
    assert run(a, b, "--tables", "kinds")[0] == 1
    assert run(a, b, "--exclude", "kinds")[0] == 0
    code, said = run(a, f"sqlite:///{tmp_path}/absent.db")
    assert (code, said) == (2, "cannot compare: unable to open database file")
    assert run(a, "mystery://x")[0] == 2


def test_imports_nothing_of_what_it_judges() -> None:
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "syncline"], path
    assert "syncline" not in subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tests.oracle; print([m for m in sys.modules if 'syncline' in m])",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("__editable___syncline", "")


@pytest.mark.parametrize(
    ("type", "one", "other"),
    [
        ("jsonb", "1.5", '"1.5"'),
        ("jsonb", "1", "true"),
        ("jsonb", "[1]", '{"a": 1}'),
        ("jsonb", "12345678901234567890123456789012345678901", "12345678901234567890123456789012345678902"),
        ("json", '{"a":1,"a":2}', '{"a":2}'),
        ("json", '{"a":1,"b":2}', '{"b":2,"a":1}'),
        ("json", "1.10", "1.1"),
        ("double precision", "-0", 0.0),
        ("real", "0.1", 0.1),
        ("numeric", "1.10", "1.1"),
        ("integer[]", "{1,2}", "{2,1}"),
        ("inet", "1.2.3.4", "1.2.3.4/8"),
    ],
)
def test_what_is_nearly_equal_is_different(type: str, one: Any, other: Any) -> None:
    form = plain(type)
    assert form(one) == form(one)
    assert form(one) != form(other)


@pytest.mark.parametrize(
    ("type", "one", "other"),
    [
        ("jsonb", '{"a": 1.0, "b": [null, "x"]}', '{"b":[null,"x"],"a":1}'),
        ("json", '{"a": [1, "x"]}', '{"a":[1,"x"]}'),
        ("json", "5", 5),
        ("real", "0.1", 0.10000000149011612),
        ("double precision", "NaN", math.nan),
        ("timestamp with time zone", "2024-02-29 01:02:03+00", "2024-02-29 03:02:03+02"),
    ],
)
def test_what_is_written_otherwise_is_equal(type: str, one: Any, other: Any) -> None:
    assert plain(type)(one) == plain(type)(other)
