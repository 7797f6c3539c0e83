"""What the catalog says of tables, as schemas.

A fixed number of queries, whatever the number of tables. All names in expressions and definitions come out
qualified, because the queries run with an empty search path (PostgreSQL documentation, "System Catalogs").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from psycopg import pq
from psycopg.rows import class_row, namedtuple_row

from ...model import Column, ForeignKey, Index, Schema, TableName
from . import fingerprint, ledger
from .connection import Connection
from .types import SYSTEM, ServerType, canonical, qualified, quoted

BOOKKEEPING = "syncline"
ASIDE = "__syncline_new"
LOCK_TIMEOUT = "3s"
"""Whoever locks a table for longer is named, not waited for in silence: definitions cannot be read then."""

Member = tuple[str, str]
"""A table as the server knows it: its namespace and its name."""

_TABLES = """
SELECT c.oid, n.nspname AS namespace, c.relname AS name, c.relkind::text AS sort,
       c.relpersistence::text AS persistence, c.relreplident::text AS identity,
       CASE WHEN c.relkind = 'p' THEN
              (SELECT sum(greatest(leaf.reltuples, 0)) FROM pg_partition_tree(c.oid) t
               JOIN pg_class leaf ON leaf.oid = t.relid WHERE t.isleaf)
            ELSE c.reltuples END::bigint AS estimated_rows,
       CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE')
            THEN format('GRANT USAGE ON SCHEMA %%I TO %%I', n.nspname, current_user)
            WHEN NOT has_table_privilege(c.oid, 'SELECT') AND EXISTS (
              SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))
            THEN format('GRANT SELECT ON %%I.%%I TO %%I', n.nspname, c.relname, current_user)
            ELSE '' END AS missing_grant,
       CASE WHEN row_security_active(c.oid) THEN format('ALTER ROLE %%I BYPASSRLS', current_user) ELSE ''
            END AS missing_bypass
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT (n.nspname = %(own)s AND c.relname = ANY (%(kept)s))
  AND right(c.relname, length(%(aside)s)) <> %(aside)s
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
  AND (%(oids)s::oid[] IS NULL OR c.oid = ANY(%(oids)s::oid[]))
ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid AS relation, a.attnum AS number, a.attname AS name, a.atttypid AS type,
       a.atttypmod AS modifier, format_type(a.atttypid, a.atttypmod) AS formatted,
       NOT (a.attnotnull OR t.typnotnull) AS nullable, pg_get_expr(d.adbin, d.adrelid) AS expression,
       a.attidentity <> '' AS identity, a.attgenerated <> '' AS generated
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_TYPES = """
WITH RECURSIVE used AS (
    SELECT unnest(%s::oid[]) AS oid
    UNION
    SELECT unnest(ARRAY[t.typelem, t.typbasetype]) FROM used JOIN pg_type t ON t.oid = used.oid
)
SELECT t.oid, n.nspname AS namespace, t.typname AS name, t.typtype::text AS sort,
       t.typcategory::text AS category, t.typelem AS element, t.typbasetype AS base,
       t.typtypmod AS base_modifier,
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) AS labels
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid IN (SELECT oid FROM used)
"""

_INDEXES = """
SELECT i.indrelid AS relation, c.relname AS name, i.indisunique AS is_unique, i.indisprimary AS is_primary,
       i.indisreplident AS is_identity, i.indimmediate AS immediate, i.indisvalid AS valid,
       i.indpred IS NOT NULL AS partial, am.amname AS method,
       (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns,
       k.contype::text AS constraint_sort, pg_get_constraintdef(k.oid) AS constraint_definition,
       pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
                         AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid = ANY(%s::oid[])
ORDER BY i.indrelid, c.relname
"""

_FOREIGN_KEYS = """
SELECT k.conrelid AS relation, k.conname AS name, n.nspname AS parent_namespace, p.relname AS parent_name,
       (SELECT array_agg(a.attname::text ORDER BY u.place)
        FROM unnest(k.conkey) WITH ORDINALITY u(number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS columns,
       (SELECT array_agg(a.attname::text ORDER BY u.place)
        FROM unnest(k.confkey) WITH ORDINALITY u(number, place)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number) AS parent_columns,
       k.confdeltype::text AS on_delete, k.confupdtype::text AS on_update, k.condeferrable AS is_deferrable
FROM pg_constraint k JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT p.relispartition AND k.conrelid = ANY(%s::oid[])
ORDER BY k.conrelid, k.conname
"""

