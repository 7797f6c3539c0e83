"""What a filter compares: columns and constants, brought into forms that compare by value."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from ...model import Kind, Rows, Type
from ...model.types import INTEGERS
from .cast import FLOATS, FORMS, find_cast
from .order import Order, order_moments, order_numbers

_TEXTS_OF_THEIR_OWN = re.compile(r"citext|^(character|char|bpchar)\b(?! varying)|\.", re.IGNORECASE)
"""Text that is not compared by its bytes where it comes from: padded with blanks, blind to case, or of a
type that somebody made."""

_MEANINGS = {
    Kind.TEXT: Kind.TEXT,
    Kind.ENUM: Kind.ENUM,
    Kind.BOOL: Kind.BOOL,
    Kind.DATE: Kind.DATE,
    Kind.TIME: Kind.TIME,
    Kind.TIMESTAMP: Kind.TIMESTAMP,
    Kind.TIMESTAMPTZ: Kind.TIMESTAMPTZ,
    Kind.UUID: Kind.UUID,
    **dict.fromkeys(FLOATS, Kind.FLOAT64),
    **dict.fromkeys({Kind.DECIMAL, *INTEGERS}, Kind.DECIMAL),
}
_UNORDERED = {Kind.ENUM, Kind.BOOL}
_MOMENTS = {Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ}

Cells = Callable[[Rows], pa.Array]


class Incomparable(Exception):
    """Two things that a filter cannot compare; the text says why, in one clause."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A column, or a constant: `text` of a string, or of a number (`numeric`), or None for NULL. `type` is
    a column's, or the one that a constant was written with."""

    type: Type | None = None
    column: str = ""
    text: str | None = None
    numeric: bool = False

    @property
    def meaning(self) -> Kind | None:
        """What it is compared as; None for a constant that takes the meaning of the other side."""
        if self.type is None:
            return Kind.DECIMAL if self.numeric else None
        meaning = _MEANINGS.get(self.type.kind)
        if meaning is None:
            raise Incomparable(f"it is {self.type}, of which only IS NULL can be asked")
        if meaning is Kind.TEXT and _TEXTS_OF_THEIR_OWN.search(self.type.name):
            raise Incomparable(f"its type {self.type.name} compares by rules of its own")
        return meaning


def orderer(left: Operand, right: Operand, *, ordered: bool) -> Callable[[Rows], Order]:
    """What tells the order of two operands of each row; Incomparable when there is none.

    `ordered`: less and more are asked, not only equality."""
    meaning = _common(left, right)
    if ordered and meaning in _UNORDERED:
        raise Incomparable(f"of {meaning} only = and <> can be asked")
    for column, other in ((left, right), (right, left)):
        if column.type and other.text is not None:
            _refuse_unknown_label(column.type, other.text)
    first, second = _cells(left, meaning, right.type), _cells(right, meaning, left.type)
    order = _ORDERS.get(meaning, _plain)
    return lambda rows: order(first(rows), second(rows))


def _common(left: Operand, right: Operand) -> Kind:
    if not (left.column or right.column):
        raise Incomparable("it compares two constants")
    a, b = left.meaning, right.meaning
    both = {a, b} - {None}
    if len(both) == 1:
        (meaning,) = both
        assert meaning is not None
        return meaning
    if both == {Kind.DECIMAL, Kind.FLOAT64}:
        return Kind.FLOAT64
    if both == {Kind.DATE, Kind.TIMESTAMP}:
        return Kind.TIMESTAMP
    if Kind.TIMESTAMPTZ in both and both <= _MOMENTS and not (left.column and right.column):
        return Kind.TIMESTAMPTZ
    raise Incomparable(f"{a} and {b} do not compare")


def _refuse_unknown_label(type: Type, text: str) -> None:
    if type.kind is Kind.ENUM and type.labels and text not in type.labels:
        raise Incomparable(f"{type} has no label {text!r}")


