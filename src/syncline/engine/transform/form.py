"""The names of types that a column can be cast to.

Light to import: whoever reads a configuration checks them.
"""

from __future__ import annotations

import difflib
import re

from ...words import Kind

_NAME = re.compile(r"(\w+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")
_NEVER = {Kind.BYTES, Kind.INTERVAL, Kind.JSON, Kind.ARRAY, Kind.ENUM, Kind.OPAQUE}
"""Kinds that no exact cast leads to."""


def parse_form(text: str) -> tuple[Kind, int | None, int | None]:
    """Kind, precision and scale of a name such as `text`, `int64` or `decimal(10,2)`. ValueError with a
    sentence for another one."""
    found = _NAME.fullmatch(text.strip())
    names = [str(kind) for kind in Kind if kind not in _NEVER]
    name = found[1].lower() if found else text
    if found is None or name not in names:
        near = difflib.get_close_matches(name, names, 1)
        remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise ValueError(f'no column can be cast to "{text}"; {remedy}')
    if found[2] and name != Kind.DECIMAL:
        raise ValueError(f'"{text}" has a size, and a cast cuts nothing; write {name}')
    precision, scale = (int(found[2]), int(found[3] or 0)) if found[2] else (None, None)
    return Kind(name), precision, scale


def check_form(text: str) -> str:
    """The text, if `parse_form` knows it. ValueError otherwise."""
    parse_form(text)
    return text
