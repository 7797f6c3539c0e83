"""Status is honest: what was stored last counts only as far as it agrees with what runs."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syncline.control.processes import HOST, key_of, runs
from syncline.control.project import open_project
from syncline.control.state import StateDatabase, open_state
from syncline.control.stored import WorkerRow
from syncline.observe.alarms import Condition, Raised
from syncline.observe.figures import Figures, TableFigures, Trouble

from ..cli.command import environment
from .project import Room

LIVE = Figures(tables=(TableFigures("orders", "live"),))


@pytest.fixture
def ended() -> str:
    """The key of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        key = key_of(process.pid)
        assert runs(key)
    return key


@pytest.fixture
def row() -> WorkerRow:
    """A worker that runs, as far as stored: this process is both."""
    now, own = time.time(), key_of(os.getpid())
    return WorkerRow("running", HOST, own, own, since=now - 60, beat=now)


@pytest.fixture
def told(room: Room) -> Callable[[WorkerRow, Figures], dict[str, Any]]:
    """The status that these rows give."""

    def status(row: WorkerRow, figures: Figures) -> dict[str, Any]:
        with open_state(open_project(room.folder / "syncline.toml")) as state:
            state.put_worker("orders", row)
            state.put_figures("orders", figures)
        return room.status("orders")

    return status


Told = Callable[[WorkerRow, Figures], dict[str, Any]]


def test_a_worker_that_runs(told: Told, row: WorkerRow) -> None:
    status = told(row, replace(LIVE, at=time.time()))
    assert (status["state"], status["running"], status["pid"]) == ("running", True, os.getpid())
    assert status["figures"]["tables"][0]["state"] == "live"


def test_a_worker_that_died(told: Told, row: WorkerRow, ended: str) -> None:
    for gone in (replace(row, worker=ended), replace(row, worker=ended, supervisor=ended)):
        status = told(gone, replace(LIVE, at=time.time()))
        assert (status["state"], status["running"], status["pid"]) == ("died", False, None)


def test_a_worker_whose_supervisor_died(told: Told, row: WorkerRow, ended: str) -> None:
    status = told(replace(row, supervisor=ended), replace(LIVE, at=time.time()))
    assert (status["state"], status["running"]) == ("ending", True)


def test_a_number_that_another_process_has_by_now(told: Told, row: WorkerRow) -> None:
    status = told(replace(row, worker=f"{os.getpid()}:1"), replace(LIVE, at=time.time()))
    assert status["state"] == "died"


def test_an_earlier_workers_live_is_not_this_ones(told: Told, row: WorkerRow) -> None:
    status = told(row, replace(LIVE, at=row.since - 1))
    assert status["running"]
    assert status["figures"] is None


def test_a_supervisor_that_died_waits_for_nothing(told: Told, row: WorkerRow, ended: str) -> None:
    waiting = replace(row, phase="waiting", worker=None, retry_at=time.time() + 5)
    assert told(waiting, LIVE)["state"] == "waiting"
    status = told(replace(waiting, supervisor=ended), LIVE)
    assert (status["state"], status["retry_at"]) == ("died", None)


def test_another_machine_is_believed_while_it_says_something(told: Told, row: WorkerRow) -> None:
    there = replace(row, host="elsewhere")
    assert told(there, replace(LIVE, at=time.time()))["state"] == "running"
    assert told(replace(there, beat=time.time() - 60), replace(LIVE, at=time.time()))["state"] == "died"


def test_what_the_picture_says(room: Room, told: Told, row: WorkerRow) -> None:
    trouble = Trouble("needsoperator", "cannot go on: lost; run it again", "run it again", time.time())
    figures = replace(LIVE, at=time.time(), position="0/1A", lag=2_000_000, lag_seconds=3.5, retained=7)
    told(row, replace(figures, trouble=trouble))
    shown = room.call("status", FORCE_COLOR="1", NO_COLOR="1", COLUMNS="300").out
    assert "\x1b[3" not in shown, "no colour"
    for part in ("● running", "3.5 s, 2.0 MB", "0/1A", "live", "cannot go on: lost; run it again"):
        assert part in shown, shown
    told(row, replace(figures, at=row.since + 1))
    assert "● silent" in room.call("status").out
    told(replace(row, phase="stopped", worker=None), figures)
    shown = room.call("status").out
    assert "● stopped" in shown
    assert "was live" in shown
    assert "3.5 s" not in shown, "nobody knows how far behind it is"


def test_an_alarm_about_a_table_stands_for_its_detail(room: Room, told: Told, row: WorkerRow) -> None:
    lost = "its slot is lost; copy it anew with syncline resync orders"
    figures = Figures(at=time.time(), tables=(TableFigures("orders", "gap", lost),))
    told(row, figures)
    assert f"orders: orders: {lost}" in room.call("status").out
    alarm = Raised(Condition("table", f"table orders is gap: {lost}", "orders"), time.time() - 120)
    told(replace(row, alarms=(alarm,)), replace(figures, at=time.time()))
    shown = room.call("status").out
    assert re.search(r"^orders: alarm since 2 min \d+ s: table orders is gap: ", shown, re.MULTILINE)
    assert shown.count(lost) == 1


def test_a_newer_state_is_refused_with_one_line(room: Room) -> None:
    with open_state(open_project(room.folder / "syncline.toml")) as state:
        assert isinstance(state, StateDatabase)
        state.wish(["orders"], paused=True)
    assert "● paused" in room.call("status").out
    assert room.call("status", "order").err.endswith("did you mean orders?\n")


HEAVY = {"pyarrow", "psycopg", "sqlalchemy", "alembic", "apscheduler"}


def loaded(room: Room, *arguments: str) -> set[str]:
    """Which heavy libraries a command loads."""
    code = (
        "import sys\nfrom syncline.cli import main\n"
        "code = main()\nsys.stderr.write(' '.join(sys.modules))\nsys.exit(code)"
    )
    command = [sys.executable, "-c", code, *arguments, "--config", str(room.folder / "syncline.toml")]
    done = subprocess.run(command, env=environment(room.env), capture_output=True, text=True)
    assert done.returncode == 0, done
    return HEAVY & set(done.stderr.split())


def test_a_look_loads_nothing_heavy(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + 'schedule = "every 1h"\n[pipelines.orders.tables.orders]\ncast = { note = "text" }\n')
    assert room.call("run", "--once").code == 0
    for look in (["status"], ["status", "--json"], ["logs", "orders"], ["reports"]):
        assert loaded(room, *look) == set(), look
    assert loaded(room, "pause") == {"sqlalchemy"}
    assert "● paused" in room.call("status").out


def test_a_state_of_an_older_version_is_read_too(room: Room) -> None:
    """What is quick knows the version of today only; another one is brought up to it first."""
    project = open_project(room.folder / "syncline.toml")
    project.room.mkdir(parents=True)
    with closing(sqlite3.connect(project.room / "state.db")) as file:
        file.executescript((Path(__file__).parent / "golden/0001.sql").read_text())
    assert room.status("orders")["figures"]["position"] == "0/1A2B"
    assert loaded(room, "status") == set()


def test_a_damaged_state_is_one_line(room: Room) -> None:
    project = open_project(room.folder / "syncline.toml")
    project.room.mkdir(parents=True)
    (project.room / "state.db").write_text("not a database " * 1000)
    for look in ("status", "reports"):
        outcome = room.call(look)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (3, "", 1), outcome
        assert "losing it loses no data" in outcome.err
