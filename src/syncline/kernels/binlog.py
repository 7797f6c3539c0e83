"""Row events of the binlog of MySQL and MariaDB to columns.

`Layout` knows how a table's cells lie in a row, from its TABLE_MAP event, and counts the rows of an event.
`Decoded` reads the events of one table all at once, when the number of rows is known and each buffer can be
made once. What comes in is an event's body: without its header of 19 bytes and without its checksum.

Formats: MySQL Internals Manual, "Rows Event" and "Date and Time Data Type Representation"; MariaDB Knowledge
Base, "Rows Event"; decimals: "decimal2bin" in MySQL's strings/decimal.cc.
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
"""The most that events, or the cells of a column, may come to at once: 32-bit offsets."""

_ONES = 0xFFFF_FFFF_FFFF_FFFF

# What a column's cells become. Numbers of 64 bits: little-endian signed, little-endian unsigned, big-endian,
# years. Copied as they are: FLOAT, DOUBLE, BYTES. All others become canonical text.
SIGNED, UNSIGNED, BITS, YEAR, FLOAT, DOUBLE, BYTES, DECIMAL, DATE, DATETIME, TIMESTAMP, TIME = range(12)

# The same as numbers of C, for the loops.
_SIGNED, _BITS, _YEAR = SIGNED, BITS, YEAR
_DECIMAL, _DATE, _DATETIME, _TIMESTAMP = DECIMAL, DATE, DATETIME, TIMESTAMP

_MOST_TEXT = {DATE: 10, DATETIME: 26, TIMESTAMP: 29, TIME: 17, DECIMAL: 68}

WRITE, UPDATE, DELETE = (23, 30), (24, 31), (25, 32)
"""The types of row events, version 1 and 2."""


class Cell(NamedTuple):
    """How the cells of a column lie in a row: `size` bytes, or where it is negative a length of -size bytes
    before them; what they become, and for it the precision and scale or the digits of a fraction."""

    size: int
    form: int
    precision: int = 0
    scale: int = 0


class Buffers(NamedTuple):
    """The cells of one column as the buffers of an Arrow array, and the mask of the unsent ones.

    With `offsets` (32-bit) an array of bytes; without, one of numbers of 64 bits, or of 32 for FLOAT.
    `validity` and `unsent` are one bit a row; `nulls` and `holes` count the cells that are not valid and
    those that are unsent. An unsent cell is _NULL as well.
    """

    offsets: array[int] | None
    payload: Any
    validity: bytearray
    nulls: int
    unsent: bytearray
    holes: int


def decimal_size(precision: int, scale: int) -> int:
    """The bytes of a decimal."""
    whole, part = precision - scale, scale
    return whole // 9 * 4 + (whole % 9 + 1) // 2 + part // 9 * 4 + (part % 9 + 1) // 2


class Layout:
    """How the cells of a table's columns lie in the rows of its events.

    Corruption, with the event at fault, for whatever the server cannot have written.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.width = len(cells)
        self.bitmap = (self.width + 7) // 8
        self.cells = tuple(cells)
        self.lengths = array("i", [cell.size for cell in cells])
        self.starts = array("i", bytes(4 * self.width))
        self.sizes = array("i", bytes(4 * self.width))

    def count(self, kind: int, body: bytes) -> tuple[int, bool]:
        """How many changes an event of that type tells, and whether its images hold every column."""
        rows = before = after = 0
        try:
            end = len(body)
            if end > _MOST_BYTES:
                raise ValueError("it is longer than any event")
            at = self.rows_at(kind, body, 0)
            update = kind == 24 or kind == 31
            second = at - self.bitmap
            first = second - self.bitmap if update else second
            before = self.present(body, first)
            after = self.present(body, second)
            while at < end:
                at = self.read(body, at, end, first, before, self.starts, self.sizes, 0, 1)
                if update:
                    at = self.read(body, at, end, second, after, self.starts, self.sizes, 0, 1)
                rows += 1
        except IndexError:
            raise malformed(body, "it ends too early") from None
        except ValueError as error:
            raise malformed(body, str(error)) from None
        return rows, before == self.width and after == self.width

    def rows_at(self, kind: int, data: bytes, at: int) -> int:
        """Where the rows start in the event that starts there; the bitmaps of its images lie before them.
        ValueError and IndexError for one that is not of this table."""
        if not 23 <= kind <= 25 and not 30 <= kind <= 32:
            raise ValueError(f"an event of type {kind} holds no rows")
        at += 8
        if kind >= 30:
            extra = _little(data, at, 2)
            if extra < 2:
                raise ValueError("its extra header is shorter than its own length")
            at += extra
        width = data[at]
        at += 1
        if width == 252:
            width = _little(data, at, 2)
            at += 2
        if width != self.width:
            raise ValueError(f"rows of {width} columns where the table has {self.width}")
        return at + (2 * self.bitmap if kind == 24 or kind == 31 else self.bitmap)

    def present(self, data: bytes, at: int) -> int:
        """How many columns an image of that bitmap holds."""
        count = 0
        for column in range(self.width):
            count += data[at + (column >> 3)] >> (column & 7) & 1
        return count

    def read(
        self, data: bytes, at: int, end: int, bits: int, held: int,
        starts: array[int], sizes: array[int], to: int, step: int,
    ) -> int:  # fmt: skip
        """Note the cells of the row image that starts at that place and holds so many columns, those of the
        bitmap at `bits`; the place after it."""
        nulls = at
        at += (held + 7) >> 3
        if at == nulls:
            raise ValueError("a row without a cell")
        if at > end:
            raise ValueError("it ends within a row")
        bit = 0
        for column in range(self.width):
            if data[bits + (column >> 3)] >> (column & 7) & 1 == 0:
                sizes[to] = _UNSENT
            else:
                if data[nulls + (bit >> 3)] >> (bit & 7) & 1:
                    sizes[to] = _NULL
                else:
                    size = self.lengths[column]
                    if size < 0:
                        prefix = -size
                        if prefix > end - at:
                            raise ValueError("it ends within a row")
                        size = _little(data, at, prefix)
                        at += prefix
                    if size > end - at:
                        raise ValueError("a cell reaches past its end")
                    starts[to] = at
                    sizes[to] = size
                    at += size
                bit += 1
            to += step
        return at


