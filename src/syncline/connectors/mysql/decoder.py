"""The binlog's events to transactions; no IO.

In: events as they lie in the log. Out: the rows of each transaction, put aside by table to be read column by
column, its statements, and where it begins and ends. Rows are the kernel's; Python runs here per event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from ...errors import NeedsOperator
from ...kernels import binlog as kernel
from ...kernels.binlog import malformed
from . import events
from .events import Bytes, Gtid, Header, Prepared, Query, Rotate
from .tablemap import TableMap, read_table_map

ROW_BYTES: Final = 24
CELL_BYTES: Final = 20
"""What a row and each of its cells take in memory besides what they take in the log: a cell has its place and
size, and in its column an offset or a number, and bits (Promise 8)."""

_MAPS: Final = 10_000
"""How many tables are remembered as the log told them; then it begins anew."""

_CHUNK: Final = 1 << 20


@dataclass(slots=True)
class Collected:
    """Row events of one table in the order of the log; all its columns are in every image."""

    table: TableMap
    count: int = 0
    kinds: bytearray = field(default_factory=bytearray)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """What its rows take in memory."""
        cells = CELL_BYTES * 2 * len(self.table.columns)
        return sum(map(len, self.bodies)) + self.count * (ROW_BYTES + cells)

    def read(self, key: tuple[int, ...]) -> kernel.Decoded:
        """The cells of all changes; `key` are the places of the columns whose old cells are wanted."""
        return kernel.Decoded(self.table.layout, bytes(self.kinds), self.bodies, self.count, key)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the log that changes no single rows: a table's shape, or all of its rows."""

    database: str
    text: str


