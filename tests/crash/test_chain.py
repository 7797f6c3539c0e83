"""The watch over the position row sees what it must see; the judge finds every kind of break."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.crash import chain
from tests.crash.chain import Link
from tests.crash.tables import Database

WHOLE = [
    Link("s", 1, None, None),
    Link("s", 1, None, "0/A"),
    Link("s", 2, "0/A", "0/10"),
    Link("t", 1, None, "7"),
    Link("s", 2, "0/10", "1/0"),
    Link("t", 2, "7", None),
    Link("t", 1, None, "5"),
]


def test_a_whole_chain_has_no_breaks() -> None:
    assert chain.breaks(WHOLE) == []


@pytest.mark.parametrize(
    ("link", "word"),
    [
        (Link("s", 2, "0/F0", "1/1"), "gap"),
        (Link("s", 2, None, "1/1"), "gap"),
        (Link("s", 2, "1/0", "1/0"), "go on"),
        (Link("s", 2, "1/0", "0/FFFFFFFF"), "go on"),
        (Link("s", 1, "1/0", "1/1"), "fence"),
    ],
)
def test_every_break_is_found(link: Link, word: str) -> None:
    (found,) = chain.breaks([*WHOLE, link])
    assert word in found


def test_the_watch_records_each_move(postgres_database: Callable[[], str], tmp_path: Path) -> None:
    urls = (postgres_database(), f"sqlite:///{tmp_path / 'target.db'}")
    columns = "(stream text PRIMARY KEY, fence bigint, position text)"
    with psycopg.connect(urls[0]) as connection:
        connection.execute(f"CREATE SCHEMA syncline; CREATE TABLE syncline.streams {columns}")
    file = sqlite3.connect(tmp_path / "target.db")
    file.execute(f"CREATE TABLE _syncline_streams {columns}")
    file.close()
    for url, table in zip(urls, ("syncline.streams", "_syncline_streams"), strict=True):
        database = Database(url)
        assert chain.install(database)
        if not database.sqlite:
            database.execute("SET session_replication_role = replica")
        database.execute(f"INSERT INTO {table} VALUES ('s', 1, NULL)")
        database.execute(f"UPDATE {table} SET fence = 2")
        database.execute(f"UPDATE {table} SET position = '0/A'")
        database.execute(f"UPDATE {table} SET position = '0/A'")
        database.execute(f"DELETE FROM {table}")
        assert chain.links(database) == [
            Link("s", 1, None, None),
            Link("s", 2, None, "0/A"),
            Link("s", 2, "0/A", None),
        ]
        database.close()


def test_there_is_nothing_to_watch_before_the_bookkeeping_is_there(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'target.db'}")
    assert not chain.install(database)
    database.close()


def test_a_row_that_came_without_the_position_or_twice_is_found(
    postgres_database: Callable[[], str], tmp_path: Path
) -> None:
    postgres = Database(postgres_database())
    postgres.execute("CREATE SCHEMA syncline")
    sqlite = Database(f"sqlite:///{tmp_path / 'target.db'}")
    for database, streams in ((postgres, "syncline.streams"), (sqlite, "_syncline_streams")):
        database.execute(f"CREATE TABLE {streams} (stream text PRIMARY KEY, fence int, position text)")
        database.execute("CREATE TABLE acks (writer int, counter int)")
        database.execute(f"INSERT INTO {streams} VALUES ('s', 1, '0/1')")
        assert chain.install(database)
        database.execute("INSERT INTO acks VALUES (1, 1)")
        chain.watch_rows(database)
        assert chain.faults(database) == ["none was written"]
        if not database.sqlite:
            database.execute("SET session_replication_role = replica")
        database.begin()
        database.execute("SAVEPOINT inner_one")
        database.execute("INSERT INTO acks VALUES (1, 2)")
        database.execute("RELEASE SAVEPOINT inner_one")
        database.execute(f"UPDATE {streams} SET position = '0/2'")
        database.execute("COMMIT")
        assert chain.faults(database) == []
    postgres.execute("INSERT INTO acks VALUES (1, 3)")
    assert chain.faults(postgres) == ["1 were written without the position having moved with them"]
    sqlite.execute("UPDATE acks SET counter = 2 WHERE counter = 2")
    assert chain.faults(sqlite) == ["1 were written more than once, such as (1, 2, 2)"]
    for database in (postgres, sqlite):
        database.close()
