"""Schemas, types, batches: what follows from what they hold."""

from __future__ import annotations

import pyarrow as pa
import pytest

from syncline.model import (
    Batch,
    Changes,
    Column,
    Kind,
    Position,
    Rows,
    Schema,
    SchemaChange,
    TableName,
    Truncate,
    Type,
)


def test_a_schema_carries_what_is_not_generated() -> None:
    columns = (
        Column("b", Type(Kind.TEXT), False),
        Column("sum", Type(Kind.INT64), generated=True),
        Column("a", Type(Kind.INT64), False),
    )
    schema = Schema(TableName("t"), columns, ("a", "b"), "memory")
    assert schema.names == ("b", "a")
    assert [column.name for column in schema.key_columns] == ["a", "b"]
    assert schema.column("sum").generated
    with pytest.raises(KeyError):
        schema.column("c")


def test_the_estimate_of_rows_is_no_part_of_a_schema() -> None:
    one, other = (Schema(TableName("t"), (), (), "memory", estimated_rows=count) for count in (1, 2))
    assert one == other


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        (TableName("orders"), "orders", True),
        (TableName("orders"), "order*", True),
        (TableName("orders"), "Orders", False),
        (TableName("orders", "sales"), "orders", False),
        (TableName("orders", "sales"), "sales.*", True),
        (TableName("orders", "sales"), "*.orders", True),
    ],
)
def test_globs(name: TableName, pattern: str, matches: bool) -> None:
    assert name.matches(pattern) is matches


def test_every_kind_has_an_arrow_type_and_a_name() -> None:
    for kind in Kind:
        made = Type(kind, element=Type(Kind.INT64)) if kind is Kind.ARRAY else Type(kind)
        assert isinstance(made.arrow, pa.DataType)
        assert str(made).startswith(str(kind))
    assert Type(Kind.UINT64).arrow == pa.uint64()
    assert Type(Kind.UINT32).arrow == Type(Kind.INT8).arrow == pa.int64()
    assert Type(Kind.DECIMAL).arrow == Type(Kind.TIMESTAMPTZ).arrow == pa.string()
    assert str(Type(Kind.DECIMAL, precision=10, scale=2)) == "decimal(10,2)"
    assert str(Type(Kind.TEXT, length=5)) == "text(5)"
    assert str(Type(Kind.OPAQUE, system="postgres", name="inet")) == "opaque(postgres, inet)"


def test_a_batch_knows_its_size_and_paths() -> None:
    orders, lines, notes = (TableName(name) for name in ("orders", "lines", "notes"))
    rows = Rows.of(("id",), [pa.array([1, 2, 3])])
    batch = Batch(
        Position("1"),
        Position("2"),
        [
            Changes(orders, b"IUD", rows, rows, ("a", "b")),
            Truncate((lines,), ("b",)),
            SchemaChange(notes, "it has another column"),
        ],
    )
    assert batch.segments[0].nbytes >= 2 * rows.nbytes
    assert batch.nbytes >= batch.segments[0].nbytes
    assert batch.paths() == {orders: ("a", "b"), lines: ("b",)}
    assert Batch(Position("1"), Position("1")).nbytes == 0
