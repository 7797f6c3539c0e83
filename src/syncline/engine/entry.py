"""How tables come into a stream: at its start, or beside it while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from .. import failpoints
from ..connector import Source, Target
from ..errors import NeedsOperator, Refused
from ..model import Position, State, TableName, TableState
from ..verify.digests import digest
from .anew import stop_missing
from .plan import NewTable
from .shapes import refuse_outdated
from .shared import refuse_shared
from .stream import Stream
from .streams import Streams
from .tally import Beside

FOLLOWED = (State.COPYING, State.CATCHING_UP, State.LIVE)


class Entry:
    """Takes tables into the streams of a run. `asked` are those among them that somebody wants copied anew
    and is still to be answered; `done`: some have been taken in, so that something was touched;
    `had`: the source's tables that the streams have.
    """

    def __init__(self, streams: Streams, had: set[TableName]) -> None:
        self._had = had
        self._streams, self._stores = streams, streams.stores
        self._options, self._observer = streams.options, streams.observer
        self.asked: set[TableName] = set()
        self.done = False

    def enter(self, stream: Stream, new: Sequence[NewTable], source: Source) -> None:
        """Attach the stream's tables to the log, wait for a floor, take the new ones in."""
        if not new:
            return
        fresh = stream.claim.position is None
        try:
            begins = source.attach(
                stream.claim.stream, [table.schema for table in new], self._observer.notice
            )
            failpoints.hit("attach.done")
            if begins and any(state.floor for state in stream.states.values() if state.state in FOLLOWED):
                # The log was lost after we looked: those tables need what it held (Promise 7).
                source.check_log(stream.claim.stream, stream.position)
            floor = source.floor(self._observer.notice)
            # A row that came in another shape before the floor is told by nobody (Race 9).
            refuse_outdated("begin", source, [table.schema for table in new])
            states = [self._initial(table, floor, source, stream.target) for table in new]
            stream.enter(states, floor, first=fresh or begins)
            self._had |= {table.schema.source_table for table in new}
            if fresh:  # another pipeline may have begun in the same moment
                tables = [table.schema.table for table in new]
                refuse_shared(stream.claim.stream, source.identity(), stream.target, tables, self._options)
        except (Refused, NeedsOperator):
            if fresh:  # nothing was copied: leave nothing behind
                self._streams.take_away(stream.claim.stream, source, stream.target)
            raise
        self.done = True

    def _initial(self, new: NewTable, floor: Position, source: Source, target: Target) -> TableState:
        """The first state of a table; one that is at the target already is not copied, if it still is."""
        schema = new.schema
        state = TableState(schema, State.COPYING, floor=floor, created=new.made, aside=new.aside)
        if not new.adopted:
            return state
        wanted = digest(source, source, target, schema)
        goal = source.ceiling()
        if digest(target, source, target, schema) != wanted:
            remedy = self._options.remedy(schema.source_table if self._options.pipeline else None)
            raise NeedsOperator(
                "sync",
                f"table {schema.table}",
                f"it was written to while it was compared with the rows that {target.name} holds already",
                f"run again when it is quiet, or use {remedy}",
            )
        return replace(state, state=State.CATCHING_UP, goal=goal)

    def add_beside(self, main: Stream, side: str, new: Sequence[NewTable]) -> None:
        """Add tables to a live stream: they are copied and caught up by a side stream while the main one
        goes on; at a barrier one transaction makes them the main stream's (Races 2, 4)."""
        outcome: list[BaseException | Stream] = []

        def bring_up() -> None:
            try:
                stream = self._open_side(main, side, new)
                stream.copy()
                stream.catch_up(stream.lookup.ceiling())
                outcome.append(stream)
            except BaseException as error:  # carried to the main thread, which raises it
                outcome.append(error)

        work = threading.Thread(target=bring_up, name="side", daemon=True)
        work.start()
        try:
            while work.is_alive():
                main.follow(done=lambda: not work.is_alive())
        except BaseException:
            self._stores.interrupt_until(lambda: not work.is_alive())
            work.join()
            raise
        work.join()
        result = outcome[0]
        if isinstance(result, BaseException):
            raise result
        self._join(main, result)

    def _open_side(self, main: Stream, side: str, new: Sequence[NewTable]) -> Stream:
        source, target = self._stores.source(), self._stores.target()
        claim = self._streams.claim(target, side)
        if claim.position:
            source.check_log(side, claim.position)
        stream = self._streams.open(claim, source, target, Beside(self._observer))
        stop_missing(stream)
        if new:  # the main stream's log tells of the others since before they began
            schemas = [table.schema for table in new]
            source.attach(main.claim.stream, schemas, self._observer.notice)
        self.enter(stream, new, source)
        return stream

    def _join(self, main: Stream, side: Stream) -> None:
        """Both streams stop at one position; there the side stream's tables become the main stream's."""
        barrier = main.lookup.ceiling()
        main.catch_up(barrier)
        side.catch_up(barrier)
        while behind := main.lookup.compare(main.position, side.position):
            # A row that was read again moved one stream's goal past the barrier.
            late, early = (main, side) if behind < 0 else (side, main)
            late.catch_up(early.position)
        failpoints.hit("join.before_commit")
        main.join(side)
        failpoints.hit("join.after_commit")
        if answered := self.asked & set(side.states):
            main.settle([], sorted(answered))
            self.asked -= answered
        self._streams.close(side)
