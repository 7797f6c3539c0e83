"""What of a source's table is not made with it here, in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from ...model import Schema, TableName
from . import catalog, ddl, indexes
from .catalog import Member
from .connection import Connection

MemberOf = Callable[[TableName], Member]


def before(
    connection: Connection, schema: Schema, member_of: MemberOf, planned: Collection[TableName]
) -> Iterator[str]:
    """What will be left out of a table that is to be made, as far as its definition tells; `planned` are
    the tables that the stream brings."""
    for column in schema.columns:
        if column not in ddl.carried(schema):
            yield f"column {column.name}, which is generated, is not made"
        elif column.identity and not ddl.is_integer(column.type):
            yield f"column {column.name} is not numbered"
        elif column.default and not column.generated and not ddl.default_of(column, schema.system):
            yield f"the default of column {column.name} ({column.default}) is not made"
    for index in schema.indexes:
        if ddl.create_index(index, schema, index.name, ("", "")) is None:
            yield f"index {index.name} is not made"
    for foreign in schema.foreign_keys:
        known = foreign.parent in planned or indexes.exists(connection, member_of(foreign.parent))
        if not known or not ddl.has_columns(schema, foreign.columns):
            yield f"the foreign key to {foreign.parent} is not made"


def after(connection: Connection, schema: Schema, member_of: MemberOf, default: str) -> Iterator[str]:
    """What the table that was made has not got: what `before` says, and what the server would not make."""
    member = member_of(schema.table)
    there = next(iter(catalog.discover(connection, default, indexes.oids(connection, member))), None)
    if there is None:
        return
    defaults = {column.name for column in there.columns if column.default is not None}
    parents = [foreign.parent for foreign in schema.foreign_keys]
    yield from before(connection, schema, member_of, parents)
    for column in ddl.carried(schema):
        if ddl.default_of(column, schema.system) and column.name not in defaults:
            yield f"the default of column {column.name} ({column.default}) is not made"
    for index in schema.indexes:
        wanted = ddl.create_index(index, schema, index.name, ("", "")) is not None
        if wanted and not indexes.has_index(connection, member, index.name):
            yield f"index {index.name} is not made"
    for foreign in schema.foreign_keys:
        if not indexes.has_foreign_key(connection, member, schema.table, foreign):
            yield f"the foreign key to {foreign.parent} is not made"