_LARGE_OBJECTS = "SELECT count(*) AS objects FROM pg_largeobject_metadata"

_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_NOT_TABLES = {"v": "it is a view", "m": "it is a materialized view", "f": "it is a foreign table"}


def default_namespace(connection: Connection) -> str:
    """The namespace that a table without one is in: current_schema(), but never the bookkeeping's, which
    comes first in the search path of a role that is called like it."""
    row = connection.execute(
        "SELECT space FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (space, place)"
        " WHERE space <> %s ORDER BY place LIMIT 1",
        [BOOKKEEPING],
    ).fetchone()
    return str(row[0]) if row else "public"


def discover(connection: Connection, default: str, oids: Sequence[int] | None = None) -> list[Schema]:
    """The tables of the database, or those of the given oids; `default` is the namespace left unsaid. Within
    a transaction as that one sees them, and with its settings changed."""
    alone = connection.info.transaction_status == pq.TransactionStatus.IDLE
    with connection.transaction():
        if alone:
            # One snapshot, so that a table altered meanwhile is not half old and half new.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL search_path = pg_catalog")
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
        found = _fetch(
            connection,
            _TABLES,
            {
                "own": BOOKKEEPING,
                "kept": list(ledger.TABLES),
                "aside": ASIDE,
                "oids": None if oids is None else list(oids),
            },
        )
        relations = [table.oid for table in found]
        members = _grouped(_fetch(connection, _COLUMNS, [relations]))
        used = types(connection, {column.type for group in members.values() for column in group})
        indexes = _grouped(_fetch(connection, _INDEXES, [relations]))
        foreign = _grouped(_fetch(connection, _FOREIGN_KEYS, [relations]))
        prints = {print.oid: print.dumps() for print in fingerprint.read(connection, relations)}
        large = _fetch(connection, _LARGE_OBJECTS, []) if oids is None else []
    return [
        replace(
            _schema(table, members[table.oid], used, indexes[table.oid], foreign[table.oid], default),
            fingerprint=prints[table.oid],
        )
        for table in found
    ] + [_large_objects(row.objects) for row in large if row.objects]


def _fetch(connection: Connection, query: str, parameters: Any) -> list[Any]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()


def columns(connection: Connection, relation: int) -> dict[int, Column]:
    """The columns of one table by their numbers; inside a transaction whose search path is pg_catalog."""
    found = _fetch(connection, _COLUMNS, [[relation]])
    used = types(connection, {column.type for column in found})
    return {column.number: _column(column, used) for column in found}


def types(connection: Connection, oids: Iterable[int]) -> dict[int, ServerType]:
    """These types, and those that they are made of."""
    with connection.cursor(row_factory=class_row(ServerType)) as cursor:
        return {type.oid: type for type in cursor.execute(_TYPES, [list(oids)])}


def _grouped(rows: Sequence[Any]) -> defaultdict[int, list[Any]]:
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for row in rows:
        groups[row.relation].append(row)
    return groups


def table_name(namespace: str, name: str, default: str) -> TableName:
    """A table's name as the user sees it."""
    return TableName(name, None if namespace == default else namespace)


def _schema(
    table: Any,
    columns: Sequence[Any],
    types: Mapping[int, ServerType],
    indexes: Sequence[Any],
    foreign: Sequence[Any],
    default: str,
) -> Schema:
    names = {column.number: column.name for column in columns}
    key = _key(table, columns, indexes)
    return Schema(
        table=table_name(table.namespace, table.name, default),
        columns=tuple(_column(column, types) for column in columns),
        key=key.columns,
        system=SYSTEM,
        indexes=tuple(
            _index(index, names) for index in indexes if index.name != key.index_name and not index.is_primary
        ),
        foreign_keys=tuple(_foreign_key(row, default) for row in foreign),
        problem=_NOT_TABLES.get(table.sort)
        or _unlogged(table)
        or key.problem
        or _incomparable(key, columns, types)
        or _unreadable(table),
        estimated_rows=table.estimated_rows if table.estimated_rows >= 0 else None,
    )


def _large_objects(count: int) -> Schema:
    """The table that all large objects are in; not of those that a user makes, but it would be missed."""
    problem = f"the log does not tell the {count:,} large objects of this database; columns of bytea are told"
    return Schema(TableName("pg_largeobject", "pg_catalog"), (), (), SYSTEM, problem=problem)


def _unlogged(table: Any) -> str:
    if table.persistence == "u":
        return f"it is unlogged, so the log does not tell it; run ALTER TABLE {_at(table)} SET LOGGED"
    return ""


