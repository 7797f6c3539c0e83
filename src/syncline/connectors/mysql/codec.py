"""A column's cells, as the kernel gives them, to Arrow.

Whatever travels as text is the canonical text already (model.types), but for what the dialects alone have:
zero dates stay `0000-00-00`, a TIME may have more than 24 hours.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Corruption, NeedsOperator
from ...kernels import binjson, binlog
from .tablemap import BLOB, ENUM, JSON, SET, STRING, VARCHAR, MapColumn

BINARY: Final = 63
"""The collation of what is no text: BLOB, BINARY, VARBINARY."""

_CODECS: Final = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin7": "iso8859-13",
    "greek": "iso8859-7",
    "hebrew": "iso8859-8",
}
"""Charsets whose texts Python reads as the server does; of the others `_OWN` has those with a table."""

_LATIN1: Final = "".join(
    chr(byte) if byte in b"\x81\x8d\x8f\x90\x9d" else bytes([byte]).decode("cp1252") for byte in range(256)
)
"""What the server calls latin1 is cp1252, with the five bytes that it lacks as control characters."""
_OWN: Final = {"latin1": _LATIN1}

Charsets = Mapping[int, str]
"""A server's charsets by the numbers of its collations."""


def column_of(
    decoded: binlog.Decoded, place: int, column: MapColumn, charsets: Charsets, *, raw: bool = False
) -> pa.Array:
    """The cells of a column; NULL where one is unsent. The type is int64, uint64, float, double, string, or
    binary for BLOB, BINARY, geometry (4 bytes of SRID, then WKB) and vectors. `raw`: binary for a text as
    well, as only the catalog tells that a column is a UUID or INET of MariaDB.

    NeedsOperator for a text in a charset that is not read, or that is none in its charset.
    """
    buffers = decoded.column(place)
    cell = column.cell
    if buffers.offsets is None:
        shape = pa.int64() if cell.form == binlog.UNSIGNED and cell.size < 8 else _FIXED[cell.form]
        cells = _array(shape, decoded.count, [buffers.payload], buffers)
        if column.type in (ENUM, SET):
            return _labelled(cells, column, charsets)
        return cells
    if column.type == JSON:
        offsets, payload = binjson.texts(buffers.offsets, buffers.payload)
        return _array(pa.string(), decoded.count, [offsets, payload], buffers)
    if cell.form != binlog.BYTES:
        return _array(pa.string(), decoded.count, [buffers.offsets, buffers.payload], buffers)
    cells = _array(pa.binary(), decoded.count, [buffers.offsets, buffers.payload], buffers)
    if raw or column.type not in (STRING, VARCHAR, BLOB) or column.collation in (0, BINARY):
        return _padded(cells, column.length) if column.type == STRING else cells
    return _texts(cells, column, charsets)


_FIXED: Final = {
    binlog.SIGNED: pa.int64(),
    binlog.UNSIGNED: pa.uint64(),
    binlog.BITS: pa.uint64(),
    binlog.YEAR: pa.int64(),
    binlog.FLOAT: pa.float32(),
    binlog.DOUBLE: pa.float64(),
}


def unsent_of(decoded: binlog.Decoded, place: int) -> pa.Array | None:
    """True where a cell of that column is unsent; None where all are sent."""
    buffers = decoded.column(place)
    if not buffers.holes:
        return None
    return pa.Array.from_buffers(pa.bool_(), decoded.count, [None, pa.py_buffer(buffers.unsent)], 0)


def _array(type: pa.DataType, count: int, parts: list[Any], buffers: binlog.Buffers) -> pa.Array:
    held = [pa.py_buffer(part) for part in (buffers.validity, *parts)]
    return pa.Array.from_buffers(type, count, held, buffers.nulls)


def _padded(cells: pa.Array, length: int) -> pa.Array:
    """Bytes of a fixed length, of which the log leaves the zeros at the end out."""
    longer = pc.binary_join_element_wise(cells, pa.scalar(bytes(length)), pa.scalar(b""))
    return pc.binary_slice(longer, 0, length)


def _labelled(cells: pa.Array, column: MapColumn, charsets: Charsets) -> pa.Array:
    """The labels of an ENUM's number, '' for 0, or of a SET's bits."""
    decode = _decoder(column, charsets)
    labels = [decode(label) for label in column.labels]
    numbers = pc.unique(cells)
    texts: list[str | None] = []
    for number in numbers.to_pylist():
        if number is None:
            texts.append(None)
        elif column.type == ENUM and number <= len(labels):
            texts.append(labels[number - 1] if number else "")
        elif column.type == SET and not number >> len(labels):
            texts.append(",".join(label for bit, label in enumerate(labels) if number >> bit & 1))
        else:
            raise Corruption("decode", f"column {column.name}", f"no label has the number {number}")
    return pa.array(texts, pa.string()).take(pc.index_in(cells, numbers))


def _texts(cells: pa.Array, column: MapColumn, charsets: Charsets) -> pa.Array:
    charset = charsets.get(column.collation, "")
    if _CODECS.get(charset) == "utf-8":
        try:
            return pc.cast(cells, pa.string())
        except pa.ArrowInvalid as error:
            raise _unreadable(column, charset, str(error)) from None
    # Python decodes each text once, however many rows have it.
    coded = pc.dictionary_encode(cells)
    decode = _decoder(column, charsets)
    texts = pa.array([decode(text) for text in coded.dictionary.to_pylist()], pa.string())
    return texts.take(coded.indices)


def _decoder(column: MapColumn, charsets: Charsets) -> Callable[[bytes], str]:
    charset = charsets.get(column.collation, "")
    table = _OWN.get(charset)
    name = _CODECS.get(charset)
    if table is None and name is None:
        known = charset or f"of the collation {column.collation}"
        raise _unreadable(column, charset, f"the charset {known} is not read")

    def decode(text: bytes) -> str:
        try:
            if table is not None:
                return codecs.charmap_decode(text, "strict", table)[0]
            return text.decode(name or "")
        except UnicodeDecodeError as error:
            raise _unreadable(column, charset, str(error)) from None

    return decode


def _unreadable(column: MapColumn, charset: str, why: str) -> NeedsOperator:
    return NeedsOperator(
        "read", f"a text of column {column.name}", why, f"convert the column from {charset} to utf8mb4"
    )
