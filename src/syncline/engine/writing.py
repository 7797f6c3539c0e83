"""How what the log tells comes to the target's tables: folded, in an order that foreign keys allow, read
again where the log does not tell it, parked where the target cannot take it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..connector import Apply
from ..errors import NeedsOperator
from ..model import Changes, Key, Position, Rows, SchemaChange, State, TableName, TableState, Truncate
from .awake import awake
from .deletes import delete, truncate, vacate
from .fold import Folded, fold
from .order import parents_first
from .parking import write
from .report import Options
from .shapes import Shapes, outdated
from .standing import Standing

MOST_ROUNDS = 5
PARKED_SECONDS = 2.0


class Writer:
    """Writes to the tables of a stream, in transactions of its owner.

    `pending` counts the changes that were written and are not committed yet, a table. `retry` are the tables
    whose parked keys are to be tried again.
    """

    def __init__(
        self, standing: Standing, shapes: Shapes, options: Options, progress: Callable[[], None]
    ) -> None:
        self._standing, self._shapes, self._options, self._progress = standing, shapes, options, progress
        self._source, self._target = standing.lookup, standing.target
        self._states, self._parking = standing.states, standing.parking
        self.pending: Counter[TableName] = Counter()
        self.retry: set[TableName] = set(standing.parking.tables())
        self._rounds: dict[TableName, tuple[int, Position]] = {}
        self._looked = time.monotonic()

    def write(self, apply: Apply, segments: Iterable[object]) -> None:
        """Write segments in order; between truncates and schema changes everything is folded."""
        gathered: dict[TableName, list[Changes]] = {}
        for segment in segments:
            if isinstance(segment, Changes):
                gathered.setdefault(segment.table, []).append(segment)
                self.pending[segment.table] += segment.count + len(segment.after.refused)
                continue
            self._write_folded(apply, gathered)
            gathered = {}
            if isinstance(segment, Truncate):
                states = [self._states[table] for table in segment.tables if self._standing.is_active(table)]
                truncate(apply, self._target, states, self._options.span_rows)
                for state in states:
                    self._parking.unpark(apply, state.schema.table, list(self._parking[state.schema.table]))
                self.pending.update(segment.tables)
            elif isinstance(segment, SchemaChange) and self._standing.is_active(segment.table):
                self.reshape(apply, segment)
        self._write_folded(apply, gathered)

    def reshape(self, apply: Apply, change: SchemaChange) -> None:
        """Give a table its new shape, begin its copy anew, or stop it (Promise 4). The schema is recorded
        with the first rows that come in it (Promise 1). A table that leaves does so between two
        transactions."""
        if change.dropped and self._shapes.await_log(change, self._states, self._source):
            return
        now = self._shapes.reshape(apply, self._states[change.table], change)
        now = now or self._standing.as_failed(change.table, change.description)
        if now.state is State.COPYING:
            self._standing.outgrown[change.table] = change.description
        self.retry.add(change.table)  # what the old shape refused the new one may take
        apply.record([now])
        self._standing.set_state(now)

    def _write_folded(self, apply: Apply, gathered: dict[TableName, list[Changes]]) -> None:
        """Deletes from children to parents, then rows from parents to children: no foreign key is ever
        without its row. Where foreign keys act on what is written, parents are deleted last: a cascade
        would take along children that have another parent by now, and theirs (Race 6)."""
        parts = {table: changes for table, changes in gathered.items() if self._standing.is_active(table)}
        order = parents_first(self._states[table].schema for table in parts)
        folded = {table: fold(self._states[table].schema, parts[table]) for table in order}
        going = [table for table in reversed(order) if folded[table].deletes.count]
        parents: set[TableName] = set()
        if self._target.capabilities.checks_references:
            parents = {
                foreign.parent for state in self._standing.active() for foreign in state.schema.foreign_keys
            }
        for table in going:
            if table not in parents:
                self._delete(apply, table, folded[table].deletes)
            elif folded[table].upserts.count or folded[table].reread.count:
                vacate(apply, self._states[table], folded[table].deletes)
        for table in order:
            # A key is read again once, however often the batch tells it: an upsert takes no row twice.
            refused = dict.fromkeys(one.key for changes in parts[table] for one in changes.after.refused)
            self._upsert(apply, self._states[table], folded[table], list(refused))
        for table in going:
            if table in parents:
                self._delete(apply, table, folded[table].deletes)

    def _delete(self, apply: Apply, table: TableName, keys: Rows) -> None:
        self._parking.let_go(
            apply, table, keys, delete(apply, self._states[table], keys), self._standing.position
        )

    def _upsert(self, apply: Apply, state: TableState, folded: Folded, refused: Sequence[Key]) -> None:
        """Write rows; those with a cell that neither log nor target has are read again at the source, and
        so are those that the log could not tell, and parked ones whose row at the target is an old one."""
        unknown = [folded.reread, Rows.of_keys(state.schema.key_columns, refused)]
        rows, parked = folded.upserts, set(self._parking[state.schema.table])
        if stale := self._parking.stale(state.schema, rows):
            keys = rows.select(state.schema.key)
            unknown.append(Rows.of(keys.columns, keys.take(stale).arrays))
            rows = rows.take(sorted(set(range(rows.count)) - set(stale)))
        if rows.count:
            unknown.append(self._write_rows(apply, state, rows))
        again = [keys for keys in unknown if keys.count]
        for keys in again:
            self._read_again(apply, state, keys)
        # A row of before may refer to one that came only now.
        late = [key for key in self._parking[state.schema.table] if again and key not in parked]
        if late:
            self._read_again(apply, state, Rows.of_keys(state.schema.key_columns, late))

    def _write_rows(self, apply: Apply, state: TableState, rows: Rows) -> Rows:
        """Write rows, park those that do not fit and those whose parent is parked; the keys of rows with
        unsent cells that are not at the target."""
        table = state.schema.table
        rows, orphans = self._parking.part(state.schema, rows)
        keys = rows.select(state.schema.key).tuples() if self._parking[table] else []
        nothing = rows.select(state.schema.key).take([])
        missing, refused = write(apply, state, rows) if rows.count else (nothing, [])
        unfit = {refusal.key for refusal in refused} | set(missing.tuples() if keys else [])
        self._parking.unpark(apply, table, [key for key in keys if key not in unfit])
        self._parking.park(apply, table, [*orphans, *refused], self._standing.position)
        return missing

    def _read_again(self, apply: Apply, state: TableState, keys: Rows, *, settle: bool = False) -> None:
        """Write the rows of these keys as the source has them now. They are ahead of the position for a
        moment. A row that is absent at the source was deleted: the log will tell (Race 3), or, when a
        parked key is to be settled, has told already. Of a row that a filter leaves out nothing will be told:
        it goes now."""
        table = state.schema.table
        try:
            with awake(apply):
                rows = self._source.read_keys(state.schema, keys)
        except NeedsOperator:
            # What a table of another shape by now holds only a copy can tell.
            for change in (changes := outdated(self._source, [state.schema])):
                self.reshape(apply, replace(change, schema=None))
            if changes:
                return
            raise
        if settle or state.schema.filtered:
            there = {*rows.select(state.schema.key).tuples(), *(refusal.key for refusal in rows.refused)}
            gone = [key for key in keys.tuples() if key not in there]
            self._delete(apply, table, Rows.of_keys(state.schema.key_columns, gone))
        if rows.count:
            self._write_rows(apply, state, rows)
        self._parking.park(apply, table, rows.refused, self._standing.position)
        self._move_goal(apply, table)

    def _move_goal(self, apply: Apply, table: TableName) -> None:
        """Put the goal of a table that is catching up past all that a reading saw. For some rounds only:
        where rows change their keys faster than the log is applied, a table with rows that are ahead for a
        moment is better than one that is never live."""
        state = self._states[table]
        if state.state is not State.CATCHING_UP or state.goal is None:
            return
        count, end = self._rounds.get(table, (0, state.goal))
        if self._standing.reached(end):
            count, end = count + 1, state.goal
        self._rounds[table] = count, end
        if count < MOST_ROUNDS:
            self._states[table] = replace(state, goal=self._source.ceiling())
            apply.record([self._states[table]])

    def look_at_parked(self) -> None:
        """Try parked keys again: once by every run, and whenever somebody asks for it."""
        now = time.monotonic()
        if self._parking and now - self._looked >= PARKED_SECONDS:
            self._looked = now
            self._parking.load(self._target.parked(self._standing.claim.stream))
            self.retry |= set(self._parking.asked())
        while live := [table for table in self._waiting() if self._standing.is_live(table)]:
            self.try_again(live)

    def _waiting(self) -> set[TableName]:
        self.retry |= self._parking.concerned(state.schema for state in self._standing.active())
        return self.retry

    def try_again(self, tables: Sequence[TableName]) -> None:
        """Bring the parked keys of these tables to what the source has now: written, deleted or, when the
        target refuses them still, parked on with the reason of today."""
        self.retry -= set(tables)
        schemas = [self._states[table].schema for table in tables if self._parking[table]]
        if not schemas:
            return
        with self._target.begin(self._standing.claim, self._standing.mark({})) as apply:
            for table in parents_first(schemas):
                state = self._states[table]
                self._read_again(apply, state, self._parking.keys(state.schema), settle=True)
            apply.commit()
        self._progress()
