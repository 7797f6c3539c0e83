"""Log that is not of the stream's tables does not pile up at the source."""

from __future__ import annotations

import time

from tests.runs import Following, Notices, execute, value, wait_for

from .watch import count, live


def test_the_log_of_other_tables_is_released(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, "CREATE TABLE noise (text text)")
    held = "SELECT pg_current_wal_lsn() - confirmed_flush_lsn FROM pg_replication_slots"
    held += " WHERE database = current_database()"
    with Following(source, target, tables=("t",)):
        live(target)
        for _ in range(8):
            execute(source, "INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
        assert int(str(value(source, held))) > 4_000_000
        wait_for(lambda: int(str(value(source, held))) < 2_000_000, "the release", 60)
        position = "SELECT pg_current_wal_lsn() FROM syncline.streams WHERE position IS NOT NULL"
        assert value(target, position) is not None


def test_sessions_that_wait_are_not_ended_for_being_idle(pair: tuple[str, str]) -> None:
    for url in pair:
        name = value(url, "SELECT current_database()")
        execute(url, f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    source, target = pair
    notices = Notices()
    with Following(source, target, tables=("t",), observer=notices):
        live(target)
        time.sleep(2)  # several times as long as the sessions may be idle
        execute(source, "UPDATE t SET n = -7 WHERE id = 7")
        wait_for(lambda: count(target, "n = -7") == 1, "the change")
    assert notices.texts == []
