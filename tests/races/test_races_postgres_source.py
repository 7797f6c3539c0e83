"""Interleavings that meet PostgreSQL's log, on a real server; the numbers are those of the design's list."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from services import Server
from syncline.connectors.postgres import replication, slot
from syncline.connectors.postgres.lsn import parse_lsn
from syncline.connectors.postgres.source import PostgresSource
from syncline.errors import NeedsOperator
from syncline.model import Changes, Mark, Position, Schema, TableName
from tests.conftest import Databases

STREAM = f"syncline_race_{os.getpid()}"  # slots of all databases share their names


@pytest.fixture
def url(postgres_database: Databases) -> str:
    return postgres_database()


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    """The application's connection."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def source(url: str) -> Iterator[PostgresSource]:
    source = PostgresSource(url)
    yield source
    source.close()


def quiet(_: str) -> None: ...


def schemas(source: PostgresSource, *names: str) -> list[Schema]:
    found = {str(schema.table): schema for schema in source.discover()}
    return [found[name] for name in names]


def told(
    source: PostgresSource, tables: list[Schema], after: Position, until: Position, skip: str = ""
) -> list[tuple[str, object]]:
    """Table and first cell of every row that the log tells."""
    rows = []
    for batch in source.changes(
        STREAM, tables, after, skip=skip, max_bytes=1 << 20, max_wait=0.2, until=until
    ):
        for segment in batch.segments:
            assert isinstance(segment, Changes)
            rows += [(str(segment.table), cell) for cell in segment.after.arrays[0].to_pylist()]
    return rows


class Background:
    """Runs something in a thread; `result` waits for it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._outcome.append(work()))
        self._thread.start()

    def runs_after(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self._outcome[0]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


@pytest.fixture
def standby_missing(postgres_server: Server, postgres_url: str) -> Iterator[None]:
    """Commits of sessions with synchronous_commit = on wait for a standby that is not there; those of all
    others, of other tests too, do not."""
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET synchronous_commit = local")
        server.execute("SELECT pg_reload_conf()")
        server.execute("ALTER SYSTEM SET synchronous_standby_names = 'missing'")
        server.execute("SELECT pg_reload_conf()")
        time.sleep(0.2)
        yield
        server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        server.execute("ALTER SYSTEM RESET synchronous_commit")
        server.execute("SELECT pg_reload_conf()")


@pytest.mark.usefixtures("standby_missing")
def test_race_01_floor_waits_for_a_commit_that_is_in_the_log_and_not_visible(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)

    def commit() -> None:
        with psycopg.connect(url) as writer:
            writer.execute("SET synchronous_commit = on")
            writer.execute("INSERT INTO t VALUES (1)")

    committing = Background(commit)
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
    wait_until(lambda: database.execute(waiting).fetchone() is not None, "the commit")
    row = database.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row
    in_log = row[0]
    assert database.execute("SELECT count(*) FROM t").fetchone() == (0,)

    notices: list[str] = []
    taking = Background(lambda: source.floor(notices.append))
    assert taking.runs_after(1.5), "a floor was given out while a commit before it was invisible"
    assert "synchronous standby" in notices[0]
    with psycopg.connect(url, autocommit=True) as other:
        # A ceiling does not wait: whatever was read lies before it.
        beside = PostgresSource(url)
        assert parse_lsn(beside.ceiling()) >= parse_lsn(in_log)
        beside.close()
        (pid,) = other.execute(waiting).fetchone() or (None,)
        other.execute("SELECT pg_cancel_backend(%s)", [pid])  # it becomes visible without its standby
    floor = taking.result()
    assert database.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert parse_lsn(floor) >= parse_lsn(in_log)
    committing.result()


def test_race_01_what_commits_after_a_ceiling_lies_behind_it(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    """A ceiling is flushed: a server that crashes cannot write other log in its place."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    database.execute("SET synchronous_commit = off")
    for n in range(20):
        database.execute("INSERT INTO t VALUES (%s)", [n])
        ceiling = source.ceiling()
        flushed = database.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [ceiling]).fetchone()
        assert flushed == (True,)
    database.execute("INSERT INTO t VALUES (20)")
    assert [row[1] for row in told(source, tables, floor, ceiling)] == list(range(20))


