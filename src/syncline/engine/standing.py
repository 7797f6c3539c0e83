"""Where a stream stands: its position, the states of its tables, its parked keys.

All of it is in the target and is changed there first, in transactions of the stream's owner (Promises 1, 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..connector import Claim, Source, Target
from ..model import Mark, Position, Schema, Sighting, State, TableName, TableState
from ..model.batch import Path
from .parking import Parking
from .report import Observer, Options


class Standing:
    """A claimed stream between two transactions. `lookup` and `target` belong to the thread that calls the
    methods.

    `suspects` are live tables that may hold other rows than the log told (Race 7), `outgrown` those whose
    copy must begin anew, with the reason: their shape changed between floor and goal (Race 9) or so that the
    target's table cannot follow, they were found different, or somebody asked for it. `left` are tables that
    were dropped at the source and are the stream's no longer.
    """

    def __init__(
        self, lookup: Source, target: Target, claim: Claim, options: Options, observer: Observer
    ) -> None:
        self.lookup, self.target, self.claim = lookup, target, claim
        self.states = dict(claim.tables)
        self.parking = Parking(target.parked(claim.stream))
        self.suspects: dict[TableName, Sighting] = {}
        self.outgrown: dict[TableName, str] = {}
        self.left: list[Schema] = []
        self._options, self._observer = options, observer
        self._source, self._sink = lookup.identity(), target.identity()

    @property
    def position(self) -> Position:
        """Up to where the source's log is in the target."""
        assert self.claim.position is not None
        return self.claim.position

    @property
    def has_live(self) -> bool:
        """Whether any table is live, so that the stream must not wait for others to be copied."""
        return any(state.state is State.LIVE for state in self.states.values())

    def is_live(self, table: TableName) -> bool:
        """Whether a table is live."""
        state = self.states.get(table)
        return state is not None and state.state is State.LIVE

    def is_active(self, table: TableName) -> bool:
        """Whether the changes of a table are applied."""
        state = self.states.get(table)
        return state is not None and state.state in (State.CATCHING_UP, State.LIVE)

    def active(self) -> list[TableState]:
        """The tables whose changes are applied."""
        return [state for table, state in self.states.items() if self.is_active(table)]

    def reached(self, position: Position | None) -> bool:
        """Whether the target holds everything up to there."""
        return position is not None and self.lookup.compare(self.position, position) >= 0

    def enter(self, states: Sequence[TableState], floor: Position, *, first: bool) -> None:
        """Take tables in: their states and, where the log begins with them, the `first` position before the
        first row, in one transaction."""
        if first:  # attaching may just have given the log its incarnation
            self._source = self.lookup.identity()
        with self.target.begin(self.claim, self.mark({})) as apply:
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
            self.set_state(state)
            if state.state is State.COPYING:
                self.target.prepare(state.schema, aside=state.aside)

    def settle(self, states: Sequence[TableState], answered: Sequence[TableName] = ()) -> None:
        """Record states, and what is answered of what was asked for, without moving the position."""
        with self.target.begin_copy(self.claim, self.mark({})) as apply:
            apply.record(states)
            apply.answer(answered)
            apply.commit()
        for state in states:
            self.set_state(state)

    def recognise(self, sightings: Sequence[Sighting]) -> None:
        """Keep the fingerprints of tables that hold what their sources do, with their states (Promise 1)."""
        known = [(self.states[seen.table], seen.fingerprint) for seen in sightings]
        states = [replace(state, schema=replace(state.schema, fingerprint=text)) for state, text in known]
        if states:
            with self.target.begin_copy(self.claim, self.mark({})) as apply:
                apply.record(states)
                apply.commit()
            self.states |= {state.schema.table: state for state in states}
        # The catalog may have been looked at again while a table was compared.
        self.suspects = {table: seen for table, seen in self.suspects.items() if seen not in sightings}

    def join(self, side: Standing) -> None:
        """Take over the tables of a side stream that stands at the same position."""
        states = list(side.states.values())
        self.outgrown |= side.outgrown
        self.left += side.left
        self.target.join(side.claim, self.claim, states)
        self.states |= {state.schema.table: state for state in states}
        self.parking.load(self.target.parked(self.claim.stream))

    def fail(self, reasons: Mapping[TableName, str]) -> None:
        """Stop tables that were live, by name."""
        if reasons:
            self.settle([self.as_failed(table, why) for table, why in reasons.items()])

    def as_failed(self, table: TableName, why: str) -> TableState:
        """The state of a table that stops by name."""
        detail = f"{why}; copy it anew with {self.remedy(self.states[table])}"
        return replace(self.states[table], state=State.FAILED, detail=detail)

    def remedy(self, state: TableState) -> str:
        """The command that copies a table anew."""
        return self._options.remedy(state.schema.source_table)

    def set_state(self, state: TableState) -> None:
        """Keep what the target has been told of a table."""
        self.states[state.schema.table] = state
        self._observer.state(state.schema.table, state.state, state.detail)

    def mark(self, paths: dict[TableName, Path]) -> Mark:
        """The mark of a transaction; a table that it may come to write later has the path of the others."""
        rest = next(iter(paths.values()), (self._source.id,))
        tables = {str(self.target.place(table)): paths.get(table, rest) for table in self.states}
        return Mark(self.claim.stream, tables)
