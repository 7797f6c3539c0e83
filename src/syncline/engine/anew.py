"""Tables that a stream copies anew, or has no longer: because somebody asked, or because the log is lost.

Each step is one transaction of the stream's owner, between batches (Race 5), and whoever starts next goes on
from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ..connector import Source, Target
from ..model import Schema, SchemaChange, State, TableName, TableState
from .standing import Standing

ASKED = "somebody asked for it"
WRITTEN = (State.CATCHING_UP, State.LIVE)
DROPPED = "was dropped at the source and is no longer kept equal; its rows stay at the target"
AGAIN = (State.LIVE, State.FAILED, State.GAP)
"""The states in which a table can begin anew; a copy under way is finished first."""


def asked(stream: Standing) -> list[TableName]:
    """The tables of the stream that somebody wants copied anew, and that can begin now."""
    wanted = stream.target.asked_anew(stream.claim.stream)
    return [table for table in wanted if table in stream.states and stream.states[table].state in AGAIN]


def begin_anew(stream: Standing, tables: Iterable[TableName]) -> None:
    """From here on these tables wait for a copy that is built beside them. Whoever starts next finds them
    without a floor, and plans the same: with that, who asked is answered."""
    states = [again(stream.states[table]) for table in tables]
    stream.settle(states, [state.schema.table for state in states])


def decline(stream: Standing, table: TableName, reason: str) -> str:
    """Leave a table as it is though somebody asked for a copy; the sentence that tells why."""
    stream.settle([], [table])
    return f"table {table} is not copied anew: {reason}"


def missing(source: Source, schemas: Sequence[Schema]) -> list[SchemaChange]:
    """Those that the source does not have, under their name."""
    there = {schema.table for schema in source.discover()} if schemas else set()
    why = "the source has no such table any more"
    return [SchemaChange(each.table, why, lasting=True) for each in schemas if each.table not in there]


def lost(target: Target, states: Iterable[TableState]) -> list[TableName]:
    """The tables that are followed and that the target has no more: somebody dropped them there."""
    written = [state.schema.table for state in states if state.state in WRITTEN and not state.aside]
    there = {schema.table for schema in target.discover()} if written else set()
    return [table for table in written if target.place(table) not in there]


def stop_missing(stream: Standing) -> None:
    """Stop the tables that are to be copied and that the source has no more, of which no log tells, and those
    that the target has no more."""
    copying = [state.schema for state in stream.states.values() if state.state is State.COPYING]
    reasons = {change.table: change.description for change in missing(stream.lookup, copying)}
    gone = lost(stream.target, stream.states.values())
    stream.fail(reasons | dict.fromkeys(gone, "the target has no such table any more"))


def lose_log(stream: Standing, reason: str) -> None:
    """The log after the position is gone: what depends on it becomes a Gap, and says so by every run
    (Promise 7). Tables that are to be copied from their start depend on nothing that was."""
    for state in stream.states.values():
        if state.state is State.GAP:
            stream.set_state(state)
    lost = [
        replace(state, state=State.GAP, detail=f"{reason}; copy it anew with {stream.remedy(state)}")
        for state in stream.states.values()
        if state.state is not State.GAP and not _is_waiting(state)
    ]
    stream.settle(lost)


def lose_side(stream: Standing, beside: Iterable[TableState]) -> None:
    """A side stream is to be taken away: the tables that only it has begin anew as the main stream's."""
    stream.settle([again(state) for state in beside if state.schema.table not in stream.states])


def waiting(stream: Standing) -> list[TableName]:
    """The tables that are still to begin, whatever the log holds."""
    return [table for table, state in stream.states.items() if _is_waiting(state)]


def leave(stream: Standing, tables: Collection[TableName]) -> None:
    """These tables are the stream's no longer; their rows stay."""
    stream.target.leave(stream.claim, list(tables))
    stream.parking.load(stream.target.parked(stream.claim.stream))
    for table in tables:
        del stream.states[table]
        stream.suspects.pop(table, None)
        stream.outgrown.pop(table, None)


def again(state: TableState) -> TableState:
    """The state of a table that waits to be copied anew."""
    return replace(state, state=State.COPYING, floor=None, goal=None, aside=True, detail="")


def _is_waiting(state: TableState) -> bool:
    return state.state is State.COPYING and state.floor is None
