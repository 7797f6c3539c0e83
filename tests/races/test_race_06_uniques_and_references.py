"""Unique values that move, and foreign keys that act, at targets of every kind (Race 6): no surviving row is
ever deleted, whatever the target's own constraints and triggers would do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.conftest import Databases
from tests.runs import Following, execute, sync, verdicts, wait_for


@dataclass
class Target:
    """A target with tables of its own; `url` is of the role that Syncline has, `owner` of who made them."""

    url: str
    owner: str

    @property
    def is_file(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def is_plain(self) -> bool:
        return self.url != self.owner and not self.is_file

    def run(self, *statements: str) -> None:
        if not self.is_file:
            execute(self.owner, *statements)
            return
        with closing(sqlite3.connect(self.owner)) as file, file:
            for statement in statements:
                file.execute(statement)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        if not self.is_file:
            with psycopg.connect(self.owner) as connection:
                return connection.execute(query).fetchall()
        with closing(sqlite3.connect(self.owner)) as file:
            return file.execute(query).fetchall()

    def make(self, *statements: str, counted: Sequence[str] = ()) -> None:
        """Tables, and a trigger that counts the rows that each of them loses."""
        self.run(*statements, "CREATE TABLE gone (tbl text, id int)")
        for table in counted:
            if self.is_file:
                body = f"BEGIN INSERT INTO gone VALUES ('{table}', OLD.id); END"
                self.run(f"CREATE TRIGGER gone_{table} AFTER DELETE ON {table} {body}")
                continue
            self.run(
                "CREATE OR REPLACE FUNCTION note() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS"
                " $$ BEGIN INSERT INTO gone VALUES (TG_TABLE_NAME, OLD.id); RETURN OLD; END $$",
                f"CREATE TRIGGER gone_{table} AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION note()",
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER gone_{table}",
            )
        if self.is_plain:
            role = urlsplit(self.url).username
            self.run(
                "REVOKE ALL ON gone FROM PUBLIC",
                f'GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO "{role}"',
            )

    def gone(self) -> list[tuple[object, ...]]:
        """The rows that were deleted."""
        return sorted(self.rows("SELECT tbl, id FROM gone"))


@pytest.fixture(params=["superuser", "plain", "sqlite"])
def target(
    request: pytest.FixtureRequest, postgres_b_database: Databases, tmp_path: Path
) -> Iterator[Target]:
    if request.param == "sqlite":
        path = str(tmp_path / "target.db")
        yield Target(f"sqlite:///{path}", path)
        return
    owner = postgres_b_database()
    if request.param == "superuser":
        yield Target(owner, owner)
        return
    parts = urlsplit(owner)
    role = f"plain_{parts.path[1:]}"
    execute(
        owner,
        f"CREATE ROLE {role} LOGIN PASSWORD 'p'",
        f'GRANT CREATE, TEMP ON DATABASE "{parts.path[1:]}" TO {role}',
        f"GRANT USAGE, CREATE ON SCHEMA public TO {role}",
    )
    yield Target(urlunsplit(parts._replace(netloc=f"{role}:p@{parts.hostname}:{parts.port}")), owner)
    execute(owner, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


@pytest.fixture
def source(postgres_database: Databases) -> str:
    return postgres_database()


class Mirror:
    """Changes of a source in one batch, as one source transaction, and what the target then holds."""

    def __init__(self, source: str, target: Target, tables: Sequence[str]) -> None:
        self._source, self._target, self._tables = source, target, list(tables)

    def equal(self) -> bool:
        with psycopg.connect(self._source) as connection:
            return all(
                connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
                == self._target.rows(f"SELECT * FROM {table} ORDER BY id")
                for table in self._tables
            )

    def check(self, *transactions: Sequence[str], **options: int) -> None:
        with Following(self._source, self._target.url, tables=self._tables, **options) as following:
            wait_for(lambda: self.equal() or following.error is not None, "the copy")
            assert following.error is None
            wait_for(lambda: self._live(), "live")
            for statements in transactions:
                execute(self._source, *statements)
                wait_for(self.equal, f"{statements} at the target")
            assert following.error is None
        report = sync(self._source, self._target.url, tables=self._tables)
        assert verdicts(report) == dict.fromkeys(sorted(self._tables), "equal")

    def _live(self) -> bool:
        table = "_syncline_tables" if self._target.is_file else "syncline.tables"
        try:
            found = self._target.rows(f"SELECT state FROM {table}")
        except (psycopg.errors.UndefinedTable, sqlite3.OperationalError):
            return False
        return found == [("live",)] * len(self._tables)


UNIQUES = {
    "plain": "UNIQUE (mail)",
    "composite": "UNIQUE (mail, place)",
    "partial": "CREATE UNIQUE INDEX u ON t (mail) WHERE active",
    "expression": "CREATE UNIQUE INDEX u ON t (lower(mail))",
}


@pytest.mark.parametrize("needed", ["", "NOT NULL"], ids=["nullable", "not null"])
@pytest.mark.parametrize("kind", UNIQUES)
def test_race_06_unique_values_go_round(source: str, target: Target, kind: str, needed: str) -> None:
    unique = UNIQUES[kind]
    constraint = f", {unique}" if unique.startswith("UNIQUE") else ""
    tables = [
        f"CREATE TABLE t (id int PRIMARY KEY, mail text {needed}, place int, active boolean{constraint})",
        "CREATE TABLE child (id int PRIMARY KEY REFERENCES t ON DELETE CASCADE)",
    ]
    if not constraint:
        tables.append(unique)
    execute(source, *tables)
    fill = "INSERT INTO t SELECT n, 'm' || n, 1, true FROM generate_series(1, 9) n"
    execute(source, fill, "INSERT INTO child SELECT id FROM t")
    target.make(*tables, counted=["t", "child"])

    def mail(id: int, text: str) -> str:
        return f"UPDATE t SET mail = '{text}' WHERE id = {id}"

    Mirror(source, target, ["t", "child"]).check(
        # a swap, a chain of three, a chain whose end is free, and one whose value a deleted row leaves
        [mail(1, "x"), mail(2, "m1"), mail(1, "m2")],
        [mail(3, "x"), mail(5, "m3"), mail(4, "m5"), mail(3, "m4")],
        [mail(8, "free"), mail(7, "m8"), mail(6, "m7")],
        ["DELETE FROM t WHERE id = 9", mail(6, "m9"), "INSERT INTO t VALUES (10, 'm7', 1, true)"],
    )
    assert target.gone() == [("child", 9), ("t", 9)]


@pytest.mark.parametrize("kind", ["plain", "expression"])
def test_race_06_keys_that_collide_in_the_copy_wait_for_the_goal(
    source: str, target: Target, kind: str
) -> None:
    unique = UNIQUES[kind]
    tables = [
        "CREATE TABLE t (id int PRIMARY KEY, mail text)",
        unique if unique.startswith("CREATE") else "CREATE UNIQUE INDEX u ON t (mail)",
    ]
    execute(source, *tables, "INSERT INTO t SELECT n, 'm' || n FROM generate_series(1, 40) n")
    target.make(*tables, counted=["t"])
    left = [
        lambda: execute(
            source, "UPDATE t SET mail = 'new' WHERE id = 3", "UPDATE t SET mail = 'm3' WHERE id = 33"
        )
    ]

    def change(*_: object, **__: object) -> None:
        if left:
            left.pop()()

    report = sync(source, target.url, tables=["t"], after={"read": change}, span_rows=10, workers=1)
    assert verdicts(report) == {"t": "equal"}
    assert target.rows("SELECT id FROM t WHERE mail = 'm3'") == [(33,)]
    assert target.gone() == []


def test_race_06_a_child_that_moves_survives_its_parent(source: str, target: Target) -> None:
    """The target's own cascade would take the child, and its children, with the parent that it has left."""
    tables = [
        "CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE)",
        "CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE)",
        "CREATE TABLE grandchild (id int PRIMARY KEY, child_id int REFERENCES child ON DELETE CASCADE)",
        "CREATE TABLE loose (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE SET NULL)",
    ]
    execute(source, *tables, "INSERT INTO parent SELECT n, 'c' || n FROM generate_series(1, 6) n")
    execute(source, "INSERT INTO child SELECT n, n FROM generate_series(1, 6) n")
    execute(source, "INSERT INTO grandchild SELECT n, n FROM generate_series(1, 6) n")
    execute(source, "INSERT INTO loose SELECT n, n FROM generate_series(1, 6) n")
    target.make(*tables, counted=["parent", "child", "grandchild", "loose"])
    Mirror(source, target, ["parent", "child", "grandchild", "loose"]).check(
        [
            "UPDATE child SET parent_id = 2 WHERE id = 1",
            "UPDATE loose SET parent_id = 2 WHERE id = 1",
            "DELETE FROM parent WHERE id = 1",
        ],
        # A new parent takes the old one's code, and its child.
        [
            "UPDATE parent SET code = 'left' WHERE id = 3",
            "INSERT INTO parent VALUES (7, 'c3')",
            "UPDATE child SET parent_id = 7 WHERE id = 3",
            "DELETE FROM parent WHERE id = 3",
        ],
        # Gone and there again, with all that hung on it.
        [
            "DELETE FROM parent WHERE id = 4",
            "INSERT INTO parent VALUES (4, 'again')",
            "INSERT INTO child VALUES (4, 4)",
            "INSERT INTO grandchild VALUES (4, 4)",
            "UPDATE loose SET parent_id = 4 WHERE id = 4",
        ],
        ["DELETE FROM parent WHERE id = 5"],
    )
    assert target.gone() == [("child", 5), ("grandchild", 5), ("parent", 1), ("parent", 3), ("parent", 5)]


