"""The events of the binlog as values, but for the rows, which the kernel reads; no IO.

Format: MySQL source, libs/mysql/binlog/event; MariaDB Knowledge Base, "Replication Protocol", GTID_EVENT and
the compressed events; of tagged GTIDs: MySQL source, libs/mysql/serialization.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from ...errors import Corruption
from ...kernels.binlog import malformed

HEADER: Final = 19
CHECKSUM: Final = 4
_HEADER: Final = struct.Struct("<IBIIIH")

ARTIFICIAL: Final = 0x20
"""The header's flag of an event that lies in no file: it tells a reader where it stands."""
IGNORABLE: Final = 0x80
"""The header's flag of an event that may be passed over by those who do not know its type."""


class Header(NamedTuple):
    """An event's header; `next` is where the next event starts, in 32 bits."""

    time: int
    type: int
    server: int
    size: int
    next: int
    flags: int


@dataclass(frozen=True, slots=True)
class Gtid:
    """A group of events begins: `gtid` is its text, '' where the server gives none. `begun`: a transaction
    has begun with it; else the statement that follows may begin one, or is all of the group."""

    gtid: str
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, run with this database chosen."""

    database: str
    text: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An XA transaction is prepared, or with `one_phase` committed; `xid` as the statement wrote it."""

    xid: str
    one_phase: bool


@dataclass(frozen=True, slots=True)
class Rotate:
    """The log goes on in another file."""

    file: str
    offset: int


class Bytes:
    """A place in an event that is read from front to back. IndexError past the end."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        """How many bytes were not read."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """So many bytes."""
        if size > self.left:
            raise IndexError
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """The unsigned number of so many bytes, the lowest first."""
        return int.from_bytes(self.take(size), "little")

    def packed(self) -> int:
        """A number in one to nine bytes."""
        first = self.number(1)
        if first < 251:
            return first
        if first not in (252, 253, 254):
            raise ValueError(f"a number that begins with {first}")
        return self.number({252: 2, 253: 3, 254: 8}[first])

    def text(self) -> bytes:
        """Bytes after their number."""
        return self.take(self.packed())

    def name(self) -> str:
        """A name after its length, a zero behind it."""
        name = self.take(self.number(1)).decode()
        if self.number(1):
            raise ValueError(f"the name {name} does not end")
        return name

    def varying(self) -> int:
        """An unsigned number of the serialization library: as many bytes more as there are ones at the end of
        the first."""
        first = self.number(1)
        more = 0
        while first >> more & 1:
            more += 1
        rest = self.number(more)
        return first >> (more + 1) | rest << max(7 - more, 0) if more < 8 else rest

    def end(self) -> None:
        """ValueError when anything is left."""
        if self.left:
            raise ValueError(f"{self.left} bytes follow its end")


def read_header(event: bytes) -> Header:
    """The header of an event. Corruption when its size is another one."""
    if len(event) < HEADER:
        raise malformed(event, "it ends within its header")
    header = Header(*_HEADER.unpack_from(event))
    if header.size != len(event):
        raise malformed(event, f"its header tells {header.size} bytes")
    return header


def has_checksum(event: bytes) -> bool:
    """Whether an event ends with its checksum."""
    body = memoryview(event)[:-CHECKSUM]
    return len(body) >= HEADER and zlib.crc32(body) == int.from_bytes(event[-CHECKSUM:], "little")


def checked(event: bytes) -> bytes:
    """An event without its checksum. Corruption when that is another one."""
    if not has_checksum(event):
        raise Corruption("read", "the binlog", "an event's checksum is another one than its bytes have")
    return event[:-CHECKSUM]


class Format(NamedTuple):
    """How the events of a file are written: by which server, and whether with checksums."""

    mariadb: bool
    checksums: bool


def read_format(event: bytes) -> Format:
    """What a FORMAT_DESCRIPTION tells of the events after it. ValueError for an unknown checksum."""
    version = event[HEADER + 2 : HEADER + 52].rstrip(b"\0").decode("ascii", "replace")
    # It has a checksum itself wherever its server knows them, on or off.
    algorithm = event[-CHECKSUM - 1]
    if algorithm not in (0, 1):
        raise ValueError(f"the unknown checksum {algorithm} of a server {version}")
    return Format("mariadb" in version.lower(), algorithm == 1)


def read_gtid(body: Bytes) -> Gtid:
    """MySQL's GTID event."""
    body.number(1)
    source = uuid.UUID(bytes=body.take(16))
    return Gtid(f"{source}:{body.number(8)}")


