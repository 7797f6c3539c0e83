"""Tables as the server describes them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...model import Column, ForeignKey, Index, Schema, TableName
from .session import Session
from .text import literal
from .types import SYSTEM, Declared, canonical, declared

PREFIX = "_syncline_"
"""Of every table that is ours."""

EXACT = {"utf8mb4_nopad_bin", "utf8mb4_0900_bin", "ascii_bin"}
"""Collations that tell any two texts apart; of ascii only values of one length are written."""

_NOT_OURS = f"NOT LIKE '{PREFIX.replace('_', '!_')}%' ESCAPE '!'"
_LITERAL = re.compile(r"(?:_utf8mb[34])?'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_NUMBERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double"}
_KEYED = "create it with a PRIMARY KEY"


@dataclass(frozen=True, slots=True)
class Described:
    """A table as it is: its schema, and each column's type in the server's words."""

    schema: Schema
    declared: Mapping[str, Declared]
    engine: str
    numbered: str = ""

    @property
    def uniques(self) -> list[Index]:
        """The unique indexes beside the key."""
        return [index for index in self.schema.indexes if index.unique]


def describe(session: Session, name: str) -> Described | None:
    """One table of the database; None when there is none."""
    found = _describe(session, f"= {literal(name)}")
    return found[0] if found else None


def discover(session: Session) -> list[Schema]:
    """All tables but our own, views by `problem`."""
    everything = _describe(session, _NOT_OURS)
    return [found.schema for found in everything]


def _describe(session: Session, names: str) -> list[Described]:
    tables = session.rows(
        "SELECT table_name, table_type, coalesce(engine, ''), table_rows FROM information_schema.tables"
        f" WHERE table_schema = database() AND table_name {names} ORDER BY table_name"
    )
    columns, keys = _columns(session, names), _indexes(session, names)
    foreign = _foreign_keys(session, names)
    return [
        _assemble(TableName(name), kind, engine, rows, columns[name], keys[name], foreign.get(name, ()))
        for name, kind, engine, rows in tables
    ]


def _assemble(
    table: TableName,
    kind: str,
    engine: str,
    rows: str | None,
    columns: Sequence[tuple[Column, Declared]],
    indexes: Mapping[str, Sequence[tuple[Any, ...]]],
    foreign: Iterable[ForeignKey],
) -> Described:
    needed = {column.name for column, _ in columns if not column.nullable and not column.generated}
    key, own = _key(indexes, needed)
    problem = ""
    if kind != "BASE TABLE":
        problem = "it is a view" if "VIEW" in kind else f"it is a {kind.lower()}"
    elif not key:
        problem = f"it has no key; {_KEYED}"
    secondary = [_index(name, parts) for name, parts in indexes.items() if name != own]
    schema = Schema(
        table,
        tuple(column for column, _ in columns),
        key,
        SYSTEM,
        indexes=tuple(secondary),
        foreign_keys=tuple(foreign),
        problem=problem,
        estimated_rows=int(rows) if rows is not None else None,
    )
    numbered = next((column.name for column, _ in columns if column.identity), "")
    return Described(schema, {column.name: told for column, told in columns}, engine, numbered)


def _columns(session: Session, names: str) -> dict[str, list[tuple[Column, Declared]]]:
    found = defaultdict(list)
    for table, name, base, text, charset, collation, nullable, default, extra, comment in session.rows(
        "SELECT table_name, column_name, data_type, column_type, coalesce(character_set_name, ''),"
        " coalesce(collation_name, ''), is_nullable, column_default, extra, column_comment"
        f" FROM information_schema.columns WHERE table_schema = database() AND table_name {names}"
        " ORDER BY table_name, ordinal_position"
    ):
        told = declared(base, text, charset, collation, comment)
        identity = "auto_increment" in extra
        column = Column(
            name,
            canonical(told, EXACT),
            nullable == "YES",
            default=None if identity else _default(session, default, extra, told),
            generated=any(word in extra.upper() for word in ("GENERATED", "VIRTUAL", "PERSISTENT"))
            and "DEFAULT_GENERATED" not in extra.upper(),
            identity=identity,
        )
        found[table].append((column, told))
    return found


def _default(session: Session, default: str | None, extra: str, told: Declared) -> str | None:
    """The default as SQL. MariaDB tells it so; MySQL tells a constant without its quotes, and an expression
    with each of its quotes behind a backslash."""
    if default is None or default == "NULL":
        return None
    if not session.server.mariadb and "DEFAULT_GENERATED" in extra.upper():
        default = re.sub(r"\\(.)", r"\1", default, flags=re.DOTALL)
    elif not session.server.mariadb and not default.startswith("b'"):
        return default if told.base in _NUMBERS else literal(default)
    found = _LITERAL.fullmatch(default)
    value = re.sub(r"\\(.)|'(')", r"\1\2", found[1], flags=re.DOTALL) if found else "\\"
    return default if "\\" in value else literal(value)


def _indexes(session: Session, names: str) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    """The parts of each table's indexes: column, whether unique, length of a prefix, sort of index."""
    found: dict[str, dict[str, list[tuple[Any, ...]]]] = defaultdict(lambda: defaultdict(list))
    for table, index, column, non_unique, prefix, sort in session.rows(
        "SELECT table_name, index_name, column_name, non_unique, sub_part, index_type"
        f" FROM information_schema.statistics WHERE table_schema = database() AND table_name {names}"
        " ORDER BY table_name, index_name = 'PRIMARY' DESC, index_name, seq_in_index"
    ):
        found[table][index].append((column, non_unique == "0", prefix, sort))
    return found


