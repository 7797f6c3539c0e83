"""Filters against the database: what passes here is what `SELECT … WHERE` returns there."""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncline.connectors.postgres import connector
from syncline.engine.transform.where import read_filter
from syncline.errors import Refused
from syncline.model import Column, Kind, Rows, Schema, Span, TableName, Type
from tests.conftest import Databases

POOLS: dict[str, tuple[str, list[str]]] = {
    "i": ("int4", ["0", "1", "-1", "2147483647", "7"]),
    "l": ("int8", ["0", "1", "-9223372036854775808", "9007199254740993"]),
    "n": (
        "numeric",
        [
            "0",
            "1",
            "1.0",
            "-1.50",
            "0.001",
            "NaN",
            "Infinity",
            "-Infinity",
            "123456789012345678901234567890.5",
        ],
    ),
    "f": ("float8", ["0", "-0", "1.5", "NaN", "Infinity", "-Infinity", "0.1", "1e300"]),
    "g": ("float4", ["0.1", "1.5", "NaN"]),
    "t": ('text COLLATE "C"', ["", "a", "A", "ab", "a%", "a_b", "ä", "a\nb", "b\\c", "it's", "x.y"]),
    "b": ("boolean", ["true", "false"]),
    "d": ("date", ["2024-02-29", "0044-03-15 BC", "infinity", "-infinity", "10000-01-01", "1999-12-31"]),
    "s": (
        "timestamp",
        ["2024-02-29 00:00:00", "2024-02-29 12:00:00.5", "infinity", "0044-03-15 10:00:00 BC"],
    ),
    "z": ("timestamptz", ["2024-02-29 00:00:00+00", "2024-02-29 12:00:00.000001+00", "-infinity"]),
    "u": ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"]),
    "e": ("mood", ["sad", "happy"]),
}
ORDERED = [name for name in POOLS if name not in "be"]
NUMBERS = [
    "0",
    "1",
    "-1",
    "1.5",
    "1.50",
    "0.1",
    "123456789012345678901234567890.5",
    "-1e2",
    "9007199254740993",
]
PATTERNS = ["a%", "%", "_", "a_b", "%b", "a\\%", "", "A%", "x.y", "a%b", "%\\\\c"]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def fitting(column: str) -> st.SearchStrategy[str]:
    """Constants that PostgreSQL reads as the column's type."""
    own = st.sampled_from([quoted(text) for text in POOLS[column][1]])
    return own | st.sampled_from(NUMBERS) if column in "nfg" else own | st.sampled_from(["NULL"])


@st.composite
def leaves(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(list(POOLS)))
    form = draw(st.sampled_from(["compare", "columns", "null", "in", "between", "like", "bool", "is"]))
    ordered = column in ORDERED
    sign = draw(st.sampled_from(["=", "<>", "!=", *(["<", "<=", ">", ">="] if ordered else [])]))
    negation = draw(st.sampled_from(["", "NOT "]))
    if form == "columns":
        group = next(group for group in ("ilnfg", "ds", "z", "t", "u", "b", "e") if column in group)
        return f"{column} {sign} {draw(st.sampled_from(list(group)))}"
    if form == "null":
        return f"{column} IS {negation}NULL"
    if form == "in":
        cells = draw(st.lists(fitting(column), min_size=1, max_size=3))
        return f"{column} {negation}IN ({', '.join(cells)})"
    if form == "between" and ordered:
        return f"{column} {negation}BETWEEN {draw(fitting(column))} AND {draw(fitting(column))}"
    if form == "like":
        return f"t {negation}LIKE {quoted(draw(st.sampled_from(PATTERNS)))}"
    if form == "bool":
        return f"{negation}b"
    if form == "is":
        return f"b IS {negation}{draw(st.sampled_from(['TRUE', 'FALSE', 'NULL']))}"
    return f"{column} {sign} {draw(fitting(column))}"


conditions = st.recursive(
    leaves(),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})")
        | inner.map(lambda x: f"NOT ({x})")
    ),
    max_leaves=5,
)


