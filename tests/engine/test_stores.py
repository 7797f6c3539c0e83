"""The open stores of a run, and its end."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from syncline.errors import Interrupted, NeedsOperator
from tests.conftest import Databases
from tests.runs import execute, pipeline, sync, verdicts


@pytest.mark.timeout(30)
def test_a_stop_between_two_calls_ends_the_next_one(tmp_path: Path) -> None:
    a, b = tmp_path / "a.db", tmp_path / "b.db"
    with closing(sqlite3.connect(a, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        reached = []

        def stop(*_: object) -> None:
            reached.append(True)
            writer.execute("BEGIN IMMEDIATE")  # the call that is about to begin waits for its end
            run.stop()

        run = pipeline(f"sqlite:///{a}", f"sqlite:///{b}", before={"floor": stop})
        with pytest.raises(Interrupted):
            run.run()
        assert reached == [True]


@pytest.mark.timeout(60)
def test_a_main_stream_that_fails_takes_its_side_stream_along(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    execute(source, "CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    sync(source, target, keep=True)
    execute(source, "CREATE TABLE b (id int PRIMARY KEY)", "INSERT INTO b VALUES (1)")
    locked, failed = threading.Event(), threading.Event()
    with psycopg.connect(source) as other:

        def lock(*_: object, **__: object) -> None:
            if not locked.is_set():
                other.execute("LOCK TABLE b IN ACCESS EXCLUSIVE MODE")
                locked.set()
                failed.wait()
                time.sleep(0.5)  # the first interrupt finds no call that it could end

        def fail(*_: object) -> None:
            if locked.is_set() and threading.current_thread() is threading.main_thread():
                failed.set()
                raise NeedsOperator("follow", "stream", "the test says so")

        with pytest.raises(NeedsOperator, match="the test says so"):
            sync(source, target, before={"read": lock, "inspect": fail}, tables=["a", "b"])
        other.rollback()
    assert set(verdicts(sync(source, target)).values()) == {"equal"}
