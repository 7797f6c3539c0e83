"""Pipelines of a configuration on real PostgreSQL servers."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from ..cli.test_interrupts import gone
from .conftest import PIPELINE
from .project import Room, wait_until, workers
from .test_run import end

Databases = Callable[[], str]


def make(url: str) -> None:
    with psycopg.connect(url) as server:
        for table in ("orders", "visits"):
            server.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, note text)")
            server.execute(f"INSERT INTO {table} SELECT n, 'x' FROM generate_series(1, 500) n")


def count(url: str, table: str = "orders") -> int:
    with psycopg.connect(url) as server:
        (found,) = server.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    return int(found)


def slots(url: str) -> list[tuple[str, bool]]:
    query = (
        "SELECT slot_name, active FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"
    )
    with psycopg.connect(url) as server:
        return server.execute(query).fetchall()


def add(url: str, key: int) -> None:
    with psycopg.connect(url) as server:
        server.execute("INSERT INTO orders VALUES (%s, 'new')", [key])


def test_two_pipelines_between_two_servers(
    postgres_database: Databases, postgres_b_database: Databases, room: Room
) -> None:
    source, target, state = postgres_database(), postgres_b_database(), postgres_b_database()
    make(source)
    room.env |= {"SHOP": source, "COPY": target, "STATE": state}
    names = {"orders": "orders", "seen": "v*"}
    room.write(
        '[state]\nurl = "env:STATE"\n[stores]\nshop = "env:SHOP"\n'
        + "".join(
            PIPELINE.format(name=name, source="shop", target="env:COPY") + f'include = ["{glob}"]\n'
            for name, glob in names.items()
        )
    )

    def told(name: str) -> dict[str, object]:
        (one,) = room.call("status", name, "--json").document["pipelines"]
        found: dict[str, object] = one
        return found

    process = room.start("run")
    wait_until(lambda: "orders: orders: live" in room.lines and "seen: visits: live" in room.lines, "live")
    assert len(slots(source)) == 2, "each has a stream of its own"
    add(source, 1000)
    wait_until(lambda: count(target) == 501, "the row")
    wait_until(lambda: (told("orders")["figures"] or {}).get("lag") == 0, "the log's end")  # type: ignore[attr-defined]
    process.kill()
    process.wait()
    wait_until(lambda: not workers(room.folder), "the workers' end")
    assert gone(source)
    process = room.start("run")
    add(source, 1001)
    wait_until(lambda: count(target) == 502, "the row after the kill")
    assert room.call("pause", "orders").code == 0
    wait_until(lambda: told("orders")["state"] == "paused", "the pause")
    wait_until(lambda: [active for _, active in slots(source)].count(True) == 1, "the slot that nobody holds")
    add(source, 1002)
    assert end(process) == 143
    assert gone(source)
    for name in names:
        outcome = room.call("remove", name)
        assert outcome.code == 0, outcome
    assert slots(source) == []
    with psycopg.connect(target) as server:
        assert server.execute("SELECT to_regnamespace('syncline')").fetchone() == (None,)
    for secret in ("password", source, target, state):
        assert secret not in room.lines
