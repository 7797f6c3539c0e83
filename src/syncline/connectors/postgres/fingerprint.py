"""What of a table changes with rows that the log does not tell, as a text that is kept with the table.

    table    the oid: a table dropped and made anew has another
    columns  of each carried column its number, which a column dropped and added again has another of, and
             the transaction that wrote its catalog row last
    last     the highest number that any column ever had: one that is added has a higher one
    storage  the file: TRUNCATE, VACUUM FULL, CLUSTER and ALTER TYPE … USING make a new one
    parts    of each partition, at any depth, the transaction that attached it, and its file

ALTER TYPE … USING writes a column's catalog row and makes a new file, at once, also where the type stays
what it was. Neither by itself means that rows have changed: SET STATISTICS, SET DEFAULT and SET NOT NULL
write the row, the others make a file (and the log tells a TRUNCATE). A partition's file is another matter,
as the TRUNCATE of a partition by itself is not told (PostgreSQL documentation, "CREATE PUBLICATION",
publish_via_partition_root).

A transaction's number stays in a row that VACUUM freezes, so that what goes and comes back is noticed too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row

from ...model import Schema, SchemaChange, Sighting
from .connection import Connection

Member = tuple[str, str]

Explain = Callable[[Connection, Schema, int], SchemaChange | None]
"""Says what became of the columns of a table by its oid; None when they are those of the schema."""

# Partitions by pg_inherits: pg_partition_tree() waits for whoever has one of them locked.
_PRINTS = """
WITH RECURSIVE tree AS (
    SELECT oid AS root, oid AS part, NULL::text AS attached FROM pg_class
    WHERE oid = ANY(%(oids)s::oid[]) AND relkind = 'p'
    UNION ALL
    SELECT tree.root, i.inhrelid, i.xmin::text FROM tree JOIN pg_inherits i ON i.inhparent = tree.part
)
SELECT c.oid::bigint AS oid, n.nspname AS namespace, c.relname AS name, c.relfilenode::bigint AS storage,
       c.relnatts::int AS last,
       (SELECT json_object_agg(a.attname, json_build_array(
                   a.attnum, a.xmin::text::bigint, format_type(a.atttypid, a.atttypmod)))
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         AND a.attgenerated = '') AS columns,
       (SELECT json_object_agg(p.oid::text, json_build_array(
                   tree.attached::bigint, p.relfilenode::bigint, p.relname))
        FROM tree JOIN pg_class p ON p.oid = tree.part
        WHERE tree.root = c.oid AND tree.part <> c.oid) AS parts
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%(oids)s::oid[])
"""

_OIDS = """
SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN unnest(%s::text[], %s::text[]) AS wanted (namespace, name) ON (nspname, relname) = (namespace, name)
"""


@dataclass(frozen=True, slots=True)
class Print:
    """A table as the catalog has it. `columns` by name: number, transaction, type; `parts` by oid:
    transaction, file, name."""

    oid: int
    namespace: str
    name: str
    storage: int
    last: int
    columns: Mapping[str, tuple[int, int, str]] | None
    parts: Mapping[str, tuple[int, int, str]] | None

    def dumps(self) -> str:
        """The fingerprint."""
        members = {
            "table": self.oid,
            "columns": {name: column[:2] for name, column in (self.columns or {}).items()},
            "last": self.last,
            "storage": self.storage,
            "parts": {oid: part[:2] for oid, part in (self.parts or {}).items()},
        }
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS).decode()


def read(connection: Connection, oids: Sequence[int]) -> list[Print]:
    """The tables of these oids; inside a transaction whose search path is pg_catalog."""
    with connection.cursor(row_factory=class_row(Print)) as cursor:
        return cursor.execute(_PRINTS.encode(), {"oids": list(oids)}).fetchall()


def inspect(
    connection: Connection, tables: Mapping[Member, Schema], explain: Explain
) -> list[SchemaChange | Sighting]:
    """What differs from the fingerprints that the schemas have, and which tables were dropped. One that is
    there under another name is left to whoever reads the publication. A look that meets a locked partition
    sees nothing; the next one will."""
    spaces, names = [space for space, _ in tables], [name for _, name in tables]
    found: list[SchemaChange | Sighting] = []
    try:
        with connection.transaction():
            # One snapshot, so that a column and its table's file are of one moment.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '100ms'")
            oids = [oid for (oid,) in connection.execute(_OIDS, [spaces, names])]
            prints = read(connection, oids)
            there = {(now.namespace, now.name) for now in prints}
            found += _dropped(connection, [tables[member] for member in tables if member not in there])
            for now in prints:
                seen = _compare(connection, tables[now.namespace, now.name], now, explain)
                found += [seen] if seen is not None else []
    except psycopg.errors.LockNotAvailable:
        return []
    return found


def _dropped(connection: Connection, schemas: Sequence[Schema]) -> list[SchemaChange]:
    """Those of these tables, which are not there under their names, that are not there at all."""
    oids = {orjson.loads(schema.fingerprint)["table"]: schema for schema in schemas if schema.fingerprint}
    query = "SELECT oid FROM unnest(%s::oid[]) AS known (oid) WHERE oid NOT IN (SELECT oid FROM pg_class)"
    gone = connection.execute(query, [list(oids)]).fetchall() if oids else []
    return [SchemaChange(oids[oid].table, "it was dropped", lasting=True, dropped=True) for (oid,) in gone]


def _compare(
    connection: Connection, schema: Schema, now: Print, explain: Explain
) -> SchemaChange | Sighting | None:
    text = now.dumps()
    if text == schema.fingerprint:
        return None
    if not schema.fingerprint:
        return Sighting(schema.table, text)
    before = orjson.loads(schema.fingerprint)
    if before["table"] != now.oid:
        return SchemaChange(schema.table, "it was dropped and made anew")
    if change := explain(connection, schema, now.oid):
        return change
    told = [*_rewritten(before, now), *_parted(connection, before["parts"], now.parts or {})]
    return Sighting(schema.table, text, " and ".join(told))


def _rewritten(before: Mapping[str, Any], now: Print) -> list[str]:
    columns = {name: list(column[:2]) for name, column in (now.columns or {}).items()}
    files = [now.storage, *(part[1] for part in (now.parts or {}).values())]
    known = [before["storage"], *(part[1] for part in before["parts"].values())]
    anew = [name for name, column in columns.items() if before["columns"].get(name, [0])[0] != column[0]]
    if sorted(files) != sorted(known):
        anew += [
            name for name, column in columns.items() if name not in anew and before["columns"][name] != column
        ]
    return [f"column {', '.join(sorted(anew))} was rewritten or made anew"] if anew else []


def _parted(
    connection: Connection, before: Mapping[str, list[int]], now: Mapping[str, tuple[int, int, str]]
) -> list[str]:
    """What happened to partitions. One that is new and was never written to brought no rows along."""
    gone = len(before.keys() - now.keys())
    came = {oid: part for oid, part in now.items() if oid not in before or before[oid][0] != part[0]}
    filled = [
        name
        for oid, (_, file, name) in came.items()
        if oid in before or not _unwritten(connection, oid, file)
    ]
    redone = [name for oid, (_, file, name) in now.items() if oid not in came and before[oid][1] != file]
    told = [f"partition {', '.join(sorted(filled))} was attached"] if filled else []
    told += [f"{gone} partition{'s' * (gone > 1)} went away"] if gone else []
    told += [f"partition {', '.join(sorted(redone))} was truncated or rewritten"] if redone else []
    return told


def _unwritten(connection: Connection, oid: str, file: int) -> bool:
    """Whether nothing was ever written to a partition. Its first file has its oid's number: one that was
    truncated since has another."""
    if file == 0:  # a partition with partitions of its own
        return True
    query = "SELECT %s::oid = %s::oid AND pg_relation_size(%s::oid::regclass) = 0"
    return connection.execute(query, [int(oid), file, int(oid)]).fetchone() == (True,)
