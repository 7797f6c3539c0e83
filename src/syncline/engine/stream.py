"""One source feeding one target: copies its tables, follows the log, brings tables to live.

Two threads: one reads the log into a bounded queue, the caller's applies. Everything the stream knows is
in the target; a Stream object can be thrown away at any moment and made anew from a claim.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from .. import failpoints
from ..connector import Apply, Claim, Source, Target
from ..errors import NeedsOperator, Unfit
from ..model import Batch, Position, SchemaChange, Sighting, State, TableName, TableState
from ..model.batch import Path
from . import anew
from .canary import Canary
from .copy import Copy
from .fence import Fence
from .meter import Meter
from .order import generations
from .queue import BatchQueue, Closed, fill
from .report import Observer, Options
from .shapes import Shapes, refuse_outdated
from .standing import Standing
from .stores import Stores
from .throttle import Throttle
from .writing import MOST_ROUNDS, Writer

MAX_WAIT_SECONDS = 0.5
REQUEST_SECONDS = 1.0
CATALOG_SECONDS = 3.0
IDLE_SECONDS = 10.0
IDLE_BYTES = 1 << 20
"""An idle position is stored after this much time and this much log: one stream's position writes are
another's log, and two mirrors facing each other must come to rest (Race 13)."""


class Stream(Standing):
    """A claimed stream, and what moves it. `touched` counts the changes that were applied, a table."""

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
        super().__init__(lookup, target, claim, options, observer)
        self._stores, self._progress, self._throttle = stores, progress, throttle
        self._shapes, self._fence = Shapes(options, observer), Fence(target)
        self._writer = Writer(self, self._shapes, options, progress)
        self._reader: Source | None = None
        self._reader_behind = False
        self._open: Apply | None = None
        self._unit = ExitStack()
        self._meter: Meter | None = None
        self._idle_since, self._idle_bytes = time.monotonic(), 0
        self._asked_anew = self._inspected = 0.0
        self._unbuilt, self._related = 0, False
        self._canary, self._sighted = Canary(claim.stream), 0
        self.touched: Counter[TableName] = Counter()

    def join(self, side: Standing) -> None:
        """Take over the tables of a side stream that stands at the same position."""
        super().join(side)
        self._related = False

    def inspect(self) -> None:
        """Notice what the log does not tell (Promise 4, Race 7). A table of another shape follows it once the
        log is past the old one, or fails; one whose rows cannot have changed gets its new fingerprint; the
        others are `suspects` once they are live: what a copy has not seen may be on its way, and what it has
        seen is there."""
        self._inspected = time.monotonic()
        found = self.lookup.inspect([state.schema for state in self.active()])
        sightings = [seen for seen in found if isinstance(seen, Sighting)]
        changes = [seen for seen in found if isinstance(seen, SchemaChange)]
        told = [seen for seen in changes if not self._shapes.await_log(seen, self.states, self.lookup)]
        if told:
            with self.target.begin_copy(self.claim, self.mark({})) as apply:
                for change in told:
                    self._writer.reshape(apply, change)
                apply.commit()
        self.recognise([seen for seen in sightings if not seen.description])
        self.suspects = {
            seen.table: seen for seen in sightings if seen.description and self.is_live(seen.table)
        }

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
            self.set_state,
            self._progress,
            self._throttle,
        )
        schemas = {state.schema.table: state.schema for state in copying}
        groups = [list(schemas)]
        if self.target.capabilities.checks_references:
            groups = generations(schemas.values())
        self._writer.retry |= set(schemas)
        with self._measured():
            for group in groups:
                largest_first = sorted(group, key=lambda table: -(schemas[table].estimated_rows or 0))
                try:
                    work.run([self.states[table] for table in largest_first], self.lookup, self.target)
                except NeedsOperator:
                    refuse_outdated("copy", self.lookup, [schemas[table] for table in group])
                    raise
        self.parking.load(self.target.parked(self.claim.stream))

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
        self._writer.look_at_parked()
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
            with self._measured(None if until is not None else self._canary):
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
        while not self.reached(until) and not (self._open is None and (self._reader_behind or done())):
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
                self._writer.look_at_parked()
                self.look_at_requests()
                self._fence.look(self.claim, self._idle_since)
                self._observer.parked(len(self.parking))
                if time.monotonic() - self._inspected >= CATALOG_SECONDS:
                    self.inspect()

    @contextmanager
    def _measured(self, canary: Canary | None = None) -> Iterator[None]:
        """Let the observer know how far the stream is behind while this lasts."""
        with Meter(self._stores, self.claim.stream, self.position, self._observer, canary) as self._meter:
            yield
        self._meter = None

    def _read(self, reader: Source, queue: BatchQueue, until: Position | None) -> None:
        """The reading thread."""
        fill(
            queue,
            reader.changes(
                self.claim.stream,
                [state.schema for state in self.active()],
                self.position,
                skip=self._sink.id,
                max_bytes=self._options.max_bytes,
                max_wait=MAX_WAIT_SECONDS,
                until=until,
            ),
            # While it catches up; what is live keeps up, however much comes.
            lambda batch: self._throttle.spend(batch.count, batch.nbytes) if until is not None else 0.0,
        )

    def _apply(self, unit: Sequence[Batch], until: Position | None) -> None:
        """Apply batches that make one target transaction, or a piece of one."""
        last = unit[-1]
        segments = [segment for batch in unit for segment in batch.segments]
        sighted = max((batch.canary or 0 for batch in unit), default=0)
        self._sighted = sighted or self._sighted
        if not segments and self._open is None:
            self._idle_bytes += sum(batch.log_bytes for batch in unit)
            if last.complete:
                self._tell_reached(last.upto, applied=False)
            if not last.complete or not (sighted or self._worth_storing(last.upto, until)):
                return
        if self._open is None:
            paths: dict[TableName, Path] = {}
            for batch in unit:
                paths |= batch.paths()
            self._open = self._unit.enter_context(self.target.begin(self.claim, self.mark(paths)))
        self._writer.write(self._open, segments)
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
        self._canary.arrived(self._sighted)
        self._tell_reached(upto, applied=True)
        self._observer.reached(upto)
        self._idle_since, self._idle_bytes = time.monotonic(), 0
        for table, count in self._writer.pending.items():
            self._observer.applied(table, count)
        self.touched.update(self._writer.pending)
        self._writer.pending.clear()
        self._promote()

    def _follow_catalog(self) -> None:
        """Give tables the shape that the catalog told, once the log is past the old one, and let go of those
        that were dropped."""
        for change in self._shapes.take(self.states, self.reached):
            self._reader_behind = True
            if change.dropped:
                schema = self.states[change.table].schema
                anew.leave(self, [change.table])
                self.left.append(schema)
                self._observer.notice(f"table {schema.source_table} {anew.DROPPED}")
                continue
            with self.target.begin(self.claim, self.mark({})) as apply:
                self._writer.reshape(apply, change)
                apply.commit()

    def look_at_requests(self, *, at_once: bool = False) -> None:
        """Find the tables that somebody wants copied anew; those that are being copied come later."""
        now = time.monotonic()
        if at_once or now - self._asked_anew >= REQUEST_SECONDS:
            self._asked_anew = now
            self.outgrown |= dict.fromkeys(anew.asked(self), anew.ASKED)

    def _at_goal(self) -> list[TableName]:
        """The tables that have caught up."""
        return [
            table
            for table, state in self.states.items()
            if state.state is State.CATCHING_UP and self.reached(state.goal)
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
        self._writer.try_again([table for table in self._at_goal() if table in self._writer.retry])
        ready = [self.states[table] for table in self._at_goal()]
        aside = [state for state in ready if state.aside]
        if any(state.aside and state not in ready for state in self.active()):
            ready = [state for state in ready if not state.aside]
            aside = []
        if not ready:
            self._relate()
        if not ready or not self._build(ready):
            return
        failpoints.hit("live.before_commit")
        live = [replace(state, state=State.LIVE, aside=False) for state in ready]
        if aside:
            self.target.swap(self.claim, [state for state, old in zip(live, ready, strict=True) if old.aside])
        with self.target.begin(self.claim, self.mark({})) as apply:
            apply.record(live)
            apply.commit()
        failpoints.hit("live.after_commit")
        for state in live:
            self.set_state(state)
            self.target.advance_sequences(state.schema, self.lookup.sequences(state.schema))
        everything = [state for state in self.states.values() if state.state is State.LIVE and state.created]
        self.target.finish(self.claim, everything)
        self._related = True
        self._progress()

    def _relate(self) -> None:
        """Make the foreign keys that a killed run, or one that stood elsewhere than the tables' other stream,
        has left out."""
        children = [state for state in self.states.values() if state.created and state.schema.foreign_keys]
        live = [state for state in children if state.state is State.LIVE and not self._related]
        if live:  # without indexes: those were there, and one that somebody dropped since is not wanted
            bare = [replace(state, schema=replace(state.schema, indexes=())) for state in live]
            self.target.finish(self.claim, bare)
        self._related = True

    def _tell_reached(self, upto: Position, *, applied: bool) -> None:
        if self._meter is not None:
            self._meter.reach(upto, applied=applied)
