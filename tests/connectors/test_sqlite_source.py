"""A file's log under what applications do to it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from syncline.errors import NeedsOperator, Refused
from syncline.model import Position, SchemaChange

from .sqlite_files import STREAM, attach, changes, held, plain, quiet, replayed, source_of, told

WRITER = """
import random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
chance, rounds = random.Random(int(sys.argv[2])), int(sys.argv[3])
for _ in range(rounds):
    db.execute("BEGIN IMMEDIATE")
    for _ in range(chance.randrange(1, 6)):
        key = chance.randrange(40)
        what = chance.random()
        if what < 0.3:
            row = (key, f"u{chance.randrange(60)}", chance.random())
            db.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", row)
        elif what < 0.5:
            db.execute("UPDATE OR REPLACE t SET id = ? WHERE id = ?", (chance.randrange(40), key))
        elif what < 0.7:
            db.execute("UPDATE OR REPLACE t SET u = ? WHERE id = ?", (f"u{chance.randrange(60)}", key))
        elif what < 0.8:
            db.execute("INSERT INTO t VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET v = v + 1", (key, f"u{key}"))
        elif what < 0.9:
            db.execute("INSERT OR IGNORE INTO t VALUES (?, ?, 9)", (key, f"u{key}"))
        else:
            db.execute("DELETE FROM t WHERE id = ?", (key,))
    db.execute("COMMIT" if chance.random() < 0.8 else "ROLLBACK")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


def test_a_missing_file_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such file"):
        source_of(tmp_path / "none.db").identity()
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(Refused, match="not a SQLite database"):
        source_of(tmp_path / "text.db").identity()


