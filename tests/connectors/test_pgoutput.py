"""The decoder against messages written by hand, cut, and made at random."""

from __future__ import annotations

import contextlib
import struct
from itertools import compress

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.connectors.postgres.pgoutput import (
    CELL_BYTES,
    ROW_BYTES,
    Begin,
    Collected,
    Columns,
    Commit,
    Decoder,
    Message,
    Relation,
    RelationColumn,
    Truncated,
)
from syncline.errors import Corruption
from tests.kernels.both import each_form
from tests.kernels.messages import UNSENT, Cell, change, row

BEGIN = b"B" + struct.pack("!QqI", 0x1_0000_0010, 7, 750)
COMMIT = b"C" + struct.pack("!BQQq", 0, 0x1_0000_0010, 0x1_0000_0040, 7)
ORDERS = (
    b"R" + struct.pack("!I", 16390) + b"public\0orders\0" + b"d" + struct.pack("!H", 3)
    + b"\x01id\0" + struct.pack("!Ii", 20, -1)
    + b"\x00note\0" + struct.pack("!Ii", 25, -1)
    + b"\x01shop\0" + struct.pack("!Ii", 1043, 24)
)  # fmt: skip
KEY = (2, 0)  # (shop, id): the key's order is not the columns'


form = each_form("pgoutput", "syncline.connectors.postgres.pgoutput")


def within() -> Decoder:
    """A decoder that watches orders, inside a transaction."""
    decoder = Decoder()
    decoder.feed(BEGIN)
    relation = decoder.feed(ORDERS)
    assert isinstance(relation, Relation)
    decoder.watch(relation, KEY)
    return decoder


def take(decoder: Decoder, *frames: bytes) -> None:
    """Let the decoder take these messages in, whatever they are."""
    messages, at = list(frames), 0
    while (at := decoder.collect(messages, at, 1 << 40)) < len(messages):
        decoder.feed(messages[at])
        at += 1


def read(*messages: bytes) -> None:
    """Let a decoder within a transaction read these messages to the last cell."""
    decoder = within()
    take(decoder, *messages)
    for part in decoder.take():
        if isinstance(part, Collected):
            part.read()


def collect(*messages: bytes) -> Columns:
    decoder = within()
    assert decoder.collect(list(messages), 0, 1 << 40) == len(messages)
    (part,) = decoder.take()
    assert isinstance(part, Collected)
    return part.read()


def tuples(arrays: list[pa.Array], masks: list[pa.Array | None]) -> list[tuple[Cell, ...]]:
    """The rows of these columns, checked for being sound Arrow."""
    columns = []
    for array, mask in zip(arrays, masks, strict=True):
        array.validate(full=True)
        holes = [False] * len(array) if mask is None else mask.to_pylist()
        cells = array.to_pylist()
        assert not any(cell is not None for cell in compress(cells, holes)), "an unsent cell is NULL as well"
        columns.append([UNSENT if hole else cell for cell, hole in zip(cells, holes, strict=True)])
    return list(zip(*columns, strict=True))


def new(part: Columns) -> list[tuple[Cell, ...]]:
    return tuples(part.after, part.after_unsent)


def old(part: Columns) -> list[tuple[Cell, ...]]:
    return tuples(part.before, part.before_unsent)


def test_a_change_counts_for_what_it_takes_in_memory() -> None:
    decoder = within()
    short, long = (change(b"I", b"N", row(b"1", text, b"b")) for text in (None, b"x" * 1000))
    decoder.collect([short], 0, 1 << 40)
    fixed = ROW_BYTES + 5 * CELL_BYTES
    assert decoder.nbytes == fixed + len(short), "three columns, and a key of two"
    decoder.collect([long], 0, 1 << 40)
    assert decoder.nbytes == 2 * fixed + len(short) + len(long)
    assert decoder.nbytes == sum(part.nbytes for part in decoder.parts if isinstance(part, Collected))


def test_no_more_is_taken_than_there_is_room_for() -> None:
    decoder = within()
    messages = [change(b"I", b"N", row(b"%d" % i, None, b"b")) for i in range(9)]
    assert decoder.collect(messages, 0, 1) == 1, "the one that goes past it is the last"
    assert decoder.collect(messages, 1, decoder.nbytes) == 1
    assert decoder.collect(messages, 1, 1 << 40) == 9