Part = Collected | Statement


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction begins."""

    gtid: str


@dataclass(frozen=True, slots=True)
class End:
    """The transaction ends. `time` is the server's, in seconds.

    Of an XA transaction that is not decided yet `prepared` is the xid: its rows count only once a later
    transaction, which has none, ends with that xid as `committed`, and never if as `rolled_back`.
    """

    gtid: str
    time: int
    prepared: str = ""
    committed: str = ""
    rolled_back: str = ""


@dataclass(frozen=True, slots=True)
class Within:
    """One of many events that came in one was taken in: a moment to look at `nbytes`."""


Event = Begin | End | Rotate | Within


class Decoder:
    """Puts the rows and statements of each transaction aside in `parts`, one part a table up to a statement,
    and tells where transactions begin and end. `nbytes` is what the parts take in memory.

    Corruption for whatever the server cannot have written, NeedsOperator for what it may have but what
    cannot be followed exactly.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.nbytes = 0
        self.file = ""
        self.offset = 0
        self._format = events.Format(False, False)
        self._gtid: Gtid | None = None
        self._within = False  # between a transaction's first statement and its last event
        self._maps: dict[bytes, TableMap] = {}
        self._tables: dict[int, TableMap] = {}
        self._places: dict[int, Collected] = {}

    def take(self) -> list[Part]:
        """What was put aside since the last call."""
        parts, self.parts, self.nbytes = self.parts, [], 0
        self._places.clear()
        return parts

    def feed(self, event: bytes) -> Iterator[Event]:
        """Take one event in. More than one comes out of a compressed transaction, of most none."""
        header = events.read_header(event)
        try:
            if header.type == 15:  # FORMAT_DESCRIPTION
                self._format = events.read_format(event)
                self._tables.clear()
            else:
                # One that says where the reader begins comes before any word of checksums.
                if header.type == 4 and header.flags & events.ARTIFICIAL:
                    event = event[: -events.CHECKSUM] if events.has_checksum(event) else event
                elif self._format.checksums:
                    event = events.checked(event)
                self._count(header)
                yield from self._feed(header, event[events.HEADER :])
        except (IndexError, ValueError) as error:
            raise malformed(event, str(error) or "it ends too early") from None

    def _count(self, header: Header) -> None:
        """Follow the place in the file; the header has its lower 32 bits."""
        if header.next and not header.flags & events.ARTIFICIAL and header.type != 27:
            low = self.offset & 0xFFFF_FFFF
            self.offset += header.next - low + (1 << 32 if header.next < low else 0)

    def _feed(self, header: Header, body: bytes) -> Iterator[Event]:
        kind = header.type
        if kind in _COMPRESSED_ROWS:
            kind, body = _COMPRESSED_ROWS[kind], self._inflated_rows(_COMPRESSED_ROWS[kind], body)
        if kind in _ROWS:
            self._put_rows(kind, body)
        elif kind == 19:  # TABLE_MAP
            self._put_table(body)
        elif kind == 40:  # TRANSACTION_PAYLOAD
            yield from self._unpack(events.read_payload(Bytes(body)))
        elif kind in _GTIDS:
            yield self._begin(_GTIDS[kind](Bytes(body), header.server))
        elif kind in (2, 165):  # QUERY, and compressed
            yield from self._query(events.read_query(Bytes(body), kind == 165), header)
        elif kind == 16:  # XID
            yield self._end(header)
        elif kind == 38:  # XA_PREPARE
            yield self._prepare(events.read_prepared(Bytes(body)), header)
        elif kind == 4:
            yield self._rotate(events.read_rotate(Bytes(body)))
        elif kind in _REFUSED:
            raise NeedsOperator("follow", "the binlog", *_REFUSED[kind])
        elif kind not in _PASSED and not header.flags & events.IGNORABLE:
            raise ValueError(f"an event of the unknown type {kind}")

    def _begin(self, gtid: Gtid) -> Begin:
        if self._gtid is not None:
            raise ValueError("a transaction begins within another")
        self._gtid = gtid
        self._within = gtid.begun
        return Begin(gtid.gtid)

    def _end(self, header: Header, **xid: str) -> End:
        if self._gtid is None:
            raise ValueError("a transaction ends that did not begin")
        gtid, self._gtid, self._within = self._gtid.gtid, None, False
        # A row outside a transaction has no place.
        self._places.clear()
        return End(gtid, header.time, **xid)

    def _prepare(self, prepared: Prepared, header: Header) -> End:
        return self._end(header, prepared="" if prepared.one_phase else prepared.xid)

    def _rotate(self, rotate: Rotate) -> Rotate:
        self.file, self.offset = rotate.file, rotate.offset
        return rotate

    def _query(self, query: Query, header: Header) -> Iterator[Event]:
        """A statement may begin a transaction, end it, be one, or be part of one."""
        if self._gtid is None:
            raise ValueError("a statement outside a transaction")
        word, second = _words(query.text)
        if word == "BEGIN" or (word, second) in (("XA", "START"), ("XA", "BEGIN")):
            self._within = True
        elif word == "COMMIT":
            yield self._end(header)
        elif (word, second) in (("XA", "COMMIT"), ("XA", "ROLLBACK")) and not self._within:
            xid = query.text.split(None, 2)[2].strip()
            yield self._end(header, **{"committed" if second == "COMMIT" else "rolled_back": xid})
        elif word == "ROLLBACK" and (self.parts or second):
            raise NeedsOperator(
                *("follow", "the binlog", f"it holds {query.text} after rows that it cannot take back"),
                "copy the tables anew",
            )
        elif word == "ROLLBACK":
            yield self._end(header)
        elif word in _ROW_STATEMENTS:
            raise NeedsOperator(
                *("follow", "the binlog", f"it holds a statement ({word}) in the place of its rows"),
                "run: SET GLOBAL binlog_format = 'ROW', and copy the tables anew",
            )
        elif word not in ("SAVEPOINT", "RELEASE") and (word, second) != ("XA", "END"):
            self.parts.append(Statement(query.database, query.text))
            self.nbytes += len(query.text) + ROW_BYTES
            # Rows before and after it must not meet in one part.
            self._places.clear()
            if not self._within:
                yield self._end(header)

    def _put_table(self, body: bytes) -> None:
        table = self._maps.get(body)
        if table is None:
            source = Bytes(body, 8)
            table = read_table_map(source, self._format.mariadb)
            if len(self._maps) >= _MAPS:
                self._maps.clear()
            self._maps[body] = table
        number = int.from_bytes(body[:6], "little")
        if self._tables.get(number) is not table:
            self._tables[number] = table
            self._places.pop(number, None)

    def _put_rows(self, kind: int, body: bytes) -> None:
        number = int.from_bytes(body[:6], "little")
        collected = self._places.get(number)
        if collected is None:
            if number not in self._tables:
                raise ValueError(f"rows of the table {number} that was not announced")
            if not self._within:
                raise ValueError("rows outside a transaction")
            collected = self._places[number] = Collected(self._tables[number])
            self.parts.append(collected)
        table = collected.table
        rows, whole = table.layout.count(kind, body)
        if not whole:
            raise NeedsOperator(
                *("follow", f"{table.database}.{table.name}", "the binlog holds only parts of its rows"),
                "run: SET GLOBAL binlog_row_image = 'FULL', and copy the table anew",
            )
        collected.count += rows
        collected.kinds.append(kind)
        collected.bodies.append(body)
        self.nbytes += len(body) + rows * (ROW_BYTES + CELL_BYTES * 2 * table.layout.width)

    def _inflated_rows(self, kind: int, body: bytes) -> bytes:
        """A row event of MariaDB whose rows are compressed, as one whose rows are not."""
        table = self._tables.get(int.from_bytes(body[:6], "little"))
        if table is None:
            raise ValueError("rows of a table that was not announced")
        at = table.layout.rows_at(kind, body, 0)
        return body[:at] + events.inflated(body[at:])

    def _unpack(self, payload: events.Payload) -> Iterator[Event]:
        """The events of a compressed transaction, which have no checksums of their own."""
        data = pa.BufferReader(payload.data)
        try:
            source = pa.CompressedInputStream(data, "zstd") if payload.compressed else data
            left = payload.size
            while left:
                head = source.read(events.HEADER)
                size = int.from_bytes(head[9:13], "little")
                if not events.HEADER <= size <= left or len(head) < events.HEADER:
                    raise ValueError(f"an event of {size} bytes where {left} are left")
                event = head + source.read(size - len(head))
                header = events.read_header(event)
                if header.type == 40:
                    raise ValueError("a compressed transaction within another")
                yield from self._feed(header, event[events.HEADER :])
                yield Within()
                left -= size
        except OSError as error:
            raise ValueError(str(error)) from None


