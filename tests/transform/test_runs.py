"""Whole runs through rules, between real servers: copied, followed, killed, compared."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from syncline import failpoints, transform
from syncline.engine.transform.rules import Fixed, Hash, Null, Partial, Rules
from syncline.errors import Refused
from syncline.model import Deletes
from tests.conftest import Databases
from tests.runs import Following, execute, sync, value, verdicts, wait_for

ORDERS = """CREATE TABLE orders (
    id bigint PRIMARY KEY, status text NOT NULL, total numeric(10,2), ratio double precision,
    placed timestamptz, big text);
    ALTER TABLE orders ALTER big SET STORAGE EXTERNAL"""
FILL = """INSERT INTO orders SELECT n, CASE n % 3 WHEN 0 THEN 'draft' ELSE 'open' END, n * 1.10,
    CASE WHEN n % 7 = 0 THEN 'NaN' WHEN n % 5 = 0 THEN '-0' ELSE n::float8 / 8 END,
    timestamptz '2024-01-01' + n * interval '1 second', repeat(md5(n::text), 200)
    FROM generate_series(1, 40) n"""


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    return postgres_database(), postgres_b_database()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_float_kept_as_text_survives_in_sqlite(postgres_database: Databases, tmp_path: Path) -> None:
    source, target = postgres_database(), f"sqlite:///{tmp_path}/t.db"
    execute(source, ORDERS, FILL)
    report = sync(source, target, rules={"orders": Rules(cast={"ratio": "text"})})
    assert verdicts(report) == {"orders": "equal"}
    with sqlite3.connect(tmp_path / "t.db") as file:
        found = dict(file.execute("SELECT id, ratio FROM orders").fetchall())
    assert (found[7], found[5], found[1]) == ("NaN", "-0", "0.125")


ALL = "SELECT id, status, total, big FROM orders ORDER BY id"
PASSING = "SELECT id, status, total, big FROM orders WHERE status <> 'draft' AND total > 5 ORDER BY id"


def test_rows_enter_and_leave_a_filter(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(where="status <> 'draft' AND total > 5")}
    with Following(source, target, rules=rules) as run:
        wait_for(lambda: _live(target), "the live table")
        execute(source, "UPDATE orders SET status = 'draft' WHERE id IN (7, 8)")  # leave
        execute(source, "UPDATE orders SET status = 'open' WHERE id IN (6, 9)")  # enter, with `big` unsent
        execute(source, "UPDATE orders SET total = 1 WHERE id = 10", "DELETE FROM orders WHERE id = 11")
        execute(source, "UPDATE orders SET id = 113 WHERE id = 13")  # another key
        execute(source, "UPDATE orders SET id = 114, status = 'draft' WHERE id = 14")  # and out
        execute(source, "UPDATE orders SET id = 112, status = 'open' WHERE id = 12")  # and in
        execute(
            source,
            "INSERT INTO orders VALUES (200, 'open', 6, 1, now(), 'x'), (201, 'draft', 6, 1, now(), 'x')",
        )
        wait_for(lambda: rows(source, PASSING) == rows(target, ALL), "all of it")
        assert run.error is None
    report = sync(source, target, rules=rules)
    assert verdicts(report) == {"orders": "equal"}
    assert rows(source, PASSING) == rows(target, ALL)


def _live(target: str) -> bool:
    try:
        return value(target, "SELECT state FROM syncline.tables LIMIT 1") == "live"
    except psycopg.errors.Error:
        return False
