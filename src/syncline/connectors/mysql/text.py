"""Names, literals and cells as the server's SQL and LOAD DATA read them.

The sessions of `session` have backslash escapes on and read statements as utf8mb4 (MySQL Reference
Manual, "String Literals"; "LOAD DATA Statement").
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...model import Kind, Type
from .types import is_hex

_LARGE = pa.large_binary()


def quote(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def quoted(names: Sequence[str], prefix: str = "") -> str:
    """Names as a list; each after `prefix`."""
    return ", ".join(prefix + quote(name) for name in names)


def literal(value: Any) -> str:
    """A value of the bookkeeping as SQL writes it: text, number or None."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    return repr(int(value))


def literals(array: pa.Array, type: Type, number: bool = False) -> pa.Array:
    """Canonical cells as SQL's literals, in an array of bytes without NULLs. `number`: a decimal that is one
    for the server too, which compares a text with a number as doubles."""
    if type.kind is Kind.BOOL:
        texts = pc.cast(pc.if_else(array, "1", "0"), pa.binary())
    elif type.kind in (Kind.FLOAT32, Kind.FLOAT64):
        # A number without quotes is a decimal, and has no -0.0.
        texts = pc.binary_join_element_wise("'", _floats(array), "'", "")
    elif array.type in (pa.int64(), pa.uint64()):
        texts = pc.cast(array, pa.string())
    elif type.kind is Kind.DECIMAL and number:
        texts = array
    elif type.kind is Kind.BYTES:
        texts = pc.binary_join_element_wise(b"x'", _hexed(array), b"'", b"")
    elif is_hex(type):
        texts = pc.binary_join_element_wise("x'", array, "'", "")
    else:
        texts = pc.binary_join_element_wise("'", _doubled(array), "'", "")
    return pc.fill_null(pc.cast(pc.cast(texts, pa.binary()), _LARGE), pa.scalar(b"NULL", _LARGE))


def tuples(arrays: Sequence[pa.Array], types: Sequence[Type], numbers: Sequence[bool]) -> list[bytes]:
    """Rows as SQL's lists of literals, `(1, 'a')` each."""
    cells = list(map(literals, arrays, types, numbers))
    inner = pc.binary_join_element_wise(*cells, pa.scalar(b", ", _LARGE)) if len(cells) > 1 else cells[0]
    whole = pc.binary_join_element_wise(
        pa.scalar(b"(", _LARGE), inner, pa.scalar(b")", _LARGE), pa.scalar(b"", _LARGE)
    )
    found: list[bytes] = whole.to_pylist()
    return found


def pieces(rows: Sequence[bytes], max_bytes: int, most: int) -> Iterator[list[bytes]]:
    """Rows in order, in pieces of at most `most` rows and about `max_bytes`."""
    piece: list[bytes] = []
    size = 0
    for row in rows:
        if piece and (len(piece) == most or size + len(row) > max_bytes):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += len(row) + 1
    if piece:
        yield piece


def lines(arrays: Sequence[pa.Array], types: Sequence[Type]) -> pa.Buffer:
    """Rows as LOAD DATA reads them in its own format: cells end with a tab, rows with a line feed, and what
    would be read as one of these stands behind a backslash."""
    cells = [_fields(array, type) for array, type in zip(arrays, types, strict=True)]
    tab, end = pa.scalar(b"\t", _LARGE), pa.scalar(b"\n", _LARGE)
    inner = pc.binary_join_element_wise(*cells, tab) if len(cells) > 1 else cells[0]
    ended = pc.binary_join_element_wise(inner, pa.scalar(b"", _LARGE), end)
    _, offsets, payload = ended.buffers()
    places = memoryview(offsets).cast("q")
    first, last = places[ended.offset], places[ended.offset + len(ended)]
    return payload[first:last]


def _fields(array: pa.Array, type: Type) -> pa.Array:
    if type.kind is Kind.BOOL:
        texts = pc.if_else(array, "1", "0")
    elif type.kind in (Kind.FLOAT32, Kind.FLOAT64):
        texts = _floats(array)
    elif type.kind is Kind.BYTES:
        texts = _escaped(array)
    elif array.type == pa.string():
        texts = _escaped(pc.cast(array, pa.binary()))
    else:
        texts = pc.cast(array, pa.string())
    return pc.fill_null(pc.cast(pc.cast(texts, pa.binary()), _LARGE), pa.scalar(b"\\N", _LARGE))


def _floats(array: pa.Array) -> pa.Array:
    """The shortest text that is read as the same double, of which a float is one."""
    return pc.cast(pc.cast(array, pa.float64()), pa.string())


def _escaped(cells: pa.Array) -> pa.Array:
    """LOAD DATA keeps NUL as it is, and takes no byte of UTF-8's later ones for one of these."""
    if not pc.any(pc.match_substring_regex(cells, b"[\\\\\n\t]")).as_py():
        return cells
    for character, written in ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\t", b"\\t")):
        cells = pc.replace_substring(cells, character, written)
    return cells


def _doubled(texts: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(texts, r"[\\']")).as_py():
        return texts
    return pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), "'", "''")


def _hexed(cells: pa.Array) -> pa.Array:
    """Cells of bytes as hexadecimal digits."""
    _, offsets, payload = cells.buffers()
    places = pa.Array.from_buffers(pa.int32(), len(cells) + 1, [None, offsets], offset=cells.offset)
    first, last = places[0].as_py(), places[-1].as_py()
    digits = binascii.hexlify(memoryview(payload or b"")[first:last])
    starts = pc.subtract(places, places[0])
    doubled = pc.add_checked(starts, starts)
    buffers = [None, doubled.buffers()[1], pa.py_buffer(digits)]
    filled = pa.Array.from_buffers(pa.binary(), len(cells), buffers)
    return pc.if_else(cells.is_valid(), filled, pa.scalar(None, pa.binary()))