def _key(indexes: Mapping[str, Sequence[tuple[Any, ...]]], needed: set[str]) -> tuple[tuple[str, ...], str]:
    """The primary key, or the first unique one without NULLs, and the index's name."""
    for name, parts in indexes.items():
        columns = [column for column, *_ in parts]
        whole = all(unique and prefix is None for _, unique, prefix, _ in parts)
        if name == "PRIMARY" or (whole and needed.issuperset(columns)):
            return tuple(columns), name
    return (), ""


def _index(name: str, parts: Sequence[tuple[Any, ...]]) -> Index:
    columns = tuple(column for column, *_ in parts if column is not None)
    plain = len(columns) == len(parts) and parts[0][3] == "BTREE"
    unique = parts[0][1]
    portable = plain and not (unique and any(prefix is not None for _, _, prefix, _ in parts))
    return Index(name, columns, unique, portable)


def _foreign_keys(session: Session, names: str) -> dict[str, list[ForeignKey]]:
    found: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for table, name, *part in session.rows(
        "SELECT table_name, constraint_name, column_name, referenced_column_name, referenced_table_name,"
        " if(referenced_table_schema = database(), NULL, referenced_table_schema)"
        " FROM information_schema.key_column_usage WHERE table_schema = database()"
        f" AND referenced_table_name IS NOT NULL AND table_name {names}"
        " ORDER BY table_name, constraint_name, ordinal_position"
    ):
        found[table, name].append(tuple(part))
    if not found:
        return {}
    # Apart: MariaDB would look at all tables of all databases to join the two.
    rules = {
        (table, name): actions
        for table, name, *actions in session.rows(
            "SELECT table_name, constraint_name, delete_rule, update_rule"
            " FROM information_schema.referential_constraints"
            f" WHERE constraint_schema = database() AND table_name {names}"
        )
    }
    listed = defaultdict(list)
    for (table, name), parts in found.items():
        columns, others, parents, schemas = zip(*parts, strict=True)
        actions = rules.get((table, name), ["NO ACTION"] * 2)
        listed[table].append(
            ForeignKey(name, columns, TableName(parents[0], schemas[0]), others, actions[0], actions[1])
        )
    return listed
