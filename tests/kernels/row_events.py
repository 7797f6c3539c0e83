"""Row events of the binlog, written by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from syncline.kernels.binlog import BYTES, Cell

Value = bytes | None
Row = Sequence[Value]


def image(cells: Sequence[Cell], row: Row, present: Sequence[bool]) -> bytes:
    """A row image: which cells are NULL, then those that are not. The bytes of a cell are as they lie there,
    without the length of those that have one."""
    held = [(cell, value) for cell, value, here in zip(cells, row, present, strict=True) if here]
    nulls = sum(1 << at for at, (_, value) in enumerate(held) if value is None)
    data = nulls.to_bytes((len(held) + 7) // 8, "little")
    for cell, value in held:
        if value is not None:
            data += (len(value).to_bytes(-cell.size, "little") if cell.size < 0 else b"") + value
    return data


def bitmap(present: Sequence[bool]) -> bytes:
    """The columns that an image holds."""
    bits = sum(1 << at for at, here in enumerate(present) if here)
    return bits.to_bytes((len(present) + 7) // 8, "little")


def event(
    kind: int, cells: Sequence[Cell], rows: Sequence[Sequence[Row]], present: Sequence[Sequence[bool]] = ()
) -> bytes:
    """The body of a row event: for each change its row, or its old and its new one."""
    images = 2 if kind in (24, 31) else 1
    present = present or [[True] * len(cells)] * images
    head = struct.pack("<IHH", 77, 0, 1) + (struct.pack("<H", 2) if kind >= 30 else b"")
    width = bytes([len(cells)]) if len(cells) < 251 else b"\xfc" + struct.pack("<H", len(cells))
    bitmaps = b"".join(bitmap(one) for one in present)
    body = b"".join(
        image(cells, row, one) for change in rows for row, one in zip(change, present, strict=True)
    )
    return head + width + bitmaps + body


TEXT = Cell(-1, BYTES)
LONG_TEXT = Cell(-2, BYTES)
