"""What a target leaves out is named: parts of tables that it makes, and tables that cannot be synced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from syncline.errors import Refused
from tests.conftest import Databases
from tests.runs import Notices, execute, sync, value, verdicts

SHOP = (
    "CREATE TABLE customer (id int PRIMARY KEY, email text)",
    "CREATE TABLE elsewhere (id int PRIMARY KEY)",
    "CREATE FUNCTION ours() RETURNS int LANGUAGE sql AS 'SELECT 7'",
    """CREATE TABLE orders (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES customer,
        place int REFERENCES elsewhere, number bigserial, plain int DEFAULT 5, own int DEFAULT ours(),
        made timestamptz DEFAULT now(), token uuid DEFAULT gen_random_uuid(),
        twice int GENERATED ALWAYS AS (plain * 2) STORED, tags text[])""",
    "CREATE INDEX by_tag ON orders USING gin (tags)",
    "CREATE INDEX by_twice ON orders (twice)",
    "CREATE INDEX by_plain ON orders (plain)",
    "CREATE UNIQUE INDEX one_big ON orders (plain) WHERE plain > 100",
    "INSERT INTO customer VALUES (1, 'a')",
    "INSERT INTO orders (customer, plain, own) VALUES (1, 3, 4)",
)

BOOKS = """
CREATE TABLE author (id INTEGER PRIMARY KEY);
CREATE TABLE book (
    id INTEGER PRIMARY KEY, author INTEGER REFERENCES author (id), price NUMERIC DEFAULT (1 + 1),
    at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, title TEXT DEFAULT 'none', shown TEXT AS (upper(title)),
    kept TEXT AS (lower(title)) STORED);
