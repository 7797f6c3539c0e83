"""Target first: rows and position are one transaction, and the log is released only after it (Promise 1)."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from syncline.errors import Interrupted
from tests.conftest import Databases
from tests.runs import Following


def value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def test_rows_and_position_are_one_transaction_and_released_after_it(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    with psycopg.connect(source) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        connection.execute("INSERT INTO t VALUES (1, 0)")
    released: list[str] = []

    def look(stream: str, upto: str) -> None:
        committed = f"SELECT position::pg_lsn >= '{upto}' FROM syncline.streams WHERE stream = '{stream}'"
        assert value(target, committed) is True, "released before it was committed"
        released.append(upto)

    with Following(source, target, before={"release": look}) as following:
        live = "SELECT count(*) FROM syncline.tables WHERE state = 'live'"
        wait_for(
            lambda: value(target, "SELECT to_regclass('syncline.tables') IS NOT NULL") is True, "a start"
        )
        wait_for(lambda: value(target, live) == 1, "the copy")
        for number in range(1, 4):
            with psycopg.connect(source) as connection:
                connection.execute(f"UPDATE t SET n = {number}")
            wait_for(
                lambda number=number: (
                    value(target, "SELECT n FROM t") == number or following.error is not None
                ),
                "the change",
            )
            same = "SELECT t.xmin = s.xmin FROM t, syncline.streams s"
            assert value(target, same) is True, "the position moved in another transaction than the row"
    assert isinstance(following.error, Interrupted)
    assert released
