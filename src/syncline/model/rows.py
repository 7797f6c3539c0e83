"""Rows in columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .schema import Column

ARROW = "arrow"
"""The format that every connector reads and writes: one Arrow array a column, as `Type.arrow` says."""

Key = tuple[Any, ...]
"""A key's cells as Python values, in the key's order."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be carried: its key's cells as they are known, and why, in one line."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table in the named columns.

    In the format `arrow`, `arrays` holds one array of `count` cells a column, and `unsent` one boolean
    array or None a column: true where the log did not send the cell. NULL, value and unsent are three
    things (Promise 3); under an unsent cell the array holds NULL. In any other format `raw` holds
    `count` rows as bytes of a wire format that both ends speak. `refused` are rows left out because a value
    is none of its column's type (Promise 3).
    """

    columns: tuple[str, ...]
    count: int
    arrays: tuple[pa.Array, ...] = ()
    unsent: tuple[pa.Array | None, ...] = ()
    format: str = ARROW
    raw: bytes = b""
    refused: tuple[Refusal, ...] = ()

    @classmethod
    def of(
        cls,
        columns: Sequence[str],
        arrays: Sequence[pa.Array],
        unsent: Sequence[pa.Array | None] | None = None,
        refused: Sequence[Refusal] = (),
    ) -> Rows:
        """Rows in the format `arrow`; masks without a true cell become None."""
        masks = tuple(mask if mask is not None and mask.true_count else None for mask in unsent or ())
        return cls(
            columns=tuple(columns),
            count=len(arrays[0]) if arrays else 0,
            arrays=tuple(arrays),
            unsent=masks or (None,) * len(arrays),
            refused=tuple(refused),
        )

    @classmethod
    def wire(cls, columns: Sequence[str], format: str, raw: bytes, count: int) -> Rows:
        """Rows as the bytes of a wire format."""
        return cls(columns=tuple(columns), count=count, format=format, raw=raw)

    @property
    def nbytes(self) -> int:
        """The bytes these rows take, for bounding queues."""
        return len(self.raw) + sum(int(array.nbytes) for array in self.arrays)

    def array(self, column: str) -> pa.Array:
        """The cells of one column."""
        return self.arrays[self.columns.index(column)]

    def mask(self, column: str) -> pa.Array | None:
        """True where the cell of that column was not sent; None when all were."""
        return self.unsent[self.columns.index(column)]

    def select(self, columns: Iterable[str]) -> Rows:
        """The same rows with only these columns, in this order."""
        at = [self.columns.index(name) for name in columns]
        return Rows(
            tuple(self.columns[i] for i in at),
            self.count,
            tuple(self.arrays[i] for i in at),
            tuple(self.unsent[i] for i in at),
        )

    def take(self, indices: Sequence[int] | pa.Array) -> Rows:
        """The rows at these places, in this order."""
        at = indices if isinstance(indices, pa.Array) else pa.array(indices, pa.int64())
        masks = [None if mask is None else mask.take(at) for mask in self.unsent]
        taken = Rows.of(self.columns, [array.take(at) for array in self.arrays], masks)
        return taken if self.arrays else Rows((), len(indices))

    def by_unsent(self) -> Iterator[Rows]:
        """The rows by their set of sent columns, each with these columns only; those without any unsent cell
        first."""
        masked = [at for at, mask in enumerate(self.unsent) if mask is not None]
        if not masked:
            if self.count:
                yield self
            return
        flags = [pc.cast(pc.cast(self.unsent[at], pa.int8()), pa.string()) for at in masked]
        patterns = pc.binary_join_element_wise(*flags, "")
        for pattern in sorted(pc.unique(patterns).to_pylist()):
            unsent = {at for at, flag in zip(masked, pattern, strict=True) if flag == "1"}
            chosen = pc.equal(patterns, pattern)
            kept = [at for at in range(len(self.columns)) if at not in unsent]
            arrays = [pc.filter(self.arrays[at], chosen) for at in kept]
            yield Rows.of([self.columns[at] for at in kept], arrays)

    def pieces(self, max_bytes: int) -> Iterator[Rows]:
        """The rows in order, in pieces of about `max_bytes`, of which nothing is copied."""
        step = max(1, self.count * max_bytes // max(1, self.nbytes))
        if step >= self.count:
            yield self
            return
        for start in range(0, self.count, step):
            arrays = [array.slice(start, step) for array in self.arrays]
            masks = [None if mask is None else mask.slice(start, step) for mask in self.unsent]
            yield Rows.of(self.columns, arrays, masks)

    @classmethod
    def of_keys(cls, columns: Sequence[Column], keys: Sequence[Key]) -> Rows:
        """Keys as rows of the key's columns."""
        cells = zip(*keys, strict=True) if keys else [()] * len(columns)
        arrays = [pa.array(values, column.type.arrow) for column, values in zip(columns, cells, strict=True)]
        return cls.of([column.name for column in columns], arrays)

    def tuples(self) -> list[tuple[Any, ...]]:
        """The rows as Python tuples; for keys and for stores that take rows one by one. All NaN are one
        object, so that a key of NaN is found again."""
        if not self.arrays:
            return [()] * self.count
        return list(zip(*map(_cells, self.arrays), strict=True))

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """All rows of the parts, which have the same columns in the same order."""
        first = parts[0]
        if len(parts) == 1:
            return first
        arrays = [pa.concat_arrays(arrays) for arrays in zip(*(part.arrays for part in parts), strict=True)]
        masks: list[pa.Array | None] = []
        for column in range(len(first.columns)):
            if all(part.unsent[column] is None for part in parts):
                masks.append(None)
            else:
                masks.append(pa.concat_arrays([_mask(part, column) for part in parts]))
        return cls.of(first.columns, arrays, masks, [refusal for part in parts for refusal in part.refused])


def _cells(array: pa.Array) -> list[Any]:
    cells: list[Any] = array.to_pylist()
    if not pa.types.is_floating(array.type):
        return cells
    return [cell if cell == cell else math.nan for cell in cells]


def _mask(rows: Rows, column: int) -> pa.Array:
    mask = rows.unsent[column]
    return pa.repeat(pa.scalar(False), rows.count) if mask is None else mask
