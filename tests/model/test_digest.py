"""Digests tell every difference and no order."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from syncline.model import Column, Digest, Kind, Rows, Schema, TableName, Type, digest_rows

SCHEMA = Schema(
    TableName("t"),
    (
        Column("id", Type(Kind.INT64), False),
        Column("text", Type(Kind.TEXT)),
        Column("raw", Type(Kind.BYTES)),
        Column("ratio", Type(Kind.FLOAT64)),
        Column("flag", Type(Kind.BOOL)),
    ),
    ("id",),
    "memory",
)

Row = tuple[Any, ...]
tables = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
        st.none() | st.binary(max_size=5),
        st.none() | st.floats(),
        st.none() | st.booleans(),
    ),
    max_size=6,
)


def build(rows: list[Row]) -> Rows:
    arrays = [
        pa.array([row[at] for row in rows], column.type.arrow) for at, column in enumerate(SCHEMA.stored)
    ]
    return Rows.of(SCHEMA.names, arrays)


def digest(*parts: list[Row]) -> Digest:
    return digest_rows(SCHEMA, [build(part) for part in parts])


def identity(row: Row) -> str:
    """What makes a row the same row: every NaN is one, and -0.0 is not 0.0."""
    return repr(row)


@given(tables, st.randoms())
def test_order_and_parts_do_not_matter(rows: list[Row], chance: Any) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    at = chance.randint(0, len(rows))
    assert digest(rows) == digest(shuffled) == digest(shuffled[:at], [], shuffled[at:])
    assert digest(rows) == digest(rows[:at]) + digest(rows[at:])
    assert digest(rows).count == len(rows)


@given(tables, tables)
def test_different_rows_have_different_digests(one: list[Row], other: list[Row]) -> None:
    same = sorted(map(identity, one)) == sorted(map(identity, other))
    assert (digest(one) == digest(other)) == same


def test_cells_are_kept_apart() -> None:
    row: Row = (1, "", b"", 0.0, False)
    rows = [
        row,
        (1, None, b"", 0.0, False),
        (1, "", None, 0.0, False),
        (1, "", b"", None, False),
        (1, "", b"", 0.0, None),
        (1, "", b"", -0.0, False),
        (1, "-", b"", 0.0, False),
        (1, "0:", b"", 0.0, False),
        (1, "", b"0:", 0.0, False),
        (1, "é", b"", 0.0, False),
        (1, "e\u0301", b"", 0.0, False),
        (1, "", b"\xc3\xa9", 0.0, False),
        (10, "", b"", 0.0, False),
    ]
    assert len({digest([row]) for row in rows}) == len(rows)
    assert len({digest([row] * count) for count in range(5)}) == 5


def test_all_nan_are_one() -> None:
    nan = float("nan")
    assert digest([(1, None, None, nan, None)]) == digest([(1, None, None, -nan, None)])


def test_the_scheme_is_the_one_that_is_written_down() -> None:
    line = b"1:7" + b"2:\xc3\xa9" + b"-" + b"-" + b"4:true"
    wanted = int.from_bytes(hashlib.blake2b(line, digest_size=16).digest(), "little")
    assert digest([(7, "é", None, None, True)]) == Digest(1, wanted)


def test_generated_columns_are_left_out() -> None:
    columns = (*SCHEMA.columns, Column("twice", Type(Kind.INT64), generated=True))
    schema = Schema(SCHEMA.table, columns, SCHEMA.key, SCHEMA.system)
    assert schema.names == SCHEMA.names
    rows = [build([(1, "a", b"b", 1.5, True)])]
    assert digest_rows(schema, rows) == digest_rows(SCHEMA, rows)
