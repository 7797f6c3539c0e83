"""Tables, keys, indexes and references as the file declares them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...model import Column, ForeignKey, Index, Kind, Schema, TableName
from .connection import Connection, quote
from .declared import SYSTEM, canonical

PREFIX = "_syncline_"
"""What every object that Syncline makes for itself is named with."""

_COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
_OPENERS = {"'": "'", '"': '"', "`": "`", "[": "]"}


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index as conditions are written with it: `terms` are quoted columns or expressions,
    `collations` theirs, `columns` the plain columns or None for an expression, `where` the predicate of a
    partial index or ''. `primary`: it is the primary key's."""

    terms: tuple[str, ...]
    collations: tuple[str, ...]
    columns: tuple[str | None, ...]
    where: str
    primary: bool


def discover(db: Connection) -> list[Schema]:
    """Every table and view of the file but SQLite's own and Syncline's, in the order of names."""
    listed = db.rows(
        "SELECT name, type, coalesce(sql, '') FROM sqlite_schema WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    shadows = {str(row[1]) for row in db.rows("PRAGMA table_list") if row[2] == "shadow"}
    schemas = []
    for name, kind, sql in listed:
        if name.startswith(PREFIX) or name in shadows:
            continue
        if kind == "view":
            schemas.append(Schema(TableName(name), (), (), SYSTEM, problem="it is a view; sync its tables"))
        elif sql[:14].upper() == "CREATE VIRTUAL":
            problem = "it is a virtual table, whose changes no trigger tells"
            schemas.append(Schema(TableName(name), (), (), SYSTEM, problem=problem))
        else:
            schemas.append(describe(db, name))
    return schemas


def describe(db: Connection, name: str, *, count: bool = True) -> Schema:
    """The schema of one ordinary table; `count` its rows as well."""
    info = db.rows(f"PRAGMA table_xinfo({quote(name)})")
    primary = tuple(row[1] for row in sorted(info, key=lambda row: int(row[5])) if row[5])
    uniques = unique_indexes(db, name)
    alias = rowid_alias(db, name)
    key = primary or _other_key(uniques, {row[1] for row in info if row[3]})
    columns = tuple(
        Column(
            name=row[1],
            type=canonical(row[2] or ""),
            nullable=not row[3] and row[1] not in key,
            default=row[4],
            generated=row[6] in (2, 3),
            identity=row[1] == alias,
        )
        for row in info
        if row[6] != 1
    )
    schema = Schema(
        table=TableName(name),
        columns=columns,
        key=key,
        system=SYSTEM,
        indexes=_indexes(db, name, key),
        foreign_keys=_foreign_keys(db, name),
        estimated_rows=db.value(f"SELECT count(*) FROM {quote(name)}") if count else None,
    )
    return replace(schema, problem=_problem(schema, uniques))


def rowid_alias(db: Connection, name: str) -> str | None:
    """The INTEGER PRIMARY KEY column of a table, which is its rowid (sqlite.org/lang_createtable.html,
    5); None for a table without one."""
    info = [row for row in db.rows(f"PRAGMA table_xinfo({quote(name)})") if row[5]]
    if len(info) != 1 or (info[0][2] or "").upper() != "INTEGER":
        return None
    # A primary key with an index of its own, or a table that is that index, has no alias.
    own = any(row[3] == "pk" for row in db.rows(f"PRAGMA index_list({quote(name)})"))
    return None if own else str(info[0][1])


def unique_indexes(db: Connection, name: str) -> list[Unique]:
    """The unique indexes of a table, the primary key's included."""
    found = []
    for _, index, unique, origin, partial in db.rows(f"PRAGMA index_list({quote(name)})"):
        if not unique:
            continue
        parts = [row for row in db.rows(f"PRAGMA index_xinfo({quote(index)})") if row[5]]
        sql = db.value("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", (index,)) or ""
        texts, where = split_index(sql) if sql else ([], "")
        found.append(
            Unique(
                terms=tuple(
                    quote(row[2]) if row[2] is not None else _expression(texts[row[0]]) for row in parts
                ),
                collations=tuple(row[4] for row in parts),
                columns=tuple(row[2] for row in parts),
                where=where if partial else "",
                primary=origin == "pk",
            )
        )
    return found


def split_index(sql: str) -> tuple[list[str], str]:
    """The terms and the predicate ('' without one) of a CREATE INDEX statement."""
    depth, start, at, texts, closed = 0, 0, 0, list[str](), 0
    while at < len(sql):
        sign = sql[at]
        if sign in _OPENERS:
            at = sql.index(_OPENERS[sign], at + 1)
        elif sign == "(":
            depth += 1
            start = at + 1 if depth == 1 else start
        elif sign in "),":
            if depth == 1:
                texts.append(sql[start:at].strip())
                start = at + 1
            depth -= sign == ")"
            if not depth:
                closed = at + 1
                break
        at += 1
    return texts, re.sub(r"^\s*WHERE\b", "", sql[closed:], flags=re.IGNORECASE).strip()


def _expression(text: str) -> str:
    bare = re.sub(r"\s+(ASC|DESC)$", "", text, flags=re.IGNORECASE)
    return "(" + re.sub(r"\s+COLLATE\s+\w+$", "", bare, flags=re.IGNORECASE) + ")"


def _other_key(uniques: Sequence[Unique], filled: set[str]) -> tuple[str, ...]:
    """The columns of the shortest unique index without NULLs, compared byte by byte as other systems do."""
    keys = [
        tuple(str(column) for column in unique.columns)
        for unique in uniques
        if not unique.where
        and all(column in filled for column in unique.columns)
        and set(unique.collations) == {"BINARY"}
    ]
    return min(keys, key=lambda key: (len(key), key), default=())


def _problem(schema: Schema, uniques: Sequence[Unique]) -> str:
    if not schema.key:
        return "it has no primary key and no unique index over NOT NULL columns; give it one, or exclude it"
    foreign = {name for unique in uniques for name in unique.collations if name.upper() not in _COLLATIONS}
    if foreign:
        return f"its index uses the collation {sorted(foreign)[0]}, which only the application has"
    if any(column.type.kind is Kind.OPAQUE and column.type.system == SYSTEM for column in schema.key_columns):
        return "a column of its key has no declared type; declare one"
    return ""


def _indexes(db: Connection, name: str, key: tuple[str, ...]) -> tuple[Index, ...]:
    found = []
    for _, index, unique, origin, partial in reversed(db.rows(f"PRAGMA index_list({quote(name)})")):
        parts = [row for row in db.rows(f"PRAGMA index_xinfo({quote(index)})") if row[5]]
        columns = tuple(row[2] for row in parts if row[2] is not None)
        plain = not partial and len(columns) == len(parts)
        if origin == "pk" or (unique and plain and columns == key):
            continue
        sql = db.value("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", (index,))
        found.append(
            Index(
                name=index if sql else f"{name}_{'_'.join(columns)}_key",
                columns=columns,
                unique=bool(unique),
                portable=plain and all(row[4] == "BINARY" for row in parts),
                constraint=origin == "u",
                definition=sql or "",
            )
        )
    return tuple(found)


def _foreign_keys(db: Connection, name: str) -> tuple[ForeignKey, ...]:
    groups: dict[int, list[tuple[int, str, str, str | None, str, str]]] = {}
    for number, place, parent, column, other, on_update, on_delete, _ in db.rows(
        f"PRAGMA foreign_key_list({quote(name)})"
    ):
        groups.setdefault(number, []).append((place, column, parent, other, on_update, on_delete))
    found = []
    for _, parts in sorted(groups.items()):
        parts.sort()
        parent = parts[0][2]
        others = tuple(part[3] for part in parts)
        if None in others:  # the parent's primary key, left unsaid
            info = db.rows(f"PRAGMA table_xinfo({quote(parent)})")
            others = tuple(row[1] for row in sorted(info, key=lambda row: int(row[5])) if row[5])
        columns = tuple(part[1] for part in parts)
        found.append(
            ForeignKey(
                name=f"{name}_{'_'.join(columns)}_fkey",
                columns=columns,
                parent=TableName(parent),
                parent_columns=tuple(map(str, others)),
                on_update=parts[0][4],
                on_delete=parts[0][5],
            )
        )
    return tuple(found)
