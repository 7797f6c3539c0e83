"""Log sequence numbers: numbers inside this room, the text 'X/Y' as a Position outside of it."""

from __future__ import annotations

import re

from ...errors import Corruption
from ...model import Position

_FORM = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> int:
    """The number of a log sequence number as text; Corruption when it is none."""
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise Corruption("read", f"log position {text!r}", "it is not of the form X/Y in hexadecimal digits")
    return int(parts[1], 16) << 32 | int(parts[2], 16)


def format_lsn(lsn: int) -> Position:
    """The one text of that number, so that equal positions are equal texts."""
    return Position(f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}")
