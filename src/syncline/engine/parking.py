"""Keys whose rows the target cannot take: set aside by name, tried again, never dropped.

A parked key is read again from the source rather than replayed (ADR 6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ..connector import Apply
from ..errors import NeedsOperator, Unfit
from ..model import Key, Parked, Position, Refusal, Rows, Schema, TableName, TableState

MOST_KEYS = 10_000
"""More keys of one table than this are no exceptions any more: the stream stops and says so (Promise 8)."""


class Parking:
    """The parked keys of a stream, as the target has them plus what the open transaction changes."""

    def __init__(self, entries: Iterable[Parked]) -> None:
        self.load(entries)

    def load(self, entries: Iterable[Parked]) -> None:
        """Know what the target has, and nothing else."""
        self._keys: dict[TableName, dict[Key, Parked]] = {}
        self._freed: set[TableName] = set()
        for entry in entries:
            self._keys.setdefault(entry.table, {})[entry.key] = entry

    def __bool__(self) -> bool:
        return any(self._keys.values())

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._keys.values())

    def __getitem__(self, table: TableName) -> dict[Key, Parked]:
        return self._keys.get(table, {})

    def tables(self) -> list[TableName]:
        """The tables that have parked keys."""
        return [table for table, keys in self._keys.items() if keys]

    def asked(self) -> list[TableName]:
        """The tables of which somebody wants keys to be tried again."""
        return [table for table in self.tables() if any(entry.asked for entry in self[table].values())]

    def keys(self, schema: Schema) -> Rows:
        """A table's parked keys as rows."""
        return Rows.of_keys(schema.key_columns, list(self[schema.table]))

    def park(self, apply: Apply, table: TableName, refusals: Sequence[Refusal], since: Position) -> None:
        """Set these keys aside. NeedsOperator when a table comes to have too many."""
        if not refusals:
            return
        entries = [Parked(table, refusal.key, refusal.reason, since) for refusal in refusals]
        keys = self._keys.setdefault(table, {})
        keys |= {entry.key: entry for entry in entries}
        refuse_many(table, len(keys), entries[0].reason)
        apply.park(entries)

    def unpark(self, apply: Apply, table: TableName, keys: Iterable[Key]) -> None:
        """These keys are as the source has them, or gone."""
        parked = self[table]
        freed = [key for key in keys if key in parked] if parked else []
        if freed:
            apply.unpark(table, freed)
            self._freed.add(table)
            for key in freed:
                del parked[key]

    def let_go(
        self, apply: Apply, table: TableName, keys: Rows, refused: Sequence[Refusal], since: Position
    ) -> None:
        """The rows of these keys are gone, but for those that the target refuses to delete."""
        if self[table]:
            stuck = {refusal.key for refusal in refused}
            self.unpark(apply, table, [key for key in keys.tuples() if key not in stuck])
        self.park(apply, table, refused, since)

    def part(self, schema: Schema, rows: Rows) -> tuple[Rows, list[Refusal]]:
        """The rows that can be written, and the refusals of those whose parent is parked."""
        orphans = self.orphans(schema, rows) if self else []
        if not orphans:
            return rows, []
        left_out = {refusal.key for refusal in orphans}
        keys = rows.select(schema.key).tuples()
        return rows.take([index for index, key in enumerate(keys) if key not in left_out]), orphans

    def stale(self, schema: Schema, rows: Rows) -> list[int]:
        """The places of rows with unsent cells whose key is parked."""
        parked = self[schema.table]
        masks = [mask.to_pylist() for mask in rows.unsent if mask is not None]
        if not parked or not masks:
            return []
        keys = rows.select(schema.key).tuples()
        return [
            index for index, key in enumerate(keys) if key in parked and any(mask[index] for mask in masks)
        ]

    def concerned(self, schemas: Iterable[Schema]) -> set[TableName]:
        """The tables whose parked keys may have waited for one that was freed since the last call: rows wait
        for their parent, and a delete waits for the rows that refer to it."""
        freed, self._freed = self._freed, set()
        links = [(schema.table, foreign.parent) for schema in schemas for foreign in schema.foreign_keys]
        near = {b for link in links for a, b in (link, link[::-1]) if a in freed} if freed else set()
        return {table for table in near if self[table]}

    def orphans(self, schema: Schema, rows: Rows) -> list[Refusal]:
        """The rows whose parent is parked: without it they cannot be either."""
        found: dict[Key, Refusal] = {}
        for foreign in schema.foreign_keys:
            parents = self[foreign.parent]
            if not parents or foreign.parent == schema.table:
                continue
            # A parent's key is known by its columns' order in the key, a reference may name them otherwise.
            references = rows.select(foreign.columns).tuples()
            keys = rows.select(schema.key).tuples()
            for key, reference in zip(keys, references, strict=True):
                if reference in parents:
                    reason = f"its parent in {foreign.parent} is parked: {parents[reference].reason}"
                    found[key] = Refusal(key, reason)
        return list(found.values())


def describe(entries: Collection[Parked]) -> str:
    """In one line which keys are parked, and why the first one is."""
    keys = [f"({', '.join(map(str, entry.key))})" for entry in entries]
    named = ", ".join(keys[:5]) + (f" and {len(keys) - 5:,} more" if len(keys) > 5 else "")
    reason = next(iter(entries)).reason
    return f"parked: {named}: {reason}"


def refuse_many(table: TableName, count: int, reason: str) -> None:
    """Raise NeedsOperator when so many keys of a table are refused that the table is at fault."""
    if count > MOST_KEYS:
        raise NeedsOperator(
            "park",
            f"more than {MOST_KEYS:,} keys of table {table}",
            f"the target refuses them: {reason}",
            "mend the table at the target, or the values at the source, and run again",
        )


def write(apply: Apply, state: TableState, rows: Rows) -> tuple[Rows, list[Refusal]]:
    """Upsert rows, and when some do not fit, all the others; what was missing as of `Apply.upsert`, and the
    refused ones. A row that fits once others are written (a unique value went from one to the other) is
    written."""
    missing: list[Rows] = []
    refused = _write(apply, state, rows, missing, 0)
    before = rows.count
    while 0 < len(refused) < before:
        before = len(refused)
        again = [_write(apply, state, rows.take([index]), missing, 0, index) for index, _ in refused]
        refused = [refusal for found in again for refusal in found]
    keys = rows.select(state.schema.key).tuples() if refused else []
    nothing = rows.select(state.schema.key).take([])
    return Rows.concat([nothing, *missing]), [Refusal(keys[index], reason) for index, reason in refused]


def _write(
    apply: Apply, state: TableState, rows: Rows, missing: list[Rows], known: int, offset: int = 0
) -> list[tuple[int, str]]:
    """The places and reasons of refused rows, found by halving."""
    try:
        missing.append(apply.upsert(state, rows))
    except Unfit as error:
        if rows.count == 1:
            refuse_many(state.schema.table, known + 1, error.reason)
            return [(offset, error.reason)]
        middle = rows.count // 2
        first = _write(apply, state, rows.take(range(middle)), missing, known, offset)
        rest = rows.take(range(middle, rows.count))
        return first + _write(apply, state, rest, missing, known + len(first), offset + middle)
    return []
