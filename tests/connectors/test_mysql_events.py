"""The binlog from bytes: packets, checksums, GTIDs, and events that no server writes."""

from __future__ import annotations

import contextlib
import struct
import uuid
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.connectors.mysql.connection import Address
from syncline.connectors.mysql.decoder import Begin, Collected, Decoder, End, Event, Statement
from syncline.connectors.mysql.dump import Packets
from syncline.connectors.mysql.events import Bytes, Rotate, inflated, read_tagged_gtid
from syncline.connectors.mysql.gtid import MariaDBSet, MySQLSet
from syncline.errors import Corruption, NeedsOperator, Refused
from syncline.kernels.binlog import BYTES, Cell
from tests.kernels.row_events import event as rows_of

SOURCE = "0123abcd-0000-4000-8000-00000000beef"
CELLS = [Cell(-1, BYTES)]


def event(type: int, body: bytes, *, checksum: bool = True, at: int = 1000, flags: int = 0) -> bytes:
    """An event with its header."""
    size = 19 + len(body) + 4 * checksum
    data = struct.pack("<IBIIIH", 1_700_000_000, type, 1, size, at, flags) + body
    return data + struct.pack("<I", zlib.crc32(data)) * checksum


def format_of(version: str = "9.7.4", checksum: int = 1) -> bytes:
    body = struct.pack("<H50sIB", 4, version.encode(), 0, 19) + bytes(40) + bytes([checksum])
    return event(15, body)


def table_map(number: int = 77, name: bytes = b"t") -> bytes:
    """A table of one varchar(60), `name`, in utf8mb4."""
    body = struct.pack("<IHH", number, 0, 1) + b"\1d\0" + bytes([len(name)]) + name + b"\0"
    body += b"\1\x0f" + b"\2" + struct.pack("<H", 240) + b"\1"
    body += b"\2\3\xfc\xff\0"  # the collation 255
    return body + b"\4\5\4name" + b"\x08\1\0"


GTID = event(33, b"\1" + uuid.UUID(SOURCE).bytes + struct.pack("<Q", 5) + bytes(18))
BEGIN = event(2, bytes(8) + b"\1" + bytes(2) + struct.pack("<H", 0) + b"d\0BEGIN")
TABLE = event(19, table_map())
ROWS = event(30, rows_of(30, CELLS, [[[b"one"]], [[b"two"]]]))
XID = event(16, bytes(8), at=2000)
WHOLE = [GTID, BEGIN, TABLE, ROWS, XID]


def query(text: str, database: bytes = b"d") -> bytes:
    return event(2, bytes(8) + bytes([len(database)]) + bytes(4) + database + b"\0" + text.encode())


def fed(decoder: Decoder, *events: bytes) -> list[Event]:
    return [told for one in events for told in decoder.feed(one)]


def decoder_of(version: str = "9.7.4") -> Decoder:
    decoder = Decoder()
    assert fed(decoder, event(4, struct.pack("<Q", 4) + b"log.000007", flags=0x20)) == [
        Rotate("log.000007", 4)
    ]
    assert fed(decoder, format_of(version)) == []
    return decoder


def test_a_transaction_from_its_bytes() -> None:
    decoder = decoder_of()
    assert fed(decoder, *WHOLE) == [Begin(f"{SOURCE}:5"), End(f"{SOURCE}:5", 1_700_000_000)]
    (part,) = decoder.take()
    assert isinstance(part, Collected)
    assert (part.table.database, part.table.name, part.count, part.table.key) == ("d", "t", 2, (0,))
    assert (decoder.file, decoder.offset) == ("log.000007", 2000)
    assert decoder.take() == []


def test_an_offset_goes_on_beyond_four_gigabytes() -> None:
    decoder = decoder_of()
    for at in (0xFFFF_FF00, 0x10, 0x20):
        fed(decoder, event(29, b"\0", at=at))
    assert decoder.offset == 0x1_0000_0020


@pytest.mark.parametrize("at", range(len(WHOLE)))
def test_a_flipped_bit_is_another_checksum(at: int) -> None:
    decoder = decoder_of()
    fed(decoder, *WHOLE[:at])
    broken = bytearray(WHOLE[at])
    broken[-6] ^= 1
    with pytest.raises(Corruption, match="checksum"):
        fed(decoder, bytes(broken))