DEFERRABLE = pytest.mark.parametrize(
    "deferrable", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["at once", "deferrable"]
)


@DEFERRABLE
def test_race_06_references_to_oneself(source: str, target: Target, deferrable: str) -> None:
    tree = f"CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree {deferrable})"
    execute(source, tree, "INSERT INTO tree SELECT n, NULL FROM generate_series(1, 20) n")
    execute(source, "UPDATE tree SET up = 21 - id")
    target.make(tree, counted=["tree"])
    Mirror(source, target, ["tree"]).check(
        ["INSERT INTO tree VALUES (31, NULL), (30, 31)", "UPDATE tree SET up = 30 WHERE id = 31"],
        ["UPDATE tree SET up = NULL WHERE id = 1", "DELETE FROM tree WHERE id = 20"],
        span_rows=5,
    )
    assert target.gone() == [("tree", 20)]


def test_race_06_a_key_that_children_of_the_same_table_follow(source: str, target: Target) -> None:
    tree = "CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON UPDATE CASCADE, big text)"
    unsent = "ALTER TABLE tree ALTER big SET STORAGE EXTERNAL"
    execute(
        source, tree, unsent, "INSERT INTO tree SELECT n, 1, repeat('x', 3000) FROM generate_series(1, 9) n"
    )
    target.make(tree)
    # Not one cell of `big` is told: the parent is read again, after its children were to be written.
    Mirror(source, target, ["tree"]).check(["UPDATE tree SET id = 50 WHERE id = 1"], span_rows=5)


