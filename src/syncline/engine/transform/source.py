"""A source seen through rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ...connector import Capabilities, Notice, Source
from ...errors import Refused
from ...model import (
    ARROW,
    CANONICAL,
    Batch,
    Changes,
    Digest,
    Identity,
    Lag,
    Position,
    Problem,
    Rows,
    Schema,
    SchemaChange,
    Segment,
    Sighting,
    Span,
    TableName,
    Truncate,
    Writer,
    digest_rows,
)
from .rules import Rules, is_glob, rules_of
from .schema import Names
from .shape import Shape


class TransformedSource:
    """A Source whose schemas, rows and changes are another's under rules by table name or glob.

    A table without rules passes through untouched, wire formats and the server's digests included. One with
    rules is read in the format `arrow` whatever was asked for, and hashed here. What its source's own table
    was like when the stream took it in comes with its schema (`Schema.transformed`), so that a log is always
    read by the shape it was written in, never by today's catalog.

    `had` are the source's tables that the stream has: of these one may be gone, or lack what rules name, and
    stops by name when that is told.
    """

    def __init__(
        self, source: Source, rules: Mapping[str, Rules], had: Collection[TableName] = frozenset()
    ) -> None:
        self._source, self._rules, self._had = source, dict(rules), had
        self._shapes: dict[Schema, Shape] = {}
        self._names = Names(self._rules_of)

    # What the rules do not touch.

    @property
    def name(self) -> str:
        """The source's."""
        return self._source.name

    @property
    def capabilities(self) -> Capabilities:
        """The source's."""
        return self._source.capabilities

    def identity(self) -> Identity:
        """The source's."""
        return self._source.identity()

    def interrupt(self) -> None:
        """From any thread: ends what runs."""
        self._source.interrupt()

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def detach(self, stream: str) -> None:
        """As of the source."""
        self._source.detach(stream)

    def narrow(self, stream: str, tables: Sequence[Schema]) -> None:
        """Narrow the source's tables."""
        self._source.narrow(stream, [_origin(schema) for schema in tables])

    def attached(self, stream: str) -> bool:
        """As of the source."""
        return self._source.attached(stream)

    def check_log(self, stream: str, after: Position) -> None:
        """As of the source."""
        self._source.check_log(stream, after)

    def floor(self, notice: Notice) -> Position:
        """The source's."""
        return self._source.floor(notice)

    def ceiling(self) -> Position:
        """The source's."""
        return self._source.ceiling()

    def inspect(self, tables: Sequence[Schema]) -> Sequence[SchemaChange | Sighting]:
        """What the source's catalog says of its tables, by the names and shapes that they have here."""
        known = {_origin(schema).table: schema for schema in tables}
        seen = self._source.inspect([_origin(schema) for schema in tables])
        return [
            self._reshaped(each, known[each.table])
            if isinstance(each, SchemaChange)
            else replace(each, table=known[each.table].table)
            for each in seen
        ]

    def check(
        self, stream: str, tables: Sequence[Schema], *, begun: bool, deep: bool = False
    ) -> Sequence[Problem]:
        """Check the source's tables."""
        origins = [_origin(schema) for schema in tables]
        return self._source.check(stream, origins, begun=begun, deep=deep)

    def size(self, tables: Sequence[Schema]) -> int | None:
        """As of the source's tables: more than what rules leave of them."""
        return self._source.size([_origin(schema) for schema in tables])

    def writers(self, seconds: float) -> Sequence[Writer]:
        """As of the source."""
        return self._source.writers(seconds)

    def mends(self, statement: str) -> bool:
        """As of the source."""
        return self._source.mends(statement)

    def mend(self, statement: str) -> None:
        """Run it at the source."""
        self._source.mend(statement)

    def compare(self, a: Position, b: Position) -> int:
        """As the source compares."""
        return self._source.compare(a, b)

    def release(self, stream: str, upto: Position) -> None:
        """As of the source."""
        self._source.release(stream, upto)

    def canary(self, stream: str, number: int) -> bool:
        """The source's."""
        return self._source.canary(stream, number)

    def lag(self, stream: str, at: Position) -> Lag:
        """The source's."""
        return self._source.lag(stream, at)

    # What they do.

    def discover(self) -> Sequence[Schema]:
        """The source's tables in their new shapes. Refused, with the nearest name, for rules that no table
        or column is meant by, and for those that a table cannot follow."""
        found = list(self._source.discover())
        self._refuse_unknown(found)
        return [self._transformed(schema) for schema in found]

    def native(self, schema: Schema) -> Schema:
        """The schema for a stream between two stores of this system. Of a table with rules the columns keep
        their canonical type that a rule looks at."""
        if schema.transformed is None:
            return self._source.native(schema)
        origin = schema.transformed.origin
        free = self._shape(schema).untouched()
        own = {column.name: column for column in self._source.native(origin).columns}
        columns = tuple(own[column.name] if column.name in free else column for column in origin.columns)
        return self._shaped(replace(origin, columns=columns)).schema

    def split(self, schema: Schema, rows: int) -> Sequence[Span]:
        """Spans of the source's table."""
        return self._source.split(_origin(schema), rows)

    def read(
        self, schema: Schema, span: Span, *, format: str = ARROW, max_bytes: int = 8 << 20
    ) -> Iterator[Rows]:
        """The rows that pass, in their new shape."""
        if schema.transformed is None:
            yield from self._source.read(schema, span, format=format, max_bytes=max_bytes)
            return
        shape = self._shape(schema)
        for rows in self._source.read(shape.reading, span, max_bytes=max_bytes):
            yield shape.rows(rows)

    def read_keys(self, schema: Schema, keys: Rows) -> Rows:
        """The rows with these keys that pass."""
        if schema.transformed is None:
            return self._source.read_keys(schema, keys)
        shape = self._shape(schema)
        return shape.rows(self._source.read_keys(shape.reading, shape.keys(keys)))

    def digest(self, schema: Schema, span: Span, scheme: str) -> Digest:
        """By the source for a table without rules; else of rows read through them and hashed here."""
        if schema.transformed is None:
            return self._source.digest(schema, span, scheme)
        if scheme != CANONICAL:
            raise Refused(
                "compare", f"table {schema.table}", f"its rules leave no other digest than {CANONICAL}"
            )
        return digest_rows(schema.compared, self.read(schema, span))

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """The numbers of the columns that still are numbers, under their new names."""
        if schema.transformed is None:
            return self._source.sequences(schema)
        numbers = self._source.sequences(schema.transformed.origin)
        return {new: numbers[old] for old, new in self._shape(schema).numbered().items() if old in numbers}

    def attach(self, stream: str, tables: Sequence[Schema], notice: Notice) -> bool:
        """Attach the source's tables."""
        return self._source.attach(stream, [_origin(schema) for schema in tables], notice)

    def changes(
        self,
        stream: str,
        tables: Sequence[Schema],
        after: Position,
        *,
        skip: str,
        max_bytes: int,
        max_wait: float,
        until: Position | None = None,
    ) -> Iterator[Batch]:
        """The source's batches, with the segments of tables with rules in their new shape."""
        by_origin = {_origin(schema).table: schema for schema in tables}
        batches = self._source.changes(
            stream,
            [_origin(schema) for schema in tables],
            after,
            skip=skip,
            max_bytes=max_bytes,
            max_wait=max_wait,
            until=until,
        )
        for batch in batches:
            segments = [self._segment(segment, by_origin) for segment in batch.segments]
            yield replace(batch, segments=tuple(segment for segment in segments if segment is not None))

    def _reshaped(self, change: SchemaChange, schema: Schema) -> SchemaChange:
        """A change of the source's table as the rules let it through. One that takes away what they name is
        lasting; of one whose added cells they change only a copy tells what comes of it."""
        change = replace(change, table=schema.table)
        if schema.transformed is None or change.schema is None:
            return change
        rules, old = self._rules_of(change.schema.table), schema.transformed.origin
        if lost := sorted(rules.named.keys() & (set(old.names) - set(change.schema.names))):
            why = f"{change.description}, and its rules name column {', '.join(lost)}"
            return SchemaChange(schema.table, why, lasting=True)
        try:
            shape = self._shaped(change.schema)
        except Refused as error:
            return SchemaChange(schema.table, f"{change.description}, and {error.reason}", lasting=True)
        made = replace(shape.schema, fingerprint=change.schema.fingerprint)
        free = shape.untouched() & set(made.names)
        added = [name for name in (change.fill.columns if change.fill else ()) if name in made.names]
        if not free.issuperset(added) or shape.is_opaque:
            return replace(change, schema=None)
        renamed = {a: b for a, b in change.renamed.items() if a in schema.names and b in made.names}
        fill = change.fill.select(added) if change.fill and added else None
        return replace(change, schema=made, renamed=renamed, fill=fill)

    def _segment(self, segment: Segment, by_origin: dict[TableName, Schema]) -> Segment | None:
        if isinstance(segment, Truncate):
            return replace(segment, tables=tuple(by_origin[table].table for table in segment.tables))
        schema = by_origin[segment.table]
        if isinstance(segment, SchemaChange):
            change = self._reshaped(segment, schema)
            by_origin[segment.table] = change.schema or schema
            return change
        if schema.transformed is None:
            return segment
        made: Changes = self._shape(schema).changes(segment)
        return made if made.count or made.after.refused else None

    def _rules_of(self, table: TableName) -> Rules:
        return rules_of(self._rules, str(table))

    def _transformed(self, schema: Schema) -> Schema:
        if schema.problem:
            return schema
        if self._rules_of(schema.table) == Rules():
            # Its parents may have another name, or may miss rows.
            return replace(schema, foreign_keys=tuple(self._names.foreign_keys(schema)))
        if schema.table not in self._had:
            return self._shaped(schema).schema
        named = self._rules.get(str(schema.table), Rules()).named
        if lost := sorted(named.keys() - set(schema.names)):
            return replace(schema, problem=f"its rules name column {', '.join(lost)}, which it has no more")
        try:
            return self._shaped(schema).schema
        except Refused as error:
            return replace(schema, problem=error.reason)

    def _shaped(self, origin: Schema) -> Shape:
        """The shape of a source's table under the rules of this run."""
        if origin not in self._shapes:
            self._shapes[origin] = Shape(origin, self._rules_of(origin.table), self._names)
        return self._shapes[origin]

    def _shape(self, schema: Schema) -> Shape:
        """The shape that a stream's table was given; Refused when the rules are others by now."""
        assert schema.transformed is not None
        shape = self._shaped(schema.transformed.origin)
        made = shape.schema.transformed
        if made is None or made.rules != schema.transformed.rules:
            raise Refused(
                "read",
                f"table {schema.source_table}",
                "its rules are not those that its rows at the target were made by",
                "give the rules as they were, or use --replace",
            )
        return shape

    def _refuse_unknown(self, found: Sequence[Schema]) -> None:
        for pattern, rules in self._rules.items():
            meant = [schema for schema in found if _means(pattern, schema.table)]
            had = any(_means(pattern, table) for table in self._had)
            if had and not (meant and is_glob(pattern)):
                continue
            if not meant:
                names = [str(schema.table) for schema in found]
                near = get_close_matches(pattern, names, 1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names[:8]) or 'no tables'}"
                raise Refused("transform", f"table {pattern}", f"{self.name} has no such table", hint)
            _refuse_unknown_columns(pattern, rules, meant)


def _means(pattern: str, table: TableName) -> bool:
    return fnmatchcase(str(table), pattern) or str(table) == pattern


def _refuse_unknown_columns(pattern: str, rules: Rules, meant: Sequence[Schema]) -> None:
    """A column that rules name must be there; in one of its tables at least where a glob names them."""
    known = sorted({name for schema in meant for name in schema.names})
    for name in rules.named:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:8])}"
            subject = f"tables {pattern}" if is_glob(pattern) else f"table {pattern}"
            raise Refused("transform", subject, f"there is no column {name}", hint)


def _origin(schema: Schema) -> Schema:
    """The source's own schema of a table, with what is known by now of what its log does not tell."""
    if schema.transformed is None:
        return schema
    return replace(schema.transformed.origin, fingerprint=schema.fingerprint)
