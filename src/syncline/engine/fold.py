"""Several changes of a key become one.

The fold looks at keys, kinds and unsent masks only, never at values; the surviving cells are taken from
the arrays column by column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..model import Changes, Rows, Schema
from ..model.batch import DELETE

Key = tuple[Any, ...]


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


@dataclass(slots=True)
class _Row:
    """A surviving row: the change that wrote it last, and for the cells that change did not send, the
    change that did (None: no change of this run did)."""

    index: int
    cells: dict[int, int | None]
    moved: bool


def fold(schema: Schema, parts: Sequence[Changes]) -> Folded:
    """Fold changes of one table, in the order of the log, to one a key."""
    kinds = b"".join(part.kinds for part in parts)
    before = Rows.concat([part.before.select(schema.key) for part in parts])
    after = Rows.concat([part.after.select(schema.names) for part in parts])
    gone, rows = _follow_keys(schema, kinds, before, after)
    written = [row for row in rows.values() if not (row.moved and None in row.cells.values())]
    reread = [row.index for row in rows.values() if row.moved and None in row.cells.values()]
    return Folded(
        deletes=_sent(before.take(list(gone.values()))),
        upserts=_assemble(after, written),
        reread=_sent(after.select(schema.key).take(reread)),
    )


def _follow_keys(
    schema: Schema, kinds: bytes, before: Rows, after: Rows
) -> tuple[dict[Key, int], dict[Key, _Row]]:
    old_keys, new_keys = before.tuples(), after.select(schema.key).tuples()
    old_unsent = before.unsent[0].to_pylist() if before.unsent[0] is not None else [False] * len(kinds)
    masks = {at: mask.to_pylist() for at, mask in enumerate(after.unsent) if mask is not None}
    gone: dict[Key, int] = {}
    rows: dict[Key, _Row] = {}
    for index, kind in enumerate(kinds):
        if kind == DELETE:
            rows.pop(old_keys[index], None)
            gone[old_keys[index]] = index
            continue
        key = new_keys[index]
        origin = key if old_unsent[index] else old_keys[index]
        unsent = [at for at, mask in masks.items() if mask[index]]
        earlier = rows.get(origin)
        moved = origin != key or (earlier.moved if earlier else key in gone)
        if earlier is None:
            cells: dict[int, int | None] = dict.fromkeys(unsent)
        else:
            cells = {at: earlier.cells.get(at, earlier.index) for at in unsent}
        if origin != key:
            rows.pop(origin, None)
            gone[origin] = index
        gone.pop(key, None)
        rows[key] = _Row(index, cells, moved)
    return gone, rows


def _assemble(after: Rows, rows: Sequence[_Row]) -> Rows:
    arrays: list[pa.Array] = []
    masks: list[pa.Array | None] = []
    last = pa.array([row.index for row in rows], pa.int64())
    for at, array in enumerate(after.arrays):
        if after.unsent[at] is None:
            arrays.append(array.take(last))
            masks.append(None)
            continue
        indices = pa.array([row.cells.get(at, row.index) for row in rows], pa.int64())
        arrays.append(array.take(indices))
        masks.append(indices.is_null())
    return Rows.of(after.columns, arrays, masks)


def _sent(keys: Rows) -> Rows:
    return Rows.of(keys.columns, keys.arrays)