def test_other_frames_are_left_to_the_caller() -> None:
    decoder = within()
    insert = change(b"I", b"N", row(b"1", None, b"a"))
    for other in (COMMIT, object(), b""):
        assert decoder.collect([insert, other, insert], 0, 1 << 40) == 1
    assert decoder.collect([], 0, 1 << 40) == 0


def test_a_transaction_has_its_positions() -> None:
    decoder = Decoder()
    assert decoder.feed(BEGIN) == Begin(0x1_0000_0010, 750)
    assert decoder.within
    assert decoder.feed(COMMIT) == Commit(0x1_0000_0010, 0x1_0000_0040)
    assert not decoder.within


def test_a_relation_has_its_columns() -> None:
    assert Decoder().feed(ORDERS) == Relation(
        16390,
        "public",
        "orders",
        "d",
        (
            RelationColumn("id", 20, -1, True),
            RelationColumn("note", 25, -1, False),
            RelationColumn("shop", 1043, 24, True),
        ),
    )


def test_value_null_and_unsent_are_three_things() -> None:
    part = collect(
        change(b"I", b"N", row(b"1", None, b"a")),
        change(b"I", b"N", row(b"2", b"", b"a")),
        change(b"U", b"N", row(b"1", UNSENT, b"a")),
    )
    assert part.kinds == b"IIU"
    assert new(part) == [(b"1", None, b"a"), (b"2", b"", b"a"), (b"1", UNSENT, b"a")]
    assert old(part) == [(UNSENT, UNSENT)] * 3


def test_a_delete_has_its_key_in_the_keys_order() -> None:
    part = collect(change(b"D", b"K", row(b"1", None, b"a")))
    assert (part.kinds, old(part), new(part)) == (b"D", [(b"a", b"1")], [(UNSENT, UNSENT, UNSENT)])


def test_a_key_change_has_the_old_key() -> None:
    part = collect(change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"2", b"x", b"a")))
    assert old(part) == [(b"a", b"1")]
    assert new(part) == [(b"2", b"x", b"a")]


def test_an_old_row_with_the_same_key_is_no_key_change() -> None:
    part = collect(
        change(b"U", b"O", row(b"1", b"long", b"a"), b"N", row(b"1", b"x", b"a")),
        change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"1", b"x", b"a")),
    )
    assert old(part) == [(UNSENT, UNSENT)] * 2


def test_a_full_old_row_fills_in_what_is_unsent() -> None:
    part = collect(change(b"U", b"O", row(b"1", b"long", b"a"), b"N", row(b"1", UNSENT, b"a")))
    assert new(part) == [(b"1", b"long", b"a")]
    assert part.after_unsent == [None] * 3


def test_an_old_key_fills_in_nothing_but_the_key() -> None:
    """The other cells of an old key are sent as NULL and mean nothing."""
    part = collect(change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"2", UNSENT, UNSENT)))
    assert new(part) == [(b"2", UNSENT, b"a")]


def test_a_truncate_parts_the_rows_before_it_from_those_after() -> None:
    decoder = within()
    take(decoder, change(b"I", b"N", row(b"1", None, b"a")))
    truncate = b"T" + struct.pack("!IBI", 1, 0, 16390)
    assert decoder.feed(truncate) == Truncated((16390,))
    take(decoder, change(b"I", b"N", row(b"2", None, b"a")))
    before, between, after = decoder.take()
    assert isinstance(before, Collected)
    assert isinstance(after, Collected)
    assert between == Truncated((16390,))
    assert (len(before.messages), len(after.messages)) == (1, 1)


def test_messages_origins_and_types_are_read() -> None:
    decoder = within()
    message = b"M" + struct.pack("!BQ", 1, 0x22) + b"syncline\0" + struct.pack("!I", 2) + b"{}"
    assert decoder.feed(message) == Message(True, 0x22, "syncline", b"{}")
    assert decoder.feed(b"O" + struct.pack("!Q", 5) + b"elsewhere\0") is None
    assert decoder.feed(b"Y" + struct.pack("!I", 5) + b"public\0mood\0") is None


def test_rows_of_ignored_and_muted_relations_are_left_out() -> None:
    decoder = within()
    insert = change(b"I", b"N", row(b"1", None, b"a"))
    decoder.mute([16390])
    take(decoder, insert)
    assert decoder.take() == []
    decoder.mute([])
    take(decoder, insert)
    assert [type(part) for part in decoder.take()] == [Collected]
    decoder.ignore(16390)
    take(decoder, insert)
    assert decoder.take() == []
    assert decoder.nbytes == 0


