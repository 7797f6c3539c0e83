"""The decoder of pgoutput's messages, protocol version 1 with logical messages; no IO.

In: the payloads of XLogData messages. Out: rows put aside by relation, to be read column by column, and the
few messages a caller decides about as values. Rows are the kernel's; Python runs here per transaction and
per relation.

Protocol: PostgreSQL documentation, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from ...kernels import pgoutput as kernel
from ...kernels.pgoutput import malformed

ROW_BYTES: Final = 48
CELL_BYTES: Final = 12
"""What a row and each of its cells take in memory besides what they take on the wire, however short they are:
the message is an object of its own until it is read, then each cell has its place, an offset and its bits
(Promise 8). With a dozen columns 8 MiB are about 25,000 changes."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction begins; `commit_lsn` is where its commit record starts."""

    commit_lsn: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The transaction ends; `end_lsn` is the end of its commit record."""

    commit_lsn: int
    end_lsn: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column as the log tells it; `identity`: part of what identifies the old row."""

    name: str
    type_oid: int
    type_modifier: int
    identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it stands at this place of the log. `identity` is pg_class.relreplident."""

    id: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Truncated:
    """All rows of these relations went away at once."""

    relations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """What pg_logical_emit_message wrote."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Columns:
    """Changes of one relation in the order of the log.

    `kinds` has one of b'I', b'U', b'D' a row. `after` has an array a column of the relation, `before` one a
    column of the key, in the key's order: the cells of the old key for a delete and for an update that
    changed the key. Cells are the server's text as bytes; NULL and unsent cells are null, and the masks
    beside them say which are unsent (None: none are).
    """

    kinds: bytes
    before: list[pa.Array]
    before_unsent: list[pa.Array | None]
    after: list[pa.Array]
    after_unsent: list[pa.Array | None]


@dataclass(slots=True)
class Collected:
    """Row messages of one relation in the order of the log; `key` are the places of its key's columns."""

    relation: Relation
    key: tuple[int, ...]
    messages: list[bytes] = field(default_factory=list)

    @property
    def row_bytes(self) -> int:
        """What a row takes in memory besides its message's own bytes."""
        return ROW_BYTES + CELL_BYTES * (len(self.relation.columns) + len(self.key))

    @property
    def nbytes(self) -> int:
        """What its rows take in memory."""
        return sum(map(len, self.messages)) + len(self.messages) * self.row_bytes

    def extend(self, other: Collected) -> None:
        """Add the later changes of the same relation."""
        self.messages += other.messages

    def read(self) -> Columns:
        """The cells of all messages. Corruption for one that cannot be pgoutput's."""
        width = len(self.relation.columns)
        decoded = kernel.Decoded(self.messages, width, self.key)
        before = [_arrays(decoded, width + place) for place in range(len(self.key))]
        after = [_arrays(decoded, place) for place in range(width)]
        return Columns(
            bytes(decoded.kinds),
            [cells for cells, _ in before],
            [unsent for _, unsent in before],
            [cells for cells, _ in after],
            [unsent for _, unsent in after],
        )


def _arrays(decoded: kernel.Decoded, place: int) -> tuple[pa.Array, pa.Array | None]:
    """A column's cells and the mask of those that are unsent."""
    column = decoded.column(place)
    parts = [column.validity, column.offsets, column.payload]
    buffers = [pa.py_buffer(part) for part in parts]
    cells = pa.Array.from_buffers(pa.binary(), decoded.count, buffers, column.nulls)
    if not column.holes:
        return cells, None
    return cells, pa.Array.from_buffers(pa.bool_(), decoded.count, [None, pa.py_buffer(column.unsent)], 0)


Part = Collected | Truncated
Event = Begin | Commit | Relation | Truncated | Message


