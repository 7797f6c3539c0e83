"""Arrow columns from SQLite's stored values and back: exact, or refused by name (Promise 3).

SQLite keeps a storage class with every value, whatever the column declares. A column of values whose
classes and forms are all the canonical ones becomes an array at once; only a column that holds others is
looked at value by value, and a value that means nothing in its canonical type raises Unfit with
table, column, value and key.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Unfit
from ...model import Column, Kind, Rows, Schema
from ...model.types import INTEGERS
from .declared import SYSTEM

Values = Sequence[Any]

# What another system would read as another value (a 60th second, year 02024, -0) is none of these forms.
_DATE = r"(\d{4}|[1-9]\d{4,6})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{0,5}[1-9])?"
_FORMS: dict[Kind, str] = {
    Kind.DECIMAL: r"^(0(\.\d+)?|-?[1-9]\d*(\.\d+)?|-0\.0*[1-9]\d*|NaN|-?Infinity)$",
    Kind.DATE: rf"^(-?infinity|{_DATE}( BC)?)$",
    Kind.TIME: rf"^({_TIME}|24:00:00)$",
    Kind.TIMESTAMP: rf"^(-?infinity|{_DATE} {_TIME}( BC)?)$",
    Kind.TIMESTAMPTZ: rf"^(-?infinity|{_DATE} {_TIME}\+00( BC)?)$",
    Kind.UUID: r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
}
_BITS = {
    Kind.INT8: (-(1 << 7), (1 << 7) - 1),
    Kind.INT16: (-(1 << 15), (1 << 15) - 1),
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.INT64: (-(1 << 63), (1 << 63) - 1),
    Kind.UINT8: (0, (1 << 8) - 1),
    Kind.UINT16: (0, (1 << 16) - 1),
    Kind.UINT32: (0, (1 << 32) - 1),
    Kind.UINT64: (0, (1 << 64) - 1),
}
_NONE = type(None)
_FRACTION = re.compile(r"\.(\d+)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|NaN|-?Infinity", re.ASCII)
_MOST_DIGITS = 150_000
"""More than any system's decimals have: '1e999999999' is a short text of a very long number."""


def decode(
    schema: Schema, columns: Sequence[Column], cells: Sequence[Values], keys: Sequence[Values]
) -> Rows:
    """Stored values, one sequence a column, as rows in the format `arrow`. `keys` are the cells of the
    key's columns, for messages only."""
    return Rows.of(
        [column.name for column in columns],
        [_decode(schema, column, values, keys) for column, values in zip(columns, cells, strict=True)],
    )


def encode(schema: Schema, rows: Rows) -> list[list[Any]]:
    """Rows in the format `arrow` as the values to store, one list a column."""
    return [_encode(schema, rows, name) for name in rows.columns]


