"""Copies tables in spans, in parallel, resumable in the middle of a table.

Each span's rows and its entry in the ledger are one transaction under the stream's fence (Promise 1,
Race 5): a killed copy goes on with the spans that are not in the ledger.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from .. import failpoints
from ..connector import Apply, Claim, Source, Target
from ..errors import Unfit
from ..model import ARROW, Mark, Refusal, Rows, Span, State, TableName, TableState
from . import parking
from .awake import awake
from .report import Observer, Options
from .stores import Stores
from .throttle import Throttle


@dataclass(frozen=True, slots=True)
class _Task:
    state: TableState
    number: int
    span: Span


class Copy:
    """The copy of a stream's tables.

    `changed` is called, from any thread, with each table's new state once it is in the target; `progress`
    whenever something was committed.
    """

    def __init__(
        self,
        stores: Stores,
        claim: Claim,
        source_id: str,
        options: Options,
        observer: Observer,
        changed: Callable[[TableState], None],
        progress: Callable[[], None],
        throttle: Throttle,
    ) -> None:
        self._stores, self._claim, self._source_id = stores, claim, source_id
        self._options, self._observer = options, observer
        self._changed, self._progress, self._throttle = changed, progress, throttle
        assert claim.position is not None
        self._since = claim.position
        self._tasks: deque[_Task] = deque()
        self._left: dict[TableName, int] = {}
        self._lock = threading.Lock()

    def run(self, states: Iterable[TableState], source: Source, target: Target) -> None:
        """Copy all spans of these tables that the ledger does not have; each table ends `catching up`."""
        for state in states:
            self._plan(state, source, target)
        failpoints.hit("copy.planned")
        workers = min(self._options.workers, target.capabilities.writers, len(self._tasks))
        if not workers:
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
            running = [pool.submit(self._work) for _ in range(workers)]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
            finally:
                with self._lock:
                    self._tasks.clear()
        for future in done:
            future.result()
        self._stores.check()

    def _plan(self, state: TableState, source: Source, target: Target) -> None:
        """Make the target's table and the ledger, or find what is left of them."""
        schema = state.schema
        records = target.spans(self._claim, schema.table)
        if not records:
            target.prepare(schema, aside=state.aside)
            spans = source.split(schema, self._options.piece_rows)
            with target.begin_copy(self._claim, self._mark(target, state)) as apply:
                apply.plan_spans(state, spans)
                apply.commit()
            tasks = [_Task(state, number, span) for number, span in enumerate(spans)]
        else:
            tasks = [
                _Task(state, number, record.span)
                for number, record in enumerate(records)
                if record.rows is None
            ]
            done = sum(record.rows or 0 for record in records)
            if done:
                self._observer.resumed(schema.table, done)
        self._left[schema.table] = len(tasks)
        self._tasks.extend(tasks)
        if not tasks:
            self._complete(state, source, target)

    def _work(self) -> None:
        source, target = self._stores.source(), self._stores.target()
        try:
            while task := self._next():
                self._stores.check()
                self._copy(task, source, target)
                with self._lock:
                    self._left[task.state.schema.table] -= 1
                    last = self._left[task.state.schema.table] == 0
                if last:
                    self._complete(task.state, source, target)
        finally:
            self._stores.release(source)
            self._stores.release(target)

    def _next(self) -> _Task | None:
        with self._lock:
            return self._tasks.popleft() if self._tasks else None

    def _copy(self, task: _Task, source: Source, target: Target) -> None:
        spoken = target.capabilities.formats
        format = next(format for format in source.capabilities.formats if format in spoken)
        self._observer.copied(task.state.schema.table, 0, 0)
        try:
            rows, nbytes = self._transfer(task, source, target, format, load)
        except Unfit:
            # Once more, row by row where need be: those that do not fit are parked.
            rows, nbytes = self._transfer(task, source, target, ARROW, parking.write)
        failpoints.hit("copy.after_commit")
        self._progress()
        self._observer.copied(task.state.schema.table, rows, nbytes)

    def _transfer(
        self,
        task: _Task,
        source: Source,
        target: Target,
        format: str,
        write: Callable[[Apply, TableState, Rows], tuple[Rows, list[Refusal]]],
    ) -> tuple[int, int]:
        """One transaction: a span's rows, the refused ones' keys, and its entry in the ledger."""
        schema, parked = task.state.schema, parking.Parking([])
        rows, nbytes = 0, 0
        with target.begin_copy(self._claim, self._mark(target, task.state)) as apply:
            # No name holds the reading: one that a refusal ends gives the source's connection back at once.
            for part in self._awaited(
                source.read(schema, task.span, format=format, max_bytes=self._options.piece_bytes), apply
            ):
                _, refused = write(apply, task.state, part) if part.count else (part, [])
                parked.park(apply, schema.table, [*part.refused, *refused], self._since)
                rows += part.count - len(refused)
                nbytes += part.nbytes
            apply.record_span(task.state, task.number, rows)
            failpoints.hit("copy.before_commit")
            apply.commit()
        return rows, nbytes

    def _awaited(self, parts: Iterator[Rows], apply: Apply) -> Iterator[Rows]:
        """What the span has, no sooner than the throttle lets it come."""
        while True:
            with awake(apply):
                part = next(parts, None)
                if part is None:
                    return
                self._stores.wait(self._throttle.spend(part.count, part.nbytes))
            yield part

    def _complete(self, state: TableState, source: Source, target: Target) -> None:
        """Every row is read: whatever anyone has seen until now lies at or before the goal (Race 1)."""
        caught = replace(state, state=State.CATCHING_UP, goal=source.ceiling())
        with target.begin_copy(self._claim, self._mark(target, state)) as apply:
            apply.record([caught])
            apply.commit()
        failpoints.hit("goal.recorded")
        self._progress()
        self._changed(caught)

    def _mark(self, target: Target, state: TableState) -> Mark:
        table = str(target.place(state.schema.table))
        return Mark(self._claim.stream, {table: (self._source_id,)})


def load(apply: Apply, state: TableState, rows: Rows) -> tuple[Rows, list[Refusal]]:
    """Rows straight in: none is missing, and one that is refused refuses all (Unfit)."""
    apply.load(state, rows)
    return rows, []