def test_race_01_floor_waits_for_the_newest_transaction_too(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    """A snapshot does not list a running transaction that nothing has ended after."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source.attach(STREAM, schemas(source, "t"), quiet)
    with psycopg.connect(url) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        taking = Background(lambda: source.floor(quiet))
        assert taking.runs_after(0.5), "a floor was given out while a transaction ran"
    taking.result()


def test_race_02_a_table_added_online(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    t, u = schemas(source, "t", "u")
    source.attach(STREAM, [t], quiet)
    source.floor(quiet)
    with psycopg.connect(url) as writer:
        writer.execute("INSERT INTO u VALUES (1)")
        assert not source.attach(STREAM, [t, u], quiet)
        notices: list[str] = []
        taking = Background(lambda: source.floor(notices.append))
        assert taking.runs_after(1.5), "a floor was given out while a transaction from before ran"
        assert str(writer.info.backend_pid) in notices[0]
        writer.execute("INSERT INTO u VALUES (2)")
        writer.commit()
    floor = taking.result()
    copied = {row[0] for row in database.execute("SELECT id FROM u")}
    # The log alone tells row 2 only; with the copy after the floor nothing is missing.
    streamed = {row[1] for row in told(source, [t, u], floor, source.ceiling())}
    assert streamed == {2}
    assert copied | streamed == {1, 2}


def test_race_02_the_publication_is_there_before_the_slot(
    source: PostgresSource, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    seen: list[tuple[bool, bool]] = []

    def look(_: str) -> None:
        seen.append(
            (slot.find_publication(database, STREAM) is not None, slot.find_slot(database, STREAM) is None)
        )

    monkeypatch.setattr("syncline.failpoints.hit", look)
    source.attach(STREAM, schemas(source, "t"), quiet)
    assert seen == [(True, True)]


def test_race_02_a_forgotten_prepared_transaction_is_named(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    database.execute(f"BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten {STREAM}'")
    notices: list[str] = []
    attaching = Background(lambda: source.attach(STREAM, tables, notices.append))
    wait_until(lambda: bool(notices), "the notice")
    assert attaching.runs_after(0.2)
    assert f"'forgotten {STREAM}' of user syncline" in notices[0]
    assert "ROLLBACK PREPARED" in notices[0]
    database.execute(f"COMMIT PREPARED 'forgotten {STREAM}'")
    assert attaching.result() is True

    database.execute(f"BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'again {STREAM}'")
    notices.clear()
    taking = Background(lambda: source.floor(notices.append))
    wait_until(lambda: bool(notices), "the notice")
    assert f"'again {STREAM}'" in notices[0]
    database.execute(f"COMMIT PREPARED 'again {STREAM}'")
    assert told(source, tables, taking.result(), source.ceiling()) == [("t", 2)]


RECEIVER = """
import sys
from syncline.connectors.postgres.source import PostgresSource
url, stream, after = sys.argv[1:]
source = PostgresSource(url)
tables = [schema for schema in source.discover() if str(schema.table) == "t"]
for batch in source.changes(stream, tables, after, skip="", max_bytes=1, max_wait=0.1):
    print(batch.upto, flush=True)
"""


def test_race_12_a_stalled_receiver_is_taken_over(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    with subprocess.Popen(
        [sys.executable, "-c", RECEIVER, url, STREAM, floor], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout
        receiver.stdout.readline()
        os.kill(receiver.pid, signal.SIGSTOP)
        try:
            database.execute("INSERT INTO t VALUES (1)")
            held = slot.find_slot(database, STREAM)
            assert held
            assert held.active_pid is not None
            assert told(source, tables, floor, source.ceiling()) == [("t", 1)]
        finally:
            receiver.kill()


def test_race_12_without_rights_the_holder_is_named(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    role = f"plain_{database.info.dbname}"
    database.execute(f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'p'")
    holding = source.changes(STREAM, tables, floor, skip="", max_bytes=1, max_wait=0.1)
    next(holding)
    info = database.info
    other = PostgresSource(f"postgresql://{role}:p@{info.host}:{info.port}/{info.dbname}")
    try:
        with pytest.raises(NeedsOperator, match=r"process \d+ of user .* holds it") as named:
            next(other.changes(STREAM, tables, floor, skip="", max_bytes=1, max_wait=60))
        assert "pg_terminate_backend" in named.value.remedy
    finally:
        other.close()
        holding.close()
        database.execute(f"DROP ROLE {role}")


def confirmed(database: psycopg.Connection[Any]) -> int:
    found = slot.find_slot(database, STREAM)
    assert found
    assert found.confirmed
    return parse_lsn(found.confirmed)


def test_race_13_a_slot_ahead_of_the_position_is_a_gap(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    database.execute("INSERT INTO t VALUES (1)")
    batches = source.changes(STREAM, tables, floor, skip="", max_bytes=1 << 20, max_wait=0.1)
    batch = next(batch for batch in batches if batch.segments)
    source.release(STREAM, batch.upto)
    wait_until(lambda: confirmed(database) == parse_lsn(batch.upto), "the confirmation")
    batches.close()
    # The server itself would go on behind the lost row without a word.
    with pytest.raises(NeedsOperator, match="gap"):
        source.check_log(STREAM, floor)
    with pytest.raises(NeedsOperator, match="gap"):
        told(source, tables, floor, source.ceiling())
    assert told(source, tables, batch.upto, source.ceiling()) == []


def test_race_13_nothing_is_confirmed_but_what_was_released(
    source: PostgresSource, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "FEEDBACK_SECONDS", 0.02)
    database.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE unseen (id int)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    before = confirmed(database)
    batches = source.changes(STREAM, tables, floor, skip="", max_bytes=1, max_wait=0.05)
    uptos = [floor]
    for n in range(10):
        database.execute("INSERT INTO t VALUES (%s)", [n])
        database.execute("INSERT INTO unseen VALUES (%s)", [n])
        uptos += [next(batches).upto for _ in range(3)]
        time.sleep(0.05)
        assert confirmed(database) == before
    middle = uptos[len(uptos) // 2]
    source.release(STREAM, middle)
    wait_until(lambda: confirmed(database) == parse_lsn(middle), "the confirmation")
    source.release(STREAM, floor)  # never backwards
    for _ in range(10):
        next(batches)
    assert confirmed(database) == parse_lsn(middle)
    batches.close()


def test_race_13_a_server_that_asks_hears_of_nothing_more(
    source: PostgresSource, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walsender that has heard nothing for half its limit asks."""
    monkeypatch.setattr(replication, "TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(replication, "FEEDBACK_SECONDS", 3600)
    answered: list[int] = []
    answer = replication.LogStream._answer
    monkeypatch.setattr(
        replication.LogStream, "_answer", lambda log, end: (answered.append(end), answer(log, end))
    )
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    before = confirmed(database)
    database.execute("INSERT INTO t VALUES (1)")
    batches = source.changes(STREAM, tables, floor, skip="", max_bytes=1 << 20, max_wait=0.8)
    while len(answered) < 2:
        next(batches)
    assert max(answered) > parse_lsn(floor)
    next(batches)
    assert confirmed(database) == before
    batches.close()


def test_race_13_a_release_meanwhile_is_seen_at_the_start(
    source: PostgresSource, database: psycopg.Connection[Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot moves after the check that the engine made, before the stream starts."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    source.check_log(STREAM, floor)
    database.execute("INSERT INTO t VALUES (1)")
    until = source.ceiling()
    start = replication.LogStream.start

    def late(log: replication.LogStream, name: str, publication: str, after: int) -> None:
        database.execute("SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", [STREAM, until])
        start(log, name, publication, after)

    monkeypatch.setattr(replication.LogStream, "start", late)
    with pytest.raises(NeedsOperator, match="gap"):
        told(source, tables, floor, until)


def test_race_16_rows_that_came_by_the_destination_are_left_out(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    database.execute(
        "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE log (id int PRIMARY KEY)"
    )
    database.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END $$"
    )
    database.execute("CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()")
    tables = schemas(source, "t", "u", "s.t", "log")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)

    def write(number: int, paths: dict[str, tuple[str, ...]] | None) -> None:
        with database.transaction():
            if paths is not None:
                mark = Mark("m", paths).dumps()
                database.execute("SELECT pg_logical_emit_message(true, 'syncline', %s)", [mark])
            for table in ("t", "u", "s.t"):
                database.execute(f"INSERT INTO {table} VALUES ({number})")

    write(1, None)
    write(2, {"t": ("away",), "u": ("else",), "s.t": ("else", "away")})
    write(3, {"t": ("else",)})
    write(4, {})
    until = source.ceiling()
    everything = {("t", 1), ("u", 1), ("s.t", 1), ("log", 1)}
    # Rows that a trigger added, and those of tables that the mark does not name, are this store's own.
    everything |= {("u", 2), ("log", 2)}
    everything |= {("t", 3), ("u", 3), ("s.t", 3), ("log", 3)}
    everything |= {("t", 4), ("u", 4), ("s.t", 4), ("log", 4)}
    assert set(told(source, tables, floor, until, skip="away")) == everything
    assert len(told(source, tables, floor, until, skip="nobody")) == 16

    own = source.identity().id
    paths = {
        (segment.table, segment.path)
        for batch in source.changes(
            STREAM, tables, floor, skip="away", max_bytes=1 << 20, max_wait=0.2, until=until
        )
        for segment in batch.segments
        if isinstance(segment, Changes)
    }
    assert (TableName("u"), ("else", own)) in paths
    assert (TableName("t"), ("else", own)) in paths
    assert (TableName("log"), (own,)) in paths


def test_race_16_a_mark_holds_for_its_transaction_only(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    mark = Mark("m", {"t": ("away",)}).dumps()
    with database.transaction():
        database.execute("SELECT pg_logical_emit_message(true, 'syncline', %s)", [mark])
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("TRUNCATE t")
    database.execute("INSERT INTO t VALUES (2)")
    # A message outside of transactions marks nothing, wherever it comes to stand.
    database.execute("SELECT pg_logical_emit_message(false, 'syncline', %s)", [mark])
    database.execute("INSERT INTO t VALUES (3)")
    assert told(source, tables, floor, source.ceiling(), skip="away") == [("t", 2), ("t", 3)]
