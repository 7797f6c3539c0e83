"""Columns that change at a PostgreSQL source change at the target too: while a run follows, while nothing
runs, and while the table is copied, under writes. Judged by the oracle, columns and rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
import pytest

from syncline import failpoints
from syncline.engine import stream as engine_stream
from tests.conftest import Databases
from tests.oracle.compare import compare
from tests.runs import Following, Notices, execute, sync, value, verdicts, wait_for

TABLES = (
    "CREATE TABLE t (id int PRIMARY KEY, a text, n int NOT NULL DEFAULT 1, v varchar(20), d numeric(8,2))",
    "INSERT INTO t SELECT g, 'a' || g, g, 'v' || g, g / 4.0 FROM generate_series(1, 60) g",
    "CREATE TABLE other (id int PRIMARY KEY)",
)


@dataclass(frozen=True)
class Case:
    """Statements on `t`, each its own transaction; `anew`: the table is copied anew for them."""

    statements: tuple[str, ...]
    anew: bool = False


IN_PLACE = {
    "added": Case(("ALTER TABLE t ADD x int",)),
    "added with default": Case(("ALTER TABLE t ADD x int NOT NULL DEFAULT 7",)),
    "added with text": Case((r"""ALTER TABLE t ADD x text DEFAULT E'a "b" \\ {c}, d'""",)),
    "added with bytes": Case((r"ALTER TABLE t ADD x bytea DEFAULT '\x00ff5c'",)),
    "added with array": Case(("ALTER TABLE t ADD x text[] DEFAULT ARRAY['a', NULL, 'b,c']",)),
    "added with time": Case(("ALTER TABLE t ADD x timestamptz DEFAULT now()",)),
    "added, default dropped": Case(
        ("ALTER TABLE t ADD x int DEFAULT 7", "ALTER TABLE t ALTER x DROP DEFAULT")
    ),
    "added, default set later": Case(("ALTER TABLE t ADD x int", "ALTER TABLE t ALTER x SET DEFAULT 9")),
    "added twice": Case(("ALTER TABLE t ADD x int DEFAULT 7", "ALTER TABLE t ADD y text DEFAULT 'y'")),
    "dropped": Case(("ALTER TABLE t DROP a",)),
    "renamed": Case(("ALTER TABLE t RENAME a TO b",)),
    "renamed twice": Case(("ALTER TABLE t RENAME a TO b", "ALTER TABLE t RENAME b TO c")),
    "names exchanged": Case(
        ("ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME v TO a; ALTER TABLE t RENAME x TO v",)
    ),
    "key renamed": Case(("ALTER TABLE t RENAME id TO number",)),
    "widened text": Case(("ALTER TABLE t ALTER v TYPE varchar(40)",)),
    "widened to text": Case(("ALTER TABLE t ALTER v TYPE text",)),
    "widened decimal": Case(("ALTER TABLE t ALTER d TYPE numeric(12,2)",)),
}

ANEW = {
    "volatile default": Case(("ALTER TABLE t ADD x float8 DEFAULT random()",), anew=True),
    "numbered": Case(("ALTER TABLE t ADD x int GENERATED ALWAYS AS IDENTITY",), anew=True),
    "serial": Case(("ALTER TABLE t ADD x serial",), anew=True),
    "dropped and added": Case(("ALTER TABLE t DROP a, ADD x text DEFAULT 'x'",), anew=True),
    "another type": Case(("ALTER TABLE t ALTER v TYPE int USING length(v)",), anew=True),
    "narrower": Case(("ALTER TABLE t ALTER v TYPE varchar(10)",), anew=True),
}

REWRITTEN = {
    "widened integer": Case(("ALTER TABLE t ALTER n TYPE bigint",)),
    "widened key": Case(("ALTER TABLE t ALTER id TYPE bigint",)),
    "widened with other values": Case(("ALTER TABLE t ALTER n TYPE bigint USING n * 2",)),
}

ALL = IN_PLACE | ANEW | REWRITTEN


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.3)
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    source, target = postgres_database(), postgres_b_database()
    execute(source, *TABLES)
    return source, target


def state(target: str, table: str = "t") -> object:
    with suppress(psycopg.errors.UndefinedTable):
        return value(target, f"SELECT state FROM syncline.tables WHERE name = '{table}'")
    return None


def live(target: str) -> bool:
    return state(target) == "live"


def equal(source: str, target: str) -> bool:
    # The role's own schema, the bookkeeping's, would come first.
    path = "?options=-csearch_path%3Dpublic"
    return compare(source + path, target + path, ["t", "other"]) == []


@contextmanager
def writing(source: str) -> Iterator[None]:
    """A writer that inserts, updates and deletes rows of `t` by whatever columns it has."""
    stop, failures = threading.Event(), list[BaseException]()

    def write() -> None:
        with psycopg.connect(source, autocommit=True) as connection:
            number = 1000
            while not stop.wait(0.01):
                number += 1
                key = connection.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 1"
                ).fetchone()
                assert key is not None
                # The column may be renamed between the two statements.
                with suppress(psycopg.errors.UndefinedColumn):
                    connection.execute(f"INSERT INTO t ({key[0]}) VALUES ({number})")
                    connection.execute(f"UPDATE t SET n = n + 1 WHERE {key[0]} % 7 = {number % 7}")
                    connection.execute(f"DELETE FROM t WHERE {key[0]} = {number - 5}")

    def run() -> None:
        try:
            write()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


def followed(source: str, target: str, **options: object) -> None:
    """A stream that was brought to live, and stopped."""
    with Following(source, target, **options):
        wait_for(lambda: live(target) and state(target, "other") == "live", "the first copy")


@pytest.mark.parametrize("case", ALL)
def test_while_following_under_writes(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    heard = Notices()
    with Following(source, target, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        with writing(source):
            wait_for(lambda: value(target, "SELECT count(*) FROM t WHERE n > 60") != 0, "the writes")
            for statement in ALL[case].statements:
                execute(source, statement)
            execute(source, "INSERT INTO other VALUES (1)")
            wait_for(lambda: value(target, "SELECT count(*) FROM other") == 1, "the other table's change")
        wait_for(lambda: live(target) and equal(source, target), "the new shape")
        assert following.error is None
    if case in IN_PLACE:
        assert not [text for text in heard.texts if "begins anew" in text], heard.texts
        assert [text for text in heard.texts if "at the target too" in text]
    if case in ANEW:
        assert [text for text in heard.texts if "begins anew" in text]


@pytest.mark.parametrize("case", ALL)
def test_of_a_quiet_table_while_following(pair: tuple[str, str], case: str) -> None:
    """No row comes in the new shape: the catalog tells."""
    source, target = pair
    heard = Notices()
    with Following(source, target, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        for statement in ALL[case].statements:
            execute(source, statement)
        wait_for(lambda: live(target) and equal(source, target), "the new shape")
        execute(source, "UPDATE t SET n = n + 1", "INSERT INTO other VALUES (1)")
        wait_for(lambda: live(target) and equal(source, target), "changes after it")
        assert following.error is None
    if case in IN_PLACE:
        assert not [text for text in heard.texts if "begins anew" in text], heard.texts


@pytest.mark.parametrize("writes", [False, True], ids=["quiet", "written"])
@pytest.mark.parametrize("case", ALL)
def test_while_nothing_runs(pair: tuple[str, str], case: str, writes: bool) -> None:
    source, target = pair
    followed(source, target)
    change = "UPDATE t SET n = n + 1 WHERE n % 3 = 0"
    if writes:
        execute(source, change)
    for statement in ALL[case].statements:
        execute(source, statement)
        if writes:
            execute(source, change)
    heard = Notices()
    report = sync(source, target, observer=heard)
    assert verdicts(report) == {"other": "equal", "t": "equal"}
    assert equal(source, target)


@pytest.mark.parametrize("case", ALL)
def test_race_09_while_the_table_is_copied(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    left = list(ALL[case].statements)

    def change(schema: object, *_: object, **__: object) -> None:
        if str(getattr(schema, "table", "")) == "t":
            while left:
                execute(source, "UPDATE t SET n = n + 1 WHERE n = 3", left.pop(0))
                execute(source, "UPDATE t SET n = n + 1 WHERE n = 5")

    report = sync(source, target, after={"read": change}, span_rows=10, workers=1)
    assert verdicts(report) == {"other": "equal", "t": "equal"}
    assert equal(source, target)


BEFORE = {
    "added": ("ALTER TABLE t ADD x int DEFAULT 7", "UPDATE t SET x = 8 WHERE id < 9"),
    "renamed": ("ALTER TABLE t RENAME a TO b", "UPDATE t SET b = 'new' WHERE id < 9"),
    "dropped": ("ALTER TABLE t DROP a", "DELETE FROM t WHERE id < 9"),
    "another type": ("ALTER TABLE t ALTER v TYPE int USING length(v)", "UPDATE t SET v = 8 WHERE id < 9"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_race_09_before_the_floor(pair: tuple[str, str], case: str) -> None:
    """A row that changes in the new shape before the floor is told by nobody."""
    source, target = pair
    left = list(BEFORE[case])

    def change(*_: object, **__: object) -> None:
        while left:
            execute(source, left.pop(0))

    report = sync(source, target, before={"floor": change})
    assert verdicts(report) == {"other": "equal", "t": "equal"}
    assert equal(source, target)
