"""Rows that the target cannot take are parked by key, and nothing else is held up (Race 15)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from syncline.engine.report import Report
from tests.conftest import Databases
from tests.runs import Following, execute, sync, verdicts, wait_for


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    return postgres_database(), postgres_b_database()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def parked(url: str) -> list[str]:
    return [key for (key,) in rows(url, "SELECT key::text FROM syncline.parked ORDER BY 1")]


def detail(report: Report, table: str) -> str:
    return next(line.detail for line in report.tables if str(line.table) == table)


TABLE = "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
CHECKED = TABLE.replace("n int", "n int CHECK (n >= 0)")
FILL = "INSERT INTO t SELECT i, i, repeat(md5(i::text), 100) FROM generate_series(1, 100) i"


def test_a_row_that_does_not_fit_is_parked_by_the_copy_and_the_rest_goes_on(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, TABLE, FILL, "UPDATE t SET n = -1 WHERE id IN (17, 54)")
    execute(target, CHECKED)
    report = sync(source, target, span_rows=30)
    assert verdicts(report) == {"t": "parked"}
    assert report.exit_code == 1
    assert "(17), (54)" in detail(report, "t")
    assert "t_n_check" in detail(report, "t")
    assert parked(target) == ["[17]", "[54]"]
    assert rows(target, "SELECT count(*) FROM t") == [(98,)]
    execute(source, "UPDATE t SET n = 1 WHERE id = 17", "DELETE FROM t WHERE id = 54")
    assert verdicts(sync(source, target)) == {"t": "equal"}
    assert rows(source, "SELECT * FROM t ORDER BY id") == rows(target, "SELECT * FROM t ORDER BY id")
    assert rows(target, "SELECT to_regnamespace('syncline') IS NULL") == [(True,)]


def test_race_15_parked_by_the_stream_with_its_position_and_freed_by_a_later_change(
    pair: tuple[str, str],
) -> None:
    source, target = pair
    execute(source, TABLE, FILL)
    execute(target, CHECKED)
    with Following(source, target) as following:
        wait_for(lambda: rows(target, "SELECT count(*) FROM t") == [(100,)], "the copy")
        big = "repeat(md5('new'), 100)"  # out of line: an update that leaves it alone does not send it
        execute(source, f"UPDATE t SET n = -5, big = {big} WHERE id = 5", "UPDATE t SET n = 600 WHERE id = 6")
        wait_for(lambda: rows(target, "SELECT n FROM t WHERE id = 6") == [(600,)], "the change beside it")
        assert parked(target) == ["[5]"]
        assert rows(target, "SELECT n FROM t WHERE id = 5") == [(5,)]
        # The log does not tell `big` again: it must come from the source, not from the target's old row.
        execute(source, "UPDATE t SET n = 55 WHERE id = 5")
        wait_for(lambda: parked(target) == [], "the end of the parking")
        assert rows(target, f"SELECT n, big = {big} FROM t WHERE id = 5") == [(55, True)]
        execute(source, "UPDATE t SET n = -1 WHERE id = 7")
        wait_for(lambda: parked(target) == ["[7]"], "another parked key")
        execute(source, "UPDATE t SET id = 700 WHERE id = 7")
        wait_for(lambda: parked(target) == ["[700]"], "the key change of a parked row")
        assert rows(target, "SELECT id FROM t WHERE id IN (7, 700)") == []
        execute(source, "DELETE FROM t WHERE id = 700")
        wait_for(lambda: parked(target) == [], "the delete of a parked row")
        assert following.error is None
    assert verdicts(sync(source, target)) == {"t": "equal"}


def test_children_of_a_parked_parent_wait_with_it_and_a_retry_brings_both(pair: tuple[str, str]) -> None:
    source, target = pair
    children = "CREATE TABLE children (id int PRIMARY KEY, parent int NOT NULL REFERENCES t)"
    execute(source, TABLE, children, FILL, "INSERT INTO children VALUES (1, 1)")
    execute(target, CHECKED, children)
    with Following(source, target):
        wait_for(lambda: rows(target, "SELECT count(*) FROM children") == [(1,)], "the copy")
        insert = "INSERT INTO t VALUES (101, -1, 'x'); INSERT INTO children VALUES (2, 101), (3, 3)"
        execute(source, insert)
        wait_for(lambda: parked(target) == ["[101]", "[2]"], "parent and child")
        assert rows(target, "SELECT id FROM children ORDER BY id") == [(1,), (3,)]
        execute(target, "ALTER TABLE t DROP CONSTRAINT t_n_check")
        execute(target, "UPDATE syncline.parked SET asked = true")
        wait_for(lambda: parked(target) == [], "the retry")
        assert rows(target, "SELECT id FROM children ORDER BY id") == [(1,), (2,), (3,)]
    assert verdicts(sync(source, target)) == {"children": "equal", "t": "equal"}


def test_a_parent_that_fits_by_a_later_change_brings_its_children(pair: tuple[str, str]) -> None:
    source, target = pair
    children = "CREATE TABLE children (id int PRIMARY KEY, parent int NOT NULL REFERENCES t)"
    grandchildren = "CREATE TABLE grandchildren (id int PRIMARY KEY, child int REFERENCES children)"
    execute(source, TABLE, children, grandchildren, FILL)
    execute(target, CHECKED, children, grandchildren)
    with Following(source, target):
        wait_for(lambda: rows(target, "SELECT count(*) FROM t") == [(100,)], "the copy")
        execute(
            source,
            "INSERT INTO t VALUES (101, -1, 'x'); INSERT INTO children VALUES (2, 101)",
            "INSERT INTO grandchildren VALUES (3, 2)",
        )
        wait_for(lambda: parked(target) == ["[101]", "[2]", "[3]"], "three generations")
        execute(source, "UPDATE t SET n = 1 WHERE id = 101")
        wait_for(lambda: parked(target) == [], "all three")
        assert rows(target, "SELECT id FROM grandchildren") == [(3,)]
    assert set(verdicts(sync(source, target)).values()) == {"equal"}


def test_race_06_a_unique_value_that_moves_between_spans_is_set_aside_until_the_goal(
    pair: tuple[str, str],
) -> None:
    source, target = pair
    accounts = "CREATE TABLE t (id int PRIMARY KEY, mail text UNIQUE)"
    execute(source, accounts, "INSERT INTO t SELECT i, 'mail' || i FROM generate_series(1, 40) i")
    execute(target, accounts)
    moved = [
        lambda: execute(
            source, "UPDATE t SET mail = 'new' WHERE id = 3", "UPDATE t SET mail = 'mail3' WHERE id = 33"
        )
    ]

    def change(*_: object, **__: object) -> None:
        if moved:
            moved.pop()()

    report = sync(source, target, after={"read": change}, span_rows=10, workers=1)
    assert verdicts(report) == {"t": "equal"}
    assert rows(target, "SELECT id FROM t WHERE mail = 'mail3'") == [(33,)]


def test_values_of_another_class_in_sqlite_are_parked_by_copy_and_stream(
    tmp_path: Path, postgres_database: Databases
) -> None:
    path, target = tmp_path / "source.db", postgres_database()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
        file.executemany("INSERT INTO t VALUES (?, ?)", [(1, 1), (2, "two"), (3, 3)])
    source = f"sqlite:///{path}"
    with Following(source, target):
        live = "SELECT count(*) FROM syncline.tables WHERE state = 'live'"
        made = "SELECT to_regclass('syncline.tables') IS NOT NULL"
        wait_for(lambda: rows(target, made) == [(True,)] and rows(target, live) == [(1,)], "the copy")
        assert parked(target) == ["[2]"]
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE t SET n = 2 WHERE id = 2")
            file.execute("UPDATE t SET n = x'00' WHERE id = 3")
            file.execute("INSERT INTO t VALUES (4, 4)")
        wait_for(lambda: rows(target, "SELECT n FROM t WHERE id = 4") == [(4,)], "the change beside them")
        assert parked(target) == ["[3]"]
        assert rows(target, "SELECT * FROM t ORDER BY id") == [(1, 1), (2, 2), (3, 3), (4, 4)]
    report = sync(source, target)
    assert verdicts(report) == {"t": "parked"}
    assert "(3)" in detail(report, "t")


def test_a_key_that_its_own_server_cannot_read_again_stays_parked_and_holds_nothing_up(
    pair: tuple[str, str],
) -> None:
    source, target = pair
    # timestamp(0) rounds this up into a year that PostgreSQL does not read.
    last = "294276-12-31 23:59:59.999999"
    execute(
        source,
        "CREATE TABLE t (at timestamp(0) PRIMARY KEY, v text)",
        f"INSERT INTO t VALUES ('2024-01-01', 'a'), ('{last}', 'b'), ('infinity', 'c')",
    )
    report = sync(source, target)
    assert verdicts(report) == {"t": "parked"}
    assert "294277-01-01" in detail(report, "t")
    execute(
        source, "INSERT INTO t VALUES ('2024-01-02', 'd')", "UPDATE t SET v = 'e' WHERE at > '290000-01-01'"
    )
    report = sync(source, target)
    assert verdicts(report) == {"t": "parked"}
    assert "(294277-01-01 00:00:00): " in detail(report, "t")
    assert len(parked(target)) == 1
    here = rows(target, "SELECT at::text, v FROM t ORDER BY at")
    assert here == [("2024-01-01 00:00:00", "a"), ("2024-01-02 00:00:00", "d"), ("infinity", "e")]
    execute(source, "DELETE FROM t WHERE v = 'e' AND at < 'infinity'")
    assert verdicts(sync(source, target)) == {"t": "equal"}
