"""Masks of one column."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ...model import Column, Kind, Type
from .cast import find_cast, text_of
from .rules import Fixed, Hash, Mask, Null, Partial

Masking = Callable[[pa.Array], pa.Array]

HASHED = Type(Kind.TEXT, length=64)


def find_mask(mask: Mask, column: Column) -> tuple[Column, Masking] | str:
    """The masked column and what makes its cells; or in one clause why the column cannot be masked so.
    NULL stays NULL, whatever the mask."""
    kind = column.type.kind
    match mask:
        case Null():
            return _column(column, column.type, nullable=True), lambda cells: pa.nulls(len(cells), cells.type)
        case Hash():
            return _column(column, HASHED), lambda cells: _hash(text_of(cells, kind), mask.key)
        case Partial():
            if kind not in (Kind.TEXT, Kind.UUID) or column.type.name:
                return f"only text keeps some of its characters, and it is {column.type}"
            return _column(column, Type(Kind.TEXT)), lambda cells: _keep(cells, mask)
        case Fixed():
            cell = _cell(mask, column.type)
            if cell is None:
                return f"{mask.value!r} is no {column.type}"
            filled = cell
            return _column(column, column.type), lambda cells: pc.if_else(
                cells.is_valid(), filled, pa.scalar(None, filled.type)
            )


def _column(column: Column, type: Type, *, nullable: bool | None = None) -> Column:
    return Column(column.name, type, column.nullable if nullable is None else nullable)


def _hash(texts: pa.Array, key: bytes) -> pa.Array:
    """HMAC-SHA256, once a distinct value: Arrow has none, so this much is Python."""
    coded = texts.dictionary_encode()
    made = [hmac.digest(key, text.encode(), "sha256").hex() for text in coded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(coded.indices)


def _keep(cells: pa.Array, mask: Partial) -> pa.Array:
    lengths = pc.utf8_length(cells)
    kept = mask.first + mask.last
    short = pc.less_equal(lengths, kept)
    stars = pc.if_else(short, lengths, pc.subtract(lengths, kept))
    starred = pc.binary_repeat(pc.if_else(cells.is_valid(), "*", None), stars)
    first = pc.utf8_slice_codeunits(cells, 0, mask.first)
    last = pc.utf8_slice_codeunits(cells, -mask.last) if mask.last else pc.if_else(cells.is_valid(), "", None)
    return pc.if_else(short, starred, pc.binary_join_element_wise(first, starred, last, ""))


def _cell(mask: Fixed, type: Type) -> pa.Scalar | None:
    """The fixed value in the column's type; None when it is none of it."""
    if type.kind in (Kind.TEXT, Kind.JSON):
        return pa.scalar(mask.value, pa.string()) if isinstance(mask.value, str) else None
    if type.kind is Kind.ENUM:
        known = isinstance(mask.value, str) and (not type.labels or mask.value in type.labels)
        return pa.scalar(mask.value, pa.string()) if known else None
    text = str(mask.value).lower() if isinstance(mask.value, bool) else str(mask.value)
    if isinstance(mask.value, bool) is not (type.kind is Kind.BOOL) and not isinstance(mask.value, str):
        return None
    if type.kind in (Kind.FLOAT32, Kind.FLOAT64):
        return pa.scalar(float(mask.value), type.arrow) if not isinstance(mask.value, str) else None
    cast = find_cast(Type(Kind.TEXT), type)
    if cast is None:
        return None
    cells, bad = cast(pa.array([text], pa.string()))
    return None if bad[0].as_py() else cells[0]
