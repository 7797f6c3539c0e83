"""What can never be held here, and how an existing table differs from what the rows need."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ...model import Column, Kind, Schema, Type
from ...model.types import INTEGERS
from .catalog import EXACT, Described
from .ddl import NAME_CHARACTERS
from .session import Server
from .store import place
from .types import SYSTEM, Declared, base_of, declare

MARIADB_ONLY = {"uuid", "inet4", "inet6"}
MYSQL_ONLY = {"vector", "geomcollection", "json"}
_TEXTUAL = {Kind.TEXT, Kind.ENUM, Kind.JSON, Kind.UUID, Kind.INTERVAL, Kind.ARRAY, Kind.OPAQUE, Kind.DECIMAL}


def refusals(schema: Schema, server: Server) -> list[str]:
    """Why the table can never be held, a sentence each."""
    found = []
    name = place(schema.table).name
    if len(name) > NAME_CHARACTERS:
        found.append(f"its name {name} is longer than {NAME_CHARACTERS} characters")
    for column in schema.stored:
        base = base_of(declare(column.type, schema.system))
        foreign = MYSQL_ONLY if server.mariadb else MARIADB_ONLY
        if not base or (column.type.system == SYSTEM and base in foreign - {"json"}):
            found.append(
                f"column {column.name} ({column.type}) has no exact form in"
                f" {'MariaDB' if server.mariadb else 'MySQL'};"
                f" leave the table out with --exclude {schema.table}"
            )
        if len(column.name) > NAME_CHARACTERS or column.name != column.name.rstrip():
            found.append(f"column {column.name!r} has a name that no table here can have")
    return found


def mismatch(schema: Schema, there: Described) -> str:
    """How the table differs, all of it; '' when it fits."""
    if "view" in there.schema.problem:
        return "it is a view"
    return "; ".join(_differences(schema, there))


def _differences(schema: Schema, there: Described) -> Iterator[str]:
    if there.engine.upper() not in ("INNODB", ""):
        remedy = f"run ALTER TABLE {place(schema.table).name} ENGINE=InnoDB"
        yield f"its engine is {there.engine}, which has no transactions; {remedy}"
    known = {column.name.lower(): column for column in there.schema.columns}
    for column in schema.stored:
        found = known.pop(column.name.lower(), None)
        if found is None:
            yield f"it has no column {column.name}"
            continue
        told = there.declared[found.name]
        if found.generated:
            yield f"column {column.name} is generated"
        elif not _holds(told, found.type, column.type, schema.system):
            yield f"column {column.name} is {told.spelled}, not {declare(column.type, schema.system)}"
        elif column.name in schema.key and not _tells_apart(told, column.type):
            yield (
                f"column {column.name} of the key has the collation {told.collation},"
                " by which several keys of the source may be one"
            )
        elif column.nullable and not found.nullable:
            yield f"column {column.name} is NOT NULL, and the source's may be NULL"
    for column in known.values():
        if not (column.nullable or column.generated or column.identity or column.default is not None):
            yield f"column {column.name} needs a value, and the source has no such column"
    if not _is_keyed(there, schema.key):
        yield f"it has no primary key or unique index over just ({', '.join(schema.key)})"


def _is_keyed(there: Described, key: Collection[str]) -> bool:
    lists = [there.schema.key, *(index.columns for index in there.uniques if index.portable)]
    return any(set(names) == set(key) for names in lists)


def _tells_apart(told: Declared, needed: Type) -> bool:
    """Whether two keys of the source are two here as well."""
    if not told.charset or told.collation in EXACT or needed.kind is Kind.UUID:
        return True
    own = re.search(r" COLLATE (\w+)$", needed.name) if needed.system == SYSTEM else None
    return own is not None and own[1] == told.collation


def _holds(told: Declared, have: Type, need: Type, system: str) -> bool:
    """Whether every value of a column comes back as it was, or is refused loudly."""
    if need.system == SYSTEM and declare(need, system) == told.column:
        return True
    if told.base in ("enum", "set", "bit", "binary"):
        return (
            have.kind is Kind.ENUM is need.kind and set(need.labels) <= set(have.labels) and system == SYSTEM
        )
    if need.kind is Kind.UUID and have.kind is Kind.TEXT:
        return told.length is None or told.length >= 36
    wide = have.kind is Kind.TEXT and told.base not in ("char", "set")
    if need.kind in INTEGERS or need.kind is Kind.BOOL:
        return have.kind in INTEGERS | {Kind.BOOL} and told.base != "year"
    if need.kind in (Kind.FLOAT32, Kind.FLOAT64):
        return have.kind in (need.kind, Kind.FLOAT64)
    if need.kind in (Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        same = have.kind is need.kind or {have.kind, need.kind} == {Kind.TIMESTAMP, Kind.TIMESTAMPTZ}
        return same and told.digits >= _digits(need)
    if need.kind is Kind.DECIMAL and told.base == "decimal":
        wanted = declare(need, system)
        return wanted.startswith("decimal") and have.scale == (need.scale or 0)
    if need.kind in _TEXTUAL:
        return (have.kind is need.kind and told.base != "json" and told.base != "decimal") or wide
    return have.kind is need.kind


def _digits(type: Type) -> int:
    if type.system != SYSTEM or not type.name:
        return 6
    found = re.search(r"\((\d)\)", type.name)
    return int(found[1]) if found else 0


def narrower(schema: Schema, there: Described) -> Iterator[str]:
    """The columns of a table that fits whose rows may yet be parked, a sentence each."""
    known = {column.name.lower(): column for column in there.schema.columns}
    for column in schema.stored:
        told = there.declared[known[column.name.lower()].name]
        need = declare(column.type, schema.system)
        if told.base in ("varchar", "varbinary", "text", "tinytext", "blob") and _shorter(told, column):
            yield f"column {column.name} is {told.column} there and {need} here: longer values are parked"
        elif column.type.kind is Kind.TIMESTAMPTZ and told.base == "timestamp":
            yield f"column {column.name} is a timestamp there: moments before 1970 or after 2038 are parked"


def _shorter(told: Declared, column: Column) -> bool:
    if told.comment.startswith("syncline:"):
        return False
    length = {"tinytext": 255, "text": 65_535, "blob": 65_535}.get(told.base, told.length or 0)
    return column.type.length is None or column.type.length > length
