"""What is built once a table's rows are in: unique and other indexes, and foreign keys.

Each statement is a transaction of its own under the stream's fence, so that a killed build goes on with the
next one; what exists under its name is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from ...connector import Claim
from ...errors import NeedsOperator
from ...model import ForeignKey, Index, State, TableName, TableState
from . import ddl, ledger
from .catalog import Member
from .connection import Connection


def build(connection: Connection, claim: Claim, state: TableState, member: Member) -> None:
    """Build the indexes that the table does not have yet."""
    schema = state.schema
    for index in schema.indexes:
        name = ddl.aside_name(index.name) if state.aside else index.name
        if has_index(connection, member, index.name):
            continue
        if _is_taken(connection, member[0], name):
            name = _other_name(name, member)
        statement = ddl.create_index(index, schema, name, member)
        if statement is None:
            continue
        try:
            with connection.transaction():
                ledger.hold(connection, claim, alone=False)
                connection.execute(statement)
        except psycopg.errors.UniqueViolation as error:
            raise _doubled(index, schema.table, error) from None
        except psycopg.errors.ProgramLimitExceeded:
            continue  # a cell is larger than PostgreSQL can index: `omissions` names what is not made
        except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction) as error:
            raise NeedsOperator(
                "build",
                f"index {index.name} of table {schema.table}",
                error.diag.message_primary or str(error),
                "create it at the target (CREATE EXTENSION, it may be), then run again",
            ) from None


# The indexes of a table that belong to no constraint, as what follows the table's name in their definition.
_OWN = """
SELECT x.relname::text, i.indisunique,
       substr(pg_get_indexdef(x.oid), 1 + length(format('CREATE %%sINDEX %%I ON %%s%%I.%%I',
              CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, x.relname,
              CASE WHEN x.relkind = 'I' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname)))
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = x.oid AND conrelid = c.oid)
"""


def carry_over(connection: Connection, claim: Claim, state: TableState, old: Member, new: Member) -> None:
    """Give a table that is built aside the indexes that somebody gave the old one. One that it cannot have,
    as a column is gone or two rows are equal, stays behind."""
    ours = {name for index in state.schema.indexes for name in _names(index.name, old)}
    for name, unique, definition in connection.execute(_OWN, old).fetchall():
        aside = ddl.aside_name(name)
        if name in ours or has_index(connection, new, name) or _is_taken(connection, new[0], aside):
            continue
        statement = sql.SQL("CREATE {}INDEX {} ON {}{}").format(
            sql.SQL("UNIQUE " if unique else ""),
            sql.Identifier(aside),
            sql.Identifier(*new),
            sql.SQL(definition),
        )
        refused = psycopg.errors.ProgrammingError, psycopg.errors.UniqueViolation, psycopg.DataError
        with contextlib.suppress(*refused), connection.transaction():
            ledger.hold(connection, claim, alone=False)
            connection.execute(statement)


def reference(
    connection: Connection,
    claim: Claim,
    state: TableState,
    states: Sequence[TableState],
    member_of: Callable[[TableName], Member],
    *,
    lenient: bool,
) -> None:
    """Add the foreign keys that the table does not have yet and whose parents are ready: tables of the
    stream that are live or about to be, and tables that were here before. Rows without a parent, which are
    at the source as well, are let be when `lenient`: the role can go on writing such rows."""
    ready = {other.schema.table for other in states if not other.aside}
    for foreign in state.schema.foreign_keys:
        if foreign.parent not in ready and not _is_ready(connection, claim, foreign.parent):
            continue
        table, parent = member_of(state.schema.table), member_of(foreign.parent)
        if not exists(connection, parent) or not ddl.has_columns(state.schema, foreign.columns):
            continue
        name = foreign.name or _foreign_name(state.schema.table, foreign)
        if has_foreign_key(connection, table, state.schema.table, foreign):
            _validate(connection, claim, table, name)
            continue
        # Columns that PostgreSQL cannot relate (no unique index, other types) stay without the foreign key.
        for valid in (True, False) if lenient else (True,):
            try:
                with connection.transaction():
                    ledger.hold(connection, claim, alone=False)
                    connection.execute(ddl.add_foreign_key(foreign, name, table, parent, valid=valid))
                break
            except psycopg.errors.ForeignKeyViolation:
                continue
            except (psycopg.errors.InvalidForeignKey, psycopg.errors.DatatypeMismatch):
                break


def _validate(connection: Connection, claim: Claim, member: Member, name: str) -> None:
    """Let a constraint count for all rows that was made while some had no parent, if all have one by now."""
    query = """SELECT convalidated FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
               JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = %s AND c.relname = %s AND k.conname = %s"""
    if connection.execute(query, [*member, name]).fetchone() != (False,):
        return
    statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
    with contextlib.suppress(psycopg.errors.ForeignKeyViolation), connection.transaction():
        ledger.hold(connection, claim, alone=False)
        connection.execute(statement.format(sql.Identifier(*member), sql.Identifier(name)))


def _doubled(index: Index, table: TableName, error: psycopg.Error) -> NeedsOperator:
    return NeedsOperator(
        "build",
        f"unique index {index.name} of table {table}",
        error.diag.message_detail or str(error),
        "two rows are equal here that differ at the source; its collation may be another",
    )


def _is_ready(connection: Connection, claim: Claim, parent: TableName) -> bool:
    """Whether a table is none of the stream's, or one that is live."""
    known = ledger.read(connection, claim.stream)
    state = known.tables.get(parent) if known else None
    return state is None or state.state is State.LIVE


