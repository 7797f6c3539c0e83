"""A Python function over a batch: typed columns in, typed columns out, its errors confined to their rows.

The key travels as it is (`model/types.py`). Of the other columns, decimals of a declared precision, dates,
times and timestamps are given in Arrow's own types, which hold them exactly, or else the row is refused;
everything else travels as it is. The columns of the outcome are found by running the function over no rows.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Refused, one_line
from ...model import Column, Kind, Refusal, Rows, TableName, Type
from ..parking import refuse_many
from .cast import text_of
from .registry import Registered, find_function

_MOMENTS = {
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
}
_MOST_DIGITS = 76


class _Misbehaved(Exception):
    """The function gave something that is no batch of its table."""


@dataclass(frozen=True, slots=True)
class Running:
    """A function with the columns that it takes and those that it gives."""

    registered: Registered
    table: TableName
    given: tuple[Column, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @classmethod
    def find(cls, name: str, given: Sequence[Column], key: Sequence[str], table: TableName) -> Running:
        """Load a function and see what it makes of no rows. Refused when it fails, loses the key, or gives
        a column whose type says nothing."""
        running = cls(find_function(name), table, tuple(given), (), tuple(key))
        empty = Rows.of([c.name for c in given], [pa.array([], c.type.arrow) for c in given])
        try:
            outcome = running.call(empty)
        except Exception as error:  # the user's own, of any kind
            raise running.refused(f"it fails over no rows: {_told(error)}") from error
        return replace(running, columns=tuple(running._columns(outcome.schema)))

    def refused(self, why: str) -> Refused:
        """About this function."""
        return Refused("transform", f"table {self.table} by {self.registered.name}", why, "mend the function")

    def call(self, rows: Rows) -> pa.Table:
        """What the function gives for rows."""
        arrays = [self._typed(rows.array(column.name), column) for column in self.given]
        batch: Any = pa.table(arrays, names=[column.name for column in self.given])
        if self.registered.form == "pandas":
            pandas = _pandas(self)
            batch = batch.to_pandas(types_mapper=pandas.ArrowDtype)
        outcome = self.registered.call(batch)
        if self.registered.form == "pandas":
            if not isinstance(outcome, pandas.DataFrame):
                raise _Misbehaved(f"it gave a {type(outcome).__name__} instead of a DataFrame")
            outcome = pa.Table.from_pandas(outcome, preserve_index=False)
        if not isinstance(outcome, pa.Table):
            raise _Misbehaved(f"it gave a {type(outcome).__name__} instead of a Table")
        return outcome

    def rows(self, rows: Rows) -> tuple[Rows, pa.Array]:
        """The function's rows as they travel, and the places of the rows that they were made of."""
        outcome = self.call(rows)
        if set(outcome.column_names) != {column.name for column in self.columns}:
            raise _Misbehaved(f"it gave the columns {', '.join(outcome.column_names)}")
        arrays = [_travelling(outcome.column(column.name), column.type) for column in self.columns]
        made = Rows.of([column.name for column in self.columns], arrays)
        if made.count == 0:
            return made, pa.array([], pa.uint64())
        mine, theirs = self._keys(made), self._keys(rows)
        places = pc.cast(pc.index_in(mine, value_set=theirs), pa.uint64())
        if places.null_count or len(pc.unique(places)) != len(places):
            raise _Misbehaved("it changed or doubled a key")
        return made, places

    def _keys(self, rows: Rows) -> pa.Array:
        """Each key in one text."""
        kinds = {column.name: column.type.kind for column in self.given}
        texts = [text_of(rows.array(name), kinds[name]) for name in self.key]
        lengths = [pc.cast(pc.binary_length(text), pa.string()) for text in texts]
        pairs = [cell for pair in zip(lengths, texts, strict=True) for cell in pair]
        return pc.binary_join_element_wise(*pairs, ":")

    def _typed(self, cells: pa.Array, column: Column) -> pa.Array:
        shape = self._shape(column)
        if column.type.kind is Kind.TIMESTAMPTZ and shape != cells.type:
            bare = pc.cast(pc.replace_substring_regex(cells, r"\+00$", ""), pa.timestamp("us"))
            return pc.cast(pc.cast(bare, pa.int64()), shape)
        return cells if shape == cells.type else pc.cast(cells, shape)

    def _shape(self, column: Column) -> pa.DataType:
        """The Arrow type that the function sees."""
        precision, scale = column.type.precision, column.type.scale or 0
        if column.name in self.key:
            return column.type.arrow
        if column.type.kind is Kind.DECIMAL and precision and 0 <= scale <= precision <= _MOST_DIGITS:
            return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
        return _MOMENTS.get(column.type.kind, column.type.arrow)

    def _columns(self, outcome: pa.Schema) -> list[Column]:
        given = {column.name: column for column in self.given}
        lost = [name for name in self.key if name not in outcome.names]
        if lost:
            raise self.refused(f"it loses the key's column {lost[0]}")
        columns = []
        for field in outcome:
            known = given.get(field.name)
            same = known is not None and _plain(field.type) == _plain(self._shape(known))
            if known is not None and field.name in self.key:
                if not same:
                    raise self.refused(f"it makes {field.type} of the key's column {field.name}")
                columns.append(known)
                continue
            type = known.type if known is not None and same else _canonical(field.type)
            if type is None:
                raise self.refused(f"over no rows its column {field.name} is of type {field.type}")
            columns.append(Column(field.name, type))
        return columns


