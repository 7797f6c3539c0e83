"""One table's rules made ready: its schema, and its rows and changes in the new shape.

Cells change column by column in Arrow; an unsent cell stays unsent (Promise 3). What is decided by whole
rows, by a filter or a Python function, is decided only of rows whose cells were all sent: any other one is
handed on as refused, so that whoever applies the log reads it again by its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...model import Changes, Refusal, Rows, Schema
from ...model.batch import DELETE
from .function import Running, run_function
from .rules import Rules
from .schema import (
    Carried,
    Names,
    carried_columns,
    constants,
    refuse_twins,
    stamps,
    transformed_schema,
)
from .where import read_filter

AGAIN = "the log did not send all of its cells; it is read again"


@dataclass(frozen=True, slots=True)
class Shaped:
    """Rows in the new shape, the places that they had among the rows they came from, and the places of those
    that were refused."""

    rows: Rows
    places: pa.Array
    refused: pa.Array


class Shape:
    """The new shape of one table. `schema` is what the target sees, `reading` what is read of the source."""

    def __init__(self, origin: Schema, rules: Rules, names: Names) -> None:
        self.origin = origin
        self._carried = carried_columns(origin, rules)
        self._filter = read_filter(rules.where, origin) if rules.where else None
        self._constants = constants(rules)
        added = list(self._constants)
        plain = [*(each.column for each in self._carried), *added]
        refuse_twins(origin, plain)
        self._function: Running | None = None
        carried: Sequence[Carried] = self._carried
        if rules.function:
            key = [each.column.name for each in carried if each.source in origin.key]
            self._function = Running.find(rules.function, plain, key, origin.table)
            kept = {column.name: column for column in self._function.columns}
            carried = [
                replace(each, column=kept[each.column.name]) for each in carried if each.column.name in kept
            ]
            own = {each.column.name for each in carried}
            added = [column for column in self._function.columns if column.name not in own]
        self.schema = transformed_schema(origin, rules, carried, [*added, *stamps(rules)], names)
        self._deleted_at = self.schema.transformed.deleted_at if self.schema.transformed else ""
        self._synced_at = rules.synced_at
        self._whole = self._needs_whole()
        self.reading = self._reading()

    def _needs_whole(self) -> frozenset[str]:
        """The source's columns whose cells must all be there before a row can be decided."""
        if self._function is not None:
            return frozenset(self.origin.names)
        return self._filter.columns if self._filter else frozenset()

    def _reading(self) -> Schema:
        needed = {each.source for each in self._carried} | set(self._filter.columns if self._filter else ())
        columns = tuple(column for column in self.origin.stored if column.name in needed)
        return replace(self.origin, columns=columns, indexes=(), foreign_keys=())

    @property
    def is_opaque(self) -> bool:
        """Whether a Python function decides what comes of rows, so that nothing else can tell."""
        return self._function is not None

    def untouched(self) -> frozenset[str]:
        """The source's columns that no rule looks at."""
        if self._function is not None:
            return frozenset()
        seen = self._filter.columns if self._filter else frozenset()
        changed = {each.source for each in self._carried if each.change}
        return frozenset(self.origin.names) - seen - changed - set(self.origin.key)

    def numbered(self) -> dict[str, str]:
        """The new names of the columns that are still numbered by their system."""
        return {each.source: each.column.name for each in self._carried if each.column.identity}

    def keys(self, keys: Rows) -> Rows:
        """Keys under the names that the source's columns have."""
        named = keys.select(self.schema.key)
        return Rows.of(self.origin.key, named.arrays, named.unsent)

    def rows(self, rows: Rows) -> Rows:
        """The rows that pass, in the new shape; those that were refused before, and those that are refused
        now (Promise 3)."""
        shaped = self.shape(rows)
        return replace(shaped.rows, refused=(*rows.refused, *shaped.rows.refused))

    def shape(self, rows: Rows) -> Shaped:
        """Rows, of which all cells that decide about them were sent, in the new shape."""
        places = pc.indices_nonzero(pa.repeat(pa.scalar(True), rows.count))
        if self._filter is not None:
            places = pc.indices_nonzero(self._filter.passing(rows))
            rows = take(rows, places)
        made, bad = self._change(rows)
        refusals = [Refusal(key, reason) for key, reason in bad.values()]
        refused = pa.array(sorted(bad), pa.uint64())
        kept = pc.indices_nonzero(pc.invert(pc.is_in(_numbers(rows.count), refused)))
        lost = places.take(refused)
        if bad:
            made, places = take(made, kept), places.take(kept)
        if self._function is not None:
            done = run_function(self._function, made)
            refusals += done.refused
            lost = pa.concat_arrays([lost, places.take(done.lost)])
            made, places = done.rows, places.take(done.places)
        return Shaped(replace(self._stamped(made), refused=tuple(refusals)), places, lost)

    def _change(self, rows: Rows) -> tuple[Rows, dict[int, tuple[tuple[Any, ...], str]]]:
        """Cells in their new form; by their place the keys of rows with one that has none, and why."""
        arrays: list[pa.Array] = []
        masks: list[pa.Array | None] = []
        bad: dict[int, tuple[tuple[Any, ...], str]] = {}
        for each in self._carried:
            cells = rows.array(each.source)
            masks.append(rows.mask(each.source))
            if each.change is None:
                arrays.append(cells)
                continue
            made, unfit = each.change(cells)
            arrays.append(made)
            if unfit is not None and unfit.true_count:
                self._name_unfit(rows, each, pc.indices_nonzero(unfit), bad)
        columns = [each.column.name for each in self._carried]
        for column, value in self._constants.items():
            columns.append(column.name)
            arrays.append(pa.repeat(pa.scalar(value, column.type.arrow), rows.count))
            masks.append(None)
        return Rows.of(columns, arrays, masks), bad

    def _name_unfit(
        self, rows: Rows, each: Carried, at: pa.Array, bad: dict[int, tuple[tuple[Any, ...], str]]
    ) -> None:
        keys = take(rows.select(self.origin.key), at).tuples()
        cells = rows.array(each.source).take(at).to_pylist()
        for place, key, cell in zip(at.to_pylist(), keys, cells, strict=True):
            reason = f"column {each.source} has {cell!r}, which is no exact {each.column.type}"
            bad.setdefault(place, (key, reason))

    def _stamped(self, rows: Rows) -> Rows:
        """The rows with the times that the target keeps, in the order of the schema."""
        found = {name: (rows.array(name), rows.mask(name)) for name in rows.columns}
        if self._deleted_at:
            found[self._deleted_at] = pa.nulls(rows.count, pa.string()), None
        if self._synced_at:
            found[self._synced_at] = pa.repeat(pa.scalar(now()), rows.count), None
        names = self.schema.names
        return Rows.of(names, [found[name][0] for name in names], [found[name][1] for name in names])

    def changes(self, told: Changes) -> Changes:
        """Changes in the new shape (Promise 4). A row that passes is written by its key, whether it was in
        the filter before or not; one that no longer passes is deleted, under its old key too. One that
        cannot be decided, or has no exact form, is refused: it is read again by its key."""
        places, kinds = _numbers(told.count), _kinds(told)
        deleted = pc.equal(kinds, DELETE)
        old = told.before.select(self.origin.key)
        moved = pc.invert(_any_unsent(old, self.origin.key))
        unknown = pc.and_not(_any_unsent(told.after, self._whole), deleted)
        certain = pc.indices_nonzero(pc.invert(pc.or_(deleted, unknown)))
        shaped = self.shape(take(told.after, certain))
        kept = certain.take(shaped.places)
        refused = pa.concat_arrays([pc.indices_nonzero(unknown), certain.take(shaped.refused)])
        is_kept, is_refused = pc.is_in(places, kept), pc.is_in(places, refused)
        # What is gone: under its old key whatever is not written under its new one, and what does not pass.
        gone = pc.indices_nonzero(pc.and_not(moved, is_kept))
        fallen = pc.indices_nonzero(pc.invert(pc.or_(pc.or_(is_kept, is_refused), deleted)))
        again = take(told.after.select(self.origin.key), pc.indices_nonzero(unknown)).tuples()
        refusals = (*told.after.refused, *(Refusal(key, AGAIN) for key in again), *shaped.rows.refused)
        return self._assemble(told, shaped.rows, kept, gone, fallen, refusals)

    def _assemble(
        self,
        told: Changes,
        rows: Rows,
        kept: pa.Array,
        gone: pa.Array,
        fallen: pa.Array,
        refused: Sequence[Refusal],
    ) -> Changes:
        """The changes that are left, in the order of the log."""
        old, new = told.before.select(self.origin.key), told.after.select(self.origin.key)
        before = Rows.concat([take(old, gone), take(new, fallen), take(old, kept)])
        deletes = len(gone) + len(fallen)
        nothing = pa.repeat(pa.scalar(True), deletes)
        missing = [pa.nulls(deletes, column.type.arrow) for column in self.schema.stored]
        after = Rows.concat([Rows.of(self.schema.names, missing, [nothing] * len(missing)), rows])
        kinds = pa.concat_arrays([pa.repeat(pa.scalar(DELETE, pa.uint8()), deletes), _kinds(told).take(kept)])
        order = pc.sort_indices(pa.concat_arrays([gone, fallen, kept]))
        return Changes(
            table=self.schema.table,
            kinds=_bytes(kinds.take(order)),
            before=_named(take(before, order), self.schema.key),
            after=replace(take(after, order), refused=tuple(refused)),
            path=told.path,
        )