def test_a_read_only_file_is_refused_before_anything_is_changed(path: Path) -> None:
    plain(path).executescript("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    os.chmod(path, 0o444)
    os.chmod(path.parent, 0o555)
    code = """
import encodings.idna, os, sys, pyarrow.compute
from syncline.connectors.sqlite import connector
from syncline.errors import Refused
os.setuid(65534) if os.getuid() == 0 else None
source = connector.source("sqlite:///" + sys.argv[1])
try:
    source.attach("s", source.discover(), print)
except Refused as error:
    print(error)
"""
    for folder in list(path.parents)[1:-1]:
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            os.chmod(folder, folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    os.chmod(path.parent, 0o755)
    assert "read-only" in done.stdout, done.stderr


@pytest.mark.parametrize("recursive", [False, True])
def test_race_07_replace_evicts_by_another_unique_value(path: Path, recursive: bool) -> None:
    db = plain(path)
    db.execute(f"PRAGMA recursive_triggers={int(recursive)}")
    db.executescript(
        """CREATE TABLE t (id INTEGER PRIMARY KEY, email TEXT UNIQUE, a, b, c TEXT NOT NULL DEFAULT 'd');
        CREATE UNIQUE INDEX pair ON t (a, b) WHERE b > 0;
        CREATE UNIQUE INDEX low ON t (lower(email));
        ALTER TABLE t RENAME TO "we""ird t";
        """.replace("a, b, c", "a INTEGER, b INTEGER, c")
    )
    source = source_of(path)
    (schema,), floor = attach(source, 'we"ird t')
    insert = 'INSERT OR REPLACE INTO "we""ird t" (id, email, a, b) VALUES (?, ?, ?, ?)'
    db.executemany(insert, [(1, "a", 1, 1), (2, "b", 2, 2), (3, "c", 3, 3), (4, "d", 4, -1), (5, "e", 4, -1)])
    db.execute(insert, (6, "a", 6, 6))  # evicts 1
    db.execute(insert, (7, "g", 2, 2))  # evicts 2 by the partial index
    db.execute(insert, (8, "C", 8, 8))  # evicts 3 by the expression
    db.execute("""UPDATE OR REPLACE "we""ird t" SET email = 'g' WHERE id = 8""")  # evicts 7
    batches = told(source, [schema], floor)
    assert replayed(schema, batches) == held(db, schema)
    assert {key[0] for key in held(db, schema)} == {4, 5, 6, 8}
    assert {old[0] for kind, old, _ in changes(batches) if kind == "D"} == {1, 2, 3, 7}


def test_race_07_replace_evicts_by_a_default_and_by_the_rowid(path: Path) -> None:
    db = plain(path)
    db.executescript("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, e TEXT NOT NULL DEFAULT 'x' UNIQUE)")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    db.execute("INSERT INTO t (rowid, k, e) VALUES (10, 'a', 'x'), (20, 'b', 'y')")
    db.execute("INSERT OR REPLACE INTO t (k, e) VALUES ('c', NULL)")
    db.execute("INSERT OR REPLACE INTO t (rowid, k, e) VALUES (20, 'd', 'z')")
    assert {key[0] for key in held(db, schema)} == {"c", "d"}
    assert replayed(schema, told(source, [schema], floor)) == held(db, schema)


def test_triggers_of_the_application_may_run_before_or_after(path: Path) -> None:
    db = plain(path)
    db.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER DEFAULT 0)")
    first = """CREATE TRIGGER {0}_i AFTER INSERT ON t
            BEGIN UPDATE t SET v = v || '{0}' WHERE id = NEW.id; END;
        CREATE TRIGGER {0}_u AFTER UPDATE OF n ON t
            BEGIN UPDATE t SET v = v || '{0}u' WHERE id = NEW.id; END;"""
    db.executescript(first.format("early"))
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    db.executescript(first.format("late"))
    db.executescript(
        """CREATE TRIGGER back AFTER DELETE ON t WHEN OLD.id = 2
            BEGIN INSERT INTO t VALUES (2, 'again', 0); END;
        CREATE TRIGGER away AFTER INSERT ON t WHEN NEW.v = 'go' BEGIN DELETE FROM t WHERE id = NEW.id; END;
        CREATE TRIGGER move AFTER UPDATE OF id ON t WHEN NEW.id = 50
            BEGIN UPDATE t SET id = 51 WHERE id = 50; END;"""
    )
    db.executescript(
        """INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b'), (3, 'go'), (4, 'd');
        UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 2; UPDATE t SET id = 50 WHERE id = 4;"""
    )
    rows = replayed(schema, told(source, [schema], floor))
    assert rows == held(db, schema)
    assert set(rows) == {(1,), (2,), (51,)}


@pytest.mark.parametrize(
    "definition",
    [
        "id INTEGER PRIMARY KEY, v",
        "id INTEGER PRIMARY KEY AUTOINCREMENT, v",
        "v, id INTEGER, PRIMARY KEY (id)",
        "id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, v",
        "id BLOB NOT NULL UNIQUE, v",
    ],
)
@pytest.mark.parametrize("rowid", ["", " WITHOUT ROWID"])
def test_keys_of_every_make(path: Path, definition: str, rowid: str) -> None:
    if rowid and ("AUTOINCREMENT" in definition or "PRIMARY" not in definition):
        pytest.skip("no such table")
    db = plain(path)
    db.execute(f"CREATE TABLE t ({definition.replace(', v', ', v TEXT').replace('v, ', 'v TEXT, ')}){rowid}")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    assert schema.key == ("id",)
    keys = {
        "INTEGER": [-(2**63), -1, 0, 2**63 - 1],
        "TEXT": ["a", "", "Ä", "b'"],
        "BLOB": [b"", b"\0", b"a", b"b"],
    }
    made = next(keys[name] for name in keys if f"id {name}" in definition)
    db.executemany("INSERT INTO t (id, v) VALUES (?, 'x')", [(key,) for key in made])
    db.execute("UPDATE t SET v = NULL WHERE id = ?", (made[0],))
    if "NOCASE" in definition:
        db.execute("UPDATE t SET id = 'A' WHERE id = 'a'")
        db.execute("INSERT OR REPLACE INTO t (id, v) VALUES ('B''', 'y')")
    db.execute("DELETE FROM t WHERE id = ?", (made[1],))
    assert replayed(schema, told(source, [schema], floor)) == held(db, schema)
    db.execute("DELETE FROM t")
    assert replayed(schema, told(source, [schema], floor)) == {}


def test_lookups_of_the_triggers_use_the_key(path: Path) -> None:
    db = plain(path)
    db.executescript(
        "CREATE TABLE t (a INTEGER, b TEXT COLLATE NOCASE, PRIMARY KEY (a, b));"
        "CREATE TABLE u (id INTEGER PRIMARY KEY)"
    )
    for sql in (
        "SELECT 1 FROM t WHERE a IS ? COLLATE BINARY AND b IS ? COLLATE NOCASE",
        "SELECT 1 FROM u AS t WHERE t.id IS ? COLLATE BINARY",
    ):
        plan = db.execute(f"EXPLAIN QUERY PLAN {sql}", (1, "a")[: sql.count("?")]).fetchall()
        assert plan[0][3].startswith("SEARCH"), plan


def test_null_in_a_key_is_named(path: Path) -> None:
    db = plain(path)
    db.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v)")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    db.execute("INSERT INTO t VALUES (NULL, 1)")
    with pytest.raises(NeedsOperator, match=r"t\.k.*NULL in its key"):
        told(source, [schema], floor)


