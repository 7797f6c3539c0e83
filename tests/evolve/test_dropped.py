"""Tables that are dropped at a PostgreSQL source at moments in which no log tells of it: they leave, or stop
where they were asked for by name, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest

from syncline import failpoints
from syncline.engine import arrivals
from syncline.engine import stream as engine_stream
from syncline.engine.transform.rules import Rules
from syncline.errors import Interrupted
from syncline.model import Schema
from tests.conftest import Databases
from tests.oracle.compare import compare
from tests.runs import Failures, Following, execute, pipeline, sync, verdicts, wait_for

GONE = "the source has no such table any more"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.3)
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.3)
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    source, target = postgres_database(), postgres_b_database()
    for table in ("t", "other"):
        execute(
            source,
            f"CREATE TABLE {table} (id int PRIMARY KEY, a text)",
            f"INSERT INTO {table} SELECT g, 'a' || g FROM generate_series(1, 40) g",
        )
    return source, target


def states(target: str) -> dict[str, str]:
    with suppress(psycopg.errors.UndefinedTable), psycopg.connect(target) as connection:
        return dict(connection.execute("SELECT name, state FROM syncline.tables").fetchall())
    return {}


def equal(source: str, target: str, table: str) -> bool:
    path = "?options=-csearch_path%3Dpublic"
    return compare(source + path, target + path, [table]) == []


def once(source: str, statement: str, when: Callable[..., bool] = lambda *_: True) -> Callable[..., None]:
    """A hook that runs a statement the first time that a condition on the call's arguments holds."""
    left = [statement]

    def call(*args: object, **_: object) -> None:
        if left and when(*args):
            execute(source, left.pop())

    return call


NAMED = ["t", "other"]


def test_while_it_is_copied(pair: tuple[str, str]) -> None:
    source, target = pair
    drop = once(source, "DROP TABLE t", lambda schema, *_: str(schema.table) == "t")
    report = sync(source, target, after={"read": drop}, span_rows=10, workers=1)
    assert verdicts(report) == {"other": "equal", "t": "skipped"}
    assert equal(source, target, "other")


def test_while_it_is_copied_though_it_was_asked_for(pair: tuple[str, str]) -> None:
    source, target = pair
    drop = once(source, "DROP TABLE t", lambda schema, *_: str(schema.table) == "t")
    report = sync(source, target, after={"read": drop}, span_rows=10, workers=1, tables=NAMED)
    assert verdicts(report) == {"other": "equal", "t": "failed"}
    (detail,) = (table.detail for table in report.tables if str(table.table) == "t")
    assert detail == f"{GONE}; copy it anew with --replace --tables 't'"
    assert equal(source, target, "other")


@pytest.mark.parametrize(
    ("tables", "verdict"), [(["*"], "skipped"), (NAMED, "failed")], ids=["glob", "named"]
)
def test_while_nothing_copies_it_further(pair: tuple[str, str], tables: list[str], verdict: str) -> None:
    source, target = pair

    def stop(schema: Schema, *_: object, **__: object) -> None:
        if str(schema.table) == "t":
            stopped.stop()

    stopped = pipeline(source, target, after={"read": stop}, span_rows=10, workers=1, tables=tables)
    with pytest.raises(Interrupted):
        stopped.run()
    assert states(target)["t"] == "copying"
    execute(source, "DROP TABLE t")
    assert verdicts(sync(source, target, tables=tables)) == {"other": "equal", "t": verdict}


def test_before_it_is_attached(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target, before={"attach": once(source, "DROP TABLE t")}) as following:
        wait_for(lambda: states(target) == {"other": "live"}, "the first copy")
        assert following.error is None


def test_before_it_has_joined_the_others(pair: tuple[str, str]) -> None:
    """The attempt after the failure finds it live beside, and not there."""
    source, target = pair
    heard = Failures(lambda: execute(source, "DROP TABLE u"))
    with Following(source, target, observer=heard) as following:
        wait_for(lambda: states(target) == {"t": "live", "other": "live"}, "the first copy")
        failpoints.arm("join.before_commit=fail")
        execute(source, "CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)")
        wait_for(lambda: failpoints.hits("join.before_commit") > 1, "the next join")
        wait_for(lambda: states(target) == {"t": "live", "other": "live"}, "the end of u")
        execute(source, "UPDATE t SET a = 'after'")
        wait_for(lambda: equal(source, target, "t"), "a change")
        assert following.error is None


def test_before_a_row_of_it_is_read_again(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(
        source,
        "ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ADD n int",
        "UPDATE t SET a = repeat('a', 9000)",
    )
    rules = {"t": Rules(where="a LIKE 'a%'")}
    drop = once(source, "DROP TABLE t")
    with Following(source, target, rules=rules, before={"read_keys": drop}) as following:
        wait_for(lambda: states(target) == {"t": "live", "other": "live"}, "the first copy")
        execute(source, "UPDATE t SET n = 1 WHERE id = 1")
        wait_for(lambda: states(target) == {"other": "live"}, "the end of t")
        execute(source, "UPDATE other SET a = 'after'")
        wait_for(lambda: equal(source, target, "other"), "a change")
        assert following.error is None
