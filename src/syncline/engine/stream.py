"""One source feeding one target: copies its tables, follows the log, brings tables to live.

Two threads: one reads the log into a bounded queue, the caller's applies. Everything the stream knows is
in the target; a Stream object can be thrown away at any moment and made anew from a claim.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from .. import failpoints
from ..connector import Apply, Claim, Source, Target
from ..errors import NeedsOperator, Unfit
from ..model import (
    Batch,
    Changes,
    Key,
    Mark,
    Position,
    Rows,
    SchemaChange,
    Sighting,
    State,
    TableName,
    TableState,
    Truncate,
)
from ..model.batch import Path
from . import anew
from .copy import Copy
from .deletes import delete, truncate, vacate
from .fence import Fence
from .fold import Folded, fold
from .meter import Meter
from .order import generations, parents_first
from .parking import Parking, write
from .queue import BatchQueue, Closed, fill
from .report import Observer, Options
from .shapes import Shapes, outdated, refuse_outdated
from .stores import Stores
from .throttle import Throttle

MAX_WAIT_SECONDS = 0.5
MOST_ROUNDS = 5
PARKED_SECONDS = 2.0
REQUEST_SECONDS = 1.0
CATALOG_SECONDS = 3.0
IDLE_SECONDS = 10.0
IDLE_BYTES = 1 << 20
"""An idle position is stored after this much time and this much log: one stream's position writes are
another's log, and two mirrors facing each other must come to rest (Race 13)."""