@pytest.mark.parametrize("seed", [pytest.param(random.randrange(10**6), id="any"), 7])
def test_writers_of_other_processes(path: Path, seed: int) -> None:
    print(f"seed {seed}")
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v REAL)")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seed + number), "150"])
        for number in range(3)
    ]
    found, at = [], floor
    while any(writer.poll() is None for writer in writers):
        batches = told(source, [schema], at, max_bytes=500)
        found += batches
        at = batches[-1].upto
        source.release(STREAM, at)
    found += told(source, [schema], at)
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert replayed(schema, found) == held(db, schema)
    assert len(found) > 1


def test_a_writer_killed_within_its_transaction_is_not_told(path: Path) -> None:
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    code = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size=1")
db.execute("INSERT INTO t VALUES (1)")
db.execute("BEGIN IMMEDIATE")
db.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(2, 20000)])
print("open", flush=True)
time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    notices: list[str] = []
    reached: list[Position] = []
    waiting = threading.Thread(target=lambda: reached.append(source_of(path).floor(notices.append)))
    waiting.start()
    while not notices:
        time.sleep(0.01)
    assert not reached, "a floor waits for the open transaction"
    assert changes(told(source, [schema], floor)) == [("I", None, (1,))]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    waiting.join()
    db.execute("INSERT INTO t VALUES (5)")
    assert replayed(schema, told(source, [schema], floor)) == {(1,): (1,), (5,): (5,)}


def test_two_readers_prune_only_what_both_have_released(path: Path) -> None:
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = source_of(path)
    (schema,), floor = attach(source, "t")
    attach(source, "t", stream="other")
    db.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(5000)])
    top = source.ceiling()
    source.release(STREAM, top)
    assert len(changes(told(source, [schema], floor, stream="other"))) == 5000
    source.release("other", top)
    assert db.execute("SELECT count(*) FROM _syncline_log").fetchone() == (1,)
    assert source.ceiling() == top
    db.execute("INSERT INTO t VALUES (5000)")
    assert changes(told(source, [schema], top)) == [("I", None, (5000,))]
    with pytest.raises(NeedsOperator, match="gap"):
        source.check_log(STREAM, floor)


def test_an_older_file_in_its_place_is_a_gap(path: Path) -> None:
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = source_of(path)
    (schema,), _ = attach(source, "t")
    with sqlite3.connect(path.with_name("backup.db")) as backup:
        db.backup(backup)
    db.execute("INSERT INTO t VALUES (1)")
    position = source.ceiling()
    backup.close()
    with pytest.raises(NeedsOperator, match="older file"):
        source_of(path.with_name("backup.db")).check_log(STREAM, position)
    source.detach(STREAM)
    source.attach(STREAM, [schema], quiet)
    with pytest.raises(NeedsOperator, match="gap"):
        source.check_log(STREAM, position)


def schema_changes(batches: list) -> list[str]:
    return [s.description for batch in batches for s in batch.segments if isinstance(s, SchemaChange)]


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("ALTER TABLE t ADD COLUMN w TEXT", "column w is new"),
        ("ALTER TABLE t RENAME COLUMN v TO w", "column v is gone"),
        ("ALTER TABLE t RENAME TO s", "the table is gone"),
        ("DROP TRIGGER _syncline_update_t", "triggers"),
        ("CREATE UNIQUE INDEX late ON t (v)", "triggers"),
        (
            "CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT, x TEXT); INSERT INTO n SELECT * FROM t;"
            "DROP TABLE t; ALTER TABLE n RENAME TO t",
            "triggers are gone",
        ),
    ],
)
def test_race_07_what_the_triggers_no_longer_tell_is_a_schema_change(
    path: Path, statement: str, word: str
) -> None:
    db = plain(path)
    db.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, x TEXT); CREATE TABLE o (id INTEGER PRIMARY KEY)"
    )
    source = source_of(path)
    schemas, floor = attach(source, "t", "o")
    reader = source.changes(STREAM, schemas, floor, skip="", max_bytes=1 << 20, max_wait=0.2)
    db.execute("INSERT INTO t VALUES (1, 'a', 'x')")
    first = next(reader)
    assert changes([first]) == [("I", None, (1, "a", "x"))]
    db.executescript(f"BEGIN; {statement}; COMMIT")
    db.execute("INSERT INTO o VALUES (1)")
    batches = [next(reader), next(reader)]
    assert [word in text for text in schema_changes(batches)] == [True]
    assert ("I", None, (1,)) in changes(batches)
    again = told(source_of(path), schemas, first.upto)
    assert [word in text for text in schema_changes(again)] == [True]


