"""Rows between Python tuples and Arrow columns, and a key's cells as a span's text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import pyarrow as pa

from ...model import Column, Kind, Rows
from ...model.types import INTEGERS

Key = tuple[Any, ...]
Row = tuple[Any, ...]

FLOATS = (Kind.FLOAT32, Kind.FLOAT64)


class Unsent(Enum):
    """The third thing a cell can be, beside NULL and a value."""

    UNSENT = "unsent"


UNSENT = Unsent.UNSENT


def rows_of(columns: Sequence[Column], tuples: Sequence[Row]) -> Rows:
    """Tuples of cells as columns; UNSENT cells come out masked."""
    arrays: list[pa.Array] = []
    masks: list[pa.Array | None] = []
    for at, column in enumerate(columns):
        cells = [row[at] for row in tuples]
        unsent = [cell is UNSENT for cell in cells]
        if any(unsent):
            cells = [None if cell is UNSENT else cell for cell in cells]
        arrays.append(pa.array(cells, column.type.arrow))
        masks.append(pa.array(unsent, pa.bool_()) if any(unsent) else None)
    return Rows.of([column.name for column in columns], arrays, masks)


def tuples_of(rows: Rows, names: Sequence[str]) -> list[Row]:
    """Rows as tuples in the order of `names`; masked cells and columns that are not there are UNSENT."""
    cells: list[list[Any]] = []
    for name in names:
        if name not in rows.columns:
            cells.append([UNSENT] * rows.count)
            continue
        values, mask = rows.array(name).to_pylist(), rows.mask(name)
        if mask is not None:
            values = [
                UNSENT if unsent else value for value, unsent in zip(values, mask.to_pylist(), strict=True)
            ]
        cells.append(values)
    return list(zip(*cells, strict=True))


def pieces(tuples: Sequence[Row], max_bytes: int) -> Iterator[Sequence[Row]]:
    """The tuples in runs of about `max_bytes`, none empty."""
    begin, size = 0, 0
    for at, row in enumerate(tuples):
        size += size_of(row)
        if size >= max_bytes:
            yield tuples[begin : at + 1]
            begin, size = at + 1, 0
    if begin < len(tuples):
        yield tuples[begin:]


def size_of(row: Row) -> int:
    """About the bytes that a row takes."""
    return sum(8 + len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)


def bound_of(columns: Sequence[Column], key: Key) -> tuple[str, ...]:
    """A key as a span's bound."""
    return tuple(
        cell.hex() if column.type.kind is Kind.BYTES else str(cell)
        for column, cell in zip(columns, key, strict=True)
    )


def key_of(columns: Sequence[Column], bound: Sequence[str]) -> Key:
    """The key that `bound_of` wrote."""
    return tuple(_parse(text, column.type.kind) for column, text in zip(columns, bound, strict=True))


def _parse(text: str, kind: Kind) -> Any:
    if kind in INTEGERS:
        return int(text)
    if kind in FLOATS:
        return float(text)
    if kind is Kind.BOOL:
        return text == "True"
    return bytes.fromhex(text) if kind is Kind.BYTES else text
