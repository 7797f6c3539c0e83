"""A process that is killed when a target's table has its new shape and the transaction with its position is
still open: whoever goes on finds neither, and ends with both."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from tests.cli.command import start
from tests.conftest import Databases
from tests.oracle.compare import compare
from tests.runs import execute, sync, verdicts, wait_for

STATEMENTS = {
    "added": "ALTER TABLE t ADD x int NOT NULL DEFAULT 7",
    "dropped": "ALTER TABLE t DROP a",
    "renamed": "ALTER TABLE t RENAME a TO b",
    "widened": "ALTER TABLE t ALTER n TYPE bigint",
}
BEFORE = ["id", "a", "n"]
AFTER = {
    "added": ["id", "a", "n", "x"],
    "dropped": ["id", "n"],
    "renamed": ["id", "b", "n"],
    "widened": BEFORE,
}


@pytest.fixture
def source(postgres_database: Databases) -> str:
    url = postgres_database()
    execute(
        url,
        "CREATE TABLE t (id int PRIMARY KEY, a text, n int)",
        "INSERT INTO t SELECT g, 'a' || g, g FROM generate_series(1, 60) g",
    )
    return url


def ask(target: str, query: str) -> list[tuple[object, ...]]:
    """The rows of a query at a target of either kind; none when a table is not there."""
    if not target.startswith("sqlite"):
        with suppress(psycopg.errors.UndefinedTable), psycopg.connect(target) as connection:
            return connection.execute(query.encode()).fetchall()
        return []
    with closing(sqlite3.connect(target.removeprefix("sqlite:///"), timeout=30)) as file:
        with suppress(sqlite3.OperationalError):
            return file.execute(query).fetchall()
        return []


def bookkeeping(target: str, table: str, columns: str) -> list[tuple[object, ...]]:
    name = f"_syncline_{table}" if target.startswith("sqlite") else f"syncline.{table}"
    return ask(target, f"SELECT {columns} FROM {name}")


def shape(target: str) -> list[object]:
    query = "SELECT name FROM pragma_table_info('t')"
    if not target.startswith("sqlite"):
        query = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND attnum > 0"
        query += " AND NOT attisdropped ORDER BY attnum"
    return [name for (name,) in ask(target, query)]


def equal(source: str, target: str) -> bool:
    return compare(source, target, ["t"]) == []


PAIRS = [(case, "postgres") for case in STATEMENTS]
PAIRS += [(case, "sqlite") for case in STATEMENTS if case != "widened"]  # there it is copied anew


@pytest.mark.parametrize(("case", "system"), PAIRS)
def test_between_the_new_shape_and_its_position(
    source: str, postgres_b_database: Databases, tmp_path: Path, case: str, system: str
) -> None:
    target = f"sqlite:///{tmp_path}/t.db" if system == "sqlite" else postgres_b_database()
    armed = {"SYNCLINE_FAILPOINTS": "alter.before_commit=kill"}
    with start("sync", source, target, "--follow", "--quiet", env=armed) as process:
        try:
            wait_for(lambda: bookkeeping(target, "tables", "state") == [("live",)], "the first copy")
            position = bookkeeping(target, "streams", "position")
            execute(source, STATEMENTS[case], "UPDATE t SET n = n + 1 WHERE id < 9")
            execute(source, "INSERT INTO t (id, n) VALUES (100, 1)")
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: shape(target) == BEFORE, "the old shape")  # a dead client's session takes a moment
    assert bookkeeping(target, "streams", "position") == position
    execute(source, "DELETE FROM t WHERE id = 20", "INSERT INTO t (id, n) VALUES (101, 1)")
    assert verdicts(sync(source, target)) == {"t": "equal"}
    assert equal(source, target)
    assert shape(target) == AFTER[case]
