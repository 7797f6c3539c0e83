"""Columns that change where SQLite is one end or both: judged by the oracle."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from syncline import failpoints
from syncline.engine import arrivals
from syncline.engine import stream as engine_stream
from tests.conftest import Databases
from tests.oracle.compare import compare
from tests.runs import Failures, Following, Notices, execute, sync, value, verdicts, wait_for

TABLE = "CREATE TABLE t (id int PRIMARY KEY, a text, n int NOT NULL DEFAULT 1, v varchar(20), d numeric(8,2))"
ROWS = "INSERT INTO t SELECT g, 'a' || g, g, 'v' || g, g / 4.0 FROM generate_series(1, 60) g"
FILE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER NOT NULL DEFAULT 1)"

FROM_SERVER = {
    "added": "ALTER TABLE t ADD x int",
    "added with default": "ALTER TABLE t ADD x int NOT NULL DEFAULT 7",
    "added with text": r"""ALTER TABLE t ADD x text DEFAULT E'a "b" \\ {c}'""",
    "added with bytes": r"ALTER TABLE t ADD x bytea DEFAULT '\x00ff5c'",
    "added with decimal": "ALTER TABLE t ADD x numeric(9,3) NOT NULL DEFAULT 1.500",
    "added with time": "ALTER TABLE t ADD x timestamptz NOT NULL DEFAULT now()",
    "dropped": "ALTER TABLE t DROP a",
    "renamed": "ALTER TABLE t RENAME a TO b",
    "key renamed": "ALTER TABLE t RENAME id TO number",
    "widened": "ALTER TABLE t ALTER n TYPE bigint",
    "another type": "ALTER TABLE t ALTER v TYPE int USING length(v)",
}
ANEW = {"widened", "another type"}

FROM_FILE = {
    "added": "ALTER TABLE t ADD x INTEGER DEFAULT 7",
    "renamed": "ALTER TABLE t RENAME a TO b",
    "remade": "CREATE TABLE new (id INTEGER PRIMARY KEY, n BIGINT, z TEXT);"
    " INSERT INTO new SELECT id, n, 'z' FROM t; DROP TABLE t; ALTER TABLE new RENAME TO t",
}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.3)


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.executescript(f"BEGIN IMMEDIATE; {script}; COMMIT")


def is_live(target: str, path: Path | None) -> bool:
    with suppress(sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        if path is None:
            return value(target, "SELECT state FROM syncline.tables WHERE name = 't'") == "live"
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute("SELECT state FROM _syncline_tables").fetchall() == [("live",)]
    return False


def equal(source: str, target: str) -> bool:
    path = "?options=-csearch_path%3Dpublic"
    urls = [url + path if url.startswith("postgres") else url for url in (source, target)]
    with suppress(sqlite3.OperationalError):
        return compare(*urls, ["t"]) == []
    return False


@pytest.mark.parametrize("restarted", [False, True], ids=["following", "restart"])
@pytest.mark.parametrize("case", FROM_SERVER)
def test_from_postgresql(postgres_database: Databases, tmp_path: Path, case: str, restarted: bool) -> None:
    source, path = postgres_database(), tmp_path / "b.db"
    target = f"sqlite:///{path}"
    execute(source, TABLE, ROWS)
    heard = Notices()

    def change() -> None:
        execute(source, "UPDATE t SET n = n + 1 WHERE n < 9", FROM_SERVER[case], "UPDATE t SET n = n + 1")

    with Following(source, target, observer=heard) as following:
        wait_for(lambda: is_live(target, path), "the first copy")
        if not restarted:
            change()
            wait_for(lambda: is_live(target, path) and equal(source, target), "the new shape")
        assert following.error is None
    if restarted:
        change()
    report = sync(source, target, observer=heard)
    assert verdicts(report) == {"t": "equal"}
    assert equal(source, target)
    assert any("begins anew" in text for text in heard.texts) == (case in ANEW)


@pytest.mark.parametrize("restarted", [False, True], ids=["following", "restart"])
@pytest.mark.parametrize("to", ["postgres", "sqlite"])
@pytest.mark.parametrize("case", FROM_FILE)
def test_from_a_file(
    postgres_database: Databases, tmp_path: Path, case: str, to: str, restarted: bool
) -> None:
    a, b = tmp_path / "a.db", tmp_path / "b.db" if to == "sqlite" else None
    source, target = f"sqlite:///{a}", f"sqlite:///{b}" if b else postgres_database()
    run(a, FILE + "; INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, NULL, 3)")
    heard = Notices()

    def change() -> None:
        run(a, f"UPDATE t SET n = n + 1; {FROM_FILE[case]}; UPDATE t SET n = n + 1")

    with Following(source, target, observer=heard) as following:
        wait_for(lambda: is_live(target, b), "the first copy")
        if not restarted:
            change()
            wait_for(lambda: is_live(target, b) and equal(source, target), "the new shape")
            run(a, "UPDATE t SET n = n + 1; INSERT INTO t (id) VALUES (9)")
            wait_for(lambda: equal(source, target), "changes after it")
        assert following.error is None
    if restarted:
        change()
    assert verdicts(sync(source, target, observer=heard)) == {"t": "equal"}
    assert equal(source, target)
    assert any("begins anew" in text for text in heard.texts)


@pytest.mark.parametrize("exactly", [False, True], ids=["by glob", "by name"])
def test_a_dropped_table_of_a_file_leaves_unless_it_was_named(tmp_path: Path, exactly: bool) -> None:
    source, path = tmp_path / "a.db", tmp_path / "b.db"
    urls = f"sqlite:///{source}", f"sqlite:///{path}"
    run(source, f"{FILE}; INSERT INTO t VALUES (1, 'first', 1); CREATE TABLE u (id INTEGER PRIMARY KEY)")
    with Following(*urls, tables=["t" if exactly else "t*", "u"]) as following:
        wait_for(lambda: states_in(path) == ["live", "live"], "the first copy")
        run(source, "INSERT INTO t VALUES (2, 'last', 1)")
        run(source, "DROP TABLE t")
        run(source, "INSERT INTO u VALUES (1)")
        wait_for(lambda: states_in(path) == (["failed", "live"] if exactly else ["live"]), "the end of t")
        run(source, "INSERT INTO u VALUES (2)")
        wait_for(lambda: cells(path, "SELECT id FROM u") == [1, 2], "the other table")
        assert following.error is None
    assert cells(path, "SELECT a FROM t ORDER BY id") == ["first", "last"]


def test_a_table_of_a_file_that_is_renamed_does_not_leave_as_dropped(tmp_path: Path) -> None:
    source, path = tmp_path / "a.db", tmp_path / "b.db"
    urls = f"sqlite:///{source}", f"sqlite:///{path}"
    run(source, f"{FILE}; INSERT INTO t VALUES (1, 'first', 1); CREATE TABLE u (id INTEGER PRIMARY KEY)")
    with Following(*urls, schema="evolve", exclude=["gone"]) as following:
        wait_for(lambda: states_in(path) == ["live", "live"], "the first copy")
        run(source, "ALTER TABLE t RENAME TO gone")
        wait_for(lambda: states_in(path) == ["failed", "live"], "the stop")
        assert following.error is None


def cells(path: Path, query: str) -> list[object]:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=30)) as connection:
        return [cell for (cell,) in connection.execute(query)]
    return []


def states_in(path: Path) -> list[object]:
    return sorted(cells(path, "SELECT state FROM _syncline_tables"), key=str)


def test_a_new_table_that_changes_before_it_has_joined_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt after the failure finds it live beside in a shape that it has no more."""
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.3)
    source, target = (f"sqlite:///{tmp_path}/{name}.db" for name in "ab")
    run(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    heard = Failures(lambda: run(tmp_path / "a.db", "ALTER TABLE u ADD x INTEGER DEFAULT 7"))
    with Following(source, target, observer=heard) as following:
        wait_for(lambda: is_live(target, tmp_path / "b.db"), "the first copy")
        failpoints.arm("join.before_commit=fail")
        run(tmp_path / "a.db", "CREATE TABLE u (id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)")
        wait_for(lambda: failpoints.hits("join.before_commit") > 1, "another join")
        wait_for(lambda: compare(source, target) == [], "the new table")
        assert following.error is None
    failpoints.arm("")
