"""What a Source and a Target of this process have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from ...connector import Capabilities
from ...errors import Refused, Transient
from ...model import ARROW, CANONICAL, Digest, Identity, Rows, Schema, Span, digest_rows
from .cells import Key, Row, bound_of, key_of, pieces, rows_of, tuples_of
from .database import Database, Table, find


class MemoryStore:
    """A database as one thread sees it."""

    capabilities = Capabilities(writers=4)

    def __init__(self, database_name: str) -> None:
        self._database_name = database_name
        self._waiting = False
        self._interrupted = False

    @property
    def name(self) -> str:
        """The URL; there is no password in it."""
        return f"memory://{self._database_name}"

    @cached_property
    def _database(self) -> Database:
        return find(self._database_name)

    def identity(self) -> Identity:
        """The name is the instance; every database made under it is an incarnation of its own."""
        return self._database.identity

    def discover(self) -> Sequence[Schema]:
        """All tables; those without a key have a problem."""
        with self._database.changed:
            tables = {name: self._database.visible(name) for name in sorted(self._database.tables)}
            return [_described(table) for table in tables.values()]

    def native(self, schema: Schema) -> Schema:
        """The same: a cell is its canonical value here."""
        return schema

    def split(self, schema: Schema, rows: int) -> Sequence[Span]:
        """Spans between every `rows`-th key."""
        with self._database.changed:
            keys = self._table(schema).ordered()
        bounds = [bound_of(schema.key_columns, key) for key in keys[rows::rows]]
        return [Span(*ends) for ends in zip([None, *bounds], [*bounds, None], strict=True)]

    def read(
        self, schema: Schema, span: Span, *, format: str = ARROW, max_bytes: int = 8 << 20
    ) -> Iterator[Rows]:
        """The rows of a span, ordered by key, as they are when the reading begins."""
        if format != ARROW:
            raise Refused("read", f"table {schema.table}", f"memory has no format {format}")
        for piece in pieces(self._span(schema, span), max_bytes):
            yield rows_of(schema.stored, piece)

    def read_keys(self, schema: Schema, keys: Rows) -> Rows:
        """The rows with these keys."""
        with self._database.changed:
            table = self._table(schema)
            wanted = [table.rows.get(key) for key in tuples_of(keys, schema.key)]
            order = _order(table, schema)
        found = [tuple(row[at] for at in order) for row in wanted if row is not None]
        return rows_of(schema.stored, found)

    def digest(self, schema: Schema, span: Span, scheme: str) -> Digest:
        """The digest of a span, of rows read and hashed here."""
        if scheme != CANONICAL:
            raise Refused("compare", f"table {schema.table}", f"memory has no digest {scheme}")
        return digest_rows(schema, self.read(schema, span))

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """The last number given out for each identity column."""
        with self._database.changed:
            numbers = self._database.sequences
            columns = [column.name for column in schema.columns if column.identity]
            return {name: numbers[schema.table, name] for name in columns if (schema.table, name) in numbers}

    def mends(self, statement: str) -> bool:
        """Nothing: there are no statements here."""
        return False

    def mend(self, statement: str) -> None:
        """Refused."""
        raise Refused("mend", self.name, "memory runs no statements")

    def interrupt(self) -> None:
        """End the call that waits, if one does."""
        with self._database.changed:
            if self._waiting:
                self._interrupted = True
                self._database.changed.notify_all()

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _wait(self, until: Callable[[], bool], max_wait: float | None) -> bool:
        """Wait, under the lock, until something is so; False after `max_wait` seconds."""
        self._waiting = True
        try:
            done = self._database.changed.wait_for(lambda: until() or self._interrupted, max_wait)
            if self._interrupted:
                raise Transient("wait for", self.name, "it was interrupted")
            return done
        finally:
            self._waiting = self._interrupted = False

    def _table(self, schema: Schema) -> Table:
        return self._database.visible(schema.table)

    def _span(self, schema: Schema, span: Span) -> list[Row]:
        lower, upper = (bound and key_of(schema.key_columns, bound) for bound in (span.lower, span.upper))

        def within(key: Key) -> bool:
            return (lower is None or lower <= key) and (upper is None or key < upper)

        with self._database.changed:
            table = self._table(schema)
            order = _order(table, schema)
            rows = [table.rows[key] for key in table.ordered() if within(key)]
        return [tuple(row[at] for at in order) for row in rows]


def _order(table: Table, schema: Schema) -> list[int]:
    """Where each of the schema's columns stands in the table's rows."""
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        why = f"it has no column {missing[0]} any more"
        raise Refused("read", f"table {schema.table}", why, "run again to see what has changed")
    return [table.schema.names.index(name) for name in schema.names]


def _described(table: Table) -> Schema:
    problem = "" if table.schema.key else "it has no primary key; add one"
    return replace(table.schema, problem=problem, estimated_rows=len(table.rows))