def take(rows: Rows, at: pa.Array) -> Rows:
    """The rows at these places, without Python numbers."""
    masks = [None if mask is None else mask.take(at) for mask in rows.unsent]
    return Rows.of(rows.columns, [array.take(at) for array in rows.arrays], masks)


def now() -> str:
    """This moment, as a timestamptz travels."""
    text = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text}+00"


def _kinds(told: Changes) -> pa.Array:
    return pa.Array.from_buffers(pa.uint8(), told.count, [None, pa.py_buffer(told.kinds)])


def _bytes(numbers: pa.Array) -> bytes:
    _, payload = numbers.buffers()
    return bytes(memoryview(payload)[numbers.offset : numbers.offset + len(numbers)]) if len(numbers) else b""


def _numbers(count: int) -> pa.Array:
    return pc.indices_nonzero(pa.repeat(pa.scalar(True), count))


def _any_unsent(rows: Rows, columns: Sequence[str] | frozenset[str]) -> pa.Array:
    unsent = pa.repeat(pa.scalar(False), rows.count)
    for name in columns:
        mask = rows.mask(name)
        if mask is not None:
            unsent = pc.or_(unsent, mask)
    return unsent


def _named(rows: Rows, names: Sequence[str]) -> Rows:
    return Rows.of(names, rows.arrays, rows.unsent)
