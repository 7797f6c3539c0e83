"""Ctrl-C and SIGTERM: clean, bounded, resumable; a second one ends at once."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from .command import start, syncline

Databases = Callable[[], str]

BOUND_SECONDS = 20  # what a loaded machine may need; a run that does not end at all is the failure


@pytest.fixture
def shop(postgres_database: Databases) -> str:
    url = postgres_database()
    with psycopg.connect(url) as server:
        server.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        server.execute("INSERT INTO orders SELECT n, repeat('x', 100) FROM generate_series(1, 1000) n")
    return url


@pytest.fixture
def running() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        started.append(start(*arguments))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines of stderr up to the one that has the text."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} never came: {lines}")


def sessions(url: str) -> list[tuple[str, str]]:
    """What other sessions of the database do, the servers' own processes left out."""
    query = """SELECT state, query FROM pg_stat_activity WHERE datname = current_database()
               AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')"""
    with psycopg.connect(url) as server:
        return server.execute(query).fetchall()


def gone(url: str) -> bool:
    """Whether every session ends: a server notices a closed connection a moment later."""
    deadline = time.monotonic() + BOUND_SECONDS
    while sessions(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def wait_until_held(path: Path) -> None:
    """Wait until somebody has held the file's write lock for half a second on end."""
    deadline = since = time.monotonic()
    deadline += BOUND_SECONDS
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
        while time.monotonic() - since < 0.5:
            assert time.monotonic() < deadline
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                time.sleep(0.02)
            else:
                file.execute("ROLLBACK")
                since = time.monotonic()


def end(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=BOUND_SECONDS)


Running = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_follow_ends_clean_and_goes_on(
    shop: str, postgres_b_database: Databases, running: Running, number: int, code: int
) -> None:
    copy = postgres_b_database()
    process = running("sync", shop, copy, "--follow", "--json")
    wait_for(process, "orders: live")
    out, err = end(process, number)
    assert process.returncode == code
    by = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    told = rf"stopped by {by}: all is committed up to position [0-9A-F]+/[0-9A-F]+;"
    assert re.fullmatch(rf"syncline: ({told} run the same command again to go on)", err.splitlines()[-1])
    assert json.loads(out)["error"]["message"] == err.splitlines()[-1].removeprefix("syncline: ")
    assert "cannot" not in err
    assert "Traceback" not in err
    assert f'"exit": {code}' in out
    assert '"verdict": "followed"' in out
    assert gone(shop)
    assert gone(copy)
    with psycopg.connect(shop) as server:
        server.execute("DELETE FROM orders WHERE id = 7")
    outcome = syncline("sync", shop, copy, "--json", "--quiet")
    assert outcome.code == 0, outcome
    (table,) = outcome.document["tables"]
    assert (table["verdict"], table["rows_copied"]) == ("equal", 0)
    with psycopg.connect(copy) as server:
        assert server.execute("SELECT count(*) FROM orders").fetchone() == (999,)


def test_a_wait_for_somebodys_transaction_is_ended_too(
    shop: str, postgres_b_database: Databases, running: Running
) -> None:
    copy = postgres_b_database()
    with psycopg.connect(shop) as blocker:
        blocker.execute("UPDATE orders SET note = 'open' WHERE id = 1")
        process = running("sync", shop, copy)
        lines = wait_for(process, "waits for the transaction of user")
        assert str(blocker.info.backend_pid) in lines[-1]
        _, err = end(process, signal.SIGINT)
        assert process.returncode == 130, err
        left = [query for _, query in sessions(shop) if "UPDATE orders" not in query]
        assert left == []
    assert syncline("sync", shop, copy, "--quiet").code == 0


def test_a_lock_at_the_target_is_ended_too(
    shop: str, postgres_b_database: Databases, running: Running
) -> None:
    copy = postgres_b_database()
    process = running("sync", shop, copy, "--follow")
    wait_for(process, "orders: live")
    with psycopg.connect(copy) as blocker:
        blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with psycopg.connect(shop) as server:
            server.execute("UPDATE orders SET note = 'blocked' WHERE id = 1")
        deadline = time.monotonic() + BOUND_SECONDS
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database"
        waiting += " WHERE datname = current_database())"
        while blocker.execute(waiting).fetchone() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        end(process, signal.SIGTERM)
        assert process.returncode == 143
        others = [
            state for state, query in sessions(copy) if "LOCK TABLE" not in query and "pg_locks" not in query
        ]
        assert others == []
    assert syncline("sync", shop, copy, "--quiet").code == 0


def test_a_lock_on_a_sqlite_file_is_ended_too(tmp_path: Path, running: Running) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript("CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1)")
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("BEGIN IMMEDIATE")
        process = running("sync", f"sqlite:///{path}", f"sqlite:///{tmp_path}/copy.db")
        wait_for(process, "waiting for another process")
        end(process, signal.SIGINT)
        assert process.returncode == 130
        file.execute("ROLLBACK")
    assert syncline("sync", f"sqlite:///{path}", f"sqlite:///{tmp_path}/copy.db", "--quiet").code == 0


def test_a_second_signal_ends_at_once(tmp_path: Path, running: Running) -> None:
    """The first is held up by a commit that hangs; the process does not wait for it."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        file.execute("INSERT INTO orders VALUES (1)")
    process = start(
        *("sync", f"sqlite:///{path}", f"sqlite:///{tmp_path}/copy.db"),
        env={"SYNCLINE_FAILPOINTS": "copy.before_commit=sleep:60"},
    )
    try:
        wait_for(process, "orders: copying")
        wait_until_held(tmp_path / "copy.db")
        process.send_signal(signal.SIGINT)
        wait_for(process, "once more to end at once")
        _, err = end(process, signal.SIGINT)
        assert process.returncode == 130
        assert "Traceback" not in err
    finally:
        process.kill()
        process.communicate()
    assert syncline("sync", f"sqlite:///{path}", f"sqlite:///{tmp_path}/copy.db", "--quiet").code == 0


def test_a_signal_before_the_run_has_begun_ends_it(tmp_path: Path) -> None:
    """However early it comes: by the signal itself, or cleanly."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    for milliseconds in range(0, 600, 60):
        process = start("sync", f"sqlite:///{path}", f"sqlite:///{tmp_path}/copy.db", "--follow", "--quiet")
        time.sleep(milliseconds / 1000)
        _, err = end(process, signal.SIGTERM)
        assert process.returncode in (143, -signal.SIGTERM), err
        assert "Traceback" not in err


def test_what_the_shell_had_ignored_stays_ignored(tmp_path: Path, running: Running) -> None:
    """nohup's SIGHUP, and SIGINT of a background job."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    for number in (signal.SIGHUP, signal.SIGINT):
        before = signal.signal(number, signal.SIG_IGN)
        try:
            process = running("sync", f"sqlite:///{path}", f"sqlite:///{tmp_path}/copy.db", "--follow")
        finally:
            signal.signal(number, before)
        wait_for(process, "orders: live")
        process.send_signal(number)
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("INSERT INTO orders DEFAULT VALUES")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        end(process, signal.SIGTERM)
        assert process.returncode == 143