def _cells(operand: Operand, meaning: Kind, other: Type | None) -> Cells:
    """An operand's cells in the form that its meaning compares in; `other` is the other side's type, which a
    quoted constant takes on: '0.1' beside a float32 is the float32 that is nearest to it."""
    if not operand.column:
        value = None if operand.text is None else constant(operand.text, meaning)
        if isinstance(value, float) and not operand.numeric and other and other.kind is Kind.FLOAT32:
            value = _single(value)
        shape = {Kind.FLOAT64: pa.float64(), Kind.BOOL: pa.bool_()}.get(meaning, pa.string())
        filled = pa.scalar(value, shape)
        return lambda rows: pa.repeat(filled, rows.count)
    name, type = operand.column, operand.type
    assert type is not None
    if meaning is Kind.FLOAT64:
        return lambda rows: _doubles(rows.array(name))
    if meaning is Kind.DECIMAL:
        return lambda rows: pc.cast(rows.array(name), pa.string())
    if meaning is Kind.TIMESTAMP and type.kind is Kind.DATE:
        cast = find_cast(type, Type(Kind.TIMESTAMP))
        assert cast is not None
        return lambda rows: cast(rows.array(name))[0]
    return lambda rows: rows.array(name)


def constant(text: str, meaning: Kind) -> str | float | bool:
    """A constant in the form that a meaning compares in; Incomparable when it is no such value."""
    form = FORMS.get(meaning)
    if form is not None and meaning is not Kind.DECIMAL and re.search(form, text):
        return text
    try:
        return _READERS[meaning](text)
    except (ValueError, InvalidOperation):
        raise Incomparable(f"{text!r} is no {meaning}") from None


def _single(value: float) -> float:
    try:
        (nearest,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        raise Incomparable(f"{value} is no {Kind.FLOAT32}") from None
    return float(nearest)


def _doubles(cells: pa.Array) -> pa.Array:
    if cells.type != pa.string():
        return pc.cast(cells, pa.float64(), safe=False)
    return pc.cast(cells, pa.float64())


def _plain(left: pa.Array, right: pa.Array) -> Order:
    return Order(pc.less(left, right), pc.equal(left, right))


def _order_doubles(left: pa.Array, right: pa.Array) -> Order:
    """NaN equals itself and is above all."""
    a, b = pc.is_nan(left), pc.is_nan(right)
    less = pc.or_(pc.less(left, right), pc.and_not(b, a))
    return Order(less, pc.or_(pc.equal(left, right), pc.and_(a, b)))


_ORDERS = {
    Kind.DECIMAL: order_numbers,
    Kind.FLOAT64: _order_doubles,
    **dict.fromkeys(_MOMENTS, order_moments),
}


def _decimal(text: str) -> str:
    number = Decimal(text.strip())
    return format(number, "f") if number.is_finite() else str(number).replace("sNaN", "NaN")


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "t", "f"):
        raise ValueError
    return text.lower() in ("true", "t")


def _seconds(text: str) -> str:
    """A time's text without the zeros at the end of its fraction."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0')}" if fraction.rstrip("0") else whole


def _date(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _time(text: str) -> str:
    moment = time.fromisoformat(text)
    if moment.tzinfo is not None:
        raise ValueError
    return _seconds(moment.isoformat())


def _timestamp(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        raise ValueError
    return _seconds(moment.isoformat(" "))


def _timestamptz(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return _seconds(moment.isoformat(" ")) + "+00"


_READERS: dict[Kind, Callable[[str], str | float | bool]] = {
    Kind.DECIMAL: _decimal,
    Kind.FLOAT64: lambda text: float(text),
    Kind.TEXT: lambda text: text,
    Kind.ENUM: lambda text: text,
    Kind.BOOL: _bool,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMPTZ: _timestamptz,
    Kind.UUID: lambda text: str(uuid.UUID(text)),
}
