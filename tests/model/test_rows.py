"""Rows: cells that are a value, NULL or unsent, through everything that is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from syncline.model import Rows

COLUMNS = "a", "b"
Cells = list[tuple[Any, Any]]
UNSENT = "unsent"

cells = st.none() | st.integers(-9, 9) | st.just(UNSENT)
tables = st.lists(st.tuples(cells, cells), max_size=6)


def build(rows: Cells) -> Rows:
    arrays, masks = [], []
    for at in range(len(COLUMNS)):
        column = [row[at] for row in rows]
        arrays.append(pa.array([None if cell == UNSENT else cell for cell in column], pa.int64()))
        masks.append(pa.array([cell == UNSENT for cell in column], pa.bool_()))
    return Rows.of(COLUMNS, arrays, masks)


def read(rows: Rows, columns: Sequence[str] = COLUMNS) -> Cells:
    found = []
    for at in range(rows.count):
        row = []
        for name in columns:
            mask = rows.mask(name)
            row.append(UNSENT if mask is not None and mask[at].as_py() else rows.array(name)[at].as_py())
        found.append(tuple(row))
    return found


@given(tables)
def test_cells_stay_three_things(rows: Cells) -> None:
    built = build(rows)
    assert built.count == len(rows)
    assert read(built) == rows
    assert built.tuples() == [tuple(None if cell == UNSENT else cell for cell in row) for row in rows]
    for at, mask in enumerate(built.unsent):
        assert (mask is not None) == any(row[at] == UNSENT for row in rows)


@given(tables, st.data())
def test_take(rows: Cells, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    taken = build(rows).take(indices)
    assert taken.count == len(indices)
    assert read(taken) == [rows[at] for at in indices]
    assert taken.columns == COLUMNS


@given(st.lists(tables, min_size=1, max_size=4))
def test_concat(parts: list[Cells]) -> None:
    whole = Rows.concat([build(part) for part in parts])
    assert read(whole) == [row for part in parts for row in part]
    assert whole.columns == COLUMNS


@given(tables)
def test_select(rows: Cells) -> None:
    turned = build(rows).select(("b", "a"))
    assert turned.columns == ("b", "a")
    assert turned.count == len(rows)
    assert read(turned, ("b", "a")) == [(b, a) for a, b in rows]
    assert read(build(rows).select(("b",)), ("b",)) == [(b,) for _, b in rows]


def test_rows_without_columns_are_counted() -> None:
    nothing = build([(1, 2), (3, 4)]).select(())
    assert nothing.count == 2
    assert nothing.tuples() == [(), ()]
    assert nothing.take([1]).count == 1


def test_wire_rows_carry_bytes() -> None:
    rows = Rows.wire(("a",), "pgcopy", b"\x00\x01\x02", 7)
    assert (rows.format, rows.count, rows.nbytes) == ("pgcopy", 7, 3)


def test_bytes_grow_with_the_rows() -> None:
    few, many = (Rows.of(("t",), [pa.array(["x" * 100] * count)]) for count in (10, 1000))
    assert few.nbytes >= 1000
    assert many.nbytes >= 100_000
    assert Rows.concat([few] * 10).nbytes >= 10_000


def test_pieces_are_the_rows_in_order() -> None:
    numbers = pa.array(range(1000), pa.int64())
    mask = pa.array([number % 3 == 0 for number in range(1000)], pa.bool_())
    rows = Rows.of(["a", "b"], [numbers, numbers], [None, mask])
    pieces = list(rows.pieces(rows.nbytes // 7))
    assert len(pieces) >= 7
    again = Rows.concat(pieces)
    assert again.tuples() == rows.tuples()
    assert again.mask("b").to_pylist() == mask.to_pylist()
    assert list(rows.pieces(1 << 30)) == [rows]
