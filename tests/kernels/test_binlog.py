"""The decoder of row events, compiled and not, against a reference and against what no server sends."""

from __future__ import annotations

from array import array
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.errors import Corruption
from syncline.kernels import binlog
from syncline.kernels.binlog import Cell

from .both import FORMS, kernel
from .row_events import LONG_TEXT, TEXT, Value, event

DECODERS = {form: kernel("binlog", form) for form in FORMS}
BOTH = pytest.mark.parametrize("decoder", DECODERS.values(), ids=FORMS)

UNSENT = "unsent"
Row = tuple[Value, ...]
Change = tuple[str, Row | None, Row | None]  # I, U or D, the old row, the new row

SHAPES = [
    *(Cell(size, form) for size in (1, 2, 3, 4, 8) for form in (binlog.SIGNED, binlog.UNSIGNED)),
    *(Cell(size, binlog.BITS) for size in (1, 5, 8)),
    Cell(1, binlog.YEAR),
    Cell(4, binlog.FLOAT),
    Cell(8, binlog.DOUBLE),
    *(Cell(-size, binlog.BYTES) for size in (1, 2, 3, 4)),
    Cell(3, binlog.DATE),
    *(Cell(5 + (digits + 1) // 2, binlog.DATETIME, digits) for digits in (0, 1, 4, 6)),
    *(Cell(4 + (digits + 1) // 2, binlog.TIMESTAMP, digits) for digits in (0, 2, 3, 6)),
    *(Cell(3 + (digits + 1) // 2, binlog.TIME, digits) for digits in (0, 1, 4, 6)),
    *(
        Cell(binlog.decimal_size(*shape), binlog.DECIMAL, *shape)
        for shape in ((65, 30), (10, 2), (9, 9), (1, 0), (18, 9), (38, 38))
    ),
]


def bits(data: bytearray, count: int) -> list[bool]:
    assert len(data) == (count + 7) // 8
    return [bool(data[at >> 3] >> (at & 7) & 1) for at in range(count)]


def cells_of(buffers: Any, count: int) -> list[Any]:
    """The cells of a column, checked for being sound."""
    valid, unsent = bits(buffers.validity, count), bits(buffers.unsent, count)
    payload = bytes(buffers.payload)
    assert (buffers.nulls, buffers.holes) == (count - sum(valid), sum(unsent))
    if buffers.offsets is None:
        size = len(payload) // max(count, 1)
        assert size in (0, 4, 8)
        offsets = [at * size for at in range(count + 1)]
    else:
        offsets = list(array("i", buffers.offsets))
        assert (offsets[0], offsets[-1], len(offsets)) == (0, len(payload), count + 1)
    cells: list[Any] = []
    for at in range(count):
        cell = payload[offsets[at] : offsets[at + 1]]
        cells.append(UNSENT if unsent[at] else cell if valid[at] else None)
        assert valid[at] or not any(cell), "an unsent cell is NULL as well, and neither has a value"
    return cells


def read(
    decoder: ModuleType, cells: list[Cell], kinds: bytes, bodies: list[bytes], key: tuple[int, ...]
) -> object:
    """Everything that comes out of these events, or the error in full."""
    layout = decoder.Layout(cells)
    try:
        counted = [layout.count(kind, body) for kind, body in zip(kinds, bodies, strict=True)]
        count = sum(rows for rows, _ in counted)
        decoded = decoder.Decoded(layout, kinds, bodies, count, key)
    except Corruption as error:
        return str(error)
    columns: list[object] = []
    for place in range(len(cells) + len(key)):
        try:
            columns.append(cells_of(decoded.column(place), count))
        except Corruption as error:
            columns.append(str(error))
    return counted, bytes(decoded.changes), bool(decoded.unsent), bool(decoded.keyed), columns


def events_of(cells: list[Cell], changes: list[Change], version: int) -> tuple[bytes, list[bytes]]:
    """An event for each run of changes of one kind."""
    runs: list[tuple[str, list[tuple[Row, ...]]]] = []
    for kind, old, new in changes:
        if not runs or runs[-1][0] != kind:
            runs.append((kind, []))
        runs[-1][1].append(tuple(row for row in (old, new) if row is not None))
    kinds = bytes({"I": (23, 30), "U": (24, 31), "D": (25, 32)}[kind][version] for kind, _ in runs)
    bodies = [event(number, cells, rows) for number, (_, rows) in zip(kinds, runs, strict=True)]
    return kinds, bodies


def expected(changes: list[Change], width: int, key: tuple[int, ...]) -> object:
    """The rules, cell by cell, in their plainest form."""
    rows: list[list[object]] = []
    for _, old, new in changes:
        after: list[object] = list(new) if new is not None else [UNSENT] * width
        moved = old is not None and (new is None or any(old[place] != new[place] for place in key))
        rows.append([*after, *(old[place] if moved and old else UNSENT for place in key)])
    columns = [[cells[place] for cells in rows] for place in range(width + len(key))]
    unsent = any(UNSENT in column for column in columns[:width])
    keyed = any(cell is not UNSENT for column in columns[width:] for cell in column)
    return "".join(kind for kind, *_ in changes).encode(), unsent, keyed, columns


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[Cell], list[Change], tuple[int, ...], int]:
    """Changes of a table whose cells are all bytes."""
    width = draw(st.integers(1, 10))
    cells = draw(st.lists(st.sampled_from([TEXT, LONG_TEXT]), min_size=width, max_size=width))
    key = tuple(draw(st.permutations(range(width)))[: draw(st.integers(1, width))])
    value = st.none() | st.binary(max_size=3) | st.binary(min_size=60, max_size=70)
    row = st.tuples(*[value] * width)
    inserts = st.tuples(st.just("I"), st.none(), row)
    updates = st.tuples(st.just("U"), row, row)
    same = row.map(lambda row: ("U", row, row))
    deletes = st.tuples(st.just("D"), row, st.none())
    changes = draw(st.lists(inserts | updates | same | deletes, max_size=12))
    return cells, changes, key, draw(st.integers(0, 1))


@given(texts())
@settings(max_examples=100)
def test_rows_come_out_as_the_rules_say(table: tuple[list[Cell], list[Change], tuple[int, ...], int]) -> None:
    cells, changes, key, version = table
    kinds, bodies = events_of(cells, changes, version)
    for form, decoder in DECODERS.items():
        found = read(decoder, cells, kinds, bodies, key)
        assert isinstance(found, tuple), found
        counted, *rest = found
        assert tuple(rest) == expected(changes, len(cells), key), form
        assert all(whole for _, whole in counted)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Cell], bytes, list[bytes], tuple[int, ...]]:
    """Events of columns of every shape, whose cells are any bytes, some images without some columns."""
    cells = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=9))
    key = (draw(st.integers(0, len(cells) - 1)),)
    row = st.tuples(
        *(
            st.none() | (st.binary(max_size=9) if size < 0 else st.binary(min_size=size, max_size=size))
            for size, *_ in cells
        )
    )
    kinds, bodies = b"", []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from([23, 24, 25, 30, 31, 32]))
        images = 2 if kind in (24, 31) else 1
        some = st.lists(st.booleans(), min_size=len(cells), max_size=len(cells)).filter(any)
        present = draw(
            st.just([[True] * len(cells)] * images) | st.lists(some, min_size=images, max_size=images)
        )
        rows = draw(st.lists(st.tuples(*[row] * images), min_size=1, max_size=4))
        kinds += bytes([kind])
        bodies.append(event(kind, cells, rows, present))
    return cells, kinds, bodies, key


