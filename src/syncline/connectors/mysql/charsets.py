"""A server's charsets: how the bytes of a text are read.

Those of one byte a character are read by the server's own tables, asked of it, as other tables of the same
name differ from them in single characters.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .connection import ask

_UNICODE: Final = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}

_UNDEFINED: Final = "\ufffe"
"""What a table of Python's has where a byte is no character."""


@dataclass(frozen=True, slots=True)
class Charset:
    """A charset; `table` has the character of each byte, where there is one byte a character."""

    name: str
    table: str = ""

    @property
    def is_utf8(self) -> bool:
        """Whether its bytes are UTF-8."""
        return _UNICODE.get(self.name) == "utf-8"

    @property
    def is_read(self) -> bool:
        """Whether its texts can be read here."""
        return bool(self.table) or self.name in _UNICODE

    def decode(self, text: bytes) -> str:
        """The text of these bytes. UnicodeDecodeError where they are none."""
        if self.table:
            return codecs.charmap_decode(text, "strict", self.table)[0]
        return text.decode(_UNICODE[self.name])


Charsets = Mapping[int, Charset]
"""A server's charsets by the numbers of its collations."""


def read_charsets(session: Any) -> dict[int, Charset]:
    """The charsets of the server."""
    sizes = ask(session, "SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS")
    known = {
        str(name): Charset(str(name), _table(session, str(name)) if size == 1 and name != "binary" else "")
        for name, size in sizes
    }
    found = {}
    # Where both have numbers, the second has those of collations that fit several charsets.
    for view in ("COLLATIONS", "COLLATION_CHARACTER_SET_APPLICABILITY"):
        numbered = ask(session, f"SHOW COLUMNS FROM information_schema.{view} LIKE 'ID'")
        rows = (
            ask(session, f"SELECT ID, CHARACTER_SET_NAME FROM information_schema.{view}") if numbered else []
        )
        found.update({int(number): known[str(name)] for number, name in rows if number})
    return found


def _table(session: Any, charset: str) -> str:
    bytes_of_it = ",".join(f"CONVERT(_{charset} 0x{byte:02x} USING utf8mb4)" for byte in range(256))
    (shown,) = ask(session, f"SELECT {bytes_of_it}")
    # What it cannot read itself it shows as a question mark.
    return "".join(
        str(text) if text != "?" or byte == ord("?") else _UNDEFINED for byte, text in enumerate(shown)
    )