def test_a_part_goes_on_when_others_are_muted() -> None:
    decoder = within()
    insert = change(b"I", b"N", row(b"1", None, b"a"))
    take(decoder, insert)
    decoder.mute([1])
    take(decoder, insert)
    (part,) = decoder.take()
    assert isinstance(part, Collected)
    assert len(part.messages) == 2


GOLDEN = [
    change(b"I", b"N", row(b"1", None, b"a")),
    change(b"U", b"N", row(b"1", UNSENT, b"a")),
    change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"2", b"x", b"a")),
    change(b"D", b"O", row(b"1", b"long", b"a")),
    b"T" + struct.pack("!IBI", 1, 0, 16390),
    b"M" + struct.pack("!BQ", 1, 0x22) + b"syncline\0" + struct.pack("!I", 2) + b"{}",
    b"O" + struct.pack("!Q", 5) + b"elsewhere\0",
    b"Y" + struct.pack("!I", 5) + b"public\0mood\0",
    ORDERS,
    COMMIT,
]


@pytest.mark.parametrize("message", GOLDEN, ids=[chr(message[0]) + str(len(message)) for message in GOLDEN])
def test_every_cut_and_every_longer_message_is_corruption(message: bytes) -> None:
    read(message)
    for size in range(len(message)):
        with pytest.raises(Corruption):
            read(message[:size])
    with pytest.raises(Corruption):
        read(message + b"\0")


@pytest.mark.parametrize(
    "message",
    [
        BEGIN,  # within a transaction
        change(b"I", b"N", row(b"1", None)),  # too few columns
        change(b"I", b"N", row(b"1", UNSENT, b"a")),
        change(b"U", b"N", row(UNSENT, b"x", b"a")),  # which row?
        change(b"U", b"K", row(UNSENT, None, b"a"), b"N", row(b"1", b"x", b"a")),
        change(b"D", b"K", row(UNSENT, None, b"a")),
        change(b"D", b"N", row(b"1", None, b"a")),
        change(b"I", b"N", row(b"1", None, b"a"), relation=1),  # not announced
        b"T" + struct.pack("!IBI", 1, 0, 1),
        b"S\0\0\0\0",
        ORDERS.replace(b"\0d\0", b"\0x\0"),
        ORDERS.replace(b"orders", b"or\xff\xfers"),
    ],
)
def test_what_cannot_be_is_corruption(message: bytes) -> None:
    with pytest.raises(Corruption):
        read(message)


@pytest.mark.parametrize("size", [2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_length_past_the_end_is_named(size: int) -> None:
    cut = struct.pack("!H", 3) + b"nn" + b"t" + struct.pack("!I", size) + b"x"
    with pytest.raises(Corruption, match="a cell reaches past its end"):
        read(change(b"I", b"N", cut))


@pytest.mark.parametrize("message", [COMMIT, GOLDEN[0], GOLDEN[4]])
def test_a_change_outside_a_transaction_is_corruption(message: bytes) -> None:
    decoder = within()
    decoder.feed(COMMIT)
    with pytest.raises(Corruption):
        take(decoder, message)


@given(st.sampled_from(list(b"BCORYIUDTM")), st.binary(max_size=200))
@settings(max_examples=2000)
def test_random_bytes_decode_or_are_corruption(kind: int, rest: bytes) -> None:
    for lead in (b"", struct.pack("!I", 16390)):
        with contextlib.suppress(Corruption):
            read(bytes([kind]) + lead + rest)


@given(st.data())
@settings(max_examples=500)
def test_flipped_bytes_decode_or_are_corruption(data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(GOLDEN)))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Corruption):
        read(bytes(message))


cells = st.one_of(st.none(), st.just(UNSENT), st.binary(max_size=300))


@given(st.lists(st.tuples(st.binary(max_size=9), cells, st.binary(max_size=9)), max_size=20))
def test_rows_come_out_as_they_went_in(rows: list[tuple[bytes, Cell, bytes]]) -> None:
    decoder = within()
    take(decoder, *(change(b"U", b"N", row(*cells)) for cells in rows))
    parts = decoder.take()
    found = [cells for part in parts if isinstance(part, Collected) for cells in new(part.read())]
    assert found == rows
