"""A log that is not there any more: said by name, never gone on with from now, healed by one command."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from services.postgres import Postgres
from syncline.errors import NeedsOperator
from tests.oracle import compare
from tests.runs import Following, execute, sync, value, verdicts, wait_for

from .conftest import TABLE
from .watch import count, live


def test_a_slot_that_somebody_dropped(pair: tuple[str, str]) -> None:
    source, target = pair
    with Following(source, target):
        live(target)
    execute(source, "INSERT INTO t VALUES (101, 0, 'untold')")
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    with psycopg.connect(source, autocommit=True) as server:
        server.execute(f"{drop} WHERE database = current_database()".encode())
    for _ in range(2):  # also the second time: it never goes on from now
        with pytest.raises(NeedsOperator, match=r"is gone.*run with --replace"):
            sync(source, target)
    assert value(target, "SELECT DISTINCT state FROM syncline.tables") == "gap"
    assert count(target, "id = 101") == 0
    assert verdicts(sync(source, target, replace=True)) == {"t": "equal"}
    assert compare(source, target) == []


@pytest.fixture(scope="module")
def thrifty() -> Iterator[str]:
    """The URL of a server that keeps little log for anybody."""
    server = Postgres("postgres-thrifty")
    with server.in_use():
        with psycopg.connect(server.url, autocommit=True) as session:
            for setting in (
                "max_slot_wal_keep_size = '1MB'",
                "max_wal_size = '32MB'",
                "min_wal_size = '32MB'",
            ):
                session.execute(f"ALTER SYSTEM SET {setting}".encode())
            session.execute("SELECT pg_reload_conf()")
            session.execute("CREATE DATABASE shop")
        yield urlunsplit(urlsplit(server.url)._replace(path="/shop"))


def test_a_log_that_the_server_has_purged(thrifty: str, pair: tuple[str, str]) -> None:
    _, target = pair
    execute(thrifty, TABLE, "INSERT INTO t SELECT n, n, 'first' FROM generate_series(1, 100) n")
    with Following(thrifty, target):
        live(target)
    execute(thrifty, "INSERT INTO t VALUES (101, 0, 'purged')")
    lost = "SELECT wal_status FROM pg_replication_slots"

    def purge() -> bool:
        with psycopg.connect(thrifty, autocommit=True) as server:
            server.execute("CREATE TABLE IF NOT EXISTS filler (text text)")
            server.execute("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            server.execute("TRUNCATE filler")
            server.execute("SELECT pg_switch_wal()")
            server.execute("CHECKPOINT")
        return value(thrifty, lost) == "lost"

    wait_for(purge, "the purge", 90)
    execute(thrifty, "DROP TABLE filler")
    with pytest.raises(NeedsOperator, match=r"has invalidated replication slot.*run with --replace"):
        sync(thrifty, target)
    assert count(target, "id = 101") == 0
    assert verdicts(sync(thrifty, target, replace=True)) == {"t": "equal"}
    assert compare(thrifty, target) == []
