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