def test_a_column_cannot_be_dropped_under_the_triggers(path: Path) -> None:
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    source = source_of(path)
    attach(source, "t")
    with pytest.raises(sqlite3.OperationalError, match="_syncline_"):
        db.execute("ALTER TABLE t DROP COLUMN x")
    source.detach(STREAM)
    db.execute("ALTER TABLE t DROP COLUMN x")


def test_detach_gives_the_file_back_as_it_was(path: Path) -> None:
    db = plain(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    before = db.execute("SELECT * FROM sqlite_schema").fetchall()
    db.close()
    source = source_of(path)
    attach(source, "t")
    source.release(STREAM, source.ceiling())
    source.detach(STREAM)
    source.close()
    db = plain(path)
    assert db.execute("SELECT * FROM sqlite_schema").fetchall() == before
    assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_idle_asks_little(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(path).execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source = source_of(path)
    schemas, floor = attach(source, "t")
    asked: list[str] = []
    real = source._db.rows
    monkeypatch.setattr(source._db, "rows", lambda sql, *args: (asked.append(sql), real(sql, *args))[1])
    reader = source.changes(STREAM, schemas, floor, skip="", max_bytes=1 << 20, max_wait=1.0)
    next(reader)
    asked.clear()
    next(reader)
    assert set(asked) == {"PRAGMA data_version"}
    assert len(asked) <= 12


@pytest.mark.parametrize("seed", [pytest.param(random.randrange(10**6), id="any"), 11])
def test_race_07_every_prefix_of_the_log_is_a_state_that_was(path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    db = plain(path)
    db.executescript(
        """PRAGMA foreign_keys=ON;
        CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INTEGER);
        CREATE TABLE c (id INTEGER PRIMARY KEY, t INTEGER
            REFERENCES t (id) ON DELETE CASCADE ON UPDATE CASCADE)"""
    )
    source = source_of(path)
    schemas, floor = attach(source, "t", "c")
    statements = [
        "INSERT OR REPLACE INTO t VALUES (:k, :u, :n)",
        "INSERT OR REPLACE INTO t VALUES (:k, :u, :n), (:n, :w, 0)",
        "INSERT OR IGNORE INTO t VALUES (:k, :u, :n)",
        "INSERT INTO t VALUES (:k, :u, :n) ON CONFLICT DO UPDATE SET v = v + 1",
        "UPDATE OR REPLACE t SET u = :u WHERE id = :k",
        "UPDATE OR IGNORE t SET id = :n WHERE id = :k",
        "INSERT OR IGNORE INTO c SELECT :n, id FROM t WHERE id = :k",
        "DELETE FROM t WHERE id = :k",
    ]
    states = []
    for _ in range(100):
        cells: dict[str, object] = {"k": chance.randrange(9), "n": chance.randrange(9)}
        cells |= {"u": chance.choice("abcde"), "w": chance.choice("xy")}
        db.execute(chance.choice(statements), cells)
        states.append((source.ceiling(), [held(db, schema) for schema in schemas]))
    for until, wanted in states:
        for schema, rows in zip(schemas, wanted, strict=True):
            read = source.changes(
                STREAM,
                [schema],
                floor,
                skip="",
                max_bytes=chance.choice([1, 1 << 20]),
                max_wait=0.1,
                until=until,
            )
            assert replayed(schema, list(read)) == rows


def test_the_catalog_is_read_once_for_every_schema_of_the_file(path: Path) -> None:
    """Whoever follows looks every few seconds: many tables at rest must cost no more than one."""
    db = plain(path)
    for number in range(20):
        db.execute(f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, v TEXT)")
    source = source_of(path)
    schemas, _ = attach(source, *(f"t{number}" for number in range(20)))

    def statements(look: Callable[[], object]) -> list[str]:
        seen: list[str] = []
        source._db._db.set_trace_callback(seen.append)
        look()
        source._db._db.set_trace_callback(None)
        return [statement for statement in seen if "t1" in statement or "count(" in statement]

    source.inspect(schemas)
    source.discover()
    assert statements(lambda: source.inspect(schemas)) == statements(source.discover) == []
    db.execute("INSERT INTO t1 VALUES (1, 'x')")
    assert statements(lambda: source.inspect(schemas)) == statements(source.discover) == []
    assert statements(lambda: source.inspect(schemas[1:2]))  # other tables are another question
    db.execute("CREATE TABLE new (id INTEGER PRIMARY KEY)")
    assert "new" in {schema.table.name for schema in source.discover()}
    assert source.inspect(schemas) == []
    db.execute("ALTER TABLE t1 ADD COLUMN more TEXT")
    for _ in range(2):  # what is wrong is told until it is not
        assert [seen.table.name for seen in source.inspect(schemas)] == ["t1"]
