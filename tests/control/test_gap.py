"""A pipeline whose log is lost, as its user sees it: by name, with the command, until that has mended it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg

from .conftest import PIPELINE
from .project import Room
from .test_postgres import add, count, make

Databases = Callable[[], str]


def drop_slot(url: str) -> None:
    slots = "FROM pg_replication_slots WHERE database = current_database()"
    with psycopg.connect(url, autocommit=True) as server:
        while server.execute(f"SELECT 1 {slots}").fetchone():
            server.execute(f"SELECT pg_terminate_backend(active_pid) {slots} AND active_pid IS NOT NULL")
            with contextlib.suppress(psycopg.Error):
                server.execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}")


def test_a_slot_that_is_lost_under_a_worker(
    postgres_database: Databases, postgres_b_database: Databases, room: Room
) -> None:
    source, target = postgres_database(), postgres_b_database()
    make(source)
    room.write(PIPELINE.format(name="shop", source=source, target=target))
    room.start("run")
    room.wait_live("shop")
    drop_slot(source)
    add(source, 1000)

    def shown(status: dict[str, Any]) -> bool:
        tables = status["figures"]["tables"] if status["figures"] else []
        ends = [f"copy it anew with syncline resync shop {table['table']}" for table in tables]
        details = [table["state"] == "gap" and table["detail"].endswith(end)
                   for table, end in zip(tables, ends, strict=True)]  # fmt: skip
        return len(tables) == 2 and all(details)

    status = room.wait("shop", lambda status: shown(status) and status["trouble"] is not None)
    assert status["trouble"]["remedy"].startswith("use syncline resync shop to copy its tables anew")
    assert room.call("resume", "shop").code == 0
    ended = status["since"]
    again = room.wait("shop", lambda status: status["state"] == "waiting" and status["since"] > ended)
    assert shown(again), again  # another worker says the same
    assert count(target) == 500
    assert room.call("resync", "shop").code == 0
    room.wait_live("shop")
    assert count(target) == count(source) == 501