def _incomparable(key: _Key, columns: Sequence[Any], types: Mapping[int, ServerType]) -> str:
    """PostgreSQL finds no operator for a domain over an enum: no statement can look for such a key."""
    for column in columns:
        base = types[column.type]
        while base.sort == "d":
            base = types[base.base]
        if column.name in key.columns and base.sort == "e" and base.oid != column.type:
            enum = qualified(base)
            why = f"column {column.name} of its key is of a domain over an enum, which has no ="
            return f"{why}; run ALTER TABLE … ALTER {column.name} TYPE {enum}"
    return ""


def _unreadable(table: Any) -> str:
    if table.missing_grant:
        return f"this role may not read it; run {table.missing_grant} as its owner"
    if table.missing_bypass:
        why = "row level security hides rows of it from this role"
        return f"{why}; run {table.missing_bypass} as a superuser"
    return ""


def _at(table: Any) -> str:
    return f"{quoted(table.namespace)}.{quoted(table.name)}"


def _column(column: Any, types: Mapping[int, ServerType]) -> Column:
    serial = column.expression is not None and re.match(r"nextval\('", column.expression) is not None
    identity = column.identity or (serial and not column.generated)
    return Column(
        name=column.name,
        type=canonical(column.type, column.modifier, column.formatted, types),
        nullable=column.nullable,
        default=None if identity else column.expression,
        generated=column.generated,
        identity=identity,
    )


class _Key(NamedTuple):
    columns: tuple[str, ...]
    index_name: str
    problem: str


def _key(table: Any, columns: Sequence[Any], indexes: Sequence[Any]) -> _Key:
    """The key that the log identifies rows by: the replica identity's index, or else the primary key."""
    if table.sort not in ("r", "p"):
        return _Key((), "", "")
    if table.identity == "n":
        why = "its REPLICA IDENTITY is NOTHING, so the log does not say which rows change"
        return _Key((), "", f"{why}; run ALTER TABLE {_at(table)} REPLICA IDENTITY DEFAULT as its owner")
    by_number = {column.number: column for column in columns}
    fit = [index for index in indexes if _identifies(index, by_number)]
    chosen = next((index for index in fit if table.identity == "i" and index.is_identity), None)
    chosen = chosen or next((index for index in fit if index.is_primary), None)
    if table.identity == "f":
        chosen = chosen or next(iter(fit), None)
    if chosen is not None:
        key = tuple(by_number[number].name for number in chosen.columns)
        generated = [name for name in key if any(c.generated for c in columns if c.name == name)]
        if generated:
            return _Key((), "", f"its key has the generated column {generated[0]}; the log does not tell it")
        return _Key(key, chosen.name, "")
    primary = any(index.is_primary for index in indexes)
    if primary:
        return _Key((), "", "its primary key is deferrable, and so identifies no row; make it NOT DEFERRABLE")
    if not fit:
        why = "it has no primary key and no unique index over NOT NULL columns"
        return _Key((), "", f"{why}; give it one, or exclude it")
    why = "it has no primary key, and the log names its rows by no other"
    statement = f"ALTER TABLE {_at(table)} REPLICA IDENTITY USING INDEX {quoted(fit[0].name)}"
    return _Key((), "", f"{why}; run {statement} as its owner")


def _identifies(index: Any, columns: Mapping[int, Any]) -> bool:
    return bool(
        index.is_unique
        and index.immediate
        and index.valid
        and not index.partial
        and index.columns
        and all(number in columns and not columns[number].nullable for number in index.columns)
    )


def _index(index: Any, names: Mapping[int, str]) -> Index:
    plain = all(number in names for number in index.columns)
    default = index.definition.upper().find("NULLS NOT DISTINCT") < 0
    return Index(
        name=index.name,
        columns=tuple(names[number] for number in index.columns if number in names),
        unique=index.is_unique,
        portable=plain and not index.partial and index.method == "btree" and default,
        constraint=index.constraint_sort is not None,
        definition=index.constraint_definition or index.definition,
    )


def _foreign_key(row: Any, default: str) -> ForeignKey:
    return ForeignKey(
        name=row.name,
        columns=tuple(row.columns),
        parent=table_name(row.parent_namespace, row.parent_name, default),
        parent_columns=tuple(row.parent_columns),
        on_delete=_ACTIONS[row.on_delete],
        on_update=_ACTIONS[row.on_update],
        deferrable=row.is_deferrable,
    )