def test_what_passes_is_what_the_database_selects(postgres_database: Databases) -> None:
    url = postgres_database()
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in POOLS.items())
    row = st.tuples(*(st.none() | st.sampled_from(cells) for _, cells in POOLS.values()))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        connection.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns})".encode())
        source = connector.source(url)
        (schema,) = source.discover()

        @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(row, min_size=1, max_size=8), st.lists(conditions, min_size=4, max_size=8))
        def check(rows: list[tuple[Any, ...]], texts: list[str]) -> None:
            connection.execute("TRUNCATE t")
            marks = ", ".join(["%s"] * len(POOLS))
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO t VALUES (%s, {marks})".encode(),
                    [(n, *cells) for n, cells in enumerate(rows)],
                )
            (read,) = source.read(schema, Span())
            for text in texts:
                query = f"SELECT id FROM t WHERE {text}"
                wanted = {number for (number,) in connection.execute(query.encode())}
                passing = read_filter(text, schema).passing(read).to_pylist()
                found = {n for n, passes in zip(read.array("id").to_pylist(), passing, strict=True) if passes}
                assert found == wanted, text

        try:
            check()
        finally:
            source.close()


COLUMNS = (
    Column("id", Type(Kind.INT64), False),
    Column("status", Type(Kind.TEXT)),
    Column("Total", Type(Kind.DECIMAL)),
    Column("code", Type(Kind.TEXT, length=3, system="x", name="character(3)")),
    Column("doc", Type(Kind.JSON)),
    Column("mood", Type(Kind.ENUM, labels=("sad", "happy"))),
    Column("at", Type(Kind.TIMESTAMPTZ)),
)
SCHEMA = Schema(TableName("orders"), COLUMNS, ("id",), "memory")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status = ", "does not read as a condition"),
        ("status = 'x", "does not read as a condition"),
        ("statu = 'x'", "did you mean status?"),
        ("id > 1 AND lower(status) = 'x'", "at character 12: it is neither"),
        ("id + 1 > 2", "at character 1: it is neither"),
        ("status > 1", "text and decimal do not compare"),
        ("code = 'a'", "compares by rules of its own"),
        ("doc = '1'", "only IS NULL can be asked"),
        ("mood < 'sad'", "only = and <> can be asked"),
        ("mood = 'glad'", "has no label 'glad'"),
        ("1 = 1", "two constants"),
        ("status", "no condition by itself"),
        ("status ILIKE 'a'", "not of what a filter has"),
        ("status LIKE 'a' ESCAPE '!'", "not of what a filter has"),
        ("status LIKE 'a\\'", "ends with a backslash"),
        ("id IN (SELECT 1)", "not of what a filter has"),
        ("id BETWEEN SYMMETRIC 2 AND 1", "not of what a filter has"),
        ("id = 'x'", "'x' is no decimal"),
        ("at > 'yesterday'", "is no timestamptz"),
        ("o.id = 1", "neither a column nor a constant"),
        ('"total" > 1', "has no column total"),
        ("id = 1; DROP TABLE orders", "not of what a filter has"),
        ("SELECT 1", "not of what a filter has"),
        ("id = $1", "neither a column nor a constant"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read_filter(text, SCHEMA)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("cannot read the filter of table orders: ")


def decide(text: str, **cells: list[object]) -> list[bool]:
    arrays = [pa.array(cells.get(column.name, [None]), column.type.arrow) for column in COLUMNS]
    answer: list[bool] = read_filter(text, SCHEMA).passing(Rows.of(SCHEMA.names, arrays)).to_pylist()
    return answer


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("at = '2024-01-01 02:00:00+02'", True),
        ("at >= timestamptz '2024-01-01'", True),
        ("at > '2024-01-01'", False),
        ("at < date '2024-01-02'", True),
        ("AT IS NOT NULL", True),
        ('"Total" IS NULL AND total IS NULL', True),
    ],
)
def test_a_time_without_a_zone_is_utc(text: str, passes: bool) -> None:
    assert decide(text, at=["2024-01-01 00:00:00+00"]) == [passes]


@pytest.mark.parametrize(
    ("text", "passes"), [("f = '0.1'", True), ("f = 0.1", False), ("f IN ('0.1')", True)]
)
def test_a_quoted_constant_is_rounded_as_its_column_is(text: str, passes: bool) -> None:
    schema = Schema(TableName("t"), (Column("f", Type(Kind.FLOAT32)),), ("f",), "test")
    rows = Rows.of(["f"], [pa.array([0.1], pa.float32())])
    assert read_filter(text, schema).passing(rows).to_pylist() == [passes]
