"""What PostgreSQL's log does not tell (Race 7) is noticed by the catalog: while a run follows, without a row
being changed, and by the next run. The table is compared, and copied anew or stopped when it differs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from syncline import failpoints
from syncline.connectors.postgres.source import PostgresSource
from syncline.engine import stream as engine_stream
from syncline.model import Sighting
from tests.conftest import Databases
from tests.runs import Following, Notices, execute, sync, value, verdicts, wait_for

TABLES = (
    "CREATE TABLE t (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (2)",
    "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (2) TO (3)",
    "INSERT INTO t SELECT n, 1 + n % 2, 'v' FROM generate_series(1, 40) n",
    "CREATE TABLE filled (LIKE t INCLUDING ALL)",
    "INSERT INTO filled SELECT n, 3, 'attached' FROM generate_series(1, 20) n",
    "CREATE TABLE p (id int PRIMARY KEY, a text, b text, c varchar(9))",
    "INSERT INTO p SELECT n, 'a' || n, 'b' || n, 'c' FROM generate_series(1, 30) n",
    "CREATE TABLE other (id int PRIMARY KEY)",
)
FOLLOWED = ["t", "p", "other"]


@dataclass(frozen=True)
class Silent:
    """Statements that the log says nothing of; `names` is what the user hears, '' when it is nothing."""

    statements: tuple[str, ...]
    names: str = ""


CHANGED = {
    "attached filled": Silent(
        ("ALTER TABLE t ATTACH PARTITION filled FOR VALUES FROM (3) TO (4)",), "partition filled was attached"
    ),
    "detached": Silent(("ALTER TABLE t DETACH PARTITION t2",), "1 partition went away"),
    "dropped partition": Silent(("DROP TABLE t1",), "1 partition went away"),
    "detached, changed, attached": Silent(
        (
            "ALTER TABLE t DETACH PARTITION t2",
            "UPDATE t2 SET v = 'meanwhile'",
            "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (2) TO (3)",
        ),
        "partition t2 was attached",
    ),
    "truncated partition": Silent(("TRUNCATE t1",), "partition t1 was truncated or rewritten"),
    "rewritten, same type": Silent(
        ("ALTER TABLE p ALTER a TYPE text USING upper(a)",), "column a was rewritten"
    ),
    "rewritten partitions": Silent(
        ("ALTER TABLE t ALTER v TYPE text USING upper(v)",), "column v was rewritten"
    ),
    "dropped and added": Silent(
        ("ALTER TABLE p DROP c", "ALTER TABLE p ADD c varchar(9)"), "column c was rewritten or made anew"
    ),
}

STOPPED = {
    "another type": Silent(
        ("ALTER TABLE p ALTER c TYPE int USING length(c)",), "the type of column c changed to integer"
    ),
    "added column": Silent(("ALTER TABLE p ADD d int DEFAULT 7",), "column d was added"),
    "dropped and made anew": Silent(
        ("DROP TABLE p", "CREATE TABLE p (id int PRIMARY KEY, a text, b text, c varchar(9))"),
        "it was dropped and made anew",
    ),
}

HARMLESS = {
    "attached empty": Silent(("CREATE TABLE t4 PARTITION OF t FOR VALUES FROM (4) TO (5)",)),
    "truncated and filled": Silent(("TRUNCATE p", "INSERT INTO p VALUES (1, 'a', 'b', 'c')")),
    "foreign key": Silent(("ALTER TABLE other ADD FOREIGN KEY (id) REFERENCES p",)),
    "settings": Silent(
        (
            "ALTER TABLE p ALTER a SET STATISTICS 7",
            "ALTER TABLE p ALTER b SET DEFAULT 'x'",
            "ALTER TABLE p ALTER b SET NOT NULL",
            "CREATE INDEX ON p (a)",
        )
    ),
    "statistics": Silent(("ANALYZE p",)),
}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.2)
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    source, target = postgres_database(), postgres_b_database()
    execute(source, *TABLES)
    return source, target


def states(target: str) -> dict[str, str]:
    with psycopg.connect(target) as connection:
        try:
            return dict(connection.execute("SELECT name, state FROM syncline.tables").fetchall())
        except psycopg.errors.UndefinedTable:
            return {}


def fingerprint(target: str, table: str) -> object:
    return value(target, f"SELECT schema->>'fingerprint' FROM syncline.tables WHERE name = '{table}'")


def live(target: str) -> bool:
    return states(target) == dict.fromkeys(FOLLOWED, "live")


def followed(source: str, target: str) -> None:
    """A stream that was brought to live, and stopped."""
    with Following(source, target, tables=FOLLOWED):
        wait_for(lambda: live(target), "the first copy")


def go_on(source: str, target: str, number: int) -> None:
    """The other table's changes still come."""
    execute(source, f"INSERT INTO other VALUES ({number})")
    wait_for(
        lambda: value(target, f"SELECT count(*) FROM other WHERE id = {number}") == 1,
        "another table's change",
    )


