"""When two cells are equal.

Within one system: when that system writes them alike. Across systems both are brought into one plain
form by PostgreSQL's declared type; what cannot be read as that type stays as it is and so differs.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Plain = Callable[[Any], Any]
"""Brings a cell that is not NULL into its plain, hashable form."""


def exact(cell: Any) -> Any:
    """The plain form within one system: value and storage class; NaN is one value, -0.0 is not 0.0."""
    return repr(cell) if isinstance(cell, float) else (type(cell).__name__, cell)


def plain(postgres_type: str) -> Plain:
    """The plain form of cells, PostgreSQL's text or SQLite's value, under a declared PostgreSQL type."""
    name = re.sub(r"\(.*?\)", "", postgres_type).strip()
    if name.endswith("[]"):
        return str
    form = _FORMS.get(name, str)

    def careful(cell: Any) -> Any:
        try:
            return form(cell)
        except (ValueError, TypeError, InvalidOperation, OverflowError, struct.error):
            return ("not a", name, exact(cell))

    return careful


def _bool(cell: Any) -> bool:
    return {"t": True, "f": False, 1: True, 0: False}[cell] if cell in ("t", "f", 0, 1) else _refuse(cell)


def _int(cell: Any) -> int:
    return int(cell) if isinstance(cell, (str, int)) else _refuse(cell)


def _decimal(cell: Any) -> Any:
    """By value; text keeps its scale apart, which a number of SQLite's does not have."""
    value = Decimal(repr(cell) if isinstance(cell, float) else cell)
    if value.is_nan():
        return "nan"
    scale = value.as_tuple().exponent if isinstance(cell, str) else None
    return Scaled(value, scale)


class Scaled:
    """A decimal whose scale counts wherever both sides know it."""

    def __init__(self, value: Decimal, scale: Any) -> None:
        self.value, self.scale = value, scale

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scaled):
            return NotImplemented
        known = None not in (self.scale, other.scale)
        return self.value == other.value and (not known or self.scale == other.scale)

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return str(self.value)


def _float(cell: Any) -> Any:
    value = float(cell)
    return "nan" if math.isnan(value) else (value, math.copysign(1.0, value))


def _float32(cell: Any) -> Any:
    """PostgreSQL's shortest text is rounded to the float it stands for; a number must be that float."""
    value = float(cell)
    if isinstance(cell, str) and math.isfinite(value):
        (value,) = struct.unpack("<f", struct.pack("<f", value))
    return _float(value)


def _bytes(cell: Any) -> bytes:
    if isinstance(cell, str) and cell.startswith("\\x"):
        return bytes.fromhex(cell[2:])
    return cell if isinstance(cell, bytes) else _refuse(cell)


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else _refuse(cell)


def _clock(cell: Any) -> str:
    """Date and time as text: a blank between the two, no zeros at the end of a fraction."""
    text = re.sub(r"^(\d{4,}-\d\d-\d\d)T", r"\1 ", _text(cell))
    return re.sub(r"(:\d\d)(?:\.0+|(\.\d*?[1-9])0*)?(?=$|[^\d.])", lambda m: m[1] + (m[2] or ""), text)


def _clock_utc(cell: Any) -> str:
    text = _clock(cell)
    if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?", text):
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment.isoformat()
    return text


def _json(cell: Any) -> Any:
    """As it was written but for blanks: members in their order, also such that stand twice; digits."""
    return _parsed(cell, str, tuple)


def _jsonb(cell: Any) -> Any:
    """By value: members in no order, numbers whatever their digits."""
    return _parsed(cell, Decimal, frozenset)


def _parsed(cell: Any, number: Callable[[str], Any], members: Callable[[Any], Any]) -> Any:
    """Hashable and with nothing rounded; a number is never equal to a text, nor true to one."""

    def frozen(value: Any) -> Any:
        return ("array", *map(frozen, value)) if isinstance(value, list) else (type(value).__name__, value)

    def made(digits: str) -> Any:
        return ("number", number(digits))

    return frozen(
        json.loads(
            cell if isinstance(cell, str) else repr(cell),
            parse_float=made,
            parse_int=made,
            object_pairs_hook=lambda pairs: (
                "object",
                members((name, frozen(value)) for name, value in pairs),
            ),
        )
    )


def _refuse(cell: Any) -> Any:
    raise ValueError(cell)


_FORMS: dict[str, Plain] = {
    "boolean": _bool,
    "smallint": _int,
    "integer": _int,
    "bigint": _int,
    "numeric": _decimal,
    "double precision": _float,
    "real": _float32,
    "bytea": _bytes,
    "text": _text,
    "character varying": _text,
    "character": _text,
    "date": _clock,
    "time without time zone": _clock,
    "timestamp without time zone": _clock,
    "timestamp with time zone": _clock_utc,
    "uuid": lambda cell: _text(cell).lower(),
    "json": _json,
    "jsonb": _jsonb,
}
