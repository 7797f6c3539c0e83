"""Tables that come to a source while its stream is followed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..connector import Notice
from ..errors import Refused
from ..model import Schema, TableName
from .plan import NewTable, discover, make_plan
from .report import Options
from .stream import Stream

LOOK_SECONDS = 5.0


class Arrivals:
    """Looks for tables that the options' globs mean and the stream does not have. `new` are those found; why
    others cannot take part `notice` hears, unless it is `known` already."""

    def __init__(self, options: Options, notice: Notice, known: Mapping[TableName, str]) -> None:
        self._options, self._notice, self._known = options, notice, dict(known)
        self._seen: dict[TableName, Schema] = {}
        self._looked = time.monotonic()
        self.new: list[NewTable] = []

    def look(self, stream: Stream) -> bool:
        """Whether there are any; the catalog is asked every few seconds. A table that cannot take part is
        looked at again when it has changed."""
        now = time.monotonic()
        if self._options.schema == "freeze" or now - self._looked < LOOK_SECONDS:
            return bool(self.new)
        self._looked = now
        found = {schema.table: schema for schema in discover(stream.lookup, stream.target)}
        unseen = found.keys() - stream.states.keys()
        if any(found[table] != self._seen.get(table) for table in unseen):
            self._seen = found
            plan = make_plan(stream.lookup, stream.target, stream.states, self._options, self._refuse)
            for table in unseen & plan.skipped.keys():
                self._tell(table, "; ".join(plan.skipped[table]))
            self.new = [table for table in plan.new if table.schema.table in unseen]
        return bool(self.new)

    def _refuse(self, table: TableName | None, errors: Sequence[Refused]) -> None:
        if table is not None:
            self._tell(table, "; ".join(map(str, errors)))

    def _tell(self, table: TableName, why: str) -> None:
        if self._known.get(table) != why:
            self._known[table] = why
            self._notice(f"leaving out table {table}: {why}")
