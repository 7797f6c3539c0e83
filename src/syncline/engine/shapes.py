"""What becomes of a stream's tables whose shape changes at the source.

The log tells a new shape with the first row that comes in it. Of a table to which no row comes the catalog
tells, and what it tells may be ahead of the position: it is kept here until everything that was written in
the old shape is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import failpoints
from ..connector import Apply, Source
from ..errors import Transient
from ..model import Position, Schema, SchemaChange, State, TableName, TableState
from .anew import again, missing
from .report import Observer, Options


@dataclass(frozen=True, slots=True)
class _Seen:
    """A change of a schema that the catalog told, and a ceiling that was taken then: whatever comes after it
    comes in the new shape."""

    change: SchemaChange
    base: Schema
    at: Position


class Shapes:
    """What is done about changes of shape, and those that the catalog has told and the stream has not come
    to."""

    def __init__(self, options: Options, observer: Observer) -> None:
        self._evolves, self._named, self._observer = options.schema == "evolve", options.tables, observer
        self._seen: dict[TableName, _Seen] = {}

    def reshape(self, apply: Apply, state: TableState, change: SchemaChange) -> TableState | None:
        """The state of a table after a change: in its new shape where the target's could be altered, waiting
        to be copied anew where it could not, or is not live yet (Race 9); None when it is to stop by name."""
        follows = self._evolves and not change.lasting
        live = follows and state.state is State.LIVE
        if live and change.schema is not None and apply.alter(state, change):
            failpoints.hit("alter.before_commit")
            if change.schema.stored != state.schema.stored:  # else rules leave nothing of it
                self._observer.notice(f"table {change.table}: {change.description}, at the target too")
            return replace(state, schema=change.schema)
        return again(state) if follows or state.state is State.CATCHING_UP else None

    def leaves(self, schema: Schema) -> bool:
        """Whether a table that is dropped at the source leaves the stream; one that was asked for by its
        exact name stops instead."""
        return self._evolves and str(schema.source_table) not in self._named

    def await_log(self, change: SchemaChange, states: Mapping[TableName, TableState], source: Source) -> bool:
        """Whether a change that the catalog told is kept until the log is past what was before it."""
        state = states[change.table]
        live = self._evolves and not change.lasting and state.state is State.LIVE
        follows = live and change.schema is not None
        if not (self.leaves(state.schema) if change.dropped else follows):
            return False
        known = self._seen.get(change.table)
        # Looking again does not put off what was seen.
        if known is None or known.base != state.schema or known.change.schema != change.schema:
            self._seen[change.table] = _Seen(change, state.schema, source.ceiling())
        return True

    @property
    def ends(self) -> list[Position]:
        """Where the log is past the old shape, of each table."""
        return [seen.at for seen in self._seen.values()]

    def take(
        self, states: dict[TableName, TableState], reached: Callable[[Position], bool]
    ) -> Iterator[SchemaChange]:
        """The changes whose time has come. One that the log has told meanwhile is none any more."""
        for table, seen in list(self._seen.items()):
            state = states.get(table)
            if state is None or not self._waits(seen, state):
                del self._seen[table]
            elif reached(seen.at):
                del self._seen[table]
                yield seen.change

    def _waits(self, seen: _Seen, state: TableState) -> bool:
        if seen.change.dropped:
            return state.state in (State.CATCHING_UP, State.LIVE)
        return state.state is State.LIVE and state.schema == seen.base


def outdated(source: Source, schemas: Sequence[Schema]) -> list[SchemaChange]:
    """What the catalog says of those that have another shape by now than the stream knows, or are gone."""
    found = [seen for seen in source.inspect(schemas) if isinstance(seen, SchemaChange)]
    told = {change.table for change in found}
    return [*found, *missing(source, [schema for schema in schemas if schema.table not in told])]


def refuse_outdated(operation: str, source: Source, schemas: Sequence[Schema]) -> None:
    """Transient when one of these has another shape by now or is gone: the next attempt plans with that."""
    for change in outdated(source, schemas):
        raise Transient(operation, f"table {change.table}", f"{change.description} meanwhile")