def test_events_without_checksums_are_read_as_such() -> None:
    decoder = Decoder()
    fed(decoder, format_of(checksum=0))
    assert len(fed(decoder, *(event(one[4], one[19:-4], checksum=False) for one in WHOLE))) == 2
    with pytest.raises(Corruption, match="unknown checksum 7"):
        fed(decoder, format_of(checksum=7))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([GTID, GTID], "a transaction begins within another"),
        ([XID], "a transaction ends that did not begin"),
        ([BEGIN], "a statement outside a transaction"),
        ([GTID, TABLE, ROWS], "rows outside a transaction"),
        ([GTID, BEGIN, ROWS], "table 77 that was not announced"),
        ([*WHOLE, ROWS], "rows outside a transaction"),
        (
            [GTID, BEGIN, TABLE, event(30, rows_of(30, CELLS, []) + b"\0\5four")],
            "a cell reaches past its end",
        ),
        ([event(199, b"")], "an event of the unknown type 199"),
        ([GTID, BEGIN, event(19, table_map()[:-9])], "it ends too early"),
        ([GTID, BEGIN, event(19, table_map() + b"\x08\1")], "it ends too early"),
        ([GTID, BEGIN, event(19, table_map().replace(b"\x0f\2", b"\x06\2"))], "the unknown type 6"),
        ([event(40, b"\2\1\x63\1\1\2\0ab")], "the unknown compression 99"),
        ([event(40, b"\2\1\0\1\1\4\3\1\x20\0abcd")], "."),
        ([GTID, BEGIN, TABLE, event(166, rows_of(23, CELLS, []) + b"\x81\5abc")], "."),
    ],
)
def test_what_no_server_writes_is_corruption(events: list[bytes], why: str) -> None:
    with pytest.raises(Corruption, match=why):
        fed(decoder_of(), *events)


def test_an_unknown_event_that_may_be_passed_over_is() -> None:
    assert fed(decoder_of(), event(199, b"", flags=0x80)) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("INSERT INTO t VALUES (1)", r"a statement \(INSERT\) in the place of its rows"),
        ("/* why */ -- not\n update t set a = 1", r"a statement \(UPDATE\)"),
        ("ROLLBACK TO `x`", "ROLLBACK TO `x` after rows"),
        ("ROLLBACK", "ROLLBACK after rows"),
    ],
)
def test_what_cannot_be_followed_is_said(text: str, why: str) -> None:
    with pytest.raises(NeedsOperator, match=why):
        fed(decoder_of(), *WHOLE[:-1], query(text))
    for type in (5, 13, 14, 17, 18, 26, 39):
        with pytest.raises(NeedsOperator):
            fed(decoder_of(), event(type, bytes(20)))


def test_rows_before_and_after_a_statement_stay_apart() -> None:
    decoder = decoder_of()
    fed(
        decoder,
        GTID,
        BEGIN,
        TABLE,
        ROWS,
        query("CREATE TABLE u (n int)"),
        TABLE,
        ROWS,
        query("SAVEPOINT x"),
        XID,
    )
    parts = decoder.take()
    assert [type(part) for part in parts] == [Collected, Statement, Collected]
    assert [part.count for part in parts if isinstance(part, Collected)] == [2, 2]


def test_a_table_that_changed_under_one_number_is_another_part() -> None:
    decoder = decoder_of()
    fed(decoder, GTID, BEGIN, TABLE, ROWS, event(19, table_map(name=b"later")), ROWS, XID)
    assert [part.table.name for part in decoder.take() if isinstance(part, Collected)] == ["t", "later"]


def test_a_compressed_transaction_is_bounded_by_what_it_says() -> None:
    inner = b"".join(event(one[4], one[19:-4], checksum=False) for one in WHOLE[1:])
    packed = pa.compress(inner, "zstd", asbytes=True)

    def payload(size: int) -> bytes:
        def number(value: int) -> bytes:
            return b"\xfc" + struct.pack("<H", value)

        fields = b"\2\1\0" + b"\3\3" + number(size) + b"\1\3" + number(len(packed)) + b"\0"
        return event(40, fields + packed)

    assert End(f"{SOURCE}:5", 1_700_000_000) in fed(decoder_of(), GTID, payload(len(inner)))
    for size in (len(inner) - 1, len(inner) + 30):
        with pytest.raises(Corruption):
            fed(decoder_of(), GTID, payload(size))
    nested = event(40, b"\2\1\0\0", checksum=False)
    packed = pa.compress(nested, "zstd", asbytes=True)
    with pytest.raises(Corruption, match="within another"):
        fed(decoder_of(), GTID, payload(len(nested)))


def test_what_was_deflated_comes_to_what_it_says() -> None:
    content = b"x" * 5000
    packed = zlib.compress(content)
    assert inflated(b"\x82" + (5000).to_bytes(2, "big") + packed) == content
    for broken in (
        b"\x82" + (4999).to_bytes(2, "big") + packed,
        b"\x82" + (5001).to_bytes(2, "big") + packed,
        b"\x82" + (5000).to_bytes(2, "big") + packed[:-1],
        b"\x92" + (5000).to_bytes(2, "big") + packed,
        b"\x02" + packed,
    ):
        with pytest.raises(ValueError, match=r"."):
            inflated(broken)