def vacuum(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"VACUUM FULL {table}")


def equal(source: str, target: str) -> bool:
    """Whether the tables that are followed hold the same rows."""

    def rows(url: str, table: str) -> object:
        return value(url, f"SELECT array_agg(to_jsonb(r)::text ORDER BY to_jsonb(r)::text) FROM {table} r")

    return all(rows(source, table) == rows(target, table) for table in FOLLOWED)


@pytest.mark.parametrize("case", CHANGED)
def test_race_07_while_following_what_is_not_told_is_copied_anew(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    heard = Notices()
    with Following(source, target, tables=FOLLOWED, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, *CHANGED[case].statements)
        wait_for(lambda: equal(source, target) and live(target), "the rows that the log does not tell")
        go_on(source, target, 1)
        execute(source, "UPDATE t SET v = 'after'", "UPDATE p SET b = 'after'")
        wait_for(lambda: equal(source, target), "changes after it")
        assert following.error is None
    assert [CHANGED[case].names in text for text in heard.texts if "comparing" in text] == [True], heard.texts
    assert sum("begins anew" in text for text in heard.texts) == 1
    assert verdicts(sync(source, target, tables=FOLLOWED)) == dict.fromkeys(sorted(FOLLOWED), "equal")


@pytest.mark.parametrize("case", CHANGED)
def test_race_07_across_a_restart_what_is_not_told_is_copied_anew(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    followed(source, target)
    execute(source, *CHANGED[case].statements)
    heard = Notices()
    report = sync(source, target, tables=FOLLOWED, observer=heard)
    assert verdicts(report) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert equal(source, target)
    assert [CHANGED[case].names in text for text in heard.texts if "comparing" in text] == [True], heard.texts


@pytest.mark.parametrize("restarted", [False, True], ids=["following", "restart"])
@pytest.mark.parametrize("case", STOPPED)
def test_race_07_a_table_that_the_stream_cannot_go_on_with_stops_by_name(
    pair: tuple[str, str], case: str, restarted: bool
) -> None:
    source, target = pair
    if restarted:
        followed(source, target)
        execute(source, *STOPPED[case].statements)
    with Following(source, target, tables=FOLLOWED, schema="freeze") as following:
        if not restarted:
            wait_for(lambda: live(target), "the first copy")
            execute(source, *STOPPED[case].statements)
        wait_for(lambda: states(target)["p"] == "failed", "the stop")
        go_on(source, target, 1)
        assert following.error is None
    detail = str(value(target, "SELECT detail FROM syncline.tables WHERE name = 'p'"))
    # The publication loses a dropped table: whoever looks first says it in his words.
    assert STOPPED[case].names in detail or "it is no longer published: dropped" in detail
    assert detail.endswith("copy it anew with --replace --tables 'p'")
    assert states(target) == {"t": "live", "p": "failed", "other": "live"}
    report = sync(source, target, tables=["p"], replace=True)
    assert verdicts(report) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert equal(source, target)


@pytest.mark.parametrize("case", HARMLESS)
def test_race_07_while_following_what_changes_no_row_is_no_event(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    heard = Notices()
    with Following(source, target, tables=FOLLOWED, observer=heard) as following:
        wait_for(lambda: live(target), "the first copy")
        before = fingerprint(target, "t"), fingerprint(target, "p")
        execute(source, *HARMLESS[case].statements)
        if case not in ("foreign key", "statistics"):
            wait_for(
                lambda: (fingerprint(target, "t"), fingerprint(target, "p")) != before, "the fingerprint"
            )
        time.sleep(0.5)
        wait_for(lambda: equal(source, target), "what the log tells")
        assert following.error is None
    assert not [text for text in heard.texts if "comparing" in text or "begins anew" in text]
    assert live(target)
    # Rows that come by the log are no suspicion at the next start.
    execute(source, "INSERT INTO t SELECT n, 1, 'late' FROM generate_series(100, 110) n")
    if case == "attached empty":
        execute(source, "INSERT INTO t SELECT n, 4, 'late' FROM generate_series(100, 110) n")
    again = Notices()
    report = sync(source, target, tables=FOLLOWED, observer=again)
    assert verdicts(report) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert not [text for text in again.texts if "comparing" in text or "begins anew" in text]


@pytest.mark.parametrize("case", HARMLESS)
def test_race_07_across_a_restart_what_changes_no_row_is_no_event(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    followed(source, target)
    execute(source, *HARMLESS[case].statements)
    heard = Notices()
    report = sync(source, target, tables=FOLLOWED, observer=heard)
    assert verdicts(report) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert not [text for text in heard.texts if "comparing" in text or "begins anew" in text]


@pytest.mark.parametrize("restarted", [False, True], ids=["following", "restart"])
def test_race_07_a_vacuumed_table_is_no_event_and_a_vacuumed_partition_is_equal(
    pair: tuple[str, str], restarted: bool
) -> None:
    source, target = pair
    heard = Notices()
    if restarted:
        followed(source, target)
        vacuum(source, "p")
        vacuum(source, "t1")
    with Following(source, target, tables=FOLLOWED, observer=heard):
        wait_for(lambda: live(target), "the first copy")
        if not restarted:
            vacuum(source, "p")
            vacuum(source, "t1")
        wait_for(lambda: any("comparing" in text for text in heard.texts), "the comparison")
        go_on(source, target, 1)
        time.sleep(1.0)
    compared = [text for text in heard.texts if "comparing" in text]
    assert len(compared) == 1, "an equal table is compared once"
    assert "table t:" in compared[0]
    assert not [text for text in heard.texts if "begins anew" in text]
    assert live(target)


def test_race_07_a_table_under_writes_is_brought_to_what_the_source_holds(pair: tuple[str, str]) -> None:
    source, target = pair
    number = iter(range(1000, 10_000))

    def write(*_: object, **__: object) -> None:
        execute(source, f"INSERT INTO p VALUES ({next(number)}, 'w', 'w', 'w')")

    with Following(source, target, tables=FOLLOWED, after={"digest": write}) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, "ALTER TABLE p ALTER a TYPE text USING upper(a)")
        wait_for(lambda: equal(source, target) and live(target), "the rewritten rows")
        assert following.error is None


def test_race_07_a_column_that_goes_during_the_comparison_stops_its_table_only(pair: tuple[str, str]) -> None:
    source, target = pair
    left = [lambda: execute(source, "ALTER TABLE p DROP b")]

    def drop(schema: object, *_: object, **__: object) -> None:
        if left and str(getattr(schema, "table", "")) == "p":
            left.pop()()

    with Following(source, target, tables=FOLLOWED, schema="freeze", before={"digest": drop}) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, *CHANGED["rewritten, same type"].statements, *CHANGED["detached"].statements)
        wait_for(lambda: states(target)["p"] == "failed", "the stop")
        wait_for(lambda: value(target, "SELECT count(*) FROM t WHERE day = 2") == 0, "the other suspect")
        go_on(source, target, 1)
        assert following.error is None


@pytest.mark.parametrize("place", ["attach.done", "copy.after_commit", "join.before_commit"])
def test_race_07_a_run_that_dies_in_a_copy_anew_is_gone_on_with(pair: tuple[str, str], place: str) -> None:
    source, target = pair
    followed(source, target)
    execute(source, *CHANGED["rewritten, same type"].statements)
    failpoints.arm(f"{place}=fail")
    assert verdicts(sync(source, target, tables=FOLLOWED)) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert equal(source, target)


def test_race_07_a_column_rewritten_while_the_table_is_copied(pair: tuple[str, str]) -> None:
    source, target = pair
    left = [lambda: execute(source, *CHANGED["rewritten, same type"].statements)]

    def change(schema: object, *_: object, **__: object) -> None:
        if left and str(getattr(schema, "table", "")) == "p":
            left.pop()()

    report = sync(source, target, tables=FOLLOWED, after={"read": change}, span_rows=10, workers=1)
    assert verdicts(report) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert equal(source, target)


def test_race_07_a_lock_on_a_partition_holds_nobody_up(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target, tables=FOLLOWED) as following:
        wait_for(lambda: live(target), "the first copy")
        execute(source, *HARMLESS["attached empty"].statements)
        with psycopg.connect(source) as holder:
            holder.execute("LOCK TABLE t1, t4 IN ACCESS EXCLUSIVE MODE")
            time.sleep(0.5)
            go_on(source, target, 1)
        assert following.error is None


def test_race_07_a_state_without_a_fingerprint_gets_one(pair: tuple[str, str]) -> None:
    """What an earlier program has persisted; from here on changes are noticed."""
    source, target = pair
    followed(source, target)
    execute(target, "UPDATE syncline.tables SET schema = (schema::jsonb - 'fingerprint')::json")
    with Following(source, target, tables=FOLLOWED):
        wait_for(lambda: fingerprint(target, "p") is not None, "a fingerprint")
        execute(source, *CHANGED["rewritten, same type"].statements)
        wait_for(lambda: equal(source, target) and live(target), "the rewritten rows")


def test_race_07_the_log_is_not_needed_to_notice(pair: tuple[str, str]) -> None:
    source, _ = pair
    store = PostgresSource(source)
    schemas = [schema for schema in store.discover() if str(schema.table) in FOLLOWED]
    assert store.inspect(schemas) == []
    execute(source, *CHANGED["detached"].statements)
    (seen,) = store.inspect(schemas)
    store.close()
    assert isinstance(seen, Sighting)
    assert seen.description == CHANGED["detached"].names


@pytest.mark.parametrize("case", ["attached filled", "rewritten, same type", "detached"])
@pytest.mark.parametrize("restarted", [False, True], ids=["following", "restart"])
def test_race_07_in_another_system(
    postgres_database: Databases, tmp_path: Path, case: str, restarted: bool
) -> None:
    source, path = postgres_database(), tmp_path / "target.db"
    target = f"sqlite:///{path}"
    execute(source, *TABLES)

    def rows(table: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(path) as connection:
            found = connection.execute(f"SELECT * FROM {table}").fetchall()
        connection.close()
        return sorted(found)

    def same() -> bool:
        with psycopg.connect(source) as connection:
            return all(
                sorted(connection.execute(f"SELECT * FROM {table}").fetchall()) == rows(table)
                for table in ("t", "p")
            )

    def copied() -> bool:
        try:
            return len(rows("t")) == 40 and len(rows("p")) == 30
        except sqlite3.OperationalError:
            return False

    with Following(source, target, tables=FOLLOWED) as following:
        wait_for(copied, "the first copy")
        time.sleep(1.0)
        if not restarted:
            execute(source, *CHANGED[case].statements)
            wait_for(same, "the rows that the log does not tell")
        assert following.error is None
    if restarted:
        execute(source, *CHANGED[case].statements)
    report = sync(source, target, tables=FOLLOWED)
    assert verdicts(report) == dict.fromkeys(sorted(FOLLOWED), "equal")
    assert same()