@given(tables())
@settings(max_examples=150)
def test_any_cells_are_the_same_in_both(
    table: tuple[list[Cell], bytes, list[bytes], tuple[int, ...]],
) -> None:
    compiled, uncompiled = (read(decoder, *table) for decoder in DECODERS.values())
    assert compiled == uncompiled


@given(tables(), st.data())
@settings(max_examples=250)
def test_broken_events_are_the_same_corruption_in_both(
    table: tuple[list[Cell], bytes, list[bytes], tuple[int, ...]], data: st.DataObject
) -> None:
    cells, kinds, bodies, key = table
    if not bodies:
        kinds, bodies = b"\x17", [b""]
    at = data.draw(st.integers(0, len(bodies) - 1))
    broken = bytearray(bodies[at])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(broken) - 1, 0)))
        match data.draw(st.sampled_from(["cut", "flip", "insert", "longer", "kind"])):
            case "cut":
                del broken[place:]
            case "flip" if broken:
                broken[place] = data.draw(st.sampled_from([0, 1, 127, 128, 251, 252, 255]))
            case "insert":
                broken[place:place] = data.draw(st.binary(max_size=5))
            case "longer":
                broken += data.draw(st.binary(max_size=5))
            case "kind":
                kinds = (
                    kinds[:at]
                    + bytes([data.draw(st.sampled_from([19, 23, 24, 25, 31, 32]))])
                    + kinds[at + 1 :]
                )
    bodies[at] = bytes(broken)
    compiled, uncompiled = (read(decoder, cells, kinds, bodies, key) for decoder in DECODERS.values())
    assert compiled == uncompiled


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.sampled_from([23, 24, 25, 30, 31, 32]))
@settings(max_examples=150)
def test_random_bytes_are_the_same_corruption_in_both(tails: list[bytes], kind: int) -> None:
    cells = [TEXT, Cell(4, binlog.SIGNED), Cell(-4, binlog.BYTES)]
    for lead in (b"", event(kind, cells, [])):
        bodies = [lead + tail for tail in tails]
        kinds = bytes([kind]) * len(bodies)
        compiled, uncompiled = (read(decoder, cells, kinds, bodies, (0,)) for decoder in DECODERS.values())
        assert compiled == uncompiled


