"""Arrow columns from the server's text, exact or refused by name (Promise 3).

The text is what the server writes under the settings of `session`. A value that means nothing in its
canonical type (a zero date, the 25th hour) makes its row a refused one; it travels between servers of this
family only, where `MysqlStore.native` asks for cells as they are stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import NeedsOperator, Unfit
from ...model import Column, Kind, Refusal, Rows, Schema
from ...model.types import INTEGERS
from .text import quote
from .types import Declared, is_bits, is_hex, is_year

_DAY = r"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))"
_CLOCK = r"(([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?)"
_FORMS = {
    Kind.BOOL: r"^[01]$",
    Kind.DATE: rf"^{_DAY}$",
    Kind.TIME: rf"^({_CLOCK}|24:00:00(\.0+)?)$",
    Kind.TIMESTAMP: rf"^{_DAY} {_CLOCK}$",
    Kind.TIMESTAMPTZ: rf"^{_DAY} {_CLOCK}(\+00)?$",
}
_TIMED = (Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ)
_RANGES = {
    Kind.INT8: (-(1 << 7), (1 << 7) - 1),
    Kind.INT16: (-(1 << 15), (1 << 15) - 1),
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.UINT8: (0, (1 << 8) - 1),
    Kind.UINT16: (0, (1 << 16) - 1),
    Kind.UINT32: (0, (1 << 32) - 1),
}


def selected(column: Column, prefix: str = "") -> str:
    """The expression whose text is a column's exact value."""
    name = prefix + quote(column.name)
    if column.type.kind is Kind.FLOAT32:
        return f"{name} * 1e0"  # a float's own text has six digits
    if is_hex(column.type):
        return f"LOWER(HEX({name}))"
    return f"{name} + 0" if is_bits(column.type) else name


def decode(schema: Schema, columns: Sequence[Column], found: Sequence[Sequence[bytes | None]]) -> Rows:
    """Rows of the server's text, selected as these columns, in the format `arrow`."""
    cells = zip(*found, strict=True) if found else [()] * len(columns)
    arrays: list[pa.Array] = []
    reasons: dict[int, str] = {}
    for column, values in zip(columns, cells, strict=True):
        array, bad = _decode(column, pa.array(values, pa.binary()))
        for at in bad:
            value = (values[at] or b"").decode(errors="backslashreplace")
            shown = value if len(value) <= 40 else value[:40] + "…"
            reasons.setdefault(at, f"column {column.name} holds '{shown}', no {column.type}")
        arrays.append(array)
    rows = Rows.of([column.name for column in columns], arrays)
    if not reasons:
        return rows
    keys = rows.select(schema.key).take(sorted(reasons)).tuples()
    kept = rows.take([at for at in range(rows.count) if at not in reasons])
    refused = tuple(Refusal(key, reasons[at]) for key, at in zip(keys, sorted(reasons), strict=True))
    return Rows.of(kept.columns, kept.arrays, refused=refused)


def _decode(column: Column, cells: pa.Array) -> tuple[pa.Array, Sequence[int]]:
    """A column's array, and the places of the cells that are none of its type: these are NULL there."""
    kind = column.type.kind
    if kind is Kind.BYTES:
        return cells, ()
    try:
        texts = pc.cast(cells, pa.string())
    except pa.ArrowInvalid:
        why = "the server sent text that is not UTF-8"
        raise NeedsOperator("read", f"column {column.name}", why, "set the column's character set") from None
    bad: Sequence[int] = ()
    if kind in _FORMS:
        fits = pc.fill_null(pc.match_substring_regex(texts, _FORMS[kind]), True)
        if not pc.all(fits).as_py():
            bad = pc.indices_nonzero(pc.invert(fits)).to_pylist()
            texts = pc.if_else(fits, texts, pa.scalar(None, pa.string()))
    if kind in _TIMED:
        texts = pc.replace_substring_regex(texts, r"(\.\d*?)0+$", r"\1")
        texts = pc.replace_substring_regex(texts, r"\.$", "")
    if kind is Kind.TIMESTAMPTZ:
        texts = pc.binary_join_element_wise(pc.replace_substring(texts, "+00", ""), "+00", "")
    if kind is Kind.BOOL:
        return pc.equal(texts, "1"), bad
    if kind in _RANGES:
        return _ranged(texts, *_RANGES[kind])
    return pc.cast(texts, column.type.arrow), bad


def _ranged(texts: pa.Array, low: int, high: int) -> tuple[pa.Array, Sequence[int]]:
    """Integers, and those that are none of the type: another store's schema may say so."""
    numbers = pc.cast(texts, pa.int64())
    fits = pc.fill_null(pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high)), True)
    if pc.all(fits).as_py() is not False:
        return numbers, ()
    bad = pc.indices_nonzero(pc.invert(fits)).to_pylist()
    return pc.if_else(fits, numbers, pa.scalar(None, pa.int64())), bad


def encode(schema: Schema, rows: Rows, declared: Mapping[str, Declared]) -> list[pa.Array]:
    """Rows as the cells that statements are written from: what the server would change without a word, or
    read as a word of SQL, is Unfit. `declared` says what the columns are at the server."""
    numbers = {name for name, told in declared.items() if told.base == "decimal"}
    return [_encode(schema, schema.column(name), rows.array(name), numbers) for name in rows.columns]


def _encode(schema: Schema, column: Column, cells: pa.Array, numbers: Collection[str]) -> pa.Array:
    kind = column.type.kind
    if kind is Kind.DECIMAL and column.name in numbers:
        _refuse(schema, column, cells, pc.match_substring_regex(cells, r"^-?\d+(\.\d+)?$"))
    if kind in (Kind.FLOAT32, Kind.FLOAT64):
        _refuse(schema, column, cells, pc.is_finite(cells))
    elif kind in _FORMS and kind is not Kind.BOOL:
        _refuse(schema, column, cells, pc.match_substring_regex(cells, _FORMS[kind]))
        if kind is Kind.TIMESTAMPTZ:
            return pc.replace_substring_regex(cells, r"\+00$", "")
    elif is_year(column.type):
        return pc.if_else(pc.equal(cells, 0), "0000", pc.cast(cells, pa.string()))  # '0' is 2000
    elif kind in INTEGERS and cells.type == pa.int64() and kind in _RANGES:
        low, high = _RANGES[kind]
        _refuse(schema, column, cells, pc.and_(pc.greater_equal(cells, low), pc.less_equal(cells, high)))
    return cells


def _refuse(schema: Schema, column: Column, cells: pa.Array, fits: pa.Array) -> None:
    bad = pc.filter(cells, pc.invert(pc.fill_null(fits, True)))
    if not len(bad):
        return
    raise Unfit(
        "write to",
        f"table {schema.table}",
        f"column {column.name} has {bad[0].as_py()!r}, which the target has no exact form for",
        "change the value at the source, or keep the column as text with --store",
    )
