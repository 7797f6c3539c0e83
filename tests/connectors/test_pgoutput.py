"""The decoder against messages written by hand, cut, and made at random."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.connectors.postgres.pgoutput import (
    CHANGE_BYTES,
    UNSENT,
    Begin,
    Cell,
    Collected,
    Commit,
    Decoder,
    Message,
    Relation,
    RelationColumn,
    Truncated,
)
from syncline.errors import Corruption

BEGIN = b"B" + struct.pack("!QqI", 0x1_0000_0010, 7, 750)
COMMIT = b"C" + struct.pack("!BQQq", 0, 0x1_0000_0010, 0x1_0000_0040, 7)
ORDERS = (
    b"R" + struct.pack("!I", 16390) + b"public\0orders\0" + b"d" + struct.pack("!H", 3)
    + b"\x01id\0" + struct.pack("!Ii", 20, -1)
    + b"\x00note\0" + struct.pack("!Ii", 25, -1)
    + b"\x01shop\0" + struct.pack("!Ii", 1043, 24)
)  # fmt: skip
KEY = (2, 0)  # (shop, id): the key's order is not the columns'


def row(*cells: Cell) -> bytes:
    """The tuple data of a row."""
    data = struct.pack("!H", len(cells))
    for cell in cells:
        if cell is None:
            data += b"n"
        elif cell is UNSENT:
            data += b"u"
        else:
            assert isinstance(cell, bytes)
            data += b"t" + struct.pack("!I", len(cell)) + cell
    return data


def change(kind: bytes, *parts: bytes, relation: int = 16390) -> bytes:
    """An insert, update or delete."""
    return kind + struct.pack("!I", relation) + b"".join(parts)


def within() -> Decoder:
    """A decoder that watches orders, inside a transaction."""
    decoder = Decoder()
    decoder.feed(BEGIN)
    relation = decoder.feed(ORDERS)
    assert isinstance(relation, Relation)
    decoder.watch(relation, KEY)
    return decoder


def collect(*messages: bytes) -> Collected:
    decoder = within()
    for message in messages:
        assert decoder.feed(message) is None
    (part,) = decoder.take()
    assert isinstance(part, Collected)
    return part


def test_a_change_counts_for_what_it_takes_in_memory() -> None:
    decoder = within()
    decoder.feed(change(b"I", b"N", row(b"1", None, b"b")))
    assert decoder.nbytes == CHANGE_BYTES, "however short it is on the wire"
    long = change(b"I", b"N", row(b"2", b"x" * 1000, b"b"))
    decoder.feed(long)
    assert decoder.nbytes == CHANGE_BYTES + len(long)
    assert decoder.nbytes == sum(part.nbytes for part in decoder.parts if isinstance(part, Collected))


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
    assert part.new == [(b"1", None, b"a"), (b"2", b"", b"a"), (b"1", UNSENT, b"a")]
    assert part.unsent
    assert not part.keyed


def test_a_delete_has_its_key_in_the_keys_order() -> None:
    part = collect(change(b"D", b"K", row(b"1", None, b"a")))
    assert (part.kinds, part.old, part.new) == (b"D", [(b"a", b"1")], [(UNSENT, UNSENT, UNSENT)])
    assert part.unsent
    assert part.keyed


def test_a_key_change_has_the_old_key() -> None:
    part = collect(change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"2", b"x", b"a")))
    assert part.old == [(b"a", b"1")]
    assert part.new == [(b"2", b"x", b"a")]
    assert part.keyed


def test_an_old_row_with_the_same_key_is_no_key_change() -> None:
    part = collect(
        change(b"U", b"O", row(b"1", b"long", b"a"), b"N", row(b"1", b"x", b"a")),
        change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"1", b"x", b"a")),
    )
    assert part.old == [(UNSENT, UNSENT)] * 2
    assert not part.keyed


def test_a_full_old_row_fills_in_what_is_unsent() -> None:
    part = collect(change(b"U", b"O", row(b"1", b"long", b"a"), b"N", row(b"1", UNSENT, b"a")))
    assert part.new == [(b"1", b"long", b"a")]
    assert not part.unsent


def test_an_old_key_fills_in_nothing_but_the_key() -> None:
    """The other cells of an old key are sent as NULL and mean nothing."""
    part = collect(change(b"U", b"K", row(b"1", None, b"a"), b"N", row(b"2", UNSENT, UNSENT)))
    assert part.new == [(b"2", UNSENT, b"a")]
    assert part.unsent


def test_a_truncate_parts_the_rows_before_it_from_those_after() -> None:
    decoder = within()
    decoder.feed(change(b"I", b"N", row(b"1", None, b"a")))
    truncate = b"T" + struct.pack("!IBI", 1, 0, 16390)
    assert decoder.feed(truncate) == Truncated((16390,))
    decoder.feed(change(b"I", b"N", row(b"2", None, b"a")))
    before, between, after = decoder.take()
    assert isinstance(before, Collected)
    assert isinstance(after, Collected)
    assert between == Truncated((16390,))
    assert (len(before.new), len(after.new)) == (1, 1)


def test_messages_origins_and_types_are_read() -> None:
    decoder = within()
    message = b"M" + struct.pack("!BQ", 1, 0x22) + b"syncline\0" + struct.pack("!I", 2) + b"{}"
    assert decoder.feed(message) == Message(True, 0x22, "syncline", b"{}")
    assert decoder.feed(b"O" + struct.pack("!Q", 5) + b"elsewhere\0") is None
    assert decoder.feed(b"Y" + struct.pack("!I", 5) + b"public\0mood\0") is None


def test_rows_of_ignored_and_muted_relations_are_left_out() -> None:
    decoder = within()
    decoder.muted.add(16390)
    assert decoder.feed(change(b"I", b"N", row(b"1", None, b"a"))) is None
    decoder.muted.clear()
    decoder.ignore(16390)
    assert decoder.feed(change(b"I", b"N", row(b"1", None, b"a"))) is None
    assert decoder.take() == []


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
    within().feed(message)
    for size in range(len(message)):
        with pytest.raises(Corruption):
            within().feed(message[:size])
    with pytest.raises(Corruption):
        within().feed(message + b"\0")


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
        within().feed(message)


@pytest.mark.parametrize("message", [COMMIT, GOLDEN[0], GOLDEN[4]])
def test_a_change_outside_a_transaction_is_corruption(message: bytes) -> None:
    decoder = within()
    decoder.feed(COMMIT)
    with pytest.raises(Corruption):
        decoder.feed(message)


@given(st.sampled_from(list(b"BCORYIUDTM")), st.binary(max_size=200))
@settings(max_examples=2000, deadline=None)
def test_random_bytes_decode_or_are_corruption(kind: int, rest: bytes) -> None:
    for lead in (b"", struct.pack("!I", 16390)):
        with contextlib.suppress(Corruption):
            within().feed(bytes([kind]) + lead + rest)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_flipped_bytes_decode_or_are_corruption(data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(GOLDEN)))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Corruption):
        within().feed(bytes(message))


cells = st.one_of(st.none(), st.just(UNSENT), st.binary(max_size=300))


@given(st.lists(st.tuples(st.binary(max_size=9), cells, st.binary(max_size=9)), max_size=20))
def test_rows_come_out_as_they_went_in(rows: list[tuple[bytes, Cell, bytes]]) -> None:
    decoder = within()
    for cells in rows:
        decoder.feed(change(b"U", b"N", row(*cells)))
    parts = decoder.take()
    found = [cells for part in parts if isinstance(part, Collected) for cells in part.new]
    assert found == rows
