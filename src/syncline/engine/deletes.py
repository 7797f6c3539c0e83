"""What a delete at the source does at the target: the row goes, is marked, or stays (`Schema.deletes`)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ..connector import Apply, Target
from ..errors import Unfit
from ..model import Deletes, Refusal, Rows, Span, TableState
from .parking import refuse_many
from .transform.shape import now


def delete(apply: Apply, state: TableState, keys: Rows) -> list[Refusal]:
    """Do what the table's deletes mean for these keys; absent ones are no error. The keys of rows that the
    target does not let go: others refer to them there, as those are parked or none of the stream's."""
    refused = _delete(apply, state, keys, 0)
    before = keys.count
    while 0 < len(refused) < before:
        # One that others of these rows refer to may go once they have gone.
        before = len(refused)
        left = [Rows.of_keys(state.schema.key_columns, [refusal.key]) for refusal in refused]
        refused = [refusal for key in left for refusal in _delete(apply, state, key, 0)]
    return refused


def _delete(apply: Apply, state: TableState, keys: Rows, known: int) -> list[Refusal]:
    """The refused keys, found by halving."""
    try:
        _delete_all(apply, state, keys)
    except Unfit as error:
        if keys.count == 1:
            refuse_many(state.schema.table, known + 1, error.reason)
            return [Refusal(keys.tuples()[0], error.reason)]
        middle = keys.count // 2
        first = _delete(apply, state, keys.take(range(middle)), known)
        return first + _delete(apply, state, keys.take(range(middle, keys.count)), known + len(first))
    return []


def _delete_all(apply: Apply, state: TableState, keys: Rows) -> None:
    if not keys.count or state.schema.deletes is Deletes.IGNORE:
        return
    if state.schema.deletes is Deletes.MARK:
        apply.upsert(state, _marks(state, keys))
        return
    apply.delete(state, keys)


def vacate(apply: Apply, state: TableState, keys: Rows) -> None:
    """Let other rows have the unique values of rows that are deleted later; rows that stay keep theirs."""
    if state.schema.deletes is Deletes.APPLY:
        apply.vacate(state, keys)


def truncate(apply: Apply, target: Target, states: Sequence[TableState], span_rows: int) -> None:
    """Do what the tables' deletes mean for all of their rows. A table that is still built aside has no rows
    yet that anyone could miss: there they just go."""
    apply.truncate([state for state in states if state.aside or state.schema.deletes is Deletes.APPLY])
    for state in states:
        if state.aside or state.schema.deletes is not Deletes.MARK:
            continue
        # The session of the transaction reads, so that it sees what the transaction has written. By spans, as
        # all rows at once may be more than fit into memory (Promise 8).
        for span in target.split(state.schema, span_rows):
            for keys in _keys(target, state, span):
                apply.upsert(state, _marks(state, keys))


def _keys(target: Target, state: TableState, span: Span) -> list[Rows]:
    return [rows.select(state.schema.key) for rows in target.read(state.schema, span) if rows.count]


def _marks(state: TableState, keys: Rows) -> Rows:
    """Rows of which only the key and the target's own times are sent."""
    schema, rules = state.schema, state.schema.transformed
    assert rules is not None
    times = {rules.deleted_at, rules.synced_at}
    unsent = pa.repeat(pa.scalar(True), keys.count)
    moment = pa.repeat(pa.scalar(now()), keys.count)
    arrays, masks = [], []
    for column in schema.stored:
        known = keys.array(column.name) if column.name in schema.key else None
        sent = moment if column.name in times else known
        arrays.append(pa.nulls(keys.count, column.type.arrow) if sent is None else sent)
        masks.append(unsent if sent is None else None)
    return Rows.of(schema.names, arrays, masks)
