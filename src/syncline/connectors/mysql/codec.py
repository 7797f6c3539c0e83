"""A column's cells, as the kernel gives them, to Arrow.

Whatever travels as text is the canonical text already (model.types), but for what the dialects alone have:
zero dates stay `0000-00-00`, a TIME may have more than 24 hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Corruption, NeedsOperator
from ...kernels import binjson, binlog
from .charsets import Charsets
from .tablemap import BLOB, ENUM, JSON, SET, STRING, VARCHAR, MapColumn

BINARY: Final = 63
"""The collation of what is no text: BLOB, BINARY, VARBINARY."""


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


def _array(type: pa.DataType, count: int, parts: list[Any], buffers: binlog.Buffers) -> pa.Array:
    held = [pa.py_buffer(part) for part in (buffers.validity, *parts)]
    return pa.Array.from_buffers(type, count, held, buffers.nulls)


def _padded(cells: pa.Array, length: int) -> pa.Array:
    """Bytes of a fixed length, of which the log leaves the zeros at the end out."""
    longer = pc.binary_join_element_wise(cells, pa.scalar(bytes(length)), pa.scalar(b""))
    return pc.binary_slice(longer, 0, length)


def _labelled(cells: pa.Array, column: MapColumn, charsets: Charsets) -> pa.Array:
    """The labels of an ENUM's number, '' for 0, or of a SET's bits."""
    labels = _decoded(column.labels, column, charsets)
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
    charset = charsets.get(column.collation)
    if charset is not None and charset.is_utf8:
        try:
            return pc.cast(cells, pa.string())
        except pa.ArrowInvalid as error:
            raise _unreadable(column, charset.name, str(error)) from None
    # Python decodes each text once, however many rows have it.
    coded = pc.dictionary_encode(cells)
    texts = _decoded(coded.dictionary.to_pylist(), column, charsets)
    return pa.array(texts, pa.string()).take(coded.indices)


def _decoded(texts: Sequence[bytes], column: MapColumn, charsets: Charsets) -> list[str]:
    charset = charsets.get(column.collation)
    if charset is None or not charset.is_read:
        name = f"of the collation {column.collation}" if charset is None else charset.name
        raise _unreadable(column, name, f"the charset {name} is not read")
    try:
        return [charset.decode(text) for text in texts]
    except UnicodeDecodeError as error:
        raise _unreadable(column, charset.name, str(error)) from None


def _unreadable(column: MapColumn, charset: str, why: str) -> NeedsOperator:
    return NeedsOperator(
        "read", f"a text of column {column.name}", why, f"convert the column from {charset} to utf8mb4"
    )
