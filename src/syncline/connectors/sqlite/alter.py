"""Brings a target's table to its source's new shape, in the transaction of the first rows that need it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from ...errors import NeedsOperator, Refused
from ...model import SchemaChange, TableState
from .catalog import describe
from .codec import encode
from .connection import Connection, quote
from .declared import declare
from .tables import added_column, mismatch


def alter(db: Connection, state: TableState, change: SchemaChange, name: str) -> bool:
    """Alter the table, or leave it as it was and say so: SQLite alters no type, and drops no column that an
    index, a view or a trigger names (sqlite.org/lang_altertable.html)."""
    assert change.schema is not None
    types = {column.name: declare(column.type) for column in change.schema.stored}
    for column in state.schema.stored:
        new = change.renamed.get(column.name, column.name)
        if new in types and types[new] != declare(column.type):
            return False
    try:
        with db.savepoint():
            for statement in _statements(db, state, change, name):
                db.execute(statement)
            _fill(db, change, name)
            if mismatch(change.schema, describe(db, name, count=False)):
                raise sqlite3.OperationalError
    except (sqlite3.Error, NeedsOperator, Refused):
        return False
    return True


def _statements(db: Connection, state: TableState, change: SchemaChange, name: str) -> Iterator[str]:
    """A column of a table that Syncline did not make is not dropped: rows get its default from here on."""
    assert change.schema is not None
    table, carried = quote(name), {column.name for column in change.schema.stored}
    for column in state.schema.names:
        if change.renamed.get(column, column) not in carried and state.created:
            yield f"ALTER TABLE {table} DROP COLUMN {quote(column)}"
    exchanged = any(new in change.renamed for new in change.renamed.values())
    between = {old: f"syncline {at}" for at, old in enumerate(change.renamed) if exchanged}
    for old, new in between.items():
        yield f"ALTER TABLE {table} RENAME COLUMN {quote(old)} TO {quote(new)}"
    for old, new in change.renamed.items():
        yield f"ALTER TABLE {table} RENAME COLUMN {quote(between.get(old, old))} TO {quote(new)}"
    there = {column.name.lower() for column in describe(db, name, count=False).columns}
    for column in change.fill.columns if change.fill else ():
        if column.lower() not in there:
            line = added_column(change.schema, change.schema.column(column))
            yield f"ALTER TABLE {table} ADD COLUMN {line}"


def _fill(db: Connection, change: SchemaChange, name: str) -> None:
    if change.schema is None or change.fill is None:
        return
    cells = [cell for (cell,) in encode(change.schema, change.fill)]
    sets = ", ".join(f"{quote(column)} = ?" for column in change.fill.columns)
    db.execute(f"UPDATE {quote(name)} SET {sets}", cells)
