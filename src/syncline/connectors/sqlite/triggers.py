"""The change log: triggers that write every change into `_syncline_log`, in the change's transaction.

    _syncline_log       seq, shape, op, mark, salt, k0…kN the old key, c0…cN the row; untyped, so that
                        values keep their storage class; the salt is random (see `position`)
    _syncline_shapes    id, tbl, columns: what k and c mean in the log rows that carry the id
    _syncline_mark      the mark of the apply transaction that is open; one row, NULL outside of one
    _syncline_readers   stream, began, released: who reads the log, and since where
    _syncline_attached  stream, tbl
    _syncline_victims   shape, k0…kN: rows that the statement under way may evict; empty between statements

The triggers never log NEW or OLD values of the row itself but look the row up: an application's own
trigger may have changed it again before ours ran, and SQLite does not say in which order triggers run.
What a row looks like in the last log row of its key is what it looks like in the table.

`op` is I, U or D. REPLACE evicts rows that share a unique value with the written one, and no delete trigger
tells of it (Race 7): a BEFORE trigger notes the rows that might go, the AFTER trigger logs a delete for
those that have gone. It has to be then: whoever looked when reading the log would see a later row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import orjson

from ...model import Schema
from .catalog import PREFIX, Unique, rowid_alias, unique_indexes
from .connection import Connection, quote
from .declared import declare

LOG = f"{PREFIX}log"
SHAPES = f"{PREFIX}shapes"
MARK = f"{PREFIX}mark"
READERS = f"{PREFIX}readers"
ATTACHED = f"{PREFIX}attached"
VICTIMS = f"{PREFIX}victims"
SALT = "salt DEFAULT (hex(randomblob(6)))"
TABLES = (LOG, SHAPES, MARK, READERS, ATTACHED, VICTIMS)

_TRIGGERS = ("insert", "update", "delete", "evict_insert", "evict_update")


def create_log(db: Connection) -> None:
    """Make the log's tables where they are missing. The log keeps its last row for ever, so that `seq`
    never goes back; its first is the clock's, so that a log made anew begins after any earlier one."""
    if db.has(LOG):
        return
    db.execute(f"CREATE TABLE {LOG} (seq INTEGER PRIMARY KEY, shape, op, mark, {SALT})")
    db.execute(f"INSERT INTO {LOG} (seq) VALUES (?)", (time.time_ns() // 1000,))
    db.execute(f"CREATE TABLE {SHAPES} (id INTEGER PRIMARY KEY, tbl TEXT NOT NULL, columns TEXT NOT NULL)")
    db.execute(f"CREATE TABLE {VICTIMS} (shape)")
    db.execute(f"CREATE TABLE {MARK} (mark)")
    db.execute(f"INSERT INTO {MARK} VALUES (NULL)")
    db.execute(
        f"CREATE TABLE {READERS} (stream TEXT PRIMARY KEY, began INTEGER NOT NULL, released INTEGER NOT NULL)"
    )
    db.execute(f"CREATE TABLE {ATTACHED} (stream TEXT, tbl TEXT, PRIMARY KEY (stream, tbl))")


def drop_log(db: Connection) -> None:
    """Take the log's tables away."""
    for table in TABLES:
        db.execute(f"DROP TABLE IF EXISTS {table}")


def shape_of(schema: Schema) -> str:
    """What the log's cells mean, as text: columns with their declared types, and the key."""
    columns = [[column.name, declare(column.type)] for column in schema.stored]
    return orjson.dumps([columns, list(schema.key)]).decode()


def find_shape(db: Connection, schema: Schema) -> int | None:
    """The number that log rows of a table in exactly this shape carry; None when it never was attached."""
    sql = f"SELECT id FROM {SHAPES} WHERE tbl = ? AND columns = ?"
    found = db.value(sql, (schema.table.name, shape_of(schema)))
    return None if found is None else int(found)


def watch(db: Connection, schema: Schema) -> None:
    """Make the triggers of a table, in place of any that know it in another shape."""
    if triggers_missing(db, schema) == "":
        return
    unwatch(db, schema.table.name)
    _widen(db, schema)
    shape = find_shape(db, schema)
    if shape is None:
        insert = f"INSERT INTO {SHAPES} (tbl, columns) VALUES (?, ?) RETURNING id"
        shape = int(db.value(insert, (schema.table.name, shape_of(schema))))
    for statement in _statements(db, schema, shape):
        db.execute(statement)


def unwatch(db: Connection, table: str) -> None:
    """Drop the triggers of a table, wherever they are now."""
    for kind in _TRIGGERS:
        db.execute(f"DROP TRIGGER IF EXISTS {quote(_trigger(kind, table))}")


def is_dropped(db: Connection, schema: Schema) -> bool:
    """Whether a table that the log told is gone under every name: its triggers go with it, and are renamed
    with it not."""
    table = schema.table.name
    query = (
        "SELECT count(*) FROM sqlite_schema WHERE (type = 'table' AND name = ? COLLATE NOCASE)"
        " OR (type = 'trigger' AND name = ?)"
    )
    return not db.value(query, (table, _trigger("insert", table)))


def triggers_missing(db: Connection, schema: Schema) -> str:
    """Why the log does not tell this table as `schema` knows it; '' when it does."""
    table = schema.table.name
    shape = find_shape(db, schema)
    if shape is None:
        return "the log was never told of this shape"
    found = {
        sql
        for (sql,) in db.rows(
            "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE", (table,)
        )
    }
    wanted = _statements(db, schema, shape)
    if any(statement not in found for statement in wanted):
        return "its triggers are gone or changed"
    return ""


def _trigger(kind: str, table: str) -> str:
    return f"{PREFIX}{kind}_{table}"


def _widen(db: Connection, schema: Schema) -> None:
    keys = [f"k{at}" for at in range(len(schema.key))]
    cells = [f"c{at}" for at in range(len(schema.stored))]
    for table, wanted in ((LOG, [*keys, *cells]), (VICTIMS, keys)):
        present = {row[1] for row in db.rows(f"PRAGMA table_info({table})")}
        for name in wanted:
            if name not in present:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {name}")


def _statements(db: Connection, schema: Schema, shape: int) -> list[str]:
    """The CREATE TRIGGER statements of a table, as sqlite_schema keeps them."""
    table = schema.table.name
    uniques = unique_indexes(db, table)
    evictions = [
        condition for condition in (_shares(schema, unique) for unique in uniques) if condition is not None
    ]
    evictions += _shares_rowid(db, schema)
    gone = _log_evicted(schema, shape, uniques) if evictions else ""
    bodies = {
        "insert": ("AFTER INSERT", gone + _log_row(schema, shape, "I", uniques)),
        "update": ("AFTER UPDATE", gone + _log_update(schema, shape, uniques)),
        "delete": ("AFTER DELETE", _log_gone(schema, shape, uniques, "")),
    }
    if evictions:
        insert = "".join(_note_victims(schema, shape, condition, "NEW") for condition in evictions)
        update = "".join(_note_victims(schema, shape, condition, "OLD") for condition in evictions)
        bodies["evict_insert"] = ("BEFORE INSERT", insert)
        bodies["evict_update"] = ("BEFORE UPDATE", update)
    return [
        f"CREATE TRIGGER {quote(_trigger(kind, table))} {event} ON {quote(table)} BEGIN {body}END"
        for kind, (event, body) in bodies.items()
    ]


def _into(shape: int, op: str, columns: Sequence[str], cells: Sequence[str]) -> str:
    return (
        f"INSERT INTO {LOG} (shape, op, mark, {', '.join(columns)})"
        f" SELECT {shape}, '{op}', (SELECT mark FROM {MARK}), {', '.join(cells)}"
    )


def _old_key(schema: Schema) -> tuple[list[str], list[str]]:
    return [f"k{at}" for at in range(len(schema.key))], [f"OLD.{quote(name)}" for name in schema.key]


def _same_key(schema: Schema, uniques: Sequence[Unique], row: str) -> str:
    """That `t` is the row whose key `row` has, by the key's index under that index's collations."""
    collations = _key_collations(schema, uniques)
    return " AND ".join(
        f"t.{quote(name)} IS {row}.{quote(name)} COLLATE {collations.get(name, 'BINARY')}"
        for name in schema.key
    )


def _key_collations(schema: Schema, uniques: Sequence[Unique]) -> dict[str | None, str]:
    """The collation of each column in the key's index; empty for a rowid alias."""
    for unique in uniques:
        if unique.columns == schema.key and not unique.where:
            return dict(zip(unique.columns, unique.collations, strict=True))
    return {}


def _log_row(schema: Schema, shape: int, op: str, uniques: Sequence[Unique]) -> str:
    names, cells = _old_key(schema) if op == "U" else ([], [])
    names = names + [f"c{at}" for at in range(len(schema.stored))]
    cells = cells + [f"t.{quote(name)}" for name in schema.names]
    found = _same_key(schema, uniques, "NEW")
    return f"{_into(shape, op, names, cells)} FROM {quote(schema.table.name)} AS t WHERE {found}; "


def _log_update(schema: Schema, shape: int, uniques: Sequence[Unique]) -> str:
    moved = " OR ".join(f"OLD.{quote(name)} IS NOT NEW.{quote(name)} COLLATE BINARY" for name in schema.key)
    # A trigger of the application's may have taken the row on to a third key before this one ran; then
    # the row is logged from there, and only the old key is still to be told.
    lost = f"({moved}) AND NOT EXISTS (SELECT 1 FROM {quote(schema.table.name)} AS t WHERE "
    lost += f"{_same_key(schema, uniques, 'NEW')}) AND "
    return _log_row(schema, shape, "U", uniques) + _log_gone(schema, shape, uniques, lost)


def _log_gone(schema: Schema, shape: int, uniques: Sequence[Unique], condition: str) -> str:
    exactly = " AND ".join(f"t.{quote(name)} IS OLD.{quote(name)} COLLATE BINARY" for name in schema.key)
    there = f"SELECT 1 FROM {quote(schema.table.name)} AS t WHERE {_same_key(schema, uniques, 'OLD')}"
    there += f" AND {exactly}"
    return f"{_into(shape, 'D', *_old_key(schema))} WHERE {condition}NOT EXISTS ({there}); "


def _note_victims(schema: Schema, shape: int, condition: str, row: str) -> str:
    names = ", ".join(f"k{at}" for at in range(len(schema.key)))
    cells = ", ".join(f"t.{quote(name)}" for name in schema.key)
    itself = " AND ".join(f"t.{quote(name)} IS {row}.{quote(name)} COLLATE BINARY" for name in schema.key)
    return (
        f"INSERT INTO {VICTIMS} (shape, {names}) SELECT {shape}, {cells}"
        f" FROM {quote(schema.table.name)} AS t WHERE {condition} AND NOT ({itself}); "
    )


def _log_evicted(schema: Schema, shape: int, uniques: Sequence[Unique]) -> str:
    """Log a delete for each noted row that is not there any more, and forget them all. A statement that
    was ignored leaves its notes to the next one; a delete told twice is a delete."""
    keys = [f"k{at}" for at in range(len(schema.key))]
    collations = _key_collations(schema, uniques)
    same = " AND ".join(
        f"t.{quote(name)} IS v.{key} COLLATE {collations.get(name, 'BINARY')}"
        f" AND t.{quote(name)} IS v.{key} COLLATE BINARY"
        for name, key in zip(schema.key, keys, strict=True)
    )
    there = f"SELECT 1 FROM {quote(schema.table.name)} AS t WHERE {same}"
    logged = _into(shape, "D", keys, [f"v.{key}" for key in keys])
    return (
        f"{logged} FROM {VICTIMS} AS v WHERE v.shape = {shape} AND NOT EXISTS ({there}); "
        f"DELETE FROM {VICTIMS} WHERE shape = {shape}; "
    )


def _shares(schema: Schema, unique: Unique) -> str | None:
    """That `t` has the values of NEW in a unique index; None for the key's own index, whose victim has the
    very key that is written anyway."""
    if unique.columns == schema.key and not unique.where and set(unique.collations) == {"BINARY"}:
        return None
    inner = ", ".join(f"{_new(schema, column.name)} AS {quote(column.name)}" for column in schema.columns)
    conditions = [f"({unique.where})"] if unique.where else []
    for term, plain, collation in zip(unique.terms, unique.columns, unique.collations, strict=True):
        value = _new(schema, plain) if plain is not None else f"(SELECT {term} FROM (SELECT {inner}))"
        left = f"t.{term}" if plain is not None else term
        conditions.append(f"{left} = {value} COLLATE {collation}")
    return " AND ".join(conditions)


def _new(schema: Schema, name: str) -> str:
    """NEW's cell as it will be stored: REPLACE puts the default where NULL may not stand."""
    column = schema.column(name)
    cell = f"NEW.{quote(name)}"
    return cell if column.nullable or column.default is None else f"ifnull({cell}, {column.default})"


def _shares_rowid(db: Connection, schema: Schema) -> list[str]:
    """The same for the rowid, where it is no column of the key and the application may write it."""
    table = schema.table.name
    names = {column.name.lower() for column in schema.columns}
    hidden = next((name for name in ("rowid", "_rowid_", "oid") if name not in names), None)
    without = any(row[1] == table and row[4] for row in db.rows("PRAGMA table_list"))
    alias = rowid_alias(db, table)
    if without or hidden is None or (alias,) == schema.key:
        return []
    return [f"t.{hidden} = NEW.{hidden}"]