def write_literal(value: Any) -> str:
    """A stored value as SQL writes it: how bounds of spans and cells of opaque types travel."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float) and math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    return repr(value)


def read_literal(text: str) -> Any:
    """The value that `write_literal` wrote; ValueError for other text."""
    if text == "NULL":
        return None
    if text[:2] == "X'" and text[-1:] == "'":
        return bytes.fromhex(text[2:-1])
    if text[:1] == "'" and text[-1:] == "'" and len(text) > 1:
        return text[1:-1].replace("''", "'")
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _decode(schema: Schema, column: Column, values: Values, keys: Sequence[Values]) -> pa.Array:
    classes = set(map(type, values))
    try:
        array = _at_once(column, values, classes - {_NONE})
        if array is not None:
            return array
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        array = None  # some value does not fit: found below, to be named
    one = _reader(column)
    decoded: list[Any] = []
    for index, value in enumerate(values):
        try:
            decoded.append(None if value is None else one(value))
        except (ValueError, InvalidOperation, OverflowError):
            row = tuple(cells[index] for cells in keys)
            raise _unfit(schema, column, _shown(value), row) from None
    return pa.array(decoded, column.type.arrow)


def _reader(column: Column) -> Callable[[Any], Any]:
    kind = column.type.kind
    if kind in INTEGERS:
        return _ranged(*_BITS[kind])
    if _is_own(column):
        return lambda value: _whole(write_literal(value))
    return _ONE.get(kind, _text)


def _is_own(column: Column) -> bool:
    """Whether its cells are stored values of any class, as literals."""
    return column.type.kind is Kind.OPAQUE and column.type.system == SYSTEM


def _at_once(column: Column, values: Values, classes: set[type]) -> pa.Array | None:
    """The array when all values are plainly canonical, else None."""
    kind = column.type.kind
    if not classes:
        return pa.nulls(len(values), column.type.arrow)
    if kind in INTEGERS and classes == {int}:
        array = pa.array(values, column.type.arrow)
        low, high = _BITS[kind]
        found = pc.min_max(array).as_py()
        return array if low <= found["min"] and found["max"] <= high else None
    if kind is Kind.BOOL and classes == {int}:
        array = pa.array(values, pa.int64())
        found = pc.min_max(array).as_py()
        return pc.equal(array, 1) if found["min"] >= 0 and found["max"] <= 1 else None
    if kind in (Kind.FLOAT32, Kind.FLOAT64) and classes == {float}:
        wide = pc.add(pa.array(values, pa.float64()), 0.0)  # a table never shows the -0.0 it was given
        array = pc.cast(wide, column.type.arrow, safe=False)
        return array if pc.all(pc.equal(pc.cast(array, pa.float64()), wide)).as_py() else None
    if kind is Kind.BYTES and classes == {bytes}:
        return pa.array(values, pa.binary())
    if classes != {str} or _is_own(column) or column.type.arrow != pa.string():
        return None
    array = pa.array(values, pa.string())
    form = _FORMS.get(kind)
    return (
        array if form is None or pc.all(pc.match_substring_regex(array, form)).as_py() is not False else None
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return _whole(value)


def _whole(text: str) -> str:
    """The text, when the bytes that were stored for it are UTF-8: ValueError for any other."""
    text.encode()
    return text


def _ranged(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, str) and high > _BITS[Kind.INT64][1] and value.isdigit():
            value = int(value)  # uint64 stands as text: no SQLite integer is as large
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _bool(value: Any) -> bool:
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError
    return value == 1


def _float(value: Any) -> float:
    if not isinstance(value, int | float) or (isinstance(value, int) and int(float(value)) != value):
        raise ValueError
    return float(value) + 0.0


def _float32(value: Any) -> float:
    wide = _float(value)
    if pa.scalar(wide, pa.float64()).cast(pa.float32(), safe=False).as_py() != wide:
        raise ValueError
    return wide


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError
    return value


def _decimal(value: Any) -> str:
    if isinstance(value, bytes):
        raise ValueError
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise ValueError
    number = Decimal(value.strip()) if isinstance(value, str) else Decimal(repr(value))
    if not number.is_finite():
        return str(number)
    if abs(int(number.as_tuple().exponent)) > _MOST_DIGITS:
        raise ValueError
    text = format(number if number else number.copy_abs(), "f")
    # A REAL prints 5.0 for five: the digits behind the point are the printer's, not the number's.
    return text.removesuffix(".0") if isinstance(value, float) else text


def _fraction(text: str) -> str:
    """The text with the zeros at the end of its fraction gone; ValueError for more than microseconds."""

    def shorten(match: re.Match[str]) -> str:
        digits = match[1].rstrip("0")
        if len(digits) > 6:
            raise ValueError
        return f".{digits}" if digits else ""

    return _FRACTION.sub(shorten, text)


def _has_form(kind: Kind, text: str) -> bool:
    return re.fullmatch(_FORMS[kind], text, re.ASCII) is not None and not text.endswith("\n")


def _moment(value: Any) -> datetime:
    return datetime.fromisoformat(_fraction(_text(value).strip().replace(",", ".")))


def _timestamp(value: Any) -> str:
    if _has_form(Kind.TIMESTAMP, _text(value)):
        return str(value)
    moment = _moment(value)
    if moment.tzinfo is not None:
        raise ValueError
    return _fraction(moment.isoformat(" "))


def _timestamptz(value: Any) -> str:
    if _has_form(Kind.TIMESTAMPTZ, _text(value)):
        return str(value)
    moment = _moment(value)
    if moment.tzinfo is None:
        raise ValueError
    return _fraction(moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")) + "+00"


def _date(value: Any) -> str:
    if _has_form(Kind.DATE, _text(value)):
        return str(value)
    return date.fromisoformat(value).isoformat()


def _time(value: Any) -> str:
    if _has_form(Kind.TIME, _text(value)):
        return str(value)
    moment = time.fromisoformat(_fraction(value))
    if moment.tzinfo is not None:
        raise ValueError
    return _fraction(moment.isoformat())


def _uuid(value: Any) -> str:
    return str(uuid.UUID(_text(value)))


def _json(value: Any) -> str:
    if isinstance(value, bytes):
        raise ValueError
    if isinstance(value, float) and math.isinf(value):
        raise ValueError
    return value if isinstance(value, str) else repr(value)  # a column named JSON turns '1' into 1


_ONE: dict[Kind, Callable[[Any], Any]] = {
    Kind.BOOL: _bool,
    Kind.FLOAT32: _float32,
    Kind.FLOAT64: _float,
    Kind.BYTES: _bytes,
    Kind.DECIMAL: _decimal,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMPTZ: _timestamptz,
    Kind.UUID: _uuid,
    Kind.JSON: _json,
}


def _encode(schema: Schema, rows: Rows, name: str) -> list[Any]:
    column, array = schema.column(name), rows.array(name)
    values: list[Any] = array.to_pylist()
    match column.type.kind:
        case Kind.UINT64:
            return [None if value is None else str(value) for value in values]
        case Kind.FLOAT32 | Kind.FLOAT64:
            _refuse_floats(schema, column, rows, values)
        case Kind.OPAQUE if _is_own(column):
            return [None if value is None else read_literal(value) for value in values]
    return values


def _refuse_floats(schema: Schema, column: Column, rows: Rows, values: list[float | None]) -> None:
    """SQLite stores NaN as NULL and -0.0 as 0: neither may pass in silence."""
    for index, value in enumerate(values):
        if value is None or (value == value and (value or math.copysign(1.0, value) > 0)):
            continue
        keys = [rows.array(name) for name in schema.key if name in rows.columns]
        shown = "NaN, which SQLite stores as NULL" if value != value else "-0.0, which SQLite stores as 0.0"
        raise _unfit(schema, column, shown, tuple(key[index].as_py() for key in keys), "store")


def _shown(value: Any) -> str:
    names = {int: "an integer", float: "a real", str: "text", bytes: "a blob"}
    literal = write_literal(value)
    shown = literal.encode(errors="backslashreplace").decode()
    return f"{shown if len(shown) <= 40 else shown[:40] + '…'} ({names[type(value)]})"


def _unfit(
    schema: Schema, column: Column, shown: str, key: tuple[Any, ...], operation: str = "read"
) -> Unfit:
    where = ", ".join(f"{name}={write_literal(cell)}" for name, cell in zip(schema.key, key, strict=False))
    return Unfit(
        operation,
        f"{schema.table}.{column.name}",
        f"the row {where or 'in question'} holds {shown}"
        + ("" if operation == "store" else f", no {column.type}"),
        "correct the value, or leave the table out with --exclude",
    )
