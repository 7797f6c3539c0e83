"""Unique indexes beside the key, and values to park rows at while others take theirs (Race 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from .catalog import Member
from .connection import Connection

# The columns of each unique index that is checked at once, row by row: those it is over, and those that
# its expressions and its predicate read.
_UNIQUES = """
SELECT c.relname AS name, i.indexrelid::bigint AS oid,
       coalesce((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false) AS nulls_equal,
       a.attname AS column_name, t.typname AS type, t.typnamespace = 'pg_catalog'::regnamespace AS plain,
       a.atttypmod AS modifier, a.attnotnull AS not_null
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class r ON r.oid = i.indrelid JOIN pg_namespace n ON n.oid = r.relnamespace
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0 AND a.attgenerated = ''
 AND (a.attnum = ANY (i.indkey::int2[])
      OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
                 AND d.refobjsubid = a.attnum))
JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = %s AND r.relname = %s AND i.indisunique AND i.indimmediate AND NOT i.indisprimary
ORDER BY c.relname, a.attnum
"""


_DEFERRABLE = """
SELECT s.nspname, k.conname FROM pg_constraint k
JOIN pg_namespace s ON s.oid = k.connamespace
JOIN pg_class r ON r.oid = CASE k.contype WHEN 'f' THEN k.confrelid ELSE k.conrelid END
JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE k.condeferrable AND k.contype = %s::"char" AND n.nspname = %s AND r.relname = %s
ORDER BY k.conname
"""


@dataclass(frozen=True, slots=True)
class UniqueColumn:
    """A column of a unique index, outside the key."""

    name: str
    type: str
    length: int | None
    not_null: bool


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index beside the key."""

    name: str
    nulls_equal: bool
    columns: tuple[UniqueColumn, ...]

    def parking(self, column: UniqueColumn) -> str:
        """An expression for a value that no row has: unless it is random, `lowest.value` less the row's
        number. '' when the column's type has none that is sure to fit."""
        if not column.not_null and not self.nulls_equal:
            return "NULL"
        length = 32 if column.length is None else column.length
        match column.type:
            case "text" | "varchar" | "bpchar" if length >= 16:
                return f"left(md5(gen_random_uuid()::text), {length})"
            case "uuid":
                return "gen_random_uuid()"
            case "bytea":
                return "decode(md5(gen_random_uuid()::text), 'hex')"
            case "int2" | "int4" | "int8" | "numeric":
                return 'lowest.value - s."syncline number"'
        return ""


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    oid: int
    nulls_equal: bool
    column_name: str
    type: str
    plain: bool
    modifier: int
    not_null: bool


def find(connection: Connection, member: Member, key: Sequence[str]) -> list[Unique]:
    """The unique indexes of a table that have a column outside the key."""
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        rows = cursor.execute(_UNIQUES, member).fetchall()
    found: dict[int, Unique] = {}
    for row in rows:
        if row.column_name in key:
            continue
        length = row.modifier - 4 if row.type in ("varchar", "bpchar") and row.modifier >= 4 else None
        column = UniqueColumn(row.column_name, row.type if row.plain else "", length, row.not_null)
        earlier = found.get(row.oid)
        columns = (*earlier.columns, column) if earlier else (column,)
        found[row.oid] = Unique(row.name, row.nulls_equal, columns)
    return list(found.values())


def find_deferrable(connection: Connection, member: Member, sort: str) -> list[sql.Identifier]:
    """The names of what speaks at the commit: `u` unique constraints of the table, `f` foreign keys that
    refer to it. Asked anew each time, as one that is gone by now must not be named."""
    names = connection.execute(_DEFERRABLE, [sort, *member]).fetchall()
    return [sql.Identifier(namespace, name) for namespace, name in names]


def vacate(
    index: Unique,
    movable: UniqueColumn,
    sent: Sequence[UniqueColumn],
    *,
    table: sql.Composable,
    stage: sql.Identifier,
    same_key: sql.Composable,
) -> sql.Composed:
    """Park `movable` of the rows of `table` whose `sent` columns differ from the staged ones, of all staged
    ones when none were sent; the tables are `t` and `s` in `same_key`."""
    value = index.parking(movable)
    column = sql.Identifier(movable.name)
    differs = sql.SQL(" OR ").join(
        sql.SQL("t.{0}::text IS DISTINCT FROM s.{0}::text").format(sql.Identifier(item.name)) for item in sent
    )
    condition = differs if sent else sql.SQL("true")
    lowest = sql.SQL("SELECT least(min({}), 0) AS value FROM {}").format(column, table)
    if "lowest" not in value:
        lowest = sql.SQL("SELECT").format()
    return sql.SQL(
        'UPDATE {} AS t SET {} = {} FROM (SELECT *, row_number() OVER () AS "syncline number" FROM {}) AS s,'
        " ({}) AS lowest WHERE {} AND ({})"
    ).format(table, column, sql.SQL(value), stage, lowest, same_key, condition)
