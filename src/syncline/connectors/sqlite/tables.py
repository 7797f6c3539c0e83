"""The statements that make tables and indexes at a target."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

from ...model import Column, ForeignKey, Index, Kind, Schema, TableName
from ...model.schema import lowered
from ...model.types import INTEGERS
from .catalog import PREFIX, describe
from .connection import Connection, quote
from .declared import SYSTEM, affinity, declare, holds, spell
from .store import place

_ACTIONS = {"NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"}
_NUMBER = re.compile(r"^\(?\s*'?(-?\d+(?:\.\d+)?)'?\s*\)?(?:::[\w ]+(?:\(\d+(?:,\s*\d+)?\))?)?$")
_STRING = re.compile(r"^('(?:[^']|'')*')(?:::(?:[\w \".]+)(?:\(\d+(?:,\s*\d+)?\))?(?:\[\])?)?$")
_NOW = re.compile(r"^(now\(\)|current_timestamp|localtimestamp)(\(\d\))?$", re.IGNORECASE)
_TEXTUAL = {Kind.TEXT, Kind.ENUM, Kind.JSON, Kind.UUID, Kind.ARRAY, Kind.OPAQUE}
_FLOATS = {Kind.FLOAT32, Kind.FLOAT64}


def aside_name(table: TableName) -> str:
    """The name of a table that is built beside the one it will replace."""
    return f"{PREFIX}new_{place(table).name}"


def create_table(schema: Schema, name: str) -> str:
    """CREATE TABLE with key, NOT NULL, defaults and references. SQLite can declare a reference only here,
    before its parent may exist; that is allowed, and nothing checks it on our connections."""
    alias = _alias(schema)
    lines = [_column_line(schema, column, alias) for column in schema.stored]
    if alias is None:
        lines.append(f"PRIMARY KEY ({', '.join(map(quote, schema.key))})")
    lines += [_reference(foreign) for foreign in schema.foreign_keys if _has_columns(schema, foreign.columns)]
    return f"CREATE TABLE {quote(name)} (\n  " + ",\n  ".join(lines) + "\n)"


def create_indexes(db: Connection, schema: Schema, table: str) -> list[str]:
    """CREATE INDEX for those of the schema that the table has not yet; what cannot be made here is left
    out, and named by `omissions`."""
    present = {(index.columns, index.unique) for index in describe(db, table, count=False).indexes}
    present |= {(schema.key, True)}
    made = {lowered(row[0]) for row in db.rows("SELECT name FROM sqlite_schema")}
    statements = []
    for index in _makeable(schema):
        if index.portable and (index.columns, index.unique) in present:
            continue
        body = _index_body(schema, index)
        if body is None or _has_body(db, table, body):
            continue
        name, number = index.name, 2
        while lowered(name) in made:  # names belong to the file here, and to a table or a schema elsewhere
            name, number = f"{index.name}_{number}", number + 1
        made.add(lowered(name))
        unique = "UNIQUE " if index.unique else ""
        statements.append(f"CREATE {unique}INDEX {quote(name)} ON {quote(table)} {body}")
    return statements


def omissions(schema: Schema) -> Iterator[str]:
    """What is not made with the table, a sentence each."""
    alias = _alias(schema)
    for column in schema.columns:
        if column.generated:
            yield f"column {column.name}, which is generated, is not made"
        elif column.identity and column.name != alias:
            yield f"column {column.name} is not numbered"
        elif column.default and not _default(schema.system, column):
            yield f"the default of column {column.name} ({column.default}) is not made"
    makeable = _makeable(schema)
    for index in schema.indexes:
        if index not in makeable:
            yield f"index {index.name} is not made"
    for foreign in schema.foreign_keys:
        if not _has_columns(schema, foreign.columns):
            yield f"the foreign key to {foreign.parent} is not made"


def _makeable(schema: Schema) -> list[Index]:
    """The indexes that can be made here: each is tried on an empty table in memory, as only SQLite knows
    what a definition of its own needs (a column that is not made, the application's function)."""
    found = []
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute(create_table(schema, "t"))
        for number, index in enumerate(schema.indexes):
            body = _index_body(schema, index)
            if body is None or not _has_columns(schema, index.columns):
                continue
            with suppress(sqlite3.Error):
                scratch.execute(f"CREATE INDEX index_{number} ON t {body}")
                found.append(index)
    return found


def _has_columns(schema: Schema, names: Iterable[str]) -> bool:
    return set(schema.names).issuperset(names)


def refusals(schema: Schema) -> list[str]:
    """A sentence for each column whose type has no exact form in SQLite, or whose name another one has."""
    twins: dict[str, list[str]] = {}
    for name in schema.names:
        twins.setdefault(lowered(name), []).append(name)
    return [
        f"columns {' and '.join(names)} would be one in SQLite, where the case of letters does not count"
        for names in twins.values()
        if len(names) > 1
    ] + [
        f"column {column.name} ({column.type}) has no exact form in SQLite;"
        f" leave the table out with --exclude {schema.table}"
        for column in schema.stored
        if not holds(column.type)
    ]


def mismatch(schema: Schema, found: Schema) -> str:
    """How the table `found` cannot take the rows of `schema`; '' when it can."""
    parts = []
    columns = {column.name.lower(): column for column in found.columns}
    for column in schema.stored:
        other = columns.pop(column.name.lower(), None)
        if not holds(column.type):
            continue  # named by `refusals`
        if other is None:
            parts.append(f"column {column.name} is missing")
        elif other.generated:
            parts.append(f"column {column.name} is generated")
        elif not _fits(column, other):
            wanted = declare(column.type) or "no type"
            parts.append(
                f"column {column.name} is {declare(other.type) or 'undeclared'} and must be {wanted}"
            )
    parts += [
        f"column {column.name} is NOT NULL and not at the source"
        for column in columns.values()
        if not column.nullable and column.default is None and not column.generated and not column.identity
    ]
    keys = [found.key, *(index.columns for index in found.indexes if index.unique and index.portable)]
    if set(schema.key) not in map(set, keys):
        parts.append(f"its key is ({', '.join(found.key)}) and must be ({', '.join(schema.key)})")
    return "; ".join(parts)


def _alias(schema: Schema) -> str | None:
    """The column that becomes INTEGER PRIMARY KEY: a key of one integer that the source numbers too. With
    AUTOINCREMENT, as a number that was given out at the source must never be given out again here."""
    if len(schema.key) != 1:
        return None
    column = schema.key_columns[0]
    narrow = column.type.kind in INTEGERS - {Kind.UINT64}
    return column.name if column.identity and narrow else None


def _column_line(schema: Schema, column: Column, alias: str | None) -> str:
    if column.name == alias:
        return f"{quote(column.name)} INTEGER PRIMARY KEY AUTOINCREMENT"
    declared = declare(column.type)
    if schema.key == (column.name,) and declared.upper() == "INTEGER":
        declared = "BIGINT"  # INTEGER as the only key would number itself
    line = f"{quote(column.name)} {spell(declared)}".rstrip()
    if not column.nullable or column.name in schema.key:
        line += " NOT NULL"
    default = _default(schema.system, column)
    return f"{line} DEFAULT {default}" if default else line


def _default(system: str, column: Column) -> str:
    """The default in SQLite's SQL; '' for none, and for another system's expression that is no literal."""
    text, kind = (column.default or "").strip(), column.type.kind
    if not text or column.identity:
        return ""
    if system == SYSTEM:
        return f"({text})"
    if kind is Kind.BOOL:
        return {"true": "1", "false": "0"}.get(text.lower(), "")
    if kind in (INTEGERS - {Kind.UINT64}) | _FLOATS and (match := _NUMBER.match(text)):
        return match[1]
    if kind is Kind.DECIMAL and (match := _NUMBER.match(text)):
        return f"'{match[1]}'"
    if kind in _TEXTUAL and (match := _STRING.match(text)):
        return match[1]
    if kind is Kind.TIMESTAMP and _NOW.match(text):
        return "CURRENT_TIMESTAMP"
    if kind is Kind.TIMESTAMPTZ and _NOW.match(text):
        return "(CURRENT_TIMESTAMP || '+00')"
    return ""


def added_column(schema: Schema, column: Column) -> str:
    """What follows ADD COLUMN. Of a default only a constant may stand there, and without one no NOT NULL."""
    line = f"{quote(column.name)} {spell(declare(column.type))}".rstrip()
    default = _default(schema.system, column)
    if not default or default.startswith("(") or default.upper().startswith("CURRENT"):
        return line
    return line + ("" if column.nullable else " NOT NULL") + f" DEFAULT {default}"


def _reference(foreign: ForeignKey) -> str:
    line = f"FOREIGN KEY ({', '.join(map(quote, foreign.columns))})"
    line += (
        f" REFERENCES {quote(place(foreign.parent).name)} ({', '.join(map(quote, foreign.parent_columns))})"
    )
    for event, action in (("DELETE", foreign.on_delete), ("UPDATE", foreign.on_update)):
        if action.upper() in _ACTIONS - {"NO ACTION"}:
            line += f" ON {event} {action.upper()}"
    return line + (" DEFERRABLE INITIALLY DEFERRED" if foreign.deferrable else "")


def _index_body(schema: Schema, index: Index) -> str | None:
    """What follows ON <table>, None when it cannot be said here."""
    if schema.system == SYSTEM and index.definition:
        at = _body_start(index.definition)
        return index.definition[at:] if at else None
    if not index.portable or not index.columns:
        return None
    return f"({', '.join(map(quote, index.columns))})"


def _body_start(sql: str) -> int:
    """Where the list of terms begins: the first parenthesis that stands in no name."""
    at, closers = 0, {'"': '"', "'": "'", "`": "`", "[": "]"}
    while at < len(sql):
        if sql[at] == "(":
            return at
        if sql[at] in closers:
            at = sql.index(closers[sql[at]], at + 1)
        at += 1
    return 0


def _has_body(db: Connection, table: str, body: str) -> bool:
    sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    return any(text[_body_start(text) :] == body for (text,) in db.rows(sql, (table,)))


def _fits(wanted: Column, found: Column) -> bool:
    """Whether the found column keeps every value of the wanted type as it is."""
    declared, there = declare(wanted.type), declare(found.type)
    if wanted.type.kind is Kind.OPAQUE and wanted.type.system == SYSTEM:
        return affinity(there) == affinity(declared)
    if wanted.type.kind in INTEGERS - {Kind.UINT64}:
        return affinity(there) == "INTEGER"
    if wanted.type.kind in _FLOATS:
        return affinity(there) == "REAL"
    if affinity(declared) == "TEXT" or wanted.type.kind in (
        Kind.DATE,
        Kind.TIME,
        Kind.TIMESTAMP,
        Kind.TIMESTAMPTZ,
    ):
        same = wanted.type.kind is found.type.kind and affinity(there) == affinity(declared)
        return same or affinity(there) == "TEXT"
    return wanted.type.kind is found.type.kind and affinity(there) == affinity(declared)
