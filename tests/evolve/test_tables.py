"""Tables that come, go or are replaced at a PostgreSQL source while a run follows."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import pytest

from syncline.engine import arrivals
from syncline.engine import stream as engine_stream
from syncline.engine.report import Verdict
from tests.conftest import Databases
from tests.oracle.compare import compare
from tests.runs import Following, Notices, execute, sync, value, verdicts, wait_for


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.3)
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.3)


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    source, target = postgres_database(), postgres_b_database()
    execute(
        source,
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        "INSERT INTO t SELECT g, 'a' || g FROM generate_series(1, 20) g",
    )
    return source, target


def states(target: str) -> dict[str, str]:
    with suppress(psycopg.errors.UndefinedTable), psycopg.connect(target) as connection:
        return dict(connection.execute("SELECT name, state FROM syncline.tables").fetchall())
    return {}


def equal(source: str, target: str, *tables: str) -> bool:
    path = "?options=-csearch_path%3Dpublic"
    return compare(source + path, target + path, tables) == []


def test_a_new_table_is_added_beside_the_others(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target, exclude=["*_log"]) as following:
        wait_for(lambda: states(target) == {"t": "live"}, "the first copy")
        execute(
            source,
            "CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t)",
            "INSERT INTO u SELECT g, g FROM generate_series(1, 9) g",
            "CREATE TABLE a_log (id int PRIMARY KEY)",
            "CREATE TABLE keyless (id int)",
        )
        wait_for(lambda: states(target) == {"t": "live", "u": "live"}, "the new table")
        execute(source, "UPDATE u SET t = 1", "DELETE FROM t WHERE id > 9")
        wait_for(lambda: equal(source, target, "t", "u"), "its changes")
        # What had no key is looked at again.
        execute(source, "ALTER TABLE keyless ADD PRIMARY KEY (id)", "INSERT INTO keyless VALUES (1)")
        wait_for(lambda: states(target).get("keyless") == "live", "the table with a key")
        assert following.error is None
    assert "a_log" not in states(target)


def test_a_new_table_that_cannot_be_taken_in_is_named_once(pair: tuple[str, str]) -> None:
    source, target = pair
    heard = Notices()
    execute(target, "CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (99)")
    with Following(source, target, observer=heard) as following:
        wait_for(lambda: states(target) == {"t": "live"}, "the first copy")
        execute(source, "CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)")
        execute(source, "CREATE TABLE v (id int PRIMARY KEY)", "INSERT INTO v VALUES (1)")
        wait_for(lambda: states(target) == {"t": "live", "v": "live"}, "the other new table")
        execute(source, "UPDATE t SET a = 'after'", "CREATE TABLE w (id int)")
        wait_for(lambda: equal(source, target, "t", "v"), "changes")
        wait_for(lambda: any(text.startswith("leaving out table w") for text in heard.texts), "its name")
        assert following.error is None
    assert value(target, "SELECT array_agg(id) FROM u") == [99]
    (told,) = (text for text in heard.texts if text.startswith("leaving out table u"))
    assert "holds other rows in u; use --replace" in told


def test_frozen_no_table_is_added(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target, schema="freeze") as following:
        wait_for(lambda: states(target) == {"t": "live"}, "the first copy")
        execute(source, "CREATE TABLE u (id int PRIMARY KEY)")
        execute(source, "ALTER TABLE t ADD x int DEFAULT 7")
        wait_for(lambda: states(target) == {"t": "failed"}, "the stop")
        assert following.error is None
    detail = str(value(target, "SELECT detail FROM syncline.tables WHERE name = 't'"))
    assert detail == "column x was added; copy it anew with --replace --tables 't'"


def test_a_table_dropped_and_made_anew_is_copied_anew(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target) as following:
        wait_for(lambda: states(target) == {"t": "live"}, "the first copy")
        execute(
            source,
            "DROP TABLE t",
            "CREATE TABLE t (id int PRIMARY KEY, b int)",
            "INSERT INTO t VALUES (1, 2)",
        )
        wait_for(lambda: states(target) == {"t": "live"} and equal(source, target, "t"), "the new table")
        execute(source, "INSERT INTO t VALUES (2, 3)")
        wait_for(lambda: equal(source, target, "t"), "its changes")
        assert following.error is None


LEFT = "was dropped at the source and is no longer kept equal; its rows stay at the target"


def test_a_dropped_table_leaves_by_name_and_the_rest_goes_on(pair: tuple[str, str]) -> None:
    source, target = pair
    heard = Notices()
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")
    with Following(source, target, observer=heard, max_bytes=4096) as following:
        wait_for(lambda: states(target) == {"t": "live", "other": "live"}, "the first copy")
        with psycopg.connect(target) as slow:  # so that the log is many batches behind the catalog
            slow.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            for number in range(30):
                made = f"SELECT 100 + 10 * {number} + g, repeat('last', 100) FROM generate_series(0, 9) g"
                execute(source, f"INSERT INTO t {made}")
            execute(source, "DROP TABLE t")
            execute(source, "INSERT INTO other VALUES (1)")
        wait_for(lambda: states(target) == {"other": "live"}, "the leaving")
        execute(source, "INSERT INTO other VALUES (2)")
        wait_for(lambda: equal(source, target, "other"), "the other table")
        execute(source, "CREATE TABLE t (id int PRIMARY KEY, a text)", "INSERT INTO t VALUES (1, 'back')")
        again = "leaving out table t: cannot sync table t"
        wait_for(lambda: any(text.startswith(again) for text in heard.texts), "what comes back")
        assert following.error is None
        report = following.pipeline.report
        (left,) = (table for table in report.tables if str(table.table) == "t")
        assert (left.verdict, left.detail) == (Verdict.SKIPPED, f"it {LEFT}")
    assert f"table t {LEFT}" in heard.texts
    assert value(target, "SELECT count(*) FROM t WHERE a LIKE 'last%'") == 300
    assert value(target, "SELECT count(*) FROM t") == 320


@pytest.mark.parametrize("dies", [None, "load"], ids=["live", "in the middle of its copy"])
def test_a_table_that_is_dropped_between_two_runs_leaves(pair: tuple[str, str], dies: str | None) -> None:
    source, target = pair
    kept = {"pipeline": "p", "pipelines": ("p",), "keep": True}
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if dies:
        with pytest.raises(KeyboardInterrupt):
            sync(source, target, before={"read": die}, **kept)
    else:
        sync(source, target, **kept)
    execute(source, "DROP TABLE t", "INSERT INTO other VALUES (1)")
    report = sync(source, target, **kept)
    assert verdicts(report) == {"t": "skipped", "other": "equal"}
    assert report.exit_code == 1
    assert states(target) == {"other": "live"}
    assert verdicts(sync(source, target, **kept)) == {"other": "equal"}


@pytest.mark.parametrize("how", [{"tables": ["t", "o*"]}, {"schema": "freeze"}], ids=["named", "frozen"])
def test_a_dropped_table_that_was_named_exactly_stops(pair: tuple[str, str], how: dict[str, object]) -> None:
    source, target = pair
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")
    with Following(source, target, **how) as following:
        wait_for(lambda: states(target) == {"t": "live", "other": "live"}, "the first copy")
        execute(source, "DROP TABLE t", "INSERT INTO other VALUES (1)")
        wait_for(lambda: states(target) == {"t": "failed", "other": "live"}, "the stop")
        wait_for(lambda: equal(source, target, "other"), "the other table")
        assert following.error is None
    detail = value(target, "SELECT detail FROM syncline.tables WHERE name = 't'")
    assert detail == "it was dropped; copy it anew with --replace --tables 't'"


STOPPED = {
    "key changed": ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, a)",),
    "identity": ("ALTER TABLE t REPLICA IDENTITY NOTHING",),
    "renamed": ("ALTER TABLE t RENAME TO gone",),
}


@pytest.mark.parametrize("case", STOPPED)
def test_what_cannot_be_followed_stops_its_table_by_name(pair: tuple[str, str], case: str) -> None:
    source, target = pair
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")
    with Following(source, target, tables=["t", "other"]) as following:
        wait_for(lambda: states(target) == {"t": "live", "other": "live"}, "the first copy")
        execute(source, *STOPPED[case], "INSERT INTO other VALUES (1)")
        table = "gone" if case == "renamed" else "t"
        execute(source, f"INSERT INTO {table} VALUES (100, 'x')")
        wait_for(lambda: states(target) == {"t": "failed", "other": "live"}, "the stop")
        wait_for(lambda: equal(source, target, "other"), "the other table")
        assert following.error is None
    assert str(value(target, "SELECT detail FROM syncline.tables WHERE name = 't'")).endswith(
        "copy it anew with --replace --tables 't'"
    )


def test_a_table_that_is_copied_anew_keeps_the_indexes_that_somebody_gave_it(pair: tuple[str, str]) -> None:
    """Those of a table of the target's own, and those that it cannot have any more go."""
    source, target = pair
    execute(source, "ALTER TABLE t ADD n int NOT NULL DEFAULT 1", "CREATE INDEX named ON t (a)")
    execute(
        target,
        "CREATE TABLE public.t (id int PRIMARY KEY, a text, n int)",
        'CREATE INDEX "my USING index" ON public.t USING hash (a)',
        "CREATE UNIQUE INDEX pair ON public.t (lower(a) DESC, id) WHERE id > 3",
        "CREATE INDEX lost ON public.t (n)",
    )
    query = "SELECT array_agg(indexdef ORDER BY indexname) FROM pg_indexes WHERE tablename = 't'"
    before = value(target, query)
    assert isinstance(before, list)
    with Following(source, target) as following:
        wait_for(lambda: states(target) == {"t": "live"}, "the first copy")
        execute(source, "ALTER TABLE t DROP n, ADD x float8 DEFAULT random()")
        columns = (
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 't' AND column_name = 'x'"
        )
        wait_for(lambda: value(target, columns) == 1 and states(target) == {"t": "live"}, "the copy anew")
        assert following.error is None
    after = value(target, query)
    assert isinstance(after, list)
    kept = [text for text in before if "INDEX lost" not in text]
    assert [text for text in after if "INDEX named" not in text] == kept