def _mysql(read: Callable[[Bytes], Gtid]) -> Callable[[Bytes, int], Gtid]:
    return lambda body, server: read(body)


_GTIDS: Final[dict[int, Callable[[Bytes, int], Gtid]]] = {
    33: _mysql(events.read_gtid),
    34: lambda body, server: Gtid(""),  # no GTID is given
    42: _mysql(events.read_tagged_gtid),
    162: events.read_mariadb_gtid,
}

_ROWS: Final = {*kernel.WRITE, *kernel.UPDATE, *kernel.DELETE}
_COMPRESSED_ROWS: Final = {166: 23, 167: 24, 168: 25, 169: 30, 170: 31, 171: 32}

_PASSED: Final = {
    3,  # STOP
    27,  # HEARTBEAT
    28,  # IGNORABLE
    29,  # ROWS_QUERY
    35,  # PREVIOUS_GTIDS
    36,  # TRANSACTION_CONTEXT
    37,  # VIEW_CHANGE
    41,  # HEARTBEAT, version 2
    160,  # ANNOTATE_ROWS
    161,  # BINLOG_CHECKPOINT
    163,  # GTID_LIST
    164,  # START_ENCRYPTION
}

_STATEMENTS: Final = (
    "it holds statements in the place of rows",
    "run: SET GLOBAL binlog_format = 'ROW', and copy the tables anew",
)
_REFUSED: Final = {
    **dict.fromkeys((5, 9, 13, 14, 17, 18), _STATEMENTS),  # INTVAR, APPEND_BLOCK, RAND, USER_VAR, LOAD
    26: ("the server says that it may lack changes (an incident)", "copy the tables anew"),
    39: (
        "it holds rows with parts of JSON documents (PARTIAL_UPDATE_ROWS)",
        "run: SET GLOBAL binlog_row_value_options = '', and copy the tables anew",
    ),
}

_ROW_STATEMENTS: Final = {"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO", "SELECT"}

_BLANK: Final = re.compile(r"(?:\s+|/\*(?!!).*?\*/|--\s[^\n]*\n?|#[^\n]*\n?)*", re.DOTALL)
_WORD: Final = re.compile(r"\w*")


def _words(text: str) -> tuple[str, str]:
    """A statement's first two words in upper case, comments passed over."""
    words = []
    at = 0
    for _ in range(2):
        at = _BLANK.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text
        word = _WORD.match(text, at).group()  # type: ignore[union-attr]
        words.append(word.upper())
        at += len(word)
    return words[0], words[1]
