"""An application works on the target as well: what its locks end is tried again, and nothing is parked."""

from __future__ import annotations

import threading
import time

import psycopg

from tests.runs import Following, Notices, execute, value, wait_for

from .watch import count, equal, live

PARKED = "SELECT count(*) FROM syncline.parked"


def test_a_deadlock_victim_is_tried_again_and_never_dropped(pair: tuple[str, str]) -> None:
    source, target = pair
    notices = Notices()
    name = str(value(target, "SELECT current_database()"))
    with Following(source, target, observer=notices):
        live(target)
        # Ours is to be the victim: its sessions look for a deadlock first.
        execute(target, f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
        with psycopg.connect(target, autocommit=True) as server:
            ours = "application_name LIKE 'syncline%' AND datname = current_database()"
            server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}".encode())
        with psycopg.connect(target) as app:
            app.execute("SET deadlock_timeout = '60s'")
            app.execute("UPDATE t SET note = note WHERE id = 90")
            # One transaction that takes row 10 in the delete, then waits for row 90 in the upsert.
            execute(source, "DELETE FROM t WHERE id = 10; UPDATE t SET n = -90 WHERE id = 90")
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            waiting += " AND datname = current_database()"
            wait_for(lambda: value(target, waiting) == 1, "the stream's wait")
            app.execute("UPDATE t SET note = note WHERE id = 10")  # a circle: one of the two is ended
            wait_for(lambda: any("deadlock" in text for text in notices.texts), "the victim's notice")
            app.rollback()
        wait_for(lambda: count(target, "n = -90") == 1 and count(target, "id = 10") == 0, "both changes")
        assert value(target, PARKED) == 0
    equal(source, target)


def test_a_lock_that_an_application_holds_is_waited_for(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target):
        live(target)
        with psycopg.connect(target) as app:
            app.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            execute(source, "UPDATE t SET n = -n")
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            waiting += " AND datname = current_database()"
            wait_for(lambda: value(target, waiting) == 1, "the stream's wait")
            app.rollback()
        wait_for(lambda: count(target, "n < 0") == 100, "the change")
        assert value(target, PARKED) == 0
    equal(source, target)


def test_sessions_that_an_operator_ends_come_again(pair: tuple[str, str]) -> None:
    source, target = pair
    ended = threading.Event()

    def end_sessions() -> None:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        query += " WHERE application_name LIKE 'syncline%' AND datname = current_database()"
        while not ended.wait(0.2):
            for url in (source, target):
                with psycopg.connect(url, autocommit=True) as server:
                    server.execute(query.encode())

    with Following(source, target):
        live(target)
        operator = threading.Thread(target=end_sessions)
        operator.start()
        for number in range(200, 230):
            execute(source, f"INSERT INTO t VALUES ({number}, 0, 'while ended')")
            time.sleep(0.05)
        ended.set()
        operator.join()
        wait_for(lambda: count(target) == 130, "all rows", 60)
    equal(source, target)


def test_a_column_that_an_operator_widened_takes_what_was_parked(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, "CREATE TABLE w (id bigint PRIMARY KEY, n bigint)", "INSERT INTO w VALUES (1, 1), (2, 2)")
    execute(target, "CREATE TABLE w (id int PRIMARY KEY, n int)")
    with Following(source, target, tables=("w",)):
        wait_for(lambda: value(target, "SELECT count(*) FROM w") == 2, "the copy")
        execute(source, "UPDATE w SET n = 3", "DELETE FROM w WHERE id = 2")
        wait_for(lambda: value(target, "SELECT sum(n) FROM w") == 3, "a change and a delete that fit")
        execute(source, "UPDATE w SET n = 5000000000", "INSERT INTO w VALUES (7000000000, 7)")
        wait_for(lambda: value(target, PARKED) == 2, "the parked keys")
        execute(target, "ALTER TABLE w ALTER n TYPE bigint, ALTER id TYPE bigint")
        execute(target, "UPDATE syncline.parked SET asked = true")
        wait_for(lambda: value(target, PARKED) == 0, "the retry")
        assert value(target, "SELECT sum(n) FROM w") == 5_000_000_007
        execute(source, "DELETE FROM w WHERE id = 7000000000", "UPDATE w SET n = 4")
        wait_for(lambda: value(target, "SELECT sum(n) FROM w") == 4, "a delete of a key that is that large")


def test_a_unique_index_that_an_operator_made_is_known(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target, tables=("t",)):
        live(target)
        execute(source, "UPDATE t SET n = -1 WHERE id = 1")
        wait_for(lambda: count(target, "n = -1") == 1, "a change")
        execute(target, "CREATE UNIQUE INDEX ON t (n)")
        execute(source, "UPDATE t SET n = CASE n WHEN -1 THEN 2 ELSE -1 END WHERE id IN (1, 2)")
        wait_for(lambda: count(target, "id = 2 AND n = -1") == 1, "values that change places")
        assert value(target, PARKED) == 0
    equal(source, target)
