"""Foreign keys between tables that come to live at different moments: each is there in the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from syncline import failpoints
from syncline.engine import stream as engine_stream
from tests.cli.command import start
from tests.conftest import Databases
from tests.runs import Following, execute, sync, value, verdicts, wait_for

TABLES = (
    "CREATE TABLE parent (id int PRIMARY KEY, a text)",
    "INSERT INTO parent SELECT g, 'a' || g FROM generate_series(1, 40) g",
    "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
    "INSERT INTO child SELECT g, g FROM generate_series(1, 40) g",
)
OLD = (
    "CREATE TABLE parent (id int PRIMARY KEY, a text)",
    "CREATE TABLE child (id int PRIMARY KEY, parent int)",
    "INSERT INTO parent VALUES (99, 'old')",
    "INSERT INTO child VALUES (99, 99)",
)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_stream, "CATALOG_SECONDS", 0.3)
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    source, target = postgres_database(), postgres_b_database()
    execute(source, *TABLES)
    return source, target


def keys(url: str) -> list[tuple[str, bool]]:
    """The foreign keys of the table `child`, and whether they hold for all of its rows."""
    query = "SELECT conname::text, convalidated FROM pg_constraint WHERE contype = 'f'"
    with psycopg.connect(url) as connection:
        return connection.execute(f"{query} AND conrelid = 'public.child'::regclass").fetchall()


def state(target: str, table: str) -> object:
    with suppress(psycopg.errors.UndefinedTable):
        return value(target, f"SELECT state FROM syncline.tables WHERE name = '{table}'")
    return None


def test_a_run_that_was_killed_before_it_made_them(pair: tuple[str, str]) -> None:
    """Tables that were built aside have theirs once they are in their places."""
    source, target = pair
    execute(target, *OLD)
    armed = {"SYNCLINE_FAILPOINTS": "live.after_commit=kill"}
    with start("sync", source, target, "--follow", "--replace", "--quiet", env=armed) as process:
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert keys(target) == []
    assert verdicts(sync(source, target)) == {"child": "equal", "parent": "equal"}
    assert keys(target) == [("child_parent_fkey", True)]


def test_an_index_that_somebody_dropped_does_not_come_back_with_them(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, "CREATE INDEX by_parent ON child (parent)")
    there = "SELECT to_regclass('public.by_parent') IS NOT NULL"
    with Following(source, target):
        wait_for(lambda: state(target, "child") == "live" == state(target, "parent"), "the first copy")
        wait_for(lambda: value(target, there) is True, "the index")
    execute(
        target, "DROP INDEX public.by_parent", "ALTER TABLE public.child DROP CONSTRAINT child_parent_fkey"
    )
    with Following(source, target) as following:
        wait_for(lambda: keys(target) == [("child_parent_fkey", True)], "the foreign key")
        assert following.error is None
    assert value(target, there) is False


def test_rows_of_a_table_that_stands_still_do_not_stop_a_swap(pair: tuple[str, str]) -> None:
    """The table that they refer to is copied anew, and their own was dropped, which was asked for by name."""
    source, target = pair
    with Following(source, target, tables=["child", "parent"]) as following:
        wait_for(lambda: state(target, "child") == "live" == state(target, "parent"), "the first copy")
        assert keys(target) == [("child_parent_fkey", True)]
        execute(source, "DROP TABLE child", "DELETE FROM parent WHERE id = 1")
        wait_for(lambda: state(target, "child") == "failed", "the stop")
        execute(source, "ALTER TABLE parent ADD x float8 DEFAULT random()")
        wait_for(lambda: _columns(target) == 3 and state(target, "parent") == "live", "the copy anew")
        assert following.error is None
    assert keys(target) == [("child_parent_fkey", False)]
    assert value(target, "SELECT count(*) FROM child") == 40
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        execute(target, "INSERT INTO public.child VALUES (1000, 1000)")


def test_a_key_holds_for_all_rows_once_they_have_their_parents(pair: tuple[str, str]) -> None:
    """The parent was copied beside when its child had rows to come that are gone by now."""
    source, target = pair
    with Following(source, target):
        wait_for(lambda: state(target, "child") == "live" == state(target, "parent"), "the first copy")
    definition = "FOREIGN KEY (parent) REFERENCES public.parent NOT VALID"
    execute(
        target,
        "ALTER TABLE public.child DROP CONSTRAINT child_parent_fkey",
        f"ALTER TABLE public.child ADD CONSTRAINT child_parent_fkey {definition}",
    )
    assert verdicts(sync(source, target)) == {"child": "equal", "parent": "equal"}
    assert keys(target) == [("child_parent_fkey", True)]


def _columns(target: str) -> object:
    query = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.parent'::regclass AND attnum > 0"
    return value(target, f"{query} AND NOT attisdropped")
