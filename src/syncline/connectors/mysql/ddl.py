"""The statements that make tables, indexes and foreign keys. Each commits by itself (Race 14)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator

from ...model import Column, ForeignKey, Index, Kind, Schema, TableName
from ...model.types import INTEGERS
from .catalog import PREFIX, Described
from .session import Server
from .store import place
from .text import quote, quoted
from .types import SYSTEM, declare, definition, rooms

NAME_CHARACTERS = 64
"""What an identifier may take."""

PREFIX_CHARACTERS = 191
"""How much of a long text an index that is not unique holds."""

_NUMBER = re.compile(r"^\(?\s*'?(-?\d+(?:\.\d+)?)'?\s*\)?(?:::[\w ]+(?:\(\d+(?:,\s*\d+)?\))?)?$")
_STRING = re.compile(r"^('(?:[^']|'')*')(?:::(?:[\w \".]+)(?:\(\d+(?:,\s*\d+)?\))?)?$")
_NOW = re.compile(r"^(now\(\)|current_timestamp|localtimestamp)(\(\d?\))?$", re.IGNORECASE)
_FLOATS = {Kind.FLOAT32, Kind.FLOAT64}


def aside_name(table: TableName) -> str:
    """The name of a table that is built beside the one it will replace."""
    return _short(f"{PREFIX}new_{place(table).name}")


def replaced_name(table: TableName) -> str:
    """The name that a replaced table has until it is dropped."""
    return _short(f"{PREFIX}old_{place(table).name}")


def _short(name: str) -> str:
    if len(name) <= NAME_CHARACTERS:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    return f"{name[: NAME_CHARACTERS - 13]}_{digest}"


def create_table(schema: Schema, name: str, server: Server, collations: Collection[str]) -> str:
    """The table with its columns, NOT NULL, defaults, numbering and the primary key; without generated
    columns, as no catalog tells their expressions as they were written."""
    room = rooms(schema)
    lines = []
    for column in schema.stored:
        line = f"{quote(column.name)} {_placed(schema, column, room, server, collations)}"
        lines.append(line)
    lines.append(f"PRIMARY KEY ({quoted(schema.key)})")
    return (
        f"CREATE TABLE {quote(name)} (\n  " + ",\n  ".join(lines) + "\n)"
        f" ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE {server.exact}"
    )


def _placed(
    schema: Schema, column: Column, room: dict[str, int], server: Server, collations: Collection[str]
) -> str:
    text = definition(column, schema.system, room.get(column.name, 0), server.exact, collations)
    text, comment, said = text.partition(" COMMENT ")
    required = not column.nullable or column.name in schema.key
    text += " NOT NULL" if required else " NULL"
    default = default_of(schema, column, room.get(column.name, 0))
    if is_numbered(schema, column):
        text += " AUTO_INCREMENT"
    elif default:
        text += f" DEFAULT {default}"
    return text + comment + said


def is_numbered(schema: Schema, column: Column) -> bool:
    """Whether the column can be numbered here: the first of the key, and an integer."""
    return column.identity and column.type.kind in INTEGERS and schema.key[:1] == (column.name,)


def default_of(schema: Schema, column: Column, room: int = 0) -> str:
    """The default in SQL; '' for none, and for an expression that is no literal here."""
    text, kind = (column.default or "").strip(), column.type.kind
    if not text or column.identity or column.generated:
        return ""
    if schema.system == SYSTEM:
        plain = _NOW.match(text) or _NUMBER.match(text) or _STRING.match(text)
        return text if plain and not _is_long(schema, column, room) else f"({text})"
    if kind is Kind.BOOL:
        return {"true": "1", "false": "0", "1": "1", "0": "0"}.get(text.lower(), "")
    if kind in INTEGERS | _FLOATS | {Kind.DECIMAL} and (match := _NUMBER.match(text)):
        return f"('{match[1]}')" if _is_long(schema, column, room) else match[1]
    if kind in (Kind.TEXT, Kind.ENUM, Kind.JSON, Kind.UUID) and (match := _STRING.match(text)):
        written = match[1].replace("\\", "\\\\")
        return f"({written})" if _is_long(schema, column, room) else written
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ) and _NOW.match(text):
        return "CURRENT_TIMESTAMP(6)" if kind is Kind.TIMESTAMP else "(UTC_TIMESTAMP(6))"
    return ""


def _is_long(schema: Schema, column: Column, room: int) -> bool:
    """Whether a default has to be an expression: that of a TEXT or BLOB."""
    return declare(column.type, schema.system, room).endswith(("text", "blob"))


def create_index(index: Index, schema: Schema, described: Described) -> str:
    """What ALTER TABLE adds; '' when it cannot be made here. Of long texts an index that is not unique
    holds the beginning."""
    if not index.portable or not index.columns:
        return ""
    parts = []
    for name in index.columns:
        told = described.declared.get(name)
        if told is None:
            return ""
        long = told.base.endswith(("text", "blob")) or (told.length or 0) > PREFIX_CHARACTERS
        long = long and told.base not in ("decimal", "enum", "set", "bit")
        if told.base.endswith(("text", "blob")) and index.unique:
            return ""
        length = f"({PREFIX_CHARACTERS})" if long and not index.unique else ""
        parts.append(quote(name) + length)
    unique = "UNIQUE " if index.unique else ""
    return f"ADD {unique}INDEX {quote(_short(index.name))} ({', '.join(parts)})"


def add_foreign_key(schema: Schema, foreign: ForeignKey, taken: Collection[str]) -> str:
    """What ALTER TABLE adds. Names are the database's here, and a table's elsewhere."""
    name, number = _short(foreign.name), 2
    while name in taken:
        name, number = _short(f"{foreign.name}_{number}"), number + 1
    actions = "".join(
        f" ON {event} {action.upper()}"
        for event, action in (("DELETE", foreign.on_delete), ("UPDATE", foreign.on_update))
        if action.upper() in ("CASCADE", "SET NULL", "RESTRICT")
    )
    return (
        f"ADD CONSTRAINT {quote(name)} FOREIGN KEY ({quoted(foreign.columns)})"
        f" REFERENCES {quote(place(foreign.parent).name)} ({quoted(foreign.parent_columns)}){actions}"
    )


def omissions(schema: Schema, made: Collection[TableName]) -> Iterator[str]:
    """What is not made with the table, a sentence each; `made` are the tables that are or will be there."""
    room = rooms(schema)
    names = set(schema.names)
    for column in schema.columns:
        if column.generated:
            yield f"column {column.name}, which is generated, is not made"
        elif column.identity and not is_numbered(schema, column):
            yield f"column {column.name} is not numbered"
        elif column.default and not (column.identity or default_of(schema, column, room.get(column.name, 0))):
            yield f"the default of column {column.name} ({column.default}) is not made"
    for index in schema.indexes:
        if not index.portable or not index.columns or not names.issuperset(index.columns):
            yield f"index {index.name} is not made"
    for foreign in schema.foreign_keys:
        if foreign.parent not in made or not names.issuperset(foreign.columns):
            yield f"the foreign key to {foreign.parent} is not made"