CREATE INDEX by_shown ON book (shown);
CREATE INDEX by_long ON book (length(title));
CREATE INDEX by_title ON book (title);
INSERT INTO author VALUES (1); INSERT INTO book (id, author) VALUES (1, 1);
"""


def of(notes: list[str], table: str) -> set[str]:
    """What the notes say of a table."""
    return {note.removeprefix(f"{table}: ") for note in notes if note.startswith(f"{table}: ")}


def books(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(BOOKS)
    return f"sqlite:///{path}"


def test_what_sqlite_cannot_make_of_postgresql_is_named(postgres_database: Databases, tmp_path: Path) -> None:
    source, target = postgres_database(), f"sqlite:///{tmp_path / 'target.db'}"
    execute(source, *SHOP)
    wanted = {
        "column number is not numbered at the target",
        "the default of column own (public.ours()) is not made at the target",
        "the default of column token (gen_random_uuid()) is not made at the target",
        "column twice, which is generated, is not made at the target",
        "index by_tag is not made at the target",
        "index by_twice is not made at the target",
        "index one_big is not made at the target",
    }
    planned = sync(source, target, dry_run=True)
    assert of(planned.notes, "orders") == wanted
    assert planned.exit_code == 0
    seen = Notices()
    report = sync(source, target, observer=seen)
    assert of(report.notes, "orders") == of(seen.texts, "orders") == wanted
    assert not of(report.notes, "customer")
    assert len(report.notes) == len(set(report.notes))
    assert verdicts(report) == {"customer": "equal", "elsewhere": "equal", "orders": "equal"}


def test_what_postgresql_cannot_make_of_sqlite_is_named(postgres_database: Databases, tmp_path: Path) -> None:
    source, target = books(tmp_path / "source.db"), postgres_database()
    wanted = {
        "the default of column price (1 + 1) is not made at the target",
        "column shown, which is generated, is not made at the target",
        "column kept, which is generated, is not made at the target",
        "index by_shown is not made at the target",
        "index by_long is not made at the target",
    }
    for report in (sync(source, target, dry_run=True), sync(source, target)):
        assert of(report.notes, "book") == wanted
    only = sync(source, postgres_database(), tables=["book"], dry_run=True)
    assert "the foreign key to author is not made at the target" in of(only.notes, "book")


def test_what_another_file_lacks_is_named(tmp_path: Path) -> None:
    source, target = books(tmp_path / "source.db"), tmp_path / "target.db"
    report = sync(source, f"sqlite:///{target}")
    assert of(report.notes, "book") == {
        "column shown, which is generated, is not made at the target",
        "column kept, which is generated, is not made at the target",
        "index by_shown is not made at the target",
    }
    assert verdicts(report) == {"author": "equal", "book": "equal"}
    with closing(sqlite3.connect(target)) as db:
        made = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
        assert {"by_long", "by_title"} <= made


def test_what_another_postgresql_refuses_is_named_once_it_is_known(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    execute(source, *SHOP)
    tables = ["customer", "orders"]
    planned = sync(source, target, tables=tables, dry_run=True)
    assert of(planned.notes, "orders") == {"the foreign key to elsewhere is not made at the target"}
    report = sync(source, target, tables=tables)
    assert of(report.notes, "orders") == {
        "the foreign key to elsewhere is not made at the target",
        "the default of column own (public.ours()) is not made at the target",
    }
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'orders'"
    assert value(target, indexes) == value(source, indexes)


def test_what_postgresql_has_and_no_log_tells_is_skipped_by_name(
    postgres_database: Databases, tmp_path: Path
) -> None:
    source = postgres_database()
    execute(
        source,
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM t",
        "CREATE UNLOGGED TABLE fast (id int PRIMARY KEY)",
        "SELECT lo_from_bytea(0, 'large'), lo_from_bytea(0, 'larger')",
    )
    seen = Notices()
    report = sync(source, f"sqlite:///{tmp_path / 'target.db'}", observer=seen)
    details = {str(table.table): table.detail for table in report.tables}
    assert verdicts(report) == {
        "t": "equal",
        "seen": "skipped",
        "kept": "skipped",
        "fast": "skipped",
        "pg_catalog.pg_largeobject": "skipped",
    }
    assert details["seen"] == "it is a view"
    assert details["kept"] == "it is a materialized view"
    assert "unlogged" in details["fast"]
    assert "2 large objects" in details["pg_catalog.pg_largeobject"]
    assert all(any(f"table {name}:" in text for text in seen.texts) for name in details if name != "t")
    assert report.exit_code == 1
    left_out = ["seen", "kept", "fast", "pg_catalog.*"]
    assert sync(source, f"sqlite:///{tmp_path / 'target.db'}", exclude=left_out).exit_code == 0


def test_a_database_without_large_objects_says_nothing_of_them(postgres_database: Databases) -> None:
    source = postgres_database()
    execute(source, "CREATE TABLE t (id int PRIMARY KEY)")
    report = sync(source, postgres_database(), dry_run=True)
    assert verdicts(report) == {"t": "would be copied"}


def test_what_sqlite_has_and_no_trigger_tells_is_skipped_by_name(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(
            """CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIEW seen AS SELECT * FROM t;
            CREATE VIRTUAL TABLE words USING fts5 (text);
            CREATE VIRTUAL TABLE box USING rtree (id, low, high)"""
        )
    seen = Notices()
    report = sync(f"sqlite:///{path}", f"sqlite:///{tmp_path / 'target.db'}", observer=seen)
    assert verdicts(report) == {"t": "equal", "seen": "skipped", "words": "skipped", "box": "skipped"}
    details = {str(table.table): table.detail for table in report.tables}
    assert "view" in details["seen"]
    assert "virtual table" in details["words"]
    assert "virtual table" in details["box"]
    assert all(any(f"table {name}:" in text for text in seen.texts) for name in ("seen", "words", "box"))


def test_an_identity_column_that_cannot_be_updated_is_refused_before_anything_runs(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL)", "INSERT INTO t VALUES (1, 5)")
    execute(target, "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)")
    with pytest.raises(Refused, match=r"column n is GENERATED ALWAYS.*SET GENERATED BY DEFAULT"):
        sync(source, target)
    assert value(target, "SELECT count(*) FROM pg_namespace WHERE nspname = 'syncline'") == 0
    execute(target, "ALTER TABLE t ALTER n SET GENERATED BY DEFAULT")
    assert verdicts(sync(source, target)) == {"t": "equal"}


def test_an_identity_column_that_is_the_key_may_be_always(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    table = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)"
    for url in (source, target):
        execute(url, table)
    execute(source, "INSERT INTO t (v) VALUES ('a'), ('b')")

    def change(*_: object, **__: object) -> None:
        with psycopg.connect(source) as connection:
            connection.execute("UPDATE t SET v = 'c' WHERE id = 1")
            connection.execute("INSERT INTO t (v) VALUES ('new')")

    assert verdicts(sync(source, target, after={"split": change})) == {"t": "equal"}
    assert value(target, "SELECT string_agg(v, ',' ORDER BY id) FROM t") == "c,b,new"