@dataclass(frozen=True, slots=True)
class Done:
    """The function's rows, their places among the rows given, and the places and keys of those it failed
    on."""

    rows: Rows
    places: pa.Array
    lost: pa.Array
    refused: tuple[Refusal, ...]


def run_function(running: Running, rows: Rows) -> Done:
    """Run a function; where it fails, halve the batch until the rows are found that it fails on: these are
    refused, the others pass. NeedsOperator when it fails on too many to be exceptions (Promise 8)."""
    parts: list[tuple[Rows, pa.Array]] = []
    lost: list[int] = []
    refused: list[Refusal] = []

    def run(start: int, count: int) -> None:
        piece = _slice(rows, start, count)
        try:
            made, places = running.rows(piece)
        except Exception as error:  # the user's own, of any kind
            if count == 1:
                (key,) = piece.select(running.key).tuples()
                refused.append(Refusal(key, f"{running.registered.name}: {_told(error)}"))
                lost.append(start)
                refuse_many(running.table, len(lost), refused[0].reason)
                return
            run(start, count // 2)
            run(start + count // 2, count - count // 2)
            return
        parts.append((made, pc.add(places, pa.scalar(start, pa.uint64()))))

    if rows.count:
        run(0, rows.count)
    nothing = [pa.array([], column.type.arrow) for column in running.columns]
    empty = Rows.of([column.name for column in running.columns], nothing)
    return Done(
        rows=Rows.concat([empty, *(made for made, _ in parts)]),
        places=pa.concat_arrays([pa.array([], pa.uint64()), *(places for _, places in parts)]),
        lost=pa.array(lost, pa.uint64()),
        refused=tuple(refused),
    )


def _slice(rows: Rows, start: int, count: int) -> Rows:
    return Rows.of(rows.columns, [array.slice(start, count) for array in rows.arrays])


def _told(error: Exception) -> str:
    text = one_line(str(error))
    name = "" if isinstance(error, _Misbehaved) else type(error).__name__
    return ": ".join(filter(None, (name, text)))


def _pandas(running: Running) -> Any:
    try:
        return importlib.import_module("pandas")
    except ModuleNotFoundError:
        subject = f"table {running.table} by {running.registered.name}"
        remedy = "install syncline[pandas], or let it take a pyarrow Table"
        raise Refused("transform", subject, "pandas is not installed", remedy) from None


def _plain(shape: pa.DataType) -> pa.DataType:
    """A type without what does not matter here: large offsets and dictionaries."""
    if pa.types.is_dictionary(shape):
        return _plain(shape.value_type)
    if pa.types.is_large_string(shape) or pa.types.is_string_view(shape):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(shape) else shape


def _canonical(shape: pa.DataType) -> Type | None:
    """The canonical type of what a function made; None when there is none."""
    plain = _plain(shape)
    if pa.types.is_decimal(plain):
        return Type(Kind.DECIMAL, precision=plain.precision, scale=plain.scale) if plain.scale >= 0 else None
    if pa.types.is_timestamp(plain):
        return Type(Kind.TIMESTAMPTZ if plain.tz else Kind.TIMESTAMP)
    if pa.types.is_date(plain):
        return Type(Kind.DATE)
    if pa.types.is_time(plain):
        return Type(Kind.TIME)
    named = {"string": Kind.TEXT, "binary": Kind.BYTES, "float": Kind.FLOAT32, "double": Kind.FLOAT64}
    name = str(plain)
    if name in named:
        return Type(named[name])
    is_plain = pa.types.is_integer(plain) or pa.types.is_boolean(plain)
    return Type(Kind(name)) if is_plain else None


def _travelling(column: pa.ChunkedArray, type: Type) -> pa.Array:
    """A column of the outcome as its canonical type travels; an error of Arrow's when it has no such form."""
    cells = column.combine_chunks()
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if type.kind in _MOMENTS and not _is_text(cells.type):
        return _moment_texts(cells, type.kind)
    if type.kind is Kind.DECIMAL and not _is_text(cells.type):
        return _digits(cells, type)
    return pc.cast(cells, type.arrow)


def _is_text(shape: pa.DataType) -> bool:
    return bool(_plain(shape) == pa.string())


def _moment_texts(cells: pa.Array, kind: Kind) -> pa.Array:
    exact = pc.cast(cells, _MOMENTS[kind])
    if kind is Kind.TIMESTAMPTZ:
        exact = pc.cast(pc.cast(exact, pa.int64()), pa.timestamp("us"))
    texts = pc.cast(exact, pa.string())
    if kind is not Kind.DATE:
        texts = pc.replace_substring_regex(texts, r"(\.\d*?)0+$", r"\1")
        texts = pc.replace_substring_regex(texts, r"\.$", "")
    if kind is Kind.TIMESTAMPTZ:
        texts = pc.binary_join_element_wise(texts, "+00", "")
    return texts


def _digits(cells: pa.Array, type: Type) -> pa.Array:
    if type.precision is not None:
        cells = pc.cast(cells, pa.decimal256(_MOST_DIGITS, type.scale or 0))
    texts = pc.cast(cells, pa.string())
    if pc.any(pc.match_substring(texts, "E")).as_py():  # Arrow writes small numbers with an exponent
        coded = texts.dictionary_encode()
        plain = [format(Decimal(text), "f") for text in coded.dictionary.to_pylist()]
        texts = pa.array(plain, pa.string()).take(coded.indices)
    return texts