class Decoded:
    """The changes of one table; `kinds` are the types of these events and `count` is the number of rows that
    `Layout.count` found in all of them; `key` are the places of the key's columns.

    `changes` has one of b'I', b'U', b'D' a row. Columns 0 to width - 1 are the rows' cells, all unsent for a
    delete; those from `width` on are the cells of the old key, in the key's order, for a delete and for an
    update that changed the key, else unsent. `unsent` and `keyed` tell whether any cell of the former is
    unsent, any of the latter is not. A cell that only the old image of an update holds is its new one too.

    Corruption, with the event at fault, for whatever the server cannot have written.
    """

    def __init__(
        self, layout: Layout, kinds: bytes, bodies: list[bytes], count: int, key: Sequence[int]
    ) -> None:
        self.layout = layout
        self.data = b"".join(bodies)
        self.count = count
        self.width = layout.width
        self.key = array("i", key)
        self.changes = bytearray(count)
        self.unsent = self.keyed = False
        # By column, within it by row: where in the data a cell starts, and its size or _NULL or _UNSENT.
        self.starts = array("i", bytes(4 * count * (self.width + len(key))))
        self.sizes = array("i", bytes(4 * count * (self.width + len(key))))
        self.old_starts = array("i", bytes(4 * self.width))
        self.old_sizes = array("i", bytes(4 * self.width))
        if len(self.data) > _MOST_BYTES:
            raise OverflowError("more than 2 GiB of events at once")
        row = end = index = 0
        try:
            for index in range(len(bodies)):
                at = end
                end += len(bodies[index])
                row = self._read(kinds[index], at, end, row)
        except IndexError:
            raise malformed(bodies[index], "it ends too early") from None
        except ValueError as error:
            raise malformed(bodies[index], str(error)) from None
        if row != count:
            raise ValueError(f"{row} rows where {count} were counted")

    def column(self, place: int) -> Buffers:
        """The cells of a column. OverflowError when they come to more than _MOST_BYTES; Corruption for what
        is no value of its type."""
        if not 0 <= place < self.width + len(self.key):
            raise IndexError(f"column {place} of {self.width + len(self.key)}")
        first = place * self.count
        validity = bytearray((self.count + 7) // 8)
        unsent = bytearray((self.count + 7) // 8)
        nulls = holes = 0
        for row in range(self.count):
            size = self.sizes[first + row]
            if size >= 0:
                validity[row >> 3] |= 1 << (row & 7)
            else:
                nulls += 1
                if size == _UNSENT:
                    holes += 1
                    unsent[row >> 3] |= 1 << (row & 7)
        cell = self.layout.cells[place if place < self.width else self.key[place - self.width]]
        offsets: array[int] | None = None
        payload: Any
        try:
            if cell.form == BYTES:
                offsets, payload = self._bytes(first)
            elif cell.form == FLOAT or cell.form == DOUBLE:
                payload = self._copied(first, cell.size)
            elif cell.form <= YEAR:
                payload = self._numbers(first, cell.form)
            else:
                offsets, payload = self._texts(first, cell.form, cell.precision, cell.scale)
        except ValueError as error:
            raise Corruption("decode", f"column {place} of {self.count} rows", str(error)) from None
        return Buffers(offsets, payload, validity, nulls, unsent, holes)

    def _read(self, kind: int, at: int, end: int, row: int) -> int:
        """Note the cells of the event that lies there; the number of the row after its rows."""
        data = self.data
        rows = self.layout.rows_at(kind, data, at)
        if rows > end:
            raise ValueError("it ends within its header")
        second = rows - self.layout.bitmap
        first = second - self.layout.bitmap if kind == 24 or kind == 31 else second
        before = self.layout.present(data, first)
        after = self.layout.present(data, second)
        at = rows
        while at < end:
            if row >= self.count:
                raise ValueError("it holds more rows than were counted")
            if kind == 23 or kind == 30:
                self.changes[row] = 73  # I
                at = self.layout.read(data, at, end, second, after, self.starts, self.sizes, row, self.count)
                self._settle_row(row, False)
            elif kind == 24 or kind == 31:
                self.changes[row] = 85  # U
                at = self.layout.read(data, at, end, first, before, self.old_starts, self.old_sizes, 0, 1)
                at = self.layout.read(data, at, end, second, after, self.starts, self.sizes, row, self.count)
                self._settle_row(row, True)
            else:
                self.changes[row] = 68  # D
                at = self.layout.read(data, at, end, second, after, self.old_starts, self.old_sizes, 0, 1)
                self._settle_delete(row)
            row += 1
        return row

    def _settle_delete(self, row: int) -> None:
        for column in range(self.width):
            self.sizes[column * self.count + row] = _UNSENT
        for place in range(len(self.key)):
            if self.old_sizes[self.key[place]] == _UNSENT:
                raise ValueError("a delete without its key")
            self._keep_old(place, row)
        self.unsent = self.keyed = True

    def _settle_row(self, row: int, old: bool) -> None:
        """Fill in what only the old image tells, and find out whether the key changed."""
        holes = False
        for column in range(self.width):
            to = column * self.count + row
            if old and self.sizes[to] == _UNSENT:
                self.starts[to] = self.old_starts[column]
                self.sizes[to] = self.old_sizes[column]
            holes |= self.sizes[to] == _UNSENT
        self.unsent |= holes
        changed = False
        for place in range(len(self.key)):
            column = self.key[place]
            self.sizes[(self.width + place) * self.count + row] = _UNSENT
            if self.sizes[column * self.count + row] == _UNSENT or (
                old and self.old_sizes[column] == _UNSENT
            ):
                raise ValueError("a row without its key")
            changed |= old and not self._is_same(column, row)
        if changed:
            self.keyed = True
            for place in range(len(self.key)):
                self._keep_old(place, row)

    def _keep_old(self, place: int, row: int) -> None:
        to = (self.width + place) * self.count + row
        self.starts[to] = self.old_starts[self.key[place]]
        self.sizes[to] = self.old_sizes[self.key[place]]

    def _is_same(self, column: int, row: int) -> bool:
        """Whether the old image has the same cell as the new one."""
        size = self.old_sizes[column]
        if size != self.sizes[column * self.count + row]:
            return False
        before = self.old_starts[column]
        after = self.starts[column * self.count + row]
        for i in range(size):  # noqa: SIM110 - a loop in C, where all() would call a generator
            if self.data[before + i] != self.data[after + i]:
                return False
        return True

    def _bytes(self, first: int) -> tuple[array[int], bytearray]:
        made = array("i", bytes(4 * (self.count + 1)))
        offsets = made
        total = 0
        for row in range(self.count):
            size = self.sizes[first + row]
            if size > 0:
                total += size
                if total > _MOST_BYTES:
                    raise OverflowError("more than 2 GiB in one column")
            offsets[row + 1] = total
        payload = bytearray(total)
        for row in range(self.count):
            size = self.sizes[first + row]
            if size > 0:
                _copy(self.data, self.starts[first + row], size, payload, offsets[row])
        return made, payload

    def _copied(self, first: int, size: int) -> bytearray:
        payload = bytearray(self.count * size)
        for row in range(self.count):
            if self.sizes[first + row] >= 0:
                _copy(self.data, self.starts[first + row], size, payload, row * size)
        return payload

    def _numbers(self, first: int, form: int) -> array[int]:
        made = array("Q", bytes(8 * self.count))
        numbers = made
        for row in range(self.count):
            size = self.sizes[first + row]
            if size > 0:
                start = self.starts[first + row]
                if form == _BITS:
                    number = _big(self.data, start, size)
                else:
                    number = _little(self.data, start, size)
                    if form == _YEAR:
                        number += 1900 if number else 0
                    elif form == _SIGNED and size < 8 and number >> (8 * size - 1):
                        number |= _ONES << (8 * size) & _ONES
                numbers[row] = number
        return made

    def _texts(self, first: int, form: int, precision: int, scale: int) -> tuple[array[int], bytearray]:
        made = array("i", bytes(4 * (self.count + 1)))
        offsets = made
        most = precision + 3 if form == _DECIMAL else _MOST_TEXT[form]
        payload = bytearray(self.count * most)
        to = 0
        for row in range(self.count):
            if self.sizes[first + row] >= 0:
                at = self.starts[first + row]
                if form == _DECIMAL:
                    to = _decimal(self.data, at, precision, scale, payload, to)
                elif form == _DATE:
                    number = _little(self.data, at, 3)
                    to = _date(payload, to, number >> 9, number >> 5 & 15, number & 31)
                elif form == _DATETIME:
                    to = _datetime(self.data, at, precision, payload, to)
                elif form == _TIMESTAMP:
                    to = _timestamp(self.data, at, precision, payload, to)
                else:
                    to = _time(self.data, at, precision, payload, to)
            offsets[row + 1] = to
        del payload[to:]
        return made, payload


def _little(data: bytes, at: int, size: int) -> int:
    """The unsigned number of that many bytes at that place, the lowest first."""
    value = 0
    for i in range(size):
        byte = data[at + i]
        value |= byte << (8 * i)
    return value


def _big(data: bytes, at: int, size: int) -> int:
    """The unsigned number of that many bytes at that place, the highest first."""
    value = 0
    for i in range(size):
        value = value << 8 | data[at + i]
    return value


def _copy(data: bytes, start: int, size: int, payload: bytearray, to: int) -> None:
    if _COMPILED and size < 64:
        for i in range(size):
            payload[to + i] = data[start + i]
    else:
        payload[to : to + size] = data[start : start + size]


def _digits(payload: bytearray, to: int, value: int, size: int) -> int:
    """Write a number in that many digits; the place after them. ValueError when it has more."""
    for i in range(size):
        payload[to + size - 1 - i] = 48 + value % 10
        value //= 10
    if value:
        raise ValueError("a number of more digits than its type has")
    return to + size


def _fraction(payload: bytearray, to: int, micros: int) -> int:
    """Write a point and millionths without the zeros at their end, nothing for none."""
    if micros == 0:
        return to
    payload[to] = 46  # .
    to = _digits(payload, to + 1, micros, 6)
    while payload[to - 1] == 48:
        to -= 1
    return to


def _micros(value: int, size: int) -> int:
    """The millionths that the number of so many bytes tells."""
    return value if size == 3 else value * 100 if size == 2 else value * 10_000


def _date(payload: bytearray, to: int, year: int, month: int, day: int) -> int:
    """Write a date, zeros and all; ValueError for what no column takes."""
    if year > 9999 or month > 12:
        raise ValueError(f"a date of month {month} in year {year}")
    to = _digits(payload, to, year, 4)
    payload[to] = 45  # -
    to = _digits(payload, to + 1, month, 2)
    payload[to] = 45
    return _digits(payload, to + 1, day, 2)


def _clock(payload: bytearray, to: int, minutes: int, seconds: int) -> int:
    """Write minutes and seconds, each after a colon."""
    if minutes > 59 or seconds > 59:
        raise ValueError(f"a time of {minutes} minutes and {seconds} seconds")
    payload[to] = 58  # :
    to = _digits(payload, to + 1, minutes, 2)
    payload[to] = 58
    return _digits(payload, to + 1, seconds, 2)


def _datetime(data: bytes, at: int, digits: int, payload: bytearray, to: int) -> int:
    value = _big(data, at, 5)
    if value < 0x80_0000_0000:
        raise ValueError("a negative DATETIME")
    value -= 0x80_0000_0000
    months = value >> 22
    hours = value >> 12 & 31
    if hours > 23:
        raise ValueError(f"a DATETIME at {hours} hours")
    to = _date(payload, to, months // 13, months % 13, value >> 17 & 31)
    payload[to] = 32  # a blank
    to = _digits(payload, to + 1, hours, 2)
    to = _clock(payload, to, value >> 6 & 63, value & 63)
    size = (digits + 1) >> 1
    return _fraction(payload, to, _micros(_big(data, at + 5, size), size))


def _timestamp(data: bytes, at: int, digits: int, payload: bytearray, to: int) -> int:
    """Seconds since 1970 in UTC; a zero is the zero date. Days to dates: Howard Hinnant,
    "chrono-Compatible Low-Level Date Algorithms", civil_from_days."""
    seconds = _big(data, at, 4)
    size = (digits + 1) >> 1
    micros = _micros(_big(data, at + 4, size), size)
    if seconds == 0 and micros == 0:
        to = _date(payload, to, 0, 0, 0)
    else:
        days = seconds // 86400 + 719_468
        day = days % 146_097
        year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
        day -= 365 * year + year // 4 - year // 100
        month = (5 * day + 2) // 153
        day -= (153 * month + 2) // 5
        year += 400 * (days // 146_097) + (1 if month > 9 else 0)
        to = _date(payload, to, year, month - 9 if month > 9 else month + 3, day + 1)
    seconds %= 86400
    payload[to] = 32
    to = _digits(payload, to + 1, seconds // 3600, 2)
    to = _clock(payload, to, seconds // 60 % 60, seconds % 60)
    to = _fraction(payload, to, micros)
    payload[to] = 43  # +
    return _digits(payload, to + 1, 0, 2)


def _time(data: bytes, at: int, digits: int, payload: bytearray, to: int) -> int:
    """The whole with its fraction is one number around a middle."""
    size = (digits + 1) >> 1
    value = _big(data, at, 3 + size)
    middle = 0x80_0000
    middle <<= 8 * size
    if value < middle:
        payload[to] = 45
        to += 1
        value = middle - value
    else:
        value -= middle
    micros = _micros(value & ((1 << (8 * size)) - 1), size)
    value >>= 8 * size
    hours = value >> 12
    if hours > 838:
        raise ValueError(f"a TIME of {hours} hours")
    to = _digits(payload, to, hours, 3 if hours > 99 else 2)
    to = _clock(payload, to, value >> 6 & 63, value & 63)
    return _fraction(payload, to, micros)


def _decimal(data: bytes, at: int, precision: int, scale: int, payload: bytearray, to: int) -> int:
    """Groups of nine digits in four bytes each, the first and the last group shorter; the highest bit is set
    for what is not negative, and all bits are turned round for what is."""
    negative = data[at] & 0x80 == 0
    if negative:
        payload[to] = 45
        to += 1
    whole = precision - scale
    first = True
    begun = False
    while whole > 0:
        digits = whole % 9 or 9
        value = _group(data, at, min((digits + 1) // 2, 4), negative, first)
        first = False
        at += min((digits + 1) // 2, 4)
        whole -= digits
        if value and not begun:
            begun = True
            while digits > 1 and value < 10 ** (digits - 1):
                digits -= 1
        if begun:
            to = _digits(payload, to, value, digits)
    if not begun:
        payload[to] = 48
        to += 1
    if scale:
        payload[to] = 46
        to += 1
    while scale > 0:
        digits = min(scale, 9)
        value = _group(data, at, min((digits + 1) // 2, 4), negative, first)
        first = False
        at += min((digits + 1) // 2, 4)
        scale -= digits
        to = _digits(payload, to, value, digits)
    return to


def _group(data: bytes, at: int, size: int, negative: bool, first: bool) -> int:
    """The number that a group of a decimal's digits is."""
    value = _big(data, at, size)
    bits = 1
    bits <<= 8 * size
    if negative:
        value = bits - 1 - value
    return value ^ bits >> 1 if first else value


def malformed(data: bytes, why: str) -> Corruption:
    """The error for an event that cannot be what the server wrote."""
    shown = data[:16].hex() + ("…" if len(data) > 16 else "")
    return Corruption("decode", f"the binlog event {shown} of {len(data)} bytes", why)
