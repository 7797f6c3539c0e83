"""The decoder of pgoutput's messages, protocol version 1 with logical messages; no IO.

In: the payload of one XLogData message a call. Out: rows collected by relation into lists of tuples of
cells, and the few messages a caller decides about as values. A cell is its text as bytes, None for NULL,
or UNSENT. Python runs per message here and nowhere after it.

Protocol: PostgreSQL documentation, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ...errors import Corruption

CHANGE_BYTES: Final = 160
"""What a change takes at the least: its cells and their tuples are Python's, however short it is on the
wire. 8 MiB are about 50,000 such changes."""


class Unsent(Enum):
    """The type of the one value UNSENT."""

    UNSENT = "unsent"


UNSENT: Final = Unsent.UNSENT
Cell = bytes | None | Unsent
Cells = tuple[Cell, ...]


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


class Collected:
    """Changes of one relation in the order of the log.

    `kinds` has one of b'I', b'U', b'D' a row; `new` the row's cells, all unsent for a delete; `old` the
    cells of the old key, in the key's order, for a delete and for an update that changed the key, else
    all unsent. `unsent` and `keyed` tell whether any cell of `new` is unsent, any of `old` is not.
    """

    __slots__ = ("keyed", "kinds", "nbytes", "new", "old", "relation", "unsent")

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self.kinds = bytearray()
        self.old: list[Cells] = []
        self.new: list[Cells] = []
        self.unsent = self.keyed = False
        self.nbytes = 0

    def extend(self, other: Collected) -> None:
        """Add the later changes of the same relation."""
        self.kinds += other.kinds
        self.old += other.old
        self.new += other.new
        self.unsent |= other.unsent
        self.keyed |= other.keyed
        self.nbytes += other.nbytes


Part = Collected | Truncated
Event = Begin | Commit | Relation | Truncated | Message


class Decoder:
    """Collects the rows of watched relations and hands every other message to the caller.

    Rows are collected between a Begin and its Commit, in `parts`, one part a relation up to a truncate.
    Everything that cannot be pgoutput's raises Corruption.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.nbytes = 0
        self.muted: set[int] = set()  # watched, but their rows are dropped at present
        self.within = False  # between Begin and Commit
        self._watched: dict[int, tuple[Relation, tuple[int, ...]]] = {}
        self._known: set[int] = set()
        self._open: dict[int, Collected] = {}

    def watch(self, relation: Relation, key: tuple[int, ...]) -> None:
        """Collect the rows of this relation from here on; `key` are the places of its key's columns."""
        self._watched[relation.id] = relation, key
        self._open.pop(relation.id, None)

    def ignore(self, relation: int) -> None:
        """Collect nothing more of this relation."""
        self._watched.pop(relation, None)

    def take(self) -> list[Part]:
        """What was collected since the last call."""
        parts, self.parts, self.nbytes = self.parts, [], 0
        self._open.clear()
        return parts

    def feed(self, data: bytes) -> Event | None:
        """Take one message in; None when it was a row or is of no consequence (origin, type)."""
        try:
            return self._feed(data)
        except (struct.error, IndexError, ValueError) as error:
            raise malformed(data, str(error)) from None

    def _feed(self, data: bytes) -> Event | None:
        match data[0]:
            case 73:  # I
                self._insert(data)
            case 85:  # U
                self._update(data)
            case 68:  # D
                self._delete(data)
            case 66 if not self.within:  # B
                commit_lsn, _, xid = _exact("!QqI", data)
                self.within = True
                return Begin(commit_lsn, xid)
            case 67 if self.within:  # C
                _, commit_lsn, end_lsn, _ = _exact("!BQQq", data)
                self.within = False
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

    def _collected(self, data: bytes) -> tuple[Collected, tuple[int, ...]] | None:
        (relation,) = struct.unpack_from("!I", data, 1)
        if not self.within:
            raise malformed(data, "a change outside a transaction")
        watched = self._watched.get(relation)
        if watched is None:
            if relation not in self._known:
                raise malformed(data, f"a change of relation {relation} that was not announced")
            return None
        if relation in self.muted:
            return None
        collected = self._open.get(relation)
        if collected is None:
            collected = self._open[relation] = Collected(watched[0])
            self.parts.append(collected)
        size = max(len(data), CHANGE_BYTES)
        collected.nbytes += size
        self.nbytes += size
        return collected, watched[1]

    def _insert(self, data: bytes) -> None:
        found = self._collected(data)
        if found is None:
            return
        collected, key = found
        if data[5] != 78:  # N
            raise malformed(data, "an insert without its row")
        new, end = _tuple(data, 6, len(collected.relation.columns))
        _end(data, end)
        if UNSENT in new:
            raise malformed(data, "an insert with an unsent cell")
        collected.kinds.append(73)
        collected.old.append((UNSENT,) * len(key))
        collected.new.append(new)

    def _update(self, data: bytes) -> None:
        found = self._collected(data)
        if found is None:
            return
        collected, key = found
        width = len(collected.relation.columns)
        form, old, at = data[5], None, 6
        if form in (75, 79):  # K, O
            old, at = _tuple(data, at, width)
            at += 1
        if data[at - 1] != 78:  # N
            raise malformed(data, "an update without its new row")
        new, end = _tuple(data, at, width)
        _end(data, end)
        if old is not None and UNSENT in new:
            # Under K only the key's cells of the old row are there, under O all of them: an unchanged
            # value kept out of line is unsent in the new row and stands in the old one.
            known = set(key) if form == 75 else range(width)
            new = tuple(old[i] if cell is UNSENT and i in known else cell for i, cell in enumerate(new))
        old_key: Cells = (UNSENT,) * len(key)
        if old is not None:
            old_key = tuple(old[i] for i in key)
            # The old row also comes without a change of its key: always under O, and under K where a
            # cell of the key is kept out of line.
            if old_key == tuple(new[i] for i in key):
                old_key = (UNSENT,) * len(key)
            elif UNSENT in old_key:
                raise malformed(data, "an update without its old key")
            else:
                collected.keyed = True
        if UNSENT in new:
            if any(new[i] is UNSENT for i in key):
                raise malformed(data, "an update without its key")
            collected.unsent = True
        collected.kinds.append(85)
        collected.old.append(old_key)
        collected.new.append(new)

    def _delete(self, data: bytes) -> None:
        found = self._collected(data)
        if found is None:
            return
        collected, key = found
        width = len(collected.relation.columns)
        if data[5] not in (75, 79):  # K, O
            raise malformed(data, "a delete without its old row")
        old, end = _tuple(data, 6, width)
        _end(data, end)
        old_key = tuple(old[i] for i in key)
        if UNSENT in old_key:
            raise malformed(data, "a delete without its key")
        collected.kinds.append(68)
        collected.old.append(old_key)
        collected.new.append((UNSENT,) * width)
        collected.unsent = collected.keyed = True

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
        wanted = tuple(r for r in relations if r in self._watched and r not in self.muted)
        if not wanted:
            return None
        truncated = Truncated(wanted)
        # Rows before and after it must not meet in one part.
        self._open.clear()
        self.parts.append(truncated)
        self.nbytes += len(data)
        return truncated


def _tuple(data: bytes, at: int, width: int) -> tuple[Cells, int]:
    """The cells of a row that starts at that place, and the place after it."""
    (count,) = struct.unpack_from("!H", data, at)
    if count != width:
        raise malformed(data, f"a row of {count} columns where the relation has {width}")
    at += 2
    cells: list[Cell] = []
    size = len(data)
    for _ in range(count):
        form = data[at]
        at += 1
        if form == 116:  # t
            if at + 4 > size:
                raise malformed(data, "it ends within a length")
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > size:
                raise malformed(data, "a cell reaches past its end")
            cells.append(data[at + 4 : end])
            at = end
        elif form == 110:  # n
            cells.append(None)
        elif form == 117:  # u
            cells.append(UNSENT)
        else:
            raise malformed(data, f"a cell of the unknown form {form}")
    return tuple(cells), at


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


def malformed(data: bytes, why: str) -> Corruption:
    """The error for a message that cannot be what the server wrote."""
    shown = data[:16].hex() + ("…" if len(data) > 16 else "")
    return Corruption("decode", f"the log message {shown} of {len(data)} bytes", why)
