"""Rules between a source's columns that change and the target."""

from __future__ import annotations

import psycopg
import pytest

from syncline.engine import stream as engine_stream
from syncline.engine.transform.rules import Hash, Rules
from tests.conftest import Databases
from tests.runs import Following, Notices, execute, sync, value, verdicts, wait_for

TABLES = (
    "CREATE TABLE t (id int PRIMARY KEY, a text, n int)",
    "INSERT INTO t SELECT g, 'a' || g, g FROM generate_series(1, 20) g",
)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.3)


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    source, target = postgres_database(), postgres_b_database()
    execute(source, *TABLES)
    return source, target


def rows(url: str, columns: str = "*") -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT {columns} FROM t ORDER BY 1").fetchall()


def columns(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute("SELECT * FROM t")
        return [column.name for column in cursor.description or ()]


def live(target: str) -> bool:
    try:
        return value(target, "SELECT state FROM syncline.tables WHERE name = 't'") == "live"
    except psycopg.errors.UndefinedTable:
        return False


def test_an_added_column_is_left_out_where_columns_are_chosen(pair: tuple[str, str]) -> None:
    source, target = pair
    heard = Notices()
    rules = {"t": Rules(columns=("id", "n"))}
    with Following(source, target, rules=rules, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, "ALTER TABLE t ADD x int DEFAULT 7", "UPDATE t SET n = n + 1, x = 8 WHERE id < 5")
        wait_for(lambda: rows(target) == rows(source, "id, n"), "the changes")
        execute(source, "UPDATE t SET n = n + 1")
        wait_for(lambda: rows(target) == rows(source, "id, n"), "later changes")
        assert following.error is None
    assert columns(target) == ["id", "n"]
    assert not [text for text in heard.texts if "begins anew" in text or "at the target" in text]


def test_an_added_column_passes_beside_other_rules(pair: tuple[str, str]) -> None:
    source, target = pair
    heard = Notices()
    rules = {"t": Rules(rename_columns={"a": "b"}, where="id > 3")}
    with Following(source, target, rules=rules, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, "ALTER TABLE t ADD x int DEFAULT 7", "UPDATE t SET n = n + 1, x = 8 WHERE id < 6")
        wait_for(lambda: rows(target) == rows(source)[3:], "the changes")
        assert following.error is None
    assert columns(target) == ["id", "b", "n", "x"]
    assert not [text for text in heard.texts if "begins anew" in text]


def test_a_column_that_rules_change_for_all_is_copied_anew(pair: tuple[str, str]) -> None:
    source, target = pair
    heard = Notices()
    rules = {"t": Rules(mask={"a": Hash(b"salt")}), "*": Rules(mask={"x": Hash(b"salt")})}
    execute(source, "CREATE TABLE other (id int PRIMARY KEY, x text)")
    with Following(source, target, rules=rules, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, "ALTER TABLE t ADD x text DEFAULT 'secret'")
        wait_for(lambda: live(target) and "x" in columns(target), "the new column")
        assert following.error is None
    assert value(target, "SELECT count(*) FROM t WHERE x LIKE '%secret%'") == 0
    assert value(target, "SELECT count(x) FROM t") == 20


@pytest.mark.parametrize("statement", ["ALTER TABLE t DROP a", "ALTER TABLE t RENAME a TO b"])
def test_a_column_that_rules_name_and_that_goes_stops_its_table(
    pair: tuple[str, str], statement: str
) -> None:
    source, target = pair
    with Following(source, target, rules={"t": Rules(rename_columns={"a": "c"})}) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, statement)
        wait_for(
            lambda: value(target, "SELECT state FROM syncline.tables WHERE name = 't'") == "failed",
            "the stop",
        )
        assert following.error is None
    detail = str(value(target, "SELECT detail FROM syncline.tables WHERE name = 't'"))
    assert "its rules name column a" in detail
    assert detail.endswith("copy it anew with --replace --tables 't'")
    assert columns(target) == ["id", "c", "n"]


def last(url: str) -> object:
    return value(url, "SELECT max(id) FROM other")


LOST = {
    "table dropped": "DROP TABLE t",
    "table renamed": "ALTER TABLE t RENAME TO gone",
    "column dropped": "ALTER TABLE t DROP a",
    "column renamed": "ALTER TABLE t RENAME a TO b",
}


@pytest.mark.parametrize("case", LOST)
def test_what_rules_name_is_gone_and_the_other_tables_go_on(pair: tuple[str, str], case: str) -> None:
    """Also when the stream begins again after it; and what a mask was for never comes without one."""
    source, target = pair
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")
    rules = {"t": Rules(mask={"a": Hash(b"salt")})}
    with Following(source, target, rules=rules):
        wait_for(lambda: live(target), "the first copy")
    execute(source, LOST[case], "INSERT INTO other VALUES (1)")
    failed = "SELECT state = 'failed' FROM syncline.tables WHERE name = 't'"
    for number in (2, 3):
        with Following(source, target, rules=rules, tables=["t", "other"]) as following:
            wait_for(lambda: value(target, failed) is True, "the stop")
            execute(source, f"INSERT INTO other VALUES ({number})")
            wait_for(lambda at=number: last(target) == at, "the other table's rows")  # type: ignore[misc]
            assert following.error is None
    report = sync(source, target, rules=rules, replace=True)
    assert verdicts(report)["other"] == "equal"
    assert verdicts(report).get("t") in (None, "skipped", "failed")
    assert columns(target) == ["id", "a", "n"]
