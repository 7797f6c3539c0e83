"""A file as target: values, tables, transactions."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.connectors.sqlite import SqliteTarget
from syncline.connectors.sqlite.declared import affinity, canonical, declare
from syncline.errors import NeedsOperator, Transient
from syncline.model import (
    CANONICAL,
    Column,
    ForeignKey,
    Identity,
    Index,
    Kind,
    Mark,
    Position,
    Rows,
    Schema,
    Span,
    TableName,
    TableState,
    Type,
    digest_rows,
)
from syncline.model.types import INTEGERS

from .sqlite_files import STREAM, live, plain, schema_of, source_of, target_of

VALUES: dict[Kind, list[Any]] = {
    Kind.BOOL: [True, False],
    Kind.INT8: [-128, 127],
    Kind.INT16: [-(2**15), 2**15 - 1],
    Kind.INT32: [-(2**31), 2**31 - 1],
    Kind.INT64: [-(2**63), 2**63 - 1, 0],
    Kind.UINT8: [0, 255],
    Kind.UINT16: [0, 65535],
    Kind.UINT32: [0, 2**32 - 1],
    Kind.UINT64: [0, 2**64 - 1],
    Kind.FLOAT32: [0.0, 1.5, math.inf, -math.inf, 1.100000023841858, 3.4028234663852886e38],
    Kind.FLOAT64: [0.0, 1.0, 0.1, 1e300, 5e-324, math.inf, -math.inf, 2.0**63],
    Kind.DECIMAL: [
        "1.10",
        "0.00",
        "-12345678901234567890.1234567890",
        "NaN",
        "Infinity",
        "-Infinity",
        "7",
        "1e1"[:1],
    ],
    Kind.TEXT: ["", "1", "1.0", "NULL", "a'b\"c\n", "\0", "🚀", " 1 ", "inf"],
    Kind.BYTES: [b"", b"\0\xff", b"1"],
    Kind.DATE: ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "12345-01-01"],
    Kind.TIME: ["00:00:00", "23:59:59.5", "24:00:00", "12:00:00.000001"],
    Kind.TIMESTAMP: [
        "2024-02-29 23:59:59.5",
        "infinity",
        "0044-03-15 00:00:00 BC",
        "294276-12-31 23:59:59.999999",
    ],
    Kind.TIMESTAMPTZ: ["2024-02-29 23:59:59.5+00", "-infinity", "0044-03-15 00:00:00+00 BC"],
    Kind.INTERVAL: ["P1Y2M3DT4H5M6.7S", "PT0S"],
    Kind.UUID: ["00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426614174000"],
    Kind.JSON: ["1", "1.0", "null", '{"a": 1.10}', '"x"', "[]"],
    Kind.ENUM: ["a", "1", ""],
}


def made(*columns: Column, key: tuple[str, ...] = ("id",), name: str = "t", **members: Any) -> Schema:
    return Schema(TableName(name), columns, key, members.pop("system", "postgresql"), **members)


def column(name: str, kind: Kind, **members: Any) -> Column:
    return Column(name, Type(kind), **members)


def rows_of(schema: Schema, *rows: tuple[Any, ...]) -> Rows:
    arrays = [
        pa.array([row[at] for row in rows], column.type.arrow) for at, column in enumerate(schema.stored)
    ]
    return Rows.of(schema.names, arrays)


def load(target: SqliteTarget, schema: Schema, *rows: tuple[Any, ...]) -> TableState:
    claim = target.claim(STREAM)
    state = live(schema, created=target.prepare(schema, aside=False))
    with target.begin_copy(claim, Mark(STREAM, {})) as apply:
        apply.load(state, rows_of(schema, *rows))
        apply.commit()
    return state


def upsert(target: SqliteTarget, state: TableState, *rows: tuple[Any, ...]) -> None:
    with target.begin_copy(target.claim(STREAM), Mark(STREAM, {})) as apply:
        apply.upsert(state, rows_of(state.schema, *rows))
        apply.commit()


def read(store: Any, schema: Schema) -> list[tuple[Any, ...]]:
    return sorted((row for rows in store.read(schema, Span()) for row in rows.tuples()), key=repr)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.db"


@pytest.mark.parametrize("kind", list(VALUES))
def test_every_kind_comes_back_as_it_was(path: Path, kind: Kind) -> None:
    schema = made(column("id", Kind.INT64, nullable=False), column("v", kind))
    rows = [(number, value) for number, value in enumerate([*VALUES[kind], None])]
    target = target_of(path)
    assert target.refusals(schema) == []
    load(target, schema, *rows)
    assert read(target, schema) == sorted(rows, key=repr)
    assert target.mismatch(schema) == ""
    back = schema_of(source_of(path), "t")
    assert back.column("v").type == Type(kind)
    assert read(source_of(path), back) == sorted(rows, key=repr)
    assert target.digest(schema, Span(), CANONICAL) == digest_rows(schema, [rows_of(schema, *rows)])


def test_what_is_declared_never_changes_a_value() -> None:
    for kind in Kind:
        if kind in (Kind.ARRAY, Kind.OPAQUE):
            continue
        declared = declare(Type(kind))
        assert canonical(declared) == Type(kind)
        wanted = "INTEGER" if kind in INTEGERS - {Kind.UINT64} else None
        wanted = {Kind.FLOAT32: "REAL", Kind.FLOAT64: "REAL", Kind.BYTES: "BLOB"}.get(kind, wanted)
        if wanted:
            assert affinity(declared) == wanted
        elif kind not in (Kind.BOOL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
            assert affinity(declared) == "TEXT"
    sized = [
        Type(Kind.TEXT, length=9),
        Type(Kind.DECIMAL, precision=38, scale=10),
        Type(Kind.BYTES, length=3),
    ]
    assert [canonical(declare(meaning)) for meaning in sized] == sized


@pytest.mark.parametrize("value", [math.nan, -0.0])
def test_a_float_that_sqlite_would_change_is_named(path: Path, value: float) -> None:
    schema = made(column("id", Kind.INT64, nullable=False), column("v", Kind.FLOAT64))
    with pytest.raises(NeedsOperator, match=r"t\.v: the row id=7 holds"):
        load(target_of(path), schema, (6, 1.0), (7, value))
    assert read(target_of(path), schema) == []


def test_types_without_an_exact_form_are_refused_by_name(path: Path) -> None:
    nameless = Type(Kind.OPAQUE, system="other")
    schema = made(
        column("id", Kind.INT64), Column("tags", Type(Kind.ARRAY, element=nameless)), Column("r", nameless)
    )
    sentences = target_of(path).refusals(schema)
    assert ["column tags (array(" in sentences[0], "column r" in sentences[1]] == [True, True]
    assert not path.exists()


@pytest.mark.parametrize(
    ("declared", "stored", "wanted"),
    [
        ("DECIMAL(10,2)", 1.1, "1.1"),
        ("DECIMAL(10,2)", "5.00", "5"),
        ("NUMERIC", 1e20, "100000000000000000000"),
        ("NUMERIC", -1.5e-7, "-0.00000015"),
        ("DATETIME", "2024-02-29T10:00:00.120000", "2024-02-29 10:00:00.12"),
        ("DATETIME", "2024-02-29", "2024-02-29 00:00:00"),
        ("datetime", "2024-02-29 10:00:00.000000", "2024-02-29 10:00:00"),
        ("TIMESTAMP WITH TIME ZONE", "2024-02-29 10:00:00+02:00", "2024-02-29 08:00:00+00"),
        ("TIME", "10:00", "10:00:00"),
        ("UUID", "123E4567-E89B-12D3-A456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("JSON", "123", "123"),
        ("varchar(20)", "x", "x"),
        ("bigint unsigned", 5, 5),
        ("", 5, "5"),
        ("", "it's", "'it''s'"),
        ("", b"\x01", "X'01'"),
        ("WHATEVER", -1.5, "-1.5"),
        ("REAL", -0.0, 0.0),
    ],
)
def test_what_applications_declare_means_and_copies(
    path: Path, tmp_path: Path, declared: str, stored: Any, wanted: Any
) -> None:
    db = plain(path)
    db.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
    db.execute("INSERT INTO t VALUES (1, ?)", (stored,))
    source = source_of(path)
    schema = schema_of(source, "t")
    assert read(source, schema) == [(1, wanted)]
    target = target_of(tmp_path / "copy.db")
    assert target.refusals(schema) == []
    load(target, schema, (1, wanted))
    assert target.digest(schema, Span(), CANONICAL) == source.digest(schema, Span(), CANONICAL)
    kinds = "SELECT typeof(v) FROM t"
    assert plain(tmp_path / "copy.db").execute(kinds).fetchall() == db.execute(kinds).fetchall()
    copied = schema_of(source_of(tmp_path / "copy.db"), "t")
    assert copied.column("v").type == schema.column("v").type


@pytest.mark.parametrize(
    ("declared", "stored"),
    [
        ("INTEGER", "abc"),
        ("INTEGER", 1.5),
        ("INT2", 40000),
        ("BOOLEAN", 2),
        ("REAL", "x"),
        ("TEXT", b"x"),
        ("BLOB", "x"),
        ("DATE", "yesterday"),
        ("DATETIME", 1700000000),
        ("DATETIME", "2024-01-01 00:00:00+02:00"),
        ("DATETIME", "2024-01-01 00:00:00.1234567"),
        ("TIMESTAMPTZ", "2024-01-01 00:00:00"),
        ("DECIMAL(10,2)", "dear"),
        ("UUID", "no"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_named(path: Path, declared: str, stored: Any) -> None:
    db = plain(path)
    db.execute(f"CREATE TABLE t (a TEXT NOT NULL, b INTEGER NOT NULL, v {declared}, PRIMARY KEY (a, b))")
    db.execute("INSERT INTO t VALUES ('x', 1, NULL), ('it''s', 2, ?)", (stored,))
    source = source_of(path)
    (rows,) = source.read(schema_of(source, "t"), Span())
    assert rows.tuples() == [("x", 1, None)], "the others are read"
    (refusal,) = rows.refused
    assert refusal.key == ("it's", 2)
    assert "the row a='it''s', b=2 holds" in refusal.reason


def test_a_table_is_made_with_key_defaults_indexes_and_references(path: Path) -> None:
    parent = made(column("id", Kind.INT32, nullable=False, identity=True), name="p")
    schema = made(
        column("k", Kind.INT64, nullable=False),
        Column("n", Type(Kind.TEXT), False, default="'it''s'::text"),
        Column("b", Type(Kind.BOOL), False, default="true"),
        Column("d", Type(Kind.DECIMAL, precision=5, scale=2), default="1.50"),
        Column("s", Type(Kind.INT32), default="nextval('x'::regclass)"),
        Column("at", Type(Kind.TIMESTAMPTZ), default="now()"),
        Column("p", Type(Kind.INT32)),
        key=("k",),
        indexes=(
            Index("t_n", ("n",), unique=True),
            Index("t_x", ("n",), portable=False),
            Index("p", ("p", "b")),
        ),
        foreign_keys=(ForeignKey("f", ("p",), parent.table, ("id",), on_delete="CASCADE"),),
    )
    target = target_of(path)
    claim = target.claim(STREAM)
    assert target.prepare(schema, aside=False) is True
    assert target.prepare(schema, aside=False) is False
    target.prepare(parent, aside=False)
    target.finish(claim, [live(schema, created=True), live(parent, created=True)])
    db = plain(path)
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("INSERT INTO p VALUES (1)")
    db.execute("INSERT INTO t (k, p) VALUES (5, 1)")
    (row,) = db.execute("SELECT n, b, typeof(d), d, s, at FROM t")
    assert row[:5] == ("it's", 1, "text", "1.50", None)
    assert read(target, schema)[0][5] == row[5]
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        db.execute("INSERT INTO t (k, n, p) VALUES (6, 'x', 2)")
    with pytest.raises(sqlite3.IntegrityError, match=r"t\.n"):
        db.execute("INSERT INTO t (k) VALUES (6)")
    with pytest.raises(sqlite3.IntegrityError, match=r"NOT NULL.*t\.k"):
        db.execute("INSERT INTO t (n) VALUES ('y')")
    found = schema_of(source_of(path), "t")
    assert [(index.columns, index.unique) for index in found.indexes] == [(("n",), True), (("p", "b"), False)]
    assert (found.key, found.column("k").identity) == (("k",), False)


def test_race_06_unique_values_swap_and_no_row_is_deleted(path: Path) -> None:
    schema = made(
        column("id", Kind.INT64, nullable=False),
        column("email", Kind.TEXT, nullable=False),
        column("place", Kind.INT32),
        indexes=(Index("e", ("email",), unique=True), Index("pl", ("place",), unique=True)),
    )
    target = target_of(path)
    state = load(target, schema, (1, "a", 1), (2, "b", 2), (3, "c", 3))
    target.finish(target.claim(STREAM), [state])
    db = plain(path)
    db.executescript(
        "CREATE TABLE gone (id);"
        " CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO gone VALUES (OLD.id); END"
    )
    upsert(target, state, (1, "b", 2), (2, "c", 3), (3, "a", 1))
    assert read(target, schema) == [(1, "b", 2), (2, "c", 3), (3, "a", 1)]
    assert db.execute("SELECT * FROM gone").fetchall() == []
    with pytest.raises(NeedsOperator, match="UNIQUE"):
        upsert(target, state, (4, "a", 9))
    assert len(read(target, schema)) == 3


def test_unsent_cells_stay_and_missing_rows_are_told(path: Path) -> None:
    schema = made(column("id", Kind.INT64), column("a", Kind.TEXT), column("b", Kind.TEXT))
    target = target_of(path)
    state = load(target, schema, (1, "a", "b"), (2, "a", "b"))
    arrays = [pa.array([1, 2, 3, 4]), pa.array([None, "x", "y", "z"]), pa.array(["n", None, None, "w"])]
    unsent = [None, pa.array([True, False, False, False]), pa.array([False, True, True, False])]
    with target.begin_copy(target.claim(STREAM), Mark(STREAM, {})) as apply:
        missing = apply.upsert(state, Rows.of(schema.names, arrays, unsent))
        apply.commit()
    assert missing.tuples() == [(3,)]
    assert read(target, schema) == [(1, "a", "n"), (2, "x", "b"), (4, "z", "w")]


def test_a_swap_keeps_what_refers_to_the_table(path: Path) -> None:
    db = plain(path)
    db.executescript(
        """CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT); INSERT INTO t VALUES (1, 'old');
        CREATE INDEX ix ON t (old);
        CREATE TABLE child (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t (id));
        INSERT INTO child VALUES (1, 1);
        CREATE VIEW seen AS SELECT id FROM t; CREATE TABLE told (id);
        CREATE TRIGGER tell AFTER INSERT ON t BEGIN INSERT INTO told VALUES (NEW.id); END;"""
    )
    schema = made(column("id", Kind.INT64), column("v", Kind.TEXT), indexes=(Index("ix", ("v",)),))
    target = target_of(path)
    claim = target.claim(STREAM)
    assert target.replaceable(schema) == ""
    assert target.prepare(schema, aside=True) is True
    state = live(schema, created=True, aside=True)
    with target.begin(claim, Mark(STREAM, {})) as apply:
        apply.start(Identity("x", "y", ""), Position("1"))
        apply.load(state, rows_of(schema, (1, "new")))
        apply.record([state])
        apply.commit()
    target.finish(claim, [state])
    assert db.execute("SELECT old FROM t").fetchall() == [("old",)]
    assert {found.table.name for found in target.discover()} == {"t", "child", "seen", "told"}
    target.swap(claim, [state])
    assert db.execute("SELECT v FROM t").fetchall() == [("new",)]
    assert db.execute("PRAGMA foreign_key_list(child)").fetchall()[0][2] == "t"
    db.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("DELETE FROM t")
    db.execute("INSERT INTO t VALUES (2, 'x')")
    assert db.execute("SELECT * FROM told").fetchall() == [(2,)]
    assert db.execute("SELECT id FROM seen ORDER BY id").fetchall() == [(1,), (2,)]
    assert [index.columns for index in schema_of(source_of(path), "t").indexes] == [("v",)]
    peeked = target.peek(STREAM)
    assert peeked is not None
    assert not peeked.tables[schema.table].aside
    target.forget(STREAM)
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema")]
    assert not [name for name in names if "_syncline_" in name]


def test_a_failed_swap_leaves_the_old_table(path: Path) -> None:
    db = plain(path)
    db.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT id FROM t"
    )
    schemas = [made(column("k", Kind.INT64), key=("k",), name=name) for name in ("t", "v")]
    target = target_of(path)
    claim = target.claim(STREAM)
    states = [live(schema, created=target.prepare(schema, aside=True), aside=True) for schema in schemas]
    assert target.replaceable(schemas[1]) == "v is a view"
    with pytest.raises(NeedsOperator):
        target.swap(claim, states)
    assert db.execute("SELECT id FROM v").fetchall() == [(1,)]
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_asking_makes_no_file(path: Path) -> None:
    target = target_of(path)
    schema = made(column("id", Kind.INT64))
    assert target.peek(STREAM) is None
    assert (target.mismatch(schema), target.holds_rows(schema), target.replaceable(schema)) == ("", False, "")
    assert (list(target.discover()), dict(target.sequences(schema))) == ([], {})
    assert target.identity().instance == str(path)
    target.forget(STREAM)
    assert not path.exists()


def test_a_locked_file_is_transient(path: Path) -> None:
    target = target_of(path)
    target.claim(STREAM)
    db = plain(path)
    db.execute("BEGIN IMMEDIATE")
    target._db.patience = 0.1
    with pytest.raises(Transient, match="holds the file's lock"):
        target.claim(STREAM)
    db.execute("ROLLBACK")
    target.claim(STREAM)


def test_a_full_disk_needs_the_operator(path: Path) -> None:
    schema = made(column("id", Kind.INT64), column("v", Kind.TEXT))
    target = target_of(path)
    state = load(target, schema, (1, "x"))
    pages = target._db.value("PRAGMA page_count")
    target._db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(NeedsOperator, match="disk is full"):
        upsert(target, state, *((number, "x" * 5000) for number in range(20)))
    assert read(target_of(path), schema) == [(1, "x")]


def test_a_mismatch_names_every_difference(path: Path) -> None:
    plain(path).executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, price DECIMAL(10,2), gone TEXT NOT NULL, u TEXT, n INTEGER)"
    )
    schema = made(
        column("id", Kind.INT64),
        column("price", Kind.DECIMAL),
        column("u", Kind.UUID),
        column("n", Kind.INT16),
        column("new", Kind.TEXT),
    )
    found = target_of(path).mismatch(schema)
    assert "column price is DECIMAL(10,2) and must be DECIMAL_TEXT" in found
    assert "column new is missing" in found
    assert "column gone is NOT NULL and not at the source" in found
    assert "column u" not in found
    assert "column n " not in found
    assert "key" in target_of(path).mismatch(made(column("u", Kind.TEXT), key=("u",)))


def test_the_statement_after_which_a_table_fits(path: Path) -> None:
    """One column can be added while there is no row; nothing else is altered in a file."""
    schema = made(column("id", Kind.INT64), column("v", Kind.TEXT), column("new", Kind.DATE))
    db = plain(path)
    db.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    statement = target_of(path).alteration(schema)
    assert statement == 'ALTER TABLE "t" ADD COLUMN "new" DATE'
    db.executescript("INSERT INTO t VALUES (1, 'x')")
    assert target_of(path).alteration(schema) == ""
    db.executescript(f"DELETE FROM t; {statement}")
    assert target_of(path).mismatch(schema) == target_of(path).alteration(schema) == ""
    assert target_of(path).alteration(made(column("id", Kind.INT64), column("v", Kind.BYTES))) == ""
