"""The decoder of rows, compiled and not, against a reference and against what no server sends."""

from __future__ import annotations

import struct
from array import array
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.errors import Corruption

from .both import FORMS, kernel
from .messages import UNSENT, Cell, change, row

DECODERS = {form: kernel("pgoutput", form) for form in FORMS}
BOTH = pytest.mark.parametrize("decoder", DECODERS.values(), ids=FORMS)

Row = tuple[Cell, ...]
Change = tuple[bytes, Row | None, Row | None, bytes]  # kind, old, new, form of the old row


def bits(data: bytearray, count: int) -> list[bool]:
    assert len(data) == (count + 7) // 8
    return [bool(data[at >> 3] >> (at & 7) & 1) for at in range(count)]


def cells_of(buffers: Any, count: int) -> list[Cell]:
    """The cells of a column, checked for being sound."""
    offsets, payload, valid = (
        array("i", buffers.offsets),
        bytes(buffers.payload),
        bits(buffers.validity, count),
    )
    unsent = bits(buffers.unsent, count)
    assert (offsets[0], offsets[-1], len(offsets)) == (0, len(payload), count + 1)
    assert (buffers.nulls, buffers.holes) == (count - sum(valid), sum(unsent))
    cells: list[Cell] = []
    for at in range(count):
        assert not (valid[at] and unsent[at]), "an unsent cell is NULL as well"
        cell = payload[offsets[at] : offsets[at + 1]]
        assert valid[at] or not cell
        cells.append(UNSENT if unsent[at] else cell if valid[at] else None)
    return cells


def read(decoder: ModuleType, messages: list[bytes], width: int, key: tuple[int, ...]) -> object:
    """Everything that comes out of these messages, or the error in full."""
    try:
        decoded = decoder.Decoded(messages, width, key)
    except Corruption as error:
        return str(error)
    columns = [cells_of(decoded.column(place), len(messages)) for place in range(width + len(key))]
    return bytes(decoded.kinds), bool(decoded.unsent), bool(decoded.keyed), columns


def expected(changes: list[Change], width: int, key: tuple[int, ...]) -> object:
    """The rules, cell by cell, in their plainest form."""
    rows: list[list[Cell]] = []
    for kind, old, new, form in changes:
        after: list[Cell] = list(new) if new is not None else [UNSENT] * width
        before: list[Cell] = [UNSENT] * len(key)
        if old is not None:
            for place in range(width):
                if kind == b"U" and after[place] is UNSENT and (form == b"O" or place in key):
                    after[place] = old[place]
            if kind == b"D" or [old[place] for place in key] != [after[place] for place in key]:
                before = [old[place] for place in key]
        rows.append([*after, *before])
    columns = [[cells[place] for cells in rows] for place in range(width + len(key))]
    unsent = any(UNSENT in column for column in columns[:width])
    keyed = any(cell is not UNSENT for column in columns[width:] for cell in column)
    return b"".join(kind for kind, *_ in changes), unsent, keyed, columns


def encoded(one: Change) -> bytes:
    kind, old, new, form = one
    parts = [] if old is None else [form, row(*old)]
    return change(kind, *parts, *([] if new is None else [b"N", row(*new)]))


values = st.none() | st.binary(max_size=4) | st.binary(min_size=120, max_size=140)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Change], int, tuple[int, ...]]:
    """Changes that a server may send, and the shape of their table."""
    width = draw(st.integers(1, 4))
    key = tuple(draw(st.permutations(range(width)))[: draw(st.integers(1, width))])
    sent = st.tuples(*[values] * width)
    partly = st.tuples(*[values if place in key else values | st.just(UNSENT) for place in range(width)])
    old_key = st.tuples(*[values if place in key else st.none() for place in range(width)])
    anything = st.tuples(*[values | st.just(UNSENT)] * width)
    inserts = st.tuples(st.just(b"I"), st.none(), sent, st.just(b""))
    updates = st.tuples(st.just(b"U"), st.none(), partly, st.just(b""))
    moves = st.tuples(st.just(b"U"), old_key, anything, st.just(b"K"))
    full = st.tuples(st.just(b"U"), sent, anything, st.just(b"O"))
    deletes = st.tuples(st.just(b"D"), old_key, st.none(), st.sampled_from([b"K", b"O"]))
    return draw(st.lists(inserts | updates | moves | full | deletes, max_size=20)), width, key


@given(tables())
@settings(max_examples=400)
def test_valid_rows_come_out_as_the_rules_say(table: tuple[list[Change], int, tuple[int, ...]]) -> None:
    changes, width, key = table
    messages = [encoded(one) for one in changes]
    for form, decoder in DECODERS.items():
        assert read(decoder, messages, width, key) == expected(changes, width, key), form