@given(st.integers(0, len(WHOLE) - 1), st.data())
@settings(max_examples=300)
def test_any_bytes_end_in_an_event_or_an_error_of_ours(at: int, data: st.DataObject) -> None:
    """With a checksum that is right, so that nothing is caught by it."""
    decoder = decoder_of(data.draw(st.sampled_from(["9.7.4", "5.5.5-10.11.6-MariaDB"])))
    fed(decoder, *WHOLE[:at])
    body = bytearray(WHOLE[at][19:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(body) - 1, 0)))
        match data.draw(st.sampled_from(["cut", "flip", "insert"])):
            case "cut":
                del body[place:]
            case "flip" if body:
                body[place] = data.draw(st.integers(0, 255))
            case "insert":
                body[place:place] = data.draw(st.binary(max_size=6))
    kind = data.draw(st.sampled_from([WHOLE[at][4], *range(44), *range(160, 172)]))
    with contextlib.suppress(Corruption, NeedsOperator):
        fed(decoder, event(kind, bytes(body)), *WHOLE[at + 1 :])
    for part in decoder.take():
        if isinstance(part, Collected):
            part.read((0,)).column(0)


# Packets.


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 40))
@settings(max_examples=100)
def test_packets_come_whole_however_they_are_cut(payloads: list[bytes], step: int) -> None:
    stream = b"".join(
        len(payload).to_bytes(3, "little") + bytes([at + 1 & 0xFF]) + payload
        for at, payload in enumerate(payloads)
    )
    packets = Packets(1)
    found = [one for at in range(0, len(stream), step) for one in packets.feed(stream[at : at + step])]
    assert found == payloads


def test_a_payload_of_several_packets_is_one() -> None:
    big = bytes(0xFF_FFFF)
    parts = [(1, big), (2, b"tail"), (3, b"next"), (4, big), (5, big), (6, b"")]
    stream = b"".join(len(part).to_bytes(3, "little") + bytes([number]) + part for number, part in parts)
    found = list(Packets(1).feed(stream))
    assert [len(one) for one in found] == [0xFF_FFFF + 4, 4, 2 * 0xFF_FFFF]
    assert found[0].endswith(b"tail")


def test_a_packet_that_is_missing_is_corruption() -> None:
    packets = Packets(1)
    assert list(packets.feed(b"\1\0\0\1a")) == [b"a"]
    with pytest.raises(Corruption, match="packet 3 came in a wrong place"):
        list(packets.feed(b"\1\0\0\3c"))


# GTIDs.


def test_sets_of_mysql() -> None:
    text = f"{SOURCE}:1-5:7:blue:1-2:9, {SOURCE.replace('b', 'c')}:3"
    known = MySQLSet.parse(text.upper())
    assert MySQLSet.parse(str(known)) == known
    assert str(known.add(f"{SOURCE}:6")).startswith(f"{SOURCE}:1-7,")
    assert known.contains(MySQLSet.parse(f"{SOURCE}:2-4:blue:9"))
    for beyond in (f"{SOURCE}:6", f"{SOURCE}:5-7", f"{SOURCE}:green:1", f"{SOURCE}:blue:1-3"):
        assert not known.contains(MySQLSet.parse(beyond)), beyond
    for broken in ("nonsense:1", f"{SOURCE}:0", f"{SOURCE}:5-4", f"{SOURCE}:x y-"):
        with pytest.raises(ValueError, match=r"."):
            MySQLSet.parse(broken)
    plain = MySQLSet.parse(f"{SOURCE}:1-5")
    assert plain.encode() == struct.pack("<Q", 1) + uuid.UUID(SOURCE).bytes + struct.pack("<QQQ", 1, 1, 6)


def test_sets_of_mariadb() -> None:
    known = MariaDBSet.parse("0-1-5, 3-2-9")
    assert str(known.add("0-7-6")) == "0-7-6,3-2-9"
    assert known.contains(MariaDBSet.parse("3-1-9"))
    assert not known.contains(MariaDBSet.parse("3-1-10"))
    assert not known.contains(MariaDBSet.parse("1-1-1"))


def test_a_number_of_the_serialization_library_has_any_length() -> None:
    for size in range(1, 9):
        for value in (1 << (7 * size - 1), (1 << 7 * size) - 1):
            data = (value << size | (1 << (size - 1)) - 1).to_bytes(size, "little")
            assert Bytes(data).varying() == value
    assert Bytes(b"\xff" + b"\xfe" * 8).varying() == int.from_bytes(b"\xfe" * 8, "little")
    with pytest.raises(IndexError):
        read_tagged_gtid(Bytes(b"\2\x50\0\2\x06"))


# URLs.


def test_a_url_is_an_address_that_shows_no_password() -> None:
    address = Address.parse("mysql://me%40x:p%2Fw@db.example.org:3307/shop")
    found = (address.host, address.port, address.user, address.password, address.database)
    assert found == ("db.example.org", 3307, "me@x", "p/w", "shop")
    assert "p/w" not in repr(address) + str(address)
    for broken in ("mysql://db:port/x", "mysql://db/x?unknown=1"):
        with pytest.raises(Refused, match="cannot read the URL"):
            Address.parse(broken)
