"""MySQL's binary JSON to the text that MySQL itself makes of it.

Format: MySQL source, sql-common/json_binary.h; the text: sql-common/json_dom.cc, Json_wrapper::to_string, and
of numbers strings/dtoa.cc, my_gcvt.
"""

from __future__ import annotations

import struct
from array import array
from base64 import b64encode
from typing import Any

from ..errors import Corruption

_DEEPEST = 100
"""The server refuses deeper documents."""

_DECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP = 246, 10, 11, 12, 7


def texts(offsets: Any, payload: Any) -> tuple[array[int], bytearray]:
    """Documents that lie after one another as the same documents in text. Corruption, with the document at
    fault, for what is none; one of no bytes is `null`, as the server reads it."""
    data = bytes(payload)
    out = bytearray()
    made = array("i", bytes(4 * len(offsets)))
    for at in range(len(offsets) - 1):
        first, end = offsets[at], offsets[at + 1]
        document = _Document(data[first:end], out)
        try:
            if first == end:
                out += b"null"
            else:
                document.value(document.data[0], 1, 0)
        except (IndexError, struct.error):
            raise _malformed(document.data, "it ends too early") from None
        except ValueError as error:
            raise _malformed(document.data, str(error)) from None
        made[at + 1] = len(out)
    return made, out


class _Document:
    def __init__(self, data: bytes, out: bytearray) -> None:
        self.data = data
        self.out = out
        self.end = 0  # of what was read: values lie after one another

    def value(self, kind: int, at: int, depth: int) -> None:
        """Write the value of that type that starts there."""
        if kind <= 3:
            self._container(kind, at, depth)
        elif kind == 4:
            if self.data[at] > 2:
                raise ValueError(f"the unknown literal {self.data[at]}")
            self.out += (b"null", b"true", b"false")[self.data[at]]
            self.end = at + 1
        elif kind <= 10:
            self._integer(kind, at)
        elif kind == 11:
            self.out += _double(struct.unpack_from("<d", self.data, at)[0])
            self.end = at + 8
        elif kind == 12:
            at, size = self._length(at)
            _quote(self.data, at, size, self.out)
            self.end = at + size
        elif kind == 15:
            self._opaque(at)
        else:
            raise ValueError(f"a value of the unknown type {kind}")

    def _integer(self, kind: int, at: int) -> None:
        size = 2 if kind <= 6 else 4 if kind <= 8 else 8
        self._within(at, size)
        signed = kind == 5 or kind == 7 or kind == 9
        self.out += b"%d" % int.from_bytes(self.data[at : at + size], "little", signed=signed)
        self.end = at + size

    def _container(self, kind: int, at: int, depth: int) -> None:
        if depth >= _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels")
        wide = 4 if kind & 1 else 2
        named = kind <= 1
        count = self._number(at, wide)
        size = self._number(at + wide, wide)
        entry = at + 2 * wide
        entries = count * (1 + wide + (wide + 2 if named else 0))
        self._within(at, size)
        if entry + entries > at + size:
            raise ValueError("more members than it has bytes")
        values = entry + count * (wide + 2) if named else entry
        self.end = entry + entries
        self.out += b"{" if named else b"["
        for index in range(count):
            if index:
                self.out += b", "
            if named:
                place = entry + index * (wide + 2)
                start, length = at + self._number(place, wide), self._number(place + wide, 2)
                self._within(start, length)
                _quote(self.data, start, length, self.out)
                self.out += b": "
            self._member(values + index * (1 + wide), wide, at, depth)
        self.out += b"}" if named else b"]"
        self.end = at + size

    def _member(self, place: int, wide: int, base: int, depth: int) -> None:
        """Write a value whose entry lies there: a small one is in it, else it tells where."""
        kind = self.data[place]
        if kind == 4 or kind == 5 or kind == 6 or (wide == 4 and (kind == 7 or kind == 8)):
            kept = self.end
            self.value(kind, place + 1, depth + 1)
            self.end = kept
        else:
            start = base + self._number(place + 1, wide)
            # No two values share bytes: reading takes no longer than the document is long.
            if start < self.end:
                raise ValueError("a value within another")
            self.value(kind, start, depth + 1)

    def _opaque(self, at: int) -> None:
        kind = self.data[at]
        at, size = self._length(at + 1)
        if kind == _DECIMAL:
            self.out += _number_of(self.data, at, size)
        elif kind in (_DATE, _TIME, _DATETIME, _TIMESTAMP):
            if size != 8:
                raise ValueError(f"a time of {size} bytes")
            (packed,) = struct.unpack_from("<q", self.data, at)
            self.out += b'"' + _moment(kind, packed) + b'"'
        else:
            self.out += b'"base64:type%d:' % kind + b64encode(self.data[at : at + size]) + b'"'
        self.end = at + size

    def _number(self, at: int, size: int) -> int:
        self._within(at, size)
        return int.from_bytes(self.data[at : at + size], "little")

    def _length(self, at: int) -> tuple[int, int]:
        """The length that starts there, in groups of seven bits, and the place after it."""
        size = shift = 0
        while shift < 35:
            byte = self.data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                self._within(at, size)
                return at, size
        raise ValueError("a length of more than five bytes")

    def _within(self, at: int, size: int) -> None:
        if at + size > len(self.data):
            raise ValueError("a value reaches past its end")


