"""The state database: every version of it is read, nobody blocks anybody for long, on both systems."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from syncline.control.state import StateDatabase
from syncline.control.stored import VERSION, Wish, WorkerRow
from syncline.errors import NeedsOperator
from syncline.observe.alarms import Condition, Raised
from syncline.observe.figures import Figures, TableFigures, Trouble

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateDatabase]:
    url = f"sqlite:///{tmp_path}/state.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_database")()
    with StateDatabase(make_url(url)) as made:
        yield made


def test_what_is_stored_is_read_back(state: StateDatabase) -> None:
    state.wish(["a", "b"], paused=True)
    state.wish(["b"], paused=False)
    wishes = state.wishes()
    assert [wishes["a"].paused, wishes["b"].paused] == [True, False]
    trouble = Trouble("refused", "cannot x: y; z", "z", 5.5)
    alarm = Raised(Condition("lag", "the target is behind", remedy="look", value=7.5, budget=5), 4.5)
    row = WorkerRow("running", "here", "1:2", "3:4", 1.5, 2.5, None, 3, trouble, (alarm,), "look")
    state.put_worker("a", row)
    state.put_worker("a", row)
    assert state.workers() == {"a": row}
    figures = Figures(at=7.25, tables=(TableFigures("t", "live", "", 1, 2, None),), trouble=trouble)
    state.put_figures("a", figures)
    assert state.figures() == {"a": figures}
    for code in range(3):
        state.add_report("a", code, {"n": code})
    assert [report.exit_code for report in state.reports(["a"], 2)] == [2, 1]
    for document in ({"x": 1}, {"x": 1}, {"x": 2}):
        state.add_configuration(document)
    state.forget("a", wish=False)
    assert (state.workers(), state.figures(), state.reports(["a"], 9)) == ({}, {}, [])
    assert state.wishes().keys() == {"a", "b"}


@pytest.mark.parametrize("version", sorted(file.stem for file in GOLDEN.glob("*.sql")))
def test_an_older_state_database_is_brought_up_to_date(version: str, tmp_path: Path) -> None:
    """The files are what released versions have written; they are never changed."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript((GOLDEN / f"{version}.sql").read_text())
    state = StateDatabase(make_url(f"sqlite:///{path}"))
    worker = state.workers()["orders"]
    assert (worker.phase, worker.worker, worker.exit_code) == ("running", "4242:99", None)
    assert worker.trouble == Trouble("transient", "cannot reach the source: away; wait", "wait", 100.5)
    assert [alarm.since for alarm in worker.alarms] == ([99.5] if version >= "0003" else [])
    figures = state.figures()["orders"]
    assert figures.tables == (TableFigures("sales.orders", "live", "", 10, 2, 12),)
    assert (figures.position, figures.lag, figures.lag_seconds) == ("0/1A2B", 4096, 0.5)
    state.wish(["orders"], paused=True)
    assert state.wishes()["orders"].paused
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchone() == (VERSION,)


def test_every_version_has_a_golden_file() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.sql"))[-1] == VERSION


def test_a_newer_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('9999')"
        )
    with pytest.raises(NeedsOperator, match=r"a newer Syncline wrote it"):
        StateDatabase(make_url(f"sqlite:///{path}")).wishes()


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("not a database " * 100)
    with pytest.raises(NeedsOperator, match=r"losing it loses no data"):
        StateDatabase(make_url(f"sqlite:///{path}")).wishes()


def test_it_is_made_anew_when_its_file_is_gone(tmp_path: Path) -> None:
    state = StateDatabase(make_url(f"sqlite:///{tmp_path}/a/state.db"))
    state.wish(["a"], paused=True)
    (tmp_path / "a/state.db").unlink()
    assert state.wishes() == {}
    state.wish(["a"], paused=False)
    assert not state.wishes()["a"].paused


def test_many_begin_at_once(state: StateDatabase) -> None:
    """The tables are made once, and nobody fails."""
    errors: list[BaseException] = []

    def write(number: int) -> None:
        own = StateDatabase(state._url)
        try:
            for _ in range(5):
                own.put_figures(f"p{number}", Figures(at=time.time()))
        except BaseException as error:
            errors.append(error)
        own.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(state.figures()) == 6


def test_a_password_is_in_no_message(postgres_url: str) -> None:
    url = make_url(postgres_url).set(password="s3cret-and-wrong")
    with pytest.raises(NeedsOperator) as caught:
        StateDatabase(url).wishes()
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tables_that_are_dropped_are_told_until_the_next_connection(
    postgres_database: Callable[[], str],
) -> None:
    url = postgres_database()
    state = StateDatabase(make_url(url))
    state.wish(["a"], paused=True)
    with psycopg.connect(url) as server:
        server.execute("DROP TABLE wishes, workers, figures, reports, configurations, apscheduler_jobs")
        server.execute("DROP TABLE alembic_version")
    with pytest.raises(NeedsOperator):
        state.wishes()
    assert state.wishes() == {}
    assert Wish() == Wish(False, 0.0)
    state.close()
