"""Brings a target's table to its source's new shape, in the transaction of the first rows that need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from ...model import Column, Kind, SchemaChange, TableState, Type
from ...model.types import SIGNED
from . import ddl, fit
from .catalog import Member
from .codec import texts_of
from .connection import Connection
from .types import wanted

LOCK_TIMEOUT = "10s"
"""How long the target's readers are waited for before the transaction is given up and tried again."""

_NAMES = """
SELECT attname::text FROM pg_attribute a
JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = %s AND relname = %s AND attnum > 0 AND NOT attisdropped
"""

_REFUSED = (
    psycopg.errors.ProgrammingError,  # something hangs on the column, or the table is another role's
    psycopg.errors.DataError,
    psycopg.errors.IntegrityError,
    psycopg.errors.NotSupportedError,
    psycopg.errors.ObjectInUse,  # foreign keys of rows that this transaction wrote are still to be checked
)


def alter(
    connection: Connection, state: TableState, change: SchemaChange, member: Member, default: str
) -> bool:
    """Alter the table, or leave it as it was and say so. Inside a transaction."""
    assert change.schema is not None
    if any(not _widens(old, new) for old, new in _retyped(state, change)):
        return False
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
            there = {name for (name,) in connection.execute(_NAMES, member)}
            for statement in _statements(state, change, sql.Identifier(*member), there):
                connection.execute(statement)
            for column in _added(change):
                set_default(connection, column, change.schema.system, member)
            connection.execute("SET LOCAL lock_timeout TO DEFAULT")
            with connection.transaction(force_rollback=True):  # the look changes settings
                if fit.mismatch(connection, change.schema, member, default):
                    raise psycopg.errors.FeatureNotSupported
    except _REFUSED:
        return False
    return True


def set_default(connection: Connection, column: Column, system: str, member: Member) -> None:
    """Give a column its default, where it means something here. No row of a stream needs it: each comes with
    all its cells."""
    expression = ddl.default_of(column, system)
    if not expression:
        return
    statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
        sql.Identifier(*member), sql.Identifier(column.name), sql.SQL(expression)
    )
    # A default may call what is not here.
    try:
        with connection.transaction():
            connection.execute(statement)
    except (psycopg.errors.ProgrammingError, psycopg.errors.DataError):
        return


def _retyped(state: TableState, change: SchemaChange) -> Iterator[tuple[Type, Type]]:
    """The types, old and new, of the columns that have another one."""
    assert change.schema is not None
    types = {column.name: column.type for column in change.schema.stored}
    for column in state.schema.stored:
        new = types.get(change.renamed.get(column.name, column.name))
        if new is not None and new != column.type:
            yield column.type, new


def _widens(old: Type, new: Type) -> bool:
    """Whether every value of a type is a value of the other, with the same text."""
    if old.kind in SIGNED and new.kind in SIGNED and not old.name and not new.name:
        return int(old.kind.lstrip("int")) <= int(new.kind.lstrip("int"))
    if old.kind is Kind.TEXT is new.kind and {old.name, new.name} <= {"", "character varying"}:
        return new.length is None or (old.length is not None and old.length <= new.length)
    if old.kind is Kind.DECIMAL is new.kind and not old.name and not new.name:
        return new.precision is None or (
            old.precision is not None and old.scale == new.scale and old.precision <= new.precision
        )
    return old.kind is Kind.FLOAT32 and new.kind is Kind.FLOAT64 and not old.name and not new.name


def _added(change: SchemaChange) -> Sequence[Column]:
    assert change.schema is not None
    return [change.schema.column(name) for name in (change.fill.columns if change.fill else ())]


def _statements(
    state: TableState, change: SchemaChange, table: sql.Identifier, there: set[str]
) -> Iterator[sql.Composed]:
    """Drops, renames, types, then what is new. A column of a table that Syncline did not make is not dropped:
    rows get its default from here on."""
    assert change.schema is not None
    system, carried = change.schema.system, {column.name for column in change.schema.stored}
    names = {column.name: change.renamed.get(column.name, column.name) for column in state.schema.stored}
    for old, new in names.items():
        if new not in carried and state.created:
            yield sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(table, sql.Identifier(old))
    yield from _renames(change, table)
    for column in state.schema.stored:
        if names[column.name] in carried:
            type = change.schema.column(names[column.name]).type
            if type != column.type and state.created:
                form = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}")
                name = sql.Identifier(names[column.name])
                yield form.format(table, name, sql.SQL(wanted(type, system)))
    for column in _added(change):
        yield from _add(column, change, table, there)


def _renames(change: SchemaChange, table: sql.Identifier) -> Iterator[sql.Composed]:
    """By way of names that nobody has, where columns exchange theirs."""
    rename = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}")
    taken = [new for new in change.renamed.values() if new in change.renamed]
    between = {old: f"syncline {at}" for at, old in enumerate(change.renamed) if taken}
    for old, name in between.items():
        yield rename.format(table, sql.Identifier(old), sql.Identifier(name))
    for old, new in change.renamed.items():
        yield rename.format(table, sql.Identifier(between.get(old, old)), sql.Identifier(new))


def _add(
    column: Column, change: SchemaChange, table: sql.Identifier, there: set[str]
) -> Iterator[sql.Composed]:
    """A column in which the rows that are there have the cell of the source's: as a default, which fills a
    table of any size at once. One that somebody has added already is filled row by row."""
    assert change.schema is not None
    assert change.fill is not None
    name = sql.Identifier(column.name)
    (cell,) = texts_of(change.fill.array(column.name), column.type).to_pylist()
    if column.name in there:
        yield sql.SQL("UPDATE {} SET {} = {}").format(table, name, sql.Literal(cell))
        return
    type = sql.SQL(wanted(column.type, change.schema.system))
    null = sql.SQL("" if column.nullable else " NOT NULL")
    form = sql.SQL("ALTER TABLE {} ADD COLUMN {} {} DEFAULT {}{}")
    yield form.format(table, name, type, sql.Literal(cell), null)
    yield sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT").format(table, name)