def _quote(data: bytes, at: int, size: int, out: bytearray) -> None:
    """Write a string in quotes, with what cannot stand in them escaped."""
    out.append(34)
    start = at
    end = at + size
    while at < end:
        byte = data[at]
        at += 1
        if byte >= 32 and byte != 34 and byte != 92:
            continue
        out += data[start : at - 1]
        out += _ESCAPES.get(byte) or b"\\u%04x" % byte
        start = at
    out += data[start:end]
    out.append(34)


_ESCAPES = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}


def _double(value: float) -> bytes:
    """The shortest digits that tell it; without an exponent where the point is near."""
    if value - value != 0:
        raise ValueError("a number that JSON does not have")
    if value == 0:
        return repr(value).encode()
    digits, _, exponent = f"{value!r}e0".partition("e")
    power = int(exponent.partition("e")[0])
    sign = "-" if digits[0] == "-" else ""
    whole, _, part = digits.lstrip("-").partition(".")
    point = len(whole) + power
    plain = (whole + part).lstrip("0")
    point -= len(whole + part) - len(plain)
    plain = plain.rstrip("0")
    if -15 < point <= 15 or len(plain) > point > 15:
        if point <= 0:
            text = "0." + "0" * -point + plain
        elif point >= len(plain):
            text = plain + "0" * (point - len(plain)) + ".0"
        else:
            text = plain[:point] + "." + plain[point:]
    else:
        text = plain[0] + ("." + plain[1:] if len(plain) > 1 else "") + f"e{point - 1}"
    return (sign + text).encode()


def _number_of(data: bytes, at: int, size: int) -> bytes:
    """A decimal after its precision and scale: groups of nine digits in four bytes each, those farthest from
    the point shorter; all bits are turned round for what is negative, the highest is set for the others."""
    precision, scale = data[at], data[at + 1]
    whole = precision - scale
    negative = data[at + 2] & 0x80 == 0
    flipped = 0xFF if negative else 0
    bits = bytes([data[at + 2] ^ 0x80 ^ flipped, *(byte ^ flipped for byte in data[at + 3 : at + size])])
    texts = ["", ""]
    for place, digits in [(0, whole % 9), *[(0, 9)] * (whole // 9), *[(1, 9)] * (scale // 9), (1, scale % 9)]:
        width = min((digits + 1) // 2, 4)
        texts[place] += f"{int.from_bytes(bits[:width], 'big'):0{digits}}" if digits else ""
        bits = bits[width:]
    if not 0 < precision <= 65 or bits or (len(texts[0]), len(texts[1])) != (whole, scale):
        raise ValueError(f"a decimal of {precision} digits in {size} bytes")
    text = ("-" if negative else "") + (texts[0].lstrip("0") or "0")
    return (f"{text}.{texts[1]}" if scale else text).encode()


def _moment(kind: int, packed: int) -> bytes:
    """A date or a time in one number: its parts, and 24 bits of microseconds."""
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    micros, rest = packed & 0xFF_FFFF, packed >> 24
    clock = f"{rest >> 6 & 63:02}:{rest & 63:02}.{micros:06}"
    if kind == _TIME:
        return f"{sign}{rest >> 12 & 0x3FF:02}:{clock}".encode()
    months = rest >> 22
    date = f"{months // 13:04}-{months % 13:02}-{rest >> 17 & 31:02}"
    return (date if kind == _DATE else f"{date} {rest >> 12 & 31:02}:{clock}").encode()


def _malformed(data: bytes, why: str) -> Corruption:
    shown = data[:16].hex() + ("…" if len(data) > 16 else "")
    return Corruption("decode", f"the JSON {shown} of {len(data)} bytes", why)