@given(tables(), st.data())
@settings(max_examples=800)
def test_broken_rows_are_the_same_corruption_in_both(
    table: tuple[list[Change], int, tuple[int, ...]], data: st.DataObject
) -> None:
    changes, width, key = table
    messages = [encoded(one) for one in changes] or [change(b"I", b"N", row(*[b"1"] * width))]
    at = data.draw(st.integers(0, len(messages) - 1))
    broken = bytearray(messages[at])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(broken) - 1, 0)))
        match data.draw(st.sampled_from(["cut", "flip", "insert", "longer"])):
            case "cut":
                del broken[place:]
            case "flip" if broken:
                broken[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255, *b"tnuKON"]))
            case "insert":
                broken[place:place] = data.draw(st.binary(max_size=5))
            case "longer":
                broken += data.draw(st.binary(max_size=5))
    messages[at] = bytes(broken)
    compiled, uncompiled = (read(decoder, messages, width, key) for decoder in DECODERS.values())
    assert compiled == uncompiled


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.integers(0, 4))
@settings(max_examples=500)
def test_random_bytes_are_the_same_corruption_in_both(tails: list[bytes], width: int) -> None:
    key = tuple(range(width))[:2]
    for lead in (b"", b"I\0\0\0\1N", b"U\0\0\0\1K" + struct.pack("!H", width), b"D\0\0\0\1O"):
        messages = [lead + tail for tail in tails]
        compiled, uncompiled = (read(decoder, messages, width, key) for decoder in DECODERS.values())
        assert compiled == uncompiled


@BOTH
@pytest.mark.parametrize("size", [3, 0x7F, 0x7FFF_FFFB, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_length_past_the_end_is_corruption(decoder: ModuleType, size: int) -> None:
    """The next message lies behind it, and is not read."""
    cut = change(b"I", b"N", struct.pack("!H", 1), b"t" + struct.pack("!I", size) + b"ab")
    with pytest.raises(Corruption, match="a cell reaches past its end"):
        decoder.Decoded([cut, change(b"I", b"N", row(b"x" * 200))], 1, (0,))


@BOTH
def test_a_row_of_the_most_columns_there_can_be_ends_with_its_message(decoder: ModuleType) -> None:
    count = 0xFFFF
    cut = change(b"I", b"N", struct.pack("!H", count))
    with pytest.raises(Corruption, match="it ends too early"):
        decoder.Decoded([cut], count, (0,))
    with pytest.raises(Corruption, match="a row of 65535 columns where the relation has 2"):
        decoder.Decoded([cut], 2, (0,))
    whole = decoder.Decoded([change(b"D", b"K", row(b"1", *[None] * (count - 1)))], count, (0,))
    assert cells_of(whole.column(count), 1) == [b"1"]


@BOTH
def test_there_are_no_columns_beyond_the_last(decoder: ModuleType) -> None:
    decoded = decoder.Decoded([change(b"I", b"N", row(b"1", b"2"))], 2, (1,))
    for place in (-1, 3, 1 << 40):
        with pytest.raises(IndexError):
            decoded.column(place)


FRAMES = st.one_of(
    st.builds(
        lambda kind, relation, rest: kind + struct.pack("!I", relation) + rest,
        st.sampled_from([b"I", b"U", b"D"]),
        st.integers(1, 4) | st.just(0xFFFF_FFFF),
        st.binary(max_size=4),
    ),
    st.sampled_from([b"", b"I", b"U\0\0\0", b"B\0\0\0\1", b"C\0\0\0\1"]),
    st.just(7),
)


@given(st.lists(FRAMES, max_size=12), st.integers(0, 200), st.integers(0, 12))
@settings(max_examples=400)
def test_rows_are_put_aside_by_relation(frames: list[bytes | int], room: int, start: int) -> None:
    start = min(start, len(frames))
    found = []
    for decoder in DECODERS.values():
        places: dict[int, tuple[list[bytes], int] | None] = {1: ([], 10), 2: ([], 20), 3: None}
        found.append((decoder.collect(frames, start, places, 5, room), places))
    at, nbytes, lists = start, 5, {1: list[bytes](), 2: list[bytes]()}
    for frame in frames[start:]:
        if nbytes >= room or not isinstance(frame, bytes):
            break
        if len(frame) < 5 or frame[0] not in b"IUD":
            break
        relation = int.from_bytes(frame[1:5], "big")
        if relation not in (1, 2, 3):
            break
        at += 1
        if relation != 3:
            lists[relation].append(frame)
            nbytes += len(frame) + 10 * relation
    wanted = (at, nbytes), {1: (lists[1], 10), 2: (lists[2], 20), 3: None}
    assert found == [wanted, wanted]
