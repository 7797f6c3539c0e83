"""What other processes do to a file while it is followed: the log stays whole, the writer meets no error."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from syncline.errors import Refused
from tests.runs import Following, sync, verdicts, wait_for

from .sqlite_files import STREAM, attach, changes, held, plain, source_of, told

BANK = """
import random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
chance = random.Random(int(sys.argv[2]))
for number in range(int(sys.argv[3])):
    db.execute("BEGIN IMMEDIATE")
    for _ in range(chance.randrange(1, 30)):
        one, other = chance.sample(range(20), 2)
        db.execute("UPDATE account SET held = held - 7, note = hex(randomblob(50)) WHERE id = ?", (one,))
        db.execute("UPDATE account SET held = held + 7 WHERE id = ?", (other,))
    db.execute("COMMIT" if chance.random() < 0.9 else "ROLLBACK")
    time.sleep(chance.random() / 30)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(plain(path)) as connection:
        yield connection


def run(code: str, *arguments: object) -> None:
    """A process of an application, to its end."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(plain(path)) as found:
        try:
            return found.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # not made yet


class Followed:
    """Tables of a file whose log is read from the floor on."""

    def __init__(self, path: Path, *names: str) -> None:
        self.source = source_of(path)
        self.schemas, self.floor = attach(self.source, *names)
        self._db = plain(path)
        self._seen = [held(self._db, schema) for schema in self.schemas]

    def check(self) -> None:
        """What was there and what the log tells are what is there."""
        for schema, rows in zip(self.schemas, self._seen, strict=True):
            batches = told(self.source, [schema], self.floor)
            rows = dict(rows)
            at = [schema.names.index(name) for name in schema.key]
            for kind, old, row in changes(batches):
                if old is not None:
                    rows.pop(old, None)
                if kind != "D":
                    rows[tuple(row[place] for place in at)] = row
            assert rows == held(self._db, schema), schema.table


def test_a_batch_ends_only_where_a_transaction_does(path: Path, db: sqlite3.Connection) -> None:
    db.executescript(
        """CREATE TABLE account (id INTEGER PRIMARY KEY, held INTEGER, note TEXT);
        WITH n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19)
            INSERT INTO account SELECT i, 100, '' FROM n"""
    )
    target = path.with_name("target.db")
    sums = "SELECT count(*), sum(held) FROM account"
    seen = set()
    with Following(f"sqlite:///{path}", f"sqlite:///{target}", max_bytes=3000):
        wait_for(lambda: rows(target, sums) == [(20, 2000)], "the copy")
        writers = [
            subprocess.Popen([sys.executable, "-c", BANK, str(path), str(seed), "100"]) for seed in (1, 2)
        ]
        with closing(plain(target)) as reader:
            while any(writer.poll() is None for writer in writers):
                balances = tuple(reader.execute("SELECT id, held FROM account ORDER BY id"))
                assert sum(held for _, held in balances) == 2000
                seen.add(balances)
        assert [writer.wait() for writer in writers] == [0, 0], "no writer met an error"
        wanted = rows(path, "SELECT * FROM account ORDER BY id")
        wait_for(lambda: rows(target, "SELECT * FROM account ORDER BY id") == wanted, "the end")
    assert len(seen) > 3, "the target was looked at between commits"


@pytest.mark.parametrize("recursive", [0, 1])
@pytest.mark.parametrize("shape", ["", " STRICT", " WITHOUT ROWID", " STRICT, WITHOUT ROWID"])
def test_tables_of_every_make_under_every_statement(
    path: Path, db: sqlite3.Connection, shape: str, recursive: int
) -> None:
    db.execute(f"PRAGMA recursive_triggers={recursive}")
    db.execute(f"CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, u INTEGER UNIQUE, v TEXT){shape}")
    followed = Followed(path, "t")
    for statement in (
        "INSERT INTO t VALUES ('a', 1, 'x'), ('b', 2, 'x'), ('c', 3, 'x')",
        "INSERT INTO t VALUES ('a', 9, 'y') ON CONFLICT (k) DO UPDATE SET v = excluded.v",
        "INSERT INTO t VALUES ('z', 2, 'y') ON CONFLICT (u) DO UPDATE SET k = excluded.k",
        "INSERT INTO t VALUES ('a', 9, 'n') ON CONFLICT DO NOTHING",
        "INSERT OR REPLACE INTO t VALUES ('d', 3, 'evicts c')",
        "REPLACE INTO t VALUES ('a', 2, 'evicts z')",
        "UPDATE OR REPLACE t SET u = 3 WHERE k = 'a'",
        "UPDATE OR IGNORE t SET k = 'q' WHERE u = 3",
        "UPDATE t SET v = v || '!', u = u + 100",
        "INSERT INTO t SELECT k || '2', u + 1, v FROM t",
    ):
        db.execute(statement)
        followed.check()


@pytest.mark.parametrize("sort", ["VIRTUAL", "STORED"])
def test_generated_columns_are_left_to_whoever_computes_them(
    path: Path, db: sqlite3.Connection, sort: str
) -> None:
    db.execute(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (a * 2) {sort} UNIQUE,"
        f" c TEXT AS ('<' || a || '>') {sort})"
    )
    followed = Followed(path, "t")
    (schema,) = followed.schemas
    assert schema.names == ("id", "a")
    db.execute("INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, NULL)")
    db.execute("INSERT OR REPLACE INTO t (id, a) VALUES (4, 2)")  # evicts 2 by the generated value
    db.execute("UPDATE OR REPLACE t SET a = 1 WHERE id = 3")  # evicts 1
    followed.check()
    assert set(held(db, schema)) == {(3,), (4,)}


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
@pytest.mark.parametrize("recursive", [0, 1])
def test_race_07_what_a_foreign_key_does_to_children_is_told(
    path: Path, db: sqlite3.Connection, action: str, recursive: int
) -> None:
    db.executescript(
        f"""PRAGMA foreign_keys=ON; PRAGMA recursive_triggers={recursive};
        CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE);
        CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER DEFAULT 0
            REFERENCES p (id) ON DELETE {action} ON UPDATE {action});
        CREATE TABLE g (id INTEGER PRIMARY KEY, c INTEGER DEFAULT 0
            REFERENCES c (id) ON DELETE {action} ON UPDATE {action});
        INSERT INTO p VALUES (0, 'zero'), (1, 'a'), (2, 'b'), (3, 'c');
        INSERT INTO c VALUES (0, 0), (10, 1), (20, 2), (30, 3);
        INSERT INTO g VALUES (1, 10), (2, 20), (3, 30)"""
    )
    followed = Followed(path, "p", "c", "g")
    db.execute("DELETE FROM p WHERE id = 1")
    followed.check()
    db.execute("UPDATE p SET id = 22 WHERE id = 2")
    db.execute("INSERT OR REPLACE INTO p VALUES (33, 'c')")  # evicts 3, and what its children make of it
    db.execute("UPDATE OR REPLACE p SET u = 'c' WHERE u = 'b'")
    followed.check()


def test_a_remade_table_fails_by_name_and_the_others_go_on(path: Path, db: sqlite3.Connection) -> None:
    db.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE o (id INTEGER PRIMARY KEY)"
    )
    target = path.with_name("target.db")
    with Following(f"sqlite:///{path}", f"sqlite:///{target}", schema="freeze"):
        wait_for(
            lambda: rows(target, "SELECT count(*) FROM _syncline_tables WHERE state = 'live'") == [(2,)],
            "live",
        )
        db.executescript(
            """PRAGMA foreign_keys=OFF; BEGIN;
            CREATE TABLE new__t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO new__t SELECT * FROM t;
            DROP TABLE t; ALTER TABLE new__t RENAME TO t; COMMIT; INSERT INTO o VALUES (1)"""
        )
        wait_for(lambda: rows(target, "SELECT id FROM o") == [(1,)], "the other table's row")
        state = rows(target, "SELECT state, detail FROM _syncline_tables WHERE tbl LIKE '%\"t\"%'")
    assert [(name, "triggers" in str(detail)) for name, detail in state] == [("failed", True)]


def test_a_writer_that_has_attached_two_sources_is_told_by_both(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    for file, table in ((path, "t"), (other, "o")):
        with closing(plain(file)) as made:
            made.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, u TEXT UNIQUE)")
    here, there = Followed(path, "t"), Followed(other, "o")
    with closing(plain(tmp_path / "app.db")) as app:
        app.executescript(
            f"""CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE);
            CREATE TABLE _syncline_log (x); CREATE TEMP TABLE _syncline_mark (x);
            ATTACH '{path}' AS one; ATTACH '{other}' AS "another; one";
            CREATE TEMP TRIGGER too AFTER INSERT ON one.t BEGIN
                INSERT OR REPLACE INTO o VALUES (NEW.id + 1000, NEW.u); END;
            BEGIN; INSERT INTO t VALUES (1, 'mine'); INSERT INTO one.t VALUES (1, 'a'), (2, 'b');
            INSERT OR REPLACE INTO one.t VALUES (3, 'a'); INSERT INTO "another; one".o VALUES (7, 'x');
            COMMIT;
            BEGIN; INSERT INTO one.t VALUES (9, 'z'); INSERT INTO "another; one".o VALUES (9, 'y'); ROLLBACK;
            UPDATE "another; one".o SET u = u || '!' WHERE id = 1002; DELETE FROM one.t WHERE id = 2"""
        )
        assert app.execute("SELECT count(*) FROM _syncline_log").fetchone() == (0,)
        assert app.execute("SELECT id, u FROM o ORDER BY id").fetchall() == [
            (7, "x"),
            (1002, "b!"),
            (1003, "a"),
        ]
    here.check()
    there.check()


def test_one_file_is_one_stream_whatever_it_is_called(
    path: Path, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    folder = path.parent / "elsewhere"
    folder.mkdir()
    (folder / "link.db").symlink_to(path)
    monkeypatch.chdir(folder)
    urls = [f"sqlite:///{path}", f"sqlite:///{folder}/link.db", "sqlite:///link.db", "sqlite:///../source.db"]
    assert len({source_of(Path(url.removeprefix("sqlite:///"))).identity() for url in urls}) == 1
    with Following(urls[1], "sqlite:///target.db"):
        wait_for(lambda: rows(folder / "target.db", "SELECT id FROM t") == [(1,)], "the copy")
        with closing(
            sqlite3.connect(f"file:{folder}/link.db?mode=rw", uri=True, isolation_level=None)
        ) as app:
            app.execute("INSERT INTO t VALUES (2)")
        wait_for(lambda: rows(folder / "target.db", "SELECT id FROM t") == [(1,), (2,)], "the row")
    db.execute("INSERT INTO t VALUES (3)")
    assert verdicts(sync(urls[3], f"sqlite:///{folder}/target.db")) == {"t": "equal"}
    assert rows(path, "SELECT name FROM sqlite_schema WHERE name LIKE '\\_sync%' ESCAPE '\\'") == []
    for url in (f"file:{path}?mode=ro&uri=true", f"{path}?mode=rw"):
        with pytest.raises(Refused, match="takes no parameters"):
            source_of(Path(url)).identity()


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_checkpoints_of_the_application_take_nothing_away(
    path: Path, db: sqlite3.Connection, mode: str
) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    target = path.with_name("target.db")
    with Following(f"sqlite:///{path}", f"sqlite:///{target}") as run:
        db.execute("PRAGMA busy_timeout=5000")
        for number in range(20):
            db.execute("INSERT INTO t VALUES (?, hex(randomblob(3000)))", (number,))
            db.execute(f"PRAGMA wal_checkpoint({mode})")
        wait_for(lambda: rows(target, "SELECT count(*) FROM t") == [(20,)], "the rows")
        assert run.error is None
    assert rows(target, "SELECT * FROM t") == rows(path, "SELECT * FROM t")


def test_a_vacuum_and_another_page_size_take_nothing_away(path: Path, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    target = path.with_name("target.db")
    with Following(f"sqlite:///{path}", f"sqlite:///{target}") as run:
        db.executemany("INSERT INTO t VALUES (?, hex(randomblob(500)))", [(number,) for number in range(300)])
        wait_for(lambda: rows(target, "SELECT count(*) FROM t") == [(300,)], "the rows")
        db.execute("DELETE FROM t WHERE id % 2")
        db.execute("VACUUM")
        db.execute("PRAGMA page_size=8192")  # stands still in WAL mode, and is no error
        db.execute("VACUUM")
        db.execute(f"VACUUM INTO '{path.with_name('vacuumed.db')}'")
        db.execute("UPDATE t SET v = 'after'")
        wait_for(lambda: rows(target, "SELECT count(*) FROM t WHERE v = 'after'") == [(150,)], "the rest")
        assert run.error is None
    db.executescript("PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL")
    assert db.execute("PRAGMA page_size").fetchone() == (8192,)
    db.execute("INSERT INTO t VALUES (1000, 'last')")
    assert verdicts(sync(f"sqlite:///{path}", f"sqlite:///{target}")) == {"t": "equal"}


def test_another_journal_mode_waits_for_the_end_of_the_run_and_is_lived_with(
    path: Path, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    target = path.with_name("target.db")
    urls = f"sqlite:///{path}", f"sqlite:///{target}"
    live = "SELECT state FROM _syncline_tables"
    db.execute("PRAGMA busy_timeout=100")
    with Following(*urls):
        wait_for(lambda: rows(target, live) == [("live",)], "live")
        db.execute("SELECT * FROM t").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            db.execute("PRAGMA journal_mode=DELETE")  # as with any second program
    db.close()  # takes -wal away
    assert not path.with_name(path.name + "-wal").exists()
    with closing(plain(path)) as again:
        assert again.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        again.execute("INSERT INTO t VALUES (1)")
        with Following(*urls) as run:
            wait_for(lambda: rows(target, "SELECT id FROM t") == [(1,)], "the row of before")
            for number in range(2, 100):
                again.execute("INSERT INTO t VALUES (?)", (number,))
            wait_for(lambda: len(rows(target, "SELECT id FROM t")) == 99, "the rows")
            assert run.error is None


def test_a_long_transaction_of_the_application_is_waited_for(path: Path, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    target = path.with_name("target.db")
    with Following(f"sqlite:///{path}", f"sqlite:///{target}") as run:
        wait_for(lambda: rows(target, "SELECT state FROM _syncline_tables") == [("live",)], "live")
        for first in (0, 10_000):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO t VALUES (?)", [(first + number,) for number in range(10_000)])
            db.execute("COMMIT")
            db.execute("BEGIN IMMEDIATE")  # while the log of the first is read, applied and to be pruned
            time.sleep(2.5)
            db.execute("COMMIT")
        wait_for(lambda: rows(target, "SELECT count(*) FROM t") == [(20_000,)], "the rows")
        wait_for(lambda: len(rows(path, "SELECT 1 FROM _syncline_log LIMIT 2")) == 1, "the pruning")
        assert run.error is None


def test_pruning_a_long_log_keeps_no_writer_waiting_for_its_time(path: Path, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    source = source_of(path)
    attach(source, "t")
    db.execute(
        "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        " INSERT INTO t SELECT i, 'v' FROM n"
    )
    end = source.ceiling()
    pruning = threading.Thread(target=source.release, args=(STREAM, end))
    db.execute("PRAGMA busy_timeout=5000")
    pruning.start()
    written = 0
    while pruning.is_alive():
        db.execute("UPDATE t SET v = 'w' WHERE id = ?", (written,))  # an error here fails the test
        written += 1
    pruning.join()
    assert written > 10, "writers come in between"
    assert db.execute("SELECT min(seq) FROM _syncline_log").fetchone() == (int(end.partition(".")[0]),)
