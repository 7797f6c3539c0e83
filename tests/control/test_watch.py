"""`syncline run` tells others: alarms of real stalls, a port for Prometheus, lines as JSON."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Databases
from tests.runs import execute, value

from .conftest import PIPELINE
from .project import Room, make_shop, wait_until, workers, write_row

APPEND = (
    "import json, sys; told = json.load(sys.stdin); open(sys.argv[1], 'a').write(json.dumps(told) + '\\n')"
)


def command(path: Path) -> str:
    """An alarm command that adds each alarm to a file."""
    return json.dumps(shlex.join([sys.executable, "-c", APPEND, str(path)]))


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(path: Path, kind: str) -> list[str]:
    return [alarm["event"] for alarm in told(path) if alarm["kind"] == kind]


@pytest.fixture
def stores(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    """Two databases; the source has a table."""
    source, target = postgres_database(), postgres_b_database()
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (0, 'first')")
    return source, target


def raised(room: Room) -> set[str]:
    """The kinds of alarms that status shows."""
    return {alarm["kind"] for alarm in room.status("shop")["alarms"]}


def test_a_stall_is_noticed_though_all_processes_live(room: Room, stores: tuple[str, str]) -> None:
    """Somebody locks the table at the target: the source's log grows, nothing is applied, no error comes."""
    source, target = stores
    out = room.folder / "alarms"
    room.write(
        PIPELINE.format(name="shop", source=source, target=target)
        + f"[pipelines.shop.alarm]\ncommand = {command(out)}\n"
        + '[pipelines.shop.budget]\nstandstill = "3s"\nlag = "4s"\nretained_log = "1 MiB"\n'
    )
    room.start("run")
    room.wait_live("shop")
    with psycopg.connect(target) as locking:
        locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        for key in range(1, 4):
            execute(
                source,
                f"INSERT INTO t SELECT {key} * 1000 + n, repeat('x', 1000) FROM generate_series(1, 900) n",
            )
        for kind in ("standstill", "lag", "retained_log"):
            wait_until(lambda of=kind: events(out, of) == ["raised"], f"the alarm of {kind}")  # type: ignore[misc]
        wait_until(lambda: raised(room) == {"standstill", "lag", "retained_log"}, "what status says")
        assert room.status("shop")["running"]
        shown = room.call("status").out
        for part in ("alarm since ", "the budget is 4 s; see with syncline status", "log of ", "1.0 MB"):
            assert part in shown, shown
        assert len(workers(room.folder)) == 1
    alarm = next(alarm for alarm in told(out) if alarm["kind"] == "retained_log")
    assert alarm["value"] > alarm["budget"] == 1 << 20
    for kind in ("standstill", "lag"):
        wait_until(lambda of=kind: events(out, of) == ["raised", "cleared"], f"the end of {kind}")  # type: ignore[misc]
    assert value(target, "SELECT count(*) FROM t") == 2701
    execute(source, "CHECKPOINT")
    for key in range(-20, 0):  # the slot moves as running transactions are logged
        execute(source, f"INSERT INTO t VALUES ({key}, '')")
        execute(source, "CHECKPOINT")
        if events(out, "retained_log") == ["raised", "cleared"]:
            break
    wait_until(lambda: events(out, "retained_log") == ["raised", "cleared"], "the end of retained_log")
    wait_until(lambda: raised(room) == set(), "what status says")
    assert "alarm: nothing was reached" in room.call("logs", "shop").out


def test_a_worker_that_keeps_dying_and_alarms_that_cannot_be_told(room: Room) -> None:
    out = room.folder / "alarms"
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + f"[alarm]\ncommand = {command(out)}\n" + 'webhook = "http://127.0.0.1:1/"\n')
    room.start("run", SYNCLINE_FAILPOINTS="copy.before_commit=kill")
    wait_until(lambda: events(out, "dying") == ["raised"], "the alarm")
    assert "its worker keeps dying" in told(out)[0]["message"]
    wait_until(lambda: "cannot tell an alarm by the webhook" in room.lines, "the note")


def test_an_operators_matter_raises_an_alarm_also_once(room: Room) -> None:
    out = room.folder / "alarms"
    make_shop(room.folder / "copy.db", rows=3)
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + f"[alarm]\ncommand = {command(out)}\n")
    assert room.call("run", "--once").code in (2, 3)
    (alarm,) = told(out)
    assert (alarm["kind"], alarm["event"], alarm["pipeline"]) == ("operator", "raised", "orders")
    assert "holds other rows in orders" in alarm["message"]
    assert "syncline resync orders" in alarm["remedy"]


def test_an_alarm_command_that_hangs_stops_nothing(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + '[alarm]\ncommand = "sleep 600"\ntimeout = "1s"\n')
    process = room.start("run", SYNCLINE_FAILPOINTS="copy.before_commit=kill")
    wait_until(lambda: "alarm command: it did not end within 1 s" in room.lines, "the note")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143


def test_a_port_for_prometheus_and_lines_as_json(room: Room) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + f'[metrics]\nprometheus = "{port}"\n[log]\nformat = "json"\n')
    process = room.start("run")
    room.wait_live("orders")
    write_row(room.folder / "shop.db", 1000)

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    wait_until(
        lambda: 'changes_applied_total{pipeline="orders",table="orders"} 1.0' in scrape(), "the change"
    )
    assert 'syncline_table_state{pipeline="orders",state="live",table="orders"} 1.0' in scrape()
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    lines = [json.loads(line) for line in room.lines.splitlines() if line.startswith("{")]
    live = next(line for line in lines if line.get("state") == "live")
    assert (live["pipeline"], live["event"], live["table"], live["level"]) == (
        "orders",
        "state",
        "orders",
        "info",
    )
    assert live["text"] == "orders: live"
    assert "orders: live" in room.call("logs", "orders").out
