"""Every type that an application of MariaDB or MySQL may have: discovered, made elsewhere, read, written."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from syncline.connectors.mysql.store import MysqlStore
from syncline.connectors.mysql.target import MysqlTarget
from syncline.model import Mark, Schema, Span, State, TableState
from tests import mysql_family
from tests.conftest import Databases

STREAM = "syncline_dialects"

# A column's type; its canonical one; values in SQL.
TYPES: list[tuple[str, str, tuple[str, ...]]] = [
    ("TINYINT(1)", "bool", ("0", "1")),
    ("TINYINT", "int8", ("-128", "127")),
    ("TINYINT UNSIGNED", "uint8", ("255",)),
    ("SMALLINT", "int16", ("-32768",)),
    ("MEDIUMINT", "int32", ("-8388608", "8388607")),
    ("MEDIUMINT UNSIGNED", "uint32", ("16777215",)),
    ("INT(5) ZEROFILL", "uint32", ("42", "4294967295")),
    ("BIGINT UNSIGNED", "uint64", ("18446744073709551615",)),
    (
        "DECIMAL(65,30)",
        "decimal(65,30)",
        ("-99999999999999999999999999999999999.999999999999999999999999999999",),
    ),
    ("DECIMAL(5,0) UNSIGNED", "decimal(5,0)", ("99999",)),
    ("FLOAT", "float32", ("1.1", "3.4028234e38", "1e-38")),
    ("DOUBLE", "float64", ("0.1", "1.7976931348623157e308", "4.9e-324")),
    ("BIT(1)", "bool", ("b'1'", "b'0'")),
    ("BIT(64)", "uint64", ("b'1000000000000000000000000000000000000000000000000000000000000001'",)),
    ("YEAR", "int16", ("0", "1901", "2155")),
    ("DATE", "date", ("'0001-01-01'", "'9999-12-31'")),
    ("TIME", "time", ("'00:00:00'", "'23:59:59'")),
    ("TIME(3)", "time", ("'23:59:59.125'",)),
    ("DATETIME", "timestamp", ("'1000-01-01 00:00:00'",)),
    ("DATETIME(6)", "timestamp", ("'9999-12-31 23:59:59.999999'",)),
    ("TIMESTAMP(6) NULL", "timestamptz", ("'1970-01-01 00:00:01.000001'", "'2038-01-19 03:14:07.5'")),
    ("CHAR(10)", "text(10)", ("'a  '", "'ä'", "''")),
    ("VARCHAR(300) CHARACTER SET latin1", "text(300)", ("'é€ '", "'a'")),
    ("VARCHAR(300) COLLATE utf8mb4_general_ci", "text(300)", ("'aB '", "'漢'")),
    ("TEXT CHARACTER SET utf16", "text", ("'😀'",)),
    ("MEDIUMTEXT CHARACTER SET sjis", "text", ("'日本'",)),
    ("LONGTEXT CHARACTER SET koi8r", "text", ("'Ж'",)),
    ("BINARY(4)", "bytes(4)", ("x'0100'",)),
    ("VARBINARY(9)", "bytes(9)", ("x'00ff'", "''")),
    ("TINYBLOB", "bytes", ("x'80'",)),
    ("LONGBLOB", "bytes", ("x'0a090d5c27'",)),
    ("ENUM('a','B ','it''s','x,y','')", "enum", ("'a'", "'it''s'", "'x,y'", "''")),
    ("SET('a','b','ü')", "text", ("'a,ü'", "''")),
    ("JSON", "json", ('\'{"b": [1, 2.5], "a": null}\'',)),
    ("POINT", "opaque", ("ST_GeomFromText('POINT(1 2)')",)),
    ("GEOMETRY", "opaque", ("ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 3857)",)),
]

NATIVE_ONLY = [
    ("DATE", ("'0000-00-00'", "'2024-02-00'", "'2024-00-00'")),
    ("DATETIME(3)", ("'0000-00-00 00:00:00.000'", "'2024-00-10 01:02:03.5'")),
    ("TIMESTAMP NULL", ("'0000-00-00 00:00:00'",)),
    ("TIME(6)", ("'838:59:59'", "'-838:59:59.000000'", "'24:00:01'")),
    ("TINYINT(1)", ("2", "-128")),
]


@pytest.fixture(params=["mariadb", "mysql"])
def make(request: pytest.FixtureRequest) -> Databases:
    """Makes databases of each system."""
    made: Databases = request.getfixturevalue(f"{request.param}_database")
    return made


def fill(url: str, types: list[Any]) -> None:
    """A table with a column a type, and as many rows as the longest list of values has, and one of NULLs."""
    columns = ", ".join(f"v{at} {sort} NULL" for at, (sort, *_) in enumerate(types))
    lists = [values for *_, values in types]
    rows = [
        f"({at}, " + ", ".join(values[at] if at < len(values) else "NULL" for values in lists) + ")"
        for at in range(max(map(len, lists)) + 1)
    ]
    mysql_family.run(
        url,
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        f"CREATE TABLE t (id INT PRIMARY KEY, {columns})".replace("NULL NULL", "NULL"),
        f"INSERT INTO t VALUES {', '.join(rows)}",
    )


def carry(source: MysqlStore, target: MysqlTarget, schema: Schema, how: str) -> None:
    """All rows of the table."""
    claim = target.claim(STREAM)
    assert target.refusals(schema) == []
    target.prepare(schema, aside=False)
    assert target.mismatch(schema) == ""
    state = TableState(schema, State.LIVE, created=True)
    with target.begin_copy(claim, Mark(STREAM, {})) as apply:
        for rows in source.read(schema, Span()):
            assert rows.refused == ()
            getattr(apply, how)(state, rows)
        apply.commit()
    target.forget(STREAM)


def stored(url: str, types: list[Any]) -> list[tuple[Any, ...]]:
    """How the columns are declared, and the very bytes of their cells."""
    declared = mysql_family.run(
        url,
        "SELECT column_name, column_type, character_set_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = database() AND table_name = 't' ORDER BY ordinal_position",
    )
    cells = ", ".join(f"hex(v{at})" for at in range(len(types)))
    return [*declared, *mysql_family.run(url, f"SELECT id, {cells} FROM t ORDER BY id")]


@pytest.mark.parametrize("how", ["load", "upsert"])
def test_every_type_is_made_and_filled_as_it_was(make: Databases, how: str) -> None:
    here, there = make(), make()
    fill(here, TYPES)
    with closing(MysqlStore(here)) as source, closing(MysqlTarget(there)) as target:
        (schema,) = source.discover()
        told = [str(column.type).split("(mysql")[0] for column in schema.columns[1:]]
        wanted = [kind for _, kind, _ in TYPES]
        if here.startswith("mariadb"):  # whose JSON is a text
            wanted[wanted.index("json")] = "text"
        assert told == wanted
        carry(source, target, schema, how)
    assert stored(there, TYPES) == stored(here, TYPES)


@pytest.mark.parametrize("how", ["load", "upsert"])
def test_what_only_this_family_holds_travels_within_it(make: Databases, how: str) -> None:
    here, there = make(), make()
    fill(here, NATIVE_ONLY)
    with closing(MysqlStore(here)) as source, closing(MysqlTarget(there)) as target:
        (schema,) = source.discover()
        (rows,) = source.read(schema, Span())
        assert [refusal.key for refusal in rows.refused] == [(0,), (1,), (2,)]
        assert rows.tuples() == [(3, *[None] * len(NATIVE_ONLY))]
        carry(source, target, source.native(schema), how)
    assert stored(there, NATIVE_ONLY) == stored(here, NATIVE_ONLY)


def test_a_table_of_one_system_is_made_in_the_other(
    mariadb_database: Databases, mysql_database: Databases
) -> None:
    bytewise = ("BIT", "POINT", "GEOMETRY", "B", "TINYBLOB", "LONGBLOB", "VARBINARY")
    cells = ", ".join(
        f"hex(v{at})" if sort.split("(")[0] in bytewise else f"CAST(v{at} AS CHAR)"
        for at, (sort, *_) in enumerate(TYPES)
    )
    for here, there in ((mariadb_database(), mysql_database()), (mysql_database(), mariadb_database())):
        fill(here, TYPES)
        with closing(MysqlStore(here)) as source, closing(MysqlTarget(there)) as target:
            carry(source, target, source.discover()[0], "upsert")
        query = f"SELECT id, {cells} FROM t ORDER BY id"
        assert mysql_family.run(there, query) == mysql_family.run(here, query)


def test_keys_numbers_defaults_and_generated_columns_are_discovered(make: Databases) -> None:
    url = make()
    mysql_family.run(
        url,
        "CREATE TABLE p (a INT, b VARCHAR(9) DEFAULT 'it''s', PRIMARY KEY (b, a))",
        """CREATE TABLE c (id INT AUTO_INCREMENT UNIQUE, n INT NOT NULL, m VARCHAR(9) DEFAULT 'x\\\\y',
           twice INT AS (n * 2) STORED, thrice INT AS (n * 3), at DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6),
           a INT, b VARCHAR(9), UNIQUE KEY both_ (n, m), KEY part (m(3)),
           CONSTRAINT up FOREIGN KEY (b, a) REFERENCES p (b, a) ON DELETE CASCADE ON UPDATE SET NULL)""",
        "CREATE TABLE keyless (a INT)",
        "CREATE VIEW v AS SELECT 1 AS one",
    )
    store = MysqlStore(url)
    found = {schema.table.name: schema for schema in store.discover()}
    store.close()
    assert found["p"].key == ("b", "a")
    assert found["p"].column("b").default == "'it''s'"
    child = found["c"]
    assert child.key == ("id",)
    assert [column.name for column in child.columns if column.generated] == ["twice", "thrice"]
    assert [column.name for column in child.columns if column.identity] == ["id"]
    assert (child.column("at").default or "").lower() == "current_timestamp(6)"
    assert {(index.columns, index.unique, index.portable) for index in child.indexes} >= {
        (("n", "m"), True, True),
        (("m",), False, True),
    }
    (foreign,) = child.foreign_keys
    assert (foreign.columns, foreign.parent.name, foreign.parent_columns) == (("b", "a"), "p", ("b", "a"))
    assert (foreign.on_delete, foreign.on_update) == ("CASCADE", "SET NULL")
    assert "no key" in found["keyless"].problem
    assert "view" in found["v"].problem
