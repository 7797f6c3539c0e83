"""Names that nobody would choose, and databases that have them all the same: carried as they are, or refused
by name before anything runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncline.errors import Refused
from tests.conftest import Databases
from tests.oracle import compare
from tests.runs import Following, execute, sync, value, verdicts, wait_for

from .stores import SORTS, Stores, rows, run

LONG = "é" * 31


@pytest.fixture
def stores(postgres_database: Databases, postgres_b_database: Databases, tmp_path: Path) -> Stores:
    return Stores(postgres_database, postgres_b_database, tmp_path)


def followed(source: str, target: str, table: str, *changes: str, count: int) -> None:
    """Copy, apply changes as they come, compare by Syncline and by plain drivers."""
    with Following(source, target):
        states = "_syncline_tables" if target.startswith("sqlite:") else "syncline.tables"
        # Else the copy may bring what is to come by the log.
        wait_for(lambda: bool(rows(target, f"{states} WHERE state = 'live'")), "a live table")
        wait_for(lambda: not rows(target, f"{states} WHERE state <> 'live'"), "live tables")
        run(source, *changes)
        wait_for(lambda: rows(target, table) == count, "the changes")
    assert set(verdicts(sync(source, target)).values()) == {"equal"}
    assert compare(source, target) == []


@pytest.mark.parametrize("sorts", SORTS)
def test_quotes_dots_percent_signs_and_line_ends(stores: Stores, sorts: str) -> None:
    source, target = stores.pair(sorts)
    table = '"we""ird.ta%ble\n{x} %s :p ?"'
    columns = (
        '"c.d" text, "100%" int, "new\nline" text, "{}" text, "%s" int, ":p" int, "?" text, "it\'s" text'
    )
    run(source, f'CREATE TABLE {table} ("a""b" int PRIMARY KEY, {columns}, "\\back" text, " lead" text)')
    run(source, *(f'INSERT INTO {table} ("a""b", "%s") VALUES ({n}, {n})' for n in range(5)))
    changes = (
        f'UPDATE {table} SET "%s" = -1, "?" = \'?\', "it\'s" = \'"\'',
        f'DELETE FROM {table} WHERE "a""b" = 4',
    )
    followed(source, target, table, *changes, count=4)


@pytest.mark.parametrize("sorts", SORTS)
def test_names_as_long_as_can_be_that_differ_in_their_last_letter(stores: Stores, sorts: str) -> None:
    source, target = stores.pair(sorts)
    run(source, f'CREATE TABLE "{LONG}x" (id int PRIMARY KEY, "{LONG}x" text UNIQUE, "{LONG}y" int)')
    run(
        source,
        f'CREATE TABLE "{LONG}y" (id int PRIMARY KEY REFERENCES "{LONG}x" (id), "{LONG}x" text UNIQUE)',
    )
    run(source, f"INSERT INTO \"{LONG}x\" VALUES (1, 'a', 1), (2, 'b', 2)")
    run(source, f"INSERT INTO \"{LONG}y\" VALUES (1, 'a')")
    changes = (
        f'UPDATE "{LONG}x" SET "{LONG}x" = \'c\' WHERE id = 1',
        f"INSERT INTO \"{LONG}y\" VALUES (2, 'd')",
    )
    followed(source, target, f'"{LONG}y"', *changes, count=2)
    assert set(verdicts(sync(source, target, replace=True)).values()) == {"equal"}


@pytest.mark.parametrize("sorts", SORTS)
def test_words_that_mean_something_in_sql_or_to_us(stores: Stores, sorts: str) -> None:
    source, target = stores.pair(sorts)
    run(source, 'CREATE TABLE excluded (id int PRIMARY KEY, excluded int, old int, "new" int, t int, s int)')
    run(source, "INSERT INTO excluded VALUES (1, 2, 3, 4, 5, 6)")
    words = (
        '"from" int PRIMARY KEY, "order" int, "table" int, _synced_at int, rowid int, oid int, _rowid_ int'
    )
    run(source, f'CREATE TABLE "select" ({words})', 'INSERT INTO "select" VALUES (1, 2, 3, 4, 5, 6, 7)')
    changes = "UPDATE excluded SET excluded = 20, t = 50", 'UPDATE "select" SET rowid = 50, _synced_at = 40'
    followed(source, target, "excluded", *changes, "INSERT INTO excluded (id) VALUES (2)", count=2)


@pytest.mark.parametrize("sorts", ["postgresql-postgresql", "postgresql-sqlite"])
def test_tables_of_one_name_in_several_schemas(stores: Stores, sorts: str) -> None:
    source, target = stores.pair(sorts)
    execute(source, "CREATE SCHEMA a", "CREATE SCHEMA b")
    for schema in ("a", "b", "public"):
        execute(source, f"CREATE TABLE {schema}.t (id int PRIMARY KEY, at text DEFAULT '{schema}')")
        execute(source, f"INSERT INTO {schema}.t VALUES (1), (2)")
    changes = (
        "DELETE FROM a.t WHERE id = 1",
        "UPDATE b.t SET id = 3 WHERE id = 1",
        "INSERT INTO public.t VALUES (3)",
    )
    followed(source, target, "t", *changes, count=3)


def test_a_schema_that_is_called_like_ours(stores: Stores) -> None:
    source, target = stores.pair("postgresql-postgresql")
    execute(source, "CREATE SCHEMA syncline", "CREATE TABLE syncline.mine (id int PRIMARY KEY)")
    execute(source, "INSERT INTO syncline.mine VALUES (1)")
    followed(source, target, "syncline.mine", "INSERT INTO syncline.mine VALUES (2)", count=2)


def test_names_that_differ_in_case_are_two_tables_in_postgresql(stores: Stores) -> None:
    source, target = stores.pair("postgresql-postgresql")
    execute(
        source,
        'CREATE TABLE "Items" (id int PRIMARY KEY, a int, "A" int)',
        'INSERT INTO "Items" VALUES (1, 2, 3)',
    )
    execute(source, "CREATE TABLE items (id int PRIMARY KEY)")
    followed(source, target, "items", "INSERT INTO items VALUES (7)", 'UPDATE "Items" SET "A" = 9', count=1)


def test_names_that_would_be_one_in_a_file_are_refused(stores: Stores) -> None:
    source, target = stores.pair("postgresql-sqlite")
    execute(source, 'CREATE TABLE "Items" (id int PRIMARY KEY)', "CREATE TABLE items (id int PRIMARY KEY)")
    execute(source, 'CREATE TABLE twins (id int PRIMARY KEY, a int, "A" int)')
    with pytest.raises(Refused, match=r"Items and items: both would be items at .*; leave one out"):
        sync(source, target)
    assert verdicts(sync(source, target, exclude=("Items",))) == {"items": "equal", "twins": "skipped"}
    with pytest.raises(Refused, match="columns a and A would be one in SQLite"):
        sync(source, target, tables=("twins",))


def test_a_table_of_a_file_in_another_case_is_that_table(stores: Stores) -> None:
    source, target = stores.pair("postgresql-sqlite")
    execute(source, "CREATE TABLE items (id int PRIMARY KEY)", "INSERT INTO items VALUES (1)")
    run(target, "CREATE TABLE ITEMS (id int PRIMARY KEY)", "INSERT INTO ITEMS VALUES (2)")
    with pytest.raises(Refused, match="holds other rows in items"):
        sync(source, target)
    assert rows(target, "ITEMS") == 1


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("id int PRIMARY KEY, ctid int", "every table of PostgreSQL has a column ctid of its own"),
        ('id int PRIMARY KEY, "" int', "a column of it has an empty name"),
        (f'id int PRIMARY KEY, "{LONG}xy" int', "takes more than 63 bytes"),
        (", ".join(["id int PRIMARY KEY", *(f"c{n} int" for n in range(1600))]), "it has 1,601 columns"),
    ],
)
def test_columns_that_postgresql_does_not_take_are_refused(stores: Stores, columns: str, why: str) -> None:
    source, target = stores.pair("sqlite-postgresql")
    run(source, f"CREATE TABLE t ({columns})", "CREATE TABLE u (id int PRIMARY KEY)")
    with pytest.raises(Refused, match=why):
        sync(source, target, tables=("t",))
    assert verdicts(sync(source, target)) == {"t": "skipped", "u": "equal"}


@pytest.mark.parametrize(
    ("taken", "why"),
    [
        ("CREATE SEQUENCE t", "it is a sequence"),
        ("CREATE TABLE other (id int); CREATE INDEX t ON other (id)", "it is an index"),
        ("CREATE TYPE t AS ENUM ('a')", "a type has its name"),
        ("CREATE TYPE t AS (a int)", "it is a type"),
        (
            "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE t PARTITION OF p DEFAULT",
            "it is a partition",
        ),
    ],
)
def test_a_name_that_something_else_has_at_the_server_is_refused(
    stores: Stores, taken: str, why: str
) -> None:
    source, target = stores.pair("postgresql-postgresql")
    execute(source, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    execute(target, taken)
    with pytest.raises(Refused, match=f"t is no table at .*: {why}.*; rename that"):
        sync(source, target)
    assert value(source, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0


def test_a_name_that_an_index_of_the_file_has_is_refused(stores: Stores) -> None:
    source, target = stores.pair("postgresql-sqlite")
    execute(source, "CREATE TABLE t (id int PRIMARY KEY)")
    run(target, "CREATE TABLE other (id int)", "CREATE INDEX t ON other (id)")
    with pytest.raises(Refused, match=r"t is no table at .*: it is an index; rename that"):
        sync(source, target)


def test_indexes_whose_names_differ_in_case(stores: Stores) -> None:
    source, target = stores.pair("postgresql-sqlite")
    execute(
        source,
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int)",
        "CREATE INDEX i ON t (a)",
        'CREATE INDEX "I" ON t (b)',
    )
    assert verdicts(sync(source, target)) == {"t": "equal"}
    with closing(sqlite3.connect(target.removeprefix("sqlite:///"))) as file:
        made = file.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        assert made.fetchone() == (2,)