def read_tagged_gtid(body: Bytes) -> Gtid:
    """MySQL's event of a GTID with a tag, or of one without in the same form: numbered fields, of which those
    after the tag are not needed."""
    body.varying()  # the version
    body.varying()  # the size
    body.varying()  # the last field that may not be passed over
    source, number, tag = b"", 0, ""
    while body.left and not tag:
        match body.varying():
            case 0:
                body.varying()
            case 1:
                source = bytes(body.varying() for _ in range(16))
            case 2:
                number = body.varying() >> 1  # its lowest bit is the sign
            case 3:
                tag = body.take(body.varying()).decode("ascii")
                break
            case field:
                raise ValueError(f"a GTID with the field {field} before its tag")
    return Gtid(":".join(filter(None, [str(uuid.UUID(bytes=source)), tag, str(number)])))


def read_mariadb_gtid(body: Bytes, server: int) -> Gtid:
    """MariaDB's GTID event; the server stands in the header."""
    number, domain, flags = body.number(8), body.number(4), body.number(1)
    return Gtid(f"{domain}-{server}-{number}", begun=not flags & 1)


def read_query(body: Bytes, compressed: bool = False) -> Query:
    """A statement. What is not UTF-8 in it is replaced by surrogates."""
    body.take(8)
    database, _, variables = body.number(1), body.number(2), body.number(2)
    body.take(variables)
    name = body.take(database).decode()
    if body.number(1):
        raise ValueError("the database's name does not end")
    text = body.take(body.left)
    return Query(name, (inflated(text) if compressed else text).decode("utf-8", "surrogateescape"))


def read_rotate(body: Bytes) -> Rotate:
    """The name of the next file and where it goes on."""
    offset = body.number(8)
    return Rotate(body.take(body.left).decode(), offset)


def read_prepared(body: Bytes) -> Prepared:
    """The end of an XA transaction's first phase."""
    one_phase = bool(body.number(1))
    form, first, second = struct.unpack("<iii", body.take(12))
    if not 0 <= first <= 64 or not 0 <= second <= 64:
        raise ValueError("an xid longer than 64 bytes")
    global_part, branch = body.take(first), body.take(second)
    return Prepared(f"X'{global_part.hex()}',X'{branch.hex()}',{form}", one_phase)


def inflated(data: bytes) -> bytes:
    """What MariaDB compressed: a byte with the algorithm and the length's length, the length, the content.
    ValueError for what is no such thing, or becomes more than it says."""
    head = data[0]
    size = head & 7
    if head & 0x80 == 0 or head & 0x70 or not 1 <= size <= 4:
        raise ValueError(f"the unknown compression {head:#x}")
    length = int.from_bytes(data[1 : 1 + size], "big")
    try:
        stream = zlib.decompressobj()
        content = stream.decompress(data[1 + size :], length + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(content) != length or not stream.eof or stream.unused_data:
        raise ValueError(f"{len(content)} bytes where {length} were compressed")
    return content


class Payload(NamedTuple):
    """The events of a transaction that MySQL compressed, `size` bytes without compression."""

    compressed: bool
    size: int
    data: bytes


def read_payload(body: Bytes) -> Payload:
    """What a TRANSACTION_PAYLOAD event holds: numbered fields up to a zero, then the content."""
    size = algorithm = length = 0
    while field := body.packed():
        value = Bytes(body.text())
        number = value.packed()
        value.end()
        if field == 1:
            length = number
        elif field == 2:
            algorithm = number
        elif field == 3:
            size = number
    data = body.take(length)
    body.end()
    if algorithm not in (0, 255):
        raise ValueError(f"the unknown compression {algorithm}")
    return Payload(algorithm == 0, size or length, data)
