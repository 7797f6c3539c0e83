"""Row messages of pgoutput, protocol version 1, to columns.

Two steps: `collect` puts messages aside by their relation as they come, `Decoded` reads those of one relation
all at once, when their number and sizes are known and each buffer can be made once.

Protocol: PostgreSQL documentation, "Logical Replication Message Formats", Insert, Update, Delete, TupleData.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import Corruption

_COMPILED = not __file__.endswith(".py")

# In the place of a cell's size.
_NULL = -1
_UNSENT = -2

_MOST_BYTES = 0x7FFF_FFFF
"""The most that the cells of a column may come to at once: an Arrow array of 32-bit offsets."""


class Buffers(NamedTuple):
    """The cells of one column as the buffers of an Arrow array of bytes, and the mask of the unsent ones.

    `offsets` are 32-bit, `validity` and `unsent` one bit a row; `nulls` and `holes` count the cells that are
    not valid and those that are unsent. An unsent cell is _NULL as well.
    """

    offsets: array[int]
    payload: bytearray
    validity: bytearray
    nulls: int
    unsent: bytearray
    holes: int


def collect(
    frames: list[Any],
    at: int,
    places: dict[int, tuple[list[bytes], int] | None],
    nbytes: int,
    room: int,
) -> tuple[int, int]:
    """Put row messages aside, beginning with frames[at], while `nbytes`, what they take in memory, is less
    than `room`.

    `places` has by relation the list that its messages go to and the bytes that each takes besides its own;
    None: nowhere. Comes back with the place of the first frame that was not taken, and `nbytes` with what
    was. A frame is left to the caller that is no row message or is one of a relation without a place.
    """
    known = -1
    wanted = False
    messages: list[bytes] = []
    row_bytes = 0
    while at < len(frames) and nbytes < room:
        frame = frames[at]
        if not isinstance(frame, bytes):
            break
        message = frame
        if len(message) < 5:
            break
        kind = message[0]
        if kind != 73 and kind != 85 and kind != 68:  # I, U, D
            break
        relation = _number(message, 1, 4)
        if relation != known:
            if relation not in places:
                break
            place = places[relation]
            wanted = place is not None
            if place is not None:
                messages, row_bytes = place
            known = relation
        if wanted:
            messages.append(message)
            nbytes += len(message) + row_bytes
        at += 1
    return at, nbytes


class Decoded:
    """The row messages of one relation of `width` columns; `key` are the places of its key's columns.

    `kinds` has one of b'I', b'U', b'D' a row. Columns 0 to width - 1 are the rows' cells, all unsent for a
    delete; those from `width` on are the cells of the old key, in the key's order, for a delete and for an
    update that changed the key, else unsent. `unsent` and `keyed` tell whether any cell of the former is
    unsent, any of the latter is not.

    Corruption, with the message at fault, for whatever the server cannot have written.
    """

    def __init__(self, messages: list[bytes], width: int, key: Sequence[int]) -> None:
        self.messages = messages
        self.count = len(messages)
        self.width = width
        self.key = array("i", key)
        self.kinds = bytearray(self.count)
        self.unsent = self.keyed = False
        # By column, within it by row: where in its message a cell starts, and its size or _NULL or _UNSENT.
        self.starts = array("i", bytes(4 * self.count * (width + len(key))))
        self.sizes = array("i", bytes(4 * self.count * (width + len(key))))
        self.old_starts = array("i", bytes(4 * width))
        self.old_sizes = array("i", bytes(4 * width))
        row = 0
        try:
            for row in range(self.count):
                self._read(messages[row], row)
        except IndexError:
            raise malformed(messages[row], "it ends too early") from None
        except ValueError as error:
            raise malformed(messages[row], str(error)) from None

    def column(self, place: int) -> Buffers:
        """The cells of a column. OverflowError when they come to more than _MOST_BYTES."""
        if not 0 <= place < self.width + len(self.key):
            raise IndexError(f"column {place} of {self.width + len(self.key)}")
        first = place * self.count
        made = array("i", bytes(4 * (self.count + 1)))
        offsets = made
        validity = bytearray((self.count + 7) // 8)
        unsent = bytearray((self.count + 7) // 8)
        total = nulls = holes = 0
        for row in range(self.count):
            size = self.sizes[first + row]
            if size >= 0:
                total += size
                if total > _MOST_BYTES:
                    raise OverflowError("more than 2 GiB in one column")
                validity[row >> 3] |= 1 << (row & 7)
            else:
                nulls += 1
                if size == _UNSENT:
                    holes += 1
                    unsent[row >> 3] |= 1 << (row & 7)
            offsets[row + 1] = total
        payload = bytearray(total)
        for row in range(self.count):
            size = self.sizes[first + row]
            if size > 0:
                _copy(self.messages[row], self.starts[first + row], size, payload, offsets[row])
        return Buffers(made, payload, validity, nulls, unsent, holes)

    def _read(self, message: bytes, row: int) -> None:
        if len(message) > _MOST_BYTES:
            raise ValueError("it is longer than any message")
        kind = message[0]
        form = message[5]
        at = 6
        old = form == 75 or form == 79  # K, O
        self.kinds[row] = kind
        if kind == 73:  # I
            if form != 78:  # N
                raise ValueError("an insert without its row")
        elif kind == 68:  # D
            if not old:
                raise ValueError("a delete without its old row")
        elif kind != 85:  # U
            raise ValueError("no such message may stand here")
        if old:
            at = self._read_cells(message, at, self.old_starts, self.old_sizes, 0, 1)
        if kind != 68:
            if old:
                form, at = message[at], at + 1
            if form != 78:
                raise ValueError("an update without its new row")
            at = self._read_cells(message, at, self.starts, self.sizes, row, self.count)
        if at != len(message):
            raise ValueError(f"{len(message) - at} bytes follow its end")
        if kind == 68:
            self._settle_delete(row)
        else:
            self._settle_row(message, row, old, message[5] == 79)

    def _read_cells(
        self, message: bytes, at: int, starts: array[int], sizes: array[int], to: int, step: int
    ) -> int:
        """Note the cells of the row that starts at that place; the place after it."""
        count = _number(message, at, 2)
        if count != self.width:
            raise ValueError(f"a row of {count} columns where the relation has {self.width}")
        at += 2
        for _ in range(count):
            form = message[at]
            at += 1
            if form == 116:  # t
                size = _number(message, at, 4)
                at += 4
                if size > len(message) - at:
                    raise ValueError("a cell reaches past its end")
                starts[to] = at
                sizes[to] = size
                at += size
            elif form == 110:  # n
                sizes[to] = _NULL
            elif form == 117:  # u
                sizes[to] = _UNSENT
            else:
                raise ValueError(f"a cell of the unknown form {form}")
            to += step
        return at

    def _settle_delete(self, row: int) -> None:
        for column in range(self.width):
            self.sizes[column * self.count + row] = _UNSENT
        for place in range(len(self.key)):
            if self.old_sizes[self.key[place]] == _UNSENT:
                raise ValueError("a delete without its key")
            self._keep_old(place, row)
        self.unsent = self.keyed = True

    def _settle_row(self, message: bytes, row: int, old: bool, whole: bool) -> None:
        """Fill in what only the old row tells, and find out whether the key changed."""
        # Under K only the key's cells of the old row are there, under O all of them: an unchanged value kept
        # out of line is unsent in the new row and stands in the old one.
        if whole:
            for column in range(self.width):
                self._fill(column, row)
        changed = False
        incomplete = False
        for place in range(len(self.key)):
            column = self.key[place]
            self.sizes[(self.width + place) * self.count + row] = _UNSENT
            if old:
                self._fill(column, row)
                incomplete |= self.old_sizes[column] == _UNSENT
                changed |= not self._is_same(message, column, row)
        # The old row also comes without a change of its key: always under O, and under K where a cell of the
        # key is kept out of line.
        if changed:
            if incomplete:
                raise ValueError("an update without its old key")
            self.keyed = True
            for place in range(len(self.key)):
                self._keep_old(place, row)
        holes = False
        for column in range(self.width):
            holes |= self.sizes[column * self.count + row] == _UNSENT
        if holes:
            if message[0] == 73:
                raise ValueError("an insert with an unsent cell")
            for place in range(len(self.key)):
                if self.sizes[self.key[place] * self.count + row] == _UNSENT:
                    raise ValueError("an update without its key")
            self.unsent = True

    def _fill(self, column: int, row: int) -> None:
        to = column * self.count + row
        if self.sizes[to] == _UNSENT:
            self.starts[to] = self.old_starts[column]
            self.sizes[to] = self.old_sizes[column]

    def _keep_old(self, place: int, row: int) -> None:
        to = (self.width + place) * self.count + row
        self.starts[to] = self.old_starts[self.key[place]]
        self.sizes[to] = self.old_sizes[self.key[place]]

    def _is_same(self, message: bytes, column: int, row: int) -> bool:
        """Whether the old row has the same cell as the new one."""
        size = self.old_sizes[column]
        if size != self.sizes[column * self.count + row]:
            return False
        before = self.old_starts[column]
        after = self.starts[column * self.count + row]
        for i in range(size):  # noqa: SIM110 - a loop in C, where all() would call a generator
            if message[before + i] != message[after + i]:
                return False
        return True


def _number(message: bytes, at: int, size: int) -> int:
    """The unsigned number of that many bytes at that place."""
    value = 0
    for i in range(at, at + size):
        value = value << 8 | message[i]
    return value


def _copy(message: bytes, start: int, size: int, payload: bytearray, to: int) -> None:
    if _COMPILED:
        for i in range(size):
            payload[to + i] = message[start + i]
    else:  # what Python is quicker at
        payload[to : to + size] = message[start : start + size]


def malformed(data: bytes, why: str) -> Corruption:
    """The error for a message that cannot be what the server wrote."""
    shown = data[:16].hex() + ("…" if len(data) > 16 else "")
    return Corruption("decode", f"the log message {shown} of {len(data)} bytes", why)
