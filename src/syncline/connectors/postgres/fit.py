"""Whether a table can be held here, and whether one that is here can hold a source's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import sql

from ...model import Column, Kind, Schema, Type
from ...model.types import INTEGERS
from . import catalog, ddl
from .catalog import Member
from .connection import Connection
from .types import SYSTEM, native, wanted

SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
"""PostgreSQL documentation, "System Columns"."""
MOST_COLUMNS = 1600

_RELATION = """
SELECT c.oid, relkind::text, relpersistence::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = %s AND relname = %s
"""
# One that no table has for its rows, and no type for its arrays: that one would give way.
_TYPE = """
SELECT 1 FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
WHERE nspname = %s AND typname = %s AND typrelid = 0
  AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
"""
_SORTS = {"S": "a sequence", "i": "an index", "I": "an index", "c": "a type"}


def refusals(connection: Connection, schema: Schema) -> Sequence[str]:
    """Why a table can never be held exactly, a sentence a column (Promise 3)."""
    reasons = list(_unnamable(schema))
    labels = _labels(connection)
    made = {enum.name for enum in ddl.enums(schema)}
    for column in ddl.carried(schema):
        type = wanted(column.type, schema.system)
        subject = f"column {column.name} ({column.type})"
        if not type:
            reasons.append(f"{subject} has no exact form in PostgreSQL")
        elif type.removesuffix("[]") not in made and not _has_type(connection, type):
            reasons.append(
                f"{subject} needs the type {type}, which the target does not have; "
                + (_extension(connection, type) or "create it there")
            )
        elif column.name in schema.key and type.removesuffix("[]") in ("json", "xml"):
            reasons.append(f"{subject} cannot be part of a key in PostgreSQL")
    for enum in ddl.enums(schema):
        there = labels.get(enum.name)
        lost = [label for label in enum.labels if there is not None and label not in there]
        reasons += [
            f"the target's type {enum.name} has no label {label!r}; "
            f"run ALTER TYPE {enum.name} ADD VALUE {sql.Literal(label).as_string(connection)} as its owner"
            for label in lost
        ]
    return tuple(dict.fromkeys(reasons))


def _unnamable(schema: Schema) -> Iterator[str]:
    """Names that PostgreSQL does not take, and more of them than it takes."""
    names = [column.name for column in ddl.carried(schema)]
    for name in (schema.table.name, *names):
        if not name:
            yield "a column of it has an empty name, which PostgreSQL does not take"
        elif len(name.encode()) > ddl.NAME_BYTES:
            yield f"the name {name} takes more than {ddl.NAME_BYTES} bytes"
    for name in names:
        if name in SYSTEM_COLUMNS:
            yield f"every table of PostgreSQL has a column {name} of its own"
    if len(names) > MOST_COLUMNS:
        yield f"it has {len(names):,} columns, and PostgreSQL takes {MOST_COLUMNS:,}"


def mismatch(connection: Connection, schema: Schema, member: Member, default: str) -> str:
    """How the table differs from what the rows need, all of it; '' when it fits or there is none."""
    row = connection.execute(_RELATION, member).fetchone()
    if row is None:
        taken = connection.execute(_TYPE, member).fetchone()
        return "a type has its name" if taken else ""
    found = catalog.discover(connection, default, [row[0]])
    if not found:
        return f"it is {_SORTS.get(row[1], 'a partition, or something else that is no table of its own')}"
    (there,) = found
    oid, sort, persistence = row
    if sort not in ("r", "p"):
        return there.problem
    differences = [*_columns(schema, there), *_fixed(connection, oid, schema)]
    if persistence == "u":
        differences.append("it is unlogged, so that a crash empties it")
    if not _keyed(connection, oid, schema.key):
        columns = ", ".join(schema.key)
        differences.append(f"it has no primary key or unique index over just ({columns})")
    return "; ".join(differences)


def narrower(connection: Connection, schema: Schema, member: Member, default: str) -> Iterator[str]:
    """The columns of a table that fits whose rows may yet be parked: values of the source's type that the
    target's refuses. A sentence a column."""
    name = sql.Identifier(*member).as_string(connection)
    row = connection.execute("SELECT to_regclass(%s)::oid", [name]).fetchone()
    found = catalog.discover(connection, default, [row[0]]) if row and row[0] else []
    for there in found:
        known = {column.name: column.type for column in there.columns}
        for column in schema.stored:
            have = known.get(column.name)
            if have is None or have.kind not in INTEGERS or column.type.kind not in INTEGERS:
                continue
            if _bits(have) < _bits(column.type):
                names = native(_of_postgres(have)), wanted(column.type, schema.system)
                why = "larger values are parked"
                yield f"column {column.name} is {names[0]} there and {names[1]} at the source: {why}"


