"""Cells between PostgreSQL's text and Arrow.

The text is what the server writes under the settings of `connection.SETTINGS`; for every type that travels
as text it is the canonical text already. COPY's text forms: PostgreSQL documentation, "COPY", File Formats.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from ...errors import NeedsOperator
from ...model import Column, Kind, Rows, Type

NULL = "\\N"


def column_from_text(texts: pa.Array, type: Type) -> pa.Array:
    """The server's text of cells, as an array of bytes, as the canonical array of a type; NeedsOperator for
    what is no such text."""
    try:
        return _parsed(texts, type)
    except (pa.ArrowInvalid, ValueError) as error:
        raise _unreadable(f"a cell of type {type}", error) from None


def _parsed(array: pa.Array, type: Type) -> pa.Array:
    if type.kind is Kind.BYTES:
        return _unhexed(array)
    texts = pc.cast(array, pa.string())
    if type.kind is Kind.BOOL:
        return pc.equal(texts, "t")
    return pc.cast(texts, type.arrow)


def _unhexed(cells: pa.Array) -> pa.Array:
    r"""The bytes of cells like `\x00ff`; ValueError for what is none."""
    if cells.null_count < len(cells) and not pc.all(pc.starts_with(cells, "\\x")).as_py():
        raise ValueError("it does not begin with \\x")
    digits = pc.utf8_slice_codeunits(pc.cast(cells, pa.string()), 2)
    payload, places = _payload(digits)
    if pc.any(pc.equal(pc.bit_wise_and(places, 1), 1)).as_py():
        raise ValueError("it ends within a byte")
    halves = pc.shift_right(places, pa.scalar(1, pa.int32()))
    return _refilled(digits, binascii.unhexlify(payload), halves, pa.binary())


def _hexed(cells: pa.Array) -> pa.Array:
    r"""Cells of bytes as texts like `\x00ff`."""
    payload, places = _payload(cells)
    digits = _refilled(cells, binascii.hexlify(payload), pc.add_checked(places, places), pa.string())
    return pc.binary_join_element_wise("\\x", digits, "")


def _payload(cells: pa.Array) -> tuple[memoryview, pa.Array]:
    """The bytes of all cells after one another, and where in them each begins and the last one ends."""
    _, offsets, payload = cells.buffers()
    places = pa.Array.from_buffers(pa.int32(), len(cells) + 1, [None, offsets], offset=cells.offset)
    first, last = places[0].as_py(), places[-1].as_py()
    return memoryview(payload or b"")[first:last], pc.subtract(places, places[0])


def _refilled(cells: pa.Array, payload: bytes, places: pa.Array, type: pa.DataType) -> pa.Array:
    """Cells that are NULL where these are, and else lie in the payload at these places."""
    buffers = [None, places.buffers()[1], pa.py_buffer(payload)]
    filled = pa.Array.from_buffers(type, len(cells), buffers)
    return pc.if_else(cells.is_valid(), filled, pa.scalar(None, type))


def rows_from_csv(columns: Sequence[Column], data: bytes) -> Rows:
    """Lines that COPY wrote as CSV with FORCE_QUOTE *, as rows: an unquoted empty cell is NULL."""
    if not data:
        return Rows.of(
            [column.name for column in columns], [pa.array([], column.type.arrow) for column in columns]
        )
    shapes = {column.name: column.type.arrow for column in columns}
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(
                column_names=list(shapes), block_size=len(data) + 1, use_threads=False
            ),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=shapes,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except pa.ArrowInvalid as error:
        raise _unreadable("rows that the server sent", error) from None
    arrays = []
    for column, chunks in zip(columns, table.columns, strict=True):
        array = pa.concat_arrays(chunks.chunks) if chunks.num_chunks else pa.array([], chunks.type)
        if column.type.kind is Kind.BYTES:
            array = _unhexed(array)
        arrays.append(array)
    return Rows.of([column.name for column in columns], arrays)


def texts_of(array: pa.Array, type: Type) -> pa.Array:
    """Canonical cells as the text that the server reads."""
    match type.kind:
        case Kind.BOOL:
            return pc.if_else(array, "t", "f")
        case Kind.BYTES:
            return _hexed(array)
    return pc.cast(array, pa.string())


def copy_text(columns: Sequence[Column], rows: Rows) -> bytes:
    """Rows in these columns as COPY's text format reads them."""
    if not rows.count:
        return b""
    cells = []
    for column in columns:
        texts = pc.cast(texts_of(rows.array(column.name), column.type), pa.large_string())
        cells.append(pc.fill_null(_escaped(texts), NULL))
    tab, end = (pa.scalar(text, pa.large_string()) for text in ("\t", "\n"))
    lines = pc.binary_join_element_wise(*cells, tab)
    ended = pc.binary_join_element_wise(lines, pa.scalar("", pa.large_string()), end)
    if isinstance(ended, pa.ChunkedArray):
        ended = ended.combine_chunks()
    _, offsets, payload = ended.buffers()
    places = memoryview(offsets).cast("q")
    first, last = places[ended.offset], places[ended.offset + len(ended)]
    return memoryview(payload)[first:last].tobytes()


def _escaped(texts: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(texts, "[\\\\\n\r\t]")).as_py():
        return texts
    for character, written in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        texts = pc.replace_substring(texts, character, written)
    return texts


def _unreadable(what: str, error: Exception) -> NeedsOperator:
    return NeedsOperator("read", what, str(error), "its text is not UTF-8, or the column's type has changed")
