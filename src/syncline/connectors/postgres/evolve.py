"""What became of a table's columns between the shape that a stream knows and the one that the log tells.

The log tells names, types and the replica identity of a place in it; the catalog tells what is true now,
which may be further on. What joins the two are the columns' numbers, which are never given twice: a place in
the log tells its columns in the order of their numbers, first those that the stream knows, then those added
since. Where that leaves one explanation only, it is the shape of that place, whatever happened later; where
it leaves several (a column was dropped and another added: perhaps it was renamed first), there is none.

The new shape keeps of the old fingerprint what the log has not told: a column that was rewritten, by ALTER
TYPE … USING say, is still found by the next look (Race 7). PostgreSQL documentation, "pg_attribute".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pyarrow as pa
from psycopg.rows import class_row

from ...model import Column, Rows, Schema, SchemaChange, Type
from . import catalog, fingerprint
from .codec import column_from_text
from .connection import Connection
from .types import SYSTEM, canonical, wanted

# Every number that was ever given, with what is true of it now.
_ATTRIBUTES = """
SELECT attnum::int AS number, attname::text AS name, attisdropped AS dropped, attgenerated <> '' AS generated,
       atttypid::bigint AS type, atttypmod AS modifier
FROM pg_attribute WHERE attrelid = %s AND attnum > 0 ORDER BY attnum
"""

# The cells that rows have which were there when a column came, of the table or of each of its partitions.
_MISSING = """
WITH RECURSIVE tree AS (
    SELECT %(relation)s::oid AS part
    UNION ALL
    SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.part
    JOIN pg_class root ON root.oid = %(relation)s::oid AND root.relkind = 'p'
)
SELECT DISTINCT a.atthasmissing, a.attmissingval::text
FROM tree JOIN pg_class c ON c.oid = tree.part AND c.relkind = 'r'
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(name)s
"""


@dataclass(frozen=True, slots=True)
class Told:
    """A column as the log or the catalog tells it."""

    name: str
    type: int
    modifier: int


@dataclass(frozen=True, slots=True)
class _Attribute:
    number: int
    name: str
    dropped: bool
    generated: bool
    type: int
    modifier: int

    @property
    def told(self) -> Told:
        return Told(self.name, self.type, self.modifier)


class _Unknown(Exception):
    """There is no explanation, or more than one."""


def explain(
    connection: Connection, schema: Schema, relation: int, told: Sequence[Told] | None = None
) -> SchemaChange | None:
    """How the columns that are told (None: those of now) came from the schema's; None when they are the same.
    In a transaction whose search path is pg_catalog, so that names of types come out as the schema's did."""
    now = _attributes(connection, relation)
    if told is None:
        told = [attribute.told for attribute in now if not attribute.dropped and not attribute.generated]
    formatted = _formatted(connection, told)
    known = [(column.name, wanted(column.type, SYSTEM)) for column in schema.stored]
    if [(column.name, name) for column, name in zip(told, formatted, strict=True)] == known:
        return None
    try:
        return _Explanation(connection, schema, relation, now).of(told, formatted)
    except _Unknown:
        return SchemaChange(schema.table, _described(schema, told, formatted))


def _attributes(connection: Connection, relation: int) -> list[_Attribute]:
    with connection.cursor(row_factory=class_row(_Attribute)) as cursor:
        return cursor.execute(_ATTRIBUTES, [relation]).fetchall()


def _formatted(connection: Connection, told: Sequence[Told]) -> list[str]:
    query = "SELECT format_type(oid, modifier) FROM unnest(%s::oid[], %s::int[]) AS t (oid, modifier)"
    values = [column.type for column in told], [column.modifier for column in told]
    return [name for (name,) in connection.execute(query, values)]


def _described(schema: Schema, told: Sequence[Told], formatted: Sequence[str]) -> str:
    """The difference by names alone."""
    types = {column.name: name for column, name in zip(told, formatted, strict=True)}
    parts = [f"column {name} was added" for name in types if name not in schema.names]
    parts += [f"column {name} was dropped" for name in schema.names if name not in types]
    parts += [
        f"the type of column {column.name} changed to {types[column.name]}"
        for column in schema.stored
        if column.name in types and types[column.name] != wanted(column.type, SYSTEM)
    ]
    return " and ".join(parts) or "its columns changed places"