def _bits(type: Type) -> int:
    """How large the numbers of an integer type get, as bits."""
    unsigned = type.kind.name.startswith("U")
    return 2 * int(type.kind.name.lstrip("UINT")) + unsigned


def _columns(schema: Schema, there: Schema) -> Iterator[str]:
    known = {column.name: column for column in there.columns}
    for column in schema.stored:
        found = known.pop(column.name, None)
        if found is None:
            yield f"it has no column {column.name}"
        elif found.generated:
            yield f"column {column.name} is generated"
        elif not _holds(found, column, schema.system):
            have = native(_of_postgres(found.type))
            yield f"column {column.name} is {have}, not {wanted(column.type, schema.system)}"
        elif column.nullable and not found.nullable:
            yield f"column {column.name} is NOT NULL, and the source's may be NULL"
    for name, column in known.items():
        own = column.generated or column.identity or column.default is not None or column.nullable
        if not own:
            yield f"column {name} needs a value, and the source has no such column"


def _fixed(connection: Connection, oid: int, schema: Schema) -> Iterator[str]:
    """The key's numbers are only ever inserted, which OVERRIDING allows; nothing allows an UPDATE."""
    query = """SELECT attname::text FROM pg_attribute
               WHERE attrelid = %s AND attidentity = 'a' AND NOT attisdropped ORDER BY attnum"""
    for (name,) in connection.execute(query, [oid]):
        if name in schema.names and name not in schema.key:
            remedy = f"ALTER TABLE {schema.table} ALTER {name} SET GENERATED BY DEFAULT"
            yield f"column {name} is GENERATED ALWAYS AS IDENTITY, so that no update can set it; run {remedy}"


def _holds(there: Column, column: Column, system: str) -> bool:
    """Whether every value of a column comes back as it was, or is refused loudly."""
    have, need = there.type, column.type
    if native(_of_postgres(have)) == wanted(need, system):
        return True
    if have.kind in INTEGERS and need.kind in INTEGERS:
        return not have.name  # what is out of range is an error
    if have.kind is not need.kind:
        return have.kind is Kind.TEXT and need.kind is Kind.ENUM and not have.name and have.length is None
    match have.kind:
        case Kind.TEXT:
            return not have.name and (have.length is None or have.length >= (need.length or have.length + 1))
        case Kind.DECIMAL:
            # numeric(p,s) pads and rounds to its scale without a word.
            same_scale = system == SYSTEM and need.precision is not None and have.scale == need.scale
            return not have.name and (have.precision is None or same_scale)
        case Kind.JSON:
            return not have.name  # jsonb does not keep the text
        case Kind.ENUM:
            return set(need.labels) <= set(have.labels) and system != SYSTEM
        case Kind.ARRAY | Kind.OPAQUE:
            return False
    return not have.name


def _of_postgres(type: Type) -> Type:
    return Type(
        type.kind, type.length, type.precision, type.scale, type.element, type.labels, SYSTEM, type.name
    )


def _keyed(connection: Connection, oid: int, key: Sequence[str]) -> bool:
    """Whether an index can find rows by exactly this key."""
    query = """SELECT EXISTS (
                   SELECT FROM pg_index i WHERE i.indrelid = %s AND i.indisunique AND i.indimmediate
                      AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND %s::text[] = (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE "C")
                           FROM pg_attribute a WHERE a.attrelid = i.indrelid
                            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))"""
    wanted_key = sorted(key, key=str.encode)
    return connection.execute(query, [oid, wanted_key]).fetchone() == (True,)


def _has_type(connection: Connection, type: str) -> bool:
    return connection.execute("SELECT to_regtype(%s) IS NOT NULL", [type]).fetchone() == (True,)


def _extension(connection: Connection, type: str) -> str:
    """What makes the type, where it is called like an extension that the server has at hand."""
    namespace, _, name = type.removesuffix("[]").rpartition(".")
    query = "SELECT 1 FROM pg_available_extensions WHERE name = %s AND installed_version IS NULL"
    if not namespace or connection.execute(query, [name]).fetchone() is None:
        return ""
    return f"run CREATE EXTENSION {name} SCHEMA {namespace} as a superuser"


def _labels(connection: Connection) -> dict[str, list[str]]:
    """The labels of every enum by its qualified name."""
    query = """SELECT format('%I.%I', n.nspname, t.typname), array_agg(e.enumlabel::text)
               FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
               JOIN pg_namespace n ON n.oid = t.typnamespace GROUP BY 1"""
    return dict(connection.execute(query).fetchall())
