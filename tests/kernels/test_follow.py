"""The fold, compiled and not, against one by dictionaries of Python values."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.engine import fold as engine
from syncline.model import Changes, Column, Kind, Rows, Schema, TableName, Type

from .both import FORMS, kernel

FOLDS = {form: kernel("fold", form) for form in FORMS}
Key = tuple[Any, ...]


@dataclass
class Row:
    """The change that wrote a row last, and for cells that it did not send the change that did."""

    index: int
    cells: dict[int, int | None]
    moved: bool


def by_dictionaries(
    kinds: bytes, origins: list[Key], keys: list[Key], masks: list[list[bool]]
) -> tuple[list[int], list[int], list[list[int]], list[int]]:
    """Gone, written, their cells by masked column, to be read again: in the order in which keys came in."""
    gone: dict[Key, int] = {}
    rows: dict[Key, Row] = {}
    for index, kind in enumerate(kinds):
        origin, key = origins[index], keys[index]
        if kind == b"D"[0]:
            rows.pop(origin, None)
            gone[origin] = index
            continue
        unsent = [at for at, mask in enumerate(masks) if mask[index]]
        earlier = rows.get(origin)
        moved = origin != key or (earlier.moved if earlier else key in gone)
        cells = {at: earlier.cells.get(at, earlier.index) if earlier else None for at in unsent}
        if origin != key:
            rows.pop(origin, None)
            gone[origin] = index
        gone.pop(key, None)
        rows[key] = Row(index, cells, moved)
    written = [row for row in rows.values() if not (row.moved and None in row.cells.values())]
    cells_of = [[row.cells.get(at, row.index) for row in written] for at in range(len(masks))]
    return (
        list(gone.values()),
        [row.index for row in written],
        [[-1 if cell is None else cell for cell in column] for column in cells_of],
        [row.index for row in rows.values() if row.moved and None in row.cells.values()],
    )


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(b"IUUUD"),
        st.integers(0, 4),
        st.integers(0, 4),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=30,
)


@given(CHANGES, st.integers(0, 2))
@settings(max_examples=600)
def test_any_changes_fold_alike(changes: list[tuple[int, int, int, bool, bool, bool]], width: int) -> None:
    kinds = bytes(kind for kind, *_ in changes)
    keys = [key for _, _, key, *_ in changes]
    origins = [old if kind == b"D"[0] or moves else key for kind, old, key, moves, *_ in changes]
    masks = [[bool(one[4 + at]) for one in changes] for at in range(width)]
    wanted = by_dictionaries(kinds, [(key,) for key in origins], [(key,) for key in keys], masks)
    joined = b"".join(bytes(mask) for mask in masks)
    for form, fold in FOLDS.items():
        views = [memoryview(array("i", numbers)) for numbers in (origins, keys)]
        found = fold.follow(kinds, *views, 5, joined)
        columns = [list(found.cells[at * len(found.written) :][: len(found.written)]) for at in range(width)]
        assert len(found.cells) == width * len(found.written)
        got = list(found.gone), list(found.written), columns if changes else [[]] * width, list(found.reread)
        assert got == wanted, form


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FORMS)
def test_what_does_not_match_is_refused(fold: Any) -> None:
    one, two, three = (memoryview(array("i", range(size))) for size in (1, 2, 3))
    for arguments in ((b"I", two, one, 1, b""), (b"I", one, two, 1, b""), (b"II", two, two, 2, b"\0")):
        with pytest.raises(ValueError, match="changes"):
            fold.follow(*arguments)
    with pytest.raises(ValueError, match="changes"):
        fold.follow(b"", one[:0], one[:0], 0, b"\0")
    with pytest.raises(IndexError):
        fold.follow(b"III", three, three, 2, b"")


FLOATS = st.sampled_from([0.0, -0.0, math.nan, -math.nan, 1.5, math.inf])
KEYS = st.tuples(FLOATS, st.sampled_from(["", "a", "b"]), st.sampled_from([0, 1, -1, 1 << 62]))
SCHEMA = Schema(
    TableName("t"),
    (
        Column("f", Type(Kind.FLOAT64), False),
        Column("s", Type(Kind.TEXT), False),
        Column("i", Type(Kind.INT64), False),
        Column("v", Type(Kind.TEXT)),
    ),
    ("s", "f", "i"),
    "test",
)


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FORMS)
@given(changes=st.lists(st.tuples(st.sampled_from(b"IUD"), KEYS, KEYS, st.booleans()), max_size=20))
@settings(max_examples=200)
def test_keys_are_equal_as_values_are(fold: Any, changes: list[tuple[int, Key, Key, bool]]) -> None:
    """All NaN are one key and the two zeros are, in keys of several columns, whatever part they come in."""
    parts = [_part(changes[at : at + 7], at) for at in range(0, len(changes), 7)] or [_part([], 0)]
    before = Rows.concat([part.before for part in parts]).tuples()
    after = Rows.concat([part.after for part in parts]).select(SCHEMA.key).tuples()
    deleted = [one[0] == b"D"[0] for one in changes]
    origins = [
        old if gone or one[3] else new
        for one, gone, old, new in zip(changes, deleted, before, after, strict=True)
    ]
    wanted = by_dictionaries(bytes(one[0] for one in changes), origins, after, [deleted])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "kernel", fold)
        found = engine.fold(SCHEMA, parts)
    assert repr(found.deletes.tuples()) == repr([before[index] for index in wanted[0]])
    assert repr(found.upserts.array("v").to_pylist()) == repr([f"{index}" for index in wanted[1]])
    assert repr(found.upserts.select(SCHEMA.key).tuples()) == repr([after[index] for index in wanted[1]])


def _part(changes: list[tuple[int, Key, Key, bool]], first: int) -> Changes:
    deleted = [kind == b"D"[0] for kind, *_ in changes]
    kept = [not gone and not moved for gone, (*_, moved) in zip(deleted, changes, strict=True)]
    old = [
        (None,) * 3 if same else (key[1], key[0], key[2])
        for same, (_, key, *_) in zip(kept, changes, strict=True)
    ]
    new = [
        (None,) * 4 if gone else (*key, f"{first + at}")
        for at, (gone, (_, _, key, _)) in enumerate(zip(deleted, changes, strict=True))
    ]
    before = _rows(SCHEMA.key, old, kept)
    return Changes(
        SCHEMA.table, bytes(kind for kind, *_ in changes), before, _rows(SCHEMA.names, new, deleted), ("s",)
    )


def _rows(names: tuple[str, ...], rows: list[tuple[Any, ...]], unsent: list[bool]) -> Rows:
    arrays = [
        pa.array([row[at] for row in rows], SCHEMA.column(name).type.arrow) for at, name in enumerate(names)
    ]
    return Rows.of(names, arrays, [pa.array(unsent, pa.bool_())] * len(names))