@BOTH
@pytest.mark.parametrize("size", [3, 0x7F, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_length_past_the_end_is_corruption(decoder: ModuleType, size: int) -> None:
    """The next event lies behind it, and is not read."""
    cells = [Cell(-4, binlog.BYTES)]
    cut = event(30, cells, []) + b"\0" + size.to_bytes(4, "little") + b"ab"
    layout = decoder.Layout(cells)
    with pytest.raises(Corruption, match="a cell reaches past its end"):
        layout.count(30, cut)
    with pytest.raises(Corruption, match="a cell reaches past its end"):
        decoder.Decoded(layout, b"\x1e\x1e", [cut, event(30, cells, [[[b"x" * 200]]])], 2, (0,))


@BOTH
def test_more_rows_than_were_counted_are_not_written(decoder: ModuleType) -> None:
    cells = [TEXT]
    body = event(23, cells, [[[b"1"]], [[b"2"]]])
    with pytest.raises(Corruption, match="more rows than were counted"):
        decoder.Decoded(decoder.Layout(cells), b"\x17", [body], 1, (0,))
    for place in (-1, 2, 1 << 40):
        with pytest.raises(IndexError):
            decoder.Decoded(decoder.Layout(cells), b"\x17", [body], 2, (0,)).column(place)


@BOTH
def test_a_table_of_the_most_columns_there_can_be(decoder: ModuleType) -> None:
    cells = [TEXT] * 4096
    row = [b"%d" % at if at % 3 else None for at in range(4096)]
    body = event(31, cells, [[row, row]])
    decoded = decoder.Decoded(decoder.Layout(cells), b"\x1f", [body], 1, (1,))
    assert [cells_of(decoded.column(at), 1)[0] for at in (0, 1, 4095, 4096)] == [None, b"1", None, UNSENT]
    with pytest.raises(Corruption, match="rows of 4096 columns where the table has 4095"):
        decoder.Layout(cells[1:]).count(31, body)