@DEFERRABLE
def test_race_06_a_row_that_the_target_does_not_let_go_is_parked(
    source: str, target: Target, deferrable: str
) -> None:
    if not target.is_plain:
        return  # no foreign key keeps a row there
    parent = "CREATE TABLE parent (id int PRIMARY KEY, name text)"
    execute(source, parent, "INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    target.make(parent, f"CREATE TABLE own (parent int REFERENCES parent {deferrable})")
    with Following(source, target.url, tables=["parent"]) as following:
        wait_for(lambda: target.rows("SELECT count(*) FROM parent") == [(3,)], "the copy")
        target.run("INSERT INTO own VALUES (2)")
        execute(source, "DELETE FROM parent WHERE id < 3", "UPDATE parent SET name = 'd'")
        wait_for(
            lambda: target.rows("SELECT name FROM parent WHERE id = 3") == [("d",)], "what lets itself go"
        )
        assert target.rows("SELECT id FROM parent ORDER BY id") == [(2,), (3,)]
        assert target.rows("SELECT key::text, reason LIKE '%own%' FROM syncline.parked") == [("[2]", True)]
        target.run("DELETE FROM own", "UPDATE syncline.parked SET asked = true")
        wait_for(lambda: target.rows("SELECT id FROM parent") == [(3,)], "the retry")
        assert following.error is None
    assert verdicts(sync(source, target.url, tables=["parent"])) == {"parent": "equal"}


def test_race_06_a_row_read_ahead_of_a_deferred_unique_value(source: str, target: Target) -> None:
    table = "CREATE TABLE t (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED, big text)"
    rows = "INSERT INTO t VALUES (1, 1, repeat('x', 3000)), (2, 2, repeat('y', 3000))"
    execute(source, table, "ALTER TABLE t ALTER big SET STORAGE EXTERNAL", rows)
    target.make(table.replace(" DEFERRABLE INITIALLY DEFERRED", "") if target.is_file else table)
    with Following(source, target.url, tables=["t"]):
        wait_for(lambda: target.rows("SELECT count(*) FROM t") == [(2,)], "the copy")
    # The row is read again for its `big`, and has by then the place that the log gives it only later.
    execute(source, "UPDATE t SET id = 10 WHERE id = 1")
    execute(source, "INSERT INTO t VALUES (3, 3, 'z')")
    execute(source, "UPDATE t SET place = 3 - place WHERE id IN (2, 10)")
    report = sync(source, target.url, tables=["t"], max_bytes=1)
    assert verdicts(report) == {"t": "equal"}


def test_race_06_a_parents_key_in_another_spelling(source: str, target: Target) -> None:
    parent = "CREATE TABLE parent (id numeric PRIMARY KEY, name text)"
    child = "CREATE TABLE child (id int PRIMARY KEY, parent numeric REFERENCES parent ON UPDATE CASCADE)"
    execute(source, parent, child, "INSERT INTO parent VALUES (1.0, 'a'), (2.0, 'b')")
    execute(source, "INSERT INTO child VALUES (1, 2.0)")
    if target.is_file:
        return  # other texts are other keys there, and are told apart
    target.make(parent, child, counted=["child"])
    with Following(source, target.url, tables=["parent", "child"]) as following:
        wait_for(lambda: target.rows("SELECT count(*) FROM child") == [(1,)], "the copy")
        execute(source, "UPDATE parent SET id = id::numeric(5, 2), name = 'c'")
        keys = "SELECT id::text FROM parent ORDER BY id"
        wait_for(lambda: target.rows(keys) == [("1.00",), ("2.00",)], "the new spelling")
        assert target.rows("SELECT parent::text FROM child") == [("2.00",)]
        execute(source, "DELETE FROM parent WHERE id = 1", "INSERT INTO parent VALUES (1, 'd')")
        wait_for(lambda: target.rows(keys) == [("1",), ("2.00",)], "a row deleted and made anew")
        assert following.error is None
    assert set(verdicts(sync(source, target.url)).values()) == {"equal"}
    assert target.gone() == []


def make_circle(source: str, target: Target, deferrable: str) -> None:
    """Two tables that refer to one another; SQLite takes a reference to what is not there yet."""
    b = f"CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a {deferrable})"
    made = [
        "CREATE TABLE a (id int PRIMARY KEY, b_id int)",
        b,
        f"ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b {deferrable}",
    ]
    execute(source, *made, "INSERT INTO a SELECT n, NULL FROM generate_series(1, 20) n")
    execute(source, "INSERT INTO b SELECT n, 21 - n FROM generate_series(1, 20) n", "UPDATE a SET b_id = id")
    if target.is_file:
        made = [f"CREATE TABLE a (id int PRIMARY KEY, b_id int REFERENCES b {deferrable})", b]
    target.make(*made, counted=["a", "b"])


@DEFERRABLE
def test_race_06_references_in_a_circle(source: str, target: Target, deferrable: str) -> None:
    make_circle(source, target, deferrable)
    if target.is_plain:
        # Each row waits for one of the other table, and this role may not switch the constraints off: it is
        # said by name, and nothing is called equal.
        report = sync(source, target.url, tables=["a", "b"])
        assert verdicts(report) == {"a": "parked", "b": "parked"}
        assert "_fkey" in report.tables[0].detail
        return
    Mirror(source, target, ["a", "b"]).check(
        [
            "INSERT INTO a VALUES (30, NULL)",
            "INSERT INTO b VALUES (30, 30)",
            "UPDATE a SET b_id = 30 WHERE id = 30",
        ],
        ["UPDATE a SET b_id = NULL WHERE id = 1", "DELETE FROM b WHERE id = 1"],
        span_rows=5,
    )
    assert target.gone() == [("b", 1)]
