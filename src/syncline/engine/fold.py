"""Several changes of a key become one.

The fold looks at keys, kinds and unsent masks only, never at values: keys become numbers, a kernel says which
change wrote which cell last, and the surviving cells are taken from the arrays column by column.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..kernels import fold as kernel
from ..model import Changes, Rows, Schema


@dataclass(frozen=True, slots=True)
class Folded:
    """What one table's changes come to, each key in one of the three at most.

    `deletes`: keys that are gone. `upserts`: rows to write by key; an unsent cell is as the target has it.
    `reread`: keys of rows that came from another key with an unsent cell: whatever the target holds under
    either key may be another row's, so only the source can tell the cell (Race 3).
    """

    deletes: Rows
    upserts: Rows
    reread: Rows


def fold(schema: Schema, parts: Sequence[Changes]) -> Folded:
    """Fold changes of one table, in the order of the log, to one a key."""
    kinds = b"".join(part.kinds for part in parts)
    before = Rows.concat([part.before.select(schema.key) for part in parts])
    after = Rows.concat([part.after.select(schema.names) for part in parts])
    origins, keys, count = _numbered(before, after.select(schema.key))
    masked = [place for place, mask in enumerate(after.unsent) if mask is not None]
    masks = b"".join(_bytes(pc.cast(after.unsent[place], pa.uint8())) for place in masked)
    found = kernel.follow(kinds, _bytes(origins).cast("i"), _bytes(keys).cast("i"), count, masks)
    cells = _indices(found.cells)
    width = len(found.written)
    return Folded(
        deletes=_sent(before.take(_indices(found.gone))),
        upserts=_assemble(
            after,
            _indices(found.written),
            {place: cells.slice(at * width, width) for at, place in enumerate(masked)},
        ),
        reread=_sent(after.select(schema.key).take(_indices(found.reread))),
    )


def _numbered(before: Rows, after: Rows) -> tuple[pa.Array, pa.Array, int]:
    """The number of the key that each row had before its change and of the one it has after, and how many
    there are. Equal keys have one number, and keys are equal as `Rows.tuples` has them."""
    numbers, count = pa.repeat(pa.scalar(0, pa.int32()), before.count + after.count), 1
    for arrays in zip(before.arrays, after.arrays, strict=True):
        cells = _comparable(pa.concat_arrays(arrays)).dictionary_encode(null_encoding="encode")
        pairs = pc.add(pc.multiply(pc.cast(numbers, pa.int64()), len(cells.dictionary)), cells.indices)
        pairs = pairs.dictionary_encode()
        numbers, count = pairs.indices, len(pairs.dictionary)
    old, new = numbers[: before.count], numbers[before.count :]
    came = before.unsent[0]
    return (old if came is None else pc.if_else(came, new, old)), new, count


def _comparable(cells: pa.Array) -> pa.Array:
    """The cells with equal bytes wherever they are equal: all NaN are one, and so are 0.0 and -0.0."""
    if not pa.types.is_floating(cells.type):
        return cells
    return pc.if_else(
        pc.is_nan(cells), pa.scalar(math.nan, cells.type), pc.add(cells, pa.scalar(0.0, cells.type))
    )


def _assemble(after: Rows, last: pa.Array, cells: Mapping[int, pa.Array]) -> Rows:
    """Rows as their last changes have them; `cells` has for a masked column the changes that sent it."""
    arrays: list[pa.Array] = []
    masks: list[pa.Array | None] = []
    for place, column in enumerate(after.arrays):
        if place not in cells:
            arrays.append(column.take(last))
            masks.append(None)
            continue
        unsent = pc.less(cells[place], 0)
        arrays.append(column.take(pc.if_else(unsent, pa.scalar(None, pa.int32()), cells[place])))
        masks.append(unsent)
    return Rows.of(after.columns, arrays, masks)


def _bytes(array: pa.Array) -> memoryview:
    """The values of an array without NULLs, whose type is a whole number of bytes wide."""
    width = array.type.byte_width
    return memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]


def _indices(numbers: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), len(numbers), [None, pa.py_buffer(numbers)])


def _sent(keys: Rows) -> Rows:
    return Rows.of(keys.columns, keys.arrays)
