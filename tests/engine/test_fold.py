"""The fold, against a source that is replayed change by change."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.engine.fold import fold
from syncline.model import Changes, Column, Kind, Rows, Schema, TableName, Type
from tests.kernels.both import each_form

form = each_form("fold", "syncline.engine.fold")

SCHEMA = Schema(
    TableName("t"),
    (
        Column("id", Type(Kind.INT64), False),
        Column("small", Type(Kind.TEXT)),
        Column("big", Type(Kind.TEXT)),
    ),
    ("id",),
    "test",
)
UNSENT = object()


@dataclass
class Log:
    """Changes as a log tells them; `big` is unsent where an update left it alone."""

    kinds: bytearray = field(default_factory=bytearray)
    before: list[object] = field(default_factory=list)
    after: list[tuple[object, ...]] = field(default_factory=list)

    def add(self, kind: bytes, before: object, after: tuple[object, ...]) -> None:
        self.kinds += kind
        self.before.append(before)
        self.after.append(after)

    def changes(self, start: int, end: int) -> Changes:
        return Changes(
            TableName("t"),
            bytes(self.kinds[start:end]),
            _rows(("id",), [(key,) for key in self.before[start:end]]),
            _rows(SCHEMA.names, self.after[start:end]),
            ("s",),
        )


def _rows(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> Rows:
    arrays, masks = [], []
    for at, name in enumerate(names):
        cells = [row[at] for row in rows]
        type_ = SCHEMA.column(name).type.arrow
        arrays.append(pa.array([None if cell is UNSENT else cell for cell in cells], type_))
        masks.append(pa.array([cell is UNSENT for cell in cells], pa.bool_()))
    return Rows.of(names, arrays, masks)


ACTION = st.tuples(
    st.sampled_from(["insert", "small", "big", "move", "move big", "delete"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["x", "y", None]),
)


def play(actions: list[tuple[str, int, int, str | None]]) -> tuple[Log, list[dict[int, tuple[object, ...]]]]:
    """The log of these actions and the source's rows after each of its changes."""
    log, rows = Log(), dict[int, tuple[object, ...]]()
    history = [dict(rows)]
    for number, (action, key, other, text) in enumerate(actions):
        value = f"{number}"
        if action == "insert" and key not in rows:
            rows[key] = (key, value, text)
            log.add(b"I", UNSENT, rows[key])
        elif key not in rows or action == "insert":
            continue
        elif action == "delete":
            del rows[key]
            log.add(b"D", key, (UNSENT,) * 3)
        elif action in ("small", "big"):
            rows[key] = (key, value, rows[key][2] if action == "small" else text)
            log.add(b"U", UNSENT, (key, value, UNSENT if action == "small" else text))
        elif other not in rows:
            old = rows.pop(key)
            rows[other] = (other, value, old[2] if action == "move" else text)
            log.add(b"U", key, (other, value, UNSENT if action == "move" else text))
        else:
            continue
        history.append(dict(rows))
    return log, history


def apply(
    target: dict[int, tuple[object, ...]], changes: Changes, source: dict[int, tuple[object, ...]]
) -> None:
    """Write a folded batch; what neither log nor target has is read from the source."""
    folded = fold(SCHEMA, [changes])
    absent = [key for (key,) in folded.reread.tuples()]
    keys = [key for (key,) in folded.deletes.tuples()]
    for key in keys:
        target.pop(key, None)
    mask = folded.upserts.mask("big")
    unsent = mask.to_pylist() if mask is not None else [False] * folded.upserts.count
    for row, hole in zip(folded.upserts.tuples(), unsent, strict=True):
        keys.append(row[0])
        if hole and row[0] not in target:
            absent.append(row[0])
        else:
            target[row[0]] = (*row[:2], target[row[0]][2]) if hole else row
    for key in absent:
        if key in source:
            target[key] = source[key]
    assert len(set(keys)) == len(keys), "a key is in one place only"


@settings(max_examples=500)
@given(st.lists(ACTION, min_size=4, max_size=24), st.data())
def test_batches_bring_a_live_target_to_the_source(
    actions: list[tuple[str, int, int, str | None]], data: st.DataObject
) -> None:
    log, history = play(actions)
    cut = data.draw(st.integers(0, len(log.kinds)))
    target: dict[int, tuple[object, ...]] = {}
    for start, end in ((0, cut), (cut, len(log.kinds))):
        if start < end:
            apply(target, log.changes(start, end), history[end])
            assert target == history[end]


@settings(max_examples=500)
@given(st.lists(ACTION, min_size=4, max_size=24), st.data())
def test_race_03_rows_copied_at_any_moments_converge(
    actions: list[tuple[str, int, int, str | None]], data: st.DataObject
) -> None:
    log, history = play(actions)
    moments = [data.draw(st.integers(0, len(history) - 1)) for _ in range(3)]
    target = {key: history[moment][key] for key, moment in enumerate(moments) if key in history[moment]}
    cut = data.draw(st.integers(0, len(log.kinds)))
    for start, end in ((0, cut), (cut, len(log.kinds))):
        if start < end:
            apply(target, log.changes(start, end), history[-1])
    assert target == history[-1]


def test_race_03_a_moved_row_never_takes_a_cell_of_the_row_it_replaces() -> None:
    log, history = play(
        [("insert", 1, 0, "x"), ("insert", 2, 0, "y"), ("delete", 2, 0, None), ("move", 1, 2, None)]
    )
    target = dict(history[2])
    apply(target, log.changes(2, 4), history[-1])
    assert target == history[-1] == {2: (2, "3", "x")}