class _Explanation:
    """The one way from a schema to the columns told."""

    def __init__(
        self, connection: Connection, schema: Schema, relation: int, now: Sequence[_Attribute]
    ) -> None:
        self._connection, self._schema, self._relation = connection, schema, relation
        before = orjson.loads(schema.fingerprint or "{}")
        if before.get("table") != relation or "last" not in before:
            raise _Unknown
        self._before: Mapping[str, Any] = before
        self._now = {attribute.number: attribute for attribute in now}
        numbers = {name: before["columns"][name][0] for name in schema.names}
        self._old = sorted(schema.stored, key=lambda column: numbers[column.name])
        self._numbers = [numbers[column.name] for column in self._old]

    def of(self, told: Sequence[Told], formatted: Sequence[str]) -> SchemaChange:
        """The change; _Unknown where it is not the only one that can be."""
        numbers = self._numbered(len(told))
        kept = [number for number in numbers if number in self._numbers]
        renamed, columns = {}, []
        for number, column, name in zip(numbers, told, formatted, strict=True):
            if number in kept:
                old = self._old[self._numbers.index(number)]
                if old.name != column.name:
                    renamed[old.name] = column.name
                type = old.type if wanted(old.type, SYSTEM) == name else self._type(column, name)
                columns.append(replace(old, name=column.name, type=type))
            elif self._now[number].told != column:
                raise _Unknown  # it was changed again: what it was at first is not to be had
        fill: dict[str, pa.Array] = {}
        for number in numbers[len(kept) :]:
            made = self._added(number)
            fill[made.name] = self._cell(made)
            columns.append(
                replace(made, nullable=made.nullable or fill[made.name].null_count == 1, identity=False)
            )
        dropped = [
            column.name for column, number in zip(self._old, self._numbers, strict=True) if number not in kept
        ]
        return SchemaChange(
            self._schema.table,
            " and ".join(self._sentences(columns, dropped, renamed, list(fill))),
            schema=self._evolved(columns, dropped, renamed, numbers),
            renamed=renamed,
            fill=Rows.of(list(fill), list(fill.values())) if fill else None,
            lasting=bool({*dropped} & {*self._schema.key}),
        )

    def _numbered(self, count: int) -> list[int]:
        """The numbers of the columns told: known ones, without those dropped meanwhile or with them, then the
        first of the later ones. Only the numbers of columns that are generated are not told."""
        live = {number for number, a in self._now.items() if not a.dropped and not a.generated}
        since = [number for number, a in self._now.items() if number > self._before["last"]]
        added = [number for number in since if not self._now[number].generated]
        gone = [number for number in self._numbers if number not in live]
        ways = [
            (dropped, count - len(self._numbers) + dropped)
            for dropped in range(len(gone) + 1)
            if 0 <= count - len(self._numbers) + dropped <= len(added)
        ]
        if len(ways) != 1 or ways[0][0] not in (0, len(gone)):
            raise _Unknown
        dropped, more = ways[0]
        if more and not live.issuperset(added):
            raise _Unknown
        kept = [number for number in self._numbers if not dropped or number not in gone]
        return kept + added[:more]

    def _type(self, column: Told, formatted: str) -> Type:
        types = catalog.types(self._connection, [column.type])
        return canonical(column.type, column.modifier, formatted, types)

    def _added(self, number: int) -> Column:
        made = catalog.columns(self._connection, self._relation).get(number)
        if made is None or made.identity:
            raise _Unknown  # its numbers are in the rows, and nothing tells them
        return made

    def _cell(self, column: Column) -> pa.Array:
        """The cell that rows have which were there before the column. The catalog keeps it as long as no row
        was rewritten; without one it is NULL, unless they were."""
        parameters = {"relation": self._relation, "name": column.name}
        found = self._connection.execute(_MISSING, parameters).fetchall()
        if len(found) != 1 or (not found[0][0] and not self._unwritten()):
            raise _Unknown
        text = _element(found[0][1]) if found[0][0] else None
        cells = pa.array([None if text is None else text.encode()], pa.binary())
        return column_from_text(cells, column.type)

    def _unwritten(self) -> bool:
        """Whether the files are those of the fingerprint."""
        (now,) = fingerprint.read(self._connection, [self._relation])
        parts = now.parts or {}
        known = {oid: part[1] for oid, part in self._before["parts"].items() if oid in parts}
        return now.storage == self._before["storage"] and all(
            parts[oid][1] == file for oid, file in known.items()
        )

    def _sentences(
        self,
        columns: Sequence[Column],
        dropped: Sequence[str],
        renamed: Mapping[str, str],
        added: Sequence[str],
    ) -> Iterator[str]:
        yield from (f"column {name} was dropped" for name in dropped)
        yield from (f"column {name} was added" for name in added)
        yield from (f"column {old} was renamed to {new}" for old, new in renamed.items())
        types = {renamed.get(column.name, column.name): column.type for column in self._old}
        for column in columns:
            if column.name not in added and column.type != types[column.name]:
                yield f"the type of column {column.name} changed to {wanted(column.type, SYSTEM)}"

    def _evolved(
        self,
        columns: Sequence[Column],
        dropped: Collection[str],
        renamed: Mapping[str, str],
        numbers: Sequence[int],
    ) -> Schema:
        """The schema in its new shape. Indexes over a column that is dropped or renamed exist at the target,
        and change with it there."""
        schema = self._schema
        live = {a.name for a in self._now.values() if a.generated and not a.dropped}
        generated = [column for column in schema.columns if column.generated and column.name in live]
        changed = {*dropped, *renamed}
        foreign = [key for key in schema.foreign_keys if not {*key.columns} & {*dropped}]
        known = {self._numbers[at]: column.name for at, column in enumerate(self._old)}
        prints = {
            # Of a column that came no transaction is known: a rewriting since then is found.
            column.name: self._before["columns"][known[number]] if number in known else [number, 0]
            for column, number in zip(columns, numbers, strict=True)
        }
        members = {**self._before, "columns": prints, "last": max([self._before["last"], *numbers])}
        return replace(
            schema,
            columns=(*columns, *generated),
            key=tuple(renamed.get(name, name) for name in schema.key),
            indexes=tuple(index for index in schema.indexes if not {*index.columns} & changed),
            foreign_keys=tuple(
                replace(key, columns=tuple(renamed.get(name, name) for name in key.columns))
                for key in foreign
            ),
            fingerprint=orjson.dumps(members, option=orjson.OPT_SORT_KEYS).decode(),
        )


def _element(literal: str) -> str:
    """The one element of an array's text; it is never NULL (PostgreSQL documentation, "Arrays")."""
    inner = literal[1:-1]
    if not inner.startswith('"'):
        return inner
    plain, at = [], 1
    while at < len(inner) - 1:
        at += inner[at] == "\\"
        plain.append(inner[at])
        at += 1
    return "".join(plain)
