"""What a user sees of a table that is lost: its log, until one command has mended that, or all of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg

from .conftest import PIPELINE
from .project import Room, make_shop
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

    status = room.wait("shop", lambda status: shown(status) and status["state"] == "waiting")
    assert status["trouble"]["remedy"].startswith("use syncline resync shop to copy its tables anew")
    assert room.call("resume", "shop").code == 0
    ended = status["since"]
    again = room.wait("shop", lambda status: status["state"] == "waiting" and status["since"] > ended)
    assert shown(again), again  # another worker says the same
    assert count(target) == 500
    assert room.call("resync", "shop").code == 0
    room.wait_live("shop")
    assert count(target) == count(source) == 501


def test_a_table_that_was_dropped_is_shown_as_left_out(room: Room) -> None:
    source = make_shop(room.folder / "two.db", tables=("orders", "visits"))
    room.write(PIPELINE.format(name="two", source=source, target=f"sqlite:///{room.folder}/copy.db"))
    room.start("run")
    room.wait_live("two")
    with contextlib.closing(sqlite3.connect(room.folder / "two.db", timeout=30)) as file, file:
        file.execute("DROP TABLE visits")

    def shown(status: dict[str, Any]) -> dict[str, str]:
        return {table["table"]: table["state"] for table in status["figures"]["tables"]}

    status = room.wait("two", lambda status: shown(status) == {"orders": "live", "visits": "skipped"})
    (left,) = (table for table in status["figures"]["tables"] if table["table"] == "visits")
    assert left["detail"].startswith("it was dropped at the source")
    assert "table visits was dropped at the source" in room.lines