class Decoder:
    """Puts the rows of watched relations aside and hands every other message to the caller.

    Rows are put aside between a Begin and its Commit, in `parts`, one part a relation up to a truncate;
    `nbytes` is what they take in memory. Everything that cannot be pgoutput's raises Corruption, a row that
    is watched when it is read.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.nbytes = 0
        self.within = False  # between Begin and Commit
        self._muted: frozenset[int] = frozenset()
        self._watched: dict[int, tuple[Relation, tuple[int, ...]]] = {}
        self._known: set[int] = set()
        self._places: dict[int, tuple[list[bytes], int] | None] = {}

    def watch(self, relation: Relation, key: tuple[int, ...]) -> None:
        """Put the rows of this relation aside from here on; `key` are the places of its key's columns."""
        self._watched[relation.id] = relation, key
        self._places.pop(relation.id, None)

    def ignore(self, relation: int) -> None:
        """Put nothing more of this relation aside."""
        self._watched.pop(relation, None)
        self._places.pop(relation, None)

    def mute(self, relations: Collection[int]) -> None:
        """Drop the rows of these relations until the next call; they may be watched or not."""
        self._muted = frozenset(relations)
        self._places = {
            relation: place
            for relation, place in self._places.items()
            if place is not None and relation not in self._muted
        }

    def take(self) -> list[Part]:
        """What was put aside since the last call."""
        parts, self.parts, self.nbytes = self.parts, [], 0
        self._places.clear()
        return parts

    def collect(self, frames: list[Any], at: int, room: int) -> int:
        """Take in row messages, from frames[at] on, while `nbytes` is less than `room`; the place of the
        first frame that was not taken: `room` is used up, or it is none."""
        while True:
            at, self.nbytes = kernel.collect(frames, at, self._places, self.nbytes, room)
            if at == len(frames) or self.nbytes >= room or not self._admit(frames[at]):
                return at

    def _admit(self, frame: Any) -> bool:
        """Make a place for the rows of the relation of a row message; False when it is none."""
        if not isinstance(frame, bytes) or frame[:1] not in (b"I", b"U", b"D"):
            return False
        if len(frame) < 5:
            raise malformed(frame, "it ends too early")
        if not self.within:
            raise malformed(frame, "a change outside a transaction")
        (relation,) = struct.unpack_from("!I", frame, 1)
        watched = self._watched.get(relation)
        if watched is None and relation not in self._known:
            raise malformed(frame, f"a change of relation {relation} that was not announced")
        if watched is None or relation in self._muted:
            self._places[relation] = None
        else:
            collected = Collected(*watched)
            self.parts.append(collected)
            self._places[relation] = collected.messages, collected.row_bytes
        return True

    def feed(self, data: bytes) -> Event | None:
        """Take one other message in; None when it is of no consequence (origin, type)."""
        try:
            return self._feed(data)
        except (struct.error, IndexError, ValueError) as error:
            raise malformed(data, str(error)) from None

    def _feed(self, data: bytes) -> Event | None:
        match data[0]:
            case 66 if not self.within:  # B
                commit_lsn, _, xid = _exact("!QqI", data)
                self.within = True
                return Begin(commit_lsn, xid)
            case 67 if self.within:  # C
                _, commit_lsn, end_lsn, _ = _exact("!BQQq", data)
                self.within = False
                # A row outside a transaction has no place.
                self._places.clear()
                return Commit(commit_lsn, end_lsn)
            case 82:  # R
                relation = _relation(data)
                self._known.add(relation.id)
                return relation
            case 84:  # T
                return self._truncate(data)
            case 77:  # M
                return _message(data)
            case 79:  # O
                _end(data, _text(data, 9)[1])
            case 89:  # Y
                _, at = _text(data, 5)
                _end(data, _text(data, at)[1])
            case _:
                raise malformed(data, "no such message may stand here")
        return None

    def _truncate(self, data: bytes) -> Truncated | None:
        count, _ = struct.unpack_from("!IB", data, 1)
        if not self.within:
            raise malformed(data, "a truncate outside a transaction")
        if len(data) != 6 + 4 * count:
            raise malformed(data, f"{count} relations in {len(data)} bytes")
        relations = struct.unpack_from(f"!{count}I", data, 6)
        unknown = [relation for relation in relations if relation not in self._known]
        if unknown:
            raise malformed(data, f"a truncate of relation {unknown[0]} that was not announced")
        wanted = tuple(r for r in relations if r in self._watched and r not in self._muted)
        if not wanted:
            return None
        truncated = Truncated(wanted)
        # Rows before and after it must not meet in one part.
        self._places.clear()
        self.parts.append(truncated)
        self.nbytes += len(data)
        return truncated


def _text(data: bytes, at: int) -> tuple[str, int]:
    """The zero-terminated text at that place, and the place after it."""
    if at > len(data):
        raise malformed(data, "it ends within its header")
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _exact(form: str, data: bytes) -> tuple[int, ...]:
    if len(data) != 1 + struct.calcsize(form):
        raise malformed(data, f"{len(data)} bytes")
    return struct.unpack_from(form, data, 1)


def _end(data: bytes, at: int) -> None:
    if at != len(data):
        raise malformed(data, f"{len(data) - at} bytes follow its end")


def _relation(data: bytes) -> Relation:
    (relation,) = struct.unpack_from("!I", data, 1)
    namespace, at = _text(data, 5)
    name, at = _text(data, at)
    identity, count = struct.unpack_from("!BH", data, at)
    if identity not in b"dnfi":
        raise malformed(data, f"replica identity {identity}")
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        column, at = _text(data, at + 1)
        oid, modifier = struct.unpack_from("!Ii", data, at)
        columns.append(RelationColumn(column, oid, modifier, bool(flags & 1)))
        at += 8
    _end(data, at)
    return Relation(relation, namespace or "pg_catalog", name, chr(identity), tuple(columns))


def _message(data: bytes) -> Message:
    flags, lsn = struct.unpack_from("!BQ", data, 1)
    prefix, at = _text(data, 10)
    (size,) = struct.unpack_from("!I", data, at)
    _end(data, at + 4 + size)
    return Message(bool(flags & 1), lsn, prefix, data[at + 4 :])