class Stream:
    """A claimed stream. `lookup` and `target` belong to the thread that calls the methods.

    `touched` counts the changes that were applied, a table. `suspects` are live tables that may hold other
    rows than the log told (Race 7), `outgrown` those whose copy must begin anew, with the reason: their shape
    changed between floor and goal (Race 9) or so that the target's table cannot follow, they were found
    different, or somebody asked for it.
    """

    def __init__(
        self,
        stores: Stores,
        lookup: Source,
        target: Target,
        claim: Claim,
        options: Options,
        observer: Observer,
        progress: Callable[[], None],
        throttle: Throttle,
    ) -> None:
        self._stores, self.lookup, self.target, self._throttle = stores, lookup, target, throttle
        self.claim, self.states = claim, dict(claim.tables)
        self._options, self._observer, self._progress = options, observer, progress
        self._source, self._sink = lookup.identity(), target.identity()
        self._reader: Source | None = None
        self._open: Apply | None = None
        self._unit = ExitStack()
        self._pending: Counter[TableName] = Counter()
        self._idle_since, self._idle_bytes = time.monotonic(), 0
        self._asked_anew, self._fence = 0.0, Fence(target)
        self._meter: Meter | None = None
        self.touched: Counter[TableName] = Counter()
        self.suspects: dict[TableName, Sighting] = {}
        self.outgrown: dict[TableName, str] = {}
        self._shapes, self._reader_behind = Shapes(options, observer), False
        self.parking = Parking(target.parked(claim.stream))
        self._retry: set[TableName] = set(self.parking.tables())
        self._rounds: dict[TableName, tuple[int, Position]] = {}
        self._unbuilt, self._looked, self._inspected = 0, time.monotonic(), 0.0

    @property
    def position(self) -> Position:
        """Up to where the source's log is in the target."""
        assert self.claim.position is not None
        return self.claim.position

    def enter(self, states: Sequence[TableState], floor: Position, *, first: bool) -> None:
        """Take tables in: their states and, where the log begins with them, the `first` position before the
        first row, in one transaction."""
        if first:  # attaching may just have given the log its incarnation
            self._source = self.lookup.identity()
        with self.target.begin(self.claim, self._mark({})) as apply:
            if first:
                apply.start(self._source, floor)
            apply.record(states)
            apply.answer([state.schema.table for state in states])
            for state in states:
                # Ledger and parked keys of an earlier copy say nothing of this one.
                apply.plan_spans(state, [])
                self.parking.unpark(apply, state.schema.table, list(self.parking[state.schema.table]))
            apply.commit()
        if first:
            self.claim = replace(self.claim, position=floor, source=self._source)
        for state in states:
            self._set(state)
            if state.state is State.COPYING:
                self.target.prepare(state.schema, aside=state.aside)

    @property
    def has_live(self) -> bool:
        """Whether any table is live, so that the stream must not wait for others to be copied."""
        return any(state.state is State.LIVE for state in self.states.values())

    def settle(self, states: Sequence[TableState], answered: Sequence[TableName] = ()) -> None:
        """Record states, and what is answered of what was asked for, without moving the position."""
        with self.target.begin_copy(self.claim, self._mark({})) as apply:
            apply.record(states)
            apply.answer(answered)
            apply.commit()
        for state in states:
            self._set(state)

    def inspect(self) -> None:
        """Notice what the log does not tell (Promise 4, Race 7). A table of another shape follows it once the
        log is past the old one, or fails; one whose rows cannot have changed gets its new fingerprint; the
        others are `suspects` once they are live: what a copy has not seen may be on its way, and what it has
        seen is there."""
        self._inspected = time.monotonic()
        found = self.lookup.inspect([state.schema for state in self._active()])
        sightings = [seen for seen in found if isinstance(seen, Sighting)]
        changes = [seen for seen in found if isinstance(seen, SchemaChange)]
        told = [seen for seen in changes if not self._shapes.await_log(seen, self.states, self.lookup)]
        if told:
            with self.target.begin_copy(self.claim, self._mark({})) as apply:
                for change in told:
                    self._reshape(apply, change)
                apply.commit()
        self.recognise([seen for seen in sightings if not seen.description])
        self.suspects = {
            seen.table: seen for seen in sightings if seen.description and self.is_live(seen.table)
        }

    def recognise(self, sightings: Sequence[Sighting]) -> None:
        """Keep the fingerprints of tables that hold what their sources do, with their states (Promise 1)."""
        known = [(self.states[seen.table], seen.fingerprint) for seen in sightings]
        states = [replace(state, schema=replace(state.schema, fingerprint=text)) for state, text in known]
        if states:
            with self.target.begin_copy(self.claim, self._mark({})) as apply:
                apply.record(states)
                apply.commit()
            self.states |= {state.schema.table: state for state in states}
        # The catalog may have been looked at again while a table was compared.
        self.suspects = {table: seen for table, seen in self.suspects.items() if seen not in sightings}

    def is_live(self, table: TableName) -> bool:
        """Whether a table is live."""
        return self.states[table].state is State.LIVE

    def join(self, side: Stream) -> None:
        """Take over the tables of a side stream that stands at the same position."""
        states = list(side.states.values())
        self.outgrown |= side.outgrown
        self.target.join(side.claim, self.claim, states)
        self.states |= {state.schema.table: state for state in states}
        self.parking = Parking(self.target.parked(self.claim.stream))

    def copy(self) -> None:
        """Copy what is not copied yet; afterwards no table is `copying`."""
        copying = [state for state in self.states.values() if state.state is State.COPYING and state.floor]
        if not copying:
            return
        work = Copy(
            self._stores,
            self.claim,
            self._source.id,
            self._options,
            self._observer,
            self._set,
            self._progress,
            self._throttle,
        )
        schemas = {state.schema.table: state.schema for state in copying}
        groups = [list(schemas)]
        if self.target.capabilities.checks_references:
            groups = generations(schemas.values())
        self._retry |= set(schemas)
        with self._measured():
            for group in groups:
                largest_first = sorted(group, key=lambda table: -(schemas[table].estimated_rows or 0))
                try:
                    work.run([self.states[table] for table in largest_first], self.lookup, self.target)
                except NeedsOperator:
                    refuse_outdated("copy", self.lookup, [schemas[table] for table in group])
                    raise
        self.parking = Parking(self.target.parked(self.claim.stream))

    def goal(self) -> Position:
        """The furthest goal of a table that is not live yet, or has not the shape yet that the catalog told;
        or the position when it is past all of them."""
        furthest = self.position
        for goal in self._goals():
            furthest = goal if self.lookup.compare(goal, furthest) > 0 else furthest
        return furthest

    def _goals(self) -> list[Position]:
        goals = [state.goal for state in self.states.values() if state.state is State.CATCHING_UP]
        return [*filter(None, goals), *self._shapes.ends]

    def catch_up(self, until: Position) -> None:
        """Apply exactly what lies at or before `until`, and further while goals are ahead."""
        self._look_at_parked()
        while self.lookup.compare(self.position, until) < 0:
            self.follow(until=until)
        while self.lookup.compare(self.position, goal := self.goal()) < 0:
            self.follow(until=goal)
        self._promote()

    def follow(self, *, until: Position | None = None, done: Callable[[], bool] = lambda: False) -> None:
        """Apply the log as it comes, up to `until` or until `done()` says so between transactions; or until a
        table has a shape that the reader does not know."""
        self._promote()
        self._reader_behind = False
        self._observer.reached(self.position)
        queue = BatchQueue(self._options.max_bytes)
        reader = self._reader = self._stores.source()
        thread = threading.Thread(target=self._read, args=(reader, queue, until), name="read", daemon=True)
        thread.start()
        try:
            with self._measured():
                self._apply_all(queue, until, done)
        finally:
            self._reader, self._open = None, None
            self._unit.close()
            queue.close()
            reader.interrupt()
            thread.join()
            self._stores.release(reader)

    def _apply_all(self, queue: BatchQueue, until: Position | None, done: Callable[[], bool]) -> None:
        """The applying thread."""
        while not self._reached(until) and not (self._open is None and (self._reader_behind or done())):
            self._stores.check()
            try:
                unit = queue.take(MAX_WAIT_SECONDS)
            except Closed:
                break
            if unit:
                self._apply(unit, until)
            elif self._open is not None:
                self._open.linger()
            if self._open is None:
                self._look_at_parked()
                self.look_at_requests()
                self._fence.look(self.claim, self._idle_since)
                self._observer.parked(len(self.parking))
                if time.monotonic() - self._inspected >= CATALOG_SECONDS:
                    self.inspect()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Let the observer know how far the stream is behind while this lasts."""
        with Meter(self._stores, self.claim.stream, self.position, self._observer) as self._meter:
            yield
        self._meter = None

    def _read(self, reader: Source, queue: BatchQueue, until: Position | None) -> None:
        """The reading thread."""
        fill(
            queue,
            reader.changes(
                self.claim.stream,
                [state.schema for state in self._active()],
                self.position,
                skip=self._sink.id,
                max_bytes=self._options.max_bytes,
                max_wait=MAX_WAIT_SECONDS,
                until=until,
            ),
            # While it catches up; what is live keeps up, however much comes.
            lambda batch: self._throttle.spend(batch.count, batch.nbytes) if until is not None else 0.0,
        )

    def _reached(self, position: Position | None) -> bool:
        return position is not None and self.lookup.compare(self.position, position) >= 0

    def _active(self) -> list[TableState]:
        """The tables whose changes are applied."""
        return [state for state in self.states.values() if state.state in (State.CATCHING_UP, State.LIVE)]

    def _apply(self, unit: Sequence[Batch], until: Position | None) -> None:
        """Apply batches that make one target transaction, or a piece of one."""
        last = unit[-1]
        segments = [segment for batch in unit for segment in batch.segments]
        if not segments and self._open is None:
            self._idle_bytes += sum(batch.log_bytes for batch in unit)
            if last.complete:
                self._tell_reached(last.upto, applied=False)
            if not last.complete or not self._worth_storing(last.upto, until):
                return
        if self._open is None:
            paths: dict[TableName, Path] = {}
            for batch in unit:
                paths |= batch.paths()
            self._open = self._unit.enter_context(self.target.begin(self.claim, self._mark(paths)))
        self._write(self._open, segments)
        if last.complete:
            self._commit(last.upto)

    def _worth_storing(self, upto: Position, until: Position | None) -> bool:
        """Whether an empty batch is written: a goal is reached, or the log grew for long enough."""
        if self.lookup.compare(upto, self.position) <= 0:
            return False
        if any(self.lookup.compare(upto, goal) >= 0 for goal in (*self._goals(), *filter(None, [until]))):
            return True
        idle = time.monotonic() - self._idle_since
        return idle >= IDLE_SECONDS and self._idle_bytes >= IDLE_BYTES

    def _commit(self, upto: Position) -> None:
        """Rows, states and position in one transaction, then the log is released (Promise 1)."""
        assert self._open is not None
        failpoints.hit("apply.before_commit")
        self._open.commit(upto)
        self._open = None
        self._unit.close()
        self.claim = self.claim.moved(upto)
        failpoints.hit("apply.after_commit")
        if self._reader is not None:
            self._reader.release(self.claim.stream, upto)
        failpoints.hit("release.after")
        self._progress()
        self._tell_reached(upto, applied=True)
        self._observer.reached(upto)
        self._idle_since, self._idle_bytes = time.monotonic(), 0
        for table, count in self._pending.items():
            self._observer.applied(table, count)
        self.touched.update(self._pending)
        self._pending.clear()
        self._promote()

    def _write(self, apply: Apply, segments: Iterable[object]) -> None:
        """Write segments in order; between truncates and schema changes everything is folded."""
        gathered: dict[TableName, list[Changes]] = {}
        for segment in segments:
            if isinstance(segment, Changes):
                gathered.setdefault(segment.table, []).append(segment)
                self._pending[segment.table] += segment.count + len(segment.after.refused)
                continue
            self._write_folded(apply, gathered)
            gathered = {}
            if isinstance(segment, Truncate):
                states = [self.states[table] for table in segment.tables if self._is_active(table)]
                truncate(apply, self.target, states, self._options.span_rows)
                for state in states:
                    self.parking.unpark(apply, state.schema.table, list(self.parking[state.schema.table]))
                self._pending.update(segment.tables)
            elif isinstance(segment, SchemaChange) and self._is_active(segment.table):
                self._reshape(apply, segment)
        self._write_folded(apply, gathered)

    def _is_active(self, table: TableName) -> bool:
        return self.states[table].state in (State.CATCHING_UP, State.LIVE)

    def _reshape(self, apply: Apply, change: SchemaChange) -> None:
        """Give a table its new shape, begin its copy anew, or stop it (Promise 4). The schema is recorded
        with the first rows that come in it (Promise 1)."""
        now = self._shapes.reshape(apply, self.states[change.table], change)
        now = now or self._failed(change.table, change.description)
        if now.state is State.COPYING:
            self.outgrown[change.table] = change.description
        self._retry.add(change.table)  # what the old shape refused the new one may take
        apply.record([now])
        self._set(now)

    def _follow_catalog(self) -> None:
        """Give tables the shape that the catalog told, once the log is past the old one."""
        for change in self._shapes.take(self.states, self._reached):
            with self.target.begin(self.claim, self._mark({})) as apply:
                self._reshape(apply, change)
                apply.commit()
            self._reader_behind = True

    def _failed(self, table: TableName, why: str) -> TableState:
        detail = f"{why}; copy it anew with {self.remedy(self.states[table])}"
        return replace(self.states[table], state=State.FAILED, detail=detail)

    def remedy(self, state: TableState) -> str:
        """The command that copies a table anew."""
        return self._options.remedy(state.schema.source_table)

    def fail(self, reasons: Mapping[TableName, str]) -> None:
        """Stop tables that were live, by name."""
        if reasons:
            self.settle([self._failed(table, why) for table, why in reasons.items()])

    def _write_folded(self, apply: Apply, gathered: dict[TableName, list[Changes]]) -> None:
        """Deletes from children to parents, then rows from parents to children: no foreign key is ever
        without its row. Where foreign keys act on what is written, parents are deleted last: a cascade
        would take along children that have another parent by now, and theirs (Race 6)."""
        parts = {table: changes for table, changes in gathered.items() if self._is_active(table)}
        order = parents_first(self.states[table].schema for table in parts)
        folded = {table: fold(self.states[table].schema, parts[table]) for table in order}
        going = [table for table in reversed(order) if folded[table].deletes.count]
        parents: set[TableName] = set()
        if self.target.capabilities.checks_references:
            parents = {foreign.parent for state in self._active() for foreign in state.schema.foreign_keys}
        for table in going:
            if table not in parents:
                self._delete(apply, table, folded[table].deletes)
            elif folded[table].upserts.count or folded[table].reread.count:
                vacate(apply, self.states[table], folded[table].deletes)
        for table in order:
            refused = [refusal.key for changes in parts[table] for refusal in changes.after.refused]
            self._upsert(apply, self.states[table], folded[table], refused)
        for table in going:
            if table in parents:
                self._delete(apply, table, folded[table].deletes)

    def _delete(self, apply: Apply, table: TableName, keys: Rows) -> None:
        self.parking.let_go(apply, table, keys, delete(apply, self.states[table], keys), self.position)

    def _upsert(self, apply: Apply, state: TableState, folded: Folded, refused: Sequence[Key]) -> None:
        """Write rows; those with a cell that neither log nor target has are read again at the source, and
        so are those that the log could not tell, and parked ones whose row at the target is an old one."""
        unknown = [folded.reread, Rows.of_keys(state.schema.key_columns, refused)]
        rows, parked = folded.upserts, set(self.parking[state.schema.table])
        if stale := self.parking.stale(state.schema, rows):
            keys = rows.select(state.schema.key)
            unknown.append(Rows.of(keys.columns, keys.take(stale).arrays))
            rows = rows.take(sorted(set(range(rows.count)) - set(stale)))
        if rows.count:
            unknown.append(self._write_rows(apply, state, rows))
        again = [keys for keys in unknown if keys.count]
        for keys in again:
            self._read_again(apply, state, keys)
        # A row of before may refer to one that came only now.
        late = [key for key in self.parking[state.schema.table] if again and key not in parked]
        if late:
            self._read_again(apply, state, Rows.of_keys(state.schema.key_columns, late))

    def _write_rows(self, apply: Apply, state: TableState, rows: Rows) -> Rows:
        """Write rows, park those that do not fit and those whose parent is parked; the keys of rows with
        unsent cells that are not at the target."""
        table = state.schema.table
        rows, orphans = self.parking.part(state.schema, rows)
        keys = rows.select(state.schema.key).tuples() if self.parking[table] else []
        nothing = rows.select(state.schema.key).take([])
        missing, refused = write(apply, state, rows) if rows.count else (nothing, [])
        unfit = {refusal.key for refusal in refused} | set(missing.tuples() if keys else [])
        self.parking.unpark(apply, table, [key for key in keys if key not in unfit])
        self.parking.park(apply, table, [*orphans, *refused], self.position)
        return missing

    def _read_again(self, apply: Apply, state: TableState, keys: Rows, *, settle: bool = False) -> None:
        """Write the rows of these keys as the source has them now. They are ahead of the position for a
        moment. A row that is absent at the source was deleted: the log will tell (Race 3), or, when a
        parked key is to be settled, has told already. Of a row that a filter leaves out nothing will be told:
        it goes now."""
        table = state.schema.table
        try:
            rows = self.lookup.read_keys(state.schema, keys)
        except NeedsOperator:
            # What a table of another shape by now holds only a copy can tell.
            for change in (changes := outdated(self.lookup, [state.schema])):
                self._reshape(apply, replace(change, schema=None))
            if changes:
                return
            raise
        if settle or state.schema.filtered:
            there = {*rows.select(state.schema.key).tuples(), *(refusal.key for refusal in rows.refused)}
            gone = [key for key in keys.tuples() if key not in there]
            self._delete(apply, table, Rows.of_keys(state.schema.key_columns, gone))
        if rows.count:
            self._write_rows(apply, state, rows)
        self.parking.park(apply, table, rows.refused, self.position)
        self._move_goal(apply, table)

    def _move_goal(self, apply: Apply, table: TableName) -> None:
        """Put the goal of a table that is catching up past all that a reading saw. For some rounds only:
        where rows change their keys faster than the log is applied, a table with rows that are ahead for a
        moment is better than one that is never live."""
        state = self.states[table]
        if state.state is not State.CATCHING_UP or state.goal is None:
            return
        count, end = self._rounds.get(table, (0, state.goal))
        if self._reached(end):
            count, end = count + 1, state.goal
        self._rounds[table] = count, end
        if count < MOST_ROUNDS:
            self.states[table] = replace(state, goal=self.lookup.ceiling())
            apply.record([self.states[table]])

    def look_at_requests(self, *, at_once: bool = False) -> None:
        """Find the tables that somebody wants copied anew; those that are being copied come later."""
        now = time.monotonic()
        if at_once or now - self._asked_anew >= REQUEST_SECONDS:
            self._asked_anew = now
            self.outgrown |= dict.fromkeys(anew.asked(self), anew.ASKED)

    def _look_at_parked(self) -> None:
        """Try parked keys again: once by every run, and whenever somebody asks for it."""
        now = time.monotonic()
        if self.parking and now - self._looked >= PARKED_SECONDS:
            self._looked = now
            self.parking = Parking(self.target.parked(self.claim.stream))
            self._retry |= set(self.parking.asked())
        while live := [table for table in self._waiting() if self.states[table].state is State.LIVE]:
            self._try_again(live)

    def _waiting(self) -> set[TableName]:
        self._retry |= self.parking.concerned(state.schema for state in self._active())
        return self._retry

    def _try_again(self, tables: Sequence[TableName]) -> None:
        """Bring the parked keys of these tables to what the source has now: written, deleted or, when the
        target refuses them still, parked on with the reason of today."""
        self._retry -= set(tables)
        schemas = [self.states[table].schema for table in tables if self.parking[table]]
        if not schemas:
            return
        with self.target.begin(self.claim, self._mark({})) as apply:
            for table in parents_first(schemas):
                state = self.states[table]
                self._read_again(apply, state, self.parking.keys(state.schema), settle=True)
            apply.commit()
        self._progress()

    def _at_goal(self) -> list[TableName]:
        """The tables that have caught up."""
        return [
            table
            for table, state in self.states.items()
            if state.state is State.CATCHING_UP and self._reached(state.goal)
        ]

    def _build(self, ready: Sequence[TableState]) -> bool:
        """Build the indexes of tables at their goal. Rows that are ahead may share a unique value with one
        that is about to give it up: then the goal moves on, a few times."""
        try:
            self.target.finish(self.claim, ready)
        except Unfit:
            self._unbuilt += 1
            if self._unbuilt > MOST_ROUNDS:
                raise
            self.settle([replace(state, goal=self.lookup.ceiling()) for state in ready])
            return False
        return True

    def _promote(self) -> None:
        """Bring tables whose goal is reached to live: indexes first, those built aside all at once."""
        self._follow_catalog()
        self._try_again([table for table in self._at_goal() if table in self._retry])
        ready = [self.states[table] for table in self._at_goal()]
        aside = [state for state in ready if state.aside]
        if any(state.aside and state not in ready for state in self._active()):
            ready = [state for state in ready if not state.aside]
            aside = []
        if not ready or not self._build(ready):
            return
        failpoints.hit("live.before_commit")
        live = [replace(state, state=State.LIVE, aside=False) for state in ready]
        if aside:
            self.target.swap(self.claim, [state for state, old in zip(live, ready, strict=True) if old.aside])
        with self.target.begin(self.claim, self._mark({})) as apply:
            apply.record(live)
            apply.commit()
        for state in live:
            self._set(state)
            self.target.advance_sequences(state.schema, self.lookup.sequences(state.schema))
        everything = [state for state in self.states.values() if state.state is State.LIVE and state.created]
        self.target.finish(self.claim, everything)
        self._progress()

    def _set(self, state: TableState) -> None:
        self.states[state.schema.table] = state
        self._observer.state(state.schema.table, state.state, state.detail)

    def _mark(self, paths: dict[TableName, Path]) -> Mark:
        """The mark of a transaction; a table that it may come to write later has the path of the others."""
        rest = next(iter(paths.values()), (self._source.id,))
        tables = {str(self.target.place(table)): paths.get(table, rest) for table in self.states}
        return Mark(self.claim.stream, tables)

    def _tell_reached(self, upto: Position, *, applied: bool) -> None:
        if self._meter is not None:
            self._meter.reach(upto, applied=applied)
