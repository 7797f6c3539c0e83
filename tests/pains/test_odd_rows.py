"""Rows of values that one of two stores cannot hold: set aside by their keys, whatever the keys are."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from syncline.model import Parked, Position, TableName
from tests.conftest import Databases
from tests.oracle import compare
from tests.runs import Following, execute, sync, verdicts, wait_for

from .stores import Stores, rows, run

LONG = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
"""Too random to be packed into the page that an index entry of PostgreSQL must fit in."""


@pytest.fixture
def stores(postgres_database: Databases, postgres_b_database: Databases, tmp_path: Path) -> Stores:
    return Stores(postgres_database, postgres_b_database, tmp_path)


def parked_keys(source: str, target: str, table: str) -> set[str]:
    """The keys that a run names as parked; the rest is equal."""
    (report,) = sync(source, target).tables
    assert str(report.verdict) == "parked", report
    return set(report.detail.partition("parked: ")[2].partition("): ")[0].replace("(", "").split("), "))


def test_keys_that_a_file_has_no_value_for(stores: Stores) -> None:
    source, target = stores.pair("postgresql-sqlite")
    execute(source, "CREATE TABLE t (id float8 PRIMARY KEY, v int)")
    execute(source, "INSERT INTO t VALUES ('NaN', 1), ('-0', 2), ('Infinity', 3), (1e-320, 4), (5, 5)")
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 3, "the copy")
        execute(source, "UPDATE t SET v = v + 10", "INSERT INTO t VALUES (6, 6)")
        wait_for(lambda: rows(target, "t WHERE v > 12 OR id = 6") == 4, "the changes")
    for _ in range(2):
        assert parked_keys(source, target, "t") == {"nan", "-0.0"}
    execute(source, "DELETE FROM t WHERE id IN ('NaN', '-0')")
    assert verdicts(sync(source, target)) == {"t": "equal"}
    assert compare(source, target) == []


def test_keys_that_a_server_has_no_value_for(stores: Stores) -> None:
    source, target = stores.pair("sqlite-postgresql")
    run(source, "CREATE TABLE t (id text PRIMARY KEY, v int)")
    run(source, "INSERT INTO t VALUES ('a' || char(0) || 'b', 1), ('fine', 2)")
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 1, "the copy")
        run(source, "UPDATE t SET v = 9", "INSERT INTO t VALUES ('x' || char(0), 3), ('also', 9)")
        wait_for(lambda: rows(target, "t WHERE v = 9") == 2, "the changes")
    assert parked_keys(source, target, "t") == {"a\0b", "x\0"}
    run(source, "DELETE FROM t WHERE id NOT IN ('fine', 'also')")
    assert verdicts(sync(source, target)) == {"t": "equal"}


def test_cells_that_are_larger_than_an_index_takes(stores: Stores) -> None:
    source, target = stores.pair("sqlite-postgresql")
    run(source, "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE INDEX long ON t (v)")
    run(source, "CREATE TABLE u (id int PRIMARY KEY, v text UNIQUE)", "INSERT INTO u VALUES (1, 'short')")
    run(source, f"INSERT INTO t VALUES (1, '{LONG}')")
    with Following(source, target):
        wait_for(lambda: rows(target, "syncline.tables WHERE state = 'live'") == 2, "live tables")
        run(
            source, f"INSERT INTO t VALUES (2, '{LONG}!')", f"INSERT INTO u VALUES (2, '{LONG}'), (3, 'fine')"
        )
        wait_for(lambda: rows(target, "t") == 2 and rows(target, "u WHERE id = 3") == 1, "the rows that fit")
    report = sync(source, target)
    assert verdicts(report) == {"t": "equal", "u": "parked"}


def test_rows_that_are_larger_than_a_page(stores: Stores) -> None:
    source, target = stores.pair("sqlite-postgresql")
    columns = [f"c{n}" for n in range(1599)]
    run(source, f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'{name} int' for name in columns)})")
    run(source, "INSERT INTO t (id, c1) VALUES (1, 1)", f"INSERT INTO t VALUES (2{', 7' * 1599})")
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 1, "the copy")
        run(source, "INSERT INTO t (id, c5) VALUES (3, 4)", f"INSERT INTO t VALUES (4{', 7' * 1599})")
        wait_for(lambda: rows(target, "t") == 2, "the row that fits")
    assert parked_keys(source, target, "t") == {"2", "4"}


def test_rows_that_a_trigger_of_the_target_raises_at(stores: Stores) -> None:
    source, target = stores.pair("postgresql-postgresql")
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    execute(
        target,
        "CREATE TABLE t (id int PRIMARY KEY, v int)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN IF NEW.v > 10 THEN RAISE EXCEPTION ''too much''; END IF; RETURN NEW; END'",
        "CREATE TRIGGER f BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE t ENABLE ALWAYS TRIGGER f",
    )
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 2, "the copy")
        execute(
            source,
            "INSERT INTO t VALUES (3, 100)",
            "INSERT INTO t VALUES (4, 4)",
            "UPDATE t SET v = 5 WHERE id = 1",
        )
        wait_for(lambda: rows(target, "t WHERE id = 4") == 1, "the row that fits")
    assert parked_keys(source, target, "t") == {"3"}


@pytest.mark.parametrize(
    "cell", ["a", 1, 1.5, b"\0\xff", "a\0b", float("nan"), float("inf"), float("-inf"), None, True], ids=repr
)
def test_a_parked_key_is_read_as_it_was_written(cell: object) -> None:
    text = Parked(TableName("t"), (cell, "b"), "", Position("0")).dump_key()
    assert repr(Parked.load_key(text)) == repr((cell, "b"))
    assert "\\u0000" not in text, "which jsonb has not"