def exists(connection: Connection, member: Member) -> bool:
    """Whether there is a table of that name."""
    query = """SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                              WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'p'))"""
    return connection.execute(query, member).fetchone() == (True,)


def oids(connection: Connection, member: Member) -> list[int]:
    """The oid of the table of that name; none when there is none."""
    query = """SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               WHERE nspname = %s AND relname = %s"""
    return [row[0] for row in connection.execute(query, member).fetchall()]


def has_index(connection: Connection, member: Member, name: str) -> bool:
    """Whether the table has the index that a source calls so, under one of the names that `build` gives."""
    names = _names(name, member)
    query = """SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                              JOIN pg_class c ON c.oid = i.indrelid
                              JOIN pg_namespace n ON n.oid = c.relnamespace
                              WHERE n.nspname = %s AND c.relname = %s AND x.relname = ANY(%s))"""
    return connection.execute(query, [*member, names]).fetchone() == (True,)


def _names(name: str, member: Member) -> list[str]:
    """The names that `build` may give a table's index."""
    plain = (name, ddl.aside_name(name))
    return [*plain, *(_other_name(either, member) for either in plain)]


def _is_taken(connection: Connection, namespace: str, name: str) -> bool:
    query = """SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                              WHERE nspname = %s AND relname = %s)"""
    return connection.execute(query, [namespace, name]).fetchone() == (True,)


def has_foreign_key(connection: Connection, member: Member, table: TableName, foreign: ForeignKey) -> bool:
    """Whether the table has the constraint that `reference` makes of a source's foreign key."""
    name = foreign.name or _foreign_name(table, foreign)
    query = """SELECT EXISTS (SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
                              JOIN pg_namespace n ON n.oid = c.relnamespace
                              WHERE n.nspname = %s AND c.relname = %s AND k.conname = %s)"""
    return connection.execute(query, [*member, name]).fetchone() == (True,)


def _other_name(name: str, member: Member) -> str:
    """A name for an index whose own is taken by something else here."""
    digest = hashlib.blake2b("\0".join((*member, name)).encode(), digest_size=4).hexdigest()
    return name.encode()[: ddl.NAME_BYTES - 9].decode(errors="ignore") + "_" + digest


def _foreign_name(table: TableName, foreign: ForeignKey) -> str:
    name = f"{table.name}_{'_'.join(foreign.columns)}_fkey"
    return name if len(name.encode()) <= ddl.NAME_BYTES else _other_name(name, ("", ""))
