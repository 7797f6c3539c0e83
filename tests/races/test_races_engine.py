"""Interleavings that meet the engine, on real PostgreSQL; the numbers are those of the design's list."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from syncline import failpoints
from syncline.connectors.postgres import connection
from syncline.connectors.postgres.source import PostgresSource
from syncline.errors import NeedsOperator, Superseded, SynclineError
from syncline.model import Batch
from tests.conftest import Databases
from tests.oracle import compare
from tests.runs import Following, Notices, execute, pipeline, sync, value, verdicts, wait_for


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    return postgres_database(), postgres_b_database()


BIG = (
    "CREATE TABLE t (id int PRIMARY KEY, small text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
)
FILL = "INSERT INTO t SELECT n, 'first', repeat(md5(n::text), 200) FROM generate_series({}, {}) n"


def test_a_transaction_whose_rest_is_long_in_coming_is_applied(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.SETTINGS, "idle_in_transaction_session_timeout", "2s")
    source, target = pair
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, text text)")
    told, stalls = PostgresSource.changes, []

    def stall(self: PostgresSource, *args: Any, **options: Any) -> Iterator[Batch]:
        for batch in told(self, *args, **options):
            yield batch
            if not batch.complete and not stalls:
                stalls.append(batch.upto)
                time.sleep(6)

    monkeypatch.setattr(PostgresSource, "changes", stall)
    notices = Notices()
    with Following(source, target, max_bytes=1 << 16, observer=notices) as run:
        live = "SELECT count(*) FROM syncline.tables WHERE state = 'live'"
        wait_for(lambda: value(target, "SELECT to_regclass('syncline.tables') IS NOT NULL") is True, "stream")
        wait_for(lambda: value(target, live) == 1, "the copy")
        execute(source, "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n")
        wait_for(lambda: value(target, "SELECT count(*) FROM t") == 20000, "the rows")
        assert run.error is None
    assert stalls, "the transaction came in pieces"
    assert not [text for text in notices.texts if "trying again" in text]


def once(action: Callable[[], None]) -> Callable[..., None]:
    """The action at the first call only."""
    left = [action]

    def call(*_: object, **__: object) -> None:
        if left:
            left.pop()()

    return call


def test_race_01_the_goal_lies_behind_all_that_the_copy_has_read(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 40))
    change = once(lambda: execute(source, "UPDATE t SET small = 'second'", FILL.format(41, 60)))
    report = sync(source, target, after={"read": change}, span_rows=10, workers=1)
    assert verdicts(report) == {"t": "equal"}
    assert compare(source, target) == []


def test_race_03_unsent_value_between_spans(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 40))
    # Row 35 goes from a span that is not read yet into one that is; its big value stays unsent.
    move = once(
        lambda: execute(
            source, "UPDATE t SET id = -1 WHERE id = 35", "UPDATE t SET small = 'x' WHERE id = -1"
        )
    )
    report = sync(source, target, after={"read": move}, span_rows=10, workers=1)
    assert value(target, "SELECT big = repeat(md5('35'), 200) FROM t WHERE id = -1") is True
    assert verdicts(report) == {"t": "equal"}
    assert compare(source, target) == []


def test_race_03_a_key_that_another_row_takes(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 40))
    # The copy has row 5 already; then row 35 takes its key and keeps a big value that the log never tells.
    change = once(lambda: execute(source, "DELETE FROM t WHERE id = 5", "UPDATE t SET id = 5 WHERE id = 35"))
    report = sync(source, target, after={"read": change}, span_rows=10, workers=1)
    assert value(target, "SELECT big = repeat(md5('35'), 200) FROM t WHERE id = 5") is True
    assert verdicts(report) == {"t": "equal"}


def test_race_02_a_table_is_added_while_others_are_live(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 20), "CREATE TABLE added (id int PRIMARY KEY)")
    with Following(source, target, tables=["t"]):
        wait_for(lambda: _live(target) == 1, "the first copy")
    with psycopg.connect(source) as open_transaction:
        open_transaction.execute("INSERT INTO added VALUES (1)")
        with Following(source, target, tables=["t", "added"]) as following:
            time.sleep(1.0)  # the run stands at the floor, waiting for this transaction
            execute(source, "UPDATE t SET small = 'while waiting' WHERE id = 3")
            wait_for(
                lambda: value(target, "SELECT small FROM t WHERE id = 3") == "while waiting",
                "a change of the live table during the wait",
            )
            open_transaction.execute("INSERT INTO added VALUES (2)")
            open_transaction.commit()
            wait_for(lambda: _count(target, "added") == 2, "both rows of the open transaction")
            execute(source, "INSERT INTO added VALUES (3)")
            wait_for(lambda: _count(target, "added") == 3, "a row after the join")
            assert following.error is None
    assert verdicts(sync(source, target)) == {"added": "equal", "t": "equal"}
    assert compare(source, target) == []


def _count(url: str, table: str) -> object:
    try:
        return value(url, f"SELECT count(*) FROM {table}")
    except psycopg.errors.UndefinedTable:
        return None


def _live(url: str) -> object:
    """How many tables are live at a target."""
    return _count(url, "syncline.tables WHERE state = 'live'")


@pytest.mark.parametrize(
    "place", ["join.before_commit", "join.after_commit", "copy.after_commit", "goal.recorded"]
)
def test_race_04_position_and_tables_in_different_states(pair: tuple[str, str], place: str) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 20), "CREATE TABLE added (id int PRIMARY KEY, n int)")
    execute(source, "INSERT INTO added SELECT n, 0 FROM generate_series(1, 30) n")
    with Following(source, target, tables=["t"]):
        wait_for(lambda: _live(target) == 1, "the first copy")
    failpoints.arm(f"{place}=fail")
    # Both tables change between the floor and the join: the stream is further than the added table.
    change = once(
        lambda: execute(
            source, "UPDATE added SET n = 1", "DELETE FROM added WHERE id = 7", "UPDATE t SET small = 's'"
        )
    )
    report = sync(source, target, tables=["t", "added"], after={"read": change}, span_rows=10)
    assert verdicts(report) == {"added": "equal", "t": "equal"}
    assert compare(source, target) == []


def test_race_05_a_copy_outside_the_fence_writes_nothing(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 20))
    reading, go_on = threading.Event(), threading.Event()

    def pause(*_: object, **__: object) -> None:
        reading.set()
        assert go_on.wait(30)

    errors: list[SynclineError] = []

    def first() -> None:
        try:
            sync(source, target, after={"read": once(pause)}, workers=1, span_rows=10, give_up_after=5.0)
        except SynclineError as error:
            errors.append(error)

    worker = threading.Thread(target=first)
    worker.start()
    assert reading.wait(30)
    with Following(source, target):  # takes the fence, copies, and streams a newer value
        wait_for(lambda: _count(target, "t") == 20, "the second worker's copy")
        execute(source, "UPDATE t SET small = 'newer'")
        wait_for(lambda: value(target, "SELECT count(*) FROM t WHERE small = 'newer'") == 20, "the change")
        go_on.set()
        worker.join(30)
    assert [type(error) for error in errors] == [Superseded]
    assert value(target, "SELECT count(*) FROM t WHERE small = 'newer'") == 20
    assert verdicts(sync(source, target)) == {"t": "equal"}


def test_race_09_a_table_whose_shape_changes_while_it_is_copied_begins_anew(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 40), "CREATE TABLE other (id int PRIMARY KEY)")
    alter = "ALTER TABLE t ADD COLUMN added int DEFAULT 7"
    change = once(
        lambda: execute(source, "UPDATE t SET small = 'x' WHERE id = 2", alter, "DELETE FROM t WHERE id = 3")
    )
    report = sync(source, target, after={"read": change}, span_rows=10, workers=1)
    assert verdicts(report) == {"other": "equal", "t": "equal"}
    assert value(target, "SELECT count(*) FROM t WHERE added = 7") == 39
    assert compare(source, target) == []


def test_race_09_a_column_dropped_in_the_copy_begins_it_anew(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 40))
    drop = once(lambda: execute(source, "ALTER TABLE t DROP COLUMN small"))
    report = sync(source, target, after={"read": drop}, span_rows=10, workers=1, schema="freeze")
    assert verdicts(report) == {"t": "equal"}
    assert compare(source, target) == []


def test_race_12_a_lost_reply_is_found_in_the_target(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 20))
    failpoints.arm("apply.after_commit=fail@2")  # committed, but the worker never learns of it
    change = once(lambda: execute(source, "UPDATE t SET small = 'x'", "DELETE FROM t WHERE id = 4"))
    report = sync(source, target, after={"read": change}, span_rows=5)
    assert verdicts(report) == {"t": "equal"}


def test_race_13_a_slot_ahead_of_the_position_is_a_gap(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 20))
    with Following(source, target):
        wait_for(lambda: _count(target, "t") == 20, "the copy")
    execute(source, "UPDATE t SET small = 'lost'")
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots "
            "WHERE database = current_database()"
        )
    with pytest.raises(NeedsOperator, match="--replace"):
        sync(source, target)
    assert value(target, "SELECT DISTINCT state FROM syncline.tables") == "gap"
    assert value(target, "SELECT count(*) FROM t WHERE small = 'lost'") == 0, "it never goes on from 'now'"
    assert verdicts(sync(source, target, replace=True)) == {"t": "equal"}
    assert compare(source, target) == []


def test_race_13_nothing_is_released_before_it_is_in_the_target(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 20))
    confirmed: list[object] = []

    def look(*_: object, **__: object) -> None:
        slots = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = current_database()"
        lsn = value(source, slots)
        position = value(target, "SELECT max(position::pg_lsn) FROM syncline.streams")
        confirmed.append((lsn, position))
        assert (
            lsn is None
            or position is None
            or value(source, f"SELECT '{lsn}'::pg_lsn <= '{position}'::pg_lsn")
        )

    with Following(source, target, target_before={"begin": look}):
        wait_for(lambda: _count(target, "t") == 20, "the copy")
        for number in range(5):
            execute(source, f"UPDATE t SET small = '{number}'")
            wait_for(
                lambda number=number: value(target, f"SELECT count(*) FROM t WHERE small = '{number}'") == 20,
                "the change",
            )
    assert len(confirmed) >= 5


def test_race_16_rows_pass_a_chain_and_never_come_back(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    a, b, c = postgres_database(), postgres_b_database(), postgres_database()
    execute(a, BIG, FILL.format(1, 10))
    with Following(a, b):
        wait_for(lambda: _live(b) == 1, "the first hop")
        with Following(b, c), Following(b, a) as back:  # a holds just these rows: adopted
            wait_for(lambda: (_live(c), _live(a)) == (1, 1), "the second hop and the way back")
            execute(a, "UPDATE t SET small = 'from a' WHERE id = 1")
            wait_for(
                lambda: value(c, "SELECT small FROM t WHERE id = 1") == "from a", "the change at the end"
            )
            execute(b, "UPDATE t SET small = 'from b' WHERE id = 2")
            wait_for(lambda: value(c, "SELECT small FROM t WHERE id = 2") == "from b", "b's own change")
            wait_for(lambda: value(a, "SELECT small FROM t WHERE id = 2") == "from b", "b's own change at a")
            before = value(a, "SELECT xmin::text FROM t WHERE id = 1")
            time.sleep(1.0)
            assert value(a, "SELECT xmin::text FROM t WHERE id = 1") == before, (
                "a's change does not come back"
            )
            assert back.error is None


def test_two_runs_at_once_end_with_one_owner(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, BIG, FILL.format(1, 2000))
    first, second = pipeline(source, target, follow=True), pipeline(source, target, follow=True)
    errors: dict[str, SynclineError] = {}

    def run(name: str, work: object) -> None:
        try:
            work.run()  # type: ignore[attr-defined]
        except SynclineError as error:
            errors[name] = error

    threads = [threading.Thread(target=run, args=item) for item in (("first", first), ("second", second))]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    wait_for(lambda: any(not thread.is_alive() for thread in threads), "the end of one of the two")
    first.stop()
    second.stop()
    for thread in threads:
        thread.join(30)
    assert sorted(type(error).__name__ for error in errors.values()) == ["Interrupted", "Superseded"], errors
