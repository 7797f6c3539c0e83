"""Row messages of pgoutput, written by hand."""

from __future__ import annotations

import struct
from enum import Enum


class Unsent(Enum):
    """The type of the one value UNSENT."""

    UNSENT = "unsent"


UNSENT = Unsent.UNSENT
Cell = bytes | None | Unsent


def row(*cells: Cell) -> bytes:
    """The tuple data of a row."""
    data = struct.pack("!H", len(cells))
    for cell in cells:
        if cell is None:
            data += b"n"
        elif cell is UNSENT:
            data += b"u"
        else:
            assert isinstance(cell, bytes)
            data += b"t" + struct.pack("!I", len(cell)) + cell
    return data


def change(kind: bytes, *parts: bytes, relation: int = 16390) -> bytes:
    """An insert, update or delete."""
    return kind + struct.pack("!I", relation) + b"".join(parts)
