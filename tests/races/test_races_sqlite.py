"""Races that meet a file."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from syncline.errors import Corruption, Superseded
from syncline.model import Identity, Mark, Position, Rows
from tests.connectors.sqlite_files import (
    STREAM,
    attach,
    changes,
    held,
    live,
    mark,
    plain,
    replayed,
    schema_of,
    source_of,
    target_of,
    told,
)
from tests.runs import Following, sync, verdicts, wait_for


def insert(path: Path, schema_name: str, path_of: tuple[str, ...], *keys: int) -> None:
    """One apply transaction of a stream whose rows came by these stores."""
    import pyarrow as pa

    target = target_of(path)
    schema = schema_of(target, schema_name)
    claim = target.claim("incoming")
    with target.begin(claim, mark(schema, *path_of)) as apply:
        apply.start(Identity("x", "y", ""), Position("1"))
        apply.upsert(live(schema), Rows.of(("id",), [pa.array(keys, pa.int64())]))
        apply.commit()
    target.close()


def test_race_16_rows_are_known_by_the_path_they_came_by(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    db = plain(path)
    db.executescript(
        """CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE own (id INTEGER PRIMARY KEY);
        CREATE TRIGGER also AFTER INSERT ON t BEGIN INSERT INTO own VALUES (NEW.id); END;"""
    )
    source = source_of(path)
    me = source.identity().id
    schemas, floor = attach(source, "t", "own")
    db.execute("INSERT INTO t VALUES (1)")
    insert(path, "t", ("aaa",), 2, 3)
    db.execute("INSERT INTO t VALUES (4)")
    insert(path, "t", ("aaa",), 5)
    insert(path, "t", ("ccc", "aaa"), 6)
    db.execute("INSERT INTO t VALUES (7)")

    everywhere = told(source, schemas, floor)
    by_path = [(s.table.name, s.path, s.count) for batch in everywhere for s in batch.segments]
    assert [found for found in by_path if found[0] == "t"] == [
        ("t", (me,), 1),
        ("t", ("aaa", me), 2),
        ("t", (me,), 1),
        ("t", ("aaa", me), 1),
        ("t", ("ccc", "aaa", me), 1),
        ("t", (me,), 1),
    ], "A's rows go on to C"
    assert all(path_of == (me,) for table, path_of, _ in by_path if table == "own")
    assert all(batch.complete for batch in everywhere)

    back = told(source, schemas, floor, skip="aaa")
    tables = {schema.table.name: schema for schema in schemas}
    keys = {
        name: [
            row[0]
            for batch in back
            for s in batch.segments
            if s.table.name == name
            for row in s.after.tuples()
        ]
        for name in tables
    }
    assert keys["t"] == [1, 4, 7], "A's rows do not go back to A"
    assert sorted(keys["own"]) == [1, 2, 3, 4, 5, 6, 7], "rows that a trigger added are the store's own"


def test_race_16_a_mark_is_never_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    target = target_of(path)
    claim = target.claim("incoming")
    with target.begin_copy(claim, mark(schema, "aaa")):
        pass
    with pytest.raises(ZeroDivisionError), target.begin_copy(claim, mark(schema, "aaa")):
        raise ZeroDivisionError
    db.execute("INSERT INTO t VALUES (1)")
    assert changes(told(source, [schema], floor, skip="aaa")) == [("I", None, (1,))]


def test_race_12_a_lock_that_is_held_makes_the_next_worker_wait(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    plain(path).execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    first, second = target_of(path), target_of(path)
    claim = first.claim(STREAM)
    apply = first.begin(claim, Mark(STREAM, {}))
    taken = []
    worker = threading.Thread(target=lambda: taken.append(second.claim(STREAM)))
    worker.start()
    worker.join(0.3)
    assert not taken
    apply.start(Identity("x", "y", ""), Position("1"))
    apply.commit()
    worker.join()
    assert (taken[0].fence, taken[0].position) == (claim.fence + 1, "1")
    with pytest.raises(Superseded):
        first.begin(claim.moved(Position("1")), Mark(STREAM, {}))
    with pytest.raises(Corruption):
        second.begin(taken[0].moved(Position("0")), Mark(STREAM, {}))


def test_race_02_a_table_added_while_a_writer_is_open_is_told_from_the_floor_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db, other = plain(path), plain(path)
    db.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (1)")
    source = source_of(path)
    found: list = []
    worker = threading.Thread(target=lambda: found.extend(attach(source, "t")))
    worker.start()
    worker.join(0.3)
    assert not found, "attach waits for the writer"
    db.execute("INSERT INTO t VALUES (2)")
    db.execute("COMMIT")
    worker.join()
    (schema,), floor = found
    other.execute("INSERT INTO t VALUES (3)")
    assert replayed(schema, told(source, [schema], floor)) == {(3,): (3,)}
    assert len(held(db, schema)) == 3, "what was before the floor is what the copy sees"


@pytest.mark.parametrize("restarted", [False, True], ids=["following", "restart"])
@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DROP TRIGGER _syncline_update_t", "its triggers are gone or changed"),
        (
            "CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO n SELECT id, v || '!' FROM t;"
            "DROP TABLE t; ALTER TABLE n RENAME TO t",
            "its triggers are gone or changed",
        ),
        (
            "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (9, 'new')",
            "its triggers are gone or changed",
        ),
    ],
    ids=["dropped trigger", "remade", "dropped and made anew"],
)
def test_race_07_a_file_whose_log_falls_silent_stops_its_table_by_name(
    tmp_path: Path, statement: str, why: str, restarted: bool
) -> None:
    db = plain(tmp_path / "a.db")
    db.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a');"
        "CREATE TABLE o (id INTEGER PRIMARY KEY)"
    )
    source, target = (f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db"))
    there = plain(tmp_path / "b.db")

    def states() -> dict[str, str]:
        if not there.execute("SELECT 1 FROM sqlite_schema WHERE name = '_syncline_tables'").fetchall():
            return {}
        rows = there.execute("SELECT schema, state FROM _syncline_tables").fetchall()
        return {json.loads(schema)["table"][1]: state for schema, state in rows}

    def is_live() -> bool:
        return states() == {"t": "live", "o": "live"}

    if restarted:
        with Following(source, target):
            wait_for(is_live, "the copy")
        db.executescript(f"BEGIN; {statement}; COMMIT")
    with Following(source, target, schema="freeze") as following:
        if not restarted:
            wait_for(is_live, "the copy")
            db.executescript(f"BEGIN; {statement}; COMMIT")
        wait_for(lambda: states().get("t") == "failed", "the stop")
        db.execute("INSERT INTO o VALUES (1)")
        wait_for(lambda: there.execute("SELECT count(*) FROM o").fetchone() == (1,), "another table's change")
        assert following.error is None
    detail = there.execute("SELECT detail FROM _syncline_tables WHERE state = 'failed'").fetchone()[0]
    assert detail == f"{why}; copy it anew with --replace --tables 't'"
    assert verdicts(sync(source, target, tables=["t"], replace=True)) == {"o": "equal", "t": "equal"}
    query = "SELECT * FROM t ORDER BY id"
    assert there.execute(query).fetchall() == db.execute(query).fetchall()
